# The map of the core: everything a primitive, a socket or a backend may touch. The territory is _core.pyx.
#
# The door, that is, what a new primitive needs:
#
#   current_hub(), current_greenlet()                        where we are
#   Waitable, with wait_here() and notify_callbacks()         something that becomes ready: derive from it
#   new_waiter(), waitlist_append(), wait_on()                    wait in a list of your own
#   notify_one(), notify_all()                                wake the first greenlet, or all, that wait there
#   fd_own(), fd_wait(), fd_pass_on(), fd_closed()            wait for a descriptor of your own
#   give_way(), give_way_within()                             let others run in what may succeed without waiting
#   timeout_ns(), now_ns(), deadline_of(), time_left(), next_wait()     times
#
# What only the core uses is not listed here, or has a leading underscore.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

# A backend can cimport them from here, too.
from gevlite._backend cimport END, READ, URGENT, WRITE, Backend, LostBackend, Ready, set_own_signal
from gevlite._heap cimport Heap, HeapItem, heap_before, heap_push, heap_remove
from gevlite._ring cimport (
    Entry, Ring, ring_at, ring_dispose, ring_pop, ring_push, ring_rotate, ring_unwatch, ring_watch,
)

cdef extern from "_greenlet_api.h":
    ctypedef class greenlet.greenlet [object PyGreenlet, check_size ignore]:
        pass

cdef extern from "_platform.h":
    int raise_it "gevlite_raise_it"() except -1
    ctypedef struct gevlite_time:
        int kind
        int64_t ns
        int64_t hidden
        int64_t wall

cdef extern from "Python.h":
    # CPython's declaration has more fields. The first three are NULL unless a tracer or a profiler is set.
    ctypedef struct PyThreadState:
        void *c_tracefunc
        void *c_profilefunc
        PyObject *c_traceobj
        PyObject *async_gen_firstiter
        PyObject *async_gen_finalizer
        int coroutine_origin_tracking_depth
    PyThreadState *PyThreadState_Get() noexcept
    PyObject *PyThreadState_GetDict() noexcept

# What a parked greenlet waits for; `Waiter.reason` in Python.
cpdef enum WaitKind:
    WAIT_OTHER = 0
    WAIT_YIELD = 1
    WAIT_TIMER = 2
    WAIT_READ = 3
    WAIT_WRITE = 4
    WAIT_GREENLET = 5
    WAIT_EVENT = 6
    WAIT_RESULT = 7
    WAIT_LOCK = 8
    WAIT_QUEUE = 9
    WAIT_THREADPOOL = 10
    WAIT_IDLE = 11
    WAIT_HUB = 12
    WAIT_WATCHER = 13
    WAIT_FDS = 14
    WAIT_LOOP = 15

# `Waiter.detail` of a WAIT_YIELD: the end of a time slice.
cdef enum:
    USED_SLICE = 1

# ---- intrusive FIFO of what waits for one thing

cdef struct WaitList:
    PyObject *head          # owned references to Place
    PyObject *tail
    Py_ssize_t count

cdef class Place:
    """A place in a WaitList. `notify` is called when what it waited for has happened; it is in no list then."""
    cdef PyObject *prev
    cdef PyObject *next
    cdef WaitList *list     # NULL when in no list

    # 1: this place took it; 0: its wait is over already, notify the next place.
    cdef int notify(self, object source) except -1
    # It will never happen, for this reason: the descriptor is closed.
    cdef int fail(self, object exc) except -1

cdef int waitlist_append(WaitList *lst, Place place) except -1
cdef int waitlist_remove(Place place) except -1
cdef Place waitlist_pop(WaitList *lst)                                   # None when empty
cdef bint notify_one(WaitList *lst, object source) except -1        # False if none of them took it
cdef Py_ssize_t notify_all(WaitList *lst, object source) except -1
cdef int waitlist_clear(WaitList *lst) except -1                        # for __dealloc__ of the list's owner

# ---- park and wake

cdef enum WaiterState:
    NEW = 0         # made, and not parked yet
    PARKED = 1      # its greenlet is switched away
    WOKEN = 2       # has its value or exception; a resumption is queued if it was parked
    RESUMED = 3     # the switch into its greenlet is under way
    DONE = 4

