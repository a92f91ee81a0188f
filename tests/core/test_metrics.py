"""`gevlite.metrics`: numbers of programs whose numbers are known, as data and for Prometheus."""

import asyncio
import contextlib
import json
import os
import threading
import time

import pytest

import gevlite
import gevlite.asyncio
from gevlite import metrics
from gevlite.event import Event
from gevlite.pool import Pool
from gevlite.server import StreamServer
from gevlite.threadpool import ThreadPool, ThreadPoolExecutor


def own_hub(data=None):
    """The result of `read` for this thread's hub."""
    gevlite.get_hub()
    [found] = [hub for hub in (data or metrics.read())["hubs"] if hub["thread"] == "MainThread"]
    return found


def functions(data=None):
    return {one["function"].rpartition(".")[2]: one for one in (data or metrics.read(1000))["functions"]}


# ---------------------------------------------------------------- greenlets


@pytest.mark.uninterrupted
def test_greenlets_by_state_and_by_function():
    go_on = Event()

    def waits(secret):
        go_on.wait()

    @gevlite.uninterrupted
    def looks():
        seen.append(metrics.read(1000))

    before, seen = own_hub(), []
    parked = [gevlite.spawn(waits, "a secret") for _ in range(5)]
    gevlite.idle()
    later = gevlite.spawn_later(1000, waits, 0)
    looker = gevlite.spawn(looks)
    waiting = [gevlite.spawn(waits, 0) for _ in range(3)]
    looker.join()
    [data] = seen
    now = own_hub(data)
    go_on.set()
    gevlite.joinall([*parked, *waiting])
    later.kill()
    # The looker runs, the main greenlet waits for it, and the last ones have not begun.
    assert now["greenlets"] == {"running": 1, "ready": 0, "parked": 6, "not begun": 4}
    assert before["greenlets"] == {"running": 1, "ready": 0, "parked": 0, "not begun": 0}
    assert now["spawned"] - before["spawned"] == 9, "one is not due yet"
    assert functions(data)["waits"]["greenlets"] == 9
    assert (
        functions(data)["waits"]["file"] == __file__
        and functions(data)["waits"]["line"] == waits.__code__.co_firstlineno
    )
    assert functions(data)["looks"]["greenlets"] == 1
    assert functions(data)["main greenlet"]["greenlets"] == 1
    assert "a secret" not in json.dumps(data)


@pytest.mark.uninterrupted
def test_greenlets_that_are_woken_are_ready():
    go_on = Event()
    waiting = [gevlite.spawn(go_on.wait) for _ in range(4)]
    gevlite.sleep(0.001)
    go_on.set()
    now = own_hub()
    gevlite.joinall(waiting)
    assert now["greenlets"] == {"running": 1, "ready": 4, "parked": 0, "not begun": 0}
    assert now["queue"] == 4


def test_the_main_greenlet_that_polls_for_its_event_loop_is_parked():
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def look():
            deadline = time.monotonic() + 30
            while True:
                data = metrics.read()
                [found] = [hub["greenlets"] for hub in data["hubs"] if hub["main"]]
                if found["parked"] or time.monotonic() > deadline:
                    break
                time.sleep(0.001)
            seen.append((found, functions(data)["main greenlet"]["greenlets"]))
            loop.call_soon_threadsafe(done.set_result, None)

        thread = in_thread(look)
        await done
        thread.join()
        [found] = [hub["greenlets"] for hub in metrics.read()["hubs"] if hub["main"]]
        seen.append(found)

    with asyncio.Runner(loop_factory=gevlite.asyncio.EventLoop) as runner:
        runner.run(main())
    assert seen == [
        ({"running": 0, "ready": 0, "parked": 1, "not begun": 0}, 1),
        {"running": 1, "ready": 0, "parked": 0, "not begun": 0},
    ]


def test_the_functions_that_most_run_and_all_others():
    go_on = Event()
    made = []
    for name, count in (("many", 5), ("some", 3), ("few", 2), ("one", 1)):
        scope = {"go_on": go_on}
        exec(f"def {name}():\n    go_on.wait()", scope)
        made += [gevlite.spawn(scope[name]) for _ in range(count)]
    gevlite.sleep(0.001)
    two, none = metrics.read(2)["functions"], metrics.read(0)["functions"]
    go_on.set()
    gevlite.joinall(made)
    assert [(one["function"], one["greenlets"]) for one in two] == [("many", 5), ("some", 3), ("other", 4)]
    assert none == [{"function": "other", "file": None, "line": 0, "greenlets": 12}]


@pytest.mark.parametrize("bad", [-1, 2.5, "7", None, True])
def test_a_bad_number_of_functions(bad):
    for call in (metrics.read, metrics.Collector):
        with pytest.raises((TypeError, ValueError), match="functions must"):
            call(bad)


