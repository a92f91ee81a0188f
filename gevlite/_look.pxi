# Part of _core.pyx: what each greenlet does and waits for, seen from outside. For LoopExit, reprs, and reports about a
# process that hangs.
#
# A report can be requested at any moment: by another thread, while greenlets of this one are half-way through
# something, or by a signal handler in the middle of a wait. So this code changes nothing, takes no lock, never
# switches, and runs no code of the program: no `__repr__`, no property, no finalizer. It runs to its end under the GIL,
# and what it returns consists of numbers and strings. That is also why it is compiled: between two bytecodes another
# thread could run.

cdef extern from "_look.h":
    bint GEVLITE_SEES_STACKS
    int gevlite_on_stack(PyObject *frame, PyObject *code, int lasti, PyObject **found, int room) noexcept
    const char *gevlite_type_name(PyObject *object) noexcept
    PyObject *gevlite_mro(PyObject *object) noexcept
    int gevlite_fd_kind(int fd, char *text, size_t room) noexcept
    enum:
        GEVLITE_FD_PEER, GEVLITE_FD_LISTENS, GEVLITE_FD_LOCAL, GEVLITE_FD_UNCONNECTED

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        const char *tp_name
    bint PyMethod_Check(object o) noexcept
    bint PyFunction_Check(object o) noexcept
    PyObject *PyMethod_GET_SELF(object o)
    PyObject *PyMethod_GET_FUNCTION(object o)
    object PyObject_GenericGetAttr(object o, object name)

cdef extern from *:
    """
    #define gevlite_frame_back(f) ((PyObject *)PyFrame_GetBack((PyFrameObject *)(f)))
    #define gevlite_frame_code(f) ((PyObject *)PyFrame_GetCode((PyFrameObject *)(f)))
    #define gevlite_frame_lasti(f) PyFrame_GetLasti((PyFrameObject *)(f))
    #define gevlite_code_line(c, i) PyCode_Addr2Line((PyCodeObject *)(c), i)
    #define gevlite_held(f, c, i, found, room) gevlite_on_stack((PyFrameObject *)(f), (PyCodeObject *)(c), i, found, room)
    """
    PyObject *gevlite_frame_back(PyObject *frame)
    PyObject *gevlite_frame_code(PyObject *frame)
    int gevlite_frame_lasti(PyObject *frame)
    int gevlite_code_line(PyObject *code, int instruction)
    int gevlite_held(PyObject *frame, PyObject *code, int lasti, PyObject **found, int room) noexcept

cdef object _partial = partial
cdef object _CodeType = CodeType
cdef object _BuiltinType = BuiltinFunctionType
cdef object _current_frames = sys._current_frames
# The attribute of greenlet itself, even if a subclass overrides it.
cdef object _frame_of = greenlet.__dict__["gr_frame"].__get__

# How many frames of each stack are reported, the innermost ones.
cdef enum:
    MOST_FRAMES = 64
    MOST_HELD = 32

# ---------------------------------------------------------------- what a Waiter waits for, in words

# For each type of what a greenlet can wait for: a function `describe(what, waiter)`, which returns the words, or a
# tuple of the words, the greenlets that can end the wait (None: not known), and how many places they hold; 0: the wait
# is for the end of all of them. They are called under the rules above.
cdef dict _descriptions = {}


def register_description(cls, describe):
    """Have `describe(what, waiter)` put into words a wait for a `cls`. For rules and result see _look.pxi."""
    _descriptions[cls] = describe


cdef str type_name(object what):
    return gevlite_type_name(<PyObject *> what).decode("utf-8", "replace")


# More of a name would not be read. `_probe` has the same number.
cdef Py_ssize_t LONGEST_NAME = 200


cdef object short_name(object name):
    """For a screen: the end of a very long str is `...`. None remains None."""
    if type(name) is str and len(<str> name) > LONGEST_NAME:
        return (<str> name)[: LONGEST_NAME - 3] + "..."
    return name


