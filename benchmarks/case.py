"""A case: one piece of work, written once for each *kind* of library, and the limits that its result must meet.

A body takes `(lib, n)` and either does the work `n` times and returns nothing (the worker takes the time), or measures
by itself and returns `{metric name: value}`. A coroutine function is a body for asyncio-like libraries.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BASE = "gevlite"  # everything is compared with it
GREEN = ("gevlite", "gevent")  # libraries with gevent's interface
BLOCKING = (*GREEN, "eventlet", "threads")  # those, and libraries to which an adapter gives enough of it (libs.py)
ASYNC = ("asyncio", "uvloop")  # libraries with asyncio's


@dataclass(frozen=True)
class Target:
    """A limit on the base library's figure: against another library's in the same run, or absolute."""

    text: str
    against: str = ""
    least_ratio: float = 0.0  # (the other's figure) / (ours), the way round in which bigger is better
    most: float | None = None

    @classmethod
    def faster(cls, against: str, times: float) -> "Target":
        text = f"no slower than {against}" if times == 1 else f"≥ {times:g}x faster than {against}"
        return cls(text, against, times)

    @classmethod
    def within(cls, against: str, times: float) -> "Target":
        return cls(f"≤ {against}" if times == 1 else f"≤ {times:g}x {against}", against, 1 / times)

    @classmethod
    def at_most(cls, value: float, text: str) -> "Target":
        return cls(f"≤ {text}", most=value)


@dataclass(frozen=True)
class Metric:
    """One number that a case yields. `unit`: "s", "B" or "/s"; for the last more is better, for the others less."""

    name: str
    unit: str = "s"
    must: tuple[Target, ...] = ()
    size: int = 0  # for a metric that is one point of a curve

    @property
    def more_is_better(self) -> bool:
        return self.unit == "/s"


@dataclass
class Case:
    name: str
    title: str
    n: int = 1  # handed to the body
    per: int = 1  # operations done for each of n
    metrics: tuple[Metric, ...] = ()  # for a body that measures by itself; the first one is the headline
    must: tuple[Target, ...] = ()  # for a body that is timed
    clock: str = "cpu"  # the headline of a timed body: "cpu" time, or "wall" if it is meant to sleep
    rounds: int | None = None  # in each worker; None: the runner's choice
    most_turns: int = 1000  # for a case that takes long
    quick: bool = True  # part of the quick set
    by_backend: bool = False  # also run on each backend of the base library
    program: str = ""  # makes the load, and must be installed
    series: str = ""  # its metrics are points of these curves, at this size
    size: int = 0
    subject: str = ""  # the file it is in
    remarks: Callable | None = None  # from its Result to sentences for the reader
    bodies: dict[str, Callable] = field(default_factory=dict)

    def __post_init__(self):
        if not self.metrics:
            self.metrics = (Metric("time", "s", self.must),)
        if self.name in CASES:
            raise ValueError(f"two cases are called {self.name!r}")
        self.subject = self.subject or _loading
        CASES[self.name] = self

    def on(self, *libraries: str):
        """Decorator: this is the body for these libraries."""

        def register(body):
            self.bodies.update(dict.fromkeys(libraries, body))
            return body

        return register

    @property
    def libraries(self) -> tuple[str, ...]:
        return tuple(self.bodies)


CASES: dict[str, Case] = {}
_loading = ""

# The order in reports; files that are not named come last.
_SUBJECTS = (
    "switch", "spawn", "event", "queue", "lock", "local", "pool", "timer", "echo", "churn", "throughput", "wsgi",
    "time_slice", "websocket", "idle", "backend", "file", "dns", "subprocess", "memory", "startup",
)  # fmt: skip


def _order(path: Path):
    subject = path.stem.removeprefix("test_")
    return (_SUBJECTS.index(subject) if subject in _SUBJECTS else len(_SUBJECTS), subject)


def load_cases() -> dict[str, Case]:
    """Import every file of cases; they register themselves."""
    global _loading
    for path in sorted(Path(__file__).parent.glob("test_*.py"), key=_order):
        _loading = path.stem.removeprefix("test_")
        importlib.import_module(f"benchmarks.{path.stem}")
    return CASES
