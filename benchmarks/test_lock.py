"""Locks."""

from benchmarks.case import ASYNC, GREEN, Case, Target

semaphore = Case(
    "semaphore", "Semaphore, `acquire` + `release`, uncontended", n=100_000, must=(Target.faster("gevent", 1),)
)


@semaphore.on(*GREEN)
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


def test_semaphore(bench, lib):
    bench(semaphore, lib)
