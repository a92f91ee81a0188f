"""WebSocket (RFC 6455) for WSGI applications on `gevlite.pywsgi`, also in gunicorn and `gevlite serve`.

    def application(environ, start_response):
        websocket = accept(environ)
        for message in websocket:
            websocket.send(message)
        return []

The sans-I/O layer of the package websockets parses the bytes: `pip install 'gevlite[websocket]'`. This module does the
I/O and the waiting. For each connection a greenlet reads, so that pings are answered and the end of the connection is
noticed, whatever the application does. It never waits for the application to finish sending: if both sides sent a lot
and read nothing meanwhile, they would wait for each other. It does wait while the application leaves messages unread.
Writers take turns. If a write is interrupted, the connection is lost, because it is not known how much of a frame was
sent.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal, Self

from gevlite._http.settings import RequestError

__all__ = ["HandshakeError", "WebSocket", "WebSocketClosed", "accept"]

class HandshakeError(RequestError):
    """The request cannot become a WebSocket; `status` says why, in the words of the response that the client gets."""

class WebSocketClosed(ConnectionError):
    """The connection is closed. `code` and `reason` are `WebSocket.close_code` and `WebSocket.close_reason`."""

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
) -> WebSocket:
    """Answer a request with "101 Switching Protocols" and return the `WebSocket`. Blocks until the response is sent.

    If the application makes a response of its own afterwards, that is dropped. When it returns, the connection is
    closed.

    subprotocols: those that the application speaks, best first. The first one that the client offers is used, if any.
    origins: which web pages may connect, by the `Origin` that browsers send. By default those of the same host and port
    as `Host`; "*" for all; a list such as `["https://example.com"]`; or a function that gets the origin (None if there
    is none) and returns whether it may connect. A client without an origin (not a browser) may connect, unless the
    function refuses it.
    headers: further headers of the response, (name, value).
    compression: use permessage-deflate (RFC 7692) if the client offers it. Costs time, and 64 KiB for each connection.
    max_size: bytes of a received message; a longer one closes the connection (1009). None: no limit.
    ping_interval: a client that was silent for this many seconds gets a ping; None: never.
    ping_timeout: a client that stays silent for this many more seconds is lost (1011); None: never.
    close_timeout: how many seconds a client may take to answer when the connection is closed.

    Raises HandshakeError if the request is not a correct handshake or its origin may not connect; the client gets the
    answer at once, or when the application lets the error through. Raises RuntimeError if the response has already
    begun, ImportError without websockets.
    """

class WebSocket:
    """A connection, returned by `accept`. For greenlets of one thread: several may send, and several may receive.

    A Timeout or a kill in `receive` loses no message. In `send` it loses the connection, because a partly sent frame
    cannot be taken back, unless this greenlet was still waiting for others to send.
    """

    subprotocol: str | None
    """The agreed subprotocol, or None."""
    close_code: int | None
    """Why the connection is closed, a code of RFC 6455, 7.4; None while it is open. It is the code of the side that
    closed first; 1005 if the client gave none, 1006 if the connection was lost.
    """
    close_reason: str
    """Text that explains `close_code`."""
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
    def closed(self) -> bool:
        """True once nothing can be sent any more, because either side has closed or the connection is lost."""
    def receive(self, timeout: float | None = None) -> str | bytes:
        """The next message: str if it is text, bytes if it is binary. Blocks until it has arrived completely.

        Raises WebSocketClosed, after all earlier messages were received; TimeoutError if none arrives within `timeout`
        seconds.
        """
    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message: as text if it is a str, as binary if it is bytes or the like.

        Blocks while others send, and while the client accepts no more data. A client that is too slow is lost, see
        `pywsgi.Limits.write_timeout` and `min_rate`.

        Raises WebSocketClosed. Raises TypeError, and UnicodeEncodeError for a str that cannot be encoded, before
        anything is sent.
        """
    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection: send a close, and block until the client answers, at most `close_timeout` seconds.

        Messages that the client still sends are dropped. Does nothing if the connection is closed.

        Raises ValueError for a code that RFC 6455 does not allow, or a reason of more than 123 bytes.
        """
    def __iter__(self) -> Self:
        """Each message as it arrives, until the connection is closed."""
    def __next__(self) -> str | bytes: ...
