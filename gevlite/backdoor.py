"""A Python prompt inside a running program, over a socket.

Input runs in the greenlet of its connection. Only in that greenlet, `sys.stdin`, `sys.stdout`, `sys.stderr` and
`sys.displayhook` mean the connection: while there is at least one connection, each of them is a stand-in that looks up
the running greenlet. All other greenlets and threads get the original.
"""

import sys
import warnings

from gevlite._console import Console, Output
from gevlite._version import __version__
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
        stdin = conn.makefile("r", encoding="utf-8", errors="replace")
        stdout = Output(lambda text: conn.sendall(text.encode(Output.encoding, Output.errors)))
        console = Console(stdin, stdout, dict(self.locals))
        try:
            with console:
                console.write(f"{self.banner}\n")
                console.interact()
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
