"""gevlite's plug-in for pytest, each time in a pytest of its own, also together with other plug-ins."""

import importlib.metadata
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

if not [one for one in importlib.metadata.entry_points(group="pytest11") if one.name == "gevlite"]:
    pytest.skip("gevlite was installed before it had a plug-in: pip install -e .", allow_module_level=True)

pytestmark = pytest.mark.timeout(200)
# Loading all other installed plug-ins costs seconds in each run.
SLOW = ("locust", "hypothesispytest", "benchmark", "anyio", "asyncio")


@pytest.fixture
def tests(tmp_path):
    """`tests(source, *arguments)`: run pytest on a module; the output, and the outcomes by the names of tests.

    on: with gevlite's plug-in, as `-p gevlite`. plugins: those that are loaded besides; None: what is installed.
    """

    def run(source, *arguments, ini="", files=None, code=None, env=None, on=True, plugins=()):
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source))
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{textwrap.dedent(ini)}")
        for name, text in (files or {}).items():
            (tmp_path / name).write_text(textwrap.dedent(text))
        env = {**os.environ, **(env or {})}
        chosen = [f"no:{name}" for name in SLOW]
        if plugins is not None:
            env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            chosen = list(plugins)
        chosen += ["no:cacheprovider", *(["gevlite"] if on else [])]
        command = [sys.executable, "-m", "pytest", "-rA", "--tb=short", *arguments]
        command += [part for name in chosen for part in ("-p", name)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, env=env)
        text = done.stdout + done.stderr
        assert "INTERNALERROR" not in text, text
        if code is not None:
            assert done.returncode == code, text
        return Result(text)

    return run


class Result:
    def __init__(self, text):
        self.text = text
        self.outcomes = {}
        for outcome, name in re.findall(
            r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) test_it\.py::([^\s-]+)", text, re.M
        ):
            self.outcomes.setdefault(name, []).append(outcome.lower())

    def part(self, name):
        """The report of a test's failure."""
        found = re.findall(
            rf"^_+ (?:ERROR at \w+ of )?{re.escape(name)} _+$(.*?)(?=^_{{5}}|^=====)", self.text, re.M | re.S
        )
        return "\n".join(found)


# ---------------------------------------------------------------- off


def test_without_being_asked_it_does_nothing(tests):
    found = tests(
        """
        import sys, threading

        def test_it(request):
            assert not any(name.split(".")[0] in ("gevlite", "greenlet") for name in sys.modules)
            assert "gevlite_pytest" in sys.modules
            assert not request.config.pluginmanager.has_plugin("gevlite-session")
        """,
        on=False,
        plugins=None,
        code=0,
    )
    assert "gevlite:" not in found.text


# ---------------------------------------------------------------- ways to turn it on

PATCHED = """
    import time
    from time import sleep
    import gevlite
    from gevlite import monkey

    sleeps = []

    def test_it():
        assert monkey.is_module_patched("time") and monkey.is_module_patched("socket")
        assert sleep is gevlite.sleep or sleep is time.sleep
        assert isinstance(gevlite.getcurrent(), gevlite.Greenlet)
"""


@pytest.mark.parametrize(
    ("arguments", "ini", "plugins"),
    [
        (["-p", "gevlite"], "", ()),
        (["-p", "gevlite"], "", None),
        (["-p", "gevlite.testing.plugin"], "", ()),
        (["-p", "gevlite.testing.plugin"], "", None),
        ([], "gevlite = true", None),
        ([], "addopts = -p gevlite", None),
        (["--gevlite-timeout=30"], "", None),
    ],
)
def test_asked_for(tests, arguments, ini, plugins):
    conftest = "from time import sleep\nfrom gevlite import monkey\nassert monkey.is_module_patched('time')"
    files = {"conftest.py": conftest}
    found = tests(PATCHED, *arguments, ini=ini, plugins=plugins, on=False, files=files, code=0)
    assert "gevlite: patched" in found.text


def test_without_patching(tests):
    tests(
        """
        from gevlite import monkey
        import gevlite

        def test_it():
            assert not monkey.is_anything_patched()
            assert isinstance(gevlite.getcurrent(), gevlite.Greenlet)
        """,
        ini="gevlite_patch = false",
        code=0,
    )


