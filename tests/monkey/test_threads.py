"""threading under patching: threads are greenlets, and everything built on locks works."""

import sys

import pytest

COUNT = """
import threading, time, gevlite

class Inside:
    '''How many are inside at once, at most.'''
    def __init__(self):
        self.now = self.most = 0
    def __enter__(self):
        self.now += 1
        self.most = max(self.most, self.now)
    def __exit__(self, *exc_info):
        self.now -= 1
"""


def test_sleep_lets_others_run(script):
    lines = script.run(
        COUNT
        + """
inside = Inside()
def work():
    with inside:
        time.sleep(0.01)
gevlite.joinall([gevlite.spawn(work) for _ in range(5)])
print(inside.most)
"""
    )
    assert lines == ["5"]


def test_threads_are_greenlets_of_one_os_thread(script):
    script.run(
        COUNT
        + """
inside = Inside()
natives, idents, currents = set(), set(), []
def work():
    with inside:
        time.sleep(0.01)
        natives.add(threading.get_native_id())
        idents.add(threading.get_ident())
        currents.append(threading.current_thread())
threads = [threading.Thread(target=work, name=f"worker {i}") for i in range(20)]
for thread in threads:
    thread.start()
assert set(threads) < set(threading.enumerate()) and threading.active_count() == 21
assert all(thread.is_alive() for thread in threads)
for thread in threads:
    thread.join()
assert inside.most == 20 and natives == {threading.get_native_id()}
assert idents == {thread.ident for thread in threads} and len(idents) == 20
assert sorted(currents, key=id) == sorted(threads, key=id)
assert not any(thread.is_alive() for thread in threads)
assert threading.enumerate() == [threading.main_thread()]
"""
    )


def test_main_thread_keeps_its_identity(script):
    script.run(
        """
        import threading, _thread
        before = threading.main_thread(), threading.get_ident(), threading.current_thread()
        from gevlite import monkey
        monkey.patch_all()
        assert before == (threading.main_thread(), threading.get_ident(), threading.current_thread())
        assert threading.current_thread() is threading.main_thread()
        assert threading.main_thread().ident == _thread.get_ident() == threading.get_ident()
        """,
        patch="",
    )


def test_patching_from_a_greenlet_leaves_the_main_thread_alone(script):
    script.run(
        """
        import gevlite
        from gevlite import monkey
        gevlite.spawn(monkey.patch_all).get()
        import threading
        assert threading.current_thread() is threading.main_thread()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(threading.current_thread()))
        thread.start()
        thread.join()
        assert seen == [thread]
        """,
        patch="",
    )


def test_join_waits_with_and_without_a_time_limit(script):
    script.run(
        """
        import threading
        go = threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        thread.join(0.01)
        assert thread.is_alive()
        thread.join(0)
        thread.join(-1)
        assert thread.is_alive()
        waiters = [threading.Thread(target=thread.join) for _ in range(3)]
        for waiter in waiters:
            waiter.start()
        go.set()
        for waiter in waiters:
            waiter.join()
        assert not thread.is_alive()
        thread.join()
        """
    )


def test_an_interrupted_join_does_not_end_the_thread(script):
    script.run(
        """
        import threading
        import gevlite
        go = threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        try:
            with gevlite.Timeout(0.01):
                thread.join()
        except gevlite.Timeout:
            pass
        else:
            raise AssertionError("no Timeout")
        assert thread.is_alive()
        go.set()
        thread.join()
        assert not thread.is_alive()
        """
    )


def test_join_of_the_main_thread_waits_for_its_end(script):
    lines = script.run(
        """
        import threading
        def last():
            threading.main_thread().join()
            print("main has ended:", not threading.main_thread().is_alive())
        threading.Thread(target=last).start()
        print("end of the script")
        """
    )
    assert lines == ["end of the script", "main has ended: True"]


def test_threads_that_are_no_daemons_are_joined_at_exit(script):
    lines = script.run(
        """
        import threading, time, atexit
        atexit.register(print, "atexit")
        def work(n):
            time.sleep(0.02 * n)
            print("thread", n)
            if n < 3:
                threading.Thread(target=work, args=(n + 1,)).start()
        threading.Thread(target=work, args=(1,)).start()
        print("end of the script")
        """
    )
    assert lines == ["end of the script", "thread 1", "thread 2", "thread 3", "atexit"]


