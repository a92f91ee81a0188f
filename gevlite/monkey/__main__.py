"""`python -m gevlite.monkey [--no-AREA ...] script.py [args]` or `... -m module [args]`: run a program patched.

The program sees itself as `__main__`, with sys.argv and sys.path as if Python had started it without us.
"""

import importlib.machinery
import importlib.util
import inspect
import io
import os
import pkgutil
import sys
import types

from gevlite import monkey

AREAS = tuple(inspect.signature(monkey.patch_all).parameters)

USAGE = f"""\
usage: python -m gevlite.monkey [--no-AREA ...] script.py [argument ...]
       python -m gevlite.monkey [--no-AREA ...] -m module [argument ...]

Patch the standard library, then run the script or module as Python would.

  --no-AREA   leave an area as it is: {", ".join(AREAS)}
  -h, --help  print this text
"""


class UsageError(Exception):
    pass


def parse(arguments):
    """`(keyword arguments for patch_all, module or None, script or None, the program's arguments)`."""
    options = {}
    for i, argument in enumerate(arguments):
        if argument in ("-h", "--help"):
            raise SystemExit(print(USAGE, end=""))
        if argument == "-m":
            if i + 1 == len(arguments):
                raise UsageError("-m needs the name of a module")
            return options, arguments[i + 1], None, arguments[i + 2 :]
        if not argument.startswith("-"):
            return options, None, argument, arguments[i + 1 :]
        area = argument.removeprefix("--no-")
        if area == argument or area not in AREAS:
            raise UsageError(f"unknown option {argument}")
        options[area] = False
    raise UsageError("no script and no module given")


def run_module(name, arguments):
    """As `python -m name`."""
    sys.argv[:] = ["-m", *arguments]
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError) as exc:
        raise UsageError(f"cannot find module {name}: {exc}") from None
    code = code_of(spec, f"no module named {name} that can be run")
    sys.argv[0] = spec.origin
    execute(code, spec.origin, spec.loader, spec)


def code_of(spec, complaint):
    code = spec.loader.get_code(spec.name) if spec is not None and hasattr(spec.loader, "get_code") else None
    if code is None:
        raise UsageError(complaint)
    return code


def run_script(path, arguments):
    """As `python path`, which may also be a directory or a zip file with a `__main__.py`."""
    sys.argv[:] = [path, *arguments]
    full = os.path.join(os.getcwd(), path)
    importer = pkgutil.get_importer(full)
    if importer is not None:
        spec = importer.find_spec("__main__")
        code = code_of(spec, f"cannot find a __main__ module in {path}")
        set_first_path(full)
        execute(code, spec.origin, spec.loader, spec)
        return
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as exc:
        raise UsageError(f"cannot open {path}: {exc.strerror}") from None
    set_first_path(os.path.dirname(os.path.realpath(full)))
    code = compile(source, full, "exec", dont_inherit=True)
    execute(code, full, importlib.machinery.SourceFileLoader("__main__", full), None)


def set_first_path(folder):
    # python -m has put the current directory there, unless it was told to leave sys.path alone.
    if not sys.flags.safe_path:
        sys.path[:1] = [folder]


def execute(code, path, loader, spec):
    """Run `code` in a new module `__main__`, which stays for what runs after it: threads, functions called at exit."""
    main = types.ModuleType("__main__")
    main.__file__ = path
    main.__loader__ = loader
    main.__spec__ = spec
    if spec is not None:
        main.__package__ = spec.parent
        main.__cached__ = spec.cached
    else:
        main.__package__ = None
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def main(arguments=None):
    """What the command does; returns an exit code, or never if the program raises SystemExit."""
    try:
        options, module, script, rest = parse(sys.argv[1:] if arguments is None else arguments)
        monkey.patch_all(**options)
        if module is not None:
            run_module(module, rest)
        else:
            run_script(script, rest)
    except UsageError as exc:
        sys.stderr.write(f"{USAGE}\ngevlite.monkey: error: {exc}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
