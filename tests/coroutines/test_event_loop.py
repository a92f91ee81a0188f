"""`EventLoop`: any number of them in one thread, each in its greenlet, with what asyncio promises of a loop."""

import asyncio
import contextvars
import gc
import logging
import os
import signal
import socket
import sys
import threading
import weakref

import pytest

import gevlite
import gevlite.socket as gevlite_socket
from gevlite._core import getcurrent, monotonic
from gevlite.asyncio import EventLoop
from gevlite.event import Event


@pytest.fixture(name="loop")
def loop_fixture():
    loop = EventLoop()
    yield loop
    loop.close()


# ---------------------------------------------------------------- many at once


async def sleeps(result):
    for _ in range(3):
        await asyncio.sleep(0.001)
    return result


def test_a_hundred_loops_run_at_once(run, clock):
    running, most = 0, 0

    async def main(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            assert asyncio.current_task() in asyncio.all_tasks()
        running -= 1
        return number

    greenlets = [gevlite.spawn(run, main(number)) for number in range(100)]
    assert [greenlet.get() for greenlet in greenlets] == list(range(100))
    assert most == 100


def test_each_in_threads_with_hubs_of_their_own(run):
    results = []

    def thread():
        greenlets = [gevlite.spawn(run, sleeps(number)) for number in range(10)]
        results.append([greenlet.get() for greenlet in greenlets])

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == [list(range(10))] * 4


def test_nobody_else_sees_the_running_loop(run):
    seen = []

    async def main():
        watcher = gevlite.spawn(lambda: seen.append(asyncio._get_running_loop()))
        await asyncio.sleep(0.005)
        gevlite.sleep(0.001)
        watcher.join()
        again = gevlite.spawn(lambda: seen.append(asyncio._get_running_loop()))
        again.join()  # a coroutine that blocks
        assert asyncio.current_task() is not None

    run(main())
    assert seen == [None, None]
    assert asyncio._get_running_loop() is None


def test_a_blocking_call_holds_up_its_own_loop_only(run):
    order = []
    blocked = Event()

    async def blocks():
        asyncio.get_running_loop().call_soon(order.append, "after")
        blocked.wait()
        order.append("unblocked")

    async def goes_on():
        await asyncio.sleep(0.001)
        order.append("other")
        blocked.set()

    gevlite.joinall([gevlite.spawn(run, blocks()), gevlite.spawn(run, goes_on())], raise_error=True)
    assert order == ["other", "unblocked", "after"]


def test_a_busy_loop_lets_others_run(run):
    done = []

    async def busy():
        while not done:
            await asyncio.sleep(0)

    gevlite.joinall([gevlite.spawn(run, busy()), gevlite.spawn_later(0.001, done.append, 1)], raise_error=True)


def test_a_busy_loop_hears_of_descriptors_and_threads(run):
    left, right = socket.socketpair()

    async def main():
        loop = asyncio.get_running_loop()
        heard = []
        loop.add_reader(left, lambda: heard.append(left.recv(10)))
        right.send(b"x")
        threading.Thread(target=loop.call_soon_threadsafe, args=(heard.append, "thread")).start()
        while len(heard) < 2:
            await asyncio.sleep(0)
        loop.remove_reader(left)
        return heard

    with left, right:
        assert set(run(main())) == {b"x", "thread"}


def test_a_loop_within_a_loop_is_refused(run):
    async def main():
        with pytest.raises(RuntimeError, match="running event loop|another loop is running"):
            run(sleeps(1)) if sys.version_info < (3, 12) else EventLoop().run_until_complete(asyncio.sleep(0))

    with pytest.warns((RuntimeWarning, ResourceWarning)):
        run(main())
        gc.collect()


def test_it_runs_in_one_greenlet_at_a_time(loop):
    greenlet = gevlite.spawn(loop.run_forever)
    gevlite.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        loop.run_forever()
    loop.stop()
    greenlet.join()
    loop.run_until_complete(asyncio.sleep(0))


# ---------------------------------------------------------------- what wakes it


def test_call_soon_of_another_greenlet_wakes_it(run):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        gevlite.spawn_later(0.001, future.set_result, "woken")
        return await future

    assert run(main()) == "woken"


def test_call_soon_threadsafe_wakes_it(run):
    async def main():
        loop = asyncio.get_running_loop()
        for number in range(50):
            future = loop.create_future()
            threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, number)).start()
            assert await future == number

    run(main())


