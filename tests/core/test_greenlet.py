"""The whole Greenlet class: starting, ending, results, links, identity, and errors."""

import contextvars
import functools
import gc
import io
import sys
import threading
import time
import weakref

import greenlet as raw_greenlet
import pytest

import gevlite
from gevlite import Greenlet, GreenletExit, Timeout
from gevlite.event import AsyncResult, Event
from gevlite.hub import InvalidSwitchError
from gevlite.lock import RLock


def for_ever():
    gevlite.sleep(1000)


class Unkillable(Exception):
    pass


# ---------------------------------------------------------------- making and starting


@pytest.mark.parametrize("bad", [5, "text"])
@pytest.mark.parametrize("start", [gevlite.spawn, gevlite.spawn_raw, Greenlet, Greenlet.spawn])
def test_spawning_what_cannot_be_called_is_a_type_error(start, bad, hub):
    before = hub.stats()["spawned"]
    with pytest.raises(TypeError):
        start(bad)
    with pytest.raises(TypeError):
        gevlite.spawn_later(1, bad)
    assert hub.stats()["spawned"] == before and hub.stats()["timers"] == 0


def test_spawn_without_anything_is_a_type_error():
    for start in (gevlite.spawn, gevlite.spawn_raw):
        with pytest.raises(TypeError):
            start()
        with pytest.raises(TypeError):
            start(None)


def test_a_greenlet_without_a_function_does_nothing():
    for g in (Greenlet(), Greenlet(None), Greenlet(None, 1, x=2)):
        g.start()
        g.join()
        assert g.successful() and g.value is None and g.exc_info == ()


def test_what_it_runs_may_be_set_after_it_was_made():
    class Job(Greenlet):
        def __init__(self, work):
            Greenlet.__init__(self, None, 20)
            self._run = work

    job = Job(lambda n: n + 1)
    job.start()
    assert job.get() == 21
    assert callable(Greenlet()._run)


def test_the_end_of_with_waits_for_its_end(clock):
    with gevlite.spawn(lambda: gevlite.sleep(0.001) or 42) as g:
        assert not g.ready()
    assert g.value == 42


def test_an_error_in_it_is_not_raised_by_with(errors):
    with gevlite.spawn(lambda: 1 / 0) as g:
        pass
    assert isinstance(g.exception, ZeroDivisionError)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("error", [KeyError("x"), Timeout(3)])
def test_with_kills_it_by_what_the_block_raises(error, begun, errors):
    with pytest.raises(type(error)) as caught, gevlite.spawn(for_ever) as g:
        if begun:
            gevlite.sleep(0)
        raise error
    assert g.dead and g.exception is error is caught.value and not g.successful()
    assert "for_ever" not in str(caught.traceback)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GreenletExit])
def test_what_ends_the_program_ends_it_quietly_and_is_raised_once(error):
    with pytest.raises(error), gevlite.spawn(for_ever) as g:
        gevlite.sleep(0)
        raise error
    assert g.dead and isinstance(g.value, GreenletExit)
    gevlite.sleep(0)


def test_with_kills_it_if_the_wait_for_its_end_is_ended(clock):
    with Timeout(0.001, False), gevlite.spawn(for_ever) as g:
        pass
    assert g.dead and isinstance(g.value, GreenletExit)


@pytest.mark.uninterrupted
def test_spawn_passes_arguments_and_does_not_run_at_once():
    calls = []
    g = gevlite.spawn(lambda *a, **k: calls.append((a, k)), 1, 2, run=3, x=4)
    assert calls == [] and g.started and not g.ready()
    gevlite.idle()
    assert calls == [((1, 2), {"run": 3, "x": 4})]


def test_greenlets_begin_in_the_order_in_which_they_were_spawned():
    order = []
    gevlite.joinall([gevlite.spawn(order.append, n) for n in range(50)])
    assert order == list(range(50))


def test_start_twice_runs_once():
    calls = []
    g = Greenlet(calls.append, 1)
    g.start()
    g.start()
    g.join()
    g.start()
    gevlite.sleep(0)
    assert calls == [1]


def test_a_subclass_defines_run():
    class Nine(Greenlet):
        def _run(self):
            return 9

    assert Nine.spawn().get() == 9


def test_a_subclass_with_its_own_init():
    class Named(Greenlet):
        def __init__(self, label):
            super().__init__()
            self.label = label

        def _run(self):
            return self.label

    g = Named("x")
    g.start()
    assert g.get() == "x"


