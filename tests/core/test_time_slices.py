"""Time slices: greenlets that compute give way, safely, fairly and only where they may."""

import textwrap

import pytest

# Each program runs alone in its process: slices are a matter of the whole process. `spin(condition)` computes without
# ever blocking until the condition holds: if it cannot be interrupted, that may be never.
HEAD = """
import gc, os, signal, sys, threading, time, weakref
import gevlite
from gevlite import get_hub, spawn
from gevlite.event import Event

def slices():
    return get_hub().stats()["slices"]

def spin(stop=lambda: False):
    while not stop():
        pass
"""


@pytest.fixture
def sliced(run_script):
    """`sliced(source)`: its stdout, from a process with time slices of 5 ms."""

    def run(source, seconds="0.005", patch=True, **options):
        head = ("import gevlite.monkey; gevlite.monkey.patch_all()\n" if patch else "") + HEAD
        env = {"GEVLITE_TIME_SLICE": seconds, **options.pop("env", {})}
        result = run_script(head + textwrap.dedent(source), env=env, **options)
        assert not result.stderr, result.stderr
        return result.stdout

    return run


# ---------------------------------------------------------------- what they are for


@pytest.mark.parametrize("patch", [True, False])
def test_spinning_greenlets_share_the_thread_with_others(sliced, patch):
    sliced(
        """
        counts = [0] * 4
        stopped = []

        def count(i):
            while not stopped:
                counts[i] += 1

        spinners = [spawn(count, i) for i in range(4)]
        for _ in range(20):
            gevlite.sleep(0.001)
        assert all(counts), counts
        stopped.append(True)
        gevlite.joinall(spinners, raise_error=True)
        assert slices() >= 10
        """,
        patch=patch,
    )


def test_the_main_greenlet_gives_way_too(sliced):
    sliced("""
        done = []
        spawn(done.append, 1)
        spin(lambda: done)
        gevlite.spawn_later(0.01, done.append, 2)
        spin(lambda: 2 in done)
    """)


def test_a_timeout_ends_a_loop(sliced):
    sliced("""
        try:
            with gevlite.Timeout(0.02) as timeout:
                while True:
                    pass
        except gevlite.Timeout as exc:
            assert exc is timeout
        else:
            raise AssertionError
    """)


def test_kill_ends_a_loop(sliced):
    sliced("""
        spinners = [spawn(spin) for _ in range(3)]
        gevlite.sleep(0.02)
        gevlite.killall(spinners)
        assert all(g.dead for g in spinners)
        assert all(isinstance(g.value, gevlite.GreenletExit) for g in spinners)
    """)


def test_off_by_default(run_script):
    run_script(
        HEAD
        + textwrap.dedent("""
        ran = []
        gevlite.spawn(ran.append, 1)
        end = time.monotonic() + 0.1
        spin(lambda: time.monotonic() > end)
        assert not ran and not slices()
        assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
        assert not [c for c in gc.callbacks if "gevlite" in repr(c)]
        """),
        env={"GEVLITE_TIME_SLICE": ""},
    )


# ---------------------------------------------------------------- fair


def test_what_timers_and_descriptors_wake_runs_before_those_that_used_a_slice(sliced):
    """Between two runs of a waiter only one of those that spin gets a slice."""
    sliced("""
        ran = []
        stopped = []

        def count(i):
            while not stopped:
                if ran[-1:] != [i]:
                    ran.append(i)

        reader, writer = os.pipe()

        def wait():
            while True:
                os.read(reader, 1)
                ran.append("io")

        def write():
            while True:
                gevlite.sleep(0.001)
                ran.append("timer")
                os.write(writer, b".")

        spinners = [spawn(count, i) for i in range(4)]
        others = [spawn(wait), spawn(write)]
        spin(lambda: ran.count("io") > 20)
        stopped.append(True)
        gevlite.killall(others)
        gevlite.joinall(spinners)
        began = ran.index("io")
        between = []
        for what in ran[began:]:
            if what == "timer":
                assert len(between) <= 2, (between, ran)
                between = []
            elif what != "io":
                between.append(what)
    """)


