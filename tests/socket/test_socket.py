"""gevlite.socket keeps the promises of the original, and blocks only the greenlet that calls it.

Tests that take `lib` run twice with the same assertions: against the original in threads, then against the twin.
"""

import array
import errno
import gc
import io
import os
import socket as std_socket
import struct
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

import gevlite
from gevlite import socket

LOCALHOST = "127.0.0.1"
BIG = bytes(range(256)) * 4096 * 8      # 8 MiB: more than any socket buffer


@pytest.fixture
def sockets(lib):
    """The module under test."""
    return lib.module("socket")


@pytest.fixture
def opened():
    """An ExitStack that closes what a test opens."""
    with ExitStack() as stack:
        yield stack


def tcp_pair(sockets, opened):
    """Two connected TCP sockets: the one that connected, the one that was accepted."""
    with sockets.create_server((LOCALHOST, 0)) as listener:
        client = opened.enter_context(sockets.create_connection(listener.getsockname()))
        server = opened.enter_context(listener.accept()[0])
    return client, server


def pair(sockets, opened):
    """Two connected UNIX sockets."""
    return tuple(opened.enter_context(end) for end in sockets.socketpair())


@pytest.fixture(params=["tcp", "unix"])
def ends(request, sockets, opened):
    """Two connected stream sockets, of each family."""
    return tcp_pair(sockets, opened) if request.param == "tcp" else pair(sockets, opened)


@pytest.fixture
def ours(opened):
    """Two connected TCP sockets of gevlite."""
    return tcp_pair(socket, opened)


def recv_exactly(sock, n):
    parts = []
    while n:
        data = sock.recv(min(n, 1 << 16))
        if not data:
            raise EOFError(f"{n} bytes missing")
        parts.append(data)
        n -= len(data)
    return b"".join(parts)


def recv_all(sock):
    parts = []
    while data := sock.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def echo(sock):
    while data := sock.recv(1000):
        sock.sendall(data)
    sock.shutdown(std_socket.SHUT_WR)


def waiting_for(n=1):
    """A condition: that many greenlets wait for a descriptor."""
    hub = gevlite.get_hub()
    return lambda: hub.stats()["fd_waiters"] == n


def fill(sock):
    """Send until the buffers are full; how many bytes that took. The socket is left with a time-out."""
    sent = 0
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        while True:
            sent += sock.send(b"x" * 65536)
    return sent


@contextmanager
def refused(code, *more):
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno in (code, *more)


# ---------------------------------------------------------------- streams

def test_echo(lib, ends):
    a, b = ends
    peer = lib.spawn(echo, b)
    for message in (b"one", b"two" * 100, b"\0"):
        assert a.sendall(message) is None
        assert recv_exactly(a, len(message)) == message
    a.shutdown(std_socket.SHUT_WR)
    assert a.recv(1) == b""
    peer.get()


def test_recv_waits_for_what_comes_later(lib, ends):
    """A reader that came first is woken by the data, and gets all of it in order."""
    a, b = ends
    reader = lib.spawn(recv_exactly, a, 30)
    for i in range(10):
        b.send(b"%03d" % i)
    assert reader.get() == b"".join(b"%03d" % i for i in range(10))


def test_recv_into(ends):
    a, b = ends
    buffer = bytearray(10)
    a.sendall(b"abcdef")
    assert b.recv_into(buffer, 2) == 2
    assert b.recv_into(memoryview(buffer)[2:]) == 4
    assert buffer == b"abcdef\0\0\0\0"
    words = array.array("i", [0])
    a.sendall(struct.pack("i", 77))
    assert b.recv_into(words) == 4
    assert words[0] == 77


def test_recvfrom_on_a_connected_stream_has_no_address(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    a.sendall(b"abc")
    assert b.recvfrom(2) == (b"ab", None)
    buffer = bytearray(4)
    assert b.recvfrom_into(buffer) == (1, None)


def test_recv_of_nothing_does_not_wait(ends):
    a, b = ends
    a.sendall(b"x")
    assert b.recv(0) == b""
    assert b.recv(1) == b"x"


@pytest.mark.parametrize("data", [b"bytes", bytearray(b"array"), memoryview(b"view"), array.array("i", [1, 2, 3])])
def test_send_takes_any_buffer(ends, data):
    a, b = ends
    n = memoryview(data).nbytes
    assert a.send(data) == n
    a.sendall(data)
    assert recv_exactly(b, 2 * n) == bytes(data) * 2


def test_send_refuses_what_is_no_buffer(ends):
    a, _b = ends
    for bad in ("text", 5, None):
        with pytest.raises(TypeError):
            a.send(bad)
        with pytest.raises(TypeError):
            a.sendall(bad)
    with pytest.raises(BufferError):
        a.send(memoryview(b"abcdef")[::2])


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("recv", (-1,)),
        ("recvfrom", (-1,)),
        ("recv_into", (bytearray(4), -1)),
        ("recv_into", (bytearray(4), 5)),
        ("recvfrom_into", (bytearray(4), -1)),
        ("recvfrom_into", (bytearray(4), 5)),
        ("recvmsg", (-1,)),
    ],
)
def test_a_bad_size_is_a_value_error(ends, method, args):
    with pytest.raises(ValueError):
        getattr(ends[0], method)(*args)


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("recv", ()),
        ("recv", ("1",)),
        ("recv_into", (b"read-only",)),
        ("recv_into", ()),
        ("send", ()),
        ("sendto", (b"x",)),
        ("sendmsg", (b"x",)),
        ("sendmsg", (5,)),
        ("connect", ("127.0.0.1",)),
        ("connect", ((),)),
        ("settimeout", ("1",)),
        ("accept", (1,)),
    ],
)
def test_bad_arguments_are_type_errors(sockets, opened, method, args):
    sock = opened.enter_context(sockets.socket())
    with pytest.raises((TypeError, BufferError)):
        getattr(sock, method)(*args)


