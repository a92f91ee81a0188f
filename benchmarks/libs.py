"""One adapter for each library, so that a case body need not know which one it runs on.

Nothing is imported before a body asks for it: a case that starts servers elsewhere leaves its own process clean.
"""

import importlib
import os

_MODULE_OF = {
    "AsyncResult": "event",
    "Event": "event",
    "Pool": "pool",
    "PriorityQueue": "queue",
    "Queue": "queue",
    "RLock": "lock",
    "Semaphore": "lock",
    "ThreadPool": "threadpool",
    "local": "local",
    "monkey": "monkey",
    "socket": "socket",
}


def is_coroutine(body) -> bool:
    return bool(body.__code__.co_flags & 0x80)  # inspect.CO_COROUTINE, without the cost of importing inspect


class Library:
    """A library known only by its name: raw greenlet, the C floor, plain Python."""

    def __init__(self, name: str):
        self.name = name

    def run(self, body, n):
        return body(self, n)


class GreenLibrary(Library):
    """gevent, and what has its interface: `spawn, sleep, joinall, Timeout, Event, Queue, Pool, socket, ...`."""

    def __getattr__(self, attribute):
        module = importlib.import_module(self.name)
        if attribute in _MODULE_OF:
            module = importlib.import_module(f"{self.name}.{_MODULE_OF[attribute]}")
        value = module if attribute in ("socket", "monkey") else getattr(module, attribute)
        setattr(self, attribute, value)  # from now on it costs what an attribute costs
        return value

    def timer_functions(self):
        """`start(seconds, callback) -> handle` and `cancel(handle)`, the cheapest public way to a timer."""
        timer = self.get_hub().loop.timer

        def start(seconds, callback):
            handle = timer(seconds)
            handle.start(callback)
            return handle

        def cancel(handle):
            handle.stop()
            handle.close()

        return start, cancel


class Gevlite(GreenLibrary):
    def timer_functions(self):
        return self.get_hub().call_later, lambda handle: handle.stop()


class AsyncLibrary(Library):
    """asyncio and uvloop. A body that is a coroutine function runs in their loop."""

    def run(self, body, n):
        if not is_coroutine(body):
            return body(self, n)
        return importlib.import_module(self.name).run(body(self, n))


_CLASSES = {"gevlite": Gevlite, "gevent": GreenLibrary, "asyncio": AsyncLibrary, "uvloop": AsyncLibrary}


def load(name: str) -> Library:
    """The adapter for `name`. "gevlite:select" is gevlite on that backend."""
    name, _, backend = name.partition(":")
    if backend:
        os.environ["GEVLITE_BACKEND"] = backend
    return _CLASSES.get(name, Library)(name)
