"""gevlite.trace: a trace shows when each greenlet ran, what it waited for, and what woke it."""

import json
import subprocess
import sys
import textwrap
import threading
import time

import greenlet as greenlet_module
import pytest

import gevlite
import gevlite.trace
from gevlite import socket
from gevlite.event import Event
from gevlite.lock import RLock
from gevlite.queue import Queue
from gevlite.threadpool import ThreadPool


def end_of(s):
    return s["ts"] + s["dur"]


class Found:
    """A file of a trace, read."""

    def __init__(self, path):
        self.json = json.loads(path.read_text())
        events = self.json["traceEvents"]
        self.about = self.json["otherData"]
        self.names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        self.slices = [e for e in events if e["ph"] == "X"]
        self.slices.sort(key=lambda e: (e["tid"], e["ts"]))
        begins = {e["id"]: e for e in events if e["ph"] == "s"}
        ends = {e["id"]: e for e in events if e["ph"] == "f"}
        assert begins.keys() == ends.keys()
        self.flows = [(begins[number], ends[number]) for number in sorted(begins)]

    def of(self, name, category=None):
        """The slices of the tracks with this name."""
        return [s for s in self.slices if self.names[s["tid"]] == name and category in (None, s["cat"])]

    def waits(self, name):
        return [s["name"] for s in self.of(name, "wait")]

    def wakes(self):
        """`(waker, woken)` of each wake-up, in their order."""
        return [(self.names[begin["tid"]], self.names[end["tid"]]) for begin, end in self.flows]

    def how(self, name):
        """How the greenlet was woken, each time."""
        return [(s["args"].get("woken_by"), s["args"]["how"]) for s in self.of(name, "run") if "args" in s]

    def check(self):
        """Check what is true of every trace."""
        last = {}
        for s in self.slices:
            assert s["dur"] >= 0 and s["cat"] in ("run", "wait", "ready", "poll")
            assert s["ts"] > last.get(s["tid"], -1), f"slices overlap or touch: {s}"
            last[s["tid"]] = end_of(s)
        for begin, end in self.flows:
            assert begin["ts"] <= end["ts"]
            for e in (begin, end):
                inside = [s for s in self.slices if s["tid"] == e["tid"] and s["ts"] <= e["ts"] <= end_of(s) + 0.002]
                assert inside, f"a flow without a slice: {e}"
            assert any(s["ts"] == end["ts"] and s["cat"] == "run" for s in self.slices if s["tid"] == end["tid"])
        return self


def whole(function):
    """`gevlite.uninterrupted(function)`, which a trace shows by the name of the function."""
    call = gevlite.uninterrupted(function)
    call.__code__ = call.__code__.replace(co_name=function.__name__, co_qualname=function.__qualname__)
    return call


@pytest.fixture
def traced(tmp_path):
    """`traced(function, ...)`: run each in a greenlet of its own, uninterrupted, and return the trace of that."""

    def run(*functions, **options):
        path = tmp_path / "trace.json"
        with gevlite.uninterrupted(), gevlite.trace.record(path, **options):
            started = [gevlite.spawn(whole(function)) for function in functions]
            gevlite.joinall(started, raise_error=True)
        return Found(path).check()

    return run


# ---------------------------------------------------------------- what wakes a greenlet


def test_a_greenlet_is_woken_by_the_one_that_sets_its_event(traced):
    event = Event()

    def waits():
        event.wait()

    def sets():
        gevlite.sleep(0)
        event.set()

    found = traced(waits, sets)
    assert found.waits("waits") == ["Event"]
    assert ("sets", "waits") in found.wakes()
    assert found.how("waits") == [("main greenlet", "start"), ("sets", "greenlet")]


def test_a_getter_is_woken_by_the_putter_and_the_other_way_round(traced):
    queue = Queue(1)

    def gets():
        queue.get()
        gevlite.sleep(0)
        gevlite.sleep(0)
        queue.get()
        queue.get()

    def puts():
        gevlite.sleep(0)
        for n in range(3):
            queue.put(n)

    found = traced(gets, puts)
    assert found.waits("gets")[0] == "an item in Queue, empty"
    assert "room in Queue, full with 1" in found.waits("puts")
    assert ("puts", "gets") in found.wakes() and ("gets", "puts") in found.wakes()


def test_a_lock_names_its_holder_who_wakes_the_waiter(traced):
    lock = RLock()

    def holds():
        with lock:
            gevlite.sleep(0.001)

    def wants():
        with lock:
            pass

    found = traced(holds, wants)
    assert found.waits("wants") == ["RLock held by holds"]
    assert found.how("wants")[-1] == ("holds", "greenlet")


