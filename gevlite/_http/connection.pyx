"""HTTP/1.0 and 1.1 on one connection, the server's side: heads and bodies of requests in, bytes out.

Who decides what. Our code walks: it finds the end of a line, of the head, of a chunk, keeps limits and times, and slices
the fields out of the bytes in place. llhttp, by way of `httptools`, judges: it is fed exactly the bytes that were walked
over, never one more, and its refusal is final. Both count where a message ends, and a connection on which they differ
is given up: that is what request smuggling is made of. On top come the rules that llhttp leaves to others; each
names its RFC. (9110: HTTP semantics. 9112: HTTP/1.1.) What llhttp refuses and we understand, such as methods that it does
not know, it is told in other words that mean the same; `Settings.strict` has it tell us so.

Memory. Everything is read into one block of 64 KiB, which a connection has only while it works on what is in it. While it
waits for more it keeps no more than what it got so far, which for an idle connection is nothing.

Time. A head has a deadline, since it should come at once. A body, and a response that the client takes slowly, may take
as long as they keep up a minimum rate: the time spent waiting is compared with the bytes that moved.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from gevlite._core cimport READ, WRITE, Hub, current_hub, give_way_if_due, now_ns, timeout_ns
from gevlite._socketio cimport WOULD_BLOCK, endpoint, sendfile_once, transfer_once, wait_within

import _socket
import errno

from gevlite._core import sleep
from gevlite.ssl import say_goodbye
from gevlite.socket import socket as _Socket


cdef extern from *:
    """
    #include <sys/socket.h>
    #ifdef MSG_MORE
    #define GEVLITE_MSG_MORE MSG_MORE
    #else
    #define GEVLITE_MSG_MORE 0
    #endif
    """
    int GEVLITE_MSG_MORE

cdef extern from "_http/send_queue.h":
    int64_t gevlite_send_queue(int fd) noexcept

cdef extern from "_http/fence.h":
    void gevlite_fence(char *block, Py_ssize_t used, Py_ssize_t size) noexcept

cdef extern from "Python.h":
    PyObject *PyDict_SetDefault(object d, object key, object default) except NULL      # borrowed
    int PyBUF_READ
    str interned_key "PyUnicode_InternFromString"(const char *)

cdef enum:
    RECORD = 16384              # the most that TLS sends at once
    LINE_OF_CHUNK = 4096        # the longest line with a chunk's size and extensions
    OVERHEAD = 16384            # how much more than data may go into such lines
    SMALL = 512                 # what an unfinished head is rounded up to
    READ_AT_LEAST = 4096        # for which there is to be space
    NAMES = 256
    IN_A_ROW = 32
    LOOKS = 8                   # at a client's progress in `write_timeout`
    CREDIT = 3                  # times `write_timeout`, for one that was faster than it had to be

cdef int64_t SECOND = 1000000000

# The file system cannot do it (sendfile(2)); reading and sending can.
cdef tuple NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSOCK, errno.EOPNOTSUPP)

# How long a client that still talks after our last word may be silent in between.
cdef int64_t LINGER_SILENCE = 5 * SECOND


class RequestError(OSError):
    """The client's request cannot be served; `status` says why, in the words of a response. Also: it took too long."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


cdef int refuse(str status, str reason) except -1:
    raise RequestError(status, reason)


cdef int bad(str reason) except -1:
    raise RequestError("400 Bad Request", reason)


# ---------------------------------------------------------------- characters

cdef enum:
    TOKEN = 1           # RFC 9110, 5.6.2
    TARGET = 2          # in a request target
    LOOSE_TARGET = 16   # there too, unless we are strict
    HOST = 4            # in a host: RFC 3986, 3.2.2, a registered name or an IPv4 address
    HEX = 8

cdef unsigned char[256] KINDS


def _fill_kinds():
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    digits = b"0123456789"
    for c in letters + digits + b"!#$%&'*+-.^_`|~":
        KINDS[c] |= TOKEN
    # RFC 3986 allows fewer. \ ^ ` { | } are what browsers leave as they are (WHATWG URL, the query state). The others are
    # what curl and people's programs send.
    for c in range(0x21, 0x100):
        if c != 0x7F:
            KINDS[c] |= LOOSE_TARGET if c in b'"<>#' or c > 0x7F else TARGET
    for c in letters + digits + b"-._~!$&'()*+,;=%":
        KINDS[c] |= HOST
    for c in b"0123456789abcdefABCDEF":
        KINDS[c] |= HEX


_fill_kinds()


cdef inline int hex_value(unsigned char c) noexcept:
    if c <= 57:
        return c - 48
    return (c | 32) - 87


cdef inline bint same_word(const char *data, Py_ssize_t n, const char *lower, Py_ssize_t size) noexcept:
    """Whether `data` is the word `lower`, in whatever case."""
    cdef Py_ssize_t i
    if n != size:
        return False
    for i in range(n):
        if (data[i] | 32 if 65 <= data[i] <= 90 else data[i]) != lower[i]:
            return False
    return True


cdef bint host_is_valid(const char *p, Py_ssize_t n) noexcept:
    """RFC 9110, 7.2: uri-host [ ":" port ]; may be empty."""
    cdef Py_ssize_t i = 0
    if n and p[0] == b"[":
        i = 1
        while i < n and (KINDS[<unsigned char> p[i]] & HEX or p[i] == b":" or p[i] == b"."):
            i += 1
        if i < 3 or i == n or p[i] != b"]":
            return False
        i += 1
    else:
        while i < n and KINDS[<unsigned char> p[i]] & HOST:
            i += 1
    if i < n:
        if p[i] != b":":
            return False
        i += 1
        while i < n:
            if not 48 <= p[i] <= 57:
                return False
            i += 1
    return True


# ---------------------------------------------------------------- what connections share

_CODES = {
    "host": FIELD_HOST,
    "content-length": FIELD_CONTENT_LENGTH,
    "content-type": FIELD_CONTENT_TYPE,
    "transfer-encoding": FIELD_TRANSFER_ENCODING,
    "connection": FIELD_CONNECTION,
    "proxy-connection": FIELD_CONNECTION,       # no standard, but llhttp heeds it
    "cookie": FIELD_COOKIE,
    "expect": FIELD_EXPECT,
}


def _to_ns(seconds):
    return -1 if seconds is None else timeout_ns(seconds)


cdef inline int64_t earned(int64_t moved, int64_t rate) noexcept:
    """The time, in ns, that so many bytes may take."""
    return moved * SECOND // rate if moved < 1 << 32 else moved // rate * SECOND


