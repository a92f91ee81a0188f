"""Event and AsyncResult: wait for something to happen, or for a value."""

from collections.abc import Generator
from types import GenericAlias, TracebackType
from typing import Any, Generic, Literal, Protocol, TypeAlias, overload, type_check_only

from typing_extensions import TypeVar, disjoint_base

from gevlite._core import Waitable
from gevlite.timeout import Timeout

__all__ = ["AsyncResult", "Event"]

_T = TypeVar("_T", default=Any)
_T_co = TypeVar("_T_co", covariant=True)

_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

# What an AsyncResult can take over from: a Greenlet, another AsyncResult.
@type_check_only
class _Source(Protocol[_T_co]):
    @property
    def value(self) -> _T_co | None: ...
    @property
    def exception(self) -> BaseException | None: ...
    def successful(self) -> bool: ...

@disjoint_base
class Event(Waitable):
    """A flag that greenlets, also of different threads, can wait for. Like `threading.Event`.

    Waiters are woken in the order in which they came.
    """
    def __init__(self) -> None: ...
    def is_set(self) -> bool:
        """True if the flag is set."""
    def isSet(self) -> bool:
        """The same as `is_set()`."""
    def set(self) -> None:
        """Set the flag and wake all waiters. Does not block."""
    def clear(self) -> None:
        """Clear the flag. Those already woken by `set()` stay woken."""
    def wait(self, timeout: float | Timeout | None = None) -> bool:
        """Block until the flag is set, at most `timeout` seconds. True if it was set, False if the time ran out."""
    def __await__(self) -> Generator[Any, None, bool]:
        """`await event`: wait in a coroutine until the flag is set; True. Needs a loop of `gevlite.asyncio`."""

@disjoint_base
class AsyncResult(Waitable, Generic[_T]):
    """A value or an exception that will be there later. Like `concurrent.futures.Future`, also a link target::

    result = AsyncResult()
    greenlet.link(result)       # takes over its value or its error
    """
    def __init__(self) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    @property
    def value(self) -> _T | None:
        """The value, or None until there is one."""
    @property
    def exception(self) -> BaseException | None:
        """The exception, or None."""
    @property
    def exc_info(self) -> _ExcInfo | tuple[()]:
        """`(type, exception, traceback)` of the error, or an empty tuple."""
    def done(self) -> bool:
        """The same as `ready()`."""
    def successful(self) -> bool:
        """True if it has a value."""
    def cancel(self) -> Literal[False]:
        """Always False: the code that produces the value does not belong to us."""
    def cancelled(self) -> Literal[False]:
        """Always False, see `cancel`."""
    @overload
    def set(self: AsyncResult[None], value: None = None) -> None:
        """Give it a value and wake all waiters. Setting it again replaces the value."""
    @overload
    def set(self, value: _T) -> None: ...
    @overload
    def set_result(self: AsyncResult[None], value: None = None) -> None:
        """The same as `set()`."""
    @overload
    def set_result(self, value: _T) -> None: ...
    def set_exception(
        self,
        exception: BaseException | type[BaseException],
        exc_info: _ExcInfo | tuple[None, None, None] | tuple[()] | None = None,
    ) -> None:
        """Give it an exception and wake all waiters. `exc_info`: its `(type, value, traceback)`, if known."""
    def __call__(self, source: _Source[_T]) -> None:
        """Take over from a greenlet, or anything else with `successful`, `value` and `exception`."""
    def get(self, block: bool = True, timeout: float | Timeout | None = None) -> _T:
        """Return the value or raise the exception; block until it is there, at most `timeout` seconds.

        Raises Timeout when the time is over, or at once if `block` is false and there is nothing yet.
        """
    def get_nowait(self) -> _T:
        """`get(block=False)`."""
    def result(self, timeout: float | Timeout | None = None) -> _T:
        """`get()` under the name that `concurrent.futures` gives it."""
    def wait(self, timeout: float | Timeout | None = None) -> _T | None:
        """Block until it is ready, at most `timeout` seconds. Returns the value, None if there is none. Never raises it."""
    def __await__(self) -> Generator[Any, None, _T]:
        """`await result`: the value or the exception, in a coroutine. Needs a loop of `gevlite.asyncio`."""
