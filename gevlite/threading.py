"""The names that make the standard `threading` module use greenlets, for `gevlite.monkey`; not meant for direct use.

The standard classes stay: Thread, Condition, Event, Semaphore, Barrier and Timer are built on a few low-level names of
their module, and the twins here replace those. So classes that were derived from Thread before patching work too.
"""

import sys
import threading as _std
import weakref

from gevlite import _twin, thread
from gevlite._adopted import acquire_in_thread
from gevlite._core import get_hub, get_hub_if_exists, is_finalizing, sleep
from gevlite._threadlock import Lock, RLock, get_ident
from gevlite._workers import name_of_worker
from gevlite.greenlet import Greenlet, GreenletExit, getcurrent
from gevlite.local import local
from gevlite.timeout import Timeout

__target__ = "threading"
__implements__ = ["Lock", "_CRLock", "_DummyThread", "_allocate_lock", "_make_invoke_excepthook", "get_ident", "local"]

_allocate_lock = Lock
_CRLock = RLock

_std_make_invoke_excepthook = _std._make_invoke_excepthook


def _make_invoke_excepthook():
    """Like the original, but a killed thread is not an error, and a KeyboardInterrupt goes to the main greenlet.

    A signal handler runs in the current greenlet, which may be that of a thread.
    """
    invoke = _std_make_invoke_excepthook()

    def invoke_excepthook(thread):
        exc = sys.exception()
        if isinstance(exc, GreenletExit):
            return
        hub = get_hub_if_exists()
        if isinstance(exc, KeyboardInterrupt) and hub is not None and getcurrent() is not hub.parent:
            hub.handle_system_error(type(exc), exc, exc.__traceback__)
            return
        invoke(thread)

    return invoke_excepthook


class _DummyThread(_std._DummyThread):
    """Stands for something that runs but that `threading` has not started: a greenlet, or an OS thread.

    Its name is the greenlet's, whichever of them is changed: log records have the name of the thread.
    """

    _greenlet = None
    _known_as = None

    def __init__(self):
        super().__init__()
        me = getcurrent()
        if isinstance(me, Greenlet):
            self._greenlet = weakref.ref(me)
            self._known_as = me.name
        else:
            self._known_as = name_of_worker() or self._known_as
        _when_ended(self)

    @property
    def _name(self):
        me = self._greenlet() if self._greenlet is not None else None
        if me is not None:
            self._known_as = me.name
        return self._known_as

    @_name.setter
    def _name(self, value):
        me = self._greenlet() if self._greenlet is not None else None
        if me is not None:
            me.name = value
        self._known_as = value


if hasattr(thread, "set_name"):
    # Since Python 3.14 a Thread gives its name to the OS thread that it runs in.
    __implements__ += ["_set_name"]
    _set_name = thread.set_name


# Seconds between two checks whether an OS thread has ended, when no other thread can wait for it.
_LOOK_SECONDS = 0.005


def _wait_for_native(is_done, wait, timeout):
    """Block until an OS thread `is_done()`, at most `timeout` seconds (None: for ever). True if it is.

    wait: `wait(timeout)` does the same, but blocks the calling OS thread. For a greenlet, a worker thread calls it. If
    no worker thread can start any more, the greenlet checks again and again: the OS thread may need other greenlets of
    this hub in order to end.
    """
    if is_done():
        return True
    if is_finalizing():
        return thread._will_not_end(timeout)
    if get_hub_if_exists() is None:
        wait(timeout)
        return is_done()
    pool = get_hub().threadpool
    if pool._has_thread():
        pool.apply(wait, (timeout,))
    else:
        with Timeout(timeout, False):
            while not is_done():
                sleep(_LOOK_SECONDS)
    return is_done()