def test_only_tests_with_the_marker(tests):
    found = tests(
        """
        import gevlite, pytest
        from gevlite import monkey

        @pytest.mark.gevlite
        def test_with():
            assert isinstance(gevlite.getcurrent(), gevlite.Greenlet)
            assert not monkey.is_anything_patched()

        @pytest.mark.gevlite
        def test_leaks():
            gevlite.spawn(gevlite.sleep, 60)

        @pytest.mark.gevlite(left=False, timeout=40)
        def test_may_leak():
            gevlite.spawn(gevlite.sleep, 60)

        def test_without():
            assert not isinstance(gevlite.getcurrent(), gevlite.Greenlet)
            gevlite.spawn(gevlite.sleep, 60)
        """,
        "--strict-markers",
        on=False,
        plugins=None,
        code=1,
    )
    assert found.outcomes == {
        "test_with": ["passed"],
        "test_leaks": ["passed", "error"],
        "test_may_leak": ["passed"],
        "test_without": ["passed"],
    }


# ---------------------------------------------------------------- what fails a test


def test_what_is_left_behind_fails_the_test_by_name(tests):
    found = tests(
        """
        import socket, threading, time
        import gevlite, pytest
        from gevlite.event import Event

        kept = []

        def parks():
            Event().wait()

        def test_greenlet():
            gevlite.spawn(parks)

        def test_thread():
            threading.Thread(target=time.sleep, args=(60,), name="sleeper", daemon=True).start()

        def test_not_begun():
            gevlite.spawn_later(60, parks)

        def test_socket():
            kept.append(socket.create_server(("127.0.0.1", 0)))

        def test_connection():
            kept.extend(socket.socketpair())

        def test_file(tmp_path):
            kept.append(open(tmp_path / "a.txt", "w"))

        def test_timer():
            gevlite.get_hub().call_later(60, parks)

        def test_timeout():
            gevlite.Timeout(60).start()

        def test_afterwards():
            assert not [one for one in gevlite.util.GreenletTree.forest() if "parks" in str(one)]

        @pytest.fixture
        def cleans():
            job = gevlite.spawn(parks)
            sock = socket.create_server(("127.0.0.1", 0))
            yield
            job.kill()
            sock.close()

        def test_fixture(cleans):
            pass

        def test_ends_soon():
            gevlite.spawn(gevlite.sleep, 0.02)
            circle = [socket.socket()]
            circle.append(circle)

        def test_names():
            with socket.socket() as sock:
                with pytest.raises(OSError):
                    sock.connect(("localhost", 1))
        """,
        code=1,
    )
    bad = ["greenlet", "thread", "not_begun", "socket", "connection", "file", "timer", "timeout"]
    good = ["afterwards", "fixture", "ends_soon", "names"]
    assert found.outcomes == {
        **{f"test_{name}": ["passed", "error"] for name in bad},
        **{f"test_{name}": ["passed"] for name in good},
    }, found.text
    for name, text in {
        "greenlet": r"greenlet .*parks test_it.py:\d+ waits for Event.*spawned at test_it.py:\d+",
        "thread": r"greenlet .*sleeper",
        "not_begun": r"has left behind:\n  greenlet .*parks[^\n]*$",
        "socket": r"descriptor \d+: socket 127.0.0.1:\d+",
        "connection": r"descriptor \d+: socket",
        "file": r"descriptor \d+: .*a.txt",
        "timer": r"timer .*parks",
        "timeout": r"timer .*60.*started at .*test_it.py:\d+",
    }.items():
        part = found.part(f"test_{name}")
        assert f"test_{name} has left behind:" in part
        assert re.search(text, part), part


def test_what_may_be_left_behind(tests):
    source = """
        import gevlite
        def test_it():
            gevlite.spawn(gevlite.sleep, 60).name = "the warden"
    """
    tests(source, code=1)
    tests(source, ini="gevlite_left = timers", code=0)
    tests(source, ini="gevlite_left_allowed =\n    the \\w+den", code=0)
    assert "gevlite_left is some of" in tests(source, ini="gevlite_left = children", code=4).text
    assert "no regular expression" in tests(source, ini="gevlite_left_allowed = *", code=4).text


def test_what_may_stay_is_not_ended_with_the_rest(tests):
    found = tests(
        """
        import gevlite
        jobs = []

        def test_leaks():
            jobs.extend([gevlite.spawn(gevlite.sleep, 60), gevlite.spawn(gevlite.sleep, 60)])
            jobs[0].name = "the warden"

        def test_afterwards():
            assert [job.dead for job in jobs] == [False, True]
            jobs[0].kill()
        """,
        ini="gevlite_left_allowed = warden",
        code=1,
    )
    assert found.outcomes == {"test_leaks": ["passed", "error"], "test_afterwards": ["passed"]}
    assert "warden" not in found.part("test_leaks")


