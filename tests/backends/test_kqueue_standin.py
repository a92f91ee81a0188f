"""The stand-in for kqueue behaves as kqueue(2) says where it matters: what it accepts, a BSD must accept too."""

import contextlib
import ctypes
import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

if sys.platform != "linux" or not shutil.which("cc"):
    pytest.skip("the stand-in is for Linux, and needs a C compiler", allow_module_level=True)

FOLDER = Path(__file__).parents[1] / "kqueue_standin"

READ, WRITE, USER = -1, -2, -11
ADD, DELETE, ENABLE, DISABLE, ONESHOT, CLEAR, RECEIPT, DISPATCH, ERROR, EOF = (
    1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x4000, 0x8000,
)  # fmt: skip
TRIGGER = 0x01000000


class Event(ctypes.Structure):
    _fields_ = [
        ("ident", ctypes.c_size_t),
        ("filter", ctypes.c_short),
        ("flags", ctypes.c_ushort),
        ("fflags", ctypes.c_uint),
        ("data", ctypes.c_int64),
        ("udata", ctypes.c_void_p),
        ("ext", ctypes.c_uint64 * 4),
    ]


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("standin") / "kqueue.so"
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{FOLDER}"]
    subprocess.run(["cc", *flags, "-o", path, FOLDER / "kqueue.c"], check=True)
    return ctypes.CDLL(str(path), use_errno=True)


class Queue:
    def __init__(self, library):
        self.library = library
        self.fd = library.kqueue()
        assert self.fd >= 0

    def call(self, changes=(), room=16, timeout=0.0):
        """kevent(): the events as a list of (ident, filter, flags, data)."""
        events = (Event * max(room, 1))()
        given = (Event * max(len(changes), 1))(*changes)
        limit = None if timeout is None else ctypes.byref(Timespec(int(timeout), int(timeout % 1 * 1e9)))
        n = self.library.kevent(self.fd, given, len(changes), events, room, limit)
        if n < 0:
            raise OSError(ctypes.get_errno(), "kevent")
        return [(e.ident, e.filter, e.flags, e.data) for e in events[:n]]

    def change(self, ident, filter, flags, fflags=0):
        return self.call([Event(ident, filter, flags, fflags)], room=0)

    def ready(self, timeout=0.0):
        return [event[:2] for event in self.call(timeout=timeout)]


@pytest.fixture
def kq(library):
    queue = Queue(library)
    yield queue
    with contextlib.suppress(OSError):
        os.close(queue.fd)


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    with a, b:
        yield a, b


