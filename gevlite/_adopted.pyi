"""How locks, queues and thread-locals that the interpreter made behave while the process is patched.

Objects made before patching have types written in C, and may be held where no other object can be put in their place:
in a tuple, a frame or a closure; a lock also by the code that is about to release it. So the objects stay, and the
implementations of their methods are exchanged (`_method_swap.h`). Each object keeps its own state. An OS thread without
a hub goes by that state, and waits as before. A greenlet that would have to wait parks, and is woken by the code that
releases the lock or puts an item in.

* A lock is really taken. If a greenlet waits for it, a release hands it over: it stays taken.
* An RLock belongs to an OS thread, which is not enough: all greenlets of the thread would own it. A `_threadlock.RLock`
  beside it says which greenlet owns it, and while one does, its thread owns the original. An RLock that is taken when
  we first see it belongs to the main greenlet of its thread.
* A SimpleQueue keeps its items. A getter that was woken for one has a claim on it until it has run.
* A threading.local stays what it was to main greenlets, the only ones that threads had before. For all others a
  `gevlite.local` keeps the attributes.

Objects that gevlite itself shares with OS threads must stay as they are: `leave_native` marks them.
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
    """A type is not built as it was in all Pythons up to 3.15. Its objects stay as they are."""

def acquire_in_thread(lock: object, timeout: float = -1) -> bool:
    """Take a lock of the interpreter's; block the whole OS thread until that works, at most `timeout` seconds.

    For a lock that the interpreter itself releases, which wakes no greenlet.
    """

def adopt_local() -> list[Callable[..., object]]:
    """From now on, locals of the interpreter keep the greenlets' attributes apart. Returns what is adopted.

    Main greenlets see the same attributes as before.
    """

def adopt_locks() -> list[Callable[..., object]]:
    """From now on, locks of the interpreter block greenlets only. Returns what is adopted."""

def adopt_queue() -> list[Callable[..., object]]:
    """From now on, SimpleQueues of the interpreter block greenlets only. Returns what is adopted."""

def adopt_rlocks() -> list[Callable[..., object]]:
    """From now on, RLocks of the interpreter block greenlets only. Returns what is adopted."""

def give_back() -> None:
    """Undo all of it. Waiting greenlets go on waiting, by looking again and again."""

def leave_native(thing: object) -> None:
    """Let an RLock, a SimpleQueue or a local of the interpreter behave for greenlets as it does for OS threads."""

def poll_masks(poll: object) -> dict[int, int]:
    """The dict of a `select.poll` object: what each descriptor is watched for. It is the first field of the object."""

def swap_methods(owner: type, methods: dict[str, Callable[..., object]]) -> dict[str, Callable[..., Any]]:
    """Have `instead(self, ...)` called wherever a method of the built-in type `owner` is, kept or looked up.

    methods: `{name: instead}`. Returns `{name: original}`, methods that are not affected. Raises CannotAdopt, and
    exchanges nothing, if one of them cannot be exchanged.
    """
