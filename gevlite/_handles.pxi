# Part of _aio.pyx: handles, which a loop calls; how they are made and reused, and the heap of those that have a time.
# Every callback of a program goes through this.

@cython.freelist(64)
cdef class Handle:
    """A callback that a loop will call. It counts as an `asyncio.Handle`."""

    def __init__(self, *args, **kwargs):
        raise TypeError("handles are made by a loop")       # by __new__, in C

    @property
    def __class__(self):
        return events.Handle

    @cython.nonecheck(False)
    cdef int call(self) except -1:
        cdef object context = self._context
        cdef object callback = self._callback
        cdef tuple args = self._args
        cdef PyObject *result
        if context is None and args is not None and only_sets(callback, args):
            result = set_unless_cancelled(args, "cancelled", "set_result")
            if result == NULL:
                return call_failed(self)
            Py_DECREF(<object> result)
            return 0
        if PyContext_Enter(context) < 0:
            return call_failed(self)
        result = PyObject_Call(callback, args, NULL)
        if PyContext_Exit(context) < 0 or result == NULL:
            Py_XDECREF(result)
            return call_failed(self)
        Py_DECREF(<object> result)
        return 0

    def _run(self):
        self.call()

    @cython.binding(False)
    def cancel(self):
        """Do not call it."""
        if not self._cancelled:
            self._cancelled = True
            if (<LoopCore> self._loop)._debug:
                self._repr = repr(self)
            self._callback = None
            self._args = None

    def cancelled(self):
        """True if it was cancelled."""
        return self._cancelled

    def get_context(self):
        """The context that it is called in."""
        return PyContext_CopyCurrent() if self._context is None else self._context

    def _repr_info(self):
        info = ["TimerHandle" if isinstance(<object> <PyObject *> self, TimerHandle) else "Handle"]
        if self._cancelled:
            info.append("cancelled")
        if self._callback is not None:
            info.append(format_helpers._format_callback_source(self._callback, self._args))
        if self._source_traceback:
            frame = self._source_traceback[-1]
            info.append(f"created at {frame[0]}:{frame[1]}")
        return info

    def __repr__(self):
        if self._repr is not None:
            return self._repr
        return f"<{' '.join(self._repr_info())}>"


cdef int call_failed(Handle handle) except -1:
    """The callback has raised."""
    try:
        raise_it()
    except BaseException as exc:
        if is_for_the_greenlet(exc) or was_thrown(<LoopCore> handle._loop, exc):
            raise
        if isinstance(exc, RuntimeError) and is_for_the_greenlet(exc.__context__) and \
                (<LoopCore> handle._loop).pid != getpid():
            # The task has forked, and an exception that ends the child was raised in it. From Python 3.14 on, asyncio
            # forgets in a child which task runs, and complains that another task was left.
            raise exc.__context__
        source = format_helpers._format_callback_source(handle._callback, handle._args)
        more = {"handle": handle}
        if handle._source_traceback:
            more["source_traceback"] = handle._source_traceback
        report(<LoopCore> handle._loop, f"Exception in callback {source}", exc, more)
    return 0


cdef class TimerHandle(Handle):
    """A `Handle` for a certain time. As `asyncio.TimerHandle`."""

    def __cinit__(self):
        self.place = -1

    @property
    def __class__(self):
        return events.TimerHandle

    def when(self):
        """When it is to be called, by `loop.time()`."""
        return self._when

    @property
    def _scheduled(self):
        return self.place >= 0

    @cython.binding(False)
    def cancel(self):
        """Do not call it."""
        if self.place >= 0:
            heap_take((<LoopCore> self._loop).timers, self.place)
        Handle.cancel(self)

    def _repr_info(self):
        info = Handle._repr_info(self)
        info.insert(2 if self._cancelled else 1, f"when={self._when}")
        return info

    def __hash__(self):
        return hash(self._when)

    def __lt__(self, other):
        return self._when < (<TimerHandle> other)._when if type(other) is TimerHandle else NotImplemented

    def __le__(self, other):
        if type(other) is not TimerHandle:
            return NotImplemented
        return self._when < (<TimerHandle> other)._when or self == other

    def __gt__(self, other):
        return self._when > (<TimerHandle> other)._when if type(other) is TimerHandle else NotImplemented

    def __ge__(self, other):
        if type(other) is not TimerHandle:
            return NotImplemented
        return self._when > (<TimerHandle> other)._when or self == other

    def __eq__(self, other):
        cdef TimerHandle that
        if type(other) is not TimerHandle:
            return NotImplemented
        that = <TimerHandle> other
        return (
            self._when == that._when
            and self._callback == that._callback
            and self._args == that._args
            and self._cancelled == that._cancelled
        )


