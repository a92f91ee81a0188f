"""A Python prompt in a greenlet of its own: what `gevlite.backdoor` and `python -m gevlite attach` have in common.

Input runs in the greenlet of its console. Only in that greenlet, `sys.stdin`, `sys.stdout`, `sys.stderr` and
`sys.displayhook` mean the console: while there is at least one, each of them is a stand-in that looks up the running
greenlet. All other greenlets and threads get the original.
"""

import code
import sys
import traceback

from gevlite.greenlet import GreenletExit, getcurrent

__all__ = ["Console", "Output"]


class Output:
    """A text file that a console's greenlet writes to: each text goes to `send`."""

    encoding = "utf-8"
    errors = "backslashreplace"
    closed = False

    def __init__(self, send):
        self._send = send

    def write(self, text):
        self._send(text)
        return len(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        pass

    def isatty(self):
        return False

    def writable(self):
        return True


class Console(code.InteractiveInterpreter):
    """Reads from `stdin` and writes to `stdout`. In a `with` block, which installs it, `interact` shows a prompt."""

    filename = "<console>"  # in tracebacks

    def __init__(self, stdin, stdout, locals):
        super().__init__(locals)
        self.stdin = stdin
        self.failed = False  # the last command
        self.stdout = self.stderr = stdout

    def __enter__(self):
        _install(self)
        return self

    def __exit__(self, *_):
        _uninstall()

    def write(self, data):
        self.stdout.write(data)

    def displayhook(self, value):
        """Show the value of an expression, and keep it in `_` of this prompt only."""
        if value is not None:
            self.write(f"{value!r}\n")
            self.locals["_"] = value

    def ask(self, prompt):
        """The next line, without its end; None: there is none."""
        self.write(prompt)
        line = self.stdin.readline()
        return line.rstrip("\r\n") if line else None

    def interact(self):
        lines = []
        while (line := self.ask("... " if lines else ">>> ")) is not None:
            lines.append(line)
            if not self.runsource("\n".join(lines), self.filename):
                lines = []

    # The program may have set `sys.excepthook`; it is not meant for errors of this prompt.

    def runcode(self, code):
        self.failed = False
        try:
            self.execute(code)
        except (SystemExit, GreenletExit):
            raise
        except KeyboardInterrupt:
            self.failed = True
            self.write("KeyboardInterrupt\n")
        except BaseException:
            self.failed = True
            self.showtraceback()

    def execute(self, code):
        exec(code, self.locals)

    def showtraceback(self):
        _, exc, tb = sys.exc_info()
        while tb is not None and tb.tb_frame.f_code.co_name in ("runcode", "execute"):
            tb = tb.tb_next  # not ours
        self.write("".join(traceback.format_exception(type(exc), exc, tb)))

    def showsyntaxerror(self, filename=None, **_):
        exc = sys.exc_info()[1]
        self.write("".join(traceback.format_exception_only(type(exc), exc)))


# ---------------------------------------------------------------- sys.stdout and the like, for one greenlet

_consoles: dict = {}  # greenlet -> its console
_replaced: dict = {}  # name in sys -> (the original, the stand-in)


class _StandIn:
    """Replaces `sys.stdout` and the others while there are prompts: the console in a prompt's greenlet, else the
    original."""

    def __init__(self, name, original):
        vars(self).update(_name=name, _original=original)

    def _meant(self):
        console = _consoles.get(getcurrent())
        return self._original if console is None else getattr(console, self._name)

    def __getattr__(self, name):
        return getattr(self._meant(), name)

    def __setattr__(self, name, value):
        setattr(self._meant(), name, value)

    def __iter__(self):
        return iter(self._meant())

    def __call__(self, *args):
        return self._meant()(*args)


def _install(console):
    if not _consoles:
        for name in ("stdin", "stdout", "stderr", "displayhook"):
            original = getattr(sys, name)
            _replaced[name] = original, _StandIn(name, original)
            setattr(sys, name, _replaced[name][1])
    _consoles[getcurrent()] = console


def _uninstall():
    del _consoles[getcurrent()]
    if not _consoles:
        for name, (original, stand_in) in _replaced.items():
            # Unless other code has replaced it since.
            if getattr(sys, name) is stand_in:
                setattr(sys, name, original)
        _replaced.clear()
