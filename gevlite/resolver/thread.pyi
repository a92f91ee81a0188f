from typing import Any, Final

from gevlite._core import Hub
from gevlite.threadpool import ThreadPool

__all__ = ["Resolver"]

THREADS: Final[int]

class Resolver:
    hub: Hub
    pool: ThreadPool
    def __init__(self, hub: Hub | None = None) -> None: ...
    def close(self) -> None: ...
    def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[Any, ...]]]: ...
    def gethostbyname(self, hostname: str | bytes | bytearray) -> str: ...
    def gethostbyname_ex(self, hostname: str | bytes | bytearray) -> tuple[str, list[str], list[str]]: ...
    def gethostbyaddr(self, ip_address: str | bytes | bytearray) -> tuple[str, list[str], list[str]]: ...
    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]: ...
