import socket as _std
from typing import Any, Self, TypeAlias, overload

from _typeshed import FileDescriptorLike, ReadableBuffer

from gevlite.hub import Hub
from gevlite.timeout import Timeout

_Address: TypeAlias = tuple[Any, ...] | str | ReadableBuffer
_Exception: TypeAlias = BaseException | type[BaseException] | None

__implements__: list[str]
__imports__: list[str]
__extensions__: list[str]

class socket(_std.socket):
    @property
    def closed(self) -> bool: ...
    @property
    def hub(self) -> Hub: ...
    def accept(self) -> tuple[Self, Any]: ...
    def dup(self) -> Self: ...
    @overload
    def sendto(self, data: ReadableBuffer, flags_or_address: _Address, /) -> int: ...
    @overload
    def sendto(self, data: ReadableBuffer, flags_or_address: int, address: _Address, /) -> int: ...

SocketType = socket

def create_connection(
    address: tuple[str | None, int],
    timeout: float | Timeout | None = ...,
    source_address: tuple[str, int] | None = None,
    *,
    all_errors: bool = False,
) -> socket: ...
def create_server(
    address: Any,
    *,
    family: int = ...,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket: ...
def fromfd(fd: FileDescriptorLike, family: int, type: int, proto: int = 0) -> socket: ...
def socketpair(family: int | None = None, type: int = ..., proto: int = 0) -> tuple[socket, socket]: ...

class cancel_wait_ex(OSError):
    def __init__(self) -> None: ...

def cancel_wait(watcher: Any, error: BaseException | type[BaseException] = ...) -> None: ...
def wait(io: Any, timeout: float | Timeout | None = None, timeout_exc: _Exception = None) -> None: ...
def wait_read(
    fileno: FileDescriptorLike, timeout: float | Timeout | None = None, timeout_exc: _Exception = None
) -> None: ...
def wait_write(
    fileno: FileDescriptorLike,
    timeout: float | Timeout | None = None,
    timeout_exc: _Exception = None,
    event: Any = None,
) -> None: ...
def wait_readwrite(
    fileno: FileDescriptorLike,
    timeout: float | Timeout | None = None,
    timeout_exc: _Exception = None,
    event: Any = None,
) -> None: ...

# Last, because type checkers keep the first of two definitions.
from socket import *  # type: ignore[assignment]  # noqa: E402, F403
