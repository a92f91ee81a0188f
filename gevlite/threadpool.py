"""Real threads for what can only block: a bounded pool whose results come back to the hub that asked."""

import contextvars
import os
from _queue import Empty, SimpleQueue
from _thread import allocate_lock, start_new_thread

from gevlite._config import config
from gevlite._core import get_hub, register_hub_attribute
from gevlite.event import AsyncResult

__all__ = ["ThreadPool", "get_default_size"]

# A worker without work for so long ends itself.
IDLE_SECONDS = 30.0


def get_default_size():
    """How many threads a hub's own pool may have: `gevlite.config.threadpool_size`."""
    return config.threadpool_size


class _Task:
    """One call on its way through a worker and back."""

    __slots__ = ("context", "error", "function", "hub", "result", "value")

    def __init__(self, hub, function):
        self.hub = hub
        self.function = function
        self.context = contextvars.copy_context()
        self.result = AsyncResult()
        self.value = self.error = None

    def execute(self):
        """In the worker thread."""
        try:
            self.value = self.context.run(self.function)
        except BaseException as exc:
            self.error = exc
        self.function = self.context = None
        self.hub.call_soon_threadsafe(self.deliver)

    def deliver(self):
        """In the hub."""
        self.hub.unref()
        if self.error is not None:
            self.result.set_exception(self.error)
        else:
            self.result.set(self.value)


class ThreadPool:
    """At most `maxsize` threads that run functions for the greenlets of one hub.

    Threads are started as needed and end after some idle seconds. After a fork the child starts with none.
    Raises ValueError if `maxsize` is not positive.
    """

    def __init__(self, maxsize, hub=None, idle_task_timeout=IDLE_SECONDS):
        if maxsize < 1:
            raise ValueError("maxsize must be at least 1")
        self.maxsize = maxsize
        self.hub = hub if hub is not None else get_hub()
        self.idle_task_timeout = idle_task_timeout if idle_task_timeout and idle_task_timeout > 0 else None
        self._reset()

    def _reset(self):
        self.pid = os.getpid()
        self._lock = allocate_lock()
        self._tasks = SimpleQueue()
        self._unfinished = 0
        self.size = 0

    def spawn(self, function, *args, **kwargs):
        """Have a thread call `function(*args, **kwargs)`. Does not block. Returns an AsyncResult.

        The call sees the caller's contextvars. To be called from the pool's own hub.
        """
        if not callable(function):
            raise TypeError(f"spawn() needs a callable, not {function!r}")
        if self.pid != os.getpid():
            self._reset()
        if get_hub() is not self.hub:
            raise RuntimeError("a thread pool belongs to one hub; make another for this thread")
        task = _Task(self.hub, lambda: function(*args, **kwargs))
        self.hub.ref()
        with self._lock:
            self._unfinished += 1
            grow = self.size < min(self._unfinished, self.maxsize)
            if grow:
                self.size += 1
                self.hub.worker_threads += 1
            self._tasks.put(task)
        if grow:
            try:
                start_new_thread(self._work, (self._tasks, self.pid))
            except RuntimeError:
                with self._lock:
                    self.size -= 1
                    self.hub.worker_threads -= 1
                    alone = self.size == 0
                if alone:
                    # Nobody would ever do it: fail now instead of hanging.
                    self._tasks.get_nowait()
                    self._unfinished -= 1
                    self.hub.unref()
                    raise
        return task.result

    def apply(self, function, args=None, kwds=None):
        """Have a thread call `function(*args, **kwds)`; block this greenlet until it is done.

        Returns or raises what it did.
        """
        return self.spawn(function, *(args or ()), **(kwds or {})).get()

    def _work(self, tasks, pid):
        while True:
            try:
                task = tasks.get(timeout=self.idle_task_timeout)
            except Empty:
                with self._lock:
                    if tasks.empty() or self.size > self._unfinished:
                        self.size -= 1
                        self.hub.worker_threads -= 1
                        return
                continue
            if task is None:
                return
            task.execute()
            del task
            with self._lock:
                self._unfinished -= 1

    def kill(self):
        """Let the threads end after what they do now. The pool can be used again."""
        with self._lock:
            for _ in range(self.size):
                self._tasks.put(None)
            self.hub.worker_threads -= self.size
            self.size = 0
            self._tasks = SimpleQueue()

    def __repr__(self):
        counts = f"threads={self.size}/{self.maxsize} unfinished={self._unfinished}"
        return f"<{type(self).__name__} at {id(self):#x} {counts}>"


def _of_hub(hub):
    return ThreadPool(get_default_size(), hub, config.threadpool_idle_task_timeout)


register_hub_attribute("threadpool", _of_hub)
