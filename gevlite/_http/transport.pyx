"""Bytes from one client and to it: a buffer to read into, and time limits.

Memory. Everything is read into one block of 64 KiB, which a connection has only while it works on its contents. While
it waits for more it keeps only the bytes that it has got so far, which for an idle connection are none.

Time. A response that the client takes slowly may take as long as it keeps up a minimum rate: the time spent waiting is
compared with the bytes that moved.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memmove

from gevlite._core cimport READ, WRITE, Hub, current_hub, give_way_if_due, next_wait, now_ns, time_left, timeout_ns
from gevlite._http.settings cimport BLOCK, Settings, earned
from gevlite._socketio cimport WOULD_BLOCK, endpoint, sendfile_once, transfer_once, wait_within

import _socket
import errno

from gevlite.ssl import say_goodbye
from gevlite.socket import socket as _Socket


cdef extern from *:
    """
    #include <sys/socket.h>
    #ifdef MSG_MORE
    #define GEVLITE_MSG_MORE MSG_MORE
    #else
    #define GEVLITE_MSG_MORE 0
    #endif
    """
    int GEVLITE_MSG_MORE

cdef extern from "_http/send_queue.h":
    int64_t gevlite_send_queue(int fd) noexcept

cdef extern from "_http/fence.h":
    void gevlite_fence(char *block, Py_ssize_t used, Py_ssize_t size) noexcept

cdef enum:
    RECORD = 16384              # the most that TLS sends at once
    SMALL = 512                 # the space for an unfinished head is a multiple of this
    LOOKS = 8                   # how often we look at a client's progress in `write_timeout`
    CREDIT = 3                  # times `write_timeout`, for a client that was faster than it had to be

# The file system cannot do it (sendfile(2)); reading and sending can.
cdef tuple NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.EOPNOTSUPP)

# How long, in ns, a client that still sends after the end of our response may pause.
cdef int64_t LINGER_SILENCE = 5 * 1_000_000_000


cdef class Transport:
    """One client's socket."""

    cdef int begin(self, sock, Settings settings, rfile) except -1:
        """sock: a connected socket. rfile: where to read instead, a file with `read1`."""
        self.settings = settings
        self.sock = sock
        if isinstance(sock, _Socket):
            self.wire = endpoint(sock)
        if rfile is not None:
            self.read_some = rfile.read1
        elif type(sock) is _Socket:
            self.ep = self.wire
        else:
            self.read_some = sock.recv
        return 0

    def __dealloc__(self):
        # `release` has given back a block of the server; here the Settings may be gone already.
        free(self.buffer)

    def stop_waiting(self):
        """End the wait for a request, the rest of its head, or the end of data that is not wanted.

        The waiting greenlet closes the socket.
        """
        if self.waiting:
            try:
                _Socket.shutdown(self.sock, _socket.SHUT_RD)
            except (OSError, TypeError):
                pass        # closed meanwhile; or not a socket of ours: its next request will be its last

    # -------- reading

    cdef int make_room(self, Py_ssize_t n) except -1:
        """Have space for `n` bytes behind `end`."""
        cdef char *block
        cdef Py_ssize_t size, used = self.end - self.start
        if self.capacity - self.end >= n and self.capacity >= BLOCK:
            gevlite_fence(self.buffer, self.capacity, self.capacity)
            return 0
        if self.start and self.capacity - used >= n and self.capacity >= BLOCK:
            gevlite_fence(self.buffer, self.capacity, self.capacity)
            memmove(self.buffer, self.buffer + self.start, used)
        else:
            size = BLOCK
            if used + n > BLOCK:        # limits that go beyond a block
                size = 2 * (used + n)
                block = <char *> malloc(size)
                if block == NULL:
                    raise MemoryError()
            else:
                block = self.settings.take_block()
            if used:
                memcpy(block, self.buffer + self.start, used)
            self.drop_buffer()
            self.buffer = block
            self.capacity = size
        self.start = 0
        self.end = used
        return 0

    cdef int drop_buffer(self) except -1:
        gevlite_fence(self.buffer, self.capacity, self.capacity)
        if self.capacity == BLOCK:
            self.settings.give_block(self.buffer)
        else:
            free(self.buffer)
        self.buffer = NULL
        self.capacity = 0
        return 0

    cdef int slim(self) except -1:
        """Keep no more memory than what was read needs."""
        cdef Py_ssize_t used = self.end - self.start
        cdef Py_ssize_t size
        cdef char *small = NULL
        if self.capacity < BLOCK and used:
            return 0
        if used:
            size = (used + SMALL) & ~<Py_ssize_t> (SMALL - 1)
            if size >= BLOCK:
                return 0
            small = <char *> malloc(size)
            if small == NULL:
                raise MemoryError()
            memcpy(small, self.buffer + self.start, used)
        self.drop_buffer()
        if used:
            self.buffer = small
            self.capacity = size
            gevlite_fence(small, used, size)
        self.start = 0
        self.end = used
        return 0

    cdef Py_ssize_t fill(self, int64_t timeout) except -1:
        """Read some more into the buffer; block for at most `timeout` ns, -1 for no limit.

        Returns how many bytes, 0 if the client has finished, WOULD_BLOCK if it took too long.
        """
        cdef Hub hub
        cdef int64_t deadline = -1
        cdef Py_ssize_t got
        give_way_if_due()       # a client that sends as fast as we read must not keep others from being served
        if self.ep is None:
            return self.fill_by_method(timeout)
        hub = current_hub()
        while True:
            self.make_room(READ_AT_LEAST)
            got = transfer_once(self.ep, hub, READ, self.buffer + self.end, self.capacity - self.end, 0, NULL, NULL)
            if got != WOULD_BLOCK:
                self.end += got
                gevlite_fence(self.buffer, self.end, self.capacity)
                return got
            self.slim()
            self.in_a_row = 0
            if not next_wait(&timeout, &deadline) or not wait_within(self.ep, hub, READ, timeout):
                return WOULD_BLOCK

    cdef Py_ssize_t fill_by_method(self, int64_t timeout) except -1:
        cdef bytes data
        cdef Py_ssize_t n
        self.slim()
        self.sock.settimeout(None if timeout < 0 else timeout / 1e9)
        try:
            data = self.read_some(RECORD)
        except TimeoutError:
            return WOULD_BLOCK
        n = len(data)
        self.make_room(n)
        memcpy(self.buffer + self.end, <char *> data, n)
        self.end += n
        gevlite_fence(self.buffer, self.end, self.capacity)
        return n

    cdef Py_ssize_t receive(self, char *where, Py_ssize_t n, int64_t timeout) except -1:
        """As `fill`, but to `where`, which must not move while it waits. Only on a plain socket."""
        cdef Hub hub = current_hub()
        cdef int64_t deadline = -1
        cdef Py_ssize_t got
        give_way_if_due()
        while True:
            got = transfer_once(self.ep, hub, READ, where, n, 0, NULL, NULL)
            if got != WOULD_BLOCK:
                return got
            if not next_wait(&timeout, &deadline) or not wait_within(self.ep, hub, READ, timeout):
                return WOULD_BLOCK

    cdef int linger(self) except -1:
        """Send the end of file, and read what the client still sends, for some time (RFC 9112, 9.6).

        Closing a socket that has unread data resets the connection, and the client may never see the response that
        tells it what was wrong: many clients look at it only when they have sent the whole body.
        """
        cdef int64_t deadline = now_ns() + self.settings.linger_time
        cdef int64_t left = 0 if self.settings.stopped else self.settings.linger_time
        if not isinstance(self.sock, _Socket):
            return 0
        self.waiting = True
        try:
            if self.ep is None:
                say_goodbye(self.sock)
                self.ep = endpoint(self.sock)       # what comes from here on need not be decrypted
            _Socket.shutdown(self.sock, _socket.SHUT_WR)
            while left > 0:
                self.start = self.end = 0
                if self.fill(min(left, LINGER_SILENCE)) <= 0:
                    break
                left = time_left(deadline)
        except OSError:
            pass
        finally:
            self.waiting = False
        self.start = self.end = 0
        return 0

    # -------- writing

    cdef int64_t taken(self) except -1:
        """How much the client has taken since we first had to wait for it."""
        cdef int64_t queued = gevlite_send_queue(self.wire.fd)
        return self.sent if queued < 0 or self.queued < 0 else max(self.sent + self.queued - queued, 0)

    cdef int64_t patience(self, int64_t taken, int64_t stalled) except -2:
        """For how many more ns the client may take nothing; -1: for ever. Raises TimeoutError if no time is left."""
        cdef int64_t most = self.settings.write_time
        cdef int64_t limit = most
        if most < 0:
            return -1
        if self.settings.min_rate > 0:
            # The client's progress shows in steps: a receiver whose buffer was full reports space again only when that
            # is a sixteenth of it (Linux, __tcp_select_window), hundreds of KB. A client that was fast enough gets time
            # for one step.
            limit += min(earned(taken, self.settings.min_rate) - (self.write_waited - stalled), CREDIT * most)
        limit -= stalled
        if limit <= 0:
            self.dead = True
            raise TimeoutError("the client takes the response too slowly")
        return limit

    cdef int begin_waiting(self) except -1:
        if self.write_waited == 0:
            # The bytes that went into the kernel's buffers at once say nothing about the client.
            self.sent = 0
            self.queued = gevlite_send_queue(self.wire.fd)
        return 0

    cdef int wait_to_send(self) except -1:
        """Block until the kernel takes more.

        Linux reports that only when a third of the socket's buffer is free, which takes a slow client minutes. So we
        look at what the client takes meanwhile.
        """
        cdef Hub hub = current_hub()
        cdef int64_t before, now, limit, taken
        cdef int64_t seen = -1
        cdef int64_t stalled = 0
        self.begin_waiting()
        while True:
            taken = self.taken()
            if taken > seen:
                seen = taken
                stalled = 0
            limit = self.patience(taken, stalled)
            if limit >= 0 and self.queued >= 0:
                limit = min(limit, self.settings.write_time // LOOKS + 1)
            before = now_ns()
            if wait_within(self.ep, hub, WRITE, limit):
                self.write_waited += now_ns() - before
                return 0
            now = now_ns()
            self.write_waited += now - before
            stalled += now - before

    cdef int send(self, const char *data, Py_ssize_t n, bint more) except -1:
        """Send bytes, which must not move while it blocks. more: others follow at once. Raises OSError, TimeoutError.

        If it is interrupted, it is unknown what is missing, so nothing is sent any more.
        """
        cdef Hub hub
        cdef Py_ssize_t done
        if self.torn:
            self.cannot_send()
        if self.ep is None:
            return self.send_by_method(PyBytes_FromStringAndSize(data, n))
        hub = current_hub()
        try:
            while n > 0:
                done = transfer_once(self.ep, hub, WRITE, <void *> data, n, GEVLITE_MSG_MORE if more else 0, NULL, NULL)
                if done == WOULD_BLOCK:
                    self.wait_to_send()
                    continue
                self.sent += done
                data += done
                n -= done
                give_way_if_due()
        except BaseException:
            self.dead = self.torn = True
            raise
        return 0

    cdef int cannot_send(self) except -1:
        raise BrokenPipeError(errno.EPIPE, "the response is cut off: sending was interrupted before")

    cdef int send_by_method(self, data) except -1:
        cdef int64_t limit = self.settings.write_time
        try:
            if self.wire is None:
                # Not a socket of ours: we have to rely on its own time-out.
                self.sock.settimeout(None if limit < 0 else limit / 1e9)
                self.sock.sendall(data)
                self.sent += len(data)
            else:
                with memoryview(data) as view, view.cast("B") as octets:
                    self.send_encrypted(octets)
        except BaseException:
            self.dead = self.torn = True
            raise
        give_way_if_due()
        return 0

    cdef int send_encrypted(self, octets) except -1:
        """As `send`, on a TLS socket, which waits by itself: we have it wait for a part of the time, and then look."""
        cdef Py_ssize_t n = len(octets)
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t got
        cdef int64_t before, taken, limit
        cdef int64_t seen = -1
        cdef int64_t stalled = 0
        limit = self.settings.write_time
        while done < n:
            # Set each time: on an upgraded connection another greenlet reads, and sets the time-out too.
            self.sock.settimeout(60 if limit < 0 else (limit // LOOKS + 1) / 1e9)
            before = now_ns()
            try:
                got = self.sock.send(octets[done:done + RECORD])
            except TimeoutError:
                self.begin_waiting()
                self.write_waited += now_ns() - before
                stalled += now_ns() - before
                taken = self.taken()
                if taken > seen:
                    seen = taken
                    stalled = 0
                self.patience(taken, stalled)
                continue
            if self.write_waited:
                self.write_waited += now_ns() - before
            self.sent += got
            done += got
            stalled = 0
        return 0

    cdef int send_object(self, data) except -1:
        """Send the bytes of any object that has a buffer."""
        cdef Py_buffer view
        if self.ep is None:
            if self.torn:
                self.cannot_send()
            return self.send_by_method(data)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.send(<const char *> view.buf, view.len, False)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef Py_ssize_t send_file(self, int fd, long long offset, Py_ssize_t count) except -1:
        """Send `count` bytes of a file by sendfile(2). Returns how many there were. Only on a plain socket."""
        cdef Hub hub = current_hub()
        cdef Py_ssize_t done, total = 0
        if self.torn:
            self.cannot_send()
        try:
            while total < count:
                done = sendfile_once(self.ep, hub, fd, offset + total, min(count - total, 1 << 20))
                if done == WOULD_BLOCK:
                    self.wait_to_send()
                    continue
                if done == 0:
                    break
                total += done
                self.sent += done
                give_way_if_due()
        except BaseException as exc:
            self.dead = self.torn = total > 0 or not isinstance(exc, OSError) or exc.errno not in NO_SENDFILE
            raise
        return total


cdef class Reader:
    """The bytes that come from a client, as a file. For code that takes the connection over and speaks another
    protocol.

    Each call blocks as long as the socket's time-out allows, and then raises TimeoutError.
    """

    def __init__(self, Transport connection not None):
        self.connection = connection

    @property
    def raw(self):
        """This object: there is one layer only."""
        return self

    @property
    def _sock(self):
        return self.connection.sock

    @property
    def closed(self):
        """True once the connection is."""
        return self.connection.sock.fileno() < 0

    def close(self):
        """Does nothing; the socket is closed by its server."""

    def fileno(self):
        """The socket's descriptor."""
        return self.connection.sock.fileno()

    def readable(self):
        """True."""
        return True

    cdef Py_ssize_t more(self) except -1:
        cdef Transport connection = self.connection
        cdef int64_t timeout
        cdef Py_ssize_t got
        if connection.dead:
            return 0
        timeout = timeout_ns(connection.sock.gettimeout())
        got = connection.fill(timeout)
        if connection.ep is None:
            connection.sock.settimeout(None if timeout < 0 else timeout / 1e9)
        if got == WOULD_BLOCK:
            raise TimeoutError("timed out")
        return got

    cdef bytes taken(self, Py_ssize_t n):
        cdef Transport connection = self.connection
        n = min(n, connection.end - connection.start)
        data = PyBytes_FromStringAndSize(connection.buffer + connection.start, n)
        connection.start += n
        return data

    def read(self, size=-1, /):
        """Read exactly `size` bytes, fewer only at the end; with -1 or None, all until the end."""
        cdef Transport connection = self.connection
        cdef Py_ssize_t n = -1 if size is None else size
        while n < 0 or connection.end - connection.start < n:
            if self.more() == 0:
                break
        return self.taken(n if n >= 0 else connection.end - connection.start)

    def read1(self, size=-1, /):
        """Read what has come, at most `size` bytes; b"" only at the end."""
        cdef Transport connection = self.connection
        cdef Py_ssize_t n = size
        if connection.end == connection.start and n:
            self.more()
        return self.taken(n if n >= 0 else connection.end - connection.start)

    def readinto(self, buffer, /):
        """Read some bytes into `buffer`; returns how many, 0 at the end."""
        with memoryview(buffer) as view, view.cast("B") as octets:
            data = self.read1(len(octets))
            octets[:len(data)] = data
        return len(data)

    def readline(self, size=-1, /):
        """Up to and with the next line feed, at most `size` bytes."""
        cdef Transport connection = self.connection
        cdef Py_ssize_t limit = -1 if size is None else size
        cdef Py_ssize_t looked = 0
        cdef Py_ssize_t n
        cdef const char *found
        while True:
            n = connection.end - connection.start
            if limit >= 0 and n > limit:
                n = limit
            found = NULL
            if n > looked:
                found = <const char *> memchr(connection.buffer + connection.start + looked, b"\n", n - looked)
            if found != NULL:
                return self.taken(found - (connection.buffer + connection.start) + 1)
            looked = n
            if n == limit or self.more() == 0:
                return self.taken(n)
