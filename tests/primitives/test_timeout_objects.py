"""A Timeout instead of a number, wherever a blocking call takes a timeout: it limits the call, and is raised."""

import contextlib
import threading

import pytest

import gevlite
from gevlite import Timeout, select, server, socket, subprocess
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, RLock, Semaphore
from gevlite.pool import Group, Pool, PoolFull
from gevlite.queue import Channel, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue
from gevlite.testing import VirtualClock
from gevlite.threadpool import ThreadPool


class Place:
    """Something that a test waits for in vain; `clean` ends it."""

    def __init__(self):
        self.greenlets = []
        self.cleanups = []

    def greenlet(self):
        g = gevlite.spawn(gevlite.sleep, 1000)
        self.greenlets.append(g)
        gevlite.sleep(0)
        return g

    def stubborn(self):
        may_end = []

        @gevlite.uninterrupted  # otherwise it may be killed outside of the `try`
        def run():
            while not may_end:
                try:
                    gevlite.sleep(1000)
                except gevlite.GreenletExit:
                    pass

        g = gevlite.spawn(run)
        self.cleanups.append(lambda: (may_end.append(True), g.kill()))
        gevlite.sleep(0)
        return g

    def sockets(self):
        pair = socket.socketpair()
        for one in pair:
            self.cleanups.append(one.close)
        return pair

    def watcher(self):
        return gevlite.get_hub().loop.io(self.sockets()[0].fileno(), 1)

    def full(self, cls):
        queue = cls(1)
        queue.put(1)
        return queue

    def taken(self, cls):
        lock = cls()
        lock.acquire()
        return lock

    def taken_rlock(self):
        lock = RLock()
        gevlite.spawn(lock.acquire).join()
        return lock

    def pool(self):
        pool = Pool(1)
        self.greenlets.append(pool.spawn(gevlite.sleep, 1000))
        return pool

    def child(self):
        child = subprocess.Popen(["sleep", "1000"])
        self.cleanups.append(lambda: (child.kill(), child.wait()))
        return child

    def threadpool(self):
        pool = ThreadPool(1)
        ended, may_end = Event(), threading.Event()
        result = pool.spawn(may_end.wait, 30)
        result.rawlink(lambda result: ended.set())
        self.cleanups.append(lambda: (may_end.set(), ended.wait(), pool.kill()))
        return pool

    def clean(self):
        gevlite.killall(self.greenlets)
        for cleanup in self.cleanups:
            cleanup()


@pytest.fixture(name="place")
def place_fixture():
    place = Place()
    yield place
    place.clean()


# Calls that raise the Timeout itself.
RAISING = {
    "AsyncResult.get": lambda p: AsyncResult().get,
    "AsyncResult.result": lambda p: AsyncResult().result,
    "Greenlet.get": lambda p: p.greenlet().get,
    "killall": lambda p: lambda timeout: gevlite.killall([p.stubborn()], timeout=timeout),
    "Queue.get": lambda p: Queue().get,
    "Queue.put": lambda p: lambda timeout: p.full(Queue).put(2, timeout=timeout),
    "Queue.peek": lambda p: Queue().peek,
    "SimpleQueue.get": lambda p: SimpleQueue().get,
    "LifoQueue.put": lambda p: lambda timeout: p.full(LifoQueue).put(2, timeout=timeout),
    "PriorityQueue.get": lambda p: PriorityQueue().get,
    "PriorityQueue.put": lambda p: lambda timeout: p.full(PriorityQueue).put(2, timeout=timeout),
    "Channel.get": lambda p: Channel().get,
    "Channel.put": lambda p: lambda timeout: Channel().put(1, timeout=timeout),
    "wait_read": lambda p: lambda timeout: socket.wait_read(p.sockets()[0], timeout=timeout),
    "wait": lambda p: lambda timeout: socket.wait(p.watcher(), timeout=timeout),
    "with_timeout": lambda p: lambda timeout: gevlite.with_timeout(timeout, gevlite.sleep, 1000),
}