def test_one_that_uses_its_slices_does_not_starve_beside_those_that_are_always_ready(sliced):
    sliced("""
        counted = []

        def count():
            while True:
                counted.append(1)

        def turn():
            while True:
                gevlite.sleep(0)

        greenlets = [spawn(count), *[spawn(turn) for _ in range(300)]]
        before = 0
        for _ in range(5):
            while len(counted) == before:
                gevlite.sleep(0)
            before = len(counted)
            had = slices()
            while slices() < had + 2:
                gevlite.sleep(0)
        gevlite.killall(greenlets)
    """)


# ---------------------------------------------------------------- uninterrupted


def test_uninterrupted_blocks_are_not_interrupted(sliced):
    sliced("""
        ran = []

        def other():
            while True:
                ran.append(1)
                gevlite.sleep(0)

        def is_interrupted():
            before = len(ran)
            spin(lambda: len(ran) > before)
            return True

        def is_not():
            "For ten slices."
            before = len(ran)
            end = time.monotonic() + 0.05
            spin(lambda: time.monotonic() > end)
            return len(ran) == before

        @gevlite.uninterrupted
        def decorated(a, *, b):
            "Words."
            return is_not()

        def in_block():
            with gevlite.uninterrupted():
                return is_not()

        beside = spawn(other)
        assert is_interrupted()
        with gevlite.uninterrupted():
            assert is_not()
            with gevlite.uninterrupted() as inner, inner:
                pass
            assert decorated(1, b=2)
            assert is_not()
            gevlite.sleep(0.001)                # what blocks lets others run
            assert is_not()
        assert is_interrupted()
        assert decorated(1, b=2) and spawn(decorated, 1, b=2).get()
        assert is_interrupted() and spawn(is_interrupted).get()
        assert decorated.__doc__ == "Words." and decorated.__name__ == "decorated"
        assert spawn(in_block).get()
        import greenlet
        assert greenlet.greenlet(in_block).switch()
        assert is_interrupted()
        beside.kill()
    """)


def test_one_greenlets_peace_is_not_anothers(sliced):
    sliced("""
        entered = Event()
        stopped = []

        def peaceful():
            with gevlite.uninterrupted():
                entered.set()
                gevlite.sleep(0.02)
                stopped.append(1)

        spawn(peaceful)
        entered.wait()
        spin(lambda: stopped)
    """)


def test_the_end_of_an_overdue_block_gives_way_at_once(sliced):
    """The slice is so long that the next one would end only after the time limit."""
    sliced(
        """
        ran = []
        spawn(ran.append, 1)
        hub = get_hub()
        with gevlite.uninterrupted():
            end = time.monotonic() + 3
            spin(lambda: time.monotonic() > end)
            assert not ran
        spin(lambda: ran)
        """,
        seconds="2",
    )


def test_uninterrupted_refuses_what_runs_in_pieces():
    import gevlite

    async def coroutine():
        pass

    async def asynchronous():
        yield

    def generator():
        yield

    for function in (coroutine, asynchronous, generator):
        with pytest.raises(TypeError, match=f"{function.__name__} runs in pieces"):
            gevlite.uninterrupted(function)
    with pytest.raises(TypeError, match=r"takes a function, or nothing: with gevlite.uninterrupted\(\), not 5"):
        gevlite.uninterrupted(5)


def test_a_generator_may_leave_a_block_in_another_greenlet(sliced):
    sliced("""
        def generate():
            with gevlite.uninterrupted():
                yield 1

        generator = generate()
        spawn(next, generator).join()
        generator.close()
        ran = []
        spawn(ran.append, 1)
        spin(lambda: ran)
    """)


# ---------------------------------------------------------------- on and off


def test_an_assignment_takes_effect_at_once(sliced):
    sliced("""
        def is_interrupted():
            ran = []
            spawn(ran.append, 1)
            spin(lambda: ran)
            return True

        assert is_interrupted()
        gevlite.config.time_slice = None
        before = slices()
        end = time.monotonic() + 0.05
        spin(lambda: time.monotonic() > end)
        assert slices() == before
        assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
        assert not [c for c in gc.callbacks if "collection_" in repr(c)]
        gevlite.config.time_slice_signal = "USR1"
        gevlite.config.time_slice = 0.002
        assert callable(signal.getsignal(signal.SIGUSR1))
        assert is_interrupted()
        gevlite.config.time_slice_signal = "USR2"
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
        assert is_interrupted()
    """)


