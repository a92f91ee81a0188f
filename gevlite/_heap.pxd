# The timer heap of a hub. Used by the core alone.
#
# 4-ary: half the depth of a binary heap, and the four children share two cache lines. Each owner knows its index, so that
# cancelling is a removal and not a mark; almost every timeout is cancelled. The sequence number keeps equal deadlines in the
# order in which they were started.
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t

from gevlite._array cimport grown, room_for


cdef struct HeapItem:
    int64_t deadline
    uint64_t sequence
    PyObject *owner         # Waiter or Timer, owned reference
    Py_ssize_t *index       # the owner's heap_index

cdef struct Heap:
    HeapItem *items
    Py_ssize_t size
    Py_ssize_t capacity
    uint64_t sequence


cdef inline bint heap_before(HeapItem *a, HeapItem *b) noexcept:
    return a.deadline < b.deadline or (a.deadline == b.deadline and a.sequence < b.sequence)


cdef inline void heap_place(Heap *heap, Py_ssize_t i, HeapItem item) noexcept:
    heap.items[i] = item
    item.index[0] = i


cdef inline void heap_up(Heap *heap, Py_ssize_t i, HeapItem item) noexcept:
    cdef Py_ssize_t parent
    while i > 0:
        parent = (i - 1) >> 2
        if not heap_before(&item, &heap.items[parent]):
            break
        heap_place(heap, i, heap.items[parent])
        i = parent
    heap_place(heap, i, item)


cdef inline void heap_down(Heap *heap, Py_ssize_t i, HeapItem item) noexcept:
    cdef Py_ssize_t child, best, last, n = heap.size
    while True:
        child = (i << 2) + 1
        if child >= n:
            break
        best = child
        last = child + 4 if child + 4 < n else n
        child += 1
        while child < last:
            if heap_before(&heap.items[child], &heap.items[best]):
                best = child
            child += 1
        if not heap_before(&heap.items[best], &item):
            break
        heap_place(heap, i, heap.items[best])
        i = best
    heap_place(heap, i, item)


cdef inline int heap_push(Heap *heap, int64_t deadline, PyObject *owner, Py_ssize_t *index) except -1:
    cdef HeapItem item
    cdef Py_ssize_t room
    if heap.size == heap.capacity:
        room = room_for(heap.size + 1, heap.capacity)
        heap.items = <HeapItem *> grown(heap.items, heap.capacity, room, sizeof(HeapItem), "timer heap")
        heap.capacity = room
    item.deadline = deadline
    item.sequence = heap.sequence
    heap.sequence += 1
    item.owner = owner
    item.index = index
    Py_INCREF(<object> owner)
    heap.size += 1
    heap_up(heap, heap.size - 1, item)
    return 0


cdef inline PyObject *heap_remove(Heap *heap, Py_ssize_t i) noexcept:
    """Take item `i` out. The reference to its owner passes to the caller."""
    cdef HeapItem item = heap.items[i]
    cdef HeapItem last
    item.index[0] = -1
    heap.size -= 1
    if i < heap.size:
        last = heap.items[heap.size]
        if i > 0 and heap_before(&last, &heap.items[(i - 1) >> 2]):
            heap_up(heap, i, last)
        else:
            heap_down(heap, i, last)
    return item.owner
