"""TCP echo, from one connection to ten thousand, small messages. The server has a core to itself, the load the other.

The headline is the server's CPU time for each request: it does not depend on how fast the load is, and it is what a
busy machine runs out of.
"""

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.case import ASYNC, GREEN, Case, Metric, Target
from benchmarks.native import compiled

CONNECTIONS = (100, 1, 1000, 10_000)  # the first is the headline
BYTES = 64
WARMUP = 0.3
SECONDS = 1.0
ADDRESS = "127.0.0.1"

BUSY = 0.95  # a server that used this much of its core was the bottleneck


def remarks(result):
    for library, figures in result.turns.items():
        busy, load, waited = (
            statistics.median(figures[name]) for name in ("server busy", "load busy", "server waited")
        )
        if busy >= BUSY:
            continue
        if load < BUSY - 0.1 or waited > 1 - BUSY:
            # One of the two always has work to do.
            yield f"{library}: server busy {busy:.0%}, load {load:.0%} of the time: other processes had the cores"
        else:
            yield (
                f"{library}: server busy {busy:.0%}, load {load:.0%} of the time: its throughput and latency are "
                "the load's, its CPU time for each request holds"
            )


def two_cores():
    """One for the server, one for the load; the same one for both if there is no other."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, {cores[-1]}


@contextlib.contextmanager
def server(command, cores):
    """Starts a server, yields the process, the port and its messages, and stops it by closing its standard input."""
    errors = tempfile.TemporaryFile("w+")
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    with errors, child:
        try:
            line = child.stdout.readline()
            if not line:
                child.wait()
                raise RuntimeError(last_line(errors) or f"the server ended with {child.returncode}")
            yield child, line.strip(), errors
        finally:
            child.stdin.close()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                raise RuntimeError("the server did not end when its standard input was closed") from None


def last_line(errors):
    errors.seek(0)
    return (errors.read().strip().splitlines() or [""])[-1]


def allow_files(count):
    """Let processes that are started from here have that many descriptors open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        # Beyond the hard limit only with the privilege for it; else this raises, and the case says so.
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))


def measure(command, connections):
    allow_files(connections + 100)
    server_cores, load_cores = two_cores()
    load = compiled("echo_client")
    with server([*command, ADDRESS], server_cores) as (child, port, errors):
        done = subprocess.run(
            [load, ADDRESS, port, str(connections), str(BYTES), str(WARMUP), str(SECONDS), str(child.pid)],
            preexec_fn=lambda: os.sched_setaffinity(0, load_cores),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{done.stderr.strip()}; server: {last_line(errors) or 'no message'}")
        # Nanoseconds on a core and on its run queue: Documentation/scheduler/sched-stats.rst in the kernel's source.
        ran, waited, _ = Path(f"/proc/{child.pid}/schedstat").read_text().split()
    figures = json.loads(done.stdout)
    if not figures["requests"]:
        raise RuntimeError("not one request was answered")
    return {
        "server CPU for each request": figures["server_cpu"] / figures["requests"],
        "throughput": figures["requests"] / figures["seconds"],
        "latency, median": figures["p50"],
        "latency, 99th percentile": figures["p99"],
        "latency, 99.9th percentile": figures["p999"],
        "latency, longest": figures["max"],
        "server busy": figures["server_cpu"] / figures["seconds"],
        "server waited": int(waited) / (int(ran) + int(waited)),
        "load busy": figures["client_cpu"] / figures["seconds"],
    }


def make_case(connections):
    case = Case(
        "echo" if connections == CONNECTIONS[0] else f"echo_{connections}",
        f"TCP echo, {BYTES} B, {connections:,} connection{'s' * (connections > 1)}",
        rounds=1,
        quick=connections == CONNECTIONS[0],
        metrics=(
            Metric("server CPU for each request", "s", (Target.within("uvloop", 1), Target.within("c", 1.25))),
            Metric("throughput", "/s"),
            Metric("latency, median"),
            Metric("latency, 99th percentile"),
        ),
        remarks=remarks,
    )

    @case.on(*GREEN, *ASYNC)
    def _(lib, n):
        server = Path(__file__).with_name("echo_servers.py")
        return measure([sys.executable, "-P", str(server), lib.name], connections)

    @case.on("c")
    def _(lib, n):
        return measure([compiled("echo_server")], connections)

    return case


echo, echo_1, echo_1000, echo_10000 = (make_case(connections) for connections in CONNECTIONS)


def test_echo(bench, lib):
    bench(echo, lib)


def test_echo_1(bench, lib):
    bench(echo_1, lib)


def test_echo_1000(bench, lib):
    bench(echo_1000, lib)


def test_echo_10000(bench, lib):
    bench(echo_10000, lib)
