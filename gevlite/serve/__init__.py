"""A web server of several processes: `python -m gevlite serve package.module:app`, or `Server` in a program.

    Server("package.module:app", bind="0.0.0.0:8000").run()

The process that runs this is the supervisor. It binds the sockets, forks the workers, and from then on only supervises
them: it never imports the application, and serves no clients. A worker (`_worker`) patches itself, imports the
application, and serves it with `gevlite.pywsgi`.

No request is lost when a worker is replaced, for whatever reason: the new worker has loaded the application before the
old one is asked to stop; the sockets stay open in the supervisor all the time; and the old worker finishes the requests
that it has begun.

For each slot from 0 to `workers` - 1 there must be one serving worker. `_reconcile` compares this with the actual state
and acts; all other methods only record events. A reload is a new generation of workers, which takes over when all of
them are ready, or is given up if one of them fails.
"""

import collections
import contextlib
import errno
import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time

from gevlite import config
from gevlite.pywsgi import Limits, _parser_class
from gevlite.serve import _worker
from gevlite.serve._listen import Listeners
from gevlite.serve._settings import Settings
from gevlite.serve._systemd import Notifier, passed_descriptors

__all__ = ["Limits", "Server", "StartError"]

logger = logging.getLogger("gevlite.serve")

# Seconds. A worker that lives for less time has failed; its successors wait, each twice as long as the one before.
_SHORT_LIFE = 1.0
_FIRST_DELAY = 0.1
_LAST_DELAY = 10.0
# The time that a worker has to end after `graceful_timeout`; and after SIGABRT, to print what it was doing.
_TO_END = 2.0
_TO_ABORT = 2.0
# How often the files of the application are checked.
_LOOK = 0.5


class StartError(Exception):
    """The workers cannot start: the application does not exist, or its import fails. The message says why."""


class _Process:
    """The supervisor's view of a worker."""

    def __init__(self, pid, slot, generation, control):
        self.pid = pid
        self.slot = slot
        self.generation = generation
        self.control = control
        self.state = "booting"  # then "ready", "serving", "stopping"
        self.retiring = self.silent = False
        self.failure = None
        self.unread = b""
        self.since = self.heard = time.monotonic()
        self.kill_at = None

    def tell(self, what):
        try:
            self.control.sendall(json.dumps({"what": what}).encode() + b"\n")
        except OSError:
            pass  # it is dead or hangs, which will be noticed elsewhere

    def messages(self):
        """The messages that have arrived. Sets `silent` after the last one. Raises ValueError if one is invalid."""
        try:
            while data := self.control.recv(65536):
                self.unread += data
            self.silent = True
        except BlockingIOError:
            pass
        except OSError:
            self.silent = True
        *lines, self.unread = self.unread.split(b"\n")
        return [json.loads(line) for line in lines]

    def kill(self, signum):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)


