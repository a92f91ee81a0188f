"""A WSGI server: HTTP/1.0 and 1.1, one greenlet for each connection.

    WSGIServer(("", 8000), application).serve_forever()

The server and its settings are here; what happens on a connection is in `_http/`. Needs the package httptools:
`pip install 'gevlite[wsgi]'`.
"""

import dataclasses
import functools
import itertools
import logging
import operator
import os
import resource
import sys

from gevlite import socket
from gevlite._accesslog import AccessLog
from gevlite._core import monotonic
from gevlite._http.response import FileWrapper
from gevlite._http.settings import RequestError, Settings
from gevlite._http.wsgi import Handler, Input
from gevlite._proxies import Proxies, ProxyError, read_proxy_header
from gevlite._version import __version__
from gevlite.baseserver import name_of, refuse_async
from gevlite.greenlet import spawn, spawn_later
from gevlite.lock import Semaphore
from gevlite.server import StreamServer
from gevlite.timeout import Timeout

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

# Descriptors that connections leave to the application.
SPARE_DESCRIPTORS = 128
# If there are too many connections, one is closed: the number of connections that are considered, and the seconds for
# which a connection that has sent no request yet is preferred to one that waits for its next request.
LOOK_AT = 1000
SILENCE = 1.0
# How many clients are answered 503 at the same time if there are too many connections, and the seconds for each.
TURNED_AWAY = 100
TURN_AWAY_TIME = 1.0
_TURN_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 20\r\nConnection: close\r\n\r\n"
    b"Service Unavailable\n"
)
# Requests by the first digit of their status; none: the application sent nothing.
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
# Seconds for the header of the PROXY protocol, which a proxy sends at once.
PROXY_TIME = 5.0
# Seconds between two lines about proxies that do not send it.
PROXY_ERROR_INTERVAL = 10.0
# Seconds that a stop waits for the reader of the access log.
LOG_TIME = 1.0

