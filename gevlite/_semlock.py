"""The lock of `multiprocessing`, shared between processes, without stopping greenlets.

It is a POSIX semaphore, for which only the whole thread can wait. That would be a deadlock where the one who will
release it is another greenlet of this thread, as at the end of a `multiprocessing.Pool`. So it is tried again and
again, with pauses in which others run. The pause grows from half a millisecond to ten.
"""

import _multiprocessing

from gevlite._core import get_hub_if_exists, getcurrent, sleep

__all__ = ["SemLock"]

__target__ = "_multiprocessing"
__implements__ = ["SemLock"]

_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01


class SemLock(_multiprocessing.SemLock):
    """The original with a cooperative `acquire`. A thread without a hub, and the hub itself, wait as ever."""

    def acquire(self, block=True, timeout=None):
        """Take it; block this greenlet until that works, at most `timeout` seconds. False if it did not."""
        acquire = super().acquire
        if acquire(False):
            return True
        if not block:
            return False
        hub = get_hub_if_exists()
        if hub is None or getcurrent() is hub:
            return acquire(True, timeout)
        deadline = None if timeout is None else hub.now() + timeout
        pause = _FIRST_PAUSE
        while True:
            if deadline is not None:
                left = deadline - hub.now()
                if left <= 0:
                    return False
                pause = min(pause, left)
            sleep(pause)
            if acquire(False):
                return True
            pause = min(pause * 2, _LONGEST_PAUSE)

    def __enter__(self):
        return self.acquire()
