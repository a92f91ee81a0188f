# The part of the socket fast path that other compiled modules may touch. The territory is _socketio.pyx.
from libc.stdint cimport int64_t, uint64_t

from gevlite._core cimport FdEntry, Hub

cdef class Endpoint:
    """Kept by the fast path with a socket: fd, kind, time-out, and the identity under which hubs know the fd."""
    cdef readonly int fd            # -1: closed or detached
    cdef readonly int family
    cdef bint stream
    cdef bint tcp                   # a short read means that there is no more
    cdef bint known                 # some hub may have an entry for it
    cdef int64_t limit              # time-out in ns; -1: none, 0: non-blocking
    cdef readonly object timeout    # in seconds, as it was given
    cdef uint64_t owner
    cdef FdEntry *entry             # where the hub of that serial keeps the fd
    cdef uint64_t hub_serial

    cpdef set_timeout(self, timeout)
    cpdef forget(self)
    cdef int note_number(self) except -1
    cdef void forget_number(self) noexcept

# Deadlines: an operation computes its own at its first wait; UNSET_DEADLINE until then.
cdef enum:
    UNSET_DEADLINE = -2

cdef Endpoint endpoint(object sock)
cdef FdEntry *entry_of(Endpoint ep, Hub hub) noexcept
cdef int wait_until(Endpoint ep, Hub hub, int event, int64_t *deadline) except -1
cdef int wait_within(Endpoint ep, Hub hub, int event, int64_t limit) except -1

# What a single call returns when it would have blocked. -1 stays free for "raised".
cdef enum:
    WOULD_BLOCK = -2

cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family

# One system call each, if the fd may be ready, else WOULD_BLOCK. `event` is READ or WRITE; `addr` may be NULL.
cdef Py_ssize_t transfer_once(Endpoint ep, Hub hub, int event, void *buf, size_t n, int flags,
                              sockaddr *addr, socklen_t *addrlen) except -1
cdef Py_ssize_t sendfile_once(Endpoint ep, Hub hub, int in_fd, long long offset, size_t n) except -1
