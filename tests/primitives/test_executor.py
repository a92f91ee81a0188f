"""ThreadPoolExecutor: the promises of the standard one, with futures that block only one greenlet.

`executors` runs a test with the standard class first, which shows that the expectation is right.
"""

import asyncio
import concurrent.futures as futures
import contextvars
import gc
import threading
import time
import weakref

import pytest

import gevlite
from gevlite._workers import count_workers
from gevlite.event import Event
from gevlite.threadpool import ThreadPoolExecutor

WAIT = 30  # seconds; only a failing test waits so long


@pytest.fixture(params=[futures.ThreadPoolExecutor, ThreadPoolExecutor], ids=["original", "gevlite"])
def executors(request):
    """`executors(max_workers, ...)` makes one; they are shut down at the end."""
    made = []

    def make(*args, **kwargs):
        made.append(request.param(*args, **kwargs))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown()


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as made:
        yield made


def fail(exc=None):
    raise exc or ValueError("reason")


# ---------------------------------------------------------------- promises of both


def test_submit_returns_a_future_of_the_result(executors):
    future = executors(2).submit(lambda a, b=0: (a, b), 1, b=2)
    assert isinstance(future, futures.Future)
    assert future.result() == (1, 2) and future.exception() is None
    assert future.done() and not future.running() and not future.cancelled()


