from collections.abc import Callable
from ssl import SSLSocket
from typing import Any, TypeVar

from _typeshed import ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

_T = TypeVar("_T")

# `sslobj` is an `_ssl._SSLSocket`, OpenSSL's own view of the connection.
@disjoint_base
class Conversation:
    def read(self, sock: SSLSocket, sslobj: Any, size: int, buffer: WriteableBuffer | None = None) -> Any: ...
    def write(self, sock: SSLSocket, sslobj: Any, data: ReadableBuffer) -> int: ...
    def call(self, sock: SSLSocket, operation: Callable[[], _T], timed_out: str | None = None) -> _T: ...
