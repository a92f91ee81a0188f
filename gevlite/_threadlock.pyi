"""Lock, RLock and get_ident as `_thread` has them, for greenlets as well as for OS threads.

`lock.Semaphore` and `lock.RLock` are gevlite's own. The classes here follow the standard library exactly (time-outs where -1
means none, which error for which misuse, what Condition and the after-fork code expect), because `threading`,
`logging` and `importlib` are built on them once they are patched.

A release hands the lock to the greenlet that has waited longest. If any greenlet could take it, a greenlet that
releases it and acquires it again without blocking in between would always win, and the others would starve.

Taking a free lock makes no hub, so OS threads that never wait for one cost nothing.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self, final

from greenlet import greenlet
from typing_extensions import disjoint_base

__all__ = ["Lock", "RLock", "get_ident", "get_owner_ident", "report_thread_error"]

@final
class Lock:
    """What `threading.Lock()` makes: taken by `acquire` or `with`, given back by `release`, in any greenlet or thread.

    It may be shared by greenlets and by OS threads. Like the original it cannot be subclassed.
    """
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; block while it is taken, at most `timeout` seconds (-1: for ever). False if that did not work.

        Raises ValueError for a negative time and for a time given with `blocking=False`.
        """
    def release(self) -> None:
        """Give it back: to the first waiter if there is one. Does not block. Raises RuntimeError if it is not taken."""
    def locked(self) -> bool:
        """True if it is taken."""
    def acquire_lock(self, blocking: bool = True, timeout: float = -1) -> bool:
        """The old name of `acquire`."""
    def release_lock(self) -> None:
        """The old name of `release`."""
    def locked_lock(self) -> bool:
        """The old name of `locked`."""
    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...

@disjoint_base
class RLock:
    """What `threading.RLock()` makes: a lock that its owner may take again, free after as many releases.

    The owner is a greenlet; in an OS thread without greenlets, that thread.
    """
    def __new__(cls, *args: object, **kwargs: object) -> Self: ...
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; block while another has it, at most `timeout` seconds (-1: for ever). False if that did not work.

        Raises ValueError for a negative time and for a time given with `blocking=False`.
        """
    def release(self) -> None:
        """Give it back once. Raises RuntimeError if the caller does not own it."""
    def locked(self) -> bool:
        """True if it is taken."""
    def __enter__(self) -> bool: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...

def get_ident(gr: greenlet | None = None) -> int:
    """A number that no other live greenlet or OS thread has; that of `gr`, or of what runs.

    The main greenlet of an OS thread has the thread's own number, so that code that looks for the main thread finds it.
    Code that runs in the hub, a callback or a destructor, counts as the main greenlet. (Locks tell the two apart.)
    """

def get_owner_ident() -> int:
    """The number of the running code, as locks see it: code in the hub has another number than the main greenlet."""

def report_thread_error(exc: BaseException, function: Callable[..., object]) -> None:
    """Give an exception that ended a thread to `sys.unraisablehook`, as `_thread` does."""
