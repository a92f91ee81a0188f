"""The socket fast path: the system calls, tried first, and the wait between two tries.

A socket carries an `Endpoint` with what these functions need. Each operation has the same shape: if the fd may be ready,
make the system call; if it would block, park until the hub reports the fd, and try again. The descriptor itself is always
non-blocking; the time-out is ours. Would-block is an errno here and never an exception, except where the caller asked for
non-blocking mode.

When a read clears the readiness flag: EAGAIN, or on TCP fewer bytes than asked for, since the kernel then had no more.
Not on a UNIX stream, where a read also ends at ancillary data, and not once end-of-file, an error or urgent data was
reported (STICKY), because then no further edge need come.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject, PyObject_TypeCheck, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.errno cimport (
    EAGAIN,
    EALREADY,
    EBADF,
    EINPROGRESS,
    EINTR,
    EISCONN,
    errno,
)
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from gevlite._array cimport grown, room_for
from gevlite._core cimport (
    KEEP_BUFFER,
    READ,
    READ_READY,
    STICKY,
    WRITE,
    WRITE_READY,
    FdEntry,
    Hub,
    current_hub,
    errno_raise,
    fd_closed,
    fd_known,
    fd_number,
    fd_number_closed,
    fd_own,
    fd_pass_on,
    fd_wait,
    give_way,
    keep_buffer,
    new_fd_owner,
    next_wait,
    now_ns,
    poll_now,
    take_buffer,
    timeout_ns,
)

import _socket
import functools
import sys
from os import set_blocking                    # the kernel's mode, also when `os` is patched
from types import MemberDescriptorType

from gevlite._core import sleep


cdef extern from "sys/types.h" nogil:
    ctypedef long off_t

cdef extern from "sys/socket.h" nogil:
    struct sockaddr_storage:
        unsigned short ss_family
    ssize_t c_recv "recv"(int fd, void *buf, size_t n, int flags)
    ssize_t c_send "send"(int fd, const void *buf, size_t n, int flags)
    ssize_t c_recvfrom "recvfrom"(int fd, void *buf, size_t n, int flags, sockaddr *addr, socklen_t *addrlen)
    ssize_t c_sendto "sendto"(int fd, const void *buf, size_t n, int flags, const sockaddr *addr, socklen_t addrlen)
    int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
    int AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOL_SOCKET, SO_TYPE
    int MSG_PEEK, MSG_OOB, MSG_WAITALL, MSG_TRUNC

cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/socket.h>
    #include <unistd.h>
    #include <errno.h>
    #ifdef MSG_ERRQUEUE
    #define GEVLITE_NEVER_BLOCK (MSG_DONTWAIT | MSG_ERRQUEUE)
    #else
    #define GEVLITE_NEVER_BLOCK MSG_DONTWAIT
    #endif

    /* The class that has a slot, and where in its instances that is. */
    #define gevlite_slot_class(descriptor) PyDescr_TYPE(descriptor)
    #define gevlite_slot_offset(descriptor) (((PyMemberDescrObject *)(descriptor))->d_member->offset)

    /* A connection that is non-blocking and close-on-exec from the start, where the system can. */
    static int gevlite_accept(int fd, struct sockaddr *addr, socklen_t *addrlen)
    {
    #ifdef SOCK_NONBLOCK
        return accept4(fd, addr, addrlen, SOCK_NONBLOCK | SOCK_CLOEXEC);
    #else
        int got = accept(fd, addr, addrlen);
        if (got >= 0) {
            fcntl(got, F_SETFL, fcntl(got, F_GETFL) | O_NONBLOCK);
            fcntl(got, F_SETFD, FD_CLOEXEC);
        }
        return got;
    #endif
    }

    #include <poll.h>
    #ifndef POLLRDHUP
    #define POLLRDHUP 0
    #endif
    static int gevlite_is_shut(int fd)
    {
        struct pollfd p = {fd, POLLRDHUP, 0};
        return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP);
    }

    #ifdef __linux__
    #include <sys/sendfile.h>
    #define GEVLITE_HAVE_SENDFILE 1
    static ssize_t gevlite_sendfile(int out, int in, long long offset, size_t count)
    {
        off_t at = (off_t)offset;
        return sendfile(out, in, &at, count);
    }
    #else
    #define GEVLITE_HAVE_SENDFILE 0
    static ssize_t gevlite_sendfile(int out, int in, long long offset, size_t count)
    {
        (void)out; (void)in; (void)offset; (void)count;
        errno = ENOSYS;
        return -1;
    }
    #endif
    """
    int GEVLITE_HAVE_SENDFILE
    int NEVER_BLOCK "GEVLITE_NEVER_BLOCK"                   # flags with which the kernel does not wait
    int TRY_ANYWAY "(GEVLITE_NEVER_BLOCK | MSG_OOB)"        # those, and what readiness does not cover
    PyTypeObject *gevlite_slot_class(object descriptor)
    Py_ssize_t gevlite_slot_offset(object descriptor)
    int gevlite_accept(int fd, sockaddr *addr, socklen_t *addrlen)
    bint gevlite_is_shut(int fd) noexcept
    ssize_t gevlite_sendfile(int out, int infd, long long offset, size_t count) nogil

cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **data, Py_ssize_t n) except -1
    object PyUnicode_DecodeFSDefault(const char *text)
    int PySys_Audit(const char *event, const char *form, ...) except -1

# A second connect() returns the result of the first. Elsewhere it may begin another one: SO_ERROR has to be read.
cdef bint ASKING_TELLS = sys.platform == "linux"

HAVE_SENDFILE = bool(GEVLITE_HAVE_SENDFILE)

_StdSocket = _socket.socket

cdef enum:
    SENT_AT_ONCE = 65536            # sendall sends this much without reading the clock
    SENDFILE_AT_ONCE = 1048576
# Seconds between two looks at something that no event reports.
cdef double SHORTEST_NAP = 0.0005
cdef double LONGEST_NAP = 0.02

cdef int64_t UNSET = UNSET_DEADLINE


cdef enum:
    UNFORCED = 0
    FORCED_BLOCKING = 1
    FORCED_NONBLOCKING = 2

cdef struct Numbered:
    PyObject *endpoint      # borrowed
    int forced              # the mode that the program has given the descriptor, bypassing the socket

# The endpoints by their descriptors. `os.read` and its like get a bare number, and see an O_NONBLOCK that is ours:
# which mode the program wants is known only here. The table belongs to the process: a core without the GIL needs a lock
# for it, in each function that says so. Nothing else touches it.
cdef Numbered *by_number = NULL
cdef int n_numbers = 0


cdef void unforce(Endpoint ep) noexcept:
    # Lock: the table's.
    if 0 <= ep.fd < n_numbers and by_number[ep.fd].endpoint == <PyObject *> ep:
        by_number[ep.fd].forced = UNFORCED


cdef class Endpoint:
    """Kept by the fast path with a socket."""

    def __init__(self, int fd, int family, int kind, timeout):
        self.fd = fd
        self.family = family
        self.stream = kind == SOCK_STREAM
        self.tcp = self.stream and (family == AF_INET or family == AF_INET6)
        self.owner = new_fd_owner()
        self.set_timeout(timeout)
        self.note_number()

    cpdef set_timeout(self, timeout):
        """Seconds, 0 for non-blocking, None for no limit. Raises ValueError for a negative or absurd one."""
        cdef double seconds
        if timeout is None:
            unforce(self)
            self.limit = -1
            self.timeout = None
            return
        seconds = timeout
        if seconds != seconds:
            raise ValueError("Invalid value NaN (not a number)")
        if seconds < 0:
            raise ValueError("Timeout value out of range")
        if seconds >= 9.2e9:
            raise OverflowError("timeout is too large")
        unforce(self)
        self.limit = timeout_ns(seconds)
        self.timeout = seconds

    cpdef forget(self):
        """The fd is about to be closed or given away: raise OSError(EBADF) in what waits on it."""
        cdef int fd = self.fd
        if fd >= 0:
            self.forget_number()
            self.fd = -1
            if self.known:
                fd_closed(fd, self.owner)
            # Code that waits for the number alone (select, wait_read) does not know our token.
            fd_number_closed(fd)

    def __dealloc__(self):
        # The socket was dropped without close(): its fd may already have another owner, which is left alone.
        if self.fd >= 0:
            self.forget_number()
            if self.known:
                fd_closed(self.fd, self.owner)

    # The last socket made for a number counts.

    cdef int note_number(self) except -1:
        # Lock: the table's.
        global by_number, n_numbers
        cdef int room
        if self.fd < 0:
            return 0
        if self.fd >= n_numbers:
            room = <int> room_for(self.fd + 1, n_numbers)
            by_number = <Numbered *> grown(by_number, n_numbers, room, sizeof(Numbered), "table of sockets")
            n_numbers = room
        by_number[self.fd].endpoint = <PyObject *> self
        by_number[self.fd].forced = UNFORCED
        return 0

    cdef void forget_number(self) noexcept:
        # Lock: the table's.
        if self.fd < n_numbers and by_number[self.fd].endpoint == <PyObject *> self:
            by_number[self.fd].endpoint = NULL


cdef Endpoint endpoint_of_number(int fd):
    # Lock: the table's, until the reference is taken. An endpoint whose count is 0 already does not count.
    if 0 <= fd < n_numbers and by_number[fd].endpoint != NULL:
        return <Endpoint> by_number[fd].endpoint
    return None


