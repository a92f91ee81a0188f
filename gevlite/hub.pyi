from collections.abc import Sequence
from types import TracebackType
from typing import Any

from greenlet import greenlet

from gevlite import _core
from gevlite._core import get_hub as get_hub, sleep as sleep
from gevlite._monitor import PeriodicMonitoringThread
from gevlite.exceptions import (
    BlockingSwitchOutError as BlockingSwitchOutError,
    ConcurrentObjectUseError as ConcurrentObjectUseError,
    HubDestroyed as HubDestroyed,
    InvalidSwitchError as InvalidSwitchError,
    LoopExit as LoopExit,
)
from gevlite.greenlet import (
    GreenletExit as GreenletExit,
    getcurrent as getcurrent,
    iwait as iwait,
    kill as kill,
    spawn_raw as spawn_raw,
    wait as wait,
)
from gevlite.loop import Loop
from gevlite.signal import signal_handler as signal

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "GreenletExit",
    "Hub",
    "HubDestroyed",
    "InvalidSwitchError",
    "LoopExit",
    "Waiter",
    "fork",
    "get_hub",
    "getcurrent",
    "idle",
    "iwait",
    "kill",
    "reinit",
    "set_hub",
    "signal",
    "sleep",
    "spawn_raw",
    "wait",
]

class Hub(_core.Hub):
    periodic_monitoring_thread: PeriodicMonitoringThread | None
    def __init__(self, backend: str | Sequence[str] | _core.Backend | type[_core.Backend] | None = None) -> None: ...
    def start_periodic_monitoring_thread(self) -> PeriodicMonitoringThread: ...
    loop_class: type[Loop]
    @property
    def resolver_class(self) -> Any: ...
    @property
    def threadpool_class(self) -> Any: ...
    @property
    def threadpool_size(self) -> int: ...
    def __delattr__(self, name: str) -> None: ...

def set_hub(hub: Hub | None) -> None: ...
def idle(priority: int = 0) -> None: ...
def fork() -> int: ...
def reinit(hub: Hub | None = None) -> None: ...

class SwitchWaiter:
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
    def __call__(self, source: Any) -> None: ...
    def switch(self, value: object = None) -> None: ...
    def switch_args(self, *args: object) -> None: ...
    def throw(
        self,
        exception: BaseException | type[BaseException] = ...,
        value: object = None,
        traceback: TracebackType | None = None,
    ) -> None: ...
    def get(self) -> Any: ...

Waiter = SwitchWaiter
