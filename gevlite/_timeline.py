"""What a trace has recorded, as tracks and slices, and as a file in the format of Chrome's trace events.

The format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU. Perfetto, speedscope and
chrome://tracing read it. Each greenlet is a thread there. Its slices do not overlap: it runs, waits, or is ready. A
flow goes from the slice of the waker to the one in which the woken greenlet runs.
"""

import json
import os
import struct

from gevlite._version import __version__

__all__ = ["Timeline", "check_file", "write_file"]

_EVENT = struct.Struct("<qIIIHBB")  # TraceEvent in _trace.pxi

# Of _trace.pxi: types of events, what became of a greenlet, causes, tracks; and of WaitKind.
_SWITCH, _WAKE, _SPAWN, _TOLD, _POLL, _POLLED, _PARKED, _HOLDER = range(1, 9)
_ENDED, _AWAY = 254, 255
_CAUSES = {0: "greenlet", 1: "I/O", 2: "timer", 3: "callback", 4: "another thread"}
_RAISES = 128
_MAIN, _HUB, _RAW, _THREAD = 1, 2, 3, 4
_YIELD, _LOCK = 1, 8
# Of _look.pxi: what a greenlet waits for, and what is shown.
_USED_SLICE = {"its next time slice": "used up its time slice"}

# The categories of slices.
RUN, WAIT, READY, POLL = "run", "wait", "ready", "poll"


class Track:
    """A greenlet, a hub, or an OS thread without a hub."""

    def __init__(self, number, thread):
        self.number = number
        self.thread = thread
        self.kind = 0
        self.name = None
        self.function = None
        self.file = None
        self.line = 0
        self.label = ""
        self.begin()

    def begin(self):
        self.category = None  # of the current slice
        self.since = 0
        self.text = ""
        self.awaits = 0  # the greenlet that holds the lock
        self.woken = None  # (time, waker, cause, exception): until it runs
        self.how = None  # the same for the slice in which it runs
        self.ended = 0  # of an OS thread: the end of its last slice

    def describe(self, threads, several):
        thread = threads.get(self.thread) or "a thread"
        if self.kind == _HUB:
            return f"hub of {thread} ({self.name})"
        if self.kind == _THREAD:
            return self.name or "a thread"
        where = f" of {thread}" if several and self.kind == _MAIN else ""
        if self.kind == _MAIN:
            return f"main greenlet{where}"
        words = [self.name] if self.name else []
        function = (self.function or "").rpartition("<locals>.")[2]
        if function and function != self.name and not (self.name or "").endswith(f"({function})"):
            words.append(function)
        return " ".join(words) or ("raw greenlet" if self.kind == _RAW else "greenlet")


