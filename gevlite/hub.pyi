from types import TracebackType
from typing import Any

from greenlet import greenlet

from gevlite import _core
from gevlite._core import get_hub as get_hub, sleep as sleep
from gevlite.exceptions import (
    BlockingSwitchOutError as BlockingSwitchOutError,
    ConcurrentObjectUseError as ConcurrentObjectUseError,
    InvalidSwitchError as InvalidSwitchError,
    LoopExit as LoopExit,
)
from gevlite.greenlet import (
    GreenletExit as GreenletExit,
    getcurrent as getcurrent,
    kill as kill,
    spawn_raw as spawn_raw,
)
from gevlite.signal import signal_handler as signal

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "GreenletExit",
    "Hub",
    "InvalidSwitchError",
    "LoopExit",
    "Waiter",
    "fork",
    "get_hub",
    "getcurrent",
    "idle",
    "kill",
    "reinit",
    "signal",
    "sleep",
    "spawn_raw",
]

class Hub(_core.Hub): ...

def idle(priority: int = 0) -> None: ...
def fork() -> int: ...
def reinit(hub: Hub | None = None) -> None: ...

class Waiter:
    hub: Hub
    def __init__(self, hub: Hub | None = None) -> None: ...
    def clear(self) -> None: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...
    @property
    def value(self) -> Any: ...
    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None] | None: ...
    @property
    def greenlet(self) -> greenlet | None: ...
    def switch(self, value: object = None) -> None: ...
    def switch_args(self, *args: object) -> None: ...
    def throw(
        self,
        exception: BaseException | type[BaseException] = ...,
        value: object = None,
        traceback: TracebackType | None = None,
    ) -> None: ...
    def get(self) -> Any: ...
