"""Signals, fork and the interpreter's exit, each in a process of its own: no hang, no crash, nothing lost."""

import sys

import pytest

# ---------------------------------------------------------------- Ctrl-C

INTERRUPTED = """
import os, signal, sys, threading, time
import gevlite

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def spin():
    while True:
        gevlite.sleep(0)

try:
    {body}
except KeyboardInterrupt:
    print("interrupted")
    gevlite.sleep(0.001)        # and the hub goes on
    print("alive")
"""

KEYBOARD_INTERRUPTS = {
    "in the main greenlet": "interrupt(); gevlite.sleep(100)",
    "in a greenlet": "gevlite.spawn(interrupt); gevlite.sleep(100)",
    "in a raw greenlet": "gevlite.spawn_raw(interrupt); gevlite.sleep(100)",
    "in a hub callback": "gevlite.get_hub().call_soon(interrupt); gevlite.sleep(100)",
    "during joinall": "gevlite.spawn_later(0.01, interrupt); gevlite.joinall([gevlite.spawn(gevlite.sleep, 100)])",
    "while the hub polls": "threading.Timer(0.05, interrupt).start(); gevlite.sleep(100)",
    "while the hub polls without a timer": "threading.Timer(0.05, interrupt).start(); gevlite.event.Event().wait()",
    "while a greenlet spins over sleep(0)": "gevlite.spawn(spin); threading.Timer(0.05, interrupt).start(); "
    "gevlite.sleep(100)",
    "while the main greenlet spins": "threading.Timer(0.05, interrupt).start(); spin()",
    "in Hub.join": "gevlite.spawn_later(0.01, interrupt); gevlite.spawn(gevlite.sleep, 100); gevlite.wait()",
}


@pytest.mark.parametrize("body", KEYBOARD_INTERRUPTS.values(), ids=KEYBOARD_INTERRUPTS.keys())
def test_keyboard_interrupt_reaches_the_main_greenlet(run_script, body):
    result = run_script(INTERRUPTED.format(body="import gevlite.event; " + body))
    assert result.stdout.split() == ["interrupted", "alive"]


def test_keyboard_interrupt_while_another_thread_holds_the_cpu(run_script):
    run_script("""
        import os, signal, threading, gevlite
        stop = False
        def burn():
            while not stop:
                pass
        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            burn()
        threads = [threading.Thread(target=f) for f in (burn, interrupt)]
        try:
            for t in threads:
                t.start()
            gevlite.sleep(100)
        except KeyboardInterrupt:
            stop = True
        for t in threads:
            t.join()
        assert stop
    """)


def test_a_signal_that_lands_on_another_thread_ends_the_poll(run_script):
    run_script("""
        import os, signal, threading, gevlite
        from gevlite.event import Event
        e = Event()
        signal.signal(signal.SIGUSR1, lambda *args: e.set())
        gevlite.get_hub()
        def other():
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        threading.Timer(0.05, other).start()
        assert e.wait(30)
    """)


def test_an_uncaught_keyboard_interrupt_ends_the_process_as_always(run_script):
    result = run_script(
        """
        import os, signal, gevlite
        gevlite.spawn_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        gevlite.sleep(100)
        """,
        code=None,
    )
    assert result.returncode == -2 and "KeyboardInterrupt" in result.stderr


@pytest.mark.parametrize("where", ["gevlite.sleep(20)", "gevlite.spawn(gevlite.sleep, 20).join()", "spin()"])
def test_a_signal_handler_that_raises_is_not_lost(run_script, where):
    run_script(f"""
        import os, signal, threading, time, gevlite
        class Told(Exception): pass
        def handler(*args):
            raise Told
        def spin():
            while True:
                gevlite.sleep(0)
        signal.signal(signal.SIGUSR1, handler)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            {where}
        except Told:
            pass
        else:
            raise AssertionError("lost")
        gevlite.sleep(0.001)
    """)