cdef class Block:
    """A `with` block in a part of what a greenlet runs. See _core.pyx."""
    cdef int interrupt(self, Hub hub, greenlet target, object exc) except -1
    cdef bint leave(self, object value) except -1

cdef class Belongings:
    """What a greenlet has of its own in the state of its thread: away while it is parked. See _core.pyx."""
    cdef greenlet owner
    cdef void put_away(self) noexcept
    cdef void put_back(self) noexcept
    cdef object raising(self, object exc)
    cdef Block block(self)

cdef class Waiter(Place):
    cdef readonly Hub hub
    cdef greenlet greenlet
    cdef Belongings belongings      # of the parked greenlet; None for most
    cdef object value
    cdef object exc
    cdef Py_ssize_t heap_index      # place in the timer heap, -1: none
    cdef PyObject *parked_prev      # the hub's list of what is parked
    cdef PyObject *parked_next
    cdef char state
    cdef public char kind           # WaitKind
    cdef public int detail          # the fd for WAIT_READ and WAIT_WRITE; for WAIT_FDS how many
    cdef bint timed_out
    # Woken with `value`, but an exception ended the wait before `value` was returned. Only the code that parked reads
    # it, after the wait has raised: it then owes `value` to the next waiter.
    cdef bint undelivered
    cdef bint ref                   # its time-out keeps the loop alive
    cdef uint64_t monitoring        # the interpreter's state of monitoring at the switch
    # What it waits for: a lock, say; NULL if `kind` and `detail` say all. Borrowed: the code that parks keeps it alive;
    # if it has a list of waiters, only while we are in that list.
    cdef PyObject *what
    cdef int64_t since              # `slice_end` of the turn in which it parked; 0: before the first one

    cpdef park(self)
    cdef object park_for(self, int64_t limit)           # ns, -1: for ever; sets timed_out
    cdef object _suspend(self, greenlet me)
    cdef PyObject *_enter(self, int64_t limit) except NULL
    cdef greenlet _may_park(self)
    cdef PyObject *_switch_from(self, greenlet me) except NULL
    cdef int _leave(self, PyObject *result) except -1
    cdef void _put_back(self) noexcept
    cdef int _tell_tracer(self) except -1
    cdef int _undo(self) except -1
    cdef object _result(self)
    cpdef bint wake(self, object value=*) except -1
    cpdef bint throw(self, object exc) except -1
    cdef bint _time_out(self) except -1

cdef class _ForwardPlace(Place):
    """A second place for a waiter that waits in two lists."""
    cdef Waiter target

cdef class CoreGreenlet(greenlet):
    """What the core keeps with each greenlet that gevlite itself made."""
    cdef PyObject *waiter           # borrowed: the Waiter it is parked on
    cdef object pending             # exception to raise at its next park
    cdef readonly Hub hub
    cdef char life                  # GreenletLife
    cdef unsigned int traced        # its number in a trace; 0: it was in none
    cdef object locals              # its places in gevlite.local objects; None until it has used one
    cdef int peace                  # how many blocks of `uninterrupted()` it is in

    cdef int begin(self) except -1
    cdef int end(self) except -1
    # For reports of other threads: its name or None, what it runs or None, a weak reference to its spawner or None, the
    # code that spawned it (None, a code object or a list) and the place in that.
    cdef tuple identity(self)

cdef enum GreenletLife:
    UNSTARTED = 0
    SCHEDULED = 1       # a START entry or a start timer is pending
    RUNNING = 2
    FINISHED = 3

cdef class Waitable:
    """Something that becomes ready: the waiters and links that events, results and locks share."""
    cdef WaitList waiters
    cdef list callbacks             # of LinkCall, None when there are none
    cdef object __weakref__

    cpdef bint ready(self) except -1
    cdef bint wait_here(self, int kind, int64_t timeout) except -1   # False: timed out
    cdef int notify_callbacks(self) except -1

# ---- callbacks and timers

