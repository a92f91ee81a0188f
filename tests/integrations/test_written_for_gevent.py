"""Software written for gevent, unmodified and without gevent: each runs under `python -m gevlite.as_gevent`."""

import concurrent.futures
import contextlib
import importlib.machinery
import importlib.util
import json
import re
import signal
import subprocess
import sys
import urllib.request

import psutil
import pytest
from processes import until
from real_servers import free_port


def test_gevent_is_not_installed():
    """So that no test here passes only because of it."""
    if importlib.machinery.PathFinder.find_spec("gevent") is not None:
        pytest.skip("gevent is installed, for other purposes; that nothing of it is used is checked in each program")


def need(module):
    """Skip the test if there is no such library. It is not imported here: it could take hold of this process."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"no {module}: python -m pip install --no-deps -r tests/integrations/without-gevent.txt")


def fetch(url, data=None):
    with urllib.request.urlopen(url, data, timeout=20) as response:
        return response.read().decode()


# ---------------------------------------------------------------- gunicorn

APPLICATION = """
    import os, threading, time
    import stand_in

    barrier = threading.Barrier(10)

    def application(environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/together":
            barrier.wait(20)            # ten requests have to be here at once
        if path == "/slow":
            open("begun", "w").close()
            while not os.path.exists("go on"):
                time.sleep(0.01)
        body = {"/pid": str(os.getpid()), "/echo": environ["wsgi.input"].read().decode()}.get(path, stand_in.check())
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body.encode()]
"""


@pytest.fixture(params=["gevent", "gevent_pywsgi"])
def gunicorn(request, programs, port):
    pytest.importorskip("gunicorn")
    programs.write("app.py", APPLICATION)
    return programs.serve(
        port,
        "-m",
        "gunicorn",
        "-k",
        request.param,
        "-b",
        f"127.0.0.1:{port}",
        "--graceful-timeout",
        20,
        "app:application",
    )


def test_gunicorn(gunicorn, tmp_path):
    assert fetch(gunicorn.url) == "gevlite"
    assert fetch(f"{gunicorn.url}/echo", b"x" * 100_000) == "x" * 100_000
    with concurrent.futures.ThreadPoolExecutor(10) as threads:
        assert list(threads.map(fetch, [f"{gunicorn.url}/together"] * 10)) == ["gevlite"] * 10
    # another worker takes over
    before = fetch(f"{gunicorn.url}/pid")
    gunicorn.process.send_signal(signal.SIGHUP)
    until(lambda: fetch(f"{gunicorn.url}/pid") != before)
    until(lambda: not psutil.pid_exists(int(before)))
    # requests that have begun are finished
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        slow = threads.submit(fetch, f"{gunicorn.url}/slow")
        until((tmp_path / "begun").exists)
        gunicorn.process.send_signal(signal.SIGTERM)
        until(lambda: "Handling signal: term" in gunicorn.log.read_text())
        (tmp_path / "go on").touch()
        assert slow.result(20) == "gevlite"
    assert gunicorn.process.wait(20) == 0
    log = gunicorn.log.read_text()
    assert "Traceback" not in log and "MonkeyPatchWarning" not in log, log


# ---------------------------------------------------------------- Celery

TASKS = """
    import os, threading, time
    import celery, stand_in

    redis = f"redis://127.0.0.1:{os.environ['REDIS_PORT']}/"
    app = celery.Celery("tasks", broker=redis + "0", backend=redis + "1")
    app.conf.update(broker_connection_retry_on_startup=True, worker_cancel_long_running_tasks_on_connection_loss=True)
    barrier = threading.Barrier(8)

    @app.task
    def together(number):
        barrier.wait(20)
        return [number, stand_in.check()]

    @app.task(bind=True)
    def sleep(self, seconds):
        self.update_state(state="BEGUN")
        time.sleep(seconds)
        return seconds
