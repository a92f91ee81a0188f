"""`gevlite serve` as a service of systemd: the sockets that it gets, and the messages that it sends."""

import os
import signal
import socket
import sys

import pytest
from processes import PATIENCE, until
from serve_process import Serve

pytest.importorskip("httptools")
pytestmark = pytest.mark.timeout(180)

# systemd's part for a service with sockets: they are the descriptors from 3 on.
ACTIVATE = """
import os, sys
count = int(sys.argv[1])
for i, fd in enumerate(sys.argv[2:2 + count]):
    os.dup2(int(fd), 3 + i)
os.environ.update(LISTEN_PID=str(os.getpid() + int(os.environ.get("OTHER", 0))), LISTEN_FDS=str(count))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


def activated(serving, listeners, *options, **kwargs):
    # Above those from 3 on, which are about to be replaced.
    high = [os.dup2(listener.fileno(), 100 + listener.fileno()) for listener in listeners]
    try:
        return serving(
            *options,
            bind=None,
            pass_fds=high,
            under=[sys.executable, "-c", ACTIVATE, str(len(high)), *map(str, high)],
            **kwargs,
        )
    finally:
        for fd in high:
            os.close(fd)


class Systemd:
    """Receives the messages of a service."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(path)
        self.environ = {"NOTIFY_SOCKET": path}

    def hears(self, name):
        """The next message that contains `name`, as a dict."""
        while True:
            said = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))
            if name in said:
                return said


@pytest.fixture(params=["a file", "an abstract name"])
def systemd(tmp_path, request):
    listening = Systemd(str(tmp_path / "notify") if request.param == "a file" else f"\0gevlite-{os.getpid()}")
    if request.param == "an abstract name":
        listening.environ["NOTIFY_SOCKET"] = "@" + listening.environ["NOTIFY_SOCKET"][1:]
    yield listening
    listening.socket.close()


def test_sockets_that_are_passed_are_served(serving, tmp_path):
    path = str(tmp_path / "site.sock")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        server = activated(serving, [tcp, unix], "-w", "1")
        assert server.port == tcp.getsockname()[1]
        assert server.get().status == 200
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        assert server.open(client).get().status == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        # They belong to systemd: a client that connects now waits for the next process.
        assert os.path.exists(path)
        waiting = server.connect()
        server = activated(serving, [tcp], "-w", "1")
        assert server.open(waiting).get().status == 200


def test_what_is_passed_to_another_process_is_not_served(serving):
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        server = activated(serving, [tcp], "--bind", "127.0.0.1:0", env={"OTHER": "1"})
        assert server.port != tcp.getsockname()[1]


def test_it_is_told_when_workers_serve_and_of_reload_and_stop(serving, systemd):
    server = serving(env=systemd.environ)
    ready = systemd.hears("READY")
    assert ready["READY"] == "1" and int(ready["MAINPID"]) == server.process.pid
    assert ready["STATUS"].startswith("Serving site_app:application on http://127.0.0.1:")
    server.signal(signal.SIGHUP)
    reloading = systemd.hears("RELOADING")
    assert reloading["RELOADING"] == "1" and int(reloading["MONOTONIC_USEC"]) > 0
    assert systemd.hears("READY")["READY"] == "1"
    server.application.write_text("1 / 0\n")
    server.signal(signal.SIGHUP)
    systemd.hears("RELOADING")
    assert systemd.hears("READY")["STATUS"] == "The last reload failed"
    server.signal(signal.SIGTERM)
    assert systemd.hears("STOPPING")["STOPPING"] == "1"
    assert server.wait() == 0


def test_ready_is_said_once_all_workers_have_loaded_the_application(tmp_path):
    systemd = Systemd(str(tmp_path / "notify"))
    (tmp_path / "site_app.py").write_text(
        "import os, time\n"
        "while not os.path.exists('go'):\n    time.sleep(0.01)\n"
        "def application(e, s):\n    s('200 OK', [])\n    return [b'']\n"
    )
    server = Serve(tmp_path, "-w", "2", env=systemd.environ, boots=False)
    try:
        until(lambda: len(server.workers()) == 2, "the workers")
        systemd.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            systemd.hears("READY")
        systemd.socket.settimeout(PATIENCE)
        (tmp_path / "go").touch()
        systemd.hears("READY")
    finally:
        server.kill()
        systemd.socket.close()


def test_the_watchdog_is_fed_if_it_is_asked_for(serving, systemd):
    server = serving(env={**systemd.environ, "WATCHDOG_USEC": "400000"})
    for _ in range(5):
        assert systemd.hears("WATCHDOG")["WATCHDOG"] == "1"
    # A stopped supervisor does not feed the watchdog.
    server.signal(signal.SIGSTOP)
    systemd.socket.settimeout(2)
    with pytest.raises(TimeoutError):
        while True:
            systemd.hears("WATCHDOG")
    server.signal(signal.SIGCONT)
    systemd.socket.settimeout(PATIENCE)
    systemd.hears("WATCHDOG")


def test_the_watchdog_of_another_process_is_not_fed(serving, systemd):
    serving(env={**systemd.environ, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
    systemd.hears("READY")
    systemd.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        systemd.hears("WATCHDOG")


def test_what_systemd_told_the_supervisor_is_not_told_to_the_application(serving, tmp_path, systemd):
    (tmp_path / "site_app.py").write_text(
        "import json, os\n"
        "def application(e, s):\n    s('200 OK', [])\n    return [json.dumps(dict(os.environ)).encode()]\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        server = activated(serving, [tcp], env={**systemd.environ, "WATCHDOG_USEC": "100000000"})
        seen = server.get().json
    assert not seen.keys() & {"LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET", "WATCHDOG_USEC"}
