"""Find a program as `python path` and `python -m module` do, and run it as `__main__`.

The program sees sys.argv and sys.path as if Python had started it directly. The command lines that prepare the process
first, `gevlite.monkey` and `gevlite.as_gevent`, use this module.
"""

import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import sys
import types
from typing import NamedTuple

__all__ = ["Program", "UsageError", "execute", "find_module", "find_script"]


class UsageError(Exception):
    """There is no such program; the message is for the user of the command."""


class Program(NamedTuple):
    """The code that will run as `__main__`."""

    code: types.CodeType
    source: str | None
    path: str
    loader: object
    spec: object

    @classmethod
    def of_spec(cls, spec, complaint):
        loader = spec.loader if spec is not None else None
        code = loader.get_code(spec.name) if hasattr(loader, "get_code") else None
        if code is None:
            raise UsageError(complaint)
        source = loader.get_source(spec.name) if hasattr(loader, "get_source") else None
        return cls(code, source, spec.origin, loader, spec)


def find_module(name, arguments):
    """Find a module as `python -m name` does. The packages that contain it are imported."""
    sys.argv[:] = ["-m", *arguments]
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError) as exc:
        raise UsageError(f"cannot find module {name}: {exc}") from None
    program = Program.of_spec(spec, f"no module named {name} that can be run")
    sys.argv[0] = spec.origin
    return program


def find_script(path, arguments):
    """Find a script as `python path` does; it may also be a directory or a zip file with a `__main__.py`."""
    sys.argv[:] = [path, *arguments]
    full = os.path.join(os.getcwd(), path)
    importer = pkgutil.get_importer(full)
    if importer is not None:
        program = Program.of_spec(importer.find_spec("__main__"), f"cannot find a __main__ module in {path}")
        set_first_path(full)
        return program
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as exc:
        raise UsageError(f"cannot open {path}: {exc.strerror}") from None
    set_first_path(os.path.dirname(os.path.realpath(full)))
    code = compile(source, full, "exec", dont_inherit=True)
    text = importlib.util.decode_source(source)
    return Program(code, text, full, importlib.machinery.SourceFileLoader("__main__", full), None)


def set_first_path(folder):
    # `python -m` has put the current directory there, unless an option forbids it.
    if not sys.flags.safe_path:
        sys.path[:1] = [folder]


def execute(program, code):
    """Run `code` in a new module `__main__`, which stays for code that runs later: threads and atexit functions."""
    main = types.ModuleType("__main__")
    main.__file__ = program.path
    main.__loader__ = program.loader
    main.__spec__ = program.spec
    if program.spec is not None:
        main.__package__ = program.spec.parent
        main.__cached__ = program.spec.cached
    else:
        main.__package__ = None
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    exec(code, main.__dict__)
