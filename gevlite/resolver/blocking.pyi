"""The system's resolver, called directly. It blocks the hub: for programs that have nothing else to do meanwhile."""

from typing import Any

from gevlite._core import Hub

__all__ = ["Resolver"]

class Resolver:
    """The functions of the original socket module, unchanged."""

    hub: Hub | None
    def __init__(self, hub: Hub | None = None) -> None: ...
    def close(self) -> None:
        """Does nothing: there is nothing to release."""
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
