"""One adapter for each library, so that a case body need not know which one it runs on.

A library is imported only when a body uses it: a case that starts servers elsewhere keeps its own process clean.
"""

import importlib
import os

# Where gevent's names are in a package that has its interface; names that are not listed are in the package itself.
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
}
_MODULES = ("monkey", "socket", "subprocess")


def is_coroutine(body) -> bool:
    return bool(body.__code__.co_flags & 0x80)  # inspect.CO_COROUTINE, without the cost of importing inspect


class Library:
    """A library known only by its name: raw greenlet, the C floor, plain Python."""

    def __init__(self, name: str):
        self.name = name

    def run(self, body, n):
        return body(self, n)

    def __getattr__(self, attribute):
        value = self.find(attribute)
        setattr(self, attribute, value)  # from now on it costs what an attribute costs
        return value

    def find(self, attribute):
        raise AttributeError(f"{self.name} has no {attribute}")


class GreenLibrary(Library):
    """gevent, and libraries with its interface: `spawn, sleep, joinall, Timeout, Event, Queue, Pool, socket, ...`."""

    def find(self, attribute):
        if attribute in _MODULES:
            return importlib.import_module(f"{self.name}.{attribute}")
        module = f"{self.name}.{_MODULE_OF[attribute]}" if attribute in _MODULE_OF else self.name
        return getattr(importlib.import_module(module), attribute)

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


class Eventlet(Library):
    """Gives gevent's names to what eventlet has under other names, without a call in between."""

    _where = {
        "PriorityQueue": "eventlet.queue",
        "Queue": "eventlet.queue",
        "Semaphore": "eventlet.semaphore",
        "Timeout": "eventlet",
        "local": "eventlet.corolocal",
        "sleep": "eventlet",
        "spawn": "eventlet",
    }

    def find(self, attribute):
        if attribute in ("socket", "subprocess"):
            return importlib.import_module(f"eventlet.green.{attribute}")
        if attribute in self._where:
            return getattr(importlib.import_module(self._where[attribute]), attribute)
        if attribute == "Event":
            from eventlet.event import Event

            return type("Event", (Event,), {"set": Event.send, "clear": Event.reset})
        if attribute == "AsyncResult":
            from eventlet.event import Event

            return type("AsyncResult", (Event,), {"set": Event.send, "get": Event.wait})
        if attribute == "Pool":
            from eventlet import GreenPool

            return type("Pool", (GreenPool,), {"join": GreenPool.waitall})
        return super().find(attribute)

    def joinall(self, threads, raise_error=True):
        """Errors are always raised."""
        for thread in threads:
            thread.wait()

    def timer_functions(self):
        from eventlet.hubs import get_hub

        return get_hub().schedule_call_global, lambda timer: timer.cancel()


class Threads(Library):
    """The standard library, a thread for each greenlet."""

    _where = {
        "Event": "threading",
        "PriorityQueue": "queue",
        "Queue": "queue",
        "RLock": "threading",
        "Semaphore": "threading",
        "local": "threading",
        "sleep": "time",
    }

    def find(self, attribute):
        if attribute in ("socket", "subprocess"):
            return importlib.import_module(attribute)
        if attribute in self._where:
            return getattr(importlib.import_module(self._where[attribute]), attribute)
        return super().find(attribute)

    def spawn(self, function, *args):
        from threading import Thread

        thread = Thread(target=function, args=args)
        thread.start()
        return thread

    def joinall(self, threads, raise_error=False):
        """Errors are printed only."""
        for thread in threads:
            thread.join()


class AsyncLibrary(Library):
    """asyncio and uvloop. A body that is a coroutine function runs in their loop."""

    def run(self, body, n):
        if not is_coroutine(body):
            return body(self, n)
        return importlib.import_module(self.name).run(body(self, n))

    def find_loop(self):
        """The function that makes one of its loops."""
        return importlib.import_module(self.name).new_event_loop


_CLASSES = {
    "gevlite": Gevlite,
    "gevent": GreenLibrary,
    "eventlet": Eventlet,
    "asyncio": AsyncLibrary,
    "uvloop": AsyncLibrary,
    "threads": Threads,
}


def load(name: str) -> Library:
    """The adapter for `name`. "gevlite:select" is gevlite on that backend."""
    name, _, backend = name.partition(":")
    if backend:
        os.environ["GEVLITE_BACKEND"] = backend
    return _CLASSES.get(name, Library)(name)
