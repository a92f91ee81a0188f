"""The promise of `Backend`, checked for every usable backend, including installed plug-ins and the example.

After `arm(fd, events)` a later `poll` reports `(fd, events)` at least once if it is or becomes ready. Reporting too
often is allowed, losing a report never is.
"""

import errno
import os
import random
import resource
import select
import signal
import socket
import sys
import threading
import time

import pytest

import gevlite
from gevlite import backends
from gevlite._core import END, READ, WRITE

SECOND = 1_000_000_000
NAMES = [name for name, problem in backends.available().items() if problem is None]

# In plain Python, from examples/, which pyproject.toml has pytest put on the path.
PLUG_IN = "gevlite_python_backend:PythonPollBackend"
# A backend that is not installed can be tested too: GEVLITE_BACKEND=module:Class.
WANTED = [name for name in gevlite.config.backend or () if ":" in name]
TESTED = [*NAMES, PLUG_IN, *(name for name in WANTED if name != PLUG_IN)]


@pytest.fixture(params=TESTED)
def make(request):
    made = []

    def make():
        backend = backends.choose(request.param)[0]
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make):
    return make()


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    yield a, b
    a.close()
    b.close()


@pytest.fixture
def open_files():
    """`open_files(n)`: let this test have n files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def allow(count):
        if hard != resource.RLIM_INFINITY and hard < count:
            pytest.skip(f"the hard limit of open files is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))

    yield allow
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def reported(backend, timeout_ns=0, fd=None):
    """The reports of one poll; for one fd: its events, 0 if it was not reported."""
    backend.poll(timeout_ns)
    found = backend.take_reported()
    if fd is None:
        return found
    events = 0
    for number, got in found:
        if number == fd:
            events |= got
    return events


def until_reported(backend, fd, events, seconds=10):
    """Poll until `fd` is reported for `events`, armed once: it must come."""
    got, deadline = 0, time.monotonic() + seconds
    while not got & events:
        assert time.monotonic() < deadline, "the report was lost"
        got |= reported(backend, SECOND // 10, fd)
    return got


# ---------------------------------------------------------------- readiness


def test_nothing_armed_reports_nothing(backend, pipe):
    os.write(pipe[1], b"x")
    assert reported(backend) == []


def test_ready_before_arm(backend, pipe):
    os.write(pipe[1], b"x")
    backend.arm(pipe[0], READ)
    assert reported(backend, SECOND, pipe[0]) & READ


def test_ready_after_arm(backend, pipe):
    backend.arm(pipe[0], READ)
    assert reported(backend, 0, pipe[0]) == 0
    os.write(pipe[1], b"x")
    assert reported(backend, SECOND, pipe[0]) & READ


def test_ready_while_polling(backend, pipe):
    backend.arm(pipe[0], READ)
    writer = threading.Timer(0.02, os.write, (pipe[1], b"x"))
    writer.start()
    until_reported(backend, pipe[0], READ)
    writer.join()


def test_one_arm_may_be_followed_by_another(backend, pipe):
    os.write(pipe[1], b"x")
    for _ in range(3):
        backend.arm(pipe[0], READ)
        assert reported(backend, SECOND, pipe[0]) & READ


def test_writing(backend, pair):
    a, _ = pair
    backend.arm(a.fileno(), WRITE)
    assert reported(backend, SECOND, a.fileno()) & WRITE


def test_a_full_socket_is_writable_only_when_it_is_read(backend, pair):
    a, b = pair
    try:
        while True:
            a.send(b"x" * 65536)
    except BlockingIOError:
        pass
    backend.arm(a.fileno(), WRITE)
    assert reported(backend, 0, a.fileno()) & WRITE == 0
    try:
        while b.recv(1 << 20):
            pass
    except BlockingIOError:
        pass
    assert until_reported(backend, a.fileno(), WRITE)


def test_both_directions(backend, pair):
    a, b = pair
    backend.arm(a.fileno(), READ | WRITE)
    assert reported(backend, SECOND, a.fileno()) & WRITE
    b.send(b"x")
    backend.arm(a.fileno(), READ | WRITE)
    assert reported(backend, SECOND, a.fileno()) & (READ | WRITE) == READ | WRITE


def test_arming_again_replaces_what_was_armed(backend, pair):
    a, b = pair
    backend.arm(a.fileno(), READ | WRITE)
    backend.arm(a.fileno(), READ)
    assert reported(backend, 0, a.fileno()) & (READ | WRITE) == 0
    b.send(b"x")
    assert reported(backend, SECOND, a.fileno()) & READ


def test_what_is_dropped_is_not_reported(backend, pipe):
    backend.arm(pipe[0], READ)
    backend.drop(pipe[0])
    os.write(pipe[1], b"x")
    assert reported(backend) == []


def test_dropping_what_is_unknown_or_closed_does_nothing(backend, pipe):
    backend.drop(pipe[0])
    backend.arm(pipe[0], READ)
    os.close(pipe[0])
    backend.drop(pipe[0])
    backend.drop(pipe[0])
    assert reported(backend) == []


# ---------------------------------------------------------------- adoption: edge-triggered, for sockets of gevlite


def test_edge_triggered_adoption_reports_each_change(backend, pair):
    a, b = pair
    if not backend.adopt(a.fileno()):
        return  # level-triggered: the hub arms each wait
    b.send(b"x")
    until_reported(backend, a.fileno(), READ)
    a.recv(100)
    b.send(b"y")
    until_reported(backend, a.fileno(), READ)
    b.close()
    assert until_reported(backend, a.fileno(), END) & END
    backend.drop(a.fileno())


def test_adoption_reports_what_was_ready_before(backend, pair):
    a, b = pair
    b.send(b"x")
    if backend.adopt(a.fileno()):
        until_reported(backend, a.fileno(), READ)
        backend.drop(a.fileno())


def test_adoption_lasts_although_it_was_armed_for_one_report(backend, pair):
    a, b = pair
    backend.arm(a.fileno(), READ | WRITE)
    if not backend.adopt(a.fileno()):
        return
    for _ in range(3):
        b.send(b"x")
        until_reported(backend, a.fileno(), READ)
        a.recv(100)
    backend.drop(a.fileno())
    b.send(b"x")
    assert reported(backend) == []


def test_adopting_what_is_closed_is_an_oserror(backend, pair):
    a, b = pair
    fd = a.fileno()
    a.close()
    try:
        assert not backend.adopt(fd), "it can only be armed"
    except OSError as exc:
        assert exc.errno == errno.EBADF
    b.close()
    assert reported(backend) == []


# ---------------------------------------------------------------- the other end goes away


def test_peer_closed_with_data_unread(backend, pair):
    a, b = pair
    b.send(b"last words")
    b.close()
    backend.arm(a.fileno(), READ)
    assert reported(backend, SECOND, a.fileno()) & READ
    assert a.recv(100) == b"last words"
    backend.arm(a.fileno(), READ)
    assert reported(backend, SECOND, a.fileno()) & READ
    assert a.recv(100) == b""


def test_peer_closed_while_armed(backend, pair):
    a, b = pair
    backend.arm(a.fileno(), READ)
    assert reported(backend) == []
    b.close()
    assert reported(backend, SECOND, a.fileno()) & READ


def test_peer_shut_down_its_writing_side(backend, pair):
    a, b = pair
    backend.arm(a.fileno(), READ)
    b.shutdown(socket.SHUT_WR)
    assert reported(backend, SECOND, a.fileno()) & READ
    assert a.recv(1) == b""
    backend.arm(a.fileno(), WRITE)
    assert reported(backend, SECOND, a.fileno()) & WRITE


def test_the_last_data_and_the_end_in_one(backend):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as a:
        b, _ = server.accept()
        a.setblocking(False)
        backend.arm(a.fileno(), READ)
        b.send(b"x")
        b.shutdown(socket.SHUT_WR)
        until_reported(backend, a.fileno(), READ)
        assert a.recv(1) == b"x"
        backend.arm(a.fileno(), READ)
        until_reported(backend, a.fileno(), READ)
        assert a.recv(1) == b""
        b.close()


@pytest.mark.parametrize("events", [READ, WRITE, READ | WRITE])
def test_a_reset_connection_wakes_whoever_waits(backend, events):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as a:
        b, _ = server.accept()
        a.setblocking(False)
        b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        b.close()
        backend.arm(a.fileno(), events)
        until_reported(backend, a.fileno(), events)


def test_a_refused_connection_is_writable(backend):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with socket.socket() as a:
            a.setblocking(False)
            assert a.connect_ex(unused.getsockname()) in (errno.EINPROGRESS, errno.ECONNREFUSED)
            backend.arm(a.fileno(), WRITE)
            until_reported(backend, a.fileno(), WRITE)


def test_the_reader_of_a_pipe_has_gone(backend, pipe):
    r, w = pipe
    backend.arm(w, WRITE)
    os.close(r)
    assert reported(backend, SECOND, w) & WRITE


def test_the_reader_of_a_pipe_had_gone_before(backend, pipe):
    r, w = pipe
    os.close(r)
    for _ in range(2):
        backend.arm(w, WRITE)
        assert reported(backend, SECOND, w) & WRITE
    with pytest.raises(BrokenPipeError):
        os.write(w, b"x")


def test_the_end_is_told_by_those_that_can_tell(backend, pipe):
    r, w = pipe
    os.close(w)
    backend.arm(r, READ)
    got = reported(backend, SECOND, r)
    assert got & READ
    assert got & END or backend.name not in ("epoll", "kqueue", "poll")


def test_the_writer_of_a_pipe_has_gone_with_data_unread(backend, pipe):
    r, w = pipe
    os.write(w, b"x")
    os.close(w)
    for expected in (b"x", b"", b""):
        backend.arm(r, READ)
        assert reported(backend, SECOND, r) & READ
        assert os.read(r, 10) == expected


def test_the_last_writer_of_a_fifo_leaves_and_another_comes(backend, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    for word in (b"one", b"two"):
        with open(path, "wb", buffering=0) as writer:
            backend.arm(r, READ)
            writer.write(word)
            until_reported(backend, r, READ)
            assert os.read(r, 10) == word
            backend.arm(r, READ)
            assert reported(backend, 0, r) == 0
        until_reported(backend, r, READ)
        assert os.read(r, 10) == b""
    os.close(r)


def test_a_terminal(backend):
    master, slave = os.openpty()
    backend.arm(slave, READ)
    assert reported(backend, 0, slave) == 0
    os.write(master, b"line\n")
    until_reported(backend, slave, READ)
    assert os.read(slave, 10) == b"line\n"
    backend.arm(slave, WRITE)
    assert reported(backend, SECOND, slave) & WRITE
    backend.drop(slave)
    for fd in (master, slave):
        os.close(fd)


# ---------------------------------------------------------------- numbers that change their meaning


def test_a_number_closed_and_reused_between_two_waits(backend):
    r, w = os.pipe()
    backend.arm(r, READ)
    assert reported(backend) == []
    os.close(r)
    os.close(w)
    r2, w2 = os.pipe()
    assert {r2, w2} == {r, w}
    os.write(w2, b"x")
    backend.arm(r2, READ)
    assert reported(backend, SECOND, r2) & READ
    os.close(r2)
    os.close(w2)


def test_a_number_reused_while_a_duplicate_keeps_the_old_file_open(backend):
    r, w = os.pipe()
    backend.arm(r, READ)
    keep = os.dup(r)
    os.close(r)
    r2, w2 = os.pipe()
    assert r2 == r
    backend.arm(r2, READ)
    os.write(w, b"to the old one")  # a report for r2 would be spurious, which is allowed, and cost its arming
    got = reported(backend, 0, r2)
    if got:
        backend.arm(r2, READ)
    os.write(w2, b"x")
    until_reported(backend, r2, READ)
    for fd in (keep, w, r2, w2):
        os.close(fd)


def test_two_numbers_of_one_file_are_both_reported(backend, pipe):
    other = os.dup(pipe[0])
    backend.arm(pipe[0], READ)
    backend.arm(other, READ)
    os.write(pipe[1], b"x")
    got = {fd for fd, events in reported(backend, SECOND) if events & READ}
    assert got == {pipe[0], other}
    os.close(other)


def test_arming_a_closed_or_bogus_descriptor_is_an_oserror(backend, pipe):
    os.close(pipe[0])
    for fd in (pipe[0], 900):
        with pytest.raises(OSError) as caught:
            backend.arm(fd, READ)
        assert caught.value.errno == errno.EBADF
    assert reported(backend) == []


def test_one_closed_behind_our_back_does_not_stop_the_others(backend, pipe, pair):
    a, b = pair
    backend.arm(pipe[0], READ)
    backend.arm(a.fileno(), READ)
    os.close(pipe[0])
    b.send(b"x")
    until_reported(backend, a.fileno(), READ)
    backend.drop(pipe[0])


def test_a_number_that_was_a_file_is_a_pipe_now(backend, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    backend.arm(fd, READ)
    os.close(fd)
    r, w = os.pipe()
    assert r == fd
    backend.arm(r, READ)  # a report about the file would be spurious, and costs nothing else
    reported(backend)
    backend.arm(r, READ)
    assert reported(backend, 0, r) == 0
    os.write(w, b"x")
    until_reported(backend, r, READ)
    for fd in (r, w):
        os.close(fd)


def test_what_happens_to_numbers_in_any_order_loses_no_report(backend):
    """Pipes are armed, dropped, closed without notice, made again under the same number, filled and emptied."""
    rng = random.Random(5)
    pipes = []
    armed = {}  # r: the events that a poll must still report if it is ready
    for _ in range(3000):
        action = rng.choice(("make", "close", "arm", "arm", "drop", "fill", "fill", "empty", "poll"))
        r, w = rng.choice(pipes) if pipes else (None, None)
        if action == "make" and len(pipes) < 20:
            r, w = os.pipe()
            os.set_blocking(r, False)
            pipes.append((r, w))
        elif r is None:
            continue
        elif action == "close":
            pipes.remove((r, w))
            armed.pop(r, None)
            os.close(r)
            os.close(w)
        elif action == "arm":
            backend.arm(r, READ)
            armed[r] = w
        elif action == "drop":
            backend.drop(r)
            armed.pop(r, None)
        elif action == "fill":
            os.write(w, b"x")
        elif action == "empty":
            try:
                os.read(r, 1 << 16)
            except BlockingIOError:
                pass
        elif action == "poll":
            ready = {r for r in armed if select.select([r], [], [], 0)[0]}
            got = {fd for _ in range(2) for fd, events in reported(backend) if events & READ}
            assert ready <= got, "a report was lost"
            for fd in got:
                armed.pop(fd, None)
    for fd in [fd for pair in pipes for fd in pair]:
        backend.drop(fd)
        os.close(fd)


def test_regular_files_and_null_devices_are_always_ready(backend, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"")
    for name in (path, os.devnull):
        fd = os.open(name, os.O_RDWR)
        for events in (READ, WRITE, READ | WRITE):
            backend.arm(fd, events)
            assert reported(backend, -1, fd) & events == events
        backend.arm(fd, READ)
        backend.drop(fd)
        assert reported(backend) == []
        os.close(fd)


def test_a_regular_file_does_not_hide_the_others(backend, pipe, tmp_path):
    with open(tmp_path / "file", "w") as file:
        os.write(pipe[1], b"x")
        backend.arm(file.fileno(), WRITE)
        backend.arm(pipe[0], READ)
        assert {fd for fd, _ in reported(backend, -1)} == {file.fileno(), pipe[0]}


@pytest.mark.parametrize("number", [1023, 1024, 1500])
def test_numbers_above_1023_are_watched_or_refused_with_the_names_of_those_that_can(backend, pipe, open_files, number):
    open_files(number + 100)
    high = os.dup2(pipe[0], number)
    try:
        if backend.name == "select" and number > 1023:
            with pytest.raises(ValueError, match=f"fd {number}.*epoll, kqueue or poll"):
                backend.arm(high, READ)
            assert reported(backend) == []
        else:
            backend.arm(high, READ)
            assert reported(backend) == []
            os.write(pipe[1], b"x")
            until_reported(backend, high, READ)
        backend.drop(high)
    finally:
        os.close(high)


# ---------------------------------------------------------------- time


@pytest.mark.parametrize("timeout_ns", [1, 1000, 100_000, 1_000_000, 2_345_678, 10_000_000])
def test_poll_never_returns_early(backend, timeout_ns):
    for _ in range(3):
        start = time.monotonic_ns()
        assert reported(backend, timeout_ns) == []
        assert time.monotonic_ns() - start >= timeout_ns


def test_poll_is_not_rounded_up_to_a_tick(backend):
    """The best of many: half a millisecond must not become the 10 ms of an old kernel's clock."""
    best = SECOND
    for _ in range(50):
        start = time.monotonic_ns()
        reported(backend, 500_000)
        best = min(best, time.monotonic_ns() - start)
    assert best < 5_000_000


