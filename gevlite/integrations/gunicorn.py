"""gunicorn: a worker that serves with `gevlite.pywsgi`.

    gunicorn -k gevlite.integrations.gunicorn.GevliteWorker app:application

A worker process is patched before it loads the application, and has one greenlet for each connection. It obeys
gunicorn's settings, except those for features that it lacks: threads, HTTP/2, the uwsgi protocol.

`GevliteWorker` controls the process (signals, heartbeat, stop). `_Application` wraps each call of the application. The
handlers do what needs the connection; a costlier handler is used only if settings need it.
"""

import functools
import ipaddress
import os
import signal
import time
import warnings
from datetime import timedelta

import gunicorn
from gunicorn.glogging import Logger
from gunicorn.http.errors import ConfigurationProblem
from gunicorn.http.message import MAX_HEADERS
from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context
from gunicorn.workers.base import Worker

from gevlite import _blocked, monkey, sleep, spawn
from gevlite._rawsocket import RawSocket
from gevlite._version import __version__
from gevlite.event import Event
from gevlite.pywsgi import Limits, WSGIHandler, WSGIServer, _descriptors

__all__ = ["GevliteWorker"]

UNLIMITED = 1 << 30
_BAD = "400 Bad Request"


class GevliteWorker(Worker):
    """gunicorn's worker; see the module.

    Stop and reload (TERM, HUP): no new connections; requests get `graceful_timeout` seconds, and connections between
    two requests a moment for one more. QUIT and INT: at once. The master kills a worker in which no switch between
    greenlets happens for `timeout` seconds. After one second of that, a line in the error log says where: see
    `gevlite.config.watch`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.servers = []
        self._over = None

    # -------- start

    def init_process(self):
        """Called in the new process. Blocks until the worker ends."""
        self._over = Event()
        # Until gunicorn calls `init_signals`, a signal would go to the master's handlers, which do nothing in this
        # process. Patching takes some time, and a worker must not miss a signal to end while it starts.
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
        signal.signal(signal.SIGINT, self.handle_quit)
        self.check()
        self.patch()
        self.watch()
        super().init_process()

    def patch(self):
        """Patch the process. With `preload_app` the application already exists: the log names what still blocks.

        With `gevlite.config.monkey_strict`, the worker then does not start: MonkeyPatchError.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", monkey.MonkeyPatchWarning)
            monkey.patch_all()
        for warning in caught:
            self.log.warning("%s: %s (pid:%s)", warning.category.__name__, warning.message, self.pid)

    def watch(self):
        """Turn on the watch. Its lines go to the error log, unless the application has configured another one."""
        _blocked.other_logger = self.log.error_log
        _blocked.by_default()

    def check(self):
        """Raise RuntimeError for a setting that is not supported and would be unsafe or useless to ignore.

        Raise ValueError for an invalid environment variable.
        """
        self.limits = _limits(self.cfg)
        self.strict = _is_strict()
        self.status_path = _status_path()
        if getattr(self.cfg, "protocol", "http") != "http":
            raise RuntimeError(f"GevliteWorker does not speak {self.cfg.protocol}: remove the setting protocol")

    def init_signals(self):
        super().init_signals()
        # gunicorn makes every signal write a byte into a pipe of its own, which nothing reads here: the hub gets it
        # instead.
        signal.set_wakeup_fd(-1)

    def run(self):
        """Serve until `alive` is False; then stop."""
        spawn(self._beat)
        self.trusts = functools.lru_cache(1024)(functools.partial(_is_in, _addresses(self.cfg.forwarded_allow_ips)))
        application = _Application(self)
        self.servers = [self._server(listener.sock, application) for listener in self.sockets]
        for server in self.servers:
            server._places = self.servers[0]._places  # shared by all servers
            server.max_connections = max(_descriptors() // len(self.servers), 1)
            server.start()
        self._over.wait()
        self._stop()

    def _server(self, listener, application):
        environ = base_environ(self.cfg)
        if self.cfg.sendfile is not False:
            del environ["wsgi.file_wrapper"]  # pywsgi has one that uses sendfile
        environ["wsgi.multithread"] = True  # while one call of the application waits, there are other calls
        environ["SERVER_SOFTWARE"] = f"gevlite/{__version__} gunicorn/{gunicorn.__version__}"
        server = _Server(
            listener,
            application,
            spawn=self.cfg.worker_connections,
            log=None,
            error_log=environ["wsgi.errors"],
            handler_class=_handler_class(self.cfg, self.log),
            environ=environ,
            limits=self.limits,
            strict=self.strict,
            status_path=self.status_path,
            **self._tls(),
        )
        server.worker = self
        server.proxy_versions = _PROXY_VERSIONS[self.cfg.proxy_protocol]
        server.is_proxy = functools.partial(_is_in, _addresses(self.cfg.proxy_allow_ips))
        server._settings.raw_uri = True
        server._settings.header_map = self.cfg.header_map
        server._settings.forwarded = frozenset(name.lower() for name in self.cfg.forwarder_headers)
        return server

    def _tls(self):
        if not self.cfg.is_ssl:
            return {}
        context = ssl_context(self.cfg)
        if "h2" in getattr(self.cfg, "http_protocols", ()):
            self.log.warning("GevliteWorker does not speak HTTP/2: clients are offered HTTP/1.1")
            context.set_alpn_protocols(["http/1.1"])
        return {"ssl_context": context, "suppress_ragged_eofs": self.cfg.suppress_ragged_eofs}

    # -------- life

    def _beat(self):
        """Show the master that greenlets still switch, and check whether the worker must end."""
        while True:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("The master is gone, stopping (pid:%s)", self.pid)
                self.alive = False
            if not self.alive:
                self._over.set()
            # `timeout` is half of the time after which gunicorn kills the worker.
            sleep(min(1.0, self.timeout / 2 or 1.0))

    def count(self):
        """A request begins."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Replaced after %d requests (pid:%s)", self.nr, self.pid)
            self.alive = False
            for server in self.servers:
                server.close()
            self._over.set()

    def _stop(self):
        # A little before the master would kill this process: a killed process skips everything that it does at exit.
        deadline = time.monotonic() + 0.9 * self.cfg.graceful_timeout
        for server in self.servers:
            server.close()
        for server in self.servers:
            server.stop(max(deadline - time.monotonic(), 0))
        if time.monotonic() >= deadline:
            self.log.warning("Requests that took longer than graceful_timeout were ended (pid:%s)", self.pid)

    # -------- signals. A handler runs in whatever greenlet it finds, maybe one of the application, and must not block.

    def handle_exit(self, sig, frame):
        super().handle_exit(sig, frame)
        self._over.set()

    def handle_quit(self, sig, frame):
        if self.booted:
            spawn(super().handle_quit, sig, frame)  # its SystemExit ends the main greenlet
        else:
            super().handle_quit(sig, frame)

    def handle_usr1(self, sig, frame):
        spawn(super().handle_usr1, sig, frame)

    def handle_abort(self, sig, frame):
        # The signal handler runs in the greenlet that blocks. SystemExit ends that greenlet; but the server treats it
        # as an error of the application, so a second one ends the process.
        if self.booted:
            spawn(self._exit, 1)
        super().handle_abort(sig, frame)

    def _exit(self, code):
        raise SystemExit(code)


# By the value of `proxy_protocol`; True and False in older gunicorns.
_PROXY_VERSIONS = {False: (), "off": (), True: (1, 2), "auto": (1, 2), "v1": (1,), "v2": (2,)}


class _Server(WSGIServer):
    """The server of one listener."""

    def _proxy_headers(self, address):
        if not self.proxy_versions or not self.is_proxy(address[0] if isinstance(address, tuple) else ""):
            return (), False
        return self.proxy_versions, True  # gunicorn also serves connections without a header, such as health checks


class _Application:
    """The application with gunicorn's additions; the server calls this."""

    def __init__(self, worker):
        cfg = worker.cfg
        self.wsgi = worker.wsgi
        self.count = worker.count
        # According to a proxy.
        self.schemes = [
            ("HTTP_" + name.upper().replace("-", "_"), value) for name, value in cfg.secure_scheme_headers.items()
        ]
        self.trusts = worker.trusts
        self.script_name = os.environ.get("SCRIPT_NAME", "")

    def __call__(self, environ, start_response):
        self.count()
        stream = environ["wsgi.input"]  # the application may replace it
        schemes = {"https" if environ[name] == secure else "http" for name, secure in self.schemes if name in environ}
        if schemes and self.trusts(environ["REMOTE_ADDR"]):
            if len(schemes) > 1:
                start_response(_BAD, [("Content-Type", "text/plain"), ("Connection", "close")])
                return [b"Contradictory scheme headers\n"]
            environ["wsgi.url_scheme"] = schemes.pop()
        script_name = self.script_name
        if "gevlite.forwarded" in environ:
            script_name = environ.pop("gevlite.forwarded").get("SCRIPT_NAME", script_name)
        if script_name:
            path = environ["PATH_INFO"]
            if not path.startswith(script_name):
                raise ConfigurationProblem(f"{path!r} does not start with SCRIPT_NAME {script_name!r}")
            environ["SCRIPT_NAME"] = script_name
            environ["PATH_INFO"] = path[len(script_name) :]
        try:
            return self.wsgi(environ, start_response)
        except StopIteration:
            # In this way an application shows that it has used "gunicorn.socket" itself (simple-websocket does).
            stream.rfile  # noqa: B018  (takes the connection over)
            return ()


def _addresses(allowed):
    """The value of `forwarded_allow_ips`: networks, or None for all addresses."""
    if isinstance(allowed, str):
        allowed = [text.strip() for text in allowed.split(",") if text.strip()]
    return None if "*" in allowed else [ipaddress.ip_network(text, strict=False) for text in allowed]


def _is_in(networks, address):
    if networks is None or not address:  # "": a UNIX socket
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks)


