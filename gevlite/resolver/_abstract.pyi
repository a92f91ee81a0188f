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

def lookup_error(code: int) -> gaierror: ...
def best_first(addresses: list[str]) -> list[str]: ...

class AbstractResolver:
    hub: Hub
    hosts: Hosts
    def __init__(self, hub: Hub | None = None) -> None: ...
    def close(self) -> None: ...
    def ask(self, name: str, family: int) -> tuple[str, list[str], Sequence[str]]: ...
    def reverse(self, address: str) -> tuple[str, list[str]]: ...
    def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]: ...
    def gethostbyname(self, hostname: _Host, family: int = ...) -> str: ...
    def gethostbyname_ex(self, hostname: _Host, family: int = ...) -> tuple[str, list[str], list[str]]: ...
    def gethostbyaddr(self, ip_address: _Host) -> tuple[str, list[str], list[str]]: ...
    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]: ...
