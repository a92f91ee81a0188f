"""Connections that live for one message: accepting, starting a greenlet, registering the descriptor, closing."""

from benchmarks.case import ASYNC, BLOCKING, Case, Metric, Target
from benchmarks.network import compiled, latencies, measure, python, remarks

AT_ONCE = 50
BYTES = 64

churn = Case(
    "churn",
    f"TCP connections for one echo of {BYTES} B each, {AT_ONCE} at once",
    rounds=1,
    by_backend=True,
    metrics=(
        Metric("server CPU for each connection", "s", (Target.faster("gevent", 1),)),
        Metric("throughput", "/s"),
        Metric("latency, median"),
        Metric("latency, 99th percentile"),
    ),
    remarks=remarks,
)


def figures(command):
    found, shares = measure(command, [compiled("churn_client")], AT_ONCE, BYTES)
    return {
        "server CPU for each connection": found["server_cpu"] / found["done"],
        "throughput": found["done"] / found["seconds"],
        **latencies(found),
        **shares,
    }


@churn.on(*BLOCKING, *ASYNC)
def _(lib, n):
    return figures(python("servers.py", "echo", lib.name, "-"))


@churn.on("c")
def _(lib, n):
    return figures([compiled("echo_server")])


def test_churn(bench, lib):
    bench(churn, lib)
