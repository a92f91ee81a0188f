"""gevlite.os: descriptors and children, blocking only the greenlet that waits.

Tests that take `lib` run twice with the same assertions: against the original in threads, then against the twin.
"""

import errno
import fcntl
import os
import pty
import signal
import socket as std_socket
import time
from types import SimpleNamespace

import pytest

import gevlite
from gevlite import _fcntl as gevlite_fcntl, os as gevlite_os, socket

# The tests' worker threads hold no lock that a child of theirs needs.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

BIG = bytes(range(256)) * 4000  # more than a pipe holds


@pytest.fixture
def oss(lib):
    """The os module under test."""
    return lib.module("os")


def child(code=0, until=None):
    """Fork a child that ends with `code`, once there is something to read from the descriptor `until`."""
    pid = os.fork()
    if not pid:
        try:
            if until is not None:
                os.read(until, 1)
        finally:
            os._exit(code)
    return pid


def code_of(status):
    return os.waitstatus_to_exitcode(status)


# ---------------------------------------------------------------- read and write


def test_read_blocks_until_there_is_something(lib, oss, pipe):
    r, w = pipe
    reader = lib.spawn(oss.read, r, 100)
    os.write(w, b"here")
    assert reader.get() == b"here"


def test_read_at_the_end_is_empty(oss, pipe):
    r, w = pipe
    os.write(w, b"last")
    os.close(w)
    assert oss.read(r, 100) == b"last"
    assert oss.read(r, 100) == b""


def test_write_writes_everything(lib, oss, pipe):
    r, w = pipe
    writer = lib.spawn(oss.write, w, BIG)
    received = b""
    while len(received) < len(BIG):
        received += oss.read(r, 100_000)
    assert writer.get() == len(BIG) and received == BIG


def test_nothing_is_read_and_written_without_a_wait(oss, pipe):
    r, w = pipe
    assert oss.read(r, 0) == b""
    if hasattr(oss, "readinto"):
        assert oss.readinto(r, bytearray()) == 0
    with pytest.raises(OSError):
        oss.read(r, -1)
    with pytest.raises(TypeError):
        oss.read(r, "1")
    os.set_blocking(w, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(w, BIG)
    os.set_blocking(w, True)
    assert oss.write(w, b"") == 0


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"abc"), b""], ids=["bytearray", "memoryview", "empty"])
def test_write_takes_any_bytes(oss, pipe, data):
    assert oss.write(pipe[1], data) == len(data)


def test_write_without_a_reader_is_a_broken_pipe(oss, pipe):
    r, w = pipe
    os.close(r)
    for data in (b"x", BIG):
        with pytest.raises(BrokenPipeError):
            oss.write(w, data)


def test_a_writer_whose_reader_goes_away_says_how_much_it_wrote_or_that_the_pipe_broke(lib, oss, pipe):
    r, w = pipe

    def write():
        try:
            return oss.write(w, BIG)
        except BrokenPipeError:
            return 0

    writer = lib.spawn(write)
    got = len(oss.read(r, 5000))
    os.close(r)
    assert writer.get() == 0 or writer.get() >= got


@pytest.mark.parametrize("name", ["read", "write"])
def test_a_descriptor_in_nonblocking_mode_does_not_wait(oss, pipe, name):
    r, w = pipe
    os.set_blocking(r, False)
    os.set_blocking(w, False)
    with pytest.raises(BlockingIOError):
        if name == "read":
            oss.read(r, 1)
        else:
            while True:
                oss.write(w, BIG)


# ---------------------------------------------------------------- the descriptors of sockets


def readinto(oss, fd):
    space = bytearray(100)
    return bytes(space[: oss.readinto(fd, space)])


READERS = {"read": lambda oss, fd: oss.read(fd, 100)}
if hasattr(os, "readinto"):  # from Python 3.14 on
    READERS["readinto"] = readinto


@pytest.fixture
def sockets(lib, opened):
    """A connected pair of sockets of the library under test."""
    return [opened.enter_context(sock) for sock in lib.module("socket").socketpair()]


