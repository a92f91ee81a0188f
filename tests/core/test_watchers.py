"""The common part of all watchers of hub.loop, and other parts of the loop for code written for gevent."""

import errno
import gc
import os
import signal
import socket as std_socket
import threading
import time
import weakref

import pytest

import gevlite
from gevlite import core


@pytest.fixture
def ends():
    pair = std_socket.socketpair()
    yield pair
    for end in pair:
        end.close()


MAKERS = {
    "io": lambda loop, ends, **options: loop.io(ends[0].fileno(), 1, **options),
    "timer": lambda loop, ends, **options: loop.timer(1000, **options),
    "repeating timer": lambda loop, ends, **options: loop.timer(1000, repeat=1000, **options),
    "async_": lambda loop, ends, **options: loop.async_(**options),
    "prepare": lambda loop, ends, **options: loop.prepare(**options),
    "check": lambda loop, ends, **options: loop.check(**options),
    "idle": lambda loop, ends, **options: loop.idle(**options),
    "fork": lambda loop, ends, **options: loop.fork(**options),
    "signal": lambda loop, ends, **options: loop.signal(signal.SIGUSR1, **options),
    "stat": lambda loop, ends, **options: loop.stat("/", 1000, **options),
}


@pytest.fixture(params=MAKERS)
def make(request, loop, ends):
    """`make(ref=..., priority=...)`: a watcher of each kind, for an event that does not happen."""
    made = []

    def make(**options):
        made.append(MAKERS[request.param](loop, ends, **options))
        return made[-1]

    yield make
    for watcher in made:
        watcher.close()


def reasons(hub):
    """How many reasons the hub counts to stay alive."""
    return hub.loop.activecnt


def nothing():
    """A callback."""


def test_an_active_watcher_is_one_reason_to_stay_alive(make, hub):
    before = reasons(hub)
    watcher = make()
    assert watcher.ref is True
    assert reasons(hub) == before
    watcher.start(nothing)
    assert reasons(hub) == before + 1
    watcher.start(nothing)
    assert reasons(hub) == before + 1
    watcher.stop()
    watcher.stop()
    assert reasons(hub) == before


@pytest.mark.parametrize("ref", [False, None, 0])
def test_a_watcher_without_ref_is_none(make, hub, ref):
    before = reasons(hub)
    watcher = make(ref=ref)
    assert not watcher.ref
    watcher.start(nothing)
    assert reasons(hub) == before
    watcher.stop()
    assert reasons(hub) == before


def test_ref_can_be_changed_while_it_is_active(make, hub):
    before = reasons(hub)
    watcher = make()
    watcher.start(nothing)
    for ref, expected in ((False, 0), (False, 0), (True, 1), (True, 1), (False, 0)):
        watcher.ref = ref
        assert watcher.ref is ref
        assert reasons(hub) == before + expected
    watcher.stop()
    assert reasons(hub) == before


def test_ref_can_be_changed_before_and_after(make, hub):
    before = reasons(hub)
    watcher = make()
    watcher.ref = False
    watcher.start(nothing)
    assert reasons(hub) == before
    watcher.stop()
    watcher.ref = True
    assert reasons(hub) == before
    watcher.start(nothing)
    assert reasons(hub) == before + 1
    watcher.stop()
    assert reasons(hub) == before


def test_the_loop_ends_when_ref_is_taken_from_what_is_left(make, hub):
    watcher = make()
    watcher.start(nothing)
    watcher.ref = False
    assert hub.join(timeout=20)


def test_the_loop_goes_on_while_there_is_one_with_ref(make, hub):
    watcher = make(ref=False)
    watcher.start(nothing)
    watcher.ref = True
    assert not hub.join(timeout=0.01)


def test_what_a_watcher_says_of_itself(make):
    watcher = make()
    assert (watcher.active, watcher.pending, watcher.callback, watcher.args, watcher.priority) == (
        False, False, None, None, 0
    )  # fmt: skip
    watcher.start(nothing, 1, "two")
    assert (watcher.active, watcher.pending, watcher.callback, watcher.args) == (True, False, nothing, (1, "two"))
    assert "active" in repr(watcher)
    watcher.start(print)
    assert (watcher.callback, watcher.args) == (print, ())
    watcher.stop()
    assert (watcher.active, watcher.callback, watcher.args) == (False, None, None)
    assert "stopped" in repr(watcher)


