# Part of _core.pyx: what must be true of a hub at each step of its loop. For builds with GEVLITE_DEBUG=1 only, in which
# a broken list or heap ends the process at the step that finds it, with a message, and not by a crash much later.

cdef enum:
    CHECKED_WHOLE = 256         # a hub with more entries is fully checked only once in this many steps

cdef unsigned int _steps = 0


cdef int check_hub(Hub hub) except -1:
    """Abort the process if `hub` is in an impossible state."""
    global _steps
    _steps += 1
    if hub.n_parked + hub.timers.size + <Py_ssize_t> hub.ready.count > CHECKED_WHOLE and _steps % CHECKED_WHOLE:
        return 0
    try:
        check_ring(&hub.ready)
        check_ring(&hub.inbox)
        check_heap(&hub.timers)
        check_parked(hub)
        check_descriptors(hub)
        must(hub.runner != NULL, "no greenlet runs the loop")
        must(hub.current == NULL or has_begun(<CoreGreenlet> hub.current), "the current greenlet has ended")
        must(hub.unref_timers <= hub.timers.size, "more timers without a reference than timers")
    except AssertionError as exc:
        sys.stderr.write(f"gevlite, a GEVLITE_DEBUG build: {exc}\n{hub!r} {hub.stats()}\n")
        sys.stderr.flush()
        os.abort()


cdef bint has_begun(CoreGreenlet g) noexcept:
    return g.life == RUNNING


cdef int must(bint holds, str otherwise) except -1:
    if not holds:
        raise AssertionError(otherwise)
    return 0


cdef int check_ring(Ring *ring) except -1:
    cdef size_t i
    cdef Entry *e
    must(ring.items != NULL or ring.count == 0, "a ready queue with entries and without memory")
    must(ring.count <= ring.mask + 1, "a ready queue with more entries than places")
    for i in range(ring.count):
        e = ring_at(ring, i)
        must(RESUME <= e.kind <= CALL, "a ready entry of no kind")
        must(e.target != NULL and Py_REFCNT(e.target) > 0, "a ready entry whose target is gone")
        must(e.kind != RESUME or isinstance(<object> e.target, Waiter), "a resumption of what is no Waiter")
    return 0


cdef int check_heap(Heap *heap) except -1:
    cdef Py_ssize_t i
    must(heap.size <= heap.capacity, "a timer heap with more entries than places")
    for i in range(heap.size):
        must(heap.items[i].index[0] == i, "a timer that does not know its place")
        must(Py_REFCNT(heap.items[i].owner) > 0, "a timer whose owner is gone")
        must(i == 0 or not heap_before(&heap.items[i], &heap.items[(i - 1) >> 2]), "a timer before its parent in the heap")
    return 0


cdef int check_parked(Hub hub) except -1:
    cdef PyObject *p = hub.parked
    cdef PyObject *before = NULL
    cdef Waiter w
    cdef Py_ssize_t n = 0
    while p != NULL:
        must(Py_REFCNT(p) > 0, "a parked Waiter that is gone")
        w = <Waiter> p
        must(w.hub is hub, "a Waiter parked in another hub")
        must(w.parked_prev == before, "the list of what is parked is broken")
        must(w.greenlet is not None, "a parked Waiter without a greenlet")
        must(PARKED <= w.state <= RESUMED, "a parked Waiter that is not parked")
        check_links(w.list)
        before, p = p, w.parked_next
        n += 1
        must(n <= hub.n_parked, "more is parked than counted, or the list of what is parked is a circle")
    return must(n == hub.n_parked, "less is parked than counted")


cdef int check_links(WaitList *lst) except -1:
    cdef PyObject *p
    cdef PyObject *before = NULL
    cdef Py_ssize_t n = 0
    if lst == NULL or lst.count > CHECKED_WHOLE:
        return 0
    p = lst.head
    while p != NULL:
        must((<Place> p).list == lst and (<Place> p).prev == before, "a list of waiters is broken")
        before, p = p, (<Place> p).next
        n += 1
        must(n <= lst.count, "a list of waiters is a circle")
    return must(n == lst.count and lst.tail == before, "a list of waiters does not know its end")


cdef int check_descriptors(Hub hub) except -1:
    cdef int fd, watched = 0
    cdef FdEntry *entry
    for fd in range(hub.fds_size):
        entry = hub.fds[fd]
        if entry == NULL:
            continue
        must(entry.fd == fd, "a descriptor in the place of another one")
        must(not entry.flags & ADOPTED or entry.flags & OWNED, "a foreign descriptor registered as an owned one")
        check_links(&entry.readers)
        check_links(&entry.writers)
        watched += entry.armed != 0
        watched += entry.flags & ADOPTED != 0
    return must(watched == hub.watched_fds, "the backend watches more or fewer descriptors than counted")
