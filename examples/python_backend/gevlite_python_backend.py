"""A backend for gevlite in plain Python, on poll(2), which every POSIX system has.

poll(2) is level-triggered: a ready descriptor stays ready. So one is registered only while a greenlet waits, until
the report. It reports regular files as always ready, and a closed descriptor (POLLNVAL) affects no other one.
"""

import os
import select

from gevlite.backends import END, READ, WRITE, Backend
from gevlite.monkey import get_original

FAILED = select.POLLERR | select.POLLHUP | select.POLLNVAL
# poll(2) takes an int. Returning early is allowed: the hub polls again.
LONGEST_MS = 2**31 - 1


class PythonPollBackend(Backend):
    """poll(): level-triggered, interest armed for one report."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        # A patched `select.poll` would wait for the hub, but here the hub itself waits.
        self._poll = get_original("select", "poll")()
        self._poll.register(self.wake_fd, select.POLLIN)

    @property
    def name(self) -> str:
        return "python-poll"

    def arm(self, fd: int, events: int) -> None:
        os.fstat(fd)  # OSError(EBADF) if it is closed
        wanted = (select.POLLIN if events & READ else 0) | (select.POLLOUT if events & WRITE else 0)
        self._poll.register(fd, wanted)

    def drop(self, fd: int) -> None:
        try:
            self._poll.unregister(fd)
        except KeyError:
            pass

    def poll(self, timeout_ns: int) -> None:
        # Rounded up, so that no timer fires early.
        milliseconds = None if timeout_ns < 0 else min(-(-timeout_ns // 1_000_000), LONGEST_MS)
        for fd, mask in self._poll.poll(milliseconds):
            if fd == self.wake_fd:
                self.drain()
                continue
            self._poll.unregister(fd)
            # After an error or a hang-up no operation would block: the waiter tries its own and gets the error.
            events = READ | WRITE | END if mask & FAILED else 0
            if mask & select.POLLIN:
                events |= READ
            if mask & select.POLLOUT:
                events |= WRITE
            self.report(fd, events)

    def after_fork(self) -> None:
        super().after_fork()
        self._start()
