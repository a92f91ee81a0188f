"""What locks, queues and thread-locals that the interpreter made do while the process is patched.

Objects made before patching are of types written in C, and may be held where no other object can be put in their place: in a
tuple, a frame, a closure, or a lock by the code that is about to give it back. So they stay, and what the methods of their
types do is exchanged (`_method_swap.h`). Each keeps its own state. An OS thread without a hub goes by that, and waits as
before. A greenlet that would have to wait parks, and is woken by whatever gives the lock back or puts an item in.

* A lock is really taken. Giving back one that a greenlet waits for hands it over: it stays taken.
* An RLock belongs to an OS thread, which is not enough: its greenlets would all own it. A `_threadlock.RLock` beside it
  says which greenlet does, and while one does its thread owns the original. One that is taken when we first see it belongs to
  the main greenlet of its thread.
* A SimpleQueue keeps its items. A getter that was woken for one has a claim on it until it has run.
* A threading.local stays what it was to main greenlets, the only ones that threads had before. For all others a
  `gevlite.local` keeps the attributes.

What gevlite itself shares with OS threads must stay as it is: `leave_native` says so.
"""

from collections.abc import Callable
from typing import Any

__all__ = [
    "CannotAdopt",
    "acquire_in_thread",
    "adopt_local",
    "adopt_locks",
    "adopt_queue",
    "adopt_rlocks",
    "give_back",
    "leave_native",
    "poll_masks",
    "swap_methods",
]

class CannotAdopt(Exception):
    """A type is not what it was in all Pythons up to 3.15. Its objects stay what they are."""

def acquire_in_thread(lock: object, timeout: float = -1) -> bool:
    """Take a lock of the interpreter's; block the whole OS thread until that works, at most `timeout` seconds.

    For a lock that the interpreter itself gives back: it wakes no greenlet.
    """

def adopt_local() -> list[Callable[..., object]]:
    """Locals of the interpreter's keep the greenlets' attributes apart, from now on. Returns what is adopted.

    What main greenlets see stays.
    """

def adopt_locks() -> list[Callable[..., object]]:
    """Locks of the interpreter's block greenlets only, from now on. Returns what is adopted."""

def adopt_queue() -> list[Callable[..., object]]:
    """SimpleQueues of the interpreter's block greenlets only, from now on. Returns what is adopted."""

def adopt_rlocks() -> list[Callable[..., object]]:
    """RLocks of the interpreter's block greenlets only, from now on. Returns what is adopted."""

def give_back() -> None:
    """Undo all of it. What waits goes on to wait, by looking again and again."""

def leave_native(thing: object) -> None:
    """Let an RLock, a SimpleQueue or a local of the interpreter's be what it is in OS threads, for greenlets too."""

def poll_masks(poll: object) -> dict[int, int]:
    """The dict of a `select.poll` object: what each descriptor is watched for. It is the first thing in it."""

def swap_methods(owner: type, methods: dict[str, Callable[..., object]]) -> dict[str, Callable[..., Any]]:
    """Have `instead(self, ...)` called wherever a method of the built-in type `owner` is, kept or looked up.

    methods: `{name: instead}`. Returns `{name: original}`, of methods that are not affected. Raises CannotAdopt, and
    has exchanged nothing, if one of them cannot be.
    """
