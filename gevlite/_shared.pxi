# Part of _core.pyx: state that several threads touch and no thread owns. Today the GIL guards it: no other thread can
# run between the test in one of these functions and its change. A core that does without the GIL has to take its locks
# here, and each function says which lock that would be. The rest of the core reads and writes this state by these
# functions only.
#
# What needs no lock: `_exiting` and `_frozen` become True once, in the last thread. `_main_left_behind` and
# `_in_its_place` are written in the child of a fork, which has one thread. What the layers above register
# (`_hub_class`, `_backend_chooser`, `_hub_attributes`, `_belongings_finder`) is there before the first hub. The
# stack-chunk cache has a lock of its own. Compiled modules above the core keep what they share behind functions of
# their own: see docs/design.md.

# ---------------------------------------------------------------- hubs

# Every live hub, for what concerns all of them: a closed fd, a fork, whether a hub is left to wake us. The holder in
# the thread's local storage owns each one. The list is replaced, never changed: code that iterates over it may let
# other threads run.
cdef list _hubs = []


cdef inline list all_hubs():
    # Lock: the process's, to take the reference. What is returned is never changed.
    return _hubs


cdef int add_hub(Hub hub) except -1:
    # Lock: the process's.
    global _hubs
    cdef list hubs = []         # before `_hubs` is read: an allocation may run the collector, and with it other threads
    hubs.extend(_hubs)
    hubs.append(hub)
    _hubs = hubs
    return 0


cdef int remove_hub(Hub hub) except -1:
    # Lock: the process's.
    global _hubs
    cdef list hubs = []
    cdef Hub other
    for other in _hubs:
        if other is not hub:
            hubs.append(other)
    _hubs = hubs
    return 0


# ---------------------------------------------------------------- counters of the process

# Kept here, since a look-up by name may fail: modules are cleared before the last finalizers run.
cdef object _thread_count = _count
cdef uint64_t _fd_owners = 0
cdef Py_ssize_t _threads_before_fork = 0    # how many threads _thread_count() counts that the fork left behind
cdef Py_ssize_t _idle_workers = 0           # threads of pools, minus the calls that they have to make


cdef uint64_t new_fd_owner() noexcept:
    # Lock: none; an atomic addition.
    global _fd_owners
    _fd_owners += 1
    return _fd_owners


cdef int count_idle_workers(Py_ssize_t change) noexcept:
    # Lock: none; an atomic addition.
    global _idle_workers
    _idle_workers += change
    return 0


cdef Py_ssize_t threads_at_work() except? -1:
    # Lock: none; an atomic read. The others may begin and end at any time: the caller checks again.
    return _thread_count() - _threads_before_fork - _idle_workers


cdef int forget_threads() except -1:
    # Lock: none; the child of a fork has one thread.
    global _threads_before_fork, _idle_workers
    _threads_before_fork = _thread_count()
    _idle_workers = 0
    return 0


# The totals of hubs that have ended, so that the sum over all hubs never decreases: of the main thread's hubs, and of
# others.
cdef HubTotals[2] _ended


cdef HubTotals totals_of(Hub hub) noexcept:
    # Lock: none; atomic reads of values that only its own thread writes.
    cdef HubTotals t
    cdef int i
    t.switches, t.handoffs, t.polls, t.spawned = hub.n_switches, hub.n_handoffs, hub.n_polls, hub.n_spawned
    t.slices = hub.n_slices
    t.lag_ns = hub.lag_ns
    for i in range(N_LAGS):
        t.lags[i] = hub.lags[i]
    return t


cdef HubTotals *ended_hubs(bint main) noexcept:
    # Lock: the process's.
    return &_ended[not main]


cdef int keep_totals(Hub hub) noexcept:
    # Lock: the process's.
    cdef HubTotals *kept = ended_hubs(hub.is_main_thread)
    cdef HubTotals t = totals_of(hub)
    cdef int i
    kept.switches += t.switches
    kept.handoffs += t.handoffs
    kept.polls += t.polls
    kept.spawned += t.spawned
    kept.slices += t.slices
    kept.lag_ns += t.lag_ns
    for i in range(N_LAGS):
        kept.lags[i] += t.lags[i]
    return 0


