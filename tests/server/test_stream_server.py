"""StreamServer: accepts all clients, serves each as `spawn` says, survives errors, stops cleanly."""

import errno
import os
import signal
import socket as std_socket
import ssl as std_ssl
import subprocess
import sys
import time

import psutil
import pytest
from serving import LOCALHOST, TinyPool, echo, read_all

import gevlite
from gevlite import baseserver, socket, ssl
from gevlite.pool import Pool
from gevlite.server import StreamServer
from gevlite.testing import VirtualClock

ANY = (LOCALHOST, 0)


def ask(sock, text=b"hello"):
    sock.sendall(text)
    return sock.recv(65536)


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("listener", "family", "address"),
    [
        ((LOCALHOST, 80), socket.AF_INET, (LOCALHOST, 80)),
        ("127.0.0.1:80", socket.AF_INET, (LOCALHOST, 80)),
        ("localhost:80", socket.AF_INET, ("localhost", 80)),
        (":80", socket.AF_INET, ("", 80)),
        ("[::1]:80", socket.AF_INET6, ("::1", 80)),
        (("::1", 80), socket.AF_INET6, ("::1", 80)),
        (("::1", 80, 0, 0), socket.AF_INET6, ("::1", 80, 0, 0)),
        ("unix:/run/x.sock", socket.AF_UNIX, "/run/x.sock"),
        ("fd://3", None, 3),
    ],
)
def test_every_way_to_write_an_address(listener, family, address):
    assert baseserver.parse_address(listener) == (family, address)


@pytest.mark.parametrize("listener", [0, "0", ("", 0)])
def test_a_port_alone_means_every_interface(serve, dial, listener):
    server = serve(StreamServer(listener, echo))
    assert server.server_host in ("::", "0.0.0.0")
    assert ask(dial(server)) == b"hello"


def test_a_port_alone_means_every_ipv4_interface_where_the_system_has_no_ipv6(serve, dial, monkeypatch):
    class OnlyIPv4(socket.socket):
        def bind(self, address):
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", OnlyIPv4)
    server = StreamServer(0, echo)
    monkeypatch.undo()
    assert serve(server).server_host == "0.0.0.0"
    assert ask(dial(server)) == b"hello"


@pytest.mark.parametrize(
    ("listener", "error"),
    [(None, TypeError), (1.5, TypeError), (("a",), ValueError), (("a", "b"), TypeError), ("abc", ValueError)]
    + [("abc:def", ValueError), ("fd://x", ValueError), (True, TypeError), ({}, TypeError)],
)
def test_what_is_no_address_is_refused_at_once(listener, error):
    with pytest.raises(error, match="address|port|tuple"):
        StreamServer(listener, echo)


@pytest.mark.parametrize("spawn", ["foo", 1.5, object()])
def test_what_cannot_spawn_is_refused_at_once(spawn):
    with pytest.raises(TypeError, match="spawn"):
        StreamServer(ANY, echo, spawn=spawn)


def test_without_a_handle_there_is_an_error_at_once():
    with pytest.raises(TypeError, match="'handle' must be provided"):
        StreamServer(ANY)


def test_handle_may_be_a_method_of_a_subclass(serve, dial):
    class Shout(StreamServer):
        def handle(self, sock, address):
            sock.sendall(sock.recv(100).upper())

    assert ask(dial(serve(Shout(ANY)))) == b"HELLO"


def test_a_port_that_is_taken_is_an_error_that_names_it(serve):
    server = serve(StreamServer(ANY, echo))
    second = StreamServer(server.address, echo)
    with pytest.raises(OSError, match=str(server.server_port)) as caught:
        second.start()
    assert caught.value.errno == errno.EADDRINUSE
    assert second.closed and not second.started


# ---------------------------------------------------------------- listeners of every kind


def test_each_client_is_served_at_the_same_time(serve, dial):
    server = serve(StreamServer(ANY, echo))
    clients = [dial(server) for _ in range(50)]
    for client in clients:
        client.sendall(b"x")
    assert [client.recv(10) for client in clients] == [b"x"] * 50


def test_ipv6(serve):
    server = serve(StreamServer(("::1", 0), echo))
    with socket.create_connection(("::1", server.server_port), timeout=20) as client:
        assert ask(client) == b"hello"
    assert server.server_host == "::1"


