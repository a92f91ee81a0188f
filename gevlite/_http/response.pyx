"""WSGI's responses: `start_response`, `write`, and what an application returns.

A response is sent in as few pieces as it can be: the head goes out together with the first piece of the body. Apart,
and with delayed acknowledgements on the other side, each request on a kept connection would take 40 ms.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsLatin1String
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from libc.time cimport time, time_t

from gevlite._http.connection cimport BODY_DONE, BODY_LENGTH, EXPECTED, UNANSWERED, Connection
from gevlite._http.settings cimport BLOCK

import io
import os
import stat
from email.utils import formatdate


cdef enum:
    TOGETHER = 16384        # a piece of body up to this size is copied, to be sent together with what is around it


class FileWrapper:
    """`environ["wsgi.file_wrapper"]`: return one for a file, and it is sent from its current position to its end, or as
    far as Content-Length says.

    What `open(path, "rb")` returns, a regular file on a disk, is sent by sendfile(2). Anything else is read.
    """

    def __init__(self, filelike, blksize=65536):
        self.filelike = filelike
        self.blksize = blksize

    def __iter__(self):
        return self

    def __next__(self):
        data = self.filelike.read(self.blksize)
        if not data:
            raise StopIteration
        return data

    def close(self):
        """Close the file, if it can be closed."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


cdef bint is_read_raw(file):
    """True if reading from this object is certain to read from its descriptor. A GzipFile has a descriptor, too."""
    kind = type(file)
    if kind is io.BufferedReader:
        return type(file.raw) is io.FileIO
    return kind is io.FileIO


# ---------------------------------------------------------------- heads

_HEADER_CODES = {
    "date": HEADER_DATE,
    "content-length": HEADER_CONTENT_LENGTH,
    "connection": HEADER_CONNECTION,
    "transfer-encoding": HEADER_TRANSFER_ENCODING,
    "keep-alive": HEADER_OF_A_HOP,
    "proxy-connection": HEADER_OF_A_HOP,
}
_TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~")

# Values that applications use again and again, checked already: status -> (bytes, code), name -> (bytes, HeaderCode).
cdef dict known_statuses = {}
cdef dict known_names = {}
cdef enum:
    KNOWN = 512

cdef time_t date_second = 0
cdef tuple date_pair

cdef tuple CONNECTION_CLOSE = (b"Connection", b"close")
cdef tuple CONNECTION_KEEP_ALIVE = (b"Connection", b"keep-alive")
cdef tuple TRANSFER_ENCODING_CHUNKED = (b"Transfer-Encoding", b"chunked")


cdef tuple parse_status(status):
    """(bytes, code). Raises TypeError or ValueError for what is no status of a final response."""
    if not isinstance(status, str):
        raise TypeError(f"the status must be a str, not {status!r}")
    data = check_text(status, "status")
    if len(data) < 3 or not data[:3].isdigit() or len(data) > 3 and data[3:4] != b" ":
        raise ValueError(f"the status must be like '200 OK', not {status!r}")
    code = int(data[:3])
    if code != 101 and not 200 <= code <= 599:
        raise ValueError(f"{status!r} cannot be the status of a response")
    found = (data, code)
    if len(known_statuses) < KNOWN:
        known_statuses[status] = found
    return found


cdef tuple parse_name(name):
    if not isinstance(name, str):
        raise TypeError(f"the name of a header must be a str, not {name!r}")
    if not name or not _TOKEN.issuperset(name):
        raise ValueError(f"not the name of a header: {name!r}")
    found = (name.encode("ascii"), _HEADER_CODES.get(name.lower(), HEADER_OTHER))
    if len(known_names) < KNOWN:
        known_names[name] = found
    return found


cdef bint has_control(const char *p, Py_ssize_t n) noexcept:
    """RFC 9110, 5.5: what a field's value must not contain. A line break would begin another field, or a response."""
    cdef Py_ssize_t i
    cdef unsigned char c
    for i in range(n):
        c = p[i]
        if (c < 32 and c != 9) or c == 127:
            return True
    return False


