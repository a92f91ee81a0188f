"""`python -m gevlite.monkey [--no-AREA ...] script.py [args]` or `... -m module [args]`: run a program patched.

The program sees itself as `__main__`, with sys.argv and sys.path as if Python had started it without us. With `--check`
only its imports are carried out, and what would block all the same is reported (`_check`).
"""

import importlib.machinery
import importlib.util
import inspect
import io
import os
import pkgutil
import sys
import types
from typing import NamedTuple

from gevlite import monkey

AREAS = tuple(name for name in inspect.signature(monkey.patch_all).parameters if name not in ("fix", "kwargs"))
# These are no areas, but say how one is patched.
MANNERS = {"aggressive", "Event"}

USAGE = f"""\
usage: python -m gevlite.monkey [--no-AREA ... | --AREA ...] script.py [argument ...]
       python -m gevlite.monkey [--no-AREA ... | --AREA ...] -m module [argument ...]
       python -m gevlite.monkey --check [--no-AREA ... | --AREA ...] script.py | -m module

Patch the standard library, then run the script or module as Python would.

  --check     carry out only its imports, report what would still block all greenlets, and end with 1 if there is any
  --no-AREA   leave an area as it is: {", ".join(AREAS)}
  --AREA      patch only this one, and those named in the same way
  -h, --help  print this text
"""


class UsageError(Exception):
    pass


class Command(NamedTuple):
    """What the command line asks for."""

    options: dict[str, bool]        # for patch_all
    check: bool
    module: str | None
    script: str | None
    arguments: list[str]            # the program's

    def find(self):
        if self.module is not None:
            return find_module(self.module, self.arguments)
        return find_script(self.script, self.arguments)


def parse(arguments):
    """A `Command`. Raises UsageError."""
    options = {}
    check = False
    for i, argument in enumerate(arguments):
        if argument in ("-h", "--help"):
            raise SystemExit(print(USAGE, end=""))
        if argument in ("-m", "--module"):
            if i + 1 == len(arguments):
                raise UsageError(f"{argument} needs the name of a module")
            return Command(options, check, arguments[i + 1], None, arguments[i + 2 :])
        if not argument.startswith("-"):
            return Command(options, check, None, argument, arguments[i + 1 :])
        if argument == "--check":
            check = True
            continue
        wanted = not argument.startswith("--no-")
        area = argument.removeprefix("--" if wanted else "--no-")
        if area not in AREAS:
            raise UsageError(f"unknown option {argument}")
        if wanted and True not in options.values():
            options = dict.fromkeys(set(AREAS) - MANNERS, False) | options
        options[area] = wanted
    raise UsageError("no script and no module given")


class Program(NamedTuple):
    """What is to run as `__main__`."""

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
    """As `python -m name` finds it. The packages that it is in are imported."""
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
    """As `python path` finds it, which may also be a directory or a zip file with a `__main__.py`."""
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
    # python -m has put the current directory there, unless it was told to leave sys.path alone.
    if not sys.flags.safe_path:
        sys.path[:1] = [folder]


def execute(program, code):
    """Run `code` in a new module `__main__`, which stays for what runs after it: threads, functions called at exit."""
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


def run(command):
    """Patch, find the program, run it."""
    monkey.patch_all(**command.options)
    program = command.find()
    execute(program, program.code)
    return 0


def check(command):
    """Find the program, carry out its imports, report."""
    from gevlite.monkey import _check

    before = set(sys.modules)
    program = command.find()
    if program.source is None:
        raise UsageError(f"no source of {program.path}")
    code, patches = _check.imports_of(program.source, program.path)
    if not patches:
        # To find it, the packages that it is in have been imported. They are to be imported again, patched.
        for name in set(sys.modules) - before:
            del sys.modules[name]
        monkey.patch_all(**command.options)
        program = command.find()
        print(f"{program.path} does not patch by itself: checked as python -m gevlite.monkey runs it.")
    return _check.check(lambda: execute(program, code), program.path, command.options)


def main(arguments=None):
    """What the command does; returns an exit code, or never if the program raises SystemExit."""
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        return check(command) if command.check else run(command)
    except UsageError as exc:
        sys.stderr.write(f"{USAGE}\ngevlite.monkey: error: {exc}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
