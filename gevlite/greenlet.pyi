"""Greenlet, and functions that start, end and wait for greenlets. Waiting for many objects is in _many.pxi."""

from collections.abc import Callable, Generator, Iterable, Iterator
from traceback import StackSummary
from types import GenericAlias, TracebackType
from typing import Any, Generic, Self, overload
from weakref import ref

import greenlet as _greenlet
from greenlet import GreenletExit as GreenletExit
from typing_extensions import ParamSpec, TypeVar, disjoint_base

from gevlite._core import CoreGreenlet, getcurrent as getcurrent
from gevlite.timeout import Timeout

__all__ = [
    "FailureSpawnedLink",
    "Greenlet",
    "GreenletExit",
    "SpawnedLink",
    "SuccessSpawnedLink",
    "getcurrent",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "wait",
]

# A bare `Greenlet` is one of anything.
_P = ParamSpec("_P", default=...)
_T_co = TypeVar("_T_co", covariant=True, default=Any)
_T = TypeVar("_T")

class SpawnedLink:
    """Wraps a callback so that it runs in a greenlet of its own when the linked greenlet has ended."""

    callback: Callable[[Any], object]
    def __init__(self, callback: Callable[[Any], object]) -> None: ...
    def __call__(self, source: Greenlet) -> None: ...
    def __eq__(self, other: object) -> bool: ...
    def __hash__(self) -> int: ...

class SuccessSpawnedLink(SpawnedLink):
    """Called only if the greenlet ended without an error."""

class FailureSpawnedLink(SpawnedLink):
    """Called only if the greenlet ended with an error."""

@disjoint_base
class Greenlet(CoreGreenlet, Generic[_P, _T_co]):
    """A function running concurrently on the hub of the thread that made it.

    Give a callable and its arguments, or subclass and define `_run(self, *args, **kwargs)`, or set `_run` before it
    begins; without any it does nothing. It begins when the current greenlet next blocks, after `start()`; `spawn()` does
    both. It runs in a copy of the contextvars context of its maker.

    Usable in `with`, whose end waits for its end; if the block raises, that is raised in the greenlet too, as by `kill`.
    """
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    args: tuple[Any, ...]
    """The positional arguments; emptied when it has ended."""
    kwargs: dict[str, Any]
    """The keyword arguments; emptied when it has ended."""
    name: str
    """A name for people; `Greenlet-N` unless it was set."""
    spawn_tree_locals: dict[Any, Any]
    """A dict shared by all greenlets that descend from the same one."""
    @overload
    def __init__(self, run: None = None, *args: Any, **kwargs: Any) -> None: ...
    @overload
    def __init__(self, run: Callable[_P, _T_co], *args: _P.args, **kwargs: _P.kwargs) -> None: ...
    def run(self) -> None:
        """The body of the greenlet; switched to by the hub, not to be called."""
    def start(self) -> None:
        """Have the hub begin it soon. Does not block. Starting it again does nothing."""
    def start_later(self, seconds: float) -> None:
        """Have the hub begin it in `seconds`. Raises ValueError for a negative time."""
    # Without a callable: a subclass that defines _run, which gets the arguments.
    @overload
    @classmethod
    def spawn(cls, run: Callable[_P, _T_co], *args: _P.args, **kwargs: _P.kwargs) -> Self:
        """Make one with these arguments and start it."""
    @overload
    @classmethod
    def spawn(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    @classmethod
    def spawn_later(cls, seconds: float, run: Callable[_P, _T_co], *args: _P.args, **kwargs: _P.kwargs) -> Self:
        """Make one with these arguments and start it in `seconds`."""
    @overload
    @classmethod
    def spawn_later(cls, seconds: float, *args: Any, **kwargs: Any) -> Self: ...
    def kill(
        self,
        exception: BaseException | type[BaseException] = ...,
        block: bool = True,
        timeout: float | Timeout | None = None,
    ) -> None:
        """Raise `exception` (a class or an instance) in it, where it is parked or at its next blocking call.

        One that has not begun never will. With `block`, wait until it has ended, at most `timeout` seconds. Killing
        it again, or after it ended, does nothing.
        """
    def ready(self) -> bool:
        """True if it has ended, one way or another."""
    def successful(self) -> bool:
        """True if it has ended without an error; GreenletExit is no error."""
    @property
    def dead(self) -> bool:
        """True if it has ended."""
    @property
    def started(self) -> bool:
        """True from `start()` on, until it has ended."""
    def __bool__(self) -> bool: ...
    @property
    def value(self) -> _T_co | None:
        """What it returned; None before that or after an error; a GreenletExit if it was killed."""
    @property
    def exception(self) -> BaseException | None:
        """The exception it ended with, or None."""
    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None] | tuple[()]:
        """`(type, exception, traceback)` of the error it ended with; empty if there was none."""
    def join(self, timeout: float | Timeout | None = None) -> None:
        """Block until it has ended, at most `timeout` seconds. Never raises its error."""
    def get(self, block: bool = True, timeout: float | Timeout | None = None) -> _T_co:
        """Return what it returned or raise what it raised; block until it has ended, at most `timeout` seconds.

        Raises Timeout when the time is over, or at once if `block` is false and it has not ended.
        """
    def __await__(self) -> Generator[Any, None, _T_co]:
        """`await greenlet`: its value or error, in a coroutine, which kills it when it is cancelled itself.

        If it was killed, that is asyncio.CancelledError. Needs a loop of `gevlite.asyncio`.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    def rawlink(self, callback: Callable[[Self], object]) -> None:
        """Have the hub call `callback(self)` when it has ended (soon, if it has).

        Links are called in their order, and before a greenlet that waits for the end of this one goes on.
        """
    def link(self, callback: Callable[[Self], object], SpawnedLink: type[SpawnedLink] = ...) -> None:
        """Run `callback(self)` in a new greenlet when it has ended."""
    def link_value(self, callback: Callable[[Self], object], SpawnedLink: type[SpawnedLink] = ...) -> None:
        """`link`, but only if it ends without an error."""
    def link_exception(self, callback: Callable[[Self], object], SpawnedLink: type[SpawnedLink] = ...) -> None:
        """`link`, but only if it ends with an error."""
    def unlink(self, callback: Callable[[Self], object]) -> None:
        """Take back a link, also when the call is due already. An unknown one is ignored."""
    def unlink_all(self) -> None:
        """Take back all links."""
    def has_links(self) -> int:
        """The number of links that are still to be called."""
    def _on_end(self, callback: Callable[[Self], object]) -> bool:
        """Have `callback(self)` called where it ends, before its waiters are woken. It must not block.

        False, and no call, if it has ended. This is how a pool counts: after a `join` of a member its place is free, and it
        becomes free even if the hub is being destroyed.
        """
    def _after_links(self, function: Callable[[], object]) -> None:
        """Call `function` when the links that were due at its end have been called, and what they spawned has begun.

        The hub makes its calls one after the other, and those links come first.
        """
    def _off_end(self, callback: Callable[[Self], object]) -> None:
        """Take back `_on_end`. An unknown one is ignored."""
    @property
    def loop(self) -> Any:
        """`hub.loop` of its hub."""
    @property
    def minimal_ident(self) -> int:
        """A small number that no other greenlet of the process has."""
    @property
    def spawning_greenlet(self) -> ref[_greenlet.greenlet]:
        """A weak reference to the greenlet that made it; call it to get the greenlet or None."""
    @property
    def spawning_stack(self) -> StackSummary | None:
        """Where it was made, a `traceback.StackSummary` of the innermost frame, or of as many as
        `set_spawning_stack_limit` says; None if that is 0, or if no Python code made it.
        """
    @property
    def spawning_stack_limit(self) -> int:
        """How many frames `spawning_stack` of new greenlets holds, see `set_spawning_stack_limit`."""
    @staticmethod
    def set_spawning_stack_limit(limit: int) -> None:
        """Remember so many frames where each greenlet is made. 1, the default, costs next to nothing, more do; 0 is none."""
    @staticmethod
    def add_spawn_callback(callback: Callable[[Greenlet], object]) -> None:
        """Have `callback(greenlet)` called at each start of a greenlet, in the greenlet that starts it."""
    @staticmethod
    def remove_spawn_callback(callback: Callable[[Greenlet], object]) -> None:
        """Take back `add_spawn_callback`. An unknown one is ignored."""

def spawn(run: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Greenlet[..., _T]:
    """Start `run(*args, **kwargs)` in a new Greenlet, which begins when the current one next blocks. Returns it.

    Raises TypeError if `run` cannot be called, or is async.
    """

def spawn_later(seconds: float, run: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Greenlet[..., _T]:
    """`spawn` that begins in `seconds`. Raises ValueError for a negative time."""

def spawn_raw(function: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> _greenlet.greenlet:
    """Start a bare `greenlet.greenlet`: the least overhead, but nothing to join, kill politely or read a result from."""

def kill(greenlet: _greenlet.greenlet, exception: BaseException | type[BaseException] = ...) -> None:
    """Have `exception` raised in any greenlet, gevlite's or a bare one, soon. Does not wait for its end."""

