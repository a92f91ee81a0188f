"""kqueue (macOS, FreeBSD, OpenBSD, NetBSD, DragonFly).

The traps of the interface, and how the promise of `Backend` is kept:

* A registration belongs to the descriptor's *number*, one for each direction (EVFILT_READ, EVFILT_WRITE). Closing the
  number removes both silently, also when a duplicate keeps the file open. So `arm` never trusts its own memory of
  what is registered.
* EV_ADD of a registration that exists changes neither EV_CLEAR nor EV_ONESHOT: a registration that was made for one
  report would be gone after it, whatever the second EV_ADD said. So both directions are deleted first, in the same
  call; if there was nothing to delete (ENOENT), that is no error.
* EV_ADD looks at the state: what is ready at that moment is reported by the next poll, also with EV_CLEAR, which reports
  each change once. So nothing that came before is lost.
* One kevent() makes several changes. EV_RECEIPT has it answer each with an event of its own, in their order, EV_ERROR with
  the errno or 0 in `data`; and it then returns no other event, which would be lost here.
* EVFILT_READ on a regular file means "not at its end" (kqueue(2)), and a file that is at its end would never be
  reported. Files and directories are always ready here: `arm` remembers them for the next poll, which then does not block.
* Files that some systems cannot watch, /dev/null for one, are refused with an errno of their choice (EINVAL on macOS);
  a pipe whose reader has gone gives EPIPE when EVFILT_WRITE is added. Neither would ever block: they are always ready,
  too.
* If both directions are armed, the report of one leaves the other armed. It may be reported when nothing waits for it
  any more, or is deleted by the next `arm`.
* A read stops at urgent data, no change need come for the data behind it, and EVFILT_READ does not tell urgent data
  (EV_OOBAND of macOS's header is no longer set by its kernel, FreeBSD has nothing). So each report says URGENT, that is, a
  short read proves nothing: readers try until the socket would block.
* A kqueue is not inherited by fork: in the child its number is free, and soon that of another file. So the child must make its
  own, and must not close the parent's.
* EVFILT_USER wakes without a write and a read. The pipe is watched too: signals write to it, and it wakes where
  EVFILT_USER is missing (older OpenBSD and NetBSD).
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EINTR, EPERM, errno
from libc.stdint cimport int64_t, intptr_t, uintptr_t

from gevlite._core cimport END, READ, URGENT, WRITE, Backend, errno_raise, run_signal_handlers


cdef extern from *:
    """
    #include <errno.h>
    #include <string.h>
    #include <sys/types.h>
    #include <sys/event.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #ifdef EVFILT_USER
    #define GEVLITE_HAVE_USER 1
    #else
    #define GEVLITE_HAVE_USER 0
    #define EVFILT_USER 0
    #define NOTE_TRIGGER 0
    #endif

    /* EV_SET and the types of the fields differ between the systems. */
    static void gevlite_change(struct kevent *change, int ident, int filter, unsigned flags, unsigned fflags)
    {
        memset(change, 0, sizeof(*change));
        change->ident = (uintptr_t)ident;
        change->filter = filter;
        change->flags = flags;
        change->fflags = fflags;
    }

    /* timeout_ns < 0: for ever. */
    static int gevlite_kevent(int kq, const struct kevent *changes, int n_changes, struct kevent *events, int n_events,
                              int64_t timeout_ns)
    {
        struct timespec t;
        t.tv_sec = timeout_ns / 1000000000;
        t.tv_nsec = timeout_ns % 1000000000;
        return kevent(kq, changes, n_changes, events, n_events, timeout_ns < 0 ? NULL : &t);
    }

    /* 1: a file or directory, 0: anything else, -1: an error, in errno. */
    static int gevlite_is_file(int fd)
    {
        struct stat st;
        if (fstat(fd, &st) < 0)
            return -1;
        return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
    }

    /* The errno of EV_ADD for a descriptor that is open and for which no operation ever waits. */
    static int gevlite_never_waits(int code)
    {
        return code == EPIPE || code == EINVAL || code == ENODEV || code == ENXIO || code == ENOTSUP ||
               code == EOPNOTSUPP;
    }
    """
    struct kevent_t "kevent":
        uintptr_t ident
        int filter
        unsigned int flags
        unsigned int fflags
        intptr_t data
    int kqueue()
    int gevlite_kevent(int kq, const kevent_t *changes, int n_changes, kevent_t *events, int n_events,
                       int64_t timeout_ns) nogil
    void gevlite_change(kevent_t *change, int ident, int filter, unsigned int flags, unsigned int fflags)
    int gevlite_is_file(int fd)
    bint gevlite_never_waits(int code)
    bint GEVLITE_HAVE_USER
    int EVFILT_READ, EVFILT_WRITE, EVFILT_USER
    unsigned int EV_ADD, EV_DELETE, EV_CLEAR, EV_ONESHOT, EV_RECEIPT, EV_EOF, EV_ERROR, NOTE_TRIGGER

cdef extern from "fcntl.h":
    int fcntl(int fd, int cmd, ...)
    int F_SETFD, FD_CLOEXEC

cdef extern from "unistd.h":
    int c_close "close"(int fd)
    int getpid()

cdef enum:
    BATCH = 256


cdef class KqueueBackend(Backend):
    """kqueue of macOS and the BSDs: edge-triggered for gevlite sockets, one-shot for everything else."""

    late_after_fork = True

    cdef int kq
    cdef int pid                # the process that made it
    cdef bint triggered         # EVFILT_USER, and not seen by a poll yet
    cdef kevent_t[BATCH] events

    def __cinit__(self):
        self.kq = -1
        self._open()

    def _open(self):
        cdef kevent_t[2] changes
        self.pid = getpid()
        self.triggered = False
        self.kq = kqueue()
        # No child can get it before this: a fork does not pass it on.
        if self.kq < 0 or fcntl(self.kq, F_SETFD, FD_CLOEXEC) < 0:
            PyErr_SetFromErrno(OSError)
        gevlite_change(&changes[0], self.wake_fd, EVFILT_READ, EV_ADD, 0)
        gevlite_change(&changes[1], 0, EVFILT_USER, EV_ADD | EV_CLEAR, 0)
        if gevlite_kevent(self.kq, changes, 1 + GEVLITE_HAVE_USER, NULL, 0, 0) < 0:
            PyErr_SetFromErrno(OSError)

    @property
    def name(self):
        return "kqueue"

    cdef int register(self, int fd, int events, unsigned int flags) except -1:
        """Watch `fd` for exactly `events`. Returns those that the kernel will not report: they are ready now."""
        cdef kevent_t[4] changes
        cdef kevent_t[4] receipts
        cdef int i, code, n = 2, ready = 0
        gevlite_change(&changes[0], fd, EVFILT_READ, EV_DELETE | EV_RECEIPT, 0)
        gevlite_change(&changes[1], fd, EVFILT_WRITE, EV_DELETE | EV_RECEIPT, 0)
        if events & READ:
            gevlite_change(&changes[n], fd, EVFILT_READ, EV_ADD | EV_RECEIPT | flags, 0)
            n += 1
        if events & WRITE:
            gevlite_change(&changes[n], fd, EVFILT_WRITE, EV_ADD | EV_RECEIPT | flags, 0)
            n += 1
        if gevlite_kevent(self.kq, changes, n, receipts, n, 0) < 0:
            PyErr_SetFromErrno(OSError)
        for i in range(2, n):
            code = <int> receipts[i].data
            if gevlite_never_waits(code):
                ready |= READ if changes[i].filter == EVFILT_READ else WRITE
            elif code:
                self.register(fd, 0, 0)
                errno_raise(code)
        return ready

    cpdef bint adopt(self, int fd) except -1:
        if self.register(fd, READ | WRITE, EV_CLEAR):
            self.register(fd, 0, 0)
            raise OSError(EPERM, "a file or device cannot be watched edge-triggered")
        return True

    cpdef arm(self, int fd, int events):
        cdef int ready = events
        cdef int is_file = gevlite_is_file(fd)
        if is_file < 0:
            PyErr_SetFromErrno(OSError)
        if not is_file:
            ready = self.register(fd, events, EV_ONESHOT)
        if ready:
            self.found_always(fd, ready)

    cpdef drop(self, int fd):
        self.forget_always(fd)
        self.register(fd, 0, 0)

    cpdef poll(self, int64_t timeout_ns):
        cdef int n, i, fd, got
        cdef bint woken = False
        if self.report_always():
            timeout_ns = 0
        if timeout_ns == 0:
            n = gevlite_kevent(self.kq, NULL, 0, self.events, BATCH, 0)
        else:
            with nogil:
                n = gevlite_kevent(self.kq, NULL, 0, self.events, BATCH, timeout_ns)
        if n < 0:
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            run_signal_handlers(True)
            return
        for i in range(n):
            fd = <int> self.events[i].ident
            if GEVLITE_HAVE_USER and self.events[i].filter == EVFILT_USER:
                self.triggered = False
                continue
            if fd == self.wake_fd:
                woken = True
                continue
            got = READ | URGENT if self.events[i].filter == EVFILT_READ else WRITE
            if self.events[i].flags & (EV_EOF | EV_ERROR):
                got |= END
            self.found_one(fd, got)
        # Last: a handler may wait, and `poll` is then called again before it has returned.
        if woken:
            run_signal_handlers(self.drain_wake() > 0)

    cpdef wake(self):
        """Make `poll` return. Any thread; many calls before the next poll cost one kevent()."""
        cdef kevent_t change
        if not GEVLITE_HAVE_USER:
            Backend.wake(self)
        elif not self.triggered:
            self.triggered = True
            gevlite_change(&change, 0, EVFILT_USER, 0, NOTE_TRIGGER)
            gevlite_kevent(self.kq, &change, 1, NULL, 0, 0)

    cpdef after_fork(self):
        self.close_queue()
        Backend.after_fork(self)
        self._open()

    cdef int close_queue(self) noexcept:
        if self.kq >= 0 and self.pid == getpid():
            c_close(self.kq)
        self.kq = -1
        return 0

    cpdef close(self):
        self.close_queue()
        Backend.close(self)

    def fileno(self):
        """The kqueue's descriptor."""
        return self.kq

    def __dealloc__(self):
        self.close_queue()
