from collections.abc import Callable
from typing import Any

from gevlite.baseserver import BaseServer, _Listener, _Spawn
from gevlite.socket import socket as _Socket

__all__ = ["DatagramServer", "StreamServer"]

class StreamServer(BaseServer):
    backlog: int
    reuse_addr: int | None
    reuse_port: bool
    socket_mode: int | None
    handshake_timeout: float | None
    ssl_args: dict[str, Any]
    def __init__(
        self,
        listener: _Listener,
        handle: Callable[[_Socket, Any], Any] | None = None,
        backlog: int | None = None,
        spawn: _Spawn = "default",
        # ssl_context, or certfile, keyfile, password, cert_reqs, ca_certs, ciphers.
        **ssl_args: Any,
    ) -> None: ...
    @property
    def ssl_enabled(self) -> bool: ...
    @classmethod
    def get_listener(cls, address: Any, backlog: int | None = None, family: int | None = None) -> _Socket: ...
    def do_read(self) -> tuple[_Socket, Any]: ...
    def do_close(self, sock: _Socket, *args: Any) -> None: ...
    def handshake_failed(self, address: Any, exc: OSError) -> None: ...
    def wrap_socket_and_handle(self, client_socket: _Socket, address: Any) -> Any: ...

class DatagramServer(BaseServer):
    reuse_addr: int | None
    reuse_port: bool
    max_size: int
    def __init__(
        self, listener: _Listener, handle: Callable[[bytes, Any], Any] | None = None, spawn: _Spawn = "default"
    ) -> None: ...
    @classmethod
    def get_listener(cls, address: Any, family: int | None = None) -> _Socket: ...
    def do_read(self) -> tuple[bytes, Any]: ...
    def sendto(self, *args: Any) -> int: ...
