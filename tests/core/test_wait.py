"""joinall, wait and iwait over any mixture of objects."""

import gc
import threading

import pytest

import gevlite
from gevlite.event import AsyncResult, Event
from gevlite.lock import Semaphore


def after(seconds, value=None):
    return gevlite.spawn(lambda: gevlite.sleep(seconds) or value)


def test_joinall_returns_them_in_the_order_in_which_they_ended(clock):
    slow, fast = after(0.004), after(0.001)
    assert gevlite.joinall([slow, fast]) == [fast, slow]


def test_joinall_of_nothing_returns_at_once():
    assert gevlite.joinall([]) == [] and gevlite.joinall(iter([])) == []
    assert gevlite.wait([]) == [] and list(gevlite.iwait([])) == []


def test_joinall_stops_after_count():
    slow, fast = after(1000), after(0.001)
    assert gevlite.joinall([slow, fast], count=1) == [fast]
    assert gevlite.joinall([slow, fast], count=0) == []
    slow.kill()


def test_joinall_times_out_and_returns_those_that_ended(clock):
    slow, fast = after(1000), after(0)
    assert gevlite.joinall([slow, fast], timeout=0.003) == [fast]
    slow.kill()


def test_what_joinall_returned_does_not_change_later():
    e, g = Event(), after(0)
    g.join()
    result = gevlite.joinall([g, e], timeout=0.002)
    assert result == [g]
    e.set()
    gevlite.sleep(0.001)
    assert result == [g]


def test_joinall_raises_the_first_error_at_once(errors):
    slow, bad = after(1000), gevlite.spawn(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gevlite.joinall([slow, bad], raise_error=True)
    slow.kill()
    assert gevlite.joinall([bad]) == [bad]


def test_the_same_one_twice_counts_once():
    g = after(0)
    assert gevlite.joinall([g, g]) == [g]


def test_a_mixture_of_everything():
    e, r, s, g = Event(), AsyncResult(), Semaphore(0), after(0.001)
    for n, make_ready in enumerate((e.set, r.set, s.release)):
        gevlite.spawn_later(0.001 * n, make_ready)
    assert set(gevlite.wait([e, r, s, g])) == {e, r, s, g}
    assert (e.linkcount(), r.linkcount(), s.linkcount()) == (0, 0, 0)


def test_what_is_ready_already_is_returned_at_once():
    e, r = Event(), AsyncResult()
    e.set()
    r.set()
    assert set(gevlite.wait([e, r], timeout=10)) == {e, r}


def test_a_wait_that_times_out_leaves_no_links():
    e, r, s, g = Event(), AsyncResult(), Semaphore(0), after(1000)
    assert gevlite.wait([e, r, s, g], timeout=0.001) == []
    assert (e.linkcount(), r.linkcount(), s.linkcount(), g.has_links()) == (0, 0, 0, 0)
    g.kill()


def test_a_killed_wait_leaves_no_links():
    e, s, inner = Event(), Semaphore(0), after(1000)
    g = gevlite.spawn(gevlite.wait, [e, s, inner])
    gevlite.sleep(0)
    assert e.linkcount() == 1
    g.kill()
    assert (e.linkcount(), s.linkcount(), inner.has_links()) == (0, 0, 0)
    inner.kill()


def test_what_cannot_be_waited_for_is_a_type_error_and_leaves_no_links():
    e = Event()
    for wait in (gevlite.wait, gevlite.joinall, lambda x: list(gevlite.iwait(x))):
        with pytest.raises(TypeError):
            wait([e, 5])
        assert e.linkcount() == 0


def test_iwait_yields_each_as_it_becomes_ready(clock):
    gs = [after(0.003, "c"), after(0.001, "a"), after(0.002, "b")]
    assert [g.value for g in gevlite.iwait(gs)] == ["a", "b", "c"]


def test_iwait_stops_after_count_and_after_its_timeout():
    gs = [after(1000), after(0), after(1000)]
    assert list(gevlite.iwait(gs, count=1)) == [gs[1]]
    assert list(gevlite.iwait(gs, timeout=0.002)) == [gs[1]]
    gevlite.killall(gs)


def test_an_abandoned_iwait_leaves_no_links():
    e, other = Event(), Event()
    other.set()
    with gevlite.iwait([e, other]) as ready:
        assert next(ready) is other
    assert e.linkcount() == 0
    for _ in gevlite.iwait([e, other]):
        break
    gc.collect()
    assert e.linkcount() == 0


def test_wait_for_nothing_in_particular_waits_for_the_hub(run_script):
    run_script("""
        import gevlite
        from gevlite.testing import VirtualClock
        done = []
        with VirtualClock():
            gevlite.spawn_later(0.001, done.append, 1)
            assert gevlite.wait(timeout=0) is False
            assert gevlite.wait() is True and done == [1]
        assert gevlite.wait() is True
        g = gevlite.spawn(gevlite.sleep, 100)
        assert gevlite.wait(timeout=0.001) is False
        g.kill()
        assert gevlite.get_hub().join() is True
    """)


def test_greenlets_of_another_thread_can_be_waited_for():
    made, go, checked = [], threading.Event(), threading.Event()

    def thread():
        made.append(gevlite.spawn(gevlite.sleep, 0.01))
        made.append(gevlite.spawn(gevlite.sleep, 0.02))
        go.set()
        gevlite.joinall(made)
        gevlite.sleep(0)
        checked.wait(30)

    t = threading.Thread(target=thread)
    t.start()
    go.wait()
    assert set(gevlite.joinall(made, timeout=30)) == set(made)
    checked.set()
    t.join()


def test_many_joinalls_leave_no_objects_even_without_a_collection():
    def work(count):
        for _ in range(count):
            gevlite.joinall([gevlite.spawn(lambda: None) for _ in range(3)])

    work(10)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        work(200)
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()