cdef int forced_of_number(int fd) noexcept:
    # Lock: the table's.
    return by_number[fd].forced if 0 <= fd < n_numbers else UNFORCED


cdef void force_number(int fd, int forced) noexcept:
    # Lock: the table's.
    if 0 <= fd < n_numbers:
        by_number[fd].forced = forced


def mode_of(int fd):
    """The mode that the program has given the descriptor: True if it is blocking, False if not.

    None if the descriptor does not belong to a socket of gevlite.
    """
    cdef Endpoint ep = endpoint_of_number(fd)
    cdef int forced = forced_of_number(fd)
    if ep is None:
        return None
    if forced != UNFORCED:
        return forced == FORCED_BLOCKING
    return ep.limit < 0


def set_mode(int fd, bint blocking):
    """Do for a socket of gevlite what `os.set_blocking` does to a socket. False if the descriptor is none of ours.

    As with the original, a time-out goes on to count for the socket's own calls, and the next `settimeout` sets both.
    The descriptor itself stays in non-blocking mode.
    """
    cdef Endpoint ep = endpoint_of_number(fd)
    if ep is None:
        return False
    force_number(fd, FORCED_BLOCKING if blocking else FORCED_NONBLOCKING)
    if not ep.timeout:
        ep.limit = -1 if blocking else 0
    return True


def keeps_boundaries(int fd):
    """True for a socket that sends messages, not a stream of bytes: what is written at once must be sent at once."""
    cdef int kind = SOCK_STREAM
    cdef socklen_t size = sizeof(kind)
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) == 0 and kind != SOCK_STREAM


# Where a socket's endpoint is, for the class of gevlite.socket and classes derived from it: looking up an attribute by
# its name would be a good part of the cost of a call.
cdef PyTypeObject *socket_class = NULL
cdef Py_ssize_t endpoint_offset = 0


def set_endpoint_slot(descriptor):
    """`descriptor` is the slot of the socket class in which its instances keep their endpoint."""
    global socket_class, endpoint_offset
    if type(descriptor) is not MemberDescriptorType:
        raise TypeError(f"a slot was expected, not {descriptor!r}")
    endpoint_offset = gevlite_slot_offset(descriptor)
    socket_class = gevlite_slot_class(descriptor)
    Py_INCREF(<object> socket_class)


cdef Endpoint endpoint(object sock):
    cdef PyObject *found = NULL
    cdef Endpoint ep
    if socket_class != NULL and PyObject_TypeCheck(sock, socket_class):
        found = (<PyObject **> (<char *> <PyObject *> sock + endpoint_offset))[0]
        if found == NULL:
            errno_raise(EBADF)      # made without __init__: never opened
        ep = <Endpoint?> found
    else:
        ep = sock._ep
    if ep.fd < 0:
        errno_raise(EBADF)
    return ep


cdef FdEntry *entry_of(Endpoint ep, Hub hub) noexcept:
    """The running hub's entry of the fd; NULL if it has not met the fd."""
    if ep.hub_serial == hub.serial and ep.entry.owner == ep.owner:
        return ep.entry
    return fd_known(hub, ep.fd, ep.owner) if ep.known else NULL


cdef inline bint may_try(Endpoint ep, FdEntry *entry, int event, int flags) noexcept:
    """False if the system call is known to block."""
    return (
        entry == NULL
        or entry.flags & (READ_READY if event == READ else WRITE_READY)
        or ep.limit == 0
        or flags & TRY_ANYWAY
    )


# Three ways to park after EAGAIN, each on top of the next: wait_or_raise() and wait_until() keep to the socket's time-out,
# wait_within() to one that the caller gives. After one of them the caller must try its operation at once, and then call
# pass_on(): of the waiters for an owned fd, only one is woken (see fd_wait).

cdef int wait_until(Endpoint ep, Hub hub, int event, int64_t *deadline) except -1:
    """Park until the kernel reports the fd. Returns 0 when the socket's time-out is over, else what the fd is ready for.

    Raises OSError(EBADF) if the socket is closed meanwhile. `deadline`: when an operation that waits more than once runs out
    of time; set here at its first wait.
    """
    cdef int64_t remaining = ep.limit
    return wait_within(ep, hub, event, remaining) if next_wait(&remaining, deadline) else 0


cdef int wait_within(Endpoint ep, Hub hub, int event, int64_t limit) except -1:
    """`wait_until` for at most `limit` nanoseconds (-1: for ever), whatever the socket's time-out is."""
    cdef FdEntry *entry
    cdef int got
    entry = fd_own(hub, ep.fd, ep.owner)
    ep.known = True
    ep.entry = entry
    ep.hub_serial = hub.serial
    entry.flags &= ~(READ_READY if event == READ else WRITE_READY)
    got = fd_wait(hub, entry, event, limit)
    if ep.fd < 0:
        errno_raise(EBADF)
    return got


