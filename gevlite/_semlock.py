"""The lock of `multiprocessing`, shared between processes, without stopping greenlets.

It is a POSIX semaphore, for which only the whole thread can wait. That would be a deadlock where the one who will
release it is another greenlet of this thread, as at the end of a `multiprocessing.Pool`. So it is tried again and
again, with pauses in which others run. The pause grows from half a millisecond to ten.

The original knows which OS thread took it last. All greenlets of a thread would be one owner, so the greenlet is noted
here; `_is_mine`, by which Condition and what is printed of a lock learn whose it is, goes by that.
"""

import _multiprocessing
import _thread

from gevlite._adopted import swap_methods
from gevlite._core import get_hub, get_hub_if_exists, sleep
from gevlite._threadlock import get_ident

__all__ = ["SemLock"]

__target__ = "_multiprocessing"
__implements__ = ["SemLock"]

_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01

# The kind of an RLock, `multiprocessing.synchronize.RECURSIVE_MUTEX`; an enum of the original's C code.
_RECURSIVE_MUTEX = 0

# What is called here. Once that is adopted, the original's own methods are ours.
_StdSemLock = _multiprocessing.SemLock
_std_acquire = _StdSemLock.acquire
_std_release = _StdSemLock.release
_std_is_mine = _StdSemLock._is_mine
_thread_ident = _thread.get_ident

# id of one that is taken: the `get_ident()` of the greenlet that did so last. What another process gives back stays
# here until something else has that id.
_owners = {}


def _acquire(self, block=True, timeout=None):
    """Take it; block this greenlet until that works, at most `timeout` seconds. False if it did not."""
    if _try(self):
        return True
    if not block:
        return False
    hub = get_hub_if_exists()
    if hub is None and not _is_a_neighbours(self):
        return _std_acquire(self, True, timeout) and _took(self)
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
        if _try(self):
            return True
        pause = min(pause * 2, _LONGEST_PAUSE)


def _try(self):
    return not _is_a_neighbours(self) and _std_acquire(self, False) and _took(self)


def _took(self):
    _owners[id(self)] = get_ident()
    return True


def _is_a_neighbours(self):
    """True if another greenlet of this OS thread has it, and the original would give it to us once more."""
    return self.kind == _RECURSIVE_MUTEX and _std_is_mine(self) and not _is_owner(self)


def _is_owner(self):
    # One that was taken before patching is the main greenlet's.
    return _owners.get(id(self), _thread_ident()) == get_ident()


def _release(self):
    """Give it back. Raises AssertionError if it is an RLock of another, ValueError if nobody has it."""
    if _is_a_neighbours(self):
        raise AssertionError("attempt to release recursive lock not owned by thread")
    _std_release(self)
    if self._count() <= 0:
        _owners.pop(id(self), None)


def _is_mine(self):
    return _std_is_mine(self) and _is_owner(self)


def _enter(self):
    return _acquire(self)


def _exit(self, *exc_info):
    _release(self)


class SemLock(_StdSemLock):
    """The original with a cooperative `acquire`. A thread without a hub, and the hub itself, wait as ever."""

    acquire = _acquire
    release = _release
    _is_mine = _is_mine
    __enter__ = _enter
    __exit__ = _exit


def adopt():
    """Let those of the original type be cooperative too. Returns what is adopted."""
    global _std_acquire, _std_release, _std_is_mine
    originals = swap_methods(
        _StdSemLock,
        {"acquire": _acquire, "release": _release, "_is_mine": _is_mine, "__enter__": _enter, "__exit__": _exit},
    )
    _std_acquire, _std_release, _std_is_mine = (originals[name] for name in ("acquire", "release", "_is_mine"))
    return [_StdSemLock]
