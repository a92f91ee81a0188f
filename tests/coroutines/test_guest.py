"""Greenlets in a loop that is not gevlite's: asyncio's own and uvloop, with `gevlite.asyncio.attach`."""

import asyncio
import contextvars
import functools
import gc
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import gevlite
import gevlite.asyncio
from gevlite import backends
from gevlite.event import AsyncResult, Event
from gevlite.lock import Semaphore
from gevlite.queue import Channel, Queue
from gevlite.socket import socketpair

variable = contextvars.ContextVar("variable", default="default")
spawn = gevlite.asyncio.spawn

try:
    import uvloop
except ImportError:
    uvloop = None

needs_uvloop = pytest.mark.skipif(uvloop is None, reason="uvloop has no wheel for this Python")


def new_loop(name):
    return asyncio.SelectorEventLoop() if name == "asyncio" else uvloop.new_event_loop()


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def host(request):
    """The name of a loop to use as the host."""
    return request.param


@pytest.fixture(autouse=True)
def nobody_attached():
    yield
    guest = gevlite.get_hub().host
    if guest is not None:
        guest.detach()
    assert guest is None


@pytest.fixture
def plain(host):
    """`plain(coroutine)`: run it in such a loop."""

    def run(main, **options):
        with asyncio.Runner(loop_factory=functools.partial(new_loop, host), **options) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def attached(plain):
    """`attached(coroutine)`: run it in such a loop, which is attached."""

    async def main(inner):
        with gevlite.asyncio.attach():
            return await inner

    return lambda inner, **options: plain(main(inner), **options)


def blocks(value, seconds=0.002):
    gevlite.sleep(seconds)
    return value


async def add(a, b):
    await asyncio.sleep(0.001)
    return a + b


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


# ---------------------------------------------------------------- from coroutines to greenlets


def test_spawn_returns_and_raises(attached):
    def fails():
        gevlite.sleep(0.001)
        raise ZeroDivisionError("expected")

    async def main():
        with pytest.raises(ZeroDivisionError, match="expected"):
            await spawn(fails)
        assert await spawn(lambda: "at once") == "at once"
        return await asyncio.gather(*[spawn(blocks, number) for number in range(20)])

    assert attached(main()) == list(range(20))


def test_what_blocks_blocks_nothing_else(attached):
    async def main():
        held, go = Event(), Event()
        greenlet = spawn(lambda: (held.set(), go.wait(), "done")[-1])
        await held
        assert await add(1, 2) == 3
        assert await spawn(blocks, 4) == 4
        go.set()
        return await greenlet

    assert attached(main()) == "done"


def test_greenlets_see_no_running_loop_and_no_task(attached):
    def look():
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        with pytest.raises(RuntimeError):
            asyncio.current_task()
        seen = gevlite.asyncio.run(loop_and_task())
        gevlite.sleep(0.001)
        return seen

    async def loop_and_task():
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop(), asyncio.current_task()

    async def main():
        before = await loop_and_task()
        look_again = gevlite.spawn(look)
        loop, task = await spawn(look)
        assert isinstance(loop, gevlite.asyncio.EventLoop)
        assert task not in (None, before[1])
        assert await loop_and_task() == before
        look_again.join()  # in the middle of this task
        assert look_again.successful()
        assert await loop_and_task() == before

    attached(main())


def test_everything_that_can_be_awaited(attached):
    async def main():
        event, result, places, queue = Event(), AsyncResult(), Semaphore(0), Queue()

        def produce():
            gevlite.sleep(0.001)
            event.set()
            gevlite.sleep(0.001)
            result.set("result")
            gevlite.sleep(0.001)
            places.release()
            gevlite.sleep(0.001)
            queue.put("item")

        producer = gevlite.spawn(produce)
        assert await event is True
        assert await result == "result"
        assert await places is True
        assert await gevlite.asyncio.get(queue) == "item"
        await producer
        # And at once.
        places.release()
        queue.put(1)
        assert [await event, await result, await places, await queue] == [True, "result", True, 1]
        async with Semaphore(1):
            channel = Channel()
            takers = asyncio.gather(*[gevlite.asyncio.get(channel) for _ in range(2)])
            await gevlite.asyncio.put(channel, "first")
            await gevlite.asyncio.put(channel, "second")
            return await takers

    assert attached(main()) == ["first", "second"]


def test_what_another_thread_sets_is_noticed(attached):
    async def main():
        event, result = Event(), AsyncResult()
        waiting = asyncio.gather(event, result, spawn(result.get))
        await asyncio.sleep(0.005)
        thread = threading.Thread(target=lambda: (event.set(), result.set("from the thread")))
        thread.start()
        try:
            return await waiting
        finally:
            thread.join()

    assert attached(main()) == [True, "from the thread", "from the thread"]