cdef inline int wait_or_raise(Endpoint ep, Hub hub, int event, int flags, int64_t *deadline) except -1:
    """`wait_until` that raises: BlockingIOError if the call may not block, TimeoutError, or OSError(EBADF)."""
    if ep.limit == 0 or flags & NEVER_BLOCK or (flags & MSG_OOB and event == READ):
        # Readiness says nothing about urgent data, and receiving it never blocks (tcp_recv_urg in Linux's
        # net/ipv4/tcp.c).
        errno_raise(EAGAIN)
    if not wait_until(ep, hub, event, deadline):
        raise TimeoutError("timed out")
    return 0


cdef int nap(Endpoint ep, int64_t *deadline, double *length) except -1:
    """Wait a little for something that no kernel reports; longer each time. Raises TimeoutError, or OSError(EBADF)."""
    if ep.limit > 0:
        if deadline[0] == UNSET:
            deadline[0] = now_ns() + ep.limit
        elif now_ns() >= deadline[0]:
            raise TimeoutError("timed out")
    length[0] = min(length[0] * 2, LONGEST_NAP) if length[0] else SHORTEST_NAP
    sleep(length[0])
    if ep.fd < 0:
        errno_raise(EBADF)
    return 0


cdef inline int pass_on(Hub hub, FdEntry *entry) except -1:
    """After an operation: if other greenlets wait for the fd and it is still ready, wake the next one."""
    if entry != NULL and (entry.readers.count or entry.writers.count):
        fd_pass_on(hub, entry)
    return 0


cdef bint must_retry(Hub hub, FdEntry *entry, int code) except -1:
    """A system call failed with `code`. True: make it again; False: it would block. Raises everything else."""
    if code == EINTR:
        try:
            PyErr_CheckSignals()
        except BaseException:
            pass_on(hub, entry)
            raise
        return True
    if code == EAGAIN:
        return False
    pass_on(hub, entry)
    errno_raise(code)


cdef Py_ssize_t system_call(Endpoint ep, FdEntry *entry, int event, void *buf, size_t n, int flags,
                            sockaddr *addr, socklen_t *addrlen) noexcept:
    """One recv, recvfrom, send or sendto. What it returned; -1 leaves `errno`."""
    cdef Py_ssize_t got
    if event == WRITE:
        return c_send(ep.fd, buf, n, flags) if addr == NULL else c_sendto(ep.fd, buf, n, flags, addr, addrlen[0])
    if addr == NULL:
        got = c_recv(ep.fd, buf, n, flags)
    else:
        got = c_recvfrom(ep.fd, buf, n, flags, addr, addrlen)
    if entry != NULL and 0 < got < <Py_ssize_t> n and ep.tcp and not entry.flags & STICKY \
            and not flags & (MSG_PEEK | MSG_OOB):
        entry.flags &= ~READ_READY
    return got


cdef Py_ssize_t transfer_once(Endpoint ep, Hub hub, int event, void *buf, size_t n, int flags,
                              sockaddr *addr, socklen_t *addrlen) except -1:
    """One recv, recvfrom, send or sendto if the fd may be ready. Returns its result, or WOULD_BLOCK."""
    cdef FdEntry *entry
    cdef Py_ssize_t got
    while True:
        entry = entry_of(ep, hub)
        if not may_try(ep, entry, event, flags):
            return WOULD_BLOCK
        got = system_call(ep, entry, event, buf, n, flags, addr, addrlen)
        if got >= 0:
            pass_on(hub, entry)
            return got
        if not must_retry(hub, entry, errno):
            return WOULD_BLOCK


cdef Py_ssize_t transfer(Endpoint ep, Hub hub, int event, void *buf, size_t n, int flags,
                         sockaddr *addr, socklen_t *addrlen, int64_t *deadline) except -1:
    """`transfer_once` until it does something. `buf` must not move meanwhile."""
    cdef Py_ssize_t got
    cdef double length = 0
    cdef bint waited = False
    while True:
        got = transfer_once(ep, hub, event, buf, n, flags, addr, addrlen)
        if got != WOULD_BLOCK:
            return got
        if event == WRITE and unreported(ep, flags):
            nap(ep, deadline, &length)
        elif event == READ and is_shut(ep, entry_of(ep, hub), waited):
            if addr != NULL:
                addrlen[0] = 0
            pass_on(hub, entry_of(ep, hub))
            return 0
        else:
            wait_or_raise(ep, hub, event, flags, deadline)
            waited = True


cdef inline bint is_shut(Endpoint ep, FdEntry *entry, bint waited) noexcept:
    """There is nothing to read: True if `shutdown` was called for the reading side of a datagram socket.

    The kernel reports that to a `recv` that blocks, and only to that (__skb_wait_for_more_packets in Linux's
    net/core/datagram.c). We ask it after a wait that brought nothing, and when it has reported an end.
    """
    return not ep.stream and (waited or entry != NULL and entry.flags & STICKY) and gevlite_is_shut(ep.fd)


