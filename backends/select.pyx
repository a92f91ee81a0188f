"""select (every POSIX system).

The traps of the interface, and how the promise of `Backend` is kept:

* It is level-triggered: what is ready stays ready. So a descriptor is watched only while something waits for it,
  and for one report at a time (`adopt` returns False, and the hub arms each wait).
* An `fd_set` has room for FD_SETSIZE (mostly 1024) descriptors. A higher *number* would write outside of it, so `arm`
  refuses it and names the backends that can watch it.
* One closed descriptor makes the whole call fail with EBADF, and the call does not say which. `poll` then finds it,
  forgets it, and reports it as ready: the waiter tries the operation and gets the error.
* select() takes microseconds: time-outs are rounded up.
* It changes its sets: they are copied for each call.
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EBADF, EINTR, errno
from libc.stdint cimport int64_t

from gevlite._core cimport END, READ, WRITE, Backend, run_signal_handlers


cdef extern from "sys/select.h" nogil:
    ctypedef struct fd_set:
        pass
    struct timeval:
        long tv_sec
        long tv_usec
    int c_select "select"(int nfds, fd_set *r, fd_set *w, fd_set *e, timeval *timeout)
    void FD_ZERO(fd_set *s)
    void FD_SET(int fd, fd_set *s)
    void FD_CLR(int fd, fd_set *s)
    bint FD_ISSET(int fd, fd_set *s)
    int FD_SETSIZE

cdef extern from "fcntl.h" nogil:
    int fcntl(int fd, int cmd, ...)
    int F_GETFD


cdef class SelectBackend(Backend):
    """select(): level-triggered, interest armed for one report, descriptors below FD_SETSIZE only."""

    late_after_fork = True

    cdef fd_set readers
    cdef fd_set writers
    cdef int highest

    def __cinit__(self):
        self._forget_all()

    def _forget_all(self):
        if self.wake_fd >= FD_SETSIZE:
            raise OSError(f"the select backend cannot watch its wake pipe: fd {self.wake_fd} is not below {FD_SETSIZE}")
        FD_ZERO(&self.readers)
        FD_ZERO(&self.writers)
        self.highest = self.wake_fd

    @property
    def name(self):
        return "select"

    cpdef arm(self, int fd, int events):
        if fd >= FD_SETSIZE:
            raise ValueError(
                f"the select backend cannot watch fd {fd}: only numbers below {FD_SETSIZE}; "
                "set GEVLITE_BACKEND to epoll, kqueue or poll, which have no such limit"
            )
        if fcntl(fd, F_GETFD) < 0:
            PyErr_SetFromErrno(OSError)
        if events & READ:
            FD_SET(fd, &self.readers)
        else:
            FD_CLR(fd, &self.readers)
        if events & WRITE:
            FD_SET(fd, &self.writers)
        else:
            FD_CLR(fd, &self.writers)
        if fd > self.highest:
            self.highest = fd

    cpdef drop(self, int fd):
        if 0 <= fd < FD_SETSIZE:
            FD_CLR(fd, &self.readers)
            FD_CLR(fd, &self.writers)

    cpdef poll(self, int64_t timeout_ns):
        cdef fd_set r, w
        cdef timeval t
        cdef timeval *limit = NULL
        cdef int n, fd, got, nfds
        cdef bint woken = False
        # The highest number is only ever an upper bound after a drop; lower it here.
        while self.highest > self.wake_fd and not FD_ISSET(self.highest, &self.readers) \
                and not FD_ISSET(self.highest, &self.writers):
            self.highest -= 1
        nfds = self.highest + 1
        r = self.readers
        w = self.writers
        FD_SET(self.wake_fd, &r)
        if timeout_ns >= 0:
            timeout_ns = (timeout_ns + 999) // 1000
            t.tv_sec = timeout_ns // 1_000_000
            t.tv_usec = timeout_ns % 1_000_000
            limit = &t
        if timeout_ns == 0:
            n = c_select(nfds, &r, &w, NULL, limit)
        else:
            with nogil:
                n = c_select(nfds, &r, &w, NULL, limit)
        if n < 0:
            if errno == EBADF:
                self.report_closed(nfds)
                return
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            run_signal_handlers(True)
            return
        if n == 0:
            return
        if FD_ISSET(self.wake_fd, &r):
            n -= 1
            woken = True
        for fd in range(nfds):
            if n <= 0:
                break
            if fd == self.wake_fd:
                continue
            got = 0
            if FD_ISSET(fd, &r):
                got |= READ
                n -= 1
            if FD_ISSET(fd, &w):
                got |= WRITE
                n -= 1
            if got:
                self.found_one(fd, got)
                self.drop(fd)
        # Last: a handler may wait, and `poll` is then called again before it has returned.
        if woken:
            run_signal_handlers(self.drain_wake() > 0)

    cdef int report_closed(self, int nfds) except -1:
        cdef int fd
        for fd in range(nfds):
            if (FD_ISSET(fd, &self.readers) or FD_ISSET(fd, &self.writers)) and fcntl(fd, F_GETFD) < 0 and errno == EBADF:
                self.found_one(fd, READ | WRITE | END)
                self.drop(fd)
        return 0

    cpdef after_fork(self):
        Backend.after_fork(self)
        self._forget_all()