def test_what_a_callback_begins_is_noticed(attached):
    """With nothing else going on, so that the loop waits until it is notified."""

    async def main():
        loop = asyncio.get_running_loop()
        hub = gevlite.get_hub()
        for begin in (
            lambda done: gevlite.spawn(done),
            lambda done: hub.call_soon(done),
            lambda done: hub.call_later(0.001, done),
            lambda done: gevlite.spawn_later(0.001, done),
            lambda done: hub.loop.timer(0.001).start(done),
        ):
            future = loop.create_future()

            def done(future=future):
                loop.call_soon_threadsafe(future.set_result, None)

            loop.call_later(0.001, begin, done)
            await future
        event = Event()
        greenlet = gevlite.spawn(event.wait)
        await asyncio.sleep(0.005)  # it waits, and so does the hub
        loop.call_later(0.001, event.set)
        while not greenlet.ready():
            await asyncio.sleep(0)

    attached(main())


def test_a_watcher_of_a_file_that_is_always_ready_is_noticed(attached):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with open(__file__) as file:
            watcher = gevlite.get_hub().loop.io(file.fileno(), 1)
            loop.call_later(
                0.001, lambda: watcher.start(lambda: future.done() or loop.call_soon(future.set_result, None))
            )
            await future
            watcher.stop()
            watcher.close()

    attached(main())


def test_watchers_of_the_loop_are_called(attached):
    async def main():
        calls = []
        loop = gevlite.get_hub().loop
        watchers = [getattr(loop, name)() for name in ("prepare", "check", "idle")]
        for number, watcher in enumerate(watchers):
            watcher.start(calls.append, number)
        await until(lambda: {0, 1, 2} <= set(calls))
        for watcher in watchers:
            watcher.stop()
            watcher.close()

    attached(main())


def test_a_cancelled_task_kills_its_greenlet(attached):
    events = []

    def function(begun):
        begun.set()
        try:
            gevlite.sleep(100)
        finally:
            gevlite.sleep(0.002)
            events.append("cleaned up")

    async def waits(begun):
        try:
            await spawn(function, begun)
        finally:
            events.append("task ended")

    async def main():
        begun = Event()
        task = asyncio.create_task(waits(begun))
        await begun
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        begun = Event()
        task = asyncio.create_task(waits(begun))
        await begun
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await task

    attached(main())
    assert events == ["cleaned up", "task ended"] * 2


