"""Objects that were made before patching work like those made afterwards, wherever they are held.

Each case is a program in two parts: one makes objects, the other uses them. It is run with plain threads, which show
the right value, and with patching in between. If it waits, another thread ends the wait: a process that blocks as a
whole makes no progress, and the time limit ends it.
"""

import subprocess
import sys
import textwrap

import pytest

HEAD = """
import collections, concurrent.futures, contextlib, functools, logging, logging.handlers, multiprocessing, os, queue
import select, selectors, socket, subprocess, sys, threading, time
"""

BETWEEN = """
def later(function, *args):
    def run():
        time.sleep(0.02)
        function(*args)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread

def excludes(lock):
    "Two threads that both have it for some time, and what they see of each other."
    seen = []
    def work(name):
        with lock:
            seen.append(name)
            time.sleep(0.01)
            seen.append(name)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return [seen[n] == seen[n + 1] for n in (0, 2, 4)]

def others_run(wait):
    "Call `wait` until another thread has run meanwhile."
    ran = []
    later(ran.append, 1)
    while not ran:
        wait()
    return True

def apart(owner, name="user"):
    "What each of three threads finds of what it has stored."
    seen = []
    def request(user):
        setattr(owner, name, user)
        time.sleep(0.01)
        seen.append(getattr(owner, name) == user)
    threads = [threading.Thread(target=request, args=(user,)) for user in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return seen
"""

HOLDERS = {
    "module": ("held = {}", "held"),
    "tuple": ("held = ({},)", "held[0]"),
    "deque": ("held = collections.deque([{}])", "held[0]"),
    "frozen set": ("held = frozenset([{}])", "next(iter(held))"),
    "key": ("held = {{{}: 1}}", "next(iter(held))"),
    "default argument": ("def held(lock={}): return lock", "held()"),
    "keyword default": ("def held(*, lock={}): return lock", "held()"),
    "partial": ("held = functools.partial(lambda lock: lock, {})", "held()"),
    "cell": ("def make(lock): return lambda: lock\nheld = make({})", "held()"),
    "frame": ("def make(lock):\n    while True: yield lock\nheld = make({})\nnext(held)", "next(held)"),
    "slot": ("class Slots: __slots__ = ('lock',)\nheld = Slots()\nheld.lock = {}", "held.lock"),
    "instance": ("class Plain: pass\nheld = Plain()\nheld.lock = {}", "held.lock"),
    "class": ("class Plain: lock = {}", "Plain.lock"),
    "method": ("held = {}.acquire", "held.__self__"),
    "iterator": ("held = iter([{}])", "next(held)"),
}


def _in_all_places(maker):
    made, done = [], []
    for number, (place, (holder, found)) in enumerate(HOLDERS.items()):
        own = f"held{number}"
        made.append(holder.format(maker).replace("held", own))
        done.append(f"print({place!r}, excludes({found.replace('held', own)}))")
    return "\n".join(made), "\n".join(done)


