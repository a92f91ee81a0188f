"""The thread that watches a hub: `hub.start_periodic_monitoring_thread()`, or `gevlite.config.monitor_thread`.

While a greenlet computes, or blocks in C, no other greenlet of its thread runs, so only another OS thread can notice.
That thread costs the hub nothing: it compares `hub.progress()`, a sum of counters that the hub keeps anyway, with its
value at the last check. If it has not changed, one greenlet or one callback has been running all the time. Its stack is
that of the OS thread. Another thread cannot ask which greenlet runs. So the monitoring thread searches for it, once and
only when there is something to report: it is the one that has begun and has no frame of a switch.

The thread waits natively, whatever is patched, and holds only a weak reference to its hub. It ends when the hub does,
and before the interpreter clears anything, because a daemon thread that writes to stderr then would be fatal. It never
wakes a greenlet, so it does not prevent a LoopExit. In the child of a fork it is started again.
"""

import atexit
import gc
import os
import sys
import warnings
import weakref
from _queue import Empty, SimpleQueue
from _thread import get_ident, start_new_thread
from time import monotonic
from typing import NamedTuple

from greenlet import greenlet

from gevlite import events
from gevlite._adopted import leave_native
from gevlite._config import config
from gevlite._core import _Nursery
from gevlite._threadlock import report_thread_error
from gevlite._workers import count_in, count_out
from gevlite.exceptions import HubDestroyed

__all__ = ["PeriodicMonitoringThread", "runs_here"]

_monitors = weakref.WeakSet()
_running = set()  # get_ident() of each thread

# How long the interpreter's end waits for a monitoring function that is running.
_END_SECONDS = 5.0


def runs_here():
    """True in a monitoring thread."""
    return get_ident() in _running


class _Entry:
    """A function that is called every `period` seconds; None: not now. period: a number, or a function returning it."""

    def __init__(self, function, period):
        self.function = function
        self._period = period
        self.last_run_time = None  # by time.monotonic()

    @property
    def period(self):
        return self._period() if callable(self._period) else self._period

    def __repr__(self):
        return f"<{self.function!r} every {self.period} s>"


