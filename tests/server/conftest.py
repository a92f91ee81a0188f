"""What the server tests share: servers that are stopped when the test ends, and clients for them."""

import contextlib

import pytest
from serving import LOCALHOST

from gevlite import socket


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
