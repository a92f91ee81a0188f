"""The lock of `multiprocessing`, shared between processes, without blocking other greenlets.

It is a POSIX semaphore, and waiting for one blocks the whole thread. If another greenlet of the same thread holds it,
as at the end of a `multiprocessing.Pool`, that would be a deadlock. So `acquire` tries again and again, with pauses in
which others run. The pause grows from half a millisecond to ten.

The original knows which OS thread took it last. All greenlets of a thread would be one owner, so the greenlet is
recorded here; `_is_mine`, which Condition and `repr` use to find the owner, uses that record.
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

# The original methods. Once the type is adopted, its methods are gevlite's.
_StdSemLock = _multiprocessing.SemLock
_std_acquire = _StdSemLock.acquire
_std_release = _StdSemLock.release
_std_is_mine = _StdSemLock._is_mine
_thread_ident = _thread.get_ident

# id of a taken lock: the `get_ident()` of the greenlet that took it last. If another process releases the lock, the
# entry stays until another object has that id.
_owners = {}


def _acquire(self, block=True, timeout=None):
    """Take the lock; block this greenlet until that succeeds, at most `timeout` seconds. False if it did not."""
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
    """True if another greenlet of this OS thread has it, so that the original would let this one take it again."""
    return self.kind == _RECURSIVE_MUTEX and _std_is_mine(self) and not _is_owner(self)


def _is_owner(self):
    # A lock that was taken before patching belongs to the main greenlet.
    return _owners.get(id(self), _thread_ident()) == get_ident()


def _release(self):
    """Release it. Raises AssertionError if another greenlet has the RLock, ValueError if it is not taken."""
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
    """The original with a cooperative `acquire`. A thread without a hub, and the hub itself, wait as before."""

    acquire = _acquire
    release = _release
    _is_mine = _is_mine
    __enter__ = _enter
    __exit__ = _exit


def adopt():
    """Make locks of the original type cooperative too. Returns the adopted types."""
    global _std_acquire, _std_release, _std_is_mine
    originals = swap_methods(
        _StdSemLock,
        {"acquire": _acquire, "release": _release, "_is_mine": _is_mine, "__enter__": _enter, "__exit__": _exit},
    )
    _std_acquire, _std_release, _std_is_mine = (originals[name] for name in ("acquire", "release", "_is_mine"))
    return [_StdSemLock]
