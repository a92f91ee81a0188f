"""The event loop of `gevlite.asyncio`: its queue, timers and descriptors, and how the hub and its greenlet share the work.

A loop is run by the greenlet that calls `run_forever`, which runs whatever is ready in batches, as asyncio's own loops
do, and never runs anything else: neither the hub nor another greenlet ever calls a callback. When nothing is ready the
greenlet parks, with the loop's next timer as its time-out. Code that has something for the loop appends it to `ready`
and wakes the greenlet: `call_soon` of any greenlet, `call_soon_threadsafe` of another thread, a descriptor that the hub
reports. Between two batches the hub polls, so that descriptors and other greenlets have their turn.

The main greenlet of a thread polls by itself as long as the hub would do nothing else: see `poll_in_place` in the core.

* `ready` and the heap of timers are Python lists, which the garbage collector traverses: so a loop that was dropped
  with callbacks in it is freed.
* Timers belong to the loop. Those of a loop that does not run keep no hub alive, and a loop may be made, and given
  timers, in another thread than the one that runs it later.
* Descriptors belong to the hub for as long as the loop runs: then each `Io` is in the list of a descriptor's readers or
  writers, among the greenlets. When it is notified it only makes itself due.

Other threads touch the queues too, but only in steps in which no Python code can run (they hold the GIL).
"""

from asyncio import AbstractEventLoop, Future, Handle as _AsyncioHandle, Task, TimerHandle as _AsyncioTimerHandle
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from _typeshed import FileDescriptorLike
from typing_extensions import disjoint_base

from gevlite._core import Place
from gevlite._running_loop import Hook

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

@disjoint_base
class Io(Place):
    """A place in the list of a descriptor's readers or writers, for a loop instead of a greenlet."""

@disjoint_base
class Watch(Io):
    """A registration by `add_reader` or `add_writer`: its callback is called for as long as the descriptor is ready."""

@disjoint_base
class TransportCore:
    """What a loop needs to know about a transport that is in `transports`."""

@disjoint_base
class Handle:
    """A callback that a loop will call. It counts as an `asyncio.Handle`."""

    _callback: Callable[..., object] | None
    _args: tuple[Any, ...] | None
    _context: Context
    _source_traceback: Any
    _repr: str | None
    _cancelled: bool
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def _loop(self) -> AbstractEventLoop: ...
    def cancel(self) -> None:
        """Do not call it."""
    def cancelled(self) -> bool:
        """True if it was cancelled."""
    def get_context(self) -> Context:
        """The context that it is called in."""

@disjoint_base
class TimerHandle(Handle):
    """A `Handle` for a certain time. As `asyncio.TimerHandle`."""

    _when: float
    @property
    def _scheduled(self) -> bool: ...
    def when(self) -> float:
        """When it is to be called, by `loop.time()`."""
    def __hash__(self) -> int: ...
    def __lt__(self, other: object, /) -> bool: ...
    def __le__(self, other: object, /) -> bool: ...
    def __gt__(self, other: object, /) -> bool: ...
    def __ge__(self, other: object, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...

def running_hook() -> Hook:
    """The function to call when a loop begins to run in this greenlet, or ends."""

def fd_of(source: FileDescriptorLike) -> int:
    """The descriptor of an int or of an object with `fileno()`; ValueError for anything else."""

@disjoint_base
class LoopCore:
    """The part of an EventLoop that is on the hot path. The rest is asyncio's own, see `gevlite.asyncio`."""

    _thread_id: int | None
    _current_handle: Any
    _task_factory: Any
    _debug: bool
    _closed: bool
    _stopping: bool
    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> _AsyncioHandle:
        """Call `callback(*args)` in the next turn of the loop. Never blocks. Returns a Handle, which can be cancelled.

        May be called by any greenlet, and by any thread: it is `call_soon_threadsafe` too.
        """
    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> _AsyncioHandle:
        """`call_soon` by another thread."""
    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> _AsyncioTimerHandle:
        """Call `callback(*args)` in `delay` seconds. Never blocks. Returns a TimerHandle, which can be cancelled."""
    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> _AsyncioTimerHandle:
        """Call `callback(*args)` when `loop.time()` is `when`. Never blocks. Returns a TimerHandle."""
    def time(self) -> float:
        """Seconds, by the clock of the hub, CLOCK_MONOTONIC."""
    def create_future(self) -> Future[Any]:
        """A Future of this loop."""
    def create_task(self, coro: Coroutine[Any, Any, _T], **kwargs: Any) -> Task[_T]:
        """Have the loop run a coroutine. Never blocks. Returns the Task. As `asyncio.create_task`."""
    def get_debug(self) -> bool:
        """True in debug mode."""
    def is_running(self) -> bool:
        """True while a greenlet runs it."""
    def is_closed(self) -> bool:
        """True after `close()`."""
    def run_forever(self) -> None:
        """Run until `stop()` is called; blocks the current greenlet only.

        Raises RuntimeError if the loop is closed or runs already, or if another one runs in this greenlet. What is thrown
        into the greenlet meanwhile (a kill, a Timeout) ends it: it may be run again, and goes on where it was.
        """
    def stop(self) -> None:
        """Have `run_forever` return after the callbacks that are ready now."""
