"""Random signals, collections, destructors, callbacks, event loops, kills and forks, which all wait.

    python hub_stress.py SECONDS SEED           checks at the end that all has ended
    python hub_stress.py SECONDS SEED ending    ends in the middle of it, in one of several ways, with status 0

Every few milliseconds a signal comes whose handler waits, or raises in the main greenlet; the garbage collector runs
all the time and finds objects that wait in their destructors; callbacks and timers wait; greenlets are killed; any of
them forks, and the child must work and end. Now and then the main greenlet runs an event loop of asyncio, and polls for
it. At the end everything that was begun has ended, and the hub holds nothing.
"""

import asyncio
import atexit
import faulthandler
import gc
import os
import random
import signal
import socket
import sys
import threading
import time
import warnings

# The last of the atexit functions, after gevlite's: later the interpreter puts the default handlers back, which kill.
atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGALRM, signal.SIGUSR1)])

import gevlite  # noqa: E402
from gevlite import os as gevlite_os  # noqa: E402
from gevlite.asyncio import EventLoop  # noqa: E402
from gevlite.event import Event  # noqa: E402
from gevlite.lock import Semaphore  # noqa: E402
from gevlite.queue import Queue  # noqa: E402

warnings.simplefilter("ignore")
seconds, seed = float(sys.argv[1]), int(sys.argv[2])
ends_early = sys.argv[3:] == ["ending"]
dice = random.Random(seed)
faulthandler.dump_traceback_later(seconds + 60, exit=True)

hub = gevlite.get_hub()
parent = os.getpid()
end = time.monotonic() + seconds
queue, lock = Queue(), Semaphore()
forked, reaped = [], []  # pids; one step each, as a signal handler may raise between two


class Counts(dict):
    """Count by appending: a signal handler that waits in the middle of `+= 1` would lose the counts of others."""

    def __missing__(self, kind):
        return self.setdefault(kind, [])

    def count(self, kind):
        self[kind].append(None)

    def __repr__(self):
        return repr({kind: len(entries) for kind, entries in self.items()})


begun, ended = Counts(), Counts()
ends_badly = []
FORKS = seconds * 10 if not ends_early else 0
HANDLERS = 20  # at the same time: on a busy machine signals come faster than their handlers end


class Interrupted(Exception):
    pass


problems = []
for_thread = []  # futures whose results another thread sets
loop_now = None  # that of the main greenlet
forking = False


def report(where, exc):
    if not isinstance(exc, (Interrupted, gevlite.GreenletExit)):
        problems.append((where, exc))


def write_to(fd):
    try:
        os.write(fd, b"x")
    except OSError:
        pass  # closed: its waiter was interrupted


def pause():
    """Wait for anything."""
    if os.getpid() != parent:
        gevlite.sleep(60)  # in a child, leave the work to the greenlet that forked
    choice = dice.randrange(6)
    if choice == 0:
        gevlite.sleep(0)
    elif choice == 1:
        gevlite.sleep(dice.random() / 1000)
    elif choice == 2:
        if lock.acquire(timeout=dice.random() / 500):
            try:
                gevlite.sleep(0)
            finally:
                lock.release()
    elif choice == 3:
        gevlite.spawn(gevlite.sleep, 0).join()
    elif choice == 4:
        # No Timeout: a destructor that runs here and waits may swallow it.
        Event().wait(dice.random() / 1000)
    else:
        r, w = os.pipe()
        try:
            gevlite.spawn_raw(write_to, w)
            assert hub.wait_fd(r, 1, 10)
        finally:
            os.close(r)
            os.close(w)


class counted:
    """Whatever has begun must end, whichever exception is raised in it."""

    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        begun.count(self.kind)

    def __exit__(self, *error):
        ended.count(self.kind)


class Waits:
    def __del__(self):
        if os.getpid() != parent or threading.get_ident() != hub.thread_ident:
            return  # the collector ran in the thread that shoots
        with counted("destructor"):
            pause()


def litter():
    cycle = [Waits()] if dice.random() < 0.2 else []
    cycle.append(cycle)


def callback():
    with counted("callback"):
        litter()
        if dice.random() < 0.5:
            pause()


def worker():
    with counted("greenlet"):
        for _ in range(dice.randrange(10)):
            litter()
            choice = dice.randrange(5)
            if choice == 0:
                begun.count("item")
                queue.put(1)
            elif choice == 1:
                try:
                    queue.get(timeout=dice.random() / 1000)
                    ended.count("item")
                except gevlite.queue.Empty:
                    pass
            elif choice == 2:
                hub.call_soon(callback)
            elif choice == 3 and dice.random() < 0.1:
                with gevlite.uninterrupted():  # a pending kill must not come before the child's `try`
                    fork()
            else:
                pause()


