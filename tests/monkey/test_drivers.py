"""Drivers in C that are imported after patching: a warning with a remedy, or the remedy itself."""

import pytest

FAKES = {
    "pyodbc.py": "",
    "MySQLdb/__init__.py": "from MySQLdb import _mysql",
    "MySQLdb/_mysql.py": "",
    "oracledb.py": "def init_oracle_client(lib_dir=None): return lib_dir",
    "pymysql.py": "",
}


@pytest.fixture
def fakes(tmp_path):
    for name, text in FAKES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)


def warnings_of(script, code, **environment):
    """The lines of MonkeyPatchWarnings that the script writes, without its folder."""
    script.python(script.write("from gevlite import monkey\nmonkey.patch_all()\n" + code), env=environment)
    assert script.returncode == 0, script.stderr
    return [line.rpartition("/")[2] for line in script.stderr.splitlines() if "Warning: " in line]


def test_the_import_of_one_that_blocks_warns_once_and_names_the_remedy(script, fakes):
    lines = warnings_of(
        script,
        """
def connect():
    import MySQLdb
    import pyodbc
connect()
connect()
import MySQLdb._mysql
monkey.patch_all()
""",
    )
    assert [line.partition(", and")[0] for line in lines] == [
        "script.py:5: MonkeyPatchWarning: MySQLdb waits in libmysqlclient",
        "script.py:6: MonkeyPatchWarning: pyodbc waits in the ODBC driver",
    ]
    assert "use PyMySQL" in lines[0] and "threadpool" in lines[1]


def test_one_that_was_imported_before_patching_warns_too(script, fakes):
    script.python(script.write("import pyodbc\nfrom gevlite import monkey\nmonkey.patch_all()\n"))
    assert script.stderr.count("pyodbc waits in the ODBC driver") == 1


def test_oracledb_warns_only_when_it_is_made_to_wait_in_c(script, fakes):
    assert warnings_of(script, "import oracledb\n") == []
    (line,) = warnings_of(script, "import oracledb\nassert oracledb.init_oracle_client(lib_dir=5) == 5\n")
    assert line.startswith("script.py:4: ") and "thin mode" in line


def test_what_stands_in_for_a_driver_does_not_warn(script, fakes):
    code = "import sys, pymysql\nsys.modules['MySQLdb'] = pymysql\nimport MySQLdb\n"
    assert warnings_of(script, code) == []


def test_the_setting_turns_it_off(script, fakes):
    assert warnings_of(script, "import pyodbc\n", GEVLITE_MONKEY_DRIVERS="no") == []


def test_psycopg2_is_told_to_wait_on_the_hub(script):
    pytest.importorskip("psycopg2")
    lines = warnings_of(
        script,
        """
import psycopg2
from gevlite.integrations import psycopg2 as green
assert psycopg2.extensions.get_wait_callback() is green.wait
monkey.unpatch_all()
assert psycopg2.extensions.get_wait_callback() is None
psycopg2.extensions.set_wait_callback(print)
monkey.patch_all()
assert psycopg2.extensions.get_wait_callback() is print
monkey.unpatch_all()
assert psycopg2.extensions.get_wait_callback() is print
""",
    )
    assert lines == []


GRPC = """
import sys, time, grpc, gevlite
from concurrent import futures
assert "gevent" not in sys.modules

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(answer)

def answer(request, context):
    inside.append(request)
    while len(inside) < 15:  # so many calls at the same time, more than the hub has threads
        time.sleep(0.001)
    return request

inside = []
server = grpc.server(futures.ThreadPoolExecutor(20))
server.add_generic_rpc_handlers((Echo(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    call = channel.unary_unary("/service/method")
    jobs = [gevlite.spawn(call, b"%d" % n, timeout=20) for n in range(15)]
    assert [job.get() for job in jobs] == [b"%d" % n for n in range(15)]
    assert gevlite.get_hub().threadpool.maxsize < 15
server.stop(None).wait()
print("done")
"""


def test_grpc_gets_its_own_support_for_gevent(script):
    pytest.importorskip("grpc")
    assert warnings_of(script, GRPC) == []
