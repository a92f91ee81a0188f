from collections.abc import Collection
from typing import Final

PATH: Final[str]

class Hosts:
    path: str
    def __init__(self, path: str = ...) -> None: ...
    def by_name(self, name: str, families: Collection[int]) -> tuple[str, list[str], list[str]] | None: ...
    def by_address(self, address: str) -> tuple[str, list[str]] | None: ...
