"""Database drivers, unmodified, in a patched process."""

import pytest

pytestmark = pytest.mark.timeout(240)


def test_redis(run, redis_server):
    code = """
        import redis
        client = redis.Redis(port=int(sys.argv[1]), socket_timeout=PATIENCE, decode_responses=True)
        client.set("here", "yes")
        assert client.get("here") == "yes"
        # BLPOP waits in the server
        assert together(20, lambda i: client.blpop([f"empty{i}"], timeout=SECONDS)) == [None] * 20
        # and a waiter is woken by another greenlet
        waiter = gevlite.spawn(client.blpop, ["full"], timeout=PATIENCE)
        gevlite.sleep(0)
        client.rpush("full", "x")
        assert waiter.get(timeout=PATIENCE) == ("full", "x")
        with client.pipeline() as pipe:
            for i in range(100):
                pipe.incr("count")
            assert pipe.execute() == list(range(1, 101))
        print("ok")
    """
    assert run(code, redis_server.port) == ["ok"]


def test_redis_publish_and_subscribe(run, redis_server):
    code = """
        import redis, threading
        client = redis.Redis(port=int(sys.argv[1]), socket_timeout=PATIENCE)
        seen = []
        sub = client.pubsub(ignore_subscribe_messages=True)
        sub.subscribe(news=lambda message: seen.append(message["data"]))
        listener = sub.run_in_thread(sleep_time=0.01)
        for i in range(10):
            client.publish("news", i)
        while len(seen) < 10:
            time.sleep(0.01)
        listener.stop()
        listener.join(PATIENCE)
        assert not listener.is_alive()
        assert seen == [b"%d" % i for i in range(10)]
        print("ok")
    """
    assert run(code, redis_server.port) == ["ok"]


def test_psycopg(run, postgres):
    """With its C part, which would wait in C by default."""
    code = """
        import psycopg
        assert psycopg.pq.__impl__ in ("binary", "c"), psycopg.pq.__impl__
        dsn = f"host=127.0.0.1 port={sys.argv[1]} user=tester dbname=postgres"
        def query(i):
            with psycopg.connect(dsn) as connection:
                return connection.execute("select %s::int, pg_sleep(%s)", (i, SECONDS)).fetchone()[0]
        query(0)
        assert together(20, query) == list(range(20))
        # a time-out of ours ends the wait
        with psycopg.connect(dsn) as connection:
            try:
                with gevlite.Timeout(0.1):
                    connection.execute("select pg_sleep(30)")
            except gevlite.Timeout:
                print("timeout")
            connection.close()
    """
    assert run(code, postgres.port) == ["timeout"]