def expect_error(code, function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    assert caught.value.errno == code


def test_level_triggered_clear_and_oneshot(kq, pair):
    a, b = pair
    b.send(b"abc")
    fd = a.fileno()
    kq.change(fd, READ, ADD)
    assert kq.call() == kq.call() == [(fd, READ, 0, 3)]
    a.recv(10)
    assert kq.call() == []
    kq.change(fd, READ, DELETE)
    kq.change(fd, READ, ADD | CLEAR)
    b.send(b"x")
    assert kq.ready() == [(fd, READ)]
    assert kq.ready() == []
    b.send(b"y")
    assert kq.call() == [(fd, READ, CLEAR, 2)]
    kq.change(fd, READ, DELETE)
    kq.change(fd, READ, ADD | ONESHOT)
    assert kq.ready() == [(fd, READ)]
    b.send(b"z")
    assert kq.ready() == []
    expect_error(errno.ENOENT, kq.change, fd, READ, DELETE)


def test_adding_again_does_not_change_oneshot_or_clear(kq, pair):
    a, b = pair
    kq.change(a.fileno(), READ, ADD | ONESHOT)
    kq.change(a.fileno(), READ, ADD | CLEAR)
    b.send(b"x")
    assert kq.ready() == [(a.fileno(), READ)]
    b.send(b"y")
    assert kq.ready() == []


def test_disable_enable_and_dispatch(kq, pair):
    a, b = pair
    fd = a.fileno()
    kq.change(fd, READ, ADD)
    kq.change(fd, READ, DISABLE)
    b.send(b"x")
    assert kq.ready() == []
    kq.change(fd, READ, ENABLE)
    assert kq.ready() == [(fd, READ)]
    kq.change(fd, READ, DELETE)
    kq.change(fd, READ, ADD | DISPATCH)
    assert kq.ready() == [(fd, READ)]
    assert kq.ready() == []
    kq.change(fd, READ, ENABLE)
    assert kq.ready() == [(fd, READ)]


def test_each_change_is_answered_and_events_wait(kq, pair):
    a, b = pair
    b.send(b"x")
    fd = a.fileno()
    changes = [
        Event(fd, READ, DELETE | RECEIPT),
        Event(fd, READ, ADD | RECEIPT),
        Event(900, READ, ADD | RECEIPT),
        Event(fd, 5, ADD | RECEIPT),
    ]
    codes = [errno.ENOENT, 0, errno.EBADF, errno.EINVAL]
    assert [(flags, data) for _, _, flags, data in kq.call(changes)] == [(ERROR, code) for code in codes]
    assert kq.ready() == [(fd, READ)]
    # Without room the first failure ends the call; changes before it have been made.
    expect_error(errno.EBADF, kq.call, [Event(fd, READ, DELETE), Event(900, READ, ADD)], 0)
    assert kq.ready() == []


def test_only_as_many_as_there_is_room_for(kq, pair):
    a, b = pair
    for s in pair:
        kq.change(s.fileno(), WRITE, ADD)
    assert kq.call(room=0) == []
    got = [kq.call(room=1)[0][0] for _ in range(4)]
    assert sorted(got) == sorted([a.fileno(), b.fileno()] * 2)


def test_closing_the_number_removes_it_although_a_duplicate_is_open(kq):
    r, w = os.pipe()
    keep = os.dup(r)
    kq.change(r, READ, ADD)
    os.close(r)
    os.write(w, b"x")
    assert kq.ready() == []
    expect_error(errno.EBADF, kq.change, r, READ, DELETE)
    r2, w2 = os.pipe()
    assert r2 == r
    expect_error(errno.ENOENT, kq.change, r2, READ, DELETE)
    os.write(w2, b"x")
    assert kq.ready() == []
    kq.change(r2, READ, ADD | CLEAR)
    assert kq.ready() == [(r2, READ)]
    os.write(w, b"x")
    assert kq.ready() == [], "that was the old one"
    for fd in (keep, w, r2, w2):
        os.close(fd)


def test_end_of_file(kq, pair):
    a, b = pair
    b.send(b"abc")
    b.close()
    kq.change(a.fileno(), READ, ADD)
    kq.change(a.fileno(), WRITE, ADD)
    got = {filter: (flags, data) for _, filter, flags, data in kq.call()}
    assert got[READ] == (EOF, 3)
    assert got[WRITE][0] == EOF


def test_regular_files_and_devices(kq, tmp_path):
    with open(tmp_path / "file", "wb+", buffering=0) as file:
        file.write(b"abcdef")
        kq.change(file.fileno(), READ, ADD)
        assert kq.call() == [], "it is at its end"
        file.seek(2)
        kq.change(file.fileno(), READ, ADD)
        assert kq.call() == [(file.fileno(), READ, 0, 4)]
    with open(os.devnull) as null:
        expect_error(errno.EINVAL, kq.change, null.fileno(), READ, ADD)


def test_a_pipe_without_a_reader_cannot_be_added_to_write(kq):
    r, w = os.pipe()
    kq.change(w, WRITE, ADD | CLEAR)
    assert kq.call()[0][2] == CLEAR
    os.close(r)
    assert kq.call()[0][2] == CLEAR | EOF
    kq.change(w, WRITE, DELETE)
    expect_error(errno.EPIPE, kq.change, w, WRITE, ADD)
    os.close(w)


def test_what_is_not_connected_is_not_ready(kq):
    with socket.socket() as s, socket.create_server(("127.0.0.1", 0)) as server:
        for filter in (READ, WRITE):
            kq.change(s.fileno(), filter, ADD)
        assert kq.call() == []
        s.connect(server.getsockname())
        assert kq.ready(1) == [(s.fileno(), WRITE)]
        kq.change(server.fileno(), READ, ADD | ONESHOT)
        assert (server.fileno(), READ, ONESHOT, 1) in kq.call(timeout=1)


def test_a_user_event_wakes_another_thread_once(kq):
    kq.change(0, USER, ADD | CLEAR)
    assert kq.call() == []
    waker = threading.Timer(0.02, kq.change, (0, USER, 0, TRIGGER))
    waker.start()
    assert kq.ready(None) == [(0, USER)]
    assert kq.ready() == []
    waker.join()
    for _ in range(3):
        kq.change(0, USER, 0, TRIGGER)
    assert kq.ready() == [(0, USER)]
    assert kq.ready() == []


def test_what_another_thread_adds_is_reported_to_a_call_that_waits(kq, pair):
    waiter = threading.Timer(0.02, kq.change, (pair[0].fileno(), WRITE, ADD))
    waiter.start()
    assert kq.ready(None) == [(pair[0].fileno(), WRITE)]
    waiter.join()


def test_timeouts(kq):
    start = time.monotonic()
    assert kq.call(timeout=0.0123) == []
    assert time.monotonic() - start >= 0.0123
    expect_error(errno.EINVAL, kq.call, (), 1, -5)


@pytest.mark.filterwarnings("ignore:This process")
def test_a_child_does_not_inherit_it_nor_loses_what_has_its_number(kq, library, pair):
    closed = Queue(library)
    os.close(closed.fd)
    r, w = os.pipe()
    assert closed.fd in (r, w), "the number has a new owner"
    kq.change(r, READ, ADD)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            # (fstat would not tell: the hub's new backend may have taken the number.)
            expect_error(errno.EBADF, kq.call)
            os.write(w, b"x")
            assert os.read(r, 1) == b"x"
            mine = Queue(library)
            mine.change(pair[0].fileno(), WRITE, ADD)
            assert mine.ready() == [(pair[0].fileno(), WRITE)]
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.write(w, b"x")
    assert kq.ready() == [(r, READ)]
    os.close(r)
    os.close(w)