CASES = {
    "Lock in all places": _in_all_places("threading.Lock()"),
    "RLock in all places": _in_all_places("threading.RLock()"),
    # -------- locks
    "Lock that is taken": (
        "lock = threading.Lock(); lock.acquire()",
        "later(lock.release); print(lock.acquire(timeout=20), lock.locked()); lock.release(); print(excludes(lock))",
    ),
    "Lock, time-out": (
        "lock = threading.Lock(); lock.acquire()",
        "print(others_run(lambda: lock.acquire(timeout=0.01)), lock.acquire(False), lock.acquire(True, 0.001))",
    ),
    "Lock, misuse": (
        "lock = threading.Lock()",
        """
        for call in (lambda: lock.release(), lambda: lock.acquire(False, 1), lambda: lock.acquire(timeout=-2),
                     lambda: lock.acquire(1, 2, 3), lambda: lock.acquire(x=1)):
            try: print(call())
            except Exception as exc: print(type(exc).__name__)
        """,
    ),
    "methods of a Lock": (
        "lock = threading.Lock(); acquire, release, locked = lock.acquire, lock.release, lock.locked; acquire()",
        "later(release); print(acquire(timeout=20), locked()); release(); print(locked())",
    ),
    "Lock around what patches": (
        "lock = (threading.Lock(),)\ndef hold():\n    with lock[0]: yield\nheld = hold(); next(held)",
        "later(lambda: next(held, 0)); print(lock[0].acquire(timeout=20))",
    ),
    "RLock that is taken": (
        "lock = threading.RLock(); also = (lock,); lock.acquire(); lock.acquire()",
        """
        got = []
        thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=20)))
        thread.start()
        later(lambda: None).join()
        print(got, lock._is_owned(), lock.acquire(False))
        for _ in range(3): lock.release()
        thread.join()
        print(got, lock._is_owned(), lock.acquire(False))
        """,
    ),
    "RLock, misuse": (
        "lock = (threading.RLock(),)",
        """
        def release():
            try: lock[0].release()
            except RuntimeError as exc: print(exc)
        release()
        with lock[0]:
            thread = threading.Thread(target=release); thread.start(); thread.join()
            print(lock[0]._is_owned())
        """,
    ),
    "class derived from RLock": (
        "class Mine(type(threading.RLock())): pass\nlock = (Mine(),)",
        "print(excludes(lock[0]), excludes(Mine()))",
    ),
    # -------- objects made of locks
    "Condition": (
        "held = (threading.Condition(),)",
        """
        def notify():
            with held[0]: held[0].notify()
        with held[0]:
            with held[0]:
                later(notify); print(held[0].wait(20))
                print(held[0].wait(0.001))
        """,
    ),
    "Condition over a Lock in a tuple": (
        "lock = (threading.Lock(),); condition = threading.Condition(lock[0])",
        """
        def notify():
            with condition: condition.notify_all()
        with condition: later(notify); print(condition.wait(20), lock[0].locked())
        """,
    ),
    "Condition whose lock is taken": (
        "condition = threading.Condition(); condition.acquire()",
        """
        def notify():
            with condition: condition.notify()
        later(notify); print(condition.wait(20)); condition.release()
        """,
    ),
    "Event": ("held = (threading.Event(),)", "later(held[0].set); print(held[0].wait(20), held[0].wait())"),
    "class derived from Event": (
        "class Mine(threading.Event): pass\nheld = Mine()",
        "later(held.set); print(held.wait(20), Mine().wait(0.001))",
    ),
    "Semaphore": (
        "held = (threading.Semaphore(1),)",
        "print(held[0].acquire()); later(held[0].release); print(held[0].acquire(timeout=20))",
    ),
    "BoundedSemaphore": (
        "held = threading.BoundedSemaphore(1); held.acquire()",
        "later(held.release); print(held.acquire(timeout=20))",
    ),
    "Barrier": ("held = (threading.Barrier(2),)", "later(held[0].wait); print(held[0].wait(20) in (0, 1))"),
    "Timer": (
        "fired = []; timer = threading.Timer(0.01, fired.append, (1,))",
        "timer.start(); timer.join(20); print(fired)",
    ),
    "Thread": (
        "done = []; thread = threading.Thread(target=lambda: (time.sleep(0.01), done.append(1)))",
        "thread.start(); thread.join(20); print(done, thread.is_alive())",
    ),
    "Thread that runs": (
        "go = threading.Event(); thread = threading.Thread(target=go.wait); thread.start()",
        "later(go.set); thread.join(20); print(thread.is_alive())",
    ),
    "cached_property and lru_cache": (
        """
        class Slow:
            @functools.cached_property
            def value(self):
                time.sleep(0.01)
                return 1
        @functools.lru_cache
        def slow(n):
            time.sleep(0.01)
            return n
        held = (Slow(),)
        """,
        """
        seen = []
        def work(): seen.append((held[0].value, slow(2)))
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(seen)
        """,
    ),
    "logging handler": (
        """
        class Slow(logging.Handler):
            def emit(self, record):
                seen.append(record.msg); time.sleep(0.01); seen.append(record.msg)
        seen = []
        handler = Slow(); handler.acquire()
        log = logging.getLogger("x"); log.addHandler(handler)
        """,
        """
        threads = [threading.Thread(target=log.error, args=(n,)) for n in range(3)]
        for thread in threads: thread.start()
        later(lambda: None).join()
        print(seen)
        handler.release()
        for thread in threads: thread.join()
        print([seen[n] == seen[n + 1] for n in (0, 2, 4)])
        """,
    ),
    # -------- queues and executors
    **{
        f"queue.{name}": (
            f"held = (queue.{name}(),)",
            "later(held[0].put, 1); print(held[0].get(timeout=20)); later(held[0].put, 2); print(held[0].get())",
        )
        for name in ("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue")
    },
    "Queue that is full": (
        "held = queue.Queue(1); held.put(1)",
        "later(held.get); held.put(2, timeout=20); print(held.get())",
    ),
    "SimpleQueue, time-out": (
        "held = queue.SimpleQueue()",
        """
        def empty(*args, **options):
            try: held.get(*args, **options)
            except queue.Empty: return True
        print(others_run(lambda: empty(timeout=0.01)), empty(False), empty(timeout=0))
        for call in (lambda: held.get(timeout=-1), lambda: held.get_nowait(), lambda: held.get(1, 2, 3)):
            try: call()
            except Exception as exc: print(type(exc).__name__)
        """,
    ),
    "SimpleQueue with something in it": (
        "held = queue.SimpleQueue(); held.put(1); held.put(2)",
        "later(held.put, 3); print(held.qsize(), [held.get(timeout=20) for _ in range(3)], held.empty())",
    ),
    "methods of a SimpleQueue": (
        "held = queue.SimpleQueue(); put, get = held.put, held.get",
        "later(put, 1); print(get(timeout=20))",
    ),
    "class derived from SimpleQueue": (
        "class Mine(queue.SimpleQueue):\n    def get(self): return super().get() + 1\nheld = Mine()",
        "later(held.put, 1); print(held.get()); held = Mine(); later(held.put, 1); print(held.get())",
    ),
    "SimpleQueue, several getters": (
        "held = queue.SimpleQueue(); got = []",
        """
        threads = [threading.Thread(target=lambda: got.append(held.get(timeout=20))) for _ in range(5)]
        for thread in threads: thread.start()
        later(lambda: [held.put(n) for n in range(5)])
        for thread in threads: thread.join()
        print(sorted(got), held.empty())
        """,
    ),
    "QueueListener": (
        """
        out = []
        class Handler(logging.Handler):
            def emit(self, record): out.append(record.getMessage())
        q = queue.SimpleQueue()
        listener = logging.handlers.QueueListener(q, Handler())
        log = logging.getLogger("x"); log.addHandler(logging.handlers.QueueHandler(q))
        """,
        "listener.start(); log.error('a'); log.error('b'); listener.stop(); print(out)",
    ),
    "ThreadPoolExecutor": (
        "held = (concurrent.futures.ThreadPoolExecutor(2),)",
        """
        def work(n): time.sleep(0.01); return n
        print(held[0].submit(work, 5).result(20), list(held[0].map(work, range(5)))); held[0].shutdown()
        """,
    ),
    "ThreadPoolExecutor with an idle thread": (
        "held = concurrent.futures.ThreadPoolExecutor(1); held.submit(int).result()",
        "print(held.submit(lambda: (time.sleep(0.01), 5)[1]).result(20), held.submit(int).result(20)); held.shutdown()",
    ),
    "Future": ("future = concurrent.futures.Future()", "later(future.set_result, 1); print(future.result(20))"),
    # -------- locals
    **{
        f"local in a {place}": (made.format("threading.local()"), f"print(apart({found}))")
        for place, (made, found) in HOLDERS.items()
        if place != "method"
    },
    "local of the main thread": (
        "held = (threading.local(),); held[0].user = 'main'",
        "print(apart(held[0]), held[0].user, vars(held[0])); del held[0].user; print(vars(held[0]))",
    ),
    "local, what is missing": (
        "held = threading.local(); held.user = 'main'",
        """
        def look():
            print(hasattr(held, "user"), held.__dict__)
            try: del held.user
            except AttributeError as exc: print("missing")
            try: held.__dict__ = {}
            except AttributeError as exc: print(exc)
            held.other = 1; print(held.__dict__); del held.other; print(held.__dict__)
        thread = threading.Thread(target=look); thread.start(); thread.join()
        """,
    ),
    "class derived from local": (
        """
        class Mine(threading.local):
            kind = "class"
            __slots__ = ("shared",)
            def __init__(self, *args, **options): self.args = args, options
            @property
            def twice(self): return self.user * 2
        held = (Mine(1, x=2),); held[0].user = 7; held[0].shared = 8
        """,
        """
        def look():
            mine = held[0]
            print(mine.args, mine.kind, mine.shared, hasattr(mine, "user"), sorted(vars(mine)))
            mine.user = 3; time.sleep(0.01); print(mine.twice, super(Mine, mine).__getattribute__("user"))
        thread = threading.Thread(target=look); thread.start(); thread.join(); look()
        print(held[0].twice, apart(held[0]), apart(Mine()))
        """,
    ),
    "class derived from a class derived from local": (
        """
        class Base(threading.local):
            def __getattribute__(self, name): return super().__getattribute__(name)
            def __setattr__(self, name, value): super().__setattr__(name, value)
        class Mine(Base): pass
        held = Mine()
        """,
        "print(apart(held), apart(Mine()), apart(type('Later', (Mine,), {})()))",
    ),
    "local, an __init__ that fails": (
        """
        class Mine(threading.local):
            def __init__(self):
                if fail: raise ValueError("no")
                self.user = 1
        fail = []; held = Mine()
        """,
        """
        def look():
            fail.append(1)
            try: held.user
            except ValueError as exc: print(exc)
            fail.clear(); print(held.user)
        thread = threading.Thread(target=look); thread.start(); thread.join()
        """,
    ),
    # -------- waiting for descriptors
    **{
        f"selectors.{name}": (
            f"""
            r, w = os.pipe()
            held = (selectors.{name}(),); held[0].register(r, selectors.EVENT_READ)
            """,
            """
            print(others_run(lambda: held[0].select(0.01)))
            later(os.write, w, b"x"); print([key.fd == r for key, _ in held[0].select(20)])
            held[0].unregister(r); print(held[0].select(0)); held[0].close()
            """,
        )
        for name in ("DefaultSelector", "SelectSelector", "PollSelector")
    },
    "epoll": (
        "r, w = os.pipe(); held = (select.epoll(),); held[0].register(r, select.EPOLLIN)",
        """
        print(others_run(lambda: held[0].poll(0.01)), held[0].poll(0))
        later(os.write, w, b"x"); print(held[0].poll(20) == [(r, 1)], held[0].poll(maxevents=1) == [(r, 1)])
        held[0].close(); print(held[0].closed)
        try: held[0].poll(0)
        except ValueError as exc: print(exc)
        """,
    ),
    "poll": (
        "r, w = os.pipe(); held = (select.poll(),); held[0].register(r, select.POLLIN)",
        """
        print(others_run(lambda: held[0].poll(10)), held[0].poll(0))
        later(os.write, w, b"x"); print(held[0].poll(20000) == [(r, 1)])
        try: held[0].poll("x")
        except TypeError: print("no time")
        """,
    ),
    # -------- sockets
    "socket": (
        "held = socket.socketpair()",
        """
        a, b = held
        later(b.sendall, b"x"); print(a.recv(10), a.gettimeout(), a.getblocking())
        big = b"x" * 3_000_000
        later(b.sendall, big)
        got = 0
        while got < len(big): got += len(a.recv(65536))
        a.settimeout(0.01)
        def time_out():
            try: a.recv(1)
            except TimeoutError: pass
        print(got, others_run(time_out), a.timeout)
        a.setblocking(False)
        try: a.recv(1)
        except BlockingIOError: print("would block")
        b.close(); print(a.recv(1)); a.close(); print(a.fileno())
        """,
    ),
    "socket with a time-out": (
        "a, b = socket.socketpair(); a.settimeout(20)",
        "later(b.sendall, b'x'); print(a.recv(1), a.gettimeout()); later(b.close); print(a.recv(1))",
    ),
    "listening socket": (
        "server = socket.create_server(('127.0.0.1', 0))",
        """
        clients = []
        later(lambda: clients.append(socket.create_connection(server.getsockname())))
        made, address = server.accept()
        while not clients: time.sleep(0.001)
        later(made.sendall, b"x"); print(clients[0].recv(1), address[0])
        """,
    ),
    "datagram socket": (
        "a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0))",
        """
        later(a.sendto, b"x", a.getsockname()); print(a.recvfrom(10)[0])
        later(a.sendto, b"x", a.getsockname()); buffer = bytearray(5); print(a.recvfrom_into(buffer)[0], buffer)
        """,
    ),
    "file of a socket": (
        "a, b = socket.socketpair(); file = a.makefile('rb')",
        "later(b.sendall, b'one\\n'); print(file.readline()); later(b.close); print(file.read())",
    ),
    "class derived from socket": (
        """
        class Mine(socket.socket):
            def recv(self, n): return b"<" + super().recv(n) + b">"
        a, b = socket.socketpair(); a = Mine(fileno=a.detach()); held = (a,)
        """,
        """
        later(b.sendall, b"x"); print(held[0].recv(1))
        c, d = socket.socketpair(); c = Mine(fileno=c.detach()); later(d.sendall, b"x"); print(c.recv(1))
        """,
    ),
    "the class socket, kept": (
        "from socket import socket as Kept, create_server",
        """
        server = create_server(("127.0.0.1", 0))
        client = Kept()
        later(lambda: server.accept()[0].sendall(b"x")); client.connect(server.getsockname()); print(client.recv(1))
        """,
    ),
    "select of sockets": (
        "a, b = socket.socketpair()",
        "later(b.sendall, b'x'); print(select.select([a], [], [], 20)[0] == [a]); print(a.recv(1))",
    ),
    # -------- processes
    "pipes of a Popen": (
        """
        process = subprocess.Popen(["sed", "-u", "s/^/>/"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(b"one\\ntwo\\n"); process.stdin.flush()
        stdout = (process.stdout,)
        print(stdout[0].readline()); process.stdin.write(b"three\\n")
        """,
        """
        print(stdout[0].readline())
        later(process.stdin.close); print(stdout[0].read(), process.wait(20)); stdout[0].close()
        """,
    ),
    "pipes of a Popen, shared": (
        "process = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)",
        """
        got = []
        threads = [threading.Thread(target=lambda: got.append(process.stdout.read(3))) for _ in range(3)]
        for thread in threads: thread.start()
        later(process.stdin.write, b"abcdefghi").join(); process.stdin.flush()
        for thread in threads: thread.join()
        print(sorted(got)); print(process.communicate(b"x"))
        """,
    ),
    "text pipes of a Popen": (
        "process = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)",
        """
        later(process.stdin.write, "one\\n"); print(process.stdout.readline())
        later(process.stdin.close); print(process.stdout.read(), process.wait(20)); process.stdout.close()
        """,
    ),
    "pipes of a Popen without buffer": (
        "process = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)",
        "later(process.stdin.write, b'x'); print(process.stdout.read(5)); print(process.communicate(b'y'))",
    ),
    "communicate of a Popen": (
        "process = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE)",
        "print(process.communicate(b'x' * 200000, timeout=20)[0] == b'x' * 200000)",
    ),
    "os.popen": ("file = os.popen('sleep 0.1; echo x')", "print(file.read(), file.close())"),
    # -------- multiprocessing
    "multiprocessing.Lock": (
        "held = (multiprocessing.Lock(),); held[0].acquire()",
        "later(held[0].release); print(held[0].acquire(timeout=20)); later(held[0].release); print(held[0].acquire())",
    ),
    "multiprocessing.Semaphore, Event and Condition": (
        "semaphore, event = multiprocessing.Semaphore(0), multiprocessing.Event()",
        """
        later(semaphore.release); print(semaphore.acquire(timeout=20))
        later(event.set); print(event.wait(20))
        """,
    ),
    "multiprocessing.Queue": ("held = multiprocessing.Queue()", "later(held.put, 1); print(held.get(timeout=20))"),
    "multiprocessing.Pipe": ("a, b = multiprocessing.Pipe()", "later(b.send, 1); print(a.recv(), a.poll(0))"),
}


