"""Bad input and bad luck: each ends in an exception that names the cause, and nothing stays registered with the hub."""

import errno
import math
import os
import shutil
import socket as original
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gevlite
import gevlite.asyncio
from gevlite import socket

COUNTERS = ("greenlets", "parked", "timers", "fds", "fd_waiters", "refs")


@pytest.fixture
def unchanged(hub, settle):
    """`unchanged()`: the hub's counters are what they were when the test began.

    Some backends keep a socket registered from its first wait until it is closed: `but="fds"` while one is open.
    `soon=True` first waits until things that have ended are no longer counted.
    """

    def counters(but=None):
        stats = hub.stats()
        return {name: stats[name] for name in COUNTERS if name != but}

    gevlite.sleep(0)
    before = counters()

    def unchanged(but=None, soon=False):
        expected = {name: value for name, value in before.items() if name != but}
        if soon:
            settle(lambda: counters(but) == expected)
        assert counters(but) == expected
        return True

    return unchanged


SPAWN = {
    "spawn": gevlite.spawn,
    "Greenlet.spawn": gevlite.Greenlet.spawn,
    "Greenlet": gevlite.Greenlet,
    "spawn_raw": gevlite.spawn_raw,
    "spawn_later": lambda function: gevlite.spawn_later(0.001, function),
}


@pytest.mark.parametrize("value", [5, "name", object()], ids=["number", "string", "object"])
@pytest.mark.parametrize("spawn", SPAWN)
def test_spawning_what_cannot_be_called_is_a_type_error(spawn, value, unchanged):
    with pytest.raises(TypeError, match="callable"):
        SPAWN[spawn](value)
    assert unchanged()


# Greenlet(None) is for subclasses that define _run.
@pytest.mark.parametrize("spawn", sorted(SPAWN.keys() - {"Greenlet"}))
def test_spawning_none_is_a_type_error(spawn, unchanged):
    with pytest.raises(TypeError):
        SPAWN[spawn](None)
    assert unchanged()


def test_spawning_nothing_is_a_type_error(unchanged):
    with pytest.raises(TypeError):
        gevlite.spawn()
    assert unchanged()


@pytest.mark.parametrize("seconds", [-1, -0.001, -math.inf, math.nan])
def test_a_negative_sleep_is_a_value_error(seconds, unchanged):
    with pytest.raises(ValueError):
        gevlite.sleep(seconds)
    assert unchanged()


@pytest.mark.parametrize("seconds", ["1", object(), [1]])
def test_a_sleep_that_is_no_number_is_a_type_error(seconds, unchanged):
    with pytest.raises(TypeError):
        gevlite.sleep(seconds)
    assert unchanged()


@pytest.mark.parametrize("wait", [socket.wait_read, socket.wait_write, socket.wait_readwrite])
def test_waiting_for_a_closed_descriptor_is_ebadf(wait, unchanged):
    r, w = os.pipe()
    os.close(r)
    os.close(w)
    for fd in (r, w):
        with pytest.raises(OSError) as caught:
            wait(fd, timeout=20)
        assert caught.value.errno == errno.EBADF
        assert unchanged()


@pytest.mark.parametrize("fd", [-1, 1 << 20])
def test_waiting_for_a_descriptor_that_never_was_is_an_error(fd, unchanged):
    with pytest.raises((OSError, ValueError)):
        socket.wait_read(fd, timeout=20)
    assert unchanged()


def test_waiting_for_a_closed_socket_is_an_error(unchanged):
    s = socket.socket()
    s.close()
    with pytest.raises((OSError, ValueError)):
        socket.wait_read(s, timeout=20)
    with pytest.raises(OSError) as caught:
        s.recv(1)
    assert caught.value.errno == errno.EBADF
    assert unchanged()


@pytest.mark.parametrize(
    "receive",
    [lambda s: s.recv(10), lambda s: s.recv_into(bytearray(10)), lambda s: s.recvfrom(10), lambda s: s.recvmsg(10)],
    ids=["recv", "recv_into", "recvfrom", "recvmsg"],
)
@pytest.mark.parametrize("timeout", [None, 1000])
def test_a_socket_closed_by_another_greenlet_during_recv_is_ebadf(receive, timeout, hub, start, settle, unchanged):
    a, b = socket.socketpair()
    with b:
        a.settimeout(timeout)
        parked = hub.stats()["fd_waiters"]
        job = start(receive, a)
        assert settle(lambda: hub.stats()["fd_waiters"] == parked + 1)
        a.close()
        with pytest.raises(OSError) as caught:
            job.get()
        assert caught.value.errno == errno.EBADF
    assert unchanged(soon=True)


