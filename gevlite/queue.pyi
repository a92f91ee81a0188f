"""Queues between greenlets, also of different threads.

An item goes straight to the getter that has waited longest. A getter that makes room lets in the putter that has waited
longest, and puts its item in for it. So order is kept, no greenlet overtakes another, and one that is killed or runs out of
time while it waits has neither taken nor left anything.
"""

import sys
from collections.abc import Awaitable, Generator, Iterable
from queue import Empty as Empty, Full as Full
from types import GenericAlias
from typing import Any, Generic, Literal, Self

from typing_extensions import TypeVar, disjoint_base

from gevlite._core import Hub
from gevlite.timeout import Timeout

if sys.version_info >= (3, 13):
    from queue import ShutDown as ShutDown
else:
    class ShutDown(Exception):
        """Raised by `put` and `get` of a queue that was shut down."""

__all__ = [
    "Channel",
    "Empty",
    "Full",
    "JoinableQueue",
    "LifoQueue",
    "PriorityQueue",
    "Queue",
    "ShutDown",
    "SimpleQueue",
]

_T = TypeVar("_T", default=Any)

@disjoint_base
class SimpleQueue(Generic[_T]):
    """A first-in, first-out queue. `maxsize`: how many items it holds; None or 0: any number.

    Iterating over it, also with `async for`, yields items until one of them is `StopIteration`, or until the queue is empty
    and was shut down. A subclass may keep the items in another way, as with the standard library's queues: it overrides
    `_init(maxsize)`, which sets `queue`, `_put(item)`, `_get()`, `_qsize()` and, for `peek`, `_peek()`. They must not block.
    """
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __init__(self, maxsize: int | None = None, items: Iterable[_T] = ()) -> None: ...
    @property
    def maxsize(self) -> int | None:
        """How many items it holds; None: any number. Setting it lets waiting putters in if there is room now."""
    @maxsize.setter
    def maxsize(self, value: int | None) -> None: ...
    @property
    def is_shutdown(self) -> bool: ...
    queue: Any  # a deque or a list; whatever a subclass makes in _init
    """The container of the items."""
    @property
    def hub(self) -> Hub:
        """The hub of the running thread: a queue belongs to no hub."""
    def _init(self, maxsize: int | None) -> None:
        """Make the container of the items."""
    def _put(self, item: _T) -> None:
        """Add to the container."""
    def _get(self) -> _T:
        """Take the next one from the container."""
    def _peek(self) -> _T:
        """The next one in the container."""
    def _qsize(self) -> int:
        """How many are in the container."""
    def qsize(self) -> int:
        """The number of items."""
    def empty(self) -> bool:
        """True if there is no item."""
    def full(self) -> bool:
        """True if `put` would block."""
    def copy(self) -> Self:
        """A new queue of the same kind with the same items."""
    def put(self, item: _T, block: bool = True, timeout: float | Timeout | None = None) -> None:
        """Put `item` in; block while the queue is full, at most `timeout` seconds.

        Raises Full when the time is over, or at once if `block` is false; ShutDown after `shutdown()`; ValueError for
        a negative time.
        """
    def put_nowait(self, item: _T) -> None:
        """`put(item, block=False)`."""
    def get(self, block: bool = True, timeout: float | Timeout | None = None) -> _T:
        """Remove and return the next item; block until there is one, at most `timeout` seconds.

        Raises Empty when the time is over, or at once if `block` is false; ShutDown if the queue is empty and was shut
        down; ValueError for a negative time.
        """
    def get_nowait(self) -> _T:
        """`get(block=False)`."""
    def peek(self, block: bool = True, timeout: float | Timeout | None = None) -> _T:
        """Return the next item without removing it; otherwise as `get`."""
    def peek_nowait(self) -> _T:
        """`peek(block=False)`."""
    def shutdown(self, immediate: bool = False) -> None:
        """Let nothing more in: `put` raises ShutDown, and so does `get` once the queue is empty, where an iteration ends. All
        that wait are woken.

        With `immediate`, what is in it is thrown away and counts as done.
        """
    def __len__(self) -> int: ...
    def __bool__(self) -> Literal[True]: ...
    def __await__(self) -> Generator[Any, None, _T]:
        """`await queue`: `get` in a coroutine. Needs a loop of `gevlite.asyncio`."""
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[_T]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...

class Queue(SimpleQueue[_T]):
    """A SimpleQueue that also counts the work: `task_done()` for each item, `join()` until all is done.

    `unfinished_tasks` starts with the number of `items` unless it is given.
    """
    def __init__(
        self, maxsize: int | None = None, items: Iterable[_T] = (), unfinished_tasks: int | None = None
    ) -> None: ...
    @property
    def unfinished_tasks(self) -> int:
        """How many items were put in and not yet reported by `task_done()`."""
    def task_done(self) -> None:
        """Say that the work on one item is finished. Raises ValueError if called more often than there were items."""
    def join(self, timeout: float | Timeout | None = None) -> bool:
        """Block until `task_done()` was called for every item, at most `timeout` seconds. True if it was."""

JoinableQueue = Queue

class LifoQueue(Queue[_T]):
    """A Queue that returns the newest item first."""

class UnboundQueue(Queue[_T]):
    """A Queue without a `maxsize`: an old name for it. Raises ValueError for a `maxsize` other than None."""
    def __init__(self, maxsize: None = None, items: Iterable[_T] = ()) -> None: ...

class PriorityQueue(Queue[_T]):
    """A Queue that returns the smallest item first; typical items are `(priority, data)`.

    Putting in an item that does not compare with those in it raises TypeError, and the item stays out.
    """

@disjoint_base
class Channel(Generic[_T]):
    """A queue that holds nothing: `put` blocks until another greenlet takes the item."""
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __init__(self, maxsize: Literal[1] = 1) -> None: ...
    @property
    def getters(self) -> int:
        """How many greenlets wait in `get`."""
    @property
    def putters(self) -> int:
        """How many greenlets wait in `put`."""
    @property
    def balance(self) -> int:
        """The number of waiting putters minus that of waiting getters."""
    @property
    def hub(self) -> Hub:
        """The hub of the running thread: a queue belongs to no hub."""
    def qsize(self) -> Literal[0]:
        """0."""
    def empty(self) -> Literal[True]:
        """True."""
    def full(self) -> Literal[True]:
        """True."""
    def put(self, item: _T, block: bool = True, timeout: float | Timeout | None = None) -> None:
        """Hand `item` to a getter; block until it is taken, at most `timeout` seconds. Raises Full."""
    def put_nowait(self, item: _T) -> None:
        """`put(item, block=False)`."""
    def get(self, block: bool = True, timeout: float | Timeout | None = None) -> _T:
        """Take an item from a putter; block until there is one, at most `timeout` seconds. Raises Empty."""
    def get_nowait(self) -> _T:
        """`get(block=False)`."""
    def __await__(self) -> Generator[Any, None, _T]:
        """`await queue`: `get` in a coroutine. Needs a loop of `gevlite.asyncio`."""
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Awaitable[_T]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...
    def next(self) -> _T:
        """The same as `next(channel)`."""
