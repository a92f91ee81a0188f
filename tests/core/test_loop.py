"""Watchers of hub.loop: the promises of each."""

import errno
import os
import signal
import socket as std_socket
import subprocess
import sys
import threading

import pytest

import gevlite
from gevlite import _children, socket


def until(condition, seconds=10):
    """Let others run until `condition()`; a condition that never comes fails the test."""
    with gevlite.Timeout(seconds):
        while not condition():
            gevlite.sleep(0.001)


def test_the_loop_of_a_hub_is_made_once(hub):
    assert hub.loop is hub.loop
    assert hub.loop.hub is hub
    assert hub.loop.backend == hub.backend.name


def test_wait_for_a_timer_blocks_at_least_as_long(hub, loop):
    start = loop.now()
    timer = loop.timer(0.02)
    hub.wait(timer)
    assert loop.now() - start >= 0.02
    assert not timer.active


def test_a_repeating_timer_fires_until_it_is_stopped(loop, clock):
    fired = []
    timer = loop.timer(5, repeat=10)
    timer.start(lambda: fired.append(clock.elapsed))
    gevlite.sleep(30)
    timer.stop()
    gevlite.sleep(1000)
    assert fired == [5, 15, 25]


def test_a_timer_that_is_stopped_never_fires(loop, clock):
    fired = []
    timer = loop.timer(1)
    timer.start(fired.append, 1)
    timer.stop()
    timer.stop()
    gevlite.sleep(1000)
    assert fired == []


def test_again_starts_over(loop, clock):
    fired = []
    timer = loop.timer(50, repeat=20)
    timer.start(fired.append, "first")
    timer.again(lambda: fired.append(clock.elapsed))
    gevlite.sleep(50)
    timer.stop()
    assert fired == [20, 40]


def test_io_calls_back_as_long_as_there_is_something_to_read(loop, pipe):
    r, w = pipe
    got = []
    watcher = loop.io(r, 1)
    watcher.start(lambda: got.append(os.read(r, 1)))
    os.write(w, b"abc")
    until(lambda: len(got) == 3)
    watcher.stop()
    os.write(w, b"d")
    gevlite.idle()
    assert got == [b"a", b"b", b"c"]


def test_io_passes_the_events_when_asked(loop, pipe):
    _r, w = pipe
    got = []
    watcher = loop.io(w, 3)

    def ready(events, extra):
        got.append((events, extra))
        watcher.stop()

    watcher.start(ready, "extra", pass_events=True)
    until(lambda: got)
    assert got == [(2, "extra")]


def test_io_on_a_gevlite_socket_sees_data_reported_before_it_was_started(loop):
    a, b = socket.socketpair()
    with a, b:
        b.settimeout(0.001)
        with pytest.raises(TimeoutError):
            b.recv(1)  # the hub owns the fd from here on
        a.send(b"xy")
        gevlite.sleep(0.005)  # polled: the edge is gone
        seen = []
        watcher = loop.io(b.fileno(), 1)
        watcher.start(lambda: seen.append(b.recv(1)))
        until(lambda: len(seen) == 2)
        watcher.stop()
        assert seen == [b"x", b"y"]


def test_io_on_a_closed_fd_raises_at_start_and_leaves_nothing(loop, hub, pipe):
    r, _w = pipe
    os.close(r)
    watcher = loop.io(r, 1)
    with pytest.raises(OSError) as caught:
        watcher.start(print)
    assert caught.value.errno == errno.EBADF
    assert not watcher.active
    assert hub.stats()["fd_waiters"] == 0


def test_an_unref_io_watcher_does_not_keep_the_loop_alive(loop, hub, pipe):
    watcher = loop.io(pipe[0], 1, ref=False)
    watcher.start(print)
    assert hub.join(5)
    watcher.stop()
    assert hub.stats()["refs"] == 0


def test_async_is_sent_from_another_thread(hub, loop):
    watcher = loop.async_()
    thread = threading.Thread(target=watcher.send)
    called = []
    watcher.start(called.append, 1)
    thread.start()
    until(lambda: called)
    watcher.stop()
    thread.join()
    assert called == [1]


@pytest.mark.uninterrupted
def test_several_sends_before_the_hub_looks_are_one(loop):
    called = []
    watcher = loop.async_()
    watcher.start(called.append, 1)
    for _ in range(10):
        watcher.send()
    until(lambda: called)
    gevlite.sleep(0)
    watcher.stop()
    assert called == [1]


def test_signal_watcher_replaces_the_handler_and_puts_it_back(loop):
    before = signal.getsignal(signal.SIGUSR1)
    got = []
    first, second = loop.signal(signal.SIGUSR1), loop.signal(signal.SIGUSR1)
    first.start(got.append, "first")
    second.start(got.append, "second")
    os.kill(os.getpid(), signal.SIGUSR1)
    until(lambda: len(got) == 2)
    first.stop()
    os.kill(os.getpid(), signal.SIGUSR1)
    until(lambda: len(got) == 3)
    second.stop()
    assert got == ["first", "second", "second"]
    assert signal.getsignal(signal.SIGUSR1) == before


def test_signal_watcher_refuses_what_is_no_signal(loop):
    with pytest.raises(ValueError):
        loop.signal(9999)


