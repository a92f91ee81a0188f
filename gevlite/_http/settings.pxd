# What all connections of a server share. The territory is settings.pyx.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    BLOCK = 65536               # how much is read at once
    N_TIMES = 14                # classes of requests, by the time that they took

cdef class Settings:
    """What all connections of a server share: its limits, spare memory, and header names it has seen."""
    cdef public bint closing    # the server is stopping: each connection may make one more request
    cdef public bint stopped    # no connection may make another request
    cdef public bint strict     # follow RFC 9112 and 3986 strictly, also where we would understand more
    # What becomes of fields with "_" in their names: "drop", "refuse" or "dangerous"; and the names, in lower case, that
    # count if the connection is trusted ("*": all of them). Both are gunicorn's. To be set before the first request.
    cdef public str header_map
    cdef public frozenset forwarded
    cdef public object request_timeout  # seconds that an application may take to begin its response; None: any
    cdef public Py_ssize_t max_queued   # requests that may wait for a place; -1: any number
    cdef public Py_ssize_t queued       # requests that wait for a place
    # A path, and what answers requests for it and all below it in place of the application; None: there is none.
    cdef public str status_path
    cdef public object status_page
    cdef public bint raw_uri    # environ gets RAW_URI, the target as it was sent
    cdef Py_ssize_t max_request_line
    cdef Py_ssize_t max_headers
    cdef Py_ssize_t max_header_bytes
    cdef Py_ssize_t max_field_bytes
    cdef int64_t max_body       # -1: no limit, here and below; times in ns
    cdef int64_t header_time
    cdef int64_t keepalive_time
    cdef int64_t closing_time
    cdef int64_t linger_time
    cdef int64_t body_time
    cdef int64_t write_time
    cdef int64_t min_rate       # bytes a second; 0: any
    # Counted for gevlite.metrics. By the first digit of the status, 0: the application has sent none.
    cdef uint64_t[6] answered
    cdef uint64_t[N_TIMES] times        # of those that reached the application
    cdef int64_t all_times              # ns
    cdef Py_ssize_t serving             # requests that the application has now
    cdef object parser_class
    cdef char *spare[8]
    cdef int n_spare
    cdef FieldName *names       # a direct-mapped cache

    cdef int count_time(self, int64_t ns) noexcept
    cdef char *take_block(self) except NULL
    cdef int give_block(self, char *block) noexcept
    cdef FieldName *field_name(self, const char *name, Py_ssize_t n) except NULL

cdef enum FieldCode:
    FIELD_OTHER = 0
    FIELD_HOST
    FIELD_CONTENT_LENGTH
    FIELD_CONTENT_TYPE
    FIELD_TRANSFER_ENCODING
    FIELD_CONNECTION
    FIELD_COOKIE
    FIELD_EXPECT
    # Names with "_", which could be mistaken for the environ key of another field; see Settings.
    FIELD_IGNORED
    FIELD_FORWARDED

cdef struct FieldName:
    unsigned char size          # 0: an empty place
    unsigned char code          # FieldCode
    char name[46]
    PyObject *key               # str, as in environ

cdef int refuse(str status, str reason) except -1
cdef int bad(str reason) except -1      # 400 Bad Request

cdef inline int64_t earned(int64_t moved, int64_t rate) noexcept:
    """The time, in ns, that `moved` bytes may take at `rate` bytes a second."""
    return moved * 1000000000 // rate if moved < 1 << 32 else moved // rate * 1000000000
