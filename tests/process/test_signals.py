"""gevlite.signal: waiting for signals, handlers in greenlets, and that a signal that may come prevents LoopExit."""

import contextlib
import os
import signal as std_signal
import threading
import time

import pytest

import gevlite
from gevlite import signal
from gevlite._core import has_slices
from gevlite.event import Event

USR1, USR2 = std_signal.SIGUSR1, std_signal.SIGUSR2


@pytest.fixture
def sig(lib):
    """The signal module under test."""
    return lib.module("signal")


@pytest.fixture
def blocked():
    """SIGUSR1 and SIGUSR2, blocked; none of them is pending at the end."""
    before = std_signal.pthread_sigmask(std_signal.SIG_BLOCK, {USR1, USR2})
    yield {USR1, USR2}
    while std_signal.sigtimedwait({USR1, USR2}, 0):
        pass
    std_signal.pthread_sigmask(std_signal.SIG_SETMASK, before)


@pytest.fixture
def handled():
    """The list of the SIGUSR1 that a handler has seen."""
    seen = []
    before = std_signal.signal(USR1, lambda number, frame: seen.append(number))
    yield seen
    std_signal.signal(USR1, before)


@pytest.fixture
def send():
    """`send(number)`: to the main thread, in a moment, and again and again until the end of the test.

    To the thread, because a signal to the process may be delivered to another thread, which has not blocked it.
    """
    done = threading.Event()
    threads = []

    def work(number):
        while not done.wait(0.05):
            std_signal.pthread_kill(threading.main_thread().ident, number)

    def send(number):
        threads.append(threading.Thread(target=work, args=(number,)))
        threads[-1].start()

    yield send
    done.set()
    for thread in threads:
        thread.join()


# ---------------------------------------------------------------- blocked signals


def test_sigwait_returns_the_signal_that_comes(sig, blocked, send):
    send(USR2)
    found = sig.sigwait(blocked)
    assert found is USR2


def test_sigwaitinfo_and_sigtimedwait_tell_more(sig, blocked, send):
    send(USR1)
    for found in (sig.sigwaitinfo([USR1]), sig.sigtimedwait({USR1}, 20)):
        assert (found.si_signo, found.si_uid) == (USR1, os.getuid())


def test_one_that_is_pending_is_there_at_once(sig, blocked):
    std_signal.raise_signal(USR1)
    assert sig.sigtimedwait(blocked, 0).si_signo == USR1
    std_signal.raise_signal(USR1)
    assert sig.sigwait(blocked) == USR1


def test_sigtimedwait_after_the_timeout_is_none(sig, blocked):
    assert sig.sigtimedwait(blocked, 0) is None
    began = time.monotonic()
    assert sig.sigtimedwait(blocked, 0.03) is None
    assert time.monotonic() - began >= 0.03


@pytest.mark.parametrize(
    "call", [lambda s: s.sigwait({0}), lambda s: s.sigwaitinfo([4000]), lambda s: s.sigtimedwait({USR1}, -1)]
)
def test_what_is_no_signal_and_no_time_is_refused(sig, call):
    with pytest.raises(ValueError):
        call(sig)


@pytest.mark.parametrize("call", [lambda s: s.sigwait(1), lambda s: s.sigwait(), lambda s: s.sigtimedwait([USR1], "x")])
def test_wrong_types_are_refused(sig, call):
    with pytest.raises(TypeError):
        call(sig)


def test_others_run_while_one_waits(blocked, start):
    waiter = start(signal.sigwait, blocked)
    gevlite.idle()
    std_signal.raise_signal(USR2)
    assert waiter.get() == USR2


def test_kill_while_waiting_takes_no_signal(blocked, start, hub):
    waiter = start(signal.sigwait, blocked)
    gevlite.sleep(0)
    waiter.greenlet.kill()
    assert hub.stats()["timers"] == 0
    std_signal.raise_signal(USR1)
    assert signal.sigwait(blocked) == USR1


# ---------------------------------------------------------------- pause


def test_pause_blocks_until_a_handler_has_run(sig, handled, send):
    send(USR1)
    assert sig.pause() is None
    assert USR1 in handled


def test_pause_does_not_see_signals_that_came_before(handled, start):
    std_signal.raise_signal(USR1)
    assert handled == [USR1]
    waiter = start(signal.pause)
    gevlite.idle()
    assert not waiter.greenlet.ready()
    std_signal.raise_signal(USR1)
    waiter.get()


@pytest.mark.skipif(not has_slices(), reason="has no time slices")
def test_pause_does_not_see_the_end_of_a_time_slice(handled, start, hub, monkeypatch):
    monkeypatch.setattr(gevlite.config, "time_slice", 0.001)
    waiter = start(signal.pause)
    gevlite.idle()
    slices = hub.stats()["slices"]
    while hub.stats()["slices"] < slices + 5:
        pass
    gevlite.idle()
    assert not waiter.greenlet.ready()
    std_signal.raise_signal(USR1)
    waiter.get()


