"""gevlite.config: each setting's value, its source, its effect, and that the documentation has it."""

import dataclasses
import re
from pathlib import Path

import pytest

import gevlite
from gevlite._config import Config, as_text
from gevlite.pywsgi import Limits

ROOT = Path(__file__).parents[1]
NAMES = list(gevlite.config.settings)

# For each setting: valid texts with their meanings, values that a program can assign, and invalid ones.
GOOD_TEXTS = {
    "backend": {"epoll": ("epoll",), " a , b:C ": ("a", "b:C")},
    "resolver": {"thread": ("thread",), "ares, thread": ("ares", "thread")},
    "threadpool_size": {"1": 1, " 250 ": 250},
    "threadpool_idle_task_timeout": {"0.5": 0.5, "-1": -1.0, "inf": float("inf")},
    "stack_cache": {"0": 0, "4096": 4096},
    "monkey_strict": {"1": True, "no": False, "TRUE": True},
    "monkey_drivers": {"1": True, "no": False, "TRUE": True},
    "monitor_thread": {"on": True, "0": False},
    "max_blocking_time": {"0.5": 0.5, " 2 ": 2.0, "0": None},
    "print_blocking_reports": {"yes": True, "off": False},
    "memory_monitor_period": {"10": 10.0, "0.5": 0.5, "0.0": None},
    "max_memory_usage": {"1000": 1000, "2kb": 2048, "3MB": 3 * 1024**2, "1 gb": 1024**3},
    "fork_keeps": {"none": "none", " all ": "all"},
    "inspect": {"1": True, "no": False},
    "dump_signal": {"TERM": 15, " sigint ": 2, "1": 1},
    "dump_file": {"dump.txt": "dump.txt", " /tmp/x ": "/tmp/x"},
    "watch": {"0": 0.0, "0.5": 0.5, " 2 ": 2.0, "": 0.0},
    "time_slice": {"0": 0.0, "0.01": 0.01, " 1 ": 1.0, "": 0.0},
    "time_slice_signal": {"URG": 23, " sigusr1 ": 10, "12": 12},
}
GOOD_VALUES = {
    "backend": [("select", ("select",)), (["x", "select"], ("x", "select")), (None, None)],
    "resolver": [("thread", ("thread",)), (["ares", "thread"], ("ares", "thread")), (dict, dict)],
    "threadpool_size": [(3, 3), ("3", 3)],
    "threadpool_idle_task_timeout": [(1, 1.0), (0.25, 0.25), (-1, -1.0), ("2", 2.0)],
    "stack_cache": [(0, 0), (7, 7), ("7", 7)],
    "monkey_strict": [(True, True), (False, False), ("on", True)],
    "monkey_drivers": [(True, True), (False, False), ("on", True)],
    "monitor_thread": [(True, True), (None, False)],
    "max_blocking_time": [(0.25, 0.25), (1, 1.0), (None, None), (0, None)],
    "print_blocking_reports": [(False, False), ("1", True)],
    "memory_monitor_period": [(3, 3.0), ("4", 4.0), (None, None), (0, None)],
    "max_memory_usage": [(5000, 5000), ("1kb", 1024), (None, None)],
    "fork_keeps": [("none", "none"), ("main", "main"), ("all", "all")],
    "inspect": [(True, True), ("0", False)],
    "dump_signal": [(1, 1), ("TERM", 15), (None, None)],
    "dump_file": [("x", "x"), (Path("/tmp/x"), "/tmp/x"), (None, None)],
    "watch": [(0, 0.0), (0.01, 0.01), (3, 3.0), ("4", 4.0), (None, 0.0), (False, 0.0)],
    "time_slice": [(0, 0.0), (0.001, 0.001), (3, 3.0), ("4", 4.0), (None, 0.0), (False, 0.0)],
    "time_slice_signal": [(23, 23), ("USR1", 10), (None, None)],
}
BAD_TEXTS = {
    "backend": [","],
    "resolver": [",", " , "],
    "threadpool_size": ["0", "-1", "many", "1.5"],
    "threadpool_idle_task_timeout": ["0", "-2", "nan", "soon"],
    "stack_cache": ["-1", "many", "1.5"],
    "monkey_strict": ["2", "perhaps"],
    "monkey_drivers": ["2", "perhaps"],
    "monitor_thread": ["2", "-1"],
    "max_blocking_time": ["-1", "nan", "soon"],
    "print_blocking_reports": ["2", "never"],
    "memory_monitor_period": ["-5", "nan", "often"],
    "max_memory_usage": ["0", "-1", "1.5", "10tb", "kb", "much"],
    "fork_keeps": ["some", "None", "1"],
    "inspect": ["2", "perhaps"],
    "dump_signal": ["0", "65", "-1", "DFL", "USR", "_DFL", "1.5"],
    "dump_file": ["/tmp/"],
    "watch": ["-1", "0.001", "nan", "inf", "soon"],
    "time_slice": ["-1", "0.0001", "nan", "inf", "soon"],
    "time_slice_signal": ["0", "65", "-1", "DFL", "USR", "1.5"],
}
BAD_VALUES = {
    "backend": [5, [5], "", [], b"select"],
    "resolver": [None, 5, [5], "", [], b"thread"],
    "threadpool_size": [0, -1, 1.5, None, "many", True, [1]],
    "threadpool_idle_task_timeout": [0, -2, float("nan"), None, "soon", [1]],
    "stack_cache": [-1, 1.5, None, "many", True],
    "monkey_strict": ["perhaps", ""],
    "monkey_drivers": ["perhaps", ""],
    "monitor_thread": ["perhaps", ""],
    "max_blocking_time": [False, -1, float("nan"), "soon", [1]],
    "print_blocking_reports": ["perhaps", ""],
    "memory_monitor_period": [False, -1, float("nan"), "often", [1]],
    "max_memory_usage": [0, -1, 1.5, "much", True, [1]],
    "fork_keeps": ["some", "", None, 0, True, ["all"]],
    "inspect": ["perhaps", ""],
    "dump_signal": ["", "USR3", 0, 1000, True, 1.5, [10]],
    "dump_file": ["", "/tmp/", 5, b"/tmp/x", ["x"]],
    "watch": [-1, 0.001, float("nan"), float("inf"), "", "soon", True, [1]],
    "time_slice": [-1, 0.0001, float("nan"), float("inf"), "", "soon", True, [1]],
    "time_slice_signal": ["", "USR3", 0, 1000, True, 1.5, [10]],
}


