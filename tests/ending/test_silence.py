"""Ordinary programs, patched, run to their end: status 0, and no output on stderr.

Objects that outlive the program are freed when greenlet no longer knows the current greenlet, modules cannot be
imported and threads do not run; code that is not prepared for that prints lines of "Exception ignored in ...".
"""

import subprocess
import sys
import textwrap

import pytest

FIRST = """
import gevlite.monkey
gevlite.monkey.patch_all()
import atexit, os, queue, sys, threading, time, weakref
import gevlite
"""

PRIMITIVES = {
    "threading.Lock": ("threading.Lock()", "thing.acquire(); thing.release()"),
    "threading.RLock": ("threading.RLock()", "thing.acquire(); thing.acquire(); thing.release(); thing.release()"),
    "threading.Condition": ("threading.Condition()", "thing.acquire(); thing.notify_all(); thing.release()"),
    "threading.Event": ("threading.Event()", "thing.set(); assert thing.wait(1)"),
    "threading.Semaphore": ("threading.Semaphore()", "thing.acquire(); thing.release()"),
    "threading.local": ("threading.local()", "thing.x = 1; assert thing.x == 1"),
    "queue.Queue": ("queue.Queue()", "thing.put(1); assert thing.get() == 1"),
    "queue.SimpleQueue": ("queue.SimpleQueue()", "thing.put(1); assert thing.get() == 1"),
    "Event": ("gevlite.event.Event()", "thing.set(); assert thing.wait(1)"),
    "AsyncResult": ("gevlite.event.AsyncResult()", "thing.set(1); assert thing.get() == 1"),
    "Semaphore": ("gevlite.lock.Semaphore()", "thing.acquire(); thing.release()"),
    "RLock": ("gevlite.lock.RLock()", "thing.acquire(); thing.release(); thing._is_owned()"),
    "Queue": ("gevlite.queue.Queue()", "thing.put(1); assert thing.get() == 1"),
    "Channel": ("gevlite.queue.Channel()", "assert thing.empty()"),
    "JoinableQueue": ("gevlite.queue.JoinableQueue()", "thing.put(1); thing.get(); thing.task_done(); thing.join()"),
    "Pool": ("gevlite.pool.Pool(2)", "assert thing.apply(abs, (-1,)) == 1"),
    "ThreadPool": ("gevlite.threadpool.ThreadPool(2)", "assert thing.apply(abs, (-1,)) == 1"),
    "Timeout": ("gevlite.Timeout(100)", "thing.start(); thing.cancel()"),
    "Greenlet": ("gevlite.Greenlet(abs, -1)", "thing.start(); assert thing.get() == 1"),
    "socket": ("gevlite.socket.socketpair()", "thing[0].sendall(b'x'); thing[1].recv(1); thing[0].close()"),
    "FileObject": ("gevlite.fileobject.FileObject(sys.argv[1], 'w')", "thing.write('x'); thing.close()"),
}

PSYCOPG_POOL = """
        import logging, psycopg_pool
        logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())     # it warns when it cannot connect
        import socket
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            where = f"host=127.0.0.1 port={taken.getsockname()[1]} connect_timeout=5"
            pool = psycopg_pool.ConnectionPool(where, min_size=2, open=True, timeout=0.01)
            try:
                with pool.connection():
                    raise AssertionError
            except psycopg_pool.PoolTimeout:
                pass
"""

