"""epoll (Linux).

The traps of the interface, and how the promise of `Backend` is kept:

* A registration belongs to the *open file description*, not to the number: closing the last descriptor of a file removes it
  silently, and a number reused for another file is unknown to epoll again. So `arm` tries EPOLL_CTL_MOD, falls back to ADD on
  ENOENT and back to MOD on EEXIST, and never trusts its own memory of what is registered.
* If a duplicate keeps the old file open, its registration lives on under the old number and may report events for a
  number that now means something else. Such a report is spurious, which is allowed; EPOLLONESHOT makes it the last one.
* Edge-triggered (EPOLLET) registrations report a change once. EPOLL_CTL_ADD counts as a change: what is ready at that
  moment is reported by the next poll, so nothing that came before is lost.
* Regular files and directories cannot be added (EPERM). They are always ready: `arm` remembers them for the next poll,
  which then does not block.
* epoll_wait counts in milliseconds. `epoll_pwait2` (Linux 5.11) takes nanoseconds; where it is missing the time-out is
  rounded up, so that a timer never fires early.
* The descriptor survives fork and stays connected to the parent's files; a child must make its own.
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EBADF, EEXIST, EINTR, ENOENT, ENOSYS, EPERM, errno
from libc.stdint cimport int64_t, uint32_t

from gevlite._core cimport END, READ, URGENT, WRITE, Backend, run_signal_handlers


cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET, EPOLLONESHOT

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/epoll.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    /* The system call itself: the C library has a wrapper only since glibc 2.35. */
    static int gevlite_epoll_pwait2(int epfd, struct epoll_event *events, int maxevents, long long timeout_ns)
    {
    #ifdef SYS_epoll_pwait2
        struct timespec t;
        t.tv_sec = timeout_ns / 1000000000;
        t.tv_nsec = timeout_ns % 1000000000;
        return (int)syscall(SYS_epoll_pwait2, epfd, events, maxevents, timeout_ns < 0 ? NULL : &t, NULL, 0);
    #else
        (void)epfd; (void)events; (void)maxevents; (void)timeout_ns;
        errno = ENOSYS;
        return -1;
    #endif
    }
    """
    int gevlite_epoll_pwait2(int epfd, epoll_event *events, int maxevents, long long timeout_ns) nogil

cdef extern from "unistd.h" nogil:
    int c_close "close"(int fd)

cdef enum:
    BATCH = 256


cdef class EpollBackend(Backend):
    """Linux epoll: edge-triggered for gevlite sockets, one-shot for everything else."""

    late_after_fork = True

    cdef int epfd
    cdef bint no_pwait2         # the kernel said ENOSYS once
    cdef epoll_event[BATCH] events

    def __cinit__(self):
        self.epfd = -1
        self._open()

    def _open(self):
        cdef epoll_event event
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            PyErr_SetFromErrno(OSError)
        event.events = EPOLLIN
        event.data.fd = self.wake_fd
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, self.wake_fd, &event) < 0:
            PyErr_SetFromErrno(OSError)

    @property
    def name(self):
        return "epoll"

    cdef int control(self, int fd, uint32_t events, int first) except -1:
        """Register by the operation `first`, or by the other one if the kernel says so. Returns 0, or EPERM."""
        cdef epoll_event event
        cdef int op = first
        event.events = events
        event.data.fd = fd
        while epoll_ctl(self.epfd, op, fd, &event) < 0:
            if op == first and errno == ENOENT:
                op = EPOLL_CTL_ADD
            elif op == first and errno == EEXIST:
                op = EPOLL_CTL_MOD
            elif errno == EPERM:
                return EPERM
            else:
                PyErr_SetFromErrno(OSError)
        return 0

    cpdef bint adopt(self, int fd) except -1:
        if self.control(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET, EPOLL_CTL_ADD):
            raise OSError(EPERM, "a regular file cannot be watched edge-triggered")
        return True

    cpdef arm(self, int fd, int events):
        cdef uint32_t mask = EPOLLONESHOT
        if events & READ:
            mask |= EPOLLIN | EPOLLRDHUP
        if events & WRITE:
            mask |= EPOLLOUT
        if self.control(fd, mask, EPOLL_CTL_MOD):
            self.found_always(fd, events)

    cpdef drop(self, int fd):
        cdef epoll_event event
        self.forget_always(fd)
        if epoll_ctl(self.epfd, EPOLL_CTL_DEL, fd, &event) < 0 and errno != ENOENT and errno != EBADF and errno != EPERM:
            PyErr_SetFromErrno(OSError)

    cpdef poll(self, int64_t timeout_ns):
        cdef int n, i, fd, got
        cdef uint32_t mask
        cdef bint woken = False
        if self.report_always():
            timeout_ns = 0
        if timeout_ns == 0:
            n = epoll_wait(self.epfd, self.events, BATCH, 0)
        else:
            n = self.wait(timeout_ns)
        if n < 0:
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            run_signal_handlers(True)
            return
        for i in range(n):
            mask = self.events[i].events
            fd = self.events[i].data.fd
            if fd == self.wake_fd:
                woken = True
                continue
            got = 0
            if mask & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP | EPOLLPRI):
                got |= READ
            if mask & (EPOLLOUT | EPOLLHUP | EPOLLERR):
                got |= WRITE
            if mask & (EPOLLHUP | EPOLLERR | EPOLLRDHUP):
                got |= END
            if mask & EPOLLPRI:
                got |= URGENT
            self.found_one(fd, got)
        # Last: a handler may wait, and `poll` is then called again before it has returned.
        if woken:
            run_signal_handlers(self.drain_wake() > 0)

    cdef int wait(self, int64_t timeout_ns):
        cdef int n
        cdef int milliseconds
        if timeout_ns < 0 or self.no_pwait2:
            milliseconds = -1 if timeout_ns < 0 else <int> ((timeout_ns + 999_999) // 1_000_000)
            with nogil:
                n = epoll_wait(self.epfd, self.events, BATCH, milliseconds)
            return n
        with nogil:
            n = gevlite_epoll_pwait2(self.epfd, self.events, BATCH, timeout_ns)
        if n < 0 and (errno == ENOSYS or errno == EPERM):
            # Older kernel, or a sandbox that does not know the call.
            self.no_pwait2 = True
            return self.wait(timeout_ns)
        return n

    cpdef after_fork(self):
        if self.epfd >= 0:
            c_close(self.epfd)
            self.epfd = -1
        Backend.after_fork(self)
        self._open()

    cpdef close(self):
        if self.epfd >= 0:
            c_close(self.epfd)
            self.epfd = -1
        Backend.close(self)

    def fileno(self):
        """The epoll descriptor."""
        return self.epfd

    def __dealloc__(self):
        if self.epfd >= 0:
            c_close(self.epfd)
