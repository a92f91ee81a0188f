"""Clients run unmodified and patched, each in a process of its own, against a server on threads or on greenlets."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import local_servers
import pytest

# Before the client's code, which defines `fetch(url, n)` and, if it keeps connections, `finish()`.
BEFORE = """
from gevlite import monkey
monkey.patch_all()

def finish():
    pass
"""

# After it: make the server, unless the test has one, call `fetch` from many greenlets at once, and print what they
# returned, what the server saw, and what is left in the hub.
AFTER = """
import gc
import json
import sys
import time
import gevlite

def counters():
    stats = gevlite.get_hub().stats()
    return {name: stats[name] for name in ("greenlets", "parked", "timers", "fds", "fd_waiters", "refs")}

url, kind, expected, certificate, count = sys.argv[1:]
before = counters()
server = None
if not url:
    import local_servers
    server = getattr(local_servers, kind)(int(expected), certificate or None).start()
    url = server.url

def outcome(n):
    try:
        return fetch(url, n)
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"

values = [job.get() for job in [gevlite.spawn(outcome, n) for n in range(int(count))]]
finish()
if server is not None:
    server.stop()
deadline = time.monotonic() + 10
while counters() != before and time.monotonic() < deadline:
    gc.collect()        # connections that only a cycle still holds
    gevlite.sleep(0.01)
print(json.dumps({
    "values": values, "server": server and server.report(), "before": before, "after": counters(),
}))
"""


@pytest.fixture(params=["threads", "greenlets"])
def fetch_at_once(request, run_script):
    """`fetch_at_once(code, kind="HTTPServer", count=5, certificate=None, env=None)`: what each fetch returned and what
    the server saw. The server makes each request wait until all `count` have arrived."""

    def run(code, kind="HTTPServer", count=5, certificate=None, env=None, expected=None):
        expected = count if expected is None else expected
        server = None
        if request.param == "threads":
            server = getattr(local_servers, kind)(expected, certificate).start()
        try:
            result = run_script(
                BEFORE + code + AFTER,
                server.url if server else "",
                kind,
                str(expected),
                certificate or "",
                str(count),
                env={"PYTHONPATH": str(Path(__file__).parent), **(env or {})},
                timeout=50,
            )
        finally:
            if server is not None:
                server.stop()
        assert result.stderr == ""
        said = json.loads(result.stdout)
        assert said["after"] == said["before"]
        return SimpleNamespace(values=said["values"], **(server.report() if server else said["server"]))

    return run


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    """The clients must talk to the test's server, whatever proxy the environment names."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