def test_a_new_timer_shortens_its_wait(run):
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(50, pytest.fail)
        future = loop.create_future()
        gevlite.spawn_later(0.001, lambda: loop.call_later(0.001, future.set_result, 1))
        return await future

    assert run(main()) == 1


def test_stop_by_another_greenlet(loop):
    gevlite.spawn_later(0.001, loop.stop)
    loop.run_forever()
    gevlite.spawn_later(0.001, loop.call_soon, loop.stop)
    loop.run_forever()


# ---------------------------------------------------------------- timers


def test_timers_come_in_order_and_can_be_cancelled(loop):
    called = []
    start = loop.time()
    for number in range(200):
        loop.call_at(start + (number * 7919 % 200) / 20000, called.append, number * 7919 % 200)
    cancelled = [loop.call_later(0.005, called.append, "never") for _ in range(100)]
    for timer in cancelled[::2] + cancelled[1::2]:
        timer.cancel()
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert called == list(range(200))


def test_equal_times_keep_their_order(loop):
    called = []
    when = loop.time() + 0.001
    for number in range(50):
        loop.call_at(when, called.append, number)
    loop.call_at(when, loop.stop)
    loop.run_forever()
    assert called == list(range(50))


def test_never_early(loop):
    for seconds in (0.0011, 0.0000001, 0):
        when = loop.time() + seconds
        loop.call_at(when, loop.stop)
        loop.run_forever()
        assert loop.time() >= when


def test_its_clock_is_that_of_the_hub(loop):
    before = monotonic()
    assert before <= loop.time() <= monotonic()


def test_bad_times(loop):
    with pytest.raises(TypeError):
        loop.call_later(None, print)
    with pytest.raises(TypeError):
        loop.call_at(None, print)
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), print)
    loop.call_later(float("inf"), print)
    loop.call_later(-1, loop.stop)
    loop.run_forever()


def test_timers_of_a_loop_that_does_not_run_keep_nobody_waiting(loop):
    loop.call_later(100, print)
    assert gevlite.get_hub().join(timeout=20)


def test_a_handle_is_what_asyncio_calls_one(loop):
    handle, timer = loop.call_soon(print), loop.call_later(1, print)
    assert isinstance(handle, asyncio.Handle) and not isinstance(handle, asyncio.TimerHandle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert not timer.cancelled()
    assert timer.when() > loop.time()
    timer.cancel()
    timer.cancel()
    assert timer.cancelled()
    assert "cancelled" in repr(timer)
    earlier, later = loop.call_later(1, print), loop.call_later(2, print)
    assert (
        earlier < later and earlier <= later and later > earlier and earlier != later and hash(earlier) != hash(later)
    )
    with pytest.raises(TypeError):
        type(handle)()


# ---------------------------------------------------------------- made here, run there


def test_what_sleep_has_called_needs_no_context_and_other_futures_have_theirs(loop):
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    class Future(asyncio.Future):
        def set_result(self, result):
            seen.append(variable.get())
            super().set_result(result)

    set_result = asyncio.futures._set_result_unless_cancelled
    mine, plain, other = Future(loop=loop), loop.create_future(), loop.create_future()

    def begin():
        variable.set("inside")
        plain.add_done_callback(lambda future: seen.append(variable.get()))
        for future in (mine, plain):
            handles.append(loop.call_later(0.001, set_result, future, "done"))
        handles.append(loop.call_soon(set_result, other, "never"))

    handles = []
    contextvars.copy_context().run(begin)
    assert all(isinstance(handle.get_context(), contextvars.Context) for handle in handles)
    assert handles[0].get_context()[variable] == "inside"
    handles[2].cancel()
    handles[2]._run()  # nothing is left of it: an error for the loop's handler, and no crash
    assert loop.run_until_complete(asyncio.gather(mine, plain)) == ["done", "done"]
    assert seen == ["inside", "inside"] and not other.done()


def test_made_in_one_thread_and_run_in_another():
    loop = EventLoop()
    left, right = socket.socketpair()
    heard = []
    loop.add_reader(left, lambda: (heard.append(left.recv(1)), loop.call_later(0.001, loop.stop)))
    loop.call_soon(right.send, b"x")
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    thread.join()
    loop.call_soon(right.send, b"y")
    loop.run_forever()
    assert heard == [b"x", b"y"]
    loop.close()
    left.close()
    right.close()


def test_stopped_from_another_thread(loop):
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


# ---------------------------------------------------------------- kill and time-out


def test_a_kill_while_it_waits_cancels_its_tasks(run):
    events = []
    started = Event()

    async def child():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            events.append("child")
            raise

    async def main():
        task = asyncio.ensure_future(child())
        started.set()
        try:
            await task
        finally:
            events.append("main")

    greenlet = gevlite.spawn(run, main())
    started.wait()
    gevlite.idle()
    greenlet.kill()
    assert isinstance(greenlet.value, gevlite.GreenletExit)
    assert sorted(events) == ["child", "main"]


@pytest.mark.parametrize("block", [False, True])
def test_a_timeout_around_it(run, block, clock):
    async def main():
        if block:
            gevlite.sleep(100)
        await asyncio.sleep(100)

    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.005):
        run(main())