def _limits(cfg):
    """The limits: gunicorn's, and from the environment those for which it has no setting."""
    size = cfg.limit_request_field_size or UNLIMITED
    return Limits.from_environment(
        max_request_line=cfg.limit_request_line or UNLIMITED,
        max_headers=cfg.limit_request_fields or MAX_HEADERS,
        max_field_bytes=size,
        max_header_bytes=max(Limits.max_header_bytes, size),
        max_body=None,
        keepalive_timeout=cfg.keepalive,
    )


def _is_strict():
    variable = "GEVLITE_STRICT"  # beside those of the limits
    text = os.environ.get(variable, "").strip()
    if text not in ("", "0", "1"):
        raise ValueError(f"{variable} cannot be {text!r}: use 0 or 1")
    return text == "1"


def _status_path():
    variable = "GEVLITE_STATUS_PATH"
    path = os.environ.get(variable, "").strip()
    if not path:
        return None
    from gevlite._status import check_path

    check_path(variable, path)
    return path


# ---------------------------------------------------------------- handlers


class _Handler(WSGIHandler):
    """Overrides no method that is called for each request."""

    def __init__(self, sock, address, server, rfile=None):
        super().__init__(sock, address, server, rfile)
        self.connection.trusted = server.worker.trusts(address[0] if isinstance(address, tuple) else "")

    def get_connection_environ(self):
        environ = super().get_connection_environ()
        environ["gunicorn.socket"] = RawSocket(self.socket, self)
        return environ

    def report_error(self, t, v, tb):
        environ = self.environ or {}
        method, uri = environ.get("REQUEST_METHOD", "?"), environ.get("RAW_URI", "?")
        self.server.worker.log.error("Error handling request %s %s", method, uri, exc_info=(t, v, tb))


