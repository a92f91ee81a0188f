"""Tools that trace the running code notice switches, and find a Python frame in the hub."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import gevlite
from gevlite.event import Event

PROGRAM = """
import sys
if sys.argv[1:]:
    from gevlite import as_gevent; as_gevent.install()
    from gevent import monkey; monkey.patch_all()
import threading, time, gevlite
from gevlite.event import AsyncResult, Event
from gevlite.queue import Queue
if not sys.argv[1:]:
    threading.Thread = lambda target: gevlite.Greenlet(target)
    time.sleep = gevlite.sleep
turn = Event()
queue = Queue(1)

def sleeps(n):
    time.sleep(0.001)
    x = 1
    time.sleep(0)
    if n:
        y = 2
    else:
        y = 3
    return y

def waits():
    for i in range(3):
        queue.get()
        x = 1
    turn.wait()
    x = 2
    return x

def puts():
    for i in range(3):
        queue.put(i)
        x = 1
    turn.set()
    x = 2
    return x

def dies():
    try:
        Event().wait()
    except gevlite.GreenletExit:
        x = 1
        raise
    finally:
        x = 2

def times_out():
    with gevlite.Timeout(0.001, False):
        AsyncResult().get()
    x = 1
    return x

def deep(n):
    if n:
        deep(n - 1)
    else:
        gevlite.sleep(0.001)
    x = n
    return x

