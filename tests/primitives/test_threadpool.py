"""ThreadPool: calls in real threads, results at the right hub, no thread and no place lost.

Functions that run in workers wait on the standard `threading`, which is not patched here.
"""

import contextvars
import gc
import threading
import time
import weakref

import pytest

import gevlite
from gevlite._core import hubs
from gevlite._workers import count_workers
from gevlite.event import AsyncResult
from gevlite.threadpool import ThreadPool, get_default_size

WAIT = 30  # seconds; only a failing test waits so long


@pytest.fixture(autouse=True)
def no_worker_left_over(settle):
    def only_the_hub_s_own():
        hub_pool = vars(gevlite.get_hub()).get("threadpool")
        return count_workers() == (hub_pool.size if hub_pool is not None else 0)

    yield
    # A pool in a reference cycle, for example that of a traceback, is left to the collector.
    assert only_the_hub_s_own() or settle(lambda: gc.collect() >= 0 and only_the_hub_s_own())


class Busy:
    """A pool with all its workers in the gate, and one call queued, so that `spawn` blocks."""

    def __init__(self, gate, maxsize=1):
        self.gate = gate
        self.pool = ThreadPool(maxsize)
        self.results = [self.pool.spawn(gate, n) for n in range(maxsize + 1)]
        gate.wait_for(maxsize)

    def let_go(self):
        self.gate.open()
        self.pool.join(WAIT)


@pytest.fixture
def busy(gate):
    made = Busy(gate)
    yield made
    gate.open()
    assert made.pool.kill(timeout=WAIT)


def fail(exc):
    raise exc


def thread_id():
    return threading.get_ident()


def in_threads(function, count=1):
    """Call it in `count` OS threads; raises the error of one of them."""
    failures = []

    def run(n):
        try:
            function(n)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(WAIT)
        assert not t.is_alive()
    if failures:
        raise failures[0]


# ---------------------------------------------------------------- calls and results


def test_a_call_is_made_in_another_thread_and_its_result_comes_back():
    pool = ThreadPool(2)
    result = pool.spawn(lambda a, b=0: (a, b, thread_id()), 1, b=2)
    assert isinstance(result, AsyncResult)
    a, b, ident = result.get(timeout=WAIT)
    assert (a, b) == (1, 2) and ident != thread_id()


@pytest.mark.parametrize("exc", [ValueError("reason"), SystemExit(3), KeyboardInterrupt(), gevlite.GreenletExit()])
def test_an_exception_is_raised_where_the_result_is_asked_for(exc):
    result = ThreadPool(1).spawn(fail, exc)
    with pytest.raises(type(exc)) as caught:
        result.get(timeout=WAIT)
    assert caught.value is exc and any(entry.name == "fail" for entry in caught.traceback)


def test_others_run_while_a_call_blocks_its_thread(gate):
    pool, order = ThreadPool(1), []
    g = gevlite.spawn(lambda: order.append(pool.apply(gate, ("result",))))
    gevlite.idle()
    order.append("meanwhile")
    gate.open()
    g.get(timeout=WAIT)
    assert order == ["meanwhile", "result"]


def test_a_result_wakes_a_hub_that_polls_without_a_timer(run_script):
    run_script("""
        import time, gevlite
        from gevlite.threadpool import ThreadPool
        pool = ThreadPool(1)
        for _ in range(3):
            assert pool.apply(lambda: time.sleep(0.01) or 5) == 5
    """)


def test_the_caller_s_context_is_seen_and_not_changed():
    var = contextvars.ContextVar("var", default="default")
    pool = ThreadPool(1)
    var.set("mine")
    result = pool.spawn(lambda: (var.get(), var.set("changed")))
    var.set("later")
    assert result.get(timeout=WAIT)[0] == "mine" and var.get() == "later"


def test_arguments_and_results_are_not_kept():
    class Thing:
        pass

    pool = ThreadPool(1)
    thing = Thing()
    ref = weakref.ref(thing)
    result = pool.spawn(lambda x: x, thing)
    assert result.get(timeout=WAIT) is thing
    del thing, result
    pool.join()
    assert ref() is None


def test_the_arguments_are_free_when_the_result_is_there():
    class Thing:
        pass

    pool = ThreadPool(1)
    for _ in range(20):
        thing = Thing()
        ref = weakref.ref(thing)
        result = pool.spawn(lambda x: None, thing)
        del thing
        result.get(timeout=WAIT)
        assert ref() is None


