"""Proxies in front of the WSGI server: which of them are trusted, and with what.

`Forwarded` (RFC 7239), the `X-Forwarded-...` fields and the PROXY protocol are each off by default, because a proxy
that does not write a field passes it on as the client sent it. And each is used only from trusted addresses: from all
others the fields are removed, so that the application does not trust them either.

Proxies append: the last address of a list is the one that the proxy connected to this server has seen. From there the
list is read backwards over trusted addresses; the first address that is not trusted is the client. Entries before that
one were written by the client, and are ignored.
"""

import functools
import ipaddress
import re
import struct

from gevlite import socket
from gevlite._core import monotonic
from gevlite._http.settings import RequestError

__all__ = ["HEADERS", "Proxies", "ProxyError", "read_proxy_header"]

HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix")

# Possessive quantifiers: text that does not match fails without backtracking.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = r'"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+)"'
_PAIR = re.compile(rf"[ \t]*+(?:({_TOKEN})=(?:({_TOKEN})|{_QUOTED}))?[ \t]*+([;,]|\Z)")
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
# No "//" at its beginning: that would make another host of a relative URL.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?")
_LONGEST_NODE = 64
_PORTS = {"http": "80", "https": "443"}


class Proxies:
    """Which proxies `WSGIServer(proxies=...)` trusts, and with which fields.

    trusted: their addresses or networks, such as `["10.0.0.0/8", "::1"]`; `"unix"`: all connections to a UNIX socket.
    headers: the fields that all of these proxies always write themselves, whatever the client has sent; any of
    `"forwarded"`, `"x-forwarded-for"`, `"x-forwarded-proto"`, `"x-forwarded-host"` and `"x-forwarded-prefix"`.
    protocol: whether their connections begin with a header of the PROXY protocol, version 1 or 2. A connection without
    the header is closed.

    Raises TypeError or ValueError for invalid arguments.
    """

    def __init__(self, trusted, headers=(), protocol=False):
        self.trusted = tuple(_words(trusted, "trusted"))
        self.headers = tuple(name.lower() for name in _words(headers, "headers"))
        self.protocol = bool(protocol)
        self._unix = "unix" in self.trusted
        self._networks = [_network(text) for text in self.trusted if text != "unix"]
        if not self.trusted:
            raise ValueError("proxies: no proxy is trusted; name addresses, networks or 'unix'")
        if not self.headers and not self.protocol:
            raise ValueError("proxies: name the headers to trust, or set protocol")
        for name in self.headers:
            if name not in HEADERS:
                raise ValueError(f"headers of proxies are {', '.join(HEADERS)}, not {name!r}")
        if "forwarded" in self.headers and set(self.headers) - {"forwarded", "x-forwarded-prefix"}:
            # The client could send the one that the proxy does not write.
            raise ValueError("a proxy writes forwarded, or x-forwarded-for, -proto and -host, but not both")
        self._for = "x-forwarded-for" in self.headers
        self._proto = "x-forwarded-proto" in self.headers
        self._host = "x-forwarded-host" in self.headers
        self._prefix = "x-forwarded-prefix" in self.headers
        self._forwarded = "forwarded" in self.headers
        self._is_trusted = functools.lru_cache(4096)(self._look_up)

    def __repr__(self):
        return f"<Proxies {', '.join(self.trusted)}: {', '.join(self.headers)}{' PROXY' if self.protocol else ''}>"

    def trusts(self, address):
        """Whether this address, as returned by `accept`, belongs to one of the proxies."""
        if not isinstance(address, tuple):
            return self._unix
        return self._is_trusted(address[0])

    def _look_up(self, host):
        address = ip_address_of(host)
        return address is not None and any(address in network for network in self._networks)

    def apply(self, address, environ):
        """Update `environ` with what the proxy says about the client. address: of the connection.

        Raises RequestError if the proxy sends invalid values.
        """
        if not self.trusts(address):
            for key in [key for key in environ if key.startswith(("HTTP_X_FORWARDED_", "HTTP_FORWARDED"))]:
                del environ[key]
            return
        client = scheme = host = None
        if self._forwarded:
            value = environ.get("HTTP_FORWARDED")
            if value is not None:
                client, scheme, host = self._of_forwarded(value)
        if self._for:
            value = environ.get("HTTP_X_FORWARDED_FOR")
            if value is not None:
                client = self._last_untrusted(value.split(","))[0]
        if self._proto:
            scheme = _last(environ.get("HTTP_X_FORWARDED_PROTO"))
        if self._host:
            host = _last(environ.get("HTTP_X_FORWARDED_HOST"))
        if client is not None:
            environ["REMOTE_ADDR"], port = client
            if port:
                environ["REMOTE_PORT"] = port
            else:
                environ.pop("REMOTE_PORT", None)
        if scheme:
            scheme = scheme.lower()
            scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
            if scheme not in _PORTS:
                raise _bad("the scheme of a proxy")
            environ["wsgi.url_scheme"] = scheme
        if host:
            found = _HOST.fullmatch(host)
            if found is None or int(found["port"] or 0) > 65535:
                raise _bad("the host of a proxy")
            environ["HTTP_HOST"] = host
            environ["SERVER_NAME"] = found["name"]
            environ["SERVER_PORT"] = found["port"] or _PORTS[environ["wsgi.url_scheme"]]
        if self._prefix:
            prefix = _last(environ.get("HTTP_X_FORWARDED_PREFIX"))
            if prefix:
                if not _PREFIX.fullmatch(prefix):
                    raise _bad("the prefix of a proxy")
                environ["SCRIPT_NAME"] = prefix.rstrip("/")

    def _last_untrusted(self, nodes):
        """`((host, port), its index)` of the client in a list of nodes; (None, index) if it is not known."""
        client = None
        for i in range(len(nodes) - 1, -1, -1):
            found = _node(nodes[i])
            if found is None:
                if not nodes[i].strip():
                    continue  # an empty element (RFC 9110, 5.6.1.2)
                return client, i  # hidden or invalid: the entries before it cannot be trusted
            client = found
            if not self._is_trusted(client[0]):
                return client, i
        return client, 0

    def _of_forwarded(self, value):
        elements = _parse_forwarded(value)
        client, i = self._last_untrusted([element.get("for", "unknown") for element in elements])
        chosen = elements[i] if elements else {}
        return client, chosen.get("proto"), chosen.get("host")


