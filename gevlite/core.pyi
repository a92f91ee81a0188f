from time import time as time
from typing import Final

from gevlite._core import Callback as callback
from gevlite.loop import Loop as loop, Watcher as watcher

__all__ = [
    "MAXPRI",
    "MINPRI",
    "READ",
    "READWRITE",
    "WRITE",
    "callback",
    "embeddable_backends",
    "get_header_version",
    "get_version",
    "loop",
    "recommended_backends",
    "supported_backends",
    "time",
    "watcher",
]

READ: Final = 1
WRITE: Final = 2
READWRITE: Final = 3
MAXPRI: Final = 2
MINPRI: Final = -2

def get_version() -> str: ...
def get_header_version() -> str: ...
def supported_backends() -> list[str]: ...
def recommended_backends() -> list[str]: ...
def embeddable_backends() -> list[str]: ...
