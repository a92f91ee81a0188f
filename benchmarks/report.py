"""The table and the JSON."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

from benchmarks.case import BASE, Metric
from benchmarks.run import Result, Spread

# Floors differ from case to case and share one column.
FLOORS = ("greenlet", "c", "python")
FLOOR_NAMES = {"greenlet": "raw greenlet", "c": "C", "python": "plain Python"}
BUSY = 0.9  # less CPU time than this, as a part of the time that passed, means that something else was running
PACKAGES = ("gevlite", "gevent", "uvloop", "greenlet")


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> dict:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": versions(),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "backend": os.environ.get("GEVLITE_BACKEND", ""),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def amount(value: float, unit: str) -> str:
    if unit == "B":
        return f"{value:,.0f} B"
    if unit == "/s":
        return f"{value / 1000:.1f} k/s"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if abs(value) * factor >= 1:
            return f"{value * factor:.3g} {name}"
    return f"{value * 1e6:.3f} µs"


def times(ratio: Spread) -> str:
    def short(number):
        return f"{number:.2f}" if number < 10 else f"{number:.0f}"

    text = f"{short(ratio.median)}x"
    return text if ratio.low == ratio.high else f"{text} ({short(ratio.low)}-{short(ratio.high)})"


class Table:
    def __init__(self, results: list[Result]):
        self.results = results
        self.notes: list[str] = []
        seen = {name for result in results for name in (*result.turns, *result.errors)}
        self.columns = [BASE, *sorted(seen - {BASE, *FLOORS}, key=_column_order)]
        self.has_floor = bool(seen & set(FLOORS))

    def markdown(self) -> str:
        head = ["work", *self.columns, *(["floor"] if self.has_floor else []), "must reach", "met"]
        lines = [_row(head), _row(["---"] * len(head))]
        for result in self.results:
            for metric in result.case.metrics:
                lines.append(_row(self._cells(result, metric)))
        if self.notes:
            lines += ["", *(f"- [{i}] {text}" for i, text in enumerate(self.notes, 1))]
        return "\n".join(lines)

    def _cells(self, result: Result, metric: Metric) -> list[str]:
        title = result.case.title
        if len(result.case.metrics) > 1:
            title += f": {metric.name}"
        cells = [title, *(self._cell(result, metric, library) for library in self.columns)]
        if self.has_floor:
            floors = [
                f"{self._cell(result, metric, name)}, {FLOOR_NAMES[name]}"
                for name in FLOORS
                if name in result.turns or name in result.errors
            ]
            cells.append("; ".join(floors) or "-")
        targets = result.targets(metric)
        cells.append("; ".join(text for text, _ in targets) or "-")
        cells.append("; ".join({True: "yes", False: "**no**", None: "?"}[met] for _, met in targets) or "-")
        return cells

    def _cell(self, result: Result, metric: Metric, library: str) -> str:
        failed = ""
        if library in result.errors:
            failed = f"failed {self._note(f'{library}, {result.case.name}: {result.errors[library]}')}"
        value = result.value(metric.name, library)
        if value is None:
            return failed or "-"
        text = amount(value.median, metric.unit)
        ratio = result.ratio(metric, library)
        if ratio is not None and library != BASE:
            text += f" · {times(ratio)}"
        return f"{text} {failed}".rstrip()

    def _note(self, text: str) -> str:
        text = " ".join(text.split())
        if text not in self.notes:
            self.notes.append(text)
        return f"[{self.notes.index(text) + 1}]"


def _column_order(name: str):
    known = ("gevlite", "gevent", "eventlet", "asyncio", "uvloop")
    base = name.partition(":")[0]
    return (known.index(base) if base in known else len(known), name)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown(results: list[Result], turns: int) -> str:
    about = machine()
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    intro = [
        f"{about['python']}; {packages}; {about['kernel']}; {about['cpu']}, {about['cores']} cores; {about['date']}.",
        "",
        f"Medians of {turns} turns, in which the libraries ran one after the other, each in a new process; for",
        f"one operation. `Nx` says how many times better {BASE} is: the median of the turns (lowest-highest).",
        "Cases that never sleep are counted in CPU time, which for them is the time they take on an idle machine.",
        "",
    ]
    table = Table(results).markdown()
    remarks = [f"- {result.case.name}: {text}" for result in results for text in remarks_on(result)]
    return "\n".join([*intro, table, *(["", *remarks] if remarks else [])])


def remarks_on(result: Result) -> list[str]:
    """What a reader of the figures must know."""
    remarks = list(result.case.remarks(result)) if result.case.remarks else []
    if result.case.most_turns < 1000:
        remarks.append(f"at most {result.case.most_turns} turns")
    if result.case.clock == "cpu" and "wall" in result.turns.get(BASE, {}):
        pairs = [pair for of in result.turns.values() for pair in zip(of["cpu"], of["wall"], strict=True)]
        share = sum(cpu for cpu, _ in pairs) / sum(wall for _, wall in pairs)
        if share < BUSY:
            remarks.append(f"other processes took {1 - share:.0%} of the time")
    return remarks


def as_json(results: list[Result], turns: int) -> dict:
    return {
        "machine": machine(),
        "turns": turns,
        "cases": {
            result.case.name: {
                "title": result.case.title,
                "units": {metric.name: metric.unit for metric in result.case.metrics},
                "figures": result.turns,
                "errors": result.errors,
                "targets": {
                    metric.name: [{"text": text, "met": met} for text, met in result.targets(metric)]
                    for metric in result.case.metrics
                    if metric.must
                },
                "remarks": remarks_on(result),
            }
            for result in results
        },
    }
