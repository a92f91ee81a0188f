"""The process's side of `python -m gevlite attach`: a prompt whose code runs in a greenlet of a hub.

It has two parts. An OS thread of `gevlite._door` reads what the client sends. So a command that lets no other greenlet
run can be interrupted, also when its client has hung up. The greenlet runs the commands and writes.

Messages are lines of JSON. From here: `{"hello": text}` once the hub has begun, `{"out": text}`, `{"ask": prompt}`, and
in the end `{"end": status}`. From the client: at first `{"prompt": true}` or `{"script": text}`; for each question
`{"line": text}`, with null for the end of its input, or `{"drop": true}` for Ctrl-C; at any time `{"interrupt": true}`.
"""

import ast
import io
import json
import os
import posix  # which is never patched
import sys

from gevlite import _probe, util
from gevlite._console import Console, Output
from gevlite._core import WRITE, call_in_main_thread, hubs, look
from gevlite._report import Report, fit
from gevlite._version import __version__
from gevlite.greenlet import Greenlet, GreenletExit, getcurrent
from gevlite.queue import SimpleQueue

__all__ = ["Session"]

# The longest line that a client may send.
_LONGEST = 1 << 26


class Session:
    """One client. `serve` is called in the thread, and ends when the client has hung up."""

    def __init__(self, connection, hub):
        # Non-blocking: from now on only `recv` is called, which waits by itself.
        connection.settimeout(1_000_000)
        self.connection = connection
        self.hub = hub
        self.greenlet = None
        self.received = None  # a queue of messages, for the greenlet
        self.busy = False  # whether a command runs
        self.sending = False
        self.interrupted = False
        self.left = False  # whether the client has hung up
        self.served = False
        self.ended = False  # whether the greenlet has ended
        self.pid = posix.getpid()

    # -------- in the thread

    def serve(self):
        """Read until the client hangs up."""
        try:
            self.hub.call_soon_threadsafe(self._begin)
            for message in self._messages():
                if "interrupt" in message:
                    self.interrupted = True
                    self._strike_soon()
                else:
                    self.hub.call_soon_threadsafe(self._put, message)
        finally:
            self.left = True
            self._strike_soon()
            self.hub.call_soon_threadsafe(self._put, {"line": None})
            self.served = True
            if self.ended or self.greenlet is None:
                self.connection.close()

    def _messages(self):
        rest = b""
        while True:
            line, end, rest = rest.partition(b"\n")
            if end:
                message = json.loads(line)
                if type(message) is dict:
                    yield message
                continue
            rest = line
            try:
                received = self.connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not received or len(rest) > _LONGEST:
                return
            rest += received

    def _strike_soon(self):
        call_in_main_thread(self._strike)
        self.hub.call_soon_threadsafe(self._strike_parked)

    # -------- in the hub's thread

    def _begin(self):
        self.received = SimpleQueue()
        self.greenlet = Greenlet(self._run)
        self.greenlet.name = "attached prompt"
        self.greenlet.start()

    def _put(self, message):
        if self.received is not None:
            self.received.put(message)

    def _due(self):
        """The exception to raise in the command; None: there is no command, or no reason to end it."""
        if not self.busy or self.sending or self.pid != posix.getpid():
            return None
        if self.left:
            return GreenletExit()
        if self.interrupted:
            self.interrupted = False
            return KeyboardInterrupt()
        return None

    def _strike(self):
        """Called between two bytecodes of the running code: for a command that does not let the hub run."""
        if self.busy and getcurrent() is self.greenlet:
            exc = self._due()
            if exc is not None:
                raise exc

    def _strike_parked(self):
        """A callback of the hub: for a command that waits."""
        if not self.busy or self.sending or not (self.left or self.interrupted):
            return
        for waiter in self.hub.parked_waiters():
            if waiter.parked is self.greenlet:
                exc = self._due()
                if exc is not None:
                    waiter.throw(exc)
                return
        self.hub.call_soon(self._strike_parked)  # it is about to run

    def after_fork(self):
        """In the child of a fork: the client is the parent's."""
        self.left = True
        try:
            fd = posix.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            posix.dup2(fd, self.connection.fileno(), False)
            posix.close(fd)
            self.hub.call_soon_threadsafe(self._put, {"line": None})
        except (OSError, RuntimeError):
            pass

    # -------- in the greenlet

    def _run(self):
        status = 0
        try:
            if self.left:
                return
            console = _SessionConsole(self)
            with console:
                self.send(hello=f"Python {sys.version.split()[0]}, gevlite {__version__}")
                message = self.received.get()
                if "script" in message:
                    status = console.run_script(message["script"])
                else:
                    console.interact()
        except SystemExit as exc:
            status = exc.code
        except (GreenletExit, OSError):
            pass  # the client has hung up
        finally:
            try:
                self.send(end=status if type(status) is int else 0 if status is None else 1)
            except OSError:
                pass
            self.ended = True
            try:
                self.connection.shutdown(2)
            except OSError:
                pass
            if self.served:
                self.connection.close()

    def send(self, **message):
        """Send one message. Blocks the greenlet. Raises BrokenPipeError if the client has hung up."""
        rest = memoryview(json.dumps(message).encode() + b"\n")
        self.sending = True  # finish the message, even if the command is about to be ended
        try:
            while rest:
                if self.left:
                    raise BrokenPipeError
                fd = self.connection.fileno()
                try:
                    rest = rest[posix.write(fd, rest) :]
                except BlockingIOError:
                    self.hub.wait_fd(fd, WRITE)
        finally:
            self.sending = False
        exc = self._due()
        if exc is not None:
            raise exc

    def ask(self, prompt):
        """The client's next line; None if there are no more."""
        self.send(ask=prompt)
        message = self.received.get()
        if "drop" in message:
            raise KeyboardInterrupt
        return message.get("line")


