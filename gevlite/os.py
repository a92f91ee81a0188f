"""Cooperative `os.read`, `os.write` and `os.close`, and waiting for child processes; the rest of `os` is as it was.

`read` and `write` wait only on what can make one wait, a pipe, a terminal, a socket, and leave the descriptor in
blocking mode, because other processes share that mode. They ask the kernel first; a pipe that says that it can be
written to takes PIPE_BUF bytes without blocking (pipe(7)), so more than that is written in such pieces. For a
descriptor in non-blocking mode there are `nb_read` and `nb_write`; for regular files, whose reading and writing no
kernel interface announces, `tp_read` and `tp_write` use the thread pool.

The descriptor of a gevlite socket is always in non-blocking mode, which is our affair: here it counts as what its user
has made it, blocking unless it has a time-out or `set_blocking` says otherwise.

Waiting for children: see `_children`. A fork, and a program started by `posix_spawn`, need no twin: the core is told of
each fork and gives the child a fresh backend. `fork_and_watch` has the hub take the child's status as soon as it is
there, so that nobody else needs to.
"""

import os as _std
import stat as _stat
from fcntl import F_GETFL, fcntl as _fcntl
from functools import wraps as _wraps
from select import PIPE_BUF
from signal import SIGCHLD
from time import monotonic as _monotonic

from gevlite import _children
from gevlite._core import READ, WRITE, fd_ready, get_hub, get_hub_if_exists, let_others_run as _let_others_run
from gevlite._socketio import keeps_boundaries as _keeps_boundaries, mode_of as _mode_of, set_mode as _set_mode
from gevlite.event import Event

__target__ = "os"
__implements__ = [
    name
    for name in (
        "close",
        "get_blocking",
        "read",
        "readinto",
        "set_blocking",
        "write",
        "wait",
        "wait3",
        "wait4",
        "waitid",
        "waitpid",
    )
    if hasattr(_std, name)
]
__imports__ = [
    name
    for name in sorted({*dir(_std), *_std.__all__})
    if name not in __implements__ and (not name.startswith("_") or name in _std.__all__)
]
globals().update({name: getattr(_std, name) for name in __imports__})
__extensions__ = ["make_nonblocking", "nb_read", "nb_write", "tp_read", "tp_write"]

# The originals, also when `os` is patched.
_close = _std.close
_get_blocking = _std.get_blocking
_set_blocking = _std.set_blocking
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
        if flags & _std.O_NONBLOCK and not _mode_of(fd) or flags & _std.O_ACCMODE == _WRONG_MODE[events]:
            return
        get_hub().wait_fd(fd, events)


def _wait_and(call, fd, events, *args):
    """`call(fd, *args)`, when `fd` is ready."""
    _let_others_run()
    while True:
        _wait_fd(fd, events)
        try:
            return call(fd, *args)
        except BlockingIOError:
            # If it is a socket of ours, another thread was faster, or another process.
            if not _mode_of(fd):
                raise


def _lasting(original):
    """Have a function fall back on `original` when a finalizer calls it after our names have been taken away.

    The original, written in C, works until the very end.
    """

    def decorate(function):
        @_wraps(function)
        def lasting(fd, argument, /):
            return original(fd, argument) if get_hub is None else function(fd, argument)

        return lasting

    return decorate


@_lasting(_read)
def read(fd, length, /):
    """As `os.read`: block until there is something, and return up to `length` bytes; b"" at the end."""
    return _wait_and(_read, fd, READ, length)


@_lasting(_write)
def write(fd, data, /):
    """As `os.write`: block until all of `data` is written to a pipe or a socket; return how many bytes were written."""
    with memoryview(data) as view:
        size = view.nbytes
        ours = _mode_of(fd)
        if size <= PIPE_BUF and not ours:
            return _wait_and(_write, fd, WRITE, data)
        if not ours:
            mode = _std.fstat(fd).st_mode
            if not _stat.S_ISFIFO(mode) and not _stat.S_ISSOCK(mode) or not _get_blocking(fd):
                return _write(fd, data)
        if not size or _keeps_boundaries(fd):
            return _wait_and(_write, fd, WRITE, data)
        step = size if ours else PIPE_BUF  # what is in blocking mode must not be given more than it takes
        with view.cast("B") as octets:
            done = 0
            while done < size:
                try:
                    done += _wait_and(_write, fd, WRITE, octets[done : done + step])
                except OSError:
                    if not done:
                        raise
                    break
            return done


