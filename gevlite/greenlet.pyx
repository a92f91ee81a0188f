"""Greenlet, and functions that start, end and wait for greenlets. Waiting for many objects is in _many.pxi."""

cimport cython
from cpython.contextvars cimport PyContext_CopyCurrent
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from cpython.weakref cimport PyWeakref_NewRef
from libc.stdint cimport int64_t

from gevlite._core cimport (
    FINISHED,
    PARKED,
    RUNNING,
    SCHEDULED,
    UNSTARTED,
    WAIT_GREENLET,
    CoreGreenlet,
    Hub,
    LinkCall,
    Place,
    Timer,
    WaitList,
    Waiter,
    await_it,
    current_greenlet,
    current_hub,
    deadline_of,
    give_way_within,
    greenlet,
    greenlet_name,
    lay_down,
    links_due,
    new_waiter,
    notify_all,
    raise_it,
    take_up,
    throw_into,
    time_left,
    timeout_ns,
    unlink_from,
    wait_on,
    waitlist_append,
    waitlist_clear,
    waitlist_remove,
)

import functools
import itertools
import sys
from collections.abc import Coroutine
from types import GenericAlias

import greenlet as _greenlet_module

from gevlite.timeout cimport RAISE, Timeout, expired, within

from gevlite._core import get_hub_if_exists, getcurrent, register_description, set_spawn_callbacks
from gevlite.timeout import frame_summary

GreenletExit = _greenlet_module.GreenletExit
_RawGreenlet = _greenlet_module.greenlet

__all__ = [
    "FailureSpawnedLink",
    "Greenlet",
    "GreenletExit",
    "SpawnedLink",
    "SuccessSpawnedLink",
    "getcurrent",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "wait",
]

_idents = itertools.count(1)
# The repr of a greenlet shows its arguments. A greenlet inside of those, the owner of a lock say, is shown without its
# own arguments: else the repr of two greenlets that have each other's locks would never end.
cdef bint _in_arguments = False
cdef tuple _spawn_callbacks = None       # None: the usual case, tested at each start
cdef int _stack_limit = 1                # frames of spawning_stack; one is remembered without making a frame object


class SpawnedLink:
    """Wraps a callback so that it runs in a greenlet of its own when the linked greenlet has ended."""

    __slots__ = ("callback",)

    def __init__(self, callback):
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self.callback = callback

    def __call__(self, source):
        spawn_raw(self.callback, source)

    def __hash__(self):
        return hash(self.callback)

    def __eq__(self, other):
        return self.callback == getattr(other, "callback", other)

    def __repr__(self):
        return f"<{type(self).__name__} {self.callback!r}>"


class SuccessSpawnedLink(SpawnedLink):
    """Called only if the greenlet ended without an error."""

    __slots__ = ()

    def __call__(self, source):
        if source.successful():
            SpawnedLink.__call__(self, source)


class FailureSpawnedLink(SpawnedLink):
    """Called only if the greenlet ended with an error."""

    __slots__ = ()

    def __call__(self, source):
        if not source.successful():
            SpawnedLink.__call__(self, source)


cdef extern from "_thread_exit.h":
    PyObject *raw_call "gevlite_run"(object function, object args, PyObject *kwargs)


cdef extern from "_caller.h":
    PyObject *gevlite_caller(int *instruction) noexcept
    bint gevlite_is_async(object function) noexcept
    PyObject *gevlite_code_of(object function) noexcept

cdef extern from "Python.h":
    bint PyCode_Check(object o) noexcept


# If an argument is not a function, it is most often what the function has returned.
_HINT = "a greenlet runs something callable, not {!r}: write spawn(function, argument), not spawn(function(argument))"


cdef int check_function(object function) except -1:
    """Raise TypeError if a greenlet cannot run `function`."""
    if not callable(function):
        if isinstance(function, Coroutine):
            raise TypeError(f"a greenlet runs a function, not a coroutine: spawn(gevlite.asyncio.run, {_name(function)}())")
        raise TypeError(_HINT.format(function))
    if gevlite_is_async(function):
        raise TypeError(
            f"{_name(function)} is async, so calling it runs nothing: spawn(gevlite.asyncio.run, {_name(function)}(...))"
        )
    return 0


def _name(function):
    return getattr(function, "__name__", None) or repr(function)


