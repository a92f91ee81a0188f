from typing import Any, Final

from gevlite._core import Hub
from gevlite.resolver._abstract import AbstractResolver

__all__ = ["Resolver"]

ENV_PREFIX: Final[str]

class Resolver(AbstractResolver):
    # options: those of pycares.Channel.
    def __init__(self, hub: Hub | None = None, use_environ: bool = True, **options: Any) -> None: ...
    def ask(self, name: str, family: int) -> tuple[str, list[str], list[str]]: ...
    def reverse(self, address: str) -> tuple[str, list[str]]: ...
