"""Extensions in C that wait by themselves, and so block all greenlets: a list of them, and what helps.

`watch` makes `patch_all` act when a program imports one: it warns, or does what the extension offers for such a case.
`_check` reports them without running the program.
"""

import functools
import sys
import types
from typing import NamedTuple

from gevlite._config import config
from gevlite._core import get_hub
from gevlite._pgwait import wait
from gevlite.monkey._engine import is_watched, on_unpatch, patch_item, warn, when_imported

__all__ = ["BLOCKING", "THICK_ORACLE", "Blocking", "by_package", "is_cured", "watch"]


class Blocking(NamedTuple):
    """A C extension that waits for the network or a disk by itself, and the remedy."""

    module: str  # the extension
    what: str
    remedy: str
    package: str  # what a program imports
    warns: bool = True  # when that is imported: a program that imports it will wait


IN_THREAD = "call it through gevlite.get_hub().threadpool, or a gevlite.threadpool.ThreadPool of its own"

BLOCKING = (
    Blocking(
        "psycopg2._psycopg", "waits in libpq", "gevlite.integrations.psycopg2.patch() before connecting", "psycopg2"
    ),
    Blocking(
        "psycopg_c",
        "waits in C",
        "install psycopg without the extra `c`; its Python waiting is cooperative",
        "psycopg_c",
        False,
    ),
    Blocking("MySQLdb._mysql", "waits in libmysqlclient", "use PyMySQL, with pymysql.install_as_MySQLdb()", "MySQLdb"),
    Blocking("_mysql_connector", "waits in libmysqlclient", "connect with use_pure=True", "mysql.connector"),
    Blocking("mariadb._mariadb", "waits in MariaDB's C connector", f"use PyMySQL, or {IN_THREAD}", "mariadb"),
    Blocking("pymssql._pymssql", "waits in FreeTDS", f"use python-tds, or {IN_THREAD}", "pymssql"),
    Blocking("pyodbc", "waits in the ODBC driver", IN_THREAD, "pyodbc"),
    Blocking("cx_Oracle", "waits in Oracle's client library", "use oracledb in its thin mode", "cx_Oracle"),
    Blocking("ibm_db", "waits in IBM's client library", IN_THREAD, "ibm_db"),
    Blocking(
        "_sqlite3",
        "reads and locks files; a long query blocks all greenlets",
        f"for long queries {IN_THREAD}",
        "sqlite3",
        False,
    ),
    Blocking("pycurl", "waits in libcurl", f"use requests or httpx, or {IN_THREAD}", "pycurl", False),
    Blocking("curl_cffi._wrapper", "waits in libcurl", f"use requests or httpx, or {IN_THREAD}", "curl_cffi"),
    Blocking("_pylibmc", "waits in libmemcached", "use pymemcache", "pylibmc"),
    Blocking("_librabbitmq", "waits in librabbitmq", "use py-amqp: pyamqp:// for librabbitmq://", "librabbitmq"),
    Blocking(
        "grpc._cython.cygrpc",
        "waits in threads of its own",
        "grpc.experimental.gevent.init_gevent() after gevlite.as_gevent.install(), before anything of grpc is made",
        "grpc",
    ),
    Blocking("confluent_kafka.cimpl", "waits in librdkafka", f"use kafka-python, or {IN_THREAD}", "confluent_kafka"),
    Blocking("zmq.backend.cython._zmq", "waits in libzmq", "use zmq.green, through gevlite.as_gevent", "zmq", False),
    Blocking("_ldap", "waits in libldap", f"use ldap3, or {IN_THREAD}", "ldap"),
    Blocking("pygit2._pygit2", "waits in libgit2", IN_THREAD, "pygit2", False),
    Blocking("plyvel._plyvel", "reads and writes files", IN_THREAD, "plyvel", False),
    Blocking("rocksdict.rocksdict", "reads and writes files", IN_THREAD, "rocksdict", False),
    Blocking(
        "uvloop.loop", "an event loop of its own", "do not use it in a thread that runs greenlets", "uvloop", False
    ),
)

by_package = {known.package: known for known in BLOCKING}

