from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

__all__ = ["Hook", "hook_of"]

@disjoint_base
class Hook:
    @property
    def __name__(self) -> str: ...
    def __init__(
        self,
        get: Callable[[], AbstractEventLoop | None],
        set: Callable[[AbstractEventLoop | None], object],
        swap_task: Callable[[AbstractEventLoop, Task[Any] | None], Task[Any] | None] | None = None,
    ) -> None: ...
    def __call__(self, loop: AbstractEventLoop | None, /) -> None: ...
    def begin(self, loop: AbstractEventLoop) -> None: ...
    def end(self) -> None: ...

def hook_of(set: Callable[[AbstractEventLoop | None], object]) -> Hook | None: ...
