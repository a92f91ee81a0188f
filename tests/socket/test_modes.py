"""Time-outs and non-blocking mode in detail, compared with the original."""

import errno
import socket as std_socket
import sys
import time

import pytest
from both_ends import BIG, LOCALHOST, fill, recv_all, refused, tcp_pair, unix_pair, waiting_for

import gevlite

# ---------------------------------------------------------------- time-outs


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("recv", (10,)),
        ("recv_into", (bytearray(10),)),
        ("recvfrom", (10,)),
        ("recvfrom_into", (bytearray(10),)),
        ("recvmsg", (10,)),
        ("recvmsg_into", ([bytearray(10)],)),
    ],
)
def test_reading_times_out(ends, method, args):
    """After its time, not before, with the original's words; and the socket stays usable."""
    a, b = ends
    b.settimeout(0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        getattr(b, method)(*args)
    assert time.monotonic() - began >= 0.05
    a.send(b"late")
    getattr(b, method)(*args)


@pytest.mark.parametrize(("method", "data"), [("send", b"x"), ("sendall", BIG), ("sendmsg", [b"x"])])
def test_writing_times_out(ends, method, data):
    a, _b = ends
    fill(a)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        getattr(a, method)(data)
    assert time.monotonic() - began >= 0.05


def test_sendall_times_out_as_a_whole(lib, ends):
    """A reader that takes a little now and then does not prolong it."""
    a, b = ends
    fill(a)
    a.settimeout(0.2)
    done = []

    def sip():
        b.settimeout(5)
        while not done and b.recv(20_000):
            if lib.name == "gevlite":
                gevlite.sleep(0.02)
            else:
                time.sleep(0.02)

    reader = lib.spawn(sip)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        a.sendall(BIG * 4)
    assert 0.2 <= time.monotonic() - began < 3
    done.append(True)
    reader.get()


def test_accept_times_out(sockets):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            listener.accept()


def test_connect_times_out(sockets, opened):
    """A listener whose backlog is full does not answer."""
    listener = opened.enter_context(sockets.socket())
    listener.bind((LOCALHOST, 0))
    listener.listen(0)

    def connect():
        sock = opened.enter_context(sockets.socket())
        sock.settimeout(0.1)
        sock.connect(listener.getsockname())

    with pytest.raises(TimeoutError, match=r"^timed out$"):
        for _ in range(10):
            connect()
    sock = opened.enter_context(sockets.socket())
    sock.settimeout(0.05)
    assert sock.connect_ex(listener.getsockname()) == errno.EAGAIN


def test_settimeout_to_the_letter(sockets, opened):
    sock = opened.enter_context(sockets.socket())
    assert (sock.gettimeout(), sock.getblocking(), sock.timeout) == (None, True, None)
    for value, timeout, blocking in [(0, 0.0, False), (1, 1.0, True), (2.5, 2.5, True), (None, None, True)]:
        sock.settimeout(value)
        assert (sock.gettimeout(), sock.getblocking(), sock.timeout) == (timeout, blocking, timeout)
        assert type(sock.gettimeout()) is type(timeout)
    sock.setblocking(False)
    assert (sock.gettimeout(), sock.getblocking()) == (0.0, False)
    sock.setblocking(True)
    assert (sock.gettimeout(), sock.getblocking()) == (None, True)


@pytest.mark.parametrize("bad", [-1, -0.001, float("nan")])
def test_settimeout_refuses(sockets, opened, bad):
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(ValueError):
        sock.settimeout(bad)
    assert sock.gettimeout() is None


@pytest.mark.parametrize("bad", [1e20, float("inf")])
def test_settimeout_refuses_the_absurd(sockets, opened, bad):
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(OverflowError):
        sock.settimeout(bad)


def test_a_timeout_is_read_only_but_by_its_methods(sockets, opened):
    sock = opened.enter_context(sockets.socket())
    with pytest.raises(AttributeError):
        sock.timeout = 3


@pytest.mark.parametrize(("flag", "timeout"), [(True, None), (False, 0.0), (1, None), (0, 0.0), ([], 0.0), ("x", None)])
def test_setblocking_takes_any_truth(sockets, opened, flag, timeout):
    if sockets is std_socket and not isinstance(flag, int) and sys.version_info < (3, 12):
        pytest.skip("the original takes integers only, until Python 3.12")
    sock = opened.enter_context(sockets.socket())
    sock.settimeout(7)
    sock.setblocking(flag)
    assert sock.gettimeout() == timeout
    assert sock.getblocking() == (timeout is None)


def test_the_smallest_timeout_is_not_none(sockets, opened):
    """Rounded away from zero: a little time is not non-blocking mode."""
    _a, b = tcp_pair(sockets, opened)
    b.settimeout(1e-12)
    assert b.getblocking()
    with pytest.raises(TimeoutError):
        b.recv(1)


def test_a_timeout_that_changes_while_somebody_waits(start, ours, settle):
    """It takes effect with the next call."""
    a, b = ours
    reader = start(b.recv, 10)
    assert settle(waiting_for(1))
    b.settimeout(0.001)
    with pytest.raises(TimeoutError):
        b.recv(10)
    assert not reader.greenlet.ready()
    a.send(b"late")
    assert reader.get() == b"late"


def test_a_default_timeout_of_none_at_all(sockets, opened):
    """0: sockets are born in non-blocking mode, accepted ones too."""
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    sockets.setdefaulttimeout(0)
    try:
        sock = opened.enter_context(sockets.socket())
        assert (sock.gettimeout(), sock.getblocking()) == (0.0, False)
        opened.enter_context(std_socket.create_connection(listener.getsockname(), timeout=5))
        assert opened.enter_context(listener.accept()[0]).gettimeout() == 0.0
        a, _b = unix_pair(sockets, opened)
        with pytest.raises(BlockingIOError):
            a.recv(1)
    finally:
        sockets.setdefaulttimeout(None)


def test_default_timeout(lib, sockets, opened):
    """New and accepted sockets have it, and create_connection uses it."""
    sockets.setdefaulttimeout(3)
    try:
        assert sockets.getdefaulttimeout() == 3.0
        a, b = tcp_pair(sockets, opened)
        assert a.gettimeout() == b.gettimeout() == 3.0
        c, d = unix_pair(sockets, opened)
        assert c.gettimeout() == d.gettimeout() == 3.0
    finally:
        sockets.setdefaulttimeout(None)
    assert a.gettimeout() == 3.0


def test_an_accepted_socket_does_not_inherit_the_timeout(sockets, opened):
    with sockets.create_server((LOCALHOST, 0)) as listener:
        listener.settimeout(5)
        opened.enter_context(sockets.create_connection(listener.getsockname()))
        server = opened.enter_context(listener.accept()[0])
        assert server.gettimeout() is None


# ---------------------------------------------------------------- non-blocking mode


def test_nonblocking_calls_raise_at_once(ends):
    a, b = ends
    b.setblocking(False)
    for method, args in [
        ("recv", (1,)),
        ("recv_into", (bytearray(1),)),
        ("recvfrom", (1,)),
        ("recvfrom_into", (bytearray(1),)),
        ("recvmsg", (1,)),
        ("recvmsg_into", ([bytearray(1)],)),
    ]:
        with pytest.raises(BlockingIOError) as caught:
            getattr(b, method)(*args)
        assert caught.value.errno == errno.EAGAIN
    b.send(b"x")
    with pytest.raises(BlockingIOError):
        while True:
            b.send(b"x" * 65536)
    with pytest.raises(BlockingIOError):
        while True:  # the kernel may have found more room meanwhile
            b.sendall(b"x" * 65536)
    assert a.recv(1) == b"x"


def test_nonblocking_accept_and_connect(sockets, opened):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    client = opened.enter_context(sockets.socket())
    client.setblocking(False)
    with pytest.raises(BlockingIOError) as caught:
        client.connect(listener.getsockname())
    assert caught.value.errno == errno.EINPROGRESS
    listener.setblocking(True)
    opened.enter_context(listener.accept()[0])
    # A second call shows that it is done.
    assert client.connect_ex(listener.getsockname()) in (0, errno.EISCONN)
    assert client.connect_ex(listener.getsockname()) == errno.EISCONN
    other = opened.enter_context(sockets.socket())
    other.setblocking(False)
    assert other.connect_ex(listener.getsockname()) == errno.EINPROGRESS


def test_what_has_come_meanwhile_is_seen_without_waiting(ends):
    """MSG_DONTWAIT asks the kernel, even if there was no data the last time and it has not been asked since."""
    a, b = ends
    b.settimeout(0.01)
    with pytest.raises(TimeoutError):
        b.recv(1)
    a.send(b"x")
    assert b.recv(1, std_socket.MSG_DONTWAIT) == b"x"
    b.setblocking(False)
    with pytest.raises(BlockingIOError):
        b.recv(1)
    a.send(b"y")
    assert b.recv(1) == b"y"
    with pytest.raises(BlockingIOError):
        b.recv(1)
    a.send(b"z")
    assert b.recvmsg(1)[0] == b"z"


def test_no_urgent_data_is_said_at_once(sockets, opened):
    a, b = tcp_pair(sockets, opened)
    b.settimeout(0.01)
    with pytest.raises(TimeoutError):
        b.recv(1)
    b.settimeout(None)
    with refused(errno.EINVAL):
        b.recv(1, std_socket.MSG_OOB)
    a.send(b"!", std_socket.MSG_OOB)
    assert b.recv(1, std_socket.MSG_OOB) == b"!"


def test_a_nonblocking_sendall_says_when_no_more_fits(ends):
    a, b = ends
    a.setblocking(False)
    with pytest.raises(BlockingIOError):
        a.sendall(BIG)
    a.close()
    assert 0 < len(recv_all(b)) < len(BIG)


def test_a_socket_may_be_born_nonblocking(sockets, opened):
    sock = opened.enter_context(sockets.socket(std_socket.AF_INET, std_socket.SOCK_STREAM | std_socket.SOCK_NONBLOCK))
    assert sock.gettimeout() == 0.0
    assert sock.type == std_socket.SOCK_STREAM


def test_back_to_blocking(lib, ends):
    a, b = ends
    b.setblocking(False)
    with pytest.raises(BlockingIOError):
        b.recv(1)
    b.setblocking(True)
    reader = lib.spawn(b.recv, 10)
    a.send(b"now")
    assert reader.get() == b"now"
