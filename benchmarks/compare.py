"""What got slower between two runs: `python -m benchmarks compare old.json new.json`.

A figure counts as slower if its median is worse by more than the threshold *and* the two runs do not overlap: the best
turn of the new one is worse than the worst of the old one. Times of different machines cannot be compared; ratios to
another library (--against) can, with care.
"""

from dataclasses import dataclass

from benchmarks.case import BASE, Metric
from benchmarks.report import NAMES, Report, amount
from benchmarks.run import Result, Spread

SLOWER, FASTER, SAME, FAILS, GONE = "slower", "faster", "same", "fails", "gone"


@dataclass
class Change:
    what: str
    verdict: str
    text: str
    worse: float = 0.0  # the factor by which it is


def compare(old: Report, new: Report, library: str = BASE, against: str = "", threshold: float = 0.1) -> list[Change]:
    """One change for each metric that the old run has of that library."""
    now = {result.name: result for result in new.results}
    changes = []
    for before in old.results:
        if library not in before.turns:
            continue
        after = now.get(before.name)
        if after is None:
            changes.append(Change(before.title, GONE, "is not in the new run"))
            continue
        if library in after.errors:
            changes.append(Change(before.title, FAILS, after.errors[library]))
            continue
        for metric in before.metrics:
            changes += _change(before, after, metric, library, against, threshold)
    return changes


def _change(before: Result, after: Result, metric: Metric, library: str, against: str, threshold: float):
    what = before.title + (f": {metric.name}" if len(before.metrics) > 1 else "")
    was, now = (_figure(result, metric, library, against) for result in (before, after))
    if was is None:
        return []
    if now is None:
        return [Change(what, GONE, "is not in the new run")]
    # A ratio says how many times better, so more is better.
    more_is_better = metric.more_is_better or bool(against)
    if min(was.median, now.median) <= 0:
        return []
    worse = was.median / now.median if more_is_better else now.median / was.median
    apart = now.high < was.low if more_is_better else now.low > was.high
    apart_better = now.low > was.high if more_is_better else now.high < was.low
    verdict = SAME
    if worse > 1 + threshold and apart:
        verdict = SLOWER
    elif 1 / worse > 1 + threshold and apart_better:
        verdict = FASTER
    return [Change(what, verdict, f"{_text(was, metric, against)} -> {_text(now, metric, against)}", worse)]


def _figure(result: Result, metric: Metric, library: str, against: str) -> Spread | None:
    return result.ratio(metric, against, library) if against else result.value(metric.name, library)


def _text(spread: Spread, metric: Metric, against: str) -> str:
    if against:
        return f"{spread.median:.2f}x better than {NAMES.get(against, against)}"
    return amount(spread.median, metric.unit)


def show(old: Report, new: Report, changes: list[Change], against: str) -> tuple[str, int]:
    """The text, and the exit status: 1 if something is slower or fails."""
    lines = []
    for name in ("python", "packages", "kernel", "cpu", "cores", "backend"):
        if old.machine.get(name) != new.machine.get(name):
            lines.append(f"{name}: {old.machine.get(name)} -> {new.machine.get(name)}")
    if not against and any(old.machine.get(name) != new.machine.get(name) for name in ("cpu", "kernel")):
        lines.append("The machines differ, so these times do not compare; ratios may: --against gevent")
    lines += [""] if lines else []
    for verdict in (FAILS, SLOWER, FASTER, GONE):
        for change in sorted((c for c in changes if c.verdict == verdict), key=lambda c: -c.worse):
            factor = change.worse if verdict == SLOWER else 1 / change.worse if verdict == FASTER else 0
            by = f" {factor:.2f}x" if factor else ""
            lines.append(f"{verdict}{by}: {change.what}: {change.text}")
    counts = {verdict: sum(change.verdict == verdict for change in changes) for verdict in (SLOWER, FASTER, SAME)}
    lines.append(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    bad = any(change.verdict in (SLOWER, FAILS) for change in changes)
    return "\n".join(lines), int(bad)
