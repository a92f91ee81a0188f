"""What gevlite costs, beside other libraries.

python -m benchmarks [--quick] [--only CASE]        run the cases, print tables, write the report
python -m benchmarks compare OLD.json NEW.json      what got slower; exit status 1 if something did
python -m benchmarks draw RESULTS.json FOLDER       the report of results that are there
"""

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks import draw
from benchmarks.case import BASE, CASES, Case, load_cases
from benchmarks.compare import compare, show
from benchmarks.progress import Progress
from benchmarks.report import FLOORS, Report, markdown, order
from benchmarks.run import run_case

QUICK_TURNS, FULL_TURNS = 3, 7
QUICK_ROUNDS, FULL_ROUNDS = 3, 5


def split_names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def other_backends() -> list[str]:
    """The backends of the base library that work here, without the default one."""
    from gevlite import backends
    from gevlite.hub import Hub

    hub = Hub()
    try:
        chosen = hub.backend.name
    finally:
        hub.destroy()
    return [f"{BASE}:{name}" for name, problem in backends.available().items() if problem is None and name != chosen]


def libraries_of(case: Case, wanted: list[str], others: list[str]) -> list[str]:
    names = [*wanted, *(others if case.by_backend else ())]
    return [name for name in dict.fromkeys(names) if name.partition(":")[0] in case.bodies]


def run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer turns, and not the longest cases: in 10 minutes")
    parser.add_argument(
        "--only",
        metavar="CASE",
        action="append",
        default=[],
        type=split_names,
        help="these cases, or subjects (repeat it, or separate them by commas); --only list names them",
    )
    parser.add_argument(
        "--python-libs",
        metavar="NAMES",
        type=split_names,
        help="libraries to compare, comma-separated; gevlite:select is gevlite on that backend "
        "(default: all, and where it matters gevlite's other backends)",
    )
    parser.add_argument(
        "--turns", type=int, help=f"how often each library has its turn (default: {FULL_TURNS}, quick {QUICK_TURNS})"
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="write JSON, tables and pictures there")
    options = parser.parse_args(arguments)

    load_cases()
    names = [name for group in options.only for name in group]
    if names == ["list"]:
        for case in CASES.values():
            print(f"{case.name:24} {case.subject:12} {case.title} ({', '.join(case.libraries)})")
        return 0
    subjects = {case.subject for case in CASES.values()}
    unknown = [name for name in names if name not in CASES and name not in subjects]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    known = {library for case in CASES.values() for library in case.libraries}
    libraries = options.python_libs or sorted(known - set(FLOORS), key=order)
    unknown = [name for name in libraries if name.partition(":")[0] not in known]
    if unknown:
        parser.error(f"no such library: {', '.join(unknown)}; there are {', '.join(sorted(known))}")

    chosen = [case for case in CASES.values() if case.name in names or case.subject in names]
    if not names:
        chosen = [case for case in CASES.values() if case.quick or not options.quick]
    turns = options.turns or (QUICK_TURNS if options.quick else FULL_TURNS)
    rounds = QUICK_ROUNDS if options.quick else FULL_ROUNDS
    wanted = [*libraries, *(name for name in FLOORS if name not in libraries)]
    others = [] if options.python_libs else other_backends()
    plan = [(case, libraries_of(case, wanted, others)) for case in chosen]
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)  # better now than after the last case
    report = Report(shlex.join(["python", "-m", "benchmarks", *arguments]), turns, [])
    progress = Progress(sum(len(names) * min(turns, case.most_turns) for case, names in plan))
    interrupted = False
    try:
        for case, names in plan:
            report.results.append(run_case(case, names, turns, rounds, progress))
    except KeyboardInterrupt:
        interrupted = True  # keep the cases that are complete
    progress.end()

    print(markdown(report))
    if options.output:
        for path in draw.write(report, options.output):
            print(path, file=sys.stderr)
    return 130 if interrupted else 0


def run_compare(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description="What got slower.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--library", default=BASE, help="whose figures (default: %(default)s)")
    parser.add_argument("--against", default="", metavar="LIBRARY", help="compare the ratios to it, not the figures")
    parser.add_argument("--threshold", type=float, default=0.1, help="how much worse is worse (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        old, new = Report.load(options.old), Report.load(options.new)
    except (OSError, ValueError) as exc:
        parser.error(str(exc))
    changes = compare(old, new, options.library, options.against, options.threshold)
    if not changes:
        parser.error(f"{options.old} has no figures of {options.library}")
    text, status = show(old, new, changes, options.against)
    print(text)
    return status


def run_draw(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks draw", description="The report of results in JSON.")
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        report = Report.load(options.results)
    except (OSError, ValueError) as exc:
        parser.error(str(exc))
    for path in draw.write(report, options.folder):
        print(path)
    return 0


COMMANDS = {"compare": run_compare, "draw": run_draw}


def main() -> int:
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:])
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
