"""Every way to wait keeps the same promises.

A row of the matrix is a way to wait: `Event.wait`, `Queue.get`, `Greenlet.join` and so on. A column, a test below, is
a promise: a time-out, a kill and an exception end the wait and leave nothing linked; a wake-up that races with any of
them is given to exactly one and never lost; waiters are served in order; other threads and the child of a fork can wake
and be woken. The file of each class tests what is particular to it.
"""

import gc
import os
import re
import signal
import threading
import time
import traceback
import weakref

import pytest

import gevlite
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, RLock, Semaphore
from gevlite.queue import Channel, Empty, Full, LifoQueue, PriorityQueue, Queue, SimpleQueue

MANY = 10
SOON = 0.002


class Way:
    """A thing on which `wait` blocks until `wake`.

    wait(thing, timeout=None)   True when woken, False when the time is over
    wake(thing)                 True, or False if that was in vain: there is no waiter and it leaves no trace
    for_one                     a wake-up is for one of the waiters, and used up by it; otherwise it is for all
    lasting                     a wake-up that was not taken is kept for the next waiter
    direct                      it reaches the waiter at the moment of `wake`, not in the hub's next turn
    """

    def __init__(self, name, make, wait, wake, for_one=False, lasting=True, direct=True):
        self.name = name
        self.make = make
        self._wait = wait
        self._wake = wake
        self.for_one = for_one
        self.lasting = lasting
        self.direct = direct

    def wait(self, thing, timeout=None):
        try:
            return bool(self._wait(thing, timeout))
        except (Empty, Full, gevlite.Timeout):
            return False

    def wake(self, thing):
        try:
            self._wake(thing)
        except (Empty, Full):
            return False
        return True

    def is_woken(self, thing):
        """Whether the next waiter need not wait; uses that up."""
        return self.wait(thing, 0)


def waiting(thing):
    """How many are in the lists of `thing`, according to its repr. That of a greenlet does not say."""
    return sum(map(int, re.findall(r"(?:links|getters|putters|peekers|joiners)=(\d+)", repr(thing))))


def in_line(thing, count):
    """The result of `waiting` for so many waiters."""
    return 0 if isinstance(thing, gevlite.Greenlet) else count


def taken(cls):
    """A semaphore whose places are all taken, enough of them to be given back often."""
    semaphore = cls(MANY)
    for _ in range(MANY):
        semaphore.acquire()
    return semaphore


def taken_rlock():
    lock = RLock()
    gevlite.spawn(lock.acquire).join()
    return lock


def take_and_give_back(lock, timeout):
    if not lock.acquire(timeout=timeout):
        return False
    lock.release()
    return True


def joined(greenlet, timeout):
    greenlet.join(timeout)
    return greenlet.ready()


def got(greenlet, timeout):
    greenlet.get(timeout=timeout)
    return True


def returned(function):
    """For a call that reports a time-out by an exception."""

    def call(thing, timeout):
        function(thing, timeout)
        return True

    return call


def never_started():
    """A greenlet that ends at once when it is killed, from whatever thread."""
    return gevlite.Greenlet(lambda: None)


def end(greenlet):
    greenlet.kill(block=False)


BOUNDED = [SimpleQueue, Queue, LifoQueue, PriorityQueue]

