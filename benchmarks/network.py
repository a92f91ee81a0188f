"""What the network cases share: a server in a process of its own, a load in another one, each with a core to itself.

The headline of each case is the server's CPU time: it does not depend on how fast the load is, and a busy machine runs
out of it first.
"""

import contextlib
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.native import compiled

HERE = Path(__file__).parent
ADDRESS = "127.0.0.1"
WARMUP = 0.3
SECONDS = 1.0
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
                "the load's, its CPU time holds"
            )


def two_cores():
    """One core for the server, one for the load; the same one for both if there is no other."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, {cores[-1]}


def allow_files(count):
    """Let processes that are started from here open that many descriptors. Returns how many they can open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
        except ValueError:  # beyond the hard limit only with the privilege for it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return hard
    return count


@functools.cache
def certificate():
    """The files of a certificate for localhost, with its key, and of the authority that issued it."""
    import trustme

    folder = Path(tempfile.mkdtemp(prefix="gevlite-benchmarks-"))
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    made = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
    made.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return str(folder / "server.pem"), str(folder / "ca.pem")


def python(script, *arguments):
    """The command line of a Python program of this folder. -P: installed packages come before those in the folder."""
    return [sys.executable, "-P", str(HERE / script), *arguments]


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


def scheduled(pid):
    """Nanoseconds that the threads of a process have been on a core, and on its run queue.

    See Documentation/scheduler/sched-stats.rst in the kernel's source. Threads that have ended are not in it.
    """
    ran = waited = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has just ended
            here = path.read_text().split()
            ran, waited = ran + int(here[0]), waited + int(here[1])
    return ran, waited


def latencies(figures):
    """The results of a load that measures latencies."""
    return {
        "latency, median": figures["p50"],
        "latency, 99th percentile": figures["p99"],
        "latency, 99.9th percentile": figures["p999"],
        "latency, longest": figures["max"],
    }


def measure(command, load, *options, address=ADDRESS):
    """Run a server and the load `load ADDRESS PORT OPTIONS... WARMUP SECONDS PID`; its figures, and shares of time.

    The load prints JSON: how much was `done`, and the `seconds`, `server_cpu` and `client_cpu` that it took.
    """
    server_cores, load_cores = two_cores()
    with server([*command, address], server_cores) as (child, port, errors):
        done = subprocess.run(
            [*load, address, port, *map(str, options), str(WARMUP), str(SECONDS), str(child.pid)],
            preexec_fn=lambda: os.sched_setaffinity(0, load_cores),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            message = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{message}; server: {last_line(errors) or 'no message'}")
        ran, waited = scheduled(child.pid)
    figures = json.loads(done.stdout)
    if not figures["done"]:
        raise RuntimeError("nothing was done")
    shares = {
        "server busy": figures["server_cpu"] / figures["seconds"],
        "server waited": waited / (ran + waited),
        "load busy": figures["client_cpu"] / figures["seconds"],
    }
    return figures, shares


__all__ = [
    "ADDRESS",
    "allow_files",
    "certificate",
    "compiled",
    "latencies",
    "measure",
    "python",
    "remarks",
    "server",
    "two_cores",
]
