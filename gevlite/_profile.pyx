"""A profiler with a call stack for each greenlet: the compiled part of `gevlite.profile`.

A profiler gets calls and returns, and keeps a stack of the calls that have not returned. The interpreter's own profiler
has one such stack for a whole OS thread. So when greenlets take turns, a return in one greenlet is taken for the return
of the last call in another, and the time goes to the wrong function. Here greenlet's trace function says which greenlet
runs, each has its own stack, and its clock stands still while it is switched away.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

import sys

import greenlet as _greenlet_module

from gevlite._frames import hub_frame, switched

__all__ = ["Recorder"]

_settrace = _greenlet_module.settrace
_gettrace = _greenlet_module.gettrace
# Code that is not the program's: the first function tells profilers of a switch, the second polls.
cdef object _switched_code = switched.__code__
cdef object _hub_code = hub_frame.__code__

cdef extern from "_platform.h" nogil:
    int64_t gevlite_now_ns() noexcept         # also where a test has a virtual clock: we measure real time

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident() noexcept

cdef extern from "Python.h":
    ctypedef int (*Py_tracefunc)(PyObject *self, PyObject *frame, int what, PyObject *argument) except -1
    void PyEval_SetProfile(Py_tracefunc function, PyObject *self)
    int PyTrace_CALL, PyTrace_RETURN, PyTrace_C_CALL, PyTrace_C_RETURN, PyTrace_C_EXCEPTION
    bint PyCFunction_Check(PyObject *o) noexcept

cdef extern from *:
    """
    #define gevlite_profiled_code(f) ((PyObject *)PyFrame_GetCode((PyFrameObject *)(f)))
    #define gevlite_c_method(f) ((void *)((PyCFunctionObject *)(f))->m_ml)
    """
    object gevlite_profiled_code(PyObject *frame)
    void *gevlite_c_method(PyObject *function) noexcept


cdef class _Edge:
    """The time that a function has taken in calls by one other function."""
    cdef Py_ssize_t calls, recursive
    cdef int64_t own, total


cdef class _Entry:
    """The time that one function has taken. `key`: its code object, or for a function in C what identifies it."""
    cdef object key
    cdef object label               # as in pstats: file, line, function
    cdef Py_ssize_t calls, recursive
    cdef int64_t own, total         # nanoseconds; total: with the functions that it called, without recursive calls
    cdef dict callers               # _Entry: _Edge


cdef class _Call:
    """A call that has not returned."""
    cdef _Entry entry
    cdef _Call below
    cdef int64_t own, called


cdef class _Thread:
    """The state of one OS thread that is profiled."""
    cdef Recorder recorder
    cdef _Call top                  # of the greenlet that runs
    cdef int64_t since              # the time is accounted for until this moment
    cdef object before              # greenlet's trace function before
    cdef bint active

    def switch(self, event, args):
        """greenlet's trace function."""
        if self.active:
            self.charge()
            origin, target = args
            if self.top is not None:
                self.recorder.away[origin] = self.top
            self.top = self.recorder.away.pop(target, None)
        if self.before is not None:
            self.before(event, args)

    cdef int charge(self) except -1:
        cdef int64_t now = gevlite_now_ns()
        if self.top is not None:
            self.top.own += now - self.since
        self.since = now
        return 0

    cdef int enter(self, _Entry entry) except -1:
        cdef _Call call = _Call.__new__(_Call)
        self.charge()
        call.entry = entry
        call.below = self.top
        self.top = call
        return 0

    cdef int leave(self, object key) except -1:
        self.charge()
        if self.top is not None and self.top.entry.key == key:      # else it was called before profiling began
            self.top = self.recorder.ended(self.top)
        return 0

    def begin(self):
        self.before = _gettrace()
        self.active = True
        self.since = gevlite_now_ns()
        _settrace(self.switch)
        PyEval_SetProfile(<Py_tracefunc> told, <PyObject *> self)

    def end(self):
        """To be called in its own thread."""
        if not self.active:
            return
        PyEval_SetProfile(NULL, NULL)
        self.active = False
        self.charge()
        # A trace function that was set since then passes events on to ours, so ours stays and does nothing.
        if _gettrace() == self.switch:
            _settrace(self.before)
        while self.top is not None:
            self.top = self.recorder.ended(self.top)


cdef int told(PyObject *self, PyObject *frame, int what, PyObject *argument) except -1:
    cdef _Thread thread = <_Thread> self
    cdef object code
    if not thread.active or not thread.recorder.active:
        PyEval_SetProfile(NULL, NULL)
        return 0
    if what == PyTrace_CALL or what == PyTrace_RETURN:
        code = gevlite_profiled_code(frame)
        if code is _switched_code or code is _hub_code:
            return 0
        if what == PyTrace_CALL:
            thread.enter(thread.recorder.entry_of(code))
        else:
            thread.leave(code)
    elif thread.recorder.builtins and argument != NULL and PyCFunction_Check(argument):
        if what == PyTrace_C_CALL:
            thread.enter(thread.recorder.entry_of_c(argument))
        elif what == PyTrace_C_RETURN or what == PyTrace_C_EXCEPTION:
            thread.leave(<size_t> gevlite_c_method(argument))
    return 0


