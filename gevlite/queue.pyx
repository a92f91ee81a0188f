"""Queues between greenlets, also of different threads.

An item goes straight to the getter that has waited longest; a getter that makes room lets in the putter that has waited longest,
and puts its item in for it. So order is kept, nobody is overtaken, and a greenlet that is killed or runs out of time while it
waits has neither taken nor left anything.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from gevlite._core cimport (
    WAIT_QUEUE,
    LinkList,
    Waiter,
    current_hub,
    free_waiter,
    link_append,
    link_clear,
    link_pop,
    link_remove,
    new_waiter,
    notify_all,
    notify_one,
    timeout_ns,
)

import heapq
import queue as _queue
from _thread import RLock   # the real one: it guards against other OS threads
from collections import deque
from types import GenericAlias

__target__ = "queue"
# Queue and its kin stay: they are made of locks, and cooperative as soon as those are.
__implements__ = ["SimpleQueue"]

Empty = _queue.Empty
Full = _queue.Full

try:
    ShutDown = _queue.ShutDown      # Python 3.13
except AttributeError:

    class ShutDown(Exception):
        """Raised by `put` and `get` of a queue that was shut down."""


__all__ = [
    "Channel",
    "Empty",
    "Full",
    "JoinableQueue",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "ShutDown",
    "SimpleQueue",
]


@cython.no_gc
cdef class _Putter(Waiter):
    cdef object item


cdef int64_t _limit(object timeout) except -2:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return timeout_ns(timeout)


cdef class SimpleQueue:
    """A first-in, first-out queue. `maxsize`: how many items it holds; None or 0: any number.

    Iterating over it yields items until one of them is `StopIteration`.
    """

    cdef object items               # a deque, or a list for those that sort
    cdef readonly object maxsize
    cdef Py_ssize_t room            # maxsize, or -1
    cdef LinkList getters
    cdef LinkList putters
    cdef LinkList peekers
    cdef readonly bint is_shutdown
    cdef object __weakref__

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, maxsize=None, items=()):
        if maxsize is not None and maxsize <= 0:
            maxsize = None
        self.maxsize = maxsize
        self.room = maxsize if maxsize is not None else -1
        self.items = self._container(items)

    # -------- how the items are kept; a queue of another order replaces these

    def _container(self, items):
        return deque(items)

    cdef int add(self, object item) except -1:
        self.items.append(item)
        return 0

    cdef object take(self):
        return self.items.popleft()

    cdef object first(self):
        return self.items[0]

    cdef int put_back(self, object item) except -1:
        """`item` was taken and is the next one again."""
        self.items.appendleft(item)
        return 0

    # -------- state

    @property
    def queue(self):
        """The container of the items."""
        return self.items

    @property
    def hub(self):
        """The hub of the running thread: a queue belongs to no hub."""
        return current_hub()

    cpdef Py_ssize_t qsize(self) except -1:
        """The number of items."""
        return len(self.items)

    def __len__(self):
        return len(self.items)

    def __bool__(self):
        return True

    cpdef bint empty(self) except -1:
        """True if there is no item."""
        return not len(self.items)

    cpdef bint full(self) except -1:
        """True if `put` would block."""
        return self.room >= 0 and len(self.items) >= self.room

    def copy(self):
        """A new queue of the same kind with the same items."""
        return type(self)(self.maxsize, self.items)

    # -------- the operations

    cdef int accepted(self) except -1:
        """An item was taken in."""
        return 0

    cdef int deposit(self, object item) except -1:
        """There is room: hand the item to a getter or keep it."""
        if self.getters.count and not len(self.items) and notify_one(&self.getters, item):
            self.accepted()
            return 0
        self.add(item)
        self.accepted()
        if self.peekers.count:
            notify_all(&self.peekers, None)
        return 0

    cpdef put(self, item, bint block=True, timeout=None):
        """Put `item` in; block while the queue is full, at most `timeout` seconds.

        Raises Full when the time is over, or at once if `block` is false; ShutDown after `shutdown()`; ValueError for
        a negative time.
        """
        cdef _Putter w = self.begin_put(item, block, timeout)
        if w is not None:
            self.wait_to_put(w, _limit(timeout))

    cdef _Putter begin_put(self, item, bint block, object timeout):
        """Put it in, or take a place among the putters. Other threads see one step: no Python code runs after a test."""
        cdef _Putter w = None
        while True:
            if self.is_shutdown:
                raise ShutDown
            if self.room < 0 or len(self.items) < self.room:
                self.deposit(item)
                return None
            if not block:
                raise Full
            if w is not None:
                break
            _limit(timeout)
            w = _Putter.__new__(_Putter, current_hub())     # may run Python code, see new_waiter: look again
            w.kind = WAIT_QUEUE
            w.item = item
        link_append(&self.putters, w)
        return w

    cdef int wait_to_put(self, _Putter w, int64_t limit) except -1:
        try:
            w.park_for(limit)
        finally:
            link_remove(w)
        if w.timed_out:
            raise Full
        return 0

    cpdef put_nowait(self, item):
        """`put(item, block=False)`."""
        self.put(item, False)

    cdef int let_in(self) except -1:
        """There is room: the first putter's item comes in."""
        cdef _Putter w
        while self.putters.count and (self.room < 0 or len(self.items) < self.room):
            w = <_Putter> link_pop(&self.putters)
            if w.wake(None):
                try:
                    self.deposit(w.item)
                except BaseException as exc:
                    w.exc = exc         # it does not compare with the others: its own putter's error, not ours
        return 0

    cpdef get(self, bint block=True, timeout=None):
        """Remove and return the next item; block until there is one, at most `timeout` seconds.

        Raises Empty when the time is over, or at once if `block` is false; ShutDown if the queue is empty and was shut
        down; ValueError for a negative time.
        """
        cdef Waiter w = None
        if timeout is not None and block:
            _limit(timeout)     # a bad one is an error even if it is not needed
        if len(self.items):
            return self.take_and_let_in()
        w = self.begin_get(block, timeout)
        if w is None:
            return self.take_and_let_in()
        return self.wait_to_get(w, _limit(timeout))

    cdef object take_and_let_in(self):
        cdef object item = self.take()
        if self.putters.count:
            self.let_in()
        return item

    cdef Waiter begin_get(self, bint block, object timeout):
        """Take a place among the getters, as `begin_put`; None if there is an item."""
        cdef Waiter w = None
        while not len(self.items):
            if self.is_shutdown:
                raise ShutDown
            if not block:
                raise Empty
            if w is not None:
                link_append(&self.getters, w)
                return w
            _limit(timeout)
            w = new_waiter(current_hub(), WAIT_QUEUE)
        return None

    cdef object wait_to_get(self, Waiter w, int64_t limit):
        cdef object item
        try:
            item = w.park_for(limit)
        except BaseException:
            link_remove(w)
            if w.lost and not notify_one(&self.getters, w.value):
                self.put_back(w.value)
            raise
        link_remove(w)
        if w.timed_out:
            raise Empty
        free_waiter(w)
        return item

    cpdef get_nowait(self):
        """`get(block=False)`."""
        return self.get(False)

    def peek(self, block=True, timeout=None):
        """Return the next item without removing it; otherwise as `get`."""
        cdef Waiter w
        cdef int64_t limit
        limit = _limit(timeout)
        while not len(self.items):
            if self.is_shutdown:
                raise ShutDown
            if not block:
                raise Empty
            w = new_waiter(current_hub(), WAIT_QUEUE)
            if len(self.items) or self.is_shutdown:
                continue
            link_append(&self.peekers, w)
            try:
                w.park_for(limit)
            finally:
                link_remove(w)
            if w.timed_out:
                raise Empty
        return self.first()

    def peek_nowait(self):
        """`peek(block=False)`."""
        return self.peek(False)

    def shutdown(self, immediate=False):
        """Let nothing more in: `put` raises ShutDown, and so does `get` once the queue is empty.

        With `immediate`, what is in it is thrown away and everybody who waits in `get` is woken at once.
        """
        self.is_shutdown = True
        if immediate:
            self.items = self._container(())
            self.dropped()
        self.fail(&self.putters)
        if not len(self.items):
            self.fail(&self.getters)
            self.fail(&self.peekers)

    cdef int dropped(self) except -1:
        """The items were thrown away."""
        return 0

    cdef int fail(self, LinkList *waiting) except -1:
        while waiting.count:
            (<Waiter> link_pop(waiting)).throw(ShutDown())
        return 0

    def __iter__(self):
        return self

    def __next__(self):
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    def __repr__(self):
        text = f"<{type(self).__name__} at {<size_t> <PyObject *> self:#x}"
        if self.maxsize is not None:
            text += f" maxsize={self.maxsize}"
        text += f" items={len(self.items)}"
        if self.getters.count:
            text += f" getters={self.getters.count}"
        if self.putters.count:
            text += f" putters={self.putters.count}"
        if self.is_shutdown:
            text += " shut down"
        return text + ">"

    def __dealloc__(self):
        link_clear(&self.getters)
        link_clear(&self.putters)
        link_clear(&self.peekers)


