# The response to one request. The territory is response.pyx.
from libc.stdint cimport int64_t

from gevlite._http.connection cimport Connection
from gevlite.timeout cimport Timeout

cdef enum:
    DISCARD = 262144        # how much of an unread body is read to keep the connection

cdef enum HeaderCode:
    HEADER_OTHER = 0
    HEADER_DATE
    HEADER_CONTENT_LENGTH
    HEADER_CONNECTION
    HEADER_TRANSFER_ENCODING
    HEADER_OF_A_HOP             # other fields that concern only the server and its client

cdef tuple parse_name(name)             # (bytes, HeaderCode)
cdef bytes check_text(text, str what)
cdef bytes as_bytes(text)
cdef object date_header()

cdef class Response:
    """The response to one request at a time."""
    cdef readonly Connection connection
    cdef public object environ
    cdef public object result
    cdef public object status                   # bytes, once start_response was called
    cdef public object code                     # its number
    cdef public object response_headers         # list of (bytes, bytes)
    cdef public object provided_date
    cdef public object provided_content_length
    cdef public int64_t response_length         # bytes sent, with the head
    cdef int64_t head_length                    # those of the head
    cdef public bint headers_sent
    cdef public bint response_use_chunked
    cdef public bint close_connection
    cdef public bint connection_upgraded
    cdef Timeout timer                          # until the response begins
    cdef bint quick
    cdef bint more_follows                      # more than the head follows, at once
    cdef bint no_body                           # the response has no body, whatever the application sends
    cdef bint provided_connection
    cdef bint provided_close
    cdef int64_t left                           # of Content-Length; -1: there is none
    cdef bint answered                          # in place of the application, whose own response is dropped

    cdef int begin_response(self) except -1
    cdef int stop_timer(self) except -1
    cpdef process_result(self)
    cpdef start_response(self, status, headers, exc_info=*)
    cpdef finalize_headers(self)
    cpdef write(self, data)
    cdef int send_with_head(self, const char *data, Py_ssize_t n) except -1
    cdef int send_piece(self, const char *data, Py_ssize_t n) except -1
    cdef bint send_file(self, wrapper) except -1
    cdef int set_length(self, int64_t n) except -1
    cdef int send_by_reading(self, wrapper) except -1
