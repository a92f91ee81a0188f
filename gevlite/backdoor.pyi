from collections.abc import Mapping
from typing import Any

from gevlite.baseserver import _Listener
from gevlite.server import StreamServer
from gevlite.socket import socket as _Socket

__all__ = ["BackdoorServer"]

class BackdoorServer(StreamServer):
    locals: dict[str, Any]
    banner: str
    def __init__(
        self,
        listener: _Listener,
        locals: Mapping[str, Any] | None = None,
        banner: str | None = None,
        **server_args: Any,
    ) -> None: ...
    def handle(self, conn: _Socket, _address: Any) -> None: ...
