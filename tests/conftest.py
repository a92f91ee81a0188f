"""Shared by all tests: a check for leaks, certificates, and the original beside the twin."""

import collections
import concurrent.futures
import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace

import pytest

import gevlite
from gevlite._core import get_hub_if_exists
from gevlite.testing import VirtualClock

COUNTERS = ("greenlets", "parked", "timers", "fds", "fd_waiters", "refs", "pending_throws")


def pytest_collection_finish():
    """Objects made during collection live to the end, so `gc.collect()` in tests need not examine them each time."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter, config):
    """With `--durations`, also report the seconds that each folder has taken."""
    if config.option.durations is None:
        return
    seconds = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folders = report.nodeid.split("::")[0].split("/")[1:-1]
                seconds[folders[0] if folders else "."] += report.duration
    terminalreporter.section("seconds by folder")
    for folder, total in seconds.most_common():
        terminalreporter.line(f"{total:8.1f} s  {folder}")


def counters():
    """The hub's counts now; all zero if there is no hub."""
    hub = get_hub_if_exists()
    return {name: hub.stats()[name] if hub is not None else 0 for name in COUNTERS}


def wait_until(condition, seconds=5.0):
    """Let other greenlets run until `condition()` holds. False if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        gevlite.sleep(0.001)
    return True


@pytest.fixture(autouse=True)
def nothing_left_over():
    """Every test must leave the hub as it found it: no greenlet, no timer, no descriptor, no parked Waiter."""
    before = counters()
    yield
    if counters() != before:
        gc.collect()  # sockets that only a dead greenlet's frame still holds
        wait_until(lambda: counters() == before)
    assert counters() == before


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test that is marked `uninterrupted` relies on nothing else running between two blocking calls."""
    if pyfuncitem.get_closest_marker("uninterrupted") is None:
        return (yield)
    with gevlite.uninterrupted():
        return (yield)


@pytest.fixture(name="settle")
def settle_fixture():
    """`settle(condition, seconds=5)`: let others run until it holds; False if it does not in time."""
    return wait_until


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A certificate authority made for this run: files `ca`, `server` (localhost, 127.0.0.1, ::1) and `client`."""
    trustme = pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    made = SimpleNamespace(
        ca=str(folder / "ca.pem"), server=str(folder / "server.pem"), client=str(folder / "client.pem")
    )
    authority.cert_pem.write_to_path(made.ca)
    authority.issue_cert("localhost", "127.0.0.1", "::1").private_key_and_cert_chain_pem.write_to_path(made.server)
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(made.client)
    return made


class Original:
    """The standard library, with threads."""

    name = "original"

    def module(self, name):
        return importlib.import_module(name)

    def spawn(self, function, *args):
        """Run it beside the test; `.get()` returns its result or raises its exception."""
        future = concurrent.futures.Future()

        def run():
            try:
                future.set_result(function(*args))
            except BaseException as exc:
                future.set_exception(exc)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def get(timeout=20):
            result = future.result(timeout)
            thread.join()
            return result

        return SimpleNamespace(get=get)

    def close(self):
        pass


class Twin:
    """gevlite, with greenlets."""

    name = "gevlite"

    def __init__(self):
        self.started = []

    def module(self, name):
        return importlib.import_module(f"gevlite.{name}")

    def spawn(self, function, *args):
        """As in `Original`; the greenlet itself is `.greenlet`."""
        greenlet = gevlite.spawn(_outcome, function, args)
        self.started.append(greenlet)

        def get(timeout=20):
            value, exc = greenlet.get(timeout=timeout)
            if exc is not None:
                raise exc
            return value

        return SimpleNamespace(get=get, greenlet=greenlet)

    def close(self):
        gevlite.killall(self.started)


def _outcome(function, args):
    """The outcome as a value, so that an expected exception is not printed as unhandled."""
    try:
        return function(*args), None
    except Exception as exc:
        return None, exc


@pytest.fixture(params=[Original, Twin], ids=["original", "gevlite"])
def lib(request):
    """Run the test twice: the original with threads shows that the expectation is right, then the twin."""
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def start():
    """`start(function, *args)`: a greenlet; `.get()` gives its outcome. It is killed at the end of the test."""
    twin = Twin()
    yield twin.spawn
    twin.close()


@pytest.fixture
def hub():
    return gevlite.get_hub()


@pytest.fixture
def loop(hub):
    return hub.loop


@pytest.fixture
def clock():
    """A VirtualClock: a test sleeps for a day to prove that nothing happens."""
    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def opened():
    """An ExitStack that closes what a test opens."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def pipe():
    """The two ends of a pipe, descriptors in non-blocking mode; the test may close them itself."""
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def errors(hub):
    """Collects the calls of `Hub.handle_error`, instead of printing the errors."""
    seen = []
    hub.handle_error = lambda context, type, value, tb: seen.append((context, value))
    yield seen
    del hub.handle_error


@pytest.fixture
def run_script():
    """Run Python source in its own process; it must end by itself, without a crash. Returns the CompletedProcess."""

    def run(source, *args, env=None, timeout=30, code=0, flags=()):
        command = [sys.executable, "-X", "faulthandler", *flags, "-c", textwrap.dedent(source), *args]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **output, env={**os.environ, **(env or {})}) as process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGABRT)  # faulthandler writes the stack of each thread
                stdout, stderr = process.communicate(timeout=10)
                pytest.fail(f"has not ended after {timeout} s\n{stdout}\n{stderr}")
            finally:
                process.kill()
        result = subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
        if code is not None:
            assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run


@pytest.fixture
def fast_thread_switches():
    """Make the interpreter switch threads as often as it can, to reveal steps that are not atomic."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
