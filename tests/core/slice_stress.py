"""Code written for threads, in a patched process, with time slices of a millisecond: its assumptions hold.

    python slice_stress.py SECONDS SEED [SLICE]

Every job below is correct with OS threads, and most would be wrong if they were interrupted without the locks that they
take. Many run at the same time, in random order and number, until the time is over; some are killed or time out in the
middle of a calculation. A failure names the seed, the job and what it found.
"""

from gevlite import monkey

if not monkey.is_module_patched("threading"):
    monkey.patch_all()

import asyncio
import collections
import concurrent.futures
import contextvars
import gc
import importlib
import io
import logging
import os
import queue
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import gevlite
import gevlite.queue
from gevlite.pool import Pool

seconds, seed = float(sys.argv[1]), int(sys.argv[2])
gevlite.config.time_slice = float(sys.argv[3]) if len(sys.argv) > 3 else 0.001
dice = random.Random(seed)
end = time.monotonic() + seconds
problems = []
done = collections.Counter()
pace = 0.004  # seconds of calculation in one go, at most


def compute(most=pace):
    """Stands for the work between two lines that matter. Returns a value, so that nothing is optimised away."""
    until = time.perf_counter() + random.random() * most
    total = 0
    while time.perf_counter() < until:
        for i in range(100):
            total += i
    return total


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def threads(count, target, *arguments):
    """Run it so many times at once; an error of any of them is raised here."""
    errors = []

    def run(number):
        try:
            target(number, *arguments)
        except BaseException as exc:
            errors.append(exc)

    started = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if errors:
        raise errors[0]


# ---------------------------------------------------------------- the jobs


class Account:
    """Two fields that belong together."""

    def __init__(self, lock):
        self.lock = lock
        self.one = self.two = 0

    def move(self):
        with self.lock:
            one = self.one
            compute(0.003)
            self.one = one + 1
            two = self.two
            compute(0.001)
            self.two = two - 1
            check(self.one == -self.two, f"{self.one} and {self.two} under a lock")


def counters(dice):
    """Read, compute, write, under each kind of lock."""
    account = Account(dice.choice([threading.Lock, threading.RLock, threading.Condition, gevlite.lock.RLock])())
    n, times = dice.randrange(2, 6), dice.randrange(1, 8)

    def run(number):
        for _ in range(times):
            account.move()

    threads(n, run)
    check(account.one == n * times, f"{account.one} of {n * times} counted")


def turns(dice):
    """A Condition hands a turn round."""
    n, rounds = dice.randrange(2, 5), dice.randrange(1, 6)
    condition = threading.Condition()
    turn, log = [0], []

    def run(number):
        for _ in range(rounds):
            with condition:
                check(condition.wait_for(lambda: turn[0] % n == number, 30), "it was never this one's turn")
                log.append(turn[0])
                compute(0.002)
                turn[0] += 1
                condition.notify_all()

    threads(n, run)
    check(log == list(range(n * rounds)), f"turns {log}")


class Item:
    """Ordered by code in Python."""

    def __init__(self, value):
        self.value = value

    def __lt__(self, other):
        compute(0.0005)
        return self.value < other.value


QUEUES = (
    lambda room: queue.Queue(room),
    lambda room: queue.LifoQueue(room),
    lambda room: queue.PriorityQueue(room),
    lambda room: queue.SimpleQueue(),
    lambda room: gevlite.queue.Queue(room),
    lambda room: gevlite.queue.PriorityQueue(room),
    lambda room: gevlite.queue.Channel(),
)


class Slow(gevlite.queue.Queue):
    """One whose own methods are interrupted."""

    def _init(self, maxsize):
        self.queue = []

    def _put(self, item):
        compute(0.001)
        self.queue.append(item)

    def _get(self):
        item = self.queue[0]
        compute(0.001)
        check(self.queue.pop(0) is item, "a queue's own method was interrupted")
        return item

    def _qsize(self):
        return len(self.queue)


