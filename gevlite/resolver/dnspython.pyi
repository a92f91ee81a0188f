from dns.asyncresolver import Resolver as _AsyncResolver

from gevlite._core import Hub
from gevlite.resolver._abstract import AbstractResolver

__all__ = ["Resolver"]

class Resolver(AbstractResolver):
    resolver: _AsyncResolver
    def __init__(self, hub: Hub | None = None) -> None: ...
    def ask(self, name: str, family: int) -> tuple[str, list[str], list[str]]: ...
    def reverse(self, address: str) -> tuple[str, list[str]]: ...
