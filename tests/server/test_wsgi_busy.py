"""The WSGI server with too much to do: time-outs of requests, queues, connections. Early hints, and TLS in environ."""

import gc
import json

import pytest
import trustme
from serving import LOCALHOST, Client, read_all
from wsgi_apps import ANY, answers, hello

import gevlite
from gevlite import socket, ssl
from gevlite.event import Event
from gevlite.pywsgi import AccessLog, Limits, WSGIHandler, WSGIServer

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Gate:
    """An application whose requests wait until the gate is open. `inside` is how many do."""

    def __init__(self):
        self.inside = self.most = 0
        self.open = Event()
        self.changed = Event()

    def __call__(self, environ, start_response):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.changed.set()
        try:
            self.open.wait()
        finally:
            self.inside -= 1
        return hello(environ, start_response)

    def wait_for(self, count):
        with gevlite.Timeout(20):
            while self.inside != count:
                self.changed.clear()
                self.changed.wait()


# ---------------------------------------------------------------- a request's time


def test_an_application_that_takes_too_long(visit, errors, clock):
    seen = []

    def app(environ, start_response):
        try:
            gevlite.sleep(60)
        except gevlite.Timeout as exc:
            seen.append(exc.seconds)
            raise

    client = visit(app, limits=Limits(request_timeout=0.05))
    response = client.get("/slow")
    assert response.status == 503 and response.body == b"Service Unavailable" and response["Connection"] == "close"
    assert client.is_closed()
    assert seen == [0.05]
    assert [type(value) for _, value in errors] == [gevlite.Timeout]


def test_one_that_catches_it_answers_itself(visit, clock):
    def app(environ, start_response):
        try:
            gevlite.sleep(60)
        except gevlite.Timeout:
            return answers([b"sorry"], "504 Gateway Timeout")(environ, start_response)

    client = visit(app, limits=Limits(request_timeout=0.05))
    assert client.get().status == 504 and client.get().body == b"sorry"


def test_a_timeout_of_its_own_is_an_error_of_its_own(visit, errors):
    def app(environ, start_response):
        with gevlite.Timeout(0.01):
            gevlite.sleep(60)

    assert visit(app, limits=Limits(request_timeout=30)).get().status == 500


def test_one_that_waits_for_the_body_too_long(visit, errors):
    def app(environ, start_response):
        return answers([environ["wsgi.input"].read()])(environ, start_response)

    client = visit(app, limits=Limits(request_timeout=0.05))
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n")
    assert client.response().status == 503


def test_each_request_has_its_time(visit):
    def app(environ, start_response):
        gevlite.sleep(0.05)
        return hello(environ, start_response)

    client = visit(app, limits=Limits(request_timeout=20))
    assert [client.get().status for _ in range(3)] == [200] * 3


def test_a_response_that_has_begun_may_take_longer(visit, clock):
    def pieces():
        for _ in range(5):
            yield b"piece"
            gevlite.sleep(0.1)

    client = visit(answers(pieces), limits=Limits(request_timeout=0.2))
    assert client.get().body == b"piece" * 5
    assert client.is_open()


def test_another_protocol_may_take_longer(site, http, clock):
    class Handler(WSGIHandler):
        def run_application(self):
            self.start_response("101 Switching Protocols", [])
            self.write(b"")
            gevlite.sleep(0.3)
            self.socket.sendall(b"spoken")

    client = http(site(hello, handler_class=Handler, limits=Limits(request_timeout=0.1)))
    client.send(GET)
    assert client.file.read().endswith(b"\r\n\r\nspoken")


def test_who_takes_the_connection_over_may_take_longer(visit, clock):
    def app(environ, start_response):
        environ["wsgi.input"].rfile  # noqa: B018
        gevlite.sleep(0.3)
        sockets.pop().sendall(b"spoken")
        return []

    sockets = []

    class Handler(WSGIHandler):
        def get_connection_environ(self):
            sockets.append(self.socket)
            return super().get_connection_environ()

    client = visit(app, handler_class=Handler, limits=Limits(request_timeout=0.1))
    client.send(GET)
    assert client.file.read() == b"spoken"


UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: " + 22 * "A" + "==",
)


