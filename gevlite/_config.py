"""`gevlite.config`: every setting, with its environment variable, default, check and description, in this one place.

A setting is a descriptor of `Config`. Its value is the one that the program assigned, else that of its environment
variable, else its default. The environment is read each time the value is needed; an empty variable counts as unset.

Settings that gevent has, but gevlite has under another name or not at all, are `GeventSetting`s. They may be assigned,
or set in gevent's variables (GEVENT_...), and do what they do in gevent. One that means nothing here is accepted, and a
RuntimeWarning says once that it has no effect.

The core reads its settings from here, so this module imports nothing of gevlite. An assignment that must reach the core
calls `Setting.assigned`, which the core sets.
"""

import _signal
import importlib
import operator
import os
import warnings
from types import MappingProxyType

__all__ = ["Config", "Setting", "config"]

PREFIX = "GEVLITE_"


class Setting:
    """One setting of `Config`; its environment variable is GEVLITE_ and its name in capitals.

    gevent: gevent's variable for the same setting, read if ours is not set. gevent_names: the names in it that mean
    something here; None: all do.

    default: the value if it is not set anywhere. check(value): takes what was assigned, or the variable's text; returns
    the value, or raises ValueError or TypeError. must_be: how such an error describes a valid value. assigned(value):
    makes an assignment take effect, or raises to refuse it. empty: what an empty variable means; None: it is not set.
    """

    def __init__(self, default, check, must_be, doc, assigned=None, gevent=None, gevent_names=None, empty=None):
        self.default = default
        self.check = check
        self.must_be = must_be
        self.assigned = assigned
        self.gevent = gevent
        self.gevent_names = gevent_names
        self.empty = empty
        self._said = False
        self.__doc__ = doc

    def __set_name__(self, owner, name):
        self.name = name
        self.variable = PREFIX + name.upper()

    def __get__(self, config, owner=None):
        if config is None:
            return self
        if self.name in config._assigned:
            return config._assigned[self.name]
        variable, text = self._environment()
        return self._checked(text, variable) if text else self.default

    def __set__(self, config, value):
        value = self._checked(value, f"gevlite.config.{self.name}")
        if self.assigned is not None:
            self.assigned(value)
        config._assigned[self.name] = value

    def source(self, config):
        """Where the value comes from, as users write it: an assignment, an environment variable, or "default"."""
        if self.name in config._assigned:
            return f"gevlite.config.{self.name}={as_text(config._assigned[self.name])}"
        variable, text = self._environment()
        return f"{variable}={text}" if text else "default"

    def _environment(self):
        """`(variable, text)`; the text is empty if there is none."""
        text = os.environ.get(self.variable, "").strip()
        if not text and self.empty is not None and self.variable in os.environ:
            return self.variable, self.empty
        if not text and self.gevent is not None:
            text = os.environ.get(self.gevent, "").strip()
            if text and self.gevent_names is not None:
                known = ",".join(name for name in text.split(",") if name.strip() in self.gevent_names)
                if not known and not self._said:
                    self._said = True
                    note = f"{self.gevent}={text} has no effect: gevlite has none of these"
                    warnings.warn(note, RuntimeWarning, stacklevel=3)
                text = known
            if text:
                return self.gevent, text
        return self.variable, text

    def _checked(self, value, source):
        try:
            return self.check(value)
        except (TypeError, ValueError) as exc:
            raise type(exc)(f"{source} must be {self.must_be}, not {value!r}") from None

    def __repr__(self):
        return f"<setting {self.name}, {self.variable}, default {as_text(self.default)}>"