async def coroutine(loop):
    with counted("coroutine"):
        for _ in range(dice.randrange(10)):
            if os.getpid() != parent:
                gevlite.sleep(60)
            litter()
            choice = dice.randrange(7)
            if choice == 0:
                await asyncio.sleep(0)
            elif choice == 1:
                await asyncio.sleep(dice.random() / 1000)
            elif choice == 2:
                pause()
            elif choice == 3:
                await asyncio.create_task(asyncio.sleep(0))
            elif choice == 4:
                one, other = socket.socketpair()
                with one, other:
                    one.setblocking(False)
                    gevlite.spawn_raw(write_to, other.fileno())
                    assert await loop.sock_recv(one, 1)
            else:
                future = loop.create_future()
                if choice == 5:
                    loop.call_later(dice.random() / 1000, gevlite.spawn_raw, set_result, loop, future)
                else:
                    for_thread.append(future)
                await future


def report_of_loop(loop, context):
    report(context["message"], context.get("exception"))


def set_result(loop, future):
    """By another greenlet."""
    unless_closed(loop, loop.call_soon, future)


def unless_closed(loop, call, future):
    # Not asked before: it may be closed between the question and the call, while a signal handler waits or by a thread.
    try:
        call(set_unless_done, future)
    except RuntimeError:
        if not loop.is_closed():
            raise


def set_unless_done(future):
    if not future.done():
        future.set_result(None)


def run_loop():
    """In the main greenlet: it polls by itself when there is nothing else to do."""
    global raising, loop_now
    raising = False
    loop_now = loop = EventLoop()
    loop.set_debug(dice.random() < 0.3)  # otherwise handles are reused
    loop.set_exception_handler(report_of_loop)
    try:
        raising = True
        loop.run_until_complete(run_all(loop))
    except RuntimeError:
        if os.getpid() != parent:
            gevlite.sleep(60)  # a loop of asyncio does not run in the child: leave the work to the greenlet that forked
        raise
    finally:
        raising = False
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        loop_now = None
        loop.close()


async def run_all(loop):
    await asyncio.gather(*[coroutine(loop) for _ in range(dice.randrange(6))], return_exceptions=True)


def handler(number, frame):
    busy = len(begun["handler"]) - len(ended["handler"]) >= HANDLERS
    if time.monotonic() > end or busy or frame is not None and frame.f_code in COUNT:
        return
    if forking:
        return  # if a function that os.fork() calls raises, the exception and the rest of its work are dropped
    with counted("handler"):
        if dice.random() < 0.5:
            pause()
        if dice.random() < 0.02:
            fork()
        if dice.random() < 0.05 and gevlite.getcurrent() is hub.parent and raising and not breaks(frame):
            begun.count("raised")
            raise Interrupted


def fork():
    global forking
    if os.getpid() != parent or len(forked) >= FORKS or len(forked) - len(reaped) > 3:
        return
    if type(gevlite.getcurrent()).__name__ in ("Hub", "_Runner"):
        return  # the program would go on in the child
    if forking:
        return  # os.fork() holds locks of other modules while a destructor waits in the middle of it
    forking = True
    pid = os.fork()
    forking = False
    if pid:
        forked.append(pid)
        return
    # The child: whichever greenlets continue, it works and ends.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 30)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    status = 9
    try:
        gevlite.joinall([gevlite.spawn(gevlite.sleep, 0.001) for _ in range(3)])
        done = Event()
        hub.call_soon(lambda: (gevlite.sleep(0.001), done.set()))
        assert done.wait(20)
        status = 7
    except (gevlite.GreenletExit, Interrupted):
        status = 7  # an exception that the parent had pending for the greenlet that forked
    finally:
        os._exit(status)


def breaks(frame):
    """True if an exception in this frame would leave something half done, for which asyncio waits for ever."""
    if loop_now is not None and frame.f_code.co_filename != handler.__code__.co_filename:
        if frame.f_code is not EventLoop.run_until_complete.__code__ or not loop_now.is_running():
            return True
    while frame is not None:
        if loop_now is not None and frame.f_code is handler.__code__:
            return True  # the exception would go on to the code that this has interrupted
        frame = frame.f_back
    return False


