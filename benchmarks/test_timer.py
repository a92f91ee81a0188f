"""Time: time-outs that do not fire, many sleepers, how exact a short sleep is, and the cost of a timer among others."""

import random
import time

from benchmarks.case import ASYNC, BLOCKING, GREEN, Case, Metric, Target

timeout = Case("timeout", "`with Timeout(10): pass`", n=30_000, must=(Target.faster("gevent", 4),))
sleepers = Case(
    "sleepers", "10,000 sleepers of 10 ms, each", n=10_000, clock="wall", must=(Target.faster("gevent", 6),)
)
sleep_accuracy = Case(
    "sleep_accuracy",
    "`sleep(0.0005)`, how late",
    n=300,
    rounds=1,
    metrics=(Metric("median"), Metric("99th percentile")),
)


@timeout.on(*GREEN, "eventlet")
def _(lib, n):
    Timeout = lib.Timeout
    for _ in range(n):
        with Timeout(10):
            pass


@timeout.on(*ASYNC)
async def _(lib, n):
    import asyncio

    timeout = asyncio.timeout
    for _ in range(n):
        async with timeout(10):
            pass


@sleepers.on(*BLOCKING)
def _(lib, n):
    spawn, sleep = lib.spawn, lib.sleep
    lib.joinall([spawn(sleep, 0.01) for _ in range(n)])


@sleepers.on(*ASYNC)
async def _(lib, n):
    import asyncio

    await asyncio.gather(*[asyncio.create_task(asyncio.sleep(0.01)) for _ in range(n)])


def _percentiles(late):
    late.sort()
    # A negative figure: it returned before its time, as uvloop does, whose clock counts whole milliseconds.
    return {"median": late[len(late) // 2], "99th percentile": late[len(late) * 99 // 100], "earliest": late[0]}


@sleep_accuracy.on(*BLOCKING)
def _(lib, n):
    sleep, now = lib.sleep, time.perf_counter
    late = []
    for _ in range(n):
        start = now()
        sleep(0.0005)
        late.append(now() - start - 0.0005)
    return _percentiles(late)


@sleep_accuracy.on(*ASYNC)
async def _(lib, n):
    import asyncio

    sleep, now = asyncio.sleep, time.perf_counter
    late = []
    for _ in range(n):
        start = now()
        await sleep(0.0005)
        late.append(now() - start - 0.0005)
    return _percentiles(late)


def _timers(n):
    return Case(
        f"timers_{n}",
        f"a timer among {n:,}",
        n=n,
        rounds=1,
        series="a timer among others; timers",
        size=n,
        metrics=(Metric("add"), Metric("cancel"), Metric("fire")),
        quick=n <= 100_000,
        most_turns=1000 if n <= 100_000 else 3,
    )


TIMERS = {n: _timers(n) for n in (1_000, 100_000, 1_000_000)}


class _TimerCosts:
    """CPU seconds for each timer to add, to cancel and to fire it, while n are pending. Deadlines in no order."""

    def __init__(self, start, cancel, n):
        self.start, self.cancel, self.n = start, cancel, n
        self.repeat = max(1, 20_000 // n)
        self.seconds = dict.fromkeys(("add", "cancel", "fire"), 0.0)
        self.pending = []

    def _add_to(self, metric, since):
        self.seconds[metric] += (time.process_time() - since) / (self.n * self.repeat)

    def add_and_cancel(self):
        delays = [random.uniform(100, 200) for _ in range(self.n)]
        order = random.sample(range(self.n), self.n)
        start, cancel = self.start, self.cancel
        for _ in range(self.repeat):
            since = time.process_time()
            handles = [start(delay, _nothing) for delay in delays]
            self._add_to("add", since)
            since = time.process_time()
            for i in order:
                cancel(handles[i])
            self._add_to("cancel", since)

    def add_due(self):
        """Timers that are due as soon as the loop looks; each takes one item off `pending`."""
        self.pending[:] = range(self.n)
        self.handles = [self.start(random.uniform(0, 0.001), self.pending.pop) for _ in range(self.n)]
        time.sleep(0.002)
        self.since = time.process_time()

    def all_fired(self):
        self._add_to("fire", self.since)
        self.handles.clear()


def _nothing():
    pass


def _green_timers(lib, n):
    costs = _TimerCosts(*lib.timer_functions(), n)
    costs.add_and_cancel()
    for _ in range(costs.repeat):
        costs.add_due()
        while costs.pending:
            lib.sleep(0)
        costs.all_fired()
    return costs.seconds


async def _async_timers(lib, n):
    import asyncio

    costs = _TimerCosts(asyncio.get_running_loop().call_later, lambda handle: handle.cancel(), n)
    costs.add_and_cancel()
    for _ in range(costs.repeat):
        costs.add_due()
        while costs.pending:
            await asyncio.sleep(0)
        costs.all_fired()
    return costs.seconds


for _case in TIMERS.values():
    _case.on(*GREEN, "eventlet")(_green_timers)
    _case.on(*ASYNC)(_async_timers)


def test_timeout(bench, lib):
    bench(timeout, lib)


def test_sleepers(bench, lib):
    bench(sleepers, lib)


def test_sleep_accuracy(bench, lib):
    bench(sleep_accuracy, lib)


def test_timers_1000(bench, lib):
    bench(TIMERS[1_000], lib)


def test_timers_100000(bench, lib):
    bench(TIMERS[100_000], lib)


def test_timers_1000000(bench, lib):
    bench(TIMERS[1_000_000], lib)