WAYS = [
    Way("Event.wait", Event, Event.wait, Event.set),
    Way("AsyncResult.get", AsyncResult, lambda r, t: r.get(timeout=t), lambda r: r.set(1)),
    Way("AsyncResult.result", AsyncResult, AsyncResult.result, lambda r: r.set_result(1)),
    Way("AsyncResult.wait", AsyncResult, AsyncResult.wait, lambda r: r.set(1)),
    *[
        Way(
            f"{cls.__name__}.acquire",
            lambda cls=cls: taken(cls),
            lambda s, t: s.acquire(timeout=t),
            lambda s: s.release(),
            for_one=True,
        )
        for cls in (Semaphore, BoundedSemaphore)
    ],
    *[
        Way(f"{cls.__name__}.wait", lambda cls=cls: taken(cls), lambda s, t: s.wait(t), lambda s: s.release())
        for cls in (Semaphore, BoundedSemaphore)
    ],
    # A greenlet that gets it gives it back: one release is enough for all. Any greenlet may call this release.
    Way("RLock.acquire", taken_rlock, take_and_give_back, RLock._release_save),
    *[
        Way(
            f"{cls.__name__}.get", cls, returned(lambda q, t: q.get(timeout=t)), lambda q: q.put_nowait(1), for_one=True
        )
        for cls in BOUNDED
    ],
    *[
        Way(
            f"{cls.__name__}.put",
            lambda cls=cls: cls(1, [0]),
            returned(lambda q, t: q.put(1, timeout=t)),
            lambda q: q.get_nowait(),
            for_one=True,
        )
        for cls in BOUNDED
    ],
    *[
        Way(f"{cls.__name__}.peek", cls, returned(lambda q, t: q.peek(timeout=t)), lambda q: q.put_nowait(1))
        for cls in BOUNDED
    ],
    *[
        Way(f"{cls.__name__}.join", lambda cls=cls: cls(items=[1]), lambda q, t: q.join(t), lambda q: q.task_done())
        for cls in (Queue, LifoQueue, PriorityQueue)
    ],
    Way(
        "Channel.get",
        Channel,
        returned(lambda c, t: c.get(timeout=t)),
        lambda c: c.put_nowait(1),
        for_one=True,
        lasting=False,
    ),
    Way(
        "Channel.put",
        Channel,
        returned(lambda c, t: c.put(1, timeout=t)),
        lambda c: c.get_nowait(),
        for_one=True,
        lasting=False,
    ),
    Way("Greenlet.join", never_started, joined, end),
    Way("Greenlet.get", never_started, got, end),
    Way("joinall", never_started, lambda g, t: gevlite.joinall([g], timeout=t), end),
    Way("wait", Event, lambda e, t: gevlite.wait([e], timeout=t), Event.set, direct=False),
    Way("iwait", AsyncResult, lambda r, t: list(gevlite.iwait([r], timeout=t)), lambda r: r.set(1), direct=False),
]

every_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
each_for_one = pytest.mark.parametrize("way", [w for w in WAYS if w.for_one], ids=lambda way: way.name)


@pytest.fixture
def line_up(start):
    """`line_up(way, thing, count)`: so many greenlets that wait, in this order. Killed at the end of the test."""

    def line_up(way, thing, count, timeout=None):
        made = in_turn(start, [(way.wait, thing, timeout)] * count)
        if timeout is None or timeout > 1:  # otherwise their time may be over on a busy machine
            assert waiting(thing) == in_line(thing, count)
        return made

    return line_up


def in_turn(start, calls):
    """Start greenlets for `(function, *arguments)`, each when the one before waits.

    On a busy machine one may give way before it is in the list of waiters, and `sleep(0)` would end before it is.
    """
    made = []
    for call in calls:
        made.append(start(*call))
        gevlite.idle()
    return made


def still_waits(one, hub):
    """False if its time is over already, because the machine was too busy."""
    mine = [waiter for waiter in hub.parked_waiters() if waiter.parked is one.greenlet]
    return bool(mine) and "woken" not in repr(mine[0])


def pass_time(seconds):
    """Without letting another greenlet run."""
    end = time.monotonic() + seconds
    with gevlite.uninterrupted():
        while time.monotonic() < end:
            pass


# ---------------------------------------------------------------- what ends a wait


@every_way
def test_a_wake_up_ends_the_wait(way, line_up):
    thing = way.make()
    (one,) = line_up(way, thing, 1)
    assert way.wake(thing)
    assert one.get() is True and waiting(thing) == 0


