"""Fixtures for the tests of sockets. Those that take `lib` make what they give by the original and by the twin."""

from contextlib import ExitStack

import pytest
from both_ends import tcp_pair, unix_pair

from gevlite import socket


@pytest.fixture
def sockets(lib):
    """The socket module under test."""
    return lib.module("socket")


@pytest.fixture
def opened():
    """An ExitStack that closes what a test opens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["tcp", "unix"])
def ends(request, sockets, opened):
    """Two connected stream sockets, of each family."""
    return (tcp_pair if request.param == "tcp" else unix_pair)(sockets, opened)


@pytest.fixture
def ours(opened):
    """Two connected TCP sockets of gevlite."""
    return tcp_pair(socket, opened)