def pairs(table):
    return [(name, value) for name, values in table.items() for value in values]


@pytest.fixture
def config(monkeypatch):
    """A configuration of its own, in an environment without our variables; assigning has no effect beyond it."""
    for setting in gevlite.config.settings.values():
        monkeypatch.delenv(setting.variable, raising=False)
        monkeypatch.setattr(setting, "assigned", None)
    return Config()


def test_every_setting_is_tested_here():
    for table in (GOOD_TEXTS, GOOD_VALUES, BAD_TEXTS, BAD_VALUES):
        assert list(table) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_default_is_what_its_own_check_makes_of_it(name, config):
    setting = config.settings[name]
    assert getattr(config, name) == setting.default == setting.check(setting.default)
    assert setting.source(config) == "default"


@pytest.mark.parametrize(("name", "text"), pairs(GOOD_TEXTS))
def test_the_environment_gives_a_value(name, text, config, monkeypatch):
    setting = config.settings[name]
    monkeypatch.setenv(setting.variable, text)
    assert getattr(config, name) == GOOD_TEXTS[name][text]
    assert type(getattr(config, name)) is type(GOOD_TEXTS[name][text])
    assert setting.source(config) == f"GEVLITE_{name.upper()}={text.strip() or setting.empty}"
    monkeypatch.setenv(setting.variable, " ")
    assert getattr(config, name) == setting.default, "an empty variable counts as unset"


@pytest.mark.parametrize(("name", "pair"), pairs(GOOD_VALUES))
def test_an_assignment_comes_before_the_environment(name, pair, config, monkeypatch):
    value, expected = pair
    setting = config.settings[name]
    monkeypatch.setenv(setting.variable, BAD_TEXTS[name][0])
    setattr(config, name, value)
    assert getattr(config, name) == expected
    assert setting.source(config) == f"gevlite.config.{name}={as_text(expected)}"