def _run(folder, case, patch):
    made, done = map(textwrap.dedent, CASES[case])
    path = folder / "case.py"
    # Where "fork" is not the start method, semaphores of multiprocessing have names that only an orderly end removes.
    end = "" if case.startswith("multiprocessing.") else "sys.stdout.flush(); os._exit(0)\n"
    path.write_text("\n".join((HEAD, made, patch, BETWEEN, done, end)))
    process = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", path],
        capture_output=True,
        text=True,
        timeout=40,
        stdin=subprocess.DEVNULL,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout
    return process.stdout


STRICT = "from gevlite import monkey; monkey.patch_all(strict=True)"


@pytest.mark.parametrize("case", CASES)
def test_what_was_made_before_works_as_with_threads(tmp_path, case):
    assert _run(tmp_path, case, STRICT) == _run(tmp_path, case, "")


def test_the_end_of_the_process_waits_for_threads_that_ran_before(tmp_path):
    path = tmp_path / "case.py"
    path.write_text(f"""{HEAD}
from time import sleep as sleep_of_threads
def work():
    sleep_of_threads(0.3)
    os.write(1, b"done")
threading.Thread(target=work).start()
from gevlite import monkey
monkey.patch_all(fix=False, strict=False)
import gevlite
gevlite.sleep(0)
""")
    process = subprocess.run([sys.executable, "-W", "ignore", path], capture_output=True, text=True, timeout=40)
    assert (process.returncode, process.stdout, process.stderr) == (0, "done", "")