def test_blocks_that_are_left_open_are_ended_and_fail_the_test(tests):
    found = tests(
        """
        import gevlite, pytest, socket, time
        from gevlite.testing import VirtualClock, faults, shuffled

        kept = []

        def opened(block):
            kept.append(block)
            block.__enter__()

        def test_clock():
            opened(VirtualClock(0))
            time.sleep(5)

        def test_shuffled():
            opened(shuffled(3))

        def test_connections():
            opened(faults.sockets(4711, refuse=True))

        def test_names():
            opened(faults.resolver("localhost", error=True))

        def test_starts():
            opened(faults.spawn(60))

        @pytest.fixture
        def messy():
            yield
            opened(VirtualClock(0))
            opened(shuffled(4))

        def test_fixture(messy):
            pass

        def test_fails():
            opened(VirtualClock(0))
            assert False

        def test_afterwards():
            assert time.time() > 1e9
            assert socket.gethostbyname("localhost")
            with shuffled(4), VirtualClock():
                gevlite.spawn(gevlite.sleep, 1).join()
            for block in kept:
                block.__exit__(None, None, None)  # which does nothing

        def test_left():
            with shuffled(4), VirtualClock(), faults.spawn(1):
                pass
        """,
        code=1,
    )
    bad = ["clock", "shuffled", "connections", "names", "starts", "fixture"]
    assert found.outcomes == {
        **{f"test_{name}": ["passed", "error"] for name in bad},
        "test_fails": ["failed"],
        "test_afterwards": ["passed"],
        "test_left": ["passed"],
    }, found.text
    for name, text in {
        "clock": "block <VirtualClock 5.0 s after it was entered>",
        "shuffled": "block shuffled(seed=3)",
        "connections": "block <fault of client sockets, address (None, 4711), 0 hits>",
        "names": "block <fault of the resolver",
        "starts": "block <fault of starts",
        "fixture": "block shuffled(seed=4)\n  block <VirtualClock",
    }.items():
        part = found.part(f"test_{name}")
        assert f"test_{name} has left behind:" in part and text in part, part
    assert "test_fails has left behind:" in found.text


def test_blocks_of_wider_fixtures(tests):
    found = tests(
        """
        import gevlite, pytest
        from gevlite.testing import VirtualClock, faults

        @pytest.fixture(scope="class")
        def clock():
            with VirtualClock(0) as clock:
                yield clock

        class TestIt:
            def test_one(self, clock):
                gevlite.sleep(5)

            def test_two(self, clock):
                gevlite.sleep(5)
                assert clock.elapsed == 10

        @pytest.fixture(scope="module")
        def messy():
            faults.spawn(1, function="nothing").start()
            yield

        def test_three(messy):
            pass

        def test_four(messy):
            pass
        """,
        code=1,
    )
    assert found.outcomes == {
        "TestIt::test_one": ["passed"],
        "TestIt::test_two": ["passed"],
        "test_three": ["passed"],
        "test_four": ["passed", "error"],
    }
    assert "block <fault of starts" in found.part("test_four")


def test_errors_in_greenlets_fail_the_test_in_which_they_happen(tests):
    found = tests(
        """
        import threading
        import gevlite, pytest

        def fails(text="it fails"):
            raise ValueError(text)

        def test_joined():
            gevlite.spawn(fails).join()

        def test_thread():
            thread = threading.Thread(target=fails)
            thread.start()
            thread.join()

        def test_two():
            gevlite.joinall([gevlite.spawn(fails), gevlite.spawn(fails)])

        def test_caught():
            with pytest.raises(ValueError):
                gevlite.spawn(fails).get()

        def test_killed():
            job = gevlite.spawn(gevlite.sleep, 60)
            gevlite.sleep(0)
            job.kill()

        def test_expected(gevlite_errors):
            gevlite.spawn(fails).join()
            assert [type(one) for one in gevlite_errors] == [ValueError]
            gevlite_errors.clear()

        @pytest.mark.gevlite(errors=False)
        def test_marked():
            gevlite.spawn(fails).join()

        @pytest.mark.xfail(strict=True)
        def test_xfail():
            gevlite.spawn(fails).join()

        def test_fails_itself():
            gevlite.spawn(fails, "also").join()
            assert False

        @pytest.fixture
        def fixture():
            gevlite.spawn(fails).join()

        def test_fixture(fixture):
            pass

        def test_callback():
            gevlite.get_hub().call_later(0, fails, "in a callback")
            gevlite.sleep(0.01)
        """,
        code=1,
    )
    assert found.outcomes == {
        "test_joined": ["failed"],
        "test_thread": ["failed"],
        "test_two": ["failed"],
        "test_caught": ["passed"],
        "test_killed": ["passed"],
        "test_expected": ["passed"],
        "test_marked": ["passed"],
        "test_xfail": ["xfail"],
        "test_fails_itself": ["failed"],
        "test_fixture": ["error"],
        "test_callback": ["failed"],
    }
    joined = found.part("test_joined")
    assert "in fails" in joined
    assert "ValueError: it fails" in joined
    assert "nothing caught it" in joined
    assert "_pytest.py" not in joined  # only the frames of the greenlet
    assert "ValueError: also" in found.part("test_fails_itself")


