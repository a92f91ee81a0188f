"""The next greenlet to run is drawn from those that are ready, to expose code that is right only in the usual order.

The core draws (`_draw.pxi`), because that happens between two greenlets. This module turns it on, and writes and reads
schedules.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from contextlib import ContextDecorator
from types import TracebackType
from typing import Any, Self, TypeVar

from gevlite import _core

__all__ = ["shuffled"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SEEDS = 1 << 64

# What draws in each hub, and so in each OS thread. `explore` uses its own meanwhile.
active: dict[Any, _core._Shuffle] = {}
# The blocks that were entered and not left, in that order.
entered: list[shuffled] = []


class shuffled(ContextDecorator):
    """In a `with` block, or as a decorator: the next greenlet to run is drawn from the ready ones, in this OS thread.

    seed: the same number gives the same run, on every version of Python and with every backend, as long as everything
    that the program waits for comes from itself. 0 is the usual order, first in, first out. Without a seed each run has
    a different one: it is in `seed`, and in a note of an exception that leaves the block.

    switches: greenlets also switch, at random, in calls that could block but would not: at a lock that is free, a queue
    that has items, a socket that has data. They may do so without this too, when a greenlet's time is up: see "What
    may let others run" in the documentation.

    schedule: what `explore` has printed, instead of a seed.

    Some orders remain: locks, semaphores and queues serve waiters in the order in which they came; callbacks of the
    hub, links and callbacks of an event loop of asyncio run in their order, and links before waiters that came later.
    Only what is not promised anywhere is drawn: which of the ready greenlets runs first.

    Other threads, other processes and the clock are not reproducible; `VirtualClock` makes the clock reproducible.

    Entering it raises RuntimeError if this thread is already shuffled.
    """

    def __init__(self, seed: int | None = None, *, switches: bool = False, schedule: str | None = None) -> None:
        if schedule is not None and seed is not None:
            raise TypeError("shuffled() takes a seed or a schedule, not both")
        self._given = seed
        self._switches = bool(switches)
        self._plan = None if schedule is None else parse(schedule)
        if seed is not None:
            check_seed(seed)
        #: The number that repeats this run; None if a schedule was given, or before the first use.
        self.seed = seed
        self._running: _core._Shuffle | None = None
        self._hub: Any = None
        self._outer: shuffled | None = None
        self._inside = False

    def __call__(self, function: _Function) -> _Function:
        check_runs("shuffled() as a decorator", function)
        return super().__call__(function)

    def _recreate_cm(self) -> Self:
        made = type(self)(self._given, switches=self._switches)
        made._plan = self._plan
        return made

    def __enter__(self) -> Self:
        if self._inside:
            raise RuntimeError("this shuffled() has been entered already")
        if self._plan is None and self._given is None:
            self.seed = random.SystemRandom().randrange(1, 1_000_000)
        hub = _core.get_hub()
        running = _core._Shuffle(hub, self.seed or 0, self._plan, self._switches)
        outer = _around.get(hub)
        if outer is not None and active.get(hub) is not outer._running:
            outer = None
        if outer is not None and outer._running is not None:
            outer._running.end()
        running.begin()
        active[hub] = running
        self._hub, self._running, self._outer = hub, running, outer
        self._inside = True
        entered.append(self)
        return self

    def __exit__(
        self, cls: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inside = False
        if self in entered:
            entered.remove(self)
        if self._running is not None:
            self._running.end()
            if active.get(self._hub) is self._running:
                del active[self._hub]
            outer, self._outer = self._outer, None
            if outer is not None and outer._inside and outer._running is not None and self._hub not in active:
                outer._running.begin()
                active[self._hub] = outer._running
        if exc is not None and self._plan is None:
            exc.add_note(f"in the order of gevlite.testing.{self!r}")

    @property
    def steps(self) -> int:
        """How many times a greenlet has been chosen to run so far."""
        return self._running.steps if self._running is not None else 0

    def __repr__(self) -> str:
        return call_of(self.seed, self._plan, self._switches)


class shuffled_around(shuffled):
    """The block of the pytest plug-in around a test: a block that the test itself enters replaces it meanwhile."""

    def __enter__(self) -> Self:
        super().__enter__()
        _around[self._hub] = self
        return self

    def __exit__(
        self, cls: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if _around.get(self._hub) is self:
            del _around[self._hub]
        super().__exit__(cls, exc, traceback)


_around: dict[Any, shuffled_around] = {}


def call_of(seed: int | None, plan: list[tuple[int, int]] | None, switches: bool) -> str:
    """The call of `shuffled` that repeats a run."""
    given = f"schedule={written(plan)!r}" if plan is not None else "" if seed is None else f"seed={seed}"
    more = "switches=True" if switches else ""
    return f"shuffled({', '.join(part for part in (given, more) if part)})"


def check_runs(what: str, function: Any) -> None:
    """Refuse a function whose call would not run it."""
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{what} runs a function, not a coroutine: have it call gevlite.asyncio.run()")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{what} runs a function, not a generator: {function!r}")


def check_seed(seed: Any) -> None:
    if inspect.isfunction(seed):
        raise TypeError(f"shuffled() takes a seed, not {seed!r}: as a decorator it is written @shuffled()")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise TypeError(f"a seed must be an int, not {seed!r}")
    if not 0 <= seed < _SEEDS:
        raise ValueError(f"a seed must be at least 0 and less than 2**64, not {seed}")


def written(plan: list[tuple[int, int]]) -> str:
    """A schedule as text: `4:1 7:2` says that in the fourth decision the second one was chosen, and so on."""
    return " ".join(f"{number}:{choice}" for number, choice in plan)


def parse(schedule: str) -> list[tuple[int, int]]:
    """The opposite of `written`."""
    if not isinstance(schedule, str):
        raise TypeError(f"a schedule is a text like '4:1 7:2', not {schedule!r}")
    plan: list[tuple[int, int]] = []
    last = 0
    try:
        for part in schedule.split():
            before, _, after = part.partition(":")
            plan.append((int(before), int(after)))
    except ValueError:
        raise ValueError(f"a schedule is a text like '4:1 7:2', not {schedule!r}") from None
    for number, choice in plan:
        if not last < number < _SEEDS or not 0 < choice < 1 << 31:
            raise ValueError(f"a schedule has growing numbers, and choices above 0: {schedule!r}")
        last = number
    return plan
