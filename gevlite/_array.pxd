# Arrays that grow by doubling.
from libc.stdlib cimport realloc
from libc.string cimport memset


cdef inline Py_ssize_t room_for(Py_ssize_t needed, Py_ssize_t capacity) noexcept:
    """The next capacity that is enough for `needed` items."""
    cdef Py_ssize_t room = capacity if capacity else 64
    while room < needed:
        room *= 2
    return room


cdef inline void *grown(void *items, Py_ssize_t capacity, Py_ssize_t room, size_t size, str what) except NULL:
    """`items`, of `size` bytes each, where `room` of them fit and not `capacity`; the new ones are zero.

    Raises MemoryError; then `items` is as it was.
    """
    cdef void *found = realloc(items, room * size)
    if found == NULL:
        raise MemoryError(what)
    memset(<char *> found + capacity * size, 0, (room - capacity) * size)
    return found
