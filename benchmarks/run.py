"""Runs workers in turn and gathers what they measured.

The libraries of a case take turns, A B C A B C ..., each time in a new process. So whatever slows the machine for a
while slows all of them, and the ratio is taken inside each turn.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.case import BASE, Case, Metric, Target

WORKER = Path(__file__).parent / "worker.py"
WORKER_TIMEOUT = 300
BUSY = 0.9  # a smaller share of CPU time in the time that passed means that something else was running


def run_worker(case: Case, library: str, rounds: int) -> dict:
    """`{"rounds": [{metric: value}, ...]}` or `{"error": text}`."""
    command = [sys.executable, "-P", str(WORKER), case.name, library, str(rounds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WORKER_TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"error": f"no result within {WORKER_TIMEOUT} s"}
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        lines = done.stderr.strip().splitlines()
        return {"error": f"worker ended with {done.returncode}" + (f": {lines[-1]}" if lines else "")}


@dataclass
class Spread:
    """The median of some figures and their range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Result:
    """All turns of one case, with what a report needs.

    `turns[library][metric]` has one figure for each turn; `errors[library]` says why there are none, or no more.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    subject: str = ""
    series: str = ""
    size: int = 0
    turns: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0  # how long measuring took

    @classmethod
    def of(cls, case: Case) -> "Result":
        return cls(case.name, case.title, case.metrics, case.subject, case.series, case.size)

    @classmethod
    def from_json(cls, document: dict) -> "Result":
        metrics = tuple(
            Metric(**{**metric, "must": tuple(Target(**target) for target in metric["must"])})
            for metric in document["metrics"]
        )
        return cls(**{**document, "metrics": metrics})

    def to_json(self) -> dict:
        return asdict(self)

    @property
    def libraries(self) -> list[str]:
        """The libraries for which the case was tried."""
        return list(dict.fromkeys([*self.turns, *self.errors]))

    def value(self, metric: str, library: str) -> Spread | None:
        figures = self.turns.get(library, {}).get(metric)
        return Spread.of(figures) if figures else None

    def ratio(self, metric: Metric, library: str, base: str = BASE) -> Spread | None:
        """How many times better the base library is, from the pairs of figures taken in the same turn."""
        ours, theirs = (self.turns.get(name, {}).get(metric.name) for name in (base, library))
        if not ours or not theirs:
            return None
        if metric.more_is_better:
            ours, theirs = theirs, ours
        pairs = list(zip(ours, theirs, strict=False))
        if any(a <= 0 or b <= 0 for a, b in pairs):
            return None  # a sleep that ends before its time has no ratio
        return Spread.of([b / a for a, b in pairs])

    def targets(self, metric: Metric) -> list[tuple[str, bool | None]]:
        """Each limit as text, and whether it is met; None: not known."""
        verdicts = []
        for target in metric.must:
            if target.most is not None:
                value = self.value(metric.name, BASE)
                met = None if value is None else value.median <= target.most
            else:
                ratio = self.ratio(metric, target.against)
                met = None if ratio is None else ratio.median >= target.least_ratio
            verdicts.append((target.text, met))
        return verdicts


def run_case(case: Case, libraries: list[str], turns: int, rounds: int, progress) -> Result:
    """progress(case, library, turn) is called before each worker, even one that is skipped because of a failure."""
    result = Result.of(case)
    started = time.monotonic()
    for turn in range(min(turns, case.most_turns)):
        for library in libraries:
            progress(case, library, turn)
            if library in result.errors:
                continue
            answer = run_worker(case, library, rounds)
            if "error" in answer:
                result.errors[library] = answer["error"]
                continue
            figures = result.turns.setdefault(library, {})
            for metric in answer["rounds"][0]:
                median = statistics.median(one[metric] for one in answer["rounds"])
                figures.setdefault(metric, []).append(median)
    result.remarks = remarks_on(case, result, turns)
    result.seconds = round(time.monotonic() - started, 1)
    return result


def remarks_on(case: Case, result: Result, turns: int) -> list[str]:
    """Remarks that a reader of the figures must know."""
    remarks = list(case.remarks(result)) if case.remarks else []
    if case.most_turns < turns:
        remarks.append(f"{case.most_turns} turns only")
    if case.clock == "cpu":
        timed = [figures for figures in result.turns.values() if "wall" in figures]
        pairs = [pair for figures in timed for pair in zip(figures["cpu"], figures["wall"], strict=True)]
        if pairs:
            share = sum(cpu for cpu, _ in pairs) / sum(wall for _, wall in pairs)
            if share < BUSY:
                remarks.append(f"other processes took {1 - share:.0%} of the time")
    return remarks
