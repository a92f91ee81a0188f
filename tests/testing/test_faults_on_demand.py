"""`gevlite.testing.faults`: the effects on connections, look-ups and starts, which are recorded, and end."""

import asyncio
import errno
import itertools
import os
import socket as original
import ssl as original_ssl
import tempfile

import pytest

import gevlite
from gevlite import socket, ssl, testing
from gevlite.event import Event
from gevlite.pywsgi import WSGIServer
from gevlite.server import StreamServer
from gevlite.testing import _relay, faults

# Hundreds of runs, or scans of all sockets of the machine: they take long while other suites run.
pytestmark = pytest.mark.timeout(240)


def echo(sock, address):
    try:
        while data := sock.recv(65536):
            sock.sendall(data)
    except OSError:
        pass  # caused by a fault of the test


def kinds(fault):
    return [hit.what for hit in fault.hits]


@pytest.fixture(params=["tcp", "unix"])
def address(request):
    """The address of a server that sends back what it gets."""
    with tempfile.TemporaryDirectory() as folder:
        if request.param == "tcp":
            server = StreamServer(("127.0.0.1", 0), echo)
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{folder}/echo")
            listener.listen()
            server = StreamServer(listener, echo)
        server.start()
        yield server.address if request.param == "tcp" else f"{folder}/echo"
        server.stop()


@pytest.fixture
def server():
    server = StreamServer(("127.0.0.1", 0), echo)
    server.start()
    yield server
    server.stop()


def connected(address, timeout=20):
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(timeout)
    sock.connect(address)
    return sock


def received(sock, number):
    """The data that it received in so many calls."""
    return [sock.recv(100) for _ in range(number)]


# ---------------------------------------------------------------- connections


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_call_receives_at_most_so_many_bytes(address, side):
    with faults.sockets(address, side=side, receive=2) as fault, connected(address) as sock:
        sock.sendall(b"hello")
        if side == "client":
            assert received(sock, 3) == [b"he", b"ll", b"o"]
        else:
            assert sock.recv(100)[:2] == b"he"
    assert kinds(fault) == ["receive"]


def test_a_server_that_waited_for_clients_before_the_fault_began(address):
    gevlite.idle()
    with faults.sockets(address, side="server", receive=2) as fault, connected(address) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100)[:2] == b"he"
    assert kinds(fault) == ["receive"]


def test_no_more_is_there_to_be_read_than_a_call_gets(server):
    """For code that reads in its own way, such as TLS and event loops."""
    with faults.sockets(server.address, receive=1), connected(server.address) as sock:
        sock.sendall(b"hi")
        got = []
        while len(got) < 2:
            gevlite.socket.wait_read(sock.fileno(), 20)
            got.append(os.read(sock.fileno(), 100))
        assert got == [b"h", b"i"]


