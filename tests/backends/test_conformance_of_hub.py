"""The effects of a backend on programs: the hub and the sockets, on every usable backend.

The counterpart of test_conformance.py, which calls the backend alone. Each test runs in a thread of its own, whose hub
has the backend; at its end nothing is parked or watched.
"""

import contextlib
import errno
import os
import resource
import socket as original
import threading
import time

import pytest
import test_conformance

import gevlite
from gevlite import socket
from gevlite._core import READ, WRITE
from gevlite.hub import Hub

make = test_conformance.make  # the fixture: a new backend of each kind


@pytest.fixture
def on_hub(make):
    """Decorator: run the function now, in a thread whose hub has the backend, with the hub as its argument."""

    def run(function):
        failure = []

        def target():
            hub = Hub(backend=make())
            try:
                function(hub)
                stats = hub.stats()
                assert not any(stats[name] for name in ("parked", "fds", "fd_waiters", "timers")), stats
            except BaseException as exc:
                failure.append(exc)

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        thread.join(50)
        assert not thread.is_alive(), "it hangs"
        if failure:
            raise failure[0]

    return run


def outcome(function, *args):
    """Call it; returns its result or its exception as a value."""
    try:
        return function(*args)
    except OSError as exc:
        return exc


def until_parked(greenlets):
    """Let them run until all of them wait for something."""
    while not all(g.dead or g in [w.parked for w in gevlite.get_hub().parked_waiters()] for g in greenlets):
        gevlite.sleep(0)


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        a = socket.create_connection(server.getsockname())
        return a, server.accept()[0]


# ---------------------------------------------------------------- several wait for one descriptor


def test_all_who_wait_to_read_one_pipe_are_woken(on_hub):
    @on_hub
    def _(hub):
        r, w = os.pipe()
        waiting = [gevlite.spawn(hub.wait_fd, r, READ, 30) for _ in range(5)]
        until_parked(waiting)
        os.write(w, b"x")
        assert [g.get(timeout=30) for g in waiting] == [READ] * 5
        os.close(r)
        os.close(w)


def test_one_waits_to_read_and_one_to_write(on_hub):
    @on_hub
    def _(hub):
        a, b = original.socketpair()
        a.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                a.send(bytes(65536))
        reader = gevlite.spawn(hub.wait_fd, a.fileno(), READ, 30)
        writer = gevlite.spawn(hub.wait_fd, a.fileno(), WRITE, 30)
        both = gevlite.spawn(hub.wait_fd, a.fileno(), READ | WRITE, 30)
        until_parked([reader, writer, both])
        b.send(b"x")
        assert reader.get(timeout=30) == READ and both.get(timeout=30) & READ
        assert not writer.ready()
        b.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                b.recv(1 << 20)
        assert writer.get(timeout=30) == WRITE
        a.close()
        b.close()


def test_one_of_many_gives_up_and_the_others_still_wait(on_hub):
    @on_hub
    def _(hub):
        r, w = os.pipe()
        early = gevlite.spawn(hub.wait_fd, r, READ, 0.001)
        killed = gevlite.spawn(hub.wait_fd, r, READ)
        patient = gevlite.spawn(hub.wait_fd, r, READ, 30)
        until_parked([killed, patient])
        assert early.get(timeout=30) == 0
        killed.kill()
        os.write(w, b"x")
        assert patient.get(timeout=30) == READ
        os.close(r)
        os.close(w)


def test_each_message_reaches_one_of_the_readers_of_a_socket(on_hub):
    @on_hub
    def _(hub):
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        readers = [gevlite.spawn(a.recv, 100) for _ in range(10)]
        until_parked(readers)
        for k in range(10):
            b.send(b"%d" % k)
        assert sorted(g.get(timeout=30) for g in readers) == [b"%d" % k for k in range(10)]
        a.close()
        b.close()


def test_hundreds_of_connections_at_once(on_hub):
    @on_hub
    def _(hub):
        def echo(s):
            while data := s.recv(100):
                s.sendall(data)
            s.close()

        def client(address, k):
            with socket.create_connection(address) as s:
                for _ in range(5):
                    s.sendall(b"%d" % k)
                    assert s.recv(100) == b"%d" % k

        with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
            clients = [gevlite.spawn(client, server.getsockname(), k) for k in range(200)]
            served = [gevlite.spawn(echo, server.accept()[0]) for _ in clients]
            gevlite.joinall(clients + served, raise_error=True)


# ---------------------------------------------------------------- the other end goes away


