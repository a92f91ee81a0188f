"""OS threads that make calls for others: the crew behind ThreadPool and ThreadPoolExecutor.

A call is a Task in one of the interpreter's own queues, which blocks only the thread that takes from it. Threads are
started as tasks arrive, and end when they are asked to, or after some time without work. They are daemons: the
interpreter does not wait for them when it exits.

The threads refer to their crew, but not to the pool on top of it. So a pool without other references is freed, and
makes its crew end. Because the garbage collector may do that at any moment, in any thread, `close` takes no lock.

A fork copies no worker. In the child the crew begins again, and a waiter for a task that had not ended gets an error.

At the end of the interpreter there are no new threads: Python 3.12 and later start none once atexit callbacks run, and
after those the existing threads never run again. If there is no thread for a task, its caller does it, which blocks
that OS thread, as the call itself does in a program without greenlets.
"""

import itertools
import os
import sys
import weakref
from _queue import Empty, SimpleQueue
from _thread import RLock, _local, get_ident, start_new_thread
from contextvars import copy_context

from gevlite._adopted import leave_native
from gevlite._core import (
    add_idle_workers,
    get_hub,
    get_hub_if_exists,
    is_finalizing,
    let_others_run,
    too_late_for_threads,
)
from gevlite._threadlock import report_thread_error
from gevlite._watch import Watch
from gevlite.timeout import Timeout, _within

__all__ = ["Crew", "Task", "count_in", "count_out", "count_workers", "name_of_worker"]

# The number of forks between this process and the first one: counts made in a parent are not valid here.
_forks = 0

_crews = weakref.WeakSet()
_workers = set()  # get_ident() of each
_mine = _local()  # .place, in a worker: its crew and _forks; .name
leave_native(_mine)


_numbers = itertools.count(1)


def name_of_worker():
    """The name of the running OS thread if it is one of gevlite's own, else None."""
    return getattr(_mine, "name", None)


def count_workers():
    """The number of gevlite's own OS threads in the process."""
    return len(_workers)


def count_in():
    """Count the running OS thread as gevlite's own. (A thread of the program could wake a greenlet.)"""
    _workers.add(get_ident())
    add_idle_workers(1)


def count_out():
    """The running OS thread, counted by `count_in`, ends."""
    _workers.discard(get_ident())
    add_idle_workers(-1)


class Task:
    """A call of `function(*args, **kwargs)`, in a copy of the contextvars context in which the task is made.

    A subclass defines how its waiters get the result. Its methods are called in the worker. `fail` may also be called
    after a `succeed` that was interrupted: waiters that have got the result do not get the error.
    """

    __slots__ = ("args", "context", "function", "hub", "kwargs")

    def __init__(self, function, args, kwargs):
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.context = copy_context()
        self.hub = get_hub_if_exists()  # has something left to do until this task is done

    def begin(self):
        """Called first. Returns False if the call must not be made after all."""
        return True

    def end(self):
        """Called after the call, before the waiters get its result."""

    def succeed(self, value):
        """The call returned `value`."""
        raise NotImplementedError

    def fail(self, exc):
        """The call raised `exc`."""
        raise NotImplementedError

    def lose(self, exc):
        """This is the child of a fork, and the call, begun or not, belongs to the parent."""
        raise NotImplementedError


