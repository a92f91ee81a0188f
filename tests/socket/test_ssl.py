"""gevlite.ssl: TLS as the original does it, blocking only the greenlet that calls.

Tests that take `lib` run twice with the same assertions: against the original in threads, then against the twin.
"""

import contextlib
import errno
import gc
import http.client
import io
import os
import re
import socket as std_socket
import ssl as std_ssl
import struct
import threading
import time
import urllib.request
import weakref

import pytest

import gevlite
from gevlite import socket, ssl
from gevlite._sslio import Conversation

LOCALHOST = "127.0.0.1"
BIG = bytes(range(256)) * 4096 * 4      # 4 MiB


@pytest.fixture
def tls(lib):
    """The ssl module under test."""
    return lib.module("ssl")


@pytest.fixture
def sockets(lib):
    return lib.module("socket")


@pytest.fixture
def opened():
    """An ExitStack that closes what a test opens."""
    with contextlib.ExitStack() as stack:
        yield stack


def server_context(module, certificates):
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    return context


def client_context(module, certificates):
    return module.create_default_context(cafile=certificates.ca)


class Pair:
    """A client and a server that have shaken hands."""

    def __init__(self, lib, opened, certificates, family="tcp", setup=None, **client_arguments):
        module, sockets = lib.module("ssl"), lib.module("socket")
        self.server_context = server_context(module, certificates)
        self.client_context = client_context(module, certificates)
        if setup:
            setup(self)
        if family == "tcp":
            with sockets.create_server((LOCALHOST, 0)) as listener:
                a = opened.enter_context(sockets.create_connection(listener.getsockname()))
                b = opened.enter_context(listener.accept()[0])
        else:
            a, b = (opened.enter_context(end) for end in sockets.socketpair())
        self.raw = a, b
        server = lib.spawn(lambda: self.server_context.wrap_socket(b, server_side=True))
        client_arguments.setdefault("server_hostname", "localhost")
        self.client = opened.enter_context(self.client_context.wrap_socket(a, **client_arguments))
        self.server = opened.enter_context(server.get())

    def __iter__(self):
        return iter((self.client, self.server))


@pytest.fixture(params=["tcp", "unix"])
def ends(request, lib, opened, certificates):
    """A client and a server, over each family."""
    return Pair(lib, opened, certificates, request.param)


@pytest.fixture
def ours(start, opened, certificates):
    """A client and a server of gevlite."""

    class Lib:
        spawn = staticmethod(start)
        module = staticmethod({"ssl": ssl, "socket": socket}.__getitem__)

    return Pair(Lib, opened, certificates)


@pytest.fixture
def older(opened, lib, certificates):
    """The same with TLS 1.2."""

    def setup(pair):
        pair.client_context.maximum_version = std_ssl.TLSVersion.TLSv1_2

    return Pair(lib, opened, certificates, setup=setup)


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


def waiting_for(n=1):
    """A condition: that many greenlets wait for a descriptor."""
    hub = gevlite.get_hub()
    return lambda: hub.stats()["fd_waiters"] == n


@contextlib.contextmanager
def refused(code):
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code


# ---------------------------------------------------------------- data

def test_echo(lib, ends):
    client, server = ends

    def echo():
        while data := server.recv(1000):
            server.sendall(data)
        server.unwrap()

    peer = lib.spawn(echo)
    for message in (b"one", b"two" * 5000, b"\0"):
        assert client.sendall(message) is None
        assert recv_exactly(client, len(message)) == message
    plain = client.unwrap()
    assert plain is client
    peer.get()


def test_a_reader_that_came_first(lib, ends):
    """It is woken by each record, and nothing stays behind in OpenSSL's buffer."""
    client, server = ends
    reader = lib.spawn(recv_exactly, server, 60_000)
    for i in range(20):
        client.sendall(BIG[i * 3000 : (i + 1) * 3000])
    assert reader.get() == BIG[:60_000]


def test_small_reads_of_one_record(lib, ends):
    """After the first read nothing is left in the kernel, but OpenSSL still has data: the next must not wait."""
    client, server = ends
    client.sendall(b"0123456789")
    assert server.recv(1) == b"0"
    assert server.pending() == 9
    assert [server.recv(2) for _ in range(4)] == [b"12", b"34", b"56", b"78"]
    assert server.recv(100) == b"9"
    assert server.pending() == 0
    reader = lib.spawn(server.recv, 100)
    client.sendall(b"next")
    assert reader.get() == b"next"


def test_recv_into(ends):
    client, server = ends
    client.sendall(b"abcdefgh")
    buffer = bytearray(10)
    assert server.recv_into(buffer, 2) == 2
    assert server.recv_into(memoryview(buffer)[2:4]) == 2
    assert server.read(3, buffer) == 3
    assert buffer == b"efgd" + bytes(6)
    assert server.read(1) == b"h"


def test_reading_nothing_does_not_wait(ends):
    client, server = ends
    client.sendall(b"xy")
    assert server.recv(1) == b"x"
    assert server.recv(0) == b""
    assert server.recv(1) == b"y"
    assert server.recv(0) == b""
    assert server.recv_into(bytearray()) == 0
    with pytest.raises(ValueError):
        server.recv(-1)


