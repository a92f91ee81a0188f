from collections.abc import Callable, Mapping, Sequence
from typing import Any

from greenlet import greenlet as greenlet_type

from gevlite._monitor import PeriodicMonitoringThread
from gevlite.hub import Hub

__all__ = [
    "DoNotPatch",
    "EventLoopBlocked",
    "GeventDidPatchAllEvent",
    "GeventDidPatchBuiltinModulesEvent",
    "GeventDidPatchEvent",
    "GeventDidPatchModuleEvent",
    "GeventPatchEvent",
    "GeventWillPatchAllEvent",
    "GeventWillPatchEvent",
    "GeventWillPatchModuleEvent",
    "IEventLoopBlocked",
    "IGeventDidPatchAllEvent",
    "IGeventDidPatchBuiltinModulesEvent",
    "IGeventDidPatchEvent",
    "IGeventDidPatchModuleEvent",
    "IGeventPatchEvent",
    "IGeventWillPatchAllEvent",
    "IGeventWillPatchEvent",
    "IGeventWillPatchModuleEvent",
    "IMemoryUsageThresholdExceeded",
    "IMemoryUsageUnderThreshold",
    "IPeriodicMonitorThread",
    "IPeriodicMonitorThreadStartedEvent",
    "MemoryUsageThresholdExceeded",
    "MemoryUsageUnderThreshold",
    "PeriodicMonitorThreadStartedEvent",
    "subscribers",
]

subscribers: list[Callable[[Any], object]]

def notify(event: object) -> None: ...
def may_patch(event: object) -> bool: ...

class DoNotPatch(BaseException): ...

class GeventPatchEvent:
    source: Any
    target: Any
    def __init__(self, source: Any, target: Any) -> None: ...

class GeventWillPatchEvent(GeventPatchEvent): ...
class GeventDidPatchEvent(GeventPatchEvent): ...

class GeventWillPatchModuleEvent(GeventWillPatchEvent):
    module_name: str
    items: Sequence[str]
    def __init__(self, module_name: str, source: Any, target: Any, items: Sequence[str]) -> None: ...

class GeventDidPatchModuleEvent(GeventDidPatchEvent):
    module_name: str
    def __init__(self, module_name: str, source: Any, target: Any) -> None: ...

class _All:
    patch_all_arguments: dict[str, Any]
    patch_all_kwargs: dict[str, Any]
    def __init__(self, patch_all_arguments: Mapping[str, Any], patch_all_kwargs: Mapping[str, Any]) -> None: ...

class GeventWillPatchAllEvent(_All, GeventWillPatchEvent):
    def will_patch_module(self, module_name: str) -> bool: ...

class GeventDidPatchBuiltinModulesEvent(_All, GeventDidPatchEvent): ...
class GeventDidPatchAllEvent(_All, GeventDidPatchEvent): ...

class EventLoopBlocked:
    greenlet: greenlet_type | None
    blocking_time: float
    info: list[str]
    hub: Hub | None
    def __init__(
        self, greenlet: greenlet_type | None, blocking_time: float, info: list[str], *, hub: Hub | None = None
    ) -> None: ...

class _MemoryEvent:
    mem_usage: int
    max_allowed: int
    memory_info: Any
    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any) -> None: ...

class MemoryUsageThresholdExceeded(_MemoryEvent): ...

class MemoryUsageUnderThreshold(_MemoryEvent):
    max_memory_usage: int
    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any, max_usage: int) -> None: ...

class PeriodicMonitorThreadStartedEvent:
    ENTRY_POINT_NAME: str
    monitor: PeriodicMonitoringThread
    def __init__(self, monitor: PeriodicMonitoringThread) -> None: ...

class _Interface(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Interface: ...
    def providedBy(cls, event: object) -> bool: ...
    def implementedBy(cls, other: type) -> bool: ...

class IGeventPatchEvent(metaclass=_Interface): ...
class IGeventWillPatchEvent(IGeventPatchEvent): ...
class IGeventDidPatchEvent(IGeventPatchEvent): ...
class IGeventWillPatchModuleEvent(IGeventWillPatchEvent): ...
class IGeventDidPatchModuleEvent(IGeventDidPatchEvent): ...
class IGeventWillPatchAllEvent(IGeventWillPatchEvent): ...
class IGeventDidPatchBuiltinModulesEvent(IGeventDidPatchEvent): ...
class IGeventDidPatchAllEvent(IGeventDidPatchEvent): ...
class IEventLoopBlocked(metaclass=_Interface): ...
class IMemoryUsageThresholdExceeded(metaclass=_Interface): ...
class IMemoryUsageUnderThreshold(metaclass=_Interface): ...
class IPeriodicMonitorThread(metaclass=_Interface): ...
class IPeriodicMonitorThreadStartedEvent(metaclass=_Interface): ...
