"""Several greenlets and one socket: which one is woken, what a close does to the others, what a kill leaves."""

import errno
import gc
import os
import socket as std_socket
import subprocess
import threading

import pytest
from both_ends import (
    BIG,
    LOCALHOST,
    fill,
    full_listener,
    recv_exactly,
    refused,
    skip_if_a_listener_cannot_be_shut_down,
    tcp_pair,
    udp,
    unix_pair,
    waiting_for,
)

import gevlite
from gevlite import socket

# ---------------------------------------------------------------- closing while a greenlet waits


def assert_closed(handle):
    with refused(errno.EBADF):
        handle.get()


@pytest.mark.parametrize(
    ("method", "args"),
    [("recv", (10,)), ("recv_into", (bytearray(10),)), ("recvfrom", (10,)), ("recvmsg", (10,)), ("sendall", (BIG,))],
)
@pytest.mark.parametrize("way", ["close", "detach"])
def test_closing_wakes_who_waits(start, ours, method, args, way, settle):
    """Closed or detached by another greenlet: OSError(EBADF) at once, nothing registered (see conftest)."""
    a, _b = ours
    waiter = start(getattr(a, method), *args)
    assert settle(waiting_for(1))
    fd = getattr(a, way)()
    assert_closed(waiter)
    if way == "detach":
        os.close(fd)


def test_closing_wakes_an_accept(start, opened, settle):
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    waiters = [start(listener.accept) for _ in range(3)]
    assert settle(waiting_for(3))
    listener.close()
    for waiter in waiters:
        assert_closed(waiter)


def test_closing_wakes_a_connect(start, opened, settle):
    listener = opened.enter_context(socket.socket())
    listener.bind((LOCALHOST, 0))
    listener.listen(0)
    with pytest.raises(TimeoutError):
        while True:  # until there is no answer any more
            sock = opened.enter_context(socket.socket())
            sock.settimeout(0.1)
            sock.connect(listener.getsockname())
    sock = opened.enter_context(socket.socket())
    waiter = start(sock.connect, listener.getsockname())
    assert settle(waiting_for(1))
    sock.close()
    assert_closed(waiter)


@pytest.mark.parametrize("known", [False, True])
def test_closing_wakes_who_waits_on_the_number(start, ours, known, settle):
    """wait_read(fd) on a socket's descriptor: also if that socket itself has never waited."""
    a, b = ours
    if known:
        reader = start(a.recv, 1)
        assert settle(waiting_for(1))
        b.send(b"x")
        reader.get()
    waiter = start(socket.wait_read, a.fileno())
    assert settle(waiting_for(1))
    a.close()
    assert_closed(waiter)


def test_a_reused_number_is_a_new_socket(ours, opened):
    """State of a closed descriptor must not be used for the next one with the same number."""
    a, b = ours
    numbers = set()
    for i in range(20):
        c, d = socket.socketpair() if i % 2 else tcp_pair(socket, opened)
        c.settimeout(5)
        reader = gevlite.spawn(c.recv, 10)
        gevlite.sleep(0)
        d.send(b"%d" % i)
        assert reader.get(timeout=5) == b"%d" % i
        numbers.add(c.fileno())
        c.close()
        d.close()
    assert len(numbers) < 20
    a.send(b"still")
    assert b.recv(10) == b"still"


def test_dropping_a_socket_gives_everything_back(opened):
    """Not closed, but garbage: nothing stays registered."""
    before = gevlite.get_hub().stats()["fds"]
    a, b = socket.socketpair()
    reader = gevlite.spawn(a.recv, 1)
    gevlite.sleep(0)
    b.send(b"x")
    reader.join()
    with pytest.warns(ResourceWarning):
        del a, b, reader
        gc.collect()
    assert gevlite.get_hub().stats()["fds"] == before


# ---------------------------------------------------------------- cooperation


