"""Methods of the interpreter's types are replaced: other code must not be affected, and it may fail.

test_made_before.py shows the purpose.
"""

import os

import pytest

# Everything whose methods are replaced, used in an interpreter without gevlite.
ELSEWHERE = """
import os, queue, select, threading, multiprocessing.synchronize
def use():
    lock, rlock, items, mine = threading.Lock(), threading.RLock(), queue.SimpleQueue(), threading.local()
    for _ in range(300):
        with lock, rlock:
            assert lock.locked() and rlock._is_owned() and not lock.acquire(False)
            assert not lock.acquire(timeout=0.0001)
        items.put(1); assert items.get() == 1
        try: items.get_nowait()
        except queue.Empty: pass
        mine.x = 1; assert mine.x == 1 and vars(mine) == {"x": 1}; del mine.x
    condition = threading.Condition()
    with condition: assert not condition.wait(0.001)
    r, w = os.pipe()
    poll = select.poll(); poll.register(r, select.POLLIN); assert poll.poll(1) == []
    if hasattr(select, "epoll"):
        with select.epoll() as epoll: epoll.register(r, select.EPOLLIN); assert epoll.poll(0.001) == []
    os.close(r); os.close(w)
use()
"""

INTERPRETERS = """
try: import _interpreters as interpreters
except ImportError:
    try: import _xxsubinterpreters as interpreters
    except ImportError: import _testcapi as interpreters
run = getattr(interpreters, "exec", None) or interpreters.run_string
"""


def test_other_interpreters_call_the_originals(script):
    # One interpreter, one OS thread each, at the same time as greenlets here use the same methods. The greenlets wait
    # in between: all interpreters of Python 3.11 share the GIL, and its holder does not notice that a thread of another
    # interpreter wants it.
    assert script.run(f"""
        import gevlite, queue, threading
        code = {ELSEWHERE!r}
        {INTERPRETERS.replace(chr(10), chr(10) + " " * 8)}
        lock, items = threading.Lock(), queue.SimpleQueue()
        KeptLock, KeptQueue = (monkey.get_original("threading", "Lock"), monkey.get_original("queue", "SimpleQueue"))
        lock, items = KeptLock(), KeptQueue()
        going = True
        def here():
            while going:
                with lock: gevlite.sleep(0)
                items.put(1); items.get()
                gevlite.sleep(0.0001)
        greenlets = [gevlite.spawn(here) for _ in range(3)]
        pool = gevlite.get_hub().threadpool
        def there():
            # Made and destroyed in the same OS thread, as Python 3.12 asks of programs that use threading.
            ident = interpreters.create()
            try: return run(ident, code)
            finally: interpreters.destroy(ident)
        results = [pool.spawn(there) for _ in range(2)]
        print([result.get() for result in results])
        going = False
        gevlite.joinall(greenlets, raise_error=True)
    """) == ["[None, None]"]


@pytest.mark.parametrize(
    "kind, hide",
    [
        ("locks", "_adopted._NativeLock = Odd"),
        ("RLocks", "_adopted._find_state = lambda text: None"),
        ("queue.SimpleQueue objects", "_adopted._NativeQueue = Odd"),
        ("threading.local objects", "_adopted.gc = Odd"),
        ("select.poll objects", "gevlite.select._PollType = Odd"),
        ("select.epoll objects", "gevlite.select._StdEpoll = Odd"),
        ("locks of multiprocessing", "gevlite._semlock._StdSemLock = Odd"),
    ],
)
def test_a_kind_of_which_nothing_is_known_is_named_and_the_rest_is_patched(script, kind, hide):
    if "epoll" in kind:
        pytest.importorskip("select").epoll  # noqa: B018
    assert script.run(
        f"""
        import threading, queue, warnings
        lock, items = (threading.Lock(),), (queue.SimpleQueue(),)
        import gevlite
        from gevlite import _adopted, _semlock, monkey, select
        class Odd:
            "A type whose methods are not those of a type in C."
            def acquire(self): pass
            def get(self): pass
            def poll(self): pass
            get_referents = staticmethod(lambda thing: [])
        {hide}
        before = [vars(type(lock[0]))["acquire"].__get__(lock[0])]
        for strict in (True, False):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try: monkey.patch_all(strict=strict)
                except monkey.MonkeyPatchError as exc: print("refused", {kind!r} in str(exc), monkey.saved)
        print([{kind!r} in str(warning.message) for warning in caught])
        print([{kind!r} in problem for problem in monkey.problems()])
        out = []
        def work(lock, items):
            with lock: out.append(items.get())
        lock = threading.Lock() if {kind!r} == "locks" else lock[0]
        items = queue.SimpleQueue() if "Queue" in {kind!r} else items[0]
        for _ in range(2): threading.Thread(target=work, args=(lock, items)).start()
        gevlite.sleep(0)
        items.put(1); items.put(2)
        while len(out) < 2: gevlite.sleep(0)
        print(out)
        monkey.unpatch_all()
        print(monkey.problems())
        """,
        patch="",
    ) == ["refused True {}", "[True]", "[True]", "[1, 2]", "[]"]


