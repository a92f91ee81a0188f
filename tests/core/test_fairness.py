"""What never has to wait must not keep the others from running: each operation in a loop, beside one who sleeps."""

import os
from contextlib import ExitStack

import pytest

import gevlite
from gevlite import os as our_os, select, selectors, socket
from gevlite.fileobject import FileObject

LINES = b"line\n" * 1000
WAKES = 5           # so often the sleeper must get its turn
# Far more calls than a slice takes on any machine; whoever is not fair ends here and not at the time limit.
ENOUGH = 5_000_000


@pytest.fixture
def busy():
    """`busy(operation, between=None)`: call it until a greenlet that sleeps beside it has woken five times."""

    def busy(operation):
        woken = []

        def sleeper():
            while len(woken) < WAKES:
                gevlite.sleep(0.001)
                woken.append(1)

        sleeping = gevlite.spawn(sleeper)
        for _ in range(ENOUGH):
            operation()
            if len(woken) == WAKES:
                break
        alone = len(woken) < WAKES
        sleeping.kill()
        assert not alone, "the sleeper did not get its turn"

    return busy


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


def null(opened, mode, buffering=-1):
    """A device that is always ready."""
    return opened.enter_context(FileObject("/dev/zero" if "r" in mode else "/dev/null", mode, buffering))


def lines_of_pipe(opened, mode):
    """`next` of a file over a pipe, which is filled as it is emptied: nobody waits."""
    reader, writer = os.pipe()
    opened.callback(os.close, writer)
    file = opened.enter_context(FileObject(reader, mode))
    left = [0]

    def operation():
        if not left[0]:
            left[0] = os.write(writer, LINES) // 5
        left[0] -= 1
        next(file)

    return operation


def readable(opened):
    ours, theirs = socket.socketpair()
    opened.callback(ours.close)
    opened.callback(theirs.close)
    theirs.send(b"x" * 100)
    return ours


def one_byte(opened, receive):
    """Receive what another socket of the system sends, without our help, at the same rate."""
    ours = readable(opened)
    return lambda: receive(ours)


def made(opened, kind):
    selector = opened.enter_context(kind())
    selector.register(readable(opened), selectors.EVENT_READ)
    return selector.select


def polled(opened):
    poll = select.poll()
    poll.register(readable(opened), select.POLLIN)
    return poll.poll


OPERATIONS = {
    "os.read": lambda opened: partial_read(opened, our_os.read),
    "os.nb_read": lambda opened: partial_read(opened, our_os.nb_read),
    "os.write": lambda opened: partial_write(opened, our_os.write),
    "os.nb_write": lambda opened: partial_write(opened, our_os.nb_write),
    "read of bytes": lambda opened: bound(null(opened, "rb").read, 1),
    "read of an unbuffered file": lambda opened: bound(null(opened, "rb", 0).read, 1),
    "read of text": lambda opened: bound(null(opened, "r").read, 1),
    "write of bytes": lambda opened: bound(null(opened, "wb").write, b"x"),
    "write of an unbuffered file": lambda opened: bound(null(opened, "wb", 0).write, b"x"),
    "write of text": lambda opened: bound(null(opened, "w").write, "x"),
    "lines": lambda opened: lines_of_pipe(opened, "rb"),
    "lines of text": lambda opened: lines_of_pipe(opened, "r"),
    "makefile": lambda opened: bound(readable(opened).makefile("rb").peek, 1),
    "recv": lambda opened: one_byte(opened, lambda sock: sock.recv(1, socket.MSG_PEEK)),
    "recv_into": lambda opened: one_byte(opened, lambda sock: sock.recv_into(bytearray(1), 1, socket.MSG_PEEK)),
    "recvfrom": lambda opened: one_byte(opened, lambda sock: sock.recvfrom(1, socket.MSG_PEEK)),
    "recvmsg": lambda opened: one_byte(opened, lambda sock: sock.recvmsg(1, 0, socket.MSG_PEEK)),
    "select": lambda opened: bound(select.select, [readable(opened)], [], []),
    "select of nothing ready": lambda opened: bound(select.select, [], [readable(opened)], [], 0),
    "poll": polled,
    "a selector": lambda opened: made(opened, selectors.DefaultSelector),
    "sleep(0)": lambda opened: bound(gevlite.sleep, 0),
}


def bound(function, *args):
    return lambda: function(*args)


def partial_read(opened, read):
    fd = os.open("/dev/zero", os.O_RDONLY)
    opened.callback(os.close, fd)
    return bound(read, fd, 10)


def partial_write(opened, write):
    fd = os.open("/dev/null", os.O_WRONLY)
    opened.callback(os.close, fd)
    return bound(write, fd, b"x")


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_always_ready_lets_others_run(name, busy, opened):
    busy(OPERATIONS[name](opened))
