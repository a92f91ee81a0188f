"""Third-party backends: how they are found, and the effects of faulty ones. The example is a correct one.

Any error of a plug-in is reported, with the plug-in's own traceback; the hub neither hangs nor spins, the events that
other greenlets wait for are not lost, and nothing stays registered.
"""

import importlib
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "python_backend"

# ---------------------------------------------------------------- how one is found


@pytest.fixture
def install(tmp_path):
    """`install(name, entry_points)`: put the metadata on the path that an installed package has; returns the path."""

    def install(name, entry_points):
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{key} = {value}" for key, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[gevlite.backends]", *lines]))
        return os.pathsep.join([str(tmp_path), str(EXAMPLE)])

    return install


@pytest.fixture
def installed(install):
    """The path on which the example is installed."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    return install(project["name"], project["entry-points"]["gevlite.backends"])


RUNS = """
    import gevlite
    from gevlite import socket
    a, b = socket.socketpair()
    job = gevlite.spawn(a.recv, 10)
    gevlite.sleep(0.001)
    b.sendall(b"it works")
    assert job.get(timeout=20) == b"it works"
    hub = gevlite.get_hub()
    assert hub.backend.name == "python-poll" and type(hub.backend).__module__ == "gevlite_python_backend"
"""


def test_an_installed_package_is_found_by_the_name_of_its_entry_point(installed, run_script):
    run_script(RUNS, env={"GEVLITE_BACKEND": "python-poll", "PYTHONPATH": installed})


def test_an_installed_package_is_one_choice_among_others(installed, run_script):
    run_script(RUNS, env={"GEVLITE_BACKEND": "nonsense, python-poll,select", "PYTHONPATH": installed})


def test_one_that_is_only_on_the_path_is_found_by_module_and_class(run_script):
    wish = "gevlite_python_backend:PythonPollBackend"
    run_script(RUNS, env={"GEVLITE_BACKEND": wish, "PYTHONPATH": str(EXAMPLE)})


@pytest.mark.parametrize("wish", ["'python-poll'", "['nonsense', 'python-poll']", "PythonPollBackend"])
def test_the_configuration_finds_it(installed, run_script, wish):
    assign = f"from gevlite_python_backend import PythonPollBackend\nimport gevlite\ngevlite.config.backend = {wish}\n"
    run_script(assign + textwrap.dedent(RUNS), env={"PYTHONPATH": installed})


def test_it_works_when_everything_was_patched_before_it_is_imported(installed, run_script):
    patch = "from gevlite import monkey\nmonkey.patch_all()\n"
    run_script(patch + textwrap.dedent(RUNS), env={"GEVLITE_BACKEND": "python-poll", "PYTHONPATH": installed})


def test_info_lists_it(installed):
    result = subprocess.run(
        [sys.executable, "-m", "gevlite", "info"],
        env={**os.environ, "GEVLITE_BACKEND": "python-poll", "PYTHONPATH": installed},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "python-poll (GEVLITE_BACKEND=python-poll)" in result.stdout, result.stderr
    assert "python-poll yes" in " ".join(result.stdout.split())


def test_the_examples_own_tests_pass():
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", EXAMPLE, EXAMPLE],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0 and "1 passed" in result.stdout, result.stdout + result.stderr


def test_it_does_not_take_the_place_of_a_built_in_one(install, run_script):
    path = install("impostor", {"select": "gevlite_python_backend:PythonPollBackend"})
    run_script(
        "import gevlite; assert type(gevlite.get_hub().backend).__module__ == 'gevlite.backends.select'",
        env={"GEVLITE_BACKEND": "select", "PYTHONPATH": path},
    )


def test_one_name_from_two_packages_is_an_error_that_names_both(install, run_script):
    install("one", {"twice": "module_one:Class"})
    path = install("two", {"twice": "module_two:Class"})
    env = {"GEVLITE_BACKEND": "twice", "PYTHONPATH": path}
    result = run_script("import gevlite; gevlite.get_hub()", env=env, code=1)
    assert "several packages" in result.stderr and "module_one:Class, module_two:Class" in result.stderr


# ---------------------------------------------------------------- objects that are no backends

GOOD = "arm = drop = poll = lambda *args: None"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise RuntimeError('out of paper')", "out of paper"),
        ("def Mine(:", "invalid syntax"),
        ("import no_such_module", "no_such_module"),
        ("raise KeyboardInterrupt", None),
        ("", "has no 'Mine'"),
        ("Mine = 5", "not a subclass of gevlite.backends.Backend but 5"),
        ("class Mine: pass", "not a subclass of gevlite.backends.Backend"),
        ("class Mine(Backend): pass", "does not define arm, drop, poll"),
        ("class Mine(Backend):\n    def arm(self, fd, events): pass\n    poll = arm", "does not define drop"),
        (f"class Mine(Backend):\n    {GOOD}\n    drop = None", "does not define drop"),
        (f"class Mine(Backend):\n    {GOOD}\n    def __init__(self): raise OSError('no device')", "no device"),
        (f"class Mine(Backend):\n    {GOOD}\n    def __init__(self): raise ZeroDivisionError", "ZeroDivisionError"),
        (f"class Mine(Backend):\n    {GOOD}\n    def __init__(self, device): pass", "device"),
        (f"class Mine(Backend):\n    {GOOD}\n    def __new__(cls): return 7", "makes no Backend but 7"),
        (f"class Mine(Backend):\n    {GOOD}\n    name = 7", "its name must be a string, not 7"),
        (f"class Mine(Backend):\n    {GOOD}\n    name = property(lambda self: 1 / 0)", "division by zero"),
    ],
)
def test_what_is_no_backend_is_told_when_it_is_chosen(source, problem, tmp_path, run_script):
    """And with an order of preference the next one is tried, and the error lists the usable ones."""
    (tmp_path / "mine.py").write_text("from gevlite.backends import Backend\n" + source)
    env = {"PYTHONPATH": str(tmp_path)}
    program = "import gevlite; print(gevlite.get_hub().backend.name)"
    result = run_script(program, env={**env, "GEVLITE_BACKEND": "mine:Mine"}, code=None)
    assert result.returncode != 0
    if problem is None:
        assert "KeyboardInterrupt" in result.stderr  # not the plug-in's fault
        return
    last = result.stderr.splitlines()[-1]
    assert last.startswith("gevlite.backends.BackendError: GEVLITE_BACKEND=mine:Mine cannot be used"), result.stderr
    assert problem in last and "usable here: " in last and "mine" in last
    assert run_script(program, env={**env, "GEVLITE_BACKEND": "mine:Mine,select"}).stdout == "select\n"


def test_an_instance_serves_one_hub_only(run_script):
    run_script(
        """
        import threading
        from gevlite.backends import BackendError, choose
        from gevlite.hub import Hub
        from gevlite_python_backend import PythonPollBackend
        backend = PythonPollBackend()
        hub = Hub(backend=backend)
        problems = []
        def work():
            try:
                Hub(backend=backend)
            except BackendError as exc:
                problems.append(str(exc))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        hub.destroy()
        work()
        assert problems == [
            "this python-poll backend already belongs to a hub",
            "this python-poll backend has been closed",
        ], problems
        """,
        env={"PYTHONPATH": str(EXAMPLE)},
    )


# ---------------------------------------------------------------- backends that misbehave

# `Mine` does what the example does, until a test changes it. `errors`: the arguments of Hub.handle_error.
PRELUDE = """
import contextlib, os, sys, threading, time, traceback
import gevlite
from gevlite import socket
from gevlite.backends import END, READ, WRITE
from gevlite.event import Event
from gevlite.hub import Hub
from gevlite_python_backend import PythonPollBackend

