"""`asyncio`: the running loop of each greenlet.

Its loops wait with `selectors`, and their threads are greenlets, so they need nothing else to be cooperative.
`gevlite._running_loop` keeps the running loop with its greenlet.
"""

import functools
import sys

from gevlite.monkey._engine import load_twins, on_unpatch, patch_item, when_imported
from gevlite.monkey._patching import patching

__all__ = ["patch_asyncio"]


@patching()
def patch_asyncio(loop=False):
    """Make asyncio's running loop and current task belong to the greenlet, not to the OS thread.

    Then each greenlet may run a loop of its own, as each thread may. A module that is not imported yet is patched when
    it is imported. The event loops are unchanged; with `loop=True` those that `asyncio.run`, `asyncio.Runner` and
    `asyncio.new_event_loop` make are of `gevlite.asyncio`, unless another policy or `loop_factory` is set.
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
    patch_item(unix_events._UnixDefaultEventLoopPolicy, "_loop_factory", staticmethod(_new_loop))


def _new_loop():
    from gevlite.asyncio import EventLoop  # only now is asyncio imported for certain

    return EventLoop()


def _patch_uvloop(uvloop):
    """uvloop keeps its own reference to `_set_running_loop`, taken at import in C, where it cannot be replaced."""
    original = uvloop.Loop.run_forever

    @functools.wraps(original)
    def run_forever(self):
        _hook.begin(self)
        try:
            return original(self)
        finally:
            _hook.end()

    patch_item(uvloop.Loop, "run_forever", run_forever)
