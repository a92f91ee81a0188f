from gevlite._core cimport WaitList, Waitable

cdef class Semaphore(Waitable):
    cdef public Py_ssize_t counter      # set by gipc, after a fork; wakes no waiter
    cdef public object _pool        # a weak reference to the Pool whose places these are, or None
    cdef Py_ssize_t initial         # its first value
    cdef WaitList watchers          # in wait(): they are notified, but take nothing

    cpdef bint ready(self) except -1
    cpdef bint locked(self)
    cpdef bint acquire(self, bint blocking=*, object timeout=*) except -1
    cpdef Py_ssize_t release(self) except -1

cdef class RLock:
    cdef Semaphore block
    cdef object owner
    cdef Py_ssize_t count
    cdef object __weakref__

    cpdef bint acquire(self, bint blocking=*, object timeout=*) except -1
    cpdef release(self)