# oracledb waits in C only after a call of this function.
THICK_ORACLE = Blocking(
    "oracledb.init_oracle_client",
    "makes oracledb wait in Oracle's client library",
    f"do not call it, so that oracledb stays in its thin mode, or {IN_THREAD}",
    "oracledb",
)


def watch():
    """Handle each driver as soon as it is imported; those that are already imported, now."""
    if not config.monkey_drivers:
        return
    for known in BLOCKING:
        if known.warns:
            when_imported(known.package, functools.partial(_imported, known))
    when_imported("oracledb", _watch_thick_mode)


def _imported(known, module):
    if module.__name__ != known.package:  # another module under this name, which is a remedy
        return
    cure = _CURES.get(known.package)
    if cure is None or not cure(module):
        warn(f"{known.package} {known.what}, and blocks all greenlets meanwhile; {known.remedy}")


def _watch_thick_mode(oracledb):
    begin = getattr(oracledb, "init_oracle_client", None)
    if begin is None:
        return

    @functools.wraps(begin)
    def init_oracle_client(*args, **kwargs):
        warn(f"{THICK_ORACLE.module}() {THICK_ORACLE.what}, which blocks all greenlets; {THICK_ORACLE.remedy}")
        return begin(*args, **kwargs)

    patch_item(oracledb, "init_oracle_client", init_oracle_client)


def _cure_psycopg2(psycopg2):
    extensions = psycopg2.extensions
    if extensions.get_wait_callback() is None:
        extensions.set_wait_callback(wait)
        on_unpatch(functools.partial(_take_back, extensions))
    return True


def _take_back(extensions):
    if extensions.get_wait_callback() is wait:
        extensions.set_wait_callback(None)


# How many calls of grpc may wait at a time: each takes an OS thread meanwhile.
GRPC_CALLS = 1000


def _cure_grpc(grpc):
    """Turn on grpc's support for gevent, which gets gevlite under that name.

    grpc would keep the hub's thread pool, for its calls to wait in. It gets another pool instead: calls that wait for
    long would hold up other calls, and everything else that uses the hub's ten threads.
    """
    cygrpc = sys.modules.get("grpc._cython.cygrpc")
    present = sys.modules.get("gevent")
    if not hasattr(cygrpc, "init_grpc_gevent") or present is not None and not _is_ours(present):
        return False
    lent = _gevent_for_grpc()
    before = {name: sys.modules.get(name) for name in lent}
    sys.modules.update(lent)
    try:
        cygrpc.init_grpc_gevent()
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return True


def _gevent_for_grpc():
    import gevlite.hub
    import gevlite.pool
    from gevlite.threadpool import ThreadPool

    hub = _HubForGrpc(ThreadPool(GRPC_CALLS, idle_task_timeout=60))
    hubs = _standing_in("gevent.hub", gevlite.hub, get_hub=lambda: hub)
    gevent = _standing_in("gevent", gevlite, hub=hubs, pool=gevlite.pool)
    return {"gevent": gevent, "gevent.hub": hubs, "gevent.pool": gevlite.pool}


class _HubForGrpc:
    def __init__(self, threadpool):
        self.threadpool = threadpool

    def __getattr__(self, name):
        return getattr(get_hub(), name)


def _standing_in(name, original, **replaced):
    module = types.ModuleType(name)
    module.__getattr__ = functools.partial(getattr, original)
    module.__dict__.update(replaced)
    return module


def _is_ours(gevent):
    return getattr(gevent, "spawn", None) is sys.modules["gevlite"].spawn


_CURES = {"psycopg2": _cure_psycopg2, "grpc": _cure_grpc}


def is_cured(known):
    """True if this extension does not block in this process, or will not once it is imported."""
    if known.package == "psycopg_c":
        waiting = sys.modules.get("psycopg.waiting")
        return waiting is not None and waiting.wait is not getattr(waiting, "wait_c", None)
    extensions = sys.modules.get("psycopg2.extensions")
    if known.package == "psycopg2" and extensions is not None:
        return extensions.get_wait_callback() is not None
    return known.package in _CURES and is_watched(known.package)
