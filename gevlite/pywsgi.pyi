"""A WSGI server: HTTP/1.0 and 1.1, one greenlet for each connection.

    WSGIServer(("", 8000), application).serve_forever()

The server and its settings are here; what happens on a connection is in `_http/`. Needs the package httptools:
`pip install 'gevlite[wsgi]'`.
"""

import logging
from collections.abc import ItemsView, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias
from wsgiref.types import WSGIApplication

from gevlite._accesslog import AccessLog as AccessLog
from gevlite._http.response import FileWrapper as FileWrapper
from gevlite._http.settings import RequestError as RequestError
from gevlite._http.wsgi import Handler, Input as Input
from gevlite._proxies import Proxies as Proxies
from gevlite.baseserver import _Listener, _Spawn
from gevlite.server import StreamServer
from gevlite.socket import socket as _Socket

__all__ = [
    "AccessLog",
    "Environ",
    "FileWrapper",
    "Input",
    "Limits",
    "LoggingLogAdapter",
    "Proxies",
    "RequestError",
    "SecureEnviron",
    "WSGIHandler",
    "WSGISecureEnviron",
    "WSGIServer",
]

class _Writes(Protocol):
    def write(self, msg: str, /) -> object: ...

_Log: TypeAlias = _Writes | logging.Logger | str | None

