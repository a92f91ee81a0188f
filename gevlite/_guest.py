"""Greenlets as guests in an event loop that is not gevlite's: what `gevlite.asyncio.attach` returns.

Another loop, the *host*, runs the thread: asyncio's own or uvloop. The hub never waits then: the host watches the
descriptor of the hub's backend and has a timer for the hub's earliest one. When either fires, it makes a *turn*: a
callback in which the greenlet that runs the host waits until the other greenlets have run (`_hosted.pxi`).

If a coroutine queues something between two turns, by spawning a greenlet or setting an event, a byte is written to a
pipe, so that the host notices. `spawn` and `wait` need no such write: they ask for a turn themselves.

If a coroutine makes a blocking call, the greenlet that runs the host parks like any other, and the hub waits in its own
poll until that greenlet goes on.

In a process whose `select` is patched, asyncio's loop waits in the hub as any greenlet does. Then there are no turns.
"""

import asyncio
import contextlib
import math
import os
from asyncio import events

from gevlite import backends
from gevlite._aio import running_hook
from gevlite._core import (
    backend_of,
    get_hub_if_exists,
    getcurrent,
    host_begin,
    host_end,
    host_expects,
    host_turn,
    hubs,
    replace_backend,
)
from gevlite.select import waits_cooperatively
from gevlite.timeout import Timeout

__all__ = ["Guest", "guest_of"]

# The longest that the host's timer is set for.
_DAY = 24 * 3600.0


def guest_of(hub, loop):
    """The Guest by which the hub is in this loop, or None."""
    guest = hub.host if hub is not None else None
    return guest if guest is not None and guest.loop is loop and guest.attached else None