def test_who_waits_while_it_is_unpatched_goes_on_to_wait(script):
    assert script.run(
        """
        import queue, threading
        lock, rlock, items, condition = threading.Lock(), threading.RLock(), queue.SimpleQueue(), threading.Condition()
        from gevlite import monkey
        monkey.patch_all()
        import gevlite
        out = []
        lock.acquire(); rlock.acquire(); rlock.acquire()
        def take():
            with lock: out.append("lock")
        def take_twice():
            with rlock, rlock: out.append("rlock")
        def get(): out.append(items.get(timeout=30))
        def wait():
            with condition, condition: out.append(condition.wait(30))
        def give_up():
            try: items.get(timeout=0.1)
            except queue.Empty: out.append((lock.acquire(timeout=0.1), "too long"))
        greenlets = [gevlite.spawn(work) for work in (take, take_twice, get, wait, give_up) for _ in range(2)]
        gevlite.idle()                  # all wait
        print(out)
        monkey.unpatch_all()
        gevlite.joinall(greenlets[-2:])
        lock.release(); rlock.release(); rlock.release()
        try: rlock.release()
        except RuntimeError: print("no more")
        items.put("item"); items.put("item")
        with condition: condition.notify_all()
        gevlite.joinall(greenlets, raise_error=True)
        print(sorted(map(str, out)))
        print(lock.locked(), rlock._is_owned(), items.qsize(), condition._is_owned())
        """,
        patch="",
    ) == [
        "[]",
        "no more",
        str(sorted(["lock"] * 2 + ["rlock"] * 2 + ["item"] * 2 + ["True"] * 2 + ["(False, 'too long')"] * 2)),
        "False False 0 False",
    ]


WITH_OS_THREADS = {
    "a lock that an OS thread has, wanted by a greenlet": """
        def native():
            lock.acquire(); taken.set(); go.wait(); lock.release()
        start(native); taken.wait_in_thread()
        greenlet = gevlite.spawn(lock.acquire)
        gevlite.sleep(0)
        print(greenlet.dead, lock.acquire(timeout=0.001))
        go.set(); print(greenlet.get(timeout=30)); lock.release()
        """,
    "a lock that a greenlet has, wanted by an OS thread": """
        lock.acquire()
        def native():
            taken.set(); lock.acquire(); done.append(1); lock.release()
        start(native); taken.wait_in_thread()
        gevlite.sleep(0); print(done)
        lock.release()
        while not done: gevlite.sleep(0)
        print(lock.acquire(timeout=30)); lock.release()
        """,
    "an RLock that an OS thread has": """
        def native():
            with rlock, rlock: taken.set(); go.wait()
        start(native); taken.wait_in_thread()
        greenlet = gevlite.spawn(rlock.acquire)
        gevlite.sleep(0)
        print(greenlet.dead, rlock.acquire(timeout=0.001))
        go.set(); print(greenlet.get(timeout=30))
        """,
    "an RLock that a greenlet has": """
        def native():
            taken.set()
            with rlock: done.append(rlock._is_owned())
        def hold():
            with rlock: start(native); taken.wait_in_thread(); gevlite.sleep(0.001); done.append("held")
        gevlite.spawn(hold).join()
        while len(done) < 2: gevlite.sleep(0)
        print(done)
        """,
    "a queue that an OS thread fills and empties": """
        def native():
            items.put(1); done.append(answers.get())
        start(native)
        print(items.get(timeout=30)); answers.put(2)
        while not done: gevlite.sleep(0)
        print(done)
        """,
    "many of both": """
        def native():
            for n in range(300):
                with lock: counts[0] += 1
                with rlock: counts[1] += 1
                items.put(n)
            done.append(1)
        counts = [0, 0]
        def work():
            for n in range(300):
                with lock: seen = counts[0]; gevlite.sleep(0) if n % 50 == 0 else None; counts[0] = seen + 1
                with rlock: seen = counts[1]; gevlite.sleep(0) if n % 50 == 0 else None; counts[1] = seen + 1
                items.get(timeout=30)
        for _ in range(3): start(native)
        gevlite.joinall([gevlite.spawn(work) for _ in range(3)], raise_error=True)
        while len(done) < 3: gevlite.sleep(0)
        print(counts, items.qsize(), lock.locked())
        """,
}
PRINTED = {
    "a lock that an OS thread has, wanted by a greenlet": ["False False", "True"],
    "a lock that a greenlet has, wanted by an OS thread": ["[]", "True"],
    "an RLock that an OS thread has": ["False False", "True"],
    "an RLock that a greenlet has": ["['held', True]"],
    "a queue that an OS thread fills and empties": ["1", "[2]"],
    "many of both": ["[1800, 1800] 0 False"],
}


