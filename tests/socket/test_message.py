"""sendmsg, recvmsg, passing descriptors, sendfile: compared with the original."""

import array
import errno
import io
import os
import socket as std_socket
import struct

import pytest
from both_ends import BIG, fill, let_run, recv_all, recv_exactly, refused, tcp_pair, udp, unix_pair

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
    a, b = unix_pair(sockets, opened)
    r, w = os.pipe()
    sockets.send_fds(a, [b"take this"], [w])
    os.close(w)
    data, fds, _flags, _address = sockets.recv_fds(b, 100, 4)
    assert data == b"take this"
    os.write(fds[0], b"through")
    assert os.read(r, 10) == b"through"
    os.close(fds[0])
    os.close(r)


def rights(*fds):
    return [(std_socket.SOL_SOCKET, std_socket.SCM_RIGHTS, array.array("i", fds))]


def descriptors(ancillary):
    """The descriptors in a result of recvmsg."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        assert (level, kind) == (std_socket.SOL_SOCKET, std_socket.SCM_RIGHTS)
        fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


@pytest.mark.parametrize("kind", [std_socket.SOCK_STREAM, std_socket.SOCK_DGRAM, std_socket.SOCK_SEQPACKET])
def test_descriptors_by_hand(lib, sockets, opened, kind):
    """SCM_RIGHTS through sendmsg to a recvmsg and a recvmsg_into that already wait."""
    a, b = unix_pair(sockets, opened, std_socket.AF_UNIX, kind)
    r, w = os.pipe()
    space = std_socket.CMSG_SPACE(4 * array.array("i").itemsize)
    buffers = [bytearray(2), bytearray(10)]
    for receive in (lambda: b.recvmsg(100, space), lambda: b.recvmsg_into(buffers, space)):
        receiver = lib.spawn(receive)
        let_run(lib)
        assert a.sendmsg([b"da", b"ta"], rights(r, w)) == 4
        data, ancillary, flags, _address = receiver.get()
        assert data in (b"data", 4)
        assert not flags & (std_socket.MSG_TRUNC | std_socket.MSG_CTRUNC)
        r2, w2 = descriptors(ancillary)
        os.write(w2, b"through")
        assert os.read(r, 10) == b"through"
        os.close(r2)
        os.close(w2)
    assert b"".join(bytes(buffer) for buffer in buffers).rstrip(b"\0") == b"data"
    os.close(r)
    os.close(w)


def test_no_room_for_descriptors(sockets, opened):
    """They are closed, and MSG_CTRUNC says so; the data arrives."""
    a, b = unix_pair(sockets, opened)
    a.sendmsg([b"data"], rights(0))
    data, ancillary, flags, _address = b.recvmsg(10, 0)
    assert (data, ancillary) == (b"data", [])
    assert flags & std_socket.MSG_CTRUNC


def test_a_socket_travels(lib, sockets, opened):
    """A connection accepted here is served by the process that gets its descriptor."""
    a, b = unix_pair(sockets, opened)
    client, server = tcp_pair(sockets, opened)

    def serve():
        _data, (fd,), _flags, _address = sockets.recv_fds(b, 10, 1)
        with sockets.socket(fileno=fd) as sock:
            sock.sendall(sock.recv(10).upper())

    worker = lib.spawn(serve)
    sockets.send_fds(a, [b"x"], [server.fileno()])
    server.close()
    client.sendall(b"hello")
    assert client.recv(10) == b"HELLO"
    worker.get()


def test_credentials(sockets, opened):
    if not hasattr(std_socket, "SCM_CREDENTIALS"):
        pytest.skip("Linux")
    a, b = unix_pair(sockets, opened)
    b.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_PASSCRED, 1)
    a.send(b"x")
    _data, ((_level, kind, data),), _flags, _address = b.recvmsg(1, 100)
    assert kind == std_socket.SCM_CREDENTIALS
    assert struct.unpack("3i", data) == (os.getpid(), os.getuid(), os.getgid())


def test_buffers_may_come_from_a_generator(lib, sockets, opened):
    """They are not lost if the call has to wait after it took them."""
    a, b = unix_pair(sockets, opened)
    fill(a)
    a.settimeout(5)
    sender = lib.spawn(lambda: a.sendmsg(part for part in (b"la", b"st")))
    let_run(lib)
    while (data := b.recv(1 << 20)).endswith(b"x"):
        pass
    assert data.endswith(b"last")
    assert sender.get() == 4
    one, two = bytearray(2), bytearray(2)
    receiver = lib.spawn(lambda: b.recvmsg_into(part for part in (one, two)))
    let_run(lib)
    a.send(b"1234")
    assert receiver.get()[0] == 4
    assert (one, two) == (b"12", b"34")


def test_an_error_queue_is_not_waited_for(sockets, opened):
    sock = udp(sockets, opened)
    for call in (
        lambda: sock.recvmsg(10, 100, std_socket.MSG_ERRQUEUE),
        lambda: sock.recv(10, std_socket.MSG_ERRQUEUE),
    ):
        with refused(errno.EAGAIN):
            call()


def test_crypto_sockets(sockets, opened):
    """sendmsg_afalg, which nothing but AF_ALG sockets have."""
    try:
        sock = opened.enter_context(sockets.socket(std_socket.AF_ALG, std_socket.SOCK_SEQPACKET, 0))
        sock.bind(("skcipher", "cbc(aes)"))
    except (AttributeError, OSError):
        pytest.skip("no AF_ALG here")
    sock.setsockopt(std_socket.SOL_ALG, std_socket.ALG_SET_KEY, bytes(16))
    operation, _address = sock.accept()
    with operation:
        text = b"sixteen bytes..." * 2
        operation.sendmsg_afalg([text], op=std_socket.ALG_OP_ENCRYPT, iv=bytes(16))
        secret = operation.recv(len(text))
        operation.sendmsg_afalg([secret], op=std_socket.ALG_OP_DECRYPT, iv=bytes(16))
        assert operation.recv(len(text)) == text


def test_a_unix_stream_is_read_to_its_end_across_descriptors(sockets, opened):
    """A read stops at ancillary data: that must not be taken to mean that no data follows."""
    a, b = unix_pair(sockets, opened)
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
    """The data sent, the return value, and the file's position afterwards."""
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
    """Read and sent, to its end or as much as is asked for. (The original returns 0.)"""
    a, b = ours
    r, w = os.pipe()
    os.write(w, b"through the pipe")
    os.close(w)
    with open(r, "rb") as file:
        assert a.sendfile(file, 0, 7) == 7
        assert a.sendfile(file) == 9
        with pytest.raises(OSError):
            a.sendfile(file, 3)  # there is no way to an offset
    assert recv_exactly(b, 16) == b"through the pipe"


