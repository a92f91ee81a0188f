"""The core: hub, ready queue, timer heap, park and wake, file descriptors, the backend interface.

How the parts fit ----------------- Every blocking call in gevlite is a `Waiter` that parks the current greenlet. The
code that makes the awaited thing happen calls `wake`; that puts one RESUME entry in the hub's ready queue. `park` does
not go through the hub if the next ready entry is a greenlet: it switches straight to it (direct handoff). The hub
itself runs only to make callbacks, fire timers and ask the backend what is ready; a budget of handoffs, in number and
in time, sends control back to it under any load.

docs/design.md tells it at length, with a picture of one turn of the loop.

What a reader must know before changing anything
------------------------------------------------
* One hub belongs to one OS thread. Its queues and tables are touched by that thread alone, except what _shared.pxi has,
  the inbox and the state of a Waiter (`wake`, `throw`) among it. Other threads touch that while they hold the GIL; no
  Python code runs between the test of a state and its change.
* A Waiter moves NEW, PARKED, WOKEN, RESUMED, DONE and never back. (`free_waiter` is no exception: what it resets is
  referenced by nothing else, so for every other part of the program that Waiter is gone.) Only the step PARKED to WOKEN
  queues an entry, so there is exactly one resumption. A second caller gets False and must give the value that it had to
  the next waiter.
* An exception for a parked greenlet (kill, Timeout) is that same step: from then on `wake` returns False. An exception
  for a greenlet that is already woken, or runs, is kept as *pending* and raised when it parks next. So the value that
  it was woken with is never lost. Only an exception that is thrown into a greenlet past the hub, by hand or by a
  tracer, can end the wait of a greenlet that is already woken: then `Waiter.undelivered` says so.
* Parking undoes itself: on every way out of `park` the Waiter is in no list and no heap.
* The hub's greenlet may wait like any other: signal handlers, destructors and callbacks run in it and may block. Then it
  is *displaced*: another greenlet, a _Runner, runs the loop (`hub.runner` says which one does), and whatever is done
  item by item in the loop keeps its place in the hub and not on the stack. When the hub's greenlet is back in its own
  loop it is *laid off*, until the runner comes to the top of its loop and gives the place back.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from types import CodeType, FrameType, TracebackType
from typing import Any, ClassVar, NoReturn, Protocol, Self, TypedDict, final, type_check_only

from _typeshed import FileDescriptorLike, SupportsWrite
from greenlet import GreenletExit as GreenletExit, greenlet
from typing_extensions import disjoint_base

from gevlite._backend import END as END, READ as READ, URGENT as URGENT, WRITE as WRITE, Backend as Backend
from gevlite.exceptions import (
    BlockingSwitchOutError as BlockingSwitchOutError,
    HubDestroyed as HubDestroyed,
    InvalidSwitchError as InvalidSwitchError,
    LoopExit as LoopExit,
)
from gevlite.hub import Hub as _FullHub
from gevlite.loop import Loop

class WaitKind(IntEnum):
    WAIT_OTHER = 0
    WAIT_YIELD = 1
    WAIT_TIMER = 2
    WAIT_READ = 3
    WAIT_WRITE = 4
    WAIT_GREENLET = 5
    WAIT_EVENT = 6
    WAIT_RESULT = 7
    WAIT_LOCK = 8
    WAIT_QUEUE = 9
    WAIT_THREADPOOL = 10
    WAIT_IDLE = 11
    WAIT_HUB = 12
    WAIT_WATCHER = 13
    WAIT_FDS = 14
    WAIT_LOOP = 15

@disjoint_base
class Place:
    """A place in a WaitList: what is to be notified when the thing that the list is for happens.

    It is in one list at most. The list owns a reference to it, and taking it out gives that up.
    """

@disjoint_base
class Waiter(Place):
    """The one way to block: `park()` switches away until `wake(value)` or `throw(exc)` is called.

    Use one Waiter for one wait. `wake` and `throw` may be called before `park` (which then returns at once) and from any OS
    thread. Both return True if they decided the wait and False if it was already decided.
    """

    kind: int
    detail: int
    def __new__(cls, hub: Hub | None = None) -> Self: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def parked(self) -> greenlet | None:
        """The greenlet that is parked here, or None."""
    def park(self) -> Any:
        """Block the current greenlet until woken; return the value or raise the exception it was woken with.

        Raises InvalidSwitchError if something other than `wake` or `throw` switched into the parked greenlet. It may
        also be called in the hub's greenlet (in a callback, a destructor): another greenlet runs the loop meanwhile.
        """
    def park_timeout(self, timeout: float | None = None) -> tuple[Any, bool]:
        """`park()` for at most `timeout` seconds. Returns `(value, timed_out)`."""
    def wake(self, value: object = None) -> bool:
        """Decide the wait with `value`. True: done by this call; False: it was already decided.

        Also False if its hub is gone (its thread ended, or was left behind by a fork): the value would be lost.
        """
    def throw(self, exc: BaseException | type[BaseException]) -> bool:
        """Decide the wait with an exception (an instance or a class). Returns as `wake`."""
    def describe(self) -> str:
        """What the greenlet waits for, in words."""

@disjoint_base
class Waitable:
    """The base of everything that becomes ready: the greenlets that wait for it, and the callbacks linked to it."""
    @property
    def hub(self) -> Hub:
        """The hub of the running thread: a primitive belongs to no hub and may be shared between threads."""
    def ready(self) -> bool:
        """True if waiting for it would not block."""
    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Have this thread's hub call `callback(self)` once, when it becomes ready (soon, if it is).

        The callback runs in the hub; if it blocks, that delays nothing but itself. It is called before greenlets that began
        to wait later go on.
        """
    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Take back a `rawlink`, also when the call is due already. An unknown one is ignored."""
    def linkcount(self) -> int:
        """How many greenlets wait for it and how many callbacks are linked, together."""

@disjoint_base
class Clock:
    """Moves the time of a thread between `_begin()` and `_end()`.

    auto: move it to the next timer when all greenlets wait, and not only by `advance`. settle: while greenlets wait for
    descriptors, time moves only after these have brought nothing for so many real seconds. limit: if time does not move
    for so many real seconds, TimeStandsStill is raised in the greenlet that began; None: never.
    """

    auto: bool
    def __init__(self, auto: bool, settle: float, limit: float | None) -> None: ...
    def _begin(self, wall_ns: int) -> None:
        """Stop the thread's time. wall_ns: what `time.time_ns()` is to return."""
    def _end(self) -> None:
        """Let time go on. Does nothing if it goes on already."""
    def _elapsed_ns(self) -> int:
        """The time from the beginning until now or the end. Any thread may call this and the next two."""
    def _shown_ns(self) -> int | None:
        """`time.monotonic_ns()` in its thread; None if this clock is not in use."""
    def _wall_ns(self) -> int | None:
        """`time.time_ns()` in its thread; None if this clock is not in use."""
    def _holds(self, fds: list[int]) -> str | None:
        """Why time must not move by itself while greenlets wait for these descriptors; None if it may."""
    def _send(self) -> bool:
        """Send something to ourselves over the network. False if that is impossible."""
    def _arrived(self) -> bool:
        """True if what `_send` sent has arrived."""
    def _error(self, why: str, seconds: float, report: dict[str, Any], hub: int) -> Exception:
        """The exception for the greenlet that began."""
    def advance(self, seconds: float) -> None:
        """Move the time by `seconds`."""

