"""Waiting until a child process has changed state, without taking its status.

The waiter itself asks the kernel, with WNOHANG and only about its own child; this module tells it when to ask. So no
status is lost if a kill or a time-out ends the wait, no waiter takes the status of another one's child, and the
program's own handler for SIGCHLD is not affected.

A pidfd reports the end of one child (pidfd_open(2), Linux 5.3). For everything else (any child, a process group, a
stopped child, the end of a child where there is no pidfd), a thread waits in `waitid` with WNOWAIT (waitid(2)), which
does not take the status. The thread is made for this purpose, because children live long and would soon occupy all
threads of a pool. Waiters for the same thing share one thread, and it stays when their time is over.
"""

import os as _std
from _thread import start_new_thread

from gevlite._core import READ, add_idle_workers, get_hub, is_finalizing, sleep
from gevlite.event import Event

__all__ = ["pidfd", "wait", "watch"]

_close = _std.close
_waitid = _std.waitid
# None: work without it. Tests set it.
_pidfd_open = getattr(_std, "pidfd_open", None)

# If no thread could be started: how long to wait before the kernel is asked again.
LOOK_AGAIN = 0.05

# (idtype, id, options): the event that its thread will set.
_watches = {}


def pidfd(pid):
    """A new descriptor that becomes readable when the process `pid` ends; None if there can be none."""
    if _pidfd_open is None:
        return None
    try:
        return _pidfd_open(pid)
    except OSError:
        return None  # an old kernel, a sandbox, no descriptor left, or it has been reaped, which the thread notices


def watch(idtype, id, options):
    """An Event that is set as soon as `waitid(idtype, id, options)` would not block, or would fail.

    Raises RuntimeError if no thread can be started.
    """
    if is_finalizing():
        raise RuntimeError("the interpreter is ending: a new thread would not run")
    key = (idtype, id, options)
    fresh = Event()
    event = _watches.setdefault(key, fresh)  # atomic; a lock could be held by a greenlet that a signal has stopped
    if event is fresh:
        add_idle_workers(1)
        try:
            start_new_thread(_watch, (key, event))
        except RuntimeError:
            add_idle_workers(-1)
            del _watches[key]
            event.set()  # another waiter may have found it meanwhile
            raise
    return event


def _watch(key, event):
    """The thread."""
    idtype, id, options = key
    try:
        _waitid(idtype, id, options | _std.WNOWAIT)
    except OSError:
        pass  # there is no such child any more: the waiter finds that out for itself
    del _watches[key]
    add_idle_workers(-1)
    event.set()


def wait(idtype, id, options, timeout=None):
    """Block until `waitid(idtype, id, options)` would not block, or sooner; at most `timeout` seconds.

    options: a combination of WEXITED, WSTOPPED and WCONTINUED. Returns False if the time is over.
    """
    hub = get_hub()
    hub.outside += 1
    try:
        return _wait(hub, idtype, id, options, timeout)
    finally:
        hub.outside -= 1


def _wait(hub, idtype, id, options, timeout):
    if idtype == _std.P_PID and options == _std.WEXITED:
        fd = pidfd(id)
        if fd is not None:
            try:
                return bool(hub.wait_fd(fd, READ, timeout))
            finally:
                _close(fd)
    try:
        event = watch(idtype, id, options)
    except RuntimeError:
        if timeout is not None and timeout <= LOOK_AGAIN:
            sleep(max(timeout, 0))
            return False
        sleep(LOOK_AGAIN)
        return True
    hub.ref()
    try:
        return event.wait(timeout)
    finally:
        hub.unref()


def _after_fork_in_child():
    """The threads are gone. Waiters in the child ask the kernel, which says that this is not their child."""
    events = list(_watches.values())
    _watches.clear()
    for event in events:
        event.set()


_std.register_at_fork(after_in_child=_after_fork_in_child)
