"""Real threads for calls that block the thread: C code without an event loop, name look-ups, files on slow disks."""

import os
import weakref

from gevlite._config import config
from gevlite._core import get_hub, is_finalizing, register_hub_attribute
from gevlite._workers import Crew, Task
from gevlite.event import AsyncResult
from gevlite.lock import Semaphore
from gevlite.pool import GroupMappingMixin

__all__ = ["ThreadPool", "ThreadPoolExecutor", "get_default_size"]  # noqa: F822 (see __getattr__)


def get_default_size():
    """The maximum number of threads of a hub's own pool: `gevlite.config.threadpool_size`."""
    return config.threadpool_size


def _check_size(name, size, least):
    if not isinstance(size, int):
        raise TypeError(f"{name} must be an integer, not {size!r}")
    if size < least:
        raise ValueError(f"{name} must be at least {least}, not {size}")


class _Call(Task):
    __slots__ = ("places", "pool", "result")

    def __init__(self, pool, places, result, function, args, kwargs):
        super().__init__(function, args, kwargs)
        self.pool = pool
        self.places = places
        self.result = result

    def end(self):
        self.pool._give_place(self.places)

    def succeed(self, value):
        self.result.set(value)

    def fail(self, exc):
        if not self.result.ready():
            self.result.set_exception(exc)

    lose = fail


