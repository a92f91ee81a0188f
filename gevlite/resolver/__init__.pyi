from collections.abc import Sequence
from socket import gaierror
from typing import Any, Final, Protocol, TypeAlias, type_check_only

from gevlite.resolver._abstract import AbstractResolver as AbstractResolver

__all__ = ["AbstractResolver", "ResolverError", "available", "choose", "lookup_error", "names"]

BUILT_IN: Final[dict[str, str]]
EXTRAS: Final[tuple[str, ...]]
FUNCTIONS: Final[tuple[str, ...]]

class ResolverError(RuntimeError): ...

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

def names() -> list[str]: ...
def available() -> dict[str, str | None]: ...
def choose(wanted: _Choice | None = None, source: str = "the argument") -> type[_Resolver]: ...
def lookup_error(code: int) -> gaierror: ...