@pytest.mark.parametrize("method", ["recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "file"])
def test_each_way_to_receive(server, method):
    with faults.sockets(server.address, receive=1) as fault, connected(server.address) as sock:
        sock.sendall(b"hello")
        buffer = bytearray(10)
        if method == "recv_into":
            assert sock.recv_into(buffer) == 1
        elif method == "recvfrom":
            assert sock.recvfrom(10)[0] == b"h"
        elif method == "recvfrom_into":
            assert sock.recvfrom_into(buffer)[0] == 1
        elif method == "recvmsg":
            assert sock.recvmsg(10)[0] == b"h"
        elif method == "recvmsg_into":
            assert sock.recvmsg_into([buffer])[0] == 1
        else:
            with sock.makefile("rb", 0) as file:
                assert file.read(10) == b"h"
            with sock.makefile("rb") as file:
                assert file.read(4) == b"ello"
    assert kinds(fault) == ["receive"]


def test_a_look_does_not_hold_up_what_follows(server):
    with faults.sockets(server.address, receive=1), connected(server.address) as sock:
        sock.sendall(b"hi")
        assert sock.recv(1, socket.MSG_PEEK) == b"h"
        assert sock.recv(2, socket.MSG_WAITALL) == b"hi"


def test_a_call_sends_at_most_so_many_bytes(address):
    with faults.sockets(address, send=2) as fault, connected(address) as sock:
        assert sock.send(b"hello") == 2
        assert sock.sendmsg([b"l", b"lo"]) == 2
        assert sock.send(memoryview(b"o")) == 1
        assert sock.recv(5, socket.MSG_WAITALL) == b"hello"
        sock.sendall(b"goodbye")
        assert sock.recv(7, socket.MSG_WAITALL) == b"goodbye"
    assert fault.hits == [faults.Hit("send", address, 1)]


@pytest.mark.parametrize("direction", ["receive", "send"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_reset_after_so_many_bytes_reaches_both_sides(side, direction):
    seen, over = [], Event()

    def serve(sock, address):
        try:
            while True:
                data = sock.recv(100)
                seen.append(data)
                sock.sendall(data)
        except OSError as exc:
            seen.append(exc.errno)
            over.set()

    server = StreamServer(("127.0.0.1", 0), serve)
    server.start()
    with faults.sockets(server.address, side=side, direction=direction, reset_after=3) as fault:
        with connected(server.address) as sock:
            sock.sendall(b"hello")
            got = b""
            with pytest.raises(ConnectionResetError):
                while True:
                    data = sock.recv(100)
                    assert data
                    got += data
        assert over.wait(20)
    assert len(got) <= 3
    assert seen[-1] in (errno.ECONNRESET, errno.EPIPE)
    ((what, target, number, at),) = fault.hits
    assert (what, target, number, at) == ("reset", server.address, 1, 3)
    server.stop()


def test_nothing_is_kept_of_a_connection(address, settle):
    for what in ({"receive": 1}, {"send": 1}, {"reset_after": 0}, {"stall_after": 0}):
        with faults.sockets(address, **what):
            connected(address).close()
    assert settle(lambda: not _relay._connections, 20)
    assert _relay.active == []


def test_a_unix_socket_is_reset_too(address):
    with faults.sockets(address, reset_after=0), connected(address) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_what_came_before_a_reset_can_be_read(server):
    with faults.sockets(server.address, reset_after=3), connected(server.address) as sock:
        sock.sendall(b"hello")
        assert sock.recv(3, socket.MSG_WAITALL) == b"hel"
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_stall_lasts_as_long_as_the_fault(address):
    with faults.sockets(address, stall_after=2) as fault:
        sock = connected(address)
        sock.sendall(b"hello")
        assert sock.recv(100) == b"he"
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        assert not gevlite.select.select([sock], [], [], 0)[0]
    assert fault.hits == [faults.Hit("stall", address, 1, 2)]
    sock.settimeout(20)
    assert sock.recv(100) == b"llo"
    sock.close()


def test_a_stall_lasts_for_seconds(server):
    with faults.sockets(server.address, stall_after=2, stall_for=0.01) as fault:
        with connected(server.address) as sock:
            sock.sendall(b"hello")
            assert sock.recv(5, socket.MSG_WAITALL) == b"hello"
    assert fault.hits == [faults.Hit("stall", server.address, 1, 2)]


def test_what_is_sent_can_stall(server):
    with faults.sockets(server.address, direction="send", stall_after=1), connected(server.address) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"h"
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(100)


def test_refused(address):
    with faults.sockets(address, refuse=True) as fault:
        with pytest.raises(ConnectionRefusedError):
            connected(address)
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
            assert sock.connect_ex(address) == errno.ECONNREFUSED
    assert fault.hits == [faults.Hit("refuse", address, 1), faults.Hit("refuse", address, 2)]


def test_a_delay_of_connect_respects_the_time_out(server):
    with faults.sockets(server.address, delay=60) as fault:
        with pytest.raises(TimeoutError):
            connected(server.address, timeout=0.01)
        with socket.socket() as sock:
            sock.settimeout(0.01)
            assert sock.connect_ex(server.address) == errno.EAGAIN
    assert kinds(fault) == ["delay", "delay"]
    with faults.sockets(server.address, delay=0.01), connected(server.address) as sock:
        sock.sendall(b"hi")
        assert sock.recv(2) == b"hi"


def test_a_delay_of_accept(server, settle):
    with faults.sockets(server.address, side="server", delay=60) as fault, connected(server.address) as sock:
        sock.sendall(b"hi")
        assert settle(lambda: fault.hits)
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(2)
    assert kinds(fault) == ["delay"]


def test_a_real_error_of_connect_stays(server):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with faults.sockets(receive=1) as fault:
            with pytest.raises(ConnectionRefusedError):
                connected(closed.getsockname())
            with socket.socket() as sock:
                assert sock.connect_ex(closed.getsockname()) == errno.ECONNREFUSED
    assert fault.hits == []


def test_a_socket_that_is_connected_already(server):
    with connected(server.address) as sock, faults.sockets(receive=1) as fault:
        with pytest.raises(OSError, match="already connected"):
            sock.connect(server.address)
        sock.sendall(b"hi")
        assert sock.recv(2) == b"hi"
    assert fault.hits == []


def test_a_non_blocking_connection(server):
    with faults.sockets(server.address, receive=1), socket.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex(server.address) in (0, errno.EINPROGRESS)
        gevlite.socket.wait_write(sock.fileno(), 20)
        assert sock.connect_ex(server.address) in (0, errno.EISCONN)
        sock.settimeout(20)
        sock.sendall(b"hi")
        assert received(sock, 2) == [b"h", b"i"]


# ---------------------------------------------------------------- which connections


def test_only_the_nth_connection(server):
    with faults.sockets(server.address, nth=2, refuse=True) as fault:
        with connected(server.address):
            with pytest.raises(ConnectionRefusedError):
                connected(server.address)
            with connected(server.address):
                pass
    assert fault.seen == 3
    assert [hit.number for hit in fault.hits] == [2]
    with faults.sockets(server.address, nth=range(1, 3), refuse=True):
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                connected(server.address)
        connected(server.address).close()


@pytest.mark.parametrize("form", ["port", "host and port", "any port", "all", "name"])
def test_addresses(server, form):
    host, port = server.address
    chosen = {"port": port, "host and port": (host, port), "any port": (host, None), "all": None}
    chosen["name"] = ("localhost", port)
    with faults.sockets(chosen[form], refuse=True), pytest.raises(ConnectionRefusedError):
        connected(server.address)
    with faults.sockets(("127.0.0.2", port), refuse=True), connected(server.address):
        pass
    with faults.sockets(port - 1 or 2, refuse=True), connected(server.address):
        pass
    with faults.sockets("/a/path", refuse=True), connected(server.address):
        pass


def test_the_newest_fault_takes_the_connection(server):
    with faults.sockets(refuse=True) as outer:
        with faults.sockets(receive=1) as inner, connected(server.address) as sock:
            sock.sendall(b"hi")
            assert sock.recv(2) == b"h"
        with pytest.raises(ConnectionRefusedError):
            connected(server.address)
    assert (kinds(inner), kinds(outer)) == (["receive"], ["refuse"])


def test_both_sides_have_the_names_that_they_have_without_a_fault():
    names = []
    server = StreamServer(("127.0.0.1", 0), lambda sock, address: names.append((sock.getsockname(), address)))
    server.start()
    for side in ("client", "server"):
        with faults.sockets(server.address, side=side, receive=1), connected(server.address) as sock:
            assert sock.getpeername() == server.address
            assert sock.recv(1) == b""
            assert names.pop() == (server.address, sock.getsockname())
    server.stop()


def test_the_end_of_a_stream_passes(address):
    with faults.sockets(address, receive=1), connected(address) as sock:
        sock.sendall(b"x")
        sock.shutdown(socket.SHUT_WR)
        assert received(sock, 2) == [b"x", b""]


def test_many_bytes_pass_unchanged(server):
    data = os.urandom(3_000_000)
    with faults.sockets(server.address, stall_after=1_000_001, stall_for=0), connected(server.address) as sock:
        sender = gevlite.spawn(sock.sendall, data)
        got = bytearray()
        while len(got) < len(data):
            got += sock.recv(65536)
        sender.join()
    assert got == data


# ---------------------------------------------------------------- layers on top of a socket


@pytest.mark.parametrize("side", ["client", "server"])
def test_tls(certificates, side):
    accepts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepts.load_cert_chain(certificates.server)
    server = StreamServer(("127.0.0.1", 0), echo, ssl_context=accepts)
    server.start()
    context = ssl.create_default_context(cafile=certificates.ca)
    with faults.sockets(server.address, side=side, receive=1) as fault:
        with context.wrap_socket(connected(server.address), server_hostname="localhost") as sock:
            sock.sendall(b"hi")
            if side == "client":
                assert received(sock, 2) == [b"h", b"i"]
            else:
                assert sock.recv(2)[:1] == b"h"
    assert kinds(fault) == ["receive"]
    with faults.sockets(server.address, side=side, reset_after=10) as fault:
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            context.wrap_socket(connected(server.address), server_hostname="localhost")
    assert kinds(fault) == ["reset"]
    server.stop()


def test_a_server_of_web_applications():
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    server = WSGIServer(("127.0.0.1", 0), application, log=None)
    server.start()
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    for what in ({"receive": 1}, {"send": 1}, {"delay": 0.01}):
        with faults.sockets(server.address, side="server", **what), connected(server.address) as sock:
            sock.sendall(request)
            answer = b"".join(iter(lambda sock=sock: sock.recv(1000), b""))
            assert answer.endswith(b"\r\n\r\nabc")
    server.stop()


@pytest.mark.parametrize("side", ["client", "server"])
def test_streams_of_an_event_loop(side):
    async def serve(reader, writer):
        try:
            writer.write(await reader.readexactly(5))
        except OSError:
            pass  # caused by a fault of the test
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with faults.sockets(address, side=side, receive=1) as fault:
            reader, writer = await asyncio.open_connection(*address)
            assert writer.get_extra_info("peername") == address
            writer.write(b"hello")
            got = []
            while data := await reader.read(100):
                got.append(data)
            writer.close()
            assert b"".join(got) == b"hello"
            if side == "client":
                assert got == [b"h", b"e", b"l", b"l", b"o"]
        assert kinds(fault) == ["receive"]
        with faults.sockets(address, refuse=True), pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        with faults.sockets(address, side=side, reset_after=1):
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"hello")
            with pytest.raises(ConnectionResetError):
                while await reader.read(100):
                    pass
            writer.close()
        server.close()
        await server.wait_closed()

    gevlite.asyncio.run(main())


# ---------------------------------------------------------------- begin and end


def attributes():
    return [dict(vars(cls)) for cls in (socket.socket, original.socket, ssl.SSLSocket, original_ssl.SSLSocket)]


def test_nothing_stays_replaced(server):
    before = attributes()
    with faults.sockets(refuse=True):
        assert attributes() != before
        with faults.sockets(receive=1):
            pass
        assert attributes() != before
    assert attributes() == before
    hub = gevlite.get_hub()
    resolver = hub.resolver
    with faults.resolver(error=True):
        assert hub.resolver is not resolver
    assert hub.resolver is resolver


def test_resolver_faults_end_in_each_order():
    hub = gevlite.get_hub()
    resolver = hub.resolver
    for order in itertools.permutations(range(3)):
        made = [faults.resolver(name, error=True) for name in "abc"]
        for fault in made:
            fault.start()
        for count, number in enumerate(order, 1):
            made[number].stop()
            for name, fault in zip("abc", made, strict=True):
                if fault.active:
                    with pytest.raises(OSError):
                        hub.resolver.getaddrinfo(name, 80)
                    assert len(fault.hits) == count
        assert hub.resolver is resolver


def test_only_the_end_of_the_last_fault_restores(server):
    before = attributes()
    first, second = faults.sockets(refuse=True), faults.sockets(receive=1)
    first.start()
    second.start()
    first.stop()
    with connected(server.address) as sock:
        sock.sendall(b"hi")
        assert sock.recv(2) == b"h"
    second.stop()
    assert attributes() == before


def test_a_connection_goes_on_without_the_fault(server):
    with faults.sockets(server.address, receive=1):
        sock = connected(server.address)
        sock.sendall(b"hello")
        assert sock.recv(100) == b"h"
    assert sock.recv(4, socket.MSG_WAITALL) == b"ello"
    sock.sendall(b"goodbye")
    assert sock.recv(7) == b"goodbye"
    sock.close()


def test_started_and_stopped_by_hand(server):
    fault = faults.sockets(refuse=True)
    assert not fault.active
    fault.start()
    assert fault.active
    with pytest.raises(RuntimeError, match="active already"):
        fault.start()
    fault.stop()
    fault.stop()
    connected(server.address).close()
    assert "0 hits" in repr(fault)


def test_no_folder_stays_of_a_relay_that_cannot_be_made(address, tmp_path, monkeypatch):
    """The path of a UNIX socket may be too long for the system."""
    if not isinstance(address, str):
        pytest.skip("only UNIX sockets have a path")
    deep = tmp_path.joinpath(*["x" * 50] * 3)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    for fault in (faults.sockets(address, receive=1), faults.sockets(address, refuse=True)):
        with fault, pytest.raises(OSError, match="too long"):
            connected(address)
    assert os.listdir(deep) == []


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ValueError, "no fault"),
        ({"address": 70000, "refuse": True}, ValueError, "65535"),
        ({"address": ("127.0.0.1",), "refuse": True}, TypeError, "address"),
        ({"address": 1.5, "refuse": True}, TypeError, "address is a port, .host, port. or the path"),
        ({"address": True, "refuse": True}, TypeError, "address"),
        ({"address": object(), "refuse": True}, TypeError, "address"),
        ({"address": "", "refuse": True}, ValueError, "address is empty"),
        ({"side": "both", "refuse": True}, ValueError, "side"),
        ({"side": "server", "refuse": True}, ValueError, "refuse"),
        ({"refuse": True, "receive": 1}, ValueError, "refuse"),
        ({"receive": 0}, ValueError, "receive"),
        ({"receive": True}, TypeError, "receive"),
        ({"send": 1.5}, TypeError, "send"),
        ({"reset_after": -1}, ValueError, "reset_after"),
        ({"stall_for": 1, "receive": 1}, ValueError, "stall_after"),
        ({"stall_for": 1}, ValueError, "stall_for needs stall_after"),
        ({"stall_after": 1, "stall_for": -1}, ValueError, "stall_for"),
        ({"delay": "1"}, TypeError, "delay"),
        ({"delay": float("nan")}, ValueError, "delay"),
        ({"delay": float("inf")}, ValueError, "delay is a number of seconds from 0 to"),
        ({"direction": "up", "reset_after": 1}, ValueError, "direction"),
        ({"direction": "send", "receive": 1}, ValueError, "direction is for stall_after"),
        ({"nth": 0, "refuse": True}, ValueError, "nth"),
        ({"nth": [], "refuse": True}, ValueError, "nth"),
        ({"nth": "first", "refuse": True}, TypeError, "nth"),
    ],
)
def test_wrong_arguments(arguments, error, text):
    with pytest.raises(error, match=text):
        faults.sockets(**arguments)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("error", "kind", "number"),
    [
        (True, socket.gaierror, socket.EAI_NONAME),
        (socket.EAI_AGAIN, socket.gaierror, socket.EAI_AGAIN),
        (TimeoutError, TimeoutError, None),
        (socket.gaierror(7, "seven"), socket.gaierror, 7),
    ],
)
def test_a_name_cannot_be_resolved(error, kind, number):
    with faults.resolver("db.example", error=error) as fault:
        with pytest.raises(kind) as caught:
            socket.create_connection(("DB.example", 1))
        assert caught.value.errno == number
        assert socket.getaddrinfo("127.0.0.1", 80)
    assert fault.hits == [faults.Hit("error", "DB.example", 1)]
    for function in (socket.gethostbyname, socket.gethostbyname_ex, socket.gethostbyaddr):
        with faults.resolver(error=error), pytest.raises(kind):
            function("127.0.0.1")
    with faults.resolver("127.0.0.1", error=error), pytest.raises(kind):
        socket.getnameinfo(("127.0.0.1", 80), 0)


