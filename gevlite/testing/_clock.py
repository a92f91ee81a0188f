"""`VirtualClock`: time that stands still while something runs, and jumps when everything waits.

The core moves the time of a hub (`_clock.pxi`). This module answers its questions: whether time may pass by itself
while greenlets wait for these descriptors, and whether data that was sent within the process has arrived. It also
replaces the functions of `time` and `datetime`, which follow the clock in a patched process (`_times`).
"""

from __future__ import annotations

import math
import os
import sys
import time
import weakref
from _socket import AF_INET, SOCK_DGRAM, socket
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from gevlite import _core, _dead_end, _times

__all__ = ["TimeStandsStill", "VirtualClock"]

_readlink = os.readlink
_listdir = os.listdir
_time_ns = time.time_ns
_monotonic_ns = time.monotonic_ns
# How far advance() goes, and up to which time since the epoch: nanoseconds have 63 bits.
LONGEST_SECONDS = 100 * 365.25 * 24 * 3600
LAST_SECOND = 290 * 365.25 * 24 * 3600
LONGEST_SETTLE = 3600
_FDS = "/proc/self/fd"
# Clocks that were entered, for code that looks for one that was not left. A running one is kept by its thread.
entered: weakref.WeakSet[VirtualClock] = weakref.WeakSet()
# Modules whose waits would never end if `time.monotonic()` stood still: they must be cooperative before it does.
_WAITS = ("time", "threading", "select")


class TimeStandsStill(RuntimeError):
    """Everything waits for a time that does not come. The message says why, and what each greenlet waits for."""


class VirtualClock(_core.Clock):
    """Time for tests: it stands still while something runs, and jumps to the next timer when everything waits.

    For the thread that enters it, with all its greenlets, until it is left::

        with VirtualClock() as clock:
            gevlite.sleep(600)                  # returns at once
            assert clock.elapsed == 600

    Time-outs, sleeps and timers of gevlite, and `gevlite.asyncio`, follow this clock. In a process in which `time`,
    `threading` and `select` are patched, so do `time.time()`, `time.monotonic()`, `time.localtime()`, `datetime.now()`
    and the like; `time.perf_counter()` stays real, for measurements. Other threads and processes have the real time.

    start: what `time.time()` begins with, seconds or a `datetime`; None: the real time, in whole seconds.

    auto: False: only `advance` moves it. May be set at any time.

    settle: seconds. While something waits for a socket or another descriptor, the clock jumps only after so much real
    time in which nothing has arrived. The default is enough for data from this process; a database takes longer.

    limit: seconds of real time. When time has stood still for so long, because the clock waits for a worker thread or a
    child process, or because something runs all the time, TimeStandsStill is raised in the greenlet that entered the
    clock. None: never.
    """

    def __init__(
        self,
        start: float | datetime | None = None,
        *,
        auto: bool = True,
        settle: float = 0.001,
        limit: float | None = 30.0,
    ) -> None:
        super().__init__(auto, _settle(settle), None if limit is None else _seconds("limit", limit))
        self._start: int | None = None if start is None else _nanoseconds(start)
        self._canary: Any = None  # False: there can be none
        self._sent = 0
        self._exchanged = False
        self._explores = False  # it is that of a run of `explore`

    def __enter__(self) -> Self:
        wall = _time_ns() // 1_000_000_000 * 1_000_000_000 + 1_000_000_000 if self._start is None else self._start
        try:
            self._begin(wall)
        except RuntimeError:
            if any(one._explores and one._runs for one in list(entered)):
                text = "this run of explore() has a virtual clock already; explore(clock=False) gives none"
                raise RuntimeError(text) from None
            raise
        entered.add(self)
        if _follows():
            _times.begin()
            self._exchanged = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()
        entered.discard(self)
        if self._exchanged:
            self._exchanged = False
            _times.end()
        if self._canary:
            self._canary.close()
        self._canary = None

    def advance(self, seconds: float) -> None:
        """Block until `seconds` have passed by this clock, which takes no real time. Others run meanwhile.

        Everything that is due until then happens first, each at its time, with all its consequences, until everything
        waits. Time passes even while a greenlet waits for a worker thread or a child process. Raises ValueError for a
        negative time, and for one that ends more than 100 years after the clock was entered, or after the year 2259.
        """
        if isinstance(seconds, (int, float)):
            if not seconds <= min(LONGEST_SECONDS - self.elapsed, LAST_SECOND - self.time()):
                raise ValueError(f"{seconds!r} seconds are beyond what the clock can reach")
        super().advance(seconds)

    @property
    def _runs(self) -> bool:
        return self._wall_ns() is not None

    @property
    def elapsed(self) -> float:
        """How many seconds have passed by this clock since it was entered, or between entering and leaving it."""
        return self._elapsed_ns() / 1e9

    def time(self) -> float:
        """Seconds since the epoch: what `time.time()` returns in a patched process."""
        wall = self._wall_ns()
        return (_time_ns() if wall is None else wall) / 1e9

    def monotonic(self) -> float:
        """Seconds: what `time.monotonic()` returns in a patched process, and `time()` of an event loop."""
        shown = self._shown_ns()
        return (_monotonic_ns() if shown is None else shown) / 1e9

    def __repr__(self) -> str:
        state = "not entered" if not self._runs else f"{self.elapsed} s after it was entered"
        return f"<{type(self).__name__} {state}>"

    # -------- called by the core

    def _holds(self, fds: list[int]) -> str | None:
        for fd in fds:
            try:
                what = _readlink(f"{_FDS}/{fd}")
            except OSError:  # there are no such links on this system, or it has been closed
                continue
            if "pidfd" in what:
                return f"the end of a child process is waited for (descriptor {fd})"
            if what.startswith("pipe:") and _other_end_is_outside(fd, what):
                return f"another process has the other end of a pipe that is waited for (descriptor {fd})"
        return None

    def _send(self) -> bool:
        if self._canary is None:
            self._canary = _new_canary()
        if not self._canary:
            return False
        self._sent += 1
        try:
            self._canary.send(str(self._sent).encode())
        except OSError:
            return False
        return True

    def _arrived(self) -> bool:
        try:
            while int(self._canary.recv(99)) != self._sent:
                pass  # a message that came too late for an earlier check
        except BlockingIOError:
            return False
        except OSError:
            return True  # it never will
        return True

    def _error(self, why: str, seconds: float, report: dict[str, Any], hub: int) -> Exception:
        real = f" ({seconds:.1f} s of real time)" if seconds >= 0.1 else ""
        lines = _dead_end.waiting(report, hub, (), lambda address: None)
        return TimeStandsStill("\n".join([f"time stands still{real}: {why}.", *lines]))