cdef bint unreported(Endpoint ep, int flags) except -1:
    """Sending would block. True: for a reason whose end no kernel reports.

    That is the full queue of another UNIX datagram socket that ours is not connected to (unix(7)); ours counts as
    writable all the time.
    """
    return (
        ep.family == AF_UNIX
        and not ep.stream
        and ep.limit != 0
        and not flags & NEVER_BLOCK
        and poll_now(ep.fd, WRITE) != 0
    )


cdef Py_ssize_t receive(Endpoint ep, void *buf, size_t n, int flags, sockaddr *addr, socklen_t *addrlen) except -1:
    """recv or recvfrom into memory that stays while it waits."""
    cdef Hub hub = current_hub()
    cdef int64_t deadline = UNSET
    cdef Py_ssize_t got, filled = 0
    give_way(ep.limit != 0 and not flags & NEVER_BLOCK)
    while True:
        got = transfer(ep, hub, READ, <char *> buf + filled, n - filled, flags, addr, addrlen, &deadline)
        filled += got
        # The kernel does not wait for the whole on a non-blocking socket: we do.
        if not flags & MSG_WAITALL or got == 0 or filled >= <Py_ssize_t> n or not ep.stream or ep.limit == 0 \
                or flags & NEVER_BLOCK:
            return filled


cdef object fresh_bytes(Py_ssize_t size, int flags):
    """A new bytes object to fill; of zeros if the call may report more than it writes."""
    cdef object data = PyBytes_FromStringAndSize(NULL, size)
    if flags & MSG_TRUNC:
        memset(PyBytes_AS_STRING(data), 0, size)
    return data


cdef object fit(bytes data, Py_ssize_t n):
    """`data`, from fresh_bytes, cut to `n` bytes. (With MSG_TRUNC `n`, a datagram's length, may be more than its size.)"""
    if n >= len(data):
        return data
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), n)


def recv(self, Py_ssize_t bufsize, int flags=0, /):
    """Receive up to `bufsize` bytes; block until there is something. `b""`: the other side has finished.

    Raises TimeoutError after the socket's time-out, OSError(EBADF) if another greenlet closes the socket.
    """
    if bufsize < 0:
        raise ValueError("negative buffersize in recv")
    if bufsize == 0:
        return b""              # without a call, which would wait, and remove a datagram
    return receive_bytes(endpoint(self), bufsize, flags, NULL, NULL)


cdef object receive_bytes(Endpoint ep, Py_ssize_t bufsize, int flags, sockaddr *addr, socklen_t *addrlen):
    """recv or recvfrom into a new bytes object."""
    cdef Hub hub
    cdef FdEntry *entry
    cdef PyObject *data
    cdef Py_ssize_t got
    cdef int64_t deadline = UNSET
    cdef bint waited = False
    if flags & (MSG_WAITALL | MSG_TRUNC):
        whole = fresh_bytes(bufsize, flags)
        return fit(whole, receive(ep, PyBytes_AS_STRING(whole), bufsize, flags, addr, addrlen))
    hub = current_hub()
    give_way(ep.limit != 0 and not flags & NEVER_BLOCK)
    while True:
        # As in `transfer`, but no buffer is held while parked: thousands of idle connections would each pin one.
        entry = entry_of(ep, hub)
        if may_try(ep, entry, READ, flags):
            data = take_buffer(hub, bufsize) if bufsize <= KEEP_BUFFER else take_large_buffer(hub, entry, bufsize)
            got = system_call(ep, entry, READ, bytes_at(data), bufsize, flags, addr, addrlen)
            if got >= 0:
                return received(hub, entry, data, bufsize, got)
            if must_retry_recv(hub, entry, data, bufsize, errno):
                continue
            if is_shut(ep, entry, waited):
                if addr != NULL:
                    addrlen[0] = 0
                pass_on(hub, entry)
                return b""
        wait_or_raise(ep, hub, READ, flags, &deadline)
        waited = True


cdef PyObject *take_large_buffer(Hub hub, FdEntry *entry, Py_ssize_t bufsize) except NULL:
    try:
        return take_buffer(hub, bufsize)
    except BaseException:
        pass_on(hub, entry)     # the data that this greenlet was woken for is still there
        raise


cdef object received(Hub hub, FdEntry *entry, PyObject *data, Py_ssize_t bufsize, Py_ssize_t got):
    """The `got` bytes in `data`, which came from the hub.

    Most programs ask for far more than comes. The hub keeps the large object it read into for the next call, and a small
    result is a copy: allocating and shrinking 64 KiB for each request would cost more than the rest of the call.
    """
    cdef object result
    if bufsize > 512 and got <= bufsize >> 2:
        result = PyBytes_FromStringAndSize(bytes_at(data), got)
        keep_buffer(hub, data, bufsize)
    else:
        result = cut_bytes(data, bufsize, got)
    pass_on(hub, entry)
    return result