@disjoint_base
class CoreGreenlet(greenlet):
    """What the core keeps with each greenlet of gevlite.

    `waiter` is set while it is parked and only then: that is how `throw_now` finds what an exception has to end.
    """
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @property
    def hub(self) -> Hub: ...
    def __del__(self) -> None: ...

@disjoint_base
class Block:
    """A `with` block that is to be interrupted alone: it is only a part, such as a task, of what its greenlet runs."""

@disjoint_base
class Belongings:
    """What a greenlet has put into the state of its OS thread, where every other greenlet would find it: see
    `_running_loop`.

    The code that puts it there calls `set_belongings`. From then on it is put away whenever that greenlet is parked:
    the core calls `put_away` before it switches to another greenlet and `put_back` before this one goes on, whether it
    is woken or an exception is thrown into it. Both are called where nothing may be raised, and must not switch. A
    greenlet without belongings pays for one test of a pointer before and after the switch, and a greenlet that has just
    been started has none.

    A switch made by hand (`greenlet.switch` between two greenlets of the program's own) does not count as parking: the
    two are one flow of control, and keep the belongings. SQLAlchemy does this: a coroutine switches to another
    greenlet, for code that is not async. If that greenlet parks, `owner` waits there too, and an exception for `owner`
    is raised there (`waits_for_owner`).
    """

