"""The core: hub, ready queue, timer heap, park and wake, file descriptors, the backend interface.

How the parts fit ----------------- Every blocking call in gevlite is a `Waiter` that parks the current greenlet. The
code that makes the awaited thing happen calls `wake`; that puts one RESUME entry in the hub's ready queue. `park` does
not go through the hub if the next ready entry is a greenlet: it switches straight to it (direct handoff). The hub
itself runs only to make callbacks, fire timers and ask the backend what is ready; a budget of handoffs, in number and
in time, sends control back to it under any load.

docs/design.md tells it at length, with a picture of one turn of the loop.

What a reader must know before changing anything
------------------------------------------------
* One hub belongs to one OS thread. Its queues and tables are touched by that thread alone, except what _shared.pxi has,
  the inbox and the state of a Waiter (`wake`, `throw`) among it. Other threads touch that while they hold the GIL; no
  Python code runs between the test of a state and its change.
* A Waiter moves NEW, PARKED, WOKEN, RESUMED, DONE and never back. (`free_waiter` is no exception: what it resets is
  referenced by nothing else, so for every other part of the program that Waiter is gone.) Only the step PARKED to WOKEN
  queues an entry, so there is exactly one resumption. A second caller gets False and must give the value that it had to
  the next waiter.
* An exception for a parked greenlet (kill, Timeout) is that same step: from then on `wake` returns False. An exception
  for a greenlet that is already woken, or runs, is kept as *pending* and raised when it parks next. So the value that
  it was woken with is never lost. Only an exception that is thrown into a greenlet past the hub, by hand or by a
  tracer, can end the wait of a greenlet that is already woken: then `Waiter.undelivered` says so.
* Parking undoes itself: on every way out of `park` the Waiter is in no list and no heap.
* The hub's greenlet may wait like any other: signal handlers, destructors and callbacks run in it and may block. Then it
  is *displaced*: another greenlet, a _Runner, runs the loop (`hub.runner` says which one does), and whatever is done
  item by item in the loop keeps its place in the hub and not on the stack. When the hub's greenlet is back in its own
  loop it is *laid off*, until the runner comes to the top of its loop and gives the place back.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetObject, PyErr_WriteUnraisable
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.errno cimport EBADF
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

from gevlite._array cimport grown, room_for

import _signal
import atexit
import os
import sys
from _thread import _count
from _thread import get_ident as _get_ident
from functools import partial
from gc import callbacks as _gc_callbacks
from types import BuiltinFunctionType, CodeType
from weakref import ref as weak_reference

from gevlite import _backend
from gevlite._config import Config, config
from gevlite._dead_end import message as dead_end_message
from gevlite._excepthook import call_hook, replaced_hook, write_report
from gevlite._frames import hub_frame, switched
from gevlite._user_line import distance
from gevlite.exceptions import BlockingSwitchOutError, HubDestroyed, InvalidSwitchError, LoopExit

from greenlet import GreenletExit, gettrace, settrace

cdef object _hub_code = hub_frame.__code__


cdef extern from "_greenlet_api.h":
    int gl_import() except -1
    object gl_current()
    PyObject *gl_parent(PyObject *g)
    int gl_set_parent(PyObject *g, PyObject *parent) except -1
    bint gl_active(PyObject *g)
    object gl_switch(PyObject *g, PyObject *args)
    PyObject *raw_switch "gl_switch"(PyObject *g, PyObject *args)   # NULL: raised
    object gl_throw(PyObject *g, PyObject *type, PyObject *value)

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *o)
    PyObject *bytes_new "PyBytes_FromStringAndSize"(const char *v, Py_ssize_t n) except NULL
    void PyErr_Fetch(PyObject **type, PyObject **value, PyObject **traceback)
    void PyErr_Restore(PyObject *type, PyObject *value, PyObject *traceback)
    void PyThreadState_EnterTracing(PyThreadState *state) noexcept
    void PyThreadState_LeaveTracing(PyThreadState *state) noexcept

cdef extern from "_platform.h":
    int64_t gevlite_now_ns() noexcept nogil
    int STANDS "GEVLITE_TIME_STANDS"
    int RUNS "GEVLITE_TIME_RUNS"
    int64_t gevlite_coarse_ns() noexcept nogil

cdef extern from "_debug.h":
    bint DEBUG "GEVLITE_DEBUG"      # a constant

cdef extern from "_thread_exit.h":
    object run_in_greenlet "gevlite_run"(object function, object args, PyObject *kwargs)

cdef extern from "_stack_cache.h":
    int gevlite_cache_set_limit(size_t limit)
    size_t cache_count "gevlite_cache.count"
    size_t cache_limit "gevlite_cache.limit"
    unsigned long long cache_hits "gevlite_cache.hits"
    unsigned long long cache_misses "gevlite_cache.misses"

cdef extern from *:
    """
    static GEVLITE_THREAD_LOCAL PyObject *gevlite_thread_hub = NULL;
    static GEVLITE_THREAD_LOCAL gevlite_time gevlite_my_time;

    static inline int64_t gevlite_hub_ns(void)
    {
        if (__builtin_expect(gevlite_my_time.kind != 0, 0))
            return gevlite_my_time.ns + (gevlite_my_time.kind == GEVLITE_TIME_STANDS ? 0 : gevlite_now_ns());
        return gevlite_now_ns();
    }

    #if PY_VERSION_HEX >= 0x030D0000
    #define gevlite_is_finalizing Py_IsFinalizing
    #else
    #define gevlite_is_finalizing _Py_IsFinalizing
    #endif
    """
    PyObject *gevlite_thread_hub
    gevlite_time gevlite_my_time
    int64_t hub_ns "gevlite_hub_ns"() noexcept nogil
    bint gevlite_is_finalizing() noexcept

cdef extern from "unistd.h" nogil:
    int getpid()

cdef extern from "poll.h" nogil:
    ctypedef unsigned long nfds_t
    struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll"(pollfd *fds, nfds_t nfds, int timeout)
    short POLLIN, POLLOUT, POLLERR, POLLHUP, POLLNVAL

cdef extern from "fcntl.h" nogil:
    int fcntl(int fd, int cmd, ...)
    int F_GETFD, F_SETFD, F_GETFL, F_SETFL, FD_CLOEXEC, O_NONBLOCK

gl_import()

# Part of the core's interface, for backends and others in Python.
globals().update({name: getattr(_backend, name) for name in ("END", "READ", "URGENT", "WRITE", "Backend")})

# Kinds of ready entries.
cdef enum:
    RESUME      # target: Waiter
    START       # target: greenlet; argument: tuple for a raw greenlet
    THROW       # target: greenlet; argument: exception
    CALL        # target: Callback

# A greenlet may hand over to the next one this many times, or for this long, before the hub polls again.
cdef enum:
    HANDOFF_BUDGET = 256
# How many Waiters and idle runners a hub keeps for reuse. See KEEP_BUFFER, too.
cdef enum:
    SPARE_WAITERS = 256
    SPARE_RUNNERS = 4
# How many signal handlers may wait at the same time, one inside the other, in one backend's `poll`.
cdef enum:
    NESTED_POLLS = 8
cdef int64_t SLICE_NS = 5_000_000
# One call in this many checks whether the slice is over.
cdef enum:
    LOOK_EVERY = 64
looks.left = looks.every = LOOK_EVERY

# While other threads run that could wake us, a hub with nothing to do checks this often whether they still exist.
# Only the detection of a dead end waits for it: a wake-up from a thread arrives at once.
cdef int64_t DEAD_END_CHECK_NS = 1_000_000_000

cdef int64_t FOREVER = -1
# In place of a time to poll for: something is ready, so do not poll.
cdef enum:
    LOOK_AGAIN = -2
# What a waiter for an fd is woken with, as Python objects, so that none is made for each event.
cdef object READ_NEWS = READ
cdef object WRITE_NEWS = WRITE
cdef object ZERO = 0             # saves sleep(0) the conversion of an int to a double
cdef int64_t LONGEST_NS = 1 << 62
# A backend is never asked to wait for longer: kernels refuse a few years (macOS), or count milliseconds in an int.
cdef int64_t LONGEST_POLL_NS = 24 * 3600 * <int64_t> 1_000_000_000

_backend_chooser = None
# In the child of a fork that another greenlet than the main one made.
cdef greenlet _main_left_behind = None
cdef greenlet _in_its_place = None

# The end of the interpreter. While atexit callbacks run everything works, except that no thread can be started any more
# (CPython 3.12 and later). After them it is *finalized*: other threads never run again, nothing can be imported, modules
# are taken apart, and all Python code that is left are finalizers. Those may use everything and may wait. But what was
# parked before then does not run again: as a daemon thread it would find its modules gone. It is frozen by the first
# finalizer that waits or starts a greenlet.
cdef bint _exiting = False      # atexit callbacks run, or have run
cdef bint _frozen = False

include "_shared.pxi"


def _mark_exit():
    global _exiting
    _exiting = True
    _end_ticker()               # again: a function that is registered while such functions are called is not called
    take_last_interrupt()
    try:
        current_hub()           # its parts can no longer be imported when a finalizer is the first to wait
    except Exception:
        pass                    # code that needs a hub gets the error then


atexit.register(_mark_exit)


cdef bint finalizing() noexcept:
    return _exiting and gevlite_is_finalizing()


def is_finalizing():
    """True once no thread but this one, and no greenlet that has not been started since, will ever run again."""
    return finalizing()


def too_late_for_threads(exc):
    """True if `start_new_thread` raised `exc` because the interpreter ends: what is left must do without threads."""
    return isinstance(exc, RuntimeError) and "interpreter shutdown" in str(exc)


cdef int _freeze_others(Hub hub) except -1:
    global _frozen
    if not _frozen and gevlite_is_finalizing():
        _frozen = True
        hub.thread_refs = 0
        abandon_others(hub)
    return 0


def set_backend_chooser(chooser):
    """Set the function that picks a backend for a new hub: `chooser(wanted) -> (Backend, reason)`."""
    global _backend_chooser
    _backend_chooser = chooser


cdef dict _hub_attributes = {}


def register_hub_attribute(name, factory):
    """Have `hub.<name>` made by `factory(hub)` on first use: so the layers above attach something to a hub."""
    _hub_attributes[name] = factory


# ---------------------------------------------------------------- time

cdef int64_t now_ns() noexcept nogil:
    return hub_ns()


cdef double number_of(object seconds) except? -1:
    if type(seconds) is float:
        return <double> seconds
    try:
        return seconds
    except TypeError:
        raise TypeError(f"seconds must be a number, not {seconds!r}") from None


cdef int64_t timeout_ns(object seconds) except -2:
    cdef double s
    cdef long whole
    if seconds is None:
        return FOREVER
    if type(seconds) is int:
        whole = seconds if -1 < seconds < 4_000_000_000 else -1
        if whole >= 0:
            return whole * <int64_t> 1_000_000_000
    s = number_of(seconds)
    if s <= 0:
        return 0
    if s != s:
        raise ValueError("timeout must not be NaN")
    if s >= 4e9:
        return LONGEST_NS
    # Rounded up: a wait is never shorter than asked for.
    s *= 1e9
    return <int64_t> s + (1 if s != <double> (<int64_t> s) else 0)


# ---------------------------------------------------------------- intrusive lists

@cython.no_gc
cdef class Place:
    """A place in a WaitList: what is to be notified when the thing that the list is for happens.

    It is in one list at most. The list owns a reference to it, and taking it out gives that up.
    """

    def __cinit__(self):
        self.prev = NULL
        self.next = NULL
        self.list = NULL

    cdef int notify(self, object source) except -1:
        return 0

    cdef int fail(self, object exc) except -1:
        return 0


cdef int waitlist_append(WaitList *lst, Place place) except -1:
    if place.list != NULL:
        raise RuntimeError("already waiting in a queue")
    Py_INCREF(place)
    place.list = lst
    place.next = NULL
    place.prev = lst.tail
    if lst.tail == NULL:
        lst.head = <PyObject *> place
    else:
        (<Place> lst.tail).next = <PyObject *> place
    lst.tail = <PyObject *> place
    lst.count += 1
    return 0


cdef int waitlist_remove(Place place) except -1:
    """Take `place` out of its list, if it is in one."""
    cdef WaitList *lst = place.list
    if lst == NULL:
        return 0
    if place.prev == NULL:
        lst.head = place.next
    else:
        (<Place> place.prev).next = place.next
    if place.next == NULL:
        lst.tail = place.prev
    else:
        (<Place> place.next).prev = place.prev
    place.prev = NULL
    place.next = NULL
    place.list = NULL
    lst.count -= 1
    Py_DECREF(place)
    return 0


cdef Place waitlist_pop(WaitList *lst):
    cdef Place place
    if lst.head == NULL:
        return None
    place = <Place> lst.head
    waitlist_remove(place)
    return place


cdef bint notify_one(WaitList *lst, object source) except -1:
    while lst.head != NULL:
        if waitlist_pop(lst).notify(source):
            return True
    return False


cdef Py_ssize_t notify_all(WaitList *lst, object source) except -1:
    # Only those that are in the list now: a notified one may append itself again at once.
    cdef Py_ssize_t n = lst.count, told = 0
    while n > 0 and lst.head != NULL:
        n -= 1
        told += waitlist_pop(lst).notify(source)
    return told


cdef int waitlist_clear(WaitList *lst) except -1:
    while lst.head != NULL:
        waitlist_pop(lst)
    return 0


# ---------------------------------------------------------------- callbacks and timers

@cython.freelist(128)
@cython.no_gc
cdef class Callback:
    """Callback(hub=None, callback=None, args=())\n--\n
    A call that the hub will make from its own greenlet. If it blocks, that delays nothing but itself.

    `stop()` (also `cancel`, `close`) takes it back if it has not run. `pending` tells whether it still will.
    """

    def __cinit__(self, Hub hub=None, callback=None, args=()):
        self.hub = hub
        self.callback = callback
        self.args = args

    cdef int run(self) except -1:
        cdef object callback = self.callback, args = self.args
        if callback is None:
            return 0
        self.callback = None
        self.args = None
        callback(*args)
        return 0

    cpdef stop(self):
        """Take the call back. Calling it twice, or after the call was made, does nothing."""
        self.callback = None
        self.args = None

    def cancel(self):
        """The same as `stop()`."""
        self.stop()

    def close(self):
        """The same as `stop()`."""
        self.stop()

    @property
    def pending(self):
        return self.callback is not None

    def __bool__(self):
        return self.callback is not None

    def __repr__(self):
        state = f"{self.callback!r}" if self.callback is not None else "stopped or done"
        return f"<{type(self).__name__} at {<size_t> <PyObject *> self:#x} {state}>"


cdef class LinkCall(Callback):
    cdef int run(self) except -1:
        if self.callback is None:
            return 0            # taken back meanwhile
        try:
            self.links.remove(self)
        except ValueError:
            pass
        self.links = None
        return Callback.run(self)


cdef int links_due(list links, object source) except -1:
    cdef LinkCall link
    for link in list(links):
        if not link.queued:
            link.queued = True
            link.links = links
            link.args = (source,)
            link.hub.push(CALL, <PyObject *> link, NULL)
    return 0


cdef int unlink_from(list links, object callback) except -1:
    cdef LinkCall link
    cdef Py_ssize_t i = 0
    while i < len(links):
        link = links[i]
        if link.callback == callback:
            if link in links:       # the comparison may be code of the program, and let others run
                links.remove(link)
            link.stop()
            break
        i += 1
    return 0


@cython.no_gc
cdef class Timer(Callback):
    """Timer(hub=None, callback=None, args=())\n--\n
    A `Callback` made at a moment, once or every `repeat` seconds. Made by `Hub.call_later`."""

    def __cinit__(self, Hub hub=None, callback=None, args=()):
        self.heap_index = -1
        self.repeat_ns = 0
        self.ref = True

    cdef int start_ns(self, int64_t delay_ns) except -1:
        cdef Hub hub = self.hub
        if self.heap_index >= 0:
            raise RuntimeError("timer already started")
        heap_push(&hub.timers, hub_ns() + delay_ns, <PyObject *> self, &self.heap_index)
        if not self.ref:
            hub.unref_timers += 1
        return 0

    cdef int run(self) except -1:
        cdef object callback = self.callback
        self.queued = False
        if callback is None:
            return 0
        if self.repeat_ns > 0:
            self.start_ns(self.repeat_ns)
            callback(*self.args)
            return 0
        return Callback.run(self)

    cdef PyObject *strikes(self) noexcept:
        return NULL

    cpdef stop(self):
        """Take the call back and forget the moment. Calling it twice does nothing. May be called from any thread."""
        self.callback = None
        self.args = None
        if self.heap_index >= 0:
            if <PyObject *> self.hub == gevlite_thread_hub:
                self.hub._forget_timer(self)
            else:
                self.hub.call_soon_threadsafe(self._stop_here)

    def _stop_here(self):
        if self.callback is None and self.heap_index >= 0:
            self.hub._forget_timer(self)

    @property
    def pending(self):
        return self.heap_index >= 0 or self.queued


# ---------------------------------------------------------------- park and wake

@cython.no_gc
cdef class Waiter(Place):
    """Waiter(hub=None)\n--\n
    The one way to block: `park()` switches away until `wake(value)` or `throw(exc)` is called.

    Use one Waiter for one wait. `wake` and `throw` may be called before `park` (which then returns at once) and from any OS
    thread. Both return True if they decided the wait and False if it was already decided.
    """

    def __cinit__(self, hub=None):
        self.hub = <Hub> hub if hub is not None else current_hub()
        self.heap_index = -1
        self.ref = True

    cpdef park(self):
        """Block the current greenlet until woken; return the value or raise the exception it was woken with.

        Raises InvalidSwitchError if something other than `wake` or `throw` switched into the parked greenlet. It may
        also be called in the hub's greenlet (in a callback, a destructor): another greenlet runs the loop meanwhile.
        """
        return self.park_for(FOREVER)

    def park_timeout(self, timeout=None):
        """`park()` for at most `timeout` seconds. Returns `(value, timed_out)`."""
        value = self.park_for(timeout_ns(timeout))
        return value, bool(self.timed_out)

    cdef object park_for(self, int64_t limit):
        # This C stack frame is saved with each parked greenlet. So everything that can be done before and after the
        # switch is done in functions of its own.
        cdef PyObject *target = self._enter(limit)
        if target != <PyObject *> self:
            self._leave(raw_switch(target, NULL))
        return self._result()

    cdef object _suspend(self, greenlet me):
        """Switch away in state PARKED (or WOKEN with the entry queued); come back DONE."""
        cdef PyObject *target = self._switch_from(me)
        if target != <PyObject *> self:
            self._leave(raw_switch(target, NULL))
        return self._result()

    cdef PyObject *_enter(self, int64_t limit) except NULL:
        """Get ready to park. Returns what to switch to; self if there is no need."""
        cdef greenlet me
        cdef Hub hub = self.hub
        if self.state == WOKEN:
            self.state = DONE
            waitlist_remove(self)
            return <PyObject *> self
        try:
            me = self._may_park()
            if self.state == WOKEN:         # in the meantime: a destructor ran, and waited
                self.state = DONE
                waitlist_remove(self)
                return <PyObject *> self
            if limit >= 0:
                heap_push(&hub.timers, hub_ns() + limit, <PyObject *> self, &self.heap_index)
                if not self.ref:
                    hub.unref_timers += 1
        except BaseException:
            waitlist_remove(self)
            raise
        self.state = PARKED
        return self._switch_from(me)

    cdef greenlet _may_park(self):
        """The current greenlet, if it may park here; else raises why not, or the exception that is pending for it."""
        cdef Hub hub = self.hub
        cdef greenlet me
        cdef object pending
        if self.state != NEW:
            raise RuntimeError("a Waiter can be used for one wait only")
        if gevlite_thread_hub != <PyObject *> hub:
            if hub.closed:
                raise HubDestroyed("this thread's hub was destroyed")
            raise RuntimeError("park() must be called in the thread of the waiter's hub")
        me = current_greenlet()
        pending = take_pending(hub, me) if not hub.closing else GreenletExit("the hub is being destroyed")
        if pending is None and hub.belongings is not None and hub.belongings.owner is not me:
            pending = take_pending_of_owner(hub, me)
        if pending is not None and (hub.belongings is None or (pending := raised_here(hub, me, pending)) is not None):
            self.state = DONE
            raise pending
        if <PyObject *> me == hub.runner:
            try:
                displace(hub)
            except BaseException:
                self.state = DONE
                raise
        return me

    cdef PyObject *_switch_from(self, greenlet me) except NULL:
        """Count as parked from here on. Returns what to switch to; self if it is our own turn already."""
        cdef Hub hub = self.hub
        cdef PyObject *target
        if _exiting:
            _freeze_others(hub)
        self.greenlet = me
        self.since = hub.slice_end
        # Both references are borrowed: our caller holds this Waiter on the stack of `me` until `_undo` has removed it
        # again.
        if isinstance(me, CoreGreenlet):
            (<CoreGreenlet> me).waiter = <PyObject *> self
        self.parked_prev = NULL
        self.parked_next = hub.parked
        if hub.parked != NULL:
            (<Waiter> hub.parked).parked_prev = <PyObject *> self
        hub.parked = <PyObject *> self
        hub.n_parked += 1
        if GEVLITE_MUST_INSTRUMENT:
            self.monitoring = gevlite_monitoring(hub.thread_state)
        if hub.belongings is not None:
            self.belongings = lay_down()
        target = hub.next_target()
        while target == <PyObject *> me and self.state != RESUMED:
            # This resumption ends the wait of this greenlet that a signal handler interrupted: its state says so later.
            target = hub.next_target()
        if target == <PyObject *> me:
            if self.belongings is not None:
                self._put_back()
            self._undo()
            return <PyObject *> self
        return target

    cdef int _leave(self, PyObject *result) except -1:
        """Back from the switch; `result` is NULL if an exception was thrown in by hand."""
        if GEVLITE_MUST_INSTRUMENT and self.monitoring != gevlite_monitoring(self.hub.thread_state):
            instrument_frames(self)
        if result != NULL and self.state == RESUMED:
            Py_DECREF(<object> result)
            if self.belongings is not None:
                self._put_back()
            self._undo()
            if self.hub.thread_state.c_tracefunc != NULL or self.hub.thread_state.c_profilefunc != NULL:
                self._tell_tracer()
            return 0
        return leave_oddly(self, result)

    cdef void _put_back(self) noexcept:
        cdef Belongings belongings = self.belongings
        if belongings is not None:
            self.belongings = None
            self.hub.belongings = belongings
            belongings.put_back()

    cdef int _tell_tracer(self) except -1:
        """Let a tracer or profiler, such as coverage.py's, see a call: only then does it ask which greenlet is running.

        Not a debugger: it does not ask, and would show a function of ours to a user who steps.
        """
        try:
            if self.hub.thread_state.c_profilefunc == NULL and is_debugger(sys.gettrace()):
                return 0
            switched()
        except BaseException:
            # The tracer's own error. The value that this greenlet was woken with must go to the next waiter.
            self.undelivered = self.exc is None and not self.timed_out
            raise
        return 0

    cdef int _undo(self) except -1:
        """Leave every list and the heap. From here on the Waiter is DONE, and `wake` returns False."""
        self.state = DONE
        leave_parked(self.hub, self)
        if isinstance(self.greenlet, CoreGreenlet):
            (<CoreGreenlet> self.greenlet).waiter = NULL
            # Not RUNNING: it waited after its `end`, in the report of its error. Nothing would reset `current` then.
            self.hub.current = <PyObject *> self.greenlet if (<CoreGreenlet> self.greenlet).life == RUNNING else NULL
        elif self.hub.polls and (
            runs_loops(self.hub, self.greenlet)
            or self.hub.in_place != NULL and main_of(self.greenlet) is self.greenlet
        ):
            # A signal handler waited in the middle of this greenlet's poll. Meanwhile another greenlet polled, and may
            # have taken the event that would have ended this poll.
            self.hub.wake_backend()
        self.greenlet = None
        if self.heap_index >= 0:
            self.hub._forget_timer(self)
        if self.list != NULL:
            waitlist_remove(self)
        return 0

    cdef object _result(self):
        cdef object result = self.exc
        if result is not None:
            self.exc = None
            raise result
        result = self.value
        self.value = None
        return result

    cpdef bint wake(self, object value=None) except -1:
        """Decide the wait with `value`. True: done by this call; False: it was already decided.

        Also False if its hub is gone (its thread ended, or was left behind by a fork): the value would be lost.
        """
        return decide(self, value, False)

    cpdef bint throw(self, object exc) except -1:
        """Decide the wait with an exception (an instance or a class). Returns as `wake`."""
        return decide(self, exc, True)

    cdef bint _time_out(self) except -1:
        if self.state != PARKED:
            return False
        self.timed_out = True
        return self.wake(None)

    cdef int notify(self, object source) except -1:
        return self.wake(source)

    cdef int fail(self, object exc) except -1:
        return self.throw(exc)

    @property
    def parked(self):
        """The greenlet that is parked here, or None."""
        return self.greenlet

    def describe(self):
        """What the greenlet waits for, in words."""
        return waits_for(self)

    def __repr__(self):
        state = ("new", "parked", "woken", "resumed", "done")[<int> self.state]
        return f"<Waiter at {<size_t> <PyObject *> self:#x} {state}, {self.describe()}>"


cdef int leave_oddly(Waiter w, PyObject *result) except -1:
    """Back from the switch of a parked greenlet, but not because it was woken."""
    cdef Hub hub = w.hub
    cdef greenlet me = w.greenlet
    cdef bint runs = runs_loops(hub, me)
    cdef PyObject *error
    cdef PyObject *value
    cdef PyObject *traceback
    while True:
        if result != NULL:
            Py_DECREF(<object> result)
            if not runs:
                if w.state == RESUMED:
                    break
                if hub.handlers_due and me is get_main(hub):
                    handle_signals_in(w)
                elif not (hub.in_handlers and me is get_main(hub)):
                    w._put_back()
                    w._undo()
                    raise InvalidSwitchError(
                        f"{me!r}, {w.describe()}, was switched into by hand; "
                        "use wake(), kill() or throw through the hub instead"
                    )
                # Else the wait that a signal handler interrupted has ended while the handler waits: its state says so
                # later.
        elif not runs:
            PyErr_Fetch(&error, &value, &traceback)
            # If it was woken already, the value that it was woken with must go to the next waiter.
            w._put_back()
            w.undelivered = (w.state == WOKEN or w.state == RESUMED) and w.exc is None and not w.timed_out
            w._undo()
            if hub.thread_state.c_tracefunc != NULL or hub.thread_state.c_profilefunc != NULL:
                try:
                    w._tell_tracer()
                except BaseException as exc:
                    hub._report(w, exc)         # the exception that was thrown must not be lost
            PyErr_Restore(error, value, traceback)
            return -1
        else:
            # A greenlet has ended into this one, its parent. Its error does not concern the wait here.
            try:
                raise_it()
            except BaseException as exc:
                w._put_back()
                hub._report("a raw greenlet", exc)
        if w.state == RESUMED:
            break
        if hub.belongings is not None:
            w.belongings = lay_down()
        result = raw_switch(hub.runner, NULL)
        if GEVLITE_MUST_INSTRUMENT and w.monitoring != gevlite_monitoring(hub.thread_state):
            instrument_frames(w)
    w._put_back()
    w._undo()
    if hub.thread_state.c_tracefunc != NULL or hub.thread_state.c_profilefunc != NULL:
        w._tell_tracer()
    return 0


cdef int handle_signals_in(Waiter w) except -1:
    """Run signal handlers in the main greenlet, which waits on `w`. They may wait too. What they raise ends its wait."""
    cdef Hub hub = w.hub
    cdef greenlet me = w.greenlet
    hub.handlers_due = False
    hub.in_handlers += 1
    w._put_back()
    try:
        check_signals()
    except BaseException:
        w.undelivered = (w.state == WOKEN or w.state == RESUMED) and w.exc is None and not w.timed_out
        if w.exc is not None:
            add_pending(hub, me, w.exc)
        w._undo()
        raise
    finally:
        hub.in_handlers -= 1
    if isinstance(me, CoreGreenlet):
        (<CoreGreenlet> me).waiter = <PyObject *> w     # a wait of the handler has replaced it
    return 0


cdef Waiter new_waiter(Hub hub, int kind, PyObject *what):
    """A Waiter for the running thread's hub, from its free list if there is one.

    The first call in a thread makes a hub, and an allocation may start the garbage collector: then Python code runs,
    and with it other threads. So between this call and waitlist_append the caller checks again whether it still has to
    wait.
    """
    cdef Waiter w
    if hub.spare != NULL:
        w = <Waiter> hub.spare
        hub.spare = w.next
        w.next = NULL
        hub.spare_room += 1
        Py_DECREF(w)                # the list's reference
    else:
        w = Waiter.__new__(Waiter, hub)
    w.kind = kind
    w.what = what
    return w


cdef int free_waiter(Waiter w) except -1:
    """Give a Waiter to the free list after its wait. The caller must not touch it again.

    A Waiter never goes back from DONE, because `wake` may come late: from a timer, another thread, or a callback that
    still holds it. So a Waiter is reset only if the caller has the last reference to it: it can no longer be woken by
    mistake. And only if its `park_for` has returned: if the wait raised, the Waiter stays as it is, since `undelivered`
    is yet to be read.
    """
    cdef Hub hub = w.hub
    if Py_REFCNT(<PyObject *> w) != 1 or hub.spare_room <= 0 or w.state != DONE or w.list != NULL:
        return 0
    w.state = NEW
    w.value = None
    w.exc = None
    w.timed_out = False
    w.ref = True
    w.detail = 0
    w.next = hub.spare
    hub.spare = <PyObject *> w
    hub.spare_room -= 1
    Py_INCREF(w)
    return 0


cdef bint wait_on(Waiter w, int64_t timeout) except -1:
    """Park on `w`, which is in a list if something there is to notify it. False after the time-out.

    In any case, it is in no list afterwards. If this returns, `w` is in the free list or in use for another wait: do
    not touch it. If it raises, `w` still belongs to the caller: if the list hands something over by waking (a lock, an
    item), the caller reads `w.undelivered` and, if it is set, gives `w.value` to the next waiter.
    """
    cdef bint timed_out
    w.park_for(timeout)
    timed_out = w.timed_out
    free_waiter(w)
    return not timed_out


cdef class _ForwardPlace(Place):
    cdef int notify(self, object source) except -1:
        return self.target.wake(source)

    cdef int fail(self, object exc) except -1:
        return self.target.throw(exc)


cdef Waiter first_parked(WaitList *first, WaitList *second):
    """The first waiter in the lists whose wait is not decided, or None."""
    cdef PyObject *p = first.head
    cdef Waiter w
    while True:
        if p == NULL:
            if second == NULL:
                return None
            p, second = second.head, NULL
            continue
        if isinstance(<object> p, _ForwardPlace):
            w = (<_ForwardPlace> p).target
        else:
            w = <Waiter> p if isinstance(<object> p, Waiter) else None
        if w is not None and w.state == PARKED:
            return w
        p = (<Place> p).next


cdef _ForwardPlace forward(WaitList *lst, Waiter target):
    """A place for `target` in a further list."""
    cdef _ForwardPlace place = _ForwardPlace.__new__(_ForwardPlace)
    place.target = target
    waitlist_append(lst, place)
    return place


cdef class Waitable:
    """The base of everything that becomes ready: the greenlets that wait for it, and the callbacks linked to it."""

    cpdef bint ready(self) except -1:
        """True if waiting for it would not block."""
        raise NotImplementedError(f"{type(self).__name__}.ready")

    cdef bint wait_here(self, int kind, int64_t timeout) except -1:
        """Park among the waiters until notified. False after the time-out."""
        cdef Waiter w = new_waiter(current_hub(), kind, <PyObject *> self)
        if self.ready():
            return True         # it has become ready in the meantime, see new_waiter
        waitlist_append(&self.waiters, w)
        return wait_on(w, timeout)

    cdef int notify_callbacks(self) except -1:
        """Queue the callbacks. To be called before the waiters are woken, so that they go on after the callbacks."""
        return links_due(self.callbacks, self)

    def rawlink(self, callback):
        """Have this thread's hub call `callback(self)` once, when it becomes ready (soon, if it is).

        The callback runs in the hub; if it blocks, that delays nothing but itself. It is called before greenlets that began
        to wait later go on.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        link = LinkCall.__new__(LinkCall, current_hub(), callback)
        if self.callbacks is None:
            self.callbacks = [link]
        else:
            self.callbacks.append(link)
        if self.ready():
            self.notify_callbacks()

    def unlink(self, callback):
        """Take back a `rawlink`, also when the call is due already. An unknown one is ignored."""
        if self.callbacks is not None:
            unlink_from(self.callbacks, callback)

    def linkcount(self):
        """How many greenlets wait for it and how many callbacks are linked, together."""
        return self.waiters.count + (len(self.callbacks) if self.callbacks is not None else 0)

    @property
    def hub(self):
        """The hub of the running thread: a primitive belongs to no hub and may be shared between threads."""
        return current_hub()

    def __dealloc__(self):
        waitlist_clear(&self.waiters)


