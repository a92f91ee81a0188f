"""A picture of time: when each greenlet ran, what it waited for, and what woke it.

::

    python -m gevlite run --trace FILE script.py [argument ...]
    python -m gevlite trace PID --seconds 5 -o FILE
    python -m gevlite trace FILE --html

or in a program::

    import gevlite.trace

    with gevlite.trace.record("trace.json"):
        serve()

The file is in the format of Chrome's trace events, which https://ui.perfetto.dev and https://speedscope.app show; a
name that ends in `.html` gets a page that shows itself. One trace may run at a time. It covers all threads that have a
hub, also those that begin meanwhile.
"""

import _signal  # type: ignore[import-not-found]
import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gevlite import _core, _probe
from gevlite._timeline import Timeline, check_file, write_file

__all__ = ["EVENTS", "Trace", "record", "start", "stop"]

#: How many events a trace keeps by default, at 24 bytes each. A switch is one event, a wake-up is another.
EVENTS = 500_000

_Path = str | os.PathLike[str]

_file: str | None = None  # to be written by `stop`, or at the end of the process
_program: list[str] | None = None  # `sys.argv` when it began: a runner of programs may put back its own
_registered = False


class Trace:
    """What was recorded. `stop` makes it."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self._timeline = Timeline(raw)

    @property
    def events(self) -> int:
        """How many events were kept."""
        return self._timeline.about()["events"]

    @property
    def dropped(self) -> int:
        """How many events, the oldest ones, did not fit into the buffer."""
        return self._timeline.dropped

    @property
    def seconds(self) -> float:
        """How many seconds were recorded."""
        return self._timeline.about()["seconds"]

    def save(self, file: _Path) -> None:
        """Write it, as a whole or not at all: a page if the name ends in `.html`, else JSON. Blocks the OS thread.

        Raises OSError.
        """
        path = os.fspath(file)
        if path.endswith((".html", ".htm")):
            from gevlite._trace_page import page_of

            write_file(path, page_of(self._timeline))
        else:
            write_file(path, self._timeline.chunks())

    def __repr__(self) -> str:
        return f"<Trace of {self.seconds:.3g} s, {self.events} events, {self.dropped} dropped>"


def start(file: _Path | None = None, *, events: int = EVENTS) -> None:
    """Begin recording. Does not block.

    file: where `stop` writes the trace; without `stop` it is written at the end of the process, unless that ends by a
    signal or `os._exit`. events: the size of the buffer; when it is full, each new event replaces the oldest one.

    Raises RuntimeError if a trace is running, OSError if the file cannot be written, and ValueError for less than 1000
    events.
    """
    global _file, _program
    if not isinstance(events, int):
        raise TypeError(f"events must be an int, not {events!r}")
    if events < 1000:
        raise ValueError(f"events must be at least 1000, not {events}")
    path = None
    if file is not None:
        path = os.path.abspath(os.fspath(file))
    if _core.is_traced():
        raise RuntimeError("a trace is running already")
    if path is not None:
        check_file(path)
    _core.get_hub()  # otherwise the trace would miss that the thread makes one
    _core.trace_start(events)
    _file = path
    _program = [str(part) for part in getattr(sys, "argv", ())]
    if path is not None:
        _register()


def stop() -> Trace:
    """End the trace, and write its file if `start` was given one. Blocks the OS thread while it writes.

    Raises RuntimeError if no trace is running, as in the child of a fork, and OSError if the file cannot be written.
    """
    global _file
    found = _probe.trace_stop(False)
    if "error" in found:
        raise RuntimeError(found["error"])
    if _program is not None:
        found["program"] = _program
    made = Trace(found)
    path, _file = _file, None
    if path is not None:
        made.save(path)
    return made


@contextmanager
def record(file: _Path, *, events: int = EVENTS) -> Iterator[None]:
    """`with record(file):` records the block and writes the trace at its end, also if the block raises.

    If the block ends in the child of a fork, nothing is written there. Raises what `start` and `stop` do.
    """
    start(file, events=events)
    pid = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == pid and _core.is_traced():
            stop()


def _prepare_program(file: str, events: int | None) -> Callable[[], None]:
    """For `python -m gevlite run --trace`. Returns a function that begins the trace. Raises OSError."""
    path = os.path.abspath(file)
    check_file(path)
    _register()  # the first one runs last

    def begin() -> None:
        start(path, events=events or EVENTS)
        for number in (_signal.SIGTERM, _signal.SIGHUP):
            if _signal.getsignal(number) == _signal.SIG_DFL:
                _signal.signal(number, _end_by_signal)
                _core.signals_without_ref[number] = _end_by_signal

    return begin


def _end_by_signal(number: int, frame: object) -> None:
    """Replaces the default action of a signal: ends the trace, then performs that action."""
    _write_at_exit()
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _register() -> None:
    global _registered
    if not _registered:
        _registered = True
        atexit.register(_write_at_exit)


def _write_at_exit() -> None:
    if _file is not None and _core.is_traced():
        try:
            stop()
        except OSError as exc:
            sys.stderr.write(f"gevlite: the trace was not written: {exc}\n")


def _forget_in_child() -> None:
    global _file
    _file = None


os.register_at_fork(after_in_child=_forget_in_child)