def test_a_cancelled_task_loses_nothing(attached):
    async def main():
        for wait in range(20):
            queue, places = Queue(), Semaphore(0)
            takers = [asyncio.create_task(gevlite.asyncio.get(queue)), asyncio.create_task(acquire(places))]
            for _ in range(wait % 4):
                await asyncio.sleep(0)
            queue.put("item")
            places.release()
            for _ in range(wait // 4):
                await asyncio.sleep(0)
            for taker in takers:
                taker.cancel()
            item, place = await asyncio.gather(*takers, return_exceptions=True)
            if isinstance(item, asyncio.CancelledError):
                item = await gevlite.asyncio.get(queue)
            if isinstance(place, asyncio.CancelledError):
                place = await places
            assert (item, place, queue.qsize(), places.counter) == ("item", True, 0, 0)

    async def acquire(places):
        return await places

    attached(main())


def test_context_variables_go_along(attached):
    async def answer():
        await asyncio.sleep(0)
        return variable.get()

    def function():
        before = variable.get()
        variable.set("of the greenlet")
        return before, gevlite.asyncio.wait(answer())

    async def main():
        variable.set("of the task")
        return await spawn(function), variable.get()

    assert attached(main()) == (("of the task", "of the greenlet"), "of the task")


# ---------------------------------------------------------------- from greenlets to coroutines


def test_wait_uses_the_attached_loop(attached):
    async def loop():
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    async def fails():
        raise ZeroDivisionError("expected")

    def function(future):
        assert gevlite.asyncio.wait(add(1, 2)) == 3
        with pytest.raises(ZeroDivisionError):
            gevlite.asyncio.wait(fails())
        with pytest.raises(TimeoutError):
            gevlite.asyncio.wait(asyncio.sleep(100), timeout=0.002)
        with pytest.raises(gevlite.Timeout):
            gevlite.asyncio.wait(asyncio.sleep(100), timeout=gevlite.Timeout(0.002))
        assert gevlite.asyncio.wait(future) == "of the loop"
        return gevlite.asyncio.wait(loop())

    async def main():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.002, future.set_result, "of the loop")
        return await spawn(function, future) is asyncio.get_running_loop()

    assert attached(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks before Python 3.12")
def test_wait_with_eager_tasks(attached):
    async def current():
        first = asyncio.get_running_loop()
        await asyncio.sleep(0)
        return first, asyncio.get_running_loop()

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        assert await spawn(gevlite.asyncio.wait, current()) == (loop, loop)
        assert await spawn(gevlite.asyncio.wait, gevlite.spawn(blocks, 3)) == 3
        loop.set_task_factory(None)  # uvloop cannot end with this one on some releases of 3.13

    attached(main())


def test_a_killed_wait_cancels_its_task(attached):
    events = []

    async def sleeps(begun):
        begun.set()
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
            events.append("cancelled")
            raise

    async def main():
        begun = Event()
        greenlet = gevlite.spawn(gevlite.asyncio.wait, sleeps(begun))
        await begun
        greenlet.kill(block=False)
        with pytest.raises(asyncio.CancelledError):
            await greenlet
        assert events == ["cancelled"]

    attached(main())


def test_wait_and_run_in_a_coroutine_are_refused(attached):
    async def main():
        for call in (gevlite.asyncio.wait, gevlite.asyncio.run):
            coroutine = add(1, 2)
            with pytest.raises(RuntimeError, match="await"):
                call(coroutine)
            assert await coroutine == 3

    attached(main())


def test_wait_after_the_loop_has_stopped_uses_a_loop_of_gevlite(host):
    loop = new_loop(host)
    with gevlite.asyncio.attach(loop):
        loop.run_until_complete(asyncio.sleep(0.001))
        assert gevlite.asyncio.wait(add(1, 2)) == 3
    loop.close()
    vars(gevlite.get_hub()).pop("_asyncio_service").greenlet.kill()


# ---------------------------------------------------------------- a blocking call in a coroutine


def test_a_blocking_call_in_a_coroutine_holds_up_its_loop_only(attached):
    order = []

    async def main():
        asyncio.get_running_loop().call_soon(order.append, "callback")
        greenlet = gevlite.spawn(lambda: (gevlite.sleep(0.001), order.append("greenlet")))
        greenlet.join()
        order.append("coroutine")
        await greenlet
        left, right = socketpair()
        with left, right:
            sender = gevlite.spawn_later(0.002, left.sendall, b"x" * 10)
            assert right.recv(10) == b"x" * 10
            await sender
        await asyncio.sleep(0)

    attached(main())
    assert order == ["greenlet", "coroutine", "callback"]


def test_a_thread_is_noticed_after_a_blocking_call(attached):
    """The hub has polled by itself meanwhile; afterwards the loop polls for it again."""

    async def main():
        for _ in range(10):
            gevlite.sleep(0.0005)
            result = AsyncResult()
            greenlet = gevlite.spawn(result.get)
            gevlite.sleep(0)
            thread = threading.Timer(0.005, result.set, ["value"])
            thread.start()
            future = asyncio.get_running_loop().create_future()
            greenlet.rawlink(lambda _source, future=future: future.set_result(None))
            await future
            thread.join()

    attached(main())


def test_what_can_never_be_woken_is_a_loop_exit(run_script, host):
    code = """
        import asyncio, sys, gevlite, gevlite.asyncio
        from gevlite.event import Event
        from gevlite.exceptions import LoopExit

        async def main():
            gevlite.asyncio.attach()
            # The loop waits for what waits for the loop.
            try:
                gevlite.asyncio.spawn(gevlite.asyncio.wait, asyncio.sleep(0)).join()
            except LoopExit as exc:
                print("would wait for ever" in str(exc))
            # But not while the loop can still wake it.
            event = Event()
            asyncio.get_running_loop().call_later(0.01, event.set)
            print(await gevlite.asyncio.spawn(event.wait))

        if sys.argv[1] == "uvloop":
            import uvloop
            uvloop.run(main())
        else:
            asyncio.run(main())
    """
    done = run_script(code, host)
    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")


def test_deadlines_in_a_coroutine(attached):
    async def main():
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.002):
            gevlite.sleep(10)
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.002):
            await asyncio.sleep(10)
        with gevlite.move_on_after(0.002):
            await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            with gevlite.fail_after(0.002):
                await spawn(gevlite.sleep, 10)
        async with gevlite.TaskGroup() as group:
            group.spawn(gevlite.sleep, 0.001)
        return await spawn(blocks, 3)

    assert attached(main()) == 3


def test_a_timeout_of_a_callback_is_reported(attached):
    async def main():
        reported = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))
        timeout = gevlite.Timeout(0.002)
        loop.call_soon(timeout.start)
        await until(lambda: reported)
        timeout.close()
        return reported

    assert "asyncio.timeout()" in attached(main())[0]


# ---------------------------------------------------------------- descriptors and fairness