if hasattr(_std, "_start_joinable_thread"):
    # Python 3.13 and later: a thread is started and joined with a handle.
    __implements__ += [
        "_DeleteDummyThreadOnDel",
        "_LockType",
        "_ThreadHandle",
        "_get_main_thread_ident",
        "_make_thread_handle",
        "_start_joinable_thread",
        "_thread_local_info",
        "_thread_shutdown",
    ]
    _LockType = Lock
    _ThreadHandle = thread._ThreadHandle
    _get_main_thread_ident = thread._get_main_thread_ident
    _make_thread_handle = thread._make_thread_handle
    _start_joinable_thread = thread.start_joinable_thread

    def _thread_shutdown():
        """Block until all threads that are not daemons have ended."""
        for thing in list(_std._active.values()):
            handle = getattr(thing, _HANDLE, None)
            if isinstance(handle, _NativeHandle) and not thing.daemon:
                handle.join()  # the original would block the whole OS thread
        thread._shutdown()

    # `threading` keeps this object to learn when a thread that it did not start (any other greenlet) is gone.
    _thread_local_info = local()

    class _DeleteDummyThreadOnDel(_std._DeleteDummyThreadOnDel):
        # The main greenlet of an ended OS thread may be freed only while modules are being cleared, when global names
        # no longer exist. Defaults of arguments still exist then. The original uses the lock itself as a default, the
        # one from before patching.
        def __del__(self, threading=_std, is_finalizing=sys.is_finalizing):
            if not is_finalizing():
                with threading._active_limbo_lock:
                    if threading._active.get(self._tident) is self._dummy_thread:
                        del threading._active[self._tident]

    def _when_ended(dummy):
        """Nothing to do: `threading` notices by itself, with the two names above."""

    class _NativeHandle(_ThreadHandle):
        """The handle of an OS thread that was already running before patching."""

        def __init__(self, handle):
            self._native = handle

        @property
        def ident(self):
            return self._native.ident

        def is_done(self):
            return self._native.is_done()

        def join(self, timeout=None):
            _wait_for_native(self.is_done, self._native.join, None if timeout is None or timeout < 0 else timeout)

        def _set_done(self):
            self._native._set_done()

    # The name of this class since Python 3.14.
    _HANDLE = "_os_thread_handle" if hasattr(_std.main_thread(), "_os_thread_handle") else "_handle"

    def adopt(thing):
        """Make waiting for the end of `thing`, an existing Thread, cooperative. Returns a function that undoes it."""
        before = getattr(thing, _HANDLE)
        if isinstance(before, _ThreadHandle):
            return None
        if thing is _std.main_thread():
            handle = _make_thread_handle(before.ident)
        elif thing._started.is_set():
            handle = _NativeHandle(before)
        else:
            handle = _ThreadHandle()
        setattr(thing, _HANDLE, handle)

        def undo():
            if getattr(thing, _HANDLE) is handle and (handle.ident == before.ident or not handle.ident):
                setattr(thing, _HANDLE, before)

        return undo

else:
    # Up to Python 3.12: a thread is joined by a lock that the interpreter releases.
    __implements__ += ["_set_sentinel", "_start_new_thread"]
    _set_sentinel = thread._set_sentinel
    _start_new_thread = thread.start_new_thread

    _dummies = local()

    class _Forget:
        """Kept by a greenlet that is not a thread; when it ends, `threading` forgets the dummy that stands for it."""

        def __init__(self, dummy):
            self.dummy = dummy

        # Defaults of arguments still exist while modules are being cleared.
        def __del__(self, threading=_std, is_finalizing=sys.is_finalizing):
            if not is_finalizing():
                with threading._active_limbo_lock:
                    if threading._active.get(self.dummy._ident) is self.dummy:
                        del threading._active[self.dummy._ident]

    def _when_ended(dummy):
        """Have `threading` forget it then."""
        _dummies.forget = _Forget(dummy)

    class _NativeThreadEnd(thread._ThreadEnd):
        """The end of an OS thread that was already running before patching."""

        def __init__(self, lock):
            self._native = lock

        def acquire(self, blocking=True, timeout=-1):
            if not blocking:
                return self._is_done()
            return _wait_for_native(self._is_done, self._wait, None if timeout < 0 else timeout)

        def _is_done(self):
            return not self._native.locked()

        def _wait(self, timeout):
            if acquire_in_thread(self._native, -1 if timeout is None else timeout):
                self._native.release()

        def release(self):
            pass

        def locked(self):
            return self._native.locked()

    def adopt(thing):
        """Make waiting for the end of `thing`, an existing Thread, cooperative. Returns a function that undoes it."""
        before = thing._tstate_lock
        if before is None or isinstance(before, thread._ThreadEnd):
            return None
        if thing is _std.main_thread():
            end = thread._ThreadEnd()
            end.acquire()
        else:
            end = _NativeThreadEnd(before)
        _replace_end(thing, before, end)
        return lambda: _replace_end(thing, end, before)

    def _replace_end(thing, old, new):
        if thing._tstate_lock is old:
            thing._tstate_lock = new
        with _std._shutdown_locks_lock:
            if old in _std._shutdown_locks:
                _std._shutdown_locks.remove(old)
                _std._shutdown_locks.add(new)


# ---------------------------------------------------------------- methods of Thread


def _wait_for_tstate_lock(self, block=True, timeout=-1):
    """Up to Python 3.12. If a `join` is interrupted, for example by a Timeout, the original thinks that the thread has
    ended."""
    end = self._tstate_lock
    if end is not None and end.acquire(block, timeout):
        end.release()
        self._stop()


# ---------------------------------------------------------------- the rest

# So that `from gevlite import threading` has every name. The classes are the standard ones; their objects use greenlets
# once `gevlite.monkey` has patched the module.
__imports__ = _twin.take_over(globals(), _std, [name for name in _std.__all__ if name not in globals()])
