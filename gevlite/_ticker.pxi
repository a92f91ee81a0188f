# Part of _core.pyx: the ticker, an OS thread that notices when a hub has been busy with the same greenlet, or the same
# callback, for some time. Each `Tick(hub, seconds, call)` asks for one such notice. The watch (`_blocked`) is built on
# it.
#
# What it costs the hub: nothing in a switch. The thread reads, without the GIL, the counters that the hub keeps anyway
# (those of `Hub.progress`); if they are the same as before, the same greenlet or callback still runs. It takes the GIL
# only to make a call, and measures how long it had to wait for that.
#
# What it costs an idle process: nothing. The thread looks a few times in each period while a hub is busy. If it finds
# the hub twice in the same poll it sets `hub.ticker_waits`, and if it is still the same poll a period later, it sleeps
# until the hub reports that it goes on. A whole period lies between these two steps, so neither side needs a memory
# barrier: whichever thread ends the poll after that certainly sees the flag. The hub tests the flag when a poll ends,
# when a turn took much too long, and when it begins. A greenlet that never stops running is looked at only as often as
# its Tick asks for.
#
# The thread has a Python thread state only while it makes a call, so nothing counts it as a thread of the program. It
# ends before a fork, because Python warns of a fork in a process with several threads. It begins again when the hub
# next reports that it goes on; in the child at once. It ends for good before the interpreter does.

cdef extern from "_ticker.h" nogil:
    ctypedef struct pthread_t:
        pass
    int gevlite_thread_start(pthread_t *thread, void *(*run)(void *) noexcept nogil, void *argument)
    void gevlite_thread_name(const char *name)
    pthread_t pthread_self()
    int pthread_equal(pthread_t a, pthread_t b)
    int pthread_join(pthread_t thread, void **result)
    uint64_t peek_count "gevlite_peek"(uint64_t *place)
    int64_t peek_time "gevlite_peek"(int64_t *place)
    bint peek_flag "gevlite_peek"(bint *place)
    void poke_flag "gevlite_poke"(bint *place, bint value)

cdef extern from "_sample.h":
    void gevlite_interrupt(int signum) noexcept
    int gevlite_interrupt_there(int signum) noexcept nogil
    void gevlite_look_there() noexcept nogil

cdef extern from "pythread.h" nogil:
    ctypedef void *PyThread_type_lock
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock(PyThread_type_lock lock, int wait)
    int PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr_flag)
    void PyThread_release_lock(PyThread_type_lock lock)

cdef enum:
    SLICE_LOOK_NS = 500_000     # for the end of a time slice it looks no more often than this
    SLICE_CHECK_NS = 50_000_000     # so long after it has asked for an end, it checks whether a handler has run
    TICKS_IN_PERIOD = 4         # looks while the hub is busy, so a call comes at most a quarter of the time late
    TICK_FORK_US = 1_000_000    # how long a fork waits for a call under way
    TICK_END_US = 5_000_000     # and the end of the interpreter

# For what the ticker knows of one Tick. `next`, and the pointers into the hub, are valid while the guard is held.
cdef struct TickState:
    TickState *next
    uint64_t *switches
    uint64_t *handoffs
    uint64_t *polls
    int64_t *slice_end
    bint *polling
    bint *waits                 # hub.ticker_waits
    int64_t limit               # ns
    uint64_t progress           # at the last look
    bint polled
    int looks                   # how often that has been so; -1: there was none
    int64_t since               # the first of these looks
    int64_t next_call           # call when it has been so for this long; -1: not again
    int64_t look_at             # -1: when the hub clears *waits
    bint flagged                # *waits was set
    bint due                    # to be called
    # For the end of time slices, see `slice_look`.
    int signum                  # 0: it is for something else
    bint *asked                 # of the hub: slice_asked, slice_run, slice_goes_on, slice_began
    uint64_t *asked_run
    uint64_t *goes_on
    int64_t *began
    int64_t asked_at
    bint checked                # it has been called since

cdef struct TickerThread:
    pthread_t thread
    PyThread_type_lock wake     # held by the thread; released to have it look
    bint posted                 # `wake` is released
    PyThread_type_lock ended    # released when it ends
    bint over                   # it is to end

cdef list _ticks = []           # those that are on
cdef TickState *_first_tick = NULL
cdef PyThread_type_lock _ticks_guard = PyThread_allocate_lock()     # for what the thread reads without the GIL
cdef TickerThread *_ticker = NULL
cdef bint _ticker_prepared = False
cdef bint _ticker_over = False          # the interpreter ends