def test_start_later_and_spawn_later_begin_in_time(clock):
    order = []
    late = gevlite.spawn_later(0.004, order.append, "late")
    soon = Greenlet(order.append, "soon")
    soon.start_later(0.001)
    assert soon.started and not soon.ready()
    gevlite.joinall([late, soon])
    assert order == ["soon", "late"]


def test_a_negative_time_is_a_value_error_and_starts_nothing(hub):
    for start in (lambda: gevlite.spawn_later(-1, for_ever), lambda: Greenlet(for_ever).start_later(-1)):
        with pytest.raises(ValueError):
            start()
    assert hub.stats()["timers"] == 0


def test_args_and_kwargs_are_kept_until_the_end():
    g = Greenlet(lambda *a, **k: None, 1, b=2)
    assert g.args == (1,) and g.kwargs == {"b": 2}
    g.start()
    g.join()
    assert g.args == () and g.kwargs == {}


def test_what_it_was_given_is_freed_when_it_has_ended():
    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)
    g = gevlite.spawn(lambda x: None, thing)
    del thing
    g.join()
    assert ref() is None


def test_switching_by_hand_into_one_that_is_scheduled_runs_it_once_and_keeps_its_references(run_script):
    run_script(
        """
        import sys, gevlite
        calls = []
        g = gevlite.spawn(calls.append, 1)
        before = sys.getrefcount(g)
        try:
            g.switch()
        except gevlite.LoopExit:
            pass                       # it ended into the hub, and nothing switches back here
        gevlite.sleep(0.001)
        assert calls == [1] and g.dead
        assert sys.getrefcount(g) == before - 1, (sys.getrefcount(g), before)     # the entry's
    """,
        env={"GEVLITE_TIME_SLICE": ""},
    )


# ---------------------------------------------------------------- results


@pytest.mark.uninterrupted
def test_value_and_state_through_its_life():
    g = Greenlet(lambda: 5)
    assert (g.started, g.ready(), g.dead, g.successful(), bool(g)) == (False, False, False, False, False)
    g.start()
    assert (g.started, g.ready(), g.dead, g.successful(), bool(g)) == (True, False, False, False, True)
    assert g.get() == 5
    assert (g.started, g.ready(), g.dead, g.successful(), bool(g)) == (False, True, True, True, False)
    assert g.value == 5 and g.exception is None and g.exc_info == ()


def test_get_raises_what_it_raised_with_its_traceback(errors):
    def fail():
        raise KeyError("inner")

    g = gevlite.spawn(fail)
    with pytest.raises(KeyError) as caught:
        g.get()
    assert caught.traceback[-1].name == "fail"
    assert isinstance(g.exception, KeyError) and g.value is None and not g.successful() and g.ready()
    assert g.exc_info[0] is KeyError and g.exc_info[1] is g.exception
    assert len(errors) == 1 and errors[0] == (g, g.exception)


def test_getting_the_error_many_times_does_not_make_the_traceback_grow(errors):
    g = gevlite.spawn(lambda: 1 / 0)

    def depth():
        with pytest.raises(ZeroDivisionError) as caught:
            g.get()
        return len(caught.traceback)

    assert depth() == depth() == depth()


def test_get_times_out():
    g = gevlite.spawn(for_ever)
    with pytest.raises(Timeout) as caught:
        g.get(timeout=0.001)
    assert caught.value.seconds == 0.001
    with pytest.raises(Timeout):
        g.get(block=False)
    g.kill()


def test_join_times_out_and_never_raises(errors):
    g = gevlite.spawn(for_ever)
    assert g.join(timeout=0.001) is None and not g.ready()
    g.kill()
    failing = gevlite.spawn(lambda: 1 / 0)
    failing.join()
    assert failing.ready()


def test_a_greenlet_cannot_wait_for_itself():
    def wait_for_me():
        for wait in (g.join, g.get):
            with pytest.raises(RuntimeError):
                wait()

    g = Greenlet(wait_for_me)
    g.start()
    g.get()


def test_killing_a_joiner_leaves_the_joined_alone():
    g = gevlite.spawn(Event().wait)
    joiner = gevlite.spawn(g.join)
    gevlite.sleep(0)
    joiner.kill()
    assert not g.ready()
    g.kill()


# ---------------------------------------------------------------- kill


def test_kill_before_start_means_it_never_runs():
    calls = []
    g = Greenlet(calls.append, 1)
    g.kill()
    assert g.dead and g.successful() and isinstance(g.value, GreenletExit)
    g.start()
    gevlite.sleep(0)
    assert calls == []