# No exception may be raised in the middle of this code, or something that has begun is never counted as ended.
COUNT = {
    f.__code__
    for f in (
        Counts.count,
        Counts.__missing__,
        counted.__enter__,
        counted.__exit__,
        Waits.__del__,
        callback,
        worker,
        coroutine,
        fork,
        set_unless_done,
        report_of_loop,
        report,
        handler,
    )
}


def reap():
    if os.getpid() != parent:
        gevlite.sleep(60)
    for pid in [pid for pid in forked if pid not in reaped]:
        try:
            got, status = gevlite_os.waitpid(pid, 0)
        except ChildProcessError:
            assert os.getpid() != parent
            gevlite.sleep(60)
        reaped.append(pid)
        if os.waitstatus_to_exitcode(status) != 7:
            ends_badly.append(status)


def shoot():
    """From another thread, at any moment."""
    while shooting:
        time.sleep(shots.random() / 200)
        os.kill(parent, signal.SIGUSR1)
        if for_thread:
            future = for_thread.pop()
            loop = future.get_loop()
            unless_closed(loop, loop.call_soon_threadsafe, future)


def wait_for(condition, what):
    limit = time.monotonic() + 30
    while not condition():
        if time.monotonic() > limit:
            for w in hub.parked_waiters():
                print(w.parked, w, file=sys.stderr)
            raise AssertionError(f"{what}: {begun} {ended} {hub.stats()}")
        gevlite.sleep(0.001)


def living(workers):
    # Not where it is called, in a `try`: no handler of CPython covers the jump back of a comprehension (PEP 709).
    return [g for g in workers if g][-20:]


hub.handle_error = lambda context, kind, value, tb: report(context, value)
sys.unraisablehook = lambda found: report(found.object, found.exc_value)
signal.signal(signal.SIGALRM, handler)
signal.signal(signal.SIGUSR1, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.007)
shots = random.Random(seed + 1)
shooter = threading.Thread(target=shoot, daemon=ends_early)
raising = False
shooting = True
shooter.start()
gc.set_threshold(20, 2, 2)
workers = []
if ends_early:
    stop, end = end, end + 10  # signals go on coming while the interpreter ends
else:
    stop = end
while time.monotonic() < stop:
    raising = True
    try:
        pause()
        workers = living(workers)
        workers += [gevlite.spawn(worker) for _ in range(dice.randrange(4))]
        if workers and dice.random() < 0.3:
            dice.choice(workers).kill(block=dice.random() < 0.5)
        hub.call_later(dice.random() / 1000, callback)
        gevlite.spawn_raw(worker)
        if dice.random() < 0.3:
            run_loop()
    except Interrupted:
        ended.count("raised")
    raising = False
    reap()
if ends_early:
    ending = dice.randrange(6)
    if ending == 0:
        sys.exit()
    elif ending == 1:
        gevlite.spawn(sys.exit).join()
    elif ending == 2:
        hub.call_soon(sys.exit)
        gevlite.sleep(10)
    elif ending == 3:
        threading.Thread(target=gevlite.sleep, args=(0.001,)).start()
    elif ending == 4:
        loop = EventLoop()
        loop.call_later(dice.random() / 100, sys.exit)
        loop.run_forever()
    # The checks at the end of this module are not for this way: it simply ends here.
    raise SystemExit
signal.setitimer(signal.ITIMER_REAL, 0)
shooting = False  # only now: a loop that begins late has futures for that thread, too
while shooter.is_alive():
    gevlite.sleep(0.001)
shooter.join()
gc.set_threshold(700, 10, 10)
wait_for(lambda: len(begun["handler"]) == len(ended["handler"]), "handlers")
reap()
for _ in range(3):
    gc.collect()
    wait_for(lambda: hub.stats()["ready"] == 0 and hub.stats()["parked"] == 0 and hub.stats()["timers"] == 0, "the hub")
reap()  # workers have gone on, and may have forked
while not queue.empty():
    queue.get()
    ended.count("item")
assert len(begun["item"]) >= len(ended["item"])  # a greenlet killed in the middle of get() may have had one
for kind in ("callback", "destructor", "handler", "greenlet", "coroutine"):
    assert len(begun[kind]) == len(ended[kind]), (kind, begun, ended)
assert sorted(forked) == sorted(reaped), (forked, reaped)
assert not ends_badly, ends_badly
assert not problems, problems
stats = hub.stats()
assert stats["greenlets"] == 0 and stats["fd_waiters"] == 0 and stats["refs"] == 0, stats
hub.destroy()
gevlite.sleep(0.001)
print(begun, len(forked), "forks")
