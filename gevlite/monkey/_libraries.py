"""Libraries that would block all greenlets: they choose how to wait when they are imported, or wait in C in a thread
that is a greenlet once it is patched."""

import os
import sys
from _thread import start_new_thread
from time import sleep

from gevlite.monkey._engine import on_unpatch, patch_item, when_imported

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
    """Let the thread of grpc.aio be an OS thread. It waits in C for what its event loops are to do, and tells them by a
    socket."""
    when_imported("grpc._cython.cygrpc", _keep_poller_of_grpc)


def _keep_poller_of_grpc(cygrpc):
    if hasattr(cygrpc, "PollerCompletionQueue"):
        patch_item(cygrpc, "threading", _ThreadingOfGrpc(cygrpc.threading, cygrpc.PollerCompletionQueue))


class _ThreadingOfGrpc:
    """`threading` for cygrpc, which starts other threads too: those call code of the program."""

    def __init__(self, threading, poller):
        self._threading = threading
        self._poller = poller

    def __getattr__(self, name):
        return getattr(self._threading, name)

    def Thread(self, *args, target=None, **kwargs):
        if isinstance(getattr(target, "__self__", None), self._poller):
            return _OSThread(target)
        return self._threading.Thread(*args, target=target, **kwargs)


class _OSThread:
    def __init__(self, target):
        self._target = target

    def start(self):
        start_new_thread(self._target, ())

    def join(self, timeout):
        # It is asked to end, and then joined again and again, perhaps by the garbage collector in the hub.
        sleep(min(timeout, 0.001))
