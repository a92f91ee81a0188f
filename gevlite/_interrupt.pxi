# Part of _core.pyx: time slices. A greenlet that has run for longer than its slice gives way between two bytecodes, as if it
# had called `sleep(0)`. See "Time slices" in docs/design.md.
#
# * The ticker notices that a run has lasted too long, and adds a pending call, for which it needs no GIL. The main
#   thread makes that call between two bytecodes. The call marks a signal as received (PyErr_SetInterruptEx), so the
#   interpreter runs our handler. No signal is sent, so no system call is interrupted.
# * The handler finds out whether the running code may be interrupted at this point (`_interrupt.h`). If so, the
#   greenlet parks in `Hub.sliced`, and the turn of the loop is over. Next the hub looks at timers and the kernel: what
#   they wake goes first. In each turn the hub wakes one greenlet of `Hub.sliced`, behind what is ready, so each of them
#   gets its turn.
# * An exception for the greenlet (kill, Timeout) ends its wait, and leaves the handler where the greenlet was interrupted.
#
# Signals are handled in the main thread only, so this is for its hub alone.

cdef extern from "_interrupt.h":
    enum:
        GEVLITE_CODE_FREE, GEVLITE_CODE_STANDARD, GEVLITE_CODE_GUARDS, GEVLITE_CODE_LOOP, GEVLITE_CODE_OURS, GEVLITE_CODE_NEVER
        GEVLITE_OP_LOOKS, GEVLITE_OP_CALLS_NOTHING
        GEVLITE_MAY, GEVLITE_NOT_HERE, GEVLITE_NOT_NOW
    unsigned char *gevlite_ops
    int gevlite_slices_prepare() except -1
    void gevlite_set_exception_table(PyObject *code, PyObject *table) noexcept
    int gevlite_may_interrupt(PyThreadState *state, int standard, int (*classify)(PyObject *) except -1,
                              uint64_t *place) except -1

cdef enum:
    MAX_PASSES = 4      # how often woken entries may pass the first ready one, see woken_first

cdef int _slice_signal = 0              # the number; 0: our handler is not set
cdef object _slice_signal_before = None  # what was set before
cdef bint _slice_standard = False       # the standard library's locks are cooperative
cdef PyObject *_collecting = NULL       # borrowed: the greenlet in which the garbage collector runs
cdef list _slice_lost = []              # called if the program has set a handler of its own
cdef object _slice_completed = None     # see _back_jumps.completed


# ---------------------------------------------------------------- what may be interrupted

# Methods that must not be interrupted: an exception, or a long wait, in the middle of one may lose a lock.
cdef frozenset _NEVER_NAMES = frozenset(("__del__", "__enter__", "__exit__", "__aenter__", "__aexit__"))
# Functions of the standard library, by file, that set state of the thread or that a fork calls: they must finish before
# other greenlets run.
cdef dict _NEVER_STANDARD = {
    os.path.join(os.path.dirname(os.__file__), *path.split("/")): frozenset(names.split())
    for path, names in {
        "asyncio/base_events.py": "_run_forever_cleanup _run_forever_setup _set_coroutine_origin_tracking",
        "asyncio/events.py": "_get_running_loop _set_running_loop on_fork",
        "asyncio/tasks.py": "_enter_task _leave_task _swap_current_task current_task",
        "logging/__init__.py": "_after_at_fork_child_reinit_locks",
        "threading.py": "_after_fork",
    }.items()
}
# Parts of the standard library that take and release locks for their caller, or note what it has to release.
cdef tuple _GUARDS = tuple(
    os.path.join(os.path.dirname(os.__file__), name)
    for name in ("concurrent" + os.sep, "contextlib.py", "logging" + os.sep, "queue.py", "threading.py")
)
# Functions of those parts in which the code of a thread runs.
cdef frozenset _THREAD_NAMES = frozenset(("_bootstrap", "_bootstrap_inner", "run", "_worker"))
_LOOP_FILE = os.path.join(os.path.dirname(os.__file__), "asyncio", "base_events.py")
# Parts of the file names of debuggers.
cdef tuple _DEBUGGERS = ("pydevd", "debugpy")
_DEBUGGER_FILES = frozenset(os.path.join(os.path.dirname(os.__file__), name) for name in ("bdb.py", "pdb.py"))