def test_a_sleeper_is_woken_by_a_timer(traced):
    def sleeps():
        gevlite.sleep(0.001)

    found = traced(sleeps)
    assert found.waits("sleeps") == ["sleep"]
    (by, how) = found.how("sleeps")[-1]
    assert by.startswith("hub of MainThread (") and how == "timer"
    assert (by, "sleeps") in found.wakes()


def test_who_waits_for_data_is_woken_by_the_hub(traced):
    one, other = socket.socketpair()

    def reads():
        one.recv(1)

    def writes():
        gevlite.sleep(0.001)
        other.send(b"x")

    with one, other:
        found = traced(reads, writes)
    (by, how) = found.how("reads")[-1]
    assert by.startswith("hub of MainThread (") and how == "I/O"
    assert found.waits("reads")[0].startswith("recv ")
    assert found.of(by, "poll")


def test_a_socket_is_named_by_its_address(traced):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    host, port = listener.getsockname()

    def serves():
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)

    def asks():
        for _ in range(2):
            with socket.create_connection((host, port)) as connection:
                gevlite.idle()
                connection.send(b"x")

    with listener:
        found = traced(serves, asks)
    texts = found.waits("serves")
    assert f"accept on {host}:{port}" in texts
    assert len({text for text in texts if text.startswith("recv from 127.0.0.1:")}) == 2


def test_a_greenlet_is_woken_by_another_thread(traced):
    event = Event()

    def waits():
        event.wait()

    def sets():
        ready.wait()
        event.set()

    ready = threading.Event()
    thread = threading.Thread(target=sets, name="setter")
    thread.start()

    def begins():
        gevlite.sleep(0)
        ready.set()

    found = traced(waits, begins)
    thread.join()
    assert found.how("waits")[-1] == ("setter", "another thread")
    assert ("setter", "waits") in found.wakes()


def test_a_call_in_a_thread_pool_is_ended_by_its_thread(traced):
    pool = ThreadPool(1)

    def calls():
        pool.apply(time.sleep, (0.001,))

    try:
        found = traced(calls)
    finally:
        pool.kill()
    assert found.waits("calls") == ["AsyncResult"]
    assert found.how("calls")[-1][1] == "another thread"


def test_a_kill_and_a_timeout_say_what_they_raised(traced):
    @whole
    def waits():
        Event().wait()

    def limited():
        with gevlite.Timeout(0.001, False):
            Event().wait()

    def kills():
        victim = gevlite.spawn(waits)
        gevlite.sleep(0)
        victim.kill()

    found = traced(limited, kills)
    (killed,) = [s["args"] for s in found.of("waits", "run") if s.get("args", {}).get("how") != "start"]
    assert killed["with"] == "GreenletExit"
    assert [s["args"].get("with") for s in found.of("limited", "run")][-1] == "Timeout"


def test_a_greenlet_is_linked_to_the_one_that_spawned_it(traced):
    @whole
    def child():
        pass

    def parent():
        gevlite.spawn(child).join()

    found = traced(parent)
    assert found.how("child") == [("parent", "start")]
    assert [text.rpartition(".")[2] for text in found.waits("parent")] == ["child"]
    assert ("child", "parent") in found.wakes()


def test_giving_way_is_no_wait(traced):
    def yields():
        gevlite.sleep(0)
        gevlite.sleep(0)

    found = traced(yields, yields)
    assert found.waits("yields") == []
    assert {s["name"] for s in found.of("yields", "ready")} == {"not begun", "gives way"}


# ---------------------------------------------------------------- the window


def test_what_waits_before_and_after_is_shown_for_the_whole_trace(tmp_path):
    event = Event()

    def waits():
        event.wait()

    waiting = gevlite.spawn(waits)
    gevlite.idle()
    try:
        with gevlite.trace.record(tmp_path / "t.json"):
            gevlite.sleep(0.001)
    finally:
        event.set()
        waiting.join()
    found = Found(tmp_path / "t.json").check()
    (slice,) = found.of("waits")
    assert (slice["name"], slice["cat"], slice["ts"]) == ("Event", "wait", 0)


def test_a_full_buffer_drops_the_oldest_events_and_says_so(tmp_path):
    event = Event()

    def waits():
        event.wait()

    def busy():
        for _ in range(2000):
            gevlite.sleep(0)

    gevlite.trace.start(events=1000)
    waiting = gevlite.spawn(waits)
    gevlite.joinall([gevlite.spawn(busy) for _ in range(2)])
    made = gevlite.trace.stop()
    event.set()
    waiting.join()
    assert made.events == 1000 and made.dropped > 1000
    made.save(tmp_path / "t.json")
    found = Found(tmp_path / "t.json").check()
    assert found.about["dropped_events"] == made.dropped
    assert found.waits("waits") == ["Event"]  # although the record of its beginning is gone
    assert found.of("busy")