def test_callback_and_args_can_be_set_to_what_they_can_be(make):
    watcher = make()
    watcher.start(nothing)
    watcher.callback = print
    watcher.args = (1,)
    assert (watcher.callback, watcher.args) == (print, (1,))
    with pytest.raises(TypeError):
        watcher.callback = 5
    with pytest.raises(TypeError):
        watcher.args = [1]
    assert (watcher.callback, watcher.args) == (print, (1,))


@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_what_cannot_be_called_leaves_nothing_behind(make, hub, wrong):
    before = hub.stats()["watchers"], reasons(hub)
    watcher = make()
    with pytest.raises(TypeError):
        watcher.start(wrong)
    with pytest.raises(TypeError):
        watcher.feed(1, wrong)
    assert not watcher.active
    assert (hub.stats()["watchers"], reasons(hub)) == before


def test_a_priority_is_kept_and_set_only_while_it_is_not_active(make, loop):
    watcher = make(priority=loop.MAXPRI)
    assert watcher.priority == loop.MAXPRI
    watcher.priority = loop.MINPRI
    watcher.start(nothing)
    with pytest.raises(AttributeError):
        watcher.priority = 0
    watcher.stop()
    assert watcher.priority == loop.MINPRI
    with pytest.raises(TypeError):
        make(priority="high")


@pytest.mark.uninterrupted
def test_what_is_fed_is_called_once_whether_it_is_active_or_not(make):
    called = []
    watcher = make()
    watcher.feed(1, called.append, "fed")
    assert watcher.pending
    assert not watcher.active
    gevlite.idle() if "idle" not in repr(watcher) else gevlite.sleep(0.001)
    assert called == ["fed"]
    assert not watcher.pending
    assert watcher.callback is None
    watcher.start(nothing)
    watcher.feed(1, called.append, "again")
    gevlite.sleep(0.001)
    assert called[1:2] == ["again"]
    assert watcher.active


@pytest.mark.uninterrupted
def test_what_is_fed_is_not_called_after_stop(make):
    called = []
    watcher = make()
    watcher.feed(1, called.append, 1)
    watcher.stop()
    assert not watcher.pending
    gevlite.idle()
    assert called == []


def test_a_watcher_can_be_started_again_after_stop_and_close(make, hub):
    before = hub.stats()["watchers"]
    with make() as watcher:
        watcher.start(nothing)
        watcher.stop()
        watcher.start(nothing)
        assert hub.stats()["watchers"] == before + 1
    assert not watcher.active
    watcher.close()
    watcher.start(nothing)
    assert watcher.active


def test_a_watcher_that_is_stopped_and_dropped_is_freed(make):
    watcher = make()
    watcher.start(nothing)
    watcher.stop()
    gone = weakref.ref(watcher)
    gc.collect()
    assert gone() is watcher


# ---------------------------------------------------------------- each kind's own


@pytest.mark.uninterrupted
def test_a_descriptor_and_its_events_can_be_changed_while_it_is_not_active(loop, ends):
    watcher = loop.io(ends[0].fileno(), 1)
    watcher.fd, watcher.events = ends[1].fileno(), 2
    assert (watcher.fd, watcher.events, watcher.events_str) == (ends[1].fileno(), 2, "WRITE")
    seen = []
    watcher.start(lambda: (seen.append(1), watcher.stop()))
    for name, value in (("fd", ends[0].fileno()), ("events", 1)):
        with pytest.raises(AttributeError):
            setattr(watcher, name, value)
    gevlite.sleep(0.001)
    assert seen == [1]
    with pytest.raises(ValueError):
        watcher.events = 16
    with pytest.raises(OSError):
        watcher.fd = -1


def test_closing_fd_wakes_whoever_waits(loop, ends):
    fd = ends[0].fileno()
    assert loop.closing_fd(fd) is False
    waiting = gevlite.spawn(gevlite.get_hub().wait_fd, fd, 1)
    gevlite.sleep(0)
    assert loop.closing_fd(fd) is True
    waiting.join()
    assert waiting.exception.errno == errno.EBADF


@pytest.mark.parametrize("after", ["1", None, b"x"])
def test_a_timer_takes_numbers_only(loop, after):
    with pytest.raises(TypeError):
        loop.timer(after)
    with pytest.raises(TypeError):
        loop.timer(0, repeat=after)