def test_more_descriptors_at_once_than_a_poll_reports(attached):
    pairs = [socketpair() for _ in range(300)]

    def receive(end):
        return end.recv(1) + end.recv(10)

    async def main():
        greenlets = [gevlite.spawn(receive, right) for _, right in pairs]
        await asyncio.sleep(0.001)
        for piece in (b"a", b"b"):
            for left, _ in pairs:
                left.send(piece)
            await asyncio.sleep(0.001)
        return [await greenlet for greenlet in greenlets]

    try:
        assert attached(main()) == [b"ab"] * 300
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def test_much_data_between_greenlets_and_coroutines(attached):
    size = 3_000_000

    async def answer(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    def client(address):
        with gevlite.socket.create_connection(address) as connection:
            sender = gevlite.spawn(lambda: (connection.sendall(b"x" * size), connection.shutdown(socket.SHUT_WR)))
            total = 0
            while data := connection.recv(100_000):
                total += len(data)
            sender.get()
            return total

    async def main():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        sizes = await asyncio.gather(*[spawn(client, address) for _ in range(3)])
        server.close()
        await server.wait_closed()
        return sizes

    assert attached(main()) == [size] * 3


def test_a_busy_hub_lets_the_loop_run(attached):
    async def main():
        stop = []

        def busy():
            while not stop:
                gevlite.sleep(0)

        greenlets = [gevlite.spawn(busy) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)
        assert not any(greenlet.ready() for greenlet in greenlets)
        stop.append(True)
        await asyncio.gather(*greenlets)

    attached(main())


def test_a_busy_loop_lets_the_hub_run(attached):
    async def main():
        loop = asyncio.get_running_loop()
        left, right = socketpair()
        stop = []

        def busy():
            if not stop:
                loop.call_soon(busy)

        busy()
        with left, right:
            receiver = spawn(right.recv, 10)
            await spawn(blocks, 1)  # a timer
            left.send(b"data")  # a descriptor
            assert await receiver == b"data"
        stop.append(True)

    attached(main())


def test_an_idle_process_has_no_wake_ups(attached):
    async def main():
        event = Event()
        left, right = socketpair()
        with left, right:
            idle = [gevlite.spawn(event.wait), gevlite.spawn(right.recv, 1), gevlite.spawn(gevlite.sleep, 100)]
            await spawn(blocks, 1, 0.01)
            await asyncio.sleep(0.01)
            before = gevlite.get_hub().stats()["polls"]
            await asyncio.sleep(0.1)
            assert gevlite.get_hub().stats()["polls"] == before
            gevlite.killall(idle)

    attached(main())


def test_timers_are_neither_early_nor_forgotten(attached):
    async def main():
        for seconds in (0.0003, 0.0014, 0.0047, 0.01):
            began = time.monotonic()
            await spawn(gevlite.sleep, seconds)
            assert time.monotonic() - began >= seconds
        # One that is set while a later one waits, and one that is taken back.
        later = gevlite.spawn_later(100, int)
        await asyncio.sleep(0.001)
        await spawn(gevlite.sleep, 0.001)
        later.kill()
        await spawn(gevlite.sleep, 0.001)

    attached(main())


def test_join_of_the_hub_in_a_greenlet(attached):
    async def main():
        done = []
        gevlite.spawn_later(0.002, done.append, 1)
        assert await spawn(gevlite.get_hub().join) is True
        assert done == [1]

    attached(main())


# ---------------------------------------------------------------- attach and detach


def test_without_attach_the_error_names_it(plain):
    async def main():
        with pytest.raises(RuntimeError, match=r"attach\(\)"):
            greenlet = gevlite.spawn(blocks, 1, 0)
            await greenlet
        greenlet.join()
        with gevlite.asyncio.attach() as guest:
            assert "attached to" in repr(guest)
            assert await spawn(blocks, 2) == 2
        assert "detached from" in repr(guest)
        with pytest.raises(RuntimeError, match=r"attach\(\)"):
            greenlet = spawn(blocks, 1, 0)
            await greenlet
        greenlet.join()
        guest.detach()
        with gevlite.asyncio.attach():
            return await spawn(blocks, 3)

    assert plain(main()) == 3


def test_what_cannot_be_attached(plain, host):
    with pytest.raises(RuntimeError, match="no event loop runs here"):
        gevlite.asyncio.attach()
    with pytest.raises(TypeError, match="event loop"):
        gevlite.asyncio.attach(3)
    loop = new_loop(host)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        gevlite.asyncio.attach(loop)
    other = new_loop(host)

    async def main():
        with gevlite.asyncio.attach():
            with pytest.raises(RuntimeError, match="attached already"):
                gevlite.asyncio.attach()
            with pytest.raises(RuntimeError, match="this thread is attached"):
                gevlite.asyncio.attach(other)
            return await spawn(blocks, 1)

    assert plain(main()) == 1
    other.close()


def test_the_loop_of_another_thread_cannot_be_attached(host):
    loop = new_loop(host)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        started = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
        started.result()
        with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
            gevlite.asyncio.attach(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_loop_that_goes_astray(host):
    """Attached in this thread, then run by another one."""
    reported = []
    loop = new_loop(host)
    loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))

    async def main():
        greenlet = gevlite.spawn(blocks, 1, 0)
        with pytest.raises(RuntimeError, match=r"attach\(\)"):
            await greenlet
        greenlet.join()
        await asyncio.sleep(0.002)

    with gevlite.asyncio.attach(loop):
        thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
        thread.start()
        thread.join()
        assert gevlite.spawn(blocks, 2).get() == 2
    assert len(reported) == 1 and "another thread" in reported[0]
    with gevlite.asyncio.attach(loop):
        assert loop.run_until_complete(spawned(3)) == 3
    loop.close()


