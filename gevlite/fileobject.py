"""File objects whose reads and writes block only the calling greenlet.

`FileObject(fobj, mode)` is like `open(fobj, mode)`: the same modes, buffering, encodings, methods and errors. A pipe, a
terminal, a socket or a device waits on the hub, without a thread; a file on a disk, which cannot be waited for, is read
and written in the hub's thread pool. `_fileio` and `_rawfile` implement this.
"""

import functools
import io
import os

from gevlite._config import config
from gevlite._core import get_hub, getcurrent
from gevlite._fileio import Shared, SharedBuffer, closed_while_waiting, throw_into
from gevlite._layers import layers
from gevlite._rawfile import ThreadRaw, cannot_wait, in_thread, raw_file
from gevlite.greenlet import spawn
from gevlite.lock import DummySemaphore, Semaphore

__all__ = ["FileObject", "FileObjectBlock", "FileObjectPosix", "FileObjectThread"]

# Each read from a disk costs a switch between threads, so the buffer is large.
DISK_BUFFER_BYTES = 64 * 1024

# open(2) flags for a path. FileIO would use the same, but would block the thread while opening.
_CREATION = {"r": 0, "w": os.O_CREAT | os.O_TRUNC, "a": os.O_CREAT | os.O_APPEND, "x": os.O_CREAT | os.O_EXCL}


class _Arguments:
    """The arguments of a file object: complete, and checked before anything is opened."""

    def __init__(self, fobj, mode, bufsize, close, encoding, errors, newline, buffering, closefd):
        self.fobj = fobj
        self.is_path = isinstance(fobj, (str, bytes, os.PathLike))
        self.buffering = _one_of("buffering", buffering, "bufsize", bufsize, -1)
        self.closefd = bool(_one_of("closefd", closefd, "close", close, True))
        if not isinstance(self.buffering, int):
            raise TypeError(f"invalid buffering: {self.buffering!r}")
        if self.is_path and not self.closefd:
            raise ValueError("cannot use closefd=False with a file name")
        self._check_mode(mode)
        if self.text:
            encoding = io.text_encoding(encoding, 4)
            io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)  # checks them
        else:
            for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
                if value is not None:
                    raise ValueError(f"binary mode doesn't take an {name} argument")
        self.encoding, self.errors, self.newline = encoding, errors, newline

    def _check_mode(self, mode):
        if not isinstance(mode, str):
            raise TypeError(f"invalid mode: {mode!r}")
        letters = set(mode)
        if letters - set("rwaxbt+U") or len(letters) != len(mode):
            raise ValueError(f"invalid mode: {mode!r}")
        if "U" in letters:  # universal newlines, which text has anyway
            if letters & set("wax+"):
                raise ValueError("mode U cannot be combined with 'x', 'w', 'a', or '+'")
            letters = letters - {"U"} | {"r"}
        wanted = letters & set("rwax")
        if len(wanted) != 1:
            raise ValueError("must have exactly one of create/read/write/append mode")
        if letters >= {"b", "t"}:
            raise ValueError("can't have text and binary mode at once")
        self.mode = "".join(letter for letter in mode if letter != "U") or "r"
        self.text = "b" not in letters
        self.letter = wanted.pop()
        self.raw_mode = self.letter + "b" + ("+" if "+" in letters else "")
        self.reads = self.letter == "r" or "+" in letters
        self.writes = self.letter != "r" or "+" in letters

    # -------- cooperative

    def open(self, close_waits):
        """The io object for `FileObjectPosix`. May block: for a named pipe until its other end is opened."""
        raw = self._open_raw()
        try:
            return self._layers(raw, close_waits)
        except BaseException:
            raw.close()
            raise

    def _open_raw(self):
        fobj = self.fobj
        if self.is_path:
            access = os.O_RDWR if self.reads and self.writes else os.O_RDONLY if self.reads else os.O_WRONLY
            fd = in_thread(os.open, fobj, access | _CREATION[self.letter], 0o666, undo=os.close)
            try:
                return self._raw(fd, fobj)
            except BaseException as exc:
                os.close(fd)
                if isinstance(exc, OSError):
                    exc.filename = fobj  # a directory
                raise
        if isinstance(fobj, int):
            return self._raw(fobj, fobj)
        if not hasattr(fobj, "fileno"):
            raise TypeError(f"expected a file descriptor, a path or an object with fileno(), not {type(fobj).__name__}")
        _align(fobj)
        fd = fobj.fileno()
        return self._raw(fd, getattr(fobj, "name", fd), fobj)

    def _raw(self, fd, name, source=None):
        if fd < 0:
            raise ValueError("negative file descriptor")
        raw = raw_file(fd, self.raw_mode, self.closefd, source, self.buffering != 0)
        raw.name = name
        return raw

    def _layers(self, raw, close_waits):
        if self.buffering == 0 and not self.text:
            return raw
        if isinstance(raw, ThreadRaw):
            return self._on_disk(raw)
        reader, writer = raw if self.reads else None, raw if self.writes else None
        if self.reads and self.writes:
            writer = raw_file(raw.fileno(), "wb", False, None, self.buffering != 0)
            writer.name = raw.name
        size = self.buffering and self._size(io.DEFAULT_BUFFER_SIZE)
        text = (self.encoding, self.errors, self.newline) if self.text else None
        lines = self.buffering == 1 or self.buffering < 0 and raw.isatty()
        return layers(reader, writer, size, text, lines, close_waits)

    def _on_disk(self, raw):
        kind = io.BufferedReader if not self.writes else io.BufferedWriter if not self.reads else io.BufferedRandom
        buffer = SharedBuffer(kind(raw, self._size(DISK_BUFFER_BYTES)))
        if not self.text:
            return buffer
        options = {"line_buffering": self.buffering == 1, "write_through": self.buffering == 0}
        return Shared(io.TextIOWrapper(buffer, self.encoding, self.errors, self.newline, **options), raw)

    def _size(self, default):
        return self.buffering if self.buffering > 1 else default

    # -------- as they are

    def open_original(self):
        """The io object for the other two classes: that of the standard library, or the given object."""
        fobj = self.fobj
        if self.is_path or isinstance(fobj, int):
            return open(fobj, self.mode, self.buffering, self.encoding, self.errors, self.newline, self.closefd)
        if isinstance(fobj, FileObjectBase):
            fobj = fobj.io
        if self.text and isinstance(fobj, (io.RawIOBase, io.BufferedIOBase)):
            return io.TextIOWrapper(fobj, self.encoding, self.errors, self.newline)
        if not self.text and isinstance(fobj, io.TextIOWrapper):
            return fobj.buffer
        return fobj


