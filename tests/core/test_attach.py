"""A debugger that attaches to an idle process (Python 3.14) does not have to wait."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from processes import until

from gevlite import backends

pytestmark = pytest.mark.skipif(
    not hasattr(sys, "remote_exec") or not sys.platform.startswith("linux"),
    reason="remote debugging came with Python 3.14; other kernels tell nothing",
)

IDLE = """
import os, sys
import gevlite
from gevlite import socket

if "patched" in sys.argv:
    from gevlite import monkey
    monkey.patch_all()

here = "the main greenlet waits here"
listener = socket.create_server(("127.0.0.1", 0))

def answer():
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"stopped" if sys.gettrace() else b"runs")
        connection.close()

server = gevlite.spawn(answer)
print(listener.getsockname()[1], flush=True)
if "fork" in sys.argv:
    child = os.fork()
    if child:
        print(child, flush=True)
server.join()
here = "the end"
"""


def watches(pid):
    """The descriptors through which the kernel reports that a debugger attaches. (For a moment it has many.)"""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:inotify":
                found.append(int(fd))
    return found


@pytest.fixture(scope="module", autouse=True)
def instances():
    """The system gives each user only a few; a process that gets none works without them."""
    libc = ctypes.CDLL(None, use_errno=True)
    held = [libc.inotify_init() for _ in range(48)]
    for fd in held:
        if fd >= 0:
            os.close(fd)
    if min(held) < 0:
        pytest.skip("others hold the inotify instances of this user")


@pytest.fixture
def idle(tmp_path):
    """`idle(*arguments, backend=...)` starts a process and waits until it has been idle for a while."""
    program = tmp_path / "idle.py"
    program.write_text(IDLE)
    started = []

    def start(*arguments, **variables):
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(program), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
            start_new_session=True,
        )
        started.append(process)
        process.port = int(process.stdout.readline())
        until(lambda: len(watches(process.pid)) == 1)
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def run_in(pid, tmp_path, name="script"):
    """Make a process run a script; True if it does so although it has nothing else to do."""
    script, told = tmp_path / f"{name}.py", tmp_path / f"{name}.out"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys
            with open({str(told)!r} + "~", "w") as file:
                file.write(sys._getframe(1).f_globals.get("here", "in a module of the library"))
            import os
            os.rename({str(told)!r} + "~", {str(told)!r})
            """
        )
    )
    sys.remote_exec(pid, str(script))
    return until(told.exists) and told.read_text()


@pytest.mark.parametrize("backend", [name for name, problem in backends.available().items() if problem is None])
def test_a_remote_script_runs_at_once_in_an_idle_process(idle, tmp_path, backend):
    process = idle(GEVLITE_BACKEND=backend)
    for name in ("first", "second"):
        assert run_in(process.pid, tmp_path, name) == "the main greenlet waits here"


def test_a_forked_child_watches_for_itself(idle, tmp_path):
    process = idle("fork")
    child = int(process.stdout.readline())
    until(lambda: len(watches(child)) == len(watches(process.pid)) == 1)
    assert run_in(child, tmp_path, "child")
    assert run_in(process.pid, tmp_path, "parent")


def may_debug_siblings():
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            return int(file.read()) == 0 or os.geteuid() == 0
    except OSError:
        return True


class Debugger:
    """`python -m pdb -p PID`, at its first prompt."""

    def __init__(self, pid):
        if not may_debug_siblings():
            pytest.skip("this kernel lets only parents debug a process")
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pdb", "-p", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHON_COLORS": "0"},
        )
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        while text := self.process.stdout.read(1):
            self.output += text

    def prompts(self):
        return self.output.count("(Pdb) ")

    def write(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def say(self, command):
        """Returns the output up to the next prompt."""
        before, at = self.prompts(), len(self.output)
        self.write(command)
        until(lambda: self.prompts() > before, "a prompt")
        return self.output[at:]

    def __enter__(self):
        until(self.prompts, "a prompt")
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


def ask(process):
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as connection:
        return connection.recv(100)


@pytest.mark.parametrize("patched", [(), ("patched",)], ids=["unpatched", "patched"])
def test_pdb_has_its_prompt_at_once(idle, patched):
    process = idle(*patched)
    with Debugger(process.pid) as debugger:
        assert "server.join()" in debugger.output
        assert "waits here" in debugger.say("p here")
        if patched:
            assert ask(process) == b"stopped"  # only the main greenlet is
        debugger.write("continue")
        until(lambda: ask(process) == b"runs")
        before = debugger.prompts()
        debugger.process.send_signal(signal.SIGINT)
        until(lambda: debugger.prompts() > before, "a prompt")
        debugger.write("quit")
        assert debugger.process.wait(20) == 0
    assert process.poll() is None
    assert ask(process) == b"runs"
    with Debugger(process.pid) as debugger:
        assert "server.join()" in debugger.output


def test_stepping_goes_on_in_the_frame_that_waits(idle):
    process = idle()
    with Debugger(process.pid) as debugger:
        debugger.say("server.kill(block=False)")
        assert "the end" in debugger.say("next")


def test_an_idle_process_does_not_wake_up(idle, tmp_path):
    process = idle()

    def quiet():
        before = context_switches(process.pid)
        time.sleep(1.2)
        return context_switches(process.pid) == before

    until(quiet)
    assert run_in(process.pid, tmp_path)
    until(quiet)


def context_switches(pid):
    with open(f"/proc/{pid}/status") as file:
        return [line for line in file if "ctxt_switches" in line]


def test_a_process_does_without_where_it_must(run_script):
    run_script(
        """
        import os, resource, sys
        import gevlite

        hub = gevlite.get_hub()
        gevlite.sleep(0)
        before = os.listdir("/proc/self/fd")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, before)) + 10, 100))
        gevlite.sleep(1.2)
        assert os.listdir("/proc/self/fd") == before
        """
    )


def test_nobody_watches_who_may_not_be_debugged(run_script):
    run_script(
        """
        import os
        import gevlite

        gevlite.sleep(1.2)
        paths = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        assert "anon_inode:inotify" not in [os.readlink(path) for path in paths if os.path.lexists(path)]
        """,
        flags=["-X", "disable-remote-debug"],
    )
