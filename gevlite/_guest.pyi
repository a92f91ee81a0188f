"""Greenlets as guests in an event loop that is not gevlite's: what `gevlite.asyncio.attach` returns.

Another loop, the *host*, runs the thread: asyncio's own or uvloop. The hub never waits then: the host watches the
descriptor of the hub's backend and has a timer for the hub's earliest one. When either fires, it makes a *turn*: a
callback in which the greenlet that runs the host waits until the other greenlets have run (`_hosted.pxi`).

If a coroutine queues something between two turns, by spawning a greenlet or setting an event, a byte is written to a
pipe, so that the host notices. `spawn` and `wait` need no such write: they ask for a turn themselves.

If a coroutine makes a blocking call, the greenlet that runs the host parks like any other, and the hub waits in its own
poll until that greenlet goes on.

In a process whose `select` is patched, asyncio's loop waits in the hub as any greenlet does. Then there are no turns.
"""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from types import TracebackType
from typing import Self

from greenlet import greenlet

from gevlite._core import Hub

__all__ = ["Guest", "guest_of"]

class Guest:
    """The greenlets of this thread in a loop that is not gevlite's, from `gevlite.asyncio.attach()` to `detach()`.

    As a context manager it detaches at the end.
    """

    loop: AbstractEventLoop
    hub: Hub
    attached: bool
    greenlet: greenlet | None
    ends: set[Callable[[BaseException], object]]
    def __init__(self, loop: AbstractEventLoop, hub: Hub) -> None: ...
    def detach(self) -> None:
        """Leave the loop. Greenlets then run only while the greenlet that runs the loop calls something that blocks.

        Coroutines that await something of greenlets, and greenlets in `wait`, get RuntimeError. Closing the loop
        detaches, too. Does not block. A second call does nothing. Raises RuntimeError in another thread.
        """
    def hub_ends(self) -> None:
        """For the core: the hub is about to be destroyed."""
    def lost(self) -> None:
        """In the child of a fork: the host's descriptors are the parent's, so it is not touched."""
    def expect(self) -> None:
        """A turn of the hub will be needed anyway: the host need not notice what is queued next."""
    def poke(self) -> None:
        """Something was given to the loop with `call_soon`, perhaps while it waits."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

def guest_of(hub: Hub | None, loop: AbstractEventLoop | None) -> Guest | None:
    """The Guest by which the hub is in this loop, or None."""

def check(loop: AbstractEventLoop, hub: Hub) -> None:
    """Raise an error if the hub cannot be in this loop."""
