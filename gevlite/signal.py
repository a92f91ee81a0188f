"""Signals: handlers in greenlets, and cooperative `pause` and `sigwait`; the rest of `signal` is unchanged.

Python itself runs a handler set with `signal.signal`, between two bytecodes of the main thread, in whichever greenlet
is running. If a signal arrives while the hub polls, the main greenlet runs the handler, in the middle of the call that
it waits in. Handlers may block. `signal_handler` gives a handler a greenlet of its own.

To notice signals while it polls, the main thread's hub is registered with `signal.set_wakeup_fd`. The twin of that
function lets other code register instead (then a signal interrupts the hub's poll only if it arrives on the main
thread, as it normally does), and registers the hub again when that code passes -1.
"""

import signal as _std

from gevlite import _twin
from gevlite._core import backend_of, get_hub, get_hub_if_exists, sleep
from gevlite.event import Event
from gevlite.greenlet import Greenlet, GreenletExit

__target__ = "signal"
__implements__ = [
    name
    for name in ("getsignal", "pause", "set_wakeup_fd", "signal", "sigtimedwait", "sigwait", "sigwaitinfo")
    if hasattr(_std, name) and (not name.startswith("sigwait") or hasattr(_std, "sigtimedwait"))
]
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside(__implements__, _std))
__extensions__ = ["signal_handler"]
__all__ = __implements__ + __imports__ + __extensions__

# The originals, even if `signal` is patched.
_getsignal = _std.getsignal
_signal = _std.signal
_set_wakeup_fd = _std.set_wakeup_fd
_pause = getattr(_std, "pause", None)
_sigtimedwait = getattr(_std, "sigtimedwait", None)
_SIGCHLD = getattr(_std, "SIGCHLD", None)

# The kernel does not report a blocked signal: how often to check for one, in seconds.
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class signal_handler:
    """Run `handler(*args, **kwargs)` in a new greenlet each time the signal `signalnum` arrives, until `cancel()`.

    Replaces the handler set with `signal.signal`; `cancel()` restores it. Main thread only. Does not block. An
    exception from the handler is raised in the main greenlet. Raises TypeError if the handler is not callable,
    ValueError if the number is not a signal.
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
        """Call the handler, in the new greenlet. Its exception is raised in the main greenlet, as with any handler."""
        try:
            self.handler(*self.args, **self.kwargs)
        except GreenletExit:
            raise
        except BaseException as exc:
            self.hub.handle_system_error(type(exc), exc, exc.__traceback__)

    @property
    def ref(self):
        """Whether the program waits for the signal. True: `gevlite.wait()` also waits for it. None, the default: a main
        greenlet that nothing else can wake continues to wait. False: in that case it gets LoopExit."""
        return self.watcher.ref

    @ref.setter
    def ref(self, value):
        self.watcher.ref = value

    def cancel(self):
        """Restore the earlier handler. Calling it twice does nothing."""
        self.watcher.stop()

    def __repr__(self):
        return f"<signal_handler {self.watcher!r} {self.handler!r}>"


class _InGreenlet:
    """The handler for SIGCHLD that the interpreter calls: it runs the real one in a greenlet of its own."""

    __slots__ = ("handler",)

    def __init__(self, handler):
        self.handler = handler

    def __call__(self, signalnum, frame):
        Greenlet.spawn(self.handler, signalnum, None)


def signal(signalnum, handler, /):
    """Like `signal.signal`. A handler of SIGCHLD runs in a new greenlet, without a frame: children may end at any
    moment, so its exceptions are only reported and not raised in other code."""
    if signalnum == _SIGCHLD and callable(handler) and not isinstance(handler, (int, _InGreenlet)):
        get_hub()  # from now on it notices signals
        handler = _InGreenlet(handler)
    return _handler_of(_signal(signalnum, handler))


def getsignal(signalnum, /):
    """Like `signal.getsignal`."""
    return _handler_of(_getsignal(signalnum))


def _handler_of(handler):
    return handler.handler if isinstance(handler, _InGreenlet) else handler


def _hub_of_signals():
    """The hub that notices signals, if it is the running thread's."""
    hub = get_hub_if_exists()
    return hub if hub is not None and hub.main_hub and not hub.closed else None


def set_wakeup_fd(fd, /, *, warn_on_full_buffer=True):
    """Like `signal.set_wakeup_fd`: set the descriptor that gets the numbers of signals, -1 for none; returns the old
    one.

    The descriptor that gevlite itself registers is never returned, and is registered again when there is no other.
    """
    hub = _hub_of_signals()
    ours = hub.backend.signal_fd if hub is not None else -1
    before = _set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    if fd == -1 and ours != -1:
        _set_wakeup_fd(ours, warn_on_full_buffer=False)
    return -1 if before == ours else before


def pause():
    """Block until a signal with a handler has arrived and the handler has run.

    In a thread other than the main one, and while other code has used `set_wakeup_fd`, it blocks the whole thread.
    """
    hub = get_hub()
    if not _is_told_of_signals(hub):
        return _pause()
    came = Event()
    hub.backend.drain()  # ignore earlier signals
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
    ours = backend_of(hub).signal_fd
    try:
        current = _set_wakeup_fd(ours, warn_on_full_buffer=False)
    except ValueError:
        return False  # not the main thread
    if current not in (-1, ours):
        _set_wakeup_fd(current, warn_on_full_buffer=False)  # as the hub does
        return False
    return True


def sigtimedwait(sigset, timeout, /):
    """Like `signal.sigtimedwait`: block until one of the blocked signals `sigset` arrives, at most `timeout` seconds.

    Returns its `struct_siginfo`, or None. It may be noticed up to 50 ms late.
    """
    return _look_for(sigset, timeout)


def sigwaitinfo(sigset, /):
    """Like `signal.sigwaitinfo`: `sigtimedwait` without a limit."""
    return _look_for(sigset, None)


def sigwait(sigset, /):
    """Like `signal.sigwait`: block until one of the blocked signals `sigset` arrives, and return its number."""
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


# The original's functions in Python have `__module__` "signal"; so must their replacements.
for _name in __implements__:
    globals()[_name].__module__ = _std.__name__
