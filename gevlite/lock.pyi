"""Semaphores and locks.

All are fair: a release hands over to the greenlet that has waited longest. Neither a newcomer nor the releaser itself can
take the lock first. The counter is therefore above zero only while nothing waits.
"""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Literal, Self

from typing_extensions import disjoint_base

from gevlite._core import Hub, Waitable
from gevlite.timeout import Timeout

__all__ = ["BoundedSemaphore", "DummySemaphore", "RLock", "Semaphore"]

@disjoint_base
class Semaphore(Waitable):
    """A counter that `acquire` takes from and `release` adds to; `acquire` blocks at zero. Usable in `with`, and
    in coroutines of `gevlite.asyncio` in `async with`.

    May be shared between threads. Raises ValueError for a negative initial value.
    """
    def __init__(self, value: int = 1, hub: Hub | None = None) -> None: ...
    counter: int
    def locked(self) -> bool:
        """True if `acquire` would block."""
    def acquire(self, blocking: bool = True, timeout: float | Timeout | None = None) -> bool:
        """Take one; block until there is one, at most `timeout` seconds. False if there was none (in time)."""
    def release(self) -> int:
        """Give one back: to the first waiter, else to the counter. Does not block. Returns the counter."""
    def wait(self, timeout: float | Timeout | None = None) -> int:
        """Block until `acquire` would not, at most `timeout` seconds, without taking one. Returns the counter."""
    def __await__(self) -> Generator[Any, None, bool]:
        """`await semaphore`: `acquire` in a coroutine; True. Needs a loop of `gevlite.asyncio`."""
    def __aenter__(self) -> Awaitable[Self]: ...
    def __aexit__(self, exc_type: object, exc_value: object, traceback: object) -> Awaitable[None]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: object = None, exc_value: object = None, traceback: object = None) -> None: ...

class BoundedSemaphore(Semaphore):
    """A Semaphore that refuses to be released more often than it was acquired."""
    def __new__(cls, value: int = 1, hub: Hub | None = None) -> Self: ...

class DummySemaphore:
    """Stands in for a semaphore with endless supply: nothing blocks, nothing is counted."""
    def __init__(self, value: object = None) -> None: ...
    def locked(self) -> Literal[False]:
        """False."""
    def ready(self) -> Literal[True]:
        """True."""
    def acquire(self, blocking: bool = True, timeout: float | Timeout | None = None) -> Literal[True]:
        """True at once."""
    def release(self) -> None:
        """Does nothing."""
    def wait(self, timeout: float | Timeout | None = None) -> Literal[1]:
        """1 at once."""
    def rawlink(self, callback: Callable[[Any], object]) -> None:
        """Have the hub call `callback(self)` soon."""
    def unlink(self, callback: Callable[[Any], object]) -> None:
        """Does nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: object = None, exc_value: object = None, traceback: object = None) -> None: ...

@disjoint_base
class RLock:
    """A lock that its owner, a greenlet, may acquire again; it is free after as many releases. Usable in `with`."""
    def __init__(self, hub: Hub | None = None) -> None: ...
    def acquire(self, blocking: bool = True, timeout: float | Timeout | None = None) -> bool:
        """Take it; block while another greenlet has it, at most `timeout` seconds. False if that did not work."""
    def release(self) -> None:
        """Give it back once. Raises RuntimeError if the current greenlet does not have it."""
    def locked(self) -> bool:
        """True if some greenlet has it."""
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: object = None, exc_value: object = None, traceback: object = None) -> None: ...
