"""Lock, RLock and get_ident as `_thread` has them, for greenlets as well as for OS threads.

`lock.Semaphore` and `lock.RLock` are gevlite's own. The classes here follow the standard library exactly (time-outs where -1
means none, which error for which misuse, what Condition and the after-fork code expect), because `threading`,
`logging` and `importlib` are built on them once they are patched.

A release hands the lock to the greenlet that has waited longest. If any greenlet could take it, a greenlet that
releases it and acquires it again without blocking in between would always win, and the others would starve.

Taking a free lock makes no hub, so OS threads that never wait for one cost nothing.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int64_t

from gevlite._core cimport (
    WAIT_LOCK,
    CoreGreenlet,
    Hub,
    WaitList,
    Waiter,
    current_greenlet,
    current_hub,
    give_way,
    greenlet,
    in_whose_name,
    new_waiter,
    timeout_ns,
    type_name,
    wait_on,
    waitlist_append,
    waitlist_clear,
    waitlist_pop,
)

import _thread
import sys

from gevlite._core import hubs, register_description
from gevlite.exceptions import LoopExit

__all__ = ["Lock", "RLock", "get_ident", "get_owner_ident", "report_thread_error"]

cdef extern from "_greenlet_api.h":
    int gl_import() except -1
    PyObject *gl_parent(PyObject *g)

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident() noexcept

cdef extern from *:
    """
    static void gevlite_report_thread_error(PyObject *exc, PyObject *function)
    {
        PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), Py_NewRef(exc), PyException_GetTraceback(exc));
    #if PY_VERSION_HEX >= 0x030D0000
        PyErr_FormatUnraisable("Exception ignored in thread started by %R", function);
    #else
        _PyErr_WriteUnraisableMsg("in thread started by", function);
    #endif
    }
    """
    void gevlite_report_thread_error(object exc, object function) noexcept

gl_import()

cdef object NO_TIMEOUT = -1
cdef double TIMEOUT_MAX = _thread.TIMEOUT_MAX
cdef int64_t FOREVER = -1

# Before Python 3.15 the original ignored arguments.
cdef bint RLOCK_TAKES_NOTHING = sys.version_info >= (3, 15)


def report_thread_error(exc, function):
    """Give an exception that ended a thread to `sys.unraisablehook`, as `_thread` does."""
    gevlite_report_thread_error(exc, function)


# ---------------------------------------------------------------- which thread is running

cdef unsigned long current_ident():
    """The number of the running greenlet: for a main greenlet that of its OS thread, for any other its address."""
    cdef greenlet g = current_greenlet()
    cdef PyObject *parent
    if not isinstance(g, CoreGreenlet):
        parent = gl_parent(<PyObject *> g)
        if parent == NULL:
            return PyThread_get_thread_ident()
        Py_DECREF(<object> parent)
    return <unsigned long> <PyObject *> g


def get_owner_ident():
    """The number of the running code, as locks see it: code in the hub has another number than the main greenlet."""
    return current_ident()


def get_ident(gr=None):
    """A number that no other live greenlet or OS thread has; that of `gr`, or of what runs.

    The main greenlet of an OS thread has the thread's own number, so that code that looks for the main thread finds it.
    Code that runs in the hub, a callback or a destructor, counts as the main greenlet. (Locks tell the two apart.)
    """
    if gr is None:
        me = current_greenlet()
        gr = in_whose_name(me)
        if gr is me:
            return current_ident()
    elif gr is current_greenlet():
        return current_ident()
    if not isinstance(gr, greenlet):
        raise TypeError(f"get_ident() takes a greenlet, not {type(gr).__name__}")
    if gr.parent is None:
        for hub in hubs():
            if hub.parent is gr:
                return hub.thread_ident
    return <unsigned long> <PyObject *> gr


# ---------------------------------------------------------------- locks

cdef int64_t time_limit(bint blocking, object timeout) except -2:
    """Nanoseconds; -1 for ever."""
    cdef double seconds
    if timeout is NO_TIMEOUT:
        return FOREVER if blocking else 0
    seconds = timeout
    if seconds == -1:
        return FOREVER if blocking else 0
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if seconds < 0:
        raise ValueError("timeout value must be a non-negative number")
    if seconds > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return timeout_ns(seconds)


@cython.final
cdef class Lock:
    """Lock()\n--\n
    What `threading.Lock()` makes: taken by `acquire` or `with`, given back by `release`, in any greenlet or thread.

    It may be shared by greenlets and by OS threads. Like the original it cannot be subclassed.
    """

    cdef bint held
    cdef PyObject *outer            # borrowed: the RLock whose lock this is, which has the only reference; else NULL
    cdef WaitList waiters
    cdef object __weakref__

    def __init__(self):
        pass                            # takes no arguments: a __cinit__ without any would let all pass

    def acquire(self, bint blocking=True, timeout=-1):
        """Take it; block while it is taken, at most `timeout` seconds (-1: for ever). False if that did not work.

        Raises ValueError for a negative time and for a time given with `blocking=False`.
        """
        return self.take(time_limit(blocking, timeout))

    cdef bint take(self, int64_t limit) except -1:
        if limit != 0:
            give_way(True)
        if not self.held:
            self.held = True
            return True
        if limit == 0:
            # Code written for threads may try again and again. Then it waits for the greenlet that has the lock.
            give_way(True)
            return False
        return self._wait(limit)

    cdef bint _wait(self, int64_t limit) except -1:
        cdef Hub hub = current_hub()
        cdef Waiter w
        w = new_waiter(hub, WAIT_LOCK, <PyObject *> self)
        if not self.held:
            # Another thread released it while the waiter, or even the hub, was made.
            self.held = True
            return True
        waitlist_append(&self.waiters, w)
        try:
            return wait_on(w, limit)
        except BaseException:
            if w.undelivered:
                self.give()         # it was handed to us, but something else ended our wait
            raise

    def release(self):
        """Give it back: to the first waiter if there is one. Does not block. Raises RuntimeError if it is not taken."""
        self.give()

    cdef int give(self) except -1:
        cdef Waiter w
        if not self.held:
            raise RuntimeError("release unlocked lock")
        while self.waiters.count:
            w = <Waiter> waitlist_pop(&self.waiters)
            if w.wake(self):
                return 0
        self.held = False
        return 0

    def locked(self):
        """True if it is taken."""
        return self.held

    def acquire_lock(self, blocking=True, timeout=-1):
        """The old name of `acquire`."""
        return self.take(time_limit(blocking, timeout))

    def release_lock(self):
        """The old name of `release`."""
        self.give()

    def locked_lock(self):
        """The old name of `locked`."""
        return self.held

    def __enter__(self):
        return self.take(FOREVER)

    def __exit__(self, exc_type=None, exc_value=None, traceback=None):
        self.give()

    def _at_fork_reinit(self):
        self.held = False
        waitlist_clear(&self.waiters)

    def __repr__(self):
        state = "locked" if self.held else "unlocked"
        return f"<{state} {type(self).__module__}.{type(self).__qualname__} object at {<size_t> <PyObject *> self:#x}>"

    def __dealloc__(self):
        waitlist_clear(&self.waiters)


cdef class RLock:
    """RLock(*args, **kwargs)\n--\n
    What `threading.RLock()` makes: a lock that its owner may take again, free after as many releases.

    The owner is a greenlet; in an OS thread without greenlets, that thread.
    """

    cdef Lock block
    cdef unsigned long owner
    cdef unsigned long count
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        if RLOCK_TAKES_NOTHING and (args or kwargs) and type(self) is RLock:
            raise TypeError(f"RLock() takes no {'positional' if args else 'keyword'} arguments")
        self.block = Lock.__new__(Lock)
        self.block.outer = <PyObject *> self

    def acquire(self, bint blocking=True, timeout=-1):
        """Take it; block while another has it, at most `timeout` seconds (-1: for ever). False if that did not work.

        Raises ValueError for a negative time and for a time given with `blocking=False`.
        """
        return self.take(time_limit(blocking, timeout))

    cdef bint take(self, int64_t limit) except -1:
        cdef unsigned long me = current_ident()
        if self.count and self.owner == me:
            self.count += 1
            return True
        if not self.block.take(limit):
            return False
        self.owner = me
        self.count = 1
        return True

    def release(self):
        """Give it back once. Raises RuntimeError if the caller does not own it."""
        self.give()

    cdef int give(self) except -1:
        if not self.count or self.owner != current_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self.count -= 1
        if not self.count:
            self.owner = 0
            self.block.give()
        return 0

    def locked(self):
        """True if it is taken."""
        return self.count > 0

    def __enter__(self):
        return self.take(FOREVER)

    def __exit__(self, exc_type=None, exc_value=None, traceback=None):
        self.give()

    # Methods that threading.Condition and the code that runs after a fork need.

    def _is_owned(self):
        return self.count > 0 and self.owner == current_ident()

    def _recursion_count(self):
        return self.count if self.owner == current_ident() else 0

    def _release_save(self):
        if not self.count:
            raise RuntimeError("cannot release un-acquired lock")
        state = (self.count, self.owner)
        self.count = 0
        self.owner = 0
        self.block.give()
        return state

    def _acquire_restore(self, state, /):
        # The end of Condition.wait, inside a `with` that will release the lock: we must have it again even if we are
        # killed or timed out meanwhile. That exception is raised afterwards.
        cdef object interrupt = None
        count, owner = state
        while True:
            try:
                self.block.take(FOREVER)
                break
            except LoopExit:
                raise
            except BaseException as exc:
                interrupt = exc
        self.count = count
        self.owner = owner
        if interrupt is not None:
            raise interrupt

    def _at_fork_reinit(self):
        self.block._at_fork_reinit()
        self.owner = 0
        self.count = 0

    def __repr__(self):
        return (
            f"<{'locked' if self.count else 'unlocked'} {type(self).__module__}.{type(self).__qualname__} object "
            f"owner={self.owner} count={self.count} at {<size_t> <PyObject *> self:#x}>"
        )


# ---------------------------------------------------------------- what greenlets wait for, in words

def _describe_lock(what, waiter):
    cdef Lock lock = what
    cdef RLock outer
    if lock.outer == NULL:
        return "Lock", None, 1
    outer = <RLock> lock.outer
    # A number: the owner may be an OS thread, and may have ended.
    return type_name(outer), [outer.owner] if outer.count else None, 1


register_description(Lock, _describe_lock)
