"""A deterministic profiler that knows greenlets, with the interface of `cProfile`.

::

    python -m gevlite.profile [-o FILE] [-s SORT] script.py [argument ...]

or in a program::

    from gevlite.profile import Profile

    with Profile() as profile:
        serve()
    profile.print_stats("cumulative")

`cProfile` has one call stack for all greenlets of a thread, so with greenlets that take turns it credits calls with the
time of others. Here each greenlet has its own. While a greenlet waits, no time is counted: the profile shows how long
functions ran.
"""

import cProfile
from collections.abc import Sequence
from typing import Any

__all__ = ["Profile"]

class Profile(cProfile.Profile):
    """`cProfile.Profile` for programs with greenlets: the same methods, and files that `pstats` reads.

    It profiles the OS thread that calls `enable` and, with `threads`, those that start later, such as the workers of a
    `ThreadPool`; from Python 3.12 on also those that run already. builtins: whether functions in C are shown too. Only
    one profiler may run in a thread.
    """
    def __init__(self, *, builtins: bool = True, threads: bool = True) -> None: ...
    def enable(self, subcalls: bool = True, builtins: bool = True) -> None:
        """Start or resume collecting. Raises RuntimeError if already collecting. `subcalls` is accepted and ignored."""
    def disable(self) -> None:
        """Stop collecting. Does nothing if it is not collecting."""
    def clear(self) -> None:
        """Forget what was collected."""
    def getstats(self) -> list[Any]:
        """An empty list: `cProfile`'s own format of entries is not supported. `create_stats` has them."""
    def snapshot_stats(self) -> None:
        """Set `stats` to what has been collected so far."""

def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns an exit code."""
