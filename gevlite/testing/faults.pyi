"""Faults on demand, for tests: connections that stall, break or trickle, names that cannot be resolved, late greenlets.

Each function here returns a `Fault`. It begins with the `with` block and ends with it; what it did is in its `hits`::

    with faults.sockets(server.address, reset_after=100) as fault:
        fetch()
    assert [hit.what for hit in fault.hits] == ["reset"]

How it works: a connection with a fault goes through a relay, two greenlets that pass the bytes on as the fault says. So
everything is real for the code under test, whichever way it reads: a file of `makefile`, TLS, `select`, a server of
gevlite, a stream of asyncio. A connection that stalls is not readable, and one that is reset gets ECONNRESET from the
kernel. Only what the kernel cannot do is done in the methods of the socket: taking or giving at most so many bytes in
one call.

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
    """One effect of a fault."""

    what: str
    """`refuse`, `delay`, `receive`, `send`, `stall` or `reset`; for a resolver `error`, `delay` or `order`; `late`."""
    target: object
    """The address, the host name, or the function."""
    number: int
    """The number of the connection, look-up or start, among those to which the fault applies: the first is 1."""
    at: int = 0
    """How many bytes had passed."""

class Fault:
    """A fault that is active within its `with` block. The functions of this module make them."""

    def __init__(self, nth: _Nth) -> None: ...
    hits: list[Hit]
    """What it did, a list of `Hit`, in order."""
    seen: int
    """How many connections, look-ups or starts it applied to; with `nth`, also those that were left alone."""
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
        """End, as the `with` block does; stalled connections go on. Does not block. A second call does nothing."""

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

    address: of the connections: a port, `(host, port)`, the path of a UNIX socket, or None for all. side: "client" for
    those that this process makes with `connect`, "server" for those that it gets from `accept`; the address is that of
    the server. nth: only the nth of these connections, from 1 on, or several, as `range(2, 5)`.

    What happens to them:

    * refuse: connecting fails with ECONNREFUSED. Only for the side of the client.
    * delay: connecting, or accepting, takes so many seconds longer, and respects the socket's time-out. In non-blocking
      mode a connection is made at once, but nothing passes for so long.
    * receive: a call gets at most so many bytes, and no more can be read before these have been.
    * send: a call takes at most so many bytes. For code that does not call the methods of a socket (event loops,
      servers, `sendall`), the kernel's buffer is as small as possible instead.
    * stall_after: so many bytes pass, and then none for `stall_for` seconds; None: until the fault ends.
    * reset_after: so many bytes pass, and then the connection is reset for both sides. On Linux they can still read
      what they had received by then.
    * direction: which bytes `stall_after` and `reset_after` count and hold up: those that the side receives ("receive")
      or those that it sends ("send").

    Times are those of the hub, so they follow a `VirtualClock`. If several faults could apply to a connection, the one
    that began last does.
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
    * delay: it takes so many seconds longer, even if it then fails.
    * reverse: `getaddrinfo` and `gethostbyname_ex` give the addresses in the opposite order.
    * addresses: numeric addresses that look-ups of a name give instead of the real ones, in this order; only those of
      IPv4 if the function supports no others.
    """

def spawn(late: float, *, function: Callable[..., object] | str | None = None, nth: _Nth = None) -> Fault:
    """A fault of starts: a greenlet, or a thread of a patched program, begins `late` seconds after it was started.

    `Thread.start` waits until the thread has begun, so for a thread this call takes so long. function: only those that
    run this function, or a function of this name; None: all. nth: only the nth start, from 1 on, or several, as
    `range(2, 5)`. Not for `spawn_raw`.
    """
