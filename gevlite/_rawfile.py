"""Raw files, at the bottom of a FileObject: those that wait on the hub, and those that wait in a worker thread."""

import io
import os
import stat
import sys

from gevlite._core import get_hub, getcurrent
from gevlite._fileio import Channel, Deferral, closed_while_waiting, forget_number

_READ_BYTES = 64 * 1024
# open(2) flags for (readable, writable)
_ACCESS = {(True, False): os.O_RDONLY, (False, True): os.O_WRONLY, (True, True): os.O_RDWR}


def cannot_wait():
    """True in the hub, and in a finalizer at the end of the interpreter: blocking calls must block the thread there."""
    return sys.is_finalizing() or getcurrent() is get_hub()


def in_thread(function, *args, undo=None):
    """Block until a worker thread has called `function(*args)`. If the wait was ended, `undo(result)` is called."""
    if cannot_wait():
        return function(*args)
    result = get_hub().threadpool.spawn(function, *args)
    try:
        return result.get()
    except BaseException:
        if undo is not None:
            result.rawlink(lambda result: result.successful() and undo(result.value))
        raise


class Raw(io.FileIO):
    """The part that both kinds have in common: the ownership of the descriptor.

    Each has a `deferral`, and keeps an exception there if a buffer asks for that.
    """

    def __init__(self, fd, mode, closefd=True, source=None):
        """source: the object that the descriptor was taken from; it is closed instead of the descriptor."""
        super().__init__(fd, mode, closefd and source is None)
        self._closes = closefd
        self._source = source

    def read(self, size=-1, /):
        if not self.readable():
            raise io.UnsupportedOperation("File not open for reading")
        return io.RawIOBase.read(self, size)  # uses `readinto` and `readall`; FileIO.read uses neither

    def close(self):
        if self.closed:
            return
        if self._closes:
            forget_number(self.fileno())
        super().close()
        source, self._source = self._source, None
        if self._closes and source is not None:
            source.close()


class PollRaw(Raw):
    """A pipe, a terminal, a socket, a device: waits on the hub. The `write` of an unbuffered one writes everything."""

    def __init__(self, fd, mode, closefd=True, source=None, buffered=True):
        super().__init__(fd, mode, closefd, source)
        self._channel = channel = Channel(fd, _ACCESS[self.readable(), self.writable()])
        self.deferral = channel.deferral
        self.unread = channel.unread
        # Attributes instead of methods: the buffer calls the channel directly. FileIO refuses what the mode forbids.
        if self.readable():
            self.readinto = channel.receive
            self.readall = channel.receive_all
        if self.writable():
            self.write = channel.send if buffered else channel.send_all

    def close(self):
        if not self.closed:
            self._channel.close()
            super().close()


class ThreadRaw(Raw):
    """A file on a disk: blocking calls are made in a worker thread.

    A read names its offset, and the position moves only when the data has arrived, so an interrupted read changes
    nothing. A write cannot be undone: one that has begun is finished before a kill or a Timeout is raised. A second
    exception does not wait for it.
    """

    def __init__(self, fd, mode, closefd=True, source=None):
        super().__init__(fd, mode, closefd, source)
        self.deferral = Deferral()

    def readinto(self, buffer, /):
        if not self.readable():
            raise io.UnsupportedOperation("File not open for reading")
        with memoryview(buffer) as view, view.cast("B") as octets:
            data = self._at_position(os.pread, len(octets))
            if data is None:
                return None
            octets[: len(data)] = data
            return len(data)

    def readall(self):
        return self._at_position(_read_to_end)

    def _at_position(self, read, *size):
        try:
            position = self.tell()
            data = in_thread(read, self.fileno(), *size, position)
            if self.closed:
                raise closed_while_waiting()
            self.seek(position + len(data))
            return data
        except BaseException as exc:
            if not self.deferral.keep(exc):
                raise
            return None

    def write(self, data, /):
        if not self.writable():
            raise io.UnsupportedOperation("File not open for writing")
        if cannot_wait():
            return super().write(data)
        # A copy: a caller that does not wait for the end may change the original.
        result = get_hub().threadpool.spawn(os.writev, self.fileno(), (bytes(data),))
        interruption = None
        while not result.ready():
            try:
                result.wait()
            except BaseException as exc:
                if interruption is not None:
                    raise
                interruption = exc
        written = result.get(block=False)
        if interruption is not None and not self.deferral.keep(interruption):
            raise interruption
        return written

    def truncate(self, size=None, /):
        return in_thread(super().truncate, size)


def _read_to_end(fd, position):
    """Everything from `position` on. The first read asks for at least as much as the file's size says."""
    chunks = []
    while chunk := os.pread(fd, max(_READ_BYTES, os.fstat(fd).st_size - position + 1), position):
        chunks.append(chunk)
        position += len(chunk)
    return b"".join(chunks)


def raw_file(fd, mode, closefd, source, buffered):
    """The right kind of raw file for the descriptor. Raises OSError for a closed descriptor and for a directory."""
    if stat.S_IFMT(os.fstat(fd).st_mode) in (stat.S_IFREG, stat.S_IFBLK, stat.S_IFDIR):
        return ThreadRaw(fd, mode, closefd, source)
    return PollRaw(fd, mode, closefd, source, buffered)
