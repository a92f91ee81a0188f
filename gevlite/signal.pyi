from collections.abc import Callable
from typing import Any, Generic, ParamSpec

from gevlite._core import Hub
from gevlite.greenlet import Greenlet

__all__ = ["signal_handler"]

_P = ParamSpec("_P")

class signal_handler(Generic[_P]):
    greenlet_class: type[Greenlet]
    hub: Hub
    handler: Callable[_P, object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ref: bool
    def __init__(self, signalnum: int, handler: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def handle(self) -> None: ...
    def cancel(self) -> None: ...