def test_the_last_data_and_the_end_in_one(on_hub):
    """The read is shorter than asked for, which usually means that no more is there."""

    @on_hub
    def _(hub):
        for together in (False, True) * 10:
            a, b = tcp_pair()
            reader = gevlite.spawn(lambda a=a: [a.recv(100), a.recv(100)])
            until_parked([reader])
            b.sendall(b"last words")
            if not together:
                gevlite.sleep(0)
            b.close()
            assert reader.get(timeout=30) == [b"last words", b""]
            a.close()


def test_half_closed_is_still_writable(on_hub):
    @on_hub
    def _(hub):
        a, b = tcp_pair()
        reader = gevlite.spawn(a.recv, 100)
        until_parked([reader])
        b.shutdown(socket.SHUT_WR)
        assert reader.get(timeout=30) == b""
        received = gevlite.spawn(lambda: sum(iter(lambda: len(b.recv(1 << 20)), 0)))
        a.sendall(bytes(3_000_000))
        a.close()
        assert received.get(timeout=30) == 3_000_000
        b.close()


def test_a_reset_ends_reading_and_writing(on_hub):
    @on_hub
    def _(hub):
        a, b = tcp_pair()
        reader = gevlite.spawn(outcome, a.recv, 100)
        writer = gevlite.spawn(outcome, a.sendall, bytes(30_000_000))
        until_parked([reader, writer])
        b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        b.close()
        got = {type(reader.get(timeout=30)), type(writer.get(timeout=30))}
        # One of them is woken; the other then finds the connection ended.
        assert ConnectionResetError in got and got <= {ConnectionResetError, BrokenPipeError, bytes}
        a.close()


def test_what_is_behind_urgent_data_is_read(on_hub):
    """A read stops before urgent data, and the kernel may report nothing new for the data after it."""

    @on_hub
    def _(hub):
        def read():
            while data := a.recv(100):
                got.append(data)

        for waits in (False, True):
            got = []
            a, b = tcp_pair()
            b.sendall(b"first")
            assert a.recv(100) == b"first"
            with gevlite.Timeout(20):
                reader = gevlite.spawn(read)
                if waits:
                    until_parked([reader])
                b.sendall(b"before")
                b.send(b"!", socket.MSG_OOB)
                b.sendall(b"behind")
                while b"".join(got) != b"beforebehind":
                    gevlite.sleep(0.001)
                b.sendall(b"afterwards")
                b.close()
                reader.join()
            assert b"".join(got) == b"beforebehindafterwards"
            a.close()


def test_receiving_urgent_data_never_waits(on_hub):
    """It works no matter what the hub has learnt from reading ordinary data."""

    @on_hub
    def _(hub):
        a, b = tcp_pair()
        a.settimeout(0.001)
        with pytest.raises(TimeoutError):
            a.recv(100)
        a.settimeout(None)
        with pytest.raises(OSError):
            a.recv(1, socket.MSG_OOB)
        b.send(b"!", socket.MSG_OOB)
        got = None
        with gevlite.Timeout(20):
            while got != b"!":
                gevlite.sleep(0.001)
                got = outcome(a.recv, 1, socket.MSG_OOB)
        a.close()
        b.close()


# ---------------------------------------------------------------- numbers that change their meaning


def test_closing_wakes_who_waits_although_a_duplicate_keeps_the_file_open(on_hub):
    @on_hub
    def _(hub):
        a, b = socket.socketpair()
        keep = os.dup(a.fileno())
        reader = gevlite.spawn(outcome, a.recv, 100)
        until_parked([reader])
        number = a.fileno()
        a.close()
        assert reader.get(timeout=30).errno == errno.EBADF
        # The number has a new owner; the old file gets data, then the new one.
        c, d = socket.socketpair()
        assert c.fileno() == number
        reader = gevlite.spawn(c.recv, 100)
        until_parked([reader])
        b.sendall(b"to the old one")
        gevlite.sleep(0.001)
        assert not reader.ready()
        d.sendall(b"to the new one")
        assert reader.get(timeout=30) == b"to the new one"
        os.close(keep)
        for s in (b, c, d):
            s.close()


def test_a_number_closed_behind_our_back_and_reused(on_hub):
    @on_hub
    def _(hub):
        for _ in range(3):
            r, w = os.pipe()
            assert hub.wait_fd(r, READ, 0.001) == 0
            os.write(w, b"x")
            assert hub.wait_fd(r, READ, 30) == READ
            os.close(r)
            os.close(w)