if "readinto" in __implements__:
    _readinto = _std.readinto

    def readinto(fd, buffer, /):
        """As `os.readinto`: block until there is something, and return how many bytes `buffer` has got; 0: the end."""
        return _wait_and(_readinto, fd, READ, buffer)


def get_blocking(fd, /):
    """As `os.get_blocking`. The mode of a gevlite socket is the one that its user has given it."""
    mode = _mode_of(fd) if isinstance(fd, int) else None
    return _get_blocking(fd) if mode is None else mode


def set_blocking(fd, blocking, /):
    """As `os.set_blocking`. The descriptor of a gevlite socket itself stays in non-blocking mode: give that away with
    `detach()`, which puts it into the mode that the socket's time-out stands for."""
    if not isinstance(fd, int) or not _set_mode(fd, blocking):
        _set_blocking(fd, blocking)


def close(fd):
    """As `os.close`. A greenlet of this thread that waits on the descriptor gets OSError(EBADF)."""
    hub = get_hub_if_exists()
    if hub is not None and isinstance(fd, int):
        hub._forget_fd(fd, 0)
    _close(fd)


def make_nonblocking(fd):
    """Put `fd` into non-blocking mode. True if it was not before, else None. Everybody who shares the descriptor's
    open file description, other processes too, gets that mode."""
    if _get_blocking(fd):
        _set_blocking(fd, False)
        return True
    return None


def nb_read(fd, n):
    """Read up to `n` bytes from a descriptor in non-blocking mode; block until there are some. b"" at the end."""
    _let_others_run()
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
    _let_others_run()
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
    return _answer(_Question(_waits["waitpid"], pid), options)


def wait():
    """As `os.wait`: block until any child has ended; return `(pid, status)`."""
    return waitpid(-1, 0)


def wait4(pid, options):
    """As `os.wait4`: `waitpid` with the child's use of resources: `(pid, status, usage)`."""
    return _answer(_UsageQuestion(_waits["wait4"], pid), options)


def wait3(options):
    """As `os.wait3`: `wait4` for any child."""
    return wait4(-1, options)


def waitid(idtype, id, options, /):
    """As `os.waitid`: block until a child's state has changed as `options` say; return what it is."""
    return _answer(_IdQuestion(idtype, id), options)


class _Question:
    """What `waitpid` asks: the kernel, or what the hub has taken from the kernel for `fork_and_watch`."""

    def __init__(self, original, pid):
        self.ask = lambda options: original(pid, options)
        if pid > 0:
            self.idtype, self.id = _std.P_PID, pid
        elif pid == -1:
            self.idtype, self.id = _std.P_ALL, 0
        else:
            self.idtype, self.id = _std.P_PGID, -pid if pid else _std.getpgrp()

    def watched(self):
        """The items of `_watched` that it concerns."""
        if self.idtype == _std.P_PID:
            return [(self.id, _watched[self.id])] if self.id in _watched else []
        if self.idtype == _std.P_ALL:
            return list(_watched.items())
        return [item for item in _watched.items() if self.idtype == _std.P_PGID and item[1].group == self.id]

    def pid(self, answer):
        """Whom an answer is about; 0 if nobody."""
        return answer[0]

    def status(self, answer):
        """The wait status of a child that has ended, by an answer; None if it has not."""
        return answer[1] if _std.WIFEXITED(answer[1]) or _std.WIFSIGNALED(answer[1]) else None

    def changes(self, options):
        """What it waits for, as flags of `waitid`."""
        return _std.WEXITED | options & _NOT_THE_END

    def nothing(self):
        """What the kernel says with WNOHANG if there is nothing to say."""
        return 0, 0

    def about(self, child):
        """What the kernel would have said of a child that the hub has taken."""
        return child.rpid, child.rstatus


class _UsageQuestion(_Question):
    """That of `wait4`."""

    def nothing(self):
        return 0, 0, _no_usage()

    def about(self, child):
        return child.rpid, child.rstatus, child.rusage or _no_usage()


