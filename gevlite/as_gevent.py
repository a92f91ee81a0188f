"""Make `import gevent` import gevlite, so that software written for gevent runs unmodified and without gevent.

::

    python -m gevlite.as_gevent -m gunicorn -k gevent app:application

or, at the very start of a program::

    from gevlite import as_gevent
    as_gevent.install()

A finder at the head of `sys.meta_path` handles `gevent` and everything below it. A submodule, such as `gevent.pool`,
*is* the module `gevlite.pool` under a second name, so classes from one name compare equal to those from the other. Only
`gevent` itself is a module of its own, because its `__version__` must be one that other software knows: the version of
gevent whose public names gevlite has.

`install(children=True)` also covers children that start a new Python. It sets two environment variables for them,
PYTHONPATH and GEVLITE_AS_GEVENT, see `_startup/sitecustomize.py`. No file is added to the Python installation, and a
child that does not get the variables is not affected.

A missing name raises an AttributeError or ImportError that names it and says where to report it.
"""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import opcode
import os
import sys
import types
from typing import NamedTuple

import gevlite
from gevlite._program import UsageError, execute, find_module, find_script

__all__ = ["API_VERSION", "install"]

#: The gevent whose public modules and names gevlite has.
API_VERSION = "26.9.0"

# Every public module of gevent that gevlite has, by its name below either package. Modules that only gevlite has, and
# gevent's private modules, cannot be found under `gevent`.
# fmt: off
MODULES = frozenset((
    "ares", "backdoor", "baseserver", "builtins", "contextvars", "core", "event", "events", "exceptions", "fileobject",
    "greenlet", "hub", "local", "lock", "monkey", "monkey.__main__", "monkey.api", "os", "pool", "pywsgi", "queue",
    "resolver", "resolver.ares", "resolver.blocking", "resolver.dnspython", "resolver.thread", "resolver_ares",
    "resolver_thread", "select", "selectors",
    "server", "signal", "socket", "ssl", "subprocess", "thread", "threading", "threadpool", "time", "timeout", "util",
))
# fmt: on

# Private modules of gevent in which tracers replace gevent's classes with their own.
_PRIVATE = {"_imap": "pool"}

USAGE = """\
usage: python -m gevlite.as_gevent [--children] script.py [argument ...]
       python -m gevlite.as_gevent [--children] -m module [argument ...]

Run the script or module as Python would, with gevlite in the place of gevent: also where gevent is not installed.
Nothing is patched; what is written for gevent does that itself. To patch as well:

       python -m gevlite.as_gevent -m gevent.monkey script.py | -m module

  --children  also in every Python that the program starts, by subprocess, multiprocessing or exec
  -h, --help  print this text
"""

_IMPORT_FROM = opcode.opmap["IMPORT_FROM"]


