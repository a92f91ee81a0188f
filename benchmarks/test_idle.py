"""Connections that are open and silent: what each costs in memory, and all of them together in CPU time."""

import os
import subprocess
import time
from pathlib import Path

from benchmarks.case import ASYNC, BLOCKING, Case, Metric
from benchmarks.network import ADDRESS, allow_files, compiled, python, server, two_cores
from benchmarks.tls_client import server_clock

CONNECTIONS = (10_000, 50_000)
MOST_THREADS = 10_000  # a thread for each connection
SPARE_FILES = 200
SILENCE = 1.0


def remarks(result):
    for library, figures in result.turns.items():
        connections = figures["connections"][0]
        if connections < result.size:
            yield f"{library}: with {connections:,.0f} connections; a process may have no more descriptors here"


def make_case(connections):
    case = Case(
        f"idle_{connections}",
        f"{connections:,} idle TCP connections",
        n=connections,
        rounds=1,
        most_turns=3,
        quick=False,
        by_backend=True,
        size=connections,
        remarks=remarks,
        metrics=(Metric("memory for each", "B"), Metric("CPU time in a second"), Metric("CPU time to accept one")),
    )
    blocking = BLOCKING if connections <= MOST_THREADS else BLOCKING[:-1]

    @case.on(*blocking, *ASYNC)
    def _(lib, n):
        return measure(python("servers.py", "echo", lib.name, "-"), n)

    @case.on("c")
    def _(lib, n):
        return measure([compiled("echo_server")], n)

    return case


idle_10000, idle_50000 = (make_case(connections) for connections in CONNECTIONS)


def resident(pid) -> int:
    """The resident memory of a process in bytes. See proc(5), statm."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(pid) -> float:
    """Seconds of CPU time that it has used."""
    return time.clock_gettime(server_clock(pid))


def measure(command, connections):
    connections = min(connections, allow_files(connections + SPARE_FILES) - SPARE_FILES)
    server_cores, load_cores = two_cores()
    program = compiled("idle_client")
    with server([*command, ADDRESS], server_cores) as (child, port, _errors):

        def load(count):
            return subprocess.Popen(
                [program, ADDRESS, port, str(count)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=lambda: os.sched_setaffinity(0, load_cores),
            )

        with load(100) as first:  # everything that is made only once
            alive(first)
            first.stdin.close()
        memory, began = resident(child.pid), cpu(child.pid)
        with load(connections) as clients:
            alive(clients)
            used, accepted = resident(child.pid) - memory, cpu(child.pid) - began
            began = cpu(child.pid)
            time.sleep(SILENCE)
            silent = cpu(child.pid) - began
            clients.stdin.write(b"\n")
            clients.stdin.flush()
            alive(clients)
            clients.stdin.close()
    return {
        "memory for each": used / connections,
        "CPU time in a second": silent / SILENCE,
        "CPU time to accept one": accepted / connections,
        "connections": connections,
    }


def alive(clients):
    if clients.stdout.readline() != b"alive\n":
        raise RuntimeError(f"the clients ended with {clients.wait()}: {clients.stderr.read().decode().strip()}")


def test_idle_10000(bench, lib):
    bench(idle_10000, lib)


def test_idle_50000(bench, lib):
    bench(idle_50000, lib)
