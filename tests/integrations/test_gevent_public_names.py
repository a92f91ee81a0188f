"""Names that gevent documents, or that other software uses, exist and do what they do in gevent."""

import importlib
import socket as std_socket
import subprocess
import sys

import pytest

import gevlite
from gevlite import core, events, exceptions, hub as gevlite_hub, queue, ssl, threadpool, util
from gevlite.event import AsyncResult

TWINS = {
    "builtins": "builtins", "contextvars": "contextvars", "os": "os", "select": "select", "signal": "signal",
    "socket": "socket", "ssl": "ssl", "subprocess": "subprocess", "thread": "_thread", "time": "time",
}  # fmt: skip


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_has_every_public_name_of_the_original(twin):
    ours, original = importlib.import_module(f"gevlite.{twin}"), importlib.import_module(TWINS[twin])
    public = getattr(original, "__all__", None) or [name for name in dir(original) if not name.startswith("_")]
    assert [name for name in public if not hasattr(ours, name)] == []


@pytest.mark.parametrize("name", ["queue", "threading"])
def test_a_twin_has_what_the_original_exports(name):
    ours, original = importlib.import_module(f"gevlite.{name}"), importlib.import_module(name)
    assert [public for public in original.__all__ if not hasattr(ours, public)] == []


@pytest.mark.parametrize("old", ["resolver_ares", "resolver_thread", "ares"])
def test_old_names_of_modules_are_there(old):
    if old != "resolver_thread":
        pytest.importorskip("pycares", reason="needs pycares")
    module = importlib.import_module(f"gevlite.{old}")
    assert all(hasattr(module, name) for name in module.__all__)


def test_names_of_the_hub_module():
    assert gevlite_hub.HubDestroyed is exceptions.HubDestroyed
    assert (gevlite_hub.wait, gevlite_hub.iwait) == (gevlite.wait, gevlite.iwait)
    hub = gevlite.get_hub()
    assert isinstance(hub.loop, hub.loop_class)
    assert isinstance(hub.threadpool, hub.threadpool_class)
    assert isinstance(hub.resolver, hub.resolver_class)
    assert hub.threadpool_size == gevlite.config.threadpool_size
    assert issubclass(exceptions.InvalidThreadUseError, RuntimeError)


def test_a_hub_can_be_told_how_its_parts_are_made(run_script):
    assert run_script("""
        import gevlite
        from gevlite.hub import Hub
        from gevlite.core import loop
        from gevlite.resolver.blocking import Resolver
        from gevlite.threadpool import ThreadPool

        class MyLoop(loop): pass
        class MyResolver(Resolver): pass
        class MyPool(ThreadPool): pass

        Hub.loop_class, Hub.resolver_class, Hub.threadpool_class = MyLoop, MyResolver, MyPool
        hub = gevlite.get_hub()
        print(type(hub.loop).__name__, type(hub.resolver).__name__, type(hub.threadpool).__name__)
        print(hub.threadpool.apply(len, ([1],)))
    """).stdout.split() == ["MyLoop", "MyResolver", "MyPool", "1"]


def test_what_a_hub_has_not_made_can_be_deleted():
    hub = gevlite.get_hub()
    for name in ("threadpool", "resolver"):
        getattr(hub, name)
        delattr(hub, name)
        delattr(hub, name)
        assert name not in vars(hub)
    with pytest.raises(AttributeError):
        del hub.nothing


def test_set_hub_none_lets_the_next_hub_be_made(run_script):
    assert run_script("""
        import gevlite
        from gevlite.hub import set_hub
        first = gevlite.get_hub()
        set_hub(first)
        set_hub(None)
        set_hub(None)
        first.loop.destroy()
        second = gevlite.get_hub()
        gevlite.sleep(0.001)
        print(first.closed, second is first, second.loop.default)
        try:
            set_hub(first)
        except ValueError:
            print("refused")
    """).stdout.split() == ["True", "False", "True", "refused"]


def test_a_waiter_can_be_a_link():
    waiter, result = gevlite_hub.Waiter(), AsyncResult()
    result.set("value")
    waiter(result)
    assert waiter.get() == "value"
    waiter, result = gevlite_hub.Waiter(), AsyncResult()
    result.set_exception(KeyError("x"))
    waiter(result)
    with pytest.raises(KeyError):
        waiter.get()