def test_an_error_leaves_no_reference_cycle():
    pool = ThreadPool(1)
    gc.collect()
    gc.disable()
    try:
        result = pool.spawn(fail, ValueError())
        result.wait(WAIT)
        pool.join(WAIT)
        ref = weakref.ref(result)
        del result
        assert ref() is None
    finally:
        gc.enable()


def test_bad_input_is_an_error_at_the_call(busy):
    for call, error in [
        (lambda: ThreadPool(-1), ValueError),
        (lambda: ThreadPool("2"), TypeError),
        (lambda: ThreadPool(None), TypeError),
        (lambda: busy.pool.spawn(5), TypeError),
        (lambda: busy.pool.map(5, []), TypeError),
        (lambda: setattr(busy.pool, "maxsize", -1), ValueError),
        (lambda: setattr(busy.pool, "size", -1), ValueError),
        (lambda: setattr(busy.pool, "size", 2), ValueError),
        (lambda: setattr(busy.pool, "size", 0.5), TypeError),
        (lambda: busy.pool.join("soon"), TypeError),
    ]:
        with pytest.raises(error):
            call()
    assert (busy.pool.size, busy.pool.maxsize, len(busy.pool)) == (1, 1, 2)
    busy.let_go()


def test_the_default_size_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("GEVLITE_THREADPOOL_SIZE", "3")
    assert get_default_size() == 3
    for text in ("0", "many", "-1"):
        monkeypatch.setenv("GEVLITE_THREADPOOL_SIZE", text)
        with pytest.raises(ValueError, match=text):
            get_default_size()


def test_a_hub_has_a_pool_of_its_own(hub):
    assert hub.threadpool is hub.threadpool and hub.threadpool.hub is hub
    assert hub.threadpool.apply(thread_id) != thread_id()


def test_a_hub_s_pool_is_there_without_an_import(run_script):
    run_script("import gevlite; assert gevlite.get_hub().threadpool.apply(pow, (2, 3)) == 8")


def test_gc_may_free_a_pool_at_any_moment():
    """Also while a pool is at work in the same thread: freeing takes no lock."""

    class Trap:
        def __init__(self):
            self.pool = ThreadPool(1)
            self.myself = self

    pool = ThreadPool(2)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            Trap().pool.spawn(int)
            assert pool.apply(int) == 0
    finally:
        gc.set_threshold(*before)


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize("maxsize", [1, 3])
def test_spawn_blocks_while_all_threads_are_busy_and_one_call_waits(gate, maxsize):
    busy = Busy(gate, maxsize)
    g = gevlite.spawn(busy.pool.spawn, thread_id)
    gevlite.idle()
    assert not g.ready() and len(busy.pool) == maxsize + 1 and busy.pool.size == maxsize
    assert busy.pool.task_queue.qsize() == 1
    gate.open()
    assert g.get(timeout=WAIT).get(timeout=WAIT) != thread_id()
    assert [result.get(timeout=WAIT) for result in busy.results] == list(range(maxsize + 1))


WAITS_FOR_A_PLACE = {
    "spawn": lambda pool, call: pool.spawn(call),
    "apply": lambda pool, call: pool.apply(call),
    "map": lambda pool, call: pool.map(lambda x: call(), [1]),
}


@pytest.fixture(params=WAITS_FOR_A_PLACE, name="wait")
def wait_fixture(request):
    return WAITS_FOR_A_PLACE[request.param]


def test_kill_while_waiting_for_a_place_makes_no_call(busy, wait):
    made = []
    g = gevlite.spawn(wait, busy.pool, lambda: made.append(1))
    gevlite.idle()
    g.kill()
    busy.let_go()
    assert busy.pool.apply(lambda: 7) == 7
    assert made == [] and busy.pool._places.counter == 2


def test_a_timeout_while_waiting_for_a_place_makes_no_call(busy, wait):
    made = []
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
        wait(busy.pool, lambda: made.append(1))
    busy.let_go()
    assert busy.pool.apply(lambda: 7) == 7
    assert made == [] and busy.pool._places.counter == 2


