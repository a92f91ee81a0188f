"""`python -m gevlite.monkey --check --watch`: run a program, and report which of its lines really blocked.

If something holds a hub for longer than `gevlite.config.watch` seconds (by default 0.1) while others wait, its stack is
sampled again and again until it lets go. It counts for the line at which it was found most often.
"""

import os
from collections import Counter

from gevlite import _blocked
from gevlite._user_line import in_words
from gevlite.monkey._drivers import BLOCKING

__all__ = ["DEFAULT_SECONDS", "Found", "watched"]

DEFAULT_SECONDS = 0.1
_MOST_RUNS = 100_000


class Found:
    """Collects the reports of the watch. Called in the watch's thread.

    That thread may still add to it while the report is written: values in `runs` are replaced, never changed.
    """

    def __init__(self):
        self.runs = {}  # (hub, number of the run): (seconds, lines, most others, cures)

    def __call__(self, blocked):
        """Returns when to look again: often enough for the time to be right to a few percent."""
        key = (id(blocked.hub), blocked.run)
        if key not in self.runs and len(self.runs) >= _MOST_RUNS:
            return None
        seconds, lines, others, cures = self.runs.get(key, (0.0, Counter(), 0, frozenset()))
        line = in_words(blocked.place) if blocked.place is not None else "something without Python code"
        cure = blocked.cure() or _remedy(blocked.calls)
        self.runs[key] = (
            max(seconds, blocked.seconds),
            lines + Counter((line,)),
            max(others, blocked.others),
            cures | {cure},
        )
        return max(0.02, blocked.seconds / 20)

    def lines(self):
        """The report, the worst line first."""
        by_line = {}
        for seconds, lines, others, cures in list(self.runs.values()):
            [(line, _)] = lines.most_common(1)
            by_line.setdefault(line, []).append((seconds, others, cures))
        shown = []
        for line, runs in by_line.items():
            times = [seconds for seconds, _, _ in runs]
            longest, others = max(times), max(others for _, others, _ in runs)
            if len(runs) == 1:
                text = f"blocked: {line}, once, {longest:.1f} s"
            else:
                text = f"blocked: {line}, {len(runs)} times, {sum(times):.1f} s in all, {longest:.1f} s the longest"
            text += f"; {others} other{'' if others == 1 else 's'} waited."
            cures = sorted(set().union(*(cures for _, _, cures in runs)) - {""})
            shown.append((sum(times), " ".join([text, *cures])))
        return [text for _, text in sorted(shown, key=lambda pair: -pair[0])]


def _remedy(calls):
    """For a driver in C."""
    for known in BLOCKING:
        if any(call.startswith((f"{known.module}.", f"{known.package}.")) for call in calls):
            return f"{known.module} {known.what}; {known.remedy}."
    return ""


def watched(run, path):
    """Call `run()`, which runs the program at `path`, and print a report. Returns 1 if anything has blocked, else 0."""
    found = Found()
    _blocked.report_to = found
    pid = os.getpid()
    failed = True
    try:
        run()
        failed = False
    except SystemExit as exc:
        failed = False
        if not found.runs or pid != os.getpid():
            raise
        if isinstance(exc.code, str):
            print(exc.code)
    finally:
        if pid == os.getpid():
            lines = found.lines()
            for line in lines:
                print(line)
            count = f"{len(lines)} line{'' if len(lines) == 1 else 's'}" if lines else "nothing"
            print(f"{path}: {count} blocked all greenlets for longer than {_blocked.config.watch:g} s.", flush=True)
    return 1 if failed or lines else 0
