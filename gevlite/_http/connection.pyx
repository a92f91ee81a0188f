"""HTTP/1.0 and 1.1 on one connection, the server's side: heads and bodies of requests in, bytes out.

Which part decides what. Our code walks: it finds the end of a line, of the head, of a chunk, enforces limits and times,
and slices the fields out of the bytes in place. llhttp, by way of `httptools`, judges: it is fed exactly the bytes that
were walked over, never one more, and its refusal is final. Both determine where a message ends, and a connection on
which they differ is given up: such differences make request smuggling possible. On top come the rules that llhttp
leaves to others; each names its RFC. (9110: HTTP semantics. 9112: HTTP/1.1.) A head that llhttp refuses and we
understand, for a method that it does not know, say, is given to it again in other words that mean the same; with
`Settings.strict` its refusal counts.

Time. A head has a deadline, since it should come at once. A body may take as long as it keeps up a minimum rate.
"""

from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memmove

from gevlite._core cimport next_wait, now_ns
from gevlite._http.settings cimport (
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_CONTENT_TYPE,
    FIELD_COOKIE,
    FIELD_EXPECT,
    FIELD_FORWARDED,
    FIELD_HOST,
    FIELD_IGNORED,
    FIELD_OTHER,
    FIELD_TRANSFER_ENCODING,
    FieldName,
    Settings,
    bad,
    earned,
    refuse,
)
from gevlite._http.transport cimport READ_AT_LEAST, Transport
from gevlite._socketio cimport WOULD_BLOCK

import errno

from gevlite._core import sleep
from gevlite._http.settings import RequestError


cdef extern from "Python.h":
    PyObject *PyDict_SetDefault(object d, object key, object default) except NULL      # borrowed
    int PyBUF_READ

cdef enum:
    LINE_OF_CHUNK = 4096        # the longest line with a chunk's size and extensions
    OVERHEAD = 16384            # how much more than data may go into such lines
    IN_A_ROW = 32

include "syntax.pxi"


cdef class _Judge:
    """Takes llhttp's reports. Not the connection itself, which holds the parser, which holds this."""

    def on_headers_complete(self):
        self.head_complete = True

    def on_message_complete(self):
        self.message_complete = True