@pytest.mark.parametrize("mode", [0o600, 0o666, None])
def test_the_file_of_a_unix_socket_has_the_mode_that_was_set(serve, dial, tmp_path, mode):
    server = StreamServer(f"unix:{tmp_path}/s.sock", echo)
    server.socket_mode = mode
    assert ask(dial(serve(server))) == b"hello"
    if mode is not None:
        assert os.stat(server.address).st_mode & 0o777 == mode


def test_unix_socket_whose_file_goes_with_the_server(serve, dial, tmp_path):
    path = str(tmp_path / "s.sock")
    server = serve(StreamServer(f"unix:{path}", echo))
    assert ask(dial(server)) == b"hello"
    assert (server.server_host, server.server_port, server.address) == (None, None, path)
    server.close()
    assert not os.path.exists(path)


def test_the_file_that_a_dead_process_left_is_no_obstacle(serve, dial, tmp_path):
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert ask(dial(serve(StreamServer(f"unix:{path}", echo)))) == b"hello"


def test_the_socket_of_a_living_process_and_other_files_are_not_replaced(serve, dial, tmp_path):
    path = str(tmp_path / "s.sock")
    living = serve(StreamServer(f"unix:{path}", echo))
    precious = tmp_path / "precious"
    precious.write_text("x")
    for taken in (path, precious):
        with pytest.raises(OSError, match=str(taken)):
            StreamServer(f"unix:{taken}", echo).start()
    assert precious.read_text() == "x"
    assert ask(dial(living)) == b"hello"


@pytest.mark.parametrize("module", [socket, std_socket], ids=["gevlite", "standard"])
def test_a_socket_that_listens_already(serve, dial, module):
    listener = module.create_server(ANY)
    server = serve(StreamServer(listener, echo))
    assert listener.getsockname() == server.address
    assert ask(dial(server)) == b"hello"
    server.close()
    assert listener.fileno() == -1
    with pytest.raises(TypeError, match="backlog"):
        StreamServer(listener, echo, backlog=5)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_time_out_of_the_listener_does_not_matter(serve, dial, errors, timeout):
    listener = socket.create_server(ANY)
    listener.settimeout(timeout)
    server = serve(StreamServer(listener, echo))
    with VirtualClock():
        gevlite.sleep(60)
    assert ask(dial(server)) == b"hello"
    assert listener.gettimeout() == timeout
    server.close()
    assert listener.fileno() == -1
    assert errors == []


def test_a_default_time_out_of_sockets_does_not_matter(serve, dial, errors):
    std_socket.setdefaulttimeout(0.01)
    try:
        servers = [
            serve(StreamServer(listener, echo))
            for listener in (ANY, std_socket.create_server(ANY), f"fd://{std_socket.create_server(ANY).detach()}")
        ]
    finally:
        std_socket.setdefaulttimeout(None)
    with VirtualClock():
        gevlite.sleep(60)
    assert [ask(dial(server)) for server in servers] == [b"hello"] * 3
    assert errors == []


def test_an_inherited_descriptor(serve, dial):
    listener = std_socket.create_server(ANY)
    server = serve(StreamServer(f"fd://{listener.detach()}", echo))
    assert server.family == socket.AF_INET
    assert ask(dial(server)) == b"hello"


