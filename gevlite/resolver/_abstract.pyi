"""The common part of all resolvers that ask name servers themselves: everything but the asking.

The system's own getaddrinfo and getnameinfo check the arguments, and answer numeric addresses, services and wildcards.
With AI_NUMERICHOST or NI_NUMERICHOST they ask no name server, so errors and results are the original's. Names in
/etc/hosts come first, as in most systems' nsswitch.conf(5); then a subclass asks.
"""

from collections.abc import Sequence
from socket import gaierror
from typing import Any, Final, TypeAlias

from gevlite._core import Hub
from gevlite.resolver._hosts import Hosts

_Host: TypeAlias = str | bytes | bytearray

AI_ALL: Final[int]
AI_V4MAPPED: Final[int]
NI_NOFQDN: Final[int]
EAI_NODATA: Final[int]

def lookup_error(code: int) -> gaierror:
    """The gaierror for EAI_NONAME, EAI_NODATA, EAI_AGAIN or EAI_FAIL."""

def best_first(addresses: list[str]) -> list[str]:
    """Sort: reachable addresses first, and IPv6 before IPv4: the most important rules of RFC 6724."""

class AbstractResolver:
    """A subclass defines `ask` and `reverse`; they block, and raise `lookup_error(code)`."""

    hub: Hub
    hosts: Hosts
    def __init__(self, hub: Hub | None = None) -> None: ...
    def close(self) -> None:
        """Release the resolver's resources. Its waiters get gaierror(EAI_AGAIN)."""
    def ask(self, name: str, family: int) -> tuple[str, list[str], Sequence[str]]:
        """Ask for the addresses (AF_INET or AF_INET6) of `name`, which is ASCII.

        Returns `(canonical name, aliases, addresses)`, all of them strings.
        """
    def reverse(self, address: str) -> tuple[str, list[str]]:
        """Ask for the names of an IPv4 or IPv6 address; return `(canonical name, aliases)`."""
    def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        """As `socket.getaddrinfo`, with plain numbers in the result."""
    def gethostbyname(self, hostname: _Host, family: int = ...) -> str:
        """As `socket.gethostbyname`; family may also be AF_INET6."""
    def gethostbyname_ex(self, hostname: _Host, family: int = ...) -> tuple[str, list[str], list[str]]:
        """As `socket.gethostbyname_ex`; family may also be AF_INET6."""
    def gethostbyaddr(self, ip_address: _Host) -> tuple[str, list[str], list[str]]:
        """As `socket.gethostbyaddr`."""
    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As `socket.getnameinfo`."""