def test_a_day_is_not_too_long_for_the_kernel(backend):
    """The longest time-out that a hub asks for."""
    waker = threading.Timer(0.02, backend.wake)
    waker.start()
    assert reported(backend, 24 * 3600 * SECOND) == []
    waker.join()


def test_poll_without_time_returns_at_once(backend, pipe):
    backend.arm(pipe[0], READ)
    assert reported(backend, 0) == []


# ---------------------------------------------------------------- wake


def test_wake_before_the_poll(backend):
    backend.wake()
    assert reported(backend, -1) == []


def test_wake_from_another_thread_during_the_poll(backend):
    waker = threading.Timer(0.02, backend.wake)
    waker.start()
    assert reported(backend, -1) == []
    waker.join()


def test_ten_thousand_wakes_in_a_burst_are_one(backend):
    for _ in range(10_000):
        backend.wake()
    assert reported(backend, -1) == []
    start = time.monotonic_ns()
    reported(backend, 1_000_000)
    assert time.monotonic_ns() - start >= 1_000_000, "a wake was left over"


def test_bursts_from_several_threads_lose_none(backend, fast_thread_switches):
    """Each poll waits for ever: one lost wake and this hangs."""
    rounds, asked, served = 2000, [0], [0]

    def waker():
        while served[0] < rounds:
            asked[0] += 1
            backend.wake()

    threads = [threading.Thread(target=waker) for _ in range(3)]
    for t in threads:
        t.start()
    while served[0] < rounds:
        backend.poll(-1)
        served[0] += 1
    for t in threads:
        t.join()