cdef int classify(PyObject *code) except -1:
    cdef object c = <object> code
    cdef str name = c.co_filename
    cdef int far
    if c.co_name in _NEVER_NAMES or name.startswith("<frozen importlib") or name in _DEBUGGER_FILES:
        return GEVLITE_CODE_NEVER
    far = distance(name)
    if far == 3:
        # The frame below the target of a thread, which may be a function of the standard library.
        return GEVLITE_CODE_STANDARD if c.co_qualname == "ThreadGreenlet._run" else GEVLITE_CODE_OURS
    if far == 2:
        if c.co_name in _NEVER_STANDARD.get(name, ()):
            return GEVLITE_CODE_NEVER
        if name.startswith(_GUARDS) and c.co_name not in _THREAD_NAMES:
            return GEVLITE_CODE_GUARDS
        return GEVLITE_CODE_LOOP if name == _LOOP_FILE and c.co_name == "run_forever" else GEVLITE_CODE_STANDARD
    if far == 1:
        for part in _DEBUGGERS:
            if part in name:
                return GEVLITE_CODE_NEVER
    return GEVLITE_CODE_FREE


cdef int prepare_slices() except -1:
    """Learn the instructions of this Python."""
    cdef str name
    cdef int number
    import opcode

    gevlite_slices_prepare()
    for name, number in opcode.opmap.items():
        if number > 255:
            continue
        if name == "RESUME" or "JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name:
            gevlite_ops[number] |= GEVLITE_OP_LOOKS
            if not name.startswith("POP_JUMP"):
                gevlite_ops[number] |= GEVLITE_OP_CALLS_NOTHING
        elif name.startswith(("STORE_FAST", "STORE_NAME", "DELETE_FAST", "DELETE_NAME", "RETURN_")) or name in (
            "STORE_DEREF", "STORE_GLOBAL", "DELETE_DEREF", "DELETE_GLOBAL", "POP_TOP", "POP_EXCEPT", "END_FOR", "END_SEND",
            "POP_ITER", "STORE_ATTR", "STORE_SUBSCR", "DELETE_ATTR", "DELETE_SUBSCR", "BEFORE_WITH", "BEFORE_ASYNC_WITH",
            "WITH_EXCEPT_START",
        ):
            gevlite_ops[number] |= GEVLITE_OP_CALLS_NOTHING
    return 0


cdef bint may_give_way(Hub hub, greenlet me) except -1:
    """Whether the running greenlet may be interrupted at all now."""
    if runs_loops(hub, me) or isinstance(me, _Nursery) or <PyObject *> me == _collecting or _exiting:
        return False
    if hub.closed or hub.closing or hub.handlers_due:
        return False
    if hub.shuffle is not None:
        return False            # the order of greenlets must be the same in the next run
    if (hub.in_handlers or hub.in_place_shown != NULL) and me is get_main(hub):
        return False            # in the middle of its own wait
    if hub.thread_state.c_tracefunc != NULL and is_debugger(sys.gettrace()):
        return False
    return True


# ---------------------------------------------------------------- a slice is over

def _end_slice(signum, frame):
    """The handler of the signal."""
    try:
        end_slice()
    except BaseException:
        if frame is not None:
            complete_table(frame.f_code)
        raise


cdef void complete_table(object code) noexcept:
    """Before an exception is raised in this code, see _back_jumps. It is raised in any case."""
    try:
        table = _slice_completed(code)
    except Exception:           # too deep a recursion, for one
        return
    if table is not None:
        gevlite_set_exception_table(<PyObject *> code, <PyObject *> table)