@pytest.mark.uninterrupted
def test_kill_of_one_that_is_scheduled_means_it_never_runs():
    calls = []
    g = gevlite.spawn(calls.append, 1)
    g.kill()
    gevlite.sleep(0)
    assert calls == [] and isinstance(g.value, GreenletExit)


def test_one_that_is_killed_before_it_begins_has_its_error_when_it_has_ended():
    class Slow(Exception):
        def __init__(self):
            gevlite.idle()  # other greenlets must not see it ended without a reason meanwhile

    found = []

    def looks():
        found.append((g.dead, type(g.exception)))

    g = Greenlet(looks)
    gevlite.spawn(looks)
    g.kill(Slow)
    gevlite.spawn(looks)
    gevlite.idle()
    assert found == [(False, type(None)), (True, Slow)]


def test_one_that_begins_while_its_killer_makes_the_error_is_killed():
    class Slow(Exception):
        def __init__(self):
            gevlite.idle()

    ended = []

    def body():
        try:
            for_ever()
        finally:
            ended.append(1)

    g = gevlite.spawn(body)
    g.kill(Slow)
    assert ended == [1] and type(g.exception) is Slow


def test_kill_of_one_that_would_start_later_drops_its_timer(hub):
    g = gevlite.spawn_later(1000, for_ever)
    assert hub.stats()["timers"] == 1
    g.kill()
    assert hub.stats()["timers"] == 0 and g.dead


def test_kill_while_parked_runs_its_finally_blocks():
    steps = []

    def body():
        try:
            for_ever()
        finally:
            gevlite.sleep(0)
            steps.append("cleaned up")

    g = gevlite.spawn(body)
    gevlite.idle()
    g.kill()
    assert steps == ["cleaned up"] and isinstance(g.value, GreenletExit) and g.successful()


def test_kill_of_the_running_greenlet_raises_at_once():
    def body():
        g.kill()
        raise AssertionError("still here")

    g = Greenlet(body)
    g.start()
    assert isinstance(g.get(), GreenletExit)


def test_kill_of_the_running_greenlet_without_blocking_is_raised_at_its_next_wait():
    steps = []

    def body():
        with gevlite.uninterrupted():
            g.kill(block=False)
            steps.append("goes on")
            gevlite.sleep(0)
        steps.append("never")

    g = Greenlet(body)
    g.start()
    g.join()
    assert steps == ["goes on"] and isinstance(g.value, GreenletExit)


def test_kill_of_a_loop_over_sleep_zero():
    def body():
        while True:
            gevlite.sleep(0)

    g = gevlite.spawn(body)
    gevlite.sleep(0)
    g.kill(timeout=30)
    assert g.dead


def test_killing_twice_or_after_the_end_does_nothing():
    g = gevlite.spawn(for_ever)
    gevlite.sleep(0)
    g.kill(block=False)
    g.kill()
    g.kill()
    assert isinstance(g.value, GreenletExit)
    done = gevlite.spawn(lambda: 3)
    done.join()
    done.kill()
    assert done.value == 3


@pytest.mark.parametrize("exception", [Unkillable, Unkillable("instance")])
def test_kill_with_another_exception(exception, errors):
    g = gevlite.spawn(for_ever)
    gevlite.sleep(0)
    g.kill(exception)
    assert isinstance(g.exception, Unkillable) and not g.successful()
    with pytest.raises(Unkillable):
        g.get()


def test_kill_before_start_with_another_exception():
    g = Greenlet(for_ever)
    g.kill(Unkillable)
    assert isinstance(g.exception, Unkillable) and g.dead


@pytest.mark.parametrize("bad", [5, "text", int, None])
def test_kill_with_what_is_no_exception_is_a_type_error(bad):
    g = gevlite.spawn(for_ever)
    gevlite.sleep(0)
    for kill in (g.kill, lambda e: gevlite.kill(g, e), lambda e: gevlite.killall([g], e)):
        with pytest.raises(TypeError):
            kill(bad)
    assert not g.dead
    g.kill()


def test_kill_waits_at_most_its_timeout_for_one_that_catches_it():
    release = Event()

    def stubborn():
        try:
            for_ever()
        except GreenletExit:
            release.wait()

    g = gevlite.spawn(stubborn)
    gevlite.idle()
    g.kill(timeout=0.001)
    assert not g.dead
    release.set()
    g.join()
    assert g.dead


