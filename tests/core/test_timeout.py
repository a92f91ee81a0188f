"""Timeout and with_timeout: raised in the right greenlet, once, and never early; cancelled, it leaves nothing."""

import contextlib
import functools
import gc
import inspect
import os
import time
import traceback
import weakref

import pytest

import gevlite
from gevlite import Timeout
from gevlite.event import AsyncResult, Event


def test_it_ends_a_blocking_call_and_is_never_early():
    start = time.monotonic()
    with pytest.raises(Timeout) as caught, Timeout(0.003) as mine:
        gevlite.sleep(100)
    assert caught.value is mine and time.monotonic() - start >= 0.003


def test_a_block_that_is_done_in_time_is_not_disturbed(hub):
    with Timeout(100) as t:
        assert t.pending and hub.stats()["timers"] == 1
        gevlite.sleep(0)
    assert not t.pending and hub.stats()["timers"] == 0


def test_the_silent_form_is_swallowed_by_its_own_with():
    with Timeout(0.001, False):
        gevlite.sleep(100)
    with pytest.raises(Timeout) as caught, Timeout(100, False), Timeout(0.001) as inner:
        gevlite.sleep(100)
    assert caught.value is inner


@pytest.mark.parametrize("exception", [KeyError, KeyError("x")])
def test_another_exception_is_raised_instead(exception):
    with pytest.raises(KeyError), Timeout(0.001, exception):
        gevlite.sleep(100)


def test_none_never_fires(hub, clock):
    with Timeout(None) as t:
        assert not t.pending and hub.stats()["timers"] == 0
        gevlite.sleep(1e6)
    t = Timeout.start_new(None)
    assert not t.pending
    t.cancel()


@pytest.mark.parametrize("seconds", [0, -1])
def test_zero_and_less_fire_at_the_next_wait(seconds):
    with pytest.raises(Timeout), Timeout(seconds):
        gevlite.sleep(100)


def test_it_fires_in_a_loop_that_only_gives_way():
    with pytest.raises(Timeout), Timeout(0.002):
        while True:
            gevlite.sleep(0)


def test_it_fires_in_the_greenlet_that_started_it():
    def timed():
        with Timeout(0.001, False):
            gevlite.sleep(100)
            return "not reached"
        return "timed out"

    g, other = gevlite.spawn(timed), gevlite.spawn(gevlite.sleep, 0.003)
    other.get()
    assert g.get() == "timed out"


def test_nested_ones_fire_in_their_own_order():
    with pytest.raises(Timeout) as caught, Timeout(0.001) as outer, Timeout(100):
        gevlite.sleep(100)
    assert caught.value is outer
    with Timeout(100) as outer:
        with pytest.raises(Timeout) as caught, Timeout(0.001) as inner:
            gevlite.sleep(100)
        assert caught.value is inner
        gevlite.sleep(0)


def test_two_that_fire_in_one_round_raise_one_after_the_other():
    with pytest.raises(Timeout) as caught, Timeout(0.001) as outer:
        try:
            with Timeout(0.001):
                spin(0.003)
                gevlite.sleep(100)
        finally:
            gevlite.sleep(0)  # the pending exception of the inner one was taken back when it was left
    assert caught.value is outer


