"""Cooperative `select`, `poll` and `epoll`: they block only the calling greenlet.

All of them ask the kernel first, without waiting. If nothing is ready, one waiter waits for all the descriptors at once
(`Hub.wait_fds`). When one of them is reported, the kernel is asked again: the result is always the kernel's answer, for
gevlite's sockets as for any other descriptor.

The hub knows only "can be read" and "can be written". A waiter that asks only for something else (urgent data, hang-up)
would be woken by ordinary data again and again. For such a wait, an epoll object is made, and the hub waits for that.
"""

import math
import operator
import select as _std
import sys
from errno import EBADF

from gevlite import _twin
from gevlite._adopted import CannotAdopt, poll_masks, swap_methods
from gevlite._core import (
    READ,
    WRITE,
    get_hub,
    get_hub_if_exists,
    getcurrent as _getcurrent,
    let_others_run as _let_others_run,
    monotonic as _monotonic,
    sleep as _sleep,
)
from gevlite.timeout import Timeout, _within

# They would block all greenlets, and have no twin yet.
_NOT_YET = ("devpoll", "kqueue", "kevent")
__implements__ = _twin.present(_std, "epoll", "poll", "select")
__imports__ = _twin.take_over(globals(), _std, _twin.names_beside([*__implements__, *_NOT_YET], _std, private=True))
__all__ = __implements__ + __imports__

_StdPoll = _std.poll
_StdEpoll = getattr(_std, "epoll", None)
# The original methods. Once the types are adopted, their methods are gevlite's.
_PollType = type(_StdPoll())
_poll_now = _PollType.poll
if _StdEpoll is not None:
    _epoll_now, _epoll_close = _StdEpoll.poll, _StdEpoll.close


def _real(timeout):
    """Any real number as an int or float, as in the originals from Python 3.15 on. Raises TypeError, ValueError."""
    if not isinstance(timeout, (int, float)):
        if hasattr(timeout, "__float__"):
            timeout = float(timeout)
        elif hasattr(timeout, "__index__"):
            timeout = operator.index(timeout)
        else:
            raise TypeError(f"timeout must be a real number or None, not {type(timeout).__name__}")
    if math.isnan(timeout):
        raise ValueError("Invalid value NaN (not a number)")
    return timeout


def _any_of(*names):
    mask = 0
    for name in names:
        mask |= getattr(_std, name, 0)
    return mask


_IN = _any_of("POLLIN", "POLLRDNORM")
_OUT = _any_of("POLLOUT", "POLLWRNORM", "POLLWRBAND")
# The hub cannot wait for these; but with _IN, a hang-up of the other side is reported as readable anyway.
_OTHER = _any_of("POLLPRI", "POLLRDBAND")
_HANG_UP = _any_of("POLLRDHUP")
# select(2) in terms of poll(2), as in the kernel itself.
_SELECT_IN = _any_of("POLLIN", "POLLRDNORM", "POLLRDBAND")
_READABLE = _SELECT_IN | _any_of("POLLHUP", "POLLERR")
_WRITABLE = _OUT | _any_of("POLLERR")
# What `register` watches for by default.
_ALL = _any_of("POLLIN", "POLLPRI", "POLLOUT")
# In milliseconds. poll(2) takes an int, which is the limit up to Python 3.14; from 3.15 on, the limit is that of a
# 64-bit number of nanoseconds.
_LONGEST_POLL = 2**31 - 1 if sys.version_info < (3, 15) else (2**63 - 1) // 1_000_000
# How often to check, where nothing could wake the greenlet.
_LOOK_AGAIN = 0.02


def _wait(ask, masks, timeout):
    """Block until `ask()` returns something that is not empty, at most `timeout` seconds (None: no limit); return that.

    masks: {fd: poll(2) events}; the descriptors must be open.
    """
    # Before the kernel is asked: an edge-triggered epoll object reports an event only once.
    _let_others_run()
    ready = ask()
    if ready:
        return ready
    # Made only after the kernel was asked: a new hub's descriptors could get the number of one that has been closed.
    hub = get_hub()
    if timeout == 0:
        # A greenlet that asks again and again must not keep the others from running.
        if _getcurrent() is not hub:
            _sleep(0)
        return ask()
    deadline = None if timeout is None else _monotonic() + timeout
    pairs = []
    special = {}
    for fd, mask in masks.items():
        events = (READ if mask & _IN else 0) | (WRITE if mask & _OUT else 0)
        if events:
            pairs.append((fd, events))
        rest = mask & _OTHER if mask & _IN else mask & (_OTHER | _HANG_UP)
        if rest or not events:
            special[fd] = rest
    extra = None
    longest = None
    try:
        if special and _StdEpoll is not None:
            extra = _StdEpoll(len(special))
            for fd, mask in special.items():
                try:
                    # The bits are the same as poll's (poll(2), epoll_ctl(2)).
                    extra.register(fd, mask)
                except PermissionError:
                    pass  # a regular file, which is always ready
            pairs.append((extra.fileno(), READ))
        elif special:
            longest = _LOOK_AGAIN
        while True:
            remaining = None if deadline is None else deadline - _monotonic()
            if remaining is not None and remaining <= 0:
                return ready
            limit = longest if remaining is None else remaining if longest is None else min(remaining, longest)
            try:
                hub.wait_fds(pairs, limit)
            except OSError as exc:
                # One is closed or detached: the kernel says which one. But perhaps not yet, if another thread is about
                # to close it.
                if exc.errno != EBADF:
                    raise
                longest = _LOOK_AGAIN
            ready = ask()
            if ready:
                return ready
    finally:
        if extra is not None:
            _epoll_close(extra)