cdef str greenlet_name(greenlet g):
    """Its name, if it has one already, and what it runs."""
    cdef str name, function
    if isinstance(g, Hub):
        return "the hub"
    if not isinstance(g, CoreGreenlet):
        return "the main greenlet" if main_of(g) is g else "a raw greenlet"
    name, function = short_name((<CoreGreenlet> g).identity()[0]), function_of((<CoreGreenlet> g).identity()[1])[0]
    if name is None:
        return function if function is not None else type_name(g)
    return f"{name} ({function})" if function is not None else name


cdef tuple function_of(object function):
    """The name, the file and the first line of what a greenlet runs; None for what is not known."""
    cdef object code
    cdef int depth = 0
    while depth < 8:
        depth += 1
        if function is None:
            return None, None, 0
        if PyMethod_Check(function):
            function = <object> PyMethod_GET_FUNCTION(function)
        elif type(function) is _partial:
            function = function.func
        else:
            break
    if type(function) is _CodeType:
        return short_name(function.co_qualname), function.co_filename, function.co_firstlineno
    if PyFunction_Check(function):
        code = function.__code__
        return short_name(function.__qualname__), code.co_filename, code.co_firstlineno
    if type(function) is str:
        return short_name(function), None, 0
    if type(function) is _BuiltinType or gevlite_type_name(<PyObject *> function) == b"cython_function_or_method":
        return function.__qualname__, None, 0
    if isinstance(function, type):
        name = (<PyTypeObject *> <PyObject *> function).tp_name.decode("utf-8", "replace")
        return name.rpartition(".")[2], None, 0
    return type_name(function), None, 0


cdef object described(Waiter w):
    """How the object it waits for describes the wait; None if it is gone or has no description: see _descriptions."""
    cdef object what, describe
    cdef PyObject *mro
    # `what` is valid while the waiter is in a list, or if its kind uses no list.
    if w.what == NULL or w.list == NULL and w.kind not in (WAIT_GREENLET, WAIT_WATCHER, WAIT_LOOP):
        return None
    what = <object> w.what
    mro = gevlite_mro(w.what)
    if mro != NULL:
        for cls in <tuple> mro:
            describe = _descriptions.get(cls)
            if describe is not None:
                return describe(what, w)
    return type_name(what)


cdef str fd_words(int fd, bint writes):
    cdef char[256] address
    cdef int kind = gevlite_fd_kind(fd, address, sizeof(address))
    cdef str text = (<bytes> address).decode("utf-8", "replace")
    if kind == GEVLITE_FD_LISTENS:
        return f"accept on {text}"
    if kind == GEVLITE_FD_PEER:
        return f"send to {text}" if writes else f"recv from {text}"
    if kind == GEVLITE_FD_LOCAL:
        return f"send on {text}" if writes else f"recv on {text}"
    if kind == GEVLITE_FD_UNCONNECTED:
        return "connect" if writes else f"a connection of {text}"
    return f"write to {text}" if writes else f"read from {text}"


cdef tuple wait_words(Waiter w):
    """The words for what it waits for, the greenlets that can end the wait, and their places: see _descriptions."""
    cdef object found
    cdef object holders = None
    cdef Py_ssize_t places = 0
    cdef str text = None
    if w.kind == WAIT_READ or w.kind == WAIT_WRITE:
        text = fd_words(w.detail, w.kind == WAIT_WRITE)
    elif w.kind == WAIT_FDS:
        text = f"any of {w.detail} descriptors" if w.detail != 1 else "a descriptor"
        if w.state == PARKED and w.what != NULL and w.detail == 1:
            text = fd_words((<list> w.what)[0], False)
    elif w.kind == WAIT_YIELD and w.detail == USED_SLICE:
        text = "its next time slice"
    elif w.state == PARKED and w.kind != WAIT_LOOP:
        found = described(w)
        if type(found) is tuple:
            text, holders, places = found
        else:
            text = found
    if text is None:
        text = _KIND_NAMES.get(<int> w.kind, "something")
    return text, holders, places