class Mine(PythonPollBackend):
    pass

calls = []

def fail(*args):
    calls.append(args)
    raise error

error = OSError("out of paper")
good_poll = Mine.poll
errors = []

def new_hub():
    hub = Hub(backend=Mine)
    hub.handle_error = lambda context, type, value, tb: errors.append((context, value))
    return hub

hub = new_hub()

@contextlib.contextmanager
def raises(cls, text=""):
    try:
        yield
    except cls as exc:
        assert text in str(exc), repr(exc)
    else:
        raise AssertionError(f"no {cls.__name__}")

def nothing_left():
    stats = hub.stats()
    left = {name: stats[name] for name in ("greenlets", "parked", "ready", "timers", "fds", "fd_waiters", "refs")}
    assert not any(left.values()), left
"""


@pytest.fixture
def misbehave(run_script):
    """Run source after PRELUDE, in a process of its own.

    Without time slices: at the end of one the hub polls, so an error of the backend could be raised at any step.
    """

    def run(source, **options):
        env = {"PYTHONPATH": str(EXAMPLE), "GEVLITE_TIME_SLICE": ""}
        return run_script(PRELUDE + textwrap.dedent(source), env=env, **options)

    return run


@pytest.mark.parametrize("error", ["OSError", "ValueError", "StopIteration", "KeyboardInterrupt", "SystemExit"])
def test_an_exception_in_poll_reaches_the_main_greenlet_each_time_it_waits(misbehave, error):
    """Once for each wait: a failing poll is not tried again and again."""
    misbehave(f"""
        Mine.poll, error = fail, {error}("out of paper")
        r, w = os.pipe()
        a, b = socket.socketpair()
        other = gevlite.spawn(gevlite.sleep, 60)
        for wait in (lambda: gevlite.sleep(60), lambda: Event().wait(60), lambda: hub.wait_fd(r, READ),
                     lambda: a.recv(1), other.join, gevlite.wait, hub.join, gevlite.idle):
            calls.clear()
            with raises({error}, "out of paper"):
                wait()
            assert len(calls) == 1, len(calls)
        assert not other.dead
        other.kill()
        Mine.poll = good_poll
        gevlite.sleep(0.001)
        nothing_left()
    """)


def test_a_greenlet_exit_in_poll_does_not_end_the_hub(misbehave):
    misbehave("""
        Mine.poll, error = fail, gevlite.GreenletExit()
        with raises(RuntimeError, "poll() raised GreenletExit"):
            gevlite.sleep(60)
        Mine.poll = good_poll
        gevlite.sleep(0.001)
    """)


def test_a_poll_that_fails_once_loses_nothing(misbehave):
    """Its earlier reports count, and waiting greenlets go on waiting."""
    misbehave("""
        a, b = socket.socketpair()
        reader = gevlite.spawn(a.recv, 10)
        sleeper = gevlite.spawn(gevlite.sleep, 0.01)
        gevlite.sleep(0.001)
        def poll(self, timeout_ns):
            Mine.poll = good_poll
            b.send(b"x")
            good_poll(self, timeout_ns)
            fail()
        Mine.poll = poll
        with raises(OSError, "out of paper"):
            gevlite.sleep(60)
        assert reader.get(timeout=20) == b"x"
        sleeper.get(timeout=20)
        a.close(), b.close()
        nothing_left()
    """)


def test_an_exception_in_poll_ends_the_thread_whose_hub_it_is_and_unwinds_its_greenlets(misbehave):
    misbehave("""
        unwound = []
        def wait_for_ever():
            try:
                gevlite.sleep(1000)
            finally:
                unwound.append(1)
        def work():
            new_hub()
            for _ in range(600):
                gevlite.spawn(wait_for_ever)
            gevlite.sleep(0.001)
            Mine.poll = fail
            with raises(OSError, "out of paper"):
                gevlite.sleep(60)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        assert len(unwound) == 600, len(unwound)
        assert errors and all(value is error for _, value in errors)
        Mine.poll = good_poll
        gevlite.sleep(0.001)
    """)


def test_a_poll_that_fails_while_the_hub_is_destroyed_does_not_stop_that(misbehave):
    misbehave("""
        unwound = []
        def stubborn():
            try:
                gevlite.sleep(1000)
            finally:
                try:
                    gevlite.sleep(1000)
                finally:
                    unwound.append(1)
        for _ in range(600):
            gevlite.spawn(stubborn)
        gevlite.sleep(0.001)
        before = len(os.listdir("/dev/fd"))
        Mine.poll = fail
        hub.destroy()
        assert hub.closed and len(unwound) == 600
        assert errors and all(value is error for _, value in errors)
        assert len(os.listdir("/dev/fd")) < before
        Mine.poll = good_poll
        new_hub()
        gevlite.sleep(0.001)
    """)


@pytest.mark.parametrize(
    ("poll", "error", "text"),
    [
        ("self.report(-1, READ)", "ValueError", "reported fd -1"),
        ("self.report(r, 0)", "ValueError", "for events 0"),
        ("self.report(r, END)", "ValueError", "for events 4"),
        ("self.report(r, READ | 64)", "ValueError", "for events 65"),
        ("self.report(r, -1)", "ValueError", "for events -1"),
        ("self.report(self.wake_fd, READ)", "ValueError", "call drain()"),
        ("self.report('x', READ)", "TypeError", ""),
        ("self.report(None, READ)", "TypeError", ""),
        ("self.report(r, 'readable')", "TypeError", ""),
        ("self.report(r)", "TypeError", "report"),
        ("self.report(2**40, READ)", "OverflowError", ""),
        ("return [(r, READ)]", "TypeError", "return None"),
        ("return True", "TypeError", "return None"),
    ],
)
def test_a_poll_that_answers_garbage_is_told_to_the_main_greenlet(misbehave, poll, error, text):
    misbehave(f"""
        r, w = os.pipe()
        def poll(self, timeout_ns):
            calls.append(1)
            {poll}
        Mine.poll = poll
        with raises({error}, {text!r}):
            hub.wait_fd(r, READ, 60)
        assert len(calls) == 1
        Mine.poll = good_poll
        assert hub.wait_fd(r, READ, 0.001) == 0
        nothing_left()
    """)


def test_a_poll_that_always_blocks_is_told_to_the_main_greenlet(misbehave):
    """A signal handler may wait in the middle of it while the hub polls; but only to a limited depth."""
    misbehave("""
        r, w = os.pipe()
        def poll(self, timeout_ns):
            calls.append(1)
            gevlite.sleep(0.01)
        Mine.poll = poll
        with raises(gevlite.hub.BlockingSwitchOutError, "blocking call"):
            hub.wait_fd(r, READ, 60)
        assert 1 < len(calls) < 50
        Mine.poll = good_poll
        while hub.stats()["parked"]:
            gevlite.sleep(0.001)
        nothing_left()
    """)


def test_a_poll_with_the_wrong_signature_is_told_to_the_main_greenlet(misbehave):
    misbehave("""
        Mine.poll = lambda self: None
        with raises(TypeError, "2 were given"):
            gevlite.sleep(60)
    """)


def test_reports_of_descriptors_nobody_asked_for_do_no_harm(misbehave):
    misbehave("""
        def poll(self, timeout_ns):
            for fd in (0, 63, 64, 1000, 2**31 - 1):
                if fd != self.wake_fd:
                    self.report(fd, READ | WRITE | END)
            good_poll(self, timeout_ns)
        Mine.poll = poll
        gevlite.sleep(0.005)
        nothing_left()
    """)


@pytest.mark.parametrize("method", ["adopt", "arm"])
@pytest.mark.parametrize("error", ["OSError", "KeyError", "GreenletExit"])
def test_an_exception_in_adopt_or_arm_is_raised_where_it_is_waited(misbehave, method, error):
    misbehave(f"""
        from greenlet import GreenletExit
        from gevlite import select
        from gevlite._core import FdWatch
        Mine.{method}, error = fail, {error}("out of paper")
        a, b = socket.socketpair()
        waits = [lambda: a.recv(10), lambda: a.accept() if False else a.recv_into(bytearray(1))]
        if {method!r} == "arm":
            r, w = os.pipe()
            waits += [
                lambda: hub.wait_fd(r, READ),
                lambda: select.select([r], [], []),
                lambda: socket.wait_read(r),
                lambda: FdWatch(hub, r, READ, print).start(),
                lambda: hub.loop.io(r, READ).start(print),
                lambda: hub.wait(hub.loop.io(r, READ)),
            ]
        for wait in waits:
            with raises({error}, "out of paper"):
                wait()
            nothing_left()
        del Mine.{method}
        b.send(b"x")
        assert a.recv(10) == b"x"
    """)


def test_an_answer_of_adopt_that_is_neither_true_nor_false_is_an_error(misbehave):
    misbehave("""
        class Neither:
            def __bool__(self):
                raise error
        Mine.adopt = lambda self, fd: Neither()
        a, b = socket.socketpair()
        with raises(OSError, "out of paper"):
            a.recv(10)
        nothing_left()
    """)


def test_an_arm_that_fails_for_those_who_still_wait_is_told_to_them_and_to_nobody_else(misbehave):
    """Three wait for one descriptor, one of them gets it; the report of another descriptor in the same poll counts."""
    misbehave("""
        a, b = socket.socketpair()
        r, w = os.pipe()
        readers = [gevlite.spawn(a.recv, 10) for _ in range(3)]
        other = gevlite.spawn(hub.wait_fd, r, READ)
        gevlite.sleep(0.001)
        b.send(b"x")
        os.write(w, b"x")
        Mine.arm = fail
        gevlite.joinall([*readers, other], timeout=20)
        assert other.value == READ
        assert [reader.value for reader in readers].count(b"x") == 1
        assert [reader.exception for reader in readers].count(error) == 2
        a.close(), b.close()
        nothing_left()
    """)


def test_an_arm_that_fails_when_one_of_two_leaves_is_told_to_the_one_that_stays(misbehave):
    """One waits to read, one to write; when the writer gives up, the reader is armed anew."""
    misbehave("""
        a, b = socket.socketpair()
        with contextlib.suppress(BlockingIOError):
            a.setblocking(False)
            while True:
                a.send(b"x" * 65536)
        reader = gevlite.spawn(hub.wait_fd, a.fileno(), READ)
        writer = gevlite.spawn(hub.wait_fd, a.fileno(), WRITE)
        gevlite.sleep(0.001)
        Mine.arm = fail
        writer.kill()
        reader.join(20)
        assert reader.exception is error, reader
        nothing_left()
    """)


def test_an_exception_in_drop_is_reported_and_clearing_up_goes_on(misbehave):
    misbehave("""
        error = KeyError("out of paper")
        Mine.drop = fail
        r, w = os.pipe()
        assert hub.wait_fd(r, READ, 0.001) == 0
        reader = gevlite.spawn(hub.wait_fd, r, READ)
        gevlite.sleep(0.001)
        reader.kill()
        assert isinstance(reader.value, gevlite.GreenletExit)
        a, b = socket.socketpair()
        reader = gevlite.spawn(a.recv, 10)
        gevlite.sleep(0.001)
        a.close()
        reader.join(20)
        assert isinstance(reader.exception, OSError)
        assert [(context, value) for context, value in errors if value is error] == [(hub.backend, error)] * 3
        nothing_left()
        for pair in (socket.socketpair(), socket.socketpair()):     # numbers that were in use before
            pair[1].send(b"x")
            assert pair[0].recv(1) == b"x"
    """)


def test_an_oserror_in_drop_is_ignored_the_descriptor_was_closed(misbehave):
    misbehave("""
        Mine.drop = fail
        r, w = os.pipe()
        assert hub.wait_fd(r, READ, 0.001) == 0
        assert calls and not errors
        nothing_left()
    """)


@pytest.mark.parametrize("error", ["OSError", "SystemError", "KeyboardInterrupt"])
def test_an_exception_in_wake_is_reported_and_the_hub_is_woken_all_the_same(misbehave, error):
    misbehave(f"""
        error = {error}("out of paper")
        Mine.wake = fail
        event = Event()
        outcome = []
        def work():
            while not hub.backend.parked:
                time.sleep(0.001)
            event.set()
            outcome.append("set")
        def poll(self, timeout_ns):
            self.parked = timeout_ns != 0
            good_poll(self, timeout_ns)
        Mine.parked, Mine.poll = False, poll
        thread = threading.Thread(target=work)
        thread.start()
        assert event.wait(20)
        thread.join(20)
        assert outcome == ["set"]
        assert (hub.backend, error) in errors
    """)


@pytest.mark.parametrize("after_fork", ["fail", "lambda self: self._start()"], ids=["raises", "forgets-the-base-class"])
def test_an_after_fork_that_fails_is_told_to_the_child_whenever_it_waits(misbehave, after_fork):
    """The child's attempts do not affect the parent, with which it shares descriptors."""
    misbehave(f"""
        Mine.after_fork = {after_fork}
        r, w = os.pipe()
        reader = gevlite.spawn(hub.wait_fd, r, READ)
        gevlite.sleep(0.001)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                arms = []
                Mine.arm = lambda self, fd, events: arms.append(fd)
                for wait in (lambda: gevlite.sleep(60), lambda: Event().wait(60), lambda: hub.wait_fd(r, READ)):
                    with raises(RuntimeError, "cannot be used in this child process"):
                        wait()
                assert not arms
                assert hub.backend.name == "python-poll"
                try:
                    gevlite.sleep(60)
                except RuntimeError as exc:
                    assert "out of paper" in str(exc.__cause__) or "does not call" in str(exc.__cause__)
                hub.call_soon_threadsafe(print)
                hub.destroy()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.write(w, b"x")
        assert reader.get(timeout=20) == READ
        gevlite.sleep(0.001)
    """)


