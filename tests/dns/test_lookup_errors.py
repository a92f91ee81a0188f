"""For any argument, a resolver raises the same errors as the original functions: gaierror, herror and others."""

import _socket
import gc
import socket as original

import pytest

import gevlite
from gevlite import Timeout, resolver as resolvers, socket
from gevlite.resolver.thread import Resolver as ThreadResolver

BAD_NAMES = [
    "foo bar", " ", " 127.0.0.1", "127.0.0.1 ", "a\tb", "a\nb", "\x01", "\x7f", "@", "a@b", "a(b", 'a"b', "a;b",
    "a\\", "\\", "a\\000", "\\300", "a\\.b", "-x", "256.1.1.1", "1.2.3.4.5", "0x1g", "[::1]", "::g", "a:b", "%", "xn--",
    "x" * 63, "a." * 128, "a." * 130 + "b", ("x" * 63 + ".") * 4,
    b"foo bar", b"a..b", b"\xff", b"\xc3\xa9", b"\\", b"a" * 300,
]  # fmt: skip
FUNCTIONS = {
    "getaddrinfo": lambda module, name: module.getaddrinfo(name, 80),
    "gethostbyname": lambda module, name: module.gethostbyname(name),
    "gethostbyname_ex": lambda module, name: module.gethostbyname_ex(name),
    "gethostbyaddr": lambda module, name: module.gethostbyaddr(name),
    "getnameinfo": lambda module, name: module.getnameinfo((name, 80), 0),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_cannot_be_a_name_is_an_error_of_name_resolution(function, resolver):
    for name in BAD_NAMES:
        if function == "getnameinfo" and isinstance(name, bytes):
            continue  # a TypeError
        with pytest.raises((socket.gaierror, socket.herror)):
            pytest.fail(f"{name!r}: {FUNCTIONS[function](socket, name)}")


# Names that the original refuses before any look-up.
REFUSED = ["a\0b", b"a\0b", bytearray(b"\0"), "a..b", ".a", "x" * 64, "x" * 300, "ü" * 64, "\udcff", 5, None, 1.5, ()]


@pytest.mark.parametrize("function", ["gethostbyname", "gethostbyname_ex", "gethostbyaddr"])
@pytest.mark.parametrize("name", REFUSED, ids=repr)
def test_what_no_argument_can_be_is_refused_as_by_the_original(function, name, each_resolver):
    with pytest.raises((TypeError, ValueError)) as theirs:
        FUNCTIONS[function](original, name)
    with pytest.raises((TypeError, ValueError)) as ours:
        FUNCTIONS[function](socket, name)
    assert (ours.type, ours.value.args) == (theirs.type, theirs.value.args)


@pytest.mark.parametrize("fault", ["servfail", "refused", "formerr", "malformed", "silent", "nosuch", "text"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_goes_wrong_at_the_name_server_is_an_error_of_name_resolution(function, fault, resolver_for, server):
    resolver_for(server.port, timeout=0.2, tries=1)
    with pytest.raises((socket.gaierror, socket.herror)):
        FUNCTIONS[function](socket, f"{fault}.test")


def test_a_look_up_after_a_bad_name_has_its_time_limit(resolver_for, server):
    made = resolver_for(server.port, timeout=0.2, tries=1)
    for _ in range(3):
        for name in BAD_NAMES:
            with pytest.raises(OSError):
                socket.gethostbyname(name)
    with Timeout(20), pytest.raises(socket.gaierror) as caught:
        socket.gethostbyname("silent.test")
    assert caught.value.errno == socket.EAI_AGAIN
    del made
    gc.collect()


def test_bad_names_leave_nothing_behind(resolver, hub):
    for name in BAD_NAMES:
        with pytest.raises(OSError):
            socket.getaddrinfo(name, 80)
    stats = hub.stats()
    assert (stats["timers"], stats["fd_waiters"], stats["parked"]) == (0, 0, 0)


def test_bad_names_beside_a_good_one_do_not_disturb_it(resolver, start, server, settle):
    slow = start(socket.gethostbyname, "silent.test")
    assert settle(lambda: server.questions)
    for name in BAD_NAMES:
        with pytest.raises(OSError):
            socket.gethostbyname(name)
    assert socket.gethostbyname("v4.test") == "192.0.2.4"
    slow.greenlet.kill()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_closed_resolver_raises_nothing_else(function, each_resolver):
    each_resolver.close()
    try:
        FUNCTIONS[function](socket, "127.0.0.9")
    except (socket.gaierror, socket.herror):
        pass
    assert socket.gethostbyname("127.0.0.9") == "127.0.0.9"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_threads_the_thread_resolver_says_that_it_may_be_better_later(function, use_resolver, monkeypatch):
    def no_thread(*args):
        raise RuntimeError("can't start new thread")

    made = use_resolver(ThreadResolver())
    monkeypatch.setattr(made.pool, "apply", no_thread)
    with pytest.raises(socket.gaierror) as caught:
        # Numbers need no thread for getaddrinfo.
        FUNCTIONS[function](socket, "some.test")
    assert caught.value.errno == socket.EAI_AGAIN


def test_an_error_of_a_resolver_of_ones_own_reaches_the_caller(use_resolver):
    class Failing(resolvers.AbstractResolver):
        def ask(self, name, family):
            raise _socket.gaierror(_socket.EAI_MEMORY, "no memory")

        def reverse(self, address):
            raise _socket.gaierror(_socket.EAI_MEMORY, "no memory")

    use_resolver(Failing())
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("name.test", 80)
    assert caught.value.errno == socket.EAI_MEMORY
    with pytest.raises(socket.herror):
        socket.gethostbyaddr("192.0.2.1")


def test_servers_that_are_none_are_refused_when_the_resolver_is_made(hub):
    ares = pytest.importorskip("gevlite.resolver.ares", reason="needs pycares")
    with pytest.raises(ValueError, match="x y"):
        ares.Resolver(servers=["x y"])
    assert hub is gevlite.get_hub()
