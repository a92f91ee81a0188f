"""Echo of small messages: over TCP, from one connection to ten thousand, TLS, UNIX sockets, and inside a process."""

import tempfile

from benchmarks.case import ASYNC, BLOCKING, Case, Metric, Target
from benchmarks.network import ADDRESS, allow_files, certificate, compiled, latencies, measure, python, remarks

CONNECTIONS = (100, 1, 1000, 10_000)  # the first is the headline
BYTES = 64
MOST_THREADS = 1000  # a thread for each connection


def figures(command, load, connections, address=ADDRESS):
    if allow_files(connections + 100) < connections + 100:
        raise RuntimeError(f"a process may not have {connections} connections here")
    found, shares = measure(command, load, connections, BYTES, address=address)
    return {
        "server CPU for each request": found["server_cpu"] / found["done"],
        "throughput": found["done"] / found["seconds"],
        **latencies(found),
        **shares,
    }


def metrics(*must):
    return (
        Metric("server CPU for each request", "s", must),
        Metric("throughput", "/s"),
        Metric("latency, median"),
        Metric("latency, 99th percentile"),
    )


def make_case(connections):
    headline = connections == CONNECTIONS[0]
    case = Case(
        "echo" if headline else f"echo_{connections}",
        f"TCP echo, {BYTES} B, {connections:,} connection{'s' * (connections > 1)}",
        rounds=1,
        quick=headline,
        by_backend=True,
        series="TCP echo; connections",
        size=connections,
        metrics=metrics(Target.within("uvloop", 1), Target.within("c", 1.25)),
        remarks=remarks,
    )
    blocking = BLOCKING if connections <= MOST_THREADS else BLOCKING[:-1]

    @case.on(*blocking, *ASYNC)
    def _(lib, n):
        return figures(python("servers.py", "echo", lib.name, "-"), [compiled("echo_client")], connections)

    @case.on("c")
    def _(lib, n):
        return figures([compiled("echo_server")], [compiled("echo_client")], connections)

    return case


echo, echo_1, echo_1000, echo_10000 = (make_case(connections) for connections in CONNECTIONS)

echo_tls = Case(
    "echo_tls",
    f"TLS echo, {BYTES} B, {CONNECTIONS[0]} connections",
    rounds=1,
    metrics=metrics(Target.faster("gevent", 1)),
    remarks=remarks,
)


echo_unix = Case(
    "echo_unix",
    f"UNIX socket echo, {BYTES} B, {CONNECTIONS[0]} connections",
    rounds=1,
    quick=False,
    metrics=metrics(Target.faster("gevent", 1)),
    remarks=remarks,
)


@echo_tls.on(*BLOCKING, *ASYNC)
def _(lib, n):
    own, authority = certificate()
    load = python("tls_client.py", authority, "echo")
    return figures(python("servers.py", "echo", lib.name, own), load, CONNECTIONS[0])


def over_unix(command):
    with tempfile.TemporaryDirectory(prefix="gevlite-") as folder:
        return figures(command, [compiled("echo_client")], CONNECTIONS[0], f"{folder}/echo")


@echo_unix.on(*BLOCKING, *ASYNC)
def _(lib, n):
    return over_unix(python("servers.py", "echo", lib.name, "-"))


@echo_unix.on("c")
def _(lib, n):
    return over_unix([compiled("echo_server")])


socketpair_echo = Case("socketpair_echo", f"{BYTES} B there and back over a socket pair, in one process", n=10_000)


@socketpair_echo.on(*BLOCKING)
def _(lib, n):
    here, there = lib.socket.socketpair()

    def answer():
        while data := there.recv(BYTES):
            there.sendall(data)
        there.close()

    answering = lib.spawn(answer)
    message = bytes(BYTES)
    for _ in range(n):
        here.sendall(message)
        here.recv(BYTES)
    here.close()
    lib.joinall([answering])


@socketpair_echo.on(*ASYNC)
async def _(lib, n):
    import asyncio
    import socket

    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    loop = asyncio.get_running_loop()

    async def answer():
        while data := await loop.sock_recv(there, BYTES):
            await loop.sock_sendall(there, data)
        there.close()

    answering = asyncio.create_task(answer())
    message = bytes(BYTES)
    for _ in range(n):
        await loop.sock_sendall(here, message)
        await loop.sock_recv(here, BYTES)
    here.close()
    await answering


def test_socketpair_echo(bench, lib):
    bench(socketpair_echo, lib)


def test_echo(bench, lib):
    bench(echo, lib)


def test_echo_1(bench, lib):
    bench(echo_1, lib)


def test_echo_1000(bench, lib):
    bench(echo_1000, lib)


def test_echo_10000(bench, lib):
    bench(echo_10000, lib)


def test_echo_unix(bench, lib):
    bench(echo_unix, lib)


def test_echo_tls(bench, lib):
    bench(echo_tls, lib)
