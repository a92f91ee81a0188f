"""Async views of Flask and Django on each of the servers: all answers are right, and the views overlap."""

import concurrent.futures
import http.client
import json
import os
import sys
from pathlib import Path

import pytest
from processes import PATIENCE, WebServer

for module in ("asgiref", "django", "flask", "gunicorn"):
    pytest.importorskip(module)

pytestmark = pytest.mark.timeout(180)

HERE = Path(__file__).parent

WSGI_SERVER = """
from gevlite import monkey
monkey.patch_all()
import async_views, sys
from gevlite.pywsgi import WSGIServer
server = WSGIServer(("127.0.0.1", 0), getattr(async_views, sys.argv[1]), log=None)
server.start()
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""

SERVERS = {
    "gunicorn": [
        *("-m", "gunicorn", "-k", "gevlite.integrations.gunicorn.GevliteWorker", "-b", "127.0.0.1:0"),
        "async_views:{application}",
    ],
    "gunicorn-preload": [
        *("-m", "gunicorn", "-k", "gevlite.integrations.gunicorn.GevliteWorker", "-b", "127.0.0.1:0", "--preload"),
        "async_views:{application}",
    ],
    "serve": [
        *("-m", "gevlite", "serve", "--bind", "127.0.0.1:0", "--workers", "1", "--access-log", "none"),
        "async_views:{application}",
    ],
    "WSGIServer": ["-c", WSGI_SERVER, "{application}"],
}


@pytest.fixture
def start(tmp_path):
    """`start(server, application)`: a running server."""
    servers = []

    def start(server, application):
        *command, last = SERVERS[server]
        command = [sys.executable, *command, last.format(application=application)]
        environment = {**os.environ, "PYTHONPATH": str(HERE), "HOME": str(tmp_path)}
        servers.append(WebServer(tmp_path, command, env=environment))
        servers[-1].serves(r"127\.0\.0\.1:(\d+)")
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def ask(port, number, together):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", f"/{number}?together={together}")
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("kind", "framework"),
    [
        ("gunicorn", "flask"),
        ("gunicorn", "django"),
        ("gunicorn-preload", "django"),
        ("serve", "flask"),
        ("WSGIServer", "django"),
    ],
)
def test_async_views(start, kind, framework):
    server = start(kind, f"{framework}_application")
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        for count, together in ((30, 30), (300, 60)):
            numbers = range(1000, 1000 + count)
            answers = list(pool.map(ask, [server.port] * count, numbers, [together] * count))
            for number, (status, body, headers) in zip(numbers, answers, strict=True):
                assert status == 200, server.log()
                found = json.loads(body)
                assert found.pop("peak") >= together
                assert found == {
                    "number": number,
                    "doubles": [2 * number] * 3,
                    "gevlite": True,
                    "in the caller's thread": True,
                    "in OS threads": True,
                }
                if framework == "django":
                    assert headers["X-Path"] == f"/{number}"
    assert "Traceback" not in server.log(), server.log()
