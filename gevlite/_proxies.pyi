from collections.abc import Iterable
from typing import Any

__all__ = ["HEADERS", "Proxies", "ProxyError", "read_proxy_header"]

HEADERS: tuple[str, ...]

class Proxies:
    trusted: tuple[str, ...]
    headers: tuple[str, ...]
    protocol: bool
    def __init__(
        self, trusted: str | Iterable[str], headers: str | Iterable[str] = (), protocol: bool = False
    ) -> None: ...
    def trusts(self, address: Any) -> bool: ...
    def apply(self, address: Any, environ: dict[str, Any]) -> None: ...

class ProxyError(OSError): ...

def read_proxy_header(
    sock: Any, address: Any, timeout: float, versions: tuple[int, ...] = (1, 2), optional: bool = False
) -> Any: ...
