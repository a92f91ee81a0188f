"""The private names of the standard library that gevlite uses: a new Python may lack some of them.

gevlite replaces, wraps or calls public names without listing them; a name that begins with an underscore must be in
this list. tests/test_private_names.py reports the names that a Python lacks, and names that are used but not listed.
Call `missing()` to try gevlite on a Python that it does not know yet.
"""

import importlib
import sys

__all__ = ["NAMES", "missing"]

_BEFORE = (3, 0)
_AFTER = (99, 0)


class Names(dict):
    """`{module or class: its names}`, for the Pythons from `since` up to, but not including, `until`."""

    def __init__(self, since=_BEFORE, until=_AFTER, /, **names):
        super().__init__((owner.replace("__", "."), value.split()) for owner, value in names.items())
        self.since, self.until = since, until


# Grouped by the modules that use them. `a__b` stands for `a.b`.
NAMES = (
    # gevlite.thread, gevlite.threading: Thread, Condition and the others stay; the functions below them are replaced.
    Names(
        _thread="_count _local",
        threading="_CRLock _DummyThread _active _active_limbo_lock _allocate_lock _dangling _make_invoke_excepthook",
        threading__Thread="_bootstrap_inner _delete",
    ),
    Names(
        _BEFORE,
        (3, 13),
        _thread="_set_sentinel",
        threading="_set_sentinel _shutdown_locks _shutdown_locks_lock _start_new_thread",
        threading__Thread="_stop _wait_for_tstate_lock",
    ),
    Names(
        (3, 13),
        _AFTER,
        _thread="_ThreadHandle _get_main_thread_ident _make_thread_handle _shutdown",
        threading="_DeleteDummyThreadOnDel _LockType _ThreadHandle _get_main_thread_ident _make_thread_handle "
        "_start_joinable_thread _thread_local_info _thread_shutdown",
    ),
    Names((3, 14), _AFTER, threading="_set_name"),
    # gevlite.subprocess
    Names(subprocess__Popen="_communicate _execute_child _handle_exitstatus _translate_newlines _try_wait _wait"),
    # gevlite._semlock
    Names(_multiprocessing__SemLock="_is_mine _count"),
    # gevlite.socket, gevlite.ssl
    Names(socket="_GLOBAL_DEFAULT_TIMEOUT", socket__socket="_accept _real_close", _ssl="_SSLContext"),
    # gevlite.selectors
    Names(selectors__SelectSelector="_select", selectors__PollSelector="_selector_cls"),
    # gevlite.monkey: the locks of modules
    Names(importlib="_bootstrap", importlib___bootstrap="_thread"),
    # gevlite.monkey: objects that hold originals taken earlier
    Names(
        logging="_handlerList _lock",
        multiprocessing__connection__Connection="_recv _send",
        multiprocessing__reduction="_reduce_socket",
        multiprocessing__reduction__ForkingPickler="_extra_reducers",
    ),
    # gevlite.monkey._asyncio: the running loop and the current task
    Names(
        asyncio__events="_c__get_running_loop _c__set_running_loop _event_loop_policy _py__get_running_loop "
        "_py__set_running_loop _set_running_loop",
        _asyncio="_set_running_loop",
    ),
    Names(_BEFORE, (3, 14), asyncio__events__BaseDefaultEventLoopPolicy="_Local"),
    Names((3, 14), _AFTER, asyncio__events="_BaseDefaultEventLoopPolicy", _asyncio="_swap_current_task"),
    # gevlite.monkey._asyncio: what makes a loop
    Names(asyncio__unix_events___UnixDefaultEventLoopPolicy="_loop_factory"),
    # gevlite._loop_threads: the default executor
    Names(asyncio__base_events__BaseEventLoop="_getaddrinfo_debug"),
    # gevlite.asyncio: the loop is asyncio's own, except for what waits
    Names(
        asyncio__base_events="_format_handle _set_nodelay",
        asyncio__base_events__BaseEventLoop="_add_callback _asyncgen_finalizer_hook _asyncgen_firstiter_hook "
        "_check_callback _check_closed _check_running _check_thread _set_coroutine_origin_tracking _write_to_self",
        asyncio__constants="_SendfileMode",
        asyncio__events="_get_running_loop",
        asyncio__format_helpers="_format_callback_source",
        asyncio__selector_events__BaseSelectorEventLoop="_add_reader _add_writer _close_self_pipe "
        "_ensure_fd_no_transport _make_self_pipe _make_socket_transport _make_ssl_transport _remove_reader "
        "_remove_writer",
        asyncio__transports="_FlowControlMixin",
        asyncio__unix_events="_UnixSelectorEventLoop",
        asyncio__unix_events___UnixSelectorEventLoop="_add_callback_signalsafe _check_signal _handle_signal",
    ),
    # gevlite.threadpool: futures like those of concurrent.futures
    Names(concurrent__futures___base="CANCELLED PENDING"),
    # gevlite.serve: the end of a worker
    Names(atexit="_run_exitfuncs", threading="_shutdown"),
)


def missing():
    """`["module.name", ...]`: the names that gevlite uses on this version of Python but that this Python lacks."""
    return [
        f"{owner}.{name}"
        for names in NAMES
        if names.since <= sys.version_info[:2] < names.until
        for owner, wanted in names.items()
        for name in wanted
        if not _has(owner, name)
    ]


def _has(owner, name):
    module, found = owner, None
    parts = []
    while found is None:
        try:
            found = importlib.import_module(module)
        except ImportError:
            module, _, part = module.rpartition(".")
            if not module:
                return False
            parts.insert(0, part)
    for part in parts:
        found = getattr(found, part, None)
    return hasattr(found, name)
