"""Where the members of a pool, and whoever waits for a place in one, hear that something has changed."""

from collections import deque

from gevlite._core import let_others_run
from gevlite.event import Event


class Watch:
    """Where greenlets, of any thread, wait until somebody calls `tell()`."""

    def __init__(self):
        self._waiting = deque()

    def wait_unless(self, condition, timeout=None):
        """Block until `tell()` is called, at most `timeout` seconds, unless `condition()` holds. False if neither.

        The condition is looked at when a `tell()` would be heard already: none can come in between.
        """
        event = Event()
        self._waiting.append(event)
        try:
            if not condition():
                return event.wait(timeout)
            let_others_run(timeout)  # after the look: what is due, links for example, runs before we go on
            return True
        finally:
            try:
                self._waiting.remove(event)
            except ValueError:
                pass  # told

    def tell(self):
        """Wake everybody who waits. Does not block. May be called from any thread."""
        try:
            while self._waiting:
                self._waiting.popleft().set()
        except IndexError:
            pass  # another thread was faster
