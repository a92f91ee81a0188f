"""GEVLITE_BACKEND, gevlite.config.backend and Hub(backend=...): the backend that a hub gets, and the errors.

test_plugins.py has the tests of third-party backends.
"""

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


@pytest.mark.parametrize(
    "wish",
    ["nonsense,select", " nonsense , select ,epoll", "os:getpid,select", "select", ",select,", "no.such:A,select"],
)
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
        for wish in ("select", "nonsense,select", ("nonsense", "select"), select.SelectBackend, select.SelectBackend()):
            hub = Hub(backend=wish)
            assert get_hub() is hub and hub.backend.name == "select"
            gevlite.sleep(0.001)
            hub.destroy()
            assert hub.backend_reason.startswith("Hub(backend="), hub.backend_reason
        for bad in (5, object(), 1.5, b"select"):
            try:
                Hub(backend=bad)
            except TypeError as exc:
                assert "a backend must be a name" in str(exc) and repr(bad) in str(exc), exc
            else:
                raise AssertionError
        for bad in ("nonsense", "", " , ", (), ["nonsense"], int):
            try:
                Hub(backend=bad)
            except gevlite.backends.BackendError as exc:
                assert gevlite._core.get_hub_if_exists() is None
                assert "usable here: " in str(exc), exc
            else:
                raise AssertionError
        gevlite.sleep(0)
    """)


def test_each_thread_may_have_another_one(run_script):
    run_script("""
        import threading, gevlite
        from gevlite.hub import Hub
        names = []
        def work(name):
            Hub(backend=name)
            gevlite.sleep(0.001)
            names.append(gevlite.get_hub().backend.name)
        for name in [name for name, problem in gevlite.backends.available().items() if problem is None]:
            thread = threading.Thread(target=work, args=(name,))
            thread.start()
            thread.join()
        assert len(set(names)) == len(names) >= 2
    """)


@pytest.mark.parametrize(
    "wish",
    [
        "'select'",
        "'nonsense, select'",
        "['nonsense', 'select']",
        "select.SelectBackend",
        "'gevlite.backends.select:SelectBackend'",
    ],
)
def test_the_configuration_decides_until_the_first_hub(wish, run_script):
    """It takes precedence over the environment, and Hub(backend=...) over it."""
    run_script(
        f"""
        import threading, gevlite
        from gevlite.backends import select
        from gevlite.hub import Hub
        gevlite.config.backend = {wish}
        hub = gevlite.get_hub()
        assert hub.backend.name == "select"
        assert hub.backend_reason.startswith("gevlite.config.backend="), hub.backend_reason
        try:
            gevlite.config.backend = {NAMES[0]!r}
        except RuntimeError as exc:
            assert "before the first hub" in str(exc)
        else:
            raise AssertionError
        hub.destroy()
        gevlite.config.backend = {NAMES[0]!r}       # the last hub is gone, the next will be the first
        hub = Hub(backend="select")
        assert hub.backend.name == "select" and hub.backend_reason == "Hub(backend=select)"
        hub.destroy()
        assert gevlite.get_hub().backend.name == {NAMES[0]!r}
        """,
        env={"GEVLITE_BACKEND": "nonsense"},
    )


def test_the_configuration_refuses_what_no_hub_could_use_and_stays_as_it_was(run_script):
    run_script(
        """
        import gevlite, os
        from gevlite.backends import BackendError
        from gevlite import backends
        backends.available()    # what a backend loads once is there
        open_before = len(os.listdir("/dev/fd"))
        def refused(bad, error, text):
            try:
                gevlite.config.backend = bad
            except error as exc:
                assert str(exc).startswith("gevlite.config.backend") and text in str(exc), exc
            else:
                raise AssertionError(bad)
        for bad in ("nonsense", "os:getpid", ["nonsense", "rubbish"], int):
            refused(bad, BackendError, "usable here: ")
        for bad in ([], ","):
            refused(bad, ValueError, " must be ")
        for bad in (5, [5], b"select"):
            refused(bad, TypeError, " must be ")
        assert gevlite.config.backend == ("select",)
        assert len(os.listdir("/dev/fd")) == open_before
        assert gevlite.get_hub().backend.name == "select"
        """,
        env={"GEVLITE_BACKEND": "select"},
    )


def test_none_in_the_configuration_is_the_best_of_the_platform(run_script):
    run_script(
        f"import gevlite\ngevlite.config.backend = None\nassert gevlite.get_hub().backend.name == {NAMES[0]!r}",
        env={"GEVLITE_BACKEND": "select"},
    )


def test_the_order_of_preference():
    """epoll and kqueue exist on different systems; select, which has a limit, comes last."""
    assert backends.names()[:4] == ["epoll", "kqueue", "poll", "select"]


def test_choose_says_why():
    backend, reason = backends.choose(NAMES[0])
    assert backend.name == NAMES[0] and "Hub" in reason
    backend.close()


def test_each_one_that_is_not_usable_says_why():
    problems = {name: problem for name, problem in backends.available().items() if problem is not None}
    for name, problem in problems.items():
        assert problem.startswith(name) and len(problem) > len(name) + 10
        with pytest.raises(BackendError) as caught:
            backends.choose(name)
        assert problem in str(caught.value)


def test_names_and_available_agree():
    assert list(backends.available()) == backends.names()
    assert set(NAMES) <= set(backends.names())


def test_a_class_that_cannot_start_is_told_with_its_reason():
    class Broken(Backend):
        def __init__(self):
            raise OSError("no such device")

    with pytest.raises(BackendError, match="no such device"):
        backends.choose(Broken)


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
