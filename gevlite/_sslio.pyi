"""TLS over the socket fast path: let OpenSSL try, and between two tries wait for what it asks for.

OpenSSL works on the descriptor itself, which never blocks: where it would have to wait, it raises WANT_READ or
WANT_WRITE. Only then is it known that the kernel has nothing (or takes nothing), so that the readiness flag of an
edge-triggered fd can be cleared. Also:

* Building that exception costs more than asking the kernel. After a read that succeeded (`quiet`), OpenSSL holds
  nothing back except what `pending()` counts, since it reads from the kernel one record at a time: if that is 0 and
  the kernel has nothing, the read would block, and need not be tried.
* A record that was begun must be finished with the same data (SSL_write(3), "repeated with the same arguments"). Writes
  of different greenlets therefore take turns.
* A read may have to wait until it can write, and a write until it can read (renegotiation, key update). A call of
  another greenlet can take from the kernel what such a `crossed` call waits for, and then the kernel reports nothing
  more. So while there is a crossed call, every call ends with a nudge for all that wait on this socket. A nudged call
  does not nudge.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from _typeshed import ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

from gevlite.socket import socket

_T = TypeVar("_T")

@disjoint_base
class Conversation:
    """A TLS socket's state beside that of OpenSSL. Its methods make one call of OpenSSL and block until it is done.

    Each raises what the call raises, TimeoutError after the socket's time-out, OSError(EBADF) if another greenlet
    closes the socket, and in non-blocking mode SSLWantReadError and SSLWantWriteError.
    """
    @overload
    def read(self, sock: socket, sslobj: Any, size: int, buffer: None = None) -> bytes:
        """Up to `size` bytes; or, into `buffer`, the number of bytes."""
    @overload
    def read(self, sock: socket, sslobj: Any, size: int, buffer: WriteableBuffer) -> int: ...
    def write(self, sock: socket, sslobj: Any, data: ReadableBuffer) -> int:
        """Send some of `data`; returns how many bytes."""
    def write_all(self, sock: socket, sslobj: Any, data: ReadableBuffer) -> None:
        """Send all of `data`, in pieces as OpenSSL takes them: one record, 16 KiB."""
    def call(self, sock: socket, operation: Callable[[], _T], timed_out: str | None = None) -> _T:
        """`operation()`: a handshake or a shutdown. timed_out: the message; None names the direction it waited for."""