# Calls that return this value when the time is over.
RETURNING = {
    "AsyncResult.wait": (lambda p: AsyncResult().wait, None),
    "Event.wait": (lambda p: Event().wait, False),
    "Semaphore.acquire": (lambda p: p.taken(Semaphore).acquire, False),
    "Semaphore.wait": (lambda p: p.taken(Semaphore).wait, 0),
    "BoundedSemaphore.acquire": (lambda p: p.taken(BoundedSemaphore).acquire, False),
    "RLock.acquire": (lambda p: p.taken_rlock().acquire, False),
    "JoinableQueue.join": (lambda p: p.full(JoinableQueue).join, False),
    "Greenlet.join": (lambda p: p.greenlet().join, None),
    "Greenlet.kill": (lambda p: p.stubborn().kill, None),
    "joinall": (lambda p: lambda timeout: gevlite.joinall([p.greenlet()], timeout), []),
    "wait": (lambda p: lambda timeout: gevlite.wait([p.greenlet(), Event()], timeout), []),
    "iwait": (lambda p: lambda timeout: list(gevlite.iwait([p.greenlet()], timeout)), []),
    "Pool.join": (lambda p: p.pool().join, False),
    "Pool.wait_available": (lambda p: p.pool().wait_available, 0),
    "Group.kill": (lambda p: Group([p.stubborn()]).kill, None),
    "ThreadPool.join": (lambda p: p.threadpool().join, False),
    "select": (lambda p: lambda timeout: select.select([p.sockets()[0]], [], [], timeout), ([], [], [])),
}


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("name", RAISING)
def test_the_timeout_that_was_given_is_raised(name, started, place, clock):
    call = RAISING[name](place)
    mine = Timeout(0.005)
    if started:
        mine.start()
    with pytest.raises(Timeout) as caught:
        call(timeout=mine)
    assert caught.value is mine and not mine.pending


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("name", RETURNING)
def test_a_call_that_says_so_by_what_it_returns_still_does(name, started, place):
    make, expected = RETURNING[name]
    call = make(place)
    # A virtual clock waits for the end of a call in a thread.
    with contextlib.nullcontext() if name == "ThreadPool.join" else VirtualClock():
        mine = Timeout(0.005)
        if started:
            mine.start()
        assert call(timeout=mine) == expected
        assert not mine.pending


@pytest.mark.parametrize("method", ["add", "start"])
def test_a_pool_is_full(method, place):
    with pytest.raises(PoolFull):
        getattr(place.pool(), method)(gevlite.Greenlet(), timeout=Timeout(0.001))


def test_a_childs_time_is_over(place):
    child = place.child()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=Timeout(0.001))
    with pytest.raises(subprocess.TimeoutExpired):
        child.communicate(timeout=Timeout(0.001))


def test_seconds_of_other_calls_may_be_a_timeout_too():
    gevlite.sleep(Timeout(0.001))
    a, b = socket.socketpair()
    with a, b:
        a.settimeout(Timeout(0.5))
        assert a.gettimeout() == 0.5
    s = server.StreamServer(("127.0.0.1", 0), lambda sock, address: None)
    s.start()
    s.stop(timeout=Timeout(0.001))
    assert gevlite.get_hub().join(timeout=Timeout(0.001)) in (True, False)
    assert Timeout(Timeout(5)).seconds == 5 and Timeout(Timeout(None)).seconds is None
    assert float(Timeout(3)) == 3 and float(Timeout(None)) == float("inf")
    with Timeout(1000) as t:
        assert 0 < float(t) <= 1000


def test_one_without_an_end_never_ends_the_call():
    event = Event()
    gevlite.spawn_later(0.002, event.set)
    assert event.wait(timeout=Timeout(None)) is True


def test_in_time_the_result_comes_and_one_that_was_not_started_is_cancelled(hub):
    queue = Queue()
    gevlite.spawn(queue.put, "item")
    mine = Timeout(1000)
    assert queue.get(timeout=mine) == "item" and not mine.pending
    result = AsyncResult()
    gevlite.spawn(result.set, 5)
    assert result.get(timeout=mine) == 5 and not mine.pending
    assert hub.stats()["timers"] == 0


@pytest.mark.uninterrupted  # the time must be over during a call, not between two
def test_one_that_runs_already_goes_on_and_limits_all_of_the_calls():
    queue = Queue()
    with pytest.raises(Timeout) as caught, Timeout(0.01) as mine:
        while True:
            gevlite.spawn_later(0.001, queue.put, "item")
            assert queue.get(timeout=mine) == "item"
    assert caught.value is mine
    assert queue.get() == "item"


def test_an_exception_that_it_raises_in_its_place_is_raised_in_any_case():
    error = KeyError("mine")
    for call in (AsyncResult().get, Event().wait, Queue().get):
        with pytest.raises(KeyError) as caught:
            call(timeout=Timeout(0.001, error))
        assert caught.value is error


def test_an_outer_timeout_is_not_taken_for_the_inner_one():
    for call in (AsyncResult().wait, AsyncResult().get, Event().wait, Queue().get, Semaphore(0).acquire):
        with pytest.raises(Timeout) as caught, Timeout(0.001) as outer:
            call(timeout=Timeout(1000))
        assert caught.value is outer


def test_a_non_blocking_call_does_not_look_at_it():
    mine = Timeout(0.001)
    assert Semaphore(0).acquire(False, mine) is False
    assert Event().wait(0) is False
    assert Semaphore(1).acquire(timeout=mine) is True
    assert mine.where is None
