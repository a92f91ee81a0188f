"""Shared by the tests of sockets: connected pairs and operations on them. `sockets` is the module under test."""

import os
import resource
import signal
import struct
import time
from contextlib import contextmanager
from socket import AF_INET, SHUT_WR, SO_LINGER, SOCK_DGRAM, SOL_SOCKET

import pytest

import gevlite
from gevlite._core import WaitKind

LOCALHOST = "127.0.0.1"
BIG = bytes(range(256)) * 4096 * 8  # 8 MiB: more than any socket buffer


def tcp_pair(sockets, opened):
    """Two connected TCP sockets: the one that connected, the one that was accepted."""
    with sockets.create_server((LOCALHOST, 0)) as listener:
        client = opened.enter_context(sockets.create_connection(listener.getsockname()))
        server = opened.enter_context(listener.accept()[0])
    return client, server


def unix_pair(sockets, opened, *kind):
    """Two connected UNIX sockets."""
    return tuple(opened.enter_context(end) for end in sockets.socketpair(*kind))


def skip_if_a_listener_cannot_be_shut_down(hub):
    """Only on Linux does that end an accept; elsewhere it is an error, and kqueue, or its stand-in, reports nothing."""
    if hub.backend.name == "kqueue":
        pytest.skip("where there is kqueue, to shut a listener down is an error")


def udp(sockets, opened, family=AF_INET, host=LOCALHOST):
    """A bound UDP socket."""
    sock = opened.enter_context(sockets.socket(family, SOCK_DGRAM))
    sock.bind((host, 0))
    return sock


def abstract_name():
    """An address for a UNIX socket, in no folder."""
    return b"\0gevlite test %d %d" % (os.getpid(), time.monotonic_ns())


def full_listener(sockets, opened):
    """A TCP listener that no longer answers, because its backlog is full."""
    listener = opened.enter_context(sockets.socket())
    listener.bind((LOCALHOST, 0))
    listener.listen(0)
    with pytest.raises(TimeoutError):
        while True:
            sock = opened.enter_context(sockets.socket())
            sock.settimeout(0.1)
            sock.connect(listener.getsockname())
    return listener


def let_run(lib):
    """Let the one just started run until it waits. (A thread may not get so far; the assertions hold either way.)"""
    if lib.name == "gevlite":
        gevlite.sleep(0)


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


def echo(sock):
    while data := sock.recv(1000):
        sock.sendall(data)
    sock.shutdown(SHUT_WR)


def fill(sock):
    """Send until not one more byte is taken; returns how many were. The socket is left with a time-out of 50 ms."""
    before, sent = -1, 0
    while sent > before:  # on a busy machine an acknowledgement may come, and make room, after a time-out
        before = sent
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            while True:
                sent += sock.send(b"x" * 65536)
        # It no longer counts as writable, but the remaining room is taken without a wait.
        sock.setblocking(False)
        for size in (65536, 4096, 256, 16, 1):
            with pytest.raises(BlockingIOError):
                while True:
                    sent += sock.send(b"x" * size)
    sock.settimeout(0.05)
    return sent


def reset(sock):
    """Close it so that the other side gets a reset (SO_LINGER with no time, socket(7))."""
    sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def waiting_for(n=1):
    """A condition: that many greenlets wait for a descriptor."""
    hub = gevlite.get_hub()
    return lambda: hub.stats()["fd_waiters"] == n


@contextmanager
def refused(code, *more):
    """An OSError with one of these numbers is raised."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno in (code, *more)


@contextmanager
def no_more_descriptors():
    """Inside, every attempt to open a descriptor fails with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def blocked(handle):
    """A condition: its greenlet waits for something, and not only for its next time slice."""
    hub = gevlite.get_hub()

    def waits():
        found = [waiter for waiter in hub.parked_waiters() if waiter.parked is handle.greenlet]
        return any(waiter.kind != WaitKind.WAIT_YIELD for waiter in found)

    return waits


@contextmanager
def alarm(handler, times=3):
    """SIGALRM again and again, soon and then every 20 ms, until `handler` was called `times` times."""
    seen = []

    def handle(*_args):
        if len(seen) >= times:
            return  # it came before the timer was stopped
        seen.append(True)
        if len(seen) >= times:
            signal.setitimer(signal.ITIMER_REAL, 0)
            handler()

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        yield seen
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
