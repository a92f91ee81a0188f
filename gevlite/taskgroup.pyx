"""Greenlets that end in the block that started them, and deadlines that nest.

`TaskGroup` has the semantics of `asyncio.TaskGroup`, for greenlets. `CancelScope`, `fail_after` and `move_on_after` have
the names and the semantics of anyio's, except that a cancelled block is interrupted once, as by `kill` and `Timeout`.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from gevlite._core cimport (
    Block,
    Hub,
    Timer,
    await_it,
    cancel_throw,
    current_greenlet,
    current_hub,
    greenlet,
    hidden_ns,
    new_block,
    shown_ns,
    throw_into,
    timeout_ns,
)

import sys

from gevlite._core import LoopExit, get_hub
from gevlite.event import Event
from gevlite.greenlet import Greenlet, GreenletExit
from gevlite.timeout import Timeout

__all__ = ["CancelScope", "Cancelled", "TaskGroup", "fail_after", "move_on_after"]


class Cancelled(BaseException):
    """Raised in a block that a CancelScope ends, and caught at the end of that block. Let it pass.

    It is a BaseException so that `except Exception` lets it pass.
    """


# ---------------------------------------------------------------- scopes

cdef enum:
    NEW
    ENTERED
    LEFT


cdef class _Deadline(Timer):
    cdef CancelScope scope

    cdef int run(self) except -1:
        cdef CancelScope scope = self.scope
        self.queued = False
        self.scope = None
        if scope is None:
            return 0
        scope.expired = True
        return scope._interrupt()

    cdef PyObject *strikes(self) noexcept:
        return <PyObject *> self.scope.target if self.scope is not None else NULL

    cpdef stop(self):
        self.scope = None
        Timer.stop(self)


cdef class CancelScope:
    """CancelScope(seconds=None)\n--\n
    A block that can be ended: by `cancel()`, or when `seconds` are over.

    ::

        with CancelScope(5) as scope:
            answer = sock.recv(1000)
        if scope.cancelled_caught:
            print("no answer")

    The greenlet that runs the block gets a `Cancelled` in the blocking call that it is in, or in its next one that has to
    wait, and the `with` statement catches it. This happens once: a block that catches `Cancelled` itself goes on.

    Scopes nest. The `Cancelled` of an outer scope passes through the inner ones, so an inner scope never makes the time
    of an outer one longer.

    seconds: None for no deadline; 0 or less ends the block in its first call that has to wait. Raises ValueError for NaN.
    """

    cdef Hub hub
    cdef greenlet target
    cdef _Deadline timer
    cdef object seconds
    cdef Block block                # if it is in a coroutine; None for most
    cdef object cancelled           # the exception that interrupts the block, until the block is left
    cdef bint fails                 # TimeoutError when the deadline has passed
    cdef bint expired
    cdef char state
    cdef readonly bint cancel_called        # the block is to end, by `cancel()` or by its deadline
    cdef readonly bint cancelled_caught     # and that is how it ended

    def __init__(self, seconds=None):
        if seconds is not None:
            timeout_ns(seconds)     # a bad number fails here
        self.seconds = seconds

    def __enter__(self):
        if self.state != NEW:
            raise RuntimeError("a scope can be entered once: make a new one")
        self.hub = current_hub()
        self.target = current_greenlet()
        self.block = new_block(self.hub)
        self.state = ENTERED
        if self.cancel_called:
            self._interrupt()
        elif self.seconds is not None:
            self._begin(timeout_ns(self.seconds))
        return self

    cdef int _begin(self, int64_t nanoseconds) except -1:
        cdef _Deadline timer = _Deadline.__new__(_Deadline, self.hub)
        timer.ref = True
        timer.scope = self
        timer.start_ns(nanoseconds)
        self.timer = timer
        return 0

    def cancel(self):
        """End the block. Does not block; from any greenlet and thread. Before the block begins, it ends in its first call
        that has to wait; after it has ended, nothing happens."""
        if self.state == LEFT or self.cancel_called:
            return
        self.cancel_called = True
        if self.state == NEW:
            return
        if current_hub() is not self.hub:
            self.hub.call_soon_threadsafe(self._interrupt)
        elif current_greenlet() is self.target:
            self._interrupt()
        else:
            # Done by the hub, which finds the greenlet parked, or about to go on.
            self.hub.call_soon(self._interrupt)

    cpdef int _interrupt(self) except -1:
        if self.state != ENTERED or self.cancelled is not None:
            return 0
        self.cancel_called = True
        self.cancelled = Cancelled()
        if self.block is not None:
            return self.block.interrupt(self.hub, self.target, self.cancelled)
        return throw_into(self.hub, self.target, self.cancelled)

    def __exit__(self, typ, value, tb):
        # An event loop, and so a coroutine, may go on in another greenlet.
        if self.state != ENTERED or self.block is None and current_greenlet() is not self.target:
            raise RuntimeError("a scope is left once, by the greenlet that entered it")
        return self._leave(value)

    cdef bint _leave(self, object value) except -1:
        cdef object cancelled = self.cancelled
        cdef Block block = self.block
        self.state = LEFT
        self.cancelled = None
        self.block = None
        if self.timer is not None:
            self.timer.stop()
            self.timer = None
        if cancelled is None:
            return False
        if value is not cancelled:
            cancel_throw(self.hub, self.target, cancelled)
        if not (block is not None and block.leave(value)) and value is not cancelled:
            return False
        self.cancelled_caught = True
        if self.fails and self.expired:
            raise TimeoutError(f"not done in {self.seconds} s") from value
        return True

    @property
    def deadline(self):
        """When the block ends, by `time.monotonic()`; infinite for no deadline. Set it to move it: while the block runs.

        Raises RuntimeError if it is set before or after that.
        """
        cdef _Deadline timer = self.timer
        if timer is None or timer.heap_index < 0:
            return float("inf")
        return (self.hub.timers.items[timer.heap_index].deadline - hidden_ns()) / 1e9

    @deadline.setter
    def deadline(self, when):
        if self.state != ENTERED:
            raise RuntimeError("a deadline can be moved only while the block runs")
        left = None if when == float("inf") else when - shown_ns() / 1e9
        limit = timeout_ns(left)
        if self.timer is not None:
            self.timer.stop()
            self.timer = None
        if limit >= 0 and not self.cancel_called:
            self._begin(limit)

    def __repr__(self):
        state = ("not begun", "running", "left")[self.state]
        limit = "" if self.seconds is None else f" {self.seconds} s,"
        called = ", cancelled" if self.cancel_called else ""
        return f"<{type(self).__name__}{limit} {state}{called}>"


def move_on_after(seconds):
    """A `CancelScope`: the block ends quietly when `seconds` are over. `scope.cancelled_caught` says whether it did."""
    return CancelScope(seconds)


def fail_after(seconds):
    """A `CancelScope` that raises TimeoutError at the end of the block if `seconds` were over before the block was done.

    Nothing in the block can mistake that for an error of its own, for TimeoutError is raised only behind the block.
    """
    cdef CancelScope scope = CancelScope(seconds)
    scope.fails = True
    return scope


# ---------------------------------------------------------------- groups

# Exceptions that end a greenlet from outside. They pass through a group unchanged; all others are errors of the group.
_ENDS = (GreenletExit, Timeout, Cancelled, LoopExit)


cdef int cancel_again() except -1:
    """Raise in the running task, where it waits next, the CancelledError that could not be raised now."""
    # Before Python 3.13 nothing takes that back if a block ends first: asyncio's own groups then lose it too.
    if sys.version_info >= (3, 13):
        task = sys.modules["asyncio"].current_task()
        if task.cancelling():       # else it was not this task that was cancelled, but what it waited for
            task.uncancel()
            task.cancel()
    return 0


class TaskGreenlet(Greenlet):
    """A greenlet of a group. The group raises its error, so the error is not printed."""

    def _report_error(self, exc):
        pass


class _Step:
    def __init__(self, group):
        self.group = group

    def __await__(self):
        return await_it(self)


class EnterGroup(_Step):
    """What the beginning of `async with TaskGroup()` awaits."""


class LeaveGroup(_Step):
    """What the end of `async with TaskGroup()` awaits."""


class TaskGroup:
    """Greenlets that end in this block, with the semantics of `asyncio.TaskGroup`.

    ::

        with TaskGroup() as group:
            user = group.spawn(fetch_user, 1)
            orders = group.spawn(fetch_orders, 1)
        print(user.value, orders.value)

    The end of the block waits for every greenlet of the group, also for those that are spawned meanwhile. If one of them
    fails, the others are killed, the block is interrupted if it has not ended, and when all have ended their errors are
    raised together in an ExceptionGroup. An error of the block is one of these. A greenlet that is killed does not fail.

    What ends the block's own greenlet from outside (`kill`, a `Timeout`, an outer scope) kills the group's greenlets and
    is raised again when they have ended. If some of them failed, the ExceptionGroup is raised, and the greenlet is ended
    at its next call that has to wait. KeyboardInterrupt and SystemExit are raised as they are.

    In a coroutine of a loop of `gevlite.asyncio`, use `async with`.

    Groups nest. A group is used once, in one thread.
    """

    def __init__(self):
        self._scope = CancelScope()
        self._hub = None
        self._members = {}              # as a set, in the order in which they came: so they are killed in that order, too
        self._errors = []
        self._exit = None           # KeyboardInterrupt or SystemExit
        self._empty = Event()
        self._in_block = False
        self._ended = False
        self._aborting = False
        # For its end:
        self._value = None          # what the block raised
        self._ours = False          # True: `_value` is only the group's own interruption
        self._outside = None        # the exception to raise again
        self._later = []            # exceptions that came after that one
        self._ends = _ENDS

    def __enter__(self):
        if self._hub is not None:
            raise RuntimeError("a TaskGroup can be entered once: make a new one")
        self._hub = get_hub()
        self._scope.__enter__()
        self._in_block = True
        return self

    def spawn(self, run, /, *args, **kwargs):
        """Start `run(*args, **kwargs)` in a new Greenlet of the group. Does not block. Returns the greenlet.

        Raises TypeError if `run` cannot be called, RuntimeError outside of the block, in another thread, and once the
        group is ending because of an error.
        """
        if run is None:
            raise TypeError("a greenlet runs something callable, not None")
        if self._hub is None:
            raise RuntimeError("the TaskGroup has not been entered: use it in a `with` statement")
        if self._ended:
            raise RuntimeError("the TaskGroup has ended")
        if self._aborting:
            raise RuntimeError("the TaskGroup is ending because of an error or a cancellation")
        if get_hub() is not self._hub:
            raise RuntimeError("a TaskGroup belongs to one thread")
        member = TaskGreenlet(run, *args, **kwargs)
        member._on_end(self._member_ended)
        self._members[member] = None
        member.start()
        return member

    def cancel(self):
        """Kill the greenlets of the group and end the block quietly. Does not block; in the group's thread."""
        if self._hub is None:
            raise RuntimeError("the TaskGroup has not been entered: use it in a `with` statement")
        if not self._ended:
            self._abort()

    def _member_ended(self, member):
        self._members.pop(member, None)
        error = member.exception
        if error is not None:
            self._note(error)
            self._abort()
        if not self._members:
            self._empty.set()

    def _note(self, error):
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            if self._exit is None:
                self._exit = error
        else:
            self._errors.append(error)

    def _abort(self):
        if self._aborting:
            return
        self._aborting = True
        for member in list(self._members):
            member.kill(block=False)
        if self._in_block:
            self._scope.cancel()

    def __exit__(self, typ, value, tb):
        self._begin_to_leave(value)
        while self._members:
            self._empty.clear()
            try:
                self._empty.wait()
            except BaseException as raised:
                self._interrupted(raised)
        return self._leave()

    def __aenter__(self):
        return EnterGroup(self)

    def __aexit__(self, typ, value, tb):
        self._begin_to_leave(value)
        return LeaveGroup(self)

    def _begin_to_leave(self, value):
        cdef CancelScope scope = self._scope
        cdef Block block = scope.block
        if scope.state != ENTERED or block is None and current_greenlet() is not scope.target:
            raise RuntimeError("a TaskGroup is left once, by the greenlet that entered it")
        self._in_block = False
        self._value = value
        if block is not None:
            # In a coroutine: cancelling its task ends the group from outside.
            self._ends = (*_ENDS, sys.modules["asyncio"].CancelledError)
            scope.block = None
        self._ours = block is not None and block.leave(value) or value is not None and value is scope.cancelled
        if block is not None:
            # An interruption that is on its way, or was put off, comes too late: it would end the greenlet of the loop.
            if scope.cancelled is None:
                scope.cancelled = Cancelled()
            elif value is not scope.cancelled:
                cancel_throw(scope.hub, scope.target, scope.cancelled)
        if value is not None and not self._ours:
            if isinstance(value, self._ends):
                self._outside = value
            else:
                self._note(value)
            self._abort()

    def _interrupted(self, raised):
        """`raised` has interrupted it while it waits for the end of its greenlets."""
        if raised is (<CancelScope> self._scope).cancelled:
            pass        # came too late to interrupt the block
        elif not isinstance(raised, self._ends):
            if isinstance(raised, KeyboardInterrupt) and self._exit is not None:
                raise raised        # the second Ctrl-C: do not wait for greenlets that refuse to end
            self._note(raised)
        elif self._outside is None:
            self._outside = raised
        else:
            self._later.append(raised)
        self._abort()

    def _leave(self):
        cdef CancelScope scope = self._scope
        errors, exiting, outside, value, later = self._errors, self._exit, self._outside, self._value, self._later
        self._errors, self._exit, self._outside, self._value, self._later = [], None, None, None, []
        self._ended = True
        try:
            scope._leave(None)
            if outside is not None and (errors or exiting is not None):
                later.insert(0, outside)
            for one in later:       # no exception that was thrown in gets lost
                if self._ends is not _ENDS and isinstance(one, self._ends[-1]):
                    cancel_again()
                else:
                    throw_into(scope.hub, scope.target, one)
            if exiting is not None:
                raise exiting
            if errors:
                raise BaseExceptionGroup("errors in a TaskGroup", errors) from None
            if outside is None:
                return self._ours
            if outside is value:
                return False
            raise outside
        finally:
            # The traceback refers to this frame.
            errors = exiting = outside = value = later = None

    def __repr__(self):
        state = "not begun" if self._hub is None else "ended" if self._ended else "ending" if self._aborting else "running"
        return f"<TaskGroup {state}, {len(self._members)} greenlets>"