class Crew:
    """At most `limit` threads that do tasks. `idle_seconds`: how long a thread stays without work; None: for ever."""

    def __init__(self, limit, idle_seconds=None):
        self.limit = limit
        self.idle_seconds = idle_seconds
        self.closing = False
        self.changed = Watch()  # `tell()` is called when the last task is done and when a thread ends
        self._reset()
        _crews.add(self)

    def _reset(self):
        self.lock = RLock()  # reentrant: an object freed while it is held may call into the crew again
        self.tasks = SimpleQueue()  # of Task; None tells the thread that takes it to end
        leave_native(self.lock)
        leave_native(self.tasks)
        self.size = 0  # threads
        self.surplus = 0  # the number of them that will find a None
        self.unfinished = set()  # tasks whose call has not ended
        self.untold = set()  # tasks whose waiters have not been informed

    # -------- from any thread

    def submit(self, task):
        """Give `task` to a thread; start one if needed. Raises RuntimeError if none can be started.

        Does not block, except at the end of the interpreter, when the task may have to be done here.
        """
        if is_finalizing():
            # No lock: a thread that no longer runs may hold it.
            self.check_open()
            self._add(task)
        else:
            with self.lock:
                self.check_open()
                here = not self._find_thread()
                self._add(task)
                if not here:
                    self.tasks.put(task)
                    return
        self._do(task, _forks)

    def check_open(self):
        """Raise an error if no more tasks are accepted."""

    def has_thread(self):
        """Make sure that there is a thread for the next task. False: `submit` would do the task here."""
        with self.lock:
            return self._find_thread()

    def _find_thread(self):
        """Make sure that there is a thread for one more task. False: there can be no more, and all are busy."""
        staying = self.size - self.surplus
        if len(self.unfinished) >= staying and staying < self.limit:
            try:
                self._start_thread()
            except RuntimeError as exc:
                if too_late_for_threads(exc):
                    return False
                if not staying:
                    raise
        return True

    def _add(self, task):
        self.unfinished.add(task)
        self.untold.add(task)
        add_idle_workers(-1)
        if task.hub is not None:
            task.hub.ref(thread=True)

    def resize(self, size):
        """Start threads, or make some end as soon as the tasks queued now have been taken. Does not block."""
        with self.lock:
            while self.size - self.surplus < size:
                self._start_thread()
            while self.size - self.surplus > size:
                self.surplus += 1
                self.tasks.put(None)

    def close(self):
        """Let the threads end when all tasks are done; no more will come. Does not block."""
        self.closing = True
        self.tasks.put(None)  # the thread that finds it puts it back for the next one

    def wait_until(self, condition, timeout=None):
        """Block until `condition()`, which depends on tasks and threads, is true, at most `timeout` seconds. Returns
        whether it is.

        Raises RuntimeError in a thread of the crew, which might wait for itself.
        """
        if condition():
            let_others_run(timeout)
            return True
        if is_finalizing():
            return False  # nothing can change any more
        if isinstance(timeout, Timeout):
            return _within(timeout, False, self.wait_until, condition)
        if self.is_here():
            raise RuntimeError("a worker thread cannot wait for its own pool")
        hub, forks = get_hub(), _forks
        hub.ref(thread=True)  # even threads without work may wake this greenlet
        try:
            with Timeout(timeout, False):
                while not condition():
                    self.changed.wait_unless(condition)
                return True
            return False
        finally:
            _unref(hub, forks)

    def is_here(self):
        """True in a thread of this crew."""
        return getattr(_mine, "place", None) == (self, _forks)

    # -------- the threads

    def _start_thread(self):
        start_new_thread(self._work, (_forks,))
        self.size += 1

    def _work(self, forks):
        taken = []  # the task that this thread is doing
        try:
            _mine.place = (self, forks)
            _mine.name = f"gevlite-worker-{next(_numbers)}"
            count_in()
            self.begin_thread()
            self._serve(forks, taken)
        except BaseException as exc:
            # The thread could not begin, or an exception came from outside, for example from a tracing function.
            if forks != _forks or not self._give_up(exc, taken):
                raise
        finally:
            if forks == _forks:
                count_out()
                self.changed.tell()

    def _give_up(self, exc, lost):
        """A thread ends because of `exc`. The waiters for its task get the exception; False if there are none."""
        with self.lock:
            self.size -= 1
            if None in lost:
                lost.remove(None)
                self._heard_to_end()
            if self.size <= self.surplus:
                lost += self.take_all()  # no other thread would do them
        told = False
        for task in lost:
            if task in self.untold:
                told = True
                self._fail(task, exc)
        lost.clear()
        return told

    def _fail(self, task, exc):
        """The waiters for `task`, which may have begun, get `exc`."""
        try:
            if task.function is not None:
                self._made(task)
            task.begin()
        except BaseException:
            pass  # it had begun
        finally:
            task.fail(exc)
            self.forget(task)

    def _heard_to_end(self):
        if self.closing:
            self.tasks.put(None)
        self.surplus -= self.surplus > 0

    def begin_thread(self):
        """Called first thing in each thread."""
        # As threading.Thread does; debuggers rely on it. If the module was never imported, none can be set.
        threading = sys.modules.get("threading")
        if threading is not None:
            sys.settrace(threading.gettrace())
            sys.setprofile(threading.getprofile())

    def _serve(self, forks, taken):
        """Do tasks until it is time to end; then this thread is no longer counted in `size`.

        taken: keeps the current task, in case an exception ends the thread meanwhile.
        """
        while forks == _forks:  # otherwise a task has forked: this is the child's main thread, not a worker
            try:
                taken.append(self.tasks.get(timeout=self.idle_seconds))
            except Empty:
                with self.lock:
                    if self.tasks.empty():
                        self.size -= 1
                        return
                continue
            if taken[0] is None:
                with self.lock:
                    taken.clear()
                    self.size -= 1
                    self._heard_to_end()
                return
            self._do(taken[0], forks)
            taken.clear()

    def _do(self, task, forks):
        # The traceback of an error keeps this frame, and the frame must not keep the task, which leads to the error.
        try:
            if not task.begin():
                return
            try:
                value = task.context.run(task.function, *task.args, **task.kwargs)
            except BaseException as exc:
                self._made(task)
                task.fail(exc)
            else:
                self._made(task)
                task.succeed(value)
        except BaseException as exc:
            report_thread_error(exc, task)
            if task.function is not None:
                self._made(task)
            task.fail(exc)
        finally:
            if forks == _forks:
                self.forget(task)
            task = None

    def _made(self, task):
        task.function = task.args = task.kwargs = task.context = None
        self.unfinished.discard(task)
        task.end()

    def take_all(self):
        """Take the tasks that have not begun out of the queue. The caller has the lock, and calls `forget` for each."""
        taken = []
        try:
            while True:
                taken.append(self.tasks.get_nowait())
        except Empty:
            pass
        for _ in range(taken.count(None)):
            self.tasks.put(None)
        return [task for task in taken if task is not None]

    def forget(self, task):
        """The waiters for the task have been informed."""
        self.unfinished.discard(task)
        self.untold.discard(task)
        add_idle_workers(1)
        if task.hub is not None:
            task.hub.call_soon_threadsafe(_unref, task.hub, _forks)
        if not self.untold:
            self.changed.tell()


def _unref(hub, forks):
    if forks == _forks:
        hub.unref(thread=True)


# ---------------------------------------------------------------- fork


def _after_fork_in_child():
    global _forks
    _forks += 1
    _workers.clear()
    for crew in list(_crews):
        lost = crew.untold
        crew._reset()
        for task in lost:
            task.lose(RuntimeError("the process forked, and the thread that was to make this call is in the parent"))
        crew.changed.tell()


os.register_at_fork(after_in_child=_after_fork_in_child)
