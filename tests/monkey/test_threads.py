"""threading under patching: threads are greenlets, and everything built on locks works."""

import re
import sys

import pytest

COUNT = """
import threading, time, gevlite

class Inside:
    '''How many are inside at once, at most. `wait_for(n)`: sleep until so many have been.'''
    def __init__(self):
        self.now = self.most = 0
    def __enter__(self):
        self.now += 1
        self.most = max(self.most, self.now)
    def __exit__(self, *exc_info):
        self.now -= 1
    def wait_for(self, n):
        end = time.monotonic() + 20
        while self.most < n and time.monotonic() < end:
            time.sleep(0.001)
"""


def test_sleep_lets_others_run(script):
    lines = script.run(
        COUNT
        + """
inside = Inside()
def work():
    with inside:
        inside.wait_for(5)
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
go = threading.Event()
def work():
    with inside:
        inside.wait_for(20)
        go.wait()
        natives.add(threading.get_native_id())
        idents.add(threading.get_ident())
        currents.append(threading.current_thread())
threads = [threading.Thread(target=work, name=f"worker {i}") for i in range(20)]
for thread in threads:
    thread.start()
assert set(threads) < set(threading.enumerate()) and threading.active_count() == 21
assert all(thread.is_alive() for thread in threads)
go.set()
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


def test_what_only_a_thread_refers_to_is_finalized_before_it_is_joined(script):
    """Else the process may end in the middle: a queue of multiprocessing would not tell that its locks are gone."""
    lines = script.run(
        """
        import threading, time, weakref
        import gevlite
        found = []
        class Held:
            pass
        class Thread(threading.Thread):
            def run(self):
                found.append(gevlite.getcurrent())
        started = Thread(name="a name")
        started.held = Held()
        reference = weakref.ref(started.held, lambda reference: time.sleep(0.001) or print("finalized"))
        started.start()
        started.join()
        started = None
        print("joined", *found)
        """
    )
    assert lines[0] == "finalized" and re.fullmatch('joined <.* "a name" at .*: Thread, ended>', lines[1]), lines


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
    assert "LoopExit" in script.stderr and "waits for Lock" in script.stderr


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
            while not found:
                time.sleep(0.001)
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
        with gevlite.uninterrupted():
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
        import _thread, sys, time, gevlite
        for bad in ((1, ()), (print, []), (print, (), 1)):
            try:
                _thread.start_new_thread(*bad)
            except TypeError:
                print("TypeError")
        reported = []
        sys.unraisablehook = lambda args: reported.append((args.exc_value.args, args.exc_traceback is not None))
        def work(n, *, fail):
            raise ValueError(n, fail)
        with gevlite.uninterrupted():
            ident = _thread.start_new_thread(work, (1,), {"fail": True})
            _thread.start_new_thread(sys.exit)
            assert _thread._count() == 2 and ident != _thread.get_ident()
        while _thread._count():
            time.sleep(0.001)
        print(reported, _thread._count())
        """
    )
    assert lines == ["TypeError"] * 3 + ["[((1, True), True)] 0"]


AUDIT = """
import _thread, os, sys
told, handles = [], getattr(_thread, "_ThreadHandle", ())
sys.addaudithook(lambda event, args: event.startswith("_thread.") and told.append((event, args)))
def start(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as exc:
        print(type(exc).__name__)
    for event, args in told:
        print(event, ["a handle" if isinstance(arg, handles) else arg for arg in args])
    told.clear()
start(_thread.start_new_thread, len, ("x",))
start(_thread.start_new_thread, dict, (), {"a": 1})
start(_thread.start_new_thread, 1, ())
start(_thread.start_new_thread, print, [])
if hasattr(_thread, "start_joinable_thread"):
    start(_thread.start_joinable_thread, int)
    start(_thread.start_joinable_thread, int, _thread._ThreadHandle(), False)
    start(_thread.start_joinable_thread, int, handle=1)
sys.stdout.flush()
os._exit(0)  # unpatched, Python 3.15.2 sometimes does not end by itself after these
"""


