"""What subclasses of the WSGI server's handler can change, and other protocols on its connections."""

import pytest
from serving import LOCALHOST
from wsgi_apps import answers, hello, post

import gevlite
from gevlite import socket
from gevlite.pywsgi import WSGIHandler

# ---------------------------------------------------------------- hooks


def test_every_hook_is_called(site, http, settle):
    calls = []

    def note(name):
        def method(self, *args):
            calls.append(name)
            return getattr(WSGIHandler, name)(self, *args)

        return method

    names = [
        "handle",
        "handle_one_request",
        "read_requestline",
        "read_request",
        "get_environ",
        "handle_one_response",
        "run_application",
        "start_response",
        "process_result",
        "write",
        "finalize_headers",
        "log_request",
    ]
    handler_class = type("Noting", (WSGIHandler,), {name: note(name) for name in names})
    client = http(site(hello, handler_class=handler_class))
    assert client.get().body == b"hello"
    assert settle(lambda: len(calls) >= len(names))  # log_request comes after the response
    assert calls[: len(names)] == names


@pytest.mark.parametrize(
    "name", ["get_environ", "start_response", "write", "finalize_headers", "log_request", "process_result"]
)
def test_a_hook_alone_is_called(site, http, settle, name):
    calls = []

    class Handler(WSGIHandler):
        pass

    def method(self, *args):
        calls.append(name)
        return getattr(WSGIHandler, name)(self, *args)

    setattr(Handler, name, method)
    client = http(site(hello, handler_class=Handler))
    assert client.get().body == b"hello" and client.is_open()
    assert settle(lambda: len(calls) >= 2)
    assert calls == [name, name]


def test_a_hook_may_be_patched_into_the_class_itself(site, http, settle, monkeypatch):
    lines = []
    monkeypatch.setattr(WSGIHandler, "log_request", lambda self: lines.append(self.format_request()), raising=False)
    assert http(site(hello)).get("/x").status == 200
    assert settle(lambda: lines)
    assert '"GET /x HTTP/1.1" 200' in lines[0]


def test_what_a_handler_knows(site, http, settle):
    seen = []

    class Handler(WSGIHandler):
        def log_request(self):
            seen.append(
                {
                    name: getattr(self, name)
                    for name in (
                        "command",
                        "path",
                        "request_version",
                        "requestline",
                        "status",
                        "code",
                        "response_headers",
                        "response_length",
                        "headers_sent",
                        "content_length",
                        "close_connection",
                    )
                }
            )
            seen.append(self.headers.items())
            seen.append(self.time_finish - self.time_start)
            seen.append((self.client_address[0], self.server, self.environ["PATH_INFO"], self.application))

    server = site(answers([b"abc"], headers=[("X-A", "b"), ("Date", "d")]), handler_class=Handler)
    client = http(server)
    client.ask(post(b"xy", "X-Foo:  Bar", target="/a%20?q"))
    assert settle(lambda: len(seen) == 4)
    assert seen[0] == {
        "command": "POST",
        "path": "/a%20?q",
        "request_version": "HTTP/1.1",
        "requestline": "POST /a%20?q HTTP/1.1",
        "status": b"200 OK",
        "code": 200,
        "response_headers": [(b"X-A", b"b"), (b"Date", b"d"), (b"Content-Length", b"3")],
        "response_length": 17 + 8 + 9 + 19 + 2 + 3,
        "headers_sent": True,
        "content_length": 2,
        "close_connection": False,
    }
    assert seen[1] == [("Host", "localhost"), ("Content-Length", "2"), ("X-Foo", "Bar")]
    assert 0 <= seen[2] < 10
    assert seen[3] == (LOCALHOST, server, "/a ", server.application)


def test_get_environ_may_add_to_it(site, http):
    class Handler(WSGIHandler):
        def get_environ(self):
            environ = super().get_environ()
            environ["RAW_URI"] = self.path
            environ["my.socket"] = self.socket
            return environ

    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["RAW_URI"].encode() + b" %d" % (environ["my.socket"].fileno() > 0)]

    assert http(site(app, handler_class=Handler)).get("/a%20b").body == b"/a%20b 1"


def test_get_connection_environ_is_asked_once_for_each_connection(site, http):
    class Handler(WSGIHandler):
        def get_connection_environ(self):
            asked.append(self.client_address)
            return super().get_connection_environ() | {"my.key": "my value"}

    def app(environ, start_response):
        start_response("200 OK", [])
        return [f"{environ.pop('my.key')} {environ['REMOTE_ADDR']}".encode()]

    asked = []
    client = http(site(app, handler_class=Handler))
    assert client.get().body == client.get().body == b"my value 127.0.0.1"
    assert asked == [client.sock.getsockname()]