def as_text(value):
    """A value as an environment variable would contain it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else str(value)


# ---------------------------------------------------------------- checks


def _whole_number(least):
    def check(value):
        number = int(value) if isinstance(value, str) else operator.index(value)
        if number < least or isinstance(value, bool):
            raise ValueError
        return number

    return check


def _idle_seconds(value):
    seconds = float(value)
    if not (seconds > 0 or seconds == -1):  # so that NaN is refused too
        raise ValueError
    return seconds


def _seconds_or_none(value):
    """None for 0 too, as in gevent."""
    return None if value is None or value is not False and float(value) == 0 else _seconds(value)


_UNITS = {"kb": 1024, "mb": 1024**2, "gb": 1024**3}


def _bytes_or_none(value):
    if value is None:
        return None
    if isinstance(value, str):
        number, unit = value[:-2], value[-2:].lower()
        value = int(number) * _UNITS[unit] if unit in _UNITS else int(value)
    return _whole_number(1)(value)


def _names(value):
    """A tuple of names from a comma-separated text or a sequence of texts; at least one."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise TypeError
    names = tuple(part.strip() for part in parts if part.strip())
    if not names:
        raise ValueError
    return names


def _names_or_class(value):
    return value if isinstance(value, type) else _names(value)


def _seconds_or_off(value):
    """At least 0.01; 0 for None and False."""
    seconds = float(value) if value is not None else 0.0
    if value is True or not (seconds == 0 or 0.01 <= seconds <= 1e6):
        raise ValueError
    return seconds


def _slice_or_off(value):
    """At least 0.001; 0 for None and False."""
    seconds = float(value) if value is not None else 0.0
    if value is True or not (seconds == 0 or 0.001 <= seconds <= 1e6):
        raise ValueError
    return seconds


def _one_of(*names):
    def check(value):
        if not isinstance(value, str):
            raise TypeError
        if value not in names:
            raise ValueError
        return value

    return check


def _signal_or_none(value):
    if value is None:
        return None
    if isinstance(value, str) and not value.strip().isdigit():
        name = value.strip().upper().removeprefix("SIG")
        number = getattr(_signal, f"SIG{name}", None)
        if not isinstance(number, int) or name.startswith("_"):
            raise ValueError
        return int(number)
    number = int(value) if isinstance(value, str) else operator.index(value)
    if not 0 < number < _signal.NSIG or isinstance(value, bool):
        raise ValueError
    return int(number)


def _path_or_none(value):
    if value is None:
        return None
    path = os.fspath(value)
    if not isinstance(path, str) or not path or path.endswith(os.sep):
        raise ValueError
    return path


def _backend(value):
    return None if value is None else _names_or_class(value)


# ---------------------------------------------------------------- the settings


class GeventSetting:
    """A setting that only gevent has. variable: gevent's. note: why it has no effect here; None: it has one."""

    def __init__(self, variable, default, check, must_be, note=None):
        self.variable = variable
        self.default = default
        self.check = check
        self.must_be = must_be
        self.note = note

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, config, owner=None):
        if config is None:
            return self
        if self.name in config._assigned:
            return config._assigned[self.name]
        text = os.environ.get(self.variable, "").strip()
        return self._checked(text, self.variable) if text else self.default

    def __set__(self, config, value):
        value = None if value is None else self._checked(value, f"gevlite.config.{self.name}")
        self.say_note(f"gevlite.config.{self.name}")
        config._assigned[self.name] = value

    def say_note(self, source):
        """Warn, once, that it has no effect."""
        if self.note is not None:
            warnings.warn(f"{source} has no effect: {self.note}", RuntimeWarning, stacklevel=4)
            self.note = None

    def _checked(self, value, source):
        try:
            return self.check(value)
        except (TypeError, ValueError, ImportError, AttributeError):
            raise ValueError(f"{source} must be {self.must_be}, not {value!r}") from None

    def __repr__(self):
        return f"<setting {self.name} of gevent, {self.variable}, default {self.default!r}>"


_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


def _yes_or_no(value):
    if isinstance(value, str):
        if value.lower() not in _YES + _NO:
            raise ValueError
        return value.lower() in _YES
    return bool(value)


def _list(value):
    parts = value.split(",") if isinstance(value, str) else list(value)
    return [part.strip() for part in parts if part.strip()]


def _seconds(value):
    seconds = float(value)
    if not seconds > 0:
        raise ValueError
    return seconds


