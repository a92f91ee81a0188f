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

import subprocess as _std
from collections.abc import Callable
from typing import Any, AnyStr

__implements__: list[str]
__imports__: list[str]

def __getattr__(name: str) -> Any: ...

class Popen(_std.Popen[AnyStr]):
    """`subprocess.Popen`, cooperative: `wait`, `communicate` and the pipes block only the calling greenlet.

    All arguments are the original's; `threadpool` is accepted for code written for gevent, and ignored. Starting a
    program blocks the whole thread until the program is loaded, as in the original. `preexec_fn` is supported, with the
    original's warning: it runs in the child of a fork, where no other greenlet runs.
    """
    def rawlink(self, callback: Callable[[Popen[AnyStr]], object]) -> None:
        """Make the hub call `callback(self)` once, when the child has ended; `gevlite.wait([popen])` uses this."""
    def unlink(self, callback: Callable[[Popen[AnyStr]], object]) -> None:
        """Remove a callback added by `rawlink`. An unknown one is ignored."""
    def pipe_cloexec(self) -> tuple[int, int]:
        """A new pipe, `(read end, write end)`, that no program started later inherits."""

# Last, because type checkers keep the first of two definitions.
from subprocess import *  # type: ignore[assignment]  # noqa: E402, F403
from subprocess import list2cmdline as list2cmdline  # noqa: E402
