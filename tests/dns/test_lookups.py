"""Resolvers that ask name servers themselves: how they handle answers and errors."""

import socket as std
import time

import pytest

from gevlite import Timeout, config, socket
from gevlite._core import has_slices
from gevlite.resolver._hosts import Hosts


def addresses(found):
    return sorted({entry[4][0] for entry in found})


def gai_code(function, *args):
    with pytest.raises(socket.gaierror) as caught:
        function(*args)
    return caught.value.errno


# ---------------------------------------------------------------- answers


def test_addresses_of_both_families(resolver):
    found = socket.getaddrinfo("example.test", 80, type=socket.SOCK_STREAM)
    assert addresses(found) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert {entry[:4] for entry in found} == {
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""),
        (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""),
    }
    assert {entry[4][1:] for entry in found} == {(80,), (80, 0, 0)}
    assert isinstance(found[0][0], std.AddressFamily)


def test_one_family(resolver):
    assert addresses(socket.getaddrinfo("example.test", 80, socket.AF_INET)) == ["192.0.2.1", "192.0.2.2"]
    assert addresses(socket.getaddrinfo("example.test", 80, socket.AF_INET6)) == ["2001:db8::1"]
    assert addresses(socket.getaddrinfo("v4.test", 80)) == ["192.0.2.4"]
    assert addresses(socket.getaddrinfo("v6.test", 80)) == ["2001:db8::6"]


def test_services_are_looked_up_in_the_system(resolver):
    assert socket.getaddrinfo("v4.test", "http")[0][4] == ("192.0.2.4", 80)
    assert gai_code(socket.getaddrinfo, "v4.test", "no such service") == socket.EAI_SERVICE
    kinds = [entry[1] for entry in socket.getaddrinfo("v4.test", 53)]
    assert kinds == [entry[1] for entry in std.getaddrinfo("127.0.0.1", 53)]


def test_arguments_are_checked_before_anybody_is_asked(resolver, server):
    assert gai_code(socket.getaddrinfo, "v4.test", 80, 99) == socket.EAI_FAMILY
    assert gai_code(socket.getaddrinfo, "v4.test", 80, 0, 99) == socket.EAI_SOCKTYPE
    assert gai_code(socket.getaddrinfo, "v4.test", 80, 0, 0, 0, socket.AI_NUMERICHOST) == socket.EAI_NONAME
    for bad in ("a..b", "x" * 64 + ".test"):
        with pytest.raises(UnicodeError):
            socket.getaddrinfo(bad, 80)
    for bad in ("fe80::1%nosuchdevice", b"\xff.test", "a\0b"):
        assert gai_code(socket.getaddrinfo, bad, 80) == socket.EAI_NONAME
    assert server.questions == []


def test_canonical_names_and_aliases(resolver):
    found = socket.getaddrinfo("alias.test", 80, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_CANONNAME)
    assert [entry[3] for entry in found] == ["example.test", ""]
    name, aliases, known = socket.gethostbyname_ex("alias.test")
    assert (name, sorted(aliases), sorted(known)) == (
        "example.test",
        ["alias.test", "second.test"],
        ["192.0.2.1", "192.0.2.2"],
    )
    assert socket.gethostbyname_ex("v4.test") == ("v4.test", [], ["192.0.2.4"])
    found = socket.getaddrinfo("v4.test", 80, 0, socket.SOCK_STREAM, 0, socket.AI_CANONNAME)
    assert found[0][3] == "v4.test"


def test_ipv4_addresses_in_ipv6_if_that_is_wanted(resolver):
    def ask(name, flags):
        return addresses(socket.getaddrinfo(name, 80, socket.AF_INET6, 0, 0, flags))

    assert ask("v4.test", socket.AI_V4MAPPED) == ["::ffff:192.0.2.4"]
    assert ask("example.test", socket.AI_V4MAPPED) == ["2001:db8::1"]
    both = ask("example.test", socket.AI_V4MAPPED | socket.AI_ALL)
    assert both == ["2001:db8::1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"]


def test_gethostbyname(resolver):
    assert socket.gethostbyname("v4.test") == socket.gethostbyname(b"v4.test") == "192.0.2.4"
    assert resolver.gethostbyname("v6.test", socket.AF_INET6) == "2001:db8::6"
    assert gai_code(socket.gethostbyname, "v6.test") == socket.EAI_NODATA


