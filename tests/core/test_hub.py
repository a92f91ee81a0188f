"""The hub: waiters, timers, file descriptors, callbacks, threads, and how it ends."""

import gc
import os
import threading
import time

import pytest

import gevlite
from gevlite import backends
from gevlite._core import READ, WRITE, Hub, Waiter, stack_cache_stats
from gevlite.event import Event
from gevlite.hub import get_hub
from gevlite.queue import Queue
from gevlite.testing import VirtualClock

# ---------------------------------------------------------------- Waiter


def test_a_waiter_returns_what_it_was_woken_with():
    w = Waiter()
    gevlite.spawn(w.wake, "value")
    assert w.park() == "value"


def test_a_waiter_raises_what_was_thrown():
    for exc in (KeyError, KeyError("x")):
        w = Waiter()
        gevlite.spawn(w.throw, exc)
        with pytest.raises(KeyError):
            w.park()


def test_woken_before_it_parks_it_does_not_block():
    w = Waiter()
    assert w.wake(1) is True and w.wake(2) is False and w.throw(KeyError) is False
    assert w.park() == 1


def test_only_the_first_decides():
    w, answers = Waiter(), []
    gevlite.spawn(gevlite.uninterrupted(lambda: answers.extend([w.wake(1), w.wake(2), w.throw(KeyError)])))
    assert w.park() == 1 and answers == [True, False, False]
    assert w.wake(3) is False


def test_a_waiter_is_for_one_wait_only():
    w = Waiter()
    w.wake()
    w.park()
    with pytest.raises(RuntimeError):
        w.park()


def test_park_for_a_time():
    start = time.monotonic()
    assert Waiter().park_timeout(0.002) == (None, True)
    assert time.monotonic() - start >= 0.002
    w = Waiter()
    gevlite.spawn(w.wake, 5)
    assert w.park_timeout(100) == (5, False)


def test_a_waiter_can_be_subclassed_in_python_and_time_out():
    class Mine(Waiter):
        pass

    assert Mine().park_timeout(0.001) == (None, True)
    w = Mine()
    gevlite.spawn(w.wake, 5)
    assert w.park_timeout(100) == (5, False)


@pytest.mark.parametrize("wait", ["sleep(0)", "sleep(0.001)", "w.park()", "hub.join(0.001)", "hub.wait_idle()"])
def test_parking_in_the_hub_works_as_anywhere(hub, errors, settle, wait):
    w, done = Waiter(), []
    names = {"w": w, "hub": hub, "sleep": gevlite.sleep, "done": done}
    hub.call_soon(eval, f"(sleep(0), {wait}, done.append(1))", names)
    gevlite.sleep(0)
    w.wake()
    assert settle(lambda: done) and not errors


def test_parking_in_another_thread_than_the_waiters_is_refused():
    w, seen = Waiter(), []

    def park():
        try:
            w.park()
        except RuntimeError as exc:
            seen.append(exc)

    t = threading.Thread(target=park)
    t.start()
    t.join()
    assert len(seen) == 1


def test_a_greenlet_knows_what_it_waits_for(hub, pipe):
    e = Event()
    gs = [gevlite.spawn(e.wait), gevlite.spawn(gevlite.sleep, 100), gevlite.spawn(hub.wait_fd, pipe[0], READ)]
    gevlite.sleep(0)
    told = {w.parked: w.describe() for w in hub.parked_waiters()}
    assert [told[g] for g in gs] == ["waiting for Event", "sleeping", "waiting for read from a pipe"]
    gevlite.killall(gs)


# ---------------------------------------------------------------- sleep, fairness


@pytest.mark.parametrize(
    "bad, error", [(-1, ValueError), (float("nan"), ValueError), ("x", TypeError), (None, TypeError)]
)
def test_a_bad_time_to_sleep_is_an_error(bad, error):
    with pytest.raises(error):
        gevlite.sleep(bad)


@pytest.mark.parametrize("seconds", [1e-9, 0.0001, 0.0005, 0.001, 0.00234, 0.01])
def test_sleep_is_never_early(seconds):
    start = time.monotonic()
    gevlite.sleep(seconds)
    assert time.monotonic() - start >= seconds


@pytest.mark.uninterrupted
def test_sleep_zero_lets_everybody_run_once():
    order = []

    @gevlite.uninterrupted
    def turn(name):
        for _ in range(3):
            order.append(name)
            gevlite.sleep(0)

    gevlite.joinall([gevlite.spawn(turn, n) for n in "abc"])
    assert "".join(order) == "abcabcabc"


