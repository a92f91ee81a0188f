"""Cooperative subprocesses: `Popen`, `run` and the other functions block only the calling greenlet.

`Popen` is the original class with its waiting parts replaced. The original still starts the program, in all versions of
Python, so arguments, errors and audit events are the same. Replaced are

* the file objects of the pipes: each is a FileObject (the original makes its own in `_execute_child`); the descriptors
  stay in blocking mode, because they may be given to another program as its input;
* `_wait`, which waits until the kernel says that the child has ended (see `_children`) and then takes the status of
  this child only, as the original does: `_try_wait` and `_handle_exitstatus` under `_waitpid_lock`;
* `_communicate`, which moves data in both directions as the pipes become ready.

These are private methods of the original; tests/process/test_subprocess.py checks each against the running version. The
functions are the original's own, in a namespace with gevlite's `Popen`. The exceptions, constants and
`CompletedProcess` are the original's.
"""

import functools
import io
import subprocess as _std
import types
from os import O_WRONLY, P_PID, WEXITED, WNOHANG, pipe as _pipe

from gevlite import _children, _twin
from gevlite._core import monotonic as _monotonic
from gevlite._fileio import Channel
from gevlite.event import Event
from gevlite.fileobject import FileObject
from gevlite.greenlet import joinall, killall, spawn
from gevlite.timeout import Timeout

_StdPopen = _std.Popen
# Looked up now, because they may be patched later, in the class itself.
_std_init = _StdPopen.__init__
_std_communicate = _StdPopen.communicate
_std_wait = _StdPopen.wait
_std_execute_child = _StdPopen._execute_child
_FUNCTIONS = [name for name in _std.__all__ if isinstance(getattr(_std, name), types.FunctionType)]

__target__ = "subprocess"
__implements__ = ["Popen", *_FUNCTIONS]
__imports__ = [name for name in _std.__all__ if name not in __implements__] + ["list2cmdline"]
_twin.take_over(globals(), _std, __imports__)
__all__ = [name for name in _std.__all__ if name != "list2cmdline"]

# The default capacity of a pipe on Linux (pipe(7)): the most that one read can return.
_CHUNK = 65536


def __getattr__(name):
    # The rest of the original, with its current values: some of its private names are switches.
    return getattr(_std, name)


class _Pipe(FileObject):
    _close_waits = True  # like the original's between threads: a reader gets everything that the child has written


def _cooperative(file, bufsize):
    """A cooperative file object over the descriptor of `file`, a new file object of the original."""
    kind, options = "b", {}
    if isinstance(file, io.TextIOWrapper):
        kind, options = "t", {"encoding": file.encoding, "errors": file.errors}
        file = file.detach()
    if not isinstance(file, io.RawIOBase):
        file = file.detach()
    elif kind == "b":
        bufsize = 0
    return _Pipe(file, ("w" if file.writable() else "r") + kind, bufsize, **options).io


def _remaining(deadline):
    """Seconds until `deadline` of the monotonic clock, a negative number after it; None if there is none."""
    return None if deadline is None else deadline - _monotonic()


class _Exchange:
    """What `communicate` still has to write and to read. After a time-out or a kill, another call continues it."""

    def __init__(self, stdin, data, outputs):
        self.received = {file: [] for file in outputs if file is not None}
        self.stdin = stdin
        self.data = memoryview(data).cast("B") if data else b""
        self.offset = 0
        self.error = None

    def run(self, timeout):
        """Block until everything is written and read: True. False after `timeout` seconds (None: no limit)."""
        jobs = [spawn(self.finish, self.read, file) for file in self.received if not file.closed]
        if self.offset < len(self.data):
            jobs.append(spawn(self.finish, self.write, self.stdin))
        try:
            ended = joinall(jobs, timeout)
        finally:
            killall(jobs)
        if self.error is not None:
            raise self.error
        return len(ended) == len(jobs)

    def finish(self, work, file):
        """In a greenlet of its own: do the work, and close the file."""
        try:
            work(file)
            file.close()
        except BrokenPipeError:
            self.offset = len(self.data)  # the child reads no more, which is no error
            file.close()
        except Exception as exc:
            self.error = exc

    def read(self, file):
        file_of_bytes = getattr(file, "buffer", file)
        read = getattr(file_of_bytes, "read1", file_of_bytes.read)
        received = self.received[file]
        while data := read(_CHUNK):
            received.append(data)

    def write(self, file):
        send = Channel(file.fileno(), O_WRONLY).send
        while self.offset < len(self.data):
            self.offset += send(self.data[self.offset :])

    def output(self, file):
        """What has been read from `file` so far; None if there is no such file."""
        return None if file is None else b"".join(self.received[file])


def _seconds(timeout):
    return float(timeout) if isinstance(timeout, Timeout) else timeout


