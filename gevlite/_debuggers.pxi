# Part of _core.pyx: what debuggers, tracers and profilers need. See "Debuggers" in docs/design.md.

cdef extern from *:
    """
    /* Python 3.15 reports exceptions to tracers, profilers and debuggers by data that a function's code gets when one of
       them is set, or when the function begins after that. A function that runs at that moment gets it too, but not one
       that is suspended in a greenlet: there the next exception would crash the process. The upper bits of eval_breaker
       change with each such setting. */
    #if PY_VERSION_HEX >= 0x030F0000
    #define GEVLITE_MUST_INSTRUMENT 1
    #define gevlite_monitoring(state) ((uint64_t)(state)->eval_breaker >> 8)
    #define gevlite_instrumented(code) (((PyCodeObject *)(code))->_co_monitoring != NULL)
    #else
    #define GEVLITE_MUST_INSTRUMENT 0
    #define gevlite_monitoring(state) 0
    #define gevlite_instrumented(code) 1
    #endif
    """
    bint GEVLITE_MUST_INSTRUMENT
    uint64_t gevlite_monitoring(PyThreadState *state) noexcept
    bint gevlite_instrumented(PyObject *code) noexcept

cdef extern from "unistd.h" nogil:
    ssize_t c_read "read"(int fd, void *buf, size_t count)
    int c_close "close"(int fd)

cdef extern from "_attach.h":
    bint GEVLITE_CAN_ATTACH
    int gevlite_attach_open(int *held) noexcept

# ---------------------------------------------------------------- a debugger that attaches

# A main thread that has been idle for ATTACH_IDLE_NS has the kernel report when a debugger is about to attach
# (_attach.h). Then it looks every ATTACH_LOOK_NS, for ATTACH_FOR_NS, for what the debugger wants.
cdef int64_t ATTACH_IDLE_NS = 1_000_000_000
cdef int64_t ATTACH_LOOK_NS = 20_000_000
cdef int64_t ATTACH_FOR_NS = 2_000_000_000


cdef int poll_attachable(Hub hub, int64_t timeout) except -1:
    """Poll so that a debugger that attaches meanwhile need not wait."""
    cdef uint64_t polls
    cdef int64_t began
    if hub.attach_until:
        if gevlite_now_ns() >= hub.attach_until:
            hub.attach_until = 0
        elif not 0 <= timeout < ATTACH_LOOK_NS:
            timeout = ATTACH_LOOK_NS
    elif hub.attach_fd < 0 and not 0 <= timeout < ATTACH_IDLE_NS:
        polls = hub.n_polls
        began = gevlite_now_ns()
        hub.poll_once(ATTACH_IDLE_NS)
        # Nothing came, and no other greenlet polled meanwhile.
        if hub.n_polls == polls + 1 and not hub.ready.count and not hub.closed:
            if gevlite_now_ns() - began >= ATTACH_IDLE_NS:
                watch_attach(hub)
        return 0
    return hub.poll_once(timeout)


cdef int watch_attach(Hub hub) except -1:
    if hub.front is not hub.backend:
        return 0        # a signal handler has forked in this poll: later
    hub.attach_fd = gevlite_attach_open(&hub.attach_held)
    try:
        if hub.attach_fd >= 0:
            attach_comes(hub)       # perhaps a debugger had begun to attach before
            return 0
    except Exception:
        pass            # select() and a high number, or a foreign backend
    unwatch_attach(hub)
    hub.attachable = False
    return 0


cdef int unwatch_attach(Hub hub) noexcept:
    if hub.attach_fd >= 0:
        c_close(hub.attach_fd)
        c_close(hub.attach_held)
        hub.attach_fd = -1
    hub.attach_until = 0
    return 0


cdef int attach_comes(Hub hub) except -1:
    cdef char[1024] scratch
    while c_read(hub.attach_fd, scratch, sizeof(scratch)) > 0:
        pass
    hub.attach_until = gevlite_now_ns() + ATTACH_FOR_NS
    hub.front.arm(hub.attach_fd, READ)
    return 0


cdef int check_signals() except -1:
    """Run signal handlers, and code that a debugger has left for us to run (sys.remote_exec).

    A debugger that attaches in this way stops at the next event in the frame that was running. Here that frame waits,
    and the debugger's user would wait with it.
    """
    cdef PyThreadState *state = PyThreadState_Get()
    cdef PyObject *before = state.c_traceobj
    PyErr_CheckSignals()
    if state.c_tracefunc != NULL and state.c_traceobj != before:
        stop_debugger(state)
    return 0


cdef int stop_debugger(PyThreadState *state) except -1:
    """Give a debugger that has just been set the event that it waits for, as the interpreter would."""
    frame = sys._getframe()
    trace = frame.f_trace
    if trace is not None and is_debugger(sys.gettrace()):
        PyThreadState_EnterTracing(state)
        try:
            trace(frame, "opcode" if frame.f_trace_opcodes else "line", None)
        finally:
            PyThreadState_LeaveTracing(state)
    return 0


cdef bint is_debugger(tracer) except -1:
    """True for the tracer of pdb, or of another debugger made of `bdb`."""
    bdb = sys.modules.get("bdb")
    return bdb is not None and isinstance(getattr(tracer, "__self__", None), bdb.Bdb)


# ---------------------------------------------------------------- monitoring that begins while greenlets are suspended

def _trace_nothing(frame, event, arg):
    """A frame's trace function that is removed at once."""


cdef void instrument_frames(Waiter w) noexcept:
    """Give the frames of the running greenlet that are older than the monitoring the data that exceptions need there.

    An exception may be on its way into these frames.
    """
    cdef PyThreadState *state = w.hub.thread_state
    cdef PyObject *error = NULL
    cdef PyObject *value = NULL
    cdef PyObject *traceback = NULL
    w.monitoring = gevlite_monitoring(state)
    PyErr_Fetch(&error, &value, &traceback)
    PyThreadState_EnterTracing(state)
    try:
        frame = sys._getframe()
        while frame is not None:
            code = frame.f_code
            if not gevlite_instrumented(<PyObject *> code) and frame.f_trace is None:
                frame.f_trace = _trace_nothing
                frame.f_trace_opcodes = True        # which needs that data
                frame.f_trace_opcodes = False
                del frame.f_trace
            frame = frame.f_back
    except Exception as exc:
        w.hub._report(w, exc)
    finally:
        PyThreadState_LeaveTracing(state)
    PyErr_Restore(error, value, traceback)
