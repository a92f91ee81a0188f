"""The working part of gevlite's plug-in for pytest: gevlite_pytest.py imports it when a run asks for the plug-in.

* One greenlet, the runner, runs the tests, one after the other; so contexts and thread-locals of fixtures are those of
  the tests, as without the plug-in. The main greenlet waits, and passes exceptions that are raised in it on to the
  runner: gevlite raises KeyboardInterrupt, LoopExit and the exceptions of signal handlers there.
* pytest and its plug-ins do their work for a test in the runner, except for the wrappers around it.
* gevlite reports uncaught errors of greenlets and threads to `threading.excepthook`. If `get()` raises such an error
  again, its traceback changes: so the plug-in knows which errors were raised again.
* Whatever a fixture of a wider scope starts, directly or indirectly, belongs to the fixture and not to the test.
"""

import _socket
import argparse
import gc
import hashlib
import os
import random
import re
import signal
import stat
import threading
import traceback
import weakref
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from time import perf_counter as _now  # the real time, also in the block of a VirtualClock
from typing import NamedTuple

import pytest

import gevlite
import gevlite_pytest
from gevlite import _probe
from gevlite._core import Timer, get_hub_if_exists, timed
from gevlite._report import Report, fit
from gevlite.event import Event
from gevlite.greenlet import Greenlet
from gevlite.testing import _clock, _shuffle, faults

__all__ = ["Controller", "Faults", "Session"]

# For things that end soon after a test, such as a server's greenlet whose client has gone. At least so long, and so
# often.
SETTLE_SECONDS, SETTLE_ROUNDS = 0.5, 20
LATE_SECONDS, LATE_ROUNDS = 0.1, 8  # the same for greenlets that may stay: only for their errors
AGAIN_SECONDS = 2.0  # the alarm repeats, in case the test swallows it
LARGEST_SEED = 2**31

_failed = pytest.StashKey[bool]()
_seed = pytest.StashKey[int]()
_marks = pytest.StashKey["Marks"]()


class Controller:
    """For a pytest that leaves the tests to the processes of xdist: it only chooses the seed."""

    def __init__(self, config):
        self.config = config
        _choose_seed(config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config):
        _choose_seed(config)

    def pytest_report_header(self, config):
        return _header(config, "in the processes of xdist")


def _choose_seed(config):
    for options in (getattr(config, "known_args_namespace", None), config.option):
        if getattr(options, "gevlite_shuffle", None) == -1:
            options.gevlite_shuffle = config.stash.setdefault(_seed, random.randrange(LARGEST_SEED))


def _header(config, how):
    seed = getattr(config.option, "gevlite_shuffle", None)
    return f"gevlite: {how}" + (f", --gevlite-shuffle={seed}" if seed is not None else "")