def test_send_and_write(lib, ends):
    client, server = ends
    assert client.send(b"abc") == 3
    assert client.write(memoryview(b"de")) == 2
    assert client.send(b"") == 0
    client.sendall(b"")
    client.sendall(bytearray(b"f"))
    assert recv_exactly(server, 6) == b"abcdef"
    for bad in ("text", 5, None):
        with pytest.raises(TypeError):
            client.send(bad)
        with pytest.raises(TypeError):
            client.sendall(bad)


def test_sendall_to_a_slow_reader(lib, ends):
    client, server = ends
    writer = lib.spawn(client.sendall, memoryview(BIG).cast("I"))
    assert recv_exactly(server, len(BIG)) == BIG
    writer.get()


def test_full_duplex(ours, start):
    """One greenlet reads and one writes on each end, with full buffers in both directions.

    (The original's object may not be used by two threads at once everywhere.)
    """
    client, server = ours
    other = BIG[::-1]
    tasks = [
        start(client.sendall, BIG),
        start(server.sendall, other),
        start(recv_exactly, client, len(other)),
        start(recv_exactly, server, len(BIG)),
    ]
    assert [task.get() for task in tasks] == [None, None, other, BIG]


def test_writers_take_turns(ours, start):
    """A record that waits for room is finished before another greenlet's begins; no byte is lost or doubled."""
    client, server = ours
    letters = b"abcdefgh"
    writers = [start(client.sendall, bytes([letter]) * 300_000) for letter in letters]
    data = recv_exactly(server, 300_000 * len(letters))
    for writer in writers:
        writer.get()
    assert {letter: data.count(letter) for letter in letters} == dict.fromkeys(letters, 300_000)


def test_readers_share(ours, start, settle):
    """Several readers: each byte goes to one, also when one record serves all of them."""
    client, server = ours
    client.sendall(b"!")
    assert server.recv(1) == b"!"
    readers = [start(server.recv, 1) for _ in range(10)]
    assert settle(waiting_for(10))
    client.sendall(b"0123456789")
    assert sorted(reader.get() for reader in readers) == [b"%d" % i for i in range(10)]


def test_makefile(lib, ends):
    client, server = ends

    def upper():
        with server.makefile("rwb") as file:
            server.close()
            for line in file:
                file.write(line.upper())
                file.flush()

    peer = lib.spawn(upper)
    with client.makefile("rw", encoding="utf-8", newline="\n") as file:
        for line in ("eins\n", "zwei\n"):
            file.write(line)
            file.flush()
            assert file.readline() == line.upper()
    client.close()
    peer.get()


@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, 100_000)])
def test_sendfile(lib, ends, tmp_path, offset, count):
    client, server = ends
    (tmp_path / "file").write_bytes(BIG[:500_000])
    expected = BIG[offset : 500_000 if count is None else offset + count]
    reader = lib.spawn(recv_exactly, server, len(expected))
    with (tmp_path / "file").open("rb") as file:
        assert client.sendfile(file, offset, count) == len(expected)
        assert file.tell() == offset + len(expected)
    assert reader.get() == expected
    assert client.sendfile(io.BytesIO(b"memory")) == 6
    assert recv_exactly(server, 6) == b"memory"


def test_flags_and_datagram_calls_are_refused(ends):
    client, _server = ends
    for call in (
        lambda: client.recv(1, std_socket.MSG_PEEK),
        lambda: client.recv_into(bytearray(1), 1, std_socket.MSG_PEEK),
        lambda: client.send(b"x", std_socket.MSG_OOB),
        lambda: client.sendall(b"x", std_socket.MSG_OOB),
        lambda: client.recvfrom(1),
        lambda: client.recvfrom_into(bytearray(1)),
        lambda: client.sendto(b"x", ("127.0.0.1", 1)),
        lambda: client.sendto(b"x", 0, ("127.0.0.1", 1)),
    ):
        with pytest.raises(ValueError, match="not allowed"):
            call()
    for call in (client.dup, lambda: client.recvmsg(1), lambda: client.recvmsg_into([]), lambda: client.sendmsg([b""])):
        with pytest.raises(NotImplementedError):
            call()


# ---------------------------------------------------------------- the end

def test_ragged_end_is_an_end(lib, ends):
    """A peer that closes without goodbye: b"" by default."""
    client, server = ends
    client.sendall(b"x")
    assert server.recv(10) == b"x"
    server.sendall(b"y")
    assert client.recv(10) == b"y"      # and the session tickets: closing with unread data would be a reset
    reader = lib.spawn(lambda: (server.recv(10), server.recv(10)))
    client.close()
    assert reader.get() == (b"", b"")
    assert server.recv_into(bytearray(1)) == 0


def test_ragged_end_can_be_an_error(lib, opened, certificates):
    client, server = Pair(lib, opened, certificates, suppress_ragged_eofs=False)
    server.close()
    with pytest.raises(std_ssl.SSLEOFError):
        client.recv(10)


