"""ThreadPoolExecutor: the interface of `concurrent.futures`, real threads, futures that block one greenlet only.

The standard futures wait on a condition of `threading`. Without patching, that blocks the whole OS thread with its hub.
With patching it works, but then the standard executor's threads are greenlets too. So gevlite's executor has threads of
its own, and its futures have a condition of their own.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor as _StdExecutor
from typing import Any, ParamSpec, Self

from typing_extensions import TypeVar

__all__ = ["ThreadPoolExecutor"]

_P = ParamSpec("_P")
_T = TypeVar("_T", default=Any)

class CooperativeFuture(Future[_T]):
    """A Future whose `result` and `exception`, and so `wait` and `as_completed`, block only the calling greenlet.

    `gevlite.wait` and `gevlite.iwait` also accept it.
    """
    def rawlink(self, callback: Callable[[Self], object]) -> None:
        """Make this thread's hub call `callback(self)` once, when the future is done."""
    def unlink(self, callback: Callable[[Self], object]) -> None:
        """Remove a callback added by `rawlink`. An unknown one is ignored."""

class ThreadPoolExecutor(_StdExecutor):
    """A `concurrent.futures.ThreadPoolExecutor` whose threads are real ones whether or not the process is patched.

    Waiting for its futures (with their methods, `concurrent.futures.wait`, `as_completed` or `gevlite.wait`) and for
    its `shutdown` blocks only the calling greenlet. `submit` never blocks. Calls see the contextvars of the caller.

    As with the standard one, done-callbacks run in the worker thread, and the interpreter waits at exit for the
    submitted calls. The threads have no names: `thread_name_prefix` is accepted and ignored. In the child of a fork,
    futures that were not done raise RuntimeError; the executor continues with new threads.
    """
    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None: ...
    def __del__(self) -> None: ...
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> CooperativeFuture[_T]:
        """Call `fn(*args, **kwargs)` in a thread. Returns a Future. Does not block.

        Raises RuntimeError after `shutdown` and if no thread can be started, BrokenThreadPool if an initializer failed.
        """
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and let the threads end when the submitted calls are done. May be called again.

        wait: block until the threads have ended.
        cancel_futures: cancel the calls that have not begun.

        Raises RuntimeError if one of the threads would wait for itself.
        """
    def kill(self, wait: bool = True, **kwargs: bool) -> None:
        """The same as `shutdown`: a call that runs in a thread cannot be stopped."""