def test_who_asks_for_another_protocol_has_no_more_time(visit, errors):
    """Unless the application sends or receives. Looking at the socket does not count."""

    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        assert isinstance(sock, socket.socket) and sock.getpeername() and sock.gettimeout() is None and repr(sock)
        gevlite.sleep(60)

    client = visit(app, limits=Limits(request_timeout=0.05))
    assert client.get("/", *UPGRADE).status == 503
    assert client.is_closed()
    assert [type(value) for _, value in errors] == [gevlite.Timeout]


@pytest.mark.parametrize("protocol", [b"websocket", b"shouting"])
@pytest.mark.parametrize(
    ("sent", "use"),
    [
        (b"", lambda sock: sock.send(b"HTTP/1.1 101 ")),
        (b"", lambda sock: sock.sendall(b"HTTP/1.1 101 ")),
        (b"", lambda sock: sock.sendmsg([b"HTTP/1.1 ", b"101 "])),
        (b"x", lambda sock: sock.recv(1)),
        (b"x", lambda sock: sock.recv_into(bytearray(1))),
        (b"x", lambda sock: sock.makefile("rb", 0).read(1)),
        (b"x", lambda sock: sock.dup().recv(1)),
        (b"", lambda sock: socket.wait_write(sock.fileno())),
    ],
)
def test_who_uses_the_socket_may_take_longer(visit, clock, sent, use, protocol):
    begun = Event()

    def app(environ, start_response):
        begun.set()
        with environ["gunicorn.socket"] as sock:
            use(sock)
            gevlite.sleep(0.5)
            sock.sendall(b"spoken")
        raise StopIteration

    client = visit(app, limits=Limits(request_timeout=0.2))
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol)
    begun.wait(20)
    client.send(sent)
    assert client.file.read().removeprefix(b"HTTP/1.1 101 ") == b"spoken"


def test_who_has_spoken_and_fails_does_not_answer_as_well(visit, errors):
    def app(environ, start_response):
        environ["gunicorn.socket"].sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        raise ZeroDivisionError

    client = visit(app)
    client.send("\r\n".join(["GET / HTTP/1.1", "Host: h", *UPGRADE, "", ""]).encode())
    assert client.file.read() == b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    assert [type(value) for _, value in errors] == [ZeroDivisionError]


def test_a_time_that_ends_with_the_request_hits_nobody_later(site, http, errors):
    """The race of the time-out with the end of the application."""

    def app(environ, start_response):
        gevlite.sleep(0.01)
        return hello(environ, start_response)

    server = site(app, limits=Limits(request_timeout=0.0101))
    client = http(server)
    for _ in range(100):
        status = client.get().status
        assert status in (200, 503)
        if status == 503:
            client = http(server)
    assert {type(value) for _, value in errors} <= {gevlite.Timeout}


# ---------------------------------------------------------------- places and the queue


def test_more_requests_than_may_wait_are_refused_at_once(site, http):
    gate = Gate()
    server = site(gate, spawn=2, limits=Limits(max_queued=1))
    waiting = [http(server) for _ in range(3)]
    for client in waiting[:2]:
        client.send(GET)
    gate.wait_for(2)
    waiting[2].send(GET)
    with gevlite.Timeout(20):
        while server._settings.queued != 1:
            gevlite.sleep(0.001)
    for _ in range(3):
        refused = http(server)
        response = refused.get()
        assert response.status == 503 and response["Connection"] == "close"
        assert refused.is_closed()
    gate.open.set()
    assert [client.response().status for client in waiting] == [200] * 3
    assert gate.most == 2
    assert http(server).get().status == 200


def test_nobody_waits_if_nobody_may(site, http):
    gate = Gate()
    server = site(gate, spawn=1, limits=Limits(max_queued=0))
    first = http(server)
    first.send(GET)
    gate.wait_for(1)
    assert http(server).get().status == 503
    gate.open.set()
    assert first.response().status == 200
    assert first.get().status == 200  # its place was given back


def test_a_client_that_goes_while_it_waits_leaves_the_queue(site, http):
    gate = Gate()
    server = site(gate, spawn=1, limits=Limits(max_queued=1))
    first, second = http(server), http(server)
    first.send(GET)
    gate.wait_for(1)
    second.send(GET)
    with gevlite.Timeout(20):
        while server._settings.queued != 1:
            gevlite.sleep(0.001)
    second.sock.close()
    gate.open.set()
    assert first.response().status == 200
    with gevlite.Timeout(20):
        while server._settings.queued:
            gevlite.sleep(0.001)
    assert first.get().status == 200