def test_the_start_of_a_thread_is_audited_as_the_originals_is(script):
    patched, original = script.run(AUDIT), script.run(AUDIT, patch="")
    assert patched == original
    assert sys.version_info < (3, 12) or "_thread.start_new_thread [<built-in function len>, ('x',), None]" in patched


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the event is new in Python 3.12")
def test_an_audit_hook_can_forbid_threads(script):
    assert script.run(
        """
        import sys, threading, gevlite
        from gevlite import thread
        def forbid(event, args):
            if event.startswith("_thread.start_"):
                raise PermissionError(event)
        sys.addaudithook(forbid)
        try:
            threading.Thread(target=print, args=("it runs",)).start()
        except PermissionError:
            print("forbidden")
        gevlite.sleep(0)
        print(threading.active_count(), len(thread._running))
        """
    ) == ["forbidden", "1 0"]


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
                for _ in range(20_000):
                    if most == 2:
                        break
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
    assert lines == ["[] True False None", "2", "[0, 1, 2]", "True", *["True True"] * 3, "[0, 1, 2]"]


def test_executors(script):
    lines = script.run(
        COUNT
        + """
from concurrent.futures import ThreadPoolExecutor, TimeoutError, as_completed, wait
inside = Inside()
def work(n):
    with inside:
        inside.wait_for(4)
    if n == 7:
        raise ValueError(n)
    return n * n
with ThreadPoolExecutor(4, thread_name_prefix="pool") as executor:
    assert list(executor.map(work, range(7))) == [n * n for n in range(7)]
    futures = [executor.submit(work, n) for n in range(8)]
    done, pending = wait(futures)
    assert not pending and isinstance(futures[7].exception(), ValueError)
    assert {future.result() for future in as_completed(futures[:7])} == {n * n for n in range(7)}
    go = threading.Event()
    slow = executor.submit(go.wait)
    try:
        slow.result(timeout=0.001)
    except TimeoutError:
        print("in time")
    go.set()
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
                mine = weakref.ref(data.value)
                refs.append(mine)
                gevlite.sleep(0)
                seen.append(data.value is mine())
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
    """A greenlet that asks for the current thread, as logging does, leaves nothing behind."""
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
        gevlite.idle()
        del raw
        print(len(set(names)), threading.enumerate() == [threading.main_thread()])
        """
    )
    assert lines == ["103 True"]


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


# ---------------------------------------------------------------- code that never blocks


def test_a_loop_that_only_looks_lets_the_others_run(script):
    """The interpreter would switch threads; here `while not queue.empty()` must not stop all other greenlets."""
    lines = script.run(
        """
        import queue, threading
        jobs = queue.Queue()
        threading.Thread(target=jobs.get).start()
        jobs.put(1)
        while not jobs.empty():
            pass
        done = []
        threading.Thread(target=lambda: done.append(1)).start()
        lock = threading.Lock()
        lock.acquire()
        while not done:
            assert not lock.acquire(False)
        print("ok")
        """
    )
    assert lines == ["ok"]


def test_a_condition_is_taken_again_by_who_is_killed_in_its_wait(script):
    """Otherwise the `with` around it would release a lock that it does not hold, and hide why it ended."""
    lines = script.run(
        """
        import threading, gevlite
        condition = threading.Condition()
        def wait():
            with condition:
                condition.wait()
        waiter = gevlite.spawn(wait)
        gevlite.idle()
        with condition:
            condition.notify()
            gevlite.idle()                  # it waits for the lock now
            gevlite.spawn(waiter.kill)
            gevlite.idle()
            assert not waiter.ready()
        waiter.join()
        print(type(waiter.value).__name__, waiter.successful(), condition.acquire(False))
        """
    )
    assert lines == ["GreenletExit True True"]


def test_a_green_thread_does_not_rename_the_os_thread_that_all_share(script):
    """From Python 3.14 on a thread gives its name to the OS thread. With a space in it that would make `os.fork` count
    threads that do not exist: it reads the number behind the name in /proc."""
    script.run(
        """
        import os, threading, warnings

        def name_of_os_thread():
            with open("/proc/self/comm") as file:
                return file.read().strip()

        warnings.simplefilter("error")
        before = name_of_os_thread()
        seen = []

        def work():
            threading.current_thread().name = "another name, and long"
            seen.append(name_of_os_thread())
            pid = os.fork()
            if not pid:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0

        threads = [threading.Thread(target=work, name=f"worker {n} of mine") for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [before] * 3 and name_of_os_thread() == before
        """
    )