def test_sendall_to_a_slow_reader(lib, ends):
    """Many partial sends add up to exactly the data, for a memoryview of wide items too."""
    a, b = ends
    data = memoryview(array.array("Q", BIG))
    writer = lib.spawn(a.sendall, data)
    assert recv_exactly(b, len(BIG)) == BIG
    writer.get()


def test_send_returns_when_something_was_taken(lib, ends):
    a, b = ends
    writer = lib.spawn(lambda: a.send(BIG))
    reader = lib.spawn(recv_all, b)
    sent = writer.get()
    assert 0 < sent <= len(BIG)
    a.close()
    assert reader.get() == BIG[:sent]


def test_full_duplex(lib, ends):
    """One greenlet reads while another writes on each end: no deadlock with full buffers, nothing mixed up."""
    a, b = ends
    other = BIG[::-1]
    tasks = [
        lib.spawn(a.sendall, BIG),
        lib.spawn(b.sendall, other),
        lib.spawn(recv_exactly, a, len(other)),
        lib.spawn(recv_exactly, b, len(BIG)),
    ]
    results = [task.get() for task in tasks]
    assert results == [None, None, other, BIG]


def test_half_close(lib, ends):
    """After our FIN the other side still sends, and we still receive."""
    a, b = ends
    reader = lib.spawn(recv_all, a)
    a.sendall(b"request")
    a.shutdown(std_socket.SHUT_WR)
    assert recv_all(b) == b"request"
    b.sendall(BIG[:100_000])
    b.shutdown(std_socket.SHUT_WR)
    assert reader.get() == BIG[:100_000]
    with refused(errno.EPIPE):
        a.send(b"more")


def test_data_and_end_arrive_together(ends):
    """A short read must not swallow the end-of-file that was reported with it; the end stays the end."""
    a, b = ends
    a.sendall(b"last words")
    a.close()
    assert b.recv(1000) == b"last words"
    assert b.recv(1000) == b""
    assert b.recv(1000) == b""


def test_the_end_arrives_with_data_while_reading(lib, ends):
    """The same, for a reader that already waits and reads in pieces smaller than what there is."""
    a, b = ends
    reader = lib.spawn(lambda: [b.recv(4), b.recv(100), b.recv(100)])
    a.sendall(b"123456")
    a.close()
    assert reader.get() == [b"1234", b"56", b""]


def test_one_byte_segments(lib, sockets, opened):
    """No edge is lost when every byte comes alone."""
    a, b = tcp_pair(sockets, opened)
    a.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
    reader = lib.spawn(recv_exactly, b, 2000)
    for i in range(2000):
        a.send(BIG[i : i + 1])
        if lib.name == "gevlite" and not i % 7:
            gevlite.sleep(0)
    assert reader.get() == BIG[:2000]


def test_reset_by_peer(lib, sockets, opened):
    """A reset ends a recv that waits, and send and recv after it."""
    a, b = tcp_pair(sockets, opened)
    reader = lib.spawn(b.recv, 10)
    a.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.close()
    with pytest.raises(ConnectionResetError):
        reader.get()
    with pytest.raises(BrokenPipeError):
        b.send(b"x")


def test_reset_wakes_a_blocked_sendall(lib, sockets, opened):
    a, b = tcp_pair(sockets, opened)
    writer = lib.spawn(a.sendall, BIG)
    b.recv(1)
    b.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_LINGER, struct.pack("ii", 1, 0))
    b.close()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        writer.get()


def test_peek_leaves_the_data(ends):
    """Peeking must not make the next recv believe that there is nothing."""
    a, b = ends
    a.sendall(b"abc")
    assert b.recv(2, std_socket.MSG_PEEK) == b"ab"
    assert b.recv(100, std_socket.MSG_PEEK) == b"abc"
    assert b.recv(100) == b"abc"


def test_peek_waits(lib, ends):
    a, b = ends
    reader = lib.spawn(lambda: (b.recv(10, std_socket.MSG_PEEK), b.recv(10)))
    a.send(b"later")
    assert reader.get() == (b"later", b"later")


def test_waitall_waits_for_all(lib, ends):
    a, b = ends
    reader = lib.spawn(b.recv, 6, std_socket.MSG_WAITALL)
    a.send(b"12")
    a.send(b"34")
    a.send(b"56")
    assert reader.get() == b"123456"


def test_waitall_ends_early_at_the_end(lib, ends):
    a, b = ends
    reader = lib.spawn(b.recv, 6, std_socket.MSG_WAITALL)
    a.send(b"12")
    a.close()
    assert reader.get() == b"12"


def test_dontwait_does_not_wait(ends):
    a, b = ends
    with pytest.raises(BlockingIOError):
        b.recv(1, std_socket.MSG_DONTWAIT)
    a.send(b"x")
    assert b.recv(1) == b"x"
    with pytest.raises(BlockingIOError):
        while True:
            a.send(b"x" * 65536, std_socket.MSG_DONTWAIT)


def test_urgent_data(lib, sockets, opened):
    """Out-of-band data can be fetched, and does not disturb the stream."""
    a, b = tcp_pair(sockets, opened)
    a.send(b"!", std_socket.MSG_OOB)
    a.send(b"normal")
    assert b.recv(1, std_socket.MSG_OOB) == b"!"
    assert recv_exactly(b, 6) == b"normal"


