"""Events and results: two greenlets that wake each other in turn, and one that wakes many."""

from benchmarks import waking
from benchmarks.case import ASYNC, BLOCKING, GREEN, Case, Target

event_ping_pong = Case(
    "event_ping_pong", "Event ping-pong, two greenlets, a round trip", n=10_000, must=(Target.faster("gevent", 4),)
)
event_set = waking.waking_case("event_set", "`Event.set`, each of those who wait", quick=True)
result = Case("result", "a result: make it, `set` it, wake a waiter in `get`", n=10_000)


@event_ping_pong.on(*BLOCKING)
def _(lib, n):
    ping, pong = lib.Event(), lib.Event()

    def player(mine, other):
        for _ in range(n):
            mine.wait()
            mine.clear()
            other.set()

    players = [lib.spawn(player, ping, pong), lib.spawn(player, pong, ping)]
    ping.set()
    lib.joinall(players)


@event_ping_pong.on(*ASYNC)
async def _(lib, n):
    import asyncio

    ping, pong = asyncio.Event(), asyncio.Event()

    async def player(mine, other):
        for _ in range(n):
            await mine.wait()
            mine.clear()
            other.set()

    ping.set()
    await asyncio.gather(player(ping, pong), player(pong, ping))


def waking_event(Event):
    event = Event()

    def wake():
        event.set()
        event.clear()

    return event.wait, wake


@event_set.on(*GREEN, "eventlet")
def _(lib, n):
    return waking.green(lib, n, lambda: waking_event(lib.Event), wakes_all=True)


@event_set.on("greenlet")
def _(lib, n):
    return waking.raw(n)


@event_set.on(*ASYNC)
async def _(lib, n):
    import asyncio

    return await waking.coroutines(n, lambda: waking_event(asyncio.Event), wakes_all=True)


@result.on(*GREEN, "eventlet")
def _(lib, n):
    AsyncResult = lib.AsyncResult
    sleep = lib.sleep
    current = AsyncResult()
    left = n

    def get():
        nonlocal current, left
        while left:
            current.get()
            current = AsyncResult()
            left -= 1

    lib.spawn(get)
    while left:
        sleep(0)
        current.set(1)


@result.on(*ASYNC)
async def _(lib, n):
    import asyncio

    Future = asyncio.get_running_loop().create_future
    current = Future()

    async def get():
        nonlocal current
        for _ in range(n):
            await current
            current = Future()

    getter = asyncio.create_task(get())
    while not getter.done():
        await asyncio.sleep(0)
        if not current.done():
            current.set_result(1)


def test_event_set(bench, lib):
    bench(event_set, lib)


def test_result(bench, lib):
    bench(result, lib)


def test_event_ping_pong(bench, lib):
    bench(event_ping_pong, lib)