class _SessionConsole(Console):
    filename = "<attached>"

    def __init__(self, session):
        names = {
            "__name__": "__console__",
            "__doc__": None,
            "gevlite": sys.modules["gevlite"],
            "hub": session.hub,
            "greenlets": greenlets,
            "ps": ps,
        }
        super().__init__(_Input(session), Output(lambda text: session.send(out=text)), names)
        self.session = session

    def ask(self, prompt):
        return self.session.ask(prompt)

    def interact(self):
        while True:
            try:
                return super().interact()
            except KeyboardInterrupt:
                pass  # drop the lines of an incomplete statement

    def run_script(self, text):
        """The status with which the client is to end."""
        try:
            statements = ast.parse(text, self.filename).body
        except (SyntaxError, ValueError):
            self.showsyntaxerror()
            return 1
        for statement in statements:
            # One by one, so that values are shown as at the prompt.
            try:
                code = compile(ast.Interactive([statement]), self.filename, "single")
            except (SyntaxError, ValueError):
                self.showsyntaxerror()
                return 1
            self.runcode(code)
            if self.failed:
                return 1
        return 0

    def execute(self, code):
        session = self.session
        session.interrupted = False
        session.busy = True
        try:
            super().execute(code)
        finally:
            session.busy = False


class _Input(io.TextIOBase):
    """`sys.stdin` of a command."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, session):
        self._session = session

    def readable(self):
        return True

    def readline(self, size=-1):
        if self.closed:
            raise ValueError("I/O operation on closed file")
        line = self._session.ask("")
        return "" if line is None else line + "\n"

    def read(self, size=-1):
        return "".join(iter(self.readline, ""))


# ---------------------------------------------------------------- what the prompt offers


def greenlets(text=""):
    """A list of the living greenlets in whose name or function `text` occurs: all by default."""
    # Without their `repr`, which would give each a name.
    rows = look()["greenlets"]
    wanted = {row[0] for row in rows if any(text in word for word in row[3:5] if word is not None)}
    found = (below.greenlet for tree in util.GreenletTree.forest() for below in tree._all())
    return [one for one in found if isinstance(one, Greenlet) and id(one) in wanted]


def ps():
    """Print what `python -m gevlite ps` shows of this process."""
    print(fit(Report(_probe.collect(1)).ps(), None), end="")


def hub_to_attach_to():
    """The hub of the main thread if it has one, else any hub; None if there is none."""
    alive = [hub for hub in hubs() if not hub.closed]
    return next((hub for hub in alive if hub.main_hub), alive[0] if alive else None)
