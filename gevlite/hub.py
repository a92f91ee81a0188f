"""The hub and functions that affect the whole hub, under gevent's names."""

import _thread
import os

from gevlite import _core, _slices
from gevlite._config import Config, config
from gevlite._core import get_hub, get_hub_if_exists, sleep
from gevlite.exceptions import (
    BlockingSwitchOutError,
    ConcurrentObjectUseError,
    HubDestroyed,
    InvalidSwitchError,
    LoopExit,
)
from gevlite.greenlet import GreenletExit, getcurrent, iwait, kill, spawn_raw, wait
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

# The originals, even if they are patched.
_fork = os.fork
_start_new_thread = _thread.start_new_thread


# Written in Python so that `NOT_ERROR`, `SYSTEM_ERROR`, `handle_error` and `print_exception` can be set on the class:
# error trackers do this, for the hubs of all threads.
class Hub(_core.Hub):
    __doc__ = _core.Hub.__doc__

    # Attributes of a hub that are made at their first use, and the functions that make them.
    loop_class = Loop

    #: The thread that `start_periodic_monitoring_thread` has started; None if it was not called.
    periodic_monitoring_thread = None

    def __init__(self, backend=None, time_slice=None):
        time_slice = _slices.for_new_hub(time_slice)
        super().__init__(backend)
        if time_slice:
            _slices.slice_hub(self, time_slice)
        if config.monitor_thread:
            self.call_soon(_start_monitoring, self)
        if config.watch:
            _blocked().watch(self, config.watch)
        if config.inspect or config.dump_signal is not None:
            from gevlite import _door

            _door.open_for(self, _start_new_thread)

    @property
    def resolver_class(self):
        """The class of `resolver`."""
        from gevlite.resolver import choose

        return choose()

    @property
    def threadpool_class(self):
        """The class of `threadpool`."""
        from gevlite.threadpool import ThreadPool

        return config.threadpool or ThreadPool

    @property
    def threadpool_size(self):
        """The maximum number of threads of `threadpool`: `gevlite.config.threadpool_size`."""
        return config.threadpool_size

    def start_periodic_monitoring_thread(self):
        """Start an OS thread that checks regularly whether greenlets of this hub still switch, and how much memory is
        used.

        Returns the PeriodicMonitoringThread that controls it; if one is already running, that one. It ends with the
        hub. `gevlite.config.monitor_thread` starts one for each hub. Raises RuntimeError if no thread can be started,
        HubDestroyed if the hub has ended.
        """
        from gevlite._monitor import PeriodicMonitoringThread

        monitor = self.periodic_monitoring_thread
        if monitor is None or not monitor.should_run:
            monitor = PeriodicMonitoringThread(self)
            self.periodic_monitoring_thread = monitor
            monitor.tell_started()
        return monitor

    def _tear_down(self, unwind):
        if self.periodic_monitoring_thread is not None:
            self.periodic_monitoring_thread.kill()
        super()._tear_down(unwind)

    def __delattr__(self, name):
        # Deleting one that has not been made yet is not an error.
        if name in ("resolver", "threadpool") and name not in vars(self):
            return
        super().__delattr__(name)


def _blocked():
    # It imports logging, which a program without the watch may not need.
    from gevlite import _blocked

    return _blocked


Config.watch.assigned = lambda seconds: _blocked().watch_all(seconds)


def _start_monitoring(hub):
    from gevlite import _monitor

    if _monitor.runs_here():
        return  # the hub of a monitoring thread, in which a subscriber has waited: it is not monitored
    try:
        hub.start_periodic_monitoring_thread()
    except RuntimeError as exc:
        if not _core.too_late_for_threads(exc):
            raise


def set_hub(hub):
    """For code written for gevent. None destroys the hub of the running thread; the next `get_hub()` makes a new one.

    A hub belongs to its thread; setting another thread's hub raises ValueError.
    """
    current = get_hub_if_exists()
    if hub is None:
        if current is not None:
            current.destroy()
    elif hub is not current:
        raise ValueError(f"{hub!r} is not the hub of this thread; a hub cannot be given to another thread")


def idle(priority=0):
    """Block until no greenlet and no file descriptor is ready: let all others run first. `priority` is ignored."""
    get_hub().wait_idle()


def fork():
    """`os.fork()`; the child's hub gets a new backend, as at every fork: the core registers a hook for that."""
    return _fork()


def reinit(hub=None):
    """For code written for gevent: nothing to do, every fork already gives the child's hub a new backend."""


class SwitchWaiter:
    """A value for the one greenlet that waits for it: `get()` blocks until `switch` or `throw` is called.

    These may be called in the hub, in another greenlet or before `get`. They do not block: the waiter runs when its
    turn comes. It can be used once; `clear()` makes it usable again. In new code, prefer `gevlite.event.AsyncResult`.

    gevent calls this class `Waiter`. The core's own class `Waiter` parks a greenlet, and this class is built on it.
    """

    __slots__ = ("_exception", "_outcome", "_parked", "hub")

    def __init__(self, hub=None):
        self.hub = get_hub() if hub is None else hub
        self.clear()

    def clear(self):
        """Discard the value or the exception."""
        self._parked = None
        self._outcome = None  # a tuple of the value
        self._exception = None

    def ready(self):
        """True if there is a value or an exception."""
        return self._outcome is not None or self._exception is not None

    def successful(self):
        """True if there is a value."""
        return self._outcome is not None

    @property
    def value(self):
        """The value, or None."""
        return self._outcome[0] if self._outcome is not None else None

    @property
    def exc_info(self):
        """The exception in the form of `sys.exc_info()`; None if there is none."""
        exc = self._exception
        return None if exc is None else (type(exc), exc, exc.__traceback__)

    @property
    def greenlet(self):
        """The greenlet that waits in `get()`, or None."""
        return self._parked.parked if self._parked is not None else None

    def __call__(self, source):
        """For use as a link: take the value or the exception of `source`, a Greenlet or AsyncResult that is ready."""
        if source.exception is None:
            self.switch(source.value)
        else:
            self.throw(source.exception)

    def switch(self, value=None):
        """Give the value to the waiter, even if it begins to wait only later."""
        if self._parked is not None:
            self._parked.wake(value)
        else:
            self._outcome, self._exception = (value,), None

    def switch_args(self, *args):
        """`switch(args)`."""
        self.switch(args)

    def throw(self, exception=GreenletExit, value=None, traceback=None):
        """Raise an exception in the waiter, even if it begins to wait only later: `throw(exception)` or
        `throw(type, value, traceback)`."""
        exc = _as_exception(exception, value, traceback)
        if self._parked is not None:
            self._parked.throw(exc)
        else:
            self._outcome, self._exception = None, exc

    def get(self):
        """Block until there is a value and return it, or raise the exception.

        Raises ConcurrentObjectUseError if another greenlet is waiting.
        """
        if self._exception is not None:
            raise self._exception
        if self._outcome is not None:
            return self._outcome[0]
        if self._parked is not None:
            raise ConcurrentObjectUseError(f"{self.greenlet!r} is already waiting")
        self._parked = _core.Waiter(self.hub)
        try:
            return self._parked.park()
        finally:
            self._parked = None


Waiter = SwitchWaiter  # gevent's name


def _as_exception(exception, value, traceback):
    if isinstance(exception, type):
        exception = value if isinstance(value, exception) else exception() if value is None else exception(value)
    return exception if traceback is None else exception.with_traceback(traceback)