def test_goodbye_is_an_end_that_stays(lib, ends):
    """After the peer's goodbye every read says so at once, though the connection below is still open."""
    client, server = ends
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    goodbye = lib.spawn(client.unwrap)
    assert server.recv(10) == b""
    assert server.recv(10) == b""
    assert server.unwrap() is server
    goodbye.get()
    client.sendall(b"clear text")
    assert server.recv(100) == b"clear text"
    with pytest.raises(ValueError):
        server.unwrap()
    with pytest.raises(ValueError):
        server.read(1)
    with pytest.raises(ValueError):
        server.write(b"x")


def test_shutdown(ends):
    client, server = ends
    client.shutdown(std_socket.SHUT_RDWR)
    assert server.recv(10) == b""


def test_closed(ends):
    client, _server = ends
    client.close()
    assert client.fileno() == -1
    for call in (lambda: client.recv(1), lambda: client.send(b"x"), lambda: client.sendall(b"x")):
        with refused(errno.EBADF):
            call()
    for call in (client.read, lambda: client.write(b"x"), client.unwrap):
        with pytest.raises(ValueError):
            call()


def test_reset_by_peer(lib, opened, certificates):
    """OpenSSL makes a ragged end of it, or lets the reset through."""
    client, server = Pair(lib, opened, certificates, suppress_ragged_eofs=False)
    reader = lib.spawn(client.recv, 10)
    server.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    with pytest.raises((ConnectionResetError, std_ssl.SSLEOFError)):
        reader.get()


def test_closing_wakes_who_waits(ours, start, settle):
    client, _server = ours
    reader, writer = start(client.recv, 10), start(client.sendall, BIG)
    assert settle(waiting_for(2))
    client.close()
    for waiter in (reader, writer):
        with refused(errno.EBADF):
            waiter.get()


def test_nothing_keeps_it_alive(start, certificates):
    """No reference cycle: a socket that is dropped is gone at once, after reads, time-outs and errors too."""
    a, b = socket.socketpair()
    context = server_context(ssl, certificates)
    handle = start(lambda: context.wrap_socket(b, server_side=True))
    client = client_context(ssl, certificates).wrap_socket(a, server_hostname="localhost")
    server = handle.get()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    server.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.recv(1)
    alive = weakref.ref(server)
    gc.disable()
    try:
        with pytest.warns(ResourceWarning):
            del server, handle
            start.__self__.started.clear()
        assert alive() is None
        assert client.recv(10) == b""
    finally:
        gc.enable()
        client.close()


# ---------------------------------------------------------------- time-outs and non-blocking mode

def test_reading_times_out(ends):
    client, server = ends
    server.settimeout(0.05)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="The read operation timed out"):
            server.recv(10)
        assert time.monotonic() - began >= 0.05
    client.sendall(b"late")
    assert server.recv(10) == b"late"
    with pytest.raises(TimeoutError, match="The read operation timed out"):
        server.recv(10)


def test_writing_times_out(ends):
    client, _server = ends
    client.settimeout(0.05)
    with pytest.raises(TimeoutError, match="The write operation timed out"):
        client.sendall(BIG * 4)


def test_unwrap_times_out(ends):
    client, _server = ends
    client.settimeout(0.05)
    with pytest.raises(TimeoutError, match="The read operation timed out"):
        client.unwrap()


@pytest.mark.parametrize("side", ["client", "server"])
def test_handshake_times_out(tls, sockets, opened, certificates, side):
    """The peer says nothing: TimeoutError, and the descriptor is closed, since nobody else has it any more."""
    a, b = (opened.enter_context(end) for end in sockets.socketpair())
    a.settimeout(0.05)
    with pytest.raises(TimeoutError, match="The handshake operation timed out"):
        if side == "client":
            client_context(tls, certificates).wrap_socket(a, server_hostname="localhost")
        else:
            server_context(tls, certificates).wrap_socket(a, server_side=True)
    assert a.fileno() == -1
    b.settimeout(5)
    while b.recv(10_000):
        pass


def test_timeout_is_taken_over(tls, sockets, opened, certificates):
    a, _b = (opened.enter_context(end) for end in sockets.socketpair())
    a.settimeout(7)
    wrapped = opened.enter_context(
        client_context(tls, certificates).wrap_socket(a, do_handshake_on_connect=False, server_hostname="localhost")
    )
    assert wrapped.gettimeout() == 7.0
    assert a.fileno() == -1


def test_nonblocking(lib, ends):
    client, server = ends
    server.setblocking(False)
    with pytest.raises(std_ssl.SSLWantReadError):
        server.recv(1)
    with pytest.raises(std_ssl.SSLWantReadError):
        server.recv_into(bytearray(1))
    with pytest.raises(std_ssl.SSLWantWriteError):
        while True:
            server.send(b"x" * 16384)
    client.settimeout(5)
    assert client.recv(1) == b"x"


