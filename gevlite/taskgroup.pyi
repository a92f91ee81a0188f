"""Greenlets that end in the block that started them, and deadlines that nest.

`TaskGroup` has the semantics of `asyncio.TaskGroup`, for greenlets. `CancelScope`, `fail_after` and `move_on_after` have
the names and the semantics of anyio's, except that a cancelled block is interrupted once, as by `kill` and `Timeout`.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from typing_extensions import disjoint_base

from gevlite.greenlet import Greenlet

__all__ = ["CancelScope", "Cancelled", "TaskGroup", "fail_after", "move_on_after"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

class Cancelled(BaseException):
    """Raised in a block that a CancelScope ends, and caught at the end of that block. Let it pass.

    It is a BaseException so that `except Exception` lets it pass.
    """

@disjoint_base
class CancelScope:
    """A block that can be ended: by `cancel()`, or when `seconds` are over.

    ::

        with CancelScope(5) as scope:
            answer = sock.recv(1000)
        if scope.cancelled_caught:
            print("no answer")

    The greenlet that runs the block gets a `Cancelled` in the blocking call that it is in, or in its next one that has to
    wait, and the `with` statement catches it. This happens once: a block that catches `Cancelled` itself goes on.

    Scopes nest. The `Cancelled` of an outer scope passes through the inner ones, so an inner scope never makes the time
    of an outer one longer.

    seconds: None for no deadline; 0 or less ends the block in its first call that has to wait. Raises ValueError for NaN.
    """

    deadline: float
    """When the block ends, by `time.monotonic()`; infinite for no deadline. Set it to move it: while the block runs.

    Raises RuntimeError if it is set before or after that.
    """
    def __init__(self, seconds: float | None = None) -> None: ...
    @property
    def cancel_called(self) -> bool: ...
    @property
    def cancelled_caught(self) -> bool: ...
    def cancel(self) -> None:
        """End the block. Does not block; from any greenlet and thread. Before the block begins, it ends in its first call
        that has to wait; after it has ended, nothing happens.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None, /
    ) -> bool: ...

def move_on_after(seconds: float | None) -> CancelScope:
    """A `CancelScope`: the block ends quietly when `seconds` are over. `scope.cancelled_caught` says whether it did."""

def fail_after(seconds: float | None) -> CancelScope:
    """A `CancelScope` that raises TimeoutError at the end of the block if `seconds` were over before the block was done.

    Nothing in the block can mistake that for an error of its own, for TimeoutError is raised only behind the block.
    """

class TaskGroup:
    """Greenlets that end in this block, with the semantics of `asyncio.TaskGroup`.

    ::

        with TaskGroup() as group:
            user = group.spawn(fetch_user, 1)
            orders = group.spawn(fetch_orders, 1)
        print(user.value, orders.value)

    The end of the block waits for every greenlet of the group, also for those that are spawned meanwhile. If one of them
    fails, the others are killed, the block is interrupted if it has not ended, and when all have ended their errors are
    raised together in an ExceptionGroup. An error of the block is one of these. A greenlet that is killed does not fail.

    What ends the block's own greenlet from outside (`kill`, a `Timeout`, an outer scope) kills the group's greenlets and
    is raised again when they have ended. If some of them failed, the ExceptionGroup is raised, and the greenlet is ended
    at its next call that has to wait. KeyboardInterrupt and SystemExit are raised as they are.

    In a coroutine of a loop of `gevlite.asyncio`, use `async with`.

    Groups nest. A group is used once, in one thread.
    """
    def __aenter__(self) -> Awaitable[Self]: ...
    def __aexit__(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None, /
    ) -> Awaitable[bool]: ...
    def __init__(self) -> None: ...
    def spawn(self, run: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Greenlet[..., _T]:
        """Start `run(*args, **kwargs)` in a new Greenlet of the group. Does not block. Returns the greenlet.

        Raises TypeError if `run` cannot be called, RuntimeError outside of the block, in another thread, and once the
        group is ending because of an error.
        """
    def cancel(self) -> None:
        """Kill the greenlets of the group and end the block quietly. Does not block; in the group's thread."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None, /
    ) -> bool: ...