def test_a_slow_look_up(clock):
    with faults.resolver(delay=60) as fault, gevlite.move_on_after(0.01) as scope:
        socket.getaddrinfo("127.0.0.1", 80)
    assert scope.cancelled_caught
    assert kinds(fault) == ["delay"]
    with faults.resolver(delay=0.01) as fault:
        assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert kinds(fault) == ["delay"]


def test_the_order_of_addresses(server):
    port = server.address[1]
    with faults.resolver("web", addresses=["127.0.0.2", "127.0.0.1"]) as fault:
        found = socket.getaddrinfo("web", port, type=socket.SOCK_STREAM)
        assert [one[4][0] for one in found] == ["127.0.0.2", "127.0.0.1"]
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("web", port, socket.AF_INET6)
        with faults.sockets(("127.0.0.2", port), refuse=True) as refused:
            socket.create_connection(("web", port)).close()
    assert kinds(fault) == ["order", "order"]
    assert kinds(refused) == ["refuse"]
    with faults.resolver("web", addresses=["127.0.0.1", "127.0.0.2"], reverse=True):
        assert [one[4][0] for one in socket.getaddrinfo("web", 1, type=socket.SOCK_STREAM)][0] == "127.0.0.2"


def test_addresses_for_functions_that_know_only_those_of_ipv4():
    with faults.resolver("web", addresses=["::1", "127.0.0.2", "127.0.0.1"]) as fault:
        assert [one[4][0] for one in socket.getaddrinfo("web", 1, type=socket.SOCK_STREAM)][0] == "::1"
        assert socket.gethostbyname("web") == "127.0.0.2"
        assert socket.gethostbyname_ex("web") == ("web", [], ["127.0.0.2", "127.0.0.1"])
    assert kinds(fault) == ["order"] * 3
    with faults.resolver("web", addresses=["127.0.0.1", "127.0.0.2"], reverse=True):
        assert socket.gethostbyname("web") == "127.0.0.2"
        assert socket.gethostbyname_ex("web")[2] == ["127.0.0.2", "127.0.0.1"]
    with faults.resolver("web", addresses=["::1"]):
        for function in (socket.gethostbyname, socket.gethostbyname_ex):
            with pytest.raises(socket.gaierror) as caught:
                function("web")
            assert caught.value.errno == socket.EAI_NONAME