cdef inline int check_call(LoopCore loop, object callback, str function) except -1:
    """What `call_soon`, `call_later` and `call_at` refuse."""
    if loop._closed:
        raise RuntimeError("Event loop is closed")
    if loop._debug:
        loop._check_thread()
        loop._check_callback(callback, function)
    return 0


cdef inline bint only_sets(object callback, tuple args) noexcept:
    """True for the callback of `asyncio.sleep` and a future in C: it runs no other code, so it needs no context."""
    return (
        callback is _set_result_unless_cancelled
        and PyTuple_GET_SIZE(args) == 2
        and gevlite_type_of(PyTuple_GET_ITEM(args, 0)) == <PyObject *> _CFuture
    )


@cython.nonecheck(False)
cdef inline int fill(LoopCore loop, Handle handle, object callback, tuple args, object context) except -1:
    handle._loop = loop
    handle._callback = callback
    handle._args = args
    handle._context = PyContext_CopyCurrent() if context is None and not only_sets(callback, args) else context
    if loop._debug:
        remember_source(handle)
    return 0


# Handles that have been called, and to which nothing else refers, shared by all loops. They refer to nothing.
cdef PyObject *used[HANDLES]
cdef Py_ssize_t n_used = 0


cdef inline Handle new_handle():
    global n_used
    cdef Handle handle
    if not n_used:
        return Handle.__new__(Handle)
    n_used -= 1
    handle = <Handle> used[n_used]
    Py_DECREF(handle)
    return handle


@cython.nonecheck(False)
cdef inline int use_again(Handle handle) except -1:
    """Keep a handle to which nothing but the caller refers."""
    global n_used
    if handle._repr is not None or handle._source_traceback is not None or has_weakrefs(handle):
        return 0
    handle._cancelled = False
    handle._loop = handle._args = handle._context = None
    handle._callback = None             # which may run a destructor
    if n_used < HANDLES:
        Py_INCREF(handle)
        used[n_used] = <PyObject *> handle
        n_used += 1
    return 0


cdef int remember_source(Handle handle) except -1:
    try:
        frame = sys._getframe(0)
    except ValueError:
        return 0                # a greenlet without Python code: it was spawned with a method of a future in C
    handle._source_traceback = format_helpers.extract_stack(frame)
    return 0


# The heap of timers: 4-ary, in a list, of TimerHandles that know their places. Of two handles with the same deadline,
# the one made first is first.

cdef inline void heap_put(PyObject **items, Py_ssize_t i, PyObject *timer) noexcept:
    items[i] = timer
    (<TimerHandle> timer).place = i


cdef inline bint before(PyObject *a, PyObject *b) noexcept:
    cdef int64_t difference = (<TimerHandle> a).deadline - (<TimerHandle> b).deadline
    return difference < 0 or difference == 0 and (<TimerHandle> a).number < (<TimerHandle> b).number


cdef void heap_up(PyObject **items, Py_ssize_t i, PyObject *timer) noexcept:
    cdef Py_ssize_t parent
    while i > 0:
        parent = (i - 1) >> 2
        if not before(timer, items[parent]):
            break
        heap_put(items, i, items[parent])
        i = parent
    heap_put(items, i, timer)


cdef void heap_down(PyObject **items, Py_ssize_t n, Py_ssize_t i, PyObject *timer) noexcept:
    cdef Py_ssize_t child, best, last
    while True:
        child = (i << 2) + 1
        if child >= n:
            break
        best = child
        last = min(child + 4, n)
        child += 1
        while child < last:
            if before(items[child], items[best]):
                best = child
            child += 1
        if not before(items[best], timer):
            break
        heap_put(items, i, items[best])
        i = best
    heap_put(items, i, timer)


cdef int heap_add(list heap, TimerHandle timer) except -1:
    heap.append(timer)
    heap_up(list_items(<PyObject *> heap), PyList_GET_SIZE(heap) - 1, <PyObject *> timer)
    return 0


cdef TimerHandle heap_take(list heap, Py_ssize_t i):
    """Take item `i` out."""
    cdef TimerHandle taken = <TimerHandle> PyList_GET_ITEM(heap, i)
    cdef PyObject **items = list_items(<PyObject *> heap)
    cdef Py_ssize_t n = PyList_GET_SIZE(heap) - 1
    cdef PyObject *last = items[n]
    # The list's references change places; then the last one, which is the reference to `taken`, goes.
    items[n] = <PyObject *> taken
    taken.place = -1
    if i < n:
        if i > 0 and before(last, items[(i - 1) >> 2]):
            heap_up(items, i, last)
        else:
            heap_down(items, n, i, last)
    heap.pop()
    return taken
