# What _adopted.pyx needs of _threadlock.pyx.
from libc.stdint cimport int64_t

cdef unsigned long current_ident()
cdef int64_t time_limit(bint blocking, object timeout) except -2