@pytest.mark.parametrize("reader", READERS)
def test_reading_from_a_blocking_socket_waits(lib, oss, sockets, reader):
    a, b = sockets
    reading = lib.spawn(READERS[reader], oss, a.fileno())
    if lib.name == "gevlite":
        gevlite.idle()
        assert not reading.greenlet.ready()
    b.send(b"here")
    assert reading.get() == b"here"
    b.close()
    assert READERS[reader](oss, a.fileno()) == b""


@pytest.mark.parametrize("reader", READERS)
def test_reading_from_a_pipe_waits(lib, oss, pipe, reader):
    reading = lib.spawn(READERS[reader], oss, pipe[0])
    os.write(pipe[1], b"here")
    assert reading.get() == b"here"


def test_writing_to_a_blocking_socket_writes_everything(lib, oss, sockets):
    a, b = sockets
    writing = lib.spawn(oss.write, a.fileno(), BIG)
    received = bytearray()
    while len(received) < len(BIG):
        received += b.recv(100_000)
    assert writing.get() == len(BIG) and received == BIG


@pytest.mark.parametrize("own", ["original", "gevlite"])
def test_a_message_is_written_in_one_piece(oss, opened, own):
    kind = socket if own == "gevlite" else std_socket
    a, b = [opened.enter_context(sock) for sock in kind.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)]
    assert oss.write(a.fileno(), bytes(20_000)) == 20_000
    assert len(b.recv(30_000)) == 20_000


def refuses_to_wait(oss, sock):
    with pytest.raises(BlockingIOError):
        oss.read(sock.fileno(), 1)
    with pytest.raises(BlockingIOError):
        while True:
            oss.write(sock.fileno(), BIG)


@pytest.mark.parametrize("seconds", [0, 20])
def test_a_socket_with_a_time_out_is_in_nonblocking_mode(oss, sockets, seconds):
    sockets[0].settimeout(seconds)
    assert not oss.get_blocking(sockets[0].fileno())
    refuses_to_wait(oss, sockets[0])


def test_a_sockets_descriptor_can_be_put_in_nonblocking_mode_and_back(lib, oss, sockets):
    a, b = sockets
    assert oss.get_blocking(a.fileno())
    oss.set_blocking(a.fileno(), False)
    assert not oss.get_blocking(a.fileno()) and a.gettimeout() is None
    with pytest.raises(BlockingIOError):
        a.recv(1)
    refuses_to_wait(oss, a)
    oss.set_blocking(a.fileno(), True)
    assert oss.get_blocking(a.fileno())
    reading = lib.spawn(a.recv, 1)
    b.send(b"x")
    assert reading.get() == b"x"


def test_the_mode_of_the_descriptor_and_the_time_out_of_the_socket_are_two_things(lib, oss, sockets):
    a, b = sockets
    a.settimeout(0.01)
    oss.set_blocking(a.fileno(), False)  # as it is
    with pytest.raises(TimeoutError):
        a.recv(1)
    oss.set_blocking(a.fileno(), True)
    assert oss.get_blocking(a.fileno()) and a.gettimeout() == 0.01
    with pytest.raises(TimeoutError):
        a.recv(1)
    reading = lib.spawn(oss.read, a.fileno(), 1)
    b.send(b"x")
    assert reading.get() == b"x"
    a.settimeout(0.01)
    assert not oss.get_blocking(a.fileno())


