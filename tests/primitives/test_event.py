"""Event and AsyncResult: each waiter is woken, once, in order, and none stays linked."""

import gc
import threading
import time
import weakref

import pytest

import gevlite
from gevlite.event import AsyncResult, Event

BOTH = [Event, AsyncResult]


def waiting(thing, count=1):
    greenlets = [gevlite.spawn(thing.wait) for _ in range(count)]
    gevlite.idle()
    assert thing.linkcount() == count
    return greenlets


# ---------------------------------------------------------------- Event


def test_an_event_is_clear_until_it_is_set():
    e = Event()
    assert not e.is_set() and not e.isSet() and not e.ready()
    e.set()
    assert e.is_set() and e.isSet() and e.ready()
    e.clear()
    assert not e.is_set()


def test_wait_returns_true_when_it_is_set_already():
    e = Event()
    e.set()
    assert e.wait() is True and e.wait(0) is True


def test_clearing_right_after_setting_still_wakes_those_who_waited():
    e = Event()
    greenlets = waiting(e, 3)
    e.set()
    e.clear()
    assert [g.get() for g in greenlets] == [True] * 3
    assert e.wait(0) is False


def test_setting_twice_wakes_once():
    e = Event()
    g = waiting(e)[0]
    e.set()
    e.set()
    assert g.get() is True


def test_a_waiter_that_waits_again_in_its_turn_is_not_woken_by_the_same_set():
    e, turns = Event(), []

    def again():
        e.wait()
        e.clear()
        turns.append(1)
        turns.append(e.wait(0.001))

    g = gevlite.spawn(again)
    gevlite.idle()
    e.set()
    g.get()
    assert turns == [1, False]


# ---------------------------------------------------------------- AsyncResult


def test_an_async_result_gives_its_value():
    r = AsyncResult()
    assert not r.ready() and not r.done() and not r.successful() and r.value is None and r.exception is None
    r.set(7)
    assert r.ready() and r.done() and r.successful()
    assert r.get() == r.get_nowait() == r.result() == r.wait() == r.value == 7
    assert r.exc_info == ()


def test_an_async_result_raises_its_exception_with_its_traceback():
    r = AsyncResult()
    try:
        raise ValueError("original")
    except ValueError as exc:
        r.set_exception(exc)
    assert r.ready() and not r.successful()
    with pytest.raises(ValueError, match="original") as caught:
        r.get()
    assert any("raises_its_exception_with_its_traceback" in entry.name for entry in caught.traceback[1:])
    assert r.exc_info[0] is ValueError and r.exc_info[1] is r.exception
    assert r.wait() is None


def test_raising_it_many_times_does_not_make_the_traceback_grow():
    r = AsyncResult()
    r.set_exception(ValueError())

    def depth():
        with pytest.raises(ValueError) as caught:
            r.get()
        return len(caught.traceback)

    assert depth() == depth() == depth()


def test_set_exception_takes_a_class_too_and_nothing_else():
    r = AsyncResult()
    r.set_exception(KeyError)
    with pytest.raises(KeyError):
        r.get()
    with pytest.raises(TypeError):
        AsyncResult().set_exception("text")


def test_get_without_blocking_raises_timeout():
    with pytest.raises(gevlite.Timeout):
        AsyncResult().get(block=False)
    with pytest.raises(gevlite.Timeout):
        AsyncResult().get_nowait()


def test_get_that_times_out_raises_timeout_and_wait_returns_none():
    r = AsyncResult()
    with pytest.raises(gevlite.Timeout) as caught:
        r.get(timeout=0.001)
    assert caught.value.seconds == 0.001
    with pytest.raises(gevlite.Timeout):
        r.result(0.001)
    assert r.wait(0.001) is None
    assert r.linkcount() == 0


def test_an_async_result_takes_over_from_a_greenlet(errors):
    good, bad = AsyncResult(), AsyncResult()
    gevlite.spawn(lambda: 5).link(good)
    failing = gevlite.spawn(lambda: 1 / 0)
    failing.link(bad)
    assert good.get() == 5
    with pytest.raises(ZeroDivisionError):
        bad.get()
    assert bad.exc_info[2] is failing.exc_info[2]