thread = threading.Thread(target=lambda: sleeps(1)); thread.start()
killed = gevlite.spawn(dies)
jobs = [gevlite.spawn(*call) for call in [(sleeps, 0), (waits,), (puts,), (times_out,), (deep, 3)]]
gevlite.idle()
killed.kill()
gevlite.joinall(jobs)
thread.join()
print("done")
"""


def measure(folder, core, concurrency, branch, patched):
    """`(lines that were not counted, branches that were not)` of PROGRAM."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    settings = folder / "rc"
    settings.write_text(f"[run]\nconcurrency={concurrency}\nbranch={branch}\ninclude={program}\n")
    environment = {**os.environ, "COVERAGE_CORE": core, "COVERAGE_FILE": str(folder / "data")}
    environment.pop("COVERAGE_PROCESS_START", None)
    run = [sys.executable, *(["-m", "gevlite.as_gevent"] if patched else []), "-m", "coverage", "run"]
    for command in (
        [*run, f"--rcfile={settings}", str(program), *(["patched"] if patched else [])],
        [sys.executable, "-m", "coverage", "json", f"--rcfile={settings}", "-o", str(folder / "out.json")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=50)
        assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((folder / "out.json").read_text())["files"].values()
    return found["missing_lines"], found.get("missing_branches", [])


CORES = [("ctrace", "gevent", True), ("ctrace", "greenlet", False), ("ctrace", "greenlet", True)]
if sys.version_info >= (3, 12):
    CORES.append(("sysmon", "thread", True))


@pytest.mark.parametrize("branch", ["false", "true"], ids=["lines", "branches"])
@pytest.mark.parametrize("core, concurrency, patched", CORES)
def test_coverage_counts_every_line(tmp_path, core, concurrency, patched, branch):
    if core == "sysmon" and branch == "true" and sys.version_info < (3, 14):
        core = "ctrace"  # sys.monitoring knows no branches there: coverage itself takes this one then
        concurrency = "gevent"
    lines, branches = measure(tmp_path, core, concurrency, branch, patched)
    other_way = range(3, 12)  # the lines for the other way to run it
    lines = [line for line in lines if line not in other_way]
    branches = [pair for pair in branches if pair[0] not in other_way]
    assert (lines, branches) == ([], [])


@pytest.fixture(params=["settrace", "setprofile"])
def calls(request):
    """The functions whose calls a tracer, or a profiler, sees."""
    seen = []

    def tell(frame, event, argument):
        if event == "call":
            seen.append((gevlite.getcurrent(), frame.f_code.co_name))

    install = getattr(sys, request.param)
    before = getattr(sys, request.param.replace("set", "get"))()
    install(tell)
    yield seen
    install(before)


def test_a_tracer_is_told_of_each_switch_back(calls):
    def wait():
        gevlite.sleep(0)
        gevlite.sleep(0.001)

    whole = gevlite.uninterrupted(wait)  # whose own frame is named `call`
    one, two = gevlite.spawn(whole), gevlite.spawn(whole)
    gevlite.joinall([one, two])
    for greenlet in (one, two):
        assert [name for who, name in calls if who is greenlet and name != "call"] == ["wait", "switched", "switched"]
    assert (gevlite.getcurrent(), "switched") in calls


def test_a_tracer_is_told_after_a_kill_and_a_timeout(calls, settle):
    @gevlite.uninterrupted
    def wait():
        try:
            with gevlite.Timeout(0.001, False):
                Event().wait()
            calls.append((gevlite.getcurrent(), "timed out"))
            Event().wait()
        finally:
            calls.append((gevlite.getcurrent(), "finally"))

    one = gevlite.spawn(wait)
    assert settle(lambda: (one, "timed out") in calls)
    one.kill()
    names = [name for who, name in calls if who is one and name in ("switched", "timed out", "finally")]
    assert names == ["switched", "timed out", "switched", "finally"]


def test_what_a_tracer_raises_reaches_the_greenlet_and_loses_nothing():
    from gevlite.queue import Queue

    queue = Queue()
    outcome = []

    def fail(frame, event, argument):
        if frame.f_code.co_name == "switched" and gevlite.getcurrent() is one:
            raise KeyError("the tracer's")

    def get():
        try:
            outcome.append(queue.get())
        except KeyError as exc:
            outcome.append(exc)

    one = gevlite.spawn(get)
    gevlite.idle()
    before = sys.gettrace()
    sys.settrace(fail)
    try:
        queue.put("item")
        one.join()
    finally:
        sys.settrace(before)
    assert isinstance(outcome[0], KeyError)
    two = gevlite.spawn(get)
    queue.put("other")
    two.join()


def test_stepping_in_pdb_shows_no_function_of_ours(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """\
            import gevlite
            gevlite.sleep(0)
            def work():
                gevlite.sleep(0)
                gevlite.sleep(0.001)
                x = "stepped over both"
            gevlite.spawn(work).join()
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pdb", str(program)],
        input="tbreak 4\ncontinue\nstep\nstep\nstep\nquit\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=50,
    )
    assert "stepped over both" in done.stdout, done.stdout + done.stderr
    assert "_frames.py" not in done.stdout, done.stdout


@pytest.mark.parametrize("kind", ["settrace", "setprofile"])
def test_threading_sets_it_for_green_threads(run_script, kind):
    done = run_script(
        f"""
        from gevlite import monkey; monkey.patch_all()
        import sys, threading, time
        seen = set()
        def tell(frame, event, argument):
            if event == "call":
                seen.add((threading.get_ident(), frame.f_code.co_name))
        def inner(): pass
        def work():
            time.sleep(0.001)
            inner()
        threading.{kind}(tell)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        threading.{kind}(None)
        sys.{kind}(None)
        for thread in threads:
            assert {{(thread.ident, "work"), (thread.ident, "inner")}} <= seen, seen
        """
    )
    assert done.stderr == ""


BEGIN = {
    "settrace": "sys.settrace(lambda *args: None)",
    "settrace of frames": "def trace(*args): return trace\nsys.settrace(trace)",
    "setprofile": "sys.setprofile(lambda *args: None)",
    "cProfile": "import cProfile; cProfile.Profile().enable()",
    "monitoring": """
tool = sys.monitoring
tool.use_tool_id(3, "test")
tool.register_callback(3, tool.events.RAISE, lambda *args: None)
tool.register_callback(3, tool.events.PY_UNWIND, lambda *args: None)
tool.set_events(3, tool.events.RAISE | tool.events.PY_UNWIND)
""",
}


@pytest.mark.parametrize("begin", BEGIN)
def test_exceptions_in_what_was_suspended_when_a_tool_began(begin):
    """Python 3.15 itself crashes there (python-greenlet/greenlet#368)."""
    if begin == "monitoring" and not hasattr(sys, "monitoring"):
        pytest.skip("sys.monitoring came with Python 3.12")
    program = Path(__file__).with_name("tool_begins_late.py")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(program), BEGIN[begin]], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- the hub's frame


def frames_of(frame):
    names = []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_the_hub_has_a_frame():
    found = []
    gevlite.get_hub().call_soon(lambda: found.append(frames_of(sys._getframe(1))))
    gevlite.sleep(0)
    assert found == [["hub_frame"]]


def test_a_thread_that_polls_is_seen_in_its_hub():
    """What faulthandler, py-spy and an attached debugger find while all greenlets wait."""
    ident = threading.get_ident()
    found = []

    def look():
        while not found or found[-1] != ["hub_frame"]:
            found.append(frames_of(sys._current_frames()[ident]))

    gevlite.get_hub().threadpool.apply(look)
    assert found[-1] == ["hub_frame"]


def test_a_signal_handler_that_comes_while_the_hub_polls_is_given_the_frame_that_waits(run_script):
    run_script(
        """
        import gevlite, signal
        found = []
        def waits():
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            while not found:
                gevlite.sleep(1)
        signal.signal(signal.SIGALRM, lambda number, frame: found.append(frame.f_code.co_name))
        gevlite.sleep(0.001)
        waits()
        assert found == ["waits"], found
        """
    )


@pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="remote debugging came with Python 3.14")
def test_a_remote_script_finds_a_frame(tmp_path, run_script):
    script = tmp_path / "remote.py"
    script.write_text(
        textwrap.dedent(
            """
            import __main__, sys
            frame = sys._getframe()
            while frame is not None:
                __main__.names.append(frame.f_code.co_name)
                frame = frame.f_back
            """
        )
    )
    run_script(
        """
        import os, sys, gevlite
        names = []
        sys.remote_exec(os.getpid(), sys.argv[1])
        while not names:
            gevlite.sleep(0.01)
        assert "hub_frame" in names or "<module>" in names[1:], names
        """,
        str(script),
    )
