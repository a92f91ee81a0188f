"""Tell whoever wants to know what `gevlite.monkey` patches, and let them keep it from doing so.

::

    from gevlite import events
    events.subscribers.append(print)

Each of `subscribers` is called with one of the objects below, in the thread that patches; what it raises goes to who
has called `patch_all`, except for DoNotPatch. The classes have gevent's names, the reason being code that knows these.
"""

__all__ = [
    "DoNotPatch",
    "GeventDidPatchAllEvent",
    "GeventDidPatchBuiltinModulesEvent",
    "GeventDidPatchEvent",
    "GeventDidPatchModuleEvent",
    "GeventPatchEvent",
    "GeventWillPatchAllEvent",
    "GeventWillPatchEvent",
    "GeventWillPatchModuleEvent",
    "IGeventDidPatchAllEvent",
    "IGeventDidPatchBuiltinModulesEvent",
    "IGeventDidPatchEvent",
    "IGeventDidPatchModuleEvent",
    "IGeventPatchEvent",
    "IGeventWillPatchAllEvent",
    "IGeventWillPatchEvent",
    "IGeventWillPatchModuleEvent",
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
        from gevlite import monkey

        super().__init__(monkey, None)
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


# ---------------------------------------------------------------- interfaces


class _Interface(type):
    """The type of an interface: `isinstance` and `providedBy` tell whether an event is of the class of that name."""

    def __new__(mcs, name, bases, namespace):
        made = super().__new__(mcs, name, bases, namespace)
        made.__doc__ = f"What a {name[1:]} is. zope.interface is not needed, and knows nothing of it."
        return made

    def __instancecheck__(cls, instance):
        return isinstance(instance, globals()[cls.__name__[1:]])

    def providedBy(cls, event):
        """True if `event` is of the class of that name."""
        return isinstance(event, cls)

    def implementedBy(cls, other):
        """True if `other` is the class of that name, or derived from it."""
        return issubclass(other, globals()[cls.__name__[1:]])


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
