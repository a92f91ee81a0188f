"""Programs on a terminal of their own, for tests."""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 50  # seconds, for a machine that is busy

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[=>]|\x1b\][^\x07]*\x07|[\x01\x02\x07]")


class Terminal:
    """Runs `python *arguments` on a new terminal, which is its controlling one. For `with`.

    env: instead of that of this process; variables: its differences, None for a variable that is not in it. controls:
    `text` has control characters, too.
    """

    def __init__(self, *arguments, columns=80, rows=24, cwd=None, env=os.environ, controls=False, **variables):
        self._leader, follower = os.openpty()
        self.resize(columns, rows)
        variables = {**env, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **variables}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env={name: value for name, value in variables.items() if value is not None},
            cwd=cwd,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(follower)
        self._controls = controls
        self.raw = ""  # all that it has written
        self._read = 0  # how much of it `expect` has passed

    @property
    def text(self):
        """Its output, without control characters other than the ends of lines."""
        return (self.raw if self._controls else _CONTROLS.sub("", self.raw)).replace("\r", "")

    def resize(self, columns, rows):
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self._leader, text.encode())

    def expect(self, pattern, again=None):
        """Wait for text that comes after all that was expected before. Returns the match.

        again: text to type every two seconds meanwhile.
        """
        typed = time.monotonic()
        deadline = typed + PATIENCE
        while True:
            found = re.compile(pattern).search(self.text, self._read)
            if found:
                self._read = found.end()
                return found
            assert time.monotonic() < deadline, f"no {pattern!r} after {self._read} in\n{self.text}"
            assert self._more(1), f"ended without {pattern!r} after {self._read} in\n{self.text}"
            if again is not None and time.monotonic() - typed > 2:
                self.type(again)
                typed = time.monotonic()

    def _more(self, seconds):
        """Read what is there. False at the end."""
        if select.select([self._leader], [], [], seconds)[0]:
            try:
                data = os.read(self._leader, 65536)
            except OSError:  # EIO: how Linux says that the other end is closed
                return False
            self.raw += data.decode("utf-8", "replace")
            return bool(data)
        return True

    def wait(self):
        """Wait until it has ended; returns the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._more(1):
            assert time.monotonic() < deadline, f"has not ended\n{self.text}"
        return self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._leader)
