"""Everything that starts, wakes, stops and times out, in random order, against a simple model.

The machine spawns workers that block in one primitive each, then releases, kills, times out, closes and wakes them from
this or another thread, in any order and several in one turn. All the time: no item and no token is doubled. At the end:
every greenlet can be ended, a killed one was killed by us, tokens and items add up, the hub holds what it held before.

GEVLITE_MODEL_SECONDS=600 looks for a counter-example that long; by default it is short.
"""

import os
import threading
import time

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import gevlite
from gevlite import GreenletExit
from gevlite._core import READ, Waiter
from gevlite.event import AsyncResult, Event
from gevlite.lock import Semaphore
from gevlite.queue import Channel, Empty, Full, LifoQueue, PriorityQueue, Queue
from gevlite.socket import socketpair

LONG = 1000  # seconds: does not fire within a test
SHORT = 0.0004  # fires soon


class Helper:
    """Another OS thread that does what it is asked and reports when it is done. It has no hub of its own."""

    def __init__(self):
        self.job = None
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    def loop(self):
        while True:
            self.go.acquire()
            if self.job is None:
                return
            self.job()
            self.done.release()

    def call(self, job):
        self.job = job
        self.go.release()
        self.done.acquire()

    def stop(self):
        self.job = None
        self.go.release()
        self.thread.join()


class Worker:
    """One greenlet in one blocking call, and how that ended."""

    def __init__(self, body, raw):
        self.outcome = None
        self.killed = False
        self.waiter = None
        self.body = body
        self.greenlet = (gevlite.spawn_raw if raw else gevlite.spawn)(self.run)

    def run(self):
        try:
            self.outcome = ("returned", self.body())
        except GreenletExit:
            self.outcome = ("killed", None)
            raise
        except gevlite.Timeout:
            self.outcome = ("timeout", None)
        except (Empty, Full):
            self.outcome = ("timed out", None)
        except OSError as exc:
            self.outcome = ("oserror", exc.errno)

    @property
    def ended(self):
        return self.outcome is not None or self.greenlet.dead


