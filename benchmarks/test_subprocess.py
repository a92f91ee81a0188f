"""Child processes: many short ones at once, and much data through one."""

from benchmarks.case import ASYNC, BLOCKING, Case, Target

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


@children.on(*BLOCKING)
def _(lib, n):
    call = lib.subprocess.call
    for _ in range(n):
        lib.joinall([lib.spawn(call, ["true"]) for _ in range(100)], raise_error=True)


@children.on(*ASYNC)
async def _(lib, n):
    import asyncio

    async def child():
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()

    for _ in range(n):
        await asyncio.gather(*[child() for _ in range(100)])


def _exchange(subprocess, n):
    data = bytes(MEGABYTES << 20)
    for _ in range(n):
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, _ = process.communicate(data)
        if len(out) != len(data):
            raise RuntimeError(f"{len(out)} bytes came back")


@communicate.on(*BLOCKING)
def _(lib, n):
    _exchange(lib.subprocess, n)


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