def test_kill_in_a_wait_that_was_decided_comes_at_the_next_wait():
    seen = []

    def body():
        with gevlite.uninterrupted():
            seen.append(r.get())
            gevlite.sleep(1000)

    r = AsyncResult()
    g = gevlite.spawn(body)
    gevlite.idle()
    r.set("value")
    g.kill()
    assert seen == ["value"] and isinstance(g.value, GreenletExit)


def test_kill_function_takes_raw_greenlets():
    ended = []

    def body():
        try:
            for_ever()
        except GreenletExit:
            ended.append(1)

    g = gevlite.spawn_raw(body)
    gevlite.idle()
    gevlite.kill(g)
    gevlite.idle()
    assert ended == [1] and g.dead


def test_a_raw_greenlet_killed_when_already_woken_leaves_nothing_pending(hub):
    e = Event()
    g = gevlite.spawn_raw(e.wait)
    gevlite.sleep(0)
    e.set()
    gevlite.kill(g)
    gevlite.sleep(0)
    assert g.dead
    other = gevlite.spawn_raw(for_ever)
    gevlite.sleep(0)
    gevlite.kill(other)
    gevlite.kill(other)
    gevlite.sleep(0)
    third = gevlite.spawn_raw(lambda: None)
    with pytest.raises(Unkillable):
        gevlite.kill(gevlite.getcurrent(), Unkillable)
        gevlite.sleep(0)
    gevlite.idle()
    assert third.dead and hub.stats()["pending_throws"] == 0


def test_killall_kills_all_sorts():
    steps = []

    def raw():
        try:
            for_ever()
        finally:
            steps.append("raw")

    parked, scheduled = gevlite.spawn(for_ever), Greenlet(for_ever)
    bare = gevlite.spawn_raw(raw)
    gevlite.idle()
    scheduled.start()
    gevlite.killall([parked, scheduled, bare, gevlite.spawn(lambda: 1)])
    assert parked.dead and scheduled.dead
    gevlite.idle()
    assert steps == ["raw"]


def test_killall_times_out():
    release = Event()

    def stubborn():
        try:
            for_ever()
        except GreenletExit:
            release.wait()

    g = gevlite.spawn(stubborn)
    gevlite.idle()
    with pytest.raises(Timeout):
        gevlite.killall([g], timeout=0.001)
    release.set()
    g.join()


def test_killall_with_oneself_among_them_kills_the_others_first():
    other = gevlite.spawn(for_ever)

    def body():
        gevlite.killall([g, other])

    g = Greenlet(body)
    g.start()
    g.join()
    assert other.dead and isinstance(g.value, GreenletExit)


@pytest.mark.uninterrupted
def test_throw_before_the_start_ends_it():
    for args in ((), (KeyError,), (KeyError("x"),), (KeyError, "x"), (KeyError, KeyError("x"), None)):
        g = gevlite.spawn(for_ever)
        g.throw(*args)
        assert g.dead and (g.exception is None if not args else isinstance(g.exception, KeyError))


# ---------------------------------------------------------------- links


WAYS_TO_WAIT = {
    "join": lambda g: g.join(),
    "get": lambda g: g.get(),
    "joinall": lambda g: gevlite.joinall([g]),
    "joinall that raises": lambda g: gevlite.joinall([g], raise_error=True),
    "wait": lambda g: gevlite.wait([g]),
    "iwait": lambda g: next(gevlite.iwait([g])),
}


@pytest.mark.uninterrupted
@pytest.mark.parametrize("how", WAYS_TO_WAIT)
@pytest.mark.parametrize("link", ["link", "link_value", "rawlink"])
def test_links_have_run_when_a_wait_for_its_end_is_over(link, how):
    seen = []
    g = gevlite.spawn(lambda: 42)
    getattr(g, link)(gevlite.uninterrupted(lambda source: seen.append(source.value)))
    WAYS_TO_WAIT[how](g)
    assert seen == [42]


@pytest.mark.uninterrupted
@pytest.mark.parametrize("how", WAYS_TO_WAIT)
def test_links_have_run_when_whoever_waits_gives_way_first(how):
    """It checks the clock in one of 64 calls: each of these calls comes once."""
    for n in range(64):
        seen = []
        g = gevlite.spawn(lambda: 42)
        g.rawlink(lambda source, seen=seen: seen.append(source.value))
        for _ in range(n):
            gevlite.joinall([], 0)
        end = time.monotonic() + 0.006  # longer than a slice
        while time.monotonic() < end:
            pass
        WAYS_TO_WAIT[how](g)
        assert seen == [42]


