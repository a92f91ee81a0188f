"""A Python prompt inside a running program, over a socket.

Input runs in the greenlet of its connection. Only in that greenlet, `sys.stdin`, `sys.stdout`, `sys.stderr` and
`sys.displayhook` mean the connection: while there is at least one connection, each of them is a stand-in that looks up
the running greenlet. All other greenlets and threads get the original.
"""

import code
import sys
import warnings

from gevlite._version import __version__
from gevlite.greenlet import getcurrent
from gevlite.server import StreamServer

__all__ = ["BackdoorServer"]


class BackdoorServer(StreamServer):
    """Serves a Python prompt. Connect with `nc` or `telnet`; `exit()` or end-of-file hangs up.

    locals: names that every prompt knows. banner: the text that a client sees first. For the rest see `StreamServer`.

    A client can do everything that the process can do. So a port, or an address without a host, means 127.0.0.1 here,
    and a RuntimeWarning says so; "0.0.0.0" and "::" mean all interfaces. A UNIX socket may have a `socket_mode`.
    """

    def __init__(self, listener, locals=None, banner=None, **server_args):
        super().__init__(_local(listener), spawn=server_args.pop("spawn", "default"), **server_args)
        self.locals = {"__doc__": None, "__name__": "__console__"}
        if locals:
            self.locals.update(locals)
        self.banner = f"Python {sys.version} on {sys.platform}\ngevlite {__version__}" if banner is None else banner

    def handle(self, conn, _address):
        """Serve one prompt, until its client hangs up."""
        console = _Console(conn, dict(self.locals))
        try:
            _install(console)
            try:
                console.interact(self.banner)
            finally:
                _uninstall()
        except (SystemExit, OSError):
            pass  # exit() at the prompt, or a client that disconnected
        finally:
            console.stdin.close()


def _local(listener):
    host = None
    if isinstance(listener, int) and not isinstance(listener, bool):
        host, port = "", listener
    elif isinstance(listener, tuple) and len(listener) == 2:
        host, port = listener
    elif isinstance(listener, str) and not listener.startswith(("unix:", "fd://")):
        host, _, port = listener.rpartition(":")
        if not port.isdigit():
            return listener  # the base class raises the error
        port = int(port)
    if host not in ("", b""):
        return listener
    warnings.warn(
        f"BackdoorServer({listener!r}) listens on 127.0.0.1 only: name a host, or 0.0.0.0 for all interfaces",
        RuntimeWarning,
        stacklevel=3,
    )
    return ("127.0.0.1", port)


class _Output:
    """A text file that a prompt's greenlet writes to its connection."""

    encoding = "utf-8"
    errors = "backslashreplace"
    closed = False

    def __init__(self, conn):
        self._conn = conn

    def write(self, text):
        self._conn.sendall(text.encode(self.encoding, self.errors))
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


class _Console(code.InteractiveInterpreter):
    def __init__(self, conn, locals):
        super().__init__(locals)
        self.stdin = conn.makefile("r", encoding="utf-8", errors="replace")
        self.stdout = self.stderr = _Output(conn)

    def write(self, data):
        self.stdout.write(data)

    def displayhook(self, value):
        """Show the value of an expression, and keep it in `_` of this prompt only."""
        if value is not None:
            self.write(f"{value!r}\n")
            self.locals["_"] = value

    def interact(self, banner):
        self.write(f"{banner}\n")
        lines = []
        while True:
            self.write("... " if lines else ">>> ")
            line = self.stdin.readline()
            if not line:
                return
            lines.append(line.rstrip("\r\n"))
            if not self.runsource("\n".join(lines), "<console>"):
                lines = []


# ---------------------------------------------------------------- sys.stdout and the like, for one greenlet

_consoles: dict = {}  # greenlet -> its console
_replaced: dict = {}  # name in sys -> (the original, the stand-in)


class _StandIn:
    """Replaces `sys.stdout` and the others while there are prompts: the connection in a prompt's greenlet, else the
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
