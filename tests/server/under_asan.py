"""The tests and the fuzzers of the web server under AddressSanitizer, which ends the process at a read beyond the data.

    python tests/server/under_asan.py [--seconds 60] [--fuzz http websocket proxies] [--tests [FILE ...]]

Works on a copy of this tree, in which it compiles the parser and what is below it; the other modules are those that
this tree has built. Needs gcc with libasan.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TREE = Path(__file__).parents[2]
COPY = TREE / "build" / "asan"
INSTRUMENTED = ("gevlite/_http/*", "gevlite/_socketio.*", "gevlite/_sslio.*")
TESTS = ("test_wsgi_http.py", "test_wsgi_bodies.py", "test_wsgi_hooks.py", "test_wsgi.py")
# Their tests with random input have another seed each time.
FUZZERS = {
    "websocket": ("test_websocket_fuzz.py", "at_random or whatever_comes"),
    "proxies": ("test_proxies.py", "test_random or hide"),
}
# Greenlets move their stacks about, so what is on a stack is not watched.
CFLAGS = "-O1 -g1 -fno-omit-frame-pointer -fsanitize=address --param asan-stack=0"


def library(name):
    compiler = os.environ.get("CC", "gcc").split()
    path = subprocess.check_output([*compiler, f"-print-file-name={name}"], text=True).strip()
    if not os.path.isabs(path):
        sys.exit(f"the C compiler has no {name}")
    return path


def copy_tree():
    shutil.rmtree(COPY, ignore_errors=True)  # modules that were moved since would be built as well
    for folder in ("gevlite", "backends", "tests/server"):
        shutil.copytree(TREE / folder, COPY / folder, dirs_exist_ok=True, ignore=_not_needed)
    for name in (
        "setup.py",
        "pyproject.toml",
        "conftest.py",
        "README.md",
        "LICENSE",
        "tests/conftest.py",
        "tests/processes.py",
    ):
        shutil.copy2(TREE / name, COPY / name)


def _not_needed(folder, names):
    """Modules that are built here and must not be, or vice versa: setup.py builds every `.pyx` that it finds."""
    unwanted = ["__pycache__"]
    for name in names:
        path = (Path(folder) / name).relative_to(TREE)
        if name.endswith(".so" if any(map(path.match, INSTRUMENTED)) else ".pyx"):
            unwanted.append(name)
    return unwanted


def build():
    environment = {**os.environ, "CFLAGS": CFLAGS, "LDFLAGS": "-fsanitize=address"}
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=COPY, env=environment, check=True)


def run(*command, **variables):
    environment = {
        **os.environ,
        **variables,
        "PYTHONPATH": str(COPY),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": f"{library('libasan.so')} {library('libstdc++.so')}",
        # Python keeps much until its end.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
    }
    done = subprocess.run([sys.executable, *map(str, command)], cwd=COPY, env=environment)
    if done.returncode:
        sys.exit(done.returncode)


def fuzz_by_tests(name, chosen, seconds):
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        seed = str(new_seed())
        print(f"{name} with GEVLITE_SEED={seed}", flush=True)
        options = ("-q", "-p", "no:cacheprovider", "-o", "timeout=600", "-k", chosen)
        run("-m", "pytest", *options, f"tests/server/{name}", GEVLITE_SEED=seed)
        rounds += 1
    print(f"{name}: {rounds} rounds in {seconds:.0f} s", flush=True)


def new_seed():
    return time.time_ns() % 10**9 + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each fuzzer")
    parser.add_argument("--fuzz", nargs="+", default=["http"], choices=["http", *FUZZERS], help="what")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="files in tests/server")
    options = parser.parse_args()
    copy_tree()
    build()
    run("-c", "from gevlite._http import connection; assert 'asan' in connection.__file__")
    if options.tests:
        run("-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/server/{name}" for name in options.tests))
    for what in options.fuzz if options.seconds else ():
        if what == "http":
            run("tests/server/fuzz_http.py", "--seconds", options.seconds, "--seed", new_seed())
        else:
            fuzz_by_tests(*FUZZERS[what], options.seconds)


if __name__ == "__main__":
    main()