def test_only_the_caller_waits(start, ours):
    """While one greenlet is in each blocking call, others run."""
    a, b = ours
    listener = socket.create_server((LOCALHOST, 0))
    waiters = [start(a.recv, 1), start(b.sendall, BIG), start(listener.accept), start(socket.wait_read, a, 5)]
    ticks = 0
    while ticks < 5:
        gevlite.sleep(0.001)
        ticks += 1
    assert not waiters[2].greenlet.ready()
    listener.close()
    assert_closed(waiters[2])


def test_timeout_inside_recv(ours):
    """A gevlite.Timeout is raised in the middle of recv; the data that comes later is not lost."""
    a, b = ours
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.02):
        b.recv(10)
    a.send(b"later")
    assert b.recv(10) == b"later"
    assert gevlite.with_timeout(0.02, b.recv, 10, timeout_value=None) is None


def test_timeout_inside_each_call(ours, opened):
    a, _b = ours
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    for call in (
        lambda: a.recv_into(bytearray(1)),
        lambda: a.recvmsg(1),
        lambda: a.sendall(BIG),
        lambda: a.sendmsg([BIG]) and a.sendmsg([BIG]) and a.sendmsg([BIG]) and a.sendall(BIG),
        listener.accept,
        lambda: socket.wait_read(a.fileno()),
        lambda: socket.wait_readwrite(listener),
    ):
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.02):
            call()


def test_kill_inside_recv(start, ours, settle):
    """Nothing of the wait is left (see conftest), and the next waiter gets the data."""
    a, b = ours
    doomed = start(b.recv, 10)
    other = start(b.recv, 10)
    assert settle(waiting_for(2))
    doomed.greenlet.kill()
    a.send(b"for other")
    assert other.get() == b"for other"
    assert isinstance(doomed.greenlet.value, gevlite.GreenletExit)


@pytest.mark.uninterrupted  # both events in one poll
def test_killed_between_the_wake_up_and_the_read(start, ours, opened, settle):
    """Killed when the event was already its own: the data goes to it or to the next one, and is never lost."""
    a, b = ours
    c, d = (opened.enter_context(end) for end in socket.socketpair())
    readers = []

    @gevlite.uninterrupted  # else the reader has ended meanwhile, or is about to
    def kill_the_first():
        d.recv(1)
        readers[0].greenlet.kill(block=False)

    killer = start(kill_the_first)
    gevlite.idle()
    readers += [start(b.recv, 10), start(b.recv, 10)]
    assert settle(waiting_for(3))
    c.send(b"!")  # both events in one poll, the killer's first
    a.send(b"data")
    killer.get()
    assert settle(lambda: any(reader.greenlet.value == (b"data", None) for reader in readers))


@pytest.mark.parametrize("method", ["recv", "recvmsg"])
def test_a_call_that_fails_after_it_was_woken_wakes_the_next_one(start, ours, settle, method):
    a, b = ours
    first = start(b.recv, 10)
    assert settle(waiting_for(1))
    failing = start(getattr(b, method), 1 << 62)
    assert settle(waiting_for(2))
    last = start(b.recv, 10)
    assert settle(waiting_for(3))
    a.send(b"1")
    assert first.get() == b"1"
    a.send(b"2")
    with pytest.raises(MemoryError):
        failing.get()
    assert last.get() == b"2"


def test_a_connect_wakes_whoever_waits_to_send(start, opened, settle):
    listener = full_listener(socket, opened)
    sock = opened.enter_context(socket.socket())
    connecting = start(sock.connect, listener.getsockname())
    assert settle(waiting_for(1))
    sending = start(sock.sendall, b"hello")
    assert settle(waiting_for(2))
    accepting = start(received_from, sock.getsockname(), listener)
    connecting.get()
    sending.get()
    assert accepting.get() == b"hello"


def received_from(address, listener):
    """Accept until the connection from there comes; the others have filled the backlog."""
    while True:
        connection, peer = listener.accept()
        with connection:
            if peer == address:
                return recv_exactly(connection, len(b"hello"))


