"""Switching: many greenlets that do nothing but give way."""

import functools

from benchmarks.case import ASYNC, BLOCKING, Case, Target

GREENLETS = 100

sleep0 = Case(
    "sleep0",
    f"`sleep(0)`, {GREENLETS} greenlets",
    n=500,
    per=GREENLETS,
    must=(Target.within("greenlet", 1.5), Target.faster("gevent", 3.5)),
)


@sleep0.on(*BLOCKING)
def _(lib, n):
    sleep = lib.sleep

    def run():
        for _ in range(n):
            sleep(0)

    lib.joinall([lib.spawn(run) for _ in range(GREENLETS)])


@sleep0.on("greenlet")
def _(lib, n):
    """A ring with no scheduler at all: one switch for each operation, the least that giving way can cost."""
    from greenlet import greenlet

    def run(following):
        switch = following.switch
        for _ in range(n):
            switch()

    ring = [greenlet() for _ in range(GREENLETS)]
    for g, following in zip(ring, ring[1:] + ring[:1], strict=True):
        g.run = functools.partial(run, following)
    ring[0].switch()
    for g in ring[1:]:
        g.switch()  # the first one to end came here; the others have one switch to return from


@sleep0.on(*ASYNC)
async def _(lib, n):
    import asyncio

    async def run():
        for _ in range(n):
            await asyncio.sleep(0)

    await asyncio.gather(*[run() for _ in range(GREENLETS)])


def test_sleep0(bench, lib):
    bench(sleep0, lib)
