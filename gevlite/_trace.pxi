# Part of _core.pyx: which greenlet runs when, what each waits for, and what wakes it. See "The trace" in
# docs/design.md, and `trace`.
#
# Greenlet's trace function reports each switch, `before_poll` and `after_poll` report each poll, a spawn callback each
# start. `decide` tests `tracing` at each wake: that is the whole cost while there is no trace.
#
# An event is a struct in a ring of a fixed size; the oldest one is overwritten. Texts are kept once and have a number,
# and so has each greenlet. Its name is an event too (TOLD), written when the greenlet is first met and when it ends, so
# that the name is there for as long as other events of the greenlet can be.
#
# This code runs to its end under the GIL, so any thread may write an event. It runs in the middle of a switch, under
# the rules of _look.pxi, and raises nothing.

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport malloc, realloc
from libc.string cimport memset

# Types of events. _timeline.py has the same list.
cdef enum:
    TRACE_SWITCH = 1        # `who` runs from now on, and `other` does not; text and kind: what `other` waits for
    TRACE_WAKE = 2          # of `who` by `other`; kind: a cause; text: the exception that it is woken with
    TRACE_SPAWN = 3         # of `who` by `other`
    TRACE_TOLD = 4          # `who` has the name `other`, and runs the function `text`; kind: of a greenlet
    TRACE_POLL = 5          # the hub `who` begins to wait for the kernel
    TRACE_POLLED = 6        # the hub `who` ends that wait
    TRACE_PARKED = 7        # `who` has been waiting since before the trace began
    TRACE_HOLDER = 8        # `other` has the lock that `who` waits for

# In place of a WaitKind: what has become of the greenlet that ran.
cdef enum:
    TRACE_ENDED = 254
    TRACE_AWAY = 255        # it has switched away by hand

cdef enum:
    CAUSE_GREENLET = 0      # greenlet `other` did it
    CAUSE_IO = 1            # this and the next two: the hub did it, for a reason of its own
    CAUSE_TIMER = 2
    CAUSE_CALLBACK = 3
    CAUSE_THREAD = 4        # what runs in another thread did it
    CAUSE_RAISES = 128      # added: with an exception

cdef enum:
    TRACK_GREENLET = 0
    TRACK_MAIN = 1
    TRACK_HUB = 2
    TRACK_RAW = 3
    TRACK_THREAD = 4        # an OS thread without a hub

cdef struct TraceEvent:
    int64_t time
    uint32_t who
    uint32_t other
    uint32_t text
    uint16_t thread
    uint8_t type
    uint8_t kind

# What is known about a descriptor of a socket: the words for waiting in each direction.
cdef struct TraceFd:
    uint64_t owner
    uint32_t texts[2]

# When so many texts are kept, those that no event uses any more are dropped.
cdef enum:
    TRACE_TEXTS = 50_000

cdef bint tracing = False           # events are recorded; for `decide`
cdef _Trace _trace = None
cdef uint32_t _trace_numbers = 0    # of greenlets, in all traces
cdef object _add_spawn_callback = None, _remove_spawn_callback = None


def set_spawn_callbacks(add, remove):
    """Set the functions that register and remove a callback for each greenlet that starts."""
    global _add_spawn_callback, _remove_spawn_callback
    _add_spawn_callback, _remove_spawn_callback = add, remove


cdef class _TracedThread:
    """Listens to the switches of one OS thread."""
    cdef _Trace trace
    cdef Hub hub
    cdef uint32_t hub_number
    cdef uint16_t number
    cdef object before              # greenlet's trace function before
    cdef object listener            # ours: always the same object
    cdef object polls, polled

    def switched(self, event, args):
        """greenlet's trace function."""
        if self.trace.active:
            try:
                self.trace.note_switch(self, (<tuple> args)[0], (<tuple> args)[1])
            except BaseException:
                pass                # no memory: the event is lost
        else:
            self.end()
        if self.before is not None:
            self.before(event, args)

    def on_poll(self):
        if self.trace.active:
            self.trace.add(TRACE_POLL, self.hub_number, 0, 0, self.number, 0)

    def on_polled(self):
        if self.trace.active:
            self.trace.add(TRACE_POLLED, self.hub_number, 0, 0, self.number, 0)

    cdef int begin(self) except -1:
        self.before = gettrace()
        self.listener = self.switched
        self.polls = self.on_poll
        self.polled = self.on_polled
        self.listen_to_polls()
        settrace(self.listener)
        return 0

    cdef int listen_to_polls(self) except -1:
        if self.hub.before_poll is None:
            self.hub.before_poll = []
        if self.hub.after_poll is None:
            self.hub.after_poll = []
        self.hub.before_poll.append(self.polls)
        self.hub.after_poll.insert(0, self.polled)
        return 0

    def end(self):
        """To be called in its own thread."""
        # A trace function that was set since then passes events on to ours, so ours stays and does nothing.
        if gettrace() is self.listener:
            settrace(self.before)
        for hooks, hook in ((self.hub.before_poll, self.polls), (self.hub.after_poll, self.polled)):
            if hooks is not None and hook in hooks:
                hooks.remove(hook)
        if self.hub.before_poll is not None and not self.hub.before_poll:
            self.hub.before_poll = None
        if self.hub.after_poll is not None and not self.hub.after_poll:
            self.hub.after_poll = None