def test_errors_that_come_late(tests):
    found = tests(
        """
        import gevlite, pytest

        def fails(text="it fails"):
            raise ValueError(text)

        def test_not_begun():
            gevlite.spawn(fails)

        def test_later(request):
            job = gevlite.Greenlet(fails)
            request.addfinalizer(lambda: job.start_later(0.1))

        @pytest.fixture
        def fixture():
            yield
            gevlite.spawn(fails)

        def test_fixture(fixture):
            pass

        def test_while_it_is_ended():
            def handle():
                try:
                    gevlite.sleep(60)
                finally:
                    fails("in the finally")

            gevlite.spawn(handle)
            gevlite.idle()

        def test_good():
            pass
        """,
        code=1,
        env={"GEVLITE_TIME_SLICE": ""},  # with slices, what has not begun may fail after the test
    )
    assert found.outcomes == {
        "test_not_begun": ["failed"],
        "test_later": ["passed", "error"],
        "test_fixture": ["passed", "error"],
        "test_while_it_is_ended": ["passed", "error"],
        "test_good": ["passed"],
    }
    assert "ValueError: it fails" in found.part("test_later")
    ended = found.part("test_while_it_is_ended")
    assert "has left behind" in ended and "ValueError: in the finally" in ended


LATE = """
    import gevlite, pytest
    from gevlite.event import Event

    def fails():
        raise ValueError("it fails")

    def test_later(request):
        job = gevlite.Greenlet(fails)
        request.addfinalizer(lambda: job.start_later(0.01))

    @pytest.fixture
    def fixture():
        yield
        gevlite.spawn(fails)

    def test_fixture(fixture):
        pass

    over = Event()

    def waits_and_fails():
        over.wait()
        fails()

    def test_leaves():
        gevlite.spawn(waits_and_fails)

    def test_good():
        pass

    def test_ends_it():
        over.set()
        gevlite.idle()
"""


@pytest.mark.parametrize("how", ["the marker", "the ini file"])
def test_late_errors_of_what_may_stay(tests, how):
    source, ini = LATE, "gevlite_left = descriptors"
    if how == "the marker":
        source, ini = textwrap.dedent(LATE) + "\npytestmark = pytest.mark.gevlite(left=False)", ""
    found = tests(source, ini=ini, code=1)
    assert found.outcomes == {
        "test_later": ["passed", "error"],
        "test_fixture": ["passed", "error"],
        "test_leaves": ["passed"],
        "test_good": ["passed"],
        "test_ends_it": ["failed"],
    }
    assert "ValueError: it fails" in found.part("test_later")
    assert "An earlier test has left it behind: test_it.py::test_leaves" in found.part("test_ends_it")


def test_a_late_error_of_what_a_fixture_began_is_nobodys_leftover(tests):
    found = tests(
        """
        import gevlite, pytest
        from gevlite.event import Event

        over = Event()

        def serves():
            over.wait()
            raise ValueError("it fails")

        @pytest.fixture(scope="module")
        def server():
            greenlet = gevlite.spawn(serves)
            yield greenlet
            greenlet.kill()

        def test_first(server):
            pass

        def test_second(server):
            over.set()
            gevlite.idle()
        """,
        code=1,
    )
    assert found.outcomes["test_first"] == ["passed"] and found.outcomes["test_second"][0] == "failed", found.outcomes
    assert "ValueError: it fails" in found.part("test_second")
    assert "left it behind" not in found.part("test_second")


def test_exits_of_greenlets(tests):
    found = tests(
        """
        import gevlite, sys

        def test_exit():
            gevlite.spawn(sys.exit, 3).join()

        def test_good():
            pass

        def test_interrupt():
            def interrupt():
                raise KeyboardInterrupt

            gevlite.spawn(interrupt).join()

        def test_not_run():
            pass
        """,
        code=2,
    )
    assert found.outcomes == {"test_exit": ["failed"], "test_good": ["passed"]}
    assert "SystemExit: 3" in found.part("test_exit")
    assert "! KeyboardInterrupt !" in found.text


