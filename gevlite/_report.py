"""The result of `gevlite._probe.collect()` as objects, text and JSON. Made in the process that asks.

The words for what a greenlet waits for are those of `Waiter.describe()`, so they are the same in a LoopExit.
"""

import os
import textwrap
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gevlite._dead_end import circles
from gevlite._user_line import distance, nearest

__all__ = ["Files", "GreenletReport", "HubReport", "Report", "duration"]

_SPACE = "\N{NO-BREAK SPACE}"  # until the lines are broken

# Of _look.pxi.
_NEXT_SLICE = "its next time slice"
# Of WaitKind.
_TIMER, _READ, _WRITE, _GREENLET, _LOCK, _LOOP = 2, 3, 4, 5, 8, 15


class Place(NamedTuple):
    """A line of a function that runs or waits."""

    file: str
    line: int
    function: str


@dataclass(slots=True)
class HubReport:
    """A hub and the counters of its `stats()`. `lags`: how many rounds took how long, by `Report.lag_limits`;
    `lag_seconds`: all of them together."""

    id: int
    number: int
    thread: int
    thread_name: str
    name: str
    backend: str
    state: str
    main: bool
    turn_began: float | None
    counts: dict[str, int]
    lag_seconds: float
    lags: list[int]


@dataclass(slots=True)
class GreenletReport:
    """A greenlet. Times are seconds: `since` ago, `until` and `timeout` from now; None: not known, or none."""

    id: int
    hub: int
    kind: str
    name: str | None
    function: str | None
    file: str | None
    line: int
    state: str
    waits_for: str | None
    wait_kind: int
    thing: int
    holders: list[int] | None
    places: int
    since: float | None
    until: float | None
    timeout: float | None
    stack: list[Place]
    spawned_at: Place | None
    spawner: int
    fd: int
    tasks: int | None = None
    task_list: list[tuple[str, str, list[Place]]] = field(default_factory=list)
    user: Place | None = None
    via: str | None = None


def duration(seconds):
    """A time for people: `0.3 s`, `12 s`, `12 min`, `3 h`, `2 d`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}{_SPACE}s"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f}{_SPACE}{name}"
    return f"{seconds / 86400:.0f}{_SPACE}d"


def _short(seconds):
    return f"{seconds:g}{_SPACE}s" if seconds >= 1 else f"{1000 * seconds:g}{_SPACE}ms"


class Files:
    """Whose a file is, and how it is shown. Made from what `_probe.facts()` returns."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._folder = os.path.join(raw["folder"], "") if raw["folder"] else ""
        self._gevlite_folder, self._standard = raw["paths"]

    def _distance(self, file):
        return distance(file, self._gevlite_folder, self._standard)

    def user_line(self, stack):
        """The innermost line of the program, and the function of a library that it calls there."""
        if not stack:
            return None, None
        best = nearest(stack, stack, self._distance)
        index = stack.index(best)
        return best, stack[index - 1].function if index else None

    def path(self, file: str) -> str:
        """For people: relative to the folder in which the process runs, or to the one in which packages are."""
        if self._folder and file.startswith(self._folder):
            return file[len(self._folder) :]
        for folder in ("/site-packages/", "/dist-packages/"):
            if folder in file:
                return file.rpartition(folder)[2]
        if self._standard and file.startswith(self._standard):
            return file[len(self._standard) :]
        return file


