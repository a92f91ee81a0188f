# HTTP/1 on one connection. The territory is connection.pyx.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from gevlite._socketio cimport Endpoint

cdef enum:
    BLOCK = 65536               # how much is read at once

cdef class Settings:
    """What all connections of a server share: its limits, spare memory, and header names it has seen."""
    cdef public bint closing    # the server is stopping: each connection has one more request
    cdef public bint stopped    # and by now it has it no more
    cdef public bint strict     # as RFC 9112 and 3986 have it, where we would understand it nevertheless
    # What becomes of fields with "_" in their names: "drop", "refuse" or "dangerous"; and the names, in lower case, that
    # count if the connection is trusted ("*": all of them). Both are gunicorn's. To be set before the first request.
    cdef public str header_map
    cdef public frozenset forwarded
    cdef public object request_timeout  # seconds that an application may take to begin its response; None: any
    cdef public Py_ssize_t max_queued   # requests that may wait for a place; -1: any number
    cdef public Py_ssize_t queued       # that do
    cdef public bint raw_uri    # environ is to have RAW_URI, the target as it was sent
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
    cdef object parser_class
    cdef char *spare[8]
    cdef int n_spare
    cdef FieldName *names       # a direct-mapped cache

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
    # Names with "_", which could pass for another's environ key; see Settings.
    FIELD_IGNORED
    FIELD_FORWARDED

cdef struct FieldName:
    unsigned char size          # 0: an empty place
    unsigned char code          # FieldCode
    char name[46]
    PyObject *key               # str, as in environ

cdef enum BodyKind:
    BODY_DONE = 0
    BODY_LENGTH
    BODY_CHUNKED

cdef enum Expectation:
    NOT_EXPECTED = 0            # or said already
    EXPECTED
    LET_DOWN                    # the response came first: whether there will be a body is not known

cdef class _Judge:
    cdef bint head_complete
    cdef bint message_complete

cdef class Connection:
    """Requests from a socket, one after the other, and bytes back to it."""
    cdef readonly object sock
    cdef readonly Settings settings
    cdef Endpoint ep            # None: the socket's methods are used (TLS)
    cdef Endpoint wire          # what carries the bytes; None if that is no socket of ours
    cdef object read_some
    cdef object parser
    cdef object feed
    cdef _Judge judge
    # What was read and not used yet is buffer[start:end].
    cdef char *buffer
    cdef Py_ssize_t capacity
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef public bint trusted    # it is a proxy, whose word counts
    cdef bint torn              # sending was interrupted
    cdef bint dead              # the client is gone, or nothing it says can be understood any more
    cdef readonly bint waiting  # for a head, the rest of it, or, after our last word, for the client's end
    cdef bint idle              # while waiting: nothing of it has come
    cdef readonly Py_ssize_t served     # how many requests have come
    cdef int in_a_row           # requests served without having to wait for one
    # The head; offsets from `start`.
    cdef Py_ssize_t head_size   # 0 while there is none
    cdef Py_ssize_t line        # where the line begins that is being looked at
    cdef Py_ssize_t looked      # up to here there is no end of that line
    cdef Py_ssize_t lines
    cdef Py_ssize_t fields      # where they begin
    cdef Py_ssize_t blank
    cdef int64_t head_deadline  # 0: nothing has come yet
    cdef Py_ssize_t method_size
    cdef bint is_head
    cdef Py_ssize_t target
    cdef Py_ssize_t target_size
    cdef int minor              # HTTP/1.minor
    cdef bint says_close
    cdef bint says_keep_alive
    cdef bint keep_alive
    cdef bint upgrade           # the client asks to speak something else from here on
    cdef Expectation expect     # whether it waits for "100 Continue" before it sends its body
    # The body.
    cdef BodyKind body
    cdef int64_t content_length     # -1: not known
    cdef int64_t remaining      # of the body or of the current chunk
    cdef int64_t received
    cdef int64_t overhead       # bytes in the lines before chunks, beyond what their data excuses
    cdef bint chunk_open        # the CRLF behind the last chunk has not been read
    cdef readonly list trailers     # (name, value), once the end of a chunked body was read
    cdef int64_t waited         # ns, for the body and for the client to take the response
    cdef int64_t write_waited
    cdef int64_t sent           # since we had to wait for the client first
    cdef int64_t queued         # by the kernel when that was; -1: it does not say

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
    cdef int body_progress(self, Py_ssize_t n) except -1
    cdef int next_chunk(self) except -1
    cdef int read_trailers(self) except -1
    cdef Py_ssize_t framing_line(self, Py_ssize_t most, bint of_chunk) except -1
    cdef int too_slow(self) except -1
    cdef int gone(self) except -1
    cdef bint discard(self, int64_t limit) except -1
    cdef int linger(self) except -1

    cdef int judged(self, const char *data, Py_ssize_t n) except -1
    cdef int fresh_parser(self) except -1
    cdef int make_room(self, Py_ssize_t n) except -1
    cdef int drop_buffer(self) except -1
    cdef int slim(self) except -1
    cdef Py_ssize_t fill(self, int64_t timeout) except -1
    cdef Py_ssize_t fill_by_method(self, int64_t timeout) except -1
    cdef Py_ssize_t receive(self, char *where, Py_ssize_t n, int64_t timeout) except -1
    cdef bint may_wait(self, int64_t *limit, int64_t waited, int64_t moved) except -1

    cdef int send(self, const char *data, Py_ssize_t n, bint more) except -1
    cdef int send_object(self, data) except -1
    cdef int cannot_send(self) except -1
    cdef int send_by_method(self, data) except -1
    cdef int64_t taken(self) except -1
    cdef int64_t patience(self, int64_t taken, int64_t stalled) except -2
    cdef int begin_waiting(self) except -1
    cdef int wait_to_send(self) except -1
    cdef int send_encrypted(self, octets) except -1
    cdef Py_ssize_t send_file(self, int fd, long long offset, Py_ssize_t count) except -1

cdef class Reader:
    """What a client sends, as a file."""
    cdef readonly Connection connection

    cdef Py_ssize_t more(self) except -1
    cdef bytes taken(self, Py_ssize_t n)
