"""gevent's module of this name: the loop, and the names of the backends. `hub.loop` is a `loop`."""

from time import time

from gevlite import backends
from gevlite._core import Callback as callback
from gevlite._version import __version__
from gevlite.loop import Loop as loop, Watcher as watcher

__all__ = [
    "MAXPRI",
    "MINPRI",
    "READ",
    "READWRITE",
    "WRITE",
    "callback",
    "embeddable_backends",
    "get_header_version",
    "get_version",
    "loop",
    "recommended_backends",
    "supported_backends",
    "time",
    "watcher",
]

# Values of `events` in `loop.io(fd, events)`.
READ = 1
WRITE = 2
READWRITE = READ | WRITE

MAXPRI, MINPRI = loop.MAXPRI, loop.MINPRI


def get_version() -> str:
    """The version of the loop: `gevlite-` and the version of gevlite."""
    return f"gevlite-{__version__}"


get_header_version = get_version


def supported_backends() -> list[str]:
    """The names of the backends that are installed."""
    return backends.names()


def recommended_backends() -> list[str]:
    """The names of the backends that can run here."""
    return [name for name, problem in backends.available().items() if problem is None]


def embeddable_backends() -> list[str]:
    """None: no backend can be put into another event loop."""
    return []