def test_nonblocking_handshake(lib, tls, sockets, opened, certificates):
    """Step by step, with select, as an event loop does it."""
    a, b = (opened.enter_context(end) for end in sockets.socketpair())
    a.setblocking(False)
    context = client_context(tls, certificates)
    with pytest.raises(ValueError, match="non-blocking"):
        c, _d = (opened.enter_context(end) for end in sockets.socketpair())
        c.setblocking(False)
        context.wrap_socket(c, server_hostname="localhost")
    server = lib.spawn(lambda: server_context(tls, certificates).wrap_socket(b, server_side=True))
    client = opened.enter_context(
        context.wrap_socket(a, do_handshake_on_connect=False, server_hostname="localhost")
    )
    assert client.version() is None
    select = lib.module("select").select
    wanted = set()
    while True:
        try:
            client.do_handshake()
            break
        except std_ssl.SSLWantReadError:
            wanted.add("read")
            select([client], [], [], 5)
        except std_ssl.SSLWantWriteError:
            select([], [client], [], 5)
    assert wanted == {"read"}
    assert client.version().startswith("TLS")
    opened.enter_context(server.get())


def test_do_handshake_may_block(lib, tls, sockets, opened, certificates):
    a, b = (opened.enter_context(end) for end in sockets.socketpair())
    a.setblocking(False)
    server = lib.spawn(lambda: server_context(tls, certificates).wrap_socket(b, server_side=True))
    client = opened.enter_context(
        client_context(tls, certificates).wrap_socket(a, do_handshake_on_connect=False, server_hostname="localhost")
    )
    client.do_handshake(block=True)
    assert client.gettimeout() == 0.0
    opened.enter_context(server.get())


def test_reading_shakes_hands(lib, tls, sockets, opened, certificates):
    """Without an explicit handshake the first read does it; it has to write before it can wait."""
    a, b = (opened.enter_context(end) for end in sockets.socketpair())
    client = opened.enter_context(
        client_context(tls, certificates).wrap_socket(a, do_handshake_on_connect=False, server_hostname="localhost")
    )
    reader = lib.spawn(client.recv, 10)
    server = opened.enter_context(server_context(tls, certificates).wrap_socket(b, server_side=True))
    server.sendall(b"hello")
    assert reader.get() == b"hello"


# ---------------------------------------------------------------- cooperation

def test_a_stalled_handshake_blocks_only_its_greenlet(start, opened, certificates, settle):
    context = server_context(ssl, certificates)
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    plain = opened.enter_context(socket.create_connection(listener.getsockname()))
    accepted = listener.accept()[0]
    stalled = start(lambda: context.wrap_socket(accepted, server_side=True))
    assert settle(waiting_for(1))

    def serve():
        with context.wrap_socket(listener.accept()[0], server_side=True) as sock:
            sock.sendall(b"served")

    served = start(serve)
    with socket.create_connection(listener.getsockname()) as raw:
        with client_context(ssl, certificates).wrap_socket(raw, server_hostname="localhost") as sock:
            assert sock.recv(10) == b"served"
    served.get()
    assert not stalled.greenlet.ready()
    plain.close()
    with pytest.raises((std_ssl.SSLError, OSError)):
        stalled.get()


@pytest.mark.parametrize("how", ["kill", "Timeout"])
def test_ended_inside_a_handshake(start, opened, certificates, settle, how):
    """The descriptor is closed: nobody else has it any more."""
    a, b = (opened.enter_context(end) for end in socket.socketpair())
    context = client_context(ssl, certificates)

    def shake():
        if how == "kill":
            context.wrap_socket(a, server_hostname="localhost")
        else:
            with gevlite.Timeout(0.01, False):
                context.wrap_socket(a, server_hostname="localhost")

    doomed = start(shake)
    if how == "kill":
        assert settle(waiting_for(1))
        doomed.greenlet.kill()
    else:
        doomed.get()
    b.settimeout(5)
    while b.recv(10_000):       # its hello, then the end
        pass


def test_timeout_inside_recv(ours):
    client, server = ours
    for _ in range(2):
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
            server.recv(10)
    client.sendall(b"later")
    assert server.recv(10) == b"later"
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
        server.recv(10)


def test_kill_inside_recv(ours, start, settle):
    client, server = ours
    doomed, other = start(server.recv, 10), start(server.recv, 10)
    assert settle(waiting_for(2))
    doomed.greenlet.kill()
    client.sendall(b"for other")
    assert other.get() == b"for other"


def test_a_failed_write_does_not_hold_the_turn(ours, start, settle):
    """Killed in the middle of a write: the next writer is not kept waiting for a turn that never ends."""
    client, server = ours
    doomed = start(client.sendall, b"x" * len(BIG))
    assert settle(waiting_for(1))
    waiting = start(client.sendall, b"x" * len(BIG))
    gevlite.sleep(0)
    doomed.greenlet.kill()
    assert set(recv_exactly(server, len(BIG))) == set(b"x")
    waiting.get()


