"""Look at running greenlets, and check that code lets others run."""

import gc
import sys
import threading
import time
import traceback
from io import StringIO

from greenlet import greenlet, settrace

from gevlite._core import Hub, hubs
from gevlite.greenlet import getcurrent
from gevlite.local import all_local_dicts_for_greenlet

__all__ = ["GreenletTree", "assert_switches", "dump_stacks", "format_run_info", "print_run_info", "wrap_errors"]

# The originals, even if these are patched.
_monotonic = time.monotonic
_get_ident = threading.get_ident


class wrap_errors:
    """A function that calls `func`; if that raises one of `errors`, it returns the exception instead of raising it."""

    def __init__(self, errors, func):
        self.__errors = errors
        self.__func = func

    def __call__(self, *args, **kwargs):
        try:
            return self.__func(*args, **kwargs)
        except self.__errors as exc:
            return exc

    def __getattr__(self, name):
        return getattr(self.__func, name)

    def __str__(self):
        return str(self.__func)

    def __repr__(self):
        return repr(self.__func)


class assert_switches:
    """A `with` block in which other greenlets must be able to run; for tests.

    At its end, unless an exception ends it, it raises AssertionError if the block has not switched to another greenlet,
    or if any greenlet of this thread ran for more than `max_blocking_time` seconds without a switch. hub_only: only a
    switch to the hub counts. `sleep(0)` switches only if another greenlet is ready.

    It sets greenlet's trace function, and passes all events on to the previous one.
    """

    def __init__(self, max_blocking_time=None, hub_only=False):
        self.max_blocking_time = max_blocking_time
        self.hub_only = hub_only

    def __enter__(self):
        self._greenlet = getcurrent()
        self._switched = False
        self._longest = 0.0
        self._since = _monotonic()
        self._before = settrace(self._trace)
        return self

    def _trace(self, event, args):
        origin, target = args
        now = _monotonic()
        if not isinstance(origin, Hub):  # the hub may sleep as long as it likes
            self._longest = max(self._longest, now - self._since)
        self._since = now
        if origin is self._greenlet and (not self.hub_only or isinstance(target, Hub)):
            self._switched = True
        if self._before is not None:
            self._before(event, args)

    def __exit__(self, kind, value, tb):
        settrace(self._before)
        if kind is not None:
            return
        longest = max(self._longest, _monotonic() - self._since)
        if self.max_blocking_time is not None and longest > self.max_blocking_time:
            raise AssertionError(f"a greenlet ran for {longest:.3f} s, longer than {self.max_blocking_time} s")
        if not self._switched:
            raise AssertionError(f"{self._greenlet!r} did not switch to {'the hub' if self.hub_only else 'another'}")


# ---------------------------------------------------------------- what runs


def print_run_info(thread_stacks=True, greenlet_stacks=True, limit=None, file=None):
    """Print `format_run_info` to `file`, by default sys.stderr."""
    lines = format_run_info(thread_stacks, greenlet_stacks, limit)
    print("\n".join(lines), file=sys.stderr if file is None else file)


def format_run_info(thread_stacks=True, greenlet_stacks=True, limit=None, current_thread_ident=None):
    """A list of lines: the stacks of all threads and of all greenlets that have begun and not ended, as trees.

    limit: the maximum number of frames of each. current_thread_ident: the thread to mark as the current one. This goes
    through all objects of the process, so it takes a while.
    """
    lines = []
    if thread_stacks:
        _add_threads(lines, limit, _get_ident() if current_thread_ident is None else current_thread_ident)
    if greenlet_stacks:
        lines += ["", "*" * 80, "* Greenlets", "*" * 80]
        details = {**GreenletTree.DEFAULT_DETAILS, "limit": limit}
        for tree in GreenletTree.forest():
            lines += tree.format_lines(details)
    return lines


def dump_stacks():
    """An old function: `format_run_info` as one string."""
    return "\n".join(format_run_info())


def _add_threads(lines, limit, current):
    names = {thread.ident: thread.name for thread in list(threading._active.values())}
    lines += ["*" * 80, "* Threads", "*" * 80]
    for ident, frame in sys._current_frames().items():
        lines += ["*" * 80, f"Thread {ident:#x} ({names.get(ident, '?')}){' (current)' if ident == current else ''}"]
        lines += _stack(frame, limit)


