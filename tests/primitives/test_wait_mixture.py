"""wait, iwait and joinall over everything that can be waited for, alone and mixed. (Greenlets alone: tests/core.)"""

import threading
import time
from concurrent.futures import CancelledError

import pytest

import gevlite
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, DummySemaphore, Semaphore
from gevlite.threadpool import ThreadPool, ThreadPoolExecutor

WAIT = 30  # seconds; only a failing test waits so long


class Plain:
    """The least that can be waited for: `rawlink` and `unlink`."""

    def __init__(self):
        self.is_ready = False
        self.callbacks = []

    def rawlink(self, callback):
        self.callbacks.append(callback)
        if self.is_ready:
            self.make_ready()

    def unlink(self, callback):
        if callback in self.callbacks:
            self.callbacks.remove(callback)

    def make_ready(self):
        self.is_ready = True
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback(self)


class Kind:
    """One kind of waitable: `thing`, `make_ready()`, how many `links()` it has."""

    def __init__(self, make):
        self.thing, self.make_ready, self.links = make()


def greenlet():
    event = Event()
    g = gevlite.spawn(event.wait)
    gevlite.idle()
    return g, event.set, g.has_links


def event():
    thing = Event()
    return thing, thing.set, thing.linkcount


def result():
    thing = AsyncResult()
    return thing, thing.set, thing.linkcount


def semaphore():
    thing = Semaphore(0)
    return thing, thing.release, thing.linkcount


def bounded_semaphore():
    thing = BoundedSemaphore(1)
    thing.acquire()
    return thing, thing.release, thing.linkcount


def plain():
    thing = Plain()
    return thing, thing.make_ready, lambda: len(thing.callbacks)


def thread_result():
    gate = threading.Event()
    thing = ThreadPool(1).spawn(gate.wait, WAIT)
    return thing, gate.set, thing.linkcount


def future():
    gate = threading.Event()
    thing = ThreadPoolExecutor(1).submit(gate.wait, WAIT)
    return thing, gate.set, lambda: len(thing._done_callbacks)


KINDS = [greenlet, event, result, semaphore, bounded_semaphore, plain, thread_result, future]


@pytest.fixture(params=KINDS, ids=lambda make: make.__name__)
def one(request):
    made = Kind(request.param)
    yield made
    finish([made])


@pytest.fixture
def everything():
    made = [Kind(make) for make in KINDS]
    yield made
    finish(made)


def finish(kinds):
    for kind in kinds:
        if not isinstance(kind.thing, BoundedSemaphore) or kind.thing.locked():
            kind.make_ready()
    gevlite.wait(things(kinds), timeout=WAIT)


# Without the plain one, which calls back wherever it is made ready: its maker decides where that is.
between_threads = pytest.mark.parametrize(
    "one", [make for make in KINDS if make is not plain], ids=lambda make: make.__name__, indirect=True
)


def things(kinds):
    return [kind.thing for kind in kinds]


WAYS = {
    "wait": gevlite.wait,
    "joinall": gevlite.joinall,
    "iwait": lambda objects, **kwargs: list(gevlite.iwait(objects, **kwargs)),
}


@pytest.fixture(params=WAYS)
def wait(request):
    return WAYS[request.param]


# ---------------------------------------------------------------- one of each kind


def test_it_ends_the_wait_when_it_becomes_ready(one, wait):
    gevlite.spawn_later(0.001, one.make_ready)
    assert wait([one.thing], timeout=WAIT) == [one.thing]
    assert one.links() == 0


def test_what_is_ready_is_found_even_without_time_to_wait(one, wait):
    one.make_ready()
    gevlite.wait([one.thing], timeout=WAIT)  # a thread's result takes a moment
    assert wait([one.thing], timeout=0) == [one.thing]
    assert one.links() == 0


def test_a_timeout_leaves_no_link(one, wait):
    for timeout in (0, 0.001):
        assert wait([one.thing], timeout=timeout) == []
        assert one.links() == 0


def test_a_kill_leaves_no_link(one, wait):
    g = gevlite.spawn(wait, [one.thing])
    gevlite.idle()
    g.kill()
    assert one.links() == 0


def test_a_timeout_exception_leaves_no_link(one, wait):
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.001):
        wait([one.thing])
    assert one.links() == 0


