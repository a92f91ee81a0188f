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

import sys
from collections.abc import Callable
from os import waitid_result
from resource import struct_rusage

from _typeshed import ReadableBuffer

from gevlite.loop import Loop, child

__implements__: list[str]
__imports__: list[str]
__extensions__: list[str]

KEEP_STATUS_SECONDS: float

def read(fd: int, length: int, /) -> bytes:
    """Like `os.read`: block until there is data, and return up to `length` bytes; b"" at the end."""

def write(fd: int, data: ReadableBuffer, /) -> int:
    """Like `os.write`: block until all of `data` is written to a pipe or socket; return how many bytes were written."""

def close(fd: int) -> None:
    """Like `os.close`. A greenlet of this thread that waits on the descriptor gets OSError(EBADF)."""

def wait() -> tuple[int, int]:
    """Like `os.wait`: block until any child has ended; return `(pid, status)`."""

def wait3(options: int) -> tuple[int, int, struct_rusage]:
    """Like `os.wait3`: `wait4` for any child."""

def wait4(pid: int, options: int) -> tuple[int, int, struct_rusage]:
    """Like `os.wait4`: `waitpid` with the child's use of resources: `(pid, status, usage)`."""

def waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """Like `os.waitpid`: block until a child has ended (or, by `options`, stopped), and return `(pid, status)`."""

if sys.platform != "darwin":
    def waitid(idtype: int, id: int, options: int, /) -> waitid_result | None:
        """Like `os.waitid`: block until a child's state has changed as `options` say; return the new state."""

def make_nonblocking(fd: int) -> bool | None:
    """Put `fd` into non-blocking mode. Returns True if it was not before, else None. The mode applies to all that share
    the descriptor's open file description, including other processes.
    """

def nb_read(fd: int, n: int) -> bytes:
    """Read up to `n` bytes from a descriptor in non-blocking mode; block until there are some. b"" at the end."""

def nb_write(fd: int, buf: ReadableBuffer) -> int:
    """Write at least some of `buf` to a descriptor in non-blocking mode; block until that is possible.

    Returns how many bytes were written.
    """

def tp_read(fd: int, n: int) -> bytes:
    """`os.read` in a thread of the hub's pool: for regular files. Blocks this greenlet."""

def tp_write(fd: int, buf: ReadableBuffer) -> int:
    """`os.write` in a thread of the hub's pool: for regular files. Blocks this greenlet."""

def fork_gevent() -> int:
    """`fork()`, under gevent's name: the child's hub gets a new backend in any case."""

def fork_and_watch(
    callback: Callable[[child], object] | None = None,
    loop: Loop | None = None,
    ref: bool = False,
    fork: Callable[[], int] = ...,
) -> int:
    """Fork; in the parent, the hub takes the child's status as soon as the child has ended.

    callback: called in the hub with the child watcher, which has `pid`, `rstatus` and `returncode`.
    ref: whether a running child keeps the loop alive. Returns the child's pid, 0 in the child.

    `waitpid(pid, ...)` of this module gives the status once, within a minute after the child's end.
    """

def forkpty_gevent() -> tuple[int, int]:
    """`forkpty()`, under gevent's name."""

def forkpty_and_watch(
    callback: Callable[[child], object] | None = None,
    loop: Loop | None = None,
    ref: bool = False,
    forkpty: Callable[[], tuple[int, int]] = ...,
) -> tuple[int, int]:
    """Like `fork_and_watch`, with a new pseudo-terminal: returns `(pid, master_fd)`."""

if sys.version_info >= (3, 13):
    # Not in `os.__all__`, which is what the star imports.
    from os import process_cpu_count as process_cpu_count

# Last, because type checkers keep the first of two definitions.
from os import *  # noqa: E402, F403
