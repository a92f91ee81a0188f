from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["API_VERSION", "install"]

API_VERSION: Final = "26.9.0"
MODULES: Final[frozenset[str]]
USAGE: Final[str]
VARIABLE: Final = "GEVLITE_AS_GEVENT"

class VersionInfo(NamedTuple):
    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: int

def install(children: bool | None = None) -> None: ...
def main(arguments: Sequence[str] | None = None) -> int: ...