@pytest.mark.parametrize("case", WITH_OS_THREADS)
def test_os_threads_without_a_hub_share_them_with_greenlets(script, case):
    code = WITH_OS_THREADS[case]
    assert (
        script.run(f"""
        import gevlite
        start = monkey.get_original("_thread", "start_new_thread")
        _Lock = monkey.get_original("threading", "Lock")
        class Event:
            "Of OS threads: it is a lock that is given back once."
            def __init__(self): self.lock = _Lock(); self.lock.acquire()
            def set(self): self.lock.release()
            def wait(self): self.lock.acquire()
            wait_in_thread = wait
        lock, rlock = _Lock(), monkey.get_original("threading", "RLock")()
        items, answers = (monkey.get_original("queue", "SimpleQueue")() for _ in range(2))
        taken, go, done = Event(), Event(), []
        _start = start
        def start(function):
            running = Event()
            _start(lambda: (running.set(), function()), ())
            while not running.lock.acquire(False): gevlite.sleep(0)
        {code}
    """)
        == PRINTED[case]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_in_the_child_of_a_fork_they_can_be_given_back_and_taken(script):
    assert script.run(
        """
        import os, queue, threading, warnings
        lock, rlock, items = threading.Lock(), threading.RLock(), queue.SimpleQueue()
        from gevlite import monkey
        monkey.patch_all()
        import gevlite
        lock.acquire(); rlock.acquire()
        # Greenlets of another OS thread wait for them: they are not there in the child.
        def others():
            gevlite.joinall([gevlite.spawn(lock.acquire), gevlite.spawn(rlock.acquire), gevlite.spawn(items.get)])
        pool = gevlite.get_hub().threadpool
        task = pool.spawn(others)
        def waiting():
            return sum(type(thing).__name__ == "Greenlet" and thing.started for thing in __import__("gc").get_objects())
        while waiting() < 3: gevlite.sleep(0.001)
        warnings.simplefilter("ignore")         # of forking with threads, which is what we are here for
        pid = os.fork()
        if pid == 0:
            lock.release(); rlock.release(); items.put(1)
            ok = lock.acquire(timeout=30) and gevlite.spawn(rlock.acquire, timeout=30).get() and items.get(timeout=30)
            os._exit(0 if ok else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        lock.release(); rlock.release(); items.put(1)
        task.get(timeout=30)
        """,
        patch="",
    ) == ["0"]


AT_THE_END = """
import builtins, multiprocessing, os, queue, select, threading
lock, rlock, items, mine = threading.Lock(), threading.RLock(), queue.SimpleQueue(), threading.local()
semaphore, condition = multiprocessing.Lock(), threading.Condition()
r, w = os.pipe()
poll = select.poll(); poll.register(r, select.POLLIN)
epoll = select.epoll() if hasattr(select, "epoll") else poll
class Last:
    def __init__(self, *things): self.things = things
    def __del__(self):
        lock, rlock, items, mine, semaphore, condition, poll, epoll, write = self.things
        with lock, rlock, rlock, semaphore:
            assert not lock.acquire(False) and not lock.acquire(timeout=0.001) and not semaphore.acquire(False)
        items.put(1); assert items.get(timeout=1) == 1
        try: items.get(timeout=0.001)
        except Exception as exc: assert type(exc).__name__ == "Empty"
        mine.x = 1; assert mine.x == 1 and vars(mine)
        with condition: assert not condition.wait(0.001)
        assert poll.poll(1) == [] and epoll.poll(0.001) == []
        write(1, b"done")
from gevlite import monkey
monkey.patch_all()
import gevlite
def use():
    with lock, rlock: gevlite.sleep(0.001)
    items.put(1); items.get(); mine.x = 1
gevlite.joinall([gevlite.spawn(use) for _ in range(3)])
last = Last(lock, rlock, items, mine, semaphore, condition, poll, epoll, os.write)
"""


@pytest.mark.parametrize("kept", ["module", "builtins", "cycle"])
@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "dev"])
def test_finalizers_at_the_end_of_the_process_may_use_them(script, kept, options):
    keep = {"module": "", "builtins": "builtins.last = last; del last", "cycle": "last.itself = last; del last"}[kept]
    out = script.python(*options, script.write(AT_THE_END + keep), env={"PYTHONMALLOC": "debug"})
    assert (script.returncode, script.stderr, out) == (0, "", "done")


def test_a_type_that_is_made_anew_from_the_same_methods_is_left_as_it_is(run_script):
    """A module of the interpreter that is imported afresh has types of its own, whose methods are the same in C."""
    run_script(
        """
        from gevlite import monkey; monkey.patch_all()
        import sys
        del sys.modules["_queue"]
        import _queue
        queue = _queue.SimpleQueue()
        queue.put(1)
        queue.put_nowait(2)
        assert queue.get() == 1 and queue.get_nowait() == 2
        """
    )
