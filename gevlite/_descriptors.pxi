# Part of _core.pyx: what a hub knows of file descriptors, and how greenlets wait for them. See "Descriptors" in
# docs/design.md.

cdef PyObject *take_buffer(Hub hub, Py_ssize_t size) except NULL:
    """A bytes object of `size` bytes for the caller alone, to be filled before anything else runs."""
    cdef PyObject *data = hub.buffer
    if data != NULL and hub.buffer_size == size:
        hub.buffer = NULL
        return data
    return bytes_new(NULL, size)


cdef int keep_buffer(Hub hub, PyObject *data, Py_ssize_t size) except -1:
    """Take over an object from `take_buffer` that is not needed after all."""
    if 512 < size <= KEEP_BUFFER and not hub.closed:
        data, hub.buffer = hub.buffer, data
        hub.buffer_size = size
    Py_XDECREF(data)
    return 0


cdef FdEntry *fd_entry(Hub hub, int fd) except NULL:
    cdef FdEntry *entry
    if fd < 0:
        errno_raise(EBADF)
    entry = fd_at(hub, fd)
    if entry == NULL:
        # Never freed before the hub: pointers to it stay valid across a park.
        entry = <FdEntry *> calloc(1, sizeof(FdEntry))
        if entry == NULL:
            raise MemoryError("fd table")
        entry.fd = fd
        try:
            fd_put(hub, fd, entry)
        except BaseException:
            free(entry)
            raise
    return entry


cdef FdEntry *fd_known(Hub hub, int fd, uint64_t owner) noexcept:
    """The entry of an owned fd that this hub has met, or NULL."""
    cdef FdEntry *entry = fd_at(hub, fd)
    return entry if entry != NULL and entry.owner == owner else NULL


cdef FdEntry *fd_own(Hub hub, int fd, uint64_t owner) except NULL:
    """The entry of `fd`, which belongs to the socket `owner`. What an earlier owner left is cleared."""
    cdef FdEntry *entry = fd_entry(hub, fd)
    if entry.owner != owner:
        if entry.owner:
            fd_reset(hub, entry, closed_error())
        entry.owner = owner
        # Its readiness is not known: try before waiting.
        entry.flags = OWNED | READ_READY | WRITE_READY
    return entry


cdef int fd_set_armed(Hub hub, FdEntry *entry, int events) except -1:
    if entry.armed and not events:
        hub.watched_fds -= 1
    elif events and not entry.armed:
        hub.watched_fds += 1
    entry.armed = events
    return 0


cdef int fd_rearm(Hub hub, FdEntry *entry) except -1:
    """Have the backend watch for everything that the waiters of `entry` wait for."""
    cdef int want
    if entry.flags & ADOPTED:
        return 0
    if entry.flags & OWNED and hub.front.adopt(entry.fd):
        fd_set_armed(hub, entry, 0)
        entry.flags |= ADOPTED
        hub.watched_fds += 1
        return 0
    want = (READ if entry.readers.count else 0) | (WRITE if entry.writers.count else 0)
    if want:
        hub.front.arm(entry.fd, want)
        fd_set_armed(hub, entry, want)
    return 0


cdef int fd_rearm_all(Hub hub) except -1:
    """The hub's backend is new: have it watch for everything that is waited for."""
    cdef int i
    cdef FdEntry *entry
    hub.watched_fds = 0
    for i in range(hub.fds_size):
        entry = hub.fds[i]
        if entry == NULL:
            continue
        entry.armed = 0
        if entry.flags & OWNED:
            entry.flags = OWNED | READ_READY | WRITE_READY
        if entry.readers.count or entry.writers.count:
            try:
                fd_rearm(hub, entry)
            except Exception as exc:
                fd_fail(hub, entry, exc)
    return 0


cdef int fd_fail_closed(Hub hub) except -1:
    """Raise EBADF in all that waits for a number that is not open, before the hub's backend may get this number itself."""
    cdef int i
    cdef FdEntry *entry
    for i in range(hub.fds_size):
        entry = hub.fds[i]
        if entry != NULL and (entry.readers.count or entry.writers.count):
            if fcntl(entry.fd, F_GETFD) < 0:
                fd_fail(hub, entry, OSError(EBADF, os.strerror(EBADF)))
    return 0