cdef class Settings:
    """What the connections of a server share. `limits` is a `pywsgi.Limits`."""

    def __cinit__(self):
        self.names = <FieldName *> calloc(NAMES + 1, sizeof(FieldName))
        if self.names == NULL:
            raise MemoryError()

    def __init__(self, limits, parser_class):
        self.parser_class = parser_class
        self.strict = False
        self.header_map = "drop"
        self.forwarded = frozenset()
        self.max_request_line = limits.max_request_line
        self.max_headers = limits.max_headers
        self.max_header_bytes = limits.max_header_bytes
        self.max_field_bytes = limits.max_field_bytes
        self.max_body = -1 if limits.max_body is None else limits.max_body
        self.header_time = _to_ns(limits.header_timeout)
        self.keepalive_time = _to_ns(limits.keepalive_timeout)
        self.closing_time = _to_ns(limits.closing_timeout)
        self.linger_time = _to_ns(limits.linger_timeout)
        self.body_time = _to_ns(limits.body_timeout)
        self.write_time = _to_ns(limits.write_timeout)
        self.min_rate = limits.min_rate
        self.request_timeout = limits.request_timeout
        self.max_queued = -1 if limits.max_queued is None else limits.max_queued

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_spare):
            free(self.spare[i])
        if self.names != NULL:
            for i in range(NAMES + 1):
                Py_XDECREF(self.names[i].key)
            free(self.names)

    cdef char *take_block(self) except NULL:
        cdef char *block
        if self.n_spare:
            self.n_spare -= 1
            return self.spare[self.n_spare]
        block = <char *> malloc(BLOCK)
        if block == NULL:
            raise MemoryError()
        return block

    cdef int give_block(self, char *block) noexcept:
        if self.n_spare < 8:
            self.spare[self.n_spare] = block
            self.n_spare += 1
        else:
            free(block)
        return 0

    cdef FieldName *field_name(self, const char *name, Py_ssize_t n) except NULL:
        """What is known of a field's name. The result holds until the next call."""
        cdef unsigned int h = 2166136261u
        cdef Py_ssize_t i
        cdef FieldName *place
        cdef str key
        for i in range(n):
            h = (h ^ <unsigned char> name[i]) * 16777619u       # FNV-1a
        place = &self.names[(h ^ h >> 16) & (NAMES - 1)]
        if place.size == n and memcmp(place.name, name, n) == 0:
            return place
        lower = name[:n].decode("latin-1").lower()
        if "_" in lower:
            code = FIELD_FORWARDED if lower in self.forwarded or "*" in self.forwarded else FIELD_IGNORED
        else:
            code = _CODES.get(lower, FIELD_OTHER)
        key = lower.upper().replace("-", "_")
        if code != FIELD_CONTENT_LENGTH and code != FIELD_CONTENT_TYPE:
            key = "HTTP_" + key
        if n > <Py_ssize_t> sizeof(place.name):
            place = &self.names[NAMES]          # too long to remember
            place.size = 0
        else:
            place.size = n
            memcpy(place.name, name, n)
        place.code = code
        Py_INCREF(key)
        Py_XDECREF(place.key)
        place.key = <PyObject *> key
        return place


cdef class _Judge:
    """What llhttp reports. Not the connection itself: that holds the parser, which holds this."""

    def on_headers_complete(self):
        self.head_complete = True

    def on_message_complete(self):
        self.message_complete = True


# ---------------------------------------------------------------- the connection

