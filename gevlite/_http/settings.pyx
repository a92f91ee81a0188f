"""What all connections of a server share, and the error for a request that cannot be served."""

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from gevlite._core cimport timeout_ns

cdef enum:
    NAMES = 256                 # a power of two

# Limits of the classes of Settings.times, in ns; the last class has none.
cdef int64_t[N_TIMES - 1] TIME_LIMITS = [
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000,
    1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000,
]


class RequestError(OSError):
    """The client's request cannot be served; `status` says why, in the words of a response. Also: it took too long."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


cdef int refuse(str status, str reason) except -1:
    raise RequestError(status, reason)


cdef int bad(str reason) except -1:
    raise RequestError("400 Bad Request", reason)


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
        self.header_time = timeout_ns(limits.header_timeout)
        self.keepalive_time = timeout_ns(limits.keepalive_timeout)
        self.closing_time = timeout_ns(limits.closing_timeout)
        self.linger_time = timeout_ns(limits.linger_timeout)
        self.body_time = timeout_ns(limits.body_timeout)
        self.write_time = timeout_ns(limits.write_timeout)
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

    cdef int count_time(self, int64_t ns) noexcept:
        cdef int i = 0
        while i < N_TIMES - 1 and ns > TIME_LIMITS[i]:
            i += 1
        self.times[i] += 1
        self.all_times += ns
        return 0

    def counts(self):
        """`(requests by the first digit of their status, requests by time, limits of these in seconds, all seconds,
        requests that the application has now)`."""
        return (
            tuple([self.answered[i] for i in range(6)]),
            tuple([self.times[i] for i in range(N_TIMES)]),
            tuple([TIME_LIMITS[i] / 1e9 for i in range(N_TIMES - 1)]),
            self.all_times / 1e9,
            self.serving,
        )

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
        """What is known about a field's name. The result is valid until the next call."""
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
