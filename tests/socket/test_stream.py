"""TCP and UNIX streams carry bytes as the original's do, and block only the greenlet that calls."""

import array
import errno
import socket as std_socket
import struct
import tracemalloc

import pytest
from both_ends import BIG, echo, let_run, recv_all, recv_exactly, refused, tcp_pair, unix_pair, waiting_for

import gevlite
from gevlite import socket


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
    for method in (a.send, a.sendall, lambda data: a.sendmsg([data])):
        with pytest.raises(BufferError):
            method(memoryview(b"abcdef")[::2])
    with pytest.raises((TypeError, BufferError)):
        a.recv_into(memoryview(bytearray(6))[::2])


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


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_sendall_copies_nothing(start, opened, kind):
    """32 MiB go through with no more memory than the reader's own."""
    a, b = (tcp_pair if kind == "tcp" else unix_pair)(socket, opened)
    data = memoryview(array.array("Q", bytes(32 << 20)))
    tracemalloc.start()
    try:
        writer = start(a.sendall, data)
        room = bytearray(1 << 18)
        got = 0
        while got < data.nbytes:
            got += b.recv_into(room)
        writer.get()
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_what_is_being_sent_stays_where_it_is(start, opened, settle):
    """A bytearray cannot be resized under a sendall; afterwards it can, also when it was killed."""
    a, _b = tcp_pair(socket, opened)
    data = bytearray(BIG)
    writer = start(a.sendall, data)
    assert settle(waiting_for(1))
    with pytest.raises(BufferError):
        data.extend(b"x")
    writer.greenlet.kill()
    data.extend(b"x")


def test_an_empty_sendall(ends):
    a, b = ends
    for nothing in (b"", bytearray(), memoryview(b"")):
        assert a.sendall(nothing) is None
        assert a.send(nothing) == 0
    a.send(b"x")
    assert b.recv(10) == b"x"


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
    """The same, for a reader that already waits and reads in pieces smaller than the available data."""
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


@pytest.mark.parametrize("method", ["recv", "recv_into", "recvfrom"])
def test_waitall_waits_for_all(lib, ends, method):
    a, b = ends
    buffer = bytearray(6)

    def read():
        if method == "recv_into":
            assert b.recv_into(buffer, 6, std_socket.MSG_WAITALL) == 6
            return bytes(buffer)
        got = getattr(b, method)(6, std_socket.MSG_WAITALL)
        return got if method == "recv" else got[0]

    reader = lib.spawn(read)
    let_run(lib)
    a.send(b"12")
    let_run(lib)
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