cdef int end_slice() except -1:
    cdef Hub hub
    cdef greenlet me
    cdef uint64_t run, place = 0
    cdef int where
    cdef bint again
    if gevlite_thread_hub == NULL:
        return 0
    hub = <Hub> gevlite_thread_hub
    if hub.ticker_waits:
        tell_ticker(hub)
    if not hub.slice_asked:
        return 0                # a real signal, or the second look for other signals
    hub.slice_asked = False
    again, hub.slice_again = hub.slice_again, False
    if hub.slicer is None:
        restore_slice_signal()
        return 0
    run = hub_run(hub)
    if hub.polling or run != hub.slice_run:
        return 0                # the run that was to end has ended already
    me = current_greenlet()
    if _collecting == NULL and (not _gc_callbacks or _gc_callbacks[-1] is not _collection_ends):
        watch_collections()     # callbacks that the program has added would be called after our last one
    if not may_give_way(hub, me):
        return 0
    if is_uninterrupted(me):
        hub.slice_owed = run
        return 0
    where = gevlite_may_interrupt(hub.thread_state, _slice_standard, classify, &place)
    if where == GEVLITE_NOT_HERE:
        # Perhaps a C function checks for signals in the middle of its work. Python code checks again soon, at the next
        # loop or call. If we are at the same place again, it is such a function: then the ticker asks again after a
        # while.
        if not again or place != hub.slice_place:
            hub.slice_place = place
            ask_for_slice(hub)
        return 0
    if where != GEVLITE_MAY:
        return ask_for_a_while(hub, run)
    # Handlers are called in the order of their numbers. Those that come after ours must not wait for this greenlet.
    gevlite_interrupt(_slice_signal)
    PyErr_CheckSignals()
    if gevlite_thread_hub != <PyObject *> hub or hub.slicer is None or hub_run(hub) != run:
        return 0
    hub.n_slices += 1
    if others_wait(hub, me):
        return give_slice_up(hub)
    hub.slice_began = gevlite_now_ns()
    hub.slice_goes_on = run
    return 0


cdef int ask_for_a_while(Hub hub, uint64_t run) noexcept:
    """At a place that must not be interrupted: have the handler called at each step, for as long as a slice.

    A loop over such places is hardly ever between two of them when the ticker asks. If asking at each step does not
    help, the place takes long, as an import can: then there is a pause, twice as long each time.
    """
    cdef int64_t limit = (<Tick> hub.slicer).state.limit
    cdef int64_t now = gevlite_now_ns()
    if hub.slice_asking_run != run:
        hub.slice_asking_run, hub.slice_asking_pause = run, limit
        hub.slice_asking_end = now + limit
    elif now > hub.slice_asking_end + hub.slice_asking_pause:
        hub.slice_asking_pause = min(2 * hub.slice_asking_pause, 16 * limit)
        hub.slice_asking_end = now + limit
    if now < hub.slice_asking_end:
        ask_for_slice(hub)
        hub.slice_again = False
    return 0


cdef bint others_wait(Hub hub, greenlet me) except -1:
    """False if the running greenlet would go on at once."""
    return (
        hub.ready.count
        or inbox_waits(hub)
        or hub.sliced.count
        or hub.watched_fds
        or hub.seldom
        or hub.raw_pending
        or hub.before_poll
        or hub.after_poll
        or hub.host is not None
        or isinstance(me, CoreGreenlet) and (<CoreGreenlet> me).pending is not None
        or hub.timers.size and hub.timers.items[0].deadline <= hub_ns()
    )


cdef int ask_for_slice(Hub hub) noexcept:
    """Have the handler called again, soon."""
    hub.slice_asked = hub.slice_again = True
    gevlite_interrupt(_slice_signal)
    return 0


cdef inline uint64_t hub_run(Hub hub) noexcept:
    """See Hub.progress."""
    return hub.n_switches + hub.n_handoffs + hub.n_polls + <uint64_t> hub.slice_end


cdef int give_slice_up(Hub hub) except -1:
    cdef Waiter w = new_waiter(hub, WAIT_YIELD, NULL)
    w.detail = USED_SLICE
    waitlist_append(&hub.sliced, w)
    hub.seldom |= SLICES_USED
    hub.slice_used = True
    if hub.slice_end > 0:
        hub.slice_end = min(hub.slice_end, gevlite_coarse_ns())     # this turn ends here, see `woken_first`
    try:
        w.park_for(FOREVER)
    finally:
        # Its next slice begins.
        if hub.slice_next is w:
            hub.slice_next = None
        hub.slice_goes_on = hub_run(hub)
        hub.slice_began = gevlite_now_ns()
    free_waiter(w)
    return 0


