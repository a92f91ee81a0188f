"""`python -m gevlite top`: what the greenlets of a process do, shown again and again."""

import json
import os
import re
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field

from gevlite._cli.reach import CannotLook, connect, ends_now, has_ended, no_hub, output_lost, silent, stat_of
from gevlite._report import Files, Place, duration, printable

# Of WaitKind, in one word.
_WAITS = {
    0: "other",
    1: "ready",
    2: "sleep",
    3: "read",
    4: "write",
    5: "join",
    6: "event",
    7: "result",
    8: "lock",
    9: "queue",
    10: "thread",
    11: "idle",
    12: "hub",
    13: "watcher",
    14: "select",
    15: "tasks",
}
# What counts as growing: after so many looks it is at its highest, and it rose in half of them.
_FEWEST_LOOKS = 3


def main(options):
    """Run `top`; returns the exit code."""
    screen = _Screen(options.width)
    try:
        with screen:
            return _watch(options, screen)
    except CannotLook as exc:
        print(f"gevlite: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0  # the usual way to leave it
    except OSError as exc:
        return output_lost(exc)


def _watch(options, screen):
    pid = options.pid
    top = Top(pid)
    left = options.count
    with connect(pid, options.timeout, f"top {options.interval}\n".encode()) as connection:
        connection.settimeout(options.interval + options.timeout)
        with connection.makefile("rb") as file:
            while left is None or left > 0:
                try:
                    line = file.readline()
                    raw = json.loads(line) if line.endswith(b"\n") else None
                except TimeoutError:
                    if has_ended(pid):
                        raw = None
                    else:
                        raise CannotLook(silent(pid, options.interval + options.timeout)) from None
                except ConnectionError:
                    raw = None
                except ValueError:
                    raise CannotLook(f"process {pid} has sent something else than a report") from None
                if raw is None:
                    return _ended(pid, screen)
                if "counts" not in raw:
                    raise CannotLook(f"process {pid}: {raw.get('error', 'it has another version of gevlite')}")
                if not raw["hubs"]:
                    raise CannotLook(no_hub(pid))
                top.add(raw, Process(pid))
                if top.seconds is not None:  # otherwise it is the first one, with which the others are compared
                    screen.show(top)
                    left = left and left - 1
    return 0


def _ended(pid, screen):
    if not ends_now(pid):
        raise CannotLook(f"process {pid} has hung up")
    screen.say(f"process {pid} has ended")
    return 0


# ---------------------------------------------------------------- what is shown


class Process:
    """What the system says about the process; None for what it does not say."""

    def __init__(self, pid):
        self.cpu = self.memory = self.descriptors = self.threads = None
        try:
            fields = stat_of(pid)
            self.cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            self.threads = int(fields[17])
            with open(f"/proc/{pid}/statm", "rb") as file:
                self.memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        except (OSError, ValueError, IndexError):
            pass


@dataclass
class _Row:
    """The greenlets that run one function."""

    name: str
    place: str
    count: int = 0
    busy: float = 0.0
    states: dict[str, int] = field(default_factory=dict)
    lines: dict[str, float] = field(default_factory=dict)


class _Series:
    """A number that was looked at several times."""

    def __init__(self):
        self.first = self.last = self.most = None
        self.looks = self.rises = 0

    def add(self, value):
        if self.first is None:
            self.first = self.last = self.most = value
            return
        self.looks += 1
        self.rises += value > self.last
        self.most = max(self.most, value)
        self.last = value

    @property
    def growth(self):
        return self.last - self.first if self.first is not None else 0

    @property
    def grows(self):
        return (
            self.looks >= _FEWEST_LOOKS
            and self.last == self.most
            and self.last > self.first
            and 2 * self.rises >= self.looks
        )


class Top:
    """The latest look at a process, beside those before it."""

    def __init__(self, pid):
        self.pid = pid
        self.series = {}  # (what, which): _Series
        self.raw = self.process = None
        self.began = None

    def add(self, raw, process):
        """A further look."""
        now = time.monotonic()
        before, self.raw = self.raw, raw
        system, self.process = self.process, process
        if before is None:
            self.began = now
        self.elapsed = now - self.began
        files = Files(raw)
        self.seconds = (raw["now"] - before["now"]) / 1e9 if before else None
        self.cpu = None
        if system and process.cpu is not None and system.cpu is not None and self.seconds:
            self.cpu = (process.cpu - system.cpu) / self.seconds
        self.hubs = [self._hub(hub, raw, before) for hub in raw["hubs"]]
        self.rows = self._rows(raw, files)
        for what in ("memory", "descriptors", "threads"):
            value = getattr(process, what)
            if value is not None:
                self._note(what, "", value)
        self._note("timers", "", sum(hub[10] for hub in raw["hubs"]))
        # What no longer exists counts 0.
        for what, which in list(self.series):
            if what == "greenlets" and which not in self.rows:
                self._note(what, which, 0)
        for which, row in self.rows.items():
            if (what := ("greenlets", which)) not in self.series and self.seconds is not None:
                self._note(*what, 0)  # it did not exist at the previous look
            self._note(*what, row.count)

    def _note(self, what, which, value):
        self.series.setdefault((what, which), _Series()).add(value)

    def _hub(self, row, raw, before):
        """Its name, and its numbers per second."""
        address, thread, name, backend, state, main = row[:6]
        threads = dict(raw["threads"])
        thread_name = threads.get(thread, "MainThread" if main else f"thread {thread:#x}")
        rates = lag = None
        for old in before["hubs"] if before else ():
            if old[0] == address and self.seconds:
                switches = row[12] + row[13] - old[12] - old[13]
                rates = [n / self.seconds for n in (switches, row[14] - old[14], row[15] - old[15])]
                lag = _worst([new - n for new, n in zip(row[18], old[18], strict=True)], raw["lag_limits"])
        sampled = {one[0]: one[1:] for one in raw["sampled"]}
        samples, busy, longest = sampled.get(address, (0, 0, 0))
        return {
            "name": f"{name} of {thread_name}" if name else thread_name,
            "backend": backend.removesuffix("Backend").lower(),
            "state": state,
            "busy": busy / samples if samples else None,
            "longest": longest / 1e9,
            "lag": lag,
            "rates": rates,
            "counts": row,
        }

    def _rows(self, raw, files):
        frames = [Place(*frame) for frame in raw["frames"]]
        samples = {number: one[1] for number, one in enumerate(raw["sampled"])}
        rows = {}

        def row_of(kind, function, file, line):
            name = {"main": "main greenlet", "hub": "hub"}.get(kind) or function or "greenlet"
            key = (name, file, line)
            if key not in rows:
                rows[key] = _Row(name, f"{files.path(file)}:{line}" if file else "")
            return rows[key]

        for _, kind, function, file, line, state, wait, count in raw["counts"]:
            row = row_of(kind, function, file, line)
            row.count += count
            word = _WAITS.get(wait, "other") if state == "parked" else {"running": "runs"}.get(state, state)
            row.states[word] = row.states.get(word, 0) + count
        for number, kind, function, file, line, stack, count in raw["running"]:
            row = row_of(kind, function, file, line)
            share = count / samples[number] if samples.get(number) else 0
            row.busy += share
            user, _ = files.user_line([frames[index] for index in stack])
            if user is not None:
                at = f"{files.path(user.file)}:{user.line}"
                row.lines[at] = row.lines.get(at, 0) + share
        return rows

    # -------- text

    def lines(self, rows=None, width=None):
        """The lines of the screen. rows: at most so many; width: columns that they should fit into; None: all."""
        raw, process = self.raw, self.process
        lines = [f"PID {self.pid}: {' '.join(raw['program'])}".rstrip(": ")]
        facts = [f"CPU {_percent(self.cpu)}"] if self.cpu is not None else []
        facts += [_megabytes(process.memory)] if process.memory is not None else []
        facts += [f"{process.descriptors} fds"] if process.descriptors is not None else []
        facts += [_plural(process.threads, "thread")] if process.threads is not None else []
        if facts:
            lines.append(", ".join(facts))
        for hub in self.hubs:
            lines += self._hub_lines(hub, width)
        growing = self._growing()
        if growing:
            lines.append(growing)
        lines.append("BUSY COUNT GROWN FUNCTION")
        order = sorted(self.rows.items(), key=lambda item: (-round(item[1].busy, 2), -item[1].count, item[1].name))
        room = None if rows is None else max(rows - len(lines), 1)
        if room is not None and len(order) > room:
            order, hidden = order[: room - 1], len(order) - room + 1
        else:
            hidden = 0
        lines += [self._row_line(key, row) for key, row in order]
        if hidden:
            lines.append(f"and {hidden} more functions")
        return [printable(line) for line in lines]

    def _hub_lines(self, hub, width):
        counts = hub["counts"]
        words = []
        if hub["busy"] is not None:
            words.append(f"busy {_percent(hub['busy'])}")
        if hub["state"] == "closed":
            words = ["closed"]
        elif hub["longest"] > (hub["lag"] or (0.1,))[0]:
            words.append(f"a turn of {_seconds(hub['longest'])}")  # not over yet, so the loop has not counted it
        elif hub["lag"]:
            words.append(f"lag {hub['lag'][1]}")
        text = f"{hub['name']} ({hub['backend']}): {', '.join(words)}"
        if width and len(text) > width:
            text = f"{hub['name']}: {', '.join(words)}"
        yield text
        if hub["rates"]:
            switches, polls, spawned = hub["rates"]
            yield f"  {switches:.0f} switches/s, {polls:.0f} polls/s, {spawned:.0f} new/s"
        ready = f", {counts[9]} ready" if counts[9] else ""
        yield f"  {counts[7]} parked{ready}, {_plural(counts[10], 'timer')}, {counts[11]} watched"

    def _row_line(self, key, row):
        growth = self.series["greenlets", key].growth if self.seconds is not None else 0
        grown = f"{growth:+}" if growth else ""
        busy = _percent(row.busy) if row.busy >= 0.005 else ""
        place = max(row.lines, key=row.lines.get) if row.lines else row.place
        states = sorted(row.states.items(), key=lambda item: -item[1])
        text = f"{row.name} {place}".rstrip()
        if len(states) == 1 and row.count:
            text += f"  {states[0][0]}"
        elif states:
            text += "  " + ", ".join(f"{count} {word}" for word, count in states)
        return f"{busy:>4} {row.count or '':>5} {grown:>5} {text}".rstrip()

    def _growing(self):
        """What grows, in words; or None."""
        found = []
        for (what, which), series in self.series.items():
            if not series.grows:
                continue
            if what == "greenlets":
                found.append((series.growth, f"{which[0]} +{series.growth}"))
            elif what == "memory":
                if series.growth >= 1 << 20:
                    found.append((0, f"memory +{_megabytes(series.growth)}"))
            else:
                found.append((0, f"{what} +{series.growth}"))
        found.sort(key=lambda item: -item[0])
        if found and self.elapsed:
            return f"Grows in {_seconds(self.elapsed)}: " + ", ".join(text for _, text in found[:6])
        return None


def _worst(rounds, limits):
    """For the slowest of these rounds of the loop: the class limit that it kept, in seconds, and the words for it."""
    worst = max((number for number, count in enumerate(rounds) if count > 0), default=None)
    if worst is None:
        return None
    if worst == len(limits):
        return limits[-1], f"over {_seconds(limits[-1])}"
    return limits[worst], f"up to {_seconds(limits[worst])}"


def _percent(share):
    return f"{share * 100:.0f}%"


def _megabytes(count):
    return f"{count / (1 << 20):.1f} MB"


def _seconds(value):
    return f"{value * 1000:.0f} ms" if value < 1 else duration(value).replace("\N{NO-BREAK SPACE}", " ")


def _plural(count, word):
    return f"{count} {word}{'' if count == 1 else 's'}"


# ---------------------------------------------------------------- where it is shown


class _Screen:
    """The terminal, on which each look replaces the one before; or a pipe, to which they are written one after the
    other."""

    def __init__(self, width):
        self.width = width
        self.moves = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colors = self.moves and not os.environ.get("NO_COLOR")
        self.top = None
        self.before = None

    def __enter__(self):
        if self.moves and hasattr(signal, "SIGWINCH"):
            self.before = signal.signal(signal.SIGWINCH, self._resized)
        if self.moves:
            sys.stdout.write("\x1b[?25l\x1b[2J")  # no cursor; clear
        return self

    def __exit__(self, *_):
        if self.moves:
            if self.before is not None:
                signal.signal(signal.SIGWINCH, self.before)
            sys.stdout.write("\x1b[?25h")
            sys.stdout.flush()

    def _resized(self, *_):
        if self.top is not None:
            sys.stdout.write("\x1b[2J")
            self.show(self.top)

    def show(self, top):
        if not self.moves:
            # A block for each look, with an empty line between them.
            text = "".join(f"{line[: self.width]}\n" for line in top.lines(width=self.width))
            sys.stdout.write(("\n" if self.top is not None else "") + text)
        else:
            columns, rows = shutil.get_terminal_size()
            columns = min(columns, self.width or columns)
            shown = [line[:columns] for line in top.lines(rows - 1, columns)[: rows - 1]]
            sys.stdout.write("\x1b[H" + "".join(f"{self._bright(line)}\x1b[K\n" for line in shown) + "\x1b[J")
        sys.stdout.flush()
        self.top = top

    def _bright(self, line):
        return f"\x1b[1m{line}\x1b[0m" if self.colors and re.match(r"PID |Grows|BUSY ", line) else line

    def say(self, text):
        print(text[: self.width], flush=True)
