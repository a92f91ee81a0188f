"""From greenlets to coroutines and back: `run`, `wait`, `spawn`, and what can be awaited."""

import asyncio
import contextvars
import gc
import os
import random
import subprocess
import sys
import threading
import weakref

import pytest

import gevlite
import gevlite.asyncio
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, Semaphore
from gevlite.queue import Channel, LifoQueue, PriorityQueue, Queue, ShutDown, SimpleQueue

pytestmark = pytest.mark.usefixtures("long_lived_loop")

variable = contextvars.ContextVar("variable", default="default")


async def add(a, b):
    await asyncio.sleep(0.001)
    return a + b


async def fails():
    await asyncio.sleep(0)
    raise ZeroDivisionError("expected")


class Journal:
    """Coroutines that record how they end."""

    def __init__(self):
        self.events = []
        self.begun = Event()

    async def sleep(self, cleanup=0.0):
        self.begun.set()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            self.events.append("cancelled")
            await asyncio.sleep(cleanup)
            self.events.append("cleaned up")
            raise

    async def refuses(self):
        self.begun.set()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            return "refused"


# ---------------------------------------------------------------- run


def test_run_returns_and_raises():
    assert gevlite.asyncio.run(add(1, 2)) == 3
    with pytest.raises(ZeroDivisionError):
        gevlite.asyncio.run(fails())
    with pytest.raises(TypeError, match="coroutine"):
        gevlite.asyncio.run(3)
    greenlet = gevlite.spawn(lambda: "value")
    assert gevlite.asyncio.run(greenlet) == "value"
    assert gevlite.spawn(gevlite.asyncio.run, greenlet).get() == "value"


def test_a_hundred_runs_at_once():
    greenlets = [gevlite.spawn(gevlite.asyncio.run, add(number, 1)) for number in range(100)]
    assert [greenlet.get() for greenlet in greenlets] == [number + 1 for number in range(100)]


def test_run_in_a_coroutine_is_refused():
    async def main():
        coroutine = add(1, 2)
        with pytest.raises(RuntimeError, match="await the coroutine"):
            gevlite.asyncio.run(coroutine)
        return await coroutine

    assert gevlite.asyncio.run(main()) == 3
    assert gevlite.asyncio.wait(main()) == 3


def test_run_and_wait_within_each_other():
    def inner(depth):
        return gevlite.asyncio.run(outer(depth - 1)) if depth else 0

    async def outer(depth):
        one = await gevlite.asyncio.spawn(inner, depth)
        other = await gevlite.asyncio.spawn(gevlite.asyncio.wait, add(depth, 0))
        return one + other + 1

    assert gevlite.asyncio.run(outer(5)) == 6 + sum(range(6))


def test_a_kill_of_a_run_cancels_it():
    journal = Journal()
    greenlet = gevlite.spawn(gevlite.asyncio.run, journal.sleep(0.001))
    journal.begun.wait()
    gevlite.sleep(0)
    greenlet.kill()
    assert journal.events == ["cancelled", "cleaned up"]


def test_after_a_second_kill_of_a_run_its_tasks_end_by_themselves(settle, capsys):
    journal = Journal()
    greenlet = gevlite.spawn(gevlite.asyncio.run, journal.sleep(0.3))
    journal.begun.wait()
    gevlite.sleep(0)
    greenlet.kill(block=False)
    assert settle(lambda: journal.events == ["cancelled"])
    greenlet.kill()
    assert isinstance(greenlet.value, gevlite.GreenletExit)
    assert journal.events == ["cancelled"]
    assert settle(lambda: journal.events == ["cancelled", "cleaned up"])
    gevlite.idle()
    gc.collect()
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- wait


def test_wait_returns_and_raises():
    assert gevlite.asyncio.wait(add(1, 2)) == 3
    assert gevlite.asyncio.wait(add(1, 2), timeout=20) == 3
    with pytest.raises(ZeroDivisionError):
        gevlite.asyncio.wait(fails())
    with pytest.raises(TypeError):
        gevlite.asyncio.wait(3)

    async def loop():
        return asyncio.get_running_loop()

    assert gevlite.asyncio.wait(loop()) is gevlite.asyncio.wait(loop())


