"""gevlite.select and selectors: the kernel's answers, blocking only the greenlet that asks.

Tests that take `lib` run twice with the same assertions: against the original in threads, then against the twin.
"""

import asyncio
import errno
import os
import resource
import select as std_select
import selectors as std_selectors
import signal
import socket as std_socket
import sys
import tempfile
import time
from decimal import Decimal
from fractions import Fraction

import pytest

import gevlite
from gevlite import select, selectors, socket

POLLIN, POLLOUT, POLLPRI = std_select.POLLIN, std_select.POLLOUT, std_select.POLLPRI
POLLHUP, POLLERR, POLLNVAL = std_select.POLLHUP, std_select.POLLERR, std_select.POLLNVAL


@pytest.fixture
def selects(lib):
    """The select module under test."""
    return lib.module("select")


def pipe(opened):
    """The two ends of a pipe, as unbuffered files: descriptors the hub does not own."""
    r, w = os.pipe()
    return opened.enter_context(open(r, "rb", 0)), opened.enter_context(open(w, "wb", 0))


@pytest.fixture(params=["pipe", "sockets", "used sockets"])
def ends(request, lib, opened):
    """One end to read from and one to write to: foreign, owned but never waited on, owned and known to the hub."""
    if request.param == "pipe":
        return pipe(opened)
    a, b = (opened.enter_context(end) for end in lib.module("socket").socketpair())
    if request.param == "used sockets":
        reader = lib.spawn(a.recv, 1)
        b.send(b"x")
        reader.get()
    return a, b


@pytest.fixture
def ours(opened):
    return tuple(opened.enter_context(end) for end in socket.socketpair())


def write(end, data=b"x"):
    os.write(end.fileno(), data)


def read(end, n=1):
    return os.read(end.fileno(), n)


def waiting_for(n=1):
    """A condition: that many greenlets wait for a descriptor."""
    hub = gevlite.get_hub()
    return lambda: hub.stats()["fd_waiters"] == n


# ---------------------------------------------------------------- select


def test_select_waits_until_readable(lib, selects, ends):
    r, w = ends
    waiter = lib.spawn(selects.select, [r], [], [])
    write(w)
    assert waiter.get() == ([r], [], [])
    # Level-triggered: it stays ready until it is read.
    assert selects.select([r], [], [], 5) == ([r], [], [])
    read(r)
    assert selects.select([r], [], [], 0) == ([], [], [])
    waiter = lib.spawn(selects.select, [r], [], [])
    write(w)
    assert waiter.get() == ([r], [], [])


def test_select_returns_what_it_was_given(selects, ends):
    """The objects themselves, as often and in the order in which they were given."""
    r, w = ends
    write(w)
    fd = r.fileno()
    assert selects.select([fd, r, fd], (w,), {w: 1}) == ([fd, r, fd], [w], [])
    assert selects.select(iter([r]), [], []) == ([r], [], [])


def test_select_for_writing(lib, selects, ends):
    """Blocks while the buffer is full."""
    r, w = ends
    assert selects.select([], [w], []) == ([], [w], [])
    os.set_blocking(w.fileno(), False)
    with pytest.raises(BlockingIOError):
        while True:
            write(w, b"x" * 65536)
    assert selects.select([], [w], [], 0.02) == ([], [], [])
    waiter = lib.spawn(selects.select, [r], [w], [])
    assert waiter.get() == ([r], [], [])
    waiter = lib.spawn(selects.select, [], [w], [])
    while not selects.select([], [w], [], 0)[1]:
        read(r, 65536)
    assert waiter.get() == ([], [w], [])


def test_select_times_out(selects, ends):
    """After its time, not before; with nothing to watch it is a sleep."""
    r, _w = ends
    for lists in ([r], [], []), ([r], [], [r]), ([], [], []):
        began = time.monotonic()
        assert selects.select(*lists, 0.05) == ([], [], [])
        assert 0.05 <= time.monotonic() - began < 2


def test_select_with_no_time_does_not_wait(selects, ends):
    r, w = ends
    assert selects.select([r], [w], [r, w], 0) == ([], [w], [])


def test_select_sees_the_end(lib, selects, ends):
    r, w = ends
    waiter = lib.spawn(selects.select, [r], [], [])
    w.close()
    assert waiter.get() == ([r], [], [])
    assert read(r) == b""


