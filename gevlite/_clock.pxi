# Part of _core.pyx: a thread's time that stands still while something runs, and is moved when all greenlets wait.
# `gevlite.testing.VirtualClock` is built on it.
#
# Hub time, on which all timers and deadlines are based, never goes back: neither when it stops, nor when it goes on,
# which it does from where it was moved to and at the speed of CLOCK_MONOTONIC. So every deadline stays right, with the
# time that it had left. The time that a program is shown (`monotonic`, a loop's `time()`) is less by `hidden`, so it
# equals CLOCK_MONOTONIC again after the end.
#
# Each thread has its own time, since only its hub sees when all its greenlets wait. OS threads without a hub, and other
# hubs, have the real time.

cdef extern from *:
    """
    #ifdef __linux__
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <linux/sockios.h>
    static int gevlite_unsent(int fd, int *bytes) { return ioctl(fd, SIOCOUTQNSD, bytes); }
    static int gevlite_under_way(int fd, int *bytes) {
        int unsent;
        if (ioctl(fd, SIOCOUTQNSD, &unsent) || ioctl(fd, SIOCOUTQ, bytes)) return -1;
        *bytes -= unsent;
        return 0;
    }
    static int gevlite_connects(int fd) {
        struct tcp_info info;
        socklen_t size = sizeof info;
        return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_state == TCP_SYN_SENT;
    }
    /* Send a delayed acknowledgement at once; an even number leaves later ones as they are. */
    static void gevlite_acknowledge(int fd) {
        int now = 2;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &now, sizeof now);
    }
    #else
    static int gevlite_unsent(int fd, int *bytes) { (void)fd; (void)bytes; return -1; }
    static int gevlite_under_way(int fd, int *bytes) { (void)fd; (void)bytes; return -1; }
    static int gevlite_connects(int fd) { (void)fd; return 0; }
    static void gevlite_acknowledge(int fd) { (void)fd; }
    #endif
    """
    int gevlite_unsent(int fd, int *bytes) noexcept
    int gevlite_under_way(int fd, int *bytes) noexcept
    bint gevlite_connects(int fd) noexcept
    void gevlite_acknowledge(int fd) noexcept


