"""The default executor of asyncio's loops: OS threads, whether or not the process is patched.

`asyncio.to_thread` and `run_in_executor(None, ...)` promise that the loop goes on while the function blocks, in C too.
In a patched process the standard ThreadPoolExecutor has greenlets, which cannot keep that promise; gevlite's can.

Looking up names is an exception: asyncio leaves it to its executor, but gevlite's own functions are cooperative, so a
greenlet does it. In a thread of the executor each look-up would need a hub and another thread.
"""

import functools
import socket
from asyncio.base_events import BaseEventLoop
from concurrent.futures import Executor

from gevlite import socket as cooperative
from gevlite._executor import CooperativeFuture, ThreadPoolExecutor
from gevlite.greenlet import Greenlet

__all__ = ["in_threads", "make_executor"]


def make_executor():
    """A new default executor for a loop."""
    return ThreadPoolExecutor(thread_name_prefix="asyncio")


def in_threads(run_in_executor):
    """asyncio's method `run_in_executor`, with a default executor that has OS threads."""

    @functools.wraps(run_in_executor)
    def in_os_threads(self, executor, func, *args):
        if executor is None:
            if _is_look_up(func):
                executor = _GREENLETS
            elif self._default_executor is None and not self._executor_shutdown_called and not self.is_closed():
                self._default_executor = make_executor()
        return run_in_executor(self, executor, func, *args)

    return in_os_threads


def _is_look_up(func):
    """True if `func` is a look-up of names that is cooperative."""
    if getattr(func, "__func__", None) is BaseEventLoop._getaddrinfo_debug:
        func = socket.getaddrinfo  # the method calls this
    return func is cooperative.getaddrinfo or func is cooperative.getnameinfo


class _Greenlets(Executor):
    """Makes each call in a greenlet of its own."""

    def submit(self, fn, /, *args, **kwargs):
        future = CooperativeFuture()
        Greenlet(self._call, future, fn, args, kwargs).start()
        return future

    @staticmethod
    def _call(future, fn, args, kwargs):
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = fn(*args, **kwargs)
        except BaseException as exc:
            future.set_exception(exc)
        else:
            future.set_result(result)


_GREENLETS = _Greenlets()