class Session:
    """The plug-in itself. everywhere: for all tests, not only for those with the marker."""

    def __init__(self, config, patch, everywhere):
        self.config = config
        self.everywhere = everywhere
        self.patched = patch
        if patch:
            from gevlite import monkey

            monkey.patch_all(fix=True)  # fix: pytest itself holds time.sleep already
        self.runner = Runner()
        self.alarm = Alarm(self.runner)
        self.left = Left(config, self.runner)
        self.errors = Errors(self.left)
        self.before = None
        try:
            self.timeout = gevlite_pytest.time_limit(config.getini("gevlite_timeout"))
        except argparse.ArgumentTypeError as exc:
            raise pytest.UsageError(f"gevlite_timeout: {exc}") from None
        _choose_seed(config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config):
        _choose_seed(config)
        self.left.begin()

    def pytest_unconfigure(self):
        self.left.end()
        self.runner.end()

    def pytest_report_header(self, config):
        if self.everywhere:
            return _header(config, "patched" if self.patched else "not patched")
        return None

    def is_for(self, item):
        return self.everywhere or item.get_closest_marker("gevlite") is not None

    # -------- a test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item, nextitem):
        if not self.is_for(item) or self.runner.is_running():
            return None
        arguments = {"item": item, "nextitem": nextitem}
        hook = item.ihook.pytest_runtest_protocol
        others = [one for one in hook.get_hookimpls() if not one.wrapper and not one.hookwrapper]

        def run():
            """Does what pytest would call now; its wrappers are already around it."""
            for one in reversed(others):
                if one.plugin is not self:
                    result = one.function(*[arguments[name] for name in one.argnames])
                    if result is not None:
                        return result
            return None

        seconds = _marks_of(item).timeout
        if seconds is None:
            seconds = item.config.option.gevlite_timeout
        if seconds is None:
            seconds = self.timeout
        self.alarm.item = item
        self.left.test = item.nodeid
        with self.alarm.after(seconds, "gevlite"):
            return self.runner.run(item.nodeid, run)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item):
        if self.is_for(item):
            item.stash[_failed] = False
            self.before = self.left.now()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item):
        result = yield
        self.alarm.stop("gevlite")
        before, self.before = self.before, None
        if self.is_for(item) and before is not None:
            self.check_left(item, before)
        return result

    def check_left(self, item, before):
        marks = _marks_of(item)
        failed = item.stash.get(_failed, False)
        hook, threading.excepthook = threading.excepthook, self.errors.hook
        try:
            left = self.left.since(before, failed) if marks.left else self.left.settle(before)
        finally:
            threading.excepthook = hook
            errors = self.errors.take()
        if not marks.errors:
            errors = []
        if errors and (failed or left):  # one failure is enough
            item.add_report_section("teardown", "errors in greenlets", "\n".join(map(_as_text, errors)))
        elif errors:
            raise _one_of(errors)
        if not left:
            return
        text = f"{item.name} has left behind:\n" + "\n".join(f"  {line}" for line in left)
        if failed:
            item.add_report_section("teardown", "gevlite", text)
        else:
            pytest.fail(text, pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        report = yield
        if report.failed or hasattr(report, "wasxfail"):
            item.stash[_failed] = True
        return report

    # -------- its phases, as close to its code as possible: a name that pytest accepts, and the hook that it is for

    def phase(self, item, when):
        """The body of a wrapper: errors of greenlets during the phase are errors of the phase."""
        __tracebackhide__ = True
        self.alarm.when = when
        if not self.is_for(item):
            return (yield)
        marks = _marks_of(item)
        if marks.wrong is not None and when == "setup":
            pytest.fail(marks.wrong, pytrace=False)
        hook, threading.excepthook = threading.excepthook, self.errors.hook
        failed = True
        try:
            if when == "call":
                with self.shuffled(item):
                    result = yield
            else:
                result = yield
            gevlite.sleep(0)  # a KeyboardInterrupt or SystemExit of a greenlet may be on its way to the runner
            failed = False
        finally:
            threading.excepthook = hook
            found = self.errors.take()
            if failed and found:
                item.add_report_section(when, "errors in greenlets", "\n".join(map(_as_text, found)))
        if found and marks.errors:
            raise _one_of(found)
        return result

    @pytest.hookimpl(wrapper=True, trylast=True, specname="pytest_runtest_setup")
    def pytest_inner_setup(self, item):
        __tracebackhide__ = True
        return (yield from self.phase(item, "setup"))

    @pytest.hookimpl(wrapper=True, trylast=True, specname="pytest_runtest_call")
    def pytest_inner_call(self, item):
        __tracebackhide__ = True
        return (yield from self.phase(item, "call"))

    @pytest.hookimpl(wrapper=True, trylast=True, specname="pytest_runtest_teardown")
    def pytest_inner_teardown(self, item):
        __tracebackhide__ = True
        return (yield from self.phase(item, "teardown"))

    @contextmanager
    def shuffled(self, item):
        seed = self.config.option.gevlite_shuffle
        if seed is None:
            yield
            return
        # A different order for each test, but the same one if it runs alone.
        own = int.from_bytes(hashlib.sha256(f"{seed} {item.nodeid}".encode()).digest()[:4], "big") % LARGEST_SEED
        item.add_report_section("call", "gevlite", f"--gevlite-shuffle={seed}; of this test: shuffled({own})")
        with _shuffle.shuffled_around(own):
            yield

    # -------- fixtures of wider scopes

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef):
        if fixturedef.scope == "function":
            return (yield)
        with self.left.belongs_to(fixturedef):
            return (yield)

    def pytest_fixture_post_finalizer(self, fixturedef):
        if fixturedef.scope != "function":
            self.left.fixture_has_ended(fixturedef, self.before)

    # -------- time limits

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item, settings):
        if not self.is_for(item) or not settings.timeout:
            return None
        self.alarm.item = item
        if not self.alarm.start(settings.timeout, "pytest-timeout"):
            return None
        item.cancel_timeout = lambda: self.alarm.stop("pytest-timeout")  # pytest-timeout calls it
        return True

    def pytest_enter_pdb(self):
        self.alarm.stop()

    def pytest_exception_interact(self):
        if self.config.getoption("usepdb", False):
            self.alarm.stop()