def test_a_kill_in_a_callback_that_blocks_ends_it(loop):
    loop.call_soon(gevlite.sleep, 100)
    greenlet = gevlite.spawn(loop.run_forever)
    gevlite.sleep(0.001)
    greenlet.kill()
    assert greenlet.dead and not loop.is_running()


def test_what_was_ready_is_kept_when_the_loop_ends_early(loop):
    called = []

    def fails():
        raise SystemExit(3)

    loop.call_soon(called.append, 1)
    loop.call_soon(fails)
    loop.call_soon(called.append, 2)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert called == [1]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert called == [1, 2]


# ---------------------------------------------------------------- errors and debug mode


def test_an_error_in_a_callback_goes_to_the_handler(loop):
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    handle = loop.call_soon(lambda: 1 / 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)
    assert contexts[0]["handle"] is handle
    assert "Exception in callback" in contexts[0]["message"]


def test_debug_mode_logs_what_is_slow(run, caplog):
    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.001
        loop.call_soon(gevlite.sleep, 0.005)
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING, "asyncio"):
        run(main(), debug=True)
    assert any("sleep" in record.getMessage() and "took" in record.getMessage() for record in caplog.records)


def test_debug_mode_knows_where_a_callback_was_made(run):
    async def main():
        loop = asyncio.get_running_loop()
        contexts = []
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        assert "test_event_loop.py" in repr(contexts[0]["source_traceback"])
        with pytest.raises(TypeError, match="callable"):
            loop.call_soon(1)
        with pytest.raises(TypeError, match="coroutines"):
            loop.call_later(1, sleeps)

    run(main(), debug=True)


def test_debug_mode_refuses_another_thread_but_no_greenlet(run):
    async def main():
        loop = asyncio.get_running_loop()
        errors = []

        def thread():
            try:
                loop.call_soon(print)
            except RuntimeError as exc:
                errors.append(exc)

        other = threading.Thread(target=thread)
        other.start()
        other.join()
        assert "Non-thread-safe" in str(errors[0])
        future = loop.create_future()
        gevlite.spawn(future.set_result, 1)
        await future

    run(main(), debug=True)


def test_closed(loop):
    loop.close()
    loop.close()
    for method in (loop.call_soon, loop.call_soon_threadsafe, lambda f: loop.call_later(1, f), loop.create_task):
        with pytest.raises(RuntimeError, match="closed"):
            coroutine = sleeps(1)
            try:
                method(coroutine)
            finally:
                coroutine.close()
    assert loop.is_closed()


# ---------------------------------------------------------------- contexts

variable = contextvars.ContextVar("variable", default="default")


def test_callbacks_run_in_their_contexts(loop):
    seen = []
    variable.set("outside")
    loop.call_soon(lambda: seen.append(variable.get()))
    context = contextvars.Context()
    context.run(variable.set, "given")
    loop.call_soon(lambda: seen.append(variable.get()), context=context)
    loop.call_later(0, lambda: seen.append(variable.get()), context=context)
    loop.call_soon(variable.set, "leaks?")
    loop.call_later(0.001, loop.stop)
    variable.set("default")
    loop.run_forever()
    assert seen == ["outside", "given", "given"]
    assert variable.get() == "default"