@pytest.mark.parametrize("ready_first", [True, False])
def test_ready_and_timed_out_in_the_same_round(one, wait, ready_first, hub):
    if ready_first:
        hub.call_later(0.002, one.make_ready)
    g = gevlite.spawn(wait, [one.thing], timeout=0.002)
    gevlite.idle()
    if not ready_first:
        hub.call_later(0.002, one.make_ready)
    deadline = time.monotonic() + 0.005
    while time.monotonic() < deadline:
        pass
    assert g.get(timeout=WAIT) in ([], [one.thing])
    assert gevlite.wait([one.thing], timeout=WAIT) == [one.thing] and one.links() == 0


@between_threads
def test_it_can_be_woken_from_another_thread(one, wait):
    t = threading.Timer(0.002, one.make_ready)
    t.start()
    assert wait([one.thing], timeout=WAIT) == [one.thing]
    t.join()


def test_several_waits_for_one_thing_all_end(one, wait):
    waiting = [gevlite.spawn(wait, [one.thing]) for _ in range(3)]
    gevlite.idle()
    one.make_ready()
    assert [g.get(timeout=WAIT) for g in waiting] == [[one.thing]] * 3
    assert one.links() == 0


@between_threads
def test_two_threads_wait_for_it(one, wait):
    got = []
    threads = [threading.Thread(target=lambda: got.append(wait([one.thing], timeout=WAIT))) for _ in range(2)]
    for t in threads:
        t.start()
    gevlite.sleep(0.002)
    one.make_ready()
    assert wait([one.thing], timeout=WAIT) == [one.thing]
    for t in threads:
        t.join(WAIT)
    assert got == [[one.thing]] * 2


def test_waiting_takes_nothing(one, wait):
    """A semaphore that was waited for can still be acquired."""
    one.make_ready()
    for _ in range(2):
        assert wait([one.thing], timeout=WAIT) == [one.thing]


# ---------------------------------------------------------------- mixed


def test_all_of_a_mixture(everything, wait):
    for n, kind in enumerate(everything):
        gevlite.spawn_later(0.0005 * n, kind.make_ready)
    ready = wait(things(everything), timeout=WAIT)
    assert set(ready) == set(things(everything)) and len(ready) == len(everything)
    assert [kind.links() for kind in everything] == [0] * len(everything)


def test_they_come_in_the_order_in_which_they_became_ready(everything):
    order = []
    with gevlite.iwait(things(everything), timeout=WAIT) as ready:
        for kind in reversed(everything):
            kind.make_ready()
            order.append(next(ready))
    assert order == things(everything)[::-1]


def test_count_ends_it_early_and_unlinks_the_rest(everything, wait):
    for kind in everything[1:3]:
        kind.make_ready()
    assert set(wait(things(everything), count=2, timeout=WAIT)) == set(things(everything[1:3]))
    assert [kind.links() for kind in everything] == [0] * len(everything)


def test_a_mixture_that_times_out_gives_what_was_ready(everything, wait):
    everything[1].make_ready()
    everything[2].make_ready()
    assert set(wait(things(everything), timeout=0.002)) == set(things(everything[1:3]))
    assert [kind.links() for kind in everything] == [0] * len(everything)


def test_the_timeout_is_for_all_together(everything):
    start = time.monotonic()
    for n, kind in enumerate(everything[1:4]):
        gevlite.spawn_later(0.001 * (n + 1), kind.make_ready)
    ready = list(gevlite.iwait(things(everything), timeout=0.2))
    assert ready == things(everything[1:4])
    assert 0.2 <= time.monotonic() - start < 5


def test_what_cannot_be_waited_for_is_refused_and_nothing_stays_linked(everything, wait):
    for stranger in (5, object(), gevlite.spawn_raw(lambda: None), ThreadPool(1)):
        with pytest.raises(TypeError):
            wait([*things(everything), stranger])
    assert [kind.links() for kind in everything] == [0] * len(everything)


def test_an_iteration_that_is_given_up_leaves_no_link(everything):
    everything[3].make_ready()
    with gevlite.iwait(things(everything)) as ready:
        assert next(ready) is everything[3].thing
    assert [kind.links() for kind in everything] == [0] * len(everything)
    with pytest.raises(StopIteration):
        next(ready)


