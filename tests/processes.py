"""Programs under test in processes of their own, and their clients, which are unpatched."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

PATIENCE = 60


def until(condition, what="the condition", seconds=PATIENCE):
    """Wait until it returns something true, in this process, which is not patched; returns that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return found


def state(pid):
    """The letter of its state, such as S while it sleeps and Z for a zombie; None: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between opening and reading
        return None


def alive(pid):
    return state(pid) not in (None, "Z")


class Connection:
    """Keeps its connection from one request to the next, if the server does."""

    def __init__(self, sock):
        self.http = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        self.http.sock = sock
        self.http.auto_open = 0

    def get(self, path="/", body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.http.request("GET" if body is None else "POST", path, body=body, headers=headers)
        response = self.http.getresponse()
        data = response.read()
        response.text = data.decode("utf-8", "replace")
        is_text = response.headers.get_content_type() == "text/plain" and "Content-Type" in response.headers
        response.json = json.loads(data) if response.status == 200 and not is_text else data
        return response

    def is_closed(self):
        try:
            return self.http.sock is None or self.http.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.http.close()


class WebServer:
    """A running server with processes of its own. Its output is in a file `log` in `folder`."""

    port = 0

    def __init__(self, folder, command, **popen):
        self.folder = folder
        self.connections = []
        self.logfile = folder / "log"
        with self.logfile.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, start_new_session=True, **popen
            )

    def serves(self, pattern):
        """Wait until its output says so; the pattern's first group, if it has one, is its port."""
        said = until(lambda: self.ended() or re.search(pattern, self.log()), "the ready message")
        assert not self.ended(), self.log()
        self.port = int(said[1] or 0)

    def log(self):
        return self.logfile.read_text()

    def said(self, pattern):
        return until(lambda: re.search(pattern, self.log()), f"{pattern!r} in\n{self.log()}")

    def ended(self):
        return self.process.poll() is not None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def open(self, sock=None):
        connection = Connection(sock or self.connect())
        self.connections.append(connection)
        return connection

    def get(self, path="/", **kwargs):
        return self.open().get(path, **kwargs)

    def started(self):
        """pids of workers in which a request sleeps or spins: the application has left a file for each."""
        return [int(path.name.removeprefix("started-")) for path in self.folder.glob("started-*")]

    def kill(self):
        """Kill it at once, in whatever state it is."""
        for connection in self.connections:
            connection.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the workers, too
        except ProcessLookupError:
            pass
        self.process.wait()
