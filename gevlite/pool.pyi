from collections.abc import Callable, Iterable, Iterator, Mapping
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

class PoolFull(Full): ...

class GroupMappingMixin:
    def apply(
        self, func: Callable[..., _T], args: Iterable[Any] | None = None, kwds: Mapping[str, Any] | None = None
    ) -> _T: ...
    def apply_cb(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[_T], object] | None = None,
    ) -> _T: ...
    def apply_async(
        self,
        func: Callable[..., _T],
        args: Iterable[Any] | None = None,
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[_T], object] | None = None,
    ) -> Greenlet[..., _T]: ...
    def map(self, func: Callable[[_A], _T], iterable: Iterable[_A]) -> list[_T]: ...
    def map_cb(
        self, func: Callable[[_A], _T], iterable: Iterable[_A], callback: Callable[[list[_T]], object] | None = None
    ) -> list[_T]: ...
    def map_async(
        self, func: Callable[[_A], _T], iterable: Iterable[_A], callback: Callable[[list[_T]], object] | None = None
    ) -> Greenlet[..., list[_T]]: ...
    @overload
    def imap(
        self, func: Callable[[_A], _T], a: Iterable[_A], /, *, maxsize: int | None = None
    ) -> OrderedResults[_T]: ...
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
    ) -> Results[_T]: ...
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
    def __init__(
        self,
        group: GroupMappingMixin,
        func: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        maxsize: int | None,
    ) -> None: ...
    def __next__(self) -> _T: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...
    def __del__(self) -> None: ...

class OrderedResults(Results[_T]): ...

class Group(GroupMappingMixin):
    greenlet_class: Callable[..., Greenlet]
    greenlets: set[_greenlet.greenlet]
    def __init__(self, greenlets: Iterable[_greenlet.greenlet] = (), /) -> None: ...
    def __len__(self) -> int: ...
    def __contains__(self, greenlet: object) -> bool: ...
    def __iter__(self) -> Iterator[_greenlet.greenlet]: ...
    def add(self, greenlet: _greenlet.greenlet) -> None: ...
    def discard(self, greenlet: _greenlet.greenlet) -> None: ...
    def start(self, greenlet: Greenlet) -> None: ...
    # With a greenlet_class of your own, what that takes.
    @overload
    def spawn(self, run: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Greenlet[..., _T]: ...
    @overload
    def spawn(self, *args: Any, **kwargs: Any) -> Greenlet: ...
    def full(self) -> bool: ...
    def wait_available(self, timeout: float | Timeout | None = None) -> int | None: ...
    def join(self, timeout: float | Timeout | None = None, raise_error: bool = False) -> bool: ...
    def kill(
        self,
        exception: BaseException | type[BaseException] = ...,
        block: bool = True,
        timeout: float | Timeout | None = None,
    ) -> None: ...
    def killone(
        self,
        greenlet: _greenlet.greenlet,
        exception: BaseException | type[BaseException] = ...,
        block: bool = True,
        timeout: float | Timeout | None = None,
    ) -> None: ...

class Pool(Group):
    size: int | None
    def __init__(self, size: int | None = None, greenlet_class: Callable[..., Greenlet] | None = None) -> None: ...
    def add(
        self, greenlet: _greenlet.greenlet, blocking: bool = True, timeout: float | Timeout | None = None
    ) -> None: ...
    def start(self, greenlet: Greenlet, blocking: bool = True, timeout: float | Timeout | None = None) -> None: ...
    def free_count(self) -> int: ...
    def wait_available(self, timeout: float | Timeout | None = None) -> int: ...

IMap = OrderedResults
IMapUnordered = Results
