"""The hub and what concerns it as a whole, under the names that gevent gives them."""

import os

from gevlite._core import Hub, Waiter, get_hub, register_hub_attribute, sleep
from gevlite.exceptions import BlockingSwitchOutError, InvalidSwitchError, LoopExit
from gevlite.greenlet import GreenletExit, getcurrent, kill, spawn_raw

__all__ = [
    "BlockingSwitchOutError",
    "GreenletExit",
    "Hub",
    "InvalidSwitchError",
    "LoopExit",
    "Waiter",
    "fork",
    "get_hub",
    "getcurrent",
    "idle",
    "kill",
    "reinit",
    "sleep",
    "spawn_raw",
]

# The real one, also when os.fork is patched.
_fork = os.fork


def _make_threadpool(hub):
    # Only who uses it pays for its import.
    from gevlite.threadpool import make_hub_pool

    return make_hub_pool(hub)


register_hub_attribute("threadpool", _make_threadpool)


def idle(priority=0):
    """Block until no greenlet and no file descriptor is ready: let everybody else go first. `priority` is ignored."""
    get_hub().wait_idle()


def fork():
    """`os.fork()`; the child gets a fresh backend for its hub. So does any fork: the core asks to be told of each."""
    return _fork()


def reinit(hub=None):
    """For code written for gevent: nothing to do, every fork already gives the child's hub a fresh backend."""


def _make_resolver(hub):
    # Only who uses it pays for its import.
    from gevlite.resolver import choose

    return choose()(hub)


register_hub_attribute("resolver", _make_resolver)
