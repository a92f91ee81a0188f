"""Waiting for a change: of the members of a pool, or of its free places."""

import functools
from collections import deque
from collections.abc import Callable, Iterable

from gevlite._core import let_others_run
from gevlite.event import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gevlite.timeout import Timeout


class Watch:
    """Greenlets of any thread wait here until `tell()` is called."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()

    def wait_unless(self, condition: Callable[[], object], timeout: "float | Timeout | None" = None) -> bool:
        """Block until `tell()` is called, at most `timeout` seconds, unless `condition()` is true. False if neither.

        The condition is checked only once a `tell()` would already wake this greenlet, so none can be missed.
        """
        event = Event()
        self._waiting.append(event)
        try:
            if not condition():
                return event.wait(timeout)
            let_others_run(timeout)
            return True
        finally:
            try:
                self._waiting.remove(event)
            except ValueError:
                pass  # told

    def tell(self) -> None:
        """Wake all waiting greenlets. Does not block. May be called from any thread."""
        self.take()()

    def take(self) -> Callable[[], None]:
        """A function that wakes the greenlets that wait now, and none that begin to wait before it is called.

        Does not block. May be called from any thread.
        """
        taken = []
        try:
            while self._waiting:
                taken.append(self._waiting.popleft())
        except IndexError:
            pass  # another thread was faster
        return functools.partial(_set_all, taken)


def _set_all(waiting: Iterable[Event]) -> None:
    for event in waiting:
        event.set()
