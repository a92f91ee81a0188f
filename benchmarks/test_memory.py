"""The memory that a greenlet holds while it waits."""

import gc
import os

from benchmarks.case import ASYNC, GREEN, Case, Metric, Target

COUNT = 20_000

memory = Case(
    "memory",
    f"memory of a greenlet parked in a Python function, of {COUNT:,}",
    n=COUNT,
    rounds=1,
    metrics=(Metric("memory", "B", (Target.at_most(6.8 * 1024, "6.8 KiB"),)),),
)


def resident() -> int:
    """The resident memory of this process in bytes. See proc(5), statm."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@memory.on(*GREEN, "eventlet")
def _(lib, n):
    event = lib.Event()

    def parked():
        event.wait()

    def park(count):
        greenlets = [lib.spawn(parked) for _ in range(count)]
        lib.sleep(0)
        lib.sleep(0.01)
        return greenlets

    keep = park(100)  # everything that is made only once
    gc.collect()
    before = resident()
    keep += park(n)
    gc.collect()
    used = resident() - before
    event.set()
    lib.joinall(keep)
    return {"memory": used / n}


@memory.on("threads")
def _(lib, n):
    """With a tenth as many: few systems let a process have so many threads. The kernel's own memory is not counted."""
    event, count = lib.Event(), n // 10

    def parked():
        event.wait()

    keep = [lib.spawn(parked) for _ in range(100)]
    gc.collect()
    before = resident()
    keep += [lib.spawn(parked) for _ in range(count)]
    lib.sleep(0.1)
    gc.collect()
    used = resident() - before
    event.set()
    lib.joinall(keep)
    return {"memory": used / count}


@memory.on("greenlet")
def _(lib, n):
    """A raw greenlet that has switched back to its parent from a Python function."""
    from greenlet import getcurrent, greenlet

    back = getcurrent().switch

    def parked():
        back()

    def park(count):
        greenlets = [greenlet(parked) for _ in range(count)]
        for g in greenlets:
            g.switch()
        return greenlets

    keep = park(100)
    gc.collect()
    before = resident()
    keep += park(n)
    gc.collect()
    used = resident() - before
    for g in keep:
        g.switch()
    return {"memory": used / n}


@memory.on(*ASYNC)
async def _(lib, n):
    import asyncio

    event = asyncio.Event()

    async def parked():
        await event.wait()

    async def park(count):
        tasks = [asyncio.create_task(parked()) for _ in range(count)]
        await asyncio.sleep(0.01)
        return tasks

    keep = await park(100)
    gc.collect()
    before = resident()
    keep += await park(n)
    gc.collect()
    used = resident() - before
    event.set()
    await asyncio.gather(*keep)
    return {"memory": used / n}


def test_memory(bench, lib):
    bench(memory, lib)