def test_used_from_two_threads(ours):
    client, server = ours
    client.sendall(b"here")
    assert server.recv(10) == b"here"
    got = []

    def elsewhere():
        got.append(server.recv(10))
        server.sendall(BIG)
        gevlite.get_hub().destroy()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    client.sendall(b"there")
    assert recv_exactly(client, len(BIG)) == BIG
    thread.join()
    assert got == [b"there"]


class Machine:
    """Stands in for OpenSSL where no peer can be made to misbehave on purpose: it may want the other direction."""

    def __init__(self, sock):
        self.sock = sock
        self.agreed = False

    def pending(self):
        return 0

    def read(self, n):
        try:
            data = self.sock.recv(n, std_socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise std_ssl.SSLWantReadError from None
        if data == b"agree":
            self.agreed = True
            raise std_ssl.SSLWantReadError
        return data

    def write(self, data):
        if not self.agreed:
            raise std_ssl.SSLWantReadError
        return self.sock.send(data)


@pytest.mark.parametrize("readers", [1, 3])
def test_a_write_that_waits_for_a_read(opened, start, settle, readers):
    """What it waits for is taken from the kernel by a reader, which has no data yet: the writer must hear of it."""
    a, b = (opened.enter_context(end) for end in socket.socketpair())
    machine, conversation = Machine(a), Conversation()
    handles = [start(conversation.read, a, machine, 5) for _ in range(readers)]
    assert settle(waiting_for(readers))
    writer = start(conversation.write, a, machine, b"data")
    assert settle(waiting_for(readers + 1))
    b.send(b"agree")
    assert writer.get(5) == 4
    assert b.recv(10) == b"data"
    for done in range(1, readers + 1):
        b.send(b"plain")
        assert settle(lambda done=done: sum(handle.greenlet.ready() for handle in handles) == done)


def test_nobody_is_nudged_without_end(opened, start, settle):
    """Two that wait for the other direction must not wake each other over and over."""
    a, b = (opened.enter_context(end) for end in socket.socketpair())
    machine, conversation = Machine(a), Conversation()
    start(conversation.read, a, machine, 5)
    start(conversation.write, a, machine, b"data")
    start(conversation.read, a, machine, 5)
    assert settle(waiting_for(3))
    b.send(b"?")
    gevlite.sleep(0.01)
    before = gevlite.get_hub().stats()["switches"]
    gevlite.sleep(0.05)
    assert gevlite.get_hub().stats()["switches"] - before < 10


# ---------------------------------------------------------------- connect and accept

def test_wrapped_listener_and_wrapped_client(lib, tls, sockets, opened, certificates):
    """accept() of a wrapped listener shakes hands; connect() of a wrapped socket connects and does too."""
    listener = opened.enter_context(
        server_context(tls, certificates).wrap_socket(sockets.create_server((LOCALHOST, 0)), server_side=True)
    )

    def serve():
        connection, address = listener.accept()
        with connection:
            assert isinstance(connection, tls.SSLSocket)
            connection.sendall(b"hello")
            return address

    server = lib.spawn(serve)
    client = opened.enter_context(
        client_context(tls, certificates).wrap_socket(sockets.socket(), server_hostname="localhost")
    )
    assert client.version() is None
    with refused(errno.ENOTCONN):
        client.do_handshake()
    client.connect(listener.getsockname())
    assert recv_all(client) == b"hello"
    assert server.get() == client.getsockname()
    with pytest.raises(ValueError):
        client.connect(listener.getsockname())
    with pytest.raises(ValueError):
        listener.connect((LOCALHOST, 1))


def test_wrapped_client_connect_ex(lib, tls, sockets, opened, certificates):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        nobody = listener.getsockname()
    context = client_context(tls, certificates)
    client = opened.enter_context(context.wrap_socket(sockets.socket(), server_hostname="localhost"))
    assert client.connect_ex(nobody) == errno.ECONNREFUSED
    client = opened.enter_context(context.wrap_socket(sockets.socket(), server_hostname="localhost"))
    with pytest.raises(ConnectionRefusedError):
        client.connect(nobody)


def test_accept_of_a_client_that_speaks_no_tls(lib, tls, sockets, opened, certificates):
    """accept() raises what went wrong, and the listener goes on."""
    listener = opened.enter_context(
        server_context(tls, certificates).wrap_socket(sockets.create_server((LOCALHOST, 0)), server_side=True)
    )
    server = lib.spawn(listener.accept)
    with sockets.create_connection(listener.getsockname()) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
        with pytest.raises((std_ssl.SSLError, ConnectionResetError)):
            server.get()
    server = lib.spawn(lambda: listener.accept()[0])
    raw = opened.enter_context(sockets.create_connection(listener.getsockname()))
    opened.enter_context(client_context(tls, certificates).wrap_socket(raw, server_hostname="localhost"))
    opened.enter_context(server.get())


def test_data_before_the_handshake_of_a_dead_connection(lib, tls, sockets, opened, certificates):
    """Bytes received before TLS, on a connection that is gone: never to be taken for decrypted ones."""
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    a = opened.enter_context(sockets.create_connection(listener.getsockname()))
    b = opened.enter_context(listener.accept()[0])
    a.sendall(b"early")
    b.recv(5, std_socket.MSG_PEEK)
    a.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_LINGER, struct.pack("ii", 1, 0))
    a.close()
    with pytest.raises(OSError):
        with server_context(tls, certificates).wrap_socket(b, server_side=True) as sock:
            sock.recv(10)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"server_side": True, "server_hostname": "localhost"}, ValueError),
        ({}, ValueError),
        ({"server_hostname": ".bad"}, ValueError),
        ({"server_hostname": 5}, (TypeError, AttributeError)),
    ],
)
def test_bad_arguments(tls, sockets, opened, certificates, arguments, error):
    a, _b = (opened.enter_context(end) for end in sockets.socketpair())
    context = client_context(tls, certificates)
    with pytest.raises(error):
        context.wrap_socket(a, do_handshake_on_connect=False, **arguments)
    gc.collect()        # 3.11 and 3.12 leave the descriptor to the collector


