"""TaskGroup and the scopes: whatever ends a block, its greenlets have ended after it, and no exception is lost."""

import contextlib
import contextvars
import gc
import random
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

import gevlite
from gevlite.event import Event
from gevlite.taskgroup import Cancelled, CancelScope, TaskGroup, fail_after, move_on_after
from gevlite.testing import VirtualClock


@gevlite.uninterrupted  # here and below: otherwise it may be killed before it does anything
def fail(error=None):
    raise error or ValueError("failed")


@gevlite.uninterrupted
def forever(ended=None):
    try:
        Event().wait()
    finally:
        if ended is not None:
            ended.append(gevlite.getcurrent())


def errors_of(group):
    return [type(error) for error in group.exceptions]


# ---------------------------------------------------------------- groups


def test_the_block_ends_when_all_greenlets_have_ended():
    go, done = Event(), []
    with TaskGroup() as group:
        greenlets = [group.spawn(lambda i=i: (go.wait(), done.append(i))) for i in range(3)]
        group.spawn(go.set)
    assert sorted(done) == [0, 1, 2] and all(g.ready() for g in greenlets)


def test_results_are_with_the_greenlets():
    with TaskGroup() as group:
        one, other = group.spawn(pow, 2, 3), group.spawn(dict, a=1)
    assert one.value == 8 and other.get() == {"a": 1}


def test_a_block_without_greenlets():
    with TaskGroup():
        pass


def test_a_greenlet_may_spawn_into_the_group_while_the_block_waits():
    seen = []

    def grow(depth):
        seen.append(depth)
        if depth:
            group.spawn(grow, depth - 1)

    with TaskGroup() as group:
        group.spawn(grow, 5)
    assert seen == [5, 4, 3, 2, 1, 0]


def test_a_failure_kills_the_siblings_and_interrupts_the_block(capsys):
    ended = []
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        sibling = group.spawn(forever, ended)
        failing = group.spawn(fail)
        forever()
    assert errors_of(caught.value) == [ValueError]
    assert ended == [sibling] and isinstance(sibling.value, gevlite.GreenletExit)
    assert isinstance(failing.exception, ValueError)
    assert capsys.readouterr().err == ""  # it is raised, so it is not printed


def test_a_failure_while_the_block_waits_for_its_greenlets():
    ended = []
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(forever, ended)
        group.spawn(fail)
    assert errors_of(caught.value) == [ValueError] and len(ended) == 1


def test_an_error_of_the_block_kills_the_greenlets_and_is_in_the_group():
    ended = []
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(forever, ended)
        gevlite.sleep(0)
        raise KeyError("block")
    assert errors_of(caught.value) == [KeyError] and len(ended) == 1


def test_errors_during_the_end_are_all_raised():
    @gevlite.uninterrupted
    def fail_again():
        try:
            Event().wait()
        finally:
            raise OSError("again")

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(fail_again)
        group.spawn(fail)
        gevlite.sleep(0)
        raise KeyError("block")
    assert sorted(errors_of(caught.value), key=str) == [KeyError, OSError, ValueError]


def test_the_group_is_left_only_when_the_slowest_clean_up_is_done():
    finish, done = Event(), []

    @gevlite.uninterrupted
    def slow():
        try:
            Event().wait()
        finally:
            finish.wait()
            done.append(True)

    def look():
        gevlite.sleep(0)
        assert not done
        finish.set()

    looking = None
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(slow)
        gevlite.sleep(0)
        looking = gevlite.spawn(look)
        raise ValueError
    assert done == [True]
    looking.get()


def test_a_greenlet_that_is_killed_does_not_fail():
    with TaskGroup() as group:
        killed = group.spawn(forever)
        finished = group.spawn(gevlite.sleep, 0)
        gevlite.sleep(0)
        killed.kill()
    assert isinstance(killed.value, gevlite.GreenletExit) and finished.successful()