def test_sendfile_from_a_device(ours):
    a, b = ours
    with open("/dev/zero", "rb") as file:
        assert a.sendfile(file, 0, 100_000) == 100_000
    assert recv_exactly(b, 100_000) == bytes(100_000)


def test_sendfile_from_a_file_of_no_size(ours):
    """Of /proc: it says 0 and has content; sendfile(2) sends none. (The original sends nothing.)"""
    if not os.path.exists("/proc/self/cmdline"):
        pytest.skip("Linux")
    a, b = ours
    with open("/proc/self/cmdline", "rb") as file:
        expected = file.read()
        assert a.sendfile(file) == len(expected)
    assert recv_exactly(b, len(expected)) == expected


def test_sendfile_that_fails_says_how_far_it_came(ends, big_file):
    """By the file's position."""
    a, b = ends
    a.settimeout(0.05)
    with pytest.raises(TimeoutError):
        a.sendfile(big_file, 10)
    sent = big_file.tell() - 10
    assert 0 < sent < len(BIG)
    assert recv_exactly(b, sent) == BIG[10 : 10 + sent]
    with refused(errno.EAGAIN):
        b.recv(1, std_socket.MSG_DONTWAIT)


def test_sendfile_while_others_run(start, ours, big_file):
    a, b = ours
    ticks = []
    sender = start(a.sendfile, big_file)
    while sum(map(len, ticks)) < len(BIG):
        ticks.append(b.recv(1 << 16))
    assert sender.get() == len(BIG)
    assert b"".join(ticks) == BIG


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