def _stack(frame, limit):
    return "".join(traceback.format_stack(frame, limit)).splitlines()


class GreenletTree:
    """A greenlet with, as its children, the greenlets that it spawned."""

    #: The details that `format` shows.
    DEFAULT_DETAILS = {"running_stacks": True, "spawning_stacks": True, "locals": True, "limit": None}

    is_current_tree = False

    #: What the greenlet waits for, in words; None if it is not parked.
    waits = None

    def __init__(self, greenlet):
        self.greenlet = greenlet
        self.child_trees = []

    def add_child(self, tree):
        """Put a tree below this one, unless it is this one."""
        if tree is not self:
            self.child_trees.append(tree)

    @property
    def root(self):
        """True if its greenlet was not spawned by another: a thread's main greenlet, the hub, or one without a
        spawner."""
        return _spawner(self.greenlet) is None

    @classmethod
    def forest(cls):
        """A list of the trees of all living greenlets of all threads."""
        current = getcurrent()
        waits = {waiter.parked: waiter.describe() for hub in hubs() for waiter in hub.parked_waiters()}
        # The collector does not list objects that existed at gc.freeze().
        everything = [*gc.get_objects(), current, *hubs(), *waits]
        trees = {found: cls(found) for found in everything if isinstance(found, greenlet) and not found.dead}
        roots = []
        for found, tree in trees.items():
            tree.waits = waits.get(found)
            spawner = trees.get(_spawner(found))
            if spawner is None or spawner is tree:
                roots.append(tree)
            else:
                spawner.add_child(tree)
        for tree in roots:
            tree.is_current_tree = any(below.greenlet is current for below in tree._all())
        return roots

    @classmethod
    def current_tree(cls):
        """The tree of the current greenlet."""
        return next(tree for tree in cls.forest() if tree.is_current_tree)

    def _all(self):
        todo = [self]
        while todo:
            tree = todo.pop()
            yield tree
            todo += tree.child_trees

    def format_lines(self, details=True):
        """A list of lines. details: False for the names only, or a dict like DEFAULT_DETAILS."""
        if details is True:
            details = self.DEFAULT_DETAILS
        lines = []
        self._add_lines(lines, "", details or {})
        return lines

    def format(self, details=True):
        """`format_lines` as one string."""
        text = StringIO()
        for line in self.format_lines(details):
            text.write(f"{line}\n")
        return text.getvalue()

    def __str__(self):
        return self.format()

    def _add_lines(self, lines, indent, details):
        mark = "; current" if self.greenlet is getcurrent() else ""
        lines.append(f"{indent}+--- {self.greenlet!r}{mark}")
        inside = f"{indent} :    "
        limit = details.get("limit")
        if details.get("running_stacks") and self.greenlet.gr_frame is not None:
            lines.append(f"{inside}{self.waits[0].upper()}{self.waits[1:]}, in:" if self.waits else f"{inside}Running:")
            lines += [inside + line for line in _stack(self.greenlet.gr_frame, limit)]
        spawned = getattr(self.greenlet, "spawning_stack", None)
        if details.get("spawning_stacks") and spawned:
            lines.append(f"{inside}Spawned at:")
            lines += [inside + line for line in "".join(spawned.format()).splitlines()]
        if self.greenlet.parent is not None:
            lines.append(f"{inside}Parent: {self.greenlet.parent!r}")
        if details.get("locals"):
            if getattr(self.greenlet, "spawn_tree_locals", None):
                lines.append(f"{inside}Spawn tree locals: {self.greenlet.spawn_tree_locals!r}")
            for (kind, ident), attributes in all_local_dicts_for_greenlet(self.greenlet):
                if attributes:
                    lines.append(f"{inside}Local {kind.__name__} at {ident:#x}: {attributes!r}")
        for tree in self.child_trees:
            tree._add_lines(lines, f"{indent} ", details)


def _spawner(found):
    """The greenlet that spawned this one, if it still exists."""
    spawner = getattr(found, "spawning_greenlet", None)
    return spawner() if spawner is not None else None