def test_a_greenlet_that_is_killed_with_an_error_fails():
    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
        killed = group.spawn(forever)
        gevlite.sleep(0)
        killed.kill(ValueError, block=False)
    assert errors_of(caught.value) == [ValueError]


def test_a_greenlet_that_has_not_begun_when_the_block_fails_never_begins():
    begun = []
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(begun.append, 1)
        raise ValueError
    assert begun == []


def in_greenlet(run):
    greenlet = gevlite.spawn(run)
    gevlite.idle()
    return greenlet


@pytest.mark.parametrize("waits_in_block", [True, False])
def test_a_kill_from_outside_kills_the_greenlets_and_is_raised_again(waits_in_block):
    ended, after = [], []

    def run():
        try:
            with TaskGroup() as group:
                group.spawn(forever, ended)
                if waits_in_block:
                    forever()
        except gevlite.GreenletExit as exc:
            after.append((exc, len(ended)))
            raise

    greenlet = in_greenlet(run)
    reason = gevlite.GreenletExit("reason")
    greenlet.kill(reason)
    assert after == [(reason, 1)] and greenlet.value is reason


@pytest.mark.parametrize("waits_in_block", [True, False])
def test_a_timeout_from_outside(waits_in_block):
    ended = []
    with gevlite.Timeout(0.01, False) as timeout, TaskGroup() as group:
        group.spawn(forever, ended)
        if waits_in_block:
            forever()
    assert len(ended) == 1 and not timeout.pending


@pytest.mark.parametrize("waits_in_block", [True, False])
def test_a_kill_is_not_lost_when_greenlets_fail_too(waits_in_block):
    seen = []

    def fail_at_the_end():
        try:
            Event().wait()
        finally:
            raise ValueError

    @gevlite.uninterrupted  # the kill comes again at the next wait, and not before the error is seen
    def run():
        try:
            with TaskGroup() as group:
                group.spawn(fail_at_the_end)
                if waits_in_block:
                    forever()
        except ExceptionGroup as exc:
            seen.append(errors_of(exc))
        forever()

    greenlet = in_greenlet(run)
    greenlet.kill()
    assert seen == [[ValueError]] and isinstance(greenlet.value, gevlite.GreenletExit)


def test_each_kill_that_comes_while_the_group_ends_arrives():
    release, seen = Event(), []

    def stubborn():
        try:
            Event().wait()
        except gevlite.GreenletExit:
            release.wait()

    @gevlite.uninterrupted  # the next kill comes at the next wait, and not outside of the `try`
    def run():
        for number in range(3):
            try:
                if number == 0:
                    with TaskGroup() as group:
                        group.spawn(stubborn)
                else:
                    forever()
            except gevlite.GreenletExit as exc:
                seen.append(exc.args[0])

    greenlet = in_greenlet(run)
    for number in range(3):
        greenlet.kill(gevlite.GreenletExit(number), block=False)
        gevlite.sleep(0)
    release.set()
    greenlet.join()
    assert seen == [0, 1, 2]


def test_groups_nest_and_the_inner_one_ends_first():
    order = []

    @gevlite.uninterrupted
    def note(name):
        try:
            Event().wait()
        finally:
            order.append(name)

    with pytest.raises(ExceptionGroup) as caught, TaskGroup() as outer:
        outer.spawn(fail)
        with TaskGroup() as inner:
            inner.spawn(note, "inner")
            forever()
    assert order == ["inner"] and errors_of(caught.value) == [ValueError]


def test_an_inner_group_s_error_may_be_handled_in_the_outer_block():
    with TaskGroup() as outer:
        other = outer.spawn(gevlite.sleep, 0)
        with pytest.raises(ExceptionGroup), TaskGroup() as inner:
            inner.spawn(fail)
    assert other.successful()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_raised_as_it_is_and_once(error):
    ended = []
    with pytest.raises(error), TaskGroup() as group:
        group.spawn(forever, ended)
        group.spawn(fail, error())
    assert len(ended) == 1
    gevlite.sleep(0)  # it has not gone to the main greenlet a second time