# ---------------------------------------------------------------- datagrams

def udp(sockets, opened, family=std_socket.AF_INET, host=LOCALHOST):
    sock = opened.enter_context(sockets.socket(family, std_socket.SOCK_DGRAM))
    sock.bind((host, 0))
    return sock


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


# ---------------------------------------------------------------- sendmsg and recvmsg

def test_sendmsg_and_recvmsg(lib, ends):
    a, b = ends
    receiver = lib.spawn(b.recvmsg, 100)
    assert a.sendmsg([b"ab", bytearray(b"cd"), memoryview(b"ef")]) == 6
    data, ancillary, flags, _address = receiver.get()
    assert (data, ancillary, flags) == (b"abcdef", [], 0)


def test_recvmsg_into(ends):
    a, b = ends
    one, two = bytearray(2), bytearray(4)
    a.sendall(b"abcde")
    n, ancillary, _flags, _address = b.recvmsg_into([one, two])
    assert (n, ancillary, bytes(one), bytes(two)) == (5, [], b"ab", b"cde\0")


def test_sendmsg_to_an_address(sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    assert a.sendmsg([b"one", b"two"], [], 0, b.getsockname()) == 6
    data, _ancillary, flags, address = b.recvmsg(4)
    assert (data, address) == (b"onet", a.getsockname())
    assert flags & std_socket.MSG_TRUNC


def test_descriptors_travel(sockets, opened):
    """An open file sent through a UNIX socket arrives as a new descriptor of the same file."""
    a, b = pair(sockets, opened)
    r, w = os.pipe()
    sockets.send_fds(a, [b"take this"], [w])
    os.close(w)
    data, fds, _flags, _address = sockets.recv_fds(b, 100, 4)
    assert data == b"take this"
    os.write(fds[0], b"through")
    assert os.read(r, 10) == b"through"
    os.close(fds[0])
    os.close(r)


def test_a_unix_stream_is_read_to_its_end_across_descriptors(sockets, opened):
    """A read stops at ancillary data: what comes behind it must not be thought absent."""
    a, b = pair(sockets, opened)
    r, w = os.pipe()
    a.send(b"before")
    sockets.send_fds(a, [b"with"], [r])
    a.send(b"after")
    assert recv_exactly(b, 15) == b"beforewithafter"
    os.close(r)
    os.close(w)


# ---------------------------------------------------------------- sendfile

@pytest.fixture
def big_file(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(BIG)
    with path.open("rb") as file:
        yield file


@pytest.mark.parametrize(
    ("offset", "count"), [(0, None), (1000, None), (0, 5), (77, 3_000_000), (len(BIG) - 3, 10), (len(BIG) + 5, None)]
)
def test_sendfile(lib, ends, big_file, offset, count):
    """What is sent, what is returned, and where the file stands afterwards."""
    a, b = ends
    expected = BIG[offset:] if count is None else BIG[offset : offset + count]
    reader = lib.spawn(recv_all, b)
    assert a.sendfile(big_file, offset, count) == len(expected)
    assert big_file.tell() == (offset + len(expected) if expected else 0)
    a.close()
    assert reader.get() == expected


def test_sendfile_of_what_is_no_file(lib, ends):
    a, b = ends
    reader = lib.spawn(recv_all, b)
    file = io.BytesIO(BIG)
    assert a.sendfile(file, 10, 100_000) == 100_000
    assert file.tell() == 100_010
    a.close()
    assert reader.get() == BIG[10:100_010]


def test_sendfile_from_a_pipe(ours):
    """What cannot seek has no offset to send from: said so, and nothing is taken. (The original returns 0.)"""
    a, _b = ours
    r, w = os.pipe()
    os.write(w, b"through the pipe")
    os.close(w)
    with open(r, "rb") as file:
        with refused(errno.ESPIPE):
            a.sendfile(file)
        assert file.read() == b"through the pipe"


def test_sendfile_refuses(ends, big_file, tmp_path):
    a, _b = ends
    with (tmp_path / "big").open("r") as text, pytest.raises(ValueError):
        a.sendfile(text)
    with pytest.raises(TypeError):
        a.sendfile(big_file, 0, 1.5)
    with pytest.raises(ValueError):
        a.sendfile(big_file, 0, 0)
    a.setblocking(False)
    with pytest.raises(ValueError):
        a.sendfile(big_file)


def test_sendfile_times_out(ends, big_file):
    a, _b = ends
    a.settimeout(0.05)
    with pytest.raises(TimeoutError):
        a.sendfile(big_file)


# ---------------------------------------------------------------- time-outs

@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("recv", (10,)),
        ("recv_into", (bytearray(10),)),
        ("recvfrom", (10,)),
        ("recvfrom_into", (bytearray(10),)),
        ("recvmsg", (10,)),
        ("recvmsg_into", ([bytearray(10)],)),
    ],
)
def test_reading_times_out(ends, method, args):
    """After its time, not before, with the original's words; and the socket stays usable."""
    a, b = ends
    b.settimeout(0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        getattr(b, method)(*args)
    assert time.monotonic() - began >= 0.05
    a.send(b"late")
    getattr(b, method)(*args)


@pytest.mark.parametrize(("method", "data"), [("send", b"x"), ("sendall", BIG), ("sendmsg", [b"x"])])
def test_writing_times_out(ends, method, data):
    a, _b = ends
    fill(a)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        getattr(a, method)(data)
    assert time.monotonic() - began >= 0.05


def test_sendall_times_out_as_a_whole(lib, ends):
    """A reader that takes a little now and then does not prolong it."""
    a, b = ends
    fill(a)
    a.settimeout(0.2)
    done = []

    def sip():
        b.settimeout(5)
        while not done and b.recv(20_000):
            if lib.name == "gevlite":
                gevlite.sleep(0.02)
            else:
                time.sleep(0.02)

    reader = lib.spawn(sip)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        a.sendall(BIG * 4)
    assert 0.2 <= time.monotonic() - began < 3
    done.append(True)
    reader.get()


def test_accept_times_out(sockets):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            listener.accept()


def test_connect_times_out(sockets, opened):
    """A listener whose backlog is full does not answer."""
    listener = opened.enter_context(sockets.socket())
    listener.bind((LOCALHOST, 0))
    listener.listen(0)

    def connect():
        sock = opened.enter_context(sockets.socket())
        sock.settimeout(0.1)
        sock.connect(listener.getsockname())

    with pytest.raises(TimeoutError, match=r"^timed out$"):
        for _ in range(10):
            connect()
    sock = opened.enter_context(sockets.socket())
    sock.settimeout(0.05)
    assert sock.connect_ex(listener.getsockname()) == errno.EAGAIN


def test_settimeout_to_the_letter(sockets, opened):
    sock = opened.enter_context(sockets.socket())
    assert (sock.gettimeout(), sock.getblocking(), sock.timeout) == (None, True, None)
    for value, timeout, blocking in [(0, 0.0, False), (1, 1.0, True), (2.5, 2.5, True), (None, None, True)]:
        sock.settimeout(value)
        assert (sock.gettimeout(), sock.getblocking(), sock.timeout) == (timeout, blocking, timeout)
        assert type(sock.gettimeout()) is type(timeout)
    sock.setblocking(False)
    assert (sock.gettimeout(), sock.getblocking()) == (0.0, False)
    sock.setblocking(True)
    assert (sock.gettimeout(), sock.getblocking()) == (None, True)


@pytest.mark.parametrize("bad", [-1, -0.001, float("nan")])
def test_settimeout_refuses(sockets, opened, bad):
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(ValueError):
        sock.settimeout(bad)
    assert sock.gettimeout() is None


@pytest.mark.parametrize("bad", [1e20, float("inf")])
def test_settimeout_refuses_the_absurd(sockets, opened, bad):
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(OverflowError):
        sock.settimeout(bad)


def test_default_timeout(lib, sockets, opened):
    """New and accepted sockets have it, and create_connection uses it."""
    sockets.setdefaulttimeout(3)
    try:
        assert sockets.getdefaulttimeout() == 3.0
        a, b = tcp_pair(sockets, opened)
        assert a.gettimeout() == b.gettimeout() == 3.0
        c, d = pair(sockets, opened)
        assert c.gettimeout() == d.gettimeout() == 3.0
    finally:
        sockets.setdefaulttimeout(None)
    assert a.gettimeout() == 3.0


def test_an_accepted_socket_does_not_inherit_the_timeout(sockets, opened):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        listener.settimeout(5)
        opened.enter_context(sockets.create_connection(listener.getsockname()))
        server = opened.enter_context(listener.accept()[0])
        assert server.gettimeout() is None


# ---------------------------------------------------------------- non-blocking mode

def test_nonblocking_calls_raise_at_once(ends):
    a, b = ends
    b.setblocking(False)
    for method, args in [
        ("recv", (1,)),
        ("recv_into", (bytearray(1),)),
        ("recvfrom", (1,)),
        ("recvfrom_into", (bytearray(1),)),
        ("recvmsg", (1,)),
        ("recvmsg_into", ([bytearray(1)],)),
    ]:
        with pytest.raises(BlockingIOError) as caught:
            getattr(b, method)(*args)
        assert caught.value.errno == errno.EAGAIN
    b.send(b"x")
    with pytest.raises(BlockingIOError):
        while True:
            b.send(b"x" * 65536)
    with pytest.raises(BlockingIOError):
        b.sendall(b"x" * 65536)
    assert a.recv(1) == b"x"


def test_nonblocking_accept_and_connect(sockets, opened):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    client = opened.enter_context(sockets.socket())
    client.setblocking(False)
    with pytest.raises(BlockingIOError) as caught:
        client.connect(listener.getsockname())
    assert caught.value.errno == errno.EINPROGRESS
    listener.setblocking(True)
    opened.enter_context(listener.accept()[0])
    # Asking again is how one learns that it is done.
    assert client.connect_ex(listener.getsockname()) in (0, errno.EISCONN)
    assert client.connect_ex(listener.getsockname()) == errno.EISCONN
    other = opened.enter_context(sockets.socket())
    other.setblocking(False)
    assert other.connect_ex(listener.getsockname()) == errno.EINPROGRESS


def test_a_socket_may_be_born_nonblocking(sockets, opened):
    sock = opened.enter_context(
        sockets.socket(std_socket.AF_INET, std_socket.SOCK_STREAM | std_socket.SOCK_NONBLOCK)
    )
    assert sock.gettimeout() == 0.0
    assert sock.type == std_socket.SOCK_STREAM


def test_back_to_blocking(lib, ends):
    a, b = ends
    b.setblocking(False)
    with pytest.raises(BlockingIOError):
        b.recv(1)
    b.setblocking(True)
    reader = lib.spawn(b.recv, 10)
    a.send(b"now")
    assert reader.get() == b"now"


# ---------------------------------------------------------------- connecting and accepting

def test_connection_refused(sockets, opened):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        address = listener.getsockname()
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(ConnectionRefusedError):
        sock.connect(address)
    assert opened.enter_context(sockets.socket()).connect_ex(address) == errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        sockets.create_connection(address)


def test_connecting_twice(sockets, opened):
    a, _b = tcp_pair(sockets, opened)
    with refused(errno.EISCONN):
        a.connect(a.getpeername())


def test_create_connection(lib, sockets, opened):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    port = listener.getsockname()[1]
    accepted = lib.spawn(listener.accept)
    with sockets.socket() as probe:
        probe.bind((LOCALHOST, 0))
        free = probe.getsockname()[1]
    sock = opened.enter_context(sockets.create_connection(("localhost", port), 7, (LOCALHOST, free)))
    assert sock.gettimeout() == 7.0
    assert sock.getsockname() == (LOCALHOST, free)
    server, address = accepted.get()
    opened.enter_context(server)
    assert address == (LOCALHOST, free)


def test_create_connection_collects_errors(sockets):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(ExceptionGroup) as caught:
        sockets.create_connection(address, all_errors=True)
    assert [type(exc) for exc in caught.value.exceptions] == [ConnectionRefusedError]
    assert "create_connection failed" in str(caught.value)


def test_create_server(sockets, opened):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0), backlog=5, reuse_port=True))
    assert listener.getsockopt(std_socket.SOL_SOCKET, std_socket.SO_REUSEPORT)
    assert listener.getsockopt(std_socket.SOL_SOCKET, std_socket.SO_REUSEADDR)
    assert listener.gettimeout() is None
    opened.enter_context(sockets.create_server(listener.getsockname(), reuse_port=True))
    taken = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    with pytest.raises(OSError, match="while attempting to bind on address") as caught:
        sockets.create_server(taken.getsockname())
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(ValueError):
        sockets.create_server((LOCALHOST, 0), dualstack_ipv6=True)


