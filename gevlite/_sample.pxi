# Part of _core.pyx: which greenlets run, found by looking many times a second, for `python -m gevlite top`. It follows the
# rules of _look.pxi.
#
# A thread of its own does the looking. If it looked once it has the GIL, it would nearly always see what runs before a
# blocking call: that is when it gets the GIL. So it sleeps and looks without the GIL, which is enough to see whether a
# hub polls. If the main thread's hub does not poll, the thread asks the interpreter for a call there, which is made
# between two bytecodes of the running code. For other threads there is no such call; there it looks as soon as it has
# the GIL. So how much of the time they are busy is exact, and what they are busy with is only nearly so.

cdef extern from "_sample.h":
    void gevlite_pause(int64_t ns) noexcept nogil
    PyObject *gevlite_running_frame() noexcept      # borrowed
    int gevlite_call_there(int (*function)(void *) noexcept, void *argument) noexcept nogil

cdef enum:
    MOST_SAMPLED = 64       # hubs
    SAMPLE_NS = 10_000_000  # the mean time between two samples

cdef struct Sampled:
    PyObject *hub           # the Sampler holds a reference
    int64_t samples
    int64_t busy            # in how many of them it did not poll
    int64_t since           # it has been in one turn since then, as far as was seen; 0: it polls
    int64_t longest         # the longest such time
    uint64_t turn


# A looking thread goes on while the interpreter ends, which can then take no calls. This guards against such a call.
cdef PyThread_type_lock _calls_guard = PyThread_allocate_lock()
cdef bint _calls_prepared = False
cdef bint _calls_over = False


cdef int call_there(int (*function)(void *) noexcept, void *argument) noexcept nogil:
    """Have the main thread call it; -1 if it will not."""
    cdef int failed = -1
    PyThread_acquire_lock(_calls_guard, 1)
    if not _calls_over:
        failed = gevlite_call_there(function, argument)
    PyThread_release_lock(_calls_guard)
    return failed


def _end_calls():
    global _calls_over
    PyThread_acquire_lock(_calls_guard, 1)      # with the GIL held: a holder of the guard waits for nothing else
    _calls_over = True
    PyThread_release_lock(_calls_guard)


cdef int calls_after_fork_in_child() except -1:
    global _calls_guard
    _calls_guard = PyThread_allocate_lock()     # a thread of the parent may have held it
    return 0


cdef inline bint polls_now(PyObject *hub) noexcept nogil:
    return (<Hub> hub).polling or (<Hub> hub).closed


cdef inline uint64_t turn_of(PyObject *hub) noexcept nogil:
    """A number that differs in each turn of the loop; a turn need not poll."""
    return (<Hub> hub).n_polls + <uint64_t> (<Hub> hub).slice_end


@cython.final
cdef class Sampler(_Look):
    """Looks at what runs in each hub. To be used in a thread without a hub, and to be closed."""
    cdef list watched
    cdef Sampled seen[MOST_SAMPLED]
    cdef int n
    cdef int main               # the index of the hub of the main thread; -1: there is none
    cdef int other              # the index of another thread's hub that is to be looked at with the GIL; -1: none
    cdef bint asked             # the main thread is to call `sampled`
    cdef int64_t owed           # how many samples that call stands for
    cdef bint closed
    cdef unsigned int noise
    cdef dict counts            # (hub, kind, function, its file, its line, stack): samples

    def __cinit__(self):
        global _calls_prepared
        if not _calls_prepared:
            _calls_prepared = True
            atexit.register(_end_calls)
        self.noise = <unsigned int> gevlite_now_ns() | 1
        self.watched = []
        self.main = -1
        self.clear()

    cdef int clear(self) except -1:
        self.frames = []
        self.known = {}
        self.codes = []
        self.counts = {}
        return 0

    cdef int find_hubs(self) except -1:
        cdef Hub hub
        cdef list hubs = all_hubs()[:MOST_SAMPLED]
        cdef int i
        if hubs == self.watched:
            return 0
        self.watched = hubs
        self.counts = {}                # its keys have the numbers of hubs
        self.main = -1
        self.n = len(hubs)
        for i in range(self.n):
            hub = hubs[i]
            self.seen[i].hub = <PyObject *> hub
            self.seen[i].samples = self.seen[i].busy = self.seen[i].since = self.seen[i].longest = 0
            if hub.is_main_thread and not hub.closed:
                self.main = i
        return 0

    def watch(self, double seconds):
        """Look for `seconds`. Blocks the OS thread."""
        cdef int64_t end = gevlite_now_ns() + <int64_t> (seconds * 1e9)
        cdef bint more = True
        self.find_hubs()
        while more:
            self.other = -1
            with nogil:
                more = self.rounds(end)
            if self.other >= 0:
                self.note_thread(self.other)

    cdef bint rounds(self, int64_t end) noexcept nogil:
        """True if it is not over yet."""
        cdef int64_t now
        cdef int i
        while True:
            # At random, else it would keep in step with what the program does at regular times.
            self.noise ^= self.noise << 13
            self.noise ^= self.noise >> 17
            self.noise ^= self.noise << 5
            gevlite_pause(SAMPLE_NS / 2 + self.noise % SAMPLE_NS)
            now = gevlite_now_ns()
            for i in range(self.n):
                self.look_once(i, now)
            if self.other >= 0 or now >= end:
                return now < end

    cdef void look_once(self, int i, int64_t now) noexcept nogil:
        cdef Sampled *seen = &self.seen[i]
        cdef uint64_t turn
        seen.samples += 1
        if polls_now(seen.hub):
            seen.since = 0
            return
        seen.busy += 1
        turn = turn_of(seen.hub)
        if seen.since == 0 or turn != seen.turn:
            seen.turn = turn
            seen.since = now
        elif now - seen.since > seen.longest:
            seen.longest = now - seen.since
        if i != self.main:
            self.other = i
            return
        self.owed += 1
        if not self.asked:
            self.asked = True
            if call_there(sampled, <void *> self) < 0:
                self.asked = False      # its queue is full

    cdef int note_main(self) except -1:
        cdef Hub hub
        cdef PyObject *frame = gevlite_running_frame()
        cdef int64_t owed = self.owed
        self.owed = 0
        if self.closed or self.main < 0 or frame == NULL:
            return 0
        hub = self.watched[self.main]
        if hub.closed:
            return 0
        Py_INCREF(<object> frame)
        return self.note(hub, self.main, current_greenlet(), self.stack(frame, 0, 0), owed)

    cdef int note_thread(self, int i) except -1:
        cdef Hub hub = self.watched[i]
        cdef greenlet running = None
        cdef object frame = None
        cdef tuple stack = ()
        if hub.closed:
            return 0
        if not hub.polling:
            frame = _current_frames().get(hub.thread_ident)
        if frame is None:
            running = <greenlet> hub.current if hub.current != NULL else None
        else:
            running = running_of(hub, frame, None, False)   # to learn if the main greenlet is parked takes too long
            Py_INCREF(frame)
            stack = self.stack(<PyObject *> frame, 0, 0)
        return self.note(hub, i, running, stack, 1)

    cdef int note(self, Hub hub, int number, greenlet g, tuple stack, int64_t samples) except -1:
        cdef tuple key
        if g is not None and runs_loops(hub, g):
            g = hub
        key = (number, *kind_and_function(g, get_main(hub)), stack)
        self.counts[key] = self.counts.get(key, 0) + samples
        return 0

    def result(self):
        """A dict of what was seen since the last call."""
        cdef int i
        cdef list hubs = []
        for i in range(self.n):
            hubs.append((<size_t> self.seen[i].hub, self.seen[i].samples, self.seen[i].busy, self.seen[i].longest))
            self.seen[i].samples = self.seen[i].busy = self.seen[i].longest = 0
        found = {"sampled": hubs, "frames": self.frames, "running": [[*key, n] for key, n in self.counts.items()]}
        self.clear()
        return found

    def close(self):
        """To be called at the end."""
        if not self.closed:
            self.closed = True
            self.n = 0
            self.watched = []
            if self.asked:
                Py_INCREF(self)         # until that call is made