@pytest.fixture
def closed_port():
    """An address without a listener: bound, so that no other process gets it, but not listening."""
    with original.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()


def test_connecting_to_a_closed_port_is_refused(closed_port, unchanged):
    with socket.socket() as s:
        with pytest.raises(ConnectionRefusedError):
            s.connect(closed_port)
    with socket.socket() as s:
        s.settimeout(20)
        assert s.connect_ex(closed_port) == errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(closed_port, timeout=20)
    assert unchanged()


def test_a_name_that_cannot_be_resolved_is_a_gaierror(unchanged):
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("no.such.host.invalid", 80)
    assert unchanged(soon=True)
    with pytest.raises(socket.gaierror):
        socket.create_connection(("no.such.host.invalid", 80), timeout=20)
    with socket.socket() as s, pytest.raises(socket.gaierror):
        s.connect(("no.such.host.invalid", 80))
    assert socket.gaierror is original.gaierror
    assert unchanged(soon=True)


@pytest.mark.parametrize("timeout", [None, 1000])
def test_a_timeout_inside_recv_ends_it_and_the_socket_still_works(timeout, unchanged):
    a, b = socket.socketpair()
    with a, b:
        a.settimeout(timeout)
        for _ in range(3):
            with pytest.raises(gevlite.Timeout) as caught:
                with gevlite.Timeout(0.002) as mine:
                    a.recv(10)
            assert caught.value is mine
            assert not mine.pending
            assert unchanged(but="fds")
        b.send(b"late")
        assert a.recv(10) == b"late"
        assert unchanged(but="fds")
    assert unchanged()


def test_a_sockets_own_time_out_inside_recv_is_a_timeout_error(unchanged):
    a, b = socket.socketpair()
    with a, b:
        a.settimeout(0.002)
        with pytest.raises(TimeoutError):
            a.recv(10)
        assert unchanged(but="fds")
        b.send(b"late")
        assert a.recv(10) == b"late"
    assert unchanged()