@pytest.mark.parametrize("spinners", [1, 2, 100])
def test_loops_over_sleep_zero_starve_neither_timers_nor_io_nor_callbacks(hub, pipe, spinners):
    stop = []

    def spin():
        while not stop:
            gevlite.sleep(0)

    greenlets = [gevlite.spawn(spin) for _ in range(spinners)]
    reader = gevlite.spawn(hub.wait_fd, pipe[0], READ)
    gevlite.sleep(0.001)
    os.write(pipe[1], b"x")
    assert reader.get(timeout=30) == READ
    called = Event()
    hub.call_soon(called.set)
    assert called.wait(30)
    stop.append(1)
    gevlite.joinall(greenlets)


def test_a_ping_pong_of_two_greenlets_does_not_starve_a_third(pipe, hub):
    a, b, stop = Queue(), Queue(), []

    def play(mine, other):
        while not stop:
            mine.get()
            other.put(1)

    greenlets = [gevlite.spawn(play, a, b), gevlite.spawn(play, b, a)]
    a.put(1)
    gevlite.sleep(0.001)
    os.write(pipe[1], b"x")
    assert hub.wait_fd(pipe[0], READ, 30) == READ
    stop.append(1)
    gevlite.killall(greenlets)


def test_idle_waits_until_nobody_is_ready():
    order = []

    def busy():
        for _ in range(5):
            gevlite.sleep(0)
        order.append("busy")

    g = gevlite.spawn(busy)
    gevlite.idle()
    order.append("idle")
    assert order == ["busy", "idle"]
    g.join()


# ---------------------------------------------------------------- callbacks and timers


@pytest.mark.uninterrupted
def test_callbacks_run_in_order_and_can_be_taken_back(hub):
    order = []
    hub.call_soon(order.append, 1)
    second = hub.call_soon(order.append, 2)
    hub.call_soon(order.append, 3)
    assert second.pending
    second.stop()
    second.cancel()
    assert not second.pending
    gevlite.sleep(0)
    assert order == [1, 3]


def test_what_cannot_be_called_is_a_type_error(hub):
    with pytest.raises(TypeError):
        hub.call_soon(None)
    with pytest.raises(TypeError):
        hub.call_later(1, None)


def test_negative_times_are_value_errors(hub):
    with pytest.raises(ValueError):
        hub.call_later(-1, print)
    with pytest.raises(ValueError):
        hub.call_later(1, print, repeat=-1)


def test_a_failing_callback_is_reported_and_the_loop_goes_on(hub, errors):
    order = []
    hub.call_soon(lambda: 1 / 0)
    hub.call_later(0.001, lambda: {}["x"])
    hub.call_later(0.002, order.append, 1)
    gevlite.sleep(0.003)
    assert [type(exc) for _, exc in errors] == [ZeroDivisionError, KeyError] and order == [1]


def test_equal_deadlines_fire_in_the_order_in_which_they_were_started(hub):
    order = []
    for n in range(200):
        hub.call_later(0, order.append, n)
    gevlite.sleep(0.002)
    assert order == list(range(200))


def test_timers_fire_in_the_order_of_their_deadlines_and_never_early(hub):
    fired, start = [], time.monotonic()
    for n in (5, 3, 1, 4, 2):
        hub.call_later(n / 1000, lambda n=n: fired.append((n, time.monotonic() - start)))
    gevlite.sleep(0.008)
    assert len(fired) == 5 and all(elapsed >= n / 1000 for n, elapsed in fired)
    fired.clear()
    with VirtualClock():
        for n in (5, 3, 1, 4, 2):
            hub.call_later(n / 1000, fired.append, n)
        gevlite.sleep(0.008)
    assert fired == [1, 2, 3, 4, 5]


def test_a_repeating_timer_repeats_until_stopped(hub):
    calls = []

    def tick():
        calls.append(1)
        if len(calls) == 3:
            timer.stop()

    timer = hub.call_later(0, tick, repeat=0.0005)
    while timer.pending:
        gevlite.sleep(0.0005)
    assert len(calls) == 3


def test_a_timer_may_be_stopped_by_one_that_fires_before_it_in_the_same_round(hub):
    order = []
    with VirtualClock():
        hub.call_later(1, lambda: second.stop())
        second = hub.call_later(1, order.append, "never")
        gevlite.sleep(2)
    assert order == []


