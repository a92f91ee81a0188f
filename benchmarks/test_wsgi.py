"""HTTP requests to a WSGI application: 100 kept connections by wrk, one worker process.

    python -m benchmarks --only wsgi_hello --python-libs gevlite,gevent,uvicorn,granian,granian-1

uvicorn, for which WSGI is an afterthought, serves the ASGI twin of each application, except for Flask.
"""

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


hello = make_case("wsgi_hello", "hello", "hello", Target.faster("granian", 1.5), quick=True)
ten_kib = make_case("wsgi_10k", "10 KiB", "ten_kib", Target.faster("granian", 1.5))
echo = make_case("wsgi_echo", "64 KiB posted and sent back", "echo", Target.faster("granian", 1), size=POSTED)
flask = make_case("wsgi_flask", "Flask", "flask", Target.faster("granian", 1))
gunicorn = make_gunicorn_case("gunicorn_hello", "hello", "hello", Target.faster("gevent", 3))
gunicorn_flask = make_gunicorn_case("gunicorn_flask", "Flask", "flask", Target.faster("gevent", 1))


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
