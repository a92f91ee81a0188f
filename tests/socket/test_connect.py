"""Connecting and accepting, compared with the original."""

import errno
import gc
import socket as std_socket

import pytest
from both_ends import LOCALHOST, full_listener, recv_all, refused, tcp_pair, udp, waiting_for

import gevlite
from gevlite import socket


def test_connection_refused(sockets, opened):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        address = listener.getsockname()
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(ConnectionRefusedError):
        sock.connect(address)
    assert opened.enter_context(sockets.socket()).connect_ex(address) == errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        sockets.create_connection(address)


def test_connecting_again_after_a_refusal(sockets, opened):
    """The same socket is refused in the same way, and accepted once there is a listener."""
    listener = opened.enter_context(sockets.socket())
    listener.bind((LOCALHOST, 0))
    sock = opened.enter_context(sockets.socket())
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            sock.connect(listener.getsockname())
    listener.listen()
    sock.connect(listener.getsockname())
    assert sock.getpeername() == listener.getsockname()


def test_connecting_twice(sockets, opened):
    a, _b = tcp_pair(sockets, opened)
    for timeout in (None, 5, 0):
        a.settimeout(timeout)
        with refused(errno.EISCONN):
            a.connect(a.getpeername())
        assert a.connect_ex(a.getpeername()) == errno.EISCONN


def test_connecting_again_while_it_is_in_progress(sockets, opened):
    """EALREADY in non-blocking mode; otherwise the call waits for the attempt that has begun."""
    listener = full_listener(sockets, opened)
    sock = opened.enter_context(sockets.socket())
    sock.setblocking(False)
    assert sock.connect_ex(listener.getsockname()) == errno.EINPROGRESS
    assert sock.connect_ex(listener.getsockname()) == errno.EALREADY
    with refused(errno.EALREADY):
        sock.connect(listener.getsockname())


def test_connecting_again_after_a_time_out(opened):
    """Goes on waiting for the same attempt. (The original says EALREADY at once.)"""
    listener = full_listener(socket, opened)
    sock = opened.enter_context(socket.socket())
    sock.settimeout(0.02)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            sock.connect(listener.getsockname())


def test_a_connection_begun_in_nonblocking_mode_is_finished_in_blocking_mode(sockets, opened):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    sock = opened.enter_context(sockets.socket())
    sock.setblocking(False)
    assert sock.connect_ex(listener.getsockname()) == errno.EINPROGRESS
    sock.setblocking(True)
    assert sock.connect_ex(listener.getsockname()) in (0, errno.EISCONN)
    sock.sendall(b"x")
    with listener.accept()[0] as server:
        assert server.recv(1) == b"x"


def test_a_datagram_socket_is_connected_at_once_and_again(sockets, opened):
    a, b, c = (udp(sockets, opened) for _ in range(3))
    for peer in (b, c, b):
        a.connect(peer.getsockname())
        assert a.getpeername() == peer.getsockname()
    assert a.connect_ex(c.getsockname()) == 0


def test_binding_by_name(sockets, opened):
    for name in ("localhost", b"localhost", bytearray(b"localhost")):
        sock = opened.enter_context(sockets.socket())
        sock.bind((name, 0))
        assert sock.getsockname()[0] == LOCALHOST
    with pytest.raises(std_socket.gaierror):
        sockets.socket().bind(("no-such-host.invalid", 0))


@pytest.mark.parametrize("method", ["bind", "connect", "connect_ex"])
@pytest.mark.parametrize(
    ("address", "error"),
    [
        (("localhost", "80"), TypeError),
        (("localhost", 1.5), TypeError),
        (("localhost", 1 << 70), OverflowError),
        (("localhost", -1), OverflowError),
        ((None, 80), TypeError),
        (["localhost", 80], TypeError),
        (("a\0b", 80), (TypeError, ValueError)),
        (("x" * 300, 80), (UnicodeError, std_socket.gaierror)),
    ],
)
def test_bad_addresses(sockets, opened, method, address, error):
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(error):
        getattr(sock, method)(address)


class Port:
    def __index__(self):
        return 0


