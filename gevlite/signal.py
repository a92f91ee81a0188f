"""Signals: handlers in greenlets, and cooperative `pause` and `sigwait`; the rest of `signal` is as it was.

Python runs the handlers of `signal.signal` by itself, between two bytecodes of the main thread, in whichever greenlet
that is. While the hub polls, the main greenlet runs them, in the middle of what it waits for. They may block.
`signal_handler` gives a handler a greenlet of its own.

To learn of signals while it polls the main thread's hub is registered with `signal.set_wakeup_fd`. The twin of that
function gives the place to whoever asks for it (the system then interrupts our poll only if the signal lands on the
main thread, where it normally does), and takes it back with the -1 that ends it.
"""

import signal as _std

from gevlite._core import get_hub, get_hub_if_exists, sleep
from gevlite.event import Event
from gevlite.greenlet import Greenlet, GreenletExit

__target__ = "signal"
__implements__ = [
    name
    for name in ("getsignal", "pause", "set_wakeup_fd", "signal", "sigtimedwait", "sigwait", "sigwaitinfo")
    if hasattr(_std, name) and (not name.startswith("sigwait") or hasattr(_std, "sigtimedwait"))
]
__imports__ = [name for name in dir(_std) if not name.startswith("_") and name not in __implements__]
globals().update({name: getattr(_std, name) for name in __imports__})
__extensions__ = ["signal_handler"]
__all__ = __implements__ + __imports__ + __extensions__

# The originals, also when `signal` is patched.
_getsignal = _std.getsignal
_signal = _std.signal
_set_wakeup_fd = _std.set_wakeup_fd
_pause = getattr(_std, "pause", None)
_sigtimedwait = getattr(_std, "sigtimedwait", None)
_SIGCHLD = getattr(_std, "SIGCHLD", None)

# A blocked signal that has come announces itself to nobody: how often to look, in seconds.
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class signal_handler:
    """Run `handler(*args, **kwargs)` in a new greenlet each time the signal `signalnum` comes, until `cancel()`.

    Replaces the handler that was set by `signal.signal`; `cancel()` puts that back. Main thread only. Does not block.
    What the handler raises is raised in the main greenlet.
    Raises TypeError for a handler that cannot be called and ValueError for a number that is no signal.
    """

    greenlet_class = Greenlet

    def __init__(self, signalnum, handler, *args, **kwargs):
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {handler!r}")
        self.hub = get_hub()
        self.handler = handler
        self.args = args
        self.kwargs = kwargs
        self.watcher = self.hub.loop.signal(_std.Signals(signalnum), ref=None)
        self.watcher.start(self._caught)

    def _caught(self):
        self.greenlet_class(self.handle).start()

    def handle(self):
        """Make the call, in the new greenlet. What it raises is raised in the main greenlet, as with any handler."""
        try:
            self.handler(*self.args, **self.kwargs)
        except GreenletExit:
            raise
        except BaseException as exc:
            self.hub.handle_system_error(type(exc), exc, exc.__traceback__)

    @property
    def ref(self):
        """Whether it is worth waiting for the signal. True: `gevlite.wait()` waits for it too. None, the default: only
        a main greenlet that would otherwise wait for nothing goes on waiting. False: that gets LoopExit."""
        return self.watcher.ref

    @ref.setter
    def ref(self, value):
        self.watcher.ref = value

    def cancel(self):
        """Put the earlier handler back. Calling it twice does nothing."""
        self.watcher.stop()

    def __repr__(self):
        return f"<signal_handler {self.watcher!r} {self.handler!r}>"


class _InGreenlet:
    """The handler of SIGCHLD that the interpreter knows: gives the real one a greenlet of its own."""

    __slots__ = ("handler",)

    def __init__(self, handler):
        self.handler = handler

    def __call__(self, signalnum, frame):
        Greenlet.spawn(self.handler, signalnum, None)


def signal(signalnum, handler, /):
    """As `signal.signal`. A handler of SIGCHLD runs in a new greenlet, without a frame: children end in the middle of
    anything, and what it raises is reported and hits nobody."""
    if signalnum == _SIGCHLD and callable(handler) and not isinstance(handler, (int, _InGreenlet)):
        get_hub()  # which is told of signals from now on
        handler = _InGreenlet(handler)
    return _handler_of(_signal(signalnum, handler))


def getsignal(signalnum, /):
    """As `signal.getsignal`."""
    return _handler_of(_getsignal(signalnum))


def _handler_of(handler):
    return handler.handler if isinstance(handler, _InGreenlet) else handler


def _hub_of_signals():
    """The hub that is told of signals, if that is the running thread's."""
    hub = get_hub_if_exists()
    return hub if hub is not None and hub.main_hub and not hub.closed else None


def set_wakeup_fd(fd, /, *, warn_on_full_buffer=True):
    """As `signal.set_wakeup_fd`: the descriptor to which signals write their numbers, -1 for none; returns the last.

    What gevlite itself has registered is nobody's business: it does not show, and comes back when there is none.
    """
    hub = _hub_of_signals()
    ours = hub.backend.signal_fd if hub is not None else -1
    before = _set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    if fd == -1 and ours != -1:
        _set_wakeup_fd(ours, warn_on_full_buffer=False)
    return -1 if before == ours else before


def pause():
    """Block until a signal has come for which there is a handler, and that has run.

    In a thread other than the main one, and while somebody else has `set_wakeup_fd`, it stops the whole thread.
    """
    hub = get_hub()
    if not _is_told_of_signals(hub):
        return _pause()
    came = Event()
    hub.backend.drain()  # what came before does not count
    seen = hub.backend.signals

    def look():
        if hub.backend.signals != seen:
            came.set()

    if hub.after_poll is None:
        hub.after_poll = []
    hub.after_poll.append(look)
    hub.ref()
    try:
        came.wait()
    finally:
        hub.unref()
        hub.after_poll.remove(look)


def _is_told_of_signals(hub):
    ours = hub.backend.signal_fd
    try:
        current = _set_wakeup_fd(ours, warn_on_full_buffer=False)
    except ValueError:
        return False  # not the main thread
    if current not in (-1, ours):
        _set_wakeup_fd(current)
        return False
    return True


def sigtimedwait(sigset, timeout, /):
    """As `signal.sigtimedwait`: block until one of the blocked signals `sigset` has come, at most `timeout` seconds.

    Returns its `struct_siginfo`, or None. It may be noticed up to 50 ms late.
    """
    return _look_for(sigset, timeout)


def sigwaitinfo(sigset, /):
    """As `signal.sigwaitinfo`: `sigtimedwait` without a limit."""
    return _look_for(sigset, None)


def sigwait(sigset, /):
    """As `signal.sigwait`: block until one of the blocked signals `sigset` has come, and return its number."""
    number = _look_for(sigset, None).si_signo
    try:
        return _std.Signals(number)
    except ValueError:
        return number


def _look_for(sigset, timeout):
    if timeout is not None and timeout <= 0:
        return _sigtimedwait(sigset, timeout)
    sigset = list(sigset)
    hub = get_hub()
    deadline = None if timeout is None else hub.now() + timeout
    delay = _FIRST_LOOK
    while True:
        found = _sigtimedwait(sigset, 0)
        if found is not None:
            return found
        if deadline is not None:
            remaining = deadline - hub.now()
            if remaining <= 0:
                return None
            delay = min(delay, remaining)
        sleep(delay)
        delay = min(delay * 2, _LAST_LOOK)


# Functions of the original that are written in Python are of this module; so are those that take their place.
for _name in __implements__:
    globals()[_name].__module__ = _std.__name__