cdef class Callback:
    """A call that the hub will make; `stop()` takes it back."""
    cdef readonly Hub hub
    cdef public object callback
    cdef public object args
    cdef bint queued

    cdef int run(self) except -1
    cpdef stop(self)

cdef class LinkCall(Callback):
    """A linked callback. It stays in its list until the hub calls it: until then it can be taken back."""
    cdef list links

cdef int links_due(list links, object source) except -1         # have the hubs call them
cdef int unlink_from(list links, object callback) except -1

cdef class Timer(Callback):
    cdef Py_ssize_t heap_index
    cdef int64_t repeat_ns
    cdef bint ref

    cdef int start_ns(self, int64_t delay_ns) except -1
    cdef PyObject *strikes(self) noexcept       # the greenlet that it raises an exception in; NULL for any other timer

# ---- file descriptors

cdef enum FdFlags:
    OWNED = 1           # a gevlite socket: non-blocking, and fd_closed is called before it is closed
    ADOPTED = 2         # registered once with an edge-triggered backend
    READ_READY = 4      # the last thing known: try before waiting
    WRITE_READY = 8
    STICKY = 16         # END or URGENT was seen: a short read no longer clears READ_READY

cdef struct FdEntry:
    int fd
    int flags
    int armed           # one-shot interest the backend holds for us
    uint64_t owner      # the owning socket's token, 0: none
    WaitList readers
    WaitList writers

cdef class FdWatch:
    """Calls back once when an fd is ready; what io watchers are made of."""
    cdef readonly Hub hub
    cdef readonly int fd
    cdef readonly int events
    cdef object callback
    cdef _WatchPlace reader
    cdef _WatchPlace writer
    cdef bint active

    cdef int found(self, int events) except -1

cdef class _WatchPlace(Place):
    cdef FdWatch watch

# ---- time that is moved, see _clock.pxi

cdef class Clock:
    cdef Hub hub                # None: the clock is not in use
    cdef greenlet owner         # the greenlet that began it
    cdef public bint auto
    cdef int64_t settle_ns
    cdef int64_t limit_ns       # -1: none
    cdef int64_t moved_at       # CLOCK_MONOTONIC
    cdef int64_t began_at       # hub time
    cdef int64_t passed         # until the last end
    cdef int64_t unsent         # bytes that stayed unsent while we waited
    cdef int64_t under_way      # bytes that stayed unacknowledged while we waited
    cdef list targets           # of `advance`: (hub time, Waiter)

    cdef int check(self, str what) except -1
    cdef int64_t first_target(self) except -2
    cdef int move(self, int64_t to) except -1
    cdef int reach(self, int64_t target) except -1
    cdef object why_held(self)
    cdef int give_up(self, object why) except -1
    cdef bint is_late(self) except -1

# ---- the hub

cdef enum:
    N_LAGS = 12                 # classes of rounds, by length: see measure_round

cdef struct HubTotals:
    uint64_t switches
    uint64_t handoffs
    uint64_t polls
    uint64_t spawned
    uint64_t slices
    int64_t lag_ns
    uint64_t[N_LAGS] lags

cdef enum SeldomDue:
    CHILD_EXITS = 1             # child of a fork: it ends with `successor`
    SLICES_USED = 2             # something is in `sliced`
    CLOCK_STANDS = 4            # its time stands still, see _clock.pxi