def test_a_tls_listener_is_refused(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    with socket.create_server(ANY) as listener, context.wrap_socket(listener, server_side=True) as secure:
        with pytest.raises(TypeError, match="ssl_context"):
            StreamServer(secure, echo)


def test_two_servers_on_one_port_with_reuse_port(serve, dial):
    class Shared(StreamServer):
        reuse_port = True

    first = serve(Shared(ANY, lambda sock, address: sock.sendall(b"1")))
    second = serve(Shared(first.address, lambda sock, address: sock.sendall(b"2")))
    assert first.address == second.address
    answers = {read_all(dial(first)) for _ in range(64)}  # the kernel spreads by a hash of the ports
    assert answers == {b"1", b"2"}


def test_several_processes_serve_from_one_socket(run_script):
    done = run_script(
        """
        import os, signal, gevlite
        from gevlite import socket
        from gevlite.server import StreamServer

        def handle(sock, address):
            sock.sendall(b"%d" % os.getpid())

        server = StreamServer(("127.0.0.1", 0), handle)
        server.init_socket()
        server.max_accept = 1
        children = []
        reader, writer = os.pipe()
        for _ in range(3):
            pid = os.fork()
            if pid == 0:
                server.start()
                gevlite.signal_handler(signal.SIGTERM, server.stop)
                os.write(writer, b"x")
                server.serve_forever()
                os._exit(0)
            children.append(pid)
        for _ in children:
            os.read(reader, 1)  # SIGTERM would end one that has not set its handler

        seen = set()
        with gevlite.Timeout(20):
            while not seen:
                with socket.create_connection(server.address) as client:
                    seen.add(int(client.recv(100)))
        assert seen <= set(children)
        for pid in children:
            os.kill(pid, signal.SIGTERM)
            assert os.waitpid(pid, 0)[1] == 0
        print("served")
        """
    )
    assert done.stdout == "served\n"


# ---------------------------------------------------------------- ways to spawn


def test_spawn_default_is_a_greenlet_for_each(serve, dial):
    seen = []
    server = serve(StreamServer(ANY, lambda sock, address: seen.append(gevlite.getcurrent())))
    read_all(dial(server))
    read_all(dial(server))
    assert all(isinstance(greenlet, gevlite.Greenlet) for greenlet in seen) and len(set(seen)) == 2


def test_spawn_raw_is_a_bare_greenlet(serve, dial):
    seen = []
    server = serve(StreamServer(ANY, lambda sock, address: seen.append(gevlite.getcurrent()), spawn="raw"))
    read_all(dial(server))
    assert not isinstance(seen[0], gevlite.Greenlet)


def test_spawn_none_serves_one_after_the_other(serve, dial):
    server = serve(StreamServer(ANY, echo, spawn=None))
    first, second = dial(server), dial(server)
    assert ask(first) == b"hello"
    second.sendall(b"I wait")
    with pytest.raises(TimeoutError):
        second.settimeout(0.05)
        second.recv(10)
    first.close()
    second.settimeout(20)
    assert second.recv(10) == b"I wait"


def test_spawn_none_survives_a_handler_that_fails(serve, dial, errors):
    def fail(sock, address):
        raise ValueError("broken handler")

    server = serve(StreamServer(ANY, fail, spawn=None))
    assert read_all(dial(server)) == b"" == read_all(dial(server))
    assert [str(value) for _, value in errors] == ["broken handler"] * 2


def test_spawn_callable(serve, dial):
    calls = []

    def spawn(function, *args):
        calls.append(args[1])
        return gevlite.spawn(function, *args)

    client = dial(serve(StreamServer(ANY, echo, spawn=spawn)))
    assert ask(client) == b"hello"
    assert calls == [client.getsockname()]


def test_spawn_callable_that_fails_closes_the_connection_and_goes_on(serve, dial, errors):
    def spawn(function, *args):
        raise ValueError("no")

    server = serve(StreamServer(ANY, echo, spawn=spawn))
    assert read_all(dial(server)) == b"" == read_all(dial(server))
    assert len(errors) == 2


@pytest.mark.parametrize("make", [lambda: 2, lambda: Pool(2), lambda: TinyPool(2)], ids=["number", "Pool", "duck"])
def test_a_full_pool_leaves_clients_in_the_backlog(serve, dial, make):
    server = serve(StreamServer(ANY, echo, spawn=make()))
    first, second, third = (dial(server) for _ in range(3))
    assert ask(first) == ask(second) == b"hello"
    assert server.full()
    third.sendall(b"I wait")
    third.settimeout(0.05)
    with pytest.raises(TimeoutError):
        third.recv(10)
    first.close()
    third.settimeout(20)
    assert third.recv(10) == b"I wait"


def test_full_may_be_decided_by_a_subclass(serve, dial):
    class Moody(StreamServer):
        busy = True

        def full(self):
            return self.busy

    server = serve(Moody(ANY, echo))
    client = dial(server)
    client.sendall(b"x")
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(10)
    server.busy = False
    client.settimeout(20)
    assert client.recv(10) == b"x"


# ---------------------------------------------------------------- errors


def test_a_handler_that_raises_is_reported_and_its_connection_closed(serve, dial, errors):
    def fail(sock, address):
        sock.sendall(b"before")
        raise ValueError("broken handler")

    server = serve(StreamServer(ANY, fail))
    assert read_all(dial(server)) == b"before"
    assert [str(value) for _, value in errors] == ["broken handler"]
    assert read_all(dial(server)) == b"before"


def test_the_connection_is_closed_when_the_handler_returns(serve, dial):
    kept = []
    server = serve(StreamServer(ANY, lambda sock, address: kept.append(sock)))
    assert read_all(dial(server)) == b""
    assert kept[0].fileno() == -1


def test_a_killed_handler_closes_its_connection_and_is_no_error(serve, dial, errors):
    seen = []

    def handle(sock, address):
        seen.append(gevlite.getcurrent())
        sock.recv(1)

    client = dial(serve(StreamServer(ANY, handle)))
    client.sendall(b"")
    gevlite.sleep(0)
    while not seen:
        gevlite.sleep(0.001)
    seen[0].kill()
    assert read_all(client) == b""
    assert errors == []


def test_no_descriptor_left_neither_spins_nor_loses_the_listener(run_script):
    # The limit is the process's, so this runs in one of its own.
    done = run_script(
        """
        import resource, time, gevlite
        from gevlite import socket
        from gevlite.server import StreamServer

        tries = []
        class Server(StreamServer):
            min_delay, max_delay = 0.01, 0.1
            def do_read(self):
                tries.append(time.monotonic())
                return super().do_read()

        reported = []
        gevlite.get_hub().handle_error = lambda context, type, value, tb: reported.append(value.errno)
        server = Server(("127.0.0.1", 0), lambda sock, address: sock.sendall(b"served"))
        server.start()
        client = socket.socket()
        client.settimeout(20)
        gevlite.get_hub().resolver.getaddrinfo("127.0.0.1", 1)      # imports, which needs descriptors
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, before[1]))
        client.connect(server.address)
        gevlite.sleep(1)
        failed = len(tries) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert client.recv(100) == b"served"
        assert 3 <= failed <= 20, failed
        import errno
        assert set(reported) == {errno.EMFILE}, reported
        assert server.delay == server.min_delay
        server.stop()
        """
    )
    assert done.stderr == ""


def test_an_error_of_one_client_while_accepting_delays_nobody(serve, dial, errors):
    class Unlucky(StreamServer):
        min_delay = 100
        failures = 3

        def do_read(self):
            if self.failures:
                self.failures -= 1
                raise ConnectionResetError(errno.ECONNRESET, "went away")
            return super().do_read()

    assert ask(dial(serve(Unlucky(ANY, echo)))) == b"hello"
    assert len(errors) == 3


def test_a_listener_that_is_broken_for_good_closes_the_server(serve, errors, settle):
    class Broken(StreamServer):
        def do_read(self):
            raise OSError(errno.EINVAL, "not a listener")

    server = serve(Broken(ANY, echo))
    assert settle(lambda: server.closed and not server.started)
    assert [value.errno for _, value in errors] == [errno.EINVAL]


def test_a_crowd_does_not_starve_other_greenlets(serve, start):
    turns = []
    order = []

    def note(sock, address):
        order.append("client")

    def tick():
        while len(order) < 60:
            turns.append(len(order))
            gevlite.sleep(0)

    listener = socket.create_server(ANY, backlog=100)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(60)]
    server = StreamServer(listener, note, spawn=None)
    server.max_accept = 10
    ticking = start(gevlite.uninterrupted(tick))  # else it would also miss the turns at the ends of its slices
    serve(server)
    ticking.get()
    for client in clients:
        client.close()
    assert max(b - a for a, b in zip(turns, turns[1:], strict=False)) <= 10


