"""Connections that are open and silent: what each costs in memory, and all of them together in CPU time."""

import os
import subprocess
import time
from pathlib import Path

from benchmarks.case import ASYNC, GREEN, Case, Metric
from benchmarks.network import ADDRESS, allow_files, compiled, most_files, python, server, two_cores

# Fifty thousand, or as many as one process may have.
CONNECTIONS = min(50_000, most_files() - 200)
SILENCE = 1.0

idle = Case(
    "idle",
    f"{CONNECTIONS:,} idle TCP connections",
    rounds=1,
    most_turns=3,
    quick=False,
    metrics=(Metric("memory for each", "B"), Metric("CPU time in a second"), Metric("CPU time to accept one")),
)


def resident(pid) -> int:
    """Bytes of a process that are in memory. See proc(5), statm."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(pid) -> float:
    """Seconds that its main thread has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def measure(command):
    allow_files(CONNECTIONS + 200)
    server_cores, load_cores = two_cores()
    program = compiled("idle_client")
    with server([*command, ADDRESS], server_cores) as (child, port, _errors):

        def load(connections):
            return subprocess.Popen(
                [program, ADDRESS, port, str(connections)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                preexec_fn=lambda: os.sched_setaffinity(0, load_cores),
            )

        with load(100) as first:  # what is made once
            alive(first)
            first.stdin.close()
        memory, began = resident(child.pid), cpu(child.pid)
        with load(CONNECTIONS) as clients:
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
        "memory for each": used / CONNECTIONS,
        "CPU time in a second": silent / SILENCE,
        "CPU time to accept one": accepted / CONNECTIONS,
    }


def alive(clients):
    if clients.stdout.readline() != b"alive\n":
        raise RuntimeError(f"the clients ended with {clients.wait()}")


@idle.on(*GREEN, *ASYNC)
def _(lib, n):
    return measure(python("servers.py", "echo", lib.name, "-"))


@idle.on("c")
def _(lib, n):
    return measure([compiled("echo_server")])


def test_idle(bench, lib):
    bench(idle, lib)