def test_a_timer_may_be_stopped_from_another_thread(hub):
    timer = hub.call_later(1000, print)
    t = threading.Thread(target=timer.stop)
    t.start()
    t.join()
    while hub.stats()["timers"]:
        gevlite.sleep(0)
    assert not timer.pending


@pytest.mark.uninterrupted
def test_a_hundred_thousand_timers_added_cancelled_and_fired(hub):
    fired = []
    import random

    rng = random.Random(1)
    timers = [hub.call_later(rng.random() * 0.01, fired.append, n) for n in range(100_000)]
    rng.shuffle(timers)
    for timer in timers[:50_000]:
        timer.stop()
    assert hub.stats()["timers"] == 50_000
    while hub.stats()["timers"] or hub.stats()["ready"]:
        gevlite.sleep(0.001)
    assert len(fired) == len(set(fired)) == 50_000


def test_ten_thousand_sleepers_all_wake():
    order = []

    def sleeper(n):
        gevlite.sleep((n * 7919 % 10_000) / 1e6)
        order.append(n)

    gevlite.joinall([gevlite.spawn(sleeper, n) for n in range(10_000)])
    assert sorted(order) == list(range(10_000))


# ---------------------------------------------------------------- file descriptors


def test_wait_for_reading_and_writing(hub, pipe):
    r, w = pipe
    assert hub.wait_fd(w, WRITE) == WRITE
    assert hub.wait_fd(r, READ, timeout=0.001) == 0
    os.write(w, b"x")
    assert hub.wait_fd(r, READ) == READ
    assert hub.wait_fd(r, READ) == READ


@pytest.mark.parametrize("events", [0, 4, 8, READ | 4])
def test_other_events_are_value_errors(hub, pipe, events):
    with pytest.raises(ValueError):
        hub.wait_fd(pipe[0], events)


@pytest.mark.parametrize("fd", [-1, 900])
def test_waiting_for_a_closed_fd_is_an_oserror_and_leaves_nothing(hub, fd):
    with pytest.raises(OSError):
        hub.wait_fd(fd, READ, 1)


def test_several_greenlets_wait_for_one_fd(hub, pipe):
    gs = [gevlite.spawn(hub.wait_fd, pipe[0], READ, 30) for _ in range(5)]
    gevlite.sleep(0)
    assert hub.stats()["fd_waiters"] == 5 and hub.stats()["fds"] == 1
    os.write(pipe[1], b"x")
    assert [g.get() for g in gs] == [READ] * 5


def test_a_killed_waiter_for_an_fd_leaves_the_others_waiting(hub, pipe):
    gs = [gevlite.spawn(hub.wait_fd, pipe[0], READ, 30) for _ in range(3)]
    gevlite.sleep(0)
    gs[0].kill()
    gs[2].kill()
    os.write(pipe[1], b"x")
    assert gs[1].get() == READ


def test_an_fd_closed_and_reused_between_two_waits(hub):
    for _ in range(10):
        r, w = os.pipe()
        assert hub.wait_fd(r, READ, 0.0001) == 0
        os.write(w, b"x")
        assert hub.wait_fd(r, READ, 30) == READ
        os.close(r)
        os.close(w)


def test_a_regular_file_is_always_ready(hub, tmp_path):
    with open(tmp_path / "file", "w+b") as f:
        for _ in range(3):
            assert hub.wait_fd(f.fileno(), READ, 30) == READ
            assert hub.wait_fd(f.fileno(), WRITE, 30) == WRITE


def test_waiting_for_both_directions(hub, pipe):
    assert hub.wait_fd(pipe[1], READ | WRITE, 30) & WRITE
    assert hub.wait_fd(pipe[0], READ | WRITE, 0.001) == 0
    g = gevlite.spawn(hub.wait_fd, pipe[0], READ | WRITE, 30)
    gevlite.sleep(0)
    os.write(pipe[1], b"x")
    assert g.get() & READ


# ---------------------------------------------------------------- threads


def test_each_thread_has_a_hub_of_its_own(hub):
    seen = []
    t = threading.Thread(target=lambda: seen.append((get_hub(), get_hub().main_hub)))
    t.start()
    t.join()
    assert seen[0][0] is not hub and hub.main_hub and not seen[0][1]


def test_what_belongs_to_the_hubs_thread_is_refused_in_another(hub):
    refused = []

    def other():
        for call in (lambda: hub.call_later(1, print), lambda: hub.wait_fd(0, READ), hub.destroy):
            try:
                call()
            except RuntimeError as exc:
                refused.append(exc)

    t = threading.Thread(target=other)
    t.start()
    t.join()
    assert len(refused) == 3