class Report(Files):
    """The greenlets of one process. Made from what `_probe.collect()` returns."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.pid: int = raw["pid"]
        self.program: list[str] = raw["program"]
        self.python: str = raw["python"]
        self.gevlite: str = raw["gevlite"]
        self.problem: str | None = raw.get("problem")
        super().__init__(raw)
        self.now: int = raw["now"]
        self.lag_limits: list[float] = list(raw["lag_limits"])  # seconds; there is one more class, for longer times
        self._frames = [Place(*frame) for frame in raw["frames"]]
        threads = dict(raw["threads"])
        mains = {hub[1]: 0 for hub in raw["hubs"]}
        self.hubs = [self._hub(number, hub, threads) for number, hub in enumerate(raw["hubs"])]
        self.greenlets = [self._greenlet(row) for row in raw["greenlets"]]
        self.by_id = {one.id: one for one in self.greenlets if one.id}
        for one in self.greenlets:
            if one.kind == "main":
                mains[self.hubs[one.hub].thread] = one.id
            elif one.name is None and one.id in threads:
                one.name = threads[one.id]
        held = dict(raw["holders"])
        for one in self.greenlets:
            if one.holders is None and one.thing in held:
                one.holders = held[one.thing]
            if one.holders is not None:
                one.holders = [mains.get(holder) or holder for holder in one.holders]
        for address, count, tasks in raw["tasks"]:
            if address in self.by_id:
                self.by_id[address].tasks = count
                self.by_id[address].task_list = [
                    (name, coroutine, [Place(*frame) for frame in frames]) for name, coroutine, frames in tasks
                ]
        self.deadlocks = self._find_deadlocks()

    def _hub(self, number, row, threads):
        (address, thread, name, backend, state, main, began, *counts, lag, lags) = row
        names = "parked begun ready timers fds switches handoffs polls spawned callbacks".split()
        return HubReport(
            address,
            number,
            thread,
            threads.get(thread, "MainThread" if main else f"thread {thread:#x}"),
            name,
            backend.removesuffix("Backend").lower(),
            state,
            main,
            (self.now - began) / 1e9 if began else None,
            dict(zip(names, counts, strict=True)),
            lag / 1e9,
            list(lags),
        )

    def _greenlet(self, row):
        (address, hub, kind, name, function, file, line, state, text, wait_kind, thing, holders, places) = row[:13]
        (since, until, timeout, stack, spawned, spawner, fd) = row[13:]
        made = GreenletReport(
            address,
            hub,
            kind,
            name,
            function,
            file,
            line,
            state,
            text,
            wait_kind,
            thing,
            list(holders) if holders is not None else None,
            places,
            self._ago(since),
            self._left(until),
            self._left(timeout),
            [self._frames[index] for index in stack],
            self._frames[spawned] if spawned is not None else None,
            spawner,
            fd,
        )
        if kind == "main" and made.stack:
            made.function = None
        elif made.stack and (kind == "raw" or function is None):
            made.function, made.file, made.line = made.stack[-1].function, made.stack[-1].file, made.stack[-1].line
        made.user, made.via = self.user_line(made.stack)
        if made.user is None and made.file is not None:
            made.user = Place(made.file, made.line, made.function or "")
        return made

    def _ago(self, moment):
        return max(self.now - moment, 0) / 1e9 if moment else None

    def _left(self, moment):
        return max(moment - self.now, 0) / 1e9 if moment else None

    # -------- what waits for what

    def _find_deadlocks(self):
        """The circles of greenlets that wait for each other, without any time limit, so that none will ever go on."""
        needs = {}
        for one in self.greenlets:
            holders = [holder for holder in one.holders or () if holder in self.by_id]
            limited = one.until is not None or one.timeout is not None
            if one.state == "parked" and holders and not limited and len(holders) >= one.places:
                needs[one.id] = (holders, one.places)
        stuck = set(needs)
        while True:
            free = {
                one
                for one in stuck
                if not (any if needs[one][1] == 0 else all)(holder in stuck for holder in needs[one][0])
            }
            if not free:
                break
            stuck -= free
        return circles({one: next(holder for holder in needs[one][0] if holder in stuck) for one in sorted(stuck)})

    # -------- words

    def who(self, one: GreenletReport) -> str:
        """Its name and what it runs."""
        if one.kind == "main":
            return "main greenlet"
        if one.kind == "hub":
            return "hub"
        parts = [one.name] if one.name else []
        if one.function and one.function != one.name:
            parts.append(one.function)
        return " ".join(parts) or "greenlet"

    def where(self, one: GreenletReport) -> str:
        """The user's line: `app.py:41`, with the function unless it is the greenlet's own."""
        if one.user is None:
            return ""
        text = f"{self.path(one.user.file)}:{one.user.line}"
        if one.user.function not in (one.function, "<module>", ""):
            text += f" in {one.user.function}"
        return text

    def _state(self, one, several=()):
        """`waits for ...`, `running`, `ready`, `not begun`. several: other greenlets that do the same."""
        if one.state != "parked":
            if one.state == "not begun" and one.timeout is not None:
                return "not begun"
            if one.state == "ready" and one.waits_for == _NEXT_SLICE:
                return "ready, used up its time slice"
            return "runs" if one.state == "running" else one.state
        if one.wait_kind == _TIMER:
            return "sleeps"
        text = one.waits_for
        if several:
            text = self._common(one, several)
        holders = one.holders if one.wait_kind == _LOCK else None
        if holders and not text.startswith("a place"):
            first = self.by_id.get(holders[0])
            text += " held by " + (f"{self.who(first)} {self.where(first)}".rstrip() if first else f"{holders[0]:#x}")
            if len(holders) > 1:
                text += f" and {len(holders) - 1} more"
        if one.tasks is not None:
            text = f"{one.tasks} task{'' if one.tasks == 1 else 's'} of its event loop"
        elif one.via and one.wait_kind not in (_READ, _WRITE):
            text += f" in {one.via}"
        return f"waits for {text}"

    def _common(self, one, several):
        texts = {other.waits_for for other in several}
        if len(texts) == 1:
            return one.waits_for
        if one.wait_kind in (_READ, _WRITE):
            return f"{self._verb(one)} {len(texts)} addresses"
        return "the end of greenlets" if one.wait_kind == _GREENLET else one.waits_for

    @staticmethod
    def _verb(one):
        return " ".join(one.waits_for.split(" ")[:2])

    def _group_key(self, one):
        text = one.waits_for
        if one.wait_kind in (_READ, _WRITE):
            text = self._verb(one)
        elif one.wait_kind in (_GREENLET, _LOOP):
            text = None
        holders = tuple(one.holders) if one.holders is not None and one.wait_kind == _LOCK else None
        return (one.hub, one.kind, one.function, one.user, one.via, one.state, one.wait_kind, text, holders)

    def groups(self, hub: int) -> list[list[GreenletReport]]:
        """The greenlets of a hub; those that are at the same place for the same reason together, oldest first."""
        found: dict[Any, list[GreenletReport]] = {}
        for one in self.greenlets:
            if one.hub == hub:
                found.setdefault(self._group_key(one), []).append(one)
        order = {"running": 0, "ready": 1, "parked": 2, "not begun": 3}
        for group in found.values():
            group.sort(key=lambda one: -(one.since or 0))
        return sorted(
            found.values(), key=lambda group: (order.get(group[0].state, 9), -len(group), -(group[0].since or 0))
        )

    def times(self, group: list[GreenletReport]) -> list[str]:
        """Since when and until when, in words."""
        one = group[0]
        words = []
        if one.since is not None:
            words.append(("oldest " if len(group) > 1 else "") + duration(one.since))
        ends = [other.until for other in group if other.until is not None]
        if ends:
            words.append(("first " if len(group) > 1 else "") + f"{duration(min(ends))} left")
        strikes = [other.timeout for other in group if other.timeout is not None]
        if strikes:
            what = "begins in" if one.state == "not begun" else "Timeout in"
            words.append(f"{what} {duration(min(strikes))}")
        return words

    # -------- screens

    def head(self) -> list[str]:
        """The first lines of each screen."""
        program = " ".join(self.program)
        lines = [f"PID {self.pid}: {program}" if program else f"PID {self.pid}"]
        lines.append(f"gevlite {self.gevlite}, Python {self.python}")
        if not self.hubs:
            lines.append("No thread of the process has a hub.")
        if self.problem:
            lines.append(f"Not shown: {self.problem}")
        return lines

    def hub_line(self, hub: HubReport) -> str:
        """One line about a hub."""
        states: dict[str, int] = {}
        for one in self.greenlets:
            if one.hub == hub.number and one.kind != "hub":
                states[one.state] = states.get(one.state, 0) + 1
        counts = ", ".join(
            f"{states[state]} {state}" for state in ("running", "ready", "parked", "not begun") if state in states
        )
        state = hub.state
        if state == "running" and hub.turn_began is not None and hub.turn_began > 0.1:
            state = f"has not polled for {duration(hub.turn_began)}"
        name = f" {hub.name}" if hub.name else ""
        return f"Hub{name} of {hub.thread_name} ({hub.backend}), {state}: {counts or 'no greenlets'}"

    def ps(self) -> list[tuple[int, str]]:
        """The lines of `ps`, each with its indentation."""
        lines = [(0, line) for line in self.head()]
        lines += self._deadlock_lines()
        for hub in self.hubs:
            lines += [(0, ""), (0, self.hub_line(hub))]
            for group in self.groups(hub.number):
                lines.append((2, self.line(group)))
                lines += self._task_lines(group[0])
        return lines

    def line(self, group: list[GreenletReport]) -> str:
        """One line about greenlets that do the same."""
        one = group[0]
        if len(group) > 1:
            names = one.function or self.who(one)
            text = f"{len(group)} x {names}"
        else:
            text = self.who(one)
        where = self.where(one)
        if where:
            text += f" {where}"
        text += f" {self._state(one, group if len(group) > 1 else ())}"
        return ", ".join([text, *self.times(group)])

    def _task_lines(self, one):
        lines = []
        for name, coroutine, frames in one.task_list[:20]:
            user, via = self.user_line(frames)
            at = f" {self.path(user.file)}:{user.line}" if user else ""
            lines.append((4, f"task {name} {coroutine}{at}" + (f" awaits {via}" if via else "")))
        if one.tasks is not None and one.tasks > 20:
            lines.append((4, f"and {one.tasks - 20} more tasks"))
        return lines

    def _deadlock_lines(self):
        lines = []
        for circle in self.deadlocks:
            lines.append((0, ""))
            if len(circle) == 1:
                lines.append((0, "Deadlock: a greenlet waits for itself:"))
            else:
                lines.append((0, f"Deadlock: {len(circle)} greenlets wait for each other:"))
            for number in circle[:20]:
                lines.append((2, self.line([self.by_id[number]])))
            if len(circle) > 20:
                lines.append((2, f"and {len(circle) - 20} more"))
        return lines

    def tree(self) -> list[tuple[int, str]]:
        """The lines of `tree`: each greenlet below the one that spawned it."""
        lines = [(0, line) for line in self.head()]
        children: dict[int, list[GreenletReport]] = {}
        for one in self.greenlets:
            parent = one.spawner if one.spawner in self.by_id and one.spawner != one.id else 0
            children.setdefault(parent, []).append(one)
        for hub in self.hubs:
            lines += [(0, ""), (0, self.hub_line(hub))]
            todo = [(2, group) for group in self._alike(children.get(0, ()), hub.number, children)[::-1]]
            while todo:
                depth, group = todo.pop()
                lines.append((depth, self.line(group)))
                inner = children.get(group[0].id, ()) if len(group) == 1 else ()
                todo += [(min(depth + 2, 40), below) for below in self._alike(inner, hub.number, children)[::-1]]
        return lines

    def _alike(self, greenlets, hub, children):
        """Groups; a greenlet that has spawned others is a group of its own."""
        found = {}
        for one in greenlets:
            if one.hub == hub:
                found.setdefault(one.id if one.id in children else self._group_key(one), []).append(one)
        return list(found.values())

    def dump(self) -> list[tuple[int, str]]:
        """The lines of `dump`: the stack of each greenlet, equal ones together."""
        lines = [(0, line) for line in self.head()]
        lines += self._deadlock_lines()
        for hub in self.hubs:
            lines += [(0, ""), (0, self.hub_line(hub))]
            stacks: dict[Any, list[GreenletReport]] = {}
            for group in self.groups(hub.number):
                for one in group:
                    stacks.setdefault((self._group_key(one), tuple(one.stack), one.spawned_at), []).append(one)
            for group in stacks.values():
                one = group[0]
                lines += [(0, ""), (2, self.line(group))]
                if len(group) == 1 and one.id:
                    lines.append((4, f"at {one.id:#x}" + (f", descriptor {one.fd}" if one.fd >= 0 else "")))
                if one.spawned_at is not None:
                    place = one.spawned_at
                    lines.append((4, f"spawned in {place.function} ({self.path(place.file)}:{place.line})"))
                if one.stack:
                    lines.append((4, "stack, innermost call first:"))
                lines += [(6, f"{place.function} ({self.path(place.file)}:{place.line})") for place in one.stack]
                lines += self._task_lines(one)
        return lines

    def stats(self) -> list[tuple[int, str]]:
        """The lines of `stats`: the counters of each hub."""
        lines = [(0, line) for line in self.head()]
        for hub in self.hubs:
            lines += [(0, ""), (0, self.hub_line(hub))]
            lines += [(2, f"{name:<10} {count}") for name, count in hub.counts.items()]
            lines.append((2, f"{'lag':<10} {self.lag(hub)}"))
        return lines

    def lag(self, hub: HubReport) -> str:
        """How long the rounds of the loop took: `120 rounds: 118 up to 5 ms, 2 up to 1 s`."""
        names = [f"up to {_short(limit)}" for limit in self.lag_limits]
        names.append(f"over {_short(self.lag_limits[-1])}")
        parts = [f"{count} {name}" for count, name in zip(hub.lags, names, strict=True) if count]
        return f"{sum(hub.lags)} rounds" + (f": {', '.join(parts)}" if parts else "")

    def as_json(self) -> dict[str, Any]:
        """A dict for `json.dumps`; docs/debugging.md describes it."""
        return {
            "version": 1,
            "pid": self.pid,
            "program": self.program,
            "python": self.python,
            "gevlite": self.gevlite,
            "hubs": [
                {
                    "hub": hub.number,
                    "thread": hub.thread,
                    "thread_name": hub.thread_name,
                    "name": hub.name,
                    "backend": hub.backend,
                    "state": hub.state,
                    "turn_seconds": hub.turn_began,
                    "counts": hub.counts,
                    "lag": {
                        "seconds": hub.lag_seconds,
                        "rounds": [list(pair) for pair in zip([*self.lag_limits, None], hub.lags, strict=True)],
                    },
                }
                for hub in self.hubs
            ],
            "greenlets": [self._json_of(one) for one in self.greenlets],
            "deadlocks": [[f"{number:#x}" for number in circle] for circle in self.deadlocks],
        }

    def _json_of(self, one):
        waits = None
        if one.state == "parked":
            waits = {
                "for": one.waits_for,
                "object": f"{one.thing:#x}" if one.thing else None,
                "descriptor": one.fd if one.fd >= 0 else None,
                "holders": None if one.holders is None else [f"{holder:#x}" for holder in one.holders],
                "seconds_left": one.until,
            }
        return {
            "id": f"{one.id:#x}",
            "hub": one.hub,
            "kind": one.kind,
            "name": one.name,
            "function": one.function,
            "state": one.state,
            "seconds": one.since,
            "waits": waits,
            "timeout_seconds_left": one.timeout,
            "line": one.user._asdict() if one.user is not None else None,
            "stack": [place._asdict() for place in one.stack],
            "spawned_at": one.spawned_at._asdict() if one.spawned_at is not None else None,
            "spawner": f"{one.spawner:#x}" if one.spawner else None,
            "tasks": one.tasks,
        }


def printable(text: str) -> str:
    """One line that cannot control a terminal: control characters, line ends and the like become Python's escapes."""
    if text.replace(_SPACE, " ").isprintable():
        return text
    return "".join(
        one if one == _SPACE or one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text
    )


def fit(lines: list[tuple[int, str]], width: int | None) -> str:
    """Text of at most `width` columns; None: no limit."""
    lines = [(depth, printable(line)) for depth, line in lines]
    if width is None:
        whole = [f"{' ' * depth}{line}".rstrip() for depth, line in lines]
        return "\n".join(whole).replace(_SPACE, " ") + "\n"
    out = []
    for depth, line in lines:
        depth = min(depth, width // 2)
        out += textwrap.wrap(
            line,
            max(width, 20),
            initial_indent=" " * depth,
            subsequent_indent=" " * (depth + 4),
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(out).replace(_SPACE, " ") + "\n"
