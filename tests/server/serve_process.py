"""`python -m gevlite serve` in a process, its clients, and its output."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter

from processes import PATIENCE, Connection, WebServer, alive, until

APPLICATION = """
import json, os, time

VERSION = "one"

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/sleep/") or path == "/spin":
        with open(f"started-{os.getpid()}", "w"):
            pass
    if path.startswith("/sleep/"):
        time.sleep(float(path.removeprefix("/sleep/")))
    elif path == "/spin":
        while True:
            pass
    elif path == "/die":
        os._exit(3)
    elif path == "/grow":
        KEPT.append(b"x" * (200 << 20))
    elif path == "/boom":
        raise ValueError("a secret")
    answer = {"pid": os.getpid(), "version": VERSION}
    answer |= {name: str(value) for name, value in environ.items()}
    data = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]

KEPT = []

def factory():
    return application

nothing = None

async def asynchronous(scope, receive, send):
    pass
"""


class Serve(WebServer):
    """A running `python -m gevlite serve`. boots: wait until it serves. under: a command that executes it."""

    def __init__(
        self, folder, *options, app="site_app:application", bind="127.0.0.1:0", env=None, boots=True, under=(), **popen
    ):
        self.application = folder / "site_app.py"
        if not self.application.exists():
            self.application.write_text(APPLICATION)
        binds = ["--bind", bind] if bind else []
        # An application that is rewritten within a second, in the same size, must not come from __pycache__.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        command = [*under, sys.executable, "-m", "gevlite", "serve", *binds, *options, app]
        super().__init__(folder, command, env=environment, stdin=subprocess.DEVNULL, **popen)
        if boots:
            self.serves(r"Serving .* on (?:https?://[\d.]+:(\d+)|unix)")

    def pid(self):
        return self.get().json["pid"]

    def workers(self):
        """The pids of the processes that it has forked."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
                return {int(pid) for pid in file.read().split() if alive(int(pid))}
        except FileNotFoundError:
            return set()


class Crowd:
    """Clients, each a thread, that send one request after the other as long as the `with` block lasts.

    `lost` counts the requests that got no answer 200. Each had a connection: a new one, or one that the server had not
    announced to close.
    """

    def __init__(self, connect, count=20, path="/"):
        self.connect, self.path = connect, path
        self.answered, self.lost, self.pids = Counter(), Counter(), set()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.visit, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        try:
            until(lambda: self.lost or len(self.answered) == len(self.threads), "each client's first answer")
        except BaseException:
            self.over.set()
            raise
        return self

    def __exit__(self, *exc_info):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def visit(self, number):
        connection = None
        while not self.over.is_set():
            try:
                if connection is None:
                    connection = Connection(self.connect())
                response = connection.get(self.path)
                if response.status != 200:
                    raise ConnectionError(f"status {response.status}")
                self.pids.add(response.json["pid"])
                self.answered[number] += 1
            except (OSError, http.client.HTTPException, ValueError) as exc:
                self.lost[repr(exc)] += 1
                response = None
            if response is None or response.will_close:
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def wait_for_more(self, count=3):
        """Wait until each of them has got `count` more answers, or has lost a request."""
        before = self.answered.copy()
        until(lambda: self.lost or all(self.answered[one] >= before[one] + count for one in before), "answers")


class Nginx:
    """nginx that passes requests to `upstream` ("127.0.0.1:8000", "unix:/path"), on connections that it keeps."""

    def __init__(self, folder, upstream):
        self.folder = folder
        (folder / "nginx").mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "nginx" / "conf").write_text(f"""
            {"user root;" if os.getuid() == 0 else ""}
            daemon off; pid {folder}/nginx/pid; error_log {folder}/nginx/error.log; worker_processes 1;
            events {{ worker_connections 500; }}
            http {{
                access_log off;
                client_body_temp_path {folder}/nginx/body; proxy_temp_path {folder}/nginx/proxy;
                fastcgi_temp_path {folder}/nginx/f; uwsgi_temp_path {folder}/nginx/u; scgi_temp_path {folder}/nginx/s;
                upstream site {{ server {upstream}; keepalive 20; keepalive_requests 1000000; }}
                server {{
                    listen 127.0.0.1:{self.port};
                    location / {{
                        proxy_pass http://site; proxy_http_version 1.1; proxy_set_header Connection "";
                        proxy_next_upstream off; keepalive_requests 1000000;
                        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                        proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Forwarded-Host example.org;
                    }}
                }}
            }}""")
        self.process = subprocess.Popen(
            ["nginx", "-p", f"{folder}/nginx", "-c", f"{folder}/nginx/conf", "-e", f"{folder}/nginx/error.log"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self.answers, "nginx")

    def answers(self):
        assert self.process.poll() is None, (self.folder / "nginx" / "error.log").read_text()
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return True

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
