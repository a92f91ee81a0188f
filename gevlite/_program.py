"""Find a program as `python path`, `-m module`, `-c code` and `-` do, and run it as `__main__`.

The program sees sys.argv and sys.path as if Python had started it directly, and tracebacks show its own frames only.
The command lines that prepare the process first, such as `gevlite.monkey` and `gevlite.as_gevent`, use this module.
"""

import importlib.machinery
import importlib.util
import io
import linecache
import os
import pkgutil
import sys
import textwrap
import types
from typing import NamedTuple

from gevlite._user_line import distance, is_compiled

__all__ = [
    "Program",
    "UsageError",
    "cut",
    "execute",
    "find_code",
    "find_input",
    "find_module",
    "find_script",
    "main_module",
]


class UsageError(Exception):
    """There is no such program; the message is for the user of the command."""


class Program(NamedTuple):
    """The code that will run as `__main__`."""

    code: types.CodeType
    source: str | None
    path: str | None
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
        with _OwnErrors():
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.submodule_search_locations is not None:
                spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError) as exc:
        raise UsageError(f"cannot find module {name}: {exc}") from None
    with _OwnErrors():
        program = Program.of_spec(spec, f"no module named {name} that can be run")
    sys.argv[0] = spec.origin
    return program


def find_script(path, arguments):
    """Find a script as `python path` does; it may also be a directory or a zip file with a `__main__.py`."""
    sys.argv[:] = [path, *arguments]
    full = os.path.join(os.getcwd(), path)
    importer = pkgutil.get_importer(full)
    if importer is not None:
        with _OwnErrors():
            program = Program.of_spec(importer.find_spec("__main__"), f"cannot find a __main__ module in {path}")
        set_first_path(full)
        return program
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as exc:
        raise UsageError(f"cannot open {path}: {exc.strerror}") from None
    set_first_path(os.path.dirname(os.path.realpath(full)))
    return _of_source(source, full, importlib.machinery.SourceFileLoader("__main__", full))


def find_code(text, arguments):
    """The program of `python -c text`."""
    sys.argv[:] = ["-c", *arguments]
    set_first_path("")
    if sys.version_info >= (3, 14):
        text = textwrap.dedent(text)
    _remember_lines("<string>", text)
    with _OwnErrors():
        code = compile(text, "<string>", "exec", dont_inherit=True)
    return Program(code, text, None, importlib.machinery.BuiltinImporter, None)


def find_input(arguments):
    """The program that standard input contains, as `python -` reads it."""
    sys.argv[:] = ["-", *arguments]
    set_first_path("")
    with _OwnErrors():  # Ctrl-C
        source = sys.stdin.buffer.read() if sys.stdin is not None else b""
    return _of_source(source, "<stdin>", importlib.machinery.BuiltinImporter)


def _of_source(source, path, loader):
    with _OwnErrors():
        code = compile(source, path, "exec", dont_inherit=True)
        text = importlib.util.decode_source(source)
    if path == "<stdin>":
        _remember_lines(path, text)
    return Program(code, text, path, loader, None)


def _remember_lines(name, text):
    # For tracebacks: these lines are in no file.
    linecache.cache[name] = len(text), None, text.splitlines(True), name


def set_first_path(folder):
    # `python -m` has put the current directory there, unless an option forbids it.
    if not sys.flags.safe_path:
        sys.path[:1] = [folder]


def main_module(program):
    """A new module `__main__`, which stays for code that runs later: threads and atexit functions.

    program: None for that of a prompt.
    """
    main = types.ModuleType("__main__")
    if program is None:
        main.__loader__ = importlib.machinery.BuiltinImporter
    else:
        if program.path is not None:
            main.__file__ = program.path
        main.__loader__ = program.loader
        main.__spec__ = program.spec
        if program.spec is not None:
            main.__package__ = program.spec.parent
            main.__cached__ = program.spec.cached
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    return main


def execute(program, code):
    """Run `code` in a new module `__main__`. Its exceptions are shown without the frames of the callers."""
    main = main_module(program)
    try:
        exec(code, main.__dict__)
    except BaseException as exc:
        _show_only(exc, exc.__traceback__.tb_next)
        raise


class _OwnErrors:
    """Errors in the block are shown without the frames that lead to the program's own."""

    def __enter__(self):
        pass

    def __exit__(self, kind, exc, traceback):
        while traceback is not None and distance(traceback.tb_frame.f_code.co_filename) >= 2:
            traceback = traceback.tb_next
        if exc is not None:
            _show_only(exc, traceback)


def _show_only(exc, traceback):
    """Show no other frames if nothing catches the exception.

    Each frame that it passes on its way out adds itself to the traceback. So this is done at the very end: when the
    interpreter calls `sys.excepthook`. The interpreter still decides everything else about the end, such as the exit
    code.
    """
    hook = sys.excepthook

    def show(kind, value, tb):
        sys.excepthook = hook
        if value is exc:
            if kind is KeyboardInterrupt:
                cut(traceback)
            sys.last_traceback = tb = traceback
            value = value.with_traceback(tb)
        hook(kind, value, tb)

    sys.excepthook = show


def cut(traceback):
    """Remove the innermost frames from a traceback, those of gevlite's compiled modules: the steps by which a call
    waits, a dozen of them for a Ctrl-C."""
    last = None
    while traceback is not None:
        if last is None or not is_compiled(traceback.tb_frame.f_code.co_filename):
            last = traceback
        traceback = traceback.tb_next
    if last is not None:
        last.tb_next = None
