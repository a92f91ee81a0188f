"""Which proxies and fields the WSGI server trusts: Forwarded, X-Forwarded-..., the PROXY protocol."""

import contextlib
import json
import os
import random
import ssl
import struct

import pytest
import trustme
from hypothesis import given, settings, strategies as st
from serving import read_all

import gevlite
from gevlite import socket
from gevlite._proxies import ProxyError, read_proxy_header
from gevlite.pywsgi import AccessLog, Proxies, RequestError

NETWORKS = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"]
PEER = ("10.0.0.1", 5000)
ALL_OF_X = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix")


def applied(headers, peer=PEER, trusted=NETWORKS, **fields):
    """The environ of a request with these fields, after the server has processed them."""
    environ = {
        "REMOTE_ADDR": peer[0] if isinstance(peer, tuple) else "", "REMOTE_PORT": "5000", "HTTP_HOST": "h:80",
        "SERVER_NAME": "server", "SERVER_PORT": "8000", "SCRIPT_NAME": "", "wsgi.url_scheme": "http",
        **{f"HTTP_{name.upper()}": value for name, value in fields.items()},
    }  # fmt: skip
    Proxies(trusted, headers).apply(peer, environ)
    return environ


def client(headers, peer=PEER, **fields):
    return applied(headers, peer, **fields)["REMOTE_ADDR"]


# ---------------------------------------------------------------- X-Forwarded-...


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.5.5.5", "1.2.3.4"),
        ("6.6.6.6,1.2.3.4,10.5.5.5,192.0.2.7", "1.2.3.4"),
        ("10.7.7.7, 10.5.5.5", "10.7.7.7"),  # all are trusted: the first
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("1.2.3.4, , ", "1.2.3.4"),
        ("6.6.6.6, ::ffff:10.5.5.5", "6.6.6.6"),
        # Entries before one that cannot be parsed may be anything.
        ("6.6.6.6, unknown", "10.0.0.1"),
        ("6.6.6.6, nonsense, 10.5.5.5", "10.5.5.5"),
        ("6.6.6.6, 1.2.3, 10.5.5.5", "10.5.5.5"),
        ("6.6.6.6, 010.5.5.5", "10.0.0.1"),
        ("6.6.6.6, 10.5.5.5 10.5.5.5", "10.0.0.1"),
        ("6.6.6.6, fe80::1%eth0", "10.0.0.1"),
        ("6.6.6.6, [10.5.5.5]", "10.0.0.1"),
        ("", "10.0.0.1"),
        (",,,", "10.0.0.1"),
        ("6.6.6.6, " + "1" * 5000, "10.0.0.1"),
    ],
)
def test_the_last_address_that_is_not_trusted_is_the_client(value, expected):
    assert client("x-forwarded-for", x_forwarded_for=value) == expected


def test_the_port_of_the_client_is_known_or_there_is_none():
    assert applied("x-forwarded-for", x_forwarded_for="1.2.3.4:5678")["REMOTE_PORT"] == "5678"
    for value in ("1.2.3.4", "1.2.3.4:x", "1.2.3.4:99999", "1.2.3.4:"):
        assert "REMOTE_PORT" not in applied("x-forwarded-for", x_forwarded_for=value)


def test_the_scheme_is_that_of_the_last_proxy():
    for value, expected in [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http, https", "https"),
        ("https,http", "http"),
        ("wss", "https"),
        ("ws", "http"),
        ("", "http"),
        ("https, ", "http"),
    ]:
        assert applied("x-forwarded-proto", x_forwarded_proto=value)["wsgi.url_scheme"] == expected


@pytest.mark.parametrize(
    ("value", "name", "port"),
    [
        ("example.org", "example.org", "80"), ("example.org:8443", "example.org", "8443"), ("[::1]:80", "[::1]", "80"),
        ("evil.example, example.org", "example.org", "80"),
    ],
)  # fmt: skip
def test_the_host(value, name, port):
    environ = applied("x-forwarded-host", x_forwarded_host=value)
    assert environ["HTTP_HOST"] == value.rpartition(", ")[2]
    assert environ["SERVER_NAME"] == name and environ["SERVER_PORT"] == port


