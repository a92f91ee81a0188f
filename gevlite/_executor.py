"""ThreadPoolExecutor: the interface of `concurrent.futures`, real threads, futures that block one greenlet only.

The standard futures wait on a condition of `threading`. Without patching, that blocks the whole OS thread with its hub.
With patching it works, but then the standard executor's threads are greenlets too. So gevlite's executor has threads of
its own, and its futures have a condition of their own.
"""

import atexit
import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor as _StdExecutor
from concurrent.futures._base import CANCELLED, PENDING
from concurrent.futures.thread import BrokenThreadPool

from gevlite._core import get_hub
from gevlite._threadlock import RLock
from gevlite._workers import Crew, Task
from gevlite.event import Event

__all__ = ["ThreadPoolExecutor"]


# ---------------------------------------------------------------- futures


class _Condition:
    """What `Future` uses of a threading.Condition, for greenlets and OS threads alike."""

    def __init__(self):
        self._lock = RLock()
        self._waiting = deque()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()

    def wait(self, timeout=None):
        event = Event()
        self._waiting.append(event)
        state = self._lock._release_save()
        try:
            return event.wait(timeout)
        finally:
            self._lock._acquire_restore(state)
            if not event.is_set():
                self._waiting.remove(event)

    def notify_all(self):
        while self._waiting:
            self._waiting.popleft().set()

    def reset_lock(self):
        self._lock._at_fork_reinit()


class _Waiters(list):
    """The waiters that `concurrent.futures.wait` and `as_completed` leave with a future."""

    def append(self, waiter):
        # It has just been made, so no greenlet waits for it yet.
        waiter.event = Event()
        super().append(waiter)


class _Link:
    """A done-callback that makes a hub call a function."""

    def __init__(self, hub, callback):
        self.hub = hub
        self.callback = callback

    def __call__(self, future):
        self.hub.call_soon_threadsafe(self.callback, future)


class CooperativeFuture(Future):
    """A Future whose `result` and `exception`, and so `wait` and `as_completed`, block only the calling greenlet.

    `gevlite.wait` and `gevlite.iwait` also accept it.
    """

    def __init__(self):
        super().__init__()
        self._condition = _Condition()
        self._waiters = _Waiters()

    def rawlink(self, callback):
        """Make this thread's hub call `callback(self)` once, when the future is done."""
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self.add_done_callback(_Link(get_hub(), callback))

    def unlink(self, callback):
        """Remove a callback added by `rawlink`. An unknown one is ignored."""
        with self._condition:
            for entry in self._done_callbacks:
                if isinstance(entry, _Link) and entry.callback == callback:
                    self._done_callbacks.remove(entry)
                    return


class _FutureCall(Task):
    __slots__ = ("future",)

    def __init__(self, future, function, args, kwargs):
        super().__init__(function, args, kwargs)
        self.future = future

    def begin(self):
        return self.future.set_running_or_notify_cancel()

    def succeed(self, value):
        self.future.set_result(value)

    def fail(self, exc):
        if not self.future.done():
            self.future.set_exception(exc)

    def lose(self, exc):
        future = self.future
        future._condition.reset_lock()  # a thread that no longer exists may hold it
        if future._state in (PENDING, CANCELLED):
            self.begin()
        if future.running():
            future.set_exception(exc)

    def cancel(self):
        if self.future.cancel():
            self.begin()  # tells `wait` and `as_completed`


# ---------------------------------------------------------------- the executor


class _ExecutorCrew(Crew):
    """Calls the initializer in each thread. If that fails, no task is ever done."""

    def __init__(self, limit, initializer, initargs):
        super().__init__(limit)
        self.initializer = initializer
        self.initargs = initargs
        self.broken = None

    def check_open(self):
        if self.broken:
            raise BrokenThreadPool(self.broken)
        if self.closing:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def begin_thread(self):
        super().begin_thread()
        if self.initializer is None:
            return
        try:
            self.initializer(*self.initargs)
        except BaseException:
            with self.lock:
                self.broken = "a thread initializer failed; the executor can no longer be used"
                tasks = self.take_all()
            for task in tasks:
                if task.begin():
                    task.fail(BrokenThreadPool(self.broken))
                self.forget(task)
            raise


class ThreadPoolExecutor(_StdExecutor):
    """A `concurrent.futures.ThreadPoolExecutor` whose threads are real ones whether or not the process is patched.

    Waiting for its futures (with their methods, `concurrent.futures.wait`, `as_completed` or `gevlite.wait`) and for
    its `shutdown` blocks only the calling greenlet. `submit` never blocks. Calls see the contextvars of the caller.

    As with the standard one, done-callbacks run in the worker thread, and the interpreter waits at exit for the
    submitted calls. The threads have no names: `thread_name_prefix` is accepted and ignored. In the child of a fork,
    futures that were not done raise RuntimeError; the executor continues with new threads.
    """

    def __init__(self, max_workers=None, thread_name_prefix="", initializer=None, initargs=()):
        super().__init__(max_workers, thread_name_prefix, initializer, initargs)  # checks them
        self._crew = _ExecutorCrew(self._max_workers, initializer, initargs)
        _executors.add(self)

    def __del__(self):
        try:
            crew = self._crew
        except AttributeError:
            return  # refused by __init__
        crew.close()

    def submit(self, fn, /, *args, **kwargs):
        """Call `fn(*args, **kwargs)` in a thread. Returns a Future. Does not block.

        Raises RuntimeError after `shutdown` and if no thread can be started, BrokenThreadPool if an initializer failed.
        """
        if not callable(fn):
            raise TypeError(f"fn must be callable, not {fn!r}")
        future = CooperativeFuture()
        self._crew.submit(_FutureCall(future, fn, args, kwargs))
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Accept no more calls, and let the threads end when the submitted calls are done. May be called again.

        wait: block until the threads have ended.
        cancel_futures: cancel the calls that have not begun.

        Raises RuntimeError if one of the threads would wait for itself.
        """
        crew = self._crew
        with crew.lock:
            tasks = crew.take_all() if cancel_futures else ()
            self._shutdown = True
            crew.close()
        for task in tasks:
            task.cancel()
            crew.forget(task)
        if wait:
            crew.wait_until(lambda: not crew.size)

    def kill(self, wait=True, **kwargs):
        """The same as `shutdown`: a call that runs in a thread cannot be stopped."""
        self.shutdown(wait, **kwargs)


_executors = weakref.WeakSet()


@atexit.register
def _finish():
    for executor in list(_executors):
        executor.shutdown()
