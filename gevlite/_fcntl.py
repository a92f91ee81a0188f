"""`fcntl`: locks of files that block only the greenlet that waits, and the blocking mode of a gevlite socket.

`fcntl.fcntl` reads and sets that mode as the socket's user sees it; the descriptor itself always stays in non-blocking
mode. See `gevlite.os.set_blocking`.

No descriptor becomes ready when the lock of a file becomes free. So a greenlet that waits for one tries again and
again, with pauses in which others run, which grow from one millisecond to fifty. A kill or a time-out ends a pause, and
leaves nothing behind. A worker thread that waits in the kernel could not be stopped: it would take the lock for a
greenlet that is gone. And if all threads of a pool waited, the holder of the lock could not use one to go on.

Nor is a copy of the descriptor used, which would stay open if the original is closed meanwhile: closing any descriptor
of a file drops all locks of `lockf` that the process has on it (fcntl_locking(2)). Instead, it is an error if the
descriptor no longer belongs to the same file, as for every wait on a closed descriptor.

What only the kernel can do is lost: it serves waiters in turn, and finds two processes that wait for each other
(EDEADLK). A hook for audit events sees the call as it was made, and then each try, with LOCK_NB or F_SETLK.
"""

import fcntl as _std
from errno import EBADF as _EBADF
from functools import wraps as _wraps
from os import O_NONBLOCK as _O_NONBLOCK, fstat as _fstat, strerror as _strerror
from sys import audit as _audit

from gevlite import _twin
from gevlite._core import get_hub_if_exists as _get_hub_if_exists, let_others_run as _let_others_run, sleep as _sleep
from gevlite._socketio import mode_of as _mode_of, set_mode as _set_mode

__target__ = "fcntl"
__implements__ = ["fcntl", "flock", "lockf"]
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside(__implements__, _std))
__all__ = __implements__ + __imports__

_fcntl = _std.fcntl
_flock = _std.flock
_lockf = _std.lockf

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05

# Commands of `fcntl.fcntl` that wait for a lock, and those that do not wait.
_TRIES = {
    getattr(_std, waits): getattr(_std, tries)
    for waits, tries in (("F_SETLKW", "F_SETLK"), ("F_SETLKW64", "F_SETLK64"), ("F_OFD_SETLKW", "F_OFD_SETLK"))
    if hasattr(_std, waits)
}


def _lasting(original):
    """As in `gevlite.os`: a finalizer that gives back a lock at the very end needs no more than the original."""

    def decorate(function):
        @_wraps(function)
        def lasting(*args):
            return original(*args) if _number is None else function(*args)

        return lasting

    return decorate


@_lasting(_fcntl)
def fcntl(fd, cmd, arg=0, /):
    """Like `fcntl.fcntl`. For a gevlite socket, O_NONBLOCK shows and sets the mode that its user has chosen.

    F_SETLKW and F_OFD_SETLKW block only this greenlet.
    """
    if cmd in _TRIES:
        number = _number(fd)
        if number < 0 or _get_hub_if_exists() is None:
            return _fcntl(fd, cmd, arg)
        _audit("fcntl.fcntl", number, cmd, arg)
        return _wait_and(_fcntl, number, _TRIES[cmd], arg)
    if cmd != _std.F_GETFL and cmd != _std.F_SETFL:
        return _fcntl(fd, cmd, arg)
    number = _number(fd)
    mode = _mode_of(number)
    if mode is None:
        return _fcntl(fd, cmd, arg)
    if cmd == _std.F_GETFL:
        flags = _fcntl(fd, cmd)
        return flags & ~_O_NONBLOCK if mode else flags
    result = _fcntl(fd, cmd, arg | _O_NONBLOCK)
    blocking = not arg & _O_NONBLOCK
    if blocking is not mode:
        _set_mode(number, blocking)
    return result


@_lasting(_flock)
def flock(fd, operation, /):
    """Like `fcntl.flock`: without LOCK_NB, block this greenlet until it has the lock.

    Raises OSError(EBADF) if the descriptor is closed meanwhile.
    """
    number = _number(fd)
    if not _may_wait(number, operation):
        return _flock(fd, operation)
    _audit("fcntl.flock", number, operation)
    return _wait_and(_flock, number, operation | _std.LOCK_NB)


@_lasting(_lockf)
def lockf(fd, cmd, /, *extent):
    """Like `fcntl.lockf`: without LOCK_NB, block this greenlet until the process has the lock.

    extent: `len`, `start` and `whence`, each 0 by default. Raises OSError(EBADF) if the descriptor is closed meanwhile.
    """
    number = _number(fd)
    if not _may_wait(number, cmd):
        return _lockf(fd, cmd, *extent)
    _audit("fcntl.lockf", number, cmd, *extent, *(None, None, 0)[len(extent) :])
    return _wait_and(_lockf, number, cmd | _std.LOCK_NB, *extent)


def _number(fd):
    """The number of a descriptor; -1 if there is none: the original raises the error."""
    number = fd.fileno() if not isinstance(fd, int) and hasattr(fd, "fileno") else fd
    return number if isinstance(number, int) else -1


def _may_wait(number, operation):
    if number < 0 or not isinstance(operation, int) or operation & (_std.LOCK_NB | _std.LOCK_UN):
        return False
    return _get_hub_if_exists() is not None


def _wait_and(attempt, number, *args):
    """`attempt(number, *args)`, again and again until the lock is free."""
    _let_others_run()
    file = _file(number)
    pause = _FIRST_PAUSE
    while True:
        try:
            return attempt(number, *args)
        except BlockingIOError:  # not EACCES: only on other systems does it mean this; here it means "forbidden"
            pass
        _sleep(pause)
        if _file(number) != file:
            raise OSError(_EBADF, _strerror(_EBADF))
        pause = min(pause * 2, _LONGEST_PAUSE)


def _file(number):
    """Which file a descriptor belongs to."""
    status = _fstat(number)
    return status.st_dev, status.st_ino
