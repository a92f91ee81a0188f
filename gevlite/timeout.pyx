"""Time limits for any block of code that makes blocking calls."""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from gevlite._core cimport (
    Block,
    Hub,
    Timer,
    cancel_throw,
    current_greenlet,
    current_hub,
    new_block,
    now_ns,
    throw_now,
    timeout_ns,
)

from gevlite._user_line import in_words, of_traceback

__all__ = ["Timeout", "with_timeout"]

cdef extern from "_caller.h":
    PyObject *gevlite_caller(int *instruction) noexcept
    int gevlite_line(object code, int instruction) noexcept

cdef extern from "Python.h":
    bint PyCode_Check(object o) noexcept


def frame_summary(code, int instruction):
    """A `traceback.FrameSummary` of what `gevlite_caller` remembers: code and instruction. None for no code."""
    if not PyCode_Check(code):
        return None
    from traceback import FrameSummary

    return FrameSummary(code.co_filename, gevlite_line(code, instruction), code.co_name, lookup_line=False)


@cython.no_gc
cdef class _TimeoutTimer(Timer):
    """Fires straight into the greenlet; no Python call on the way."""

    cdef int run(self) except -1:
        cdef object exc = self.exc
        self.queued = False
        if exc is None:
            return 0
        self.exc = None
        if isinstance(exc, type):
            exc = self.made = exc()     # so that cancel() takes back this exception, not a kill with the same class
        if self.block is not None:
            return self.interrupt(exc)
        return throw_now(self.hub, self.target, exc)

    cdef int interrupt(self, object exc) except -1:
        cdef Block block = self.block
        self.block = None
        return block.interrupt(self.hub, self.target, exc)

    cdef PyObject *strikes(self) noexcept:
        return <PyObject *> self.target

    cpdef stop(self):
        self.exc = None
        self.block = None
        Timer.stop(self)