def test_create_server_dual_stack(lib, sockets, opened):
    if not sockets.has_dualstack_ipv6():
        pytest.skip("no dual-stack sockets here")
    listener = opened.enter_context(
        sockets.create_server(("", 0), family=std_socket.AF_INET6, dualstack_ipv6=True)
    )
    accepted = lib.spawn(listener.accept)
    opened.enter_context(sockets.create_connection((LOCALHOST, listener.getsockname()[1])))
    server, address = accepted.get()
    opened.enter_context(server)
    assert address[0] == "::ffff:127.0.0.1"


def test_several_accept_on_one_listener(lib, sockets, opened):
    """Each connection is accepted by exactly one of those who wait, and none is lost."""
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0), backlog=100))

    def serve():
        served = 0
        while True:
            connection, _address = listener.accept()
            with connection:
                message = connection.recv(10)
                if message == b"stop":
                    return served
                connection.sendall(message)
                served += 1

    servers = [lib.spawn(serve) for _ in range(5)]

    def ask(message):
        with sockets.create_connection(listener.getsockname()) as sock:
            sock.sendall(message)
            return recv_all(sock)

    clients = [lib.spawn(ask, b"%d" % i) for i in range(50)]
    assert [client.get() for client in clients] == [b"%d" % i for i in range(50)]
    for _ in servers:
        ask(b"stop")
    assert sum(server.get() for server in servers) == 50