@pytest.mark.parametrize("kill_first", [True, False])
def test_a_place_that_comes_free_as_the_waiter_is_killed_is_not_lost(busy, kill_first, settle):
    g = gevlite.spawn(busy.pool.spawn, int)
    gevlite.idle()
    if kill_first:
        g.kill(block=False)
        busy.gate.open()
    else:
        busy.gate.open()
        deadline = time.monotonic() + WAIT
        while busy.pool._places.linkcount() and time.monotonic() < deadline:
            time.sleep(0.001)  # the hub does not run: the waiter has its place but does not know
        g.kill(block=False)
    g.join(timeout=WAIT)
    assert busy.pool.join(WAIT) and busy.pool._places.counter == 2


def test_places_are_given_in_the_order_in_which_they_were_asked_for(busy):
    order = []
    waiting = [gevlite.spawn(busy.pool.spawn, order.append, n) for n in range(10)]
    gevlite.idle()
    busy.let_go()
    gevlite.joinall(waiting, raise_error=True)
    assert busy.pool.join(WAIT) and order == list(range(10))


def test_spawn_in_a_hub_callback_waits_for_a_place(gate, hub, settle):
    pool, results = ThreadPool(1), []
    for _ in range(3):
        hub.call_soon(lambda: results.append(pool.spawn(gate)))
    gevlite.idle()
    assert len(results) == 2
    gate.open()
    assert settle(lambda: len(results) == 3)
    assert pool.join(WAIT) and pool._places.counter == 2


def test_a_wait_for_a_result_times_out_and_leaves_the_call_alone(busy):
    with pytest.raises(gevlite.Timeout):
        busy.results[0].get(timeout=0.001)
    assert busy.results[0].linkcount() == 0
    busy.let_go()
    assert busy.results[0].get() == 0


def test_kill_while_waiting_for_a_result_leaves_the_call_alone(busy):
    g = gevlite.spawn(busy.results[0].get)
    gevlite.sleep(0)
    g.kill()
    assert busy.results[0].linkcount() == 0
    busy.let_go()
    assert busy.results[0].get() == 0


@pytest.mark.parametrize("result_first", [True, False])
def test_a_result_and_a_timeout_in_the_same_round(gate, result_first):
    pool = ThreadPool(1)
    result = pool.spawn(gate, 5)
    g = gevlite.spawn(result.wait, 0.002 if result_first else 0.001)
    gevlite.sleep(0)
    if result_first:
        gate.open()
        while len(pool._crew.untold):
            time.sleep(0.001)
    else:
        time.sleep(0.002)
        gate.open()
    assert g.get(timeout=WAIT) in (5, None)
    assert result.get(timeout=WAIT) == 5 and result.linkcount() == 0


# ---------------------------------------------------------------- threads: how many


def test_threads_are_started_as_needed_and_no_more(gate):
    pool = ThreadPool(3)
    assert pool.size == 0
    for _ in range(5):
        pool.apply(int)
    assert pool.size == 1
    for n in range(3):
        pool.spawn(gate)
        gate.wait_for(1)
        assert pool.size == n + 1
    gate.open()
    pool.join(WAIT)
    assert pool.size == 3


def test_a_thread_without_work_ends_after_its_time(settle):
    pool = ThreadPool(3, idle_task_timeout=0.01)
    pool.map(time.sleep, [0.005] * 3)
    assert settle(lambda: pool.size == 0)
    assert pool.apply(lambda: 5) == 5


def test_a_call_that_comes_as_the_last_thread_is_about_to_end_is_made():
    pool = ThreadPool(1, idle_task_timeout=0.005)
    pool.apply(int)
    with pool._crew.lock:
        time.sleep(0.02)  # the thread's time is over, and it waits for the lock
        result = pool.spawn(lambda: 5)
    assert result.get(timeout=WAIT) == 5


def test_threads_stay_without_an_idle_timeout():
    for forever in (-1, None, 0):
        pool = ThreadPool(2, idle_task_timeout=forever)
        pool.apply(int)
        assert pool._crew.idle_seconds is None and pool.size == 1


def test_size_starts_and_ends_threads():
    pool = ThreadPool(4)
    pool.size = 3
    assert pool.size == 3
    pool.size = 1
    assert pool.size == 1
    pool.size = 0
    assert pool.size == 0
    assert pool.apply(lambda: 5) == 5