cdef class Tick:
    """From now on, `call(hub, seconds, gil_seconds, run, still)` when one greenlet or callback holds the hub for `seconds`.

    `call` runs in a thread of its own, and must not wait for greenlets. Its arguments: how long the run has lasted, for
    how much of that the ticker had to wait for the GIL, a number that no other run of this hub has, and whether it
    still runs. It returns in how many seconds to call it again if the run still lasts then, or None. Its exceptions go
    to `sys.unraisablehook`. Raises RuntimeError if no thread can be started.

    signum: instead, have the interpreter treat this signal as received, and call only if no handler runs then.
    """
    cdef TickState state
    cdef readonly Hub hub
    cdef object call

    def __init__(self, Hub hub not None, double seconds, call, int signum=0):
        cdef TickState *s = &self.state
        if not 0 < seconds <= 1e9:
            raise ValueError(f"seconds must be positive, not {seconds!r}")
        if hub.closed:
            raise HubDestroyed(f"{hub!r} has ended")
        self.hub = hub
        self.call = call
        s.switches, s.handoffs, s.polls = &hub.n_switches, &hub.n_handoffs, &hub.n_polls
        s.slice_end, s.polling, s.waits = &hub.slice_end, &hub.polling, &hub.ticker_waits
        s.limit = <int64_t> (seconds * 1e9)
        s.signum = signum
        s.asked, s.asked_run = &hub.slice_asked, &hub.slice_run
        s.goes_on, s.began = &hub.slice_goes_on, &hub.slice_began
        tick_reset(s)
        prepare_ticker()
        _ticks.append(self)
        link_ticks()
        if _ticker == NULL:
            try:
                start_ticker()
            except BaseException:
                self.stop()
                raise
        else:
            wake_ticker()

    def stop(self):
        """Make no more calls, except one that is under way."""
        if self in _ticks:
            _ticks.remove(self)
            link_ticks()
            self.hub = None     # which may refer to this object


def in_ticker():
    """True in the thread that makes the calls."""
    return bool(_ticker != NULL and pthread_equal(pthread_self(), _ticker.thread))


cdef int tick_reset(TickState *s) noexcept:
    s.progress = 0
    s.polled = False
    s.looks = -1                # the first look finds something new
    s.look_at = 0
    s.flagged = s.due = s.checked = False
    if s.signum:
        s.asked[0] = False
    s.next_call = s.limit
    return 0


cdef int link_ticks() except -1:
    """Make the list that the thread walks through the same as `_ticks` again."""
    global _first_tick
    cdef Tick t
    PyThread_acquire_lock(_ticks_guard, 1)      # with the GIL held: a holder of the guard waits for nothing else
    _first_tick = NULL
    for t in _ticks:
        t.state.next = _first_tick
        _first_tick = &t.state
    PyThread_release_lock(_ticks_guard)
    return 0


# ---------------------------------------------------------------- the thread, without the GIL

cdef inline uint64_t run_in(TickState *s) noexcept nogil:
    """`hub_run` of its hub."""
    return peek_count(s.switches) + peek_count(s.handoffs) + peek_count(s.polls) + <uint64_t> peek_time(s.slice_end)