class poll:
    """A cooperative twin of `select.poll` objects: `register`, `modify`, `unregister`, `poll`."""

    def __init__(self):
        self._poll = _StdPoll()
        self._masks = {}
        self._polling = False

    def register(self, fd, eventmask=_ALL, /):
        """Watch `fd` (a number or an object with `fileno()`) for `eventmask`; a second time replaces the first."""
        number = _number(fd)
        self._poll.register(number, eventmask)
        self._masks[number] = eventmask

    def modify(self, fd, eventmask, /):
        """Replace what `fd` is watched for. Raises FileNotFoundError if it is not registered."""
        number = _number(fd)
        self._poll.modify(number, eventmask)
        self._masks[number] = eventmask

    def unregister(self, fd, /):
        """Watch `fd` no longer. Raises KeyError if it is not registered."""
        number = _number(fd)
        self._poll.unregister(number)
        del self._masks[number]

    def poll(self, timeout=None, /):
        """Block until some descriptors are ready, at most `timeout` milliseconds; return `[(fd, events), ...]`.

        None or a negative time: no limit. 0: do not wait, but let others run once if nothing is ready. Descriptors
        registered meanwhile are used from the next call on. Raises RuntimeError if another greenlet is in `poll` of
        this object, OverflowError if the time is longer than the original accepts.
        """
        timeout = _seconds_of_poll(timeout)
        if self._polling:
            raise RuntimeError("concurrent poll() invocation")
        self._polling = True
        try:
            return _wait(lambda: _poll_now(self._poll, 0), self._masks, timeout)
        finally:
            self._polling = False

    def __repr__(self):
        return f"<{type(self).__name__} at {id(self):#x} of {len(self._masks)} descriptors>"


if _StdEpoll is not None:

    class epoll:
        """A cooperative twin of `select.epoll` objects. The descriptors belong to the kernel's object, not to the hub.

        An epoll object is a descriptor that becomes readable when it has something to report; the hub waits for that.
        """

        def __init__(self, sizehint=-1, flags=0):
            self._epoll = _StdEpoll(sizehint, flags)

        @classmethod
        def fromfd(cls, fd, /):
            """An object for an existing epoll descriptor."""
            self = cls.__new__(cls)
            self._epoll = _StdEpoll.fromfd(fd)
            return self

        def register(self, fd, eventmask=_std.EPOLLIN | _std.EPOLLPRI | _std.EPOLLOUT):
            """Watch `fd`. Raises FileExistsError if it is registered, PermissionError for a regular file."""
            self._epoll.register(fd, eventmask)

        def modify(self, fd, eventmask):
            """Replace what `fd` is watched for. Raises FileNotFoundError if it is not registered."""
            self._epoll.modify(fd, eventmask)

        def unregister(self, fd):
            """Watch `fd` no longer. Raises FileNotFoundError if it is not registered."""
            self._epoll.unregister(fd)

        def poll(self, timeout=None, maxevents=-1):
            """Block until some descriptors are ready, at most `timeout` seconds; return `[(fd, events), ...]`.

            None or a negative time: no limit. 0: do not wait, but let others run once if nothing is ready. Raises
            ValueError if the object is closed, also if another greenlet closes it during the wait.
            """
            return _wait_epoll(self._epoll, timeout, maxevents)

        def close(self):
            """Close it; its waiters get ValueError."""
            _close_epoll(self._epoll)

        @property
        def closed(self):
            """True after `close()`."""
            return self._epoll.closed

        def fileno(self):
            """The object's own descriptor."""
            return self._epoll.fileno()

        def __enter__(self):
            if self._epoll.closed:
                raise ValueError("I/O operation on closed epoll object")
            return self

        def __exit__(self, *exc_info):
            self.close()


def _seconds_of_poll(timeout):
    """The milliseconds of `poll` in seconds; None for no limit. Errors are those of the original."""
    if timeout is None:
        return None
    timeout = _real(timeout)
    if not -_LONGEST_POLL - 1 <= timeout <= _LONGEST_POLL:
        raise OverflowError("timeout is too large")
    return None if timeout < 0 else timeout / 1000


