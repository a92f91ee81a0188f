from cpython.object cimport PyObject

from gevlite._core cimport Belongings, Block, Hub, greenlet

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
    cdef list due                   # TaskBlocks with an exception that is raised, or to be raised, in their tasks
    cdef bint ours                  # the loop reads `thrown`
    cdef list thrown                # (task or None, exception): raised in blocking calls, but not for them

    cdef object current_task(self)

cdef class TaskBlock(Block):
    cdef RunningLoop running
    cdef object loop
    cdef object task
    cdef object exc                 # the exception that interrupts it
    cdef Py_ssize_t cancelling      # how often the task had been cancelled before
    cdef bint cancelled             # it was cancelled once more because of this block
    cdef bint left

    cdef int ask(self) except -1
