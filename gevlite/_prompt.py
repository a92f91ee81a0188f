"""A prompt in which greenlets run while it waits for input: `python -m gevlite`, and `-i` after a program.

The main greenlet is parked until the terminal has something to read. How depends on what edits the line:

* The interactive console of Python 3.13 and later waits with `select.poll`, which is patched.
* `readline` reads a whole line in one call, which would block all greenlets. It also has an interface for event loops
  that takes one key at a time. Python's module does not offer that, so ctypes calls it.
* Without both, `gevlite.builtins.input` waits for a line that the terminal itself edits.
"""

import code
import os
import sys
import tokenize

import gevlite
from gevlite import builtins
from gevlite._program import UsageError, cut, execute, main_module
from gevlite._version import __version__
from gevlite.socket import wait_read

__all__ = ["run"]


def run(find, arguments):
    """Run the program that `find()` returns, unless it is None, and then the prompt, until `exit()` or end-of-file.

    Everything should be patched. arguments: for sys.argv, without a program. Raises SystemExit.
    """
    main = _after(find)
    alone = main is None
    if alone:
        sys.argv[:] = ["-" if arguments else "", *arguments]
        main = main_module(None)
        main.gevlite = gevlite
    for name, text in (("ps1", ">>> "), ("ps2", "... ")):
        if not hasattr(sys, name):
            setattr(sys, name, text)
    if alone:
        if not sys.flags.quiet:
            version = sys.version.partition(" ")[0]
            print(f"gevlite {__version__}, Python {version} on {sys.platform}.", file=sys.stderr)
            print("Greenlets run while the prompt waits; the standard library is patched.", file=sys.stderr)
            print(f"{sys.ps1}import gevlite", file=sys.stderr)
        _run_startup(main)
    hook = getattr(sys, "__interactivehook__", None)
    if hook is not None:  # completion and history
        hook()
    interact = _new_console(main) or _old_console(main)
    while True:
        try:
            interact()
            return 0
        except (SystemExit, OSError):
            raise
        except BaseException:
            # A KeyboardInterrupt between two steps of the console, or a Timeout that was started at the prompt.
            sys.excepthook(*sys.exc_info())


def _after(find):
    """Run the program, show its error, a SystemExit too, and return its module; None if there is no program."""
    try:
        program = find()
        if program is None:
            return None
        execute(program, program.code)
    except UsageError:
        raise
    except BaseException as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)
        sys.last_type, sys.last_value, sys.last_exc = type(exc), exc, exc
    return sys.modules["__main__"]


def _run_startup(main):
    path = os.environ.get("PYTHONSTARTUP") if not sys.flags.ignore_environment else None
    if not path:
        return
    sys.audit("cpython.run_startup", path)
    try:
        with tokenize.open(path) as file:
            exec(compile(file.read(), path, "exec"), main.__dict__)
    except (Exception, KeyboardInterrupt):
        sys.excepthook(*sys.exc_info())


def _new_console(main):
    """The function that runs the console of Python 3.13 and later; None if this terminal has none."""
    if os.environ.get("PYTHON_BASIC_REPL") or not _is_terminal():
        return None
    try:
        from _pyrepl.console import InteractiveColoredConsole
        from _pyrepl.main import CAN_USE_PYREPL
        from _pyrepl.simple_interact import run_multiline_interactive_console
    except ImportError:
        return None
    if not CAN_USE_PYREPL:
        return None
    console = type("Console", (_Short, InteractiveColoredConsole), {})(main.__dict__, filename="<stdin>")
    return lambda: run_multiline_interactive_console(console)


def _is_terminal():
    try:
        return sys.stdin.isatty() and sys.stdout.isatty() and (sys.stdin.fileno(), sys.stdout.fileno()) == (0, 1)
    except (AttributeError, OSError, ValueError):
        return False


class _Short:
    """Mixed into a console: errors are shown without the steps by which a call waits."""

    def showtraceback(self, *args, **kwargs):
        cut(sys.exc_info()[2])
        super().showtraceback(*args, **kwargs)


class _Console(_Short, code.InteractiveConsole):
    def __init__(self, names, read_line):
        super().__init__(names, "<stdin>")
        self.raw_input = read_line


def _old_console(main):
    read_line = builtins.input
    if _is_terminal():
        try:
            read_line = _Readline().read
        except (ImportError, AttributeError):
            pass  # no readline, no ctypes, or a readline without such functions
    console = _Console(main.__dict__, read_line)
    return lambda: console.interact(banner="", exitmsg="")


class _Readline:
    """Reads lines with readline, and lets greenlets run until a key is pressed. Raises ImportError or AttributeError
    if that is not possible here."""

    def __init__(self):
        import ctypes
        import readline

        library = ctypes.CDLL(getattr(readline, "__file__", None))  # finds also what that is linked with
        self.install, self.remove = library.rl_callback_handler_install, library.rl_callback_handler_remove
        self.read_key, self.forget = library.rl_callback_read_char, library.rl_free_line_state
        self.look_at_size = getattr(library, "rl_reset_screen_size", lambda: None)
        self.free = ctypes.CDLL(None).free
        self.free.argtypes = [ctypes.c_void_p]
        self.string_at = ctypes.string_at
        self.callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._got)
        self.install.argtypes = [ctypes.c_char_p, type(self.callback)]
        for function in (self.install, self.remove, self.read_key, self.forget, self.free):
            function.restype = None
        self.lines = []

    def read(self, prompt):
        """The next line, without its end. Raises EOFError."""
        encoding = sys.stdin.encoding
        sys.stdout.flush()
        sys.stderr.flush()
        self.lines.clear()
        self.look_at_size()
        self.install(str(prompt).encode(encoding, "replace"), self.callback)
        try:
            while not self.lines:
                wait_read(0)
                self.read_key()
        except BaseException:
            self.forget()
            self.remove()
            raise
        line = self.lines.pop()
        if line is None:
            raise EOFError
        line = line.decode(encoding, "surrogateescape")
        _remember(line)
        return line

    def _got(self, address):
        self.remove()  # otherwise it would show the prompt again
        self.lines.append(None if address is None else self.string_at(address))
        self.free(address)


def _remember(line):
    import readline

    count = readline.get_current_history_length()
    if line and (not count or readline.get_history_item(count) != line):
        readline.add_history(line)
