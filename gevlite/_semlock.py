"""The lock of `multiprocessing`, shared between processes, without stopping greenlets.

It is a POSIX semaphore, for which only the whole thread can wait. That would be a deadlock where the one who will
release it is another greenlet of this thread, as at the end of a `multiprocessing.Pool`. So it is tried again and
again, with pauses in which others run. The pause grows from half a millisecond to ten.

The original knows which OS thread took it last. All greenlets of a thread would be one owner of an RLock, so the
greenlet is noted here; `_is_mine` and `_count`, by which Condition learns whose it is, go by that.
"""

import _multiprocessing

from gevlite._core import get_hub, get_hub_if_exists, getcurrent, sleep
from gevlite._threadlock import get_ident

__all__ = ["SemLock"]

__target__ = "_multiprocessing"
__implements__ = ["SemLock"]

_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01

# The kind of an RLock, `multiprocessing.synchronize.RECURSIVE_MUTEX`; an enum of the original's C code.
_RECURSIVE_MUTEX = 0


class SemLock(_multiprocessing.SemLock):
    """The original with a cooperative `acquire`. A thread without a hub, and the hub itself, wait as ever."""

    # The `get_ident()` of the greenlet that took it last.
    _owner = 0

    def acquire(self, block=True, timeout=None):
        """Take it; block this greenlet until that works, at most `timeout` seconds. False if it did not."""
        if self._try():
            return True
        if not block:
            return False
        hub = get_hub_if_exists()
        if (hub is None or getcurrent() is hub) and not self._is_a_neighbours():
            if not super().acquire(True, timeout):
                return False
            self._owner = get_ident()
            return True
        hub = hub or get_hub()
        deadline = None if timeout is None else hub.now() + timeout
        pause = _FIRST_PAUSE
        while True:
            if deadline is not None:
                left = deadline - hub.now()
                if left <= 0:
                    return False
                pause = min(pause, left)
            sleep(pause)
            if self._try():
                return True
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _try(self):
        if self._is_a_neighbours() or not super().acquire(False):
            return False
        self._owner = get_ident()
        return True

    def _is_a_neighbours(self):
        """True if another greenlet of this OS thread has it, and the original would give it to us once more."""
        return self.kind == _RECURSIVE_MUTEX and super()._is_mine() and self._owner != get_ident()

    def release(self):
        """Give it back. Raises AssertionError if it is an RLock of another, ValueError if nobody has it."""
        if self._is_a_neighbours():
            raise AssertionError("attempt to release recursive lock not owned by thread")
        super().release()

    def _is_mine(self):
        return super()._is_mine() and self._owner == get_ident()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc_info):
        self.release()
