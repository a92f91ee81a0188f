"""A profiler with a call stack for each greenlet: the compiled part of `gevlite.profile`.

A profiler gets calls and returns, and keeps a stack of the calls that have not returned. The interpreter's own profiler
has one such stack for a whole OS thread. So when greenlets take turns, a return in one greenlet is taken for the return
of the last call in another, and the time goes to the wrong function. Here greenlet's trace function says which greenlet
runs, each has its own stack, and its clock stands still while it is switched away.
"""

from typing import Any, final

__all__ = ["Recorder"]

@final
class Recorder:
    """Records which functions run for how long, in each thread that calls `join`, between `start` and `stop`."""
    def start(self, builtins: bool) -> None:
        """Begin. builtins: with functions in C. Raises RuntimeError if it has begun."""
    def join(self) -> None:
        """Profile the running OS thread too. Does nothing if `start` was not called."""
    def stop(self) -> None:
        """End it, in all threads. Calls that have not returned count as if they returned now."""
    def stats(self) -> dict[tuple[str, int, str], Any]:
        """What `pstats` reads: `{(file, line, function): (non-recursive calls, calls, own, total, callers)}`."""
    def clear(self) -> None:
        """Forget what was recorded."""