def test_a_context_that_is_in_use_is_an_error_of_the_callback(loop, caplog):
    context = contextvars.copy_context()
    loop.call_soon(pytest.fail, context=context)
    loop.call_soon(loop.stop)
    context.run(loop.run_forever)
    assert "already entered" in caplog.text


def test_a_greenlet_has_its_own_context_while_the_loop_waits(run, clock):
    async def main():
        variable.set("in the task")
        seen = []
        gevlite.spawn_later(0.001, lambda: seen.append(variable.get()))
        await asyncio.sleep(0.01)
        return seen

    before = variable.get()
    # A greenlet gets the context of its spawner, here the task.
    assert run(main()) == ["in the task"]
    assert variable.get() == before


# ---------------------------------------------------------------- descriptors


def test_a_reader_is_called_while_there_is_something_to_read(run):
    left, right = socket.socketpair()
    right.send(b"abc")

    async def main():
        loop = asyncio.get_running_loop()
        heard = []
        done = loop.create_future()

        def readable():
            heard.append(left.recv(1))
            if len(heard) == 3:
                loop.remove_reader(left)
                done.set_result(None)

        loop.add_reader(left.fileno(), readable)
        await done
        right.send(b"more")
        await asyncio.sleep(0.005)
        assert not loop.remove_reader(left)
        return heard

    with left, right:
        assert run(main()) == [b"a", b"b", b"c"]


def test_both_directions_of_one_descriptor(run):
    left, right = socket.socketpair()

    async def main():
        loop = asyncio.get_running_loop()
        heard, wrote = [], loop.create_future()
        read = loop.create_future()
        loop.add_reader(left, lambda: heard.append(left.recv(9)) or read.set_result(None))
        loop.add_writer(left, lambda: wrote.done() or wrote.set_result(None))
        await wrote
        assert loop.remove_writer(left)
        right.send(b"x")
        await read
        assert loop.remove_reader(left)
        return heard

    with left, right:
        assert run(main()) == [b"x"]


def test_a_second_callback_takes_the_place_of_the_first(run):
    left, right = socket.socketpair()
    right.send(b"x")

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_reader(left, pytest.fail)
        loop.add_reader(left, lambda: future.done() or future.set_result(None))
        await future
        loop.remove_reader(left)

    with left, right:
        run(main())


def test_bad_descriptors(run):
    async def main():
        loop = asyncio.get_running_loop()
        for bad in ("x", -1, None):
            with pytest.raises(ValueError):
                loop.add_reader(bad, print)
        left, right = socket.socketpair()
        number = left.fileno()
        left.close()
        right.close()
        with pytest.raises(OSError):
            loop.add_reader(number, print)
        assert not loop.remove_reader(number)

    run(main())


def test_closed_while_it_is_watched(run):
    async def main():
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        loop.add_reader(left, pytest.fail)
        await asyncio.sleep(0)
        left.close()
        right.close()
        again, other = socket.socketpair()
        future = loop.create_future()
        loop.add_reader(again, lambda: future.done() or future.set_result(None))
        other.send(b"x")
        await future
        loop.remove_reader(again)
        again.close()
        other.close()

    run(main())


def test_gevlite_sockets_can_be_watched_while_greenlets_use_them(run):
    left, right = gevlite_socket.socketpair()
    received = []

    async def main():
        loop = asyncio.get_running_loop()
        reader = gevlite.spawn(lambda: received.append(left.recv(1)))
        await asyncio.sleep(0.001)
        called = loop.create_future()
        loop.add_reader(left.fileno(), lambda: called.done() or called.set_result(None))
        right.send(b"ab")
        await called
        loop.remove_reader(left.fileno())
        reader.join()

    with left, right:
        run(main())
        assert received == [b"a"] and left.recv(5) == b"b"


def test_two_loops_watch_one_descriptor(run):
    left, right = socket.socketpair()

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_reader(left, lambda: future.done() or future.set_result(None))
        await future
        loop.remove_reader(left)

    with left, right:
        greenlets = [gevlite.spawn(run, main()) for _ in range(2)]
        gevlite.sleep(0.001)
        right.send(b"x")
        gevlite.joinall(greenlets, raise_error=True)


# ---------------------------------------------------------------- what it is made of


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_loop_has_no_descriptors_of_its_own():
    gevlite.get_hub()
    before = len(os.listdir("/proc/self/fd"))
    loops = [EventLoop() for _ in range(10)]
    for loop in loops:
        loop.run_until_complete(asyncio.sleep(0))
    assert len(os.listdir("/proc/self/fd")) == before
    for loop in loops:
        loop.close()