def test_a_handler_may_wake_greenlets(run_script):
    run_script("""
        import signal, gevlite
        from gevlite.queue import Queue
        q = Queue()
        signal.signal(signal.SIGALRM, lambda *args: q.put(1))
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        g = gevlite.spawn(lambda: [q.get(timeout=30) for _ in range(50)])
        assert g.get() == [1] * 50
        signal.setitimer(signal.ITIMER_REAL, 0)
    """)


def test_signals_in_their_thousands_disturb_no_timer_and_no_queue(run_script):
    run_script("""
        import signal, gevlite
        from gevlite.queue import Queue
        count = 0
        def handler(*args):
            global count
            count += 1
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
        q = Queue(1)
        def put():
            for n in range(2000):
                q.put(n)
        def get():
            return [q.get() for _ in range(2000)]
        def sleeper():
            for _ in range(100):
                gevlite.sleep(0.001)
            return "slept"
        gs = [gevlite.spawn(f) for f in (put, get, sleeper)]
        gevlite.joinall(gs, raise_error=True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert gs[1].value == list(range(2000)) and gs[2].value == "slept" and count
    """)


def test_a_loop_that_somebody_else_registered_for_signals_is_left_alone(run_script):
    run_script("""
        import signal, os
        r, w = os.pipe()
        os.set_blocking(w, False)
        signal.set_wakeup_fd(w)
        import gevlite
        gevlite.sleep(0.001)
        assert signal.set_wakeup_fd(-1) == w
    """)


# ---------------------------------------------------------------- the dead end


def test_a_dead_end_is_a_loop_exit_that_names_what_is_parked(run_script):
    run_script("""
        import gevlite
        from gevlite.event import Event
        from gevlite.queue import Queue
        def stuck_worker(q):
            q.get()
        g = gevlite.spawn(stuck_worker, Queue())
        try:
            Event().wait()
        except gevlite.LoopExit as exc:
            text = str(exc)
            assert "stuck_worker" in text and "an item in Queue, empty" in text, text
            assert "main (<string>:9) waits for Event" in text, text
            assert exc.hub is gevlite.get_hub()
        else:
            raise AssertionError
        for _ in range(3):                      # the hub lives on
            try:
                Event().wait()
            except gevlite.LoopExit:
                pass
        g.kill()
        assert gevlite.get_hub().stats()["parked"] == 0
    """)


def test_a_dead_end_is_found_when_the_last_thread_ends(run_script):
    run_script("""
        import threading, time, gevlite
        from gevlite.event import Event
        thread = threading.Thread(target=time.sleep, args=(0.05,))
        thread.start()
        try:
            Event().wait()
        except gevlite.LoopExit:
            assert not thread.is_alive()
        else:
            raise AssertionError
    """)


def test_a_dead_end_is_found_in_the_child_of_a_process_with_threads(run_script):
    run_script("""
        import os, threading, gevlite
        from gevlite.event import Event
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        pid = os.fork()
        if pid == 0:
            try:
                Event().wait()
            except gevlite.LoopExit:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stop.set()
        thread.join()
    """)


# ---------------------------------------------------------------- fork

FORK = """
import os, sys, threading, gevlite
from gevlite.event import Event
from gevlite.queue import Queue
from gevlite.hub import get_hub
from gevlite._core import READ, WRITE

def child_ends(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def in_child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid
"""


def test_the_child_has_a_backend_of_its_own(run_script):
    run_script(
        FORK
        + """
hub = get_hub()
gevlite.sleep(0.001)
before = hub.backend.wake_fd, os.fstat(hub.backend.wake_fd).st_ino
def child():
    assert get_hub() is hub
    gevlite.sleep(0.001)
    assert os.fstat(hub.backend.wake_fd).st_ino != before[1]
    assert gevlite.spawn(lambda: 5).get() == 5
child_ends(in_child(child))
gevlite.sleep(0.001)
"""
    )


