from time import time as time
from typing import Final

from gevlite.loop import Loop as loop

__all__ = [
    "READ",
    "WRITE",
    "embeddable_backends",
    "get_header_version",
    "get_version",
    "loop",
    "recommended_backends",
    "supported_backends",
    "time",
]

READ: Final = 1
WRITE: Final = 2

def get_version() -> str: ...
def get_header_version() -> str: ...
def supported_backends() -> list[str]: ...
def recommended_backends() -> list[str]: ...
def embeddable_backends() -> list[str]: ...
