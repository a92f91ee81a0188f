"""Time slices: how long a client waits for its answer while 1, 4 and 16 greenlets compute, and what they lose by it.

The greenlets count in Python and call nothing. Another one answers a client in another process, which asks again after
a pause of random length. Without time slices, which only gevlite has, it answers when the counting has ended.

A wait is measured as the CPU time that this process uses meanwhile. It always computes, so on a machine that does
nothing else this is the time that passes; if other programs use the core for a part of it, that part is not counted.
"""

import json
import os
import socket as original
import subprocess
import time

from benchmarks.case import Case, Metric, Target
from benchmarks.network import python, two_cores

SECONDS = 3.0
SLICE = 0.01
OFF = "gevlite-off"  # without slices


def remarks(result):
    for library, figures in result.turns.items():
        worst = max(figures["worst answer, elapsed"]) * 1000
        yield f"{library}: the longest wait of all turns was {worst:.1f} ms, of {sum(figures['answers']):.0f} answers"
        shares = figures["share of a core"]
        if min(shares) < 0.95:
            yield f"{library}: had a core for {min(shares):.0%} of the time at least, else other processes had it"


def make_case(spinners):
    goals = spinners == 4
    case = Case(
        f"time_slice_{spinners}",
        f"{spinners} that compute, one that answers",
        n=spinners,
        rounds=1,
        most_turns=5,
        quick=False,
        remarks=remarks,
        metrics=(
            Metric("p99 of answers", "s", (Target.at_most(0.015, "15 ms"),) if goals else ()),
            Metric("p50 of answers"),
            Metric("worst answer", "s", (Target.at_most(0.030, "30 ms"),) if goals else ()),
            Metric("worst answer, elapsed"),
            Metric("counted in a second", "/s", (Target("≥ 0.99x without slices", OFF, 0.99),) if goals else ()),
        ),
    )

    @case.on("gevlite", OFF)
    def _(lib, n):
        import gevlite
        from gevlite.socket import socket

        gevlite.config.time_slice = SLICE if lib.name == "gevlite" else None
        return measure(n, gevlite.spawn, gevlite.joinall, socket)

    @case.on("gevent")
    def _(lib, n):
        return measure(n, lib.spawn, lib.joinall, lib.socket.socket)

    @case.on("threads")
    def _(lib, n):
        return measure(n, lib.spawn, lib.joinall, original.socket)

    return case


time_slice_1, time_slice_4, time_slice_16 = map(make_case, (1, 4, 16))


def measure(spinners, spawn, joinall, socket):
    ours, theirs = original.socketpair()
    _, other_core = two_cores()
    with theirs:
        client = subprocess.Popen(
            python("slice_client.py", str(theirs.fileno()), str(SECONDS)),
            stdout=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            preexec_fn=lambda: os.sched_setaffinity(0, other_core),
        )
    sock = socket(fileno=ours.detach())
    counts = [0] * spinners
    times = []

    def answers():
        while data := sock.recv(100):
            sock.sendall(data)

    def spins(i):
        count = 0
        end = times[0] + SECONDS
        now = time.perf_counter
        while now() < end:
            for _ in range(10_000):
                count += 1
        counts[i] = count

    def begin():
        sock.recv(100)  # the client is there
        times.append(time.perf_counter())
        cpu = time.process_time()
        sock.sendall(b"x")
        workers = [spawn(answers), *[spawn(spins, i) for i in range(spinners)]]
        joinall(workers[1:])
        times.append(time.process_time() - cpu)
        times.append(time.perf_counter() - times[0])
        joinall(workers[:1])

    joinall([spawn(begin)])
    sock.close()
    both = json.loads(client.communicate()[0])
    waits, passed = sorted(wait for _, wait in both), sorted(wait for wait, _ in both)
    return {
        "p99 of answers": waits[int(len(waits) * 0.99)],
        "p50 of answers": waits[len(waits) // 2],
        "worst answer": waits[-1],
        "worst answer, elapsed": passed[-1],
        "counted in a second": sum(counts) / times[1],  # of CPU time
        "answers": len(waits),
        "share of a core": times[1] / times[2],
    }


def test_time_slice_1(bench, lib):
    bench(time_slice_1, lib)


def test_time_slice_4(bench, lib):
    bench(time_slice_4, lib)


def test_time_slice_16(bench, lib):
    bench(time_slice_16, lib)