class Marks(NamedTuple):
    """The arguments of a test's markers."""

    timeout: float | None = None
    left: bool = True
    errors: bool = True
    wrong: str | None = None  # an error in them, which fails the test


def _marks_of(item):
    if _marks not in item.stash:
        item.stash[_marks] = _read_marks(item)
    return item.stash[_marks]


def _read_marks(item):
    """Each argument comes from the nearest marker that has it."""
    found = {}
    for mark in item.iter_markers("gevlite"):
        if mark.args:
            given = ", ".join(map(repr, mark.args))
            return Marks(wrong=f"pytest.mark.gevlite takes its arguments by name, timeout=5 for instance, not {given}")
        for name, value in mark.kwargs.items():
            if name not in ("timeout", "left", "errors"):
                return Marks(wrong=f"pytest.mark.gevlite has no argument {name!r}, only timeout, left and errors")
            if name == "timeout" and value is not None:
                try:
                    value = gevlite_pytest.time_limit(value)
                except argparse.ArgumentTypeError as exc:
                    return Marks(wrong=f"pytest.mark.gevlite(timeout={value!r}): {exc}")
            elif name != "timeout" and not isinstance(value, bool):
                return Marks(wrong=f"pytest.mark.gevlite({name}={value!r}): it is True or False")
            found.setdefault(name, value)
    return Marks(**found)


def _one_of(errors):
    return errors[0] if len(errors) == 1 else BaseExceptionGroup("errors in greenlets", errors)


def _as_text(error):
    return "".join(traceback.format_exception(error))


# ---------------------------------------------------------------- the greenlet of the tests


class Runner:
    """The greenlet that runs the tests, made with the first one."""

    def __init__(self):
        self.greenlet = None
        self.go = self.done = None
        self.call = self.outcome = None

    def is_running(self):
        """True in a test: one that runs pytest itself."""
        return self.done is not None and not self.done.is_set()

    def run(self, name, call):
        """Run `call()` in the runner; returns its result or raises its exception."""
        if self.greenlet is None or self.greenlet.dead:
            self.make()
        self.call = call
        self.greenlet.name = name
        self.done.clear()
        self.go.set()
        try:
            with self.as_main_thread():
                self.wait()
        finally:
            result, error = self.outcome or (None, None)
            self.call = self.outcome = None
        if error is not None:
            raise error
        return result

    def make(self):
        self.go, self.done = Event(), Event()
        self.done.set()
        self.greenlet = Greenlet(self.work)
        # The context of its maker, not a copy: so that a fixture can reset what it has set.
        me = gevlite.getcurrent()
        if me.gr_context is None:
            me.gr_context = copy_context()
        self.greenlet.gr_context = me.gr_context
        self.greenlet.start()

    def work(self):
        while True:
            try:
                self.go.wait()
            except gevlite.GreenletExit:
                return
            except BaseException:  # for the last test, which has just ended
                continue
            self.go.clear()
            try:
                self.outcome = self.call(), None
            except BaseException as exc:
                self.outcome = None, exc
            self.done.set()

    def wait(self):
        while not self.done.is_set():
            try:
                self.done.wait()
            except BaseException as exc:
                if self.done.is_set():
                    raise
                gevlite.get_hub().throw(self.greenlet, exc)

    @contextmanager
    def as_main_thread(self):
        """Make the runner's thread count as the main thread, in which tests mostly run."""
        ident = threading.get_ident
        main, active = threading.main_thread(), threading._active
        here = ident()
        try:
            there = ident(self.greenlet)
        except TypeError:  # not patched: it is that thread
            there = here
        if there == here or active.get(here) is not main:
            yield
            return
        active[there] = active.pop(here)
        try:
            yield
        finally:
            active.pop(there, None)
            active[here] = main

    def end(self):
        if self.greenlet is not None:
            self.greenlet.kill()
            self.greenlet = None


