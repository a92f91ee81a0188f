"""The backends, and the one place where a hub's backend is chosen.

GEVLITE_BACKEND (or `Hub(backend=...)`) is one of

* a name: `epoll`;
* a comma-separated order of preference, the first usable one is taken: `kqueue,epoll,select`;
* `module:Class`, a Backend subclass of your own.

Packages add names through the entry-point group `gevlite.backends`, each pointing to a Backend subclass. Without a
wish the best of the platform is taken.
"""

import importlib
import os

from gevlite import _core
from gevlite._core import END, READ, URGENT, WRITE, Backend

__all__ = ["END", "READ", "URGENT", "WRITE", "Backend", "BackendError", "available", "choose", "names"]

ENV = "GEVLITE_BACKEND"
ENTRY_POINTS = "gevlite.backends"

# In the order of preference.
BUILT_IN = {
    "epoll": "gevlite.backends.epoll:EpollBackend",
    "kqueue": "gevlite.backends.kqueue:KqueueBackend",
    "poll": "gevlite.backends.poll:PollBackend",
    "select": "gevlite.backends.select:SelectBackend",
}


class BackendError(RuntimeError):
    """The wanted backend does not exist or cannot be used here. The message lists those that can."""


def names():
    """The names of all known backends: built in, in order of preference, then those of installed packages."""
    return [*BUILT_IN, *sorted(set(_plugins()) - set(BUILT_IN))]


def available():
    """`{name: None or why it cannot be used}` for every known backend, in order of preference."""
    return {name: _unusable(name) for name in names()}


def choose(wanted=None):
    """Make the backend for a new hub; returns `(backend, why this one)`.

    `wanted` is a name, an order of preference, `module:Class`, a Backend or a subclass of it; None means what
    GEVLITE_BACKEND says. Raises BackendError, which lists the usable ones.
    """
    if isinstance(wanted, Backend):
        return wanted, "given to Hub()"
    if isinstance(wanted, type):
        return _instance(wanted, wanted.__name__), "given to Hub()"
    source = "given to Hub()"
    if wanted is None:
        wanted = os.environ.get(ENV, "").strip()
        source = f"{ENV}={wanted}"
        if not wanted:
            return _first(BUILT_IN, "the best of this platform", "no built-in backend can be used")
    if not isinstance(wanted, str):
        raise TypeError(f"a backend is given by name, as a Backend or as a subclass of it, not as {wanted!r}")
    choices = [name.strip() for name in wanted.split(",") if name.strip()]
    if not choices:
        raise BackendError(f"{source} names no backend; {_usable_text()}")
    return _first(choices, source, f"{source} cannot be used")


def _first(choices, reason, failure):
    problems = []
    for name in choices:
        try:
            return _instance(_load(name), name), reason
        except BackendError as exc:
            problems.append(str(exc))
    raise BackendError(f"{failure}: {'; '.join(problems)}; {_usable_text()}")


def _instance(cls, name):
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        raise BackendError(f"{name} is not a subclass of gevlite.backends.Backend but {cls!r}")
    try:
        return cls()
    except Exception as exc:
        raise BackendError(f"{name} cannot start here: {exc}") from exc


def _load(name):
    if ":" in name:
        return _import(name, name)
    if name in BUILT_IN:
        return _import(BUILT_IN[name], name)
    plugin = _plugins().get(name)
    if plugin is None:
        raise BackendError(f"there is no backend {name!r}")
    return _import(plugin.value, name)


def _import(target, name):
    module, _, attribute = target.partition(":")
    try:
        found = importlib.import_module(module)
    except (ImportError, TypeError, ValueError) as exc:     # TypeError: a relative name; ValueError: an empty one
        built_in = target == BUILT_IN.get(name)
        raise BackendError(f"{name} is not built for this platform" if built_in else f"{name}: {exc}") from exc
    try:
        return getattr(found, attribute)
    except AttributeError:
        raise BackendError(f"{name}: module {module!r} has no {attribute!r}") from None


def _plugins():
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _unusable(name):
    try:
        _instance(_load(name), name).close()
    except BackendError as exc:
        return str(exc)
    return None


def _usable_text():
    return "usable here: " + ", ".join(name for name, problem in available().items() if problem is None)


_core.set_backend_chooser(choose)
