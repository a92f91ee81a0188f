import socket as _std
from socket import *  # noqa: F403
from typing import TypeAlias

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

def wait_read(fileno: FileDescriptorLike, timeout: float | None = None, timeout_exc: _Exception = None) -> None: ...
def wait_write(fileno: FileDescriptorLike, timeout: float | None = None, timeout_exc: _Exception = None) -> None: ...
def wait_readwrite(
    fileno: FileDescriptorLike, timeout: float | None = None, timeout_exc: _Exception = None
) -> None: ...