_MAY_BE_ZERO = (
    "max_body", "max_headers", "keepalive_timeout", "closing_timeout", "linger_timeout", "max_queued", "min_rate",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much, and how slowly, a client may send. Sizes are in bytes, times in seconds; None: no limit.

    A client beyond a limit gets a response that says so (413, 414, 431, 408), and the connection is closed.
    """

    #: The request line.
    max_request_line: int = 8190
    #: The number of header fields, and of trailer fields.
    max_headers: int = 100
    #: All header fields together.
    max_header_bytes: int = 65536
    #: One header field, with its name.
    max_field_bytes: int = 65536
    #: The body, decoded.
    max_body: int | None = 1 << 30
    #: From the first byte of a request to the end of its head. Also how long a new connection may stay silent.
    header_timeout: float | None = 10
    #: Between two requests on a connection. 0: a connection is closed after its first one.
    keepalive_timeout: float | None = 60
    #: Once the server stops: how long a connection that waits for a request, its first or its next, may still send one.
    closing_timeout: float = 2
    #: How long no byte of the body may arrive while the application waits for it.
    body_timeout: float | None = 30
    #: How long the server reads from the client after the last response, so that the client gets to see the response.
    linger_timeout: float = 30
    #: How long the client may accept no byte of the response; up to four times as long if it was faster than
    #: `min_rate`.
    write_timeout: float | None = 30
    #: How long the application may take from the head of a request to the beginning of its response. After that, its
    #: greenlet gets a `Timeout`, and the client gets 503.
    request_timeout: float | None = None
    #: How many requests may wait for one of the places that the server's `spawn` gives; further ones get 503 at once.
    #: None: any number, but then no connection is accepted while all places are taken.
    max_queued: int | None = None
    #: Bytes per second that must be received, or accepted by the client, on average over the time spent waiting. For a
    #: slower client, `body_timeout` and `write_timeout` shrink. 0: no minimum.
    min_rate: int = 500

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and "None" in str(field.type):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float) if "timeout" in field.name else int):
                wanted = "a number of seconds" if "timeout" in field.name else "a whole number"
                raise TypeError(f"{field.name} must be {wanted}, not {value!r}")
            if value < 0 or value == 0 and field.name not in _MAY_BE_ZERO:
                least = "must not be negative" if field.name in _MAY_BE_ZERO else "must be more than 0"
                raise ValueError(f"{field.name} {least}: {value!r}")

    @classmethod
    def from_environment(cls, **limits):
        """Limits from the arguments and from the environment, which overrides the arguments.

        The variable of a limit is GEVLITE_ and its name in capitals, such as GEVLITE_MAX_BODY. A size may end with k, m
        or g; "none" means None. An empty variable counts as unset. Raises ValueError for an invalid value.
        """
        for field in dataclasses.fields(cls):
            variable = f"GEVLITE_{field.name.upper()}"
            text = os.environ.get(variable, "").strip()
            if text:
                try:
                    value = parse_limit(field.name, text)
                    cls(**{field.name: value})
                except (TypeError, ValueError, OverflowError):
                    raise ValueError(f"{variable} cannot be {text!r}") from None
                limits[field.name] = value
        return cls(**limits)


_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(text):
    """A number of bytes: 1000, 64k, 1.5g. Raises ValueError or OverflowError for anything else."""
    factor = _UNITS.get(text[-1:].lower(), 1)
    return int(float(text if factor == 1 else text[:-1]) * factor)


def parse_limit(name, text):
    """The value of the limit `name` from the text of an option or a variable."""
    return None if text.lower() == "none" else float(text) if "timeout" in name else parse_size(text)


# Under gevent's name. To set another limit, use `WSGIServer(limits=...)`.
MAX_REQUEST_LINE = Limits.max_request_line


class LoggingLogAdapter:
    """A log for `WSGIServer` that writes to a `logging.Logger` or a similar object: each line is logged at `level`."""

    def __init__(self, logger, level=logging.INFO):
        self.__dict__.update(_logger=logger, _level=level)

    def write(self, msg):
        """Log a line."""
        msg = msg.rstrip("\n")
        if msg:
            self._logger.log(self._level, msg)

    def flush(self):
        """Does nothing."""

    def writelines(self, lines):
        """Log each of `lines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name):
        return getattr(self._logger, name)

    def __setattr__(self, name, value):
        setattr(self._logger, name, value)

    def __delattr__(self, name):
        delattr(self._logger, name)


class _NoLog:
    """The log for `log=None`."""

    def write(self, msg):
        pass

    def flush(self):
        pass

    def writelines(self, lines):
        pass


class Environ(dict):
    """A base class for environs other than dict."""

    __slots__ = ()

    def copy(self):
        """A copy of the same class."""
        return self.__class__(self)

    def iteritems(self):
        """`items()`."""
        return self.items()


class SecureEnviron(Environ):
    """An environ whose `repr`, which may end up in a log, shows no secrets.

    All values except those of `whitelist_keys` are masked; with `print_masked_keys`, their keys are shown. If
    `secure_repr` is false, everything is shown. The class attributes `default_...` apply to all instances that do not
    set their own value.
    """

    default_secure_repr = True
    default_whitelist_keys: tuple[str, ...] = ()
    default_print_masked_keys = True

    __slots__ = ("print_masked_keys", "secure_repr", "whitelist_keys")
    secure_repr: bool
    whitelist_keys: tuple[str, ...]
    print_masked_keys: bool

    def __getattr__(self, name):
        if name in SecureEnviron.__slots__:
            return getattr(type(self), f"default_{name}")
        raise AttributeError(name)

    def __repr__(self):
        if not self.secure_repr:
            return dict.__repr__(self)
        if not self.whitelist_keys:
            module = type(self).__module__.rpartition(".")[2]
            return f"<{module}.{type(self).__name__} dict (keys: {len(self)}) at {id(self)}>"
        shown = [f"{key!r}: {self[key]!r}" for key in self if key in self.whitelist_keys]
        hidden = [key for key in self if key not in self.whitelist_keys]
        if self.print_masked_keys:
            shown += [f"{key!r}: '<MASKED>'" for key in hidden]
        elif hidden:
            shown.append(f"(hidden keys: {len(hidden)})")
        return "{" + ", ".join(shown) + "}"

    __str__ = __repr__


class WSGISecureEnviron(SecureEnviron):
    """The form of an environ in error reports: shows only where the request came from."""

    default_whitelist_keys = ("REMOTE_ADDR", "REMOTE_PORT", "HTTP_HOST")
    default_print_masked_keys = False

    __slots__ = ()


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

    handler_class = WSGIHandler
    limits = Limits()
    proxies = None
    status_path = None
    environ_class = dict
    secure_environ_class = WSGISecureEnviron
    log = None
    error_log = None

    #: The maximum number of connections; None: as many descriptors as the process may have (RLIMIT_NOFILE), less some
    #: for the application. A further one replaces the one that has been waiting for a request for the longest time.
    max_connections = None

    base_env = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": f"gevlite/{__version__} Python/{sys.version_info[0]}.{sys.version_info[1]}",
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }

    def __init__(
        self,
        listener,
        application=None,
        backlog=None,
        spawn="default",
        log="default",
        error_log="default",
        handler_class=None,
        environ=None,
        *,
        limits=None,
        proxies=None,
        strict=False,
        status_path=None,
        **ssl_args,
    ):
        if proxies is not None:
            if not isinstance(proxies, Proxies):
                raise TypeError(f"proxies must be a Proxies, not {proxies!r}")
            self.proxies = proxies
        if limits is not None:
            if not isinstance(limits, Limits):
                raise TypeError(f"limits must be a Limits, not {limits!r}")
            self.limits = limits
        self._settings = Settings(self.limits, _parser_class())
        self._settings.strict = strict
        if status_path is not None:
            self.status_path = status_path
        if self.status_path is not None:
            from gevlite._status import check_path

            check_path("status_path", self.status_path)
        self._handlers = {}  # each with the time of its connection, in that order
        self._turned_away = 0  # the number of clients that are being answered 503
        self._proxy_errors = 0
        self._next_proxy_error = 0.0
        self._closing = None  # the greenlet that will close the connections that still wait for a request
        if application is not None:
            refuse_async(application, "a WSGI application")
            self.application = application
        if handler_class is not None:
            self.handler_class = handler_class
        self._to_terminal = log == "default"
        self.log = _log(log, logging.INFO)
        self.error_log = _log(error_log, logging.ERROR)
        super().__init__(listener, backlog=backlog, spawn=spawn, **ssl_args)
        self.set_environ(environ)
        self.set_max_accept()

    def _say_where(self):
        if self._to_terminal:
            self.log.write(f"{type(self).__name__} listens on {self._url()}\n")
        super()._say_where()

    def _url(self):
        return name_of(self.address, "https://" if self.ssl_enabled else "http://")

    # -------- environ

    def set_environ(self, environ=None):
        """Set the template of environs: `base_env` and `environ`, as an `environ_class`."""
        if environ is not None:
            self.environ = environ
        made = dict(self.base_env)
        made["wsgi.url_scheme"] = "https" if self.ssl_enabled else "http"
        made["wsgi.errors"] = sys.stderr if self.error_log is None else self.error_log
        made["wsgi.input_terminated"] = True
        made["wsgi.file_wrapper"] = FileWrapper
        made.update(getattr(self, "environ", None) or {})
        self.environ = self.environ_class(made)

    def set_max_accept(self):
        """If there are other processes, accept fewer clients in a row, to leave some to them."""
        if self.environ.get("wsgi.multiprocess"):
            self.max_accept = 1

    def get_environ(self):
        """A new copy of the environ's common part."""
        if not isinstance(self.environ, self.environ_class):
            self.environ = self.environ_class(self.environ)  # it was set meanwhile
        return self.environ.copy()

    _plain_get_environ = get_environ

    def update_environ(self):
        """Called once the address is known: set SERVER_NAME and SERVER_PORT, unless `environ` has them."""
        address = self.address
        if isinstance(address, tuple):
            host, port = address[0], str(address[1])
            if host in ("", "0.0.0.0", "::"):
                host = socket.gethostname()
            elif ":" in host:
                host = f"[{host}]"  # RFC 3875, 4.1.14
        else:
            host, port = "localhost", "443" if self.ssl_enabled else "80"
        self.environ.setdefault("SERVER_NAME", host)
        if self.environ.get("SERVER_PORT") in (None, "0", ""):
            self.environ["SERVER_PORT"] = port

    # -------- how many

    def set_spawn(self, spawn):
        self._places = None
        if isinstance(spawn, int) and not isinstance(spawn, bool):
            self._places, spawn = Semaphore(spawn), "default"
        super().set_spawn(spawn)

    def full(self):
        """True if no more connections are accepted now: all places are taken, or there are too many connections."""
        if self._places_are_taken():
            return True
        return len(self._serving) >= self._most_connections or super().full()

    def _places_are_taken(self):
        return self._places is not None and self.limits.max_queued is None and self._places.locked()

    def do_read(self):
        if self._places is None or self.socket.gettimeout() == 0:
            return super().do_read()
        # Not in accept: while this greenlet waits, all places may be taken, and then another process may take the
        # client.
        found = self._read_now()
        if found is None:
            socket.wait_read(self.socket)
        return found

    def _wait_for_room(self):
        if self._places_are_taken():
            self._places.wait()
        elif len(self._serving) >= self._most_connections:
            socket.wait_read(self.socket)  # a client wants to connect
            self._served.clear()
            if not self._hang_up_on_one() and self.limits.max_queued is not None and self._turned_away < TURNED_AWAY:
                self._turn_away_one()
                return
            self._served.wait(5 * self.min_delay)  # or until a connection may have become silent
        else:
            super()._wait_for_room()

    def _hang_up_on_one(self):
        """Close a silent connection to make room for a new one. False if all are busy."""
        silent = [
            (since, functools.partial(socket.socket.shutdown, sock, socket.SHUT_RDWR))
            for sock, since in itertools.islice(self._shaking.items(), 1)
        ]
        kept = []  # between two requests
        for handler, since in itertools.islice(self._handlers.items(), LOOK_AT):
            connection = handler.connection
            if connection.waiting:
                (kept if connection.served else silent).append((since, connection.stop_waiting))
        silent.sort(key=operator.itemgetter(0))
        if silent and (not kept or silent[0][0] < monotonic() - SILENCE):
            hang_up = silent[0][1]
        elif kept:
            hang_up = kept[0][1]
        else:
            return False
        try:
            hang_up()
            self._refused += 1
        except OSError:
            pass  # it has already ended
        return True

    def _turn_away_one(self):
        found = self._read_now()
        if found is not None:
            self._turned_away += 1
            self._refused += 1
            spawn(self._turn_away, found[0])

    def _turn_away(self, sock):
        """Answer a client 503 at once, because there are too many."""
        try:
            with Timeout(TURN_AWAY_TIME, False):
                if not self.ssl_enabled:  # a handshake would need resources that are lacking
                    sock.sendall(_TURN_AWAY)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass  # otherwise it might not see the response
        except OSError:
            pass
        finally:
            self._turned_away -= 1
            sock.close()

    @property
    def _may_kill(self):
        return self._places is not None or super()._may_kill

    def _counts(self):
        answered, times, limits, seconds, serving = self._settings.counts()
        return {
            **super()._counts(),
            "requests": dict(zip(_CLASSES, answered, strict=True)),
            "active": serving,
            "waiting": self._settings.queued,
            "duration": (seconds, limits, times),
        }

    # -------- life

    def init_socket(self):
        super().init_socket()
        self.update_environ()

    def start_accepting(self):
        if self.status_path is not None:
            from gevlite._status import StatusPage

            self._settings.status_path = self.status_path
            self._settings.status_page = StatusPage(self.status_path, bool(self.environ.get("wsgi.multiprocess")))
        self._settings.closing = self._settings.stopped = False
        self._forget_closing()
        self._most_connections = self.max_connections or _descriptors()
        super().start_accepting()

    def close(self):
        """Stop accepting and close the listener. Each connection is closed after the request that it is serving. A
        connection that waits for a request may send one more within `Limits.closing_timeout` seconds. Never blocks.
        """
        super().close()
        if not self._settings.closing:
            self._settings.closing = True
            # A client with an open connection may be about to send a request.
            waiting = [(handler.connection, handler.connection.served) for handler in self._handlers]
            if waiting:
                self._closing = spawn_later(self.limits.closing_timeout, self._close_waiting, waiting)
            for handler in self._handlers:
                if handler.accepted_websocket is not None:
                    spawn(handler.accepted_websocket._go_away)

    def _close_waiting(self, waiting):
        for connection, served in waiting:
            connection.close_if_idle(served)

    def _forget_closing(self):
        closing, self._closing = self._closing, None
        if closing is not None:
            closing.kill(block=False)

    def _drain(self):
        try:
            super()._drain()
        finally:
            self._forget_closing()
            self._settings.stopped = True
            for handler in list(self._handlers):
                handler.connection.stop_waiting()
                if handler.accepted_websocket is not None:
                    handler.accepted_websocket._abort("the server stops")
            if isinstance(self.log, AccessLog):
                with Timeout(LOG_TIME, False):
                    self.log.flush()

    @property
    def _logs(self):
        return not isinstance(self.log, _NoLog)

    @property
    def _own_environ(self):
        if type(self.environ) is not dict or self.environ_class is not dict:
            return True
        return type(self).get_environ is not WSGIServer.get_environ

    def _handle(self, sock, address):
        versions, optional = self._proxy_headers(address)
        if versions:
            # Before TLS: the proxy speaks before the client does.
            self._shaking[sock] = monotonic()
            try:
                address = read_proxy_header(sock, address, PROXY_TIME, versions, optional)
                if address.unread and self.ssl_enabled:
                    raise ProxyError("neither a header of the PROXY protocol nor TLS")
            except ProxyError as exc:
                self._log_proxy_error(address, exc)
                return None
            except OSError:
                self._failed += 1
                return None
            finally:
                del self._shaking[sock]
            sock.settimeout(None)
        return super()._handle(sock, address)

    def _proxy_headers(self, address):
        """`(versions, optional)`: which versions of the PROXY protocol a connection from `address` may begin with, and
        whether the header is optional."""
        proxies = self.proxies
        return (1, 2) if proxies is not None and proxies.protocol and proxies.trusts(address) else (), False

    def _log_proxy_error(self, address, exc):
        # A misconfigured proxy fails at each connection.
        self._failed += 1
        self._proxy_errors += 1
        if monotonic() >= self._next_proxy_error:
            self._next_proxy_error = monotonic() + PROXY_ERROR_INTERVAL
            who = address[0] if isinstance(address, tuple) else "a UNIX socket"
            self.error_log.write(f"gevlite: {who}: {exc} (connections closed so far: {self._proxy_errors})\n")

    def handle(self, sock, address):
        """Serve a connection until it ends."""
        unread, proxied = getattr(address, "unread", b""), getattr(address, "proxied", False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.family == socket.AF_INET6 and address[0].startswith("::ffff:") and "." in address[0]:
            # IPv4, through a socket for both.
            address = (address[0].removeprefix("::ffff:"), address[1])
        handler = self.handler_class(sock, address, self)
        handler._proxied = proxied
        self._handlers[handler] = monotonic()
        if unread:
            handler.connection.put_back(unread)
        try:
            handler.handle()
        finally:
            del self._handlers[handler]
            if not self._handlers:
                self._forget_closing()


def _descriptors():
    """The number of connections that the process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - SPARE_DESCRIPTORS, soft // 2)


def _log(log, level):
    if log == "default":
        return sys.stderr
    if log is None:
        return _NoLog()
    if not hasattr(log, "write"):
        if not hasattr(log, "log"):
            raise TypeError(f"a log must have a method write(), or log() like a logger, not {log!r}")
        return LoggingLogAdapter(log, level)
    return log


def _parser_class():
    try:
        from httptools import HttpRequestParser
    except ImportError as exc:
        raise ImportError(
            "gevlite.pywsgi needs the package httptools to parse HTTP: pip install 'gevlite[wsgi]'"
        ) from exc
    return HttpRequestParser