cdef int fd_ask(Hub hub, FdEntry *entry, int events) except -1:
    """Ask the kernel, and not only the flags, which of `events` are ready on an owned fd; update the flags."""
    cdef int got = poll_now(entry.fd, events)
    entry.flags &= ~((READ_READY if events & READ else 0) | (WRITE_READY if events & WRITE else 0))
    entry.flags |= (READ_READY if got & READ else 0) | (WRITE_READY if got & WRITE else 0)
    return got


cdef int fd_wait(Hub hub, FdEntry *entry, int events, int64_t limit) except -1:
    """Park until the fd may be ready for READ, WRITE or either. Returns what it was woken with, 0 after the time-out.

    On an owned fd one waiter is woken at a time, and the others rely on it: a caller that gets events from here does
    its operation at once, and then calls `fd_pass_on`, also if the operation failed. That wakes the next waiter if the
    fd is still ready. Without it the next waiter would wait for an edge that may never come. When this returns 0 or
    raises, it has called `fd_pass_on` itself.
    """
    cdef Waiter w = new_waiter(hub, WAIT_READ if events & READ else WAIT_WRITE, NULL)
    cdef _ForwardPlace second = None
    cdef object result
    w.detail = entry.fd
    waitlist_append(&entry.readers if events & READ else &entry.writers, w)
    if events == READ | WRITE:
        second = forward(&entry.writers, w)
    hub.fd_waiters += 1
    try:
        fd_rearm(hub, entry)
        result = w.park_for(limit)
    except BaseException:
        fd_leave(hub, entry, w, second)
        fd_pass_on(hub, entry)
        raise
    fd_leave(hub, entry, w, second)
    free_waiter(w)
    if result is None:
        fd_pass_on(hub, entry)
        return 0
    return result


cdef int fd_leave(Hub hub, FdEntry *entry, Waiter w, _ForwardPlace second) except -1:
    hub.fd_waiters -= 1
    waitlist_remove(w)
    if second is not None:
        waitlist_remove(second)
    if entry.armed:
        fd_disarm(hub, entry)
    return 0


cdef int fd_disarm(Hub hub, FdEntry *entry) except -1:
    """A waiter has left: have the backend watch for no more than the others wait for."""
    cdef int want = (READ if entry.readers.count else 0) | (WRITE if entry.writers.count else 0)
    if entry.armed & ~want == 0:
        return 0
    if not want:
        fd_drop(hub, entry)
        return fd_set_armed(hub, entry, 0)
    try:
        hub.front.arm(entry.fd, want)
    except BaseException as exc:
        # Closed meanwhile, or the backend failed: the waiters that are left would wait for ever.
        fd_set_armed(hub, entry, 0)
        return fd_fail(hub, entry, exc)
    return fd_set_armed(hub, entry, want)


cdef int fd_drop(Hub hub, FdEntry *entry) except -1:
    """Have the backend forget the fd. An error is only reported, since the caller has more to clear up."""
    try:
        hub.front.drop(entry.fd)
    except OSError:
        pass            # closed meanwhile
    except BaseException as exc:
        hub._report(hub.backend, exc)
    return 0


cdef int fd_pass_on(Hub hub, FdEntry *entry) except -1:
    """Wake the next waiter if the fd is still ready.

    This asks the kernel: waking a greenlet for nothing would cost more, and the greenlet would lose its place in the
    list. To be called by each waiter that may have got a report and has not used it up: see fd_wait.
    """
    cdef int events = 0
    if entry.flags & READ_READY and entry.readers.count:
        events |= READ
    if entry.flags & WRITE_READY and entry.writers.count:
        events |= WRITE
    if events:
        try:
            events = fd_ask(hub, entry, events)
        except OSError:
            pass            # closed without our knowledge: a waiter that tries it finds out
        if events & READ:
            notify_one(&entry.readers, READ_NEWS)
        if events & WRITE:
            notify_one(&entry.writers, WRITE_NEWS)
    return 0


