"""Greenlet-local attributes: the cost for patched code that uses `threading.local`; for threads, the real one."""

from benchmarks.case import ASYNC, BLOCKING, Case, Target

GREENLETS = 100

NO_SLOWER = (Target.faster("gevent", 1),)
local_get = Case("local_get", "`local`, get an attribute", n=100_000, must=NO_SLOWER)
local_set = Case("local_set", "`local`, set an attribute", n=100_000, must=NO_SLOWER)
local_subclass = Case(
    "local_subclass",
    "a subclass of `local`: call a method that reads a property",
    n=50_000,
    must=NO_SLOWER,
    quick=False,
)
local_in_turns = Case(
    "local_in_turns",
    f"`local`, get in {GREENLETS} greenlets in turn, with the `sleep(0)` between",
    n=500,
    per=GREENLETS,
    must=NO_SLOWER,
    quick=False,
)
local_first = Case(
    "local_first",
    f"`local`, first use in a greenlet, with the spawn, {GREENLETS} at a time",
    n=50,
    per=GREENLETS,
    must=NO_SLOWER,
)


@local_get.on(*BLOCKING)
def _(lib, n):
    data = lib.local()
    data.x = 1
    for _ in range(n):
        data.x  # noqa: B018


@local_set.on(*BLOCKING)
def _(lib, n):
    data = lib.local()
    for i in range(n):
        data.x = i


@local_subclass.on(*BLOCKING)
def _(lib, n):
    class Data(lib.local):
        def __init__(self, x):
            self._x = x

        @property
        def x(self):
            return self._x

        def method(self):
            return self.x

    data = Data(1)
    for _ in range(n):
        data.method()


@local_in_turns.on(*BLOCKING)
def _(lib, n):
    data, sleep = lib.local(), lib.sleep

    def run():
        data.x = 1
        for _ in range(n):
            data.x  # noqa: B018
            sleep(0)

    lib.joinall([lib.spawn(run) for _ in range(GREENLETS)])


@local_first.on(*BLOCKING)
def _(lib, n):
    data = lib.local()

    def run():
        data.x = 1

    for _ in range(n):
        lib.joinall([lib.spawn(run) for _ in range(GREENLETS)])


# asyncio has context variables instead, of which each task has its own value too.


@local_get.on(*ASYNC)
async def _(lib, n):
    import contextvars

    x = contextvars.ContextVar("x")
    x.set(1)
    for _ in range(n):
        x.get()


@local_set.on(*ASYNC)
async def _(lib, n):
    import contextvars

    x = contextvars.ContextVar("x")
    for i in range(n):
        x.set(i)


@local_in_turns.on(*ASYNC)
async def _(lib, n):
    import asyncio
    import contextvars

    x = contextvars.ContextVar("x")

    async def run():
        x.set(1)
        for _ in range(n):
            x.get()
            await asyncio.sleep(0)

    await asyncio.gather(*[run() for _ in range(GREENLETS)])


@local_first.on(*ASYNC)
async def _(lib, n):
    import asyncio
    import contextvars

    x = contextvars.ContextVar("x")

    async def run():
        x.set(1)

    for _ in range(n):
        await asyncio.gather(*[asyncio.create_task(run()) for _ in range(GREENLETS)])


def test_local_get(bench, lib):
    bench(local_get, lib)


def test_local_set(bench, lib):
    bench(local_set, lib)


def test_local_subclass(bench, lib):
    bench(local_subclass, lib)


def test_local_in_turns(bench, lib):
    bench(local_in_turns, lib)


def test_local_first(bench, lib):
    bench(local_first, lib)