def test_unpatching_gives_everything_back(tmp_path):
    path = tmp_path / "case.py"
    path.write_text(f"""{HEAD}
lock, rlock, waiting, mine = threading.Lock(), threading.RLock(), queue.SimpleQueue(), threading.local()
a, b = socket.socketpair(); a.settimeout(3)
kinds = [type(thing) for thing in (lock, rlock, waiting, mine, select.poll())]
kinds += [select.epoll, socket.socket, threading.local]
def look():
    return [(getattr(kind, name), kind.__dict__.get(name)) for kind in kinds for name in dir(kind)]
before = look()
for _ in range(3):
    {STRICT}
    import gevlite
    def use():
        with lock, rlock: gevlite.sleep(0.001)
        waiting.put(1); waiting.get(); mine.x = 1
    gevlite.joinall([gevlite.spawn(use) for _ in range(3)], raise_error=True)
    rlock.acquire(); a.recv if a.gettimeout() == 3 else 1 / 0
    monkey.unpatch_all()
    rlock.release()
    assert look() == before
    with lock, rlock: assert not waiting.qsize() and not vars(mine)
    def fails():
        try: waiting.get(timeout=0.001)
        except queue.Empty: return True
    assert fails() and a.gettimeout() == 3 and not rlock._is_owned()
""")
    process = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=40)
    assert (process.returncode, process.stderr) == (0, "")