PROGRAMS = {
    "logging, a handler that lives on": """
        import logging
        handler = logging.StreamHandler()
        gevlite.sleep(0.001)
    """,
    "logging, from everywhere": """
        import logging.handlers
        logging.basicConfig(filename=sys.argv[1])
        target = logging.handlers.MemoryHandler(10, target=logging.FileHandler(sys.argv[1]))
        logging.getLogger("x").addHandler(target)
        threading.Thread(target=logging.getLogger("x").error, args=("text",)).start()
        gevlite.spawn(logging.getLogger("x").error, "text")
        atexit.register(logging.error, "at the end")
    """,
    "logging, through a queue": """
        import logging.handlers
        q = queue.Queue()
        listener = logging.handlers.QueueListener(q, logging.FileHandler(sys.argv[1]))
        listener.start()
        logging.getLogger("x").addHandler(logging.handlers.QueueHandler(q))
        logging.getLogger("x").error("text")
        atexit.register(listener.stop)
    """,
    "flask": """
        import flask
        app = flask.Flask("x")
        app.add_url_rule("/", view_func=lambda: "hello")
        assert app.test_client().get("/").data == b"hello"
        app.logger.debug("text")
    """,
    "concurrent.futures, not shut down": """
        from concurrent.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(2)
        future = executor.submit(time.sleep, 0.001)
    """,
    "concurrent.futures, shut down": """
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(2) as executor:
            assert list(executor.map(abs, (-1, -2))) == [1, 2]
    """,
    "real executor, not shut down": """
        from gevlite.threadpool import ThreadPoolExecutor
        executor = ThreadPoolExecutor(2)
        future = executor.submit(time.sleep, 0.001)
    """,
    "thread pool that is busy": """
        import gevlite.threadpool
        pool = gevlite.threadpool.ThreadPool(2)
        result = pool.spawn(__import__("gevlite.monkey").monkey.get_original("time", "sleep"), 100)
        gevlite.sleep(0.001)
    """,
    # Its workers try to connect to a port without a listener, again and again.
    "a psycopg pool that is not closed": PSYCOPG_POOL
    + """
        pool.cycle = pool
    """,
    "a psycopg pool that is a global": PSYCOPG_POOL,
    "a psycopg pool, closed in atexit": PSYCOPG_POOL
    + """
        atexit.register(pool.close)
    """,
    "a psycopg pool that a module keeps": PSYCOPG_POOL
    + """
        threading.pool = pool
    """,
    "tempfile": """
        import tempfile
        file = tempfile.NamedTemporaryFile("w+")
        file.write("x")
        folder = tempfile.TemporaryDirectory()
        import warnings
        warnings.simplefilter("ignore")
    """,
    "weakref.finalize": """
        lock = threading.Lock()
        def last():
            with lock:
                time.sleep(0.001)
        weakref.finalize(lock, last)
    """,
    "atexit": """
        lock = threading.RLock()
        def last():
            with lock:
                time.sleep(0.001)
                t = threading.Thread(target=time.sleep, args=(0.001,))
                t.start()
                t.join()
        atexit.register(last)
    """,
    "daemon threads, waiting for everything": """
        lock = threading.Lock(); lock.acquire()
        for target in (lock.acquire, queue.Queue().get, threading.Event().wait, lambda: time.sleep(1000)):
            threading.Thread(target=target, daemon=True).start()
        time.sleep(0.001)
    """,
    "daemon threads, busy": """
        def busy():
            while True:
                time.sleep(0.0001)
                with threading.Lock():
                    str(threading.current_thread())
        for _ in range(3):
            threading.Thread(target=busy, daemon=True).start()
        class Last:
            def __del__(self):
                time.sleep(0.01)
        threading.last = Last()
        time.sleep(0.001)
    """,
    "threads that are not daemons": """
        for _ in range(3):
            threading.Thread(target=time.sleep, args=(0.001,)).start()
    """,
    "OS threads": """
        from gevlite.monkey import get_original
        start, sleep = get_original("_thread", "start_new_thread"), get_original("time", "sleep")
        def work():
            gevlite.sleep(0.001)
            gevlite.spawn(gevlite.sleep, 1000)
            gevlite.sleep(1000)
        for _ in range(3):
            start(work, ())
        sleep(0.01)
    """,
    "timers": """
        timer = threading.Timer(1000, print)
        timer.daemon = True
        timer.start()
        gevlite.spawn_later(1000, print)
        gevlite.get_hub().call_later(1000, print)
        time.sleep(0.001)
    """,
    "greenlets, parked": """
        gevlite.spawn(gevlite.sleep, 1000)
        gevlite.spawn(gevlite.event.Event().wait)
        def work():
            try:
                time.sleep(1000)
            finally:
                time.sleep(0.001)
        gevlite.spawn(work)
        time.sleep(0.001)
    """,
    "killed workers": """
        def work():
            lock = threading.Lock()
            with lock:
                try:
                    time.sleep(1000)
                finally:
                    with threading.Lock():
                        time.sleep(0.001)
        workers = [gevlite.spawn(work) for _ in range(3)]
        time.sleep(0.001)
        gevlite.killall(workers)
        gevlite.spawn(work)
        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.001)
    """,
    "sys.exit in a greenlet": """
        gevlite.spawn(sys.exit, 0)
        time.sleep(1000)
    """,
    "a server": """
        from gevlite.pywsgi import WSGIServer
        server = WSGIServer(("127.0.0.1", 0), lambda environ, start: (start("200 OK", []), [b"x"])[1], log=None)
        server.start()
        import urllib.request
        assert urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}").read() == b"x"
        left = urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}")
    """,
    "sockets left open": """
        import socket, warnings
        warnings.simplefilter("ignore")
        pair = socket.socketpair()
        gevlite.spawn(pair[0].recv, 1)
        listener = socket.create_server(("127.0.0.1", 0))
        gevlite.spawn(listener.accept)
        time.sleep(0.001)
    """,
    "subprocesses": """
        import subprocess
        assert subprocess.run([sys.executable, "-c", ""]).returncode == 0
        left = subprocess.Popen(["sleep", "0.001"])
        gevlite.spawn(left.wait)
        atexit.register(left.wait)
    """,
    "a fork": """
        pid = os.fork()
        if not pid:
            sys.exit(0)
        assert os.waitpid(pid, 0) == (pid, 0)
    """,
    "multiprocessing": """
        import multiprocessing
        if __name__ == "__main__":
            context = multiprocessing.get_context("fork")
            q = context.Queue()
            child = context.Process(target=q.put, args=(1,))
            child.start()
            assert q.get() == 1
            child.join()
    """,
    "asyncio in a thread": """
        import asyncio
        threading.Thread(target=asyncio.run, args=(asyncio.sleep(0.001),)).start()
    """,
    "modules loaded and not used": """
        import concurrent.futures, email, http.server, json, multiprocessing.pool, sched, smtplib, socketserver, ssl
        import urllib.request, xmlrpc.client
        import gevlite.backdoor, gevlite.fileobject, gevlite.pywsgi, gevlite.resolver, gevlite.threadpool
    """,
    "signals": """
        import signal
        signal.signal(signal.SIGALRM, lambda *args: None)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        time.sleep(0.01)
        signal.setitimer(signal.ITIMER_REAL, 0)
    """,
    "a finalizer that starts a greenlet before anything has waited": """
        class Last:
            def __del__(self):
                assert gevlite.spawn(abs, -1).get() == 1
        last = Last()
        last.cycle = last
    """,
    "nothing at all": "",
}


