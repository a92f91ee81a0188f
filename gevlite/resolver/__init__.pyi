"""Name resolution that does not block the hub, and the one place where a hub's resolver is chosen.

`hub.resolver` has the five functions of the socket module: getaddrinfo, gethostbyname, gethostbyname_ex, gethostbyaddr
and getnameinfo. `gevlite.config.resolver`, or else GEVLITE_RESOLVER, selects it for a hub that has none yet:

* a name: `thread` (the system's resolver, in threads; the default), `block` (the same, but it blocks the hub),
  `dnspython` or `ares` (DNS without threads; each needs a package);
* a comma-separated list in order of preference, of which the first usable one is used: `ares,dnspython,thread`;
* `module:Class`, a class of your own, which is called with the hub.
"""

from collections.abc import Sequence
from socket import gaierror
from typing import Any, Final, Protocol, TypeAlias, type_check_only

from gevlite.resolver._abstract import AbstractResolver as AbstractResolver

__all__ = ["AbstractResolver", "ResolverError", "available", "choose", "lookup_error", "names"]

BUILT_IN: Final[dict[str, str]]
EXTRAS: Final[tuple[str, ...]]
FUNCTIONS: Final[tuple[str, ...]]

class ResolverError(RuntimeError):
    """The chosen resolver does not exist or cannot be used here. The message lists the usable ones."""

# A resolver has these five; `AbstractResolver` is one way to them.
@type_check_only
class _Resolver(Protocol):
    def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]: ...
    def gethostbyname(self, hostname: str) -> str: ...
    def gethostbyname_ex(self, hostname: str) -> tuple[str, list[str], list[str]]: ...
    def gethostbyaddr(self, ip_address: str) -> tuple[str, list[str], list[str]]: ...
    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]: ...

_Choice: TypeAlias = str | Sequence[str] | type[_Resolver]

def names() -> list[str]:
    """The names of the built-in resolvers."""

def available() -> dict[str, str | None]:
    """`{name: None, or the reason why it cannot be used}` for every built-in resolver."""

def choose(wanted: _Choice | None = None, source: str = "the argument") -> type[_Resolver]:
    """The class of the resolver for a new hub.

    `wanted` is a class, a name, an order of preference (a string or a sequence) or `module:Class`; None means the value
    of `gevlite.config.resolver`. source: where `wanted` comes from, for the message of ResolverError, which lists the
    usable ones.
    """

def lookup_error(code: int) -> gaierror:
    """The gaierror for EAI_NONAME, EAI_NODATA, EAI_AGAIN or EAI_FAIL."""
