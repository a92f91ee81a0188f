from cpython.object cimport PyObject

from gevlite._core cimport Belongings

cdef class Hook:
    cdef object get
    cdef object set
    cdef object swap_task
    cdef readonly str __name__

    cdef RunningLoop belongings(self, loop)

cdef class RunningLoop(Belongings):
    cdef Hook hook
    cdef object loop
    cdef object task
    cdef PyObject *firstiter        # sys.get_asyncgen_hooks()
    cdef PyObject *finalizer
    cdef int depth                  # sys.get_coroutine_origin_tracking_depth()
    cdef int depth_outside          # and without the loop
    cdef unsigned long forks
