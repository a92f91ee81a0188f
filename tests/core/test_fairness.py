"""An operation that always succeeds at once must not keep others from running: each in a loop, beside a sleeper."""

import os
import socket as std_socket
import tempfile
import time
from itertools import count

import pytest
from greenlet import greenlet as RawGreenlet

import gevlite
from gevlite import _threadlock, os as our_os, select, selectors, socket, ssl
from gevlite.event import AsyncResult, Event
from gevlite.fileobject import FileObject
from gevlite.lock import BoundedSemaphore, RLock, Semaphore
from gevlite.pool import Group, Pool
from gevlite.queue import Channel, Empty, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue
from gevlite.threadpool import ThreadPool

LINES = b"line\n" * 1000
WAKES = 5  # how often the sleeper must get its turn
# Far more calls than fit into a slice on any machine; an unfair operation ends here, not at the time limit.
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


def null(opened, mode, buffering=-1):
    """A device that is always ready."""
    return opened.enter_context(FileObject("/dev/zero" if "r" in mode else "/dev/null", mode, buffering))


def lines_of_pipe(opened, mode):
    """`next` of a file over a pipe, which is filled as it is emptied: it never waits."""
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
    """Receive what the kernel sends from another socket, without our help, at the same rate."""
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


def drained(opened, send):
    """`send(sock)` into a socket that is emptied, without our help, at the same rate."""
    ours, theirs = socket.socketpair()
    opened.callback(ours.close)
    opened.callback(theirs.close)

    def operation():
        send(ours)
        os.read(theirs.fileno(), 100)

    return operation


def accepting(opened):
    listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))

    def operation():
        with std_socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()

    return operation


def sendfile(opened):
    file = opened.enter_context(tempfile.TemporaryFile())
    file.write(b"x" * 10)
    file.flush()
    return drained(opened, lambda sock: sock.sendfile(file))


def tls_ends(opened, certificates):
    a, b = socket.socketpair()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificates.server)
    server = gevlite.spawn(server_context.wrap_socket, b, server_side=True)
    client_context = ssl.create_default_context(cafile=certificates.ca)
    client = opened.enter_context(client_context.wrap_socket(a, server_hostname="localhost"))
    client.read(0)
    return client, opened.enter_context(server.get())


def tls_read(opened, certificates):
    client, server = tls_ends(opened, certificates)
    left = [0]

    def operation():
        if not left[0]:
            left[0] = client._sslobj.write(LINES)  # past the socket, which would give way itself
        left[0] -= len(server.read(1))

    return operation


def tls_write(opened, certificates):
    client, server = tls_ends(opened, certificates)

    def operation():
        client.write(b"x")
        server._sslobj.read(1)

    return operation


def ended(value=None):
    greenlet = gevlite.spawn(lambda: value)
    greenlet.join()
    return greenlet


def flag():
    event = Event()
    event.set()
    return event


def answer():
    result = AsyncResult()
    result.set(1)
    return result


def in_turn(*operations):
    def all_of_them():
        for operation in operations:
            operation()

    return all_of_them


def through(queue):
    return in_turn(lambda: queue.put(1), queue.get)


def take_and_give(lock):
    return in_turn(lock.acquire, lock.release)


def getting(queue):
    """Only `get` may let others run."""
    return in_turn(lambda: queue.put_nowait(1), queue.get)


def putting(queue):
    return in_turn(lambda: queue.put(1), queue.get_nowait)


def peeking():
    queue = Queue(items=[1])
    return queue.peek


def channel(opened):
    channel = Channel()
    getter = gevlite.spawn(lambda: [channel.get() for _ in count()])
    opened.callback(getter.kill)
    return lambda: channel.put(1)


def member(pool):
    def operation():
        greenlet = RawGreenlet()
        pool.add(greenlet)
        pool.discard(greenlet)

    return operation


def denied(opened):
    lock = _threadlock.Lock()
    lock.acquire()
    return lambda: lock.acquire(False)


def pool_join():
    pool = ThreadPool(1)
    return pool.join


# Objects that are free, set, ended or available: none of these operations ever waits.
SUCCEED_AT_ONCE = {
    "Event.wait": lambda: flag().wait,
    "AsyncResult.get": lambda: answer().get,
    "AsyncResult.wait": lambda: answer().wait,
    "AsyncResult.result": lambda: answer().result,
    "Greenlet.join": lambda: ended().join,
    "Greenlet.get": lambda: ended().get,
    "joinall": lambda: bound(gevlite.joinall, [ended(), ended()]),
    "wait": lambda: bound(gevlite.wait, [ended(), flag(), answer()]),
    "iwait": lambda: bound(list, gevlite.iwait([flag() for _ in range(200)])),
    "Semaphore": lambda: take_and_give(Semaphore()),
    "Semaphore.wait": lambda: Semaphore().wait,
    "BoundedSemaphore": lambda: take_and_give(BoundedSemaphore()),
    "RLock": lambda: take_and_give(RLock()),
    "a patched lock": lambda: take_and_give(_threadlock.Lock()),
    "a patched RLock": lambda: take_and_give(_threadlock.RLock()),
    "SimpleQueue.get": lambda: getting(SimpleQueue()),
    "SimpleQueue.put": lambda: putting(SimpleQueue(1)),
    "Queue.get": lambda: getting(Queue()),
    "Queue.put": lambda: putting(Queue(1)),
    "Queue.peek": peeking,
    "JoinableQueue.join": lambda: JoinableQueue().join,
    "LifoQueue.get": lambda: getting(LifoQueue()),
    "PriorityQueue.get": lambda: getting(PriorityQueue()),
    "next of a queue": lambda: bound(next, iter(Queue(items=[1] * 10_000))),
    "Group.join": lambda: Group().join,
    "Pool.add": lambda: member(Pool(1)),
    "Pool.wait_available": lambda: Pool(1).wait_available,
    "ThreadPool.join": pool_join,
    "getaddrinfo of digits": lambda: bound(socket.getaddrinfo, "127.0.0.1", 80),
}


