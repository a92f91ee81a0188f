"""Which lines of the Python and Cython files the tests run, by coverage.py and Cython's plug-in for it.

    python tests/under_coverage.py [--show FILE]... [TESTS ...]

TESTS are folders and files in tests/; without any, the folders that test most of the core. Works on a copy of this
tree, in build/coverage, in which every module is compiled with line tracing. The report goes to standard output and, as
pages that show each line, to build/coverage/html; --show prints the lines that were not run.

Each file is run by a process of its own. Its tests need not pass: some fail with a tracer, and are named. After Ctrl-C
the report covers what has been run until then.

A figure is a hint at what no test reaches, not a goal. These lines are run but not counted: functions with `nogil`,
inline functions of a `.pxd` file, and what runs in another process.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[1]
COPY = TREE / "build" / "coverage"
FOLDERS = ("core", "primitives", "socket", "backends", "files", "process")
# Tests that set a tracer of their own, or make the hub itself wait in a traced line, which breaks the rest.
NOT_HERE = ("test_tracing.py", "test_attach.py", "test_hub_waits.py")
SECONDS = 900  # for a file
SETTINGS = """
[run]
plugins = Cython.Coverage
concurrency = greenlet, thread
core = ctrace
sigterm = True
source =
    gevlite
    backends
data_file = .coverage
parallel = True
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


def cover(file):
    """Run the tests in `file`; False if some failed."""
    command = ["-m", "coverage", "run", "--rcfile=coveragerc", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command = [sys.executable, *command, "--maxfail=3", "--tb=line", file]
    test = subprocess.Popen(command, cwd=COPY, env={**os.environ, "PYTHONPATH": str(COPY)})
    try:
        return test.wait(SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        test.send_signal(signal.SIGINT)  # it then writes what it has covered
        try:
            test.wait(30)
        except subprocess.TimeoutExpired:
            test.kill()  # the data has been written; a thread of a failed test keeps the process alive
            test.wait()


def files_of(names):
    for name in names:
        path = COPY / name
        for file in sorted(path.rglob("test_*.py")) if path.is_dir() else [path]:
            if file.name not in NOT_HERE:
                yield str(file.relative_to(COPY))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="append", default=[], metavar="FILE", help="print its lines that were not run")
    parser.add_argument("tests", nargs="*", default=[f"tests/{folder}" for folder in FOLDERS])
    options = parser.parse_args()
    copy_tree()
    run("setup.py", "-q", "build_ext", "--inplace", GEVLITE_COVERAGE="1", CFLAGS="-g0 -O0")
    for data in COPY.glob(".coverage*"):
        data.unlink()
    failed = []
    try:
        failed.extend(file for file in files_of(options.tests) if not cover(file))
    except KeyboardInterrupt:
        print("interrupted")
    coverage, common = ("-m", "coverage"), ("--rcfile=coveragerc",)
    run(*coverage, "combine", *common, "-q")
    run(*coverage, "report", *common)
    run(*coverage, "html", *common, "-q", "-d", "html")
    for name in options.show:
        run(*coverage, "report", *common, "-m", f"--include={name}")
    if failed:
        print("tests that failed in:", *failed)


if __name__ == "__main__":
    main()
