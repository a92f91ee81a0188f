"""`gevlite.config`: every setting, with its environment variable, default, check and description, in this one place.

A setting is a descriptor of `Config`. Its value is the one that the program assigned, else that of its environment
variable, else its default. The environment is read each time the value is needed; an empty variable counts as unset.

Settings that gevent has, but gevlite has under another name or not at all, are `GeventSetting`s. They may be assigned,
or set in gevent's variables (GEVENT_...), and do what they do in gevent. One that means nothing here is accepted, and a
RuntimeWarning says once that it has no effect.

The core reads its settings from here, so this module imports nothing of gevlite. An assignment that must reach the core
calls `Setting.assigned`, which the core sets.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar, overload

from gevlite._core import Backend

__all__ = ["Config", "Setting", "config"]

# What a setting yields, and what may be assigned to it.
_T = TypeVar("_T")
_A = TypeVar("_A")

PREFIX: str

class Setting(Generic[_T, _A]):
    """One setting of `Config`; its environment variable is GEVLITE_ and its name in capitals.

    gevent: gevent's variable for the same setting, read if ours is not set. gevent_names: the names in it that mean
    something here; None: all do.

    default: the value if it is not set anywhere. check(value): takes what was assigned, or the variable's text; returns
    the value, or raises ValueError or TypeError. must_be: how such an error describes a valid value. assigned(value):
    makes an assignment take effect, or raises to refuse it. empty: what an empty variable means; None: it is not set.
    """

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
        empty: str | None = None,
    ) -> None: ...
    def __set_name__(self, owner: type, name: str) -> None: ...
    @overload
    def __get__(self, config: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, config: Config, owner: type | None = None) -> _T: ...
    def __set__(self, config: Config, value: _A) -> None: ...
    def source(self, config: Config) -> str:
        """Where the value comes from, as users write it: an assignment, an environment variable, or "default"."""

def as_text(value: object) -> str:
    """A value as an environment variable would contain it."""

class GeventSetting:
    """A setting that only gevent has. variable: gevent's. note: why it has no effect here; None: it has one."""

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
    def say_note(self, source: str) -> None:
        """Warn, once, that it has no effect."""