def test_several_readers_share_a_stream(start, ours, settle):
    """Each piece goes to one of them; a greenlet that leaves something passes it on."""
    a, b = ours
    readers = [start(b.recv, 1) for _ in range(10)]
    assert settle(waiting_for(10))
    a.send(b"0123456789")
    assert sorted(reader.get() for reader in readers) == [b"%d" % i for i in range(10)]


def test_several_writers_share_a_stream(start, ours, settle):
    a, b = ours
    fill(a)
    a.settimeout(None)
    writers = [start(a.sendall, b"y" * 100_000) for _ in range(5)]
    assert settle(waiting_for(5))
    total = 0
    while total < 500_000:
        total += b.recv(1 << 20).count(b"y")
    for writer in writers:
        writer.get()


def test_wait_read_beside_a_reader(start, ours, settle):
    """A bare wait on the number and a recv do not lose an event to each other for good."""
    a, b = ours
    waiter = start(socket.wait_read, b.fileno())
    reader = start(b.recv, 2)
    assert settle(waiting_for(2))
    a.send(b"1234")
    assert reader.get() == b"12"
    waiter.get()
    assert b.recv(10) == b"34"


def test_a_busy_stream_does_not_starve_others(start, ours):
    """A reader that always finds data still lets timers fire."""
    a, b = ours
    start(lambda: [a.sendall(BIG) for _ in range(100)])
    fired = []
    gevlite.spawn_later(0.01, fired.append, True)

    def read():
        while not fired:
            b.recv(1 << 16)
        return True

    assert start(read).get()


def test_a_stream_that_never_pauses_does_not_starve_others(opened):
    """Another process sends without end, and each call here finds data at once: timers fire all the same."""
    a, b = unix_pair(socket, opened)
    with subprocess.Popen(["cat", "/dev/zero"], stdout=a.fileno()) as flood:
        a.close()
        fired = []
        timer = gevlite.spawn_later(0.01, fired.append, True)
        try:
            while not fired:
                assert b.recv(1) == b"\0"
        finally:
            timer.kill()
            flood.kill()
            b.close()


@pytest.mark.uninterrupted  # the other one is to be quicker than the greenlet that waits
def test_a_connection_in_between_is_not_seen_twice(start, opened, settle):
    """A greenlet woken for a connection that another one takes first continues to wait, and gets the next."""
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    waiting = start(listener.accept)
    assert settle(waiting_for(1))
    first = opened.enter_context(std_socket.create_connection(listener.getsockname()))
    other = opened.enter_context(std_socket.socket(fileno=os.dup(listener.fileno())))
    quick, address = other.accept()
    opened.enter_context(quick)
    assert address == first.getsockname()
    gevlite.idle()  # what has been reported was given out
    assert not waiting.greenlet.ready()
    second = opened.enter_context(std_socket.create_connection(listener.getsockname()))
    late, address = waiting.get()
    opened.enter_context(late)
    assert address == second.getsockname()


def test_used_from_two_threads(ours):
    """A socket that has waited in one thread's hub works in another's."""
    a, b = ours
    reader = gevlite.spawn(b.recv, 10)
    gevlite.sleep(0)
    a.send(b"here")
    assert reader.get() == b"here"
    got = []

    def elsewhere():
        got.append(b.recv(10))
        b.sendall(BIG)
        gevlite.get_hub().destroy()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    a.send(b"there")
    assert recv_exactly(a, len(BIG)) == BIG
    thread.join()
    assert got == [b"there"]
    reader = gevlite.spawn(b.recv, 10)
    gevlite.sleep(0)
    a.send(b"and back")
    assert reader.get(timeout=5) == b"and back"


# ---------------------------------------------------------------- wait_read and its like


def test_wait_read_and_write(start, ours, settle):
    a, b = ours
    socket.wait_write(a)
    socket.wait_readwrite(a.fileno())
    waiter = start(socket.wait_read, b)
    assert settle(waiting_for(1))
    a.send(b"x")
    waiter.get()
    socket.wait_read(b)
    assert b.recv(1) == b"x"


