from collections.abc import Callable
from typing import Any, TypeVar, overload

from _typeshed import ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

from gevlite.socket import socket

_T = TypeVar("_T")

@disjoint_base
class Conversation:
    @overload
    def read(self, sock: socket, sslobj: Any, size: int, buffer: None = None) -> bytes: ...
    @overload
    def read(self, sock: socket, sslobj: Any, size: int, buffer: WriteableBuffer) -> int: ...
    def write(self, sock: socket, sslobj: Any, data: ReadableBuffer) -> int: ...
    def write_all(self, sock: socket, sslobj: Any, data: ReadableBuffer) -> None: ...
    def call(self, sock: socket, operation: Callable[[], _T], timed_out: str | None = None) -> _T: ...
