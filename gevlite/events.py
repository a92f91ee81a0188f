"""Tell whoever wants to know what `gevlite.monkey` patches, and let them keep it from doing so; and what a hub's
monitoring thread (`gevlite.config.monitor_thread`) finds.

::

    from gevlite import events
    events.subscribers.append(print)

Each of `subscribers` is called with one of the objects below, in the thread that patches; what it raises goes to
whoever called `patch_all`, except for DoNotPatch. What the monitoring thread finds is told in that thread, where
nothing may wait cooperatively; what is raised there goes to `sys.unraisablehook`. The classes have gevent's names,
because code knows these.
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
    """A subscriber raises it for a `...WillPatch...` event: then that is not patched."""


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
        super().__init__(sys.modules.get("gevlite.monkey"), None)  # whoever tells it
        self.patch_all_arguments = patch_all_arguments
        self.patch_all_kwargs = patch_all_kwargs


class GeventWillPatchAllEvent(_All, GeventWillPatchEvent):
    """`patch_all` begins. patch_all_arguments: its arguments. patch_all_kwargs: what it did not know, always empty."""

    def will_patch_module(self, module_name):
        """True if `patch_all` was asked for the area of this name."""
        return bool(self.patch_all_arguments.get(module_name))


class GeventDidPatchBuiltinModulesEvent(_All, GeventDidPatchEvent):
    """`patch_all` has patched everything."""


class GeventDidPatchAllEvent(_All, GeventDidPatchEvent):
    """`patch_all` has patched everything, and all subscribers of the event before this one have done what they do."""


class EventLoopBlocked:
    """One greenlet or callback has run for longer than `config.max_blocking_time`. It may be told again while it does.

    greenlet: the one that runs, or None if that cannot be told from outside. blocking_time: since when, in seconds, at
    least. info: the lines of the report, with the stack; a subscriber may change the list before it is printed. hub:
    the hub whose other greenlets wait.
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
    """The process uses more than `config.max_memory_usage`. Told again only if it uses still more.

    mem_usage and max_allowed: in bytes. memory_info: what else is known, as psutil has it.
    """


class MemoryUsageUnderThreshold(_MemoryEvent):
    """The process uses no more than it may, after it did. max_memory_usage: the most that it used, in bytes."""

    def __init__(self, mem_usage, max_allowed, memory_info, max_usage):
        super().__init__(mem_usage, max_allowed, memory_info)
        self.max_memory_usage = max_usage


class PeriodicMonitorThreadStartedEvent:
    """The monitoring thread of a hub starts; told in the hub's thread. monitor: what controls it, as the hub has it.

    After the subscribers, the entry points of this group are called with it.
    """

    ENTRY_POINT_NAME = "gevlite.plugins.hub.periodic_monitor_thread_started"

    def __init__(self, monitor):
        self.monitor = monitor

    def __repr__(self):
        return f"<{type(self).__name__} {self.monitor!r}>"


# ---------------------------------------------------------------- interfaces


# The classes of interfaces that are no events: by name, from the module that has them.
_elsewhere = {}


def provides(name):
    """A decorator: the class is what the interface of that name stands for."""

    def register(cls):
        _elsewhere[name] = cls
        return cls

    return register


class _Interface(type):
    """The type of an interface: `isinstance` and `providedBy` tell whether an event is of the class of that name."""

    def __new__(mcs, name, bases, namespace):
        made = super().__new__(mcs, name, bases, namespace)
        made.__doc__ = f"What a {name[1:]} is. zope.interface is not needed, and knows nothing of it."
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
