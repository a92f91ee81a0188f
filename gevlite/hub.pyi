"""The hub and functions that affect the whole hub, under gevent's names."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from greenlet import greenlet

from gevlite import _core
from gevlite._core import get_hub as get_hub, sleep as sleep
from gevlite._monitor import PeriodicMonitoringThread
from gevlite.exceptions import (
    BlockingSwitchOutError as BlockingSwitchOutError,
    ConcurrentObjectUseError as ConcurrentObjectUseError,
    HubDestroyed as HubDestroyed,
    InvalidSwitchError as InvalidSwitchError,
    LoopExit as LoopExit,
)
from gevlite.greenlet import (
    GreenletExit as GreenletExit,
    getcurrent as getcurrent,
    iwait as iwait,
    kill as kill,
    spawn_raw as spawn_raw,
    wait as wait,
)
from gevlite.loop import Loop
from gevlite.signal import signal_handler as signal

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "GreenletExit",
    "Hub",
    "HubDestroyed",
    "InvalidSwitchError",
    "LoopExit",
    "Waiter",
    "fork",
    "get_hub",
    "getcurrent",
    "idle",
    "iwait",
    "kill",
    "reinit",
    "set_hub",
    "signal",
    "sleep",
    "spawn_raw",
    "wait",
]

class Hub(_core.Hub):
    """The greenlet of one OS thread that runs its event loop. `get_hub()` makes it on first use.

    `Hub(backend=None)`: a backend's name, an order of preference (comma-separated or a sequence), `"module:Class"`, a
    subclass of Backend or an instance; None means what `gevlite.config.backend` says, or the best one of the platform.
    """

    periodic_monitoring_thread: PeriodicMonitoringThread | None
    """The thread that `start_periodic_monitoring_thread` has started; None if it was not called."""
    def __init__(
        self,
        backend: str | Sequence[str] | _core.Backend | type[_core.Backend] | None = None,
        time_slice: float | None = None,
    ) -> None: ...
    def start_periodic_monitoring_thread(self) -> PeriodicMonitoringThread:
        """Start an OS thread that checks regularly whether greenlets of this hub still switch, and how much memory is
        used.

        Returns the PeriodicMonitoringThread that controls it; if one is already running, that one. It ends with the
        hub. `gevlite.config.monitor_thread` starts one for each hub. Raises RuntimeError if no thread can be started,
        HubDestroyed if the hub has ended.
        """
    loop_class: type[Loop]
    @property
    def resolver_class(self) -> Any:
        """The class of `resolver`."""
    @property
    def threadpool_class(self) -> Any:
        """The class of `threadpool`."""
    @property
    def threadpool_size(self) -> int:
        """The maximum number of threads of `threadpool`: `gevlite.config.threadpool_size`."""
    def __delattr__(self, name: str) -> None: ...

def set_hub(hub: Hub | None) -> None:
    """For code written for gevent. None destroys the hub of the running thread; the next `get_hub()` makes a new one.

    A hub belongs to its thread; setting another thread's hub raises ValueError.
    """

def idle(priority: int = 0) -> None:
    """Block until no greenlet and no file descriptor is ready: let all others run first. `priority` is ignored."""

def fork() -> int:
    """`os.fork()`; the child's hub gets a new backend, as at every fork: the core registers a hook for that."""

def reinit(hub: Hub | None = None) -> None:
    """For code written for gevent: nothing to do, every fork already gives the child's hub a new backend."""

class SwitchWaiter:
    """A value for the one greenlet that waits for it: `get()` blocks until `switch` or `throw` is called.

    These may be called in the hub, in another greenlet or before `get`. They do not block: the waiter runs when its
    turn comes. It can be used once; `clear()` makes it usable again. In new code, prefer `gevlite.event.AsyncResult`.

    gevent calls this class `Waiter`. The core's own class `Waiter` parks a greenlet, and this class is built on it.
    """

    hub: Hub
    def __init__(self, hub: Hub | None = None) -> None: ...
    def clear(self) -> None:
        """Discard the value or the exception."""
    def ready(self) -> bool:
        """True if there is a value or an exception."""
    def successful(self) -> bool:
        """True if there is a value."""
    @property
    def value(self) -> Any:
        """The value, or None."""
    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
        """The exception in the form of `sys.exc_info()`; None if there is none."""
    @property
    def greenlet(self) -> greenlet | None:
        """The greenlet that waits in `get()`, or None."""
    def __call__(self, source: Any) -> None:
        """For use as a link: take the value or the exception of `source`, a Greenlet or AsyncResult that is ready."""
    def switch(self, value: object = None) -> None:
        """Give the value to the waiter, even if it begins to wait only later."""
    def switch_args(self, *args: object) -> None:
        """`switch(args)`."""
    def throw(
        self,
        exception: BaseException | type[BaseException] = ...,
        value: object = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Raise an exception in the waiter, even if it begins to wait only later: `throw(exception)` or
        `throw(type, value, traceback)`.
        """
    def get(self) -> Any:
        """Block until there is a value and return it, or raise the exception.

        Raises ConcurrentObjectUseError if another greenlet is waiting.
        """

Waiter = SwitchWaiter
