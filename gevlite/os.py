"""Cooperative `os.read`, `os.write` and `os.close`, and waiting for child processes; the rest of `os` is as it was.

`read` and `write` wait only on what can make one wait, a pipe, a terminal, a socket, and leave the descriptor in
blocking mode, because other processes share that mode. They ask the kernel first; a pipe that says that it can be
written to takes PIPE_BUF bytes without blocking (pipe(7)), so more than that is written in such pieces. For a
descriptor in non-blocking mode there are `nb_read` and `nb_write`; for regular files, whose reading and writing no
kernel interface announces, `tp_read` and `tp_write` use the thread pool.

Waiting for children: see `_children`. A fork, and a program started by `posix_spawn`, need no twin: the core is told of
each fork and gives the child a fresh backend. `fork_and_watch` has the hub take the child's status as soon as it is
there, so that nobody else needs to.
"""

import os as _std
import stat as _stat
from fcntl import F_GETFL, fcntl as _fcntl
from select import PIPE_BUF
from time import monotonic as _monotonic

from greenlet import getcurrent as _getcurrent

from gevlite import (
    _children,
    loop as _loop,  # noqa: F401  (provides hub.loop)
)
from gevlite._core import READ, WRITE, fd_ready, get_hub, get_hub_if_exists
from gevlite.event import Event