def test_not_connected(sockets, opened):
    sock = opened.enter_context(sockets.socket())
    with refused(errno.ENOTCONN):
        sock.recv(1)
    with refused(errno.ENOTCONN, errno.EPIPE):
        sock.send(b"x")
    with refused(errno.ENOTCONN):
        sock.getpeername()
    with refused(errno.EINVAL):
        sock.accept()
    with refused(errno.ENOTCONN):
        sock.shutdown(std_socket.SHUT_RDWR)


# ---------------------------------------------------------------- the object

def test_it_is_a_standard_socket():
    with socket.socket() as sock:
        assert isinstance(sock, std_socket.socket)
        assert socket.SocketType is socket.socket
        assert (sock.family, sock.type, sock.proto) == (std_socket.AF_INET, std_socket.SOCK_STREAM, 0)
        assert isinstance(sock.family, std_socket.AddressFamily)
        assert "fd=" in repr(sock)
        with pytest.raises(AttributeError):
            sock.no_such_attribute = 1


def test_everything_of_the_original_is_there():
    missing = [name for name in dir(std_socket) if not name.startswith("__") and not hasattr(socket, name)]
    assert set(missing) <= {"os", "sys"}
    assert set(std_socket.__all__) <= set(socket.__all__)


def test_context_manager_closes(sockets):
    with sockets.socket() as sock:
        assert sock.fileno() >= 0
    assert sock.fileno() == -1
    sock.close()
    for call in (lambda: sock.recv(1), lambda: sock.send(b"x"), lambda: sock.accept(), sock.getsockname):
        with refused(errno.EBADF):
            call()


def test_close_is_seen_by_the_other_side(lib, ends):
    a, b = ends
    reader = lib.spawn(b.recv, 1)
    a.close()
    assert reader.get() == b""


