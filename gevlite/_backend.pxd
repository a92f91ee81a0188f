# The contract between a hub and its backend, which tells it which file descriptors are ready; see _backend.pyx.
from libc.stdint cimport int64_t, uint64_t

# Readiness of a file descriptor. END (the kernel reported end-of-file, hang-up or an error) and URGENT come only from
# backends: after them a short read proves nothing, because no further edge need come.
cpdef enum:
    READ = 1
    WRITE = 2
    END = 4
    URGENT = 8

cdef struct Ready:
    int fd
    int events

cdef class Backend:
    """Tells the hub which file descriptors are ready; see the docstring in _backend.pyx."""
    cdef Ready *found
    cdef int n_found
    cdef int capacity
    cdef readonly int wake_fd       # read end of the wake pipe
    cdef readonly int signal_fd     # write end, for signal.set_wakeup_fd and wake()
    cdef bint wake_pending
    cdef int pipes                  # how many it has made
    cdef Backend giver              # the backend whose pipe it takes over; None: it makes its own
    cdef list always_ready          # (fd, events) armed since the last poll for what never blocks, as regular files
    cdef readonly uint64_t signals  # how many have come by way of signal_fd; without `set_own_signal`

    cpdef bint adopt(self, int fd) except -1
    cpdef arm(self, int fd, int events)
    cpdef drop(self, int fd)
    cpdef poll(self, int64_t timeout_ns)
    cpdef wake(self)
    cpdef after_fork(self)
    cpdef close(self)
    cpdef report(self, int fd, int events)
    cdef int found_one(self, int fd, int events) except -1
    cdef int drain_wake(self) noexcept          # how many signals it swallowed
    cdef int found_always(self, int fd, int events) except -1
    cdef int take_over(self, Backend giver) except -1
    cdef int forget_always(self, int fd) except -1
    cdef bint report_always(self) except -1

cdef void set_own_signal(int signum) noexcept

cdef class LostBackend(Backend):
    """In a child, replaces a backend whose `after_fork` failed."""
    cdef str replaced               # the name of that backend
    cdef object cause

    cdef int refuse(self) except -1
