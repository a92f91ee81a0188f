"""Cooperative `os.read`, `os.write` and `os.close`, and waiting for child processes; the rest of `os` is unchanged.

`read` and `write` wait only for descriptors that can block (a pipe, a terminal, a socket), and leave them in blocking
mode, because other processes share that mode. They ask the kernel first. A pipe that is ready for writing takes
PIPE_BUF bytes without blocking (pipe(7)), so more than that is written in pieces of this size. `nb_read` and `nb_write`
are for descriptors in non-blocking mode. Regular files cannot be waited for; for them, `tp_read` and `tp_write` use the
thread pool.

The descriptor of a gevlite socket is always in non-blocking mode, but that is an internal matter: the functions here
use the mode that its user has set, which is blocking unless the socket has a time-out or `set_blocking` has changed it.

Waiting for children: see `_children`. A fork, or a program started with `posix_spawn`, needs no twin: at each fork, a
hook of the core gives the child a new backend. With `fork_and_watch` the hub takes the child's status as soon as it is
there, so that no other code needs to.
"""

import os as _std
import stat as _stat
from fcntl import F_GETFL, fcntl as _fcntl
from functools import wraps as _wraps
from operator import index as _index
from select import PIPE_BUF
from signal import SIGCHLD
from time import monotonic as _monotonic

from gevlite import _children, _twin
from gevlite._core import READ, WRITE, fd_ready, get_hub, get_hub_if_exists, let_others_run as _let_others_run
from gevlite._socketio import keeps_boundaries as _keeps_boundaries, mode_of as _mode_of, set_mode as _set_mode
from gevlite.event import Event