# ---------------------------------------------------------------- inbox

cdef inline bint inbox_put(Hub hub, int kind, PyObject *target, PyObject *argument) except -1:
    """True if the hub polls: then the caller must wake it. If it does not, it looks into the inbox before it polls."""
    # Lock: the hub's. Else the hub may begin to poll after `polling` was read and before the entry is there.
    if hub.closed:
        return False
    ring_push(&hub.inbox, kind, target, argument)
    return hub.polling


cdef inline bint inbox_waits(Hub hub) noexcept:
    # Lock: none; an atomic read. Before the hub polls, the result of `begin_to_poll` counts.
    return hub.inbox.count != 0


cdef inline int inbox_take(Hub hub) except -1:
    # Lock: the hub's.
    cdef Entry e
    while hub.inbox.count:
        e = ring_pop(&hub.inbox)
        ring_push(&hub.ready, e.kind, e.target, e.argument)
        Py_DECREF(<object> e.target)
        if e.argument != NULL:
            Py_DECREF(<object> e.argument)
    return 0


cdef inline bint begin_to_poll(Hub hub) noexcept:
    """From now on other threads wake this hub's backend. True if one has put something into the inbox before."""
    # Lock: the hub's, as in inbox_put.
    hub.polling = True
    return inbox_waits(hub)


cdef inline void end_to_poll(Hub hub, bint others) noexcept:
    # Lock: none; an atomic write. A thread that reads the old value wakes a hub that does not poll, which does no harm.
    hub.polling = others
    if hub.ticker_waits:
        tell_ticker(hub)


cdef int close_inbox(Hub hub) except -1:
    # Lock: the hub's, to close it; its entries are dropped after that.
    hub.closed = True
    return 0


# ---------------------------------------------------------------- what decides a wait

cdef inline bint decide(Waiter w, object what, bint raises) except -1:
    """PARKED to WOKEN, or NEW to WOKEN before it parks. False if it was decided already, or its hub is gone.

    Returns True once for each wait: then its value or exception is in place, and its resumption queued.
    """
    # Lock: the waiter's, for the step. Its own thread takes it too, from NEW to PARKED and at the end of its time.
    cdef bint parked = w.state == PARKED
    if w.state != NEW and (not parked or w.hub.closed):
        return False
    if raises:
        w.exc = what
    else:
        w.value = what
    w.state = WOKEN
    if parked:
        if tracing:
            trace_wake(w, raises)
        w.hub.push(RESUME, <PyObject *> w, NULL)
    return True


# ---------------------------------------------------------------- descriptors, for other threads than the hub's

cdef inline FdEntry *fd_at(Hub hub, int fd) noexcept:
    """The entry of `fd` in any thread's hub; NULL if the hub has not met it. It never moves while the hub lives."""
    # Lock: the hub's, from other threads: its own may move the table meanwhile.
    return hub.fds[fd] if 0 <= fd < hub.fds_size else NULL


cdef int fd_put(Hub hub, int fd, FdEntry *entry) except -1:
    # Lock: the hub's.
    cdef int room
    if fd >= hub.fds_size:
        room = <int> room_for(fd + 1, hub.fds_size)
        hub.fds = <FdEntry **> grown(hub.fds, hub.fds_size, room, sizeof(FdEntry *), "fd table")
        hub.fds_size = room
    hub.fds[fd] = entry
    return 0


cdef inline bint fd_is_awaited(FdEntry *entry) noexcept:
    # Lock: none; two atomic reads.
    return entry.readers.count != 0 or entry.writers.count != 0


cdef int fd_fail_remote(FdEntry *entry, object exc) except -1:
    """Raise `exc` in what waits on the fd, from another thread than the hub's: without touching the queues.

    This cannot be left for later: once the number means another file, it is unknown which greenlets waited for this
    one.
    """
    # Lock: the hub's, to find each waiter but not to throw; its own thread takes it to append and remove one.
    cdef Waiter w = first_parked(&entry.readers, &entry.writers)
    while w is not None:
        w.throw(exc)
        w = first_parked(&entry.readers, &entry.writers)
    return 0
