"""`explore`: it finds an error, shows the smallest order in which it happens, and leaves nothing behind."""

import functools
import gc
import re
import sys

import pytest
from races import PROGRAMS, broken, mended

import gevlite
from gevlite import LoopExit
from gevlite.event import Event
from gevlite.lock import Semaphore
from gevlite.queue import Queue
from gevlite.socket import socketpair
from gevlite.testing import ScheduleFailed, VirtualClock, explore, shuffled

# Hundreds of runs: they take long while other suites run.
pytestmark = pytest.mark.timeout(240)


def lost_update():
    """Wrong if another greenlet runs between its two halves."""
    balance = [0]
    lock = Semaphore(2)

    def deposit():
        seen = balance[0]
        with lock:
            balance[0] = seen + 10

    gevlite.joinall([gevlite.spawn(deposit) for _ in range(2)])
    assert balance == [20]


@pytest.fixture
def no_greenlets_stay(errors):
    """Ends what a deadlock or an error has left behind in a run without `explore`, and prints no error."""
    yield
    gevlite.killall([one for one in gc.get_objects() if isinstance(one, gevlite.Greenlet) and not one.dead])


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_known_race_is_found_and_the_twin_is_right(program, no_greenlets_stay):
    with shuffled(0):
        program(True)  # the usual order does not show it
    with pytest.raises(ScheduleFailed) as caught:
        explore(broken(program))
    failed = caught.value
    assert failed.steady and failed.runs < 200
    if not isinstance(failed.error, LoopExit):  # not found here: a handler of pytest-timeout might wake us
        for again in ({"seed": failed.seed}, {"schedule": failed.schedule}):
            with pytest.raises(type(failed.error)), shuffled(switches=True, **again):
                program(True)
    explored = explore(mended(program), seeds=300)
    assert explored.runs == 300 and explored.schedules > 1 and not explored.left_over


def test_the_message_shows_the_order():
    with pytest.raises(ScheduleFailed) as caught:
        explore(lost_update)
    failed = caught.value
    assert failed.__cause__ is not None and isinstance(failed.error, AssertionError)
    assert len(failed.schedule.split()) == 1
    assert [step.who for step in failed.trace] == ["lost_update", "deposit", "deposit-2", "deposit", "lost_update"]
    star = failed.trace[1]
    assert star.interrupted and star.source == "with lock:" and "test_explored.py:" in star.place
    assert failed.trace[-1].waits_for == "fails: AssertionError"
    text = str(failed)
    assert re.search(r"^\*   2  deposit +\S+test_explored.py:\d+  with lock:  \(gives way here\)$", text, re.MULTILINE)
    assert f"shuffled(schedule={failed.schedule!r}, switches=True)" in text
    assert f"shuffled(seed={failed.seed}, switches=True)" in text


def test_one_seed_again():
    with pytest.raises(ScheduleFailed) as caught:
        explore(lost_update)
    with pytest.raises(ScheduleFailed) as again:
        explore(lost_update, seeds=[caught.value.seed])
    assert again.value.runs == 1
    assert (again.value.schedule, again.value.trace) == (caught.value.schedule, caught.value.trace)


def test_a_failure_in_the_usual_order():
    def wrong():
        gevlite.spawn(int).join()
        raise KeyError("always")

    with pytest.raises(ScheduleFailed, match="fails in the usual order, too") as caught:
        explore(wrong)
    assert caught.value.runs == 1 and caught.value.schedule == ""


def test_a_deadlock_names_those_who_wait():
    first, second = Semaphore(), Semaphore()

    def one():
        with first, second:
            pass

    def other():
        with second, first:
            pass

    def both():
        gevlite.joinall([gevlite.spawn(one), gevlite.spawn(other)])

    with pytest.raises(ScheduleFailed) as caught:
        explore(both)
    assert isinstance(caught.value.error, LoopExit)
    text = str(caught.value)
    assert re.search(r"one \(.*\) waits for Semaphore, 0 of 1 free, held by other\n", text)
    assert re.search(r"other \(.*\) waits for Semaphore, 0 of 1 free, held by one\n", text)


def test_in_a_greenlet_a_deadlock_does_not_reach_the_main_greenlet():
    def never():
        Event().wait()

    with pytest.raises(ScheduleFailed, match="nothing can wake"):
        gevlite.spawn(explore, never).get()