def test_datagrams_are_refused(tls, sockets, opened, certificates):
    sock = opened.enter_context(sockets.socket(std_socket.AF_INET, std_socket.SOCK_DGRAM))
    with pytest.raises(NotImplementedError):
        client_context(tls, certificates).wrap_socket(sock, server_hostname="localhost")
    with pytest.raises(TypeError):
        tls.SSLSocket()


# ---------------------------------------------------------------- certificates and extensions

def test_what_is_known_of_the_peer(ends):
    client, server = ends
    assert ("DNS", "localhost") in client.getpeercert()["subjectAltName"]
    assert client.getpeercert(True).startswith(b"0")
    assert server.getpeercert() is None
    assert client.version() == server.version() == "TLSv1.3"
    assert client.cipher() == server.cipher()
    assert client.server_hostname == "localhost"
    assert client.server_side is False
    assert server.server_side is True
    assert client.compression() is None
    assert server.shared_ciphers()
    assert client.context.check_hostname is True
    assert client.getpeername() == server.getsockname()


def test_an_unknown_authority(lib, tls, sockets, opened, certificates):
    """Both sides learn it; both descriptors are closed."""
    a, b = (opened.enter_context(end) for end in sockets.socketpair())

    def serve():
        with server_context(tls, certificates).wrap_socket(b, server_side=True) as sock:
            sock.recv(1)

    server = lib.spawn(serve)
    with pytest.raises(std_ssl.SSLCertVerificationError) as caught:
        tls.create_default_context(cafile=certificates.client).wrap_socket(a, server_hostname="localhost")
    assert caught.value.verify_code
    with pytest.raises(std_ssl.SSLError, match=re.compile("unknown ca|alert", re.I)):
        server.get()


def test_a_wrong_host_name(lib, tls, sockets, opened, certificates):
    a, b = (opened.enter_context(end) for end in sockets.socketpair())
    server = lib.spawn(lambda: server_context(tls, certificates).wrap_socket(b, server_side=True).recv(1))
    with pytest.raises(std_ssl.SSLCertVerificationError, match="Hostname mismatch"):
        client_context(tls, certificates).wrap_socket(a, server_hostname="example.org")
    with pytest.raises(std_ssl.SSLError):
        server.get()


def test_client_certificate(lib, opened, certificates):
    def setup(pair):
        pair.server_context.verify_mode = std_ssl.CERT_REQUIRED
        pair.server_context.load_verify_locations(certificates.ca)
        pair.client_context.load_cert_chain(certificates.client)

    client, server = Pair(lib, opened, certificates, setup=setup)
    assert ("email", "client@example.org") in server.getpeercert()["subjectAltName"]
    client.sendall(b"x")
    assert server.recv(1) == b"x"


def test_alpn(lib, opened, certificates):
    def setup(pair):
        pair.server_context.set_alpn_protocols(["h2", "http/1.1"])
        pair.client_context.set_alpn_protocols(["http/1.1", "spdy/2"])

    client, server = Pair(lib, opened, certificates, setup=setup)
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "http/1.1"


def test_server_name_callback(lib, tls, opened, certificates):
    """Called in the handshake with the new socket, the name and the context; it may change the context."""
    seen = []
    other = server_context(tls, certificates)

    def callback(sock, name, context):
        seen.append((type(sock), name, context is pair_setup.server_context))
        sock.context = other

    def setup(pair):
        nonlocal pair_setup
        pair_setup = pair
        pair.server_context.sni_callback = callback

    pair_setup = None
    _client, server = Pair(lib, opened, certificates, setup=setup)
    assert seen == [(tls.SSLSocket, "localhost", True)]
    assert server.context is other


def test_server_name_callback_can_refuse(lib, opened, certificates):
    def setup(pair):
        pair.server_context.set_servername_callback(
            lambda sock, name, context: std_ssl.ALERT_DESCRIPTION_ACCESS_DENIED
        )

    with pytest.raises(std_ssl.SSLError, match=re.compile("access.denied", re.I)):
        Pair(lib, opened, certificates, setup=setup)


