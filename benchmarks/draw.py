"""Chooses the pictures of a report, and writes them, the table and the JSON into a folder."""

from pathlib import Path

from benchmarks import svg
from benchmarks.case import BASE, Metric
from benchmarks.report import NAMES, Report, amount, introduction, markdown, order, summary, times
from benchmarks.run import Result, Spread

OURS, THEIRS = f"{BASE} is slower", f"{BASE} is faster"


def named(library: str) -> str:
    return NAMES.get(library, library)


def group(result: Result, libraries: list[str], most: int | None = None) -> svg.Group | None:
    """The bars of a result: how many times better the base library is than each, by the headline metric."""
    metric = result.metrics[0]
    ours = result.value(metric.name, BASE)
    if ours is None:
        return None
    found = []
    for library in libraries:
        ratio = result.ratio(metric, library)
        value = result.value(metric.name, library)
        if ratio is not None and value is not None:
            text = f"{times(Spread(ratio.median, 0, 0)).partition(' ')[0]} · {amount(value.median, metric.unit)}"
            found.append(svg.Bar(named(library), ratio, text))
    title = f"{svg.shortened(result.title)}: {amount(ours.median, metric.unit)}"
    return svg.Group(title, found) if found else None


def overview(report: Report) -> str:
    """The base library against gevent, in every case that both have."""
    groups = [found for result in report.results if (found := group(result, ["gevent"]))]
    return svg.bars(f"{BASE} against gevent", groups, BASE, OURS, THEIRS) if groups else ""


def subject_bars(subject: str, results: list[Result]) -> str:
    libraries = sorted({name for result in results for name in result.libraries} - {BASE}, key=order)
    groups = [found for result in results if (found := group(result, libraries))]
    return svg.bars(f"{subject}: against {BASE}", groups, BASE, OURS, THEIRS) if groups else ""


def curves(results: list[Result]) -> dict[str, tuple[Metric, str, dict[str, list[tuple[float, Spread]]]]]:
    """`{title: (metric, what the sizes are, {library: points})}`: of cases in a series, and of metrics with a size."""
    found: dict = {}
    for result in results:
        sized = [metric for metric in result.metrics if metric.size]
        metrics = sized if sized else result.metrics if result.series else ()
        for metric in metrics:
            if sized:
                title, sizes, size = result.title, metric.name.split()[-1], metric.size
            else:
                title, _, sizes = result.series.partition("; ")
                title += f": {metric.name}" if len(result.metrics) > 1 else ""
                size = result.size
            for library in sorted(result.turns, key=order):
                value = result.value(metric.name, library)
                if value is not None:
                    _, _, lines = found.setdefault(title, (metric, sizes, {}))
                    lines.setdefault(named(library), []).append((size, value))
    return found


def file_name(title: str) -> str:
    kept = "".join(c if c.isalnum() else " " for c in title.lower())
    return "-".join(kept.split()) + ".svg"


def pictures(report: Report) -> dict[str, list[tuple[str, str, str]]]:
    """`{subject: [(title, file name, SVG), ...]}`; the subject "" is everything."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    if drawn := overview(report):
        found[""] = [(f"{BASE} against gevent", "overview.svg", drawn)]
    for subject, results in report.subjects().items():
        here = found.setdefault(subject, [])
        if drawn := subject_bars(subject, results):
            here.append((f"{subject}, all libraries", file_name(f"bars {subject}"), drawn))
        for title, (metric, sizes, lines) in curves(results).items():
            if any(len(points) > 1 for points in lines.values()):
                text = svg.lines(
                    title.replace("`", ""), lines, lambda value, unit=metric.unit: amount(value, unit), sizes
                )
                here.append((title.replace("`", ""), file_name(f"size {title}"), text))
    return found


def write(report: Report, folder: Path) -> list[Path]:
    """Write results.json, results.md, summary.md and the pictures, replacing old ones. Returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    report.save(folder / "results.json")
    drawn = pictures(report)
    names = {subject: [(title, name) for title, name, _ in found] for subject, found in drawn.items()}
    texts = {
        "results.md": f"# Benchmark results\n\n{markdown(report, names)}",
        "summary.md": f"{summary(report)}\n\n{introduction(report)}\n",
    }
    texts |= {name: text for found in drawn.values() for _, name, text in found}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in ("results.json", *texts)]
