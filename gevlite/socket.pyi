"""Cooperative sockets: the standard `socket` module with blocking calls that block only the calling greenlet.

`socket` is a subclass of the standard class, so `isinstance` works, and methods without I/O are inherited. The calls
with I/O are in `_socketio`.
"""

import socket as _std
from typing import Any, Self, TypeAlias, overload

from _typeshed import FileDescriptorLike, ReadableBuffer

from gevlite.hub import Hub
from gevlite.timeout import Timeout

_Address: TypeAlias = tuple[Any, ...] | str | ReadableBuffer
_Exception: TypeAlias = BaseException | type[BaseException] | None

__implements__: list[str]
__imports__: list[str]
__extensions__: list[str]

class socket(_std.socket):
    """A socket whose blocking calls block only the calling greenlet.

    Each of them raises TimeoutError when the time of `settimeout` is over, and OSError(EBADF) if another greenlet
    closes the socket meanwhile. Several greenlets may use one socket, for instance one that reads and one that writes.
    """
    @property
    def closed(self) -> bool:
        """True once the socket has no descriptor. Not in the standard library."""
    @property
    def hub(self) -> Hub:
        """The hub of the running thread; a socket does not belong to a hub."""
    def accept(self) -> tuple[Self, Any]:
        """Block until a client connects; return `(socket, address)`."""
    def dup(self) -> Self:
        """A second socket for the same connection."""
    @overload
    def sendto(self, data: ReadableBuffer, flags_or_address: _Address, /) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`: send a datagram; block until it can be taken."""
    @overload
    def sendto(self, data: ReadableBuffer, flags_or_address: int, address: _Address, /) -> int: ...

SocketType = socket

def create_connection(
    address: tuple[str | None, int],
    timeout: float | Timeout | None = ...,
    source_address: tuple[str, int] | None = None,
    *,
    all_errors: bool = False,
) -> socket:
    """Connect to `(host, port)`, trying each of the host's addresses in turn; return the socket.

    timeout: seconds for each blocking call of the socket, from now on. source_address: the address to bind to. If no
    address can be reached, the last error is raised, or with `all_errors` an ExceptionGroup of all errors.
    """

def create_server(
    address: Any,
    *,
    family: int = ...,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket:
    """A listening TCP socket bound to `(host, port)`.

    SO_REUSEADDR is set on POSIX. reuse_port: let several sockets listen on the port. dualstack_ipv6: also accept IPv4.
    """

def fromfd(fd: FileDescriptorLike, family: int, type: int, proto: int = 0) -> socket:
    """A socket for a duplicate of `fd`."""

def socketpair(family: int | None = None, type: int = ..., proto: int = 0) -> tuple[socket, socket]:
    """Two connected sockets; by default UNIX sockets, where they exist."""

class cancel_wait_ex(OSError):
    """The exception that `cancel_wait` raises in the waiting greenlet."""
    def __init__(self) -> None: ...

def cancel_wait(watcher: Any, error: BaseException | type[BaseException] = ...) -> None:
    """Raise `error` in the greenlet that blocks in `get_hub().wait(watcher)`, if there is one. Does not block."""

def wait(io: Any, timeout: float | Timeout | None = None, timeout_exc: _Exception = None) -> None:
    """Block until `io`, a watcher of `get_hub().loop`, calls back; it is started here and stopped in any case.

    Raises `timeout_exc` (TimeoutError) after `timeout` seconds, `ConcurrentObjectUseError` if the watcher already has a
    callback, because another greenlet waits with it.
    """

def wait_read(
    fileno: FileDescriptorLike, timeout: float | Timeout | None = None, timeout_exc: _Exception = None
) -> None:
    """Block until `fileno` (a number or an object with `fileno()`) is readable or at its end.

    Raises `timeout_exc` (TimeoutError) after `timeout` seconds, OSError(EBADF) for a closed descriptor.
    """

def wait_write(
    fileno: FileDescriptorLike,
    timeout: float | Timeout | None = None,
    timeout_exc: _Exception = None,
    event: Any = None,
) -> None:
    """Block until `fileno` is writable. Otherwise like `wait_read`; `event` is ignored, as in gevent."""

def wait_readwrite(
    fileno: FileDescriptorLike,
    timeout: float | Timeout | None = None,
    timeout_exc: _Exception = None,
    event: Any = None,
) -> None:
    """Block until `fileno` is readable or writable. Otherwise like `wait_write`."""

# Last, because type checkers keep the first of two definitions.
from socket import *  # type: ignore[assignment]  # noqa: E402, F403
