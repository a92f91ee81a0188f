"""The cost of one wake-up while 1, 10, 100 or 10,000 greenlets wait: how many wait should make no difference.

Greenlets that were woken run and wait again before the next are woken, so a figure contains the wake-up, the switches
and the new wait. If a wake-up is for one greenlet, there are ten in a row; in a library that is not fair, the first one
woken may take all ten. The floor switches by hand among raw greenlets: its higher cost with 10,000 is that of memory
outside the processor's cache.
"""

import time

from benchmarks.case import BASE, Case, Metric

COUNTS = (1, 10, 100, 10_000)
AT_ONCE = 10  # woken together, if a wake-up is for one


def waking_case(name: str, title: str, quick: bool = False) -> Case:
    metrics = tuple(Metric(_metric(count), size=count) for count in COUNTS)
    return Case(name, title, n=20_000, rounds=1, metrics=metrics, remarks=_remarks, quick=quick)


def _metric(count: int) -> str:
    return f"{count:,} waiting"


def _remarks(result):
    for library in (BASE, "greenlet"):
        few, many = (result.value(_metric(count), library) for count in (10, 10_000))
        if few and many:
            yield f"{library}: one of 10,000 costs {many.median / few.median:.2f} times one of 10"


def _steps(n: int, count: int, wakes_all: bool):
    """How many are woken in a round, by how many calls, and the number of rounds."""
    woken = count if wakes_all else min(count, AT_ONCE)
    return woken, 1 if wakes_all else woken, max(n // woken, 2)


# ruff: noqa: B023  (the functions in the loops below are done with when their turn of the loop is)


def green(lib, n, make, wakes_all=False):
    """`make()` returns `wait` and `wake`; `wake` is for one of the waiters, or for all of them."""
    figures = {}
    sleep = lib.sleep
    for count in COUNTS:
        wait, wake = make()
        woken = 0
        stop = False

        def waiter(wait=wait):
            nonlocal woken
            while not stop:
                wait()
                woken += 1

        waiters = [lib.spawn(waiter) for _ in range(count)]
        sleep(0.001)
        at_once, calls, rounds = _steps(n, count, wakes_all)
        start = time.process_time()
        for target in range(at_once, at_once * rounds + 1, at_once):
            for _ in range(calls):
                wake()
            while woken < target:
                sleep(0)
        figures[_metric(count)] = (time.process_time() - start) / (at_once * rounds)
        stop = True
        for _ in range(1 if wakes_all else count):
            wake()
        lib.joinall(waiters)
    return figures


async def coroutines(n, make, wakes_all=False):
    """The same for asyncio; `wait` is a coroutine function."""
    import asyncio

    figures = {}
    sleep = asyncio.sleep
    for count in COUNTS:
        wait, wake = make()
        woken = 0
        stop = False

        async def waiter(wait=wait):
            nonlocal woken
            while not stop:
                await wait()
                woken += 1

        waiters = [asyncio.create_task(waiter()) for _ in range(count)]
        await sleep(0.001)
        at_once, calls, rounds = _steps(n, count, wakes_all)
        start = time.process_time()
        for target in range(at_once, at_once * rounds + 1, at_once):
            for _ in range(calls):
                wake()
            while woken < target:
                await sleep(0)
        figures[_metric(count)] = (time.process_time() - start) / (at_once * rounds)
        stop = True
        for _ in range(1 if wakes_all else count):
            wake()
        await asyncio.gather(*waiters)
    return figures


def raw(n):
    """Raw greenlets that are switched to, one after the other, and switch back."""
    from greenlet import getcurrent, greenlet

    figures = {}
    back = getcurrent().switch
    for count in COUNTS:
        stop = False

        def waiter():
            while not stop:
                back()

        waiters = [greenlet(waiter) for _ in range(count)]
        for g in waiters:
            g.switch()
        rounds = max(n // count, 2)
        start = time.process_time()
        for _ in range(rounds):
            for g in waiters:
                g.switch()
        figures[_metric(count)] = (time.process_time() - start) / (count * rounds)
        stop = True
        for g in waiters:
            g.switch()
    return figures