cdef class Hub(greenlet):
    cdef Ring ready
    cdef Ring inbox                 # from other threads
    cdef Heap timers
    cdef uint64_t serial            # no other hub has had it: what a cached FdEntry is valid for
    cdef FdEntry **fds
    cdef int fds_size
    cdef readonly Backend backend
    cdef Backend front              # what is called: `backend`, or what renews it first in the child of a fork
    cdef readonly str backend_reason
    cdef bint started               # the loop has been entered
    cdef bint polling               # inside backend.poll, maybe blocked
    cdef bint ticker_waits          # for this hub to go on; see _ticker.pxi, whose thread sets it
    cdef readonly bint closed
    cdef bint closing               # unwinding what is parked
    cdef bint is_main_thread
    cdef PyThreadState *thread_state
    cdef Belongings belongings       # of the running greenlet, in the thread's state now; None for most
    cdef greenlet successor          # of a main greenlet that never runs again; None if it does
    cdef int budget                 # handoffs left before the hub must poll
    cdef int64_t slice_end          # coarse clock; the same limit in time
    cdef int64_t turn_ns            # how long a turn may take: SLICE_NS, or 0
    cdef Py_ssize_t round_left      # how many ready entries the current round has left, see measure_round; 0: no round
    cdef int64_t round_began        # coarse clock
    cdef int64_t lag_ns             # the length of all rounds
    cdef uint64_t[N_LAGS] lags      # how many there were of which length
    cdef int watched_fds            # how many fds the backend watches for us
    cdef Py_ssize_t fd_waiters
    cdef Py_ssize_t refs            # external reasons to stay alive (watchers, children)
    cdef Py_ssize_t thread_refs     # the same, for the work of worker threads
    cdef Py_ssize_t unref_timers
    cdef PyObject *parked           # head of the list of parked Waiters
    cdef Py_ssize_t n_parked
    cdef PyObject *spare            # free list of Waiters, linked by `next`
    cdef int spare_room             # how many more it takes; 0 once the hub is torn down
    cdef PyObject *buffer           # a bytes object to receive into, to which nothing else refers, or NULL
    cdef Py_ssize_t buffer_size
    cdef dict raw_pending           # pending exceptions of greenlets that are not CoreGreenlets
    cdef bint before_turn           # `begin_turn` has something to do, for `raw_pending` or `shuffle`
    cdef object shuffle             # the _Shuffle that draws what runs next; None: first in, first out
    cdef WaitList idle_waiters
    cdef WaitList join_waiters
    cdef readonly unsigned long thread_ident
    cdef long pid
    cdef readonly Py_ssize_t greenlets
    cdef uint64_t n_switches, n_handoffs, n_polls, n_spawned
    cdef public object name
    cdef public object exception_stream
    cdef public list before_poll    # called, without arguments, each time before and after polling; None for none
    cdef public list after_poll
    cdef public int watchers        # active ones of `loop`, for stats()
    cdef public int spinning        # idle watchers: poll without waiting
    # Borrowed: the CoreGreenlet that was resumed or begun last, if it has not ended. It runs unless it is parked: then the hub
    # does, or a raw greenlet.
    cdef PyObject *current
    cdef PyObject *runner           # borrowed: the greenlet that runs the loop now, normally the hub itself
    cdef bint laid_off              # the hub itself is not needed: a runner runs the loop
    cdef list runners               # every _Runner there is
    cdef list idle_runners          # those of them that are not needed now
    cdef greenlet nursery           # begins new runners, near the bottom of the C stack
    cdef greenlet unborn            # the runner that the nursery is to begin
    cdef int delivered              # how many of backend.found are dealt with
    cdef int polls                  # calls of backend.poll under way: more than one if signal handlers wait in them
    cdef Clock clock                # moves its time, see _clock.pxi; None: its time is real
    cdef gevlite_time *time         # of its thread
    cdef public int outside         # how many greenlets wait for another process, or for a terminal
    cdef public object host         # runs this hub in a foreign event loop, see _hosted.pxi; None: there is no host
    cdef bint hosted                # that loop waits, or does something of its own, until our next turn
    cdef bint noticed               # the host has been notified that a turn is needed
    cdef int notice_fd              # the pipe that notifies it
    cdef int noticed_fd
    cdef list hooks_running         # of before_poll and after_poll; None for none
    cdef PyObject *in_place         # borrowed: the event loop for which the main greenlet polls, see poll_in_place
    cdef PyObject *in_place_shown   # borrowed: the same, but not NULL while signal handlers run in the middle of that poll
    cdef int64_t in_place_until     # when that loop's next timer is due; 0: it has none
    cdef bint asking                # a runner is finding out whether anything is left
    cdef bint handlers_due          # the main greenlet is switched to in order to run signal handlers
    cdef int in_handlers            # how many it is running, one within the other
    cdef int seldom                 # of SeldomDue: rare work for the loop in each turn; 0: none, as nearly always
    cdef WaitList sliced            # greenlets that have used up their time slice, see _interrupt.pxi
    cdef Waiter slice_next          # the greenlet of `sliced` that was woken last
    cdef bint slice_used            # a slice has ended in this turn of the loop
    cdef object slicer              # the Tick that ends time slices; None: they have no end
    cdef bint slice_asked           # the ticker's thread has asked for the end of a slice
    cdef bint slice_again           # the handler has asked again, since the slice could not end at `slice_place`
    cdef uint64_t slice_place       # a frame and an instruction
    cdef uint64_t slice_run         # the run whose slice is to end, see `progress`
    cdef uint64_t slice_owed        # the run whose slice would have ended, but for peace
    cdef uint64_t slice_goes_on     # the run that goes on for another slice
    cdef int64_t slice_began        # when that slice began
    cdef uint64_t slice_asking_run  # the run in which the handler is called at each step, see ask_for_a_while
    cdef int64_t slice_asking_end   # when that ends
    cdef int64_t slice_asking_pause     # how long the pause after that is
    cdef uint64_t n_slices          # how many were ended
    cdef set left_behind            # raw greenlets of the parent that must never run in this child; None for none
    cdef bint attachable            # we can be notified of a debugger that attaches, so that it does not have to wait
    cdef int attach_fd              # readable when a debugger is about to attach; -1: not watched yet
    cdef int attach_held            # open as long as attach_fd is
    cdef int64_t attach_until       # look for the debugger often until then; 0: do not look

    cdef int drop_spare(self) except -1
    cdef int push(self, int kind, PyObject *target, PyObject *argument) except -1
    cdef int push_remote(self, int kind, PyObject *target, PyObject *argument) except -1
    cdef int push_start(self, greenlet g, object args) except -1
    cdef PyObject *next_target(self) except NULL
    cdef int step(self) except -1
    cdef int run_as(self, PyObject *me) except -1
    cdef int fire_timers(self) except -1
    cdef int call_hooks(self, list hooks) except -1
    cdef int poll_once(self, int64_t timeout_ns) except -1
    cdef int64_t nothing_left(self, int64_t timeout) except? -3
    cdef int _forget_timer(self, object owner) except -1
    cdef int _report(self, object context, object exc) except -1
    cdef Callback _call_soon(self, object callback, tuple args)

    cdef int64_t _nothing_left(self, int64_t timeout) except? -3
    cdef int deliver(self) except -1
    cdef int wake_backend(self) except -1