class VersionInfo(NamedTuple):
    """`gevent.version_info`, as `sys.version_info`."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: int


# The variable that children find in their environment; "0" and an empty value mean no.
VARIABLE = "GEVLITE_AS_GEVENT"
_STARTUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_startup")


def install(children=None):
    """Make `import gevent` give gevlite from now on, even if gevent is installed. Calling it again is harmless.

    children: True also covers every Python started from now on: by subprocess, by multiprocessing with "spawn" and
    "forkserver", by os.exec. It works through the environment, so not for a child that gets another environment or runs
    with `-I`, `-E` or `-S`. False undoes that. None leaves it as it is, so that a child passes it on to its children.

    Raises RuntimeError if gevent itself was imported before: two hubs in one thread would wait for each other.
    """
    if _finder not in sys.meta_path:
        loaded = [name for name in sys.modules if name.partition(".")[0] == "gevent"]
        if loaded:
            place = getattr(sys.modules[loaded[0]], "__file__", None)
            raise RuntimeError(
                f"gevent itself was imported before gevlite.as_gevent.install() was called ({loaded[0]}, from {place})."
                " Call it at the very start of the program, or start the program with python -m gevlite.as_gevent"
            )
        sys.meta_path.insert(0, _finder)
    if children is not None:
        _tell_children(children)


def _tell_children(tell):
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != _STARTUP]
    if tell:
        os.environ[VARIABLE] = "1"
        paths.insert(0, _STARTUP)
    else:
        os.environ.pop(VARIABLE, None)
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    else:
        os.environ.pop("PYTHONPATH", None)


# ---------------------------------------------------------------- import


class _Finder:
    """Finds `gevent` and the modules below it, and for `importlib.metadata` the distribution of that name."""

    def find_spec(self, name, path=None, target=None):
        package, _, rest = name.partition(".")
        if package != "gevent":
            return None
        if not rest:
            return importlib.machinery.ModuleSpec(name, _Gevent(), origin=gevlite.__file__, is_package=True)
        ours = rest if rest in MODULES else _PRIVATE.get(rest)
        real = importlib.util.find_spec(f"gevlite.{ours}") if ours is not None else None
        if real is None:
            raise ModuleNotFoundError(_complaint(f"no module {name}"), name=name)
        is_package = real.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(name, _Alias(real), origin=real.origin, is_package=is_package)

    def find_distributions(self, context):
        if context.name is not None and context.name.lower() == "gevent":
            yield _Distribution()


_finder = _Finder()


class _Gevent:
    """The loader of the module `gevent`."""

    def create_module(self, spec):
        return types.ModuleType(spec.name, "gevlite, in the place of gevent.\n\n" + gevlite.__doc__)

    def exec_module(self, module):
        module.__file__ = gevlite.__file__
        module.__all__ = [name for name in gevlite.__all__ if not name.startswith("__")]
        for name in module.__all__:
            setattr(module, name, getattr(gevlite, name))
        module.__version__ = API_VERSION
        module.version_info = VersionInfo(*map(int, API_VERSION.split(".")), "final", 0)
        module.__getattr__ = _missing("gevent", _submodule)


class _Alias:
    """The loader of a second name for a module of gevlite."""

    def __init__(self, real):
        self._real = real

    def create_module(self, spec):
        return importlib.import_module(self._real.name)

    def exec_module(self, module):
        # importlib has set the alias's spec, which would break relative imports in the module.
        module.__spec__ = self._real
        alias = "gevent" + self._real.name.removeprefix("gevlite")
        module.__getattr__ = _missing(alias, getattr(module, "__getattr__", None))
        if alias == "gevent.pywsgi":
            # WebSocket libraries (simple-websocket) use this to find the socket of a request.
            module.WSGIServer.base_env["SERVER_SOFTWARE"] = f"gevent/{API_VERSION} gevlite/{gevlite.__version__}"

    # The methods that `python -m` needs of a loader.

    def get_code(self, name):
        return self._real.loader.get_code(self._real.name)

    def get_source(self, name):
        return self._real.loader.get_source(self._real.name)


def _submodule(name):
    """`gevent.pool` without `import gevent.pool`: gevent imports most of its modules by itself."""
    if name not in MODULES and name not in _PRIVATE:
        raise AttributeError(name)
    return importlib.import_module(f"gevent.{name}")


def _missing(module, own=None):
    """A `__getattr__` for a module that explains what is missing. own: the module's own `__getattr__`, called first."""

    def __getattr__(name):
        if own is not None:
            try:
                return own(name)
            except AttributeError:
                pass
        text = f"{module} has no {name!r}"
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(text)
        caller = sys._getframe(1)
        # `from module import name` would replace the message of an AttributeError with its own.
        if caller.f_lasti >= 0 and caller.f_code.co_code[caller.f_lasti] == _IMPORT_FROM:
            raise ImportError(_complaint(text), name=module)
        raise AttributeError(_complaint(text), name=name)

    return __getattr__


def _complaint(text):
    return (
        f"{text}: gevlite {gevlite.__version__} replaces gevent {API_VERSION} here (gevlite.as_gevent). If your "
        "software needs this, please report it to gevlite: every public name of gevent should be there"
    )


class _Distribution(importlib.metadata.Distribution):
    """For software that asks `importlib.metadata.version("gevent")`."""

    def read_text(self, filename):
        if filename == "METADATA":
            return f"Metadata-Version: 2.1\nName: gevent\nVersion: {API_VERSION}\nSummary: gevlite, in its place\n"
        return None

    def locate_file(self, path):
        raise NotImplementedError("gevlite replaces gevent: there are no files of gevent")


# ---------------------------------------------------------------- the command


def main(arguments=None):
    """Run the command; returns an exit code, unless the program raises SystemExit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if not arguments:
            raise UsageError("no script and no module given")
        first, *rest = arguments
        children = None
        if first == "--children":
            if not rest:
                raise UsageError("no script and no module given")
            children = True
            first, *rest = rest
        if first in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        if first.startswith("-") and first != "-m":
            raise UsageError(f"unknown option {first}")
        if first == "-m" and not rest:
            raise UsageError("-m needs the name of a module")
        install(children)
        program = find_module(rest[0], rest[1:]) if first == "-m" else find_script(first, rest)
    except UsageError as exc:
        sys.stderr.write(f"{USAGE}\ngevlite.as_gevent: error: {exc}\n")
        return 2
    execute(program, program.code)
    return 0


if __name__ == "__main__":
    # As `__main__` this file is a second module; the finder must belong to the one that programs import.
    from gevlite import as_gevent

    sys.exit(as_gevent.main())