def test_a_source_folder_that_is_not_built_says_so(tmp_path):
    package = Path(gevlite.__file__).parent
    shutil.copytree(package, tmp_path / "gevlite", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    command = [sys.executable, "-S", "-c", "import gevlite"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "not built: run `pip install -e .`" in result.stderr


# ---------------------------------------------------------------- slips


async def fetch(number=0):
    raise AssertionError("never run")


class Client:
    async def fetch(self):
        raise AssertionError("never run")

    async def items(self):
        yield 1


@pytest.mark.parametrize(
    "start",
    [
        gevlite.spawn,
        gevlite.spawn_raw,
        gevlite.Greenlet,
        lambda function: gevlite.spawn_later(0.001, function),
        lambda function: gevlite.pool.Pool(2).spawn(function),
        lambda function: gevlite.pool.Group().spawn(function),
    ],
)
@pytest.mark.parametrize("function", [fetch, Client().fetch, Client().items])
def test_an_async_function_is_refused_where_a_greenlet_is_made(start, function, unchanged):
    with pytest.raises(TypeError, match=rf"{function.__name__} is async.*gevlite\.asyncio\.run"):
        start(function)
    assert unchanged()


@pytest.mark.parametrize("function", [fetch, Client().fetch])
def test_an_async_function_that_was_not_called_is_explained(function, unchanged):
    with pytest.raises(TypeError, match=rf"a coroutine was expected.*: call it, as in run\({function.__name__}\(\)\)"):
        gevlite.asyncio.run(function)
    with pytest.raises(TypeError, match="a coroutine was expected, got 3$"):
        gevlite.asyncio.run(3)
    assert unchanged()


def test_a_coroutine_is_refused_where_a_greenlet_is_made(unchanged):
    coroutine = fetch()
    with pytest.raises(TypeError, match=r"not a coroutine: spawn\(gevlite\.asyncio\.run, fetch\(\)\)"):
        gevlite.spawn(coroutine)
    coroutine.close()
    assert unchanged()


@pytest.mark.parametrize("start", SPAWN)
@pytest.mark.parametrize("result", [3, None])
def test_the_result_of_a_call_in_place_of_a_function_is_explained(start, result, unchanged):
    if start == "Greenlet" and result is None:
        pytest.skip("for subclasses")
    with pytest.raises(TypeError, match="callable") as caught:
        SPAWN[start](result)
    if start != "spawn_later" or result is not None:
        assert f"not {result}: write spawn(function, argument), not spawn(function(argument))" in str(caught.value)
    assert unchanged()


def test_spawn_later_with_the_function_first_is_explained(unchanged):
    with pytest.raises(TypeError, match=r"the seconds come first: spawn_later\(seconds, print\)"):
        gevlite.spawn_later(print, 1)
    assert unchanged()


WITH_SECONDS = {
    "sleep": gevlite.sleep,
    "Timeout": gevlite.Timeout,
    "with_timeout": lambda seconds: gevlite.with_timeout(seconds, print),
    "spawn_later": lambda seconds: gevlite.spawn_later(seconds, print),
    "call_later": lambda seconds: gevlite.get_hub().call_later(seconds, print),
    "joinall": lambda seconds: gevlite.joinall([gevlite.event.Event()], timeout=seconds),
    "Event.wait": lambda seconds: gevlite.event.Event().wait(seconds),
    "AsyncResult.get": lambda seconds: gevlite.event.AsyncResult().get(timeout=seconds),
    "Queue.get": lambda seconds: gevlite.queue.Queue().get(timeout=seconds),
    "Semaphore.acquire": lambda seconds: gevlite.lock.Semaphore(0).acquire(timeout=seconds),
    "wait_read": lambda seconds: socket.wait_read(0, timeout=seconds),
}


@pytest.mark.parametrize("call", WITH_SECONDS)
def test_seconds_that_are_a_text_are_named(call, unchanged):
    with pytest.raises(TypeError, match="seconds must be a number, not '1'"):
        WITH_SECONDS[call]("1")
    assert unchanged()


@pytest.mark.parametrize("function", [gevlite.joinall, gevlite.killall, gevlite.wait, gevlite.iwait])
def test_one_greenlet_in_place_of_a_list_is_explained(function, unchanged):
    greenlet = gevlite.spawn(gevlite.sleep)
    name = function.__name__
    with pytest.raises(TypeError, match=rf"^{name}\(\) takes a list .*, not <Greenlet.*: {name}\(\[\.\.\.\]\)$"):
        function(greenlet)
    greenlet.join()
    assert unchanged()


def test_killing_what_is_no_greenlet_is_a_type_error(unchanged):
    with pytest.raises(TypeError, match="expected a greenlet, not 5"):
        gevlite.kill(5)
    assert unchanged()


def test_the_size_of_a_queue_is_a_number():
    with pytest.raises(TypeError, match="maxsize must be a whole number or None, not '5'"):
        gevlite.queue.Queue("5")


@pytest.mark.parametrize("size", ["5", 2.5, [1]])
def test_the_size_of_a_pool_is_a_number(size):
    with pytest.raises(TypeError, match="size must be an int or None, not"):
        gevlite.pool.Pool(size)


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        (("", "80"), TypeError, r"the port must be a number, not '80', in the address \('', '80'\)"),
        (("", True), TypeError, "the port must be a number, not True"),
        (("127.0.0.1", 99999), ValueError, "a port is a number from 0 to 65535, not 99999"),
        (("127.0.0.1", -1), ValueError, "a port is a number from 0 to 65535, not -1"),
        (99999, ValueError, "a port is a number from 0 to 65535, not 99999"),
        ("127.0.0.1:99999", ValueError, "'127.0.0.1:99999': a port is a number from 0 to 65535, not 99999"),
        ("[::1]:99999", ValueError, "a port is a number from 0 to 65535, not 99999"),
        ("127.0.0.1", ValueError, "cannot parse the address '127.0.0.1': it has no port, as in '127.0.0.1:8000'"),
        ("localhost", ValueError, "it has no port"),
    ],
)
@pytest.mark.parametrize("kind", ["WSGIServer", "StreamServer", "DatagramServer", "serve"])
def test_an_address_that_is_none_is_refused_where_the_server_is_made(kind, address, error, message, unchanged):
    if kind == "serve":
        if not isinstance(address, str):
            pytest.skip("it takes texts")
        from gevlite.serve import _listen, _settings

        settings = _settings.Settings(app="module:name", bind=address)
        with pytest.raises(error, match=message):
            _listen.Listeners(settings, [])
        return
    if kind == "WSGIServer":
        pytest.importorskip("httptools")
    made = gevlite.pywsgi.WSGIServer if kind == "WSGIServer" else getattr(gevlite.server, kind)
    with pytest.raises(error, match=message):
        made(address, print)
    assert unchanged()