def test_a_destroyed_hub_detaches(host):
    results = []

    async def main():
        guest = gevlite.asyncio.attach()
        results.append(await spawn(blocks, 1))
        gevlite.get_hub().destroy()
        results.append(guest.attached)
        with gevlite.asyncio.attach():
            results.append(await spawn(blocks, 2))

    def run():
        with asyncio.Runner(loop_factory=functools.partial(new_loop, host)) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == [1, False, 2]


def test_in_a_thread_of_its_own(host):
    results = []

    async def main():
        with gevlite.asyncio.attach():
            results.append(await asyncio.gather(*[spawn(blocks, number) for number in range(5)]))

    def run():
        with asyncio.Runner(loop_factory=functools.partial(new_loop, host)) as runner:
            runner.run(main())

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(5))] * 3


def test_with_a_loop_of_gevlite_there_is_nothing_to_do(run):
    async def main():
        with gevlite.asyncio.attach() as guest:
            assert not guest.attached
            return await spawn(blocks, 3)

    assert run(main()) == 3


def test_attached_before_it_runs_and_in_several_runs(host):
    loop = new_loop(host)
    guest = gevlite.asyncio.attach(loop)

    async def main(number):
        with pytest.raises(RuntimeError, match="no running event loop"):
            await spawn(asyncio.get_running_loop)
        return await spawn(blocks, number)

    assert [loop.run_until_complete(main(number)) for number in range(3)] == [0, 1, 2]
    # In between, the hub runs as ever.
    assert gevlite.spawn(blocks, 4).get() == 4
    assert gevlite.asyncio.run(add(2, 3)) == 5
    assert loop.run_until_complete(main(6)) == 6
    # And a greenlet that runs it.
    assert gevlite.spawn(loop.run_until_complete, main(7)).get() == 7
    guest.detach()
    loop.close()


def test_closing_the_loop_detaches(host):
    loop = new_loop(host)
    guest = gevlite.asyncio.attach(loop)
    assert loop.run_until_complete(spawned(1)) == 1
    loop.close()
    assert loop.is_closed() and not guest.attached
    assert gevlite.spawn(blocks, 2).get() == 2
    other = new_loop(host)
    gevlite.asyncio.attach(other)
    assert other.run_until_complete(spawned(3)) == 3
    other.close()


async def spawned(value):
    return await spawn(blocks, value)


def test_detach_ends_what_is_awaited_across(plain):
    async def main():
        guest = gevlite.asyncio.attach()
        event = Event()
        future = asyncio.get_running_loop().create_future()
        greenlet = spawn(event.wait)
        task = asyncio.create_task(waits(greenlet))
        waiter = gevlite.spawn(outcome, gevlite.asyncio.wait, future)
        await asyncio.sleep(0.002)
        guest.detach()
        with pytest.raises(RuntimeError, match="detached"):
            await task
        assert "detached" in str(waiter.get())
        event.set()
        greenlet.join()
        assert gevlite.get_hub().host is None

    async def waits(greenlet):
        await greenlet

    plain(main())


@gevlite.uninterrupted  # it waits as soon as it is started
def outcome(function, *args):
    try:
        return function(*args)
    except Exception as exc:
        return exc


def test_a_greenlet_can_detach(plain):
    async def main():
        guest = gevlite.asyncio.attach()
        gevlite.spawn(guest.detach)
        await until(lambda: gevlite.get_hub().host is None)
        # And while a coroutine holds up the loop.
        guest = gevlite.asyncio.attach()
        gevlite.spawn(guest.detach).join()
        await until(lambda: gevlite.get_hub().host is None)
        with gevlite.asyncio.attach():
            return await spawn(blocks, 3)

    assert plain(main()) == 3


def test_nothing_is_left_of_a_loop(host):
    async def main():
        with gevlite.asyncio.attach():
            return await spawn(blocks, 1)

    loop = new_loop(host)
    loop.run_until_complete(main())
    loop.close()
    seen = weakref.ref(loop)
    del loop
    gc.collect()
    # The hub forgets the greenlet that ran the loop when another one runs a loop.
    new_loop(host).close()
    gevlite.asyncio.run(asyncio.sleep(0))
    gc.collect()
    assert seen() is None


