"""Real processes, each in some state, and `python -m gevlite ps` and the others that look at them."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap

import pytest
from processes import until

PRELUDE = """
import os, sys
import gevlite
from gevlite.event import Event
from gevlite.lock import RLock, Semaphore
from gevlite.pool import Pool
from gevlite.queue import Queue

def told():
    "Blocks the greenlet until the test has written a line."
    gevlite.get_hub().wait_fd(0, 1)
    os.read(0, 100)

def say(text):
    os.write(1, text.encode() + b"\\n")

"""


class Program:
    """A process under test. It prints `ready` when it is in its state, and goes on at a request."""

    def __init__(self, folder, source, environment):
        script = folder / "app.py"
        # The test's own lines begin at line 101.
        script.write_text(PRELUDE + "\n" * (100 - PRELUDE.count("\n")) + textwrap.dedent(source).lstrip("\n"))
        self.folder = folder
        self.environment = environment
        self.process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self.process.pid
        self.ready = self.line()

    def line(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return line.rstrip("\n")

    def look(self, *arguments, pid=None, stdin=""):
        """Run `python -m gevlite ARGUMENTS PID`."""
        command = [sys.executable, "-m", "gevlite", *arguments, str(pid or self.pid)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=50, input=stdin)

    def begin(self, *arguments, **popen):
        """The same, without waiting for its end."""
        command = [sys.executable, "-m", "gevlite", *arguments, str(self.pid)]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=self.environment, **{**streams, **popen})

    def shows(self, *arguments, pid=None):
        """Its output; there must be no error."""
        done = self.look(*(arguments or ("ps",)), pid=pid)
        assert done.returncode == 0, done.stderr + self.rest()
        return done.stdout

    def as_json(self):
        return json.loads(self.shows("ps", "--json"))

    def rest(self):
        if self.process.poll() is None:
            return ""
        return self.process.stderr.read()

    def goes_on(self):
        """Make it go on: it runs to its end, and has printed no error."""
        out, err = self.process.communicate("go\n", timeout=40)
        assert (self.process.returncode, err) == (0, ""), out + err
        return out

    def close(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@pytest.fixture
def environment(tmp_path):
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEVLITE_I", "GEVLITE_D"))}
    # Python warns of each fork of a process that has threads.
    filters = "ignore::DeprecationWarning,error::RuntimeWarning"
    return {**kept, "XDG_RUNTIME_DIR": str(runtime), "PYTHONWARNINGS": filters}


WAYS = ["socket", "remote"] if hasattr(sys, "remote_exec") else ["socket"]


@pytest.fixture(params=WAYS)
def way(request):
    """The way in which the process can be inspected."""
    return request.param


def _prepared(way):
    return {"GEVLITE_INSPECT": "1"} if way == "socket" else {}


@pytest.fixture
def start(tmp_path, environment):
    """`start(source, **environment)`: a Program that can be inspected as the variables say."""
    programs = []

    def make(source, **variables):
        folder = tmp_path / f"program{len(programs)}"
        folder.mkdir()
        programs.append(Program(folder, source, {**environment, **variables}))
        return programs[-1]

    yield make
    for program in programs:
        program.close()


@pytest.fixture
def program(start, way):
    """`start` in each way."""

    def make(source):
        return start(source, **_prepared(way))

    return make


class Gunicorn:
    """A master of gunicorn, and its workers. A request for /slow does not end."""

    APPLICATION = """
import gevlite
def application(environ, start_response):
    start_response('200 OK', [('Content-Length', '2')])
    if environ['PATH_INFO'] == '/slow':
        gevlite.sleep(1000)
    return [b'ok']
"""

    def __init__(self, folder, environment, workers):
        (folder / "app.py").write_text(self.APPLICATION.lstrip("\n"))
        self.address = str(folder / "http.sock")
        self.environment = {**environment, "HOME": str(folder)}
        worker = "gevlite.integrations.gunicorn.GevliteWorker"
        options = ["-k", worker, "-w", str(workers), "-b", f"unix:{self.address}"]
        with (folder / "log").open("w") as log:
            self.master = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *options, "app:application"],
                cwd=folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.connections = []
        self.log = folder / "log"
        self.count = workers

    def wait_for_workers(self):
        """The numbers of their processes, as text, when they serve."""
        until(lambda: len(self.booted()) == self.count)
        until(lambda: os.path.exists(self.address))
        return self.booted()

    def booted(self):
        return re.findall(r"Booting worker with pid: (\d+)", self.log.read_text())

    def ask(self, path):
        """A connection on which the request was sent."""
        connection = socket.socket(socket.AF_UNIX)
        self.connections.append(connection)
        connection.settimeout(50)
        connection.connect(self.address)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return connection

    def look(self, *arguments, stdin=""):
        """Run `python -m gevlite ARGUMENTS`."""
        command = [sys.executable, "-m", "gevlite", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=55, input=stdin)

    def close(self):
        for connection in self.connections:
            connection.close()
        self.master.send_signal(signal.SIGQUIT)
        try:
            self.master.wait(30)
        except subprocess.TimeoutExpired:
            self.master.kill()
            self.master.wait()


@pytest.fixture
def gunicorn(tmp_path, environment, way):
    """`gunicorn(workers)`: a Gunicorn that can be inspected in each way."""
    pytest.importorskip("gunicorn.config")
    pytest.importorskip("httptools")
    started = []

    def make(workers):
        started.append(Gunicorn(tmp_path, {**environment, **_prepared(way)}, workers))
        return started[-1]

    yield make
    for one in started:
        one.close()


@pytest.fixture
def sockets(environment):
    """The names of the existing sockets."""

    def names():
        folder = os.path.join(environment["XDG_RUNTIME_DIR"], "gevlite")
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    return names


@pytest.fixture
def wait_for():
    return until
