# Part of _core.pyx: a hub whose thread is run by a foreign event loop, the host. See "A guest in the loop of
# another library" in docs/design.md, and `_guest`.
#
# The host calls `host_turn` in the greenlet that runs it, whenever the backend's descriptor can be read, a timer is due
# or something is ready. To the hub, that greenlet is one that waits for the hub to be idle. While it does not wait
# there, the host waits for the kernel in place of the hub. So this time counts as a poll: other threads write to the
# wake pipe.
#
# When the host's own thread queues something between two turns, the ready queue notices (`ring_watch`), and a byte is
# written to another pipe, which the host watches too. Only a turn reads that pipe: nothing is lost if the hub polls by
# itself before the turn because the host's greenlet waits.

# A turn ends when nothing is ready, or after this time.
cdef int64_t TURN_NS = 1_000_000


cdef extern from "unistd.h" nogil:
    ssize_t c_write "write"(int fd, const void *buf, size_t count)


cdef int notice(Hub hub) except -1:
    """Something was queued between two turns: have the host make the next one."""
    ring_unwatch(&hub.ready)
    if not hub.noticed:
        hub.noticed = True
        c_write(hub.notice_fd, b"\0", 1)
    return 0


cdef int notice_here() except -1:
    return notice(<Hub> gevlite_thread_hub)


cdef bint turn_is_over(Hub hub) except -1:
    """Nothing is ready. Do what has to be done before the hub rests; False if that has made something ready."""
    if hub.before_poll:
        hub.call_hooks(hub.before_poll)
        if hub.ready.count:
            return False
    if hub.join_waiters.count:
        if hub.timers.size == hub.unref_timers and hub.fd_waiters + hub.refs + hub.thread_refs <= 0:
            notify_all(&hub.join_waiters, None)
            return False
    return True


def host_begin(Hub hub, host, int read_end, int write_end):
    """From now on `host` calls `host_turn`, the first time at once. Its `hub_ends()` is called when the hub ends.

    The pipe becomes readable when a turn is needed, as the descriptor of the backend does.
    """
    hub._check_thread("host_begin")
    if hub.polls:
        raise RuntimeError("attach() was called by a signal handler that interrupts the hub's own wait")
    if hub.clock is not None:
        raise RuntimeError("this thread has a virtual clock, and another library's loop goes by the real time")
    hub.host = host
    hub.noticed = False
    hub.notice_fd, hub.noticed_fd = write_end, read_end
    hub.hosted = True
    hub.polls += 1
    begin_to_poll(hub)


def host_end(Hub hub):
    """The host calls `host_turn` no longer: the hub runs when the greenlets of its thread wait."""
    host_ends_poll(hub)
    hub.host = None


cdef int host_ends_poll(Hub hub) except -1:
    if hub.hosted:
        hub.hosted = False
        hub.polls -= 1
        end_to_poll(hub, hub.polls > 0)
    ring_unwatch(&hub.ready)
    return 0


def host_turn(Hub hub, host, take_part):
    """One turn, in the greenlet that runs the host: let the greenlets run until nothing is ready, at most for a while.

    Returns in how many seconds the next turn is due (0.0: something is ready), or None if only events, which the
    backend's descriptor reports, will need one. What is thrown into this greenlet meanwhile is raised. `take_part` is
    called first if the core does not know yet that this greenlet runs a loop.
    """
    cdef Waiter w
    cdef bint idle = False, more = True
    cdef int64_t left, now
    cdef char[8] scratch
    hub._check_thread("host_turn")
    if hub.noticed:
        hub.noticed = False
        c_read(hub.noticed_fd, scratch, sizeof(scratch))
    if hub.belongings is None:
        take_part()
    host_ends_poll(hub)
    try:
        w = new_waiter(hub, WAIT_LOOP, NULL)
        w.ref = False
        waitlist_append(&hub.idle_waiters, w)
        hub.budget = HANDOFF_BUDGET
        now = gevlite_coarse_ns()
        hub.slice_end = now + hub.turn_ns
        resume_round(hub, now)
        idle = wait_on(w, TURN_NS)
    finally:
        interrupt_round(hub)
        if hub.host is host and not hub.hosted:
            hub.hosted = True
            hub.polls += 1
            more = begin_to_poll(hub)
    if more or not idle or hub.ready.count or hub.spinning or hub.backend.always_ready or hub.backend.n_found:
        return 0.0
    ring_watch(&hub.ready, notice_here)
    if not hub.timers.size:
        return None
    left = hub.timers.items[0].deadline - hub_ns()
    return left / 1e9 if left > 0 else 0.0


def host_expects(Hub hub):
    """Something is about to be queued between two turns. True if the caller has to arrange for the next turn."""
    return bool(hub.hosted and ring_unwatch(&hub.ready))        # else the next turn is on its way


def replace_backend(Hub hub, Backend backend, str reason):
    """Give the hub another backend, with the wake pipe of the old one; what waits for a descriptor goes along.

    The old backend can do nothing any more, except be given back to the hub in the same way.
    """
    hub._check_thread("replace_backend")
    if hub.polls > hub.hosted:
        raise RuntimeError("the backend of a hub cannot be replaced while it polls")
    unwatch_attach(hub)
    renew_late(hub)
    backend.take_over(hub.backend)
    hub.backend = hub.front = backend
    hub.backend_reason = reason
    hub.delivered = 0
    fd_rearm_all(hub)
