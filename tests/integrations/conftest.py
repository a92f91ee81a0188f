"""Software written for gevent runs unmodified in processes of its own, where `import gevent` gives gevlite."""

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from real_servers import (
    folder_fixture as folder_fixture,
    free_port,
    postgres_fixture as postgres_fixture,
    redis_server_fixture as redis_server_fixture,
    running,
)

HERE = Path(__file__).parent


class Programs:
    """Writes programs to a folder, and runs them there; they can import `stand_in`."""

    def __init__(self, folder, stack):
        self.folder = folder
        self.stack = stack
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(HERE)]), "no_proxy": "*"}
        self.environment["HOME"] = str(folder)  # where newer gunicorns put a socket

    def write(self, name, source):
        (self.folder / name).write_text(textwrap.dedent(source))

    def options(self, environment):
        return {"cwd": self.folder, "env": {**self.environment, **environment}}

    def run(self, *arguments, launcher=("-m", "gevlite.as_gevent"), timeout=50, **environment):
        """Run it to its end; returns its output. It must end with 0."""
        command = [sys.executable, *launcher, *map(str, arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            **self.options(environment),
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self, port, *arguments, launcher=("-m", "gevlite.as_gevent"), **environment):
        """Start a server, wait until it listens, stop it at the end of the test. It has `url`, `log` and `process`."""
        log = self.folder / f"server-{port}.log"
        command = [sys.executable, *launcher, *map(str, arguments)]
        server = self.stack.enter_context(running(command, port, log, **self.options(environment)))
        return SimpleNamespace(url=f"http://127.0.0.1:{port}", port=port, process=server.process, log=log)


@pytest.fixture
def programs(tmp_path):
    with contextlib.ExitStack() as stack:
        yield Programs(tmp_path, stack)


@pytest.fixture
def port():
    return free_port()
