"""Threads that are greenlets: a twin of the low-level `_thread` module.

`start_new_thread` starts a greenlet on the hub of the calling OS thread. To wait for the end of a thread, the standard
`threading` module needs a lock that the interpreter releases (up to Python 3.12) or a handle (from 3.13 on); both are
here.

As with real threads, only the thread that forks continues in the child; the others never run again there.
"""

import _thread as _std
import builtins
import contextvars
import os
import sys

from gevlite import _twin
from gevlite._core import abandon_greenlet, abandon_main, abandon_others, get_hub_if_exists, is_finalizing
from gevlite._threadlock import Lock, RLock, get_ident, report_thread_error
from gevlite._workers import count_workers
from gevlite.event import Event
from gevlite.greenlet import Greenlet, GreenletExit, _call_name, _trace_of, getcurrent
from gevlite.local import local as _local

__target__ = "_thread"
__implements__ = [
    "LockType",
    "RLock",
    "_count",
    "_local",
    "allocate",
    "allocate_lock",
    "get_ident",
    "start_new",
    "start_new_thread",
]
__imports__ = _twin.present(
    _std, "TIMEOUT_MAX", "daemon_threads_allowed", "error", "exit", "exit_thread", "get_native_id", "interrupt_main",
    "stack_size",
)  # fmt: skip
_twin.take_over(globals(), _std, __imports__)

if not hasattr(_std, "daemon_threads_allowed"):

    def daemon_threads_allowed():
        """True: interpreters without daemon threads exist only since Python 3.12."""
        return True


_std_count = _std._count

LockType = allocate_lock = allocate = Lock

# All threads that were started and have not ended.
_running = set()


class ThreadGreenlet(Greenlet):
    """The greenlet of a thread: it calls `function(*args, **kwargs)`, then wakes the waiters for its end."""

    # Notified when it has ended: a _ThreadEnd or a _ThreadHandle.
    end = None

    def __init__(self, function, args, kwargs):
        Greenlet.__init__(self, None, function, args, kwargs)
        # The Thread whose greenlet it is, or None, and the function that it runs: both for reports.
        thread = getattr(function, "__self__", None)
        self._thread = thread if hasattr(thread, "_bootstrap") else None
        self._runs = _trace_of(getattr(self._thread, "_target", None) if self._thread is not None else function)
        self.gr_context = contextvars.Context()  # a new thread begins with an empty one
        self.rawlink(_ended)

    def _run(self, function, args, kwargs):
        try:
            function(*args, **kwargs)
        except (SystemExit, GreenletExit):
            pass
        except BaseException as exc:
            report_thread_error(exc, function)

    @property
    def name(self):
        """The name of its Thread; `Greenlet-N` if it has none."""
        return Greenlet.name.__get__(self) if self._thread is None else self._thread.name

    @name.setter
    def name(self, value):
        if self._thread is None:
            Greenlet.name.__set__(self, value)
        else:
            self._thread.name = value

    def _forget_thread(self):
        """Keep of the Thread what reports say, and not what it refers to."""
        thread = self._thread
        if self._runs is None:
            self._runs = type(thread).__qualname__
        self._thread = None
        self.name = thread.name

    def _repr_call(self):
        if self._thread is not None and self._runs is None:
            return type(self._thread).__qualname__
        return _call_name(self._runs)


def _ended(greenlet):
    _running.discard(greenlet)
    try:
        # What only the thread refers to is finalized before join() returns. Otherwise the hub would do it later, and
        # that may never run again.
        if greenlet._thread is not None:
            greenlet._forget_thread()
    finally:
        if greenlet.end is not None:
            greenlet.end.finish()
    if _forked_by_thread and not _running:
        _exit_process()


def _start(greenlet):
    _running.add(greenlet)
    greenlet.start()
    return get_ident(greenlet)


