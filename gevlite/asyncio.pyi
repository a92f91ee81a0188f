import asyncio
from collections.abc import Callable
from typing import TypeVarTuple

from gevlite._aio import LoopCore

__all__ = ["EventLoop"]

_Ts = TypeVarTuple("_Ts")

class EventLoop(LoopCore, asyncio.SelectorEventLoop):
    def __init__(self) -> None: ...
    def close(self) -> None: ...
    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None: ...
    def remove_signal_handler(self, sig: int) -> bool: ...