def test_greenlets_parked_before_the_fork_go_on_in_both(run_script):
    run_script(
        FORK
        + """
q = Queue()
def worker():
    while True:
        item, answer = q.get()
        answer.put(item * 2)
gevlite.spawn(worker)
sleeper = gevlite.spawn(gevlite.sleep, 0.02)
gevlite.sleep(0)
def use():
    answer = Queue()
    for n in range(10):
        q.put((n, answer))
        assert answer.get(timeout=10) == n * 2
    sleeper.get(timeout=10)
pid = in_child(use)
use()
child_ends(pid)
"""
    )


def test_fork_from_inside_a_greenlet(run_script):
    run_script(
        FORK
        + """
def body():
    def child():
        gevlite.sleep(0.001)
        assert gevlite.spawn(lambda: 5).get() == 5
        e = Event()
        gevlite.spawn_later(0.001, e.set)
        assert e.wait(10)
    child_ends(in_child(child))
    gevlite.sleep(0.001)
    return "done"
assert gevlite.spawn(body).get() == "done"
"""
    )


def test_fork_from_a_thread_with_a_hub(run_script):
    run_script(
        FORK
        + """
failed = []
def thread():
    gevlite.sleep(0.001)
    def child():
        gevlite.sleep(0.001)
        assert gevlite.spawn(lambda: 5).get() == 5
        assert get_hub().main_hub
    try:
        child_ends(in_child(child))
    except BaseException as exc:
        failed.append(exc)
gevlite.sleep(0.001)
t = threading.Thread(target=thread)
t.start()
t.join()
assert not failed
"""
    )


def test_the_hub_of_a_thread_that_forks_is_told_of_signals_in_the_child(run_script):
    """Not the main thread's hub, which no longer exists, and on whose descriptor signals were reported before."""
    run_script("""
        import os, signal, threading, gevlite
        codes = []
        first, second = threading.Event(), threading.Event()

        def fork():
            hub = gevlite.get_hub()
            first.set()
            second.wait()
            reader, writer = os.pipe()
            waiting = gevlite.spawn(hub.wait_fd, reader, 1, 20)
            gevlite.sleep(0)
            pid = os.fork()
            if not pid:
                os.write(writer, b"x")
                assert waiting.get(timeout=20) == 1
                assert signal.set_wakeup_fd(-1) == hub.backend.signal_fd
                os._exit(7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

        thread = threading.Thread(target=fork)
        thread.start()
        first.wait()    # so that the child will not use the numbers of the main hub's descriptors again
        gevlite.sleep(0.001)
        second.set()
        thread.join()
        assert codes == [7], codes
    """)


@pytest.mark.parametrize("before", ["", "import asyncio"])
def test_a_child_is_told_of_signals_though_asyncio_was_imported(run_script, before):
    """asyncio's own hook takes `set_wakeup_fd` back in the child; imported later than gevlite, it has the last word."""
    run_script(f"""
        {before}
        import gevlite
        import asyncio, os, signal, sys, threading
        from gevlite.event import Event

        gevlite.sleep(0)
        pid = os.fork()
        if not pid:
            came = Event()
            signal.signal(signal.SIGUSR1, lambda number, frame: came.set())
            hub = gevlite.get_hub()

            def send():
                while "polling" not in repr(hub):
                    pass
                signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)     # to a thread that runs no handlers

            threading.Thread(target=send, daemon=True).start()
            told = came.wait(20)
            os._exit(7 if told and signal.set_wakeup_fd(-1) == hub.backend.signal_fd else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    """)


def test_fork_while_other_threads_wait_in_their_hubs(run_script):
    run_script(
        FORK
        + """
ready, stop = threading.Semaphore(0), Event()
def thread():
    gevlite.sleep(0)
    ready.release()
    stop.wait()
threads = [threading.Thread(target=thread) for _ in range(3)]
for t in threads:
    t.start()
for _ in threads:
    ready.acquire()
def child():
    gevlite.sleep(0.001)
    stop.set()          # the waiters are gone
    gevlite.sleep(0.001)
    t = threading.Thread(target=gevlite.sleep, args=(0.001,))
    t.start()
    t.join()
child_ends(in_child(child))
stop.set()
for t in threads:
    t.join(30)
    assert not t.is_alive()
"""
    )