class Server:
    """Serves a WSGI application with several processes.

    app: `"package.module:name"`, `"package.module:factory()"`, or the application itself. A reload loads only a named
    application again. settings: see docs/deploying.md, which has all of them and their defaults.

    Raises TypeError or ValueError for invalid settings, ImportError if httptools is not installed.
    """

    def __init__(self, app, **settings):
        _parser_class()
        self.settings = Settings(app=app, **settings)
        self.addresses = []
        self._workers = {}  # pid: _Process
        self._generation = 1
        self._next = None  # the generation that will take over, if there is one
        self._orders = collections.deque()
        self._stopping = False
        self._served = False  # whether any worker has served
        self._held = False  # nothing is started until a file changes (`reload`)
        self._failure = None
        self._failures = collections.Counter()  # by slot, in a row
        self._not_before = {}  # slot: when its next worker may start
        self._files = {}  # path: when it was changed
        self._wake = None

    # -------- from outside

    def run(self):
        """Listen and serve. Blocks until the server has been stopped: by `stop`, SIGTERM or SIGINT.

        Raises OSError if it cannot listen, `StartError` if the application cannot be loaded, RuntimeError outside of
        the main thread. It forks: call it before threads are started. The workers never return from it.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Server.run() handles signals and so must be called in the main thread")
        self._notifier = Notifier()
        self._listeners = Listeners(self.settings, passed_descriptors())
        self.addresses = list(self._listeners.names)
        try:
            self._selector = selectors.DefaultSelector()
            self._woken, self._wake = socket.socketpair()
            for sock in (self._woken, self._wake):
                sock.setblocking(False)
            self._selector.register(self._woken, selectors.EVENT_READ)
            with self._signals():
                self._supervise()
        finally:
            self._kill_all()
            self._listeners.close()
            self._selector.close()
            self._woken.close()
            self._wake.close()
        if self._failure is not None:
            raise StartError(self._failure)

    def stop(self, now=False):
        """Make `run` return when all requests are answered, at most `graceful_timeout` seconds from now; with `now`, at
        once. Never blocks; may be called in signal handlers and in other threads.
        """
        self._order("quit" if now else "stop")

    def reload(self):
        """Replace all workers with new ones, which load the application again. No request is lost. Never blocks.

        If the new ones fail, the old ones continue.
        """
        self._order("reload")

    def _order(self, what):
        self._orders.append(what)
        with contextlib.suppress(OSError, AttributeError):
            self._wake.send(b"\0")

    @contextlib.contextmanager
    def _signals(self):
        def on_int(signum, frame):
            self._order("quit" if self._stopping else "stop")

        handlers = {
            signal.SIGTERM: lambda *args: self._order("stop"),
            signal.SIGINT: on_int,
            signal.SIGQUIT: lambda *args: self._order("quit"),
            signal.SIGHUP: lambda *args: self._order("reload"),
            signal.SIGUSR1: lambda *args: self._order("reopen"),
            signal.SIGCHLD: lambda *args: self._order("look"),
        }
        before = {signum: signal.signal(signum, handler) for signum, handler in handlers.items()}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, signal.SIG_DFL if handler is None else handler)

    # -------- the loop

    def _supervise(self):
        next_look = 0.0
        watchdog = self._notifier.watchdog
        next_word = 0.0
        while True:
            self._reap()
            self._end_who_hang()
            if self.settings.reload and time.monotonic() >= next_look:
                self._look_at_files()
                next_look = time.monotonic() + _LOOK
            self._reconcile()
            if watchdog and time.monotonic() >= next_word:
                self._notifier.say(WATCHDOG=1)
                next_word = time.monotonic() + watchdog
            if self._stopping and not self._workers:
                return
            for key, _ in self._selector.select(self._patience(watchdog)):
                if key.data is None:
                    with contextlib.suppress(OSError):
                        while self._woken.recv(4096):
                            pass
                else:
                    self._listen_to(key.data)
            while self._orders:
                getattr(self, f"_on_{self._orders.popleft()}")()

    def _patience(self, watchdog):
        now = time.monotonic()
        times = [1.0, watchdog or 1.0]
        if self.settings.reload:
            times.append(_LOOK)
        times += [at - now for at in self._not_before.values() if at > now]
        times += [process.kill_at - now for process in self._workers.values() if process.kill_at is not None]
        return max(min(times), 0.0)

    def _reconcile(self):
        """Start missing workers, let ready ones serve, and stop the workers that they replace."""
        if self._stopping or self._held:
            return
        try:
            self._reconcile_slots()
            if self._next is not None:
                self._reconcile_next()
        except OSError as exc:
            # The system cannot start another process. The existing ones continue.
            logger.error("Cannot start a worker: %s", exc)
            if self._next is not None:
                self._give_up_next()
            self._not_before = dict.fromkeys(range(self.settings.workers), time.monotonic() + _LAST_DELAY)

    def _reconcile_slots(self):
        for slot in range(self.settings.workers):
            mine = [
                one
                for one in self._workers.values()
                if one.slot == slot and one.state != "stopping" and one.generation <= self._generation
            ]
            current = [one for one in mine if one.generation == self._generation]
            for ready in [one for one in current if one.state == "ready"][:1]:
                self._let_serve(ready)
                for old in mine:
                    if old is not ready:
                        self._stop(old)
            if not any(one.state != "serving" or not one.retiring for one in current):
                if time.monotonic() >= self._not_before.get(slot, 0):
                    self._start(slot, self._generation)
        serving = [one for one in self._workers.values() if one.state == "serving"]
        if not self._served and len(serving) == self.settings.workers:
            self._served = True
            count = self.settings.workers
            what = self.settings.app if isinstance(self.settings.app, str) else "the application"
            text = f"Serving {what} on {', '.join(self.addresses)} with {count} worker{'s' if count > 1 else ''}"
            logger.info("%s (pid %d)", text, os.getpid())
            self._notifier.ready(text)

    def _reconcile_next(self):
        coming = [one for one in self._workers.values() if one.generation == self._next and one.state != "stopping"]
        there = {one.slot for one in coming}
        for slot in range(self.settings.workers):
            if slot not in there:
                coming.append(self._start(slot, self._next))
        if all(one.state == "ready" for one in coming):
            self._generation, self._next = self._next, None
            for one in coming:
                self._let_serve(one)
            for one in list(self._workers.values()):
                if one.generation != self._generation:
                    self._stop(one)
            self._failures.clear()
            self._not_before.clear()
            logger.info("Reloaded: %d new workers serve", len(coming))
            self._notifier.ready("Reloaded")

    def _let_serve(self, process):
        process.state = "serving"
        process.since = time.monotonic()
        process.tell("serve")

    def _stop(self, process):
        if process.state == "stopping":
            return
        process.kill(signal.SIGTERM)  # ends a worker that does not serve yet at once
        process.state = "stopping"
        process.kill_at = time.monotonic() + self.settings.graceful_timeout + _TO_END

    # -------- orders

    def _on_look(self):
        pass  # waking up is all that is needed

    def _on_stop(self):
        if self._stopping:
            return
        self._stopping = True
        logger.info("Stopping: requests have %g seconds to finish", self.settings.graceful_timeout)
        self._notifier.say(STOPPING=1)
        for process in list(self._workers.values()):
            self._stop(process)

    def _on_quit(self):
        self._stopping = True
        self._notifier.say(STOPPING=1)
        for process in self._workers.values():
            process.kill(signal.SIGQUIT)
            process.state = "stopping"
            process.kill_at = time.monotonic() + _TO_END

    def _on_reload(self):
        if self._stopping:
            return
        self._held = False
        if not self._served:
            # Workers that are loading the application may have loaded an older version.
            self._generation += 1
            self._not_before.clear()
            for process in list(self._workers.values()):
                self._stop(process)
            return
        if self._next is not None:
            self._give_up_next()  # it may have loaded an older version than the one now wanted
        logger.info("Reloading")
        self._notifier.reloading()
        self._next = self._newest() + 1

    def _on_reopen(self):
        for process in self._workers.values():
            process.tell("reopen")

    def _newest(self):
        return max([self._generation, *(one.generation for one in self._workers.values())])

    def _give_up_next(self):
        for process in list(self._workers.values()):
            if process.generation == self._next:
                self._stop(process)
        self._next = None

    # -------- workers

    def _start(self, slot, generation):
        ours, theirs = socket.socketpair()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        # Until the child has handlers of its own, signals for it wait.
        signals = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        keeps, config.fork_keeps = config.fork_keeps, "none"
        try:
            pid = os.fork()
            if pid == 0:
                config.fork_keeps = keeps
                ours.close()
                self._forget_in_child()
                _worker.run(self.settings, self._listeners.of(slot), theirs)
        finally:
            config.fork_keeps = keeps
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        theirs.close()
        ours.setblocking(False)
        process = self._workers[pid] = _Process(pid, slot, generation, ours)
        self._selector.register(ours, selectors.EVENT_READ, process)
        return process

    def _forget_in_child(self):
        for process in self._workers.values():
            process.control.close()
        self._selector.close()
        self._woken.close()
        self._wake.close()

    def _listen_to(self, process):
        try:
            for message in process.messages():
                process.heard = time.monotonic()
                getattr(self, f"_heard_{message.pop('what')}")(process, **message)
        except (ValueError, TypeError, KeyError, AttributeError):
            # Other code writes to its end of the socket: a program that closes all descriptors, and opens others.
            logger.error("Worker %d sends invalid messages", process.pid)
            process.silent = True
            self._stop(process)
        if process.silent and process.control in self._selector.get_map():
            self._selector.unregister(process.control)

    def _heard_beat(self, process):
        pass

    def _heard_ready(self, process, files):
        if process.state == "booting":
            process.state = "ready"
        self._watch(files)

    def _heard_failed(self, process, text, files):
        process.failure = text
        self._watch(files)

    def _heard_retire(self, process, reason):
        if not process.retiring:
            process.retiring = True
            logger.info("Worker %d is replaced: %s", process.pid, reason)

    def _heard_files(self, process, files):
        self._watch(files)

    def _reap(self):
        for process in list(self._workers.values()):
            try:
                pid, status = os.waitpid(process.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = process.pid, 0  # other code has taken the status
            if pid:
                self._listen_to(process)
                del self._workers[pid]
                if not process.silent:
                    self._selector.unregister(process.control)
                process.control.close()
                self._buried(process, os.waitstatus_to_exitcode(status))

    def _buried(self, process, code):
        """A worker has ended."""
        if process.state == "stopping" or self._stopping:
            return
        how = process.failure or f"it {_how(code)}"
        if process.state in ("booting", "ready"):
            how = process.failure or f"it {_how(code)} before it was ready"
            if process.generation == self._next:
                logger.error("The reload failed, and the old workers continue: %s", how)
                self._give_up_next()
                self._notifier.ready("The last reload failed")
                return
            if not self._served:
                if self.settings.reload:
                    logger.error("%s\nWaiting for a change", how)
                    self._held = True
                else:
                    self._failure = how
                    self._stopping = True
                for other in list(self._workers.values()):
                    self._stop(other)
                return
        logger.error("Worker %d has ended: %s", process.pid, how)
        if process.state != "serving" or time.monotonic() - process.since < _SHORT_LIFE:
            delay = min(_FIRST_DELAY * 2 ** self._failures[process.slot], _LAST_DELAY)
            self._failures[process.slot] += 1
            self._not_before[process.slot] = time.monotonic() + delay
        else:
            self._failures[process.slot] = 0

    def _end_who_hang(self):
        now = time.monotonic()
        timeout = self.settings.timeout
        for process in list(self._workers.values()):
            if process.kill_at is not None:
                if now >= process.kill_at:
                    process.kill(signal.SIGKILL)
                    process.kill_at = now + _TO_END
            elif timeout and process.state == "serving" and now - process.heard > timeout:
                self._listen_to(process)  # perhaps the supervisor itself was delayed
                if now - process.heard <= timeout or process.state != "serving":
                    continue
                logger.error("Worker %d hangs: no switch between greenlets for %g seconds", process.pid, timeout)
                process.kill(signal.SIGABRT)
                process.kill_at = now + _TO_ABORT

    def _kill_all(self):
        """The supervisor fails: its workers must not outlive it."""
        for process in self._workers.values():
            process.kill(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, 0)
            process.control.close()
        self._workers.clear()

    # -------- files

    def _watch(self, files):
        for path in files:
            if path not in self._files:
                self._files[path] = _changed(path)

    def _look_at_files(self):
        changed = []
        for path, before in self._files.items():
            now = _changed(path)
            if now != before:
                self._files[path] = now
                changed.append(path)
        if changed:
            logger.info("Changed: %s", ", ".join(os.path.relpath(path) for path in changed))
            self._on_reload()


def _changed(path):
    try:
        info = os.stat(path)
    except OSError as exc:
        return None if exc.errno == errno.ENOENT else 0
    return info.st_mtime_ns, info.st_size


def _how(code):
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