def test_only_the_nth_look_up():
    with faults.resolver("x", nth=1, error=socket.EAI_AGAIN, addresses=["127.0.0.1"]):
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo("x", 1)
    with faults.resolver(nth=2, error=True) as fault:
        assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"
        with pytest.raises(socket.gaierror):
            socket.gethostbyname("127.0.0.1")
    assert fault.seen == 2


def test_wrong_arguments_of_a_resolver():
    for arguments, error in (
        ({}, ValueError),
        ({"host": 5, "error": True}, TypeError),
        ({"error": "no"}, TypeError),
        ({"error": 1.5}, TypeError),
        ({"error": int}, TypeError),
        ({"error": UnicodeDecodeError}, TypeError),  # which needs arguments
        ({"addresses": "127.0.0.1"}, TypeError),
        ({"addresses": 3}, TypeError),
        ({"addresses": ["localhost"]}, ValueError),
        ({"addresses": [1]}, ValueError),
        ({"addresses": []}, ValueError),
        ({"delay": -1}, ValueError),
    ):
        with pytest.raises(error, match="|".join(["no fault", "address", *arguments])):
            faults.resolver(**arguments)


# ---------------------------------------------------------------- starts


def test_a_start_that_is_late(clock):
    order = []
    with faults.spawn(0.01) as fault:
        first = gevlite.spawn(order.append, "first")
        assert not first.dead
        first.join()
    assert order == ["first"]
    assert fault.hits == [faults.Hit("late", order.append, 1)]
    with faults.spawn(0.01, nth=1):
        gevlite.joinall([gevlite.spawn(order.append, "late"), gevlite.spawn(order.append, "in time")])
    assert order == ["first", "in time", "late"]


