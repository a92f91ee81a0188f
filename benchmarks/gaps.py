"""The picture of docs/time-slices.md: `python -m benchmarks.gaps docs/time-slices.svg`.

A greenlet ticks every 5 ms while four others compute, with time slices and without, each in a process of its own. The
time of each tick is measured and drawn as a line.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import svg

SECONDS = 1.0
PAUSE = 0.005
SPINNERS = 4
SLICES = (0.01, 0.001, None)


def measure(time_slice):
    """The times of the ticks, in seconds."""
    import gevlite

    gevlite.config.time_slice = time_slice
    ticks = []
    now = time.perf_counter
    began = now()

    def tick():
        while now() - began < SECONDS:
            ticks.append(now() - began)
            gevlite.sleep(PAUSE)
        ticks.append(now() - began)

    def spin():
        while now() - began < SECONDS:
            for _ in range(100):
                pass

    gevlite.joinall([gevlite.spawn(tick), *[gevlite.spawn(spin) for _ in range(SPINNERS)]])
    return ticks


def draw(rows):
    """rows: `[(title, ticks)]`."""
    left, right, height, top = 170, svg.WIDTH - 30, 46, 40
    end = max(ticks[-1] for _, ticks in rows)

    def x(seconds):
        return round(left + (right - left) * seconds / end, 1)

    parts = []
    for i, (title, ticks) in enumerate(rows):
        y = top + i * (height + 14)
        worst = max(b - a for a, b in zip(ticks, ticks[1:], strict=False))
        parts.append(svg._text(left - 12, y + height / 2 - 2, title, "end"))
        parts.append(svg._text(left - 12, y + height / 2 + 14, f"longest gap {worst * 1000:.0f} ms", "end"))
        parts.append(
            f'<rect x="{left}" y="{y}" width="{right - left}" height="{height}" fill="{svg.INK}" fill-opacity="0.12"/>'
        )
        colour = svg.COLOURS["threads" if i == len(rows) - 1 else "gevlite"]
        parts += [svg._line(x(tick), y, x(tick), y + height, colour, 1.2) for tick in ticks]
    bottom = top + len(rows) * (height + 14)
    for tenth in range(0, int(end * 10) + 1, 2):
        parts.append(svg._text(x(tenth / 10), bottom + 6, f"{tenth / 10:g} s", "middle"))
    title = f"A greenlet that ticks every {PAUSE * 1000:g} ms while {SPINNERS} others compute"
    return svg._document(bottom + 20, title, parts)


def main(path):
    rows = []
    for time_slice in SLICES:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.gaps", "--measure", str(time_slice)],
            check=True,
            capture_output=True,
            text=True,
        )
        title = "no time slices" if time_slice is None else f"slices of {time_slice * 1000:g} ms"
        rows.append((title, json.loads(done.stdout)))
    Path(path).write_text(draw(rows), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(json.dumps(measure(None if sys.argv[2] == "None" else float(sys.argv[2]))))
    else:
        main(sys.argv[1])
