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

def daemon_threads_allowed() -> bool: ...
def exit_thread() -> NoReturn: ...

_Ts = TypeVarTuple("_Ts")

LockType = Lock
allocate_lock = Lock
allocate = Lock
if sys.version_info >= (3, 13):
    lock = Lock

class ThreadGreenlet(Greenlet):
    end: Any
    def __init__(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None: ...

@overload
def start_new_thread(function: Callable[[*_Ts], object], args: tuple[*_Ts] = ...) -> int: ...
@overload
def start_new_thread(
    function: Callable[..., object], args: tuple[Any, ...] = ..., kwargs: dict[str, Any] | None = None
) -> int: ...

start_new = start_new_thread

def start_joinable_thread(function: Callable[[], object], handle: Any = None, daemon: bool = True) -> Any: ...