# ---------------------------------------------------------------- time limits


class Alarm:
    """Raises pytest's failure in the runner when the time is over, and adds to the report what each greenlet does."""

    def __init__(self, runner):
        self.runner = runner
        self.limits = {}  # name: (deadline, seconds)
        self.struck = set()
        self.item = None
        self.when = "setup"

    @contextmanager
    def after(self, seconds, name):
        if seconds and seconds > 0:
            self.start(seconds, name)
        try:
            yield
        finally:
            if seconds and seconds > 0:
                self.stop(name)

    def start(self, seconds, name):
        """False if there can be no alarm: signal handlers run in the main thread only."""
        if not _in_main_os_thread():
            return False
        self.limits[name] = _now() + seconds, seconds
        self.struck.discard(name)
        signal.signal(signal.SIGALRM, self.on_alarm)
        self.set()
        return True

    def stop(self, name=None):
        if name is None:
            self.limits.clear()
        if name is None or self.limits.pop(name, None) is not None:
            self.set()

    def set(self):
        if self.limits:
            left = min(deadline for deadline, _ in self.limits.values()) - _now()
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def on_alarm(self, signum, frame):
        __tracebackhide__ = True
        now = _now()
        due = [name for name, (deadline, _) in self.limits.items() if deadline <= now + 0.001]
        if not due:
            self.set()
            return
        name = due[0]
        seconds = self.limits[name][1]
        first = name not in self.struck
        self.struck.add(name)
        self.limits[name] = now + AGAIN_SECONDS, seconds
        self.set()
        if first:
            self.item.add_report_section(self.when, "greenlets", what_they_do(1))
        failure = pytest.fail.Exception(f"Timeout (>{seconds:g}s)")
        current, runner = gevlite.getcurrent(), self.runner.greenlet
        hub = get_hub_if_exists()
        if runner is None or hub is None or current is runner or not self.runner.is_running():
            raise failure
        # A greenlet that does not let others run the second time either is the one that the test waits for.
        if not first and isinstance(current, Greenlet):
            raise failure
        hub.throw(runner, failure)


def _in_main_os_thread():
    try:
        signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGALRM) or signal.SIG_DFL)
    except ValueError:
        return False
    return True


def what_they_do(skip=0):
    """The text of `python -m gevlite ps` about this process. skip: so many frames of the caller are no part of it."""
    report = Report(_probe.collect(skip + 1))
    return fit(report.ps()[len(report.head()) :], None).strip("\n")


# ---------------------------------------------------------------- errors