__target__ = "os"
__implements__ = [
    name for name in ("close", "read", "wait", "wait3", "wait4", "waitid", "waitpid", "write") if hasattr(_std, name)
]
__imports__ = [name for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp") if hasattr(_std, name)]
globals().update({name: getattr(_std, name) for name in __imports__})
__extensions__ = ["make_nonblocking", "nb_read", "nb_write", "tp_read", "tp_write"]

# The originals, also when `os` is patched.
_close = _std.close
_read = _std.read
_write = _std.write
_waits = {name: getattr(_std, name) for name in __implements__ if name.startswith("wait")}

_WNOHANG = _std.WNOHANG
# What a child may do other than end.
_NOT_THE_END = _std.WUNTRACED | _std.WCONTINUED


# ---------------------------------------------------------------- descriptors

# A descriptor that was opened for the other direction only never gets ready.
_WRONG_MODE = {READ: _std.O_WRONLY, WRITE: _std.O_RDONLY}


def _wait_fd(fd, events):
    """Block until `fd` is ready, unless the call would not wait for that but fail: then it shall say so itself."""
    while not fd_ready(fd, events):
        flags = _fcntl(fd, F_GETFL) if fd >= 0 else _std.O_NONBLOCK
        if flags & _std.O_NONBLOCK or flags & _std.O_ACCMODE == _WRONG_MODE[events]:
            return
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


def close(fd):
    """As `os.close`. A greenlet of this thread that waits on the descriptor gets OSError(EBADF)."""
    hub = get_hub_if_exists()
    if hub is not None and isinstance(fd, int):
        hub._forget_fd(fd, 0)
    _close(fd)


def make_nonblocking(fd):
    """Put `fd` into non-blocking mode. True if it was not before, else None. Everybody who shares the descriptor's
    open file description, other processes too, gets that mode."""
    if _std.get_blocking(fd):
        _std.set_blocking(fd, False)
        return True
    return None


def nb_read(fd, n):
    """Read up to `n` bytes from a descriptor in non-blocking mode; block until there are some. b"" at the end."""
    while True:
        try:
            return _read(fd, n)
        except BlockingIOError:
            pass
        get_hub().wait_fd(fd, READ)


def nb_write(fd, buf):
    """Write to a descriptor in non-blocking mode, some of `buf` at least; block until that is possible.

    Returns how many bytes were written.
    """
    while True:
        try:
            return _write(fd, buf)
        except BlockingIOError:
            pass
        get_hub().wait_fd(fd, WRITE)


def tp_read(fd, n):
    """`os.read` in a thread of the hub's pool: for regular files. Blocks this greenlet."""
    return get_hub().threadpool.apply(_read, (fd, n))


def tp_write(fd, buf):
    """`os.write` in a thread of the hub's pool: for regular files. Blocks this greenlet."""
    return get_hub().threadpool.apply(_write, (fd, buf))


# ---------------------------------------------------------------- children

def waitpid(pid, options, /):
    """As `os.waitpid`: block until a child has ended (or, by `options`, stopped), and return `(pid, status)`."""
    if pid in _watched:
        return _watched_status(pid, options)
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
        _children.wait(*which, _std.WEXITED | options & _NOT_THE_END)


def waitid(idtype, id, options, /):
    """As `os.waitid`: block until a child's state has changed as `options` say; return what it is."""
    if options & _WNOHANG:
        return _waits["waitid"](idtype, id, options)
    while True:
        found = _waits["waitid"](idtype, id, options | _WNOHANG)
        if found is not None:
            return found
        _children.wait(idtype, id, options & ~_std.WNOWAIT)


# ---------------------------------------------------------------- children whose status the hub takes

# pid: its _Watched, until `waitpid` has given the status away or KEEP_STATUS_SECONDS have passed.
_watched = {}
KEEP_STATUS_SECONDS = 60.0


class _Watched:
    """A child of `fork_and_watch`."""

    def __init__(self, watcher, callback):
        self.callback = callback
        self.ended = Event()
        self.at = None
        self.watcher = watcher
        watcher.start(self.end)

    def end(self):
        """In the hub: the watcher has the status."""
        self.at = _monotonic()
        self.ended.set()
        if self.callback is not None:
            self.callback(self.watcher)


def _watched_status(pid, options):
    """`waitpid` for a pid in `_watched`."""
    watched = _watched[pid]
    if not watched.ended.is_set():
        if options & _WNOHANG:
            return 0, 0
        hub = get_hub()
        hub.ref()       # the watcher, which counts for nothing, will wake us
        try:
            watched.ended.wait()
        finally:
            hub.unref()
    mine = _watched.pop(pid, None) is watched       # else another greenlet was faster
    try:
        found = _waits["waitpid"](pid, options | _WNOHANG)
    except ChildProcessError:
        if not mine:
            raise
        return pid, watched.watcher.rstatus
    # It has not been asked for in time, and the kernel has given its number to another child.
    return found if found[0] or options & _WNOHANG else waitpid(pid, options)


def _drop_old():
    limit = _monotonic() - KEEP_STATUS_SECONDS
    for pid in [pid for pid, watched in _watched.items() if watched.at is not None and watched.at < limit]:
        del _watched[pid]


def _watch(pid, callback, loop, ref):
    _drop_old()
    _watched[pid] = _Watched((loop or get_hub().loop).child(pid, ref=ref), callback)


if hasattr(_std, "fork"):
    _fork = _std.fork

    def fork_gevent():
        """`fork()`, under gevent's name: the child's hub gets a fresh backend in any case."""
        return _fork()

    def fork_and_watch(callback=None, loop=None, ref=False, fork=fork_gevent):
        """Fork, and in the parent have the hub take the child's status as soon as it has ended.

        callback: called in the hub with the child watcher, which has `pid`, `rstatus` and `returncode`.
        ref: whether a running child keeps the loop alive. Returns the child's pid, 0 in the child.

        `waitpid(pid, ...)` of this module gives the status once, within a minute after the child's end.
        """
        pid = fork()
        if pid:
            _watch(pid, callback, loop, ref)
        return pid

    __extensions__ += ["fork_and_watch", "fork_gevent"]

if hasattr(_std, "forkpty"):
    _forkpty = _std.forkpty

    def forkpty_gevent():
        """`forkpty()`, under gevent's name."""
        return _forkpty()

    def forkpty_and_watch(callback=None, loop=None, ref=False, forkpty=forkpty_gevent):
        """As `fork_and_watch`, with a new pseudo-terminal: returns `(pid, master_fd)`."""
        pid, fd = forkpty()
        if pid:
            _watch(pid, callback, loop, ref)
        return pid, fd

    __extensions__ += ["forkpty_and_watch", "forkpty_gevent"]

_std.register_at_fork(after_in_child=_watched.clear)

__all__ = __implements__ + __imports__ + __extensions__