def test_a_run_without_an_end_is_given_up():
    def spin():
        gevlite.spawn(gevlite.sleep, 0)
        while True:
            gevlite.sleep(0)

    with pytest.raises(ScheduleFailed, match="not ended after 300 switches"):
        explore(spin, seeds=1, steps=300)
    for seed in range(1, 20):
        with pytest.raises(ScheduleFailed, match="not ended after 300 switches"):
            explore(spin, seeds=[seed], steps=300)


def test_a_run_that_waits_for_a_descriptor_is_given_up(pipe):
    from gevlite._core import READ

    def never():
        gevlite.get_hub().wait_fd(pipe[0], READ)

    with pytest.raises(ScheduleFailed, match="nothing has happened for 0.01 seconds"):
        explore(never, timeout=0.01)


def test_the_error_of_a_greenlet_is_a_failure():
    def fails():
        raise KeyError("in a greenlet")

    def spawns():
        gevlite.spawn(fails)
        gevlite.idle()

    with pytest.raises(ScheduleFailed, match="in a greenlet"):
        explore(spawns)


def test_what_is_left_over_is_ended_and_told(hub):
    cleaned = []

    def serve():
        try:
            Event().wait()
        finally:
            gevlite.sleep(0)
            cleaned.append(1)

    def leaves():
        gevlite.spawn(serve)
        gevlite.spawn_later(1000, serve)
        gevlite.spawn_raw(Queue().get)
        gevlite.idle()

    explored = explore(leaves, seeds=5)
    assert explored.left_over["serve"] == 10 and explored.left_over.total() == 15
    assert len(cleaned) == 5
    with pytest.raises(ScheduleFailed, match="left over: .*serve, serve"):
        explore(leaves, seeds=5, strict=True)


def test_what_was_there_before_stays():
    over = Event()
    job = gevlite.spawn(over.wait)
    gevlite.sleep(0)
    explore(lambda: gevlite.sleep(0), seeds=3)
    with pytest.raises(ScheduleFailed, match="nothing can wake"):
        explore(lambda: Event().wait(), seeds=3)
    assert not job.ready()
    over.set()
    job.join()


def test_a_timer_from_before_that_ends_meanwhile_is_no_dead_end():
    job = gevlite.spawn(gevlite.sleep, 0.5)
    gevlite.idle()
    explore(lambda: gevlite.spawn(gevlite.sleep, 1).join(), seeds=3)
    assert job.ready()


def test_what_was_there_before_may_wake_a_run(hub):
    """A timer, a greenlet that sleeps again and again, and one that waits for a socket."""
    event, answers = Event(), Queue()
    mine, theirs = socketpair()

    def tick():
        while True:
            gevlite.sleep(0.5)
            answers.put("tick")

    def serve():
        while data := theirs.recv(1):
            answers.put(data)

    def asks():
        mine.sendall(b"x")
        assert answers.get() == b"x"

    with mine, theirs:
        timer = hub.call_later(0.5, event.set)
        explore(event.wait, seeds=3)
        assert not timer.pending
        server = gevlite.spawn(serve)
        gevlite.idle()
        explore(asks, seeds=3)
        server.kill()
        ticker = gevlite.spawn(tick)
        gevlite.idle()
        explore(answers.get, seeds=3)
        with pytest.raises(ScheduleFailed, match=r"nothing has happened for 10 seconds:\n  .*<lambda> .*Event"):
            explore(lambda: Event().wait(), seeds=3)
        ticker.kill()


def test_the_time_of_a_run_in_which_nothing_happens_begins_anew_with_each_wait():
    def waits_for_a_socket_and_then_for_long():
        mine, theirs = socketpair()
        with mine, theirs:
            job = gevlite.spawn(theirs.recv, 1)
            gevlite.sleep(0)
            mine.sendall(b"x")
            job.join()
            gevlite.sleep(100)

    explore(waits_for_a_socket_and_then_for_long, seeds=3, timeout=1)


def test_a_watcher_of_time_may_take_longer_than_the_time_in_which_nothing_happens(hub):
    def waits():
        event = Event()
        hub.loop.timer(60).start(event.set)
        event.wait()

    explore(waits, seeds=3, timeout=1)