# ---------------------------------------------------------------- coroutines

# Makes the iterator that `__await__` returns. `gevlite.asyncio`, which deals with coroutines, sets it.
_awaiter = None


def set_awaiter(awaiter):
    """`awaiter(what)` returns what `__await__` of a greenlet, an event and so on is to return."""
    global _awaiter
    _awaiter = awaiter


cdef object await_it(object what):
    if _awaiter is None:
        raise RuntimeError(
            f"{type(what).__name__} can be awaited in an event loop of gevlite only: "
            "run the coroutine with gevlite.asyncio.run() or wait()"
        )
    return _awaiter(what)


# ---------------------------------------------------------------- what belongs to a greenlet

cdef class Belongings:
    """What a greenlet has put into the state of its OS thread, where every other greenlet would find it: see
    `_running_loop`.

    The code that puts it there calls `set_belongings`. From then on it is put away whenever that greenlet is parked:
    the core calls `put_away` before it switches to another greenlet and `put_back` before this one goes on, whether it
    is woken or an exception is thrown into it. Both are called where nothing may be raised, and must not switch. A
    greenlet without belongings pays for one test of a pointer before and after the switch, and a greenlet that has just
    been started has none.

    A switch made by hand (`greenlet.switch` between two greenlets of the program's own) does not count as parking: the
    two are one flow of control, and keep the belongings. SQLAlchemy does this: a coroutine switches to another
    greenlet, for code that is not async. If that greenlet parks, `owner` waits there too, and an exception for `owner`
    is raised there (`waits_for_owner`).
    """

    cdef void put_away(self) noexcept:
        pass

    cdef void put_back(self) noexcept:
        pass

    cdef object raising(self, object exc):
        """`exc` is about to be raised in the blocking call that the greenlet is in. Returns what to raise instead, None
        for nothing. May be called while the belongings are put away."""
        return exc

    cdef Block block(self):
        """See new_block."""
        return None


