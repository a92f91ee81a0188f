"""Servers for streams (TCP, TLS, UNIX sockets) and for datagrams."""

from collections.abc import Callable
from typing import Any

from gevlite.baseserver import BaseServer, _Listener, _Spawn
from gevlite.socket import socket as _Socket

__all__ = ["DatagramServer", "StreamServer"]

class StreamServer(BaseServer):
    """Accepts connections and calls `handle(socket, address)` for each; afterwards the socket is closed.

    For `listener`, `handle` and `spawn` see `BaseServer`. backlog: how many connections may wait in the kernel to be
    accepted.

    With TLS arguments, `handle` gets a TLS socket whose handshake is done. They are `ssl_context`, or the values to
    make one from: `certfile`, `keyfile`, `password`, `cert_reqs`, `ca_certs`, `ciphers`. The handshake is made in the
    greenlet of its connection. If it fails, or takes more than `handshake_timeout` seconds, the connection is closed
    and `handshake_failed` is called.
    """

    backlog: int
    reuse_addr: int | None
    reuse_port: bool
    """Set SO_REUSEPORT, so that several processes can listen on the same port and the kernel distributes the load."""
    socket_mode: int | None
    """The mode of a UNIX socket's file, such as 0o660; None: the process's umask decides."""
    handshake_timeout: float | None
    """Seconds in which a TLS client must finish the handshake."""
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
    def ssl_enabled(self) -> bool:
        """True if connections are TLS."""
    @classmethod
    def get_listener(cls, address: Any, backlog: int | None = None, family: int | None = None) -> _Socket:
        """A listening gevlite socket, bound to `address`. Raises OSError that names the address."""
    def do_read(self) -> tuple[_Socket, Any]: ...
    def do_close(self, sock: _Socket, *args: Any) -> None: ...
    def handshake_failed(self, address: Any, exc: OSError) -> None:
        """Called when a client's handshake has failed with `exc`, an SSLError, TimeoutError or another OSError.

        By default it writes a warning to the log "gevlite.server", at most one in ten seconds. May be overridden.
        """
    def wrap_socket_and_handle(self, client_socket: _Socket, address: Any) -> Any:
        """Make the TLS handshake, then call `handle`."""

class DatagramServer(BaseServer):
    """Calls `handle(data, address)` for each datagram; answer with `sendto(data, address)`.

    For the arguments see `BaseServer`. If datagrams arrive faster than they are read, the kernel drops some.
    """

    reuse_addr: int | None
    reuse_port: bool
    max_size: int
    """The maximum length of a datagram; a longer one is cut off."""
    def __init__(
        self, listener: _Listener, handle: Callable[[bytes, Any], Any] | None = None, spawn: _Spawn = "default"
    ) -> None: ...
    @classmethod
    def get_listener(cls, address: Any, family: int | None = None) -> _Socket:
        """A gevlite datagram socket, bound to `address`. Raises OSError that names the address."""
    def do_read(self) -> tuple[bytes, Any]: ...
    def sendto(self, *args: Any) -> int:
        """`sendto` of the server's socket; several greenlets take turns. Blocks until the kernel takes the datagram."""