def _wait_epoll(epoll, timeout, maxevents):
    if timeout is not None:
        timeout = _real(timeout)
        timeout = None if timeout < 0 else float(timeout)
    return _wait(lambda: _epoll_now(epoll, 0, maxevents), {epoll.fileno(): _std.POLLIN}, timeout)


def _close_epoll(epoll):
    if not epoll.closed:
        hub = get_hub_if_exists()
        if hub is not None:
            hub._forget_fd(epoll.fileno(), 0)
    _epoll_close(epoll)


def _number(fd):
    """The descriptor's number. Raises TypeError and ValueError with the original's messages."""
    if not isinstance(fd, int):
        method = getattr(fd, "fileno", None)
        if method is None:
            raise TypeError("argument must be an int, or have a fileno() method.")
        fd = method()
        if not isinstance(fd, int):
            raise TypeError("fileno() returned a non-integer")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return fd


def select(rlist, wlist, xlist, timeout=None, /):
    """Block until something in the lists is ready to be read, to be written or has urgent data; return three lists.

    The lists contain descriptor numbers or objects with `fileno()`. timeout: seconds; None: no limit; 0: do not wait,
    but let others run once if nothing is ready. Raises OSError(EBADF) for a closed descriptor, ValueError for a
    negative one. Unlike the original it takes descriptors of any number, not only those below FD_SETSIZE.
    """
    if isinstance(timeout, Timeout):
        return _within(timeout, ([], [], []), select, rlist, wlist, xlist)
    if timeout is not None:
        timeout = _real(timeout)
        if timeout < 0:
            raise ValueError("timeout must be non-negative")
        timeout = float(timeout)
    try:
        lists = [iter(rlist), iter(wlist), iter(xlist)]
    except TypeError:
        raise TypeError("arguments 1-3 must be sequences") from None
    # Do not copy the lists: if a `fileno()` shortens its own list, the loop ends earlier, as in the original.
    readers, writers, others = [[(_number(item), item) for item in items] for items in lists]
    masks = {}
    for members, mask in ((readers, _SELECT_IN), (writers, _OUT), (others, _std.POLLPRI)):
        for fd, _item in members:
            masks[fd] = masks.get(fd, 0) | mask
    asked = _StdPoll()
    for fd, mask in masks.items():
        asked.register(fd, mask)

    def ask():
        states = dict(_poll_now(asked, 0))
        if not states:
            return None
        if any(state & _std.POLLNVAL for state in states.values()):
            raise OSError(EBADF, "Bad file descriptor")
        found = tuple(
            [item for fd, item in members if states.get(fd, 0) & wanted]
            for members, wanted in ((readers, _READABLE), (writers, _WRITABLE), (others, _std.POLLPRI))
        )
        return found if any(found) else None

    return _wait(ask, masks, timeout) or ([], [], [])


# ---------------------------------------------------------------- objects of the original types


def adopt_poll():
    """Make `poll` of the original type's objects block only the calling greenlet. Returns the adopted types.

    A thread without a hub, and the hub itself, wait as before.
    """
    global _poll_now
    # Only the memory of an original object shows what it is registered for.
    probe = _StdPoll()
    probe.register(1, _std.POLLIN)
    if poll_masks(probe) != {1: _std.POLLIN}:
        raise CannotAdopt("select.poll objects have an unknown memory layout")
    _poll_now = swap_methods(_PollType, {"poll": _poll_of_original})["poll"]
    return [_StdPoll]


def adopt_epoll():
    """Like `adopt_poll`."""
    global _epoll_now, _epoll_close
    originals = swap_methods(_StdEpoll, {"poll": _epoll_of_original, "close": _close_epoll})
    _epoll_now, _epoll_close = originals["poll"], originals["close"]
    return [_StdEpoll]


def waits_cooperatively(selector):
    """True if `select()` of this object of `selectors` blocks the calling greenlet only."""
    inner = getattr(selector, "_selector", None)
    if isinstance(inner, _PollType):
        return _poll_now is not _PollType.poll
    if _StdEpoll is not None and isinstance(inner, _StdEpoll):
        return _epoll_now is not _StdEpoll.poll
    return isinstance(inner, poll if _StdEpoll is None else (poll, epoll)) or (
        getattr(selector, "_select", None) is select
    )


def _blocks_thread():
    hub = get_hub_if_exists()
    return hub is None or hub.blocks_thread()  # a backend that was written in Python before patching


def _poll_of_original(self, timeout=None, /):
    if _blocks_thread():
        return _poll_now(self, timeout)
    return _wait(lambda: _poll_now(self, 0), dict(poll_masks(self)), _seconds_of_poll(timeout))


def _epoll_of_original(self, timeout=None, maxevents=-1):
    if _blocks_thread():
        return _epoll_now(self, timeout, maxevents)
    return _wait_epoll(self, timeout, maxevents)
