"""Starting a greenlet and waiting for its end."""

from benchmarks.case import ASYNC, BLOCKING, Case, Target

BATCH = 1000

spawn = Case(
    "spawn", f"`spawn` + `joinall` of a no-op, {BATCH} at a time", n=10, per=BATCH, must=(Target.faster("gevent", 7),)
)


def nothing():
    pass


@spawn.on(*BLOCKING)
def _(lib, n):
    spawn = lib.spawn
    for _ in range(n):
        lib.joinall([spawn(nothing) for _ in range(BATCH)])


@spawn.on("greenlet")
def _(lib, n):
    """Made, run and finished one after the other: no scheduler, no waiting."""
    from greenlet import greenlet

    for _ in range(n):
        for g in [greenlet(nothing) for _ in range(BATCH)]:
            g.switch()


@spawn.on(*ASYNC)
async def _(lib, n):
    import asyncio

    async def nothing():
        pass

    for _ in range(n):
        await asyncio.gather(*[asyncio.create_task(nothing()) for _ in range(BATCH)])


def test_spawn(bench, lib):
    bench(spawn, lib)
