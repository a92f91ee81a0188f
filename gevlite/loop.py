"""`hub.loop`: watchers in the style of gevent, a thin layer on the core.

A watcher is made by a method of the loop and started with a callback, which the hub calls each time the thing happens,
until `stop()`. Callbacks run in the hub and must not block; to wait for one thing, use `hub.wait(watcher)`. An active
watcher keeps the loop alive unless it was made with `ref=False`. Priorities are accepted and ignored: callbacks run in
the order in which things happened.
"""

import os
import signal as _signal
import weakref

from gevlite import _children
from gevlite._core import READ, WRITE, FdWatch, fd_of, get_hub_if_exists, register_hub_attribute, signals_without_ref

__all__ = ["Loop"]

# Taken now: they may be patched later.
_waitpid = os.waitpid
_set_signal = _signal.signal
_close = os.close


class Watcher:
    """What all watchers have in common."""

    _counts = True      # whether it is up to us to keep the loop alive

    def __init__(self, loop, ref=True, priority=None):
        self.loop = loop
        self.hub = loop.hub
        self.ref = ref
        self.priority = priority
        self.callback = None
        self.args = ()
        self.active = False
        self._counted = False
        self._queued = None

    @property
    def pending(self):
        """True if the callback is about to be called."""
        return self._queued is not None and self._queued.pending

    def start(self, callback, *args):
        """Call `callback(*args)` from now on, each time it happens. Raises TypeError if it cannot be called."""
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if self.active:
            self.callback, self.args = callback, args
            return
        self._begin()
        self.callback, self.args = callback, args
        self.active = True
        self.hub.watchers += 1
        if self.ref and self._counts:
            self._counted = True
            self.hub.ref()

    def stop(self):
        """Call no more. Calling it twice does nothing."""
        if self.active:
            self.active = False
            self.hub.watchers -= 1
            self._end()
        if self._counted:
            self._counted = False
            self.hub.unref()
        if self._queued is not None:
            self._queued.stop()
            self._queued = None
        self.callback, self.args = None, ()

    def close(self):
        """The same as `stop()`: nothing else has to be given back."""
        self.stop()

    def feed(self, events, callback, *args):
        """Call `callback(*args)` soon, once."""
        self.hub.call_soon(callback, *args)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def _begin(self):
        raise NotImplementedError

    def _end(self):
        raise NotImplementedError

    def _happened(self):
        """Make the call; in the hub."""
        callback, args = self.callback, self.args
        if self.active and callback is not None:
            callback(*args)

    def __repr__(self):
        state = f"active {self.callback!r}" if self.active else "stopped"
        return f"<{type(self).__name__} watcher at {id(self):#x}{self._describe()} {state}>"

    def _describe(self):
        return ""


class io(Watcher):
    """A file descriptor is ready, as long as it is: the callback comes again and again until it has been dealt with."""

    _counts = False     # the core counts who waits for fds

    def __init__(self, loop, fd, events, ref=True, priority=None):
        super().__init__(loop, ref, priority)
        self.fd = fd_of(fd)
        self.events = events
        self._watch = FdWatch(self.hub, self.fd, events, self._ready)

    def start(self, callback, *args, pass_events=False):
        """As `Watcher.start`. With `pass_events`, what is ready is the first argument."""
        self._pass_events = pass_events
        super().start(callback, *args)

    def _begin(self):
        self._watch.start()
        if not self.ref:
            self.hub.unref()        # the core counts who waits for an fd; one reference fewer evens it out

    def _end(self):
        self._watch.stop()
        if not self.ref:
            self.hub.ref()          # see _begin: the core counted the watch, this takes it out of the sum again

    def _ready(self, events):
        if not self.active:
            return
        try:
            if self._pass_events:
                self.callback(events, *self.args)
            else:
                self.callback(*self.args)
        finally:
            if self.active:
                try:
                    self._watch.start()
                except OSError:
                    self.stop()
                    raise

    def _describe(self):
        names = "|".join(name for bit, name in ((READ, "READ"), (WRITE, "WRITE")) if self.events & bit)
        return f" fd={self.fd} {names}"


class timer(Watcher):
    """`after` seconds are over, and then every `repeat` seconds."""

    _counts = False     # so does the timer heap

    def __init__(self, loop, after=0.0, repeat=0.0, ref=True, priority=None):
        if repeat < 0:
            raise ValueError("repeat must not be negative")
        super().__init__(loop, ref, priority)
        self.after = after
        self.repeat = repeat
        self._timer = None

    def start(self, callback, *args, update=None):
        """As `Watcher.start`; `update` is accepted and ignored, the clock is always read anew."""
        super().start(callback, *args)

    def again(self, callback, *args, update=None):
        """Start over: with `repeat` as the first delay too, if there is one."""
        if self.active:
            self.stop()
        after, self.after = self.after, self.repeat or self.after
        try:
            self.start(callback, *args)
        finally:
            self.after = after

    def _begin(self):
        self._timer = self.hub.call_later(max(self.after, 0), self._fired, repeat=self.repeat, ref=self.ref)

    def _end(self):
        self._timer.stop()
        self._timer = None

    def _fired(self):
        callback, args = self.callback, self.args
        if not self.repeat:
            self.stop()
        if callback is not None:
            callback(*args)

    @property
    def pending(self):
        return False if self._timer is None else self._timer.pending

    def _describe(self):
        return f" after={self.after} repeat={self.repeat}"