cdef class Connection(Transport):
    """Connection(sock, settings, rfile=None)\n--\n
    One client. sock: a connected socket. rfile: where to read instead, a file with `read1`."""

    def __init__(self, sock, Settings settings not None, rfile=None):
        self.begin(sock, settings, rfile)
        self.judge = _Judge()
        self.fresh_parser()

    def release(self):
        """Free memory; nothing is read any more."""
        self.start = self.end = 0
        self.slim()
        self.parser = self.feed = self.read_some = None
        self.body = BODY_DONE
        self.dead = True

    def close_if_idle(self, Py_ssize_t served=-1):
        """End the wait for a request, unless one more than `served` have come; the waiting greenlet closes the socket.

        A request that the client has sent by now is still served.
        """
        if self.idle and (served < 0 or served == self.served):
            self.stop_waiting()

    cdef int fresh_parser(self) except -1:
        self.parser = self.settings.parser_class(self.judge)
        self.feed = self.parser.feed_data
        return 0

    cdef int judged(self, const char *data, Py_ssize_t n) except -1:
        """llhttp's opinion of the next bytes. Raises RequestError."""
        try:
            self.feed(PyMemoryView_FromMemory(<char *> data, n, PyBUF_READ))
        except Exception as exc:
            # By name: httptools is imported only when a server starts.
            name = type(exc).__name__
            if name == "HttpParserUpgrade":
                self.upgrade = True
                return 0
            self.dead = True
            if name == "HttpParserInvalidMethodError" and not self.judge.head_complete:
                refuse("501 Not Implemented", str(exc))
            bad(str(exc))
        return 0

    # -------- the head

    cdef int begin_request(self) except -1:
        self.judge.head_complete = self.judge.message_complete = False
        self.is_head = False
        self.head_size = self.line = self.looked = self.lines = self.blank = 0
        self.expect = NOT_EXPECTED
        self.upgrade = self.chunk_open = self.says_close = self.says_keep_alive = False
        self.received = self.waited = self.write_waited = self.sent = self.overhead = 0
        self.content_length = -1
        self.head_deadline = -1
        self.trailers = None
        return 0

    cdef int read_head(self) except -1:
        """Block until there is a whole head. 0: the client has finished, was idle for too long, or the server stops.

        Raises RequestError if it is not a head, is too large, or takes too long.
        """
        self.begin_request()
        while True:
            if self.end - self.start > self.looked and self.find_end():
                self.served += 1
                self.in_a_row += 1
                if self.in_a_row > IN_A_ROW:
                    # A client that sends one request after the other without waiting must not keep others from being
                    # served.
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
            if not next_wait(&timeout, &self.head_deadline):
                timeout = 0
        if self.idle and self.settings.closing:
            if self.settings.stopped:
                timeout = 0         # but a request that has arrived already is served
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

        RFC 9112, 2.2 lets a server take a bare LF for the end of a line. We do not, since other servers might not.
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
                # RFC 9112, 2.2: an empty line before the request should be ignored. We ignore one.
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
        """Have the head judged, and put its contents into `environ`. Raises RequestError."""
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
        """llhttp's opinion of a head with the same meaning: without a method or a version that it does not know, UTF-8
        in the target, or tabs behind values, which RFC 9110, 5.6.3, says to ignore. False if there is no such head.
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
            # Not added to the value of a field whose name has "-" in that place, which may come from the client.
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
        """Apply RFC 9112, 6.3, and check that llhttp agrees."""
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
            # The bytes that follow are not HTTP (RFC 9110, 9.3.6), whatever the response is.
            self.body = BODY_DONE
            self.keep_alive = False
        elif self.upgrade:
            # We may decline, and then there is a body like any other (RFC 9110, 7.8). llhttp already takes it for the
            # other protocol, so a new parser is told what to expect.
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
        """Block until there is a line, and take it: for code that reads ahead of the head. b"" if none comes.

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
            self.sock.settimeout(None)      # for an application that takes the socket over
        if self.end - self.start < READ_AT_LEAST:
            # The application may take a long time.
            self.slim()
        return 0

    # -------- the body

    cdef Py_ssize_t body_peek(self, char **where) except -1:
        """The part of the body that has come; blocks until there is some. 0: its end.

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
        """`n` of the bytes that `body_peek` has shown were used."""
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
        if n >= READ_AT_LEAST and self.remaining > 0 and self.end == self.start and self.ep is not None \
                and self.body != BODY_DONE and self.expect != EXPECTED and not self.dead:
            # Straight to its place.
            got = self.body_receive(where, n if n < self.remaining else self.remaining)
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
        if self.dead:
            self.gone()
        if self.expect == EXPECTED:
            self.expect = NOT_EXPECTED
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n", 25, False)
        self.body_receive(NULL, 0)
        return 0

    cdef Py_ssize_t body_receive(self, char *where, Py_ssize_t n) except -1:
        """Block until more has come, within the time for a body: at most `n` bytes to `where`, or, if NULL, into the
        buffer.

        Returns how many bytes.
        """
        cdef int64_t limit = self.settings.body_time
        cdef int64_t before
        cdef Py_ssize_t got
        if not self.may_wait(&limit, self.waited, self.received):
            self.too_slow()
        before = now_ns()
        try:
            got = self.fill(limit) if where == NULL else self.receive(where, n, limit)
        except OSError:
            self.dead = True
            raise
        self.waited += now_ns() - before
        if got == WOULD_BLOCK:
            self.too_slow()
        if got == 0:
            self.gone()
        return got

    cdef bint may_wait(self, int64_t *limit, int64_t waited, int64_t moved) except -1:
        """`limit`: how long nothing may move. It is made shorter if less than `min_rate` has moved so far."""
        if limit[0] >= 0 and self.settings.min_rate > 0:
            limit[0] += min(earned(moved, self.settings.min_rate) - waited, 0)
            return limit[0] > 0
        return True

    cdef Py_ssize_t framing_line(self, Py_ssize_t most, bint of_chunk) except -1:
        """The size, with CRLF, of the line at `start`; blocks until it is there. llhttp has seen it then."""
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
            # RFC 9112, 7.1.1 allows white space where llhttp does not.
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
        while KINDS[<unsigned char> p[0]] & HEX:        # there is one, and something behind it: else llhttp objects
            if size >> 55:
                self.dead = True
                refuse("413 Content Too Large", "chunk size")
            size = size << 4 | hex_value(p[0])
            p += 1
        self.start += n
        # Ordinary lines cost nothing; chunks of one byte with a long extension, again and again, are an attack that no
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
        """Read the rest of the body, if that is no more than `limit` bytes. True if another request can follow."""
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