class Popen(_StdPopen):
    """`subprocess.Popen`, cooperative: `wait`, `communicate` and the pipes block only the calling greenlet.

    All arguments are the original's; `threadpool` is accepted for code written for gevent, and ignored. Starting a
    program blocks the whole thread until the program is loaded, as in the original. `preexec_fn` is supported, with the
    original's warning: it runs in the child of a fork, where no other greenlet runs.
    """

    _bufsize = -1
    _exchange = None
    _ended = None

    @functools.wraps(_std_init)
    def __init__(self, args, bufsize=-1, *more, threadpool=None, **options):
        self._bufsize = -1 if bufsize is None else bufsize
        _std_init(self, args, bufsize, *more, **options)

    def _execute_child(self, *args, **kwargs):
        for name in ("stdin", "stdout", "stderr"):
            file = getattr(self, name)
            if file is not None:
                setattr(self, name, _cooperative(file, self._bufsize))
        return _std_execute_child(self, *args, **kwargs)

    def wait(self, timeout=None):
        """Block until the child has ended; returns its return code. Raises TimeoutExpired after `timeout` seconds."""
        return _std_wait(self, _seconds(timeout))

    def communicate(self, input=None, timeout=None):
        """Write `input`, read everything, and block until the child has ended; returns `(stdout, stderr)`.

        Raises TimeoutExpired after `timeout` seconds; another call continues it.
        """
        return _std_communicate(self, input, _seconds(timeout))

    def _wait(self, timeout):
        """Block until the child has ended; returns its return code. Raises TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else _monotonic() + timeout
        while not self._take_status():
            remaining = _remaining(deadline)
            if remaining is not None and remaining <= 0:
                raise _std.TimeoutExpired(self.args, timeout)
            _children.wait(P_PID, self.pid, WEXITED, remaining)
        return self.returncode

    def _take_status(self):
        """Without blocking: True if the child has ended, and its status has been taken."""
        if self.returncode is None and self._waitpid_lock.acquire(False):
            try:
                if self.returncode is None:  # otherwise another thread was faster
                    pid, status = self._try_wait(WNOHANG)
                    if pid == self.pid:
                        self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode is not None

    def _communicate(self, input, endtime, orig_timeout):
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = self._begin_exchange(input)
        # By the hub's clock, which need not be that of the caller's `endtime`.
        deadline = None if orig_timeout is None else _monotonic() + orig_timeout
        try:
            if not exchange.run(_remaining(deadline)):
                raise _std.TimeoutExpired(self.args, orig_timeout)
            self.wait(timeout=_remaining(deadline))
        except _std.TimeoutExpired as exc:
            # The exception must have the caller's time-out, not the remaining time, and the output that has arrived.
            exc.timeout = orig_timeout
            exc.stdout, exc.stderr = (exchange.output(file) or None for file in (self.stdout, self.stderr))
            raise
        stdout, stderr = (exchange.output(file) for file in (self.stdout, self.stderr))
        if self.text_mode:
            if stdout is not None:
                stdout = self._translate_newlines(stdout, self.stdout.encoding, self.stdout.errors)
            if stderr is not None:
                stderr = self._translate_newlines(stderr, self.stderr.encoding, self.stderr.errors)
        return stdout, stderr

    def _begin_exchange(self, input):
        stdin = self.stdin
        if stdin is None:
            return _Exchange(None, None, (self.stdout, self.stderr))
        try:
            stdin.flush()  # may block if much was written before
            if not input:
                stdin.close()
        except BrokenPipeError:
            pass
        except ValueError:
            if not stdin.closed:
                raise
            return _Exchange(None, None, (self.stdout, self.stderr))  # the child does not read input, which is no error
        if input and self.text_mode:
            input = input.encode(stdin.encoding, stdin.errors)
        return _Exchange(stdin, input, (self.stdout, self.stderr))

    # -------- waiting for it together with other objects

    def rawlink(self, callback):
        """Make the hub call `callback(self)` once, when the child has ended; `gevlite.wait([popen])` uses this."""
        if self._ended is None:
            self._ended = _Ended(self)
        self._ended.link(callback)

    def unlink(self, callback):
        """Remove a callback added by `rawlink`. An unknown one is ignored."""
        if self._ended is not None:
            self._ended.unlink(callback)

    def pipe_cloexec(self):
        """A new pipe, `(read end, write end)`, that no program started later inherits."""
        return _pipe()


class _Ended:
    """Calls the links of a Popen at its end."""

    def __init__(self, popen):
        self.event = Event()
        self.proxies = {}
        self.popen = popen
        spawn(self.wait)

    def wait(self):
        self.popen._wait(None)
        self.event.set()

    def link(self, callback):
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self.proxies[callback] = proxy = functools.partial(self._call, callback)
        self.event.rawlink(proxy)

    def unlink(self, callback):
        proxy = self.proxies.pop(callback, None)
        if proxy is not None:
            self.event.unlink(proxy)

    def _call(self, callback, _event):
        self.proxies.pop(callback, None)
        callback(self.popen)


# ---------------------------------------------------------------- functions


def _with_our_popen():
    """Copies of the original's functions whose globals contain gevlite's `Popen` and these copies."""
    names = {**vars(_std), "Popen": Popen}
    for name in _FUNCTIONS:
        names[name] = _twin.with_globals(getattr(_std, name), names)
    return {name: names[name] for name in _FUNCTIONS}


globals().update(_with_our_popen())