class AsyncApplication:
    async def __call__(self, scope, receive, send):
        raise AssertionError("never run")


@pytest.mark.parametrize("function", [fetch, Client().fetch, AsyncApplication()])
def test_a_server_refuses_what_is_async(function, unchanged):
    with pytest.raises(TypeError, match="handle must be an ordinary function, and .* is async"):
        gevlite.server.StreamServer(("127.0.0.1", 0), function)
    pytest.importorskip("httptools")
    with pytest.raises(TypeError, match="a WSGI application must be an ordinary function, and .* is async"):
        gevlite.pywsgi.WSGIServer(("127.0.0.1", 0), function)
    assert unchanged()


def test_a_server_refuses_what_cannot_be_called(unchanged):
    with pytest.raises(TypeError, match="handle must be a function, not 5"):
        gevlite.server.StreamServer(("127.0.0.1", 0), 5)
    pytest.importorskip("httptools")
    with pytest.raises(TypeError, match="a WSGI application must be a function, not 'module:app'"):
        gevlite.pywsgi.WSGIServer(("127.0.0.1", 0), "module:app")
    assert unchanged()


@pytest.mark.parametrize(
    ("function", "name", "hint"),
    [
        ("patch_all", "threads", "did you mean `thread`?"),
        ("patch_all", "no_ssl", "did you mean `ssl`?"),
        ("patch_all", "httplib", "it has socket, dns, time, "),
        ("patch_socket", "dnss", "did you mean `dns`?"),
        ("patch_thread", "locks", "did you mean `existing_locks`?"),
        ("patch_select", "aggressively", "did you mean `aggressive`?"),
        ("patch_sys", "stdinn", "did you mean `stdin`?"),
        ("patch_time", "sleep", "it has none"),
    ],
)
def test_an_argument_that_a_patch_function_does_not_have_is_named(function, name, hint):
    from gevlite import monkey

    before = {module: set(names) for module, names in monkey.saved.items()}
    with pytest.raises(TypeError) as caught:
        getattr(monkey, function)(**{name: False})
    assert str(caught.value).startswith(f"{function}() has no argument {name!r}: {hint}")
    assert {module: set(names) for module, names in monkey.saved.items()} == before


def test_each_patch_function_names_its_arguments():
    import inspect

    from gevlite import monkey

    for name in [
        name for name in monkey.__all__ if name.startswith("patch_") and name not in ("patch_item", "patch_module")
    ]:
        with pytest.raises(TypeError, match=rf"{name}\(\) has no argument 'nonsense'"):
            getattr(monkey, name)(nonsense=True)
        assert "nonsense" not in str(inspect.signature(getattr(monkey, name)))


def test_an_unknown_backend_is_told_with_those_that_there_are(run_script):
    run = run_script("import gevlite; gevlite.sleep(0)", env={"GEVLITE_BACKEND": "epol"}, timeout=50, code=1)
    last = run.stderr.splitlines()[-1]
    assert "GEVLITE_BACKEND=epol cannot be used: there is no backend 'epol'; usable here: " in last


def test_a_public_module_is_loaded_when_it_is_asked_for():
    program = """
        import gevlite, sys
        assert "gevlite.queue" not in sys.modules or "gevlite.pywsgi" not in sys.modules
        gevlite.queue.Queue, gevlite.pywsgi, gevlite.monkey.patch_all
        try:
            gevlite.quue
        except AttributeError as exc:
            print(exc)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=50)
    assert run.stdout == "module 'gevlite' has no attribute 'quue'\n", run.stderr


def test_a_name_that_is_in_a_module_is_told_with_the_module():
    from gevlite import _ELSEWHERE

    for name, module in _ELSEWHERE.items():
        with pytest.raises(
            AttributeError, match=f"^module 'gevlite' has no attribute '{name}': it is gevlite.{module}.{name}$"
        ):
            getattr(gevlite, name)
        if module == "pywsgi":
            pytest.importorskip("httptools")
        assert hasattr(getattr(gevlite, module), name)


def test_every_public_module_is_known_to_the_package():
    from gevlite import _MODULES

    folder = Path(gevlite.__file__).parent
    found = {path.name.partition(".")[0] for path in folder.iterdir() if path.suffix in (".py", ".pyx")}
    found |= {path.parent.name for path in folder.glob("*/__init__.py")}
    found = {name for name in found if not name.startswith("_")}
    # Modules whose import has an effect, and old names of modules.
    assert found - {"as_gevent", "ares", "resolver_ares", "resolver_thread", "backends"} == _MODULES