class _LoggingHandler(_Handler):
    """For an access log, or statsd, which gunicorn treats as an access log."""

    def log_request(self):
        log = self.server.worker.log
        if self.environ is None:
            status = _text(self.status)
            log.warning("Invalid request from ip=%s: %s", _host(self.client_address), status)
            return
        took = timedelta(seconds=self.time_finish - self.time_start)
        log.access(_Response(self), self.headers.items(), self.environ, took)


class _HookedHandler(_LoggingHandler):
    """For the hooks `pre_request` and `post_request`."""

    def run_application(self):
        worker = self.server.worker
        request = _Request(self)
        worker.cfg.pre_request(worker, request)
        try:
            super().run_application()
        finally:
            try:
                worker.cfg.post_request(worker, request, self.environ, _Response(self))
            except Exception:
                worker.log.exception("The hook post_request failed")


def _handler_class(cfg, log):
    """The cheapest handler that supports the settings."""
    hooks = [cfg.settings[name] for name in ("pre_request", "post_request")]
    # By default `pre_request` logs a line at level DEBUG.
    if any(hook.get() is not hook.default for hook in hooks) or cfg.loglevel.lower() == "debug":
        return _HookedHandler
    if type(log).access is not Logger.access or getattr(log, "access_log_enabled", True):
        return _LoggingHandler
    return _Handler


class _Request:
    """A request for hooks, with the names of gunicorn's own class."""

    def __init__(self, handler):
        environ = handler.environ
        self.method = environ["REQUEST_METHOD"]
        self.uri = environ["RAW_URI"]
        self.path, _, self.query = self.uri.partition("?")
        self.fragment = ""
        self.version = (1, int(environ["SERVER_PROTOCOL"] == "HTTP/1.1"))
        self.headers = [(name.upper(), value) for name, value in handler.headers.items()]
        self.scheme = environ["wsgi.url_scheme"]
        self.body = environ["wsgi.input"]
        self.peer_addr = self.remote_addr = handler.client_address


class _Response:
    """A response for the access log and hooks, with the names of gunicorn's own class."""

    def __init__(self, handler):
        self.status = _text(handler.status)
        self.status_code = handler.code
        self.headers = [(_text(name), _text(value)) for name, value in handler.response_headers or ()]
        self.headers_sent = handler.headers_sent
        self.upgrade = handler.connection_upgraded
        # Bytes of the body, like Apache's %b: the bytes sent, minus the head.
        self.sent = None
        if handler.headers_sent:
            head = len(self.status) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            self.sent = max(handler.response_length - head - len("HTTP/1.1 \r\n\r\n"), 0)


def _text(data):
    return data.decode("latin-1") if isinstance(data, bytes) else data or "000"


def _host(address):
    return address[0] if isinstance(address, tuple) else address or "unix socket"
