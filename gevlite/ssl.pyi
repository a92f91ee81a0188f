import ssl as _std
import sys
from socket import socket as _StdSocket
from typing import Any, Self

from _typeshed import ReadableBuffer, StrOrBytesPath

from gevlite.hub import Hub
from gevlite.socket import socket as _Socket

__implements__: list[str]
__imports__: list[str]
SAFE_PROPERTIES: dict[str, property]

class SSLSocket(_Socket, _std.SSLSocket):
    context: SSLContext
    @property
    def hub(self) -> Hub: ...
    def accept(self) -> tuple[Self, Any]: ...
    def dup(self) -> Self: ...
    def sendto(self, data: ReadableBuffer, flags_or_addr: Any, addr: Any = None) -> int: ...

class SSLContext(_std.SSLContext):
    sslsocket_class: type[SSLSocket]
    def wrap_socket(
        self,
        sock: _StdSocket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: _std.SSLSession | None = None,
    ) -> SSLSocket: ...

def create_default_context(
    purpose: _std.Purpose = ...,
    *,
    cafile: StrOrBytesPath | None = None,
    capath: StrOrBytesPath | None = None,
    cadata: str | ReadableBuffer | None = None,
) -> SSLContext: ...

if sys.version_info >= (3, 12):
    def wrap_socket(
        sock: _StdSocket,
        keyfile: StrOrBytesPath | None = None,
        certfile: StrOrBytesPath | None = None,
        server_side: bool = False,
        cert_reqs: int = ...,
        ssl_version: int | None = None,
        ca_certs: str | None = None,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        ciphers: str | None = None,
    ) -> SSLSocket: ...

# Last, because type checkers keep the first of two definitions.
from ssl import *  # type: ignore[assignment]  # noqa: E402, F403