def test_texts_without_events_are_dropped(tmp_path):
    def nothing():
        pass

    gevlite.trace.start(events=1000)
    for n in range(60_000):
        made = gevlite.Greenlet(nothing)
        made.name = f"name {n}"
        made.start()
        if n % 100 == 0:
            gevlite.sleep(0)
    gevlite.idle()
    trace = gevlite.trace.stop()
    trace.save(tmp_path / "t.json")
    found = Found(tmp_path / "t.json").check()
    assert "name 59999 nothing" in found.names.values()
    assert sum(text is not None for text in trace._timeline.raw["texts"]) < 55_000


# ---------------------------------------------------------------- threads


def test_threads_with_hubs_have_tracks_also_those_that_begin_later(tmp_path):
    def in_thread(name):
        def sleeps():
            gevlite.sleep(0.001)
            if threading.current_thread().name == "early":
                started.set()
                go_on.wait(30)
                for _ in range(3):
                    gevlite.sleep(0.001)

        greenlet = gevlite.spawn(sleeps)
        greenlet.name = name
        greenlet.join()

    started, go_on = threading.Event(), threading.Event()
    early = threading.Thread(target=in_thread, args=("one",), name="early")
    early.start()
    started.wait(30)
    with gevlite.trace.record(tmp_path / "t.json"):
        go_on.set()
        late = threading.Thread(target=in_thread, args=("two",), name="late")
        late.start()
        early.join()
        late.join()
    found = Found(tmp_path / "t.json").check()
    names = set(found.names.values())
    assert any(name.startswith("hub of early (") for name in names)
    assert any(name.startswith("hub of late (") for name in names)
    assert {"main greenlet of MainThread", "main greenlet of late", "two sleeps", "one sleeps"} <= names
    assert found.waits("two sleeps") == ["sleep"]


def test_a_greenlet_of_one_hub_wakes_one_of_another(tmp_path):
    asked, answered = Event(), Event()

    def answers():
        asked.wait()
        answered.set()

    def serves():
        gevlite.spawn(answers).join()

    @whole
    def asks():
        asked.set()
        answered.wait()

    thread = threading.Thread(target=serves, name="server")
    with gevlite.trace.record(tmp_path / "t.json"):
        thread.start()
        gevlite.spawn(asks).join()
        thread.join()
    found = Found(tmp_path / "t.json").check()
    if "Event" in found.waits("asks"):  # otherwise the other thread was quicker
        assert found.how("asks")[-1] == ("answers", "another thread")


# ---------------------------------------------------------------- other trace functions


def test_a_trace_function_that_is_there_keeps_working_and_is_restored(traced):
    seen = []

    def listens(event, args):
        seen.append(event)

    def sleeps():
        gevlite.sleep(0.001)

    greenlet_module.settrace(listens)
    try:
        traced(sleeps)
        assert "switch" in seen
        assert greenlet_module.gettrace() is listens
    finally:
        greenlet_module.settrace(None)


def test_nothing_is_left_behind(traced):
    def sleeps():
        gevlite.sleep(0.001)

    hub = gevlite.get_hub()
    before = hub.before_poll, hub.after_poll
    traced(sleeps)
    assert greenlet_module.gettrace() is None
    assert (hub.before_poll, hub.after_poll) == before


# ---------------------------------------------------------------- wrong use


def test_one_trace_at_a_time(tmp_path):
    with gevlite.trace.record(tmp_path / "t.json"):
        with pytest.raises(RuntimeError, match="a trace is running already"):
            gevlite.trace.start()
    with pytest.raises(RuntimeError, match="no trace is running"):
        gevlite.trace.stop()


def test_a_trace_whose_time_is_over_is_in_nobodys_way():
    gevlite._core.trace_start(1000, 0.001)  # by `trace PID`, which never comes back
    try:
        deadline = time.monotonic() + 30
        while gevlite._core.is_traced():
            assert time.monotonic() < deadline
            gevlite.sleep(0.001)
        gevlite.trace.start()
    finally:
        assert gevlite.trace.stop().events
    with pytest.raises(RuntimeError, match="no trace is running"):
        gevlite.trace.stop()


