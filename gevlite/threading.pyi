from collections.abc import Callable
from threading import Thread

from gevlite._threadlock import Lock as Lock, get_ident as get_ident
from gevlite.local import local as local

__target__: str
__implements__: list[str]
__imports__: list[str]

def adopt(thing: Thread) -> Callable[[], None] | None: ...

# Last, because type checkers keep the first of two definitions.
from threading import *  # type: ignore[assignment]  # noqa: E402, F403
