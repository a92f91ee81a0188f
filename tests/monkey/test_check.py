"""`python -m gevlite.monkey --check`: what would still block, found without running the program."""

import importlib.metadata
import importlib.util
import sys

import pytest

from gevlite.monkey._check import BLOCKING, imports_of
from gevlite.monkey._scan import named_by


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


def findings(script, program, **environment):
    """`{driver: where and how}` of the drivers that `--check` reports, and of those that it reports as cured."""
    out = script.python("-m", "gevlite.monkey", "--check", program, cwd=script.folder, env=environment)
    assert script.stderr == ""
    blocking, cured = {}, {}
    for line in out.splitlines():
        kind, _, rest = line.partition(": ")
        if kind in ("C extension", "cured"):
            where = rest[rest.rindex(" (") + 2 : -2]
            (blocking if kind == "C extension" else cured)[rest.split()[0].partition(".")[0]] = where
    assert script.returncode == (1 if blocking else 0)
    return blocking, cured


def test_drivers_that_are_imported_later_are_found(script, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "jobs.py").write_text("from . import tasks\n")
    (tmp_path / "package" / "tasks.py").write_text("def run():\n    import pyodbc as odbc\n")
    script.write("class Base:\n    def connect(self):\n        import MySQLdb.cursors\n", "base.py")
    program = script.write(
        """
        from base import Base
        def one():
            import pymssql
        async def two():
            from mysql import connector
            with open("x"):
                import package.jobs
        def three():
            import importlib
            importlib.import_module("cx_Oracle")
            __import__("ldap")
            import oracledb
            oracledb.init_oracle_client()
        """
    )
    blocking, _ = findings(script, program)
    assert blocking == {
        "pymssql": "script.py:4: import pymssql",
        "_mysql_connector": "script.py:6: from mysql import connector",
        "pyodbc": "package/tasks.py:2: import pyodbc",
        "MySQLdb": "base.py:3: import MySQLdb.cursors",
        "cx_Oracle": "script.py:11: import_module('cx_Oracle')",
        "_ldap": "script.py:12: __import__('ldap')",
        "oracledb": "script.py:14: init_oracle_client()",
    }


def test_drivers_that_are_named_in_urls_and_settings_are_found(script):
    program = script.write(
        """
        import os
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
        def engines(create_engine, host):
            create_engine("mysql://me:secret@host/db")
            create_engine(f"postgresql+psycopg2://me:secret@{host}/db")
            create_engine(url="mssql+pymssql://host")
        """
    )
    script.write("DATABASES = {'default': {'ENGINE': 'mssql'}}\nbroker_url = 'librabbitmq://h'\n", "settings.py")
    blocking, cured = findings(script, program, RESULTS="db+mariadb+mariadbconnector://me:secret@host")
    assert blocking == {
        "MySQLdb": "script.py:5: 'mysql://'",
        "pymssql": "script.py:7: 'mssql+pymssql://'",
        "pyodbc": "settings.py:1: 'mssql'",
        "_librabbitmq": "settings.py:2: 'librabbitmq://'",
        "mariadb": "environment variable RESULTS: 'db+mariadb+mariadbconnector://'",
    }
    assert cured == {"psycopg2": "script.py:6: 'postgresql+psycopg2://'"}
    blocking, cured = findings(script, program, GEVLITE_MONKEY_DRIVERS="0")
    assert blocking["psycopg2"] == "script.py:6: 'postgresql+psycopg2://'" and not cured


@pytest.mark.parametrize(
    "text, contexts, package",
    [
        ("postgresql+psycopg2://host", [], "psycopg2"),
        ("postgresql+psycopg2", ["create"], "psycopg2"),
        ("postgresql+psycopg://host", ["create_engine"], None),
        ("postgresql+asyncpg://host", ["create_engine"], None),
        ("postgresql://host", ["connect"], None),
        ("mysql+pymysql://host", ["create_engine"], None),
        ("mysql+mysqldb://host", [], "MySQLdb"),
        ("sqlite:///file", [], None),
        ("sqlite:///file", ["create_engine"], "sqlite3"),
        ("db+mysql://host", [], "MySQLdb"),
        ("amqp://host", [], None),
        ("redis://host", [], None),
        ("https://example.org", ["create_engine"], None),
        ("confluentkafka://host", [], "confluent_kafka"),
        ("django.db.backends.mysql", [], "MySQLdb"),
        ("django.contrib.gis.db.backends.spatialite", [], "sqlite3"),
        ("django.db.backends.dummy", [], None),
        ("mssql", ["ENGINE"], "pyodbc"),
        ("mssql", [], None),
        ("C++", [], None),
    ],
)
def test_which_driver_a_text_names(text, contexts, package):
    assert named_by(text, contexts) == package


def test_pymysql_in_place_of_mysqldb_is_a_remedy(script):
    program = script.write(
        """
        def start():
            import pymysql
            pymysql.install_as_MySQLdb()
            import MySQLdb
        ENGINE = "django.db.backends.mysql"
        """
    )
    assert findings(script, program) == ({}, {})


def test_what_is_no_source_of_the_program_is_passed_over(script):
    script.write("def (", "broken.py")
    (script.folder / "empty").mkdir()
    program = script.write("def f():\n    import broken, empty, json, nowhere.deep\n    g('broken', 'json')\n")
    assert findings(script, program) == ({}, {})


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