def killall(
    greenlets: Iterable[_greenlet.greenlet],
    exception: BaseException | type[BaseException] = ...,
    block: bool = True,
    timeout: float | Timeout | None = None,
) -> None:
    """Kill all of `greenlets`. With `block`, wait until they have ended; Timeout is raised after `timeout` seconds."""

# Whatever else can be waited for, futures for example, may be among them.
def joinall(
    greenlets: Iterable[_T], timeout: float | Timeout | None = None, raise_error: bool = False, count: int | None = None
) -> list[_T]:
    """Block until all of `greenlets` have ended, or `count` of them, or for `timeout` seconds.

    Returns those that have ended, in the order in which they did. With `raise_error`, the first error among them is raised
    as soon as it happens.
    """

class _Iwait(Iterator[_T]):
    """The iterator of `iwait`, a context manager too."""
    def __init__(self, objects: Iterable[_T] | None, timeout: float | Timeout | None, count: int | None) -> None: ...
    def __next__(self) -> _T: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...

@overload
def iwait(objects: None, timeout: float | Timeout | None = None, count: int | None = None) -> _Iwait[bool]:
    """Yield each of `objects` as it becomes ready: greenlets, events, results, semaphores, anything with `rawlink`.

    Blocks between them; ends after `count` of them or `timeout` seconds, counted from the first step. Inside a `with`
    statement the links are removed at its end even if the iteration is abandoned. A Timeout given as `timeout` limits
    each wait between two steps, with what is left of it if it runs.
    """

@overload
def iwait(objects: Iterable[_T], timeout: float | Timeout | None = None, count: int | None = None) -> _Iwait[_T]: ...
@overload
def wait(objects: None = None, timeout: float | Timeout | None = None, count: int | None = None) -> bool:
    """Block until all of `objects` are ready, or `count` of them, or for `timeout` seconds; return the ready ones.

    They may be any mixture of greenlets, events, results and semaphores. Without `objects`: block until the hub has nothing
    left to do, and return True, or False after `timeout` seconds.
    """

@overload
def wait(objects: Iterable[_T], timeout: float | Timeout | None = None, count: int | None = None) -> list[_T]: ...
