"""Pools: the extra cost of a bounded number of greenlets, and that of the way to a thread and back."""

from benchmarks.case import ASYNC, GREEN, Case, Target

BATCH = 1000
SIZE = 100

pool_spawn = Case(
    "pool_spawn",
    f"`Pool({SIZE}).spawn` of a no-op, {BATCH} at a time, and `join`",
    n=5,
    per=BATCH,
    must=(Target.faster("gevent", 4),),
)
pool_map = Case(
    "pool_map", f"`Pool({SIZE}).map` of a no-op, each item", n=5, per=BATCH, must=(Target.faster("gevent", 4),)
)
pool_imap = Case(
    "pool_imap",
    f"`Pool({SIZE}).imap_unordered` of a no-op, `maxsize` 50, each item",
    n=5,
    per=BATCH,
    must=(Target.faster("gevent", 3),),
    quick=False,
)
thread_round_trip = Case(
    "thread_round_trip",
    "a no-op in a worker thread, and its result, one after the other",
    n=2000,
    must=(Target.faster("gevent", 1),),
    clock="wall",
)
thread_map = Case(
    "thread_map", "`ThreadPool(4).map` of a no-op, each item", n=2, per=BATCH, must=(Target.faster("gevent", 1),)
)


def nothing(item=None):
    pass


@pool_spawn.on(*GREEN, "eventlet")
def _(lib, n):
    pool = lib.Pool(SIZE)
    for _ in range(n):
        for _ in range(BATCH):
            pool.spawn(nothing)
        pool.join()


@pool_spawn.on(*ASYNC)
async def _(lib, n):
    """Tasks that must acquire a semaphore, as is usual there."""
    import asyncio

    places = asyncio.Semaphore(SIZE)

    async def nothing():
        places.release()

    for _ in range(n):
        tasks = []
        for _ in range(BATCH):
            await places.acquire()
            tasks.append(asyncio.create_task(nothing()))
        await asyncio.gather(*tasks)


@pool_map.on(*GREEN)
def _(lib, n):
    pool = lib.Pool(SIZE)
    for _ in range(n):
        pool.map(nothing, range(BATCH))


@pool_map.on("eventlet")
def _(lib, n):
    pool = lib.Pool(SIZE)
    for _ in range(n):
        list(pool.imap(nothing, range(BATCH)))


@pool_imap.on(*GREEN)
def _(lib, n):
    pool = lib.Pool(SIZE)
    for _ in range(n):
        for _ in pool.imap_unordered(nothing, range(BATCH), maxsize=50):
            pass


@thread_round_trip.on(*GREEN)
def _(lib, n):
    apply = lib.ThreadPool(4).apply
    for _ in range(n):
        apply(nothing)


@thread_round_trip.on(*ASYNC)
async def _(lib, n):
    import asyncio

    for _ in range(n):
        await asyncio.to_thread(nothing)


@thread_round_trip.on("eventlet")
def _(lib, n):
    from eventlet.tpool import execute, killall

    for _ in range(n):
        execute(nothing)
    killall()


@thread_round_trip.on("threads")
def _(lib, n):
    """The standard executor, without a loop that could do other work meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as executor:
        for _ in range(n):
            executor.submit(nothing).result()


@thread_map.on(*GREEN)
def _(lib, n):
    pool = lib.ThreadPool(4)
    for _ in range(n):
        pool.map(nothing, range(BATCH))


@thread_map.on(*ASYNC)
async def _(lib, n):
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(4) as executor:
        for _ in range(n):
            await asyncio.gather(*[loop.run_in_executor(executor, nothing) for _ in range(BATCH)])


@thread_map.on("threads")
def _(lib, n):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as executor:
        for _ in range(n):
            list(executor.map(nothing, range(BATCH)))


def test_pool_spawn(bench, lib):
    bench(pool_spawn, lib)


def test_pool_map(bench, lib):
    bench(pool_map, lib)


def test_pool_imap(bench, lib):
    bench(pool_imap, lib)


def test_thread_round_trip(bench, lib):
    bench(thread_round_trip, lib)


def test_thread_map(bench, lib):
    bench(thread_map, lib)