def test_session_is_reused(lib, tls, sockets, opened, certificates):
    contexts = {}

    def setup(pair):
        if contexts:
            pair.server_context, pair.client_context = contexts["server"], contexts["client"]
        else:
            pair.client_context.maximum_version = std_ssl.TLSVersion.TLSv1_2
            contexts.update(server=pair.server_context, client=pair.client_context)

    first, _server = Pair(lib, opened, certificates, setup=setup)
    assert first.session_reused is False
    assert isinstance(first.session, std_ssl.SSLSession)
    second, server = Pair(lib, opened, certificates, setup=setup, session=first.session)
    assert second.session_reused is True
    assert server.session_reused is True


def test_tls_1_2(lib, older):
    client, server = older
    assert client.version() == "TLSv1.2"
    reader = lib.spawn(recv_exactly, server, 100_000)
    client.sendall(BIG[:100_000])
    assert reader.get() == BIG[:100_000]
    assert client.get_channel_binding("tls-unique")
    assert client.get_channel_binding() == server.get_channel_binding()


def test_certificate_asked_for_later(lib, opened, certificates):
    """TLS 1.3 post-handshake authentication happens inside ordinary reads and writes."""

    def setup(pair):
        pair.server_context.verify_mode = std_ssl.CERT_REQUIRED
        pair.server_context.load_verify_locations(certificates.ca)
        pair.server_context.post_handshake_auth = True
        pair.client_context.load_cert_chain(certificates.client)
        pair.client_context.post_handshake_auth = True

    client, server = Pair(lib, opened, certificates, setup=setup)
    assert server.getpeercert() is None or not server.getpeercert()
    server.verify_client_post_handshake()
    server.sendall(b"who are you?")
    assert client.recv(100) == b"who are you?"
    client.sendall(b"me")
    assert server.recv(100) == b"me"
    assert ("email", "client@example.org") in server.getpeercert()["subjectAltName"]


def test_get_server_certificate(lib, tls, sockets, opened, certificates):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))

    def serve():
        with server_context(tls, certificates).wrap_socket(listener.accept()[0], server_side=True) as sock:
            with contextlib.suppress(ConnectionResetError):
                sock.recv(1)

    server = lib.spawn(serve)
    pem = tls.get_server_certificate(listener.getsockname(), ca_certs=certificates.ca, timeout=5)
    server.get()
    with open(certificates.server) as file:
        assert pem.strip() in file.read()


# ---------------------------------------------------------------- the module and its classes

def test_classes(ours, opened, certificates):
    client, server = ours
    for sock in (client, server):
        assert isinstance(sock, ssl.SSLSocket)
        assert isinstance(sock, std_ssl.SSLSocket)
        assert isinstance(sock, socket.socket)
        assert isinstance(sock, std_socket.socket)
    assert isinstance(ours.client_context, std_ssl.SSLContext)
    for function in (ssl.create_default_context, ssl._create_unverified_context, ssl._create_stdlib_context):
        assert type(function()) is ssl.SSLContext
    if hasattr(ssl, "wrap_socket"):
        a, _b = (opened.enter_context(end) for end in socket.socketpair())
        with pytest.warns(DeprecationWarning), ssl.wrap_socket(a, do_handshake_on_connect=False) as sock:
            assert type(sock) is ssl.SSLSocket


def test_everything_of_the_original_is_there():
    assert [name for name in dir(std_ssl) if not name.startswith("__") and not hasattr(ssl, name)] == []


def test_a_standard_socket_can_be_wrapped(start, opened, certificates):
    """As http.client does when ssl is patched and its socket was made before."""
    a, b = (opened.enter_context(end) for end in std_socket.socketpair())
    a.settimeout(5)
    server = start(lambda: server_context(ssl, certificates).wrap_socket(b, server_side=True))
    client = opened.enter_context(client_context(ssl, certificates).wrap_socket(a, server_hostname="localhost"))
    server = opened.enter_context(server.get())
    assert client.gettimeout() == 5.0
    client.sendall(b"x")
    assert server.recv(1) == b"x"


def set_every_property(context):
    context.options |= std_ssl.OP_NO_TICKET
    assert isinstance(context.options, std_ssl.Options)
    assert context.options & std_ssl.OP_NO_TICKET
    context.minimum_version = std_ssl.TLSVersion.TLSv1_2
    assert context.minimum_version is std_ssl.TLSVersion.TLSv1_2
    context.maximum_version = std_ssl.TLSVersion.TLSv1_3
    assert context.maximum_version is std_ssl.TLSVersion.TLSv1_3
    context.verify_flags |= std_ssl.VERIFY_X509_STRICT
    assert context.verify_flags & std_ssl.VERIFY_X509_STRICT
    context.verify_mode = std_ssl.CERT_OPTIONAL
    assert context.verify_mode is std_ssl.CERT_OPTIONAL
    context.sni_callback = len
    assert context.sni_callback is len
    context._msg_callback = print
    assert context._msg_callback is print
    context._msg_callback = None
    context.hostname_checks_common_name = False
    assert context.hostname_checks_common_name is False
    context.post_handshake_auth = True
    context.check_hostname = True
    assert isinstance(context.protocol, std_ssl._SSLMethod)


