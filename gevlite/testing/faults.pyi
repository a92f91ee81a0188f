"""Faults on demand, for tests: connections that stall, break or trickle, names that cannot be resolved, late greenlets.

Each function here returns a `Fault`. It begins with the `with` block and ends with it; what it did is in its `hits`::

    with faults.sockets(server.address, reset_after=100) as fault:
        fetch()
    assert [hit.what for hit in fault.hits] == ["reset"]

How it is done: a connection that a fault is for goes through a relay, two greenlets that pass the bytes on as the fault
says. So everything is real for the code under test, whichever way it reads: a file of `makefile`, TLS, `select`, a
server of gevlite, a stream of asyncio. What stalls is not readable, and who is reset gets ECONNRESET from the kernel.
Only what the kernel cannot be made to do is done where the methods of a socket are called: to take or to give so many
bytes in one call.

While no fault is active, no class and no function is replaced.
"""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeAlias

__all__ = ["Fault", "Hit", "resolver", "sockets", "spawn"]

_Address: TypeAlias = int | tuple[Any, ...] | str | bytes | PathLike[str] | None
_Nth: TypeAlias = int | Iterable[int] | None

class Hit(NamedTuple):
    """What a fault did once."""

    what: str
    """`refuse`, `delay`, `receive`, `send`, `stall` or `reset`; of a resolver `error`, `delay` or `order`; `late`."""
    target: object
    """The address, the host name, or the function."""
    number: int
    """Which connection, look-up or start it was, of those that the fault is for: the first is 1."""
    at: int = 0
    """How many bytes had passed."""

class Fault:
    """A fault that is active within its `with` block. The functions of this module make them."""

    def __init__(self, nth: _Nth) -> None: ...
    hits: list[Hit]
    """What it did, a list of `Hit`, in order."""
    seen: int
    """How many connections, look-ups or starts it was for; with `nth`, also those that were left alone."""
    @property
    def active(self) -> bool:
        """True within the `with` block."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def start(self) -> None:
        """Begin, as the `with` block does. Raises RuntimeError if it is active."""
    def stop(self) -> None:
        """End, as the `with` block does; what stalled goes on. Does not block. Doing it twice does nothing."""

def sockets(
    address: _Address = None,
    *,
    side: Literal["client", "server"] = "client",
    nth: _Nth = None,
    refuse: bool = False,
    delay: float | None = None,
    receive: int | None = None,
    send: int | None = None,
    direction: Literal["receive", "send"] = "receive",
    stall_after: int | None = None,
    stall_for: float | None = None,
    reset_after: int | None = None,
) -> Fault:
    """A fault of stream connections: TCP or UNIX sockets, of gevlite, of a patched program, or of an event loop, but
    not of uvloop, which makes them in C.

    address: which ones. A port, `(host, port)`, the path of a UNIX socket, or None for all. side: "client" for those
    that this process makes with `connect`, "server" for those that it gets from `accept`; the address is that of the
    server. nth: only the nth of these connections, from 1 on, or several, as `range(2, 5)`.

    What happens to them:

    * refuse: connecting fails with ECONNREFUSED. Only for the side of the client.
    * delay: connecting, or accepting, takes so many seconds longer, and respects the socket's time-out. In non-blocking
      mode a connection is made at once, but nothing passes for so long.
    * receive: a call gets at most so many bytes, and no more are there to be read before these were.
    * send: a call takes at most so many bytes. For what does not call the methods of a socket (event loops, servers,
      `sendall`), the kernel's buffer is as small as can be instead.
    * stall_after: so many bytes pass, and then none for `stall_for` seconds; None: until the fault ends.
    * reset_after: so many bytes pass, and then the connection is reset for both sides. What they had received by then,
      they can still read on Linux.
    * direction: which bytes `stall_after` and `reset_after` count and hold up: those that the side receives ("receive")
      or those that it sends ("send").

    Times are those of the hub, so they follow a `VirtualClock`. If several faults are for a connection, the one that
    began last takes it.
    """

def resolver(
    host: str | bytes | None = None,
    *,
    nth: _Nth = None,
    error: BaseException | type[BaseException] | int | bool | None = None,
    delay: float | None = None,
    reverse: bool = False,
    addresses: Sequence[str] | None = None,
) -> Fault:
    """A fault of name resolution in this thread, by gevlite's functions or in a patched program.

    host: for which name or address; None: all. nth: only the nth look-up, from 1 on, or several, as `range(2, 5)`.

    * error: what it raises: an exception, a number such as `socket.EAI_AGAIN` for a gaierror, or True for EAI_NONAME.
    * delay: it takes so many seconds longer, also if it then fails.
    * reverse: `getaddrinfo` and `gethostbyname_ex` give the addresses in the opposite order.
    * addresses: numeric addresses that look-ups of a name give instead of the real ones, in this order; those of IPv4
      only where the function knows no others.
    """

def spawn(late: float, *, function: Callable[..., object] | str | None = None, nth: _Nth = None) -> Fault:
    """A fault of starts: a greenlet, or a thread of a patched program, begins `late` seconds after it was started.

    `Thread.start` waits until the thread has begun, so there it is this call that takes so long. function: only those
    that run this function, or a function of this name; None: all. nth: only the nth start, from 1 on, or several, as
    `range(2, 5)`. Not for `spawn_raw`.
    """
