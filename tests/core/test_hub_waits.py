"""Destructors and the like, and callbacks, can wait in the hub, and delay only themselves."""

import contextvars
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest
from greenlet import greenlet

import gevlite
from gevlite._core import READ, Waiter
from gevlite.event import AsyncResult, Event
from gevlite.hub import Hub, get_hub
from gevlite.lock import Semaphore
from gevlite.thread import get_ident


def runners():
    return sum(type(thing).__name__ == "_Runner" for thing in gc.get_objects())


# ---------------------------------------------------------------- callbacks


def test_a_callback_that_waits_delays_nothing_but_itself(hub, settle):
    order, event = [], Event()
    hub.call_soon(lambda: (event.wait(), order.append("late")))
    hub.call_soon(order.append, "callback")
    hub.call_later(0.001, order.append, "timer")
    r, w = os.pipe()
    try:
        reader = gevlite.spawn(hub.wait_fd, r, READ)
        os.write(w, b"x")
        assert reader.get(timeout=10) == READ
    finally:
        os.close(r)
        os.close(w)
    assert gevlite.spawn(lambda: 5).get(timeout=10) == 5
    assert settle(lambda: "timer" in order)
    assert order == ["callback", "timer"]
    event.set()
    assert settle(lambda: order[-1] == "late")


def test_any_number_of_callbacks_may_wait_at_the_same_time(hub, settle):
    """Their C stacks do not pile up, and the greenlets that ran the loop meanwhile are released."""
    event, done = Event(), []
    for n in range(20_000):
        hub.call_soon(lambda n=n: (event.wait(), done.append(n)))
    gevlite.sleep(0.001)
    assert settle(lambda: hub.stats()["parked"] == 20_001 or hub.stats()["ready"] == 0, 30)
    event.set()
    assert settle(lambda: len(done) == 20_000, 30)
    assert done == list(range(20_000))
    assert settle(lambda: runners() < 10)


def test_the_hub_runs_its_loop_again_afterwards(hub, settle):
    done = []
    hub.call_soon(gevlite.sleep, 0.001)
    gevlite.sleep(0.002)
    gevlite.sleep(0.001)
    hub.call_soon(lambda: done.append(gevlite.getcurrent()))
    assert settle(lambda: done) and done == [hub]


def test_the_hub_waits_before_it_has_begun():
    """As when a signal comes in the first line that it runs."""
    seen = []

    class Hasty(Hub):
        def run(self, *args):
            gevlite.sleep(0.001)
            seen.append(get_hub().stats()["polls"])
            super().run(*args)

    def run():
        Hasty()
        gevlite.joinall([gevlite.spawn(seen.append, n) for n in range(3)])
        gevlite.sleep(0.001)
        seen.append("end")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive() and len(seen) == 5 and seen[-1] == "end"


def test_a_callback_that_waits_again_and_again(hub, settle):
    done = []

    def callback():
        for _ in range(50):
            gevlite.sleep(0)
            gevlite.sleep(0.0001)
            gevlite.spawn(gevlite.sleep, 0).join()
        done.append(1)

    for _ in range(5):
        hub.call_soon(callback)
    assert settle(lambda: len(done) == 5, 20)


@pytest.mark.parametrize("raw", [False, True])
def test_greenlets_that_end_while_the_hub_waits_end_as_ever(hub, errors, raw, settle):
    event, ended = Event(), []
    hub.call_soon(lambda: (event.wait(), ended.append("callback")))
    gevlite.sleep(0)

    @gevlite.uninterrupted
    def good(n):
        gevlite.sleep(0)
        ended.append(n)

    def bad():
        gevlite.sleep(0)
        raise KeyError("bad")

    spawn = gevlite.spawn_raw if raw else gevlite.spawn
    for n in range(10):
        spawn(good, n)
        spawn(bad)
    gevlite.sleep(0.001)
    assert settle(lambda: len(errors) == len(ended) == 10)
    assert ended == list(range(10)) and {type(exc) for _, exc in errors} == {KeyError}
    event.set()
    assert settle(lambda: ended[-1] == "callback")


def test_a_greenlet_made_in_a_callback_ends_into_it(hub, settle):
    got = []

    def callback():
        gevlite.sleep(0.001)
        made = greenlet(lambda: 7)
        got.append(made.switch())
        gevlite.sleep(0.001)
        with pytest.raises(KeyError):
            greenlet({}.__getitem__).switch(1)
        got.append("end")

    hub.call_soon(callback)
    assert settle(lambda: got == [7, "end"])


