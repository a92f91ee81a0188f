"""The backends, and the one place where a hub's backend is chosen.

GEVLITE_BACKEND, `gevlite.config.backend` or `Hub(backend=...)` is one of

* a name: `epoll`;
* names in order of preference, separated by commas, of which the first usable one is used: `kqueue,epoll,select`;
* `module:Class`, a Backend subclass of your own.

Packages add names through the entry-point group `gevlite.backends`, each pointing to a Backend subclass. By
default the best one for the platform is used.
"""

from collections.abc import Iterable, Sequence

from gevlite import _core
from gevlite._choice import Choice
from gevlite._config import Config, as_text, config
from gevlite._core import END, READ, URGENT, WRITE, Backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["END", "READ", "URGENT", "WRITE", "Backend", "BackendError", "available", "choose", "names"]

ENTRY_POINTS = "gevlite.backends"

# In the order of preference, which is the same on every platform: each kernel has one of the first two.
BUILT_IN = {
    "epoll": "gevlite.backends.epoll:EpollBackend",
    "kqueue": "gevlite.backends.kqueue:KqueueBackend",
    "poll": "gevlite.backends.poll:PollBackend",
    "select": "gevlite.backends.select:SelectBackend",
}

# Methods that every backend must have.
REQUIRED = ("arm", "drop", "poll")


class BackendError(RuntimeError):
    """The chosen backend does not exist or cannot be used here. The message lists the usable ones."""


def names() -> list[str]:
    """The names of all known backends: the built-in ones in order of preference, then those of installed packages."""
    return [*BUILT_IN, *sorted({point.name for point in _plugins()} - set(BUILT_IN))]


def available() -> dict[str, str | None]:
    """`{name: None, or the reason why it cannot be used}` for every known backend, in order of preference."""
    return {name: _unusable(name) for name in names()}


_choice = Choice("backend", BackendError, available)


def choose(
    wanted: str | Sequence[str] | type[Backend] | Backend | None = None, source: str = ""
) -> tuple[Backend, str]:
    """Make the backend for a new hub; returns `(backend, reason)`.

    `wanted` is a name, an order of preference, `module:Class`, a Backend or a subclass of it; None means the value of
    `gevlite.config.backend`. Raises BackendError, which lists the usable ones. `source` is for its message.
    """
    if wanted is None:
        source = Config.backend.source(config)
        try:
            wanted = config.backend
        except ValueError as exc:
            raise BackendError(f"{exc}; {_choice.usable()}") from None
        if wanted is None:
            return _first(BUILT_IN, "the best of this platform", "no built-in backend can be used")
    source = source or f"Hub(backend={as_text(wanted)})"
    if isinstance(wanted, Backend):
        return _unused(_complete(wanted, type(wanted).__name__)), source
    if not isinstance(wanted, (str, list, tuple, type)):
        raise TypeError(f"a backend must be a name, a Backend or a subclass of Backend, not {wanted!r}")
    choices = [wanted] if isinstance(wanted, type) else _choice.in_order(wanted, source)
    return _first(choices, source, f"{source} cannot be used")


def prepare() -> None:
    """Import what the first hub needs. An error in `gevlite.config.backend` is raised when that hub is made.

    In a patched process, a thread may need its hub in the middle of an import, to wait for another thread that imports
    the same module. Another import at that point would confuse the interpreter's module locks.
    """
    if not _core.hubs():
        try:
            choose()[0].close()
        except BackendError:
            pass


def _load_early() -> None:
    """Import the built-in backend that the first hub will have. An error is raised when that hub is made.

    A signal handler or a destructor may come in the middle of the import, and may have to wait: for that it needs the
    hub. There, a module that is being imported is not available, and a compiled module cannot be imported a second
    time.
    """
    # Only that one: to say which ones are usable, as an error does, takes all of them and all plug-ins.
    try:
        wanted = config.backend
    except ValueError:
        return
    for name in BUILT_IN if wanted is None or isinstance(wanted, type) else wanted:
        if name in BUILT_IN:
            try:
                _load(name)
            except BackendError:
                continue
            return


def _first(choices: Iterable[object], reason: str, failure: str) -> tuple[Backend, str]:
    return _choice.first(choices, _make, failure), reason


def _make(choice: object) -> Backend:
    return _instance(_load(choice), as_text(choice))


def _instance(cls: object, name: str) -> Backend:
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        raise BackendError(f"{name} is not a subclass of gevlite.backends.Backend but {cls!r}")
    try:
        made = cls()
    except Exception as exc:
        raise BackendError(f"{name} cannot start here: {_text(exc)}") from exc
    if not isinstance(made, Backend):
        raise BackendError(f"{name} makes no Backend but {made!r}")
    return _complete(made, name)


def _complete(backend: Backend, name: str) -> Backend:
    """`backend`, if it has all that the hub will need: an error now is better than one when the hub needs it."""
    missing = []
    for method in REQUIRED:
        found = getattr(type(backend), method)
        if found is getattr(Backend, method) or not callable(found):
            missing.append(method)
    if missing:
        raise BackendError(f"{name} does not define {', '.join(missing)}")
    try:
        called: object = backend.name
    except Exception as exc:
        raise BackendError(f"{name}: its name failed: {_text(exc)}") from exc
    if not isinstance(called, str) or not called:
        raise BackendError(f"{name}: its name must be a string, not {called!r}")
    return backend


def _unused(backend: Backend) -> Backend:
    if backend.wake_fd < 0:
        raise BackendError(f"this {backend.name} backend has been closed")
    if any(hub.backend is backend for hub in _core.hubs()):
        raise BackendError(f"this {backend.name} backend already belongs to a hub")
    return backend


def _load(name: object) -> object:
    """The class that `name` stands for. Anything but a string is taken for a class."""
    if not isinstance(name, str):
        return name
    if ":" in name:
        return _import(name, name)
    if name in BUILT_IN:
        return _import(BUILT_IN[name], name, built_in=True)
    points = [point for point in _plugins() if point.name == name]
    if not points:
        raise BackendError(f"there is no backend {name!r}")
    if len({point.value for point in points}) > 1:
        offers = ", ".join(sorted(point.value for point in points))
        raise BackendError(f"several packages offer a backend {name!r}; choose one of {offers}")
    return _import(points[0].value, name)


def _import(target: str, name: str, built_in: bool = False) -> object:
    def explain(exc: Exception) -> str:
        if isinstance(exc, ModuleNotFoundError):
            return " is not built for this platform" if built_in else f" cannot be imported: {exc}"
        return f" cannot be imported: {_text(exc)}"

    return _choice.imported(target.partition("[")[0], name, explain)  # an entry point may list extras that it needs


def _plugins() -> "tuple[EntryPoint, ...]":
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return tuple(entry_points(group=ENTRY_POINTS))


def _unusable(name: str) -> str | None:
    try:
        backend = _instance(_load(name), name)
    except BackendError as exc:
        return str(exc)
    try:
        backend.close()
    except Exception as exc:
        return f"{name}.close() failed: {_text(exc)}"
    return None


def _text(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def _try(wanted: str | Sequence[str] | type[Backend] | None) -> None:
    """Check a value assigned to `gevlite.config.backend`."""
    if _core.hubs():
        raise RuntimeError(
            "gevlite.config.backend must be set before the first hub is made, but this process already has one; "
            "Hub(backend=...) gives the hub of another thread a backend of its own"
        )
    if wanted is not None:
        choose(wanted, f"gevlite.config.backend={as_text(wanted)}")[0].close()


Config.backend.assigned = _try
_load_early()
