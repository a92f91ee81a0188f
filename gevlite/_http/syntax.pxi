# The syntax of a request: which characters are allowed where, and the pieces of a head. Part of connection.pyx.

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
    # RFC 3986 allows fewer. Browsers leave \ ^ ` { | } as they are (WHATWG URL, the query state). curl and other
    # programs send the rest.
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


cdef inline bint has_white_space(const char *p, Py_ssize_t n) noexcept:
    return memchr(p, b" ", n) != NULL or memchr(p, b"\t", n) != NULL


cdef bytes without_white_space(const char *p, Py_ssize_t n):
    """The line of a chunk without white space around ";" and "=". In quotation marks, white space is data."""
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
    """The end of a target. The part behind # is for the client alone (RFC 3986, 3.5), but some clients send it."""
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
