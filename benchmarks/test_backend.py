"""The backends against each other: one event among idle descriptors, and TCP echo.

Each has rows of its own. One that cannot run here has none, and one that cannot watch so many descriptors is measured
with as many as it can, which a remark tells. All take their turns in the same worker.
"""

import os
import resource
import socket
import sys
import time
from pathlib import Path

from benchmarks.case import Case, Metric
from benchmarks.test_echo import measure

# As in setup.py: every .pyx file there is one.
NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "backends").glob("*.pyx"))
SPARE_FDS = 100


def usable():
    from gevlite import backends

    return [name for name, problem in backends.available().items() if problem is None and name in NAMES]


# ---------------------------------------------------------------- one event

# Idle descriptors, and how many events one measurement has: poll and select take a time in proportion to the former.
EVENTS = {10: 20_000, 1_000: 2_000, 10_000: 400}


def remarks(result):
    for figures in result.turns.values():
        idle = result.case.n
        for name in NAMES:
            watched = figures.get(f"{name}, idle", [0])[0]
            if not watched:
                yield f"{name}: cannot be used here"
            elif watched < idle:
                yield f"{name}: with {watched:,.0f} idle descriptors; it cannot watch more"


def _idle(n):
    return Case(
        f"backend_idle_{n}",
        f"one event among {n:,} idle descriptors",
        n=n,
        rounds=1,
        metrics=tuple(Metric(name) for name in NAMES),
        remarks=remarks,
        quick=n <= 1_000,
    )


IDLE = {n: _idle(n) for n in EVENTS}


def allow_descriptors(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < n:
        resource.setrlimit(resource.RLIMIT_NOFILE, (n if hard == resource.RLIM_INFINITY else min(n, hard), hard))


def one_event(hub, n):
    """CPU seconds for each wait of a gevlite socket while `n` descriptors are idle; and how many of them there are.

    Two greenlets send one byte back and forth, so that each waits before there is something to read.
    """
    from gevlite import socket as twin, spawn
    from gevlite._core import READ, FdWatch

    def answer():
        while a.recv(100):
            a.send(b"x")

    a, b = twin.socketpair()
    sockets, watches = [], []
    try:
        for _ in range(n):
            # Not bound, so nothing ever arrives.
            sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            watch = FdWatch(hub, sockets[-1].fileno(), READ, print)
            try:
                watch.start()
            except ValueError:
                break
            watches.append(watch)
        job = spawn(answer)
        events = EVENTS[n]
        for count in (events // 20, events // 2):   # the first for warming up
            since = time.process_time()
            for _ in range(count):
                b.send(b"x")
                b.recv(100)
            seconds = time.process_time() - since
        b.close()
        job.get()
        return seconds / (events // 2 * 2), len(watches)
    finally:
        for watch in watches:
            watch.stop()
        for one in (a, b, *sockets):
            one.close()


def _among_idle(lib, n):
    from gevlite.hub import Hub

    allow_descriptors(n + SPARE_FDS)
    figures = {}
    for name in usable():
        hub = Hub(backend=name)
        try:
            figures[name], figures[f"{name}, idle"] = one_event(hub, n)
        finally:
            hub.destroy()
    return figures


for _case in IDLE.values():
    _case.on("gevlite")(_among_idle)


# ---------------------------------------------------------------- echo

echo = Case(
    "backend_echo",
    "TCP echo, as in the case echo",
    rounds=1,
    metrics=(
        *(Metric(f"{name}, server CPU for each request") for name in NAMES),
        *(Metric(f"{name}, throughput", "/s") for name in NAMES),
    ),
    most_turns=5,
    quick=False,
)


@echo.on("gevlite")
def _(lib, n):
    figures = {}
    for name in usable():
        os.environ["GEVLITE_BACKEND"] = name
        found = measure([sys.executable, "-P", str(Path(__file__).with_name("echo_servers.py")), lib.name])
        for metric in ("server CPU for each request", "throughput"):
            figures[f"{name}, {metric}"] = found[metric]
    return figures


def test_backend_idle_10(bench, lib):
    bench(IDLE[10], lib)


def test_backend_idle_1000(bench, lib):
    bench(IDLE[1_000], lib)


def test_backend_idle_10000(bench, lib):
    bench(IDLE[10_000], lib)


def test_backend_echo(bench, lib):
    bench(echo, lib)