def test_select_sees_a_broken_pipe(lib, selects, opened):
    r, w = pipe(opened)
    os.set_blocking(w.fileno(), False)
    with pytest.raises(BlockingIOError):
        while True:
            write(w, b"x" * 65536)
    waiter = lib.spawn(selects.select, [], [w], [])
    r.close()
    assert waiter.get() == ([], [w], [])


def test_select_one_of_many(lib, selects, opened):
    pipes = [pipe(opened) for _ in range(100)]
    waiter = lib.spawn(selects.select, [r for r, _w in pipes], [], [])
    write(pipes[42][1])
    assert waiter.get() == ([pipes[42][0]], [], [])
    write(pipes[7][1])
    assert selects.select([r for r, _w in pipes], [], []) == ([pipes[7][0], pipes[42][0]], [], [])


def test_select_of_both_kinds(start, ours, opened, settle):
    """Owned and foreign descriptors in one call."""
    a, b = ours
    r, w = pipe(opened)
    for ready, peer in ((r, w), (a, b)):
        waiter = start(select.select, [a, r], [], [])
        assert settle(waiting_for(1))
        write(peer)
        assert waiter.get() == ([ready], [], [])
        read(ready)


def test_urgent_data(lib, selects, opened):
    """The third list: woken by urgent data, also among ordinary data and with nothing else watched."""
    sockets = lib.module("socket")
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        a = opened.enter_context(sockets.create_connection(listener.getsockname()))
        b = opened.enter_context(listener.accept()[0])
    a.send(b"ordinary")
    assert selects.select([b], [], [b]) == ([b], [], [])
    assert selects.select([], [], [b], 0.05) == ([], [], [])
    waiter = lib.spawn(selects.select, [], [], [b])
    a.send(b"!", std_socket.MSG_OOB)
    assert waiter.get() == ([], [], [b])
    assert b.recv(1, std_socket.MSG_OOB) == b"!"
    poll = selects.poll()
    poll.register(b, POLLPRI)
    waiter = lib.spawn(poll.poll)
    a.send(b"?", std_socket.MSG_OOB)
    assert waiter.get() == [(b.fileno(), POLLPRI)]


def test_waiting_for_urgent_data_alone_does_not_spin(ours):
    """Unread ordinary data must not wake such a wait again and again."""
    a, b = ours
    a.send(b"ordinary")
    before = gevlite.get_hub().stats()["polls"]
    assert select.select([], [], [b], 0.1) == ([], [], [])
    assert gevlite.get_hub().stats()["polls"] - before < 10


def test_regular_files_are_always_ready(selects, opened):
    file = opened.enter_context(tempfile.TemporaryFile())
    assert selects.select([file], [file], [file]) == ([file], [file], [])
    poll = selects.poll()
    poll.register(file)
    assert poll.poll() == [(file.fileno(), POLLIN | POLLOUT)]


class Odd:
    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (([-1], [], []), ValueError),
        (([], [-1], []), ValueError),
        (([Odd(-5)], [], []), ValueError),
        ((["0"], [], []), TypeError),
        (([object()], [], []), TypeError),
        (([Odd("0")], [], []), TypeError),
        (([Odd(None)], [], []), TypeError),
        ((5, [], []), TypeError),
        (([], [], None), TypeError),
        (([], [], [], -1), ValueError),
        (([], [], [], -0.001), ValueError),
        (([], [], [], "1"), TypeError),
        (([], [], [], float("nan")), ValueError),
        (([], []), TypeError),
        (([1 << 70], [], []), OverflowError),
    ],
)
def test_select_refuses(selects, args, error):
    """Reported at once, in the class that the original uses; nothing is registered (see conftest)."""
    with pytest.raises(error):
        selects.select(*args)


def test_select_of_a_closed_descriptor(selects, ends):
    r, w = ends
    fd = r.fileno()
    r.close()
    with pytest.raises(OSError) as caught:
        selects.select([fd], [w], [])
    assert caught.value.errno == errno.EBADF
    assert caught.type is selects.error is OSError
    with pytest.raises(ValueError):
        selects.select([r], [], [])


def test_closed_while_selecting(start, ours, opened, settle):
    """A socket that another greenlet closes: EBADF, not a wait for ever; the other descriptors are let go."""
    a, b = ours
    r, _w = pipe(opened)
    waiter = start(select.select, [a, r, b], [], [])
    assert settle(waiting_for(1))
    b.close()
    with pytest.raises(OSError) as caught:
        waiter.get()
    assert caught.value.errno == errno.EBADF