def test_report_error_takes_the_place_of_the_hubs_report(site, http, errors):
    class Handler(WSGIHandler):
        def report_error(self, t, v, tb):
            reported.append((t, v.args, self.environ["PATH_INFO"], tb is not None))

    def app(environ, start_response):
        raise ValueError("why")

    reported = []
    assert http(site(app, handler_class=Handler)).get("/bad").status == 500
    assert reported == [(ValueError, ("why",), "/bad", True)]
    assert errors == []


@pytest.mark.parametrize("header", [("Server", "me"), (b"Server", b"me")])
def test_finalize_headers_may_add_some(site, http, header):
    class Handler(WSGIHandler):
        def finalize_headers(self):
            super().finalize_headers()
            self.response_headers.append(header)

    assert http(site(hello, handler_class=Handler)).get()["Server"] == "me"


def test_finalize_headers_cannot_break_the_head(site, http, errors):
    class Handler(WSGIHandler):
        broken = True

        def finalize_headers(self):
            super().finalize_headers()
            if self.broken:
                self.broken = False
                self.response_headers.append((b"X", b"a\r\nb"))

    assert http(site(hello, handler_class=Handler)).get().status == 500
    assert "control character" in str(errors[0][1])


def test_read_requestline_may_skip_what_a_proxy_puts_first(site, http):
    class Proxied(WSGIHandler):
        def read_requestline(self):
            line = super().read_requestline()
            if line.startswith(b"PROXY "):
                self.client_address = (line.split()[2].decode(), int(line.split()[4]))
                line = super().read_requestline()
            return line

    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["REMOTE_ADDR"].encode(), b" ", environ["wsgi.input"].read()]

    client = http(site(app, handler_class=Proxied))
    assert client.ask(b"PROXY TCP4 10.1.2.3 10.0.0.1 5555 80\r\n" + post(b"body")).body == b"10.1.2.3 body"
    assert client.ask(post(b"again")).body == b"10.1.2.3 again"


def test_handle_one_request_may_return_a_status_and_the_last_words(site, http):
    class Handler(WSGIHandler):
        def handle_one_request(self):
            super().handle_one_request()
            return b"200 OK", b"last words"

    client = http(site(hello, handler_class=Handler))
    assert client.get().body == b"hello"
    assert client.file.read() == b"last words"


def test_an_instance_without_a_server_is_refused():
    with pytest.raises((TypeError, AttributeError)):
        WSGIHandler(None, None, None)


# ---------------------------------------------------------------- other protocols


class Upgrading(WSGIHandler):
    """As libraries for WebSocket do it: shouts back what it gets, line by line, until an empty line."""

    def run_application(self):
        if self.environ.get("HTTP_UPGRADE") != "shout":
            return super().run_application()
        self.provided_content_length = False
        self.start_response("101 Switching Protocols", [("Upgrade", "shout"), ("Connection", "Upgrade")])
        self.write(b"")
        while line := self.rfile.readline().strip():
            self.socket.sendall(line.upper() + b"\n")


UPGRADE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"


@pytest.mark.parametrize("early", [b"", b"early\n"])
def test_a_handler_may_speak_another_protocol(site, http, settle, errors, early):
    server = site(hello, handler_class=Upgrading)
    client = http(server)
    assert client.get().body == b"hello"
    client.send(UPGRADE + early)
    assert [client.file.readline() for _ in range(4)] == [
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"Upgrade: shout\r\n",
        b"Connection: Upgrade\r\n",
        b"\r\n",
    ]
    if early:
        assert client.file.readline() == b"EARLY\n"
    for word in (b"one", b"two"):
        client.send(word + b"\n")
        assert client.file.readline() == word.upper() + b"\n"
    client.send(b"\n")
    assert client.is_closed()
    assert errors == []


def test_a_request_that_read_request_refuses_is_answered(site, http):
    class Refusing(WSGIHandler):
        def read_request(self, raw_requestline):
            return b"bad" not in raw_requestline and super().read_request(raw_requestline)

    server = site(hello, handler_class=Refusing)
    assert http(server).get("/good").body == b"hello"
    assert http(server).get("/bad").status == 400


@pytest.mark.parametrize("chunked", [False, True])
def test_names_that_the_input_has(visit, chunked):
    def app(environ, start_response):
        body = environ["wsgi.input"]
        seen.append((body.chunked_input, body.read(length=2), body.readline(size=2), body.next()))
        seen.append(body.readlines(hint=1))
        return hello(environ, start_response)

    seen = []
    if chunked:
        framed = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n\nworld\r\n0\r\n\r\n"
    else:
        framed = b"Content-Length: 11\r\n\r\nhello\nworld"
    client = visit(app)
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\n" + framed)
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    assert seen == [(chunked, b"he", b"ll", b"o\n"), [b"world"]]