@disjoint_base
class Callback:
    """A call that the hub will make from its own greenlet. If it blocks, that delays nothing but itself.

    `stop()` (also `cancel`, `close`) takes it back if it has not run. `pending` tells whether it still will.
    """

    callback: Callable[..., object] | None
    args: tuple[Any, ...] | None
    def __new__(
        cls, hub: Hub | None = None, callback: Callable[..., object] | None = None, args: tuple[Any, ...] = ()
    ) -> Self: ...
    @property
    def hub(self) -> Hub | None: ...
    @property
    def pending(self) -> bool: ...
    def __bool__(self) -> bool: ...
    def stop(self) -> None:
        """Take the call back. Calling it twice, or after the call was made, does nothing."""
    def cancel(self) -> None:
        """The same as `stop()`."""
    def close(self) -> None:
        """The same as `stop()`."""

@disjoint_base
class LinkCall(Callback):
    """A linked callback. It stays in its list until the hub calls it: until then it can be taken back."""

@disjoint_base
class Timer(Callback):
    """A `Callback` made at a moment, once or every `repeat` seconds. Made by `Hub.call_later`."""

@disjoint_base
class FdWatch:
    """`FdWatch(hub, fd, events, callback)`: after `start()`, the hub calls `callback(events)` once when `fd` is ready.

    It may then be started again. A callback that blocks delays nothing but itself.
    """
    def __new__(cls, hub: Hub, fd: int, events: int, callback: Callable[[int], object]) -> Self: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def fd(self) -> int: ...
    @property
    def events(self) -> int: ...
    def start(self) -> None:
        """Watch for one report. Raises OSError(EBADF) if the fd is closed. Does not block."""
    def stop(self) -> None:
        """Watch no more. Calling it twice does nothing."""

