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
import pstats
import sys
import threading

from gevlite._profile import Recorder
from gevlite._program import UsageError, execute, find_module, find_script

__all__ = ["Profile"]

_set_in_new_threads = threading.setprofile
_set_in_all_threads = getattr(threading, "setprofile_all_threads", None)  # Python 3.12 and later


class Profile(cProfile.Profile):
    """`cProfile.Profile` for programs with greenlets: the same methods, and files that `pstats` reads.

    It profiles the OS thread that calls `enable` and, with `threads`, those that start later, such as the workers of a
    `ThreadPool`; from Python 3.12 on also those that run already. builtins: whether functions in C are shown too. Only
    one profiler may run in a thread.
    """

    def __init__(self, *, builtins=True, threads=True):
        super().__init__()
        self._recorder = Recorder()
        self._builtins = builtins
        self._threads = threads

    def enable(self, subcalls=True, builtins=True):
        """Start or resume collecting. Raises RuntimeError if already collecting. `subcalls` is accepted and ignored."""
        if self._threads:
            (_set_in_all_threads or _set_in_new_threads)(self._join)
        try:
            self._recorder.start(self._builtins and builtins)
        except BaseException:
            self._forget_threads()
            raise

    def disable(self):
        """Stop collecting. Does nothing if it is not collecting."""
        self._forget_threads()
        self._recorder.stop()

    def _join(self, frame, event, argument):
        # The first event of another thread.
        sys.setprofile(None)
        self._recorder.join()

    def _forget_threads(self):
        if self._threads and threading.getprofile() == self._join:
            _set_in_new_threads(None)

    def clear(self):
        """Forget what was collected."""
        self._recorder.clear()

    def getstats(self):
        """An empty list: `cProfile`'s own format of entries is not supported. `create_stats` has them."""
        return []

    def snapshot_stats(self):
        """Set `stats` to what has been collected so far."""
        self.stats = self._recorder.stats()


USAGE = """\
usage: python -m gevlite.profile [-o FILE] [-s SORT] script.py [argument ...]
       python -m gevlite.profile [-o FILE] [-s SORT] -m module [argument ...]

Run a script or module, and print for how long its functions ran, in all greenlets.

  -o FILE     write what was measured there instead, for `python -m pstats FILE` and for viewers
  -s SORT     the order, as in pstats: cumulative (by default), time, calls, name, ...
  -h, --help  print this text
"""


def main(arguments=None):
    """Run the command; returns an exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    output, sort = None, "cumulative"
    try:
        while arguments and arguments[0] in ("-o", "-s", "-h", "--help"):
            option = arguments.pop(0)
            if option in ("-h", "--help"):
                print(USAGE, end="")
                return 0
            if not arguments:
                raise UsageError(f"{option} needs a value")
            if option == "-o":
                output = arguments.pop(0)
            else:
                sort = arguments.pop(0)
                if sort not in pstats.Stats.sort_arg_dict_default:
                    raise UsageError(f"unknown order {sort}")
        if not arguments:
            raise UsageError("no script and no module given")
        if arguments[0] == "-m":
            if len(arguments) < 2:
                raise UsageError("-m needs the name of a module")
            program = find_module(arguments[1], arguments[2:])
        else:
            program = find_script(arguments[0], arguments[1:])
    except UsageError as exc:
        sys.stderr.write(f"{USAGE}\ngevlite.profile: error: {exc}\n")
        return 2
    profile = Profile()
    try:
        profile.runcall(execute, program, program.code)
    finally:
        if output is not None:
            profile.dump_stats(output)
        else:
            profile.print_stats(sort)
    return 0


if __name__ == "__main__":
    sys.exit(main())
