"""Real servers on 127.0.0.1 for tests, each in a process of its own.

The fixtures are available where a conftest.py imports them.
"""

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import PATIENCE


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
def running(command, port, log, stop=signal.SIGTERM, seconds=PATIENCE, **options):
    """A server that listens on `port`; ended afterwards by the signal `stop`."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        )
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


@pytest.fixture(scope="module", name="folder")
def folder_fixture():
    # Not below tmp_path: servers that give up root must be able to enter it, and pytest keeps closing its own folder to
    # all other users, also when it runs twice.
    with tempfile.TemporaryDirectory(prefix="gevlite-servers-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def redis_server(folder):
    port = free_port()
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running(command, port, folder / "redis.log", cwd=folder) as server:
        yield server


@contextlib.contextmanager
def postgres(folder):
    place = "/usr/lib/postgresql/*/bin"
    initdb, server = program("initdb", place), program("postgres", place)
    data, port = folder / "postgres", free_port()
    data.mkdir()
    options = {}
    if os.getuid() == 0:  # it refuses to run as root
        shutil.chown(data, "postgres", "postgres")
        options = {"user": "postgres", "group": "postgres", "extra_groups": []}
    subprocess.run(
        [initdb, "-D", data, "-A", "trust", "-U", "tester", "--no-sync", "--encoding=UTF8", "--locale=C"],
        check=True,
        capture_output=True,
        cwd=data,
        **options,
    )
    command = [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F", "-c", "max_connections=60"]
    with running(command, port, folder / "postgres.log", signal.SIGINT, cwd=data, **options) as it:
        yield it


@contextlib.contextmanager
def mariadb(folder):
    server = program("mariadbd", "/usr/sbin")
    install = program("mariadb-install-db")
    data, port = folder / "mariadb", free_port()
    user = ["--user=root"] if os.getuid() == 0 else []
    # Two that are installed at the same time must not share a folder for temporary tables.
    temporary = folder / "mariadb-temporary"
    temporary.mkdir()
    installed = subprocess.run(
        [
            install,
            "--no-defaults",
            f"--datadir={data}",
            f"--tmpdir={temporary}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *user,
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert installed.returncode == 0, installed.stdout
    command = [
        server,
        "--no-defaults",
        f"--datadir={data}",
        f"--tmpdir={temporary}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        *user,
        f"--socket={folder}/mariadb.sock",
        f"--pid-file={folder}/mariadb.pid",
        "--skip-grant-tables",
        "--skip-networking=0",
    ]
    with running(command, port, folder / "mariadb.log") as it:
        yield it


@contextlib.contextmanager
def mongodb(folder):
    """Not MongoDB's own server, which is in no package: see mongo_stub.py."""
    pytest.importorskip("pymongo")
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("mongo_stub.py")), str(port)]
    with running(command, port, folder / "mongodb.log") as server:
        yield server


@pytest.fixture(scope="module", name="redis_server")
def redis_server_fixture(folder):
    with redis_server(folder) as server:
        yield server


@pytest.fixture(scope="module", name="postgres")
def postgres_fixture(folder):
    with postgres(folder) as server:
        yield server


@pytest.fixture(scope="module", name="mariadb")
def mariadb_fixture(folder):
    with mariadb(folder) as server:
        yield server


@pytest.fixture(scope="module", name="mongodb")
def mongodb_fixture(folder):
    with mongodb(folder) as server:
        yield server
