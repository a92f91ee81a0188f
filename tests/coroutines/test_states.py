"""Loops in odd states: Ctrl-C, the end of a thread, generators that others drop."""

import asyncio
import gc
import os
import signal
import threading
import weakref

import pytest

import gevlite
import gevlite.asyncio
from gevlite.asyncio import EventLoop

LONG = 100


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_cancels_the_main_task():
    seen = []

    async def main():
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        gevlite.asyncio.run(main())
    assert seen == ["cancelled"]


def test_ctrl_c_while_a_coroutine_of_the_main_greenlet_blocks():
    """As with asyncio: the first one cancels the task, which the blocking call holds up; the second one ends that."""

    async def main():
        gevlite.spawn(lambda: interrupt() or gevlite.idle() or interrupt())
        gevlite.sleep(LONG)

    with pytest.raises(KeyboardInterrupt):
        gevlite.asyncio.run(main())


def test_ctrl_c_does_not_end_the_loop_of_another_greenlet():
    async def main():
        await asyncio.sleep(0.01)
        return "result"

    greenlet = gevlite.spawn(gevlite.asyncio.run, main())
    with pytest.raises(KeyboardInterrupt):
        gevlite.spawn(interrupt)
        greenlet.join()
    assert greenlet.get() == "result"


def test_a_loop_is_stopped_by_greenlets_and_threads():
    loop = EventLoop()
    for stop in (
        lambda: gevlite.spawn(loop.stop),
        lambda: threading.Thread(target=loop.stop).start(),
        lambda: threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,)).start(),
    ):
        loop.call_soon(stop)
        loop.run_forever()
    loop.close()


def test_a_generator_that_another_greenlet_drops_is_closed_by_its_loop():
    closed = []

    async def generate():
        try:
            while True:
                yield
        finally:
            await asyncio.sleep(0)
            closed.append(asyncio.get_running_loop())

    async def main():
        kept = [generate()]
        await anext(kept[0])
        await gevlite.asyncio.spawn(lambda: kept.clear() or gc.collect() and None)
        while not closed:
            await asyncio.sleep(0)
        assert closed == [asyncio.get_running_loop()]

    gevlite.asyncio.run(main())


def test_the_end_of_a_thread_ends_the_tasks_in_its_loops(capfd):
    ended = []
    left = []

    async def waits():
        try:
            await asyncio.sleep(LONG)
        finally:
            await asyncio.sleep(0)  # a call that does not have to wait
            ended.append(1)

    async def in_background():
        asyncio.get_running_loop().kept = asyncio.ensure_future(waits())
        await asyncio.sleep(0)

    def thread():
        gevlite.spawn(gevlite.asyncio.run, waits())
        gevlite.asyncio.wait(in_background())
        gevlite.idle()
        left.append(weakref.ref(gevlite.get_hub()._asyncio_service.loop))
        left.append(weakref.ref(gevlite.spawn_later(LONG, ended.append, 2)))

    thread = threading.Thread(target=thread)
    thread.start()
    thread.join()
    del thread
    gc.collect()
    assert ended == [1, 1]
    assert [ref() for ref in left] == [None, None]
    assert capfd.readouterr().err == ""
