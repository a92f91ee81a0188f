"""`hub.loop`: watchers in gevent's style, a thin layer on the core.

A method of the loop makes a watcher. `start(callback)` makes the hub call the callback at each event, until `stop()`.
Callbacks run in the hub; to wait for one event, use `hub.wait(watcher)`. An active watcher keeps the loop alive unless
its `ref` is False; `ref` may be changed at any time. Priorities are accepted and have no effect: callbacks run in the
order of the events.
"""

import functools
import math
import operator
import os
import signal as _signal
import weakref

from greenlet import getcurrent as _getcurrent

from gevlite import _children
from gevlite._core import (
    READ,
    WRITE,
    FdWatch,
    Hub,
    Waiter,
    backend_of,
    fd_of,
    get_hub,
    get_hub_if_exists,
    signals_without_ref,
    something_is_due,
)
from gevlite.greenlet import spawn

__all__ = ["Loop"]

# Imported now, because they may be patched later.
_wait4 = os.wait4
_set_signal = _signal.signal
_close = os.close

_once = []  # for each `run(once=True)`: its hub, and the function that ends it soon


class Watcher:
    """The common part of all watchers."""

    _core_counts = False  # whether the core itself counts an active one as a reason to keep the loop alive

    def __init__(self, loop, ref=True, priority=None):
        self.loop = loop
        self.hub = loop.hub
        self.active = False
        self._ref = bool(ref)
        self._callback = None
        self._args = None
        self._counted = 0  # how often this watcher has called `Hub.ref()`, minus `Hub.unref()`
        self._queued = None
        self.priority = priority

    @property
    def ref(self):
        """Whether it keeps the loop alive while it is active. It can be changed at any time."""
        return self._ref

    @ref.setter
    def ref(self, value):
        self._ref = bool(value)
        self._count()

    @property
    def priority(self):
        """A number without effect, 0 by default. It can be set while the watcher is not active."""
        return self._priority

    @priority.setter
    def priority(self, value):
        if self.active:
            raise AttributeError("the priority of a watcher cannot be set while it is active: stop() it first")
        self._priority = 0 if value is None else operator.index(value)

    @property
    def callback(self):
        """The function that is called; None if the watcher was not started, or was stopped."""
        return self._callback

    @callback.setter
    def callback(self, value):
        self._callback = None if value is None else _checked(value)

    @property
    def args(self):
        """The tuple of arguments for `callback`, or None."""
        return self._args

    @args.setter
    def args(self, value):
        if value is not None and not isinstance(value, tuple):
            raise TypeError(f"args must be a tuple or None, not {value!r}")
        self._args = value

    @property
    def pending(self):
        """True if the callback is about to be called."""
        return self._queued is not None and self._queued.pending

    def start(self, callback, *args):
        """Call `callback(*args)` at each event from now on. Raises TypeError if `callback` is not callable.

        If the watcher is already active, this replaces its callback.
        """
        _checked(callback)
        if not self.active:
            self._begin()
            self.active = True
            self.hub.watchers += 1
            self._count()
        self._callback, self._args = callback, args

    def stop(self):
        """Stop calling the callback; this also cancels `feed`. Calling it twice does nothing."""
        if self.active:
            self.active = False
            self.hub.watchers -= 1
            self._end()
            self._count()
        if self._queued is not None:
            self._queued.stop()
            self._queued = None
        self._callback = self._args = None

    def close(self):
        """The same as `stop()`: there is nothing else to release."""
        self.stop()

    def feed(self, events, callback, *args):
        """Call `callback(*args)` soon, as if the event had happened, whether the watcher is active or not."""
        self._callback, self._args = _checked(callback), args
        if not self.pending:
            self._queued = self.hub.call_soon(self._fed)

    def _fed(self):
        self._is_due()
        callback, args = self._callback, self._args
        if not self.active:
            self._callback = self._args = None
        if callback is not None:
            callback(*args)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def _begin(self):
        raise NotImplementedError

    def _end(self):
        raise NotImplementedError

    def _count(self):
        """Correct the hub's count of reasons to keep the loop alive: the core's and this watcher's together."""
        wanted = (bool(self._ref) - self._core_counts) if self.active else 0
        while self._counted < wanted:
            self._counted += 1
            self.hub.ref()
        while self._counted > wanted:
            self._counted -= 1
            self.hub.unref()

    def _is_due(self):
        """Something happens now: what `run(once=True)` waits for."""
        for hub, end in _once:
            if hub is self.hub:
                end()

    def _happened(self):
        """Call the callback; in the hub."""
        self._is_due()
        callback, args = self._callback, self._args
        if self.active and callback is not None:
            callback(*args)

    def __repr__(self):
        state = f"active {self._callback!r}" if self.active else "stopped"
        return f"<{type(self).__name__} watcher at {id(self):#x}{self._describe()} {state}>"

    def _describe(self):
        return ""


