"""What a strict type checker knows about the twins of standard modules, the hub and backends; see test_greenlets.py."""

import os as standard_os
import socket as standard_socket
from typing import Any, assert_type

import pytest

import gevlite
from gevlite import backends, monkey, os, select, selectors, socket, ssl, thread, time
from gevlite.hub import Hub, get_hub
from gevlite.loop import Loop
from gevlite.testing import faults


def test_sockets_are_those_of_gevlite() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert_type(server, socket.socket)
        with socket.create_connection(server.getsockname()) as client:
            assert_type(client, socket.socket)
            accepted, address = server.accept()
            assert_type(accepted, socket.socket)
            standard: standard_socket.socket = accepted
            standard.close()
            assert_type(client.recv(10), bytes)
    a, b = socket.socketpair()
    assert_type((a, b), tuple[socket.socket, socket.socket])
    socket.wait_write(a, timeout=1)
    assert_type(select.select([a], [], [], 0)[0], list[socket.socket])
    assert_type(a.hub, Hub)
    a.close()
    b.close()
    with pytest.raises(TypeError):
        socket.wait_read("a")  # type: ignore[arg-type]


def test_names_without_a_twin_are_the_originals() -> None:
    assert socket.AF_INET is standard_socket.AF_INET and socket.gaierror is standard_socket.gaierror
    assert_type(time.monotonic(), float)
    assert_type(time.sleep(0), None)
    assert selectors.EVENT_READ == 1
    assert ssl.SSLError.__name__ == "SSLError"


def test_tls() -> None:
    context = ssl.create_default_context()
    assert_type(context, ssl.SSLContext)
    a, b = socket.socketpair()
    wrapped = context.wrap_socket(a, server_hostname="localhost", do_handshake_on_connect=False)
    assert_type(wrapped, ssl.SSLSocket)
    plain: socket.socket = wrapped
    plain.close()
    b.close()


def test_os_and_thread() -> None:
    r, w = standard_os.pipe()
    assert_type(os.write(w, b"x"), int)
    assert_type(os.read(r, 10), bytes)
    standard_os.close(r)
    standard_os.close(w)
    got: list[int] = []
    assert_type(thread.start_new_thread(got.append, (3,)), int)
    with thread.allocate_lock() as locked:
        assert_type(locked, bool)
    gevlite.sleep(0)
    assert got == [3]


def test_the_hub() -> None:
    hub = get_hub()
    assert_type(hub, Hub)
    assert_type(hub.loop, Loop)
    assert_type(hub.stats(), dict[str, int])
    called: list[int] = []
    hub.call_soon(called.append, 1)
    hub.call_later(0.001, called.append, 2).stop()
    timer = hub.loop.timer(0.001)
    timer.start(called.append, 3)
    timer.start(called.append, "3")  # type: ignore[arg-type]
    timer.stop()
    gevlite.sleep(0)
    assert called == [1]
    with pytest.raises(AttributeError):
        _ = hub.no_such_attribute  # type: ignore[attr-defined]


def test_backends() -> None:
    assert_type(backends.available(), dict[str, str | None])
    backend, reason = backends.choose("select")
    assert_type(backend, backends.Backend)
    assert_type(reason, str)
    backend.close()

    class Mine(backends.Backend):
        @property
        def name(self) -> str:
            return "mine"

        def arm(self, fd: int, events: int) -> None: ...

        def drop(self, fd: int) -> None: ...

        def poll(self, timeout_ns: int) -> int:  # type: ignore[override]
            return 0

    backends.choose(Mine)[0].close()


def test_monkey() -> None:
    assert_type(monkey.is_module_patched("socket"), bool)
    assert_type(monkey.get_original("os", ["read", "write"]), list[Any])
    with pytest.raises(TypeError):
        monkey.patch_all(sockets=False)  # type: ignore[call-arg]


def test_faults() -> None:
    with faults.sockets(("127.0.0.1", 80), refuse=True, nth=range(1, 3)) as fault:
        assert_type(fault, faults.Fault)
        assert_type(fault.hits, list[faults.Hit])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 80))
    assert_type(fault.hits[0].what, str)
    assert_type(faults.Hit("reset", "/a/path", 1).at, int)
    with pytest.raises(ValueError):
        faults.sockets(80, side="both", receive=1)  # type: ignore[arg-type]
    with faults.resolver("db", error=socket.EAI_AGAIN), faults.spawn(0.01, function="work", nth=1):
        pass