def test_timers_that_a_run_leaves_behind_are_ended_and_told(hub):
    ran, kept = [], []

    def late(how):
        ran.append(how)

    def leaves():
        hub.call_later(5, late, "once")
        hub.call_later(5, functools.partial(late, "again and again"), repeat=5)
        hub.loop.timer(5).start(late, "of a watcher")
        gevlite.Timeout.start_new(5)
        gevlite.sleep(1)

    def older():
        with gevlite.Timeout(1000):
            kept.append(kept[0].wait())

    kept.append(Event())
    timer = hub.call_later(1000, ran.append, "older")
    job = gevlite.spawn(older)
    refs = hub.stats()["refs"]
    explored = explore(leaves, seeds=10)
    assert explored.left_over == {"timer of late": 20, "timer of timer._fired": 10, "Timeout": 10}
    assert not ran and hub.stats()["refs"] == refs
    assert timer.pending and not job.ready()
    with pytest.raises(ScheduleFailed, match="left over: Timeout, timer of late, timer of late"):
        explore(leaves, seeds=3, strict=True)
    timer.stop()
    kept[0].set()
    job.get()


def test_what_cannot_be_ended(hub):
    """It is an error, and leaves the hub unchanged."""
    over = []

    def stays():
        while not over:
            try:
                gevlite.sleep(60)
            except gevlite.GreenletExit:
                pass

    jobs = []

    def leaves():
        jobs.append(gevlite.spawn(stays))
        gevlite.sleep(0)

    before = hub.before_poll
    with pytest.raises(RuntimeError, match="cannot end what its function has left: .*stays"):
        explore(leaves, seeds=[0])
    assert gc.isenabled() and hub.before_poll == before and "handle_error" not in vars(hub)
    over.append(1)
    gevlite.killall(jobs)
    assert explore(lambda: gevlite.sleep(1), seeds=2).runs == 2


def test_what_a_fixture_has_just_started_stays():
    queue, never = Queue(), Event()

    def serve():
        for job in queue:
            job()

    def asks():
        done = Event()
        queue.put(done.set)
        assert done.wait(3)

    jobs = [gevlite.spawn(serve), gevlite.spawn(never.wait)]  # they do not wait yet
    raw = gevlite.spawn_raw(never.wait)
    explored = explore(asks, seeds=5)
    assert not explored.left_over
    assert not any(job.dead for job in jobs) and not raw.dead
    queue.put(StopIteration)
    never.set()
    gevlite.joinall(jobs)


def test_a_systemexit_of_a_greenlet_is_raised():
    with pytest.raises(SystemExit, match="bad"):
        explore(lambda: gevlite.spawn(sys.exit, "bad").join(), seeds=3)


async def coroutine():
    raise AssertionError("it has run")


def generator():
    yield
    raise AssertionError("it has run")


async def asynchronous_generator():
    yield
    raise AssertionError("it has run")


@pytest.mark.parametrize("function", [coroutine, generator, asynchronous_generator])
@pytest.mark.filterwarnings("error")
def test_what_does_not_run_when_it_is_called_is_refused(function):
    for wrong in (function, functools.partial(function), lambda: function()):
        with pytest.raises(TypeError, match="explore.. runs a function"):
            explore(wrong, seeds=3)
    with pytest.raises(TypeError, match="explore.. runs a function"):
        explore(seeds=3)(function)
    with pytest.raises(TypeError, match="shuffled.. as a decorator runs a function"):
        shuffled(3)(function)
    gc.collect()


def test_the_same_text_for_the_same_seed():
    def too_late():
        with gevlite.Timeout(5):
            gevlite.sleep(10)

    texts = []
    for _ in range(2):
        with pytest.raises(ScheduleFailed) as caught:
            explore(too_late, seeds=3)
        texts.append((str(caught.value), [object() for _ in range(1000)])[0])
    assert texts[0] == texts[1]
    assert " at 0x" not in texts[0] and "()\n" not in texts[0]


def test_as_a_decorator():
    runs = []

    @explore(seeds=7)
    def check(first, second=2):
        """Its text."""
        runs.append((first, second))

    assert check.__doc__ == "Its text." and check.__name__ == "check"
    check(1, second=3)
    assert runs == [(1, 3)] * 7