def test_a_greenlet_that_cannot_be_ended(tests):
    found = tests(
        """
        import gevlite

        def stays():
            while True:
                try:
                    gevlite.sleep(60)
                except gevlite.GreenletExit:
                    pass

        def test_stays():
            gevlite.spawn(stays)

        def test_good():
            pass
        """,
        code=1,
    )
    assert found.outcomes == {"test_stays": ["passed", "error"], "test_good": ["passed"]}
    assert re.search(r"greenlet stays .*: could not be ended$", found.part("test_stays"), re.M)


HANGS = """
    import gevlite, pytest
    from gevlite.event import Event

    never = Event()

    def other():
        gevlite.sleep(60)

    def test_waits():
        with gevlite.Timeout(60):
            jobs = [gevlite.spawn(other)]
            never.wait()

    def test_computes():
        while True:
            pass

    def test_waits_for_what_computes():
        def computes():
            while True:
                pass
        gevlite.spawn(computes).join()

    @pytest.mark.gevlite(timeout=100)
    @pytest.mark.timeout(100)
    def test_is_quick():
        gevlite.sleep(0)
"""


@pytest.mark.parametrize("by", ["gevlite", "pytest-timeout", "pytest-timeout thread"])
def test_one_that_hangs_is_reported_with_what_its_greenlets_do(tests, by):
    options = {"gevlite": "--gevlite-timeout=1.5", "pytest-timeout": "--timeout=1.5"}.get(by, "--timeout=1.5")
    more = ["--timeout-method=thread"] if by.endswith("thread") else []
    found = tests(HANGS, options, *more, plugins=["pytest_timeout"], code=1)
    assert {name: outcomes[0] for name, outcomes in found.outcomes.items()} == {
        "test_waits": "failed",
        "test_computes": "failed",
        "test_waits_for_what_computes": "failed",
        "test_is_quick": "passed",
    }
    waits = found.part("test_waits")
    assert "Timeout (>1.5s)" in waits
    assert "never.wait()" in waits
    assert re.search(r"other test_it.py:\d+ sleeps", waits), waits
    assert re.search(r"in test_waits waits for Event", waits), waits
    assert "test_it.py" in found.part("test_computes")


def test_time_limits_of_ini_and_marker(tests):
    found = tests(
        """
        import gevlite, pytest

        def test_ini():
            gevlite.sleep(60)

        @pytest.mark.gevlite(timeout=0.5)
        def test_marker():
            gevlite.sleep(60)
        """,
        ini="gevlite_timeout = 1",
        code=1,
    )
    assert "Timeout (>1s)" in found.part("test_ini")
    assert "Timeout (>0.5s)" in found.part("test_marker")


@pytest.mark.parametrize("value", ["soon", "-1", "inf"])
def test_wrong_time_limits_end_the_run_before_it_begins(tests, value):
    for options in ({"ini": f"gevlite_timeout = {value}"}, {"ini": f"addopts = --gevlite-timeout={value}"}):
        found = tests("def test_it(): pass", code=4, **options)
        assert f"a time limit is a number of seconds, 0 for none, not '{value}'" in found.text


@pytest.mark.parametrize("value", ["-1", "x"])
def test_a_wrong_seed(tests, value):
    assert "a seed is a whole number" in tests("def test_it(): pass", f"--gevlite-shuffle={value}", code=4).text


def test_a_wrong_marker_fails_its_test(tests):
    found = tests(
        """
        import gevlite, pytest

        mark = pytest.mark.gevlite

        @mark(5)
        def test_by_place():
            pass

        @mark(time_limit=5)
        def test_name():
            pass

        @mark(left="no")
        def test_left():
            pass

        @mark(errors=0)
        def test_errors():
            pass

        times = [-5, float("nan"), float("inf"), 1e300, 10**400, "x", "", True, []]

        @pytest.mark.parametrize(
            "number", [pytest.param(n, marks=mark(timeout=one), id=str(n)) for n, one in enumerate(times)]
        )
        def test_time(number):
            pass

        @mark(timeout=None)
        def test_none():
            gevlite.sleep(0.01)

        @mark(timeout=0.001, errors=False)
        @mark(timeout=0, left=False)
        def test_good():
            gevlite.sleep(0.1)
        """,
        code=1,
    )
    wrong = ["by_place", "name", "left", "errors"]
    wrong += [f"time[{number}]" for number in range(9)]
    assert found.outcomes == {
        **{f"test_{name}": ["error"] for name in wrong},
        "test_none": ["passed"],
        "test_good": ["passed"],
    }, found.text
    for name, text in {
        "by_place": "takes its arguments by name, timeout=5 for instance, not 5",
        "name": "has no argument 'time_limit', only timeout, left and errors",
        "left": "(left='no'): it is True or False",
        "errors": "(errors=0): it is True or False",
        "time[0]": "(timeout=-5): a time limit is a number of seconds",
        "time[8]": "(timeout=[]): a time limit is a number of seconds",
    }.items():
        assert text in found.part(f"test_{name}"), name