def test_names_of_the_core_module():
    assert core.READWRITE == core.READ | core.WRITE == 3
    assert (core.MINPRI, core.MAXPRI) == (core.loop.MINPRI, core.loop.MAXPRI)
    loop = gevlite.get_hub().loop
    assert isinstance(loop.timer(1), core.watcher)
    handle = loop.run_callback(len, "")
    assert isinstance(handle, core.callback)
    handle.stop()


def test_an_unbound_queue_has_no_maxsize():
    made = queue.UnboundQueue(items=[1, 2])
    assert isinstance(made, queue.Queue)
    assert (made.maxsize, made.get(), made.get_nowait()) == (None, 1, 2)
    with pytest.raises(ValueError):
        queue.UnboundQueue(5)


def test_dump_stacks_is_a_text_of_what_runs():
    text = util.dump_stacks()
    assert "test_dump_stacks_is_a_text_of_what_runs" in text
    assert "* Greenlets" in text


def test_what_a_thread_pool_gives():
    result = gevlite.get_hub().threadpool.spawn(len, [1])
    assert isinstance(result, threadpool.ThreadResult)
    assert result.get() == 1


def test_interfaces_of_events_tell_whose_an_event_is():
    event = events.GeventWillPatchModuleEvent("socket", object(), object(), [])
    for interface in (events.IGeventPatchEvent, events.IGeventWillPatchEvent, events.IGeventWillPatchModuleEvent):
        assert isinstance(event, interface)
        assert interface.providedBy(event)
        assert interface.implementedBy(type(event))
    assert not events.IGeventDidPatchEvent.providedBy(event)
    assert not events.IGeventWillPatchAllEvent.implementedBy(type(event))
    assert not isinstance(5, events.IGeventPatchEvent)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the original has it, with a warning")
def test_wrap_socket_refuses_what_makes_no_sense():
    with std_socket.socket() as sock:
        with pytest.raises(ValueError, match="certfile"):
            ssl.wrap_socket(sock, server_side=True)
        with pytest.raises(ValueError, match="certfile"):
            ssl.wrap_socket(sock, keyfile="key")
    wrapped = ssl.wrap_socket(gevlite.socket.socket(), cert_reqs=ssl.CERT_NONE)
    assert isinstance(wrapped, ssl.SSLSocket)
    assert wrapped.context.verify_mode == ssl.CERT_NONE
    wrapped.close()


def test_tracers_find_imap_and_put_their_own_in_its_place(run_script):
    """What ddtrace does."""
    assert run_script("""
        from gevlite import as_gevent
        as_gevent.install()
        import gevent, gevent.pool

        made = []

        class Mixin:
            def __init__(self, *args, **kwargs):
                made.append(type(self).__name__)
                super().__init__(*args, **kwargs)

        class TracedUnordered(Mixin, gevent.pool.IMapUnordered): pass
        class Traced(TracedUnordered, gevent.pool.IMap): pass
        class TracedGreenlet(Mixin, gevent.Greenlet): pass

        gevent.pool.Group.greenlet_class = gevent.pool.Greenlet = gevent._imap.Greenlet = TracedGreenlet
        gevent._imap.IMap = gevent.pool.IMap = Traced
        gevent._imap.IMapUnordered = gevent.pool.IMapUnordered = TracedUnordered
        pool = gevent.pool.Pool(2)
        print(list(pool.imap(len, ["a", "bb"])), sorted(pool.imap_unordered(len, ["a", "bb"])), pool.map(len, ["a"]))
        print("Traced" in made, "TracedUnordered" in made, made.count("TracedGreenlet") >= 5)
    """).stdout.splitlines() == ["[1, 2] [1, 2] [1]", "True True True"]


def test_the_counter_of_a_semaphore_can_be_set():
    """gipc does so in a forked child, to a lock that some greenlet of the parent may hold."""
    semaphore = gevlite.lock.Semaphore(0)
    semaphore.counter = 1
    assert semaphore.acquire(timeout=0)
    assert semaphore.counter == 0


def test_everything_is_there_in_a_fresh_process():
    code = "from gevlite import as_gevent; as_gevent.install(); from gevent import os, hub; print(os.getpid() > 0)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