cdef class Queue(SimpleQueue):
    """A SimpleQueue that also counts the work: `task_done()` for each item, `join()` until all is done.

    `unfinished_tasks` starts with the number of `items` unless it is given.
    """

    cdef readonly Py_ssize_t unfinished_tasks
    cdef LinkList joiners

    def __init__(self, maxsize=None, items=(), unfinished_tasks=None):
        SimpleQueue.__init__(self, maxsize, items)
        if unfinished_tasks is None:
            unfinished_tasks = len(self.items)
        self.unfinished_tasks = unfinished_tasks

    cdef int accepted(self) except -1:
        self.unfinished_tasks += 1
        return 0

    cdef int dropped(self) except -1:
        self.unfinished_tasks = 0
        notify_all(&self.joiners, None)
        return 0

    def copy(self):
        """A new queue of the same kind with the same items and the same count of unfinished tasks."""
        return type(self)(self.maxsize, self.items, self.unfinished_tasks)

    def task_done(self):
        """Say that the work on one item is finished. Raises ValueError if called more often than there were items."""
        if self.unfinished_tasks <= 0:
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= 1
        if not self.unfinished_tasks:
            notify_all(&self.joiners, None)

    def join(self, timeout=None):
        """Block until `task_done()` was called for every item, at most `timeout` seconds. True if it was."""
        cdef Waiter w
        if self.unfinished_tasks:
            w = new_waiter(current_hub(), WAIT_QUEUE)
            if not self.unfinished_tasks:
                return True
            link_append(&self.joiners, w)
            try:
                w.park_for(timeout_ns(timeout))
            finally:
                link_remove(w)
        return self.unfinished_tasks == 0

    def __dealloc__(self):
        link_clear(&self.joiners)


