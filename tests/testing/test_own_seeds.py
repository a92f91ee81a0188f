"""gevlite's own primitives, pools, queues, sockets and servers in many orders: their promises must hold in all.

Each function is a small program that asserts the promises of one thing, in whatever order its greenlets run. By hand,
under more seeds:

    GEVLITE_SEEDS=5000 python -m pytest tests/testing/test_own_seeds.py -o timeout=0
"""

import contextlib
import os

import pytest

import gevlite
from gevlite import GreenletExit, spawn
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, RLock
from gevlite.pool import Group, Pool
from gevlite.queue import Channel, Empty, JoinableQueue, LifoQueue, PriorityQueue, Queue, ShutDown
from gevlite.server import StreamServer
from gevlite.socket import create_connection, socketpair
from gevlite.testing import explore
from gevlite.threading import Lock
from gevlite.threadpool import ThreadPool

# Hundreds of runs: they take long while other suites run.
pytestmark = pytest.mark.timeout(240)

SEEDS = int(os.environ.get("GEVLITE_SEEDS", "200"))
PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


@pytest.mark.parametrize("function", PROGRAMS, ids=lambda function: function.__name__)
def test_in_many_orders(function):
    explored = explore(function, seeds=SEEDS, steps=20_000, strict=True)
    assert explored.runs == SEEDS and explored.schedules > 1


def all_of(*jobs):
    gevlite.joinall(jobs, raise_error=True)


# ---------------------------------------------------------------- events and results


@program
def events():
    """A greenlet that waits when it is set goes on; one that comes when it is clear waits."""
    event, log = Event(), []

    def wait(number):
        assert event.wait()
        log.append(number)

    early = [spawn(wait, number) for number in range(3)]
    setter = spawn(event.set)
    all_of(*early, setter)
    event.clear()
    late = spawn(wait, 9)
    gevlite.idle()
    assert sorted(log) == [0, 1, 2] and not late.ready()
    event.set()
    late.join()
    assert not Event().wait(0)


@program
def event_pulses():
    """set() and clear() in one go wake all that wait at that moment."""
    event, woken = Event(), []
    jobs = [spawn(lambda n=n: woken.append((event.wait(), n))) for n in range(3)]
    gevlite.idle()
    event.set()
    event.clear()
    all_of(*jobs)
    assert sorted(woken) == [(True, 0), (True, 1), (True, 2)]


@program
def results():
    """One value for all, before and after it is there; a kill takes nothing away."""
    result, seen = AsyncResult(), []
    jobs = [spawn(lambda: seen.append(result.get())) for _ in range(3)]
    victim = spawn(result.get)
    spawn(lambda: victim.kill(block=False))
    setter = spawn(result.set, "value")
    all_of(*jobs, setter)
    victim.join()
    assert seen == ["value"] * 3 and result.get() == "value"
    assert victim.value == "value" or isinstance(victim.value, GreenletExit)


@program
def links():
    """Links run before waiters, and each is called once."""
    calls, over = [], Event()
    job = spawn(over.wait)
    job.rawlink(lambda _: calls.append("raw"))
    job.link(lambda _: calls.append("link"))
    taken_back = calls.append
    job.rawlink(taken_back)
    job.unlink(taken_back)

    def join():
        job.join()
        assert calls == ["raw", "link"]

    all_of(spawn(join), spawn(join), spawn(over.set), spawn(join))


@program
def links_of_what_has_ended():
    """Links made before a `join` have run when it returns, even if that finds the greenlet ended."""
    calls = []
    job = spawn(int)
    job.rawlink(lambda _: calls.append("raw"))
    job.link(lambda _: calls.append("link"))

    def check(wait):
        wait()
        assert calls == ["raw", "link"], wait

    waits = [job.join, job.get, lambda: gevlite.joinall([job]), lambda: gevlite.wait([job])]
    waits.append(lambda: next(iter(gevlite.iwait([job]))))
    all_of(*[spawn(check, wait) for wait in waits])


# ---------------------------------------------------------------- locks


@program
def semaphores():
    """Never more inside than there are places; and all places are free at the end, however a wait ends."""
    places, inside, most = BoundedSemaphore(2), [0], [0]

    def work():
        with places:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            gevlite.sleep(0)
            inside[0] -= 1

    def hurried():
        with contextlib.suppress(gevlite.Timeout), gevlite.Timeout(0.0002):
            if places.acquire():
                places.release()

    jobs = [spawn(work) for _ in range(4)]
    victims = [spawn(work) for _ in range(2)]
    killers = [spawn(victim.kill) for victim in victims]
    all_of(*jobs, *killers, spawn(hurried))
    gevlite.joinall(victims)
    # A killed one has given its place back, but not counted down.
    assert most[0] <= 2 + len(victims) and places.counter == 2 and places.linkcount() == 0