def test_dup(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    a.settimeout(9)
    twin = opened.enter_context(a.dup())
    assert type(twin) is type(a)
    assert twin.fileno() != a.fileno()
    assert twin.gettimeout() == 9.0
    assert not twin.get_inheritable()
    a.close()
    twin.sendall(b"still there")
    assert b.recv(100) == b"still there"


def test_detach(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    fd = a.detach()
    assert a.fileno() == -1
    with refused(errno.EBADF):
        a.send(b"x")
    assert a.detach() == -1
    again = opened.enter_context(sockets.socket(fileno=fd))
    assert (again.family, again.type) == (std_socket.AF_INET, std_socket.SOCK_STREAM)
    again.sendall(b"again")
    assert b.recv(10) == b"again"


@pytest.mark.parametrize(("timeout", "blocking"), [(None, True), (5, False), (0, False)])
def test_a_detached_descriptor_is_in_the_mode_that_the_socket_had(sockets, opened, timeout, blocking):
    """Whoever gets it, multiprocessing for instance, reads it by os.read."""
    a, _b = tcp_pair(sockets, opened)
    a.settimeout(timeout)
    fd = a.detach()
    try:
        assert os.get_blocking(fd) == blocking
    finally:
        os.close(fd)


def test_fromfd(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    twin = opened.enter_context(sockets.fromfd(a.fileno(), std_socket.AF_INET, std_socket.SOCK_STREAM))
    assert twin.fileno() != a.fileno()
    a.close()
    twin.sendall(b"x")
    assert b.recv(1) == b"x"


@pytest.mark.parametrize("bad", [-1, 10_000_000])
def test_a_bad_fileno(sockets, bad):
    with pytest.raises((OSError, ValueError)):
        sockets.socket(fileno=bad)


def test_socketpair_kinds(sockets, opened):
    a, _b = pair(sockets, opened)
    assert (a.family, a.type) == (std_socket.AF_UNIX, std_socket.SOCK_STREAM)
    c, d = (opened.enter_context(end) for end in sockets.socketpair(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    c.send(b"x")
    assert d.recv(10) == b"x"


def test_makefile(lib, ends):
    """Reading lines and writing through buffered files; the socket lives until the last file is closed."""
    a, b = ends

    def upper():
        with b.makefile("rb") as lines, b.makefile("wb") as out:
            b.close()
            for line in lines:
                out.write(line.upper())
                out.flush()

    server = lib.spawn(upper)
    with a.makefile("rw", encoding="utf-8", newline="\n") as file:
        for line in ("eins\n", "zwei\n", "drei\n"):
            file.write(line)
            file.flush()
            assert file.readline() == line.upper()
        a.shutdown(std_socket.SHUT_WR)
        assert file.read() == ""
    server.get()


def test_makefile_times_out(ends):
    _a, b = ends
    b.settimeout(0.05)
    with b.makefile("rb") as file:
        with pytest.raises(TimeoutError):
            file.readline()
        with pytest.raises(OSError, match="cannot read from timed out object"):
            file.readline()


def test_makefile_of_a_nonblocking_socket(ends):
    _a, b = ends
    b.setblocking(False)
    with b.makefile("rb", 0) as file:
        assert file.read(1) is None


# ---------------------------------------------------------------- names

@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("getaddrinfo", ("localhost", 80)),
        ("getaddrinfo", ("localhost", 80, std_socket.AF_INET, std_socket.SOCK_STREAM)),
        ("getaddrinfo", ("localhost", "http")),
        ("getaddrinfo", (LOCALHOST, 80)),
        ("getaddrinfo", (LOCALHOST, "80")),
        ("getaddrinfo", (b"127.0.0.1", b"80")),
        ("getaddrinfo", ("::1", 80)),
        ("getaddrinfo", (None, 80)),
        ("getaddrinfo", (None, 80, 0, std_socket.SOCK_STREAM, 0, std_socket.AI_PASSIVE)),
        ("getaddrinfo", ("", 80)),
        ("getaddrinfo", (None, None)),
        ("getaddrinfo", ("localhost", "no such service")),
        ("getaddrinfo", (LOCALHOST, 80, 12345)),
        ("getaddrinfo", (LOCALHOST, 80, 0, 0, 0, std_socket.AI_NUMERICHOST)),
        ("getaddrinfo", ("localhost", 80, 0, 0, 0, std_socket.AI_NUMERICHOST)),
        ("getaddrinfo", ("localhost", 1 << 70)),
        ("getaddrinfo", (5, 80)),
        ("getaddrinfo", ("a" * 300, 80)),
        ("getaddrinfo", ("\0", 80)),
        ("getaddrinfo", ("no-such-host.invalid", 80)),
        ("gethostbyname", ("localhost",)),
        ("gethostbyname", (LOCALHOST,)),
        ("gethostbyname", ("",)),
        ("gethostbyname", (5,)),
        ("gethostbyname", ("no-such-host.invalid",)),
        ("gethostbyname_ex", ("localhost",)),
        ("gethostbyname_ex", ("no-such-host.invalid",)),
        ("gethostbyaddr", (LOCALHOST,)),
        ("gethostbyaddr", ("localhost",)),
        ("gethostbyaddr", ("no-such-host.invalid",)),
        ("getnameinfo", ((LOCALHOST, 80), 0)),
        ("getnameinfo", ((LOCALHOST, 80), std_socket.NI_NUMERICHOST | std_socket.NI_NUMERICSERV)),
        ("getnameinfo", (("localhost", 80), 0)),
        ("getnameinfo", (LOCALHOST, 0)),
        ("getnameinfo", ((LOCALHOST,), 0)),
        ("getfqdn", ()),
        ("getfqdn", ("localhost",)),
        ("getfqdn", (LOCALHOST,)),
        ("getfqdn", ("no-such-host.invalid",)),
    ],
)
def test_names_as_the_original(function, args):
    """The same result, or an exception of the same class with the same errno."""

    def outcome(module):
        try:
            return getattr(module, function)(*args)
        except Exception as exc:
            return type(exc), getattr(exc, "errno", None)

    assert outcome(socket) == outcome(std_socket)


def test_getaddrinfo_gives_enums():
    (family, kind, *_rest), *_more = socket.getaddrinfo(LOCALHOST, 80)
    assert isinstance(family, std_socket.AddressFamily)
    assert isinstance(kind, std_socket.SocketKind)


def test_an_unresolvable_name(lib, sockets, opened):
    sock = opened.enter_context(sockets.socket())
    for call in (
        lambda: sockets.getaddrinfo("no-such-host.invalid", 80),
        lambda: sockets.create_connection(("no-such-host.invalid", 80)),
        lambda: sock.connect(("no-such-host.invalid", 80)),
        lambda: sock.connect_ex(("no-such-host.invalid", 80)),
        lambda: udp(sockets, opened).sendto(b"x", ("no-such-host.invalid", 80)),
    ):
        with pytest.raises(std_socket.gaierror):
            call()


# ---------------------------------------------------------------- closing under somebody's feet

def assert_closed(handle):
    with refused(errno.EBADF):
        handle.get()


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("recv", (10,)),
        ("recv_into", (bytearray(10),)),
        ("recvfrom", (10,)),
        ("recvmsg", (10,)),
        ("sendall", (BIG,)),
    ],
)
@pytest.mark.parametrize("way", ["close", "detach"])
def test_closing_wakes_who_waits(start, ours, method, args, way, settle):
    """Closed or detached by another greenlet: OSError(EBADF) at once, nothing registered (see conftest)."""
    a, _b = ours
    waiter = start(getattr(a, method), *args)
    assert settle(waiting_for(1))
    fd = getattr(a, way)()
    assert_closed(waiter)
    if way == "detach":
        os.close(fd)


def test_closing_wakes_an_accept(start, opened, settle):
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    waiters = [start(listener.accept) for _ in range(3)]
    assert settle(waiting_for(3))
    listener.close()
    for waiter in waiters:
        assert_closed(waiter)


def test_closing_wakes_a_connect(start, opened, settle):
    listener = opened.enter_context(socket.socket())
    listener.bind((LOCALHOST, 0))
    listener.listen(0)
    with pytest.raises(TimeoutError):
        while True:         # until nobody answers any more
            sock = opened.enter_context(socket.socket())
            sock.settimeout(0.1)
            sock.connect(listener.getsockname())
    sock = opened.enter_context(socket.socket())
    waiter = start(sock.connect, listener.getsockname())
    assert settle(waiting_for(1))
    sock.close()
    assert_closed(waiter)


@pytest.mark.parametrize("known", [False, True])
def test_closing_wakes_who_waits_on_the_number(start, ours, known, settle):
    """wait_read(fd) on a socket's descriptor: also if that socket itself has never waited."""
    a, b = ours
    if known:
        reader = start(a.recv, 1)
        assert settle(waiting_for(1))
        b.send(b"x")
        reader.get()
    waiter = start(socket.wait_read, a.fileno())
    assert settle(waiting_for(1))
    a.close()
    assert_closed(waiter)


def test_a_reused_number_is_a_new_socket(ours, opened):
    """What the hub knew about a closed descriptor must not be believed of the next one with its number."""
    a, b = ours
    numbers = set()
    for i in range(20):
        c, d = socket.socketpair() if i % 2 else tcp_pair(socket, opened)
        c.settimeout(5)
        reader = gevlite.spawn(c.recv, 10)
        gevlite.sleep(0)
        d.send(b"%d" % i)
        assert reader.get(timeout=5) == b"%d" % i
        numbers.add(c.fileno())
        c.close()
        d.close()
    assert len(numbers) < 20
    a.send(b"still")
    assert b.recv(10) == b"still"


def test_dropping_a_socket_gives_everything_back(opened):
    """Not closed, but garbage: nothing stays registered."""
    before = gevlite.get_hub().stats()["fds"]
    a, b = socket.socketpair()
    reader = gevlite.spawn(a.recv, 1)
    gevlite.sleep(0)
    b.send(b"x")
    reader.join()
    with pytest.warns(ResourceWarning):
        del a, b, reader
        gc.collect()
    assert gevlite.get_hub().stats()["fds"] == before


# ---------------------------------------------------------------- cooperation

def test_only_the_caller_waits(start, ours):
    """While one greenlet is in each blocking call, others run."""
    a, b = ours
    listener = socket.create_server((LOCALHOST, 0))
    waiters = [start(a.recv, 1), start(b.sendall, BIG), start(listener.accept), start(socket.wait_read, a, 5)]
    ticks = 0
    while ticks < 5:
        gevlite.sleep(0.001)
        ticks += 1
    assert not waiters[2].greenlet.ready()
    listener.close()
    assert_closed(waiters[2])


def test_timeout_inside_recv(ours):
    """A gevlite.Timeout is raised in the middle of recv; the data that comes later is not lost."""
    a, b = ours
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.02):
        b.recv(10)
    a.send(b"later")
    assert b.recv(10) == b"later"
    assert gevlite.with_timeout(0.02, b.recv, 10, timeout_value=None) is None


