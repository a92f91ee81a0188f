"""Runs a function in many orders, and shows the smallest one in which it fails.

Each run is a block of `shuffled`, in a greenlet of its own. A run that fails is repeated with its decisions recorded;
then those that are not needed for a failure are removed (delta debugging: Zeller, Hildebrandt, "Simplifying and
isolating failure-inducing input", 2002). Because a decision means something else when an earlier one is removed,
schedules with fewer decisions are tried as well, one after the other. The smallest one is run once more for its trace.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import inspect
import linecache
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar, overload

from greenlet import GreenletExit, greenlet

from gevlite import _core, _dead_end, _user_line, _workers
from gevlite.exceptions import LoopExit
from gevlite.greenlet import Greenlet
from gevlite.loop import Watcher
from gevlite.testing._clock import VirtualClock
from gevlite.testing._shuffle import active, call_of, check_runs, check_seed, written
from gevlite.timeout import Timeout

__all__ = ["Explored", "ScheduleFailed", "Step", "explore"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Plan = list[tuple[int, int]]

# The search for a smallest schedule takes at most so many runs and so many seconds, in each of two ways.
_SHRINKING_RUNS = 1000
_SHRINKING_SECONDS = 5.0
_LONGEST_TIMEOUT = 1e9
# At most so many steps of the trace are shown.
_SHOWN = 40
# At most so many characters of a line of the program.
_WIDTH = 60

_nearest: Any = _user_line.nearest
_shown_path: Any = _user_line.shown_path
_waiting: Any = _dead_end.waiting

# Types of what a call may return without having run anything yet.
_NOT_RUN = (Coroutine, Generator, AsyncGenerator)

_clock = time.monotonic  # the original, unless imported in a patched process: only for giving up


class Step(NamedTuple):
    """One line of a trace: a greenlet runs, from one wait to the next."""

    #: From 1, in the order of the run.
    number: int
    #: The function that the greenlet runs; with a number if there is more than one such greenlet.
    who: str
    #: `file.py:12` where it stops, and the text of that line; empty if it has ended.
    place: str
    source: str
    #: What it waits for there, in words.
    waits_for: str
    #: The greenlet that would have run instead in the usual order; None if it was this one's turn.
    instead_of: str | None
    #: True if it would have gone on there in the usual order.
    interrupted: bool


class Explored:
    """The numbers of an `explore` in which nothing failed."""

    def __init__(self, runs: int, schedules: int, steps: int, left_over: Counter[str]) -> None:
        #: How many seeds were tried.
        self.runs = runs
        #: How many different schedules they gave.
        self.schedules = schedules
        #: How many switches there were in all of them.
        self.steps = steps
        #: Greenlets and timers that still existed at the end of runs, and were ended: what they ran or were for, and
        #: how many there were.
        self.left_over = left_over

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.runs} runs, {self.schedules} schedules, {self.steps} steps, none failed>"


class ScheduleFailed(AssertionError):
    """There is an order in which the function fails. The message shows it; `__cause__` is the error."""

    def __init__(
        self, error: BaseException, runs: int, seed: int, schedule: str, trace: list[Step], text: str, steady: bool
    ) -> None:
        super().__init__(text)
        #: The exception.
        self.error = error
        #: How many runs it took to find it.
        self.runs = runs
        #: The seed of the run that failed: for `shuffled` or `explore(function, seeds=[seed])`.
        self.seed = seed
        #: The smallest schedule that fails, for `shuffled(schedule=...)`.
        self.schedule = schedule
        #: What happens in that schedule, step by step.
        self.trace = trace
        #: False if the run did not fail when it was repeated: then something other than the order decides.
        self.steady = steady


class _Body(Greenlet):
    """Runs the function. The explorer reports its error."""

    def _report_error(self, exc: BaseException) -> None:
        pass


class _Settings(NamedTuple):
    switches: bool
    steps: int
    timeout: float
    strict: bool
    clock: bool


class _Run:
    """One run: `error` is None if it went well."""

    def __init__(self, call: Callable[[], object], settings: _Settings, seed: int, plan: _Plan | None) -> None:
        self.call = call
        self.settings = settings
        self.hub: Any = _core.get_hub()
        self.shuffle = _core._Shuffle(self.hub, seed, plan, settings.switches, settings.steps)
        self.error: BaseException | None = None
        self.left_over: list[str] = []
        self.waiter = _core.Waiter(self.hub)
        self.started: list[Greenlet] = []
        self.ended = False
        self.misused = False  # then the error says so, and is not the function's
        self.names: dict[int, str] = {}
        self.named: list[object] = []  # so that no address is used twice
        self.count: Counter[str] = Counter()
        self.timer: _core.Timer | None = None  # while nothing happens
        self.waits: list[_core.Waiter] = []  # those that have not ended since it began

    def __call__(self) -> _Run:
        hub = self.hub
        # What existed before: kept, so that no address is used twice.
        self.explorer = _core.getcurrent()
        self.others = [self.explorer, *(waiter.parked for waiter in hub.parked_waiters())]
        self.apart = set(map(id, self.others))
        self.older = {id(owner): owner for owner, _, _ in _core.timed(hub)}
        self.threads = _threads()
        report = hub.__dict__.get("handle_error")
        hooks = hub.before_poll
        hub.before_poll = [self._nothing_ready, *(hooks or ())]
        hub.handle_error = self._failed
        Greenlet.add_spawn_callback(self._started)
        collects = gc.isenabled()
        gc.disable()  # a finalizer may wake a greenlet
        self.shuffle.overdue = self._overdue
        body = _Body(self._body)
        body.start()
        try:
            verdict = self.waiter.park()
            if verdict is not None and not self.ended:
                self.error = verdict()
        finally:
            self.ended = True
            self.shuffle.end()
            self._give_up_after(None)
            try:
                self._end_all()
            finally:
                self._end_timers()
                Greenlet.remove_spawn_callback(self._started)
                if collects:
                    gc.enable()
                if report is None:
                    del hub.handle_error
                else:
                    hub.handle_error = report
                hub.before_poll = [hook for hook in hub.before_poll or () if hook != self._nothing_ready] or None
        if self.error is None and self.settings.strict and self.left_over:
            self.error = AssertionError(f"left over: {', '.join(sorted(self.left_over))}")
        return self

    def _started(self, one: Greenlet) -> None:
        """A spawn callback."""
        self.started.append(one)
        self.name(one)

    def name(self, one: object) -> str:
        """What it runs, with a number if others of this run do too."""
        found = self.names.get(id(one))
        if found is None:
            name = _name_of(self.call) if isinstance(one, _Body) else _what_runs(one)
            self.count[name] += 1
            found = self.names[id(one)] = name if self.count[name] == 1 else f"{name}-{self.count[name]}"
            self.named.append(one)
        return found

    def _body(self) -> None:
        try:
            with _standing_time(self.settings):
                self.shuffle.begin()
                try:
                    result = self.call()
                finally:
                    if not self.ended:
                        self.shuffle.end()
            if isinstance(result, _NOT_RUN):
                if isinstance(result, Coroutine):
                    result.close()  # avoids the warning that it was never awaited
                self.misused = True
                raise TypeError(
                    f"explore() runs a function, and {_name_of(self.call)}() has returned {result!r}, not run"
                )
        except BaseException as exc:
            self._fails(exc)
        finally:
            if not self.ended:
                self.ended = True
                self.waiter.wake()

    def _fails(self, exc: BaseException) -> None:
        # An error of the function takes precedence: it may be that of a greenlet, raised again.
        if not self.ended:
            self.error = exc

    def _failed(self, context: object, cls: Any, exc: BaseException, traceback: Any) -> None:
        """`Hub.handle_error`."""
        expected = issubclass(cls, self.hub.NOT_ERROR) and not issubclass(cls, self.hub.SYSTEM_ERROR)
        if not self.ended and self.error is None and not expected:
            self.error = exc

    # -------- a run that does not end; these are called by the hub

    def _overdue(self) -> None:
        self.shuffle.end()  # from here on every greenlet gets to run, the explorer too
        self.waiter.wake(self._endless)

    def _endless(self) -> BaseException:
        return TimeoutError(f"it has not ended after {self.settings.steps} switches")

    def _nothing_ready(self) -> None:
        """`before_poll`."""
        if self.ended:
            return
        hub = self.hub
        stats = hub.stats()
        refs = stats["refs"] > 0  # also for timers of watchers
        # A time-out of the exploration itself does not let a run go on.
        timed = [
            (one, whose)
            for one, whose, ref in _core.timed(hub)
            if (ref or refs) and one is not self.timer and whose is not self.explorer
        ]
        if any(self._is_own(one, whose) for one, whose in timed):
            self._give_up_after(None)  # a timer of this run will fire
        elif timed or refs or stats["fd_waiters"] > 0 or self._has_threads():
            # Something that existed before may wake this run, or never.
            self._give_up_after([one for one in hub.parked_waiters() if id(one.parked) not in self.apart])
        else:
            self.waiter.wake(self._dead_end)

    def _is_own(self, timer: object, whose: object) -> bool:
        """Whether this run has made it."""
        return id(timer) not in self.older and id(whose) not in self.apart

    def _has_threads(self) -> bool:
        """Whether there are threads that did not exist before."""
        now = _threads()
        self.threads &= now  # a later one may get the number of one that has ended
        return now != self.threads

    def _give_up_after(self, waits: list[_core.Waiter] | None) -> None:
        """The run fails if none of these waits ends for `timeout` seconds. None: no longer."""
        if self.timer is not None and waits != self.waits:
            self.timer.stop()
            self.timer = None
        self.waits = waits or []
        if self.timer is None and waits is not None:
            self.timer = self.hub.call_later(self.settings.timeout, self._stuck)

    def _stuck(self) -> None:
        self.timer = None
        if not self.ended:
            self.waiter.wake(self._idle)

    def _dead_end(self) -> BaseException:
        return LoopExit("\n".join(["nothing can wake what waits:", *self._who_waits()]), self.hub)

    def _idle(self) -> BaseException:
        text = f"nothing has happened for {self.settings.timeout:g} seconds:"
        return TimeoutError("\n".join([text, *self._who_waits()]))

    def _who_waits(self) -> list[str]:
        found: list[str] = _waiting(_core.look(), id(self.hub), self.apart, self.names.get)
        return found

    # -------- what is left over

    def _left(self) -> list[greenlet]:
        # A Greenlet that this run has not started belongs to the caller, even if it began to wait only now.
        parked = [waiter.parked for waiter in self.hub.parked_waiters()]
        found = [one for one in parked if not isinstance(one, Greenlet)]
        found += [one for one in self.started if not one.dead and not one.ready()]
        return [one for one in dict.fromkeys(found) if one is not None and id(one) not in self.apart]

    def _end_all(self) -> None:
        for attempt in range(20):
            left = self._left()
            if not left:
                return
            for one in left:
                if not attempt and not isinstance(one, _Body):
                    self.left_over.append(_what_runs(one))
                if isinstance(one, Greenlet):
                    one.kill(block=False)
                else:
                    self.hub.throw(one, GreenletExit())
            for _ in range(3):
                _core.sleep(0)
        raise RuntimeError(
            f"explore() cannot end what its function has left: {[_what_runs(one) for one in self._left()]}"
        )

    def _end_timers(self) -> None:
        """Timers of greenlets have ended with them, except a Timeout that nothing has cancelled."""
        for one, whose, _ in _core.timed(self.hub):
            if isinstance(one, _core.Timer) and self._is_own(one, whose):
                owner = getattr(one.callback, "__self__", None)
                if type(owner).__module__.startswith("gevlite.resolver"):
                    continue  # the hub's own
                self.left_over.append(f"timer of {_name_of(one.callback)}" if one.callback is not None else "Timeout")
                one.stop()
                if isinstance(owner, Watcher):
                    owner.stop()


@contextlib.contextmanager
def _standing_time(settings: _Settings) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if settings.clock:
            with contextlib.suppress(RuntimeError):  # this thread has a clock already
                clock = VirtualClock(limit=settings.timeout)
                clock._explores = True
                stack.enter_context(clock)
        yield


def _threads() -> set[int]:
    """The OS threads, without those that work for gevlite: the greenlets that wait for these count instead."""
    return set(sys._current_frames()) - _workers._workers


# ---------------------------------------------------------------- the trace


def _what_runs(one: Any) -> str:
    if isinstance(one, Greenlet):
        found: str | None = one._repr_call()  # type: ignore[attr-defined]
        name = found.partition("(")[0] if found is not None else type(one).__name__
    elif isinstance(one, greenlet):
        frame, outermost = one.gr_frame, None
        while frame is not None:
            outermost, frame = frame, frame.f_back
        name = outermost.f_code.co_qualname if outermost is not None else type(one).__name__
    else:
        callback = getattr(one, "callback", None)
        name = getattr(callback, "__qualname__", None) or type(one).__name__
    return name.rpartition("<locals>.")[2]


class _Recorder:
    """Records which greenlet runs."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.steps: list[Step] = []
        self.running: tuple[object, str | None] | None = None
        run.shuffle.on_draw = self.drawn

    def drawn(self, candidates: list[Any], chosen: int, interrupted: bool) -> None:
        ready = [one.parked if isinstance(one, _core.Waiter) else one for one in candidates]
        if not self.steps and self.running is None:
            # The greenlet that ran when the recording began.
            first = next((w.parked for w in self.run.hub.parked_waiters() if isinstance(w.parked, _Body)), None)
            self.running = first, None
        self.stopped(interrupted)
        if id(ready[chosen]) not in self.run.apart:
            self.run.name(ready[chosen])  # now: later a callback has forgotten what it calls
            self.running = ready[chosen], self.run.name(ready[0]) if chosen else None

    def stopped(self, interrupted: bool = False) -> None:
        """The greenlet that ran until now has stopped."""
        if self.running is None:
            return
        one, instead = self.running
        self.running = None
        place = source = waits_for = ""
        if isinstance(one, greenlet) and one.dead:
            failed = self.run.error if isinstance(one, _Body) else getattr(one, "exception", None)
            waits_for = "ends" if failed is None else f"fails: {type(failed).__name__}"
        elif isinstance(one, greenlet):
            waiter = next((w for w in self.run.hub.parked_waiters() if w.parked is one), None)
            if waiter is not None:
                waits_for = waiter.describe()
            place, source = _stands(one)
        self.steps.append(Step(len(self.steps) + 1, self.run.name(one), place, source, waits_for, instead, interrupted))


