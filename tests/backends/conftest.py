"""What every test here gets: the hub must be left as it was found, and a way to run a script in its own process."""

import os
import subprocess
import sys
import textwrap

import pytest

import gevlite

# What a test may not leave behind.
HELD = ("greenlets", "parked", "ready", "timers", "unref_timers", "fds", "fd_waiters", "refs", "pending_throws")


def held():
    stats = gevlite.get_hub().stats()
    return {key: stats[key] for key in HELD}


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Each test leaves nothing parked, pending, armed or queued."""
    before = held()
    yield
    for _ in range(100):
        if held() == before:
            break
        gevlite.sleep(0)
    assert held() == before


@pytest.fixture
def hub():
    return gevlite.get_hub()


@pytest.fixture
def errors(hub):
    """Collects what `Hub.handle_error` is told, instead of printing it."""
    seen = []
    hub.handle_error = lambda context, type, value, tb: seen.append((context, value))
    yield seen
    del hub.handle_error


@pytest.fixture
def run_script():
    """Run Python source in its own process; it must end by itself, without a crash. Returns the CompletedProcess."""

    def run(source, *args, env=None, timeout=30, code=0, flags=()):
        result = subprocess.run(
            [sys.executable, "-X", "faulthandler", *flags, "-c", textwrap.dedent(source), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        if code is not None:
            assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run


@pytest.fixture
def parked():
    """`parked(greenlet)`: run others until the greenlet is parked in a blocking call."""

    def wait(g):
        hub = gevlite.get_hub()
        while not any(w.parked is g for w in hub.parked_waiters()):
            assert not g.dead, f"{g!r} ended instead of blocking"
            gevlite.sleep(0)
        return g

    return wait


@pytest.fixture
def fast_thread_switches():
    """Let the interpreter change threads as often as it can: what is not atomic shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
