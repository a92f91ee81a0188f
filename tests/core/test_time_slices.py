"""Time slices: greenlets that compute give way, safely, fairly and only where they may."""

import textwrap

import pytest
from slice_programs import HEAD, slicing


@pytest.fixture
def sliced(run_script):
    """`sliced(source)`: its stdout, from a process with time slices of 5 ms."""
    return slicing(run_script, "0.005")


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


LOOPS = {
    "for": """
        for i in itertools.repeat(0):
            if i:
                print()
    """,
    "while": """
        while True:
            if ended:
                print()
    """,
    "while True": """
        while True:
            pass
    """,
    "nested": """
        while True:
            with Noting("inner"):
                pass
            for i in range(100):
                if i < 0:
                    print()
                elif i > 100:
                    print()
    """,
    "last branch": """
        for i in itertools.count():
            if i < 0:
                print()
            else:
                i -= 1
    """,
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_an_exception_in_any_jump_back_passes_by_no_finally(sliced, loop):
    """The compiler leaves some jumps out of the exception table, see _back_jumps."""
    head = textwrap.dedent("""
        import itertools
        ended = []

        class Noting:
            def __init__(self, what):
                self.what = what

            def __enter__(self):
                ended.append("+" + self.what)

            def __exit__(self, *exc):
                ended.append("-" + self.what)

        def {name}():
            with Noting("outer"):
                try:
        {loop}
                finally:
                    ended.append("finally")
    """)
    body = textwrap.indent(textwrap.dedent(loop).strip("\n"), " " * 12)
    tail = textwrap.dedent("""
        for way in range(8):
            ended.clear()
            spinner = spawn(spins)
            while not ended:
                gevlite.sleep(0.02)
            spinner.kill()
            assert ended[0] == "+outer" and ended[-2:] == ["finally", "-outer"], (ended[:2], ended[-2:])
            ended.clear()
            while not ended:
                with gevlite.Timeout(0.02, False):
                    spins()
            assert ended[0] == "+outer" and ended[-2:] == ["finally", "-outer"], (ended[:2], ended[-2:])
    """)
    sliced(head.format(name="spins", loop=body) + tail)


def test_a_timeout_is_raised_whatever_its_preparation_meets(sliced):
    sliced("""
        from gevlite import _back_jumps

        def fail(code):
            raise RecursionError("too deep")

        # What is given to the hub with the slices.
        gevlite.config.time_slice = None
        _back_jumps.completed = fail
        gevlite.config.time_slice = 0.005
        for _ in range(3):
            try:
                with gevlite.Timeout(0.02):
                    while True:
                        pass
            except gevlite.Timeout:
                pass
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


def test_what_is_woken_goes_before_greenlets_that_have_yet_to_begin(sliced):
    """Each of those computes for a slice and more."""
    sliced("""
        import socket
        ours, theirs = socket.socketpair()
        order = []

        def answers():
            for _ in range(3):
                order.append(ours.recv(1).decode())

        def computes(i):
            order.append(i)
            if i < 3:
                theirs.send(b"abc"[i:i + 1])
            before = slices()
            spin(lambda: slices() >= before + 2)

        answering = spawn(answers)
        gevlite.idle()
        spinners = [spawn(computes, i) for i in range(8)]
        gevlite.joinall(spinners)
        assert order == [0, "a", 1, "b", 2, "c", 3, 4, 5, 6, 7], order
    """)


def test_what_is_woken_goes_first_but_not_for_ever(sliced):
    sliced("""
        import socket
        pairs = [socket.socketpair() for _ in range(20)]
        order = []

        def link(i):
            "Wakes the next one, and computes for a slice."
            pairs[i][0].recv(1)
            order.append(i)
            if i + 1 < len(pairs):
                pairs[i + 1][1].send(b"x")
            before = slices()
            spin(lambda: slices() > before)

        def begins():
            before = slices()
            pairs[0][1].send(b"x")
            spin(lambda: slices() > before)

        def compute(name):
            order.append(name)
            before = slices()
            spin(lambda: slices() > before)

        chain = [spawn(link, i) for i in range(len(pairs))]
        gevlite.idle()
        spawn(begins)
        late = [spawn(compute, name) for name in ("first", "second")]
        gevlite.joinall(chain)
        assert 0 < order.index("first") < order.index("second") < 16, order
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


@pytest.mark.parametrize("handler", ["lambda *args: calls.append(args)", "signal.SIG_DFL", "signal.SIG_IGN"])
def test_a_handler_that_the_program_sets_later_turns_slices_off_with_a_warning(run_script, handler):
    result = run_script(
        HEAD
        + textwrap.dedent(f"""
        import warnings
        caught = []
        warnings.showwarning = lambda message, *rest: caught.append(str(message))
        warnings.simplefilter("always")
        get_hub()
        calls = []
        handler = {handler}
        # The interpreter says so if a signal that was under way finds no handler.
        sys.unraisablehook = lambda what: "race condition" in str(what.exc_value) or sys.__unraisablehook__(what)
        signal.signal(signal.SIGURG, handler)
        spin(lambda: caught)
        assert "GEVLITE_TIME_SLICE_SIGNAL" in caught[0], caught
        before = slices()
        assert len(calls) <= 2, calls       # what was under way
        end = time.monotonic() + 0.1
        spin(lambda: time.monotonic() > end)
        assert len(calls) <= 2 and len(caught) == 1 and slices() == before
        assert signal.getsignal(signal.SIGURG) == handler
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


def test_a_loop_after_a_long_call_of_c_code(sliced):
    """The handler runs while the ticker is about to wait for that."""
    sliced("""
        for count in (1_000_000, 2_000_000, 5_000_000) * 3:
            gevlite.sleep(0)        # a slice begins
            sum(range(count))
            str(time.perf_counter()), str(time.perf_counter())      # calls, at which no slice can end
            ran = []
            spawn(ran.append, 1)
            spin(lambda: ran)
    """)


def test_asked_again_if_too_many_calls_wait_for_the_main_thread(sliced):
    """The ticker asks while no call can be added."""
    sliced("""
        from gevlite._core import call_in_main_thread
        from itertools import starmap
        from operator import call

        # One step of C code: the interpreter makes none of the calls before its end.
        steps = [(call_in_main_thread, list)] * 400 + [(sum, range(5_000_000))]
        gevlite.sleep(0)            # a slice begins
        assert False in list(starmap(call, steps))
        ran = []
        spawn(ran.append, 1)
        spin(lambda: ran)
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


# ---------------------------------------------------------------- where no slice ends

# `others` counts how often another greenlet got its turn. `undisturbed()` computes for ten slices and says whether it
# was not interrupted; `disturbed()` computes until it is.
QUIET = """
others = [0]

def other():
    while True:
        others[0] += 1
        gevlite.sleep(0)

beside = spawn(other)
spin(lambda: others[0])
said = []

def undisturbed(*ignored):
    before = others[0]
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass
    said.append(others[0] == before)

def disturbed(*ignored):
    before = others[0]
    while others[0] == before:
        pass
    said.append(True)

def check(n=1):
    "So many were asked, and all were content; slices still end elsewhere."
    assert said == [True] * n, said
    disturbed()
"""


@pytest.fixture
def quiet(sliced):
    def run(source, **options):
        return sliced(QUIET + textwrap.dedent(source), **options)

    return run


def test_not_in_the_hub(quiet):
    """In callbacks: they delay the loop as ever, and the watch reports them."""
    quiet("""
        get_hub().call_soon(undisturbed)
        gevlite.sleep(0)
        get_hub().call_later(0, undisturbed)
        gevlite.sleep(0.001)
        gevlite.idle
        event = Event()
        event.rawlink(undisturbed)
        event.set()
        while len(said) < 3:
            gevlite.sleep(0)
        check(3)
    """)


def test_not_in_a_c_function_that_looks_for_signals(quiet):
    """It may be in the middle of something. `re` checks for signals; a slice can end only after it has returned."""
    quiet("""
        import re
        inside = []

        def watch():
            while True:
                said.append(not inside)
                gevlite.sleep(0)

        beside.kill()
        spawn(watch)
        for _ in range(5):
            inside.append(1)
            assert re.match("(a+)+$", "a" * 20 + "b") is None
            inside.pop()
            asked = len(said)
            spin(lambda: len(said) > asked)
        assert all(said)
    """)


@pytest.mark.parametrize("method", ["__del__", "__enter__", "__exit__", "__aenter__", "__aexit__"])
def test_not_in_methods_that_must_come_to_their_end(quiet, method):
    quiet(f"""
        class Thing:
            def {method}(self, *exc):
                inner()

        def inner():
            undisturbed()

        thing = Thing()
        {"del thing" if method == "__del__" else f"thing.{method}()"}
        check()
    """)


def test_not_in_a_context_manager_made_of_a_generator(quiet):
    quiet("""
        import contextlib

        @contextlib.contextmanager
        def manager():
            undisturbed()
            try:
                yield
            finally:
                undisturbed()

        with manager():
            disturbed()
        check(3)
    """)


def test_not_in_an_import(quiet, tmp_path):
    (tmp_path / "spins.py").write_text("import __main__\n__main__.undisturbed()\n")
    quiet(f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import spins
        check()
    """)


@pytest.mark.parametrize("callback", ["undisturbed", "lambda ref: undisturbed()", "Thing.method"])
def test_not_in_the_callback_of_a_weak_reference(quiet, callback):
    quiet(f"""
        class Thing:
            def method(self, *args):
                undisturbed()

        Thing.method = Thing().method
        things = {{1: Thing()}}
        ref = weakref.ref(things[1], {callback})
        things.clear()
        check()
    """)


def test_not_while_the_garbage_collector_works(quiet):
    quiet("""
        class Thing:
            def __init__(self):
                self.itself = self
                self.ref = weakref.ref(self, undisturbed)

        def callback(phase, info):
            undisturbed()

        gc.collect()
        gc.callbacks.append(callback)
        gc.disable()
        disturbed()
        said.clear()
        Thing()
        gc.collect()
        gc.callbacks.remove(callback)
        check(2)
        said.clear()
        Thing()
        ref = weakref.ref(Thing(), lambda ref: undisturbed())
        gc.collect()
        check(1)
    """)


def test_a_collector_that_waits_in_one_greenlet_stops_no_slices_in_others(quiet):
    quiet("""
        waits = Event()

        class Waits:
            def __del__(self):
                waits.wait()

        def collect():
            thing = Waits()
            thing.itself = thing
            del thing
            gc.collect()

        collecting = spawn(collect)
        gevlite.sleep(0)
        disturbed()
        waits.set()
        collecting.join()
        check()
    """)


@pytest.mark.parametrize("handler", ["undisturbed", "lambda signum, frame: undisturbed()"])
def test_not_in_a_signal_handler(quiet, handler):
    quiet(f"""
        signal.signal(signal.SIGUSR1, {handler})
        os.kill(os.getpid(), signal.SIGUSR1)
        spin(lambda: said)
        check()
        said.clear()

        def kill():
            os.kill(os.getpid(), signal.SIGUSR1)    # while the main greenlet waits

        spawn(kill)
        gevlite.sleep(0.01)
        while not said:
            gevlite.sleep(0.001)
        check()
    """)


def test_not_in_trace_functions_and_debuggers(quiet):
    quiet("""
        import bdb

        def traced():
            pass

        def trace(frame, event, arg):
            if event == "call" and frame.f_code is traced.__code__:
                undisturbed()

        sys.settrace(trace)
        traced()
        sys.settrace(None)

        def profile(frame, event, arg):
            if event == "call" and frame.f_code is traced.__code__:
                undisturbed()

        sys.setprofile(profile)
        traced()
        sys.setprofile(None)
        bdb.Bdb().runcall(undisturbed)
        check(3)
    """)


def test_slices_end_while_a_tool_traces(quiet):
    """Coverage, a profiler."""
    quiet("""
        seen = set()

        def trace(frame, event, arg):
            seen.add(frame.f_code.co_name)
            return trace

        sys.settrace(trace)
        disturbed()
        sys.settrace(None)
        assert "disturbed" in seen and "other" not in seen
        check()
    """)


LIBRARY = """
import contextlib

def made(filename):
    "Functions of a file: one that computes, and one that calls."
    names = {"undisturbed": undisturbed, "time": time, "others": others, "said": said, "disturbed": disturbed}
    exec(compile('''
def compute():
    before = others[0]
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass
    said.append(others[0] == before)

def compute_until():
    before = others[0]
    while others[0] == before:
        pass
    said.append(True)

def call(function):
    for _ in "a":
        function()
''', filename, "exec"), names)
    return names

ours = made(os.path.join(os.path.dirname(gevlite.__file__), "made_up.py"))
standard = made(os.path.join(os.path.dirname(os.__file__), "made_up.py"))
package = made(os.path.join(os.path.dirname(os.__file__), "site-packages", "made_up.py"))
"""


@pytest.mark.parametrize("patch", [True, False])
def test_not_in_gevlite_itself_but_in_what_it_calls(quiet, patch):
    quiet(
        LIBRARY
        + textwrap.dedent("""
        ours["compute"]()
        ours["call"](standard["compute"])
        ours["call"](disturbed)
        ours["call"](package["compute_until"])
        package["compute_until"]()
        check(5)
        """),
        patch=patch,
    )


def test_in_the_standard_library_of_a_patched_process_only(quiet):
    """The locks that it holds are cooperative there."""
    source = LIBRARY + "\nstandard['compute_until']()\nstandard['call'](disturbed)\ncheck(2)\n"
    quiet(source)
    source = LIBRARY + "\nstandard['compute']()\nstandard['call'](standard['compute'])\ncheck(2)\n"
    quiet(source, patch=False)


def test_in_what_an_init_calls_however_often(quiet):
    """The interpreter puts a frame of its own below an `__init__` that it has called often."""
    quiet("""
        class Thing:
            def __init__(self, compute):
                if compute:
                    disturbed()

        def make(compute):
            return Thing(compute)

        for _ in range(1000):
            make(False)
        for _ in range(5):
            make(True)
        check(5)
    """)


def test_a_process_ends_while_greenlets_spin(sliced):
    sliced("""
        for _ in range(3):
            spawn(spin)
        had = slices()
        spin(lambda: slices() > had + 5)
    """)


def test_destroying_the_hub_ends_what_waits_for_its_next_slice(sliced):
    sliced("""
        steps = []

        def count():
            try:
                spin()
            finally:
                steps.append(1)

        spinners = [spawn(count) for _ in range(3)]
        hub = get_hub()
        while slices() < 10:
            gevlite.sleep(0)
        hub.destroy()
        assert steps == [1, 1, 1]
        assert signal.getsignal(signal.SIGURG) == signal.SIG_DFL
        done = []
        spawn(done.append, 1)
        spin(lambda: done)              # of the next hub
    """)


# ---------------------------------------------------------------- how they are shown


def test_reports_say_who_has_used_up_a_slice(sliced, tmp_path):
    file = tmp_path / "trace.json"
    sliced(
        """
        from gevlite import _probe, metrics, trace
        from gevlite._report import Report, fit

        stopped = []
        spinners = [spawn(spin, lambda: stopped) for _ in range(3)]
        used = []
        while len(used) < 2:        # each begins in its turn
            gevlite.sleep(0.01)
            found = [one for one in Report(_probe.collect()).greenlets if one.function == "spin"]
            assert len(found) == 3
            used = [one for one in found if one.waits_for == "its next time slice"]
        assert {one.state for one in used} == {"ready"}, found
        assert "ready, used up its time slice" in fit(Report(_probe.collect()).ps(), None)
        words = [w.describe() for w in get_hub().parked_waiters()]
        assert "ready, used up its time slice" in words, words
        data = metrics.read()["hubs"][0]
        assert data["slices"] == slices() > 0
        assert data["greenlets"]["ready"] >= 2 and data["greenlets"]["parked"] == 0
        trace.start()
        had = slices()
        while slices() < had + 6:
            gevlite.sleep(0)
        trace.stop().save(sys.argv[1])
        stopped.append(1)
        gevlite.joinall(spinners)
        """,
        args=(str(file),),
    )
    assert "used up its time slice" in file.read_text()
