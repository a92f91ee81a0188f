import sys
from collections.abc import Callable, Iterable
from signal import struct_siginfo
from typing import Any, Generic, ParamSpec

from gevlite._core import Hub
from gevlite.greenlet import Greenlet

__implements__: list[str]
__imports__: list[str]
__extensions__: list[str]

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

def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int: ...
def pause() -> None: ...

if sys.platform == "linux":
    def sigtimedwait(sigset: Iterable[int], timeout: float, /) -> struct_siginfo | None: ...
    def sigwaitinfo(sigset: Iterable[int], /) -> struct_siginfo: ...
    def sigwait(sigset: Iterable[int], /) -> int: ...

# Last, because type checkers keep the first of two definitions.
from signal import *  # noqa: E402, F403
