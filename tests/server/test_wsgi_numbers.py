"""What `gevlite.metrics` counts of a WSGIServer: its requests, and the clients that it does not serve."""

import pytest
from wsgi_apps import ANY, GET, answers, hello

import gevlite
from gevlite import metrics
from gevlite.event import Event
from gevlite.pywsgi import Limits, Proxies, WSGIServer


def numbers(server):
    [found] = [one for one in metrics.read()["servers"] if one["address"] == f"127.0.0.1:{server.server_port}"]
    return found


@pytest.fixture
def become(settle):
    """`become(server, **wanted)`: wait until its numbers have these values."""

    def wait(server, **wanted):
        assert settle(lambda: wanted.items() <= numbers(server).items(), 20), numbers(server)

    return wait


class Gate:
    """An application whose requests wait until it is open."""

    def __init__(self):
        self.open = Event()

    def __call__(self, environ, start_response):
        self.open.wait()
        return hello(environ, start_response)


def test_requests_by_their_status_and_duration(site, http, errors, become):
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/fails":
            raise ValueError
        if environ["PATH_INFO"] == "/slow":
            gevlite.sleep(0.3)
        status = "404 Not Found" if environ["PATH_INFO"] == "/missing" else "200 OK"
        return answers([b""], status)(environ, start_response)

    server = site(application)
    statuses = [http(server).get(path).status for path in ("/", "/", "/slow", "/missing", "/fails")]
    assert statuses == [200, 200, 200, 404, 500]
    assert http(server).ask(b"nonsense\r\n\r\n", "GET").status == 400
    become(server, accepted=6, active=0, requests={"none": 0, "1xx": 0, "2xx": 3, "3xx": 0, "4xx": 2, "5xx": 1})
    duration = numbers(server)["duration"]
    assert duration["count"] == 5, "one never reached the application"
    assert duration["seconds"] > 0.25
    assert sum(count for limit, count in duration["buckets"] if limit is None or limit > 0.25) >= 1


def test_a_request_whose_connection_is_taken_over_has_no_status_and_no_duration(site, http, become):
    def application(environ, start_response):
        with environ["gunicorn.socket"] as sock:
            sock.sendall(b"something else")
        return []

    server = site(application)
    client = http(server)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: shouting\r\n\r\n")
    assert client.file.read() == b"something else"
    become(server, active=0, requests={"none": 1, "1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0})
    assert numbers(server)["duration"]["count"] == 0


def test_requests_that_the_application_has_and_those_that_wait_for_a_place(site, http, become):
    gate = Gate()
    server = site(gate, spawn=2)
    clients = [http(server) for _ in range(5)]
    for client in clients:
        client.send(GET)
    become(server, active=2, waiting=3)
    gate.open.set()
    assert [client.response().status for client in clients] == [200] * 5
    become(server, active=0, waiting=0)


@pytest.mark.parametrize("busy", [True, False])
def test_connections_that_are_closed_because_there_are_too_many(serve, http, busy, become):
    gate = Gate()
    server = WSGIServer(ANY, gate, log=None, spawn=10, limits=Limits(max_queued=10))
    server.max_connections = 2
    serve(server)
    if not busy:
        gate.open.set()
    clients = [http(server) for _ in range(2)]
    for client in clients:
        client.send(GET.replace(b"Connection: close\r\n", b""))
    if busy:
        become(server, accepted=2, active=2)
    else:
        assert [client.response().status for client in clients] == [200] * 2
    assert numbers(server)["refused"] == 0
    # A new one is refused with an answer, or the one that has waited for the longest time is closed.
    assert http(server).get().status == (503 if busy else 200)
    become(server, refused=1)
    gate.open.set()


@pytest.mark.parametrize("header", [b"GET / HTTP/1.1\r\n\r\n", b""])
def test_connections_without_the_header_of_the_proxy_protocol_have_failed(site, http, header, become):
    server = site(hello, proxies=Proxies("127.0.0.1", protocol=True), error_log=None)
    client = http(server)
    client.send(header)
    client.sock.shutdown(1)
    assert client.is_closed()
    become(server, accepted=1, failed=1, open=0)


def test_a_scrape_has_them_too(site, http, become):
    server = site(hello)
    assert [http(server).get().status for _ in range(3)] == [200] * 3
    become(server, active=0)
    label = f'server="127.0.0.1:{server.server_port}"'
    lines = metrics._text().splitlines()
    assert f'gevlite_server_requests_total{{{label},status="2xx"}} 3.0' in lines
    assert f"gevlite_server_request_duration_seconds_count{{{label}}} 3.0" in lines
    assert f"gevlite_server_requests_active{{{label}}} 0.0" in lines