def _align(file):
    """Move the descriptor's position to where the user of the file object expects it."""
    if isinstance(file, FileObjectBase):
        file = file.io
    if hasattr(file, "flush"):
        file.flush()
    if isinstance(file, io.BufferedIOBase) and file.seekable():
        os.lseek(file.fileno(), file.tell(), os.SEEK_SET)


def _one_of(name, value, other_name, other_value, default):
    if value is None:
        return default if other_value is None else other_value
    if other_value is not None:
        raise TypeError(f"cannot specify both {name}={value!r} and {other_name}={other_value!r}")
    return value


# ---------------------------------------------------------------- the classes


class FileObjectBase:
    """The common part of all file objects. `io` is the object, in the style of the `io` module, that does the work.

    fobj: a descriptor, a path, or an object with `fileno()`: a file, a socket, another file object. mode, buffering,
    encoding, errors, newline and closefd are as those of `open`; bufsize and close are older names for buffering and
    closefd. Mode "r+" on a file that cannot seek (a socket, a terminal) opens both directions.

    Raises what `open` raises: ValueError and TypeError for invalid arguments, OSError.
    """

    default_bufsize = io.DEFAULT_BUFFER_SIZE

    def __init__(
        self,
        fobj,
        mode="r",
        bufsize=None,
        close=None,
        encoding=None,
        errors=None,
        newline=None,
        buffering=None,
        closefd=None,
    ):
        arguments = _Arguments(fobj, mode, bufsize, close, encoding, errors, newline, buffering, closefd)
        self.io = self._open(arguments)
        self.mode = arguments.mode

    def _open(self, arguments):
        raise NotImplementedError

    def __getattr__(self, name):
        """Everything else is taken from `io`."""
        if name == "io":
            raise AttributeError("this file object was not opened")
        value = getattr(self.io, name)
        if callable(value):
            setattr(self, name, value)  # methods do not change: the next access is faster
        return value

    def __dir__(self):
        return sorted({*super().__dir__(), *dir(self.io)})

    @property
    def closed(self):
        """True after `close()`."""
        return self.io.closed

    def close(self):
        """Write the buffered data, and close. Waits for another greenlet's write; a read ends with OSError(EBADF)."""
        self.io.close()

    def __iter__(self):
        return iter(self.io)

    def __next__(self):
        """The next line; raises StopIteration at the end."""
        return next(self.io)

    next = __next__

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        return f"<{type(self).__name__} {self.__dict__.get('io')!r}>"