cdef object trace_of(object function):
    """What a greenlet that has ended remembers of its function, for its repr: a code object, or a name."""
    cdef PyObject *code
    cdef object found
    if function is None:
        return None
    code = gevlite_code_of(function)
    if code != NULL:
        found = <object> code
        Py_DECREF(found)
        return found
    try:
        found = getattr(function, "__qualname__", None)
        return found if type(found) is str else _call_name(function)
    except Exception:
        return type(function).__qualname__


def _trace_of(function):
    """`trace_of` for Python code."""
    return trace_of(function)


def _call_name(function):
    """The name of a function, or of what is left of it."""
    if PyCode_Check(function):
        return function.co_qualname.rpartition("<locals>.")[2]
    if isinstance(function, str):
        return function.rpartition("<locals>.")[2]
    if isinstance(function, functools.partial):
        return f"partial({_call_name(function.func)})"
    name = getattr(function, "__qualname__", None)
    return name.rpartition("<locals>.")[2] if isinstance(name, str) else type(function).__qualname__


cdef inline PyObject *kwargs_of(Greenlet g) noexcept:
    return <PyObject *> g._kwargs if g._kwargs is not None else NULL


cdef int copy_context_to(greenlet spawner, greenlet made) except -1:
    """Let `made` run in a copy of the current contextvars context.

    A greenlet without one starts empty, so that an empty context, the usual case, need not be copied.
    """
    context = spawner.gr_context
    if context is not None and len(context):
        made.gr_context = PyContext_CopyCurrent()
    return 0


