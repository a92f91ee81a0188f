"""Threads that are greenlets: a twin of the low-level `_thread` module.

`start_new_thread` starts a greenlet on the hub of the calling OS thread. To wait for the end of a thread, the standard
`threading` module needs a lock that the interpreter releases (up to Python 3.12) or a handle (from 3.13 on); both are
here.

As with real threads, only the thread that forks continues in the child; the others never run again there.
"""

import sys
from _thread import (
    TIMEOUT_MAX as TIMEOUT_MAX,
    error as error,
    exit as exit,
    get_native_id as get_native_id,
    interrupt_main as interrupt_main,
    stack_size as stack_size,
)
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVarTuple, overload

from gevlite._threadlock import Lock, RLock as RLock, get_ident as get_ident
from gevlite.greenlet import Greenlet

__implements__: list[str]
__imports__: list[str]

def daemon_threads_allowed() -> bool:
    """True: interpreters without daemon threads exist only since Python 3.12."""

def exit_thread() -> NoReturn: ...

_Ts = TypeVarTuple("_Ts")

LockType = Lock
allocate_lock = Lock
allocate = Lock
if sys.version_info >= (3, 13):
    lock = Lock

class ThreadGreenlet(Greenlet):
    """The greenlet of a thread: it calls `function(*args, **kwargs)`, then wakes the waiters for its end."""

    end: Any
    def __init__(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None: ...

@overload
def start_new_thread(function: Callable[[*_Ts], object], args: tuple[*_Ts] = ...) -> int:
    """Run `function(*args, **kwargs)` in a new greenlet of this OS thread. Does not block. Returns its `get_ident()`.

    An exception that ends it goes to `sys.unraisablehook`; SystemExit ends it quietly.
    """

@overload
def start_new_thread(
    function: Callable[..., object], args: tuple[Any, ...] = ..., kwargs: dict[str, Any] | None = None
) -> int: ...

start_new = start_new_thread

def start_joinable_thread(function: Callable[[], object], handle: Any = None, daemon: bool = True) -> Any:
    """Like `start_new_thread`, for a function without arguments. Returns a handle with `join()`."""
