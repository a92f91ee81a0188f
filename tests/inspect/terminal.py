"""A terminal for a command, and what appears on it."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time


class Terminal:
    """Runs `begin(stdin=, stdout=, stderr=)` at a terminal of its own."""

    def __init__(self, begin, columns=80, rows=24):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)

        def take_over():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = begin(
            stdin=slave, stdout=slave, stderr=slave, text=False, start_new_session=True, preexec_fn=take_over
        )
        os.close(slave)
        self.text = ""

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds=0.1):
        """What has come; None at the end."""
        if not select.select([self.master], [], [], seconds)[0]:
            return ""
        try:
            received = os.read(self.master, 65536)
        except OSError:
            return None
        self.text += received.decode().replace("\r", "")
        return self.text

    def until(self, pattern, seconds=50, again=None):
        """Wait until it shows this, and forget what was there until then. again: to be typed every two seconds."""
        end = time.monotonic() + seconds
        typed = time.monotonic()
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, f"waited in vain for {pattern!r} in {self.text!r}"
            if self.read() is None:
                found = re.search(pattern, self.text)
                assert found, f"ended without {pattern!r}: {self.text!r}"
                break
            if again is not None and time.monotonic() - typed > 2:
                self.type(again)
                typed = time.monotonic()
        self.text = self.text[found.end() :]
        return found

    def wait(self, seconds=50):
        """Its exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        return self.process.wait(1)

    def close(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(10)
        os.close(self.master)