_KIND_NAMES = {
    WAIT_OTHER: "something",
    WAIT_YIELD: "its turn",
    WAIT_TIMER: "sleep",
    WAIT_GREENLET: "greenlets",
    WAIT_EVENT: "Event",
    WAIT_RESULT: "a result",
    WAIT_LOCK: "a lock",
    WAIT_QUEUE: "a queue",
    WAIT_THREADPOOL: "a worker thread",
    WAIT_IDLE: "an idle loop",
    WAIT_HUB: "the end of all greenlets (hub.join)",
    WAIT_WATCHER: "a watcher",
    WAIT_LOOP: "the tasks of its event loop",
}


cdef str waits_for(Waiter w):
    text, holders, _ = wait_words(w)
    if w.kind == WAIT_YIELD:
        return "ready, used up its time slice" if w.detail == USED_SLICE else "giving way"
    if w.kind == WAIT_TIMER:
        return "sleeping"
    if holders and w.kind == WAIT_LOCK:
        text += " held by " + ", ".join([greenlet_name(g) for g in holders if isinstance(g, greenlet)][:3])
    return f"waiting for {text}"


cdef bint is_ready(Waiter w) noexcept:
    """True if it waits for nothing but its turn."""
    return w.state != PARKED or w.kind == WAIT_YIELD


# ---------------------------------------------------------------- all greenlets

