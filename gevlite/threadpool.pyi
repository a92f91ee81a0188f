"""Real threads for calls that block the thread: C code without an event loop, name look-ups, files on slow disks."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

from gevlite._core import Hub
from gevlite._executor import ThreadPoolExecutor as ThreadPoolExecutor
from gevlite.event import AsyncResult
from gevlite.pool import GroupMappingMixin
from gevlite.timeout import Timeout

__all__ = ["ThreadPool", "ThreadPoolExecutor", "get_default_size"]

_pools: WeakSet[ThreadPool]

_P = ParamSpec("_P")
_T = TypeVar("_T")

def get_default_size() -> int:
    """The maximum number of threads of a hub's own pool: `gevlite.config.threadpool_size`."""

def make_hub_pool(hub: Hub) -> ThreadPool:
    """Make `hub.threadpool`."""

class ThreadPool(GroupMappingMixin):
    """At most `maxsize` OS threads that make calls for greenlets, which wait for the results without blocking others.

    Greenlets of several threads may use it; each gets its results through its own hub. Its length is the number of
    calls that have not ended. After a fork, the child's first call starts new threads; results of calls that were
    running in the parent raise RuntimeError in the child.

    hub: the value of the attribute `hub`; by default the hub of the thread that makes the pool.
    idle_task_timeout: seconds after which a thread without work ends; -1: never.

    With a `maxsize` of 0, calls wait until it is raised. Raises ValueError for a negative value.
    """

    maxsize: int
    """The maximum number of threads. Lowering it ends threads as soon as they have no work."""
    size: int
    """The number of threads. Setting it starts threads, or blocks until some have ended.

    Busy threads end after their current call. Raises ValueError for more than `maxsize`.
    """
    def __init__(self, maxsize: int, hub: Hub | None = None, idle_task_timeout: float | None = -1) -> None: ...
    def __del__(self) -> None: ...
    def __len__(self) -> int: ...
    @property
    def hub(self) -> Hub | None:
        """The hub for which the pool was made; None if it no longer exists."""
    @property
    def task_queue(self) -> Any:
        """The queue from which the threads take their tasks; use it only to read its `qsize()`."""
    def spawn(self, func: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> AsyncResult[_T]:
        """Call `func(*args, **kwargs)` in a thread. Returns an AsyncResult, which also gets any BaseException.

        Blocks while `maxsize` calls are running and another one waits. If the caller is killed or its time is over
        meanwhile, the call is not made. The call sees the contextvars of the caller. Raises RuntimeError if no thread
        can be started.
        """
    def adjust(self) -> None:
        """End threads beyond `maxsize`, and start threads that queued calls need. Does not block."""
    def join(self, timeout: float | Timeout | None = None) -> bool:
        """Block until all calls have ended, at most `timeout` seconds. True if they have."""
    def kill(self, timeout: float | Timeout | None = None) -> bool:
        """Block until all threads have ended, at most `timeout` seconds. Running and queued calls are finished first.

        Returns True if all have ended. The pool can be used again.
        """