def test_it_cannot_be_cancelled():
    assert AsyncResult().cancel() is False and AsyncResult().cancelled() is False


def test_setting_again_replaces_the_value():
    r = AsyncResult()
    r.set_exception(ValueError())
    r.set_result(1)
    assert r.get() == 1 and r.exception is None


# ---------------------------------------------------------------- each way to wait, both classes


@pytest.mark.parametrize("timeout", [0, 0.001])
@pytest.mark.parametrize("cls", BOTH)
def test_a_wait_that_times_out_leaves_no_link(cls, timeout):
    thing = cls()
    for _ in range(3):
        assert not thing.wait(timeout)
    assert thing.linkcount() == 0


@pytest.mark.parametrize("cls", BOTH)
def test_a_wait_is_never_shorter_than_asked_for(cls):
    start = time.monotonic()
    cls().wait(0.0023)
    assert time.monotonic() - start >= 0.0023


@pytest.mark.parametrize("cls", BOTH)
def test_kill_while_waiting_leaves_no_link_and_the_others_are_woken(cls):
    thing = cls()
    first, killed, last = waiting(thing, 3)
    killed.kill()
    assert thing.linkcount() == 2
    thing.set()
    gevlite.joinall([first, last], timeout=30)
    assert first.successful() and last.successful()
    assert isinstance(killed.value, gevlite.GreenletExit)


@pytest.mark.parametrize("cls", BOTH)
def test_kill_then_set_in_one_turn_is_a_kill(cls):
    thing = cls()
    g = waiting(thing)[0]
    g.kill(block=False)
    thing.set()
    g.join()
    assert isinstance(g.value, gevlite.GreenletExit) and thing.linkcount() == 0


@pytest.mark.parametrize("cls", BOTH)
def test_set_then_kill_in_one_turn_ends_the_wait_first(cls):
    thing, seen = cls(), []

    def wait():
        thing.wait()
        seen.append("woken")
        gevlite.sleep(100)

    g = gevlite.spawn(wait)
    gevlite.idle()
    thing.set()
    g.kill()
    assert seen == ["woken"]


@pytest.mark.parametrize("wake_first", [True, False])
@pytest.mark.parametrize("cls", BOTH)
def test_a_set_and_a_timeout_in_the_same_round_end_the_wait_once(cls, wake_first, hub):
    thing, woken = cls(), []

    def wait():
        thing.wait(0.002)
        woken.append(thing.ready())

    if wake_first:
        hub.call_later(0.002, thing.set)
    g = gevlite.spawn(wait)
    gevlite.idle()
    if not wake_first:
        hub.call_later(0.002, thing.set)
    deadline = time.monotonic() + 0.004
    while time.monotonic() < deadline:
        pass
    g.join()
    assert len(woken) == 1 and thing.linkcount() == 0
    gevlite.sleep(0.001)
    assert thing.ready()


@pytest.mark.parametrize("cls", BOTH)
def test_waiters_are_woken_in_the_order_in_which_they_came(cls):
    thing, order = cls(), []

    @gevlite.uninterrupted  # otherwise a later one may be the first to wait
    def wait(n):
        thing.wait()
        order.append(n)

    greenlets = [gevlite.spawn(wait, n) for n in range(20)]
    gevlite.idle()
    thing.set()
    gevlite.joinall(greenlets)
    assert order == list(range(20))


@pytest.mark.parametrize("cls", BOTH)
def test_a_bad_timeout_is_an_error_and_leaves_no_link(cls):
    thing = cls()
    with pytest.raises(TypeError):
        thing.wait("soon")
    with pytest.raises(ValueError):
        thing.wait(float("nan"))
    assert thing.linkcount() == 0


