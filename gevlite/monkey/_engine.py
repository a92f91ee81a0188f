"""The engine: put something in the place of a module's attribute, remember the original, put it back.

It works on any object with attributes; the areas also replace a few attributes of classes. What is remembered is filed
under a name: that of the module, or the module and qualified name of the class.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
import warnings

from gevlite import backends, events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "MonkeyPatchError",
    "MonkeyPatchWarning",
    "adopt",
    "adopt_class",
    "afterwards",
    "get_original",
    "harmless",
    "is_anything_patched",
    "is_module_patched",
    "is_object_patched",
    "load_twins",
    "on_unpatch",
    "patch_item",
    "patch_module",
    "patch_twin",
    "remove_item",
    "saved",
    "unadopted",
    "unpatch_all",
    "warn",
    "when_imported",
]

# name of the owner: {attribute: original}. An attribute that was not there before has the original MISSING.
saved = {}

MISSING = type("MISSING", (), {"__repr__": lambda self: "<missing>"})()

# What a warning looks behind to find who has called us; `patching` is a context manager.
_SKIPPED = ("gevlite.monkey", "contextlib")

# (module, id of an original): who has asked for it keeps it on purpose, and is not told of it.
asked_for = set()

_owners = {}
_undo = []
_adoptions = []  # what was given to `adopt`
changes = []  # and to `afterwards`
# Originals that are as good as their replacements: it is no harm if somebody has kept one.
harmless = []
# {kind of objects made before: why they stay as they are}. The memory of this Python's is not what we know.
unadopted = {}


class MonkeyPatchWarning(RuntimeWarning):
    """Something was patched too late, or cannot be patched fully."""


class MonkeyPatchError(RuntimeError):
    """`patch_all(strict=True)` found what it would only have warned of. Nothing is patched that was not before."""


def warn(message):
    """Issue a MonkeyPatchWarning that names the line outside this package from which we were called."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_SKIPPED):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, MonkeyPatchWarning, stacklevel=level)


def _name_of(owner):
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}"
    return owner.__name__


def _raw(owner, attribute):
    """What is stored, so that a staticmethod of a class is put back as one."""
    return vars(owner).get(attribute, MISSING)


def _remember(owner, attribute):
    name = _name_of(owner)
    _owners[name] = owner
    saved.setdefault(name, {}).setdefault(attribute, _raw(owner, attribute))


def patch_item(owner, attribute, replacement):
    """Set an attribute of a module (or a class), and remember the original the first time."""
    load_twins()
    if _raw(owner, attribute) is not replacement:
        _remember(owner, attribute)
        setattr(owner, attribute, replacement)


def remove_item(owner, attribute):
    """Take an attribute away, if it is there, and remember it."""
    if _raw(owner, attribute) is not MISSING:
        _remember(owner, attribute)
        delattr(owner, attribute)


def patch_module(target, source, items=None):
    """Replace in module `target` what module `source` implements: `items`, by default all of its `__implements__`.

    What `target` does not have on this platform is left out, unless it is asked for in `items`: then AttributeError.
    Subscribers of `gevlite.events` are told, and may prevent it.
    """
    if items is None:
        items = [name for name in source.__implements__ if hasattr(target, name)]
    if not events.may_patch(events.GeventWillPatchModuleEvent(target.__name__, source, target, items)):
        return
    for name in items:
        getattr(target, name)
        patch_item(target, name, getattr(source, name))
    events.notify(events.GeventDidPatchModuleEvent(target.__name__, source, target))


# gevlite's modules take what they need from the standard library when they are imported. All of them must have done so
# before the first original is replaced.
_NEEDED = (
    "_adopted",
    "_monitor",
    "builtins",
    "contextvars",
    "os",
    "queue",
    "resolver.thread",
    "select",
    "signal",
    "socket",
    "subprocess",
    "thread",
    "threading",
    "threadpool",
    "time",
)
_loaded = False


def load_twins():
    """Import every module of gevlite that must see the originals."""
    global _loaded
    if not _loaded:
        for name in _NEEDED:
            importlib.import_module(f"gevlite.{name}")
        if importlib.util.find_spec("_ssl") is not None:  # else a Python without OpenSSL
            importlib.import_module("gevlite.ssl")
        backends.prepare()
        _carry_out_lazy_imports()
        _loaded = True


def _carry_out_lazy_imports():
    """Those of gevlite's modules: from Python 3.15 on, all imports of a program may be lazy (PEP 810)."""
    lazy = getattr(types, "LazyImportType", None)
    seen = set()
    while lazy is not None:
        modules = [name for name in sys.modules if name.partition(".")[0] == "gevlite" and name not in seen]
        if not modules:
            return
        seen.update(modules)
        for module in map(sys.modules.get, modules):
            for attribute in [name for name, value in vars(module).items() if isinstance(value, lazy)]:
                getattr(module, attribute)  # which carries out the import