class Guest:
    """The greenlets of this thread in a loop that is not gevlite's, from `gevlite.asyncio.attach()` to `detach()`.

    As a context manager it detaches at the end.
    """

    def __init__(self, loop, hub):
        self.loop = loop
        self.hub = hub
        self.attached = False
        self.greenlet = None  # runs the loop
        self.ends = set()  # functions of an exception, each of which ends one wait across the two sides
        self._fds = ()  # what the host watches
        self._pipe = None
        self._own_backend = None  # what the hub had before
        self._timer = None
        self._due_at = math.inf
        self._due = False  # whether a turn is queued with call_soon
        self._turning = False
        self._astray = False  # the loop runs in another thread
        self._close = None  # the loop's own `close`

    def _begin(self):
        loop, hub = self.loop, self.hub
        cooperative = waits_cooperatively(getattr(loop, "_selector", None))
        # A host in Python queues the callbacks of its selector. uvloop calls them at once, in the middle of its own
        # work, with part of its state on the stack: other greenlets must not run there.
        self._at_once = isinstance(loop, asyncio.BaseEventLoop)
        if not cooperative:
            fd = self._descriptor()
            self._pipe = os.pipe()
            self._fds = (fd, self._pipe[0])
            try:
                for fd in self._fds:
                    loop.add_reader(fd, self._news)
                host_begin(hub, self, *self._pipe)
            except BaseException:
                self._release()
                raise
        else:
            hub.host = self
            if isinstance(loop, asyncio.BaseEventLoop):
                loop._check_thread = self._check_thread
        self.attached = True
        try:
            self._close = loop.close
            loop.close = self._close_loop
        except AttributeError:
            self._close = None  # a loop of some other kind: we notice later that it is closed
        if events._get_running_loop() is loop:
            self.greenlet = getcurrent()
            running_hook().begin(loop)
        if not cooperative:
            self._ask()

    def _descriptor(self):
        backend = backend_of(self.hub)
        fileno = getattr(backend, "fileno", None)
        if fileno is not None:
            return fileno()
        told = "set GEVLITE_BACKEND to epoll or kqueue"
        if type(backend).__module__ not in ("gevlite.backends.poll", "gevlite.backends.select"):
            raise RuntimeError(f"attach() needs a backend with a fileno(), which {backend.name} does not have: {told}")
        try:
            other, _ = backends.choose(("epoll", "kqueue"), "attach()")
        except backends.BackendError as exc:
            raise RuntimeError(
                f"attach() needs a backend with a descriptor, which {backend.name} does not have: {told}, "
                f"where there is one of them ({exc})"
            ) from None
        self._own_backend = backend, self.hub.backend_reason
        replace_backend(self.hub, other, f"attached to an event loop, which cannot wait for {backend.name}")
        return other.fileno()

    def _restore_backend(self):
        if self._own_backend is not None and not self.hub.closed:
            substitute = self.hub.backend
            replace_backend(self.hub, *self._own_backend)
            self._own_backend = None
            substitute.close()

    # -------- the end

    def detach(self):
        """Leave the loop. Greenlets then run only while the greenlet that runs the loop calls something that blocks.

        Coroutines that await something of greenlets, and greenlets in `wait`, get RuntimeError. Closing the loop
        detaches, too. Does not block. A second call does nothing. Raises RuntimeError in another thread.
        """
        if self.attached:
            self.hub._check_thread("host.detach")
            self._leave("detached from the event loop while this was awaited")

    def _leave(self, reason):
        try:
            for end in list(self.ends):
                end(RuntimeError(reason))  # as long as any greenlet can notify the loop
        finally:
            self._left()

    def _left(self):
        self.ends.clear()
        self.attached = False
        if self._close is not None and vars(self.loop).get("close") == self._close_loop:
            del self.loop.close
        if getattr(self.loop, "_check_thread", None) == self._check_thread:
            del self.loop._check_thread
        if self._pipe is None:
            self.hub.host = None
        elif not self._turning:  # otherwise the turn does it when it ends
            if self._astray:
                self._end()
            elif self.loop.is_running() and events._get_running_loop() is not self.loop:
                self.loop.call_soon_threadsafe(self._release)  # the host is in the middle of something
            else:
                self._release()

    def _release(self):
        fds, self._fds = self._fds, ()
        if not fds:
            return
        try:
            self._unwatch(fds)
        finally:
            self._end()

    def _unwatch(self, fds):
        if not self.loop.is_closed():
            for fd in fds:
                self.loop.remove_reader(fd)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self):
        if self.hub.host is self:
            host_end(self.hub)
        self._close_pipe()
        self._restore_backend()

    def _close_pipe(self):
        for fd in self._pipe:
            os.close(fd)

    def _close_loop(self):
        close = self._close
        if self.loop.is_running():
            return close()  # this raises
        self._leave("the event loop was closed while this was awaited")
        return close()

    def _check_thread(self):
        # In debug mode the loop checks its thread ID. In a patched process that would be the ID of its greenlet.
        self.hub._check_thread("loop.call_soon")

    def hub_ends(self):
        """For the core: the hub is about to be destroyed."""
        if self.attached:
            with contextlib.suppress(Exception):  # an error of the loop must not keep the hub alive
                self._leave("the hub was destroyed while this was awaited")

    def lost(self):
        """In the child of a fork: the host's descriptors are the parent's, so it is not touched."""
        self.attached = False
        self.ends.clear()
        if self._fds:
            self._fds = ()
            self._close_pipe()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.detach()

    # -------- turns

    def expect(self):
        """A turn of the hub will be needed anyway: the host need not notice what is queued next."""
        if not self._turning and host_expects(self.hub):
            self._ask()

    def poke(self):
        """Something was given to the loop with `call_soon`, perhaps while it waits."""
        if self._pipe is None and self.attached:
            self.loop.call_soon_threadsafe(_nothing)

    def _ask(self):
        if not self._due:
            self._due = True
            self.loop.call_soon(self._asked)

    def _asked(self):
        if self._due:
            self._turn()

    def _news(self):
        if self._at_once:
            self._turn()
        else:
            self._ask()

    def _time(self):
        self._timer = None
        self._due_at = math.inf
        self._news()

    def _turn(self):
        if self._turning or not self.attached:
            return
        if get_hub_if_exists() is not self.hub:
            self._go_astray()
            return
        self._due = False
        self._turning = True
        delay = 0.0
        try:
            self.greenlet = getcurrent()
            delay = host_turn(self.hub, self, self._take_part)
        except Timeout as exc:
            message = (
                "a Timeout of gevlite was started by a callback, outside of any task, and has expired after that: "
                "start it in a coroutine, or use asyncio.timeout() or loop.call_later()"
            )
            self.loop.call_exception_handler({"message": message, "exception": exc})
        finally:
            self._turning = False
            if self.attached:
                self._plan(delay)
            else:
                self._release()

    def _go_astray(self):
        if not self._astray:
            self._astray = True
            self._unwatch(self._fds)
            message = "attach() was called in another thread than the one that now runs the event loop: call it there"
            self.loop.call_exception_handler({"message": message})

    def _take_part(self):
        running_hook().begin(self.loop)

    def _plan(self, delay):
        """Have the host make the next turn in `delay` seconds; None: when something is ready or queued."""
        if delay == 0.0:
            return self._ask()
        timer = self._timer
        if delay is None:
            if timer is not None:
                self._timer = None
                self._due_at = math.inf
                timer.cancel()
            return None
        if not self._at_once:
            delay = math.ceil(delay * 1000) / 1000  # uvloop rounds to milliseconds, to the next one in either direction
        due_at = self.hub.now() + min(delay, _DAY)
        if due_at < self._due_at:
            self._due_at = due_at
            if timer is not None:
                timer.cancel()
            self._timer = self.loop.call_later(min(delay, _DAY), self._time)
        return None  # otherwise it comes too early, once

    def __repr__(self):
        state = "attached to" if self.attached else "detached from"
        return f"<{type(self).__name__} {state} {self.loop!r}>"


def _nothing():
    pass


def check(loop, hub):
    """Raise an error if the hub cannot be in this loop."""
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(f"an event loop of asyncio or uvloop was expected, not {loop!r}")
    if loop.is_closed():
        raise RuntimeError("attach() to an event loop that is closed")
    if loop.is_running() and events._get_running_loop() is not loop:
        raise RuntimeError(
            "attach() to an event loop that another thread or greenlet runs: have it call attach() there, "
            "loop.call_soon_threadsafe(gevlite.asyncio.attach)"
        )
    for other in hubs():
        guest = other.host
        if guest is None:
            continue
        if guest.loop.is_closed() and other is hub:
            guest.detach()
        elif guest.loop is loop:
            raise RuntimeError("this event loop is attached already: detach() it first, or do not attach it again")
        elif other is hub:
            raise RuntimeError(f"this thread is attached to {guest.loop!r}: detach() that first")
