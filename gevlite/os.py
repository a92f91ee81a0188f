"""Cooperative waiting for child processes; everything else of `os` is the same.

A child's status is never taken in another thread, where a kill or a time-out of the greenlet that waits would lose it.
One child is waited for through its pidfd, and the status taken when that says that it has ended. Where there is no
pidfd, and for a wait for any child, a worker thread waits with WNOWAIT, which leaves the status for us.
"""

import os as _std

from gevlite import (
    threadpool,  # noqa: F401  (provides hub.threadpool)
)
from gevlite._core import READ, get_hub

__target__ = "os"
__implements__ = [name for name in ("wait", "wait3", "wait4", "waitid", "waitpid") if hasattr(_std, name)]
__all__ = list(__implements__)

# The originals, also when `os` is patched.
_close = _std.close
_pidfd_open = getattr(_std, "pidfd_open", None)
_waits = {name: getattr(_std, name) for name in __implements__}

_WNOHANG = _std.WNOHANG
# What a pidfd does not tell: a child that was stopped or goes on.
_NOT_BY_PIDFD = _std.WUNTRACED | _std.WCONTINUED


def waitpid(pid, options, /):
    """As `os.waitpid`: block until a child has ended (or, by `options`, stopped), and return `(pid, status)`."""
    return _wait(lambda flags: _waits["waitpid"](pid, flags), pid, options)


def wait():
    """As `os.wait`: block until any child has ended; return `(pid, status)`."""
    return waitpid(-1, 0)


def wait4(pid, options):
    """As `os.wait4`: `waitpid` with the child's use of resources: `(pid, status, usage)`."""
    return _wait(lambda flags: _waits["wait4"](pid, flags), pid, options)


def wait3(options):
    """As `os.wait3`: `wait4` for any child."""
    return _wait(lambda flags: _waits["wait3"](flags), -1, options)


def _wait(attempt, pid, options):
    if options & _WNOHANG:
        return attempt(options)
    while True:
        found = attempt(options | _WNOHANG)
        if found[0]:
            return found
        if pid > 0:
            which = (_std.P_PID, pid)
        elif pid == -1:
            which = (_std.P_ALL, 0)
        else:
            which = (_std.P_PGID, -pid if pid else _std.getpgrp())
        _until_ready(*which, _std.WEXITED | options & _NOT_BY_PIDFD)


def waitid(idtype, id, options, /):
    """As `os.waitid`: block until a child's state has changed as `options` say; return what it is."""
    if options & _WNOHANG:
        return _waits["waitid"](idtype, id, options)
    while True:
        found = _waits["waitid"](idtype, id, options | _WNOHANG)
        if found is not None:
            return found
        _until_ready(idtype, id, options & ~_std.WNOWAIT)


def _until_ready(idtype, id, options):
    """Block until `waitid` would find something, or sooner."""
    if options == _std.WEXITED and idtype == _std.P_PID and _pidfd_open is not None:
        try:
            fd = _pidfd_open(id)
        except OSError:
            pass        # an old kernel, or not to be had in this sandbox
        else:
            try:
                get_hub().wait_fd(fd, READ)
            finally:
                _close(fd)
            return
    try:
        get_hub().threadpool.apply(_waits["waitid"], (idtype, id, options | _std.WNOWAIT))
    except ChildProcessError:
        pass        # somebody else has taken the status: the caller finds that out for itself
