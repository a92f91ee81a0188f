# Waiting for many objects: joinall, iwait, wait. Part of greenlet.pyx, whose Greenlet it looks into.

@cython.no_gc
cdef class _CollectPlace(Place):
    cdef _Collector collector
    cdef PyObject *source           # the greenlet, borrowed: valid while this is in its list

    cdef int notify(self, object source) except -1:
        self.collector._add(source)
        return 1


cdef class _Collector:
    """Gathers objects as they become ready, and wakes its waiter when there are enough."""
    cdef Waiter waiter              # parked, or None
    cdef list ready
    cdef Py_ssize_t wanted          # wake when this many are in `ready`
    cdef bint raise_error           # or when one of them failed
    cdef Py_ssize_t seen            # how many of `ready` have been checked for that
    cdef Greenlet linked            # a greenlet that had ended, and whose links had not been called yet
    cdef list links                 # a _CollectPlace for each Greenlet, every other object itself: it has a rawlink
    cdef object on_ready

    cdef int _add(self, object source) except -1:
        cdef Waiter w = self.waiter
        self.ready.append(source)
        if w is not None and (len(self.ready) >= self.wanted or self.raise_error and _error_of(source) is not None):
            w.wake(None)
        return 0

    def _linked(self, source):
        self._add(source)

    cdef int link(self, object objects) except -1:
        cdef _CollectPlace place
        self.ready = []
        self.links = []
        self.on_ready = self._linked
        for obj in objects:
            if isinstance(obj, Greenlet):
                if (<Greenlet> obj).life == FINISHED:
                    self.ready.append(obj)
                    if (<Greenlet> obj).linking or (<Greenlet> obj).callbacks:
                        self.linked = <Greenlet> obj
                else:
                    place = _CollectPlace.__new__(_CollectPlace)
                    place.collector = self
                    place.source = <PyObject *> obj
                    waitlist_append(&(<Greenlet> obj).waiters, place)
                    self.links.append(place)
            else:
                try:
                    rawlink = obj.rawlink
                except AttributeError:
                    raise TypeError(f"cannot wait for {obj!r}: it has no rawlink()") from None
                # Links are called in the hub's next turn; a short time-out may be over before that.
                ready = getattr(obj, "ready", None) or getattr(obj, "done", None)       # `done`: of a future
                if callable(ready) and ready() is True:
                    self.ready.append(obj)
                else:
                    self.links.append(obj)
                    rawlink(self.on_ready)
        return 0

    cdef int unlink(self) except -1:
        for link in self.links:
            if isinstance(link, _CollectPlace):
                waitlist_remove(<_CollectPlace> link)
            else:
                link.unlink(self.on_ready)
        self.links = []
        self.on_ready = None        # it refers to us: a cycle
        return 0

    cdef int links_first(self, object timeout) except -1:
        """Let the links of a greenlet that had ended be called before the waiting greenlet goes on."""
        if self.linked is not None and self.linked._links_are_due(timeout):
            self.linked._let_links_run()
        self.linked = None
        return 0

    cdef bint enough(self):
        return len(self.ready) >= self.wanted or self.raise_error and len(self.ready) > self.seen

    def wait_for(self, wanted):
        return self.wait(wanted, -1)

    cdef int wait(self, Py_ssize_t wanted, int64_t timeout) except -1:
        """Block until `wanted` are ready; 0 after the time-out."""
        cdef Waiter w
        self.wanted = wanted
        if self.enough():
            return 1
        w = new_waiter(current_hub(), WAIT_GREENLET, <PyObject *> self)
        if self.enough():       # some have become ready in the meantime, see new_waiter
            return 1
        self.waiter = w
        try:
            w.park_for(timeout)
        finally:
            self.waiter = None
        return not w.timed_out


cdef object _error_of(object source):
    """The exception that a ready object failed with, or None. A future's method for it raises if it was cancelled."""
    error = getattr(source, "exception", None)
    if error is None or isinstance(error, BaseException) or not callable(error):
        return error
    try:
        return error()
    except BaseException as exc:
        return exc


