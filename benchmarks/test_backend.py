"""The backends compared: the cost of one event among idle descriptors. poll and select look at all of them.

The other cases where the backend matters (echo, connections that come and go, idle connections) have all backends too.
"""

import resource
import socket
import time

from benchmarks.case import ASYNC, GREEN, Case, Metric

SPARE_FDS = 100
READ = 1  # as the loops of both libraries count

# Idle descriptors, and how many events one measurement has.
EVENTS = {10: 20_000, 1_000: 2_000, 10_000: 400}


def remarks(result):
    for library, figures in result.turns.items():
        watched = figures["idle"][0]
        if watched < result.size:
            yield f"{library}: with {watched:,.0f} idle descriptors; it cannot watch more"


def make_case(n):
    return Case(
        f"backend_idle_{n}",
        f"one event among {n:,} idle descriptors",
        n=n,
        rounds=1,
        metrics=(Metric("each"),),
        by_backend=True,
        series="one event among idle descriptors; idle descriptors",
        size=n,
        remarks=remarks,
        quick=n <= 1_000,
    )


IDLE = {n: make_case(n) for n in EVENTS}


class IdleSockets:
    """As many as the backend can watch. They are not bound, so nothing ever arrives."""

    def __init__(self, n, watch):
        """watch(sock) makes the loop watch one more; it raises ValueError if that is one too many."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < n + SPARE_FDS:
            resource.setrlimit(resource.RLIMIT_NOFILE, (n + SPARE_FDS, max(hard, n + SPARE_FDS)))
        self.sockets = []
        self.watches = []
        for _ in range(n):
            self.sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            try:
                self.watches.append(watch(self.sockets[-1]))
            except ValueError:
                break

    def close(self):
        for sock in self.sockets:
            sock.close()


def measured(events, seconds, watched):
    """Seconds for each event; a round trip has two."""
    return {"each": seconds / (events // 2 * 2), "idle": len(watched)}


def _among_idle(lib, n):
    """Two greenlets send one byte back and forth, so that each waits before there is something to read."""

    def answer():
        while a.recv(100):
            a.send(b"x")

    def watch(sock):
        watcher = io(sock.fileno(), READ)
        watcher.start(print)
        return watcher

    io = lib.get_hub().loop.io
    a, b = lib.socket.socketpair()
    idle = IdleSockets(n, watch)
    try:
        job = lib.spawn(answer)
        for count in (EVENTS[n] // 20, EVENTS[n] // 2):  # the first for warming up
            since = time.process_time()
            for _ in range(count):
                b.send(b"x")
                b.recv(100)
            seconds = time.process_time() - since
        b.close()
        lib.joinall([job])
        return measured(EVENTS[n], seconds, idle.watches)
    finally:
        for watcher in idle.watches:
            watcher.close()
        idle.close()
        a.close()


async def _among_idle_async(lib, n):
    import asyncio

    loop = asyncio.get_running_loop()

    async def answer():
        while data := await loop.sock_recv(a, 100):
            await loop.sock_sendall(a, data)

    def watch(sock):
        loop.add_reader(sock, print)
        return sock

    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    idle = IdleSockets(n, watch)
    try:
        job = asyncio.create_task(answer())
        for count in (EVENTS[n] // 20, EVENTS[n] // 2):
            since = time.process_time()
            for _ in range(count):
                await loop.sock_sendall(b, b"x")
                await loop.sock_recv(b, 100)
            seconds = time.process_time() - since
        b.close()
        await job
        return measured(EVENTS[n], seconds, idle.watches)
    finally:
        for sock in idle.watches:
            loop.remove_reader(sock)
        idle.close()
        a.close()


for _case in IDLE.values():
    _case.on(*GREEN)(_among_idle)
    _case.on(*ASYNC)(_among_idle_async)


def test_backend_idle_10(bench, lib):
    bench(IDLE[10], lib)


def test_backend_idle_1000(bench, lib):
    bench(IDLE[1_000], lib)


def test_backend_idle_10000(bench, lib):
    bench(IDLE[10_000], lib)
