"""Attributes of its own for each greenlet, as `threading.local` gives them to each thread.

A `local` owns one place, with a dict of attributes, for each greenlet that has used it. The greenlet owns a list of its
places, but not the places. When it ends, the list takes each of them out of its `local`; when a `local` is freed, its
places take themselves out of the lists. So neither keeps the other alive, nothing stays behind in the one that lives
longer, and values that refer back to the `local` are an ordinary cycle that the garbage collector finds.

The object's `__dict__` is set to that of the running greenlet before each access; then the access is an ordinary one. So
properties, slots, class attributes and whatever else a subclass defines work by themselves. The pointer cannot go
stale in between: the lookup of a plain attribute runs no Python code, and a descriptor that does comes before it.
"""

from typing import Any, Self

from greenlet import greenlet
from typing_extensions import disjoint_base

__all__ = ["local"]

@disjoint_base
class local:
    """Attributes of its own for each greenlet, gone as soon as the greenlet has ended.

    A subclass may define `__init__`: it is called with the original arguments once in each greenlet that uses the object.
    """
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __getattribute__(self, name: str, /) -> Any: ...
    def __setattr__(self, name: str, value: Any, /) -> None: ...
    def __delattr__(self, name: str, /) -> None: ...
    def __copy__(self) -> Self:
        """For `copy.copy`: the running greenlet's attributes are copied; any other greenlet starts with `__init__`."""

def all_local_dicts_for_greenlet(g: greenlet) -> list[tuple[tuple[type, int], dict[str, Any]]]:
    """`[((type of the local, its id), its attributes for this greenlet), ...]`, of every `local` that it has used."""