class async_(Watcher):
    """`send()` was called, by any thread. Several calls before the hub comes to it are one."""

    def _begin(self):
        pass

    def _end(self):
        pass

    def send(self):
        """Have the callback called soon. May be called from any thread; wakes the hub at once."""
        if self.active and (self._queued is None or not self._queued.pending):
            self._queued = self.hub.call_soon_threadsafe(self._happened)

    def send_ignoring_arg(self, _ignored):
        """`send()` that can be used as a link."""
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


class prepare(_Hook):
    """The loop is about to poll."""

    _where = "before_poll"
    _counts = False


class check(_Hook):
    """The loop has just polled."""

    _where = "after_poll"
    _counts = False


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
    """We are the child of a fork."""

    _counts = False
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
    """A signal came. While active it replaces the handler that `signal.signal` had set; main thread only.

    ref: True keeps the loop alive. Otherwise `Hub.join` does not wait for the signal; but a main greenlet that waits
    for something which only the signal's handler can bring about goes on waiting, unless `ref` is False (and not None).
    """

    _all = {}       # number -> (the handler before, watchers)

    def __init__(self, loop, signalnum, ref=True, priority=None):
        _signal.Signals(signalnum)      # ValueError for what is no signal
        super().__init__(loop, ref, priority)
        self.signalnum = signalnum

    def _begin(self):
        entry = self._all.get(self.signalnum)
        if entry is None:
            before = _set_signal(self.signalnum, self._caught)
            entry = self._all[self.signalnum] = (before, [])
        entry[1].append(self)
        self._tell_core()

    def set_ref(self, value):
        """Change `ref`, also while it is active."""
        self.ref = value
        if self.active:
            if bool(value) != self._counted:
                self._counted = bool(value)
                (self.hub.ref if value else self.hub.unref)()
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
        # A Python-level handler: runs between two bytecodes of the main thread, in whichever greenlet that is.
        entry = cls._all.get(signalnum)
        if entry is not None:
            for watcher in list(entry[1]):
                watcher._queued = watcher.hub.call_soon_threadsafe(watcher._happened)

    def _describe(self):
        return f" {_signal.Signals(self.signalnum).name}"


class child(Watcher):
    """The child process `pid` has ended: `rstatus` is its wait status, `returncode` as in subprocess. Calls back once.

    The process is reaped here. `trace` is accepted and ignored. In the child of a fork, which has other children, the
    parent's watchers are stopped.
    """

    _all = weakref.WeakSet()

    def __init__(self, loop, pid, trace=0, ref=True):
        if pid <= 0:
            raise ValueError("a child watcher needs the pid of one child")
        super().__init__(loop, ref)
        self.pid = pid
        self.rpid = None
        self.rstatus = 0
        self._pidfd = None
        self._io = None
        self._event = None

    @property
    def returncode(self):
        """The exit status, negative for a signal; None while it runs."""
        return None if self.rpid is None else os.waitstatus_to_exitcode(self.rstatus)

    def _begin(self):
        if self.rpid is not None:
            raise ValueError(f"child {self.pid} has already ended and was reported")
        self._pidfd = _children.pidfd(self.pid)
        if self._pidfd is not None:
            self._io = self.loop.io(self._pidfd, READ, ref=self.ref)
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
            pid, status = _waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.pid, 0       # somebody else has taken its status
        if pid == 0:
            if self._event is not None:
                self._event = _children.watch(os.P_PID, self.pid, os.WEXITED)
                self._event.rawlink(self._look)
            return
        self.rpid, self.rstatus = pid, status
        callback, args = self.callback, self.args
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
    """A file's status changed, looked at every `interval` seconds (0: every 5). `attr` and `prev`: os.stat or None."""

    def __init__(self, loop, path, interval=0.0, ref=True, priority=None):
        super().__init__(loop, ref, priority)
        self.path = os.fspath(path)
        self.interval = interval or 5.0
        self.attr = self.prev = None
        self._timer = None

    def _status(self):
        try:
            return os.stat(self.path)
        except OSError:
            return None

    def _begin(self):
        self.attr = self._status()
        self._timer = self.hub.call_later(self.interval, self._look, repeat=self.interval, ref=False)

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


class Loop:
    """The watchers of one hub, `hub.loop`."""

    MAXPRI = MINPRI = 0     # priorities are ignored

    def __init__(self, hub):
        self.hub = hub

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
        """The time in seconds, of a clock that only goes forward."""
        return self.hub.now()

    def update_now(self):
        """Nothing to do: the clock is read whenever it is needed."""

    update = update_now

    @property
    def default(self):
        """True for the loop of the main thread."""
        return self.hub.main_hub

    @property
    def backend(self):
        """The name of the backend."""
        return self.hub.backend.name

    @property
    def approx_timer_resolution(self):
        """How exact timers are, in seconds."""
        return 1e-9 if self.backend in ("epoll", "kqueue") else 1e-6 if self.backend == "select" else 1e-3

    @property
    def pendingcnt(self):
        """How many things are ready to be done."""
        return self.hub.stats()["ready"]

    @property
    def iteration(self):
        """How often the loop has polled."""
        return self.hub.stats()["polls"]

    def ref(self):
        """Keep the loop alive once more."""
        self.hub.ref()

    def unref(self):
        """Take back one `ref()`."""
        self.hub.unref()

    def handle_error(self, context, type, value, tb):
        """As `Hub.handle_error`."""
        self.hub.handle_error(context, type, value, tb)

    def destroy(self):
        """`Hub.destroy()`."""
        self.hub.destroy()

    def __repr__(self):
        return f"<Loop of {self.hub!r}>"


register_hub_attribute("loop", Loop)
