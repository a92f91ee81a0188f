"""How a process is doing, in numbers: the lag of its loops, its greenlets, thread pools and servers.

    gevlite.metrics.read()                                  # a dict
    prometheus_client.REGISTRY.register(gevlite.metrics.Collector())

The code that they describe counts them all the time. Reading them runs no code of the program and shows none of its
values: only numbers, names of functions and addresses of listeners. docs/metrics.md says what each one means.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from gevlite import baseserver, threadpool
from gevlite._core import census
from gevlite._probe import _short, _thread_names
from gevlite._version import __version__
from gevlite._workers import _crews

__all__ = ["Collector", "read"]

_TOTALS = ("switches", "handoffs", "polls", "spawned", "slices")
_STATES = ("running", "ready", "parked", "not begun")


# ---------------------------------------------------------------- as data


def read(functions: int = 20) -> dict[str, Any]:
    """The present counts of this process, for all its hubs, as a dict that `json.dumps` accepts. Does not block.

    functions: greenlets are counted by function for so many functions, those that run in most of them; all others
    together are "other". Times are seconds. A histogram is a dict with `count`, `seconds` (the sum) and `buckets`:
    pairs of a limit, None in the last one, and how many took at most that time and longer than the limit before.
    Counts that only grow began at 0 with the process; the child of a fork continues those of its parent.

    * `pid`, `version` (of gevlite)
    * `hubs`: for each `thread` (its name), `name`, `backend`, `main` (whether of the main thread), `turn_seconds`
      (since it last began to run greenlets; 0.0 while it waits), `greenlets` (by state: running, ready, parked, not
      begun), `queue` (what will run next, calls included), `timers`, `descriptors` (that it watches), `lag` (a
      histogram), and since it began `switches`, `handoffs` (switches between two greenlets, not through the hub),
      `polls`, `spawned`, `slices` (time slices that were used up)
    * `ended`: the last five and `lag` of hubs that have ended, by `main` and `other`
    * `functions`: for each `function`, `file`, `line`, and `greenlets`, the number of those that run it
    * `pools`, the thread pools: `kind`, `max`, `threads`, `busy` (threads), `queued` (calls without a thread)
    * `servers` that were started: `kind`, `address`, `open` (connections), `accepted`, `refused` (closed because there
      were too many), `failed` (TLS handshake or PROXY protocol). Of a `WSGIServer` also `requests` by class of their
      status, `active`, `waiting` (for a place), and `duration` (a histogram)

    Raises TypeError or ValueError if `functions` is not a whole number from 0 on.
    """
    _check_number("functions", functions)
    hubs, found, ended, limits = census()
    names = _thread_names()
    return {
        "pid": os.getpid(),
        "version": __version__,
        "hubs": [_hub(row, names, limits) for row in hubs],
        "ended": {name: _totals(row, limits) for name, row in zip(("main", "other"), ended, strict=True)},
        "functions": _functions(found, functions),
        "pools": list(_pools()),
        "servers": list(_servers()),
    }


def _check_number(name, value):
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")


def _histogram(seconds, limits, counts):
    """limits: of all but the last of the counts."""
    buckets = [list(pair) for pair in zip([*limits, None], counts, strict=True)]
    return {"count": sum(counts), "seconds": seconds, "buckets": buckets}


def _totals(row, limits):
    *counts, lag_ns, lags = row
    return {**dict(zip(_TOTALS, counts, strict=True)), "lag": _histogram(lag_ns / 1e9, limits, lags)}


def _hub(row, names, limits):
    main = row["main"]
    return {
        "thread": names.get(row["thread"], "MainThread" if main else f"thread {row['thread']:#x}"),
        "name": row["name"],
        "backend": row["backend"].removesuffix("Backend").lower(),
        "main": main,
        "turn_seconds": row["turn_ns"] / 1e9,
        "greenlets": {state: row[state] for state in _STATES},
        "queue": row["queue"],
        "timers": row["timers"],
        "descriptors": row["descriptors"],
        **_totals(row["totals"], limits),
    }


def _functions(found, most):
    ordered = sorted(found.items(), key=lambda item: (-item[1], str(item[0])))
    told = [
        {"function": name, "file": file, "line": line, "greenlets": count}
        for (name, file, line), count in ordered[:most]
    ]
    rest = sum(count for _, count in ordered[most:])
    if rest:
        told.append({"function": "other", "file": None, "line": 0, "greenlets": rest})
    return told


def _pools():
    in_pools = set()
    for pool in list(threadpool._pools):
        in_pools.add(pool._crew)
        yield _pool("ThreadPool", pool._crew, pool._places.linkcount())
    for crew in list(_crews):
        if crew not in in_pools and not crew.closing:
            yield _pool("ThreadPoolExecutor", crew, 0)


def _pool(kind, crew, waiting):
    calls, threads = len(crew.unfinished), crew.size
    busy = min(calls, threads)
    return {"kind": kind, "max": crew.limit, "threads": threads, "busy": busy, "queued": calls - busy + waiting}


def _servers():
    for server in list(baseserver._servers):
        counts = server._counts()
        if "duration" in counts:
            counts["duration"] = _histogram(*counts["duration"])
        kind = next(one.__name__ for one in type(server).__mro__ if not one.__name__.startswith("_"))
        yield {"kind": kind, **counts}


# ---------------------------------------------------------------- for Prometheus


def _label(text):
    """The text as valid UTF-8, which a path, and so a name, need not be; the end of a very long one is `...`."""
    return _short(text).encode("utf-8", "backslashreplace").decode()


class _Family(NamedTuple):
    """A metric with all its samples, each `(suffix of the name, labels, value)`."""

    name: str
    kind: str
    help: str
    samples: list[tuple[str, dict[str, str], float]]

    def add(self, value, suffix="", **labels):
        self.samples.append((suffix, {key: _label(text) for key, text in labels.items()}, float(value)))

    def add_histogram(self, histogram, **labels):
        total = 0
        for limit, count in histogram["buckets"]:
            total += count
            self.add(total, "_bucket", **labels, le="+Inf" if limit is None else repr(float(limit)))
        self.add(total, "_count", **labels)
        self.add(histogram["seconds"], "_sum", **labels)


# The kind and the help text of each metric. A counter's name here lacks its suffix `_total`.
_KNOWN = {
    "gevlite_build": ("info", "The version of gevlite."),
    "gevlite_hubs": ("gauge", "Hubs, one for each OS thread that uses gevlite."),
    "gevlite_loop_lag_seconds": (
        "histogram",
        "Length of a round of the loop: all that was ready at its begin has run. The sum is the time that it was busy.",
    ),
    "gevlite_loop_turn_seconds": ("gauge", "Time since the hub last began to run greenlets; 0 while it waits."),
    "gevlite_loop_queue": ("gauge", "Entries of the ready queue: what runs next."),
    "gevlite_loop_timers": ("gauge", "Timers that are running."),
    "gevlite_loop_descriptors": ("gauge", "File descriptors that are watched."),
    "gevlite_switches": ("counter", "Switches between greenlets."),
    "gevlite_time_slices": ("counter", "Time slices that greenlets have used up."),
    "gevlite_polls": ("counter", "How often the kernel was asked for events."),
    "gevlite_greenlets_spawned": ("counter", "Greenlets that were spawned."),
    "gevlite_greenlets": ("gauge", "Greenlets by what they do."),
    "gevlite_greenlets_by_function": ("gauge", "Greenlets by the function that they run."),
    "gevlite_threadpool_max_threads": ("gauge", "The most threads that thread pools may have."),
    "gevlite_threadpool_threads": ("gauge", "Threads of thread pools."),
    "gevlite_threadpool_busy_threads": ("gauge", "Threads of thread pools that make a call."),
    "gevlite_threadpool_queued_calls": ("gauge", "Calls that wait for a thread."),
    "gevlite_server_connections": ("gauge", "Connections that are open."),
    "gevlite_server_connections_accepted": ("counter", "Connections that were accepted."),
    "gevlite_server_connections_refused": ("counter", "Connections that were closed because there were too many."),
    "gevlite_server_connections_failed": (
        "counter",
        "Connections that failed before the first request: TLS handshake, PROXY protocol.",
    ),
    "gevlite_server_requests": ("counter", "Responses by the class of their status; none: the application sent none."),
    "gevlite_server_requests_active": ("gauge", "Requests that the application has begun and not ended."),
    "gevlite_server_requests_waiting": ("gauge", "Requests that wait for a place."),
    "gevlite_server_request_duration_seconds": (
        "histogram",
        "Time from the head of a request to the end of its response.",
    ),
}


def _families(functions: int, pid: bool) -> list[_Family]:
    """Everything that `read` returns, as metrics. The labels have few values: hub is main or other."""
    data = read(functions)
    made = {name: _Family(name, kind, text, []) for name, (kind, text) in _KNOWN.items()}
    made["gevlite_build"].add(1, "_info", version=data["version"])
    _add_hubs(made, data)
    pools: dict[tuple[str, str], int] = {}
    for pool in data["pools"]:
        for name, key in (
            ("max_threads", "max"),
            ("threads", "threads"),
            ("busy_threads", "busy"),
            ("queued_calls", "queued"),
        ):
            pools[name, pool["kind"]] = pools.get((name, pool["kind"]), 0) + pool[key]
    for (name, kind), value in pools.items():
        made[f"gevlite_threadpool_{name}"].add(value, kind=kind)
    for address, server in _by_address(data["servers"]).items():
        _add_server(made, address, server)
    families = [family for family in made.values() if family.samples]
    if pid:
        for family in families:
            for _, labels, _ in family.samples:
                labels["pid"] = str(data["pid"])
    return families


def _add_hubs(made, data):
    counted = {"main": [data["ended"]["main"]], "other": [data["ended"]["other"]]}
    living = {"main": [], "other": []}
    for hub in data["hubs"]:
        label = "main" if hub["main"] else "other"
        counted[label].append(hub)
        living[label].append(hub)
    for label in ("main", "other"):
        if not living[label] and not counted[label][0]["lag"]["count"]:
            continue
        made["gevlite_hubs"].add(len(living[label]), hub=label)
        made["gevlite_loop_lag_seconds"].add_histogram(_sum([one["lag"] for one in counted[label]]), hub=label)
        turns = [one["turn_seconds"] for one in living[label]]
        made["gevlite_loop_turn_seconds"].add(max(turns, default=0.0), hub=label)
        for key in ("queue", "timers", "descriptors"):
            made[f"gevlite_loop_{key}"].add(sum(one[key] for one in living[label]), hub=label)
        switches = sum(one["switches"] + one["handoffs"] for one in counted[label])
        made["gevlite_switches"].add(switches, "_total", hub=label)
        made["gevlite_time_slices"].add(sum(one["slices"] for one in counted[label]), "_total", hub=label)
        made["gevlite_polls"].add(sum(one["polls"] for one in counted[label]), "_total", hub=label)
        made["gevlite_greenlets_spawned"].add(sum(one["spawned"] for one in counted[label]), "_total", hub=label)
        for state in _STATES:
            made["gevlite_greenlets"].add(sum(one["greenlets"][state] for one in living[label]), hub=label, state=state)
    functions = {}
    for one in data["functions"]:
        name = _label(one["function"])  # functions with the same label are added up
        functions[name] = functions.get(name, 0) + one["greenlets"]
    for name, count in functions.items():
        made["gevlite_greenlets_by_function"].add(count, function=name)


def _sum(histograms: list[dict[str, Any]]) -> dict[str, Any]:
    limits = [limit for limit, _ in histograms[0]["buckets"][:-1]]
    counts = zip(*([count for _, count in one["buckets"]] for one in histograms), strict=True)
    return _histogram(sum(one["seconds"] for one in histograms), limits, [sum(several) for several in counts])


# A program may start any number of servers, one after the other.
_MOST_SERVERS = 20


def _by_address(servers: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Servers by their address: those with the same one together, and all those beyond the first few together."""
    found: dict[str, dict[str, Any]] = {}
    for one in sorted(servers, key=lambda one: -one["accepted"]):
        name = one["address"]
        if name not in found and len(found) >= _MOST_SERVERS:
            name = "other"
        found[name] = _together(found[name], one) if name in found else dict(one)
    return found


