# cython: nonecheck=True
"""The event loop of `gevlite.asyncio`: its queue, timers and descriptors, and how the hub and its greenlet share the work.

A loop is run by the greenlet that calls `run_forever`, which runs whatever is ready in batches, as asyncio's own loops
do, and never runs anything else: neither the hub nor another greenlet ever calls a callback. When nothing is ready the
greenlet parks, with the loop's next timer as its time-out. Code that has something for the loop appends it to `ready`
and wakes the greenlet: `call_soon` of any greenlet, `call_soon_threadsafe` of another thread, a descriptor that the hub
reports. Between two batches the hub polls, so that descriptors and other greenlets have their turn.

The main greenlet of a thread polls by itself as long as the hub would do nothing else: see `poll_in_place` in the core.

* `ready` and the heap of timers are Python lists, which the garbage collector traverses: so a loop that was dropped
  with callbacks in it is freed.
* Timers belong to the loop. Those of a loop that does not run keep no hub alive, and a loop may be made, and given
  timers, in another thread than the one that runs it later.
* Descriptors belong to the hub for as long as the loop runs: then each `Io` is in the list of a descriptor's readers or
  writers, among the greenlets. When it is notified it only makes itself due.

Other threads touch the queues too, but only in steps in which no Python code can run (they hold the GIL).
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_REFCNT, Py_XDECREF
from libc.stdint cimport int64_t
from posix.unistd cimport getpid

from gevlite._core cimport (
    OWNED,
    READ,
    WAIT_LOOP,
    WRITE,
    FdEntry,
    Hub,
    Place,
    Waiter,
    current_hub,
    fd_ask,
    fd_disarm,
    fd_entry,
    fd_pass_on,
    fd_rearm,
    free_waiter,
    give_way_to_hub,
    hidden_ns,
    in_main_greenlet,
    new_waiter,
    now_ns,
    poll_in_place,
    raise_it,
    shown_ns,
    waitlist_append,
    waitlist_remove,
)

import sys
from _thread import get_ident
from asyncio import base_events, events, format_helpers, futures, tasks

from gevlite._running_loop cimport RunningLoop

from gevlite._inner import end_inner, move_inner
from gevlite._running_loop import Hook, hook_of
from gevlite.timeout import Timeout

from greenlet import GreenletExit


cdef extern from "Python.h":
    int PyContext_Enter(object context)
    int PyContext_Exit(object context)
    object PyContext_CopyCurrent()
    PyObject *PyObject_Call(object callable, object args, PyObject *names)
    PyObject *PyTuple_GET_ITEM(object t, Py_ssize_t i)
    Py_ssize_t PyTuple_GET_SIZE(object t)
    object PyTuple_New(Py_ssize_t n)
    PyObject *PyList_GET_ITEM(object l, Py_ssize_t i)
    Py_ssize_t PyList_GET_SIZE(object l)

cdef extern from *:
    """
    #define gevlite_list_items(l) (((PyListObject *)(l))->ob_item)

    /* The item, with the list's reference to it; None takes its place. */
    static PyObject *gevlite_take_from(PyObject *list, Py_ssize_t i)
    {
        PyObject *item = PyList_GET_ITEM(list, i);
        Py_INCREF(Py_None);
        PyList_SET_ITEM(list, i, Py_None);
        return item;
    }

    /* list.append, and list.clear for a list of nothing but None, that keep the memory of the list. */
    static inline int gevlite_put_into(PyObject *list, PyObject *item)
    {
        Py_ssize_t n = PyList_GET_SIZE(list);
        if (n >= ((PyListObject *)list)->allocated)
            return PyList_Append(list, item);
        ((PyListObject *)list)->ob_item[n] = Py_NewRef(item);
        Py_SET_SIZE(list, n + 1);
        return 0;
    }

    static inline void gevlite_forget_taken(PyObject *list)
    {
        Py_ssize_t n = PyList_GET_SIZE(list);
        Py_SET_SIZE(list, 0);
        while (n--)
            Py_DECREF(Py_None);
    }

    static PyObject *gevlite_tuple_of(PyObject *const *items, Py_ssize_t n)
    {
        PyObject *tuple = PyTuple_New(n);
        if (tuple != NULL)
            for (Py_ssize_t i = 0; i < n; i++)
                PyTuple_SET_ITEM(tuple, i, Py_NewRef(items[i]));
        return tuple;
    }

    /* asyncio's _set_result_unless_cancelled, without its frame. */
    static PyObject *gevlite_set_unless_cancelled(PyObject *args, PyObject *cancelled, PyObject *set_result)
    {
        PyObject *future = PyTuple_GET_ITEM(args, 0);
        PyObject *result = PyObject_CallMethodNoArgs(future, cancelled);
        if (result == NULL)
            return NULL;
        int is_cancelled = PyObject_IsTrue(result);
        if (is_cancelled)
            return is_cancelled > 0 ? result : (Py_DECREF(result), NULL);
        Py_DECREF(result);
        return PyObject_CallMethodOneArg(future, set_result, PyTuple_GET_ITEM(args, 1));
    }

    #define gevlite_type_of(o) ((PyObject *)Py_TYPE(o))
    #define gevlite_has_weakrefs(o) (*(PyObject **)((char *)(o) + Py_TYPE(o)->tp_weaklistoffset) != NULL)

    /* A method with the calling convention of the interpreter's own: what Cython makes of `*args` takes twice as long. */
    static PyObject *gevlite_put_method(PyObject *type, PyMethodDef *definition)
    {
        PyObject *method = PyDescr_NewMethod((PyTypeObject *)type, definition);
        if (method == NULL)
            return NULL;
        int failed = PyDict_SetItemString(((PyTypeObject *)type)->tp_dict, definition->ml_name, method);
        Py_DECREF(method);
        if (failed)
            return NULL;
        PyType_Modified((PyTypeObject *)type);
        Py_RETURN_NONE;
    }
    """
    ctypedef struct PyMethodDef:
        const char *ml_name
        void *ml_meth
        int ml_flags
        const char *ml_doc
    int METH_FASTCALL, METH_KEYWORDS
    object put_method "gevlite_put_method"(object type, PyMethodDef *definition)
    tuple tuple_of "gevlite_tuple_of"(PyObject *const *items, Py_ssize_t n)
    PyObject *set_unless_cancelled "gevlite_set_unless_cancelled"(object args, object cancelled, object set_result)
    bint has_weakrefs "gevlite_has_weakrefs"(object o)
    PyObject *gevlite_type_of(PyObject *o)
    object take_from "gevlite_take_from"(list l, Py_ssize_t i)
    int put_into "gevlite_put_into"(list l, object item) except -1
    void forget_taken "gevlite_forget_taken"(list l)
    PyObject **list_items "gevlite_list_items"(PyObject *l)

cdef int64_t LONGEST_NS = 1 << 62
cdef str CONTEXT = "context"

cdef enum:
    HANDLES = 256               # how many are kept for reuse
    KEPT = 65536                # the length of a batch up to which the memory of its list is kept

# The callback of `asyncio.sleep`.
cdef object _set_result_unless_cancelled = futures._set_result_unless_cancelled
cdef object _CFuture = getattr(futures, "_CFuture", None)


cdef bint is_for_the_greenlet(object exc):
    """True if `exc`, raised in a callback, is not for the callback: it must go on to the code that runs the loop."""
    return isinstance(exc, (SystemExit, KeyboardInterrupt, GreenletExit, Timeout))


cdef bint was_thrown(LoopCore loop, object exc):
    """True if `exc` was thrown into the greenlet while the callback blocked."""
    cdef RunningLoop running = loop.running
    if running is not None and running.thrown is not None:
        for thrown in running.thrown:
            if thrown[1] is exc:
                return True
    return False


cdef int report(LoopCore loop, str message, object exc, dict more) except -1:
    context = {"message": message, "exception": exc}
    context.update(more)
    loop.call_exception_handler(context)
    return 0


include "_handles.pxi"


# ---------------------------------------------------------------- descriptors

cdef class Io(Place):
    cdef int place(self, Hub hub, FdEntry *entry) except -1:
        """Wait in the descriptor's list until the descriptor is reported."""
        self.hub = hub
        self.entry = entry
        waitlist_append(&entry.readers if self.event == READ else &entry.writers, self)
        hub.fd_waiters += 1
        try:
            fd_rearm(hub, entry)
        except BaseException:
            self.displace()
            raise
        return 0

    cdef int displace(self) except -1:
        """Leave the descriptor's list."""
        cdef Hub hub = self.hub
        if hub is None:
            return 0
        self.hub = None
        hub.fd_waiters -= 1
        if hub.closed:
            waitlist_remove(self)
            return 0
        if self.list != NULL:
            waitlist_remove(self)
        if self.entry.armed:
            fd_disarm(hub, self.entry)
        return 0

    cdef int make_due(self) except -1:
        if not self.due:
            self.due = True
            self.loop.queue(self)
        return 0

    cdef int notify(self, object source) except -1:
        # It has been taken out of the list.
        self.hub.fd_waiters -= 1
        self.hub = None
        self.make_due()
        return 1

    cdef int fail(self, object exc) except -1:
        return self.notify(None)

    cdef int run(self) except -1:
        """Its turn in the loop has come."""
        return 0