def test_several_may_pause(handled, start):
    waiters = [start(signal.pause) for _ in range(3)]
    gevlite.idle()
    std_signal.raise_signal(USR1)
    assert [waiter.get() for waiter in waiters] == [None] * 3
    assert len(handled) == 1


def test_kill_while_pausing_leaves_nothing(start, hub):
    waiter = start(signal.pause)
    gevlite.idle()
    assert hub.stats()["refs"] == 1
    waiter.greenlet.kill()
    assert hub.stats()["refs"] == 0 and not hub.after_poll


def test_pause_in_the_main_greenlet_is_no_dead_end(run_script):
    """With nothing but the default action of a signal: it ends the process, as it should."""
    result = run_script(
        """
        import os, signal, subprocess
        from gevlite import signal as twin
        subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -TERM {os.getpid()}"])
        twin.pause()
        """,
        code=None,
    )
    assert result.returncode == -std_signal.SIGTERM


# ---------------------------------------------------------------- the wake-up descriptor


def test_a_full_descriptor_of_another_library_is_nothing_to_warn_of(run_script):
    result = run_script("""
        import signal, socket
        here, there = socket.socketpair()
        here.setblocking(False)
        try:
            while True:
                here.send(b"x" * 65536)
        except BlockingIOError:
            pass
        signal.set_wakeup_fd(here.fileno(), warn_on_full_buffer=False)
        import gevlite.signal
        gevlite.sleep(0.001)
        signal.signal(signal.SIGUSR1, lambda *args: None)
        signal.raise_signal(signal.SIGUSR1)
        assert gevlite.signal.set_wakeup_fd(here.fileno(), warn_on_full_buffer=False) == here.fileno()
        gevlite.spawn_later(0.01, signal.raise_signal, signal.SIGUSR1)
        gevlite.sleep(0.05)
    """)
    assert result.stderr == ""


@pytest.fixture
def ends(pipe):
    for fd in pipe:
        os.set_blocking(fd, False)
    yield pipe
    signal.set_wakeup_fd(-1)


def test_set_wakeup_fd_tells_of_what_was_set_before_and_not_of_ours(hub, ends):
    assert signal.set_wakeup_fd(ends[1]) == -1
    assert signal.set_wakeup_fd(ends[1]) == ends[1]
    assert signal.set_wakeup_fd(-1) == ends[1]
    assert signal.set_wakeup_fd(-1) == -1


def test_set_wakeup_fd_hands_the_place_over_and_takes_it_back(hub, ends, handled, settle):
    signal.set_wakeup_fd(ends[1])
    std_signal.raise_signal(USR1)
    assert USR1 in os.read(ends[0], 100_000)  # with time slices, the number of their signal is there too
    signal.set_wakeup_fd(-1)
    with contextlib.suppress(BlockingIOError):
        os.read(ends[0], 100_000)  # that number again
    seen = hub.backend.signals
    std_signal.raise_signal(USR1)
    assert settle(lambda: hub.backend.signals > seen)
    with pytest.raises(BlockingIOError):
        os.read(ends[0], 10)


def test_set_wakeup_fd_refuses_what_the_original_refuses(hub):
    with pytest.raises((ValueError, OSError)):
        signal.set_wakeup_fd(2**30)
    with pytest.raises(TypeError):
        signal.set_wakeup_fd("x")
    raised = []

    def other():
        try:
            signal.set_wakeup_fd(-1)
        except ValueError as exc:
            raised.append(exc)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(raised) == 1


def test_a_signal_ends_the_poll_also_while_somebody_else_has_the_descriptor(ends, handled, send):
    signal.set_wakeup_fd(ends[1])
    came = Event()
    std_signal.signal(USR1, lambda *args: came.set())  # `handled` puts the one before back
    send(USR1)
    assert came.wait(timeout=50)


# ---------------------------------------------------------------- a handler may wake a greenlet

DEAD_END = """
import os, signal, subprocess, gevlite
from gevlite.event import Event
event = Event()
{install}
sender = subprocess.Popen(["sh", "-c", f"sleep {delay}; kill -USR1 {{os.getpid()}}"])
try:
    event.wait()
    print("woken")
except gevlite.LoopExit:
    print("dead end")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
sender.wait()
{after}
"""

AGAIN = """
try:
    Event().wait()
except gevlite.LoopExit:
    print("dead end")
"""


def run(run_script, install, after="", delay=0.1):
    return run_script(DEAD_END.format(install=install, after=after, delay=delay)).stdout.split("\n")[:-1]


