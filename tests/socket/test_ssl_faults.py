"""Faults and rare events of a TLS connection while a greenlet blocks in a call, compared with the original."""

import array
import contextlib
import errno
import fcntl
import shutil
import socket as std_socket
import ssl as std_ssl
import subprocess
import termios
import threading
import time

import pytest
from both_ends import (
    LOCALHOST,
    alarm,
    blocked,
    let_run,
    no_more_descriptors,
    recv_exactly,
    refused,
    reset,
    tcp_pair,
    unix_pair,
    waiting_for,
)
from tls_pair import BIG, Pair, client_context, server_context

import gevlite
from gevlite import socket, ssl

READING = {
    "recv": lambda sock: sock.recv(10),
    "recv_into": lambda sock: sock.recv_into(bytearray(10)),
    "read": lambda sock: sock.read(10),
    "makefile": lambda sock: by_file(sock),
}
reading = pytest.mark.parametrize("call", READING.values(), ids=READING)


def by_file(sock):
    with sock.makefile("rb", 0) as file:
        return file.read(10)


GONE = (ConnectionResetError, BrokenPipeError, std_ssl.SSLEOFError, std_ssl.SSLZeroReturnError)


# ---------------------------------------------------------------- the peer


@pytest.mark.parametrize("side", ["client", "server"])
def test_reset_while_shaking_hands(lib, tls, sockets, opened, certificates, side):
    a, b = tcp_pair(sockets, opened)

    def shake():
        if side == "client":
            client_context(tls, certificates).wrap_socket(a, server_hostname="localhost")
        else:
            server_context(tls, certificates).wrap_socket(a, server_side=True)

    shaking = lib.spawn(shake)
    let_run(lib)
    reset(b)
    with pytest.raises(GONE):
        shaking.get()


@reading
def test_reset_while_reading(lib, opened, certificates, call):
    client, server = Pair(lib, opened, certificates, suppress_ragged_eofs=False)
    reader = lib.spawn(call, client)
    let_run(lib)
    reset(server)
    with pytest.raises(GONE):
        reader.get()


def test_reset_while_writing(lib, opened, certificates):
    client, server = Pair(lib, opened, certificates)
    writer = lib.spawn(client.sendall, BIG * 4)
    let_run(lib)
    server.recv(1)
    reset(server)
    with pytest.raises(GONE):
        writer.get()


def forward_singly(source, target, bytes_left):
    """Each byte in a segment of its own; after so many, in one piece."""
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            for i in range(min(len(data), bytes_left)):
                target.send(data[i : i + 1])
            if data[bytes_left:]:
                target.sendall(data[bytes_left:])
            bytes_left = max(bytes_left - len(data), 0)
        target.shutdown(std_socket.SHUT_WR)


def test_everything_in_segments_of_one_byte(lib, tls, sockets, opened, certificates):
    """The handshake, records and the closing alert, through a proxy that passes on each byte separately."""
    (a, left), (right, b) = tcp_pair(sockets, opened), tcp_pair(sockets, opened)
    for sock in (left, right):
        sock.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
    forwarders = [lib.spawn(forward_singly, left, right, 1 << 30), lib.spawn(forward_singly, right, left, 1 << 30)]

    def serve():
        with server_context(tls, certificates).wrap_socket(b, server_side=True) as sock:
            sock.sendall(recv_exactly(sock, 3000)[::-1])
            sock.unwrap()

    server = lib.spawn(serve)
    with client_context(tls, certificates).wrap_socket(a, server_hostname="localhost") as sock:
        sock.sendall(BIG[:3000])
        assert recv_exactly(sock, 3000) == BIG[2999::-1]
        assert sock.recv(1) == b""
        sock.unwrap()
    server.get()
    for forwarder in forwarders:
        forwarder.get()


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_handshake_that_trickles_times_out_as_a_whole(lib, tls, sockets, opened, certificates, side):
    """Each byte comes in time, and all of them do not."""
    a, b = unix_pair(sockets, opened)
    a.settimeout(0.2)
    stop = threading.Event()
    nap = gevlite.sleep if lib.name == "gevlite" else time.sleep

    def trickle():
        with contextlib.suppress(OSError):
            b.send(b"\x16\x03\x03\x40\x00" if side == "client" else b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            while not stop.is_set():
                b.send(b"\0")
                nap(0.01)

    trickling = lib.spawn(trickle)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="The handshake operation timed out"):
        if side == "client":
            client_context(tls, certificates).wrap_socket(a, server_hostname="localhost")
        else:
            server_context(tls, certificates).wrap_socket(a, server_side=True)
    assert 0.2 <= time.monotonic() - began < 5
    stop.set()
    trickling.get()


