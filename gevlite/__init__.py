"""gevlite: ordinary blocking code, concurrent on one thread.

Greenlets switch in user space whenever one of them would block. Each OS thread has a hub, written in Cython, which
wakes the greenlets whose socket, timer or lock is ready. `gevlite.monkey.patch_all()` makes the standard library
cooperative.
"""

from importlib import import_module
from sys import getswitchinterval, setswitchinterval

from gevlite import _gil as _gil

try:
    from gevlite import _core as _core
except ImportError:
    from importlib.util import find_spec

    if find_spec("gevlite._core") is None:
        raise ImportError(
            f"{__path__[0]} is gevlite's source folder, and gevlite is not built: run `pip install -e .` beside it"
        ) from None
    raise
from gevlite import _parts, backends as backends
from gevlite._config import config
from gevlite._core import get_hub, sleep
from gevlite._slices import uninterrupted
from gevlite._version import __version__
from gevlite.exceptions import LoopExit
from gevlite.greenlet import (
    FailureSpawnedLink,
    Greenlet,
    GreenletExit,
    SpawnedLink,
    SuccessSpawnedLink,
    getcurrent,
    iwait,
    joinall,
    kill,
    killall,
    spawn,
    spawn_later,
    spawn_raw,
    wait,
)
from gevlite.hub import fork, idle, reinit
from gevlite.signal import signal_handler
from gevlite.taskgroup import CancelScope, TaskGroup, fail_after, move_on_after
from gevlite.timeout import Timeout, with_timeout

_parts.register()

# Modules that `import gevlite` alone does not load; the first use of `gevlite.queue`, for example, does.
_MODULES = frozenset(
    "asyncio backdoor baseserver builtins contextvars core event events exceptions fileobject greenlet hub"
    " integrations local lock loop metrics monkey os pool profile pywsgi queue resolver select selectors serve"
    " server signal socket ssl subprocess taskgroup testing thread threading threadpool time timeout trace util"
    " websocket".split()
)

# Names that users expect here, each with its module.
_ELSEWHERE = {
    "AsyncResult": "event",
    "BoundedSemaphore": "lock",
    "Channel": "queue",
    "DatagramServer": "server",
    "Event": "event",
    "Group": "pool",
    "JoinableQueue": "queue",
    "Pool": "pool",
    "Queue": "queue",
    "RLock": "lock",
    "Semaphore": "lock",
    "StreamServer": "server",
    "ThreadPool": "threadpool",
    "WSGIServer": "pywsgi",
    "patch_all": "monkey",
}

TYPE_CHECKING = False  # type checkers treat it as that of `typing`, whose import costs milliseconds
if not TYPE_CHECKING:  # otherwise type checkers would believe that every name exists

    def __getattr__(name):
        if name in _MODULES:
            return import_module(f"gevlite.{name}")
        hint = f": it is gevlite.{_ELSEWHERE[name]}.{name}" if name in _ELSEWHERE else ""
        raise AttributeError(f"module 'gevlite' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


__all__ = [
    "CancelScope",
    "FailureSpawnedLink",
    "Greenlet",
    "GreenletExit",
    "LoopExit",
    "SpawnedLink",
    "SuccessSpawnedLink",
    "TaskGroup",
    "Timeout",
    "__version__",
    "config",
    "fail_after",
    "fork",
    "get_hub",
    "getcurrent",
    "getswitchinterval",
    "idle",
    "iwait",
    "joinall",
    "kill",
    "killall",
    "move_on_after",
    "reinit",
    "setswitchinterval",
    "signal_handler",
    "sleep",
    "spawn",
    "spawn_later",
    "spawn_raw",
    "uninterrupted",
    "wait",
    "with_timeout",
]
