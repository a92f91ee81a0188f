"""Queue, LifoQueue, PriorityQueue, SimpleQueue and Channel: order, limits, and that no item is ever lost or doubled."""

import gc
import queue as stdlib_queue
import threading
import time
import weakref

import pytest

import gevlite
from gevlite.queue import Channel, Empty, Full, JoinableQueue, LifoQueue, PriorityQueue, Queue, ShutDown, SimpleQueue

ALL = [SimpleQueue, Queue, LifoQueue, PriorityQueue]
WITH_CHANNEL = [*ALL, Channel]


def full_queue(cls):
    """A queue on which `put` blocks."""
    if cls is Channel:
        return Channel()
    q = cls(1)
    q.put(0)
    return q


# ---------------------------------------------------------------- the classes


def test_empty_and_full_are_the_stdlib_classes():
    assert Empty is stdlib_queue.Empty and Full is stdlib_queue.Full
    assert issubclass(ShutDown, Exception)
    assert JoinableQueue is Queue


def test_fifo_order():
    q = Queue()
    for n in range(5):
        q.put(n)
    assert [q.get() for _ in range(5)] == [0, 1, 2, 3, 4]


def test_lifo_order():
    q = LifoQueue()
    for n in range(5):
        q.put(n)
    assert [q.get() for _ in range(5)] == [4, 3, 2, 1, 0]


