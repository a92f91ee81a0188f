"""Cooperative `select`, `poll` and `epoll`: they block only the calling greenlet.

All of them ask the kernel first, without waiting. If nothing is ready, one waiter waits for all the descriptors at once
(`Hub.wait_fds`). When one of them is reported, the kernel is asked again: the result is always the kernel's answer, for
gevlite's sockets as for any other descriptor.

The hub knows only "can be read" and "can be written". A waiter that asks only for something else (urgent data, hang-up)
would be woken by ordinary data again and again. For such a wait, an epoll object is made, and the hub waits for that.
"""

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeVar

from _typeshed import FileDescriptorLike

from gevlite.timeout import Timeout

_R = TypeVar("_R", bound=FileDescriptorLike)
_W = TypeVar("_W", bound=FileDescriptorLike)
_X = TypeVar("_X", bound=FileDescriptorLike)

__implements__: list[str]
__imports__: list[str]

class poll:
    """A cooperative twin of `select.poll` objects: `register`, `modify`, `unregister`, `poll`."""
    def __init__(self) -> None: ...
    def register(self, fd: FileDescriptorLike, eventmask: int = 7, /) -> None:
        """Watch `fd` (a number or an object with `fileno()`) for `eventmask`; a second time replaces the first."""
    def modify(self, fd: FileDescriptorLike, eventmask: int, /) -> None:
        """Replace what `fd` is watched for. Raises FileNotFoundError if it is not registered."""
    def unregister(self, fd: FileDescriptorLike, /) -> None:
        """Watch `fd` no longer. Raises KeyError if it is not registered."""
    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Block until some descriptors are ready, at most `timeout` milliseconds; return `[(fd, events), ...]`.

        None or a negative time: no limit. 0: do not wait, but let others run once if nothing is ready. Descriptors
        registered meanwhile are used from the next call on. Raises RuntimeError if another greenlet is in `poll` of
        this object, OverflowError if the time is longer than the original accepts.
        """

if sys.platform == "linux":
    class epoll:
        """A cooperative twin of `select.epoll` objects. The descriptors belong to the kernel's object, not to the hub.

        An epoll object is a descriptor that becomes readable when it has something to report; the hub waits for that.
        """
        def __init__(self, sizehint: int = -1, flags: int = 0) -> None: ...
        @classmethod
        def fromfd(cls, fd: int, /) -> Self:
            """An object for an existing epoll descriptor."""
        def register(self, fd: FileDescriptorLike, eventmask: int = 7) -> None:
            """Watch `fd`. Raises FileExistsError if it is registered, PermissionError for a regular file."""
        def modify(self, fd: FileDescriptorLike, eventmask: int) -> None:
            """Replace what `fd` is watched for. Raises FileNotFoundError if it is not registered."""
        def unregister(self, fd: FileDescriptorLike) -> None:
            """Watch `fd` no longer. Raises FileNotFoundError if it is not registered."""
        def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
            """Block until some descriptors are ready, at most `timeout` seconds; return `[(fd, events), ...]`.

            None or a negative time: no limit. 0: do not wait, but let others run once if nothing is ready. Raises
            ValueError if the object is closed, also if another greenlet closes it during the wait.
            """
        def close(self) -> None:
            """Close it; its waiters get ValueError."""
        @property
        def closed(self) -> bool:
            """True after `close()`."""
        def fileno(self) -> int:
            """The object's own descriptor."""
        def __enter__(self) -> Self: ...
        def __exit__(
            self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
        ) -> None: ...

def select(
    rlist: Iterable[_R], wlist: Iterable[_W], xlist: Iterable[_X], timeout: float | Timeout | None = None, /
) -> tuple[list[_R], list[_W], list[_X]]:
    """Block until something in the lists is ready to be read, to be written or has urgent data; return three lists.

    The lists contain descriptor numbers or objects with `fileno()`. timeout: seconds; None: no limit; 0: do not wait,
    but let others run once if nothing is ready. Raises OSError(EBADF) for a closed descriptor, ValueError for a
    negative one. Unlike the original it takes descriptors of any number, not only those below FD_SETSIZE.
    """

def waits_cooperatively(selector: object) -> bool:
    """True if `select()` of this object of `selectors` blocks the calling greenlet only."""

# Last, because type checkers keep the first of two definitions.
from select import *  # type: ignore[assignment]  # noqa: E402, F403
