"""`python -m gevlite.monkey --check`: what would still block all greenlets in a program, without running it.

Of the program's main module, only the imports and the calls that patch are executed, in order; then the objects in
memory are checked. A program that does not patch by itself is checked as `python -m gevlite.monkey` would run it:
patched first.
"""

import ast
import sys
import warnings
from typing import NamedTuple

from gevlite import monkey

__all__ = ["BLOCKING", "check", "imports_of"]


class Blocking(NamedTuple):
    """A C extension that waits for the network or a disk by itself, and the remedy."""

    module: str
    what: str
    remedy: str


IN_THREAD = "call it through gevlite.get_hub().threadpool, or a gevlite.threadpool.ThreadPool of its own"

BLOCKING = (
    Blocking("psycopg2._psycopg", "waits in libpq", "gevlite.integrations.psycopg2.patch() before connecting"),
    Blocking("psycopg_c", "waits in C", "install psycopg without the extra `c`; its Python waiting is cooperative"),
    Blocking("MySQLdb._mysql", "waits in libmysqlclient", "use PyMySQL, with pymysql.install_as_MySQLdb()"),
    Blocking("_mysql_connector", "waits in libmysqlclient", "connect with use_pure=True"),
    Blocking("mariadb._mariadb", "waits in MariaDB's C connector", f"use PyMySQL, or {IN_THREAD}"),
    Blocking("pymssql._pymssql", "waits in FreeTDS", f"use python-tds, or {IN_THREAD}"),
    Blocking("pyodbc", "waits in the ODBC driver", IN_THREAD),
    Blocking("cx_Oracle", "waits in Oracle's client library", "use oracledb in its thin mode"),
    Blocking("ibm_db", "waits in IBM's client library", IN_THREAD),
    Blocking("_sqlite3", "reads and locks files; a long query blocks all greenlets", f"for long queries {IN_THREAD}"),
    Blocking("pycurl", "waits in libcurl", f"use requests or httpx, or {IN_THREAD}"),
    Blocking("curl_cffi._wrapper", "waits in libcurl", f"use requests or httpx, or {IN_THREAD}"),
    Blocking("_pylibmc", "waits in libmemcached", "use pymemcache"),
    Blocking("grpc._cython.cygrpc", "waits in threads of its own", f"make blocking calls that way: {IN_THREAD}"),
    Blocking("confluent_kafka.cimpl", "waits in librdkafka", f"use kafka-python, or {IN_THREAD}"),
    Blocking("zmq.backend.cython._zmq", "waits in libzmq", "use zmq.green, through gevlite.as_gevent"),
    Blocking("_ldap", "waits in libldap", f"use ldap3, or {IN_THREAD}"),
    Blocking("pygit2._pygit2", "waits in libgit2", IN_THREAD),
    Blocking("plyvel._plyvel", "reads and writes files", IN_THREAD),
    Blocking("rocksdict.rocksdict", "reads and writes files", IN_THREAD),
    Blocking("uvloop.loop", "an event loop of its own", "do not use it in a thread that runs greenlets"),
)


# ---------------------------------------------------------------- the program's imports


def imports_of(source, path):
    """`(code with only the imports of a module and its calls that patch, whether there are such calls)`."""
    keep = _Keep()
    tree = ast.fix_missing_locations(keep.visit(ast.parse(source, path)))
    return compile(tree, path, "exec", dont_inherit=True), keep.patches


class _Keep(ast.NodeTransformer):
    """Removes everything from a module except imports, calls that patch, and the branches around these."""

    def __init__(self):
        self.patches = False

    def visit_Module(self, node):
        node.body = self.kept(node.body)
        return node

    def kept(self, statements):
        return [kept for statement in statements if (kept := self.visit(statement)) is not None]

    def generic_visit(self, node):
        return None

    def visit_Import(self, node):
        return node

    visit_ImportFrom = visit_Import

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Call):
            function = node.value.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            if name.startswith("patch_"):
                self.patches = True
                return node
        return None

    def visit_If(self, node):
        node.body, node.orelse = self.kept(node.body), self.kept(node.orelse)
        if not node.body and not node.orelse:
            return None
        node.body = node.body or [ast.Pass()]
        return node

    def visit_Try(self, node):
        node.body = self.kept(node.body)
        node.orelse, node.finalbody = self.kept(node.orelse), self.kept(node.finalbody)
        for handler in node.handlers:
            handler.body = self.kept(handler.body) or [ast.Pass()]
        if not node.body and not node.orelse and not node.finalbody:
            return None
        node.body = node.body or [ast.Pass()]
        return node

    visit_TryStar = visit_Try


# ---------------------------------------------------------------- the report


def check(run, path, options):
    """Call `run()`, which executes the imports of the program at `path`, and print a report. Returns the exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)  # the report says it
        run()
    problems = [*_unpatched(options), *monkey.problems(), *_extensions()]
    for problem in problems:
        print(problem)
    print(f"{path}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'} found.")
    return 1 if problems else 0


# For each area, a name that shows whether it is patched.
_SIGNS = {
    "socket": ("socket", "socket"),
    "dns": ("socket", "getaddrinfo"),
    "time": ("time", "sleep"),
    "select": ("select", "select"),
    "thread": ("_thread", "start_new_thread"),
    "ssl": ("ssl", "SSLContext"),
    "queue": ("queue", "SimpleQueue"),
    "subprocess": ("subprocess", "Popen"),
}


def _unpatched(options):
    for area, (module, name) in _SIGNS.items():
        if module in sys.modules and options.get(area, True) and not monkey.is_object_patched(module, name):
            yield f"not patched: {area}. {module}.{name} is the original, and blocks all greenlets."


def _extensions():
    for known in BLOCKING:
        if known.module in sys.modules:
            yield f"C extension: {known.module} {known.what}; {known.remedy}."