cdef class Recorder:
    """Records which functions run for how long, in each thread that calls `join`, between `start` and `stop`."""

    cdef bint active
    cdef bint builtins
    cdef dict entries               # key: _Entry
    cdef dict away                  # greenlet that is switched away: its _Call
    cdef dict threads               # number of an OS thread: _Thread

    def __cinit__(self):
        self.entries = {}
        self.away = {}
        self.threads = {}

    cdef _Entry entry_of(self, object code):
        cdef _Entry entry = self.entries.get(code)
        return entry if entry is not None else self.new_entry(
            code, (code.co_filename, code.co_firstlineno, code.co_name)
        )

    cdef _Entry entry_of_c(self, PyObject *function):
        cdef object key = <size_t> gevlite_c_method(function)
        cdef _Entry entry = self.entries.get(key)
        return entry if entry is not None else self.new_entry(key, ("~", 0, name_in_c(<object> function)))

    cdef _Entry new_entry(self, object key, object label):
        cdef _Entry entry = _Entry.__new__(_Entry)
        entry.key = key
        entry.label = label
        entry.callers = {}
        self.entries[key] = entry
        return entry

    cdef _Call ended(self, _Call call):
        """Account for a call that is over. Returns the call that made it."""
        cdef _Entry entry = call.entry
        cdef _Call below = call.below
        cdef _Call outer = below
        cdef _Edge edge
        cdef int64_t total = call.own + call.called
        cdef bint inside = False, from_there = False
        while outer is not None and not from_there:
            if outer.entry is entry:
                inside = True
                from_there = outer.below is not None and below is not None and outer.below.entry is below.entry
            outer = outer.below
        entry.calls += 1
        entry.own += call.own
        if inside:
            entry.recursive += 1
        else:
            entry.total += total
        if below is not None:
            below.called += total
            edge = entry.callers.get(below.entry)
            if edge is None:
                edge = _Edge.__new__(_Edge)
                entry.callers[below.entry] = edge
            edge.calls += 1
            edge.own += call.own
            if from_there:
                edge.recursive += 1
            else:
                edge.total += total
        return below

    def start(self, bint builtins):
        """Begin. builtins: with functions in C. Raises RuntimeError if it has begun."""
        if self.active:
            raise RuntimeError("the profiler is running")
        self.builtins = builtins
        self.active = True
        self.join()

    def join(self):
        """Profile the running OS thread too. Does nothing if `start` was not called."""
        cdef _Thread thread
        if not self.active:
            return
        thread = self.threads.get(PyThread_get_thread_ident())
        if thread is None:
            thread = _Thread.__new__(_Thread)
            thread.recorder = self
            self.threads[PyThread_get_thread_ident()] = thread
            thread.begin()
        else:
            # `threading` has set its own in a thread that is a greenlet, and so in the OS thread.
            PyEval_SetProfile(<Py_tracefunc> told, <PyObject *> thread)

    def stop(self):
        """End it, in all threads. Calls that have not returned count as if they returned now."""
        cdef _Call call
        cdef _Thread thread
        if not self.active:
            return
        self.active = False
        own = self.threads.pop(PyThread_get_thread_ident(), None)
        if own is not None:
            own.end()
        for thread in self.threads.values():        # each stops listening at its next event
            thread.active = False
            call = thread.top
            while call is not None:
                call = self.ended(call)
            thread.top = None
        self.threads.clear()
        for call in list(self.away.values()):
            while call is not None:
                call = self.ended(call)
        self.away.clear()

    def stats(self):
        """What `pstats` reads: `{(file, line, function): (non-recursive calls, calls, own, total, callers)}`."""
        cdef _Entry entry, caller
        cdef _Edge edge
        cdef dict result = {}
        for entry in list(self.entries.values()):
            if not entry.calls:
                continue
            callers = {
                caller.label: (edge.calls, edge.calls - edge.recursive, edge.own / 1e9, edge.total / 1e9)
                for caller, edge in entry.callers.items()
            }
            result[entry.label] = (
                entry.calls - entry.recursive, entry.calls, entry.own / 1e9, entry.total / 1e9, callers
            )
        return result

    def clear(self):
        """Forget what was recorded."""
        self.entries.clear()


cdef object name_in_c(object function):
    """The name of a C function, in the form of cProfile."""
    owner = getattr(function, "__self__", None)
    name = function.__name__
    if owner is None or type(owner) is type(sys):
        module = function.__module__ or "builtins"
        return f"<built-in method {module}.{name}>"
    return f"<method {name!r} of {type(owner).__name__!r} objects>"