cdef class Timeout(BaseException):
    """Timeout(seconds=None, exception=None, ref=True, priority=-1, _one_shot=False)\n--\n
    An exception that is raised in the current greenlet when `seconds` are over.

    ::

        with Timeout(5):
            answer = sock.recv(1000)        # Timeout is raised here if it takes longer

    The greenlet must be in a blocking call, or enter one, for it to be raised. None never fires; 0 or less
    fires at the next blocking call that has to wait.

    exception: raised instead of the Timeout itself (an instance or a class). False: the Timeout is raised, and a `with`
    statement swallows it. A str is what `str()` adds to the seconds.
    ref: False means that the pending time-out does not keep the loop alive. `priority` is accepted and ignored.

    It is a BaseException so that `except Exception` does not swallow a time limit of the caller's. To tell yours from an
    outer one, compare: `except Timeout as t: if t is not mine: raise`. `where` tells which code started it.

    It can be given instead of a timeout in seconds, everywhere. A call that raises when the time is over then raises
    this Timeout. If it was not started before, the call starts and cancels it.
    """

    def __init__(self, seconds=None, exception=None, ref=True, priority=-1, _one_shot=False):
        if isinstance(seconds, Timeout):
            seconds = None if (<Timeout> seconds).seconds is None else float(seconds)
        if seconds is not None:
            timeout_ns(seconds)     # a bad number fails here, not at start()
        self.seconds = seconds
        self.exception = exception
        self.ref = ref
        self.one_shot = _one_shot

    def start(self):
        """Start the clock for the current greenlet. Does not block. Raises AssertionError if it is running already."""
        self._start()

    cdef int _start(self) except -1:
        cdef Hub hub
        cdef _TimeoutTimer timer
        if self._is_pending():
            raise AssertionError(f"{self!r} is running: cancel() comes before another start()")
        if self.seconds is None:
            return 0
        self._note_caller()
        hub = current_hub()
        timer = _TimeoutTimer.__new__(_TimeoutTimer, hub)
        timer.ref = self.ref
        timer.target = current_greenlet()
        timer.exc = self._raised()
        if hub.belongings is not None:
            if self.block is not None:
                self.block.leave(None)
            timer.block = self.block = new_block(hub)
        timer.start_ns(timeout_ns(self.seconds))
        self.timer = timer
        return 0

    cdef int _note_caller(self) except -1:
        cdef PyObject *code = gevlite_caller(&self.instruction)
        self.code = <object> code if code != NULL else None
        Py_XDECREF(code)
        return 0

    @property
    def where(self):
        """Which code started it, a `traceback.FrameSummary`: `filename`, `lineno`, `name` of the function, `line`.

        For a Timeout that a call with `timeout=` has made and raised, it is that call. None until it is started.
        """
        return frame_summary(self.code, self.instruction)

    def __float__(self):
        """The seconds that are left if the clock runs, else those it was made with; infinite for None."""
        if self.seconds is None:
            return float("inf")
        if self.timer is None or self.timer.heap_index < 0:
            return float(self.seconds)
        return max(self.timer.hub.timers.items[self.timer.heap_index].deadline - now_ns(), 0) / 1e9

    cdef bint _is_pending(self):
        return self.timer is not None and (self.timer.heap_index >= 0 or self.timer.queued)

    cdef object _raised(self):
        """The exception to raise when the time is over."""
        cdef object exception = self.exception
        if exception is None or isinstance(exception, (bool, str)):
            return self
        return exception

    @classmethod
    def start_new(cls, timeout=None, exception=None, ref=True, _one_shot=False):
        """Make a Timeout of `timeout` seconds and start it. Given a Timeout, start that one unless it runs already."""
        if isinstance(timeout, Timeout):
            if not timeout.pending:
                timeout.start()
            return timeout
        made = cls(timeout, exception, ref=ref, _one_shot=_one_shot)
        made.start()
        return made

    @property
    def pending(self):
        """True while the clock runs."""
        return self._is_pending()

    def cancel(self):
        """Stop the clock. What has fired but not yet been raised is taken back. Calling it twice does nothing."""
        self._cancel()

    cdef int _cancel(self) except -1:
        return self._end(None)

    cdef bint _end(self, object value) except -1:
        """Stop the clock. The block, if it was one, has ended with `value`. True if that stands for this Timeout."""
        cdef _TimeoutTimer timer = self.timer
        cdef Block block = self.block
        if timer is None:
            return False
        self.timer = None
        self.block = None
        if timer.heap_index >= 0 or timer.queued:
            timer.stop()
        else:
            cancel_throw(timer.hub, timer.target, timer.made if timer.made is not None else self._raised())
        return block is not None and block.leave(value)

    def close(self):
        """The same as `cancel()`."""
        self.cancel()

    def __enter__(self):
        if type(self) is not Timeout:
            # A subclass may override `start`.
            if not self.pending:
                self.start()
        elif not self._is_pending():
            self._start()
        return self

    def __exit__(self, typ, value, tb):
        cdef object raised
        if self.block is not None and self._end(value):
            raised = self._raised()
            if raised is not self:
                raise raised from None
            if self.exception is not False:
                raise self
            return True
        if type(self) is not Timeout:
            self.close()
        else:
            self._cancel()
        return value is self and self.exception is False

    def __str__(self):
        """The seconds; once it was raised, also which line of the program's code it ended the wait of."""
        if self.seconds is None:
            return ""
        struck = of_traceback(self.__traceback__)
        return self._limit() if struck is None else f"{self._limit()}, in {in_words(struck)}"

    cdef str _limit(self):
        unit = "second" if self.seconds == 1 else "seconds"
        if self.exception is None:
            return f"{self.seconds} {unit}"
        if self.exception is False:
            return f"{self.seconds} {unit} (silent)"
        return f"{self.seconds} {unit}: {self.exception}"

    def __repr__(self):
        state = " pending" if self.pending else ""
        what = "" if self.exception is None else f" exception={self.exception!r}"
        return f"<{type(self).__name__} seconds={self.seconds}{what}{state}>"


RAISE = object()
_NOT_GIVEN = object()


cdef Timeout expired(object seconds):
    """The Timeout to raise in a call whose own time-out is over."""
    cdef Timeout made = Timeout(seconds)
    made._note_caller()
    return made


cdef object within(Timeout limit, object otherwise, object function, tuple args):
    """`function(*args)`, a call that blocks, limited by a Timeout that was given as its `timeout`.

    When the time is over, returns `otherwise`, or raises `limit` if that is RAISE. If `limit` was made to raise another
    exception, that one is raised in any case. A `limit` that runs already is not started again, and goes on running.
    """
    cdef bint ours = not limit._is_pending()
    if ours:
        limit.start()
    try:
        return function(*args)
    except Timeout as raised:
        if raised is not limit or otherwise is RAISE:
            raise
        return otherwise
    finally:
        if ours:
            limit.cancel()


def _within(limit, otherwise, function, *args):
    """`within` for Python code."""
    return within(limit, otherwise, function, args)


_RAISE = RAISE


def with_timeout(seconds, function, *args, **kwds):
    """Call `function(*args, **kwds)` for at most `seconds`; return what it returns.

    When the time is over, raise Timeout, or return the keyword argument `timeout_value` if it is given (it is not
    passed on). A Timeout that the function itself started is always raised.
    """
    fallback = kwds.pop("timeout_value", _NOT_GIVEN)
    timeout = Timeout.start_new(seconds)
    try:
        return function(*args, **kwds)
    except Timeout as raised:
        if raised is timeout and fallback is not _NOT_GIVEN:
            return fallback
        raise
    finally:
        timeout.cancel()