def _no_usage():
    from resource import struct_rusage

    return struct_rusage((0,) * 16)


class _IdQuestion(_Question):
    """That of `waitid`."""

    def __init__(self, idtype, id):
        self.ask = lambda options: _waits["waitid"](idtype, id, options)
        self.idtype, self.id = idtype, id

    def pid(self, answer):
        return 0 if answer is None else answer.si_pid

    def status(self, answer):
        if answer.si_code == _std.CLD_EXITED:
            return answer.si_status << 8
        core = 0x80 if answer.si_code == _std.CLD_DUMPED else 0
        return answer.si_status | core if answer.si_code in (_std.CLD_KILLED, _std.CLD_DUMPED) else None

    def changes(self, options):
        return options & ~_std.WNOWAIT

    def nothing(self):
        return None

    def about(self, child):
        if _std.WIFEXITED(child.rstatus):
            how = _std.WEXITSTATUS(child.rstatus), _std.CLD_EXITED
        else:
            code = _std.CLD_DUMPED if _std.WCOREDUMP(child.rstatus) else _std.CLD_KILLED
            how = _std.WTERMSIG(child.rstatus), code
        return _std.waitid_result((child.rpid, _std.getuid(), SIGCHLD, *how))


def _answer(question, options):
    """Block until there is an answer, with WNOHANG not, and return it."""
    keep = isinstance(question, _IdQuestion) and options & _std.WNOWAIT
    while True:
        answer, childless = question.nothing(), False
        try:
            answer = question.ask(options | _WNOHANG)
        except ChildProcessError:
            childless = True
            if not question.watched():
                raise
        pid = question.pid(answer)
        if pid:
            status = question.status(answer) if pid in _watched and not keep else None
            if status is not None:
                _watched.pop(pid).was_taken(status)
            return answer
        if question.idtype == _std.P_PID and not childless and question.id in _watched:
            # If that one has ended, it has not been asked for in time, and its number is another child's now.
            if _watched[question.id].ended.is_set():
                del _watched[question.id]
        watched = question.watched()
        if question.changes(options) & _std.WEXITED:
            for pid, one in watched:
                if one.ended.is_set():
                    if not keep:
                        del _watched[pid]
                    return question.about(one.watcher)
        if options & _WNOHANG:
            return answer
        if watched:
            _wait_for_either(question, question.changes(options), [one for _, one in watched], childless)
        else:
            _children.wait(question.idtype, question.id, question.changes(options))


def _wait_for_either(question, changes, watched, only_watched):
    """Block until the kernel may have an answer, or one of `watched` has ended."""
    either = Event()
    sources = [one.ended for one in watched]
    if not only_watched:
        try:
            sources.append(_children.watch(question.idtype, question.id, changes))
        except RuntimeError:
            pass  # no thread can be started: what the hub watches will do
    set_it = either.set
    wake = lambda _source: set_it()  # noqa: E731  (one object, to be unlinked)
    for source in sources:
        source.rawlink(wake)
    hub = get_hub()
    hub.ref()  # the watcher, which counts for nothing, will wake us
    try:
        either.wait(None if len(sources) > len(watched) or only_watched else _children.LOOK_AGAIN)
    finally:
        hub.unref()
        for source in sources:
            source.unlink(wake)


# ---------------------------------------------------------------- children whose status the hub takes

# pid: its _Watched, until somebody has been given the status or KEEP_STATUS_SECONDS have passed.
_watched = {}
KEEP_STATUS_SECONDS = 60.0


class _Watched:
    """A child of `fork_and_watch`."""

    def __init__(self, watcher, callback):
        self.callback = callback
        self.ended = Event()
        self.at = None
        self.watcher = watcher
        try:
            self.group = _std.getpgid(watcher.pid)
        except OSError:
            self.group = None  # it has ended, and is no child of ours
        watcher.start(self.end)

    def end(self):
        """In the hub: the watcher has the status."""
        self.at = _monotonic()
        self.ended.set()
        if self.callback is not None:
            self.callback(self.watcher)

    def was_taken(self, status):
        """Somebody has asked the kernel before the hub has, and got the status."""
        self.watcher.was_taken(status)


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
