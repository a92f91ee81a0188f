import os
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol, Self, TypeAlias, type_check_only

from gevlite.lock import DummySemaphore, Semaphore
from gevlite.threadpool import ThreadPool

__all__ = ["FileObject", "FileObjectBlock", "FileObjectPosix", "FileObjectThread"]

@type_check_only
class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_Source: TypeAlias = int | str | bytes | os.PathLike[str] | os.PathLike[bytes] | _HasFileno

class FileObjectBase:
    default_bufsize: ClassVar[int]
    io: Any
    mode: str
    def __init__(
        self,
        fobj: _Source,
        mode: str = "r",
        bufsize: int | None = None,
        close: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int | None = None,
        closefd: bool | None = None,
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def next(self) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
    # read, readline, write, flush, seek, fileno, name, encoding, ...: what `io` has.
    def __getattr__(self, name: str) -> Any: ...

class FileObjectPosix(FileObjectBase): ...

class FileObjectThread(FileObjectBase):
    READS: ClassVar[frozenset[str]]
    OTHERS: ClassVar[frozenset[str]]
    lock: Semaphore | DummySemaphore
    threadpool: ThreadPool | None
    def __init__(
        self,
        fobj: Any,
        mode: str = "r",
        bufsize: int | None = None,
        close: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        buffering: int | None = None,
        closefd: bool | None = None,
        *,
        lock: bool | Semaphore | DummySemaphore = True,
        threadpool: ThreadPool | None = None,
    ) -> None: ...

class FileObjectBlock(FileObjectBase): ...

FileObject = FileObjectPosix
