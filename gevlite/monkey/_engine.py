"""The engine: replace attributes of modules, remember the originals, and restore them.

It works on any object with attributes; the areas also replace a few attributes of classes. Originals are stored under a
name: that of the module, or the module and qualified name of the class.
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

# Modules that a warning skips to find the caller; `patching` is a context manager.
_SKIPPED = ("gevlite.monkey", "contextlib")

# (module, id of an original): the module has called `get_original`, so it keeps the original on purpose: no warning.
asked_for = set()

_owners = {}
_undo = []
_adoptions = []  # what was given to `adopt`
changes = []  # and to `afterwards`
# Originals that work as well as their replacements: keeping one does no harm.
harmless = []
# {kind of existing objects: why they stay unchanged}: this Python has an unknown memory layout for them.
unadopted = {}


class MonkeyPatchWarning(RuntimeWarning):
    """Something was patched too late, or cannot be patched fully."""


class MonkeyPatchError(RuntimeError):
    """`patch_all(strict=True)` found a reason for a warning. Nothing is patched that was not patched before."""


def warn(message):
    """Issue a MonkeyPatchWarning that names the calling line outside this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_SKIPPED):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, MonkeyPatchWarning, stacklevel=level)


def _name_of(owner):
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}"
    return owner.__name__


def _raw(owner, attribute):
    """The stored attribute, so that a staticmethod of a class is restored as one."""
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
    """Remove an attribute, if it exists, and remember it."""
    if _raw(owner, attribute) is not MISSING:
        _remember(owner, attribute)
        delattr(owner, attribute)


def patch_module(target, source, items=None):
    """Replace names in module `target` by those of module `source`: `items`, by default all of its `__implements__`.

    Names that `target` does not have on this platform are skipped, unless `items` contains them: then AttributeError.
    Subscribers of `gevlite.events` are notified, and may prevent it.
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
        if importlib.util.find_spec("_ssl") is not None:  # otherwise Python was built without OpenSSL
            importlib.import_module("gevlite.ssl")
        backends.prepare()
        _carry_out_lazy_imports()
        _loaded = True


def _carry_out_lazy_imports():
    """Execute the lazy imports of gevlite's modules: from Python 3.15 on, all imports may be lazy (PEP 810)."""
    lazy = getattr(types, "LazyImportType", None)
    seen = set()
    while lazy is not None:
        modules = [name for name in sys.modules if name.partition(".")[0] == "gevlite" and name not in seen]
        if not modules:
            return
        seen.update(modules)
        for module in map(sys.modules.get, modules):
            for attribute in [name for name, value in vars(module).items() if isinstance(value, lazy)]:
                getattr(module, attribute)  # executes the import


def patch_twin(name, items=None):
    """Patch a module with its twin `gevlite.<name>`. Returns the module."""
    load_twins()
    source = importlib.import_module(f"gevlite.{name}")
    target = importlib.import_module(getattr(source, "__target__", name))
    patch_module(target, source, items)
    return target


def on_unpatch(undo):
    """Make `unpatch_all` call `undo()`."""
    _undo.append(undo)


class _Watcher:
    """A finder at the head of `sys.meta_path` that finds nothing itself, but runs actions after an import."""

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
    """Loads with the loader that it wraps, which the module keeps, and then runs the actions."""

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
    """Call `action(module)` at once if the module `name` is imported, else when it is imported, unless `unpatch_all`
    comes first.

    It is called once for each patching: `unpatch_all` undoes its effect.
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


def is_watched(name):
    """True if `when_imported` was called for the module."""
    return name in _patched_imports


# The actions given to `when_imported`.
_patched_imports = set()

# A context manager for patches made after an import; _patching sets it.
around_import: "Any" = contextlib.nullcontext


def adopt(kind, change):
    """Make objects of original types, existing and future ones, cooperative.

    kind: their name for messages. `change()` does the work, and returns the types and the functions that make such
    objects. If it raises an exception, it has changed nothing; then these objects stay unchanged, and warnings name
    them.
    """
    from gevlite import _adopted

    on_unpatch(_adopted.give_back)
    _adoptions.append((kind, change))
    unadopted.pop(kind, None)
    try:
        originals = change()
    except Exception as exc:  # whatever fails on a future Python, patching continues
        unadopted[kind] = f"{type(exc).__name__}: {exc}"
        return
    harmless.extend(original for original in originals if original not in harmless)


def adopt_class(original, attributes):
    """Make instances of an original class cooperative by new attributes of the class."""
    for name, value in attributes.items():
        patch_item(original, name, value)
    if original not in harmless:
        harmless.append(original)


def afterwards(change):
    """Call `change()`, which changes objects, at the end of the outermost `patching`, unless that refuses to patch."""
    changes.append(change)


class Mark:
    """A state to return to."""

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
            adopt(kind, change)  # `unpatch` has undone these too


def get_original(mod_name, item_name):
    """The original of a module's attribute, or its value if it is not patched. A list of names gives a list.

    The module is imported if needed. Raises AttributeError if there is no such attribute.
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
    """True if any attribute of the module is replaced."""
    return mod_name in saved


def is_object_patched(mod_name, item_name):
    """True if this attribute of the module is replaced."""
    return item_name in saved.get(mod_name, ())


def is_anything_patched():
    """True if anything is patched."""
    return bool(saved)


def unpatch_all():
    """Restore all originals. Objects made meanwhile are not changed: sockets, locks, threads that are greenlets."""
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