def test_timeout_inside_each_call(ours, opened):
    a, _b = ours
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    for call in (
        lambda: a.recv_into(bytearray(1)),
        lambda: a.recvmsg(1),
        lambda: a.sendall(BIG),
        lambda: a.sendmsg([BIG]) and a.sendmsg([BIG]) and a.sendmsg([BIG]) and a.sendall(BIG),
        listener.accept,
        lambda: socket.wait_read(a.fileno()),
        lambda: socket.wait_readwrite(listener),
    ):
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.02):
            call()


def test_kill_inside_recv(start, ours, settle):
    """Nothing of the wait is left (see conftest), and the next one who waits gets the data."""
    a, b = ours
    doomed = start(b.recv, 10)
    other = start(b.recv, 10)
    assert settle(waiting_for(2))
    doomed.greenlet.kill()
    a.send(b"for other")
    assert other.get() == b"for other"
    assert isinstance(doomed.greenlet.value, gevlite.GreenletExit)


def test_killed_between_the_wake_up_and_the_read(start, ours, opened, settle):
    """Killed when the event was already its own: the data goes to it or to the next one, never to nobody."""
    a, b = ours
    c, d = (opened.enter_context(end) for end in socket.socketpair())
    readers = []
    killer = start(lambda: (d.recv(1), readers[0].greenlet.kill(block=False)))
    readers += [start(b.recv, 10), start(b.recv, 10)]
    assert settle(waiting_for(3))
    c.send(b"!")        # both events in one poll, the killer's first
    a.send(b"data")
    killer.get()
    assert settle(lambda: any(reader.greenlet.value == (b"data", None) for reader in readers))


