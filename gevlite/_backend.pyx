"""The contract between a hub and its backend, which tells it which file descriptors are ready.

This file has what every backend has in common; each kernel interface has a file of its own in `gevlite.backends`.
Nothing here knows the hub: the hub calls a backend, and takes what the backend has found.
"""

cimport cython
from cpython.exc cimport PyErr_SetFromErrno
from libc.stdint cimport int64_t
from libc.stdlib cimport free

from gevlite._array cimport grown, room_for

import os

cdef extern from "unistd.h" nogil:
    ssize_t c_read "read"(int fd, void *buf, size_t count)
    ssize_t c_write "write"(int fd, const void *buf, size_t count)
    int c_close "close"(int fd)

cdef extern from "fcntl.h" nogil:
    int fcntl(int fd, int cmd, ...)
    int F_GETFL
    int F_SETFL
    int O_NONBLOCK

cdef int _own_signal = 0


cdef void set_own_signal(int signum) noexcept:
    """Set the signal that tells the interpreter that a time slice is over: `signal.pause` must not return for it."""
    global _own_signal
    _own_signal = signum


cdef class Backend:
    """Backend(*args, **kwargs)\n--\n
    Tells a hub which file descriptors are ready. Subclass it in Cython or in plain Python.

    The promise every backend makes: after `arm(fd, events)` a later `poll` reports `(fd, events)` at least once if it is or
    becomes ready. Reporting too often is allowed, losing a report never is. Each method says what it must do.

    The base class owns a pipe: `wake` writes to it, `wake_fd` is its read end and `signal_fd` its write end, which the
    hub gives to `signal.set_wakeup_fd`. A subclass that defines `after_fork` or `close` calls that of the base class too.

    Where their exceptions go: those of `adopt` and `arm` to the waiter of the descriptor, of `poll` to the main greenlet of
    the hub's thread, of `close` out of `Hub.destroy`, of `drop` and `wake` to `Hub.handle_error`. (An OSError of `drop` is
    ignored. If `wake` fails, the pipe wakes.) If `after_fork` raises, the child cannot use its hub.

    late_after_fork: True if the hub may call `close` in the child of a fork, and `after_fork` only when it polls for the
    first time. A subclass that defines either of them says it again; the instance is not asked.
    """

    late_after_fork = False

    def __cinit__(self, *args, **kwargs):
        self.wake_fd = -1
        self.signal_fd = -1
        self.always_ready = []
        self._make_pipe()

    def _make_pipe(self):
        cdef int fd
        cdef Backend giver = self.giver
        self.pipes += 1
        if giver is not None:
            self.giver = None
            self.wake_fd, self.signal_fd, self.wake_pending = giver.wake_fd, giver.signal_fd, giver.wake_pending
            giver.wake_fd = giver.signal_fd = -1
            return
        self.wake_fd, self.signal_fd = os.pipe()    # close-on-exec by default (PEP 446)
        for fd in (self.wake_fd, self.signal_fd):
            if fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0:
                PyErr_SetFromErrno(OSError)

    @property
    def name(self):
        """The name by which `GEVLITE_BACKEND` picks it."""
        return type(self).__name__

    cpdef bint adopt(self, int fd) except -1:
        """Watch `fd` edge-triggered in both directions until `drop`.

        Returns False if this kernel interface cannot: the hub then uses `arm` for each wait.
        """
        return False

    cpdef arm(self, int fd, int events):
        """Watch `fd` for exactly `events` (READ | WRITE) and report once. Replaces what was armed before.

        A closed fd raises OSError(EBADF); a regular file is always ready.
        """
        raise NotImplementedError(f"{type(self).__name__}.arm")

    cpdef drop(self, int fd):
        """Forget `fd`; nothing happens if it is unknown or closed already."""
        raise NotImplementedError(f"{type(self).__name__}.drop")

    cpdef poll(self, int64_t timeout_ns):
        """Wait for at most `timeout_ns` nanoseconds (-1: for ever; never more than a day), call `report(fd, events)` for all
        that is ready, and return None.

        Must watch `wake_fd` too and call `drain()` when it is readable. Release the GIL only if it may block. After EINTR, run
        the signal handlers and return. Those may block, and `poll` is then called again before it has returned: in Cython, run
        them (`run_signal_handlers`) last.
        """
        raise NotImplementedError(f"{type(self).__name__}.poll")

    cpdef wake(self):
        """Make a running or the next `poll` return at once. Any thread may call it at any time.

        Many calls before the next poll cost one write.
        """
        if not self.wake_pending:
            self.wake_pending = True
            c_write(self.signal_fd, b"\0", 1)   # if the pipe is full, that is as good as a written byte

    cpdef after_fork(self):
        """In the child: replace everything shared with the parent and forget all fds."""
        # The pipe is shared with the parent: a byte meant for one would wake the other.
        Backend.close(self)
        self.always_ready = []
        self.wake_pending = False
        self._make_pipe()

    cpdef close(self):
        """Free everything."""
        if self.wake_fd >= 0:
            c_close(self.wake_fd)
            c_close(self.signal_fd)
            self.wake_fd = self.signal_fd = -1

    cpdef report(self, int fd, int events):
        """Called from `poll`: `fd` is ready for `events`, which is READ, WRITE or both, and perhaps END and URGENT.

        Raises ValueError for a number or events that cannot be right.
        """
        if fd < 0 or events & ~(READ | WRITE | END | URGENT) or not events & (READ | WRITE):
            raise ValueError(f"{self.name} backend reported fd {fd} for events {events}")
        if fd == self.wake_fd:
            raise ValueError(f"{self.name} backend reported its wake_fd: it must call drain() instead")
        self.found_one(fd, events)

    def drain(self):
        """Called from `poll` when `wake_fd` is readable: read what woke it."""
        self.drain_wake()

    def take_reported(self):
        """What the last `poll` reported, as a list of `(fd, events)`; for tests of a backend on its own."""
        cdef int i
        found = [(self.found[i].fd, self.found[i].events) for i in range(self.n_found)]
        self.n_found = 0
        return found

    cdef int found_one(self, int fd, int events) except -1:
        cdef int room
        if self.n_found == self.capacity:
            room = <int> room_for(self.n_found + 1, self.capacity)
            self.found = <Ready *> grown(self.found, self.capacity, room, sizeof(Ready), "ready events")
            self.capacity = room
        self.found[self.n_found].fd = fd
        self.found[self.n_found].events = events
        self.n_found += 1
        return 0

    cdef int found_always(self, int fd, int events) except -1:
        """For `arm`: the kernel does not watch `fd`, because it can never block. The next poll reports it."""
        self.always_ready.append((fd, events))
        return 0

    cdef int forget_always(self, int fd) except -1:
        """For `drop`."""
        if self.always_ready:
            self.always_ready = [item for item in self.always_ready if item[0] != fd]
        return 0

    cdef bint report_always(self) except -1:
        """For `poll`, at its beginning. True: something was reported, and `poll` must not wait."""
        cdef int fd, events
        if not self.always_ready:
            return False
        for fd, events in self.always_ready:
            self.found_one(fd, events)
        self.always_ready = []
        return True

    cdef int take_over(self, Backend giver) except -1:
        """Begin anew with the pipe of another backend, which has no pipe from then on.

        The pipe may be that of `signal.set_wakeup_fd`, and another library may remember its number.
        """
        self.giver = giver
        try:
            self.after_fork()
        finally:
            self.giver = None
        return 0

    cdef int drain_wake(self) noexcept:
        cdef char[64] scratch
        cdef ssize_t i, n
        cdef int came = 0, own = 0
        self.wake_pending = False
        while True:
            n = c_read(self.wake_fd, scratch, sizeof(scratch))
            for i in range(n):
                # The interpreter writes the number of the signal, `wake` a zero.
                came += scratch[i] != 0
                own += scratch[i] != 0 and scratch[i] == _own_signal
            if n != sizeof(scratch):
                self.signals += came - own
                return came

    def __dealloc__(self):
        if self.wake_fd >= 0:
            c_close(self.wake_fd)
            c_close(self.signal_fd)
        free(self.found)


@cython.final
cdef class LostBackend(Backend):
    """In a child, replaces a backend whose `after_fork` failed: what that backend holds may still be the parent's."""
    @property
    def name(self):
        return self.replaced

    cdef int refuse(self) except -1:
        raise RuntimeError(
            f"the {self.replaced} backend cannot be used in this child process: its after_fork() failed"
        ) from self.cause

    cpdef bint adopt(self, int fd) except -1:
        self.refuse()

    cpdef arm(self, int fd, int events):
        self.refuse()

    cpdef drop(self, int fd):
        pass

    cpdef poll(self, int64_t timeout_ns):
        self.refuse()
