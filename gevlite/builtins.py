"""Cooperative `input`; everything else in `builtins` is unchanged."""

import builtins as _std
import os as _os
import stat as _stat
import sys as _sys
from _thread import start_new_thread as _start_new_thread

from gevlite import _twin
from gevlite._core import (
    add_idle_workers as _add_idle_workers,
    get_hub as _get_hub,
    is_finalizing as _is_finalizing,
    too_late_for_threads as _too_late_for_threads,
)
from gevlite._fileio import Shared as _Shared, TextReader as _TextReader
from gevlite.event import Event as _Event
from gevlite.lock import Semaphore as _Semaphore

__target__ = "builtins"
__implements__ = ["input"]
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside(__implements__, _std))
_twin.take_over(globals(), _std, ["__build_class__", "__import__"])
__all__ = __implements__ + __imports__

_input = _std.input

_turn = _Semaphore(1)
# The _Line that is being read, or that was read for a greenlet that has since been killed.
_line = None


def input(prompt="", /):
    """Like the original: write `prompt`, block until there is a line, and return it. Raises EOFError at the end.

    If a kill or a time-out ends a call, its line goes to the next call. If `readline` has been imported, for editing at
    a terminal, the original is called, which blocks all greenlets; but not if `sys.stdin` is a cooperative stream
    (`patch_sys`), which has no editing.
    """
    stdin = _sys.stdin
    cooperative = isinstance(stdin, (_Shared, _TextReader))
    if not cooperative and not _may_wait(stdin) or _sys.stdout is None:
        return _input(prompt)
    _sys.audit("builtins.input", prompt)
    if _sys.stderr is not None:
        _sys.stderr.flush()
    _sys.stdout.write(str(prompt))
    _sys.stdout.flush()
    if cooperative:
        line = stdin.readline()
    else:
        with _turn:
            line = _sys.stdin.readline() if _is_finalizing() else _next_line()
    if not line:
        raise EOFError("EOF when reading a line")
    line = line.removesuffix("\n")
    _sys.audit("builtins.input/result", line)
    return line


def _may_wait(stdin):
    """True for the standard input of the process, if reading it can block."""
    if stdin is None or stdin is not _sys.__stdin__:
        return False
    try:
        mode = _os.fstat(stdin.fileno()).st_mode
        return not _stat.S_ISREG(mode) and not (stdin.isatty() and "readline" in _sys.modules)
    except (OSError, ValueError):
        return False  # closed


class _Line:
    """A line that a thread reads: the kernel does not announce a line that is already in the stream's buffer."""

    def __init__(self, stream):
        self.stream = stream
        self.there = _Event()
        self.text = self.error = None
        self.started = False
        self.unread = [True]

    def start(self):
        """Start the thread. May be called again, if a Ctrl-C has ended the first call."""
        if self.started:
            return
        _add_idle_workers(1)
        try:
            _start_new_thread(self.read, ())
        except RuntimeError as exc:
            if not _too_late_for_threads(exc):
                _add_idle_workers(-1)
                raise
            self.read()
        self.started = True

    def read(self):
        try:
            self.unread.pop()
        except IndexError:  # a second thread
            _add_idle_workers(-1)
            return
        try:
            self.text = self.stream.readline()
        except BaseException as exc:
            self.error = exc
        _add_idle_workers(-1)
        self.there.set()


def _next_line():
    global _line
    if _line is None:
        _line = _Line(_sys.stdin)
    _line.start()
    hub = _get_hub()
    hub.ref()
    hub.outside += 1
    try:
        _line.there.wait()
    finally:
        hub.outside -= 1
        hub.unref()
    line, _line = _line, None
    if line.error is not None:
        raise line.error
    return line.text


def _forget_line():
    """The child of a fork does not have the thread."""
    global _line, _turn
    _line = None
    _turn = _Semaphore(1)


_os.register_at_fork(after_in_child=_forget_line)