def test_a_deadlock_fails_at_once(tests):
    found = tests(
        """
        from gevlite.event import Event
        def test_it():
            Event().wait()
        """,
        code=1,
    )
    part = found.part("test_it")
    assert "LoopExit" in part
    assert "Event().wait()" in part


# ---------------------------------------------------------------- as without it


def test_fixtures_of_wider_scopes(tests):
    tests(
        """
        import contextvars, socket, threading, urllib.request
        import gevlite, pytest
        from gevlite.pywsgi import WSGIServer

        variable = contextvars.ContextVar("variable")
        local = threading.local()

        def application(environ, start_response):
            start_response("200 OK", [])
            return [b"hello"]

        @pytest.fixture(scope="module")
        def server():
            server = WSGIServer(("127.0.0.1", 0), application, log=None)
            server.start()
            timer = gevlite.get_hub().call_later(60, print)
            token = variable.set("of the module")
            local.value = lock = threading.RLock()
            lock.acquire()
            yield server
            lock.release()
            variable.reset(token)
            timer.stop()
            server.stop()

        @pytest.fixture(scope="class")
        def connection(server):
            sock = socket.create_connection(server.address)
            yield sock
            sock.close()

        class TestServer:
            @pytest.mark.parametrize("number", [1, 2])
            def test_it(self, server, connection, number):
                assert variable.get() == "of the module"
                connection.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                assert b"200" in connection.recv(1000)
                with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}") as answer:
                    assert answer.read() == b"hello"

            kept = []

            def test_pool(self, server):
                self.kept.append(socket.create_connection(server.address))

        def test_last(server):
            assert variable.get() == "of the module"
            local.value.acquire()
            local.value.release()
        """,
        code=0,
    )


def test_what_a_fixture_of_a_wider_scope_leaves_behind(tests):
    found = tests(
        """
        import gevlite, pytest, socket

        kept = []

        @pytest.fixture(scope="module")
        def messy():
            kept.append(socket.create_server(("127.0.0.1", 0)))
            gevlite.spawn(gevlite.sleep, 60)
            yield

        def test_one(messy):
            pass

        def test_two(messy):
            pass
        """,
        code=1,
    )
    assert found.outcomes == {"test_one": ["passed"], "test_two": ["passed", "error"]}
    part = found.part("test_two")
    assert "greenlet" in part
    assert "descriptor" in part


def test_unittest_skips_and_expected_failures(tests):
    found = tests(
        """
        import unittest, time
        import pytest, gevlite

        class Case(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.job = gevlite.spawn(gevlite.sleep, 60)

            @classmethod
            def tearDownClass(cls):
                cls.job.kill()

            def setUp(self):
                self.inner = gevlite.spawn(gevlite.sleep, 60)
                self.addCleanup(self.inner.kill)

            def test_good(self):
                time.sleep(0)

            def test_bad(self):
                self.fail("it is bad")

            def test_skipped(self):
                self.skipTest("not here")

            @unittest.expectedFailure
            def test_expected(self):
                self.fail()

        class Async(unittest.IsolatedAsyncioTestCase):
            async def test_async(self):
                import asyncio
                await asyncio.sleep(0)

        def test_skip():
            pytest.skip("not here")

        @pytest.mark.xfail
        def test_xfail():
            assert 0

        def test_output():
            print("seen")
            assert 0
        """,
        code=1,
    )
    assert found.outcomes == {
        "Case::test_good": ["passed"],
        "Case::test_bad": ["failed"],
        "Case::test_expected": ["xfail"],
        "Async::test_async": ["passed"],
        "test_xfail": ["xfail"],
        "test_output": ["failed"],
    }
    assert "2 skipped" in found.text
    assert "Captured stdout call" in found.part("test_output")


def test_a_run_ends_with_the_first_failure(tests):
    found = tests("def test_one(): assert 0\ndef test_two(): pass", "-x", code=1)
    assert found.outcomes == {"test_one": ["failed"]}
    found = tests("import pytest\ndef test_one(): pytest.exit('enough', 7)\ndef test_two(): pass", code=7)
    assert "enough" in found.text


