"""HTTP requests to a WSGI application: 100 kept connections by wrk, one worker process.

    python -m benchmarks --only wsgi_hello --python-libs gevlite,gevent,uvicorn,granian,granian-1

uvicorn, for which WSGI is an afterthought, serves the ASGI twin of each application, except for Flask.
"""

import statistics
import tempfile
import time

from benchmarks.case import Case, Metric, Target
from benchmarks.network import measure, python, remarks

CONNECTIONS = 100
POSTED = 65536


def figures(server, application, size=0):
    command = python("wsgi_servers.py", server, application)
    found, shares = measure(command, python("wrk_client.py"), CONNECTIONS, size)
    return {
        "server CPU for each request": found["server_cpu"] / found["done"],
        "throughput": found["done"] / found["seconds"],
        "latency, median": found["p50"],
        "latency, 99th percentile": found["p99"],
        "latency, longest": found["max"],
        **shares,
        "server waited": found["server_waited"],
    }


def make_case(name, title, application, *must, size=0, quick=False):
    case = Case(
        name,
        f"WSGI, {title}, {CONNECTIONS} connections",
        rounds=1,
        quick=quick,
        metrics=(
            Metric("server CPU for each request", "s", must),
            Metric("throughput", "/s", must),
            Metric("latency, median"),
            Metric("latency, 99th percentile"),
        ),
        remarks=remarks,
        program="wrk",
    )

    @case.on("gevlite", "gevent", "uvicorn", "granian", "granian-1")
    def _(lib, n):
        return figures(lib.name, application, size)

    return case


def make_gunicorn_case(name, title, application, *must):
    case = Case(
        name,
        f"gunicorn, worker of each, {title}, {CONNECTIONS} connections",
        rounds=1,
        quick=False,
        metrics=(
            Metric("server CPU for each request", "s", must),
            Metric("throughput", "/s", must),
            Metric("latency, median"),
            Metric("latency, 99th percentile"),
        ),
        remarks=remarks,
        program="wrk",
    )

    @case.on("gevlite", "gevent")
    def _(lib, n):
        return figures(f"gunicorn-{lib.name}", application)

    return case


access_log = Case(
    "access_log",
    "access log of the server: what a request costs more, the writing included",
    n=30,
    rounds=1,
    metrics=tuple(
        Metric(name, "s", (Target.at_most(most, text),))
        for name, most, text in (
            ("combined", 1.5e-6, "1.5 µs"),
            ("json", 2.5e-6, "2.5 µs"),
            ("a format", 1.5e-6, "1.5 µs"),
        )
    ),
)
_REQUEST = (
    b"GET /some/path?with=query HTTP/1.1\r\nHost: localhost:8000\r\nAccept: */*\r\nReferer: http://localhost/\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\r\n"
)


wsgi_get = Case("wsgi_get", "WSGI, GET on a kept connection, client and server in one thread", n=5_000, quick=False)


def _hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


@wsgi_get.on("gevlite")
def _(lib, n):
    from gevlite.pywsgi import WSGIServer

    with WSGIServer(("127.0.0.1", 0), _hello, log=None) as server:
        server.start()
        with lib.socket.create_connection(server.address) as client:
            for _ in range(n):
                client.sendall(_REQUEST)
                assert client.recv(1000).endswith(b"hello")


@access_log.on("gevlite")
def _(lib, n):
    """Many requests at once on one connection, so that the log is a large part of the work. The rounds of the servers
    alternate; the figure is the median of their differences."""
    from gevlite import socket
    from gevlite.pywsgi import AccessLog, WSGIServer

    with tempfile.NamedTemporaryFile() as file:
        formats = {"combined": "combined", "json": "json", "a format": '%(h)s "%(r)s" %(s)s %(D)s'}
        logs = {"none": None, **{name: AccessLog(file.name, text) for name, text in formats.items()}}
        servers = {name: WSGIServer(("127.0.0.1", 0), _hello, log=log) for name, log in logs.items()}
        clients, took = {}, {name: [] for name in servers}
        for name, server in servers.items():
            server.start()
            clients[name] = socket.create_connection(server.address)
        for turn in range(n + 3):
            for name, client in clients.items():
                start = time.process_time()
                for _ in range(10):
                    client.sendall(_REQUEST * 100)
                    answered = 0
                    while answered < 100:
                        answered += client.recv(1 << 20).count(b"HTTP/1.1 200")
                if turn >= 3:
                    took[name].append((time.process_time() - start) / 1000)
        for name, server in servers.items():
            clients[name].close()
            server.stop()
    return {
        name: statistics.median(with_log - without for with_log, without in zip(took[name], took["none"], strict=True))
        for name in formats
    }


hello = make_case("wsgi_hello", "hello", "hello", Target.faster("granian", 1.5), quick=True)
ten_kib = make_case("wsgi_10k", "10 KiB", "ten_kib", Target.faster("granian", 1.5))
echo = make_case("wsgi_echo", "64 KiB posted and sent back", "echo", Target.faster("granian", 1), size=POSTED)
flask = make_case("wsgi_flask", "Flask", "flask", Target.faster("granian", 1))
gunicorn = make_gunicorn_case("gunicorn_hello", "hello", "hello", Target.faster("gevent", 3))
gunicorn_flask = make_gunicorn_case("gunicorn_flask", "Flask", "flask", Target.faster("gevent", 1))


def test_wsgi_get(bench, lib):
    bench(wsgi_get, lib)


def test_access_log(bench, lib):
    bench(access_log, lib)


def test_wsgi_hello(bench, lib):
    bench(hello, lib)


def test_wsgi_10k(bench, lib):
    bench(ten_kib, lib)


def test_wsgi_echo(bench, lib):
    bench(echo, lib)


def test_wsgi_flask(bench, lib):
    bench(flask, lib)


def test_gunicorn_hello(bench, lib):
    bench(gunicorn, lib)


def test_gunicorn_flask(bench, lib):
    bench(gunicorn_flask, lib)
