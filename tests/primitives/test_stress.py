"""Threads, greenlets and primitives in random order: nothing is lost, nothing doubled, every greenlet ends.

A round makes one of each primitive, shared by a few OS threads with a hub each and by one without. Greenlets lock, put,
get, wait, join and spawn at random, with and without time-outs; others, of any thread, kill them. Invariants are
checked all the time (a lock lets one in, a semaphore no more than it has tokens) and at the end of a round: each item
put in came out once or is still there, those of one producer in their order, every token is back, the hubs hold what
they held before.

    GEVLITE_STRESS_SECONDS=120      go on that long; without it a short slice runs
    GEVLITE_STRESS_SEED=12345       begin with this round, the one a failure named

A seed fixes what each of them tries to do. The system decides when each thread gets its turn: a failure may need
several runs with the same seed.
"""

import os
import random
import sys
import threading
import time

import pytest

import gevlite
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, RLock, Semaphore
from gevlite.queue import Channel, Empty, Full, LifoQueue, PriorityQueue, Queue, SimpleQueue

SECONDS = float(os.environ.get("GEVLITE_STRESS_SECONDS", "2"))
SEED = os.environ.get("GEVLITE_STRESS_SEED")
ROUND_LIMIT = 60  # seconds after which a round hangs; it takes well below one
HELD = ("greenlets", "parked", "timers", "fd_waiters", "refs", "pending_throws", "unref_timers")


def held():
    stats = gevlite.get_hub().stats()
    return {name: stats[name] for name in HELD}


class Checked:
    """A lock or semaphore, and the greenlets inside."""

    def __init__(self, lock, limit):
        self.lock = lock
        self.limit = limit
        self.inside = []

    def use(self, timeout, pause):
        if not self.lock.acquire(timeout=timeout):
            return
        try:
            self.inside.append(None)
            assert len(self.inside) <= self.limit, f"{self.lock!r} let {len(self.inside)} in"
            pause()
            self.inside.pop()
        except BaseException:
            self.inside.pop()
            raise
        finally:
            self.lock.release()

    def check(self):
        assert not self.inside
        if isinstance(self.lock, RLock):
            assert not self.lock.locked()
        else:
            assert self.lock.counter == self.limit, self.lock
        assert "links=0" in repr(self.lock)


class Ledger:
    """A queue, and the items that were put and taken. An item is (producer, number)."""

    def __init__(self, queue):
        self.queue = queue
        self.put_in, self.got = [], []
        self.in_order = not isinstance(queue, (LifoQueue, PriorityQueue))
        self.counts = isinstance(queue, Queue)

    def put(self, item, block=True, timeout=None):
        try:
            self.queue.put(item, block, timeout)
        except Full:
            return
        self.put_in.append(item)

    def get(self, last, block=True, timeout=None):
        """`last`: the number of the latest item from each producer that this consumer has had."""
        try:
            item = self.queue.get(block, timeout)
        except Empty:
            return
        self.got.append(item)
        if self.counts:
            self.queue.task_done()
        if self.in_order:
            producer, number = item
            before = last.get((self, producer), -1)
            assert before < number, f"{self.queue!r}: {number} of {producer} came after {before}"
            last[self, producer] = number

    def peek(self, timeout):
        try:
            self.queue.peek(timeout=timeout)
        except Empty:
            pass

    def check(self):
        if isinstance(self.queue, Channel):
            assert self.queue.balance == 0
        else:
            assert not any(word in repr(self.queue) for word in ("getters", "putters", "peekers", "joiners"))
        last = {}
        for _ in range(len(self.put_in) + 1):
            self.get(last, block=False)
        assert sorted(self.got) == sorted(self.put_in), self.difference()
        if self.counts:
            assert self.queue.unfinished_tasks == 0 and self.queue.join(0)

    def difference(self):
        lost, made_up = sorted(set(self.put_in) - set(self.got)), sorted(set(self.got) - set(self.put_in))
        doubled = len(self.got) - len(set(self.got))
        return f"{self.queue!r}: lost {lost}, made up {made_up}, doubled {doubled}"