def test_several_readers_share_a_stream(start, ours, settle):
    """Each piece goes to one of them; whoever leaves something passes it on."""
    a, b = ours
    readers = [start(b.recv, 1) for _ in range(10)]
    assert settle(waiting_for(10))
    a.send(b"0123456789")
    assert sorted(reader.get() for reader in readers) == [b"%d" % i for i in range(10)]


def test_several_writers_share_a_stream(start, ours, settle):
    a, b = ours
    fill(a)
    a.settimeout(None)
    writers = [start(a.sendall, b"y" * 100_000) for _ in range(5)]
    assert settle(waiting_for(5))
    total = 0
    while total < 500_000:
        total += b.recv(1 << 20).count(b"y")
    for writer in writers:
        writer.get()


def test_wait_read_beside_a_reader(start, ours, settle):
    """A bare wait on the number and a recv do not steal each other's event for good."""
    a, b = ours
    waiter = start(socket.wait_read, b.fileno())
    reader = start(b.recv, 2)
    assert settle(waiting_for(2))
    a.send(b"1234")
    assert reader.get() == b"12"
    waiter.get()
    assert b.recv(10) == b"34"


def test_a_busy_stream_does_not_starve_others(start, ours):
    """A reader that always finds data still lets timers fire."""
    a, b = ours
    start(lambda: [a.sendall(BIG) for _ in range(100)])
    fired = []
    gevlite.spawn_later(0.01, fired.append, True)

    def read():
        while not fired:
            b.recv(1 << 16)
        return True

    assert start(read).get()


def test_used_from_two_threads(ours):
    """A socket that has waited in one thread's hub works in another's."""
    a, b = ours
    reader = gevlite.spawn(b.recv, 10)
    gevlite.sleep(0)
    a.send(b"here")
    assert reader.get() == b"here"
    got = []

    def elsewhere():
        got.append(b.recv(10))
        b.sendall(BIG)
        gevlite.get_hub().destroy()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    a.send(b"there")
    assert recv_exactly(a, len(BIG)) == BIG
    thread.join()
    assert got == [b"there"]
    reader = gevlite.spawn(b.recv, 10)
    gevlite.sleep(0)
    a.send(b"and back")
    assert reader.get(timeout=5) == b"and back"


# ---------------------------------------------------------------- wait_read and its like

def test_wait_read_and_write(start, ours, settle):
    a, b = ours
    socket.wait_write(a)
    socket.wait_readwrite(a.fileno())
    waiter = start(socket.wait_read, b)
    assert settle(waiting_for(1))
    a.send(b"x")
    waiter.get()
    socket.wait_read(b)
    assert b.recv(1) == b"x"


def test_wait_on_a_pipe(start, settle):
    """A foreign descriptor, closed and reused behind the hub's back."""
    for _ in range(3):
        r, w = os.pipe()
        socket.wait_write(w)
        waiter = start(socket.wait_read, r)
        assert settle(waiting_for(1))
        os.write(w, b"x")
        waiter.get()
        os.close(w)
        os.close(r)


def test_wait_times_out(ours):
    a, _b = ours
    with pytest.raises(TimeoutError, match="timed out"):
        socket.wait_read(a, timeout=0.01)
    with pytest.raises(KeyError):
        socket.wait_read(a, timeout=0.01, timeout_exc=KeyError("mine"))
    with pytest.raises(TimeoutError):
        socket.wait_read(a, timeout=0)


@pytest.mark.parametrize("wait", [socket.wait_read, socket.wait_write, socket.wait_readwrite])
def test_wait_on_a_closed_descriptor(wait):
    sock = socket.socket()
    fd = sock.fileno()
    sock.close()
    for closed in (fd, sock, -1):
        with refused(errno.EBADF):
            wait(closed, 1)


def test_wait_refuses_what_is_no_descriptor():
    for bad in ("0", None, 1.5, object()):
        with pytest.raises(TypeError):
            socket.wait_read(bad)


# ---------------------------------------------------------------- closed behind the socket's back

@pytest.mark.parametrize("flag", [True, False])
def test_setblocking_on_a_descriptor_that_is_closed_raises(lib, flag):
    sock = lib.module("socket").socket()
    os.close(sock.fileno())
    with pytest.raises(OSError) as caught:
        sock.setblocking(flag)
    assert caught.value.errno == errno.EBADF
    assert sock.detach() >= 0


def test_sendto_without_an_address_raises(lib):
    with lib.module("socket").socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(TypeError, match="NoneType"):
            sock.sendto(b"x", None)
        with pytest.raises(TypeError, match="NoneType"):
            sock.sendto(b"x", 0, None)
