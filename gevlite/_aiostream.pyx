# cython: nonecheck=True
"""The transport of TCP and UNIX streams for the loop of `gevlite.asyncio`.

Like a socket of gevlite, it is registered with the hub once, edge-triggered (see "Descriptors" in docs/design.md):
reading and writing cost one system call each, and the registration need not be changed in between. The data of one
`recv` goes to the protocol, in the loop's greenlet; then others have their turn.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_XDECREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport malloc

from gevlite._aio cimport Io, LoopCore, TransportCore, is_for_the_greenlet, report
from gevlite._core cimport (
    READ,
    READ_READY,
    STICKY,
    WRITE,
    WRITE_READY,
    FdEntry,
    Hub,
    errno_raise,
    fd_closed,
    fd_own,
    new_fd_owner,
    raise_it,
)

import socket
import sys
import warnings
from asyncio import base_events, constants, protocols, transports, trsock
from asyncio.log import logger
from collections import deque
from contextvars import copy_context


cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context)
    PyObject *PyObject_CallOneArg(object callable, object arg)

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv"(int fd, void *buf, size_t n, int flags)
    ssize_t c_send "send"(int fd, const void *buf, size_t n, int flags)

cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t c_writev "writev"(int fd, const iovec *parts, int n)

cdef extern from *:
    """
    #include <sys/socket.h>
    #ifdef MSG_NOSIGNAL
    #define GEVLITE_NOSIGNAL MSG_NOSIGNAL
    #else
    #define GEVLITE_NOSIGNAL 0
    #endif
    """
    int NOSIGNAL "GEVLITE_NOSIGNAL"

cdef enum:
    RECEIVE = 262144            # bytes at once
    PARTS = 64                  # pieces in one write
    HIGH_WATER = 65536

# The buffer into which every transport receives: nothing else runs between the system call and the copy.
cdef char *scratch = NULL

cdef bint _SERVER_KNOWS_TRANSPORTS = sys.version_info >= (3, 13)


cdef class Side(Io):
    """One direction of a transport."""
    cdef SocketTransport transport

    cdef int run(self) except -1:
        self.due = False
        if self.event == READ:
            return self.transport.readable()
        return self.transport.writable()


cdef class SocketTransport(TransportCore):
    """A connected stream socket in a loop. It counts as asyncio's `Transport`."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE
    max_size = RECEIVE

    cdef LoopCore loop              # None once the connection is lost
    cdef object protocol
    cdef object sock
    cdef object server
    cdef dict extra
    cdef object context             # the context in which the protocol is called
    cdef int fd
    cdef uint64_t owner             # the token under which the hub knows the descriptor
    cdef FdEntry *entry             # while the loop runs
    cdef Hub hub
    cdef Side reader
    cdef Side writer
    cdef object buffer              # a deque of bytes that the kernel has not taken yet
    cdef Py_ssize_t buffered
    cdef Py_ssize_t high
    cdef Py_ssize_t low
    cdef int lost                   # not 0: connection_lost is due; counts the writes since then
    cdef bint tcp
    cdef bint into_buffer           # the protocol is a BufferedProtocol
    cdef bint connected             # the protocol must be notified of the end
    cdef bint reading               # connection_made has been called, and there is no end of file yet
    cdef bint paused
    cdef bint writing_paused
    cdef bint closing
    cdef bint eof
    cdef object empty_waiter
    cdef object __weakref__

    def __init__(self, LoopCore loop, sock, protocol, waiter=None, extra=None, server=None, context=None):
        self.loop = loop
        self.extra = dict(extra) if extra else {}
        self.extra["socket"] = trsock.TransportSocket(sock)
        try:
            self.extra["sockname"] = sock.getsockname()
        except OSError:
            self.extra["sockname"] = None
        if "peername" not in self.extra:
            try:
                self.extra["peername"] = sock.getpeername()
            except OSError:
                self.extra["peername"] = None
        self.fd = sock.fileno()
        self.tcp = sock.type == socket.SOCK_STREAM and sock.family in (socket.AF_INET, socket.AF_INET6)
        self.context = copy_context() if context is None else context
        self.reader = self.side(READ)
        self.writer = self.side(WRITE)
        self.buffer = deque()
        self.high = HIGH_WATER
        self.low = HIGH_WATER // 4
        self.set_protocol(protocol)
        self.owner = new_fd_owner()
        self.sock = sock
        base_events._set_nodelay(sock)
        self.server = server
        if server is not None:
            if _SERVER_KNOWS_TRANSPORTS:
                server._attach(self)
            else:
                server._attach()
        loop._transports[self.fd] = self
        loop.transports.add(self)
        if loop.hub is not None:
            self.attach(loop.hub)
        loop.soon(protocol.connection_made, (self,), context)
        loop.soon(self._begin, (waiter,), context)

    cdef Side side(self, int event):
        cdef Side side = Side.__new__(Side)
        side.transport = self
        side.loop = self.loop
        side.event = event
        return side

    def _begin(self, waiter):
        # Only now: connection_made has been called.
        self.reading = True
        self.read_on()
        if waiter is not None and not waiter.cancelled():
            waiter.set_result(None)

    # -------- the hub

    cdef int attach(self, Hub hub) except -1:
        if self.sock is None:
            return 0
        self.hub = hub
        self.entry = fd_own(hub, self.fd, self.owner)
        self.read_on()
        if self.buffered:
            self.wait(self.writer)
        return 0

    cdef int detach(self) except -1:
        self.reader.displace()
        self.writer.displace()
        self.hub = None
        self.entry = NULL
        return 0

    cdef int wait(self, Side side) except -1:
        """Have `side` run when the kernel reports it ready; at once if it may be ready already."""
        if side is None or side.due or side.hub is not None or self.hub is None:
            return 0                # None: the connection is lost
        if self.entry.owner != self.owner:
            self.entry = fd_own(self.hub, self.fd, self.owner)
        if self.entry.flags & (READ_READY if side.event == READ else WRITE_READY):
            return side.make_due()
        try:
            side.place(self.hub, self.entry)
        except OSError as exc:
            self.fatal(exc, "Fatal error on transport")
        return 0

    cdef inline int not_ready(self, int flag) except -1:
        if self.entry != NULL:
            self.entry.flags &= ~flag
        return 0

    # -------- reading

    cdef bint wants_data(self):
        return self.reading and not self.paused and not self.closing

    cdef int read_on(self) except -1:
        if self.wants_data():
            self.wait(self.reader)
        return 0

    cdef int readable(self) except -1:
        if not self.wants_data() or self.lost:
            return 0
        if self.into_buffer:
            self.receive_into()
        else:
            self.receive()
        return self.read_on()

    cdef Py_ssize_t recv(self, void *buffer, Py_ssize_t size) except -2:
        """One recv. -1: it would block, or the transport has failed."""
        cdef Py_ssize_t got
        while True:
            got = c_recv(self.fd, buffer, size, 0)
            if got >= 0:
                break
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                self.not_ready(READ_READY)
                return -1
            try:
                errno_raise(errno)
            except OSError as exc:
                self.fatal(exc, "Fatal read error on socket transport")
            return -1
        # On TCP, less data than requested means that the kernel has no more.
        if 0 < got < size and self.tcp and self.entry != NULL and not self.entry.flags & STICKY:
            self.entry.flags &= ~READ_READY
        return got

    cdef int receive(self) except -1:
        global scratch
        cdef Py_ssize_t got
        cdef PyObject *result
        if scratch == NULL:
            scratch = <char *> malloc(RECEIVE)
            if scratch == NULL:
                raise MemoryError()
        got = self.recv(scratch, RECEIVE)
        if got < 0:
            return 0
        if got == 0:
            return self.at_end()
        data = PyBytes_FromStringAndSize(scratch, got)
        context = self.context
        PyContext_Enter(context)
        result = PyObject_CallOneArg(self.protocol.data_received, data)
        return self.told(context, result, "Fatal error: protocol.data_received() call failed.")

    cdef int receive_into(self) except -1:
        cdef Py_buffer view
        cdef Py_ssize_t got
        cdef PyObject *result
        context = self.context
        try:
            buffer = context.run(self.protocol.get_buffer, -1)
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
            if view.len == 0:
                PyBuffer_Release(&view)
                raise RuntimeError("get_buffer() returned an empty buffer")
        except BaseException as exc:
            return self.failed(exc, "Fatal error: protocol.get_buffer() call failed.")
        try:
            got = self.recv(view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        if got < 0:
            return 0
        if got == 0:
            return self.at_end()
        PyContext_Enter(context)
        result = PyObject_CallOneArg(self.protocol.buffer_updated, got)
        return self.told(context, result, "Fatal error: protocol.buffer_updated() call failed.")

    cdef int told(self, object context, PyObject *result, str message) except -1:
        """Deal with the `result` of a call of the protocol in `context`; NULL: it has raised."""
        if PyContext_Exit(context) >= 0 and result != NULL:
            Py_DECREF(<object> result)
            return 0
        Py_XDECREF(result)
        try:
            raise_it()
        except BaseException as exc:
            self.failed(exc, message)
        return 0

    cdef int at_end(self) except -1:
        if self.loop._debug:
            logger.debug("%r received EOF", self)
        try:
            keep_open = self.context.run(self.protocol.eof_received)
        except BaseException as exc:
            return self.failed(exc, "Fatal error: protocol.eof_received() call failed.")
        if keep_open:
            self.reading = False
        else:
            self.close()
        return 0

    def is_reading(self):
        """True if it receives data."""
        return not self.closing and not self.paused

    def pause_reading(self):
        """Receive nothing until `resume_reading`."""
        if self.closing or self.paused:
            return
        self.paused = True
        self.reader.displace()
        if self.loop._debug:
            logger.debug("%r pauses reading", self)

    def resume_reading(self):
        """Receive again."""
        if self.closing or not self.paused:
            return
        self.paused = False
        self.read_on()
        if self.loop._debug:
            logger.debug("%r resumes reading", self)

    # -------- writing

    cdef Py_ssize_t send(self, const void *data, Py_ssize_t size) except -2:
        """One send. Returns how much it took, 0 if it would block; -1: the transport has failed."""
        cdef Py_ssize_t sent
        while True:
            sent = c_send(self.fd, data, size, NOSIGNAL)
            if sent >= 0:
                break
            if errno == EINTR:
                continue
            return self.not_sent(errno)
        if sent < size:
            self.not_ready(WRITE_READY)
        return sent

    cdef Py_ssize_t not_sent(self, int code) except -2:
        if code == EAGAIN:
            self.not_ready(WRITE_READY)
            return 0
        self.drop_buffer()
        try:
            errno_raise(code)
        except OSError as exc:
            if self.empty_waiter is not None and not self.empty_waiter.done():
                self.empty_waiter.set_exception(exc)
            self.fatal(exc, "Fatal write error on socket transport")
        return -1

    cdef int drop_buffer(self) except -1:
        self.buffer.clear()
        self.buffered = 0
        self.writer.displace()
        return 0

    cdef bint may_write(self, str what) except -1:
        if self.eof:
            raise RuntimeError(f"Cannot call {what}() after write_eof()")
        if self.empty_waiter is not None:
            raise RuntimeError(f"unable to {what}; sendfile is in progress")
        return True

    cdef bint is_lost(self) except -1:
        if self.lost:
            if self.lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self.lost += 1
            return True
        return False

    def write(self, data):
        """Send bytes: what the kernel takes at once, the rest as it can. Never blocks."""
        cdef Py_buffer view
        cdef Py_ssize_t sent
        if type(data) is not bytes and not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        self.may_write("write")
        if not data or self.is_lost():
            return
        if self.buffered:
            return self.keep(data if type(data) is bytes else bytes(data))
        if type(data) is bytes:
            sent = self.send(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if sent < 0 or sent == PyBytes_GET_SIZE(data):
                return
            self.keep(data[sent:] if sent else data)
        else:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                sent = self.send(view.buf, view.len)
                if sent < 0 or sent == view.len:
                    return
                rest = PyBytes_FromStringAndSize(<char *> view.buf + sent, view.len - sent)
            finally:
                PyBuffer_Release(&view)
            self.keep(rest)

    cdef int keep(self, bytes data) except -1:
        self.buffer.append(data)
        self.buffered += len(data)
        self.wait(self.writer)          # first: the protocol may raise an exception that is for the greenlet
        return self.maybe_pause()

    def writelines(self, list_of_data):
        """Send all of the pieces, in one system call if the kernel takes them. Never blocks."""
        self.may_write("writelines")
        pieces = [data if type(data) is bytes else bytes(data) for data in list_of_data]
        pieces = [data for data in pieces if data]
        if not pieces or self.is_lost():
            return
        waits = self.buffered > 0
        self.buffer.extend(pieces)
        self.buffered += sum(map(len, pieces))
        if not waits:
            self.flush()
        if self.buffered:
            self.wait(self.writer)
            self.maybe_pause()

    cdef int flush(self) except -2:
        """One writev of what is kept. -1: the transport has failed."""
        cdef iovec[PARTS] parts
        cdef int n = 0
        cdef Py_ssize_t sent, total = 0
        for data in self.buffer:
            parts[n].iov_base = PyBytes_AS_STRING(data)
            parts[n].iov_len = PyBytes_GET_SIZE(data)
            total += parts[n].iov_len
            n += 1
            if n == PARTS:
                break
        while True:
            sent = c_writev(self.fd, parts, n)
            if sent >= 0:
                break
            if errno != EINTR:
                return self.not_sent(errno)
        if sent < total:
            self.not_ready(WRITE_READY)
        self.buffered -= sent
        while sent:
            data = self.buffer.popleft()
            if PyBytes_GET_SIZE(data) > sent:
                self.buffer.appendleft(data[sent:])
                break
            sent -= PyBytes_GET_SIZE(data)
        return 0

    cdef int writable(self) except -1:
        if self.lost or not self.buffered:
            return 0
        if self.flush() < 0:
            return 0
        try:
            self.maybe_resume()         # which may write, or raise an exception that is for the greenlet
        finally:
            self.flushed()
        return 0

    cdef int flushed(self) except -1:
        """After a write: if data is left, wait to write it; if none is, do what had to wait for that."""
        if self.buffered:
            return self.wait(self.writer)
        if self.empty_waiter is not None and not self.empty_waiter.done():
            self.empty_waiter.set_result(None)
        if self.closing:
            self.lose(None)
        elif self.eof:
            self.shutdown()
        return 0

    cdef int shutdown(self) except -1:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as exc:
            self.fatal(exc, "Fatal error on transport")
        return 0

    def can_write_eof(self):
        """True: `write_eof` works."""
        return True

    def write_eof(self):
        """Send the end of file after what was written. Reading goes on."""
        if self.closing or self.eof:
            return
        self.eof = True
        if not self.buffered:
            self.sock.shutdown(socket.SHUT_WR)

    def get_write_buffer_size(self):
        """How many bytes the kernel has not taken yet."""
        return self.buffered

    def get_write_buffer_limits(self):
        """`(low, high)`, in bytes."""
        return self.low, self.high

    def set_write_buffer_limits(self, high=None, low=None):
        """Above `high` bytes the protocol's `pause_writing` is called, at `low` its `resume_writing`."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high = high
        self.low = low
        self.maybe_pause()

    cdef int maybe_pause(self) except -1:
        if self.buffered > self.high and not self.writing_paused:
            self.writing_paused = True
            self.tell(self.protocol.pause_writing, "protocol.pause_writing() failed")
        return 0

    cdef int maybe_resume(self) except -1:
        if self.writing_paused and self.buffered <= self.low:
            self.writing_paused = False
            self.tell(self.protocol.resume_writing, "protocol.resume_writing() failed")
        return 0

    cdef int tell(self, object method, str message) except -1:
        try:
            method()
        except BaseException as exc:
            if is_for_the_greenlet(exc):
                raise
            report(self.loop, message, exc, {"transport": self, "protocol": self.protocol})
        return 0

    # -------- the end

    cdef int failed(self, object exc, str message) except -1:
        """Deal with `exc`, which the protocol has raised."""
        if is_for_the_greenlet(exc):
            raise exc
        return self.fatal(exc, message)

    cdef int fatal(self, object exc, str message) except -1:
        if self.loop is None:
            return 0
        if isinstance(exc, OSError):
            if self.loop._debug:
                logger.debug("%r: %s", self, message, exc_info=True)
        else:
            report(self.loop, message, exc, {"transport": self, "protocol": self.protocol})
        self._force_close(exc)
        return 0

    def _fatal_error(self, exc, message="Fatal error on transport"):
        self.fatal(exc, message)

    def _force_close(self, exc):
        if self.lost:
            return
        self.drop_buffer()
        self.closing = True
        self.reader.displace()
        self.lose_soon(exc)

    cdef int lose_soon(self, object exc) except -1:
        self.lost += 1
        self.loop.soon(self._call_connection_lost, (exc,), self.context)
        return 0

    def close(self):
        """Send what was written, then close. Never blocks; `connection_lost` is called when it is closed."""
        if self.closing:
            return
        self.closing = True
        self.reader.displace()
        if not self.buffered:
            self.writer.displace()
            self.lose_soon(None)

    def abort(self):
        """Close now: what the kernel has not taken is lost."""
        self._force_close(None)

    def is_closing(self):
        """True once it is closed, or about to be."""
        return self.closing

    cdef int lose(self, object exc) except -1:
        if not self.lost:
            self.lost = 1
        self._call_connection_lost(exc)
        return 0

    def _call_connection_lost(self, exc):
        sock = self.sock
        if sock is None:
            return
        try:
            if self.connected:
                self.protocol.connection_lost(exc)
        finally:
            waiter = self.empty_waiter
            if waiter is not None and not waiter.done():
                waiter.set_exception(ConnectionError("Connection is closed by peer"))
            self.forget()
            sock.close()
            server, self.server = self.server, None
            self.protocol = None
            self.loop = None
            self.context = None
            if server is not None:
                if _SERVER_KNOWS_TRANSPORTS:
                    server._detach(self)
                else:
                    server._detach()

    cdef int forget(self) except -1:
        """The socket is about to be closed."""
        self.detach()
        self.loop.transports.discard(self)
        self.sock = None
        self.reader = self.writer = None
        fd_closed(self.fd, self.owner)
        return 0

    def __del__(self):
        sock = self.sock
        if sock is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self.forget()
            sock.close()

    # -------- what belongs to it

    @property
    def __class__(self):
        return transports._FlowControlMixin

    def get_extra_info(self, name, default=None):
        """What is known about the connection: "socket", "sockname", "peername" and what the protocols add."""
        return self.extra.get(name, default)

    def set_protocol(self, protocol):
        """Have `protocol` receive the data from now on."""
        self.protocol = protocol
        self.connected = True
        self.into_buffer = isinstance(protocol, protocols.BufferedProtocol)

    def get_protocol(self):
        """The protocol that receives the data."""
        return self.protocol

    def __repr__(self):
        info = ["SocketTransport"]
        if self.sock is None:
            info.append("closed")
        elif self.closing:
            info.append("closing")
        info.append(f"fd={self.fd}")
        if self.loop is not None and not self.loop._closed:
            info.append("read=polling" if self.wants_data() else "read=idle")
            info.append(f"write=<{'polling' if self.buffered else 'idle'}, bufsize={self.buffered}>")
        return f"<{' '.join(info)}>"

    # What asyncio's own code needs of a transport.

    @property
    def _loop(self):
        return self.loop

    @property
    def _sock(self):
        return self.sock

    @property
    def _sock_fd(self):
        return self.fd

    @property
    def _extra(self):
        return self.extra

    @property
    def _protocol(self):
        return self.protocol

    @property
    def _paused(self):
        return self.paused

    @property
    def _protocol_paused(self):
        return self.writing_paused

    def _make_empty_waiter(self):
        if self.empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        self.empty_waiter = self.loop.create_future()
        if not self.buffered:
            self.empty_waiter.set_result(None)
        return self.empty_waiter

    def _reset_empty_waiter(self):
        self.empty_waiter = None