cdef class _Look:
    """Gathers the report of `look`."""
    cdef list frames            # of (file, line, function)
    cdef dict known             # (id of a code object, instruction): index in `frames`
    cdef list greenlets
    cdef list hubs
    cdef set contended          # addresses of locks that something waits for
    cdef dict holders           # address of such a lock: the addresses of greenlets in a `with` block of it
    cdef dict current           # number of an OS thread: its frame
    cdef dict strikes           # address of a greenlet: when the first Timeout strikes
    cdef int64_t now
    cdef list codes             # the code objects in `known`, to keep their ids; None: none can go before we are done

    def __cinit__(self):
        self.frames = []
        self.known = {}
        self.greenlets = []
        self.hubs = []
        self.contended = set()
        self.holders = {}
        self.strikes = {}
        self.now = gevlite_coarse_ns()

    cdef int frame_index(self, PyObject *code, int lasti) except -1:
        cdef tuple key = (<size_t> code, lasti)
        cdef object index = self.known.get(key)
        if index is None:
            found = <object> code
            index = len(self.frames)
            self.frames.append((found.co_filename, gevlite_code_line(code, lasti), short_name(found.co_qualname)))
            self.known[key] = index
            if self.codes is not None:
                self.codes.append(found)
        return index

    cdef tuple stack(self, PyObject *frame, size_t owner, int skip):
        """The innermost frame first. Takes over the reference."""
        cdef list result = []
        cdef PyObject *code
        cdef PyObject *back
        cdef PyObject *held[MOST_HELD]
        cdef int lasti, i, n
        while frame != NULL:
            if skip > 0:
                skip -= 1
            else:
                code = gevlite_frame_code(frame)
                lasti = gevlite_frame_lasti(frame)
                if len(result) < MOST_FRAMES:
                    result.append(self.frame_index(code, lasti))
                if self.contended:
                    n = gevlite_held(frame, code, lasti, held, MOST_HELD)
                    for i in range(n):
                        self.note_held(held[i], owner)
                Py_DECREF(<object> code)
            back = gevlite_frame_back(frame)
            Py_DECREF(<object> frame)
            frame = back
        return tuple(result)

    cdef int note_held(self, PyObject *thing, size_t owner) except -1:
        cdef object address = <size_t> thing
        if address not in self.contended:
            if gevlite_type_name(thing) != b"Condition":
                return 0
            try:
                lock = PyObject_GenericGetAttr(<object> thing, "_lock")
            except AttributeError:
                return 0
            address = <size_t> <PyObject *> lock
            if address not in self.contended:
                return 0
        if address in self.holders:
            if owner not in self.holders[address]:
                self.holders[address].append(owner)
        else:
            self.holders[address] = [owner]
        return 0

    cdef int look_at(self, Hub hub, int number, int skip) except -1:
        cdef PyObject *p = hub.parked
        cdef Waiter w
        cdef greenlet main, running = None, me = None
        cdef object frame
        cdef str state
        cdef size_t i
        cdef Py_ssize_t n
        cdef int callbacks = 0
        cdef bint main_is_parked = False, in_place
        cdef int64_t ahead = ahead_of_real(hub)
        cdef bint here = <PyObject *> hub == gevlite_thread_hub
        cdef tuple stack
        main = get_main(hub)
        if here:
            me = current_greenlet()
        frame = self.current.get(hub.thread_ident)
        # -------- parked, woken ones included
        while p != NULL:
            w = <Waiter> p
            p = w.parked_next
            if w.greenlet is main:
                main_is_parked = True
            if w.greenlet is me:
                # We are in a signal handler, in the middle of this greenlet's wait.
                Py_INCREF(frame)
                stack = self.stack(<PyObject *> frame, <size_t> <PyObject *> w.greenlet, skip)
            else:
                stack = self.stack_of(w.greenlet)
            self.add_parked(w, number, main, stack)
        in_place = not main_is_parked and waits_in_place(hub, main, me)
        if in_place and frame is not None:
            Py_INCREF(frame)
            stack = self.stack(<PyObject *> frame, <size_t> <PyObject *> main, skip if here else 0)
            self.add_parked(waiter_in_place(hub, main), number, main, stack)
        # -------- running
        state = "closed" if hub.closed else "idle" if hub.polling else "running"
        if frame is not None and not hub.polling:
            running = running_of(hub, frame, me, main_is_parked)
            if running is me and running is not None and (in_place or is_parked(hub, running)):
                state = "idle"          # reported above
            else:
                Py_INCREF(frame)
                stack = self.stack(<PyObject *> frame, <size_t> <PyObject *> running if running is not None else 0,
                                   skip if here else 0)
                self.add(running, number, main, "running", stack, None, None, hub.slice_end)
        # -------- what has not begun
        for i in range(hub.ready.count):
            callbacks += self.add_entry(ring_at(&hub.ready, i), number, main)
        for i in range(hub.inbox.count):
            callbacks += self.add_entry(ring_at(&hub.inbox, i), number, main)
        for n in range(hub.timers.size):
            self.add_start(<object> hub.timers.items[n].owner, hub.timers.items[n].deadline - ahead, number, main)
        self.hubs.append((
            <size_t> <PyObject *> hub, hub.thread_ident, short_name(hub.name) if type(hub.name) is str else "",
            type_name(hub.backend), state, bool(hub.is_main_thread), began_at(hub.slice_end),
            hub.n_parked, hub.greenlets, <long> hub.ready.count + <long> hub.inbox.count, hub.timers.size,
            hub.watched_fds, hub.n_switches, hub.n_handoffs, hub.n_polls, hub.n_spawned, callbacks,
            hub.lag_ns, lags_of(hub.lags),
        ))
        return 0

    cdef tuple stack_of(self, greenlet g):
        cdef object frame
        frame = _frame_of(g)
        if frame is None:
            return ()
        Py_INCREF(frame)
        return self.stack(<PyObject *> frame, <size_t> <PyObject *> g, 0)

    cdef int add_parked(self, Waiter w, int number, greenlet main, tuple stack) except -1:
        cdef tuple words = wait_words(w)
        cdef str state = "ready" if is_ready(w) else "parked"
        return self.add(w.greenlet, number, main, state, stack, w, words, w.since)

    cdef int add(self, greenlet g, int number, greenlet main, str state, tuple stack, Waiter w, tuple words,
                 int64_t since) except -1:
        cdef object name = None, spawner = 0, spawned = None, text = None, until = 0, holders = None
        cdef tuple function = (None, None, 0), identity
        cdef size_t address = <size_t> <PyObject *> g if g is not None else 0
        cdef str kind = kind_of(g, main)
        if kind == "greenlet":
            identity = (<CoreGreenlet> g).identity()
            name, function = names_of(<CoreGreenlet> g)
            if identity[2] is not None:
                found = identity[2]()
                if found is not None:
                    spawner = <size_t> <PyObject *> found
            if type(identity[3]) is _CodeType:
                spawned = self.frame_index(<PyObject *> identity[3], identity[4])
        elif state == "not begun" and type(g) is greenlet:
            function = function_of(g.run)
        if w is not None:
            text = words[0]
            if words[1] is not None:
                holders = tuple([<size_t> <PyObject *> h if isinstance(h, greenlet) else h for h in words[1]])
            if w.heap_index >= 0:
                until = w.hub.timers.items[w.heap_index].deadline - ahead_of_real(w.hub)
            elif w.kind == WAIT_LOOP and w.what == w.hub.in_place_shown:
                until = w.hub.in_place_until - ahead_of_real(w.hub)
        self.greenlets.append((
            address, number, kind, name, function[0], function[1], function[2], state,
            text, <int> w.kind if w is not None else -1, <size_t> w.what if w is not None and w.state == PARKED else 0,
            holders, words[2] if words is not None else 0,
            began_at(since) if since else 0, until, self.strikes.get(address, 0), stack, spawned, spawner,
            w.detail if w is not None and (w.kind == WAIT_READ or w.kind == WAIT_WRITE) else -1,
        ))
        return 0

    cdef bint add_entry(self, Entry *e, int number, greenlet main) except -1:
        """True if the entry is a call."""
        cdef greenlet g = begun_by(e)
        if g is not None:
            self.add(g, number, main, "not begun", (), None, None, 0)
        return e.kind == CALL

    cdef int add_start(self, object timer, int64_t deadline, int number, greenlet main) except -1:
        """`spawn_later`."""
        cdef greenlet g = begins_by(timer)
        if g is not None:
            self.strikes[<size_t> <PyObject *> g] = deadline
            self.add(g, number, main, "not begun", (), None, None, 0)
        return 0

    cdef int prepare(self, Hub hub) except -1:
        """Gather what must be known before the first greenlet is looked at."""
        cdef PyObject *p = hub.parked
        cdef Waiter w
        cdef Py_ssize_t n
        cdef object owner
        cdef PyObject *struck
        cdef object address
        cdef int64_t at, ahead = ahead_of_real(hub)
        while p != NULL:
            w = <Waiter> p
            p = w.parked_next
            if w.kind == WAIT_LOCK and w.state == PARKED and w.what != NULL:
                self.contended.add(<size_t> w.what)
        for n in range(hub.timers.size):
            owner = <object> hub.timers.items[n].owner
            if isinstance(owner, Timer):
                struck = (<Timer> owner).strikes()
                if struck != NULL:
                    address = <size_t> struck
                    at = hub.timers.items[n].deadline - ahead
                    if self.strikes.get(address, LONGEST_NS) > at:
                        self.strikes[address] = at
        return 0


