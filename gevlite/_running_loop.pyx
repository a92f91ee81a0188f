"""asyncio's running loop and current task belong to the greenlet that runs them.

asyncio keeps them with the OS thread, where every greenlet would find them: a second `asyncio.run` in another greenlet
says that it "cannot be called from a running event loop"; code that checks whether it may block finds itself in a
coroutine; and a future whose result is set by a green thread does not wake its loop, because that thread seems to be
the loop's own (since Python 3.13.12 and 3.14.3, gh-105836).

So they are put away whenever the greenlet that runs a loop is parked, and put back before it goes on: in the loop's own
wait, and also in the middle of a coroutine that has made a blocking call. `Belongings` in the core does that. Every
loop, uvloop included, calls `asyncio`'s `_set_running_loop` when it begins to run: `gevlite.monkey` puts a `Hook` in
the place of that function. What is put away is what is found at that moment, whichever code has put it there.

Where asyncio keeps them:

* The running loop: behind `_get_running_loop` and `_set_running_loop`, two pairs, one in C and one in Python.
* The current task: up to Python 3.13 in a dict by loop, where only code with a running loop looks for it. From 3.14 on in
  the thread's state, where it would become that of the next loop; `_swap_current_task` is the way to it.
* What `run_forever` sets for as long as it runs: the hooks for asynchronous generators, and in debug mode how much of a
  coroutine's origin is kept. These are `sys` settings of the thread.

An exception that is thrown into such a greenlet is for the greenlet or for one of its tasks:

* A `Timeout` or a CancelScope that a coroutine has entered is for the task that runs the coroutine, see `TaskBlock`.
* Any other exception, a `kill` say, is for the greenlet. If it interrupts a task's blocking call, the task would keep
  it as its own result; so it is noted in `thrown`, where the loop finds it.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from gevlite._core cimport (
    Belongings,
    Block,
    Hub,
    PyThreadState,
    PyThreadState_Get,
    begin_peace,
    end_peace,
    greenlet,
    set_belongings,
    throw_into,
)

import os
import sys

from gevlite._core import set_belongings_finder

__all__ = ["Hook", "hook_of"]


# All hooks: two, for the pairs of functions in C and in Python.
cdef list hooks = []

# A loop that was running when the process was forked does not run in the child: asyncio handles it so, too.
cdef unsigned long forks = 0


def _after_fork():
    global forks
    forks += 1


os.register_at_fork(after_in_child=_after_fork)


cdef class RunningLoop(Belongings):
    """The running loop of a greenlet. All but `hook` and `depth_outside` is set only while it is put away."""

    cdef void put_away(self) noexcept:
        cdef PyThreadState *state = PyThreadState_Get()
        self.loop = self.hook.get()
        if self.loop is None:
            return
        if self.hook.swap_task is not None:
            self.task = self.hook.swap_task(self.loop, None)
        self.hook.set(None)
        self.forks = forks
        # Set them as they are in a new thread. The references move with the values.
        self.firstiter = state.async_gen_firstiter
        self.finalizer = state.async_gen_finalizer
        state.async_gen_firstiter = NULL
        state.async_gen_finalizer = NULL
        self.depth = state.coroutine_origin_tracking_depth
        state.coroutine_origin_tracking_depth = self.depth_outside

    cdef void put_back(self) noexcept:
        cdef PyThreadState *state
        cdef PyObject *firstiter
        cdef PyObject *finalizer
        cdef object loop = self.loop, task = self.task
        if loop is None:
            return
        self.loop = self.task = None
        if self.forks == forks:
            self.hook.set(loop)
            if task is not None:
                self.hook.swap_task(loop, task)
        state = PyThreadState_Get()
        firstiter, finalizer = state.async_gen_firstiter, state.async_gen_finalizer
        state.async_gen_firstiter, state.async_gen_finalizer = self.firstiter, self.finalizer
        self.firstiter = self.finalizer = NULL
        state.coroutine_origin_tracking_depth = self.depth
        Py_XDECREF(firstiter)
        Py_XDECREF(finalizer)

    cdef object current_task(self):
        """The task that runs in the greenlet, or None. Works also while that is put away."""
        cdef object loop = self.loop
        if loop is None:
            loop = self.hook.get()
            if loop is None:
                return None
        elif self.hook.swap_task is not None:
            return self.task
        return sys.modules["asyncio.tasks"].current_task(loop)

    cdef object raising(self, object exc):
        cdef TaskBlock block
        if self.due is not None:
            for block in self.due:
                if block.exc is exc:
                    if block.task is self.current_task():
                        return exc
                    block.ask()
                    return None
        if self.ours:
            if isinstance(exc, type):
                exc = exc()         # to be recognised
            if self.thrown is None:
                self.thrown = []
            self.thrown.append((self.current_task(), exc))
        return exc

    cdef Block block(self):
        cdef TaskBlock made
        task = self.current_task()
        if not hasattr(task, "uncancel"):
            return None         # no task, or not asyncio's
        made = TaskBlock.__new__(TaskBlock)
        made.running = self
        made.loop = self.hook.get()
        made.task = task
        made.cancelling = task.cancelling()
        return made

    def __dealloc__(self):
        Py_XDECREF(self.firstiter)
        Py_XDECREF(self.finalizer)


cdef class TaskBlock(Block):
    """A block in a coroutine. If the task is running, that is, in a blocking call, the exception is raised there. If it
    waits for something in its loop, the only way to interrupt it is to cancel it: at the end of the block,
    CancelledError then stands for the exception. As with `asyncio.timeout`, the task counts its cancellations, and
    blocks nest.
    """

    cdef int interrupt(self, Hub hub, greenlet target, object exc) except -1:
        cdef RunningLoop running = self.running
        if self.left:
            return 0
        if running.current_task() is not self.task:
            return self.ask()
        self.exc = exc
        # Kept until the block is left: a group may put off the exception that interrupted it. Some blocks are never
        # left.
        due = [self]
        if running.due is not None:
            for other in running.due:
                if not (<TaskBlock> other).task.done():
                    due.append(other)
        running.due = due
        return throw_into(hub, target, exc)

    cdef int ask(self) except -1:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.cancel)
        return 0

    def cancel(self):
        # The task first handles what it was woken with meanwhile: it may have left the block by now.
        if not self.left and not self.task.done():
            self.cancelled = True
            self.task.cancel()

    cdef bint leave(self, object value) except -1:
        cdef list due = self.running.due
        self.left = True
        if self.exc is not None:
            self.exc = None
            if self in due:
                due.remove(self)
        if not self.cancelled:
            return False
        self.cancelled = False
        return self.task.uncancel() <= self.cancelling and isinstance(value, sys.modules["asyncio"].CancelledError)


cdef class Hook:
    """`Hook(get, set, swap_task)`: to be called in the place of `set`, with the loop that begins to run or None.

    get, set: asyncio's `_get_running_loop` and `_set_running_loop`, or their twins in C or in Python; swap_task: its
    `_swap_current_task` where the current task is kept with the thread, else None.
    """

    def __init__(self, get, set, swap_task=None):
        self.get = get
        self.set = set
        self.swap_task = swap_task
        self.__name__ = set.__name__
        hooks.append(self)

    def __call__(self, loop, /):
        # Made first: it may call code of the loop, in which other greenlets may run, and they must not find a running
        # loop.
        begin_peace()
        try:
            made = self.belongings(loop) if loop is not None else None
            self.set(loop)
            set_belongings(made)
        finally:
            end_peace()

    cdef RunningLoop belongings(self, loop):
        cdef RunningLoop made = RunningLoop.__new__(RunningLoop)
        made.hook = self
        # In debug mode the loop has changed it already. (asyncio takes any object for a loop here.)
        get_debug = getattr(loop, "get_debug", None)
        if get_debug is None or not get_debug():
            made.depth_outside = PyThreadState_Get().coroutine_origin_tracking_depth
        return made

    def begin(self, loop):
        """`loop` is about to run, and will call `set` and not us: it was imported before."""
        set_belongings(self.belongings(loop))

    def end(self):
        """It no longer runs."""
        set_belongings(None)

    def __repr__(self):
        return f"<{type(self).__module__}.{type(self).__name__} of {self.set!r}>"


def hook_of(set):
    """The Hook for the present `_set_running_loop` of asyncio, or None: then it has to be made."""
    cdef Hook hook
    if isinstance(set, Hook):
        return set
    for hook in hooks:
        if hook.set is set:
            return hook
    return None


def _find():
    cdef Hook hook
    for hook in hooks:
        loop = hook.get()
        if loop is not None:
            return hook.belongings(loop)
    return None


set_belongings_finder(_find)