def test_no_event_of_the_parent_is_stolen_by_the_child(run_script):
    run_script(
        FORK
        + """
r, w = os.pipe()
os.set_blocking(r, False)
got = []
def reader():
    while len(got) < 200:
        get_hub().wait_fd(r, READ, 30)
        got.append(os.read(r, 1))
g = gevlite.spawn(reader)
gevlite.sleep(0)
go_r, go_w = os.pipe()
def child():
    # Its own copy of the waiting greenlet is resumed; then its hub polls while the parent's pipe gets data.
    g.kill()
    os.set_blocking(go_r, False)
    os.close(go_w)
    get_hub().wait_fd(go_r, READ, 30)
with gevlite.uninterrupted():  # until the copy is killed: it would read what is for the parent
    pid = in_child(child)
for _ in range(200):
    os.write(w, b"x")
    gevlite.sleep(0)
g.get(timeout=30)
assert len(got) == 200
os.close(go_w)
child_ends(pid)
"""
    )


def test_sockets_of_the_parent_go_on_after_a_fork(run_script):
    run_script(
        FORK
        + """
from gevlite import socket
a, b = socket.socketpair()
@gevlite.uninterrupted  # else the child's copy may end between the two calls
def echo():
    while True:
        data = b.recv(100)
        if not data:
            return
        b.sendall(data)
g = gevlite.spawn(echo)
a.sendall(b"before")
assert a.recv(100) == b"before"
def child():
    c, d = socket.socketpair()
    gevlite.spawn(d.sendall, b"in the child")
    assert c.recv(100) == b"in the child"
pid = in_child(child)
for _ in range(100):
    a.sendall(b"after")
    assert a.recv(100) == b"after"
child_ends(pid)
a.close()
g.get(timeout=30)
"""
    )


def test_fork_of_a_fork(run_script):
    run_script(
        FORK
        + """
def child(depth=3):
    gevlite.sleep(0.001)
    if depth:
        child_ends(in_child(lambda: child(depth - 1)))
    gevlite.sleep(0.001)
child()
"""
    )


def test_fork_leaks_no_descriptor_in_the_child(run_script):
    run_script(
        FORK
        + """
gevlite.sleep(0.001)
count = len(os.listdir("/proc/self/fd"))
def child():
    gevlite.sleep(0.001)
    assert len(os.listdir("/proc/self/fd")) == count
child_ends(in_child(child))
"""
        if sys.platform == "linux"
        else ""
    )


# ---------------------------------------------------------------- the end of the interpreter

