"""`WSGIServer(status_path=...)`: what the page shows, which clients get it, and the application never sees its path."""

import os
import re

import pytest
from serving import Client
from wsgi_apps import hello

import gevlite
from gevlite import socket, ssl
from gevlite._status import StatusPage
from gevlite.event import Event
from gevlite.lock import Semaphore
from gevlite.pywsgi import Proxies, WSGIHandler, WSGIServer

parser = pytest.importorskip("prometheus_client.parser")

PAGE = "/-/status"


def samples(text):
    """`{(name, sorted labels): value}`."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


class Application:
    """Says hello and keeps the paths that it has seen."""

    def __init__(self):
        self.seen = []

    def __call__(self, environ, start_response):
        self.seen.append(environ["PATH_INFO"])
        return hello(environ, start_response)


@pytest.fixture
def page(site, http):
    """`page(**arguments)`: a client of a server with the page, and its application."""

    def start(**arguments):
        application = Application()
        return http(site(application, status_path=PAGE, **arguments)), application

    return start


# ---------------------------------------------------------------- what it shows


def test_for_people_it_is_the_screen_of_ps_and_the_numbers(page):
    never = Event()

    def serve_a_client(secret):
        never.wait()

    waiting = [gevlite.spawn(serve_a_client, "a secret") for _ in range(7)]
    gevlite.sleep(0)
    client, application = page()
    for _ in range(3):
        client.get("/")
    answer = client.get(PAGE)
    text = answer.body.decode()
    never.set()
    gevlite.joinall(waiting)
    assert answer.status == 200 and answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Cache-Control"] == "no-store"
    assert "7 x test_for_people_it_is_the_screen_of_ps_and_the_numbers.<locals>.serve_a_client" in text
    assert "waits for Event" in text and "Deadlock" not in text
    assert re.search(r"Loop of MainThread: busy [\d.]+ s, \d+ rounds", text)
    assert re.search(r"connections: 1 open, 1 accepted, 0 refused, 0 failed", text)
    assert "requests: 3 2xx" in text
    assert "a secret" not in text
    assert application.seen == ["/"] * 3


def test_it_shows_no_arguments_of_the_program_and_no_environment(page, monkeypatch):
    monkeypatch.setattr("sys.argv", ["serve.py", "--password=a-secret"])
    monkeypatch.setenv("A_TOKEN", "another-secret")
    client, _ = page()
    text = client.get(PAGE).body.decode()
    assert "serve.py" in text and "secret" not in text


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"{PAGE}/metrics", ()),
        (f"{PAGE}/metrics", ("Accept: text/html",)),
        (f"{PAGE}/metrics?x=y", ()),
        (PAGE, ("Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",)),
        (PAGE, ("Accept: text/plain;version=0.0.4",)),
    ],
)
def test_for_prometheus_it_is_its_text_format(page, path, headers):
    client, application = page()
    client.get("/a")
    answer = client.get(path, *headers)
    assert answer.status == 200 and answer["Content-Type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.body.decode())
    host, port, *_ = client.sock.getpeername()
    address = f"{host}:{port}"
    assert found["gevlite_server_requests_total", (("server", address), ("status", "2xx"))] == 1
    assert not any("pid" in dict(labels) for _, labels in found)
    assert application.seen == ["/a"]


def test_among_several_processes_each_sample_says_of_which_it_is(page):
    client, _ = page(environ={"wsgi.multiprocess": True})
    found = samples(client.get(f"{PAGE}/metrics").body.decode())
    assert {dict(labels)["pid"] for _, labels in found} == {str(os.getpid())}


# ---------------------------------------------------------------- which clients get it


FORWARDED = [
    "X-Forwarded-For: 203.0.113.5",
    "X-Forwarded-For: 127.0.0.1",
    "x-forwarded-proto: https",
    "X-Forwarded-Host: example.com",
    "X-Forwarded-Prefix: /x",
    "Forwarded: for=203.0.113.5",
    "Via: 1.1 proxy",
    "X-Real-IP: 203.0.113.5",
    "X-Client-IP: 203.0.113.5",
    "CF-Connecting-IP: 203.0.113.5",
    "True-Client-IP: 203.0.113.5",
    "X-Envoy-External-Address: 203.0.113.5",
    "X-Amzn-Trace-Id: Root=1",
    "CDN-Loop: a",
]


@pytest.mark.parametrize("trusted", [None, "127.0.0.1", "10.0.0.0/8"])
@pytest.mark.parametrize("field", FORWARDED)
def test_not_to_whom_a_proxy_speaks_for(page, field, trusted):
    # Fields of an untrusted proxy are removed from environ, and those of a trusted one change it.
    proxies = None if trusted is None else Proxies(trusted, "x-forwarded-for, x-forwarded-proto, x-forwarded-host")
    client, application = page(proxies=proxies)
    for path in (PAGE, f"{PAGE}/metrics"):
        answer = client.get(path, field)
        assert answer.status == 403 and b"gevlite_" not in answer.body
    assert application.seen == []
    assert client.get(PAGE).status == 200, "and the connection is still good"


@pytest.mark.parametrize("header", [b"PROXY TCP4 127.0.0.1 127.0.0.1 5678 80\r\n", b"PROXY UNKNOWN\r\n"])
def test_not_on_a_connection_with_the_proxy_protocol(page, header):
    client, application = page(proxies=Proxies("127.0.0.1", protocol=True))
    client.send(header)
    assert client.get(PAGE).status == 403
    assert application.seen == []


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "10.0.0.1:80", "localhost.example.com", ""])
def test_not_under_a_name_that_is_not_of_this_machine(page, host):
    client, _ = page()
    answer = client.ask(f"GET {PAGE} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"])
def test_under_the_names_of_this_machine(page, host):
    client, _ = page()
    assert client.ask(f"GET {PAGE} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == 200


def test_not_by_http_1_0_as_nginx_speaks_it(page):
    client, _ = page()
    assert client.ask(f"GET {PAGE} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()).status == 403


def test_not_by_a_unix_socket(site, dial, tmp_path):
    server = site(hello, listener=f"unix:{tmp_path}/socket", status_path=PAGE)
    client = Client(dial(server))
    assert client.get(PAGE).status == 403
    assert client.get("/").status == 200


class Peer:
    """The part of a socket that the page uses."""

    def __init__(self, peer):
        self.peer = peer

    def getpeername(self):
        if self.peer is None:
            raise OSError("not connected")
        return self.peer


@pytest.mark.parametrize(
    ("peer", "shown"),
    [
        (("127.0.0.1", 5), True),
        (("127.9.9.9", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        (("192.0.2.1", 5), False),
        (("::ffff:192.0.2.1", 5, 0, 0), False),
        (("2001:db8::1", 5, 0, 0), False),
        (("fe80::1%lo", 5, 0, 1), False),
        (("0.0.0.0", 5), False),
        ("", False),
        (None, False),
    ],
)
def test_only_to_peers_on_this_machine(peer, shown):
    environ = {
        "PATH_INFO": PAGE,
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "127.0.0.1",
    }
    statuses = []
    answer = StatusPage(PAGE, False).answer(Peer(peer), False, environ)
    answer(environ, lambda status, headers: statuses.append(status))
    assert statuses == ["200 OK" if shown else "403 Forbidden"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_only_get(page, method):
    client, application = page()
    answer = client.ask(f"{method} {PAGE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    assert answer.status == 405 and answer["Allow"] == "GET"
    assert application.seen == []
    assert client.get("/").status == 200


# ---------------------------------------------------------------- the path


@pytest.mark.parametrize(
    "path", ["/-/status/", "/-/status/other", "/-/status/metrics/", "/-/status/../x", "/%2D/status/x"]
)
def test_the_application_sees_nothing_below_the_path(page, path):
    client, application = page()
    assert client.get(path).status == 404
    assert application.seen == []


@pytest.mark.parametrize("path", ["/%2D/status", "http://localhost/-/status"])
def test_other_ways_to_write_the_path(page, path):
    client, application = page()
    assert client.get(path).status == 200
    assert application.seen == []


@pytest.mark.parametrize("path", ["/-/statusx", "/-/status.txt", "/x/-/status", "/-", "/"])
def test_all_other_paths_are_the_applications(page, path):
    client, application = page()
    assert client.get(path).body == b"hello"
    assert application.seen == [path]


def test_without_the_setting_the_path_is_the_applications(visit):
    assert visit(hello).get(PAGE).body == b"hello"


@pytest.mark.parametrize(
    "bad", ["", "/", "status", "/-/status/", "//x", "/a?b", "/a#b", "/a b", "/a%20b", "/../a", "/ä", 5, b"/x", True]
)
def test_a_bad_path_is_refused_at_once(bad):
    with pytest.raises((TypeError, ValueError), match="status_path must be a path such as '/-/status'"):
        WSGIServer(("127.0.0.1", 0), hello, status_path=bad)


# ---------------------------------------------------------------- beside everything else


def test_it_is_there_while_all_places_are_taken(site, http):
    go_on, began = Event(), Semaphore(0)

    def slow(environ, start_response):
        began.release()
        go_on.wait()
        return hello(environ, start_response)

    server = site(slow, spawn=1, status_path=PAGE)
    first, second = http(server), http(server)
    assert second.get(PAGE).status == 200
    first.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    began.acquire()
    text = second.get(PAGE).body.decode()
    assert "1 active" in text
    go_on.set()
    assert first.response().status == 200
    assert second.get("/").status == 200


def test_handlers_with_steps_of_their_own_show_it_too(site, http):
    class Handler(WSGIHandler):
        def run_application(self):
            super().run_application()

        def read_request(self, line):
            return super().read_request(line)

    application = Application()
    client = http(site(application, handler_class=Handler, status_path=PAGE))
    assert client.get(PAGE).status == 200
    assert client.get(PAGE, "X-Forwarded-For: 1.2.3.4").status == 403
    assert client.get("/").body == b"hello"
    assert application.seen == ["/"]


def test_a_body_of_the_request_does_no_harm(page):
    client, application = page()
    request = f"GET {PAGE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello".encode()
    assert client.ask(request).status == 200
    assert client.get("/").body == b"hello"
    assert application.seen == ["/"]


def test_over_tls(serve, certificates):
    server = serve(WSGIServer(("127.0.0.1", 0), hello, log=None, status_path=PAGE, certfile=certificates.server))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca)
    with socket.create_connection(("127.0.0.1", server.server_port)) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            client = Client(sock)
            assert client.get(PAGE).status == 200
            assert client.get(PAGE, "Via: 1.1 x").status == 403
