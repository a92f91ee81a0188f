"""The libraries under test run in processes of their own, patched, against real servers."""

import contextlib
import os
import subprocess
import sys
import textwrap

import pytest
from processes import PATIENCE
from real_servers import (
    folder_fixture as folder_fixture,
    free_port,
    mariadb_fixture as mariadb_fixture,
    mongodb_fixture as mongodb_fixture,
    postgres_fixture as postgres_fixture,
    program,
    redis_server_fixture as redis_server_fixture,
    running,
)

# The beginning of every script. `together(n, f)` runs f(0) ... f(n - 1) at once and checks that they wait at the same
# time: all of it takes less than half of their waiting times added up; on a busy machine, in one of a few attempts.
PRELUDE = f"PATIENCE = {PATIENCE}\n"
PRELUDE += """
from gevlite import monkey
monkey.patch_all()
import sys, time
import gevlite

SECONDS = 0.25      # that each call takes
TURNS = 4

def together(count, function, seconds=SECONDS):
    for turn in range(TURNS):
        start = time.monotonic()
        jobs = [gevlite.spawn(function, i) for i in range(count)]
        gevlite.joinall(jobs, timeout=PATIENCE, raise_error=True)
        took = time.monotonic() - start
        assert all(job.ready() for job in jobs)
        assert took >= seconds * 0.9, took
        if took < count * seconds / 2:
            return [job.value for job in jobs]
    raise AssertionError(f"{count} calls of {seconds} s took {took:.2f} s: one after the other")
"""


# The beginning of the scripts for asyncio libraries. `in_each_way(resource, ask, count, more)` runs them in all the
# ways that this process, patched or not, has:
#
# resource(): an asynchronous context manager that opens the resource that they use
# ask(used, number): a coroutine function that checks its answer itself; called `count` times at once
# more(used): a coroutine function, called once
ASYNCHRONOUS = f"PATIENCE = {PATIENCE}\n"
ASYNCHRONOUS += """
import sys
PATCHED = sys.argv[1] == "patched"
if PATCHED:
    from gevlite import monkey
    monkey.patch_all()
import asyncio, contextlib, functools
import gevlite, gevlite.asyncio
from gevlite.asyncio import EventLoop

class Crowd:
    '''No one goes on before `count` are there: so that many wait at once.'''

    def __init__(self, count):
        self.count, self.here, self.complete = count, 0, asyncio.Event()

    async def meet(self):
        self.here += 1
        if self.here == self.count:
            self.complete.set()
        await asyncio.wait_for(self.complete.wait(), PATIENCE)

async def whole(resource, ask, count, more=None):
    assert isinstance(asyncio.get_running_loop(), EventLoop)
    async with resource() as used:
        if more is not None:
            await more(used)
        await asyncio.gather(*(ask(used, number) for number in range(count)))

def shared(resource, ask, count):
    '''By many greenlets, in the long-lived loop.'''
    opened = resource()
    used = gevlite.asyncio.wait(opened.__aenter__())
    greenlets = [gevlite.spawn(lambda n: gevlite.asyncio.wait(ask(used, n)), number) for number in range(count)]
    gevlite.joinall(greenlets, raise_error=True)
    gevlite.asyncio.wait(opened.__aexit__(None, None, None))

def in_each_way(resource, ask, count, more=None, at_once=3):
    run = asyncio.run if PATCHED else gevlite.asyncio.run
    run(whole(resource, ask, count, more))
    greenlets = [gevlite.spawn(run, whole(resource, ask, count)) for _ in range(at_once)]
    gevlite.joinall(greenlets, raise_error=True)
    shared(resource, ask, count)
    print("ok")
"""


@pytest.fixture(scope="module")
def memcached(folder):
    port = free_port()
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), *user]
    with running(command, port, folder / "memcached.log") as server:
        yield server


@pytest.fixture(scope="module")
def moto(folder):
    """Amazon's services, as far as moto imitates them."""
    port = free_port()
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, port, folder / "moto.log", env=environment) as server:
        yield server


# A threading server of the standard library in a process of its own, so that it cannot be the cause of blocking.
SLOW_SERVER = """
import http.server, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(0.25)
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def slow_server(folder):
    port = free_port()
    with running([sys.executable, "-c", SLOW_SERVER, str(port)], port, folder / "http.log") as server:
        yield server


SLOW_PROXY = """
import asyncio, sys

async def pump(reader, writer, delay):
    try:
        while data := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()

async def serve(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pump(reader, there[1], float(sys.argv[3])), pump(there[0], writer, 0))

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture
def slowed(tmp_path):
    """`slowed(server, seconds)`: a port that leads to the server and holds up each request for so long."""
    with contextlib.ExitStack() as stack:

        def slow(server, seconds=0.25):
            port = free_port()
            command = [sys.executable, "-c", SLOW_PROXY, str(port), str(server.port), str(seconds)]
            return stack.enter_context(running(command, port, tmp_path / f"proxy-{port}.log")).port

        yield slow


@pytest.fixture
def run(tmp_path):
    """`run(code, *arguments)`: run the script patched, in a process of its own; returns what it prints."""

    def run(code, *arguments, prelude=PRELUDE, timeout=150):
        path = tmp_path / "script.py"
        path.write_text(prelude + textwrap.dedent(code))
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "no_proxy": "*"}
        done = subprocess.run(
            [sys.executable, path, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split()

    return run


@pytest.fixture(params=["unpatched", "patched"])
def run_asynchronous(run, request):
    """`run_asynchronous(code, *arguments)`: in a process that is patched, and in one that is not. Takes seconds."""

    def run_asynchronous(code, *arguments):
        assert run(code, request.param, *arguments, prelude=ASYNCHRONOUS, timeout=200) == ["ok"]

    return run_asynchronous