EXITS = {
    "no hub": "pass",
    "a hub never run": "gevlite.get_hub()",
    "nothing parked": "gevlite.sleep(0)",
    "parked on a timer": "g = gevlite.spawn(gevlite.sleep, 100); gevlite.sleep(0)",
    "parked, nobody holds it": "gevlite.spawn(gevlite.sleep, 100); gevlite.sleep(0)",
    "parked on an event": "e = Event(); gevlite.spawn(e.wait); gevlite.sleep(0)",
    "parked on a queue that is freed": "gevlite.spawn(Queue().get); gevlite.sleep(0)",
    "parked with a finally that blocks": "gevlite.spawn(cleanup); gevlite.sleep(0)",
    "raw, parked": "gevlite.spawn_raw(gevlite.sleep, 100); gevlite.sleep(0)",
    "raw, switched away by hand": "main = greenlet.getcurrent(); r = greenlet.greenlet(lambda: main.switch()); "
    "r.switch()",
    "Greenlet, switched away by hand": "main = greenlet.getcurrent(); g = gevlite.Greenlet(lambda: main.switch()); "
    "g.switch()",
    "scheduled, never begun": "gevlite.uninterrupted().__enter__(); gevlite.spawn(print, 'never')",
    "woken, never resumed": "e = Event(); gevlite.spawn(e.wait); gevlite.sleep(0); e.set()",
    "timers pending": "[gevlite.get_hub().call_later(100, print) for _ in range(100)]; gevlite.sleep(0)",
    "a Timeout pending": "t = gevlite.Timeout.start_new(100); gevlite.sleep(0)",
    "waiting for an fd": "r, w = os.pipe(); gevlite.spawn(gevlite.get_hub().wait_fd, r, 1); gevlite.sleep(0)",
    "a thread ended with greenlets parked": "t = threading.Thread(target=leave_parked); t.start(); t.join()",
    "a thread that ends after the main one": "threading.Thread(target=lambda: gevlite.sleep(0.05)).start()",
    "a daemon thread in its hub": "threading.Thread(target=gevlite.sleep, args=(100,), daemon=True).start(); "
    "time.sleep(0.05)",
    "a daemon thread with greenlets": "threading.Thread(target=lambda: (leave_parked(), gevlite.sleep(100)), "
    "daemon=True).start(); time.sleep(0.05)",
    "a daemon thread that spins": "threading.Thread(target=spin, daemon=True).start(); gevlite.sleep(0.02)",
    "atexit that sleeps": "atexit.register(gevlite.sleep, 0.001)",
    "atexit that spawns and joins": "atexit.register(lambda: gevlite.spawn(gevlite.sleep, 0.001).join())",
    "atexit before the hub": "gevlite.get_hub().destroy(); atexit.register(gevlite.sleep, 0.001)",
    "destroyed": "gevlite.spawn(gevlite.sleep, 100); gevlite.sleep(0); gevlite.get_hub().destroy()",
    "destroyed and made again": "gevlite.sleep(0); gevlite.get_hub().destroy(); gevlite.spawn(gevlite.sleep, 100); "
    "gevlite.sleep(0)",
    "sys.exit in a greenlet": "gevlite.spawn(sys.exit); gevlite.sleep(100)",
    "sys.exit with others parked": "gevlite.spawn(gevlite.sleep, 100); gevlite.sleep(0); sys.exit()",
    "an object that blocks in __del__": "keep = Blocks()",
    "a cycle with a parked greenlet": "x = Cycle(); x.g = gevlite.spawn(lambda: (x, gevlite.sleep(100))); "
    "gevlite.sleep(0)",
    "a socket being read": "from gevlite import socket; a, b = socket.socketpair(); gevlite.spawn(a.recv, 1); "
    "gevlite.sleep(0)",
    "ten thousand parked": "[gevlite.spawn(gevlite.sleep, 100) for _ in range(10000)]; gevlite.sleep(0)",
}

EXIT = """
import atexit, os, sys, threading, time
import greenlet
import gevlite
from gevlite.event import Event
from gevlite.queue import Queue

def cleanup():
    try:
        gevlite.sleep(100)
    finally:
        gevlite.sleep(0.001)

def leave_parked():
    for _ in range(10):
        gevlite.spawn(gevlite.sleep, 100)
    gevlite.sleep(0)

def spin():
    while True:
        gevlite.sleep(0)

class Blocks:
    def __del__(self):
        try:
            gevlite.sleep(0)
        except BaseException:
            pass

class Cycle:
    pass

{body}
"""


@pytest.mark.parametrize("flags", [(), ("-X", "dev")], ids=["plain", "dev"])
@pytest.mark.parametrize("body", EXITS.values(), ids=EXITS.keys())
def test_the_interpreter_ends(run_script, body, flags):
    result = run_script(EXIT.format(body=body), flags=flags, timeout=20)
    noise = [line for line in result.stderr.splitlines() if "ResourceWarning" not in line]
    if body.startswith(("from gevlite import socket", "r, w = os.pipe()")):
        return  # left open on purpose: -X dev says so
    assert result.stdout == "" and noise == []
