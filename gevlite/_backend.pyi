"""The contract between a hub and its backend, which tells it which file descriptors are ready.

This file has what every backend has in common; each kernel interface has a file of its own in `gevlite.backends`.
Nothing here knows the hub: the hub calls a backend, and takes what the backend has found.
"""

from typing import Any, ClassVar, Final, Self, final

from typing_extensions import disjoint_base

READ: Final = 1
"""To wait for, and in a report: there is something to read, or a client to accept."""
WRITE: Final = 2
"""To wait for, and in a report: there is room to write."""
END: Final = 4
"""Only in a report: the other side has closed, or there is an error; no further edge may come."""
URGENT: Final = 8
"""Only in a report: urgent data (`MSG_OOB`) has come."""

@disjoint_base
class Backend:
    """Tells a hub which file descriptors are ready. Subclass it in Cython or in plain Python.

    The promise every backend makes: after `arm(fd, events)` a later `poll` reports `(fd, events)` at least once if it is or
    becomes ready. Reporting too often is allowed, losing a report never is. Each method says what it must do.

    The base class owns a pipe: `wake` writes to it, `wake_fd` is its read end and `signal_fd` its write end, which the
    hub gives to `signal.set_wakeup_fd`. A subclass that defines `after_fork` or `close` calls that of the base class too.

    Where their exceptions go: those of `adopt` and `arm` to the waiter of the descriptor, of `poll` to the main greenlet of
    the hub's thread, of `close` out of `Hub.destroy`, of `drop` and `wake` to `Hub.handle_error`. (An OSError of `drop` is
    ignored. If `wake` fails, the pipe wakes.) If `after_fork` raises, the child cannot use its hub.

    late_after_fork: True if the hub may call `close` in the child of a fork, and `after_fork` only when it polls for the
    first time. A subclass that defines either of them says it again; the instance is not asked.
    """

    late_after_fork: ClassVar[bool]
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @property
    def name(self) -> str:
        """The name by which `GEVLITE_BACKEND` picks it."""
    @property
    def wake_fd(self) -> int: ...
    @property
    def signal_fd(self) -> int: ...
    @property
    def signals(self) -> int: ...
    def adopt(self, fd: int) -> bool:
        """Watch `fd` edge-triggered in both directions until `drop`.

        Returns False if this kernel interface cannot: the hub then uses `arm` for each wait.
        """
    def arm(self, fd: int, events: int) -> None:
        """Watch `fd` for exactly `events` (READ | WRITE) and report once. Replaces what was armed before.

        A closed fd raises OSError(EBADF); a regular file is always ready.
        """
    def drop(self, fd: int) -> None:
        """Forget `fd`; nothing happens if it is unknown or closed already."""
    def poll(self, timeout_ns: int) -> None:
        """Wait for at most `timeout_ns` nanoseconds (-1: for ever; never more than a day), call `report(fd, events)` for all
        that is ready, and return None.

        Must watch `wake_fd` too and call `drain()` when it is readable. Release the GIL only if it may block. After EINTR, run
        the signal handlers and return. Those may block, and `poll` is then called again before it has returned: in Cython, run
        them (`run_signal_handlers`) last.
        """
    def wake(self) -> None:
        """Make a running or the next `poll` return at once. Any thread may call it at any time.

        Many calls before the next poll cost one write.
        """
    def after_fork(self) -> None:
        """In the child: replace everything shared with the parent and forget all fds."""
    def close(self) -> None:
        """Free everything."""
    def report(self, fd: int, events: int) -> None:
        """Called from `poll`: `fd` is ready for `events`, which is READ, WRITE or both, and perhaps END and URGENT.

        Raises ValueError for a number or events that cannot be right.
        """
    def drain(self) -> None:
        """Called from `poll` when `wake_fd` is readable: read what woke it."""
    def take_reported(self) -> list[tuple[int, int]]:
        """What the last `poll` reported, as a list of `(fd, events)`; for tests of a backend on its own."""

@final
class LostBackend(Backend):
    """In a child, replaces a backend whose `after_fork` failed: what that backend holds may still be the parent's."""