def test_a_timer_refuses_what_is_no_time(loop):
    for arguments in ((float("nan"),), (0, float("nan")), (0, -1)):
        with pytest.raises(ValueError):
            loop.timer(*arguments)
    timer = loop.timer(-5)  # as soon as it can be
    with gevlite.Timeout(20):
        gevlite.get_hub().wait(timer)


@pytest.mark.uninterrupted
def test_a_timer_is_pending_when_its_time_is_over(loop):
    timer = loop.timer(0)
    timer.start(nothing)
    assert timer.at <= loop.now()
    assert timer.pending
    gevlite.sleep(0.001)
    assert not timer.pending
    later = loop.timer(1000)
    later.start(nothing)
    assert later.at > loop.now() + 900
    assert not later.pending
    later.stop()


def test_a_signal_watcher_takes_real_time_signals_and_nothing_else(loop):
    called = []
    watcher = loop.signal(signal.SIGRTMIN + 1)
    watcher.start(called.append, 1)
    assert str(signal.SIGRTMIN + 1) in repr(watcher)
    os.kill(os.getpid(), signal.SIGRTMIN + 1)
    with gevlite.Timeout(20):
        while not called:
            gevlite.sleep(0.001)
    watcher.stop()
    for wrong in (-1, 0, 65, 1000):
        with pytest.raises(ValueError):
            loop.signal(wrong)
    with pytest.raises(TypeError):
        loop.signal("SIGTERM")


def test_a_child_watcher_knows_nothing_before_its_child_has_ended(loop):
    watcher = loop.child(os.getpid())
    assert (watcher.pid, watcher.rpid, watcher.rstatus, watcher.returncode, watcher.rusage) == (
        os.getpid(), 0, 0, None, None
    )  # fmt: skip
    with pytest.raises(TypeError):
        loop.child("1")


@pytest.mark.uninterrupted
@pytest.mark.parametrize("interval", [-1, 0.001, 0.1])
def test_any_interval_of_a_stat_watcher_will_do(loop, hub, tmp_path, interval):
    path = tmp_path / "file"
    watcher = loop.stat(str(path), interval=interval)
    assert watcher.interval == interval
    gevlite.spawn_later(0.01, path.write_text, "x")
    with gevlite.Timeout(30):
        hub.wait(watcher)
    assert (watcher.prev, watcher.attr.st_size) in ((None, 1), (None, 0))


def test_a_stat_watcher_refuses_what_is_no_interval(loop):
    with pytest.raises(TypeError):
        loop.stat("/", "often")
    with pytest.raises(ValueError):
        loop.stat("/", float("nan"))
    with pytest.raises(TypeError):
        loop.stat(5)


@pytest.mark.uninterrupted
def test_an_async_watcher_is_pending_between_send_and_call(loop):
    called = []
    watcher = loop.async_()
    watcher.send()
    watcher.start(called.append, 1)
    assert not watcher.pending
    watcher.send_ignoring_arg(None)
    assert watcher.pending
    watcher.stop()
    assert not watcher.pending
    gevlite.sleep(0)
    assert called == []


# ---------------------------------------------------------------- the loop


def test_run_returns_when_nothing_is_left(loop):
    seen = []
    loop.run_callback(seen.append, 1)
    gevlite.spawn_later(0.002, seen.append, 2)
    loop.run()
    assert seen == [1, 2]
    loop.run()


def test_run_in_a_greenlet_lets_others_run(loop):
    seen = []
    gevlite.spawn_later(0.002, seen.append, 1)
    running = gevlite.spawn(loop.run)
    running.join()
    assert running.successful()
    assert seen == [1]


def test_run_without_waiting(loop):
    seen = []
    with loop.timer(1000) as late:
        late.start(seen.append, "late")
        loop.run_callback(seen.append, "now")
        loop.run(nowait=True)
    assert seen == ["now"]


@pytest.mark.uninterrupted
def test_run_once_waits_for_one_thing(loop):
    seen = []
    timers = [loop.timer(seconds) for seconds in (0.001, 1000)]
    for timer in timers:
        timer.start(seen.append, timer.after)
    loop.run(once=True)
    assert seen == [0.001]
    timers[1].stop()
    loop.run(once=True)  # with nothing to wait for