def test_a_callback_from_another_thread_wakes_a_polling_hub(hub):
    e = Event()
    t = threading.Timer(0.01, hub.call_soon_threadsafe, (e.set,))
    t.start()
    assert e.wait(30)
    t.join()


def test_a_kill_from_another_thread(hub):
    g = gevlite.spawn(gevlite.sleep, 1000)
    gevlite.sleep(0)
    t = threading.Thread(target=g.kill)
    t.start()
    g.join(30)
    t.join()
    assert g.dead


def test_a_greenlet_started_from_another_thread_runs_in_its_own(hub):
    ran = []
    g = gevlite.Greenlet(lambda: ran.append(get_hub()))
    t = threading.Thread(target=g.start)
    t.start()
    g.join(30)
    t.join()
    assert ran == [hub]


def test_a_thread_that_ends_unwinds_its_greenlets_and_gives_its_descriptors_back(hub):
    steps = []

    def body():
        try:
            gevlite.sleep(1000)
        except gevlite.GreenletExit:
            steps.append("exit")
            raise
        finally:
            steps.append("finally")

    def again_and_again():
        while True:
            gevlite.sleep(0)

    def thread():
        gevlite.spawn(body)
        gevlite.spawn_raw(body)
        gevlite.spawn(again_and_again)
        gevlite.sleep(0)

    count = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(10):
        t = threading.Thread(target=thread)
        t.start()
        t.join()
    assert steps == ["exit", "finally"] * 20
    if count is not None:
        assert len(os.listdir("/proc/self/fd")) == count
    assert len(gevlite._core.hubs()) == 1


@pytest.mark.filterwarnings("error")
def test_a_thread_that_has_waited_ends_without_a_word(capfd):
    for work in (lambda: gevlite.sleep(0), lambda: gevlite.sleep(0.001), lambda: gevlite.spawn(lambda: 1).join()):
        t = threading.Thread(target=work)
        t.start()
        t.join()
    gc.collect()
    assert capfd.readouterr().err == ""