cdef greenlet begun_by(Entry *e):
    """The greenlet that this entry will begin; None if it begins none."""
    cdef greenlet g
    if e.kind != START:
        return None
    g = <greenlet> e.target
    return g if not isinstance(g, CoreGreenlet) or (<CoreGreenlet> g).life == SCHEDULED else None


cdef greenlet begins_by(object timer):
    """The greenlet that this timer of `spawn_later` will begin; None for any other."""
    cdef object callback, g
    if not isinstance(timer, Timer):
        return None
    callback = (<Timer> timer).callback
    if callback is None or not PyMethod_Check(callback):
        return None
    g = <object> PyMethod_GET_SELF(callback)
    return g if isinstance(g, CoreGreenlet) and (<CoreGreenlet> g).life == UNSTARTED else None


cdef int64_t began_at(int64_t slice_end) noexcept:
    return slice_end - SLICE_NS if slice_end else 0


cdef bint waits_in_place(Hub hub, greenlet main, greenlet me) noexcept:
    """True if the main greenlet, which is not parked, polls for its event loop: it counts as parked there.

    True also in a signal handler in the middle of such a poll. me: the current greenlet, if this is the thread of the
    hub.
    """
    return hub.in_place != NULL or me is main and hub.in_place_shown != NULL


cdef Waiter waiter_in_place(Hub hub, greenlet main):
    """What the main greenlet would be parked on if it did not poll by itself."""
    cdef Waiter w = Waiter.__new__(Waiter, hub)
    w.kind = WAIT_LOOP
    w.what = hub.in_place_shown
    w.state = PARKED
    w.greenlet = main
    w.since = hub.slice_end
    return w


