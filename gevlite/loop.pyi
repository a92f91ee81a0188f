"""`hub.loop`: watchers in gevent's style, a thin layer on the core.

A method of the loop makes a watcher. `start(callback)` makes the hub call the callback at each event, until `stop()`.
Callbacks run in the hub; to wait for one event, use `hub.wait(watcher)`. An active watcher keeps the loop alive unless
its `ref` is False; `ref` may be changed at any time. Priorities are accepted and have no effect: callbacks run in the
order of the events.
"""

import os
from collections.abc import Callable
from resource import struct_rusage
from signal import Signals
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias, TypeVarTuple, overload

from _typeshed import FileDescriptorLike, StrPath

from gevlite._core import Callback, Hub

__all__ = ["Loop"]

_Ts = TypeVarTuple("_Ts")

class Watcher:
    """The common part of all watchers."""

    loop: Loop
    hub: Hub
    active: bool
    def __init__(self, loop: Loop, ref: bool | None = True, priority: int | None = None) -> None: ...
    @property
    def ref(self) -> bool | None:
        """Whether it keeps the loop alive while it is active. It can be changed at any time."""
    @ref.setter
    def ref(self, value: bool | None) -> None: ...
    @property
    def priority(self) -> int:
        """A number without effect, 0 by default. It can be set while the watcher is not active."""
    @priority.setter
    def priority(self, value: int | None) -> None: ...
    @property
    def callback(self) -> Callable[..., object] | None:
        """The function that is called; None if the watcher was not started, or was stopped."""
    @callback.setter
    def callback(self, value: Callable[..., object] | None) -> None: ...
    @property
    def args(self) -> tuple[Any, ...] | None:
        """The tuple of arguments for `callback`, or None."""
    @args.setter
    def args(self, value: tuple[Any, ...] | None) -> None: ...
    @property
    def pending(self) -> bool:
        """True if the callback is about to be called."""
    def start(self, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call `callback(*args)` at each event from now on. Raises TypeError if `callback` is not callable.

        If the watcher is already active, this replaces its callback.
        """
    def stop(self) -> None:
        """Stop calling the callback; this also cancels `feed`. Calling it twice does nothing."""
    def close(self) -> None:
        """The same as `stop()`: there is nothing else to release."""
    def feed(self, events: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call `callback(*args)` soon, as if the event had happened, whether the watcher is active or not."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

class io(Watcher):
    """A file descriptor is ready. The callback is called again and again for as long as it is."""
    def __init__(
        self, loop: Loop, fd: FileDescriptorLike, events: int, ref: bool = True, priority: int | None = None
    ) -> None: ...
    @property
    def fd(self) -> int:
        """The descriptor. It can be set while the watcher is not active."""
    @fd.setter
    def fd(self, value: FileDescriptorLike) -> None: ...
    @property
    def events(self) -> int:
        """READ (1), WRITE (2) or both. It can be set while the watcher is not active."""
    @events.setter
    def events(self, value: int) -> None: ...
    @property
    def events_str(self) -> str:
        """`events` in words, such as "READ|WRITE"."""
    @overload
    def start(self, callback: Callable[[*_Ts], object], *args: *_Ts, pass_events: Literal[False] = False) -> None:
        """Like `Watcher.start`. With `pass_events`, the ready events are the callback's first argument."""
    @overload
    def start(self, callback: Callable[[int, *_Ts], object], *args: *_Ts, pass_events: Literal[True]) -> None: ...

class timer(Watcher):
    """Fires after `after` seconds, and then every `repeat` seconds."""

    after: float
    repeat: float
    def __init__(
        self, loop: Loop, after: float = 0.0, repeat: float = 0.0, ref: bool = True, priority: int | None = None
    ) -> None: ...
    @property
    def at(self) -> float:
        """When it fires next, by `loop.now()`; 0 if it has never been started."""
    def start(self, callback: Callable[[*_Ts], object], *args: *_Ts, update: bool | None = None) -> None:
        """Like `Watcher.start`; `update` is accepted and ignored: the clock is always read again."""
    def again(self, callback: Callable[[*_Ts], object], *args: *_Ts, update: bool | None = None) -> None:
        """Start again; if `repeat` is set, it is also the first delay."""

class async_(Watcher):
    """`send()` was called, by any thread. Several calls before the hub runs the callback count as one."""
    def send(self) -> None:
        """Make the hub call the callback soon. May be called from any thread; wakes the hub at once."""
    def send_ignoring_arg(self, _ignored: object) -> None:
        """`send()` for use as a link."""

class prepare(Watcher):
    """The loop is about to poll."""

class check(Watcher):
    """The loop has just polled."""

class idle(Watcher):
    """Nothing else is ready. While one is active the loop does not sleep."""

class fork(Watcher):
    """The process has forked, and this is the child."""

class signal(Watcher):
    """A signal has arrived. An active watcher replaces the handler set with `signal.signal`; main thread only.

    ref: True keeps the loop alive. Otherwise `Hub.join` does not wait for the signal. But if the main greenlet waits
    for something that only the signal's handler can cause, it continues to wait, unless `ref` is False (not None).
    """

    signalnum: int
    def __init__(
        self, loop: Loop, signalnum: int | Signals, ref: bool | None = True, priority: int | None = None
    ) -> None: ...

class child(Watcher):
    """The child process `pid` has ended: `rstatus` is its wait status, `returncode` as in subprocess, `rusage` its use
    of resources (or None). Calls back once.

    The watcher reaps the process. `trace` is accepted and ignored. In the child of a fork, whose children are others,
    the parent's watchers are stopped.
    """

    pid: int
    rpid: int
    rstatus: int
    rusage: struct_rusage | None
    def was_taken(self, status: int) -> None:
        """The child has ended and other code has taken its status from the kernel: call back all the same."""
    def __init__(self, loop: Loop, pid: int, trace: int = 0, ref: bool = True) -> None: ...
    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""

class stat(Watcher):
    """A file's status has changed. `attr` and `prev` are its os.stat results, now and before, or None.

    The file is checked every `interval` seconds: 0 means every 5 seconds, and less than 0.1 means 0.1.
    """

    DEFAULT_INTERVAL: ClassVar[float]
    LEAST_INTERVAL: ClassVar[float]
    path: str
    interval: float
    attr: os.stat_result | None
    prev: os.stat_result | None
    def __init__(
        self, loop: Loop, path: StrPath, interval: float = 0.0, ref: bool = True, priority: int | None = None
    ) -> None: ...

# The methods of Loop have the same names.
_Io: TypeAlias = io
_Timer: TypeAlias = timer
_Async: TypeAlias = async_
_Prepare: TypeAlias = prepare
_Check: TypeAlias = check
_Idle: TypeAlias = idle
_Fork: TypeAlias = fork
_Signal: TypeAlias = signal
_Child: TypeAlias = child
_Stat: TypeAlias = stat

class Loop:
    """The watchers of one hub, `hub.loop`.

    `Loop()` is another set of watchers of the running thread's hub: a thread has only one loop. gevent's arguments
    `flags` and `default` are accepted and have no effect.
    """

    MAXPRI: Final = 2
    MINPRI: Final = -2
    hub: Hub
    origflags: tuple[str, ...]
    origflags_int: int
    def __init__(self, hub: object = None, default: object = None, *, flags: object = None) -> None: ...
    def io(self, fd: FileDescriptorLike, events: int, ref: bool = True, priority: int | None = None) -> _Io:
        """A file descriptor is ready. The callback is called again and again for as long as it is."""
    def timer(self, after: float = 0.0, repeat: float = 0.0, ref: bool = True, priority: int | None = None) -> _Timer:
        """Fires after `after` seconds, and then every `repeat` seconds."""
    def async_(self, ref: bool = True, priority: int | None = None) -> _Async:
        """`send()` was called, by any thread. Several calls before the hub runs the callback count as one."""
    def prepare(self, ref: bool = True, priority: int | None = None) -> _Prepare:
        """The loop is about to poll."""
    def check(self, ref: bool = True, priority: int | None = None) -> _Check:
        """The loop has just polled."""
    def idle(self, ref: bool = True, priority: int | None = None) -> _Idle:
        """Nothing else is ready. While one is active the loop does not sleep."""
    def fork(self, ref: bool = True, priority: int | None = None) -> _Fork:
        """The process has forked, and this is the child."""
    def signal(self, signalnum: int | Signals, ref: bool | None = True, priority: int | None = None) -> _Signal:
        """A signal has arrived. An active watcher replaces the handler set with `signal.signal`; main thread only.

        ref: True keeps the loop alive. Otherwise `Hub.join` does not wait for the signal. But if the main greenlet waits
        for something that only the signal's handler can cause, it continues to wait, unless `ref` is False (not None).
        """
    def child(self, pid: int, trace: int = 0, ref: bool = True) -> _Child:
        """The child process `pid` has ended: `rstatus` is its wait status, `returncode` as in subprocess, `rusage` its use
        of resources (or None). Calls back once.

        The watcher reaps the process. `trace` is accepted and ignored. In the child of a fork, whose children are others,
        the parent's watchers are stopped.
        """
    def stat(self, path: StrPath, interval: float = 0.0, ref: bool = True, priority: int | None = None) -> _Stat:
        """A file's status has changed. `attr` and `prev` are its os.stat results, now and before, or None.

        The file is checked every `interval` seconds: 0 means every 5 seconds, and less than 0.1 means 0.1.
        """
    def run_callback(self, func: Callable[[*_Ts], object], *args: *_Ts) -> Callback:
        """Call `func(*args)` in the hub, soon. Returns a handle with `stop()` and `pending`."""
    def run_callback_threadsafe(self, func: Callable[[*_Ts], object], *args: *_Ts) -> Callback:
        """`run_callback` for other threads: wakes the hub at once."""
    def now(self) -> float:
        """The time in seconds, by a clock that never goes back."""
    def update_now(self) -> None:
        """Nothing to do: the clock is read whenever it is needed."""
    def update(self) -> None:
        """Nothing to do: the clock is read whenever it is needed."""
    def run(self, nowait: bool = False, once: bool = False) -> None:
        """Block until nothing keeps the loop alive any more, or until `break_()`. Everything else continues meanwhile.

        nowait: block only until everything that is ready now has run. once: block only until something happens; an
        event that is already due counts.
        """
    def break_(self, how: int | None = None) -> None:
        """Make the latest `run()` return, or with `how` 2 all of them."""
    def reinit(self) -> None:
        """Nothing to do: every fork already gives the child's hub a new backend."""
    def verify(self) -> None:
        """Nothing to do; for code written for gevent."""
    def install_sigchld(self) -> None:
        """Nothing to do: gevlite waits for children without a handler for SIGCHLD."""
    def reset_sigchld(self) -> None:
        """Nothing to do: gevlite waits for children without a handler for SIGCHLD."""
    def closing_fd(self, fd: int) -> bool:
        """Announce that `fd` is about to be closed: its waiters get EBADF. True if there are any."""
    def fileno(self) -> int | None:
        """The descriptor of the kernel's poll object (epoll, kqueue); None if the backend has none."""
    @property
    def backend_int(self) -> int:
        """libev's number for such a backend; 0 if it has none."""
    @property
    def activecnt(self) -> int:
        """The number of things that keep the loop alive: timers, greenlets that wait for a descriptor, and others."""
    @property
    def depth(self) -> int:
        """1 in the loop's own callbacks, 0 elsewhere."""
    @property
    def default(self) -> bool:
        """True for the loop of the main thread."""
    @property
    def backend(self) -> str:
        """The name of the backend."""
    @property
    def approx_timer_resolution(self) -> float:
        """The resolution of timers, in seconds."""
    @property
    def pendingcnt(self) -> int:
        """The number of entries in the ready queue."""
    @property
    def iteration(self) -> int:
        """How often the loop has polled."""
    def ref(self) -> None:
        """Add a reason to keep the loop alive."""
    def unref(self) -> None:
        """Undo one `ref()`."""
    def handle_error(
        self, context: object, type: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        """The same as `Hub.handle_error`."""
    def destroy(self) -> None:
        """`Hub.destroy()`, if this is `hub.loop`."""