def queues(dice):
    """Each item comes out once; none is lost."""
    made = dice.choice((*QUEUES, Slow))(dice.randrange(1, 4))
    producers, consumers, each = dice.randrange(1, 4), dice.randrange(1, 4), dice.randrange(1, 12)
    got = []

    def produce(number):
        for i in range(each):
            made.put(Item(number * 1000 + i))
            compute(0.001)

    def consume(number):
        while (item := made.get()).value < 10**9:
            got.append(item.value)
            compute(0.001)

    def run(number):
        if number:
            consume(number)
            return
        threads(producers, produce)
        for _ in range(consumers):
            made.put(Item(10**9))

    threads(1 + consumers, run)
    wanted = [number * 1000 + i for number in range(producers) for i in range(each)]
    if sorted(got) != wanted:
        # A LIFO queue may give the end marker to a consumer before the last items, which are still in it.
        left = []
        while not made.empty():
            left.append(made.get().value)
        got += [value for value in left if value < 10**9]
    check(sorted(got) == wanted, f"{type(made).__name__}: put {wanted}, got {sorted(got)}")


def executors(dice):
    """Futures of functions that compute, nested too."""
    with concurrent.futures.ThreadPoolExecutor(dice.randrange(2, 5)) as executor:

        def square(i):
            compute(0.002)
            return i * i

        n = dice.randrange(1, 20)
        check(list(executor.map(square, range(n))) == [i * i for i in range(n)], "map")
        futures = {executor.submit(square, i): i for i in range(n)}
        for future in concurrent.futures.as_completed(futures, 60):
            check(future.result() == futures[future] ** 2, "as_completed")


def pools(dice):
    """gevlite's own."""
    pool = Pool(dice.randrange(1, 4))
    running, most = [0], [0]

    def work(i):
        running[0] += 1
        most[0] = max(most[0], running[0])
        compute(0.002)
        running[0] -= 1
        return i

    n = dice.randrange(1, 15)
    check(sorted(pool.imap_unordered(work, range(n))) == list(range(n)), "imap_unordered")
    check(most[0] <= pool.size, f"{most[0]} in a pool of {pool.size}")
    check(running[0] == 0, "all have ended")


def semaphores(dice):
    """No more than fit, with each primitive of threading."""
    room = dice.randrange(1, 4)
    places = threading.BoundedSemaphore(room)
    inside, guard = [0], threading.Lock()
    barrier = threading.Barrier(4)
    passed = threading.Event()
    order = []

    def run(number):
        for _ in range(3):
            with places:
                with guard:
                    inside[0] += 1
                    check(inside[0] <= room, f"{inside[0]} at {room} places")
                compute(0.002)
                with guard:
                    inside[0] -= 1
        order.append(1)
        barrier.wait(30)
        check(len(order) == 4, "the barrier let one pass alone")
        if number == 0:
            passed.set()
        check(passed.wait(30), "the event was not set")

    threads(4, run)


local = threading.local()
variable = contextvars.ContextVar("variable", default=None)


class Local(threading.local):
    def __init__(self):
        compute(0.001)
        self.mine = threading.get_ident()


own = Local()


def locals_(dice):
    """What belongs to a thread stays with it."""

    def run(number):
        local.value = number
        token = variable.set(number)
        for _ in range(5):
            compute(0.002)
            check(local.value == number and variable.get() == number, "a local or a context variable")
            check(own.mine == threading.get_ident(), "a local with an __init__")
        variable.reset(token)
        try:
            raise KeyError(number)
        except KeyError:
            compute(0.003)
            check(sys.exc_info()[1].args == (number,), "the exception that is handled")

    threads(4, run)


