"""A Python prompt inside a running program, over a socket.

Input runs in the greenlet of its connection. Only in that greenlet, `sys.stdin`, `sys.stdout`, `sys.stderr` and
`sys.displayhook` mean the connection: while there is at least one connection, each of them is a stand-in that looks up
the running greenlet. All other greenlets and threads get the original.
"""

from collections.abc import Mapping
from typing import Any

from gevlite.baseserver import _Listener
from gevlite.server import StreamServer
from gevlite.socket import socket as _Socket

__all__ = ["BackdoorServer"]

class BackdoorServer(StreamServer):
    """Serves a Python prompt. Connect with `nc` or `telnet`; `exit()` or end-of-file hangs up.

    locals: names that every prompt knows. banner: the text that a client sees first. For the rest see `StreamServer`.

    A client can do everything that the process can do. So a port, or an address without a host, means 127.0.0.1 here,
    and a RuntimeWarning says so; "0.0.0.0" and "::" mean all interfaces. A UNIX socket may have a `socket_mode`.
    """

    locals: dict[str, Any]
    banner: str
    def __init__(
        self,
        listener: _Listener,
        locals: Mapping[str, Any] | None = None,
        banner: str | None = None,
        **server_args: Any,
    ) -> None: ...
    def handle(self, conn: _Socket, _address: Any) -> None:
        """Serve one prompt, until its client hangs up."""