@pytest.mark.parametrize("what", ["waits", "computes"])
def test_an_interrupt_ends_the_run(tests, tmp_path, what):
    code = "gevlite.sleep(60)" if what == "waits" else "while True: pass"
    (tmp_path / "test_it.py").write_text(
        f"import gevlite\ndef test_one():\n    print('begun', flush=True)\n    {code}\ndef test_two(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "gevlite", "-p", "no:cacheprovider", "-s"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            while "begun" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            text, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert "KeyboardInterrupt" in text
    assert process.returncode == 2


def test_the_debugger(tests, tmp_path):
    (tmp_path / "test_it.py").write_text("import gevlite\ndef test_one():\n    value = 40\n    assert value == 41\n")
    controller, terminal = pty.openpty()
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "gevlite",
        "-p",
        "no:cacheprovider",
        "--pdb",
        "--gevlite-timeout=100",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdin=terminal, stdout=terminal, stderr=terminal, env=env) as process:
        os.close(terminal)
        try:
            seen, sent = b"", False
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    data = os.read(controller, 10000)
                except OSError:
                    break  # the other side has ended
                seen += data
                if not sent and b"(Pdb)" in seen:
                    os.write(controller, b"p value + 2\nc\n")
                    sent = True
            process.wait(timeout=60)
        finally:
            process.kill()
            os.close(controller)
    assert b"42" in seen, seen
    assert b"1 failed" in seen


# ---------------------------------------------------------------- with other plug-ins


def test_xdist(tests):
    pytest.importorskip("xdist")
    found = tests(
        """
        import os, time
        import gevlite, pytest
        from gevlite import monkey

        @pytest.mark.parametrize("number", range(4))
        def test_it(number):
            assert monkey.is_module_patched("time")
            assert "PYTEST_XDIST_WORKER" in os.environ
            time.sleep(0.01)

        def test_leaks():
            gevlite.spawn(gevlite.sleep, 60)

        @pytest.mark.gevlite(timeout=0.5)
        def test_hangs():
            gevlite.sleep(60)

        def test_error():
            gevlite.spawn(int, "three").join()
        """,
        "-n2",
        plugins=None,
        code=1,
    )
    assert found.outcomes["test_leaks"] == ["passed", "error"]
    assert found.outcomes["test_hangs"] == ["failed"]
    assert found.outcomes["test_error"] == ["failed"]
    assert all(found.outcomes[f"test_it[{number}]"] == ["passed"] for number in range(4))
    assert "Timeout (>0.5s)" in found.text
    assert "sleeps" in found.part("test_hangs")


def test_asyncio(tests):
    pytest.importorskip("pytest_asyncio")
    found = tests(
        """
        import asyncio, pytest, gevlite, gevlite.asyncio
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def started():
            task = asyncio.ensure_future(asyncio.sleep(60))
            yield task
            task.cancel()

        @pytest_asyncio.fixture(scope="module", loop_scope="module")
        async def number():
            await asyncio.sleep(0)
            yield 7

        @pytest.mark.asyncio
        async def test_one(started):
            await asyncio.sleep(0)
            assert not started.done()

        @pytest.mark.asyncio(loop_scope="module")
        async def test_two(number):
            await asyncio.sleep(0)
            assert number == 7

        @pytest.mark.asyncio
        async def test_leak():
            gevlite.spawn(gevlite.sleep, 60)

        @pytest.mark.gevlite(timeout=0.5)
        @pytest.mark.asyncio
        async def test_hang():
            await asyncio.sleep(60)
        """,
        plugins=["asyncio"],
        ini="asyncio_default_fixture_loop_scope = function",
    )
    assert found.outcomes == {
        "test_one": ["passed"],
        "test_two": ["passed"],
        "test_leak": ["passed", "error"],
        "test_hang": ["failed"],
    }, found.text
    assert "Timeout (>0.5s)" in found.text


def test_coverage(tests):
    pytest.importorskip("pytest_cov")
    found = tests(
        """
        import gevlite, gevlite.pool
        import code_under_test

        def test_it():
            assert code_under_test.both() == [1, 2]
        """,
        *("--cov=code_under_test", "--cov-report=term-missing"),
        plugins=["pytest_cov"],
        files={
            "code_under_test.py": """
                import gevlite

                def one():
                    gevlite.sleep(0.001)
                    return 1

                def two():
                    gevlite.sleep(0)
                    return 2

                def never():
                    return 3

                def both():
                    jobs = [gevlite.spawn(one), gevlite.spawn(two)]
                    gevlite.joinall(jobs)
                    return [job.get() for job in jobs]
            """,
            ".coveragerc": "[run]\nconcurrency = thread, greenlet\n",
        },
        code=0,
    )
    row = next(line for line in found.text.splitlines() if line.startswith("code_under_test.py"))
    assert row.split()[1:3] == ["13", "1"], found.text