@pytest.mark.parametrize("patched", [False, True])
def test_context_properties(monkeypatch, patched):
    """With ssl.SSLContext replaced the original's setters would call themselves without end."""
    if patched:
        monkeypatch.setattr(std_ssl, "SSLContext", ssl.SSLContext)
    set_every_property(ssl.SSLContext(std_ssl.PROTOCOL_TLS_SERVER))


def test_contexts_made_before_patching(monkeypatch, ours, start, opened, certificates):
    """With SAFE_PROPERTIES and sslsocket_class put into the original class they are cooperative, too."""
    early = server_context(std_ssl, certificates)
    assert type(early) is std_ssl.SSLContext
    original = std_ssl.SSLContext
    for name, value in ssl.SAFE_PROPERTIES.items():
        monkeypatch.setattr(original, name, value)
    monkeypatch.setattr(original, "sslsocket_class", ssl.SSLSocket)
    monkeypatch.setattr(std_ssl, "SSLContext", ssl.SSLContext)
    monkeypatch.setattr(std_ssl, "SSLSocket", ssl.SSLSocket)
    a, b = (opened.enter_context(end) for end in socket.socketpair())
    server = start(lambda: early.wrap_socket(b, server_side=True))
    opened.enter_context(client_context(ssl, certificates).wrap_socket(a, server_hostname="localhost"))
    assert type(opened.enter_context(server.get())) is ssl.SSLSocket
    set_every_property(early)


def test_memory_bio_is_the_original(certificates):
    """wrap_bio does no I/O: SSLObject and MemoryBIO are not ours."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(ssl, certificates).wrap_bio(incoming, outgoing, server_hostname="localhost")
    server = server_context(ssl, certificates).wrap_bio(outgoing, incoming, server_side=True)
    assert type(client) is std_ssl.SSLObject
    done = set()
    while len(done) < 2:
        for end in (client, server):
            try:
                end.do_handshake()
                done.add(end)
            except std_ssl.SSLWantReadError:
                pass
    client.write(b"through memory")
    assert server.read(100) == b"through memory"


# ---------------------------------------------------------------- the standard library's clients

@pytest.fixture
def https(start, opened, certificates):
    """A server of gevlite that answers each request with its path; returns its port."""
    context = server_context(ssl, certificates)
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))

    def answer(raw):
        with context.wrap_socket(raw, server_side=True) as sock, sock.makefile("rwb") as file:
            while request := file.readline():
                while file.readline().strip():
                    pass
                path = request.split()[1]
                file.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
                file.flush()

    def serve():
        while True:
            start(answer, listener.accept()[0])

    start(serve)
    return listener.getsockname()[1]


@pytest.fixture
def patched(monkeypatch):
    """What patching does to the modules, as far as these clients look."""
    for ours, original in ((socket, std_socket), (ssl, std_ssl)):
        for name in ours.__implements__:
            monkeypatch.setattr(original, name, getattr(ours, name))


def test_http_client(patched, https, certificates):
    context = std_ssl.create_default_context(cafile=certificates.ca)
    assert type(context) is ssl.SSLContext
    connection = http.client.HTTPSConnection("localhost", https, context=context, timeout=5)
    try:
        for path in ("/one", "/two"):
            connection.request("GET", path)
            assert connection.getresponse().read() == path.encode()
    finally:
        connection.close()


def test_urllib(patched, https, certificates):
    context = std_ssl.create_default_context(cafile=certificates.ca)
    with urllib.request.urlopen(f"https://localhost:{https}/path", context=context, timeout=5) as response:
        assert response.read() == b"/path"


def test_many_clients_at_once(patched, https, certificates, start):
    context = std_ssl.create_default_context(cafile=certificates.ca)

    def fetch(i):
        with urllib.request.urlopen(f"https://localhost:{https}/{i}", context=context, timeout=20) as response:
            return response.read()

    clients = [start(fetch, i) for i in range(30)]
    assert [client.get() for client in clients] == [b"/%d" % i for i in range(30)]


def test_a_host_name_that_cannot_be_encoded_closes_the_socket(lib):
    """As for any failure in wrap_socket: the descriptor is not left open."""
    ssl, sock = lib.module("ssl"), lib.module("socket").socket()
    fd = sock.fileno()
    with pytest.raises(UnicodeError):
        ssl.create_default_context().wrap_socket(sock, server_hostname="." + "a" * 70 + ".")
    assert sock.fileno() == -1
    with pytest.raises(OSError):
        os.fstat(fd)


def test_sendto_before_tls_begins_is_that_of_the_socket(lib):
    with lib.module("socket").socket() as sock:
        context = lib.module("ssl").SSLContext(std_ssl.PROTOCOL_TLS_CLIENT)
        with context.wrap_socket(sock, server_hostname="localhost") as wrapped, pytest.raises(OSError):
            wrapped.sendto(b"x", ("0.0.0.0", 0))
