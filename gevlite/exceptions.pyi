from gevlite._core import Hub

__all__ = [
    "BlockingSwitchOutError",
    "ConcurrentObjectUseError",
    "HubDestroyed",
    "InvalidSwitchError",
    "InvalidThreadUseError",
    "LoopExit",
]

class LoopExit(Exception):
    @property
    def hub(self) -> Hub | None: ...

class InvalidSwitchError(AssertionError): ...
class InvalidThreadUseError(RuntimeError): ...
class BlockingSwitchOutError(AssertionError): ...
class HubDestroyed(RuntimeError): ...
class ConcurrentObjectUseError(AssertionError): ...
