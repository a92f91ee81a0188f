"""`asyncio`: gevlite's event loop, the running loop of each greenlet, and OS threads for blocking calls.

asyncio's own loops wait with `selectors`, so they are cooperative too if a program makes them by name.
`gevlite._running_loop` keeps the running loop of each greenlet, `gevlite._loop_threads` has the threads.

This module imports nothing that needs asyncio: a program that does not use it does not pay for it.
"""

import functools
import sys
from _thread import start_new_thread

from gevlite.monkey._engine import load_twins, on_unpatch, patch_item, when_imported
from gevlite.monkey._patching import patcher

__all__ = ["patch_asyncio"]


@patcher
def patch_asyncio(loop=True):
    """Make asyncio's running loop and current task belong to the greenlet, and its new loops loops of gevlite.

    Each greenlet may run a loop of its own, as each thread may. `asyncio.run`, `asyncio.Runner` and
    `asyncio.new_event_loop` make a `gevlite.asyncio.EventLoop`, unless the program gives a `loop_factory` or sets a
    policy with other loops, such as uvloop's. With `loop=False` they make asyncio's own loops as before.

    `asyncio.to_thread` and `run_in_executor(None, ...)` of any loop use OS threads, not greenlets. asyncio is not
    imported by this; if it is imported later, it is patched then.
    """
    when_imported("asyncio", _patch_asyncio)
    when_imported("uvloop", _patch_uvloop)
    if loop:
        when_imported("asyncio.unix_events", _patch_loop_factory)


# Of the functions in C, or of those in Python if there are no others.
_hook = None


def _patch_asyncio(asyncio):
    global _hook
    load_twins()
    from gevlite._running_loop import Hook

    events = asyncio.events
    in_c = sys.modules.get("_asyncio")
    # Since 3.14 the thread's state holds the current task; before, a dict of the module.
    swap_task = getattr(in_c, "_swap_current_task", None) if sys.version_info >= (3, 14) else None
    for kind, swap in (("_py_", None), ("_c_", swap_task)):
        original = getattr(events, f"{kind}_set_running_loop", None)
        if original is None:
            continue
        _hook = Hook(getattr(events, f"{kind}_get_running_loop"), original, swap)
        patch_item(events, f"{kind}_set_running_loop", _hook)
        for module in (events, asyncio, in_c):
            if getattr(module, "_set_running_loop", None) is original:
                patch_item(module, "_set_running_loop", _hook)
    _patch_policy(events)
    from gevlite._loop_threads import in_threads

    base = asyncio.BaseEventLoop
    patch_item(base, "run_in_executor", in_threads(base.run_in_executor))


def _patch_policy(events):
    """`set_event_loop` keeps its loop in a `threading.local`, an original one if asyncio was imported before
    patching."""
    from gevlite.local import local

    policies = [getattr(events, name, None) for name in ("BaseDefaultEventLoopPolicy", "_BaseDefaultEventLoopPolicy")]
    for policy in policies:
        kept = getattr(policy, "_Local", None)
        if kept is None or issubclass(kept, local):
            continue
        fields = {name: value for name, value in vars(kept).items() if name not in ("__dict__", "__weakref__")}
        patch_item(policy, "_Local", type(kept.__name__, (local,), fields))
        current = events._event_loop_policy
        if isinstance(getattr(current, "_local", None), kept):
            before = current._local
            current._local = policy._Local()
            vars(current._local).update(vars(before))
            on_unpatch(functools.partial(setattr, current, "_local", before))
        return


def _patch_loop_factory(unix_events):
    policy = unix_events._UnixDefaultEventLoopPolicy
    original = policy._loop_factory

    def new_loop():
        if any(name in sys.modules for name in _CHANGE_LOOPS):
            return original()
        from gevlite.asyncio import EventLoop  # only now is asyncio imported for certain

        return EventLoop()

    patch_item(policy, "_loop_factory", staticmethod(new_loop))


# Libraries that replace methods of the loop's class with their own, which use the queue and selector of asyncio's loop.
_CHANGE_LOOPS = ("nest_asyncio", "nest_asyncio2")


def _patch_uvloop(uvloop):
    """uvloop keeps its own references to functions of asyncio, taken at import in C, where they cannot be replaced."""
    original = uvloop.Loop.run_forever

    @functools.wraps(original)
    def run_forever(self):
        _hook.begin(self)
        try:
            return original(self)
        finally:
            _hook.end()

    patch_item(uvloop.Loop, "run_forever", run_forever)
    _give_uvloop_threads(uvloop.Loop)


def _give_uvloop_threads(Loop):
    """Its default executor has OS threads. The loop's own reference to the executor is hidden in C.

    No greenlet runs while this loop waits, so waiting for the end of these threads needs an OS thread too.
    """
    from gevlite._loop_threads import make_executor

    originals = Loop.set_default_executor, Loop.run_in_executor, Loop.shutdown_default_executor

    @functools.wraps(originals[0])
    def set_default_executor(self, executor):
        originals[0](self, executor)
        self._gevlite_executor = None  # the program's

    @functools.wraps(originals[1])
    def run_in_executor(self, executor, func, *args):
        if executor is None:
            if not hasattr(self, "_gevlite_executor") and not self.is_closed():
                made = make_executor()
                originals[0](self, made)
                self._gevlite_executor = made
            elif getattr(self, "_gevlite_executor_ends", False):
                raise RuntimeError("Executor shutdown has been called")
        return originals[1](self, executor, func, *args)

    @functools.wraps(originals[2])
    async def shutdown_default_executor(self, *args, **kwargs):
        executor = getattr(self, "_gevlite_executor", None)
        if executor is None:
            return await originals[2](self, *args, **kwargs)
        self._gevlite_executor_ends = True
        ended = self.create_future()
        start_new_thread(_shut_down, (executor, self, ended))
        await ended

    for method in (set_default_executor, run_in_executor, shutdown_default_executor):
        patch_item(Loop, method.__name__, method)


def _shut_down(executor, loop, ended):
    executor.shutdown()
    if not loop.is_closed():
        loop.call_soon_threadsafe(lambda: ended.cancelled() or ended.set_result(None))
