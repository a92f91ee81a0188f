"""The watch: a line in the log when a greenlet has held its hub for longer than `gevlite.config.watch` seconds.

Each hub has a `Tick` for it (see _ticker.pxi), so it costs a switch nothing and an idle process no wake-ups. The
functions here are called in the ticker's thread, and only when there is something to report. Of the program's code they
run only the handlers of its log. In a patched process these may have to wait for a lock that a greenlet holds: then the
ticker's thread waits.

If no other greenlet waits, the one that runs blocks nothing, and nothing is reported.
"""

import logging
import os
import traceback
from time import monotonic

from gevlite._config import SETTINGS, config
from gevlite._core import Tick, hubs, in_ticker, look_at_running, thread_name
from gevlite._native_calls import blocking_call, calls_of
from gevlite._user_line import distance, in_words, nearest

__all__ = ["Blocked", "by_default", "report_to", "watch", "watch_all"]

#: The limit in seconds where the watch is on by default.
DEFAULT_SECONDS = 1.0
#: The same line is reported again after this many seconds; in that time, at most so many lines.
QUIET_SECONDS = 60.0
MOST_LINES = 20
# Python code releases the GIL on request, after sys.getswitchinterval(): so much longer means that C code held it.
_GIL_SECONDS = 0.1


class Blocked:
    """A greenlet or callback that has held its hub for some time.

    hub. run: a number that no other run of this hub has. seconds: for how long. gil_seconds: for how long of that no
    other thread got the GIL. others: how many greenlets wait. place: `(file, line, function)` of the program's own
    line, or None. stack: a list of these, innermost first. calls: the dotted names of what it calls there, if known.
    call: the `BlockingCall` that it waits in, or None.
    """

    def __init__(self, hub, run, seconds, gil_seconds, others, stack=(), frame=None):
        self.hub = hub
        self.run = run
        self.seconds = seconds
        self.gil_seconds = gil_seconds
        self.others = others
        self.stack = stack
        self.place = nearest(stack, stack or (None,))
        self.calls = calls_of(frame) if frame is not None else []
        self.call = blocking_call(frame, self.calls) if self.calls else None

    def line(self):
        """`parse (app.py:8) has run for 1.2 s; 37 others wait`."""
        who = in_words(self.place) if self.place is not None else "A greenlet without Python code"
        if not self.hub.main_hub:
            ident = self.hub.thread_ident
            who += f" in {thread_name(ident) or f'thread {ident:#x}'}"
        text = f"{who} has run for {self.seconds:.1f} s"
        if self.gil_seconds >= _GIL_SECONDS:
            text += f", of that {self.gil_seconds:.1f} s in C code that holds the GIL"
        return f"{text}; {self.others} other{' waits' if self.others == 1 else 's wait'}"

    def cure(self):
        """What to do about it, in words; empty if that is not known."""
        if self.call is None:
            return ""
        name, instead, patched = self.call
        if patched:
            return (
                f"{name} is the original here, which blocks all greenlets: it was imported or made before "
                f"gevlite.monkey.patch_all(). Patch earlier, or use {instead}."
            )
        return (
            f"{name} blocks all greenlets: call gevlite.monkey.patch_all() first, at the start of the program, or use "
            f"{instead}."
        )

    def text(self):
        """The stack, as in a traceback."""
        stack = [place for place in self.stack if distance(place[0]) < 3] or self.stack
        shown = traceback.StackSummary.from_list([(*place, None) for place in reversed(stack)])
        return "".join(shown.format()).rstrip()


#: Where reports go if the program has configured no log.
other_logger = None


def _warn(text):
    # Looked up only now: logging.config.dictConfig disables all loggers that exist when it is called.
    logger = logging.getLogger("gevlite.watch")
    if other_logger is not None and not logger.hasHandlers():
        logger = other_logger
    logger.warning("%s", text)


# ---------------------------------------------------------------- on and off


def watch(hub, seconds):
    """Watch this hub from now on; 0: no longer. Does not block. From any thread."""
    before = getattr(hub, "_watch", None)
    hub._watch = None
    if before is not None:
        before.stop()
    if seconds and not hub.closed and not in_ticker():
        try:
            hub._watch = Tick(hub, seconds, _look)
        except RuntimeError as exc:  # no thread can be started
            _warn(f"gevlite.config.watch has no effect: {exc}")


def watch_all(seconds):
    """What an assignment to `gevlite.config.watch` does."""
    for hub in hubs():
        watch(hub, seconds)


def by_default(seconds=DEFAULT_SECONDS):
    """The watch is on in this process, unless the setting says something else. Raises ValueError for a bad value."""
    SETTINGS["watch"].default = seconds
    if config.watch:
        watch_all(config.watch)


# ---------------------------------------------------------------- in the ticker's thread


def _look(hub, seconds, gil_seconds, run, still):
    if not still:
        return _look_back(hub, seconds, gil_seconds, run)
    found = look_at_running(hub)
    if found is None or hub.progress() != run:
        return None
    _kind, stack, frame, others = found
    if others and not _is_last_wait(stack):
        return report_to(Blocked(hub, run, seconds, gil_seconds, others, stack, frame))
    return seconds


def _look_back(hub, seconds, gil_seconds, run):
    """The run is over. If it could not be reported while it lasted, for lack of the GIL, it is reported now."""
    others = len(hub.parked_waiters())
    if gil_seconds >= _GIL_SECONDS and others:
        report_to(Blocked(hub, run, seconds, gil_seconds, others))


def _is_last_wait(stack):
    """True if this is where the main thread waits for other threads at exit."""
    return bool(stack) and stack[-1][2] == "_shutdown" and os.path.basename(stack[-1][0]) == "threading.py"


class _Log:
    """Writes the lines, and not too many of them."""

    def __init__(self):
        self.told = {}  # by place: [when it was reported, the run, how many since then, the longest of them]
        self.cured = set()

    def __call__(self, blocked):
        """A run that goes on is reported again when its time has doubled, if that is not too often."""
        now = monotonic()
        entry = self.told.get(blocked.place)
        if entry is not None and now - entry[0] < QUIET_SECONDS or entry is None and not self._has_room(now):
            if entry is not None:
                entry[2] += entry[1] != blocked.run
                entry[1] = blocked.run
                entry[3] = max(entry[3], blocked.seconds)
            return blocked.seconds
        lines = [blocked.line()]
        if entry is not None and entry[2]:
            lines[0] += f" ({entry[2]} more since the last report, for up to {entry[3]:.1f} s)"
        self.told[blocked.place] = [now, blocked.run, 0, 0.0]
        cure = blocked.cure()
        if cure and blocked.call.name not in self.cured:
            self.cured.add(blocked.call.name)
            lines.append(cure)
        if blocked.stack:
            lines += ["Stack (most recent call last):", blocked.text()]
        _warn("\n".join(lines))
        return blocked.seconds

    def _has_room(self, now):
        if len(self.told) >= MOST_LINES:
            self.told = {place: entry for place, entry in self.told.items() if now - entry[0] < QUIET_SECONDS}
        return len(self.told) < MOST_LINES


#: Is called with each `Blocked`; returns after how many seconds it is to be called for the same run again, or None.
report_to = _Log()