def test_detached_while_selecting(start, ours, settle):
    """The descriptor lives on, and so does the wait."""
    a, b = ours
    waiter = start(select.select, [a.fileno()], [], [])
    assert settle(waiting_for(1))
    fd = a.detach()
    b.send(b"x")
    assert waiter.get() == ([fd], [], [])
    os.close(fd)


def test_many_greenlets_select_the_same(start, ours, settle):
    """All are woken: select takes nothing away."""
    a, b = ours
    waiters = [start(select.select, [a], [], []) for _ in range(10)]
    assert settle(waiting_for(10))
    b.send(b"x")
    assert [waiter.get() for waiter in waiters] == [([a], [], [])] * 10


def test_select_beside_recv(start, ours, settle):
    """In either order, the reader gets the data and the selector is woken if something is left."""
    a, b = ours
    for first, second in ("select", "recv"), ("recv", "select"):
        actions = {"select": lambda: select.select([a], [], []), "recv": lambda: a.recv(1)}
        one, two = start(actions[first]), start(actions[second])
        assert settle(waiting_for(2))
        b.send(b"12")
        outcomes = [one.get(), two.get()]
        assert ([a], [], []) in outcomes
        assert b"1" in outcomes
        assert a.recv(10) == b"2"


def test_select_then_recv_in_a_loop(start, ours):
    """The usual loop of a server: every message is seen once."""
    a, b = ours
    seen = []

    def serve():
        while len(seen) < 100:
            select.select([a], [], [])
            seen.append(a.recv(1))

    server = start(serve)
    for i in range(100):
        b.send(bytes([i]))
        gevlite.sleep(0)
    server.get()
    assert b"".join(seen) == bytes(range(100))


@pytest.mark.parametrize("how", ["kill", "Timeout", "error"])
def test_a_select_that_is_ended_leaves_nothing(start, ours, opened, settle, how):
    """Nothing stays registered for any of the descriptors (see conftest), and they can be waited for again."""
    a, b = ours
    r, w = pipe(opened)
    if how == "kill":
        doomed = start(select.select, [a, r], [], [a])
        assert settle(waiting_for(1))
        doomed.greenlet.kill()
    elif how == "Timeout":
        with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
            select.select([a, r], [], [a, r])
    else:
        closed = os.dup(0)
        os.close(closed)
        hub = gevlite.get_hub()
        with pytest.raises(OSError):
            hub.wait_fds([(a.fileno(), 1), (r.fileno(), 1), (closed, 1)])
        with pytest.raises(TypeError):
            hub.wait_fds([(a.fileno(), 1), (r.fileno(), "1")])
        with pytest.raises(RuntimeError):
            hub.wait_fds(_break_after((a.fileno(), 1), (r.fileno(), 1)))
    assert gevlite.get_hub().stats()["fd_waiters"] == 0
    assert gevlite.get_hub().stats()["fds"] == 0
    for ready, peer in ((r, w), (a, b)):
        waiter = start(select.select, [ready], [], [])
        assert settle(waiting_for(1))
        write(peer)
        assert waiter.get() == ([ready], [], [])


def _break_after(*pairs):
    yield from pairs
    raise RuntimeError("in the middle of it")


def test_others_run_while_one_selects(start, ours, settle):
    a, b = ours
    waiter = start(select.select, [a], [], [])
    for _ in range(5):
        gevlite.sleep(0.001)
    assert not waiter.greenlet.ready()
    b.send(b"x")
    waiter.get()


def test_asking_again_and_again_does_not_starve_others(start, ours):
    """A loop over select(..., 0) gives way while nothing is ready."""
    a, b = ours
    start(lambda: b.send(b"x"))
    for _ in range(1000):
        if select.select([a], [], [], 0)[0]:
            break
    else:
        pytest.fail("the greenlet that sends never ran")