def _checked(callback):
    if not callable(callback):
        raise TypeError(f"callback must be callable, not {callback!r}")
    return callback


def _seconds(value, what):
    """A number of seconds, unchanged."""
    if math.isnan(value):  # raises TypeError if it is not a number
        raise ValueError(f"{what} must not be NaN")
    return value


class io(Watcher):
    """A file descriptor is ready. The callback is called again and again for as long as it is."""

    _core_counts = True  # the core counts waiters for descriptors
    _pass_events = False

    def __init__(self, loop, fd, events, ref=True, priority=None):
        super().__init__(loop, ref, priority)
        self._watch = FdWatch(self.hub, fd_of(fd), events, self._ready)

    @property
    def fd(self):
        """The descriptor. It can be set while the watcher is not active."""
        return self._watch.fd

    @fd.setter
    def fd(self, value):
        self._watch_other(fd_of(value), self._watch.events)

    @property
    def events(self):
        """READ (1), WRITE (2) or both. It can be set while the watcher is not active."""
        return self._watch.events

    @events.setter
    def events(self, value):
        self._watch_other(self._watch.fd, value)

    def _watch_other(self, fd, events):
        if self.active:
            raise AttributeError("fd and events of a watcher cannot be set while it is active: stop() it first")
        self._watch = FdWatch(self.hub, fd, events, self._ready)

    @property
    def events_str(self):
        """`events` in words, such as "READ|WRITE"."""
        return "|".join(name for bit, name in ((READ, "READ"), (WRITE, "WRITE")) if self.events & bit)

    def start(self, callback, *args, pass_events=False):
        """Like `Watcher.start`. With `pass_events`, the ready events are the callback's first argument."""
        super().start(callback, *args)
        self._pass_events = pass_events

    def _begin(self):
        self._watch.start()

    def _end(self):
        self._watch.stop()

    def _ready(self, events):
        if not self.active:
            return
        self._is_due()
        callback, args = self._callback, self._args
        try:
            if callback is not None:
                callback(*((events, *args) if self._pass_events else args))
        finally:
            if self.active:
                try:
                    self._watch.start()
                except OSError:
                    self.stop()
                    raise

    def _describe(self):
        return f" fd={self.fd} {self.events_str}"


class timer(Watcher):
    """Fires after `after` seconds, and then every `repeat` seconds."""

    def __init__(self, loop, after=0.0, repeat=0.0, ref=True, priority=None):
        if _seconds(repeat, "repeat") < 0:
            raise ValueError("repeat must not be negative")
        super().__init__(loop, ref, priority)
        self.after = _seconds(after, "after")
        self.repeat = repeat
        self._timer = None
        self._at = 0.0

    @property
    def at(self):
        """When it fires next, by `loop.now()`; 0 if it has never been started."""
        return self._at

    def start(self, callback, *args, update=None):
        """Like `Watcher.start`; `update` is accepted and ignored: the clock is always read again."""
        super().start(callback, *args)

    def again(self, callback, *args, update=None):
        """Start again; if `repeat` is set, it is also the first delay."""
        _checked(callback)
        self.stop()
        after, self.after = self.after, self.repeat or self.after
        try:
            self.start(callback, *args)
        finally:
            self.after = after

    def _begin(self):
        after = max(self.after, 0)
        # ref=False: `_count` does the counting.
        self._timer = self.hub.call_later(after, self._fired, repeat=self.repeat, ref=False)
        self._at = self.hub.now() + after

    def _end(self):
        self._timer.stop()
        self._timer = None

    def _fired(self):
        self._is_due()
        callback, args = self._callback, self._args
        if self.repeat:
            self._at = self.hub.now() + self.repeat
        else:
            self.stop()
        if callback is not None:
            callback(*args)

    @property
    def pending(self):
        """True if the time is over and the callback is about to be called."""
        return super().pending or self._timer is not None and self._timer.pending and self._at <= self.hub.now()

    def _describe(self):
        return f" after={self.after} repeat={self.repeat}"