def run(text, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(FIRST + textwrap.dedent(text))
    command = [sys.executable, str(path), str(tmp_path / "file")]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_in_silence(name, tmp_path):
    if "psycopg" in name:
        pytest.importorskip("psycopg_pool")
    done = run(PROGRAMS[name], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


FINALIZER = """
class Last{number}:
    def __del__(self, write=os.write, out=os.dup(1)):
        thing = self.thing
        {used}
        write(out, b"{name} ")
lasts.append(Last{number}())
lasts[-1].thing = {made}
"""


# Functions that logging and others use even after modules, ours too, have been cleared.
TO_THE_LAST = ("threading.Lock", "threading.RLock", "threading.local", "queue.SimpleQueue", "Event", "Semaphore")
WHEN = {
    "when all is collected": (PRIMITIVES, "lasts[0].cycle = lasts"),
    "when modules are taken apart": (TO_THE_LAST, "threading.lasts = lasts"),
}


@pytest.mark.parametrize("when", WHEN)
def test_every_primitive_works_in_a_finalizer(when, tmp_path):
    names, keep = WHEN[when]
    parts = ["import gevlite.event, gevlite.fileobject, gevlite.lock, gevlite.pool, gevlite.queue, gevlite.threadpool"]
    # A collection in the middle would change the order of the finalizers at the end: the file might be closed first.
    parts.append("import gc; gc.disable(); lasts = []")
    for number, name in enumerate(names):
        made, used = PRIMITIVES[name]
        parts.append(FINALIZER.format(number=number, name=name, made=made, used=used))
    done = run("\n".join([*parts, keep, "del lasts"]), tmp_path)
    assert done.stderr == ""
    assert set(done.stdout.split()) == set(names)
