"""References to originals that remain after patching, because they were taken before.

`from socket import socket` copies the class into the importing module. If that module was imported before
`patch_socket`, it still uses the original class, and blocks all greenlets. The same holds for a class that was derived
from an original: its base cannot be replaced.

Modules of the standard library take such copies too, some of them before any program starts. No program can patch
earlier than that, so these are always repaired here. In the program's own modules it is an error in the order of
imports, which one warning explains, and which is repaired on request.
"""

import builtins
import functools
import gc
import importlib.machinery
import sys
import types
from typing import NamedTuple

from gevlite.monkey import _engine, _pipes

__all__ = ["Holder", "explain", "holders", "left", "problems", "refusal", "settle", "unknown", "unrepaired"]

_CALLABLE = (type, types.FunctionType, types.BuiltinFunctionType)

_input = builtins.input  # before it is patched

_told = set()


class Holder(NamedTuple):
    """A module that holds an original, or an object made from one."""

    module: str
    attribute: str
    original: str  # as `socket.socket`
    how: str = ""  # what the module holds, if not the original itself: then it cannot be replaced

    def __str__(self):
        return f"{self.module}.{self.attribute} ({self.how and self.how + ' '}{self.original})"


def holders():
    """`(holders in the standard library, holders elsewhere)`, leaving out derived classes of the standard library."""
    originals = _replaced()
    classes = tuple(original for original, _owner, _name in originals.values() if isinstance(original, type))
    standard, others = [], []
    for name, module in sorted(sys.modules.items()):
        root = name.partition(".")[0]
        # Modules that are patched themselves have been handled, name by name.
        if name in _engine.saved or not issubclass(type(module), types.ModuleType):
            continue
        # Do not use getattr: a lazy module would be imported now.
        namespace = types.ModuleType.__getattribute__(module, "__dict__")
        if _is_ours(namespace):
            continue
        is_standard = root in sys.stdlib_module_names and name != "__main__"
        if is_standard and _is_in_c(namespace):
            continue  # the origin of the originals
        for attribute, value in list(namespace.items()):
            if (name, id(value)) in _engine.asked_for:
                continue
            if id(value) in originals:
                original, owner, item = originals[id(value)]
                # Many modules, such as click, hold `input` without ever calling it. That is not worth a warning.
                silently = is_standard or original is _input
                (standard if silently else others).append(Holder(name, attribute, f"{owner}.{item}"))
            elif not is_standard and type(value) is functools.partial and id(value.func) in originals:
                _original, owner, item = originals[id(value.func)]
                others.append(Holder(name, attribute, f"{owner}.{item}", "a partial of"))
            elif not is_standard and issubclass(type(value), type) and classes and _derived(value, classes, name):
                base = next(cls for cls in type.__getattribute__(value, "__mro__") if id(cls) in originals)
                _original, owner, item = originals[id(base)]
                others.append(Holder(name, attribute, f"{owner}.{item}", "derived from"))
    return standard, others + _defaults(originals)


def _defaults(originals):
    """Functions outside the standard library that have an original as the default of an argument."""
    found = []
    for function in gc.get_objects():
        if type(function) is not types.FunctionType or not (function.__defaults__ or function.__kwdefaults__):
            continue
        code, positional, named = function.__code__, function.__defaults__ or (), function.__kwdefaults__ or {}
        first = code.co_argcount - len(positional)
        names = [*code.co_varnames[first : code.co_argcount], *named]
        module = str(function.__globals__.get("__name__"))
        root = module.partition(".")[0]
        for argument, value in zip(names, [*positional, *named.values()], strict=False):
            if id(value) not in originals or (module, id(value)) in _engine.asked_for or _is_ours(function.__globals__):
                continue
            if root not in sys.stdlib_module_names or module == "__main__":
                original, owner, item = originals[id(value)]
                if original is not _input:
                    where = f"{function.__qualname__}({argument}=...)"
                    found.append(Holder(module, where, f"{owner}.{item}", "the default"))
    return sorted(found)


def _replaced():
    """`{id: (original, name of its module, its name there)}` for all replaced functions and classes."""
    found = {}
    for owner, items in _engine.saved.items():
        for name, original in items.items():
            if isinstance(original, _CALLABLE) and owner in sys.modules and original not in _engine.harmless:
                # The shortest is the public one: `threading.RLock`, not `threading._CRLock`.
                before = found.get(id(original))
                if before is None or (name.startswith("_"), owner) < (before[2].startswith("_"), before[1]):
                    found[id(original)] = (original, owner, name)
    return found


def _is_ours(namespace):
    # By its own name: `gevlite.as_gevent` also registers it under a second one.
    return str(namespace.get("__name__")).partition(".")[0] in ("gevlite", "greenlet")


def _is_in_c(namespace):
    loader = namespace.get("__loader__")
    return loader is importlib.machinery.BuiltinImporter or isinstance(loader, importlib.machinery.ExtensionFileLoader)


