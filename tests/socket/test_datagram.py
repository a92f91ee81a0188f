"""UDP and UNIX datagrams and packets, compared with the original."""

import errno
import os
import socket as std_socket
import time

import pytest
from both_ends import LOCALHOST, abstract_name, let_run, refused, udp, unix_pair

from gevlite import socket

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
    """A datagram shorter than the buffer says nothing about the ones after it."""
    a, b = udp(sockets, opened), udp(sockets, opened)
    for i in range(20):
        a.sendto(b"%d" % i, b.getsockname())
    assert [b.recv(100) for _ in range(20)] == [b"%d" % i for i in range(20)]


def test_udp_into_a_buffer(sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    buffer = bytearray(4)
    a.sendto(b"abcdef", b.getsockname())
    assert b.recvfrom_into(buffer) == (4, a.getsockname())  # the rest of a datagram is lost
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
    "address", [("127.0.0.1",), "127.0.0.1", 5, None, ("127.0.0.1", "80"), ("127.0.0.1", 80, 1), (None, 80), (5, 80)]
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


def test_udp_too_long(sockets, opened):
    a = udp(sockets, opened)
    with refused(errno.EMSGSIZE):
        a.sendto(bytes(70_000), (LOCALHOST, 9))


def test_udp_broadcast_needs_permission(sockets, opened):
    a = udp(sockets, opened)
    for host in ("<broadcast>", "255.255.255.255"):
        with refused(errno.EACCES, errno.ENETUNREACH, errno.EINVAL):
            a.sendto(b"x", (host, 9))


def test_the_length_of_a_datagram_that_is_cut(sockets, opened):
    """MSG_TRUNC has recv_into return the length that it had."""
    a, b = udp(sockets, opened), udp(sockets, opened)
    for data in (b"0123456789", b""):
        a.sendto(data, b.getsockname())
        buffer = bytearray(4)
        assert b.recv_into(buffer, 4, std_socket.MSG_TRUNC) == len(data)
        assert buffer == data[:4].ljust(4, b"\0")
        a.sendto(data, b.getsockname())
        assert b.recvfrom_into(buffer, 4, std_socket.MSG_TRUNC) == (len(data), a.getsockname())


def test_a_cut_datagram_holds_no_stray_memory(opened):
    """The original returns the full length, and fills the rest with memory contents."""
    a, b = udp(socket, opened), udp(socket, opened)
    for _ in range(2):
        a.sendto(b"0123456789" * 1000, b.getsockname())
    assert b.recv(3, std_socket.MSG_TRUNC) == b"012"
    assert b.recvfrom(3, std_socket.MSG_TRUNC)[0] == b"012"


def test_several_readers_of_datagrams(lib, sockets, opened):
    """Each datagram goes to exactly one of them."""
    a, b = udp(sockets, opened), udp(sockets, opened)
    readers = [lib.spawn(b.recv, 100) for _ in range(20)]
    let_run(lib)
    for i in range(20):
        a.sendto(b"%d" % i, b.getsockname())
    assert sorted(reader.get() for reader in readers) == sorted(b"%d" % i for i in range(20))


def test_udp_to_a_name(sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    for name in ("localhost", b"localhost", bytearray(b"localhost")):
        a.sendto(b"by name", (name, b.getsockname()[1]))
        assert b.recv(100) == b"by name"
        a.sendmsg([b"by name"], [], 0, (name, b.getsockname()[1]))
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


@pytest.mark.parametrize("connected", [True, False])
def test_unix_sender_waits_for_room_in_the_receivers_queue(lib, sockets, opened, connected):
    """Linux reports free space only to a connected socket; a sender to an address must be woken too."""
    address = abstract_name()
    receiver = opened.enter_context(sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    receiver.bind(address)
    sender = opened.enter_context(sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    if connected:
        sender.connect(address)

    def send(data):
        return sender.send(data) if connected else sender.sendto(data, address)

    sender.settimeout(0.05)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            sent += send(b"x")
    sender.settimeout(5)
    late = lib.spawn(send, b"late")
    let_run(lib)
    assert [receiver.recv(10) for _ in range(sent + 1)] == [b"x"] * sent + [b"late"]
    assert late.get() == 4
    sender.setblocking(False)
    with refused(errno.EAGAIN):
        while True:
            send(b"x")


def test_unix_many_senders_to_one_full_queue(lib, sockets, opened):
    address = abstract_name()
    receiver = opened.enter_context(sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
    receiver.bind(address)

    def send(i):
        with sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM) as sender:
            for n in range(20):
                sender.sendmsg([b"%d" % i, b" %d" % n], [], 0, address)

    senders = [lib.spawn(send, i) for i in range(8)]
    got = sorted(receiver.recv(20) for _ in range(160))
    assert got == sorted(b"%d %d" % (i, n) for i in range(8) for n in range(20))
    for sender in senders:
        sender.get()


def test_unix_receiver_that_is_gone(sockets, opened):
    a, b = unix_pair(sockets, opened, std_socket.AF_UNIX, std_socket.SOCK_DGRAM)
    b.close()
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        a.send(b"x")
    with refused(errno.ECONNREFUSED, errno.ENOENT):
        a.sendto(b"x", abstract_name())


def test_packets_in_order(lib, sockets, opened):
    """SOCK_SEQPACKET: connections like a stream's, limits like a datagram's, and an end."""
    address = abstract_name()
    listener = opened.enter_context(sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_SEQPACKET))
    listener.bind(address)
    listener.listen()
    accepted = lib.spawn(listener.accept)
    client = opened.enter_context(sockets.socket(std_socket.AF_UNIX, std_socket.SOCK_SEQPACKET))
    client.connect(address)
    server, _address = accepted.get()
    opened.enter_context(server)
    reader = lib.spawn(lambda: [server.recv(10), server.recv(2), server.recv(10), server.recv(10)])
    let_run(lib)
    for packet in (b"one", b"two", b"three"):
        client.send(packet)
    client.close()
    assert reader.get() == [b"one", b"tw", b"three", b""]


def test_packets_to_a_slow_reader(lib, sockets, opened):
    a, b = unix_pair(sockets, opened, std_socket.AF_UNIX, std_socket.SOCK_SEQPACKET)
    packets = [b"%d" % i * 1000 for i in range(1000)]

    def send():
        for packet in packets:
            a.sendall(packet)

    sender = lib.spawn(send)
    assert [b.recv(10_000) for _ in packets] == packets
    sender.get()


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


@pytest.mark.parametrize("arguments", [(b"x",), (b"x", 0, (LOCALHOST, 9), 4)])
def test_sendto_counts_its_arguments(sockets, opened, arguments):
    sock = opened.enter_context(sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM))
    with pytest.raises(TypeError, match=rf"sendto\(\) takes 2 or 3 arguments \({len(arguments)} given\)"):
        sock.sendto(*arguments)


# ---------------------------------------------------------------- nothing to read, and the end

READS = {
    "recv": lambda sock, size: sock.recv(size),
    "recv_into": lambda sock, size: bytes(sock.recv_into(bytearray(size))),
    "recvfrom": lambda sock, size: sock.recvfrom(size)[0],
    "recvfrom_into": lambda sock, size: bytes(sock.recvfrom_into(bytearray(size))[0]),
    "recvmsg": lambda sock, size: sock.recvmsg(size)[0],
    "recvmsg_into": lambda sock, size: bytes(sock.recvmsg_into([bytearray(size)])[0]),
}


@pytest.mark.parametrize("name", ["recv", "recv_into"])
def test_to_read_nothing_does_not_wait_and_takes_no_datagram_away(sockets, opened, name):
    a, b = udp(sockets, opened), udp(sockets, opened)
    assert READS[name](b, 0) == b""
    a.sendto(b"one", b.getsockname())
    assert READS[name](b, 0) == b""
    assert b.recv(10) == b"one"


@pytest.mark.parametrize("name", ["recv", "recv_into", "file"])
def test_to_read_nothing_from_a_stream_does_not_wait(ends, name):
    with ends[0].makefile("rb", buffering=0) as file:
        assert (file.read(0) if name == "file" else READS[name](ends[0], 0)) == b""


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("name", READS)
def test_shutdown_of_a_datagram_socket_wakes_all_its_readers(hub, lib, sockets, opened, name, connected):
    if hub.backend.name == "kqueue":
        pytest.skip("where there is kqueue, the kernel tells this to a recv that does not block, too")
    a, b = udp(sockets, opened), udp(sockets, opened)
    if connected:
        a.connect(b.getsockname())
    readers = [lib.spawn(READS[name], a, 10) for _ in range(3)]
    let_run(lib)
    if connected:
        a.shutdown(std_socket.SHUT_RDWR)
    else:
        with pytest.raises(OSError) as refusal:  # it takes effect all the same
            a.shutdown(std_socket.SHUT_RDWR)
        assert refusal.value.errno == errno.ENOTCONN
    assert [reader.get() for reader in readers] == [b""] * 3
    assert READS[name](a, 10) == b""


def test_what_came_before_a_shutdown_is_still_read(lib, sockets, opened):
    a, b = udp(sockets, opened), udp(sockets, opened)
    a.connect(b.getsockname())
    b.sendto(b"one", a.getsockname())
    a.shutdown(std_socket.SHUT_RD)
    assert a.recvfrom(10) == (b"one", b.getsockname())
    assert a.recvfrom(10) == (b"", None)


def test_what_cannot_be_written_to_is_a_type_error(sockets, opened):
    sock = udp(sockets, opened)
    for call in (sock.recv_into, sock.recvfrom_into):
        with pytest.raises(TypeError):
            call(b"read-only")
    for call, into in ((sock.recvmsg, 1), (sock.recvmsg_into, [bytearray(1)])):
        with pytest.raises(ValueError):
            call(into, -1)


def test_sendto_is_audited(run_script):
    run_script(
        """
import sys
from gevlite import socket
seen = []
sys.addaudithook(lambda event, args: event == "socket.sendto" and seen.append(args))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 0))
    sock.sendto(b"x", sock.getsockname())
    sock.sendto(b"x", 0, ("localhost", sock.getsockname()[1]))
    assert [address for _, address in seen] == [sock.getsockname(), ("localhost", sock.getsockname()[1])], seen
    assert {sender for sender, _ in seen} == {sock}
"""
    )