def spin(seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pass


@pytest.mark.uninterrupted
def test_one_that_fired_while_we_were_being_woken_is_taken_back_by_cancel(hub):
    r = AsyncResult()
    hub.call_later(0.001, r.set, 5)
    with Timeout(0.001):
        spin(0.003)
        assert r.get() == 5
    gevlite.sleep(0.001)  # nothing pending is raised here
    assert hub.stats()["pending_throws"] == 0


def test_cancelling_one_does_not_take_back_a_kill_of_the_same_class():
    """Both carry the class GreenletExit; only its own may be taken back."""
    seen = []

    @gevlite.uninterrupted
    def body():
        t = Timeout.start_new(0.001, gevlite.GreenletExit)
        try:
            gevlite.sleep(100)
        except gevlite.GreenletExit:
            seen.append("timed out")
        gevlite.getcurrent().kill(block=False)
        t.cancel()
        gevlite.sleep(0)
        seen.append("survived")

    g = gevlite.spawn(body)
    g.join()
    assert seen == ["timed out"]


def test_it_cannot_be_started_twice_but_again_after_cancel():
    t = Timeout(100)
    t.start()
    with pytest.raises(AssertionError):
        t.start()
    t.cancel()
    t.cancel()
    t.start()
    t.close()
    assert not t.pending


def test_start_new_takes_a_timeout_too():
    t = Timeout(100)
    assert Timeout.start_new(t) is t and t.pending
    assert Timeout.start_new(t) is t
    t.cancel()


@pytest.mark.parametrize("bad", ["soon", float("nan")])
def test_a_bad_time_is_an_error_when_it_is_made(bad):
    with pytest.raises((TypeError, ValueError)):
        Timeout(bad)


def test_it_is_a_base_exception_only():
    assert issubclass(Timeout, BaseException) and not issubclass(Timeout, Exception)


def test_str_and_repr():
    assert str(Timeout(1)) == "1 second" and str(Timeout(1.5)) == "1.5 seconds" and str(Timeout()) == ""
    assert "silent" in str(Timeout(2, False)) and "KeyError" in str(Timeout(2, KeyError))
    with Timeout(100) as t:
        assert "pending" in repr(t)


def test_with_timeout_returns_what_the_function_returns():
    assert gevlite.with_timeout(100, lambda x, y: x + y, 1, y=2) == 3


def test_with_timeout_raises_or_returns_the_fallback():
    with pytest.raises(Timeout):
        gevlite.with_timeout(0.001, gevlite.sleep, 100)
    assert gevlite.with_timeout(0.001, gevlite.sleep, 100, timeout_value="late") == "late"


def test_with_timeout_lets_somebody_elses_timeout_through():
    with pytest.raises(Timeout) as caught, Timeout(0.001) as outer:
        gevlite.with_timeout(100, gevlite.sleep, 100, timeout_value="late")
    assert caught.value is outer


def test_cancelled_from_another_greenlet_it_does_not_fire(clock):
    t = Timeout(20)
    with t:
        gevlite.spawn(t.cancel)
        gevlite.sleep(40)
        assert not t.pending


def test_one_whose_greenlet_has_ended_fires_into_nothing(hub, clock):
    g = gevlite.spawn(lambda: Timeout.start_new(10) and None)
    g.join()
    assert hub.stats()["timers"] == 1
    gevlite.sleep(30)
    assert hub.stats()["timers"] == 0


def test_one_without_ref_does_not_keep_the_loop_alive(run_script):
    run_script("""
        import gevlite
        from gevlite.event import Event
        t = gevlite.Timeout(100, ref=False)
        t.start()
        assert gevlite.get_hub().stats()["unref_timers"] == 1
        try:
            Event().wait()
        except gevlite.LoopExit:
            t.cancel()
            assert gevlite.get_hub().stats()["unref_timers"] == 0
        else:
            raise AssertionError
    """)


@pytest.mark.parametrize("wait", [lambda: gevlite.sleep(100), lambda: Event().wait(), lambda: AsyncResult().get()])
def test_many_timeouts_leave_no_objects(wait, hub):
    def work(count):
        for _ in range(count):
            with Timeout(0, False):
                wait()
            with Timeout(100):
                pass

    work(50)
    gc.collect()
    before = len(gc.get_objects())
    work(3000)
    gc.collect()
    assert len(gc.get_objects()) - before < 50


def test_a_timeout_can_be_weakly_referenced():
    t = Timeout.start_new(100)
    ref = weakref.ref(t)
    assert ref() is t
    t.cancel()
    del t
    assert ref() is None


# ---------------------------------------------------------------- where it was set


def line_of(function, text):
    """The number of the line of `function` that holds `text`."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if text in line)


def start_by_with():
    t = Timeout(100)
    with t:  # here
        return t


def start_by_start():
    t = Timeout(100)
    t.start()  # here
    t.cancel()
    return t


def start_by_start_new():
    t = Timeout.start_new(100)  # here
    t.cancel()
    return t


def start_by_subclass():
    class Own(Timeout):
        pass

    with Own(100) as t:  # here
        return t


def start_by_get():
    try:
        AsyncResult().get(timeout=0.001)  # here
    except Timeout as t:
        return t


def start_by_greenlet_get():
    g = gevlite.spawn(gevlite.sleep, 1000)
    try:
        g.get(timeout=0.001)  # here
    except Timeout as t:
        return t
    finally:
        g.kill()


def start_by_with_timeout():
    try:
        gevlite.with_timeout(0.001, gevlite.sleep, 1000)  # here
    except Timeout as t:
        return t


def start_by_passing_it():
    t = Timeout(0.001)
    Event().wait(timeout=t)  # here
    return t


@pytest.mark.parametrize(
    "start",
    [
        start_by_with,
        start_by_start,
        start_by_start_new,
        start_by_subclass,
        start_by_get,
        start_by_greenlet_get,
        start_by_with_timeout,
        start_by_passing_it,
    ],
)
def test_it_tells_where_it_was_started(start):
    where = start().where
    assert (where.filename, where.lineno, where.name) == (__file__, line_of(start, "# here"), start.__name__)
    assert "here" in where.line and str(where.lineno) in str(where)


def test_where_is_none_before_it_was_started_and_without_python_code(clock):
    t = Timeout(10)
    assert t.where is None
    assert Timeout(None).where is None
    gevlite.spawn_later(0, t.start)  # the hub begins a greenlet in which there is no other code
    gevlite.sleep(30)
    assert t.where is None
    t.cancel()


def test_where_names_the_last_start():
    t = Timeout(100)
    with t:
        first = t.where.lineno
    with t:
        assert t.where.lineno == first + 2


def test_where_keeps_no_frame_alive():
    class Thing:
        pass

    def start():
        thing = Thing()
        t = Timeout.start_new(100)
        t.cancel()
        return t, weakref.ref(thing)

    t, ref = start()
    assert ref() is None and t.where.name == "start"


@pytest.mark.parametrize("exception", [None, True, False, "text"])
def test_what_is_no_exception_is_not_raised_instead(exception):
    t = Timeout(0.001, exception)
    with pytest.raises(Timeout) as caught:
        t.start()
        gevlite.sleep(100)
    assert caught.value is t


def waits_at(function):
    """Its first line of code, as messages name it."""
    return f"{function.__name__} ({os.path.relpath(__file__)}:{function.__code__.co_firstlineno + 1})"


@pytest.mark.uninterrupted
def test_its_text_names_the_line_that_was_waiting(monkeypatch):
    def wait(block):
        block()

    monkeypatch.chdir(os.path.dirname(__file__))
    assert str(Timeout(5)) == "5 seconds"
    for exception, text in ((None, "0.001 seconds"), ("too slow", "0.001 seconds: too slow")):
        with pytest.raises(Timeout) as caught, Timeout(0.001, exception):
            wait(Event().wait)
        assert str(caught.value) == f"{text}, in {waits_at(wait)}"
    with pytest.raises(Timeout) as caught:
        wait(functools.partial(AsyncResult().get, timeout=0.001))
    assert str(caught.value) == f"0.001 seconds, in {waits_at(wait)}"


@pytest.mark.uninterrupted
def test_its_text_skips_the_frames_of_libraries(monkeypatch):
    def enter():
        with contextlib.ExitStack() as stack:
            stack.callback(Event().wait)  # contextlib.py makes the call

    monkeypatch.chdir(os.path.dirname(__file__))
    with pytest.raises(Timeout) as caught, Timeout(0.001):
        enter()
    assert str(caught.value) == f"0.001 seconds, in {waits_at(enter)}"
    assert any("contextlib.py" in entry.filename for entry in traceback.extract_tb(caught.tb))


def test_the_line_of_an_error_in_a_greenlet_is_where_it_struck_not_where_it_was_got():
    def job():
        with Timeout(0.001):
            gevlite.sleep(100)

    g = gevlite.spawn(job)
    g.join()
    with pytest.raises(Timeout) as caught:
        g.get()
    assert ", in job (" in str(caught.value)