cdef class Greenlet(CoreGreenlet):
    """Greenlet(run=None, *args, **kwargs)\n--\n
    A function running concurrently on the hub of the thread that made it.

    Give a callable and its arguments, or subclass and define `_run(self, *args, **kwargs)`, or set `_run` before it
    begins; without any it does nothing. It begins when the current greenlet next blocks, after `start()`; `spawn()` does
    both. It runs in a copy of the contextvars context of its maker.

    Usable in `with`, whose end waits for its end; if the block raises, that is raised in the greenlet too, as by `kill`.
    """

    cdef object fn
    cdef tuple _args
    cdef dict _kwargs
    cdef object _value
    cdef object _error              # the exception it ended with
    cdef object _traceback
    cdef WaitList waiters
    cdef list callbacks             # of LinkCall: the links
    cdef list end_callbacks         # of _on_end
    cdef Timer start_timer
    cdef object _ident
    cdef object _name
    cdef object _spawner            # weak reference
    cdef object _tree_locals
    cdef object _stack              # where it was made: a StackSummary, or a code object
    cdef int _instruction           # the place in that code object
    cdef bint begun
    cdef bint linking               # it has ended, and what its links have spawned may not have begun yet

    __class_getitem__ = classmethod(GenericAlias)

    def __init__(self, run=None, *args, **kwargs):
        if run is not None:
            check_function(run)
            self.fn = run
        self._prepare(args, kwargs)

    cdef int _prepare(self, tuple args, dict kwargs) except -1:
        cdef greenlet spawner = current_greenlet()
        self._args = args
        self._kwargs = kwargs if kwargs else None
        copy_context_to(spawner, self)
        self._spawner = PyWeakref_NewRef(spawner, None)
        if isinstance(spawner, Greenlet):
            self._tree_locals = (<Greenlet> spawner).spawn_tree_locals
        if _stack_limit == 1:
            self._note_caller()
        elif _stack_limit:
            self._stack = _capture_stack(_stack_limit)
        return 0

    cdef int _note_caller(self) except -1:
        cdef PyObject *code = gevlite_caller(&self._instruction)
        if code != NULL:
            self._stack = <object> code
            Py_DECREF(self._stack)
        return 0

    cdef tuple identity(self):
        cdef object name = self._name
        if name is None and self._ident is not None:
            name = f"Greenlet-{self._ident}"
        return name if type(name) is str else None, self.fn, self._spawner, self._stack, self._instruction

    # -------- life

    def run(self):
        """The body of the greenlet; switched to by the hub, not to be called."""
        # Kept small: it stays on the stack of every parked greenlet.
        cdef object fn
        if self.life != FINISHED:       # else killed before it began, and now switched to by hand
            fn = self._begin()
            self._finish(raw_call(fn, self._args, kwargs_of(self)))

    cdef object _begin(self):
        self.begin()
        self.begun = True
        return self._run if self.fn is None else self.fn

    cdef int _finish(self, PyObject *result) except -1:
        """The function has returned `result`, a new reference, or raised (NULL)."""
        if result != NULL:
            self.end()
            self._value = <object> result
            Py_DECREF(self._value)
        else:
            try:
                raise_it()
            except BaseException as exc:
                self.end()
                self._failed(exc)
        return self._ended()

    cdef int _failed(self, object exc) except -1:
        if isinstance(exc, GreenletExit):
            # The frames that the traceback holds are freed here, in this greenlet and its context, and not where the
            # last reference to the result is dropped: destructors may block, and a context variable is reset where it
            # was set.
            exc.__traceback__ = None
            exc.__context__ = None
            self._value = exc
            return 0
        self._error = exc
        self._traceback = exc.__traceback__
        self._report_error(exc)
        return 0

    def _report_error(self, exc):
        """Called with the error that ends it. A subclass whose errors are raised elsewhere does nothing here."""
        self.hub._report(self, exc)

    cdef int _ended(self) except -1:
        self.fn = trace_of(self.fn)
        self._args = ()
        self._kwargs = None
        self.locals = None
        if self.callbacks:
            links_due(self.callbacks, self)
        if self.end_callbacks is not None:
            self._call_end_callbacks()
        if self.callbacks:
            self.linking = True
            self._after_links(self._notify)
        else:
            notify_all(&self.waiters, self)
        return 0

    def _notify(self):
        notify_all(&self.waiters, self)
        if self.hub.started and not self.hub.closed:
            self.hub._call_soon(self._links_have_run, ())       # behind the greenlets that they have spawned
        else:
            self.linking = False

    def _links_have_run(self):
        self.linking = False

    cdef bint _links_are_due(self, object timeout) except -1:
        """True if links that must run before the waiting greenlet goes on have not been called, or not begun."""
        cdef greenlet me
        if self.life != FINISHED or not self.hub.started or self.hub.closed:
            return False
        if isinstance(timeout, (int, float)) and timeout <= 0:
            return False            # it must not block
        # A link itself may be asking, in the hub or in the raw greenlet that it runs in: it does not wait.
        me = current_greenlet()
        return isinstance(me, CoreGreenlet) or me.parent is None

    cdef int _let_links_run(self) except -1:
        """Block until the links have run: for a turn or two of the loop."""
        cdef Waiter w = new_waiter(current_hub(), WAIT_GREENLET, NULL)
        self.hub._call_soon((<object> w).wake, ())
        wait_on(w, -1)
        return 0

    def _after_links(self, function):
        """Call `function` when the links that were due at its end have been called, and what they spawned has begun.

        The hub makes its calls one after the other, and those links come first.
        """
        if self.life == FINISHED and self.callbacks and self.hub.started and not self.hub.closed:
            self.hub._call_soon(function, ())
        else:
            function()

    cdef int _call_end_callbacks(self) except -1:
        cdef list callbacks = self.end_callbacks
        self.end_callbacks = None
        for callback in callbacks:
            try:
                callback(self)
            except BaseException as exc:
                self.hub._report(callback, exc)
        return 0

    def _on_end(self, callback):
        """Have `callback(self)` called where it ends, before its waiters are woken. It must not block.

        False, and no call, if it has ended. This is how a pool counts: after a `join` of a member its place is free, and it
        becomes free even if the hub is being destroyed.
        """
        if self.life == FINISHED:
            return False
        if self.end_callbacks is None:
            self.end_callbacks = [callback]
        else:
            self.end_callbacks.append(callback)
        return True

    def _off_end(self, callback):
        """Take back `_on_end`. An unknown one is ignored."""
        if self.end_callbacks is not None and callback in self.end_callbacks:
            self.end_callbacks.remove(callback)

    def start(self):
        """Have the hub begin it soon. Does not block. Starting it again does nothing."""
        self._start()

    cdef int _start(self) except -1:
        if self.life != UNSTARTED or self.start_timer is not None:
            return 0
        self.life = SCHEDULED
        self.hub.push_start(self, None)
        self.hub.n_spawned += 1
        if _spawn_callbacks is not None:
            for callback in _spawn_callbacks:
                callback(self)
        return 0

    def start_later(self, seconds):
        """Have the hub begin it in `seconds`. Raises ValueError for a negative time."""
        if self.life != UNSTARTED or self.start_timer is not None:
            return
        self.start_timer = self.hub.call_later(seconds, self._start_now)
        if _spawn_callbacks is not None:
            for callback in _spawn_callbacks:
                callback(self)

    def _start_now(self):
        self.start_timer = None
        if self.life == UNSTARTED:
            self.life = SCHEDULED
            self.hub.push_start(self, None)
            self.hub.n_spawned += 1

    def _put_off(self, seconds):
        """If it was started and has not begun: begin it in `seconds` instead. False if that is not so.

        For a spawn callback that decides so. The entry in the ready queue stays, and then finds it not started.
        """
        if self.life != SCHEDULED:
            return False
        self.start_timer = self.hub.call_later(seconds, self._start_now)
        self.life = UNSTARTED
        self.hub.n_spawned -= 1         # it will be counted later
        return True

    @classmethod
    def spawn(cls, *args, **kwargs):
        """Make one with these arguments and start it."""
        if cls is Greenlet and args and args[0] is None:
            raise TypeError(_HINT.format(None))
        g = cls(*args, **kwargs)
        g.start()
        return g

    @classmethod
    def spawn_later(cls, seconds, *args, **kwargs):
        """Make one with these arguments and start it in `seconds`."""
        if cls is Greenlet and (not args or args[0] is None):
            raise TypeError("a greenlet runs something callable: spawn_later(seconds, function)")
        if callable(seconds):
            raise TypeError(f"the seconds come first: spawn_later(seconds, {_name(seconds)})")
        g = cls(*args, **kwargs)
        g.start_later(seconds)
        return g

    cdef int _kill(self, object exception) except -1:
        """Deliver `exception`; 1 if it may take a while to die."""
        if self.life == FINISHED:
            return 0
        if self.life != RUNNING:
            # First: its class may be code of the program, in which other greenlets may run.
            exc = exception if isinstance(exception, BaseException) else exception()
            if self.life == FINISHED or self.life == RUNNING:
                return self._kill(exc)
            # Its ready entry, if there is one, will be skipped.
            self.life = FINISHED
            if self.start_timer is not None:
                self.start_timer.stop()
                self.start_timer = None
            if isinstance(exc, GreenletExit):
                self._value = exc
            else:
                self._error = exc
            self._ended()
            return 0
        throw_into(self.hub, self, exception)
        return 1

    def kill(self, exception=GreenletExit, block=True, timeout=None):
        """Raise `exception` (a class or an instance) in it, where it is parked or at its next blocking call.

        One that has not begun never will. With `block`, wait until it has ended, at most `timeout` seconds. Killing
        it again, or after it ended, does nothing.
        """
        _check_exception(exception)
        if block and current_greenlet() is self:
            raise exception
        if self._kill(exception) and block:
            self.join(timeout)

    def throw(self, *args):
        """Raise in it at once, switching there from the current greenlet; as `greenlet.throw`. Prefer `kill()`.

        One that has not begun ends with the exception.
        """
        if self.life == RUNNING or self.life == FINISHED:
            belongings = lay_down()
            try:
                return greenlet.throw(self, *args)
            finally:
                take_up(belongings)
        exc = args[0] if args else GreenletExit
        if len(args) > 1 and args[1] is not None:
            exc = args[1] if isinstance(args[1], BaseException) else args[0](args[1])
        self._kill(exc)

    # -------- results

    cpdef bint ready(self):
        """True if it has ended, one way or another."""
        return self.life == FINISHED

    cpdef bint successful(self):
        """True if it has ended without an error; GreenletExit is no error."""
        return self.life == FINISHED and self._error is None

    @property
    def dead(self):
        """True if it has ended."""
        return self.life == FINISHED

    @property
    def started(self):
        """True from `start()` on, until it has ended."""
        return self.life == SCHEDULED or self.life == RUNNING or self.start_timer is not None

    def __bool__(self):
        return self.started

    @property
    def value(self):
        """What it returned; None before that or after an error; a GreenletExit if it was killed."""
        return self._value

    @property
    def exception(self):
        """The exception it ended with, or None."""
        return self._error

    @property
    def exc_info(self):
        """`(type, exception, traceback)` of the error it ended with; empty if there was none."""
        if self._error is None:
            return ()
        return (type(self._error), self._error, self._traceback)

    cdef int _wait(self, int64_t timeout) except -1:
        """Block until it has ended, at most `timeout` nanoseconds. 1 if it has, 0 if the time is over."""
        cdef Waiter w
        if self.life == FINISHED:
            return 1
        w = new_waiter(current_hub(), WAIT_GREENLET, <PyObject *> self)
        if self.life == FINISHED:
            return 1
        waitlist_append(&self.waiters, w)
        wait_on(w, timeout)
        return self.life == FINISHED

    def join(self, timeout=None):
        """Block until it has ended, at most `timeout` seconds. Never raises its error."""
        if self.life != FINISHED:
            if current_greenlet() is self:
                raise RuntimeError("a greenlet cannot wait for its own end")
            if isinstance(timeout, Timeout):
                within(timeout, None, (<object> Greenlet).join, (self,))
            else:
                self._wait(timeout_ns(timeout))
        elif (self.linking or self.callbacks) and self._links_are_due(timeout):
            self._let_links_run()
        else:
            give_way_within(timeout)

    def get(self, block=True, timeout=None):
        """Return what it returned or raise what it raised; block until it has ended, at most `timeout` seconds.

        Raises Timeout when the time is over, or at once if `block` is false and it has not ended.
        """
        if self.life != FINISHED:
            if not block:
                raise Timeout()
            if current_greenlet() is self:
                raise RuntimeError("a greenlet cannot wait for its own end")
            if isinstance(timeout, Timeout):
                return within(timeout, RAISE, (<object> Greenlet).get, (self,))
            if not self._wait(timeout_ns(timeout)):
                raise expired(timeout)
        elif block:
            if (self.linking or self.callbacks) and self._links_are_due(timeout):
                self._let_links_run()
            else:
                give_way_within(timeout)
        if self._error is not None:
            raise self._error.with_traceback(self._traceback)
        return self._value

    def __await__(self):
        """`await greenlet`: its value or error, in a coroutine, which kills it when it is cancelled itself.

        If it was killed, that is asyncio.CancelledError. Needs a loop of `gevlite.asyncio`.
        """
        return await_it(self)

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        if exc_type is None:
            try:
                self.join()
            except BaseException:
                self.kill()
                raise
        else:
            # The block's error is the reason. But an exception that ends the whole program would go from the greenlet
            # to the main greenlet once more.
            self.kill(exc_value if isinstance(exc_value, (Exception, Timeout)) else GreenletExit)
            exc_value.__traceback__ = traceback         # without the frames of the greenlet

    # -------- links

    def rawlink(self, callback):
        """Have the hub call `callback(self)` when it has ended (soon, if it has).

        Links are called in their order, and before a greenlet that waits for the end of this one goes on.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        link = LinkCall.__new__(LinkCall, self.hub, callback)
        if self.callbacks is None:
            self.callbacks = [link]
        else:
            self.callbacks.append(link)
        if self.life == FINISHED:
            links_due(self.callbacks, self)

    def link(self, callback, SpawnedLink=SpawnedLink):
        """Run `callback(self)` in a new greenlet when it has ended."""
        self.rawlink(SpawnedLink(callback))

    def link_value(self, callback, SpawnedLink=SuccessSpawnedLink):
        """`link`, but only if it ends without an error."""
        self.rawlink(SpawnedLink(callback))

    def link_exception(self, callback, SpawnedLink=FailureSpawnedLink):
        """`link`, but only if it ends with an error."""
        self.rawlink(SpawnedLink(callback))

    def unlink(self, callback):
        """Take back a link, also when the call is due already. An unknown one is ignored."""
        if self.callbacks is not None:
            unlink_from(self.callbacks, callback)

    def unlink_all(self):
        """Take back all links."""
        while self.callbacks:
            (<LinkCall> self.callbacks.pop()).stop()

    def has_links(self):
        """The number of links that are still to be called."""
        return len(self.callbacks) if self.callbacks is not None else 0

    # -------- what it is

    @property
    def _run(self):
        """The callable that it was given; without one, a function that does nothing."""
        return self.fn if self.fn is not None and self.life != FINISHED else _nothing

    @_run.setter
    def _run(self, value):
        self.fn = value

    @property
    def args(self):
        """The positional arguments; emptied when it has ended."""
        return self._args

    @args.setter
    def args(self, value):
        self._args = tuple(value)

    @property
    def kwargs(self):
        """The keyword arguments; emptied when it has ended."""
        if self._kwargs is None:
            self._kwargs = {}
        return self._kwargs

    @kwargs.setter
    def kwargs(self, value):
        self._kwargs = dict(value)

    @property
    def loop(self):
        """`hub.loop` of its hub."""
        return self.hub.loop

    @property
    def minimal_ident(self):
        """A small number that no other greenlet of the process has."""
        if self._ident is None:
            self._ident = next(_idents)
        return self._ident

    @property
    def name(self):
        """A name for people; `Greenlet-N` unless it was set."""
        if self._name is None:
            self._name = f"Greenlet-{self.minimal_ident}"
        return self._name

    @name.setter
    def name(self, value):
        self._name = value

    @property
    def spawning_greenlet(self):
        """A weak reference to the greenlet that made it; call it to get the greenlet or None."""
        return self._spawner

    @property
    def spawn_tree_locals(self):
        """A dict shared by all greenlets that descend from the same one."""
        if self._tree_locals is None:
            self._tree_locals = {}
        return self._tree_locals

    @spawn_tree_locals.setter
    def spawn_tree_locals(self, value):
        self._tree_locals = value

    @property
    def spawning_stack(self):
        """Where it was made, a `traceback.StackSummary` of the innermost frame, or of as many as
        `set_spawning_stack_limit` says; None if that is 0, or if no Python code made it."""
        if self._stack is None or isinstance(self._stack, list):
            return self._stack
        from traceback import StackSummary

        found = frame_summary(self._stack, self._instruction)
        return None if found is None else StackSummary.from_list([found])

    @property
    def spawning_stack_limit(self):
        """How many frames `spawning_stack` of new greenlets holds, see `set_spawning_stack_limit`."""
        return _stack_limit

    @staticmethod
    def set_spawning_stack_limit(limit):
        """Remember so many frames where each greenlet is made. 1, the default, costs next to nothing, more do; 0 is none."""
        global _stack_limit
        if limit < 0:
            raise ValueError("the limit must not be negative")
        _stack_limit = limit

    @staticmethod
    def add_spawn_callback(callback):
        """Have `callback(greenlet)` called at each start of a greenlet, in the greenlet that starts it."""
        global _spawn_callbacks
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if _spawn_callbacks is None:
            _spawn_callbacks = (callback,)
        elif callback not in _spawn_callbacks:
            _spawn_callbacks += (callback,)

    @staticmethod
    def remove_spawn_callback(callback):
        """Take back `add_spawn_callback`. An unknown one is ignored."""
        global _spawn_callbacks
        if _spawn_callbacks is not None:
            _spawn_callbacks = tuple([c for c in _spawn_callbacks if c != callback]) or None

    def _repr_call(self):
        """What it runs, or ran, in words for `repr`; None if it was given no function."""
        global _in_arguments
        fn = self.fn
        if fn is None:
            return None
        if PyCode_Check(fn) or isinstance(fn, str) or _in_arguments:
            return _call_name(fn)
        _in_arguments = True
        try:
            given = [_short(a) for a in self._args]
            if self._kwargs is not None:
                given += [f"{k}={_short(v)}" for k, v in self._kwargs.items()]
        finally:
            _in_arguments = False
        return f"{_call_name(fn)}({', '.join(given)})"

    cdef object _state(self):
        """Whether it runs, waits or has ended, in words for `repr`; None while its end is reported."""
        if self.life == FINISHED:
            if current_greenlet() is self:
                return None
            if self._error is not None:
                return f"failed: {type(self._error).__name__}"
            return "killed" if isinstance(self._value, GreenletExit) else "ended"
        if self.life != RUNNING:
            return "not begun"
        if self.waiter != NULL:
            return "parked" if (<Waiter> self.waiter).state == PARKED else "ready"
        # A greenlet without a Waiter was switched away by hand; one of another thread may also be running right now.
        return "running" if current_greenlet() is self or self.hub is not get_hub_if_exists() else "switched away"

    def __repr__(self):
        text = f'<{type(self).__name__} "{self.name}" at {<size_t> <PyObject *> self:#x}'
        call = self._repr_call()
        state = self._state()
        if call is not None:
            text += f": {call}"
        return text + (">" if state is None else f", {state}>")

    def __dealloc__(self):
        waitlist_clear(&self.waiters)


def _nothing(*args, **kwargs):
    """Run by a greenlet that was given no function."""


def _short(value):
    try:
        text = repr(value)
    except Exception as exc:
        return f"<unprintable {type(value).__name__}: {type(exc).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."


def _capture_stack(limit):
    import traceback

    return traceback.extract_stack(sys._getframe(), limit=limit)


cdef int _check_exception(object exception) except -1:
    if isinstance(exception, BaseException):
        return 0
    if isinstance(exception, type) and issubclass(exception, BaseException):
        return 0
    raise TypeError(f"exceptions must be classes or instances of BaseException, not {exception!r}")


# ---------------------------------------------------------------- starting and ending

def spawn(run, /, *args, **kwargs):
    """Start `run(*args, **kwargs)` in a new Greenlet, which begins when the current one next blocks. Returns it.

    Raises TypeError if `run` cannot be called, or is async.
    """
    cdef Greenlet g
    check_function(run)
    g = Greenlet.__new__(Greenlet)
    g.fn = run
    g._prepare(args, kwargs)
    g._start()
    return g


def spawn_later(seconds, run, /, *args, **kwargs):
    """`spawn` that begins in `seconds`. Raises ValueError for a negative time."""
    return Greenlet.spawn_later(seconds, run, *args, **kwargs)


def spawn_raw(function, /, *args, **kwargs):
    """Start a bare `greenlet.greenlet`: the least overhead, but nothing to join, kill politely or read a result from."""
    cdef Hub hub
    check_function(function)
    if kwargs:
        function = functools.partial(function, **kwargs)
    hub = current_hub()
    g = _RawGreenlet(function, hub)
    copy_context_to(current_greenlet(), g)
    hub.push_start(g, args)
    hub.n_spawned += 1
    return g


cdef Hub hub_of(greenlet g):
    """The hub of the thread of a raw greenlet."""
    cdef object parent
    if isinstance(g, CoreGreenlet):
        return (<CoreGreenlet> g).hub
    parent = g
    while parent is not None:
        if isinstance(parent, Hub):
            return <Hub> parent
        parent = parent.parent
    return current_hub()


def kill(greenlet, exception=GreenletExit):  # no-cython-lint
    """Have `exception` raised in any greenlet, gevlite's or a bare one, soon. Does not wait for its end."""
    _check_exception(exception)
    if isinstance(greenlet, Greenlet):
        (<Greenlet> greenlet)._kill(exception)
    elif not isinstance(greenlet, _RawGreenlet):
        raise TypeError(f"expected a greenlet, not {greenlet!r}")
    elif not greenlet.dead:
        throw_into(hub_of(greenlet), greenlet, exception)