def patch_twin(name, items=None):
    """Patch with the twin `gevlite.<name>` the module of which it is one. Returns that."""
    load_twins()
    source = importlib.import_module(f"gevlite.{name}")
    target = importlib.import_module(getattr(source, "__target__", name))
    patch_module(target, source, items)
    return target


def on_unpatch(undo):
    """Have `unpatch_all` call `undo()`."""
    _undo.append(undo)


class _Watcher:
    """A finder at the head of `sys.meta_path` that finds nothing by itself: it has things done after an import."""

    def __init__(self):
        self.actions = {}

    def find_spec(self, name, path=None, target=None):
        if name not in self.actions:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader:
    """Loads as the loader that it wraps, which the module keeps, and then does what was to be done."""

    def __init__(self, loader, watcher):
        self._loader = loader
        self._watcher = watcher

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        action = self._watcher.actions.pop(module.__name__, None)
        if action is not None:
            with around_import():
                action(module)


_watcher = _Watcher()


def when_imported(name, action):
    """Call `action(module)` at once if the module `name` is imported, else when it is, unless it is unpatched before.

    Once for each patching: what it does is undone by `unpatch_all`.
    """
    if name in _patched_imports:
        return
    _patched_imports.add(name)
    module = sys.modules.get(name)
    if module is not None:
        action(module)
        return
    _watcher.actions[name] = action
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)


# What `when_imported` has been asked for.
_patched_imports = set()

# What belongs around a patch that an import makes; _patching sets it.
around_import: "Any" = contextlib.nullcontext


def adopt(kind, change):
    """Let objects of original types, those that exist and those to come, be cooperative.

    kind: what they are called. `change()` does that, and returns the types, and the functions that make such objects.
    If it raises it has changed nothing; then these objects stay as they are, and are named.
    """
    from gevlite import _adopted

    on_unpatch(_adopted.give_back)
    _adoptions.append((kind, change))
    unadopted.pop(kind, None)
    try:
        originals = change()
    except Exception as exc:  # whatever a Python to come has in stock: patching goes on
        unadopted[kind] = f"{type(exc).__name__}: {exc}"
        return
    harmless.extend(original for original in originals if original not in harmless)


def adopt_class(original, attributes):
    """Let instances of an original class be cooperative by new attributes of the class."""
    for name, value in attributes.items():
        patch_item(original, name, value)
    if original not in harmless:
        harmless.append(original)


def afterwards(change):
    """Have `change()` called at the end of the outermost `patching`, if that does not refuse: it changes objects."""
    changes.append(change)


class Mark:
    """A moment to go back to."""

    def __init__(self):
        self.saved = {name: set(items) for name, items in saved.items()}
        self.undo = len(_undo)
        self.adoptions = len(_adoptions)
        self.harmless = len(harmless)
        self.imports = set(_patched_imports)

    def go_back(self):
        while len(_undo) > self.undo:
            _undo.pop()()
        for name in list(saved):
            before = self.saved.get(name, ())
            _restore(name, [item for item in saved[name] if item not in before])
        for name in list(_patched_imports - self.imports):
            _patched_imports.discard(name)
            _watcher.actions.pop(name, None)
        del harmless[self.harmless :], _adoptions[self.adoptions :]
        again = _adoptions[:]
        unadopted.clear()
        _adoptions.clear()
        for kind, change in again:
            adopt(kind, change)  # what was undone with the others


def get_original(mod_name, item_name):
    """What the module's attribute was before patching, or is if it is not patched. A list of names gives a list.

    The module is imported if need be. Raises AttributeError if there is no such attribute.
    """
    asking = sys._getframe(1).f_globals.get("__name__")
    if isinstance(item_name, str):
        return _original(mod_name, item_name, asking)
    return [_original(mod_name, name, asking) for name in item_name]


def _original(mod_name, item_name, asking):
    original = saved.get(mod_name, {}).get(item_name, MISSING)
    if original is MISSING:
        original = getattr(importlib.import_module(mod_name), item_name)
    asked_for.add((asking, id(original)))
    return original


def is_module_patched(mod_name):
    """True if something of the module is replaced."""
    return mod_name in saved


def is_object_patched(mod_name, item_name):
    """True if this attribute of the module is replaced."""
    return item_name in saved.get(mod_name, ())


def is_anything_patched():
    """True if something is replaced anywhere."""
    return bool(saved)


def unpatch_all():
    """Put every original back. Objects made meanwhile stay as they are: sockets, locks, threads that are greenlets."""
    while _undo:
        _undo.pop()()
    _watcher.actions.clear()
    _patched_imports.clear()
    if _watcher in sys.meta_path:
        sys.meta_path.remove(_watcher)
    for name in list(saved):
        _restore(name, list(saved[name]))
    harmless.clear()
    unadopted.clear()
    _adoptions.clear()


def _restore(name, attributes):
    owner, items = _owners[name], saved[name]
    for attribute in attributes:
        original = items.pop(attribute)
        if original is not MISSING:
            setattr(owner, attribute, original)
        elif _raw(owner, attribute) is not MISSING:
            delattr(owner, attribute)
    if not items:
        del saved[name], _owners[name]
