# The ready queue of a hub, and its inbox: a ring of entries, first in, first out. Used by the core alone.
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdlib cimport free, malloc


cdef struct Entry:
    int kind
    int passed                  # see `woken_first`; 0 unless time slices end
    PyObject *target
    PyObject *argument

cdef struct Ring:
    Entry *items
    size_t mask
    size_t head
    size_t count
    # For a ring that reports its next entry: its memory is put aside and `items` is NULL; `notice` is called when the
    # memory is taken back. So this costs other pushes nothing.
    Entry *aside
    int (*notice)() except -1


cdef inline Entry *ring_at(Ring *ring, size_t i) noexcept:
    """The entry at place `i` from the first."""
    return &ring.items[(ring.head + i) & ring.mask]


cdef inline int ring_watch(Ring *ring, int (*notice)() except -1) except -1:
    """Have `notice` called once, by the next push. The ring is empty."""
    if ring.items == NULL and ring.aside == NULL:
        ring_grow(ring)
    if ring.aside == NULL:
        ring.aside = ring.items
        ring.items = NULL
    ring.notice = notice
    return 0


cdef inline bint ring_unwatch(Ring *ring) noexcept:
    """Take back `ring_watch`. True if `notice` was not called."""
    if ring.aside == NULL:
        return False
    ring.items = ring.aside
    ring.aside = NULL
    return True


cdef inline int ring_grow(Ring *ring) except -1:
    cdef size_t old = ring.mask + 1 if ring.items != NULL else 0
    cdef size_t new = old * 2 if old else 64
    cdef size_t i
    cdef Entry *items
    if ring_unwatch(ring):
        return ring.notice()
    items = <Entry *> malloc(new * sizeof(Entry))
    if items == NULL:
        raise MemoryError("ready queue")
    for i in range(ring.count):
        items[i] = ring_at(ring, i)[0]
    free(ring.items)
    ring.items = items
    ring.mask = new - 1
    ring.head = 0
    return 0


cdef inline int ring_push(Ring *ring, int kind, PyObject *target, PyObject *argument) except -1:
    """Append; takes a new reference to `target` and `argument`."""
    cdef Entry *e
    if ring.items == NULL or ring.count > ring.mask:
        ring_grow(ring)
    e = ring_at(ring, ring.count)
    ring.count += 1
    e.kind = kind
    e.passed = 0
    e.target = target
    e.argument = argument
    Py_INCREF(<object> target)
    if argument != NULL:
        Py_INCREF(<object> argument)
    return 0


cdef inline Entry ring_pop(Ring *ring) noexcept:
    """Remove the first entry; its references now belong to the caller."""
    cdef Entry e = ring.items[ring.head]
    ring.head = (ring.head + 1) & ring.mask
    ring.count -= 1
    return e


cdef inline int ring_rotate(Ring *ring, size_t n) noexcept:
    """Move the first `n` entries to the end, in their order."""
    cdef size_t _i
    for _i in range(n):
        ring_at(ring, ring.count)[0] = ring_at(ring, 0)[0]
        ring.head = (ring.head + 1) & ring.mask
    return 0


cdef inline int ring_dispose(Ring *ring) except -1:
    cdef Entry e
    while ring.count:
        e = ring_pop(ring)
        Py_DECREF(<object> e.target)
        Py_XDECREF(e.argument)
    ring_unwatch(ring)
    free(ring.items)
    ring.items = NULL
    ring.mask = 0
    ring.head = 0
    return 0