def test_a_dropped_loop_goes_away_with_all_that_is_in_it():
    class Thing:
        pass

    def make():
        loop = EventLoop()
        thing = Thing()
        loop.call_soon(lambda: (thing, loop))
        loop.call_later(10, lambda: (thing, loop))
        left, right = socket.socketpair()
        loop.add_reader(left, lambda: (thing, loop))
        loop.run_until_complete(asyncio.sleep(0))
        loop.call_soon(lambda: (thing, loop))
        right.close()
        return weakref.ref(loop), weakref.ref(thing), left

    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        loop, thing, left = make()
        gc.collect()
    assert loop() is None and thing() is None
    left.close()


def test_callbacks_are_let_go_at_once(loop):
    class Thing:
        def method(self):
            pass

    things = []
    for schedule in (loop.call_soon, lambda f: loop.call_later(0, f)):
        thing = Thing()
        things.append(weakref.ref(thing))
        schedule(thing.method)
    timer = loop.call_later(100, thing.method)
    del thing
    timer.cancel()
    del timer
    loop.call_later(0.002, lambda: [thing() for thing in things] == [None, None] or pytest.fail("kept"))
    loop.call_later(0.003, loop.stop)
    loop.run_forever()
    assert [thing() for thing in things] == [None, None]


def test_run_leaves_no_reference_behind(run):
    run(sleeps(1))
    gc.collect()
    before = sys.getrefcount(None) if sys.version_info < (3, 12) else 0
    objects = len(gc.get_objects())
    for _ in range(50):
        run(sleeps(1))
    gc.collect()
    assert len(gc.get_objects()) <= objects + 50
    if before:
        assert abs(sys.getrefcount(None) - before) < 100


# ---------------------------------------------------------------- signals and forks


def in_main_thread_only():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are for the main thread")


def test_a_signal_handler_runs_in_the_loop(run):
    in_main_thread_only()

    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, lambda: future.set_result(asyncio.get_running_loop()))
        os.kill(os.getpid(), signal.SIGUSR1)
        assert await future is loop
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGKILL, print)
        with pytest.raises(ValueError):
            loop.add_signal_handler(12345, print)
        with pytest.raises(TypeError):
            loop.add_signal_handler(signal.SIGUSR1, sleeps)
        loop.add_signal_handler(signal.SIGUSR1, print)

    run(main())
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_signal_handler_in_another_thread_is_refused(loop):
    errors = []

    def thread():
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as exc:
            errors.append(exc)

    other = threading.Thread(target=thread)
    other.start()
    other.join()
    assert len(errors) == 1


def test_ctrl_c_cancels_the_main_task(run):
    in_main_thread_only()
    events = []

    async def main():
        gevlite.spawn_later(0.005, os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert events == ["cancelled"]


def in_child(function):
    """The exit status of a child that calls `function` and ends."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_may_run_loops_of_its_own(run):
    async def main():
        await asyncio.sleep(0.001)
        assert in_child(lambda: run(sleeps(1))) == 0
        await asyncio.sleep(0.001)

    run(main())
    assert in_child(lambda: gevlite.spawn(run, sleeps(1)).get()) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_loop_goes_on_in_the_child(loop):
    left, right = socket.socketpair()
    heard = []

    def child():
        loop.add_reader(left, lambda: (heard.append(left.recv(9)), loop.stop()))
        right.send(b"child")
        loop.run_forever()
        assert heard == [b"child"]

    loop.run_until_complete(asyncio.sleep(0))
    with left, right:
        assert in_child(child) == 0


def test_it_waits_as_what_it_is(run, clock):
    async def main():
        waiting = []
        gevlite.spawn_later(0.001, lambda: waiting.extend(gevlite.get_hub().parked_waiters()))
        await asyncio.sleep(0.01)
        return [waiter.describe() for waiter in waiting if waiter.parked is None], waiting

    greenlet = gevlite.spawn(run, main())
    descriptions = []
    while not greenlet.ready():
        gevlite.sleep(0.001)
        descriptions += [waiter.describe() for waiter in gevlite.get_hub().parked_waiters()]
    assert "waiting for the tasks of its event loop" in descriptions
    assert getcurrent() is not greenlet