# ---------------------------------------------------------------- start, stop


def test_life_of_a_server():
    server = StreamServer(ANY, echo)
    assert not server.started and server.closed and server.server_port == 0
    server.start()
    assert server.started and not server.closed and server.server_port > 0
    assert server.server_host == LOCALHOST
    assert repr(server).startswith(f"<StreamServer fileno={server.socket.fileno()} address={LOCALHOST}:")
    with pytest.raises(RuntimeError, match="already started"):
        server.start()
    server.stop()
    assert not server.started and server.closed
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


def test_a_stopped_server_can_be_started_again_on_the_same_port(serve, dial):
    server = serve(StreamServer(ANY, echo))
    address = server.address
    server.stop()
    server.start()
    assert server.address == address
    assert ask(dial(server)) == b"hello"


def test_accepting_can_be_suspended(serve, dial):
    server = serve(StreamServer(ANY, echo))
    server.stop_accepting()
    client = dial(server)
    client.sendall(b"x")
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(10)
    server.start_accepting()
    server.start_accepting()
    client.settimeout(20)
    assert client.recv(10) == b"x"


@pytest.mark.parametrize("spawn", ["default", "raw", 10], ids=str)
def test_close_serves_who_has_connected_already(serve, spawn):
    server = serve(StreamServer(ANY, echo, spawn=spawn))
    clients = [std_socket.create_connection(server.address, 20) for _ in range(5)]  # no other greenlet runs meanwhile
    for client in clients:
        client.sendall(b"x")
    server.close()
    with pytest.raises(ConnectionRefusedError):
        std_socket.create_connection(server.address)
    gevlite.idle()
    assert [client.recv(10) for client in clients] == [b"x"] * 5
    for client in clients:
        client.close()