def test_bad_arguments_are_refused_before_anything_begins(tmp_path):
    for wrong, error in (({"events": 999}, ValueError), ({"events": "many"}, TypeError)):
        with pytest.raises(error, match="events"):
            gevlite.trace.start(**wrong)
    with pytest.raises(FileNotFoundError):
        gevlite.trace.start(tmp_path / "missing" / "t.json")
    with pytest.raises(IsADirectoryError):
        gevlite.trace.start(tmp_path)
    with pytest.raises(TypeError):
        gevlite.trace.start(5)
    with pytest.raises(RuntimeError, match="no trace"):
        gevlite.trace.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    path.write_text("what was there")
    gevlite.trace.start(path)
    monkeypatch.setattr("gevlite._timeline.os.replace", lambda *names: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        gevlite.trace.stop()
    monkeypatch.undo()
    assert path.read_text() == "what was there"
    assert [one.name for one in tmp_path.iterdir()] == ["t.json"]
    with pytest.raises(RuntimeError, match="no trace is running"):
        gevlite.trace.stop()


# ---------------------------------------------------------------- how a process ends

PROGRAM = """
    import os, signal, sys
    import gevlite, gevlite.trace
    path = sys.argv[1]
    def sleeps():
        gevlite.sleep(0.001)
    gevlite.trace.start(path)
    gevlite.spawn(sleeps).join()
"""


def ends(tmp_path, how):
    """Run PROGRAM and then `how`: the process, and what it has written, or None."""
    path = tmp_path / "t.json"
    source = textwrap.dedent(PROGRAM) + textwrap.dedent(how)
    done = subprocess.run(
        [sys.executable, "-c", source, str(path)], capture_output=True, text=True, timeout=50, cwd=tmp_path
    )
    left = [one.name for one in tmp_path.iterdir()]
    assert left in ([], ["t.json"])
    return done, Found(path).check() if left else None


@pytest.mark.parametrize(
    "how, code", [("", 0), ("sys.exit(3)", 3), ("raise ValueError('oh')", 1), ("gevlite.spawn(sys.exit, 4).join()", 4)]
)
def test_it_is_written_at_the_end_of_the_process(tmp_path, how, code):
    done, found = ends(tmp_path, how)
    assert done.returncode == code, done.stderr
    assert found.waits("sleeps") == ["sleep"]


def test_a_child_writes_nothing(tmp_path):
    how = """
        pid = os.fork()
        if not pid:
            assert not __import__("greenlet").gettrace()
            gevlite.spawn(sleeps).join()
            try:
                gevlite.trace.stop()
            except RuntimeError:
                sys.exit(7)
            sys.exit(8)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        gevlite.spawn(sleeps).join()
    """
    done, found = ends(tmp_path, how)
    assert done.returncode == 0, done.stderr
    assert found.waits("sleeps") == ["sleep", "sleep"]


def test_a_child_that_leaves_the_block_writes_nothing(tmp_path):
    how = """
        gevlite.trace.stop()
        os.unlink(path)
        with gevlite.trace.record(path):
            pid = os.fork()
        if not pid:
            sys.exit(0)
        before = os.stat(path).st_ino
        assert os.waitpid(pid, 0)[1] == 0
        assert os.stat(path).st_ino == before
    """
    done, found = ends(tmp_path, how)
    assert done.returncode == 0, done.stderr
    assert found.about["dropped_events"] == 0


def test_a_file_that_cannot_be_written_any_more_is_reported(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    source = textwrap.dedent(PROGRAM) + "os.rmdir(os.path.dirname(path))"
    done = subprocess.run(
        [sys.executable, "-c", source, str(folder / "t.json")], capture_output=True, text=True, timeout=50
    )
    assert "the trace was not written" in done.stderr and "Traceback" not in done.stderr


def test_a_destroyed_hub_and_its_successor_are_one_thread(tmp_path):
    how = """
        gevlite.get_hub().destroy()
        gevlite.spawn(sleeps).join()
    """
    done, found = ends(tmp_path, how)
    assert done.returncode == 0, done.stderr
    assert found.waits("sleeps") == ["sleep", "sleep"]


def test_a_thread_that_wakes_many_at_once_has_slices_that_do_not_overlap(traced):
    event, ready = Event(), threading.Event()

    def waits():
        event.wait()

    def sets():
        ready.wait()
        event.set()

    thread = threading.Thread(target=sets, name="setter")
    thread.start()

    def begins():
        gevlite.sleep(0)
        ready.set()

    found = traced(*[waits] * 20, begins)
    thread.join()
    assert [waker for waker, woken in found.wakes() if woken == "waits"].count("setter") == 20


def test_a_raw_greenlet_is_named_by_its_function(tmp_path):
    done = Event()

    def raw():
        gevlite.sleep(0.001)
        done.set()

    with gevlite.trace.record(tmp_path / "t.json"):
        gevlite.spawn_raw(raw)
        done.wait()
    found = Found(tmp_path / "t.json").check()
    assert found.waits("raw") == ["sleep"]


def test_a_hub_that_waits_itself_stays_one_track(tmp_path):
    def blocks():
        gevlite.sleep(0.001)
        event.set()

    event = Event()
    with gevlite.trace.record(tmp_path / "t.json"):
        gevlite.get_hub().call_soon(blocks)
        event.wait()
        gevlite.sleep(0.001)
    found = Found(tmp_path / "t.json").check()
    assert sum(name.startswith("hub of MainThread") for name in found.names.values()) == 1
    assert "raw greenlet" not in found.names.values() and "" not in found.names.values()
