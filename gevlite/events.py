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

import sys

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

#: Functions of one argument, the event.
subscribers = []


def notify(event):
    """Call each subscriber."""
    for subscriber in list(subscribers):
        subscriber(event)


def may_patch(event):
    """Call each subscriber; False if one raises DoNotPatch."""
    try:
        notify(event)
    except DoNotPatch:
        return False
    return True


class DoNotPatch(BaseException):
    """A subscriber raises this for a `...WillPatch...` event to prevent that patch."""


class GeventPatchEvent:
    """source: the object with the replacements. target: the one that is patched."""

    def __init__(self, source, target):
        self.source = source
        self.target = target

    def __repr__(self):
        return f"<{type(self).__name__} {self.target!r}>"


class GeventWillPatchEvent(GeventPatchEvent):
    """Something is about to be patched."""


class GeventDidPatchEvent(GeventPatchEvent):
    """Something has been patched."""


class GeventWillPatchModuleEvent(GeventWillPatchEvent):
    """A module is about to be patched. items: the names there."""

    def __init__(self, module_name, source, target, items):
        super().__init__(source, target)
        self.module_name = module_name
        self.items = items


class GeventDidPatchModuleEvent(GeventDidPatchEvent):
    """A module has been patched."""

    def __init__(self, module_name, source, target):
        super().__init__(source, target)
        self.module_name = module_name


class _All:
    def __init__(self, patch_all_arguments, patch_all_kwargs):
        super().__init__(sys.modules.get("gevlite.monkey"), None)  # the sender
        self.patch_all_arguments = patch_all_arguments
        self.patch_all_kwargs = patch_all_kwargs


class GeventWillPatchAllEvent(_All, GeventWillPatchEvent):
    """`patch_all` begins. patch_all_arguments: its arguments. patch_all_kwargs: unknown arguments, always empty."""

    def will_patch_module(self, module_name):
        """True if `patch_all` will patch the area of this name."""
        return bool(self.patch_all_arguments.get(module_name))


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

    def __init__(self, greenlet, blocking_time, info, *, hub=None):
        self.greenlet = greenlet
        self.blocking_time = blocking_time
        self.info = info
        self.hub = hub

    def __repr__(self):
        return f"<{type(self).__name__} by {self.greenlet!r} for {self.blocking_time:.3f} s>"


class _MemoryEvent:
    def __init__(self, mem_usage, max_allowed, memory_info):
        self.mem_usage = mem_usage
        self.max_allowed = max_allowed
        self.memory_info = memory_info

    def __repr__(self):
        return f"<{type(self).__name__} used={self.mem_usage} max={self.max_allowed} details={self.memory_info!r}>"


class MemoryUsageThresholdExceeded(_MemoryEvent):
    """The process uses more than `config.max_memory_usage`. Repeated only if its use grows further.

    mem_usage and max_allowed: in bytes. memory_info: further values, in psutil's form.
    """


class MemoryUsageUnderThreshold(_MemoryEvent):
    """Memory use is back under the limit. max_memory_usage: the highest use before that, in bytes."""

    def __init__(self, mem_usage, max_allowed, memory_info, max_usage):
        super().__init__(mem_usage, max_allowed, memory_info)
        self.max_memory_usage = max_usage


class PeriodicMonitorThreadStartedEvent:
    """The monitoring thread of a hub starts; sent in the hub's thread. monitor: the object that controls the thread.

    After the subscribers, the entry points of this group are called with the event.
    """

    ENTRY_POINT_NAME = "gevlite.plugins.hub.periodic_monitor_thread_started"

    def __init__(self, monitor):
        self.monitor = monitor

    def __repr__(self):
        return f"<{type(self).__name__} {self.monitor!r}>"


# ---------------------------------------------------------------- interfaces


# The classes of interfaces that are not events, by name; the module that has a class registers it.
_elsewhere = {}


def provides(name):
    """A decorator: the interface of that name stands for the class."""

    def register(cls):
        _elsewhere[name] = cls
        return cls

    return register


class _Interface(type):
    """The type of an interface: `isinstance` and `providedBy` check whether an object is of the class of that name."""

    def __new__(mcs, name, bases, namespace):
        made = super().__new__(mcs, name, bases, namespace)
        made.__doc__ = f"What a {name[1:]} is. Does not use zope.interface, which does not know it."
        return made

    @property
    def _class(cls):
        return _elsewhere.get(cls.__name__) or globals()[cls.__name__[1:]]

    def __instancecheck__(cls, instance):
        return isinstance(instance, cls._class)

    def providedBy(cls, event):
        """True if `event` is of the class of that name."""
        return isinstance(event, cls)

    def implementedBy(cls, other):
        """True if `other` is the class of that name, or derived from it."""
        return issubclass(other, cls._class)


class IGeventPatchEvent(metaclass=_Interface):
    pass


class IGeventWillPatchEvent(IGeventPatchEvent):
    pass


class IGeventDidPatchEvent(IGeventPatchEvent):
    pass


class IGeventWillPatchModuleEvent(IGeventWillPatchEvent):
    pass


class IGeventDidPatchModuleEvent(IGeventDidPatchEvent):
    pass


class IGeventWillPatchAllEvent(IGeventWillPatchEvent):
    pass


class IGeventDidPatchBuiltinModulesEvent(IGeventDidPatchEvent):
    pass


class IGeventDidPatchAllEvent(IGeventDidPatchEvent):
    pass


class IEventLoopBlocked(metaclass=_Interface):
    pass


class IMemoryUsageThresholdExceeded(metaclass=_Interface):
    pass


class IMemoryUsageUnderThreshold(metaclass=_Interface):
    pass


class IPeriodicMonitorThread(metaclass=_Interface):
    pass


class IPeriodicMonitorThreadStartedEvent(metaclass=_Interface):
    pass