@program
def locks():
    """One at a time, each in its turn; a wait that is killed does not lose the lock."""
    lock, inside, served = Lock(), [], []

    def work(number):
        with lock:
            assert not inside
            inside.append(number)
            try:
                gevlite.sleep(0)
            finally:
                inside.remove(number)
            served.append(number)

    lock.acquire()
    jobs = [spawn(work, number) for number in range(4)]
    gevlite.idle()
    killer, giver = spawn(jobs[1].kill), spawn(lock.release)
    gevlite.joinall([*jobs, killer, giver])
    assert {0, 2, 3} <= set(served) and len(served) <= 4
    assert lock.acquire(blocking=False)


@program
def reentrant_locks():
    lock, log = RLock(), []

    def work(name):
        with lock:
            log.append(name)
            gevlite.sleep(0)
            with lock:
                log.append(name)
                gevlite.sleep(0)
            log.append(name)

    all_of(*[spawn(work, name) for name in "abc"])
    assert [log[i] == log[i + 1] == log[i + 2] for i in (0, 3, 6)] == [True] * 3


# ---------------------------------------------------------------- queues


def through(queue, producers=2, consumers=2, each=3):
    """All that is put in comes out once."""
    got = []

    def produce(number):
        for item in range(each):
            queue.put((number, item))

    def consume():
        while True:
            try:
                item = queue.get()
            except ShutDown:
                return
            got.append(item)

    makers = [spawn(produce, number) for number in range(producers)]
    takers = [spawn(consume) for _ in range(consumers)]
    all_of(*makers)
    gevlite.idle()
    gevlite.killall(takers)
    assert sorted(got) == [(n, i) for n in range(producers) for i in range(each)]
    if consumers == 1:
        for number in range(producers):
            mine = [item for n, item in got if n == number]
            assert len(mine) == each
            if not isinstance(queue, LifoQueue):
                assert mine == list(range(each))


@program
def queues_without_a_limit():
    through(Queue())


@program
def queues_with_a_limit():
    through(Queue(1))


@program
def queues_with_one_consumer():
    through(Queue(2), consumers=1)


@program
def queues_last_in_first_out():
    through(LifoQueue(2), consumers=1)


@program
def queues_of_priorities():
    through(PriorityQueue(2))


@program
def channels():
    through(Channel())


@program
def queues_lose_nothing_to_kills():
    """An item goes to one that takes it, or stays: it is never lost with one that is killed or times out."""
    queue, got = Queue(2), []

    def take():
        got.append(queue.get())

    def hurried():
        with contextlib.suppress(Empty):
            got.append(queue.get(timeout=0.0002))

    def put(item):
        queue.put(item)
        got_in.append(item)

    got_in = []
    takers = [spawn(take) for _ in range(3)]
    putters = [spawn(put, item) for item in range(5)]
    killers = [spawn(job.kill) for job in (*takers[:2], *putters[:2])]
    gevlite.joinall([*killers, spawn(hurried)])
    gevlite.idle()
    left = []
    with contextlib.suppress(Empty):
        while True:
            left.append(queue.get_nowait())
            gevlite.idle()
    gevlite.joinall(putters)
    gevlite.killall(takers)
    # One that was killed between its turn and its next line has put, or taken, without recording it.
    known = set(got) | set(left)
    assert len(got) + len(left) == len(known)
    assert set(got_in) - known <= set(range(5)) and len(set(got_in) - known) <= 2


@program
def queues_join():
    queue, done = JoinableQueue(), []

    def work():
        while True:
            item = queue.get()
            gevlite.sleep(0)
            done.append(item)
            queue.task_done()

    workers = [spawn(work) for _ in range(2)]
    for item in range(4):
        queue.put(item)
    queue.join()
    assert sorted(done) == [0, 1, 2, 3]
    gevlite.killall(workers)


@program
def queues_shut_down():
    """Waiters of a queue that is shut down get an error; the items in it can still be taken."""
    queue, outcomes = Queue(1), []

    def put(item):
        try:
            queue.put(item)
            outcomes.append(("in", item))
        except ShutDown:
            outcomes.append(("refused", item))

    def take():
        try:
            outcomes.append(("out", queue.get()))
        except ShutDown:
            outcomes.append(("nothing", None))

    all_of(*[spawn(put, n) for n in range(3)], spawn(take), spawn(queue.shutdown), spawn(take), spawn(take))
    assert len(outcomes) == 6
    assert len([o for o in outcomes if o[0] == "in"]) - len([o for o in outcomes if o[0] == "out"]) == len(queue)
    with pytest.raises(ShutDown):
        queue.put(1)