@final
class _Shuffle:
    """Draws what runs next in a hub. Call `begin` and `end` in the hub's thread.

    plan: `(number, choice)` of each decision that is not to be the usual one, in the order of their numbers; then
    nothing is random. switches: calls that can block, but need not, give way at random. steps: `overdue` is called
    after so many turns.
    """

    recording: bool
    overdue: Callable[[], object] | None
    on_draw: Callable[[list[Any], int, bool], object] | None
    def __new__(
        cls, hub: Hub, seed: int, plan: list[tuple[int, int]] | None = None, switches: bool = False, steps: int = 0
    ) -> Self: ...
    @property
    def switches(self) -> bool: ...
    @property
    def decisions(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def signature(self) -> int: ...
    @property
    def widths(self) -> list[int]: ...
    @property
    def schedule(self) -> list[tuple[int, int]]:
        """The recorded decisions, in the form of `plan`."""
    def begin(self) -> None:
        """Draw from now on. The running greenlet counts as drawn."""
    def end(self) -> None:
        """Draw no more. Does nothing if it does not draw."""

# What `Hub.wait` can wait for: the watchers of `Hub.loop`.
@type_check_only
class _Watcher(Protocol):
    @property
    def callback(self) -> Callable[..., object] | None: ...
    def start(self, callback: Callable[..., object], /) -> object: ...
    def stop(self) -> object: ...
    def close(self) -> object: ...

@disjoint_base
class Hub(greenlet):
    """The greenlet of one OS thread that runs its event loop. `get_hub()` makes it on first use.

    `Hub(backend=None)`: a backend's name, an order of preference (comma-separated or a sequence), `"module:Class"`, a
    subclass of Backend or an instance; None means what `gevlite.config.backend` says, or the best one of the platform.
    """

    SYSTEM_ERROR: ClassVar[tuple[type[BaseException], ...]]
    NOT_ERROR: ClassVar[tuple[type[BaseException], ...]]
    name: str | None
    exception_stream: SupportsWrite[str] | None
    outside: int
    before_poll: list[Callable[[], object]] | None
    after_poll: list[Callable[[], object]] | None
    watchers: int
    spinning: int
    host: Any
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, backend: str | Sequence[str] | Backend | type[Backend] | None = None) -> None: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def backend_reason(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    @property
    def thread_ident(self) -> int: ...
    @property
    def greenlets(self) -> int: ...
    @property
    def main_hub(self) -> bool:
        """True for the hub of the process's main thread."""
    def run(self, *ignored: object) -> None:
        """The hub's own code; switched to, never called."""
    def parked_waiters(self) -> list[Waiter]:
        """The Waiters on which greenlets of this hub are parked, the latest first."""
    def handle_error(
        self, context: object, type: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Called for an exception that nothing else caught, in a greenlet (`context`) or a callback.

        Prints it once and goes on. If the program has set `threading.excepthook`, that is called instead, as for the error
        of a thread. KeyboardInterrupt, SystemExit and SystemError are printed and also go to the main greenlet.
        Replace it on the hub, or in a subclass, to report elsewhere.
        """
    def handle_system_error(
        self, type: type[BaseException], value: BaseException, tb: TracebackType | None = None
    ) -> None:
        """Raise `value` in the main greenlet of this thread."""
    def print_exception(
        self, context: object, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Write the traceback, then a line naming the greenlet or callback, to `exception_stream` or sys.stderr."""
    def call_soon(self, callback: Callable[..., object], *args: Any) -> Callback:
        """Have the hub call `callback(*args)`, after what is ready now. Returns a Callback.

        It may block: that delays nothing but itself, since another greenlet runs the loop meanwhile.
        """
    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> Callback:
        """`call_soon` from any OS thread: wakes the hub at once if it is polling."""
    def call_later(
        self, seconds: float, callback: Callable[..., object], *args: Any, repeat: float = 0, ref: bool = True
    ) -> Timer:
        """Have the hub call `callback(*args)` in `seconds`, then every `repeat` seconds if that is given.

        Returns a Timer; `stop()` cancels it. With `ref=False` the timer does not keep the loop alive. Raises ValueError for a
        negative time.
        """
    def ref(self, thread: bool = False) -> None:
        """Count one more outside reason (a worker thread, a watcher) why a greenlet may still be woken.

        thread: it is the work of another thread, and that thread does not exist in the child of a fork.
        """
    def unref(self, thread: bool = False) -> None:
        """Take back one `ref()`."""
    def now(self) -> float:
        """Monotonic seconds, the clock of all timers."""
    def join(self, timeout: float | None = None) -> bool:
        """Block until the hub has nothing left to do; the main greenlet's way to let everything finish.

        Returns True then, or False after `timeout` seconds.
        """
    def wait(self, watcher: _Watcher) -> None:
        """Block until `watcher` (of `hub.loop`) calls back. It is started here and stopped in any case."""
    def cancel_wait(
        self, watcher: _Watcher, error: BaseException | type[BaseException], close_watcher: bool = False
    ) -> None:
        """Raise `error` in the greenlet that blocks in `wait(watcher)`, if there is one. Does not block."""
    def wait_idle(self) -> None:
        """Block until no greenlet is ready and no file descriptor either."""
    def wait_fd(self, fd: int, events: int, timeout: float | None = None) -> int:
        """Block until `fd` is ready for `events` (READ, WRITE or both), at most `timeout` seconds.

        Returns the events that are ready, 0 after a time-out. Raises OSError(EBADF) for a closed fd, also if it is closed by
        `gevlite.socket` while we wait.
        """
    def wait_fds(self, pairs: Iterable[tuple[int, int]], timeout: float | None = None) -> bool:
        """Block until one of many fds may be ready, at most `timeout` seconds.

        pairs: of `(fd, events)`, each fd once. True: ask the kernel which it is; False: the time is over. What is ready
        already need not end the wait on an owned fd, whose readiness may have been reported before: ask the kernel
        first. Raises OSError(EBADF) for a closed fd, also if it is closed by `gevlite.socket` while we wait.
        """
    def blocks_thread(self) -> bool:
        """True for code that runs in the backend's `poll`: there, original functions must block the OS thread."""
    def fd_is_owned(self, fd: int) -> bool:
        """True if `fd` belongs to a gevlite socket that has waited in this hub."""
    def stats(self) -> dict[str, int]:
        """What the hub holds and has done, as a dict of counts.

        greenlets: begun and not ended; parked: in a blocking call; ready: queued entries; timers: pending (unref_timers of
        them do not keep the loop alive); fds: watched by the backend; fd_waiters: greenlets that wait for one; refs: outside
        reasons to stay alive; watchers: active ones of `loop`; then totals: switches, handoffs (those that bypassed the hub),
        polls, spawned, slices (those that were used up, see `config.time_slice`).
        """
    def progress(self) -> int | None:
        """A number that changes with each switch and each turn of the loop; None while the hub polls or is closed.

        For other threads: if it is the same as before, one greenlet or one callback has run all the time.
        """
    def destroy(self, destroy_loop: object = None) -> None:
        """End this thread's hub: parked greenlets are unwound with GreenletExit, the backend is closed.

        To be called by the thread's main greenlet, when it no longer needs gevlite; the next `get_hub()` makes a new hub.
        Happens by itself when the thread ends.
        """
    # What the layers above register.
    loop: Loop
    resolver: Any
    threadpool: Any

@type_check_only
class _CacheStats(TypedDict):
    installed: bool
    cached: int
    limit: int
    hits: int
    misses: int

signals_without_ref: dict[int, Callable[..., object]]

def set_backend_chooser(
    chooser: Callable[[str | Sequence[str] | Backend | type[Backend] | None], tuple[Backend, str]],
) -> None:
    """Set the function that picks a backend for a new hub: `chooser(wanted) -> (Backend, reason)`."""

def set_belongings_finder(finder: Callable[[], Belongings | None]) -> None:
    """`finder()` returns the Belongings of the running greenlet, or None. Called when a hub is made."""

def register_hub_attribute(name: str, factory: Callable[[Hub], object]) -> None:
    """Have `hub.<name>` made by `factory(hub)` on first use: so the layers above attach something to a hub."""

def set_awaiter(awaiter: Callable[[Any], Iterator[Any]]) -> None:
    """`awaiter(what)` returns what `__await__` of a greenlet, an event and so on is to return."""

def set_hub_class(cls: type[Hub]) -> None:
    """Set what `get_hub()` calls to make a hub: a subclass of Hub. Attributes can be set on one in Python."""

def get_hub() -> _FullHub:
    """The hub of the running OS thread, made on first use."""

def get_hub_if_exists() -> _FullHub | None:
    """The hub of the running OS thread, or None if it has not made one."""

def getcurrent() -> greenlet:
    """The greenlet that runs. As `greenlet.getcurrent()`, but works in finalizers at the end of the interpreter, too."""

def is_finalizing() -> bool:
    """True once no thread but this one, and no greenlet that has not been started since, will ever run again."""

def too_late_for_threads(exc: BaseException) -> bool:
    """True if `start_new_thread` raised `exc` because the interpreter ends: what is left must do without threads."""

def let_others_run(timeout: Any = None) -> None:
    """Let others run if the current greenlet has run for longer than its slice. Does nothing in the hub.

    For operations in Python, see "Fairness" in _core.pxd. timeout: how long the operation may block; with 0 nothing is done.
    """

def add_idle_workers(change: int) -> None:
    """Count threads that only wait for calls to make, 1 for each thread and -1 for each call. Any thread.

    A thread without a call to make wakes no greenlet, so it does not hold off a LoopExit.
    """

def register_description(cls: type, describe: Callable[[Any, Waiter], object]) -> None:
    """Have `describe(what, waiter)` put into words a wait for a `cls`. For rules and result see _look.pxi."""

def look(skip: int = 0) -> dict[str, Any]:
    """A dict of plain numbers and strings that says what each greenlet of each hub does: for gevlite._probe.

    Does not block, and changes nothing. skip: how many frames of the caller's stack to leave out.
    """

def set_spawn_callbacks(add: Callable[[Callable[..., object]], None], remove: Callable[..., None]) -> None:
    """Set the functions that register and remove a callback for each greenlet that starts."""

def trace_start(size: int, seconds: float | None = None) -> None:
    """Begin to record, in all threads that have a hub or make one. size: of the buffer, in events.

    seconds: it stops recording by itself after this time. Raises RuntimeError if a trace is running.
    """

def trace_stop() -> dict[str, Any]:
    """End the trace. Returns what it has found as a dict of plain numbers, strings and bytes: for `gevlite._timeline`.

    Raises RuntimeError if no trace was begun.
    """

def is_traced() -> bool:
    """True while a trace is running: not when its seconds are over."""

def thread_name(ident: int) -> str | None:
    """The name that `threading` has for it; None if it does not know the thread. Runs no code of the program."""

def look_at_running(hub: Hub) -> tuple[str, list[tuple[str, int, str]], FrameType | None, int] | None:
    """What runs in the thread of another thread's hub; for gevlite._blocked, under the rules of `look`.

    Returns None if the hub polls, or `(kind, stack, frame, others)`: the kind as in `look`, the stack as a list of
    (file, line, function), innermost first, the innermost frame itself, and how many greenlets wait. If the frame is
    None, no Python code runs.
    """

@disjoint_base
class Tick:
    """From now on, `call(hub, seconds, gil_seconds, run, still)` when one greenlet or callback holds the hub for `seconds`.

    `call` runs in a thread of its own, and must not wait for greenlets. Its arguments: how long the run has lasted, for
    how much of that the ticker had to wait for the GIL, a number that no other run of this hub has, and whether it
    still runs. It returns in how many seconds to call it again if the run still lasts then, or None. Its exceptions go
    to `sys.unraisablehook`. Raises RuntimeError if no thread can be started.

    signum: instead, have the interpreter treat this signal as received, and call only if no handler runs then.
    """

    hub: Hub | None
    def __init__(
        self, hub: Hub, seconds: float, call: Callable[[Hub, float, float, int, bool], float | None], signum: int = 0
    ) -> None: ...
    def stop(self) -> None:
        """Make no more calls, except one that is under way."""

def in_ticker() -> bool:
    """True in the thread that makes the calls."""

@final
class Uninterrupted:
    """What `uninterrupted()` returns: usable in `with`, also several times and in several greenlets."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...

def has_slices() -> bool:
    """True if this build can end time slices."""

def set_slice_standard(may: bool) -> None:
    """Whether the standard library's code may be interrupted: only if its locks are cooperative."""

def in_main_thread() -> bool:
    """True in the thread that handles signals."""

def slice_signal_taken(signum: int) -> object:
    """The program's handler for this signal, or None if the signal is free. The main thread only. Raises OSError."""

def slice_hub(
    hub: Hub,
    seconds: float,
    signum: int,
    lost: Callable[[], object] | None,
    completed: Callable[[CodeType], bytes | None] | None,
) -> None:
    """End each time slice of this hub, which is the main thread's, after `seconds`; 0: stop doing so.

    lost(): called in a thread of its own when the program has set another handler for the signal; slices are off then.
    completed(code): the exception table that this code needs before an exception is raised in it, or None.
    """

def timed(hub: Hub) -> list[tuple[Timer | Waiter, greenlet | None, bool]]:
    """`(owner, greenlet, ref)` of each timer and time-out of the hub, in no particular order.

    owner: a Timer, or a Waiter with a time-out; greenlet: what it wakes, begins or raises in; None for a call.
    """

def census() -> tuple[list[dict[str, Any]], dict[tuple[str, str | None, int], int], tuple[Any, Any], tuple[float, ...]]:
    """The counts of each hub, as `(hubs, functions, totals of ended hubs, lag limits)`.

    hubs: dicts. functions: `{(name, file, line): greenlets}` over all hubs. totals: `(switches, handoffs, polls, spawned,
    slices used up, ns of lag, rounds by lag)`, first of hubs of the main thread, then of all others. Does not block, and
    changes nothing.
    """

@final
class Sampler:
    """Looks at what runs in each hub. To be used in a thread without a hub, and to be closed."""

    def watch(self, seconds: float) -> None:
        """Look for `seconds`. Blocks the OS thread."""

    def result(self) -> dict[str, Any]:
        """A dict of what was seen since the last call."""

    def close(self) -> None:
        """To be called at the end."""

def tally() -> dict[str, Any]:
    """A dict of plain numbers and strings that says how many greenlets run each function, and in which state.

    Like `look` with less detail, so that it can be called again and again.
    """

def call_in_main_thread(function: Callable[[], object]) -> bool:
    """Have the main thread call `function` between two bytecodes of the code that runs there, which gets the exception.

    May be called in any thread. False if too many such calls wait already. For what must not wait until a greenlet
    switches.
    """

def waiting_loops() -> list[tuple[int, Any]]:
    """`(address of the greenlet, event loop)` of each greenlet that runs an asyncio loop and waits in it."""

def monotonic() -> float:
    """Seconds, as `time.monotonic()`; by the virtual clock of this thread if it has one."""

def hubs() -> list[Hub]:
    """All live hubs of the process, one for each OS thread that uses gevlite."""

def park_current(timeout: float | None = None) -> Any:
    """Park the current greenlet on a Waiter that nothing else refers to: only an exception or the time-out ends that."""

def sleep(seconds: float = 0, ref: bool = True) -> None:
    """Block the current greenlet for `seconds` (a number); others run meanwhile. 0 gives way to greenlets that are
    ready.

    Exact to the clock where the kernel allows, never early. With `ref=False` the sleeper does not keep the loop alive.
    Raises ValueError for a negative time, as `time.sleep` does.
    """

def something_is_due(hub: Hub) -> bool:
    """True if a greenlet, a callback or a timer of this thread's hub can run now."""

def fd_of(fileno: FileDescriptorLike) -> int:
    """The fd of an int or of an object with `fileno()`. Raises TypeError, or OSError(EBADF) for a negative one."""

def host_begin(hub: Hub, host: object, read_end: int, write_end: int) -> None:
    """From now on `host` calls `host_turn`, the first time at once. Its `hub_ends()` is called when the hub ends.

    The pipe becomes readable when a turn is needed, as the descriptor of the backend does.
    """

def host_end(hub: Hub) -> None:
    """The host calls `host_turn` no longer: the hub runs when the greenlets of its thread wait."""

def host_turn(hub: Hub, host: object, take_part: Callable[[], object]) -> float | None:
    """One turn, in the greenlet that runs the host: let the greenlets run until nothing is ready, at most for a while.

    Returns in how many seconds the next turn is due (0.0: something is ready), or None if only events, which the
    backend's descriptor reports, will need one. What is thrown into this greenlet meanwhile is raised. `take_part` is
    called first if the core does not know yet that this greenlet runs a loop.
    """

def host_expects(hub: Hub) -> bool:
    """Something is about to be queued between two turns. True if the caller has to arrange for the next turn."""

def replace_backend(hub: Hub, backend: Backend, reason: str) -> None:
    """Give the hub another backend, with the wake pipe of the old one; what waits for a descriptor goes along.

    The old backend can do nothing any more, except be given back to the hub in the same way.
    """

def fd_ready(fd: int, events: int) -> int:
    """Ask the kernel for which of `events` (READ, WRITE or both) `fd` is ready at this moment; 0 for none.

    Does not block. Raises OSError(EBADF) for a closed fd.
    """

def backend_of(hub: Hub) -> Backend:
    """The backend of a hub, with its descriptors: after a fork, the child has not made them before this.

    Any thread, but only the hub's own has them made.
    """

def after_fork_in_child() -> None:
    """Part this thread's hub from the parent's backend; drop the hubs of threads that no longer exist. Runs at each fork."""

def exit_process(status: int) -> NoReturn:
    """End the child of a fork as its main program would end: threads, exit functions, what is buffered."""

def set_stack_cache_limit(chunks: int) -> None:
    """Keep at most `chunks` Python stack chunks of 16 KiB for new greenlets; 0: none. Raises MemoryError."""

def stack_cache_stats() -> _CacheStats:
    """The cache of Python stack chunks: installed, cached and limit (in chunks of 16 KiB), hits, misses."""

def abandon_greenlet(hub: Hub, g: CoreGreenlet) -> None:
    """Never run `g` again, and do not unwind it either: as happens to a thread in the child of a fork.

    Its frames stay as they are for the rest of the process. Nothing happens to the running greenlet.
    """

def abandon_main(hub: Hub) -> None:
    """`abandon` the main greenlet; the running one takes its place: it gets the exceptions for the main greenlet.

    Does nothing in the main greenlet itself. The process does not end with the running greenlet, unless that asks for
    it.
    """

def abandon_others(hub: Hub) -> None:
    """`abandon` every greenlet except the running one: those that wait and those that are to start, now or later.

    In a callback of the hub, or a signal handler that runs there, the main greenlet goes on too.
    """
