"""A loop in the main greenlet, which polls by itself while there is nothing else to do; and what a loop reuses."""

import asyncio
import inspect
import os
import signal
import socket
import weakref
from threading import Thread, main_thread
from time import sleep

import pytest

import gevlite
import gevlite.profile
import gevlite.trace
from gevlite import _probe
from gevlite._core import hubs
from gevlite._report import Report
from gevlite.asyncio import EventLoop


def run(coroutine):
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(coroutine)


async def ping_pong(n):
    """Send so many bytes back and forth, by two tasks that wait for each other's data."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)

        async def answer():
            for _ in range(n):
                await loop.sock_sendall(other, await loop.sock_recv(other, 10))

        task = asyncio.create_task(answer())
        for _ in range(n):
            await loop.sock_sendall(one, b"x")
            assert await loop.sock_recv(one, 10) == b"x"
        await task


@pytest.mark.uninterrupted  # the end of a slice is a switch
def test_a_loop_that_is_alone_polls_without_a_switch():
    async def main():
        await asyncio.sleep(0.001)
        before = gevlite.get_hub().stats()
        await ping_pong(50)
        await asyncio.sleep(0.001)
        after = gevlite.get_hub().stats()
        assert after["polls"] >= before["polls"] + 50
        return after["switches"] - before["switches"]

    assert run(main()) < 10  # what the process does besides, now and then


def test_other_greenlets_have_their_turn_while_it_polls():
    async def main():
        counts = []

        def count():
            for i in range(20):
                gevlite.sleep(0.0005 if i % 2 else 0)
                counts.append(i)

        greenlet = gevlite.spawn(count)
        while not greenlet.ready():
            await ping_pong(5)
        return counts

    assert run(main()) == list(range(20))


def test_a_timeout_of_the_main_greenlet_ends_the_loop():
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
        run(asyncio.sleep(100))


@pytest.fixture
def alarm():
    """`alarm(handler)`: a signal that comes in a moment, while the hub polls if it does that by then."""
    threads = []
    hub = gevlite.get_hub()

    def send():
        sleep(0.02)
        for _ in range(1000):
            if hub.progress() is None:
                break
            sleep(0.001)
        signal.pthread_kill(main_thread().ident, signal.SIGUSR1)

    def start(handler):
        signal.signal(signal.SIGUSR1, handler)
        threads.append(Thread(target=send))
        threads[-1].start()

    before = signal.getsignal(signal.SIGUSR1)
    yield start
    while any(thread.is_alive() for thread in threads):
        gevlite.sleep(0.001)
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_may_block(alarm):
    async def main():
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        seen = []

        def handler(signum, frame):
            seen.append(gevlite.getcurrent())
            other = gevlite.spawn(gevlite.sleep, 0.005)
            other.join()
            gevlite.spawn(seen.append, "other").join()
            loop.call_soon(event.set)

        alarm(handler)
        await event.wait()
        return seen

    assert run(main()) == [gevlite.getcurrent(), "other"]


def test_what_a_signal_handler_raises_ends_the_loop(alarm):
    def handler(signum, frame):
        raise gevlite.GreenletExit("by a signal")

    alarm(handler)
    with pytest.raises(gevlite.GreenletExit, match="by a signal"):
        run(asyncio.sleep(100))


def test_a_handle_that_is_kept_is_not_used_again():
    async def main():
        loop = asyncio.get_running_loop()
        calls = []
        kept = loop.call_soon(calls.append, 1)
        seen = weakref.ref(loop.call_soon(calls.append, 2))
        await asyncio.sleep(0)
        later = [loop.call_soon(calls.append, i) for i in range(3, 10)]
        assert kept not in later
        assert kept._args == (1,)
        assert seen() is None
        await asyncio.sleep(0)
        return calls

    assert run(main()) == list(range(1, 10))


def test_a_cancelled_handle_leaves_nothing_in_the_next_one():
    async def main():
        loop = asyncio.get_running_loop()
        calls = []
        for i in range(10):
            loop.call_soon(calls.append, "cancelled").cancel()
            handle = loop.call_soon(calls.append, i)
            assert not handle.cancelled()
            del handle
            await asyncio.sleep(0)
        return calls

    assert run(main()) == list(range(10))


def test_the_arguments_of_call_soon():
    loop = EventLoop()
    try:
        calls = []
        loop.call_soon(callback=lambda: calls.append(()))
        loop.call_soon(lambda *args: calls.append(args), 1, 2, context=None)
        with pytest.raises(TypeError, match="callback"):
            loop.call_soon()
        with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
            loop.call_soon(print, other=1)
        assert list(inspect.signature(loop.call_soon).parameters) == ["callback", "args", "context"]
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert calls == [(), (1, 2)]
    finally:
        loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)


def test_a_long_batch_is_followed_by_short_ones():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_debug(False)  # debug mode would take long
        calls = []
        for n in (100_000, 1, 70_000, 3):
            for i in range(n):
                loop.call_soon(calls.append, i)
            await asyncio.sleep(0)
            assert calls == list(range(n))
            calls.clear()

    run(main())


def test_create_task_passes_everything_on():
    async def name():
        return asyncio.current_task().get_name()

    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.create_task(name(), name="a name") == "a name"
        with pytest.raises(TypeError):
            loop.create_task(name(), no_such_option=1)
        made = []

        def factory(loop, coro, **kwargs):
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(factory)
        await loop.create_task(name())
        assert loop.get_task_factory() is factory
        return len(made)

    with pytest.warns(RuntimeWarning, match="never awaited"):
        assert run(main()) == 1


# ---------------------------------------------------------------- interrupting it, and inspecting it meanwhile

MAIN = gevlite.getcurrent()


def is_parked():
    return any(waiter.parked is MAIN for hub in hubs() for waiter in hub.parked_waiters())


def while_it_polls(act):
    """Run a loop in the main greenlet that waits for an Event; `act(set_event)` is called in another OS thread
    once that polls in place."""

    async def main():
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        hub = gevlite.get_hub()
        polls = hub.stats()["polls"]

        def look():
            while hub.stats()["polls"] <= polls or hub.progress() is not None:
                sleep(0.001)
            seen.append(is_parked())
            act(lambda: loop.call_soon_threadsafe(event.set))

        thread = Thread(target=look)
        thread.start()
        await asyncio.wait_for(event.wait(), 50)
        while thread.is_alive():
            await asyncio.sleep(0.001)

    seen = []
    run(main())
    assert seen == [False]


def test_another_thread_wakes_it():
    while_it_polls(lambda set_event: set_event())


def test_another_thread_has_the_hub_call_something():
    hub = gevlite.get_hub()
    while_it_polls(lambda set_event: hub.call_soon_threadsafe(set_event))


def test_another_thread_starts_a_greenlet():
    hub = gevlite.get_hub()

    def work(set_event):
        gevlite.sleep(0.001)
        set_event()

    while_it_polls(lambda set_event: hub.call_soon_threadsafe(gevlite.spawn, work, set_event))


def test_what_another_thread_throws_into_the_main_greenlet_ends_it():
    hub = gevlite.get_hub()
    with pytest.raises(gevlite.GreenletExit, match="thrown"):
        while_it_polls(lambda _: hub.throw(MAIN, gevlite.GreenletExit("thrown")))


def test_reports_say_what_it_waits_for():
    found = []

    def look(set_event):
        report = Report(_probe.collect())
        found.extend(one for one in report.greenlets if one.kind == "main" and one.hub == number_of(report))
        found.extend(hub.state for hub in report.hubs if hub.id == ours)
        set_event()

    def number_of(report):
        return next(hub.number for hub in report.hubs if hub.id == ours)

    ours = id(gevlite.get_hub())
    while_it_polls(look)
    main, state = found
    assert state == "idle"
    assert main.state == "parked"
    assert main.waits_for == "the tasks of its event loop"
    assert [name for _, name, _ in main.task_list] or main.tasks == 1
    assert 0 < main.until < 51
    assert any(place.function == "while_it_polls" for place in main.stack)


def in_handler(alarm, act):
    """Run a loop that waits for an Event; `act(set_event)` is called by a signal handler in the middle of its poll."""

    async def main():
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def handler(signum, frame):
            seen.append(is_parked())
            act(lambda: loop.call_soon_threadsafe(event.set))

        await asyncio.sleep(0.001)
        alarm(handler)
        await asyncio.wait_for(event.wait(), 50)

    seen = []
    run(main())
    assert seen == [False]


def test_a_wake_up_while_a_handler_waits_is_not_lost(alarm):
    def act(set_event):
        gevlite.spawn(set_event).join()
        gevlite.sleep(0.01)  # so that the hub polls, and takes the event that would have woken the main greenlet

    in_handler(alarm, act)


def test_a_thread_wakes_it_while_a_handler_waits(alarm):
    def act(set_event):
        thread = Thread(target=set_event)
        thread.start()
        while thread.is_alive():
            gevlite.sleep(0.001)
        gevlite.sleep(0.01)

    in_handler(alarm, act)


def test_a_descriptor_is_reported_while_a_handler_waits(alarm):
    one, other = socket.socketpair()

    def act(set_event):
        other.send(b"x")
        gevlite.sleep(0.01)

    async def main():
        one.setblocking(False)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.001)
        alarm(lambda signum, frame: act(None))
        return await asyncio.wait_for(loop.sock_recv(one, 10), 50)

    with one, other:
        assert run(main()) == b"x"


def test_a_handler_that_computes_is_seen_by_the_monitoring_thread(alarm):
    hub = gevlite.get_hub()

    def act(set_event):
        first = hub.progress()
        assert first is not None
        assert hub.progress() == first
        set_event()

    in_handler(alarm, act)


@pytest.mark.parametrize("where", ["callback", "handler", "task"])
def test_a_fork_in_it(alarm, where):
    def fork(*args):
        children.append(os.fork())
        if not children[0]:
            raise SystemExit  # asyncio's loops do not go on in a child

    async def main():
        await ping_pong(3)
        if where == "callback":
            asyncio.get_running_loop().call_soon(fork)
        elif where == "handler":
            alarm(fork)
        else:
            fork()
        while not children:
            await asyncio.sleep(0.001)

    children = []
    parent = os.getpid()
    status = 1
    try:
        loop = EventLoop()
        try:
            loop.run_until_complete(main())
        except SystemExit:
            assert os.getpid() != parent
        run(ping_pong(3))
        gevlite.spawn(gevlite.sleep, 0.001).join()
        status = 7
    finally:
        if os.getpid() != parent:
            os._exit(status)
        loop.close()
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["callback", "handler"])
def test_what_ends_the_program_ends_the_loop_which_can_go_on(alarm, error, where):
    def fail(*args):
        raise error

    async def main():
        await ping_pong(2)
        if where == "callback":
            asyncio.get_running_loop().call_later(0.001, fail)
        else:
            alarm(fail)
        await may_go_on.wait()
        await ping_pong(2)
        return "went on"

    may_go_on = asyncio.Event()
    loop = EventLoop()
    try:
        task = loop.create_task(main())
        with pytest.raises(error):
            loop.run_until_complete(task)
        loop.call_soon(may_go_on.set)
        assert loop.run_until_complete(task) == "went on"
    finally:
        loop.close()


def test_a_kill_ends_a_loop_that_is_never_idle():
    async def main():
        gevlite.spawn(gevlite.get_hub().throw, MAIN, gevlite.GreenletExit("killed"))
        while True:
            await asyncio.sleep(0)

    with pytest.raises(gevlite.GreenletExit, match="killed"):
        run(main())


def test_a_loop_in_the_main_greenlet_of_another_thread():
    def work():
        async def main():
            await ping_pong(20)
            other = gevlite.spawn(gevlite.sleep, 0.001)
            while not other.dead:
                await asyncio.sleep(0.001)
            return gevlite.get_hub().stats()["polls"]

        polls.append(run(main()))
        gevlite.get_hub().destroy()

    polls = []
    thread = Thread(target=work)
    thread.start()
    while thread.is_alive():
        gevlite.sleep(0.001)
    assert polls[0] >= 20


@pytest.mark.uninterrupted  # the end of a slice is a switch
def test_a_profiler_and_a_trace_see_it_wait_in_the_hub(tmp_path):
    async def main():
        await asyncio.sleep(0.001)
        before = gevlite.get_hub().stats()["switches"]
        await ping_pong(20)
        return gevlite.get_hub().stats()["switches"] - before

    assert run(main()) < 10
    with gevlite.trace.record(tmp_path / "trace.json"):
        assert run(main()) >= 20
    profile = gevlite.profile.Profile()
    profile.enable()
    try:
        assert run(main()) >= 20
    finally:
        profile.disable()