class Errors:
    """Uncaught errors of greenlets and threads."""

    def __init__(self, left):
        self.left = left
        self.seen = []
        self.tracebacks = {}

    def hook(self, args):
        """In the place of `threading.excepthook`."""
        error = args.exc_value
        if error is None:
            error = args.exc_type()
        if issubclass(args.exc_type, (SystemExit, gevlite.GreenletExit)):
            return
        name = args.thread.name if args.thread is not None else "a thread"
        error.add_note(f"This error ended {name}, and nothing caught it.")
        current = gevlite.getcurrent()
        test = self.left.test_of(current)
        if test not in (None, self.left.test) and self.left.spawned.get(current) is None:  # a fixture's may stay
            error.add_note(f"An earlier test has left it behind: {test}")
        self.seen.append(error)
        self.tracebacks[id(error)] = error.__traceback__

    def take(self):
        """The errors that nothing has raised again. Forgets all of them."""
        found = [error for error in self.seen if error.__traceback__ is self.tracebacks.get(id(error))]
        self.seen.clear()
        self.tracebacks.clear()
        return found


# ---------------------------------------------------------------- leaks


class Left:
    """The greenlets, timers, descriptors and blocks that exist, and whose they are."""

    KINDS = ("greenlets", "timers", "descriptors", "blocks")

    def __init__(self, config, runner):
        self.runner = runner
        self.kinds = config.getini("gevlite_left")
        wrong = set(self.kinds) - set(self.KINDS)
        if wrong:
            raise pytest.UsageError(f"gevlite_left is some of {', '.join(self.KINDS)}, not {', '.join(sorted(wrong))}")
        self.allowed = []
        for one in config.getini("gevlite_left_allowed"):
            try:
                self.allowed.append(re.compile(one))
            except re.error as exc:
                raise pytest.UsageError(f"gevlite_left_allowed: {one!r} is no regular expression: {exc}") from None
        self.test = None  # the name of the running test
        self.tests = weakref.WeakKeyDictionary()  # greenlets: the test in which they, or what has started them, began
        self.spawned = weakref.WeakKeyDictionary()  # greenlets: the fixture they belong to, or None
        self.fixtures = []  # being set up: the innermost is the last
        self.of_fixtures = {}  # descriptors: (their identity, their fixture)
        self.timers_of_fixtures = []
        self.blocks_of_fixtures = []

    def begin(self):
        Greenlet.add_spawn_callback(self.note)

    def end(self):
        Greenlet.remove_spawn_callback(self.note)

    def note(self, greenlet):
        """A greenlet was started."""
        spawner = gevlite.getcurrent()
        self.tests[greenlet] = self.test_of(spawner)
        owner = self.spawned.get(spawner)
        if owner is None and self.fixtures:
            owner = self.fixtures[-1]
        self.spawned[greenlet] = owner

    # -------- whose something is

    def test_of(self, greenlet):
        """The test that it comes from; None if it is older than all tests."""
        return self.test if greenlet is self.runner.greenlet else self.tests.get(greenlet, self.test)

    @contextmanager
    def belongs_to(self, fixture):
        before, timers, blocks = _descriptors(), _timers(), _blocks()
        self.fixtures.append(fixture)
        try:
            yield
        finally:
            self.fixtures.pop()
            for fd, identity in _descriptors().items():
                if before.get(fd) != identity:
                    self.of_fixtures.setdefault(fd, (identity, fixture))
            self.timers_of_fixtures += [(one, fixture) for one in _new(_timers(), timers)]
            self.blocks_of_fixtures += [(one, fixture) for one in _new(_blocks(), blocks)]

    def fixture_has_ended(self, fixture, before):
        """Whatever still exists has been left behind."""
        for greenlet, owner in list(self.spawned.items()):
            if owner is fixture:
                self.spawned[greenlet] = None
                if before is not None:
                    before.greenlets.discard(greenlet)
        for fd, (_, owner) in list(self.of_fixtures.items()):
            if owner is fixture:
                del self.of_fixtures[fd]
                if before is not None:
                    before.descriptors.pop(fd, None)
        self.timers_of_fixtures = [(one, owner) for one, owner in self.timers_of_fixtures if owner is not fixture]
        if before is not None:
            own = [one for one, owner in self.blocks_of_fixtures if owner is fixture]
            before.blocks = _new(before.blocks, own)
        self.blocks_of_fixtures = [(one, owner) for one, owner in self.blocks_of_fixtures if owner is not fixture]

    # -------- what exists

    def now(self):
        gevlite.get_hub()
        return _Now(weakref.WeakSet(self.alive()), _timers(), _descriptors(), _blocks())

    def alive(self):
        return [one for one in list(self.spawned) if not one.dead]

    def since(self, before, failed):
        """Lines about what exists and did not before. Gives it some time to end, and ends what has not."""
        lines = self.end_blocks(before)  # first: time may stand still
        seconds, rounds = (0, 1) if failed else (SETTLE_SECONDS, SETTLE_ROUNDS)
        found = self.wait(lambda: self.look(before, failed), seconds, rounds, gc.collect)
        if not failed and "greenlets" not in self.kinds:
            self.settle(before)
        wrong = [(one, line) for one, line in zip(found, self.describe(found), strict=True) if not self.may_stay(line)]
        lines += [line for _, line in wrong]
        # None of it may disturb the next test.
        greenlets = [thing for (kind, thing), _ in wrong if kind == "greenlets"]
        try:
            gevlite.killall(greenlets, timeout=SETTLE_SECONDS)
        except gevlite.Timeout:
            stay = [("greenlets", one) for one in greenlets if not one.dead]
            lines += [f"{line}: could not be ended" for line in self.describe(stay)]
        for (kind, thing), _ in wrong:
            if kind == "timers":
                thing.stop()
        return lines

    def settle(self, before):
        """Let greenlets that may stay run for a while, because they may fail. Returns no lines."""
        self.wait(lambda: self.greenlets(before), LATE_SECONDS, LATE_ROUNDS)
        return []

    def wait(self, look, seconds, rounds, each=int):
        """Wait until `look` finds nothing, at most for the longer of these two limits. Returns what it finds."""
        deadline, nap, done = _now() + seconds, 0.0005, 0
        found = look()
        while found and (_now() < deadline or done < rounds):
            each()
            gevlite.sleep(nap)
            nap = min(nap * 2, 0.05)
            done += 1
            found = look()
        return found

    def may_stay(self, line):
        return any(one.search(line) for one in self.allowed)

    def end_blocks(self, before):
        """End the blocks of gevlite.testing that are open and were not before, last one first. Lines about them."""
        lines = []
        if "blocks" in self.kinds:
            own = [one for one, _ in self.blocks_of_fixtures]
            for block in reversed(_new(_blocks(), before.blocks + own)):
                line = f"block {block!r}"
                if not self.may_stay(line):
                    lines.append(line if _end_block(block) else f"{line}, of another thread: could not be ended")
        return lines

    def greenlets(self, before):
        of_tests = [one for one in self.alive() if self.spawned.get(one) is None]
        return [one for one in of_tests if one not in before.greenlets]

    def look(self, before, failed):
        found = []
        if "greenlets" in self.kinds:
            found += [("greenlets", one) for one in self.greenlets(before)]
        if "timers" in self.kinds:
            own = [one for one, _ in self.timers_of_fixtures]
            for one in _new(_timers(), before.timers + own):
                # The timer of spawn_later has already been found, as its greenlet.
                if "greenlets" not in self.kinds or not isinstance(getattr(one.callback, "__self__", None), Greenlet):
                    found.append(("timers", one))
        if "descriptors" in self.kinds and not failed:  # the traceback of a failure keeps open what the test has opened
            known = {fd: identity for fd, (identity, _) in self.of_fixtures.items()}
            served = {name for fd in known for name in _names_of(fd)[:1]}
            for fd, identity in _descriptors().items():
                if before.descriptors.get(fd) != identity and known.get(fd) != identity:
                    # A connection between a server of a fixture and a client of a fixture is theirs.
                    if not served & {*_names_of(fd)}:
                        found.append(("descriptors", fd))
        return found

    def describe(self, found):
        lines = []
        report = Report(_probe.collect()) if any(kind == "greenlets" for kind, _ in found) else None
        for kind, thing in found:
            if kind == "greenlets":
                one = report.by_id.get(id(thing))
                place = one.spawned_at if one is not None else None
                where = f", spawned at {report.path(place.file)}:{place.line}" if place is not None else ""
                text = report.line([one]).replace("\N{NO-BREAK SPACE}", " ") if one is not None else repr(thing)
                lines.append(f"greenlet {text}{where}")
            elif kind == "timers":
                lines.append(f"timer {_timer_text(thing)}")
            else:
                lines.append(f"descriptor {thing}: {_descriptor_text(thing)}")
        return lines