@every_way
@pytest.mark.parametrize("timeout", [0, SOON])
def test_a_time_out_ends_the_wait_and_leaves_nothing(way, timeout):
    thing = way.make()
    started = time.monotonic()
    assert [way.wait(thing, timeout) for _ in range(3)] == [False] * 3
    assert time.monotonic() - started >= 3 * timeout
    assert waiting(thing) == 0


@every_way
def test_a_wait_that_was_woken_leaves_no_timer(way, line_up, hub):
    thing = way.make()
    (one,) = line_up(way, thing, 1, timeout=1000)
    timers = hub.stats()["timers"]
    way.wake(thing)
    one.get()
    assert hub.stats()["timers"] == timers - 1


@every_way
def test_a_bad_timeout_is_an_error_and_leaves_nothing(way):
    thing = way.make()
    with pytest.raises(TypeError):
        way.wait(thing, "soon")
    with pytest.raises(ValueError):
        way.wait(thing, float("nan"))
    assert waiting(thing) == 0


@every_way
def test_a_callback_in_the_hub_waits_as_a_greenlet_does(way, hub, errors, settle):
    """The hub goes on with everything else."""
    thing, got, timed_out = way.make(), [], []
    hub.call_soon(lambda: timed_out.append(way.wait(way.make(), SOON)))
    hub.call_soon(lambda: got.append(way.wait(thing)))
    assert settle(lambda: timed_out) and timed_out == [False] and not got
    assert way.wake(thing)
    assert settle(lambda: got)
    assert got == [True] and waiting(thing) == 0 and not errors


@every_way
def test_an_exception_ends_the_wait_and_leaves_nothing(way):
    class Stop(Exception):
        pass

    thing = way.make()
    with pytest.raises(Stop), gevlite.Timeout(SOON, Stop):
        way.wait(thing)
    assert waiting(thing) == 0


@every_way
def test_a_kill_ends_the_wait_and_the_next_in_line_is_woken(way, line_up):
    thing = way.make()
    first, second = line_up(way, thing, 2)
    first.greenlet.kill()
    assert waiting(thing) == in_line(thing, 1)
    assert way.wake(thing)
    assert second.get() is True and waiting(thing) == 0


# ---------------------------------------------------------------- races


@every_way
def test_killed_and_then_woken_in_one_turn_the_wake_up_is_for_the_next_in_line(way, line_up):
    thing = way.make()
    first, second = line_up(way, thing, 2)
    first.greenlet.kill(block=False)
    assert way.wake(thing)
    assert second.get() is True
    first.greenlet.join()
    assert isinstance(first.greenlet.value, gevlite.GreenletExit) and waiting(thing) == 0


@every_way
def test_killed_and_then_woken_in_one_turn_with_nobody_else_the_wake_up_lasts(way, line_up):
    thing = way.make()
    (one,) = line_up(way, thing, 1)
    one.greenlet.kill(block=False)
    assert way.wake(thing) == way.lasting
    one.greenlet.join()
    assert isinstance(one.greenlet.value, gevlite.GreenletExit)
    assert way.is_woken(thing) == way.lasting and waiting(thing) == 0


@pytest.mark.parametrize("way", [w for w in WAYS if w.direct], ids=lambda way: way.name)
def test_woken_and_then_killed_in_one_turn_it_has_what_it_waited_for(way, start):
    """The kill comes at its next blocking call: so its own `finally` can give back what it got."""
    thing, steps = way.make(), []

    def run():
        steps.append(way.wait(thing))
        gevlite.sleep(1000)

    one = start(run)
    gevlite.idle()
    way.wake(thing)
    one.greenlet.kill()
    assert steps == [True] and waiting(thing) == 0