def start_new_thread(function, args=(), kwargs=None):
    """Run `function(*args, **kwargs)` in a new greenlet of this OS thread. Does not block. Returns its `get_ident()`.

    An exception that ends it goes to `sys.unraisablehook`; SystemExit ends it quietly.
    """
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    if sys.version_info >= (3, 12):  # before, the original raises no event
        sys.audit("_thread.start_new_thread", function, args, kwargs)
    return _start(ThreadGreenlet(function, args, kwargs or {}))


start_new = start_new_thread


def _count():
    """The number of running threads, without the main thread and gevlite's own worker threads."""
    return len(_running) + max(0, _std_count() - count_workers())


if hasattr(_std, "set_name"):
    __implements__ += ["set_name"]
    _std_set_name = _std.set_name

    def set_name(name):
        """Set the name of the OS thread that the system's tools show, if its main greenlet calls this.

        The other greenlets share the OS thread, so their names are not its name.
        """
        if getcurrent().parent is None:
            _std_set_name(name)
        elif not isinstance(name, str):
            raise TypeError(f"set_name() argument 'name' must be str, not {type(name).__name__}")


# ---------------------------------------------------------------- the end of a thread

# PythonFinalizationError of Python 3.13 and later is also a RuntimeError.
_FinalizationError = getattr(builtins, "PythonFinalizationError", RuntimeError)


def _will_not_end(timeout):
    """Wait for the end of a thread that never runs again, because the interpreter is ending.

    With a time-out, returns False at once: otherwise the whole time would be lost for each thread of a pool. Without
    one, raises an error, as Python 3.14 does; earlier versions block for ever.
    """
    if timeout is None:
        raise _FinalizationError("cannot join this thread at the end of the interpreter: it will never run again")
    return False


def _wait_for_end(ended, late, timeout):
    """Block until `ended`, at most `timeout` seconds (None or a negative number: for ever). True if it is.

    late: a finalizer has started the thread, so it still runs.
    """
    if timeout is not None and timeout < 0:
        timeout = None
    if not late and is_finalizing() and not ended.is_set():
        return _will_not_end(timeout)
    return ended.wait(timeout)


# ---------------------------------------------------------------- up to Python 3.12


class _ThreadEnd:
    """Looks like a lock that its thread holds as long as it lives: acquiring it means waiting for the thread's end.

    It is not handed from one waiter to the next: after the end, all waiters get it at once.
    """

    def __init__(self):
        self._at_fork_reinit()

    def _at_fork_reinit(self):
        self._begun = False
        self._late = False
        self._ended = Event()

    def finish(self):
        """The thread has ended."""
        self._ended.set()

    def acquire(self, blocking=True, timeout=-1):
        """The first call, by the thread itself, marks it as alive. Later calls block until it has ended."""
        if not self._begun:
            self._begun = True
            self._late = is_finalizing()
            return True
        if not blocking:
            return self._ended.is_set()
        return _wait_for_end(self._ended, self._late, timeout)

    def release(self):
        """A waiter has nothing to release. `threading` calls this to say that the main thread has ended."""
        self._ended.set()

    def locked(self):
        """True while the thread lives."""
        return self._begun and not self._ended.is_set()


def _set_sentinel():
    """The `_ThreadEnd` of the running greenlet, released when that has ended."""
    end = _ThreadEnd()
    me = getcurrent()
    if isinstance(me, ThreadGreenlet):
        me.end = end
    return end


# ---------------------------------------------------------------- from Python 3.13 on


class _ThreadHandle:
    """Waits for the end of a thread that is a greenlet."""

    def __init__(self):
        self.ident = 0
        self._started = False
        self._late = False
        self._ended = Event()

    def finish(self):
        self._ended.set()

    def is_done(self):
        """True if the thread has ended."""
        return self._ended.is_set()

    def join(self, timeout=None):
        """Block until the thread has ended, at most `timeout` seconds (None or a negative number: for ever)."""
        if not self._started:
            raise RuntimeError("thread not started")
        if not self._ended.is_set() and self.ident == get_ident():
            raise RuntimeError("Cannot join current thread")
        _wait_for_end(self._ended, self._late, timeout)

    def _set_done(self):
        if not self._started:
            raise RuntimeError("thread not started")
        self._ended.set()

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__qualname__} object: ident={self.ident}>"


