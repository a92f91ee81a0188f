from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor as _StdExecutor
from typing import Any, ParamSpec, Self

from typing_extensions import TypeVar

__all__ = ["ThreadPoolExecutor"]

_P = ParamSpec("_P")
_T = TypeVar("_T", default=Any)

class CooperativeFuture(Future[_T]):
    def rawlink(self, callback: Callable[[Self], object]) -> None: ...
    def unlink(self, callback: Callable[[Self], object]) -> None: ...

class ThreadPoolExecutor(_StdExecutor):
    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None: ...
    def __del__(self) -> None: ...
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> CooperativeFuture[_T]: ...
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None: ...
    def kill(self, wait: bool = True, **kwargs: bool) -> None: ...