def test_after_an_upgrade_the_input_is_what_the_client_sends(visit, errors):
    def app(environ, start_response):
        stream = environ["wsgi.input"]
        seen.append((environ["wsgi.input_terminated"], stream.read()))
        write = start_response("101 Switching Protocols", [("Upgrade", "shout"), ("Connection", "Upgrade")])
        write(b"")
        seen.append((environ["wsgi.input_terminated"], stream.read(5), stream.readline(), stream.read(1)))
        write(b"bye")
        return []

    seen = []
    client = visit(app)
    client.send(UPGRADE + b"ear")
    assert [client.file.readline() for _ in range(4)][0] == b"HTTP/1.1 101 Switching Protocols\r\n"
    client.send(b"ly, a line\nz")
    assert client.file.read() == b"bye"
    assert seen == [(True, b""), (False, b"early", b", a line\n", b"z")]
    assert errors == []


def test_an_application_may_take_the_connection_over(visit, errors):
    def app(environ, start_response):
        stream = environ["wsgi.input"].rfile
        stream.raw._sock.sendall(b"HTTP/1.1 101 Mine\r\n\r\n")
        stream.raw._sock.sendall(stream.read(3)[::-1])
        return []

    client = visit(app)
    client.send(UPGRADE + b"abc")
    assert client.file.read() == b"HTTP/1.1 101 Mine\r\n\r\ncba"
    assert errors == []


def test_rfile_reads_as_any_file_does(site, http):
    results = []

    class Handler(WSGIHandler):
        def run_application(self):
            stream = self.rfile
            assert stream.readable() and not stream.closed and stream.fileno() == self.socket.fileno()
            buffer = bytearray(4)
            results.extend(
                [
                    stream.read(3),
                    stream.readline(),
                    stream.readline(2),
                    stream.read1(2),
                    stream.readinto(buffer),
                    bytes(buffer),
                    stream.read(0),
                    stream.read1(100),
                    stream.read(),
                    stream.read(),
                    stream.readline(),
                ]
            )
            stream.close()
            self.taken_over = True

    client = http(site(hello, handler_class=Handler))
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nabcdef\nghijklmnop")
    gevlite.sleep(0.02)
    client.send(b"rest of it")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.is_closed()
    assert results[:7] == [b"abc", b"def\n", b"gh", b"ij", 4, b"klmn", b""]
    assert results[7] + results[8] == b"oprest of it"
    assert results[9:] == [b"", b""]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_who_speaks_websocket_on_the_socket_by_itself(run_script, certificates, secure):
    """As flask-sock does, by simple-websocket, which takes the server for gunicorn."""
    done = run_script(
        f"""
        from gevlite import monkey; monkey.patch_all()
        import gevlite, simple_websocket, websocket
        from gevlite.pywsgi import Limits, WSGIServer
        from gevlite.testing import VirtualClock

        secure, certificate = {secure}, {certificates.server!r}

        def app(environ, start_response):
            talk = simple_websocket.Server(environ)
            try:
                while True:
                    talk.send(talk.receive().upper())
            except simple_websocket.ConnectionClosed:
                pass
            raise StopIteration

        limits = Limits(header_timeout=10, keepalive_timeout=10)
        options = dict(certfile=certificate) if secure else {{}}
        server = WSGIServer(("127.0.0.1", 0), app, log=None, limits=limits, **options)
        server.start()
        url = f"ws{{'s' if secure else ''}}://127.0.0.1:{{server.server_port}}/"
        client = websocket.create_connection(url, timeout=20, sslopt={{"cert_reqs": 0, "check_hostname": False}})
        for _ in range(2):
            client.send("hello")
            print(client.recv())
            with VirtualClock():
                gevlite.sleep(30)   # longer than any limit of HTTP
        client.close()
        while server._serving:
            gevlite.sleep(0.01)
        server.stop()
        print("end")
        """
    )
    assert done.stdout.split() == ["HELLO", "HELLO", "end"] and done.stderr == ""


def test_stop_iteration_of_an_application_that_was_not_asked_for_another_protocol_is_an_error(visit, errors):
    def app(environ, start_response):
        assert ("gunicorn.socket" in environ) is ("HTTP_UPGRADE" in environ)
        if "HTTP_UPGRADE" in environ:
            start_response("200 OK", [])
        raise StopIteration

    assert visit(app).get().status == 500
    assert visit(app).get("/", "Connection: upgrade", "Upgrade: x").status == 500
    assert [type(value) for _, value in errors] == [StopIteration] * 2
