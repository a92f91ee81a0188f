"""The watch: real programs in which a greenlet blocks the others are reported, and go on unharmed."""

import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest
from processes import until

import gevlite
from gevlite import _blocked, _native_calls
from gevlite._core import Tick

# Each program is a file, because the watch reads its source. `run` runs a function while three others wait; `lines` has
# the reports of the watch, and `words` all words of these, without the stacks. A blocking function blocks until it is
# reported, so no test depends on speed. On a busy machine, other lines may be reported too.
HEAD = """
import ctypes, hashlib, logging, os, queue, socket, subprocess, sys, threading, time
import gevlite
from gevlite.event import Event

lines = []
words = set()

class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
        words.update(without_stack(lines[-1]).split())

def without_stack(line):
    return line.partition("\\nStack")[0]

def about(text):
    "The reports with this text above the stack."
    return [line for line in lines if text in without_stack(line)]

logging.getLogger("gevlite.watch").addHandler(Keep())
gevlite.config.watch = 0.05
released = Event()
waiting = [gevlite.spawn(released.wait) for _ in range(2)]

def run(function):
    gevlite.spawn(function).join()

def over():
    "The program goes on: the others run and end."
    released.set()
    gevlite.joinall(waiting)
    print("unharmed")
"""


@pytest.fixture
def run_file(tmp_path):
    """`run_file(source)`: its lines on stdout, after those of HEAD; it ends with `unharmed`."""

    def run(source, *flags, head=HEAD, env=None, whole=False):
        script = tmp_path / "app.py"
        script.write_text(head + textwrap.dedent(source))
        result = subprocess.run(
            [sys.executable, "-X", "faulthandler", *flags, "app.py"],
            cwd=tmp_path,
            env={**os.environ, "GEVLITE_TIME_SLICE": "", **(env or {})},  # otherwise the others would not be blocked
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert not result.returncode, result.stdout + result.stderr
        if whole:
            return result
        *lines, last = result.stdout.splitlines()
        assert last == "unharmed" and not result.stderr, result.stdout + result.stderr
        return "\n".join(lines)

    return run


# ---------------------------------------------------------------- what it says


def test_a_greenlet_that_spins_is_reported_with_its_line_and_stack(run_file):
    said = run_file("""
        def parse():
            while not lines:
                pass

        def work():
            parse()

        run(work)
        print(*lines, sep="\\n--\\n")
        over()
    """).splitlines()
    assert said[0].startswith("parse (app.py:") and " has run for 0." in said[0]
    assert said[0].endswith(" s; 3 others wait"), "the two, and the main greenlet"
    assert said[1] == "Stack (most recent call last):"
    assert [line.rpartition(" in ")[2] for line in said if line.startswith("  File")] == ["work", "parse"]
    assert "    parse()" in said and "--" not in said


def test_a_callback_and_the_main_greenlet_are_reported_too(run_file):
    said = run_file("""
        def spin():
            count = len(lines)
            while len(lines) == count:
                pass

        def call():
            spin()

        gevlite.sleep(0)
        spin()
        gevlite.get_hub().call_soon(call)
        from gevlite import _blocked
        _blocked.QUIET_SECONDS = 0
        gevlite.idle()
        print(*(text.splitlines()[0] for text in about("spin")), sep="\\n")
        print("call" in about("spin")[1].split())
        over()
    """).splitlines()
    assert said[0].endswith("; 2 others wait") and said[1].endswith("; 3 others wait") and said[2] == "True"


@pytest.mark.parametrize(
    "call",
    [
        "ctypes.CDLL(None).usleep(20000)",
        'hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 50000)',
        "subprocess.check_call(['sleep', '0.05'])",
    ],
)
def test_what_sits_in_c_is_reported_at_the_line_that_calls_it(call, run_file):
    said = run_file(f"""
        def compute():
            while "compute" not in words:
                {call}

        run(compute)
        print(about("compute")[0])
        over()
    """)
    assert said.startswith("compute (app.py:") and "; 3 others wait" in said


def test_what_holds_the_gil_is_reported_as_soon_as_it_is_free(run_file):
    said = run_file("""
        from gevlite import _blocked
        _blocked.QUIET_SECONDS = 0
        library = ctypes.PyDLL(None)

        def compute():
            library.usleep(400000)

        while "GIL;" not in words:
            run(compute)
        print(*lines, sep="\\n")
        over()
    """)
    assert "in C code that holds the GIL; 3 others wait" in said and "compute (app.py:" in said


def test_what_was_over_when_the_gil_was_free_is_reported_too(monkeypatch, hub):
    seen = []
    monkeypatch.setattr(_blocked, "report_to", seen.append)
    waiter = gevlite.spawn(gevlite.sleep, 100)
    gevlite.sleep(0)
    assert _blocked._look(hub, 2.0, 1.5, 1, False) is None
    assert seen[0].line() == (
        "A greenlet without Python code has run for 2.0 s, of that 1.5 s in C code that holds the GIL; 1 other waits"
    )
    _blocked._look(hub, 2.0, 0.001, 1, False)
    assert len(seen) == 1
    waiter.kill()


def test_who_blocks_nobody_hears_nothing(run_file):
    said = run_file("""
        released.set()
        gevlite.joinall(waiting)
        from gevlite import _core
        looks = []
        tick = _core.Tick(gevlite.get_hub(), 0.2, lambda *arguments: looks.append(arguments))
        while not looks:            # so the watch has looked, too
            time.sleep(0.01)
        print(lines)
        over()
    """)
    assert said == "[]"


def test_a_greenlet_without_python_code_is_reported(run_file):
    said = run_file("""
        while "without" not in words:
            gevlite.spawn_raw(time.sleep, 0.2)
            gevlite.sleep(0.001)
        print(about("without Python code")[0])
        over()
    """)
    assert said.startswith("A greenlet without Python code has run for 0.") and said.count("\n") == 0


def test_a_hub_of_another_thread_is_named_by_it(run_file):
    said = run_file("""
        def spin():
            while "Indexer" not in words:
                pass

        def work():
            sleeper = gevlite.spawn(gevlite.sleep, 100)
            gevlite.spawn(spin).join()
            sleeper.kill()

        thread = threading.Thread(target=work, name="Indexer")
        thread.start()
        while thread.is_alive():
            gevlite.sleep(0.01)
        print(about("Indexer")[0])
        over()
    """)
    assert said.startswith("spin (app.py:") and " in Indexer has run for " in said


# ---------------------------------------------------------------- calls of the standard library

BLOCKS = {
    "time.sleep(0.01)": ("time.sleep", "gevlite.sleep"),
    "jobs.get(timeout=0.01)": ("SimpleQueue.get", "gevlite.queue"),
    "queue.Queue().get(timeout=0.01)": ("Queue.get", "gevlite.queue"),
    "held.acquire(timeout=0.01)": ("lock.acquire", "gevlite.threading"),
    "threading.Event().wait(0.01)": ("Event.wait", "gevlite.threading"),
    "sock.recv(10)": ("socket.recv", "gevlite.socket"),
    "sock.makefile('rb').readline()": ("SocketIO.readinto", "gevlite.socket"),
    "subprocess.Popen(['sleep', '0.02']).wait()": ("Popen.wait", "gevlite.subprocess"),
    "select.select([], [], [], 0.01)": ("select.select", "gevlite.select"),
    "os.read(pipe, 1)": ("os.read", "gevlite.os"),
}
BLOCKING = """
import select
from gevlite import _blocked
_blocked.QUIET_SECONDS = 0      # a look may find another line
held = threading.Lock()
held.acquire()
jobs = queue.SimpleQueue()
sock, other = socket.socketpair()
sock.settimeout(0.01)
pipe, end = os.pipe()

def fetch():
    while "blocks" not in words:
        try:
            {call}
        except (OSError, queue.Empty):
            pass

if {call!r}.startswith("os.read"):
    subprocess.Popen(["sh", "-c", "while echo x; do sleep 0.02; done"], stdout=end, stderr=subprocess.DEVNULL)
    os.close(end)
run(fetch)
print(*(line for text in lines for line in text.splitlines() if ": call gevlite" in line), sep="\\n")
os.close(pipe)
over()
"""


@pytest.mark.parametrize("call", BLOCKS)
def test_a_program_that_is_not_patched_hears_once_what_to_call_instead(call, run_file):
    name, instead = BLOCKS[call]
    said = run_file(BLOCKING.format(call=call))
    assert said == (
        f"{name} blocks all greenlets: call gevlite.monkey.patch_all() first, at the start of the program, or use "
        f"{instead}."
    )


def test_a_lock_entered_by_with_is_known(run_file):
    said = run_file("""
        held = threading.Lock()
        held.acquire()

        def release():
            while "lock.acquire" not in words:
                time.sleep(0.01)
            held.release()

        def work():
            with held:
                pass

        threading.Thread(target=release).start()
        run(work)
        print(about("lock.acquire")[0])
        over()
    """)
    assert "\nlock.acquire blocks all greenlets: call gevlite.monkey.patch_all() first" in said


def test_a_patched_program_hears_that_it_has_an_original(run_file):
    said = run_file(
        """
        def fetch():
            while "original" not in words:
                nap(0.01)

        run(fetch)
        print(*about("original"))
        over()
        """,
        "-W",
        "ignore",
        head="from time import sleep as nap\nfrom gevlite import monkey\nmonkey.patch_all()\n"
        "from gevlite import _blocked\n_blocked.QUIET_SECONDS = 0\n" + HEAD,
    )
    assert "\ntime.sleep is the original here, which blocks all greenlets: it was imported or made before " in said
    assert "Patch earlier, or use gevlite.sleep." in said


def test_what_a_frame_calls_is_found_without_running_code_of_the_program():
    class Proxy:
        def __getattr__(self, name):
            raise AssertionError("code of the program was run")

        @property
        def sleep(self):
            raise AssertionError("code of the program was run")

    def entered(thing, call):
        started = threading.Event()
        done = threading.Event()

        def work():
            started.set()
            call(thing, done)

        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        try:
            frame = until(lambda: frame_of(thread, call), "the call")
            return _native_calls.calls_of(frame)
        finally:
            done.set()
            thread.join()

    def frame_of(thread, call):
        frame = sys._current_frames().get(thread.ident)
        while frame is not None and frame.f_code is not call.__code__:
            frame = frame.f_back
        return frame

    def by_proxy(thing, done):
        (thing and done).wait()

    assert entered(Proxy(), by_proxy) == []


# ---------------------------------------------------------------- not too much


@pytest.fixture
def log(monkeypatch, tmp_path):
    """A log of its own; `.said` is what it writes, `.seconds` its clock."""
    monkeypatch.chdir(tmp_path)
    made = _blocked._Log()
    made.said = []
    made.seconds = 0.0
    monkeypatch.setattr(_blocked, "_warn", made.said.append)
    monkeypatch.setattr(_blocked, "monotonic", lambda: made.seconds)
    return made


def blocked(hub, line, run, seconds=1.0):
    return _blocked.Blocked(hub, run, seconds, 0.0, 2, [("/x/app.py", line, "parse")])


def test_the_same_line_is_told_once_a_minute_with_the_number_of_what_was_left_out(hub, log):
    assert log(blocked(hub, 8, 1)) == 1.0 and len(log.said) == 1
    log(blocked(hub, 8, 1, 2.0))
    log(blocked(hub, 8, 2, 1.5))
    log(blocked(hub, 8, 3, 1.0))
    assert len(log.said) == 1
    log(blocked(hub, 9, 4))
    assert len(log.said) == 2, "another line"
    log.seconds = 61.0
    log(blocked(hub, 8, 5))
    assert log.said[2].splitlines()[0] == (
        "parse (/x/app.py:8) has run for 1.0 s; 2 others wait (2 more since the last report, for up to 2.0 s)"
    )


def test_there_is_a_limit_for_all_lines_together(hub, log):
    for line in range(100):
        log(blocked(hub, line, line))
    assert len(log.said) == _blocked.MOST_LINES == len(log.told)
    log.seconds = 61.0
    log(blocked(hub, 1000, 1000))
    assert len(log.said) == _blocked.MOST_LINES + 1


def test_a_log_that_the_program_configures_later_gets_the_lines(run_file):
    result = run_file(
        """
        import logging.config, sys, gevlite
        waiting = gevlite.spawn(gevlite.sleep, 100)
        gevlite.sleep(0)
        logging.config.dictConfig({
            "version": 1,
            "handlers": {"out": {"class": "logging.StreamHandler", "stream": sys.stdout}},
            "root": {"handlers": ["out"]},
        })
        looks = []
        from gevlite import _blocked
        report = _blocked.report_to
        _blocked.report_to = lambda blocked: (report(blocked), looks.append(1))[0]
        while not looks:
            pass
        print("over")
        """,
        head="",
        env={"GEVLITE_WATCH": "0.5"},  # longer than anything before the loop takes
        whole=True,
    )
    assert "; 1 other waits" in result.stdout and result.stdout.endswith("over\n") and not result.stderr


# ---------------------------------------------------------------- on and off


def test_it_is_off_unless_it_is_asked_for(run_script):
    result = run_script(
        """
        import gevlite, os, sys
        gevlite.sleep(0)
        print(gevlite.config.watch, "gevlite._blocked" in sys.modules, len(os.listdir("/proc/self/task")))
        """
        if sys.platform == "linux"
        else """
        import gevlite, sys
        gevlite.sleep(0)
        print(gevlite.config.watch, "gevlite._blocked" in sys.modules, 1)
        """,
        env={"GEVLITE_WATCH": "", "GEVLITE_TIME_SLICE": ""},
    )
    assert result.stdout == "0.0 False 1\n"


def test_an_assignment_turns_it_off_and_on_again(run_file):
    said = run_file("""
        from gevlite import _core
        hub = gevlite.get_hub()

        def looked():
            looks = []
            tick = _core.Tick(hub, 0.2, lambda *arguments: looks.append(arguments))
            while not looks: time.sleep(0.01)       # one line, which is reported once
            tick.stop()

        gevlite.config.watch = 0
        lines.clear()           # a busy machine may have held it up before
        looked()
        print(len(lines), hub._watch)
        gevlite.config.watch = 0.05
        looked()
        print(sum("in looked" in line for line in lines))
        over()
    """)
    assert said == "0 None\n1"


@pytest.mark.parametrize(("text", "seconds"), [(None, 1.0), ("0", 0.0), ("", 0.0), ("0.5", 0.5)])
def test_a_program_that_gevlite_runs_is_watched(text, seconds, tmp_path):
    script = tmp_path / "app.py"
    script.write_text("import gevlite\nprint(gevlite.config.watch, getattr(gevlite.get_hub(), '_watch', None))\n")
    env = {name: value for name, value in os.environ.items() if name != "GEVLITE_WATCH"}
    if text is not None:
        env["GEVLITE_WATCH"] = text
    said = subprocess.check_output([sys.executable, "-m", "gevlite", "run", str(script)], env=env, text=True)
    assert said.startswith(f"{seconds} <gevlite._core.Tick object " if seconds else "0.0 None")


def test_a_bad_value_is_a_clear_error(tmp_path):
    script = tmp_path / "app.py"
    script.write_text("print('ran')")
    result = subprocess.run(
        [sys.executable, "-m", "gevlite", "run", str(script)],
        env={**os.environ, "GEVLITE_WATCH": "soon"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and not result.stdout
    assert "GEVLITE_WATCH must be a number of seconds, at least 0.01, or 0 for off, not 'soon'" in result.stderr


# ---------------------------------------------------------------- what it costs

IDLE = """
import json, logging, os, sys, time
import gevlite
from gevlite.event import Event

def say(what):
    os.write(1, json.dumps(what).encode() + b"\\n")

class Tell(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())

told = []
logging.getLogger("gevlite.watch").addHandler(Tell())
gevlite.config.watch = 0.04
waiting = gevlite.spawn(Event().wait)

def block():
    while not told:
        pass

def thread():
    while True:                     # it gives itself its name
        for name in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{name}/comm") as file:
                if file.read().strip() == "gevlite-ticker":
                    return int(name)

say(thread())
hub = gevlite.get_hub()
while True:
    hub.wait_fd(0, 1)
    if not os.read(0, 1):
        break
    told.clear()
    block()
    say(told[0].splitlines()[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_idle_process_is_not_woken_and_the_watch_is_there_when_it_goes_on(tmp_path):
    """How often the thread has given up its processor. A thread that checks regularly does so at each check."""
    script = tmp_path / "app.py"
    script.write_text(IDLE)
    program = subprocess.Popen(
        [sys.executable, "-c", "from gevlite import _blocked; _blocked.QUIET_SECONDS = 0; exec(open('app.py').read())"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def switches():
        with open(f"/proc/{program.pid}/task/{thread}/status") as file:
            return [line for line in file if line.startswith("voluntary_ctxt_switches")]

    def rests():
        before = switches()
        threading.Event().wait(0.5)  # more than ten looks of a busy process
        return switches() == before

    try:
        thread = json.loads(program.stdout.readline())
        for _ in range(3):
            # Three times: after a second, from Python 3.14 on, an idle main thread looks whether a debugger attaches.
            until(lambda: all(rests() for _ in range(3)), "the ticker to rest")
            program.stdin.write(b"x")
            program.stdin.flush()
            assert "block (<string>:" in json.loads(program.stdout.readline())
        program.stdin.close()
        assert program.wait(20) == 0
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


# ---------------------------------------------------------------- forks, hubs, the end


def test_the_child_of_a_fork_is_watched_and_python_sees_no_thread(run_file):
    said = run_file(
        """
        # One line each, which is reported once, however long it is held up on a busy machine.
        def spin_before():
            while "spin_before" not in words: pass

        def spin_in_child():
            while "spin_in_child" not in words: pass

        def spin_in_parent():
            while "spin_in_parent" not in words: pass

        run(spin_before)
        print(len(about("spin_")), flush=True)
        pid = os.fork()
        if not pid:
            run(spin_in_child)
            print("child", len(about("spin_")), flush=True)
            os._exit(0)
        print(os.waitpid(pid, 0)[1], flush=True)
        gevlite.sleep(0.001)
        run(spin_in_parent)
        print("parent", len(about("spin_")), flush=True)
        for _ in range(20):
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
        over()
        """,
        "-W",
        "error::DeprecationWarning",
    )
    assert said == "1\nchild 2\n0\nparent 2"


def test_hubs_that_end_are_forgotten(run_script):
    result = run_script(
        """
        import gc, threading, weakref
        import gevlite
        gc.disable()            # and not only when the collector finds them
        gone = []

        def work():
            hub = gevlite.get_hub()
            gone.append((weakref.ref(hub), weakref.ref(hub._watch.hub)))
            hub = None
            gevlite.sleep(0.001)

        for _ in range(5):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        gevlite.get_hub().destroy()
        gevlite.get_hub()
        gevlite.sleep(0.001)
        print([found() for pair in gone for found in pair])
        """,
        env={"GEVLITE_WATCH": "0.01"},
    )
    assert result.stdout == f"{[None] * 10}\n" and not result.stderr


def test_the_process_ends_whatever_the_watch_does(run_script):
    result = run_script(
        """
        import atexit, time
        import gevlite
        from gevlite import _core
        waiting = gevlite.spawn(gevlite.sleep, 100)
        gevlite.sleep(0)
        called = []

        def call(*arguments):
            called.append(1)
            time.sleep(0.05)
            return 0.001

        tick = _core.Tick(gevlite.get_hub(), 0.01, call)
        while not called:
            time.sleep(0.001)
        atexit.register(lambda: gevlite.sleep(0.01))
        class Late:
            def __del__(self):
                print("last")
        late = Late()
        """,
        env={"GEVLITE_WATCH": "0.01"},
    )
    assert result.stdout == "last\n"


def test_a_thread_of_its_own_is_no_thread_of_the_program(run_script):
    result = run_script(
        """
        import _thread, gevlite
        from gevlite.event import Event
        before = _thread._count()
        gevlite.get_hub()
        print(_thread._count() - before)
        try:
            Event().wait()
        except gevlite.LoopExit:
            print("LoopExit")
        """,
        env={"GEVLITE_WATCH": "0.01"},
    )
    assert result.stdout == "0\nLoopExit\n" and not result.stderr


# ---------------------------------------------------------------- Tick


def looked(hub, answer, times=1):
    """Block until the Tick has called so often; its arguments."""
    calls = []
    enough = threading.Event()

    def call(*arguments):
        calls.append(arguments)
        if len(calls) >= times:
            enough.set()
        return answer(calls) if callable(answer) else answer

    tick = Tick(hub, 0.02, call)
    try:
        assert enough.wait(30)
    finally:
        tick.stop()
    return calls


def test_it_calls_again_while_the_same_runs(hub):
    first, second, third = looked(hub, 0.01, 3)[:3]
    assert first[0] is hub and first[1] >= 0.02 and first[2] >= 0 and first[4] is True
    assert first[3] == second[3] == third[3] == hub.progress(), "one number for one run"
    assert first[1] < second[1] < third[1]


def test_it_does_not_call_again_if_the_answer_is_none_until_something_else_runs(hub):
    calls = []
    tick = Tick(hub, 0.02, lambda *arguments: calls.append(arguments))
    until(lambda: calls, "the first call")
    assert looked(hub, 0.01, 5), "which looks as often as it can"
    assert len(calls) == 1
    gevlite.sleep(0.001)
    until(lambda: len(calls) == 2, "the second one")
    tick.stop()
    assert calls[0][3] != calls[1][3]


def test_an_error_in_a_call_is_shown_and_other_ticks_go_on(hub, monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: shown.append((info.exc_type, info.object)))

    def fail(*arguments):
        raise LookupError

    tick = Tick(hub, 0.02, fail)
    looked(hub, 0.01, 5)
    until(lambda: shown, "the error")
    tick.stop()
    assert shown == [(LookupError, fail)]


@pytest.mark.parametrize("fails", [False, True])
def test_after_a_call_without_an_answer_or_with_an_error_the_next_runs_are_seen(hub, monkeypatch, fails):
    monkeypatch.setattr(sys, "unraisablehook", lambda info: None)
    calls = []

    def call(*arguments):
        calls.append(arguments)
        if fails:
            raise LookupError

    def run():
        before = len(calls)
        while len(calls) == before:
            pass

    tick = Tick(hub, 0.004, call)
    for _ in range(50):
        gevlite.spawn(run).get()
    tick.stop()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_tick_needs_a_time(seconds, hub):
    with pytest.raises(ValueError, match="seconds must be positive"):
        Tick(hub, seconds, print)


def test_a_hub_that_has_ended_cannot_be_watched():
    ended = []

    def work():
        ended.append(gevlite.get_hub())
        gevlite.get_hub().destroy()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    with pytest.raises(gevlite.hub.HubDestroyed):
        Tick(ended[0], 1, print)