cdef class Block:
    """A `with` block that is to be interrupted alone: it is only a part, such as a task, of what its greenlet runs."""

    cdef int interrupt(self, Hub hub, greenlet target, object exc) except -1:
        """Have it end with `exc`. Called by the hub, or by code that runs in `target`."""
        return 0

    cdef bint leave(self, object value) except -1:
        """It has ended, with the exception `value` or None. True if `value` stands for the `exc` of `interrupt`."""
        return False


cdef Block new_block(Hub hub):
    if hub.belongings is None:
        return None
    if hub.hosted:
        notice(hub)             # it has a timer
    return hub.belongings.block()


# Finds what the running greenlet has already when its thread's hub is made.
_belongings_finder = None


def set_belongings_finder(finder):
    """`finder()` returns the Belongings of the running greenlet, or None. Called when a hub is made."""
    global _belongings_finder
    _belongings_finder = finder


cdef int set_belongings(Belongings belongings) except -1:
    # A thread without a hub has one greenlet that sees them; a hub made later asks the finder.
    if belongings is not None and belongings.owner is None:
        belongings.owner = current_greenlet()
    if gevlite_thread_hub != NULL:
        (<Hub> gevlite_thread_hub).belongings = belongings
    return 0


cdef Belongings lay_down():
    cdef Hub hub
    cdef Belongings belongings = None
    if gevlite_thread_hub != NULL:
        hub = <Hub> gevlite_thread_hub
        belongings = hub.belongings
        if belongings is not None:
            hub.belongings = None
            belongings.put_away()
    return belongings


cdef int take_up(Belongings belongings) except -1:
    if belongings is not None:
        set_belongings(belongings)
        belongings.put_back()
    return 0


# ---------------------------------------------------------------- greenlets the core knows

cdef class CoreGreenlet(greenlet):
    """What the core keeps with each greenlet of gevlite.

    `waiter` is set while it is parked and only then: that is how `throw_now` finds what an exception has to end.
    """

    def __cinit__(self, *args, **kwargs):
        self.waiter = NULL
        self.life = UNSTARTED
        self.hub = current_hub()
        # greenlet's own constructor made the current greenlet the parent; ours die into their hub.
        gl_set_parent(<PyObject *> self, <PyObject *> self.hub)

    cdef int begin(self) except -1:
        """First thing in `run`."""
        self.life = RUNNING
        self.hub.greenlets += 1
        self.hub.current = <PyObject *> self
        return 0

    cdef int end(self) except -1:
        self.life = FINISHED
        self.hub.greenlets -= 1
        self.hub.current = NULL
        if self.hub.belongings is not None:
            lay_down()          # the next greenlet must not find what this one has left in the thread's state
        return 0

    cdef tuple identity(self):
        return None, None, None, None, -1

    def __del__(self):
        # Suspended by a hand-made switch and no longer reachable: unwind it while our fields are still there. It can only
        # be unwound by its own thread.
        if gl_active(<PyObject *> self):
            if self.hub.closed:
                Py_INCREF(self)     # nothing can unwind it any more; its stack must not outlive its fields
            elif <PyObject *> self.hub == gevlite_thread_hub:
                throw_to(<PyObject *> self, GreenletExit)
            else:
                self.hub.push_remote(THROW, <PyObject *> self, <PyObject *> GreenletExit)


cdef greenlet current_greenlet():
    return <greenlet> gl_current()


def getcurrent():
    """The greenlet that runs. As `greenlet.getcurrent()`, but works in finalizers at the end of the interpreter, too."""
    return current_greenlet()


cdef greenlet in_whose_name(greenlet g):
    cdef Hub hub
    if gevlite_thread_hub != NULL and not isinstance(g, CoreGreenlet):
        hub = <Hub> gevlite_thread_hub
        if runs_loops(hub, g):
            main = get_main(hub)
            return main if main is not None else g
    return g


cdef greenlet main_of(greenlet g):
    """The main greenlet of the thread of `g`."""
    cdef PyObject *parent
    while True:
        parent = gl_parent(<PyObject *> g)
        if parent == NULL:
            return g
        g = <greenlet> parent
        Py_DECREF(g)


# ---------------------------------------------------------------- watching a descriptor

cdef class _WatchPlace(Place):
    cdef int notify(self, object source) except -1:
        return self.watch.found(source)

    cdef int fail(self, object exc) except -1:
        return self.watch.found(self.watch.events)      # its callback will try the fd and see


cdef class FdWatch:
    """FdWatch(hub, fd, events, callback)\n--\n
    `FdWatch(hub, fd, events, callback)`: after `start()`, the hub calls `callback(events)` once when `fd` is ready.

    It may then be started again. A callback that blocks delays nothing but itself.
    """

    def __cinit__(self, Hub hub, int fd, int events, callback):
        if events & ~(READ | WRITE) or not events:
            raise ValueError("events must be READ, WRITE or READ | WRITE")
        if fd < 0:
            errno_raise(EBADF)
        self.hub = hub
        self.fd = fd
        self.events = events
        self.callback = callback

    def start(self):
        """Watch for one report. Raises OSError(EBADF) if the fd is closed. Does not block."""
        cdef FdEntry *entry
        cdef int got
        if self.active:
            return
        self.hub._check_thread("FdWatch")
        entry = fd_entry(self.hub, self.fd)
        if entry.flags & OWNED:
            # Reported by edge, perhaps long ago: ask the kernel.
            got = fd_ask(self.hub, entry, self.events)
            if got:
                self.hub._call_soon(self.callback, (got,))
                return
        self.active = True
        self.hub.fd_waiters += 1
        try:
            if self.events & READ:
                self.reader = _WatchPlace.__new__(_WatchPlace)
                self.reader.watch = self
                waitlist_append(&entry.readers, self.reader)
            if self.events & WRITE:
                self.writer = _WatchPlace.__new__(_WatchPlace)
                self.writer.watch = self
                waitlist_append(&entry.writers, self.writer)
            fd_rearm(self.hub, entry)
        except BaseException:
            self.stop()
            raise
        if self.hub.hosted:
            notice(self.hub)    # a regular file is ready at once, and no descriptor says so

    def stop(self):
        """Watch no more. Calling it twice does nothing."""
        cdef FdEntry *entry
        if not self.active:
            return
        self._unlink()
        entry = fd_entry(self.hub, self.fd)
        if entry.armed:
            fd_disarm(self.hub, entry)
        fd_pass_on(self.hub, entry)

    def _unlink(self):
        self.active = False
        self.hub.fd_waiters -= 1
        if self.reader is not None:
            waitlist_remove(self.reader)
            self.reader = None
        if self.writer is not None:
            waitlist_remove(self.writer)
            self.writer = None

    cdef int found(self, int events) except -1:
        if not self.active:
            return 0
        self._unlink()
        if self.events == READ | WRITE:
            events |= ready_or_nothing(self.fd, READ | WRITE)   # the first news comes here; there may be more
        self.hub._call_soon(self.callback, (events,))
        # It only looks: what waits behind it must be notified of the event too.
        fd_pass_on(self.hub, fd_entry(self.hub, self.fd))
        return 1


# ---------------------------------------------------------------- the hub