cdef Hub current_hub()                      # the running thread's hub, made on first use
cdef greenlet current_greenlet()
cdef bint finalizing() noexcept             # the interpreter ends: only this thread runs, and nothing can be imported
cdef int set_belongings(Belongings belongings) except -1     # the running greenlet has these from now on; None: none
cdef Belongings lay_down()                  # before a switch by hand: put them away. The result is for take_up().
cdef int take_up(Belongings belongings) except -1
cdef Block new_block(Hub hub)               # of what runs now; None: of the whole greenlet, the usual case
cdef greenlet in_whose_name(greenlet g)      # the main greenlet for what runs the loop; any other one is itself

# Reading the clock is expensive beside taking a free lock: only one in so many calls does. Counted over all modules and
# threads.
cdef struct Looks:
    int left
    int every

cdef Looks looks

cdef inline bint time_to_look() noexcept:
    looks.left -= 1
    if looks.left > 0:
        return False
    looks.left = looks.every
    return True

# Fairness. An operation that can block, but can also succeed again and again without blocking, lets others run if the
# slice is over, before it tries; an operation that can never block never does. Where one call can take long by itself,
# it reads the clock each time, with give_way_if_due; else it uses one of these, which cost a counter.
cdef int give_way_if_due() except -1
cdef int give_way_unless_zero(object timeout) except -1

# Between two turns of an event loop that the current greenlet runs.
cdef int give_way_to_hub(Hub hub) except -1

# Around what calls Python in the middle of a change: until then no time slice of the running greenlet ends.
cdef int begin_peace() except -1
cdef int end_peace() except -1
cdef bint in_main_greenlet()
cdef bint poll_in_place(Hub hub, object loop, int64_t timeout, int64_t until) except -1

