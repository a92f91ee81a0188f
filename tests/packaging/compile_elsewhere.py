"""Compile every module of gevlite for macOS and the BSDs, against their own headers; any warning is an error.

Run by `tox -e kqueue-cross`. The compiler and the systems' headers come with `ziglang` from PyPI: Darwin's, FreeBSD's,
OpenBSD's and NetBSD's, as their vendors publish them.

This shows that each name, type, constant and prototype that the C code uses exists there and fits, on both
architectures, and that both sides of each feature check compile. CPython's headers are those of the running Python,
with cross/pyconfig.h in place of the host's. It does not show that the code links, or how it behaves.
"""

import argparse
import concurrent.futures
import os
import runpy
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from unittest import mock

from Cython.Build import cythonize

ROOT = Path(__file__).resolve().parents[2]
CROSS = Path(__file__).parent / "cross"

# zig's name of the target: the value of sys.platform there.
TARGETS = {
    "aarch64-macos": "darwin",
    "x86_64-macos": "darwin",
    "aarch64-freebsd": "freebsd",
    "x86_64-freebsd": "freebsd",
    "x86_64-openbsd": "openbsd",
    "x86_64-netbsd": "netbsd",
}

# The options of setup.py, and stricter ones.
FLAGS = ["-Wall", "-Wextra", "-Werror", "-O0"]

SIZES = """
#include <Python.h>
#include <pthread.h>
#include <stdalign.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>
_Static_assert(sizeof(_Bool) == SIZEOF__BOOL, "_Bool");
_Static_assert(sizeof(off_t) == SIZEOF_OFF_T, "off_t");
_Static_assert(sizeof(time_t) == SIZEOF_TIME_T, "time_t");
_Static_assert(sizeof(pid_t) == SIZEOF_PID_T, "pid_t");
_Static_assert(sizeof(pthread_t) == SIZEOF_PTHREAD_T, "pthread_t");
_Static_assert(alignof(max_align_t) == ALIGNOF_MAX_ALIGN_T, "max_align_t");
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    targets = parser.parse_args().targets or list(TARGETS)
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sizes.c").write_text(SIZES)
        headers = python_headers(folder)
        c_files = {platform: translate(folder, platform) for platform in {TARGETS[target] for target in targets}}
        jobs = [
            (target, source, [headers, *includes])
            for target in targets
            for source, includes in [(folder / "sizes.c", []), *c_files[TARGETS[target]]]
        ]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            problems = [output for output in pool.map(lambda job: compile_one(folder, *job), jobs) if output]
    for output in problems:
        print(output)
    print(f"{len(jobs) - len(problems)} of {len(jobs)} files compile, for {', '.join(targets)}")
    return bool(problems)


def python_headers(folder):
    """A folder with the running Python's headers, but not its pyconfig.h."""
    made = folder / "include"
    made.mkdir()
    for path in Path(sysconfig.get_path("include")).iterdir():
        if path.name != "pyconfig.h":
            (made / path.name).symlink_to(path)
    (made / "pyconfig.h").symlink_to(CROSS / "pyconfig.h")
    return made


def translate(folder, platform):
    """The modules of that platform, as `(C file, include folders)`, by setup.py's own rules."""
    with mock.patch("setuptools.setup"):
        rules = runpy.run_path("setup.py")
    modules = rules["modules"]
    extensions = cythonize(
        modules(platform),
        language_level=3,
        compiler_directives=rules["DIRECTIVES"],
        include_path=["."],
        build_dir=str(folder),
        quiet=True,
    )
    return [(folder / extension.sources[0], extension.include_dirs) for extension in extensions]


def compile_one(folder, target, source, includes):
    """The compiler's output, empty if there were no warnings."""
    result = subprocess.run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", target),
            *FLAGS,
            *(f"-I{include}" for include in includes),
            *("-c", source, "-o", folder / f"{target}-{source.stem}-{source.parent.name}.o"),
        ],
        capture_output=True,
        text=True,
    )
    if result.returncode or result.stderr:
        return f"---- {target}: {source.relative_to(folder)}\n{result.stderr}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