@pytest.mark.parametrize(("name", "text"), pairs(BAD_TEXTS))
def test_nonsense_in_the_environment_is_a_value_error_where_it_is_read(name, text, config, monkeypatch):
    setting = config.settings[name]
    monkeypatch.setenv(setting.variable, text)
    with pytest.raises(ValueError) as caught:
        getattr(config, name)
    assert str(caught.value) == f"{setting.variable} must be {setting.must_be}, not {text.strip()!r}"
    for other in set(NAMES) - {name}:
        assert getattr(config, other) == config.settings[other].default


@pytest.mark.parametrize(("name", "value"), pairs(BAD_VALUES))
def test_nonsense_assigned_is_an_error_that_changes_nothing(name, value, config):
    setting = config.settings[name]
    before = GOOD_VALUES[name][0][0]
    setattr(config, name, before)
    with pytest.raises((TypeError, ValueError)) as caught:
        setattr(config, name, value)
    assert str(caught.value) == f"gevlite.config.{name} must be {setting.must_be}, not {value!r}"
    assert getattr(config, name) == GOOD_VALUES[name][0][1]


def test_there_are_no_other_settings(config):
    with pytest.raises(AttributeError, match="no setting 'threadpoolsize'; did you mean 'threadpool_size'?"):
        config.threadpoolsize = 5
    with pytest.raises(AttributeError, match="no setting 'polling'; there are backend, resolver, "):
        _ = config.polling
    with pytest.raises(AttributeError, match="no setting 'settings'"):
        config.settings = {}
    with pytest.raises(TypeError):
        config.settings["more"] = None
    assert getattr(config, "colour", None) is None and not hasattr(config, "colour")


def test_the_configuration_explains_itself(config):
    assert set(NAMES) < set(dir(config))
    assert all(name in repr(config) for name in NAMES)
    for name, setting in config.settings.items():
        assert getattr(Config, name) is setting
        assert setting.variable in repr(setting) and len(setting.__doc__) > 50


def test_gevlite_config_is_one_for_the_process():
    from gevlite import _config

    assert gevlite.config is _config.config
    assert "config" in gevlite.__all__


# ---------------------------------------------------------------- what they do


@pytest.mark.parametrize("by", ["environment", "assignment"])
def test_the_thread_pool_has_the_size_and_the_patience_that_are_set(by, run_script):
    assign = "gevlite.config.threadpool_size = 3\ngevlite.config.threadpool_idle_task_timeout = 0.01\n"
    env = {"GEVLITE_THREADPOOL_SIZE": "3", "GEVLITE_THREADPOOL_IDLE_TASK_TIMEOUT": "0.01"}
    run_script(
        "import gevlite, gevlite.threadpool\n"
        + (assign if by == "assignment" else "")
        + "pool = gevlite.get_hub().threadpool\n"
        + "assert pool.maxsize == 3\n"
        + "assert pool.apply(pow, (2, 3)) == 8\n"
        + "while pool.size:\n"
        + "    gevlite.sleep(0.001)\n",
        env=env if by == "environment" else {},
    )


def test_a_wrong_size_of_the_thread_pool_is_told_where_it_is_first_needed(run_script):
    result = run_script(
        "import gevlite.threadpool; gevlite.sleep(0); gevlite.get_hub().threadpool",
        env={"GEVLITE_THREADPOOL_SIZE": "x"},
        code=1,
    )
    assert "ValueError: GEVLITE_THREADPOOL_SIZE must be a positive number of threads, not 'x'" in result.stderr


def test_the_stack_cache_shrinks_and_grows_when_it_is_told_to(run_script):
    run_script(
        """
        import gevlite
        from gevlite._core import stack_cache_stats
        from gevlite.event import Event
        def work(n):
            event = Event()
            jobs = [gevlite.spawn(lambda: event.wait()) for _ in range(n)]
            gevlite.idle()      # all of them wait at the same time
            event.set()
            gevlite.joinall(jobs)
            return stack_cache_stats()
        assert work(50)["limit"] == 20 and 0 < work(50)["cached"] <= 20
        gevlite.config.stack_cache = 5
        assert stack_cache_stats()["cached"] <= 5 and work(50)["cached"] == 5
        gevlite.config.stack_cache = 0
        assert stack_cache_stats()["cached"] == work(50)["cached"] == 0
        assert not stack_cache_stats()["installed"]
        gevlite.config.stack_cache = 1000
        assert 300 < work(400)["cached"] <= 1000
        hits = stack_cache_stats()["hits"]
        assert work(400)["hits"] > hits + 300
        """,
        env={"GEVLITE_STACK_CACHE": "20"},
    )