class Model(RuleBasedStateMachine):
    workers = Bundle("workers")

    def __init__(self):
        super().__init__()
        self.hub = gevlite.get_hub()
        self.baseline = self.held()
        self.helper = None
        self.all = []
        self.event, self.result = Event(), AsyncResult()
        self.semaphore, self.tokens, self.taken = Semaphore(1), 1, 0
        self.queues = [Queue(), Queue(2), LifoQueue(2), PriorityQueue(2), Channel()]
        self.put_in = [[] for _ in self.queues]
        self.got = [[] for _ in self.queues]
        self.next_item = 0
        self.pairs = []

    # -------- helpers

    def held(self):
        stats = self.hub.stats()
        return {k: stats[k] for k in ("greenlets", "parked", "timers", "fds", "fd_waiters", "refs", "pending_throws")}

    def add(self, body, raw=False):
        w = Worker(body, raw)
        self.all.append(w)
        return w

    def do(self, action, elsewhere):
        """Here, or in another OS thread."""
        if not elsewhere:
            return action()
        if self.helper is None:
            self.helper = Helper()
        return self.helper.call(action)

    # -------- the waiting side

    raws = st.booleans()
    times = st.sampled_from([None, 0, SHORT, LONG])
    elsewhere = st.booleans()

    @rule(target=workers, raw=raws, timeout=times)
    def wait_for_event(self, raw, timeout):
        return self.add(lambda: self.event.wait(timeout), raw)

    @rule(target=workers, raw=raws, timeout=times)
    def wait_for_result(self, raw, timeout):
        return self.add(lambda: self.result.get(timeout=timeout), raw)

    @rule(target=workers, raw=raws, timeout=times)
    def acquire(self, raw, timeout):
        @gevlite.uninterrupted  # a kill between the two would lose the token
        def body():
            if self.semaphore.acquire(timeout=timeout):
                self.taken += 1

        return self.add(body, raw)

    @rule(target=workers, raw=raws, timeout=times, n=st.integers(0, 4))
    def get(self, raw, timeout, n):
        @gevlite.uninterrupted
        def body():
            self.got[n].append(self.queues[n].get(timeout=timeout))

        return self.add(body, raw)

    @rule(target=workers, raw=raws, timeout=times, n=st.integers(0, 4))
    def put(self, raw, timeout, n):
        item, self.next_item = self.next_item, self.next_item + 1

        def body():
            self.queues[n].put(item, timeout=timeout)
            self.put_in[n].append(item)

        return self.add(body, raw)

    @rule(target=workers, raw=raws, seconds=st.sampled_from([0, SHORT, LONG]))
    def sleep(self, raw, seconds):
        return self.add(lambda: gevlite.sleep(seconds), raw)

    @rule(target=workers, raw=raws)
    def sleep_zero_for_ever(self, raw):
        def body():
            while True:
                gevlite.sleep(0)

        return self.add(body, raw)

    @rule(target=workers, raw=raws, limit=st.sampled_from([0, SHORT, LONG]))
    def sleep_in_a_timeout(self, raw, limit):
        def body():
            with gevlite.Timeout(limit):
                gevlite.sleep(LONG)

        return self.add(body, raw)

    @rule(target=workers, raw=raws)
    def read_a_socket(self, raw):
        a, b = socketpair()
        self.pairs.append((a, b))
        return self.add(lambda: a.recv(1), raw)

    @rule(target=workers, raw=raws)
    def wait_for_a_pipe(self, raw):
        r, w = os.pipe()
        self.pairs.append((r, w))

        def body():
            return self.hub.wait_fd(r, READ)

        return self.add(body, raw)

    @rule(target=workers, raw=raws, one=workers, timeout=times)
    def join(self, raw, one, timeout):
        greenlets = [g for g in (one.greenlet,) if isinstance(g, gevlite.Greenlet)]
        return self.add(lambda: gevlite.wait([*greenlets, self.event], timeout=timeout), raw)

    @rule(target=workers, raw=raws)
    def park(self, raw):
        waiter = Waiter(self.hub)
        w = self.add(waiter.park, raw)
        w.waiter = waiter
        return w

    # -------- the waking side

    @rule(where=elsewhere)
    def set_event(self, where):
        self.do(self.event.set, where)

    @rule()
    def clear_event(self):
        self.event.clear()

    @rule(where=elsewhere)
    def set_result(self, where):
        self.do(self.result.set, where)

    @rule(where=elsewhere)
    def release(self, where):
        self.tokens += 1
        self.do(self.semaphore.release, where)

    @rule(where=elsewhere, n=st.integers(0, 4))
    def put_nowait(self, where, n):
        item, self.next_item = self.next_item, self.next_item + 1

        def action():
            try:
                self.queues[n].put_nowait(item)
            except Full:
                return
            self.put_in[n].append(item)

        self.do(action, where)

    @rule(where=elsewhere, n=st.integers(0, 4))
    def get_nowait(self, where, n):
        def action():
            try:
                self.got[n].append(self.queues[n].get_nowait())
            except Empty:
                pass

        self.do(action, where)

    @rule(one=workers, where=elsewhere)
    def kill(self, one, where):
        one.killed = True
        if isinstance(one.greenlet, gevlite.Greenlet):
            self.do(lambda: one.greenlet.kill(block=False), where)
        else:
            self.do(lambda: gevlite.kill(one.greenlet), where)

    @rule(one=workers)
    def kill_and_wait(self, one):
        one.killed = True
        if isinstance(one.greenlet, gevlite.Greenlet):
            one.greenlet.kill(timeout=30)
            assert one.greenlet.dead

    @rule(one=workers, where=elsewhere)
    def wake(self, one, where):
        if one.waiter is not None:
            self.do(lambda: one.waiter.wake("woken"), where)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data(), how=st.sampled_from(["write", "close peer", "close"]))
    def touch_a_descriptor(self, data, how):
        n = data.draw(st.integers(0, len(self.pairs) - 1))
        a, b = self.pairs[n]
        if isinstance(a, int):
            os.write(b, b"x")
        elif how == "write":
            try:
                b.send(b"x")
            except OSError:
                pass
        elif how == "close peer":
            b.close()
        else:
            a.close()

    # -------- time passes

    @rule(turns=st.integers(1, 3))
    def give_way(self, turns):
        for _ in range(turns):
            gevlite.sleep(0)

    @rule()
    def let_time_pass(self):
        gevlite.sleep(SHORT)

    @rule()
    def let_time_pass_without_the_hub(self):
        deadline = time.monotonic() + SHORT
        while time.monotonic() < deadline:
            pass

    # -------- what must hold

    @invariant()
    def a_semaphore_keeps_its_tokens(self):
        # Taken, in the counter, or handed to a greenlet that has not run yet: never more than there are.
        assert self.taken + self.semaphore.counter <= self.tokens

    @invariant()
    def no_item_is_doubled(self):
        for got in self.got:
            assert len(got) == len(set(got))

    def settle(self):
        """Every greenlet that can run runs."""
        for _ in range(10):
            gevlite.sleep(0)

    def teardown(self):
        try:
            self.check_at_the_end()
        finally:
            for w in self.all:
                if not w.greenlet.dead:
                    gevlite.kill(w.greenlet)
            self.settle()
            if self.helper is not None:
                self.helper.stop()
            for pair in self.pairs:
                for end in pair:
                    os.close(end) if isinstance(end, int) else end.close()

    def check_at_the_end(self):
        for w in self.all:
            if w.outcome is not None and w.outcome[0] == "killed":
                assert w.killed, "killed by nobody"
            if not w.ended:
                gevlite.kill(w.greenlet)
        deadline = time.monotonic() + 30
        while not all(w.greenlet.dead for w in self.all):
            assert time.monotonic() < deadline, [w.outcome for w in self.all if not w.greenlet.dead]
            gevlite.sleep(0)
        self.settle()
        # All workers have ended: what they took and left must add up.
        assert self.semaphore.counter + self.taken == self.tokens
        assert self.semaphore.linkcount() == self.event.linkcount() == self.result.linkcount() == 0
        for q, put_in, got in zip(self.queues, self.put_in, self.got, strict=True):
            left = []
            while True:
                try:
                    left.append(q.get_nowait())
                except Empty:
                    break
            # A putter that was let in, and killed before it could note that, has put its item in all the same.
            assert set(put_in) <= set(got) | set(left)
            assert not set(got) & set(left)
            assert len(left) == len(set(left))
        for w in self.all:
            if isinstance(w.greenlet, gevlite.Greenlet):
                assert w.greenlet.ready() and w.greenlet.successful()
        for pair in self.pairs:
            for end in pair:
                os.close(end) if isinstance(end, int) else end.close()
        self.pairs = []
        self.settle()
        assert self.held() == self.baseline


SECONDS = float(os.environ.get("GEVLITE_MODEL_SECONDS", "0"))


def run_model(examples):
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(SECONDS + 120)
def test_whatever_the_order_nothing_is_lost_doubled_or_left_behind():
    deadline = time.monotonic() + SECONDS
    run_model(150)
    while time.monotonic() < deadline:
        run_model(500)