def _found(value):
    """The object named by `package.module.name` or `package.module:name`; gevent's modules are taken from gevlite.

    A value that is not a text is returned as it is.
    """
    if not isinstance(value, str):
        return value
    module, _, name = value.replace(":", ".").rpartition(".")
    package, dot, rest = module.partition(".")
    return getattr(importlib.import_module("gevlite" + dot + rest if package == "gevent" else module), name)


def _function(value):
    found = _found(value)
    if not callable(found):
        raise TypeError
    return found


def _anything(value):
    return value


class Config:
    """The settings of gevlite; `gevlite.config` is the one instance.

    Reading a setting raises ValueError if the value of its environment variable is invalid. Assigning an invalid value
    raises ValueError or TypeError. Any other name is an AttributeError.
    """

    __slots__ = ("_assigned",)

    def __init__(self):
        object.__setattr__(self, "_assigned", {})

    backend = Setting(
        None,
        _backend,
        "a backend's name, an order of preference, module:Class or a subclass of Backend",
        "The event loop's backend: a name (`epoll`), a list of names in order of preference (`kqueue,epoll,select`), "
        "of which the first usable one is used, or a class of your own as `package.module:Class`. A program may also "
        "assign a sequence of names, or the class itself. None means the best backend of the platform. Assign it "
        "before the first hub is made; afterwards an assignment raises RuntimeError. If nothing in the list is "
        "usable, BackendError lists the backends that are.",
        gevent="GEVENT_BACKEND",
        gevent_names=("epoll", "kqueue", "poll", "select"),
    )

    resolver = Setting(
        ("thread",),
        _names_or_class,
        "a resolver's name, an order of preference, module:Class or a class",
        "How host names are looked up: a resolver's name (`thread`), a list of names in order of preference, or "
        "`package.module:Class`. A program may also assign a sequence of names, or a class, which is called with the "
        "hub. A hub reads the setting when it first looks up a name.",
        gevent="GEVENT_RESOLVER",
    )

    threadpool_size = Setting(
        10,
        _whole_number(1),
        "a positive number of threads",
        "The maximum number of threads in the pool of each hub, `hub.threadpool`. An assignment affects pools made "
        "after it.",
    )

    threadpool_idle_task_timeout = Setting(
        30.0,
        _idle_seconds,
        "a number of seconds, or -1 for no limit",
        "A thread of `hub.threadpool` ends after this many seconds without work; -1 means never. An assignment "
        "affects pools made after it.",
        gevent="GEVENT_THREADPOOL_IDLE_TASK_TIMEOUT",
    )

    stack_cache = Setting(
        1024,
        _whole_number(0),
        "a number of 16 KiB chunks, 0 for none",
        "How many 16 KiB stack chunks of ended greenlets the process keeps for new ones; 0 turns the cache off. An "
        "assignment takes effect at once.",
    )

    monkey_strict = Setting(
        False,
        _yes_or_no,
        "yes or no",
        "If true, `monkey.patch_all()` refuses to patch and raises MonkeyPatchError where it would otherwise warn "
        "that something was imported or made too early. Its argument `strict` overrides this setting.",
    )

    monkey_drivers = Setting(
        True,
        _yes_or_no,
        "yes or no",
        "If true, after `monkey.patch_all()` the import of a driver in C that waits by itself, and so blocks all "
        "greenlets, warns once and names a remedy. It also gives psycopg2 and grpc their remedy: a wait callback, and "
        "grpc's own support for gevent.",
    )

    monitor_thread = Setting(
        False,
        _yes_or_no,
        "yes or no",
        "If true, an OS thread watches each hub for a greenlet or callback that runs for a long time without letting "
        "others run. The setting affects hubs made after it; their thread starts when the hub first runs. "
        "`hub.start_periodic_monitoring_thread()` starts one at any time.",
        gevent="GEVENT_MONITOR_THREAD_ENABLE",
    )

    max_blocking_time = Setting(
        0.1,
        _seconds_or_none,
        "a positive number of seconds, or 0 or None for never",
        "The monitoring thread reports a greenlet that runs for this many seconds without a switch; it checks this "
        "often. With 0, or if a program assigns None, it does not check. An assignment takes effect after the next "
        "check.",
        gevent="GEVENT_MAX_BLOCKING_TIME",
    )

    print_blocking_reports = Setting(
        True,
        _yes_or_no,
        "yes or no",
        "Whether the monitoring thread prints its reports. Subscribers of `gevlite.events` are called in any case.",
        gevent="GEVENT_MONITOR_PRINT_BLOCKING_REPORTS",
    )

    memory_monitor_period = Setting(
        5.0,
        _seconds_or_none,
        "a positive number of seconds, or 0 or None for never",
        "How often, in seconds, the monitoring thread checks the memory use of the process if `max_memory_usage` is "
        "set; at most every 2 seconds. With 0, or if a program assigns None, it does not check.",
        gevent="GEVENT_MONITOR_MEMORY_PERIOD",
    )

    max_memory_usage = Setting(
        None,
        _bytes_or_none,
        "a positive number of bytes, or one with kb, mb or gb, or None",
        "When the process uses more bytes of its own than this, the monitoring thread calls the subscribers of "
        "`gevlite.events`. Text may end with `kb`, `mb` or `gb`. None means no limit.",
        gevent="GEVENT_MONITOR_MEMORY_MAX",
    )

    fork_keeps = Setting(
        "main",
        _one_of("none", "main", "all"),
        "none, main or all",
        "Which of the parent's greenlets continue in the child of a fork, besides the one that forks. `main`: all of "
        "them if the main greenlet forks (as servers do to fork their workers), none if another greenlet forks. "
        "`none`: never any, as with threads. `all`: always all, including the main greenlet, as in gevent. The "
        "setting is read at each fork. Threads of a patched program never continue.",
    )

    inspect = Setting(
        False,
        _yes_or_no,
        "yes or no",
        "If true, `python -m gevlite ps`, `top` and `attach` of the same user reach the process, so that this user can "
        "do everything in it: an OS thread, which costs nothing until one of these commands connects, listens at a "
        "UNIX socket in `$XDG_RUNTIME_DIR/gevlite`, or else in `gevlite-UID` in the folder for temporary files. The "
        "setting takes effect when a hub is made. Each child of a fork has its own socket. From Python 3.14 on, they "
        "need it only while the main thread is blocked. Because of the thread, Python 3.12 and later give a "
        "DeprecationWarning at a fork.",
    )

    dump_signal = Setting(
        None,
        _signal_or_none,
        "the name or number of a signal",
        "A signal, such as `USR1`, on which the process writes what `python -m gevlite ps` shows to stderr, or to "
        "`dump_file`. It takes effect when the hub of the main thread is made, unless the program handles that signal.",
    )

    dump_file = Setting(
        None,
        _path_or_none,
        "the path of a file",
        "The regular file to which `dump_signal` appends its reports; None means stderr, as for a file that cannot be "
        "opened.",
    )

    watch = Setting(
        0.0,
        _seconds_or_off,
        "a number of seconds, at least 0.01, or 0 for off",
        "When a greenlet has held its hub for this many seconds while others wait, a line in the log (`gevlite.watch`) "
        "says where: see [A greenlet blocks the others](debugging.md#a-greenlet-blocks-the-others). 0, None and an "
        "empty variable turn it off. An assignment takes effect at once. In gunicorn's worker, Celery's pool and "
        "`python -m gevlite run` the default is 1 second.",
        empty="0",
    )

    time_slice = Setting(
        0.0,
        _slice_or_off,
        "a number of seconds, at least 0.001, or 0 for off",
        "A greenlet of the main thread that has run for this many seconds gives way to the others, in the middle of "
        "what it computes, as if it had called `gevlite.sleep(0)`. 0.01 is a good value; 0, None and an empty variable "
        "turn it off. An assignment takes effect at once. If it turns time slices on, it must be made in the main "
        "thread.",
        empty="0",
    )

    time_slice_signal = Setting(
        None,
        _signal_or_none,
        "the name or number of a signal",
        "The signal that `time_slice` uses inside the process, without ever sending one; None means SIGURG. It must be "
        "one that the program does not handle: if it does, a hub with time slices is refused with a ValueError. If the "
        "program sets a handler for it later, time slices end with a RuntimeWarning.",
    )

    # -------- settings that only gevent has

    threadpool = GeventSetting("GEVENT_THREADPOOL", None, _function, "the class of a thread pool, or its path")
    fileobject = GeventSetting("GEVENT_FILE", ("posix",), _names_or_class, "posix, thread or block")
    format_context = GeventSetting("GEVENT_FORMAT_CONTEXT", repr, _function, "a function, or its path")
    resolver_nameservers = GeventSetting("GEVENT_RESOLVER_NAMESERVERS", None, _list, "addresses of name servers")
    resolver_timeout = GeventSetting("GEVENT_RESOLVER_TIMEOUT", None, _seconds, "a number of seconds")
    ares_servers = GeventSetting("GEVENTARES_SERVERS", None, _list, "addresses of name servers")
    ares_timeout = GeventSetting("GEVENTARES_TIMEOUT", None, _seconds, "a number of seconds")
    ares_tries = GeventSetting("GEVENTARES_TRIES", None, _whole_number(1), "a number of tries")
    ares_ndots = GeventSetting("GEVENTARES_NDOTS", None, _whole_number(0), "a number of dots")
    ares_flags = GeventSetting("GEVENTARES_FLAGS", None, _whole_number(0), "a number")
    ares_udp_port = GeventSetting("GEVENTARES_UDP_PORT", None, _whole_number(1), "the number of a port")
    ares_tcp_port = GeventSetting("GEVENTARES_TCP_PORT", None, _whole_number(1), "the number of a port")
    loop = GeventSetting(
        "GEVENT_LOOP",
        None,
        _anything,
        "",
        "gevlite has one loop; GEVLITE_BACKEND selects the kernel interface below it",
    )
    disable_watch_children = GeventSetting(
        "GEVENT_NOWAITPID",
        False,
        _yes_or_no,
        "yes or no",
        "gevlite has no handler for SIGCHLD that could be turned off",
    )
    trace_malloc = GeventSetting("GEVENT_TRACE_MALLOC", False, _yes_or_no, "yes or no", "gevlite does not use CFFI")
    track_greenlet_tree = GeventSetting(
        "GEVENT_TRACK_GREENLET_TREE", True, _yes_or_no, "yes or no", "the tree of greenlets costs nothing in gevlite"
    )

    @property
    def libev_backend(self):
        """gevent's name of `backend`."""
        return self.backend

    @libev_backend.setter
    def libev_backend(self, value):
        self.backend = value

    def set(self, name, value):
        """`setattr`, under gevent's name."""
        setattr(self, name, value)

    @property
    def settings(self):
        """All settings by name; each has `name`, `variable`, `default`, `must_be` and `__doc__`."""
        return SETTINGS

    def __getattr__(self, name):
        raise AttributeError(_unknown(name))

    def __setattr__(self, name, value):
        if name not in SETTINGS and name not in GEVENT_SETTINGS and name != "libev_backend":
            raise AttributeError(_unknown(name))
        object.__setattr__(self, name, value)

    def __dir__(self):
        return [*SETTINGS, *GEVENT_SETTINGS, "libev_backend", "set", "settings"]

    def __repr__(self):
        return f"<gevlite.config: {', '.join(SETTINGS)}>"


SETTINGS = MappingProxyType({name: value for name, value in vars(Config).items() if isinstance(value, Setting)})
GEVENT_SETTINGS = {name: value for name, value in vars(Config).items() if isinstance(value, GeventSetting)}


def _unknown(name):
    from difflib import get_close_matches

    close = get_close_matches(name, SETTINGS, 1)
    guess = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(SETTINGS)}"
    return f"gevlite.config has no setting {name!r}{guess}"


#: All settings; see the class. docs/configuration.md describes each.
config = Config()

for _setting in GEVENT_SETTINGS.values():
    if os.environ.get(_setting.variable, "").strip():
        _setting.say_note(_setting.variable)
