"""`_thread`, `threading`, `_threading_local`, calls into other interpreters, and the locks of `multiprocessing`."""

import importlib.util
import sys

from gevlite.monkey._engine import load_twins, on_unpatch, patch_item, patch_module, patch_twin, patching

__all__ = ["patch_thread"]


@patching()
def patch_thread(threading=True, _threading_local=True, Event=True, logging=True, existing_locks=True):
    """Let new threads be greenlets, and locks block only the greenlet that waits for them.

    threading: also the `threading` module; without it only `_thread`.
    _threading_local: also the `local` of that module.
    Event: without effect, for code written for gevent: the locks below make `threading.Event` cooperative.
    existing_locks: replace the locks that exist already wherever they are kept, if nobody has them at the moment.
    logging: do that for the locks of `logging` at least.

    OS threads that run already stay what they are; to join one blocks only the greenlet that does it.
    """
    load_twins()
    import threading as target

    from gevlite import threading as source
    from gevlite.monkey import _existing_locks

    patch_twin("thread")
    if importlib.util.find_spec("_multiprocessing") is not None:
        patch_twin("_semlock")
    if importlib.util.find_spec("_interpreters") is not None:       # from Python 3.13 on
        patch_twin("_subinterpreters")
    if threading:
        patch_twin("threading")
        if hasattr(target.Thread, "_wait_for_tstate_lock"):
            patch_item(target.Thread, "_wait_for_tstate_lock", source._wait_for_tstate_lock)
        for thing in list(target._dangling):
            undo = source.adopt(thing)
            if undo is not None:
                on_unpatch(undo)
    if _threading_local:
        import _threading_local as target_local

        patch_module(target_local, source, ["local"])
    if existing_locks:
        _existing_locks.replace()
    elif logging and "logging" in sys.modules:
        _existing_locks.replace(_existing_locks.of_logging)
