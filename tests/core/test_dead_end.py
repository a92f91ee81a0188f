"""LoopExit says which greenlet waits for what, at which line of the program, and what can be done."""

import pytest

PROGRAM = """
import contextlib, gevlite
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, RLock, Semaphore
from gevlite.pool import Pool
from gevlite.queue import Queue

def told(wait):
    try:
        wait()
    except gevlite.LoopExit as exc:
        assert exc.hub is gevlite.get_hub()
        print(exc)
    else:
        raise AssertionError
"""
FIRST = "the main greenlet would wait for ever: no timer, file descriptor, worker thread or ready greenlet is left."


@pytest.fixture(name="say")
def say_fixture(run_script):
    def say(code):
        """The lines of the message, without the first; `@N` is a place in line N of `code`."""
        before = PROGRAM.count("\n")
        first, *lines = run_script(PROGRAM + code).stdout.splitlines()
        assert first == FIRST
        for number in range(1, code.count("\n") + 2):
            lines = [line.replace(f"(<string>:{before + number})", f"@{number}") for line in lines]
        return lines

    return say


def test_a_full_pool_whose_members_wait_for_a_place_in_it(say):
    assert say("""
pool = Pool(50)
def outer():
    gevlite.sleep(0)
    pool.spawn(int).join()
def main():
    with gevlite.uninterrupted():       # else some may find a place
        for _ in range(50):
            pool.spawn(outer)
    pool.join()
told(main)
""") == [
        "  main @10 waits for Event",
        "  50 × outer @5 wait for a place in Pool, 50 of 50 taken",
        "50 of 50 places are held by greenlets that wait for a place in the same pool.",
        "Let its members spawn into another pool, or without one.",
    ]


def test_a_full_pool_whose_members_wait_for_what_waits_for_a_place(say):
    lines = say("""
pool = Pool(2)
def outer():
    pool.apply_async(int).join() if gevlite.getcurrent() not in pool else gevlite.spawn(pool.spawn, int).join()
with gevlite.uninterrupted():           # else one may find a place
    for _ in range(2):
        pool.spawn(outer)
told(lambda: pool.join())
""")
    assert "  2 × outer @4 wait for the end of Group.spawn" in lines
    assert lines[-1] == "2 of 2 places are held by greenlets that wait themselves."


def test_greenlets_that_have_each_others_locks(say):
    lines = say("""
def work(first, second):
    with first:
        gevlite.idle()
        second.acquire()
a, b = RLock(), RLock()
jobs = [gevlite.spawn(work, a, b), gevlite.spawn(work, b, a)]
jobs[0].name, jobs[1].name = "one", "two"
told(lambda: gevlite.joinall(jobs))
""")
    assert lines[:3] == ["  main @9 waits for the end of 2 greenlets", "  2 × work @5 wait for RLock", "Deadlock:"]
    assert len(lines) == 6 and lines[5].startswith("Take locks in the same order")
    for line, (me, other) in zip(sorted(lines[3:5]), (("one", "two"), ("two", "one")), strict=True):
        assert line.startswith(f"  {me} at 0x") and f", work @5, waits for RLock, held by {other} at 0x" in line


@pytest.mark.parametrize(
    "wait, text, why",
    [
        ("Event().wait()", "Event", "an Event that nobody else can set"),
        ("AsyncResult().get()", "AsyncResult", "a result that nobody can set"),
        ("Queue().get()", "an item in Queue, empty", "an item that nobody can put"),
        ("Semaphore(0).acquire()", "Semaphore, 0 free", "a Semaphore that nobody can release"),
        ("BoundedSemaphore(0).acquire()", "BoundedSemaphore, 0 of 0 free", "a Semaphore that nobody can release"),
    ],
)
def test_what_the_main_greenlet_waits_for_alone(say, wait, text, why):
    lines = say(f"told(lambda: {wait})")
    assert lines[0] == f"  main @1 waits for {text}"
    assert len(lines) == 2 and lines[1].startswith(f"main waits for {why}: ")


def test_the_line_is_in_front_of_the_frames_of_libraries(say):
    lines = say("""
def enter():
    with contextlib.ExitStack() as stack:
        stack.callback(Event().wait)
told(enter)
""")
    assert lines[0] == "  main @3 waits for Event"


def test_many_different_waits_are_cut_short(say):
    lines = say("""
for n in range(40):
    exec(f"def wait{n}(): Event().wait()")
    gevlite.spawn(globals()[f"wait{n}"]).name = f"name{n}"
told(lambda: Event().wait())
""")
    assert lines[1].startswith("  name") and lines[20] == "  and 21 more" and len(lines) == 22