def test_the_port_of_the_server_is_that_of_the_scheme():
    environ = applied(ALL_OF_X, x_forwarded_host="example.org", x_forwarded_proto="https")
    assert environ["SERVER_PORT"] == "443"


@pytest.mark.parametrize(("value", "expected"), [("/app", "/app"), ("/a/b/", "/a/b"), ("/", ""), ("/x, /y", "/y")])
def test_the_prefix(value, expected):
    assert applied("x-forwarded-prefix", x_forwarded_prefix=value)["SCRIPT_NAME"] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proto", "javascript"), ("proto", "https:"), ("proto", "ht\xe4p"), ("host", "a b"), ("host", "a/b"),
        ("host", "a@b"), ("host", "a:b"), ("host", "a:99999"), ("host", "a:"), ("host", "[::1"), ("host", "a\xe4"),
        ("host", 'a"b'), ("prefix", "app"), ("prefix", "//evil.example"), ("prefix", "/a//b"), ("prefix", "/a b"),
        ("prefix", "/a?b"), ("prefix", "/\\evil.example"), ("prefix", "http://evil.example/"),
    ],
)  # fmt: skip
def test_what_a_proxy_cannot_mean_is_refused(name, value):
    with pytest.raises(RequestError):
        applied(ALL_OF_X, **{f"x_forwarded_{name}": value})


