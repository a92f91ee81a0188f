"""One worker: a process, forked by the supervisor, that patches itself, loads the application and serves it.

It communicates with the supervisor over a socket, one JSON object per line. The worker sends `beat` (greenlets still
switch), `ready`, `failed` with a text, `retire` with a reason (it asks to be replaced), and `files` (the files that it
has imported). It receives `serve` and `reopen`; SIGTERM stops it. If the supervisor is gone, the socket ends, and the
worker stops too.
"""

import atexit
import faulthandler
import importlib
import inspect
import json
import os
import random
import resource
import signal
import sys
import threading
import time
import traceback
import warnings

__all__ = ["run"]

_BEAT = 1.0
# Descriptors that are left to the application.
_SPARE_DESCRIPTORS = 512


class _LoadError(Exception):
    """The application cannot be loaded; the message says why."""


def run(settings, listeners, control):
    """Run a worker until it is stopped; then end the process. Called in the child of the fork, never returns."""
    code = 1
    try:
        _reset_signals()
        code = _Worker(settings, listeners, control).run()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)


def _reset_signals():
    for signum in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_DFL)
    for signum in (signal.SIGINT, signal.SIGHUP):
        # A terminal sends them to all its processes; the supervisor decides. SIG_IGN would be inherited by programs
        # that the application starts.
        signal.signal(signum, lambda *args: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # The supervisor ends a hanging worker with SIGABRT, which then prints what it was doing.
    if sys.stderr is not None:
        try:
            faulthandler.enable()
        except (OSError, ValueError, AttributeError):
            pass  # standard error is not a file


def _end(code):
    # Like the end of the interpreter, but without the code of the supervisor's callers that would run on the way out.
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


class _Worker:
    def __init__(self, settings, listeners, control):
        self.settings = settings
        self.listeners = listeners
        self.control = control
        self.servers = []
        self.retiring = False

    def run(self):
        self.descriptors = _allow_descriptors(self.settings.connections * len(self.listeners) + _SPARE_DESCRIPTORS)
        self.patch()
        from gevlite import event, lock, socket, spawn

        self.over = event.Event()
        self.speaking = lock.Semaphore()
        self.control = socket.socket(fileno=self.control.detach())
        self.lines = self.control.makefile("rb")
        try:
            application = self.load()
            self.log = self.open_log()
            self.servers = [self.server(listener, application) for listener in self.listeners]
            for server in self.servers:
                server._places = self.servers[0]._places  # shared by all servers
        except Exception as exc:
            self.say("failed", text=self.why(exc), files=self.files())
            return 1
        signal.signal(signal.SIGTERM, self.on_term)
        signal.signal(signal.SIGQUIT, self.on_quit)
        self.say("ready", files=self.files())
        spawn(self.obey)
        spawn(self.beat)
        self.over.wait()
        self.stop()
        return 0

    def patch(self):
        from gevlite import config, monkey

        if self.settings.time_slice is not None:
            config.time_slice = self.settings.time_slice
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", monkey.MonkeyPatchWarning)
            monkey.patch_all()
        if not isinstance(self.settings.app, str):
            # The application existed before patching: warn of what still blocks.
            for warning in caught:
                warnings.warn(warning.message, stacklevel=1)

    # -------- the application

    def load(self):
        app = self.settings.app
        if not isinstance(app, str):
            return app
        module_name, name, is_factory = self.settings.app_parts()
        try:
            found = importlib.import_module(module_name)
        except ModuleNotFoundError as exc:
            if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
                raise
            raise _LoadError(f"there is no module {exc.name!r} in {os.getcwd()} or on sys.path") from None
        for part in name.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise _LoadError(f"{module_name} has no attribute {name!r}") from None
        if is_factory:
            if not callable(found):
                raise _LoadError(f"{module_name}:{name} is not callable: it is {_kind(found)}")
            found = found()
        if not callable(found):
            raise _LoadError(f"{app} is not a WSGI application but {_kind(found)}")
        if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__):
            raise _LoadError(f"{app} is an ASGI application; only WSGI is served")
        return found

    def why(self, exc):
        if isinstance(exc, _LoadError):
            return str(exc)
        # Without the frames of gevlite and importlib at its beginning.
        lines = traceback.TracebackException.from_exception(exc)
        own = (__file__, importlib.__file__)
        lines.stack = traceback.StackSummary.from_list(
            [frame for frame in lines.stack if frame.filename not in own and not frame.filename.startswith("<frozen")]
            or lines.stack
        )
        return "the application cannot be loaded\n" + "".join(lines.format()).rstrip()

    # -------- serving

    def open_log(self):
        from gevlite.pywsgi import AccessLog

        target, form = self.settings.access_log, self.settings.log_format
        if target is None:
            return None
        if target != "-":
            try:
                return AccessLog(target, form or "combined")
            except OSError as exc:
                raise _LoadError(f"access_log {target}: {exc.strerror}") from None
        if form is None:
            form = "terminal" if os.isatty(1) and not os.environ.get("NO_COLOR") else "combined"
        return AccessLog(1, form)

    def server(self, listener, application):
        from gevlite.pywsgi import WSGIServer

        settings = self.settings
        several = settings.workers > 1
        if settings.max_requests:
            application = self.counted(application)
        server = WSGIServer(
            listener,
            application,
            spawn=settings.concurrency or "default",
            log=self.log,
            environ={"wsgi.multithread": True, "wsgi.multiprocess": several},
            limits=settings.limits,
            proxies=settings.proxies(),
            strict=settings.strict,
            status_path=settings.status_path,
            **self.tls(),
        )
        server.max_connections = min(settings.connections, self.descriptors)
        return server

    def tls(self):
        settings = self.settings
        if settings.certfile is None:
            return {}
        from gevlite import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(settings.certfile, settings.keyfile)
        except OSError as exc:
            raise _LoadError(f"certfile {settings.certfile}, keyfile {settings.keyfile}: {exc}") from None
        if settings.ca_certs is not None:
            try:
                context.load_verify_locations(settings.ca_certs)
            except OSError as exc:
                raise _LoadError(f"ca_certs {settings.ca_certs}: {exc}") from None
            required = settings.client_certs == "required"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return {"ssl_context": context}

    def counted(self, application):
        left = self.settings.max_requests + random.randint(0, self.settings.max_requests_jitter)

        def count(environ, start_response):
            nonlocal left
            left -= 1
            if left == 0:
                self.retire("it has served its requests")
            return application(environ, start_response)

        return count

    def retire(self, reason):
        if not self.retiring:
            from gevlite import spawn

            self.retiring = True
            spawn(self.say, "retire", reason=reason)  # a request must not wait for the supervisor

    def stop(self):
        from gevlite import joinall, spawn

        deadline = time.monotonic() + self.settings.graceful_timeout
        for server in self.servers:
            server.close()
        joinall([spawn(server.stop, max(deadline - time.monotonic(), 0)) for server in self.servers])

    # -------- the supervisor

    def say(self, what, **more):
        data = json.dumps({"what": what, **more}).encode() + b"\n"
        try:
            with self.speaking:
                self.control.sendall(data)
        except OSError:
            pass  # `obey` notices it too

    def obey(self):
        try:
            for line in self.lines:
                order = json.loads(line)["what"]
                if order == "serve":
                    for server in self.servers:
                        server.start()
                elif order == "reopen" and self.log is not None:
                    self.reopen()
        except OSError:
            pass
        self.over.set()

    def reopen(self):
        try:
            self.log.reopen()
        except OSError as exc:
            print(f"gevlite: access_log {self.settings.access_log}: {exc.strerror}", file=sys.stderr)

    def beat(self):
        from gevlite import sleep

        memory = _memory_reader(self.settings.max_memory)
        known = None
        while True:
            self.say("beat")
            if memory is not None and (used := memory()) > self.settings.max_memory:
                self.retire(f"it uses {used >> 20} MiB of memory")
            if self.settings.reload and (files := self.files()) != known:
                known = files
                self.say("files", files=files)
            sleep(_BEAT)

    def files(self):
        if not self.settings.reload:
            return []
        found = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        # Including modules whose import failed.
        exc = sys.exc_info()[1]
        while exc is not None:
            found.update(frame.f_code.co_filename for frame, _ in traceback.walk_tb(exc.__traceback__))
            found.add(getattr(exc, "filename", None) if isinstance(exc, SyntaxError) else None)
            exc = exc.__cause__ or exc.__context__
        stdlib = os.path.dirname(os.__file__)
        packages = os.path.join(stdlib, "site-packages")
        return sorted(
            os.path.abspath(path)
            for path in found
            if isinstance(path, str)
            and path.endswith(".py")
            and (not path.startswith(stdlib + os.sep) or path.startswith(packages))
        )

    # -------- signals. A handler runs in whatever greenlet it finds, and must not block.

    def on_term(self, signum, frame):
        self.over.set()

    def on_quit(self, signum, frame):
        os._exit(0)


def _allow_descriptors(wanted):
    """Allow the process this many descriptors, or as many as it may have; returns the number for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if soft == resource.RLIM_INFINITY else max(soft - _SPARE_DESCRIPTORS, soft // 2)


def _kind(found):
    return f"{found!r:.60}" if found is None or isinstance(found, (str, int)) else f"a {type(found).__name__}"


def _memory_reader(limit):
    if limit is None:
        return None
    from gevlite._monitor import _find_memory_reader

    read = _find_memory_reader()
    if read is None:
        warnings.warn("max_memory has no effect: psutil is needed, `pip install psutil`", RuntimeWarning, stacklevel=2)
        return None
    return lambda: read()[0]
