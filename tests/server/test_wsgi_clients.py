"""The WSGI server and clients that are slow, gone, many, or speak TLS."""

import gc
import os

import pytest
from serving import Client
from wsgi_apps import ANY, GET10, answers, chunked, echo, exchange, files, hello, post, ways_to_send

import gevlite
from gevlite import socket, ssl
from gevlite.pywsgi import Limits, WSGIHandler, WSGIServer
from gevlite.testing import VirtualClock

# ---------------------------------------------------------------- slow clients


def test_a_slow_head_is_answered_with_408(visit, errors, clock):
    client = visit(hello, limits=Limits(header_timeout=0.2))
    client.send(b"GET / HTTP/1.1\r\n")
    gevlite.sleep(0.1)
    client.send(b"Host: ")  # arriving data does not extend the time
    assert client.response().status == 408
    assert clock.elapsed < 0.25
    assert client.is_closed()
    assert errors == []


def test_a_slow_head_behind_a_pipelined_request_is_answered_with_408(visit, clock):
    client = visit(hello, limits=Limits(header_timeout=0.1))
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /")
    assert client.response().status == 200
    assert client.response().status == 408


def test_who_connects_and_says_nothing_is_hung_up_on(visit):
    client = visit(hello, limits=Limits(header_timeout=0.1))
    assert client.is_closed()


def test_who_stays_too_long_between_requests_is_hung_up_on(visit, clock):
    client = visit(hello, limits=Limits(keepalive_timeout=0.1))
    assert client.get().status == 200
    gevlite.sleep(0.02)
    assert client.get().status == 200
    assert client.is_closed()


