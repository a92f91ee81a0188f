"""`python -m benchmarks`: run the cases and print one table of ratios."""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.case import BASE, CASES, load_cases
from benchmarks.report import FLOORS, as_json, markdown
from benchmarks.run import run_case

LIBRARIES = (BASE, "gevent", "asyncio", "uvloop")


class Progress:
    """On a terminal one line that is rewritten; otherwise one line for each case."""

    def __init__(self, cases: int, turns: int):
        self.cases, self.turns = cases, turns
        self.done = 0
        self.start = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.last = None

    def __call__(self, case, library, turn):
        text = f"[{self.done + 1}/{self.cases}] {case.name}"
        if self.terminal:
            text += f", turn {turn + 1} of {self.turns}: {library}, {time.monotonic() - self.start:.0f} s so far"
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif case is not self.last:
            print(text, file=sys.stderr, flush=True)
        self.last = case

    def end(self):
        print(f"{self._erase()}{self.done} cases in {time.monotonic() - self.start:.0f} s", file=sys.stderr)

    def _erase(self):
        return "\r\033[K" if self.terminal else ""


def split_names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns, and not the longest cases; under 3 minutes")
    parser.add_argument(
        "--only",
        metavar="CASE",
        action="append",
        default=[],
        type=split_names,
        help="these cases (repeat it, or separate them by commas); --only list names them",
    )
    parser.add_argument(
        "--python-libs",
        metavar="NAMES",
        type=split_names,
        default=list(LIBRARIES),
        help="libraries to compare, comma-separated; gevlite:select is gevlite on that backend "
        f"(default: {','.join(LIBRARIES)})",
    )
    parser.add_argument("--turns", type=int, help="how often each library has its turn (default: 11, quick 5)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there too")
    options = parser.parse_args()

    load_cases()
    names = [name for group in options.only for name in group]
    if names == ["list"]:
        for case in CASES.values():
            print(f"{case.name:20} {case.title} ({', '.join(case.libraries)})")
        return 0
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    known = {library for case in CASES.values() for library in case.libraries}
    unknown = [name for name in options.python_libs if name.partition(":")[0] not in known]
    if unknown:
        parser.error(f"no such library: {', '.join(unknown)}; there are {', '.join(sorted(known))}")

    cases = [CASES[name] for name in names] or [case for case in CASES.values() if case.quick or not options.quick]
    turns = options.turns or (5 if options.quick else 11)
    rounds = 3 if options.quick else 5
    libraries = [*options.python_libs, *(name for name in FLOORS if name not in options.python_libs)]

    progress = Progress(len(cases), turns)
    results = []
    interrupted = False
    try:
        for case in cases:
            results.append(run_case(case, libraries, turns, rounds, progress))
            progress.done += 1
    except KeyboardInterrupt:
        interrupted = True  # the cases that are complete are worth having
    progress.end()

    print(markdown(results, turns))
    if options.json:
        options.json.write_text(json.dumps(as_json(results, turns), indent=1) + "\n")
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
