"""The progress line of a run."""

import sys
import time


class Progress:
    """On a terminal one line that is rewritten; otherwise one line for each case.

    steps: how many turns of a library there are in all.
    """

    def __init__(self, steps: int, stream=None, now=time.monotonic):
        self.steps = steps
        self.stream = sys.stderr if stream is None else stream
        self.now = now
        self.done = 0
        self.start = now()
        self.terminal = self.stream.isatty()
        self.case = None

    def __call__(self, case, library, turn):
        """A turn begins."""
        if self.terminal:
            self._write(f"\r\033[K{self._share()} {case.name}, turn {turn + 1}: {library}{self._left()}")
        elif case is not self.case:
            self._write(f"{self._share()} {case.name}{self._left()}\n")
        self.case = case
        self.done += 1

    def end(self):
        erase = "\r\033[K" if self.terminal else ""
        self._write(f"{erase}{self.done} measurements in {duration(self.now() - self.start)}\n")

    def _share(self):
        return f"[{self.done / self.steps:4.0%}]"

    def _left(self):
        """Estimated from how long each has taken so far."""
        if not self.done:
            return ""
        each = (self.now() - self.start) / self.done
        return f", about {duration(each * (self.steps - self.done))} left"

    def _write(self, text):
        print(text, end="", file=self.stream, flush=True)


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