def test_wake_from_a_signal_handler_ends_the_poll(backend):
    before = signal.signal(signal.SIGALRM, lambda *args: backend.wake())
    remaining = signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        assert reported(backend, -1) == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, *remaining)
        signal.signal(signal.SIGALRM, before)


def test_what_a_signal_writes_to_the_wakeup_fd_ends_the_poll(backend):
    os.write(backend.signal_fd, b"\x0e")
    assert reported(backend, -1) == []
    start = time.monotonic_ns()
    reported(backend, 1_000_000)
    assert time.monotonic_ns() - start >= 1_000_000, "it was not read"
    backend.wake()
    assert reported(backend, -1) == []


def test_a_signal_handler_that_raises_raises_out_of_the_poll(backend):
    class Told(Exception):
        pass

    def handler(*args):
        raise Told

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        sender = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
        with pytest.raises(Told):
            sender.start()
            for _ in range(100):
                backend.poll(SECOND)
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert reported(backend) == []


# ---------------------------------------------------------------- fork, many, the end


@pytest.mark.filterwarnings("ignore:This process")  # a thread that has just ended may still be counted
def test_after_fork_the_child_shares_nothing(backend, pipe):
    backend.arm(pipe[0], READ)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            backend.after_fork()
            os.write(pipe[1], b"x")
            assert reported(backend) == []  # it forgot
            backend.arm(pipe[0], READ)
            assert reported(backend, SECOND, pipe[0]) & READ
            for _ in range(100):
                backend.wake()
            assert reported(backend, -1) == []
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert reported(backend, SECOND, pipe[0]) & READ, "the child's polls took the parent's report"
    start = time.monotonic_ns()
    reported(backend, 1_000_000)
    assert time.monotonic_ns() - start >= 1_000_000, "the child's wake reached the parent"