class _Now:
    def __init__(self, greenlets, timers, descriptors, blocks):
        self.greenlets, self.timers, self.descriptors, self.blocks = greenlets, timers, descriptors, blocks


def _timers():
    hub = get_hub_if_exists()
    return [owner for owner, _, _ in timed(hub) if isinstance(owner, Timer)] if hub is not None else []


def _blocks():
    """The open blocks of gevlite.testing, the outermost of each kind first."""
    return [*(one for one in _clock.entered if one._runs), *_shuffle.entered, *faults._begun]


def _end_block(block):
    """False if it belongs to another OS thread."""
    if isinstance(block, _shuffle.shuffled) and block._hub is not get_hub_if_exists():
        return False
    try:
        block.__exit__(None, None, None)
    except RuntimeError:  # of a clock
        return False
    return True


def _new(things, known):
    ids = set(map(id, known))
    return [one for one in things if id(one) not in ids]


def _timer_text(timer):
    for one in gc.get_objects():
        if isinstance(one, gevlite.Timeout) and one.pending and timer in gc.get_referents(one):
            where = one.where
            return f"{one!r}" + (f", started at {where.filename}:{where.lineno}" if where is not None else "")
    return repr(timer)


_FOLDER = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"


def _descriptors():
    """`{number: what tells it from another one with that number}` of the open descriptors, without the hub's."""
    found = {}
    for name in os.listdir(_FOLDER):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue  # the folder itself
        # An epoll instance and the like has no type. A terminal, /dev/null, ...: nothing that a test must close.
        if stat.S_ISSOCK(status.st_mode) or stat.S_ISFIFO(status.st_mode) or stat.S_ISREG(status.st_mode):
            found[int(name)] = status.st_dev, status.st_ino
    return found