# The threads that the interpreter waits for at its end: not daemons, not ended.
_joined_at_exit = set()


def start_joinable_thread(function, handle=None, daemon=True):
    """Like `start_new_thread`, for a function without arguments. Returns a handle with `join()`."""
    if not callable(function):
        raise TypeError("thread function must be callable")
    if handle is not None and not isinstance(handle, _ThreadHandle):
        raise TypeError("'handle' must be a _ThreadHandle")
    sys.audit("_thread.start_joinable_thread", function, int(bool(daemon)), handle)
    if handle is None:
        handle = _ThreadHandle()
    if handle._started:
        raise RuntimeError("thread already started")
    greenlet = ThreadGreenlet(function, (), {})
    greenlet.end = handle
    handle._started = True
    handle._late = is_finalizing()
    handle.ident = _start(greenlet)
    if not daemon:
        _joined_at_exit.difference_update([h for h in _joined_at_exit if h.is_done()])
        _joined_at_exit.add(handle)
    return handle


def _make_thread_handle(ident):
    """A handle for a thread that was started in another way."""
    handle = _ThreadHandle()
    handle.ident = ident
    handle._started = True
    return handle


def _shutdown():
    """Block until every thread that is not a daemon has ended."""
    while _joined_at_exit:
        handle = _joined_at_exit.pop()
        if handle.ident != get_ident():
            handle.join()
    _std_shutdown()


# The main thread's ident; below it, that of the parent process. `threading` asks for it after a fork.
_main_idents = []


def _get_main_thread_ident():
    """The `get_ident()` of the main thread: in the child of a fork, of the greenlet that forked."""
    return _main_idents[-1]


if hasattr(_std, "start_joinable_thread"):
    lock = Lock
    _std_shutdown = _std._shutdown
    _main_idents.append(_std._get_main_thread_ident())
    __implements__ += [
        "_ThreadHandle",
        "_get_main_thread_ident",
        "_make_thread_handle",
        "_shutdown",
        "lock",
        "start_joinable_thread",
    ]
else:
    __implements__ += ["_set_sentinel"]

__all__ = [name for name in __implements__ + __imports__ if not name.startswith("_")]


# ---------------------------------------------------------------- fork


def _before_fork():
    _main_idents.append(get_ident())


# Whether a thread other than the parent's main one forked this process. Then only that thread's code runs here.
_forked_by_thread = False


def _after_fork_in_child():
    global _forked_by_thread
    me = getcurrent()
    for greenlet in list(_running):
        if greenlet is not me:
            abandon_greenlet(greenlet.hub, greenlet)
            if greenlet.end is not None:
                greenlet.end.finish()
    _running.clear()
    _joined_at_exit.clear()
    if isinstance(me, ThreadGreenlet):
        _running.add(me)
        _forked_by_thread = True
        abandon_main(me.hub)
    if _is_forked_by_multiprocessing():
        # It must not run the program again: another pair of greenlets would read from the same pipes.
        hub = get_hub_if_exists()
        if hub is not None:
            abandon_others(hub)


def _is_forked_by_multiprocessing():
    forker = sys._getframe(2)  # the frame that forked: the caller of this function is a hook
    return forker is not None and forker.f_globals.get("__name__") == "multiprocessing.popen_fork"


def _exit_process():
    """The last thread of such a process has ended: as with real threads, the process ends, and nothing else runs."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # it is closed, or its reader is gone: no matter now
            pass
    os._exit(0)


os.register_at_fork(before=_before_fork, after_in_parent=_main_idents.pop, after_in_child=_after_fork_in_child)
