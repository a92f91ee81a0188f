"""UDP and UNIX datagrams and packets, beside the original."""

import os
import socket as std_socket
import time

import pytest
from both_ends import LOCALHOST, udp

# ---------------------------------------------------------------- datagrams


def test_udp(lib, sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    receiver = lib.spawn(lambda: [b.recvfrom(100), b.recvfrom(100), b.recvfrom(100)])
    assert a.sendto(b"one", b.getsockname()) == 3
    assert a.sendto(b"", 0, b.getsockname()) == 0
    assert a.sendto(b"three", 0, b.getsockname()) == 5
    me = a.getsockname()
    assert receiver.get() == [(b"one", me), (b"", me), (b"three", me)]


def test_udp_keeps_the_rest_of_the_queue(sockets, opened):
    """A datagram shorter than the buffer says nothing about those behind it."""
    a, b = udp(sockets, opened), udp(sockets, opened)
    for i in range(20):
        a.sendto(b"%d" % i, b.getsockname())
    assert [b.recv(100) for _ in range(20)] == [b"%d" % i for i in range(20)]


def test_udp_into_a_buffer(sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    buffer = bytearray(4)
    a.sendto(b"abcdef", b.getsockname())
    assert b.recvfrom_into(buffer) == (4, a.getsockname())      # the rest of a datagram is lost
    assert buffer == b"abcd"
    a.sendto(b"xy", b.getsockname())
    assert b.recvfrom_into(buffer, 1) == (1, a.getsockname())
    a.sendto(b"z", b.getsockname())
    assert b.recv_into(buffer) == 1


def test_connected_udp(lib, sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    a.connect(b.getsockname())
    assert a.getpeername() == b.getsockname()
    receiver = lib.spawn(b.recv, 10)
    a.send(b"hello")
    assert receiver.get() == b"hello"
    b.sendto(b"answer", a.getsockname())
    assert a.recv(10) == b"answer"


def test_udp_to_nobody_is_refused(sockets, opened):
    """The ICMP answer arrives as an error of the next call."""
    with sockets.socket(std_socket.AF_INET, std_socket.SOCK_DGRAM) as gone:
        gone.bind((LOCALHOST, 0))
        address = gone.getsockname()
    a = udp(sockets, opened)
    a.connect(address)
    a.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        a.recv(1)


@pytest.mark.parametrize(
    "address",
    [("127.0.0.1",), "127.0.0.1", 5, None, ("127.0.0.1", "80"), ("127.0.0.1", 80, 1), (None, 80), (5, 80)],
)
def test_udp_bad_address(sockets, opened, address):
    a = udp(sockets, opened)
    with pytest.raises(TypeError):
        a.sendto(b"x", address)


@pytest.mark.parametrize("port", [-1, 65536, 1 << 70])
def test_udp_bad_port(sockets, opened, port):
    a = udp(sockets, opened)
    with pytest.raises(OverflowError):
        a.sendto(b"x", (LOCALHOST, port))


def test_udp_to_a_name(sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    a.sendto(b"by name", ("localhost", b.getsockname()[1]))
    assert b.recv(100) == b"by name"


# ---------------------------------------------------------------- UNIX and IPv6

@pytest.fixture(params=["path", "bytes path", "abstract"])
def unix_address(request, tmp_path):
    if request.param == "path":
        return str(tmp_path / "socket")
    if request.param == "bytes path":
        return os.fsencode(tmp_path / "socket")
    return b"\0gevlite test %d %d" % (os.getpid(), time.monotonic_ns())


def test_unix_stream(lib, sockets, opened, unix_address):
    listener = opened.enter_context(sockets.socket(std_socket.AF_UNIX))
    listener.bind(unix_address)
    listener.listen()
    accepted = lib.spawn(listener.accept)
    client = opened.enter_context(sockets.socket(std_socket.AF_UNIX))
    client.connect(unix_address)
    server, address = accepted.get()
    opened.enter_context(server)
    assert address == ""
    name = unix_address if unix_address[:1] == b"\0" else os.fsdecode(unix_address)
    assert client.getpeername() == name
    assert server.getsockname() == name
    client.sendall(b"hi")
    assert server.recv(10) == b"hi"


def test_unix_datagrams(lib, sockets, opened, unix_address, tmp_path):
    server = opened.enter_context(sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    server.bind(unix_address)
    client = opened.enter_context(sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    client.bind(str(tmp_path / "client"))
    receiver = lib.spawn(server.recvfrom, 100)
    assert client.sendto(b"hello", unix_address) == 5
    assert receiver.get() == (b"hello", str(tmp_path / "client"))
    server.sendto(b"answer", str(tmp_path / "client"))
    name = unix_address if unix_address[:1] == b"\0" else os.fsdecode(unix_address)
    assert client.recvfrom(100) == (b"answer", name)


def test_unix_nameless_sender(sockets, opened):
    a, b = (opened.enter_context(end) for end in sockets.socketpair(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    a.send(b"x")
    data, address = b.recvfrom(10)
    assert data == b"x"
    assert not address


def test_unix_full_backlog(lib, sockets, opened, tmp_path):
    """Connecting waits for room in the backlog, and times out."""
    path = str(tmp_path / "socket")
    listener = opened.enter_context(sockets.socket(std_socket.AF_UNIX))
    listener.bind(path)
    listener.listen(0)

    def connect(timeout=None):
        sock = opened.enter_context(sockets.socket(std_socket.AF_UNIX))
        sock.settimeout(timeout)
        sock.connect(path)

    connect()
    with pytest.raises((TimeoutError, BlockingIOError)):
        while True:
            connect(0.05)
    late = lib.spawn(connect)
    first, _address = listener.accept()
    opened.enter_context(first)
    late.get()


@pytest.mark.skipif(not std_socket.has_ipv6, reason="no IPv6 in this Python")
def test_ipv6(lib, sockets, opened):
    try:
        listener = opened.enter_context(sockets.create_server(("::1", 0), family=std_socket.AF_INET6))
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    accepted = lib.spawn(listener.accept)
    client = opened.enter_context(sockets.create_connection(listener.getsockname()[:2]))
    server, address = accepted.get()
    opened.enter_context(server)
    assert address == client.getsockname()
    assert len(address) == 4
    a = udp(sockets, opened, std_socket.AF_INET6, "::1")
    b = udp(sockets, opened, std_socket.AF_INET6, "::1")
    a.sendto(b"six", b.getsockname())
    assert b.recvfrom(10) == (b"six", a.getsockname())
    a.sendto(b"six", b.getsockname()[:2])
    assert b.recvfrom(10) == (b"six", a.getsockname())