@pytest.mark.parametrize("length", [0, 7, 70, 700])
def test_an_empty_line_behind_a_body_is_no_request_and_costs_no_time(visit, clock, length):
    """Old clients send one. The memory behind it must not be read."""
    client = visit(echo, limits=Limits(header_timeout=0.1, keepalive_timeout=20))
    client.send(b"POST /" + b"x" * length + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\r\n")
    assert client.response().body == b"abc"
    gevlite.sleep(19)
    assert client.is_open()


def test_who_may_not_stay_has_one_request(visit):
    client = visit(hello, limits=Limits(keepalive_timeout=0))
    response = client.get()
    assert response.body == b"hello" and response["Connection"] == "close"
    assert client.is_closed()


def test_who_may_stay_for_ever_stays(visit):
    forever = Limits(header_timeout=None, keepalive_timeout=None, body_timeout=None, write_timeout=None)
    client = visit(echo, limits=forever)
    assert client.ask(post(b"x")).body == b"x"
    with VirtualClock():
        gevlite.sleep(86400)
    assert client.is_open()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_stops_is_answered_with_408(visit, errors, framing):
    client = visit(echo, limits=Limits(body_timeout=0.1))
    client.send(ways_to_send(b"abcdef")[framing][:-6])
    assert client.response().status == 408
    assert client.is_closed()
    assert errors == []


def test_a_body_that_trickles_is_answered_with_408(visit):
    client = visit(echo, limits=Limits(body_timeout=0.2, min_rate=10000))
    client.send(post(bytes(1000))[:-1000])
    for _ in range(100):
        gevlite.sleep(0.02)
        if not client.send(b"x"):
            break
    assert client.response().status == 408


def test_a_slow_body_may_take_its_time_if_there_is_no_least_rate(visit):
    client = visit(echo, limits=Limits(body_timeout=0.5, min_rate=0))
    data = post(b"x" * 30)
    client.send(data[:-30])
    with VirtualClock():
        for _ in range(30):
            gevlite.sleep(0.4)
            client.send(b"x")
        assert client.response().body == b"x" * 30


def test_time_that_the_application_takes_is_not_the_clients(visit):
    def app(environ, start_response):
        body = environ["wsgi.input"].read(1)
        gevlite.sleep(0.3)
        start_response("200 OK", [])
        return [body + environ["wsgi.input"].read()]

    client = visit(app, limits=Limits(body_timeout=0.2))
    with VirtualClock():
        client.send(post(b"abc")[:-2])
        gevlite.sleep(0.25)
        client.send(b"bc")
        assert client.response().body == b"abc"


def test_a_client_that_takes_nothing_is_dropped(site, http, errors, settle):
    closed = []

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(100000)
        finally:
            closed.append(True)

    server = site(app, limits=Limits(write_timeout=0.2))
    client = http(server)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert settle(lambda: closed)
    assert settle(lambda: not server._serving)
    assert errors == []


def test_a_client_that_takes_a_file_too_slowly_is_dropped(site, http, big_file, errors, settle):
    server = site(files(big_file), limits=Limits(write_timeout=0.2))
    client = http(server)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    assert settle(lambda: not server._serving)
    assert errors == []


class Slow:
    """A client that takes some of a big response every 50 ms. `left` says whether the server has hung up."""

    def __init__(self, client, left):
        self.client = client
        self.left = left
        self.taken = 0

    def take(self, size, until):
        while self.taken < until and not self.left():
            self.taken += len(self.client.sock.recv(size))
            gevlite.sleep(0.05)


@pytest.fixture
def slow(site, dial, certificates, tmp_path):
    """`slow(kind, **limits)`: a Slow that has asked for 200 MB in that way."""
    opened = []

    def begin(kind, **limits):
        path = tmp_path / "large"
        with path.open("wb") as file:
            file.truncate(200_000_000)
            file.write(b"x")  # so that it is more than a hole
        app = files(path) if kind == "file" else answers(lambda: (bytes(100_000) for _ in range(2000)))
        server = site(app, limits=Limits(**limits), **({"certfile": certificates.server} if kind == "tls" else {}))
        sock = dial(server)
        if kind == "tls":
            sock = ssl.create_default_context(cafile=certificates.ca).wrap_socket(sock, server_hostname="localhost")
            opened.append(sock)
        client = Client(sock)
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.sock.recv(15) == b"HTTP/1.1 200 OK"
        return Slow(client, lambda: not server._serving)

    yield begin
    for sock in opened:
        sock.close()


@pytest.mark.parametrize("kind", ["plain", "file", "tls"])
def test_who_takes_a_response_steadily_is_not_hung_up_on(slow, kind):
    """Even if the kernel takes nothing for longer: it calls a socket writable when a third of its buffer is free."""
    client = slow(kind, write_timeout=0.8)
    client.take(20_000, 1_000_000)
    assert not client.left()


@pytest.mark.parametrize("kind", ["plain", "file", "tls"])
def test_who_stops_taking_is_hung_up_on(slow, kind, settle):
    client = slow(kind, write_timeout=0.2)
    client.take(100_000, 1_000_000)
    assert settle(client.left, 20)


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_who_takes_less_than_the_least_rate_is_hung_up_on(slow, kind):
    client = slow(kind, write_timeout=0.4, min_rate=100_000_000)
    client.take(20_000, 1_000_000)
    assert client.left()


def test_an_application_is_not_faster_than_its_client(visit):
    made = []

    def app(environ, start_response):
        start_response("200 OK", [])
        for n in range(1000):
            made.append(n)
            yield bytes(100000)

    client = visit(app)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    with VirtualClock():  # its time passes when nothing is under way any more
        gevlite.sleep(1)
        before = len(made)
        assert before < 500  # 50 MB are more than any buffer between us
        gevlite.sleep(20)
        assert len(made) == before
    client.file.read(30_000_000)
    assert len(made) > before


def test_2000_slow_clients_do_not_keep_a_good_one_waiting(run_script):
    if gevlite.get_hub().backend.name == "select":
        pytest.skip("select() knows descriptors below 1024 only")
    done = run_script(
        """
        import resource, time, gevlite
        from gevlite import socket
        from gevlite.pywsgi import Limits, WSGIServer

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"good"]

        server = WSGIServer(("127.0.0.1", 0), app, log=None, limits=Limits(header_timeout=60))
        server.start()

        def ask():
            began = time.perf_counter()
            with socket.create_connection(server.address, timeout=20) as client:
                client.sendall(b"GET / HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\n\\r\\n")
                while data := client.recv(1000):
                    last = data
            assert last.endswith(b"good")
            return time.perf_counter() - began

        alone = min(ask() for _ in range(20))
        slow = []
        for n in range(2000):
            client = socket.create_connection(server.address, timeout=20)
            client.sendall(b"GET / HTTP/1.1\\r\\nHost: h\\r\\nX: ")
            slow.append(client)

        def drip():
            while True:
                for client in slow:
                    client.sendall(b"x")
                gevlite.sleep(0.05)

        dripping = gevlite.spawn(drip)
        gevlite.sleep(0.1)
        waits = sorted(ask() for _ in range(50))
        dripping.kill()
        assert not server.full() and len(server._serving) >= 2000
        median, longest = waits[25], waits[-1]
        print(f"alone {alone * 1e3:.2f} ms, among 2000: median {median * 1e3:.2f} ms, longest {longest * 1e3:.2f} ms")
        assert waits[-1] < 5
        for client in slow:
            client.close()
        """,
        timeout=50,
    )
    assert "among 2000" in done.stdout


# ---------------------------------------------------------------- clients that go away


def begin_head(client):
    client.send(b"GET / HTTP/1.1\r\nHost:")


def begin_body(client):
    client.send(post(bytes(1000))[:-500])


def begin_chunks(client):
    client.send(chunked(b"abc", b"def")[:-10])


@pytest.mark.parametrize("begin", [lambda client: None, begin_head, begin_body, begin_chunks])
@pytest.mark.parametrize("reset", [False, True])
def test_gone_in_the_middle_of_a_request(site, http, errors, settle, begin, reset):
    server = site(echo)
    client = http(server)
    begin(client)
    assert settle(lambda: server._serving)
    if reset:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.file.close()
    client.sock.close()
    assert settle(lambda: not server._serving)
    assert errors == []


@pytest.mark.parametrize("reset", [False, True])
def test_gone_in_the_middle_of_a_response(site, http, errors, settle, reset):
    closed = []

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(10000)
        finally:
            closed.append(True)

    server = site(app)
    client = http(server)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    client.file.read(50000)
    if reset:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.file.close()
    client.sock.close()
    assert settle(lambda: closed and not server._serving)
    assert errors == []


def test_an_applications_own_connection_error_is_an_error(visit, errors):
    def app(environ, start_response):
        raise ConnectionResetError("the database")

    assert visit(app).get().status == 500
    assert len(errors) == 1


def test_a_connection_leaves_nothing_behind(site, http, settle):
    class Handler(WSGIHandler):
        pass

    import weakref

    made = []

    class Watched(Handler):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(weakref.ref(self))

    server = site(echo, handler_class=Watched)
    gc.collect()
    gc.disable()
    try:
        client = http(server)
        assert client.ask(post(b"abc")).body == b"abc"
        client.file.close()
        client.sock.close()
        assert settle(lambda: not server._serving)
        gevlite.sleep(0)
        assert [ref() for ref in made] == [None]
    finally:
        gc.enable()


# ---------------------------------------------------------------- TLS


@pytest.fixture
def https(site, dial, certificates):
    """`https(app, **arguments)`: a Client of a new TLS server for it."""
    context = ssl.create_default_context(cafile=certificates.ca)
    opened = []

    def wrap(sock):
        secure = context.wrap_socket(sock, server_hostname="localhost")
        opened.append(secure)
        return Client(secure)

    def connect(app, **kwargs):
        return wrap(dial(site(app, certfile=certificates.server, **kwargs)))

    connect.wrap, connect.certificates = wrap, certificates
    yield connect
    for secure in opened:
        secure.close()


def test_tls(https):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["wsgi.url_scheme"].encode(), b" ", environ["wsgi.input"].read()]

    client = https(app)
    assert client.ask(post(b"abc")).body == b"https abc"
    assert client.ask(chunked(b"ab", b"c")).body == b"https abc"
    assert client.is_open()