def test_the_stack_cache_can_be_turned_on_later(run_script):
    run_script(
        """
        import gevlite
        from gevlite._core import stack_cache_stats
        from gevlite.event import Event
        def work():
            event = Event()
            jobs = [gevlite.spawn(lambda: event.wait()) for _ in range(50)]
            gevlite.idle()      # all of them wait at the same time
            event.set()
            gevlite.joinall(jobs)
        work()
        assert stack_cache_stats() == {"installed": False, "cached": 0, "limit": 0, "hits": 0, "misses": 0}
        gevlite.config.stack_cache = 30
        work()
        work()
        assert stack_cache_stats()["hits"] > 0 and stack_cache_stats()["cached"] > 20
        """,
        env={"GEVLITE_STACK_CACHE": "0"},
    )


def test_threads_and_greenlets_bear_a_stack_cache_that_changes_all_the_time(run_script):
    run_script("""
        import threading, gevlite
        over = []
        def deep(n):
            return deep(n - 1) if n else gevlite.sleep(0)
        def work():
            while not over:
                gevlite.joinall([gevlite.spawn(deep, n % 40) for n in range(60)])
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for n in range(1000):
            gevlite.config.stack_cache = n * 7919 % 200
            if not n % 20:
                gevlite.joinall([gevlite.spawn(deep, n % 40) for n in range(60)])
        over.append(True)
        for thread in threads:
            thread.join()
    """)


def test_a_wrong_stack_cache_in_the_environment_can_be_put_right(run_script):
    run_script(
        "import gevlite; gevlite.config.stack_cache = 5; gevlite.sleep(0)", env={"GEVLITE_STACK_CACHE": "nonsense"}
    )


def test_a_stack_cache_beyond_all_memory_is_refused_and_changes_nothing(run_script):
    run_script("""
        import gevlite
        from gevlite._core import stack_cache_stats
        for size, error in ((2**60, MemoryError), (2**64, OverflowError)):
            try:
                gevlite.config.stack_cache = size
            except error:
                assert gevlite.config.stack_cache == stack_cache_stats()["limit"] == 1024
            else:
                raise AssertionError
        gevlite.sleep(0)
    """)


# ---------------------------------------------------------------- one place, and its documentation


def test_no_other_module_reads_our_environment_variables():
    folders = (ROOT / "gevlite", ROOT / "backends")
    sources = [path for folder in folders for suffix in ("py", "pyx") for path in folder.rglob(f"*.{suffix}")]
    readers = [path for path in sources if re.search(r"environ\b.*GEVLITE_|getenv\(", path.read_text(encoding="utf-8"))]
    # (That file runs where gevlite may be missing, and the variable that it reads is not a setting.)
    assert [path.name for path in readers] == ["sitecustomize.py"]
    assert len(sources) > 40


def section(setting):
    """The text of docs/configuration.md about a setting, word for word."""
    default = "the best of the platform" if setting.name == "backend" else f"`{as_text(setting.default)}`"
    return f"### `{setting.name}` {setting.__doc__} Environment variable: `{setting.variable}`. Default: {default}."


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_says_what_the_setting_says(name):
    page = " ".join((ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").split())
    assert section(gevlite.config.settings[name]) in page


def test_the_documentation_knows_no_other_variables():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    settings = {setting.variable for setting in gevlite.config.settings.values()}
    # The variables of a web server.
    limits = {f"GEVLITE_{field.name.upper()}" for field in dataclasses.fields(Limits)}
    limits |= {"GEVLITE_STRICT", "GEVLITE_STATUS_PATH"}
    assert set(re.findall(r"GEVLITE_\w+", page)) == settings
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == NAMES
    for other in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        # (Not settings: the options of one resolver, which come from its library, and as_gevent's message to children.)
        named = set(re.findall(r"GEVLITE_(?!ARES_|AS_GEVENT)\w+", other.read_text(encoding="utf-8")))
        assert named <= settings | limits, other.name