def test_messages_round_rings_of_greenlets_in_four_threads(fast_thread_switches):
    """Each item visits every greenlet of every thread; nothing is lost or doubled."""
    threads, per_thread, items, rounds = 4, 250, 20, 2
    queues = [[Queue() for _ in range(per_thread)] for _ in range(threads)]
    visits = [[0] * per_thread for _ in range(threads)]
    failed = []

    def relay(t, n):
        # The next greenlet is in the next thread: each step crosses over.
        nt, nn = (t + 1, n) if t + 1 < threads else (0, (n + 1) % per_thread)
        for _ in range(items * rounds):
            item = queues[t][n].get(timeout=50)
            visits[t][n] += 1
            if (t, n) != (threads - 1, per_thread - 1) or visits[t][n] <= items * (rounds - 1):
                queues[nt][nn].put(item)

    def thread(t):
        try:
            gevlite.joinall([gevlite.spawn(relay, t, n) for n in range(per_thread)], raise_error=True)
        except BaseException as exc:
            failed.append(exc)

    for item in range(items):
        queues[0][0].put(item)
    running = [threading.Thread(target=thread, args=(t,)) for t in range(threads)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert not failed
    assert visits == [[items * rounds] * per_thread for _ in range(threads)]
    assert all(q.empty() for qs in queues for q in qs)


# ---------------------------------------------------------------- destroy


def test_destroy_unwinds_and_the_next_call_makes_a_new_hub(run_script):
    run_script("""
        import os, gevlite
        from gevlite.hub import get_hub
        from gevlite.event import Event
        ended = []
        def body(wait):
            try:
                wait()
            finally:
                ended.append(1)
        def restart():
            while True:
                try:
                    gevlite.sleep(0)
                finally:
                    gevlite.spawn(restart)
        e = Event()
        for wait in (e.wait, lambda: gevlite.sleep(100)):
            gevlite.spawn(body, wait)
            gevlite.spawn_raw(body, wait)
        gevlite.idle()          # all are in their `try` now
        gevlite.spawn(restart)
        gevlite.sleep(0)
        before = len(os.listdir("/proc/self/fd"))
        old = get_hub()
        old.destroy()
        assert len(ended) == 4 and e.linkcount() == 0
        assert old.closed and "closed" in repr(old)
        old.destroy()
        assert get_hub() is not old
        gevlite.sleep(0.001)
        assert gevlite.spawn(lambda: 5).get() == 5
        assert len(os.listdir("/proc/self/fd")) == before
    """)


def test_destroy_from_a_greenlet_is_refused(hub):
    refused = []

    def body():
        try:
            hub.destroy()
        except RuntimeError as exc:
            refused.append(exc)

    gevlite.spawn(body).join()
    assert len(refused) == 1


def test_a_second_hub_in_a_thread_is_refused():
    with pytest.raises(RuntimeError):
        Hub()


# ---------------------------------------------------------------- the stack-chunk cache


def test_the_cache_is_used_and_bounded():
    for _ in range(50):
        gevlite.joinall([gevlite.spawn(gevlite.sleep, 0) for _ in range(100)])
    stats = stack_cache_stats()
    if stats["installed"]:
        assert stats["hits"] > 0 and 0 <= stats["cached"] <= stats["limit"]


@pytest.mark.parametrize("size", ["0", "1", "16", "100000"])
def test_any_size_of_the_cache_is_correct_across_threads_fork_and_exit(run_script, size):
    run_script(
        """
        import os, sys, threading, gevlite
        from gevlite._core import stack_cache_stats
        def deep(n):
            return deep(n - 1) if n else gevlite.sleep(0)
        def work():
            for _ in range(20):
                gevlite.joinall([gevlite.spawn(deep, n % 40) for n in range(60)])
        threads = [threading.Thread(target=work) for _ in range(3)]
        for t in threads:
            t.start()
        work()
        pid = os.fork()
        work()
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        for t in threads:
            t.join()
        stats = stack_cache_stats()
        assert stats["installed"] == (sys.argv[1] != "0") and stats["cached"] <= int(sys.argv[1])
        """,
        size,
        env={"GEVLITE_STACK_CACHE": size},
    )


@pytest.mark.parametrize("bad", ["-1", "many"])
def test_a_bad_size_of_the_cache_is_a_clear_error(run_script, bad):
    result = run_script("import gevlite; gevlite.get_hub()", env={"GEVLITE_STACK_CACHE": bad}, code=1)
    assert "GEVLITE_STACK_CACHE" in result.stderr


# ---------------------------------------------------------------- nothing leaks


def test_twenty_thousand_spawns_leave_nothing():
    def work(count):
        for _ in range(count // 100):
            gevlite.joinall([gevlite.spawn(gevlite.sleep, 0) for _ in range(100)])

    import sys

    work(1000)
    gc.collect()
    before, nones = len(gc.get_objects()), sys.getrefcount(())
    work(20_000)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert abs(sys.getrefcount(()) - nones) < 1000


def test_memory_stays_flat_over_all_sorts_of_waits(run_script):
    """Native memory too, which gc does not see."""
    pytest.importorskip("psutil")
    run_script("""
        import gc, os, psutil, gevlite
        from gevlite.event import Event, AsyncResult
        from gevlite.lock import Semaphore
        from gevlite.queue import Queue, Empty, Full, PriorityQueue
        r, w = os.pipe()
        def work(count):
            for _ in range(count):
                e, s, q, p = Event(), Semaphore(0), Queue(1, [0]), PriorityQueue(1, [0])
                e.wait(0)
                s.acquire(timeout=0.0000001)
                for queue in q, p:
                    try:
                        queue.put(1, timeout=0)
                    except Full:
                        pass
                try:
                    Queue().get(timeout=0)
                except Empty:
                    pass
                gevlite.get_hub().wait_fd(r, 1, 0)
                with gevlite.Timeout(0, False):
                    gevlite.sleep(1)
                g = gevlite.spawn(e.wait)
                gevlite.sleep(0)
                g.kill()
                g = gevlite.spawn(lambda: 1)
                gevlite.wait([g, e], timeout=0)
                gevlite.kill(gevlite.spawn_raw(e.wait))
                gevlite.sleep(0)
        process = psutil.Process()
        work(2000)
        gc.collect()
        before = process.memory_info().rss
        work(10000)
        gc.collect()
        grown = process.memory_info().rss - before
        assert grown < 1_000_000, grown
    """)


@pytest.mark.parametrize("moment", ["set_hub_class", "set_backend_chooser"])
@pytest.mark.parametrize("by", ["handler", "destructor"])
def test_a_hub_that_is_made_while_another_one_is_being_made_is_the_one(run_script, moment, by):
    """Making one runs Python code, and a signal handler or a destructor may run in the middle of it and block."""
    run_script(
        f"""
import gc, os, signal, time
import gevlite
from gevlite import _core, _parts
from gevlite.event import Event

seen, disturbed = [], []
def block(*args):
    seen.append(gevlite.get_hub())
    gevlite.sleep(0.001)
    gevlite.spawn(seen.append, "others run").join()

class Waits:
    __del__ = block

def disturb():
    if disturbed:
        return
    disturbed.append(True)
    if {by!r} == "handler":
        os.kill(os.getpid(), signal.SIGUSR1)
    else:
        made = [Waits()]
        made.append(made)
        del made
        gc.collect()

def make_hub():
    disturb()
    return _parts._make_hub()

def choose_backend(wanted=None):
    chosen = _parts._choose_backend(wanted)
    disturb()
    return chosen

signal.signal(signal.SIGUSR1, block)
_core.{moment}({{"set_hub_class": make_hub, "set_backend_chooser": choose_backend}}[{moment!r}])
gevlite.sleep(0.001)
hub = gevlite.get_hub()
assert seen == [hub, "others run"], seen
assert list(_core.hubs()) == [hub]

# It hears of signals, and nothing is left of the other one.
heard = Event()
signal.signal(signal.SIGALRM, lambda *args: heard.set())
signal.setitimer(signal.ITIMER_REAL, 0.01)
assert heard.wait(20)
gc.collect()
assert hub.stats()["parked"] == 0
try:
    gevlite.hub.Hub()
except RuntimeError as exc:
    assert "already has a hub" in str(exc)
else:
    raise AssertionError("a second one")
"""
    )


@pytest.mark.parametrize("backend", ["", "epoll", "poll", "select", "no.such:Backend, select"])
def test_to_make_a_hub_imports_nothing(run_script, backend):
    """A signal handler that waits in the middle of an import of the hub's parts could not get them."""
    if backend in ("epoll", "poll") and backends.available()[backend] is not None:
        pytest.skip(f"no {backend} here")
    run_script(
        """
        import sys
        import gevlite

        before = set(sys.modules)
        gevlite.sleep(0.001)
        assert set(sys.modules) == before, set(sys.modules) - before
        """,
        env={"GEVLITE_BACKEND": backend},
    )


@pytest.mark.parametrize(
    ("backend", "loaded"), [("select", ["select"]), ("no.such:Backend", []), ("nonsense", []), (",", [])]
)
def test_the_import_of_gevlite_loads_no_other_backend(run_script, backend, loaded):
    run_script(
        f"""
        import sys
        import gevlite

        assert [name[17:] for name in sys.modules if name.startswith("gevlite.backends.")] == {loaded!r}
        """,
        env={"GEVLITE_BACKEND": backend},
    )


def test_what_two_greenlets_make_for_a_hub_at_once_is_one_thing(run_script):
    run_script(
        """
import gevlite
from gevlite import _core

def make(hub):
    gevlite.sleep(0)        # as an import may wait for another one
    return object()

for name in ("loop", "threadpool", "resolver", "other"):
    _core.register_hub_attribute(name, make)
    greenlets = [gevlite.spawn(getattr, gevlite.get_hub(), name) for _ in range(3)]
    gevlite.joinall(greenlets, raise_error=True)
    assert {g.value for g in greenlets} == {getattr(gevlite.get_hub(), name)}
"""
    )


@pytest.mark.parametrize("patched", [True, False])
@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_hub_that_a_raw_greenlet_has_made_outlives_it(run_script, patched, thread):
    """After patching, a threading.local has a value for each greenlet: the owner of the hub must be the thread."""
    run_script(
        f"""
import gc, time
import greenlet
import gevlite
from gevlite import _core, monkey

start, sleep = monkey.get_original("_thread", "start_new_thread"), time.sleep
if {patched}:
    monkey.patch_all()
ended = []

def use():
    raw = greenlet.greenlet(lambda: (gevlite.sleep(0.001), gevlite.get_hub())[1])
    hub = raw.switch()
    del raw
    gc.collect()
    gevlite.sleep(0.001)
    assert gevlite.get_hub() is hub
    assert gevlite.spawn(gevlite.sleep, 0.001).join() is None
    ended.append(True)

if {thread!r} == "main":
    use()
else:
    start(use, ())
    while not ended or _core.hubs():    # it ends with its thread
        sleep(0.001)
assert ended
"""
    )