def echo(dice):
    """Lines over TCP, by files made of sockets."""
    n, lines = dice.randrange(1, 4), dice.randrange(1, 10)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection):
            with connection, connection.makefile("rw", encoding="utf-8", newline="\n") as file:
                for line in file:
                    compute(0.001)
                    file.write(line.upper())
                    file.flush()

        def accept():
            started = []
            for _ in range(n):
                connection, _ = listener.accept()
                started.append(threading.Thread(target=serve, args=(connection,)))
                started[-1].start()
            for thread in started:
                thread.join()

        def ask(number):
            with (
                socket.create_connection(listener.getsockname(), 30) as connection,
                connection.makefile("rw", encoding="utf-8", newline="\n") as file,
            ):
                for i in range(lines):
                    text = f"client {number} line {i} " + "x" * (5000 if i == 1 else 10)
                    file.write(text + "\n")
                    file.flush()
                    compute(0.001)
                    check(file.readline() == text.upper() + "\n", "an answer")

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        threads(n, ask)
        acceptor.join()


def shared_files(dice):
    """Threads write lines to one buffered file, and log records to one handler."""
    with tempfile.TemporaryFile("w+b") as file:
        lock = threading.Lock()

        def write(number):
            for i in range(10):
                file.write(b"%d %d\n" % (number, i))
                compute(0.0005)

        threads(3, write)
        file.seek(0)
        got = sorted(file.read().split(b"\n")[:-1])
        check(got == sorted(b"%d %d" % (a, b) for a in range(3) for b in range(10)), "lines of a file")
        del lock
    stream = io.StringIO()
    logger = logging.Logger("stress")
    logger.addHandler(logging.StreamHandler(stream))

    class Late:
        def __str__(self):
            compute(0.001)
            return "late"

    def log(number):
        for i in range(5):
            logger.warning("%s %s %s", number, i, Late())

    threads(3, log)
    got = sorted(stream.getvalue().splitlines())
    check(got == sorted(f"{a} {b} late" for a in range(3) for b in range(5)), "records of a log")


def processes(dice):
    """Children are started and waited for in the middle of it."""
    text = os.urandom(dice.randrange(1, 100_000)).hex().encode()

    def run(number):
        result = subprocess.run(["cat"], input=text, capture_output=True, timeout=60)
        check(result.stdout == text, "what cat has written")

    threads(2, run)


FOLDER = tempfile.TemporaryDirectory(prefix="slice-stress-")
sys.path.insert(0, FOLDER.name)
modules = [0]


def imports(dice):
    """A module is imported once, even if many import it at the same time."""
    modules[0] += 1
    name = f"made_{modules[0]}"
    with open(os.path.join(FOLDER.name, f"{name}.py"), "w") as file:
        file.write("import __main__\n__main__.begun.append(__name__)\n__main__.compute(0.005)\ncomplete = True\n")
    importlib.invalidate_caches()

    def run(number):
        compute(0.001)
        check(importlib.import_module(name).complete, "a module that is half imported")

    threads(3, run)
    check(begun.count(name) == 1, f"{name} was imported {begun.count(name)} times")
    del sys.modules[name]
    begun.remove(name)
    os.remove(os.path.join(FOLDER.name, f"{name}.py"))


begun = []


class Interrupted(gevlite.GreenletExit):
    pass


def interrupted(dice):
    """A greenlet that is killed or times out in a calculation releases its lock."""
    lock = threading.Lock()
    entered, left = [0], [0]
    state = [0, 0]

    def spin():
        with lock:
            entered[0] += 1
            try:
                while True:
                    state[0] += 1
                    compute(0.001)
                    state[1] = state[0]
            finally:
                left[0] += 1

    def limited():
        try:
            with gevlite.Timeout(dice.random() / 50):
                spin()
        except gevlite.Timeout:
            pass

    jobs = [gevlite.spawn(limited) for _ in range(dice.randrange(1, 3))]
    jobs += [gevlite.spawn(spin) for _ in range(dice.randrange(1, 3))]
    for job in jobs[-1:]:
        gevlite.sleep(dice.random() / 50)
        job.kill(Interrupted, timeout=30)
    gevlite.killall(jobs, timeout=30)
    check(all(job.ready() for job in jobs), "one that spins was killed")
    check(not lock.locked(), "the lock is free")
    check(entered[0] == left[0], "what was entered was left")