@pytest.mark.parametrize("kill", [lambda g: g.kill(), lambda g: gevlite.killall([g])])
def test_links_have_run_when_it_has_been_killed(kill):
    seen = []
    g = gevlite.spawn(for_ever)
    gevlite.sleep(0)
    g.link(gevlite.uninterrupted(lambda source: seen.append("link")))
    g.rawlink(lambda source: seen.append("rawlink"))
    kill(g)
    assert sorted(seen) == ["link", "rawlink"]


def test_links_have_run_when_another_thread_has_waited_for_its_end():
    seen, told = [], []
    g = Greenlet(lambda: 42)
    g.rawlink(lambda source: seen.append(source.value))
    g.start()
    thread = threading.Thread(target=lambda: told.append((g.get(), list(seen))))
    thread.start()
    while thread.is_alive():
        gevlite.sleep(0.001)
    assert told == [(42, [42])]


def test_links_have_run_when_the_end_is_seen_late():
    """A greenlet that finds this one ended goes on after its links, like one that has waited for the end."""
    calls, late = [], []
    g = Greenlet(int)
    g.rawlink(lambda source: calls.append("raw"))
    g.link(gevlite.uninterrupted(lambda source: calls.append("link")))
    g.start()

    def look(wait):
        wait()
        late.append(list(calls))

    waits = [
        g.join,
        g.get,
        lambda: gevlite.joinall([g]),
        lambda: gevlite.wait([g]),
        lambda: next(iter(gevlite.iwait([g]))),
    ]
    gevlite.joinall([gevlite.spawn(look, wait) for wait in waits])
    assert late == [["raw", "link"]] * len(waits)


def test_a_link_that_fails_keeps_nobody_waiting(errors):
    def fail(source):
        raise KeyError

    seen = []
    g = Greenlet(lambda: 42)
    g.rawlink(fail)
    g.rawlink(seen.append)
    g.link(fail)
    g.start()
    g.join()
    assert seen == [g]


def test_a_link_may_wait_for_the_end_it_was_told_of():
    seen = []
    g = gevlite.spawn(lambda: 42)
    g.link(lambda source: seen.append(source.get()))
    g.rawlink(lambda source: seen.append(source.get()))
    g.join()
    gevlite.idle()
    assert seen == [42, 42]


@pytest.mark.uninterrupted
def test_a_link_taken_back_by_another_link_is_not_called():
    seen = []

    def first(source):
        seen.append("first")
        source.unlink(second)

    def second(source):
        seen.append("second")

    g = gevlite.spawn(lambda: 42)
    g.rawlink(first)
    g.rawlink(second)
    g.link(second)
    assert g.has_links() == 3
    g.join()
    gevlite.sleep(0)
    assert seen == ["first", "second"] and g.has_links() == 0
    for take_back in (lambda source: source.unlink_all(), lambda source: source.unlink(second)):
        seen.clear()
        g = gevlite.spawn(lambda: 42)
        g.rawlink(take_back)
        g.link(second)
        g.join()
        gevlite.sleep(0)
        assert seen == []


@pytest.mark.uninterrupted
def test_links_run_in_greenlets_of_their_own_in_order():
    order = []
    whole = gevlite.uninterrupted
    g = gevlite.spawn(lambda: 5)
    g.link(whole(lambda source: order.append(("first", source.value))))
    g.link(whole(lambda source: (gevlite.sleep(0), order.append(("may block", source is g)))))
    g.link_value(whole(lambda source: order.append(("value", source.value))))
    g.link_exception(lambda source: order.append("never"))
    assert g.has_links() == 4
    g.join()
    while len(order) < 3:
        gevlite.sleep(0)
    assert order == [("first", 5), ("value", 5), ("may block", True)]


def test_link_exception_runs_only_after_an_error(errors):
    order = []
    g = gevlite.spawn(lambda: 1 / 0)
    g.link_exception(order.append)
    g.link_value(lambda source: order.append("never"))
    g.join()
    gevlite.idle()
    assert order == [g]


def test_a_killed_greenlet_calls_its_links_also_if_it_never_began():
    for begin in (True, False):
        order = []
        g = gevlite.spawn(for_ever)
        g.rawlink(order.append)
        g.link_value(order.append)
        if begin:
            gevlite.sleep(0)
        g.kill()
        gevlite.sleep(0.001)
        assert order == [g, g]


@pytest.mark.uninterrupted
def test_a_link_to_an_ended_greenlet_is_called_soon():
    order = []
    g = gevlite.spawn(lambda: 5)
    g.join()
    g.rawlink(order.append)
    g.link(order.append)
    assert order == []
    gevlite.sleep(0.001)
    assert order == [g, g]