__target__ = "os"
__implements__ = _twin.present(
    _std,
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
__imports__ = [
    name
    for name in sorted({*dir(_std), *_std.__all__})
    if name not in __implements__ and (not name.startswith("_") or name in _std.__all__)
]
_twin.take_over(globals(), _std, __imports__)
__extensions__ = ["make_nonblocking", "nb_read", "nb_write", "tp_read", "tp_write"]

# The originals, even if `os` is patched.
_close = _std.close
_get_blocking = _std.get_blocking
_set_blocking = _std.set_blocking
_read = _std.read
_write = _std.write
_waits = {name: getattr(_std, name) for name in __implements__ if name.startswith("wait")}

_WNOHANG = _std.WNOHANG
# Changes of a child other than its end.
_NOT_THE_END = _std.WUNTRACED | _std.WCONTINUED


# ---------------------------------------------------------------- descriptors

# A descriptor that was opened only for the other direction never becomes ready.
_WRONG_MODE = {READ: _std.O_WRONLY, WRITE: _std.O_RDONLY}


def _wait_fd(fd, events):
    """Block until `fd` is ready, unless the call would fail instead of waiting: then let it raise its error."""
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
            # It is a gevlite socket, and another thread or process was faster.
            if not _mode_of(fd):
                raise


def _lasting(original):
    """Make a function fall back to `original` if a finalizer calls it after this module's names have been cleared.

    The original is written in C and works until the very end.
    """

    def decorate(function):
        @_wraps(function)
        def lasting(fd, argument, /):
            return original(fd, argument) if get_hub is None else function(fd, argument)

        return lasting

    return decorate


@_lasting(_read)
def read(fd, length, /):
    """Like `os.read`: block until there is data, and return up to `length` bytes; b"" at the end."""
    if _index(length) <= 0:
        return _read(fd, length)  # this does not wait
    return _wait_and(_read, fd, READ, length)


@_lasting(_write)
def write(fd, data, /):
    """Like `os.write`: block until all of `data` is written to a pipe or socket; return how many bytes were written."""
    with memoryview(data) as view:
        size = view.nbytes
        ours = _mode_of(fd)
        if not size and not _keeps_boundaries(fd):
            return _write(fd, data)  # this does not wait
        if size <= PIPE_BUF and not ours:
            return _wait_and(_write, fd, WRITE, data)
        if not ours:
            mode = _std.fstat(fd).st_mode
            if not _stat.S_ISFIFO(mode) and not _stat.S_ISSOCK(mode) or not _get_blocking(fd):
                return _write(fd, data)
        if _keeps_boundaries(fd):
            return _wait_and(_write, fd, WRITE, data)
        step = size if ours else PIPE_BUF  # in blocking mode, more than fits would block the thread
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
        """Like `os.readinto`: block until there is data, and return how many bytes were read into `buffer`; 0: the
        end."""
        with memoryview(buffer) as view:
            if not view.nbytes:
                return _readinto(fd, buffer)  # this does not wait
        return _wait_and(_readinto, fd, READ, buffer)


def get_blocking(fd, /):
    """Like `os.get_blocking`. For a gevlite socket, the mode that its user has set."""
    mode = _mode_of(fd) if isinstance(fd, int) else None
    return _get_blocking(fd) if mode is None else mode


def set_blocking(fd, blocking, /):
    """Like `os.set_blocking`. The descriptor of a gevlite socket itself stays in non-blocking mode. To give it away,
    use `detach()`, which puts it into the mode that matches the socket's time-out."""
    if not isinstance(fd, int) or not _set_mode(fd, blocking):
        _set_blocking(fd, blocking)


def close(fd):
    """Like `os.close`. A greenlet of this thread that waits on the descriptor gets OSError(EBADF)."""
    hub = get_hub_if_exists()
    if hub is not None and isinstance(fd, int):
        hub._forget_fd(fd, 0)
    _close(fd)


def make_nonblocking(fd):
    """Put `fd` into non-blocking mode. Returns True if it was not before, else None. The mode applies to all that share
    the descriptor's open file description, including other processes."""
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
    """Write at least some of `buf` to a descriptor in non-blocking mode; block until that is possible.

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
    """Like `os.waitpid`: block until a child has ended (or, by `options`, stopped), and return `(pid, status)`."""
    return _answer(_Question(_waits["waitpid"], pid), options)


def wait():
    """Like `os.wait`: block until any child has ended; return `(pid, status)`."""
    return waitpid(-1, 0)


def wait4(pid, options):
    """Like `os.wait4`: `waitpid` with the child's use of resources: `(pid, status, usage)`."""
    return _answer(_UsageQuestion(_waits["wait4"], pid), options)


def wait3(options):
    """Like `os.wait3`: `wait4` for any child."""
    return wait4(-1, options)


def waitid(idtype, id, options, /):
    """Like `os.waitid`: block until a child's state has changed as `options` say; return the new state."""
    return _answer(_IdQuestion(idtype, id), options)


class _Question:
    """A query of `waitpid`, to the kernel or to the results that the hub has taken for `fork_and_watch`."""

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
        """The pid that an answer is about; 0 if it is about none."""
        return answer[0]

    def status(self, answer):
        """The wait status in an answer, if the child has ended; None if it has not."""
        return answer[1] if _std.WIFEXITED(answer[1]) or _std.WIFSIGNALED(answer[1]) else None

    def changes(self, options):
        """The changes that it waits for, as flags of `waitid`."""
        return _std.WEXITED | options & _NOT_THE_END

    def nothing(self):
        """The kernel's answer with WNOHANG if nothing has changed."""
        return 0, 0

    def about(self, child):
        """What the kernel would have answered about a child whose status the hub has taken."""
        return child.rpid, child.rstatus


class _UsageQuestion(_Question):
    """A query of `wait4`."""

    def nothing(self):
        return 0, 0, _no_usage()

    def about(self, child):
        return child.rpid, child.rstatus, child.rusage or _no_usage()


def _no_usage():
    from resource import struct_rusage

    return struct_rusage((0,) * 16)


class _IdQuestion(_Question):
    """A query of `waitid`."""

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
    """Block until there is an answer, except with WNOHANG, and return it."""
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
            # If that child has ended, nothing asked for its status in time, and the number now belongs to another
            # child.
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
            pass  # no thread can be started: wait only for the children that the hub watches
    set_it = either.set
    wake = lambda _source: set_it()  # noqa: E731  (one object, to be unlinked)
    for source in sources:
        source.rawlink(wake)
    hub = get_hub()
    hub.ref()  # the watcher, which does not keep the loop alive, will wake this greenlet
    hub.outside += 1
    try:
        either.wait(None if len(sources) > len(watched) or only_watched else _children.LOOK_AGAIN)
    finally:
        hub.outside -= 1
        hub.unref()
        for source in sources:
            source.unlink(wake)


# ---------------------------------------------------------------- children whose status the hub takes

# pid: its _Watched, until the status was fetched or KEEP_STATUS_SECONDS have passed.
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
            self.group = None  # it has ended, and is not a child of this process
        watcher.start(self.end)

    def end(self):
        """In the hub: the watcher has the status."""
        self.at = _monotonic()
        self.ended.set()
        if self.callback is not None:
            self.callback(self.watcher)

    def was_taken(self, status):
        """Other code has asked the kernel before the hub did, and got the status."""
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
        """`fork()`, under gevent's name: the child's hub gets a new backend in any case."""
        return _fork()

    def fork_and_watch(callback=None, loop=None, ref=False, fork=fork_gevent):
        """Fork; in the parent, the hub takes the child's status as soon as the child has ended.

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
        """Like `fork_and_watch`, with a new pseudo-terminal: returns `(pid, master_fd)`."""
        pid, fd = forkpty()
        if pid:
            _watch(pid, callback, loop, ref)
        return pid, fd

    __extensions__ += ["forkpty_and_watch", "forkpty_gevent"]

_std.register_at_fork(after_in_child=_watched.clear)

__all__ = __implements__ + __imports__ + __extensions__
