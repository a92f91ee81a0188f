"""A coroutine that runs code which is not async in a raw greenlet, as SQLAlchemy does, and that code blocks.

The raw greenlet and the one that runs the loop are one flow of control: an exception that is thrown into one belongs
where the other waits.
"""

import asyncio
import gc
import random

import pytest
from greenlet import getcurrent, greenlet

import gevlite
import gevlite.asyncio
from gevlite.asyncio import EventLoop


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


# For what is interrupted by an exception twice: between two steps of the loop in `call`, it would leave `inner` behind.
run_uninterrupted = gevlite.uninterrupted(gevlite.asyncio.run)


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

    @gevlite.uninterrupted  # the end of a slice is a wait
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
    greenlet_ = gevlite.spawn(run_uninterrupted, main())
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


class Steps:
    """Code that waits, and then cleans up in each of the ways."""

    def __init__(self, first):
        self.first = first
        self.begun = 0
        self.ended = []

    def run(self):
        loop = running()
        self.begun += 1
        try:
            self.first()
        finally:
            done = []
            try:
                for wait in (lambda: wait_for(asyncio.sleep(0.001)), lambda: gevlite.sleep(0.001)) * 2:
                    wait()
                    assert running() is loop
                    done.append(wait)
            finally:
                self.ended.append(len(done))

    @gevlite.uninterrupted  # between two steps of its loop, an exception would leave the inner one behind
    def in_nested_ones(self):
        inner = greenlet(self.run, getcurrent())
        asked = inner.switch()
        while not inner.dead:
            try:
                answer = wait_for(asked)
            except BaseException as exc:
                asked = inner.throw(exc)
            else:
                asked = inner.switch(answer)

    async def main(self, count):
        ways = (self.run, self.in_nested_ones)
        await asyncio.gather(*[call(ways[number % 2]) for number in range(count)])


def awaits():
    wait_for(asyncio.sleep(20))


def blocks_at_once():
    gevlite.sleep(20)


@pytest.mark.parametrize("kinds", [(gevlite.GreenletExit,) * 2, (KeyError,) * 3, (gevlite.GreenletExit, KeyError)])
def test_a_second_kill_while_they_end(kinds, settle, clock):
    """The loop goes on in another greenlet, and so do the raw greenlets."""
    steps = Steps(awaits)

    async def main():
        task = asyncio.ensure_future(steps.main(4))
        task.add_done_callback(ends.append)
        await task

    ends = []
    greenlet_ = gevlite.spawn(run_uninterrupted, main())
    greenlet_._report_error = lambda exc: None
    assert settle(lambda: steps.begun == 4)
    gevlite.idle()
    for kind in kinds:
        greenlet_.kill(kind, block=False)
        gevlite.sleep(0)
    greenlet_.join()
    assert steps.ended == []
    assert settle(lambda: len(ends) == 1)
    assert steps.ended == [4] * 4


@pytest.mark.uninterrupted
def test_a_second_timeout_in_a_greenlet_that_goes_on(settle, clock):
    """The greenlet that ran the loop waits elsewhere, while the loop goes on."""
    steps = Steps(awaits)
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.021), gevlite.Timeout(0.02):
        gevlite.asyncio.run(steps.main(4))
    assert settle(lambda: len(steps.ended) == 4)


@pytest.mark.parametrize("first", [awaits, blocks_at_once])
def test_ctrl_c_twice(first, errors, settle):
    """The program must end: it no longer waits for anything, and leaves nothing behind."""
    steps = Steps(first)
    count = 4 if first is awaits else 1  # one that blocks holds up the others
    greenlet_ = gevlite.spawn(run_uninterrupted, steps.main(count))
    greenlet_._report_error = lambda exc: None
    assert settle(lambda: steps.begun == count)
    gevlite.idle()
    for _ in range(2):
        greenlet_.kill(KeyboardInterrupt, block=False)
        gevlite.sleep(0)
    greenlet_.join()
    assert isinstance(greenlet_.exception, KeyboardInterrupt)
    del greenlet_
    gc.collect()
    assert len(steps.ended) == count
    assert errors == []


def test_a_loop_that_goes_on_in_another_greenlet():
    steps = Steps(awaits)
    loop = EventLoop()
    task = loop.create_task(steps.main(4))
    first = gevlite.spawn(loop.run_until_complete, task)
    gevlite.idle()
    first.kill()
    assert (steps.begun, steps.ended, task.done()) == (4, [], False)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        gevlite.spawn(loop.run_until_complete, task).get()
    assert steps.ended == [4] * 4
    loop.close()


@pytest.mark.parametrize("closed_by", ["whoever ran it", "another greenlet"])
def test_a_loop_that_is_closed_before_they_have_ended(closed_by):
    """They are ended then. One that waits again is ended there, too; the awaitable that it passes is not awaited."""
    steps = Steps(awaits)
    reports = []

    def run():
        loop = EventLoop()
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        loop.create_task(steps.main(2))
        loop.create_task(call(fails))
        loop.run_until_complete(until_begun())
        if closed_by == "whoever ran it":
            loop.close()
        return loop

    async def until_begun():
        while steps.begun < 2:
            await asyncio.sleep(0)

    def fails():
        try:
            awaits()
        finally:
            raise KeyError("expected")

    loop = gevlite.spawn(run).get()
    loop.close()
    assert steps.ended == [0, 0]
    (error,) = [context["exception"] for context in reports if "exception" in context]
    assert error.args == ("expected",)
    del loop, error
    reports.clear()
    gc.collect()


@pytest.mark.parametrize("often", [1, 2, 4])
def test_nothing_is_left_at_random(often, settle):
    """Functions that block and await, and clean up in the same ways, while their loops are killed and timed out."""
    chance = random.Random(5)
    inside = 0

    def blocks(depth):
        nonlocal inside
        loop = running()
        inside += 1
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
                run_uninterrupted(main())
        finally:
            assert running() is None

    for _ in range(40):
        killed = [gevlite.spawn(run, chance.random() / 100 if often > 1 else None) for _ in range(3)]
        greenlets = [*killed, *[gevlite.spawn(run, chance.random() / 100) for _ in range(3)]]
        for _ in range(often):
            gevlite.sleep(chance.random() / 200)
            for greenlet_ in killed[:2]:
                greenlet_.kill(block=False)
        gevlite.joinall(greenlets)
        assert running() is None
    assert settle(lambda: inside == 0)  # others finish what one that is interrupted twice leaves undone
