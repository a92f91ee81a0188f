"""Under patching, with OS threads beside the greenlets: worker threads, C libraries, threads from before."""

NATIVE = """
from gevlite import monkey
monkey.patch_all()
start_native = monkey.get_original("_thread", "start_new_thread")
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
    """Nothing is lost or doubled, no greenlet waits for ever; the interpreter switches threads all the time."""
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
    """Every record is written once and completely, even if the handler blocks while it holds its lock."""
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
        write = stream.write
        def slow_write(text):
            for letter in text:
                write(letter)
            if len(stream.getvalue()) % 3 == 0:
                time.sleep(0)       # a greenlet that logs now has to wait for the lock
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
    """A callback that logs must not fail while a worker thread is logging too; no other greenlet runs meanwhile."""
    lines = script.run(
        NATIVE
        + """
import gevlite.event
native_sleep = monkey.get_original("time", "sleep")
for make in (threading.Lock, threading.RLock):
    lock = make()
    taken = gevlite.event.Event()
    let_go = []
    def hold():
        with lock:
            taken.set()
            while not let_go:
                native_sleep(0.001)
            native_sleep(0.01)
    holder = native(hold)
    taken.wait()
    got = gevlite.event.AsyncResult()
    def callback():
        got.set((lock.acquire(timeout=0.001), let_go.append(1), lock.acquire(), lock.release()))
    gevlite.get_hub().call_soon(callback)
    print(got.get(timeout=5))
    result_of(holder)

    taken = []
    with lock:
        gevlite.get_hub().call_soon(lambda: taken.append(lock.acquire()))
        gevlite.sleep(0.001)
        print(taken)
    gevlite.sleep(0.001)
    print(taken)
""",
        patch="",
    )
    assert lines == ["(False, None, True, None)", "[]", "[True]"] * 2


def test_threads_that_ran_before_can_be_joined_without_stopping_greenlets(script):
    """The greenlet that lets the thread end runs while another waits in `join`."""
    lines = script.run(
        """
        import os, threading
        reader, writer = os.pipe()
        early = threading.Thread(target=os.read, args=(reader, 1))      # the original read
        early.start()
        unstarted = threading.Thread(target=lambda: print("unstarted", threading.current_thread() is unstarted))
        from gevlite import monkey
        monkey.patch_all()
        import gevlite
        early.join(0.001)
        print("alive:", early.is_alive())
        gevlite.spawn_later(0.01, os.write, writer, b"x")
        early.join()
        print("alive:", early.is_alive())
        unstarted.start()
        unstarted.join()
        assert early not in threading.enumerate()
        """,
        patch="",
    )
    assert lines == ["alive: True", "alive: False", "unstarted True"]