# ---------------------------------------------------------------- Forwarded


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=1.2.3.4", "1.2.3.4"),
        ("For=1.2.3.4;Proto=https", "1.2.3.4"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=6.6.6.6, for=1.2.3.4", "1.2.3.4"),
        ("for=6.6.6.6, for=1.2.3.4, for=10.5.5.5", "1.2.3.4"),
        ("for=6.6.6.6,,for=1.2.3.4 ; by=10.0.0.1 ,", "1.2.3.4"),
        ('for="1.2.3.4:80"', "1.2.3.4"),
        (r'for="1.2.\3.4"', "1.2.3.4"),
        ("for=6.6.6.6, for=unknown", "10.0.0.1"),
        ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
        ("for=6.6.6.6, by=10.5.5.5", "10.0.0.1"),
        ("for=6.6.6.6, for=_hidden, for=10.5.5.5", "10.5.5.5"),
        ("proto=https", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_forwarded(value, expected):
    assert client("forwarded", forwarded=value) == expected


def test_scheme_and_host_are_of_whom_the_client_asked():
    environ = applied(
        "forwarded",
        forwarded='for=6.6.6.6;proto=ftp;host=evil, for=1.2.3.4;proto=https;host="example.org:444",'
        "for=10.5.5.5;proto=http;host=inner",
    )
    assert environ["wsgi.url_scheme"] == "https" and environ["HTTP_HOST"] == "example.org:444"
    assert environ["REMOTE_ADDR"] == "1.2.3.4" and environ["SERVER_PORT"] == "444"


@pytest.mark.parametrize(
    "value",
    [
        'for="6.6.6.6, for=1.2.3.4', 'for="6.6.6.6, for="1.2.3.4"', "for=6.6.6.6;for=1.2.3.4", "for", "for=", "=x",
        "for==1.2.3.4", "for=1.2.3.4 proto=https", "for=1.2.3.4;proto", 'for="a\\', "for=a\xe4", "for=[::1]",
        "for=1.2.3.4;proto=gopher", 'for=1.2.3.4;host="a b"', 'for="a\x00b"', " " * 60000 + "x", "a" * 60000,
        "for=1.2.3.4" + " " * 60000 + "x", 'for="' + "\\" * 60001, ("for=1," * 9000) + '"',
    ],
)  # fmt: skip
def test_a_forwarded_that_cannot_be_read_is_refused(value):
    """A quote that the client leaves open would swallow what the proxy appends."""
    with pytest.raises(RequestError):
        applied("forwarded", forwarded=value)


@given(st.text(st.characters(max_codepoint=255), max_size=60))
@settings(deadline=None)
def test_what_a_client_sends_before_does_not_hide_what_the_proxy_appends(garbage):
    for headers, field, ours in (
        ("x-forwarded-for", "x_forwarded_for", "1.2.3.4"),
        ("forwarded", "forwarded", 'for="1.2.3.4";proto=https;host="example.org"'),
    ):
        try:
            environ = applied(headers, **{field: f"{garbage}, {ours}"})
        except RequestError:
            continue
        assert environ["REMOTE_ADDR"] == "1.2.3.4"
        if headers == "forwarded":
            assert environ["wsgi.url_scheme"] == "https" and environ["HTTP_HOST"] == "example.org"


# ---------------------------------------------------------------- which proxies are trusted

EVERYTHING = {
    "forwarded": "for=6.6.6.6;proto=https;host=evil", "x_forwarded_for": "6.6.6.6", "x_forwarded_proto": "https",
    "x_forwarded_host": "evil.example", "x_forwarded_prefix": "/evil", "x_forwarded_port": "1", "x_forwarded_ssl": "on",
}  # fmt: skip


@pytest.mark.parametrize("peer", [("1.2.3.4", 1), ("11.0.0.1", 1), ("fe80::1%eth0", 1, 0, 2), "", None, b"\0name"])
@pytest.mark.parametrize("headers", [ALL_OF_X, "forwarded"])
def test_nothing_is_believed_of_others_and_the_application_does_not_see_it(headers, peer):
    before = applied(headers, peer)
    assert applied(headers, peer, **EVERYTHING) == before


@pytest.mark.parametrize("host", ["10.255.0.1", "192.0.2.7", "::ffff:10.1.1.1", "fd12::1"])
def test_addresses_and_networks(host):
    assert client("x-forwarded-for", (host, 1), x_forwarded_for="1.2.3.4") == "1.2.3.4"


def test_whoever_connects_to_a_unix_socket():
    for trusted, expected in (("unix, 10.0.0.0/8", "1.2.3.4"), ("10.0.0.0/8", "")):
        environ = applied("x-forwarded-for", "", trusted=trusted, x_forwarded_for="1.2.3.4")
        assert environ["REMOTE_ADDR"] == expected


def test_only_what_was_asked_for_counts():
    environ = applied("x-forwarded-proto", **EVERYTHING)
    assert environ["REMOTE_ADDR"] == "10.0.0.1" and environ["HTTP_HOST"] == "h:80" and environ["SCRIPT_NAME"] == ""
    assert environ["wsgi.url_scheme"] == "https"
    environ = applied("forwarded", x_forwarded_for="6.6.6.6", x_forwarded_proto="https")
    assert environ["REMOTE_ADDR"] == "10.0.0.1" and environ["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], "forwarded"), "no proxy is trusted"),
        ((["10.0.0.0/8"],), "name the headers to trust"),
        ((["*"], "forwarded"), "would let each client choose its own address"),
        ((["10.0.0.1/8"], "forwarded"), "host bits set"),
        ((["proxy.example"], "forwarded"), "must be addresses, networks or 'unix'"),
        ((["10.0.0.0/8"], "x-real-ip"), "not 'x-real-ip'"),
        ((["10.0.0.0/8"], ["forwarded", "x-forwarded-for"]), "but not both"),
    ],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Proxies(*arguments)
    with pytest.raises(TypeError):
        Proxies([5], "forwarded")


def test_what_the_server_and_its_log_make_of_it(site, http, tmp_path):
    path = tmp_path / "log"
    log = AccessLog(path)

    server = site(environ_as_json, log=log, proxies=Proxies("127.0.0.0/8", ALL_OF_X))
    client = http(server)
    seen = json.loads(client.get("/p", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 1.2.3.4").body)
    assert seen["REMOTE_ADDR"] == "1.2.3.4"
    assert json.loads(client.get("/p").body)["REMOTE_ADDR"] == "127.0.0.1"  # a request later, nothing is left
    assert client.get("/p", "X-Forwarded-Proto: gopher").status == 400
    assert client.is_closed()
    client.close()  # the server waits for this
    server.stop(5)
    assert [line.split()[0] for line in path.read_text().splitlines()] == ["1.2.3.4", "127.0.0.1", "127.0.0.1"]


def test_proxies_must_be_proxies(site):
    with pytest.raises(TypeError, match="proxies must be a Proxies"):
        site(None, proxies=["10.0.0.0/8"])


# ---------------------------------------------------------------- the PROXY protocol

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 80\r\n"
GET_OF_NOBODY = b"GET / HTTP/1.1\r\n\r\n"


def version_2(command=0x21, family=0x11, block=None, signature=SIGNATURE, size=None):
    if block is None:
        block = BLOCK
    return signature + struct.pack("!BBH", command, family, len(block) if size is None else size) + block


def field(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def tls_fields(client=1, verify=0, version=b"TLSv1.3", name=None, more=b""):
    parts = field(0x21, version) + (b"" if name is None else field(0x22, name)) + field(0x23, b"TLS_AES_128_GCM_SHA256")
    return field(0x20, struct.pack("!BI", client, verify) + parts) + more


BLOCK = socket.inet_aton("1.2.3.4") + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 5678, 80)


def block_6(address):
    return socket.inet_pton(socket.AF_INET6, address) * 2 + struct.pack("!HH", 5678, 80)


GOOD = {
    b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 80\r\n": ("1.2.3.4", 5678),
    b"PROXY TCP6 2001:db8::1 ::1 5678 80\r\n": ("2001:db8::1", 5678),
    b"PROXY TCP6 ::ffff:1.2.3.4 ::1 5678 80\r\n": ("1.2.3.4", 5678),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", 65535),
    b"PROXY UNKNOWN\r\n": PEER,
    b"PROXY UNKNOWN whatever follows 1 2 3\r\n": PEER,
    version_2(): ("1.2.3.4", 5678),
    version_2(family=0x21, block=block_6("2001:db8::1")): ("2001:db8::1", 5678),
    version_2(family=0x21, block=block_6("::ffff:1.2.3.4")): ("1.2.3.4", 5678),
    version_2(block=socket.inet_aton("1.2.3.4") * 2 + b"\x16\x2e\0\x50" + b"\x04\0\x01x"): ("1.2.3.4", 5678),
    version_2(command=0x20, family=0, block=b""): PEER,
    version_2(command=0x20, block=b"x" * 50): PEER,
    version_2(family=0, block=b"something"): PEER,
    version_2(family=0x31, block=b"/a".ljust(216, b"\0")): "",
    version_2(block=BLOCK + tls_fields(client=7, name=b"alice", more=field(2, b"example.org"))): ("1.2.3.4", 5678),
}

BAD = [
    b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00",
    b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 80\n", b"PROXY TCP4 1.2.3.4 10.0.0.1 5678\r\n",
    b"PROXY TCP4  1.2.3.4 10.0.0.1 5678 80\r\n", b"PROXY  UNKNOWN\r\n",
    b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 80 \r\n", b"PROXY TCP4 01.2.3.4 10.0.0.1 5678 80\r\n",
    b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", b"PROXY TCP4 ::1 ::1 5678 80\r\n",
    b"PROXY TCP6 1.2.3.4 1.2.3.4 5678 80\r\n", b"PROXY TCP4 1.2.3.4 10.0.0.1 65536 80\r\n",
    b"PROXY TCP4 1.2.3.4 10.0.0.1 05678 80\r\n", b"PROXY TCP4 1.2.3.4 10.0.0.1 -1 80\r\n",
    b"PROXY TCP4 1.2.3.4 x 1 80\r\n", b"PROXY " + b"x" * 200 + b"\r\n", b"PROXY UNKNOWN " + b"x" * 200,
    b"proxy tcp4 1.2.3.4 10.0.0.1 5678 80\r\n", b"PROXY TCP4 1.2.3.4 10.0.0.1 5678 80\r\r\n",
    b"PROXY UNKNOWN\0\r\n", b"PROXY UNKNOWN x\ry\r\n", b"PROXY", b"", version_2(command=0x11),
    version_2(command=0x22), version_2(family=0x12), version_2(family=0x41), version_2(block=b"x" * 11),
    version_2(family=0x21, block=b"x" * 35), version_2(family=0x31, block=b"x" * 215), version_2(size=65535),
    version_2(size=13), version_2(block=BLOCK + b"x"), version_2(block=BLOCK + tls_fields()[:-1]),
    version_2(block=BLOCK + field(0x20, b"\1")), version_2(block=BLOCK + field(0x20, b"\1\0\0\0\0\x21\0\7x")),
    version_2(block=BLOCK + tls_fields(client=7, name=b"a\r\nb")),
    version_2(signature=SIGNATURE[:-1] + b"x"), version_2()[:15], SIGNATURE,
]  # fmt: skip


def read_header(data, pieces=None, timeout=20, **options):
    """`(address, the remaining data)` of a connection on which this data arrives."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def send():
            with contextlib.suppress(OSError):
                for piece in pieces or [data]:
                    theirs.sendall(piece)
                    gevlite.sleep(0)
                theirs.shutdown(socket.SHUT_WR)

        sending = gevlite.spawn(send)
        try:
            address = read_proxy_header(ours, PEER, timeout, **options)
            ours.settimeout(None)
            return address, address.unread + read_all(ours)
        finally:
            sending.kill()


@pytest.mark.parametrize("data", GOOD)
@pytest.mark.parametrize("cut", [None, 1, 5, 14])
def test_a_header_is_taken_and_nothing_behind_it(data, cut):
    behind = b"PROXY TCP4 6.6.6.6 6.6.6.6 6 6\r\nGET /"
    whole = data + behind
    pieces = None if cut is None else [whole[at : at + cut] for at in range(0, len(whole), cut)]
    assert read_header(whole, pieces) == (GOOD[data], behind)


@pytest.mark.parametrize("data", BAD, ids=lambda data: repr(data[:30]))
def test_what_is_no_header(data):
    with pytest.raises(ProxyError):
        read_header(data)


@pytest.mark.parametrize("cut", [None, 1, 5, 14])
@pytest.mark.parametrize(
    "data",
    [GET_OF_NOBODY, b"POST /" + b"x" * 50, b"PROPFIND / HTTP/1.1\r\n", b"\r\n" + GET_OF_NOBODY, b"PROXY", b"P", b""],
)
def test_without_a_header_that_need_not_be_the_connection_is_the_clients(data, cut):
    pieces = None if cut is None else [data[at : at + cut] for at in range(0, len(data), cut)]
    assert read_header(data, pieces, optional=True) == (PEER, data)


def test_only_the_versions_that_are_asked_for():
    for version, header, other in ((1, LINE, version_2()), (2, version_2(), LINE)):
        assert read_header(header + b"x", versions=(version,)) == (("1.2.3.4", 5678), b"x")
        assert read_header(header + b"x", versions=(version,), optional=True) == (("1.2.3.4", 5678), b"x")
        assert read_header(other + b"x", versions=(version,), optional=True) == (PEER, other + b"x")
        with pytest.raises(ProxyError):
            read_header(other + b"x", versions=(version,))


@pytest.mark.parametrize("data", [b"", b"P", b"PROXY", SIGNATURE[:5]])
def test_who_need_not_send_a_header_and_takes_long_is_no_proxy(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        address = read_proxy_header(ours, PEER, 0.05, optional=True)
        assert (address, address.unread) == (PEER, data)


def told(*fields, **header):
    return read_header(version_2(block=BLOCK + b"".join(fields), **header))[0].environ


def test_where_the_client_has_connected_to():
    expected = {"PROXY_PROTOCOL": "TCP4", "PROXY_ADDR": "10.0.0.1", "PROXY_PORT": "80"}
    assert told() == read_header(LINE)[0].environ == expected
    assert read_header(b"PROXY TCP6 2001:db8::1 ::1 5678 80\r\n")[0].environ["PROXY_ADDR"] == "::1"
    for header in (b"PROXY UNKNOWN\r\n", version_2(command=0x20), version_2(family=0)):
        assert read_header(header)[0].environ == {}


def test_what_a_proxy_tells_of_the_clients_tls():
    environ = told(field(4, b"padding"), tls_fields(), field(2, b"example.org"))
    assert environ["wsgi.url_scheme"] == "https" and environ["HTTPS"] == "on" and environ["SSL_PROTOCOL"] == "TLSv1.3"
    assert environ["SSL_CIPHER"] == "TLS_AES_128_GCM_SHA256" and environ["SSL_TLS_SNI"] == "example.org"
    assert environ["SSL_CLIENT_VERIFY"] == "NONE" and "SSL_CLIENT_S_DN_CN" not in environ
    environ = told(tls_fields(client=7, name="\u00fc".encode()))
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS" and environ["SSL_CLIENT_S_DN_CN"] == "\u00c3\u00bc"
    assert told(tls_fields(client=5, name=b"resumed"))["SSL_CLIENT_S_DN_CN"] == "resumed"
    # An unverified name is not passed on, nor one without a certificate.
    environ = told(tls_fields(client=7, verify=18, name=b"mallory"))
    assert environ["SSL_CLIENT_VERIFY"] == "FAILED:18" and "mallory" not in environ.values()
    environ = told(tls_fields(client=1, name=b"mallory"))
    assert environ["SSL_CLIENT_VERIFY"] == "NONE" and "mallory" not in environ.values()
    assert "HTTPS" not in told(tls_fields(client=0, name=b"mallory"))
    # Of two the first counts: a proxy writes it before anything that may come from elsewhere.
    assert (
        told(tls_fields(client=7, name=b"alice"), tls_fields(client=7, name=b"mallory"))["SSL_CLIENT_S_DN_CN"]
        == "alice"
    )


@pytest.mark.parametrize("data", [b"", b"PROX", b"PROXY TCP4 1.2.3.4 ", SIGNATURE, version_2()[:20]])
def test_a_header_has_its_time(data):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        with pytest.raises(TimeoutError):
            read_proxy_header(ours, PEER, 0.05)


def test_a_header_byte_by_byte_has_no_more_time():
    ours, theirs = socket.socketpair()

    def drip():
        with contextlib.suppress(OSError):
            for byte in b"PROXY UNKNOWN " + b"x" * 80:
                theirs.sendall(bytes([byte]))
                gevlite.sleep(0.02)

    with ours, theirs:
        dripping = gevlite.spawn(drip)
        with pytest.raises(TimeoutError):
            read_proxy_header(ours, PEER, 0.3)
        dripping.kill()


@pytest.mark.parametrize("part", range(4))
def test_random_headers_do_no_harm(part):
    """Mutated valid headers give a valid address or an expected error, and never a hang."""
    chance = random.Random(f"{os.environ.get('GEVLITE_SEED')} {part}")
    for _ in range(int(os.environ.get("GEVLITE_FUZZ_ROUNDS", "500"))):
        data = bytearray(chance.choice(list(GOOD)) + b"GET / HTTP/1.1\r\n")
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(data))
            change = chance.randrange(4)
            if change == 0:
                data[at] = chance.randrange(256)
            elif change == 1:
                del data[at : at + chance.randrange(1, 10)]
            elif change == 2:
                data[at:at] = bytes(chance.choices(b"\r\n\0 PROXY.:0123456789", k=chance.randrange(1, 10)))
            else:
                data[at:at] = data[:at]
            data = data or bytearray(b"x")
        with contextlib.suppress(ProxyError):
            assert data.endswith(read_header(bytes(data), optional=True)[1])
        try:
            address, left = read_header(bytes(data))
        except ProxyError:
            continue
        assert data.endswith(left)
        assert (
            address in (PEER, "")
            or isinstance(address[1], int)
            and socket.getaddrinfo(*address, flags=socket.AI_NUMERICHOST)
        )


def who(environ, start_response):
    start_response("200 OK", [])
    return [f"{environ['REMOTE_ADDR']} {environ.get('REMOTE_PORT')} {environ['wsgi.url_scheme']}".encode()]


def environ_as_json(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({key: str(value) for key, value in environ.items()}).encode()]


GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def test_a_trusted_proxy_tells_the_client(site, http):
    server = site(who, proxies=Proxies("127.0.0.1", protocol=True))
    assert http(server).ask(LINE + GET, "GET").body == b"1.2.3.4 5678 http"
    assert http(server).ask(version_2() + GET, "GET").body == b"1.2.3.4 5678 http"
    local = http(server).ask(version_2(command=0x20) + GET, "GET").body
    assert local.startswith(b"127.0.0.1 ")


def test_what_a_client_behind_the_proxy_says_is_not_believed(site, http):
    proxies = Proxies("127.0.0.1, 10.0.0.0/8", "x-forwarded-for", protocol=True)
    server = site(who, proxies=proxies)
    request = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
    assert http(server).ask(LINE + request, "GET").body.startswith(b"1.2.3.4 ")
    # But another proxy after it is.
    line = LINE.replace(b"1.2.3.4", b"10.9.9.9")
    assert http(server).ask(line + request, "GET").body.startswith(b"6.6.6.6 ")


def test_a_client_that_speaks_tls_with_the_proxy(site, http):
    server = site(environ_as_json, proxies=Proxies("127.0.0.1", protocol=True))
    client = http(server)
    client.send(version_2(block=BLOCK + tls_fields(client=7, name=b"alice")))
    for _ in range(2):
        environ = json.loads(client.get().body)
        assert environ["wsgi.url_scheme"] == "https" and environ["SSL_CLIENT_S_DN_CN"] == "alice"
        assert environ["PROXY_PORT"] == "80" and environ["REMOTE_ADDR"] == "1.2.3.4"
    environ = json.loads(http(server).ask(LINE + GET, "GET").body)
    assert environ["wsgi.url_scheme"] == "http" and not [key for key in environ if key.startswith("SSL")]


def test_of_others_the_header_is_no_request(site, http):
    server = site(who, proxies=Proxies("10.0.0.0/8", protocol=True))
    assert http(server).ask(LINE + GET, "GET").status == 400
    assert http(server).ask(GET).body.startswith(b"127.0.0.1 ")


def test_without_being_asked_for_the_header_is_no_request(site, http):
    assert http(site(who)).ask(LINE + GET, "GET").status == 400
    assert http(site(who, proxies=Proxies("127.0.0.1", "forwarded"))).ask(LINE + GET, "GET").status == 400


def test_a_trusted_proxy_without_a_header_is_closed_and_logged_once(site, http):
    class Log:
        text = ""

        def write(self, text):
            self.text += text

    log = Log()
    server = site(who, error_log=log, proxies=Proxies("127.0.0.1", protocol=True))
    for _ in range(5):
        client = http(server)
        client.send(GET)
        assert client.is_closed()
    assert log.text == "gevlite: 127.0.0.1: no header of the PROXY protocol (connections closed so far: 1)\n"


def test_before_tls(site, dial):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = site(who, ssl_context=context, proxies=Proxies("127.0.0.1", protocol=True))
    from gevlite import ssl as green_ssl

    client_context = green_ssl.create_default_context()
    authority.configure_trust(client_context)
    sock = dial(server)
    sock.sendall(LINE)
    with client_context.wrap_socket(sock, server_hostname="localhost") as secure:
        secure.sendall(GET)
        assert read_all(secure).endswith(b"\r\n\r\n1.2.3.4 5678 https")


def test_on_a_unix_socket(site, http, tmp_path):
    server = site(who, f"unix:{tmp_path}/socket", proxies=Proxies("unix", "x-forwarded-for", protocol=True))
    assert http(server).ask(LINE + GET, "GET").body.startswith(b"1.2.3.4 ")


def test_gevlite_serve_behind_nginx(serving, nginx):
    server = serving(
        "-w",
        "1",
        "--trusted-proxies",
        "127.0.0.1",
        "--forwarded-headers",
        "x-forwarded-for,x-forwarded-proto,x-forwarded-host",
    )
    proxy = nginx(f"127.0.0.1:{server.port}")
    seen = server.open(proxy.connect()).get("/x", X_Forwarded_For="6.6.6.6").json
    assert seen["REMOTE_ADDR"] == "6.6.6.6"  # nginx's own peer is 127.0.0.1 here, which is trusted
    assert seen["wsgi.url_scheme"] == "https" and seen["HTTP_HOST"] == "example.org" and seen["SERVER_PORT"] == "443"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--proxy-protocol"], "need trusted_proxies"),
        (["--trusted-proxies", "10.0.0.0/8"], "name the headers to trust"),
        (["--trusted-proxies", "*", "--proxy-protocol"], "would let each client choose"),
    ],
)
def test_gevlite_serve_says_what_is_wrong(serving, options, message):
    server = serving(*options, boots=False)
    assert server.wait() == 2
    assert message in server.log() and len(server.log().splitlines()) == 1
