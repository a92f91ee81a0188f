"""Time limits for any block of code that makes blocking calls."""

from collections.abc import Callable
from traceback import FrameSummary
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeAlias, TypeVar, overload

from typing_extensions import disjoint_base

__all__ = ["Timeout", "with_timeout"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_V = TypeVar("_V")
_Exception: TypeAlias = BaseException | type[BaseException] | bool | str | None

@disjoint_base
class Timeout(BaseException):
    """An exception that is raised in the current greenlet when `seconds` are over.

    ::

        with Timeout(5):
            answer = sock.recv(1000)        # Timeout is raised here if it takes longer

    The greenlet must be in a blocking call, or enter one, for it to be raised. None never fires; 0 or less
    fires at the next blocking call that has to wait.

    exception: raised instead of the Timeout itself (an instance or a class). False: the Timeout is raised, and a `with`
    statement swallows it. A str is what `str()` adds to the seconds.
    ref: False means that the pending time-out does not keep the loop alive. `priority` is accepted and ignored.

    It is a BaseException so that `except Exception` does not swallow a time limit of the caller's. To tell yours from an
    outer one, compare: `except Timeout as t: if t is not mine: raise`. `where` tells which code started it.

    It can be given instead of a timeout in seconds, everywhere. A call that raises when the time is over then raises
    this Timeout. If it was not started before, the call starts and cancels it.
    """

    seconds: float | None
    exception: _Exception
    def __init__(
        self,
        seconds: float | Timeout | None = None,
        exception: _Exception = None,
        ref: bool = True,
        priority: int = -1,
        _one_shot: bool = False,
    ) -> None: ...
    @classmethod
    def start_new(
        cls,
        timeout: float | Timeout | None = None,
        exception: _Exception = None,
        ref: bool = True,
        _one_shot: bool = False,
    ) -> Self:
        """Make a Timeout of `timeout` seconds and start it. Given a Timeout, start that one unless it runs already."""
    @property
    def pending(self) -> bool:
        """True while the clock runs."""
    @property
    def where(self) -> FrameSummary | None:
        """Which code started it, a `traceback.FrameSummary`: `filename`, `lineno`, `name` of the function, `line`.

        For a Timeout that a call with `timeout=` has made and raised, it is that call. None until it is started.
        """
    def __float__(self) -> float: ...
    def start(self) -> None:
        """Start the clock for the current greenlet. Does not block. Raises AssertionError if it is running already."""
    def cancel(self) -> None:
        """Stop the clock. What has fired but not yet been raised is taken back. Calling it twice does nothing."""
    def close(self) -> None:
        """The same as `cancel()`."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> bool: ...

@overload
def with_timeout(
    seconds: float | Timeout | None, function: Callable[..., _T], *args: Any, timeout_value: _V, **kwds: Any
) -> _T | _V:
    """Call `function(*args, **kwds)` for at most `seconds`; return what it returns.

    When the time is over, raise Timeout, or return the keyword argument `timeout_value` if it is given (it is not
    passed on). A Timeout that the function itself started is always raised.
    """

@overload
def with_timeout(
    seconds: float | Timeout | None, function: Callable[_P, _T], *args: _P.args, **kwds: _P.kwargs
) -> _T: ...
def frame_summary(code: object, instruction: int) -> FrameSummary | None:
    """A `traceback.FrameSummary` of what `gevlite_caller` remembers: code and instruction. None for no code."""
