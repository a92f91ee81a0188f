"""Patching affects a whole process, so each test runs a script in a process of its own."""

import os
import subprocess
import sys
import textwrap

import pytest

PATCH = "from gevlite import monkey\nmonkey.patch_all()\n"


class Script:
    """Runs Python code in a new process; `stderr` and `returncode` of the last run are kept."""

    def __init__(self, folder):
        self.folder = folder
        self.stderr = None
        self.returncode = None

    def write(self, code, name="script.py"):
        path = self.folder / name
        path.write_text(textwrap.dedent(code))
        return path

    def python(self, *arguments, **options):
        environment = {**os.environ, "PYTHONWARNINGS": "", "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=50,
            stdin=subprocess.DEVNULL,
            env=environment,
            **options,
        )
        self.stderr = done.stderr
        self.returncode = done.returncode
        return done.stdout

    def run(self, code, *arguments, patch=PATCH):
        """The lines that it prints. It must end with 0 and write nothing to stderr."""
        out = self.python(self.write(patch + textwrap.dedent(code)), *arguments)
        assert (self.returncode, self.stderr) == (0, ""), self.stderr
        return out.splitlines()


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path)
