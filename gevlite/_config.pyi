from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar, overload

from gevlite._core import Backend

__all__ = ["Config", "Setting", "config"]

# What a setting yields, and what may be assigned to it.
_T = TypeVar("_T")
_A = TypeVar("_A")

PREFIX: str

class Setting(Generic[_T, _A]):
    default: _T
    check: Callable[[Any], _T]
    must_be: str
    assigned: Callable[[_T], object] | None
    name: str
    variable: str
    def __init__(
        self,
        default: _T,
        check: Callable[[Any], _T],
        must_be: str,
        doc: str,
        assigned: Callable[[_T], object] | None = None,
        gevent: str | None = None,
        gevent_names: tuple[str, ...] | None = None,
    ) -> None: ...
    def __set_name__(self, owner: type, name: str) -> None: ...
    @overload
    def __get__(self, config: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, config: Config, owner: type | None = None) -> _T: ...
    def __set__(self, config: Config, value: _A) -> None: ...
    def source(self, config: Config) -> str: ...

def as_text(value: object) -> str: ...

class GeventSetting:
    name: str
    variable: str
    default: Any
    note: str | None
    check: Callable[[Any], Any]
    must_be: str
    def __init__(
        self, variable: str, default: Any, check: Callable[[Any], Any], must_be: str, note: str | None = None
    ) -> None: ...
    def __set_name__(self, owner: type, name: str) -> None: ...
    @overload
    def __get__(self, config: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, config: Config, owner: type | None = None) -> Any: ...
    def __set__(self, config: Config, value: Any) -> None: ...
    def say_note(self, source: str) -> None: ...

class Config:
    threadpool: GeventSetting
    fileobject: GeventSetting
    format_context: GeventSetting
    resolver_nameservers: GeventSetting
    resolver_timeout: GeventSetting
    ares_servers: GeventSetting
    ares_timeout: GeventSetting
    ares_tries: GeventSetting
    ares_ndots: GeventSetting
    ares_flags: GeventSetting
    ares_udp_port: GeventSetting
    ares_tcp_port: GeventSetting
    loop: GeventSetting
    disable_watch_children: GeventSetting
    trace_malloc: GeventSetting
    track_greenlet_tree: GeventSetting
    libev_backend: Any
    def set(self, name: str, value: object) -> None: ...
    backend: Setting[tuple[str, ...] | type[Backend] | None, str | list[str] | tuple[str, ...] | type[Backend] | None]
    resolver: Setting[tuple[str, ...] | type[Any], str | list[str] | tuple[str, ...] | type[Any]]
    threadpool_size: Setting[int, int | str]
    threadpool_idle_task_timeout: Setting[float, float | str]
    stack_cache: Setting[int, int | str]
    monkey_strict: Setting[bool, bool | str]
    monitor_thread: Setting[bool, bool | str | None]
    max_blocking_time: Setting[float | None, float | str | None]
    print_blocking_reports: Setting[bool, bool | str | None]
    memory_monitor_period: Setting[float | None, float | str | None]
    max_memory_usage: Setting[int | None, int | str | None]
    fork_keeps: Setting[str, str]
    @property
    def settings(self) -> Mapping[str, Setting[Any, Any]]: ...

GEVENT_SETTINGS: Mapping[str, GeventSetting]
SETTINGS: Mapping[str, Setting[Any, Any]]
config: Config