cdef int sampled(void *argument) noexcept:
    """Runs in the main thread, between two bytecodes."""
    cdef Sampler sampler = <Sampler> argument
    try:
        sampler.note_main()
    except Exception:
        pass                            # no memory
    sampler.asked = False
    if sampler.closed:
        Py_DECREF(sampler)
    return 0


# ---------------------------------------------------------------- how many there are

cdef tuple kind_and_function(greenlet g, greenlet main):
    """Its `kind_of`, and the name, the file and the first line of what it runs."""
    cdef str kind = kind_of(g, main)
    cdef tuple function = (None, None, 0)
    if kind == "greenlet":
        function = names_of(<CoreGreenlet> g)[1]
    elif kind == "raw" and g is not None:
        function = outermost(g)
    return (kind, *function)


@cython.final
cdef class _Tally(_Look):
    """Counts what `look` lists."""
    cdef dict counts            # (hub, kind, function, its file, its line, state, WaitKind or -1): how many

    cdef tuple stack_of(self, greenlet g):
        return ()

    cdef tuple stack(self, PyObject *frame, size_t owner, int skip):
        Py_DECREF(<object> frame)
        return ()

    cdef int add_parked(self, Waiter w, int number, greenlet main, tuple stack) except -1:
        return self.count(w.greenlet, number, main, "ready" if is_ready(w) else "parked", w.kind)

    cdef int add(self, greenlet g, int number, greenlet main, str state, tuple stack, Waiter w, tuple words,
                 int64_t since) except -1:
        return self.count(g, number, main, state, -1)

    cdef int count(self, greenlet g, int number, greenlet main, str state, int kind) except -1:
        cdef tuple key = (number, *kind_and_function(g, main), state, kind)
        self.counts[key] = self.counts.get(key, 0) + 1
        return 0


def tally():
    """A dict of plain numbers and strings that says how many greenlets run each function, and in which state.

    Like `look` with less detail, so that it can be called again and again.
    """
    cdef _Tally found = _Tally.__new__(_Tally)
    cdef Hub hub
    cdef int number = 0
    found.counts = {}
    found.current = _current_frames()
    for hub in all_hubs():
        found.look_at(hub, number, 0)
        number += 1
    return {
        "version": 1,
        "pid": getpid(),
        "now": found.now,
        "lag_limits": lag_limits(),
        "hubs": found.hubs,
        "counts": [[*key, n] for key, n in found.counts.items()],
    }


# ---------------------------------------------------------------- a call between two bytecodes

cdef int call_now(void *argument) except -1:
    cdef object function = <object> argument
    Py_DECREF(function)
    function()
    return 0


def call_in_main_thread(function):
    """Have the main thread call `function` between two bytecodes of the code that runs there, which gets the exception.

    May be called in any thread. False if too many such calls wait already. For what must not wait until a greenlet
    switches.
    """
    Py_INCREF(function)
    if call_there(<int (*)(void *) noexcept> call_now, <void *> function) < 0:
        Py_DECREF(function)
        return False
    return True
