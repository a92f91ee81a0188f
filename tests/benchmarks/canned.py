"""The results of a small run, such as the benchmarks would produce."""

from benchmarks.case import Metric, Target
from benchmarks.report import Report
from benchmarks.run import Result

MACHINE = {
    "python": "CPython 3.12.1",
    "packages": {"gevlite": "0.1.0", "gevent": "26.9.0"},
    "kernel": "Linux 6.1",
    "cpu": "a CPU",
    "cores": 2,
    "load": 0.5,
    "backend": "",
    "date": "2026-01-02T03:04:05+00:00",
}


def switch(factor=1.0):
    """Three turns; `factor` makes gevlite slower."""
    return Result(
        "sleep0",
        "`sleep(0)`, 100 greenlets",
        (Metric("time", "s", (Target.within("greenlet", 1.5), Target.faster("gevent", 3.5))),),
        subject="switch",
        turns={
            "gevlite": {"time": [1.0e-6 * factor, 1.1e-6 * factor, 1.2e-6 * factor]},
            "gevent": {"time": [5.0e-6, 4.4e-6, 4.8e-6]},
            "uvloop": {"time": [0.5e-6, 0.55e-6, 0.6e-6]},
            "greenlet": {"time": [0.8e-6, 0.8e-6, 0.8e-6]},
        },
    )


def timers(count):
    return Result(
        f"timers_{count}",
        f"a timer among {count:,}",
        (Metric("add"), Metric("fire")),
        subject="timer",
        series="a timer among others; timers",
        size=count,
        turns={
            "gevlite": {"add": [1e-7, 1.1e-7], "fire": [2e-7, 2e-7]},
            "gevent": {"add": [3e-7, 3.3e-7], "fire": [4e-7, 4e-7]},
        },
    )


def waking():
    return Result(
        "event_set",
        "`Event.set`, each of those who wait",
        (Metric("1 waiting", size=1), Metric("100 waiting", size=100)),
        subject="event",
        turns={"gevlite": {"1 waiting": [1e-6], "100 waiting": [1.5e-6]}},
    )


def echo(throughput=100_000.0):
    return Result(
        "echo",
        "TCP echo",
        (Metric("throughput", "/s"),),
        subject="echo",
        turns={"gevlite": {"throughput": [throughput, throughput * 1.01]}, "gevent": {"throughput": [50_000, 60_000]}},
        errors={"eventlet": "OSError: no | way"},
        remarks=["gevent: server busy 40%"],
    )


def report(*results, **machine):
    found = list(results) or [switch(), timers(1_000), timers(100_000), waking(), echo()]
    return Report("python -m benchmarks --quick", 3, found, {**MACHINE, **machine})
