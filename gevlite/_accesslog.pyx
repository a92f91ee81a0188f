"""The access log: a line for each request, kept in memory and written many at a time.

A request pays only for putting its line together in a block of bytes: no system call, no lock, no object that lives on.
A separate greenlet writes what was collected, a moment later (`DELAY`).

Everything that a client has sent is escaped: it can neither end a line, nor end a quoted text, nor control a terminal.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy

from gevlite._core cimport begin_peace, end_peace

import base64
import errno
import os
import re
import stat
import sys
import time
from select import PIPE_BUF as _PIPE_BUF

from gevlite.greenlet import spawn_later
from gevlite.os import write as _write


cdef extern from "Python.h":
    int PyUnicode_KIND(object o)
    const unsigned char *PyUnicode_1BYTE_DATA(object o)
    Py_ssize_t PyUnicode_GET_LENGTH(object o)

# Seconds that a line may wait to be written.
DELAY = 0.1

cdef enum:
    FULL = 65536            # a file is written to at once when there is this much
    MOST = 4194304          # how much is kept for a reader that does not read; further lines are lost
    ROOM = 256              # around each line

# From Apache's combined log format, as gunicorn has it.
FORMATS = {
    "common": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s',
    "combined": '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
    "json": '{"time":"%(iso)s","remote_addr":"%(h)s","remote_user":"%(u)s","method":"%(m)s","target":"%(target)s",'
    '"protocol":"%(H)s","status":%(s)s,"bytes":%(B)s,"seconds":%(L)s,"host":"%({host}i)s","referer":"%(f)s",'
    '"user_agent":"%(a)s","pid":%(pid)s}',
    "terminal": "\x1b[2m%(clock)s\x1b[0m %(colour)s%(s)s\x1b[0m %(m)s %(target)s \x1b[2m%(ms)s ms\x1b[0m",
}

cdef enum:
    LITERAL
    ADDRESS
    NOTHING
    USER
    DATE
    REQUEST_LINE
    METHOD
    PATH
    QUERY
    PROTOCOL
    STATUS
    LENGTH
    LENGTH_OR_DASH
    REFERER
    AGENT
    SECONDS
    MILLISECONDS
    MICROSECONDS
    DECIMAL
    PROCESS
    RESPONSE_HEADER
    VARIABLE
    # Ours.
    TARGET
    ISO
    CLOCK
    COLOUR
    PID
    FINE

_ATOMS = {
    "h": ADDRESS, "l": NOTHING, "u": USER, "t": DATE, "r": REQUEST_LINE, "m": METHOD, "U": PATH, "q": QUERY,
    "H": PROTOCOL, "s": STATUS, "B": LENGTH, "b": LENGTH_OR_DASH, "f": REFERER, "a": AGENT, "T": SECONDS,
    "M": MILLISECONDS, "D": MICROSECONDS, "L": DECIMAL, "p": PROCESS,
}
_OURS = {"target": TARGET, "iso": ISO, "clock": CLOCK, "colour": COLOUR, "pid": PID, "ms": FINE}

_ATOM = re.compile(r"%(?:\((?:(\w+)|\{([^{}()]+)\}([ioe]))\)s|(%))")

cdef bytes HEXADECIMAL = b"0123456789abcdef"
# By the first digit of the status.
cdef tuple COLOURS = (b"", b"\x1b[36m", b"\x1b[32m", b"\x1b[36m", b"\x1b[33m", b"\x1b[31m")

# Characters that are written unchanged: printable ASCII without the quote and the backslash.
cdef bint[256] PLAIN


def _fill_plain():
    for c in range(256):
        PLAIN[c] = 32 <= c < 127 and c not in b'"\\'


_fill_plain()


def _parse(text, ours):
    """`[(code, argument), ...]` of a format. Raises ValueError for what is no atom."""
    found = []
    end = 0
    literal = ""
    for atom in _ATOM.finditer(text):
        literal += text[end:atom.start()]
        end = atom.end()
        name, header, kind, percent = atom.groups()
        if percent:
            literal += "%"
            continue
        if literal:
            found.append((LITERAL, literal.encode()))
            literal = ""
        if header:
            if kind == "o":
                found.append((RESPONSE_HEADER, header.lower()))
            else:
                found.append((VARIABLE, header if kind == "e" else _in_environ(header)))
        elif name in _ATOMS:
            found.append((_ATOMS[name], None))
        elif ours and name in _OURS:
            found.append((_OURS[name], None))
        else:
            raise ValueError(f"access log format: there is no %({name})s")
    literal += text[end:]
    if "%(" in literal:
        raise ValueError(f"access log format: cannot read {literal[literal.index('%('):]!r}")
    found.append((LITERAL, literal.encode() + b"\n"))
    return found


def _in_environ(header):
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


cdef inline object found(dict environ, name):
    cdef PyObject *value = NULL if environ is None else PyDict_GetItemWithError(environ, name)
    return None if value == NULL else <object> value


cdef class AccessLog:
    """AccessLog(target, format="combined")\n--\n
    A log for `WSGIServer(log=...)` with a line for each request.

    target: the path of a file, to which is appended; a descriptor; or an object with `write(text)`.
    format: "combined" (Apache's), "common", "json", "terminal" (short and coloured), or a text with gunicorn's atoms,
    such as `'%(h)s "%(r)s" %(s)s %(D)s'`.

    Lines are written together, a tenth of a second after the first of them, by a greenlet; a file is written to at once
    when there are 64 KiB. If the reader of a pipe does not read for so long that 4 MiB wait, further lines are lost,
    which `lost` counts; requests never block. What clients have sent is escaped: quotes, backslashes, control
    characters and all that is not ASCII.

    Raises OSError if the file cannot be opened, TypeError or ValueError for what is no target or no format.
    """

    def __cinit__(self):
        self.fd = -1

    def __init__(self, target, format="combined"):
        if not isinstance(format, str) or not format:
            raise TypeError(f"the format must be a str, not {format!r}")
        self.target = target
        self.format = format
        self.json = format == "json"
        pieces = _parse(FORMATS.get(format, format), format in FORMATS)
        self.n = len(pieces)
        self.codes = <int *> PyMem_Malloc(self.n * sizeof(int))
        if self.codes == NULL:
            raise MemoryError()
        self.arguments = []
        for i, (code, argument) in enumerate(pieces):
            self.codes[i] = code
            self.arguments.append(argument)
        self.second = -1
        if isinstance(target, (str, os.PathLike)):
            self.path = os.fspath(target)
            self.fd = _open(self.path)
        elif isinstance(target, int) and not isinstance(target, bool):
            self.fd = target
        elif hasattr(target, "write"):
            self.write_text = target.write
            return
        else:
            raise TypeError(f"the access log's target must be a path, a descriptor or have write(), not {target!r}")
        self.is_file = stat.S_ISREG(os.fstat(self.fd).st_mode)

    def __dealloc__(self):
        PyMem_Free(self.codes)
        free(self.out)

    # -------- a line

    cdef int add(self, handler, bytes head, dict environ, code, int64_t sent, double began, double ended) except -1:
        """A request was answered. sent: bytes of the body. began, ended: by time.time(). head: None if there was none.

        Never blocks and never raises for what is in a request.
        """
        cdef int i
        cdef Py_ssize_t before = self.size
        cdef int64_t second = <int64_t> ended
        if before > MOST:
            self.lost += 1
            return 0
        if second != self.second:
            self.new_second(second)
        begin_peace()       # logged objects may run code of their own, and no other greenlet may write into this line
        try:
            for i in range(self.n):
                if self.codes[i] == LITERAL:
                    self.put_bytes(<bytes> self.arguments[i])
                else:
                    self.atom(self.codes[i], self.arguments[i], handler, head, environ, code, sent, ended - began)
        except BaseException:
            self.size = before
            raise
        finally:
            end_peace()
        if not self.scheduled:
            self.schedule()
        elif self.is_file and self.size >= FULL and not self.flushing:
            self.flush()
        return 0

    cdef int atom(self, int code, argument, handler, bytes head, dict environ, status, int64_t sent, double took) except -1:
        if took < 0:
            took = 0        # the clock was set back
        if code == ADDRESS:
            value = found(environ, "REMOTE_ADDR")
            if value is None:
                value = handler.client_address
                value = value[0] if isinstance(value, tuple) else None
            return self.put_value(value or None)
        elif code == NOTHING:
            return self.put_missing()
        elif code == USER:
            value = found(environ, "REMOTE_USER")
            if value is None:
                value = found(environ, "HTTP_AUTHORIZATION")
                if value is not None:
                    value = _user(value)
            return self.put_value(value)
        elif code == DATE:
            return self.put_bytes(self.clf)
        elif code == REQUEST_LINE:
            return self.put_in_request_line(head, -1)
        elif code == METHOD:
            return self.put_in_request_line(head, 0)
        elif code == TARGET:
            return self.put_in_request_line(head, 1)
        elif code == PROTOCOL:
            return self.put_in_request_line(head, 2)
        elif code == PATH:
            return self.put_in_request_line(head, 3)
        elif code == QUERY:
            return self.put_in_request_line(head, 4)
        elif code == STATUS:
            return self.put(b"000", 3) if not status and not self.json else self.put_number(status or 0)
        elif code == LENGTH:
            return self.put_number(sent)
        elif code == LENGTH_OR_DASH:
            return self.put_number(sent) if sent else self.put(b"-", 1)
        elif code == REFERER:
            return self.put_value(found(environ, "HTTP_REFERER"))
        elif code == AGENT:
            return self.put_value(found(environ, "HTTP_USER_AGENT"))
        elif code == SECONDS:
            return self.put_number(<int64_t> took)
        elif code == MILLISECONDS:
            return self.put_number(<int64_t> (took * 1e3))
        elif code == MICROSECONDS:
            return self.put_number(<int64_t> (took * 1e6))
        elif code == DECIMAL:
            return self.put_seconds(took)
        elif code == FINE:
            self.put_number(<int64_t> (took * 1e3))
            self.put(b".", 1)
            return self.put_number(<int64_t> (took * 1e4) % 10)
        elif code == PROCESS:
            self.put(b"<", 1)
            self.put_number(self.pid)
            return self.put(b">", 1)
        elif code == PID:
            return self.put_number(self.pid)
        elif code == RESPONSE_HEADER:
            return self.put_header(handler, argument)
        elif code == VARIABLE:
            return self.put_value(found(environ, argument))
        elif code == ISO:
            return self.put_bytes(self.iso)
        elif code == CLOCK:
            return self.put_bytes(self.clock)
        elif code == COLOUR:
            return self.put_bytes(<bytes> COLOURS[(status or 0) // 100 % 6])
        return 0

    cdef int new_second(self, int64_t second) except -1:
        now = time.localtime(second)
        zone = now.tm_gmtoff // 60
        sign = "-" if zone < 0 else "+"
        hours, minutes = divmod(abs(zone), 60)
        # Not strftime's %b, which follows the locale.
        month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[now.tm_mon - 1]
        day = f"{now.tm_mday:02}"
        clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        self.clf = f"[{day}/{month}/{now.tm_year}:{clock} {sign}{hours:02}{minutes:02}]".encode()
        self.iso = f"{now.tm_year}-{now.tm_mon:02}-{day}T{clock}{sign}{hours:02}:{minutes:02}".encode()
        self.clock = clock.encode()
        self.second = second
        self.pid = os.getpid()
        return 0

    # -------- its pieces

    cdef int room(self, Py_ssize_t n) except -1:
        cdef Py_ssize_t capacity
        cdef char *out
        if self.capacity - self.size < n:
            capacity = max(2 * self.capacity, self.size + n, 8192)
            out = <char *> realloc(self.out, capacity)
            if out == NULL:
                raise MemoryError()
            self.out = out
            self.capacity = capacity
        return 0

    cdef int put(self, const char *data, Py_ssize_t n) except -1:
        self.room(n)
        memcpy(self.out + self.size, data, n)
        self.size += n
        return 0

    cdef int put_bytes(self, bytes data) except -1:
        return self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int put_number(self, int64_t number) except -1:
        cdef char digits[24]
        cdef int i = 24
        cdef bint negative = number < 0
        if negative:
            number = -number
        while True:
            i -= 1
            digits[i] = <char> (48 + number % 10)
            number //= 10
            if number == 0:
                break
        if negative:
            i -= 1
            digits[i] = b"-"
        return self.put(digits + i, 24 - i)

    cdef int put_seconds(self, double seconds) except -1:
        cdef int64_t left = <int64_t> (seconds * 1e6)
        cdef int i
        self.put_number(left // 1000000)
        self.room(7)
        self.out[self.size] = b"."
        for i in range(6):
            self.out[self.size + 6 - i] = <char> (48 + left % 10)
            left //= 10
        self.size += 7
        return 0

    cdef int put_safe(self, const unsigned char *data, Py_ssize_t n) except -1:
        """Bytes from a client. For JSON, what is not ASCII must be UTF-8 by now."""
        cdef Py_ssize_t i
        cdef unsigned char c
        cdef char *out
        self.room(6 * n)
        out = self.out + self.size
        for i in range(n):
            c = data[i]
            if PLAIN[c] or (self.json and c >= 128):
                out[0] = <char> c
                out += 1
            elif c == b'"' or c == b"\\":
                out[0] = b"\\"
                out[1] = <char> c
                out += 2
            else:
                if self.json:
                    memcpy(out, b"\\u00", 4)
                    out += 4
                else:
                    memcpy(out, b"\\x", 2)
                    out += 2
                out[0] = PyBytes_AS_STRING(HEXADECIMAL)[c >> 4]
                out[1] = PyBytes_AS_STRING(HEXADECIMAL)[c & 15]
                out += 2
        self.size = out - self.out
        return 0

    cdef int put_value(self, value) except -1:
        """A text in the form of environ: bytes as latin-1 characters. None: there is none."""
        cdef bytes data
        if value is None:
            return self.put_missing()
        if type(value) is not str:
            value = str(value)
        if PyUnicode_KIND(value) == 1:
            return self.put_octets(PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value))
        data = value.encode("utf-8", "replace")
        return self.put_safe(<const unsigned char *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int put_octets(self, const unsigned char *data, Py_ssize_t n) except -1:
        cdef Py_ssize_t i
        cdef bytes text
        if self.json:
            for i in range(n):
                if data[i] >= 128:
                    text = data[:n].decode("utf-8", "backslashreplace").encode()
                    return self.put_safe(<const unsigned char *> PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        return self.put_safe(data, n)

    cdef int put_missing(self) except -1:
        return 0 if self.json else self.put(b"-", 1)

    cdef int put_in_request_line(self, bytes head, int word) except -1:
        """The request line, or one of its words; 3 is the path of the second, 4 the query."""
        cdef const char *p
        cdef const char *end
        cdef const char *stop
        cdef const char *query
        if head is None:
            return self.put_missing()
        p = PyBytes_AS_STRING(head)
        end = <const char *> memchr(p, b"\r", PyBytes_GET_SIZE(head))
        if end == NULL:
            return self.put_missing()
        if word > 0:
            stop = <const char *> memchr(p, b" ", end - p)
            p = stop + 1 if stop != NULL else end
        if word == 2:
            stop = <const char *> memchr(p, b" ", end - p)
            p = stop + 1 if stop != NULL else end
        if word >= 0 and word != 2:
            stop = <const char *> memchr(p, b" ", end - p)
            if stop != NULL:
                end = stop
        if word >= 3:
            query = <const char *> memchr(p, b"?", end - p)
            if word == 3:
                end = query if query != NULL else end
            else:
                p = query + 1 if query != NULL else end
        return self.put_octets(<const unsigned char *> p, end - p)

    cdef int put_header(self, handler, str name) except -1:
        for key, value in handler.response_headers or ():
            key = key.decode("latin-1") if isinstance(key, bytes) else key
            if key.lower() == name:
                return self.put_value(value.decode("latin-1") if isinstance(value, bytes) else value)
        return self.put_missing()

    # -------- writing

    cdef int schedule(self) except -1:
        self.scheduled = True
        try:
            spawn_later(0 if self.format == "terminal" else DELAY, self._write_later)
        except BaseException:
            self.scheduled = False
            raise
        return 0

    def _write_later(self):
        try:
            self.flush()
        finally:
            self.scheduled = False
            if self.size:
                self.schedule()

    def write(self, text):
        """Add a text of your own, unchanged. Does not block."""
        self.put_bytes(text.encode())
        if not self.scheduled:
            self.schedule()

    def flush(self):
        """Write what has been collected. Blocks while the reader of a pipe or a terminal takes no more; if a greenlet
        is writing already, returns at once."""
        cdef bytes data
        if self.flushing:
            return
        self.flushing = True
        try:
            while self.size:
                data = PyBytes_FromStringAndSize(self.out, self.size)
                self.size = 0
                if self.capacity > 2 * FULL:
                    free(self.out)
                    self.out = NULL
                    self.capacity = 0
                try:
                    self._write_all(data)
                except OSError as exc:
                    # A full disk must not take the service down.
                    self.lost += data.count(b"\n")
                    if exc.errno != errno.EPIPE:
                        _complain(f"the access log cannot be written: {exc}")
                    break
            if self.lost != self.told:
                _complain(f"{self.lost - self.told} lines of the access log are lost")
                self.told = self.lost
        finally:
            self.flushing = False

    def _write_all(self, bytes data):
        if self.write_text is not None:
            self.write_text(data.decode("utf-8", "backslashreplace"))
            flush = getattr(self.target, "flush", None)
            if flush is not None:
                flush()
            return
        for piece in [data] if self.is_file else _whole_lines(data):
            while piece:
                piece = piece[(os.write if self.is_file else _write)(self.fd, piece):]

    def reopen(self):
        """Open the file anew, if it was given by its path: the name may refer to another file by now. What was
        collected goes to the old file. If this raises OSError, the log goes on with the old file."""
        if self.path is None:
            return
        fd = _open(self.path)
        if not self.flushing:
            self.flush()
        os.dup2(fd, self.fd, inheritable=False)
        os.close(fd)

    def close(self):
        """`flush()`, and close the file if it was given by its path."""
        self.flush()
        if self.path is not None and self.fd >= 0:
            os.close(self.fd)
            self.path, self.fd = None, -1

    def __repr__(self):
        return f"<AccessLog {self.target!r} {self.format!r}>"


def _open(path):
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def _whole_lines(data):
    """Split `data` into pieces that a pipe keeps together, also if several processes write to it (pipe(7))."""
    start = 0
    while start < len(data):
        stop = data.rfind(b"\n", start, start + _PIPE_BUF) + 1 or start + _PIPE_BUF
        yield data[start:stop]
        start = stop


def _complain(text):
    if sys.stderr is not None:
        sys.stderr.write(f"gevlite: {text}\n")


def _user(value):
    """The user name in an Authorization header."""
    try:
        kind, _, data = value.partition(" ")
        if kind.lower() != "basic":
            return None
        name, colon, _ = base64.b64decode(data.strip(), validate=True).decode("latin-1").partition(":")
    except (ValueError, AttributeError):
        return None
    return name if colon and name else None