cdef bint must_retry_recv(Hub hub, FdEntry *entry, PyObject *data, Py_ssize_t bufsize, int code) except -1:
    """`must_retry`, after the buffer was given back."""
    keep_buffer(hub, data, bufsize)
    return must_retry(hub, entry, code)


def recv_into(self, buffer, Py_ssize_t nbytes=0, int flags=0):
    """As `recv`, into `buffer` (at most `nbytes`, 0: its length). Returns the number of bytes."""
    cdef Py_buffer view
    cdef Py_ssize_t room
    _writable(buffer, &view, "recv_into")
    try:
        room = _room(&view, nbytes, "recv_into")
        return receive(endpoint(self), view.buf, room, flags, NULL, NULL) if room else 0
    finally:
        PyBuffer_Release(&view)


cdef int _writable(object buffer, Py_buffer *view, str name) except -1:
    try:
        PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE)
    except (BufferError, TypeError):
        raise TypeError(f"{name}() needs a read-write bytes-like object, not {type(buffer).__name__!r}") from None
    return 0


cdef Py_ssize_t _room(Py_buffer *view, Py_ssize_t nbytes, str name) except -1:
    if nbytes < 0:
        raise ValueError(f"negative buffersize in {name}")
    if nbytes > view.len:
        raise ValueError("nbytes is greater than the length of the buffer")
    return nbytes if nbytes else view.len


def recvfrom(self, Py_ssize_t bufsize, int flags=0, /):
    """Receive up to `bufsize` bytes and the sender's address: `(bytes, address)`. Otherwise as `recv`."""
    cdef Endpoint ep = endpoint(self)
    cdef sockaddr_storage storage
    cdef socklen_t size = sizeof(storage)
    if bufsize < 0:
        raise ValueError("negative buffersize in recvfrom")
    if not plain_family(ep.family):
        return by_original(self, ep, READ, flags, _StdSocket.recvfrom, (bufsize, flags))
    memset(&storage, 0, sizeof(storage))
    data = receive_bytes(ep, bufsize, flags, <sockaddr *> &storage, &size)
    return data, from_sockaddr(&storage, size)


def recvfrom_into(self, buffer, Py_ssize_t nbytes=0, int flags=0):
    """As `recvfrom`, into `buffer`. Returns `(number of bytes, address)`."""
    cdef Endpoint ep = endpoint(self)
    cdef sockaddr_storage storage
    cdef socklen_t size = sizeof(storage)
    cdef Py_ssize_t got
    cdef Py_buffer view
    if not plain_family(ep.family):
        return by_original(self, ep, READ, flags, _StdSocket.recvfrom_into, (buffer, nbytes, flags))
    _writable(buffer, &view, "recvfrom_into")
    try:
        memset(&storage, 0, sizeof(storage))
        got = receive(ep, view.buf, _room(&view, nbytes, "recvfrom_into"), flags, <sockaddr *> &storage, &size)
    finally:
        PyBuffer_Release(&view)
    return got, from_sockaddr(&storage, size)


cdef Py_ssize_t send_some(Endpoint ep, const void *buf, Py_ssize_t n, int flags, sockaddr *addr, socklen_t addrlen,
                          bint whole) except -1:
    """Send from memory that stays: what the kernel takes at once, or all if `whole`. Returns how many it took last."""
    cdef Hub hub = current_hub()
    cdef int64_t deadline = UNSET
    cdef Py_ssize_t sent
    give_way(ep.limit != 0 and not flags & NEVER_BLOCK)
    if whole and ep.limit > 0 and n > SENT_AT_ONCE:
        deadline = now_ns() + ep.limit
    while True:
        sent = transfer(ep, hub, WRITE, <void *> buf, n, flags, addr, &addrlen, &deadline)
        if not whole or sent >= n:
            return sent
        buf = <char *> buf + sent
        n -= sent


def send(self, data, int flags=0, /):
    """Send bytes; block until some can be taken. Returns how many were."""
    cdef Endpoint ep = endpoint(self)
    cdef Py_buffer view
    if type(data) is bytes:
        return send_some(ep, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), flags, NULL, 0, False)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return send_some(ep, view.buf, view.len, flags, NULL, 0, False)
    finally:
        PyBuffer_Release(&view)


def sendall(self, data, int flags=0, /):
    """Send all of the bytes; block until the last was taken. The socket's time-out is for the whole.

    After an error it is unknown how much was sent.
    """
    cdef Endpoint ep = endpoint(self)
    cdef Py_buffer view
    if type(data) is bytes:
        send_some(ep, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), flags, NULL, 0, True)
        return
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        send_some(ep, view.buf, view.len, flags, NULL, 0, True)
    finally:
        PyBuffer_Release(&view)


