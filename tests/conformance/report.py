"""Writes docs/conformance.md from results of `runner.py --output`: `python tests/conformance/report.py *.json`."""

import json
import sys
import tomllib
from pathlib import Path

from runner import GOOD, KNOWN, KNOWN_WITH_LOOP, MODULES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"

HEAD = """\
# CPython's own tests, patched

CPython's own tests show whether patched code behaves like the original. The test modules that are installed with the
interpreter are run twice, unmodified: once unpatched, and once after `monkey.patch_all()`. A test that passes unpatched
must also pass patched. Each test has a time limit of 60 seconds, so a hang counts as a failure, and so does a crash.

`tox -e conformance` runs all the tests, and `tests/conformance/report.py` writes this page. gevlite's own test suite
always runs the quick modules. Tests that need a network or a screen are not run.

Some tests loop without ever blocking. The list of differences says of those that they pass with
[time slices](time-slices.md), and gevlite's test suite runs them with slices of 10 ms.

In a patched process asyncio makes [loops of gevlite](asyncio.md), and `test_asyncio` runs with them, except where it
asks for another loop.
"""


def modules_of(result, name):
    """The results for one of `MODULES`, which may be a package of several."""
    return [module for key, module in result["modules"].items() if key == f"test.{name}" or f".{name}." in key]


def good(results):
    return {ident for ident, result in results["tests"].items() if result["outcome"] in GOOD}


def cell(result, name):
    if name in result["absent"]:
        return "absent", 0, 0
    wanted = passed = 0
    for module in modules_of(result, name):
        wanted += len(good(module["plain"]))
        passed += len(good(module["plain"])) - len(module["different"])
    return f"{passed} of {wanted}", wanted, passed


def page(results):
    lines = [HEAD, "## Results", ""]
    titles = [
        f"{result['python']}" + ("" if result["backend"] == "default" else f", {result['backend']}")
        for result in results
    ]
    lines += ["Of the tests that pass unpatched, this many pass patched:", ""]
    lines += [f"| module | {' | '.join(titles)} |", f"|---|{'---:|' * len(results)}"]
    totals = [[0, 0] for _ in results]
    for name in MODULES:
        row = []
        for total, result in zip(totals, results, strict=True):
            text, wanted, passed = cell(result, name)
            total[0] += wanted
            total[1] += passed
            row.append(text)
        lines.append(f"| `{name}` | {' | '.join(row)} |")
    lines.append(f"| all | {' | '.join(f'{passed} of {wanted}' for wanted, passed in totals)} |")
    lines += ["", "*absent*: the interpreter does not ship the module.", "", "## What differs, and why", ""]
    with open(KNOWN, "rb") as file:
        entries = tomllib.load(file)["difference"]
    for entry in entries:
        names = ", ".join(f"`{ident.removeprefix('test.')}`" for ident in entry["tests"])
        sliced = " Passes with [time slices](time-slices.md)." if "time_slice" in entry else ""
        lines.append(f"- {names} ({', '.join(entry['versions'])}): {entry['reason']}{sliced}")
    lines += ["", "## Outside the comparison", "", "Tests that do not pass unpatched on the machine that ran this:", ""]
    for title, result in zip(titles, results, strict=True):
        failed = sorted(
            f"`{ident.removeprefix('test.')}` ({test['outcome']})"
            for module in result["modules"].values()
            for ident, test in module["plain"]["tests"].items()
            if test["outcome"] not in GOOD
        )
        lines.append(f"- {title}: {', '.join(failed) or 'nothing'}")
    return "\n".join(lines) + "\n"


def with_loop(results):
    """The section on `runner.py --loop`."""
    lines = ["", "## asyncio's tests with gevlite's event loop", ""]
    lines += ["`runner.py --loop` runs `test_asyncio` with loops of [`gevlite.asyncio`](asyncio.md) in the place of"]
    lines += [
        "asyncio's own, and nothing else patched. Tests that pass with asyncio's loop, and how many of them pass",
        "",
    ]
    lines[-2] += " with gevlite's:"
    lines += ["| Python | passed |", "|---|---:|"]
    lines += [f"| {result['python']} | {cell(result, 'test_asyncio')[0]} |" for result in results]
    lines += [""]
    with open(KNOWN_WITH_LOOP, "rb") as file:
        entries = tomllib.load(file)["difference"]
    for entry in entries:
        names = ", ".join(f"`{ident.removeprefix('test.test_asyncio.')}`" for ident in entry["tests"])
        lines.append(f"- {names} ({', '.join(entry['versions'])}): {entry['reason']}")
    return "\n".join(lines) + "\n"


def main(paths):
    results = [json.loads(Path(path).read_text()) for path in paths]
    PAGE.write_text(
        page([result for result in results if not result.get("loop")])
        + with_loop([result for result in results if result.get("loop")])
    )
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main(sys.argv[1:])