def never_ready(opened, timeout):
    ours, theirs = socket.socketpair()
    opened.callback(ours.close)
    opened.callback(theirs.close)
    theirs.send(b"x")
    ours.settimeout(timeout)
    return ours


def re_acquire(lock):
    lock.acquire()
    return take_and_give(lock)


def start_and_kill():
    gevlite.spawn(lambda: None).kill(block=False)


def refused(get):
    def operation():
        with pytest.raises(Empty):
            get()

    return operation


# Operations that can never block.
NEVER = {
    "put_nowait and get_nowait": lambda opened: pair_of(Queue(1)),
    "put and get that do not block": lambda opened: pair_of(Queue(1), block=False),
    "get_nowait of nothing": lambda opened: refused(Queue().get_nowait),
    "put and get with no time": lambda opened: in_turn_with(Queue(1), 0),
    "put into a queue without a limit": lambda opened: bound(Queue().put, 1),
    "peek_nowait": lambda opened: Queue(items=[1]).peek_nowait,
    "get_nowait of a Channel": lambda opened: refused(Channel().get_nowait),
    "Event": lambda opened: in_turn((event := Event()).set, event.is_set, bound(event.wait, 0), event.clear),
    "AsyncResult": lambda opened: in_turn((result := AsyncResult()).set, result.get_nowait, bound(result.get, False)),
    "get of an ended greenlet that does not block": lambda opened: bound(ended().get, False),
    "joinall with no time": lambda opened: bound(gevlite.joinall, [ended()], 0),
    "Semaphore": lambda opened: in_turn(bound((lock := Semaphore()).acquire, False), lock.release),
    "Semaphore, taken": lambda opened: bound(Semaphore(0).acquire, False),
    "Semaphore with no time": lambda opened: in_turn(bound((lock := Semaphore()).acquire, True, 0), lock.release),
    "RLock": lambda opened: in_turn(bound((lock := RLock()).acquire, False), lock.release),
    "RLock, our own": lambda opened: re_acquire(RLock()),
    "a patched lock": lambda opened: in_turn(bound((lock := _threadlock.Lock()).acquire, False), lock.release),
    "a patched RLock, our own": lambda opened: re_acquire(_threadlock.RLock()),
    "spawn and kill": lambda opened: start_and_kill,
    "link": lambda opened: bound(ended().link, lambda ended: None),
    "a socket in non-blocking mode": lambda opened: bound(never_ready(opened, 0).recv, 1, socket.MSG_PEEK),
    "MSG_DONTWAIT": lambda opened: bound(never_ready(opened, None).recv, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT),
}


def pair_of(queue, **options):
    if options:
        return in_turn(lambda: queue.put(1, **options), lambda: queue.get(**options))
    return in_turn(lambda: queue.put_nowait(1), queue.get_nowait)


def in_turn_with(queue, timeout):
    return in_turn(lambda: queue.put(1, timeout=timeout), lambda: queue.get(timeout=timeout))


OPERATIONS = {
    "send": lambda opened: drained(opened, lambda sock: sock.send(b"x")),
    "sendall": lambda opened: drained(opened, lambda sock: sock.sendall(b"x")),
    "sendmsg": lambda opened: drained(opened, lambda sock: sock.sendmsg([b"x"])),
    "sendfile": sendfile,
    "accept": accepting,
    "a failing acquire of a patched lock, again and again": denied,
    "Channel.put": channel,
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


@pytest.mark.parametrize("operation", [tls_read, tls_write])
def test_tls_that_is_always_ready_lets_others_run(operation, busy, opened, certificates):
    busy(operation(opened, certificates))


def while_another_is_ready(operation, calls):
    """How often another greenlet ran during so many calls that were made after the end of our slice."""
    ran = []
    other = gevlite.spawn(lambda: [gevlite.sleep(0) or ran.append(1) for _ in count()])
    gevlite.sleep(0)
    before = len(ran)
    slice_is_over = time.monotonic() + 0.05
    while time.monotonic() < slice_is_over:
        pass
    for _ in range(calls):
        operation()
    after = len(ran)
    other.kill()
    return after - before


@pytest.mark.parametrize("name", SUCCEED_AT_ONCE)
def test_what_succeeds_at_once_lets_others_run(name):
    assert while_another_is_ready(SUCCEED_AT_ONCE[name](), 200)


@pytest.mark.uninterrupted
@pytest.mark.parametrize("name", NEVER)
def test_what_can_never_block_lets_nobody_run(name, opened):
    assert not while_another_is_ready(NEVER[name](opened), 200)


def test_a_kill_that_comes_while_others_run_takes_nothing():
    """The clock is checked before the operation."""
    queue = Queue(items=range(1000))
    taken = []

    def take():
        while True:
            with gevlite.uninterrupted():
                taken.append(queue.get())
            until = time.monotonic() + 0.0002
            while time.monotonic() < until:
                pass

    taker = gevlite.spawn(take)
    while not taken:
        gevlite.sleep(0)
    taker.kill()
    assert taken == list(range(len(taken))) and len(taken) < 1000
    assert queue.get() == len(taken)