class async_(Watcher):
    """`send()` was called, by any thread. Several calls before the hub runs the callback count as one."""

    def _begin(self):
        pass

    def _end(self):
        pass

    def send(self):
        """Make the hub call the callback soon. May be called from any thread; wakes the hub at once."""
        if self.active and not self.pending:
            self._queued = self.hub.call_soon_threadsafe(self._happened)

    def send_ignoring_arg(self, _ignored):
        """`send()` for use as a link."""
        self.send()


class _Hook(Watcher):
    def _hooks(self):
        hooks = getattr(self.hub, self._where)
        if hooks is None:
            hooks = []
            setattr(self.hub, self._where, hooks)
        return hooks

    def _begin(self):
        self._hooks().append(self._happened)

    def _end(self):
        self._hooks().remove(self._happened)

    def _is_due(self):
        pass  # not an event: it is called in each turn


class prepare(_Hook):
    """The loop is about to poll."""

    _where = "before_poll"


class check(_Hook):
    """The loop has just polled."""

    _where = "after_poll"


class idle(_Hook):
    """Nothing else is ready. While one is active the loop does not sleep."""

    _where = "before_poll"

    def _begin(self):
        super()._begin()
        self.hub.spinning += 1

    def _end(self):
        super()._end()
        self.hub.spinning -= 1


class fork(Watcher):
    """The process has forked, and this is the child."""

    _all = weakref.WeakSet()

    def _begin(self):
        self._all.add(self)

    def _end(self):
        self._all.discard(self)

    @classmethod
    def _forked(cls):
        for watcher in list(cls._all):
            watcher.hub.call_soon_threadsafe(watcher._happened)


os.register_at_fork(after_in_child=fork._forked)


class signal(Watcher):
    """A signal has arrived. An active watcher replaces the handler set with `signal.signal`; main thread only.

    ref: True keeps the loop alive. Otherwise `Hub.join` does not wait for the signal. But if the main greenlet waits
    for something that only the signal's handler can cause, it continues to wait, unless `ref` is False (not None).
    """

    _all = {}  # number -> (the handler before, watchers)

    def __init__(self, loop, signalnum, ref=True, priority=None):
        signalnum = operator.index(signalnum)
        if signalnum not in _signal.valid_signals():
            raise ValueError(f"{signalnum} is not a signal number")
        super().__init__(loop, ref, priority)
        self._ref = ref if ref is None else bool(ref)
        self.signalnum = signalnum

    @property
    def ref(self):
        """See the class."""
        return self._ref

    @ref.setter
    def ref(self, value):
        self._ref = value if value is None else bool(value)
        self._count()
        if self.active:
            self._tell_core()

    def _begin(self):
        entry = self._all.get(self.signalnum)
        if entry is None:
            before = _set_signal(self.signalnum, self._caught)
            entry = self._all[self.signalnum] = (before, [])
        entry[1].append(self)
        self._tell_core()

    def _tell_core(self):
        entry = self._all.get(self.signalnum)
        if entry is not None and all(watcher.ref is False for watcher in entry[1]):
            signals_without_ref[self.signalnum] = self._caught
        else:
            signals_without_ref.pop(self.signalnum, None)

    def _end(self):
        before, watchers = self._all[self.signalnum]
        watchers.remove(self)
        if watchers:
            self._tell_core()
        else:
            signals_without_ref.pop(self.signalnum, None)
            del self._all[self.signalnum]
            if _signal.getsignal(self.signalnum) == self._caught:
                _set_signal(self.signalnum, before if before is not None else _signal.SIG_DFL)

    @classmethod
    def _caught(cls, signalnum, _frame):
        # A Python handler runs between two bytecodes of the main thread, in whichever greenlet is running.
        entry = cls._all.get(signalnum)
        if entry is not None:
            for watcher in list(entry[1]):
                watcher._queued = watcher.hub.call_soon_threadsafe(watcher._happened)

    def _describe(self):
        try:
            return f" {_signal.Signals(self.signalnum).name}"
        except ValueError:  # a real-time signal
            return f" {self.signalnum}"


