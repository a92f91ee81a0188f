"""The CPU time of sending a lot: `sendall` of 1 MiB, again and again, to a reader that does nothing else."""

from benchmarks.case import ASYNC, BLOCKING, Case, Metric, Target
from benchmarks.network import certificate, compiled, measure, python, remarks

MIB = 1 << 20


def make_case(name, title, *must):
    return Case(
        name,
        title,
        rounds=1,
        quick=False,
        metrics=(Metric("server CPU for each MiB", "s", must), Metric("throughput, MiB", "/s")),
        remarks=remarks,
    )


def figures(command, load):
    found, shares = measure(command, load, 1, MIB)
    mebibytes = found["done"] / MIB
    return {
        "server CPU for each MiB": found["server_cpu"] / mebibytes,
        "throughput, MiB": mebibytes / found["seconds"],
        **shares,
    }


throughput = make_case("throughput", "sending, 1 MiB a call", Target.faster("gevent", 1))
throughput_tls = make_case("throughput_tls", "sending over TLS, 1 MiB a call", Target.faster("gevent", 1))


@throughput.on(*BLOCKING, *ASYNC)
def _(lib, n):
    return figures(python("servers.py", "stream", lib.name, "-"), [compiled("stream_client")])


@throughput_tls.on(*BLOCKING, *ASYNC)
def _(lib, n):
    own, authority = certificate()
    return figures(python("servers.py", "stream", lib.name, own), python("tls_client.py", authority, "stream"))


def test_throughput(bench, lib):
    bench(throughput, lib)


def test_throughput_tls(bench, lib):
    bench(throughput_tls, lib)
