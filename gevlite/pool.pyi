"""Groups of greenlets: started, waited for and killed together; a Pool also limits how many run at a time.

A greenlet is a member from `add` (or `spawn`) until it ends. When it ends, it is removed before its waiters are woken.
So a waiter that sees the end of a greenlet finds its place free. A place is given back exactly once: by the end of the
greenlet or by `discard`, whichever comes first.

A group may be used from several OS threads. Its members run on the hub of the thread that made them.
"""

from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping
from queue import Full
from typing import Any, ParamSpec, Self, overload

import greenlet as _greenlet
from typing_extensions import TypeVar

from gevlite.greenlet import Greenlet
from gevlite.timeout import Timeout

__all__ = ["Group", "Pool", "PoolFull"]

_P = ParamSpec("_P")
_T = TypeVar("_T", default=Any)
_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")

class PoolFull(Full):
    """A Pool has no free place, or got none in time."""

class GroupMappingMixin:
    """`apply`, `map` and the like, for classes whose `spawn` returns an object with `get()`."""
    def apply(
        self, func: Callable[..., _T], args: Iterable[Any] | None = None, kwds: Mapping[str, Any] | None = None
    ) -> _T:
        """Run `func(*args, **kwds)` in the pool; block until it is done. Returns its result or raises its exception.

        If a member calls this, the function runs in the member itself: with all places taken it would wait for itself.
        """
    def apply_cb(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[_T], object] | None = None,
    ) -> _T:
        """Like `apply`; also calls `callback(result)`, in a greenlet of its own."""
    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[_T], object] | None = None,
    ) -> Greenlet[..., _T]:
        """Like `apply_cb`, but does not block: returns a Greenlet whose `get()` gives the result.

        If there is an error, `callback` is not called.
        """
    def map(self, func: Callable[[_A], _T], iterable: Iterable[_A]) -> list[_T]:
        """Run `func(item)` for each item, concurrently; block until all are done. Returns the results in order.

        If calls fail, the error of the first one in this order is raised as soon as those before it are done; the
        others continue. If the caller is killed or its time is over, no further call is started; running calls
        continue.
        """
    def map_cb(
        self, func: Callable[[_A], _T], iterable: Iterable[_A], callback: Callable[[list[_T]], object] | None = None
    ) -> list[_T]:
        """Like `map`; also calls `callback(list)`."""
    def map_async(
        self, func: Callable[[_A], _T], iterable: Iterable[_A], callback: Callable[[list[_T]], object] | None = None
    ) -> Greenlet[..., list[_T]]:
        """Like `map_cb`, but does not block: returns a Greenlet whose `get()` gives the list."""
    @overload
    def imap(self, func: Callable[[_A], _T], a: Iterable[_A], /, *, maxsize: int | None = None) -> OrderedResults[_T]:
        """Run `func` concurrently for the items of the iterables, as `map()` takes them. Returns an iterator over the
        results, in order, which blocks until the next one is there.

        It begins at once, in a greenlet that takes the items as places become free. `maxsize`: the maximum number of
        calls that have begun but whose results have not been taken; None or 0: no limit.

        An error of a call is raised in place of its result, and the iteration may continue after it. An error of an
        iterable is raised after the results of the items before it, and ends the iteration. When the iterator is closed
        (by `close()` or at the end of a `with`), or its last reference is gone, no further call is started.
        """
    @overload
    def imap(
        self, func: Callable[[_A, _B], _T], a: Iterable[_A], b: Iterable[_B], /, *, maxsize: int | None = None
    ) -> OrderedResults[_T]: ...
    @overload
    def imap(
        self,
        func: Callable[[_A, _B, _C], _T],
        a: Iterable[_A],
        b: Iterable[_B],
        c: Iterable[_C],
        /,
        *,
        maxsize: int | None = None,
    ) -> OrderedResults[_T]: ...
    @overload
    def imap(
        self, func: Callable[..., _T], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> OrderedResults[_T]: ...
    @overload
    def imap_unordered(
        self, func: Callable[[_A], _T], a: Iterable[_A], /, *, maxsize: int | None = None
    ) -> Results[_T]:
        """Like `imap`, but each result is returned as soon as it is there."""
    @overload
    def imap_unordered(
        self, func: Callable[[_A, _B], _T], a: Iterable[_A], b: Iterable[_B], /, *, maxsize: int | None = None
    ) -> Results[_T]: ...
    @overload
    def imap_unordered(
        self,
        func: Callable[[_A, _B, _C], _T],
        a: Iterable[_A],
        b: Iterable[_B],
        c: Iterable[_C],
        /,
        *,
        maxsize: int | None = None,
    ) -> Results[_T]: ...
    @overload
    def imap_unordered(
        self, func: Callable[..., _T], *iterables: Iterable[Any], maxsize: int | None = None
    ) -> Results[_T]: ...

class Results(Iterator[_T]):
    """The iterator of `imap_unordered`: results in the order in which they arrive. A `with` statement closes it.

    Several greenlets may take results from it; each result goes to one of them.
    """
    def __init__(
        self,
        group: GroupMappingMixin,
        func: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        maxsize: int | None,
    ) -> None: ...
    def __next__(self) -> _T: ...
    def close(self) -> None:
        """Start no further call and end the iteration, also for other greenlets that wait in it. Does not block.

        Running calls continue as members of the pool; their results are dropped.
        """
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def __del__(self) -> None: ...

class OrderedResults(Results[_T]):
    """The iterator of `imap`: results in the order of the items."""

class _Members(KeysView[_greenlet.greenlet]):
    """What `Group.greenlets` shows: code that was written for a set copies it."""

    def copy(self) -> set[_greenlet.greenlet]: ...

class Group(GroupMappingMixin):
    """Any number of greenlets. `Group(greenlets)` begins with those; iterating over it yields the members.

    Its length is the number of members, so an empty one is false.
    """

    greenlet_class: Callable[..., Greenlet]
    def __init__(self, greenlets: Iterable[_greenlet.greenlet] = (), /) -> None: ...
    @property
    def greenlets(self) -> _Members:
        """The members, in the order in which they came: a view, as `dict.keys()` returns. Its `copy()` is a set."""
    def __len__(self) -> int: ...
    def __contains__(self, greenlet: object) -> bool: ...
    def __iter__(self) -> Iterator[_greenlet.greenlet]: ...
    def add(self, greenlet: _greenlet.greenlet) -> None:
        """Make a greenlet, started or not, a member until it ends. Does nothing if it is a member or has ended.

        The end of a greenlet that is not a `Greenlet` cannot be noticed: it stays a member until `discard`.
        """
    def discard(self, greenlet: _greenlet.greenlet) -> None:
        """Remove a greenlet from the group; it continues to run. Does nothing if it is not a member."""
    def start(self, greenlet: Greenlet) -> None:
        """`add` a greenlet that has not been started, and start it."""
    # With a greenlet_class of your own, what that takes.
    @overload
    def spawn(self, run: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Greenlet[..., _T]:
        """Make a `greenlet_class(*args, **kwargs)`, start it and return it.

        In a Pool it blocks until there is a free place. If the caller is killed or its time is over meanwhile, nothing
        is started and no place is taken.
        """
    @overload
    def spawn(self, *args: Any, **kwargs: Any) -> Greenlet: ...
    def full(self) -> bool:
        """True if there is no free place; a Group always has one."""
    def wait_available(self, timeout: float | Timeout | None = None) -> int | None:
        """Block until there is a free place, at most `timeout` seconds; a Group always has one."""
    def join(self, timeout: float | Timeout | None = None, raise_error: bool = False) -> bool:
        """Block until the group has no members at some moment, at most `timeout` seconds. True if that happened.

        With `raise_error`, raises the error of the first member that fails meanwhile. Raises RuntimeError if a member
        calls it: it would wait for its own end.
        """
    def kill(
        self,
        exception: BaseException | type[BaseException] = ...,
        block: bool = True,
        timeout: float | Timeout | None = None,
    ) -> None:
        """Raise `exception` (a class or an instance) in each member, in the order in which they came, once in each,
        however often this is called.

        With `block`, wait until all have ended, at most `timeout` seconds; greenlets that become members meanwhile are
        killed too. A member that calls this is killed last. A member that is not a `Greenlet` is removed.
        """
    def killone(
        self,
        greenlet: _greenlet.greenlet,
        exception: BaseException | type[BaseException] = ...,
        block: bool = True,
        timeout: float | Timeout | None = None,
    ) -> None:
        """`kill` for one member; does nothing if it is not a member. With `block`, wait until it has ended."""

class Pool(Group):
    """A Group with at most `size` members (None: any number): adding one more waits for a free place.

    Waiters are served in the order in which they came. Raises ValueError for a negative size, TypeError for one that is
    no int.
    """

    size: int | None
    def __init__(self, size: int | None = None, greenlet_class: Callable[..., Greenlet] | None = None) -> None: ...
    def add(self, greenlet: _greenlet.greenlet, blocking: bool = True, timeout: float | Timeout | None = None) -> None:
        """Like `Group.add`; block until there is a free place, at most `timeout` seconds.

        Raises PoolFull when the time is over, or at once if `blocking` is false.
        """
    def start(self, greenlet: Greenlet, blocking: bool = True, timeout: float | Timeout | None = None) -> None:
        """`add` a greenlet that has not been started, with the same arguments and errors, and start it."""
    def free_count(self) -> int:
        """The number of free places; 1 if there is no limit."""
    def wait_available(self, timeout: float | Timeout | None = None) -> int:
        """Block until there is a free place, at most `timeout` seconds, without taking it. Returns `free_count()`."""

IMap = OrderedResults
IMapUnordered = Results