def test_one_that_is_late_can_be_killed_and_started_again():
    order = []
    with faults.spawn(60):
        late = gevlite.spawn(order.append, "never")
        gevlite.idle()
        late.start()
        gevlite.idle()
        late.kill()
    assert order == []
    assert late.dead


def test_only_some_functions_are_late(clock):
    order = []

    def one():
        order.append(1)

    def two():
        order.append(2)

    for chosen in (one, "one"):
        with faults.spawn(0.01, function=chosen) as fault:
            gevlite.joinall([gevlite.spawn(one), gevlite.spawn(two)])
        assert order == [2, 1]
        assert len(fault.hits) == 1
        order.clear()
    with faults.spawn(0.01, nth=1):
        gevlite.joinall([gevlite.spawn(one), gevlite.spawn(two)])
    assert order == [2, 1]

    class Worker:
        def work(self):
            pass

    for chosen in (Worker.work, "work", "Worker.work"):
        with faults.spawn(0.01, function=chosen) as fault:
            gevlite.spawn(Worker().work).join()
        assert len(fault.hits) == 1


def test_a_thread_that_is_late(run_script):
    run_script(
        """
        from gevlite import monkey; monkey.patch_all()
        import threading, time
        from gevlite.testing import faults

        order = []
        def work():
            order.append("work")

        with faults.spawn(0.01, function=work) as fault:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert order == ["work"], order
        assert [hit.target for hit in fault.hits] == [work]
        """
    )


