"""Cooperative `os.read` and `os.write`, and waiting for child processes; everything else of `os` is the same.

`read` and `write` wait only on what can make one wait, a pipe, a terminal, a socket, and leave the descriptor in
blocking mode, because other processes share that mode. They ask the kernel first; a pipe that says that it can be
written to takes PIPE_BUF bytes without blocking (pipe(7)), so more than that is written in such pieces.

A child's status is never taken in another thread, where a kill or a time-out of the greenlet that waits would lose it.
One child is waited for through its pidfd, and the status taken when that says that it has ended. Where there is no
pidfd, and for a wait for any child, a worker thread waits with WNOWAIT, which leaves the status for us.
"""

import os as _std
import stat as _stat
from select import PIPE_BUF

from greenlet import getcurrent as _getcurrent

from gevlite._core import READ, WRITE, fd_ready, get_hub

__target__ = "os"
__implements__ = [
    name for name in ("read", "wait", "wait3", "wait4", "waitid", "waitpid", "write") if hasattr(_std, name)
]
__all__ = list(__implements__)

# The originals, also when `os` is patched.
_close = _std.close
_read = _std.read
_write = _std.write
_pidfd_open = getattr(_std, "pidfd_open", None)
_waits = {name: getattr(_std, name) for name in __implements__ if name.startswith("wait")}

_WNOHANG = _std.WNOHANG
# What a pidfd does not tell: a child that was stopped or goes on.
_NOT_BY_PIDFD = _std.WUNTRACED | _std.WCONTINUED


# ---------------------------------------------------------------- descriptors

def _wait_fd(fd, events):
    """Block until `fd` is ready, unless it is in non-blocking mode: then the call itself shall say that it is not."""
    while not fd_ready(fd, events) and _std.get_blocking(fd):
        hub = get_hub()
        if _getcurrent() is hub:
            return      # the hub cannot wait for itself
        hub.wait_fd(fd, events)


def read(fd, length, /):
    """As `os.read`: block until there is something, and return up to `length` bytes; b"" at the end."""
    _wait_fd(fd, READ)
    return _read(fd, length)


def write(fd, data, /):
    """As `os.write`: block until all of `data` is written to a pipe; return how many bytes were written."""
    with memoryview(data) as view:
        size = view.nbytes
        if size <= PIPE_BUF:
            _wait_fd(fd, WRITE)
            return _write(fd, data)
        mode = _std.fstat(fd).st_mode
        if not _stat.S_ISFIFO(mode) and not _stat.S_ISSOCK(mode) or not _std.get_blocking(fd):
            return _write(fd, data)
        with view.cast("B") as octets:
            done = 0
            while done < size:
                _wait_fd(fd, WRITE)
                try:
                    done += _write(fd, octets[done : done + PIPE_BUF])
                except OSError:
                    if not done:
                        raise
                    break
            return done


# ---------------------------------------------------------------- children

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