def test_the_log_knows_of_refused_requests(site, http, tmp_path):
    gate = Gate()
    server = site(gate, spawn=1, limits=Limits(max_queued=0), log=AccessLog(tmp_path / "log", "%(r)s %(s)s"))
    first = http(server)
    first.send(GET)
    gate.wait_for(1)
    assert http(server).get("/late").status == 503
    gate.open.set()
    assert first.response().status == 200
    server.stop(5)
    assert (tmp_path / "log").read_text().splitlines()[0] == "GET /late HTTP/1.1 503"


def test_more_connections_than_there_may_be_are_refused_at_once(serve, http):
    gate = Gate()
    server = WSGIServer(ANY, gate, log=None, spawn=10, limits=Limits(max_queued=10))
    server.max_connections = 2
    serve(server)
    busy = [http(server) for _ in range(2)]
    for client in busy:
        client.send(GET)
    gate.wait_for(2)
    for _ in range(3):
        client = http(server)
        assert client.get().status == 503
        assert client.is_closed()
    gate.open.set()
    assert [client.response().status for client in busy] == [200] * 2
    # Those wait for a request now, and make room.
    assert http(server).get().status == 200


def test_connections_wait_if_nobody_is_to_be_refused(serve, http):
    gate = Gate()
    server = WSGIServer(ANY, gate, log=None)
    server.max_connections = 1
    serve(server)
    first, second = http(server), http(server)
    first.send(GET)
    gate.wait_for(1)
    second.send(GET)
    second.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        second.response()
    gate.open.set()
    assert first.response().status == 200


def test_who_does_not_take_the_refusal_is_left_alone_after_a_moment(serve, dial, http):
    gate = Gate()
    server = WSGIServer(ANY, gate, log=None, spawn=10, limits=Limits(max_queued=10))
    server.max_connections = 1
    serve(server)
    first = http(server)
    first.send(GET)
    gate.wait_for(1)
    late = dial(server)
    with gevlite.Timeout(20):
        assert read_all(late).startswith(b"HTTP/1.1 503 ")
        while server._turned_away:
            gevlite.sleep(0.01)
    gate.open.set()
    assert first.response().status == 200


@pytest.mark.parametrize(
    "limits", [{"request_timeout": 0}, {"request_timeout": -1}, {"max_queued": -1}, {"max_queued": 1.5},
               {"max_queued": True}, {"request_timeout": "5"}],
)  # fmt: skip
def test_limits_that_cannot_be(limits):
    with pytest.raises((TypeError, ValueError)):
        Limits(**limits)


# ---------------------------------------------------------------- 103 Early Hints

LINK = ("Link", "</style.css>; rel=preload; as=style")


def hinting(*hints, then=hello):
    def app(environ, start_response):
        for hint in hints:
            environ["wsgi.early_hints"](hint)
        return then(environ, start_response)

    return app


def test_early_hints_come_before_the_response(visit):
    client = visit(hinting([LINK, ("Link", "</a.js>; rel=preload")], [("X-More", "b")]))
    for _ in range(2):
        client.send(GET)
        raw = b""
        while not raw.endswith(b"hello"):
            raw += client.file.read1(65536)
        first, second, last = raw.split(b"HTTP/1.1 ")[1:]
        assert first == (
            b"103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\nLink: </a.js>; rel=preload\r\n\r\n"
        )
        assert second == b"103 Early Hints\r\nX-More: b\r\n\r\n"
        assert last.startswith(b"200 OK\r\n")


def test_early_hints_are_sent_at_once(visit):
    gate = Event()

    def then(environ, start_response):
        gate.wait()
        return hello(environ, start_response)

    client = visit(hinting([LINK], then=then))
    client.send(GET)
    assert client.file.readline() == b"HTTP/1.1 103 Early Hints\r\n"
    gate.set()


def test_http_1_0_knows_no_early_hints(visit):
    client = visit(hinting([LINK]))
    assert client.ask(b"GET / HTTP/1.0\r\n\r\n", "GET").body == b"hello"


def test_early_hints_that_come_too_late_are_dropped(visit):
    kept = []

    def app(environ, start_response):
        kept.append(environ["wsgi.early_hints"])
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"ab")
        environ["wsgi.early_hints"]([LINK])
        return [b"cd"]

    client = visit(app)
    assert client.get().body == b"abcd"
    kept[0]([LINK])  # the request is over
    assert client.get().body == b"abcd"