cdef class Watch(Io):
    """A registration by `add_reader` or `add_writer`: its callback is called for as long as the descriptor is ready."""

    cdef int begin(self, Hub hub) except -1:
        """Have `hub` watch it, if it is not due already."""
        cdef FdEntry *entry
        if self.due or self.hub is not None:
            return 0
        entry = fd_entry(hub, self.fd)
        if entry.flags & OWNED and fd_ask(hub, entry, self.event):
            self.make_due()         # it was reported once, and perhaps not to us
            return 0
        return self.place(hub, entry)

    cdef int notify(self, object source) except -1:
        cdef Hub hub = self.hub
        Io.notify(self, source)
        if self.entry.flags & OWNED:
            fd_pass_on(hub, self.entry)     # it only looks: what waits behind it must be notified too
        return 1

    cdef int fail(self, object exc) except -1:
        # The descriptor is closed. As with a selector, nothing is called.
        self.hub.fd_waiters -= 1
        self.hub = None
        return 0

    cdef int run(self) except -1:
        cdef Handle handle = self.handle
        self.due = False
        if handle is None or handle._cancelled:
            return 0
        try:
            run_handle(self.loop, handle)
        finally:
            if self.handle is not None and not self.handle._cancelled and self.loop.hub is not None:
                try:
                    self.begin(self.loop.hub)
                except OSError:
                    pass                    # closed by the callback
        return 0


