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
    ) -> Self: ...
    @property
    def pending(self) -> bool: ...
    @property
    def where(self) -> FrameSummary | None: ...
    def __float__(self) -> float: ...
    def start(self) -> None: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> bool: ...

@overload
def with_timeout(
    seconds: float | Timeout | None, function: Callable[..., _T], *args: Any, timeout_value: _V, **kwds: Any
) -> _T | _V: ...
@overload
def with_timeout(
    seconds: float | Timeout | None, function: Callable[_P, _T], *args: _P.args, **kwds: _P.kwargs
) -> _T: ...
def frame_summary(code: object, instruction: int) -> FrameSummary | None: ...
