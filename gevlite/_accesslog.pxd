# A log with a line for each request. The territory is _accesslog.pyx.
from libc.stdint cimport int64_t

cdef class AccessLog:
    cdef readonly object target     # what it was made with
    cdef readonly object format
    cdef object path                # of the file that it opened itself, else None
    cdef object write_text          # a method, if the target is not a descriptor
    cdef int fd
    cdef bint is_file               # writing never waits long
    cdef bint json
    cdef bint flushing
    cdef bint scheduled
    cdef int n
    cdef int *codes
    cdef list arguments
    # Lines that are not written yet.
    cdef char *out
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity
    cdef readonly int64_t lost      # lines that were lost because the reader was too slow, or by an error
    cdef int64_t told
    # The texts for the current second.
    cdef int64_t second
    cdef int64_t pid
    cdef bytes clf
    cdef bytes iso
    cdef bytes clock

    cdef int add(self, handler, bytes head, dict environ, code, int64_t sent, double began, double ended) except -1
    cdef int atom(self, int code, argument, handler, bytes head, dict environ, status, int64_t sent, double took) except -1
    cdef int new_second(self, int64_t second) except -1
    cdef int room(self, Py_ssize_t n) except -1
    cdef int put(self, const char *data, Py_ssize_t n) except -1
    cdef int put_bytes(self, bytes data) except -1
    cdef int put_number(self, int64_t number) except -1
    cdef int put_seconds(self, double seconds) except -1
    cdef int put_safe(self, const unsigned char *data, Py_ssize_t n) except -1
    cdef int put_value(self, value) except -1
    cdef int put_octets(self, const unsigned char *data, Py_ssize_t n) except -1
    cdef int put_missing(self) except -1
    cdef int put_in_request_line(self, bytes head, int word) except -1
    cdef int put_header(self, handler, str name) except -1
    cdef int schedule(self) except -1
