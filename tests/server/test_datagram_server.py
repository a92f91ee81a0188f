"""DatagramServer: each datagram is handled in the way `spawn` says, and answered with `sendto`."""

import os
import socket as std_socket

import pytest
from serving import LOCALHOST

import gevlite
from gevlite import socket
from gevlite.event import Event
from gevlite.server import DatagramServer

ANY = (LOCALHOST, 0)


class Echo(DatagramServer):
    def handle(self, data, address):
        self.sendto(data, address)


@pytest.fixture
def client():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind(ANY)
        yield sock


def test_datagrams_are_answered(serve, client):
    server = serve(Echo(ANY))
    for text in (b"one", b"", bytes(60000)):
        client.sendto(text, server.address)
        assert client.recvfrom(65536) == (text, server.address)


def test_handle_gets_data_and_address(serve, client, settle):
    seen = []
    server = serve(DatagramServer(ANY, lambda data, address: seen.append((data, address))))
    client.sendto(b"x", server.address)
    assert settle(lambda: seen)
    assert seen == [(b"x", client.getsockname())]


@pytest.mark.parametrize("spawn", ["default", "raw", None, 3, gevlite.spawn], ids=str)
def test_every_way_to_spawn(serve, client, spawn):
    server = serve(Echo(ANY, spawn=spawn))
    for n in range(10):
        client.sendto(b"%d" % n, server.address)
        assert client.recv(100) == b"%d" % n


def test_a_handler_that_raises_is_reported_and_the_next_datagram_served(serve, client, errors, settle):
    class Fussy(DatagramServer):
        def handle(self, data, address):
            self.sendto(b"%d" % int(data), address)

    server = serve(Fussy(ANY))
    for text in (b"x", b"1"):
        client.sendto(text, server.address)
    assert client.recv(100) == b"1"
    assert settle(lambda: errors)
    assert [type(value) for _, value in errors] == [ValueError]


def test_a_full_pool_leaves_datagrams_with_the_kernel(serve, client):
    gate = Event()

    class Slow(Echo):
        def handle(self, data, address):
            gate.wait()
            super().handle(data, address)

    server = serve(Slow(ANY, spawn=1))
    for n in range(3):
        client.sendto(b"%d" % n, server.address)
    while not server.full():
        gevlite.sleep(0.001)
    gate.set()
    assert [client.recv(100) for _ in range(3)] == [b"0", b"1", b"2"]


def test_ipv6(serve):
    server = serve(Echo(("::1", 0)))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.sendto(b"x", server.address)
        assert sock.recvfrom(10)[0] == b"x"


def test_unix_datagrams(serve, tmp_path):
    path = str(tmp_path / "server")
    server = serve(Echo(f"unix:{path}"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind(str(tmp_path / "client"))
        sock.sendto(b"x", path)
        assert sock.recvfrom(10) == (b"x", path)
    server.close()
    assert not os.path.exists(path)


@pytest.mark.parametrize("module", [socket, std_socket], ids=["gevlite", "standard"])
def test_a_socket_that_is_bound_already(serve, client, module):
    sock = module.socket(module.AF_INET, module.SOCK_DGRAM)
    sock.bind(ANY)
    server = serve(Echo(sock))
    client.sendto(b"x", server.address)
    assert client.recv(10) == b"x"
    server.close()
    assert sock.fileno() == -1


def test_life_of_a_server(client):
    server = Echo(ANY)
    assert server.closed and not server.started
    server.start()
    assert server.server_host == LOCALHOST and server.server_port > 0
    assert repr(server) == f"<Echo fileno={server.socket.fileno()} address={LOCALHOST}:{server.server_port}>"
    server.stop()
    assert server.closed and not server.started
    with pytest.raises(TypeError, match="'handle' must be provided"):
        DatagramServer(ANY)


def test_stop_waits_for_datagrams_that_are_being_handled(serve, client):
    class Slow(Echo):
        def handle(self, data, address):
            gevlite.sleep(0.05)
            # The socket is closed by now: answer with another one.
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.sendto(data, address)

    server = serve(Slow(ANY))
    client.sendto(b"x", server.address)
    while not server._serving:
        gevlite.sleep(0.001)
    server.stop(20)
    assert not server._serving
    assert client.recv(10) == b"x"
