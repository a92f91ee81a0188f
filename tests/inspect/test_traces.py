"""`python -m gevlite run --trace` and `python -m gevlite trace`: recording real processes."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest


def tracks(path):
    """The names of the tracks in a file, and the names of the slices of each."""
    events = json.loads(path.read_text())["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    found = {name: [] for name in names.values()}
    for e in events:
        if e["ph"] == "X":
            found[names[e["tid"]]].append(e["name"])
    return found


# ---------------------------------------------------------------- of a process that runs

BUSY = """
event = Event()
def waits():
    event.wait()
def works():
    while True:
        gevlite.sleep(0.001)
gevlite.spawn(waits)
worker = gevlite.spawn(works)
gevlite.idle()
say("ready")
told()
worker.kill()
import greenlet
while greenlet.gettrace() is not None or gevlite.get_hub().before_poll:
    gevlite.sleep(0.001)
"""


def test_a_process_is_recorded_while_it_runs(program, tmp_path):
    busy = program(BUSY)
    path = tmp_path / "t.json"
    done = busy.look("trace", "--seconds", "0.3", "-o", str(path))
    assert done.returncode == 0, done.stderr + busy.rest()
    assert done.stdout.startswith(f"{path}: 0.")
    found = tracks(path)
    assert found["waits"] == ["Event"]
    assert "sleep" in found["works"] and "running" in found["works"]
    assert any(name.startswith("hub of MainThread") and "poll" in slices for name, slices in found.items())
    again = busy.look("trace", "--seconds", "0.1", "--events", "1000", "-o", str(path))
    assert again.returncode == 0, again.stderr
    busy.goes_on()


def test_the_name_of_the_file_is_that_of_the_process(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    busy = program(BUSY)
    assert busy.look("trace", "--seconds", "0.1").returncode == 0
    assert "works" in tracks(tmp_path / f"trace-{busy.pid}.json")
    busy.goes_on()


def test_a_trace_that_runs_already_is_not_disturbed(program, tmp_path):
    own = BUSY.replace("worker.kill()", "worker.kill()\ngevlite.trace.stop()")
    busy = program("import gevlite.trace\ngevlite.trace.start('own.json')\n" + own)
    done = busy.look("trace", "--seconds", "0.1", "-o", str(tmp_path / "t.json"))
    assert done.returncode == 1 and "a trace is running already" in done.stderr
    busy.goes_on()
    assert "works" in tracks(busy.folder / "own.json")


def test_what_is_wrong_is_said_before_anything_is_done(start, tmp_path):
    busy = start(BUSY, GEVLITE_INSPECT="1")
    for arguments, text in (
        (("-o", str(tmp_path / "missing" / "t.json")), "No such file"),
        (("-o", str(tmp_path)), "Is a directory"),
        (("--seconds", "0"), "more than 0"),
        (("--events", "10"), "at least 1000"),
    ):
        done = busy.look("trace", *arguments)
        assert done.returncode in (1, 2) and text in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert busy.look("trace", "-o", str(tmp_path / "t"), pid=2**22 + 1).returncode == 1
    busy.goes_on()


def test_an_interrupt_ends_it_early(program, tmp_path):
    busy = program(BUSY)
    path = tmp_path / "t.json"
    command = [sys.executable, "-m", "gevlite", "trace", str(busy.pid), "--seconds", "600", "-o", str(path)]
    looker = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *command[3:]], env=busy.environment, stdout=subprocess.PIPE, text=True
    )
    assert looker.stdout.readline() == "sleeps\n"
    looker.send_signal(signal.SIGINT)
    assert looker.wait(40) == 0
    assert "works" in tracks(path)
    busy.goes_on()


INTERRUPTED = """
import sys, time
import gevlite.__main__
from gevlite._cli import trace
sleep = time.sleep
def says(seconds):
    if seconds > 100:
        print("sleeps", flush=True)
    while seconds > 0:  # a signal that comes just before a sleep begins does not end it
        sleep(min(seconds, 0.01))
        seconds -= 0.01
trace.time = type(time)("time")
trace.time.sleep = says
trace.select = type(time)("select")
trace.select.select = lambda *arguments: (says(arguments[-1]),)
sys.exit(gevlite.__main__.main(sys.argv[1:]))
"""


def test_the_wish_to_end_may_come_with_the_request(start, environment):
    busy = start(BUSY, GEVLITE_INSPECT="1")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite", f"{busy.pid}.sock"))
        connection.sendall(b"trace 5000 600\n\n")
        with connection.makefile("rb") as file:
            assert json.loads(file.readline())["pid"] == busy.pid
    busy.goes_on()


def test_ps_works_meanwhile(start, tmp_path):
    busy = start(BUSY, GEVLITE_INSPECT="1")
    arguments = ["trace", str(busy.pid), "--seconds", "600", "-o", str(tmp_path / "t.json")]
    looker = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *arguments], env=busy.environment, stdout=subprocess.PIPE, text=True
    )
    assert looker.stdout.readline() == "sleeps\n"
    assert "waits" in busy.shows("ps")
    looker.kill()  # without a request: the trace ends with its connection
    looker.wait()
    busy.goes_on()


# ---------------------------------------------------------------- of a whole program

SCRIPT = """
import os, signal, sys, threading, time
def sleeps():
    time.sleep(0.001)
thread = threading.Thread(target=sleeps, name="one")
thread.start()
thread.join()
"""


def run(folder, rest="", *options):
    (folder / "script.py").write_text(SCRIPT + rest)
    command = [sys.executable, "-m", "gevlite", "run", "--trace", "t.json", *options, "script.py", "argument"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50)


@pytest.mark.parametrize(
    "how, code",
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise ValueError('oh')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGHUP); time.sleep(30)", -signal.SIGHUP),
        ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); os.kill(os.getpid(), signal.SIGTERM)", 5),
        ("if not os.fork(): os.kill(os.getpid(), signal.SIGTERM)\nassert os.wait()[1] == signal.SIGTERM", 0),
    ],
)
def test_the_file_is_written_however_the_program_ends(tmp_path, how, code):
    done = run(tmp_path, how)
    assert done.returncode == code, done.stderr
    assert sorted(os.listdir(tmp_path)) == ["script.py", "t.json"]
    assert "sleep" in tracks(tmp_path / "t.json")["one sleeps"]


def test_os_exit_leaves_no_file(tmp_path):
    assert run(tmp_path, "os._exit(4)").returncode == 4
    assert os.listdir(tmp_path) == ["script.py"]


def test_what_runs_at_exit_is_recorded(tmp_path):
    done = run(
        tmp_path, "import atexit, gevlite\ndef last():\n    pass\natexit.register(lambda: gevlite.spawn(last).join())"
    )
    assert done.returncode == 0, done.stderr
    assert "last" in tracks(tmp_path / "t.json")


def test_a_file_that_cannot_be_written_is_refused_before_the_program_runs(tmp_path):
    (tmp_path / "t.json").mkdir()
    done = run(tmp_path, "print('ran')")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot write the trace to t.json: Is a directory" in done.stderr


@pytest.mark.parametrize(
    "options, text",
    [(("--trace",), "--trace needs a value"), (("--trace-events", "5", "script.py"), "a number of at least 1000")],
)
def test_bad_options_are_refused(tmp_path, options, text):
    done = subprocess.run(
        [sys.executable, "-m", "gevlite", "run", *options], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 2 and text in done.stderr


def test_the_size_of_the_buffer_can_be_given(tmp_path):
    done = run(tmp_path, "for _ in range(1000): time.sleep(1e-6)", "--trace-events=1000")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "t.json").read_text())["otherData"]["events"] == 1000