def test_priority_order():
    q = PriorityQueue(items=[3, 1])
    for n in (5, 2, 4):
        q.put(n)
    assert [q.get() for _ in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("maxsize", [None, 0, -1])
def test_maxsize_of_none_or_zero_is_no_limit(maxsize):
    q = Queue(maxsize)
    for n in range(100):
        q.put_nowait(n)
    assert q.maxsize is None and not q.full() and q.qsize() == len(q) == 100


def test_full_and_empty():
    q = Queue(2)
    assert q.empty() and not q.full() and bool(q)
    q.put(1)
    assert not q.empty() and not q.full()
    q.put(2)
    assert q.full() and q.maxsize == 2


@pytest.mark.parametrize("cls", ALL)
def test_items_given_at_the_start_are_in_it(cls):
    q = cls(None, [2, 1, 3])
    assert sorted(q.get() for _ in range(3)) == [1, 2, 3]


@pytest.mark.parametrize("cls", ALL)
def test_copy_is_independent(cls):
    q = cls(5, [2, 1, 3])
    other = q.copy()
    assert type(other) is cls and other.maxsize == 5
    assert [other.get() for _ in range(3)] == [q.get() for _ in range(3)]
    other.put(1)
    assert q.empty()


@pytest.mark.parametrize("cls", [SimpleQueue, Queue, LifoQueue, Channel])  # it does not compare with numbers
def test_iteration_ends_at_stop_iteration(cls):
    q = cls()

    def feed():
        for n in range(3):
            q.put(n)
            gevlite.idle()
        q.put(StopIteration)

    g = gevlite.spawn(feed)
    assert sorted(q) == [0, 1, 2]
    g.get()


def test_a_queue_can_be_weakly_referenced_and_is_freed():
    for cls in WITH_CHANNEL:
        q = cls()
        ref = weakref.ref(q)
        del q
        assert ref() is None


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_queue_class_takes_a_type_argument(cls):
    assert cls[int].__origin__ is cls


def test_a_larger_maxsize_lets_waiting_putters_in():
    q = Queue(1, [0])
    putters = [gevlite.spawn(q.put, n) for n in (1, 2, 3)]
    gevlite.idle()
    q.maxsize = 3
    gevlite.joinall(putters[:2], timeout=30)
    assert q.maxsize == 3 and q.full() and not putters[2].ready()
    q.maxsize = None
    putters[2].join()
    assert [q.get() for _ in range(4)] == [0, 1, 2, 3]


# ---------------------------------------------------------------- an order of its own


class Distinct(Queue):
    """As the standard library's own subclasses of Queue do it."""

    def _init(self, maxsize):
        self.queue = set()

    def _qsize(self):
        return len(self.queue)

    def _put(self, item):
        self.queue.add(item)

    def _get(self):
        return self.queue.pop()


def test_a_subclass_may_keep_the_items_in_its_own_way():
    q = Distinct(2, [1, 1])
    assert len(q) == q.qsize() == 1 and q.queue == {1}
    q.put(1)
    q.put(2)
    assert q.full()
    with pytest.raises(Full):
        q.put_nowait(3)
    putter = gevlite.spawn(q.put, 3)
    gevlite.idle()
    assert {q.get(), q.get(), q.get()} == {1, 2, 3} and q.empty()
    putter.get()


class Picky(Queue):
    failures = 0

    def _get(self):
        if self.failures:
            self.failures -= 1
            raise LookupError("not now")
        return super()._get()


def test_what_a_subclass_raises_while_an_item_is_taken_is_the_getters_error():
    q = Picky()
    getters = [gevlite.spawn(q.get) for _ in range(3)]
    gevlite.idle()
    q.failures = 2
    q.put("item")  # the putter gets no error, and the next getter has its turn
    gevlite.joinall(getters)
    assert [type(g.exception) for g in getters] == [LookupError, LookupError, type(None)]
    assert getters[2].value == "item" and q.empty() and q.unfinished_tasks == 1


def test_an_item_that_no_getter_could_take_stays_in_the_queue():
    q = Picky()
    getter, peeker = gevlite.spawn(q.get), gevlite.spawn(q.peek)
    gevlite.idle()
    q.failures = 1
    q.put("item")
    getter.join()
    assert isinstance(getter.exception, LookupError) and peeker.get() == "item"
    assert q.qsize() == 1 and q.get(timeout=1) == "item"
    q.failures = 1
    q.put("other")
    with pytest.raises(LookupError):
        q.get()
    assert q.get_nowait() == "other"


def test_a_putter_that_was_let_in_does_not_get_the_getters_error():
    q = Picky(1)
    q.put(1)
    putter = gevlite.spawn(q.put, 2)
    gevlite.idle()
    assert q.get() == 1
    putter.get()
    assert q.get() == 2


def test_an_item_for_a_waiting_getter_too_goes_through_a_subclass():
    class Doubling(SimpleQueue):
        def _put(self, item):
            super()._put(item * 2)

        def _peek(self):
            return super()._peek() + 1

    q = Doubling()
    g = gevlite.spawn(q.get)
    gevlite.idle()
    q.put(1)
    assert g.get() == 2
    q.put(2)
    assert q.peek() == 5 and q.get() == 4


def test_threads_use_a_subclass_with_its_own_order_one_at_a_time(fast_thread_switches):
    class Slow(Queue):
        inside = most = 0

        def _put(self, item):
            self.inside += 1
            self.most = max(self.most, self.inside)
            sum(range(50))
            super()._put(item)
            self.inside -= 1

    q, count, got = Slow(3), 300, []

    def put(k):
        for n in range(count):
            q.put((k, n), timeout=30)

    def get():
        for _ in range(count):
            got.append(q.get(timeout=30))

    threads = [threading.Thread(target=put, args=(k,)) for k in range(2)]
    threads += [threading.Thread(target=get) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert q.most == 1
    assert sorted(got) == [(k, n) for k in range(2) for n in range(count)]


# ---------------------------------------------------------------- not blocking, time-outs, bad input


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_get_without_blocking_raises_empty(cls):
    with pytest.raises(Empty):
        cls().get_nowait()
    with pytest.raises(Empty):
        cls().get(block=False)


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_put_without_blocking_raises_full(cls):
    with pytest.raises(Full):
        full_queue(cls).put_nowait(1)


@pytest.mark.parametrize("timeout", [0, 0.001])
@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_get_times_out_and_leaves_no_place_in_the_queue(cls, timeout):
    q = cls()
    for _ in range(3):
        with pytest.raises(Empty):
            q.get(timeout=timeout)
    if cls is Channel:
        assert q.getters == 0
    assert "getters=" not in repr(q) or "getters=0" in repr(q)


@pytest.mark.parametrize("timeout", [0, 0.001])
@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_put_times_out_and_does_not_leave_its_item(cls, timeout):
    q = full_queue(cls)
    for _ in range(3):
        with pytest.raises(Full):
            q.put("never", timeout=timeout)
    if cls is Channel:
        assert q.putters == 0
    else:
        assert q.get() == 0
    with pytest.raises(Empty):
        q.get_nowait()


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_put_that_gets_in_before_its_time_is_over_cancels_the_timer(cls, hub):
    q = full_queue(cls)
    g = gevlite.spawn(q.put, 1, timeout=1000)
    gevlite.idle()
    assert hub.stats()["timers"] == 1
    q.get()
    g.get()
    assert hub.stats()["timers"] == 0


@pytest.mark.parametrize("cls", ALL)
def test_peek_times_out(cls):
    with pytest.raises(Empty):
        cls().peek(timeout=0.001)
    with pytest.raises(Empty):
        cls().peek_nowait()


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_negative_timeout_is_an_error_at_the_call(cls):
    with pytest.raises(ValueError):
        cls().get(timeout=-1)
    with pytest.raises(ValueError):
        full_queue(cls).put(1, timeout=-1)
    if cls is not Channel:
        q = cls()
        with pytest.raises(ValueError):
            q.put(1, timeout=-1)  # although there is room
        assert q.empty()


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_timeout_that_is_no_number_leaves_nothing_behind(cls):
    q = cls()
    with pytest.raises(TypeError):
        q.get(timeout="soon")
    assert "getters=" not in repr(q) or "getters=0" in repr(q)


@pytest.mark.parametrize("cls", ALL)
def test_peek_does_not_remove(cls):
    q = cls(items=[7])
    assert q.peek() == q.peek_nowait() == 7
    assert q.get() == 7


@pytest.mark.parametrize("cls", ALL)
def test_a_blocked_peek_sees_the_item_and_leaves_it(cls):
    q = cls()
    peekers = [gevlite.spawn(q.peek) for _ in range(3)]
    gevlite.idle()
    q.put(7)
    assert [g.get() for g in peekers] == [7, 7, 7]
    assert q.get() == 7


def test_blocking_in_a_hub_callback_gets_an_item(hub, settle):
    q, got = Queue(), []
    hub.call_soon(lambda: got.append(q.get()))
    gevlite.sleep(0.001)
    q.put(1)
    assert settle(lambda: got) and got == [1]


# ---------------------------------------------------------------- order of waiters


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_getters_are_served_in_the_order_in_which_they_came(cls):
    q, got = cls(), []

    @gevlite.uninterrupted  # otherwise a later one may be the first to wait
    def get(n):
        got.append((n, q.get()))

    greenlets = [gevlite.spawn(get, n) for n in range(5)]
    gevlite.idle()
    for n in range(5):
        q.put(n)
    gevlite.joinall(greenlets)
    assert got == [(n, n) for n in range(5)]


@pytest.mark.parametrize("cls", [SimpleQueue, Queue, Channel])
def test_putters_are_let_in_in_the_order_in_which_they_came(cls):
    q = cls() if cls is Channel else cls(1, ["first"])
    greenlets = [gevlite.spawn(q.put, n) for n in range(5)]
    gevlite.idle()
    got = [q.get() for _ in range(5 if cls is Channel else 6)]
    assert got[-5:] == [0, 1, 2, 3, 4]
    gevlite.joinall(greenlets, raise_error=True)


def test_a_newcomer_does_not_overtake_a_waiting_putter():
    q = Queue(1, ["first"])
    g = gevlite.spawn(q.put, "waiting")
    gevlite.idle()
    assert q.get() == "first"
    with pytest.raises(Full):
        q.put_nowait("newcomer")
    assert q.get() == "waiting"
    g.get()


def test_a_newcomer_does_not_overtake_a_waiting_getter():
    q = Queue()
    g = gevlite.spawn(q.get)
    gevlite.idle()
    q.put("for the getter")
    with pytest.raises(Empty):
        q.get_nowait()
    assert g.get() == "for the getter"


# ---------------------------------------------------------------- kill, and the races with wake and time-out


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_getter_killed_while_waiting_takes_nothing(cls):
    q = cls()
    killed, waiting = gevlite.spawn(q.get), gevlite.spawn(q.get)
    gevlite.idle()
    killed.kill(block=False)
    q.put(1)
    assert waiting.get() == 1
    killed.join()
    assert isinstance(killed.value, gevlite.GreenletExit)


@pytest.mark.parametrize("cls", ALL)
def test_the_item_of_a_getter_killed_just_before_stays_in_the_queue(cls):
    q = cls()
    killed = gevlite.spawn(q.get)
    gevlite.idle()
    killed.kill(block=False)
    q.put(1)
    killed.join()
    assert q.get_nowait() == 1


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_getter_that_has_its_item_and_is_then_killed_still_gets_it(cls):
    q, got = cls(), []

    def get():
        got.append(q.get())
        gevlite.sleep(100)

    g = gevlite.spawn(get)
    gevlite.idle()
    q.put(1)
    g.kill()
    assert got == [1]


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_putter_killed_while_waiting_does_not_leave_its_item(cls):
    q = full_queue(cls)
    g = gevlite.spawn(q.put, "never")
    gevlite.idle()
    g.kill(block=False)
    if cls is not Channel:
        assert q.get_nowait() == 0
    with pytest.raises(Empty):
        q.get_nowait()
    g.join()
    with pytest.raises(Empty):
        q.get_nowait()


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_putter_that_was_let_in_and_is_then_killed_left_exactly_one_item(cls):
    q = full_queue(cls)
    g = gevlite.spawn(q.put, 1)
    gevlite.idle()
    got = [q.get()]
    g.kill()
    if cls is not Channel:
        got.append(q.get_nowait())
        assert got == [0, 1]
    else:
        assert got == [1]
    with pytest.raises(Empty):
        q.get_nowait()


@pytest.mark.parametrize("cls", WITH_CHANNEL)
@pytest.mark.parametrize("wake_first", [True, False])
def test_a_get_whose_timeout_races_with_the_item_never_loses_it(cls, wake_first, hub):
    """Both happen in one round of the loop; whichever comes first decides, and the item is somewhere."""
    q, result = cls(), []

    def get():
        try:
            result.append(q.get(timeout=0.002))
        except Empty:
            result.append(None)

    def put():
        try:
            q.put_nowait(1)
        except Full:
            result.append("refused")

    if wake_first:
        hub.call_later(0.002, put)
    g = gevlite.spawn(get)
    gevlite.idle()
    if not wake_first:
        hub.call_later(0.002, put)
    # Both deadlines have passed when the hub looks next.
    deadline = time.monotonic() + 0.004
    while time.monotonic() < deadline:
        pass
    g.join()
    gevlite.sleep(0.001)
    if result == [1]:
        with pytest.raises(Empty):
            q.get_nowait()
    elif cls is Channel:
        assert result in ([None, "refused"], ["refused", None])
    else:
        assert result == [None]
        assert q.get_nowait() == 1


@pytest.mark.parametrize("cls", ALL)
def test_an_item_thrown_away_by_throw_is_not_lost(cls):
    """Greenlet.throw() switches at once into a greenlet that already has its item."""
    q = cls()
    g = gevlite.spawn(q.get)
    gevlite.idle()

    def put_and_throw():
        q.put(1)
        g.throw(gevlite.GreenletExit)

    gevlite.get_hub().call_soon(put_and_throw)
    g.join()
    assert q.get_nowait() == 1


def test_a_killed_peeker_leaves_no_place():
    q = Queue()
    g = gevlite.spawn(q.peek)
    gevlite.idle()
    g.kill()
    q.put(1)
    assert q.get() == 1


def test_an_item_of_a_channel_thrown_away_by_throw_goes_to_the_next_getter_or_the_next_get(hub):
    c, taken = Channel(), []
    thrown = [gevlite.spawn(c.get) for _ in range(2)]
    gevlite.idle()

    def put_and_throw():
        for n in range(2):
            c.put(n)
        for g in thrown:
            g.throw(gevlite.GreenletExit)  # both have their item, and have not run

    hub.call_soon(put_and_throw)
    gevlite.joinall(thrown)
    taken.append(c.get_nowait())
    assert [*taken, c.get(timeout=1)] == [0, 1]
    with pytest.raises(Empty):
        c.get_nowait()
    # If another waiter is behind it, that one gets it.
    thrown, waiting = gevlite.spawn(c.get), gevlite.spawn(c.get)
    gevlite.idle()

    def once_more():
        c.put(2)
        thrown.throw(gevlite.GreenletExit)

    hub.call_soon(once_more)
    assert waiting.get(timeout=5) == 2 and c.balance == 0


def test_a_peek_whose_item_is_gone_again_waits_no_longer_than_asked_for(clock):
    q = Queue()
    peeker = gevlite.spawn(q.peek, timeout=50)
    gevlite.sleep(0)
    while not peeker.ready():
        assert clock.elapsed <= 50
        q.put(1)  # wakes it ...
        q.get_nowait()  # ... and takes the item before its turn
        gevlite.sleep(10)
    assert isinstance(peeker.exception, Empty)
    assert clock.elapsed >= 50


# ---------------------------------------------------------------- task_done and join


def test_join_waits_for_task_done():
    q = Queue()
    q.put(1)
    q.put(2)
    joiner = gevlite.spawn(q.join)
    gevlite.idle()
    q.get(), q.task_done()
    gevlite.idle()
    assert not joiner.ready()
    q.get(), q.task_done()
    assert joiner.get() is True
    assert q.unfinished_tasks == 0


def test_join_times_out():
    q = Queue(items=[1])
    assert q.join(timeout=0.001) is False
    q.task_done()
    assert q.join() is True


def test_task_done_too_often_is_an_error():
    with pytest.raises(ValueError):
        Queue().task_done()


def test_an_item_handed_straight_to_a_getter_counts_as_unfinished():
    q = Queue()
    g = gevlite.spawn(q.get)
    gevlite.idle()
    q.put(1)
    assert q.unfinished_tasks == 1
    g.join()
    q.task_done()


def test_killing_a_joiner_leaves_no_place():
    q = Queue(items=[1])
    g = gevlite.spawn(q.join)
    gevlite.idle()
    g.kill()
    q.task_done()
    assert g.dead and q.unfinished_tasks == 0
    q.join()


# ---------------------------------------------------------------- shutdown


@pytest.mark.parametrize("cls", ALL)
def test_shutdown_lets_what_is_in_it_out_and_nothing_in(cls):
    q = cls(items=[1])
    q.shutdown()
    assert q.is_shutdown
    with pytest.raises(ShutDown):
        q.put(2)
    assert q.get() == 1
    with pytest.raises(ShutDown):
        q.get()
    with pytest.raises(ShutDown):
        q.peek()


@pytest.mark.parametrize("cls", ALL)
def test_shutdown_wakes_everybody_who_waits(cls):
    empty, full = cls(), full_queue(cls)
    waiting = [gevlite.spawn(empty.get), gevlite.spawn(empty.peek), gevlite.spawn(full.put, 1)]
    hub = gevlite.get_hub()
    reported = []
    hub.handle_error = lambda *args: reported.append(args)
    try:
        gevlite.idle()
        empty.shutdown()
        full.shutdown()
        gevlite.joinall(waiting)
    finally:
        del hub.handle_error
    assert [type(g.exception) for g in waiting] == [ShutDown] * 3
    assert full.get() == 0


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize("immediate", [False, True])
def test_an_iteration_ends_after_shutdown(cls, immediate):
    waits, has_items = cls(), cls(items=[1, 2])
    consumer = gevlite.spawn(list, waits)
    gevlite.idle()
    assert not consumer.ready()
    waits.shutdown(immediate)
    assert consumer.get(timeout=5) == []
    has_items.shutdown(immediate)
    assert sorted(has_items) == ([] if immediate else [1, 2])
    with pytest.raises(StopIteration):
        next(has_items)


def test_immediate_shutdown_throws_the_items_away_and_frees_joiners():
    q = Queue(items=[1, 2])
    joiner = gevlite.spawn(q.join)
    gevlite.idle()
    q.shutdown(immediate=True)
    assert q.empty()
    joiner.get()
    with pytest.raises(ShutDown):
        q.get()


@pytest.mark.parametrize("cls", [Queue, LifoQueue, PriorityQueue])
def test_what_immediate_shutdown_throws_away_counts_as_done_and_what_is_being_worked_on_does_not(cls):
    q = cls(items=[1, 2, 3])
    q.get()
    q.shutdown(immediate=True)
    assert q.unfinished_tasks == 1
    joiner = gevlite.spawn(q.join)
    gevlite.idle()
    assert not joiner.ready()
    q.task_done()
    assert joiner.get(timeout=5) is True
    with pytest.raises(ValueError):
        q.task_done()


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_getter_is_woken_from_another_thread(cls):
    q = cls()
    thread = threading.Thread(target=q.put, args=(1,))
    g = gevlite.spawn(q.get)
    gevlite.idle()
    thread.start()
    assert g.get(timeout=30) == 1
    thread.join()


@pytest.mark.parametrize("cls", WITH_CHANNEL)
def test_a_putter_is_let_in_from_another_thread(cls):
    q, got = full_queue(cls), []
    g = gevlite.spawn(q.put, 1)
    gevlite.idle()
    thread = threading.Thread(target=lambda: got.append(q.get()))
    thread.start()
    g.get(timeout=30)
    thread.join()
    assert got == ([1] if cls is Channel else [0])


class Item:
    """Compares in Python, so that threads may be switched in the middle of a heap operation."""

    def __init__(self, n):
        self.n = n

    def __lt__(self, other):
        return self.n < other.n


@pytest.mark.parametrize("cls", WITH_CHANNEL)
@pytest.mark.parametrize("maxsize", [None, 3])
def test_threads_that_put_and_get_at_once_lose_and_double_nothing(cls, maxsize, fast_thread_switches):
    q = Channel() if cls is Channel else cls(maxsize)
    count, got, failed = 1000, [[] for _ in range(3)], []

    def put(k):
        try:
            for n in range(count):
                q.put(Item(n * 3 + k), timeout=30)
        except BaseException as exc:
            failed.append(exc)

    def get(k):
        try:
            for _ in range(count):
                got[k].append(q.get(timeout=30).n)
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=f, args=(k,)) for f in (put, get) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed
    assert sorted(n for part in got for n in part) == list(range(3 * count))


def test_an_item_that_does_not_compare_stays_out_of_a_priority_queue(errors):
    q = PriorityQueue(2, items=[3, 1])
    putter = gevlite.spawn(q.put, "text")
    gevlite.idle()
    assert q.get() == 1  # makes room: the error is the putter's, not ours
    with pytest.raises(TypeError):
        putter.get()
    with pytest.raises(TypeError):
        q.put("text")
    assert q.unfinished_tasks == 2
    assert q.get() == 3 and q.empty()


# ---------------------------------------------------------------- fork


def test_a_queue_works_on_after_fork(run_script):
    run_script("""
        import os, gevlite
        from gevlite.queue import Queue
        q = Queue(1, ["before"])
        g = gevlite.spawn(q.put, "waiting")
        gevlite.idle()
        pid = os.fork()
        assert [q.get(), q.get()] == ["before", "waiting"]
        g.get()
        q.put(1)
        try:
            q.put(2, timeout=0.001)
        except gevlite.queue.Full:
            pass
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """)


def test_a_fork_in_the_middle_of_a_comparison_of_another_thread_leaves_a_queue_that_works(run_script):
    """That thread is gone in the child and will never finish its comparison."""
    run_script("""
        import os, threading, time
        from gevlite.queue import PriorityQueue

        comparing, forked = threading.Event(), threading.Event()

        class Slow:
            def __lt__(self, other):
                comparing.set()
                forked.wait()
                return True

        q = PriorityQueue(items=[Slow()])
        thread = threading.Thread(target=q.put, args=(Slow(),))
        thread.start()
        comparing.wait()
        pid = os.fork()
        if pid == 0:
            q.get_nowait()
            os._exit(0)
        forked.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert q.qsize() == 2
    """)


# ---------------------------------------------------------------- nothing leaks


def test_a_hundred_thousand_items_leave_nothing():
    q = Queue(10)

    def work(count):
        def put():
            for _ in range(count):
                q.put(object(), timeout=60)

        g = gevlite.spawn(put)
        for _ in range(count):
            q.get(timeout=60)
        g.get()

    work(100)
    gc.collect()
    before = len(gc.get_objects())
    work(20_000)
    gc.collect()
    assert len(gc.get_objects()) - before < 100


# ---------------------------------------------------------------- Channel


def test_a_channel_counts_who_waits():
    c = Channel()
    assert (c.qsize(), c.empty(), c.full(), c.balance) == (0, True, True, 0)
    g = gevlite.spawn(c.get)
    gevlite.idle()
    assert (c.getters, c.putters, c.balance) == (1, 0, -1)
    c.put(1)
    assert g.get() == 1
    g = gevlite.spawn(c.put, 2)
    gevlite.idle()
    assert (c.getters, c.putters, c.balance) == (0, 1, 1)
    assert next(c) == 2
    g.get()
    g = gevlite.spawn(c.put, 3)
    gevlite.idle()
    assert c.next() == 3
    g.get()


def test_a_channel_has_no_size():
    with pytest.raises(ValueError):
        Channel(2)
