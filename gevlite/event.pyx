"""Event and AsyncResult: wait for something to happen, or for a value."""

from gevlite._core cimport WAIT_EVENT, WAIT_RESULT, Waitable, await_it, give_way_within, notify_all, timeout_ns

from types import GenericAlias

from gevlite.timeout cimport RAISE, Timeout, expired, within

__all__ = ["AsyncResult", "Event"]

cdef extern from "Python.h":
    int Py_ReprEnter(object o) except -1
    void Py_ReprLeave(object o)


cdef class Event(Waitable):
    """Event()\n--\n
    A flag that greenlets, also of different threads, can wait for. Like `threading.Event`.

    Waiters are woken in the order in which they came.
    """

    cdef bint flag

    def __init__(self):
        pass        # no arguments

    cpdef bint is_set(self):
        """True if the flag is set."""
        return self.flag

    def isSet(self):
        """The same as `is_set()`."""
        return self.flag

    cpdef bint ready(self) except -1:
        """The same as `is_set()`."""
        return self.flag

    cpdef set(self):
        """Set the flag and wake all waiters. Does not block."""
        self.flag = True
        if self.callbacks is not None:
            self.notify_callbacks()
        if self.waiters.count:
            notify_all(&self.waiters, self)

    cpdef clear(self):
        """Clear the flag. Those already woken by `set()` stay woken."""
        self.flag = False

    def wait(self, timeout=None):
        """Block until the flag is set, at most `timeout` seconds. True if it was set, False if the time ran out."""
        if self.flag:
            give_way_within(timeout)
            return True         # also if it was cleared meanwhile
        if isinstance(timeout, Timeout):
            return within(timeout, False, (<object> Event).wait, (self,)) or self.flag
        return self.wait_here(WAIT_EVENT, timeout_ns(timeout)) or self.flag

    def __await__(self):
        """`await event`: wait in a coroutine until the flag is set; True. Needs a loop of `gevlite.asyncio`."""
        return await_it(self)

    def _at_fork_reinit(self):
        """threading calls this on its events after a fork. Nothing to do: waiters of other threads are gone."""

    _reset_internal_locks = _at_fork_reinit

    def __repr__(self):
        return f"<{type(self).__name__} {'set' if self.flag else 'clear'} links={self.linkcount()}>"


cdef class AsyncResult(Waitable):
    """AsyncResult()\n--\n
    A value or an exception that will be there later. Like `concurrent.futures.Future`, also a link target::

        result = AsyncResult()
        greenlet.link(result)       # takes over its value or its error
    """

    cdef bint done_
    cdef object _value
    cdef object _error
    cdef object _traceback

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self):
        pass        # no arguments

    cpdef bint ready(self) except -1:
        """True if it has a value or an exception."""
        return self.done_

    def done(self):
        """The same as `ready()`."""
        return self.done_

    def successful(self):
        """True if it has a value."""
        return self.done_ and self._error is None

    def cancel(self):
        """Always False: the code that produces the value does not belong to us."""
        return False

    def cancelled(self):
        """Always False, see `cancel`."""
        return False

    @property
    def value(self):
        """The value, or None until there is one."""
        return self._value

    @property
    def exception(self):
        """The exception, or None."""
        return self._error

    @property
    def exc_info(self):
        """`(type, exception, traceback)` of the error, or an empty tuple."""
        if self._error is None:
            return ()
        return (type(self._error), self._error, self._traceback)

    cdef int _finish(self) except -1:
        self.done_ = True
        if self.callbacks is not None:
            self.notify_callbacks()
        notify_all(&self.waiters, self)
        return 0

    def set(self, value=None):
        """Give it a value and wake all waiters. Setting it again replaces the value."""
        self._error = self._traceback = None
        self._value = value
        self._finish()

    def set_result(self, value=None):
        """The same as `set()`."""
        self.set(value)

    def set_exception(self, exception, exc_info=None):
        """Give it an exception and wake all waiters. `exc_info`: its `(type, value, traceback)`, if known."""
        if isinstance(exception, type) and issubclass(exception, BaseException):
            exception = exception()
        if not isinstance(exception, BaseException):
            raise TypeError(f"an exception must be an instance or a class of BaseException, not {exception!r}")
        self._value = None
        self._error = exception
        self._traceback = exc_info[2] if exc_info else exception.__traceback__
        self._finish()

    def __call__(self, source):
        """Take over from a greenlet, or anything else with `successful`, `value` and `exception`."""
        if source.successful():
            self.set(source.value)
        else:
            self.set_exception(source.exception, getattr(source, "exc_info", None))

    cdef object _result(self):
        if self._error is not None:
            raise self._error.with_traceback(self._traceback)
        return self._value

    def get(self, block=True, timeout=None):
        """Return the value or raise the exception; block until it is there, at most `timeout` seconds.

        Raises Timeout when the time is over, or at once if `block` is false and there is nothing yet.
        """
        if not self.done_:
            if not block:
                raise Timeout()
            if isinstance(timeout, Timeout):
                return within(timeout, RAISE, (<object> AsyncResult).get, (self,))
            if not self.wait_here(WAIT_RESULT, timeout_ns(timeout)) and not self.done_:
                raise expired(timeout)
        elif block:
            give_way_within(timeout)
        return self._result()

    def get_nowait(self):
        """`get(block=False)`."""
        return self.get(False)

    def __await__(self):
        """`await result`: the value or the exception, in a coroutine. Needs a loop of `gevlite.asyncio`."""
        return await_it(self)

    def result(self, timeout=None):
        """`get()` under the name that `concurrent.futures` gives it."""
        return self.get(True, timeout)

    def wait(self, timeout=None):
        """Block until it is ready, at most `timeout` seconds. Returns the value, None if there is none. Never raises it."""
        if not self.done_:
            if isinstance(timeout, Timeout):
                within(timeout, None, (<object> AsyncResult).wait, (self,))
            else:
                self.wait_here(WAIT_RESULT, timeout_ns(timeout))
        else:
            give_way_within(timeout)
        return self._value

    def __repr__(self):
        if not self.done_:
            state = "pending"
        elif Py_ReprEnter(self):
            state = "..."       # its value refers to it
        else:
            try:
                state = f"value={self._value!r}" if self._error is None else f"error={self._error!r}"
            finally:
                Py_ReprLeave(self)
        return f"<{type(self).__name__} {state} links={self.linkcount()}>"