# ---------------------------------------------------------------- signals, forks, backends


def test_what_ends_the_process_ends_the_loop(attached):
    def exits():
        gevlite.sleep(0.001)
        sys.exit(3)

    async def main():
        gevlite.spawn(exits)
        await asyncio.sleep(20)

    with pytest.raises(SystemExit) as caught:
        attached(main())
    assert caught.value.code == 3


def test_a_signal_is_handled_while_the_loop_waits(attached):
    before = signal.getsignal(signal.SIGUSR1)

    async def main():
        caught = Event()
        signal.signal(signal.SIGUSR1, lambda number, frame: caught.set())
        killer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1))
        killer.start()
        assert await caught
        killer.join()
        # And in the loop's own way.
        again = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, again.set)
        gevlite.spawn_later(0.002, os.kill, os.getpid(), signal.SIGUSR1)
        await again.wait()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)

    try:
        attached(main())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_child_is_not_attached(attached):
    async def main():
        parked = gevlite.spawn(gevlite.sleep, 100)
        await asyncio.sleep(0.001)
        child = os.fork()
        if not child:
            try:
                code = 1
                if gevlite.get_hub().host is None and gevlite.spawn(blocks, 2).get() == 2:
                    code = 2 if gevlite.spawn(gevlite.asyncio.run, add(1, 2)).get() == 3 else 1
            finally:
                os._exit(code)
        _, status = await spawn(gevlite.os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 2
        parked.kill()
        return await spawn(blocks, 3)

    assert attached(main()) == 3


SCENARIO = """
import asyncio, sys, threading
import gevlite, gevlite.asyncio
from gevlite.event import Event
from gevlite.socket import create_connection, create_server

def serve(listener):
    while True:
        connection, _ = listener.accept()
        gevlite.spawn(answer, connection)

def answer(connection):
    with connection:
        while data := connection.recv(100):
            gevlite.sleep(0.001)
            connection.sendall(data)

def client(address, number):
    text = b"%d" % number
    with create_connection(address) as connection:
        for _ in range(5):
            connection.sendall(text)
            assert connection.recv(100) == text
    return number

async def streams(address, number):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"%d" % number)
    data = await reader.read(100)
    writer.close()
    return int(data)

async def main():
    hub = gevlite.get_hub()
    name = hub.backend.name
    with gevlite.asyncio.attach():
        assert hasattr(hub.backend, "fileno")
        listener = create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        server = gevlite.spawn(serve, listener)
        event = Event()
        timer = threading.Timer(0.02, event.set)
        timer.start()
        calls = [gevlite.asyncio.spawn(client, address, number) for number in range(20)]
        calls += [streams(address, number) for number in range(20, 40)]
        assert await asyncio.gather(*calls, event) == [*range(40), True]
        parked = gevlite.spawn(create_connection(address).recv, 1)
        await asyncio.sleep(0.001)
    assert hub.backend.name == name
    # Registered with the backend that it has now.
    assert client(address, 41) == 41
    parked.kill()
    server.kill()
    listener.close()
    timer.join()
    print(name)

if sys.argv[1] == "uvloop":
    import uvloop
    loop = uvloop.new_event_loop()
else:
    loop = asyncio.SelectorEventLoop()
loop.slow_callback_duration = 20
with asyncio.Runner(loop_factory=lambda: loop) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("backend", [name for name, problem in backends.available().items() if problem is None])
def test_each_backend(run_script, host, backend):
    done = run_script(SCENARIO, host, env={"GEVLITE_BACKEND": backend}, flags=("-X", "dev", "-W", "ignore"))
    assert (done.stdout, done.stderr) == (f"{backend}\n", "")


def test_a_backend_without_a_descriptor_is_refused(run_script):
    code = """
        import asyncio, gevlite, gevlite.asyncio
        from gevlite.backends.poll import PollBackend

        class Mine(PollBackend):
            name = "mine"

        gevlite.config.backend = Mine
        loop = asyncio.SelectorEventLoop()
        try:
            gevlite.asyncio.attach(loop)
        except RuntimeError as exc:
            print(exc)
        loop.close()
    """
    assert "set GEVLITE_BACKEND to epoll or kqueue" in run_script(code).stdout


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("allocator", ["default", "debug"])
def test_the_end_of_a_program(run_script, host, allocator):
    """Attached, and left so, with greenlets and tasks that never end."""
    code = """
        import asyncio, sys, gevlite, gevlite.asyncio
        from gevlite.event import Event

        begun = Event()

        def blocks():
            begun.set()
            try:
                gevlite.sleep(100)
            finally:
                print("greenlet")

        async def main():
            gevlite.asyncio.attach()
            global keep
            keep = [gevlite.spawn(Event().wait), gevlite.asyncio.spawn(gevlite.asyncio.wait, asyncio.sleep(100))]
            task = asyncio.create_task(waits())
            await begun
            await asyncio.sleep(0.01)

        async def waits():
            await gevlite.asyncio.spawn(blocks)

        if sys.argv[1] == "uvloop":
            import uvloop
            uvloop.run(main())
        else:
            asyncio.run(main())
        print("end")
    """
    flags = ("-X", "dev")
    done = run_script(code, host, flags=flags, env={"PYTHONMALLOC": allocator})
    assert done.stdout.split() == ["greenlet", "end"]


SERVER = """
import os, sys
if "patched" in sys.argv:
    from gevlite import monkey
    monkey.patch_all()
import asyncio, contextlib, socket, time
import gevlite, gevlite.asyncio
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

if "patched" in sys.argv:
    sleep, connect = time.sleep, socket.create_connection
else:
    sleep, connect = gevlite.sleep, gevlite.socket.create_connection

gate = gevlite.event.Event()
inside = 0

def view(number):
    # All of them are in it at once, or none comes out.
    global inside
    inside += 1
    if inside == CLIENTS:
        gate.set()
    assert gate.wait(20)
    sleep(0.001)
    with connect(("127.0.0.1", PORT)) as connection:       # this server
        connection.sendall(b"GET /plain HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n")
        text = b""
        while data := connection.recv(100):
            text += data
    assert text.endswith(b'"plain"'), text
    return number + gevlite.asyncio.wait(plus())

async def plus():
    await asyncio.sleep(0.001)
    return 1000

async def blocking(request):
    return JSONResponse(await gevlite.asyncio.spawn(view, int(request.path_params["number"])))

async def plain(request):
    return JSONResponse("plain")

@contextlib.asynccontextmanager
async def lifespan(app):
    with gevlite.asyncio.attach():
        yield

CLIENTS = 20
PORT = int(sys.argv[2])
app = Starlette(routes=[Route("/plain", plain), Route("/{number}", blocking)], lifespan=lifespan)
server = uvicorn.Server(uvicorn.Config(app, fd=int(sys.argv[3]), loop=sys.argv[1], log_level="warning", lifespan="on"))
server.run()
print("end", flush=True)
"""


@pytest.mark.parametrize("patched", ["plain", "patched"])
def test_uvicorn_and_starlette(tmp_path, host, patched):
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    script = tmp_path / "server.py"
    script.write_text(textwrap.dedent(SERVER))
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", script, host, str(port), str(listener.fileno()), patched],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            for _ in range(2):
                greenlets = [gevlite.spawn(fetch, port, number) for number in range(20)]
                assert [greenlet.get(timeout=40) for greenlet in greenlets] == [number + 1000 for number in range(20)]
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM)
        finally:
            process.kill()
            out, err = process.communicate()
    assert "Traceback" not in err, err


def fetch(port, number):
    with gevlite.socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number)
        text = b""
        while data := connection.recv(1000):
            text += data
        return int(text.rpartition(b"\r\n\r\n")[2])


def test_debug_mode_in_a_patched_process(run_script):
    """The loop then checks its thread ID, which is that of a greenlet there."""
    run_script("""
        from gevlite import monkey
        monkey.patch_all()
        import asyncio, gevlite, gevlite.asyncio

        async def double(number):
            await asyncio.sleep(0.001)
            return await gevlite.asyncio.spawn(lambda: gevlite.sleep(0.001) or 2 * number)

        async def main():
            with gevlite.asyncio.attach():
                return await asyncio.gather(*[gevlite.asyncio.spawn(gevlite.asyncio.wait, double(i)) for i in range(5)])

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop, debug=True) as runner:
            assert runner.run(main()) == [0, 2, 4, 6, 8]
            assert "_check_thread" not in vars(runner.get_loop())
    """)


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_patched_process(run_script, host, where):
    code = """
        from gevlite import monkey
        monkey.patch_all()
        import asyncio, sys, threading, time, gevlite, gevlite.asyncio

        def thread(results):
            time.sleep(0.002)
            results.append(threading.current_thread().name)

        def view(number):
            results = []
            started = threading.Thread(target=thread, args=(results,), name=str(number))
            started.start()
            started.join()
            assert gevlite.asyncio.wait(asyncio.sleep(0.001, "value")) == "value"
            return int(results[0])

        async def main():
            guest = gevlite.asyncio.attach()
            assert guest.attached
            assert await asyncio.gather(*[gevlite.asyncio.spawn(view, number) for number in range(20)]) == [*range(20)]
            assert await asyncio.to_thread(pow, 3, 2) == 9
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, view, 21) == 21
            time.sleep(0.001)
            busy = True
            def spin():
                if busy:
                    loop.call_soon(spin)
            spin()
            assert await gevlite.asyncio.spawn(view, 22) == 22
            busy = False
            event = gevlite.event.Event()
            threading.Timer(0.002, event.set).start()
            assert await event
            return "ok"

        def run():
            if sys.argv[1] == "uvloop":
                import uvloop
                print(uvloop.run(main()))
            else:
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    print(runner.run(main()))

        if sys.argv[2] == "main":
            run()
        else:   # which is a greenlet
            outer = threading.Thread(target=run)
            outer.start()
            outer.join()
    """
    done = run_script(code, host, where)
    assert (done.stdout, done.stderr) == ("ok\n", "")


@pytest.mark.parametrize("debug", ["debug", "no debug"])
def test_what_detach_ends_in_a_patched_process(run_script, debug):
    """The loop then waits as a greenlet does, while others run: they have to wake it."""
    done = run_script(
        """
        from gevlite import monkey
        monkey.patch_all()
        import asyncio, sys, gevlite, gevlite.asyncio
        from gevlite.event import Event

        async def never(began, ended):
            began.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()

        async def begin():
            began, ended = asyncio.Event(), asyncio.Event()
            greenlet = gevlite.spawn(gevlite.asyncio.wait, never(began, ended))
            await began.wait()
            return greenlet, ended

        async def main():
            # A greenlet that waits for a coroutine cancels it, after the loop has been detached.
            with gevlite.asyncio.attach():
                greenlet, ended = await begin()
            await ended.wait()
            while not greenlet.ready():
                await asyncio.sleep(0.001)
            print(greenlet.exception)

            # A greenlet detaches while the loop waits.
            guest = gevlite.asyncio.attach()
            greenlet, ended = await begin()
            gevlite.spawn_later(0.001, guest.detach)
            try:
                await Event()
            except RuntimeError as exc:
                print(exc)
            await ended.wait()
            assert gevlite.get_hub().host is None

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop, debug=sys.argv[1] == "debug") as runner:
            runner.run(main())
        """,
        debug,
    )
    assert done.stdout == "detached from the event loop while this was awaited\n" * 2


# ---------------------------------------------------------------- at random


@pytest.mark.parametrize("seed", range(3))
def test_random_mixtures(attached, seed):
    """Greenlets and tasks that spawn, await, cancel and kill each other; nothing is left of them."""
    choose = random.Random(seed)
    ends = {"value": 0, "cancelled": 0, "killed": 0, "timeout": 0}

    def blocking(depth):
        for _ in range(choose.randrange(4)):
            what = choose.randrange(6)
            if what == 0:
                gevlite.sleep(choose.choice([0, 0.0001, 0.001]))
            elif what == 1 and depth:
                gevlite.spawn(blocking, depth - 1).join()
            elif what == 2 and depth:
                gevlite.spawn(blocking, depth - 1).kill()
            elif what == 3 and depth:
                try:
                    gevlite.asyncio.wait(suspending(depth - 1), timeout=choose.choice([None, 0.0005]))
                except (TimeoutError, asyncio.CancelledError):
                    ends["timeout"] += 1
            elif what == 4 and depth:
                gevlite.asyncio.run(own(depth - 1))
            elif what == 5:
                with gevlite.Timeout(0.0005, False):
                    Event().wait()
        return "value"

    async def own(depth):
        await asyncio.sleep(0)
        return await spawn(blocking, depth)

    async def suspending(depth):
        for _ in range(choose.randrange(4)):
            what = choose.randrange(6)
            if what == 0:
                await asyncio.sleep(choose.choice([0, 0.0001, 0.001]))
            elif what == 1:
                ends[await spawn(blocking, depth)] += 1
            elif what == 2:
                task = asyncio.create_task(suspending(max(depth - 1, 0)) if depth else asyncio.sleep(0.001))
                await asyncio.sleep(choose.choice([0, 0.0005]))
                task.cancel()
                await asyncio.wait([task])
                ends["cancelled"] += task.cancelled()
            elif what == 3:
                greenlet = spawn(blocking, depth)
                await asyncio.sleep(0)
                greenlet.kill(block=False)
                try:
                    await greenlet
                except asyncio.CancelledError:
                    ends["killed"] += 1
            elif what == 4:
                gevlite.sleep(choose.choice([0, 0.0001]))
            elif what == 5:
                queue = Queue()
                gevlite.spawn_later(choose.choice([0, 0.0002]), queue.put, 1)
                await gevlite.asyncio.get(queue)

    async def main():
        before = gevlite.get_hub().stats()["greenlets"]
        rounds = 0
        while rounds < 10 or not all(ends.values()):  # until everything has happened
            await asyncio.gather(*[suspending(3) for _ in range(20)])
            rounds += 1
        # Those that are killed or cancelled leave behind what they have started.
        await until(lambda: len(asyncio.all_tasks()) == 1 and gevlite.get_hub().stats()["greenlets"] == before)

    attached(main())