@events.provides("IPeriodicMonitorThread")
class PeriodicMonitoringThread:
    """What `hub.start_periodic_monitoring_thread()` returns: an OS thread that calls functions regularly."""

    #: In seconds: the least time between two checks, and between two checks of memory; the time if nothing is
    #: monitored.
    min_sleep_time = 0.005
    min_memory_monitor_period = 2.0
    inactive_sleep_time = 2.0

    def __init__(self, hub):
        if hub.closed:
            raise HubDestroyed(f"{hub!r} has ended: there is nothing to watch")
        self._hub = weakref.ref(hub)
        self._entries = [
            _Entry(self.monitor_blocking, lambda: config.max_blocking_time),
            _Entry(self.monitor_memory_usage, self._memory_period),
        ]
        self._announced = False  # announcing imports a lot and reads many files, which must not be reported
        self._progress = None  # of the hub, at the last check
        self._since = 0.0  # since when it has had that value
        self._told = 0.0  # for how long it had had it at the last report
        self._found = None  # the greenlet that has been running since: a tuple of a weak reference, or of None
        self._ignored = None  # a progress that is not reported
        self._exceeded = 0  # the highest memory use since the limit was exceeded
        self._reader = None
        self.calculate_sleep_time()  # an invalid value in the environment is an error here
        self._begin()
        _monitors.add(self)

    def _begin(self):
        self._orders = SimpleQueue()  # wakes the thread
        self._ended = SimpleQueue()
        leave_native(self._orders)
        leave_native(self._ended)
        #: False once the thread has been asked to end.
        self.should_run = True
        start_new_thread(self._run, (self._orders, self._ended))

    def tell_started(self):
        """Notify the subscribers and the entry points of the start. Called in the thread of the hub."""
        try:
            event = events.PeriodicMonitorThreadStartedEvent(self)
            events.notify(event)
            from importlib.metadata import entry_points

            for found in entry_points(group=event.ENTRY_POINT_NAME):
                found.load()(event)
        finally:
            self._announced = True

    # -------- from any thread

    @property
    def hub(self):
        """The watched hub, or None if it no longer exists."""
        return self._hub()

    def kill(self):
        """Make the thread end when it has finished what it is doing. Does not block."""
        self.should_run = False
        self._orders.put(None)

    def add_monitoring_function(self, function, period):
        """Make the thread call `function(hub)` about every `period` seconds; None: stop calling it.

        The function must not wait for greenlets. Its exceptions go to `sys.unraisablehook`, and it is called again. If
        the function was added before, its period changes; this also works for `monitor_blocking` and
        `monitor_memory_usage`. Raises ValueError if `function` is not callable or `period` is not positive.
        """
        if not callable(function):
            raise ValueError(f"function must be callable, not {function!r}")
        if period is not None and not period > 0:
            raise ValueError(f"period must be a positive number of seconds, or None, not {period!r}")
        others = [entry for entry in self._entries if entry.function != function]
        self._entries = others if period is None else [*others, _Entry(function, period)]
        self._orders.put(None)

    def monitoring_functions(self):
        """A list of the active functions; each has `function`, `period` and `last_run_time`, by `time.monotonic()`."""
        return [entry for entry in self._entries if entry.period is not None]

    def calculate_sleep_time(self):
        """How many seconds the thread sleeps between two checks: the shortest period."""
        periods = [entry.period for entry in self.monitoring_functions()]
        return max(self.min_sleep_time, min(periods)) if periods else self.inactive_sleep_time

    def __repr__(self):
        return f"<{type(self).__name__} at {id(self):#x}{'' if self.should_run else ' ended'} for {self.hub!r}>"

    # -------- the thread

    def _run(self, orders, ended):
        count_in()
        _running.add(get_ident())
        try:
            while self.should_run and orders is self._orders:
                self._look()
                try:
                    orders.get(timeout=self.calculate_sleep_time())
                except Empty:
                    pass
        finally:
            _running.discard(get_ident())
            count_out()
            ended.put(None)

    def _look(self):
        hub = self.hub
        if hub is None or hub.closed:
            self.should_run = False
            return
        for entry in self.monitoring_functions():
            now = monotonic()
            if entry.last_run_time is None or now - entry.last_run_time >= (entry.period or 0):
                entry.last_run_time = now
                try:
                    entry.function(hub)
                except BaseException as exc:
                    report_thread_error(exc, entry.function)

    def _wait_for_end(self):
        if not runs_here():
            try:
                self._ended.put(self._ended.get(timeout=_END_SECONDS))
            except Empty:
                pass

    # -------- blocking

    def monitor_blocking(self, hub):
        """Report a greenlet or callback that has been running for `config.max_blocking_time` without a switch.

        Returns the EventLoopBlocked that the subscribers got, or None. If the same greenlet keeps running, it is
        reported again each time its running time has doubled.
        """
        progress, now = hub.progress(), monotonic()
        if progress is None or progress != self._progress or not self._announced:
            self._progress, self._since, self._told, self._found = progress, now, 0.0, None
            return None
        blocked = now - self._since
        if blocked < max(config.max_blocking_time or 0, 2 * self._told) or progress == self._ignored:
            return None
        frame = sys._current_frames().get(hub.thread_ident)
        if frame is not None and _is_last_wait(frame):
            return None
        if self._found is None:
            found = _running_greenlet(hub)
            self._found = (weakref.ref(found) if found is not None else None,)
        stack = _format_stack(frame) if frame is not None else ["  (no Python code)"]
        if hub.progress() != progress:
            return None  # there was a switch meanwhile
        self._told = blocked
        [found] = self._found
        return self._report(hub, found and found(), blocked, stack)

    def _report(self, hub, found, blocked, stack):
        if found is hub:
            who = "A callback in the hub"
        elif found is None:
            who = "A greenlet"
        else:
            who = "The main greenlet" if found.parent is None else repr(found)
        info = [
            f"{who} has run for {blocked:.3f} s and let no other greenlet run, of",
            f"{hub!r}",
            "Its stack now (most recent call last):",
            *stack,
        ]
        event = events.EventLoopBlocked(found, blocked, info, hub=hub)
        try:
            events.notify(event)
        finally:
            stream = hub.exception_stream if hub.exception_stream is not None else sys.stderr
            if config.print_blocking_reports and stream is not None:
                try:
                    stream.write("".join(f"{line}\n" for line in info) + "\n")
                    stream.flush()
                except Exception:
                    pass  # closed or full
        return event

    def ignore_current_greenlet_blocking(self):
        """Report nothing until the calling greenlet switches: it blocks on purpose."""
        hub = self.hub
        self._ignored = hub.progress() if hub is not None else None

    def monitor_current_greenlet_blocking(self):
        """Undo `ignore_current_greenlet_blocking`; the time counts from now."""
        self._progress = self._ignored = None

    # -------- memory

    def can_monitor_memory_usage(self):
        """True if the memory use of the process can be read: through psutil, or from Linux."""
        return self._memory_reader() is not None

    def _memory_reader(self):
        if self._reader is None:
            self._reader = (_find_memory_reader(),)
        return self._reader[0]

    def _memory_period(self):
        period = config.memory_monitor_period
        if config.max_memory_usage is None or period is None:
            return None
        if not self.can_monitor_memory_usage():
            note = "gevlite.config.max_memory_usage has no effect: psutil is needed, `pip install psutil`"
            warnings.warn(note, RuntimeWarning, stacklevel=2)  # which Python shows once
            return None
        return max(period, self.min_memory_monitor_period)

    def install_monitor_memory_usage(self):
        """For code written for gevent: always installed here, and active when `config.max_memory_usage` is set."""

    def monitor_memory_usage(self, hub=None):
        """Notify the subscribers if the process uses more than `config.max_memory_usage`, or no longer does.

        Returns the event, None if there is none, or -1 if there is no limit or the memory use cannot be read.
        """
        allowed = config.max_memory_usage
        read = self._memory_reader()
        if allowed is None or read is None:
            return -1
        used, details = read()
        if used > allowed:
            if used <= self._exceeded:
                return None
            self._exceeded = used
            event = events.MemoryUsageThresholdExceeded(used, allowed, details)
        elif self._exceeded:
            event = events.MemoryUsageUnderThreshold(used, allowed, details, self._exceeded)
            self._exceeded = 0
        else:
            return None
        events.notify(event)
        return event


