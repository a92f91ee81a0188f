"""How long a process takes to start with everything patched."""

import os
import subprocess
import sys
import time

from benchmarks.case import GREEN, Case, Metric, Target

startup = Case(
    "startup",
    "a process that imports and does `patch_all()`",
    rounds=1,
    metrics=(Metric("CPU time", must=(Target.faster("gevent", 1),)), Metric("wall time")),
)


def _run(code):
    """-P: installed packages come before those in the current folder."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-P", "-c", code], stderr=subprocess.PIPE, text=True)
    message = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(message.strip().splitlines()[-1] if message else f"exit code {child.returncode}")
    return {"CPU time": usage.ru_utime + usage.ru_stime, "wall time": wall}


@startup.on(*GREEN)
def _(lib, n):
    return _run(f"import {lib.name}.monkey; {lib.name}.monkey.patch_all()")


@startup.on("eventlet")
def _(lib, n):
    return _run("import eventlet; eventlet.monkey_patch()")


@startup.on("python")
def _(lib, n):
    """The bare interpreter, and the modules that a network program imports anyway."""
    return _run("import socket, ssl, select, threading, queue, subprocess, signal")


def test_startup(bench, lib):
    bench(startup, lib)