def _together(one, other):
    for key, value in other.items():
        if key == "duration" and key in one:
            one[key] = _sum([one[key], value])
        elif key == "requests" and key in one:
            one[key] = {name: count + value[name] for name, count in one[key].items()}
        elif key in one and isinstance(value, int):
            one[key] += value
        else:
            one.setdefault(key, value)
    return one


def _add_server(made, address, server):
    made["gevlite_server_connections"].add(server["open"], server=address)
    for key in ("accepted", "refused", "failed"):
        made[f"gevlite_server_connections_{key}"].add(server[key], "_total", server=address)
    if "requests" in server:
        for status, count in server["requests"].items():
            made["gevlite_server_requests"].add(count, "_total", server=address, status=status)
        made["gevlite_server_requests_active"].add(server["active"], server=address)
        made["gevlite_server_requests_waiting"].add(server["waiting"], server=address)
        made["gevlite_server_request_duration_seconds"].add_histogram(server["duration"], server=address)


class Collector:
    """For `prometheus_client`: `REGISTRY.register(gevlite.metrics.Collector())`.

    Each scrape then has what `read` returns, under names that begin with "gevlite_". functions: as there. pid: give
    each sample a label `pid`, for processes that answer at the same address.

    Raises ImportError if prometheus_client is not installed: `pip install 'gevlite[metrics]'`.
    """

    def __init__(self, functions: int = 20, *, pid: bool = False) -> None:
        _check_number("functions", functions)
        try:
            import prometheus_client.metrics_core as core
        except ImportError as exc:
            raise ImportError(
                "gevlite.metrics.Collector needs the package prometheus_client: pip install 'gevlite[metrics]'"
            ) from exc
        self._new: Any = core.Metric
        self._functions = functions
        self._pid = pid

    def describe(self) -> Iterator[Any]:
        """The names of the metrics, for the registry."""
        for name, (kind, text) in _KNOWN.items():
            yield self._new(name, text, kind)

    def collect(self) -> Iterator[Any]:
        """The metrics of this moment, `prometheus_client.Metric` objects. Does not block."""
        for family in _families(self._functions, self._pid):
            metric = self._new(family.name, family.help, family.kind)
            for suffix, labels, value in family.samples:
                metric.add_sample(family.name + suffix, labels, value)
            yield metric


_TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def _text(pid: bool = False) -> str:
    """The text format of Prometheus, version 0.0.4: what `prometheus_client` makes of a `Collector`, without it."""
    lines = []
    for family in _families(20, pid):
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.kind, "")
        kind = "gauge" if family.kind == "info" else family.kind
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {kind}"]
        for suffix, labels, value in family.samples:
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in sorted(labels.items()))
            lines.append(f"{family.name}{suffix}{{{inner}}} {value!r}" if inner else f"{family.name}{suffix} {value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
