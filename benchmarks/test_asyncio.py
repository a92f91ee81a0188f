"""The event loop of `gevlite.asyncio` beside asyncio's own and uvloop, with the same coroutines; and the bridges."""

from benchmarks.case import ASYNC, Case, Metric, Target
from benchmarks.network import certificate, compiled, python
from benchmarks.test_echo import figures, metrics

TASKS = 100
FASTER = (Target.faster("asyncio", 1), Target.faster("uvloop", 1.3))


def in_each_loop(case):
    """Decorate a coroutine function `(lib, n)`: it is run by the loop of each library."""

    def decorate(body):
        @case.on("gevlite")
        def _(lib, n):
            import gevlite.asyncio

            return gevlite.asyncio.run(body(lib, n))

        case.on(*ASYNC)(body)
        return body

    return decorate


loop_sleep = Case(
    "loop_sleep", f"`await asyncio.sleep(0)`, {TASKS} tasks in turn, each", n=1000, per=TASKS, must=FASTER
)
loop_call_soon = Case("loop_call_soon", "`loop.call_soon` and the call", n=100_000, must=FASTER[:1])
loop_sleepers = Case("loop_sleepers", "10,000 sleeping tasks, each", n=10_000, must=FASTER)
loop_timeouts = Case("loop_timeouts", "`loop.call_later(...).cancel()`", n=50_000, must=FASTER)
loop_make = Case("loop_make", "make an event loop and close it", n=200, must=FASTER[:1])
wait_round_trip = Case(
    "wait_round_trip",
    "greenlet, coroutine, greenlet: `gevlite.asyncio.wait`",
    n=10_000,
    must=(Target.at_most(10e-6, "10 µs"),),
)
spawn_round_trip = Case(
    "spawn_round_trip",
    "coroutine, greenlet, coroutine: `await gevlite.asyncio.spawn`; `asyncio.to_thread`",
    n=2000,
    must=(Target.faster("asyncio", 1),),
)

attached_round_trip = Case(
    "attached_round_trip",
    "coroutine, greenlet, coroutine in asyncio's own loop with `attach()`; `loop.run_in_executor`",
    n=2000,
    must=(Target.faster("asyncio", 1), Target.faster("uvloop", 1)),
)


@in_each_loop(loop_sleep)
async def _(lib, n):
    import asyncio

    async def task():
        sleep = asyncio.sleep
        for _ in range(n):
            await sleep(0)

    await asyncio.gather(*[task() for _ in range(TASKS)])


@in_each_loop(loop_call_soon)
async def _(lib, n):
    import asyncio

    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def call(left):
        if left:
            loop.call_soon(call, left - 1)
        elif not done.done():
            done.set_result(None)

    for _ in range(10):
        loop.call_soon(call, n // 10)
    await done


@in_each_loop(loop_sleepers)
async def _(lib, n):
    import asyncio

    await asyncio.gather(*[asyncio.sleep(0.01) for _ in range(n)])


@in_each_loop(loop_timeouts)
async def _(lib, n):
    import asyncio

    later = asyncio.get_running_loop().call_later
    for _ in range(n):
        later(10, print).cancel()


@loop_make.on("gevlite")
def _(lib, n):
    from gevlite.asyncio import EventLoop

    for _ in range(n):
        EventLoop().close()


@loop_make.on(*ASYNC)
def _(lib, n):
    new_event_loop = lib.find_loop()
    for _ in range(n):
        new_event_loop().close()


async def nothing():
    pass


@wait_round_trip.on("gevlite")
def _(lib, n):
    from gevlite.asyncio import wait

    for _ in range(n):
        wait(nothing())


@spawn_round_trip.on("gevlite")
def _(lib, n):
    import gevlite.asyncio

    async def main():
        spawn = gevlite.asyncio.spawn
        for _ in range(n):
            await spawn(int)

    gevlite.asyncio.run(main())


@spawn_round_trip.on(*ASYNC)
async def _(lib, n):
    import asyncio

    for _ in range(n):
        await asyncio.to_thread(int)


@attached_round_trip.on("gevlite")
def _(lib, n):
    import asyncio

    import gevlite.asyncio

    async def main():
        spawn = gevlite.asyncio.spawn
        with gevlite.asyncio.attach():
            for _ in range(n):
                await spawn(int)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


@attached_round_trip.on(*ASYNC)
async def _(lib, n):
    import asyncio

    loop = asyncio.get_running_loop()
    for _ in range(n):
        await loop.run_in_executor(None, int)


def server_of(lib, what, own):
    return python("servers.py", what, "gevlite.asyncio" if lib.name == "gevlite" else lib.name, own)


def echo_case(what, connections, quick=False):
    case = Case(
        f"loop_{what}_{connections}",
        f"TCP {what.replace('_', ' by ')}, {connections:,} connection{'s' * (connections > 1)}",
        rounds=1,
        quick=quick,
        metrics=metrics(Target.within("uvloop", 1), Target.within("asyncio", 1)),
    )

    @case.on("gevlite", *ASYNC)
    def _(lib, n):
        return figures(server_of(lib, what, "-"), [compiled("echo_client")], connections)

    return case


ECHOES = {
    case.name: case
    for case in [echo_case(what, n, n == 100) for what in ("echo", "echo_streams") for n in (100, 1, 1000)]
}

loop_tls = Case(
    "loop_tls",
    "TLS echo by a protocol, 100 connections",
    rounds=1,
    quick=False,
    metrics=(
        Metric("server CPU for each request", "s", (Target.within("asyncio", 1),)),
        Metric("throughput", "/s"),
        Metric("latency, median"),
        Metric("latency, 99th percentile"),
    ),
)


@loop_tls.on("gevlite", *ASYNC)
def _(lib, n):
    own, authority = certificate()
    return figures(server_of(lib, "echo", own), python("tls_client.py", authority, "echo"), 100)


def test_loop_sleep(bench, lib):
    bench(loop_sleep, lib)


def test_loop_call_soon(bench, lib):
    bench(loop_call_soon, lib)


def test_loop_sleepers(bench, lib):
    bench(loop_sleepers, lib)


def test_loop_timeouts(bench, lib):
    bench(loop_timeouts, lib)


def test_loop_make(bench, lib):
    bench(loop_make, lib)


def test_wait_round_trip(bench, lib):
    bench(wait_round_trip, lib)


def test_spawn_round_trip(bench, lib):
    bench(spawn_round_trip, lib)


def test_attached_round_trip(bench, lib):
    bench(attached_round_trip, lib)


def test_loop_echo_100(bench, lib):
    bench(ECHOES["loop_echo_100"], lib)


def test_loop_echo_1(bench, lib):
    bench(ECHOES["loop_echo_1"], lib)


def test_loop_echo_1000(bench, lib):
    bench(ECHOES["loop_echo_1000"], lib)


def test_loop_echo_streams_100(bench, lib):
    bench(ECHOES["loop_echo_streams_100"], lib)


def test_loop_echo_streams_1(bench, lib):
    bench(ECHOES["loop_echo_streams_1"], lib)


def test_loop_echo_streams_1000(bench, lib):
    bench(ECHOES["loop_echo_streams_1000"], lib)


def test_loop_tls(bench, lib):
    bench(loop_tls, lib)