def test_an_error_of_a_callback_that_has_waited_is_reported(hub, errors, settle):
    def callback():
        gevlite.sleep(0.001)
        raise KeyError("after the wait")

    hub.call_soon(callback)
    assert settle(lambda: errors)
    assert isinstance(errors[0][1], KeyError)


def test_a_timeout_ends_the_wait_of_a_callback(hub, errors, settle):
    ends = []

    def callback():
        try:
            with gevlite.Timeout(0.001):
                Event().wait()
        except gevlite.Timeout:
            ends.append("timeout")
        with gevlite.Timeout(10):
            gevlite.sleep(0.001)
        ends.append("end")

    hub.call_soon(callback)
    assert settle(lambda: ends == ["timeout", "end"]) and not errors


@pytest.mark.uninterrupted
def test_a_greenlet_may_switch_to_the_hub_by_hand_while_that_waits(hub, settle):
    event = Event()
    hub.call_soon(event.wait)
    gevlite.sleep(0)
    me = gevlite.getcurrent()
    hub.call_soon(me.switch, "back")
    assert hub.switch() == "back"
    event.set()
    gevlite.sleep(0.001)
    assert hub.stats()["parked"] == 0


def test_handle_error_may_wait(hub, monkeypatch, settle):
    """For example, to send the error to a tracker."""
    told = []

    def report(self, context, kind, value, tb):
        gevlite.sleep(0.001)
        told.append(kind)

    monkeypatch.setattr(Hub, "handle_error", report)
    event = Event()
    hub.call_soon(event.wait)
    for _ in range(5):
        hub.call_soon(lambda: 1 / 0)
        gevlite.spawn_raw(lambda: 1 / 0)
        gevlite.spawn(lambda: 1 / 0)
    assert settle(lambda: len(told) == 15)
    event.set()
    gevlite.sleep(0.001)


def test_hooks_that_wait_are_not_called_again_before_they_have_returned(hub, settle):
    inside, most, calls = [], [], []

    def hook():
        inside.append(1)
        most.append(len(inside))
        gevlite.sleep(0.001)
        inside.pop()
        calls.append(1)

    hub.before_poll, hub.after_poll = [hook], [hook]
    try:
        assert settle(lambda: len(calls) > 10)
    finally:
        hub.before_poll = hub.after_poll = None
    assert max(most) == 1
    assert settle(lambda: not inside)


def test_the_main_greenlet_is_told_of_a_dead_end_also_if_only_a_callback_waits_with_it(run_script):
    run_script("""
        import gevlite
        from gevlite.event import Event
        gevlite.get_hub().call_soon(Event().wait)
        try:
            Event().wait()
        except gevlite.LoopExit as exc:
            assert str(exc).count(" waits for Event") == 2
        else:
            raise AssertionError
    """)


def test_the_end_of_a_hub_unwinds_what_waits_in_it(run_script):
    run_script("""
        import gevlite
        from gevlite.event import Event
        hub, ends = gevlite.get_hub(), []
        def callback():
            try:
                Event().wait()
            finally:
                ends.append(gevlite.getcurrent())
        for n in range(100):
            hub.call_soon(callback)
        gevlite.sleep(0.001)
        hub.destroy()
        assert hub.closed and hub.dead and len(ends) == 100
        for _ in range(3):
            gevlite.get_hub().call_soon(gevlite.sleep, 0.001)
            gevlite.sleep(0.01)
            gevlite.get_hub().destroy()
    """)


def test_a_thread_ends_while_callbacks_wait_in_its_hub():
    ends, gone = [], []

    def callback():
        try:
            Event().wait()
        finally:
            ends.append(1)

    def body():
        for _ in range(10):
            get_hub().call_soon(callback)
        gone.append(weakref.ref(get_hub()))
        gevlite.sleep(0.001)

    for _ in range(3):
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    gc.collect()
    assert len(ends) == 30 and [ref() for ref in gone] == [None] * 3