def test_select_beyond_fd_setsize(start, opened, settle):
    """Descriptors of any number; the select backend has its own limit and says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("the limit of open files is too low")
    if soft < 3000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    r, w = pipe(opened)
    high = 2000
    os.dup2(r.fileno(), high)
    opened.callback(os.close, high)
    assert select.select([high], [], [], 0) == ([], [], [])
    waiter = start(select.select, [high], [], [])
    if gevlite.get_hub().backend.name == "select":
        with pytest.raises(ValueError, match="GEVLITE_BACKEND"):
            waiter.get()
    else:
        assert settle(waiting_for(1))
        write(w)
        assert waiter.get() == ([high], [], [])


def test_a_signal_does_not_end_a_select(ours):
    """The handler runs, the wait goes on (PEP 475)."""
    a, b = ours
    ran = []

    def handler(*_args):
        ran.append(True)
        b.send(b"x")

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert select.select([a], [], [], 5) == ([a], [], [])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert ran == [True]


# ---------------------------------------------------------------- poll


def test_poll(lib, selects, ends):
    r, w = ends
    poll = selects.poll()
    poll.register(r, POLLIN)
    waiter = lib.spawn(poll.poll)
    write(w)
    assert waiter.get() == [(r.fileno(), POLLIN)]
    assert poll.poll(1000) == [(r.fileno(), POLLIN)]
    read(r)
    assert poll.poll(0) == []
    poll.register(w.fileno(), POLLOUT)
    assert poll.poll() == [(w.fileno(), POLLOUT)]
    poll.modify(w, 0)
    assert poll.poll(10) == []
    poll.unregister(w)
    waiter = lib.spawn(poll.poll, -1)
    write(w)
    assert waiter.get() == [(r.fileno(), POLLIN)]


def test_poll_times_out_in_milliseconds(selects, ends):
    poll = selects.poll()
    poll.register(ends[0], POLLIN)
    for timeout in (50, 49.5):
        began = time.monotonic()
        assert poll.poll(timeout) == []
        assert 0.049 <= time.monotonic() - began < 2
    assert selects.poll().poll(10) == []


def test_poll_of_nothing_but_a_hang_up(lib, selects, opened):
    """Errors and hang-ups are reported whether asked for or not, and ordinary data does not wake such a wait."""
    r, w = pipe(opened)
    write(w)
    poll = selects.poll()
    poll.register(r, 0)
    assert poll.poll(30) == []
    waiter = lib.spawn(poll.poll)
    w.close()
    assert waiter.get() == [(r.fileno(), POLLHUP)]


def test_poll_of_half_a_hang_up(lib, selects, opened):
    a, b = (opened.enter_context(end) for end in lib.module("socket").socketpair())
    poll = selects.poll()
    poll.register(a, std_select.POLLRDHUP)
    b.send(b"x")
    assert poll.poll(30) == []
    waiter = lib.spawn(poll.poll)
    b.shutdown(std_socket.SHUT_WR)
    assert waiter.get() == [(a.fileno(), std_select.POLLRDHUP)]


def test_poll_of_a_closed_descriptor(lib, selects, ends):
    """Not an exception but POLLNVAL."""
    r, w = ends
    fd = r.fileno()
    poll = selects.poll()
    poll.register(fd)
    poll.register(w, POLLIN)
    r.close()
    assert (fd, POLLNVAL) in poll.poll()
    poll.unregister(fd)


def test_closed_while_polling(start, ours, settle):
    a, _b = ours
    fd = a.fileno()
    poll = select.poll()
    poll.register(a, POLLIN)
    waiter = start(poll.poll)
    assert settle(waiting_for(1))
    a.close()
    assert waiter.get() == [(fd, POLLNVAL)]


def test_poll_defaults(selects, ends):
    _r, w = ends
    poll = selects.poll()
    assert poll.register(w) is None
    ((fd, events),) = poll.poll()
    assert fd == w.fileno()
    assert events & POLLOUT
    assert poll.modify(w, POLLIN) is None
    assert poll.register(w, POLLOUT) is None
    assert poll.poll()[0][1] == POLLOUT
    assert poll.unregister(w) is None


def test_poll_refuses(selects, ends):
    r, _w = ends
    poll = selects.poll()
    for call, error in (
        (lambda: poll.register(-1), ValueError),
        (lambda: poll.register("0"), TypeError),
        (lambda: poll.register(r, -1), ValueError),
        (lambda: poll.register(r, 1 << 20), OverflowError),
        (lambda: poll.register(r, "1"), TypeError),
        (lambda: poll.modify(r, POLLIN), FileNotFoundError),
        (lambda: poll.unregister(r), KeyError),
        (lambda: poll.unregister(-1), ValueError),
        (lambda: poll.poll("1"), TypeError),
        (lambda: poll.poll(float("nan")), ValueError),
        (lambda: selects.poll(1), TypeError),
    ):
        with pytest.raises(error):
            call()
    assert poll.poll(1) == []


def test_two_polls_at_once_of_one_object_raise(start, ours, settle):
    """As in the original; the first one continues to wait, and the object can be used again afterwards."""
    a, b = ours
    poll = select.poll()
    poll.register(a, POLLIN)
    waiter = start(poll.poll)
    assert settle(waiting_for(1))
    with pytest.raises(RuntimeError, match="concurrent poll"):
        poll.poll()
    b.send(b"x")
    assert waiter.get() == [(a.fileno(), POLLIN)]
    assert poll.poll() == [(a.fileno(), POLLIN)]


# What the longest time is depends on the Python: a C int of milliseconds, then what 64 bits of nanoseconds hold.
TOO_LONG = [2**31, -(2**31) - 1, 1 << 64] if sys.version_info < (3, 15) else [2**63, -(2**63) - 1, 1 << 70]
LONG = 2**31 - 1 if sys.version_info < (3, 15) else 2**33


@pytest.mark.parametrize("milliseconds", TOO_LONG)
def test_poll_refuses_a_time_that_is_too_long(selects, milliseconds):
    with pytest.raises(OverflowError):
        selects.poll().poll(milliseconds)


def test_poll_takes_a_long_time(selects, ends):
    r, w = ends
    write(w)
    poll = selects.poll()
    poll.register(r, POLLIN)
    assert poll.poll(LONG) == [(r.fileno(), POLLIN)]


class FloatLike:
    def __float__(self):
        return 0.005


class IntLike:
    def __index__(self):
        return 0


REAL_NUMBERS = [Decimal("0.005"), Fraction(1, 200), FloatLike(), IntLike()]


@pytest.mark.parametrize("timeout", REAL_NUMBERS, ids=lambda t: type(t).__name__)
def test_a_time_may_be_any_real_number(ends, opened, timeout):
    """The originals take all of them from Python 3.15 on."""
    r, w = ends
    poll = select.poll()
    poll.register(r, POLLIN)
    calls = [lambda: poll.poll(timeout), lambda: select.select([r], [], [], timeout)[0]]
    if hasattr(select, "epoll"):
        epoll = opened.enter_context(select.epoll())
        epoll.register(r, POLLIN)
        calls.append(lambda: epoll.poll(timeout))
    assert [call() for call in calls] == [[]] * len(calls)
    write(w)
    assert all(call() for call in calls)


# ---------------------------------------------------------------- the module


def test_constants_are_the_original_ones():
    for name in dir(std_select):
        if name.isupper() or name == "error":
            assert getattr(select, name) is getattr(std_select, name), name
    assert {"select", "poll", "error", "POLLIN"} <= set(select.__all__)
    assert set(select.__implements__) == {"epoll", "poll", "select"} & set(dir(std_select))


# ---------------------------------------------------------------- epoll

needs_epoll = pytest.mark.skipif(not hasattr(std_select, "epoll"), reason="no epoll on this platform")


@needs_epoll
def test_epoll(lib, selects, ends):
    r, w = ends
    with selects.epoll() as epoll:
        epoll.register(r, select.EPOLLIN)
        waiter = lib.spawn(epoll.poll)
        write(w)
        assert waiter.get() == [(r.fileno(), select.EPOLLIN)]
        read(r)
        began = time.monotonic()
        assert epoll.poll(0.05) == []
        assert 0.05 <= time.monotonic() - began < 2
        assert epoll.poll(0) == []
        epoll.register(w, select.EPOLLOUT)
        assert epoll.poll(-1, 1) == [(w.fileno(), select.EPOLLOUT)]
        epoll.modify(w, 0)
        assert epoll.poll(0.01) == []
        epoll.unregister(w)
        waiter = lib.spawn(epoll.poll, 5)
        write(w)
        assert waiter.get() == [(r.fileno(), select.EPOLLIN)]
    assert epoll.closed


@needs_epoll
def test_epoll_edges_are_reported_once(lib, selects, ends):
    """The object's own edges and one-shots are not used up by the waiting."""
    r, w = ends
    with selects.epoll() as epoll:
        epoll.register(r, select.EPOLLIN | select.EPOLLET)
        waiter = lib.spawn(epoll.poll)
        write(w)
        assert waiter.get() == [(r.fileno(), select.EPOLLIN)]
        assert epoll.poll(0.02) == []
        waiter = lib.spawn(epoll.poll)
        write(w)
        assert waiter.get() == [(r.fileno(), select.EPOLLIN)]