def test_a_socket_whose_number_was_waited_for_before(on_hub):
    @on_hub
    def _(hub):
        a, b = socket.socketpair()
        waiting = gevlite.spawn(hub.wait_fd, a.fileno(), READ, 30)
        until_parked([waiting])
        reader = gevlite.spawn(lambda: [a.recv(100) for _ in range(3)])
        until_parked([reader])
        for k in range(3):
            b.sendall(b"%d" % k)
            gevlite.sleep(0.001)
        assert waiting.get(timeout=30) & READ
        assert reader.get(timeout=30) == [b"0", b"1", b"2"]
        a.close()
        b.close()


def test_a_closed_or_bogus_number_is_an_error_and_leaves_nothing(on_hub):
    @on_hub
    def _(hub):
        r, w = os.pipe()
        os.close(r)
        for fd in (r, 900, -1):
            with pytest.raises(OSError) as caught:
                hub.wait_fd(fd, READ, 30)
            assert caught.value.errno == errno.EBADF
        os.close(w)


def test_a_regular_file_and_the_end_of_one_never_wait(on_hub, tmp_path):
    @on_hub
    def _(hub):
        with open(tmp_path / "file", "w+") as file:
            for events in (READ, WRITE, READ | WRITE):
                assert hub.wait_fd(file.fileno(), events) & events


# ---------------------------------------------------------------- the limit of open files


@contextlib.contextmanager
def no_free_number():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(n) for n in os.listdir("/dev/fd")) + 3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(taken[0]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


def test_accept_without_a_free_number_fails_and_neither_spins_nor_loses_the_listener(on_hub):
    @on_hub
    def _(hub):
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client, socket.socket() as second:
            accepting = gevlite.spawn(outcome, server.accept)
            until_parked([accepting])
            with no_free_number():
                client.connect(server.getsockname())
                assert accepting.get(timeout=30).errno == errno.EMFILE
                # The connection is still there, and so is the reason.
                for _ in range(3):
                    assert outcome(server.accept).errno == errno.EMFILE
                polls = hub.stats()["polls"]
                gevlite.sleep(0.05)
                assert hub.stats()["polls"] - polls < 10
                # A waiter on the bare number is woken.
                assert hub.wait_fd(server.fileno(), READ, 30) == READ
            accepted, _ = server.accept()
            accepted.sendall(b"not lost")
            assert client.recv(100) == b"not lost"
            accepted.close()
            accepting = gevlite.spawn(server.accept)
            until_parked([accepting])
            second.connect(server.getsockname())
            accepting.get(timeout=30)[0].close()


# ---------------------------------------------------------------- time, wake, fork


def test_a_sleep_of_centuries_can_be_killed(on_hub):
    @on_hub
    def _(hub):
        sleeper = gevlite.spawn(gevlite.sleep, 1e12)
        gevlite.sleep(0.001)
        assert hub.stats()["timers"] == 1
        sleeper.kill()
        assert sleeper.dead and hub.stats()["timers"] == 0


def test_a_wait_is_never_shorter_than_asked_for(on_hub):
    @on_hub
    def _(hub):
        r, w = os.pipe()
        for seconds in (0.0001, 0.001, 0.0123):
            start = time.monotonic()
            assert hub.wait_fd(r, READ, seconds) == 0
            assert time.monotonic() - start >= seconds
        os.close(r)
        os.close(w)


def test_ten_thousand_calls_from_other_threads_all_arrive(on_hub, fast_thread_switches):
    @on_hub
    def _(hub):
        arrived = []

        def caller(n):
            for k in range(2500):
                hub.call_soon_threadsafe(arrived.append, (n, k))

        threads = [threading.Thread(target=caller, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        while len(arrived) < 10_000:
            gevlite.sleep(0.001)
        for n in range(4):
            assert [k for m, k in arrived if m == n] == list(range(2500))
        for t in threads:
            t.join()


@pytest.mark.filterwarnings("ignore:This process")
def test_who_waits_when_it_forks_waits_in_the_child_too(on_hub):
    @on_hub
    def _(hub):
        r, w = os.pipe()
        a, b = socket.socketpair()
        foreign = gevlite.spawn(hub.wait_fd, r, READ, 30)
        owned = gevlite.spawn(a.recv, 100)
        until_parked([foreign, owned])
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.write(w, b"x")
                b.sendall(b"in the child")
                assert foreign.get(timeout=30) == READ and owned.get(timeout=30) == b"in the child"
                assert os.read(r, 10) == b"x"
                hub.call_soon_threadsafe(lambda: None)
                gevlite.sleep(0.001)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        # The data has been read; the parent's registrations are unchanged.
        os.write(w, b"x")
        b.sendall(b"in the parent")
        assert foreign.get(timeout=30) == READ and owned.get(timeout=30) == b"in the parent"
        os.close(r)
        os.close(w)
        a.close()
        b.close()
