"""poll (every POSIX system).

The traps of the interface, and how the promise of `Backend` is kept:

* It is level-triggered: what is ready stays ready. So a descriptor is watched only while something waits for it,
  and for one report at a time (`adopt` returns False, and the hub arms each wait).
* The kernel walks the whole array at each call. So it is kept compact: a descriptor's number leads to its place, and the
  last one moves into the place that another leaves. Both are O(1), and only what a greenlet waits for costs anything.
* POLLERR, POLLHUP and POLLNVAL come whether or not they were asked for. Each is reported as ready in both directions: the
  waiter tries the operation and gets the end of file or the error. POLLNVAL, for a descriptor that was closed without
  our knowledge, comes for that descriptor alone; macOS also reports it for some devices (poll(2), BUGS), where kqueue
  and select do better.
* Only the next call of poll(2) reports that a number is closed: so `arm` checks with fcntl(2) first.
* The time-out counts in milliseconds and is rounded up, so that a timer never fires early. Where there is ppoll(2), or
  pollts(2) as NetBSD calls it, it takes nanoseconds.
* More descriptors than RLIMIT_NOFILE are EINVAL. Each has a number below that limit, so this takes a limit that was lowered
  while more than so many were open.
"""

from cpython.exc cimport PyErr_SetFromErrno
from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from gevlite._array cimport grown, room_for
from gevlite._core cimport END, READ, WRITE, Backend, run_signal_handlers


cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN, POLLOUT, POLLERR, POLLHUP, POLLNVAL

cdef extern from "fcntl.h" nogil:
    int fcntl(int fd, int cmd, ...)
    int F_GETFD

cdef extern from *:
    """
    #include <poll.h>
    #include <signal.h>
    #include <time.h>

    #ifdef __NetBSD__
    #define GEVLITE_PPOLL pollts
    #elif defined(__linux__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
    #define GEVLITE_PPOLL ppoll
    #endif

    /* timeout_ns < 0: for ever. */
    static int gevlite_poll(struct pollfd *items, unsigned int count, long long timeout_ns)
    {
    #ifdef GEVLITE_PPOLL
        struct timespec t;
        t.tv_sec = timeout_ns / 1000000000;
        t.tv_nsec = timeout_ns % 1000000000;
        return GEVLITE_PPOLL(items, count, timeout_ns < 0 ? NULL : &t, NULL);
    #else
        return poll(items, count, timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
    #endif
    }
    """
    int gevlite_poll(pollfd *items, unsigned int count, long long timeout_ns) nogil


cdef class PollBackend(Backend):
    """poll(): level-triggered, interest armed for one report, descriptors of any number."""

    late_after_fork = True

    cdef pollfd *items      # what is watched; the first is the wake pipe
    cdef int count
    cdef int capacity
    cdef int *places        # by descriptor: its place in `items`, 0 if it has none
    cdef int n_places

    def __cinit__(self):
        self._forget_all()

    def _forget_all(self):
        if self.n_places:
            memset(self.places, 0, self.n_places * sizeof(int))
        self.count = 0
        self.append(self.wake_fd)
        self.items[0].events = POLLIN

    @property
    def name(self):
        return "poll"

    cdef int append(self, int fd) except -1:
        """Give `fd` a place at the end, and room for its number."""
        cdef int room
        if self.count == self.capacity:
            room = <int> room_for(self.count + 1, self.capacity)
            self.items = <pollfd *> grown(self.items, self.capacity, room, sizeof(pollfd), "poll backend")
            self.capacity = room
        if fd >= self.n_places:
            room = <int> room_for(fd + 1, self.n_places)
            self.places = <int *> grown(self.places, self.n_places, room, sizeof(int), "poll backend")
            self.n_places = room
        self.items[self.count].fd = fd
        self.items[self.count].revents = 0
        self.places[fd] = self.count
        self.count += 1
        return 0

    cdef int remove(self, int place) noexcept:
        """Free the place: the last item moves into it."""
        self.places[self.items[place].fd] = 0
        self.count -= 1
        if place < self.count:
            self.items[place] = self.items[self.count]
            self.places[self.items[place].fd] = place
        return 0

    cpdef arm(self, int fd, int events):
        if fcntl(fd, F_GETFD) < 0:
            PyErr_SetFromErrno(OSError)
        if fd >= self.n_places or not self.places[fd]:
            self.append(fd)
        self.items[self.places[fd]].events = (POLLIN if events & READ else 0) | (POLLOUT if events & WRITE else 0)

    cpdef drop(self, int fd):
        if 0 <= fd < self.n_places and self.places[fd]:
            self.remove(self.places[fd])

    cpdef poll(self, int64_t timeout_ns):
        cdef int n, place, got
        cdef short mask
        if timeout_ns == 0:
            n = gevlite_poll(self.items, self.count, 0)
        else:
            with nogil:
                n = gevlite_poll(self.items, self.count, timeout_ns)
        if n < 0:
            if errno != EINTR:
                PyErr_SetFromErrno(OSError)
            run_signal_handlers(True)
            return
        # From the end: an item that then moves into a free place has been looked at already.
        place = self.count - 1
        while n > 0 and place > 0:
            mask = self.items[place].revents
            if mask:
                n -= 1
                got = 0
                if mask & (POLLIN | POLLERR | POLLHUP | POLLNVAL):
                    got |= READ
                if mask & (POLLOUT | POLLERR | POLLHUP | POLLNVAL):
                    got |= WRITE
                if mask & (POLLERR | POLLHUP | POLLNVAL):
                    got |= END
                self.found_one(self.items[place].fd, got)
                self.remove(place)
            place -= 1
        if n > 0:
            run_signal_handlers(self.drain_wake() > 0)

    cpdef after_fork(self):
        Backend.after_fork(self)
        self._forget_all()

    def __dealloc__(self):
        free(self.items)
        free(self.places)
