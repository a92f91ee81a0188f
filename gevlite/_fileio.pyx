"""The inside of a FileObject, through which every read and write goes.

The layers are those of the `io` module: a raw file makes system calls, `io.BufferedReader`, `BufferedWriter` or
`BufferedRandom` is on top of it, and on top of that is text. Three things have to be added:

* `Channel` makes the system call of a raw file and waits on the hub while it would block.
* The buffers of `io` are in use as long as a raw call lasts, and refuse a second greenlet with "reentrant call". `Shared`
  is around each of them: the second one waits for its turn.
* They throw away the data that they have already read if a raw call raises, as it does at a kill or a Timeout. So while
  one of them works, a raw file keeps the exception to itself (`Deferral`) and returns "would block" instead. The buffer
  then returns what it has read. `Shared` puts that back, for the next read, and raises the exception. TextIOWrapper
  cannot be stopped in that way: files that cannot seek are decoded by `TextReader`, a class of our own.

O_NONBLOCK belongs to the open file description, which other processes may share: the shell has the terminal, a child
the pipe that it inherited, and both fail with EAGAIN if we change it. It is left alone where the kernel offers single
calls that do not wait (RWF_NOWAIT of preadv2(2); for pipes since Linux 6.4). Else a terminal or a pipe is opened a
second time, for us alone; for a pipe, which has no name, /proc has one (proc(5)). Everything else is put in
non-blocking mode, and is left in it: putting it back would stop the hub in another user of the description.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EBADF, EINTR, EINVAL, ENOSYS, EOPNOTSUPP, errno
from libc.string cimport memcpy

from gevlite._core cimport READ, WRITE, current_greenlet, current_hub, errno_raise, fd_number_closed, give_way_if_due
from gevlite.lock cimport RLock

import codecs
import io
import os
import re
import stat
import sys
from functools import partial
from os import get_blocking, set_blocking    # the kernel's mode, also when `os` is patched

from gevlite._core import hubs

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


cdef extern from *:
    """
    #include <sys/uio.h>
    #include <unistd.h>

    #ifdef RWF_NOWAIT
    #define GEVLITE_HAVE_NOWAIT 1
    #else
    #define GEVLITE_HAVE_NOWAIT 0
    #endif

    /* read(2) or write(2); with `nowait` it fails with EAGAIN also if the file is in blocking mode. */
    static ssize_t gevlite_transfer(int fd, int writing, char *p, size_t n, int nowait)
    {
    #ifdef RWF_NOWAIT
        if (nowait) {
            struct iovec whole = {p, n};
            return writing ? pwritev2(fd, &whole, 1, -1, RWF_NOWAIT) : preadv2(fd, &whole, 1, -1, RWF_NOWAIT);
        }
    #endif
        (void)nowait;
        return writing ? write(fd, p, n) : read(fd, p, n);
    }
    """
    Py_ssize_t PyUnicode_FindChar(str text, Py_UCS4 ch, Py_ssize_t start, Py_ssize_t end, int direction) except -2
    int GEVLITE_HAVE_NOWAIT
    Py_ssize_t PY_SSIZE_T_MAX
    ssize_t gevlite_transfer(int fd, bint writing, char *p, size_t n, bint nowait)

HAVE_NOWAIT = bool(GEVLITE_HAVE_NOWAIT)

# How much is read at once when everything is wanted: what a pipe holds (pipe(7)).
cdef enum:
    CHUNK = 65536


cdef object ANY_NEWLINE = re.compile("\r\n|\r|\n")


def closed_while_waiting():
    """The error of a call that waits for a file when the file is closed."""
    return OSError(EBADF, "file was closed by another greenlet while this one waited for it")


def throw_into(greenlets, error):
    """Raise `error()` in those of the greenlets that are parked, in any thread."""
    for hub in hubs():
        for waiter in hub.parked_waiters():
            if waiter.parked in greenlets:
                waiter.throw(error())


cdef class Deferral:
    """Where a raw file puts an exception while a buffer works on it."""

    cdef bint on
    cdef object exception

    cpdef bint keep(self, exception):
        """True if `exception` will be raised later. The raw file then reports "would block", by returning None."""
        if self.on:
            self.exception = exception
        return self.on


cdef class Channel:
    """Reads and writes `fd`; blocks the greenlet while the system would block the thread."""

    cdef readonly int fd
    cdef readonly Deferral deferral
    cdef bint nowait
    cdef int access             # O_RDONLY, O_WRONLY or O_RDWR: what the descriptor is used for
    cdef bint own               # `fd` was opened again, for us alone
    cdef set waiting            # greenlets
    cdef bytes unread_data
    cdef Py_ssize_t unread_at
    cdef RLock write_lock

    def __init__(self, int fd, int access):
        self.fd = fd
        self.access = access
        self.deferral = Deferral()
        self.waiting = set()
        self.nowait = HAVE_NOWAIT
        if not self.nowait:
            self.never_block()

    cdef int never_block(self) except -1:
        """Make it non-blocking without RWF_NOWAIT."""
        cdef int again
        self.nowait = False
        if not get_blocking(self.fd):
            return 0
        again = open_again(self.fd, self.access)
        if again >= 0:
            self.fd = again
            self.own = True
        else:
            set_blocking(self.fd, False)
        return 0

    cdef Py_ssize_t transfer(self, bint writing, char *p, Py_ssize_t n) except -1:
        """One system call that transfers something. Waits for the file, if necessary, and for nothing else."""
        cdef Py_ssize_t done
        give_way_if_due()       # the file may always be ready
        while True:
            if self.fd < 0:
                raise ValueError("I/O operation on closed file")
            done = gevlite_transfer(self.fd, writing, p, n, self.nowait)
            if done >= 0:
                return done
            if errno == EAGAIN:
                self.wait(WRITE if writing else READ)
            elif errno == EINTR:
                PyErr_CheckSignals()
            elif self.nowait and errno in (EINVAL, ENOSYS, EOPNOTSUPP):
                self.never_block()
            else:
                errno_raise(errno)

    cdef int wait(self, int events) except -1:
        cdef object me = current_greenlet()
        self.waiting.add(me)
        try:
            current_hub().wait_fd(self.fd, events)
        finally:
            self.waiting.discard(me)
        if self.fd < 0:
            raise closed_while_waiting()
        return 0

    def receive(self, buffer, /):
        """`RawIOBase.readinto`: block until there is something; return how many bytes. 0: the end."""
        cdef Py_buffer view
        cdef Py_ssize_t done
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            if self.unread_data is not None:
                done = min(view.len, PyBytes_GET_SIZE(self.unread_data) - self.unread_at)
                memcpy(view.buf, PyBytes_AS_STRING(self.unread_data) + self.unread_at, done)
                self.unread_at += done
                if self.unread_at == PyBytes_GET_SIZE(self.unread_data):
                    self.unread_data = None
                return done
            return self.transfer(False, <char *> view.buf, view.len)
        except BaseException as exc:
            if not self.deferral.keep(exc):
                raise
            return None
        finally:
            PyBuffer_Release(&view)

    def receive_all(self):
        """`RawIOBase.readall`: block for everything up to the end of file."""
        cdef list chunks = []
        cdef bytes chunk = self.unread_data
        cdef bytearray space = bytearray(CHUNK)
        cdef Py_ssize_t done
        if chunk is not None:
            chunks.append(chunk[self.unread_at :])
            self.unread_data = None
        try:
            while True:
                done = self.transfer(False, space, CHUNK)
                if not done:
                    return b"".join(chunks)
                chunks.append(PyBytes_FromStringAndSize(space, done))
        except BaseException as exc:
            chunk = b"".join(chunks)
            if self.deferral.keep(exc):
                return chunk or None
            self.unread(chunk)
            raise

    def send(self, data, /):
        """`RawIOBase.write`: block until something is written; return how many bytes."""
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.transfer(True, <char *> view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def send_all(self, data, /):
        """As `send`, but block until everything is written, before another greenlet's data is."""
        cdef Py_buffer view
        cdef Py_ssize_t done = 0
        if self.write_lock is None:
            self.write_lock = RLock()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            with self.write_lock:
                while True:
                    done += self.transfer(True, <char *> view.buf + done, view.len - done)
                    if done == view.len:
                        return done
        finally:
            PyBuffer_Release(&view)

    def unread(self, bytes data):
        """`data` was read last, and the next read returns it again."""
        if self.unread_data is not None:
            data += self.unread_data[self.unread_at :]
        if data:
            self.unread_data = data
            self.unread_at = 0

    def close(self):
        """The descriptor is about to be closed, or given up: raise OSError(EBADF) in what waits for it."""
        cdef int fd = self.fd
        self.fd = -1
        if self.waiting:
            throw_into(self.waiting, closed_while_waiting)
        if self.own:
            self.own = False
            fd_number_closed(fd)
            os.close(fd)