def test_a_hub_of_ones_own_and_its_end(run_script):
    result = run_script(
        HEAD
        + textwrap.dedent("""
        for turn in range(3):
            hub = gevlite.hub.Hub(time_slice=0.002)
            ran = []
            spawn(ran.append, 1)
            spin(lambda: ran)
            hub.destroy()
            assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
        hub = gevlite.hub.Hub()
        assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
        """),
        env={"GEVLITE_TIME_SLICE": ""},
    )
    assert not result.stderr


def test_other_threads_are_told_that_they_cannot(run_script):
    result = run_script(
        HEAD
        + textwrap.dedent("""
        import _thread

        def elsewhere(make):
            said = []
            def run():
                try:
                    make()
                except ValueError as exc:
                    said.append(str(exc))
                else:
                    said.append(None)
            _thread.start_new_thread(run, ())
            while not said:
                time.sleep(0.001)
            return said[0]

        assert "only the hub of the main thread" in elsewhere(lambda: gevlite.hub.Hub(time_slice=0.01))
        assert elsewhere(gevlite.hub.Hub) is None       # the setting is not for this one
        assert elsewhere(get_hub) is None
        get_hub()
        def assign():
            gevlite.config.time_slice = 0.02
        assert "only the hub of the main thread" in elsewhere(assign)
        assert gevlite.config.time_slice == 0.01
        """),
        env={"GEVLITE_TIME_SLICE": "0.01"},
    )
    assert not result.stderr


def test_bad_arguments_are_refused_and_leave_no_hub():
    import gevlite.hub

    def hub_with(value):
        # A thread of its own has no hub yet.
        pool = gevlite.get_hub().threadpool
        return pool.apply(lambda: gevlite.hub.Hub(time_slice=value))

    for value in (-1, 0.0001, "soon", True, [1], float("nan")):
        with pytest.raises((ValueError, TypeError), match="time_slice must be a number of seconds"):
            hub_with(value)
    gevlite.get_hub().threadpool.apply(lambda: gevlite.hub.Hub(time_slice=0).destroy())


def test_a_signal_that_the_program_handles_is_refused(run_script):
    run_script(
        HEAD
        + textwrap.dedent("""
        def handler(signum, frame):
            pass

        signal.signal(signal.SIGURG, handler)
        for make in (get_hub, lambda: gevlite.hub.Hub(time_slice=0.01)):
            try:
                make()
            except ValueError as exc:
                assert "GEVLITE_TIME_SLICE_SIGNAL" in str(exc) and "SIGURG" in str(exc), exc
            else:
                raise AssertionError
        gevlite.config.time_slice_signal = signal.SIGKILL
        try:
            gevlite.hub.Hub(time_slice=0.01)
        except ValueError as exc:
            assert "SIGKILL" in str(exc), exc
        else:
            raise AssertionError
        gevlite.config.time_slice_signal = "USR1"
        ran = []
        spawn(ran.append, 1)
        spin(lambda: ran)
        assert signal.getsignal(signal.SIGURG) is handler
        """),
        env={"GEVLITE_TIME_SLICE": "0.01"},
    )


def test_a_handler_that_the_program_sets_later_turns_slices_off_with_a_warning(run_script):
    result = run_script(
        HEAD
        + textwrap.dedent("""
        import warnings
        caught = []
        warnings.showwarning = lambda message, *rest: caught.append(str(message))
        warnings.simplefilter("always")
        get_hub()
        calls = []
        signal.signal(signal.SIGURG, lambda *args: calls.append(args))
        spin(lambda: caught)
        assert "GEVLITE_TIME_SLICE_SIGNAL" in caught[0], caught
        before = slices()
        assert len(calls) <= 2, calls       # what was under way
        end = time.monotonic() + 0.1
        spin(lambda: time.monotonic() > end)
        assert len(calls) <= 2 and len(caught) == 1 and slices() == before
        assert callable(signal.getsignal(signal.SIGURG))
        """),
        env={"GEVLITE_TIME_SLICE": "0.005"},
    )
    assert not result.stderr


def test_a_signal_from_outside_does_nothing(sliced):
    sliced("""
        for _ in range(100):
            os.kill(os.getpid(), signal.SIGURG)
            gevlite.sleep(0)
    """)


def test_a_dead_end_is_still_found(sliced):
    sliced("""
        try:
            Event().wait()
        except gevlite.LoopExit:
            pass
        else:
            raise AssertionError
    """)
