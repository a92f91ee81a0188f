"""pymongo, unmodified, in a patched process, against a stub of a server: tests/mongo_stub.py."""

import textwrap

import pytest
from real_servers import free_port

pytest.importorskip("pymongo")

# `events` counts pymongo's events about connections and monitors, `out` and `most_out` the connections in use.
HEAD = """
from collections import Counter
import pymongo
from gevlite.event import Event
from pymongo import monitoring

events, out, most_out, beat = Counter(), 0, 0, Event()

class Pool(monitoring.ConnectionPoolListener):
    def count(self, event):
        events[type(event).__name__] += 1
    pool_created = pool_ready = pool_cleared = pool_closed = count
    connection_created = connection_ready = connection_closed = count
    connection_check_out_started = connection_check_out_failed = count

    def connection_checked_out(self, event):
        global out, most_out
        out += 1
        most_out = max(most_out, out)

    def connection_checked_in(self, event):
        global out
        out -= 1

class Heart(monitoring.ServerHeartbeatListener):
    def started(self, event): pass
    def failed(self, event):
        events["failed heartbeats"] += 1
    def succeeded(self, event):
        events["heartbeats"] += 1
        if events["heartbeats"] >= 3:
            beat.set()

def connect(**options):
    return pymongo.MongoClient("127.0.0.1", int(sys.argv[1]), event_listeners=[Pool(), Heart()], **options)

def sleep(seconds=SECONDS):
    return client.admin.command("sleep", 1, millis=int(seconds * 1000))["ok"]

client = connect(heartbeatFrequencyMS=500)
"""


@pytest.fixture
def script(run, mongodb):
    """`script(code, *arguments)`: what it prints, in words."""
    return lambda code, *arguments: run(HEAD + textwrap.dedent(code), mongodb.port, *arguments)


def test_many_greenlets_share_a_client(script):
    code = """
        assert together(20, lambda i: sleep()) == [1.0] * 20
        pages = client.app.pages
        def work(i):
            pages.insert_many([{"owner": i, "number": number} for number in range(250)])
            found = [one["number"] for one in pages.find({"owner": i}, batch_size=100)]
            return i, found == list(range(250)), pages.find_one({"owner": i, "number": 7})["number"]
        jobs = [gevlite.spawn(work, i) for i in range(30)]
        gevlite.joinall(jobs, raise_error=True)
        assert [job.value for job in jobs] == [(i, True, 7) for i in range(30)]
        # unacknowledged: there is no answer
        loose = client.app.get_collection("loose", write_concern=pymongo.WriteConcern(w=0))
        loose.insert_one({"number": 1})
        while loose.find_one() is None:
            gevlite.sleep(0.01)
        client.close()
        print("ok")
    """
    assert script(code) == ["ok"]


def test_the_pool_lets_greenlets_wait_for_a_connection(script):
    code = """
        client = connect(maxPoolSize=3)
        jobs = [gevlite.spawn(sleep, 0.02) for _ in range(12)]
        gevlite.joinall(jobs, raise_error=True)
        assert most_out == 3 and out == 0 and events["ConnectionCreatedEvent"] <= 3, (most_out, out, events)
        client = connect(maxPoolSize=1, waitQueueTimeoutMS=100)
        busy = gevlite.spawn(sleep, 30)
        while out == 0:
            gevlite.sleep(0.01)
        try:
            sleep(0)
        except pymongo.errors.WaitQueueTimeoutError:
            print("timeout")
        busy.kill()
    """
    assert script(code) == ["timeout"]


def test_its_monitors_are_greenlets(script):
    """They watch the server while other greenlets wait, and leave nothing behind."""
    code = """
        import gc, threading
        client.admin.command("ping")
        monitors = [thread for thread in threading.enumerate() if thread.name.startswith("pymongo_server")]
        greenlets = [one for one in gc.get_objects() if isinstance(one, gevlite.Greenlet)]
        assert monitors and {thread.name for thread in monitors} <= {one.name for one in greenlets}, greenlets
        assert beat.wait(timeout=PATIENCE) and events["failed heartbeats"] == 0
        client.close()
        client = None
        while any(thread.name.startswith("pymongo_server") for thread in threading.enumerate()):
            gevlite.sleep(0.01)
        print("ok")
    """
    assert script(code) == ["ok"]


def test_time_limits_of_pymongo(script):
    code = """
        ticks = 0
        def tick():
            global ticks
            while True:
                gevlite.sleep(0.01)
                ticks += 1
        gevlite.spawn(tick)
        def limited(error, call):
            before = ticks
            try:
                call()
            except error as exc:
                assert exc.timeout, exc
                assert ticks > before
                print(error.__name__)

        nowhere = pymongo.MongoClient("127.0.0.1", int(sys.argv[2]), serverSelectionTimeoutMS=300)
        limited(pymongo.errors.ServerSelectionTimeoutError, lambda: nowhere.admin.command("ping"))
        client = connect(socketTimeoutMS=200)
        limited(pymongo.errors.NetworkTimeout, lambda: sleep(30))
        assert events["ConnectionClosedEvent"] == 1
        client = connect()
        sleep(0)
        with pymongo.timeout(0.2):
            limited(pymongo.errors.PyMongoError, lambda: sleep(30))
        assert sleep(0) == 1.0
    """
    limits = ["ServerSelectionTimeoutError", "NetworkTimeout", "PyMongoError"]
    assert script(code, free_port()) == limits


@pytest.mark.parametrize("way", ["by_a_timeout", "by_a_kill"])
def test_a_query_that_is_ended_closes_its_connection(script, way):
    code = """
        def by_a_timeout():
            with gevlite.Timeout(0.2, False):
                sleep(30)
        def by_a_kill():
            job = gevlite.spawn(sleep, 30)
            while out == 0:
                gevlite.sleep(0.01)
            gevlite.idle()      # it has sent the query
            job.kill()

        client.app.things.insert_many([{"number": number} for number in range(20)])
        before = events["ConnectionClosedEvent"]
        globals()[sys.argv[2]]()
        assert events["ConnectionClosedEvent"] == before + 1, events
        assert out == 0
        # and no one gets the answer of another
        for number in range(20):
            assert client.app.things.find_one({"number": number})["number"] == number
        print("ok")
    """
    assert script(code, way) == ["ok"]


def test_after_a_fork(script):
    """A client made in the child works, and the parent's goes on."""
    code = """
        import os, traceback
        client.app.things.insert_one({"number": 1})
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with connect() as own:
                    assert own.app.things.find_one({"number": 1})["number"] == 1
                    code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert client.app.things.find_one({"number": 1})["number"] == 1
        print("ok")
    """
    assert script(code) == ["ok"]
