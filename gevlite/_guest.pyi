"""Greenlets as guests in an event loop that is not gevlite's: what `gevlite.asyncio.attach` returns.

The loop of somebody else, the *host*, runs the thread, in asyncio's own way or uvloop's. The hub never waits then: the
host watches the descriptor of the hub's backend and has a timer for the hub's first one. For either it makes a *turn*,
a callback in which the greenlet that runs the host waits until the other greenlets have had theirs (`_hosted.pxi`).

What is queued between two turns, by a coroutine that spawns a greenlet or sets an event, writes to a pipe: that is how
the host notices. `spawn` and `wait` save the write: they say that a turn is needed.

If a coroutine calls what blocks, the greenlet that runs the host parks like any other, and the hub waits in its own
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
    """The greenlets of this thread in the loop of somebody else, from `gevlite.asyncio.attach()` to `detach()`.

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

        What is awaited across, by coroutines or by greenlets in `wait`, raises RuntimeError. Closing the loop detaches,
        too. Does not block. Calling it twice does nothing. Raises RuntimeError in another thread.
        """
    def hub_ends(self) -> None:
        """For the core: the hub is about to be destroyed."""
    def lost(self) -> None:
        """In the child of a fork: the host's descriptors are the parent's, so it is not touched."""
    def expect(self) -> None:
        """A turn of the hub will be needed: what is queued next need not be noticed."""
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
