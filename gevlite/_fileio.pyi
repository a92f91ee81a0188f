"""The inside of a FileObject: what every read and write goes through.

The layers are those of the `io` module: a raw file makes system calls, `io.BufferedReader`, `BufferedWriter` or
`BufferedRandom` is on top of it, and on top of that is text. Three things have to be added:

* `Channel` makes the system call of a raw file and waits on the hub while it would block.
* The buffers of `io` are in use as long as a raw call lasts, and refuse a second greenlet with "reentrant call". `Shared`
  is around each of them: the second one waits for its turn.
* They throw away what they have already read if a raw call raises, as it does at a kill or a Timeout. So while one of
  them works, a raw file keeps the exception to itself (`Deferral`) and says "would block" instead. The buffer then
  returns what it has got. `Shared` gives that back, for the next read, and raises the exception. TextIOWrapper cannot be
  stopped in that way: what cannot seek is decoded by `TextReader`, a class of our own.

O_NONBLOCK belongs to the open file description, which other processes may share: the shell has the terminal, a child
the pipe that it inherited, and both fail with EAGAIN if we change it. It is left alone where the kernel can be asked
for a single call that does not wait (RWF_NOWAIT of preadv2(2); of pipes since Linux 6.4). Else a terminal or a pipe is
opened a second time, for us alone; for a pipe, which has no name, /proc has one (proc(5)). Everything else is put in
non-blocking mode, and is left in it: to put it back would stop the hub in another user of the description.
"""

import io
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Generic, Protocol, Self, TypeVar, type_check_only

from _typeshed import ReadableBuffer, WriteableBuffer
from greenlet import greenlet
from typing_extensions import disjoint_base

__all__ = [
    "Channel",
    "Deferral",
    "Shared",
    "SharedBuffer",
    "TextReader",
    "closed_while_waiting",
    "forget_number",
    "throw_into",
]

_Data = TypeVar("_Data", str, bytes)

HAVE_NOWAIT: Final[bool]

def closed_while_waiting() -> OSError:
    """The error of a call that waits for a file when that is closed."""

def throw_into(greenlets: Collection[greenlet], error: Callable[[], BaseException]) -> None:
    """Raise `error()` in those of the greenlets that are parked, in whatever thread."""

def forget_number(fd: int) -> None:
    """It is about to be closed: what waits for the bare number must not go on to wait for its next owner."""

@disjoint_base
class Deferral:
    """Where a raw file puts an exception while a buffer works on it."""
    def keep(self, exception: BaseException) -> bool:
        """True if it will be raised later. The raw file says "would block" now, by returning None."""

@disjoint_base
class Channel:
    """Reads and writes `fd`; blocks the greenlet while the system would block the thread."""
    def __init__(self, fd: int, access: int) -> None: ...
    @property
    def fd(self) -> int: ...
    @property
    def deferral(self) -> Deferral: ...
    def receive(self, buffer: WriteableBuffer, /) -> int | None:
        """`RawIOBase.readinto`: block until there is something; return how many bytes. 0: the end."""
    def receive_all(self) -> bytes | None:
        """`RawIOBase.readall`: block for everything up to the end of file."""
    def send(self, data: ReadableBuffer, /) -> int:
        """`RawIOBase.write`: block until something is written; return how many bytes."""
    def send_all(self, data: ReadableBuffer, /) -> int:
        """As `send`, but block until everything is written, before another greenlet's data is."""
    def unread(self, data: bytes) -> None:
        """`data` was read last, and the next read returns it again."""
    def close(self) -> None:
        """The descriptor is about to be closed, or given up: what waits for it gets OSError(EBADF)."""

# A raw file with a deferral.
@type_check_only
class _Raw(Protocol):
    deferral: Deferral
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...

