from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NoReturn, overload

__all__ = [
    "MonkeyPatchError",
    "MonkeyPatchWarning",
    "get_original",
    "is_anything_patched",
    "is_module_patched",
    "is_object_patched",
    "main",
    "patch_all",
    "patch_asyncio",
    "patch_builtins",
    "patch_contextvars",
    "patch_dns",
    "patch_item",
    "patch_module",
    "patch_os",
    "patch_queue",
    "patch_select",
    "patch_signal",
    "patch_socket",
    "patch_ssl",
    "patch_subprocess",
    "patch_sys",
    "patch_thread",
    "patch_time",
    "problems",
    "saved",
    "unpatch_all",
]

saved: dict[str, dict[str, Any]]

class MonkeyPatchError(RuntimeError): ...
class MonkeyPatchWarning(RuntimeWarning): ...

def main() -> NoReturn: ...
def problems() -> list[str]: ...
def patch_all(
    socket: bool = True,
    dns: bool = True,
    time: bool = True,
    select: bool = True,
    thread: bool = True,
    os: bool = True,
    ssl: bool = True,
    subprocess: bool = True,
    sys: bool = False,
    aggressive: bool = True,
    Event: bool = True,
    builtins: bool = True,
    signal: bool = True,
    queue: bool = True,
    contextvars: bool = True,
    *,
    asyncio: bool = True,
    fix: bool = False,
    strict: bool | None = None,
) -> None: ...
def patch_asyncio(loop: bool = False) -> None: ...
def patch_builtins() -> None: ...
def patch_contextvars() -> None: ...
def patch_dns() -> None: ...
def patch_os() -> None: ...
def patch_queue() -> None: ...
def patch_select(aggressive: bool = True) -> None: ...
def patch_signal() -> None: ...
def patch_socket(dns: bool = True, aggressive: bool = True) -> None: ...
def patch_ssl() -> None: ...
def patch_subprocess() -> None: ...
def patch_sys(stdin: bool = True, stdout: bool = True, stderr: bool = True) -> None: ...
def patch_thread(
    threading: bool = True,
    _threading_local: bool = True,
    Event: bool = True,
    logging: bool = True,
    existing_locks: bool = True,
) -> None: ...
def patch_time() -> None: ...
def patch_item(owner: ModuleType | type, attribute: str, replacement: object) -> None: ...
def patch_module(target: ModuleType, source: ModuleType, items: Iterable[str] | None = None) -> None: ...
def unpatch_all() -> None: ...
@overload
def get_original(mod_name: str, item_name: str) -> Any: ...
@overload
def get_original(mod_name: str, item_name: Sequence[str]) -> list[Any]: ...
def is_anything_patched() -> bool: ...
def is_module_patched(mod_name: str) -> bool: ...
def is_object_patched(mod_name: str, item_name: str) -> bool: ...
