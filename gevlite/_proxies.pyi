"""Proxies in front of the WSGI server: which of them are trusted, and with what.

`Forwarded` (RFC 7239), the `X-Forwarded-...` fields and the PROXY protocol are each off by default, because a proxy
that does not write a field passes it on as the client sent it. And each is used only from trusted addresses: from all
others the fields are removed, so that the application does not trust them either.

Proxies append: the last address of a list is the one that the proxy connected to this server has seen. From there the
list is read backwards over trusted addresses; the first address that is not trusted is the client. Entries before that
one were written by the client, and are ignored.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

__all__ = ["HEADERS", "Proxies", "ProxyError", "read_proxy_header"]

HEADERS: tuple[str, ...]

class Proxies:
    """Which proxies `WSGIServer(proxies=...)` trusts, and with which fields.

    trusted: their addresses or networks, such as `["10.0.0.0/8", "::1"]`; `"unix"`: all connections to a UNIX socket.
    headers: the fields that all of these proxies always write themselves, whatever the client has sent; any of
    `"forwarded"`, `"x-forwarded-for"`, `"x-forwarded-proto"`, `"x-forwarded-host"` and `"x-forwarded-prefix"`.
    protocol: whether their connections begin with a header of the PROXY protocol, version 1 or 2. A connection without
    the header is closed.

    Raises TypeError or ValueError for invalid arguments.
    """

    trusted: tuple[str, ...]
    headers: tuple[str, ...]
    protocol: bool
    def __init__(
        self, trusted: str | Iterable[str], headers: str | Iterable[str] = (), protocol: bool = False
    ) -> None: ...
    def trusts(self, address: Any) -> bool:
        """Whether this address, as returned by `accept`, belongs to one of the proxies."""
    def apply(self, address: Any, environ: dict[str, Any]) -> None:
        """Update `environ` with what the proxy says about the client. address: of the connection.

        Raises RequestError if the proxy sends invalid values.
        """

class ProxyError(OSError):
    """The data is not a header of the PROXY protocol."""

def read_proxy_header(
    sock: Any, address: Any, timeout: float, versions: tuple[int, ...] = (1, 2), optional: bool = False
) -> Any:
    """Read the header, and nothing else, from the beginning of a connection. Returns the client's address that it
    contains, or `address` if it contains none. Blocks for at most `timeout` seconds.

    versions: the accepted versions of the protocol. optional: a connection without a header is the client's own.

    The attribute `environ` of the result has the rest: PROXY_PROTOCOL (TCP4, TCP6), and the address that the client has
    connected to, PROXY_ADDR and PROXY_PORT; if the client speaks TLS with the proxy, also HTTPS, SSL_PROTOCOL,
    SSL_CIPHER, SSL_TLS_SNI, SSL_CLIENT_VERIFY and SSL_CLIENT_S_DN_CN, which are the names of mod_ssl. The attribute
    `unread` has data that was read but belongs to a request; `proxied` is False if there is no header at all.

    Raises ProxyError for an invalid header, TimeoutError, or another OSError.
    """

def ip_address_of(host: str) -> IPv4Address | IPv6Address | None:
    """An ipaddress object, IPv4 even if written as IPv6 (RFC 4291, 2.5.5.2). None if it is not an address."""