def killall(greenlets, exception=GreenletExit, block=True, timeout=None):
    """Kill all of `greenlets`. With `block`, wait until they have ended; Timeout is raised after `timeout` seconds."""
    _check_exception(exception)
    dying = []
    me_too = False
    for g in several(greenlets, "killall"):
        if g is getcurrent():
            me_too = True
        elif isinstance(g, Greenlet):
            if (<Greenlet> g)._kill(exception):
                dying.append(g)
        else:
            kill(g, exception)
    if block and dying:
        if isinstance(timeout, Timeout):
            within(timeout, RAISE, joinall, (dying,))
        elif len(joinall(dying, timeout)) < len(dying):
            raise expired(timeout)
    if me_too:
        if block:
            raise exception
        kill(getcurrent(), exception)


include "_many.pxi"


# ---------------------------------------------------------------- what greenlets wait for, in words

def _describe_end(what, waiter):
    return f"the end of {greenlet_name(what)}", [what], 0


def _describe_ends(what, waiter):
    cdef _Collector collector = what
    cdef list places = collector.links if collector.links is not None else []
    cdef list greenlets = []
    cdef Py_ssize_t missing = collector.wanted - len(collector.ready)
    for link in places:
        if isinstance(link, _CollectPlace) and (<_CollectPlace> link).list != NULL:
            greenlets.append(<object> (<_CollectPlace> link).source)
    if len(places) == 1 and len(greenlets) == 1:
        return f"the end of {greenlet_name(greenlets[0])}", greenlets, 0
    if len(greenlets) == len(places):
        if missing == len(greenlets):
            return f"the end of {missing} greenlets", greenlets, 0
        return f"the end of {missing} of {len(greenlets)} greenlets", None, 0
    return f"{missing} of {len(places)} objects", None, 0


register_description(Greenlet, _describe_end)
register_description(_Collector, _describe_ends)

set_spawn_callbacks(Greenlet.add_spawn_callback, Greenlet.remove_spawn_callback)