def test_live_daemons_do_not_keep_the_process(script):
    lines = script.run(
        """
        import threading, time, socket, queue
        def forever(wait):
            try:
                wait()
            finally:
                print("a daemon was unwound")
        ours, theirs = socket.socketpair()
        lock = threading.Lock()
        lock.acquire()
        for wait in (lambda: time.sleep(1000), lock.acquire, threading.Event().wait, lambda: ours.recv(1),
                     queue.Queue().get, queue.SimpleQueue().get):
            threading.Thread(target=forever, args=(wait,), daemon=True).start()
        time.sleep(0.01)
        print("end of the script")
        """
    )
    assert lines == ["end of the script"]


def test_a_thread_that_waits_for_ever_is_reported_at_exit_not_hung(script):
    out = script.python(
        script.write(
            """
            from gevlite import monkey
            monkey.patch_all()
            import threading
            lock = threading.Lock()
            lock.acquire()
            threading.Thread(target=lock.acquire).start()
            print("end of the script")
            """
        )
    )
    assert out == "end of the script\n"
    assert "LoopExit" in script.stderr and "waiting for a lock" in script.stderr


def test_an_exception_is_reported_by_excepthook_and_a_kill_is_not(script):
    out = script.python(
        script.write(
            """
            from gevlite import monkey
            monkey.patch_all()
            import threading, time, gevlite, sys
            def work():
                raise ValueError("broken")
            thread = threading.Thread(target=work, name="the worker")
            thread.start()
            thread.join()
            found = []
            sleeper = threading.Thread(target=lambda: (found.append(gevlite.getcurrent()), time.sleep(100)))
            sleeper.start()
            found[0].kill()
            sleeper.join()
            leaver = threading.Thread(target=sys.exit)
            leaver.start()
            leaver.join()
            print("alive:", sleeper.is_alive(), leaver.is_alive())
            """
        )
    )
    assert (script.returncode, out) == (0, "alive: False False\n")
    assert "Exception in thread the worker:" in script.stderr and "ValueError: broken" in script.stderr
    assert script.stderr.count("Traceback") == 1


def test_a_thread_killed_before_it_began_has_ended(script):
    script.run(
        """
        import _thread, gevlite
        from gevlite import thread
        if hasattr(_thread, "start_joinable_thread"):
            handle = _thread.start_joinable_thread(print)
            [greenlet] = thread._running
            greenlet.kill()
            handle.join()
        else:
            _thread.start_new_thread(print, ())
            [greenlet] = thread._running
            greenlet.kill()
        gevlite.sleep(0)
        assert not thread._running and _thread._count() == 0
        """
    )