def test_signal_handler_runs_in_a_greenlet_and_may_block(hub):
    ran = []

    def handler(value, *, name):
        gevlite.sleep(0.001)
        ran.append((value, name, gevlite.getcurrent() is not hub))

    handling = gevlite.signal_handler(signal.SIGUSR2, handler, 1, name="n")
    os.kill(os.getpid(), signal.SIGUSR2)
    until(lambda: ran)
    handling.cancel()
    handling.cancel()
    assert ran == [(1, "n", True)]
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL


def test_signal_handler_needs_a_callable():
    with pytest.raises(TypeError):
        gevlite.signal_handler(signal.SIGUSR2, None)


def _spawn(code):
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "thread"])
def test_child_reports_the_exit_status(hub, loop, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.setattr(_children, "_pidfd_open", None)
    elif _children._pidfd_open is None:
        pytest.skip("this Python has no os.pidfd_open")
    for code, expected in (("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)):
        process = _spawn(code)
        watcher = loop.child(process.pid)
        with gevlite.Timeout(30):
            hub.wait(watcher)
        assert watcher.rpid == process.pid
        assert watcher.returncode == expected
        process.returncode = watcher.returncode


@pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "thread"])
def test_many_children_are_all_reported(loop, monkeypatch, pidfd):
    if not pidfd:
        monkeypatch.setattr(_children, "_pidfd_open", None)
    ended = []
    pids = []
    for number in range(20):
        pid = os.fork()
        if pid == 0:
            os._exit(number)
        pids.append(pid)
        watcher = loop.child(pid)
        watcher.start(lambda w=watcher: ended.append((w.pid, w.returncode)))
    until(lambda: len(ended) == 20, 30)
    assert sorted(ended) == sorted(zip(pids, range(20), strict=True))


@pytest.mark.uninterrupted
def test_prepare_and_check_surround_each_poll(loop):
    order = []
    before, after = loop.prepare(), loop.check()
    before.start(order.append, "prepare")
    after.start(order.append, "check")
    gevlite.sleep(0.002)
    before.stop()
    after.stop()
    assert "prepare" in order
    assert order[order.index("prepare") + 1] == "check"


def test_idle_keeps_the_loop_spinning_until_it_is_stopped(loop, hub):
    turns = []
    watcher = loop.idle()
    watcher.start(turns.append, 1)
    until(lambda: len(turns) > 5)
    watcher.stop()
    assert hub.spinning == 0


def test_fork_watcher_is_called_in_the_child(loop):
    r, w = os.pipe()
    watcher = loop.fork()
    watcher.start(lambda: os.write(w, b"child"))
    pid = os.fork()
    if pid == 0:
        try:
            gevlite.sleep(0.001)
        finally:
            os._exit(0)
    watcher.stop()
    os.close(w)
    socket.wait_read(r, 10)
    assert os.read(r, 10) == b"child"
    os.close(r)
    os.waitpid(pid, 0)


def test_stat_watcher_sees_a_change(loop, tmp_path):
    path = tmp_path / "file"
    seen = []
    watcher = loop.stat(str(path), interval=0.002)
    watcher.start(lambda: seen.append((watcher.prev, watcher.attr)))
    assert watcher.attr is None
    path.write_text("now it is there")
    until(lambda: seen)
    watcher.stop()
    assert seen[0][0] is None
    assert seen[0][1].st_size == 15


def test_a_callback_that_raises_is_reported_and_the_watcher_goes_on(loop, hub, monkeypatch):
    errors = []
    monkeypatch.setattr(hub, "handle_error", lambda context, *error: errors.append(error[0]), raising=False)
    timer = loop.timer(0.001, repeat=0.001)

    def fail():
        raise ZeroDivisionError

    timer.start(fail)
    until(lambda: len(errors) >= 2)
    timer.stop()
    assert set(errors) == {ZeroDivisionError}


@pytest.mark.uninterrupted
def test_run_callback_and_its_handle(loop):
    ran = []
    loop.run_callback(ran.append, 1)
    taken_back = loop.run_callback(ran.append, 2)
    taken_back.stop()
    loop.run_callback_threadsafe(ran.append, 3)
    until(lambda: 3 in ran)
    assert ran == [1, 3]


def test_a_watcher_needs_a_callable(loop):
    with pytest.raises(TypeError):
        loop.timer(1).start(None)


def test_cancel_wait_raises_in_the_greenlet_that_waits(hub, loop):
    a, b = std_socket.socketpair()
    watcher = loop.io(a.fileno(), 1)
    waiting = gevlite.spawn(hub.wait, watcher)
    until(lambda: watcher.active)
    hub.cancel_wait(watcher, KeyError("cancelled"))
    monitor = []
    waiting.rawlink(monitor.append)
    waiting.join(10)
    assert isinstance(waiting.exception, KeyError)
    assert not watcher.active
    a.close()
    b.close()


def test_active_watchers_are_counted(loop, hub):
    before = hub.stats()["watchers"]
    timer, signal_watcher = loop.timer(10), loop.signal(signal.SIGUSR1)
    timer.start(print)
    signal_watcher.start(print)
    timer.start(print)
    assert hub.stats()["watchers"] == before + 2
    timer.stop()
    signal_watcher.stop()
    signal_watcher.stop()
    assert hub.stats()["watchers"] == before
