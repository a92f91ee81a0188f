"""The private names of the standard library that gevlite uses are listed, and exist in this Python."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import gevlite
from gevlite import _private_names

FOLDER = Path(gevlite.__file__).parent
LISTED = {f"{owner}.{name}" for names in _private_names.NAMES for owner, wanted in names.items() for name in wanted}
TWINS = ["_semlock", "os", "queue", "select", "signal", "socket", "ssl", "subprocess", "thread", "threading", "time"]


def test_this_python_has_all_of_them():
    assert _private_names.missing() == []


def test_what_a_python_lacks_is_named(monkeypatch):
    monkeypatch.delattr(subprocess.Popen, "_try_wait")
    assert _private_names.missing() == ["subprocess.Popen._try_wait"]


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def is_standard(module):
    return module.partition(".")[0] in sys.stdlib_module_names


def used_in(tree):
    """`module._name` for each private name of a standard module that the source takes from it."""
    modules = {}  # the name of a module in this file: its real name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_standard(alias.name):
                    modules[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and is_standard(node.module):
            for alias in node.names:
                if is_private(alias.name) or is_private(node.module.rpartition(".")[2]) and "." in node.module:
                    yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and is_private(node.attr):
            if node.value.id in modules:
                yield f"{modules[node.value.id]}.{node.attr}"


# Names that every supported Python documents, with an underscore or without.
DOCUMENTED = {"os._exit", "sys._getframe", "sys._current_frames", "sys._is_gil_enabled"}


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_what_a_module_takes_is_listed(path):
    used = set(used_in(ast.parse(path.read_text()))) - DOCUMENTED
    assert used <= LISTED, used - LISTED


@pytest.mark.parametrize("name", TWINS)
def test_what_a_twin_replaces_is_listed(name):
    twin = importlib.import_module(f"gevlite.{name}")
    target = getattr(twin, "__target__", name)
    replaced = {f"{target}.{item}" for item in twin.__implements__ if is_private(item)}
    assert replaced <= LISTED, replaced - LISTED
