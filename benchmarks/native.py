"""Compiles the C programs of this folder when they are first used."""

import hashlib
import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def compiled(name: str, *options: str) -> str:
    """The path of the program made from `name`.c; kept in a cache folder under the hash of its source.

    With the options -shared and -fPIC it is a library.
    """
    source = HERE / f"{name}.c"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    written = source.read_bytes() + (HERE / "benchmark.h").read_bytes()
    digest = hashlib.sha256(written + " ".join([compiler, *options]).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gevlite-benchmarks"
    program = cache / f"{name}-{digest}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch) / name
            subprocess.run([compiler, "-O2", "-Wall", *options, "-o", made, source], check=True)
            made.rename(program)
    return str(program)