class child(Watcher):
    """The child process `pid` has ended: `rstatus` is its wait status, `returncode` as in subprocess, `rusage` its use
    of resources (or None). Calls back once.

    The watcher reaps the process. `trace` is accepted and ignored. In the child of a fork, whose children are others,
    the parent's watchers are stopped.
    """

    _all = weakref.WeakSet()

    def __init__(self, loop, pid, trace=0, ref=True):
        pid = operator.index(pid)
        if pid <= 0:
            raise ValueError("a child watcher needs the pid of one child")
        super().__init__(loop, ref)
        self.pid = pid
        self.rpid = 0
        self.rstatus = 0
        self.rusage = None
        self._pidfd = None
        self._io = None
        self._event = None

    @property
    def returncode(self):
        """The exit status, negative for a signal; None while it runs."""
        return os.waitstatus_to_exitcode(self.rstatus) if self.rpid else None

    def _begin(self):
        if self.rpid:
            raise ValueError(f"child {self.pid} has already ended and was reported")
        self._pidfd = _children.pidfd(self.pid)
        if self._pidfd is not None:
            self._io = self.loop.io(self._pidfd, READ, ref=False)
            self._io.start(self._look)
        else:
            self._event = _children.watch(os.P_PID, self.pid, os.WEXITED)
            self._event.rawlink(self._look)
        self._all.add(self)

    def _end(self):
        self._all.discard(self)
        if self._io is not None:
            self._io.stop()
            self._io = None
            _close(self._pidfd)
            self._pidfd = None
        if self._event is not None:
            self._event.unlink(self._look)
            self._event = None

    def _look(self, _event=None):
        if not self.active:
            return
        try:
            pid, status, usage = _wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status, usage = self.pid, 0, None  # other code has taken its status
        if pid == 0:
            if self._event is not None:
                self._event = _children.watch(os.P_PID, self.pid, os.WEXITED)
                self._event.rawlink(self._look)
            return
        self._report(status, usage)

    def was_taken(self, status):
        """The child has ended and other code has taken its status from the kernel: call back all the same."""
        if self.active:
            self.hub.call_soon(self._report, status, None)

    def _report(self, status, usage):
        if not self.active:
            return
        self._is_due()
        self.rpid, self.rstatus, self.rusage = self.pid, status, usage
        callback, args = self._callback, self._args
        self.stop()
        callback(*args)

    def _describe(self):
        return f" pid={self.pid}"

    @classmethod
    def _forked(cls):
        hub = get_hub_if_exists()
        for watcher in list(cls._all):
            if watcher.hub is hub:
                watcher.stop()


os.register_at_fork(after_in_child=child._forked)


class stat(Watcher):
    """A file's status has changed. `attr` and `prev` are its os.stat results, now and before, or None.

    The file is checked every `interval` seconds: 0 means every 5 seconds, and less than 0.1 means 0.1.
    """

    DEFAULT_INTERVAL = 5.0
    LEAST_INTERVAL = 0.1

    def __init__(self, loop, path, interval=0.0, ref=True, priority=None):
        super().__init__(loop, ref, priority)
        self.path = os.fspath(path)
        self.interval = _seconds(interval, "interval")
        self.attr = self.prev = None
        self._timer = None

    def _status(self):
        try:
            return os.stat(self.path)
        except OSError:
            return None

    def _begin(self):
        self.attr = self._status()
        interval = max(self.interval, self.LEAST_INTERVAL) if self.interval else self.DEFAULT_INTERVAL
        self._timer = self.hub.call_later(interval, self._look, repeat=interval, ref=False)

    def _end(self):
        self._timer.stop()
        self._timer = None

    def _look(self):
        now = self._status()
        seen = [s and (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino, s.st_mode) for s in (now, self.attr)]
        if seen[0] != seen[1]:
            self.prev, self.attr = self.attr, now
            self._happened()

    def _describe(self):
        return f" {self.path!r}"


# libev's numbers for its backends.
_BACKEND_NUMBERS = {"select": 1, "poll": 2, "epoll": 4, "kqueue": 8}


