"""Fixtures for the tests of sockets. Those that take `lib` use the original, and then the twin."""

from ssl import TLSVersion

import pytest
from both_ends import tcp_pair, unix_pair
from tls_pair import Pair

from gevlite import socket


@pytest.fixture
def sockets(lib):
    """The socket module under test."""
    return lib.module("socket")


@pytest.fixture(params=["tcp", "unix"])
def ends(request, sockets, opened):
    """Two connected stream sockets, of each family."""
    return (tcp_pair if request.param == "tcp" else unix_pair)(sockets, opened)


@pytest.fixture
def ours(opened):
    """Two connected TCP sockets of gevlite."""
    return tcp_pair(socket, opened)


@pytest.fixture
def tls(lib):
    """The ssl module under test."""
    return lib.module("ssl")


@pytest.fixture(params=["tcp", "unix"])
def tls_ends(request, lib, opened, certificates):
    """A TLS client and its server, over each family."""
    return Pair(lib, opened, certificates, request.param)


@pytest.fixture
def tls_ours(start, opened, certificates):
    """A TLS client and its server, of gevlite."""
    return Pair(start.__self__, opened, certificates)


@pytest.fixture
def tls_12(opened, lib, certificates):
    """A TLS client and its server that speak TLS 1.2."""

    def setup(pair):
        pair.client_context.maximum_version = TLSVersion.TLSv1_2

    return Pair(lib, opened, certificates, setup=setup)
