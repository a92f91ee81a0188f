"""Each resolver gives the same as the original functions: results, errors, their numbers and texts.

Only for queries that need no name server: numeric addresses, localhost, services, arguments that make no sense.
"""

import _socket
import errno
import socket as original

import pytest

from gevlite import socket

STREAM, DGRAM, RAW = original.SOCK_STREAM, original.SOCK_DGRAM, original.SOCK_RAW
INET, INET6 = original.AF_INET, original.AF_INET6
NUMERIC = original.AI_NUMERICHOST


def outcome(function, args):
    try:
        return function(*args)
    except (OSError, TypeError, ValueError, OverflowError) as exc:
        return type(exc), exc.args


GETADDRINFO = [
    ("127.0.0.1", 80),
    ("127.0.0.1", 80, INET),
    ("127.0.0.1", 80, INET6),
    ("127.0.0.1", 80, 0, STREAM),
    ("127.0.0.1", 80, 0, 0, original.IPPROTO_UDP),
    ("127.0.0.1", None, 0, DGRAM),
    (b"127.0.0.1", b"80", 0, STREAM),
    ("127.1", 80, 0, STREAM),
    ("0x7f.1", 80, 0, STREAM),
    ("1", 80, 0, STREAM),
    ("::1", 80, 0, STREAM),
    ("::1", 80, INET),
    ("::ffff:127.0.0.1", 80, 0, STREAM),
    ("fe80::1%1", 80, 0, STREAM),
    ("fe80::1%lo", 80, 0, STREAM),
    ("fe80::1%nosuchdevice", 80, 0, STREAM, 0, NUMERIC),
    (None, 80, 0, STREAM),
    (None, 80, 0, STREAM, 0, original.AI_PASSIVE),
    (None, 80, INET6, DGRAM, 0, original.AI_PASSIVE),
    (None, None),
    (None, "http", 0, STREAM),
    ("", 80),
    ("localhost", 80, INET),
    ("localhost", 80, INET, STREAM, 0, original.AI_CANONNAME),
    ("LOCALHOST", "http", INET, STREAM),
    (b"localhost", 80, INET, STREAM),
    ("127.0.0.1", 80, 0, STREAM, 0, original.AI_CANONNAME),
    ("127.0.0.1", "http"),
    ("127.0.0.1", "domain"),
    ("127.0.0.1", "http", 0, DGRAM),
    ("127.0.0.1", "http", 0, RAW),
    ("127.0.0.1", "http", 0, STREAM, 0, original.AI_NUMERICSERV),
    ("127.0.0.1", "80", 0, STREAM, 0, original.AI_NUMERICSERV),
    ("127.0.0.1", "no such service"),
    ("127.0.0.1", "", 0, STREAM),
    ("127.0.0.1", -1),
    ("127.0.0.1", 70000, 0, STREAM),
    ("127.0.0.1", 2**70),
    ("127.0.0.1", 1.5),
    ("127.0.0.1", 80, 99),
    ("127.0.0.1", 80, 0, 99),
    ("127.0.0.1", 80, 0, STREAM, 17),
    ("127.0.0.1", 80, 0, 0, 0, 0x40000000),
    ("127.0.0.1", 80, "x"),
    ("name.test", 80, 0, 0, 0, NUMERIC),
    ("name.test", 80, 99, 0, 0, NUMERIC),
    ("name.test", "no such service", 0, 0, 0, NUMERIC),
    ("a..b", 80),
    ("x" * 64 + ".test", 80),
    ("\udcff", 80),
    (5, 80),
    ("127.0.0.1",),
]


@pytest.mark.parametrize("args", GETADDRINFO, ids=repr)
def test_getaddrinfo(args, each_resolver):
    assert outcome(socket.getaddrinfo, args) == outcome(original.getaddrinfo, args)


HOSTS = [
    "127.0.0.1", b"127.0.0.1", bytearray(b"127.0.0.1"), "127.1", "0.0.0.0", "localhost", b"localhost", 5, None, "a..b",
]  # fmt: skip


@pytest.mark.parametrize("host", [*HOSTS, "", "<broadcast>", "::1", "192.0.2.1"], ids=repr)
def test_gethostbyname(host, each_resolver):
    assert outcome(socket.gethostbyname, (host,)) == outcome(original.gethostbyname, (host,))


@pytest.mark.parametrize("host", [*HOSTS, "::1", "192.0.2.1"], ids=repr)
def test_gethostbyname_ex(host, each_resolver):
    assert outcome(socket.gethostbyname_ex, (host,)) == outcome(original.gethostbyname_ex, (host,))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "localhost", b"localhost", "", 5, None, "a..b"], ids=repr)
def test_gethostbyaddr(host, each_resolver):
    assert outcome(socket.gethostbyaddr, (host,)) == outcome(original.gethostbyaddr, (host,))


GETNAMEINFO = [
    (("127.0.0.1", 80), 0),
    (("127.0.0.1", 80), original.NI_NUMERICHOST),
    (("127.0.0.1", 80), original.NI_NUMERICHOST | original.NI_NUMERICSERV),
    (("127.0.0.1", 80), original.NI_NUMERICHOST | original.NI_NAMEREQD),
    (("127.0.0.1", 80), original.NI_NAMEREQD),
    (("127.0.0.1", 53), original.NI_DGRAM),
    (("127.0.0.1", 54321), 0),
    (("127.0.0.1", 70000), 0),
    (("::1", 80, 0, 0), original.NI_NUMERICHOST),
    (("fe80::1", 80, 0, 1), original.NI_NUMERICHOST),
    (("127.0.0.1", 80, 0, 0), 0),
    (("127.0.0.1",), 0),
    (("127.0.0.1", "http"), 0),
    (("127.0.0.1", 80), -1),
    (("localhost", 80), 0),
    ((None, 80), 0),
    ("127.0.0.1", 0),
    (("127.0.0.1", 80), "x"),
]


@pytest.mark.parametrize("args", GETNAMEINFO, ids=repr)
def test_getnameinfo(args, each_resolver):
    assert outcome(socket.getnameinfo, args) == outcome(original.getnameinfo, args)


@pytest.mark.parametrize("name", ["", "localhost", "127.0.0.1", "0.0.0.0"])
def test_getfqdn(name, each_resolver, monkeypatch):
    monkeypatch.setattr(_socket, "gethostname", lambda: "localhost")
    monkeypatch.setattr(original, "gethostname", lambda: "localhost")
    assert socket.getfqdn(name) == original.getfqdn(name)


def test_names_are_looked_up_at_bind(each_resolver):
    with socket.socket(INET) as sock:
        sock.bind(("localhost", 0))
        assert sock.getsockname()[0] == "127.0.0.1"
        with pytest.raises(OSError) as caught:
            sock.bind(("localhost", 0))
        assert caught.value.errno == errno.EINVAL


def test_connect_to_localhost(each_resolver):
    with socket.create_server(("localhost", 0)) as listener:
        with socket.create_connection(("localhost", listener.getsockname()[1]), timeout=5) as client:
            assert client.getpeername() == listener.getsockname()