cdef class Connection:
    """One client. sock: a connected socket. rfile: where to read instead, a file with `read1`."""

    def __init__(self, sock, Settings settings not None, rfile=None):
        self.settings = settings
        self.sock = sock
        if isinstance(sock, _Socket):
            self.wire = endpoint(sock)
        if rfile is not None:
            self.read_some = rfile.read1
        elif type(sock) is _Socket:
            self.ep = self.wire
        else:
            self.read_some = sock.recv
        self.judge = _Judge()
        self.fresh_parser()

    def __dealloc__(self):
        # Blocks of the server's are given back by `release`; here its Settings may be gone already.
        free(self.buffer)

    def release(self):
        """Give back memory; nothing is read any more."""
        self.start = self.end = 0
        self.slim()
        self.parser = self.feed = self.read_some = None
        self.body = BODY_DONE
        self.dead = True

    def close_if_idle(self, Py_ssize_t served=-1):
        """End the wait for a request, unless one has come since there had been `served`; the waiter closes the socket.

        What the client has sent by now is served nevertheless.
        """
        if self.idle and (served < 0 or served == self.served):
            self.stop_waiting()

    def stop_waiting(self):
        """End the wait for a request, the rest of its head, or the end of what nobody wants.

        The waiter closes the socket.
        """
        if self.waiting:
            try:
                _Socket.shutdown(self.sock, _socket.SHUT_RD)
            except (OSError, TypeError):
                pass        # closed meanwhile; or no socket of ours, whose next request will be its last

    cdef int fresh_parser(self) except -1:
        self.parser = self.settings.parser_class(self.judge)
        self.feed = self.parser.feed_data
        return 0

    cdef int judged(self, const char *data, Py_ssize_t n) except -1:
        """llhttp's opinion of the next bytes. Raises RequestError."""
        try:
            self.feed(PyMemoryView_FromMemory(<char *> data, n, PyBUF_READ))
        except Exception as exc:
            # By name: httptools is imported only once somebody serves.
            name = type(exc).__name__
            if name == "HttpParserUpgrade":
                self.upgrade = True
                return 0
            self.dead = True
            if name == "HttpParserInvalidMethodError" and not self.judge.head_complete:
                refuse("501 Not Implemented", str(exc))
            bad(str(exc))
        return 0

    # -------- reading

    cdef int make_room(self, Py_ssize_t n) except -1:
        """Have space for `n` bytes behind `end`."""
        cdef char *block
        cdef Py_ssize_t size, used = self.end - self.start
        if self.capacity - self.end >= n and self.capacity >= BLOCK:
            gevlite_fence(self.buffer, self.capacity, self.capacity)
            return 0
        if self.start and self.capacity - used >= n and self.capacity >= BLOCK:
            gevlite_fence(self.buffer, self.capacity, self.capacity)
            memmove(self.buffer, self.buffer + self.start, used)
        else:
            size = BLOCK
            if used + n > BLOCK:        # limits that go beyond a block
                size = 2 * (used + n)
                block = <char *> malloc(size)
                if block == NULL:
                    raise MemoryError()
            else:
                block = self.settings.take_block()
            if used:
                memcpy(block, self.buffer + self.start, used)
            self.drop_buffer()
            self.buffer = block
            self.capacity = size
        self.start = 0
        self.end = used
        return 0

    cdef int drop_buffer(self) except -1:
        gevlite_fence(self.buffer, self.capacity, self.capacity)
        if self.capacity == BLOCK:
            self.settings.give_block(self.buffer)
        else:
            free(self.buffer)
        self.buffer = NULL
        self.capacity = 0
        return 0

    cdef int slim(self) except -1:
        """Keep no more memory than what was read needs."""
        cdef Py_ssize_t used = self.end - self.start
        cdef Py_ssize_t size
        cdef char *small = NULL
        if self.capacity < BLOCK and used:
            return 0
        if used:
            size = (used + SMALL) & ~<Py_ssize_t> (SMALL - 1)
            if size >= BLOCK:
                return 0
            small = <char *> malloc(size)
            if small == NULL:
                raise MemoryError()
            memcpy(small, self.buffer + self.start, used)
        self.drop_buffer()
        if used:
            self.buffer = small
            self.capacity = size
            gevlite_fence(small, used, size)
        self.start = 0
        self.end = used
        return 0

    cdef Py_ssize_t fill(self, int64_t timeout) except -1:
        """Read some more into the buffer; block for at most `timeout` ns, -1 for no limit.

        Returns how many bytes, 0 if the client has finished, WOULD_BLOCK if it took too long.
        """
        cdef Hub hub
        cdef int64_t deadline = -1
        cdef Py_ssize_t got
        give_way_if_due()       # who sends as fast as we read must not keep others from being served
        if self.ep is None:
            return self.fill_by_method(timeout)
        hub = current_hub()
        while True:
            self.make_room(READ_AT_LEAST)
            got = transfer_once(self.ep, hub, READ, self.buffer + self.end, self.capacity - self.end, 0, NULL, NULL)
            if got != WOULD_BLOCK:
                self.end += got
                gevlite_fence(self.buffer, self.end, self.capacity)
                return got
            self.slim()
            self.in_a_row = 0
            if timeout >= 0:
                if deadline < 0:
                    deadline = now_ns() + timeout
                else:
                    timeout = deadline - now_ns()
                    if timeout <= 0:
                        return WOULD_BLOCK
            if not wait_within(self.ep, hub, READ, timeout):
                return WOULD_BLOCK

    cdef Py_ssize_t fill_by_method(self, int64_t timeout) except -1:
        cdef bytes data
        cdef Py_ssize_t n
        self.slim()
        self.sock.settimeout(None if timeout < 0 else timeout / 1e9)
        try:
            data = self.read_some(RECORD)
        except TimeoutError:
            return WOULD_BLOCK
        n = len(data)
        self.make_room(n)
        memcpy(self.buffer + self.end, <char *> data, n)
        self.end += n
        gevlite_fence(self.buffer, self.end, self.capacity)
        return n

    cdef Py_ssize_t receive(self, char *where, Py_ssize_t n, int64_t timeout) except -1:
        """As `fill`, but to `where`, which stays while it waits. Only on a plain socket."""
        cdef Hub hub = current_hub()
        cdef int64_t deadline = -1
        cdef Py_ssize_t got
        give_way_if_due()
        while True:
            got = transfer_once(self.ep, hub, READ, where, n, 0, NULL, NULL)
            if got != WOULD_BLOCK:
                return got
            if timeout >= 0:
                if deadline < 0:
                    deadline = now_ns() + timeout
                else:
                    timeout = deadline - now_ns()
                    if timeout <= 0:
                        return WOULD_BLOCK
            if not wait_within(self.ep, hub, READ, timeout):
                return WOULD_BLOCK

    # -------- the head

    cdef int begin_request(self) except -1:
        self.judge.head_complete = self.judge.message_complete = False
        self.is_head = False
        self.head_size = self.line = self.looked = self.lines = self.blank = 0
        self.expect = NOT_EXPECTED
        self.upgrade = self.chunk_open = self.says_close = self.says_keep_alive = False
        self.received = self.waited = self.write_waited = self.sent = self.overhead = 0
        self.content_length = -1
        self.head_deadline = 0
        self.trailers = None
        return 0

    cdef int read_head(self) except -1:
        """Block until there is a whole head. 0: the client has finished, was idle for too long, or the server stops.

        Raises RequestError if it is none, is too large, or takes too long.
        """
        self.begin_request()
        while True:
            if self.end - self.start > self.looked and self.find_end():
                self.served += 1
                self.in_a_row += 1
                if self.in_a_row > IN_A_ROW:
                    # Who sends one request after the other without waiting must not keep others from being served.
                    self.in_a_row = 0
                    sleep(0)
                return 1
            if not self.await_more():
                return 0

    cdef int await_more(self) except -1:
        """Block until more of the head has come. 0: nothing will."""
        cdef int64_t timeout
        cdef Py_ssize_t got
        self.idle = self.end == self.start
        if self.idle and self.served:
            timeout = self.settings.keepalive_time
        else:
            timeout = self.settings.header_time
            if timeout >= 0:
                if self.head_deadline == 0:
                    self.head_deadline = now_ns() + timeout
                else:
                    timeout = max(self.head_deadline - now_ns(), 0)
        if self.idle and self.settings.closing:
            if self.settings.stopped:
                timeout = 0         # but a request that is here already is served
            elif not 0 <= timeout < self.settings.closing_time:
                timeout = self.settings.closing_time
        self.waiting = True
        try:
            got = self.fill(timeout)
        except OSError:
            self.dead = True
            return 0
        finally:
            self.idle = self.waiting = False
        if got == 0:
            self.dead = True
            return 0
        if got == WOULD_BLOCK:
            if self.end == self.start:
                return 0
            refuse("408 Request Timeout", "the head took too long")
        return 1

    cdef int find_end(self) except -1:
        """Look at the lines that have come; 1 when the empty one is there. Sets head_size.

        RFC 9112, 2.2 lets a server take a bare LF for the end of a line. We do not: others might not.
        """
        cdef const char *p = self.buffer + self.start
        cdef Py_ssize_t n = self.end - self.start
        cdef Py_ssize_t i
        cdef const char *found
        while True:
            found = <const char *> memchr(p + self.looked, b"\n", n - self.looked)
            if found == NULL:
                self.looked = n
                if self.lines == 0:
                    if n > self.settings.max_request_line + 1:
                        refuse("414 URI Too Long", "request line too long")
                    # n is 0 behind an empty line.
                    if n and not KINDS[<unsigned char> p[0]] & TOKEN and p[0] != b"\r":
                        bad("no method")
                elif n - self.fields > self.settings.max_header_bytes or n - self.line > self.settings.max_field_bytes:
                    refuse("431 Request Header Fields Too Large", "fields too large")
                return 0
            i = found - p
            if i == self.line or p[i - 1] != b"\r" or (i > self.line + 1 and p[self.line] == b"\r"):
                bad("a line that does not end with CRLF")
            if i == self.line + 1:
                if self.lines:
                    self.head_size = i + 1
                    return 1
                # RFC 9112, 2.2: an empty line before the request is to be ignored. One.
                self.blank += 1
                if self.blank > 1:
                    bad("empty lines before the request")
                self.start += 2
                p += 2
                n -= 2
                self.looked = 0
                continue
            if self.lines == 0:
                if i - 1 > self.settings.max_request_line:
                    refuse("414 URI Too Long", "request line too long")
                self.check_request_line(p, i - 1)
                self.fields = i + 1
            elif self.lines > self.settings.max_headers or i + 1 - self.line > self.settings.max_field_bytes \
                    or i + 1 - self.fields > self.settings.max_header_bytes:
                refuse("431 Request Header Fields Too Large", "too many fields, or too large")
            self.lines += 1
            self.line = self.looked = i + 1

    cdef int check_request_line(self, const char *line, Py_ssize_t n) except -1:
        """RFC 9112, 3: method SP request-target SP HTTP-version."""
        cdef int target_kinds = TARGET if self.settings.strict else TARGET | LOOSE_TARGET
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t at
        while i < n and KINDS[<unsigned char> line[i]] & TOKEN:
            i += 1
        if i == 0 or i == n or line[i] != b" ":
            bad("no method")
        self.method_size = i
        self.is_head = i == 4 and memcmp(line, b"HEAD", 4) == 0
        at = i + 1
        i = at
        while i < n and KINDS[<unsigned char> line[i]] & target_kinds:
            i += 1
        if i == at or i == n or line[i] != b" ":
            bad("no request target")
        self.target = at
        self.target_size = i - at
        i += 1
        if n - i != 8 or memcmp(line + i, b"HTTP/", 5) or not 48 <= line[i + 5] <= 57 or line[i + 6] != b"." \
                or not 48 <= line[i + 7] <= 57:
            bad("no HTTP version")
        if line[i + 5] != b"1" or line[i + 7] > b"1" and self.settings.strict:
            refuse("505 HTTP Version Not Supported", line[i:n].decode("latin-1"))
        self.minor = 0 if line[i + 7] == b"0" else 1        # RFC 9110, 2.5: 1.2 is read as what we speak of 1
        return 0

    cdef int parse_head(self, dict environ) except -1:
        """Have the head judged, and put what it says into `environ`. Raises RequestError."""
        try:
            self.judged(self.buffer + self.start, self.head_size)
        except RequestError:
            if self.settings.strict or not self.judged_in_other_words():
                raise
        if not self.judge.head_complete:
            self.dead = True
            bad("the head ends elsewhere")
        self.parse_fields(environ)
        self.put_target(environ)
        return 0

    cdef bint judged_in_other_words(self) except -1:
        """llhttp's opinion of a head that means the same: without a method or a version that it does not know, UTF-8 in the
        target, or tabs behind values, which RFC 9110, 5.6.3, wants to be ignored. False if there is no such head.
        """
        cdef list lines = self.buffer[self.start + self.fields:self.start + self.head_size - 2].split(b"\r\n")
        lines = [line.rstrip(b" \t") for line in lines[:-1]]
        for line in lines:
            if not line or line[:1] in b" \t":
                return False        # the continuation of the line before it
        head = b"POST / HTTP/1.%d\r\n%b\r\n\r\n" % (self.minor, b"\r\n".join(lines))
        self.dead = self.upgrade = self.judge.head_complete = self.judge.message_complete = False
        self.fresh_parser()
        self.judged(head, len(head))
        return True

    cdef int parse_fields(self, dict environ) except -1:
        cdef const char *p = self.buffer + self.start
        cdef const char *end = p + self.head_size - 2
        cdef const char *stop
        cdef const char *value
        cdef Py_ssize_t n
        cdef FieldName *name
        cdef int hosts = 0
        cdef bint chunked = False
        cdef bint expect = False
        cdef int64_t length = -1
        cdef dict forwarded = None
        p = <const char *> memchr(p, b"\n", end - p) + 1
        while p < end:
            value = <const char *> memchr(p, b":", end - p)
            name = self.settings.field_name(p, value - p)
            value += 1
            stop = <const char *> memchr(value, b"\n", end - value)
            p = stop + 1
            stop -= 1
            while value < stop and (value[0] == b" " or value[0] == b"\t"):
                value += 1
            while stop > value and (stop[-1] == b" " or stop[-1] == b"\t"):
                stop -= 1
            n = stop - value
            if name.code == FIELD_OTHER or name.code == FIELD_COOKIE:
                pass
            elif name.code == FIELD_HOST:
                hosts += 1
                if hosts > 1 or not host_is_valid(value, n):
                    bad("Host")                                     # RFC 9112, 3.2
            elif name.code == FIELD_CONNECTION:
                self.connection_options(value, stop)
            elif name.code == FIELD_CONTENT_LENGTH:
                length = parse_length(value, n)
            elif name.code == FIELD_TRANSFER_ENCODING:
                if self.minor == 0:
                    bad("Transfer-Encoding in HTTP/1.0")            # RFC 9112, 6.1
                if chunked or not same_word(value, n, b"chunked", 7):
                    refuse("501 Not Implemented", "transfer coding")
                chunked = True
            elif name.code == FIELD_EXPECT:
                if self.minor == 1:
                    if not same_word(value, n, b"100-continue", 12):
                        refuse("417 Expectation Failed", "Expect")  # RFC 9110, 10.1.1
                    expect = True
            elif name.code == FIELD_FORWARDED and self.trusted:
                key = (<str> name.key).removeprefix("HTTP_")
                text = PyUnicode_DecodeLatin1(value, n, NULL)
                if forwarded is None:
                    forwarded = {}
                forwarded[key] = f"{forwarded[key]},{text}" if key in forwarded else text
                continue
            elif name.code >= FIELD_IGNORED:
                if self.settings.header_map == "refuse":
                    bad("a name with _")
                if self.settings.header_map != "dangerous":
                    continue
            put_field(environ, name, value, n)
        if forwarded is not None:
            # Not together with a field whose name has "-" in that place, which may be the client's.
            for key, text in forwarded.items():
                environ[f"HTTP_{key}"] = text
            environ["gevlite.forwarded"] = forwarded
        if hosts == 0 and self.minor == 1:
            bad("no Host")                                          # RFC 9112, 3.2
        self.keep_alive = not self.says_close and (self.minor == 1 or self.says_keep_alive)
        self.set_framing(chunked, length)
        self.expect = EXPECTED if expect and self.body != BODY_DONE else NOT_EXPECTED
        return 0

    cdef int connection_options(self, const char *p, const char *end) except -1:
        """RFC 9110, 7.6.1: a list of words."""
        cdef const char *stop
        cdef const char *next
        while p < end:
            next = <const char *> memchr(p, b",", end - p)
            stop = next if next != NULL else end
            next = stop + 1
            while p < stop and (p[0] == b" " or p[0] == b"\t"):
                p += 1
            while stop > p and (stop[-1] == b" " or stop[-1] == b"\t"):
                stop -= 1
            if same_word(p, stop - p, b"close", 5):
                self.says_close = True
            elif same_word(p, stop - p, b"keep-alive", 10):
                self.says_keep_alive = True
            p = next
        return 0

    cdef int set_framing(self, bint chunked, int64_t length) except -1:
        """RFC 9112, 6.3, and that llhttp is of the same opinion."""
        cdef int64_t most = self.settings.max_body
        cdef bint connect = self.method_size == 7 and memcmp(self.buffer + self.start, b"CONNECT", 7) == 0
        if chunked:
            self.body = BODY_CHUNKED
            self.remaining = 0
        elif length > 0:
            self.body = BODY_LENGTH
            self.content_length = self.remaining = length
            if most >= 0 and length > most:
                refuse("413 Content Too Large", "Content-Length")
        else:
            self.body = BODY_DONE
            self.content_length = length
        if connect:
            # What follows is not HTTP (RFC 9110, 9.3.6), whatever becomes of the request.
            self.body = BODY_DONE
            self.keep_alive = False
        elif self.upgrade:
            # We may decline, and then there is a body like any other (RFC 9110, 7.8). llhttp takes it for the other
            # protocol already, so a new one is told what to expect.
            self.fresh_parser()
            self.judge.message_complete = True
            if self.body == BODY_CHUNKED:
                self.judged(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 47)
            elif self.body == BODY_LENGTH:
                head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length
                self.judged(head, len(head))
            if self.body != BODY_DONE:
                self.judge.message_complete = False
        elif self.judge.message_complete != (self.body == BODY_DONE):
            self.dead = True
            bad("the message ends elsewhere")
        return 0

    cdef int put_target(self, dict environ) except -1:
        """REQUEST_METHOD, PATH_INFO, QUERY_STRING; HTTP_HOST of an absolute target. RFC 9112, 3.2."""
        cdef const char *line = self.buffer + self.start
        cdef const char *p = line + self.target
        cdef const char *end = p + self.target_size
        cdef const char *query
        cdef const char *host
        cdef str method
        if self.method_size == 3 and memcmp(line, b"GET", 3) == 0:
            method = "GET"
        elif self.method_size == 4 and memcmp(line, b"POST", 4) == 0:
            method = "POST"
        elif self.method_size == 4 and memcmp(line, b"HEAD", 4) == 0:
            method = "HEAD"
        else:
            method = line[:self.method_size].decode("latin-1")
        environ["REQUEST_METHOD"] = method
        if self.settings.raw_uri:
            environ["RAW_URI"] = PyUnicode_DecodeLatin1(p, end - p, NULL)
        if p[0] != b"/":
            if method == "CONNECT":
                if not host_is_valid(p, end - p) or not memchr(p, b":", end - p):
                    bad("CONNECT needs host:port")
                p = end
            elif end - p == 1 and p[0] == b"*":
                if method != "OPTIONS":
                    bad("* is for OPTIONS")
            else:
                host = NULL
                if end - p > 7 and same_word(p, 7, b"http://", 7):
                    host = p + 7
                elif end - p > 8 and same_word(p, 8, b"https://", 8):
                    host = p + 8
                else:
                    bad("request target")
                p = host
                end = without_fragment(p, end)
                while p < end and p[0] != b"/" and p[0] != b"?":
                    p += 1
                if p == host or not host_is_valid(host, p - host):
                    bad("host in the request target")
                environ["HTTP_HOST"] = PyUnicode_DecodeLatin1(host, p - host, NULL)
                if p == end or p[0] == b"?":
                    environ["PATH_INFO"] = "/"
                    environ["QUERY_STRING"] = PyUnicode_DecodeLatin1(p + 1, end - p - 1, NULL) if p < end else ""
                    return 0
        elif method == "CONNECT":
            bad("CONNECT needs host:port")
        else:
            end = without_fragment(p, end)
        query = <const char *> memchr(p, b"?", end - p)
        if query == NULL:
            environ["QUERY_STRING"] = ""
        else:
            environ["QUERY_STRING"] = PyUnicode_DecodeLatin1(query + 1, end - query - 1, NULL)
            end = query
        environ["PATH_INFO"] = unquoted(p, end - p)
        return 0

    def take_line(self):
        """Block until there is a line, and take it: for who reads ahead of the head. b"" if none comes.

        Raises RequestError if it is longer than a request line may be, or takes too long.
        """
        cdef const char *found
        cdef Py_ssize_t n
        self.begin_request()
        while True:
            n = self.end - self.start
            found = <const char *> memchr(self.buffer + self.start, b"\n", n) if n else NULL
            if found != NULL:
                n = found - (self.buffer + self.start) + 1
                break
            if n > self.settings.max_request_line:
                refuse("414 URI Too Long", "request line too long")
            if not self.await_more():
                return b""
        line = self.buffer[self.start:self.start + n]
        self.start += n
        return line

    def put_back(self, bytes line not None):
        """Have these bytes read again."""
        cdef Py_ssize_t n = len(line)
        self.make_room(n)
        memmove(self.buffer + self.start + n, self.buffer + self.start, self.end - self.start)
        memcpy(self.buffer + self.start, <char *> line, n)
        self.end += n

    cdef int consume_head(self) except -1:
        self.start += self.head_size
        self.head_size = 0
        if self.ep is None:
            self.sock.settimeout(None)      # for an application that takes it
        if self.end - self.start < READ_AT_LEAST:
            # The application may take its time.
            self.slim()
        return 0

    # -------- the body

    cdef Py_ssize_t body_peek(self, char **where) except -1:
        """What there is of the body; blocks until there is something. 0: its end.

        Raises RequestError for a body that is malformed, too large or too slow, ConnectionResetError if the client goes.
        """
        cdef Py_ssize_t n
        while self.body != BODY_DONE:
            if self.remaining > 0:
                n = self.end - self.start
                if n == 0:
                    self.body_wait()
                    continue
                where[0] = self.buffer + self.start
                return n if n < self.remaining else self.remaining
            self.next_chunk()
        return 0

    cdef int body_take(self, Py_ssize_t n) except -1:
        """`n` bytes of what `body_peek` showed were used."""
        self.judged(self.buffer + self.start, n)
        self.start += n
        return self.body_progress(n)

    cdef int body_progress(self, Py_ssize_t n) except -1:
        self.received += n
        self.remaining -= n
        if self.remaining == 0:
            if self.body == BODY_LENGTH:
                self.body = BODY_DONE
            else:
                self.chunk_open = True
        if self.judge.message_complete != (self.body == BODY_DONE):
            self.dead = True
            bad("the body ends elsewhere")
        return 0

    cdef Py_ssize_t body_into(self, char *where, Py_ssize_t n) except -1:
        """Copy some of the body, at most `n` bytes, to `where`; blocks until there is something. 0: its end."""
        cdef char *source
        cdef Py_ssize_t got
        cdef int64_t limit, before
        if n >= READ_AT_LEAST and self.remaining > 0 and self.end == self.start and self.ep is not None \
                and self.body != BODY_DONE and self.expect != EXPECTED and not self.dead:
            # Straight to its place.
            limit = self.settings.body_time
            if not self.may_wait(&limit, self.waited, self.received):
                self.too_slow()
            before = now_ns()
            try:
                got = self.receive(where, n if n < self.remaining else self.remaining, limit)
            except OSError:
                self.dead = True
                raise
            self.waited += now_ns() - before
            if got == WOULD_BLOCK:
                self.too_slow()
            if got == 0:
                self.gone()
            self.judged(where, got)
            self.body_progress(got)
            return got
        got = self.body_peek(&source)
        if got:
            if got > n:
                got = n
            memcpy(where, source, got)
            self.body_take(got)
        return got

    cdef int too_slow(self) except -1:
        self.dead = True
        refuse("408 Request Timeout", "the body took too long")

    cdef int gone(self) except -1:
        self.dead = True
        raise ConnectionResetError(errno.ECONNRESET, "the client hung up before the end of its request")

    cdef int body_wait(self) except -1:
        """Block until more has come."""
        cdef int64_t limit = self.settings.body_time
        cdef int64_t before
        cdef Py_ssize_t got
        if self.dead:
            self.gone()
        if self.expect == EXPECTED:
            self.expect = NOT_EXPECTED
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n", 25, False)
        if not self.may_wait(&limit, self.waited, self.received):
            self.too_slow()
        before = now_ns()
        try:
            got = self.fill(limit)
        except OSError:
            self.dead = True
            raise
        self.waited += now_ns() - before
        if got == WOULD_BLOCK:
            self.too_slow()
        if got == 0:
            self.gone()
        return 0

    cdef bint may_wait(self, int64_t *limit, int64_t waited, int64_t moved) except -1:
        """`limit` is how long nothing may move; less is left of it if less than `min_rate` has moved so far."""
        if limit[0] >= 0 and self.settings.min_rate > 0:
            limit[0] += min(earned(moved, self.settings.min_rate) - waited, 0)
            return limit[0] > 0
        return True

    cdef Py_ssize_t framing_line(self, Py_ssize_t most, bint of_chunk) except -1:
        """The size, with CRLF, of the line at `start`, once it is there. llhttp has seen it then."""
        cdef const char *found
        cdef Py_ssize_t n
        cdef Py_ssize_t looked = 0
        while True:
            n = self.end - self.start
            found = <const char *> memchr(self.buffer + self.start + looked, b"\n", n - looked) if n > looked else NULL
            if found != NULL:
                n = found - (self.buffer + self.start) + 1
                break
            if n > most:
                break
            looked = n
            self.body_wait()
        if n > most:
            self.dead = True
            bad("a line of the chunked body is too long")
        if of_chunk and not self.settings.strict and has_white_space(self.buffer + self.start, n):
            # RFC 9112, 7.1.1, where llhttp wants none.
            line = without_white_space(self.buffer + self.start, n)
            self.judged(line, len(line))
        else:
            self.judged(self.buffer + self.start, n)
        return n

    cdef int next_chunk(self) except -1:
        """Read up to the data of the next chunk, or to the end of the body. RFC 9112, 7.1."""
        cdef const char *p
        cdef Py_ssize_t n
        cdef int64_t size = 0
        if self.chunk_open:
            while self.end - self.start < 2:
                self.body_wait()
            self.judged(self.buffer + self.start, 2)
            self.start += 2
            self.chunk_open = False
        n = self.framing_line(LINE_OF_CHUNK, True)
        p = self.buffer + self.start
        while KINDS[<unsigned char> p[0]] & HEX:        # there is one, and something behind them, or llhttp objects
            if size >> 55:
                self.dead = True
                refuse("413 Content Too Large", "chunk size")
            size = size << 4 | hex_value(p[0])
            p += 1
        self.start += n
        # Ordinary lines cost nothing; one byte a chunk behind a long extension, over and over, is an attack that no
        # limit on the body would end.
        self.overhead = max(0, self.overhead + n - 16 - 2 * size)
        if self.overhead > OVERHEAD:
            self.dead = True
            bad("more extensions than data in the chunked body")
        if self.settings.max_body >= 0 and self.received + size > self.settings.max_body:
            self.dead = True
            refuse("413 Content Too Large", "chunked body")
        if size:
            self.remaining = size
        else:
            self.read_trailers()
        return 0

    cdef int read_trailers(self) except -1:
        """The fields behind the last chunk. RFC 9112, 7.1.2."""
        cdef Py_ssize_t n
        cdef Py_ssize_t total = 0
        cdef bytes line
        cdef list trailers = []
        while True:
            n = self.framing_line(self.settings.max_header_bytes - total, False)
            line = self.buffer[self.start:self.start + n]
            self.start += n
            total += n
            if n == 2:
                break
            if len(trailers) == self.settings.max_headers:
                self.dead = True
                refuse("431 Request Header Fields Too Large", "too many trailers")
            name, _, value = line.decode("latin-1").partition(":")
            trailers.append((name, value.strip(" \t\r\n")))
        if not self.judge.message_complete:
            self.dead = True
            bad("the body ends elsewhere")
        self.trailers = trailers
        self.body = BODY_DONE
        return 0

    cdef bint discard(self, int64_t limit) except -1:
        """Read the rest of the body, if that is no more than `limit` bytes. Whether another request can follow."""
        cdef char *where
        cdef Py_ssize_t n
        if self.body == BODY_DONE:
            return not self.dead
        if self.dead or self.expect != NOT_EXPECTED or (self.body == BODY_LENGTH and self.remaining > limit):
            return False
        limit += self.received
        try:
            while self.received < limit:
                n = self.body_peek(&where)
                if n == 0:
                    return True
                self.body_take(n)
        except OSError:
            self.dead = True
        return False

    cdef int linger(self) except -1:
        """Say that nothing more comes, and read what the client still sends, for some time (RFC 9112, 9.6).

        To close a socket at which there is something to read resets the connection, and the client may never see the
        response that tells it what was wrong: many look at it only when they have sent all of a body.
        """
        cdef int64_t deadline = now_ns() + self.settings.linger_time
        cdef int64_t left = 0 if self.settings.stopped else self.settings.linger_time
        if not isinstance(self.sock, _Socket):
            return 0
        self.waiting = True
        try:
            if self.ep is None:
                say_goodbye(self.sock)
                self.ep = endpoint(self.sock)       # from here on it need not be understood
            _Socket.shutdown(self.sock, _socket.SHUT_WR)
            while left > 0:
                self.start = self.end = 0
                if self.fill(min(left, LINGER_SILENCE)) <= 0:
                    break
                left = deadline - now_ns()
        except OSError:
            pass
        finally:
            self.waiting = False
        self.start = self.end = 0
        return 0

    # -------- writing

    cdef int64_t taken(self) except -1:
        """How much the client has taken since we had to wait for it first."""
        cdef int64_t queued = gevlite_send_queue(self.wire.fd)
        return self.sent if queued < 0 or self.queued < 0 else max(self.sent + self.queued - queued, 0)

    cdef int64_t patience(self, int64_t taken, int64_t stalled) except -2:
        """For how many ns more the client may take nothing; -1: for ever. Raises TimeoutError if for none."""
        cdef int64_t most = self.settings.write_time
        cdef int64_t limit = most
        if most < 0:
            return -1
        if self.settings.min_rate > 0:
            # What it takes shows in steps: a receiver whose buffer was full says that there is space again only when
            # that is a sixteenth of it (Linux, __tcp_select_window), hundreds of KB. Who was fast enough gets time
            # for one.
            limit += min(earned(taken, self.settings.min_rate) - (self.write_waited - stalled), CREDIT * most)
        limit -= stalled
        if limit <= 0:
            self.dead = True
            raise TimeoutError("the client takes the response too slowly")
        return limit

    cdef int begin_waiting(self) except -1:
        if self.write_waited == 0:
            # What went into the kernel's buffers at once says nothing of the client.
            self.sent = 0
            self.queued = gevlite_send_queue(self.wire.fd)
        return 0

    cdef int wait_to_send(self) except -1:
        """Block until the kernel takes more.

        Linux says so only when a third of the socket's buffer is free, which takes a slow client minutes. So what the
        client takes meanwhile is looked at.
        """
        cdef Hub hub = current_hub()
        cdef int64_t before, now, limit, taken
        cdef int64_t seen = -1
        cdef int64_t stalled = 0
        self.begin_waiting()
        while True:
            taken = self.taken()
            if taken > seen:
                seen = taken
                stalled = 0
            limit = self.patience(taken, stalled)
            if limit >= 0 and self.queued >= 0:
                limit = min(limit, self.settings.write_time // LOOKS + 1)
            before = now_ns()
            if wait_within(self.ep, hub, WRITE, limit):
                self.write_waited += now_ns() - before
                return 0
            now = now_ns()
            self.write_waited += now - before
            stalled += now - before

    cdef int send(self, const char *data, Py_ssize_t n, bint more) except -1:
        """Send bytes, which stay while it blocks. more: others follow at once. Raises OSError, TimeoutError.

        When it is interrupted nobody knows what is missing, so nothing is sent any more.
        """
        cdef Hub hub
        cdef Py_ssize_t done
        if self.torn:
            self.cannot_send()
        if self.ep is None:
            return self.send_by_method(PyBytes_FromStringAndSize(data, n))
        hub = current_hub()
        try:
            while n > 0:
                done = transfer_once(self.ep, hub, WRITE, <void *> data, n, GEVLITE_MSG_MORE if more else 0, NULL, NULL)
                if done == WOULD_BLOCK:
                    self.wait_to_send()
                    continue
                self.sent += done
                data += done
                n -= done
                give_way_if_due()
        except BaseException:
            self.dead = self.torn = True
            raise
        return 0

    cdef int cannot_send(self) except -1:
        raise BrokenPipeError(errno.EPIPE, "the response is cut off: sending was interrupted before")

    cdef int send_by_method(self, data) except -1:
        cdef int64_t limit = self.settings.write_time
        try:
            if self.wire is None:
                # No socket of ours: what it says of its time-out has to do.
                self.sock.settimeout(None if limit < 0 else limit / 1e9)
                self.sock.sendall(data)
                self.sent += len(data)
            else:
                with memoryview(data) as view, view.cast("B") as octets:
                    self.send_encrypted(octets)
        except BaseException:
            self.dead = self.torn = True
            raise
        give_way_if_due()
        return 0

    cdef int send_encrypted(self, octets) except -1:
        """As `send`, on a TLS socket, which waits by itself: for a part of the time, and then we look."""
        cdef Py_ssize_t n = len(octets)
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t got
        cdef int64_t before, taken, limit
        cdef int64_t seen = -1
        cdef int64_t stalled = 0
        limit = self.settings.write_time
        while done < n:
            # Each time: on an upgraded connection another greenlet reads, and sets the time-out too.
            self.sock.settimeout(60 if limit < 0 else (limit // LOOKS + 1) / 1e9)
            before = now_ns()
            try:
                got = self.sock.send(octets[done:done + RECORD])
            except TimeoutError:
                self.begin_waiting()
                self.write_waited += now_ns() - before
                stalled += now_ns() - before
                taken = self.taken()
                if taken > seen:
                    seen = taken
                    stalled = 0
                self.patience(taken, stalled)
                continue
            if self.write_waited:
                self.write_waited += now_ns() - before
            self.sent += got
            done += got
            stalled = 0
        return 0

    cdef int send_object(self, data) except -1:
        """Send anything that has bytes."""
        cdef Py_buffer view
        if self.ep is None:
            if self.torn:
                self.cannot_send()
            return self.send_by_method(data)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.send(<const char *> view.buf, view.len, False)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef Py_ssize_t send_file(self, int fd, long long offset, Py_ssize_t count) except -1:
        """Send `count` bytes of a file by sendfile(2). Returns how many there were. Only on a plain socket."""
        cdef Hub hub = current_hub()
        cdef Py_ssize_t done, total = 0
        if self.torn:
            self.cannot_send()
        try:
            while total < count:
                done = sendfile_once(self.ep, hub, fd, offset + total, min(count - total, 1 << 20))
                if done == WOULD_BLOCK:
                    self.wait_to_send()
                    continue
                if done == 0:
                    break
                total += done
                self.sent += done
                give_way_if_due()
        except BaseException as exc:
            self.dead = self.torn = total > 0 or not isinstance(exc, OSError) or exc.errno not in NO_SENDFILE
            raise
        return total


cdef class Reader:
    """The bytes that come from a client, as a file. For what takes the connection over and speaks another protocol.

    Each call blocks as long as the socket's time-out allows, and then raises TimeoutError.
    """

    def __init__(self, Connection connection not None):
        self.connection = connection

    @property
    def raw(self):
        """This object: there is one layer only."""
        return self

    @property
    def _sock(self):
        return self.connection.sock

    @property
    def closed(self):
        """True once the connection is."""
        return self.connection.sock.fileno() < 0

    def close(self):
        """Does nothing; the socket is closed by its server."""

    def fileno(self):
        """The socket's descriptor."""
        return self.connection.sock.fileno()

    def readable(self):
        """True."""
        return True

    cdef Py_ssize_t more(self) except -1:
        cdef Connection connection = self.connection
        cdef int64_t timeout
        cdef Py_ssize_t got
        if connection.dead:
            return 0
        timeout = _to_ns(connection.sock.gettimeout())
        got = connection.fill(timeout)
        if connection.ep is None:
            connection.sock.settimeout(None if timeout < 0 else timeout / 1e9)
        if got == WOULD_BLOCK:
            raise TimeoutError("timed out")
        return got

    cdef bytes taken(self, Py_ssize_t n):
        cdef Connection connection = self.connection
        n = min(n, connection.end - connection.start)
        data = PyBytes_FromStringAndSize(connection.buffer + connection.start, n)
        connection.start += n
        return data

    def read(self, size=-1, /):
        """Exactly `size` bytes, fewer only at the end; with -1 or None, all until the end."""
        cdef Connection connection = self.connection
        cdef Py_ssize_t n = -1 if size is None else size
        while n < 0 or connection.end - connection.start < n:
            if self.more() == 0:
                break
        return self.taken(n if n >= 0 else connection.end - connection.start)

    def read1(self, size=-1, /):
        """What there is, at most `size` bytes; b"" only at the end."""
        cdef Connection connection = self.connection
        cdef Py_ssize_t n = size
        if connection.end == connection.start and n:
            self.more()
        return self.taken(n if n >= 0 else connection.end - connection.start)

    def readinto(self, buffer, /):
        """Some bytes into `buffer`; how many, 0 at the end."""
        with memoryview(buffer) as view, view.cast("B") as octets:
            data = self.read1(len(octets))
            octets[:len(data)] = data
        return len(data)

    def readline(self, size=-1, /):
        """Up to and with the next line feed, at most `size` bytes."""
        cdef Connection connection = self.connection
        cdef Py_ssize_t limit = -1 if size is None else size
        cdef Py_ssize_t looked = 0
        cdef Py_ssize_t n
        cdef const char *found
        while True:
            n = connection.end - connection.start
            if limit >= 0 and n > limit:
                n = limit
            found = NULL
            if n > looked:
                found = <const char *> memchr(connection.buffer + connection.start + looked, b"\n", n - looked)
            if found != NULL:
                return self.taken(found - (connection.buffer + connection.start) + 1)
            looked = n
            if n == limit or self.more() == 0:
                return self.taken(n)


# ---------------------------------------------------------------- pieces of a message

cdef inline bint has_white_space(const char *p, Py_ssize_t n) noexcept:
    return memchr(p, b" ", n) != NULL or memchr(p, b"\t", n) != NULL


cdef bytes without_white_space(const char *p, Py_ssize_t n):
    """The line of a chunk without what white space there is around ";" and "=". In quotation marks it is data."""
    cdef bytearray line = bytearray()
    cdef bint quoted = False
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t stop
    while i < n:
        stop = i + 1
        if quoted:
            if p[i] == b"\\" and stop < n:
                stop += 1
            quoted = p[i] != b'"'
        elif p[i] == b" " or p[i] == b"\t":
            while stop < n and (p[stop] == b" " or p[stop] == b"\t"):
                stop += 1
            if stop < n and (p[stop] == b";" or p[stop] == b"=") or i and (p[i - 1] == b";" or p[i - 1] == b"="):
                i = stop
                continue
        else:
            quoted = p[i] == b'"'
        line += p[i:stop]
        i = stop
    return bytes(line)


cdef int64_t parse_length(const char *p, Py_ssize_t n) except -2:
    """llhttp has seen that these are digits, and that there is no second one (RFC 9112, 6.3)."""
    cdef int64_t length = 0
    cdef Py_ssize_t i
    for i in range(n):
        if not 48 <= p[i] <= 57:
            bad("Content-Length")
        if length >> 58:
            refuse("413 Content Too Large", "Content-Length")
        length = length * 10 + (p[i] - 48)
    return length


cdef int put_field(dict environ, FieldName *name, const char *value, Py_ssize_t n) except -1:
    """One more line of a field: several make a list (RFC 9110, 5.3), of cookies one with semicolons (RFC 6265, 5.4)."""
    key = <str> name.key
    cdef Py_ssize_t size = len(environ)
    text = PyUnicode_DecodeLatin1(value, n, NULL)
    before = <object> PyDict_SetDefault(environ, key, text)
    if len(environ) == size and name.code != FIELD_CONTENT_TYPE:
        environ[key] = f"{before}; {text}" if name.code == FIELD_COOKIE else f"{before},{text}"
    return 0


cdef inline const char *without_fragment(const char *p, const char *end) noexcept:
    """The end of a target. What is behind # is the client's own affair (RFC 3986, 3.5), but some send it."""
    cdef const char *found = <const char *> memchr(p, b"#", end - p)
    return end if found == NULL else found


cdef object unquoted(const char *p, Py_ssize_t n):
    """A path without its %XX, as PEP 3333 has it: bytes as latin-1 characters."""
    cdef char *out
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t size = 0
    if memchr(p, b"%", n) == NULL:
        return PyUnicode_DecodeLatin1(p, n, NULL)
    out = <char *> malloc(n)
    if out == NULL:
        raise MemoryError()
    while i < n:
        if p[i] == b"%" and i + 2 < n and KINDS[<unsigned char> p[i + 1]] & HEX and KINDS[<unsigned char> p[i + 2]] & HEX:
            out[size] = <char> (hex_value(p[i + 1]) << 4 | hex_value(p[i + 2]))
            i += 3
        else:
            out[size] = p[i]
            i += 1
        size += 1
    try:
        return PyUnicode_DecodeLatin1(out, size, NULL)
    finally:
        free(out)
