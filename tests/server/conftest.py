"""Shared by the server tests: servers that are stopped when the test ends, and clients for them."""

import contextlib
import os
import shutil

import pytest
from serve_process import Nginx, Serve
from serving import LOCALHOST, Client
from wsgi_apps import ANY

from gevlite import socket
from gevlite.pywsgi import WSGIServer


@pytest.fixture
def serve():
    """`serve(server)`: start it, stop it after the test; returns it."""
    servers = []

    def start(server):
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(5)


@pytest.fixture
def dial():
    """`dial(server)`: a connection to it, closed after the test; every call on it may take 20 seconds."""
    with contextlib.ExitStack() as stack:

        def connect(server):
            family = socket.AF_UNIX if isinstance(server.address, str) else socket.AF_INET
            sock = stack.enter_context(socket.socket(family))
            sock.settimeout(20)
            sock.connect(server.address if family == socket.AF_UNIX else (LOCALHOST, server.server_port))
            return sock

        yield connect


@pytest.fixture
def http(dial):
    """`http(server)`: a Client connected to it."""
    return lambda server: Client(dial(server))


@pytest.fixture
def site(serve):
    """`site(app, **arguments)`: a server for it that does not log, started."""

    def start(app, listener=ANY, **kwargs):
        return serve(WSGIServer(listener, app, **{"log": None, **kwargs}))

    return start


@pytest.fixture
def visit(site, http):
    """`visit(app, **arguments)`: a Client of a new server for it."""
    return lambda app, **kwargs: http(site(app, **kwargs))


@pytest.fixture
def big_file(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(os.urandom(1 << 20) * 5)
    return path


@pytest.fixture
def serving(tmp_path):
    """`serving(*options, ...)`: a new `python -m gevlite serve`, killed after the test."""
    running = []

    def start(*options, **kwargs):
        running.append(Serve(tmp_path, *options, **kwargs))
        return running[-1]

    yield start
    for one in running:
        one.kill()


@pytest.fixture
def nginx(tmp_path):
    """`nginx(upstream)`: an nginx in front of it, killed after the test."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    running = []

    def start(upstream):
        running.append(Nginx(tmp_path, upstream))
        return running[-1]

    yield start
    for one in running:
        one.kill()