@needs_epoll
def test_no_edge_is_lost_when_a_call_gives_way(ours, monkeypatch):
    """It returns when its time is up, whatever is ready."""
    a, b = ours
    monkeypatch.setattr(select, "_let_others_run", gevlite.sleep)
    with select.epoll() as epoll:
        epoll.register(a, select.EPOLLIN | select.EPOLLET)
        for i in range(4):
            b.send(b"x")
            assert epoll.poll(0 if i % 2 else 5) == [(a.fileno(), select.EPOLLIN)]


@needs_epoll
def test_epoll_refuses(selects, ends, opened):
    r, _w = ends
    epoll = selects.epoll()
    epoll.register(r)
    for call, error in (
        (lambda: epoll.register(r), FileExistsError),
        (lambda: epoll.register(-1), ValueError),
        (lambda: epoll.register("0"), TypeError),
        (lambda: epoll.register(opened.enter_context(tempfile.TemporaryFile())), PermissionError),
        (lambda: epoll.modify(0, 1) or epoll.unregister(99), OSError),
        (lambda: epoll.poll("1"), TypeError),
        (lambda: epoll.poll(0, 0), ValueError),
        (lambda: epoll.poll(1, -2), ValueError),
        (lambda: selects.epoll(0), ValueError),
    ):
        with pytest.raises(error):
            call()
    epoll.close()
    epoll.close()
    for call in (epoll.poll, epoll.fileno, lambda: epoll.register(r), epoll.__enter__):
        with pytest.raises(ValueError):
            call()