class Loop:
    """The watchers of one hub, `hub.loop`.

    `Loop()` is another set of watchers of the running thread's hub: a thread has only one loop. gevent's arguments
    `flags` and `default` are accepted and have no effect.
    """

    MAXPRI, MINPRI = 2, -2  # of watchers; without effect

    def __init__(self, hub=None, default=None, *, flags=None):
        self.hub = hub if isinstance(hub, Hub) else get_hub()
        self._runs = []  # for each active `run`, the function that ends it

    def _maker(cls):
        def make(self, *args, **kwargs):
            return cls(self, *args, **kwargs)

        make.__doc__ = cls.__doc__
        make.__name__ = cls.__name__
        return make

    io = _maker(io)
    timer = _maker(timer)
    async_ = _maker(async_)
    prepare = _maker(prepare)
    check = _maker(check)
    idle = _maker(idle)
    fork = _maker(fork)
    signal = _maker(signal)
    child = _maker(child)
    stat = _maker(stat)
    del _maker

    def run_callback(self, func, *args):
        """Call `func(*args)` in the hub, soon. Returns a handle with `stop()` and `pending`."""
        return self.hub.call_soon(func, *args)

    def run_callback_threadsafe(self, func, *args):
        """`run_callback` for other threads: wakes the hub at once."""
        return self.hub.call_soon_threadsafe(func, *args)

    def now(self):
        """The time in seconds, by a clock that never goes back."""
        return self.hub.now()

    def update_now(self):
        """Nothing to do: the clock is read whenever it is needed."""

    update = update_now

    def run(self, nowait=False, once=False):
        """Block until nothing keeps the loop alive any more, or until `break_()`. Everything else continues meanwhile.

        nowait: block only until everything that is ready now has run. once: block only until something happens; an
        event that is already due counts.
        """
        if nowait:
            self.hub.wait_idle()
            return
        waiter = Waiter(self.hub)
        end = functools.partial(self.hub.call_later, 0, waiter.wake, ref=False)  # after the timers that are due
        is_due = something_is_due(self.hub)
        joiner = spawn(self._join, waiter)
        self._runs.append(waiter)

        def polled():
            # A poll that did not wait, as at the end of a time slice, does not count.
            if something_is_due(self.hub) or self.hub.spinning:
                end()

        if once:
            if is_due:
                end()
            if self.hub.after_poll is None:
                self.hub.after_poll = []
            self.hub.after_poll.append(polled)
            _once.append((self.hub, end))
        try:
            waiter.park()
        finally:
            if once:
                self.hub.after_poll.remove(polled)
                _once.remove((self.hub, end))
            self._runs.remove(waiter)
            joiner.kill(block=False)

    def _join(self, waiter):
        self.hub.join()
        waiter.wake()

    def break_(self, how=None):
        """Make the latest `run()` return, or with `how` 2 all of them."""
        for waiter in self._runs if how == 2 else self._runs[-1:]:
            waiter.wake()

    def reinit(self):
        """Nothing to do: every fork already gives the child's hub a new backend."""

    def verify(self):
        """Nothing to do; for code written for gevent."""

    def install_sigchld(self):
        """Nothing to do: gevlite waits for children without a handler for SIGCHLD."""

    reset_sigchld = install_sigchld

    def closing_fd(self, fd):
        """Announce that `fd` is about to be closed: its waiters get EBADF. True if there are any."""
        before = self.hub.stats()
        self.hub._forget_fd(fd, 0)
        after = self.hub.stats()
        return after["ready"] > before["ready"] or after["fd_waiters"] < before["fd_waiters"]

    def fileno(self):
        """The descriptor of the kernel's poll object (epoll, kqueue); None if the backend has none."""
        fileno = getattr(backend_of(self.hub), "fileno", None)
        return None if fileno is None else fileno()

    @property
    def default(self):
        """True for the loop of the main thread."""
        return self.hub.main_hub

    @property
    def backend(self):
        """The name of the backend."""
        return self.hub.backend.name

    @property
    def backend_int(self):
        """libev's number for such a backend; 0 if it has none."""
        return _BACKEND_NUMBERS.get(self.backend, 0)

    origflags = ()
    origflags_int = 0

    @property
    def approx_timer_resolution(self):
        """The resolution of timers, in seconds."""
        return 1e-9 if self.backend in ("epoll", "kqueue") else 1e-6 if self.backend == "select" else 1e-3

    @property
    def pendingcnt(self):
        """The number of entries in the ready queue."""
        return self.hub.stats()["ready"]

    @property
    def activecnt(self):
        """The number of things that keep the loop alive: timers, greenlets that wait for a descriptor, and others."""
        stats = self.hub.stats()
        return stats["timers"] - stats["unref_timers"] + stats["fd_waiters"] + stats["refs"]

    @property
    def iteration(self):
        """How often the loop has polled."""
        return self.hub.stats()["polls"]

    @property
    def depth(self):
        """1 in the loop's own callbacks, 0 elsewhere."""
        return int(_getcurrent() is self.hub)

    def ref(self):
        """Add a reason to keep the loop alive."""
        self.hub.ref()

    def unref(self):
        """Undo one `ref()`."""
        self.hub.unref()

    def handle_error(self, context, type, value, tb):
        """The same as `Hub.handle_error`."""
        self.hub.handle_error(context, type, value, tb)

    def destroy(self):
        """`Hub.destroy()`, if this is `hub.loop`."""
        if vars(self.hub).get("loop") is self:
            self.hub.destroy()

    def __repr__(self):
        return f"<Loop of {self.hub!r}>"