cdef int fd_event(Hub hub, int fd, int events) except -1:
    cdef FdEntry *entry = fd_at(hub, fd)
    if entry == NULL:
        return 0
    if entry.flags & OWNED:
        if events & (END | URGENT):
            entry.flags |= STICKY
        # Wake one waiter for each direction: it does its operation and passes on what is left.
        if events & READ:
            entry.flags |= READ_READY
            notify_one(&entry.readers, READ_NEWS)
        if events & WRITE:
            entry.flags |= WRITE_READY
            notify_one(&entry.writers, WRITE_NEWS)
        if entry.flags & ADOPTED:
            return 0
    else:
        if events & READ:
            notify_all(&entry.readers, READ_NEWS)
        if events & WRITE:
            notify_all(&entry.writers, WRITE_NEWS)
    # It was armed for one report.
    fd_set_armed(hub, entry, 0)
    if entry.readers.count or entry.writers.count:
        try:
            fd_rearm(hub, entry)
        except BaseException as exc:
            # Raise it in the waiters of this fd alone: the other reports of this poll must not be lost.
            fd_fail(hub, entry, exc)
    return 0


cdef int fd_fail(Hub hub, FdEntry *entry, object exc) except -1:
    """Raise `exc` in every waiter of the fd."""
    cdef Place place
    while True:
        place = waitlist_pop(&entry.readers)
        if place is None:
            place = waitlist_pop(&entry.writers)
        if place is None:
            return 0
        place.fail(exc)


cdef int fd_reset(Hub hub, FdEntry *entry, object exc) except -1:
    fd_fail(hub, entry, exc)
    if entry.flags & ADOPTED:
        hub.watched_fds -= 1
    if entry.flags & ADOPTED or entry.armed:
        fd_drop(hub, entry)
    fd_set_armed(hub, entry, 0)
    entry.flags = 0
    entry.owner = 0
    return 0


cdef int fd_forget(Hub hub, int fd, uint64_t owner, object exc) except -1:
    """`fd` is about to be closed: drop its registration, and raise `exc` in whatever waits for it.

    owner: forget only what this socket registered; 0: whatever there is.
    """
    cdef FdEntry *entry = fd_at(hub, fd)
    if entry == NULL:
        return 0
    if owner and entry.owner != owner:
        return 0
    return fd_reset(hub, entry, exc)


cdef int wait_until_ready(Hub hub, int fd, int events, object timeout) except -1:
    """`Hub.wait_fd`."""
    cdef int got
    cdef FdEntry *entry
    cdef int64_t limit, deadline
    if events & ~(READ | WRITE) or not events:
        raise ValueError("events must be READ, WRITE or READ | WRITE")
    hub._check_thread("wait_fd")
    entry = fd_entry(hub, fd)
    limit = timeout_ns(timeout)
    deadline = deadline_of(limit)
    while True:
        if entry.flags & OWNED:
            # Its readiness was reported once, and perhaps not to us: ask the kernel, before a wait and after it.
            got = fd_ask(hub, entry, events)
            if got:
                fd_pass_on(hub, entry)
                return got
        got = fd_wait(hub, entry, events, limit)
        if not got:
            return 0
        if not entry.flags & OWNED:
            if events == READ | WRITE:
                got |= ready_or_nothing(fd, events)     # the first event woke us; there may be more
            return got
        limit = time_left(deadline)


cdef bint wait_until_any(Hub hub, object pairs, object timeout) except -1:
    """`Hub.wait_fds`."""
    cdef Waiter w
    cdef FdEntry *entry
    cdef list places = []
    cdef list fds = []
    cdef int fd, events
    cdef int64_t limit = timeout_ns(timeout)
    hub._check_thread("wait_fds")
    w = new_waiter(hub, WAIT_FDS, <PyObject *> fds)
    try:
        for fd, events in pairs:
            entry = fd_entry(hub, fd)
            fds.append(fd)
            if events & READ:
                places.append(forward(&entry.readers, w))
            if events & WRITE:
                places.append(forward(&entry.writers, w))
            fd_rearm(hub, entry)
        w.detail = <int> len(fds)
        hub.fd_waiters += len(fds) > 0
        try:
            w.park_for(limit)
        finally:
            hub.fd_waiters -= len(fds) > 0
    finally:
        for place in places:
            waitlist_remove(place)
        for fd in fds:
            entry = hub.fds[fd]
            if entry.armed:
                fd_disarm(hub, entry)
            fd_pass_on(hub, entry)
    return not w.timed_out