def test_tls_large_both_ways(https, start):
    body = os.urandom(3_000_000)
    client = https(echo)
    sending = start(client.send, post(body))
    assert client.response().body == body
    sending.get()
    assert client.is_open()


def test_tls_streams_and_files(https, big_file):
    assert https(answers(lambda: iter([b"a" * 50000, b"b"]))).get().body == b"a" * 50000 + b"b"
    assert https(files(big_file)).get().body == big_file.read_bytes()


def test_tls_limits_of_time(https, clock):
    client = https(echo, limits=Limits(header_timeout=0.1, keepalive_timeout=0.1, body_timeout=0.1))
    client.send(b"GET / HTTP/1.1\r\n")
    assert client.response().status == 408
    client = https(echo, limits=Limits(keepalive_timeout=0.1))
    assert client.get().status == 200
    assert client.is_closed()
    client = https(echo, limits=Limits(body_timeout=0.1))
    assert client.ask(post(b"abc")[:-1]).status == 408


def test_tls_client_that_is_gone(https, errors):
    client = https(lambda environ, start_response: hello(environ, start_response))
    assert client.get().status == 200
    client.file.close()
    client.sock.close()
    with VirtualClock():
        gevlite.sleep(1)
    assert errors == []


def test_tls_client_that_takes_nothing_is_dropped(https, errors, settle):
    closed = []

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield bytes(100000)
        finally:
            closed.append(True)

    client = https(app, limits=Limits(write_timeout=0.2))
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert settle(lambda: closed)
    assert errors == []


def test_tls_a_long_body_that_nobody_wants_does_not_cost_the_response(https, start):
    client = https(answers([b"no"], "403 Forbidden"))
    sending = start(client.send, post(bytes(3_000_000)))
    response = client.response()
    assert (response.status, response.body) == (403, b"no")
    assert client.is_closed()
    client.sock.close()
    sending.get()


def test_tls_says_goodbye(https):
    client = https(answers(lambda: iter([b"all"])))
    client.sock.suppress_ragged_eofs = False
    assert exchange(client, GET10).endswith(b"\r\n\r\nall")


def test_in_a_crowd_who_does_not_shake_hands_makes_room(serve, dial, https, settle):
    class Crowded(WSGIServer):
        max_connections = 5

    server = serve(Crowded(ANY, hello, log=None, certfile=https.certificates.server))
    silent = [dial(server) for _ in range(5)]
    assert settle(lambda: len(server._shaking) == 5)
    for sock in server._shaking:
        server._shaking[sock] -= 10
    secure = https.wrap(dial(server))
    assert secure.get().status == 200
    assert silent[0].recv(1) == b""
