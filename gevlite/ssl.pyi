"""Cooperative TLS: the standard `ssl` module with handshakes, reads and writes that block only the calling greenlet.

`SSLSocket` is both a `gevlite.socket.socket` and a standard `ssl.SSLSocket`; methods without I/O come from the latter.
`_sslio` does the waiting for OpenSSL. `MemoryBIO` and `SSLObject` do no I/O themselves and are the original classes.

The original refers to its classes by their names in its module, which patching replaces. Where that would cause errors,
its functions are used with other globals:

* `create_default_context` and similar functions must use gevlite's classes, patched or not: they get this module's
  globals.
* The setters of `SSLContext.options` and others call `super(SSLContext, SSLContext)`. With gevlite's subclass under
  that name, this would find the same setter again, endlessly. They get globals in which the names keep their original
  meaning.
"""

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
    """A TLS connection, made by `SSLContext.wrap_socket`; its blocking calls block only the calling greenlet.

    One greenlet may read while another writes; writes of several greenlets take turns. The socket's time-out limits
    each blocking call, which then raises TimeoutError. In non-blocking mode, SSLWantReadError or SSLWantWriteError say
    what to wait for.
    """

    context: SSLContext
    @property
    def hub(self) -> Hub:
        """The hub of the running thread; a socket does not belong to a hub."""
    def accept(self) -> tuple[Self, Any]:
        """Block until a client has connected and finished the handshake; return `(SSLSocket, address)`.

        A client that stalls in the handshake holds up the caller, for ever unless there is a default time-out. To avoid
        this, pass `do_handshake_on_connect=False` to `wrap_socket` and call `do_handshake` in the greenlet that serves
        the connection.
        """
    def dup(self) -> Self:
        """Not possible: the state of the connection cannot be shared. Raises NotImplementedError."""
    def sendto(self, data: ReadableBuffer, flags_or_addr: Any, addr: Any = None) -> int:
        """Only before TLS begins."""

class SSLContext(_std.SSLContext):
    """The standard SSLContext whose `wrap_socket` makes cooperative sockets."""

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
) -> SSLContext:
    """As the original's, for connections that block only the calling greenlet."""

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
    ) -> SSLSocket:
        """A TLS socket over `sock`, without verification unless `cert_reqs` asks for it: for old code.

        New code should make an SSLContext, with `create_default_context()`.
        """

# Last, because type checkers keep the first of two definitions.
from ssl import *  # type: ignore[assignment]  # noqa: E402, F403
