"""The drivers that a program names without importing them at once: in a function, in a URL, in its settings.

The source of the program's own modules is read, not executed: its main module, the modules that are imported, and those
that these name, in an import in a function or in a setting.
"""

import ast
import importlib.metadata
import importlib.util
import os
import re
import sys
from typing import NamedTuple

from gevlite._user_line import is_own, shown_path
from gevlite.monkey._drivers import THICK_ORACLE, by_package

__all__ = ["Use", "uses"]


class Use(NamedTuple):
    """A place in the program that names a driver."""

    driver: object  # Blocking
    where: str  # `app.py:12`
    how: str


# ---------------------------------------------------------------- drivers by name

# SQLAlchemy: dialect and driver; "" is the dialect's default.
_SQL = {
    "postgresql": {"psycopg2": "psycopg2", "psycopg2cffi": "psycopg2"},
    "cockroachdb": {"": "psycopg2", "psycopg2": "psycopg2"},
    "redshift": {"psycopg2": "psycopg2"},
    "mysql": {"": "MySQLdb", "mysqldb": "MySQLdb", "mysqlconnector": "mysql.connector", "pyodbc": "pyodbc"},
    "mariadb": {"": "MySQLdb", "mysqldb": "MySQLdb", "mariadbconnector": "mariadb", "pyodbc": "pyodbc"},
    "mssql": {"": "pyodbc", "pyodbc": "pyodbc", "pymssql": "pymssql"},
    "oracle": {"cx_oracle": "cx_Oracle"},
    "db2": {"": "ibm_db", "ibm_db": "ibm_db", "pyodbc": "pyodbc"},
    "sqlite": {"": "sqlite3", "pysqlite": "sqlite3"},
}
_SQL["postgres"] = _SQL["postgresql"]
_SQL["ibm_db_sa"] = _SQL["db2"]

_TRANSPORTS = {"librabbitmq": "librabbitmq", "confluentkafka": "confluent_kafka"}  # of kombu, and so of Celery

_DJANGO = {
    "postgresql": "psycopg2",
    "postgis": "psycopg2",
    "mysql": "MySQLdb",
    "oracle": "cx_Oracle",
    "sqlite3": "sqlite3",
    "spatialite": "sqlite3",
}
_DJANGO_ENGINE = re.compile(r"django\.(?:contrib\.gis\.)?db\.backends\.(\w+)")
_DJANGO_OTHERS = {"mssql": "pyodbc", "sql_server.pyodbc": "pyodbc"}

_URL = re.compile(r"(db\+|sqla\+|sqlalchemy\+)?([a-z][a-z0-9_]*)(?:\+([a-z0-9_]+))?://")
_DRIVERNAME = re.compile(r"([a-z][a-z0-9_]*)\+([a-z0-9_]+)")

# Contexts in which a URL without a driver is SQLAlchemy's, which has a default for each database.
_SQLALCHEMY = ("create_engine", "engine_from_config", "SQLALCHEMY_DATABASE_URI", "SQLALCHEMY_DATABASE_URL")


def _has(package):
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _default_driver(dialect):
    default = _SQL[dialect].get("")
    if default is None:
        # Since SQLAlchemy 2.1 that is psycopg 3, and oracledb.
        try:
            new = tuple(map(int, importlib.metadata.version("sqlalchemy").split(".")[:2])) >= (2, 1)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            new = False
        default = None if new else {"postgresql": "psycopg2", "oracle": "cx_Oracle"}.get(dialect)
    return default


def named_by(text, contexts=()):
    """The package of the driver that a text in a program names, or None. contexts: the names to which it is passed."""
    found = _URL.match(text)
    if found is not None:
        prefix, dialect, driver = found.groups()
        if dialect in _TRANSPORTS:
            return _TRANSPORTS[dialect]
        if dialect not in _SQL:
            return None
        if driver is not None:
            return _SQL[dialect].get(driver)
        # Django's URLs, in whichever setting, and SQLAlchemy's have the same driver for MySQL.
        if prefix is not None or dialect == "mysql" or any(name in _SQLALCHEMY for name in contexts):
            return _default_driver(dialect)
        return None
    found = _DRIVERNAME.fullmatch(text)
    if found is not None:
        return _SQL.get(found[1], {}).get(found[2])
    found = _DJANGO_ENGINE.fullmatch(text)
    if found is not None:
        driver = _DJANGO.get(found[1])
        preferred = {"psycopg2": "psycopg", "cx_Oracle": "oracledb"}.get(driver)
        return None if preferred is not None and _has(preferred) else driver
    if "ENGINE" in contexts:
        return _DJANGO_OTHERS.get(text)
    return None


def shown(text):
    """The part of the text that names the driver: a URL may contain a password."""
    found = _URL.match(text)
    return repr(text[: found.end()] if found is not None else text)


