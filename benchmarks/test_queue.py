"""Queues: handing items from one greenlet to another, and the cost without a waiter."""

from benchmarks import waking
from benchmarks.case import ASYNC, BLOCKING, GREEN, Case, Target

queue_rendezvous = Case(
    "queue_rendezvous", "Queue(1), producer and consumer, each item", n=10_000, must=(Target.faster("gevent", 4),)
)
queue_put_get = Case(
    "queue_put_get", "unbounded Queue, `put` + `get`, nobody waits", n=100_000, must=(Target.faster("gevent", 1),)
)
priority_queue_put_get = Case(
    "priority_queue_put_get",
    "PriorityQueue of 100, `put` + `get`",
    n=50_000,
    must=(Target.faster("gevent", 1),),
    quick=False,
)
queue_wake = waking.waking_case("queue_wake", "`Queue.put`, one of those who wait in `get`")


@queue_rendezvous.on(*BLOCKING)
def _(lib, n):
    queue = lib.Queue(1)

    def produce():
        for i in range(n):
            queue.put(i)

    def consume():
        for _ in range(n):
            queue.get()

    lib.joinall([lib.spawn(produce), lib.spawn(consume)])


@queue_rendezvous.on(*ASYNC)
async def _(lib, n):
    import asyncio

    queue = asyncio.Queue(1)

    async def produce():
        for i in range(n):
            await queue.put(i)

    async def consume():
        for _ in range(n):
            await queue.get()

    await asyncio.gather(produce(), consume())


@queue_put_get.on(*BLOCKING)
def _(lib, n):
    queue = lib.Queue()
    put, get = queue.put, queue.get
    for i in range(n):
        put(i)
        get()


@queue_put_get.on(*ASYNC)
async def _(lib, n):
    import asyncio

    queue = asyncio.Queue()
    put, get = queue.put, queue.get
    for i in range(n):
        await put(i)
        await get()


@priority_queue_put_get.on(*BLOCKING)
def _(lib, n):
    queue = lib.PriorityQueue()
    put, get = queue.put, queue.get
    for i in range(100):
        put(i)
    for i in range(n):
        put(i % 100)
        get()


@priority_queue_put_get.on(*ASYNC)
async def _(lib, n):
    import asyncio

    queue = asyncio.PriorityQueue()
    put, get = queue.put, queue.get
    for i in range(100):
        await put(i)
    for i in range(n):
        await put(i % 100)
        await get()


@queue_wake.on(*GREEN, "eventlet")
def _(lib, n):
    def make():
        queue = lib.Queue()
        return queue.get, lambda: queue.put(1)

    return waking.green(lib, n, make)


@queue_wake.on("greenlet")
def _(lib, n):
    return waking.raw(n)


@queue_wake.on(*ASYNC)
async def _(lib, n):
    import asyncio

    def make():
        queue = asyncio.Queue()
        return queue.get, lambda: queue.put_nowait(1)

    return await waking.coroutines(n, make)


def test_priority_queue_put_get(bench, lib):
    bench(priority_queue_put_get, lib)


def test_queue_wake(bench, lib):
    bench(queue_wake, lib)


def test_queue_rendezvous(bench, lib):
    bench(queue_rendezvous, lib)


def test_queue_put_get(bench, lib):
    bench(queue_put_get, lib)
