"""WebSocket: messages of 32 bytes that are sent back, on 100 connections, each of which waits for its echo.

    python -m benchmarks --only websocket --python-libs gevlite,gevent,asyncio,uvloop,simple-websocket

gevent has gevent-websocket, asyncio and uvloop have websockets. simple-websocket is that library on gevlite's server,
as Flask-Sock uses it.
"""

from benchmarks.case import Case, Metric, Target
from benchmarks.network import latencies, measure, python, remarks

CONNECTIONS = 100
BYTES = 32

websocket = Case(
    "websocket",
    f"WebSocket echo, {BYTES} B, {CONNECTIONS} connections",
    rounds=1,
    quick=False,
    metrics=(
        Metric("server CPU for each message", "s", (Target.within("gevent", 1), Target.within("asyncio", 1))),
        Metric("throughput", "/s"),
        Metric("latency, median"),
        Metric("latency, 99th percentile"),
    ),
    remarks=remarks,
)


@websocket.on("gevlite", "gevent", "asyncio", "uvloop", "simple-websocket")
def _(lib, n):
    command = python("websocket_servers.py", lib.name)
    found, shares = measure(command, python("websocket_client.py"), CONNECTIONS, BYTES)
    return {
        "server CPU for each message": found["server_cpu"] / found["done"],
        "throughput": found["done"] / found["seconds"],
        **latencies(found),
        **shares,
    }


def test_websocket(bench, lib):
    bench(websocket, lib)
