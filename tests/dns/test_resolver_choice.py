"""The resolver that a hub gets, and the errors if it cannot be used."""

import sys

import pytest

import gevlite
from gevlite import resolver, socket
from gevlite._config import Config
from gevlite.resolver import ResolverError


class Own:
    """A resolver that knows one answer."""

    def __init__(self, hub):
        self.hub = hub

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    def gethostbyname(self, hostname):
        return "192.0.2.1"

    gethostbyname_ex = gethostbyaddr = getnameinfo = gethostbyname


def test_threads_by_default(monkeypatch):
    monkeypatch.delenv("GEVLITE_RESOLVER", raising=False)
    assert resolver.choose().__module__ == "gevlite.resolver.thread"
    monkeypatch.setenv("GEVLITE_RESOLVER", " ")
    assert resolver.choose().__module__ == "gevlite.resolver.thread"


def test_the_environment_names_one(monkeypatch):
    monkeypatch.setenv("GEVLITE_RESOLVER", "block")
    assert resolver.choose().__module__ == "gevlite.resolver.blocking"


def test_an_assignment_counts_before_the_environment(monkeypatch):
    monkeypatch.setenv("GEVLITE_RESOLVER", "thread")
    monkeypatch.setattr(resolver, "config", Config())
    resolver.config.resolver = "block"
    assert resolver.choose().__module__ == "gevlite.resolver.blocking"
    resolver.config.resolver = Own
    assert resolver.choose() is Own
    resolver.config.resolver = ["nosuch"]
    with pytest.raises(ResolverError, match=r"gevlite.config.resolver=nosuch cannot be used"):
        resolver.choose()


def test_the_first_usable_one_of_several(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycares", None)
    monkeypatch.delitem(sys.modules, "gevlite.resolver.ares", raising=False)
    assert resolver.choose("ares, block ,thread").__module__ == "gevlite.resolver.blocking"
    assert resolver.choose(("ares", "thread")).__module__ == "gevlite.resolver.thread"


def test_a_class_of_ones_own(monkeypatch):
    module = type(sys)("resolver_of_ones_own")
    module.Own = Own
    module.function = len
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert resolver.choose("resolver_of_ones_own:Own") is Own
    assert resolver.choose(Own) is Own
    for wanted, message in {
        "resolver_of_ones_own:Missing": "has no 'Missing'",
        "resolver_of_ones_own:function": "not a resolver.*getaddrinfo",
        "no_such_module:Own": "no_such_module",
        "resolver_of_ones_own:": "has no ''",
        ":Own": "Own",
    }.items():
        with pytest.raises(ResolverError, match=message):
            resolver.choose(wanted)
    with pytest.raises(ResolverError, match="not a resolver"):
        resolver.choose(int)


@pytest.mark.parametrize("wanted", ["nosuch", "nosuch,neither", ",", []])
def test_an_error_names_what_can_be_used(wanted):
    with pytest.raises(ResolverError, match="usable here: thread, block"):
        resolver.choose(wanted)


def test_the_error_says_where_the_name_comes_from(monkeypatch):
    monkeypatch.setenv("GEVLITE_RESOLVER", "nosuch")
    with pytest.raises(ResolverError, match=r"GEVLITE_RESOLVER=nosuch cannot be used: there is no resolver 'nosuch'"):
        resolver.choose()


@pytest.mark.parametrize(("name", "module"), [("ares", "pycares"), ("dnspython", "dns")])
def test_a_missing_package_is_named(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for loaded in [loaded for loaded in sys.modules if loaded.startswith(("gevlite.resolver.", module + "."))]:
        if loaded not in ("gevlite.resolver._abstract", "gevlite.resolver._hosts", "gevlite.resolver.thread"):
            monkeypatch.delitem(sys.modules, loaded)
    with pytest.raises(ResolverError, match=rf"pip install 'gevlite\[{name}\]'"):
        resolver.choose(name)
    assert name in resolver.available()[name]
    assert resolver.available()["thread"] is None


def test_the_hub_takes_what_the_environment_says(run_script):
    source = """
        import gevlite
        print(type(gevlite.get_hub().resolver).__module__)
        from gevlite import socket
        print(socket.gethostbyname("localhost"))
    """
    done = run_script(source, env={"GEVLITE_RESOLVER": "nosuch,block"})
    assert done.stdout == "gevlite.resolver.blocking\n127.0.0.1\n"
    done = run_script(source, env={"GEVLITE_RESOLVER": "nosuch"}, code=1)
    assert "ResolverError: GEVLITE_RESOLVER=nosuch cannot be used" in done.stderr


def test_a_hub_may_be_given_another_one(use_resolver, hub):
    hub_resolver = Own(hub)
    hub_resolver.close = lambda: None
    use_resolver(hub_resolver)
    assert socket.gethostbyname("whatever") == "192.0.2.1"
    assert socket.getaddrinfo("whatever", 80) == [(2, 1, 6, "", ("192.0.2.1", 80))]
    assert gevlite.get_hub().resolver is hub_resolver
