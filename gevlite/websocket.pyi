from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

from gevlite._http.settings import RequestError

__all__ = ["HandshakeError", "WebSocket", "WebSocketClosed", "accept"]

class HandshakeError(RequestError): ...

class WebSocketClosed(ConnectionError):
    code: int
    reason: str
    def __init__(self, code: int, reason: str = "") -> None: ...

def accept(
    environ: dict[str, Any],
    *,
    subprotocols: Iterable[str] = (),
    origins: Iterable[str] | Literal["*"] | Callable[[str | None], object] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    compression: bool = False,
    max_size: int | None = ...,
    ping_interval: float | None = 20,
    ping_timeout: float | None = 20,
    close_timeout: float = 5,
) -> WebSocket: ...

class WebSocket:
    subprotocol: str | None
    close_code: int | None
    close_reason: str
    # Made by `accept` only.
    def __init__(
        self,
        wire: Any,
        protocol: Any,
        max_size: int | None,
        ping_interval: float | None,
        ping_timeout: float | None,
        close_timeout: float,
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    def receive(self, timeout: float | None = None) -> str | bytes: ...
    def send(self, message: str | bytes | bytearray | memoryview) -> None: ...
    def close(self, code: int = 1000, reason: str = "") -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> str | bytes: ...