def test_pytest_in_a_test(tests):
    """pytester runs pytest in the process of the test."""
    tests(
        """
        pytest_plugins = ["pytester"]

        def test_it(pytester):
            pytester.makepyfile(test_inner="import gevlite\\ndef test_inner(): gevlite.sleep(0)")
            pytester.runpytest_inprocess("-p", "gevlite", "-p", "no:cacheprovider").assert_outcomes(passed=1)
        """,
        code=0,
    )


# ---------------------------------------------------------------- fixtures


def test_the_fixture_of_faults(tests):
    tests(
        """
        import socket
        import pytest

        def test_with(gevlite_faults):
            fault = gevlite_faults.sockets(4711, refuse=True)
            gevlite_faults.resolver("db", error=True)
            gevlite_faults.spawn(0.001)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", 4711))
            with pytest.raises(socket.gaierror):
                socket.create_connection(("db", 1))
            assert [hit.what for hit in fault.hits] == ["refuse"]

        def test_afterwards():
            from gevlite.testing import faults
            assert faults._begun == []
        """,
        code=0,
    )


# ---------------------------------------------------------------- the order of switches

ORDER = """
    import gevlite, pytest

    def test_order():
        order = []
        gevlite.joinall([gevlite.spawn(order.append, number) for number in range(8)])
        print("ORDER", order)
        assert order == list(range(8))

    @pytest.mark.parametrize("number", range(8))  # one order in six is the usual one
    def test_again(number):
        test_order()
"""


def test_shuffled(tests):
    assert tests(ORDER, code=0).outcomes["test_order"] == ["passed"]
    found = tests(ORDER, "--gevlite-shuffle", code=1)
    (seed,) = {*re.findall(r"--gevlite-shuffle=(\d+)", found.text)}
    orders = re.findall(r"^ORDER (.*)", found.text, re.M)
    again = tests(ORDER, f"--gevlite-shuffle={seed}", code=1)
    assert f"gevlite: patched, --gevlite-shuffle={seed}" in again.text
    assert re.findall(r"^ORDER (.*)", again.text, re.M) == orders
    alone = tests(ORDER, f"--gevlite-shuffle={seed}", "-k", "test_again")
    assert set(re.findall(r"^ORDER (.*)", alone.text, re.M)) <= set(orders)
    assert f"shuffled({seed})" not in found.text  # each test has its own


def test_shuffled_with_tests_that_are_shuffled_already(tests):
    tests(
        """
        import gevlite, pytest
        from gevlite.testing import explore, shuffled
        from gevlite.testing._shuffle import active

        @shuffled(3)
        def test_decorated():
            gevlite.sleep(0)

        def test_block():
            (outer,) = active.values()
            with shuffled(3) as block:
                gevlite.joinall([gevlite.spawn(gevlite.sleep, 0) for _ in range(8)])
                assert outer not in active.values() and block.steps
                with pytest.raises(RuntimeError, match="already"), shuffled(4):
                    pass
                explore(gevlite.idle, seeds=3)
            assert list(active.values()) == [outer]
            before = outer.steps
            gevlite.sleep(0)
            assert outer.steps > before

        def test_block_in_a_greenlet():
            gevlite.spawn(test_block).get()

        def test_nothing_stays():
            assert len(active) == 1
        """,
        "--gevlite-shuffle=1",
        code=0,
    )


def test_the_fixture_of_time(tests):
    found = tests(
        """
        import time
        import gevlite, pytest

        def test_hours(gevlite_clock):
            before = time.monotonic()
            time.sleep(3600)
            gevlite.spawn(gevlite.sleep, 3600).join()
            assert time.monotonic() - before >= 7200
            assert gevlite_clock.elapsed >= 7200

        def test_leak(gevlite_clock):
            gevlite.spawn(gevlite.sleep, 60)

        @pytest.mark.gevlite(timeout=2)
        def test_hang(gevlite_clock):
            while True:
                gevlite.sleep(60)
        """,
        code=1,
    )
    assert found.outcomes == {"test_hours": ["passed"], "test_leak": ["passed", "error"], "test_hang": ["failed"]}
    assert "Timeout (>2s)" in found.part("test_hang")
