"""Signals: handlers in greenlets, and cooperative `pause` and `sigwait`; the rest of `signal` is unchanged.

Python itself runs a handler set with `signal.signal`, between two bytecodes of the main thread, in whichever greenlet
is running. If a signal arrives while the hub polls, the main greenlet runs the handler, in the middle of the call that
it waits in. Handlers may block. `signal_handler` gives a handler a greenlet of its own.

To notice signals while it polls, the main thread's hub is registered with `signal.set_wakeup_fd`. The twin of that
function lets other code register instead (then a signal interrupts the hub's poll only if it arrives on the main
thread, as it normally does), and registers the hub again when that code passes -1.
"""

import sys
from collections.abc import Callable, Iterable
from signal import struct_siginfo
from typing import Any, Generic, ParamSpec

from gevlite._core import Hub
from gevlite.greenlet import Greenlet

__implements__: list[str]
__imports__: list[str]
__extensions__: list[str]

_P = ParamSpec("_P")

class signal_handler(Generic[_P]):
    """Run `handler(*args, **kwargs)` in a new greenlet each time the signal `signalnum` arrives, until `cancel()`.

    Replaces the handler set with `signal.signal`; `cancel()` restores it. Main thread only. Does not block. An
    exception from the handler is raised in the main greenlet. Raises TypeError if the handler is not callable,
    ValueError if the number is not a signal.
    """

    greenlet_class: type[Greenlet]
    hub: Hub
    handler: Callable[_P, object]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ref: bool
    """Whether the program waits for the signal. True: `gevlite.wait()` also waits for it. None, the default: a main
    greenlet that nothing else can wake continues to wait. False: in that case it gets LoopExit.
    """
    def __init__(self, signalnum: int, handler: Callable[_P, object], *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def handle(self) -> None:
        """Call the handler, in the new greenlet. Its exception is raised in the main greenlet, as with any handler."""
    def cancel(self) -> None:
        """Restore the earlier handler. Calling it twice does nothing."""

def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    """Like `signal.set_wakeup_fd`: set the descriptor that gets the numbers of signals, -1 for none; returns the old
    one.

    The descriptor that gevlite itself registers is never returned, and is registered again when there is no other.
    """

def pause() -> None:
    """Block until a signal with a handler has arrived and the handler has run.

    In a thread other than the main one, and while other code has used `set_wakeup_fd`, it blocks the whole thread.
    """

if sys.platform == "linux":
    def sigtimedwait(sigset: Iterable[int], timeout: float, /) -> struct_siginfo | None:
        """Like `signal.sigtimedwait`: block until one of the blocked signals `sigset` arrives, at most `timeout` seconds.

        Returns its `struct_siginfo`, or None. It may be noticed up to 50 ms late.
        """
    def sigwaitinfo(sigset: Iterable[int], /) -> struct_siginfo:
        """Like `signal.sigwaitinfo`: `sigtimedwait` without a limit."""
    def sigwait(sigset: Iterable[int], /) -> int:
        """Like `signal.sigwait`: block until one of the blocked signals `sigset` arrives, and return its number."""

# Last, because type checkers keep the first of two definitions.
from signal import *  # noqa: E402, F403
