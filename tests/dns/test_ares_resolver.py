"""Only for the c-ares resolver: sockets and time-outs in the hub, a long-lived channel, the environment."""

import os
import threading

import pytest

import gevlite
from gevlite import Timeout, socket
from gevlite._core import get_hub

ares = pytest.importorskip("gevlite.resolver.ares", reason="needs pycares")


@pytest.fixture
def resolver(use_resolver, server):
    return use_resolver(ares.Resolver(servers=[f"127.0.0.1:{server.port}"], timeout=0.3, tries=2))


def test_nothing_stays_registered_between_look_ups(resolver, hub):
    for _ in range(3):
        assert socket.gethostbyname("v4.test") == "192.0.2.4"
        stats = hub.stats()
        assert (stats["timers"], stats["fd_waiters"], stats["parked"]) == (0, 0, 0)
    assert not resolver._watches


def test_what_the_last_one_who_waited_had_asked_is_cancelled(resolver, hub, server, start, settle):
    asking = [start(socket.gethostbyname, f"silent.{number}.test") for number in range(3)]
    assert settle(lambda: len(server.questions) >= 3)
    for one in asking:
        one.greenlet.kill()
    assert not resolver._watches
    assert hub.stats()["timers"] == 0
    assert socket.gethostbyname("v4.test") == "192.0.2.4"


def test_a_look_up_that_nobody_waits_for_goes_on_beside_another(resolver, server, start, settle):
    given_up = start(socket.gethostbyname, "silent.test")
    assert settle(lambda: server.questions)
    waiting = start(socket.gethostbyname, "silent.other.test")
    gevlite.idle()
    given_up.greenlet.kill()
    with pytest.raises(socket.gaierror):
        waiting.get()


def test_close_in_the_middle_leaves_nothing(resolver, server, start, settle, hub):
    asking = start(socket.gethostbyname, "silent.test")
    assert settle(lambda: server.questions)
    resolver.close()
    with pytest.raises(socket.gaierror) as caught:
        asking.get()
    assert caught.value.errno == socket.EAI_AGAIN
    assert (hub.stats()["timers"], hub.stats()["fd_waiters"]) == (0, 0)
    with pytest.raises(socket.gaierror):
        socket.gethostbyname("v4.test")
    resolver.close()


def test_a_resolver_that_is_dropped_is_freed(server):
    import gc
    import weakref

    made = ares.Resolver(servers=[f"127.0.0.1:{server.port}"])
    assert made.gethostbyname("v4.test") == "192.0.2.4"
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None


def test_each_thread_has_its_own(server):
    found = []

    def run():
        get_hub().resolver = ares.Resolver(servers=[f"127.0.0.1:{server.port}"], timeout=3)
        try:
            with Timeout(10):
                found.append(socket.gethostbyname("v4.test"))
        finally:
            get_hub().resolver.close()
            get_hub().destroy()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert found == ["192.0.2.4"] * 3


def test_a_forked_child_asks_with_sockets_of_its_own(server, run_script):
    done = run_script(
        """
        import os, sys
        import gevlite
        from gevlite import socket
        def ask(name):
            try:
                return socket.gethostbyname(name)
            except socket.gaierror as exc:
                return exc.errno
        before = gevlite.spawn(ask, "silent.test")
        gevlite.sleep(0.05)
        child = os.fork()
        # In the child the question that the parent has asked is given up.
        print("child" if child == 0 else "parent", ask("v4.test"), before.get() == socket.EAI_AGAIN, flush=True)
        if child:
            os.waitpid(child, 0)
        """,
        env={
            "GEVLITE_RESOLVER": "ares",
            "GEVLITE_ARES_SERVERS": f"127.0.0.1:{server.port}",
            "GEVLITE_ARES_TIMEOUT": "0.3",
            "GEVLITE_ARES_TRIES": "2",
        },
    )
    assert sorted(done.stdout.splitlines()) == ["child 192.0.2.4 True", "parent 192.0.2.4 True"]


def test_it_works_patched(server, run_script):
    done = run_script(
        """
        from gevlite import monkey
        monkey.patch_all()
        import gc, socket
        import gevlite
        jobs = [gevlite.spawn(socket.gethostbyname, "v4.test") for _ in range(5)]
        print([job.get() for job in jobs])
        gevlite.get_hub().resolver.close()
        """,
        env={"GEVLITE_RESOLVER": "ares", "GEVLITE_ARES_SERVERS": f"127.0.0.1:{server.port}"},
    )
    assert done.stdout == f"{['192.0.2.4'] * 5}\n"
    assert done.stderr == ""


def test_no_time_slice_ends_in_the_middle_of_a_call_of_c_ares(server, run_script):
    """Another greenlet could close the channel there."""
    run_script(
        f"""
import time
import gevlite, gevlite.socket
from gevlite.resolver.ares import Resolver

class Slow:
    def __init__(self, channel):
        self.channel = channel

    def timeout(self):
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            pass
        in_between.append(list(closed))
        return self.channel.timeout()

    def __getattr__(self, name):
        return getattr(self.channel, name)

def close():
    resolver.close()
    closed.append(True)

in_between, closed = [], []
resolver = Resolver(servers=["127.0.0.1:{server.port}"])
resolver._channel = Slow(resolver._channel)
asking = gevlite.spawn(resolver.gethostbyname, "silent.test")
gevlite.spawn(close)
asking.join()
assert closed and in_between[0] == [], in_between
assert asking.exception.errno == gevlite.socket.EAI_AGAIN
stats = gevlite.get_hub().stats()
assert stats["timers"] == stats["fd_waiters"] == 0
""",
        env={"GEVLITE_TIME_SLICE": "0.001"},
    )


def test_options_from_the_environment(monkeypatch):
    for name, text in {"SERVERS": "127.0.0.1:1, 127.0.0.1:2", "TIMEOUT": "0.5", "TRIES": "7", "NDOTS": ""}.items():
        monkeypatch.setenv(ares.ENV_PREFIX + name, text)
    assert ares._environment() == {"servers": ["127.0.0.1:1", "127.0.0.1:2"], "timeout": 0.5, "tries": 7}
    made = ares.Resolver(servers=["127.0.0.1:3"])
    assert made._channel.servers == ["127.0.0.1:3"]
    made.close()
    made = ares.Resolver()
    assert made._channel.servers == ["127.0.0.1:1", "127.0.0.1:2"]
    made.close()
    monkeypatch.setenv(ares.ENV_PREFIX + "TRIES", "many")
    with pytest.raises(ValueError, match="GEVLITE_ARES_TRIES.*many"):
        ares.Resolver()
    ares.Resolver(use_environ=False).close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_thousand_look_ups_leave_no_descriptor(resolver, start):
    socket.gethostbyname("v4.test")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        for one in [start(socket.gethostbyname, f"missing{number}.test") for number in range(100)]:
            with pytest.raises(socket.gaierror):
                one.get()
    assert len(os.listdir("/proc/self/fd")) <= before