# ---------------------------------------------------------------- the loop


def test_switches_and_polls():
    def spin():
        for _ in range(100):
            gevlite.sleep(0)

    gevlite.sleep(0.001)
    before = own_hub()
    gevlite.joinall([gevlite.spawn(spin) for _ in range(2)])
    for _ in range(5):
        gevlite.sleep(0.001)
    after = own_hub()
    assert after["switches"] + after["handoffs"] - before["switches"] - before["handoffs"] >= 200
    assert after["polls"] - before["polls"] >= 5


def test_the_lag_of_the_loop():
    gevlite.sleep(0.001)
    before = own_hub()["lag"]
    gevlite.spawn(time.sleep, 0.25).join()
    gevlite.sleep(0.001)
    after = own_hub()["lag"]
    assert after["count"] > before["count"] and after["seconds"] - before["seconds"] > 0.2
    assert sum(count for _, count in after["buckets"]) == after["count"]
    long = [sum(count for limit, count in lag["buckets"] if limit is None or limit > 0.2) for lag in (before, after)]
    assert long[1] >= long[0] + 1


def test_timers_and_descriptors():
    before = own_hub()
    timers = [gevlite.get_hub().call_later(1000, print) for _ in range(3)]
    assert own_hub()["timers"] - before["timers"] == 3
    for timer in timers:
        timer.stop()
    assert own_hub()["timers"] == before["timers"]


# ---------------------------------------------------------------- several threads


def in_thread(function):
    thread = threading.Thread(target=function, name="another thread")
    thread.start()
    return thread


def test_hubs_of_other_threads_and_what_ended_ones_had_done():
    said, go_on = threading.Event(), threading.Event()

    def work():
        gevlite.joinall([gevlite.spawn(gevlite.sleep, 0) for _ in range(10)])
        said.set()
        while not go_on.is_set():
            gevlite.sleep(0.001)

    ended = metrics.read()["ended"]["other"]["spawned"]
    thread = in_thread(work)
    said.wait()
    data = metrics.read()
    [other] = [hub for hub in data["hubs"] if hub["thread"] == "another thread"]
    go_on.set()
    thread.join()
    assert other["spawned"] == 10 and not other["main"] and own_hub(data)["main"]
    data = metrics.read()
    assert data["ended"]["other"]["spawned"] == ended + 10
    assert not [hub for hub in data["hubs"] if hub["thread"] == "another thread"]


def test_a_greenlet_that_blocks_another_thread():
    said, go_on = threading.Event(), threading.Event()

    def blocks():
        said.set()
        go_on.wait()

    thread = in_thread(lambda: gevlite.spawn(blocks).join())
    said.wait()
    deadline = time.monotonic() + 30
    while True:
        data = metrics.read(1000)
        [other] = [hub for hub in data["hubs"] if hub["thread"] == "another thread"]
        if other["turn_seconds"] > 0.05 or time.monotonic() > deadline:
            break
        time.sleep(0.01)
    found = functions(data)["blocks"]["greenlets"]
    go_on.set()
    thread.join()
    assert other["turn_seconds"] > 0.05
    assert other["greenlets"] == {"running": 1, "ready": 0, "parked": 1, "not begun": 0}
    assert found == 1


# ---------------------------------------------------------------- thread pools


def pool_of(size):
    """The result of `read` for the pool with this maximum."""
    [found] = [pool for pool in metrics.read()["pools"] if pool["max"] == size]
    return found


def test_a_thread_pool_whose_threads_are_all_busy(settle):
    go_on = threading.Event()
    pool = ThreadPool(37)
    calls = Pool()
    try:
        assert pool_of(37) == {"kind": "ThreadPool", "max": 37, "threads": 0, "busy": 0, "queued": 0}
        for _ in range(50):
            calls.spawn(pool.apply, go_on.wait)
        assert settle(lambda: pool_of(37)["busy"] == 37 and pool_of(37)["queued"] == 13, 30)
        assert pool_of(37) == {"kind": "ThreadPool", "max": 37, "threads": 37, "busy": 37, "queued": 13}
    finally:
        go_on.set()
        calls.join()
    assert settle(lambda: pool_of(37)["busy"] == 0, 30)
    assert pool_of(37) == {"kind": "ThreadPool", "max": 37, "threads": 37, "busy": 0, "queued": 0}
    pool.kill()
    assert pool_of(37)["threads"] == 0


def test_an_executor():
    go_on = threading.Event()
    with ThreadPoolExecutor(3) as executor:
        futures = [executor.submit(go_on.wait) for _ in range(5)]
        found = [pool for pool in metrics.read()["pools"] if pool["kind"] == "ThreadPoolExecutor" and pool["max"] == 3]
        go_on.set()
        assert all(future.result() for future in futures)
    assert {"kind": "ThreadPoolExecutor", "max": 3, "threads": 3, "busy": 3, "queued": 2} in found