cdef list several(object objects, str function):
    """The objects that a function waits for, without repetitions."""
    try:
        iterator = iter(objects)
    except TypeError:
        raise TypeError(f"{function}() takes a list of what to wait for, not {objects!r}: {function}([...])") from None
    return list(dict.fromkeys(iterator))


def joinall(greenlets, timeout=None, raise_error=False, count=None):
    """Block until all of `greenlets` have ended, or `count` of them, or for `timeout` seconds.

    Returns those that have ended, in the order in which they did. With `raise_error`, the first error among them is raised
    as soon as it happens.
    """
    cdef _Collector c
    cdef Py_ssize_t wanted, seen
    cdef int64_t deadline
    objects = several(greenlets, "joinall")
    if isinstance(timeout, Timeout):
        ended = within(timeout, None, joinall, (objects, None, raise_error, count))
        return ended if ended is not None else joinall(objects, 0, raise_error, count)
    deadline = deadline_of(timeout_ns(timeout))
    wanted = len(objects)
    if count is not None and count < wanted:
        wanted = count
    if wanted <= 0:
        give_way_within(timeout)
        return []
    c = _Collector.__new__(_Collector)
    c.raise_error = raise_error
    try:
        c.link(objects)
        if c.linked is not None:
            c.links_first(timeout)
        elif len(c.ready) >= wanted:
            give_way_within(timeout)        # not before: the links of a greenlet that ends meanwhile must run first
        while True:
            if raise_error:
                seen = c.seen
                c.seen = len(c.ready)
                for g in c.ready[seen:c.seen]:
                    if isinstance(g, Greenlet):
                        if (<Greenlet> g)._error is not None:
                            g.get()
                    else:
                        error = _error_of(g)
                        if error is not None:
                            raise error
            if len(c.ready) >= wanted:
                break
            if not c.wait(wanted, time_left(deadline)):
                break
    finally:
        c.unlink()
    # A copy: a callback that is queued already may still add to the list.
    return c.ready[:] if count is None else c.ready[:wanted]


def iwait(objects, timeout=None, count=None):
    """Yield each of `objects` as it becomes ready: greenlets, events, results, semaphores, anything with `rawlink`.

    Blocks between them; ends after `count` of them or `timeout` seconds, counted from the first step. Inside a `with`
    statement the links are removed at its end even if the iteration is abandoned. A Timeout given as `timeout` limits
    each wait between two steps, with what is left of it if it runs.
    """
    return _Iwait(several(objects, "iwait") if objects is not None else None, timeout, count)


class _Iwait:
    """The iterator of `iwait`, a context manager too."""

    def __init__(self, objects, timeout, count):
        timeout_ns(timeout)     # a bad number fails here
        self._steps = _iwait_steps(objects, timeout, count)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._steps)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._steps.close()


def _iwait_steps(objects, timeout, count):
    cdef _Collector c
    cdef Py_ssize_t given = 0, wanted
    cdef int64_t deadline = deadline_of(timeout_ns(timeout)) if not isinstance(timeout, Timeout) else -1
    if objects is None:
        yield current_hub().join(timeout)
        return
    wanted = len(objects)
    if count is not None and count < wanted:
        wanted = count
    c = _Collector.__new__(_Collector)
    try:
        c.link(objects)
        if c.linked is not None:
            c.links_first(timeout)
        while given < wanted:
            if given == len(c.ready):
                if isinstance(timeout, Timeout):
                    if not within(timeout, False, c.wait_for, (given + 1,)):
                        return
                elif not c.wait(given + 1, time_left(deadline)):
                    return
            else:
                give_way_within(timeout)
            given += 1
            yield c.ready[given - 1]
    finally:
        c.unlink()


def wait(objects=None, timeout=None, count=None):
    """Block until all of `objects` are ready, or `count` of them, or for `timeout` seconds; return the ready ones.

    They may be any mixture of greenlets, events, results and semaphores. Without `objects`: block until the hub has nothing
    left to do, and return True, or False after `timeout` seconds.
    """
    if objects is None:
        return current_hub().join(timeout)
    return list(_Iwait(several(objects, "wait"), timeout, count))
