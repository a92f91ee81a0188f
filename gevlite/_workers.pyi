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

from _queue import SimpleQueue
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any
from weakref import WeakSet

from gevlite._core import Hub
from gevlite._watch import Watch

__all__ = ["Crew", "Task", "count_in", "count_out", "count_workers", "name_of_worker"]

_crews: WeakSet[Crew]
_workers: set[int]

def count_workers() -> int:
    """The number of gevlite's own OS threads in the process."""

def name_of_worker() -> str | None:
    """The name of the running OS thread if it is one of gevlite's own, else None."""

def count_in() -> None:
    """Count the running OS thread as gevlite's own. (A thread of the program could wake a greenlet.)"""

def count_out() -> None:
    """The running OS thread, counted by `count_in`, ends."""

class Task:
    """A call of `function(*args, **kwargs)`, in a copy of the contextvars context in which the task is made.

    A subclass defines how its waiters get the result. Its methods are called in the worker. `fail` may also be called
    after a `succeed` that was interrupted: waiters that have got the result do not get the error.
    """

    args: tuple[Any, ...] | None
    context: Context | None
    function: Callable[..., object] | None
    hub: Hub | None
    kwargs: Mapping[str, Any] | None
    def __init__(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None: ...
    def begin(self) -> bool:
        """Called first. Returns False if the call must not be made after all."""
    def end(self) -> None:
        """Called after the call, before the waiters get its result."""
    def succeed(self, value: Any) -> None:
        """The call returned `value`."""
    def fail(self, exc: BaseException) -> None:
        """The call raised `exc`."""
    def lose(self, exc: BaseException) -> None:
        """This is the child of a fork, and the call, begun or not, belongs to the parent."""

class Crew:
    """At most `limit` threads that do tasks. `idle_seconds`: how long a thread stays without work; None: for ever."""

    limit: int
    idle_seconds: float | None
    closing: bool
    changed: Watch
    lock: Any
    tasks: SimpleQueue[Task | None]
    size: int
    surplus: int
    unfinished: set[Task]
    untold: set[Task]
    def __init__(self, limit: int, idle_seconds: float | None = None) -> None: ...
    def check_open(self) -> None:
        """Raise an error if no more tasks are accepted."""
    def has_thread(self) -> bool:
        """Make sure that there is a thread for the next task. False: `submit` would do the task here."""
    def submit(self, task: Task) -> None:
        """Give `task` to a thread; start one if needed. Raises RuntimeError if none can be started.

        Does not block, except at the end of the interpreter, when the task may have to be done here.
        """
    def resize(self, size: int) -> None:
        """Start threads, or make some end as soon as the tasks queued now have been taken. Does not block."""
    def close(self) -> None:
        """Let the threads end when all tasks are done; no more will come. Does not block."""
    def wait_until(self, condition: Callable[[], object], timeout: float | None = None) -> bool:
        """Block until `condition()`, which depends on tasks and threads, is true, at most `timeout` seconds. Returns
        whether it is.

        Raises RuntimeError in a thread of the crew, which might wait for itself.
        """
    def is_here(self) -> bool:
        """True in a thread of this crew."""
    def begin_thread(self) -> None:
        """Called first thing in each thread."""
    def take_all(self) -> list[Task]:
        """Take the tasks that have not begun out of the queue. The caller has the lock, and calls `forget` for each."""
    def forget(self, task: Task) -> None:
        """The waiters for the task have been informed."""