@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much, and how slowly, a client may send. Sizes are in bytes, times in seconds; None: no limit.

    A client beyond a limit gets a response that says so (413, 414, 431, 408), and the connection is closed.
    """

    max_request_line: int = 8190
    """The request line."""
    max_headers: int = 100
    """The number of header fields, and of trailer fields."""
    max_header_bytes: int = 65536
    """All header fields together."""
    max_field_bytes: int = 65536
    """One header field, with its name."""
    max_body: int | None = ...
    """The body, decoded."""
    header_timeout: float | None = 10
    """From the first byte of a request to the end of its head. Also how long a new connection may stay silent."""
    keepalive_timeout: float | None = 60
    """Between two requests on a connection. 0: a connection is closed after its first one."""
    closing_timeout: float = 2
    """Once the server stops: how long a connection that waits for a request, its first or its next, may still send one."""
    linger_timeout: float = 30
    """How long the server reads from the client after the last response, so that the client gets to see the response."""
    body_timeout: float | None = 30
    """How long no byte of the body may arrive while the application waits for it."""
    write_timeout: float | None = 30
    """How long the client may accept no byte of the response; up to four times as long if it was faster than
    `min_rate`.
    """
    request_timeout: float | None = None
    """How long the application may take from the head of a request to the beginning of its response. After that, its
    greenlet gets a `Timeout`, and the client gets 503.
    """
    max_queued: int | None = None
    """How many requests may wait for one of the places that the server's `spawn` gives; further ones get 503 at once.
    None: any number, but then no connection is accepted while all places are taken.
    """
    min_rate: int = 500
    """Bytes per second that must be received, or accepted by the client, on average over the time spent waiting. For a
    slower client, `body_timeout` and `write_timeout` shrink. 0: no minimum.
    """
    def __post_init__(self) -> None: ...
    @classmethod
    def from_environment(cls, **limits: Any) -> Self:
        """Limits from the arguments and from the environment, which overrides the arguments.

        The variable of a limit is GEVLITE_ and its name in capitals, such as GEVLITE_MAX_BODY. A size may end with k, m
        or g; "none" means None. An empty variable counts as unset. Raises ValueError for an invalid value.
        """

def parse_size(text: str) -> int:
    """A number of bytes: 1000, 64k, 1.5g. Raises ValueError or OverflowError for anything else."""

def parse_limit(name: str, text: str) -> float | None:
    """The value of the limit `name` from the text of an option or a variable."""

class LoggingLogAdapter:
    """A log for `WSGIServer` that writes to a `logging.Logger` or a similar object: each line is logged at `level`."""
    def __init__(self, logger: logging.Logger, level: int = 20) -> None: ...
    def write(self, msg: str) -> None:
        """Log a line."""
    def flush(self) -> None:
        """Does nothing."""
    def writelines(self, lines: Iterable[str]) -> None:
        """Log each of `lines`."""
    # Anything else is the logger's.
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...
    def __delattr__(self, name: str) -> None: ...

class Environ(dict[str, Any]):
    """A base class for environs other than dict."""
    def copy(self) -> Self:
        """A copy of the same class."""
    def iteritems(self) -> ItemsView[str, Any]:
        """`items()`."""

class SecureEnviron(Environ):
    """An environ whose `repr`, which may end up in a log, shows no secrets.

    All values except those of `whitelist_keys` are masked; with `print_masked_keys`, their keys are shown. If
    `secure_repr` is false, everything is shown. The class attributes `default_...` apply to all instances that do not
    set their own value.
    """

    default_secure_repr: bool
    default_whitelist_keys: tuple[str, ...]
    default_print_masked_keys: bool
    secure_repr: bool
    whitelist_keys: tuple[str, ...]
    print_masked_keys: bool

class WSGISecureEnviron(SecureEnviron):
    """The form of an environ in error reports: shows only where the request came from."""

class WSGIHandler(Handler):
    """Serves the requests of one connection, one after the other. Give a subclass to `WSGIServer` as `handler_class`.

    Each step is a method that may be overridden, and calls the next:

    * `handle()` for the connection: calls `handle_one_request()` until that returns something other than True
    * `handle_one_request()`: reads a head, then `get_environ()` (the first time `get_connection_environ()`),
      `handle_one_response()`
    * `handle_one_response()`: `run_application()`, then `log_request()`; if that fails `handle_error()`, which calls
      `report_error()`
    * `run_application()`: calls the application, which calls `start_response()`; then `process_result()`
    * `process_result()`: `write()` for each piece of the body
    * `write()`: the first time, `finalize_headers()`; then sends

    `socket`, `client_address`, `server`, `environ`, `application`, `status`, `code`, `response_headers`, `result`,
    `headers_sent`, `response_length`, `close_connection`, `time_start` and `time_finish` are attributes; `command`,
    `path`, `request_version`, `requestline`, `headers` and `content_length` describe the request.

    To speak another protocol on the connection (WebSocket: RFC 6455), override `run_application`, call
    `start_response("101 Switching Protocols", headers)` and `write(b"")`, and then use `socket` to send and `rfile` to
    receive. The connection is closed when `run_application` returns.
    """

class WSGIServer(StreamServer):
    """Serves a WSGI application.

    For `listener`, `backlog` and the TLS arguments see `StreamServer`.

    spawn: as there, but a number limits the requests served at a time. A connection takes one of these places when the
    head of a request has arrived and gives it back after the response, so a silent client keeps no other client out.
    While all places are taken, no connection is accepted. (In a pool, each connection has a place for as long as it
    lasts.)

    log: where requests are logged: an `AccessLog`, which costs least; any object with `write()`, such as a file; a
    `logging.Logger`, or any object with its method `log()`; "default" for sys.stderr, None for nowhere.
    error_log: the same for `wsgi.errors`; None drops what applications write there.
    handler_class: the class that serves a connection, a subclass of `WSGIHandler`.
    environ: a dict that is added to the environ of each request.
    limits: `Limits` of sizes and times.
    strict: refuse requests that standards do not allow, or that few servers understand: quotation marks, <, >, # and
    bytes beyond ASCII in targets, unregistered methods, HTTP/1.2, tabs after values, and white space in chunk
    extensions.
    proxies: `Proxies` that are trusted to say who the client is; None: no proxy is trusted.
    status_path: a path, such as "/-/status", at which the server itself shows what its process is doing: there for
    people, at "/-/status/metrics" for Prometheus. Only clients on the same machine get it, see docs/metrics.md. None:
    there is no such page.

    Raises ImportError if httptools is not installed.
    """

    handler_class: type[WSGIHandler]
    limits: Limits
    max_connections: int | None
    """The maximum number of connections; None: as many descriptors as the process may have (RLIMIT_NOFILE), less some
    for the application. A further one replaces the one that has been waiting for a request for the longest time.
    """
    proxies: Proxies | None
    status_path: str | None
    environ_class: type[dict[str, Any]]
    secure_environ_class: type[SecureEnviron]
    base_env: dict[str, Any]
    application: WSGIApplication
    environ: dict[str, Any]
    log: Any
    error_log: Any
    def __init__(
        self,
        listener: _Listener,
        application: WSGIApplication | None = None,
        backlog: int | None = None,
        spawn: _Spawn = "default",
        log: _Log = "default",
        error_log: _Log = "default",
        handler_class: type[WSGIHandler] | None = None,
        environ: Mapping[str, Any] | None = None,
        *,
        limits: Limits | None = None,
        proxies: Proxies | None = None,
        strict: bool = False,
        status_path: str | None = None,
        # See StreamServer.
        **ssl_args: Any,
    ) -> None: ...
    def set_environ(self, environ: Mapping[str, Any] | None = None) -> None:
        """Set the template of environs: `base_env` and `environ`, as an `environ_class`."""
    def set_max_accept(self) -> None:
        """If there are other processes, accept fewer clients in a row, to leave some to them."""
    def get_environ(self) -> dict[str, Any]:
        """A new copy of the environ's common part."""
    def update_environ(self) -> None:
        """Called once the address is known: set SERVER_NAME and SERVER_PORT, unless `environ` has them."""
    def handle(self, sock: _Socket, address: Any) -> None:
        """Serve a connection until it ends."""