@pytest.mark.filterwarnings("ignore:This process")
def test_in_the_child_of_a_fork_another_hubs_backend_can_be_closed(make):
    """What happens to the hub of a thread that the fork left behind. Its numbers may have new owners in the child."""
    other, backend = make(), make()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            backend.after_fork()
            r, w = os.pipe()
            other.close()
            backend.arm(r, READ)
            assert reported(backend) == []
            os.write(w, b"x")
            assert reported(backend, SECOND, r) & READ
            backend.wake()
            assert reported(backend, -1) == []
            os.write(backend.signal_fd, b"\0")
            assert reported(backend, -1) == []
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for parent in (other, backend):
        parent.wake()
        assert reported(parent, -1) == []


def test_a_program_that_is_started_inherits_none_of_its_descriptors(make):
    def numbers():
        return {int(name) for name in os.listdir("/dev/fd") if os.path.exists(f"/dev/fd/{name}")}

    before = numbers()
    make().poll(0)
    made = numbers() - before
    assert len(made) >= 2
    assert not any(os.get_inheritable(fd) for fd in made)


def test_thousands_of_descriptors(make, open_files):
    backend = make()
    wanted = 900 if backend.name == "select" else 6000
    open_files(wanted + 200)
    fds = []
    try:
        for _ in range(wanted // 2):
            r, w = os.pipe()
            fds += [r, w]
            backend.arm(r, READ)
        for w in fds[1::2]:
            os.write(w, b"x")
        got = set()
        while len(got) < wanted // 2:
            found = reported(backend, SECOND)
            assert found, "some were lost"
            got |= {fd for fd, events in found if events & READ}
        assert got == set(fds[::2])
        # One of thousands, and no other one.
        for r in fds[::2]:
            os.read(r, 10)
            backend.arm(r, READ)
        for k in (0, wanted // 4, wanted // 2 - 1):
            os.write(fds[2 * k + 1], b"x")
            assert {fd for fd, _ in reported(backend, SECOND)} == {fds[2 * k]}
    finally:
        for fd in fds:
            backend.drop(fd)
            os.close(fd)


def test_close_gives_every_descriptor_back_and_may_be_called_twice(make):
    count = len(os.listdir("/dev/fd"))
    backend = make()
    backend.poll(0)
    assert len(os.listdir("/dev/fd")) > count
    backend.close()
    backend.close()
    assert len(os.listdir("/dev/fd")) == count


def test_a_backend_that_is_dropped_gives_every_descriptor_back():
    for name in NAMES:
        count = len(os.listdir("/dev/fd"))
        backend = backends.choose(name)[0]
        del backend
        assert len(os.listdir("/dev/fd")) == count


def test_a_whole_program_runs_on_it(run_script, make, request):
    run_script(
        """
        import os, sys, threading, gevlite
        from gevlite import socket
        from gevlite.queue import Queue
        server = socket.create_server(("127.0.0.1", 0))
        def echo(s):
            while data := s.recv(1000):
                s.sendall(data)
            s.close()
        def serve():
            for _ in range(50):
                gevlite.spawn(echo, server.accept()[0])
        def client(n):
            with socket.create_connection(server.getsockname()) as s:
                for k in range(20):
                    s.sendall(b"%d" % k)
                    assert s.recv(100) == b"%d" % k
        gevlite.spawn(serve)
        gevlite.joinall([gevlite.spawn(client, n) for n in range(50)], raise_error=True)
        q = Queue()
        threading.Timer(0.01, q.put, (1,)).start()
        assert q.get(timeout=30) == 1
        gevlite.sleep(0.01)
        r, w = os.pipe()
        os.write(w, b"x")
        assert gevlite.get_hub().wait_fd(r, 1, 30) == 1
        assert gevlite.get_hub().backend.name == sys.argv[1]
        """,
        make().name,
        env={"GEVLITE_BACKEND": request.node.callspec.params["make"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_the_hub_uses_this_machines_choice():
    wanted = backends.choose()[0]
    assert gevlite.get_hub().backend.name == wanted.name
    wanted.close()