JoinableQueue = Queue


cdef class LifoQueue(Queue):
    """A Queue that returns the newest item first."""

    def _container(self, items):
        return list(items)

    cdef object take(self):
        return self.items.pop()

    cdef object first(self):
        return self.items[-1]

    cdef int put_back(self, object item) except -1:
        return self.add(item)


cdef class PriorityQueue(Queue):
    """A Queue that returns the smallest item first; typical items are `(priority, data)`."""

    def _container(self, items):
        heap = list(items)
        heapq.heapify(heap)
        return heap

    cdef object guard       # comparisons may run Python code, and other threads with it: held while the heap changes

    def __cinit__(self):
        self.guard = RLock()

    cdef int add(self, object item) except -1:
        try:
            heapq.heappush(self.items, item)
        except BaseException:
            # It is somewhere in the heap, and does not compare with what it was put beside.
            self.items = [other for other in self.items if other is not item]
            heapq.heapify(self.items)
            raise
        return 0

    cdef object take(self):
        return heapq.heappop(self.items)

    cdef int put_back(self, object item) except -1:
        with self.guard:
            return self.add(item)

    cpdef put(self, item, bint block=True, timeout=None):
        """As `Queue.put`. An item that does not compare with those in the queue raises TypeError and stays out."""
        cdef _Putter w
        with self.guard:
            w = self.begin_put(item, block, timeout)
        if w is not None:
            self.wait_to_put(w, _limit(timeout))

    cpdef get(self, bint block=True, timeout=None):
        cdef Waiter w
        with self.guard:
            w = self.begin_get(block, timeout)
            if w is None:
                return self.take_and_let_in()
        return self.wait_to_get(w, _limit(timeout))


cdef class Channel:
    """A queue that holds nothing: `put` blocks until somebody takes the item."""

    cdef LinkList _getters
    cdef LinkList _putters
    cdef object __weakref__

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, maxsize=1):
        if maxsize != 1:
            raise ValueError("a Channel has no size to set")

    @property
    def getters(self):
        """How many wait in `get`."""
        return self._getters.count

    @property
    def putters(self):
        """How many wait in `put`."""
        return self._putters.count

    @property
    def balance(self):
        """Waiting putters less waiting getters."""
        return self._putters.count - self._getters.count

    @property
    def hub(self):
        """The hub of the running thread."""
        return current_hub()

    def qsize(self):
        """0."""
        return 0

    def empty(self):
        """True."""
        return True

    def full(self):
        """True."""
        return True

    def put(self, item, block=True, timeout=None):
        """Hand `item` to somebody; block until it is taken, at most `timeout` seconds. Raises Full."""
        cdef _Putter w
        cdef int64_t limit
        if notify_one(&self._getters, item):
            return
        if not block:
            raise Full
        limit = _limit(timeout)
        w = _Putter.__new__(_Putter, current_hub())
        if notify_one(&self._getters, item):        # meanwhile, see new_waiter
            return
        w.kind = WAIT_QUEUE
        w.item = item
        if self._getters.count:
            return self.put(item, block, timeout)
        link_append(&self._putters, w)
        try:
            w.park_for(limit)
        finally:
            link_remove(w)
        if w.timed_out:
            raise Full

    def put_nowait(self, item):
        """`put(item, block=False)`."""
        self.put(item, False)

    def get(self, block=True, timeout=None):
        """Take an item from somebody; block until there is one, at most `timeout` seconds. Raises Empty."""
        cdef _Putter p
        cdef Waiter w = None
        cdef int64_t limit = -1
        while True:
            while self._putters.count:
                p = <_Putter> link_pop(&self._putters)
                if p.wake(None):
                    return p.item
            if not block:
                raise Empty
            if w is not None:
                break
            limit = _limit(timeout)
            w = new_waiter(current_hub(), WAIT_QUEUE)       # then look again
        link_append(&self._getters, w)
        try:
            item = w.park_for(limit)
        finally:
            link_remove(w)
        if w.timed_out:
            raise Empty
        return item

    def get_nowait(self):
        """`get(block=False)`."""
        return self.get(False)

    def __iter__(self):
        return self

    def __next__(self):
        item = self.get()
        if item is StopIteration:
            raise StopIteration
        return item

    def __repr__(self):
        return f"<{type(self).__name__} at {<size_t> <PyObject *> self:#x} getters={self.getters} putters={self.putters}>"

    def __dealloc__(self):
        link_clear(&self._getters)
        link_clear(&self._putters)