cdef int next_slice(Hub hub) except -1:
    """In each turn, after what was ready: wake one greenlet that has used up a slice, behind what is ready now."""
    cdef size_t waiting = hub.ready.count
    if hub.timers.size:
        hub.fire_timers()
    if hub.watched_fds:
        hub.poll_once(0)
    else:
        check_signals()
    if hub.slice_used:
        hub.slice_used = False
        woken_first(hub, waiting)
    # Only one of them is ready at a time: else what the kernel or a timer wakes would queue behind them all.
    if hub.slice_next is None or hub.slice_next.state != WOKEN:
        hub.slice_next = <Waiter> waitlist_pop(&hub.sliced)
        if hub.slice_next is not None:
            hub.slice_next.wake(None)
    if not hub.sliced.count:
        hub.seldom &= ~SLICES_USED
    return 0


cdef int woken_first(Hub hub, size_t waiting) noexcept:
    """Move what a timer or the kernel has just woken before the `waiting` entries that were ready already.

    Each of those may compute for a whole slice: greenlets that begin together do. But a woken greenlet may compute as
    well. So the first waiting entry is passed only a few times, and then runs; then the next one becomes the first.
    """
    cdef Py_ssize_t woken = hub.ready.count - waiting
    cdef Entry *first
    cdef size_t i
    if woken <= 0 or waiting == 0:
        return 0
    first = ring_at(&hub.ready, 0)
    for i in range(waiting):
        if ring_at(&hub.ready, i).passed:
            first = ring_at(&hub.ready, i)
            break
    if first.passed > MAX_PASSES:
        return 0
    for i in range(waiting):
        ring_at(&hub.ready, i).passed = max(ring_at(&hub.ready, i).passed, 1)
    first.passed += 1
    if hub.round_left > 0:
        hub.round_left += woken         # the entries that were passed are its last ones, still
    ring_rotate(&hub.ready, waiting)
    return 0


# ---------------------------------------------------------------- peace

# For raw greenlets, by address: how many `uninterrupted()` blocks they are in.
cdef dict _raw_peace = {}


cdef bint is_uninterrupted(greenlet g) noexcept:
    if isinstance(g, CoreGreenlet):
        return (<CoreGreenlet> g).peace > 0
    return bool(_raw_peace) and <size_t> <PyObject *> g in _raw_peace


cdef int add_peace(greenlet g, int change) except -1:
    """Returns how many `uninterrupted()` blocks the greenlet is in now."""
    cdef int count
    if isinstance(g, CoreGreenlet):
        (<CoreGreenlet> g).peace += change
        return (<CoreGreenlet> g).peace
    count = _raw_peace.get(<size_t> <PyObject *> g, 0) + change
    if count > 0:
        _raw_peace[<size_t> <PyObject *> g] = count
    else:
        _raw_peace.pop(<size_t> <PyObject *> g, None)
    return count


cdef int leave_peace(greenlet g) except -1:
    cdef Hub hub
    if add_peace(g, -1) == 0 and gevlite_thread_hub != NULL:
        hub = <Hub> gevlite_thread_hub
        if hub.slice_owed and hub.slice_owed == hub_run(hub) and hub.slicer is not None:
            hub.slice_owed = 0
            hub.slice_run = hub_run(hub)
            ask_for_slice(hub)
    return 0


# For compiled code that calls Python in the middle of a change: the running greenlet is not interrupted meanwhile.

cdef int begin_peace() except -1:
    add_peace(current_greenlet(), 1)
    return 0


cdef int end_peace() except -1:
    """In the greenlet that has called `begin_peace`."""
    return leave_peace(current_greenlet())


@cython.final
cdef class Uninterrupted:
    """What `uninterrupted()` returns: usable in `with`, also several times and in several greenlets."""
    cdef list inside            # the greenlets that are in the block

    def __enter__(self):
        cdef greenlet me = current_greenlet()
        if self.inside is None:
            self.inside = []
        self.inside.append(me)
        add_peace(me, 1)
        return self

    def __exit__(self, *exc):
        cdef greenlet me = current_greenlet()
        cdef Py_ssize_t i = len(self.inside) - 1
        while i > 0 and self.inside[i] is not me:
            i -= 1              # (a generator may be closed by another greenlet than the one that has entered the block)
        me = self.inside.pop(i)
        leave_peace(me)


# ---------------------------------------------------------------- on and off

def has_slices():
    """True if this build can end time slices."""
    return GEVLITE_SEES_STACKS


