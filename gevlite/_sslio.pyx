"""TLS over the socket fast path: let OpenSSL try, and between two tries wait for what it asks for.

OpenSSL works on the descriptor itself, which never blocks: where it would have to wait, it raises WANT_READ or
WANT_WRITE. Only then is it known that the kernel has nothing (or takes nothing), so that the readiness flag of an
edge-triggered fd can be cleared. Also:

* Building that exception costs more than asking the kernel. After a read that succeeded (`quiet`), OpenSSL holds
  nothing back except what `pending()` counts, since it reads from the kernel one record at a time: if that is 0 and
  the kernel has nothing, the read would block, and need not be tried.
* A record that was begun must be finished with the same data (SSL_write(3), "repeated with the same arguments"). Writes
  of different greenlets therefore take turns.
* A read may have to wait until it can write, and a write until it can read (renegotiation, key update). A call of
  another greenlet can take from the kernel what such a `crossed` call waits for, and then the kernel reports nothing
  more. So while there is a crossed call, every call ends with a nudge for all that wait on this socket. A nudged call
  does not nudge.
"""

from libc.stdint cimport int64_t

from gevlite._core cimport (
    READ,
    READ_READY,
    WRITE,
    FdEntry,
    Hub,
    current_hub,
    fd_pass_on,
    give_way_if_due,
    notify_all,
    notify_one,
    now_ns,
    poll_now,
)
from gevlite._socketio cimport UNSET_DEADLINE, Endpoint, endpoint, entry_of, wait_until

from _ssl import SSLWantReadError, SSLWantWriteError

from gevlite.lock import Semaphore

# A waiter is woken with this instead of READ or WRITE: the kernel reports nothing new, but try again.
cdef enum:
    NUDGE = 16
    RECORD = 16384


cdef class Conversation:
    """A TLS socket's state beside that of OpenSSL. Its methods make one call of OpenSSL and block until it is done.

    Each raises what the call raises, TimeoutError after the socket's time-out, OSError(EBADF) if another greenlet
    closes the socket, and in non-blocking mode SSLWantReadError and SSLWantWriteError.
    """

    cdef object write_turn
    cdef bint quiet             # the last read succeeded
    cdef int crossed            # how many calls wait for the other direction than their own

    def __cinit__(self):
        self.write_turn = Semaphore(1)

    def read(self, sock, sslobj, Py_ssize_t size, buffer=None):
        """Up to `size` bytes; or, into `buffer`, the number of bytes."""
        cdef Endpoint ep = endpoint(sock)
        cdef int64_t deadline = UNSET_DEADLINE
        cdef FdEntry *entry
        cdef Hub hub
        cdef int woken_by = 0
        if ep.limit != 0:
            give_way_if_due()       # before we ask the kernel: it may always have something
            ep = endpoint(sock)
        if self.quiet and ep.limit != 0 and (size > 0 or buffer is not None) and not sslobj.pending():
            hub = current_hub()
            entry = entry_of(ep, hub)
            if (entry != NULL and not entry.flags & READ_READY) or not poll_now(ep.fd, READ):
                woken_by = self.wait(ep, hub, READ, READ, &deadline, "The read operation timed out")
        self.quiet = False
        if buffer is None:
            result = self.converse(ep, sslobj.read, (size,), READ, "The read operation timed out", &deadline, woken_by)
        else:
            result = self.converse(ep, sslobj.read, (size, buffer), READ, "The read operation timed out", &deadline, woken_by)
        # b"" or 0 is the end: there the kernel reports nothing more, and another read must return that at once.
        self.quiet = bool(result)
        entry = entry_of(ep, current_hub())
        if entry != NULL and entry.readers.count and sslobj.pending():
            # There is more of the same record: the kernel does not know about it.
            notify_one(&entry.readers, READ)
        return result

    def write(self, sock, sslobj, data):
        """Send some of `data`; returns how many bytes."""
        cdef Endpoint ep = endpoint(sock)
        cdef int64_t deadline = UNSET_DEADLINE
        if ep.limit != 0:
            give_way_if_due()
        if not self.write_turn.acquire(False):
            if ep.limit == 0:
                raise SSLWantWriteError(3, "another greenlet's write is not finished")
            if ep.limit > 0:
                deadline = now_ns() + ep.limit
            if not self.write_turn.acquire(True, ep.timeout):
                raise TimeoutError("The write operation timed out")
        try:
            ep = endpoint(sock)         # raises if it was closed meanwhile
            return self.converse(ep, sslobj.write, (data,), WRITE, "The write operation timed out", &deadline, 0)
        finally:
            self.write_turn.release()

    def write_all(self, sock, sslobj, data):
        """Send all of `data`, in pieces as OpenSSL takes them: one record, 16 KiB."""
        cdef Py_ssize_t done = 0, size
        if type(data) is bytes and 0 < len(data) <= RECORD:
            done = self.write(sock, sslobj, data)
            if done == len(data):
                return
        with memoryview(data) as view, view.cast("B") as octets:
            size = len(octets)
            while done < size:
                done += self.write(sock, sslobj, octets[done:])

    def call(self, sock, operation, timed_out=None):
        """`operation()`: a handshake or a shutdown. timed_out: the message; None names the direction it waited for."""
        cdef Endpoint ep = endpoint(sock)
        cdef int64_t deadline = UNSET_DEADLINE
        self.quiet = False
        return self.converse(ep, operation, (), 0, timed_out, &deadline, 0)

    cdef object converse(self, Endpoint ep, object operation, tuple args, int direction, str timed_out,
                         int64_t *deadline, int woken_by):
        cdef Hub hub = current_hub()
        cdef int event
        while True:
            try:
                result = operation(*args)
            except SSLWantReadError:
                if ep.limit == 0:
                    raise
                event = READ
            except SSLWantWriteError:
                if ep.limit == 0:
                    raise
                event = WRITE
            except BaseException:
                self.tell_others(ep, hub, woken_by)
                raise
            else:
                self.tell_others(ep, hub, woken_by)
                return result
            if event != direction:
                self.quiet = False
            if self.crossed or woken_by & ~event:
                self.tell_others(ep, hub, woken_by)
            woken_by = self.wait(ep, hub, event, direction, deadline, timed_out)

    cdef int wait(self, Endpoint ep, Hub hub, int event, int direction, int64_t *deadline, str timed_out) except -1:
        cdef int got
        if event == direction:
            got = wait_until(ep, hub, event, deadline)
        else:
            self.crossed += 1
            try:
                got = wait_until(ep, hub, event, deadline)
            finally:
                self.crossed -= 1
        if not got:
            raise TimeoutError(timed_out or f"The {'read' if event == READ else 'write'} operation timed out")
        return got

    cdef int tell_others(self, Endpoint ep, Hub hub, int woken_by) except -1:
        """OpenSSL was called: wake other greenlets that wait on this socket, if they may be able to go on."""
        cdef FdEntry *entry = entry_of(ep, hub)
        if entry == NULL or not (entry.readers.count or entry.writers.count):
            return 0
        if self.crossed and not woken_by & NUDGE:
            notify_all(&entry.readers, NUDGE)
            notify_all(&entry.writers, NUDGE)
        else:
            fd_pass_on(hub, entry)
        return 0