def test_many_stalled_handshakes_hold_up_nobody(start, opened, certificates, settle):
    """Half of the clients say nothing; the others are served meanwhile."""
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0), backlog=100))
    context = server_context(ssl, certificates)
    trust = client_context(ssl, certificates)

    def handle(connection):
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as sock:
            sock.sendall(sock.recv(100).upper())

    def serve():
        while True:
            start(handle, listener.accept()[0])

    server = start(serve)
    silent = [opened.enter_context(socket.create_connection(listener.getsockname())) for _ in range(20)]
    assert settle(waiting_for(21))

    def ask(i):
        with socket.create_connection(listener.getsockname(), timeout=10) as raw:
            with trust.wrap_socket(raw, server_hostname="localhost") as sock:
                sock.sendall(b"client %d" % i)
                return sock.recv(100)

    clients = [start(ask, i) for i in range(20)]
    assert [client.get() for client in clients] == [b"CLIENT %d" % i for i in range(20)]
    assert settle(waiting_for(21))
    for sock in silent:
        sock.close()
    assert settle(waiting_for(1))
    server.greenlet.kill()


def test_accept_without_a_descriptor_left(tls, sockets, opened, certificates, lib):
    """EMFILE, and the connection stays in the backlog."""
    listener = opened.enter_context(
        server_context(tls, certificates).wrap_socket(sockets.create_server((LOCALHOST, 0)), server_side=True)
    )
    raw = opened.enter_context(sockets.create_connection(listener.getsockname()))
    with no_more_descriptors(), refused(errno.EMFILE):
        listener.accept()
    accepting = lib.spawn(listener.accept)
    opened.enter_context(client_context(tls, certificates).wrap_socket(raw, server_hostname="localhost"))
    opened.enter_context(accepting.get()[0])


def test_get_server_certificate_of_a_silent_server(tls, sockets, opened):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    with pytest.raises(TimeoutError):
        tls.get_server_certificate(listener.getsockname(), timeout=0.05)


def test_goodbye_with_data_on_the_way(lib, opened, certificates):
    """unwrap() raises while there is unread data, and succeeds after it was read."""
    client, server = Pair(lib, opened, certificates)
    server.sendall(b"unread")
    with pytest.raises(std_ssl.SSLError, match="application data after close notify|APPLICATION_DATA_AFTER_CLOSE"):
        client.unwrap()


def test_goodbye_in_nonblocking_mode(lib, opened, certificates):
    client, server = Pair(lib, opened, certificates)
    select = lib.module("select").select
    client.setblocking(False)
    with pytest.raises(std_ssl.SSLWantReadError):
        client.unwrap()
    assert server.recv(10) == b""
    assert server.unwrap() is server
    while True:
        try:
            assert client.unwrap() is client
            break
        except std_ssl.SSLWantReadError:
            assert select([client], [], [], 5)[0]


# ---------------------------------------------------------------- signals


@reading
def test_signals_while_reading(lib, opened, certificates, call):
    """The handlers run at once, and the call goes on (PEP 475)."""
    client, server = Pair(lib, opened, certificates)
    with alarm(lambda: client.sendall(b"0123456789")) as seen:
        call(server)
    assert len(seen) == 3


def test_signals_while_shaking_hands(lib, tls, sockets, opened, certificates):
    a, b = unix_pair(sockets, opened)
    servers = []

    def serve():
        servers.append(lib.spawn(lambda: server_context(tls, certificates).wrap_socket(b, server_side=True)))

    with alarm(serve) as seen:
        opened.enter_context(client_context(tls, certificates).wrap_socket(a, server_hostname="localhost"))
    opened.enter_context(servers[0].get())
    assert len(seen) == 3


def test_an_exception_from_a_handler_ends_the_call(lib, opened, certificates):
    client, server = Pair(lib, opened, certificates)
    with pytest.raises(ZeroDivisionError), alarm(lambda: 1 // 0, 1):
        server.recv(10)
    client.sendall(b"x")
    assert server.recv(10) == b"x"


# ---------------------------------------------------------------- closed, killed, timed out: in each call

BLOCKING = [*READING, "sendall", "write", "unwrap", "client handshake", "server handshake", "connect", "accept"]
each = pytest.mark.parametrize("name", [*BLOCKING, "accept handshake"])


@pytest.fixture
def blocking_call(tls_ours, opened, certificates):
    """`blocking_call(name)`: a TLS socket, and a call on it that blocks."""

    def make(name):
        client, _server = tls_ours
        if name in READING:
            return client, lambda: READING[name](client)
        if name == "sendall":
            return client, lambda: client.sendall(BIG * 4)
        if name == "write":
            return client, lambda: [client.write(BIG) for _ in range(4000)]
        if name == "unwrap":
            return client, client.unwrap
        if name.endswith("handshake") and name != "accept handshake":
            a, _b = unix_pair(socket, opened)
            if name.startswith("client"):
                sock = tls_ours.client_context.wrap_socket(
                    a, server_hostname="localhost", do_handshake_on_connect=False
                )
            else:
                sock = tls_ours.server_context.wrap_socket(a, server_side=True, do_handshake_on_connect=False)
            return opened.enter_context(sock), sock.do_handshake
        listener = opened.enter_context(
            tls_ours.server_context.wrap_socket(socket.create_server((LOCALHOST, 0)), server_side=True)
        )
        if name == "accept":
            return listener, listener.accept
        if name == "accept handshake":
            opened.enter_context(std_socket.create_connection(listener.getsockname()))
            return listener, listener.accept
        sock = opened.enter_context(tls_ours.client_context.wrap_socket(socket.socket(), server_hostname="localhost"))
        return sock, lambda: sock.connect(listener.getsockname())  # connects, but the peer makes no handshake

    return make


@each
@pytest.mark.parametrize("way", ["close", "close in a thread"])
def test_closed_in_each_call(blocking_call, start, settle, name, way):
    """OSError(EBADF) at once. (Nothing is left: see conftest.)"""
    sock, call = blocking_call(name)
    waiter = start(call)
    assert settle(blocked(waiter))
    if name == "accept handshake":
        waiter.greenlet.kill()  # the waiting socket is that of the new connection, which no other code has
        return
    if way == "close":
        sock._real_close()
    else:
        thread = threading.Thread(target=sock._real_close)
        thread.start()
        assert settle(lambda: not thread.is_alive())
    with refused(errno.EBADF):
        waiter.get()


@each
def test_killed_in_each_call(blocking_call, start, settle, name):
    _sock, call = blocking_call(name)
    doomed = start(call)
    assert settle(blocked(doomed))
    doomed.greenlet.kill()
    assert isinstance(doomed.greenlet.value, gevlite.GreenletExit)


@each
def test_timeout_in_each_call(blocking_call, name):
    _sock, call = blocking_call(name)
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.02):
        call()


