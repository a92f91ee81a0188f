"""The part of time slices that is in Python: the settings, and `uninterrupted`. The mechanism is in _interrupt.pxi."""

import _signal  # type: ignore[import-not-found]
import warnings
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction

from gevlite import _back_jumps, _core
from gevlite._config import SETTINGS, Config, config
from gevlite._core import Uninterrupted, has_slices, hubs, in_main_thread, slice_signal_taken

__all__ = ["for_new_hub", "slice_hub", "uninterrupted"]


def uninterrupted(function=None, /):
    """For a `with` block, or as a decorator: what runs in it is not interrupted at the end of a time slice.

    Blocking calls in it still let others run. Such blocks can be nested. Where time slices are off, it does nothing.
    Raises TypeError for a generator function or an `async def`: use a `with` block in it.
    """
    if function is None:
        return Uninterrupted()
    if not callable(function):
        raise TypeError(f"uninterrupted takes a function, or nothing: with gevlite.uninterrupted(), not {function!r}")
    if isgeneratorfunction(function) or iscoroutinefunction(function) or isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} runs in pieces: use `with gevlite.uninterrupted():` in it")

    @wraps(function)
    def call(*args, **kwargs):
        with Uninterrupted():
            return function(*args, **kwargs)

    return call


def for_new_hub(seconds, source="time_slice"):
    """The length of the slices of a hub of this thread: the argument, which comes from `source`, else the setting; 0:
    endless.

    Raises TypeError or ValueError, also if this thread cannot have time slices.
    """
    if seconds is None:
        seconds = config.time_slice if in_main_thread() else 0.0
    else:
        seconds = SETTINGS["time_slice"]._checked(seconds, source)
    if seconds:
        _check(_signal_number())
    return seconds


def slice_hub(hub, seconds, signum=None):
    """End the time slices of this hub, of the main thread, after so many seconds; 0: no longer."""
    if seconds:
        if signum is None:
            signum = _signal_number()
        _check(signum)
        _core.slice_hub(hub, seconds, signum, _lost, _back_jumps.completed)
    else:
        _core.slice_hub(hub, 0, 0, None, None)


def _check(signum):
    if not has_slices():
        raise ValueError("time slices need a Python from 3.11 to 3.15 with the GIL")
    if not in_main_thread():
        raise ValueError(
            "only the hub of the main thread can have time slices: Python handles signals there. A greenlet of another "
            "thread may call gevlite.sleep(0), or compute in a thread of its own"
        )
    try:
        taken = slice_signal_taken(signum)
    except OSError as exc:
        raise ValueError(f"time slices cannot use {_name(signum)}: {exc}") from None
    if taken is not None:
        raise ValueError(
            f"time slices need a signal of their own, and the program handles {_name(signum)} ({taken!r}): choose "
            "another one with GEVLITE_TIME_SLICE_SIGNAL, or gevlite.config.time_slice_signal"
        )


def _signal_number(signum=None):
    # Ignored by default, so a signal from elsewhere does no harm; hardly any program uses it.
    return signum or config.time_slice_signal or int(_signal.SIGURG)


def _name(signum):
    for name in dir(_signal):
        if name.startswith("SIG") and not name.startswith("SIG_") and getattr(_signal, name) == signum:
            return name
    return f"signal {signum}"


def _lost():
    warnings.warn(
        f"time slices are off: the program has set a handler for {_name(_signal_number())} after they had begun. "
        "Choose another signal with GEVLITE_TIME_SLICE_SIGNAL, or gevlite.config.time_slice_signal",
        RuntimeWarning,
        stacklevel=1,
    )


def _main_hub():
    return next((hub for hub in hubs() if hub.main_hub and not hub.closed), None)


def _assigned(seconds):
    hub = _main_hub()
    if hub is not None:
        slice_hub(hub, seconds)


def _signal_assigned(signum):
    hub = _main_hub()
    if hub is not None and config.time_slice:
        slice_hub(hub, config.time_slice, _signal_number(signum))


Config.time_slice.assigned = _assigned
Config.time_slice_signal.assigned = _signal_assigned