def _bad(what):
    return RequestError("400 Bad Request", what)


def _words(value, what):
    if isinstance(value, str):
        value = value.split(",")
    words = list(value)
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"{what} must be strings, not {word!r}")
    return [word.strip() for word in words if word.strip()]


def _network(text):
    if text == "*":
        raise ValueError("proxies: '*' would let each client choose its own address; name their networks")
    try:
        return ipaddress.ip_network(text)
    except ValueError as exc:
        raise ValueError(f"proxies must be addresses, networks or 'unix': {exc}") from None


def _last(value):
    """The last value of a list: the one that the proxy connected to this server has written."""
    return value if value is None else value.rpartition(",")[2].strip()


def ip_address_of(host):
    """An ipaddress object, IPv4 even if written as IPv6 (RFC 4291, 2.5.5.2). None if it is not an address."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _node(text):
    """`(host, port)` of a node, with port "" if it has none; None if it is not an address."""
    text = text.strip(" \t")
    return _parse_node(text) if len(text) <= _LONGEST_NODE else None


@functools.lru_cache(4096)
def _parse_node(text):
    port = ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host = text
    address = ip_address_of(host)
    if address is None or "%" in host:
        return None
    if not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
        port = ""  # for example an obfuscated one (RFC 7239, 6.3)
    return str(address), port


def _parse_forwarded(value):
    """RFC 7239, 4: a list of dicts. Raises RequestError if it is malformed: a client could otherwise open a quote,
    leave it open, and so hide what the proxy has written after it."""
    elements = []
    element = {}
    at = 0
    while True:
        found = _PAIR.match(value, at)
        if found is None:
            raise _bad("Forwarded")
        name, token, quoted, delimiter = found.groups()
        if name is not None:
            name = name.lower()
            if name in element:
                raise _bad("Forwarded")
            element[name] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
        at = found.end()
        if delimiter != ";":
            if element:
                elements.append(element)
            element = {}
        if not delimiter:
            return elements


# ---------------------------------------------------------------- the PROXY protocol

# https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LINE_START = b"PROXY "
_LONGEST_LINE = 107
_LONGEST_BLOCK = 16384
_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n\0]*)?\r\n")


class ProxyError(OSError):
    """The data is not a header of the PROXY protocol."""


class _ToldAddress(tuple):
    """What `read_proxy_header` returns."""


class _ToldPath(str):
    """The same, for a UNIX socket."""


def _told(address, environ, unread=b"", proxied=True):
    told = _ToldAddress(address) if isinstance(address, tuple) else _ToldPath(address or "")
    told.environ = environ
    told.unread = unread
    told.proxied = proxied
    return told


def read_proxy_header(sock, address, timeout, versions=(1, 2), optional=False):
    """Read the header, and nothing else, from the beginning of a connection. Returns the client's address that it
    contains, or `address` if it contains none. Blocks for at most `timeout` seconds.

    versions: the accepted versions of the protocol. optional: a connection without a header is the client's own.

    The attribute `environ` of the result has the rest: PROXY_PROTOCOL (TCP4, TCP6), and the address that the client has
    connected to, PROXY_ADDR and PROXY_PORT; if the client speaks TLS with the proxy, also HTTPS, SSL_PROTOCOL,
    SSL_CIPHER, SSL_TLS_SNI, SSL_CLIENT_VERIFY and SSL_CLIENT_S_DN_CN, which are the names of mod_ssl. The attribute
    `unread` has data that was read but belongs to a request; `proxied` is False if there is no header at all.

    Raises ProxyError for an invalid header, TimeoutError, or another OSError.
    """
    deadline = monotonic() + timeout
    starts = [start for version, start in ((1, _LINE_START), (2, _SIGNATURE)) if version in versions]
    start = b""
    try:
        if optional:
            # Bytes that are read here could not be passed on to a TLS handshake.
            _set_time(sock, deadline)
            first = sock.recv(1, socket.MSG_PEEK)
            if not any(start.startswith(first) for start in starts):
                return _told(address, {}, proxied=False)
        while start not in starts:
            candidates = [len(one) for one in starts if one.startswith(start)]
            if not candidates:
                raise ProxyError("no header of the PROXY protocol")
            start += _some(sock, min(candidates) - len(start), deadline)
    except (ProxyError, TimeoutError):
        if not optional:
            raise
        return _told(address, {}, start)
    if start == _SIGNATURE:
        return _version_2(sock, address, deadline)
    return _version_1(_rest_of_line(sock, start, deadline), address)


def _some(sock, most, deadline):
    _set_time(sock, deadline)
    data = sock.recv(most)
    if not data:
        raise ProxyError("the connection ended in the header of the PROXY protocol")
    return data


def _exactly(sock, n, deadline):
    data = b""
    while len(data) < n:
        data += _some(sock, n - len(data), deadline)
    return data


def _set_time(sock, deadline):
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("the header of the PROXY protocol took too long")
    sock.settimeout(left)


def _rest_of_line(sock, line, deadline):
    # Do not read beyond the line: the beginning of a TLS handshake may follow.
    while not line.endswith(b"\n"):
        if len(line) >= _LONGEST_LINE:
            raise ProxyError("the header of the PROXY protocol is too long")
        _set_time(sock, deadline)
        seen = sock.recv(_LONGEST_LINE - len(line), socket.MSG_PEEK)
        if not seen:
            raise ProxyError("the connection ended in the header of the PROXY protocol")
        line += _exactly(sock, seen.find(b"\n") + 1 or len(seen), deadline)
    return line


def _version_1(line, address):
    if _UNKNOWN.fullmatch(line):
        return _told(address, {})
    found = _LINE.fullmatch(line)
    if found is None:
        raise ProxyError("not a header of the PROXY protocol, version 1")
    kind = ipaddress.IPv4Address if found[1] == b"TCP4" else ipaddress.IPv6Address
    try:
        source, destination = kind(found[2].decode()), kind(found[3].decode())
    except ValueError:
        raise ProxyError("not an address of the PROXY protocol") from None
    if int(found[4]) > 65535 or int(found[5]) > 65535:
        raise ProxyError("not a port of the PROXY protocol")
    return _of_tcp(found[1].decode(), source, int(found[4]), destination, int(found[5]))


def _of_tcp(kind, source, source_port, destination, port, more=()):
    environ = {"PROXY_PROTOCOL": kind, "PROXY_ADDR": str(destination), "PROXY_PORT": str(port)}
    environ.update(more)
    return _told((str(ip_address_of(str(source))), source_port), environ)


def _version_2(sock, address, deadline):
    version, family, size = struct.unpack("!BBH", _exactly(sock, 4, deadline))
    if version >> 4 != 2 or version & 15 > 1:
        raise ProxyError("not version 2 of the PROXY protocol")
    if size > _LONGEST_BLOCK:
        raise ProxyError("the header of the PROXY protocol is too long")
    block = _exactly(sock, size, deadline)
    if version & 15 == 0:
        return _told(address, {})  # LOCAL: the proxy's own connection, for example a health check
    if family == 0:
        return _told(address, {})  # an unknown family: the proxy does not know the address
    if family == 0x11 and size >= 12:
        kind, source, destination, ports = (
            "TCP4",
            ipaddress.IPv4Address(block[:4]),
            ipaddress.IPv4Address(block[4:8]),
            8,
        )
    elif family == 0x21 and size >= 36:
        kind, source, destination = "TCP6", ipaddress.IPv6Address(block[:16]), ipaddress.IPv6Address(block[16:32])
        ports = 32
    elif family == 0x31 and size >= 216:
        return _told("", _more(block[216:]))
    else:
        raise ProxyError("addresses of the PROXY protocol that do not belong to a stream")
    source_port, port = struct.unpack_from("!HH", block, ports)
    return _of_tcp(kind, source, source_port, destination, port, _more(block[ports + 4 :]))


# Section 2.2: fields that may follow the addresses. The first byte of _TLS says what the connection has, the next four
# whether the certificate was valid, and then more fields follow.
_AUTHORITY, _TLS, _TLS_VERSION, _TLS_NAME, _TLS_CIPHER = 0x02, 0x20, 0x21, 0x22, 0x23
_IS_TLS, _HAS_CERTIFICATE = 1, 2 | 4


def _more(data):
    """For the environ: what the fields after the addresses say about the client's TLS."""
    fields = _fields(data)
    block = fields.get(_TLS)
    if block is None:
        return {}
    if len(block) < 5:
        raise ProxyError("a truncated field of the PROXY protocol")
    if not block[0] & _IS_TLS:
        return {}
    parts = _fields(block[5:])
    verdict = int.from_bytes(block[1:5])
    environ = {
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SSL_PROTOCOL": _text(parts.get(_TLS_VERSION)),
        "SSL_CIPHER": _text(parts.get(_TLS_CIPHER)),
        "SSL_CLIENT_VERIFY": "NONE",
    }
    if block[0] & _HAS_CERTIFICATE:
        environ["SSL_CLIENT_VERIFY"] = "SUCCESS" if verdict == 0 else f"FAILED:{verdict}"
        if verdict == 0 and _TLS_NAME in parts:
            environ["SSL_CLIENT_S_DN_CN"] = _text(parts[_TLS_NAME])
    if _AUTHORITY in fields:
        environ["SSL_TLS_SNI"] = _text(fields[_AUTHORITY])
    return environ


def _fields(data):
    found = {}
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3])
        if at + 3 + size > len(data):
            raise ProxyError("a truncated field of the PROXY protocol")
        found.setdefault(data[at], data[at + 3 : at + 3 + size])
        at += 3 + size
    return found


def _text(data):
    # Like all text in environ: bytes as characters. Most programs that read these do not expect control characters.
    text = (data or b"").decode("latin-1")
    if any(c < " " or c == "\x7f" for c in text):
        raise ProxyError("control characters in a field of the PROXY protocol")
    return text
