from gevlite._core cimport Block, Timer, greenlet


cdef class _TimeoutTimer(Timer):
    cdef greenlet target
    cdef Block block            # if it is in a coroutine; None for most
    cdef object exc             # None when it has fired or was stopped
    cdef object made            # what was raised, if `exc` was a class

    cdef int interrupt(self, object exc) except -1


cdef class Timeout(BaseException):
    cdef public object seconds
    cdef public object exception
    cdef bint ref
    cdef bint one_shot
    cdef _TimeoutTimer timer
    cdef object code            # of the Python code that started it, and the place in that: see `where`
    cdef int instruction
    cdef Block block
    cdef object __weakref__

    cdef int _start(self) except -1
    cdef bint _is_pending(self)
    cdef object _raised(self)
    cdef str _limit(self)
    cdef int _note_caller(self) except -1
    cdef int _cancel(self) except -1
    cdef bint _end(self, object value) except -1

cdef object RAISE
cdef object within(Timeout limit, object otherwise, object function, tuple args)
cdef Timeout expired(object seconds)
