"""Two kinds of charts as SVG text: bars around 1 with their spread, and lines of cost against size; log axes.

Written by hand because so little has to be drawn: no dependency, small files, the same bytes for the same figures. The
colours are those of Okabe and Ito, which the colour-blind can tell apart too; text and lines are in a grey that can be
read on white and on black.
"""

import math
from dataclasses import dataclass
from html import escape

from benchmarks.run import Spread

COLOURS = {
    "gevlite": "#0072b2",
    "gevent": "#e69f00",
    "eventlet": "#cc79a7",
    "asyncio": "#009e73",
    "uvloop": "#56b4e9",
    "threads": "#d55e00",
}
OTHER_COLOURS = ("#8c8c8c", "#b0a040", "#7a68a6", "#5b8f5b", "#a05a2c")
INK = "#808080"
STYLE = f"text{{font:12px sans-serif;fill:{INK}}}.s{{font-size:11px}}.t{{font-size:14px;font-weight:bold}}"
WIDTH = 860
LABEL_WIDTH = 400  # of the names at the left of the bars
BAR, GAP = 9, 4


class Colours:
    """The same for a library in all charts; others get the next free one, in one chart."""

    def __init__(self):
        self.others = {}

    def __getitem__(self, library: str) -> str:
        if library in COLOURS:
            return COLOURS[library]
        return self.others.setdefault(library, OTHER_COLOURS[len(self.others) % len(OTHER_COLOURS)])


@dataclass
class Bar:
    name: str
    value: Spread
    text: str  # after the bar


@dataclass
class Group:
    title: str
    bars: list[Bar]


class LogAxis:
    """Positions of positive numbers between two pixels."""

    def __init__(self, values: list[float], begin: float, end: float):
        self.low, self.high = (math.log10(value) for value in (min(values), max(values)))
        if self.high - self.low < 0.3:
            self.low, self.high = self.low - 0.15, self.high + 0.15
        margin = (self.high - self.low) * 0.04
        self.low, self.high = self.low - margin, self.high + margin
        self.begin, self.end = begin, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def ticks(self) -> list[float]:
        """Powers of ten; 2 and 5 times them too, if there are few."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        factors = (1,) if self.high - self.low > 2.5 else (1, 2, 5)
        found = [factor * 10.0**decade for decade in decades for factor in factors]
        return [value for value in found if self.low <= math.log10(value) <= self.high]


def _text(x, y, text, anchor="start", kind="s"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _line(x1, y1, x2, y2, colour=INK, width: float = 1, opacity: float = 1):
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}"/>'
    )


def _document(height: float, title: str, parts: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            f'role="img"><title>{escape(title)}</title><style>{STYLE}</style>',
            _text(8, 20, title, kind="t"),
            *parts,
            "</svg>\n",
        ]
    )


def _legend(names: list[str], colours: Colours, y: float) -> list[str]:
    parts, x = [], 8.0
    for name in names:
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colours[name]}"/>')
        parts.append(_text(x + 14, y, name))
        x += 30 + 7 * len(name)
    return parts


def bars(title: str, groups: list[Group], base: str, left: str, right: str) -> str:
    """Bars that start at 1, where `base` is; `left` and `right` describe the two sides of it."""
    colours = Colours()
    spreads = [bar.value for group in groups for bar in group.bars]
    room = 150  # for the text after the longest bar
    axis = LogAxis([1, *(edge for s in spreads for edge in (s.low, s.high))], LABEL_WIDTH, WIDTH - room)
    names = list(dict.fromkeys(bar.name for group in groups for bar in group.bars))
    top = 66
    y = top + 8.0
    body = []
    for group in groups:
        height = max(len(group.bars) * (BAR + GAP), 16)
        body.append(_text(LABEL_WIDTH - 10, round(y + height / 2 + 2, 1), group.title, "end"))
        for bar in group.bars:
            a, b = sorted((axis(1), axis(bar.value.median)))
            body.append(
                f'<rect x="{a}" y="{y}" width="{max(round(b - a, 1), 0.8)}" height="{BAR}" fill="{colours[bar.name]}"/>'
            )
            middle = y + BAR / 2
            body.append(_line(axis(bar.value.low), middle, axis(bar.value.high), middle, width=1.5))
            body.append(_text(max(b, axis(bar.value.high)) + 6, y + BAR - 0.5, bar.text))
            y += BAR + GAP
        y += 10 if len(group.bars) > 1 else 4
    grid = []
    for tick in axis.ticks():
        grid.append(_line(axis(tick), top, axis(tick), y, opacity=0.25))
        grid.append(_text(axis(tick), y + 14, f"{tick:g}x", "middle"))
    grid.append(_line(axis(1), top, axis(1), y, COLOURS.get(base, INK), 2))
    grid.append(_text(axis(1) + 6, top - 4, f"{right} →"))
    grid.append(_text(axis(1) - 6, top - 4, f"← {left}", "end"))
    return _document(y + 24, title, [*_legend(names, colours, 42), *grid, *body])


def shortened(title: str, most: int = 54) -> str:
    """The text without the marks of Markdown, short enough to fit, with a figure after it, to the left of the bars."""
    title = title.replace("`", "")
    return title if len(title) <= most else title[: most - 1] + "…"


def lines(title: str, curves: dict[str, list[tuple[float, Spread]]], amount, sizes: str) -> str:
    """Cost against size. amount: the text of a cost; sizes: what the sizes are."""
    colours = Colours()
    curves = {name: [p for p in points if p[1].low > 0] for name, points in curves.items()}
    curves = {name: sorted(points, key=lambda p: p[0]) for name, points in curves.items() if points}
    spreads = [spread for points in curves.values() for _, spread in points]
    top, bottom, left, right = 60, 330, 90, WIDTH - 30
    across = LogAxis([size for points in curves.values() for size, _ in points], left, right)
    up = LogAxis([edge for s in spreads for edge in (s.low, s.high)], bottom, top)
    parts = _legend(list(curves), colours, 42)
    for tick in up.ticks():
        parts.append(_line(left, up(tick), right, up(tick), opacity=0.25))
        parts.append(_text(left - 8, up(tick) + 4, amount(tick), "end"))
    for size in sorted({size for points in curves.values() for size, _ in points}):
        parts.append(_line(across(size), top, across(size), bottom, opacity=0.25))
        parts.append(_text(across(size), bottom + 16, f"{size:,.0f}", "middle"))
    parts.append(_text((left + right) / 2, bottom + 34, sizes, "middle"))
    for name, points in curves.items():
        path = " ".join(f"{across(size)},{up(spread.median)}" for size, spread in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
        for size, spread in points:
            x = across(size)
            parts.append(_line(x, up(spread.low), x, up(spread.high), colours[name], 1.5))
            parts.append(f'<circle cx="{x}" cy="{up(spread.median)}" r="3.5" fill="{colours[name]}"/>')
    return _document(bottom + 46, title, parts)