cdef class Clock:
    """Clock(auto, settle, limit)\n--\n
    Moves the time of a thread between `_begin()` and `_end()`.

    auto: move it to the next timer when all greenlets wait, and not only by `advance`. settle: while greenlets wait for
    descriptors, time moves only after these have brought nothing for so many real seconds. limit: if time does not move
    for so many real seconds, TimeStandsStill is raised in the greenlet that began; None: never.
    """

    def __cinit__(self, *args, **kwargs):
        self.targets = []

    def __init__(self, auto, settle, limit):
        self.auto = auto
        self.settle_ns = timeout_ns(settle)
        self.limit_ns = timeout_ns(limit)

    # -------- what a subclass does

    def _holds(self, fds):
        """Why time must not move by itself while greenlets wait for these descriptors; None if it may."""

    def _send(self):
        """Send something to ourselves over the network. False if that is impossible."""
        return False

    def _arrived(self):
        """True if what `_send` sent has arrived."""
        return True

    def _error(self, why, seconds, report, hub):
        """The exception for the greenlet that began."""
        return RuntimeError(why)

    # -------- begin and end

    def _begin(self, wall_ns):
        """Stop the thread's time. wall_ns: what `time.time_ns()` is to return."""
        cdef Hub hub = current_hub()
        cdef int64_t shown
        if self.hub is not None:
            raise RuntimeError("this clock runs already")
        if hub.clock is not None:
            raise RuntimeError("another virtual clock runs in this thread already")
        if hub.host is not None:
            raise RuntimeError("this hub runs in another library's loop, whose time is real")
        self.moved_at = gevlite_now_ns()
        # Whole seconds: sums of them and a fraction are then rounded alike in every run.
        shown = (self.moved_at // SECOND_NS + 1) * SECOND_NS
        self.began_at = hub_ns()
        gevlite_my_time.ns = self.began_at
        gevlite_my_time.hidden = self.began_at - shown
        gevlite_my_time.wall = wall_ns - self.began_at
        gevlite_my_time.kind = STANDS
        self.hub = hub
        self.owner = current_greenlet()
        hub.clock = self
        hub.seldom |= CLOCK_STANDS

    def _end(self):
        """Let time go on. Does nothing if it goes on already."""
        if self.hub is None:
            return
        if gevlite_thread_hub != <PyObject *> self.hub:
            raise RuntimeError("a virtual clock must be left in the thread that entered it")
        stop_clock(self.hub)

    def _elapsed_ns(self):
        """The time from the beginning until now or the end. Any thread may call this and the next two."""
        return self.hub.time.ns - self.began_at if self.hub is not None else self.passed

    def _shown_ns(self):
        """`time.monotonic_ns()` in its thread; None if this clock is not in use."""
        return self.hub.time.ns - self.hub.time.hidden if self.hub is not None else None

    def _wall_ns(self):
        """`time.time_ns()` in its thread; None if this clock is not in use."""
        return self.hub.time.ns + self.hub.time.wall if self.hub is not None else None

    cdef int check(self, str what) except -1:
        if self.hub is None or gevlite_thread_hub != <PyObject *> self.hub:
            raise RuntimeError(f"{what} is for the thread that has entered this clock, until it leaves it")
        return 0

    # -------- moving it

    def advance(self, seconds):
        """Move the time by `seconds`."""
        cdef Hub hub
        cdef Waiter w
        cdef tuple target
        if number_of(seconds) < 0:
            raise ValueError("time cannot go back")
        self.check("advance()")
        hub = self.hub
        w = new_waiter(hub, WAIT_TIMER, NULL)
        target = (gevlite_my_time.ns + timeout_ns(seconds), w)
        self.targets.append(target)
        hub.refs += 1
        try:
            w.park_for(FOREVER)
        finally:
            hub.refs -= 1
            if target in self.targets:
                self.targets.remove(target)

    cdef int64_t first_target(self) except -2:
        cdef int64_t first = -1, at
        for at, _ in self.targets:
            if first < 0 or at < first:
                first = at
        return first

    cdef int move(self, int64_t to) except -1:
        if to > gevlite_my_time.ns:
            gevlite_my_time.ns = to
        self.moved_at = gevlite_now_ns()
        return 0

    cdef int reach(self, int64_t target) except -1:
        """Nothing is left to do before `target`: move to it, and wake the greenlets that advance to it."""
        self.move(target)
        for at, w in list(self.targets):
            if at <= target:
                (<Waiter> w).wake(None)
        return 0

    cdef object why_held(self):
        """Why time must not move by itself; None if it may."""
        cdef Hub hub = self.hub
        cdef int fd
        cdef list fds
        if hub.spinning:
            return "an idle watcher has something to do all the time"
        if hub.thread_refs > 0:
            return "a worker thread has not done its work"
        if hub.outside > 0:
            return "a greenlet waits for a child process or for input"
        if hub.fd_waiters <= 0:
            return None
        fds = []
        for fd in range(hub.fds_size):
            if hub.fds[fd] != NULL and fd_is_awaited(hub.fds[fd]):
                fds.append(fd)
        return self._holds(fds)

    cdef int give_up(self, object why) except -1:
        cdef int64_t now = gevlite_now_ns()
        error = self._error(why, (now - self.moved_at) / 1e9, look(), <size_t> <PyObject *> self.hub)
        self.moved_at = now             # so that it is not raised again at once
        if self.hub is None:
            return 0                    # `_error` is Python code: other greenlets may have run
        if self.owner.dead:
            return to_main(self.hub, error)
        return throw_into(self.hub, self.owner, error)

    cdef bint is_late(self) except -1:
        return self.limit_ns >= 0 and gevlite_now_ns() - self.moved_at >= self.limit_ns


cdef int64_t SECOND_NS = 1_000_000_000


cdef int stop_clock(Hub hub) except -1:
    """Let the time of this thread go on, from where it is."""
    cdef Clock clock = hub.clock
    if clock is None:
        return 0
    clock.passed = gevlite_my_time.ns - clock.began_at
    gevlite_my_time.ns -= gevlite_now_ns()
    gevlite_my_time.hidden = gevlite_my_time.ns
    gevlite_my_time.kind = RUNS
    hub.clock = None
    hub.seldom &= ~CLOCK_STANDS
    clock.hub = None
    clock.owner = None
    for _, w in list(clock.targets):
        (<Waiter> w).throw(RuntimeError("the clock was left during advance()"))
    return 0


cdef int64_t ahead_of_real(Hub hub) noexcept:
    """By how much the hub's time is ahead of CLOCK_MONOTONIC now. May be called in any thread."""
    if hub.time.kind == STANDS:
        return hub.time.ns - gevlite_now_ns()
    return hub.time.ns if hub.time.kind == RUNS else 0


cdef int check_standing(Hub hub) except -1:
    """Something is ready in each turn, so time stands: check whether that has gone on for too long."""
    cdef Clock clock = hub.clock
    if (hub.ready.count or hub.idle_waiters.count) and clock.is_late():
        clock.give_up("there are greenlets that run all the time")
    return 0


cdef bint something_came(Hub hub) noexcept:
    return (
        hub.ready.count or inbox_waits(hub) or hub.idle_waiters.count or hub.closed or hub.clock is None
        or hub.timers.size and hub.timers.items[0].deadline <= gevlite_my_time.ns
    )


cdef bint all_is_quiet(Hub hub, Clock clock) except -1:
    """Ask the kernel. False if something has come."""
    cdef int tries = 0
    cdef int64_t until, left = clock.settle_ns
    if hub.fd_waiters <= 0:
        hub.poll_once(0)
        return not something_came(hub)
    # What was sent within this process before this arrives before it: the kernel handles both in turn. Usually data has
    # arrived when `send` returns, but not on all systems, and not under load.
    sent = clock._send()
    until = gevlite_now_ns() + left
    while True:
        hub.poll_once(left)
        left = until - gevlite_now_ns()     # a poll may end early and find nothing
        if left <= 0 or something_came(hub):
            break
    while sent and tries < MOST_TRIES and not something_came(hub) and not clock._arrived():
        tries += 1
        hub.poll_once(TRY_NS)
    # That order does not hold if this thread has moved to another processor in between. So wait for data that is sent
    # but not acknowledged, after making the sockets that have read data send their delayed acknowledgements.
    if not something_came(hub):
        left = bytes_under_way(hub)
        if left and left != clock.under_way:
            acknowledge(hub)
            until = gevlite_now_ns() + UNDER_WAY_NS
            while left and not something_came(hub) and gevlite_now_ns() < until:
                hub.poll_once(TRY_NS)
                left = bytes_under_way(hub)
        clock.under_way = left
    # Data that a socket has taken but not sent waits for an acknowledgement (Nagle's algorithm, RFC 896, and delayed
    # acknowledgements, RFC 1122 4.2.3.2), or for a reader. That reader may never come: then the data stays unsent.
    left = unsent_bytes(hub)
    if left != clock.unsent and left:
        until = gevlite_now_ns() + ACKNOWLEDGED_NS
        while not something_came(hub) and unsent_bytes(hub) == left and gevlite_now_ns() < until:
            hub.poll_once(until - gevlite_now_ns())
        if something_came(hub) or unsent_bytes(hub) != left:
            return False            # it is on its way now
    clock.unsent = left
    return not something_came(hub)


cdef enum:
    MOST_TRIES = 1000
cdef int64_t TRY_NS = 1_000_000
cdef int64_t UNDER_WAY_NS = 50_000_000
# Longer than the kernel puts off an acknowledgement (TCP_DELACK_MAX in Linux's net/tcp.h: 200 ms).
cdef int64_t ACKNOWLEDGED_NS = 250_000_000


cdef int64_t unsent_bytes(Hub hub) noexcept:
    """How many bytes the sockets that this hub knows have not sent yet. Only Linux tells, and only for TCP."""
    cdef int64_t total = 0
    cdef int fd, left
    for fd in range(hub.fds_size):
        if hub.fds[fd] != NULL and hub.fds[fd].flags & OWNED:
            left = 0
            if gevlite_unsent(fd, &left) == 0:
                total += left
    return total


cdef int64_t bytes_under_way(Hub hub) noexcept:
    """How many bytes they have sent without acknowledgement; a connection being made counts as one. As above."""
    cdef int64_t total = 0
    cdef int fd, left
    for fd in range(hub.fds_size):
        if hub.fds[fd] != NULL and hub.fds[fd].flags & OWNED:
            left = 0
            if gevlite_under_way(fd, &left) == 0:
                total += left
            if hub.fds[fd].writers.count and gevlite_connects(fd):
                total += 1
    return total


cdef int acknowledge(Hub hub) noexcept:
    cdef int fd
    for fd in range(hub.fds_size):
        if hub.fds[fd] != NULL and hub.fds[fd].flags & OWNED:
            gevlite_acknowledge(fd)
    return 0


cdef int clock_waits(Hub hub) except -1:
    """All greenlets wait, and there is something to wait for. Move the time, or really wait, for at most a second."""
    cdef Clock clock = hub.clock
    cdef int64_t target = clock.first_target(), first = LONGEST_NS, left
    cdef object why
    if hub.timers.size:
        first = hub.timers.items[0].deadline
    if target >= 0:
        why = None              # a greenlet that moves the time by hand knows better
    elif not clock.auto:
        why = "only advance() moves this clock"
    elif first >= LONGEST_NS:
        why = "no greenlet waits for a time"
    else:
        why = clock.why_held()
    if why is None:
        if not all_is_quiet(hub, clock):
            return 0
        # Signal handlers may have run.
        target = clock.first_target()
        first = hub.timers.items[0].deadline if hub.timers.size else LONGEST_NS
        if target >= 0 and first > target:
            return clock.reach(target)
        if first < LONGEST_NS and (target >= 0 or clock.auto):
            return clock.move(first)
        return 0
    if clock.is_late() or not clock.auto and only_advance_helps(hub):
        return clock.give_up(why)
    left = SECOND_NS
    if clock.limit_ns >= 0:
        left = max(0, min(left, clock.moved_at + clock.limit_ns - gevlite_now_ns()))
    hub.poll_once(0 if hub.spinning else left)
    return 0


cdef bint only_advance_helps(Hub hub) except -1:
    return hub.fd_waiters + hub.refs + hub.thread_refs + hub.outside <= 0 and threads_at_work() <= 0


# -------- for Python

def monotonic():
    """Seconds, as `time.monotonic()`; by the virtual clock of this thread if it has one."""
    return shown_ns() / 1e9


cdef int64_t shown_ns() noexcept nogil:
    return hub_ns() - gevlite_my_time.hidden


cdef int64_t hidden_ns() noexcept nogil:
    """By how much hub time is ahead of the time that the program is shown."""
    return gevlite_my_time.hidden


cdef bint time_stands() noexcept nogil:
    """True if this thread has a virtual clock."""
    return gevlite_my_time.kind == STANDS


cdef int64_t wall_ns() noexcept nogil:
    """`time.time_ns()` by this thread's virtual clock."""
    return gevlite_my_time.ns + gevlite_my_time.wall