def test_close_leaves_clients_to_others_who_listen(serve):
    with std_socket.create_server(ANY) as listener:
        server = serve(StreamServer(listener, echo))
        with std_socket.create_connection(listener.getsockname(), 20):
            server.close()
            assert not server._serving
        server = serve(StreamServer(ANY, echo, spawn=1))
        clients = [std_socket.create_connection(server.address, 20) for _ in range(3)]
        server.close()
        gevlite.idle()
        assert len(server._serving) == 1  # the pool has no room for more
        for client in clients:
            client.close()


def test_stop_waits_for_those_who_are_being_served(serve, dial, start):
    server = serve(StreamServer(ANY, echo))
    client = dial(server)
    assert ask(client) == b"hello"
    stopping = start(server.stop, 20)
    gevlite.idle()
    assert server.closed and not stopping.greenlet.ready()
    assert ask(client, b"still served") == b"still served"
    client.close()
    stopping.get()


def test_stop_kills_those_in_a_pool_that_take_too_long_and_leaves_others_alone(serve, dial):
    pooled, free = serve(StreamServer(ANY, echo, spawn=2)), serve(StreamServer(ANY, echo))
    of_pooled, of_free = dial(pooled), dial(free)
    assert ask(of_pooled) == ask(of_free) == b"hello"
    pooled.stop(0.01)
    free.stop(0.01)
    assert read_all(of_pooled) == b""
    assert ask(of_free, b"still here") == b"still here"
    of_free.close()


def test_the_more_patient_of_two_stops_counts(serve, dial, start):
    server = serve(StreamServer(ANY, echo, spawn=2))
    client = dial(server)
    assert ask(client) == b"hello"
    patient = start(server.stop, 20)
    gevlite.sleep(0)
    hasty = start(server.stop, 0.01)
    with VirtualClock():
        gevlite.sleep(19)
    assert ask(client, b"not killed") == b"not killed"
    client.close()
    patient.get()
    hasty.get()


def test_a_handler_may_stop_its_own_server(serve, dial, settle):
    def handle(sock, address):
        sock.recv(1)
        server.stop(20)
        sock.sendall(b"stopped")

    server = serve(StreamServer(ANY, handle, spawn=2))
    client = dial(server)
    client.sendall(b"x")
    assert read_all(client) == b"stopped"
    assert server.closed


def test_stop_may_be_called_where_nothing_may_block(serve, dial, hub, settle):
    server = serve(StreamServer(ANY, echo, spawn=2))
    client = dial(server)
    assert ask(client) == b"hello"
    hub.call_soon(server.stop, 0.01)
    assert read_all(client) == b""
    assert server.closed


def test_killed_while_it_waits_for_a_drain_leaves_nothing_behind(serve, dial, start):
    server = serve(StreamServer(ANY, echo))
    client = dial(server)
    assert ask(client) == b"hello"
    stopping = start(server.stop, 20)
    gevlite.idle()
    stopping.greenlet.kill()
    assert server.closed
    assert ask(client, b"served") == b"served"
    client.close()


def test_serve_forever_until_somebody_stops_it(dial, start):
    server = StreamServer(ANY, echo)
    serving = start(server.serve_forever)
    gevlite.idle()
    client = dial(server)
    assert ask(client) == b"hello"
    client.close()
    server.stop()
    serving.get()
    assert server.closed


