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
    max_request_line: int = 8190
    max_headers: int = 100
    max_header_bytes: int = 65536
    max_field_bytes: int = 65536
    max_body: int | None = ...
    header_timeout: float | None = 10
    keepalive_timeout: float | None = 60
    closing_timeout: float = 2
    linger_timeout: float = 30
    body_timeout: float | None = 30
    write_timeout: float | None = 30
    request_timeout: float | None = None
    max_queued: int | None = None
    min_rate: int = 500
    def __post_init__(self) -> None: ...
    @classmethod
    def from_environment(cls, **limits: Any) -> Self: ...

def parse_size(text: str) -> int: ...
def parse_limit(name: str, text: str) -> float | None: ...

class LoggingLogAdapter:
    def __init__(self, logger: logging.Logger, level: int = 20) -> None: ...
    def write(self, msg: str) -> None: ...
    def flush(self) -> None: ...
    def writelines(self, lines: Iterable[str]) -> None: ...
    # Anything else is the logger's.
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...
    def __delattr__(self, name: str) -> None: ...

class Environ(dict[str, Any]):
    def copy(self) -> Self: ...
    def iteritems(self) -> ItemsView[str, Any]: ...

class SecureEnviron(Environ):
    default_secure_repr: bool
    default_whitelist_keys: tuple[str, ...]
    default_print_masked_keys: bool
    secure_repr: bool
    whitelist_keys: tuple[str, ...]
    print_masked_keys: bool

class WSGISecureEnviron(SecureEnviron): ...
class WSGIHandler(Handler): ...

class WSGIServer(StreamServer):
    handler_class: type[WSGIHandler]
    limits: Limits
    max_connections: int | None
    proxies: Proxies | None
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
        # See StreamServer.
        **ssl_args: Any,
    ) -> None: ...
    def set_environ(self, environ: Mapping[str, Any] | None = None) -> None: ...
    def set_max_accept(self) -> None: ...
    def get_environ(self) -> dict[str, Any]: ...
    def update_environ(self) -> None: ...
    def handle(self, sock: _Socket, address: Any) -> None: ...