@pytest.mark.parametrize("cls", BOTH)
def test_waiting_in_a_hub_callback_delays_no_other_callback(cls, hub, settle):
    thing, order = cls(), []
    thing.rawlink(lambda source: order.append("link"))
    hub.call_soon(lambda: (thing.wait(), order.append("woken")))
    hub.call_soon(order.append, "other")
    gevlite.idle()
    assert order == ["other"]
    thing.set()
    assert settle(lambda: len(order) == 3) and thing.linkcount() == 0


# ---------------------------------------------------------------- links


@pytest.mark.parametrize("cls", BOTH)
def test_a_link_is_called_once_in_the_hub(cls, hub):
    thing, calls = cls(), []
    thing.rawlink(lambda source: calls.append((source, gevlite.getcurrent())))
    assert thing.linkcount() == 1
    thing.set()
    thing.set()
    gevlite.idle()
    assert calls == [(thing, hub)] and thing.linkcount() == 0


@pytest.mark.uninterrupted
@pytest.mark.parametrize("cls", BOTH)
def test_a_link_to_what_is_ready_is_called_soon_but_not_at_once(cls):
    thing, calls = cls(), []
    thing.set()
    thing.rawlink(calls.append)
    assert calls == []
    gevlite.idle()
    assert calls == [thing]


@pytest.mark.uninterrupted
@pytest.mark.parametrize("cls", BOTH)
def test_unlink_compares_with_what_lets_others_run(cls):
    class Link:
        def __eq__(self, other):
            gevlite.sleep(0)
            return self is other

        def __call__(self, source):
            called.append(self)

    called = []
    thing, first, last = cls(), Link(), Link()
    thing.rawlink(first)
    thing.rawlink(last)
    clearing = gevlite.spawn(thing.unlink, first)
    gevlite.spawn(thing.unlink, first)
    thing.unlink(last)
    clearing.get()
    thing.set()
    gevlite.sleep(0)
    assert called == [] and thing.linkcount() == 0


@pytest.mark.parametrize("cls", BOTH)
def test_unlink_takes_a_link_back(cls):
    thing, calls = cls(), []
    callback = calls.append
    thing.rawlink(callback)
    thing.unlink(callback)
    thing.unlink(callback)
    assert thing.linkcount() == 0
    thing.set()
    gevlite.idle()
    assert calls == []


@pytest.mark.parametrize("cls", BOTH)
def test_a_link_must_be_callable(cls):
    with pytest.raises(TypeError):
        cls().rawlink(None)


@pytest.mark.parametrize("cls", BOTH)
def test_a_link_that_fails_is_reported_and_the_next_is_called(cls, errors):
    thing, calls = cls(), []
    thing.rawlink(lambda source: 1 / 0)
    thing.rawlink(calls.append)
    thing.set()
    gevlite.idle()
    assert calls == [thing] and isinstance(errors[0][1], ZeroDivisionError)


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("cls", BOTH)
def test_a_waiter_is_woken_from_another_thread(cls):
    thing = cls()
    g = gevlite.spawn(thing.wait)
    gevlite.idle()
    thread = threading.Thread(target=thing.set)
    thread.start()
    g.get(timeout=30)
    thread.join()
    assert thing.linkcount() == 0


@pytest.mark.parametrize("cls", BOTH)
def test_waiters_of_several_threads_are_all_woken(cls, fast_thread_switches):
    for _ in range(50):
        thing, woken = cls(), []

        def wait(thing=thing, woken=woken):
            thing.wait(30)
            woken.append(thing.ready())

        threads = [threading.Thread(target=wait) for _ in range(4)]
        for t in threads:
            t.start()
        thing.set()
        for t in threads:
            t.join()
        assert woken == [True] * 4


def test_an_event_set_while_the_hub_looks_for_a_dead_end_is_not_lost(run_script):
    """Writing the text of a LoopExit runs Python code; a greenlet woken meanwhile gets no error and no delay."""
    run_script("""
        import threading, gevlite
        from gevlite.event import Event

        hub, event = gevlite.get_hub(), Event()
        message = hub._dead_end_message

        def slow_message():
            del hub._dead_end_message
            thread = threading.Thread(target=event.set)
            thread.start()
            thread.join()
            return message()

        hub._dead_end_message = slow_message
        assert event.wait() is True
        gevlite.sleep(0.001)  # a LoopExit for the wait before would be raised here
    """)


