"""A web server of several processes: `python -m gevlite serve package.module:app`, or `Server` in a program.

    Server("package.module:app", bind="0.0.0.0:8000").run()

The process that runs this is the supervisor. It binds the sockets, forks the workers, and from then on only supervises
them: it never imports the application, and serves no clients. A worker (`_worker`) patches itself, imports the
application, and serves it with `gevlite.pywsgi`.

No request is lost when a worker is replaced, for whatever reason: the new worker has loaded the application before the
old one is asked to stop; the sockets stay open in the supervisor all the time; and the old worker finishes the requests
that it has begun.

For each slot from 0 to `workers` - 1 there must be one serving worker. `_reconcile` compares this with the actual state
and acts; all other methods only record events. A reload is a new generation of workers, which takes over when all of
them are ready, or is given up if one of them fails.
"""

import logging
from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication

from gevlite.pywsgi import Limits as Limits

__all__ = ["Limits", "Server", "StartError"]

logger: logging.Logger

class StartError(Exception):
    """The workers cannot start: the application does not exist, or its import fails. The message says why."""

class Server:
    """Serves a WSGI application with several processes.

    app: `"package.module:name"`, `"package.module:factory()"`, or the application itself. A reload loads only a named
    application again. settings: see docs/deploying.md, which has all of them and their defaults.

    Raises TypeError or ValueError for invalid settings, ImportError if httptools is not installed.
    """

    settings: Any
    addresses: list[str]
    def __init__(
        self,
        app: str | WSGIApplication,
        *,
        bind: str | int | Iterable[str | int] = (),
        socket_mode: int | None = None,
        socket_owner: str | None = None,
        backlog: int = 2048,
        workers: int | None = None,
        reuse_port: bool = False,
        connections: int = 10_000,
        concurrency: int | None = None,
        timeout: float = 30,
        graceful_timeout: float = 30,
        max_requests: int = 0,
        max_requests_jitter: int | None = None,
        max_memory: int | None = None,
        time_slice: float | None = None,
        reload: bool = False,
        access_log: str | None = "-",
        log_format: str | None = None,
        certfile: str | None = None,
        keyfile: str | None = None,
        ca_certs: str | None = None,
        client_certs: str = "none",
        trusted_proxies: str | Iterable[str] = (),
        forwarded_headers: str | Iterable[str] = (),
        proxy_protocol: bool = False,
        strict: bool = False,
        status_path: str | None = None,
        limits: Limits = ...,
    ) -> None: ...
    def run(self) -> None:
        """Listen and serve. Blocks until the server has been stopped: by `stop`, SIGTERM or SIGINT.

        Raises OSError if it cannot listen, `StartError` if the application cannot be loaded, RuntimeError outside of
        the main thread. It forks: call it before threads are started. The workers never return from it.
        """
    def stop(self, now: bool = False) -> None:
        """Make `run` return when all requests are answered, at most `graceful_timeout` seconds from now; with `now`, at
        once. Never blocks; may be called in signal handlers and in other threads.
        """
    def reload(self) -> None:
        """Replace all workers with new ones, which load the application again. No request is lost. Never blocks.

        If the new ones fail, the old ones continue.
        """