cdef class Hub(greenlet):
    """Hub(backend=None)\n--\n
    The greenlet of one OS thread that runs its event loop. `get_hub()` makes it on first use.

    `Hub(backend=None)`: a backend's name, an order of preference (comma-separated or a sequence), `"module:Class"`, a
    subclass of Backend or an instance; None means what `gevlite.config.backend` says, or the best one of the platform.
    """

    # Exceptions that may end a greenlet without a report, and those that go to the main greenlet instead.
    NOT_ERROR = (GreenletExit, SystemExit)
    SYSTEM_ERROR = (KeyboardInterrupt, SystemExit, SystemError)

    def __cinit__(self, *args, **kwargs):
        self.parked = NULL
        self.fds = NULL
        self.turn_ns = SLICE_NS
        self.spare_room = SPARE_WAITERS
        self.runner = <PyObject *> self
        self.runners = []
        self.idle_runners = []

    def __init__(self, backend=None):
        global gevlite_thread_hub
        cdef greenlet main = main_of(current_greenlet())
        if gevlite_thread_hub != NULL:
            raise RuntimeError(HAS_A_HUB)
        if _backend_chooser is None:
            raise RuntimeError("no backends: import gevlite before making a hub")
        if _stack_cache_problem is not None:
            raise ValueError(_stack_cache_problem)
        chosen, reason = _backend_chooser(backend)
        if not isinstance(chosen, Backend):
            raise TypeError(f"a backend must be a subclass of gevlite.backends.Backend, not {type(chosen).__name__}")
        self.backend = self.front = chosen
        self.backend_reason = reason
        gl_set_parent(<PyObject *> self, <PyObject *> main)
        self.thread_ident = _get_ident()
        self.thread_state = PyThreadState_Get()
        self.time = &gevlite_my_time
        self.pid = getpid()
        self.serial = new_fd_owner()
        self.raw_pending = {}
        self.name = ""
        self.is_main_thread = self._watch_signals()
        self.attachable = GEVLITE_CAN_ATTACH and sys.is_remote_debug_enabled()
        self.attach_fd = -1
        self.budget = 0
        if main is _main_left_behind:
            self.successor = _in_its_place      # which destroyed its first hub
            self.left_behind = {main}
            self.seldom |= CHILD_EXITS
        if gevlite_thread_hub != NULL:          # made since then, see `first_hub`
            self._unwatch_signals()
            (<Hub> gevlite_thread_hub)._watch_signals()
            raise RuntimeError(HAS_A_HUB)
        gevlite_thread_hub = <PyObject *> self
        add_hub(self)
        of_this_thread()[HOLDER] = _Holder(self)
        if _belongings_finder is not None:
            self.belongings = _belongings_finder()
            if self.belongings is not None:
                self.belongings.owner = current_greenlet()
        if _trace is not None:
            _trace.join(self)

    cdef int drop_spare(self) except -1:
        cdef Waiter w
        while self.spare != NULL:
            w = <Waiter> self.spare
            self.spare = w.next
            w.next = NULL
            Py_DECREF(w)
            self.spare_room += 1
        return 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.fds_size):
            free(self.fds[i])
        free(self.fds)
        free(self.timers.items)
        free(self.ready.items)
        free(self.ready.aside)
        free(self.inbox.items)

    # -------- scheduling

    cdef int push(self, int kind, PyObject *target, PyObject *argument) except -1:
        """Queue an entry from any thread."""
        if gevlite_thread_hub == <PyObject *> self:
            return ring_push(&self.ready, kind, target, argument)
        return self.push_remote(kind, target, argument)

    cdef int push_remote(self, int kind, PyObject *target, PyObject *argument) except -1:
        if inbox_put(self, kind, target, argument):
            self.wake_backend()
        return 0

    cdef int wake_backend(self) except -1:
        """Let a poll that is under way, or the next one, return at once. Any thread."""
        try:
            self.front.wake()
        except BaseException as exc:
            # The caller can do nothing about it, and what was queued must not stay there unseen.
            Backend.wake(self.backend)
            self._report(self.backend, exc)
        return 0

    cdef int push_start(self, greenlet g, object args) except -1:
        if _exiting:
            _freeze_others(self)        # before there is one that is to run
        return self.push(START, <PyObject *> g, <PyObject *> args if args is not None else NULL)

    cdef PyObject *next_target(self) except NULL:
        """The greenlet to which a parking greenlet switches: the next ready one, which then counts as resumed, or the
        one that runs the loop. Borrowed."""
        cdef Entry e
        cdef Waiter w
        if self.started:
            while self.ready.count and self.budget > 0 and gevlite_coarse_ns() < self.slice_end:
                e = self.ready.items[self.ready.head]
                # Everything but a resumption is for the hub. A new greenlet too: its C stack begins where it is first
                # switched to, and one begun from here would sit below ours, the next below that, and so on.
                if e.kind != RESUME:
                    break
                ring_pop(&self.ready)
                w = <Waiter> e.target
                Py_DECREF(w)
                if w.state != WOKEN:
                    continue
                w.state = RESUMED
                self.budget -= 1
                self.n_handoffs += 1
                # The greenlet's stack keeps the waiter alive, and the waiter the greenlet, until it has been resumed.
                return <PyObject *> w.greenlet
        self.n_switches += 1
        return self.runner

    cdef int step(self) except -1:
        """Execute one ready entry from the hub."""
        cdef Entry e = ring_pop(&self.ready)
        cdef object target = <object> e.target
        cdef object argument = None
        Py_DECREF(target)           # `target` holds its own
        if e.argument != NULL:
            argument = <object> e.argument
            Py_DECREF(argument)
        try:
            if e.kind == RESUME:
                if (<Waiter> target).state != WOKEN:
                    return 0
                (<Waiter> target).state = RESUMED
                target = (<Waiter> target).greenlet
                self.n_switches += 1
                switch_to(<PyObject *> target, NULL)
            elif e.kind == CALL:
                (<Callback> target).run()
            elif e.kind == THROW:
                throw_now(self, <greenlet> target, argument)
            elif self.closing:
                # No greenlet begins any more, else two that restart each other would keep us here.
                if isinstance(target, CoreGreenlet):
                    (<CoreGreenlet> target).life = FINISHED
            elif isinstance(target, CoreGreenlet):
                if (<CoreGreenlet> target).life == SCHEDULED:
                    self.n_switches += 1
                    switch_to(<PyObject *> target, NULL)
            else:
                self.n_switches += 1
                switch_to(<PyObject *> target, <PyObject *> argument if argument is not None else NULL)
        except BaseException as exc:
            # A callback failed, or a greenlet whose parent is the hub ended with an exception that it did not report itself.
            # After a handoff, that greenlet is another one than we switched to.
            if isinstance(target, greenlet) and not (<greenlet> target).dead:
                target = "a raw greenlet"
            self._report(target, exc)
        return 0

    # -------- the loop

    def run(self, *ignored):
        """The hub's own code; switched to, never called."""
        run_in_greenlet(hub_frame, (self._run,), NULL)

    def _run(self):
        if self.nursery is None:        # else a signal handler that waited has made one
            nursery = new_nursery(self)
            if self.nursery is None:
                self.nursery = nursery
                switch_to(<PyObject *> nursery, NULL)
        self.started = True
        if self.ticker_waits:
            tell_ticker(self)
        stamp_parked(self)
        run_loop(self, <PyObject *> self)

    cdef int run_as(self, PyObject *me) except -1:
        """Run the loop; 1 if the runner `me` is not needed any more."""
        cdef int64_t timeout, now
        while not self.closed:
            if self.runner != me:
                # Something made `me` wait on the way to here.
                if lay_off(self, me):
                    return 1
                continue
            if me != <PyObject *> self and self.laid_off:
                self.laid_off = False
                self.runner = <PyObject *> self
                continue
            if inbox_waits(self):
                inbox_take(self)
            if self.before_turn:
                begin_turn(self)
            if self.ready.count:
                self.budget = HANDOFF_BUDGET
                now = gevlite_coarse_ns()
                self.slice_end = now + self.turn_ns
                if self.round_left <= 0:
                    self.round_left = self.ready.count
                    self.round_began = now
                while self.ready.count and self.budget > 0 and not self.closed:
                    self.budget -= 1
                    if DEBUG:
                        check_hub(self)
                    self.step()
                    if self.runner != me:
                        break
                    now = gevlite_coarse_ns()
                    if now >= self.slice_end:
                        if now > self.slice_end + SLICE_NS:
                            stamp_last(self, now)
                        break
                if self.runner == me:
                    measure_round(self, now)
                self.budget = 0
                if self.closed:
                    return 0        # destroyed by what has just run
            if self.seldom and see_to_seldom(self):
                continue
            if self.timers.size:
                self.fire_timers()
            if self.ready.count or inbox_waits(self):
                if self.watched_fds:
                    self.poll_once(0)
                else:
                    check_signals()
                continue
            if self.idle_waiters.count:
                self.poll_once(0)
                if not self.ready.count and (self.host is None or turn_is_over(self)):
                    notify_all(&self.idle_waiters, None)
                continue
            if self.before_poll:
                self.call_hooks(self.before_poll)
                if self.ready.count:
                    self.poll_once(0)
                    continue
            if self.round_left > 0:
                count_round(self, gevlite_coarse_ns())      # something that the hub called waits in the middle of it
            timeout = FOREVER
            if self.timers.size:
                timeout = self.timers.items[0].deadline - hub_ns()
                if timeout < 0:
                    timeout = 0
            if self.timers.size == self.unref_timers and self.fd_waiters + self.refs + self.thread_refs <= 0:
                timeout = self.nothing_left(timeout)
                if timeout == LOOK_AGAIN:
                    continue
            if self.seldom & CLOCK_STANDS:
                clock_waits(self)
                continue
            if self.spinning:
                timeout = 0
            if self.attachable and timeout != 0 and self.is_main_thread:
                poll_attachable(self, timeout)
            else:
                self.poll_once(timeout)
        return 0

    cdef int64_t nothing_left(self, int64_t timeout) except? -3:
        """No event of our own is left. Returns how long to poll, or LOOK_AGAIN if this has made something ready."""
        if self.join_waiters.count:
            notify_all(&self.join_waiters, None)
            return LOOK_AGAIN
        # Finding out runs Python code, and that code waits itself just now. Or the greenlet that would get the LoopExit
        # has ended: as with threads, the others wait for ever.
        if self.asking or self.successor is not None and self.successor.dead:
            return timeout
        self.asking = True
        try:
            return self._nothing_left(timeout)
        finally:
            self.asking = False

    cdef int64_t _nothing_left(self, int64_t timeout) except? -3:
        # Another thread may still wake a greenlet, unless it is a worker without work. (The count leaves out the main
        # thread. So for the main thread it is the number of the others, and for any other thread, which it includes, it
        # is too.)
        threads = threads_at_work()
        # A thread that ends is no longer counted while its greenlets are unwound; its hub still is.
        if _frozen:
            dead_end = LoopExit(self._dead_end_message(), self)
        elif (threads > 0 or len(all_hubs()) > 1) and self.n_parked:
            dead_end = None
            if not 0 <= timeout < DEAD_END_CHECK_NS:
                timeout = DEAD_END_CHECK_NS
        elif self.is_main_thread and self.n_parked and not self.hosted and _signal_may_come():
            dead_end = None         # (not if hosted: the handlers of a host are for its loop, which waits for us)
        else:
            dead_end = LoopExit(self._dead_end_message(), self)
        # That was Python code: a thread (which may have ended since) or a signal handler may have woken a greenlet.
        if self.ready.count or inbox_waits(self) or self.timers.size != self.unref_timers:
            return LOOK_AGAIN
        if dead_end is None:
            return timeout
        to_main(self, dead_end)
        return LOOK_AGAIN

    def _dead_end_message(self):
        return dead_end_message(look(), <size_t> <PyObject *> self)

    def parked_waiters(self):
        """The Waiters on which greenlets of this hub are parked, the latest first."""
        cdef PyObject *p = self.parked
        cdef Waiter w
        result = []
        while p != NULL:
            w = <Waiter> p
            result.append(w)
            p = w.parked_next
        return result

    cdef int fire_timers(self) except -1:
        cdef int64_t now = hub_ns()
        cdef PyObject *p
        cdef object owner
        while self.timers.size and self.timers.items[0].deadline <= now:
            p = heap_remove(&self.timers, 0)
            owner = <object> p
            Py_DECREF(owner)
            if isinstance(owner, Waiter):       # subclasses too: the place of a queue's putter is one
                if not (<Waiter> owner).ref:
                    self.unref_timers -= 1
                (<Waiter> owner)._time_out()
            else:
                if not (<Timer> owner).ref:
                    self.unref_timers -= 1
                (<Timer> owner).queued = True
                ring_push(&self.ready, CALL, p, NULL)
        return 0

    cdef int _forget_timer(self, object owner) except -1:
        """Take a Waiter or a Timer out of the heap."""
        cdef Py_ssize_t index
        cdef bint ref
        if isinstance(owner, Waiter):
            index = (<Waiter> owner).heap_index
            ref = (<Waiter> owner).ref
        else:
            index = (<Timer> owner).heap_index
            ref = (<Timer> owner).ref
        if index < 0:
            return 0
        if not ref:
            self.unref_timers -= 1
        heap_remove(&self.timers, index)
        Py_DECREF(owner)
        return 0

    cdef int poll_once(self, int64_t timeout) except -1:
        cdef Backend backend = self.backend
        self.n_polls += 1
        self.polls += 1
        if timeout > LONGEST_POLL_NS:
            timeout = LONGEST_POLL_NS
        if begin_to_poll(self):
            timeout = 0             # Python code ran since the inbox was looked at, and with it perhaps another thread
        if backend.n_found:
            self.deliver()          # the greenlet that polled had to wait before it could deliver
            timeout = 0
        try:
            if self.front.poll(timeout) is not None:
                raise TypeError(f"{backend.name} backend: poll() is to call report() and return None")
            if self.attach_until:
                run_signal_handlers(True)       # which also runs what a debugger has left
        except BaseException as exc:
            if self.closing:
                self._report(backend, exc)      # the parked greenlets must be unwound all the same
            elif isinstance(exc, GreenletExit) and self.in_place == NULL:
                raise RuntimeError(f"{backend.name} backend: poll() raised GreenletExit") from exc
            else:
                raise
        finally:
            if self.polls:          # else a fork came in between
                self.polls -= 1
            end_to_poll(self, self.polls > 0)
            self.deliver()
        if self.after_poll:
            self.call_hooks(self.after_poll)
        return 0

    cdef int deliver(self) except -1:
        """Act on what the backend has found. If this greenlet has to wait on the way, the next runner goes on from there."""
        cdef Backend backend = self.backend
        cdef Ready found
        if self.before_turn and not self.delivered and self.shuffle is not None:
            sort_found(backend)
        while self.delivered < backend.n_found:
            found = backend.found[self.delivered]
            self.delivered += 1
            if found.fd == self.attach_fd:
                attach_comes(self)
            else:
                fd_event(self, found.fd, found.events)
        backend.n_found = 0
        self.delivered = 0
        return 0

    cdef int call_hooks(self, list hooks) except -1:
        for hook in list(hooks):
            # A hook that waits is not called again before it has returned.
            if self.hooks_running is None:
                self.hooks_running = []
            elif hook in self.hooks_running:
                continue
            self.hooks_running.append(hook)
            try:
                hook()
            except BaseException as exc:
                self._report(hook, exc)
            finally:
                self.hooks_running.remove(hook)
        return 0

    # -------- exceptions for other greenlets

    def throw(self, *args):
        """`throw(greenlet, exception)`: raise it in a greenlet of this hub, now if it is parked, else when it next
        parks. Does not block. With other arguments, `greenlet.throw` on the hub itself."""
        if len(args) == 2 and isinstance(args[0], greenlet):
            throw_into(self, args[0], args[1])
            return None
        cdef Belongings belongings = lay_down()
        try:
            return greenlet.throw(self, *args)
        finally:
            take_up(belongings)

    # -------- errors

    cdef int _report(self, object context, object exc) except -1:
        try:
            self.handle_error(context, type(exc), exc, exc.__traceback__)
        except (KeyboardInterrupt, SystemExit) as wish:
            to_main(self, wish)
        except BaseException as again:
            # Neither concerns what the main greenlet happens to do.
            print_plainly(self, context, exc)
            print_plainly(self, "Hub.handle_error", again)
        return 0

    def handle_error(self, context, type, value, tb):
        """Called for an exception that nothing else caught, in a greenlet (`context`) or a callback.

        Prints it once and goes on. If the program has set `threading.excepthook`, that is called instead, as for the error
        of a thread. KeyboardInterrupt, SystemExit and SystemError are printed and also go to the main greenlet.
        Replace it on the hub, or in a subclass, to report elsewhere.
        """
        cdef bint ends = context is None or issubclass(type, self.SYSTEM_ERROR)
        if not issubclass(type, self.NOT_ERROR):
            hook = replaced_hook() if not ends else None
            if hook is not None:
                self._call_hook(hook, context, type, value, tb)
            # The hook replaces printing to stderr only, and nothing else that the program has set.
            if hook is None or self.exception_stream is not None or not is_ours(self.print_exception):
                self.print_exception(context, type, value, tb)
        if ends:
            self.handle_system_error(type, value, tb)

    def _call_hook(self, hook, context, type, value, tb):
        try:
            call_hook(hook, current_greenlet(), type, value, tb)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as again:
            print_plainly(self, context, value)
            print_plainly(self, "threading.excepthook", again)

    def handle_system_error(self, type, value, tb=None):
        """Raise `value` in the main greenlet of this thread."""
        to_main(self, value if isinstance(value, BaseException) else type())

    def print_exception(self, context, t, v, tb):
        """Write the traceback, then a line naming the greenlet or callback, to `exception_stream` or sys.stderr."""
        stream = self.exception_stream if self.exception_stream is not None else sys.stderr
        if stream is not None:      # a process may have none, as under pythonw
            write_report(stream, config.format_context, context, t, v, tb)

    # -------- callbacks and timers

    def call_soon(self, callback, *args):
        """Have the hub call `callback(*args)`, after what is ready now. Returns a Callback.

        It may block: that delays nothing but itself, since another greenlet runs the loop meanwhile.
        """
        return self._call_soon(callback, args)

    cdef Callback _call_soon(self, object callback, tuple args):
        cdef Callback call
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        call = Callback.__new__(Callback, self, callback, args)
        self.push(CALL, <PyObject *> call, NULL)
        return call

    def call_soon_threadsafe(self, callback, *args):
        """`call_soon` from any OS thread: wakes the hub at once if it is polling."""
        return self._call_soon(callback, args)

    def call_later(self, seconds, callback, *args, repeat=0, ref=True):
        """Have the hub call `callback(*args)` in `seconds`, then every `repeat` seconds if that is given.

        Returns a Timer; `stop()` cancels it. With `ref=False` the timer does not keep the loop alive. Raises ValueError for a
        negative time.
        """
        cdef Timer timer
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if number_of(seconds) < 0 or number_of(repeat) < 0:
            raise ValueError("the time of a timer must not be negative")
        self._check_thread("call_later")
        timer = Timer.__new__(Timer, self, callback, args)
        timer.repeat_ns = timeout_ns(repeat)
        timer.ref = ref
        timer.start_ns(timeout_ns(seconds))
        if self.hosted:
            notice(self)
        return timer

    def _check_thread(self, what):
        if gevlite_thread_hub != <PyObject *> self:
            raise RuntimeError(f"Hub.{what} must be called in the hub's own thread; use call_soon_threadsafe")

    def ref(self, bint thread=False):
        """Count one more outside reason (a worker thread, a watcher) why a greenlet may still be woken.

        thread: it is the work of another thread, and that thread does not exist in the child of a fork.
        """
        if thread:
            self.thread_refs += 1
        else:
            self.refs += 1

    def unref(self, bint thread=False):
        """Take back one `ref()`."""
        if thread:
            self.thread_refs -= 1
        else:
            self.refs -= 1

    def now(self):
        """Monotonic seconds, the clock of all timers."""
        return hub_ns() / 1e9

    # -------- waiting for the hub

    def join(self, timeout=None):
        """Block until the hub has nothing left to do; the main greenlet's way to let everything finish.

        Returns True then, or False after `timeout` seconds.
        """
        cdef int64_t limit = timeout_ns(timeout)
        cdef Waiter w = new_waiter(self, WAIT_HUB, NULL)
        w.ref = False
        waitlist_append(&self.join_waiters, w)
        return wait_on(w, limit)

    def wait(self, watcher):
        """Block until `watcher` (of `hub.loop`) calls back. It is started here and stopped in any case."""
        cdef Waiter w = new_waiter(self, WAIT_WATCHER, <PyObject *> watcher)
        watcher.start(w.wake)
        try:
            w.park_for(FOREVER)
        finally:
            watcher.stop()

    def cancel_wait(self, watcher, error, close_watcher=False):
        """Raise `error` in the greenlet that blocks in `wait(watcher)`, if there is one. Does not block."""
        waiter = getattr(watcher.callback, "__self__", None)
        if isinstance(waiter, Waiter):
            (<Waiter> waiter).throw(error)
        if close_watcher:
            watcher.close()

    def wait_idle(self):
        """Block until no greenlet is ready and no file descriptor either."""
        cdef Waiter w = new_waiter(self, WAIT_IDLE, NULL)
        waitlist_append(&self.idle_waiters, w)
        wait_on(w, FOREVER)

    def switch(self, *args, **kwargs):
        """Switch to the hub by hand. Nothing switches back unless it was arranged: prefer a `Waiter`."""
        cdef Belongings belongings = lay_down()
        try:
            return greenlet.switch(self, *args, **kwargs)
        finally:
            take_up(belongings)

    # -------- file descriptors

    def _forget_fd(self, int fd, uint64_t owner):
        fd_forget(self, fd, owner, closed_error())

    def wait_fd(self, int fd, int events, timeout=None):
        """Block until `fd` is ready for `events` (READ, WRITE or both), at most `timeout` seconds.

        Returns the events that are ready, 0 after a time-out. Raises OSError(EBADF) for a closed fd, also if it is closed by
        `gevlite.socket` while we wait.
        """
        return wait_until_ready(self, fd, events, timeout)

    def wait_fds(self, pairs, timeout=None):
        """Block until one of many fds may be ready, at most `timeout` seconds.

        pairs: of `(fd, events)`, each fd once. True: ask the kernel which it is; False: the time is over. What is ready
        already need not end the wait on an owned fd, whose readiness may have been reported before: ask the kernel
        first. Raises OSError(EBADF) for a closed fd, also if it is closed by `gevlite.socket` while we wait.
        """
        return wait_until_any(self, pairs, timeout)

    def fd_is_owned(self, int fd):
        """True if `fd` belongs to a gevlite socket that has waited in this hub."""
        cdef FdEntry *entry = fd_at(self, fd)
        return entry != NULL and bool(entry.flags & OWNED)

    # -------- insight

    def stats(self):
        """What the hub holds and has done, as a dict of counts.

        greenlets: begun and not ended; parked: in a blocking call; ready: queued entries; timers: pending (unref_timers of
        them do not keep the loop alive); fds: watched by the backend; fd_waiters: greenlets that wait for one; refs: outside
        reasons to stay alive; watchers: active ones of `loop`; then totals: switches, handoffs (those that bypassed the hub),
        polls, spawned, slices (those that were used up, see `config.time_slice`).
        """
        return counts_of(self)

    def progress(self):
        """A number that changes with each switch and each turn of the loop; None while the hub polls or is closed.

        For other threads: if it is the same as before, one greenlet or one callback has run all the time.
        """
        if self.polling or self.closed:
            return None         # a host loop that polls for us, too
        return hub_run(self)

    def blocks_thread(self):
        """True for code that runs in the backend's `poll`: there, original functions must block the OS thread."""
        return bool(self.polls > self.hosted and (is_runner(self) or self.in_place != NULL and in_main_greenlet()))

    @property
    def main_hub(self):
        """True for the hub of the process's main thread."""
        return self.is_main_thread

    def __getattr__(self, name):
        """`loop`, `threadpool`, `resolver`: made on first use, by what `gevlite._parts` registered."""
        try:
            factory = _hub_attributes[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None
        made = factory(self)
        if name in self.__dict__:       # made by another greenlet, while this one imported what makes it
            return self.__dict__[name]
        setattr(self, name, made)
        return made

    def __repr__(self):
        state = "closed" if self.closed else "polling" if self.polling else "running" if self.started else "new"
        name = f" {self.name!r}" if self.name else ""
        backend = self.backend.name if self.backend is not None else "no backend"
        return f"<Hub{name} at {<size_t> <PyObject *> self:#x} {state} {backend} thread {self.thread_ident:#x}>"

    # -------- signals, fork, the end

    def _watch_signals(self):
        """Let a signal that lands on another thread end our poll. True in the main thread; elsewhere it cannot work."""
        try:
            before = _signal.set_wakeup_fd(self.backend.signal_fd, warn_on_full_buffer=False)
        except ValueError:
            return False
        if before != -1 and before != self.backend.signal_fd:
            try:
                # Another library's loop has it: leave it alone. Whether that loop wants warnings cannot be known; time
                # slices can fill the buffer, and the bytes in it wake the loop anyway.
                _signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            except (ValueError, OSError):
                pass                                # that one is closed
        return True

    def _unwatch_signals(self):
        if self.is_main_thread:
            try:
                before = _signal.set_wakeup_fd(-1)
                if before not in (-1, self.backend.signal_fd):
                    _signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            except ValueError:
                pass

    def destroy(self, destroy_loop=None):
        """End this thread's hub: parked greenlets are unwound with GreenletExit, the backend is closed.

        To be called by the thread's main greenlet, when it no longer needs gevlite; the next `get_hub()` makes a new hub.
        Happens by itself when the thread ends.
        """
        if not self.closed:
            self._check_thread("destroy")
            if current_greenlet() is not get_main(self):
                raise RuntimeError("a hub can be destroyed by the main greenlet of its thread only")
            try:
                self._shut_down(True)
            finally:
                of_this_thread().pop(HOLDER, None)

    def _shut_down(self, unwind):
        if self.closed:
            return
        if self.host is not None:
            self.host.hub_ends()
        if self.clock is not None:
            stop_clock(self)
        cdef Belongings belongings = lay_down() if unwind else None
        try:
            if unwind and self.started:
                # Each greenlet's wait ends; if it parks again, so does that wait. So this comes to an end.
                self.closing = True
                self._unwind_parked()
        finally:
            self._tear_down(unwind)
            take_up(belongings)

    def _tear_down(self, unwind):
        global gevlite_thread_hub
        close_inbox(self)
        if self.started:
            if unwind and self.successor is None:
                # Each of them sees `closed` and ends into us, its parent.
                me = current_greenlet()
                for g in [*self.runners, self.nursery, self]:
                    gl_set_parent(<PyObject *> g, <PyObject *> me)
                    if not g.dead:
                        switch_to(<PyObject *> g, NULL)
                self.runners = []
                self.idle_runners = []
                self.nursery = None
                self.unborn = None
                self.runner = <PyObject *> self
            else:
                Py_INCREF(self)     # cannot be unwound here, and must not be torn down with frames on its stack
        if gevlite_thread_hub == <PyObject *> self:
            gevlite_thread_hub = NULL
        remove_hub(self)
        stop_slices(self)
        stop_ticks(self)
        keep_totals(self)
        self._unwatch_signals()
        ring_dispose(&self.ready)
        ring_dispose(&self.inbox)
        self.drop_spare()
        Py_XDECREF(self.buffer)
        self.buffer = NULL
        self.spare_room = 0         # the free list takes no more
        while self.timers.size:
            owner = <object> heap_remove(&self.timers, self.timers.size - 1)
            Py_DECREF(owner)
            if isinstance(owner, Timer):
                (<Timer> owner).stop()      # its call may refer to it: a cycle unseen by the garbage collector
        unwatch_attach(self)
        self.backend.close()

    def _unwind_parked(self):
        cdef Waiter w
        for w in self.parked_waiters():
            throw_now(self, w.greenlet, GreenletExit)   # also reaches greenlets that are ready and only gave way
        w = new_waiter(self, WAIT_IDLE, NULL)
        waitlist_append(&self.idle_waiters, w)
        try:
            w.state = PARKED
            w._suspend(current_greenlet())
        finally:
            waitlist_remove(w)


# ---------------------------------------------------------------- exceptions for other greenlets

cdef Waiter waiter_of(Hub hub, greenlet g):
    cdef PyObject *p
    if isinstance(g, CoreGreenlet):
        p = (<CoreGreenlet> g).waiter
        return <Waiter> p if p != NULL else None
    p = hub.parked
    while p != NULL:
        if (<Waiter> p).greenlet is g:
            return <Waiter> p
        p = (<Waiter> p).parked_next
    return None


cdef object take_pending(Hub hub, greenlet g):
    cdef list waiting
    if isinstance(g, CoreGreenlet):
        waiting = (<CoreGreenlet> g).pending
        if waiting is None:
            return None
        if len(waiting) == 1:
            (<CoreGreenlet> g).pending = None
    else:
        if not hub.raw_pending:
            return None
        waiting = hub.raw_pending.get(g)
        if waiting is None:
            return None
        if len(waiting) == 1:
            del hub.raw_pending[g]
    return waiting.pop(0)


cdef object raised_here(Hub hub, greenlet me, object pending):
    """Of what is pending for the running greenlet, which has Belongings: the exception to raise now."""
    while pending is not None:
        raised = hub.belongings.raising(pending)
        if raised is not None:
            return raised
        pending = take_pending(hub, me)
    return None


cdef int add_pending(Hub hub, greenlet g, object exc) except -1:
    if isinstance(g, CoreGreenlet):
        if (<CoreGreenlet> g).pending is None:
            (<CoreGreenlet> g).pending = [exc]
        else:
            (<list> (<CoreGreenlet> g).pending).append(exc)
    else:
        hub.raw_pending.setdefault(g, []).append(exc)
        hub.before_turn = True
    return 0


cdef int drop_dead_pending(Hub hub) except -1:
    """Drop what is pending for raw greenlets that have ended without parking again. (A CoreGreenlet keeps its own.)"""
    for g in [g for g in hub.raw_pending if g.dead]:
        del hub.raw_pending[g]
    return 0


cdef bint cancel_throw(Hub hub, greenlet g, object exc) except -1:
    """Take back an exception that is pending for `g`. False if it is not pending."""
    cdef list waiting
    if isinstance(g, CoreGreenlet):
        waiting = (<CoreGreenlet> g).pending
    else:
        waiting = hub.raw_pending.get(g)
    if waiting is None:
        return False
    kept = [e for e in waiting if e is not exc]
    if len(kept) == len(waiting):
        return False
    if isinstance(g, CoreGreenlet):
        (<CoreGreenlet> g).pending = kept or None
    elif kept:
        hub.raw_pending[g] = kept
    else:
        del hub.raw_pending[g]
    return True


cdef int throw_into(Hub hub, greenlet g, object exc) except -1:
    """Deliver `exc` to `g` of this hub: at once if it is parked, else when it parks next. Any thread."""
    cdef greenlet me
    if gevlite_thread_hub != <PyObject *> hub:
        return hub.push_remote(THROW, <PyObject *> g, <PyObject *> exc)
    if g.dead:
        return 0
    me = current_greenlet()
    if me is g:
        return add_pending(hub, g, exc)
    if <PyObject *> me == hub.runner or waiter_of(hub, g) is not None:
        return throw_now(hub, g, exc)
    return ring_push(&hub.ready, THROW, <PyObject *> g, <PyObject *> exc)


cdef int throw_now(Hub hub, greenlet g, object exc) except -1:
    cdef Waiter w
    if g.dead:
        return 0
    w = waiter_of(hub, g)
    if w is None and gl_active(<PyObject *> g):
        w = waits_for_owner(hub, g)
        if w is not None:
            if w.state != PARKED:
                return add_pending(hub, g, exc)
            if not pass_on_exit(w.greenlet, g, exc):
                w = None
    if w is None:
        # Not started, or switched away by hand.
        if hub.left_behind is None or g not in hub.left_behind:
            throw_to(<PyObject *> g, exc)
    elif not throw_parked(w, exc):
        add_pending(hub, g, exc)
    return 0


cdef bint throw_parked(Waiter w, object exc) except -1:
    """End its wait with `exc`, if it can still be ended."""
    # A yield has no value that could get lost, and a loop over sleep(0) must be killable.
    if w.state != PARKED and (w.kind != WAIT_YIELD or w.exc is not None):
        return False
    if w.belongings is not None:
        exc = w.belongings.raising(exc)
        if exc is None:
            return True
    if w.state == PARKED:
        w.throw(exc)
    else:
        w.exc = exc
    return True


# ---------------------------------------------------------------- a greenlet that waits in another one, see Belongings

cdef Waiter waits_for_owner(Hub hub, greenlet g):
    """The Waiter of a parked greenlet that `g` has switched to by hand and that has its belongings; else None."""
    cdef PyObject *p = hub.parked
    cdef Waiter w
    while p != NULL:
        w = <Waiter> p
        if w.belongings is not None and w.belongings.owner is g:
            return w
        p = w.parked_next
    return None


cdef object take_pending_of_owner(Hub hub, greenlet me):
    """What is pending for the greenlet in whose place `me` is about to park."""
    cdef greenlet owner = hub.belongings.owner
    if owner is None or waiter_of(hub, owner) is not None:
        return None
    pending = take_pending(hub, owner)
    if pending is not None and not pass_on_exit(me, owner, pending):
        add_pending(hub, owner, pending)
        return None
    return pending


cdef bint pass_on_exit(greenlet inner, greenlet g, object exc) except -1:
    """Before `exc` is raised in `inner`: see to it that it goes on from there to `g`. False if it would end elsewhere.

    An exception that ends a greenlet is raised in its parent, but GreenletExit is returned there. A go-between takes
    the parent's place to raise it.
    """
    cdef greenlet child = inner, parent, between
    cdef PyObject *p
    cdef bint swallowed = issubclass(exc if isinstance(exc, type) else type(exc), GreenletExit)
    cdef list line = []
    while child is not g:
        p = gl_parent(<PyObject *> child)
        if p == NULL:
            return False
        parent = <greenlet> p
        Py_DECREF(parent)
        line.append((child, parent))
        child = parent
    if swallowed:
        for child, parent in line:
            between = go_between(child, parent)
            gl_set_parent(<PyObject *> child, <PyObject *> between)
    return True


cdef bint is_alive(greenlet g):
    return g is not None and not g.dead


cdef greenlet parent_of_current():
    cdef greenlet me = current_greenlet()
    cdef greenlet parent = <greenlet> gl_parent(<PyObject *> me)
    Py_DECREF(parent)       # gl_parent has made a reference
    return parent


cdef greenlet go_between(greenlet child, greenlet parent):
    cdef greenlet starter = current_greenlet()
    cdef object child_ref = weak_reference(child)      # so that it goes away when the parent drops it

    def run():
        # A greenlet that has not been started cannot take what an ending greenlet leaves to its parent: so switch here
        # once.
        args = (greenlet.switch(starter),)
        while is_alive(child_ref()):
            # The child asks its parent for something before it ends. The parent may be another one by now, see
            # `_inner`.
            args = (greenlet.switch(parent_of_current(), *args),)
        if isinstance(args[0], GreenletExit):
            greenlet.throw(parent_of_current(), args[0])
        return args[0]

    made = greenlet(run, parent)
    greenlet.switch(made)
    return made


# ---------------------------------------------------------------- the loop's lag

# A round ends when everything that was ready at its beginning has run. It is one turn of the loop, or several if more
# is ready than runs in one turn. An entry that becomes ready meanwhile, or comes from the kernel, may have to wait for
# the rest of this round and for the next one: so the length of a round is the lag of the loop. Rounds do not overlap
# and fill the time in which the loop is busy, so their sum says for how much of the time it was busy.
#
# They cost one comparison and one or two additions for each turn, and do not read the clock: the coarse times of the
# slice are used. A time shorter than a tick of that clock (4 ms, usually) counts as 0 or as a whole tick, which is
# right on average.

# Limits of the classes by which rounds are counted, by their length in ns; the last class has no limit.
cdef int64_t[N_LAGS - 1] LAG_LIMITS = [
    5_000_000, 10_000_000, 20_000_000, 50_000_000, 100_000_000, 200_000_000, 500_000_000,
    1_000_000_000, 2_000_000_000, 5_000_000_000, 10_000_000_000,
]


cdef inline int measure_round(Hub hub, int64_t now) noexcept:
    """A turn of the loop is over. If this ends a round, count it."""
    hub.round_left -= HANDOFF_BUDGET - hub.budget
    if hub.round_left > 0 and hub.ready.count:
        return 0
    return count_round(hub, now)


cdef inline int count_round(Hub hub, int64_t now) noexcept:
    cdef int64_t lag = now - hub.round_began
    cdef int i = 0
    while i < N_LAGS - 1 and lag > LAG_LIMITS[i]:
        i += 1
    hub.lags[i] += 1
    hub.lag_ns += lag
    hub.round_left = 0
    return 0


cdef int interrupt_round(Hub hub) noexcept:
    """A greenlet is about to wait for the kernel in place of the hub: that time is no lag."""
    if hub.round_left > 0:
        count_round(hub, gevlite_coarse_ns())
    return 0


cdef int resume_round(Hub hub, int64_t now) noexcept:
    """Its wait is over; its turn perhaps not."""
    hub.round_left = max(<Py_ssize_t> hub.ready.count, 1)
    hub.round_began = now
    return 0


# ---------------------------------------------------------------- main greenlets, and what a fork leaves behind

cdef int abandon_waiter(Hub hub, Waiter w) except -1:
    w.state = DONE              # its ready entry, if there is one, is skipped
    waitlist_remove(w)
    if w.heap_index >= 0:
        hub._forget_timer(w)
    leave_parked(hub, w)
    if w.kind == WAIT_READ or w.kind == WAIT_WRITE or w.kind == WAIT_FDS and w.detail:
        hub.fd_waiters -= 1
    Py_INCREF(w)
    return 0


cdef int leave_behind(Hub hub, greenlet g) except -1:
    """`abandon` for a raw greenlet: an exception for it must not run it either."""
    cdef Waiter w = waiter_of(hub, g)
    if w is not None:
        abandon_waiter(hub, w)
    if hub.left_behind is None:
        hub.left_behind = set()
    hub.left_behind.add(g)
    return 0


cdef int stamp_parked(Hub hub) noexcept:
    """The hub begins: what is parked counts as parked since now."""
    cdef PyObject *p = hub.parked
    while p != NULL:
        (<Waiter> p).since = gevlite_coarse_ns() + SLICE_NS
        p = (<Waiter> p).parked_next
    return 0


cdef int stamp_last(Hub hub, int64_t now) noexcept:
    """A greenlet has run longer than a turn should take. If it is parked, then since now, not since the turn began."""
    if hub.parked != NULL and <PyObject *> (<Waiter> hub.parked).greenlet == hub.current:
        if (<Waiter> hub.parked).since == hub.slice_end:
            (<Waiter> hub.parked).since = now + SLICE_NS
    if hub.ticker_waits:
        tell_ticker(hub)
    return 0


cdef int leave_parked(Hub hub, Waiter w) except -1:
    """Take it out of the list of what is parked. It must be in that list."""
    hub.n_parked -= 1
    if w.parked_prev == NULL:
        hub.parked = w.parked_next
    else:
        (<Waiter> w.parked_prev).parked_next = w.parked_next
    if w.parked_next != NULL:
        (<Waiter> w.parked_next).parked_prev = w.parked_prev
    return 0


cdef int to_main(Hub hub, object exc) except -1:
    """Deliver `exc` to the thread's main greenlet."""
    cdef greenlet main = get_main(hub)
    if main is None:
        return end_child(hub, exc)
    return throw_into(hub, main, exc)


cdef greenlet get_main(Hub hub):
    """The thread's main greenlet, or the one in its place in the child of a fork; None if that has ended."""
    if hub.successor is None:
        return main_of(hub)
    return None if hub.successor.dead else hub.successor


cdef int end_child(Hub hub, object exc) except -1:
    """The greenlet that forked, and took the main greenlet's place, has ended; `exc` was for it, or None.

    If its end does not end the process (as that of a thread does not), of such exceptions only SystemExit and
    KeyboardInterrupt do.
    """
    if _ending_pid == getpid():
        return 0                # the process ends already, with the first status, and an exit function waits
    if isinstance(exc, SystemExit):
        exit_process(status_of(exc))
    if exc is not None:
        print_plainly(hub, "what has no main greenlet any more", exc)
        if not hub.seldom & CHILD_EXITS and not isinstance(exc, KeyboardInterrupt):
            return 0
        exit_process(1)
    exit_process(0 if getattr(hub.successor, "exception", None) is None else 1)
    return 0


cpdef abandon_greenlet(Hub hub, CoreGreenlet g):
    """Never run `g` again, and do not unwind it either: as happens to a thread in the child of a fork.

    Its frames stay as they are for the rest of the process. Nothing happens to the running greenlet.
    """
    if g.waiter == NULL:
        if g.life != RUNNING:
            g.life = FINISHED       # its ready entry, if there is one, is skipped
        return
    abandon_waiter(hub, <Waiter> g.waiter)
    hub.greenlets -= 1
    g.waiter = NULL
    g.life = FINISHED
    if hub.current == <PyObject *> g:
        hub.current = NULL
    Py_INCREF(g)


cpdef abandon_main(Hub hub):
    """`abandon` the main greenlet; the running one takes its place: it gets the exceptions for the main greenlet.

    Does nothing in the main greenlet itself. The process does not end with the running greenlet, unless that asks for
    it.
    """
    global _main_left_behind, _in_its_place
    cdef greenlet main, me
    hub.seldom &= ~CHILD_EXITS
    main = get_main(hub)
    me = current_greenlet()
    if me is main or runs_loops(hub, me):
        return
    hub.successor = me
    if main is not None:
        leave_behind(hub, main)
    _main_left_behind = main_of(hub)
    _in_its_place = me


cpdef abandon_others(Hub hub):
    """`abandon` every greenlet except the running one: those that wait and those that are to start, now or later.

    In a callback of the hub, or a signal handler that runs there, the main greenlet goes on too.
    """
    cdef greenlet me = current_greenlet()
    cdef PyObject *p = hub.parked
    cdef list waiters = []
    cdef list calls = []
    cdef Waiter w
    cdef Callback nothing
    cdef Entry *e
    cdef size_t i
    cdef greenlet main
    abandon_main(hub)
    main = get_main(hub)
    for i in range(hub.ready.count):
        e = &hub.ready.items[(hub.ready.head + i) & hub.ready.mask]
        if (e.kind == START or e.kind == THROW) and e.target != <PyObject *> me:
            if isinstance(<object> e.target, CoreGreenlet):
                abandon_greenlet(hub, <CoreGreenlet> e.target)
            # A raw greenlet cannot be marked as one that must not run.
            nothing = Callback.__new__(Callback)
            Py_INCREF(nothing)
            target = <object> e.target
            Py_DECREF(target)
            e.target = <PyObject *> nothing
            e.kind = CALL
        elif e.kind == CALL:
            calls.append(<object> e.target)
    for i in range(<size_t> hub.timers.size):
        calls.append(<object> hub.timers.items[i].owner)
    for call in calls:
        if isinstance(call, Callback):
            starter = getattr((<Callback> call).callback, "__self__", None)     # spawn_later
            if isinstance(starter, CoreGreenlet) and starter is not me:
                abandon_greenlet(hub, <CoreGreenlet> starter)
    p = hub.parked
    while p != NULL:
        waiters.append(<Waiter> p)
        p = (<Waiter> p).parked_next
    for w in waiters:
        if w.greenlet is me or w.greenlet is main:
            continue            # it is parked and yet runs: a signal handler in the middle of its wait
        if isinstance(w.greenlet, CoreGreenlet):
            abandon_greenlet(hub, <CoreGreenlet> w.greenlet)
        else:
            leave_behind(hub, w.greenlet)


cdef int renew_after_fork(Hub hub, set signal_fds) except -1:
    """signal_fds: what the hubs of this process may have given to set_wakeup_fd; this hub is the last of them."""
    hub.pid = getpid()
    hub.thread_ident = _get_ident()
    hub.polling = False
    hub.polls = 0
    hub.hosted = False
    hub.in_place = hub.in_place_shown = NULL
    hub.host = None                # its descriptors are shared with the parent's
    ring_unwatch(&hub.ready)
    hub.delivered = 0
    hub.backend.n_found = 0        # all interest is remade
    hub.thread_refs = 0
    stop_clock(hub)                # the time of another process is real
    unwatch_attach(hub)
    late = is_renewed_late(hub.backend)
    if not late:
        renew_backend(hub)
    try:
        before = _signal.set_wakeup_fd(-1 if late else hub.backend.signal_fd, warn_on_full_buffer=False)
        hub.is_main_thread = True      # the thread that forked is the child's main thread
        if before != -1 and before not in signal_fds:
            _signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    except (ValueError, OSError):       # OSError: another library's, which is closed
        pass
    if late:
        give_back(hub)
    return fd_rearm_all(hub)


cdef int renew_backend(Hub hub) except -1:
    cdef LostBackend lost
    cdef int pipes = hub.backend.pipes
    try:
        hub.backend.after_fork()
        if hub.backend.pipes == pipes:
            raise RuntimeError(f"{type(hub.backend).__name__}.after_fork() does not call Backend.after_fork()")
    except BaseException as exc:
        lost = LostBackend()
        lost.replaced = hub.backend.name
        lost.cause = exc
        hub.backend = lost
    hub.front = hub.backend
    return 0


# ---------------------------------------------------------------- a backend that is renewed late

# The child of a fork may close all descriptors that it does not know, as daemons do. So it has none of its own before it
# needs them. Then nothing else knows their numbers, in particular not the interpreter, which would write signals there.

cdef bint is_renewed_late(Backend backend) except -1:
    """True if its class says so. One that defines `after_fork` or `close` anew has to say it anew, too."""
    for cls in type(backend).__mro__:
        names = vars(cls)
        if "late_after_fork" in names:
            return bool(names["late_after_fork"])
        if "after_fork" in names or "close" in names:
            return False
    return False


cdef int give_back(Hub hub) except -1:
    """What the backend shares with the parent; it is renewed when the hub polls."""
    if hub.front is not hub.backend:
        return 0                    # another fork before that
    try:
        hub.backend.close()
    except Exception as exc:
        hub._report(hub.backend, exc)
    hub.front = _LateBackend()
    return 0


cdef int renew_late(Hub hub) except -1:
    """See that the hub's backend has its descriptors. In the hub's thread."""
    if hub.front is hub.backend:
        return 0
    fd_fail_closed(hub)
    renew_backend(hub)
    if hub.is_main_thread:
        hub._watch_signals()
    return fd_rearm_all(hub)


def backend_of(Hub hub not None):
    """The backend of a hub, with its descriptors: after a fork, the child has not made them before this.

    Any thread, but only the hub's own has them made.
    """
    if gevlite_thread_hub == <PyObject *> hub:
        renew_late(hub)
    return hub.backend


@cython.final
cdef class _LateBackend(Backend):
    """In the child of a fork: what the hub calls until its first poll. That renews the hub's backend."""

    def _make_pipe(self):
        pass

    cpdef arm(self, int fd, int events):
        pass            # the hub has all that waits armed when the backend is new

    cpdef drop(self, int fd):
        pass

    cpdef wake(self):
        pass            # the next poll waits for nothing, and then the inbox is looked at

    cpdef poll(self, int64_t timeout_ns):
        cdef Hub hub = <Hub> gevlite_thread_hub
        renew_late(hub)
        hub.front.poll(0)
        run_signal_handlers(True)       # for one that came before the interpreter knew where to write it


include "_look.pxi"
include "_census.pxi"
include "_trace.pxi"
include "_ticker.pxi"
include "_interrupt.pxi"
include "_sample.pxi"
include "_descriptors.pxi"
include "_debuggers.pxi"
include "_hosted.pxi"
include "_clock.pxi"
include "_draw.pxi"


# ---------------------------------------------------------------- checks

include "_checks.pxi"


# ---------------------------------------------------------------- which greenlet runs the loop

cdef bint is_runner(Hub hub):
    """True in the greenlet that runs the loop now."""
    cdef greenlet me = current_greenlet()
    return <PyObject *> me == hub.runner


cdef bint runs_loops(Hub hub, greenlet g):
    """True for the hub and its runners: each may run the loop, now or later."""
    return <PyObject *> g == <PyObject *> hub or isinstance(g, _Runner)


@cython.final
cdef class _Runner(greenlet):
    """Runs the loop of a hub whose own greenlet waits."""
    cdef Hub hub
    cdef PyObject *midwife          # the nursery that begins it

    def run(self, *ignored):
        if self.hub.runner == self.midwife:
            self.hub.runner = <PyObject *> self
        run_in_greenlet(hub_frame, (self._run,), NULL)

    def _run(self):
        run_loop(self.hub, <PyObject *> self)


cdef _Runner new_runner(Hub hub):
    cdef _Runner made = _Runner.__new__(_Runner)
    cdef greenlet main = main_of(hub)
    gl_set_parent(<PyObject *> made, <PyObject *> main)
    made.hub = hub
    return made


@cython.final
cdef class _Nursery(greenlet):
    """Begins new runners. A greenlet's C stack begins where it is first switched to, and runners that displace each
    other should not sit below one another: any number of callbacks may wait at the same time.

    It has the place of the runner until the runner that it begins takes over. A destructor may wait in it, too: then
    `displace` has put another nursery in its place, and the runner that this one has begun is laid off at once.
    """
    cdef Hub hub

    def run(self, *ignored):
        cdef Hub hub = self.hub
        cdef PyObject *me = <PyObject *> self
        cdef _Runner runner
        while not hub.closed:
            runner = None
            if hub.runner == me:
                runner = <_Runner> hub.unborn
                hub.unborn = None
                if runner is None:
                    runner = new_runner(hub)        # the last one had to wait before it could take the place
            if hub.runner != me:
                switch_to(hub.runner, NULL)
                continue
            runner.midwife = me
            hub.runners.append(runner)
            try:
                switch_to(<PyObject *> runner, NULL)
            except GreenletExit:
                raise
            except BaseException as exc:
                hub._report(runner, exc)


cdef _Nursery new_nursery(Hub hub):
    cdef _Nursery made = _Nursery.__new__(_Nursery)
    cdef greenlet main = main_of(hub)
    gl_set_parent(<PyObject *> made, <PyObject *> main)
    made.hub = hub
    return made


cdef int run_loop(Hub hub, PyObject *me) except -1:
    while not hub.closed:
        try:
            if hub.run_as(me):
                return 0
        except GreenletExit:
            raise
        except BaseException as exc:
            # A signal handler raised, or the backend failed. That is for the main greenlet.
            to_main(hub, exc)
            if get_main(hub) is None:
                exit_process(1)     # or it would fail for ever
    if hub.successor is not None and hub.successor.dead:
        end_child(hub, None)         # it destroyed the hub and ended: the parent's main greenlet must not go on
    return 0


cdef bint see_to_seldom(Hub hub) except -1:
    """Do what `hub.seldom` asks for, after the ready entries of a turn. True: that turn is over."""
    if hub.seldom & CHILD_EXITS and hub.successor.dead:
        end_child(hub, None)
    if hub.seldom & CLOCK_STANDS:
        check_standing(hub)
    if hub.seldom & SLICES_USED:
        next_slice(hub)
        return True
    return False


cdef int displace(Hub hub) except -1:
    """The current greenlet runs the loop and is about to wait: choose the greenlet that runs the loop meanwhile."""
    cdef PyObject *me = hub.runner
    cdef _Runner made
    cdef _Nursery nursery = <_Nursery> hub.nursery
    if hub.polls > NESTED_POLLS:
        raise BlockingSwitchOutError(f"a blocking call was made in poll() of the {hub.backend.name} backend")
    if hub.laid_off:
        hub.laid_off = False
        hub.runner = <PyObject *> hub
    elif hub.idle_runners:
        made = <_Runner> hub.idle_runners.pop()
        hub.runner = <PyObject *> made
    else:
        made = new_runner(hub)
        if nursery is None or me == <PyObject *> nursery or waiter_of(hub, nursery) is not None:
            nursery = new_nursery(hub)
        if hub.runner != me:
            return 0            # a destructor ran, and waited
        hub.nursery = nursery
        hub.unborn = made
        hub.runner = <PyObject *> nursery
    return 0


cdef bint lay_off(Hub hub, PyObject *me) except -1:
    """Another greenlet runs the loop now: wait until `me` is needed, or return True if it is not worth waiting.

    Greenlets still end into the hub; from there control is passed on to the greenlet that runs the loop.
    """
    while hub.runner != me and not hub.closed:
        error = None
        if me == <PyObject *> hub:
            hub.laid_off = True
        elif len(hub.idle_runners) >= SPARE_RUNNERS and hub.runner != <PyObject *> hub.nursery:
            hub.runners.remove(<object> me)
            gl_set_parent(me, hub.runner)
            return True
        else:
            hub.idle_runners.append(<object> me)
        try:
            switch_to(hub.runner, NULL)
        except BaseException as exc:
            error = exc
        if hub.runner != me:            # else the code that chose us has done this
            if me == <PyObject *> hub:
                hub.laid_off = False
            elif <object> me in hub.idle_runners:
                hub.idle_runners.remove(<object> me)
        if error is not None:
            hub._report("a raw greenlet", error)
    return False


cdef int run_signal_handlers(bint came) except -1:
    """For the backend of this thread's hub, in its `poll`: run the handlers of signals that have come.

    They run in the main greenlet, in the middle of its wait, if it is parked; else in the greenlet that polls. If that
    is the main greenlet, its poll is over when they begin: they may do everything that the main greenlet may do.
    `came`: a signal has come for certain.
    """
    cdef Hub hub
    cdef greenlet main
    cdef PyObject *loop
    if came and gevlite_thread_hub != NULL:
        hub = <Hub> gevlite_thread_hub
        if hub.is_main_thread and not hub.closing and hub.polls:
            main = get_main(hub)
            if main is not None and waiter_of(hub, main) is not None and is_runner(hub):
                hub.handlers_due = True
                try:
                    switch_to(<PyObject *> main, NULL)      # back when it parks again
                finally:
                    hub.handlers_due = False
                return 0
        if hub.in_place != NULL:
            loop, hub.in_place = hub.in_place, NULL
            hub.polls -= 1
            end_to_poll(hub, hub.polls > 0)
            try:
                return check_signals()
            finally:
                hub.polls += 1      # poll_once subtracts it, unless the handler forks and this is the child
                hub.in_place = loop
    return check_signals()


cdef int status_of(object exc):
    """The exit status that the interpreter gives a SystemExit."""
    code = exc.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xff
    try:
        sys.stderr.write(f"{code}\n")
    except Exception:
        pass
    return 1


cdef int _ending_pid = 0


def exit_process(status):
    """End the child of a fork as its main program would end: threads, exit functions, what is buffered."""
    global _ending_pid
    _ending_pid = getpid()
    threading = sys.modules.get("threading")
    steps = [atexit._run_exitfuncs]
    if threading is not None:
        steps.insert(0, threading._shutdown)
    steps += [getattr(stream, "flush", None) for stream in (sys.stdout, sys.stderr)]
    for step in steps:
        try:
            if step is not None:
                step()
        except BaseException as exc:
            sys.excepthook(type(exc), exc, exc.__traceback__)
    os._exit(status)


_print_exception = Hub.print_exception


cdef bint is_ours(object print_exception):
    return getattr(print_exception, "__func__", None) is _print_exception


cdef int print_plainly(Hub hub, object context, object exc) except -1:
    """Print an exception as the hub does if nothing is replaced in it; errors of printing are ignored."""
    try:
        _print_exception(hub, context, type(exc), exc, exc.__traceback__)
    except Exception:
        pass
    return 0


# Number of a signal: its handler, which is no reason to go on waiting.
signals_without_ref = {}


cdef bint _signal_may_come() except -1:
    """True if the program handles a signal, for which a greenlet may wait. Python's own handler of SIGINT is none."""
    cdef int number
    for number in range(1, _signal.NSIG):
        handler = _signal.getsignal(number)
        if callable(handler) and handler is not _signal.default_int_handler:
            if signals_without_ref.get(number) != handler:
                return True
    return False


cdef str HOLDER = "gevlite.hub"


cdef dict of_this_thread():
    """The dict that the interpreter keeps for this OS thread. (Patching gives each greenlet a threading.local.)"""
    cdef PyObject *kept = PyThreadState_GetDict()
    if kept == NULL:
        raise MemoryError()
    return <dict> kept


cdef class _Holder:
    """Owns a thread's hub; dies with the thread."""
    cdef Hub hub

    def __cinit__(self, Hub hub):
        self.hub = hub

    def __del__(self):
        cdef Hub hub = self.hub
        if hub.closed:
            return
        if _exiting:
            # The modules are being torn down: the operating system frees what is left.
            Py_INCREF(hub)
            return
        hub._shut_down(<PyObject *> hub == gevlite_thread_hub and hub.pid == getpid())


cdef object closed_error():
    return OSError(EBADF, "file descriptor was closed by another greenlet while this one waited for it")


cdef int poll_now(int fd, int events) except -1:
    """What of READ and WRITE is ready this moment."""
    cdef pollfd p
    p.fd = fd
    p.events = (POLLIN if events & READ else 0) | (POLLOUT if events & WRITE else 0)
    p.revents = 0
    if c_poll(&p, 1, 0) <= 0:
        return 0
    if p.revents & POLLNVAL:
        errno_raise(EBADF)
    if p.revents & (POLLERR | POLLHUP):
        return events
    return (READ if p.revents & POLLIN else 0) | (WRITE if p.revents & POLLOUT else 0)


cdef int ready_or_nothing(int fd, int events) noexcept:
    """`poll_now`, but 0 for a closed fd."""
    try:
        return poll_now(fd, events)
    except OSError:
        return 0


def fd_ready(int fd, int events):
    """Ask the kernel for which of `events` (READ, WRITE or both) `fd` is ready at this moment; 0 for none.

    Does not block. Raises OSError(EBADF) for a closed fd.
    """
    return poll_now(fd, events)


cdef int errno_raise(int code) except -1:
    raise OSError(code, os.strerror(code))


cdef int switch_to(PyObject *target, PyObject *args) except -1:
    gl_switch(target, args)
    return 0


cdef int throw_to(PyObject *target, object exc) except -1:
    """`exc` is an exception or a class of one."""
    cdef object cls = type(exc) if isinstance(exc, BaseException) else exc
    gl_throw(target, <PyObject *> cls, <PyObject *> exc if cls is not exc else NULL)
    return 0


# ---------------------------------------------------------------- access

_hub_class = Hub
cdef str HAS_A_HUB = "this thread already has a hub: use get_hub()"


def set_hub_class(cls):
    """Set what `get_hub()` calls to make a hub: a subclass of Hub. Attributes can be set on one in Python."""
    global _hub_class
    _hub_class = cls


cdef Hub current_hub():
    if gevlite_thread_hub != NULL:
        return <Hub> gevlite_thread_hub
    return first_hub()


cdef Hub first_hub():
    try:
        return _hub_class()
    except RuntimeError as exc:
        # Making a hub runs Python code. A signal handler or a destructor that blocked meanwhile has made it.
        if gevlite_thread_hub == NULL or exc.args != (HAS_A_HUB,):
            raise
        return <Hub> gevlite_thread_hub


def get_hub():
    """The hub of the running OS thread, made on first use."""
    return current_hub()


def get_hub_if_exists():
    """The hub of the running OS thread, or None if it has not made one."""
    if gevlite_thread_hub != NULL:
        return <Hub> gevlite_thread_hub
    return None


cdef int give_way_if_due() except -1:
    """Let others run if the current greenlet has run for longer than its slice; for functions called again and again.

    Does nothing in an OS thread without a hub, in the greenlet that runs the loop, and in a finalizer at the end of the
    interpreter.
    """
    cdef Hub hub
    if gevlite_thread_hub == NULL:
        return 0
    hub = <Hub> gevlite_thread_hub
    if gevlite_coarse_ns() >= hub.slice_end and not is_runner(hub) and not hub.closed and not finalizing():
        if hub.shuffle is None or (<_Shuffle> hub.shuffle).gives_way():
            sleep(0)
    return 0


cdef int give_way_to_hub(Hub hub) except -1:
    """Have the hub poll, and let others run, if there is anything to do: not only a handoff to the next greenlet.

    The turn that follows must find what the kernel has reported until now.
    """
    if (
        hub.ready.count
        or hub.watched_fds
        or inbox_waits(hub)
        or gevlite_coarse_ns() >= hub.slice_end
        or hub.timers.size and hub.timers.items[0].deadline <= hub_ns()
    ):
        hub.round_left += hub.budget        # the rest of the budget, which this turn does not use
        hub.budget = 0
        sleep(0)
    return 0


cdef bint in_main_greenlet():
    """True in the main greenlet of an OS thread."""
    cdef greenlet me = current_greenlet()
    return main_of(me) is me


cdef bint poll_in_place(Hub hub, object loop, int64_t timeout, int64_t until) except -1:
    """For the main greenlet, which runs an event loop: poll, if that is all that the hub would do.

    This saves a loop that is alone in its thread two switches for each poll. False: the hub has other things to do; the
    caller must give way, or park. timeout: of the poll, in ns; 0: do not wait; -1: for ever. `loop` and `until`, the
    time of its next timer, are for reports about the hub meanwhile.

    In the main greenlet only: signal handlers run in it, and it gets what they raise.
    """
    cdef int64_t left, now
    cdef PyObject *shown
    if timeout < 0 and hub.timers.size == hub.unref_timers and hub.fd_waiters + hub.refs + hub.thread_refs <= 0:
        return False                # perhaps nothing is left to wait for
    if (
        hub.ready.count
        or inbox_waits(hub)
        or hub.polls                # a signal handler runs the loop, in the middle of a poll
        or hub.raw_pending
        or hub.idle_waiters.count
        or hub.before_poll
        or hub.after_poll
        or hub.spinning
        or hub.seldom
        or hub.host is not None
        or not hub.started
        or hub.closed
        or hub.closing
        or _exiting
        # A profiler or a trace would take the wait for work of this greenlet.
        or hub.thread_state.c_profilefunc != NULL
        or _trace is not None
    ):
        return False
    if hub.timers.size:
        left = hub.timers.items[0].deadline - hub_ns()
        if left <= 0:
            return False
        if not 0 <= timeout < left:
            timeout = left
    interrupt_round(hub)
    if timeout or hub.watched_fds:
        hub.in_place = <PyObject *> loop
        shown, hub.in_place_shown = hub.in_place_shown, hub.in_place
        hub.in_place_until = until
        try:
            if timeout and hub.attachable and hub.is_main_thread:
                poll_attachable(hub, timeout)
            else:
                hub.poll_once(timeout)
        finally:
            hub.in_place = NULL
            hub.in_place_shown = shown
    now = gevlite_coarse_ns()
    resume_round(hub, now)
    hub.budget = HANDOFF_BUDGET
    hub.slice_end = now + hub.turn_ns
    if hub.ticker_waits:
        tell_ticker(hub)
    return True


cdef int give_way_unless_zero(object timeout) except -1:
    # The operation itself judges anything that is not a number.
    if isinstance(timeout, (int, float)) and timeout <= 0:
        return 0
    return give_way_if_due()


def let_others_run(timeout=None):
    """Let others run if the current greenlet has run for longer than its slice. Does nothing in the hub.

    For operations in Python, see "Fairness" in _core.pxd. timeout: how long the operation may block; with 0 nothing is done.
    """
    give_way_unless_zero(timeout)


def add_idle_workers(Py_ssize_t change):
    """Count threads that only wait for calls to make, 1 for each thread and -1 for each call. Any thread.

    A thread without a call to make wakes no greenlet, so it does not hold off a LoopExit.
    """
    count_idle_workers(change)


def hubs():
    """All live hubs of the process, one for each OS thread that uses gevlite."""
    return list(all_hubs())


def park_current(timeout=None):
    """Park the current greenlet on a Waiter that nothing else refers to: only an exception or the time-out ends that."""
    return new_waiter(current_hub(), WAIT_OTHER, NULL).park_for(timeout_ns(timeout))


def sleep(seconds=0, ref=True):
    """Block the current greenlet for `seconds` (a number); others run meanwhile. 0 gives way to greenlets that are
    ready.

    Exact to the clock where the kernel allows, never early. With `ref=False` the sleeper does not keep the loop alive.
    Raises ValueError for a negative time, as `time.sleep` does.
    """
    cdef Hub hub = current_hub()
    cdef Waiter w
    cdef greenlet me
    cdef double s = 0 if seconds is ZERO else number_of(seconds)
    if s < 0:
        raise ValueError("sleep length must be non-negative")
    if s > 0:
        w = new_waiter(hub, WAIT_TIMER, NULL)
        w.ref = ref
        w.park_for(timeout_ns(seconds))
        free_waiter(w)
        return
    if s != s:
        raise ValueError("sleep length must not be NaN")
    w = new_waiter(hub, WAIT_YIELD, NULL)
    me = current_greenlet()
    pending = take_pending(hub, me) if not hub.closing else GreenletExit("the hub is being destroyed")
    if pending is not None and (hub.belongings is None or (pending := raised_here(hub, me, pending)) is not None):
        raise pending
    if <PyObject *> me == hub.runner:
        displace(hub)
    w.state = WOKEN
    ring_push(&hub.ready, RESUME, <PyObject *> w, NULL)
    w._suspend(me)
    free_waiter(w)


cdef int fd_number(object fileno) except -1:
    """An int, or an object with `fileno()`, as a non-negative fd."""
    cdef int fd
    if not isinstance(fileno, int):
        method = getattr(fileno, "fileno", None)
        if method is None:
            raise TypeError(f"argument must be an int, or have a fileno() method, not {type(fileno).__name__}")
        fileno = method()
    fd = fileno
    if fd < 0:
        errno_raise(EBADF)
    return fd


def something_is_due(Hub hub not None):
    """True if a greenlet, a callback or a timer of this thread's hub can run now."""
    return bool(
        hub.ready.count or inbox_waits(hub) or hub.timers.size and hub.timers.items[0].deadline <= hub_ns()
    )


def fd_of(fileno):
    """The fd of an int or of an object with `fileno()`. Raises TypeError, or OSError(EBADF) for a negative one."""
    return fd_number(fileno)


cdef int fd_closed(int fd, uint64_t owner) except -1:
    cdef Hub hub
    for hub in all_hubs():
        if owner and fd_known(hub, fd, owner) == NULL:
            continue
        if <PyObject *> hub == gevlite_thread_hub:
            fd_forget(hub, fd, owner, closed_error())
        elif fd_at(hub, fd) != NULL:
            hub.call_soon_threadsafe(hub._forget_fd, fd, owner)
    return 0


cdef int fd_number_closed(int fd) except -1:
    """`fd` is about to be closed or given away: raise EBADF in what waits for the bare number."""
    cdef Hub hub
    cdef FdEntry *entry
    for hub in all_hubs():
        entry = fd_at(hub, fd)
        if entry == NULL or not fd_is_awaited(entry):
            continue
        if <PyObject *> hub == gevlite_thread_hub:
            fd_forget(hub, fd, 0, closed_error())
        else:
            fd_fail_remote(entry, closed_error())
    return 0


cdef int keep_after_fork(Hub hub) except -1:
    """Leave behind the greenlets that `gevlite.config.fork_keeps` does not keep."""
    cdef greenlet me = current_greenlet()
    try:
        kept = config.fork_keeps
    except ValueError as exc:
        hub._report("a fork", exc)
        kept = "main"
    if kept == "all":
        return 0
    if runs_loops(hub, me) or me is get_main(hub):
        if kept == "none":
            abandon_others(hub)
    else:
        abandon_others(hub)
        hub.seldom |= CHILD_EXITS
    return 0


def after_fork_in_child():
    """Part this thread's hub from the parent's backend; drop the hubs of threads that no longer exist. Runs at each fork."""
    cdef Hub hub
    forget_threads()
    trace_after_fork()
    signal_fds = {(<Hub> hub).backend.signal_fd for hub in all_hubs() if (<Hub> hub).backend is not None}
    for hub in all_hubs():
        if <PyObject *> hub == gevlite_thread_hub:
            renew_after_fork(hub, signal_fds)
            keep_after_fork(hub)
            if hub.front is hub.backend:
                # Hooks that run after this one may disable its signal pipe: asyncio's calls set_wakeup_fd(-1).
                hub.call_soon(hub._watch_signals)
        else:
            close_inbox(hub)
            remove_hub(hub)
            try:
                hub.backend.close()
            except Exception as exc:
                hub.print_exception(hub.backend, type(exc), exc, exc.__traceback__)
    ticks_after_fork_in_child()
    calls_after_fork_in_child()


os.register_at_fork(after_in_child=after_fork_in_child)


# ---------------------------------------------------------------- the stack-chunk cache

# What is wrong with GEVLITE_STACK_CACHE. Raised by a new hub, as for GEVLITE_BACKEND: an import is no place to fail.
_stack_cache_problem = None


def set_stack_cache_limit(size_t chunks):
    """Keep at most `chunks` Python stack chunks of 16 KiB for new greenlets; 0: none. Raises MemoryError."""
    global _stack_cache_problem
    if gevlite_cache_set_limit(chunks) < 0:
        raise MemoryError(f"a stack cache of {chunks} chunks")
    _stack_cache_problem = None


Config.stack_cache.assigned = set_stack_cache_limit

try:
    set_stack_cache_limit(config.stack_cache)
except (ValueError, OverflowError, MemoryError) as exc:
    _stack_cache_problem = str(exc)


def stack_cache_stats():
    """The cache of Python stack chunks: installed, cached and limit (in chunks of 16 KiB), hits, misses."""
    return {
        "installed": cache_limit > 0,
        "cached": cache_count,
        "limit": cache_limit,
        "hits": cache_hits,
        "misses": cache_misses,
    }
