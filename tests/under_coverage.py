"""Which lines of the Python and Cython files the tests run, by coverage.py and Cython's plug-in for it.

    python tests/under_coverage.py [--show FILE]... [TESTS ...]

TESTS are folders and files in tests/, or options of pytest; without any, the folders that say most about the core.
Works on a copy of this tree, in build/coverage, in which every module is compiled with line tracing. The report goes to
standard output and, as pages that show each line, to build/coverage/html; --show prints the lines that were not run.
Ctrl-C ends the tests, and what has been run until then is reported.

A figure is a hint at what no test reaches, not a goal. These lines are run and not counted: functions with `nogil`,
inline functions of a `.pxd` file, and what runs in another process.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[1]
COPY = TREE / "build" / "coverage"
FOLDERS = ("core", "primitives", "socket", "backends", "files", "process")
# What sets a tracer of its own.
NOT_HERE = ("tests/core/test_tracing.py", "tests/core/test_attach.py")
SETTINGS = """
[run]
plugins = Cython.Coverage
concurrency = greenlet, thread
core = ctrace
source =
    gevlite
    backends
data_file = .coverage
disable_warnings = no-ctracer
[report]
skip_empty = True
"""


def copy_tree():
    """Only what has changed, so that only that is compiled again."""
    listed = subprocess.check_output(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=TREE, text=True)
    for name in listed.split("\0"):
        source, target = TREE / name, COPY / name
        if not name or not source.is_file():
            continue
        if not target.exists() or source.stat().st_mtime != target.stat().st_mtime:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    backends = COPY / "gevlite" / "backends"
    if not backends.exists():
        backends.symlink_to("../backends")
    (COPY / "coveragerc").write_text(SETTINGS)


def run(*command, check=True, **variables):
    environment = {**os.environ, "PYTHONPATH": str(COPY), **variables}
    return subprocess.run([sys.executable, *map(str, command)], cwd=COPY, env=environment, check=check).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="append", default=[], metavar="FILE", help="print its lines that were not run")
    options, tests = parser.parse_known_args()
    copy_tree()
    run("setup.py", "-q", "build_ext", "--inplace", GEVLITE_COVERAGE="1", CFLAGS="-g0 -O0")
    coverage = ("-m", "coverage")
    common = ("--rcfile", "coveragerc")
    tests = tests or [f"tests/{folder}" for folder in FOLDERS]
    left_out = [f"--ignore={name}" for name in NOT_HERE]
    failed = run(
        *coverage, "run", *common, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=600",
        *left_out, *tests, check=False,
    )  # fmt: skip
    run(*coverage, "report", *common)
    run(*coverage, "html", *common, "-q", "-d", "html")
    for name in options.show:
        run(*coverage, "report", *common, "-m", f"--include={name}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