def test_psycopg_imported_before_patching(postgres, tmp_path):
    import subprocess
    import sys

    code = f"""
import psycopg
from gevlite import monkey
monkey.patch_all(fix=True)
import gevlite, time
def query(i):
    with psycopg.connect("host=127.0.0.1 port={postgres.port} user=tester dbname=postgres") as connection:
        return connection.execute("select %s::int, pg_sleep(0.25)", (i,)).fetchone()[0]
for turn in range(4):       # on a busy machine it may take long
    start = time.monotonic()
    jobs = [gevlite.spawn(query, i) for i in range(20)]
    gevlite.joinall(jobs, raise_error=True)
    assert [job.value for job in jobs] == list(range(20))
    if time.monotonic() - start < 2.5:
        break
else:
    raise AssertionError("one after the other")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=150)


def test_psycopg2_with_a_wait_callback(run, postgres):
    code = """
        import psycopg2
        from gevlite.integrations import psycopg2 as green
        green.patch()
        dsn = f"host=127.0.0.1 port={sys.argv[1]} user=tester dbname=postgres"
        def query(i):
            connection = psycopg2.connect(dsn)
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute("select %s::int, pg_sleep(%s)", (i, SECONDS))
                    return cursor.fetchone()[0]
            finally:
                connection.close()
        query(0)
        assert together(20, query) == list(range(20))
        # what ends a wait closes the connection, which would be in the middle of a query
        connection = psycopg2.connect(dsn)
        cursor = connection.cursor()
        job = gevlite.spawn(cursor.execute, "select pg_sleep(30)")
        gevlite.sleep(0.1)
        job.kill()
        assert connection.closed
        # an error of the server is raised where it belongs, and leaves the connection usable
        connection = psycopg2.connect(dsn)
        cursor = connection.cursor()
        try:
            cursor.execute("select nothing")
        except psycopg2.errors.UndefinedColumn:
            connection.rollback()
        cursor.execute("select 1")
        assert cursor.fetchone() == (1,)
        green.unpatch()
        print("ok")
    """
    assert run(code, postgres.port) == ["ok"]


def test_pymysql(run, mariadb):
    code = """
        import pymysql
        def connect(i):
            return pymysql.connect(host="127.0.0.1", port=int(sys.argv[1]), user="root")
        connections = [job.get() for job in [gevlite.spawn(connect, i) for i in range(20)]]
        def query(i):
            with connections[i] as connection, connection.cursor() as cursor:
                cursor.execute("select %s, sleep(%s)", (i, SECONDS))
                return cursor.fetchone()[0]
        assert together(20, query) == list(range(20))
        print("ok")
    """
    assert run(code, mariadb.port) == ["ok"]


def test_pymemcache(run, memcached, slowed):
    code = """
        from pymemcache.client.base import Client, PooledClient
        quick = Client(("127.0.0.1", int(sys.argv[1])))
        for i in range(20):
            assert quick.set(f"key{i}", f"value{i}")
        slow = PooledClient(("127.0.0.1", int(sys.argv[2])), max_pool_size=20)
        slow.get("key0")
        assert together(20, lambda i: slow.get(f"key{i}")) == [b"value%d" % i for i in range(20)]
        print("ok")
    """
    assert run(code, memcached.port, slowed(memcached)) == ["ok"]


def test_the_pool_of_sqlalchemy(run, postgres):
    """Its pool lets ten in at once; the others wait for a connection without blocking the rest."""
    code = """
        import sqlalchemy
        from sqlalchemy.pool import QueuePool
        engine = sqlalchemy.create_engine(f"postgresql+psycopg://tester@127.0.0.1:{sys.argv[1]}/postgres",
                                          poolclass=QueuePool, pool_size=8, max_overflow=2, pool_timeout=PATIENCE)
        most = now = 0
        def query(i):
            global most, now
            with engine.connect() as connection:
                now += 1
                most = max(most, now)
                try:
                    sleep = sqlalchemy.text("select :i, pg_sleep(:s)")
                    return connection.execute(sleep, {"i": i, "s": SECONDS}).first()[0]
                finally:
                    now -= 1
        query(0)
        assert together(20, query) == list(range(20))
        assert most == 10, most
        assert engine.pool.checkedout() == 0
        # no connection is free: the wait ends with the pool's own error
        busy = [engine.connect() for _ in range(10)]
        impatient = sqlalchemy.create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
        with impatient.connect():
            try:
                impatient.connect()
            except sqlalchemy.exc.TimeoutError:
                print("timeout")
    """
    assert run(code, postgres.port) == ["timeout"]


DJANGO = """
import gc, http.client, types
import django, psycopg
from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from django.urls import path
from gevlite.pywsgi import WSGIServer

where = dict(host="127.0.0.1", port=sys.argv[1], user="tester", dbname="postgres", application_name="observer")
extra = {"plain": {}, "kept": {"CONN_MAX_AGE": None}, "pool": {"OPTIONS": {"pool": {"min_size": 1, "max_size": 3}}}}

def view(request):
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid(), pg_sleep(0.02)")
        return HttpResponse(str(cursor.fetchone()[0]))

urls = types.ModuleType("urls")
urls.urlpatterns = [path("", view)]
sys.modules["urls"] = urls
database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "tester", "HOST": "127.0.0.1",
            "PORT": sys.argv[1], **extra[sys.argv[2]]}
settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", DATABASES={"default": database},
                   LOGGING_CONFIG=None)
django.setup()
from django.core.wsgi import get_wsgi_application
server = WSGIServer(("127.0.0.1", 0), get_wsgi_application(), log=None)
server.start()

def ask(client):
    client.request("GET", "/")
    answer = client.getresponse()
    assert answer.status == 200
    return answer.read()

def ask_again(client):
    return [ask(client) for _ in range(3)]

clients = [http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE) for _ in range(8)]
jobs = [gevlite.spawn(ask_again, client) for client in clients]
gevlite.joinall(jobs, raise_error=True)
used = len({number for job in jobs for number in job.value})
with psycopg.connect(**where, autocommit=True) as observer:
    query = "select count(*) from pg_stat_activity where application_name = '' and backend_type = 'client backend'"
    def left():
        return observer.execute(query).fetchone()[0]
    def wait_for(count):
        while left() != count:
            gc.collect()        # Django leaves the connection of a thread that has ended to it
            gevlite.sleep(0.01)
    wait_for({"plain": 0, "kept": 8, "pool": used}[sys.argv[2]])
    for client in clients:
        client.close()
    wait_for({"plain": 0, "kept": 0, "pool": used}[sys.argv[2]])
print(used)
"""


@pytest.mark.parametrize(("way", "counts"), [("plain", {24}), ("kept", {8}), ("pool", {1, 2, 3})])
def test_the_connections_of_django(run, postgres, way, counts):
    """One for each request, one for each client while it is connected, or those of the pool: see docs/databases.md."""
    pytest.importorskip("django")
    (used,) = run(DJANGO, postgres.port, way)
    assert int(used) in counts