cdef bint is_running(CoreGreenlet g) noexcept:
    """True if `g`, taken from `hub.current`, runs."""
    return g.life == RUNNING and g.waiter == NULL


cdef greenlet running_of(Hub hub, object frame, greenlet me, bint main_is_parked):
    """The greenlet that runs in the thread of the hub, which does not poll and runs this frame; None for a raw
    greenlet.

    me: the current greenlet, if this is that thread.
    """
    cdef greenlet running = None
    if me is not None:
        running = me
    elif hub.current != NULL and is_running(<CoreGreenlet> hub.current):
        running = <greenlet> hub.current
    elif bottom_is_hub(frame):
        running = hub
    elif not main_is_parked:
        running = get_main(hub)
    return hub if running is not None and runs_loops(hub, running) else running


cdef bint is_parked(Hub hub, greenlet g) except -1:
    return waiter_of(hub, g) is not None


cdef object bottom_code(object frame):
    """The code at the bottom of the stack of this frame."""
    cdef object code
    cdef PyObject *back
    while True:
        back = gevlite_frame_back(<PyObject *> frame)
        if back == NULL:
            break
        frame = <object> back
        Py_DECREF(frame)
    code = <object> gevlite_frame_code(<PyObject *> frame)
    Py_DECREF(code)
    return code


cdef bint bottom_is_hub(object frame) except -1:
    """True if this is the stack of a hub."""
    return bottom_code(frame) is _hub_code


cdef tuple outermost(greenlet g):
    """The function at the bottom of the stack of a suspended greenlet, in the form of `function_of`."""
    cdef object frame = _frame_of(g)
    return function_of(bottom_code(frame) if frame is not None else None)


cdef str kind_of(greenlet g, greenlet main):
    """`raw`, also for None, `main`, `hub` or `greenlet`."""
    if g is None:
        return "raw"
    if g is main:
        return "main"
    if isinstance(g, Hub):
        return "hub"
    return "greenlet" if isinstance(g, CoreGreenlet) else "raw"


cdef tuple thread_of(object thread, object name, tuple function):
    """The name and the function of a threading.Thread; the greenlet runs a method of it."""
    cdef object attributes
    try:
        attributes = PyObject_GenericGetAttr(thread, "__dict__")
    except AttributeError:
        return name, function
    if type(attributes) is dict and "_target" in attributes and "_name" in attributes:
        if type(attributes["_name"]) is str:
            name = attributes["_name"]
        if attributes["_target"] is not None:
            function = function_of(attributes["_target"])
        elif function[0] is not None:
            function = (type_name(thread) + ".run", function[1], function[2])
    return name, function


cdef tuple name_of_thread(CoreGreenlet g, object name):
    """`names_of` for a greenlet that runs a method of its own: that of a thread, see `gevlite.thread`."""
    cdef object attributes, runs, thread
    cdef tuple function = (None, None, 0)
    try:
        attributes = PyObject_GenericGetAttr(g, "__dict__")
    except AttributeError:
        attributes = None
    if type(attributes) is dict:
        function = function_of(attributes.get("_runs"))
        thread = attributes.get("_thread")
        if thread is not None:
            name, function = thread_of(thread, name, function)
    return name, function if function[0] is not None else (type_name(g), None, 0)