def test_all_greenlets_share_one_client():
    class Client:
        """As a client library: a future for each request, and a task that answers them."""

        def __init__(self):
            self.requests = asyncio.Queue()
            self.task = asyncio.ensure_future(self.answer())

        async def answer(self):
            while True:
                number, future = await self.requests.get()
                asyncio.get_running_loop().call_later(0.001, future.set_result, number * 2)

        async def ask(self, number):
            future = asyncio.get_running_loop().create_future()
            await self.requests.put((number, future))
            return await future

        async def close(self):
            self.task.cancel()

    async def connect():
        return Client()

    client = gevlite.asyncio.wait(connect())
    greenlets = [gevlite.spawn(gevlite.asyncio.wait, client.ask(number)) for number in range(100)]
    assert [greenlet.get() for greenlet in greenlets] == [number * 2 for number in range(100)]
    gevlite.asyncio.wait(client.close())


def test_wait_for_a_future_and_a_task():
    async def make():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.001, future.set_result, 1)
        return future, asyncio.ensure_future(add(1, 1))

    future, task = gevlite.asyncio.wait(make())
    assert gevlite.asyncio.wait(future) == 1
    assert gevlite.asyncio.wait(task) == 2
    assert gevlite.asyncio.wait(task) == 2


def test_wait_in_a_coroutine_of_its_own_loop_is_refused():
    async def main():
        coroutine = add(1, 2)
        with pytest.raises(RuntimeError, match="await the awaitable"):
            gevlite.asyncio.wait(coroutine)
        return await coroutine

    assert gevlite.asyncio.wait(main()) == 3


def test_wait_in_a_coroutine_of_another_loop_blocks_that():
    async def main():
        return gevlite.asyncio.wait(add(1, 2))

    assert gevlite.asyncio.run(main()) == 3


def test_a_timeout_cancels(clock):
    journal = Journal()
    with pytest.raises(TimeoutError):
        gevlite.asyncio.wait(journal.sleep(0.001), timeout=0.001)
    assert journal.events == ["cancelled", "cleaned up"]
    assert gevlite.asyncio.wait(journal.refuses(), timeout=0.001) == "refused"


def test_a_timeout_around_it_cancels(clock):
    journal = Journal()
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
        gevlite.asyncio.wait(journal.sleep(0.001))
    assert journal.events == ["cancelled", "cleaned up"]


def test_a_timeout_object_is_the_limit(clock):
    journal = Journal()
    limit = gevlite.Timeout(0.001)
    with pytest.raises(gevlite.Timeout) as raised:
        gevlite.asyncio.wait(journal.sleep(), timeout=limit)
    assert raised.value is limit
    assert journal.events == ["cancelled", "cleaned up"]


def test_a_kill_cancels():
    journal = Journal()
    greenlet = gevlite.spawn(gevlite.asyncio.wait, journal.sleep(0.001))
    journal.begun.wait()
    greenlet.kill()
    assert journal.events == ["cancelled", "cleaned up"]
    assert isinstance(greenlet.value, gevlite.GreenletExit)