@explore(seeds=5)
def test_as_a_decorator_of_a_test_with_fixtures(hub):
    assert hub is gevlite.get_hub()


def test_what_does_not_depend_on_the_order_is_said():
    runs = []

    def once():
        runs.append(1)
        assert len(runs) != 3

    with pytest.raises(ScheduleFailed, match="something else than the order") as caught:
        explore(once)
    assert not caught.value.steady and caught.value.runs == 3


def test_what_ends_the_program_ends_the_exploration():
    for exc in (KeyboardInterrupt, SystemExit):

        def ends(exc=exc):
            raise exc

        with pytest.raises(exc):
            explore(ends)

    def skips():
        pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception):
        explore(skips)

    def fails():
        pytest.fail("wrong")

    with pytest.raises(ScheduleFailed, match="wrong"):
        explore(fails)


def test_a_time_out_around_it_ends_it():
    def waits():
        gevlite.sleep(1000)

    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.01):
        explore(waits)
    explore(lambda: None, seeds=1)


def test_sleeping_takes_no_time_and_a_race_with_a_time_out_is_found():
    def late():
        """The item comes when the time is over, and is forgotten then."""
        queue, got = Queue(), []

        def take():
            try:
                with gevlite.Timeout(1):
                    item = queue.get()
                    gevlite.sleep(0)
                    got.append(item)
            except gevlite.Timeout:
                pass

        taker = gevlite.spawn(take)
        gevlite.sleep(1)
        queue.put("item")
        taker.join()
        assert got == ["item"] or len(queue) == 1

    with pytest.raises(ScheduleFailed) as caught:
        explore(late)
    assert "with VirtualClock(), shuffled(" in str(caught.value)

    def patient():
        gevlite.sleep(3600)

    assert explore(patient, seeds=20).runs == 20
    with VirtualClock() as clock:
        explore(patient, seeds=2)
        assert clock.elapsed >= 7200


def test_inside_of_a_shuffled_block():
    with shuffled(5) as outer:
        gevlite.joinall([gevlite.spawn(int) for _ in range(3)])
        before = outer.steps
        assert explore(lost_update, seeds=1).runs == 1
        gevlite.joinall([gevlite.spawn(int) for _ in range(3)])
        assert outer.steps > before


def test_an_error_without_a_text():
    class Odd(Exception):
        def __str__(self):
            raise ValueError("no text")

    def fails():
        raise Odd

    with pytest.raises(ScheduleFailed, match=r"Odd: \(its text cannot be made: ValueError\)"):
        explore(fails, seeds=3)


def test_what_a_run_has_already_is_refused_with_the_reason():
    def explores():
        explore(int, seeds=3)

    def has_a_clock():
        with VirtualClock():
            gevlite.sleep(1)

    with pytest.raises(ScheduleFailed, match=r"explore.*cannot be called by what it runs"):
        explore(explores, seeds=3)
    with pytest.raises(ScheduleFailed, match="this run of explore.* has a virtual clock already; explore.clock=False"):
        explore(has_a_clock, seeds=3)
    assert explore(has_a_clock, seeds=3, clock=False).runs == 3


def test_bad_arguments():
    async def coroutine():
        pass

    for function in (5, coroutine):
        with pytest.raises(TypeError, match="a function"):
            explore(function)
        with pytest.raises(TypeError, match="a function"):
            explore(seeds=3)(function)
    for seeds in (0, [], [-1]):
        with pytest.raises(ValueError, match="seed"):
            explore(int, seeds=seeds)
    for seeds in (True, 1.5, ["x"]):
        with pytest.raises(TypeError, match="seed"):
            explore(int, seeds=seeds)
    for steps in (0, -1, 2**70):
        with pytest.raises(ValueError, match="steps"):
            explore(int, steps=steps)
    for steps in (True, 1.5, "1", None):
        with pytest.raises(TypeError, match="steps"):
            explore(int, steps=steps)
    for timeout in (0, -1, float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match="timeout"):
            explore(int, timeout=timeout)
    for timeout in (True, "a", None):
        with pytest.raises(TypeError, match="timeout"):
            explore(int, timeout=timeout)
    with pytest.raises(TypeError, match="without arguments: missing a required argument: 'hub'.* @explore\\(\\)"):

        @explore
        def test_it(hub):
            pass
