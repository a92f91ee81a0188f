"""TLS with time-outs, in non-blocking mode and among other greenlets, compared with the original."""

import socket as std_socket
import ssl as std_ssl
import threading
import time

import pytest
from both_ends import LOCALHOST, recv_exactly, unix_pair, waiting_for
from tls_pair import BIG, client_context, server_context

import gevlite
from gevlite import socket, ssl
from gevlite._sslio import Conversation

# ---------------------------------------------------------------- time-outs and non-blocking mode


def test_reading_times_out(tls_ends):
    client, server = tls_ends
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


def test_writing_times_out(tls_ends):
    client, _server = tls_ends
    client.settimeout(0.05)
    with pytest.raises(TimeoutError, match="The write operation timed out"):
        client.sendall(BIG * 4)


def test_unwrap_times_out(tls_ends):
    client, _server = tls_ends
    client.settimeout(0.05)
    with pytest.raises(TimeoutError, match="The read operation timed out"):
        client.unwrap()


@pytest.mark.parametrize("side", ["client", "server"])
def test_handshake_times_out(tls, sockets, opened, certificates, side):
    """The peer says nothing: TimeoutError, and the descriptor is closed, because no other code has it."""
    a, b = unix_pair(sockets, opened)
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
    a, _b = unix_pair(sockets, opened)
    a.settimeout(7)
    wrapped = opened.enter_context(
        client_context(tls, certificates).wrap_socket(a, do_handshake_on_connect=False, server_hostname="localhost")
    )
    assert wrapped.gettimeout() == 7.0
    assert a.fileno() == -1


def test_nonblocking(lib, tls_ends):
    client, server = tls_ends
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
    a, b = unix_pair(sockets, opened)
    a.setblocking(False)
    context = client_context(tls, certificates)
    with pytest.raises(ValueError, match="non-blocking"):
        c, _d = unix_pair(sockets, opened)
        c.setblocking(False)
        context.wrap_socket(c, server_hostname="localhost")
    client = opened.enter_context(context.wrap_socket(a, do_handshake_on_connect=False, server_hostname="localhost"))
    assert client.version() is None
    with pytest.raises(std_ssl.SSLWantReadError):
        client.do_handshake()
    server = lib.spawn(lambda: server_context(tls, certificates).wrap_socket(b, server_side=True))
    select = lib.module("select").select
    while True:
        try:
            client.do_handshake()
            break
        except std_ssl.SSLWantReadError:
            select([client], [], [], 5)
        except std_ssl.SSLWantWriteError:
            select([], [client], [], 5)
    assert client.version().startswith("TLS")
    opened.enter_context(server.get())


def test_do_handshake_may_block(lib, tls, sockets, opened, certificates):
    a, b = unix_pair(sockets, opened)
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
    a, b = unix_pair(sockets, opened)
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
    """The descriptor is closed: no other code has it."""
    a, b = unix_pair(socket, opened)
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
    while b.recv(10_000):  # its hello, then the end
        pass


def test_timeout_inside_recv(tls_ours):
    client, server = tls_ours
    for _ in range(2):
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
            server.recv(10)
    client.sendall(b"later")
    assert server.recv(10) == b"later"
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
        server.recv(10)


def test_kill_inside_recv(tls_ours, start, settle):
    client, server = tls_ours
    doomed, other = start(server.recv, 10), start(server.recv, 10)
    assert settle(waiting_for(2))
    doomed.greenlet.kill()
    client.sendall(b"for other")
    assert other.get() == b"for other"


def test_a_failed_write_does_not_hold_the_turn(tls_ours, start, settle):
    """Killed in the middle of a write: the next writer is not kept waiting for a turn that never ends."""
    client, server = tls_ours
    doomed = start(client.sendall, b"x" * len(BIG))
    assert settle(waiting_for(1))
    waiting = start(client.sendall, b"x" * len(BIG))
    gevlite.sleep(0)
    doomed.greenlet.kill()
    assert set(recv_exactly(server, len(BIG))) == set(b"x")
    waiting.get()


def test_used_from_two_threads(tls_ours):
    client, server = tls_ours
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
    """A reader without data takes what the writer waits for from the kernel: the writer must be woken."""
    a, b = unix_pair(socket, opened)
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
    """Two greenlets that wait for the other direction must not wake each other again and again."""
    a, b = unix_pair(socket, opened)
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
