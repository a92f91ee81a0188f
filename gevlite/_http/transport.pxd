# Bytes from one client and to it. The territory is transport.pyx.
from libc.stdint cimport int64_t

from gevlite._http.settings cimport Settings
from gevlite._socketio cimport Endpoint

cdef enum:
    READ_AT_LEAST = 4096        # how much space there must be before a read

cdef class Transport:
    """Bytes from a socket, and bytes back to it."""
    cdef readonly object sock
    cdef readonly Settings settings
    cdef Endpoint ep            # None: the socket's methods are used (TLS)
    cdef Endpoint wire          # what carries the bytes; None if that is not a socket of ours
    cdef object read_some
    # What was read and not used yet is buffer[start:end].
    cdef char *buffer
    cdef Py_ssize_t capacity
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef bint dead              # the client is gone, or what it sends cannot be understood any more
    cdef bint torn              # sending was interrupted
    cdef readonly bint waiting  # for a head, the rest of it, or, after our last word, for the client's end
    cdef int in_a_row           # requests served without having to wait for one
    cdef int64_t write_waited   # ns, for the client to take the response
    cdef int64_t sent           # bytes sent since we first had to wait for the client
    cdef int64_t queued         # bytes that the kernel had queued at that time; -1: it does not say

    cdef int begin(self, sock, Settings settings, rfile) except -1

    cdef int make_room(self, Py_ssize_t n) except -1
    cdef int drop_buffer(self) except -1
    cdef int slim(self) except -1
    cdef Py_ssize_t fill(self, int64_t timeout) except -1
    cdef Py_ssize_t fill_by_method(self, int64_t timeout) except -1
    cdef Py_ssize_t receive(self, char *where, Py_ssize_t n, int64_t timeout) except -1
    cdef int linger(self) except -1

    cdef int send(self, const char *data, Py_ssize_t n, bint more) except -1
    cdef int send_object(self, data) except -1
    cdef int cannot_send(self) except -1
    cdef int send_by_method(self, data) except -1
    cdef int64_t taken(self) except -1
    cdef int64_t patience(self, int64_t taken, int64_t stalled) except -2
    cdef int begin_waiting(self) except -1
    cdef int wait_to_send(self) except -1
    cdef int send_encrypted(self, octets) except -1
    cdef Py_ssize_t send_file(self, int fd, long long offset, Py_ssize_t count) except -1


cdef class Reader:
    """The bytes that a client sends, as a file."""
    cdef readonly Transport connection

    cdef Py_ssize_t more(self) except -1
    cdef bytes taken(self, Py_ssize_t n)
