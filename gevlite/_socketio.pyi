"""The socket fast path: the system calls, tried first, and the wait between two tries.

A socket carries an `Endpoint` with what these functions need. Each operation has the same shape: if the fd may be ready,
make the system call; if it would block, park until the hub reports the fd, and try again. The descriptor itself is always
non-blocking; the time-out is ours. Would-block is an errno here and never an exception, except where the caller asked for
non-blocking mode.

When a read clears the readiness flag: EAGAIN, or on TCP fewer bytes than asked for, since the kernel then had no more.
Not on a UNIX stream, where a read also ends at ancillary data, and not once end-of-file, an error or urgent data was
reported (STICKY), because then no further edge need come.
"""

import socket
import sys
from collections.abc import Iterable
from types import MemberDescriptorType
from typing import Any, Final, overload

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

HAVE_SENDFILE: Final[bool]

@disjoint_base
class Endpoint:
    """Kept by the fast path with a socket."""
    def __init__(self, fd: int, family: int, kind: int, timeout: float | None) -> None: ...
    @property
    def fd(self) -> int: ...
    @property
    def family(self) -> int: ...
    @property
    def timeout(self) -> float | None: ...
    def set_timeout(self, timeout: float | None) -> None:
        """Seconds, 0 for non-blocking, None for no limit. Raises ValueError for a negative or absurd one."""
    def forget(self) -> None:
        """The fd is about to be closed or given away: raise OSError(EBADF) in what waits on it."""

# For gevlite.os, which is given bare numbers.
def mode_of(fd: int) -> bool | None:
    """The mode that the program has given the descriptor: True if it is blocking, False if not.

    None if the descriptor does not belong to a socket of gevlite.
    """

def set_mode(fd: int, blocking: bool) -> bool:
    """Do for a socket of gevlite what `os.set_blocking` does to a socket. False if the descriptor is none of ours.

    As with the original, a time-out goes on to count for the socket's own calls, and the next `settimeout` sets both.
    The descriptor itself stays in non-blocking mode.
    """

def keeps_boundaries(fd: int) -> bool:
    """True for a socket that sends messages, not a stream of bytes: what is written at once must be sent at once."""

# Methods of gevlite.socket.socket.
def recv(self: socket.socket, bufsize: int, flags: int = 0, /) -> bytes:
    """Receive up to `bufsize` bytes; block until there is something. `b""`: the other side has finished.

    Raises TimeoutError after the socket's time-out, OSError(EBADF) if another greenlet closes the socket.
    """

def recv_into(self: socket.socket, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
    """As `recv`, into `buffer` (at most `nbytes`, 0: its length). Returns the number of bytes."""

def recvfrom(self: socket.socket, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
    """Receive up to `bufsize` bytes and the sender's address: `(bytes, address)`. Otherwise as `recv`."""

def recvfrom_into(self: socket.socket, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
    """As `recvfrom`, into `buffer`. Returns `(number of bytes, address)`."""

def recvmsg(
    self: socket.socket, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
    """As the original; blocks cooperatively."""

def recvmsg_into(
    self: socket.socket, buffers: Iterable[WriteableBuffer], ancbufsize: int = 0, flags: int = 0, /
) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
    """As the original; blocks cooperatively."""

def send(self: socket.socket, data: ReadableBuffer, flags: int = 0, /) -> int:
    """Send bytes; block until some can be taken. Returns how many were."""

def sendall(self: socket.socket, data: ReadableBuffer, flags: int = 0, /) -> None:
    """Send all of the bytes; block until the last was taken. The socket's time-out is for the whole.

    After an error it is unknown how much was sent.
    """

@overload
def sendto(self: socket.socket, data: ReadableBuffer, address: Any, /) -> int:
    """`sendto(data, address)` or `sendto(data, flags, address)`: send a datagram; block until it can be taken."""

@overload
def sendto(self: socket.socket, data: ReadableBuffer, flags: int, address: Any, /) -> int: ...
def sendmsg(
    self: socket.socket,
    buffers: Iterable[ReadableBuffer],
    ancdata: Iterable[tuple[int, int, ReadableBuffer]] = (),
    flags: int = 0,
    address: Any = None,
    /,
) -> int:
    """As the original; blocks cooperatively until something can be taken."""

if sys.platform == "linux":
    def sendmsg_afalg(self: socket.socket, *args: Any, **kwargs: Any) -> int:
        """As the original; blocks cooperatively until the kernel can take it."""

# What those of gevlite.socket.socket are made from.
def set_endpoint_slot(descriptor: MemberDescriptorType) -> None:
    """`descriptor` is the slot of the socket class in which its instances keep their endpoint."""

def accept_fd(self: socket.socket) -> tuple[int, Any]:
    """Block until a client connects; return `(fd, address)`. The fd is non-blocking and not inheritable."""

def connect_wait(self: socket.socket, address: Any) -> int:
    """Start to connect, block until it is decided, and return the errno: 0 if connected.

    Raises TimeoutError after the socket's time-out. In non-blocking mode, returns EINPROGRESS at once.
    """

def sendfile_some(self: socket.socket, in_fd: int, offset: int, count: int) -> int:
    """Send up to `count` bytes of the file `in_fd` from `offset` (count < 0: to its end) by sendfile(2).

    Returns how many bytes the kernel took, 0 at the end of the file. Raises OSError as the call does: EINVAL and ENOSYS
    mean the wrong kind of file.
    """

def wait_on(
    fileno: FileDescriptorLike,
    events: int,
    timeout: float | None,
    timeout_exc: BaseException | type[BaseException] | None,
) -> None:
    """Block until the descriptor is ready; raise `timeout_exc` after `timeout` seconds."""