@pytest.mark.parametrize("exc", [ValueError("reason"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_is_raised_by_result_and_returned_by_exception(executors, exc):
    future = executors(1).submit(fail, exc)
    assert future.exception(timeout=WAIT) is exc
    with pytest.raises(type(exc)):
        future.result()


def test_result_and_exception_time_out(executors, gate):
    future = executors(1).submit(gate)
    for wait in (future.result, future.exception):
        for timeout in (0.001, 0):
            with pytest.raises(TimeoutError):
                wait(timeout=timeout)
    gate.open()
    assert future.result(timeout=WAIT) is None


def test_submit_never_blocks(executors, gate):
    executor = executors(1)
    waiting = [executor.submit(gate, n) for n in range(20)]
    gate.open()
    assert [future.result(timeout=WAIT) for future in waiting] == list(range(20))


def test_map_and_its_timeout(executors, gate):
    executor = executors(2)
    assert list(executor.map(pow, [1, 2, 3], [2, 2, 2])) == [1, 4, 9]
    with pytest.raises(TimeoutError):
        list(executor.map(gate, [1], timeout=0.001))
    gate.open()


def test_wait_for_the_first_for_an_error_and_for_all(executors, gate):
    executor = executors(3)
    slow, fast, bad = executor.submit(gate), executor.submit(int), executor.submit(fail)
    done, not_done = futures.wait([slow, fast], return_when=futures.FIRST_COMPLETED, timeout=WAIT)
    assert (done, not_done) == ({fast}, {slow})
    done, not_done = futures.wait([slow, bad], return_when=futures.FIRST_EXCEPTION, timeout=WAIT)
    assert (done, not_done) == ({bad}, {slow})
    assert futures.wait([slow], timeout=0.001).not_done == {slow}
    threading.Timer(0.01, gate.open).start()
    assert futures.wait([slow, fast, bad]).done == {slow, fast, bad}


def test_as_completed_yields_them_as_they_end(executors, gate):
    executor = executors(2)
    slow, fast = executor.submit(gate, "slow"), executor.submit(lambda: "fast")
    seen = []
    for future in futures.as_completed([slow, fast], timeout=WAIT):
        seen.append(future.result())
        gate.open()
    assert seen == ["fast", "slow"]


def test_as_completed_times_out_and_leaves_nothing(executors, gate):
    future = executors(1).submit(gate)
    with pytest.raises(TimeoutError):
        list(futures.as_completed([future], timeout=0.001))
    assert not future._waiters
    gate.open()


def test_what_has_not_begun_can_be_cancelled(executors, gate):
    executor, called = executors(1), []
    running = executor.submit(gate)
    gate.wait_for(1)
    queued = executor.submit(called.append, 1)
    assert queued.cancel() and queued.cancelled() and queued.done()
    assert not running.cancel() and running.running()
    with pytest.raises(futures.CancelledError):
        queued.result()
    gate.open()
    assert running.result(timeout=WAIT) is None
    executor.shutdown()
    assert called == []


def test_a_cancelled_future_ends_the_waits_of_others(executors, gate):
    executor = executors(1)
    executor.submit(gate)
    gate.wait_for(1)
    queued = executor.submit(int)
    waiting = threading.Thread(target=futures.wait, args=([queued],), daemon=True)
    waiting.start()
    queued.cancel()
    gate.open()  # the worker finds it
    waiting.join(WAIT)
    assert not waiting.is_alive()


def test_done_callbacks_are_called_once_in_order_also_late_ones(executors, gate):
    future, called = executors(1).submit(gate), []
    future.add_done_callback(lambda f: called.append(1))
    future.add_done_callback(lambda f: called.append(2))
    gate.open()
    future.result(timeout=WAIT)
    futures.wait([future])
    deadline = time.monotonic() + WAIT
    while len(called) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    future.add_done_callback(lambda f: called.append(3))
    assert called == [1, 2, 3]


def test_shutdown_waits_for_all_that_was_submitted(executors):
    executor, done = executors(2), []
    for n in range(6):
        executor.submit(lambda n=n: time.sleep(0.001) or done.append(n))
    executor.shutdown()
    assert sorted(done) == list(range(6))
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)
    executor.shutdown()  # again


def test_shutdown_without_waiting(executors, gate):
    executor = executors(1)
    future = executor.submit(gate, 5)
    executor.shutdown(wait=False)
    assert not future.done()
    gate.open()
    assert future.result(timeout=WAIT) == 5


def test_shutdown_may_cancel_what_has_not_begun(executors, gate):
    executor = executors(1)
    running = executor.submit(gate, 5)
    gate.wait_for(1)
    queued = [executor.submit(int) for _ in range(3)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in queued) and not running.cancelled()
    gate.open()
    executor.shutdown()
    assert running.result() == 5


def test_the_with_statement_shuts_down(executors):
    with executors(1) as executor:
        future = executor.submit(lambda: time.sleep(0.01) or 5)
    assert future.done() and future.result() == 5


def test_an_initializer_is_called_in_each_thread(executors):
    local = threading.local()

    def initialize(value):
        local.value = value

    executor = executors(2, initializer=initialize, initargs=("set",))
    assert set(executor.map(lambda n: local.value, range(10))) == {"set"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_initializer_that_fails_breaks_the_executor(executors, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", lambda args: None)
    executor = executors(1, initializer=fail)
    with pytest.raises(futures.BrokenExecutor):
        executor.submit(int).result(timeout=WAIT)
    with pytest.raises(futures.BrokenExecutor):
        executor.submit(int)
    executor.shutdown()


@pytest.mark.parametrize(("arguments", "error"), [((0,), ValueError), ((-1,), ValueError), ((1, "", 5), TypeError)])
def test_bad_arguments_are_an_error(executors, arguments, error):
    with pytest.raises(error):
        executors(*arguments)


def test_asyncio_takes_it_as_its_executor(executors):
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executors(1))
        return await loop.run_in_executor(None, threading.get_ident), await asyncio.to_thread(lambda: 5)

    ident, value = asyncio.run(main())
    assert ident != threading.get_ident() and value == 5


def test_an_executor_nobody_refers_to_finishes_its_work_and_ends(executors, settle):
    done = []
    executor = executors(1)
    for n in range(3):
        executor.submit(done.append, n)
    del executor
    gc.collect()
    assert settle(lambda: done == [0, 1, 2])


# ---------------------------------------------------------------- only ours


def test_it_is_a_standard_executor():
    assert issubclass(ThreadPoolExecutor, futures.ThreadPoolExecutor)


def test_what_is_not_callable_is_refused(executor):
    with pytest.raises(TypeError):
        executor.submit(5)


def test_calls_see_the_context_of_the_caller(executor):
    var = contextvars.ContextVar("var", default="default")
    var.set("mine")
    assert executor.submit(var.get).result() == "mine"


WAITS = {
    "result": lambda future: future.result(),
    "exception": lambda future: future.exception(),
    "wait": lambda future: futures.wait([future]),
    "as_completed": lambda future: list(futures.as_completed([future])),
    "gevlite.wait": lambda future: gevlite.wait([future]),
    "gevlite.iwait": lambda future: list(gevlite.iwait([future])),
}


@pytest.fixture(params=WAITS, name="wait")
def wait_fixture(request):
    return WAITS[request.param]


def linked(future):
    return len(future._waiters) + len(future._condition._waiting) + len(future._done_callbacks)


def test_waiting_blocks_the_greenlet_only(executor, gate, wait):
    future = executor.submit(gate, 5)
    g = gevlite.spawn(wait, future)
    ticks = []
    for _ in range(10):
        gevlite.sleep(0.001)
        ticks.append(g.ready())
    assert ticks == [False] * 10
    gate.open()
    g.get(timeout=WAIT)
    assert future.result() == 5 and linked(future) == 0


@pytest.mark.parametrize("wait", sorted(WAITS.keys() - {"wait"}), indirect=True)  # the standard `wait` has no `finally`
def test_kill_while_waiting_leaves_nothing_linked(executor, gate, wait):
    future = executor.submit(gate, 5)
    g = gevlite.spawn(wait, future)
    gevlite.idle()
    g.kill()
    assert linked(future) == 0
    gate.open()
    assert future.result(timeout=WAIT) == 5


@pytest.mark.parametrize("wait", sorted(WAITS.keys() - {"wait"}), indirect=True)
def test_a_timeout_while_waiting_leaves_nothing_linked(executor, gate, wait):
    future = executor.submit(gate, 5)
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
        wait(future)
    assert linked(future) == 0
    gate.open()
    assert future.result(timeout=WAIT) == 5


@pytest.mark.parametrize("done_first", [True, False])
def test_the_end_and_a_timeout_in_the_same_round(executor, gate, done_first):
    future = executor.submit(gate, 5)

    def wait():
        try:
            return future.result(0.002 if done_first else 0.001)
        except TimeoutError:
            return "late"

    g = gevlite.spawn(wait)
    gevlite.sleep(0)
    if done_first:
        gate.open()
    deadline = time.monotonic() + (WAIT if done_first else 0.003)
    while not future.done() and time.monotonic() < deadline:
        time.sleep(0.001)  # the hub does not run
    gate.open()
    assert g.get(timeout=WAIT) in (5, "late")
    assert future.result(timeout=WAIT) == 5 and linked(future) == 0


def test_waiters_are_woken_in_order(executor, gate):
    future, order = executor.submit(gate), []
    gate.wait_for(1)  # from now on the worker does not hold the future's lock

    @gevlite.uninterrupted  # otherwise a later one may be the first to wait
    def wait(n):
        future.result()
        order.append(n)

    waiting = [gevlite.spawn(wait, n) for n in range(10)]
    gevlite.idle()
    gate.open()
    gevlite.joinall(waiting, timeout=WAIT)
    assert order == list(range(10))


def test_greenlets_of_several_threads_and_plain_threads_wait_for_one_future(executor, gate):
    future, got = executor.submit(gate, 5), []

    def with_greenlets():
        for g in gevlite.joinall([gevlite.spawn(future.result, WAIT) for _ in range(3)]):
            got.append(g.value)

    threads = [threading.Thread(target=with_greenlets) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: got.append(future.result(WAIT))))
    for t in threads:
        t.start()
    gate.open()
    assert future.result(WAIT) == 5
    for t in threads:
        t.join(WAIT)
    assert got == [5] * 7


def test_mixed_with_standard_futures(executor, gate):
    with futures.ThreadPoolExecutor(1) as standard:
        both = [standard.submit(gate, 1), executor.submit(gate, 2)]
        g = gevlite.spawn(lambda: {f.result() for f in futures.as_completed(both)})
        gevlite.idle()
        gate.open()
        assert g.get(timeout=WAIT) == {1, 2}


def test_a_raw_link_is_called_in_the_hub_and_can_be_taken_back(executor, gate, hub):
    future, called = executor.submit(gate), Event()
    callback = called.set
    seen = []
    future.rawlink(lambda f: seen.append((f, gevlite.getcurrent())))
    future.rawlink(lambda f: called.set())
    future.rawlink(callback)
    future.unlink(callback)
    future.unlink(callback)
    assert len(future._done_callbacks) == 2
    gate.open()
    assert called.wait(WAIT)
    assert seen == [(future, hub)]
    called.clear()
    future.rawlink(lambda f: called.set())  # it is done: soon
    assert called.wait(WAIT)
    with pytest.raises(TypeError):
        future.rawlink(None)


def test_joinall_raises_the_error_of_a_future(executor, gate):
    slow, bad = executor.submit(gate), executor.submit(fail)
    with pytest.raises(ValueError, match="reason"):
        gevlite.joinall([slow, bad], raise_error=True)
    gate.open()
    assert set(gevlite.joinall([slow, bad])) == {slow, bad}
    assert gevlite.joinall([slow], raise_error=True) == [slow]


def test_shutdown_blocks_the_greenlet_only(gate):
    executor = ThreadPoolExecutor(1)
    executor.submit(gate)
    g = gevlite.spawn(executor.shutdown)
    gevlite.idle()
    assert not g.ready()
    g.kill()
    assert not executor._crew.changed._waiting
    gate.open()
    executor.kill()
    assert executor._crew.size == 0


def test_a_shutdown_that_cancels_ends_the_waits_for_what_it_cancels(gate):
    """With the standard executor, `wait` would go on for ever."""
    executor = ThreadPoolExecutor(1)
    running, queued = executor.submit(gate), executor.submit(int)
    gate.wait_for(1)
    g = gevlite.spawn(futures.wait, [queued])
    gevlite.idle()
    executor.shutdown(wait=False, cancel_futures=True)
    assert g.get(timeout=WAIT).done == {queued}
    gate.open()
    executor.shutdown()
    assert running.done()


def test_an_initializer_that_fails_during_a_shutdown_does_not_keep_the_others_from_ending(gate, monkeypatch, settle):
    monkeypatch.setattr("sys.unraisablehook", lambda args: None)
    first, go_on = [True], threading.Event()

    def initialize():
        if not first:
            go_on.wait(WAIT)
            fail()
        first.clear()

    executor = ThreadPoolExecutor(2, initializer=initialize)
    running = executor.submit(gate, 5)
    gate.wait_for(1)
    queued = executor.submit(int)
    g = gevlite.spawn(executor.shutdown)
    gevlite.idle()
    go_on.set()
    assert isinstance(queued.exception(timeout=WAIT), futures.BrokenExecutor)
    assert settle(lambda: executor._crew.size == 1)
    gate.open()
    g.get(timeout=WAIT)
    assert running.result() == 5


def test_a_worker_cannot_wait_for_its_own_shutdown(executor):
    with pytest.raises(RuntimeError):
        executor.submit(executor.shutdown).result(timeout=WAIT)


def test_threads_end_with_a_shutdown(settle):
    before = count_workers()
    executor = ThreadPoolExecutor(3)
    all_three = threading.Barrier(3)
    list(executor.map(lambda _: all_three.wait(WAIT), range(3)))
    assert count_workers() >= 3
    executor.shutdown()
    assert settle(lambda: count_workers() <= before)  # fewer if a thread of an earlier test was still ending


def test_an_executor_nobody_refers_to_is_freed_with_its_threads(settle):
    before = count_workers()
    executor = ThreadPoolExecutor(1)
    future = executor.submit(int)
    ref = weakref.ref(executor)
    del executor
    assert future.result() == 0
    assert settle(lambda: ref() is None and count_workers() <= before)


def test_results_are_not_kept(executor):
    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    future = executor.submit(lambda x: x, thing)
    assert future.result() is thing
    del thing, future
    executor.shutdown()
    assert ref() is None


# ---------------------------------------------------------------- processes


def test_the_interpreter_waits_for_what_was_submitted(run_script):
    result = run_script("""
        import time
        from gevlite.threadpool import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1)
        executor.submit(time.sleep, 0.05)
        executor.submit(print, "done", flush=True)
    """)
    assert result.stdout == "done\n" and result.stderr == ""


def test_the_first_thing_a_process_does(run_script):
    """There is no hub yet when the call is made, and perhaps no thread when the wait begins."""
    for _ in range(5):
        run_script("""
            from gevlite.threadpool import ThreadPoolExecutor
            assert ThreadPoolExecutor(1).submit(pow, 2, 3).result() == 8
        """)


def test_it_is_imported_only_when_it_is_needed(run_script):
    run_script("""
        import sys, gevlite.threadpool
        assert "concurrent.futures" not in sys.modules
        from gevlite.threadpool import ThreadPoolExecutor
        assert gevlite.threadpool.ThreadPoolExecutor is ThreadPoolExecutor
        try:
            gevlite.threadpool.nothing
        except AttributeError:
            pass
    """)


def test_fork_while_futures_are_pending(run_script):
    run_script("""
        import concurrent.futures as futures, os, threading, gevlite
        from gevlite.threadpool import ThreadPoolExecutor
        gate = threading.Event()
        executor = ThreadPoolExecutor(1)
        done = executor.submit(int)
        done.result()
        running = executor.submit(gate.wait)
        queued = executor.submit(gate.wait)
        cancelled = executor.submit(gate.wait)
        waiting = [gevlite.spawn(f.exception, 20) for f in (running, queued)]
        waiting.append(gevlite.spawn(futures.wait, [running, queued, cancelled], 20))
        gevlite.idle()
        cancelled.cancel()
        held, forked = threading.Event(), threading.Event()
        def hold():
            with running._condition:
                held.set()
                forked.wait()
        threading.Thread(target=hold).start()
        held.wait()
        pid = os.fork()             # the child has no such thread, but the lock as it was
        forked.set()
        if pid == 0:
            try:
                for g in waiting[:2]:
                    assert isinstance(g.get(timeout=10), RuntimeError)
                assert waiting[2].get(timeout=10).not_done == set()
                assert done.result() == 0
                assert executor.submit(lambda: 5).result(timeout=10) == 5
                executor.shutdown()
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        gate.set()
        assert [g.get(timeout=10) for g in waiting[:2]] == [None, None]
        assert waiting[2].get(timeout=10).not_done == set()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)


def test_real_threads_and_cooperative_waiting_in_a_patched_process(run_script):
    run_script("""
        from gevlite import monkey
        native = monkey.get_original("_thread", "get_ident")
        native_sleep = monkey.get_original("time", "sleep")
        monkey.patch_all()
        import concurrent.futures as futures, time, gevlite
        from gevlite.threadpool import ThreadPoolExecutor
        with ThreadPoolExecutor(2) as executor:
            assert executor.submit(native).result() != native()
            ticks = []
            def tick():
                while True:
                    ticks.append(1)
                    time.sleep(0.001)
            def until_it_has_ticked():
                for _ in range(5000):
                    if len(ticks) > 5:
                        break
                    native_sleep(0.001)
            ticker = gevlite.spawn(tick)
            for wait in (futures.Future.result, lambda f: futures.wait([f]), lambda f: list(futures.as_completed([f]))):
                ticks.clear()
                wait(executor.submit(until_it_has_ticked))
                assert len(ticks) > 5, wait
            ticker.kill()
            assert list(executor.map(lambda n: time.sleep(0.001) or n, range(5))) == list(range(5))
            with futures.ThreadPoolExecutor(1) as greenlets:        # the standard one: its threads are greenlets
                both = [greenlets.submit(native), executor.submit(native)]
                idents = [f.result() for f in both]
                assert (idents[0] == native(), idents[1] == native()) == (True, False)
                assert futures.wait(both).not_done == set()
    """)