def sendto(self, data, /, *flags_and_address):
    """`sendto(data, address)` or `sendto(data, flags, address)`: send a datagram; block until it can be taken."""
    cdef Endpoint ep = endpoint(self)
    cdef sockaddr_storage storage
    cdef socklen_t size
    cdef int flags = 0
    cdef Py_buffer view
    cdef Py_ssize_t more = len(flags_and_address)
    if more == 1:
        address = flags_and_address[0]
    elif more == 2:
        flags, address = flags_and_address
    else:
        raise TypeError(f"sendto() takes 2 or 3 arguments ({more + 1} given)")
    size = to_sockaddr(ep.family, address, &storage)
    if size == 0:
        # A name, or a family that only the original can translate.
        resolved = self._resolved(address)
        size = to_sockaddr(ep.family, resolved, &storage)
        if size == 0:
            return by_original(self, ep, WRITE, flags, _StdSocket.sendto, (data, flags, resolved))
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        PySys_Audit("socket.sendto", "OO", <PyObject *> self, <PyObject *> address)
        return send_some(ep, view.buf, view.len, flags, <sockaddr *> &storage, size, False)
    finally:
        PyBuffer_Release(&view)


def accept_fd(self):
    """Block until a client connects; return `(fd, address)`. The fd is non-blocking and not inheritable."""
    cdef Endpoint ep = endpoint(self)
    cdef Hub hub = current_hub()
    cdef int64_t deadline = UNSET
    cdef sockaddr_storage storage
    cdef socklen_t size
    cdef FdEntry *entry
    cdef int fd
    give_way(ep.limit != 0)
    if not plain_family(ep.family):
        fd, address = by_original(self, ep, READ, 0, _StdSocket._accept, ())
        set_blocking(fd, False)
        return fd, address
    while True:
        entry = entry_of(ep, hub)
        if may_try(ep, entry, READ, 0):
            size = sizeof(storage)
            memset(&storage, 0, sizeof(storage))
            fd = gevlite_accept(ep.fd, <sockaddr *> &storage, &size)
            if fd >= 0:
                pass_on(hub, entry)
                return fd, from_sockaddr(&storage, size)
            if must_retry(hub, entry, errno):
                continue
        wait_or_raise(ep, hub, READ, 0, &deadline)


def connect_wait(self, address):
    """Start to connect, block until it is decided, and return the errno: 0 if connected.

    Raises TimeoutError after the socket's time-out. In non-blocking mode, returns EINPROGRESS at once.
    """
    cdef Endpoint ep = endpoint(self)
    cdef Hub hub = current_hub()
    cdef int64_t deadline = UNSET
    cdef double length = 0
    cdef int code
    while True:
        code = _StdSocket.connect_ex(self, address)
        if code == EINTR:
            PyErr_CheckSignals()
            continue
        if code != EAGAIN or ep.family != AF_UNIX or ep.limit == 0:
            break
        # A UNIX listener's backlog is full, and nothing reports that there is room again (connect(2), EAGAIN).
        nap(ep, &deadline, &length)
    if (code != EINPROGRESS and code != EALREADY) or ep.limit == 0:
        return code
    try:
        return connect_end(self, ep, hub, address, &deadline)
    finally:
        pass_on(hub, entry_of(ep, hub))     # others may wait until they can send


cdef int connect_end(object self, Endpoint ep, Hub hub, object address, int64_t *deadline) except -1:
    """Wait until a connection that has been begun is decided. Returns the errno."""
    cdef int code
    while True:
        wait_or_raise(ep, hub, WRITE, 0, deadline)
        if not ASKING_TELLS:
            code = self.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if code:
                return code
        # Asking again ends the attempt on Linux, which otherwise would accept one more connect() before it says
        # EISCONN, or refuse the next one with ECONNABORTED. EALREADY: reported too early, as happens once in a while.
        code = _StdSocket.connect_ex(self, address)
        if code == EISCONN:
            return 0
        if code != EALREADY and code != EINPROGRESS:
            return code


cdef object by_original(object self, Endpoint ep, int event, int flags, object method, tuple args):
    """An operation that is left to the standard library's C code, which knows how to translate its arguments.

    We first ask the kernel whether it would block: an exception would cost more.
    """
    cdef Hub hub = current_hub()
    cdef int64_t deadline = UNSET
    cdef double length = 0
    give_way(ep.limit != 0 and not flags & NEVER_BLOCK)
    while True:
        if ep.limit == 0 or flags & TRY_ANYWAY or poll_now(ep.fd, event):
            try:
                result = method(self, *args)
            except BlockingIOError:
                if ep.limit == 0 or flags & NEVER_BLOCK:
                    raise
                if event == READ and is_shut(ep, NULL, True):
                    return of_shut(self, ep, hub, method, args)
                if event == WRITE and unreported(ep, flags):
                    nap(ep, &deadline, &length)
                    continue
            except BaseException:
                pass_on(hub, entry_of(ep, hub))
                raise
            else:
                pass_on(hub, entry_of(ep, hub))
                return result
        wait_or_raise(ep, hub, event, flags, &deadline)


