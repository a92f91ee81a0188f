"""Locks: without a waiter, with two that take turns, with many."""

from benchmarks import waking
from benchmarks.case import ASYNC, BLOCKING, GREEN, Case, Target

semaphore = Case(
    "semaphore", "Semaphore, `acquire` + `release`, uncontended", n=100_000, must=(Target.faster("gevent", 1),)
)
rlock = Case("rlock", "RLock, `with`, taken again inside", n=100_000, must=(Target.faster("gevent", 1),))
semaphore_wake = waking.waking_case("semaphore_wake", "`Semaphore.release`, one of those who wait")


@semaphore.on(*BLOCKING)
def _(lib, n):
    lock = lib.Semaphore(1)
    acquire, release = lock.acquire, lock.release
    for _ in range(n):
        acquire()
        release()


@semaphore.on(*ASYNC)
async def _(lib, n):
    import asyncio

    lock = asyncio.Semaphore(1)
    acquire, release = lock.acquire, lock.release
    for _ in range(n):
        await acquire()
        release()


@rlock.on(*GREEN, "threads")
def _(lib, n):
    lock = lib.RLock()
    for _ in range(n):
        with lock, lock:
            pass


@semaphore_wake.on(*GREEN, "eventlet")
def _(lib, n):
    def make():
        lock = lib.Semaphore(0)
        return lock.acquire, lock.release

    return waking.green(lib, n, make)


@semaphore_wake.on("greenlet")
def _(lib, n):
    return waking.raw(n)


@semaphore_wake.on(*ASYNC)
async def _(lib, n):
    import asyncio

    def make():
        lock = asyncio.Semaphore(0)
        return lock.acquire, lock.release

    return await waking.coroutines(n, make)


def test_rlock(bench, lib):
    bench(rlock, lib)


def test_semaphore_wake(bench, lib):
    bench(semaphore_wake, lib)


def test_semaphore(bench, lib):
    bench(semaphore, lib)
