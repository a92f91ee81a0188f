"""Objects made, used and dropped again and again leave nothing behind in a living greenlet or thread."""

import concurrent.futures
import contextlib
import gc
import operator
import os
import queue
import socket as std_socket
import subprocess
import sys
import threading
import warnings

import psutil
import pytest

import gevlite
from gevlite import event, fileobject, lock, pool, queue as twins, select, socket, subprocess as children, threadpool
from gevlite._threadlock import Lock, RLock
from gevlite.local import local


def use_local():
    values = local()
    values.name = 1


class Derived(local):
    def __init__(self, value):
        self.value = value


def use_derived_local():
    assert Derived(5).value == 5


def use_event():
    e = event.Event()
    e.wait(0)
    e.set()
    e.wait()


def use_result():
    r = event.AsyncResult()
    r.rawlink(print)
    r.unlink(print)
    r.set(1)
    r.get()


def use_failed_result():
    r = event.AsyncResult()
    r.set_exception(ValueError())
    with pytest.raises(ValueError):
        r.get()


def use_lock(cls):
    with cls() as _:
        pass


def use_contended_lock():
    held = Lock()
    held.acquire()
    held.acquire(timeout=1e-6)


def use_condition():
    c = threading.Condition(RLock())
    with c:
        c.notify_all()


def use_queue(cls):
    q = cls()
    q.put(1)
    q.get()


def use_empty_queue():
    with pytest.raises(queue.Empty):
        twins.Queue().get(timeout=1e-6)


def use_channel():
    c = twins.Channel()
    g = gevlite.spawn(c.put, 1)
    c.get()
    g.join()


def use_timeout():
    with gevlite.Timeout(10):
        pass


def use_timeout_that_fires():
    with gevlite.Timeout(1e-6, False):
        gevlite.sleep(10)


def use_greenlet():
    gevlite.spawn(use_local).join()


def use_killed_greenlet():
    g = gevlite.spawn(gevlite.sleep, 10)
    gevlite.sleep(0)
    g.kill()


def use_greenlet_with_links():
    g = gevlite.Greenlet(int)
    g.link(lambda g: None)
    g.start()
    g.get()


def use_pool():
    p = pool.Pool(2)
    p.map(abs, (1, 2, 3))


def use_group():
    g = pool.Group()
    g.spawn(int)
    g.join()


def use_threadpool():
    p = threadpool.ThreadPool(1)
    p.apply(abs, (1,))
    p.kill()


def use_executor():
    with threadpool.ThreadPoolExecutor(1) as e:
        e.submit(abs, 1).result()


def use_hub_callback():
    hub = gevlite.get_hub()
    hub.call_soon(int)
    hub.call_later(10, int).stop()
    gevlite.sleep(0)


def use_watcher():
    watcher = gevlite.get_hub().loop.timer(10)
    watcher.start(int)
    watcher.stop()
    watcher.close()


def use_socket():
    a, b = socket.socketpair()
    with a, b:
        a.sendall(b"x")
        b.recv(1)


def use_socket_that_waits():
    a, b = socket.socketpair()
    with a, b:
        g = gevlite.spawn(b.recv, 1)
        gevlite.sleep(0)
        a.sendall(b"x")
        g.get()


def use_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as a:
            a.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            listener.accept()[0].close()


def use_makefile():
    a, b = socket.socketpair()
    with a, b, a.makefile("w") as w, b.makefile() as r:
        w.write("line\n")
        w.flush()
        r.readline()


def use_pipe_file():
    r, w = os.pipe()
    with fileobject.FileObject(r) as reader, fileobject.FileObject(w, "w") as writer:
        writer.write("line\n")
        writer.flush()
        reader.readline()


def use_disk_file():
    with fileobject.FileObject(os.devnull, "rb") as file:
        file.read()


def use_select():
    a, b = socket.socketpair()
    with a, b:
        select.select([a], [b], [], 1e-6)
        poller = select.poll()
        poller.register(a)
        poller.poll(0)


def use_lookup():
    socket.getaddrinfo("127.0.0.1", 80)


def use_child():
    children.run([sys.executable, "-S", "-E", "-c", ""], stdin=subprocess.DEVNULL)