@cython.final
cdef class _Trace:
    cdef bint active
    cdef TraceEvent *events
    cdef size_t size
    cdef size_t written             # since it began
    cdef int64_t began, ends        # ends: it stops by itself
    cdef uint32_t first             # greenlets with a smaller number are not known here
    cdef dict raw                   # address of a raw greenlet: [number, weak reference, `written` when it was told]
    cdef dict plain                 # number of an OS thread without a hub: number of its track
    cdef dict threads               # number of an OS thread: _TracedThread
    cdef int n_threads              # how many there have been
    cdef list kept                  # of hubs and OS threads: (number, kind, name, function, thread)
    cdef dict known                 # text: its number
    cdef list texts
    cdef list free                  # numbers of texts that can be used again
    cdef Py_ssize_t most_texts
    cdef TraceFd *fds
    cdef size_t fds_size
    cdef object spawn_callback

    def __cinit__(self, size_t size):
        self.size = size
        self.events = <TraceEvent *> malloc(size * sizeof(TraceEvent))
        if self.events == NULL:
            raise MemoryError(f"a buffer for {size} events of a trace")
        self.first = _trace_numbers + 1
        self.raw = {}
        self.plain = {}
        self.threads = {}
        self.kept = []
        self.known = {}
        self.texts = [""]
        self.free = []
        self.most_texts = TRACE_TEXTS

    def __dealloc__(self):
        free(self.events)
        free(self.fds)

    # -------- events

    cdef inline int add_at(self, int64_t now, int type, uint32_t who, uint32_t other, uint32_t text, int thread,
                           int kind) noexcept:
        cdef TraceEvent *event = &self.events[self.written % self.size]
        self.written += 1
        event.time = now
        event.who = who
        event.other = other
        event.text = text
        event.thread = <uint16_t> thread
        event.type = <uint8_t> type
        event.kind = <uint8_t> kind
        return 0

    cdef int add(self, int type, uint32_t who, uint32_t other, uint32_t text, int thread, int kind) noexcept:
        return self.add_at(gevlite_now_ns(), type, who, other, text, thread, kind)

    cdef int note_switch(self, _TracedThread thread, greenlet origin, greenlet target) except -1:
        cdef int64_t now = gevlite_now_ns()
        cdef Hub hub = thread.hub
        cdef Waiter w = None
        cdef PyObject *p
        cdef uint32_t who = self.number_of(hub, target, thread.number)
        cdef uint32_t other = self.number_of(hub, origin, thread.number)
        cdef uint32_t text = 0, holder = 0
        cdef int kind = TRACE_AWAY
        if now > self.ends:
            self.active = False
            return 0
        if who == other:
            return 0                # from one runner of the hub to another
        if isinstance(origin, CoreGreenlet):
            p = (<CoreGreenlet> origin).waiter
            if p != NULL:
                w = <Waiter> p
            elif (<CoreGreenlet> origin).life == FINISHED:
                kind = TRACE_ENDED
                self.tell(<CoreGreenlet> origin, thread.number)
        elif other != thread.hub_number:
            if hub.parked != NULL and (<Waiter> hub.parked).greenlet is origin:     # it has just parked
                w = <Waiter> hub.parked
            elif origin is get_main(hub):
                w = waiter_of(hub, origin)      # a signal handler has run in the middle of its wait
            elif origin.dead:
                kind = TRACE_ENDED
            self.tell_raw(hub, origin, thread.number)
        if w is not None:
            kind = w.kind
            text = self.words(w, &holder)
        self.add_at(now, TRACE_SWITCH, who, other, text, thread.number, kind)
        if holder:
            self.add_at(now, TRACE_HOLDER, other, holder, 0, thread.number, 0)
        return 0

    cdef int note_wake(self, Waiter w, bint raises) except -1:
        cdef int64_t now = gevlite_now_ns()
        cdef Hub hub
        cdef greenlet me
        cdef uint32_t other, text = 0
        cdef int cause, thread = 0
        cdef uint32_t who = self.number_of(w.hub, w.greenlet, self.thread_of(w.hub))
        if gevlite_thread_hub == NULL:
            cause = CAUSE_THREAD
            other = self.number_of_thread()
        else:
            hub = <Hub> gevlite_thread_hub
            me = current_greenlet()
            thread = self.thread_of(hub)
            other = self.number_of(hub, me, thread)
            if hub is not w.hub:
                cause = CAUSE_THREAD
            elif not runs_loops(hub, me):
                cause = CAUSE_GREENLET
            elif w.timed_out:
                cause = CAUSE_TIMER
            elif hub.backend.n_found:
                cause = CAUSE_IO
            else:
                cause = CAUSE_CALLBACK
        if raises:
            cause |= CAUSE_RAISES
            text = self.intern(type_name(w.exc) if isinstance(w.exc, BaseException) else w.exc.__name__)
        self.add_at(now, TRACE_WAKE, who, other, text, thread, cause)
        return 0

    def note_spawn(self, g):
        """A spawn callback."""
        cdef Hub hub
        cdef int thread
        if not self.active or not isinstance(g, CoreGreenlet) or gevlite_thread_hub == NULL:
            return
        try:
            hub = <Hub> gevlite_thread_hub
            thread = self.thread_of(hub)
            self.add(TRACE_SPAWN, self.number_of((<CoreGreenlet> g).hub, g, thread),
                     self.number_of(hub, current_greenlet(), thread), 0, thread, 0)
        except BaseException:
            pass                    # no memory: the event is lost

    # -------- greenlets and threads

    cdef uint32_t new_number(self) noexcept:
        global _trace_numbers
        _trace_numbers += 1
        return _trace_numbers

    cdef int thread_of(self, Hub hub) except -1:
        cdef _TracedThread thread = self.threads.get(hub.thread_ident)
        return thread.number if thread is not None else 0

    cdef uint32_t number_of(self, Hub hub, greenlet g, int thread) except? 0:
        """The number of a greenlet. thread: where it runs, for a greenlet that is met for the first time."""
        cdef object found
        cdef uint32_t number
        if isinstance(g, CoreGreenlet):
            if (<CoreGreenlet> g).traced < self.first:
                (<CoreGreenlet> g).traced = self.new_number()
                self.tell(<CoreGreenlet> g, thread)
            return (<CoreGreenlet> g).traced
        if g is not hub and (runs_loops(hub, g) or isinstance(g, _Nursery)):
            g = hub                 # to the reader, the greenlet that runs the loop is the hub
        found = self.raw.get(<size_t> <PyObject *> g)
        if found is not None:
            return found[0]
        number = self.new_number()
        self.raw[<size_t> <PyObject *> g] = [
            number, weak_reference(g, partial(self.raw.pop, <size_t> <PyObject *> g)), None
        ]
        if g is hub:
            self.kept.append((number, TRACK_HUB, type_name(hub.backend), None, thread))
        elif g is get_main(hub):
            self.kept.append((number, TRACK_MAIN, None, None, thread))
        else:
            self.tell_raw(hub, g, thread)
        return number

    cdef int tell(self, CoreGreenlet g, int thread) except -1:
        cdef object name
        cdef tuple function
        name, function = names_of(g)
        self.add(TRACE_TOLD, g.traced, self.intern(name) if name is not None else 0, self.intern(function), thread,
                 TRACK_GREENLET)
        return 0

    cdef int tell_raw(self, Hub hub, greenlet g, int thread) except -1:
        """Record what it runs, known while it is switched away: once, and again when that may be overwritten."""
        cdef list known = self.raw[<size_t> <PyObject *> g]
        cdef tuple function
        if known[2] is not None and self.written - <size_t> known[2] < self.size // 2 or g is get_main(hub):
            return 0
        function = outermost(g)
        if function[0] is not None:
            known[2] = self.written
            self.add(TRACE_TOLD, known[0], 0, self.intern(function), thread, TRACK_RAW)
        return 0

    cdef uint32_t number_of_thread(self) except? 0:
        cdef object ident = _get_ident()
        cdef object found = self.plain.get(ident)
        if found is None:
            found = self.new_number()
            self.plain[ident] = found
            self.kept.append((found, TRACK_THREAD, thread_name(ident), None, 0))
        return found

    # -------- texts

    cdef uint32_t intern(self, object text) except? 0:
        cdef object found = self.known.get(text)
        cdef uint32_t number
        if found is not None:
            return found
        if len(self.known) >= self.most_texts:
            self.drop_texts()
        if self.free:
            number = self.free.pop()
            self.texts[number] = text
        else:
            number = len(self.texts)
            self.texts.append(text)
        self.known[text] = number
        return number

    cdef int drop_texts(self) except -1:
        """Drop the texts that no event uses any more."""
        cdef bytearray used = bytearray(len(self.texts))
        cdef unsigned char *marks = used
        cdef size_t n
        cdef Py_ssize_t i
        for n in range(min(self.written, self.size)):
            marks[self.events[n].text] = 1
            if self.events[n].type == TRACE_TOLD:
                marks[self.events[n].other] = 1
        for i in range(1, len(self.texts)):
            if not marks[i] and self.texts[i] is not None:
                del self.known[self.texts[i]]
                self.texts[i] = None
                self.free.append(i)
        self.most_texts = max(TRACE_TEXTS, 2 * len(self.known))
        if self.fds != NULL:
            memset(self.fds, 0, self.fds_size * sizeof(TraceFd))
        return 0

    cdef uint32_t words(self, Waiter w, uint32_t *holder) except? 0:
        """The number of the words for what it waits for. holder: gets the number of the greenlet that has that lock."""
        cdef bint writes = w.kind == WAIT_WRITE
        cdef FdEntry *entry
        cdef TraceFd *fd
        cdef uint32_t number
        cdef tuple found
        if w.kind == WAIT_READ or writes:
            entry = fd_at(w.hub, w.detail)
            if entry == NULL or not entry.owner:
                return self.intern(fd_words(w.detail, writes))
            fd = self.fd_at(w.detail)
            if fd.owner == entry.owner and fd.texts[writes]:
                return fd.texts[writes]
            text = fd_words(w.detail, writes)
            number = self.intern(text)
            if fd.owner != entry.owner:
                fd.owner = entry.owner
                fd.texts[0] = fd.texts[1] = 0
            if text.startswith(("recv from ", "send to ", "accept ")):      # else it is not connected yet
                fd.texts[writes] = number
            return number
        found = wait_words(w)
        if found[1] and w.kind == WAIT_LOCK and isinstance(found[1][0], greenlet) and len(<list> found[1]) == 1:
            holder[0] = self.number_of(w.hub, found[1][0], self.thread_of(w.hub))
        return self.intern(found[0])

    cdef TraceFd *fd_at(self, int fd) except NULL:
        cdef size_t room
        cdef TraceFd *fds
        if <size_t> fd >= self.fds_size:
            room = max(<size_t> 2 * fd, <size_t> 64)
            fds = <TraceFd *> realloc(self.fds, room * sizeof(TraceFd))
            if fds == NULL:
                raise MemoryError("descriptors of a trace")
            memset(fds + self.fds_size, 0, (room - self.fds_size) * sizeof(TraceFd))
            self.fds = fds
            self.fds_size = room
        return &self.fds[fd]

    # -------- begin and end

    cdef int begin(self, int64_t seconds) except -1:
        global tracing, _trace
        cdef Hub hub
        self.began = gevlite_now_ns()
        self.ends = self.began + seconds if seconds >= 0 else LONGEST_NS
        self.active = True
        self.spawn_callback = self.note_spawn
        if _add_spawn_callback is not None:
            _add_spawn_callback(self.spawn_callback)
        _trace = self
        tracing = True
        for hub in all_hubs():
            if <PyObject *> hub == gevlite_thread_hub:
                self.join(hub)
            elif not hub.closed:
                hub._call_soon(self.join, (hub,))
        return 0

    def join(self, Hub hub):
        """Listen to a hub, in its thread."""
        cdef _TracedThread thread
        cdef PyObject *p = hub.parked
        cdef Waiter w
        cdef uint32_t number, text, holder
        cdef greenlet me = current_greenlet()
        if not self.active or hub.closed:
            return
        thread = self.threads.get(hub.thread_ident)
        if thread is not None and gettrace() is thread.listener:
            if thread.hub is hub:
                return
            thread.hub = hub        # a second one in this thread
            thread.listen_to_polls()
        else:
            thread = _TracedThread.__new__(_TracedThread)
            thread.trace = self
            thread.hub = hub
            self.n_threads += 1
            thread.number = <uint16_t> min(self.n_threads, 65535)
            self.threads[hub.thread_ident] = thread
            thread.begin()
        thread.hub_number = self.number_of(hub, hub, thread.number)
        self.kept.append((thread.number, -1, thread_name(hub.thread_ident), bool(hub.is_main_thread), 0))
        while p != NULL:
            w = <Waiter> p
            p = w.parked_next
            if w.greenlet is not me:
                holder = 0
                number = self.number_of(hub, w.greenlet, thread.number)
                text = self.words(w, &holder)
                self.add(TRACE_PARKED, number, 0, text, thread.number, w.kind)
                if holder:
                    self.add(TRACE_HOLDER, number, holder, 0, thread.number, 0)
        self.add(TRACE_SWITCH, self.number_of(hub, me, thread.number), 0, 0, thread.number, 0)

    cdef int end(self, bint in_child) except -1:
        global tracing, _trace
        cdef _TracedThread thread
        tracing = False
        _trace = None
        self.active = False
        if _remove_spawn_callback is not None:
            _remove_spawn_callback(self.spawn_callback)
        for thread in list(self.threads.values()):
            if <PyObject *> thread.hub == gevlite_thread_hub:
                thread.end()
            elif not in_child and not thread.hub.closed:
                thread.hub._call_soon(thread.end, ())
        return 0

    cdef dict result(self):
        cdef PyObject *p
        cdef Waiter w
        cdef Hub hub
        cdef uint32_t number
        cdef size_t count, start, tail
        cdef bytes events
        cdef int64_t ended = min(gevlite_now_ns(), self.ends)
        cdef list living = []
        for hub in all_hubs():
            p = hub.parked
            while p != NULL:
                w = <Waiter> p
                p = w.parked_next
                number = self.number_of(hub, w.greenlet, self.thread_of(hub))
                if isinstance(w.greenlet, CoreGreenlet):
                    name, function = names_of(<CoreGreenlet> w.greenlet)
                else:
                    name = function = None
                living.append((number, self.thread_of(hub), name, function, wait_words(w)[0], <int> w.kind))
        count = min(self.written, self.size)
        start = self.written % self.size if self.written > self.size else 0
        tail = count - start
        events = (<char *> (self.events + start))[:tail * sizeof(TraceEvent)]
        events += (<char *> self.events)[:start * sizeof(TraceEvent)]
        return {
            "version": 1,
            "pid": getpid(),
            "began": self.began,
            "ended": ended,
            "dropped": self.written - count,
            "events": events,
            "texts": self.texts,
            "kept": self.kept,
            "living": living,
        }