# ---------------------------------------------------------------- servers


def server_at(address):
    [found] = [one for one in metrics.read()["servers"] if one["address"] == address]
    return found


def test_connections_of_a_server(settle):
    server = StreamServer(("127.0.0.1", 0), lambda sock, address: sock.recv(1))
    server.start()
    address = f"127.0.0.1:{server.server_port}"
    socks = [gevlite.socket.create_connection(("127.0.0.1", server.server_port)) for _ in range(3)]
    assert settle(lambda: server_at(address)["open"] == 3, 30)
    assert server_at(address) == {
        "kind": "StreamServer",
        "address": address,
        "open": 3,
        "accepted": 3,
        "refused": 0,
        "failed": 0,
    }
    socks.pop().close()
    assert settle(lambda: server_at(address)["open"] == 2, 30)
    for sock in socks:
        sock.close()
    assert settle(lambda: server_at(address)["open"] == 0, 30)
    assert server_at(address)["accepted"] == 3
    server.stop()


def test_failed_handshakes_are_counted(certificates, settle):
    class Quiet(StreamServer):
        def handshake_failed(self, address, exc):
            pass

    server = Quiet(("127.0.0.1", 0), lambda sock, address: None, certfile=certificates.server)
    server.start()
    address = f"127.0.0.1:{server.server_port}"
    with gevlite.socket.create_connection(("127.0.0.1", server.server_port)) as sock:
        sock.sendall(b"this is no TLS\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            sock.recv(100)
    assert settle(lambda: server_at(address)["open"] == 0, 30)
    assert (server_at(address)["accepted"], server_at(address)["failed"]) == (1, 1)
    server.stop()


# ---------------------------------------------------------------- forks


def test_the_child_of_a_fork_counts_its_own(run_script):
    program = """
        import json, os
        import gevlite
        from gevlite import metrics
        from gevlite.event import Event
        from gevlite.server import StreamServer

        server = StreamServer(("127.0.0.1", 0), lambda sock, address: sock.recv(1))
        server.start()
        sock = gevlite.socket.create_connection(("127.0.0.1", server.server_port))
        while metrics.read()["servers"][0]["open"] != 1:
            gevlite.sleep(0.001)
        never = Event()
        gevlite.spawn(never.wait)
        gevlite.idle()

        def fork():
            pid = gevlite.fork()
            if pid == 0:
                data = metrics.read()
                [server] = data["servers"]
                found = [data["pid"] == os.getpid(), data["hubs"][0]["greenlets"], server["open"]]
                print(json.dumps(found), flush=True)
                os._exit(0)
            os.waitpid(pid, 0)

        gevlite.spawn(fork).join()
        print(json.dumps([metrics.read()["servers"][0]["open"], metrics.read()["hubs"][0]["greenlets"]["parked"]]))
    """
    child, parent = map(json.loads, run_script(program, timeout=50).stdout.splitlines())
    # The fork was made in a greenlet: it is the only one that goes on in the child.
    assert child == [True, {"running": 1, "ready": 0, "parked": 0, "not begun": 0}, 0]
    assert parent == [1, 3]


# ---------------------------------------------------------------- for Prometheus


@pytest.fixture
def registry():
    prometheus_client = pytest.importorskip("prometheus_client")
    made = prometheus_client.CollectorRegistry()
    made.register(metrics.Collector())
    return made


def parsed(text):
    parser = pytest.importorskip("prometheus_client.parser")
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def test_the_collector_says_what_read_says(registry):
    go_on = Event()
    waiting = [gevlite.spawn(go_on.wait) for _ in range(6)]
    gevlite.sleep(0.001)
    data = metrics.read()
    value = registry.get_sample_value
    assert value("gevlite_greenlets", {"hub": "main", "state": "parked"}) == 6
    assert value("gevlite_greenlets_by_function", {"function": "main greenlet"}) == 1
    assert (
        value("gevlite_greenlets_spawned_total", {"hub": "main"})
        == own_hub(data)["spawned"] + data["ended"]["main"]["spawned"]
    )
    assert value("gevlite_loop_lag_seconds_count", {"hub": "main"}) == value(
        "gevlite_loop_lag_seconds_bucket", {"hub": "main", "le": "+Inf"}
    )
    assert value("gevlite_build_info", {"version": gevlite.__version__}) == 1
    go_on.set()
    gevlite.joinall(waiting)


def test_names_follow_the_conventions(registry):
    from prometheus_client import generate_latest

    ThreadPool(1)
    families = parsed(generate_latest(registry).decode())
    assert {"gevlite_loop_lag_seconds", "gevlite_switches", "gevlite_polls", "gevlite_greenlets"} <= set(families)
    for name, family in families.items():
        assert name.startswith("gevlite_") and family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert set(sample.labels) <= {"hub", "state", "function", "kind", "server", "status", "le", "version"}
        if family.type == "histogram":
            assert name.endswith("_seconds")
            buckets = {}
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    others = tuple((key, text) for key, text in sample.labels.items() if key != "le")
                    buckets.setdefault(others, []).append(sample.value)
            assert buckets and all(values == sorted(values) for values in buckets.values())


def test_the_text_is_what_prometheus_client_writes(registry, monkeypatch):
    from prometheus_client import generate_latest

    server = StreamServer(("127.0.0.1", 0), lambda sock, address: None)
    server.start()
    families = metrics._families(20, False)
    odd = metrics._Family("gevlite_odd", "gauge", "Odd labels.", [])
    odd.add(1, function='a "quoted" \\ name\nwith a line')
    families.append(odd)
    monkeypatch.setattr(metrics, "_families", lambda functions, pid: families)
    by_client, own = parsed(generate_latest(registry).decode()), parsed(metrics._text())
    server.stop()
    assert {name: family.samples for name, family in own.items()} == {
        name: family.samples for name, family in by_client.items()
    }
    assert {name: (family.type, family.documentation) for name, family in own.items()} == {
        name: (family.type, family.documentation) for name, family in by_client.items()
    }
    assert "gevlite_odd" in own and "gevlite_server_connections" in own


def test_labels_are_bounded(registry):
    from prometheus_client import generate_latest

    go_on, made, servers = Event(), [], []
    for n in range(40):
        scope = {"go_on": go_on}
        exec(f"def function_{n}():\n    go_on.wait()", scope)
        made.append(gevlite.spawn(scope[f"function_{n}"]))
        server = StreamServer(("127.0.0.1", 0), lambda sock, address: None)
        server.start()
        servers.append(server)
    gevlite.sleep(0.001)
    families = parsed(generate_latest(registry).decode())
    go_on.set()
    gevlite.joinall(made)
    for server in servers:
        server.stop()
    by_function = {
        sample.labels["function"]: sample.value for sample in families["gevlite_greenlets_by_function"].samples
    }
    assert len(by_function) <= 21 and by_function["other"] > 20
    assert len(families["gevlite_server_connections"].samples) <= 21


def test_names_that_are_not_utf_8_or_very_long():
    go_on = Event()

    def waits():
        go_on.wait()

    def named(text):
        return type(waits)(waits.__code__.replace(co_qualname=text), globals(), closure=waits.__closure__)

    names = ["\udc80", '<&"\\\n\x1b', "x" * 1_000_000, "x" * 1_000_001]
    greenlets = [gevlite.spawn(named(name)) for name in names for _ in range(30)]
    gevlite.sleep(0)
    text = metrics._text()
    by_function = parsed(text)["gevlite_greenlets_by_function"].samples
    found = {sample.labels["function"]: sample.value for sample in by_function}
    assert (found["\\udc80"], found['<&"\\\n\x1b'], found["x" * 197 + "..."]) == (30, 30, 60)
    assert text.encode() and len(text) < 50_000
    go_on.set()
    gevlite.joinall(greenlets)


def test_totals_never_become_less(registry):
    value = registry.get_sample_value
    label = {"hub": "other"}
    before = value("gevlite_greenlets_spawned_total", label) or 0
    for n in range(1, 4):
        in_thread(lambda: gevlite.spawn(int).join()).join()
        assert value("gevlite_greenlets_spawned_total", label) == before + n
    assert value("gevlite_hubs", label) == 0


def test_a_registry_refuses_a_second_one(registry):
    with pytest.raises(ValueError, match="gevlite_"):
        registry.register(metrics.Collector())


def test_the_label_pid():
    prometheus_client = pytest.importorskip("prometheus_client")
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.Collector(pid=True))
    labels = {"hub": "main", "pid": str(os.getpid())}
    assert registry.get_sample_value("gevlite_polls_total", labels) is not None


def test_without_prometheus_client_the_error_says_what_to_install(run_script):
    program = """
        import sys
        sys.modules["prometheus_client"] = None
        from gevlite import metrics
        assert metrics.read()["hubs"] == [] and "gevlite_build_info" in metrics._text()
        try:
            metrics.Collector()
        except ImportError as exc:
            assert "pip install 'gevlite[metrics]'" in str(exc), exc
        else:
            raise AssertionError
    """
    run_script(program, timeout=50)


@pytest.mark.uninterrupted
def test_reading_leaves_nothing_behind():
    gevlite.sleep(0.001)
    before = gevlite.get_hub().stats()
    for _ in range(10):
        metrics.read()
        metrics._text()
    assert {**gevlite.get_hub().stats(), "slices": before["slices"]} == before
