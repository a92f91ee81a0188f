"""Signals in greenlets.

Python runs the handlers of `signal.signal` by itself, promptly also while the hub polls: between two bytecodes of the
main thread, in whichever greenlet that is. Such a handler must not block. `signal_handler` gives a handler a greenlet
of its own.
"""

import signal as _signal

from gevlite import loop  # noqa: F401  (provides hub.loop)
from gevlite._core import get_hub
from gevlite.greenlet import Greenlet

__all__ = ["signal_handler"]


class signal_handler:
    """Run `handler(*args, **kwargs)` in a new greenlet each time the signal `signalnum` comes, until `cancel()`.

    Replaces the handler that was set by `signal.signal`; `cancel()` puts that back. Main thread only. Does not block,
    and does not keep the loop alive unless `ref` is set. Raises TypeError for a handler that cannot be called and
    ValueError for a number that is no signal.
    """

    greenlet_class = Greenlet

    def __init__(self, signalnum, handler, *args, **kwargs):
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {handler!r}")
        self.hub = get_hub()
        self.handler = handler
        self.args = args
        self.kwargs = kwargs
        self.watcher = self.hub.loop.signal(_signal.Signals(signalnum), ref=False)
        self.watcher.start(self._caught)

    def _caught(self):
        self.greenlet_class(self.handle).start()

    def handle(self):
        """Make the call; in the new greenlet."""
        self.handler(*self.args, **self.kwargs)

    @property
    def ref(self):
        """True if waiting for the signal keeps the loop alive."""
        return self.watcher.ref

    @ref.setter
    def ref(self, value):
        if bool(value) != self.watcher.ref:
            (self.hub.ref if value else self.hub.unref)()
            self.watcher.ref = self.watcher._counted = bool(value)

    def cancel(self):
        """Put the earlier handler back. Calling it twice does nothing."""
        self.watcher.stop()

    def __repr__(self):
        return f"<signal_handler {self.watcher!r} {self.handler!r}>"
