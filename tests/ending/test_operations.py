"""Everything works until the very end: in atexit callbacks, as `threading` shuts down, in finalizers, in daemons.

CPython 3.12 and later start no threads once atexit callbacks run; after those, existing threads never run again, and
nothing can be imported. Each operation is tried in each of these places, in a process of its own, which must do it, end
with status 0, and write nothing to stderr.
"""

import json
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import before
import gevlite.monkey
gevlite.monkey.patch_all()
import _thread, atexit, gc, json, os, queue, socket, subprocess, sys, threading, time, traceback, weakref
import gevlite, gevlite.threadpool
from gevlite import event, lock, pool
from gevlite.local import local
from gevlite.queue import Queue

out = os.dup(1)
operations = {{}}
{operations}

def report(write=os.write, format=traceback.format_exception):
    for name, operation in operations.items():
        try:
            operation()
            result = "done"
        except BaseException as exc:
            result = "".join(format(exc))
        write(out, json.dumps([name, result]).encode() + b"\\n")
    write(out, b'["the last", "done"]')

class Last:
    def __del__(self):
        report()

said = threading.Event()

def report_and_say():
    report()
    said.set()

{place}
"""

OPERATION = """
{preparation}
def operation():
{operation}
operations[{name!r}] = operation
"""

PLACES = {
    "atexit": "atexit.register(report)",
    "threading._register_atexit": "threading._register_atexit(report)",
    "finalizer": "gevlite.sleep(0.001); last = Last(); last.cycle = last",
    "weakref.finalize": "weakref.finalize(os, report)",
    # The main greenlet ends last; daemons may do anything until then.
    "daemon thread": "threading.Thread(target=report_and_say, daemon=True).start(); atexit.register(said.wait, 40)",
    "daemon greenlet": "gevlite.spawn(report_and_say); atexit.register(said.wait, 40)",
    "thread that is not a daemon": "threading.Thread(target=lambda: (time.sleep(0.001), report())).start()",
}

# It answers every query with 192.0.2.1.
NAME_SERVER = """
class NameServer:
    def __enter__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.greenlet = gevlite.spawn(self.serve)
        return self.sock.getsockname()[1]
    def serve(self):
        while True:
            query, address = self.sock.recvfrom(512)
            question = query[12 : query.index(b"\\0", 12) + 5]
            head = query[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0"
            record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4\\xc0\\0\\2\\1"
            self.sock.sendto(head + question + record, address)
    def __exit__(self, *exc):
        self.greenlet.kill()
        self.sock.close()
"""

# name: (preparation, operation)
OPERATIONS = {
    "sleep": ("", "time.sleep(0.001); gevlite.sleep(0)"),
    "lock": ("taken = threading.Lock(); taken.acquire()", "assert not taken.acquire(timeout=0.001)"),
    "RLock": ("", "with threading.RLock() as a, lock.RLock() as b: pass"),
    "semaphore": ("", "s = lock.Semaphore(0); assert not s.acquire(timeout=0.001); s.release(); assert s.acquire()"),
    "condition": ("", "c = threading.Condition()\nwith c: assert not c.wait(0.001)"),
    "event": ("", "assert not threading.Event().wait(0.001); assert not event.Event().wait(0.001)"),
    "result": ("", "r = event.AsyncResult(); r.set(5); assert r.get() == 5"),
    "queue": (
        "",
        """
        q = Queue(); q.put(1); assert q.get() == 1
        q = queue.Queue(); q.put(1); assert q.get() == 1
        q = queue.SimpleQueue(); q.put(1); assert q.get() == 1
        try: Queue().get(timeout=0.001)
        except queue.Empty: pass
        else: raise AssertionError
     """,
    ),
    "local": ("one = local(); two = threading.local()", "one.x = 1; two.y = 2; assert one.x == 1 and two.y == 2"),
    "timeout": (
        "",
        """
        with gevlite.Timeout(0.001, False):
            gevlite.sleep(1000)
            raise AssertionError
     """,
    ),
    "greenlet": ("", "assert gevlite.spawn(lambda: gevlite.sleep(0.001) or 5).get() == 5"),
    "greenlet pool": ("", "assert pool.Pool(2).map(abs, (-1, -2, -3)) == [1, 2, 3]"),
    "current greenlet": ("", "assert gevlite.getcurrent() is gevlite.getcurrent()"),
    "thread": (
        "",
        """
        seen = []
        t = threading.Thread(target=lambda: (time.sleep(0.001), seen.append(1)))
        t.start(); t.join(); assert seen == [1] and not t.is_alive()
     """,
    ),
    "thread pool": ("", "assert gevlite.threadpool.ThreadPool(2).map(abs, (-1, -2, -3)) == [1, 2, 3]"),
    "thread pool that was used": (
        "p = gevlite.threadpool.ThreadPool(2); p.apply(abs, (-1,))",
        "assert p.map(abs, (-1, -2, -3)) == [1, 2, 3]; p.join(1)",
    ),
    "thread pool whose threads are busy": (
        "p = gevlite.threadpool.ThreadPool(1); stop = _thread.allocate_lock(); p.spawn(__import__('time').sleep, 0.01)",
        "assert p.apply(abs, (-1,)) == 1",
    ),
    "hub's thread pool": ("", "assert gevlite.get_hub().threadpool.apply(abs, (-1,)) == 1"),
    "executor": (
        "from concurrent.futures import wait; gevlite.threadpool.ThreadPoolExecutor",
        "f = gevlite.threadpool.ThreadPoolExecutor(1).submit(abs, -1); assert f.result() == 1; wait([f])",
    ),
    "join of an OS thread": (
        "t = before.thread",
        "t.join(0.001); before.stop.set(); t.join() if not sys.is_finalizing() else None",
    ),
    # CPython asks for this codec at each look-up, and cannot import it in a finalizer.
    "look-up": (
        "'localhost'.encode('idna')",
        "assert '127.0.0.1' in [found[4][0] for found in socket.getaddrinfo('localhost', 80)]",
    ),
    "other look-ups": (
        "",
        """
        assert socket.gethostbyname("localhost") == "127.0.0.1"
        assert socket.gethostbyname_ex("localhost")[2]
        assert socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)[0] == "127.0.0.1"
        assert socket.gethostbyaddr("127.0.0.1")
     """,
    ),
    "resolver block": (
        "from gevlite.resolver.blocking import Resolver as Block",
        """
        assert '127.0.0.1' in [found[4][0] for found in Block().getaddrinfo('localhost', 80)]
        assert Block().gethostbyname('localhost') == '127.0.0.1'
     """,
    ),
    "resolver ares": (
        NAME_SERVER + "from gevlite.resolver.ares import Resolver as Ares",
        """
        with NameServer() as port:
            r = Ares(servers=[f"127.0.0.1:{port}"])
            assert r.gethostbyname("some.test") == "192.0.2.1"
            assert r.getaddrinfo("other.test", 80, socket.AF_INET)[0][4] == ("192.0.2.1", 80)
            r.close()
     """,
    ),
    # It reads a file when it is made, for which a finalizer has no built-in `open`.
    "resolver dnspython": (
        NAME_SERVER + "from gevlite.resolver.dnspython import Resolver\nr = Resolver()",
        """
        with NameServer() as port:
            r.resolver.nameservers, r.resolver.port = ["127.0.0.1"], port
            assert r.gethostbyname("some.test") == "192.0.2.1"
            assert r.getaddrinfo("other.test", 80, socket.AF_INET)[0][4] == ("192.0.2.1", 80)
     """,
    ),
    "connection": (
        "",
        """
        listener = socket.create_server(("127.0.0.1", 0)); address = listener.getsockname()
        with socket.create_connection(("localhost", address[1])) as a:
            b = listener.accept()[0]
            b.settimeout(0.001)
            try: b.recv(1)
            except TimeoutError: pass
            else: raise AssertionError
            b.settimeout(None)
            g = gevlite.spawn(lambda: (gevlite.sleep(0.001), a.sendall(b"hello")))
            assert b.recv(5) == b"hello"
            b.close(); listener.close()
     """,
    ),
    "makefile": (
        "",
        """
        a, b = socket.socketpair()
        with a, b, a.makefile("wb") as w, b.makefile("rb") as r:
            w.write(b"line\\n"); w.flush()
            assert r.readline() == b"line\\n"
     """,
    ),
    "pipe": ("", "r, w = os.pipe(); os.write(w, b'x'); assert os.read(r, 5) == b'x'; os.close(r); os.close(w)"),
    "file": (
        "from gevlite.fileobject import FileObject\nname = os.path.abspath(sys.argv[1])",
        """
        with FileObject(name, "w") as f: f.write("text")
        with FileObject(name) as f: assert f.read() == "text"
     """,
    ),
    "file that is open": (
        "from gevlite.fileobject import FileObject; f = FileObject(sys.argv[1], 'w')",
        "f.write('x'); f.flush(); f.close()",
    ),
    "temporary file": (
        "import tempfile",
        """
        with tempfile.TemporaryFile("w+") as f:
            f.write("x"); f.seek(0); assert f.read() == "x"
     """,
    ),
    "tp_read": ("from gevlite.os import tp_read", "r, w = os.pipe(); os.write(w, b'x'); assert tp_read(r, 5) == b'x'"),
    "select": (
        "import select",
        """
        a, b = socket.socketpair()
        assert select.select([a], [b], [], 1) == ([], [b], [])
        assert select.select([a], [], [], 0.001) == ([], [], [])
     """,
    ),
    "subprocess": ("", "assert subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout == b'x\\n'"),
    "waitpid": (
        "",
        """
        r, w = os.pipe(); p = subprocess.Popen(['/bin/cat'], stdin=r); os.close(r)
        assert p.poll() is None; os.close(w); assert p.wait(10) == 0
     """,
    ),
    "logging": (
        """
        import logging
        logger = logging.getLogger("x"); handler = logging.FileHandler(sys.argv[1]); logger.addHandler(handler)
     """,
        "logger.error('text'); handler.close(); h = logging.StreamHandler(); h.acquire(); h.release(); del h",
    ),
    "timer": ("", "e = event.Event(); gevlite.spawn_later(0.001, e.set); assert e.wait(10)"),
    "hub callback": ("", "e = event.Event(); gevlite.get_hub().call_soon(e.set); assert e.wait(10)"),
    "collection": ("", "gc.collect()"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """`results(place)`: the outcome of each operation there. The process ends with status 0 and an empty stderr."""
    folder = tmp_path_factory.mktemp("ending")
    # An OS thread that was there before the patch.
    (folder / "before.py").write_text(
        textwrap.dedent("""
        import threading
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait, daemon=True)
        thread.start()
    """)
    )
    found = {}

    def run(place):
        if place not in found:
            found[place] = {}
            parts = []
            for name, texts in OPERATIONS.items():
                preparation, body = (textwrap.dedent(text).strip() for text in texts)
                body = textwrap.indent(body, "    ")
                parts.append(OPERATION.format(name=name, preparation=preparation, operation=body))
            path = folder / "program.py"
            path.write_text(PROGRAM.format(operations="".join(parts), place=PLACES[place]))
            command = [sys.executable, str(path), str(folder / "file")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=50)
            found[place] = dict(json.loads(line) for line in done.stdout.splitlines())
            found[place]["the end"] = f"{done.returncode} {done.stderr}"
        return found[place]

    return run


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("operation", [*OPERATIONS, "the last"])
def test_it_works_at_the_end(results, operation, place):
    result = results(place).get(operation, "not tried: an earlier one did not end")
    if result != "done":
        pytest.fail(result, pytrace=False)


@pytest.mark.parametrize("place", PLACES)
def test_the_process_ends_in_silence(results, place):
    assert results(place)["the end"] == "0 "