def test_interrupt_during_a_thread_reaches_the_main_greenlet(script):
    lines = script.run(
        """
        import threading, signal, time, os
        def busy():
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100000):     # the handler runs here, in this greenlet
                pass
        thread = threading.Thread(target=busy)
        try:
            thread.start()
            time.sleep(10)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert lines == ["interrupted"]


def test_start_new_thread_checks_its_arguments_and_reports_errors(script):
    lines = script.run(
        """
        import _thread, sys, time
        for bad in ((1, ()), (print, []), (print, (), 1)):
            try:
                _thread.start_new_thread(*bad)
            except TypeError:
                print("TypeError")
        reported = []
        sys.unraisablehook = lambda args: reported.append((args.exc_value.args, args.exc_traceback is not None))
        def work(n, *, fail):
            raise ValueError(n, fail)
        ident = _thread.start_new_thread(work, (1,), {"fail": True})
        _thread.start_new_thread(sys.exit, ())
        assert _thread._count() == 2 and ident != _thread.get_ident()
        time.sleep(0.01)
        print(reported, _thread._count())
        """
    )
    assert lines == ["TypeError"] * 3 + ["[((1, True), True)] 0"]


def test_a_new_thread_begins_with_an_empty_context(script):
    lines = script.run(
        """
        import contextvars, threading
        var = contextvars.ContextVar("var", default="default")
        var.set("main")
        thread = threading.Thread(target=lambda: (print(var.get()), var.set("thread")))
        thread.start()
        thread.join()
        print(var.get())
        """
    )
    assert lines == ["default", "main"]


def test_what_is_built_on_locks_works(script):
    """Condition, Semaphore, Barrier, Timer and the queues, each between several threads."""
    lines = script.run(
        """
        import queue, threading
        def run(*functions):
            threads = [threading.Thread(target=function) for function in functions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        condition, items = threading.Condition(), []
        def consume():
            with condition:
                assert condition.wait_for(lambda: items, 5)
                items.pop()
        def produce():
            with condition:
                items.extend("ab")
                condition.notify_all()
        run(consume, consume, produce)
        print(items, condition.acquire(), condition.wait(0.001), condition.release())

        semaphore = threading.BoundedSemaphore(2)
        most, now = 0, 0
        def guarded():
            global most, now
            with semaphore:
                now += 1
                most = max(most, now)
                threading.Event().wait(0.001)
                now -= 1
        run(*[guarded] * 6)
        print(most)

        barrier = threading.Barrier(3)
        places = []
        run(*[lambda: places.append(barrier.wait(5))] * 3)
        print(sorted(places))

        fired = threading.Event()
        timer = threading.Timer(0.001, fired.set)
        timer.start()
        print(fired.wait(5))

        for cls in (queue.Queue, queue.LifoQueue, queue.PriorityQueue):
            tasks = cls(2)
            got = []
            def take():
                for _ in range(10):
                    got.append(tasks.get(timeout=5))
                    tasks.task_done()
            run(take, take, lambda: [tasks.put(n, timeout=5) for n in range(20)], tasks.join)
            print(sorted(got) == list(range(20)), tasks.empty())
        simple = queue.SimpleQueue()
        got = []
        run(lambda: got.extend(simple.get() for _ in range(3)), lambda: [simple.put(n) for n in range(3)])
        print(got)
        """
    )
    assert lines == [
        "[] True False None",
        "2",
        "[0, 1, 2]",
        "True",
        *["True True"] * 3,
        "[0, 1, 2]",
    ]


def test_executors(script):
    lines = script.run(
        COUNT
        + """
from concurrent.futures import ThreadPoolExecutor, TimeoutError, as_completed, wait
inside = Inside()
def work(n):
    with inside:
        time.sleep(0.01)
    if n == 7:
        raise ValueError(n)
    return n * n
with ThreadPoolExecutor(4, thread_name_prefix="pool") as executor:
    assert list(executor.map(work, range(7))) == [n * n for n in range(7)]
    futures = [executor.submit(work, n) for n in range(8)]
    done, pending = wait(futures)
    assert not pending and isinstance(futures[7].exception(), ValueError)
    assert {future.result() for future in as_completed(futures[:7])} == {n * n for n in range(7)}
    slow = executor.submit(time.sleep, 0.05)
    try:
        slow.result(timeout=0.001)
    except TimeoutError:
        print("in time")
print(inside.most)
left = ThreadPoolExecutor(1).submit(time.sleep, 0.01)       # never shut down: joined at exit
left.add_done_callback(lambda future: print("joined"))
"""
    )
    assert lines == ["in time", "4", "joined"]


def test_locals_are_separate_and_freed_with_their_thread(script):
    lines = script.run(
        """
        import threading, weakref, _threading_local, gevlite
        class Thing:
            pass
        for cls in (threading.local, _threading_local.local):
            data = cls()
            data.value = "main"
            seen, refs = [], []
            def work(n):
                seen.append(hasattr(data, "value"))
                data.value = Thing()
                refs.append(weakref.ref(data.value))
                gevlite.sleep(0)
                seen.append(data.value is refs[n]())
            threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(sorted(seen), data.value, [ref() for ref in refs])
        """
    )
    assert lines == ["[False, False, False, True, True, True] main [None, None, None]"] * 2


def test_greenlets_that_are_no_threads_are_forgotten(script):
    """A greenlet that asks for the current thread (any that logs does) leaves nothing behind."""
    lines = script.run(
        """
        import threading, gevlite
        def ask():
            me = threading.current_thread()
            assert me is threading.current_thread() and me in threading.enumerate() and me.is_alive()
            names.append(me.name)
        names = []
        gevlite.joinall([gevlite.spawn(ask) for _ in range(100)])
        raw = [gevlite.spawn_raw(ask) for _ in range(3)]
        gevlite.sleep(0.001)
        del raw
        print(len(set(names)), threading.enumerate() == [threading.main_thread()])
        """
    )
    assert lines == ["103 True"]


# ---------------------------------------------------------------- with threads of the system

NATIVE = """
from gevlite import monkey
import _thread
start_native = _thread.start_new_thread
monkey.patch_all()
import logging, queue, sys, threading, time, gevlite

def native(function, *args):
    '''Run it in a thread of the system; returns an object with join().'''
    done = gevlite.event.AsyncResult()
    hub = gevlite.get_hub()
    hub.ref()
    def run():
        try:
            result = (function(*args), None)
        except BaseException as exc:
            result = (None, exc)
        hub.call_soon_threadsafe(finish, result)
    def finish(result):
        hub.unref()
        done.set(result)
    start_native(run, ())
    return done

def result_of(done):
    value, exc = done.get(timeout=30)
    if exc is not None:
        raise exc
    return value
"""


def test_locks_between_greenlets_and_os_threads(script):
    """Nothing is lost or doubled, nobody waits for ever; the interpreter changes threads all the time."""
    lines = script.run(
        NATIVE
        + """
import gevlite.event
sys.setswitchinterval(1e-6)
for make in (threading.Lock, threading.RLock, threading.Condition, lambda: threading.Semaphore(1)):
    lock = make()
    total = 0
    def count(n):
        global total
        for i in range(n):
            with lock:
                before = total
                if i % 16 == 0:
                    time.sleep(0)
                total = before + 1
    natives = [native(count, 300) for _ in range(4)]
    threads = [threading.Thread(target=count, args=(300,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in natives:
        result_of(one)
    print(total)
""",
        patch="",
    )
    assert lines == ["2400"] * 4


def test_queues_between_greenlets_and_os_threads(script):
    lines = script.run(
        NATIVE
        + """
import gevlite.event
sys.setswitchinterval(1e-6)
for make in (queue.Queue, lambda: queue.Queue(3), queue.SimpleQueue):
    there, back = make(), make()
    def echo():
        while (item := there.get()) is not None:
            back.put(item)
    natives = [native(echo) for _ in range(3)]
    def feed():
        for n in range(500):
            there.put(n)
        for _ in natives:
            there.put(None)
    gevlite.spawn(feed)
    got = sorted(back.get(timeout=30) for _ in range(500))
    for one in natives:
        result_of(one)
    print(got == list(range(500)))
""",
        patch="",
    )
    assert lines == ["True"] * 3


def test_logging_from_greenlets_threads_and_os_threads(script):
    """Every record is written once and whole, also when the handler blocks while it holds its lock."""
    lines = script.run(
        """
        import logging, io
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)      # made, like the module's own lock, before patching
        handler.setFormatter(logging.Formatter("%(threadName)s %(message)s"))
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)
        """
        + NATIVE.replace("\n", "\n        ")
        + """
        import gevlite.event
        assert type(logging._lock) is type(handler.lock) is type(threading.RLock()) is gevlite._threadlock.RLock
        write = stream.write
        def slow_write(text):
            for letter in text:
                write(letter)
            if len(stream.getvalue()) % 3 == 0:
                time.sleep(0)       # whoever logs now has to wait for the lock
        stream.write = slow_write
        sys.setswitchinterval(1e-6)
        def work(name):
            for n in range(50):
                logging.info("%s %d", name, n)
                if n % 10 == 0:
                    time.sleep(0)
        natives = [native(work, f"native{i}") for i in range(3)]
        greenlets = [gevlite.spawn(work, f"greenlet{i}") for i in range(3)]
        threads = [threading.Thread(target=work, args=(f"thread{i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        for one in natives:
            result_of(one)
        gevlite.joinall(greenlets, raise_error=True)
        for thread in threads:
            thread.join()
        messages = sorted(line.partition(" ")[2] if not line.startswith("Thread") else line.split(") ")[1]
                          for line in stream.getvalue().splitlines())
        expected = sorted([f"{kind}{i} {n}" for kind in ("native", "greenlet", "thread") for i in range(3)
                           for n in range(50)])
        assert messages == expected, set(messages) ^ set(expected)
        print("ok")
        """,
        patch="",
    )
    assert lines == ["ok"]


def test_the_hub_waits_for_a_lock_of_an_os_thread_but_not_for_one_of_its_greenlets(script):
    """A callback that logs must not fail because a worker thread is logging too; nobody else runs while it waits."""
    lines = script.run(
        NATIVE
        + """
import gevlite.event
native_sleep = monkey.get_original("time", "sleep")
for make in (threading.Lock, threading.RLock):
    lock = make()
    taken = gevlite.event.Event()
    def hold():
        with lock:
            taken.set()
            native_sleep(0.05)
    holder = native(hold)
    taken.wait()
    got = gevlite.event.AsyncResult()
    def callback():
        got.set((lock.acquire(timeout=0.001), lock.acquire(), lock.release()))
    gevlite.get_hub().call_soon(callback)
    print(got.get(timeout=5))
    result_of(holder)

    errors = []
    gevlite.get_hub().handle_error = lambda context, type, value, tb: errors.append(type.__name__)
    with lock:
        gevlite.get_hub().call_soon(lock.acquire)
        gevlite.sleep(0.001)
    print(errors)
""",
        patch="",
    )
    assert lines == ["(False, True, None)", "['BlockingSwitchOutError']"] * 2


def test_threads_that_ran_before_can_be_joined_without_stopping_greenlets(script):
    lines = script.run(
        """
        import threading, time
        go = threading.Event()
        early = threading.Thread(target=time.sleep, args=(0.2,))
        early.start()
        unstarted = threading.Thread(target=lambda: print("unstarted", threading.current_thread() is unstarted))
        from gevlite import monkey
        monkey.patch_all()
        import gevlite
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                gevlite.sleep(0.01)
        ticker = gevlite.spawn(tick)
        early.join(0.001)
        print("alive:", early.is_alive())
        early.join()
        print("alive:", early.is_alive(), "ticked:", len(ticks) > 3)
        unstarted.start()
        unstarted.join()
        assert early not in threading.enumerate()
        """,
        patch="",
    )
    assert lines == ["alive: True", "alive: False ticked: True", "unstarted True"]


@pytest.mark.parametrize("where", ["main", "thread", "greenlet"])
def test_fork_takes_along_only_the_one_that_forks(script, where):
    """In the child the threads of the parent have ended and never run again; new ones work, and it exits by itself."""
    lines = script.run(
        f"""
        import os, sys, threading, time, warnings
        import gevlite
        warnings.simplefilter("ignore")
        parent = os.getpid()
        stop = threading.Event()
        def other():
            while not stop.wait(0.005):
                if os.getpid() != parent:
                    print("a thread of the parent runs in the child", flush=True)
                    os._exit(9)
        others = [threading.Thread(target=other) for _ in range(3)]
        for thread in others:
            thread.start()
        unbegun = gevlite.thread.start_new_thread(other, ())
        def forks():
            pid = os.fork()
            if pid == 0:
                assert threading.main_thread() is threading.current_thread()
                assert threading.enumerate() == [threading.current_thread()], threading.enumerate()
                assert not any(thread.is_alive() for thread in others)
                for thread in others:
                    thread.join()
                time.sleep(0.03)
                fresh = threading.Thread(target=time.sleep, args=(0.001,))
                fresh.start()
                fresh.join()
                os._exit(7)
            _, status = os.waitpid(pid, 0)
            print(os.waitstatus_to_exitcode(status))
            assert all(thread.is_alive() for thread in others)
        where = {where!r}
        if where == "main":
            forks()
        elif where == "thread":
            thread = threading.Thread(target=forks)
            thread.start()
            thread.join()
        else:
            gevlite.spawn(forks).get()
        stop.set()
        """,
    )
    assert lines == ["7"]


def test_subprocess_lets_others_run(script):
    lines = script.run(
        COUNT
        + """
import subprocess, sys
inside = Inside()
def work(n):
    with inside:
        done = subprocess.run([sys.executable, "-c", f"import time; time.sleep(0.1); print({n})"],
                              capture_output=True, text=True, check=True)
    return int(done.stdout)
assert [g.get() for g in [gevlite.spawn(work, n) for n in range(4)]] == list(range(4))
child = subprocess.Popen(["sleep", "100"])
try:
    child.wait(0.01)
except subprocess.TimeoutExpired:
    child.kill()
print(inside.most, child.wait())
"""
    )
    assert lines == ["4 -9"]


def test_multiprocessing_queue_between_threads_of_one_process(script):
    script.run(
        """
        import multiprocessing, threading
        channel = multiprocessing.Queue()
        got = []
        def take():
            got.extend(channel.get() for _ in range(3))
        thread = threading.Thread(target=take)
        thread.start()
        for n in range(3):
            channel.put(b"x" * 200_000)      # more than a pipe holds
        thread.join()
        assert [len(item) for item in got] == [200_000] * 3
        channel.close()
        channel.join_thread()
        """
    )


@pytest.mark.skipif(sys.version_info < (3, 13), reason="thread handles are of Python 3.13")
def test_thread_handles(script):
    script.run(
        """
        import _thread, threading
        go = threading.Event()
        handle = _thread.start_joinable_thread(go.wait)
        assert handle.ident and not handle.is_done()
        handle.join(0.001)
        assert not handle.is_done()
        go.set()
        handle.join()
        assert handle.is_done()
        for bad in (lambda: _thread.start_joinable_thread(1), lambda: _thread.start_joinable_thread(print, handle=1)):
            try:
                bad()
            except TypeError:
                continue
            raise AssertionError("no TypeError")
        try:
            _thread._ThreadHandle().join()
        except RuntimeError as exc:
            assert "not started" in str(exc)
        """
    )