def test_a_busy_thread_ends_when_its_call_has(busy):
    g = gevlite.spawn(setattr, busy.pool, "size", 0)
    gevlite.idle()
    assert not g.ready() and busy.pool.size == 1
    busy.gate.open()
    g.get(timeout=WAIT)
    assert [result.get(timeout=WAIT) for result in busy.results] == [0, 1]


def test_kill_lets_queued_calls_finish_and_the_pool_can_be_used_again(busy):
    g = gevlite.spawn(busy.pool.kill)
    gevlite.idle()
    busy.gate.open()
    assert g.get(timeout=WAIT) is True
    assert busy.pool.size == 0 and [result.get() for result in busy.results] == [0, 1]
    assert busy.pool.apply(lambda: 5) == 5 and busy.pool.size == 1
    assert busy.pool.kill() is True


def test_kill_and_join_return_false_after_their_timeout(busy):
    assert busy.pool.join(timeout=0.001) is False
    assert busy.pool.kill(timeout=0.001) is False
    assert not busy.pool._crew.changed._waiting
    busy.let_go()


@pytest.mark.parametrize("wait", ["join", "kill"])
def test_a_kill_of_who_waits_for_the_pool_leaves_nothing(busy, wait):
    g = gevlite.spawn(getattr(busy.pool, wait))
    gevlite.idle()
    g.kill()
    assert not busy.pool._crew.changed._waiting
    busy.let_go()


def test_maxsize_may_grow_and_those_who_wait_get_in(busy):
    waiting = [gevlite.spawn(busy.pool.spawn, busy.gate, n) for n in range(3)]
    gevlite.idle()
    busy.pool.maxsize = 3
    busy.gate.wait_for(1)  # the queued one has a thread now
    gevlite.joinall(waiting[:2], timeout=WAIT)
    assert [g.ready() for g in waiting] == [True, True, False]
    busy.gate.open()
    gevlite.joinall(waiting, raise_error=True)
    assert busy.pool.join(WAIT) and busy.pool._places.counter == 4 and busy.pool.size <= 3


@pytest.mark.parametrize("begin", [0, 1])
def test_with_maxsize_0_calls_wait_until_it_is_raised(begin):
    pool = ThreadPool(begin)
    pool.maxsize = 0
    results = [gevlite.spawn(pool.apply, len, ("x" * n,)) for n in range(3)]
    gevlite.idle()
    assert pool.maxsize == 0 and not any(result.ready() for result in results)
    pool.maxsize = 2
    assert [result.get(timeout=WAIT) for result in results] == [0, 1, 2]
    pool.kill()


def test_maxsize_may_shrink_while_places_are_taken(gate, settle):
    busy = Busy(gate, 3)
    busy.pool.maxsize = 1
    assert busy.pool.maxsize == 1
    g = gevlite.spawn(busy.pool.spawn, int)
    gevlite.idle()
    assert not g.ready()
    gate.open()
    g.get(timeout=WAIT)
    assert busy.pool.join(WAIT) and settle(lambda: busy.pool.size == 1)
    assert busy.pool._places.counter == 2 and busy.pool._debt == 0
    busy.pool.maxsize = 2
    assert busy.pool._places.counter == 3


def test_maxsize_may_shrink_and_grow_again_while_places_are_taken(gate):
    busy = Busy(gate, 3)
    for maxsize in (1, 2, 1, 4):
        busy.pool.maxsize = maxsize
    assert busy.pool._places.counter == 1 and busy.pool._debt == 0
    busy.let_go()
    assert busy.pool._places.counter == 5


def test_adjust_changes_nothing_that_is_right(gate):
    pool = ThreadPool(2)
    pool.spawn(gate)
    pool.adjust()
    assert pool.size == 1
    gate.open()
    pool.join(WAIT)
    pool.adjust()
    assert pool.size == 1


def test_no_thread_to_be_had_is_an_error_at_the_call_and_takes_no_place(monkeypatch):
    def refuse(function, args):
        raise RuntimeError("can't start new thread")

    pool = ThreadPool(1)
    with monkeypatch.context() as patch:
        patch.setattr("gevlite._workers.start_new_thread", refuse)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="can't start"):
                pool.spawn(int)
    assert (len(pool), pool.size, pool._places.counter) == (0, 0, 2)
    assert pool.apply(lambda: 5) == 5


