"""The system's resolver in threads: it holds up only the calling greenlet, and no other work in threads."""

import _socket
import threading

import pytest

import gevlite
from gevlite import Timeout, socket
from gevlite.resolver.thread import Resolver


@pytest.fixture
def slow(monkeypatch, use_resolver):
    """The system's look-ups take until `gate.set()`; `asked` has their names."""
    gate, asked = threading.Event(), []

    def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
        if flags & _socket.AI_NUMERICHOST:
            raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")
        asked.append(host)
        assert gate.wait(30)
        if host == "missing.test":
            raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")
        return [(_socket.AF_INET, _socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    made = use_resolver(Resolver())
    made.gate, made.asked = gate, asked
    yield made
    gate.set()


def test_five_hundred_look_ups_do_not_hold_up_other_work_in_threads(slow, start, settle, hub):
    asking = [start(socket.getaddrinfo, f"host{number}.test", 80) for number in range(500)]
    assert settle(lambda: len(slow.asked) >= 5)
    with Timeout(10):
        assert hub.threadpool.apply(sum, ([1, 2, 3],)) == 6
    assert not any(one.greenlet.ready() for one in asking)
    slow.gate.set()
    assert {one.get()[0][4] for one in asking} == {("192.0.2.1", 80)}
    assert len(slow.asked) == 500


def test_others_run_while_one_asks(slow, start, settle):
    asking = start(socket.create_connection, ("missing.test", 80))
    assert settle(lambda: slow.asked == ["missing.test"])
    slow.gate.set()
    with pytest.raises(socket.gaierror):
        asking.get()


def test_a_timeout_while_asking(slow):
    with pytest.raises(Timeout), Timeout(0.01):
        socket.getaddrinfo("host.test", 80)
    slow.gate.set()


def test_kill_while_asking(slow, start, settle):
    asking = [start(socket.getaddrinfo, f"host{number}.test", 80) for number in range(20)]
    assert settle(lambda: slow.asked)
    gevlite.killall([one.greenlet for one in asking])
    slow.gate.set()
    assert socket.getaddrinfo("host.test", 80)[0][4] == ("192.0.2.1", 80)


def test_addresses_in_digits_need_no_thread(use_resolver, monkeypatch):
    resolver = use_resolver(Resolver())
    monkeypatch.setattr(resolver.pool, "apply", None)
    assert socket.getaddrinfo("127.0.0.1", 80, 0, socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
    assert socket.getaddrinfo(None, 80, 0, socket.SOCK_STREAM)
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("host.test", 80, flags=socket.AI_NUMERICHOST)