cdef int trace_wake(Waiter w, bint raises) noexcept:
    """For `decide`: a parked greenlet is woken."""
    try:
        if _trace is not None and _trace.active:
            _trace.note_wake(w, raises)
    except BaseException:
        pass                        # no memory: the event is lost
    return 0


cdef int trace_after_fork() except -1:
    """In the child of a fork: drop the trace, which is the parent's."""
    if _trace is not None:
        _trace.end(True)
    return 0


cpdef thread_name(ident):
    """The name that `threading` has for it; None if it does not know the thread. Runs no code of the program."""
    active = getattr(sys.modules.get("threading"), "_active", None)
    thread = active.get(ident) if type(active) is dict else None
    if thread is None:
        return None
    try:
        name = PyObject_GenericGetAttr(thread, "__dict__").get("_name")
    except Exception:
        return None
    return name if type(name) is str else None


def trace_start(Py_ssize_t size, seconds=None):
    """Begin to record, in all threads that have a hub or make one. size: of the buffer, in events.

    seconds: it stops recording by itself after this time. Raises RuntimeError if a trace is running.
    """
    if is_traced():
        raise RuntimeError("a trace is running already")
    if _trace is not None:
        _trace.end(False)           # its time is over, and it was never fetched
    cdef _Trace trace = _Trace.__new__(_Trace, max(size, 16))
    trace.begin(timeout_ns(seconds))


def trace_stop():
    """End the trace. Returns what it has found as a dict of plain numbers, strings and bytes: for `gevlite._timeline`.

    Raises RuntimeError if no trace was begun.
    """
    cdef _Trace trace = _trace
    if trace is None:
        raise RuntimeError("no trace is running")
    trace.end(False)
    return trace.result()


def is_traced():
    """True while a trace is running: not when its seconds are over."""
    return _trace is not None and gevlite_now_ns() <= _trace.ends
