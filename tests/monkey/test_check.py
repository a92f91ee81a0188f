"""`python -m gevlite.monkey --check`: what would still block, found without running the program."""

import importlib.metadata
import importlib.util
import sys

import pytest

from gevlite.monkey._check import BLOCKING, imports_of


def test_only_imports_and_patching_are_carried_out(script):
    program = script.write(
        """
        import sys
        from gevlite import monkey
        monkey.patch_all()
        print("not this")
        try:
            import json
        except ImportError:
            raise SystemExit("not this")
        else:
            sys.exit("not this")
        class Not: import textwrap
        def this():
            import nowhere
        if __name__ == "__main__":
            import http.client
            sys.exit("not this")
        elif True:
            1 / 0
        """
    )
    assert script.python("-m", "gevlite.monkey", "--check", program).splitlines() == [f"{program}: no problems found."]
    assert (script.returncode, script.stderr) == (0, "")


def test_late_imports_are_reported(script):
    script.write("from select import select\n", "holder.py")
    program = script.write("from time import sleep\nimport holder\nfrom gevlite.monkey import patch_all\npatch_all()\n")
    lines = script.python("-m", "gevlite.monkey", "--check", program).splitlines()
    assert script.returncode == 1 and script.stderr == ""
    assert [line.split(";")[0] for line in lines[:-1]] == [
        "unpatched: __main__.sleep (time.sleep)",
        "unpatched: holder.select (select.select)",
    ]
    assert lines[-1] == f"{program}: 2 problems found."


def test_what_is_left_out_is_reported(script):
    program = script.write("from gevlite import monkey\nmonkey.patch_all(thread=False)\n")
    lines = script.python("-m", "gevlite.monkey", "--check", program).splitlines()
    assert script.returncode == 1
    assert lines[0].startswith("not patched: thread.") and len(lines) == 2


def test_a_program_that_does_not_patch_is_checked_patched(script):
    program = script.write("from socket import socket\nimport ssl\n")
    lines = script.python("-m", "gevlite.monkey", "--check", program).splitlines()
    assert script.returncode == 0
    assert lines == [
        f"{program} does not patch by itself: checked as python -m gevlite.monkey runs it.",
        f"{program}: no problems found.",
    ]


def test_a_module_in_a_package_is_checked(script, tmp_path):
    """The package is imported to find the module; that must not count as too early unless Python itself does so."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from select import select")
    tool = tmp_path / "package" / "tool.py"
    tool.write_text("import json")
    lines = script.python("-m", "gevlite.monkey", "--check", "-m", "package.tool", cwd=tmp_path).splitlines()
    assert script.returncode == 0, lines
    tool.write_text("from gevlite import monkey\nmonkey.patch_all()  # too late for the package")
    lines = script.python("-m", "gevlite.monkey", "--check", "-m", "package.tool", cwd=tmp_path).splitlines()
    assert script.returncode == 1 and lines[0].startswith("unpatched: package.select (select.select)")


def test_a_blocking_extension_is_reported_with_the_remedy(script):
    pytest.importorskip("_sqlite3")
    program = script.write("import sqlite3")
    lines = script.python("-m", "gevlite.monkey", "--check", program).splitlines()
    assert script.returncode == 1
    assert lines[1].startswith("C extension: _sqlite3") and "threadpool" in lines[1]


def test_the_table_names_real_modules():
    """Only for installed packages: a name that does not exist would never be found."""
    installed = {*importlib.metadata.packages_distributions(), *sys.stdlib_module_names}
    for known in BLOCKING:
        assert known.module and known.what and known.remedy and not known.remedy.endswith(".")
        if known.module.partition(".")[0] in installed:
            assert importlib.util.find_spec(known.module) is not None, known.module


@pytest.mark.parametrize("program", ["", "x = 1", "'''doc'''", "from __future__ import annotations\nx: int = 1"])
def test_a_program_without_imports_keeps_nothing(program):
    code, patches = imports_of(program, "program.py")
    exec(code, {})
    assert not patches


def test_errors_are_told(script):
    script.python("-m", "gevlite.monkey", "--check", "nowhere.py")
    assert script.returncode == 2 and "cannot open nowhere.py" in script.stderr
    script.python("-m", "gevlite.monkey", "--check")
    assert script.returncode == 2 and "no script" in script.stderr
