"""File objects whose reads and writes block only the calling greenlet.

`FileObject(fobj, mode)` is like `open(fobj, mode)`: the same modes, buffering, encodings, methods and errors. A pipe, a
terminal, a socket or a device waits on the hub, without a thread; a file on a disk, which cannot be waited for, is read
and written in the hub's thread pool. `_fileio` and `_rawfile` implement this.
"""

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
    """The common part of all file objects. `io` is the object, in the style of the `io` module, that does the work.

    fobj: a descriptor, a path, or an object with `fileno()`: a file, a socket, another file object. mode, buffering,
    encoding, errors, newline and closefd are as those of `open`; bufsize and close are older names for buffering and
    closefd. Mode "r+" on a file that cannot seek (a socket, a terminal) opens both directions.

    Raises what `open` raises: ValueError and TypeError for invalid arguments, OSError.
    """

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
    def closed(self) -> bool:
        """True after `close()`."""
    def close(self) -> None:
        """Write the buffered data, and close. Waits for another greenlet's write; a read ends with OSError(EBADF)."""
    def next(self) -> Any:
        """The next line; raises StopIteration at the end."""
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any:
        """The next line; raises StopIteration at the end."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
    # read, readline, write, flush, seek, fileno, name, encoding, ...: what `io` has.
    def __getattr__(self, name: str) -> Any:
        """Everything else is taken from `io`."""

class FileObjectPosix(FileObjectBase):
    """A file object that waits on the hub where it can, and in the thread pool for a file on a disk.

    A read interrupted by a kill or a Timeout loses no data: the next read gets what had arrived. (Except when reading
    text from a disk.) An interrupted write has written a part, as `sendall` does; data buffered before will still be
    written. Several greenlets may use one object; each operation is finished before the next one. The descriptor may be
    shared with other processes, and its blocking mode is left unchanged where possible: see docs/files.md.
    """

class FileObjectThread(FileObjectBase):
    """A file object of any kind that does each operation in a thread of the hub's pool.

    fobj may also be an object without a descriptor. lock: True for one operation at a time, False if the object does
    not need that, or a Semaphore that you share with other code. threadpool: another pool. If a read is interrupted,
    its data is lost, and until it ends in its thread, other operations wait.
    """

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

class FileObjectBlock(FileObjectBase):
    """The standard library's own file object: reads and writes block the hub."""

FileObject = FileObjectPosix