def _stands(one: greenlet) -> tuple[str, str]:
    """Where it waits: the line nearest to the program's own code, and its text."""
    places = []
    frame = one.gr_frame
    while frame is not None:
        places.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    place = _nearest(places)
    if place is None:
        return "", ""
    return f"{_shown_path(place[0])}:{place[1]}", linecache.getline(place[0], place[1]).partition("  # ")[0].strip()


def _name_of(call: Any) -> str:
    while isinstance(call, functools.partial):
        call = call.func
    return getattr(call, "__qualname__", type(call).__name__).rpartition("<locals>.")[2]


def _unusual(step: Step) -> bool:
    return step.interrupted or step.instead_of is not None


def _lines(trace: list[Step]) -> list[str]:
    shown = trace
    if len(trace) > _SHOWN:
        last = [step.number for step in trace if _unusual(step)][-1:] or [len(trace)]
        begin = max(0, min(last[0] - _SHOWN // 2, len(trace) - _SHOWN))
        shown = [step for step in trace if begin < step.number <= begin + _SHOWN or _unusual(step)]
    who = max((len(step.who) for step in shown), default=0)
    place = max((len(step.place) for step in shown), default=0)
    lines, last_number = [], 0
    for step in shown:
        if step.number != last_number + 1:
            lines.append("     ...")
        last_number = step.number
        text = step.source if len(step.source) <= _WIDTH else step.source[: _WIDTH - 3] + "..."
        notes = [f"runs before {step.instead_of}"] if step.instead_of is not None else []
        notes += ["gives way here"] if step.interrupted else [step.waits_for] if step.waits_for else []
        mark = "*" if _unusual(step) else " "
        said = f"  ({', '.join(notes)})" if notes else ""
        lines.append(f"{mark}{step.number:4}  {step.who:{who}}  {step.place:{place}}  {text}{said}".rstrip())
    if shown and shown[-1].number != len(trace):
        lines.append("     ...")
    return lines


# ---------------------------------------------------------------- the search


class _Budget:
    """How much may be spent on making a schedule smaller."""

    def __init__(self) -> None:
        self.runs = _SHRINKING_RUNS
        self.until = _clock() + _SHRINKING_SECONDS

    def take(self) -> bool:
        self.runs -= 1
        return self.runs >= 0 and _clock() < self.until


# The hubs in which an exploration is under way.
_exploring: set[Any] = set()


class _Search:
    def __init__(self, call: Callable[[], object], settings: _Settings) -> None:
        self.call = call
        self.settings = settings

    def run(self, seed: int, plan: _Plan | None = None) -> _Run:
        run = _Run(self.call, self.settings, seed, plan)()
        if run.error is not None and (run.misused or _passes_through(run.error)):
            raise run.error
        return run

    def over(self, seeds: Iterable[int]) -> Explored:
        outer = active.get(_core.get_hub())
        if _core.get_hub() in _exploring:
            raise RuntimeError("explore() runs in this thread already, and cannot be called by what it runs")
        _exploring.add(_core.get_hub())
        if outer is not None:
            outer.end()  # of the block of `shuffled` around this call
        try:
            # Let what the caller has just started begin: it is not part of a run. Not idle(): some of it may run all
            # the time.
            for _ in range(3):
                _core.sleep(0)
            return self._over(seeds)
        finally:
            _exploring.discard(_core.get_hub())
            if outer is not None:
                outer.begin()

    def _over(self, seeds: Iterable[int]) -> Explored:
        schedules, steps, runs = set(), 0, 0
        left_over: Counter[str] = Counter()
        for seed in seeds:
            runs += 1
            run = self.run(seed)
            if run.error is not None:
                raise self.failure(run, runs, seed) from run.error
            schedules.add(run.shuffle.signature)
            steps += run.shuffle.steps
            left_over.update(run.left_over)
        return Explored(runs, len(schedules), steps, left_over)

    def failure(self, found: _Run, runs: int, seed: int) -> ScheduleFailed:
        again = _Run(self.call, self.settings, seed, None)
        again.shuffle.recording = True
        again()
        steady = again.error is not None
        plan = again.shuffle.schedule
        recorder, last = None, found
        if again.error is not None:
            plan = self.smallest(plan)
            last = _Run(self.call, self.settings, 0, plan)
            recorder = _Recorder(last)
            last()
            recorder.stopped()  # of what it began before this, the last one
            steady = last.error is not None
        error = last.error if last.error is not None else found.error
        assert error is not None
        trace = recorder.steps if recorder is not None and steady else []
        text = self.text(error, runs, seed, plan, trace, steady)
        return ScheduleFailed(error, runs, seed, written(plan), trace, text, steady)

    def smallest(self, plan: _Plan) -> _Plan:
        """A small schedule that also fails."""
        if not plan or self.run(0, []).error is not None:
            return []
        plan = self.reduced(plan, _Budget())
        budget = _Budget()
        for count in range(1, len(plan)):
            found = self.of_so_many(count, [], budget)
            if found is not None:
                return found
        return plan

    def reduced(self, plan: _Plan, budget: _Budget) -> _Plan:
        """The plan without the decisions that can be removed while it still fails."""
        size = len(plan)
        while size >= 1:
            start = 0
            while start < len(plan) and budget.take():
                part = plan[:start] + plan[start + size :]
                if self.run(0, part).error is not None:
                    plan = part
                else:
                    start += size
            size //= 2
        return plan

    def of_so_many(self, count: int, begin: _Plan, budget: _Budget) -> _Plan | None:
        """A plan with `count` more decisions than `begin` that fails: all such plans are tried, in order."""
        base = _Run(self.call, self.settings, 0, begin)
        base.shuffle.recording = True
        base()
        first = begin[-1][0] if begin else 0
        for number, width in enumerate(base.shuffle.widths[first:], first + 1):
            for choice in range(1, width):
                if not budget.take():
                    return None
                plan = [*begin, (number, choice)]
                if count > 1:
                    found = self.of_so_many(count - 1, plan, budget)
                    if found is not None:
                        return found
                elif self.run(0, plan).error is not None:
                    return plan
        return None

    def text(self, error: BaseException, runs: int, seed: int, plan: _Plan, trace: list[Step], steady: bool) -> str:
        name = _name_of(self.call)
        try:
            said = str(error)
        except Exception as exc:
            said = f"(its text cannot be made: {type(exc).__name__})"
        lines = [f"{name}() fails in run {runs}: {type(error).__name__}{': ' if said else ''}{said}"]
        if not steady:
            lines += [
                f"It did not fail when the run with seed {seed} was repeated: something else than the order decides.",
                "It may be the clock, another thread or process, or what an earlier run has left behind.",
            ]
            return "\n".join(lines)
        if not plan:
            lines.append("It fails in the usual order, too:")
        elif len(plan) == 1:
            lines.append("One switch that is not the usual one is enough, the one with a star:")
        else:
            lines.append(f"{len(plan)} switches that are not the usual ones are enough, those with a star:")
        lines += _lines(trace)
        clock = "VirtualClock(), " if self.settings.clock else ""
        lines.append(f"This run again: with {clock}{call_of(None, plan, self.settings.switches)}")
        lines.append(f"The run that found it: with {clock}{call_of(seed, None, self.settings.switches)}")
        return "\n".join(lines)


def _passes_through(error: BaseException) -> bool:
    """True if it is not a failure of the function, but ends the exploration. pytest.fail() raises no Exception."""
    return not isinstance(error, Exception | Timeout) and type(error).__name__ != "Failed"


@overload
def explore(
    function: Callable[[], object],
    seeds: int | Iterable[int] = 1000,
    *,
    switches: bool = True,
    steps: int = 50_000,
    timeout: float = 10.0,
    strict: bool = False,
    clock: bool = True,
) -> Explored: ...
@overload
def explore(
    function: None = None,
    seeds: int | Iterable[int] = 1000,
    *,
    switches: bool = True,
    steps: int = 50_000,
    timeout: float = 10.0,
    strict: bool = False,
    clock: bool = True,
) -> Callable[[_Function], _Function]: ...
def explore(
    function: Any = None,
    seeds: int | Iterable[int] = 1000,
    *,
    switches: bool = True,
    steps: int = 50_000,
    timeout: float = 10.0,
    strict: bool = False,
    clock: bool = True,
) -> Any:
    """Run `function()` in many orders; raise ScheduleFailed, with the smallest order found in which it fails.

    Without a function it is a decorator: each call of the decorated function explores it, with the call's arguments.

    A run fails if the function raises; if a greenlet that it has started fails, unless a TaskGroup expects it; if
    nothing can wake the greenlets that wait; and if it has not ended after so many `steps`, or nothing has happened for
    `timeout` seconds. Greenlets and timers that a run leaves behind are ended before the next one begins; with `strict`
    leaving any behind is a failure too.

    Each run has a `VirtualClock`, so that sleeping takes no time and time-outs come in the same order; `clock=False`:
    not.

    seeds: how many, from 0, or which ones; 0 is the usual order. switches: see `shuffled`. The function must create
    everything that it uses, because each run finds in modules and files what the previous one has left there. Blocks
    until all runs are done. Returns an `Explored`.
    """
    chosen = _seeds(seeds)
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps must be a whole number, not {steps!r}")
    if not 0 < steps < 1 << 63:
        raise ValueError(f"steps must be above 0 and less than 2**63, not {steps!r}")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds, not {timeout!r}")
    if not 0 < timeout <= _LONGEST_TIMEOUT:
        raise ValueError(f"timeout must be above 0 and at most {_LONGEST_TIMEOUT:g} seconds, not {timeout!r}")
    settings = _Settings(bool(switches), steps, float(timeout), bool(strict), bool(clock))
    if function is not None:
        _check_call(_checked(function))
        return _Search(function, settings).over(chosen)

    def decorate(function: Callable[..., object]) -> Callable[..., None]:
        _checked(function)

        @functools.wraps(function)
        def explored(*args: Any, **kwargs: Any) -> None:
            _Search(functools.partial(function, *args, **kwargs), settings).over(chosen)

        return explored

    return decorate


def _checked(function: Any) -> Any:
    if not callable(function):
        raise TypeError(f"explore() runs a function, not {function!r}")
    check_runs("explore()", function)
    return function


def _check_call(function: Any) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # it is not known
    try:
        signature.bind()
    except TypeError as exc:
        raise TypeError(
            f"explore() calls {_name_of(function)}() without arguments: {exc}. As a decorator it is written @explore()"
        ) from None


def _seeds(seeds: Any) -> Iterable[int]:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"explore() needs at least one seed, not {seeds}")
        return range(seeds)
    try:
        chosen = list(seeds)
    except TypeError:
        raise TypeError(f"seeds must be how many, or which ones, not {seeds!r}") from None
    for seed in chosen:
        check_seed(seed)
    if not chosen:
        raise ValueError("explore() needs at least one seed")
    return chosen