@pytest.mark.uninterrupted
def test_unlink_takes_a_link_back_by_its_callback():
    order = []
    callback = order.append
    g = gevlite.spawn(lambda: 5)
    g.link(callback)
    g.rawlink(callback)
    g.unlink(callback)
    g.unlink(callback)
    g.unlink(callback)
    g.link(callback)
    g.unlink_all()
    assert g.has_links() == 0
    g.join()
    gevlite.idle()
    assert order == []


def test_a_link_must_be_callable():
    g = Greenlet(for_ever)
    for link in (g.link, g.rawlink, g.link_value, g.link_exception):
        with pytest.raises(TypeError):
            link(None)


def test_a_failing_link_is_reported_and_the_next_one_runs(errors):
    order = []
    g = gevlite.spawn(lambda: 5)
    g.rawlink(lambda source: 1 / 0)
    g.rawlink(order.append)
    g.join()
    gevlite.sleep(0)
    assert order == [g] and isinstance(errors[0][1], ZeroDivisionError)


# ---------------------------------------------------------------- identity


def test_names_and_idents():
    a, b = Greenlet(for_ever), Greenlet(for_ever)
    assert isinstance(a.minimal_ident, int) and a.minimal_ident != b.minimal_ident
    assert a.name == f"Greenlet-{a.minimal_ident}"
    a.name = "worker"
    assert a.name == "worker" and "worker" in repr(a)


def test_the_repr_names_function_and_arguments():
    def work(x, y=None):
        pass

    g = Greenlet(work, 1, y="z" * 1000)
    text = repr(g)
    assert "work" in text and "1" in text and len(text) < 400


