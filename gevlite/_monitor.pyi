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

from collections.abc import Callable
from typing import Any

from gevlite.events import EventLoopBlocked, MemoryUsageThresholdExceeded, MemoryUsageUnderThreshold
from gevlite.hub import Hub

__all__ = ["PeriodicMonitoringThread", "runs_here"]

def runs_here() -> bool:
    """True in a monitoring thread."""

class _Entry:
    """A function that is called every `period` seconds; None: not now. period: a number, or a function returning it."""

    function: Callable[[Hub], object]
    last_run_time: float | None
    def __init__(
        self, function: Callable[[Hub], object], period: float | Callable[[], float | None] | None
    ) -> None: ...
    @property
    def period(self) -> float | None: ...

class PeriodicMonitoringThread:
    """What `hub.start_periodic_monitoring_thread()` returns: an OS thread that calls functions regularly."""

    min_sleep_time: float
    """In seconds: the least time between two checks, and between two checks of memory; the time if nothing is
    monitored.
    """
    min_memory_monitor_period: float
    inactive_sleep_time: float
    should_run: bool
    """False once the thread has been asked to end."""
    def __init__(self, hub: Hub) -> None: ...
    def tell_started(self) -> None:
        """Notify the subscribers and the entry points of the start. Called in the thread of the hub."""
    @property
    def hub(self) -> Hub | None:
        """The watched hub, or None if it no longer exists."""
    def kill(self) -> None:
        """Make the thread end when it has finished what it is doing. Does not block."""
    def add_monitoring_function(self, function: Callable[[Hub], object], period: float | None) -> None:
        """Make the thread call `function(hub)` about every `period` seconds; None: stop calling it.

        The function must not wait for greenlets. Its exceptions go to `sys.unraisablehook`, and it is called again. If
        the function was added before, its period changes; this also works for `monitor_blocking` and
        `monitor_memory_usage`. Raises ValueError if `function` is not callable or `period` is not positive.
        """
    def monitoring_functions(self) -> list[_Entry]:
        """A list of the active functions; each has `function`, `period` and `last_run_time`, by `time.monotonic()`."""
    def calculate_sleep_time(self) -> float:
        """How many seconds the thread sleeps between two checks: the shortest period."""
    def monitor_blocking(self, hub: Hub) -> EventLoopBlocked | None:
        """Report a greenlet or callback that has been running for `config.max_blocking_time` without a switch.

        Returns the EventLoopBlocked that the subscribers got, or None. If the same greenlet keeps running, it is
        reported again each time its running time has doubled.
        """
    def ignore_current_greenlet_blocking(self) -> None:
        """Report nothing until the calling greenlet switches: it blocks on purpose."""
    def monitor_current_greenlet_blocking(self) -> None:
        """Undo `ignore_current_greenlet_blocking`; the time counts from now."""
    def can_monitor_memory_usage(self) -> bool:
        """True if the memory use of the process can be read: through psutil, or from Linux."""
    def install_monitor_memory_usage(self) -> None:
        """For code written for gevent: always installed here, and active when `config.max_memory_usage` is set."""
    def monitor_memory_usage(
        self, hub: Any = None
    ) -> MemoryUsageThresholdExceeded | MemoryUsageUnderThreshold | int | None:
        """Notify the subscribers if the process uses more than `config.max_memory_usage`, or no longer does.

        Returns the event, None if there is none, or -1 if there is no limit or the memory use cannot be read.
        """