def set_slice_standard(bint may):
    """Whether the standard library's code may be interrupted: only if its locks are cooperative."""
    global _slice_standard
    _slice_standard = may


def in_main_thread():
    """True in the thread that handles signals."""
    try:
        _signal.signal(_signal.SIGINT, None)
    except ValueError:          # "only in the main thread"
        return False
    except TypeError:           # it checks the handler only after the thread
        return True


def slice_signal_taken(int signum):
    """The program's handler for this signal, or None if the signal is free. The main thread only. Raises OSError."""
    before = _signal.getsignal(signum)
    if before is _end_slice or before in (_signal.SIG_DFL, _signal.SIG_IGN):
        _signal.signal(signum, before)      # raises if there can be no handler
        return None
    return before if before is not None else "one in C"


def slice_hub(Hub hub not None, double seconds, int signum, lost, completed):
    """End each time slice of this hub, which is the main thread's, after `seconds`; 0: stop doing so.

    lost(): called in a thread of its own when the program has set another handler for the signal; slices are off then.
    completed(code): the exception table that this code needs before an exception is raised in it, or None.
    """
    global _slice_completed
    if hub.slicer is not None:
        (<Tick> hub.slicer).stop()
        hub.slicer = None
    if seconds <= 0 or hub.closed or _exiting:
        if not hub.slice_asked:
            restore_slice_signal()          # else the handler does, so that no signal is left without one
        return
    _slice_completed = completed
    set_slice_signal(signum)
    hub.slice_goes_on = <uint64_t> -1       # no run
    try:
        hub.slicer = Tick(hub, seconds, _check_slice_signal, signum)
    except BaseException:
        restore_slice_signal()
        raise
    _slice_lost[:] = [lost]


cdef int set_slice_signal(int signum) except -1:
    global _slice_signal, _slice_signal_before
    if _slice_signal == signum and _signal.getsignal(signum) is _end_slice:
        return 0
    restore_slice_signal()
    prepare_slices()
    before = _signal.signal(signum, _end_slice)
    _signal.siginterrupt(signum, False)
    _slice_signal, _slice_signal_before = signum, before
    set_own_signal(signum)
    signals_without_ref[signum] = _end_slice
    watch_collections()
    return 0


cdef int restore_slice_signal() except -1:
    global _slice_signal
    cdef int signum = _slice_signal
    if not signum:
        return 0
    _slice_signal = 0
    set_own_signal(0)
    signals_without_ref.pop(signum, None)
    unwatch_collections()
    try:
        if _signal.getsignal(signum) is _end_slice:
            _signal.signal(signum, _slice_signal_before)
    except ValueError:
        pass                    # another thread
    return 0


cdef int take_last_interrupt() except -1:
    """The interpreter ends, and removes the handlers. An interrupt that was asked for is handled before that."""
    if _slice_signal:
        PyErr_CheckSignals()
    return 0


def _check_slice_signal(hub, seconds, gil_seconds, run, still):
    """The ticker calls this, in its own thread, if the handler has not run."""
    cdef Hub h = hub
    if _slice_signal and _signal.getsignal(_slice_signal) is not _end_slice and h.slicer is not None:
        (<Tick> h.slicer).stop()
        h.slicer = None
        restore_slice_signal()
        for lost in list(_slice_lost):
            lost()
    return None


cdef int stop_slices(Hub hub) except -1:
    """The hub ends."""
    if hub.slicer is not None:
        slice_hub(hub, 0, 0, None, None)
    return 0


# ---------------------------------------------------------------- the garbage collector

# It calls destructors and weakref callbacks, in whatever runs.

cdef int watch_collections() except -1:
    unwatch_collections()
    _gc_callbacks.insert(0, _collection_begins)
    _gc_callbacks.append(_collection_ends)
    return 0


cdef int unwatch_collections() except -1:
    for callback in (_collection_begins, _collection_ends):
        if callback in _gc_callbacks:
            _gc_callbacks.remove(callback)
    return 0


def _collection_begins(phase, info):
    global _collecting
    cdef greenlet me
    if phase == "start":
        me = current_greenlet()
        _collecting = <PyObject *> me


def _collection_ends(phase, info):
    global _collecting
    if phase == "stop":
        _collecting = NULL