def test_serve_forever_ended_by_a_timeout_stops_the_server():
    server = StreamServer(ANY, echo)
    with gevlite.Timeout(0.02, False):
        server.serve_forever()
    assert server.closed


SERVE = """
import signal, sys, gevlite
from gevlite.server import StreamServer

def handle(sock, address):
    sock.sendall(b"hello")
    if sock.recv(1):
        sock.sendall(b"bye")

server = StreamServer(("127.0.0.1", 0), handle)
server.start()
print(server.server_port, flush=True)
"""


@pytest.mark.parametrize(
    ("number", "source", "code"),
    [
        (signal.SIGINT, "server.serve_forever(stop_timeout=20)", -signal.SIGINT),
        (signal.SIGTERM, "gevlite.signal_handler(signal.SIGTERM, server.stop, 20); server.serve_forever()", 0),
        (
            signal.SIGTERM,
            "signal.signal(signal.SIGTERM, lambda *args: server.close()); server.serve_forever(stop_timeout=20)",
            0,
        ),
        (signal.SIGTERM, "server.serve_forever()", -signal.SIGTERM),
    ],
    ids=["ctrl-c", "sigterm-handler", "sigterm-plain-handler", "sigterm-default"],
)
def test_signals(number, source, code):
    with subprocess.Popen(
        [sys.executable, "-c", SERVE + source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        port = int(process.stdout.readline())
        with std_socket.create_connection((LOCALHOST, port), timeout=20) as client:
            assert client.recv(5) == b"hello"
            # KeyboardInterrupt is raised in whatever runs, and must not find a greenlet in the middle of its work.
            watched = psutil.Process(process.pid)
            while watched.status() != psutil.STATUS_SLEEPING:
                time.sleep(0.001)
            process.send_signal(number)
            if code != -signal.SIGTERM:
                # No new client is accepted, but those being served are served to the end.
                while any(found.status == psutil.CONN_LISTEN for found in watched.net_connections("tcp")):
                    time.sleep(0.001)
                with pytest.raises(ConnectionRefusedError):
                    std_socket.create_connection((LOCALHOST, port), timeout=20)
                assert process.poll() is None
                client.sendall(b"x")
                assert client.recv(5) == b"bye"
        assert process.wait(20) == code
        assert ("KeyboardInterrupt" in process.stderr.read()) == (number == signal.SIGINT)


# ---------------------------------------------------------------- TLS


@pytest.fixture
def client_context(certificates):
    return ssl.create_default_context(cafile=certificates.ca)


def test_tls_by_files(serve, dial, certificates, client_context):
    server = serve(StreamServer(ANY, echo, certfile=certificates.server))
    assert server.ssl_enabled
    client = client_context.wrap_socket(dial(server), server_hostname="localhost")
    assert ask(client) == b"hello"
    client.close()


@pytest.mark.parametrize("module", [ssl, std_ssl], ids=["gevlite", "standard"])
def test_tls_by_context(serve, dial, certificates, client_context, module):
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    seen = []

    def handle(sock, address):
        seen.append(type(sock))
        echo(sock, address)

    server = serve(StreamServer(ANY, handle, ssl_context=context))
    clients = [client_context.wrap_socket(dial(server), server_hostname="localhost") for _ in range(2)]
    assert [ask(client) for client in clients] == [b"hello"] * 2
    for client in clients:
        client.close()
    assert seen == [ssl.SSLSocket] * 2


def test_tls_client_certificate(serve, dial, certificates, client_context):
    server = serve(
        StreamServer(
            ANY,
            lambda sock, address: sock.sendall(repr(sock.getpeercert()["subjectAltName"]).encode()),
            certfile=certificates.server,
            ca_certs=certificates.ca,
            cert_reqs=ssl.CERT_REQUIRED,
        )
    )
    client_context.load_cert_chain(certificates.client)
    client = client_context.wrap_socket(dial(server), server_hostname="localhost")
    assert b"client@example.org" in read_all(client)
    client.close()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"keyfile": "x"}, "certfile"),
        ({"ssl_context": object(), "certfile": "x"}, "ssl_context"),
        ({"certfil": "x"}, "certfil"),
        ({"certfile": "CERTIFICATE", "ca_certs": "CA"}, "cert_reqs"),
        ({"certfile": "/does/not/exist"}, "No such file"),
    ],
)
def test_tls_arguments_that_make_no_sense_are_refused_at_once(certificates, args, message):
    names = {"CERTIFICATE": certificates.server, "CA": certificates.ca}
    args = {name: names.get(value, value) if isinstance(value, str) else value for name, value in args.items()}
    with pytest.raises((TypeError, OSError), match=message):
        StreamServer(ANY, echo, **args)


