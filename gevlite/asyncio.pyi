"""asyncio on the hub: an event loop for each greenlet that runs one, and the ways between coroutines and greenlets.

`EventLoop` is asyncio's own loop for UNIX, except for what waits: it has no selector and no pipe to itself. See `_aio`
for how it runs and `_aiostream` for its stream transports. Datagrams, pipes, subprocesses, TLS and servers are
asyncio's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar, TypeVarTuple, type_check_only

from gevlite._aio import LoopCore
from gevlite._guest import Guest as Guest
from gevlite.greenlet import Greenlet
from gevlite.timeout import Timeout

__all__ = ["EventLoop", "Guest", "attach", "get", "put", "run", "spawn", "wait"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_T_contra = TypeVar("_T_contra", contravariant=True)
_P = ParamSpec("_P")
_Ts = TypeVarTuple("_Ts")

class EventLoop(LoopCore, asyncio.SelectorEventLoop):
    """An asyncio event loop that waits in the hub of the thread that runs it.

    Any number of them run in one thread at once, each in the greenlet that has called `run_forever`,
    `run_until_complete` or `asyncio.run`, and other greenlets go on meanwhile. A callback or a coroutine that calls
    something that blocks holds up its own loop only. Creating a loop takes microseconds.

    `asyncio.run(main(), loop_factory=gevlite.asyncio.EventLoop)`
    """
    def __init__(self) -> None: ...
    def close(self) -> None:
        """Close the loop: its pending callbacks and timers are never called, its descriptors no longer watched.

        If a coroutine has called code in a raw greenlet, as SQLAlchemy does, and that code still waits, it gets
        GreenletExit.
        """
    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call `callback(*args)` in the loop when the signal `sig` comes. In the main thread only.

        Raises ValueError for an unknown signal, RuntimeError for one that cannot be caught or in another thread.
        """
    def remove_signal_handler(self, sig: int) -> bool:
        """Undo `add_signal_handler`. True if there was one."""

@type_check_only
class _Queue(Protocol[_T_co]):
    def get(self) -> _T_co: ...
    def get_nowait(self) -> _T_co: ...

@type_check_only
class _PutQueue(Protocol[_T_contra]):
    def put(self, item: _T_contra, /) -> None: ...
    def put_nowait(self, item: _T_contra, /) -> None: ...

def run(main: Awaitable[_T], *, debug: bool | None = None) -> _T:
    """Run a coroutine, or another awaitable, in a new EventLoop, and return its result: as `asyncio.run`.

    Blocks the current greenlet only; any number of greenlets can do this at once. A kill or a Timeout of the greenlet
    cancels the coroutine and the tasks that it has started, and is raised when they have ended. A second one is raised
    at once; the tasks then end by themselves. Raises RuntimeError in a coroutine.
    """

def wait(awaitable: Awaitable[_T], timeout: float | Timeout | None = None) -> _T:
    """Run an awaitable in the long-lived loop of this thread, and return its result or raise its exception.

    That is the loop to which `attach` has attached the thread, while it runs, else one of gevlite. In this way all
    greenlets of the thread can use an object that belongs to one loop, such as a client, a pool or a channel. Blocks
    the current greenlet, and passes on its contextvars. After `timeout` seconds the awaitable is cancelled, and
    TimeoutError is raised when it has ended (at once if another greenlet detaches that loop meanwhile). A kill or a
    Timeout of the greenlet cancels it in the same way. If other code cancels it, this raises asyncio.CancelledError.
    Raises RuntimeError in a coroutine of that same loop.
    """

def attach(loop: asyncio.AbstractEventLoop | None = None) -> Guest:
    """Make an event loop that is not gevlite's, asyncio's own or uvloop, run the greenlets of this thread, too.

    After that, `await spawn(function, ...)` and the other awaitables of gevlite can be used in its coroutines. No other
    thread is needed: the loop calls the hub when a greenlet is ready, a descriptor is reported or a timer is due. loop:
    the running one by default; one that does not run yet must be run by this thread later.

    Returns a Guest: its `detach()`, leaving it as a context manager, and closing the loop undo this. Does not block.
    With a loop of gevlite, it does nothing. Raises RuntimeError if there is no running loop, if `loop` is closed or
    run by another thread or greenlet, if the thread or the loop is attached already, and if the hub has a backend
    without a descriptor that could be watched (`select` and `poll` are replaced by `epoll` or `kqueue` until it is
    detached).
    """

def spawn(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Greenlet[_P, _T]:
    """Call `function(*args, **kwargs)` in a greenlet, where it may block; for coroutines: `await spawn(function, ...)`.

    It begins at once, as a task does, in a copy of the contextvars context. Awaiting it returns the function's result
    or raises its exception. If the task that awaits it is cancelled, the greenlet is killed, and the task goes on with
    its cancellation when the greenlet has ended.
    """

async def get(queue: _Queue[_T]) -> _T:
    """Take the next item of a queue of gevlite, in a coroutine; wait until there is one. The same as `await queue`.

    A cancelled task leaves the item in its place.
    """

async def put(queue: _PutQueue[_T], item: _T) -> None:
    """Put an item into a queue of gevlite, in a coroutine; wait until there is room.

    A task that is cancelled while there is no room has put nothing. Once there was room the item is in the queue, even
    if the task is cancelled before it goes on.
    """