class Config:
    """The settings of gevlite; `gevlite.config` is the one instance.

    Reading a setting raises ValueError if the value of its environment variable is invalid. Assigning an invalid value
    raises ValueError or TypeError. Any other name is an AttributeError.
    """

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
    """gevent's name of `backend`."""
    def set(self, name: str, value: object) -> None:
        """`setattr`, under gevent's name."""
    backend: Setting[tuple[str, ...] | type[Backend] | None, str | list[str] | tuple[str, ...] | type[Backend] | None]
    """The event loop's backend: a name (`epoll`), a list of names in order of preference (`kqueue,epoll,select`), of which the first usable one is used, or a class of your own as `package.module:Class`. A program may also assign a sequence of names, or the class itself. None means the best backend of the platform. Assign it before the first hub is made; afterwards an assignment raises RuntimeError. If nothing in the list is usable, BackendError lists the backends that are."""
    resolver: Setting[tuple[str, ...] | type[Any], str | list[str] | tuple[str, ...] | type[Any]]
    """How host names are looked up: a resolver's name (`thread`), a list of names in order of preference, or `package.module:Class`. A program may also assign a sequence of names, or a class, which is called with the hub. A hub reads the setting when it first looks up a name."""
    threadpool_size: Setting[int, int | str]
    """The maximum number of threads in the pool of each hub, `hub.threadpool`. An assignment affects pools made after it."""
    threadpool_idle_task_timeout: Setting[float, float | str]
    """A thread of `hub.threadpool` ends after this many seconds without work; -1 means never. An assignment affects pools made after it."""
    stack_cache: Setting[int, int | str]
    """How many 16 KiB stack chunks of ended greenlets the process keeps for new ones; 0 turns the cache off. An assignment takes effect at once."""
    monkey_drivers: Setting[bool, bool | str]
    """If true, after `monkey.patch_all()` the import of a driver in C that waits by itself, and so blocks all greenlets, warns once and names a remedy. It also gives psycopg2 and grpc their remedy: a wait callback, and grpc's own support for gevent."""
    monkey_strict: Setting[bool, bool | str]
    """If true, `monkey.patch_all()` refuses to patch and raises MonkeyPatchError where it would otherwise warn that something was imported or made too early. Its argument `strict` overrides this setting."""
    monitor_thread: Setting[bool, bool | str | None]
    """If true, an OS thread watches each hub for a greenlet or callback that runs for a long time without letting others run. The setting affects hubs made after it; their thread starts when the hub first runs. `hub.start_periodic_monitoring_thread()` starts one at any time."""
    max_blocking_time: Setting[float | None, float | str | None]
    """The monitoring thread reports a greenlet that runs for this many seconds without a switch; it checks this often. With 0, or if a program assigns None, it does not check. An assignment takes effect after the next check."""
    print_blocking_reports: Setting[bool, bool | str | None]
    """Whether the monitoring thread prints its reports. Subscribers of `gevlite.events` are called in any case."""
    memory_monitor_period: Setting[float | None, float | str | None]
    """How often, in seconds, the monitoring thread checks the memory use of the process if `max_memory_usage` is set; at most every 2 seconds. With 0, or if a program assigns None, it does not check."""
    max_memory_usage: Setting[int | None, int | str | None]
    """When the process uses more bytes of its own than this, the monitoring thread calls the subscribers of `gevlite.events`. Text may end with `kb`, `mb` or `gb`. None means no limit."""
    fork_keeps: Setting[str, str]
    """Which of the parent's greenlets continue in the child of a fork, besides the one that forks. `main`: all of them if the main greenlet forks (as servers do to fork their workers), none if another greenlet forks. `none`: never any, as with threads. `all`: always all, including the main greenlet, as in gevent. The setting is read at each fork. Threads of a patched program never continue."""
    inspect: Setting[bool, bool | str | None]
    """If true, `python -m gevlite ps`, `top` and `attach` of the same user reach the process, so that this user can do everything in it: an OS thread, which costs nothing until one of these commands connects, listens at a UNIX socket in `$XDG_RUNTIME_DIR/gevlite`, or else in `gevlite-UID` in the folder for temporary files. The setting takes effect when a hub is made. Each child of a fork has its own socket. From Python 3.14 on, they need it only while the main thread is blocked. Because of the thread, Python 3.12 and later give a DeprecationWarning at a fork."""
    dump_signal: Setting[int | None, int | str | None]
    """A signal, such as `USR1`, on which the process writes what `python -m gevlite ps` shows to stderr, or to `dump_file`. It takes effect when the hub of the main thread is made, unless the program handles that signal."""
    dump_file: Setting[str | None, str | os.PathLike[str] | None]
    """The regular file to which `dump_signal` appends its reports; None means stderr, as for a file that cannot be opened."""
    watch: Setting[float, float | str | None]
    """When a greenlet has held its hub for this many seconds while others wait, a line in the log (`gevlite.watch`) says where: see [A greenlet blocks the others](debugging.md#a-greenlet-blocks-the-others). 0, None and an empty variable turn it off. An assignment takes effect at once. In gunicorn's worker, Celery's pool and `python -m gevlite run` the default is 1 second."""
    time_slice: Setting[float, float | str | None]
    """A greenlet of the main thread that has run for this many seconds gives way to the others, in the middle of what it computes, as if it had called `gevlite.sleep(0)`. 0.01 is a good value; 0, None and an empty variable turn it off. An assignment takes effect at once. If it turns time slices on, it must be made in the main thread."""
    time_slice_signal: Setting[int | None, int | str | None]
    """The signal that `time_slice` uses inside the process, without ever sending one; None means SIGURG. It must be one that the program does not handle: if it does, a hub with time slices is refused with a ValueError. If the program sets a handler for it later, time slices end with a RuntimeWarning."""
    @property
    def settings(self) -> Mapping[str, Setting[Any, Any]]:
        """All settings by name; each has `name`, `variable`, `default`, `must_be` and `__doc__`."""

GEVENT_SETTINGS: Mapping[str, GeventSetting]
SETTINGS: Mapping[str, Setting[Any, Any]]
config: Config
"""All settings; see the class. docs/configuration.md describes each."""