def test_a_handler_of_signal_signal_may_wake_the_main_greenlet(run_script):
    install = "signal.signal(signal.SIGUSR1, lambda *args: event.set())"
    after = "signal.signal(signal.SIGUSR1, signal.SIG_DFL)\n" + AGAIN
    assert run(run_script, install, after) == ["woken", "dead end"]


def test_a_signal_handler_may_wake_the_main_greenlet(run_script):
    install = "handler = gevlite.signal_handler(signal.SIGUSR1, event.set)"
    assert run(run_script, install, "handler.cancel()\n" + AGAIN) == ["woken", "dead end"]


def test_a_signal_handler_without_ref_is_not_waited_for(run_script):
    install = "handler = gevlite.signal_handler(signal.SIGUSR1, event.set)\nhandler.ref = False"
    assert run(run_script, install, delay=0.5) == ["dead end"]


def test_two_handlers_of_one_signal_of_which_one_is_worth_waiting_for(run_script):
    install = """
first = gevlite.signal_handler(signal.SIGUSR1, print, "called")
first.ref = False
second = gevlite.signal_handler(signal.SIGUSR1, event.set)
"""
    assert run(run_script, install, "second.cancel()\n" + AGAIN) == ["called", "woken", "dead end"]


def test_pythons_own_handler_of_ctrl_c_is_nobody(run_script):
    install = "signal.signal(signal.SIGUSR1, signal.SIG_IGN)"  # the default ends the process
    assert run(run_script, install) == ["dead end"]


def test_a_greenlet_that_waits_beside_main_is_woken_too(run_script):
    install = """
signal.signal(signal.SIGUSR1, lambda *args: inner.set())
inner = Event()
waiter = gevlite.spawn(inner.wait)
waiter.link(lambda waiter: event.set())
"""
    assert run(run_script, install) == ["woken"]


def test_gevlite_wait_does_not_wait_for_signals_unless_told_to(run_script):
    run_script("""
        import os, signal, gevlite
        handler = gevlite.signal_handler(signal.SIGUSR1, lambda: None)
        signal.signal(signal.SIGUSR2, lambda *args: None)
        gevlite.spawn(gevlite.sleep, 0.01)
        assert gevlite.get_hub().join(timeout=20)
        handler.ref = True
        assert gevlite.get_hub().stats()["refs"] == 1
        assert not gevlite.get_hub().join(timeout=0.05)
        handler.ref = None
        assert gevlite.get_hub().stats()["refs"] == 0
        assert gevlite.get_hub().join(timeout=20)
        handler.ref = True
        handler.cancel()
        handler.ref = False
        assert gevlite.get_hub().stats()["refs"] == 0 and handler.ref is False
    """)


def test_a_signal_while_the_hub_polls_for_ever_is_handled_at_once(run_script):
    """At once, not only when the hub polls the next time."""
    run_script("""
        import os, signal, subprocess, time, gevlite
        from gevlite.event import Event
        event = Event()
        signal.signal(signal.SIGUSR1, lambda *args: event.set())
        sender = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -USR1 {os.getpid()}"])
        polls = gevlite.get_hub().stats()["polls"]
        event.wait()
        assert gevlite.get_hub().stats()["polls"] - polls < 5
        sender.wait()
    """)


def test_the_other_names_are_the_originals():
    for name in ("raise_signal", "SIGTERM", "Signals", "default_int_handler", "pthread_sigmask", "setitimer"):
        assert getattr(signal, name) is getattr(std_signal, name)


# ---------------------------------------------------------------- SIGCHLD under patching


def test_a_handler_of_sigchld_runs_in_a_greenlet_of_its_own(run_script):
    run_script("""
    import gevlite.monkey
    gevlite.monkey.patch_all()
    import os, signal, time, warnings
    warnings.simplefilter("ignore")
    seen = []
    def handler(number, frame):
        time.sleep(0.001)
        seen.append((gevlite.getcurrent(), os.waitpid(-1, os.WNOHANG)[0]))
        raise RuntimeError("of the handler, for nobody")
    before = signal.signal(signal.SIGCHLD, handler)
    assert signal.getsignal(signal.SIGCHLD) is handler
    reported = []
    gevlite.get_hub().handle_error = lambda context, kind, value, tb: reported.append(kind)
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    while not reported:
        time.sleep(0.001)
    assert seen[0][1] == pid and seen[0][0] is not gevlite.getcurrent()
    assert reported == [RuntimeError]
    assert signal.signal(signal.SIGCHLD, before) is handler
    assert signal.getsignal(signal.SIGCHLD) == before
    assert signal.signal(signal.SIGUSR1, handler) == signal.SIG_DFL and signal.getsignal(signal.SIGUSR1) is handler
    """)