class ThreadPool(GroupMappingMixin):
    """At most `maxsize` OS threads that make calls for greenlets, which wait for the results without blocking others.

    Greenlets of several threads may use it; each gets its results through its own hub. Its length is the number of
    calls that have not ended. After a fork, the child's first call starts new threads; results of calls that were
    running in the parent raise RuntimeError in the child.

    hub: the value of the attribute `hub`; by default the hub of the thread that makes the pool.
    idle_task_timeout: seconds after which a thread without work ends; -1: never.

    With a `maxsize` of 0, calls wait until it is raised. Raises ValueError for a negative value.
    """

    _wait_for = staticmethod(AsyncResult.wait)

    def __init__(self, maxsize, hub=None, idle_task_timeout=-1):
        _check_size("maxsize", maxsize, 0)
        idle = idle_task_timeout if idle_task_timeout is not None and idle_task_timeout > 0 else None
        # Weak, because a hub refers to its own pool.
        self._hub = weakref.ref(hub if hub is not None else get_hub())
        self._crew = Crew(maxsize, idle)
        self._renew()
        _pools.add(self)

    def _renew(self):
        # One more than the number of threads, so that a thread finds its next call without waiting for a greenlet.
        self._places = Semaphore(self._crew.limit + 1)
        self._debt = 0  # places that `maxsize` took back while they were in use

    def __del__(self):
        try:
            crew = self._crew
        except AttributeError:
            return  # refused by __init__
        crew.close()

    def __len__(self):
        return len(self._crew.unfinished)

    def __repr__(self):
        return (
            f"<{type(self).__name__} at {id(self):#x} tasks={len(self)} size={self.size} maxsize={self.maxsize}"
            f" hub={self.hub!r}>"
        )

    @property
    def hub(self):
        """The hub for which the pool was made; None if it no longer exists."""
        return self._hub()

    @property
    def task_queue(self):
        """The queue from which the threads take their tasks; use it only to read its `qsize()`."""
        return self._crew.tasks

    # -------- calls

    def spawn(self, func, /, *args, **kwargs):
        """Call `func(*args, **kwargs)` in a thread. Returns an AsyncResult, which also gets any BaseException.

        Blocks while `maxsize` calls are running and another one waits. If the caller is killed or its time is over
        meanwhile, the call is not made. The call sees the contextvars of the caller. Raises RuntimeError if no thread
        can be started.
        """
        if not callable(func):
            raise TypeError(f"func must be callable, not {func!r}")
        places = self._take_place()
        result = AsyncResult()
        try:
            self._crew.submit(_Call(self, places, result, func, args, kwargs))
        except BaseException:
            self._give_place(places)
            raise
        return result

    def _take_place(self):
        while True:
            places = self._places
            if is_finalizing():
                return None  # the threads that hold the places will never give them back
            places.acquire()
            if places is self._places:
                return places
            # The wait began in the parent of a fork and ends in the child.

    def _has_thread(self):
        """False if no new threads can start any more, so that a call may have to run in its caller."""
        return not is_finalizing() and self._crew.has_thread()

    def _give_place(self, places):
        if places is None:
            return
        with self._crew.lock:
            if self._debt and places is self._places:
                self._debt -= 1
                return
        places.release()

    def _is_member(self):
        return self._crew.is_here()

    def _call_when_done(self, running, callback):
        running.rawlink(callback)

    # -------- threads

    @property
    def maxsize(self):
        """The maximum number of threads. Lowering it ends threads as soon as they have no work."""
        return self._crew.limit

    @maxsize.setter
    def maxsize(self, maxsize):
        _check_size("maxsize", maxsize, 0)
        with self._crew.lock:
            change = maxsize - self._crew.limit
            self._crew.limit = maxsize
            for _ in range(-change):
                if not self._places.acquire(blocking=False):
                    self._debt += 1
            paid = max(0, min(change, self._debt))
            self._debt -= paid
            for _ in range(change - paid):
                self._places.release()
        self.adjust()

    @property
    def size(self):
        """The number of threads. Setting it starts threads, or blocks until some have ended.

        Busy threads end after their current call. Raises ValueError for more than `maxsize`.
        """
        return self._crew.size

    @size.setter
    def size(self, size):
        _check_size("size", size, 0)
        if size > self.maxsize:
            raise ValueError(f"size must not be greater than maxsize, {self.maxsize}: {size}")
        self._resize(size)

    def _resize(self, size, timeout=None):
        crew = self._crew
        if crew.is_here() and size < crew.size:
            raise RuntimeError("a worker thread cannot wait for its own end")
        crew.resize(size)
        return crew.wait_until(lambda: not crew.surplus, timeout)

    def adjust(self):
        """End threads beyond `maxsize`, and start threads that queued calls need. Does not block."""
        crew = self._crew
        with crew.lock:
            wanted = max(crew.size - crew.surplus, len(crew.unfinished))
            crew.resize(min(wanted, crew.limit))

    def join(self, timeout=None):
        """Block until all calls have ended, at most `timeout` seconds. True if they have."""
        crew = self._crew
        return crew.wait_until(lambda: not crew.untold, timeout)

    def kill(self, timeout=None):
        """Block until all threads have ended, at most `timeout` seconds. Running and queued calls are finished first.

        Returns True if all have ended. The pool can be used again.
        """
        return self._resize(0, timeout)


# gevent's name for the result of a call in a thread.
ThreadResult = AsyncResult


def make_hub_pool(hub):
    """Make `hub.threadpool`."""
    return getattr(hub, "threadpool_class", ThreadPool)(get_default_size(), hub, config.threadpool_idle_task_timeout)


# Once this module is loaded, `hub.threadpool` needs no import; imports fail in finalizers at the end of the
# interpreter.
register_hub_attribute("threadpool", make_hub_pool)


# ---------------------------------------------------------------- fork

_pools = weakref.WeakSet()


def _after_fork_in_child():
    for pool in list(_pools):
        before = pool._places
        pool._renew()
        while before.linkcount():
            before.release()  # a waiter there will see that it is no longer `_places`


os.register_at_fork(after_in_child=_after_fork_in_child)


def __getattr__(name):
    # Imported only when needed: concurrent.futures imports a lot that a ThreadPool or `gevlite.socket` does not need.
    if name == "ThreadPoolExecutor":
        from gevlite._executor import ThreadPoolExecutor

        globals()[name] = ThreadPoolExecutor
        return ThreadPoolExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
