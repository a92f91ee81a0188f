"""A coroutine that runs code which is not async in a raw greenlet, as SQLAlchemy does, and that code blocks.

The raw greenlet and the one that runs the loop are one flow of control: what is thrown into the one belongs where the
other waits.
"""

import asyncio
import random

import pytest
from greenlet import getcurrent, greenlet

import gevlite
import gevlite.asyncio


async def call(function, *args):
    """`function(*args)` in a raw greenlet, where `wait_for` works."""
    inner = greenlet(function, getcurrent())
    result = inner.switch(*args)
    while not inner.dead:
        try:
            result = await result
        except BaseException as exc:
            result = inner.throw(exc)
        else:
            result = inner.switch(result)
    return result


def wait_for(awaitable):
    return getcurrent().parent.switch(awaitable)


def running():
    return asyncio._get_running_loop()


def test_what_blocks_there_sees_its_loop_and_others_do_not():
    seen = []

    def blocks(number):
        loop = asyncio.get_running_loop()
        for _ in range(5):
            gevlite.sleep(0)
            assert asyncio.get_running_loop() is loop
            wait_for(asyncio.sleep(0))
            gevlite.sleep(0.001)
            assert asyncio.get_running_loop() is loop
        return number

    def watch():
        while not all(greenlet.ready() for greenlet in greenlets):
            seen.append(running())
            gevlite.sleep(0)

    greenlets = [gevlite.spawn(gevlite.asyncio.run, call(blocks, number)) for number in range(50)]
    watch()
    assert [greenlet.get() for greenlet in greenlets] == list(range(50))
    assert set(seen) == {None}


@pytest.mark.parametrize("kind", [gevlite.GreenletExit, gevlite.Timeout, KeyError])
@pytest.mark.parametrize("depth", [1, 2])
def test_an_exception_for_the_loop_is_raised_where_it_waits(kind, depth, settle):
    seen = []

    def blocks():
        seen.append("blocks")
        try:
            gevlite.sleep(20)
        except kind:
            seen.append(("function", running()))
            wait_for(asyncio.sleep(0.001))  # clean up in each of the ways
            gevlite.sleep(0.001)
            raise
        finally:
            seen.append(("end", running()))

    def nested():
        inner = greenlet(blocks, getcurrent())
        try:
            asked = inner.switch()
            while not inner.dead:
                asked = inner.switch(wait_for(asked))
        except kind:
            seen.append(("between", running()))
            raise
        raise AssertionError("not reached")

    async def main():
        seen.append(running())
        try:
            await call(blocks if depth == 1 else nested)
        except kind:
            seen.append(("coroutine", running()))
            raise

    greenlet_ = gevlite.spawn(gevlite.asyncio.run, main())
    assert settle(lambda: "blocks" in seen)
    greenlet_.kill(kind)
    seen.remove("blocks")
    loop = seen.pop(0)
    between = [("between", loop)] if depth == 2 else []
    assert seen == [("function", loop), ("end", loop), *between, ("coroutine", loop)]
    assert isinstance(greenlet_.value if kind is gevlite.GreenletExit else greenlet_.exception, kind)
    assert running() is None


def test_a_timeout_around_the_loop():
    def run():
        with pytest.raises(gevlite.Timeout):
            with gevlite.Timeout(0.01):
                gevlite.asyncio.run(call(gevlite.sleep, 20))
        return running()

    assert gevlite.spawn(run).get() is None


def test_an_exception_that_is_pending_is_raised_where_it_waits_next():
    """It is thrown while the loop's greenlet is ready, but has not gone on yet."""

    def blocks():
        with pytest.raises(gevlite.GreenletExit):
            gevlite.sleep(20)
        return "raised"

    async def main():
        event = asyncio.Event()
        started.set()
        loop = asyncio.get_running_loop()

        def go():
            loop.call_soon(event.set)
            greenlet_.kill(block=False)

        gevlite.spawn(go)
        await event.wait()
        return await call(blocks)

    started = gevlite.event.Event()
    greenlet_ = gevlite.spawn(gevlite.asyncio.run, main())
    assert greenlet_.get() == "raised"


def test_a_function_that_swallows_its_end_goes_on():
    started = gevlite.event.Event()

    def blocks():
        started.set()
        try:
            gevlite.sleep(20)
        except gevlite.GreenletExit:
            gevlite.sleep(0.001)
            return wait_for(asyncio.sleep(0.001, "swallowed"))

    greenlet_ = gevlite.spawn(gevlite.asyncio.run, call(blocks))
    started.wait()
    greenlet_.kill()
    assert greenlet_.value == "swallowed"


def test_waiting_there_for_the_own_loop_is_refused():
    async def nothing():
        pass

    def blocks():
        coroutine = nothing()
        with pytest.raises(RuntimeError, match="the loop that it would wait for"):
            gevlite.asyncio.wait(coroutine)
        coroutine.close()
        return "refused"

    try:
        assert gevlite.asyncio.wait(call(blocks), timeout=20) == "refused"
    finally:
        hub = gevlite.get_hub()
        hub._asyncio_service.greenlet.kill()
        del hub._asyncio_service


def test_nothing_is_left_at_random():
    """Functions that block and await, and clean up in the same ways, while their loops are killed and timed out."""
    chance = random.Random(5)
    inside = 0

    def blocks(depth):
        nonlocal inside
        inside += 1
        loop = running()
        try:
            for _ in range(chance.randrange(1, 5)):
                step(depth)
                assert running() is loop
        finally:
            try:
                step(0)
                assert running() is loop
            finally:
                inside -= 1

    def step(depth):
        way = chance.randrange(5)
        if way == 0:
            gevlite.sleep(0)
        elif way == 1:
            gevlite.sleep(chance.random() / 500)
        elif way == 2:
            wait_for(asyncio.sleep(0))
        elif way == 3:
            wait_for(asyncio.sleep(chance.random() / 500))
        elif depth:
            wait_for(call(blocks, depth - 1))

    async def main():
        await asyncio.gather(*[call(blocks, 2) for _ in range(3)], return_exceptions=True)

    def run(seconds):
        try:
            with gevlite.Timeout(seconds, False):
                gevlite.asyncio.run(main())
        finally:
            assert running() is None

    for _ in range(40):
        # Only one of both: a second exception would end the first one's cleaning up.
        killed = [gevlite.spawn(run, None) for _ in range(3)]
        greenlets = [*killed, *[gevlite.spawn(run, chance.random() / 100) for _ in range(3)]]
        gevlite.sleep(chance.random() / 200)
        for greenlet_ in killed[:2]:
            greenlet_.kill(block=False)
        gevlite.joinall(greenlets)
        assert running() is None
    assert inside == 0