"""


def test_celery(programs, redis_server):
    pytest.importorskip("celery")
    programs.write("tasks.py", TASKS)
    programs.write(
        "client.py",
        """
        import time
        import celery, celery.exceptions, tasks

        results = celery.group(tasks.together.s(i) for i in range(8))().get(timeout=40)
        assert results == [[i, "gevlite"] for i in range(8)], results
        try:
            tasks.sleep.apply_async((30,), time_limit=0.2).get(timeout=20)
        except celery.exceptions.TimeLimitExceeded:
            print("limit")
        job = tasks.sleep.delay(30)
        while job.state != "BEGUN":
            time.sleep(0.01)
        job.revoke(terminate=True)
        try:
            job.get(timeout=20)
        except celery.exceptions.TaskRevokedError:
            print("revoked")
        job = tasks.sleep.delay(1)      # the worker is stopped meanwhile
        while job.state != "BEGUN":
            time.sleep(0.01)
        print("begun", flush=True)
    """,
    )
    log = programs.folder / "celery.log"
    options = programs.options({"REDIS_PORT": str(redis_server.port)})
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(open(log, "wb"))
        command = ["-m", "gevlite.as_gevent", "-m", "celery", "-A", "tasks", "worker", "-P", "gevent", "-c", "8"]
        worker = subprocess.Popen(
            [sys.executable, *command, "--without-mingle", "--without-gossip", "-l", "info"],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            **options,
        )
        stack.callback(worker.wait, 20)
        stack.callback(worker.kill)
        assert programs.run("client.py", launcher=(), REDIS_PORT=str(redis_server.port)).split() == [
            "limit",
            "revoked",
            "begun",
        ]
        worker.terminate()
        assert worker.wait(30) == 0, log.read_text()
    assert "Warm shutdown" in log.read_text()
    assert re.search(r"tasks\.sleep\[\S+\] succeeded in [1-9]", log.read_text())  # not cut short: it takes a second


# ---------------------------------------------------------------- Flask-SocketIO

SOCKETIO_SERVER = """
    import sys
    port, websockets = sys.argv[1:]
    if websockets == "simple-websocket":
        sys.modules["geventwebsocket"] = None       # the fallback of engineio
    import flask, flask_socketio, stand_in

    app = flask.Flask("app")
    socketio = flask_socketio.SocketIO(app, async_mode="gevent")

    @app.get("/")
    def index():
        return stand_in.check()

    @socketio.on("echo")
    def echo(data):
        socketio.sleep(0.01)
        return data

    @socketio.on("shout")
    def shout(data):
        socketio.emit("heard", data)

    socketio.run(app, "127.0.0.1", int(port))
"""

SOCKETIO_CLIENT = """
    import sys, threading
    import socketio

    url, transport = sys.argv[1:]
    clients = [socketio.Client() for _ in range(3)]
    heard = [threading.Event() for _ in clients]
    for client, event in zip(clients, heard):
        client.on("heard", lambda data, event=event: event.set())
        client.connect(url, transports=["polling", "websocket"] if transport == "upgrade" else [transport])
        print(client.transport())
    for i, client in enumerate(clients):
        assert client.call("echo", [i, "x" * 10_000], timeout=20) == [i, "x" * 10_000]
    clients[0].emit("shout", "to all")
    assert all(event.wait(20) for event in heard)
    for client in clients:
        client.disconnect()
"""


@pytest.mark.parametrize("websockets", ["gevent-websocket", "simple-websocket"])
def test_flask_socketio(programs, port, websockets):
    pytest.importorskip("flask_socketio")
    pytest.importorskip("websocket")
    if websockets == "gevent-websocket":
        need("geventwebsocket")
    programs.write("server.py", SOCKETIO_SERVER)
    programs.write("client.py", SOCKETIO_CLIENT)
    server = programs.serve(port, "server.py", port, websockets)
    assert fetch(server.url) == "gevlite"
    for transport in ("polling", "websocket", "upgrade"):
        expected = "polling" if transport == "polling" else "websocket"
        assert programs.run("client.py", server.url, transport, launcher=()).split() == [expected] * 3
    assert "Traceback" not in server.log.read_text(), server.log.read_text()


# ---------------------------------------------------------------- Locust

LOCUSTFILE = """
    import gevent
    from locust import FastHttpUser, HttpUser, constant, events, task
    from locust.runners import WorkerRunner
    import stand_in

    class WithRequests(HttpUser):
        wait_time = constant(0.02)

        @task
        def get(self):
            self.client.get("/get")

    class WithGeventhttpclient(FastHttpUser):
        wait_time = constant(0.02)

        @task
        def post(self):
            self.client.post("/post", data="x" * 1000)

    def quit_after_enough(environment):
        def enough():
            done = list(environment.stats.entries.values())
            return len(done) == 2 and all(each.num_requests > 20 for each in done)
        while not enough():
            gevent.sleep(0.05)
        environment.runner.quit()

    @events.init.add_listener
    def init(environment, **options):
        if not isinstance(environment.runner, WorkerRunner):
            gevent.spawn(quit_after_enough, environment)

    @events.quitting.add_listener
    def quitting(environment, **options):
        open("checked", "w").write(stand_in.check())
