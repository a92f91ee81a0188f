"""Faults of the network and the process while a greenlet blocks in a call, and what the call does.

Each test goes through every call that can block. Those that take `lib` run against the original too.
"""

import errno
import os
import socket as std_socket
import sys
import threading

import pytest
from both_ends import (
    BIG,
    LOCALHOST,
    abstract_name,
    alarm,
    blocked,
    fill,
    full_listener,
    let_run,
    no_more_descriptors,
    recv_exactly,
    refused,
    reset,
    skip_if_a_listener_cannot_be_shut_down,
    tcp_pair,
    udp,
    unix_pair,
    waiting_for,
)

import gevlite
from gevlite import select, socket

READING = {
    "recv": lambda sock: sock.recv(10),
    "recv_into": lambda sock: sock.recv_into(bytearray(10)),
    "recvfrom": lambda sock: sock.recvfrom(10),
    "recvfrom_into": lambda sock: sock.recvfrom_into(bytearray(10)),
    "recvmsg": lambda sock: sock.recvmsg(10),
    "recvmsg_into": lambda sock: sock.recvmsg_into([bytearray(10)]),
    "recv waitall": lambda sock: sock.recv(10, std_socket.MSG_WAITALL),
    "recv peek": lambda sock: sock.recv(10, std_socket.MSG_PEEK),
    "makefile read": lambda sock: by_file(sock, "rb", lambda file: file.read(10)),
}
WRITING = {
    "send": lambda sock: sock.send(b"x"),
    "sendall": lambda sock: sock.sendall(BIG),
    "sendmsg": lambda sock: sock.sendmsg([b"x"]),
    "sendfile": lambda sock: send_a_file(sock),
    "makefile write": lambda sock: by_file(sock, "wb", lambda file: file.write(b"x")),
}
reading = pytest.mark.parametrize("call", READING.values(), ids=READING)
writing = pytest.mark.parametrize("call", WRITING.values(), ids=WRITING)


def by_file(sock, mode, call):
    with sock.makefile(mode, 0) as file:
        return call(file)


def send_a_file(sock):
    with open(sys.executable, "rb") as file:  # there, and bigger than a byte
        return sock.sendfile(file)


# ---------------------------------------------------------------- the peer


@reading
def test_reset_while_reading(lib, sockets, opened, call):
    a, b = tcp_pair(sockets, opened)
    reader = lib.spawn(call, b)
    let_run(lib)
    reset(a)
    with pytest.raises(ConnectionResetError):
        reader.get()
    assert b.recv(10) == b""


@writing
def test_reset_while_writing(lib, sockets, opened, call):
    a, b = tcp_pair(sockets, opened)
    fill(b)
    b.settimeout(None)
    writer = lib.spawn(call, b)
    let_run(lib)
    reset(a)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        writer.get()


@reading
def test_reset_before_reading(lib, sockets, opened, call):
    """Reported once, by whichever call comes first; after that it is the end."""
    a, b = tcp_pair(sockets, opened)
    reset(a)
    with pytest.raises(ConnectionResetError):
        call(b)
    assert b.recv(10) == b""


@writing
def test_reset_before_writing(lib, sockets, opened, call):
    a, b = tcp_pair(sockets, opened)
    reset(a)
    for _ in range(2):
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            call(b)


def test_reset_before_accepting(lib, sockets, opened):
    """`accept` returns the connection all the same, and its first use reports the error (accept(2), Linux)."""
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    accepted = lib.spawn(listener.accept)
    let_run(lib)
    reset(sockets.create_connection(listener.getsockname()))
    connection, _address = accepted.get()
    with connection, pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_reset_while_connecting(lib, sockets, opened):
    listener = full_listener(sockets, opened)
    sock = opened.enter_context(sockets.socket())
    connecting = lib.spawn(sock.connect, listener.getsockname())
    let_run(lib)
    listener.close()  # the next attempt of the kernel finds no listener
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        connecting.get()


def test_reset_while_selecting(lib, sockets, opened):
    a, b = tcp_pair(sockets, opened)
    selecting = lib.spawn(lib.module("select").select, [b], [], [])
    let_run(lib)
    reset(a)
    assert selecting.get() == ([b], [], [])
    with pytest.raises(ConnectionResetError):
        b.recv(1)