cdef object of_shut(object self, Endpoint ep, Hub hub, object method, tuple args):
    """What the method returns for a socket that is shut for reading: at once, since it may block."""
    set_blocking(ep.fd, True)
    try:
        return method(self, *args)
    finally:
        set_blocking(ep.fd, False)
        pass_on(hub, entry_of(ep, hub))


def recvmsg(self, Py_ssize_t bufsize, Py_ssize_t ancbufsize=0, int flags=0, /):
    """As the original; blocks cooperatively."""
    if bufsize < 0:
        raise ValueError("negative buffer size in recvmsg()")
    if ancbufsize < 0:
        raise ValueError("invalid ancillary data buffer length")
    return by_original(self, endpoint(self), READ, flags, _StdSocket.recvmsg, (bufsize, ancbufsize, flags))


def recvmsg_into(self, buffers, Py_ssize_t ancbufsize=0, int flags=0, /):
    """As the original; blocks cooperatively."""
    if ancbufsize < 0:
        raise ValueError("invalid ancillary data buffer length")
    # A list, because the call may have to be made again.
    return by_original(self, endpoint(self), READ, flags, _StdSocket.recvmsg_into, (list(buffers), ancbufsize, flags))


def sendmsg(self, buffers, ancdata=(), int flags=0, address=None, /):
    """As the original; blocks cooperatively until something can be taken."""
    if address is not None:
        address = self._resolved(address)
    cdef tuple arguments = (list(buffers), list(ancdata), flags, address)
    return by_original(self, endpoint(self), WRITE, flags, _StdSocket.sendmsg, arguments)


if hasattr(_StdSocket, "sendmsg_afalg"):

    def sendmsg_afalg(self, *args, **kwargs):
        """As the original; blocks cooperatively until the kernel can take it."""
        method = functools.partial(_StdSocket.sendmsg_afalg, **kwargs)
        return by_original(self, endpoint(self), WRITE, 0, method, args)


cdef Py_ssize_t sendfile_once(Endpoint ep, Hub hub, int in_fd, long long offset, size_t n) except -1:
    """One sendfile, or WOULD_BLOCK. Returns how many bytes the kernel took, 0 at the end of the file."""
    cdef FdEntry *entry = entry_of(ep, hub)
    cdef Py_ssize_t sent
    while may_try(ep, entry, WRITE, 0):
        with nogil:
            sent = gevlite_sendfile(ep.fd, in_fd, offset, n)
        if sent >= 0:
            pass_on(hub, entry)
            return sent
        if not must_retry(hub, entry, errno):
            break
    return WOULD_BLOCK


def sendfile_some(self, int in_fd, long long offset, Py_ssize_t count):
    """Send up to `count` bytes of the file `in_fd` from `offset` (count < 0: to its end) by sendfile(2).

    Returns how many bytes the kernel took, 0 at the end of the file. Raises OSError as the call does: EINVAL and ENOSYS
    mean the wrong kind of file.
    """
    cdef Endpoint ep = endpoint(self)
    cdef Hub hub = current_hub()
    cdef int64_t deadline = UNSET
    cdef Py_ssize_t sent
    # Bounded, because the file may have to be read from a disk meanwhile.
    cdef size_t chunk = SENDFILE_AT_ONCE
    if 0 <= count < SENDFILE_AT_ONCE:
        chunk = count
    give_way(ep.limit != 0)
    while True:
        sent = sendfile_once(ep, hub, in_fd, offset, chunk)
        if sent != WOULD_BLOCK:
            return sent
        wait_or_raise(ep, hub, WRITE, 0, &deadline)


# ---------------------------------------------------------------- waiting for any descriptor

def wait_on(fileno, int events, timeout, timeout_exc):
    """Block until the descriptor is ready; raise `timeout_exc` after `timeout` seconds."""
    cdef int fd = fd_number(fileno)
    if not current_hub().wait_fd(fd, events, timeout):
        raise timeout_exc if timeout_exc is not None else TimeoutError("timed out")


# ---------------------------------------------------------------- bytes that shrink

cdef extern from "Python.h":
    char *bytes_at "PyBytes_AS_STRING"(PyObject *data)
    object steal_bytes "(PyObject *)"(PyObject *data)


cdef object cut_bytes(PyObject *data, Py_ssize_t size, Py_ssize_t n):
    if n != size:
        _PyBytes_Resize(&data, n)
    return steal_bytes(data)


include "_addresses.pxi"