@program
def queues_peek():
    queue, seen = Queue(), []
    peekers = [spawn(lambda: seen.append(queue.peek())) for _ in range(2)]
    gevlite.idle()
    queue.put("item")
    gevlite.joinall(peekers)
    assert seen == ["item"] * 2 and queue.get_nowait() == "item"


# ---------------------------------------------------------------- greenlets and groups


@program
def kills():
    """A killed greenlet ends, once, also if it is killed twice, has not begun or is about to go on."""
    ended, go = [], Event()

    def work(number):
        try:
            go.wait()
        finally:
            ended.append(number)

    jobs = [spawn(work, number) for number in range(4)]
    spawn(go.set)
    killers = [spawn(job.kill) for job in jobs] + [spawn(job.kill) for job in jobs]
    gevlite.joinall(jobs + killers)
    assert len(ended) == len(set(ended)) and all(job.dead for job in jobs)


@program
def time_outs():
    """A Timeout ends its own block only, and not one that is over."""
    outcomes = []

    def work():
        with gevlite.Timeout(0.0003, False):
            with gevlite.Timeout(10):
                gevlite.sleep(5)
            outcomes.append("never")
        gevlite.sleep(0)
        gevlite.sleep(0.0005)
        outcomes.append("after")

    all_of(spawn(work), spawn(work))
    assert outcomes == ["after"] * 2


@program
def joins():
    """`joinall` returns all in the order in which they ended; `iwait` yields each once."""
    ended, finished = [], []

    def work(number):
        for _ in range(number):
            gevlite.sleep(0)
        ended.append(number)

    jobs = [spawn(work, number) for number in range(4)]
    for number, job in enumerate(jobs):
        job.rawlink(lambda _, number=number: finished.append(number))
    first = spawn(gevlite.joinall, jobs, None, False, 2)
    each = spawn(lambda: list(gevlite.iwait(jobs)))
    found = gevlite.joinall(jobs)
    assert [jobs.index(job) for job in found] == ended == finished
    assert len(first.get()) == 2 and sorted(map(id, each.get())) == sorted(map(id, jobs))


@program
def groups():
    group, done = Group(), []

    def work(number):
        gevlite.sleep(0)
        done.append(number)
        if number < 2:
            group.spawn(work, number + 2)

    for number in range(2):
        group.spawn(work, number)
    assert group.join() is True and sorted(done) == [0, 1, 2, 3] and len(group) == 0
    assert group.map(str, [1, 2, 3]) == ["1", "2", "3"]
    stays = group.spawn(Event().wait)
    group.kill()
    assert stays.dead


@program
def pools():
    """Never more members than places; a place is free when its member has ended."""
    pool, inside, most = Pool(2), [0], [0]

    def work(number):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        gevlite.sleep(0)
        inside[0] -= 1
        return number * 2

    assert pool.map(work, range(5)) == [0, 2, 4, 6, 8]
    assert sorted(pool.imap_unordered(work, range(4))) == [0, 2, 4, 6]
    assert list(pool.imap(work, range(4), maxsize=2)) == [0, 2, 4, 6]
    waits = spawn(pool.spawn, work, 1)
    waits.get().join()
    pool.join()
    assert most[0] <= 2 and pool.free_count() == 2


@program
def pools_and_kills():
    pool, started = Pool(1), []

    def work(number):
        started.append(number)
        gevlite.sleep(0)

    waiting = [spawn(pool.spawn, work, number) for number in range(4)]
    killers = [spawn(waiting[number].kill) for number in (1, 2)]
    gevlite.joinall(waiting + killers)
    pool.join()
    assert pool.free_count() == 1 and {0, 3} <= set(started) and len(started) == len(set(started))


@program
def task_groups():
    """One that fails ends the others, and its error is raised."""
    ended = []

    def stays():
        try:
            Event().wait()
        finally:
            ended.append(1)

    def fails():
        gevlite.sleep(0)
        raise KeyError("expected")

    with pytest.raises(ExceptionGroup) as caught, gevlite.TaskGroup() as tasks:
        tasks.spawn(stays)
        tasks.spawn(fails)
        tasks.spawn(stays)
    assert [type(error) for error in caught.value.exceptions] == [KeyError] and len(ended) in (0, 1, 2)