def test_tls_handshakes_that_fail_are_told(serve, dial, certificates, settle):
    class Server(StreamServer):
        def handshake_failed(self, address, exc):
            failed.append((address, type(exc)))

    failed = []
    server = serve(Server(ANY, echo, certfile=certificates.server))
    nonsense = dial(server)
    nonsense.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert settle(lambda: len(failed) == 1)
    server.handshake_timeout = 0.1
    silent = dial(server)
    assert settle(lambda: len(failed) == 2)
    assert dict(failed) == {nonsense.getsockname(): ssl.SSLError, silent.getsockname(): TimeoutError}
    assert silent.recv(1) == b""


def test_tls_handshakes_that_fail_leave_one_line_in_ten_seconds(serve, dial, certificates, settle, caplog):
    server = serve(StreamServer(ANY, echo, certfile=certificates.server))
    for n in range(5):
        dial(server).sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert settle(lambda n=n: server._failures == n)
    assert [record.name for record in caplog.records] == ["gevlite.server"]
    assert "TLS handshake with 127.0.0.1 failed: " in caplog.text and "more before" not in caplog.text
    server._next_line = 0
    dial(server).sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert settle(lambda: "(and 4 more before)" in caplog.text)


def test_tls_client_that_talks_nonsense_is_dropped_without_a_word(serve, dial, certificates, client_context, errors):
    server = serve(StreamServer(ANY, echo, certfile=certificates.server))
    nonsense = dial(server)
    nonsense.sendall(b"GET / HTTP/1.0\r\n\r\n")
    try:
        read_all(nonsense)
    except ConnectionResetError:
        pass
    client = client_context.wrap_socket(dial(server), server_hostname="localhost")
    assert ask(client) == b"hello"
    client.close()
    assert errors == []


def test_tls_client_that_stalls_is_dropped_and_holds_up_nobody(
    serve, dial, certificates, client_context, errors, settle
):
    server = StreamServer(ANY, echo, certfile=certificates.server)
    server.handshake_timeout = 0.2
    serve(server)
    stalled = dial(server)
    assert settle(lambda: server._shaking)
    server.handshake_timeout = 20
    client = client_context.wrap_socket(dial(server), server_hostname="localhost")
    assert ask(client) == b"hello"
    client.close()
    assert read_all(stalled) == b""
    assert errors == []


def test_tls_ends_with_a_goodbye_so_that_nobody_can_cut_it_short_unnoticed(serve, dial, certificates, client_context):
    server = serve(StreamServer(ANY, lambda sock, address: sock.sendall(b"all of it"), certfile=certificates.server))
    client = client_context.wrap_socket(dial(server), server_hostname="localhost", suppress_ragged_eofs=False)
    assert read_all(client) == b"all of it"
    client.close()


# ---------------------------------------------------------------- with, repr


def test_the_end_of_with_stops_it():
    with StreamServer(ANY, echo) as server:
        assert not server.started
        server.start()
        with socket.create_connection(server.address) as client:
            assert ask(client) == b"hello"
    assert not server.started and server.closed
    with pytest.raises(KeyError), StreamServer(ANY, echo) as server:
        server.start()
        raise KeyError
    assert server.closed


def test_repr_of_a_server_whose_handle_is_its_own_method():
    class Own(StreamServer):
        def __init__(self, listener):
            super().__init__(listener, self.serve)

        def serve(self, sock, address):
            pass

    text = repr(Own(ANY))
    assert "Own" in text and "serve" in text and len(text) < 300


def test_the_handle_may_be_set_until_somebody_comes():
    with StreamServer(ANY, echo) as server:
        server.start()
        server.handle = lambda sock, address: sock.sendall(b"another")
        with socket.create_connection(server.address) as client:
            assert ask(client) == b"another"