cdef class TransportCore:
    cdef int attach(self, Hub hub) except -1:
        return 0

    cdef int detach(self) except -1:
        return 0


def fd_of(source):
    """The descriptor of an int or of an object with `fileno()`; ValueError for anything else."""
    if isinstance(source, int):
        fd = source
    else:
        try:
            fd = int(source.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {source!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


# ---------------------------------------------------------------- the loop

cdef int run_handle(LoopCore loop, Handle handle) except -1:
    if not loop._debug:
        return handle.call()
    loop._current_handle = handle
    try:
        start = loop.time()
        handle.call()
        seconds = loop.time() - start
        if seconds >= loop.slow_callback_duration:
            base_events.logger.warning("Executing %s took %.3f seconds", base_events._format_handle(handle), seconds)
    finally:
        loop._current_handle = None
    return 0


cdef bint stops(object item) except -1:
    return isinstance(<object> <PyObject *> item, Handle) and (<Handle> item)._callback is base_events._run_until_complete_cb


cpdef object running_hook():
    """The function to call when a loop begins to run in this greenlet, or ends."""
    hook = hook_of(events._set_running_loop)
    if hook is None:
        # Not patched. It may be asyncio's function in C or, in a test, the one in Python.
        swap = None
        if sys.version_info >= (3, 14) and events._set_running_loop is getattr(events, "_c__set_running_loop", None):
            from _asyncio import _swap_current_task as swap
        hook = Hook(events._get_running_loop, events._set_running_loop, swap)
    return hook


cdef class LoopCore:
    """The part of an EventLoop that is on the hot path. The rest is asyncio's own, see `gevlite.asyncio`."""

    def __cinit__(self, *args, **kwargs):
        self.ready = []
        self.timers = []
        self.readers = {}
        self.writers = {}
        self.transports = set()

    # -------- callbacks

    cdef int wake(self) except -1:
        cdef Waiter w = self.waiter
        cdef Hub hub = self.hub
        if w is not None:
            self.waiter = None
            self.sleeps = False
            w.wake(None)
        elif hub is not None and hub.polling:
            hub.wake_backend()          # else the poll is over, and this is what it has found
        return 0

    cdef int queue(self, object item) except -1:
        self.ready.append(item)
        if self.sleeps:
            self.wake()
        return 0

    @cython.nonecheck(False)
    cdef Handle soon(self, object callback, tuple args, object context):
        cdef Handle handle = new_handle()
        fill(self, handle, callback, args, context)
        put_into(self.ready, handle)
        if self.sleeps:
            self.wake()
        return handle

    # And `call_soon`, see the end of this file.

    @cython.binding(False)
    def call_soon_threadsafe(self, callback, *args, context=None):
        """`call_soon` by another thread."""
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if self._debug:
            self._check_callback(callback, "call_soon_threadsafe")
        return self.soon(callback, args, context)

    @cython.binding(False)
    def time(self):
        """Seconds, by the clock of the hub, CLOCK_MONOTONIC."""
        return shown_ns() / 1e9

    cdef TimerHandle at(self, int64_t deadline, object when, object callback, tuple args, object context):
        cdef TimerHandle timer = TimerHandle.__new__(TimerHandle)
        fill(self, timer, callback, args, context)
        timer._when = when
        timer.deadline = deadline
        timer.number = self.made
        self.made += 1
        heap_add(self.timers, timer)
        if timer.place == 0 and self.sleeps:
            self.wake()             # its greenlet waits for a later one
        return timer

    @cython.binding(False)
    def call_later(self, delay, callback, *args, context=None):
        """Call `callback(*args)` in `delay` seconds. Never blocks. Returns a TimerHandle, which can be cancelled."""
        cdef double seconds
        cdef int64_t now = now_ns()
        if delay is None:
            raise TypeError("delay must not be None")
        check_call(self, callback, "call_later")
        seconds = delay
        return self.at(deadline_of(seconds, now), (now - hidden_ns()) / 1e9 + seconds, callback, args, context)

    @cython.binding(False)
    def call_at(self, when, callback, *args, context=None):
        """Call `callback(*args)` when `loop.time()` is `when`. Never blocks. Returns a TimerHandle."""
        if when is None:
            raise TypeError("when cannot be None")
        check_call(self, callback, "call_at")
        return self.at(deadline_of(when, 0) + hidden_ns(), when, callback, args, context)

    # -------- futures, tasks, and what they call on their loop

    @cython.binding(False)
    def create_future(self):
        """A Future of this loop."""
        return futures.Future(loop=self)

    @cython.binding(False)
    def create_task(self, coro, **kwargs):
        """Have the loop run a coroutine. Never blocks. Returns the Task. As `asyncio.create_task`."""
        if self._task_factory is not None or self._closed or kwargs and not kwargs.keys() <= {"name", "context"}:
            return base_events.BaseEventLoop.create_task(self, coro, **kwargs)
        return tasks.Task(coro, loop=self, **kwargs) if kwargs else tasks.Task(coro, loop=self)

    @cython.binding(False)
    def get_debug(self):
        """True in debug mode."""
        return self._debug

    @cython.binding(False)
    def is_running(self):
        """True while a greenlet runs it."""
        return self._thread_id is not None

    @cython.binding(False)
    def is_closed(self):
        """True after `close()`."""
        return self._closed

    def _make_handle(self, callback, args):
        cdef Handle handle = Handle.__new__(Handle)
        fill(self, handle, callback, args, None)
        return handle

    # What asyncio's own code calls to queue something.

    def _add_callback(self, Handle handle):
        if not handle._cancelled:
            self.queue(handle)

    def _add_callback_signalsafe(self, Handle handle):
        if not handle._cancelled:
            self.queue(handle)

    def _write_to_self(self):
        if self.sleeps:
            self.wake()

    # -------- running

    def _check_thread(self):
        """In debug mode: raise if a method that is not thread-safe is called in another thread than the loop's."""
        if self.hub is not None and current_hub() is not self.hub:
            raise RuntimeError("Non-thread-safe operation invoked on an event loop other than the current one")

    def run_forever(self):
        """Run until `stop()` is called; blocks the current greenlet only.

        Raises RuntimeError if the loop is closed or runs already, or if another one runs in this greenlet. What is thrown
        into the greenlet meanwhile (a kill, a Timeout) ends it: it may be run again, and goes on where it was.
        """
        cdef Hub hub
        hub = current_hub()
        hook = running_hook()
        self._check_closed()
        self._check_running()
        # From here to `hook(self)`, and from `hook(None)` to the end, other greenlets must not run: they would find
        # what is set in the thread for this loop. So no Python code is called there, except in debug mode.
        if self._debug:
            self._set_coroutine_origin_tracking(True)
        hooks = sys.get_asyncgen_hooks()
        try:
            self._thread_id = get_ident()
            self.pid = getpid()
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            hook(self)
            self.running = hub.belongings
            self.running.ours = True
            self.run_by(self.running.owner)
            self.in_main = in_main_greenlet()
            self.attach(hub)
            while True:
                self.turn()
                self.run_batch()
                if self._stopping:
                    break
        except BaseException:
            # The future of `run_until_complete` may be done by now: that must not stop the next run.
            self.ready[:] = [item for item in self.ready if not stops(item)]
            raise
        finally:
            self._stopping = False
            self._thread_id = None
            if self.running is not None:
                self.running.ours = False
                self.running = None
            hook(None)
            sys.set_asyncgen_hooks(*hooks)
            if getattr(self, "_coroutine_origin_tracking_enabled", True):
                self._set_coroutine_origin_tracking(False)
            self.detach()

    cdef int run_by(self, object me) except -1:
        cdef size_t before = self.ran_by
        self.ran_by = <size_t> <PyObject *> me
        if before and before != self.ran_by:
            move_inner(self, before)
        return 0

    def _end_inner(self):
        if self.ran_by:
            end_inner(self, self.ran_by)

    def _hub_ends(self):
        """The thread's hub is being destroyed: no greenlet can begin or wait any more."""
        return current_hub().closing

    def stop(self):
        """Have `run_forever` return after the callbacks that are ready now."""
        self._stopping = True
        if self.sleeps:
            self.wake()

    cdef int turn(self) except -1:
        """Between two batches: let the hub poll and others run, or wait until something is ready."""
        cdef Hub hub = self.hub
        cdef int64_t timeout = 0
        if not self.ready and not self._stopping:
            timeout = self.until_timer()
        if not self.in_main or not self.poll(timeout):
            if timeout:
                self.wait_ready()
            elif not hub.closing:   # else only what need not wait still runs; that may be enough for an orderly end
                give_way_to_hub(hub)
        if self.timers:
            self.due_timers()
        return 0

    cdef int64_t until_timer(self) noexcept:
        """The time until the first timer, in ns; -1: there is none."""
        if not self.timers:
            return -1
        return max((<TimerHandle> PyList_GET_ITEM(self.timers, 0)).deadline - now_ns(), 0)

    cdef bint poll(self, int64_t timeout) except -1:
        """Poll in place of the hub. False: the hub has more to do than to poll."""
        cdef int64_t until = (<TimerHandle> PyList_GET_ITEM(self.timers, 0)).deadline if timeout > 0 else 0
        self.sleeps = True
        try:
            return poll_in_place(self.hub, self, timeout, until)
        finally:
            self.sleeps = False

    cdef int wait_ready(self) except -1:
        cdef int64_t timeout
        cdef Waiter w = new_waiter(self.hub, WAIT_LOOP, <PyObject *> self)
        timeout = self.until_timer()
        if self.ready or self._stopping or not timeout:
            return 0                # in the meantime: making a Waiter may run a destructor
        self.waiter = w
        self.sleeps = True
        try:
            w.park_for(timeout)
        finally:
            self.waiter = None
            self.sleeps = False
        free_waiter(w)
        return 0

    cdef int due_timers(self) except -1:
        cdef int64_t now = now_ns()
        cdef list timers = self.timers
        while timers and (<TimerHandle> PyList_GET_ITEM(timers, 0)).deadline <= now:
            self.ready.append(heap_take(timers, 0))
        return 0

    @cython.nonecheck(False)
    cdef int run_batch(self) except -1:
        """Run what is ready now; what becomes ready meanwhile is for the next batch."""
        cdef list fresh = self.spare if self.spare is not None else []     # first: a destructor may call `call_soon`
        cdef list batch = self.ready
        cdef Py_ssize_t i = 0, n = PyList_GET_SIZE(batch)
        cdef object item
        cdef RunningLoop running = self.running
        self.ready = fresh
        self.spare = None
        try:
            while i < n:
                item = take_from(batch, i)
                i += 1
                if type(item) is Handle or type(item) is TimerHandle:
                    if not (<Handle> item)._cancelled:
                        run_handle(self, <Handle> item)
                    if Py_REFCNT(item) == 1 and type(item) is Handle:
                        use_again(<Handle> item)
                else:
                    (<Io> item).run()
                if running.thrown is not None:
                    self.raise_thrown()
        except BaseException:
            self.ready[:0] = batch[i:n]
            raise
        if n <= KEPT:
            forget_taken(batch)
            self.spare = batch
        return 0

    cdef int raise_thrown(self) except -1:
        """Raise what was thrown into the greenlet while the last callback blocked, if a task has ended with it."""
        cdef list thrown = self.running.thrown
        self.running.thrown = None
        for task, exc in thrown:
            if task is not None and task.done() and not task.cancelled() and task.exception() is exc:
                raise exc
        return 0

    def _leave(self):
        """In the child of a fork: the loop's greenlet never goes on, and the loop's descriptors are the parent's."""
        self.detach()
        self.waiter = None
        self.sleeps = False
        self._forget_all()
        self._closed = True

    def _forget_all(self):
        """The loop is closed: drop what it will never call."""
        cdef list timers = self.timers
        self.ready.clear()
        while timers:
            heap_take(timers, PyList_GET_SIZE(timers) - 1)
        self.readers.clear()
        self.writers.clear()
        self.transports.clear()

    # -------- descriptors

    cdef int attach(self, Hub hub) except -1:
        """The loop runs in `hub` from now on."""
        self.hub = hub
        for watches in (self.readers, self.writers):
            for watch in list(watches.values()):
                try:
                    (<Watch> watch).begin(hub)
                except OSError:
                    pass                    # closed since
        for transport in list(self.transports):
            (<TransportCore> transport).attach(hub)
        return 0

    cdef int detach(self) except -1:
        self.hub = None
        for watches in (self.readers, self.writers):
            for watch in list(watches.values()):
                (<Watch> watch).displace()
        for transport in list(self.transports):
            (<TransportCore> transport).detach()
        return 0

    cdef Handle watch(self, dict watches, int event, object source, object callback, tuple args, object context):
        cdef Watch watch
        cdef Handle handle
        cdef Hub hub
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = Handle.__new__(Handle)
        fill(self, handle, callback, args, context)
        fd = fd_of(source)
        watch = watches.get(fd)
        if watch is None:
            watch = Watch.__new__(Watch)
            watch.loop = self
            watch.event = event
            watch.fd = fd
        else:
            if watch.handle is not None:
                watch.handle.cancel()
            watch.displace()        # the number may mean another file by now: watch it anew
        watch.source = source
        watch.handle = handle
        # Even if the loop does not run, find out whether the hub can watch this.
        hub = self.hub if self.hub is not None else current_hub()
        watch.begin(hub)
        watches[fd] = watch
        if self.hub is None:
            watch.displace()
        return handle

    cdef bint unwatch(self, dict watches, object source) except -1:
        cdef Watch watch
        if self._closed:
            return False
        try:
            fd = fd_of(source)
        except ValueError:
            # Closed: look for the object, as a selector does.
            found = [known for known, watch in watches.items() if (<Watch> watch).source is source]
            if not found:
                raise
            fd = found[0]
        watch = watches.pop(fd, None)
        if watch is None:
            return False
        watch.displace()
        handle, watch.handle = watch.handle, None
        handle.cancel()
        return True

    def _add_reader(self, fd, callback, *args, context=None):
        return self.watch(self.readers, READ, fd, callback, args, context)

    def _add_writer(self, fd, callback, *args, context=None):
        return self.watch(self.writers, WRITE, fd, callback, args, context)

    def _remove_reader(self, fd):
        return self.unwatch(self.readers, fd)

    def _remove_writer(self, fd):
        return self.unwatch(self.writers, fd)

    def _watched(self, fd):
        """READ, WRITE, both or 0: what `_add_reader` and `_add_writer` watch the descriptor for."""
        try:
            fd = fd_of(fd)
        except ValueError:
            return 0
        return (READ if fd in self.readers else 0) | (WRITE if fd in self.writers else 0)


cdef int64_t deadline_of(double seconds, int64_t start) except -1:
    """`start` + `seconds` in nanoseconds, never too early."""
    if seconds != seconds:
        raise ValueError("the time of a timer must not be NaN")
    if seconds >= 4e9:
        return LONGEST_NS
    if seconds <= 0:
        return start
    seconds *= 1e9
    return start + <int64_t> seconds + (1 if seconds != <double> (<int64_t> seconds) else 0)


# A tuple of keyword names that need no check: asyncio's own, which holds just "context".
cdef PyObject *just_context = NULL


cdef inline bint is_just_context(PyObject *names) noexcept:
    if names == just_context:
        return True
    # In a call by Python code it is a tuple of the interned name.
    return PyTuple_GET_SIZE(<object> names) == 1 and PyTuple_GET_ITEM(<object> names, 0) == <PyObject *> CONTEXT


cdef object keywords(object callback, PyObject *const *values, tuple names):
    """The `callback` and the context that were given, by keyword or by position."""
    global just_context
    cdef object context = None
    cdef Py_ssize_t i
    for i, name in enumerate(names):
        if name == "context":
            context = <object> values[i]
        elif name == "callback" and callback is None:
            callback = <object> values[i]
        else:
            raise TypeError(f"call_soon() got an unexpected keyword argument {name!r}")
    if just_context == NULL and names == ("context",):
        Py_INCREF(names)
        just_context = <PyObject *> names
    return callback, context


cdef object call_soon(object me, PyObject *const *args, Py_ssize_t n, PyObject *names):
    cdef LoopCore loop = <LoopCore> me
    cdef object callback = None, context = None
    if n:
        callback = <object> args[0]
    if names != NULL:
        if is_just_context(names):
            context = <object> args[n]
        else:
            callback, context = keywords(callback, args + n, <tuple> names)
    if callback is None:
        raise TypeError("call_soon() needs a callback")
    check_call(loop, callback, "call_soon")
    return loop.soon(callback, tuple_of(args + 1, n - 1) if n > 1 else (), context)


cdef PyMethodDef call_soon_method
call_soon_method.ml_name = "call_soon"
call_soon_method.ml_meth = <void *> call_soon
call_soon_method.ml_flags = METH_FASTCALL | METH_KEYWORDS
call_soon_method.ml_doc = b"""call_soon($self, callback, *args, context=None)
--

Call `callback(*args)` in the next turn of the loop. Never blocks. Returns a Handle, which can be cancelled.

May be called by any greenlet, and by any thread: it is `call_soon_threadsafe` too."""
put_method(LoopCore, &call_soon_method)