def test_fcntl_shows_and_sets_the_mode_that_the_user_wants(lib, oss, opened):
    control = fcntl.fcntl if lib.name == "original" else gevlite_fcntl.fcntl
    a, b = [opened.enter_context(sock) for sock in lib.module("socket").socketpair()]
    flags = control(a, fcntl.F_GETFL)
    assert not flags & os.O_NONBLOCK
    assert control(a.fileno(), fcntl.F_SETFL, flags | os.O_NONBLOCK) == 0
    assert control(a, fcntl.F_GETFL) == flags | os.O_NONBLOCK and a.gettimeout() is None
    refuses_to_wait(oss, a)
    while True:
        try:
            b.recv(100_000, socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
    control(a.fileno(), fcntl.F_SETFL, flags)
    reading = lib.spawn(oss.read, a.fileno(), 10)
    b.send(b"x")
    assert reading.get() == b"x"
    assert control(a, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    for bad in (-1, None, "0"):
        with pytest.raises((OSError, TypeError, ValueError)):
            control(bad, fcntl.F_GETFL)


def test_the_mode_is_that_of_the_socket_that_has_the_number_now(opened):
    """Not that of an earlier child with the same number."""
    first, peer = socket.socketpair()
    fd = first.fileno()
    first.close()
    assert gevlite_os.get_blocking(peer.fileno())
    peer.close()
    a, _b = [opened.enter_context(sock) for sock in std_socket.socketpair()]
    assert a.fileno() == fd
    a.setblocking(False)
    assert not gevlite_os.get_blocking(fd)
    with pytest.raises(BlockingIOError):
        gevlite_os.read(fd, 1)


def test_a_detached_descriptor_is_nobodys(lib, oss, sockets, opened):
    a, b = sockets
    fd = a.detach()
    opened.callback(os.close, fd)
    assert os.get_blocking(fd) and oss.get_blocking(fd)
    oss.set_blocking(fd, False)
    assert not os.get_blocking(fd)
    with pytest.raises(BlockingIOError):
        oss.read(fd, 1)


@pytest.mark.parametrize(
    "call",
    [lambda o, fd: o.read(fd, 1), lambda o, fd: o.write(fd, b"x"), lambda o, fd: o.close(fd)],
    ids=["read", "write", "close"],
)
def test_a_closed_descriptor_is_ebadf(oss, pipe, call):
    fd = pipe[0]
    os.close(fd)
    for number in (fd, -1):
        with pytest.raises(OSError) as caught:
            call(oss, number)
        assert caught.value.errno == errno.EBADF


def test_the_wrong_end_of_a_pipe_is_ebadf_and_not_waited_for(oss, pipe):
    for call in (lambda: oss.write(pipe[0], b"x"), lambda: oss.write(pipe[0], BIG), lambda: oss.read(pipe[1], 1)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("call", [lambda o: o.read("x", 1), lambda o: o.write(1, "text"), lambda o: o.close("x")])
def test_wrong_types_are_type_errors(oss, call):
    with pytest.raises(TypeError):
        call(oss)


def test_a_regular_file_needs_no_waiting(oss, tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert oss.write(fd, BIG) == len(BIG)
        os.lseek(fd, 0, os.SEEK_SET)
        assert oss.read(fd, len(BIG)) == BIG
        assert oss.read(fd, 1) == b""
    finally:
        os.close(fd)


def test_a_terminal(lib, oss):
    master, slave = pty.openpty()
    try:
        reader = lib.spawn(oss.read, slave, 100)
        oss.write(master, b"line\n")
        assert reader.get() == b"line\n"
    finally:
        os.close(master)
        os.close(slave)


def test_kill_while_reading_leaves_nothing_registered(start, hub, pipe):
    r, w = pipe
    reader = start(gevlite_os.read, r, 1)
    gevlite.idle()
    assert hub.stats()["fd_waiters"] == 1
    reader.greenlet.kill()
    assert hub.stats()["fd_waiters"] == 0
    os.write(w, b"x")
    assert gevlite_os.read(r, 1) == b"x"


def test_timeout_while_writing(pipe):
    with pytest.raises(gevlite.Timeout):
        with gevlite.Timeout(0.01):
            gevlite_os.write(pipe[1], BIG)


def test_close_wakes_who_waits_for_the_descriptor(start, pipe):
    """Otherwise it would wait for ever, or for the next file that gets the number."""
    reader = start(gevlite_os.read, pipe[0], 1)
    watcher = start(socket.wait_read, pipe[0])
    gevlite.sleep(0)
    gevlite_os.close(pipe[0])
    for waiter in (reader, watcher):
        with pytest.raises(OSError) as caught:
            waiter.get()
        assert caught.value.errno == errno.EBADF


# ---------------------------------------------------------------- nb_*, tp_*


def test_make_nonblocking_says_whether_it_did_something(pipe):
    assert gevlite_os.make_nonblocking(pipe[0]) is True
    assert not os.get_blocking(pipe[0])
    assert gevlite_os.make_nonblocking(pipe[0]) is None
    with pytest.raises(OSError):
        gevlite_os.make_nonblocking(-1)


def test_nb_read_and_nb_write_wait_in_nonblocking_mode(start, pipe):
    r, w = pipe
    for fd in pipe:
        gevlite_os.make_nonblocking(fd)

    def write():
        view = memoryview(BIG)
        while view:
            view = view[gevlite_os.nb_write(w, view) :]
        os.close(w)

    writer = start(write)
    received = b""
    while data := gevlite_os.nb_read(r, 100_000):
        received += data
    assert received == BIG
    writer.get()


@pytest.mark.parametrize("call", [lambda fd: gevlite_os.nb_read(fd, 1), lambda fd: gevlite_os.nb_write(fd, b"x")])
def test_nb_calls_raise_what_the_system_says(call):
    with pytest.raises(OSError) as caught:
        call(-1)
    assert caught.value.errno == errno.EBADF


def test_kill_in_nb_read(start, hub, pipe):
    gevlite_os.make_nonblocking(pipe[0])
    reader = start(gevlite_os.nb_read, pipe[0], 1)
    gevlite.sleep(0)
    reader.greenlet.kill()
    assert hub.stats()["fd_waiters"] == 0


def test_tp_read_and_tp_write_use_the_thread_pool(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert gevlite_os.tp_write(fd, BIG) == len(BIG)
        os.lseek(fd, 0, os.SEEK_SET)
        assert gevlite_os.tp_read(fd, len(BIG)) == BIG
    finally:
        os.close(fd)
    with pytest.raises(OSError):
        gevlite_os.tp_read(-1, 1)


# ---------------------------------------------------------------- waiting for children

WAITS = {
    "wait": lambda o, pid: o.wait(),
    "wait3": lambda o, pid: o.wait3(0)[:2],
    "wait4": lambda o, pid: o.wait4(pid, 0)[:2],
    "wait4 any": lambda o, pid: o.wait4(-1, 0)[:2],
    "waitpid": lambda o, pid: o.waitpid(pid, 0),
    "waitpid any": lambda o, pid: o.waitpid(-1, 0),
    "waitpid group": lambda o, pid: o.waitpid(0, 0),
    "waitpid this group": lambda o, pid: o.waitpid(-os.getpgrp(), 0),
}


@pytest.fixture(params=WAITS)
def wait_for(request):
    return WAITS[request.param]


def test_wait_blocks_until_the_child_has_ended(lib, oss, pipe, wait_for):
    pid = child(5, until=pipe[0])
    waiter = lib.spawn(wait_for, oss, pid)
    os.write(pipe[1], b"x")
    found, status = waiter.get()
    assert (found, code_of(status)) == (pid, 5)


def test_wait_without_children_is_echild(oss, wait_for):
    with pytest.raises(ChildProcessError):
        wait_for(oss, os.getpid())


def test_waits_tell_the_use_of_resources(oss):
    assert oss.wait3(0)[2].ru_utime >= 0 if child() else None
    assert oss.wait4(child(), 0)[2].ru_maxrss >= 0


def test_wnohang_does_not_wait(oss, pipe):
    pid = child(until=pipe[0])
    assert oss.waitpid(pid, os.WNOHANG) == oss.waitpid(-1, os.WNOHANG) == (0, 0)
    assert oss.wait3(os.WNOHANG)[:2] == oss.wait4(pid, os.WNOHANG)[:2] == (0, 0)
    assert oss.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is None
    os.write(pipe[1], b"x")
    assert oss.waitpid(pid, 0) == (pid, 0)


def test_a_child_that_is_stopped_and_goes_on(lib, oss, pipe):
    pid = child(until=pipe[0])
    waiter = lib.spawn(oss.waitpid, pid, os.WUNTRACED)
    os.kill(pid, signal.SIGSTOP)
    found, status = waiter.get()
    assert found == pid and os.WIFSTOPPED(status)
    waiter = lib.spawn(oss.waitpid, pid, os.WCONTINUED)
    os.kill(pid, signal.SIGCONT)
    found, status = waiter.get()
    assert found == pid and os.WIFCONTINUED(status)
    os.write(pipe[1], b"x")
    assert oss.waitpid(pid, 0) == (pid, 0)


def test_waitid(lib, oss, pipe):
    pid = child(3, until=pipe[0])
    waiters = [lib.spawn(oss.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT) for _ in range(2)]
    waiters.append(lib.spawn(oss.waitid, os.P_ALL, 0, os.WEXITED | os.WNOWAIT))
    os.write(pipe[1], b"x")
    for waiter in waiters:
        found = waiter.get()
        assert (found.si_pid, found.si_status, found.si_code) == (pid, 3, os.CLD_EXITED)
    assert oss.waitid(os.P_PID, pid, os.WEXITED).si_status == 3
    with pytest.raises(ChildProcessError):
        oss.waitid(os.P_PID, pid, os.WEXITED)


@pytest.mark.parametrize(
    "call", [lambda o: o.waitpid("x", 0), lambda o: o.waitpid(1), lambda o: o.wait3("x"), lambda o: o.waitid(0, 0, "x")]
)
def test_waits_refuse_wrong_types(oss, call):
    with pytest.raises(TypeError):
        call(oss)


@pytest.mark.parametrize("pid", [0, -1])
def test_kill_while_waiting_for_any_child_takes_no_status(start, pipe, pid):
    waiters = [start(gevlite_os.waitpid, pid, 0) for _ in range(20)]  # more than the pool has threads
    mine = child(4, until=pipe[0])
    waiters += [start(gevlite_os.waitpid, pid, 0) for _ in range(20)]
    gevlite.sleep(0.01)
    for waiter in waiters:
        waiter.greenlet.kill()
    os.write(pipe[1], b"x")
    assert code_of(gevlite_os.waitpid(mine, 0)[1]) == 4


def test_the_pool_stays_free_while_many_wait_for_children(told_by, start, hub, pipe):
    pids = [child(n, until=pipe[0]) for n in range(15)]
    waiters = [start(gevlite_os.waitpid, pid, 0) for pid in pids]
    gevlite.sleep(0)
    assert hub.threadpool.apply(lambda: "free") == "free"
    os.write(pipe[1], b"x" * 15)
    assert [code_of(waiter.get()[1]) for waiter in waiters] == list(range(15))


def test_each_child_is_given_to_one_of_those_who_wait_for_any(told_by, start):
    pids = {child(n) for n in range(10)}
    waiters = [start(gevlite_os.wait) for _ in range(10)]
    assert {waiter.get()[0] for waiter in waiters} == pids


def test_one_who_waits_for_a_child_that_another_takes_is_told(told_by, start, pipe):
    pid = child(until=pipe[0])
    waiters = [start(gevlite_os.waitpid, pid, 0) for _ in range(2)]
    gevlite.sleep(0)
    os.write(pipe[1], b"x")
    outcomes = []
    for waiter in waiters:
        try:
            outcomes.append(waiter.get())
        except ChildProcessError:
            outcomes.append(None)
    assert sorted(outcomes, key=bool) == [None, (pid, 0)]


# ---------------------------------------------------------------- fork


def test_fork_and_posix_spawn_are_the_originals():
    for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp"):
        assert getattr(gevlite_os, name) is getattr(os, name)
    pid = gevlite_os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], os.environ)
    assert code_of(gevlite_os.waitpid(pid, 0)[1]) == 3


@pytest.mark.parametrize("fork", [gevlite_os.fork, gevlite_os.fork_gevent, gevlite.fork])
def test_fork_in_a_greenlet_leaves_both_sides_working(start, fork):
    def work():
        pid = fork()
        if not pid:
            gevlite.sleep(0.001)
            os._exit(gevlite.spawn(lambda: 6).get())
        return pid

    others = [gevlite.spawn(gevlite.sleep, 0.01) for _ in range(3)]
    assert code_of(gevlite_os.waitpid(start(work).get(), 0)[1]) == 6
    gevlite.joinall(others)


def test_fork_and_watch_takes_the_status_and_calls_back(settle, told_by):
    told = []
    pid = gevlite_os.fork_and_watch(told.append)
    if not pid:
        os._exit(4)
    assert settle(lambda: told)
    [watcher] = told
    assert (watcher.pid, watcher.rpid, watcher.returncode) == (pid, pid, 4)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)  # no zombie
    assert gevlite_os.waitpid(pid, 0) == (pid, watcher.rstatus)
    with pytest.raises(ChildProcessError):
        gevlite_os.waitpid(pid, 0)


def test_waitpid_for_a_watched_child_that_runs(start, pipe, told_by):
    pid = gevlite_os.fork_and_watch()
    if not pid:
        os.read(pipe[0], 1)
        os._exit(4)
    assert gevlite_os.waitpid(pid, os.WNOHANG) == (0, 0)
    waiters = [start(gevlite_os.waitpid, pid, 0) for _ in range(2)]
    gevlite.sleep(0)
    os.write(pipe[1], b"x")
    outcomes = []
    for waiter in waiters:
        try:
            outcomes.append(code_of(waiter.get()[1]))
        except ChildProcessError:
            outcomes.append(None)
    assert sorted(outcomes, key=bool) == [None, 4]


def test_fork_and_watch_with_ref_keeps_the_loop_alive(hub):
    pid = gevlite_os.fork_and_watch(ref=True)
    if not pid:
        time.sleep(0.05)
        os._exit(0)
    assert hub.join(timeout=20)
    assert gevlite_os.waitpid(pid, os.WNOHANG) == (pid, 0)


def test_the_status_of_a_watched_child_that_nobody_asks_for_is_forgotten(monkeypatch, settle):
    told = []
    monkeypatch.setattr(gevlite_os, "KEEP_STATUS_SECONDS", 0)
    for _ in range(3):
        if not gevlite_os.fork_and_watch(told.append):
            os._exit(0)
    assert settle(lambda: len(told) == 3)
    gevlite.sleep(0.001)
    gevlite_os._drop_old()
    assert not gevlite_os._watched


def test_a_number_that_is_used_again_is_not_mistaken_for_the_watched_child(pipe):
    pid = child(3, until=pipe[0])
    ended = SimpleNamespace(is_set=lambda: True)
    old = SimpleNamespace(ended=ended, watcher=SimpleNamespace(rstatus=0), at=0, was_taken=id)
    gevlite_os._watched[pid] = old
    assert gevlite_os.waitpid(pid, os.WNOHANG) == (0, 0)
    gevlite_os._watched[pid] = old
    os.write(pipe[1], b"x")
    assert code_of(gevlite_os.waitpid(pid, 0)[1]) == 3
    assert not gevlite_os._watched


def test_forkpty_and_watch(settle):
    told = []
    pid, master = gevlite_os.forkpty_and_watch(told.append)
    if not pid:
        os.write(1, b"from the child")
        os._exit(5)
    try:
        assert gevlite_os.read(master, 100) == b"from the child"
        assert settle(lambda: told)
        assert code_of(gevlite_os.waitpid(pid, 0)[1]) == 5
    finally:
        os.close(master)


def test_the_child_of_a_fork_watches_none_of_its_siblings(run_script):
    run_script("""
        import os, gevlite
        from gevlite import _children, os as gevlite_os
        _children._pidfd_open = None
        r, w = os.pipe()
        sibling = gevlite_os.fork_and_watch()
        if not sibling:
            os.read(r, 1)
            os._exit(3)
        gevlite.sleep(0)
        pid = gevlite_os.fork()
        if not pid:
            assert not _children._watches and not gevlite_os._watched
            try:
                gevlite_os.waitpid(sibling, 0)
            except ChildProcessError:
                os._exit(7)
        assert os.waitstatus_to_exitcode(gevlite_os.waitpid(pid, 0)[1]) == 7
        os.write(w, b"x")
        assert os.waitstatus_to_exitcode(gevlite_os.waitpid(sibling, 0)[1]) == 3
    """)


@pytest.mark.parametrize("switch", ["", "_children._pidfd_open = None"], ids=["pidfd", "thread"])
def test_a_watcher_tells_of_its_child_in_the_process_that_made_it_only(run_script, switch):
    result = run_script(f"""
        import os, sys, gevlite
        from gevlite import _children, os as gevlite_os
        {switch}
        r, w = os.pipe()
        told = []
        sibling = gevlite_os.fork_and_watch(told.append)
        if not sibling:
            os.read(r, 1)
            os._exit(3)
        gevlite.sleep(0)
        pid = gevlite_os.fork()
        if not pid:
            os.write(w, b"x")
            for _ in range(20):
                gevlite.sleep(0.005)
            stats = gevlite.get_hub().stats()
            os._exit(1 if told or stats["watchers"] or stats["fds"] or stats["refs"] else 7)
        assert os.waitstatus_to_exitcode(gevlite_os.waitpid(pid, 0)[1]) == 7
        assert os.waitstatus_to_exitcode(gevlite_os.waitpid(sibling, 0)[1]) == 3
        while not told:
            gevlite.sleep(0.001)
        assert len(told) == 1
        print("end")
    """)
    assert result.stdout == "end\n"


def test_what_keeps_the_loop_alive_is_counted_right_in_the_child_of_a_fork(run_script):
    """If the count is wrong by one, there is a LoopExit too many or too few."""
    run_script("""
        import os, signal, gevlite
        from gevlite import threadpool
        from gevlite.event import Event
        hub = gevlite.get_hub()
        r, w = os.pipe()
        watchers = [hub.loop.io(r, 1, ref=False), hub.loop.signal(signal.SIGUSR1, ref=True), hub.loop.async_()]
        for watcher in watchers:
            watcher.start(print)
        until, end = os.pipe()
        hub.threadpool.spawn(os.read, until, 1)
        gevlite.spawn(hub.threadpool.apply, os.read, (until, 1))
        gevlite.idle()
        assert hub.stats()["refs"] == 2 + 2 - 1
        pid = os.fork()
        if not pid:
            assert hub.stats()["refs"] == 2 - 1     # without the work of the threads
            for watcher in watchers:
                watcher.stop()
            assert hub.stats()["refs"] == 0
            try:
                Event().wait()
            except gevlite.LoopExit:
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        os.write(end, b"xx")
        for watcher in watchers:
            watcher.stop()
        assert hub.join(timeout=20)
        assert hub.stats()["refs"] == 0
    """)


def test_a_thread_that_waits_for_a_child_does_not_hide_a_dead_end(run_script):
    """It would look like something that may wake the greenlet. Once nothing waits for the child, nothing will."""
    assert (
        run_script("""
        import os
        import signal
        import gevlite
        from gevlite import _children, event, os as gevlite_os

        _children._pidfd_open = None
        pid = os.fork()
        if pid == 0:
            signal.pause()
        waiting = gevlite.spawn(gevlite_os.waitpid, pid, 0)
        gevlite.sleep(0)
        try:
            waiting.join(0.01)
            waiting.kill()
            event.Event().wait()
        except gevlite.exceptions.LoopExit:
            print("dead end")
        os.kill(pid, signal.SIGKILL)
        print(os.waitpid(pid, 0)[0] == pid)
    """).stdout
        == "dead end\nTrue\n"
    )


@pytest.mark.parametrize(
    ("wait", "pid_and_code"),
    [
        (lambda pid: gevlite_os.waitpid(-1, 0), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.waitpid(0, 0), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.waitpid(-os.getpgrp(), 0), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.waitpid(pid, 0), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.wait(), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.wait3(0), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.wait4(-1, 0), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.wait4(pid, 0), lambda found: (found[0], code_of(found[1]))),
        (lambda pid: gevlite_os.waitid(os.P_ALL, 0, os.WEXITED), lambda found: (found.si_pid, found.si_status)),
        (lambda pid: gevlite_os.waitid(os.P_PID, pid, os.WEXITED), lambda found: (found.si_pid, found.si_status)),
        (
            lambda pid: gevlite_os.waitid(os.P_PGID, os.getpgrp(), os.WEXITED),
            lambda found: (found.si_pid, found.si_status),
        ),
    ],
    ids=["any", "group", "group by number", "one", "wait", "wait3", "wait4", "wait4 one", "P_ALL", "P_PID", "P_PGID"],
)
@pytest.mark.parametrize("when", ["running", "ended", "taken"])
def test_each_way_to_wait_finds_a_watched_child(wait, pid_and_code, when, pipe, start, settle, told_by):
    told = []
    pid = gevlite_os.fork_and_watch(told.append)
    if not pid:
        os.read(pipe[0], 1)
        os._exit(3)
    if when == "running":
        waiting = start(wait, pid)
        gevlite.sleep(0)
        os.write(pipe[1], b"x")
        found = waiting.get()
    else:
        os.write(pipe[1], b"x")
        if when == "taken":
            assert settle(lambda: told)
        found = wait(pid)
    assert pid_and_code(found) == (pid, 3)
    assert settle(lambda: told)  # the callback is called in any case
    assert (told[0].rpid, told[0].returncode) == (pid, 3)
    assert not gevlite_os._watched
    with pytest.raises(ChildProcessError):
        wait(pid)


def test_a_child_that_is_not_watched_is_found_beside_one_that_is(pipe, told_by):
    watched = gevlite_os.fork_and_watch()
    if not watched:
        os.read(pipe[0], 1)
        os._exit(3)
    other = child(4)
    assert gevlite_os.waitpid(watched, os.WNOHANG) == (0, 0)
    found = gevlite_os.waitpid(-1, 0)
    assert (found[0], code_of(found[1])) == (other, 4)
    assert gevlite_os.waitpid(-1, os.WNOHANG) == (0, 0)
    assert gevlite_os.wait3(os.WNOHANG)[:2] == (0, 0)
    assert gevlite_os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is None
    os.write(pipe[1], b"x")
    assert gevlite_os.wait()[0] == watched


def test_waitid_can_leave_the_status_of_a_watched_child(settle, told_by):
    told = []
    pid = gevlite_os.fork_and_watch(told.append)
    if not pid:
        os.kill(os.getpid(), 9)
    assert settle(lambda: told)
    for _ in range(2):
        found = gevlite_os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert (found.si_pid, found.si_status, found.si_code) == (pid, 9, os.CLD_KILLED)
    found = gevlite_os.wait4(pid, 0)
    assert code_of(found[1]) == -9
    assert found[2].ru_utime >= 0
    assert told[0].rusage is found[2]


def test_the_twin_has_every_name_of_the_original():
    missing = [name for name in {*os.__all__, *dir(os)} if not hasattr(gevlite_os, name) and not name.startswith("_")]
    assert missing == []
    assert gevlite_os._exit is os._exit
    assert gevlite_os.environ is os.environ
    assert gevlite_os.read is not os.read
    assert {*os.__all__} <= {*gevlite_os.__all__}