def test_in_the_hub_one_is_the_main_thread(hub, settle):
    seen = []
    hub.call_soon(lambda: seen.append(get_ident()))
    hub.call_soon(lambda: (gevlite.sleep(0.001), seen.append(get_ident())))
    hub.call_soon(lambda: seen.append(get_ident()))
    assert settle(lambda: len(seen) == 3)
    assert seen == [get_ident()] * 3 == [threading.main_thread().ident] * 3


# ---------------------------------------------------------------- destructors


class Waits:
    """Waits in its destructor, as a connection does that rolls back a transaction."""

    def __init__(self, done):
        self.done = done

    def __del__(self):
        gevlite.sleep(0.001)
        self.done.append(gevlite.spawn(lambda: 1).get())


def in_a_cycle(thing):
    cycle = [thing]
    cycle.append(cycle)


@pytest.mark.parametrize("way", ["callback", "greenlet", "failed", "killed", "raw", "weakref", "cycle", "local"])
def test_a_destructor_that_waits_completes_wherever_it_runs(hub, errors, settle, way):
    done, unraisable = [], []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    try:
        if way == "callback":
            hub.call_soon(lambda thing: None, Waits(done))
        elif way == "greenlet":
            gevlite.spawn(lambda: Waits(done))
        elif way == "failed":
            gevlite.spawn(lambda thing: 1 / 0, Waits(done))
        elif way == "raw":
            gevlite.spawn_raw(lambda thing: None, Waits(done))
        elif way == "killed":
            g = gevlite.spawn(lambda thing: Event().wait(), Waits(done))
            gevlite.sleep(0)
            g.kill(block=False)
            del g
        elif way == "weakref":

            class Thing:
                pass

            thing = Thing()
            kept = weakref.ref(thing, lambda ref: (gevlite.sleep(0.001), done.append(ref)))
            hub.call_soon(lambda thing: None, thing)
            del thing
        elif way == "cycle":
            hub.call_soon(in_a_cycle, Waits(done))
            hub.call_soon(gc.collect)
        else:
            values = gevlite.local.local()
            gevlite.spawn(setattr, values, "thing", Waits(done))
        assert settle(lambda: done or errors.clear())
    finally:
        sys.unraisablehook = hook
    assert len(done) == 1 and not unraisable
    if way == "weakref":
        assert kept() is None
    errors.clear()


# ---------------------------------------------------------------- signal handlers


