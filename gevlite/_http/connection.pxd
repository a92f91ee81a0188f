# HTTP/1 on one connection. The territory is connection.pyx.
from libc.stdint cimport int64_t

from gevlite._http.transport cimport Transport

cdef enum BodyKind:
    BODY_DONE = 0
    BODY_LENGTH
    BODY_CHUNKED

cdef enum Expectation:
    NOT_EXPECTED = 0            # or sent already
    EXPECTED
    UNANSWERED                  # the response was sent instead of a 100: it is unknown whether a body will come

cdef class _Judge:
    cdef bint head_complete
    cdef bint message_complete

cdef class Connection(Transport):
    """Requests from a socket, one after the other, and bytes back to it."""
    cdef object parser
    cdef object feed
    cdef _Judge judge
    cdef public bint trusted    # the client is a proxy whose header fields we trust
    cdef bint idle              # while waiting: nothing of the next request has come
    cdef readonly Py_ssize_t served     # how many requests have come
    # The head; offsets from `start`.
    cdef Py_ssize_t head_size   # 0 while there is none
    cdef Py_ssize_t line        # where the current line begins
    cdef Py_ssize_t looked      # up to here, that line does not end
    cdef Py_ssize_t lines
    cdef Py_ssize_t fields      # where they begin
    cdef Py_ssize_t blank
    cdef int64_t head_deadline  # -1: nothing has come yet
    cdef Py_ssize_t method_size
    cdef bint is_head
    cdef Py_ssize_t target
    cdef Py_ssize_t target_size
    cdef int minor              # HTTP/1.minor
    cdef bint says_close
    cdef bint says_keep_alive
    cdef bint keep_alive
    cdef bint upgrade           # the client asks for another protocol from here on
    cdef Expectation expect     # whether the client waits for "100 Continue" before it sends its body
    # The body.
    cdef BodyKind body
    cdef int64_t content_length     # -1: not known
    cdef int64_t remaining      # of the body or of the current chunk
    cdef int64_t received
    cdef int64_t overhead       # bytes in the lines before chunks, beyond what their data excuses
    cdef bint chunk_open        # the CRLF behind the last chunk has not been read
    cdef readonly list trailers     # (name, value), once the end of a chunked body was read
    cdef int64_t waited         # ns, for the body

    cdef int begin_request(self) except -1
    cdef int read_head(self) except -1
    cdef int await_more(self) except -1
    cdef int find_end(self) except -1
    cdef int check_request_line(self, const char *line, Py_ssize_t n) except -1
    cdef int parse_head(self, dict environ) except -1
    cdef bint judged_in_other_words(self) except -1
    cdef int parse_fields(self, dict environ) except -1
    cdef int put_target(self, dict environ) except -1
    cdef int connection_options(self, const char *p, const char *end) except -1
    cdef int set_framing(self, bint chunked, int64_t length) except -1
    cdef int consume_head(self) except -1

    cdef Py_ssize_t body_peek(self, char **where) except -1
    cdef int body_take(self, Py_ssize_t n) except -1
    cdef Py_ssize_t body_into(self, char *where, Py_ssize_t n) except -1
    cdef int body_wait(self) except -1
    cdef Py_ssize_t body_receive(self, char *where, Py_ssize_t n) except -1
    cdef int body_progress(self, Py_ssize_t n) except -1
    cdef int next_chunk(self) except -1
    cdef int read_trailers(self) except -1
    cdef Py_ssize_t framing_line(self, Py_ssize_t most, bint of_chunk) except -1
    cdef int too_slow(self) except -1
    cdef int gone(self) except -1
    cdef bint may_wait(self, int64_t *limit, int64_t waited, int64_t moved) except -1

    cdef bint discard(self, int64_t limit) except -1

    cdef int judged(self, const char *data, Py_ssize_t n) except -1
    cdef int fresh_parser(self) except -1
