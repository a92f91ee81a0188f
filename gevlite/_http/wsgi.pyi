"""WSGI (PEP 3333) on an HTTP connection: environ in, the application's response out.

`Handler` is the whole of `pywsgi.WSGIHandler`, whose methods people override. Each step is a `cpdef` method, and
calls the next one as Python would, so that an override is heeded. A handler class that overrides none of them is `quick`:
the same methods, called as C functions. Nothing is written twice.
"""

from collections.abc import Iterable, Iterator
from http.client import HTTPMessage
from types import TracebackType
from typing import Any

from typing_extensions import disjoint_base

from gevlite._http.response import Response
from gevlite._http.transport import Reader
from gevlite.websocket import WebSocket

@disjoint_base
class Input:
    """`environ["wsgi.input"]`: the body of the request, decoded, up to its end.

    Reading blocks only the calling greenlet. Raises an OSError: `RequestError` if the body is malformed, too large or
    too slow, which becomes a response if it is not caught; ConnectionResetError if the client hangs up. A Timeout loses
    nothing: the next call begins with the bytes that had come by then.

    After a response "101 Switching Protocols" it goes on with everything that the client sends on the connection.
    """
    @property
    def content_length(self) -> int | None:
        """Its length as the request states it, None if it does not."""
    @property
    def trailers(self) -> list[tuple[str, str]] | None:
        """The fields behind a chunked body, a list of (name, value), once it was read to its end; else None."""
    @property
    def rfile(self) -> Reader:
        """The connection's incoming bytes as a file. Taking this takes the connection over: no response is sent for a
        request whose application returns without `start_response`, and the connection is closed.
        """
    @property
    def chunked_input(self) -> bool:
        """True if the body comes in chunks."""
    def read(self, length: int | None = None) -> bytes:
        """`length` bytes, fewer only at the end; all with None or a negative number."""
    def readline(self, size: int | None = None) -> bytes:
        """Read up to and including the next line feed, at most `size` bytes."""
    def readlines(self, hint: int | None = None) -> list[bytes]:
        """The rest as a list of lines; with `hint`, no more than it takes to reach that many bytes."""
    def next(self) -> bytes:
        """The same as `next(input)`."""
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...

@disjoint_base
class Upgrade:
    """`environ["gevlite.websocket"]`: the client asks for a WebSocket, and `gevlite.websocket.accept` makes one of this.

    From then on it carries the bytes of the WebSocket: one greenlet reads, another one writes.
    """

    websocket: WebSocket | None
    """What was made of it, if anything."""
    @property
    def acceptable(self) -> bool:
        """False while there is a body: its bytes could be taken for the first frame."""
    @property
    def closing(self) -> bool:
        """True once the server stops."""
    def answer(self, status: str, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        """Send the response. Raises RuntimeError if it is too late for that."""
    def read(self, timeout: float | None) -> bytes:
        """Read what came; b"" when the client has finished. Raises OSError; TimeoutError after `timeout` seconds."""
    def write(self, data: bytes) -> None:
        """Send all of it. Raises OSError; TimeoutError if the client takes it too slowly (`Limits`)."""
    def finish(self) -> None:
        """Send the end of file, and block until the client has seen it, or for a moment."""
    def abort(self) -> None:
        """Cut the connection: the reader and the writer are woken by an OSError. Does not block."""

@disjoint_base
class Handler(Response):
    """Serves one connection; see `pywsgi.WSGIHandler`."""

    protocol_version: str
    MessageClass: type[HTTPMessage]
    ignored_socket_errors: tuple[int, ...]
    socket: Any
    client_address: Any
    server: Any
    application: Any
    wsgi_input: Input | None
    time_start: float | None
    time_finish: float | None
    taken_over: bool
    requestline: str | None
    """The first line of the request, as text."""
    def __init__(self, sock: Any, address: Any, server: Any, rfile: Any = None) -> None: ...
    @property
    def rfile(self) -> Reader:
        """The client's bytes that are not used yet, as a file."""
    @property
    def accepted_websocket(self) -> WebSocket | None:
        """The `gevlite.websocket.WebSocket` that the application has accepted, or None."""
    @property
    def command(self) -> str | None:
        """The method."""
    @property
    def path(self) -> str | None:
        """The target as it was sent: not decoded, with the query."""
    @property
    def request_version(self) -> str | None:
        """ "HTTP/1.1" or "HTTP/1.0"."""
    @property
    def content_length(self) -> int | None:
        """The length that the request states for its body, None if it states none."""
    @property
    def headers(self) -> HTTPMessage:
        """The request's header fields, a new `MessageClass`."""
    def handle(self) -> None:
        """Serve one request after the other until the connection is to be closed, which its server does."""
    def handle_one_request(self) -> bool | tuple[bytes, bytes] | None:
        """Read a request, and answer it. True if another one may follow, None if the connection is to be closed."""
    def read_requestline(self) -> bytes:
        """Block until there is a line; take it. b"" if there is none: the client has finished, or took too long."""
    def read_request(self, raw_requestline: bytes) -> bool:
        """Read the rest of the request that begins with this line. False if there is none. An override that returns
        False without having asked this one refuses the request: 400.
        """
    def get_environ(self) -> dict[str, Any]:
        """The environ of the request. A subclass may add to it."""
    def handle_one_response(self) -> None:
        """Run the application, send what it returns, and leave the connection ready for the next request."""
    def run_application(self) -> None:
        """Call the application and send its result."""
    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """`environ["wsgi.early_hints"]`: send a response "103 Early Hints" (RFC 8297) with these headers, a list of
        (name, value) such as `("Link", "</style.css>; rel=preload; as=style")`, ahead of the real one.

        Does nothing if the client speaks HTTP/1.0, or once the response has begun. Blocks while the client takes no
        more. Raises ValueError or TypeError for what cannot be in such a response, OSError if the client is gone.
        """
    def get_connection_environ(self) -> dict[str, Any]:
        """The entries of environ that all requests of the connection have: REMOTE_ADDR, REMOTE_PORT."""
    def report_error(self, t: type[BaseException], v: BaseException, tb: TracebackType | None) -> None:
        """Report an exception to us, not to the client: by `Hub.handle_error`, with an environ that hides secrets."""
    def handle_error(self, t: type[BaseException], v: BaseException, tb: TracebackType | None) -> None:
        """The application failed: `report_error`. If the head of the response is not yet sent, send a 500 without
        details, or a 503 if the application took longer than `Limits.request_timeout`; else the connection is closed
        before the response is complete. Nothing is sent if the application has taken the connection over.
        """
    def log_request(self) -> None:
        """Write the line of `format_request` to the server's log, or a line in its own format if it is an AccessLog."""
    def format_request(self) -> str:
        """The line for the log: client, time, request line, status, bytes sent, seconds."""
    def log_error(self, msg: str, *args: Any) -> None:
        """Write `msg % args` to the server's error log."""
