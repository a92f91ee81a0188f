"""Settings and variables that gevent has: they do what they do there, or say once that they have no effect."""

import warnings

import pytest

import gevlite
from gevlite._config import GEVENT_SETTINGS, Config

# A text for each setting of ours that is not simply a number.
OURS = {"resolver": "block", "backend": "epoll", "monitor_thread": "0", "print_blocking_reports": "1"}
MEANINGLESS = {name for name, setting in GEVENT_SETTINGS.items() if setting.note is not None}


@pytest.fixture
def config(monkeypatch):
    for setting in [*gevlite.config.settings.values(), *GEVENT_SETTINGS.values()]:
        monkeypatch.delenv(setting.variable, raising=False)
        if getattr(setting, "gevent", None):
            monkeypatch.delenv(setting.gevent, raising=False)
    return Config()


@pytest.mark.parametrize(
    ("variable", "name", "text", "value"),
    [
        ("GEVENT_RESOLVER", "resolver", "dnspython,thread", ("dnspython", "thread")),
        ("GEVENT_BACKEND", "backend", "select", ("select",)),
        ("GEVENT_BACKEND", "libev_backend", "linux_aio,poll", ("poll",)),
        ("GEVENT_THREADPOOL_IDLE_TASK_TIMEOUT", "threadpool_idle_task_timeout", "3", 3.0),
        ("GEVENT_MONITOR_THREAD_ENABLE", "monitor_thread", "true", True),
        ("GEVENT_MAX_BLOCKING_TIME", "max_blocking_time", "0.25", 0.25),
        ("GEVENT_MAX_BLOCKING_TIME", "max_blocking_time", "0", None),
        ("GEVENT_MONITOR_PRINT_BLOCKING_REPORTS", "print_blocking_reports", "0", False),
        ("GEVENT_MONITOR_MEMORY_PERIOD", "memory_monitor_period", "3", 3.0),
        ("GEVENT_MONITOR_MEMORY_MAX", "max_memory_usage", "2mb", 2 * 1024**2),
        ("GEVENT_FILE", "fileobject", "thread", ("thread",)),
        ("GEVENT_FORMAT_CONTEXT", "format_context", "builtins.ascii", ascii),
        ("GEVENT_RESOLVER_NAMESERVERS", "resolver_nameservers", "192.0.2.1, 192.0.2.2", ["192.0.2.1", "192.0.2.2"]),
        ("GEVENT_RESOLVER_TIMEOUT", "resolver_timeout", "2.5", 2.5),
        ("GEVENTARES_SERVERS", "ares_servers", "192.0.2.1", ["192.0.2.1"]),
        ("GEVENTARES_TIMEOUT", "ares_timeout", "2", 2.0),
        ("GEVENTARES_TRIES", "ares_tries", "2", 2),
        ("GEVENTARES_UDP_PORT", "ares_udp_port", "5353", 5353),
    ],
)
def test_variables_of_gevent_are_read_after_ours(variable, name, text, value, config, monkeypatch):
    monkeypatch.setenv(variable, text)
    assert getattr(config, name) == value
    setting = config.settings.get("backend" if name == "libev_backend" else name)
    if setting is not None:
        assert setting.source(config).startswith(variable)
        ours = OURS.get(setting.name, "7")
        monkeypatch.setenv(setting.variable, ours)
        assert setting.source(config) == f"{setting.variable}={ours}"


def test_a_pool_of_gevents_name_is_that_of_gevlite(config, monkeypatch):
    from gevlite.threadpool import ThreadPool

    monkeypatch.setenv("GEVENT_THREADPOOL", "gevent.threadpool.ThreadPool")
    assert config.threadpool is ThreadPool
    config.threadpool = dict
    assert config.threadpool is dict


def test_what_gevlite_has_nothing_of_is_accepted_and_said_once(config, monkeypatch):
    setting = config.settings["backend"]
    monkeypatch.setattr(setting, "_said", False)
    monkeypatch.setenv("GEVENT_BACKEND", "linux_aio")
    with pytest.warns(RuntimeWarning, match="GEVENT_BACKEND=linux_aio has no effect"):
        assert config.backend is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert config.backend is None


@pytest.mark.parametrize("name", sorted(MEANINGLESS))
def test_a_setting_without_meaning_is_kept_and_says_so_once(name, config, monkeypatch):
    monkeypatch.setattr(GEVENT_SETTINGS[name], "note", GEVENT_SETTINGS[name].note)
    with pytest.warns(RuntimeWarning, match=f"{name} has no effect: "):
        config.set(name, True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        setattr(config, name, True)
    assert getattr(config, name) is True


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("ares_tries", "many"), ("ares_timeout", -1), ("threadpool", "no.such.Class"), ("format_context", 5)],
)
def test_nonsense_is_refused(name, wrong, config):
    with pytest.raises(ValueError, match=f"gevlite.config.{name} must be "):
        setattr(config, name, wrong)


def test_variables_do_what_they_do_in_gevent(run_script):
    result = run_script(
        """
        import warnings
        warnings.simplefilter("always")
        import gevlite
        from gevlite import fileobject
        hub = gevlite.get_hub()
        print(hub.backend.name, type(hub.resolver).__module__, fileobject.FileObject.__name__)
        """,
        env={
            "GEVENT_BACKEND": "select",
            "GEVENT_RESOLVER": "gevent.resolver.blocking.Resolver",
            "GEVENT_FILE": "thread",
            "GEVENT_LOOP": "libuv",
            "PYTHONWARNINGS": "default",
        },
    )
    assert result.stdout.split() == ["select", "gevlite.resolver.blocking", "FileObjectThread"]
    assert result.stderr.count("GEVENT_LOOP has no effect") == 1


def test_the_context_of_an_error_is_formatted_as_wanted(run_script):
    result = run_script("""
        import gevlite
        gevlite.config.format_context = lambda context: "<as wanted>"
        gevlite.spawn(lambda: 1 / 0)
        gevlite.wait()
    """)
    assert "<as wanted> failed with ZeroDivisionError" in result.stderr


def test_ares_and_dnspython_have_their_settings(monkeypatch):
    for name, value in (("ares_servers", ["192.0.2.1"]), ("ares_tries", 2), ("resolver_nameservers", ["192.0.2.2"])):
        monkeypatch.setitem(gevlite.config._assigned, name, value)
    ares = pytest.importorskip("gevlite.resolver.ares", reason="needs pycares")
    made = ares.Resolver()
    assert (made._options["servers"], made._options["tries"]) == (["192.0.2.1"], 2)
    made.close()
    dnspython = pytest.importorskip("gevlite.resolver.dnspython", reason="needs dnspython")
    assert dnspython.Resolver().resolver.nameservers == ["192.0.2.2"]