# ---------------------------------------------------------------- one module


class _Reader(ast.NodeVisitor):
    """Finds what a module names: `drivers`, as `(package, line, how)`, and `modules`."""

    def __init__(self, name, is_package):
        self.package = name if is_package else name.rpartition(".")[0]
        self.drivers = []
        self.modules = []
        self.replaced = set()  # packages that something else stands in for
        self.contexts = []

    def _imports(self, name, line, how):
        self.modules.append(name)
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            package = ".".join(parts[:length])
            if package in by_package:
                self.drivers.append((package, line, how))
                break

    def visit_Import(self, node):
        for alias in node.names:
            self._imports(alias.name, node.lineno, f"import {alias.name}")

    def visit_ImportFrom(self, node):
        base = node.module or ""
        if node.level:
            parts = self.package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *base.split(".")]).strip(".")
        self._imports(base, node.lineno, f"from {base} import ...")
        for alias in node.names:
            name = f"{base}.{alias.name}"
            if name in by_package:  # `from mysql import connector`
                self._imports(name, node.lineno, f"from {base} import {alias.name}")
            self.modules.append(name)

    def visit_Call(self, node):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        first = node.args[0] if node.args else None
        if name in ("import_module", "__import__") and isinstance(first, ast.Constant) and isinstance(first.value, str):
            self._imports(first.value, node.lineno, f"{name}({first.value!r})")
        if name == "install_as_MySQLdb":
            self.replaced.add("MySQLdb")
        if name == "init_oracle_client":
            self.drivers.append(("oracledb", node.lineno, "init_oracle_client()"))
        self._within([name], node)

    def visit_Assign(self, node):
        self._within([getattr(target, "id", getattr(target, "attr", "")) for target in node.targets], node)

    def visit_keyword(self, node):
        self._within([node.arg or ""], node)

    def visit_Dict(self, node):
        for key, value in zip(node.keys, node.values, strict=True):
            name = key.value if isinstance(key, ast.Constant) else ""
            if key is not None:
                self.visit(key)
            self._within([name], value, visit=self.visit)

    def _within(self, names, node, visit=None):
        self.contexts += names
        (visit or self.generic_visit)(node)
        del self.contexts[len(self.contexts) - len(names) :]

    def visit_Constant(self, node):
        if isinstance(node.value, str):
            package = named_by(node.value, self.contexts)
            if package is not None:
                self.drivers.append((package, node.lineno, shown(node.value)))
            elif re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", node.value):
                self.modules.append(node.value)  # perhaps: a module of settings, or of tasks


# ---------------------------------------------------------------- the program


def uses(path):
    """The first `Use` of each driver in the program whose main module, at `path`, has carried out its imports."""
    found, replaced, seen = {}, set(), set()
    todo = [("__main__", path, False), *_imported()]
    for name, source, is_package in todo:  # the list grows meanwhile
        if os.path.realpath(source) in seen:
            continue
        seen.add(os.path.realpath(source))
        reader = _read(name, source, is_package)
        if reader is None:
            continue
        for package, line, how in reader.drivers:
            driver = THICK_ORACLE if package == "oracledb" else by_package[package]
            found.setdefault(package, Use(driver, f"{shown_path(source)}:{line}", how))
        replaced |= reader.replaced
        for named in dict.fromkeys(reader.modules):
            todo += _found(named)
    for variable, value in sorted(os.environ.items()):
        package = named_by(value, [variable])
        if package is not None:
            found.setdefault(package, Use(by_package[package], f"environment variable {variable}", shown(value)))
    return [use for package, use in found.items() if package not in replaced]


def _imported():
    """The own modules that are imported, and Django's settings."""
    modules = []
    for name, module in list(sys.modules.items()):
        source = getattr(module, "__file__", None)
        if isinstance(source, str) and source.endswith(".py") and is_own(source) and name != "__main__":
            modules.append((name, source, hasattr(module, "__path__")))
    settings = os.environ.get("DJANGO_SETTINGS_MODULE")
    return modules + (_found(settings) if settings else [])


def _read(name, source, is_package):
    try:
        with open(source, "rb") as file:
            tree = ast.parse(file.read(), source)
    except (OSError, SyntaxError, ValueError):
        return None
    reader = _Reader(name, is_package)
    reader.visit(tree)
    return reader


def _found(name):
    """The own module of this name, and the packages that contain it."""
    parts = name.split(".")
    found = []
    for folder in sys.path:
        base = os.path.join(folder or os.curdir, *parts)
        for source, is_package in ((f"{base}.py", False), (os.path.join(base, "__init__.py"), True)):
            if is_own(source) and os.path.isfile(source):
                found.append((name, source, is_package))
                break
        if found:
            break
    if found and len(parts) > 1:
        found += _found(".".join(parts[:-1]))
    return found
