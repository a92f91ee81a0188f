"""Child processes: many short ones at once, and much data through one."""

import importlib

from benchmarks.case import ASYNC, GREEN, Case, Target

MEGABYTES = 16

children = Case(
    "subprocess_children",
    "100 children (`true`) at once, start + wait",
    n=1,
    per=100,
    clock="wall",
    must=(Target.faster("gevent", 1),),
)
communicate = Case(
    "subprocess_communicate",
    f"`communicate` with `cat`, {MEGABYTES} MiB both ways",
    n=1,
    clock="wall",
    must=(Target.faster("gevent", 1),),
)


@children.on(*GREEN)
def _(lib, n):
    subprocess = importlib.import_module(f"{lib.name}.subprocess")
    for _ in range(n):
        lib.joinall([lib.spawn(subprocess.call, ["true"]) for _ in range(100)], raise_error=True)


@children.on(*ASYNC)
async def _(lib, n):
    import asyncio

    async def child():
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

    for _ in range(n):
        await asyncio.gather(*[child() for _ in range(100)])


@children.on("python")
def _(lib, n):
    """A thread for each."""
    import subprocess
    import threading

    for _ in range(n):
        threads = [threading.Thread(target=subprocess.call, args=(["true"],)) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _exchange(subprocess, n):
    data = bytes(MEGABYTES << 20)
    for _ in range(n):
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, _ = process.communicate(data)
        if len(out) != len(data):
            raise RuntimeError(f"{len(out)} bytes came back")


@communicate.on(*GREEN)
def _(lib, n):
    _exchange(importlib.import_module(f"{lib.name}.subprocess"), n)


@communicate.on("python")
def _(lib, n):
    import subprocess

    _exchange(subprocess, n)


@communicate.on(*ASYNC)
async def _(lib, n):
    import asyncio
    from subprocess import PIPE

    data = bytes(MEGABYTES << 20)
    for _ in range(n):
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        out, _ = await process.communicate(data)
        if len(out) != len(data):
            raise RuntimeError(f"{len(out)} bytes came back")


def test_subprocess_children(bench, lib):
    bench(children, lib)


def test_subprocess_communicate(bench, lib):
    bench(communicate, lib)
