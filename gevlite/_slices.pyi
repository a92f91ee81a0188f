"""The part of time slices that is in Python: the settings, and `uninterrupted`. The mechanism is in _interrupt.pxi."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from gevlite import _core

__all__ = ["for_new_hub", "slice_hub", "uninterrupted"]

_F = TypeVar("_F", bound=Callable[..., Any])

@overload
def uninterrupted(function: None = None, /) -> _core.Uninterrupted:
    """For a `with` block, or as a decorator: what runs in it is not interrupted at the end of a time slice.

    Blocking calls in it still let others run. Such blocks can be nested. Where time slices are off, it does nothing.
    Raises TypeError for a generator function or an `async def`: use a `with` block in it.
    """

@overload
def uninterrupted(function: _F, /) -> _F: ...
def for_new_hub(seconds: float | str | None, source: str = "time_slice") -> float:
    """The length of the slices of a hub of this thread: the argument, which comes from `source`, else the setting; 0:
    endless.

    Raises TypeError or ValueError, also if this thread cannot have time slices.
    """

def slice_hub(hub: _core.Hub, seconds: float, signum: int | None = None) -> None:
    """End the time slices of this hub, of the main thread, after so many seconds; 0: no longer."""
