"""GEVLITE_BACKEND and Hub(backend=...): which backend a hub gets, and what a wrong one is told."""

import os
import resource

import pytest

from gevlite import backends
from gevlite._core import Backend
from gevlite.backends import BackendError

NAMES = [name for name, problem in backends.available().items() if problem is None]


@pytest.mark.parametrize("name", NAMES)
def test_by_name(name, run_script):
    run_script(
        f"""
        import gevlite
        hub = gevlite.get_hub()
        assert hub.backend.name == {name!r}, hub.backend.name
        assert "GEVLITE_BACKEND" in hub.backend_reason
        gevlite.sleep(0.001)
        """,
        env={"GEVLITE_BACKEND": name},
    )


def test_without_a_wish_the_best_is_taken(run_script):
    run_script(f"import gevlite; assert gevlite.get_hub().backend.name == {NAMES[0]!r}", env={"GEVLITE_BACKEND": ""})


@pytest.mark.parametrize("wish", ["nonsense,select", " nonsense , select ,epoll", "os:getpid,select", "select"])
def test_the_first_usable_of_a_preference_list(wish, run_script):
    run_script("import gevlite; assert gevlite.get_hub().backend.name == 'select'", env={"GEVLITE_BACKEND": wish})


@pytest.mark.parametrize(
    "wish", ["nonsense", "nonsense,rubbish", ",", "os:getpid", "os:nothing", "no_such_module:X", ":", ".os:X", "os:"]
)
def test_an_unknown_one_is_a_backend_error_that_lists_what_is_usable(wish, run_script):
    run_script(
        """
        import gevlite
        from gevlite.backends import BackendError
        for call in (gevlite.get_hub, lambda: gevlite.sleep(0), lambda: gevlite.spawn(print)):
            try:
                call()
            except BackendError as exc:
                assert "usable here" in str(exc) and "select" in str(exc), exc
            else:
                raise AssertionError
        """,
        env={"GEVLITE_BACKEND": wish},
    )


def test_module_and_class(run_script, tmp_path):
    source = "from gevlite.backends.select import SelectBackend\nclass Mine(SelectBackend): pass\n"
    (tmp_path / "mine.py").write_text(source)
    run_script(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        import gevlite
        assert type(gevlite.get_hub().backend).__name__ == "Mine"
        gevlite.sleep(0.001)
        """,
        str(tmp_path),
        env={"GEVLITE_BACKEND": "mine:Mine"},
    )


def test_given_to_the_hub(run_script):
    run_script("""
        import gevlite
        from gevlite.hub import Hub, get_hub
        from gevlite.backends import select
        for wish in ("select", select.SelectBackend, select.SelectBackend()):
            hub = Hub(backend=wish)
            assert get_hub() is hub and hub.backend.name == "select"
            gevlite.sleep(0.001)
            hub.destroy()
        for bad in (5, object()):
            try:
                Hub(backend=bad)
            except TypeError:
                pass
            else:
                raise AssertionError
        gevlite.sleep(0)
    """)


def test_choose_says_why():
    backend, reason = backends.choose(NAMES[0])
    assert backend.name == NAMES[0] and "Hub" in reason
    backend.close()


def test_names_and_available_agree():
    assert list(backends.available()) == backends.names()
    assert set(NAMES) <= set(backends.names())


def test_a_class_that_cannot_start_is_told_with_its_reason():
    class Broken(Backend):
        def __init__(self):
            raise OSError("no such device")

    with pytest.raises(BackendError, match="no such device"):
        backends.choose(Broken)


# ---------------------------------------------------------------- plug-ins that misbehave

PLUG_IN = """
import sys, os, time, gevlite
from gevlite.hub import Hub
from gevlite.backends import Backend
from gevlite.event import Event

class Mine(Backend):
    {method}

hub = Hub(backend=Mine())
try:
    {use}
except {error} as exc:
    assert {text!r} in str(exc), exc
else:
    raise AssertionError("no error")
"""


@pytest.mark.parametrize(
    "method, use, error, text",
    [
        ("pass", "gevlite.sleep(0.001)", "NotImplementedError", "Mine.poll"),
        ("pass", "hub.wait_fd(0, 1)", "NotImplementedError", "Mine.arm"),
        ("def poll(self, timeout_ns): raise OSError('broken poll')", "gevlite.sleep(1)", "OSError", "broken poll"),
        ("def poll(self, timeout_ns): self.report(-1, 1)", "gevlite.sleep(1)", "ValueError", "reported fd -1"),
        ("def poll(self, timeout_ns): self.report('x', 1)", "gevlite.sleep(1)", "TypeError", ""),
        ("def arm(self, fd, events): raise KeyError('broken arm')", "hub.wait_fd(0, 1)", "KeyError", "broken arm"),
    ],
)
def test_a_plug_in_that_misbehaves_is_told_to_the_main_greenlet(run_script, method, use, error, text):
    run_script(PLUG_IN.format(method=method, use=use, error=error, text=text))


def test_a_plug_in_that_reports_descriptors_nobody_asked_for_does_no_harm(run_script):
    run_script("""
        import gevlite
        from gevlite.hub import Hub
        from gevlite.backends import Backend
        class Mine(Backend):
            def poll(self, timeout_ns):
                for fd in (0, 5, 63, 64, 1000, 2**31 - 1):
                    self.report(fd, 2**31 - 1)
        Hub(backend=Mine())
        gevlite.sleep(0.005)
    """)


# ---------------------------------------------------------------- the limit of select


def test_select_refuses_numbers_it_has_no_room_for_and_names_the_others():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip(f"the hard limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    backend = backends.choose("select")[0]
    r, w = os.pipe()
    high = os.dup2(r, 1500)
    try:
        with pytest.raises(ValueError) as caught:
            backend.arm(high, 1)
        assert "1500" in str(caught.value) and "epoll" in str(caught.value)
        backend.drop(high)
        backend.arm(r, 1)
        os.write(w, b"x")
        backend.poll(0)
        assert backend.take_reported() == [(r, 1)]
    finally:
        for fd in (r, w, high):
            os.close(fd)
        backend.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_hub_passes_that_error_on_and_keeps_nothing(run_script):
    run_script(
        """
        import os, resource, gevlite
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
        r, w = os.pipe()
        high = os.dup2(r, 1500)
        hub = gevlite.get_hub()
        try:
            hub.wait_fd(high, 1)
        except ValueError as exc:
            assert "epoll" in str(exc)
        else:
            raise AssertionError
        assert hub.stats()["fds"] == hub.stats()["fd_waiters"] == 0
        os.write(w, b"x")
        assert hub.wait_fd(r, 1, 30) == 1
        """,
        env={"GEVLITE_BACKEND": "select"},
    )