def test_an_event_that_is_cleared_again_was_ready(everything):
    event = everything[1].thing
    g = gevlite.spawn(gevlite.wait, [event, everything[2].thing], count=1)
    gevlite.idle()
    event.set()
    event.clear()
    assert g.get(timeout=WAIT) == [event]


def test_a_dummy_semaphore_is_always_ready(wait):
    dummy, event = DummySemaphore(), Event()
    assert wait([dummy, event], count=1, timeout=WAIT) == [dummy]
    assert event.linkcount() == 0


def test_bad_numbers_are_errors_and_leave_no_link(everything, wait):
    for arguments, error in [({"timeout": "soon"}, TypeError), ({"timeout": float("nan")}, ValueError)]:
        with pytest.raises(error):
            wait(things(everything), **arguments)
    assert [kind.links() for kind in everything] == [0] * len(everything)


# ---------------------------------------------------------------- errors


def failing_result():
    thing = AsyncResult()
    gevlite.spawn_later(0.001, thing.set_exception, ValueError("reason"))
    return thing


def fail():
    raise ValueError("reason")


FAILING = {
    "greenlet": lambda: gevlite.spawn(fail),
    "result": failing_result,
    "thread result": lambda: ThreadPool(1).spawn(fail),
    "future": lambda: ThreadPoolExecutor(1).submit(fail),
}


@pytest.mark.parametrize("kind", FAILING)
def test_joinall_raises_the_error_of_any_kind_at_once(everything, kind, errors):
    with pytest.raises(ValueError, match="reason"):
        gevlite.joinall([*things(everything), FAILING[kind]()], raise_error=True, timeout=WAIT)
    assert [k.links() for k in everything] == [0] * len(everything)


@pytest.mark.parametrize("kind", FAILING)
def test_without_raise_error_a_failed_one_is_just_ready(kind, errors, wait):
    thing = FAILING[kind]()
    assert wait([thing], timeout=WAIT) == [thing]


def test_joinall_raises_that_a_future_was_cancelled():
    gate = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(gate.wait, WAIT)
        queued = executor.submit(int)
        gevlite.spawn_later(0.001, queued.cancel)
        with pytest.raises(CancelledError):
            gevlite.joinall([queued], raise_error=True, timeout=WAIT)
        gate.set()


def test_an_error_in_another_thread_ends_joinall_at_once(fast_thread_switches):
    """No matter when it comes, even while we begin to wait."""
    for _ in range(30):
        never, made, go = Event(), [], threading.Event()

        def thread(made=made, go=go):
            gevlite.get_hub().handle_error = lambda *args: None
            made.append(gevlite.Greenlet(fail))
            go.set()
            made[0].start()
            made[0].join()

        t = threading.Thread(target=thread)
        t.start()
        go.wait(WAIT)
        with pytest.raises(ValueError, match="reason"):
            gevlite.joinall([never, made[0]], raise_error=True, timeout=WAIT)
        t.join(WAIT)
        assert never.linkcount() == 0


# ---------------------------------------------------------------- fork


def test_works_on_after_fork(run_script):
    run_script("""
        import os, gevlite
        from gevlite.event import AsyncResult, Event
        from gevlite.lock import Semaphore
        things = [Event(), AsyncResult(), Semaphore(0), gevlite.spawn(gevlite.sleep, 0.01)]
        waiting = gevlite.spawn(gevlite.wait, things)
        gevlite.idle()
        pid = os.fork()
        things[0].set()
        things[1].set(1)
        things[2].release()
        assert set(waiting.get(timeout=10)) == set(things)
        assert gevlite.wait(things, timeout=10) and not things[0].linkcount()
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            os._exit(0)
    """)


@pytest.mark.parametrize("timeout", [0, 0.001])
def test_what_is_ready_is_returned_however_short_the_time(timeout, hub):
    ended = gevlite.spawn(int)
    ended.join()
    done, result = Event(), AsyncResult()
    done.set()
    result.set(1)
    ready = [ended, done, result, Semaphore(1)]

    def busy():
        end = time.monotonic() + 0.02  # longer than callbacks get in one go: the timers are next
        while time.monotonic() < end:
            pass

    hub.call_soon(busy)
    assert gevlite.wait([*ready, Event()], timeout=timeout) == ready
    assert gevlite.joinall(ready, timeout=timeout) == ready
    assert list(gevlite.iwait(ready, timeout=timeout)) == ready