# ---------------------------------------------------------------- what runs


def _running_greenlet(hub):
    """The greenlet that runs in the thread of `hub`, which may be the hub; None if that is not certain."""
    main = _root(hub)
    parked = {waiter.parked for waiter in hub.parked_waiters()}
    # (type(), because `isinstance` asks proxy objects for their class, which may run any code.)
    all_greenlets = {main, *(found for found in gc.get_objects() if issubclass(type(found), greenlet))}
    running = [
        found
        for found in all_greenlets - parked
        if greenlet.__bool__(found)
        and found.gr_frame is None
        and _root(found) is main
        and type(found) is not _Nursery  # never runs for long, and has no Python frame while it waits
    ]
    return running[0] if len(running) == 1 else None


def _root(found):
    while found.parent is not None:
        found = found.parent
    return found


def _format_stack(frame):
    import traceback

    return "".join(traceback.format_stack(frame)).splitlines()


def _is_last_wait(frame):
    """True if this is where the main thread waits for other threads at exit, natively if nothing is patched."""
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_name == "_shutdown" and frame.f_globals.get("__name__") == "threading"


# ---------------------------------------------------------------- memory


class _Memory(NamedTuple):
    """In bytes."""

    rss: int
    vms: int
    shared: int


def _find_memory_reader():
    """A function that returns the process's own memory in bytes, and details; None if it cannot be read."""
    try:
        import psutil
    except ImportError:
        try:
            _read_statm()
        except (OSError, ValueError):
            return None
        return _read_statm

    def read():
        process = psutil.Process()  # of this process, also after a fork
        try:
            details = process.memory_full_info()
            return details.uss, details
        except (psutil.AccessDenied, AttributeError):
            details = process.memory_info()
            return details.rss, details

    return read


def _read_statm():
    # man 5 proc_pid_statm: in pages. The pages that are not shared are nearly what psutil calls uss.
    with open("/proc/self/statm", "rb") as file:
        size, resident, shared = (int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in file.read().split()[:3])
    return resident - shared, _Memory(resident, size, shared)


# ---------------------------------------------------------------- the end, fork


def _end_all():
    monitors = [monitor for monitor in _monitors if monitor.should_run]
    for monitor in monitors:
        monitor.kill()
    for monitor in monitors:
        monitor._wait_for_end()


def _after_fork_in_child():
    _running.clear()
    for monitor in list(_monitors):
        hub = monitor.hub
        if monitor.should_run and hub is not None and not hub.closed:
            monitor._progress = None
            try:
                monitor._begin()
            except RuntimeError as exc:
                monitor.should_run = False
                report_thread_error(exc, monitor)


atexit.register(_end_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