# Operation: how often it is done. A hundred thousand times, or fewer if it takes long.
MANY, SOME, FEW, RARE = 100_000, 20_000, 2_000, 30
WORK = {
    "local": (use_local, MANY),
    "derived local": (use_derived_local, MANY),
    "Event": (use_event, MANY),
    "AsyncResult": (use_result, MANY),
    "AsyncResult that failed": (use_failed_result, MANY),
    "threading.Lock": (lambda: use_lock(Lock), MANY),
    "threading.RLock": (lambda: use_lock(RLock), MANY),
    "threading.Lock, contended": (use_contended_lock, SOME),
    "threading.Condition": (use_condition, MANY),
    "Semaphore": (lambda: use_lock(lock.Semaphore), MANY),
    "BoundedSemaphore": (lambda: use_lock(lock.BoundedSemaphore), MANY),
    "RLock": (lambda: use_lock(lock.RLock), MANY),
    "Queue": (lambda: use_queue(twins.Queue), MANY),
    "SimpleQueue": (lambda: use_queue(twins.SimpleQueue), MANY),
    "PriorityQueue": (lambda: use_queue(twins.PriorityQueue), MANY),
    "LifoQueue": (lambda: use_queue(twins.LifoQueue), MANY),
    "JoinableQueue": (lambda: use_queue(twins.JoinableQueue), MANY),
    "Queue, empty": (use_empty_queue, SOME),
    "Channel": (use_channel, SOME),
    "Timeout": (use_timeout, MANY),
    "Timeout that fires": (use_timeout_that_fires, SOME),
    "Greenlet": (use_greenlet, SOME),
    "Greenlet, killed": (use_killed_greenlet, SOME),
    "Greenlet with links": (use_greenlet_with_links, SOME),
    "Pool": (use_pool, FEW),
    "Group": (use_group, SOME),
    "ThreadPool": (use_threadpool, FEW // 4),
    "ThreadPoolExecutor": (use_executor, FEW // 4),
    "callbacks of the hub": (use_hub_callback, SOME),
    "watcher": (use_watcher, SOME),
    "socket": (use_socket, SOME),
    "socket that waits": (use_socket_that_waits, FEW),
    "connection": (use_connection, FEW),
    "makefile": (use_makefile, FEW),
    "FileObject of a pipe": (use_pipe_file, FEW),
    "FileObject of a device": (use_disk_file, FEW),
    "select": (use_select, FEW),
    "look-up": (use_lookup, SOME),
    "child process": (use_child, RARE),
}


# The rounds are divided into so many parts.
PARTS = 5


def memory():
    """The memory blocks that the interpreter has allocated and not freed, and the bytes of the process."""
    # A method that C code looks up by a name made for that call stays, with the name, in a cache of 4096 in the
    # interpreter: `io` does that for each TextIOWrapper and BufferedReader.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        sys._clear_type_cache()
    gc.collect()
    return sys.getallocatedblocks(), psutil.Process().memory_info().rss


@gevlite.uninterrupted  # some memory is kept for each function in which a time slice has ended
def repeat(function, times):
    for _ in range(times):
        function()


@contextlib.contextmanager
def living(place):
    """Gives `call(function, *args)`, which makes all its calls in one greenlet or in one OS thread."""
    if place == "thread":
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            yield lambda *call: executor.submit(*call).result()
        return
    calls, results = twins.Queue(), twins.Queue()

    def live():
        for function, *args in calls:
            results.put(function(*args))

    def call(*call):
        calls.put(call)
        return results.get()

    greenlet = gevlite.spawn(live)
    try:
        yield call
    finally:
        calls.put(StopIteration)
        greenlet.get()


@pytest.mark.parametrize("place", ["greenlet", "thread"])
@pytest.mark.parametrize("name", WORK)
@pytest.mark.timeout(300)
def test_nothing_is_left_behind(name, place):
    function, times = WORK[name]
    times //= PARTS
    with living(place) as call:
        call(repeat, function, times // 10 + 5)  # caches and free lists fill up
        seen = [memory()]
        for _ in range(PARTS):
            call(repeat, function, times)
            seen.append(memory())
    # A leak leaks in every part. A cache may still grow in some, and remains of an earlier test may be freed in one.
    blocks, size = (sorted(map(operator.sub, column[1:], column))[1] for column in zip(*seen, strict=True))
    assert blocks < max(5, times // 1000)  # less than one in a thousand rounds is none
    assert size < max(32 * times, 500_000)  # in C, where the interpreter does not count