cdef bytes check_text(text, str what):
    cdef bytes data
    if not isinstance(text, str):
        raise TypeError(f"the {what} must be a str, not {text!r}")
    data = PyUnicode_AsLatin1String(text)
    if has_control(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
        raise ValueError(f"control character in the {what}: {text!r}")
    return data


cdef object date_header():
    """("Date", now), made once a second (RFC 9110, 6.6.1)."""
    global date_second, date_pair
    cdef time_t now = time(NULL)
    if date_second != now:
        date_pair = (b"Date", formatdate(now, usegmt=True).encode("ascii"))
        date_second = now
    return date_pair


cdef inline char *put(char *to, bytes data) noexcept:
    memcpy(to, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return to + PyBytes_GET_SIZE(data)


cdef bint is_keep_alive(pair) except -1:
    return pair[0].lower() == b"connection" and pair[1].strip().lower() == b"keep-alive"


cdef bytes as_bytes(text):
    """A status or header that a subclass may have changed: str or bytes. Raises ValueError for control characters."""
    cdef bytes data
    if isinstance(text, str):
        return check_text(text, "head of a response")
    data = bytes(text)
    if has_control(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
        raise ValueError(f"control character in the head of a response: {text!r}")
    return data


# ---------------------------------------------------------------- the response

cdef class Response:
    """What `Handler` does once there is a request. `quick`: no subclass overrides a step, see there."""

    ApplicationError = AssertionError

    cdef int begin_response(self) except -1:
        self.status = self.code = self.response_headers = self.result = None
        self.provided_date = self.provided_content_length = None
        self.environ = None
        self.response_length = self.head_length = 0
        self.left = -1
        self.headers_sent = self.response_use_chunked = self.connection_upgraded = self.no_body = False
        self.provided_connection = self.provided_close = self.more_follows = self.answered = False
        return 0

    cdef int stop_timer(self) except -1:
        if self.timer is not None:
            self.timer._cancel()
            self.timer = None
        return 0

    cpdef process_result(self):
        """Send the pieces of `result`."""
        result = self.result
        if type(result) is list or type(result) is tuple:
            if len(result) > 1 and sum([len(data) for data in result]) <= TOGETHER:
                result = (b"".join(result),)
        elif type(result) is FileWrapper and self.status is not None:
            if self.send_file(result):
                return
            self.send_by_reading(result)
            result = ()
        for data in result:
            if data:
                if self.quick:
                    Response.write(self, data)
                else:
                    self.write(data)
        if self.status is not None and not self.headers_sent:
            if self.quick:
                Response.write(self, b"")
            else:
                self.write(b"")
        if self.response_use_chunked and not self.no_body:
            self.connection.send(b"0\r\n\r\n", 5, False)
            self.response_length += 5

    cpdef start_response(self, status, headers, exc_info=None):
        """PEP 3333: begin the response, and return `write`. The head is sent with the first piece of the body.

        Raises ValueError or TypeError if status or headers are not what HTTP allows, AssertionError on a second call
        without `exc_info`; with `exc_info`, what that holds, if the head was sent already.
        """
        cdef list encoded = []
        cdef tuple found
        if exc_info:
            try:
                if self.headers_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.status is not None:
            if self.answered:
                return self.write
            raise self.ApplicationError("start_response() was called already")
        found = known_statuses.get(status) if type(status) is str else None
        if found is None:
            found = parse_status(status)
        new_status, code = found
        length = date = None
        connection = close = False
        for name, value in headers:
            found = known_names.get(name) if type(name) is str else None
            if found is None:
                found = parse_name(name)
            data = check_text(value, "value of a header")
            if found[1] == HEADER_OTHER:
                pass
            elif found[1] == HEADER_CONTENT_LENGTH:
                if not data.isdigit() or length is not None and length != data:
                    raise ValueError(f"Content-Length: {value!r}")
                if length is not None:
                    continue
                length = data
            elif found[1] == HEADER_DATE:
                date = data
            elif found[1] == HEADER_CONNECTION:
                connection = True
                if b"close" in data.lower():
                    close = True
            else:
                # How the body is transferred, and how long a connection lasts, is for the server to decide (PEP 3333,
                # "Other HTTP Features"). An application that passes on another server's response may have such fields.
                if found[1] == HEADER_TRANSFER_ENCODING and data.strip().lower() not in (b"chunked", b"identity"):
                    raise ValueError(f"Transfer-Encoding: {value!r}")
                continue
            encoded.append((found[0], data))
        self.status = new_status
        self.code = code
        self.response_headers = encoded
        self.provided_date = date
        self.provided_content_length = length
        self.provided_connection = connection
        self.provided_close = close
        if close:
            self.close_connection = True
        return self.write

    cpdef finalize_headers(self):
        """Add to `response_headers` the headers that the server gives. Called before the head is sent."""
        cdef list headers = self.response_headers
        cdef int code = self.code
        cdef Connection connection = self.connection
        if code < 200:
            # The connection speaks another protocol from here on (RFC 9110, 15.2.2).
            self.connection_upgraded = self.close_connection = True
            self.no_body = False
            if self.environ is not None:
                self.environ["wsgi.input_terminated"] = False
            return
        if connection.expect == EXPECTED and connection.body != BODY_DONE:
            connection.expect = UNANSWERED
            self.close_connection = True
        if connection.settings.closing:
            self.close_connection = True
        if connection.body == BODY_LENGTH and connection.remaining > DISCARD and (
            type(self.result) is list or type(self.result) is tuple
        ):
            self.close_connection = True        # the application has read what it wanted
        if self.provided_date is None:
            headers.append(date_header())
        self.no_body = connection.is_head or code == 204 or code == 304
        if code == 204:
            # RFC 9110, 8.6
            if self.provided_content_length is not None:
                headers[:] = [pair for pair in headers if pair[0].lower() != b"content-length"]
        elif code == 304:
            pass
        elif self.provided_content_length is not None:
            if self.provided_content_length is not False:
                self.left = int(self.provided_content_length)
        elif type(self.result) is list or type(self.result) is tuple:
            length = 0
            for data in self.result:
                length += len(data)
            if length or not self.no_body:
                headers.append((b"Content-Length", b"%d" % length))
                self.left = length
        elif connection.minor == 1:
            self.response_use_chunked = True
            headers.append(TRANSFER_ENCODING_CHUNKED)
        elif not self.no_body:
            self.close_connection = True        # the end of the connection is the end of the body
        if self.close_connection:
            if not self.provided_close:
                if self.provided_connection:
                    headers[:] = [pair for pair in headers if not is_keep_alive(pair)]
                headers.append(CONNECTION_CLOSE)
        elif connection.minor == 0 and not self.provided_connection:
            headers.append(CONNECTION_KEEP_ALIVE)

    cpdef write(self, data):
        """Send a piece of the body; before the first one, the head. Blocks while the client takes no more.

        Raises AssertionError if it is more than Content-Length allows; OSError if the client is gone, TimeoutError if it
        is too slow.
        """
        cdef Py_ssize_t n
        cdef bint too_long = False
        if type(data) is not bytes:
            if isinstance(data, str):
                if data:
                    raise TypeError(f"the body of a response is made of bytes, not {type(data).__name__}")
                data = b""      # gevent-websocket sends the head of a response by `write("")`
            data = bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else bytes(memoryview(data))
        if self.status is None:
            raise self.ApplicationError("write() before start_response()")
        n = PyBytes_GET_SIZE(data)
        if not self.headers_sent:
            if self.quick:
                Response.finalize_headers(self)
            else:
                self.finalize_headers()
        if self.no_body:
            if n and self.code in (204, 304):
                raise self.ApplicationError(f"a response {self.code} has no body")
            n = 0
        elif 0 <= self.left < n:
            too_long = True
            n = self.left
        if not self.headers_sent:
            self.send_with_head(PyBytes_AS_STRING(data), n)
        elif n:
            self.send_piece(PyBytes_AS_STRING(data), n)
        if self.left >= 0:
            self.left -= n
        if too_long:
            raise self.ApplicationError("the response is longer than its Content-Length")

    cdef int send_with_head(self, const char *data, Py_ssize_t n) except -1:
        cdef Connection connection = self.connection
        cdef bytes status = self.status if self.quick and type(self.status) is bytes else as_bytes(self.status)
        cdef list headers = self.response_headers
        cdef Py_ssize_t size = 9 + PyBytes_GET_SIZE(status) + 5
        cdef bint chunked = self.response_use_chunked and n > 0
        cdef bint together = n <= TOGETHER
        cdef char *out
        cdef char *p
        cdef bytes name, value
        if not self.quick:
            self.response_headers = headers = [(as_bytes(pair[0]), as_bytes(pair[1])) for pair in headers]
        for pair in headers:
            size += len(<bytes> (<tuple> pair)[0]) + len(<bytes> (<tuple> pair)[1]) + 4
        size += 32 + (n if together else 0)
        out = connection.settings.take_block() if size <= BLOCK else <char *> malloc(size)
        if out == NULL:
            raise MemoryError()
        try:
            memcpy(out, b"HTTP/1.1 ", 9)
            p = put(out + 9, status)
            if PyBytes_GET_SIZE(status) == 3:
                p[0] = b" "         # RFC 9112, 4: also where there is no reason
                p += 1
            memcpy(p, b"\r\n", 2)
            p += 2
            for pair in headers:
                name = <bytes> (<tuple> pair)[0]
                value = <bytes> (<tuple> pair)[1]
                p = put(p, name)
                memcpy(p, b": ", 2)
                p = put(p + 2, value)
                memcpy(p, b"\r\n", 2)
                p += 2
            memcpy(p, b"\r\n", 2)
            p += 2
            self.head_length = p - out
            if chunked:
                p += snprintf(p, 24, b"%zx\r\n", <size_t> n)
            if together and n:
                memcpy(p, data, n)
                p += n
                if chunked:
                    memcpy(p, b"\r\n", 2)
                    p += 2
            self.headers_sent = True
            self.stop_timer()
            connection.send(out, p - out, not together or self.more_follows)
            self.response_length += p - out
            if not together:
                connection.send(data, n, chunked)
                self.response_length += n
                if chunked:
                    connection.send(b"\r\n", 2, False)
                    self.response_length += 2
        finally:
            if size <= BLOCK:
                connection.settings.give_block(out)
            else:
                free(out)
        return 0

    cdef int send_piece(self, const char *data, Py_ssize_t n) except -1:
        cdef Connection connection = self.connection
        cdef char[24] frame
        cdef char *out
        cdef int size
        if not self.response_use_chunked:
            self.response_length += n
            return connection.send(data, n, False)
        size = snprintf(frame, 24, b"%zx\r\n", <size_t> n)
        self.response_length += size + n + 2
        if n > TOGETHER:
            connection.send(frame, size, True)
            connection.send(data, n, True)
            return connection.send(b"\r\n", 2, False)
        out = connection.settings.take_block()
        try:
            memcpy(out, frame, size)
            memcpy(out + size, data, n)
            memcpy(out + size + n, b"\r\n", 2)
            connection.send(out, size + n + 2, False)
        finally:
            connection.settings.give_block(out)
        return 0

    cdef bint send_file(self, wrapper) except -1:
        """Send a FileWrapper's file by sendfile(2). False if it is not a file for that; nothing was sent then."""
        cdef Connection connection = self.connection
        cdef Py_ssize_t sent
        if connection.ep is None or self.headers_sent or self.code in (101, 204, 304):
            return False
        file = wrapper.filelike
        try:
            if not is_read_raw(file):
                return False
            fd = file.fileno()
            info = os.fstat(fd)
            offset = file.tell()
        except (OSError, ValueError):
            return False
        # For a file without blocks on a disk the system may make the content when it is read, as in /proc and /sys:
        # then its size says nothing.
        if not stat.S_ISREG(info.st_mode) or info.st_blocks == 0:
            return False
        count = max(info.st_size - offset, 0)
        if self.provided_content_length is None:
            self.set_length(count)
        elif self.provided_content_length is False:
            return False
        self.more_follows = True
        self.write(b"")
        if self.no_body:
            return True
        count = min(count, self.left)
        try:
            sent = connection.send_file(fd, offset, count)
        except OSError:
            # A file system that cannot do it (sendfile(2), EINVAL).
            if connection.dead:
                raise
            self.send_by_reading(wrapper)
            return True
        self.left -= sent
        self.response_length += sent
        return True

    cdef int set_length(self, int64_t n) except -1:
        self.provided_content_length = b"%d" % n
        self.response_headers.append((b"Content-Length", self.provided_content_length))
        return 0

    cdef int send_by_reading(self, wrapper) except -1:
        """Send what a FileWrapper reads, but no more than Content-Length says."""
        cdef int64_t left = self.left
        if not self.headers_sent and self.provided_content_length:
            left = int(self.provided_content_length)
        for data in wrapper:
            if 0 <= left < len(data):
                data = data[:left]
            self.write(data)
            if left >= 0:
                left -= len(data)
            if left == 0 or self.no_body:
                return 0
        if not self.headers_sent and self.provided_content_length is None and self.code not in (101, 204, 304):
            self.set_length(0)
        return 0