cdef tuple names_of(CoreGreenlet g):
    """Its name, and as a tuple the name, the file and the first line of what it runs; None for what is not known."""
    cdef tuple identity = g.identity(), function = function_of(identity[1])
    cdef object name = identity[0]
    if function[0] is None:
        name, function = name_of_thread(g, name)
    elif PyMethod_Check(identity[1]):
        name, function = thread_of(<object> PyMethod_GET_SELF(identity[1]), name, function)
    return short_name(name), function


cdef tuple lag_limits():
    """LAG_LIMITS in seconds; see measure_round."""
    cdef int i
    return tuple([LAG_LIMITS[i] / 1e9 for i in range(N_LAGS - 1)])


cdef tuple lags_of(uint64_t *lags):
    cdef int i
    return tuple([lags[i] for i in range(N_LAGS)])


def look(int skip=0):
    """A dict of plain numbers and strings that says what each greenlet of each hub does: for gevlite._probe.

    Does not block, and changes nothing. skip: how many frames of the caller's stack to leave out.
    """
    cdef _Look found = _Look.__new__(_Look)
    cdef Hub hub
    cdef int number = 0
    cdef list all = all_hubs()
    found.current = _current_frames()
    for hub in all:
        found.prepare(hub)
    for hub in all:
        found.look_at(hub, number, skip)
        number += 1
    return {
        "version": 1,
        "pid": getpid(),
        "now": found.now,
        "sees_holders": bool(GEVLITE_SEES_STACKS),
        "lag_limits": lag_limits(),
        "frames": found.frames,
        "hubs": found.hubs,
        "greenlets": found.greenlets,
        "holders": found.holders,
    }


def look_at_running(Hub hub):
    """What runs in the thread of another thread's hub; for gevlite._blocked, under the rules of `look`.

    Returns None if the hub polls, or `(kind, stack, frame, others)`: the kind as in `look`, the stack as a list of
    (file, line, function), innermost first, the innermost frame itself, and how many greenlets wait. If the frame is
    None, no Python code runs.
    """
    cdef _Look found = _Look.__new__(_Look)
    cdef PyObject *p = hub.parked
    cdef greenlet main, running
    cdef object frame
    cdef tuple row
    cdef size_t i
    cdef Py_ssize_t others = 0
    cdef bint main_is_parked = False
    frame = _current_frames().get(hub.thread_ident)
    if hub.polling or hub.closed:
        return None
    main = get_main(hub)
    while p != NULL:
        others += 1
        main_is_parked = main_is_parked or (<Waiter> p).greenlet is main
        p = (<Waiter> p).parked_next
    for i in range(hub.ready.count):
        others += ring_at(&hub.ready, i).kind == START
    for i in range(hub.inbox.count):
        others += ring_at(&hub.inbox, i).kind == START
    if frame is None:
        return "raw", [], None, others
    running = running_of(hub, frame, None, main_is_parked)
    if running is not None and is_parked(hub, running):
        others -= 1         # a signal handler runs in the middle of its wait
    Py_INCREF(frame)
    found.add(running, 0, main, "running", found.stack(<PyObject *> frame, 0, 0), None, None, hub.slice_end)
    row = found.greenlets[0]
    return row[2], [found.frames[i] for i in <tuple> row[16]], frame, others


def waiting_loops():
    """`(address of the greenlet, event loop)` of each greenlet that runs an asyncio loop and waits in it."""
    cdef list result = []
    cdef PyObject *p
    cdef Waiter w
    cdef Hub hub
    cdef greenlet main
    for hub in all_hubs():
        p = hub.parked
        while p != NULL:
            w = <Waiter> p
            p = w.parked_next
            if w.kind == WAIT_LOOP and w.state == PARKED and w.what != NULL:
                result.append((<size_t> <PyObject *> w.greenlet, <object> w.what))
        if hub.in_place_shown != NULL:
            main = get_main(hub)
            result.append((<size_t> <PyObject *> main, <object> hub.in_place_shown))
    return result