def test_without_a_further_thread_those_that_are_there_do_the_work(monkeypatch, gate):
    def refuse(function, args):
        raise RuntimeError("can't start new thread")

    pool = ThreadPool(3)
    pool.apply(int)
    monkeypatch.setattr("gevlite._workers.start_new_thread", refuse)
    assert pool.map(lambda n: n, range(4)) == [0, 1, 2, 3]


def test_a_pool_nobody_refers_to_ends_its_threads_after_their_work(gate, settle):
    done = []
    pool = ThreadPool(2)
    pool.spawn(lambda: (gate(), done.append(1)))
    pool.spawn(done.append, 2)
    gate.wait_for(1)
    ref = weakref.ref(pool)
    del pool
    gate.open()
    assert settle(lambda: ref() is None)  # a fixture checks after each test that the threads have gone
    assert sorted(done) == [1, 2]


def test_a_worker_cannot_wait_for_its_own_pool():
    pool = ThreadPool(1)
    for call in (pool.join, pool.kill, lambda: setattr(pool, "size", 0)):
        with pytest.raises(RuntimeError):
            pool.apply(call)
    assert pool.apply(lambda: 5) == 5


def test_trace_and_profile_functions_of_threading_are_set_in_workers():
    seen = []

    def profile(frame, event, arg):
        if frame.f_code is traced.__code__:
            seen.append(event)

    def traced():
        return 5

    before = threading.getprofile()
    threading.setprofile(profile)
    try:
        ThreadPool(1).apply(traced)
    finally:
        threading.setprofile(before)
    assert "call" in seen


# ---------------------------------------------------------------- apply, map, imap


def test_the_mapping_methods(gate):
    pool, called = ThreadPool(2), []
    assert pool.apply(lambda a, b=0: (a, b), (1,), {"b": 2}) == (1, 2)
    assert pool.apply_async(lambda: 5, callback=called.append).get(timeout=WAIT) == 5
    assert pool.apply_cb(lambda: 6, callback=called.append) == 6
    assert pool.map(lambda n: n * 2, range(10)) == list(range(0, 20, 2))
    assert pool.map_async(lambda n: n, [7], callback=called.append).get(timeout=WAIT) == [7]
    assert pool.map_cb(lambda n: n, [8], callback=called.append) == [8]
    gevlite.idle()
    assert called == [5, 6, [7], [8]]


@pytest.mark.parametrize("kind", ["imap", "imap_unordered"])
@pytest.mark.parametrize("maxsize", [None, 2])
def test_imap_over_threads(kind, maxsize):
    results = getattr(ThreadPool(3), kind)(lambda a, b: a * b, range(20), range(20), maxsize=maxsize)
    assert sorted(results) == [n * n for n in range(20)]


def test_imap_keeps_the_order_and_imap_unordered_does_not(gate):
    pool = ThreadPool(2)

    def work(n):
        return gate(n) if n == 0 else n

    unordered = pool.imap_unordered(work, [0, 1])
    assert next(unordered) == 1
    gate.open()
    assert list(unordered) == [0]
    assert list(pool.imap(work, [0, 1])) == [0, 1]