def test_a_connect_that_failed_can_be_made_again(lib, tls, sockets, opened, certificates):
    """The TLS socket is not left half connected."""
    listener = opened.enter_context(sockets.socket())
    listener.bind((LOCALHOST, 0))
    context = client_context(tls, certificates)
    sock = opened.enter_context(context.wrap_socket(sockets.socket(), server_hostname="localhost"))
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            sock.connect(listener.getsockname())
    listener.listen()
    server = lib.spawn(lambda: server_context(tls, certificates).wrap_socket(listener.accept()[0], server_side=True))
    sock.connect(listener.getsockname())
    opened.enter_context(server.get())


# ---------------------------------------------------------------- events that only another program can cause


@pytest.fixture
def openssl_server(lib, opened, certificates):
    """`openssl_server(*options)`: OpenSSL's own server; its port and a function that gives it a command."""
    program = shutil.which("openssl")
    nap = gevlite.sleep if lib.name == "gevlite" else time.sleep
    if not program:
        pytest.skip("needs the openssl program")

    def run(*options):
        process = subprocess.Popen(
            [program, "s_server", "-accept", f"{LOCALHOST}:0", "-cert", certificates.server, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        opened.callback(process.wait)
        opened.callback(process.kill)
        opened.callback(process.stdout.close)
        opened.callback(process.stdin.close)
        while not (line := process.stdout.readline()).startswith(b"ACCEPT"):
            assert line
        _host, _, port = line.split()[-1].rpartition(b":")
        if not port.isdigit() or not int(port):
            pytest.skip("this openssl does not tell its port")

        def command(text):
            """Written alone: a command is one only at the beginning of what the program reads."""
            process.stdin.write(text)
            process.stdin.flush()
            unread = array.array("i", [1])
            while unread[0]:
                nap(0.001)
                fcntl.ioctl(process.stdin, termios.FIONREAD, unread)

        return int(port), command

    return run


@pytest.mark.parametrize(("version", "letter"), [("-tls1_2", b"r\n"), ("-tls1_3", b"k\n"), ("-tls1_3", b"K\n")])
def test_the_server_changes_the_keys(lib, tls, sockets, opened, certificates, openssl_server, version, letter):
    """Renegotiation (TLS 1.2) and key updates (1.3), wanted by the other side in the middle of reads and writes."""
    port, command = openssl_server(version)
    raw = opened.enter_context(sockets.create_connection((LOCALHOST, port), timeout=20))
    client = opened.enter_context(client_context(tls, certificates).wrap_socket(raw, server_hostname="localhost"))
    lines = []

    def read():
        while (line := recv_exactly(client, 7)) != b"line 9\n":
            lines.append(line)

    reader = lib.spawn(read)
    let_run(lib)
    for i in range(10):
        command(letter)
        # From here too, so that it meets a write as well as a read. Threads may not use one connection at once.
        if lib.name == "gevlite":
            client.sendall(b"x" * 1000)
        command(b"line %d\n" % i)
    reader.get()
    assert lines == [b"line %d\n" % i for i in range(9)]


def test_a_peer_that_asks_for_a_lower_version(lib, tls, opened, certificates, openssl_server):
    port, _command = openssl_server("-tls1_2")
    context = client_context(tls, certificates)
    context.minimum_version = std_ssl.TLSVersion.TLSv1_3
    sock = opened.enter_context(context.wrap_socket(lib.module("socket").socket(), server_hostname="localhost"))
    with pytest.raises(std_ssl.SSLError, match="(?i)protocol.version"):
        sock.connect((LOCALHOST, port))
