"""`_thread`, `threading`, `_threading_local`, calls into other interpreters, and the locks of `multiprocessing`."""

import _thread
import importlib.util
import sys
from importlib import _bootstrap

from gevlite._core import set_slice_standard
from gevlite._threadlock import RLock, get_owner_ident
from gevlite.monkey._engine import (
    adopt,
    load_twins,
    on_unpatch,
    patch_item,
    patch_module,
    patch_twin,
    unadopted,
    when_imported,
)
from gevlite.monkey._libraries import keep_threads_in_c
from gevlite.monkey._patching import patcher

__all__ = ["patch_thread"]


@patcher
def patch_thread(threading=True, _threading_local=True, Event=True, logging=True, existing_locks=True):
    """Make new threads greenlets, and make locks block only the waiting greenlet.

    threading: also the `threading` module; without it only `_thread`.
    _threading_local: also the `local` of that module.
    Event: without effect, for code written for gevent: the patched locks make `threading.Event` cooperative.
    existing_locks: make existing locks cooperative too, wherever they are held and whether or not they are taken.
    logging: without `existing_locks`, do that at least for the locks of `logging`.

    OS threads that already run stay OS threads; joining one blocks only the calling greenlet.
    """
    load_twins()
    import threading as target

    from gevlite import _adopted, threading as source

    patch_twin("thread")
    _tell_owners_of_module_locks_apart()
    if importlib.util.find_spec("_multiprocessing") is not None:
        patch_twin("_semlock")
        from gevlite import _semlock

        adopt("locks of multiprocessing", _semlock.adopt)
    if importlib.util.find_spec("_interpreters") is not None:  # from Python 3.13 on
        patch_twin("_subinterpreters")
        when_imported("concurrent.interpreters", _let_others_run_in_queues)
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
        adopt("threading.local objects", _adopted.adopt_local)
    if existing_locks:
        adopt("locks", _adopted.adopt_locks)
        adopt("RLocks", _adopted.adopt_rlocks)
        if threading and "locks" not in unadopted and "RLocks" not in unadopted:
            # If a holder of one of its locks is interrupted, that delays only those that wait for that lock.
            set_slice_standard(True)
            on_unpatch(_leave_standard_library_alone)
    elif logging and "logging" in sys.modules:
        _give_logging_new_locks(sys.modules["logging"])
    keep_threads_in_c()


class _ThreadOfModuleLocks:
    """`_thread` for the locks of modules.

    These locks identify their owner by `get_ident()`. Code in the hub has the main greenlet's ident, and the main
    greenlet may be waiting for such a lock.
    """

    get_ident = staticmethod(get_owner_ident)

    def __getattr__(self, name):
        return getattr(_thread, name)


def _leave_standard_library_alone():
    set_slice_standard(False)


def _tell_owners_of_module_locks_apart():
    if _bootstrap._thread is _thread:
        _bootstrap._thread = _ThreadOfModuleLocks()
        on_unpatch(lambda: setattr(_bootstrap, "_thread", _thread))


def _let_others_run_in_queues(interpreters):
    from gevlite import _subinterpreters

    for name, method in _subinterpreters.fair_queue(interpreters.Queue).items():
        patch_item(interpreters.Queue, name, method)


def _give_logging_new_locks(logging):
    """Replace the locks that are not taken."""
    if _is_free(logging._lock):
        patch_item(logging, "_lock", RLock())
    for reference in list(logging._handlerList):
        handler = reference()
        if handler is not None and handler.lock is not None and _is_free(handler.lock):
            handler.lock = RLock()


def _is_free(lock):
    if lock._is_owned() or not lock.acquire(False):
        return False
    lock.release()
    return True