def test_names_of_addresses(resolver):
    assert socket.gethostbyaddr("192.0.2.1") == ("example.test", [], ["192.0.2.1"])
    assert socket.gethostbyaddr("2001:db8::1") == ("example.test", [], ["2001:db8::1"])
    name, aliases, known = socket.gethostbyaddr("192.0.2.2")
    assert (sorted([name, *aliases]), known) == (["one.test", "two.test"], ["192.0.2.2"])
    assert socket.gethostbyaddr("loopback.test") == ("localhost", [], ["127.0.0.1"])
    assert socket.getfqdn("192.0.2.1") == "example.test"
    assert socket.getfqdn("192.0.2.99") == "192.0.2.99"


def test_getnameinfo(resolver, monkeypatch):
    assert socket.getnameinfo(("192.0.2.1", 80), 0) == ("example.test", "http")
    assert socket.getnameinfo(("192.0.2.1", 80), socket.NI_NUMERICSERV) == ("example.test", "80")
    assert socket.getnameinfo(("2001:db8::1", 80, 0, 0), 0) == ("example.test", "http")
    assert socket.getnameinfo(("192.0.2.99", 80), 0) == ("192.0.2.99", "http")
    assert gai_code(socket.getnameinfo, ("192.0.2.99", 80), socket.NI_NAMEREQD) == socket.EAI_NONAME
    monkeypatch.setattr("_socket.gethostname", lambda: "here.test")
    assert socket.getnameinfo(("192.0.2.1", 80), socket.NI_NOFQDN) == ("example", "http")


def test_names_that_are_not_ascii(resolver):
    assert socket.gethostbyname("müller.test") == "192.0.2.7"


def test_search_domains(resolver):
    assert socket.gethostbyname("host") == "192.0.2.5"
    assert socket.gethostbyname_ex("host")[0] == "host.search.test"
    assert gai_code(socket.gethostbyname, "host.") == socket.EAI_NONAME


def test_the_hosts_file_comes_first(resolver, server, tmp_path):
    path = tmp_path / "hosts"
    path.write_text(
        "# comment\n192.0.2.50 Known.test known  # more\n2001:db8::50 known.test six\n192.0.2.51 known\n\nx\n"
    )
    resolver.hosts = Hosts(path)
    assert addresses(socket.getaddrinfo("known.TEST", 80)) == ["192.0.2.50", "2001:db8::50"]
    assert socket.gethostbyname_ex("known") == ("Known.test", ["known"], ["192.0.2.50", "192.0.2.51"])
    assert socket.gethostbyaddr("192.0.2.51") == ("known", [], ["192.0.2.51"])
    assert socket.getnameinfo(("2001:db8::50", 80, 0, 0), 0) == ("known.test", "http")
    assert server.questions == []
    path.write_text("192.0.2.52 changed.test\n")
    assert socket.gethostbyname("changed.test") == "192.0.2.52"


def test_localhost_is_never_asked_for(resolver, server, tmp_path):
    assert socket.gethostbyname("localhost") == "127.0.0.1"
    assert gai_code(socket.getaddrinfo, "localhost", 80, socket.AF_INET6) == socket.EAI_NONAME
    resolver.hosts = Hosts(tmp_path / "missing")
    assert addresses(socket.getaddrinfo("LocalHost.", 80)) == ["127.0.0.1", "::1"]
    assert server.questions == []


def test_connect_by_name(resolver):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(("loopback.test", listener.getsockname()[1])) as client:
            assert client.getpeername()[0] == "127.0.0.1"
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("loopback.test", 0))
        sender.sendto(b"x", ("loopback.test", receiver.getsockname()[1]))
        assert receiver.recv(10) == b"x"


# ---------------------------------------------------------------- many


def test_others_run_while_one_asks(resolver_for, server, start, settle):
    resolver_for(server.port, timeout=0.3)
    server.silent.set()
    asking = start(socket.gethostbyname, "v4.test")
    assert settle(lambda: server.questions)
    assert not asking.greenlet.ready()
    server.silent.clear()
    assert asking.get() == "192.0.2.4"  # asked again


