"""Semaphores and locks.

All are fair: a release hands over to the greenlet that has waited longest. Neither a newcomer nor the releaser itself can
take the lock first. The counter is therefore above zero only while nothing waits.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from gevlite._core cimport (
    WAIT_LOCK,
    Waitable,
    Waiter,
    await_it,
    current_greenlet,
    current_hub,
    give_way_within,
    new_waiter,
    notify_all,
    notify_one,
    timeout_ns,
    type_name,
    wait_on,
    waitlist_append,
    waitlist_clear,
)
from gevlite.timeout cimport Timeout, within

from gevlite._core import register_description
from gevlite.exceptions import LoopExit

__all__ = ["BoundedSemaphore", "DummySemaphore", "RLock", "Semaphore"]


@cython.final
cdef class Acquire:
    """What `async with semaphore` awaits."""

    cdef readonly Semaphore semaphore

    def __await__(self):
        return await_it(self)


class _Done:
    def __await__(self):
        return iter(())


_done = _Done()


cdef class Semaphore(Waitable):
    """Semaphore(value=1, hub=None)\n--\n
    A counter that `acquire` takes from and `release` adds to; `acquire` blocks at zero. Usable in `with`, and
    in coroutines of `gevlite.asyncio` in `async with`.

    May be shared between threads. Raises ValueError for a negative initial value.
    """

    def __init__(self, Py_ssize_t value=1, hub=None):
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        self.counter = value
        self.initial = value

    cpdef bint ready(self) except -1:
        """True if `acquire` would not block."""
        return self.counter > 0

    cpdef bint locked(self):
        """True if `acquire` would block."""
        return self.counter <= 0

    cpdef bint acquire(self, bint blocking=True, object timeout=None) except -1:
        """Take one; block until there is one, at most `timeout` seconds. False if there was none (in time)."""
        cdef int64_t limit
        cdef Waiter w
        if blocking:
            give_way_within(timeout)
        if self.counter > 0:
            self.counter -= 1
            return True
        if not blocking:
            return False
        if isinstance(timeout, Timeout):
            return within(timeout, False, (<object> Semaphore).acquire, (self,))
        limit = timeout_ns(timeout)
        if limit == 0:
            return False
        w = new_waiter(current_hub(), WAIT_LOCK, <PyObject *> self)
        if self.counter > 0:            # released in the meantime, see new_waiter
            self.counter -= 1
            return True
        waitlist_append(&self.waiters, w)
        try:
            return wait_on(w, limit)
        except BaseException:
            if w.undelivered:
                self.release()      # it was handed to us, but an exception ended our wait
            raise

    cpdef Py_ssize_t release(self) except -1:
        """Give one back: to the first waiter, else to the counter. Does not block. Returns the counter."""
        if self.waiters.count and notify_one(&self.waiters, self):
            return self.counter
        self.counter += 1
        if self.callbacks is not None:
            self.notify_callbacks()
        if self.watchers.count:
            notify_all(&self.watchers, self)
        return self.counter

    def wait(self, timeout=None):
        """Block until `acquire` would not, at most `timeout` seconds, without taking one. Returns the counter."""
        cdef Waiter w
        cdef int64_t limit
        give_way_within(timeout)
        if self.counter <= 0:
            if isinstance(timeout, Timeout):
                within(timeout, None, (<object> Semaphore).wait, (self,))
                return self.counter
            limit = timeout_ns(timeout)
            w = new_waiter(current_hub(), WAIT_LOCK, <PyObject *> self)
            if self.counter <= 0:           # still, see new_waiter
                waitlist_append(&self.watchers, w)
                wait_on(w, limit)
        return self.counter

    def linkcount(self):
        """How many greenlets wait for it and how many callbacks are linked, together."""
        return Waitable.linkcount(self) + self.watchers.count

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, exc_type=None, exc_value=None, traceback=None):
        self.release()

    def __await__(self):
        """`await semaphore`: `acquire` in a coroutine; True. Needs a loop of `gevlite.asyncio`."""
        return await_it(self)

    def __aenter__(self):
        cdef Acquire made = Acquire.__new__(Acquire)
        made.semaphore = self
        return made

    def __aexit__(self, exc_type, exc_value, traceback):
        self.release()
        return _done

    def __repr__(self):
        return f"<{type(self).__name__} at {<size_t> <PyObject *> self:#x} counter={self.counter} links={self.linkcount()}>"

    def __dealloc__(self):
        waitlist_clear(&self.watchers)


cdef class BoundedSemaphore(Semaphore):
    """BoundedSemaphore(value=1, hub=None)\n--\n
    A Semaphore that refuses to be released more often than it was acquired."""

    cpdef Py_ssize_t release(self) except -1:
        """As `Semaphore.release`. Raises ValueError if nothing is acquired."""
        if self.counter >= self.initial:
            raise ValueError("semaphore released too many times")
        return Semaphore.release(self)


@cython.final
cdef class _Block(Semaphore):
    """Greenlets that wait for an RLock wait for this."""
    cdef PyObject *outer            # borrowed: the RLock has the only reference


class DummySemaphore:
    """Stands in for a semaphore with endless supply: nothing blocks, nothing is counted."""

    def __init__(self, value=None):
        pass

    def locked(self):
        """False."""
        return False

    def ready(self):
        """True."""
        return True

    def acquire(self, blocking=True, timeout=None):
        """True at once."""
        return True

    def release(self):
        """Does nothing."""

    def wait(self, timeout=None):
        """1 at once."""
        return 1

    def rawlink(self, callback):
        """Have the hub call `callback(self)` soon."""
        current_hub()._call_soon(callback, (self,))

    def unlink(self, callback):
        """Does nothing."""

    def __enter__(self):
        return self

    def __exit__(self, exc_type=None, exc_value=None, traceback=None):
        pass

    def __repr__(self):
        return f"<{type(self).__name__}>"


cdef _Block new_block(object outer):
    cdef _Block made = _Block.__new__(_Block)
    made.counter = made.initial = 1
    made.outer = <PyObject *> outer
    return made


cdef class RLock:
    """RLock(hub=None)\n--\n
    A lock that its owner, a greenlet, may acquire again; it is free after as many releases. Usable in `with`."""

    def __init__(self, hub=None):
        self.block = new_block(self)

    cpdef bint acquire(self, bint blocking=True, object timeout=None) except -1:
        """Take it; block while another greenlet has it, at most `timeout` seconds. False if that did not work."""
        cdef object me = current_greenlet()
        if self.owner is me:
            self.count += 1
            return True
        if not self.block.acquire(blocking, timeout):
            return False
        self.owner = me
        self.count = 1
        return True

    cpdef release(self):
        """Give it back once. Raises RuntimeError if the current greenlet does not have it."""
        if self.owner is not current_greenlet():
            raise RuntimeError("cannot release a lock that the current greenlet does not have")
        self.count -= 1
        if not self.count:
            self.owner = None
            self.block.release()

    def locked(self):
        """True if some greenlet has it."""
        return self.count > 0

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, exc_type=None, exc_value=None, traceback=None):
        self.release()

    # Methods that threading.Condition needs of a lock that can be held more than once.

    def _is_owned(self):
        return self.owner is current_greenlet()

    def _release_save(self):
        if not self.count:
            raise RuntimeError("cannot release a lock that no greenlet has")
        state = (self.count, self.owner)
        self.count = 0
        self.owner = None
        self.block.release()
        return state

    def _acquire_restore(self, state):
        # The end of Condition.wait: we must have the lock again, whatever is thrown meanwhile; that is raised
        # afterwards.
        cdef object interrupt = None
        while True:
            try:
                self.block.acquire()
                break
            except LoopExit:
                raise
            except BaseException as exc:
                interrupt = exc
        self.count, self.owner = state
        if interrupt is not None:
            raise interrupt

    def _recursion_count(self):
        return self.count if self.owner is current_greenlet() else 0

    def _at_fork_reinit(self):
        self.block = new_block(self)
        self.owner = None
        self.count = 0

    def __repr__(self):
        return (
            f"<{type(self).__name__} at {<size_t> <PyObject *> self:#x} owner={self.owner!r} count={self.count} "
            f"links={self.block.linkcount()}>"
        )


# ---------------------------------------------------------------- what greenlets wait for, in words

def _describe_semaphore(what, waiter):
    cdef Semaphore semaphore = what
    cdef object pool
    if semaphore._pool is not None:
        pool = semaphore._pool()
        if pool is not None:
            members = list(pool.greenlets)
            return f"a place in {type_name(pool)}, {len(members)} of {semaphore.initial} taken", members, semaphore.initial
    if not semaphore.initial and not isinstance(what, BoundedSemaphore):
        return f"{type_name(what)}, {semaphore.counter} free"
    return f"{type_name(what)}, {semaphore.counter} of {semaphore.initial} free", None, semaphore.initial


def _describe_block(what, waiter):
    cdef RLock lock = <RLock> (<_Block> what).outer
    return type_name(lock), [lock.owner] if lock.owner is not None else None, 1


register_description(Semaphore, _describe_semaphore)
register_description(_Block, _describe_block)
