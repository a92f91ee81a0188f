from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Self

from _typeshed import SupportsWrite
from greenlet import greenlet as _Greenlet

__all__ = ["GreenletTree", "assert_switches", "dump_stacks", "format_run_info", "print_run_info", "wrap_errors"]

class wrap_errors:
    def __init__(
        self, errors: type[BaseException] | tuple[type[BaseException], ...], func: Callable[..., Any]
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __getattr__(self, name: str) -> Any: ...

class assert_switches:
    max_blocking_time: float | None
    hub_only: bool
    def __init__(self, max_blocking_time: float | None = None, hub_only: bool = False) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None: ...

def dump_stacks() -> str: ...
def print_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    file: SupportsWrite[str] | None = None,
) -> None: ...
def format_run_info(
    thread_stacks: bool = True,
    greenlet_stacks: bool = True,
    limit: int | None = None,
    current_thread_ident: int | None = None,
) -> list[str]: ...

class GreenletTree:
    DEFAULT_DETAILS: ClassVar[dict[str, Any]]
    is_current_tree: bool
    greenlet: _Greenlet
    child_trees: list[GreenletTree]
    def __init__(self, greenlet: _Greenlet) -> None: ...
    def add_child(self, tree: GreenletTree) -> None: ...
    @property
    def root(self) -> bool: ...
    @classmethod
    def forest(cls) -> list[GreenletTree]: ...
    @classmethod
    def current_tree(cls) -> GreenletTree: ...
    def format_lines(self, details: bool | dict[str, Any] = True) -> list[str]: ...
    def format(self, details: bool | dict[str, Any] = True) -> str: ...
