"""The results of a run: as JSON, from which everything else is made, and as Markdown."""

import datetime
import importlib.metadata
import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.case import BASE, Metric
from benchmarks.run import Result, Spread

# Floors differ from case to case and share one column.
FLOORS = ("greenlet", "c", "python")
NAMES = {"greenlet": "raw greenlet", "c": "C", "python": "plain Python"}
PACKAGES = (
    "gevlite", "gevent", "eventlet", "uvloop", "greenlet", "gunicorn", "granian", "uvicorn", "httptools", "flask",
)  # fmt: skip
FORMAT = 2  # the version of the JSON's format


def versions() -> dict[str, str]:
    """The versions of the installed packages."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
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
        "load": round(os.getloadavg()[0], 2),
        "backend": os.environ.get("GEVLITE_BACKEND", ""),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@dataclass
class Report:
    """All results of one invocation."""

    command: str
    turns: int
    results: list[Result]
    machine: dict = field(default_factory=machine)

    def save(self, path: Path) -> None:
        document = {
            "format": FORMAT,
            "command": self.command,
            "turns": self.turns,
            "machine": self.machine,
            "results": [result.to_json() for result in self.results],
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Raises ValueError if the file is something else, or from another version of this program."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as exc:
            raise ValueError(f"{path} is not JSON: {exc}") from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"{path} is not a result of this version of the benchmarks")
        results = [Result.from_json(result) for result in document["results"]]
        return cls(document["command"], document["turns"], results, document["machine"])

    def subjects(self) -> dict[str, list[Result]]:
        found: dict[str, list[Result]] = {}
        for result in self.results:
            found.setdefault(result.subject, []).append(result)
        return found


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


def order(name: str):
    """The names of libraries in tables and pictures."""
    known = ("gevlite", "gevent", "eventlet", "asyncio", "uvloop", "threads", "uvicorn", "granian")
    base = name.partition(":")[0]
    return (known.index(base) if base in known else len(known), name)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


class Table:
    """A row for each metric, a column for each library that one of the results has."""

    def __init__(self, results: list[Result], only: tuple[str, ...] = (), names: bool = False):
        """only: the columns to show, unless they are empty; the floors are always shown.

        names: also show the name of each case, with which it can be run again.
        """
        self.results = results
        self.names = names
        self.notes: list[str] = []
        seen = {name for result in results for name in result.libraries}
        shown = seen & set(only) if only else seen
        self.columns = [BASE, *sorted(shown - {BASE, *FLOORS}, key=order)]
        self.has_floor = bool(seen & set(FLOORS))
        self.has_targets = any(metric.must for result in results for metric in result.metrics)

    def markdown(self, only_targets: bool = False) -> str:
        head = ["work", *(["case"] if self.names else []), *self.columns]
        if self.has_floor:
            head.append("floor")
        if self.has_targets:
            head += ["must reach", "met"]
        lines = [_row(head), _row(["---"] * len(head))]
        for result in self.results:
            for metric in result.metrics:
                if metric.must or not only_targets:
                    lines.append(_row(self._cells(result, metric)))
        if self.notes:
            lines += ["", *(f"- [{i}] {text}" for i, text in enumerate(self.notes, 1))]
        return "\n".join(lines)

    def _cells(self, result: Result, metric: Metric) -> list[str]:
        title = result.title
        if len(result.metrics) > 1:
            title += f": {metric.name}"
        cells = [title, *([f"`{result.name}`"] if self.names else [])]
        cells += [self._cell(result, metric, library) for library in self.columns]
        if self.has_floor:
            floors = [
                f"{self._cell(result, metric, name)}, {NAMES[name]}" for name in FLOORS if name in result.libraries
            ]
            cells.append("; ".join(floors) or "-")
        if self.has_targets:
            targets = result.targets(metric)
            cells.append("; ".join(text for text, _ in targets) or "-")
            cells.append("; ".join({True: "yes", False: "**no**", None: "?"}[met] for _, met in targets) or "-")
        return cells

    def _cell(self, result: Result, metric: Metric, library: str) -> str:
        failed = ""
        if library in result.errors:
            failed = f"failed {self._note(f'{library}, {result.name}: {result.errors[library]}')}"
        value = result.value(metric.name, library)
        if value is None:
            return failed or "-"
        text = amount(value.median, metric.unit)
        ratio = result.ratio(metric, library)
        if ratio is not None and library != BASE:
            text += f" · {times(ratio)}"
        return f"{text} {failed}".rstrip()

    def _note(self, text: str) -> str:
        text = " ".join(text.split()).replace("|", "\\|")
        if text not in self.notes:
            self.notes.append(text)
        return f"[{self.notes.index(text) + 1}]"


def slower_than(report: Report) -> list[str]:
    """Where another library is better than the base library, by their medians."""
    lines = []
    for result in report.results:
        for metric in result.metrics:
            better = []
            for library in sorted(result.libraries, key=order):
                if library.partition(":")[0] == BASE or library in FLOORS:
                    continue
                ratio = result.ratio(metric, library)
                if ratio is not None and ratio.median < 1:
                    better.append(f"{library} {times(ratio)}")
            if better:
                name = f": {metric.name}" if len(result.metrics) > 1 else ""
                lines.append(f"- {result.title}{name}: {', '.join(better)}")
    return lines


def introduction(report: Report) -> str:
    about = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    where = f"{about['kernel']}; {about['cpu']}, {about['cores']} cores, load {about['load']} at the start"
    text = f"`{report.command}`, {about['date']}. {about['python']}; {packages}; {where}."
    if about["backend"]:
        text += f" GEVLITE_BACKEND={about['backend']}."
    return text


READING = f"""\
Figures are for one operation: medians of the turns in which the libraries ran one after the other, each in a new
process. `Nx` says how many times better {BASE} is in the same turn: median (lowest-highest); below 1 the other library
is. Cases that never sleep are counted in CPU time, which for them is the time they take on an idle machine."""


def summary(report: Report) -> str:
    """The rows with a limit to meet, beside gevent: short enough for a README."""
    results = [result for result in report.results if any(metric.must for metric in result.metrics)]
    return Table(results, only=(BASE, "gevent", "uvloop", "granian"), names=True).markdown(only_targets=True)


def markdown(report: Report, pictures: dict[str, list[tuple[str, str]]] | None = None) -> str:
    """Everything. pictures: for each subject, and "" for all, `(title, file name)` of what is drawn for it."""
    pictures = pictures or {}

    def drawn(subject):
        return [f"![{title}]({name})\n" for title, name in pictures.get(subject, [])]

    parts = [introduction(report) + "\n", f"{report.turns} turns. {READING}\n", *drawn("")]
    slower = slower_than(report)
    if slower:
        parts += [f"## Where {BASE} is not the fastest\n", *slower, ""]
    for subject, results in report.subjects().items():
        parts += [f"## {subject}\n", *drawn(subject), Table(results).markdown(), ""]
        remarks = [f"- {result.name}: {text}" for result in results for text in result.remarks]
        if remarks:
            parts += [*remarks, ""]
    return "\n".join(parts)