@disjoint_base
class Shared(Generic[_Data]):
    """A file of the `io` module that several greenlets may use: one operation at a time. Everything is as `file` has it."""
    def __init__(self, file: Any, raw_file: _Raw, deferral: Deferral | None = None) -> None: ...
    @property
    def file(self) -> Any: ...
    @property
    def closed(self) -> bool: ...
    def __getattr__(self, name: str, /) -> Any: ...
    def read(self, size: int | None = -1, /) -> _Data:
        """read(self, size=-1, /)"""
    def readline(self, size: int | None = -1, /) -> _Data:
        """readline(self, size=-1, /)"""
    def readlines(self, hint: int | None = -1, /) -> list[_Data]:
        """readlines(self, hint=-1, /)"""
    def write(self, data: Any, /) -> int:
        """write(self, data, /)"""
    def writelines(self, lines: Iterable[Any], /) -> None:
        """writelines(self, lines, /)"""
    def flush(self) -> None:
        """flush(self)"""
    def seek(self, offset: int, whence: int = 0, /) -> int:
        """seek(self, offset, whence=os.SEEK_SET, /)"""
    def tell(self) -> int:
        """tell(self)"""
    def truncate(self, size: int | None = None, /) -> int:
        """truncate(self, size=None, /)"""
    def detach(self) -> Any:
        """detach(self)"""
    def close(self) -> None:
        """close(self)"""
    def __iter__(self) -> Iterator[_Data]: ...
    def __next__(self) -> _Data: ...
    def __enter__(self) -> Self:
        """__enter__(self)"""
    def __exit__(self, *exc_info: object) -> None:
        """__exit__(self, *exc_info)"""

@disjoint_base
class SharedBuffer(Shared[bytes]):
    """A buffer on top of a raw file with a `deferral`; what an interrupted read has read, the next one reads.

    close_waits: `close` waits for a read of another greenlet, as it does between threads in CPython. Else it ends the read,
    with OSError(EBADF).
    """
    def __init__(
        self, file: io.BufferedReader | io.BufferedWriter | io.BufferedRandom, close_waits: bool = False
    ) -> None: ...
    @property
    def close_waits(self) -> bool: ...
    def unread(self, data: bytes) -> None:
        """`data` was read last, and the buffer is empty since then."""
    def read1(self, size: int = -1, /) -> bytes:
        """read1(self, size=-1, /)"""
    def peek(self, size: int = 0, /) -> bytes:
        """peek(self, size=0, /)"""
    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """readinto(self, buffer, /)"""
    def readinto1(self, buffer: WriteableBuffer, /) -> int | None:
        """readinto1(self, buffer, /)"""

@disjoint_base
class TextReader:
    """Decodes what a SharedBuffer reads, as TextIOWrapper does; but nothing is lost if a read is interrupted."""
    def __init__(
        self, buffer: SharedBuffer, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> None: ...
    @property
    def buffer(self) -> SharedBuffer: ...
    @property
    def encoding(self) -> str: ...
    @property
    def errors(self) -> str: ...
    @property
    def newlines(self) -> str | tuple[str, ...] | None: ...
    @property
    def line_buffering(self) -> bool: ...
    @property
    def name(self) -> Any: ...
    @property
    def closed(self) -> bool: ...
    def fileno(self) -> int:
        """fileno(self)"""
    def isatty(self) -> bool:
        """isatty(self)"""
    def readable(self) -> bool:
        """readable(self)"""
    def writable(self) -> bool:
        """writable(self)"""
    def seekable(self) -> bool:
        """seekable(self)"""
    def flush(self) -> None:
        """flush(self)"""
    def read(self, size: int | None = -1, /) -> str:
        """Block for `size` characters, or for all up to the end of the file."""
    def readline(self, size: int | None = -1, /) -> str:
        """Block for a line, or `size` characters of it; "" at the end of the file."""
    def readlines(self, hint: int | None = -1, /) -> list[str]:
        """readlines(self, hint=-1, /)"""
    def write(self, text: str, /) -> int:
        """write(self, text, /)"""
    def writelines(self, lines: Iterable[str], /) -> None:
        """writelines(self, lines, /)"""
    def seek(self, cookie: int, whence: int = 0, /) -> int:
        """seek(self, cookie, whence=os.SEEK_SET, /)"""
    def tell(self) -> int:
        """tell(self)"""
    def truncate(self, size: int | None = None, /) -> int:
        """truncate(self, size=None, /)"""
    def unread(self, text: str) -> None:
        """`text` was read last, and the next read returns it again."""
    def detach(self) -> SharedBuffer:
        """The buffer, without what is decoded already."""
    def close(self) -> None:
        """close(self)"""
    def __iter__(self) -> Iterator[str]: ...
    def __next__(self) -> str: ...
    def __enter__(self) -> Self:
        """__enter__(self)"""
    def __exit__(self, *exc_info: object) -> None:
        """__exit__(self, *exc_info)"""
