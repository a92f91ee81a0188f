"""Queues between greenlets, also of different threads.

An item goes straight to the getter that has waited longest. A getter that makes room lets in the putter that has waited
longest, and puts its item in for it. So order is kept, no greenlet overtakes another, and one that is killed or runs out of
time while it waits has neither taken nor left anything.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int64_t

from gevlite._core cimport (
    WAIT_QUEUE,
    WaitList,
    Waiter,
    await_it,
    begin_peace,
    current_hub,
    deadline_of,
    end_peace,
    free_waiter,
    give_way_within,
    new_waiter,
    notify_all,
    notify_one,
    time_left,
    timeout_ns,
    type_name,
    wait_on,
    waitlist_append,
    waitlist_clear,
    waitlist_pop,
)
from gevlite.timeout cimport RAISE, Timeout, within

import heapq
import os
import queue as _queue
from collections import deque
from types import GenericAlias

from gevlite._core import register_description

__target__ = "queue"
# Queue and its kin stay as they are: they are built on locks, and cooperative as soon as those are.
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

cdef extern from *:
    """
    /* The C function behind a method of a built-in type. Calling it directly saves a third of `put` and of `get`. */
    static PyCFunction gevlite_method(PyObject *type, const char *name, int flags)
    {
        PyObject *method = PyObject_GetAttrString(type, name);
        PyCFunction function = NULL;
        if (method == NULL)
            return NULL;
        if (Py_IS_TYPE(method, &PyMethodDescr_Type) && ((PyMethodDescrObject *)method)->d_method->ml_flags == flags)
            function = ((PyMethodDescrObject *)method)->d_method->ml_meth;
        else
            PyErr_Format(PyExc_SystemError, "%R is not the built-in method it was", method);
        Py_DECREF(method);
        return function;
    }
    """
    ctypedef object (*PyCFunction)(object self, PyObject *argument)
    PyCFunction gevlite_method(object type, const char *name, int flags) except NULL
    int METH_O, METH_NOARGS

cdef extern from "Python.h":
    Py_ssize_t PyObject_Size(PyObject *o) except -1

cdef extern from "unistd.h" nogil:
    int usleep(unsigned int microseconds) noexcept

cdef object _deque = deque
cdef PyCFunction _deque_append = gevlite_method(deque, b"append", METH_O)
cdef PyCFunction _deque_popleft = gevlite_method(deque, b"popleft", METH_NOARGS)
cdef object _heappush = heapq.heappush
cdef object _heappop = heapq.heappop
cdef object _heapify = heapq.heapify


@cython.no_gc
cdef class _Putter(Waiter):
    cdef object item


cdef int64_t _limit(object timeout) except -2:
    cdef int64_t limit = timeout_ns(timeout)
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return limit


# How long a thread sleeps between two looks at a guard that another thread has.
cdef unsigned int GUARD_LOOK_US = 50
cdef Py_ssize_t _forks = 0


def _count_fork():
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


cdef class _Guard:
    """Keeps others out of a queue while Python code, a comparison say, runs in the middle of a step.

    Other greenlets of the thread stay out because no time slice ends meanwhile. To other OS threads it is a lock. The
    Python code may itself use the queue: the same thread may enter again. The code takes moments, and another thread
    rarely comes just then. So a thread that finds the guard taken sleeps a little and looks again until it is free.
    """

    cdef unsigned long owner
    cdef Py_ssize_t depth
    cdef Py_ssize_t forks       # how many there had been when it was last taken

    cdef int enter(self) except -1:
        cdef unsigned long me = PyThread_get_thread_ident()
        if self.forks != _forks:
            self.forks = _forks
            if self.owner != me:
                self.depth = 0          # taken by a thread that the fork left behind
        while self.depth and self.owner != me:
            with nogil:
                usleep(GUARD_LOOK_US)
        self.owner = me
        self.depth += 1
        return begin_peace()

    cdef int leave(self) except -1:
        self.depth -= 1
        return end_peace()


@cython.final
cdef class Next:
    """What `async for item in queue` awaits."""

    cdef readonly object queue

    def __await__(self):
        return await_it(self)


cdef class _QueueBase:
    """What queues and channels share."""

    cdef WaitList getting       # waiters in get()
    cdef WaitList putting       # waiters in put(): _Putters
    cdef object __weakref__

    __class_getitem__ = classmethod(GenericAlias)

    cpdef put(self, item, bint block=True, timeout=None):
        raise NotImplementedError(f"{type(self).__name__}.put")

    cpdef get(self, bint block=True, timeout=None):
        raise NotImplementedError(f"{type(self).__name__}.get")

    cdef int put_back(self, object item) except -1:
        """`item` was taken and is the next one again."""
        raise NotImplementedError(f"{type(self).__name__}.put_back")

    def _untake(self, item):
        """`item` was taken and cannot be used: give it to the next waiting getter, or make it the next item again."""
        if not notify_one(&self.getting, item):
            self.put_back(item)

    @property
    def hub(self):
        """The hub of the running thread: a queue belongs to no hub."""
        return current_hub()

    def put_nowait(self, item):
        """`put(item, block=False)`."""
        self.put(item, False)

    def get_nowait(self):
        """`get(block=False)`."""
        return self.get(False)

    @cython.final
    cdef _Putter new_putter(self, object item):
        """May run Python code, see new_waiter: look again afterwards."""
        cdef _Putter w = _Putter.__new__(_Putter, current_hub())
        w.kind = WAIT_QUEUE
        w.what = <PyObject *> self
        w.item = item
        return w

    @cython.final
    cdef int wait_to_put(self, _Putter w, int64_t limit) except -1:
        w.park_for(limit)
        if w.timed_out:
            raise Full
        return 0

    @cython.final
    cdef object wait_to_get(self, Waiter w, int64_t limit):
        cdef object item
        try:
            item = w.park_for(limit)
        except BaseException:
            if w.undelivered and not notify_one(&self.getting, w.value):
                self.put_back(w.value)      # it was handed to us, but an exception ended our wait
            raise
        if w.timed_out:
            raise Empty
        free_waiter(w)
        return item

    def __await__(self):
        """`await queue`: `get` in a coroutine. Needs a loop of `gevlite.asyncio`."""
        return await_it(self)

    def __aiter__(self):
        return self

    def __anext__(self):
        cdef Next made = Next.__new__(Next)
        made.queue = self
        return made

    def __iter__(self):
        return self

    def __next__(self):
        try:
            item = self.get()
        except ShutDown:
            item = StopIteration
        if item is StopIteration:
            raise StopIteration
        return item

    def __dealloc__(self):
        waitlist_clear(&self.getting)
        waitlist_clear(&self.putting)


cdef class SimpleQueue(_QueueBase):
    """SimpleQueue(maxsize=None, items=())\n--\n
    A first-in, first-out queue. `maxsize`: how many items it holds; None or 0: any number.

    Iterating over it, also with `async for`, yields items until one of them is `StopIteration`, or until the queue is empty
    and was shut down. A subclass may keep the items in another way, as with the standard library's queues: it overrides
    `_init(maxsize)`, which sets `queue`, `_put(item)`, `_get()`, `_qsize()` and, for `peek`, `_peek()`. They must not block.
    """

    cdef object items               # a deque, or a list for those that sort
    cdef Py_ssize_t room            # maxsize, or -1
    cdef Py_ssize_t unfinished      # items put in and not yet reported done
    cdef WaitList peeking
    cdef WaitList joining
    cdef readonly bint is_shutdown
    cdef bint hooked                # a subclass has its own _put and the like
    cdef _Guard guard               # None if adding and taking run no Python code

    def __init__(self, maxsize=None, items=()):
        try:
            self.room = maxsize if maxsize is not None and maxsize > 0 else -1
        except TypeError:
            raise TypeError(f"maxsize must be a whole number or None, not {maxsize!r}") from None
        self.hooked = overrides_hooks(type(self))
        if self.hooked and self.guard is None:
            self.guard = _Guard()
        self._init(self.maxsize)
        self.fill(items)
        self.unfinished = self.size()

    # -------- how the items are kept; a queue with another order replaces these

    def _init(self, maxsize):
        """Make the container of the items."""
        self.items = deque()

    def _put(self, item):
        """Add to the container."""
        self.add(item)

    def _get(self):
        """Take the next one from the container."""
        return self.take()

    def _peek(self):
        """The next one in the container."""
        return self.first()

    def _qsize(self):
        """How many are in the container."""
        return len(self.items)

    cdef int fill(self, object items) except -1:
        if self.hooked:
            for item in items:
                self._put(item)
        else:
            self.items.extend(items)
        return 0

    cdef int add(self, object item) except -1:
        if type(self.items) is _deque:
            _deque_append(self.items, <PyObject *> item)
        else:
            self.items.append(item)
        return 0

    cdef object take(self):
        if type(self.items) is _deque:
            return _deque_popleft(self.items, NULL)
        return self.items.popleft()

    cdef object first(self):
        return self.items[0]

    cdef int add_first(self, object item) except -1:
        """`item` was taken and is the next one again."""
        self.items.appendleft(item)
        return 0

    @cython.final
    cdef inline int store(self, object item) except -1:
        if self.hooked:
            self._put(item)
            return 0
        return self.add(item)

    @cython.final
    cdef inline object fetch(self):
        return self._get() if self.hooked else self.take()

    # -------- state

    @property
    def queue(self):
        """The container of the items."""
        return self.items

    @queue.setter
    def queue(self, value):
        self.items = value

    @property
    def maxsize(self):
        """How many items it holds; None: any number. Setting it lets waiting putters in if there is room now."""
        return self.room if self.room >= 0 else None

    @maxsize.setter
    def maxsize(self, value):
        self.room = value if value is not None and value > 0 else -1
        self.enter()
        try:
            self.let_in()
        finally:
            self.leave()

    @cython.final
    cdef inline Py_ssize_t size(self) except -1:
        return self._qsize() if self.hooked else PyObject_Size(<PyObject *> self.items)

    def qsize(self):
        """The number of items."""
        return self.size()

    def __len__(self):
        return self.size()

    def __bool__(self):
        return True

    def empty(self):
        """True if there is no item."""
        return not self.size()

    def full(self):
        """True if `put` would block."""
        return not self.has_room()

    @cython.final
    cdef inline bint has_room(self) except -1:
        return self.room < 0 or self.size() < self.room

    def copy(self):
        """A new queue of the same kind with the same items."""
        return type(self)(self.maxsize, list(self.items))

    # -------- the operations
    #
    # To other threads each of these is one step: no Python code runs between a test and the action that follows from
    # it. Where Python code has to run, the guard is held.

    @cython.final
    cdef inline int enter(self) except -1:
        return self.guard.enter() if self.guard is not None else 0

    @cython.final
    cdef inline int leave(self) except -1:
        return self.guard.leave() if self.guard is not None else 0

    @cython.final
    cdef inline int deposit(self, object item) except -1:
        """There is room: hand the item to a getter or keep it."""
        if self.getting.count and not self.size() and self.hand_over(item):
            return 0
        self.store(item)
        self.unfinished += 1
        if self.peeking.count:
            notify_all(&self.peeking, None)
        return 0

    @cython.final
    cdef bint hand_over(self, object item) except -1:
        """Give it straight to the first getter that takes it."""
        if self.hooked:
            return self.hand_over_hooked(item)
        self.unfinished += 1
        if notify_one(&self.getting, item):
            return True
        self.unfinished -= 1
        return False

    @cython.final
    cdef bint hand_over_hooked(self, object item) except -1:
        """`hand_over` by way of the container. An exception from `_get` goes to the getter whose turn it is."""
        self.store(item)
        self.unfinished += 1
        while self.getting.count and self.size():
            try:
                item = self.fetch()
            except BaseException as exc:
                while self.getting.count and not (<Waiter> waitlist_pop(&self.getting)).throw(exc):
                    pass
                continue
            if notify_one(&self.getting, item):
                return True
            self._put(item)
        if self.peeking.count:
            notify_all(&self.peeking, None)
        return True

    cpdef put(self, item, bint block=True, timeout=None):
        """Put `item` in; block while the queue is full, at most `timeout` seconds.

        Raises Full when the time is over, or at once if `block` is false; ShutDown after `shutdown()`; ValueError for
        a negative time.
        """
        cdef _Putter w
        cdef int64_t limit = -1
        if block and self.room >= 0:        # a queue without a limit never blocks
            give_way_within(timeout)
        if timeout is not None and block:
            if isinstance(timeout, Timeout):
                return within(timeout, RAISE, (<object> SimpleQueue).put, (self, item))
            limit = _limit(timeout)     # a bad one is an error even if it is not needed
        if self.guard is None and self.accept(item):
            return                      # nothing to undo: the usual case costs no try statement
        self.enter()
        try:
            w = self.begin_put(item, block)
        finally:
            self.leave()
        if w is not None:
            self.wait_to_put(w, limit)

    @cython.final
    cdef inline bint accept(self, object item) except -1:
        """Put it in if there is room."""
        if self.is_shutdown:
            raise ShutDown
        if not self.has_room():
            return False
        self.deposit(item)
        return True

    @cython.final
    cdef _Putter begin_put(self, object item, bint block):
        """Put it in, or take a place among the putters."""
        cdef _Putter w = None
        while not self.accept(item):
            if not block:
                raise Full
            if w is not None:
                waitlist_append(&self.putting, w)
                return w
            w = self.new_putter(item)
        return None

    @cython.final
    cdef int let_in(self) except -1:
        """There may be room: let in the items of the first putters."""
        cdef _Putter w
        while self.putting.count and self.has_room():
            w = <_Putter> waitlist_pop(&self.putting)
            if w.wake(None):
                try:
                    self.deposit(w.item)
                except BaseException as exc:
                    w.exc = exc         # the item does not compare with the others: its putter's error, not ours
        return 0

    cpdef get(self, bint block=True, timeout=None):
        """Remove and return the next item; block until there is one, at most `timeout` seconds.

        Raises Empty when the time is over, or at once if `block` is false; ShutDown if the queue is empty and was shut
        down; ValueError for a negative time.
        """
        cdef Waiter w
        cdef int64_t limit = -1
        if block:
            give_way_within(timeout)
        if timeout is not None and block:
            if isinstance(timeout, Timeout):
                return within(timeout, RAISE, (<object> SimpleQueue).get, (self,))
            limit = _limit(timeout)
        if self.guard is None and self.size():
            return self.take_and_let_in()
        self.enter()
        try:
            w = self.begin_get(block, &self.getting)
            if w is None:
                return self.take_and_let_in()
        finally:
            self.leave()
        return self.wait_to_get(w, limit)

    @cython.final
    cdef Waiter begin_get(self, bint block, WaitList *waiting):
        """None if there is an item. Else a Waiter, which is in the list of those that wait for one."""
        cdef Waiter w = None
        while not self.size():
            if self.is_shutdown:
                raise ShutDown
            if not block:
                raise Empty
            if w is not None:
                waitlist_append(waiting, w)
                return w
            w = new_waiter(current_hub(), WAIT_QUEUE, <PyObject *> self)       # then look again
        return None

    cdef int put_back(self, object item) except -1:
        self.enter()
        try:
            if self.hooked:
                self._put(item)
            else:
                self.add_first(item)
            notify_all(&self.peeking, None)
        finally:
            self.leave()
        return 0

    @cython.final
    cdef inline object take_and_let_in(self):
        cdef object item = self.fetch()
        if self.putting.count:
            self.let_in()
        return item

    def peek(self, block=True, timeout=None):
        """Return the next item without removing it; otherwise as `get`."""
        cdef Waiter w
        cdef int64_t limit, deadline
        if block:
            give_way_within(timeout)
        if block and isinstance(timeout, Timeout):
            return within(timeout, RAISE, (<object> SimpleQueue).peek, (self,))
        limit = _limit(timeout) if block else 0
        deadline = deadline_of(limit)
        while True:
            self.enter()
            try:
                w = self.begin_get(block, &self.peeking)
                if w is None:
                    return self._peek() if self.hooked else self.first()
            finally:
                self.leave()
            if not wait_on(w, limit):
                raise Empty
            # Another greenlet may have taken the item before our turn.
            limit = time_left(deadline)

    def peek_nowait(self):
        """`peek(block=False)`."""
        return self.peek(False)

    def shutdown(self, immediate=False):
        """Let nothing more in: `put` raises ShutDown, and so does `get` once the queue is empty, where an iteration ends. All
        that wait are woken.

        With `immediate`, what is in it is thrown away and counts as done.
        """
        cdef bint empty
        self.enter()
        try:
            self.is_shutdown = True
            if immediate:
                self.discard()
            empty = not self.size()
        finally:
            self.leave()
        fail(&self.putting)
        if empty:
            fail(&self.getting)
            fail(&self.peeking)

    @cython.final
    cdef int discard(self) except -1:
        while self.size():
            self.fetch()
            if self.unfinished:
                self.unfinished -= 1
        if not self.unfinished:
            notify_all(&self.joining, None)
        return 0

    def __repr__(self):
        text = f"<{type(self).__name__} at {<size_t> <PyObject *> self:#x}"
        if self.room >= 0:
            text += f" maxsize={self.room}"
        text += f" items={self.size()}"
        if self.getting.count:
            text += f" getters={self.getting.count}"
        if self.putting.count:
            text += f" putters={self.putting.count}"
        if self.peeking.count:
            text += f" peekers={self.peeking.count}"
        if self.joining.count:
            text += f" joiners={self.joining.count}"
        if self.is_shutdown:
            text += " shut down"
        return text + ">"

    def __dealloc__(self):
        waitlist_clear(&self.peeking)
        waitlist_clear(&self.joining)


cdef int fail(WaitList *waiting) except -1:
    while waiting.count:
        (<Waiter> waitlist_pop(waiting)).throw(ShutDown())
    return 0


cdef class Queue(SimpleQueue):
    """Queue(maxsize=None, items=(), unfinished_tasks=None)\n--\n
    A SimpleQueue that also counts the work: `task_done()` for each item, `join()` until all is done.

    `unfinished_tasks` starts with the number of `items` unless it is given.
    """

    def __init__(self, maxsize=None, items=(), unfinished_tasks=None):
        SimpleQueue.__init__(self, maxsize, items)
        if unfinished_tasks is not None:
            self.unfinished = unfinished_tasks

    @property
    def unfinished_tasks(self):
        """How many items were put in and not yet reported by `task_done()`."""
        return self.unfinished

    def copy(self):
        """A new queue of the same kind with the same items and the same count of unfinished tasks."""
        return type(self)(self.maxsize, list(self.items), self.unfinished)

    def task_done(self):
        """Say that the work on one item is finished. Raises ValueError if called more often than there were items."""
        if self.unfinished <= 0:
            raise ValueError("task_done() called too many times")
        self.unfinished -= 1
        if not self.unfinished:
            notify_all(&self.joining, None)

    def join(self, timeout=None):
        """Block until `task_done()` was called for every item, at most `timeout` seconds. True if it was."""
        cdef Waiter w
        cdef int64_t limit
        give_way_within(timeout)
        if self.unfinished:
            if isinstance(timeout, Timeout):
                return within(timeout, False, (<object> Queue).join, (self,))
            limit = timeout_ns(timeout)
            w = new_waiter(current_hub(), WAIT_QUEUE, <PyObject *> self)
            if self.unfinished:         # still, see new_waiter
                waitlist_append(&self.joining, w)
                wait_on(w, limit)
        return self.unfinished == 0


JoinableQueue = Queue


cdef class LifoQueue(Queue):
    """A Queue that returns the newest item first."""

    def _init(self, maxsize):
        self.items = []

    cdef int add(self, object item) except -1:
        self.items.append(item)
        return 0

    cdef object take(self):
        return self.items.pop()

    cdef object first(self):
        return self.items[-1]

    cdef int add_first(self, object item) except -1:
        return self.add(item)


class UnboundQueue(Queue):
    """A Queue without a `maxsize`: an old name for it. Raises ValueError for a `maxsize` other than None."""

    def __init__(self, maxsize=None, items=()):
        if maxsize is not None:
            raise ValueError("an UnboundQueue has no maxsize")
        Queue.__init__(self, None, items)


cdef class PriorityQueue(Queue):
    """A Queue that returns the smallest item first; typical items are `(priority, data)`.

    Putting in an item that does not compare with those in it raises TypeError, and the item stays out.
    """

    def __cinit__(self, *args, **kwargs):
        self.guard = _Guard()

    def _init(self, maxsize):
        self.items = []

    cdef int fill(self, object items) except -1:
        Queue.fill(self, items)
        if not self.hooked:
            _heapify(self.items)
        return 0

    cdef int add(self, object item) except -1:
        try:
            _heappush(self.items, item)
        except BaseException:
            # The item is somewhere in the heap, and does not compare with an item beside it.
            self.items = [other for other in self.items if other is not item]
            _heapify(self.items)
            raise
        return 0

    cdef object take(self):
        return _heappop(self.items)

    cdef int add_first(self, object item) except -1:
        return self.add(item)


_OURS = (SimpleQueue, Queue, LifoQueue, PriorityQueue)
_HOOKS = frozenset(("_init", "_put", "_get", "_peek", "_qsize"))


cdef bint overrides_hooks(type cls) except -1:
    for base in cls.__mro__:
        if base in _OURS:
            return False
        if not _HOOKS.isdisjoint(base.__dict__):
            return True
    return False


cdef class Channel(_QueueBase):
    """Channel(maxsize=1)\n--\n
    A queue that holds nothing: `put` blocks until another greenlet takes the item."""

    cdef list returned          # items of getters whose wait an exception ended after they were handed over; None for none

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, maxsize=1):
        if maxsize != 1:
            raise ValueError("a Channel has no size to set")

    @property
    def getters(self):
        """How many greenlets wait in `get`."""
        return self.getting.count

    @property
    def putters(self):
        """How many greenlets wait in `put`."""
        return self.putting.count

    @property
    def balance(self):
        """The number of waiting putters minus that of waiting getters."""
        return self.putting.count - self.getting.count

    def qsize(self):
        """0."""
        return 0

    def empty(self):
        """True."""
        return True

    def full(self):
        """True."""
        return True

    cpdef put(self, item, bint block=True, timeout=None):
        """Hand `item` to a getter; block until it is taken, at most `timeout` seconds. Raises Full."""
        cdef _Putter w
        cdef int64_t limit = -1
        if block:
            give_way_within(timeout)
        if timeout is not None and block:
            if isinstance(timeout, Timeout):
                return within(timeout, RAISE, (<object> Channel).put, (self, item))
            limit = _limit(timeout)
        if notify_one(&self.getting, item):
            return
        if not block:
            raise Full
        w = self.new_putter(item)
        if notify_one(&self.getting, item):
            return
        waitlist_append(&self.putting, w)
        self.wait_to_put(w, limit)

    cpdef get(self, bint block=True, timeout=None):
        """Take an item from a putter; block until there is one, at most `timeout` seconds. Raises Empty."""
        cdef _Putter p
        cdef Waiter w = None
        cdef int64_t limit = -1
        if block:
            give_way_within(timeout)
        if timeout is not None and block:
            if isinstance(timeout, Timeout):
                return within(timeout, RAISE, (<object> Channel).get, (self,))
            limit = _limit(timeout)
        while True:
            if self.returned:
                return self.returned.pop(0)
            while self.putting.count:
                p = <_Putter> waitlist_pop(&self.putting)
                if p.wake(None):
                    return p.item
            if not block:
                raise Empty
            if w is not None:
                break
            w = new_waiter(current_hub(), WAIT_QUEUE, <PyObject *> self)       # then look again
        waitlist_append(&self.getting, w)
        return self.wait_to_get(w, limit)

    cdef int put_back(self, object item) except -1:
        if self.returned is None:
            self.returned = []
        self.returned.append(item)
        return 0

    def next(self):
        """The same as `next(channel)`."""
        return next(self)

    def __repr__(self):
        return f"<{type(self).__name__} at {<size_t> <PyObject *> self:#x} getters={self.getters} putters={self.putters}>"


# ---------------------------------------------------------------- what greenlets wait for, in words

def _describe_queue(what, waiter):
    cdef SimpleQueue queue = what
    cdef WaitList *waits = (<Waiter> waiter).list
    cdef str name = type_name(what)
    if waits == &queue.putting:
        return f"room in {name}, full with {queue.room}"
    if waits == &queue.joining:
        return f"the end of work on {name}, {queue.unfinished} unfinished"
    return f"an item in {name}, empty"


def _describe_channel(what, waiter):
    if (<Waiter> waiter).list == &(<Channel> what).putting:
        return f"a getter at {type_name(what)}"
    return f"a putter at {type_name(what)}"


register_description(SimpleQueue, _describe_queue)
register_description(Channel, _describe_channel)