@pytest.mark.parametrize("kind", ["original", "patched"])
def test_the_main_thread_and_threads_of_the_system_have_their_names(script, kind):
    """The names that the system shows depend on the version of Python, and are the same with and without patching."""
    patch = "from gevlite import monkey\nmonkey.patch_all()\n" if kind == "patched" else ""
    lines = script.run(
        """
        import sys, threading
        threading.current_thread().name = "main one"
        with open("/proc/self/comm") as file:
            print(file.read().strip() == "main one")
        import _thread
        if sys.version_info >= (3, 14):
            try:
                _thread.set_name(5)
            except TypeError as exc:
                print("TypeError")
        else:
            print("TypeError")
        """,
        patch=patch,
    )
    assert lines == [str(sys.version_info >= (3, 14)), "TypeError"]


def test_what_threading_remembers_of_foreign_greenlets_goes_with_them(script):
    """In `threading._active`, under the lock that is there now, which keeps greenlets apart."""
    script.run(
        """
        import threading, gevlite, gc
        before = set(threading._active)
        names = [gevlite.spawn(lambda: threading.current_thread().name).get() for _ in range(5)]
        assert all(name.startswith("Greenlet-") for name in names), names
        gc.collect()
        assert set(threading._active) <= before | {threading.get_ident()}, threading._active
        lock = threading._active_limbo_lock
        with lock:
            assert not gevlite.spawn(lock.acquire, False).get()
        assert gevlite.spawn(lambda: lock.acquire(False) and lock.release() is None).get()
        """
    )


# ---------------------------------------------------------------- names


def test_a_log_record_has_the_name_of_the_greenlet_or_thread(script):
    lines = script.run(
        """
import logging, sys, threading, _thread, gevlite
logging.basicConfig(format="%(threadName)s %(message)s", stream=sys.stdout)

def job():
    me = gevlite.getcurrent()
    logging.warning("a greenlet %s", me.name == threading.current_thread().name)
    me.name = "fetcher"
    logging.warning("renamed")
    threading.current_thread().name = "reader"
    logging.warning("renamed %s", me.name)
    gevlite.sleep(0)
    logging.warning("later")

gevlite.spawn(job).join()
thread = threading.Thread(target=logging.warning, args=("a thread",), name="worker")
thread.start(); thread.join()
def started():
    logging.warning("started %s", gevlite.getcurrent().name == threading.current_thread().name)
_thread.start_new_thread(started, ())
gevlite.idle()
gevlite.get_hub().threadpool.apply(logging.warning, ("in the thread pool",))
gevlite.get_hub().call_soon(logging.warning, "in the hub")
gevlite.sleep(0.001)
logging.warning("in the main greenlet")
"""
    )
    assert lines == [
        "Greenlet-1 a greenlet True",
        "fetcher renamed",
        "reader renamed reader",
        "reader later",
        "worker a thread",
        "Greenlet-2 started True",
        "gevlite-worker-1 in the thread pool",
        "MainThread in the hub",
        "MainThread in the main greenlet",
    ]


def test_what_threading_says_of_a_greenlet_is_gone_with_it(script):
    lines = script.run(
        """
import gc, threading, gevlite
def job():
    kept.append(threading.current_thread())
kept = []
g = gevlite.spawn(job); g.name = "fetcher"
g.join()
print(len(threading.enumerate()))
del g
gc.collect()
print(kept[0].name, "fetcher" in repr(kept[0]))
kept[0].name = "other"
print(kept[0].name)
"""
    )
    assert lines == ["1", "fetcher True", "other"]


def test_the_repr_of_a_threads_greenlet_has_its_name_function_and_state(script):
    lines = script.run(
        """
import re, threading, _thread, gevlite
def show(thing):
    print(re.sub(" at 0x[0-9a-f]+", "", repr(thing)))
def work():
    seen.append(gevlite.getcurrent())
    show(seen[-1])
class Mine(threading.Thread):
    def run(self):
        work()
seen = []
for thread in (threading.Thread(target=work), threading.Thread(target=work, name="worker"), Mine(name="mine")):
    thread.start(); thread.join()
    show(seen[-1])
_thread.start_new_thread(work, ())
gevlite.idle()
seen[0].name = "new"
show(seen[0])
"""
    )
    assert lines == [
        '<ThreadGreenlet "Thread-1 (work)": work, running>',
        '<ThreadGreenlet "Thread-1 (work)": work, ended>',
        '<ThreadGreenlet "worker": work, running>',
        '<ThreadGreenlet "worker": work, ended>',
        '<ThreadGreenlet "mine": Mine, running>',
        '<ThreadGreenlet "mine": Mine, ended>',
        '<ThreadGreenlet "Greenlet-1": work, running>',
        '<ThreadGreenlet "new": work, ended>',
    ]