def collected(dice):
    """Destructors and the callbacks of weak references take locks."""
    lock = threading.Lock()
    log = []

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            with lock:
                n = len(log)
                compute(0.001)
                log.append(n)

    def run(number):
        for _ in range(4):
            Cycle()
            compute(0.002)

    threads(2, run)
    gc.collect()
    # Some may have been collected by another job's thread and wait for the lock.
    until = time.monotonic() + 30
    while len(log) < 8 and time.monotonic() < until:
        time.sleep(0.001)
    check(log == list(range(8)), f"destructors {log}")


def coroutines(dice):
    """A loop in each of two threads; their coroutines compute."""

    async def work(i):
        compute(0.002)
        await asyncio.sleep(0)
        check(asyncio.get_running_loop() is asyncio.get_event_loop(), "the running loop")
        compute(0.002)
        return i

    async def all_of_it():
        task = asyncio.current_task()
        found = await asyncio.gather(*[work(i) for i in range(5)])
        compute(0.001)
        check(asyncio.current_task() is task, "the current task")
        return found

    def run(number):
        check(asyncio.run(all_of_it()) == list(range(5)), "gather")

    threads(2, run)


class Peace:
    """Two fields without a lock, in `uninterrupted`."""

    one = two = 0


def peaceful(dice):
    def run(number):
        for _ in range(5):
            with gevlite.uninterrupted():
                one = Peace.one
                compute(0.004)
                Peace.one = one + 1
                Peace.two = Peace.two - 1
            compute(0.001)

    def alone(number):
        decorated()

    @gevlite.uninterrupted
    def decorated():
        one = Peace.one
        compute(0.004)
        Peace.one = one + 1
        Peace.two = Peace.two - 1

    threads(3, run)
    threads(2, alone)
    check(Peace.one == -Peace.two, "fields that belong together, in peace")
    counted[0] += 17


counted = [0]

JOBS = (
    counters, turns, queues, queues, executors, pools, semaphores, locals_, echo, shared_files, processes, imports,
    interrupted, collected, coroutines, peaceful,
)  # fmt: skip


# ---------------------------------------------------------------- running them


def work(number):
    mine = random.Random(seed * 1000 + number)
    while time.monotonic() < end and not problems:
        job = mine.choice(JOBS)
        try:
            job(mine)
        except BaseException as exc:
            problems.append((job.__name__, exc))
        done[job.__name__] += 1


def watch():
    """A hang is a failure, too."""
    last, since = None, time.monotonic()
    while True:
        now = sum(done.values())
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 60:
            gevlite.util.print_run_info()
            os._exit(3)
        time.sleep(0.5)


def main():
    sys.unraisablehook = lambda found: problems.append((repr(found.object), found.exc_value))
    gc.set_threshold(200, 5, 5)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # with -X dev it reports slow callbacks
    watching = gevlite.spawn(watch)
    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    # The test is useless without time slices, so check that they work: two greenlets that spin see each other run.
    seen = [0, 0]
    until = time.monotonic() + 30

    def spin(me):
        while min(seen) < 3 and time.monotonic() < until:
            seen[me] += 1
            for _ in range(10_000):
                pass

    threads(2, spin)
    check(min(seen) >= 3, f"no time slices: {seen}")
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    watching.kill()
    gc.collect()
    for name, exc in problems:
        print(f"{name}, seed {seed}:", file=sys.stderr)
        traceback.print_exception(exc)
    if not problems:
        check(Peace.one == counted[0], f"{Peace.one} of {counted[0]} in peace")
    stats = gevlite.get_hub().stats()
    print(sum(done.values()), "jobs", dict(done), {k: stats[k] for k in stats if k in ("slices", "switches")})
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