cdef inline int give_way(bint may_block) except -1:
    return give_way_if_due() if time_to_look() and may_block else 0

cdef inline int give_way_within(object timeout) except -1:
    """For what blocks for at most `timeout`: None, seconds or a Timeout."""
    return give_way_unless_zero(timeout) if time_to_look() else 0

# The largest receive buffer that a hub keeps for reuse.
cdef enum:
    KEEP_BUFFER = 262144

cdef PyObject *take_buffer(Hub hub, Py_ssize_t size) except NULL
cdef int keep_buffer(Hub hub, PyObject *data, Py_ssize_t size) except -1
cdef FdEntry *fd_known(Hub hub, int fd, uint64_t owner) noexcept
cdef FdEntry *fd_own(Hub hub, int fd, uint64_t owner) except NULL
cdef int fd_wait(Hub hub, FdEntry *entry, int events, int64_t limit) except -1
cdef int fd_pass_on(Hub hub, FdEntry *entry) except -1
# For code that puts a Place of its own into the lists of an entry, to be notified without parking.
cdef FdEntry *fd_entry(Hub hub, int fd) except NULL
cdef int fd_rearm(Hub hub, FdEntry *entry) except -1
cdef int fd_disarm(Hub hub, FdEntry *entry) except -1
cdef int fd_ask(Hub hub, FdEntry *entry, int events) except -1
cdef bint cancel_throw(Hub hub, greenlet g, object exc) except -1
cdef int throw_into(Hub hub, greenlet g, object exc) except -1
cdef int throw_now(Hub hub, greenlet g, object exc) except -1

cdef object await_it(object what)                       # for `__await__` of what coroutines may wait for

# what: see Waiter.what.
cdef Waiter new_waiter(Hub hub, int kind, PyObject *what)

# For registered descriptions: the name of a type without its module; the name of a greenlet.
cdef str type_name(object what)
cdef str greenlet_name(greenlet g)
cdef int free_waiter(Waiter w) except -1
cdef bint wait_on(Waiter w, int64_t timeout) except -1
cdef int64_t timeout_ns(object seconds) except -2       # None: -1 (for ever); never rounded down
cdef int64_t now_ns() noexcept nogil          # hub time, on which deadlines are based. It never goes back
cdef int64_t shown_ns() noexcept nogil        # `time.monotonic_ns()`, as the program is shown it: see _clock.pxi
cdef int64_t hidden_ns() noexcept nogil       # the difference
cdef bint time_stands() noexcept nogil
cdef int64_t wall_ns() noexcept nogil

cdef inline int64_t deadline_of(int64_t timeout) noexcept:
    """The moment `timeout` ns from now. -1 (never) for -1."""
    return now_ns() + timeout if timeout >= 0 else -1

cdef inline int64_t time_left(int64_t deadline) noexcept:
    """The time-out, in ns, that ends at `deadline`: 0 after it, -1 for -1."""
    return max(deadline - now_ns(), 0) if deadline >= 0 else -1

cdef inline bint next_wait(int64_t *timeout, int64_t *deadline) noexcept:
    """For code that can wait several times within one time-out, and reads no clock before it has to. Call before each
    wait.

    deadline: negative before the first wait, which sets it. Afterwards `timeout` becomes what is left; False: nothing
    is.
    """
    if timeout[0] < 0:
        return True
    if deadline[0] < 0:
        deadline[0] = now_ns() + timeout[0]
        return True
    timeout[0] = deadline[0] - now_ns()
    return timeout[0] > 0

cdef uint64_t new_fd_owner() noexcept                   # a token no other socket has had
cdef int fd_closed(int fd, uint64_t owner) except -1       # in every hub: raise EBADF in what waits for the socket
cdef int fd_number_closed(int fd) except -1                 # in every hub: the same for what waits for the bare number
cdef int fd_number(object fileno) except -1
cdef int poll_now(int fd, int events) except -1
cdef int errno_raise(int code) except -1
cdef int run_signal_handlers(bint came) except -1           # for backends, after EINTR (True) or drain_wake()