@pytest.mark.parametrize(
    "headers",
    [[("Li nk", "a")], [("Link", "a\r\nb: c")], [("Link", "a\nb")], [("Link", b"a")], [("Content-Length", "5")],
     [("Transfer-Encoding", "chunked")], [("Connection", "close")], ["Link"], [("", "a")], 5],
)  # fmt: skip
def test_what_cannot_be_an_early_hint(visit, headers):
    caught = []

    def app(environ, start_response):
        try:
            environ["wsgi.early_hints"](headers)
        except (ValueError, TypeError) as exc:
            caught.append(exc)
        return hello(environ, start_response)

    assert visit(app).get().status == 200
    assert len(caught) == 1


def test_early_hints_keep_nothing_alive(site, http):
    alive = []

    class Handler(WSGIHandler):
        def __init__(self, *args):
            super().__init__(*args)
            alive.append(self)

        def __del__(self):
            alive.append("gone")

    gc.disable()
    try:
        server = site(hello, handler_class=Handler)
        assert http(server).get("/", "Connection: close").status == 200
        with gevlite.Timeout(20):
            while server._serving:
                gevlite.sleep(0.001)
        alive.remove(alive[0])
        gevlite.sleep(0)
        assert alive == ["gone"]
    finally:
        gc.enable()


# ---------------------------------------------------------------- TLS in environ


@pytest.fixture
def authority():
    return trustme.CA()


def secure_environ(serve, authority, verify, client=None):
    """The environ of a request over TLS."""

    def app(environ, start_response):
        start_response("200 OK", [])
        return [json.dumps({key: str(value) for key, value in environ.items()}).encode()]

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = verify
    server = serve(WSGIServer(ANY, app, log=None, ssl_context=context))
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    if client is not None:
        client.configure_cert(ours)
    with socket.create_connection((LOCALHOST, server.server_port)) as sock:
        sock.settimeout(20)
        with ours.wrap_socket(sock, server_hostname="localhost") as secure:
            return json.loads(Client(secure).get("/", "SSL-Client-Verify: SUCCESS").body), secure


def test_the_connection(serve, authority):
    environ, secure = secure_environ(serve, authority, ssl.CERT_NONE)
    assert environ["wsgi.url_scheme"] == "https" and environ["HTTPS"] == "on"
    assert environ["SSL_PROTOCOL"].startswith("TLSv1.") and environ["SSL_CIPHER"]
    assert environ["SSL_CLIENT_VERIFY"] == "NONE" and "SSL_CLIENT_CERT" not in environ


def test_the_certificate_of_the_client(serve, authority):
    client = authority.issue_cert("anna@example.org", common_name="Anna, =\u00e4+", organization_name=" Ä#")
    environ, _ = secure_environ(serve, authority, ssl.CERT_REQUIRED, client)
    assert environ["SSL_CLIENT_VERIFY"] == "SUCCESS"
    pem = client.cert_chain_pems[0].bytes().decode()
    assert environ["SSL_CLIENT_CERT"].split() == pem.split()
    subject = environ["SSL_CLIENT_S_DN"].encode("latin-1").decode()
    assert subject.startswith(r"CN=Anna\, \=ä\+") and r"O=\ Ä#" in subject
    assert environ["SSL_CLIENT_I_DN"] and int(environ["SSL_CLIENT_M_SERIAL"], 16)
    assert environ["SSL_CLIENT_V_START"].endswith("GMT") and environ["SSL_CLIENT_V_END"].endswith("GMT")


def test_a_client_without_one(serve, authority):
    environ, _ = secure_environ(serve, authority, ssl.CERT_OPTIONAL)
    assert environ["SSL_CLIENT_VERIFY"] == "NONE" and "SSL_CLIENT_S_DN" not in environ


def test_a_client_without_tls_is_not_taken_for_one(visit):
    def app(environ, start_response):
        return answers([json.dumps([key for key in environ if "SSL" in key or key == "HTTPS"]).encode()])(
            environ, start_response
        )

    seen = json.loads(visit(app).get("/", "SSL-Client-Verify: SUCCESS", "HTTPS: on").body)
    assert seen == ["HTTP_SSL_CLIENT_VERIFY"]