@every_way
def test_a_wake_up_just_before_the_time_is_over_is_not_lost(way, line_up, hub):
    """The timer fires between the wake-up and the turn of the woken greenlet."""

    def late():
        in_time.append(still_waits(one, hub))
        pass_time(SOON + 0.006)  # longer than callbacks get in one go: the timers are next
        way.wake(thing)

    in_time = [False]
    while not in_time[-1]:  # repeat if the machine was too busy, so that the time was over before
        thing = way.make()
        (one,) = line_up(way, thing, 1, timeout=SOON)
        hub.call_soon(late)
        woken = one.get()
        gevlite.idle()
    assert woken or not way.direct
    if not woken:
        assert way.is_woken(thing)
    elif way.for_one:
        assert not way.is_woken(thing)
    assert waiting(thing) == 0


@every_way
def test_a_wake_up_just_after_the_time_is_over_is_not_lost(way, line_up, hub):
    """It comes between the firing of the timer and the turn of the waiter."""
    in_time = False
    while not in_time:
        thing = way.make()
        (one,) = line_up(way, thing, 1, timeout=2 * SOON)
        with gevlite.uninterrupted():
            in_time = still_waits(one, hub)
            hub.call_later(SOON, way.wake, thing)
            pass_time(3 * SOON)  # both are due now, and fire in one go
            woken = one.get()
    if way.for_one:
        assert not woken
    assert way.is_woken(thing) == way.lasting and waiting(thing) == 0


@each_for_one
def test_what_it_was_given_is_not_lost_when_it_is_thrown_out_by_hand(way, line_up, hub):
    """Greenlet.throw() does not wait for its turn."""
    thing = way.make()
    (one,) = line_up(way, thing, 1)

    def wake_and_throw():
        way.wake(thing)
        one.greenlet.throw(gevlite.GreenletExit)

    hub.call_soon(wake_and_throw)
    one.greenlet.join()
    # A put is done when there was room: its item is in, and has been taken from a Channel.
    assert way.is_woken(thing) == (not way.name.endswith(".put")) and waiting(thing) == 0


# ---------------------------------------------------------------- order


@every_way
def test_they_are_woken_in_the_order_in_which_they_came(way, start):
    thing, order = way.make(), []

    def wait(n):
        assert way.wait(thing)
        order.append(n)

    made = in_turn(start, [(wait, n) for n in range(MANY)])
    for _ in range(MANY if way.for_one else 1):
        assert way.wake(thing)
    for one in made:
        one.get()
    assert order == list(range(MANY)) and waiting(thing) == 0


@each_for_one
def test_who_comes_back_stands_behind_those_who_wait(way, start):
    thing, order = way.make(), []

    def again_and_again(name):
        for _ in range(3):
            assert way.wait(thing)
            order.append(name)

    made = in_turn(start, [(again_and_again, name) for name in "abc"])
    for _ in range(9):
        assert way.wake(thing)
        gevlite.idle()
    for one in made:
        one.get()
    assert "".join(order) == "abcabcabc"


@each_for_one
def test_in_the_middle_of_the_line_one_may_leave_and_the_order_stays(way, start):
    thing, order = way.make(), []

    def wait(n):
        if way.wait(thing, SOON if n % 3 == 1 else None):
            order.append(n)

    made = in_turn(start, [(wait, n) for n in range(9)])
    for n in (2, 5, 8):
        made[n].greenlet.kill()
    for n in (1, 4, 7):
        made[n].get()  # times out
    for _ in range(3):
        assert way.wake(thing)
    for n in (0, 3, 6):
        made[n].get()
    assert order == [0, 3, 6] and waiting(thing) == 0


# ---------------------------------------------------------------- threads


@every_way
def test_another_thread_wakes(way, line_up):
    thing = way.make()
    made = line_up(way, thing, 2)
    thread = threading.Thread(target=lambda: [way.wake(thing) for _ in range(2 if way.for_one else 1)])
    thread.start()
    assert [one.get(timeout=30) for one in made] == [True, True]
    thread.join()
    assert waiting(thing) == 0