"""

LOCUST_SERVER = """
    import sys
    from gevlite import pywsgi

    def application(environ, start_response):
        size = len(environ["wsgi.input"].read())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d" % size]

    pywsgi.WSGIServer(("127.0.0.1", int(sys.argv[1])), application, log=None).serve_forever()
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_locust(programs, port, processes):
    """With two worker processes it talks to them by zmq.green."""
    need("locust")
    programs.write("locustfile.py", LOCUSTFILE)
    programs.write("server.py", LOCUST_SERVER)
    server = programs.serve(port, "server.py", port, launcher=())
    meet = free_port()
    several = (
        ["--processes", processes, "--master-bind-host", "127.0.0.1", "--master-bind-port", meet, "--master-port", meet]
        if processes > 1
        else []
    )
    # A worker of Locust relies on it that the greenlet which it spawns for reports does not run before it waits.
    environment = {"GEVLITE_TIME_SLICE": ""} if processes > 1 else {}
    options = ["--headless", "-u", 20, "-r", 20, "--host", server.url, "--json-file", "result", *several]
    programs.run("-m", "locust", *options, **environment)
    requests = {found["name"]: found for found in json.loads((programs.folder / "result.json").read_text())}
    assert set(requests) == {"/get", "/post"}
    assert all(found["num_requests"] > 20 and found["num_failures"] == 0 for found in requests.values())
    assert (programs.folder / "checked").read_text() == "gevlite"


# ---------------------------------------------------------------- libraries


def test_zmq_green(programs):
    pytest.importorskip("zmq")
    programs.write(
        "program.py",
        """
        import gevent, stand_in
        import zmq.green as zmq

        context = zmq.Context()
        server = context.socket(zmq.ROUTER)
        port = server.bind_to_random_port("tcp://127.0.0.1")
        waiting = []

        def serve():        # answers when ten questions are there, so they have to wait together
            while True:
                waiting.append(server.recv_multipart())
                if len(waiting) == 10:
                    for message in waiting:
                        server.send_multipart(message)
                    waiting.clear()

        def ask(number):
            with context.socket(zmq.REQ) as sock:
                sock.connect(f"tcp://127.0.0.1:{port}")
                for i in range(20):
                    sock.send(b"%d" % i)
                    assert sock.recv() == b"%d" % i

        job = gevent.spawn(serve)
        gevent.joinall([gevent.spawn(ask, i) for i in range(10)], timeout=30, raise_error=True)
        job.kill()

        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        push.connect(f"tcp://127.0.0.1:{pull.bind_to_random_port('tcp://127.0.0.1')}")
        poller = zmq.Poller()
        poller.register(pull, zmq.POLLIN)
        assert poller.poll(20) == []
        gevent.spawn_later(0.02, push.send, b"x")
        assert poller.poll(20_000) == [(pull, zmq.POLLIN)] and pull.recv() == b"x"
        with gevent.Timeout(0.02, False):
            pull.recv()
            raise AssertionError
        for sock in (server, pull, push):
            sock.close(0)
        context.term()
        print(stand_in.check())
    """,
    )
    assert programs.run("program.py") == "gevlite\n"


def test_psycogreen(programs, postgres):
    pytest.importorskip("psycogreen")
    pytest.importorskip("psycopg2")
    programs.write(
        "program.py",
        """
        import sys, time
        import gevent, psycogreen.gevent, psycopg2, stand_in

        psycogreen.gevent.patch_psycopg()

        def query(number):
            connection = psycopg2.connect(f"host=127.0.0.1 port={sys.argv[1]} user=tester dbname=postgres")
            with connection, connection.cursor() as cursor:
                cursor.execute("select %s::int, pg_sleep(0.25)", (number,))
                return cursor.fetchone()[0]

        start = time.monotonic()
        jobs = [gevent.spawn(query, i) for i in range(20)]
        gevent.joinall(jobs, timeout=40, raise_error=True)
        assert [job.value for job in jobs] == list(range(20))
        assert time.monotonic() - start < 5         # one after the other they take longer
        print(stand_in.check())
    """,
    )
    assert programs.run("program.py", postgres.port) == "gevlite\n"