def test_cancelled_by_others():
    async def make():
        return asyncio.ensure_future(asyncio.sleep(100))

    task = gevlite.asyncio.wait(make())
    gevlite.spawn_later(0.001, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        gevlite.asyncio.wait(task)


def test_the_context_goes_along():
    async def look():
        await asyncio.sleep(0)
        before = variable.get()
        variable.set("changed there")
        return before

    variable.set("of the greenlet")
    assert gevlite.asyncio.wait(look()) == "of the greenlet"
    assert variable.get() == "of the greenlet"

    async def main():
        variable.set("of the task")
        return await gevlite.asyncio.spawn(variable.get)

    assert gevlite.asyncio.wait(main()) == gevlite.asyncio.run(main()) == "of the task"


def test_each_thread_has_its_own():
    loops = []

    async def loop():
        return asyncio.get_running_loop()

    def thread():
        loops.append(gevlite.asyncio.wait(loop()))
        loops.append(gevlite.asyncio.wait(loop()))

    for _ in range(2):
        other = threading.Thread(target=thread)
        other.start()
        other.join()
    assert loops[0] is loops[1] and loops[2] is loops[3] and len({*loops, gevlite.asyncio.wait(loop())}) == 3
    gc.collect()
    assert loops[0].is_closed() and loops[2].is_closed()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_greenlets_that_are_the_first_to_wait_share_one_loop(monkeypatch):
    class SlowToMake(gevlite.asyncio.EventLoop):
        def __init__(self):
            gevlite.sleep(0)  # as an import can, or the end of a time slice
            super().__init__()

    def thread():
        jobs = [gevlite.spawn(gevlite.asyncio.wait, which_loop()) for _ in range(3)]
        seen.extend(job.get() for job in jobs)
        gevlite.idle()
        left.append(gevlite.get_hub().stats()["greenlets"])

    async def which_loop():
        return asyncio.get_running_loop()

    seen, left = [], []
    monkeypatch.setattr(gevlite.asyncio, "EventLoop", SlowToMake)
    thread = threading.Thread(target=thread)
    thread.start()
    thread.join()
    assert len(seen) == 3 and len(set(seen)) == 1
    assert left == [1]  # the one that runs the loop


def test_the_child_of_a_fork_has_another_one():
    async def loop():
        return asyncio.get_running_loop()

    before = gevlite.asyncio.wait(loop())
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if gevlite.asyncio.wait(loop()) is not before and gevlite.asyncio.wait(add(1, 2)) == 3:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert gevlite.asyncio.wait(loop()) is before


def test_at_exit_what_still_runs_is_cancelled():
    program = """
import asyncio, gevlite.asyncio

async def background():
    try:
        await asyncio.sleep(100)
    finally:
        await asyncio.sleep(0.001)
        print("cleaned up")

async def main():
    asyncio.get_running_loop().task = asyncio.ensure_future(background())
    await asyncio.sleep(0)

gevlite.asyncio.wait(main())
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr, done.returncode) == ("cleaned up\n", "", 0)


def test_nothing_is_kept():
    class Thing:
        pass

    thing = Thing()
    kept = weakref.ref(thing)

    async def give(what):
        await asyncio.sleep(0)
        return what

    async def fail(what):
        raise ValueError(what)

    assert gevlite.asyncio.wait(give(thing)) is thing
    with pytest.raises(ValueError):
        gevlite.asyncio.wait(fail(thing))
    gevlite.asyncio.wait(asyncio.sleep(0))
    del thing
    gc.collect()
    assert kept() is None


# ---------------------------------------------------------------- spawn and await


def both(main):
    """In each kind of loop."""
    return gevlite.asyncio.run(main()), gevlite.asyncio.wait(main())


def test_spawn_returns_and_raises(capsys):
    def blocks(value, *, more):
        gevlite.sleep(0.001)
        return value + more

    async def main():
        assert await gevlite.asyncio.spawn(blocks, 1, more=2) == 3
        with pytest.raises(ZeroDivisionError):
            await gevlite.asyncio.spawn(lambda: 1 / 0)
        results = await asyncio.gather(*[gevlite.asyncio.spawn(blocks, n, more=1) for n in range(20)])
        assert results == list(range(1, 21))
        with pytest.raises(ZeroDivisionError):
            await asyncio.gather(gevlite.asyncio.spawn(lambda: 1 / 0), asyncio.sleep(0.001))

    both(main)
    assert capsys.readouterr().err == ""


def test_an_error_that_nobody_awaits_is_reported(capsys, clock):
    async def main():
        greenlet = gevlite.asyncio.spawn(lambda: 1 / 0)
        await asyncio.sleep(0.001)
        del greenlet
        gc.collect()

    gevlite.asyncio.run(main())
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_other_tasks_go_on_meanwhile():
    async def main():
        order = []
        blocked = Event()

        async def other():
            order.append("other")
            blocked.set()

        task = asyncio.ensure_future(other())
        await gevlite.asyncio.spawn(blocked.wait)
        order.append("main")
        await task
        return order

    assert both(main) == (["other", "main"],) * 2


def test_cancelling_the_task_kills_the_greenlet(clock):
    async def main():
        events = []

        def blocks():
            try:
                gevlite.sleep(100)
            finally:
                gevlite.sleep(0.001)
                events.append("killed")

        async def waits():
            await gevlite.asyncio.spawn(blocks)

        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0.001)
        task.cancel("because")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events == ["killed"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gevlite.asyncio.spawn(blocks), 0.001)
        assert events == ["killed"] * 2
        assert asyncio.current_task().cancelling() == 0

    both(main)


def test_a_task_that_is_cancelled_at_once_starts_no_greenlet():
    async def main():
        called = []

        async def waits():
            await gevlite.asyncio.spawn(called.append, 1)

        task = asyncio.ensure_future(waits())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return called

    assert both(main) == ([], [])


def test_a_greenlet_can_be_awaited():
    async def main():
        greenlet = gevlite.spawn(lambda: gevlite.sleep(0.001) or "value")
        assert await greenlet == "value"
        assert await greenlet == "value"
        killed = gevlite.spawn(gevlite.sleep, 100)
        gevlite.spawn_later(0.001, killed.kill)
        with pytest.raises(asyncio.CancelledError):
            await killed

    both(main)


def test_an_event_can_be_awaited():
    async def main():
        event = Event()
        gevlite.spawn_later(0.001, event.set)
        assert await asyncio.gather(event, event) == [True, True]
        assert await event is True
        event.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(event, 0.001)
        assert event.linkcount() == 0

    both(main)


def test_an_event_that_another_thread_sets():
    async def main():
        event = Event()
        thread = threading.Thread(target=event.set)
        asyncio.get_running_loop().call_later(0.001, thread.start)
        await event
        thread.join()

    both(main)


def test_a_result_can_be_awaited():
    async def main():
        result = AsyncResult()
        gevlite.spawn_later(0.001, result.set, 5)
        assert await result == 5
        assert await result == 5
        failed = AsyncResult()
        gevlite.spawn_later(0.001, failed.set_exception, ValueError("expected"))
        with pytest.raises(ValueError, match="expected"):
            await failed

    both(main)


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
def test_a_semaphore_can_be_awaited(make):
    async def main():
        semaphore = make(1)
        inside, most = 0, 0

        async def task():
            nonlocal inside, most
            assert await semaphore is True
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            semaphore.release()

        def greenlet():
            nonlocal inside, most
            with semaphore:
                inside += 1
                most = max(most, inside)
                gevlite.sleep(0)
                inside -= 1

        await asyncio.gather(*[task() for _ in range(10)], *[gevlite.asyncio.spawn(greenlet) for _ in range(10)])
        assert (inside, most, semaphore.counter) == (0, 1, 1)
        await semaphore
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(semaphore, 0.001)
        semaphore.release()
        assert semaphore.counter == 1

    both(main)


def test_a_semaphore_that_was_handed_to_a_cancelled_task_is_not_lost():
    async def main():
        semaphore = Semaphore(0)

        async def task():
            await semaphore

        for turns in range(6):
            waiting = asyncio.ensure_future(task())
            await asyncio.sleep(0.001)
            semaphore.release()
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            taken = (await asyncio.gather(waiting, return_exceptions=True))[0] is None
            assert semaphore.counter == (0 if taken else 1)
            semaphore.acquire(blocking=False)

    both(main)


@pytest.mark.parametrize("make", [Semaphore, BoundedSemaphore])
def test_async_with_a_semaphore(make):
    async def main():
        semaphore = make(1)

        async def task(fails):
            async with semaphore as entered:
                assert entered is semaphore and semaphore.counter == 0
                await asyncio.sleep(0)
                if fails:
                    raise ValueError("expected")
                return 1

        results = await asyncio.gather(*[task(number % 2) for number in range(10)], return_exceptions=True)
        assert [type(result) for result in results] == [int, ValueError] * 5
        async with semaphore:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    async with semaphore:
                        raise AssertionError("not reached")
        assert semaphore.counter == 1

    both(main)


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue, Channel, SimpleQueue])
def test_a_queue_can_be_awaited_and_iterated(make):
    async def main():
        queue = make()
        greenlet = gevlite.spawn(lambda: [queue.put(number) for number in range(3)])
        assert sorted([await queue, await gevlite.asyncio.get(queue), await queue]) == [0, 1, 2]
        await greenlet
        # One after the other, so that it is in order in each kind of queue.
        items = []
        gevlite.spawn(queue.put, 0)
        async for item in queue:
            items.append(item)
            gevlite.spawn(queue.put, item + 1 if item < 5 else StopIteration)
        assert items == list(range(6))

    both(main)


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue, SimpleQueue])
def test_an_iteration_of_a_queue_ends_after_shutdown(make):
    async def main():
        async def consume(queue):
            return [item async for item in queue]

        waits, has_items = make(), make(items=[1, 2])
        consumer = asyncio.ensure_future(consume(waits))
        await asyncio.sleep(0)
        waits.shutdown()
        has_items.shutdown()
        assert await asyncio.wait_for(consumer, 5) == []
        assert sorted(await consume(has_items)) == [1, 2]
        with pytest.raises(ShutDown):
            await waits

    both(main)


@pytest.mark.parametrize("make", [lambda: Queue(1), lambda: LifoQueue(1), lambda: PriorityQueue(1), Channel])
def test_put_waits_for_room(make):
    async def main():
        queue = make()
        taken = []
        consumer = gevlite.spawn(lambda: [taken.append(queue.get()) or gevlite.sleep(0.001) for _ in range(5)])
        for number in range(5):
            await gevlite.asyncio.put(queue, number)
        await consumer
        assert taken == list(range(5))
        if not isinstance(queue, Channel):
            await gevlite.asyncio.put(queue, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gevlite.asyncio.put(queue, 2), 0.001)
        assert queue.qsize() == (0 if isinstance(queue, Channel) else 1)

    both(main)


@pytest.mark.parametrize("make", [Queue, LifoQueue, PriorityQueue, Channel])
def test_the_next_item_of_a_queue(make):
    async def main():
        queue = make()
        gevlite.spawn_later(0.001, queue.put, 1)
        assert await gevlite.asyncio.get(queue) == 1
        putting = gevlite.spawn(queue.put, 2)
        await asyncio.sleep(0.001)
        assert await gevlite.asyncio.get(queue) == 2
        await putting
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gevlite.asyncio.get(queue), 0.001)

    both(main)


def test_an_item_for_a_cancelled_task_is_not_lost():
    async def main():
        queue = Queue()
        for turns in range(6):
            waiting = asyncio.ensure_future(gevlite.asyncio.get(queue))
            await asyncio.sleep(0.001)
            queue.put("first")
            queue.put("second")
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            result = (await asyncio.gather(waiting, return_exceptions=True))[0]
            assert [queue.get_nowait() for _ in range(queue.qsize())] == ["first", "second"][result == "first" :]

    both(main)


def test_awaited_in_another_loop_there_is_a_clear_error():
    async def main(what):
        await what

    for what in (Event(), AsyncResult(), Semaphore(), gevlite.spawn(gevlite.sleep, 0)):
        with pytest.raises(RuntimeError, match=r"gevlite\.asyncio\.run\(\)"):
            asyncio.run(main(what))
    what.join()  # otherwise it may begin, and be counted, when the next test does


def test_awaited_without_gevlite_asyncio_too():
    program = """
import asyncio, gevlite
from gevlite.event import Event

async def main():
    try:
        await Event()
    except RuntimeError as exc:
        print(exc)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert "Event can be awaited in an event loop of gevlite only" in done.stdout


# ---------------------------------------------------------------- mixtures


def test_a_mixture_of_everything(settle):
    """Greenlets and tasks that spawn, await, cancel and kill each other: afterwards nothing is left."""
    chooser = random.Random(1)

    def greenlet(depth):
        choice = chooser.randrange(5)
        if depth == 0 or choice == 0:
            gevlite.sleep(chooser.random() / 1000)
        elif choice == 1:
            gevlite.asyncio.run(task(depth - 1))
        elif choice == 2:
            gevlite.asyncio.wait(task(depth - 1))
        elif choice == 3:
            with gevlite.Timeout(chooser.random() / 500, False):
                gevlite.asyncio.wait(task(depth - 1))
        else:
            child = gevlite.spawn(greenlet, depth - 1)
            gevlite.sleep(chooser.random() / 1000)
            child.kill()

    async def task(depth):
        choice = chooser.randrange(5)
        if depth == 0 or choice == 0:
            await asyncio.sleep(chooser.random() / 1000)
        elif choice == 1:
            await gevlite.asyncio.spawn(greenlet, depth - 1)
        elif choice == 2:
            await asyncio.gather(*[task(depth - 1) for _ in range(2)])
        elif choice == 3:
            try:
                await asyncio.wait_for(task(depth - 1), chooser.random() / 500)
            except TimeoutError:
                pass
        else:
            child = asyncio.ensure_future(gevlite.asyncio.spawn(greenlet, depth - 1))
            await asyncio.sleep(chooser.random() / 1000)
            child.cancel()
            await asyncio.gather(child, return_exceptions=True)

    gevlite.joinall([gevlite.spawn(greenlet, 5) for _ in range(100)], raise_error=True)

    async def others():
        return len(asyncio.all_tasks()) - 1

    # A greenlet that is killed while it waits for the end of a task that it has cancelled no longer waits for it.
    assert settle(lambda: gevlite.asyncio.wait(others()) == 0)


def test_what_has_ended_is_awaited_without_a_wait():
    """Otherwise an item that the task has taken could be lost, if something interrupted that wait."""
    called = []

    async def main():
        greenlet = gevlite.spawn(int, "5")
        gevlite.sleep(0)
        assert greenlet.ready()
        greenlet.rawlink(called.append)
        assert await greenlet == 5
        assert called == []
        await asyncio.sleep(0)

    gevlite.asyncio.run(main())
    assert len(called) == 1