cdef int open_again(int fd, int access) except -2:
    """A descriptor in non-blocking mode for the terminal or pipe `fd`, for us alone; -1 if it cannot be had."""
    cdef int again
    try:
        if os.isatty(fd):
            name = os.ttyname(fd)
            if name.rpartition("/")[2] == "ptmx":
                return -1       # the master side: opening that makes another terminal
        elif stat.S_ISFIFO(os.fstat(fd).st_mode):
            name = f"/proc/self/fd/{fd}"
        else:
            return -1
        again = os.open(name, access | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return -1
    if not same_file(os.fstat(fd), os.fstat(again)):
        os.close(again)
        return -1
    return again


cdef bint same_file(one, other):
    """The same terminal, which may have several names, or the same pipe."""
    if stat.S_ISCHR(one.st_mode):
        return one.st_rdev == other.st_rdev
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def forget_number(int fd):
    """The fd is about to be closed: what waits for the bare number must not go on waiting for its next owner."""
    fd_number_closed(fd)


cdef class Shared:
    """A file of the `io` module that several greenlets may use, one operation at a time; otherwise like `file`."""

    cdef readonly object file
    cdef object raw_file            # at the bottom of it; `file` may be detached
    cdef Deferral deferral
    cdef RLock lock
    cdef object file_read, file_readline, file_write
    cdef dict __dict__              # as files of `io` have
    cdef object __weakref__

    def __init__(self, file, raw_file, Deferral deferral=None):
        self.file = file
        self.raw_file = raw_file
        self.deferral = Deferral() if deferral is None else deferral
        self.lock = RLock()
        self.file_read = file.read
        self.file_readline = file.readline
        self.file_write = file.write

    cdef object call(self, operation, argument):
        """`operation(argument)` when it is our turn. Then raises what a raw file has kept meanwhile."""
        cdef object result = None
        cdef bint before
        cdef bint locked = self.enter(True)
        try:
            give_way_if_due()       # there may always be something in the buffer; not before it is our turn: that is kept
            before = self.deferral.on
            self.deferral.on = True
            try:
                result = operation(argument)
            finally:
                self.deferral.on = before
                if self.deferral.exception is not None:
                    self.raise_kept(result)
            return result
        finally:
            if locked:
                self.lock.release()

    cdef int raise_kept(self, result) except -1:
        exception = self.deferral.exception
        self.deferral.exception = None
        self.give_back(result)
        raise exception

    cdef bint enter(self, bint blocking) except -1:
        try:
            return self.lock.acquire(blocking)
        except RuntimeError:
            if sys.is_finalizing():
                return False        # no other greenlet is left that could have the lock
            raise

    cdef int give_back(self, result) except -1:
        """An operation was interrupted; `result` is what it had read or written."""
        return 0

    def __getattr__(self, name):
        return getattr(self.file, name)

    def read(self, size=-1, /):
        return self.call(self.file_read, size)

    def readline(self, size=-1, /):
        return self.call(self.file_readline, size)

    def readlines(self, hint=-1, /):
        return self.call(self.file.readlines, hint)

    def write(self, data, /):
        return self.call(self.file_write, data)

    def writelines(self, lines, /):
        for line in lines:
            self.write(line)

    def flush(self):
        return self.call(_apply, self.file.flush)

    def seek(self, offset, whence=os.SEEK_SET, /):
        return self.call(partial(self.file.seek, offset), whence)

    def tell(self):
        return self.call(_apply, self.file.tell)

    def truncate(self, size=None, /):
        return self.call(self.file.truncate, size)

    def detach(self):
        return self.call(_apply, self.file.detach)

    @property
    def closed(self):
        return self.file.closed

    def close(self):
        if self.file.closed:        # raises if it was detached
            return
        try:
            self.call(_apply, self.file.close)
        finally:
            self.raw_file.close()       # also if the first close was interrupted

    def __iter__(self):
        return self

    def __next__(self):
        line = self.call(self.file_readline, -1)
        if not line:
            raise StopIteration
        return line

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        return repr(self.file)      # as if it were that file


def _apply(operation):
    return operation()


cdef class SharedBuffer(Shared):
    """A buffer on top of a raw file with a `deferral`; the next read returns what an interrupted read has read.

    close_waits: `close` waits for a read of another greenlet, as it does between threads in CPython. Else it ends the read,
    with OSError(EBADF).
    """

    cdef readonly bint close_waits

    def __init__(self, file, close_waits=False):
        Shared.__init__(self, file, file.raw, file.raw.deferral)
        self.close_waits = close_waits

    cdef int give_back(self, result) except -1:
        if type(result) is bytes and result and not self.raw_file.closed:
            self.unread(result)
        return 0

    def unread(self, bytes data):
        """Put back `data`, which was read last; the buffer has been empty since then."""
        if hasattr(self.raw_file, "unread"):
            self.raw_file.unread(data)
        else:
            self.file.seek(-len(data), os.SEEK_CUR)

    def read1(self, size=-1, /):
        return self.call(self.file.read1, size)

    def peek(self, size=0, /):
        return self.call(self.file.peek, size)

    def readlines(self, hint=-1, /):
        return read_lines(self, self.lock, hint, b"")

    # By way of bytes, which can be put back.

    def readinto(self, buffer, /):
        return fill(buffer, self.read)

    def readinto1(self, buffer, /):
        return fill(buffer, self.read1)

    def close(self):
        if self.file.closed or self.close_waits or self.file.writable():
            Shared.close(self)
        elif self.enter(False):
            try:
                self.file.close()
            finally:
                self.lock.release()
        else:
            self.raw_file.close()       # the read that has the lock waits for data, and nothing is buffered


cdef object fill(buffer, read):
    with memoryview(buffer) as view, view.cast("B") as octets:
        data = read(len(octets))
        if data is None:
            return None         # from a socket in non-blocking mode
        octets[: len(data)] = data
        return len(data)


cdef object read_lines(file, RLock lock, hint, empty):
    """`readlines` that loses nothing if it is interrupted."""
    cdef list lines = []
    cdef Py_ssize_t left = hint if hint is not None and hint > 0 else PY_SSIZE_T_MAX
    lock.acquire()
    try:
        while left > 0 and (line := file.readline()):
            lines.append(line)
            left -= len(line)
    except BaseException:
        if lines and not file.closed:
            file.unread(empty.join(lines))
        raise
    finally:
        lock.release()
    return lines


cdef class TextReader:
    """Decodes what a SharedBuffer reads, as TextIOWrapper does, but loses nothing if a read is interrupted."""

    cdef object source              # None when detached
    cdef readonly str encoding, errors
    cdef readonly bint line_buffering
    cdef object decoder
    cdef RLock lock
    cdef str newline                # "": any
    cdef str text                   # decoded text, used up to `at`
    cdef Py_ssize_t at
    cdef dict __dict__
    cdef object __weakref__

    def __init__(self, buffer, encoding=None, errors=None, newline=None):
        # The rules of TextIOWrapper for these arguments apply.
        like = io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)
        self.encoding = like.encoding
        self.errors = like.errors
        self.source = buffer
        self.lock = RLock()
        self.text = ""
        self.decoder = codecs.getincrementaldecoder(self.encoding)(self.errors)
        if newline is None or newline == "" or newline == "\r\n":
            # Keeps "\r" back until it is known whether "\n" follows.
            self.decoder = io.IncrementalNewlineDecoder(self.decoder, translate=newline is None)
        self.newline = "\n" if newline is None else newline

    @property
    def buffer(self):
        if self.source is None:
            raise ValueError("underlying buffer has been detached")
        return self.source

    @property
    def newlines(self):
        return getattr(self.decoder, "newlines", None) if self.newline != "\r\n" else None

    @property
    def name(self):
        return self.buffer.name

    @property
    def closed(self):
        return self.buffer.closed

    def fileno(self):
        return self.buffer.fileno()

    def isatty(self):
        return self.buffer.isatty()

    def readable(self):
        return self.buffer.readable()

    def writable(self):
        return False

    def seekable(self):
        return False

    def flush(self):
        self.buffer.flush()

    def write(self, text, /):
        raise io.UnsupportedOperation("not writable")

    def writelines(self, lines, /):
        raise io.UnsupportedOperation("not writable")

    def seek(self, cookie, whence=os.SEEK_SET, /):
        raise io.UnsupportedOperation("underlying stream is not seekable")

    def tell(self):
        raise io.UnsupportedOperation("underlying stream is not seekable")

    def truncate(self, size=None, /):
        raise io.UnsupportedOperation("not writable")

    def read(self, size=-1, /):
        """Block for `size` characters, or for all up to the end of the file."""
        cdef bint everything = size is None or size < 0
        cdef Py_ssize_t stop, left = PY_SSIZE_T_MAX if everything else size
        cdef list taken = []
        self.lock.acquire()
        try:
            give_way_if_due()
            while left > 0:
                stop = len(self.text)
                if self.at < stop:
                    taken.append(self.take(min(stop, self.at + left) if left < stop else stop))
                    left -= len(taken[-1])
                elif not self.decode(self.buffer.read() if everything else self.buffer.read1()):
                    break
        except BaseException:
            self.unread("".join(taken))
            raise
        finally:
            self.lock.release()
        return "".join(taken)

    def readline(self, size=-1, /):
        """Block for a line, or `size` characters of it; "" at the end of the file."""
        return self.line(PY_SSIZE_T_MAX if size is None or size < 0 else size)

    cdef str line(self, Py_ssize_t left):
        cdef Py_ssize_t end, stop
        cdef list taken = []
        cdef str part
        self.lock.acquire()
        try:
            give_way_if_due()       # many lines may be decoded already
            while left > 0:
                end = self.line_end()
                stop = end if end else len(self.text)
                part = self.take(min(stop, self.at + left) if left < stop else stop)
                if end and not taken:
                    return part
                taken.append(part)
                left -= len(part)
                if end or left and not self.decode(self.buffer.read1()):
                    break
        except BaseException:
            self.unread("".join(taken))
            raise
        finally:
            self.lock.release()
        return "".join(taken)

    def readlines(self, hint=-1, /):
        return read_lines(self, self.lock, hint, "")

    cdef str take(self, Py_ssize_t end):
        """Take the decoded text up to `end`."""
        cdef str part = self.text[self.at : end]
        self.at = end
        return part

    cdef Py_ssize_t line_end(self) except -1:
        """Where in `text` the next line ends, 0 if it does not end in it."""
        cdef Py_ssize_t start
        if self.newline == "\n":
            return PyUnicode_FindChar(self.text, u"\n", self.at, len(self.text), 1) + 1
        if not self.newline:
            found = ANY_NEWLINE.search(self.text, self.at)
            return found.end() if found else 0
        start = self.text.find(self.newline, self.at)
        return start + len(self.newline) if start >= 0 else 0

    cdef bint decode(self, data) except -1:
        """All text is used up: go on with the text of `data`. False at the end of the file."""
        self.text = self.decoder.decode(data, not data)
        self.at = 0
        return bool(data) or bool(self.text)

    def unread(self, str text):
        """`text` was read last, and the next read returns it again."""
        self.text = text + self.text[self.at :]
        self.at = 0

    def detach(self):
        """The buffer, without what is decoded already."""
        buffer = self.buffer
        self.source = None
        return buffer

    def close(self):
        cdef bint waits
        if self.source is None:
            return
        waits = self.source.close_waits
        if waits:
            self.lock.acquire()
        try:
            self.text = ""      # from now on the buffer raises the error that it is closed
            self.at = 0
            self.source.close()
        finally:
            if waits:
                self.lock.release()

    def __iter__(self):
        return self

    def __next__(self):
        line = self.line(PY_SSIZE_T_MAX)
        if not line:
            raise StopIteration
        return line

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __repr__(self):
        name = "detached" if self.source is None else f"name={self.name!r}"
        return f"<{type(self).__name__} {name} encoding={self.encoding!r}>"
