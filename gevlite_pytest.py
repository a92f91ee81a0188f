"""The entry point of gevlite's plug-in for pytest, which each run of pytest imports where gevlite is installed.

So it imports nothing of gevlite, and does nothing, until a run asks for it: by `-p gevlite`, by `gevlite = true` in the
ini file, by an option of its own, by a marker at a test, or by a fixture. Its work is then done in
`gevlite.testing._pytest`. It is not part of the package, because importing a module of the package imports gevlite.
"""

import argparse
import os

import pytest

MARKER = (
    "gevlite(timeout=None, left=True, errors=True): run the test with gevlite's plug-in, in a greenlet. timeout: its "
    "limit in seconds; left=False: do not look for what it leaves behind; errors=False: nor for errors in greenlets"
)
LONGEST_SECONDS = 1e9


def time_limit(value):
    """A time limit as a float."""
    try:
        seconds = -1 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"a time limit is a number of seconds, 0 for none, not {value!r}")
    return seconds


def seed(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a seed is a whole number, 0 or more, not {text!r}")
    return int(text)


def pytest_addoption(parser):
    parser.addini("gevlite", "run all tests with gevlite's plug-in, as -p gevlite does", type="bool", default=False)
    parser.addini("gevlite_patch", "patch the standard library before tests are imported", type="bool", default=True)
    parser.addini("gevlite_timeout", "the time limit of each test in seconds; 0: none", default="0")
    parser.addini(
        "gevlite_left",
        "what no test may leave behind: greenlets, timers, descriptors, blocks (of gevlite.testing)",
        type="args",
        default=["greenlets", "timers", "descriptors", "blocks"],
    )
    parser.addini("gevlite_left_allowed", "regular expressions for what tests may leave behind", type="linelist")
    group = parser.getgroup("gevlite")
    group.addoption(
        "--gevlite-shuffle",
        nargs="?",
        type=seed,
        const=-1,
        metavar="SEED",
        help="run each test in another order of switches, drawn from the seed; without one, from a new seed, which is "
        "printed. Write --gevlite-shuffle=SEED, with the sign",
    )
    group.addoption("--gevlite-timeout", type=time_limit, metavar="SECONDS", help="the time limit of each test")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    if _is_wanted(early_config, early_config.known_args_namespace):
        _begin(early_config, early_config.known_args_namespace)


def pytest_configure(config):
    config.addinivalue_line("markers", MARKER)
    # Late, if a plug-in of the command line was not loaded before the configuration, as in a process of xdist.
    if _is_wanted(config, config.option) and not _has_begun(config):
        _begin(config, config.option)


def pytest_collection_modifyitems(config, items):
    if not _has_begun(config) and any(item.get_closest_marker("gevlite") for item in items):
        _register(config, patch=False, everywhere=False)


def _is_wanted(config, options):
    plugins = getattr(options, "plugins", None) or ()
    return (
        "gevlite" in plugins
        or "gevlite.testing.plugin" in plugins
        or config.getini("gevlite")
        or getattr(options, "gevlite_shuffle", None) is not None
        or getattr(options, "gevlite_timeout", None) is not None
    )


def _has_begun(config):
    return config.pluginmanager.has_plugin("gevlite-session")


def _begin(config, options):
    distributes = getattr(options, "numprocesses", None) or getattr(options, "tx", None)
    if distributes and "PYTEST_XDIST_WORKER" not in os.environ:
        # It runs no tests: the processes of xdist do.
        from gevlite.testing._pytest import Controller

        config.pluginmanager.register(Controller(config), "gevlite-session")
    else:
        _register(config, patch=config.getini("gevlite_patch"), everywhere=True)


def _register(config, patch, everywhere):
    from gevlite.testing._pytest import Session

    config.pluginmanager.register(Session(config, patch, everywhere), "gevlite-session")


@pytest.fixture
def gevlite_clock():
    """A `gevlite.testing.VirtualClock` for the test: no wait takes any time."""
    from gevlite.testing import VirtualClock

    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def gevlite_faults():
    """The functions of `gevlite.testing.faults`; a fault begins with the call, and ends with the test."""
    from gevlite.testing._pytest import Faults

    made = Faults()
    yield made
    made.stop()


@pytest.fixture
def gevlite_errors(request):
    """A list of the uncaught errors of greenlets so far: whatever is left in it at the end fails the test."""
    session = request.config.pluginmanager.get_plugin("gevlite-session")
    if session is None:
        pytest.fail("gevlite_errors needs gevlite's plug-in: -p gevlite, gevlite = true, or the marker gevlite")
    return session.errors.seen