@pytest.mark.parametrize("kind", ["imap", "imap_unordered"])
def test_errors_of_calls_and_of_iterables_reach_the_consumer(kind):
    def items():
        yield 1
        yield 0
        raise KeyError("item")

    results, seen = getattr(ThreadPool(1), kind)(lambda n: 1 // n, items()), []
    for _ in range(4):
        try:
            seen.append(next(results))
        except (ZeroDivisionError, KeyError, StopIteration) as exc:
            seen.append(type(exc))
    assert seen == [1, ZeroDivisionError, KeyError, StopIteration]


@pytest.mark.parametrize("kind", ["imap", "imap_unordered"])
def test_an_imap_that_is_dropped_starts_no_further_call(kind, busy, hub, settle):
    before = hub.stats()["greenlets"]
    made = []
    results = getattr(busy.pool, kind)(made.append, range(10))
    gevlite.idle()
    del results
    assert settle(lambda: hub.stats()["greenlets"] == before)
    busy.let_go()
    assert made == []


@pytest.mark.parametrize("kind", ["imap", "imap_unordered"])
def test_kill_while_waiting_for_a_result_of_imap_loses_none(kind, gate):
    results = getattr(ThreadPool(2), kind)(gate, range(4))
    g = gevlite.spawn(next, results)
    gevlite.idle()
    gate.wait_for(2)
    g.kill()
    gate.open()
    assert sorted(results) == [0, 1, 2, 3]


def test_apply_in_a_worker_of_the_same_pool_runs_in_place():
    pool = ThreadPool(1)
    assert pool.apply(lambda: pool.apply(thread_id) == thread_id())


# ---------------------------------------------------------------- several hubs and threads


def test_one_pool_serves_the_hubs_of_several_threads(fast_thread_switches):
    pool = ThreadPool(3)

    def thread(n):
        def work(m):
            return pool.apply(lambda: (n, m, thread_id()))

        greenlets = [gevlite.spawn(work, m) for m in range(20)]
        gevlite.joinall(greenlets, raise_error=True)
        assert [g.value[:2] for g in greenlets] == [(n, m) for m in range(20)]
        assert all(g.value[2] != thread_id() for g in greenlets)
        assert list(pool.imap_unordered(lambda m: m, [n], maxsize=1)) == [n]

    in_threads(thread, 4)
    assert pool.join(WAIT) and len(pool) == 0 and pool.size <= 3 and pool._places.counter == 4


def test_a_thread_without_a_hub_may_use_a_pool():
    pool = ThreadPool(1)

    def thread(n):
        assert pool.apply(lambda: 5) == 5
        assert pool.join(WAIT)

    in_threads(thread)


def test_a_result_can_be_waited_for_in_another_thread_than_the_caller_s(gate):
    pool = ThreadPool(1)
    result = pool.spawn(gate, 5)
    got = []
    t = threading.Thread(target=lambda: got.append(result.get(timeout=WAIT)))
    t.start()
    gate.open()
    assert result.get(timeout=WAIT) == 5
    t.join(WAIT)
    assert got == [5]


def test_a_result_is_set_even_if_the_caller_s_thread_has_ended(gate):
    pool, results = ThreadPool(1), []

    def thread(n):
        gevlite.sleep(0)
        results.append(pool.spawn(gate, 5))

    in_threads(thread)
    gate.open()
    assert results[0].get(timeout=WAIT) == 5
    assert pool.join(WAIT) and pool._places.counter == 2


def test_the_pool_of_a_thread_s_hub_ends_with_the_thread(settle):
    before = count_workers()

    def thread(n):
        assert gevlite.get_hub().threadpool.apply(lambda: 5) == 5

    in_threads(thread, 3)
    assert settle(lambda: count_workers() == before)


def test_a_worker_may_use_greenlets_of_its_own():
    def work():
        return [g.value for g in gevlite.joinall([gevlite.spawn(lambda: gevlite.sleep(0.001) or 5)])]

    assert ThreadPool(1).apply(work) == [5]


def test_the_hub_of_a_worker_goes_with_it():
    hub = gevlite.get_hub()
    before = weakref.WeakSet(hubs())  # some are of idle workers of other pools, which stay for 30 seconds
    pool = ThreadPool(2)
    pool.map(lambda n: gevlite.sleep(0.001), range(4))
    assert set(hubs()) - set(before)
    pool.kill()
    deadline = time.monotonic() + WAIT
    while set(hubs()) - set(before) and time.monotonic() < deadline:
        gevlite.sleep(0.001)
    assert hub in hubs() and set(hubs()) <= set(before)


def test_pools_in_each_others_workers():
    outer, inner = ThreadPool(2), ThreadPool(1)
    assert outer.map(lambda n: inner.apply(lambda: n), range(4)) == [0, 1, 2, 3]
    assert outer.apply(lambda: outer.spawn(lambda: 6).get(timeout=WAIT)) == 6


def test_waiting_in_many_ways_at_once(fast_thread_switches):
    """Time-outs and kills race with results and places; in the end nothing is missing."""
    pool = ThreadPool(2)

    def thread(n):
        def client(m):
            try:
                with gevlite.Timeout(0.001 * (m % 5 + 1)):
                    pool.apply(time.sleep, (0.0002 * (m % 3),))
                    pool.map(lambda x: x, range(3))
            except gevlite.Timeout:
                pass

        clients = [gevlite.spawn(client, m) for m in range(30)]
        gevlite.sleep(0.001)
        for victim in clients[::7]:
            victim.kill(block=False)
        gevlite.joinall(clients, raise_error=True)

    in_threads(thread, 3)
    assert pool.join(WAIT) and pool._places.counter == 3 and len(pool) == 0
    assert not pool._places.linkcount()


# ---------------------------------------------------------------- the hub's life


def test_the_hub_is_not_done_while_a_call_is_in_progress(run_script):
    run_script("""
        import time, gevlite
        from gevlite.threadpool import ThreadPool
        pool, done = ThreadPool(1), []
        pool.spawn(lambda: time.sleep(0.3) or done.append(1))
        assert gevlite.wait(timeout=0.001) is False
        assert gevlite.wait() is True and done == [1]
        assert gevlite.get_hub().stats()["refs"] == 0
    """)


def test_idle_workers_do_not_hide_a_dead_end(run_script):
    run_script("""
        import gevlite
        from gevlite.event import Event
        from gevlite.threadpool import ThreadPool
        pool = ThreadPool(3)
        pool.size = 3
        pool.apply(int)
        gevlite.get_hub().threadpool.apply(int)
        try:
            Event().wait()
        except gevlite.LoopExit:
            pass
        else:
            raise AssertionError
        assert pool.kill(timeout=10) is True     # their end wakes us: no dead end
        assert pool.apply(lambda: 5) == 5
    """)


def test_a_call_made_for_a_thread_that_has_ended_is_no_dead_end(run_script):
    run_script("""
        import threading, time, gevlite
        from gevlite.threadpool import ThreadPool
        results = []
        def thread():
            pool = ThreadPool(1)
            results.append(pool.spawn(lambda: time.sleep(0.1) or 5))
        t = threading.Thread(target=thread)
        t.start()
        t.join()
        assert results[0].get() == 5
    """)


def test_destroying_the_hub_while_calls_are_in_progress(run_script):
    run_script("""
        import threading, gevlite
        from gevlite.threadpool import ThreadPool
        gate = threading.Event()
        pool = ThreadPool(1)
        result = pool.spawn(gate.wait)
        waiting = gevlite.spawn(result.get)
        mine = gevlite.get_hub().threadpool.spawn(gate.wait)
        gevlite.sleep(0)
        gevlite.get_hub().destroy()
        assert isinstance(waiting.value, gevlite.GreenletExit)
        gate.set()
        assert result.get(timeout=10) is True and mine.get(timeout=10) is True
        assert pool.apply(lambda: 5) == 5
        assert gevlite.get_hub().threadpool.apply(lambda: 6) == 6
    """)


# ---------------------------------------------------------------- fork


def test_the_child_of_a_fork_starts_threads_of_its_own(run_script):
    run_script("""
        import os, gevlite
        from gevlite._workers import count_workers
        from gevlite.threadpool import ThreadPool
        pool = ThreadPool(2)
        assert pool.map(lambda n: n, range(3)) == [0, 1, 2]
        gevlite.get_hub().threadpool.apply(int)
        pid = os.fork()
        if pid == 0:
            try:
                assert pool.size == count_workers() == 0
                assert pool.map(lambda n: n, range(3)) == [0, 1, 2]
                assert gevlite.get_hub().threadpool.apply(lambda: 5) == 5
                assert pool.kill(timeout=10)
                assert gevlite.wait(timeout=10) is True
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert pool.map(lambda n: n, range(3)) == [0, 1, 2]
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)


def test_a_call_in_progress_at_a_fork_is_finished_by_the_parent_and_fails_in_the_child(run_script):
    """So do queued ones. A greenlet that waits for a place at that moment gets it from the child's own threads."""
    run_script("""
        import os, threading, gevlite
        from gevlite.threadpool import ThreadPool
        gate = threading.Event()
        pool = ThreadPool(1)
        results = [pool.spawn(gate.wait) for _ in range(2)]
        getting = [gevlite.spawn(lambda r=r: r.get()) for r in results]
        waiting = [gevlite.spawn(pool.spawn, lambda n=n: gate.wait() and n) for n in range(3)]
        gevlite.get_hub().handle_error = lambda *args: None
        gevlite.idle()
        pid = os.fork()
        if pid == 0:
            try:
                for g in getting:
                    g.join(timeout=10)
                    assert isinstance(g.exception, RuntimeError) and "fork" in str(g.exception), g.exception
                gevlite.idle()
                assert [g.ready() for g in waiting] == [True, True, False]
                gate.set()
                assert [g.get(timeout=10).get(timeout=10) for g in waiting] == [0, 1, 2]
                assert pool.join(timeout=10) and len(pool) == 0 and pool._places.counter == 2
                assert gevlite.wait(timeout=10) is True
                assert gevlite.get_hub().stats()["refs"] == 0
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        gate.set()
        assert [g.get(timeout=10) for g in getting] == [True, True]
        assert [g.get(timeout=10).get(timeout=10) for g in waiting] == [0, 1, 2]
        assert pool.join(timeout=10)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)


def test_fork_while_results_are_on_their_way(run_script):
    """Results that the parent's hub had not yet received are not counted again in the child."""
    run_script("""
        import os, time, gevlite
        from gevlite.threadpool import ThreadPool
        pool = ThreadPool(2)
        for _ in range(5):
            results = [pool.spawn(int) for _ in range(3)]
            while len(pool._crew.untold):
                time.sleep(0.001)               # the hub does not run
            pid = os.fork()
            if pid == 0:
                gevlite.idle()
                assert gevlite.get_hub().stats()["refs"] == 0
                assert [r.get() for r in results] == [0, 0, 0]
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert [r.get() for r in results] == [0, 0, 0]
    """)


def test_fork_in_a_worker(run_script):
    run_script("""
        import os, threading, traceback, gevlite
        from gevlite.threadpool import ThreadPool
        pool = ThreadPool(1)
        def work():
            pid = os.fork()
            if pid == 0:
                try:                                # we are no worker of the child's
                    assert pool.apply(threading.get_ident) != threading.get_ident()
                    assert pool.kill(timeout=10)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert pool.apply(work) == 0
        assert pool.apply(lambda: 5) == 5
    """)


# ---------------------------------------------------------------- the end of the interpreter

EXITS = {
    "with idle workers": "pool.size = 3",
    "while a call blocks in C": "pool.spawn(time.sleep, 1000); gevlite.sleep(0.01)",
    "while a call runs Python": "pool.spawn(spin); gevlite.sleep(0.01)",
    "while greenlets wait for results": "gevlite.spawn(pool.apply, time.sleep, (1000,)); gevlite.sleep(0.01)",
    "while some wait for a place": "gevlite.spawn(pool.map, time.sleep, [1000] * 9); gevlite.sleep(0.01)",
    "with sys.exit": "pool.spawn(time.sleep, 1000); sys.exit(0)",
    "with a worker that has a hub": "pool.spawn(gevlite.sleep, 1000); gevlite.sleep(0.05)",
    "while a greenlet in a worker spins": "pool.spawn(lambda: gevlite.spawn(spin).join()); gevlite.sleep(0.05)",
}


@pytest.mark.parametrize("how", EXITS)
def test_the_interpreter_exits_at_once_and_cleanly(run_script, how):
    result = run_script(f"""
        import sys, time, gevlite
        from gevlite.threadpool import ThreadPool
        def spin():
            while True:
                sum(range(1000))
        pool = ThreadPool(3)
        {EXITS[how]}
    """)
    assert result.stderr == ""


# ---------------------------------------------------------------- under patching


def test_threads_are_real_ones_in_a_patched_process(run_script):
    run_script("""
        from gevlite import monkey
        native = monkey.get_original("_thread", "get_ident")
        native_sleep = monkey.get_original("time", "sleep")
        monkey.patch_all()
        import socket, threading, time, gevlite
        from gevlite.threadpool import ThreadPool
        pool = ThreadPool(2)
        assert pool.apply(native) != native()
        before = threading.active_count()
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                time.sleep(0.001)
        def until_it_has_ticked():
            for _ in range(5000):
                if len(ticks) > 10:
                    break
                native_sleep(0.001)
        ticker = gevlite.spawn(tick)
        pool.apply(until_it_has_ticked)
        assert len(ticks) > 10
        ticker.kill()
        assert threading.active_count() == before
        assert pool.apply(lambda: threading.current_thread() is not threading.main_thread())
        assert socket.getaddrinfo("localhost", 80)
        assert pool.map(lambda n: time.sleep(0.001) or n, range(4)) == [0, 1, 2, 3]
    """)
