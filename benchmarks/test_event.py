"""Events: two greenlets that wake each other in turn."""

from benchmarks.case import ASYNC, GREEN, Case, Target

event_ping_pong = Case(
    "event_ping_pong", "Event ping-pong, two greenlets, a round trip", n=10_000, must=(Target.faster("gevent", 4),)
)


@event_ping_pong.on(*GREEN)
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


def test_event_ping_pong(bench, lib):
    bench(event_ping_pong, lib)