def test_both_readers_and_writers_hear_of_a_reset(start, ours, settle):
    a, b = ours
    fill(b)
    b.settimeout(None)
    waiters = [start(b.recv, 10), start(b.sendall, BIG), start(b.recv, 10), start(b.sendall, BIG)]
    assert settle(waiting_for(4))
    reset(a)
    for waiter in waiters:
        try:
            assert waiter.get() == b""
        except (ConnectionResetError, BrokenPipeError):
            pass


@pytest.mark.parametrize("many", [1, 8])
def test_full_buffers_on_both_sides(lib, ends, many):
    """Both sides have more to send than fits, and each has readers: none waits for ever, every byte arrives."""
    a, b = ends
    size = len(BIG) // 4
    writers = [lib.spawn(end.sendall, bytes([i]) * (size // many)) for i in range(many) for end in (a, b)]
    readers = [lib.spawn(recv_exactly, end, size // many * many) for end in (a, b)]
    for writer in writers:
        writer.get()
    for reader in readers:
        data = reader.get()
        assert [data.count(bytes([i])) for i in range(many)] == [size // many] * many


def test_lines_in_segments_of_one_byte(lib, sockets, opened):
    """A buffered file over a connection on which every byte comes alone."""
    a, b = tcp_pair(sockets, opened)
    a.setsockopt(std_socket.IPPROTO_TCP, std_socket.TCP_NODELAY, 1)
    lines = [b"line %d\r\n" % i for i in range(50)]
    file = opened.enter_context(b.makefile("rb"))
    reader = lib.spawn(file.readlines)
    for i, byte in enumerate(b"".join(lines)):
        a.send(bytes([byte]))
        if not i % 5:
            let_run(lib)
    a.close()
    assert reader.get() == lines


def test_half_close_while_the_other_half_is_full(lib, ends):
    """Our end-of-file overtakes no data, and does not disturb data that still arrives."""
    a, b = ends

    def answer():
        assert b.recv(10) == b"question"
        assert b.recv(10) == b""
        b.sendall(BIG)
        b.shutdown(std_socket.SHUT_WR)
        with refused(errno.EPIPE):
            b.send(b"x")

    peer = lib.spawn(answer)
    a.sendall(b"question")
    a.shutdown(std_socket.SHUT_WR)
    assert recv_exactly(a, len(BIG)) == BIG
    assert a.recv(1) == b""
    peer.get()


def test_shutdown_wakes_a_reader(lib, ends):
    """SHUT_RD on one's own side is an end for a reader there."""
    _a, b = ends
    reader = lib.spawn(b.recv, 10)
    let_run(lib)
    b.shutdown(std_socket.SHUT_RD)
    assert reader.get() == b""


def test_shutdown_wakes_an_accept(lib, sockets, opened, hub):
    skip_if_a_listener_cannot_be_shut_down(hub)
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    accepting = lib.spawn(listener.accept)
    let_run(lib)
    listener.shutdown(std_socket.SHUT_RDWR)
    with refused(errno.EINVAL):
        accepting.get()


# ---------------------------------------------------------------- no descriptor left


def test_accept_without_a_descriptor_left(sockets, opened):
    """EMFILE, and the connection stays in the backlog."""
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    client = opened.enter_context(sockets.create_connection(listener.getsockname()))
    with no_more_descriptors():
        for _ in range(2):
            with refused(errno.EMFILE):
                listener.accept()
    connection, address = listener.accept()
    opened.enter_context(connection)
    assert address == client.getsockname()


def test_accept_that_waits_without_a_descriptor_left(start, opened, settle):
    """All waiters get an exception, and none of them spins."""
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    client = opened.enter_context(std_socket.socket())
    accepting = [start(listener.accept) for _ in range(3)]
    assert settle(waiting_for(3))
    with no_more_descriptors():
        client.connect(listener.getsockname())
        for handle in accepting:
            with refused(errno.EMFILE):
                handle.get()
    opened.enter_context(listener.accept()[0])


def test_calls_that_need_a_descriptor(sockets, opened):
    a, _b = tcp_pair(sockets, opened)
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    with no_more_descriptors():
        for call in (
            sockets.socket,
            sockets.socketpair,
            a.dup,
            lambda: sockets.fromfd(a.fileno(), std_socket.AF_INET, std_socket.SOCK_STREAM),
            lambda: sockets.create_connection(listener.getsockname()),
            lambda: sockets.create_server((LOCALHOST, 0)),
        ):
            with refused(errno.EMFILE):
                call()


def test_descriptors_that_do_not_fit(sockets, opened):
    """A descriptor that was sent, and cannot be opened here: the data arrives and MSG_CTRUNC says what is missing."""
    a, b = unix_pair(sockets, opened)
    sockets.send_fds(a, [b"data"], [0])
    with no_more_descriptors():
        data, fds, flags, _address = sockets.recv_fds(b, 10, 1)
    assert (data, list(fds)) == (b"data", [])
    assert flags & std_socket.MSG_CTRUNC


# ---------------------------------------------------------------- errors that the kernel may report for accept

FAILING_ACCEPT = """
    import ctypes, os, struct, sys
    from {package}socket import create_server, create_connection

    # seccomp(2), filter mode: accept and accept4 fail with the given number.
    numbers = {{"x86_64": (43, 288), "aarch64": (202, 242)}}[os.uname().machine]
    code = [(0x20, 0, 0, 0)]                                # the system call's number
    for left, number in zip((2, 1), numbers):
        code.append((0x15, left - 1, 0 if left == 2 else 1, number))
    code.append((0x06, 0, 0, 0x00050000 | {error}))         # SECCOMP_RET_ERRNO
    code.append((0x06, 0, 0, 0x7FFF0000))                   # SECCOMP_RET_ALLOW
    program = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(program)
    filter = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    listener = create_server(("127.0.0.1", 0))
    client = create_connection(listener.getsockname())
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter):     # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        sys.exit(77)
    try:
        listener.accept()
    except OSError as exc:
        print(type(exc).__name__, exc.errno)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seccomp")
@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.ENFILE, errno.ENOBUFS, errno.EPROTO, errno.EPERM])
def test_errors_of_accept_are_raised(lib, run_script, number):
    """As the original does; a server decides which of them it survives."""
    package = "" if lib.name == "original" else "gevlite."
    result = run_script(FAILING_ACCEPT.format(package=package, error=number), code=None)
    if result.returncode == 77:
        pytest.skip("seccomp is not allowed here")
    error = OSError(number, "")
    assert result.stdout.split() == [type(error).__name__, str(number)], result.stderr


# ---------------------------------------------------------------- signals


@reading
def test_signals_while_reading(ends, call):
    """The handlers run at once, and the call goes on (PEP 475)."""
    a, b = ends
    with alarm(lambda: a.send(b"0123456789")) as seen:
        call(b)
    assert len(seen) == 3


@writing
def test_signals_while_writing(lib, sockets, opened, call):
    a, b = tcp_pair(sockets, opened)
    fill(b)
    b.settimeout(None)
    readers = []

    def drain():
        readers.append(lib.spawn(recv_all_but_quietly, a))

    with alarm(drain) as seen:
        call(b)
    assert len(seen) == 3
    b.close()
    readers[0].get()


def recv_all_but_quietly(sock):
    while sock.recv(1 << 20):
        pass


def test_signals_while_accepting_and_connecting(sockets, opened):
    listener = opened.enter_context(sockets.create_server((LOCALHOST, 0)))
    with alarm(lambda: opened.enter_context(std_socket.create_connection(listener.getsockname()))) as seen:
        opened.enter_context(listener.accept()[0])
    assert len(seen) == 3
    full = full_listener(sockets, opened)
    sock = opened.enter_context(sockets.socket())
    sock.settimeout(0.5)
    with alarm(lambda: None) as seen, pytest.raises(TimeoutError):
        sock.connect(full.getsockname())
    assert len(seen) == 3


class Interrupted(Exception):
    pass


def interrupt():
    raise Interrupted


@reading
def test_an_exception_from_a_handler_ends_the_call(sockets, ends, call):
    """And leaves nothing registered (see conftest); the socket works as before."""
    a, b = ends
    with pytest.raises(Interrupted), alarm(interrupt, 1):
        call(b)
    a.send(b"0123456789")
    call(b)


# ---------------------------------------------------------------- closed, killed, timed out: in each call

WITH_TIMEOUT = [*READING, *WRITING, "readline", "accept", "connect", "connect_ex"]
WITH_TIMEOUT += ["sendto", "UNIX accept", "UNIX connect"]
BLOCKING = [*WITH_TIMEOUT, "wait_read", "wait_write", "wait_readwrite", "select", "poll"]
each = pytest.mark.parametrize("name", BLOCKING)


def blocking_call(name, opened):
    """A socket, and a call on it that blocks."""
    if name in READING or name in WRITING or name in ("readline", "wait_read", "wait_write", "select", "poll"):
        a, b = tcp_pair(socket, opened)
        opened.callback(b.close)
        fill(a)
        a.settimeout(None)
        if name == "readline":
            return a, lambda: by_file(a, "rb", lambda file: file.readline())
        if name == "wait_read":
            return a, lambda: socket.wait_read(a.fileno())
        if name == "wait_write":
            return a, lambda: socket.wait_write(a)
        if name == "select":
            return a, lambda: select.select([a], [a], [a])
        if name == "poll":
            return a, lambda: poll_once(a)
        return a, lambda: {**READING, **WRITING}[name](a)
    if name == "wait_readwrite":
        listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
        return listener, lambda: socket.wait_readwrite(listener)
    if name == "accept":
        listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
        return listener, listener.accept
    if name in ("connect", "connect_ex"):
        address = full_listener(socket, opened).getsockname()
        sock = opened.enter_context(socket.socket())
        return sock, lambda: getattr(sock, name)(address)
    address = abstract_name()
    if name == "sendto":
        receiver = opened.enter_context(socket.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
        receiver.bind(address)
        sock = opened.enter_context(socket.socket(std_socket.AF_UNIX, std_socket.SOCK_DGRAM))
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            while True:
                sock.sendto(b"x", address)
        sock.settimeout(None)
        return sock, lambda: sock.sendto(b"x", address)
    listener = opened.enter_context(socket.socket(std_socket.AF_UNIX))
    listener.bind(address)
    listener.listen(0)
    if name == "UNIX accept":
        return listener, listener.accept
    with pytest.raises(TimeoutError):
        while True:
            early = opened.enter_context(socket.socket(std_socket.AF_UNIX))
            early.settimeout(0.01)
            early.connect(address)
    sock = opened.enter_context(socket.socket(std_socket.AF_UNIX))
    return sock, lambda: sock.connect(address)


def poll_once(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll()


@each
@pytest.mark.parametrize("way", ["close", "detach", "close in a thread"])
def test_closed_in_each_call(start, opened, settle, name, way):
    """OSError(EBADF) at once. (Nothing is left: see conftest.)"""
    sock, call = blocking_call(name, opened)
    waiter = start(call)
    assert settle(blocked(waiter))
    fd = sock.fileno()
    if way == "close":
        sock._real_close() if "makefile" in name or name == "readline" else sock.close()
    elif way == "detach":
        sock.detach()
        opened.callback(os.close, fd)
    else:
        thread = threading.Thread(target=sock._real_close)
        thread.start()
        assert settle(lambda: not thread.is_alive())
    if name == "poll" and way != "detach":
        assert waiter.get() == [(fd, select.POLLNVAL)]
    elif name in ("select", "poll"):
        if way == "detach":
            assert settle(blocked(waiter))  # the descriptor lives on, and so does the wait
        else:
            with refused(errno.EBADF):
                waiter.get()
    else:
        with refused(errno.EBADF):
            waiter.get()


@each
def test_killed_in_each_call(start, opened, settle, name):
    """Nothing is left (see conftest), and the socket is still good."""
    sock, call = blocking_call(name, opened)
    doomed, other = start(call), start(call)
    assert settle(blocked(doomed))
    doomed.greenlet.kill()
    assert isinstance(doomed.greenlet.value, gevlite.GreenletExit)
    assert settle(blocked(other))
    assert sock.fileno() >= 0


@each
def test_timeout_in_each_call(opened, name):
    _sock, call = blocking_call(name, opened)
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
        call()


@pytest.mark.parametrize("name", WITH_TIMEOUT)
def test_settimeout_in_each_call(opened, name):
    sock, call = blocking_call(name, opened)
    sock.settimeout(0.01)
    if name == "connect_ex":
        assert call() == errno.EAGAIN
    else:
        with pytest.raises(TimeoutError, match=r"^timed out$"):
            call()


def test_udp_closed_while_reading(start, opened, settle):
    sock = udp(socket, opened)
    waiter = start(sock.recvfrom, 10)
    assert settle(blocked(waiter))
    sock.close()
    with refused(errno.EBADF):
        waiter.get()