def test_five_hundred_at_once(resolver_for, server, start):
    resolver_for(server.port, timeout=1)  # of so many datagrams at once, some get lost and are sent again
    asking = [start(socket.gethostbyname, f"v{4 if number % 2 else 6}.test") for number in range(500)]
    for number, one in enumerate(asking):
        if number % 2:
            assert one.get() == "192.0.2.4"
        else:
            with pytest.raises(socket.gaierror):
                one.get()


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing.test", socket.EAI_NONAME),
        ("text.test", socket.EAI_NODATA),
        ("servfail.test", socket.EAI_AGAIN),
        ("refused.test", socket.EAI_AGAIN),
    ],
)
def test_errors_of_names(name, code, resolver):
    for function in (lambda: socket.getaddrinfo(name, 80), lambda: socket.gethostbyname_ex(name)):
        with pytest.raises(socket.gaierror) as caught:
            function()
        assert (caught.value.errno, caught.value.strerror) == (code, TEXTS[code])


TEXTS = {
    socket.EAI_NONAME: "Name or service not known",
    socket.EAI_NODATA: "No address associated with hostname",
    socket.EAI_AGAIN: "Temporary failure in name resolution",
}


def test_a_server_that_never_answers(impatient, server):
    assert gai_code(socket.getaddrinfo, "silent.test", 80) == socket.EAI_AGAIN
    server.silent.set()
    with pytest.raises(socket.herror) as caught:
        socket.gethostbyaddr("192.0.2.1")
    assert caught.value.args == (2, "Host name lookup failure")
    assert gai_code(socket.getnameinfo, ("192.0.2.1", 80), 0) == socket.EAI_AGAIN


def test_an_answer_that_makes_no_sense(impatient):
    assert gai_code(socket.gethostbyname, "malformed.test") in (socket.EAI_AGAIN, socket.EAI_FAIL)


def test_a_server_that_cannot_read_the_question(resolver):
    assert gai_code(socket.gethostbyname, "formerr.test") in (socket.EAI_AGAIN, socket.EAI_FAIL)


def test_errors_of_addresses(resolver):
    with pytest.raises(socket.herror) as caught:
        socket.gethostbyaddr("192.0.2.99")
    assert caught.value.args == (1, "Unknown host")
    assert gai_code(socket.gethostbyaddr, "missing.test") == socket.EAI_NONAME


def test_an_answer_too_long_for_a_datagram_comes_by_tcp(resolver, server):
    assert len(socket.gethostbyname_ex("big.test")[2]) == 200
    assert [kind for name, _, kind in server.questions if name == "big.test."] == ["udp", "tcp"]


def test_answers_to_other_questions_are_not_taken(resolver):
    assert socket.gethostbyname("other.test") == "192.0.2.4"


def test_a_timeout_while_asking_comes_before_the_resolvers_own(resolver):
    with pytest.raises(Timeout), Timeout(0.01):
        socket.getaddrinfo("silent.test", 80)


def test_kill_while_asking(resolver, server, start, settle, hub):
    asking = start(socket.getaddrinfo, "silent.test", 80)
    assert settle(lambda: len(server.questions) >= 2)
    asking.greenlet.kill()
    assert hub.stats()["timers"] == hub.stats()["fd_waiters"] == 0


def test_kill_one_of_two_who_ask(resolver_for, server, start, settle):
    resolver_for(server.port, timeout=0.3)
    server.silent.set()
    first = start(socket.gethostbyname, "v4.test")
    second = start(socket.gethostbyname, "loopback.test")
    assert settle(lambda: len(server.questions) >= 2)
    first.greenlet.kill()
    server.silent.clear()
    assert second.get() == "127.0.0.1"


@pytest.mark.skipif(not has_slices(), reason="has no time slices")
def test_dnspython_which_may_hold_a_lock_is_not_interrupted(hub, monkeypatch):
    run = pytest.importorskip("gevlite.resolver.dnspython")._run

    async def look_up():
        slices, end = hub.stats()["slices"], time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        return hub.stats()["slices"] - slices

    monkeypatch.setattr(config, "time_slice", 0.001)
    assert run(look_up()) == 0


def test_nobody_listens(resolver_for):
    with std.socket(std.AF_INET, std.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    resolver_for(port, timeout=0.05, tries=1)
    assert gai_code(socket.gethostbyname, "v4.test") == socket.EAI_AGAIN