@program
def thread_pools():
    """We cannot choose which thread is faster, but the result must be right either way."""
    pool = ThreadPool(2)
    jobs = [spawn(pool.apply, divmod, (number, 2)) for number in range(3)]
    assert [job.get() for job in jobs] == [divmod(number, 2) for number in range(3)]
    pool.kill()


# ---------------------------------------------------------------- sockets and servers


@program
def sockets():
    """Bytes arrive once and in order, however many read and write."""
    mine, theirs = socketpair()
    got = []

    def write(name):
        for _ in range(3):
            mine.sendall(name * 4)

    def read():
        while True:
            data = theirs.recv(5)
            if not data:
                return
            got.append(data)

    with mine, theirs:
        readers = [spawn(read) for _ in range(2)]
        all_of(*[spawn(write, name) for name in (b"a", b"b")])
        mine.shutdown(1)
        all_of(*readers)
    assert sorted(b"".join(got)) == sorted(b"a" * 12 + b"b" * 12)


@program
def sockets_that_are_closed():
    """Waiters for a socket that is closed get an error; a time-out and a kill leave the others waiting."""
    mine, theirs = socketpair()
    outcomes = []

    def read(name, limit=None):
        try:
            with gevlite.Timeout(limit):
                outcomes.append((name, theirs.recv(1)))
        except gevlite.Timeout:
            outcomes.append((name, "late"))
        except OSError as exc:
            outcomes.append((name, type(exc).__name__))

    jobs = [spawn(read, "stays"), spawn(read, "hurried", 0.0002), spawn(read, "killed"), spawn(read, "stays")]
    gevlite.idle()
    jobs[2].kill()
    jobs[1].join()
    assert dict(outcomes) == {"hurried": "late"}
    spawn(theirs.close)
    all_of(*jobs)
    mine.close()
    assert sorted(outcomes) == [("hurried", "late"), ("stays", "OSError"), ("stays", "OSError")]


@program
def buffers_that_are_full():
    mine, theirs = socketpair()
    size = 600_000

    def write():
        mine.sendall(b"x" * size)
        mine.close()

    got = [0]

    def read():
        while data := theirs.recv(65536):
            got[0] += len(data)

    all_of(spawn(write), spawn(read), spawn(read))
    theirs.close()
    assert got[0] == size


@program
def servers():
    """Each connection is served once; `stop` ends what still waits."""
    served = []

    def handle(connection, address):
        served.append(connection.recv(10))
        connection.sendall(served[-1].upper())

    server = StreamServer(("127.0.0.1", 0), handle, spawn=2)
    server.start()

    def ask(name):
        with create_connection(("127.0.0.1", server.server_port)) as client:
            client.sendall(name)
            return client.recv(10)

    jobs = [spawn(ask, name) for name in (b"a", b"b", b"c")]
    assert [job.get() for job in jobs] == [b"A", b"B", b"C"]
    with create_connection(("127.0.0.1", server.server_port)) as idle:
        server.stop(timeout=0.001)
        assert idle.recv(1) == b""
    assert sorted(served)[-3:] == [b"a", b"b", b"c"]


@program
def web_servers():
    from gevlite.pywsgi import WSGIServer

    def application(environ, start_response):
        gevlite.sleep(0)
        start_response("200 OK", [("Content-Length", "5")])
        return [environ["PATH_INFO"].encode()]

    server = WSGIServer(("127.0.0.1", 0), application, log=None)
    server.start()

    def ask(path):
        with create_connection(("127.0.0.1", server.server_port)) as client:
            for _ in range(2):
                client.sendall(b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % path)
                answer = b""
                while not answer.endswith(path):
                    answer += client.recv(4096)

    all_of(spawn(ask, b"/aaaa"), spawn(ask, b"/bbbb"))
    server.stop()


@program
def coroutines():
    """Tasks on the hub: call_soon keeps its order, and greenlets run between them."""
    import asyncio

    import gevlite.asyncio

    order, ran = [], []

    async def main():
        loop = asyncio.get_running_loop()
        for number in range(4):
            loop.call_soon(order.append, number)
        queue = asyncio.Queue(1)

        async def produce():
            for item in range(4):
                await queue.put(item)

        async def consume():
            return [await queue.get() for _ in range(4)]

        job = gevlite.spawn(ran.append, 1)
        taken, _ = await asyncio.gather(consume(), produce())
        await job
        return taken

    assert gevlite.asyncio.run(main()) == [0, 1, 2, 3]
    assert order == [0, 1, 2, 3] and ran == [1]