class Timeline:
    """Made from what `_probe.trace_stop()` returns."""

    def __init__(self, raw):
        self.raw = raw
        if isinstance(raw["events"], str):
            raw["events"] = bytes.fromhex(raw["events"])
        self.began = raw["began"]
        self.ended = raw["ended"]
        self.dropped = raw["dropped"]
        self.tracks = {}
        self.threads = {}
        self.flows = 0
        self._name_tracks()

    def _name_tracks(self):
        raw, texts = self.raw, self.raw["texts"]
        for number, kind, name, extra, thread in raw["kept"]:
            if kind == -1:
                self.threads[number] = name or ("MainThread" if extra else f"thread {number}")
            else:
                track = self._track(number, thread)
                track.kind, track.name = kind, name
                if kind == _HUB:
                    track.name = name.removesuffix("Backend").lower()
        for _, who, other, text, thread, kind_of_event, kind in _EVENT.iter_unpack(raw["events"]):
            if kind_of_event == _TOLD:
                track = self._track(who, thread)
                track.kind = kind
                if other:
                    track.name = texts[other]
                track.function, track.file, track.line = texts[text]
        for number, thread, name, function, _, _ in raw["living"]:
            track = self._track(number, thread)
            if name is not None:
                track.name = name
            if function is not None:
                track.function, track.file, track.line = function
        several = sum(track.kind == _HUB for track in self.tracks.values()) > 1
        for track in self.tracks.values():
            track.label = track.describe(self.threads, several)

    def _track(self, number, thread):
        track = self.tracks.get(number)
        if track is None:
            track = self.tracks[number] = Track(number, thread)
        elif thread and not track.thread:
            track.thread = thread
        return track

    # -------- slices and flows

    def read(self, add_slice, add_flow):
        """Call `add_slice(track, category, name, begin, end, how)` for each slice and
        `add_flow(number, waker, at, track, begin)` for each wake-up whose greenlet ran.

        Times are in ns since the beginning.

        how: for a slice in which a greenlet runs after it was woken: `(time, track or None, cause, exception)`.
        """
        self.flows = 0
        self.seen = set()  # the numbers of tracks that have had a slice
        for track in self.tracks.values():
            track.begin()
        self._slice, self._flow = add_slice, add_flow
        texts, base = self.raw["texts"], self.began
        events = _EVENT.iter_unpack(self.raw["events"])
        first = None
        for time, who, other, text, thread, type_of_event, kind in events:
            time -= base
            if first is None:
                # Earlier events are not known.
                first = self.first = time if self.dropped else 0
            track = self._track(who, thread)
            if type_of_event == _SWITCH:
                if other:
                    self._leaves(self._track(other, thread), time, texts[text], kind)
                self._runs(track, time)
            elif type_of_event == _WAKE:
                if track.kind != _HUB:  # a hub is woken if it waited itself, while a runner did its work
                    self._close(track, time, WAIT)
                    track.category, track.since, track.text = READY, time, "ready"
                self._woken(track, time, other, _CAUSES[kind & ~_RAISES], texts[text] if kind & _RAISES else None)
            elif type_of_event == _SPAWN:
                if track.category is None:
                    track.category, track.since, track.text = READY, time, "not begun"
                    self._woken(track, time, other, "start", None)
            elif type_of_event == _POLL:
                self._close(track, time, RUN)
                track.category, track.since, track.text = POLL, time, "poll"
            elif type_of_event == _POLLED:
                if track.category == POLL:
                    self._close(track, time, POLL)
                    track.category, track.since = RUN, time
            elif type_of_event == _PARKED:
                track.category, track.since, track.text = WAIT, 0, texts[text]
            elif type_of_event == _HOLDER:
                track.awaits = other
        if first is None:
            first = self.first = 0
        for number, thread, _, _, text, kind in self.raw["living"]:
            track = self._track(number, thread)
            if track.category is None and kind != _YIELD:
                track.category, track.since, track.text = WAIT, first, text
        end = self.ended - base
        for track in self.tracks.values():
            self._close(track, end, RUN)
        del self._slice, self._flow

    def _woken(self, track, time, other, cause, exception):
        waker = self.tracks.get(other)
        if waker is None and other:
            waker = self._track(other, 0)
        track.woken = (time, waker, cause, exception)
        if waker is not None and waker.kind == _THREAD and time >= waker.ended:
            waker.ended = time + 1000
            self._slice(waker, RUN, "wakes a greenlet", time, waker.ended, None)

    def _leaves(self, track, time, text, kind):
        self._close(track, time, RUN)
        if track.kind == _HUB:
            return
        if kind == _ENDED:
            track.category = None
        elif kind == _AWAY:
            track.category, track.since, track.text = WAIT, time, "a switch by hand"
        elif kind == _YIELD:
            track.category, track.since, track.text = READY, time, _USED_SLICE.get(text, "gives way")
        else:
            track.category, track.since, track.text = WAIT, time, text

    def _runs(self, track, time):
        if track.category == RUN:
            return
        self._close(track, time, WAIT)
        track.category, track.since, track.text = RUN, time, "running"
        track.how, track.woken = track.woken, None
        if track.how is not None and track.how[1] is not None and track.how[1] is not track:
            self.flows += 1
            self._flow(self.flows, track.how[1], max(track.how[0], self.first), track, time)

    def _close(self, track, time, expected):
        """End the slice that has begun. expected: its category if its beginning was dropped."""
        category, since = track.category, track.since
        if category is None:
            if expected == POLL or not self.dropped or track.kind == _HUB and expected == WAIT:
                return
            if track.number in self.seen or time <= self.first:
                return
            category, since, track.text = expected, self.first, "waiting" if expected == WAIT else "running"
        track.category = None
        self.seen.add(track.number)
        if category == RUN:
            self._slice(track, RUN, "running", since, time, track.how)
            track.how = None
            return
        text = track.text
        if track.awaits:
            holder = self.tracks.get(track.awaits)
            if holder is not None and category == WAIT:
                text += f" held by {holder.label}"
            track.awaits = 0
        self._slice(track, category, text, since, time, None)

    # -------- the file

    def chunks(self):
        """The text of the JSON file, in parts."""
        pid = int(self.raw["pid"])
        dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
        lines = []
        names = {}

        def add_slice(track, category, name, begin, end, how):
            text = names.get(name)
            if text is None:
                text = names[name] = dumps(name)
            args = ""
            if how is not None:
                _, waker, cause, exception = how
                found = {"how": cause}
                if waker is not None:
                    found = {"woken_by": waker.label, **found}
                if exception is not None:
                    found["with"] = exception
                args = ',"args":' + dumps(found)
            # One nanosecond less: in floating point a slice could end after the next one begins, and would contain it.
            lines.append(
                f'{{"ph":"X","pid":{pid},"tid":{track.number},"ts":{_us(begin)},"dur":{_us(max(end - begin - 1, 0))},'
                f'"cat":"{category}","name":{text}{args}}}'
            )

        def add_flow(number, waker, at, track, begin):
            common = f'"cat":"wake","name":"wake","pid":{pid},"id":{number}'
            lines.append(f'{{"ph":"s",{common},"tid":{waker.number},"ts":{_us(at)}}}')
            lines.append(f'{{"ph":"f","bp":"e",{common},"tid":{track.number},"ts":{_us(begin)}}}')

        yield '{"traceEvents":[\n'
        self.read(add_slice, add_flow)
        name = " ".join(self.raw.get("program") or ()) or "python"
        yield dumps({"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name}})
        for track, place in self.in_order():
            args = self.about_track(track)
            common = {"ph": "M", "pid": pid, "tid": track.number}
            yield ",\n" + dumps({**common, "name": "thread_name", "args": args})
            yield ",\n" + dumps({**common, "name": "thread_sort_index", "args": {"sort_index": place}})
        for begin in range(0, len(lines), 1000):
            yield ",\n" + ",\n".join(lines[begin : begin + 1000])
        yield '\n],\n"displayTimeUnit":"ms",\n"otherData":' + dumps(self.about()) + "}\n"

    def about(self):
        """The metadata of a file."""
        return {
            "made_by": f"gevlite {__version__}",
            "version": 1,
            "program": " ".join(self.raw.get("program") or ()),
            "python": self.raw.get("python", ""),
            "seconds": (self.ended - self.began) / 1e9,
            "events": len(self.raw["events"]) // _EVENT.size,
            "dropped_events": self.dropped,
        }

    def about_track(self, track):
        """The metadata of a track in a file."""
        found = {"name": track.label, "kind": ("greenlet", "main", "hub", "raw", "thread")[track.kind]}
        if track.function is not None:
            found["function"] = track.function
            if track.file is not None:
                found |= {"file": track.file, "line": track.line}
        return {**found, "thread": self.threads.get(track.thread) or ""}

    def in_order(self):
        """The tracks, each with its place: by hub, the hub and the main greenlet first, the rest by function."""
        tracks = sorted(
            self.tracks.values(),
            key=lambda track: (
                track.thread or 1 << 20,
                {_HUB: 0, _MAIN: 1}.get(track.kind, 2),
                track.function or "",
                track.number,
            ),
        )
        return [(track, place) for place, track in enumerate(tracks)]


def _us(ns):
    return f"{ns // 1000}.{ns % 1000:03}"


# ---------------------------------------------------------------- files


def _is_special(path):
    """True for a pipe or a device: it is written to, not replaced."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _part_of(path):
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(folder, f".{name}.{os.getpid()}.part")


def check_file(path):
    """Raise the OSError that `write_file` would."""
    if os.path.isdir(path):
        raise IsADirectoryError(21, "Is a directory", path)
    if _is_special(path):
        if not os.access(path, os.W_OK):
            raise PermissionError(13, "Permission denied", path)
        return
    part = _part_of(path)
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        exc.filename = path
        raise
    os.unlink(part)


def write_file(path, chunks):
    """Write a text file as a whole or not at all. Blocks the thread."""
    import _io

    if _is_special(path):
        with _io.open(path, "w", encoding="utf-8") as file:
            file.writelines(chunks)
        return
    part = _part_of(path)
    try:
        with _io.open(part, "x", encoding="utf-8", errors="surrogatepass") as file:
            file.writelines(chunks)
        os.replace(part, path)
    except BaseException as exc:
        if isinstance(exc, OSError) and exc.filename == part:
            exc.filename = path
        try:
            os.unlink(part)
        except OSError:
            pass
        raise