def _socket_of(fd):
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
        return _socket.socket(fileno=os.dup(fd))  # the class that does not change the blocking mode
    except OSError:
        return None


def _names_of(fd):
    """The addresses of a socket: its own, and that of the other side."""
    names = []
    sock = _socket_of(fd)
    if sock is not None:
        for method in (sock.getsockname, sock.getpeername):
            try:
                names.append(method())
            except OSError:
                break
        sock.close()
    return [one for one in names if one]


def _descriptor_text(fd):
    names = [":".join(map(str, one[:2])) if isinstance(one, tuple) else os.fsdecode(one) for one in _names_of(fd)]
    if names:
        return f"socket {names[0]}" + (f", connected with {names[1]}" if len(names) > 1 else "")
    try:
        text = os.readlink(f"{_FOLDER}/{fd}")
    except OSError:
        text = "a file"
    return re.sub(r":\[\d+\]$", "", text)


# ---------------------------------------------------------------- the fixture of faults


class Faults:
    """The functions of `gevlite.testing.faults`, for a test: a fault begins with the call, and ends with the test."""

    def __init__(self):
        self._begun = ExitStack()

    def sockets(self, *args, **kwargs):
        """As `faults.sockets`."""
        return self._begun.enter_context(faults.sockets(*args, **kwargs))

    def resolver(self, *args, **kwargs):
        """As `faults.resolver`."""
        return self._begun.enter_context(faults.resolver(*args, **kwargs))

    def spawn(self, *args, **kwargs):
        """As `faults.spawn`."""
        return self._begun.enter_context(faults.spawn(*args, **kwargs))

    def stop(self):
        """End them, last one first."""
        self._begun.close()