@needs_epoll
def test_epoll_from_a_descriptor(selects, ends):
    r, w = ends
    with selects.epoll() as epoll, selects.epoll.fromfd(os.dup(epoll.fileno())) as twin:
        epoll.register(r, select.EPOLLIN)
        write(w)
        assert twin.poll(5) == [(r.fileno(), select.EPOLLIN)]


@needs_epoll
def test_epoll_closed_while_waiting(start, ours, settle):
    epoll = select.epoll()
    epoll.register(ours[0], select.EPOLLIN)
    waiter = start(epoll.poll)
    assert settle(waiting_for(1))
    epoll.close()
    with pytest.raises(ValueError):
        waiter.get()


# ---------------------------------------------------------------- selectors

SELECTORS = ["SelectSelector", "PollSelector", "DefaultSelector"] + ["EpollSelector"] * hasattr(std_select, "epoll")


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors(lib, ends, name):
    r, w = ends
    module = lib.module("selectors")
    with getattr(module, name)() as selector:
        assert isinstance(selector, module.BaseSelector)
        key = selector.register(r, module.EVENT_READ, "data")
        assert selector.select(0) == []
        assert selector.select(0.02) == []
        waiter = lib.spawn(selector.select)
        write(w)
        assert waiter.get() == [(key, module.EVENT_READ)]
        other = selector.register(w, module.EVENT_WRITE)
        assert sorted(selector.select(5), key=lambda item: item[1]) == [
            (key, module.EVENT_READ),
            (other, module.EVENT_WRITE),
        ]
        selector.unregister(r)
        assert selector.modify(w, module.EVENT_READ).events == module.EVENT_READ
        assert selector.select(0.01) == []


def test_the_best_selector_is_the_default():
    expected = std_selectors.DefaultSelector.__name__
    assert selectors.DefaultSelector.__name__ == expected
    assert issubclass(selectors.DefaultSelector, getattr(std_selectors, expected))
    assert selectors.GeventSelector is selectors.DefaultSelector


def test_asyncio_runs_in_a_greenlet(start, ours, settle):
    """An event loop over our selector blocks only its greenlet."""
    a, b = ours
    a.setblocking(False)

    async def main(loop):
        await loop.sock_sendall(a, b"ready")
        return await loop.sock_recv(a, 10)

    def run():
        loop = asyncio.SelectorEventLoop(selectors.DefaultSelector())
        try:
            return loop.run_until_complete(main(loop))
        finally:
            loop.close()

    runner = start(run)
    assert b.recv(10) == b"ready"
    for _ in range(5):
        gevlite.sleep(0.001)
    b.send(b"answer")
    assert runner.get() == b"answer"
