from gevlite._core import Hub as Hub, Waiter as Waiter, get_hub as get_hub, sleep as sleep
from gevlite.exceptions import (
    BlockingSwitchOutError as BlockingSwitchOutError,
    InvalidSwitchError as InvalidSwitchError,
    LoopExit as LoopExit,
)
from gevlite.greenlet import (
    GreenletExit as GreenletExit,
    getcurrent as getcurrent,
    kill as kill,
    spawn_raw as spawn_raw,
)

__all__ = [
    "BlockingSwitchOutError",
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
    "sleep",
    "spawn_raw",
]

def idle(priority: int = 0) -> None: ...
def fork() -> int: ...
def reinit(hub: Hub | None = None) -> None: ...
