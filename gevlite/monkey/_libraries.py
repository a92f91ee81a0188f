"""Libraries that would block all greenlets: they choose how to wait when they are imported, or wait in C in a thread
that is a greenlet once it is patched."""

import functools
import os
import sys
from _thread import start_new_thread
from time import sleep

from gevlite.monkey._engine import get_original, on_unpatch, patch_item, when_imported

__all__ = ["keep_threads_in_c", "prefer_python_waits"]


def prefer_python_waits():
    """Make psycopg 3 wait with `selectors`, not in C.

    psycopg documents the environment variable (`psycopg.waiting`); it does no harm in a child process that is not
    patched.
    """
    waiting = sys.modules.get("psycopg.waiting")
    if waiting is not None and waiting.wait is getattr(waiting, "wait_c", None):
        patch_item(waiting, "wait", waiting.wait_selector)
    if "PSYCOPG_WAIT_FUNC" not in os.environ:
        os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"
        on_unpatch(lambda: os.environ.pop("PSYCOPG_WAIT_FUNC", None))


def keep_threads_in_c():
    """Make OS threads of the threads that asyncio libraries start for calls that wait in C.

    They wait for nothing that greenlets do, and report their results to a loop.
    """
    when_imported("grpc._cython.cygrpc", _keep_poller_of_grpc)
    when_imported("aiosqlite.core", _keep_threads_of_aiosqlite)
    when_imported("anyio._backends._asyncio", _keep_threads_of_anyio)


class _OSThread:
    """The part of `threading.Thread` that such libraries use."""

    def __init__(self, target, args=()):
        self._target = target
        self._args = args

    def start(self):
        _start_thread(self._target, self._args)

    def join(self, timeout):
        # The library asks it to end, and then joins it again and again, perhaps in the garbage collector in the hub.
        sleep(min(timeout, 0.001))


def _keep_poller_of_grpc(cygrpc):
    if hasattr(cygrpc, "PollerCompletionQueue"):
        _set(cygrpc, "threading", _ThreadingOfGrpc(cygrpc.threading, cygrpc.PollerCompletionQueue))


class _ThreadingOfGrpc:
    """`threading` for cygrpc, which also starts other threads: these call code of the program."""

    def __init__(self, threading, poller):
        self._threading = threading
        self._poller = poller

    def __getattr__(self, name):
        return getattr(self._threading, name)

    def Thread(self, *args, target=None, **kwargs):
        if isinstance(getattr(target, "__self__", None), self._poller):
            return _OSThread(target)
        return self._threading.Thread(*args, target=target, **kwargs)


def _keep_threads_of_aiosqlite(core):
    # One for each connection. As a greenlet it would wait for a locked file in C, and the greenlet that must unlock it
    # would not run. Up to 0.21 the connection is the thread.
    if issubclass(core.Connection, core.Thread):
        patch_item(core.Connection, "start", _start)
    else:
        _set(core, "Thread", _OSThread)
    _set(core, "SimpleQueue", lambda: get_original("queue", "SimpleQueue")())


def _keep_threads_of_anyio(backend):
    # The threads of `anyio.to_thread`. They wait for work in a queue that does not need a hub in each of them.
    patch_item(backend.WorkerThread, "start", _start)
    original = get_original("queue", "SimpleQueue")

    class Queue(original):
        def __init__(self, maxsize=0):
            pass

        def task_done(self):
            pass

    _set(backend, "Queue", Queue)


def _set(module, name, value):
    """Unlike `patch_item`: the replaced value is not an original, so other modules may keep it."""
    on_unpatch(functools.partial(setattr, module, name, getattr(module, name)))
    setattr(module, name, value)


def _start(thread):
    _start_thread(thread.run, ())


def _start_thread(function, args):
    """Start an OS thread, and wait until it runs: only then does the hub count it as able to wake a greenlet."""
    begun = []

    def run():
        begun.append(True)
        function(*args)

    start_new_thread(run, ())
    while not begun:
        sleep(0.00002)
