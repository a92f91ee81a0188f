"""The system's resolver, called in worker threads."""

from typing import Any, Final

from gevlite._core import Hub
from gevlite.threadpool import ThreadPool

__all__ = ["Resolver"]

THREADS: Final[int]

class Resolver:
    """Blocks only the calling greenlet. Arguments, results and errors are those of the socket module.

    A numeric address needs no look-up and is answered without a thread. A look-up that is killed continues in its
    thread.
    """

    hub: Hub
    pool: ThreadPool
    def __init__(self, hub: Hub | None = None) -> None: ...
    def close(self) -> None:
        """End the threads, each after its current look-up."""
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
    def gethostbyname(self, hostname: str | bytes | bytearray) -> str:
        """As `socket.gethostbyname`."""
    def gethostbyname_ex(self, hostname: str | bytes | bytearray) -> tuple[str, list[str], list[str]]:
        """As `socket.gethostbyname_ex`."""
    def gethostbyaddr(self, ip_address: str | bytes | bytearray) -> tuple[str, list[str], list[str]]:
        """As `socket.gethostbyaddr`."""
    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As `socket.getnameinfo`."""