class Elsewhere:
    """Greenlets that wait on the hub of another OS thread."""

    def __init__(self, way, thing, count):
        self.results = []
        self.begun = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(way, thing, count))
        self.thread.start()
        self.begun.wait()

    def run(self, way, thing, count):
        made = in_turn(gevlite.spawn, [(way.wait, thing)] * count)
        self.begun.set()
        self.results += [g.get(timeout=30) for g in made]

    def get(self):
        self.thread.join()
        return self.results


@every_way
def test_greenlets_of_three_threads_wait_and_a_fourth_wakes_them(way, start, fast_thread_switches):
    thing, count = way.make(), 3
    others = [Elsewhere(way, thing, count) for _ in range(2)]
    made = in_turn(start, [(way.wait, thing)] * count)

    def wake():
        for _ in range(3 * count if way.for_one else 1):
            assert way.wake(thing)

    thread = threading.Thread(target=wake)
    thread.start()
    assert [g.get(timeout=30) for g in made] == [True] * count
    thread.join()
    assert [other.get() for other in others] == [[True] * count] * 2
    assert waiting(thing) == 0


@each_for_one
def test_time_outs_in_two_threads_and_wake_ups_from_a_third_add_up(way, fast_thread_switches):
    """Each wake-up was taken by one, or is still there."""
    thing, took, hold = way.make(), [], 0.0002

    def run():
        def one(n):
            for i in range(20):
                took.append(way.wait(thing, hold * ((i + n) % 3)))

        gevlite.joinall([gevlite.spawn(one, n) for n in range(4)], raise_error=True)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    woken = 0
    for _ in range(MANY):
        woken += way.wake(thing)
        gevlite.sleep(hold)
    for thread in threads:
        thread.join()
    if way.name.endswith(".put") and way.lasting:
        left = 1 - thing.qsize()  # room
    else:
        left = 0
        while way.is_woken(thing):
            left += 1
    assert sum(took) + left == woken
    assert waiting(thing) == 0


# ---------------------------------------------------------------- fork


def in_child(function):
    """Run it in a fork; the result is whether it returned True there."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            os._exit(0 if function() is True else 1)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@every_way
def test_in_the_child_of_a_fork_those_who_wait_can_be_woken(way, line_up):
    thing = way.make()
    (one,) = line_up(way, thing, 1)

    def child():
        assert way.wake(thing) and one.get(timeout=20) is True and waiting(thing) == 0
        fresh = way.make()
        assert way.wait(fresh, SOON) is False
        (g,) = in_turn(gevlite.spawn, [(way.wait, fresh)])
        assert way.wake(fresh) and g.get(timeout=20) is True
        return waiting(fresh) == 0

    assert in_child(child)
    # The child's actions have no effect here.
    assert not one.greenlet.ready() and way.wake(thing) and one.get(timeout=20) is True


@every_way
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_in_the_child_of_a_fork_a_wake_up_is_not_given_to_a_thread_left_behind(way, line_up):
    thing = way.make()
    other = Elsewhere(way, thing, 1)  # first in line
    (mine,) = in_turn(gevlite.spawn, [(way.wait, thing)])
    assert in_child(lambda: way.wake(thing) and mine.get(timeout=20))
    for _ in range(2 if way.for_one else 1):
        assert way.wake(thing)
    assert mine.get(timeout=20) is True and other.get() == [True]


# ---------------------------------------------------------------- nothing is left


@every_way
def test_what_waited_is_freed(way, line_up):
    """Woken, timed out, killed: nothing keeps the greenlets."""

    def use():
        thing = way.make()
        made = in_turn(gevlite.spawn, [(way.wait, thing)] * 3)
        made.append(gevlite.spawn(way.wait, thing, SOON))
        gevlite.idle()
        made[0].kill()
        made[3].join()
        for _ in range(2 if way.for_one else 1):
            way.wake(thing)
        gevlite.joinall(made)
        return [weakref.ref(g) for g in made]

    refs = use()
    gevlite.sleep(0)
    gc.collect()
    assert [ref() for ref in refs] == [None] * 4