def _repair_defaults():
    """Put the replacements into argument defaults of the standard library."""
    originals = _replaced()
    for function in _standard_functions():
        before = function.__defaults__
        after = tuple(_replacement(value, originals) for value in before)
        if any(new is not old for new, old in zip(after, before, strict=True)):
            function.__defaults__ = after
            _engine.on_unpatch(lambda place=(function, "__defaults__", before): setattr(*place))


def _replacement(value, originals):
    if id(value) not in originals:
        return value
    _original, owner, name = originals[id(value)]
    return getattr(sys.modules[owner], name)


def _standard_functions():
    """Functions and methods of the standard library that have defaults; those that `gc.freeze` hides too."""
    for name, module in list(sys.modules.items()):
        # `Popen._internal_poll` never waits, and runs at the very end, when only what is written in C still works.
        if name.partition(".")[0] not in sys.stdlib_module_names or name in ("__main__", "subprocess"):
            continue
        if not issubclass(type(module), types.ModuleType):
            continue
        for value in list(types.ModuleType.__getattribute__(module, "__dict__").values()):
            members = list(vars(value).values()) if type(value) is type and value.__module__ == name else [value]
            yield from (one for one in members if type(one) is types.FunctionType and one.__defaults__)


def _derived(value, classes, module):
    try:
        return issubclass(value, classes) and type.__getattribute__(value, "__module__") == module
    except TypeError:  # a metaclass forbids it
        return False


def settle(fix):
    """Repair the standard library's references; warn of the others, or with `fix` repair those that can be repaired."""
    standard, others = holders()
    _repair(standard)
    _repair_defaults()
    if fix:
        _repair(holder for holder in others if not holder.how)
        others = [holder for holder in others if holder.how]
    late = _not_told(others)
    if late:
        _engine.warn(explain(late, fix))
    objects = _not_told([*unknown(), *unrepaired()])
    if objects:
        _engine.warn(explain_objects(objects))


def problems():
    """Everything that was imported or made before patching and blocks all greenlets: a sentence for each, with a
    remedy.

    Empty if there is no problem, and if nothing is patched.
    """
    found = []
    for holder in holders()[1]:
        if holder.how:
            advice = "this cannot be replaced: patch before the module is imported"
        else:
            advice = "patch before the module is imported, or with patch_all(fix=True)"
        found.append(f"unpatched: {holder}; {advice}.")
    found += [f"made too early: {thing}; start the process after patching." for thing in unrepaired()]
    advice = "make them after patching, or use a Python that is supported"
    found += [f"made too early: {kind}; {advice}." for kind in unknown()]
    return found


def unknown():
    """Kinds of objects that stay unchanged, because this Python implements them in an unknown way."""
    return [f"all {kind} ({reason})" for kind, reason in _engine.unadopted.items()]


def left(fix):
    """Everything that `settle` would warn of, before anything is repaired: a list of holders and objects."""
    late = [holder for holder in holders()[1] if not fix or holder.how]
    return late + unknown() + [thing for thing in unrepaired() if thing.reason]


def unrepaired():
    """Objects made before patching that block all greenlets: pipes of processes, if `subprocess` is patched."""
    original = _engine.saved.get("subprocess", {}).get("Popen")
    return [] if original is None else _pipes.pipes(original)


def _not_told(found):
    """Those that have not been reported yet. Keeps no reference to any of them."""
    new = [thing for thing in found if str(thing) not in _told]
    _told.update(map(str, new))
    return new


def explain(found, fix=False):
    """The warning's text."""
    text = (
        "patched too late for modules that already hold the originals, and will block all greenlets: "
        f"{', '.join(map(str, found))}. Call gevlite.monkey.patch_all() before anything else is imported, at the top "
        "of the program's main module"
    )
    if not fix and not all(holder.how for holder in found):
        text += "; or call patch_all(fix=True), which replaces these too, except in objects made from them"
    return text + "."


def explain_objects(found):
    """The warning's text."""
    return (
        "patched too late for existing objects that cannot be changed, and will block all greenlets: "
        f"{', '.join(map(str, found))}. Make them after gevlite.monkey.patch_all(), or use them in a thread of "
        "gevlite.get_hub().threadpool only."
    )


def refusal(found):
    """The text of the error for the result of `left`."""
    return (
        "nothing was patched, because existing objects would block all greenlets: "
        f"{', '.join(map(str, found))}. Call gevlite.monkey.patch_all() before anything else is imported and made, at "
        "the top of the program's main module."
    )


def _repair(found):
    for holder in found:
        module = sys.modules[holder.module]
        owner, _, item = holder.original.rpartition(".")
        original = getattr(module, holder.attribute)
        setattr(module, holder.attribute, getattr(sys.modules[owner], item))
        _engine.on_unpatch(lambda place=(module, holder.attribute, original): setattr(*place))