def test_a_thread_that_waits_in_its_own_hub_counts_as_somebody_who_may_wake_us(run_script):
    """It runs no Python code while it waits: a look at the frames of all threads would miss it."""
    run_script("""
        import threading, gevlite
        from gevlite.event import Event

        event, answer = Event(), Event()

        def other():
            gevlite.sleep(0.05)
            event.set()
            answer.wait()

        thread = threading.Thread(target=other)
        thread.start()
        event.wait()
        gevlite.sleep(0.05)
        answer.set()
        thread.join()
    """)


# ---------------------------------------------------------------- fork, memory


@pytest.mark.parametrize("cls", ["Event", "AsyncResult"])
def test_works_on_after_fork(cls, run_script):
    run_script(f"""
        import os, gevlite
        from gevlite.event import {cls}
        thing = {cls}()
        g = gevlite.spawn(thing.wait)
        gevlite.idle()
        pid = os.fork()
        thing.set()
        g.get()
        assert not {cls}().wait(0.001)
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)


@pytest.mark.parametrize("cls", BOTH)
def test_it_is_freed_with_its_last_reference(cls):
    thing = cls()
    thing.rawlink(lambda source: None)
    thing.wait(0)
    ref = weakref.ref(thing)
    del thing
    assert ref() is None


@pytest.mark.parametrize("cls", BOTH)
def test_many_waits_leave_no_objects(cls):
    def work(count):
        for _ in range(count):
            thing = cls()
            g = gevlite.spawn(thing.wait)
            gevlite.idle()
            thing.set()
            g.join()
            thing.wait()
            cls().wait(0)

    work(50)
    gc.collect()
    before = len(gc.get_objects())
    work(5000)
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_the_repr_tells_the_state():
    e, r = Event(), AsyncResult()
    assert "clear" in repr(e) and "pending" in repr(r)
    e.set()
    r.set(3)
    assert "set" in repr(e) and "value=3" in repr(r)
    r.set_exception(ValueError("x"))
    assert "ValueError" in repr(r)
    r.set([r])
    assert "value=[<AsyncResult ... links=0>]" in repr(r)


# ---------------------------------------------------------------- the order of links


@pytest.mark.parametrize("make", [Event, AsyncResult])
def test_links_have_run_when_a_wait_is_over(make):
    for wait in (lambda source: source.wait(), lambda source: gevlite.wait([source])):
        seen = []
        source = make()
        source.rawlink(seen.append)
        with gevlite.uninterrupted():  # otherwise it may be set before the wait
            gevlite.spawn(source.set)
            wait(source)
        assert seen == [source]


@pytest.mark.uninterrupted
@pytest.mark.parametrize("make", [Event, AsyncResult])
def test_a_link_taken_back_by_another_link_is_not_called(make):
    seen = []

    def first(source):
        seen.append("first")
        source.unlink(second)

    def second(source):
        seen.append("second")

    source = make()
    source.rawlink(first)
    source.rawlink(second)
    source.set()
    assert seen == [] and source.linkcount() == 2
    gevlite.idle()
    assert seen == ["first"] and source.linkcount() == 0


@pytest.mark.parametrize("make", [Event, AsyncResult])
def test_a_link_is_called_once_however_often_it_is_set(make):
    seen = []
    source = make()
    source.rawlink(seen.append)
    source.set()
    source.set()
    gevlite.idle()
    source.set()
    gevlite.idle()
    assert seen == [source]


def test_an_event_can_stand_in_for_that_of_threading():
    event = Event()
    event._at_fork_reinit()  # threading calls it in the child of a fork
    assert event.wait(0) is False


def test_they_take_no_arguments():
    for make in (Event, AsyncResult):
        with pytest.raises(TypeError):
            make(1)
