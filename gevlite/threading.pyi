"""The names that make the standard `threading` module use greenlets, for `gevlite.monkey`; not meant for direct use.

The standard classes stay: Thread, Condition, Event, Semaphore, Barrier and Timer are built on a few low-level names of
their module, and the twins here replace those. So classes that were derived from Thread before patching work too.
"""

from collections.abc import Callable
from threading import Thread

from gevlite._threadlock import Lock as Lock, get_ident as get_ident
from gevlite.local import local as local

__target__: str
__implements__: list[str]
__imports__: list[str]

def adopt(thing: Thread) -> Callable[[], None] | None:
    """Make waiting for the end of `thing`, an existing Thread, cooperative. Returns a function that undoes it."""

# Last, because type checkers keep the first of two definitions.
from threading import *  # type: ignore[assignment]  # noqa: E402, F403
