"""Events for subscribers: what `gevlite.monkey` patches, which a subscriber may prevent, and what a hub's monitoring
thread (`gevlite.config.monitor_thread`) finds.

::

    from gevlite import events
    events.subscribers.append(print)

Each of `subscribers` is called with one of the objects below, in the thread that patches; its exceptions, except
DoNotPatch, are raised by `patch_all`. For events of the monitoring thread, subscribers are called in that thread and
must not wait cooperatively; their exceptions go to `sys.unraisablehook`. The classes have gevent's names, because
existing code uses them.
"""

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
"""Functions of one argument, the event."""

def notify(event: object) -> None:
    """Call each subscriber."""

def may_patch(event: object) -> bool:
    """Call each subscriber; False if one raises DoNotPatch."""

class DoNotPatch(BaseException):
    """A subscriber raises this for a `...WillPatch...` event to prevent that patch."""

class GeventPatchEvent:
    """source: the object with the replacements. target: the one that is patched."""

    source: Any
    target: Any
    def __init__(self, source: Any, target: Any) -> None: ...

class GeventWillPatchEvent(GeventPatchEvent):
    """Something is about to be patched."""

class GeventDidPatchEvent(GeventPatchEvent):
    """Something has been patched."""

class GeventWillPatchModuleEvent(GeventWillPatchEvent):
    """A module is about to be patched. items: the names there."""

    module_name: str
    items: Sequence[str]
    def __init__(self, module_name: str, source: Any, target: Any, items: Sequence[str]) -> None: ...

class GeventDidPatchModuleEvent(GeventDidPatchEvent):
    """A module has been patched."""

    module_name: str
    def __init__(self, module_name: str, source: Any, target: Any) -> None: ...

class _All:
    patch_all_arguments: dict[str, Any]
    patch_all_kwargs: dict[str, Any]
    def __init__(self, patch_all_arguments: Mapping[str, Any], patch_all_kwargs: Mapping[str, Any]) -> None: ...

class GeventWillPatchAllEvent(_All, GeventWillPatchEvent):
    """`patch_all` begins. patch_all_arguments: its arguments. patch_all_kwargs: unknown arguments, always empty."""
    def will_patch_module(self, module_name: str) -> bool:
        """True if `patch_all` will patch the area of this name."""

class GeventDidPatchBuiltinModulesEvent(_All, GeventDidPatchEvent):
    """`patch_all` has patched everything."""

class GeventDidPatchAllEvent(_All, GeventDidPatchEvent):
    """`patch_all` has patched everything, and all subscribers have handled the event before this one."""

class EventLoopBlocked:
    """A greenlet or callback has run for longer than `config.max_blocking_time`. The event may repeat while it runs on.

    greenlet: the one that runs, or None if that cannot be found out. blocking_time: for how long at least, in seconds.
    info: the lines of the report, with the stack; a subscriber may change the list before it is printed. hub: the hub
    of the greenlets that wait meanwhile.
    """

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

class MemoryUsageThresholdExceeded(_MemoryEvent):
    """The process uses more than `config.max_memory_usage`. Repeated only if its use grows further.

    mem_usage and max_allowed: in bytes. memory_info: further values, in psutil's form.
    """

class MemoryUsageUnderThreshold(_MemoryEvent):
    """Memory use is back under the limit. max_memory_usage: the highest use before that, in bytes."""

    max_memory_usage: int
    def __init__(self, mem_usage: int, max_allowed: int, memory_info: Any, max_usage: int) -> None: ...

class PeriodicMonitorThreadStartedEvent:
    """The monitoring thread of a hub starts; sent in the hub's thread. monitor: the object that controls the thread.

    After the subscribers, the entry points of this group are called with the event.
    """

    ENTRY_POINT_NAME: str
    monitor: PeriodicMonitoringThread
    def __init__(self, monitor: PeriodicMonitoringThread) -> None: ...

class _Interface(type):
    """The type of an interface: `isinstance` and `providedBy` check whether an object is of the class of that name."""
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Interface: ...
    def providedBy(cls, event: object) -> bool:
        """True if `event` is of the class of that name."""
    def implementedBy(cls, other: type) -> bool:
        """True if `other` is the class of that name, or derived from it."""

class IGeventPatchEvent(metaclass=_Interface):
    """What a GeventPatchEvent is. Does not use zope.interface, which does not know it."""

class IGeventWillPatchEvent(IGeventPatchEvent):
    """What a GeventWillPatchEvent is. Does not use zope.interface, which does not know it."""

class IGeventDidPatchEvent(IGeventPatchEvent):
    """What a GeventDidPatchEvent is. Does not use zope.interface, which does not know it."""

class IGeventWillPatchModuleEvent(IGeventWillPatchEvent):
    """What a GeventWillPatchModuleEvent is. Does not use zope.interface, which does not know it."""

class IGeventDidPatchModuleEvent(IGeventDidPatchEvent):
    """What a GeventDidPatchModuleEvent is. Does not use zope.interface, which does not know it."""

class IGeventWillPatchAllEvent(IGeventWillPatchEvent):
    """What a GeventWillPatchAllEvent is. Does not use zope.interface, which does not know it."""

class IGeventDidPatchBuiltinModulesEvent(IGeventDidPatchEvent):
    """What a GeventDidPatchBuiltinModulesEvent is. Does not use zope.interface, which does not know it."""

class IGeventDidPatchAllEvent(IGeventDidPatchEvent):
    """What a GeventDidPatchAllEvent is. Does not use zope.interface, which does not know it."""

class IEventLoopBlocked(metaclass=_Interface):
    """What a EventLoopBlocked is. Does not use zope.interface, which does not know it."""

class IMemoryUsageThresholdExceeded(metaclass=_Interface):
    """What a MemoryUsageThresholdExceeded is. Does not use zope.interface, which does not know it."""

class IMemoryUsageUnderThreshold(metaclass=_Interface):
    """What a MemoryUsageUnderThreshold is. Does not use zope.interface, which does not know it."""

class IPeriodicMonitorThread(metaclass=_Interface):
    """What a PeriodicMonitorThread is. Does not use zope.interface, which does not know it."""

class IPeriodicMonitorThreadStartedEvent(metaclass=_Interface):
    """What a PeriodicMonitorThreadStartedEvent is. Does not use zope.interface, which does not know it."""