@pytest.fixture(name="handle")
def handle_fixture():
    """`handle(function)`: the handler of SIGUSR1. Another process sends it: it comes while the hub polls."""
    before = signal.getsignal(signal.SIGUSR1)
    senders = []

    def handle(function):
        signal.signal(signal.SIGUSR1, function)

    def send():
        senders.append(subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -USR1 {os.getpid()}"]))

    handle.send = send
    yield handle
    for sender in senders:
        while sender.poll() is None:
            gevlite.sleep(0.001)
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_runs_in_the_middle_of_what_the_main_greenlet_waits_for(handle):
    main, seen, variable = gevlite.getcurrent(), [], contextvars.ContextVar("variable", default="other")
    done = Event()

    def handler(number, frame):
        gevlite.sleep(0.001)
        seen.append((gevlite.getcurrent(), get_ident(), variable.get(), frame is not None))
        gevlite.spawn_later(0.001, done.set)

    handle(handler)
    token = variable.set("main")
    try:
        handle.send()
        assert done.wait(20)
    finally:
        variable.reset(token)
    assert seen == [(main, get_ident(), "main", True)]


@pytest.mark.parametrize("what", ["join", "lock", "queue", "sleep", "print"])
def test_a_signal_handler_may_block(handle, what, capsys):
    done, lock = AsyncResult(), Semaphore()
    gevlite.spawn(lock.acquire).join()
    helper = gevlite.spawn_later(0.05, lock.release)

    def handler(*args):
        if what == "join":
            helper.join()
        elif what == "lock":
            lock.acquire()
        elif what == "queue":
            gevlite.spawn(lambda: 5).get()
        elif what == "sleep":
            gevlite.sleep(0.01)
        else:
            print("hello")
        done.set(1)

    handle(handler)
    handle.send()
    assert done.get(timeout=20) == 1
    helper.join()


def test_what_a_signal_handler_raises_ends_the_wait_of_the_main_greenlet(handle):
    class Stop(Exception):
        pass

    def handler(*args):
        gevlite.sleep(0.001)
        raise Stop

    event = Event()
    handle(handler)
    with pytest.raises(Stop):
        handle.send()
        event.wait(20)
    assert event.linkcount() == 0


@pytest.mark.parametrize("end", ["value", "error", "time-out"])
def test_what_the_main_greenlet_waits_for_happens_while_the_handler_waits(handle, end):
    """It is there when the handler has returned."""
    w, inside, log = Waiter(), Event(), []

    def handler(*args):
        inside.set()
        gevlite.sleep(0.5)
        log.append("handled")

    def during():
        inside.wait()
        if end == "value":
            w.wake("value")
        elif end == "error":
            w.throw(KeyError)
        log.append("woken")

    handle(handler)
    gevlite.spawn(during)
    handle.send()
    if end == "value":
        assert w.park() == "value"
    elif end == "error":
        with pytest.raises(KeyError):
            w.park()
    else:
        assert w.park_timeout(0.3) == (None, True)
    while "handled" not in log:
        gevlite.sleep(0.001)
    assert log == ["woken", "handled"]


def test_an_exception_for_the_main_greenlet_that_comes_while_a_handler_waits_ends_both(handle):
    class Stop(Exception):
        pass

    inside, ends = Event(), []

    def handler(*args):
        inside.set()
        try:
            gevlite.sleep(20)
        finally:
            ends.append("handler")

    main = gevlite.getcurrent()
    handle(handler)
    gevlite.spawn(lambda: (inside.wait(), get_hub().throw(main, Stop)))
    with pytest.raises(Stop):
        handle.send()
        gevlite.sleep(20)
    assert ends == ["handler"]


def test_signals_that_come_while_a_handler_waits_are_handled_at_once(handle, settle):
    """In the middle of its wait, or beside it: in the greenlet that polls, if the main greenlet is to run next."""
    depth, most, done = [], [], []

    def handler(*args):
        depth.append(1)
        most.append(len(depth))
        if len(most) < 3:
            handle.send()
            done.append(settle(lambda: len(most) == 3, 20))
        depth.pop()

    handle(handler)
    handle.send()
    assert settle(lambda: len(done) == 2 and not depth, 30)
    assert most == [1, 2, 3] and done == [True, True]


def test_a_handler_may_wait_in_the_poll_of_a_backend_in_python(run_script):
    """There it does not run in the main greenlet, but in whatever the interpreter is running."""
    run_script("""
        import os, select, signal, subprocess, gevlite
        from gevlite.backends import Backend
        from gevlite.event import Event
        from gevlite.hub import Hub
        from gevlite._core import READ, WRITE
        class Mine(Backend):
            name = "mine"
            def __init__(self):
                self.fds = {}
            def arm(self, fd, events):
                self.fds[fd] = events
            def drop(self, fd):
                self.fds.pop(fd, None)
            def poll(self, timeout_ns):
                r = [self.wake_fd] + [fd for fd, e in self.fds.items() if e & READ]
                w = [fd for fd, e in self.fds.items() if e & WRITE]
                timeout = None if timeout_ns < 0 else timeout_ns / 1e9
                for fd in select.select(r, w, [], timeout)[0]:
                    if fd == self.wake_fd:
                        self.drain()
                    else:
                        self.drop(fd)
                        self.report(fd, READ)
        hub = Hub(backend=Mine())
        handled, event, go = [], Event(), Event()
        def handler(*args):
            gevlite.sleep(0.01)
            handled.append(1)
            event.set()
        signal.signal(signal.SIGUSR1, handler)
        for n in range(5):
            event.clear()
            subprocess.Popen(["sh", "-c", f"kill -USR1 {os.getpid()}"])
            event.wait()
            assert gevlite.spawn(lambda: (gevlite.sleep(0.001), 5)[1]).get() == 5
        assert len(handled) == 5 and hub.stats()["parked"] == 0
    """)


def test_a_wait_of_a_handler_is_not_ended_by_what_it_interrupted(handle):
    """The one that is next in the queue when the handler parks."""
    w, waits = Waiter(), []

    def handler(*args):
        w.wake("early")
        for _ in range(3):
            waits.append(Waiter().park_timeout(0.01))
            waits.append(get_hub().stats()["ready"])

    handle(handler)
    handle.send()
    assert w.park() == "early"
    assert waits[::2] == [(None, True)] * 3
