from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from celery.concurrency.base import BasePool

from gevlite.greenlet import Greenlet

__all__ = ["TaskPool"]

_Callback: TypeAlias = Callable[..., object] | None

class TaskPool(BasePool):
    limit: int
    options: dict[str, Any]
    signal_safe: bool
    task_join_will_block: bool
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def on_apply(
        self,
        target: Callable[..., object],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
        accept_callback: _Callback = None,
        timeout_callback: _Callback = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> Job: ...
    def grow(self, n: int = 1) -> None: ...
    def shrink(self, n: int = 1) -> None: ...
    def terminate_job(self, pid: int, signal: int | None = None) -> None: ...
    def on_stop(self) -> None: ...
    def on_terminate(self) -> None: ...

class Job:
    number: int
    greenlet: Greenlet | None
    def __init__(
        self,
        target: Callable[..., object],
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        callback: _Callback,
        error_callback: _Callback,
        accept_callback: _Callback,
        timeout_callback: _Callback,
        timeout: float | None,
        soft_timeout: float | None,
    ) -> None: ...
    def run(self) -> None: ...
    def end(self) -> None: ...
    def terminate(self, signal: int | None = None) -> None: ...
