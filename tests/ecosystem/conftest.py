"""Real servers on 127.0.0.1 for the libraries under test, each started once, each a process of its own."""

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import pytest

# What every script begins with. `together(n, f)` runs f(0) ... f(n - 1) at once and checks that they wait at once.
PRELUDE = """
from gevlite import monkey
monkey.patch_all()
import sys, time
import gevlite

SECONDS = 0.25      # that each call takes

def together(count, function, seconds=SECONDS):
    start = time.monotonic()
    jobs = [gevlite.spawn(function, i) for i in range(count)]
    gevlite.joinall(jobs, timeout=40, raise_error=True)
    took = time.monotonic() - start
    assert all(job.ready() for job in jobs)
    assert took >= seconds * 0.9, took
    assert took < count * seconds / 2, f"{count} calls of {seconds} s took {took:.2f} s: one after the other"
    return [job.value for job in jobs]
"""


def program(name, *places):
    """The path of a server's program; the test is skipped, and says why, if there is none."""
    for place in ("", *places):
        found = sorted(glob.glob(os.path.join(place, name))) if place else []
        path = found[-1] if found else shutil.which(name)
        if path:
            return path
    pytest.skip(f"{name} is not installed")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def running(command, port, log, stop=signal.SIGTERM, seconds=40, **options):
    """A server that listens on `port`; ended afterwards by the signal `stop`."""
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True, **options)
    try:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
            time.sleep(0.05)
        yield SimpleNamespace(host="127.0.0.1", port=port, process=process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    folder.chmod(0o755)
    for parent in folder.parents:       # servers that give up root have to get there
        if parent.stat().st_uid != os.getuid() or parent == parent.parent:
            break
        parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@pytest.fixture(scope="module")
def redis_server(folder):
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running(command, port, folder / "redis.log", cwd=folder) as server:
        yield server


@pytest.fixture(scope="module")
def memcached(folder):
    port = free_port()
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), *user]
    with running(command, port, folder / "memcached.log") as server:
        yield server


@pytest.fixture(scope="module")
def postgres(folder):
    place = "/usr/lib/postgresql/*/bin"
    initdb, postgres = program("initdb", place), program("postgres", place)
    data, port = folder / "postgres", free_port()
    data.mkdir()
    options = {}
    if os.getuid() == 0:        # it refuses to run as root
        shutil.chown(data, "postgres", "postgres")
        options = {"user": "postgres", "group": "postgres", "extra_groups": []}
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "tester", "--no-sync", "--encoding=UTF8", "--locale=C"],
                   check=True, capture_output=True, cwd=data, **options)
    command = [postgres, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F", "-c", "max_connections=60"]
    with running(command, port, folder / "postgres.log", signal.SIGINT, cwd=data, **options) as server:
        yield server


@pytest.fixture(scope="module")
def mariadb(folder):
    server = program("mariadbd", "/usr/sbin")
    install = program("mariadb-install-db")
    data, port = folder / "mariadb", free_port()
    user = ["--user=root"] if os.getuid() == 0 else []
    subprocess.run([install, f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db", *user],
                   check=True, capture_output=True)
    command = [server, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1", *user,
               f"--socket={folder}/mariadb.sock", f"--pid-file={folder}/mariadb.pid", "--skip-grant-tables",
               "--skip-networking=0"]
    with running(command, port, folder / "mariadb.log") as it:
        yield it


@pytest.fixture(scope="module")
def moto(folder):
    """Amazon's services, as far as moto imitates them."""
    port = free_port()
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port, folder / "moto.log", env=environment) as server:
        yield server


# A threading server of the standard library in a process of its own, so that it cannot be what blocks.
SLOW_SERVER = """
import http.server, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(0.25)
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def slow_server(folder):
    port = free_port()
    with running([sys.executable, "-c", SLOW_SERVER, str(port)], port, folder / "http.log") as server:
        yield server


SLOW_PROXY = """
import asyncio, sys

async def pump(reader, writer, delay):
    try:
        while data := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()

async def serve(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pump(reader, there[1], float(sys.argv[3])), pump(there[0], writer, 0))

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture
def slowed(tmp_path):
    """`slowed(server, seconds)`: a port that leads to the server and holds up each request for so long."""
    with contextlib.ExitStack() as stack:

        def slow(server, seconds=0.25):
            port = free_port()
            command = [sys.executable, "-c", SLOW_PROXY, str(port), str(server.port), str(seconds)]
            return stack.enter_context(running(command, port, tmp_path / f"proxy-{port}.log")).port

        yield slow


@pytest.fixture
def run(tmp_path):
    """`run(code, *arguments)`: run the script patched, in a process of its own; returns what it prints."""

    def run(code, *arguments):
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + textwrap.dedent(code))
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "no_proxy": "*"}
        done = subprocess.run([sys.executable, path, *map(str, arguments)], capture_output=True, text=True, timeout=55,
                              env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split()

    return run