@pytest.mark.uninterrupted
@pytest.mark.parametrize("kind", ["timer", "fed", "callback", "greenlet", "idle", "descriptor"])
def test_run_once_does_not_wait_for_more_than_what_is_due(loop, ends, kind):
    seen = []
    with loop.timer(1000) as late, loop.timer(0.001) as timer, loop.idle() as idle, loop.io(ends[0].fileno(), 2) as io:
        late.start(seen.append, "late")
        if kind == "timer":
            timer.start(seen.append, kind)
            while timer.at > loop.now():
                pass
        elif kind == "fed":
            late.feed(0, seen.append, kind)
        elif kind == "callback":
            loop.run_callback(seen.append, kind)
        elif kind == "greenlet":
            gevlite.spawn(seen.append, kind)
        elif kind == "idle":
            idle.start(seen.append, kind)
        else:
            io.start(lambda: (seen.append(kind), io.stop()))
        with gevlite.Timeout(20):
            loop.run(once=True)
    assert set(seen) == {kind}


@pytest.mark.uninterrupted
def test_break_ends_run(loop, hub):
    gevlite.idle()
    before = hub.stats()["greenlets"]
    timer = loop.timer(1000)
    timer.start(nothing)
    for how in (None, 1, 2):
        loop.run_callback(loop.break_, how)
        with gevlite.Timeout(20):
            loop.run()
    outer = gevlite.spawn(loop.run)
    inner = gevlite.spawn(loop.run)
    gevlite.sleep(0)
    loop.break_()
    inner.join(timeout=20)
    assert inner.ready()
    assert not outer.ready()
    loop.break_(2)
    outer.join(timeout=20)
    assert outer.ready()
    timer.stop()
    gevlite.idle()
    assert hub.stats()["greenlets"] == before
    assert not loop._runs


@pytest.mark.uninterrupted
def test_what_a_handle_of_run_callback_says(loop):
    handle = loop.run_callback(nothing, 1)
    assert handle
    assert (handle.pending, handle.callback, handle.args) == (True, nothing, (1,))
    handle.close()
    assert not handle
    assert not handle.pending
    for function in (loop.run_callback, loop.run_callback_threadsafe):
        with pytest.raises(TypeError):
            function(None)


def test_what_is_there_for_code_written_for_gevent(loop, hub):
    assert loop.default is True
    assert loop.backend == hub.backend.name
    assert loop.backend_int == {"select": 1, "poll": 2, "epoll": 4, "kqueue": 8}.get(loop.backend, 0)
    assert loop.depth == 0
    depths = []
    loop.run_callback(lambda: depths.append(loop.depth))
    gevlite.sleep(0)
    assert depths == [1]
    assert loop.pendingcnt == 0
    assert loop.iteration == hub.stats()["polls"]
    before = loop.now()
    for name in ("update", "update_now", "verify", "reinit", "install_sigchld", "reset_sigchld", "ref", "unref"):
        assert getattr(loop, name)() is None
    assert loop.now() >= before
    fd = loop.fileno()
    assert fd is None or os.fstat(fd)


def test_the_loop_of_another_thread_is_not_the_default(loop):
    found = []

    def run():
        found.append(gevlite.get_hub().loop.default)
        gevlite.get_hub().destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_loop_that_is_made_by_hand_is_of_this_threads_hub(hub):
    assert isinstance(hub.loop, core.loop)
    for made in (core.loop(), core.loop(default=False), core.loop("select", False), core.loop(flags="epoll")):
        assert made.hub is hub
        seen = []
        made.timer(0.001).start(seen.append, 1)
        made.run()
        assert seen == [1]
        made.destroy()
        assert not hub.closed


def test_destroying_the_loop_destroys_the_hub():
    def run():
        hub = gevlite.get_hub()
        hub.loop.destroy()
        closed.append(hub.closed)

    closed = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert closed == [True]


def test_watchers_of_a_forked_child_are_its_own(loop):
    timer = loop.timer(0.001)
    seen = []
    timer.start(seen.append, 1)
    pid = os.fork()
    if pid == 0:
        try:
            timer.ref = False
            timer.ref = True
            gevlite.wait(timeout=20)
            os._exit(0 if seen == [1] else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 30
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        assert time.monotonic() < deadline
        gevlite.sleep(0.001)
    assert os.waitstatus_to_exitcode(found[1]) == 0