def _seconds(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or more seconds, not {value!r}")
    try:
        return float(value)
    except OverflowError:  # such an int
        return math.inf


def _settle(value: float) -> float:
    if _seconds("settle", value) > LONGEST_SETTLE:
        raise ValueError(f"settle must be at most {LONGEST_SETTLE:g} seconds, not {value!r}: they pass in each jump")
    return value


def _nanoseconds(start: float | datetime) -> int:
    given = start
    if isinstance(start, datetime):
        try:
            start = start.timestamp()
        except (ValueError, OverflowError, OSError):
            start = -1  # out of range of this system
    elif isinstance(start, bool) or not isinstance(start, (int, float)):
        raise TypeError(f"start must be seconds since the epoch or a datetime, not {start!r}")
    if not 0 <= start < 2**33:
        raise ValueError(f"start must be a time after 1970 and before 2242: {given!r}")
    whole, rest = divmod(start, 1)
    return int(whole) * 1_000_000_000 + round(rest * 1e9)


def _follows() -> bool:
    """True if the functions of `time` may stand still, because everything that waits by them waits in the hub."""
    monkey = sys.modules.get("gevlite.monkey")
    return monkey is not None and all(monkey.is_module_patched(name) for name in _WAITS)


def _new_canary() -> Any:
    """A socket that is connected to itself; False if there can be none."""
    try:
        made = socket(AF_INET, SOCK_DGRAM)
        made.setblocking(False)
        made.bind(("127.0.0.1", 0))
        made.connect(made.getsockname())
    except OSError:
        return False
    return made


def _other_end_is_outside(fd: int, what: str) -> bool:
    """True if no descriptor of this process is the other end of this pipe."""
    from fcntl import F_GETFL, fcntl

    def access(number: int) -> int:
        return fcntl(number, F_GETFL) & os.O_ACCMODE

    ours = access(fd)
    for name in _listdir(_FDS):
        try:
            if int(name) != fd and _readlink(f"{_FDS}/{name}") == what and access(int(name)) != ours:
                return False
        except OSError:
            continue  # it was the folder itself
    return True