def test_a_timeout_in_a_greenlet_is_its_error():
    with pytest.raises(BaseExceptionGroup) as caught, TaskGroup() as group:
        group.spawn(fail, gevlite.Timeout(1))
    assert errors_of(caught.value) == [gevlite.Timeout]


def test_cancel_ends_greenlets_and_block_quietly():
    ended = []
    with TaskGroup() as group:
        group.spawn(forever, ended)
        group.spawn(group.cancel)
        forever()
    assert len(ended) == 1


def test_cancel_from_the_block_itself():
    with TaskGroup() as group:
        greenlet = group.spawn(forever)
        group.cancel()
    assert greenlet.ready()
    gevlite.sleep(0)  # nothing is pending any more


def test_a_deadlock_ends_the_group():
    """In a process of its own: nothing else may be about to happen there."""
    program = """
        import gevlite
        from gevlite.event import Event

        try:
            with gevlite.TaskGroup() as group:
                greenlet = group.spawn(Event().wait)
        except gevlite.LoopExit:
            assert greenlet.ready()
            print("ended")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=50)
    assert run.stdout == "ended\n", run.stderr


def test_a_failure_that_comes_when_the_block_is_done_interrupts_nothing_behind_it():
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(fail)
        gevlite.sleep(0)  # it fails while this is ready to go on
    gevlite.sleep(0)
    gevlite.sleep(0.001)


def test_the_context_goes_along():
    variable = contextvars.ContextVar("variable")
    variable.set("outside")
    with TaskGroup() as group:
        greenlet = group.spawn(variable.get)
    assert greenlet.value == "outside"


def test_misuse_is_refused_where_it_happens():
    group = TaskGroup()
    with pytest.raises(RuntimeError, match="has not been entered"):
        group.spawn(forever)
    with pytest.raises(RuntimeError, match="has not been entered"):
        group.cancel()
    with group:
        with pytest.raises(TypeError, match="callable"):
            group.spawn(None)
        with pytest.raises(RuntimeError, match="once"):
            group.__enter__()
        refused = []

        def elsewhere():
            try:
                group.spawn(forever)
            except RuntimeError as exc:
                refused.append(str(exc))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert refused == ["a TaskGroup belongs to one thread"]
    with pytest.raises(RuntimeError, match="has ended"):
        group.spawn(forever)
    with pytest.raises(RuntimeError, match="once"):
        group.__enter__()


def test_no_greenlet_is_begun_by_a_group_that_is_ending():
    refused = []

    @gevlite.uninterrupted
    def late():
        try:
            Event().wait()
        finally:
            try:
                group.spawn(forever)
            except RuntimeError as exc:
                refused.append(str(exc))

    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        group.spawn(late)
        group.spawn(fail)
    assert refused == ["the TaskGroup is ending because of an error or a cancellation"]


def test_the_errors_of_a_group_do_not_keep_it_alive():
    class Thing:
        pass

    def run():
        thing = Thing()
        found = weakref.ref(thing)
        try:
            with TaskGroup() as group:
                group.spawn(fail)
                forever()
        except ExceptionGroup:
            pass
        return found

    found = run()
    gc.collect()
    assert found() is None


def test_many():
    with TaskGroup() as group:
        greenlets = [group.spawn(gevlite.sleep, 0) for _ in range(10_000)]
    assert all(g.ready() for g in greenlets)
    with pytest.raises(ExceptionGroup), TaskGroup() as group:
        greenlets = [group.spawn(forever) for _ in range(10_000)]
        group.spawn(fail)
    assert all(g.ready() for g in greenlets)


# ---------------------------------------------------------------- scopes


def test_move_on_after_ends_the_block():
    with move_on_after(0.01) as scope:
        forever()
    assert scope.cancel_called and scope.cancelled_caught


def test_a_block_that_is_done_in_time():
    with move_on_after(60) as scope:
        gevlite.sleep(0)
    assert not scope.cancel_called and not scope.cancelled_caught


def test_fail_after_raises_behind_the_block():
    with pytest.raises(TimeoutError, match=r"not done in 0\.01 s"):
        with fail_after(0.01):
            try:
                forever()
            except TimeoutError:
                pytest.fail("nothing in the block may take it for its own")


def test_fail_after_that_is_cancelled_by_hand_does_not_fail():
    with fail_after(60) as scope:
        scope.cancel()
        forever()
    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_time_left_ends_the_block_in_its_first_wait(seconds):
    reached = []
    with move_on_after(seconds) as scope:
        reached.append(1)
        forever()
    assert reached == [1] and scope.cancelled_caught


def test_the_outer_deadline_passes_through_the_inner_scope():
    with move_on_after(0.01) as outer, fail_after(60) as inner:
        forever()
    assert outer.cancelled_caught and not inner.cancel_called


def test_after_the_inner_deadline_the_outer_block_goes_on():
    with move_on_after(60) as outer:
        with move_on_after(0.01) as inner:
            forever()
        gevlite.sleep(0)
    assert inner.cancelled_caught and not outer.cancel_called


def test_both_deadlines_at_once_end_both_blocks():
    with move_on_after(0.01) as outer:
        with move_on_after(0.01) as inner:
            time.sleep(0.02)  # both are over when the loop looks
            forever()
        forever()
    assert outer.cancelled_caught and inner.cancel_called
    gevlite.sleep(0)


def test_an_inner_scope_that_swallows_its_error_does_not_lose_the_outer_one():
    with move_on_after(0.01) as outer:
        try:
            with fail_after(0.01):
                time.sleep(0.02)
                forever()
        except TimeoutError:
            pass
        forever()
    assert outer.cancelled_caught


def test_cancel_from_another_greenlet_and_from_another_thread():
    for helper in (gevlite.spawn, lambda run: threading.Thread(target=run).start()):
        with CancelScope() as scope:
            helper(scope.cancel)
            gevlite.sleep(30)
        assert scope.cancelled_caught


def test_a_cancelled_scope_that_is_left_before_it_waits_leaves_nothing_behind():
    with CancelScope() as scope:
        scope.cancel()
    assert scope.cancel_called and not scope.cancelled_caught
    gevlite.sleep(0)
    with CancelScope() as scope:
        helper = gevlite.spawn(scope.cancel)
        gevlite.sleep(0)
    helper.join()
    gevlite.sleep(0)
    gevlite.sleep(0.001)


def test_cancel_before_the_block_begins():
    scope = CancelScope()
    scope.cancel()
    with scope:
        forever()
    assert scope.cancelled_caught


def test_cancel_behind_the_block_does_nothing():
    with CancelScope() as scope:
        pass
    scope.cancel()
    assert not scope.cancel_called
    gevlite.sleep(0)


def test_a_block_that_catches_it_goes_on_and_is_not_interrupted_again():
    with move_on_after(0.01) as scope:
        try:
            forever()
        except Cancelled:
            pass
        gevlite.sleep(0.001)
    assert scope.cancel_called and not scope.cancelled_caught


def test_a_kill_in_a_scope_that_is_over_too():
    def run():
        with move_on_after(60) as scope:
            ready.append(scope)
            forever()
        forever()

    ready = []
    greenlet = in_greenlet(run)
    ready[0].cancel()
    greenlet.kill()
    assert isinstance(greenlet.value, gevlite.GreenletExit)


def test_the_deadline_can_be_moved():
    with move_on_after(60) as scope:
        assert 0 < scope.deadline - time.monotonic() <= 60
        scope.deadline = time.monotonic() + 0.01
        forever()
    assert scope.cancelled_caught
    with VirtualClock(), move_on_after(10) as scope:
        scope.deadline = float("inf")
        assert scope.deadline == float("inf")
        gevlite.sleep(1000)
    assert not scope.cancel_called
    with pytest.raises(RuntimeError, match="only while"):
        scope.deadline = 5


def test_a_scope_ends_a_group():
    ended = []
    with move_on_after(0.01) as scope, TaskGroup() as group:
        group.spawn(forever, ended)
    assert scope.cancelled_caught and len(ended) == 1


def test_misuse_of_scopes():
    with pytest.raises(ValueError):
        CancelScope(float("nan"))
    with pytest.raises(TypeError):
        move_on_after("soon")
    scope = CancelScope()
    with pytest.raises(RuntimeError, match="left once"):
        scope.__exit__(None, None, None)
    with scope:
        with pytest.raises(RuntimeError, match="entered once"):
            scope.__enter__()
        wrong = gevlite.spawn(scope.__exit__, None, None, None)
        with pytest.raises(RuntimeError, match="left once"):
            wrong.get()
    with pytest.raises(RuntimeError, match="entered once"):
        scope.__enter__()


def test_reprs_say_what_they_are():
    with move_on_after(5) as scope, TaskGroup() as group:
        assert repr(scope) == "<CancelScope 5 s, running>"
        group.spawn(gevlite.sleep, 0)
        assert repr(group) == "<TaskGroup running, 1 greenlets>"
    assert repr(group) == "<TaskGroup ended, 0 greenlets>"


# ---------------------------------------------------------------- everything at random


class Mixture:
    """Greenlets that nest groups and blocks with deadlines, fail, sleep, swallow a kill and time out, by one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.running = set()

    def moment(self, longest=0.003):
        return self.random.random() * longest

    def work(self, depth):
        me = object()
        self.running.add(me)
        try:
            chance = self.random.random()
            if chance < 0.15:
                raise ValueError
            if chance < 0.3:
                gevlite.sleep(self.moment())
            elif chance < 0.35:
                raise gevlite.Timeout(1)
            elif chance < 0.45:
                try:
                    gevlite.sleep(self.moment())
                except gevlite.GreenletExit:
                    gevlite.sleep(self.moment())
            elif depth < 3:
                self.nest(depth + 1)
            else:
                with gevlite.Timeout(self.moment(), False):
                    gevlite.sleep(60)
        finally:
            self.running.discard(me)

    def nest(self, depth=0):
        limit = self.random.choice([move_on_after, fail_after, lambda _: CancelScope(), self.timeout])
        members = []
        try:
            with limit(self.moment(0.004)), TaskGroup() as group:
                with contextlib.suppress(RuntimeError):  # it is ending already
                    for _ in range(self.random.randrange(4)):
                        members.append(group.spawn(self.work, depth))
                        if self.random.random() < 0.3:
                            gevlite.sleep(0)
                    if self.random.random() < 0.1:
                        group.cancel()
                    if self.random.random() < 0.3:
                        gevlite.sleep(self.moment())
                    if self.random.random() < 0.1:
                        raise KeyError
        finally:
            assert all(member.ready() for member in members), "a greenlet outlives its block"

    def timeout(self, seconds):
        return gevlite.Timeout(seconds, False)


def leaves(error):
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [] if error is None else [error]


def test_nothing_outlives_its_block_at_random(capsys):
    first = random.randrange(1 << 32)
    for seed in range(first, first + 100):
        mixture = Mixture(seed)
        roots = [gevlite.spawn(mixture.nest) for _ in range(4)]
        gevlite.sleep(mixture.moment())
        for root in roots:
            if mixture.random.random() < 0.4:
                root.kill(block=False)
        gevlite.joinall(roots)
        assert not mixture.running, f"seed {seed}"
        for root in roots:
            for error in leaves(root.exception):
                assert isinstance(error, (ValueError, KeyError, TimeoutError, gevlite.Timeout)), f"seed {seed}"
        stats = gevlite.get_hub().stats()
        assert (stats["timers"], stats["pending_throws"]) == (0, 0), f"seed {seed}"