cdef int64_t tick_look(TickState *s, int64_t now) noexcept nogil:
    """When to look again; -1: when the hub says so."""
    cdef uint64_t progress = run_in(s)
    cdef bint polls = peek_flag(s.polling)
    if s.looks < 0 or progress != s.progress or polls != s.polled:
        s.progress, s.polled = progress, polls
        s.looks = 0
        s.since = now
        s.next_call = s.limit
        if s.flagged:
            s.flagged = False
            poke_flag(s.waits, False)
        return now + s.limit // TICKS_IN_PERIOD
    s.looks += 1
    if polls:
        # If the flag is set, the hub reports when it goes on. It may go on at this very moment, hence another look
        # later.
        if not s.flagged:
            s.flagged = True
            poke_flag(s.waits, True)
            return now + s.limit // TICKS_IN_PERIOD
        return -1
    if s.next_call < 0:
        return now + s.limit // TICKS_IN_PERIOD     # the hub reports before its counters change
    if now - s.since < s.next_call:
        return min(now + s.limit // TICKS_IN_PERIOD, s.since + s.next_call) if not s.flagged else s.since + s.next_call
    s.due = True
    s.flagged = True
    poke_flag(s.waits, True)
    return -1


cdef int64_t slice_look(TickState *s, int64_t now) noexcept nogil:
    """`tick_look` for a Tick with a signal."""
    cdef uint64_t progress = run_in(s)
    cdef bint polls = peek_flag(s.polling)
    cdef int64_t often = max(s.limit // TICKS_IN_PERIOD, <int64_t> SLICE_LOOK_NS)
    if s.looks < 0 or progress != s.progress or polls != s.polled:
        s.progress, s.polled = progress, polls
        s.looks = 0
        s.since = now
        if s.flagged:
            s.flagged = False
            poke_flag(s.waits, False)
    else:
        s.looks += 1
    if polls:
        if s.looks == 0 or not s.flagged:
            s.flagged = s.looks > 0
            poke_flag(s.waits, s.flagged)
            return now + often
        return -1
    if peek_count(s.goes_on) == progress:
        s.since = peek_time(s.began)        # here the exact time is known
    if now - s.since < s.limit:
        return min(now + often, s.since + s.limit)
    if not peek_flag(s.asked):
        s.asked_run[0] = progress
        s.asked_at = now
        s.checked = False
        poke_flag(s.asked, True)
        if gevlite_interrupt_there(s.signum) < 0:
            poke_flag(s.asked, False)       # too many calls wait for the main thread already: the next look asks again
        return now + often
    # No handler has run yet: C code is running. Or the signal has another handler now.
    gevlite_look_there()        # the main thread may have stored what it had found just before
    if s.checked:
        # If the flag is set, the handler reports when it runs. It may run at this very moment, hence another look
        # later.
        if s.flagged:
            return -1
        s.flagged = True
        poke_flag(s.waits, True)
        return now + often
    if now - s.asked_at < SLICE_CHECK_NS:
        return now + often
    s.due = s.checked = s.flagged = True
    poke_flag(s.waits, True)
    return -1


cdef int64_t look_at_ticks(int64_t now, int64_t late, bint *due) noexcept nogil:
    """When to look again; -1: when a hub says so. late: how long this thread did not run although it was due."""
    cdef TickState *s = _first_tick
    cdef int64_t at = -1
    due[0] = False
    while s != NULL:
        if not s.signum:
            s.since += late         # perhaps no other thread ran either: the machine slept, or the process was stopped
        if s.flagged and not peek_flag(s.waits) or 0 <= s.look_at <= now:
            if s.flagged and not peek_flag(s.waits):
                s.flagged = False
            s.look_at = slice_look(s, now) if s.signum else tick_look(s, now)
        if s.due:
            due[0] = True
        elif s.look_at >= 0 and (at < 0 or s.look_at < at):
            at = s.look_at
        s = s.next
    return at


cdef void *ticker_run(void *argument) noexcept nogil:
    cdef TickerThread *me = <TickerThread *> argument
    cdef int64_t now, at, late = 0
    cdef bint due
    gevlite_thread_name("gevlite-ticker")
    while True:
        PyThread_acquire_lock(_ticks_guard, 1)
        if me.over:
            PyThread_release_lock(_ticks_guard)
            break
        now = gevlite_now_ns()
        at = look_at_ticks(now, late, &due)
        PyThread_release_lock(_ticks_guard)
        late = 0
        if due:
            with gil:
                call_ticks(me, now)
        elif PyThread_acquire_lock_timed(me.wake, (at - now + 999) // 1000 if at >= 0 else -1, 0):
            poke_flag(&me.posted, False)
        else:
            late = max(gevlite_now_ns() - at, 0)
    PyThread_release_lock(me.ended)
    return NULL


cdef int call_ticks(TickerThread *me, int64_t asked) noexcept:
    """asked: when one was found due and the thread began to wait for the GIL."""
    cdef Tick t
    cdef int64_t now = gevlite_now_ns()
    for t in list(_ticks):
        if me.over:
            return 0
        if t.state.due:
            call_tick(t, now, asked)
    return 0


cdef int call_tick(Tick t, int64_t now, int64_t asked) noexcept:
    cdef TickState *s = &t.state
    cdef uint64_t progress = s.progress
    cdef int64_t since = s.since
    cdef Hub hub = t.hub
    if hub is None:
        return 0                # stopped
    again = None
    still = hub.progress() == progress
    try:
        again = t.call(hub, (now - since) / 1e9, (now - asked) / 1e9, progress, still)
        s.next_call = now - since + <int64_t> (again * 1e9) if again is not None else -1
    except BaseException as exc:
        s.next_call = -1
        PyErr_SetObject(type(exc), exc)
        PyErr_WriteUnraisable(t.call)
    s.due = False
    s.look_at = since + s.next_call if s.next_call >= 0 else now + s.limit // TICKS_IN_PERIOD
    return 0


# ---------------------------------------------------------------- from other threads, with the GIL

cdef int wake_ticker() noexcept:
    if not peek_flag(&_ticker.posted):
        poke_flag(&_ticker.posted, True)
        PyThread_release_lock(_ticker.wake)
    return 0


cdef int tell_ticker(Hub hub) noexcept:
    """The hub goes on: see `ticker_waits`."""
    hub.ticker_waits = False
    if _ticker != NULL:
        wake_ticker()
    elif _ticks and not _ticker_over:
        try:
            start_ticker()
        except Exception:
            hub.ticker_waits = True     # there can be no more threads now; perhaps next time
    return 0


cdef int start_ticker() except -1:
    global _ticker
    cdef TickerThread *made
    if _ticker_over or _exiting:
        return 0                # (nothing would end the thread any more)
    made = <TickerThread *> calloc(1, sizeof(TickerThread))
    if made == NULL:
        raise MemoryError
    made.wake = PyThread_allocate_lock()
    made.ended = PyThread_allocate_lock()
    if made.wake != NULL and made.ended != NULL:
        PyThread_acquire_lock(made.wake, 1)
        PyThread_acquire_lock(made.ended, 1)
        if not gevlite_thread_start(&made.thread, ticker_run, made):
            _ticker = made
            return 0
    free_ticker(made)
    raise RuntimeError("can't start new thread")


cdef int free_ticker(TickerThread *t) noexcept:
    if t.wake != NULL:
        PyThread_free_lock(t.wake)
    if t.ended != NULL:
        PyThread_free_lock(t.ended)
    free(t)
    return 0


cdef int halt_ticker(long long microseconds) except -1:
    """Have the thread end, and wait until it has; if it is in a call, only for so long."""
    global _ticker
    cdef TickerThread *t = _ticker
    cdef bint ended
    if t == NULL:
        return 0
    PyThread_acquire_lock(_ticks_guard, 1)
    t.over = True
    PyThread_release_lock(_ticks_guard)
    wake_ticker()
    _ticker = NULL
    if pthread_equal(pthread_self(), t.thread):
        return 0                # a call forks
    with nogil:
        ended = PyThread_acquire_lock_timed(t.ended, microseconds, 0)
        if ended:
            pthread_join(t.thread, NULL)
    if ended:
        PyThread_release_lock(t.ended)
        free_ticker(t)
    return 0


cdef int stop_ticks(Hub hub) except -1:
    """The hub ends."""
    cdef Tick t
    for t in list(_ticks):
        if t.hub is hub:
            t.stop()
    return 0


def _halt_before_fork():
    halt_ticker(TICK_FORK_US)


def _ticks_after_fork_in_parent():
    # Not now: Python has yet to count the threads.
    cdef Tick t
    for t in _ticks:
        tick_reset(&t.state)
        t.hub.ticker_waits = True
        if t.state.signum:
            gevlite_interrupt(t.state.signum)        # what runs may never come to the hub


cdef int ticks_after_fork_in_child() except -1:
    global _ticks_guard
    cdef Tick t
    if not _ticks:
        return 0
    _ticks_guard = PyThread_allocate_lock()     # another thread of the parent may have held it
    for t in list(_ticks):
        tick_reset(&t.state)
        t.hub.ticker_waits = False
        if t.hub.closed:
            t.stop()
    link_ticks()
    if _ticks:
        start_ticker()
    return 0


def _end_ticker():
    global _ticker_over
    cdef Tick t
    _ticker_over = True
    halt_ticker(TICK_END_US)
    for t in list(_ticks):
        t.stop()                # what they call must not outlive its module


cdef int prepare_ticker() except -1:
    """Before the first thread. The hooks before a fork run in reverse order, so this one runs before those of modules
    imported earlier, which may take locks that a call needs: logging's, for one."""
    global _ticker_prepared
    if not _ticker_prepared:
        _ticker_prepared = True
        os.register_at_fork(before=_halt_before_fork, after_in_parent=_ticks_after_fork_in_parent)
        atexit.register(_end_ticker)
    return 0
