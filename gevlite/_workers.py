"""OS threads that make calls for others: the crew behind ThreadPool and ThreadPoolExecutor.

A call is a Task in a queue of the interpreter's own, which blocks the thread that takes from it and nobody else.
Threads are started as tasks come, and end when they are told to, or after some time without work. They are daemons:
the interpreter does not wait for them when it exits.

The threads know their crew, but not the pool on top of it. So a pool that nobody refers to any more is freed, and tells
its crew to end. Since the garbage collector may do that at any moment, in any thread, `close` takes no lock.

A fork takes no worker along. In the child the crew begins anew, and whoever waits there for a task that had not ended
is told that it never will.

At the end of the interpreter there are no new threads: Python 3.12 and later start none once atexit callbacks run, and
after those the existing ones never run again. A task for which there is no thread then is done by its caller, which
blocks that OS thread, as the call itself does in a program without greenlets.
"""

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

__all__ = ["Crew", "Task", "count_in", "count_out", "count_workers"]

# How many forks lie between us and the first process: what was counted in a parent does not count here.
_forks = 0

_crews = weakref.WeakSet()
_workers = set()  # get_ident() of each
_mine = _local()  # .place, in a worker: its crew and _forks
leave_native(_mine)


def count_workers():
    """How many OS threads of gevlite's own there are in the process."""
    return len(_workers)


def count_in():
    """The running OS thread is one of gevlite's own: it is none of the program's, and by itself wakes nobody."""
    _workers.add(get_ident())
    add_idle_workers(1)


def count_out():
    """It ends."""
    _workers.discard(get_ident())
    add_idle_workers(-1)


class Task:
    """A call of `function(*args, **kwargs)`, in a copy of the contextvars context in which the task is made.

    A subclass says how whoever waits for it is told. All of that happens in the worker. `fail` may also be called after
    a `succeed` that was interrupted: whoever has been told is not told again.
    """

    __slots__ = ("args", "context", "function", "hub", "kwargs")

    def __init__(self, function, args, kwargs):
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.context = copy_context()
        self.hub = get_hub_if_exists()  # has something left to do as long as we are not done

    def begin(self):
        """Called first. False if the call shall not be made after all."""
        return True

    def end(self):
        """Called after the call, before anybody is told."""

    def succeed(self, value):
        """It returned `value`."""
        raise NotImplementedError

    def fail(self, exc):
        """It raised `exc`."""
        raise NotImplementedError

    def lose(self, exc):
        """We are in the child of a fork, and the call, begun or not, is the parent's."""
        raise NotImplementedError


class Crew:
    """At most `limit` threads that do tasks. `idle_seconds`: how long one stays without work; None for ever."""

    def __init__(self, limit, idle_seconds=None):
        self.limit = limit
        self.idle_seconds = idle_seconds
        self.closing = False
        self.changed = Watch()  # told when the last task is done and when a thread ends
        self._reset()
        _crews.add(self)

    def _reset(self):
        self.lock = RLock()  # what is freed while it is held may come here again
        self.tasks = SimpleQueue()  # of Task; None tells the thread that takes it to end
        leave_native(self.lock)
        leave_native(self.tasks)
        self.size = 0  # threads
        self.surplus = 0  # of them, how many will find a None
        self.unfinished = set()  # tasks whose call has not ended
        self.untold = set()  # tasks of whose end nobody has been told

    # -------- from any thread

    def submit(self, task):
        """Have a thread do `task`; start one if need be. Raises RuntimeError if there can be none.

        Does not block, but at the end of the interpreter, when the task may have to be done here.
        """
        if is_finalizing():
            # No lock: a thread that does not run any more may have it.
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
        """Raise if there shall be no more tasks."""

    def has_thread(self):
        """See to it that there is a thread for the next task. False: `submit` would do it here."""
        with self.lock:
            return self._find_thread()

    def _find_thread(self):
        """See to it that there is a thread for one more task. False: there can be no more, and all are busy."""
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
        """Start threads, or tell some to end as soon as what is queued now has been taken. Does not block."""
        with self.lock:
            while self.size - self.surplus < size:
                self._start_thread()
            while self.size - self.surplus > size:
                self.surplus += 1
                self.tasks.put(None)

    def close(self):
        """Let the threads end when all tasks are done; no more will come. Does not block."""
        self.closing = True
        self.tasks.put(None)  # who finds it puts it back for the next

    def wait_until(self, condition, timeout=None):
        """Block until `condition()`, which depends on tasks and threads, at most `timeout` seconds. True if it holds.

        Raises RuntimeError if one of our threads would wait: perhaps for itself.
        """
        if condition():
            let_others_run(timeout)
            return True
        if is_finalizing():
            return False  # nothing will change any more
        if isinstance(timeout, Timeout):
            return _within(timeout, False, self.wait_until, condition)
        if self.is_here():
            raise RuntimeError("a worker thread cannot wait for its own pool")
        hub, forks = get_hub(), _forks
        hub.ref(thread=True)  # even threads without work may wake us
        try:
            with Timeout(timeout, False):
                while not condition():
                    self.changed.wait_unless(condition)
                return True
            return False
        finally:
            _unref(hub, forks)

    def is_here(self):
        """True in one of its threads."""
        return getattr(_mine, "place", None) == (self, _forks)

    # -------- the threads

    def _start_thread(self):
        start_new_thread(self._work, (_forks,))
        self.size += 1

    def _work(self, forks):
        taken = []  # the task that we have in hand
        try:
            _mine.place = (self, forks)
            count_in()
            self.begin_thread()
            self._serve(forks, taken)
        except BaseException as exc:
            # It could not begin, or something was thrown in from outside: by a tracing function, for one.
            if forks != _forks or not self._give_up(exc, taken):
                raise
        finally:
            if forks == _forks:
                count_out()
                self.changed.tell()

    def _give_up(self, exc, lost):
        """A thread ends because of `exc`. Whoever waited for it gets that; False if nobody did."""
        with self.lock:
            self.size -= 1
            if None in lost:
                lost.remove(None)
                self._heard_to_end()
            if self.size <= self.surplus:
                lost += self.take_all()  # there is no other thread that would do them
        told = False
        for task in lost:
            if task in self.untold:
                told = True
                self._fail(task, exc)
        lost.clear()
        return told

    def _fail(self, task, exc):
        """Whoever waits for `task`, which may have been begun, gets `exc`."""
        try:
            if task.function is not None:
                self._made(task)
            task.begin()
        except BaseException:
            pass  # it had been begun
        finally:
            task.fail(exc)
            self.forget(task)

    def _heard_to_end(self):
        if self.closing:
            self.tasks.put(None)
        self.surplus -= self.surplus > 0

    def begin_thread(self):
        """Called first thing in each thread."""
        # As threading.Thread does; debuggers rely on it. Nobody has set one if the module was never imported.
        threading = sys.modules.get("threading")
        if threading is not None:
            sys.settrace(threading.gettrace())
            sys.setprofile(threading.getprofile())

    def _serve(self, forks, taken):
        """Do tasks until it is time to end; then we are no longer counted in `size`.

        taken: keeps the task that we have in hand, for whoever ends us meanwhile.
        """
        while forks == _forks:  # else a task has forked: we are the child's main thread, and no worker
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
        """Take what has not been begun out of the queue. The caller has the lock, and calls `forget` for each."""
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
        """Whoever waited for it has been told."""
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