def test_a_child_is_not_kept_from_its_hub_by_the_close_of_another_threads_backend(misbehave):
    result = misbehave("""
        event = threading.Event()
        def work():
            class Other(Mine):
                close = fail
            Hub(backend=Other)
            ready.set()
            event.wait()
        ready = threading.Event()
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        ready.wait()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert gevlite._core.hubs() == [hub]
                gevlite.sleep(0.001)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        event.set()
        thread.join()
    """)
    assert "out of paper" in result.stderr


def test_an_exception_in_close_comes_out_of_destroy_after_everything_else_was_done(misbehave):
    misbehave("""
        Mine.close = fail
        unwound = []
        def wait_for_ever():
            try:
                gevlite.sleep(1000)
            finally:
                unwound.append(1)
        gevlite.spawn(wait_for_ever)
        gevlite.sleep(0.001)
        with raises(OSError, "out of paper"):
            hub.destroy()
        assert hub.closed and unwound
        del Mine.close
        assert gevlite.get_hub() is not hub
        gevlite.sleep(0.001)
    """)


def test_an_exception_in_close_of_a_candidate_is_why_it_is_not_available(misbehave):
    misbehave("""
        from gevlite import backends
        from gevlite.backends import select
        class Sticky(select.SelectBackend):
            close = fail
        select.SelectBackend = Sticky
        assert "out of paper" in backends.available()["select"]
    """)


def test_the_process_ends_with_a_backend_that_fails_in_everything(misbehave):
    result = misbehave(
        """
        gevlite.spawn(gevlite.sleep, 1000)
        gevlite.sleep(0.001)
        for method in ("adopt", "arm", "drop", "poll", "wake", "after_fork", "close"):
            setattr(Mine, method, fail)
        gevlite.sleep(1)
        """,
        code=1,
    )
    assert "out of paper" in result.stderr


def test_the_example_is_found_where_this_suite_looks_for_it():
    module = importlib.import_module("gevlite_python_backend")
    assert Path(module.__file__).parent == EXAMPLE
