"""Look at running greenlets, and check that code lets others run."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Self

from _typeshed import SupportsWrite
from greenlet import greenlet as _Greenlet

__all__ = ["GreenletTree", "assert_switches", "dump_stacks", "format_run_info", "print_run_info", "wrap_errors"]

class wrap_errors:
    """A function that calls `func`; if that raises one of `errors`, it returns the exception instead of raising it."""
    def __init__(
        self, errors: type[BaseException] | tuple[type[BaseException], ...], func: Callable[..., Any]
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...

class assert_switches:
    """A `with` block in which other greenlets must be able to run; for tests.

    At its end, unless an exception ends it, it raises AssertionError if the block has not switched to another greenlet,
    or if any greenlet of this thread ran for more than `max_blocking_time` seconds without a switch. hub_only: only a
    switch to the hub counts. `sleep(0)` switches only if another greenlet is ready.

    It sets greenlet's trace function, and passes all events on to the previous one.
    """

    max_blocking_time: float | None
    hub_only: bool
    def __init__(self, max_blocking_time: float | None = None, hub_only: bool = False) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None: ...

def dump_stacks() -> str:
    """An old function: `format_run_info` as one string."""

def print_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    file: SupportsWrite[str] | None = None,
) -> None:
    """Print `format_run_info` to `file`, by default sys.stderr."""

def format_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    current_thread_ident: int | None = None,
) -> list[str]:
    """A list of lines: the stacks of all threads and of all greenlets that have begun and not ended, as trees.

    limit: the maximum number of frames of each. current_thread_ident: the thread to mark as the current one. This goes
    through all objects of the process, so it takes a while.
    """

class GreenletTree:
    """A greenlet with, as its children, the greenlets that it spawned."""

    DEFAULT_DETAILS: ClassVar[dict[str, Any]]
    """The details that `format` shows."""
    is_current_tree: bool
    waits: str | None
    """What the greenlet waits for, in words; None if it is not parked."""
    greenlet: _Greenlet
    child_trees: list[GreenletTree]
    def __init__(self, greenlet: _Greenlet) -> None: ...
    def add_child(self, tree: GreenletTree) -> None:
        """Put a tree below this one, unless it is this one."""
    @property
    def root(self) -> bool:
        """True if its greenlet was not spawned by another: a thread's main greenlet, the hub, or one without a
        spawner.
        """
    @classmethod
    def forest(cls) -> list[GreenletTree]:
        """A list of the trees of all living greenlets of all threads."""
    @classmethod
    def current_tree(cls) -> GreenletTree:
        """The tree of the current greenlet."""
    def format_lines(self, details: bool | dict[str, Any] = True) -> list[str]:
        """A list of lines. details: False for the names only, or a dict like DEFAULT_DETAILS."""
    def format(self, details: bool | dict[str, Any] = True) -> str:
        """`format_lines` as one string."""
