"""Waiting until a child process has changed state, without taking its status.

Whoever waits asks the kernel itself, with WNOHANG, and only for its own child; here it learns when to ask. So no status
is lost when a greenlet is killed or runs into a time-out while it waits, none is taken away from somebody else, and no
handler for SIGCHLD gets in the way of the program's own.

The end of one child is what a pidfd tells (pidfd_open(2), Linux 5.3). Everything else, any child, a process group, a
child that was stopped, and the end of a child where there is no pidfd, is left to a thread in `waitid` with WNOWAIT
(waitid(2)), which leaves the status where it is. Such a thread is made for the purpose, because children live long and
a pool's threads would soon all be taken; all who wait for the same thing share one, also after their time-outs.
"""

import os as _std
from _thread import start_new_thread

from gevlite._core import READ, add_idle_workers, get_hub, is_finalizing, sleep
from gevlite.event import Event

__all__ = ["pidfd", "wait", "watch"]

_close = _std.close
_waitid = _std.waitid
# None: do without. Tests set it.
_pidfd_open = getattr(_std, "pidfd_open", None)

# How long to wait for what no thread could be started for, before the kernel is asked again.
LOOK_AGAIN = 0.05

# (idtype, id, options): the event that its thread will set.
_watches = {}


def pidfd(pid):
    """A new descriptor that can be read from once the process `pid` has ended; None where that cannot be had."""
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
        raise RuntimeError("a thread would not run any more")
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
            event.set()  # somebody may have met it meanwhile
            raise
    return event


def _watch(key, event):
    """The thread."""
    idtype, id, options = key
    try:
        _waitid(idtype, id, options | _std.WNOWAIT)
    except OSError:
        pass  # there is no such child any more: who waits finds that out for itself
    del _watches[key]
    add_idle_workers(-1)
    event.set()


def wait(idtype, id, options, timeout=None):
    """Block until `waitid(idtype, id, options)` would not, or sooner; at most `timeout` seconds.

    options: of WEXITED, WSTOPPED and WCONTINUED. False if the time has run out.
    """
    hub = get_hub()
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
    """The threads are gone. Whoever waits here too asks the kernel, and is told that this is not our child."""
    events = list(_watches.values())
    _watches.clear()
    for event in events:
        event.set()


_std.register_at_fork(after_in_child=_after_fork_in_child)