class FileObjectPosix(FileObjectBase):
    """A file object that waits on the hub where it can, and in the thread pool for a file on a disk.

    A read interrupted by a kill or a Timeout loses no data: the next read gets what had arrived. (Except when reading
    text from a disk.) An interrupted write has written a part, as `sendall` does; data buffered before will still be
    written. Several greenlets may use one object; each operation is finished before the next one. The descriptor may be
    shared with other processes, and its blocking mode is left unchanged where possible: see docs/files.md.
    """

    _close_waits = False  # `close` ends a read; see SharedBuffer

    def _open(self, arguments):
        return arguments.open(self._close_waits)


class FileObjectThread(FileObjectBase):
    """A file object of any kind that does each operation in a thread of the hub's pool.

    fobj may also be an object without a descriptor. lock: True for one operation at a time, False if the object does
    not need that, or a Semaphore that you share with other code. threadpool: another pool. If a read is interrupted,
    its data is lost, and until it ends in its thread, other operations wait.
    """

    READS = frozenset(["peek", "read", "read1", "readinto", "readinto1", "readline", "readlines"])
    OTHERS = frozenset(["flush", "seek", "tell", "truncate", "write", "writelines"])

    def __init__(self, *args, lock=True, threadpool=None, **options):
        self.lock = Semaphore(1) if lock is True else lock or DummySemaphore()
        self.threadpool = threadpool
        self._reading = set()  # greenlets
        self._closed = False
        super().__init__(*args, **options)

    def _open(self, arguments):
        self._closefd = arguments.closefd
        return in_thread(arguments.open_original, undo=lambda opened: opened.close())

    def __getattr__(self, name):
        if name in self.READS or name in self.OTHERS:
            return functools.partial(self._call, name, getattr(self.io, name))
        if name == "io":
            raise AttributeError("this file object was not opened")
        return getattr(self.io, name)

    def __iter__(self):
        return self

    def __next__(self):
        """The next line; raises StopIteration at the end."""
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    next = __next__

    def _call(self, name, operation, *args, **options):
        if self._closed:
            raise ValueError("I/O operation on closed file.")
        if name not in self.READS:
            return self._in_thread(operation, *args, **options)
        me = getcurrent()
        self._reading.add(me)
        try:
            return self._in_thread(operation, *args, **options)
        finally:
            self._reading.discard(me)

    def _in_thread(self, operation, *args, **options):
        if cannot_wait():
            return operation(*args, **options)
        self.lock.acquire()
        try:
            pool = self.threadpool if self.threadpool is not None else get_hub().threadpool
            result = pool.spawn(operation, *args, **options)
        except BaseException:
            self.lock.release()
            raise
        try:
            return result.get()
        finally:
            if result.ready():
                self.lock.release()
            else:
                result.rawlink(lambda result: self.lock.release())

    @property
    def closed(self):
        """True after `close()`."""
        return self._closed or self.io.closed

    def close(self):
        """Write the buffered data, and close. A read by another greenlet ends with OSError(EBADF).

        The thread of that read continues; the file itself is closed when it has ended.
        """
        if self.closed:
            return
        self._closed = True
        last = self.io.close if self._closefd else self.io.flush
        if self._reading:
            throw_into(self._reading, closed_while_waiting)
            spawn(self._in_thread, last)
        else:
            self._in_thread(last)


class FileObjectBlock(FileObjectBase):
    """The standard library's own file object: reads and writes block the hub."""

    def _open(self, arguments):
        return arguments.open_original()


_KINDS = {"posix": FileObjectPosix, "thread": FileObjectThread, "block": FileObjectBlock}


def _chosen():
    """The class that `gevlite.config.fileobject`, gevent's setting, selects."""
    wanted = config.fileobject
    if isinstance(wanted, type):
        return wanted
    return next((_KINDS[name] for name in wanted if name in _KINDS), FileObjectPosix)


FileObject = _chosen()