class Round:
    def __init__(self, seed):
        self.seed = seed
        chance = random.Random(seed)
        self.n_threads = chance.randint(1, 4)
        self.n_workers = chance.choice([2, 8, 20])  # at a time, in each thread
        self.n_starts = chance.choice([10, 40]) + self.n_workers
        self.n_steps = chance.choice([5, 20, 60])
        self.switch_interval = chance.choice([1e-6, 1e-4, 0.005])
        self.kills = chance.choice([0, 0.02, 0.2])
        self.size = chance.choice([1, 2, 7])
        tokens = chance.randint(1, 4)
        self.locks = [
            Checked(RLock(), 1),
            Checked(Semaphore(tokens), tokens),
            Checked(BoundedSemaphore(tokens), tokens),
        ]
        made = [Queue(), Queue(self.size), SimpleQueue(self.size), LifoQueue(self.size), PriorityQueue(self.size)]
        self.ledgers = [Ledger(queue) for queue in [*made, Channel()]]
        self.event = Event()
        self.results = [AsyncResult() for _ in range(3)]
        self.swapping = threading.Lock()
        self.workers = []  # of all threads
        self.failures = []
        self.threads_left = self.n_threads

    # -------- the actions of a worker; `me` is its own Random with its name and memory

    def pause(self, me):
        seconds = me.choice([None, 0, 0, 0.0003])
        return (lambda: None) if seconds is None else lambda: gevlite.sleep(seconds)

    def a_timeout(self, me):
        return me.choice([None, None, 0, 0.0003, 0.002])

    def lock(self, me):
        me.choice(self.locks).use(self.a_timeout(me), self.pause(me))

    def lock_twice(self, me):
        lock = self.locks[0]
        lock.use(self.a_timeout(me), lambda: lock.lock.acquire() and lock.lock.release())

    def wait_for_a_token(self, me):
        me.choice(self.locks[1:]).lock.wait(self.a_timeout(me))

    def put(self, me):
        me.number += 1
        me.choice(self.ledgers).put((me.name, me.number), timeout=self.a_timeout(me))

    def get(self, me):
        me.choice(self.ledgers).get(me.last, timeout=self.a_timeout(me))

    def peek(self, me):
        me.choice(self.ledgers[:-1]).peek(self.a_timeout(me))

    def join_a_queue(self, me):
        me.choice(self.ledgers[:2]).queue.join(0.001)

    def wait_for_the_event(self, me):
        self.event.wait(self.a_timeout(me))

    def set_or_clear_the_event(self, me):
        me.choice([self.event.set, self.event.clear])()

    def get_a_result(self, me):
        result = me.choice(self.results)
        try:
            assert result.get(timeout=self.a_timeout(me)) is result
        except gevlite.Timeout as timeout:
            if timeout is me.limit:
                raise

    def set_a_result(self, me):
        n = me.randrange(len(self.results))
        with self.swapping:  # otherwise two threads might set the same one, and drop one that has waiters
            old, self.results[n] = self.results[n], AsyncResult()
        old.set(old)

    def join_another(self, me):
        other = me.choice(self.workers)
        if other is not gevlite.getcurrent():
            other.join(0.001)

    def spawn_and_get(self, me):
        child = gevlite.spawn(self.pause(me))
        try:
            child.get()
        finally:
            child.kill()

    def wait_for_several(self, me):
        things = [self.event, me.choice(self.results), self.locks[1].lock, gevlite.spawn(self.pause(me))]
        me.shuffle(things)
        gevlite.wait(things, timeout=me.choice([0, 0.0003, 0.002]), count=me.choice([None, 1, 2]))

    def give_way(self, me):
        gevlite.sleep(0)

    STEPS = [lock, lock, lock_twice, wait_for_a_token, put, put, put, put, get, get, get, get, peek, join_a_queue]
    STEPS += [wait_for_the_event, set_or_clear_the_event, get_a_result, set_a_result, join_another, spawn_and_get]
    STEPS += [wait_for_several, give_way]

    # -------- the workers

    def work(self, name):
        me = random.Random(name)
        me.name, me.number, me.last, me.limit = name, 0, {}, None
        try:
            for _ in range(me.randint(1, self.n_steps)):
                if me.random() < self.kills:
                    me.choice(self.workers).kill(block=False)
                step = me.choice(self.STEPS)
                if me.random() < 0.2:
                    with gevlite.Timeout(me.choice([0, 0.0003, 0.002]), False) as me.limit:
                        step(self, me)
                else:
                    step(self, me)
        except gevlite.GreenletExit:
            raise
        except BaseException as exc:
            self.failures.append(exc)

    def thread(self, number):
        """A thread's main greenlet: keeps so many workers going, until all have been started and have ended."""
        try:
            before = held()
            alive = set()
            for n in range(self.n_starts):
                g = gevlite.spawn(self.work, f"{self.seed}-{number}-{n}")
                alive.add(g)
                self.workers.append(g)
                while len(alive) >= self.n_workers:
                    alive.difference_update(gevlite.joinall(alive, count=1))
            gevlite.joinall(alive)
            deadline = time.monotonic() + 5
            while held() != before and time.monotonic() < deadline:
                gevlite.sleep(0.001)  # children of killed greenlets
            assert held() == before, f"thread {number} holds {held()}, before {before}"
        except gevlite.Timeout:
            raise  # ROUND_LIMIT
        except BaseException as exc:
            self.failures.append(exc)
        finally:
            self.threads_left -= 1

    def helper(self):
        """A thread without a hub, which never blocks. It serves waiters that would otherwise wait for ever."""
        me = random.Random(f"{self.seed}-helper")
        last, number = {}, 0
        while self.threads_left:
            ledger = me.choice(self.ledgers)
            what = me.randrange(6)
            if what == 0:
                self.event.set()
            elif what == 1:
                self.set_a_result(me)
            elif what == 2 and self.workers and me.random() < self.kills:
                me.choice(self.workers).kill(block=False)
            elif what < 5:
                ledger.get(last, block=False)
            elif ledger is not self.ledgers[0] or not ledger.queue.qsize():
                number += 1
                ledger.put(("helper", number), block=False)
            time.sleep(0)

    def run_helper(self):
        try:
            self.helper()
        except BaseException as exc:
            self.failures.append(exc)

    def run(self):
        """In this thread too."""
        threads = [threading.Thread(target=self.thread, args=(n,), daemon=True) for n in range(1, self.n_threads)]
        threads.append(threading.Thread(target=self.run_helper, daemon=True))
        before = sys.getswitchinterval()
        sys.setswitchinterval(self.switch_interval)
        try:
            for thread in threads:
                thread.start()
            in_time = False
            with gevlite.Timeout(ROUND_LIMIT, False):
                self.thread(0)
                in_time = True
            for thread in threads:
                thread.join(ROUND_LIMIT if in_time else 1)
                in_time &= not thread.is_alive()
            assert in_time, f"hangs: {self}"
        finally:
            self.threads_left = 0
            sys.setswitchinterval(before)
        for failure in self.failures:
            raise failure
        for thing in [*self.locks, *self.ledgers]:
            thing.check()
        self.event.set()
        assert self.event.linkcount() == 0 and all(result.linkcount() == 0 for result in self.results)

    def __str__(self):
        things = [self.event, *self.results, *(lock.lock for lock in self.locks), *(led.queue for led in self.ledgers)]
        return ", ".join(map(repr, things))


@pytest.mark.timeout(SECONDS + 2 * ROUND_LIMIT + 60)
def test_threads_greenlets_and_primitives_in_random_order(capsys):
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**9)
    deadline = time.monotonic() + SECONDS
    rounds = 0
    while rounds == 0 or time.monotonic() < deadline:
        try:
            Round(seed).run()
        except BaseException as exc:
            exc.add_note(f"GEVLITE_STRESS_SEED={seed} begins with this round")
            raise
        seed += 1
        rounds += 1
    if SECONDS >= 60:
        with capsys.disabled():
            print(f"\n{rounds} rounds in {SECONDS:.0f} s, backend {gevlite.get_hub().backend.name}")