def test_wait_on_a_pipe(start, settle):
    """A foreign descriptor, closed and reused without the hub's knowledge."""
    for _ in range(3):
        r, w = os.pipe()
        socket.wait_write(w)
        waiter = start(socket.wait_read, r)
        assert settle(waiting_for(1))
        os.write(w, b"x")
        waiter.get()
        os.close(w)
        os.close(r)


def test_wait_times_out(ours):
    a, _b = ours
    with pytest.raises(TimeoutError, match="timed out"):
        socket.wait_read(a, timeout=0.01)
    with pytest.raises(KeyError):
        socket.wait_read(a, timeout=0.01, timeout_exc=KeyError("mine"))
    with pytest.raises(TimeoutError):
        socket.wait_read(a, timeout=0)


@pytest.mark.parametrize("wait", [socket.wait_read, socket.wait_write, socket.wait_readwrite])
def test_wait_on_a_closed_descriptor(wait):
    sock = socket.socket()
    fd = sock.fileno()
    sock.close()
    for closed in (fd, sock, -1):
        with refused(errno.EBADF):
            wait(closed, 1)


def test_wait_refuses_what_is_no_descriptor():
    for bad in ("0", None, 1.5, object()):
        with pytest.raises(TypeError):
            socket.wait_read(bad)


def test_wait_for_both_directions_tells_both(ours, hub):
    """Even if only the first event woke the wait."""
    a, b = ours
    assert hub.wait_fd(a.fileno(), 3) == 2
    b.send(b"x")
    assert hub.wait_fd(a.fileno(), 3) == 3
    r, w = os.pipe()
    try:
        assert hub.wait_fd(w, 3, 1) == 2
        os.write(w, b"x")
        assert hub.wait_fd(r, 3, 1) == 1
    finally:
        os.close(r)
        os.close(w)


def test_a_wait_that_is_woken_for_both_directions_at_once(start, opened, settle, hub):
    """Like a listener that is shut down: readable and writable in one report."""
    skip_if_a_listener_cannot_be_shut_down(hub)
    listener = opened.enter_context(socket.create_server((LOCALHOST, 0)))
    foreign = opened.enter_context(std_socket.socket(fileno=os.dup(listener.fileno())))
    waiters = [start(hub.wait_fd, sock.fileno(), 3) for sock in (listener, foreign)]
    seen = []
    watcher = hub.loop.io(foreign.fileno(), 3)
    watcher.start(lambda: seen.append(True))
    assert settle(waiting_for(3))
    listener.shutdown(std_socket.SHUT_RDWR)
    assert [waiter.get() for waiter in waiters] == [3, 3]
    assert settle(lambda: bool(seen))
    watcher.stop()
    watcher.close()


def test_wait_read_is_not_woken_by_what_others_take(start, opened, settle):
    """A datagram that a reader has taken does not wake a waiter on the bare number."""
    a, b = udp(socket, opened), udp(socket, opened)
    reader = start(b.recv, 10)
    assert settle(waiting_for(1))
    waiter = start(socket.wait_read, b.fileno())
    assert settle(waiting_for(2))
    a.sendto(b"x", b.getsockname())
    assert reader.get() == b"x"
    gevlite.idle()  # what has been reported was given out
    assert not waiter.greenlet.ready()
    a.sendto(b"y", b.getsockname())
    waiter.get()
    assert b.recv(10) == b"y"


def test_cancel_wait(start, ours, hub):
    a, _b = ours
    watcher = hub.loop.io(a.fileno(), 1)
    for error, expected in ((), socket.cancel_wait_ex), ((KeyError("mine"),), KeyError):
        waiter = start(hub.wait, watcher)
        gevlite.idle()
        socket.cancel_wait(watcher, *error)
        with pytest.raises(expected) as caught:
            waiter.get()
        if not error:
            assert caught.value.errno == errno.EBADF
    socket.cancel_wait(watcher)  # there is no waiter
    watcher.close()


def test_waits_take_what_gevent_passes(ours):
    a, _b = ours
    socket.wait_write(a, 1, TimeoutError, event=object())
    socket.wait_readwrite(a.fileno(), timeout=1, timeout_exc=KeyError, event=None)