def test_a_port_may_be_any_integer(sockets, opened):
    sock = opened.enter_context(sockets.socket())
    sock.bind(("localhost", Port()))
    assert sock.getsockname()[1] > 0


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


def test_create_connection_tries_each_address_and_raises_the_last_error(sockets, opened, monkeypatch):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    with sockets.create_server((LOCALHOST, 0)) as closed:
        refusing = closed.getsockname()

    def found(*targets):
        stream = (std_socket.AF_INET, std_socket.SOCK_STREAM, 6, "")
        monkeypatch.setattr(sockets, "getaddrinfo", lambda *args: [(*stream, target) for target in targets])

    found(refusing, refusing, listener.getsockname())
    with sockets.create_connection(("any", 1), timeout=5) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.gettimeout() == 5
    found(refusing, (LOCALHOST, 70000))
    with pytest.raises(OverflowError):
        sockets.create_connection(("any", 1))
    found((LOCALHOST, 1), ("255.255.255.255", 1))
    with refused(errno.EACCES, errno.ENETUNREACH, errno.EINVAL):
        sockets.create_connection(("any", 1))
    with pytest.raises(ExceptionGroup) as caught:
        sockets.create_connection(("any", 1), all_errors=True)
    assert len(caught.value.exceptions) == 2
    found()
    with pytest.raises(OSError, match="getaddrinfo returne?[ds]"):
        sockets.create_connection(("any", 1))


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


CREATE_SERVER_ERRORS = [
    (((LOCALHOST, "0"),), {}, TypeError),
    ((("no-such-host.invalid", 0),), {}, OSError),
    (((LOCALHOST, 0),), {"backlog": "5"}, TypeError),
    ((("::1", 0),), {"family": std_socket.AF_INET, "dualstack_ipv6": True}, ValueError),
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("arguments", "keywords", "error"), CREATE_SERVER_ERRORS)
def test_create_server_refuses(sockets, arguments, keywords, error):
    with pytest.raises(error):
        sockets.create_server(*arguments, **keywords)
    gc.collect()  # the original leaves some to the collector


@pytest.mark.filterwarnings("error")
def test_create_server_that_fails_leaves_no_socket():
    for arguments, keywords, error in CREATE_SERVER_ERRORS:
        with pytest.raises(error):
            socket.create_server(*arguments, **keywords)
    gc.collect()


def test_create_server_dual_stack(lib, sockets, opened):
    if not sockets.has_dualstack_ipv6():
        pytest.skip("no dual-stack sockets here")
    listener = opened.enter_context(sockets.create_server(("", 0), family=std_socket.AF_INET6, dualstack_ipv6=True))
    accepted = lib.spawn(listener.accept)
    opened.enter_context(sockets.create_connection((LOCALHOST, listener.getsockname()[1])))
    server, address = accepted.get()
    opened.enter_context(server)
    assert address[0] == "::ffff:127.0.0.1"


def test_several_accept_on_one_listener(lib, sockets, opened):
    """Each connection is accepted by exactly one of the waiters, and none is lost."""
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


def test_those_who_accept_are_served_in_the_order_in_which_they_came(start, opened, settle):
    """And each connection wakes one of them only."""
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    order = []

    def accept(i):
        opened.enter_context(listener.accept()[0])
        order.append(i)

    accepting = []
    for i in range(5):
        accepting.append(start(accept, i))
        assert settle(waiting_for(i + 1))
    for done in range(1, 6):
        opened.enter_context(socket.create_connection(listener.getsockname()))
        assert settle(waiting_for(5 - done))
        gevlite.idle()  # it has appended its number
        assert order == list(range(done))
    for handle in accepting:
        handle.get()


def test_one_edge_for_many_connections_wakes_as_many(start, opened, settle):
    """They all came before the first accept."""
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0), backlog=100))
    accepting = [start(listener.accept) for _ in range(20)]
    assert settle(waiting_for(20))
    for _ in range(20):
        opened.enter_context(std_socket.create_connection(listener.getsockname()))
    addresses = set()
    for handle in accepting:
        connection, address = handle.get()
        opened.enter_context(connection)
        addresses.add(address)
    assert len(addresses) == 20


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
