"""`python -m gevlite attach`: a Python prompt in a running process. The other side of `gevlite._session`."""

import json
import os
import select
import signal
import sys
import threading
import time

from gevlite._cli.reach import CannotLook, connect, ends_now, no_hub, output_lost

# After so many seconds without an answer, tell the user.
_PATIENCE = 3.0


def main(options):
    """Run `attach`; returns the exit code."""
    try:
        with connect(options.pid, options.timeout, b"attach\n") as connection:
            client = _Client(options, connection)
            return client.run_prompt() if sys.stdin.isatty() else client.run_script(sys.stdin.read())
    except CannotLook as exc:
        print(f"gevlite: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as exc:
        return output_lost(exc)


class _Left(Exception):
    """The prompt is over; the argument is the exit code."""


class _Client:
    def __init__(self, options, connection):
        self.pid = options.pid
        self.timeout = options.timeout
        self.connection = connection
        self.rest = b""
        self.gone = False  # the process has hung up while the user types
        self.interrupted = 0.0  # since when the running command has been asked to end
        self.told = False  # whether the user knows that it does not end

    # -------- messages

    def send(self, **message):
        try:
            self.connection.settimeout(self.timeout)
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except TimeoutError:
            raise CannotLook(_stuck(self.pid, self.timeout)) from None
        except OSError:
            pass  # reading the answer will show that it has hung up

    def receive(self, seconds):
        """The next message; None if there is none for so many seconds."""
        end = time.monotonic() + seconds
        while b"\n" not in self.rest:
            self.connection.settimeout(max(end - time.monotonic(), 0.001))
            try:
                received = self.connection.recv(65536)
            except TimeoutError:
                return None
            except OSError:
                received = b""
            if not received:
                raise _Left(self.hung_up())
            self.rest += received
        line, _, self.rest = self.rest.partition(b"\n")
        message = json.loads(line)
        if "error" in message:
            raise CannotLook(no_hub(self.pid))
        return message

    def hung_up(self):
        """Print why it ends, and return the exit code."""
        ended = ends_now(self.pid)
        print(f"process {self.pid} has {'ended' if ended else 'hung up'}", file=sys.stderr)
        return 0 if ended and sys.stdin.isatty() else 1

    def greet(self):
        """Wait until the hub has begun with us."""
        end = time.monotonic() + self.timeout
        message = self.receive(min(_PATIENCE, self.timeout))
        if message is None and self.timeout > _PATIENCE:
            print(f"gevlite: {_stuck(self.pid, _PATIENCE)}", file=sys.stderr, flush=True)
            message = self.receive(max(end - time.monotonic(), 0.001))
        if message is None:
            raise CannotLook(f"gave up after {self.timeout:g} s: {_stuck(self.pid, self.timeout)}")
        return message["hello"]

    # -------- the two ways

    def run_script(self, text):
        """Run the commands from stdin; returns the exit code."""
        try:
            self.greet()
            self.send(script=text)
            self.talk(lambda prompt: self.send(line=None))  # stdin is at its end
        except _Left as exc:
            return exc.args[0]

    def run_prompt(self):
        """Show the prompt at the terminal; returns the exit code."""
        try:
            import readline  # noqa: F401 - for input()
        except ImportError:
            pass
        try:
            print(f"{self.greet()}, process {self.pid}. Ctrl-D leaves it.")
            print("Here are gevlite, hub, greenlets('text') and ps().")
            self.send(prompt=True)
            self.talk(self.answer)
        except _Left as exc:
            return exc.args[0]

    def talk(self, answer):
        """Show what the process sends, and call `answer(prompt)` for each question. Ctrl-C interrupts the command."""
        default = signal.signal(signal.SIGINT, self.interrupt)
        try:
            while True:
                message = self.receive(1.0)
                if message is None:
                    if self.interrupted and not self.told and time.monotonic() - self.interrupted > _PATIENCE:
                        self.told = True
                        print(
                            f"gevlite: the command has not ended for {_PATIENCE:g} s: it ignores Ctrl-C, or waits in "
                            f"C. `python -m gevlite ps {self.pid}` shows what runs. Ctrl-C leaves it.",
                            file=sys.stderr,
                        )
                elif "ask" in message:
                    self.interrupted, self.told = 0.0, False
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    answer(message["ask"])
                    signal.signal(signal.SIGINT, self.interrupt)
                elif "out" in message:
                    encoding = sys.stdout.encoding or "utf-8"
                    sys.stdout.write(message["out"].encode(encoding, "backslashreplace").decode(encoding))
                    sys.stdout.flush()
                elif "end" in message:
                    raise _Left(message["end"] & 255)
        finally:
            signal.signal(signal.SIGINT, default)

    def interrupt(self, *_):
        """Ctrl-C while a command runs: a signal handler."""
        if self.told:
            raise KeyboardInterrupt
        self.interrupted = self.interrupted or time.monotonic()
        self.send(interrupt=True)

    def answer(self, prompt):
        """Have the user type a line."""
        with _Watcher(self) as watcher:
            try:
                watcher.typing = True
                said = {"line": input(prompt)}
                watcher.typing = False
            except EOFError:
                watcher.typing = False
                print()
                said = {"line": None}
            except KeyboardInterrupt:
                print("" if self.gone else "\nKeyboardInterrupt")
                said = {"drop": True}
        self.send(**said)


class _Watcher:
    """While the user types: ends the typing at Ctrl-C, and when the process hangs up."""

    def __init__(self, client):
        self.client = client
        self.typing = False

    def __enter__(self):
        # Even if the shell has made us ignore this signal: it reports the end of the process.
        self.default = signal.signal(signal.SIGINT, self.interrupt)
        self.reader, self.writer = os.pipe()
        self.thread = threading.Thread(target=self.run, daemon=True)
        # Ctrl-C must reach the main thread, which waits in readline.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self.thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def interrupt(self, *_):
        if self.typing:
            self.typing = False
            raise KeyboardInterrupt

    def run(self):
        poll = select.poll()
        poll.register(self.client.connection, select.POLLIN)
        poll.register(self.reader, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        if self.reader not in ready:
            # After a question the process sends nothing, so this is its end.
            self.client.gone = True
            poll.unregister(self.client.connection)
            # Repeatedly: a signal that comes just before readline waits for a key does not end the wait.
            while not poll.poll(100):
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def __exit__(self, *_):
        os.write(self.writer, b"x")
        self.thread.join()  # after that it sends no more signals
        signal.signal(signal.SIGINT, self.default)
        os.close(self.reader)
        os.close(self.writer)


def _stuck(pid, seconds):
    return (
        f"the hub of process {pid} has not answered for {seconds:g} s: a greenlet holds it up, or it waits in C. "
        f"`python -m gevlite ps {pid}` shows what runs"
    )
