import socket as _std
from socket import *  # noqa: F403
from typing import Any, TypeAlias

from _typeshed import FileDescriptorLike

from gevlite._core import Hub

_Exception: TypeAlias = BaseException | type[BaseException] | None

__implements__: list[str]
__imports__: list[str]
__extensions__: list[str]

class socket(_std.socket):  # type: ignore[no-redef]
    @property
    def hub(self) -> Hub: ...

SocketType = socket  # type: ignore[assignment,misc]

class cancel_wait_ex(OSError):
    def __init__(self) -> None: ...

def cancel_wait(watcher: Any, error: BaseException | type[BaseException] = ...) -> None: ...
def wait_read(fileno: FileDescriptorLike, timeout: float | None = None, timeout_exc: _Exception = None) -> None: ...
def wait_write(
    fileno: FileDescriptorLike, timeout: float | None = None, timeout_exc: _Exception = None, event: Any = None
) -> None: ...
def wait_readwrite(
    fileno: FileDescriptorLike, timeout: float | None = None, timeout_exc: _Exception = None, event: Any = None
) -> None: ...
