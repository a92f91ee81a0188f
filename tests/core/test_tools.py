"""Debuggers, profilers and coverage see greenlets, and the thread pool, as docs/tools.md says."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

import gevlite

# ---------------------------------------------------------------- pyinstrument

SAMPLED = """
import json, sys, time, gevlite
from pyinstrument import Profiler
from pyinstrument.renderers import JSONRenderer

def burn():
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        pass

def inner():
    burn()
    gevlite.sleep(0.001)
    burn()

def heavy():
    for _ in range(3):
        inner()

def light():
    for _ in range(3):
        gevlite.sleep(0.001)
        burn()

profiler = Profiler(interval=0.001, async_mode="disabled")
with profiler:
    gevlite.joinall([gevlite.spawn(heavy), gevlite.spawn(light)])

def in_pool():
    with Profiler(interval=0.001, async_mode="disabled") as inside:
        burn()
    return inside.output(JSONRenderer(show_all=True))

print(profiler.output(JSONRenderer(show_all=True)).strip())
print(gevlite.get_hub().threadpool.apply(in_pool).strip())
"""


def stacks(frame, above=()):
    """`{names of the functions, from the outermost one: seconds}`."""
    names = (*above, frame["function"])
    found = {names: frame["time"]}
    for child in frame["children"]:
        found |= stacks(child, names)
    return found


def test_pyinstrument_credits_the_function_of_the_greenlet_that_runs(run_script):
    pytest.importorskip("pyinstrument")
    in_greenlets, in_pool = (json.loads(line) for line in run_script(SAMPLED).stdout.splitlines())
    found = stacks(in_greenlets["root_frame"])
    burning = [names[: names.index("burn")] for names in found if "burn" in names]
    assert any(names[-2:] == ("heavy", "inner") for names in burning), found
    assert any(names[-1] == "light" for names in burning), found
    assert not [names for names in found if "heavy" in names and "light" in names], found
    assert any(names[-1] == "burn" or "burn" in names for names in stacks(in_pool["root_frame"]))


# ---------------------------------------------------------------- coverage

COVERED = """
import threading, gevlite
def in_greenlet():
    gevlite.sleep(0)
    return 1
def in_pool():
    for i in range(2):
        pass
    return 2
def in_thread():
    gevlite.sleep(0.001)
    return 3
jobs = [gevlite.spawn(in_greenlet) for _ in range(2)]
gevlite.joinall(jobs)
gevlite.get_hub().threadpool.apply(in_pool)
thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
"""


def test_coverage_with_the_documented_setting_counts_greenlets_threads_and_the_pool(tmp_path):
    pytest.importorskip("coverage")
    (tmp_path / "program.py").write_text(COVERED)
    (tmp_path / ".coveragerc").write_text("[run]\nconcurrency = thread, greenlet\n")
    environment = {**os.environ, "COVERAGE_CORE": "ctrace", "COVERAGE_FILE": str(tmp_path / "data")}
    environment.pop("COVERAGE_PROCESS_START", None)
    for command in (["run", "program.py"], ["json", "--include=program.py", "-o", "out.json"]):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=50,
        )
        assert done.returncode == 0 and "Warning" not in done.stderr, done.stdout + done.stderr
    (found,) = json.loads((tmp_path / "out.json").read_text())["files"].values()
    assert found["missing_lines"] == []


# ---------------------------------------------------------------- debugpy

DEBUGGED = """\
import sys
if "patched" in sys.argv:
    from gevlite import monkey
    monkey.patch_all()
import gevlite
def work(n):
    a = n
    gevlite.sleep(0.01)
    b = a + 1
    return b
other = gevlite.spawn(lambda: [gevlite.sleep(0.001) for _ in range(20)])
job = gevlite.spawn(work, 1)
job.join()
gevlite.get_hub().threadpool.apply(work, (7,))
other.join()
print("done")
"""
BREAK = 7


class Client:
    """The other side of the Debug Adapter Protocol."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")
        self.sent = 0

    def send(self, command, **arguments):
        self.sent += 1
        message = {"seq": self.sent, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return self.sent

    def ask(self, command, **arguments):
        number = self.send(command, **arguments)
        return self.wait(lambda message: message.get("request_seq") == number)["body"]

    def event(self, *names):
        return self.wait(lambda message: message.get("event") in names)

    def wait(self, condition):
        while True:
            length = None
            while (line := self.file.readline()) != b"\r\n":
                assert line, "the debugger has gone"
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            message = json.loads(self.file.read(length))
            assert message.get("success", True), message
            if condition(message):
                return message

    def close(self):
        self.file.close()
        self.socket.close()


@contextlib.contextmanager
def debugging(program, *arguments):
    """A Client, with a breakpoint in line BREAK, of the running program."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-Xfrozen_modules=off", "-m", "debugpy", "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        [*command, "--wait-for-client", str(program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
    )
    try:
        end = time.monotonic() + 30
        while True:
            try:
                client = Client(port)
                break
            except OSError:
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.05)
        with contextlib.closing(client):
            client.ask("initialize", adapterID="test", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
            client.send("attach", justMyCode=True)
            client.event("initialized")
            client.ask("setBreakpoints", source={"path": str(program)}, breakpoints=[{"line": BREAK}])
            client.send("configurationDone")
            yield client
            client.event("terminated", "exited")
        assert process.communicate(timeout=30)[0] == "done\n"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="debugpy is told of new greenlets by sys.monitoring")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("patched", [[], ["patched"]], ids=["not patched", "patched"])
def test_debugpy_stops_in_a_greenlet_and_steps_over_a_call_that_blocks(tmp_path, patched):
    pytest.importorskip("debugpy")
    program = tmp_path / "program.py"
    program.write_text(DEBUGGED)
    with debugging(program, *patched) as client:
        for n in (1, 7):  # in a greenlet, in a thread of the pool
            lines = []
            for _ in range(3):
                thread = client.event("stopped")["body"]["threadId"]
                top = client.ask("stackTrace", threadId=thread)["stackFrames"][0]
                lines.append((top["name"], top["line"]))
                if len(lines) < 3:
                    client.send("next", threadId=thread)
            (scope, *_) = client.ask("scopes", frameId=top["id"])["scopes"]
            variables = client.ask("variables", variablesReference=scope["variablesReference"])["variables"]
            assert lines == [("work", BREAK), ("work", BREAK + 1), ("work", BREAK + 2)]
            assert ("a", str(n)) in [(one["name"], one["value"]) for one in variables]
            client.send("continue", threadId=thread)


def test_the_programs_of_this_file_are_right():
    """Without any tool."""
    for program in (COVERED, DEBUGGED):
        exec(compile(program, "program.py", "exec"), {"__name__": "program"})
    gevlite.sleep(0)
