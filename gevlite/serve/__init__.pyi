import logging
from collections.abc import Iterable
from typing import Any
from wsgiref.types import WSGIApplication

from gevlite.pywsgi import Limits as Limits

__all__ = ["Limits", "Server", "StartError"]

logger: logging.Logger

class StartError(Exception): ...

class Server:
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
        limits: Limits = ...,
    ) -> None: ...
    def run(self) -> None: ...
    def stop(self, now: bool = False) -> None: ...
    def reload(self) -> None: ...