def shortened(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@pytest.mark.uninterrupted
def test_the_repr_tells_the_state_and_the_function_also_afterwards():
    def work(end, x):
        said.append(repr(gevlite.getcurrent()))
        event.wait()
        end()

    def fail():
        raise KeyError

    said = []
    event = Event()
    for end, words in ((print, "ended"), (fail, "failed: KeyError")):
        event.clear()
        g = Greenlet(work, end, x="y")
        g.name = "worker"
        here = f'<Greenlet "worker" at {id(g):#x}: work'
        call = f"{here}({shortened(end)}, x='y')"
        assert repr(g) == f"{call}, not begun>"
        g.start()
        gevlite.idle()
        assert said.pop() == f"{call}, running>"
        assert repr(g) == f"{call}, parked>"
        event.set()
        assert repr(g) == f"{call}, ready>"
        g.join()
        assert repr(g) == f"{here}, {words}>"
    g = gevlite.spawn(work, 1, 2)
    g.kill()
    assert repr(g).endswith(": work, killed>")
    assert repr(Greenlet()).endswith(", not begun>")


def test_the_repr_of_greenlets_that_have_each_others_locks_comes_to_an_end():
    def both(first, second, kept):
        with first:
            all_hold.wait()
            with second:
                pass

    all_hold = Event()
    locks = [RLock() for _ in range(8)]
    jobs = [gevlite.spawn(both, locks[i], locks[i - 1], locks) for i in range(8)]
    gevlite.idle()
    all_hold.set()
    gevlite.idle()
    try:
        assert all(len(repr(job)) < 400 and ": both(<RLock at" in repr(job) for job in jobs)
    finally:
        gevlite.killall(jobs)


class Called:
    def __call__(self):
        pass

    def method(self):
        pass


@pytest.mark.parametrize(
    "function_of, name",
    [
        (lambda thing: thing, ": Called,"),
        (lambda thing: thing.method, ": Called.method,"),
        (lambda thing: lambda: thing.method(), ": <lambda>,"),
        (functools.partial, ": partial(Called),"),
    ],
)
def test_a_dead_greenlet_keeps_nothing_of_its_function_but_the_name(function_of, name):
    thing = Called()
    gone = weakref.ref(thing)
    g = gevlite.spawn(function_of(thing))
    g.join()
    thing = None
    gc.collect()
    assert gone() is None and name in repr(g)


def test_the_spawner_is_known_but_not_kept_alive():
    made = []

    def spawner():
        made.append(gevlite.spawn(lambda: None))

    g = gevlite.spawn(spawner)
    g.join()
    assert made[0].spawning_greenlet() is g
    made[0].join()
    del g
    gc.collect()
    assert made[0].spawning_greenlet() is None


def test_spawn_tree_locals_are_shared_by_a_family():
    seen = []

    def child():
        seen.append(gevlite.getcurrent().spawn_tree_locals)

    def parent():
        gevlite.getcurrent().spawn_tree_locals["key"] = 1
        gevlite.spawn(child).join()

    gevlite.spawn(parent).join()
    gevlite.spawn(child).join()
    assert seen == [{"key": 1}, {}]


def test_the_spawning_stack_says_where_a_greenlet_was_made():
    made = Greenlet(for_ever)
    line = sys._getframe().f_lineno - 1
    assert [(f.filename, f.lineno, f.name) for f in made.spawning_stack] == [
        (__file__, line, "test_the_spawning_stack_says_where_a_greenlet_was_made")
    ]
    assert gevlite.spawn(len).spawning_stack is not None


def test_the_spawning_stack_is_as_deep_as_asked_for():
    before = Greenlet(for_ever).spawning_stack_limit
    try:
        Greenlet.set_spawning_stack_limit(5)
        stack = Greenlet(for_ever).spawning_stack
        Greenlet.set_spawning_stack_limit(0)
        assert Greenlet(for_ever).spawning_stack is None
    finally:
        Greenlet.set_spawning_stack_limit(before)
    assert 1 < len(stack) <= 5
    assert stack[-1].name == "test_the_spawning_stack_is_as_deep_as_asked_for"


def test_spawn_callbacks_are_told_of_each_start():
    seen = []
    Greenlet.add_spawn_callback(seen.append)
    Greenlet.add_spawn_callback(seen.append)
    try:
        a, b = gevlite.spawn(lambda: None), gevlite.spawn_later(0, lambda: None)
        c = Greenlet(lambda: None)
        assert seen == [a, b]
        c.start()
        assert seen == [a, b, c]
    finally:
        Greenlet.remove_spawn_callback(seen.append)
        Greenlet.remove_spawn_callback(seen.append)
    gevlite.joinall([a, b, c, gevlite.spawn(lambda: None)])
    assert seen == [a, b, c]
    with pytest.raises(TypeError):
        Greenlet.add_spawn_callback(None)


def test_each_greenlet_has_a_copy_of_its_spawners_context():
    var = contextvars.ContextVar("var", default="unset")
    seen = []

    def body():
        seen.append(var.get())
        var.set("changed in the greenlet")
        gevlite.sleep(0)
        seen.append(var.get())

    token = var.set("spawner")
    g, raw = gevlite.spawn(body), gevlite.spawn_raw(body)
    var.set("set after the spawn")
    g.join()
    while not raw.dead:
        gevlite.sleep(0)
    assert sorted(seen) == ["changed in the greenlet", "changed in the greenlet", "spawner", "spawner"]
    assert var.get() == "set after the spawn"
    var.reset(token)


# ---------------------------------------------------------------- raw greenlets, switches by hand


def test_a_raw_greenlet_may_block_in_gevlite_calls():
    steps = []

    def body(x):
        gevlite.sleep(0.001)
        steps.append(r.get())
        steps.append(x)

    r = AsyncResult()
    gevlite.spawn_raw(body, x=1)
    gevlite.sleep(0.003)
    r.set("value")
    while len(steps) < 2:
        gevlite.sleep(0)
    assert steps == ["value", 1]


def test_a_raw_greenlet_made_by_hand_may_block():
    steps = []

    def body():
        steps.append("begun")
        gevlite.sleep(0.001)
        steps.append("woken")
        return "result"

    g = raw_greenlet.greenlet(body)
    # Its parent is this greenlet: we get its result when it ends, or when the hub has nothing else to do.
    assert g.switch() == "result"
    assert steps == ["begun", "woken"]


def test_two_greenlets_switching_by_hand():
    order = []

    def one():
        order.append(1)
        b.switch()
        order.append(3)

    def two():
        order.append(2)
        a.switch()

    a, b = raw_greenlet.greenlet(one), raw_greenlet.greenlet(two)
    a.switch()
    assert order == [1, 2, 3]


def test_switching_by_hand_into_a_parked_greenlet_is_an_invalid_switch(errors, hub):
    e = Event()
    g = gevlite.spawn(e.wait)
    gevlite.sleep(0)
    hub.call_soon(g.switch, "by hand")
    g.join()
    assert isinstance(g.exception, InvalidSwitchError)
    assert "Event" in str(g.exception) and e.linkcount() == 0


def test_switching_by_hand_into_a_woken_greenlet_is_an_invalid_switch_too(errors, hub):
    e = Event()
    g = gevlite.spawn(e.wait)
    gevlite.sleep(0)
    hub.call_soon(lambda: (e.set(), g.switch()))
    g.join()
    assert isinstance(g.exception, InvalidSwitchError)
    gevlite.sleep(0)


def test_throwing_by_hand_into_a_parked_greenlet_undoes_its_wait(errors, hub):
    e = Event()
    g = gevlite.spawn(e.wait, 1000)
    gevlite.sleep(0)
    hub.call_soon(g.throw, KeyError)
    g.join()
    assert isinstance(g.exception, KeyError)
    assert e.linkcount() == 0 and hub.stats()["timers"] == 0


# ---------------------------------------------------------------- errors


@pytest.fixture
def stream(hub):
    hub.exception_stream = io.StringIO()
    yield hub.exception_stream
    hub.exception_stream = None


def test_an_uncaught_error_is_printed_once_and_names_the_greenlet(stream):
    def failing_function():
        raise ValueError("told once")

    g = gevlite.spawn(failing_function)
    g.name = "the-worker"
    g.join()
    with pytest.raises(ValueError):
        g.get()
    text = stream.getvalue()
    assert text.count("Traceback") == 1 and text.count("ValueError: told once") == 1
    assert "the-worker" in text and "failing_function" in text


def test_an_uncaught_error_of_a_raw_greenlet_is_printed_once(stream):
    def failing_function():
        gevlite.sleep(0)
        raise ValueError("told once")

    g = gevlite.spawn_raw(failing_function)
    while not g.dead:
        gevlite.sleep(0)
    gevlite.sleep(0)
    text = stream.getvalue()
    assert text.count("Traceback") == 1 and "failing_function" in text


def test_the_error_of_a_raw_greenlet_never_names_another_greenlet(errors):
    """It ends into the hub, which may then be in the middle of resuming another greenlet."""
    e = Event()

    def fails():
        e.wait()
        raise ValueError

    def innocent():
        e.set()
        gevlite.sleep(0.001)

    raw = gevlite.spawn_raw(fails)
    gevlite.sleep(0)
    g = gevlite.spawn(innocent)
    g.join()
    assert len(errors) == 1 and errors[0][0] is not g
    assert errors[0][0] is raw or not isinstance(errors[0][0], raw_greenlet.greenlet)


@pytest.mark.parametrize("quiet", [GreenletExit])
def test_greenlet_exit_is_no_error(stream, quiet):
    def body():
        raise quiet

    g = gevlite.spawn(body)
    assert isinstance(g.get(), quiet) and stream.getvalue() == ""


def test_handle_error_may_be_replaced(hub, errors):
    g = gevlite.spawn(lambda: 1 / 0)
    g.join()
    assert errors == [(g, g.exception)]


def test_a_stderr_that_cannot_be_written_to_stops_nothing(hub):
    class Broken(io.StringIO):
        def write(self, text):
            raise OSError("disk full")

    hub.exception_stream = Broken()
    try:
        g = gevlite.spawn(lambda: 1 / 0)
        g.join()
        gevlite.sleep(0)
    finally:
        hub.exception_stream = None
    assert isinstance(g.exception, ZeroDivisionError)


def test_a_repr_that_fails_stops_nothing(stream):
    class Odd(Greenlet):
        def __repr__(self):
            raise RuntimeError("no repr")

    g = Odd.spawn(lambda: 1 / 0)
    g.join()
    gevlite.sleep(0)
    assert "ZeroDivisionError" in stream.getvalue()


def test_system_exit_reaches_the_main_greenlet(run_script):
    result = run_script(
        """
        import sys, gevlite
        gevlite.spawn(sys.exit, 7)
        gevlite.sleep(100)
        """,
        code=7,
    )
    assert "Traceback" not in result.stderr


# ---------------------------------------------------------------- memory


def test_an_ended_greenlet_is_freed_with_its_last_reference(errors):
    for body in (lambda: None, lambda: gevlite.sleep(0), for_ever):
        g = gevlite.spawn(body)
        gevlite.sleep(0)
        g.kill()
        ref = weakref.ref(g)
        del g
        assert ref() is None


def test_one_that_failed_is_freed_by_the_collector(errors):
    def body():
        Timeout.start_new(0.001)
        for_ever()

    g = gevlite.spawn(body)
    g.join()
    ref = weakref.ref(g)
    del g
    errors.clear()
    gc.collect()
    assert ref() is None


def test_one_that_was_never_started_is_freed():
    ref = weakref.ref(Greenlet(for_ever))
    assert ref() is None