def test_wrong_arguments_of_spawn():
    for arguments, error in (((None,), TypeError), ((-1,), ValueError), (("1",), TypeError)):
        with pytest.raises(error):
            faults.spawn(*arguments)
    with pytest.raises(TypeError):
        faults.spawn(1, function=5)


def test_a_patched_program(run_script):
    """Sockets of a patched program, and one that was made before it was patched."""
    run_script(
        """
        import socket
        early = socket.socket()
        from gevlite import monkey; monkey.patch_all()
        import threading, urllib.request
        from gevlite.testing import faults

        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()

        def serve():
            for _ in range(2):
                sock, _ = listener.accept()
                sock.recv(1000)
                sock.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhello")
                sock.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with faults.sockets(address, receive=1) as fault:
            with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}/") as answer:
                assert answer.read() == b"hello"
            early.connect(address)
            early.sendall(b"x")
            assert early.recv(100) == b"H"
            early.close()
        assert fault.seen == 2
        assert [hit.what for hit in fault.hits] == ["receive", "receive"]
        thread.join()
        """
    )


@pytest.mark.parametrize("switches", [False, True])
def test_in_any_order_of_switches(switches):
    from gevlite.testing import shuffled

    for seed in range(1, 11):
        with shuffled(seed, switches=switches):
            server = StreamServer(("127.0.0.1", 0), echo)
            server.start()
            with faults.sockets(server.address, receive=2, stall_after=3, stall_for=0.001) as fault:
                with connected(server.address) as sock:
                    sock.sendall(b"hello")
                    assert received(sock, 3) == [b"he", b"l", b"lo"]
            assert sorted(kinds(fault)) == ["receive", "stall"]
            server.stop()


def test_times_follow_a_virtual_clock(server):
    with testing.VirtualClock() as clock:
        with faults.sockets(server.address, stall_after=2, stall_for=3600), connected(server.address, None) as sock:
            sock.sendall(b"hello")
            assert sock.recv(100) == b"he"
            before = clock.elapsed
            assert sock.recv(100) == b"llo"
            assert clock.elapsed - before >= 3600
        with faults.sockets(server.address, delay=3600), pytest.raises(TimeoutError):
            connected(server.address, 60)
        with faults.sockets(server.address, receive=1), connected(server.address, None) as sock:
            sock.sendall(b"hello")
            gevlite.sleep(600)
            assert received(sock, 5) == [b"h", b"e", b"l", b"l", b"o"]
        before = clock.elapsed
        with faults.resolver(delay=600):
            socket.gethostbyname("127.0.0.1")
        with faults.spawn(600):
            gevlite.spawn(gevlite.sleep, 0).join()
        assert clock.elapsed - before >= 1200
