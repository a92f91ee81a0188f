"""The WSGI server and applications: environ, PEP 3333, errors, logs, start and stop."""

import logging
import re
import socket as std_socket
import subprocess as std_subprocess
import sys
from wsgiref.validate import validator

import pytest
from wsgi_apps import ANY, GET, PLAIN, answers, chunked, echo, exchange, hello, post

import gevlite
from gevlite import pywsgi, socket
from gevlite.event import Event
from gevlite.pool import Pool
from gevlite.pywsgi import Limits, WSGIHandler, WSGIServer
from gevlite.testing import VirtualClock

# ---------------------------------------------------------------- environ


def environ_of(visit, data, **kwargs):
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        return hello(environ, start_response)

    assert visit(app, **kwargs).ask(data).status == 200
    return seen[0]


def test_environ(visit, http):
    environ = environ_of(
        visit, b"GET /a%20b?q=1 HTTP/1.1\r\nHost: h:1\r\nX-Foo: a\r\nContent-Type: t/p\r\nContent-Length: 0\r\n\r\n"
    )
    assert type(environ) is dict
    port = environ.pop("SERVER_PORT")
    assert port.isdigit() and environ.pop("REMOTE_PORT").isdigit()
    assert environ.pop("SERVER_SOFTWARE").startswith("gevlite/")
    assert environ.pop("wsgi.input").read() == b""
    assert environ.pop("wsgi.file_wrapper") is pywsgi.FileWrapper
    assert callable(environ.pop("wsgi.early_hints"))
    assert environ == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "q=1",
        "CONTENT_TYPE": "t/p",
        "CONTENT_LENGTH": "0",
        "HTTP_HOST": "h:1",
        "HTTP_X_FOO": "a",
        "wsgi.version": (1, 0),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.input_terminated": True,
    }


def test_fields_of_one_name_are_a_list(visit):
    environ = environ_of(
        visit,
        b"GET / HTTP/1.1\r\nHost: h\r\nX-A: a\r\nx-a: b\r\nX-a: a\r\nX-B: x\r\nX-B: x\r\nCookie: a=1\r\nCookie: b=2\r\n"
        b"Content-Type: first\r\nContent-Type: second\r\n\r\n",
    )
    assert environ["HTTP_X_A"] == "a,b,a"
    assert environ["HTTP_X_B"] == "x,x"
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["CONTENT_TYPE"] == "first"


def test_a_name_with_an_underscore_cannot_pass_for_another(visit):
    data = b"GET / HTTP/1.1\r\nHost: h\r\nX-Real-User: me\r\nX_Real_User: root\r\nX_Other: x\r\n\r\n"
    environ = environ_of(visit, data)
    assert environ["HTTP_X_REAL_USER"] == "me"
    assert "HTTP_X_OTHER" not in environ


def test_the_host_of_an_absolute_target_counts(visit):
    environ = environ_of(visit, b"GET http://real:80/a HTTP/1.1\r\nHost: other\r\n\r\n")
    assert (environ["HTTP_HOST"], environ["PATH_INFO"]) == ("real:80", "/a")


def test_bytes_beyond_ascii_are_latin_1(visit):
    environ = environ_of(visit, "GET /%c3%bc HTTP/1.1\r\nHost: h\r\nX-A: \u00fc\r\n\r\n".encode())
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/\u00fc"
    assert environ["HTTP_X_A"].encode("latin-1").decode() == "\u00fc"


def test_many_names_of_fields_long_and_short(visit):
    fields = [f"X-{'a' * n}-{n}: v{n}" for n in range(90)]
    data = "\r\n".join(["GET / HTTP/1.1", "Host: h", *fields, "", ""]).encode()
    for _ in range(2):
        environ = environ_of(visit, data)
        for n in range(90):
            assert environ[f"HTTP_X_{'A' * n}_{n}"] == f"v{n}"


def test_what_an_application_does_to_environ_is_its_own_affair(visit):
    def app(environ, start_response):
        assert "mine" not in environ and environ["SCRIPT_NAME"] == ""
        environ["mine"] = 1
        environ["SCRIPT_NAME"] = "/x"
        environ.pop("REMOTE_ADDR")
        return hello(environ, start_response)

    client = visit(app)
    assert [client.get().status for _ in range(3)] == [200] * 3


def test_own_environ_is_added_to_each_request(visit):
    environ = environ_of(visit, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", environ={"SERVER_NAME": "me", "my.key": 1})
    assert (environ["SERVER_NAME"], environ["my.key"], environ["wsgi.url_scheme"]) == ("me", 1, "http")


def test_other_processes_get_their_share(site):
    assert site(hello).max_accept == 100
    assert site(hello, environ={"wsgi.multiprocess": True}).max_accept == 1


def test_a_class_for_environ(serve, http):
    class Mine(pywsgi.Environ):
        pass

    class Server(WSGIServer):
        environ_class = Mine

    seen = []

    def app(environ, start_response):
        seen.append(environ)
        return hello(environ, start_response)

    assert http(serve(Server(ANY, app, log=None))).get("/x").status == 200
    assert type(seen[0]) is Mine and seen[0]["PATH_INFO"] == "/x" and seen[0]["wsgi.input"].read() == b""


def test_get_environ_of_the_server_is_asked_for_each_request(serve, http):
    class Server(WSGIServer):
        count = 0

        def get_environ(self):
            self.count += 1
            return {**super().get_environ(), "count": self.count}

    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"%d" % environ["count"]]

    client = http(serve(Server(ANY, app, log=None)))
    counts = [int(client.get().body) for _ in range(3)]
    assert counts == sorted(set(counts))


def test_server_name_of_every_kind_of_address(serve, tmp_path):
    for listener, name in {
        ("127.0.0.1", 0): "127.0.0.1",
        ("::1", 0): "[::1]",
        0: std_socket.gethostname(),
        "unix:s.sock": "localhost",
    }.items():
        if isinstance(listener, str):
            listener = f"unix:{tmp_path}/s.sock"
        server = serve(WSGIServer(listener, hello, log=None))
        assert server.environ["SERVER_NAME"] == name
        assert server.environ["SERVER_PORT"] == (str(server.server_port) if server.server_port else "80")


def test_unix_socket(visit, tmp_path):
    environ = environ_of(visit, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", listener=f"unix:{tmp_path}/s.sock")
    assert environ["REMOTE_ADDR"] == "" and "REMOTE_PORT" not in environ


@pytest.mark.skipif(not std_socket.has_dualstack_ipv6(), reason="no sockets for IPv4 and IPv6 here")
def test_a_client_with_an_address_of_ipv4_has_it_also_on_a_socket_for_both(serve):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [f"{environ['REMOTE_ADDR']} {environ['REMOTE_PORT']}".encode()]

    listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = serve(WSGIServer(listener, app, log=None))
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, server.server_port), timeout=20) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.makefile("rb").read().endswith(f"\r\n\r\n{host} {sock.getsockname()[1]}".encode())


def test_nagle_is_off(site, http):
    seen = []

    class Handler(WSGIHandler):
        def handle(self):
            seen.append(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            super().handle()

    assert http(site(hello, handler_class=Handler)).get().status == 200
    assert seen[0] != 0


# ---------------------------------------------------------------- PEP 3333


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /?q HTTP/1.0\r\n\r\n",
        post(b"some\nbody"),
        chunked(b"some\n", b"body"),
    ],
    ids=["GET", "HEAD", "1.0", "length", "chunked"],
)
@pytest.mark.parametrize("style", ["list", "generator", "write", "nothing"])
def test_the_validator_of_the_standard_library_finds_nothing(visit, errors, data, style):
    @validator
    def app(environ, start_response):
        stream = environ["wsgi.input"]
        stream.read(1), stream.readline(), stream.readlines(), stream.read(10), list(stream)
        environ["wsgi.errors"].flush()
        write = start_response("200 OK", [PLAIN])
        if style == "write":
            write(b"a")
            write(b"b")
        if style == "generator":
            return (piece for piece in (b"a", b"", b"b"))
        return [] if style in ("nothing", "write") else [b"ab"]

    response = visit(app).ask(data)
    assert errors == []
    assert response.status == 200
    assert response.body == (b"" if data.startswith(b"HEAD") or style == "nothing" else b"ab")


def test_start_response_twice_is_an_error(visit, errors):
    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("404 Not Found", [])
        return []

    assert visit(app).get().status == 500
    assert isinstance(errors[0][1], AssertionError)


def test_exc_info_replaces_a_head_that_was_not_sent(visit, errors):
    def app(environ, start_response):
        start_response("200 OK", [("X-A", "a")])
        try:
            raise ValueError("x")
        except ValueError:
            start_response("503 Sorry", [("X-B", "b")], sys.exc_info())
        return [b"sorry"]

    response = visit(app).get()
    assert (response.status, response.reason, response.body) == (503, "Sorry", b"sorry")
    assert (response["X-A"], response["X-B"]) == (None, "b")
    assert errors == []


def test_exc_info_is_raised_if_the_head_was_sent(visit, errors):
    def app(environ, start_response):
        start_response("200 OK", [])(b"begun")
        try:
            raise ValueError("x")
        except ValueError:
            start_response("503 Sorry", [], sys.exc_info())
        return [b"never"]

    client = visit(app)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    data = client.file.read()
    assert data.endswith(b"5\r\nbegun\r\n")
    assert [type(value) for _, value in errors] == [ValueError]


def check_500(client, errors):
    response = client.get()
    assert (response.status, response.reason, response.body) == (500, "Internal Server Error", b"Internal Server Error")
    assert response["Connection"] == "close" and client.is_closed()
    assert len(errors) == 1


@pytest.mark.parametrize(
    "status",
    ["200 O\nK", "OK", "", "20", "2000", 200, b"200 OK", None, "200 \u20ac", "999 X", "099 X", "100 Go", "103 Early"],
)
def test_a_status_that_is_none_is_a_500_that_says_nothing(visit, errors, status):
    check_500(visit(answers([b"x"], status)), errors)


@pytest.mark.parametrize(
    "header",
    [
        *[("X", value) for value in ("a\nb", "a\rb", "a\0b", "a\x7fb", "\u20ac", b"a", 5, None)],
        *[(name, "a") for name in ("X\n", "X Y", "X:", "", "\u00fc", b"X", None)],
        *[("Content-Length", value) for value in ("x", "-1", "1, 1", "", "1 ")],
        ("Set-Cookie", "a=b\r\n\r\n<script>"),
        ("Transfer-Encoding", "gzip"),
        ("Transfer-Encoding", "gzip, chunked"),
        ("X",),
        "X: a",
    ],
    ids=ascii,
)
def test_a_header_that_is_none_is_a_500_that_says_nothing(visit, errors, header):
    check_500(visit(answers([b"x"], headers=[header])), errors)


@pytest.mark.parametrize("body", [[1], ["text"], "text", 5, None, [b"a", "b"], lambda: iter(["text"])], ids=str)
def test_a_body_that_is_none_is_a_500_that_says_nothing(visit, errors, body):
    check_500(visit(answers(body)), errors)


@pytest.mark.parametrize("result", [[b"x"], [], None])
def test_without_start_response_it_is_a_500_that_says_nothing(visit, errors, result):
    check_500(visit(lambda environ, start_response: result), errors)


def test_two_lengths_are_a_500_that_says_nothing(visit, errors):
    check_500(visit(answers([b"x"], headers=[("Content-Length", "1"), ("Content-Length", "2")])), errors)


def test_write_before_start_response_is_an_error(visit, errors):
    def app(environ, start_response):
        yield b"too early"
        start_response("200 OK", [])

    assert visit(app).get().status == 500
    assert "start_response" in str(errors[0][1])


def test_a_generator_may_call_start_response_late(visit):
    def app(environ, start_response):
        yield b""
        start_response("200 OK", [])
        yield b"now"

    assert visit(app).get().body == b"now"


def test_close_of_the_result_is_called(visit, errors):
    calls = []

    class Result:
        def __init__(self, fail):
            self.fail = fail

        def __iter__(self):
            yield b"a"
            if self.fail:
                raise ValueError("x")

        def close(self):
            calls.append(self.fail)

    fail = False

    def app(environ, start_response):
        start_response("200 OK", [])
        return Result(fail)

    client = visit(app)
    assert client.get().body == b"a"
    fail = True
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    client.file.read()
    assert calls == [False, True]
    assert [str(value) for _, value in errors] == ["x"]


# ---------------------------------------------------------------- errors


def test_an_error_says_nothing_to_the_client_and_enough_to_us(visit, errors):
    def app(environ, start_response):
        secret = "hunter2"
        raise ValueError(secret)

    client = visit(app)
    data = exchange(client, b"GET /?token=abc HTTP/1.1\r\nHost: h\r\nCookie: session\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"hunter2" not in data and b"Traceback" not in data and b"ValueError" not in data
    ((context, value),) = errors
    assert str(value) == "hunter2"
    assert "session" not in repr(context) and "token" not in repr(context) and "127.0.0.1" in repr(context)


def test_an_error_in_the_middle_of_a_body_cuts_it_short(visit, errors):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        raise ValueError("x")

    data = exchange(visit(app), GET)
    assert data.endswith(b"4\r\npart\r\n")  # and no last chunk
    assert len(errors) == 1


@pytest.mark.parametrize("failure", [gevlite.Timeout, ValueError, MemoryError, StopIteration, RuntimeError])
def test_whatever_is_raised_is_a_500_and_the_server_goes_on(site, http, errors, failure):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/probe":
            return hello(environ, start_response)
        raise failure()

    server = site(app)
    assert http(server).get().status == 500
    assert http(server).is_open()
    assert [type(value) for _, value in errors] == [failure]


def test_a_killed_request_ends_the_connection(site, http, errors):
    seen = []

    def app(environ, start_response):
        seen.append(gevlite.getcurrent())
        gevlite.sleep(100)

    client = http(site(app))
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    while not seen:
        gevlite.sleep(0.001)
    seen[0].kill()
    assert client.is_closed()
    assert errors == []


def test_a_fast_client_does_not_starve_others(site, http, start):
    """One that sends without waiting for answers: its greenlet always has something to do."""
    server = site(hello)
    greedy, other = http(server), http(server)
    assert other.get().status == 200
    ticks = []

    def tick():
        while len(ticks) < 1000:
            ticks.append(served[0])
            gevlite.sleep(0)

    served = [0]

    def app(environ, start_response):
        served[0] += 1
        return hello(environ, start_response)

    server.application = app
    greedy.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 500)
    ticking = start(tick)
    for _ in range(500):
        assert greedy.response().status == 200
    ticks += [served[0]] * 1000
    ticking.get()
    assert max(b - a for a, b in zip(ticks, ticks[1:], strict=False)) < 100


def test_a_client_that_takes_all_there_is_does_not_starve_others(site):
    """Sending to it never blocks, so its greenlet would never have to wait."""
    blocks = [0]

    def app(environ, start_response):
        start_response("200 OK", [])
        while True:
            blocks[0] += 1
            yield block

    block = bytes(1 << 20)
    source = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
block = bytearray(1 << 22)
while sock.recv_into(block):
    pass
"""
    server = site(app)
    command = [sys.executable, "-c", source, str(server.server_port)]
    reader = std_subprocess.Popen(command, stderr=std_subprocess.DEVNULL)
    try:
        while blocks[0] < 50:
            gevlite.sleep(0.001)
        ticks = []
        while blocks[0] < 2000:
            ticks.append(blocks[0])
            gevlite.sleep(0.001)
    finally:
        reader.kill()
        reader.wait()
    # A greenlet's turn is 5 ms.
    assert max(b - a for a, b in zip(ticks, ticks[1:], strict=False)) < 200


# ---------------------------------------------------------------- logs


class Log:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass


LINE = r'127\.0\.0\.1 - - \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] "%s" %d (\d+|-) \d+\.\d{6}\n'


def test_the_access_log(visit, settle):
    log = Log()
    client = visit(hello, log=log)
    response = client.get("/a%20b?c")
    assert settle(lambda: log.text)
    assert re.fullmatch(LINE % (r"GET /a%20b\?c HTTP/1\.1", 200), log.text)
    assert response.status == 200


@pytest.mark.parametrize(
    ("data", "line", "status"),
    [
        (b"NONSENSE\r\n\r\n", "NONSENSE", 400),
        (b"GET / HTTP/1.1\r\n\r\n", r"GET / HTTP/1\.1", 400),
        (b'\x1b[31m" 200 5 -\r\n\r\n', "", 400),
    ],
)
def test_the_access_log_of_what_is_refused(visit, settle, data, line, status):
    log = Log()
    assert visit(hello, log=log).ask(data).status == status
    assert settle(lambda: log.text)
    assert re.fullmatch(LINE % (f"({line})?", status), log.text)


def test_the_access_log_of_an_error(visit, settle, errors):
    log = Log()
    visit(lambda environ, start_response: 1 / 0, log=log).get()
    assert settle(lambda: log.text)
    assert re.fullmatch(LINE % (r"GET / HTTP/1\.1", 500), log.text)


def test_the_log_is_stderr_unless_said_otherwise(serve, http, capsys):
    assert http(serve(WSGIServer(ANY, hello))).get("/default").status == 200
    assert '"GET /default HTTP/1.1" 200 ' in capsys.readouterr().err
    assert http(serve(WSGIServer(ANY, hello, log=None))).get().status == 200
    assert capsys.readouterr() == ("", "")


def test_loggers(visit, caplog, settle):
    def app(environ, start_response):
        environ["wsgi.errors"].writelines(["from the application\n"])
        environ["wsgi.errors"].flush()
        return hello(environ, start_response)

    caplog.set_level(logging.DEBUG)
    visit(app, log=logging.getLogger("access"), error_log=logging.getLogger("error")).get()
    assert settle(lambda: len(caplog.records) == 2)
    assert [(record.name, record.levelname) for record in caplog.records] == [("error", "ERROR"), ("access", "INFO")]
    assert caplog.records[0].message == "from the application"
    assert '"GET / HTTP/1.1" 200' in caplog.records[1].message


def test_what_is_like_a_logger_is_a_log_too(visit, caplog, settle):
    caplog.set_level(logging.DEBUG)
    adapter = logging.LoggerAdapter(logging.getLogger("access"), {})
    visit(hello, log=adapter, error_log=adapter).get()
    assert settle(lambda: caplog.records)
    assert [(record.name, record.levelname) for record in caplog.records] == [("access", "INFO")]
    with pytest.raises(TypeError, match="write"):
        WSGIServer(ANY, hello, log=5)


def test_the_class_of_environs_may_be_set_until_the_first_request(serve, http):
    def app(environ, start_response):
        kinds.append(type(environ))
        return hello(environ, start_response)

    kinds = []
    server = WSGIServer(ANY, app, log=None)
    server.environ_class = pywsgi.SecureEnviron
    client = http(serve(server))
    assert client.get().status == client.get().status == 200
    assert kinds == [pywsgi.SecureEnviron] * 2


def test_a_log_adapter_is_otherwise_its_logger(caplog):
    logger = logging.getLogger("adapted")
    adapter = pywsgi.LoggingLogAdapter(logger, level=logging.DEBUG)
    assert adapter.name == "adapted"
    adapter.disabled = True
    assert logger.disabled
    adapter.disabled = False
    caplog.set_level(logging.DEBUG)
    adapter.write("line\n")
    adapter.write("\n")
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.DEBUG, "line")]


def test_log_error_of_a_handler(site, http):
    log = Log()

    class Handler(WSGIHandler):
        def get_environ(self):
            self.log_error("%s happened", "it")
            self.log_error("%d", "x")
            return super().get_environ()

    http(site(hello, handler_class=Handler, error_log=log)).get()
    assert log.text == "it happened\n'%d' ('x',)\n"


def test_secure_environs():
    made = pywsgi.WSGISecureEnviron(REMOTE_ADDR="1.2.3.4", HTTP_COOKIE="secret", PATH_INFO="/secret")
    assert repr(made) == str(made) == "{'REMOTE_ADDR': '1.2.3.4', (hidden keys: 2)}"
    made.print_masked_keys = True
    assert repr(made) == "{'REMOTE_ADDR': '1.2.3.4', 'HTTP_COOKIE': '<MASKED>', 'PATH_INFO': '<MASKED>'}"
    made.whitelist_keys = ("PATH_INFO",)
    assert repr(made) == "{'PATH_INFO': '/secret', 'REMOTE_ADDR': '<MASKED>', 'HTTP_COOKIE': '<MASKED>'}"
    made.secure_repr = False
    assert repr(made) == repr(dict(made))
    assert type(made.copy()) is pywsgi.WSGISecureEnviron
    assert repr(pywsgi.SecureEnviron(a=1)).startswith("<pywsgi.SecureEnviron dict (keys: 1) at ")
    with pytest.raises(AttributeError):
        made.other  # noqa: B018


# ---------------------------------------------------------------- the server


@pytest.mark.parametrize("spawn", ["default", "raw", 10, gevlite.spawn], ids=str)
def test_every_way_to_spawn(site, http, spawn):
    server = site(echo, spawn=spawn)
    clients = [http(server) for _ in range(5)]
    for _ in range(3):
        assert [client.ask(post(b"x")).body for client in clients] == [b"x"] * 5


def test_a_full_pool_serves_the_next_when_a_connection_ends(site, http):
    server = site(hello, spawn=Pool(1))
    first, second = http(server), http(server)
    assert first.get().status == 200
    second.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    first.file.close()
    first.sock.close()
    assert second.response().status == 200


def test_a_number_of_places_is_for_requests_not_for_connections(site, http, settle):
    gate = Event()
    running = []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            running.append(environ)
            gate.wait()
        return hello(environ, start_response)

    server = site(app, spawn=2)
    kept, silent, slow = ([http(server) for _ in range(3)] for _ in range(3))
    assert [client.get().status for client in kept] == [200] * 3
    for client in slow:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n")
    assert settle(lambda: len(server._handlers) == 9)
    for client in kept:
        client.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    assert settle(lambda: len(running) == 2)
    assert server.full()
    late = http(server)
    late.send(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n")
    gevlite.idle()
    assert len(running) == 2 and len(server._handlers) == 9  # it waits to be accepted
    gate.set()
    assert [client.response().status for client in [*kept, late]] == [200] * 4
    for client in slow:
        assert client.ask(b"\r\n", "GET").status == 200
    assert [client.get().status for client in silent] == [200] * 3
    assert not server.full()


def test_a_request_that_fails_gives_its_place_back(site, http, errors, settle):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/sleep":
            sleeping.append(gevlite.getcurrent())
            gevlite.sleep(100)
        if environ["PATH_INFO"] == "/fail":
            raise ValueError
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    sleeping = []
    server = site(app, spawn=1, limits=Limits(max_body=10))
    assert http(server).get("/fail").status == 500
    refused = http(server)
    assert refused.ask(chunked(b"x" * 20)).status == 413
    refused.close()  # the server waits for this
    first, second = http(server), http(server)
    assert settle(lambda: len(server._handlers) == 2)
    first.send(b"GET /sleep HTTP/1.1\r\nHost: h\r\n\r\n")
    assert settle(lambda: sleeping)
    second.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    gevlite.idle()
    sleeping[0].kill()
    assert second.response().status == 200
    assert server._places.counter == 1


def test_stop_kills_what_does_not_end_if_there_is_a_number_of_places(site, http, settle):
    running = []

    def app(environ, start_response):
        running.append(environ)
        gevlite.sleep(100)

    server = site(app, spawn=1)
    client = http(server)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert settle(lambda: running)
    server.stop(0)
    assert client.is_closed() and not server._serving


class Crowded(WSGIServer):
    max_connections = 5
    max_accept = 1  # so that an accepted client counts at once


def fill(server, http, settle, prepare):
    """That many connections, which are older than a moment."""
    clients = [http(server) for _ in range(5)]
    for client in clients:
        prepare(client)
    assert settle(lambda: len(server._handlers) == 5)
    for handler in server._handlers:
        server._handlers[handler] -= 10
    return clients


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost:"])
def test_in_a_crowd_the_silent_make_room(serve, http, settle, head):
    server = serve(Crowded(ANY, hello, log=None))
    silent = fill(server, http, settle, lambda client: client.send(head))
    clients = [http(server) for _ in range(4)]
    assert [client.get().status for client in clients] == [200] * 4
    assert [client.is_closed() for client in silent[:4]] == [True] * 4
    assert len(server._serving) <= 5
    assert [client.get().status for client in clients] == [200] * 4


def test_in_a_crowd_of_kept_connections_the_oldest_makes_room(serve, http, settle):
    server = serve(Crowded(ANY, hello, log=None))
    kept = fill(server, http, settle, lambda client: client.get())
    new = http(server)
    assert new.get().status == 200
    assert kept[0].is_closed()
    assert [client.get().status for client in [*kept[2:], new]] == [200] * 4


def test_in_a_crowd_nobody_is_hung_up_on_during_a_request(serve, http, settle):
    gate = Event()

    def app(environ, start_response):
        gate.wait()
        return hello(environ, start_response)

    server = serve(Crowded(ANY, app, log=None))
    busy = fill(server, http, settle, lambda client: client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
    late = http(server)
    late.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    gevlite.idle()
    assert len(server._serving) == 5
    gate.set()
    assert [client.response().status for client in [*busy, late]] == [200] * 6


def test_by_default_there_are_as_many_connections_as_the_process_may_have(site):
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft // 2 <= site(hello)._most_connections <= max(soft, sys.maxsize)


def test_stop_lets_requests_finish_and_closes_connections(site, http, start):
    gate = Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            gate.wait()
        return hello(environ, start_response)

    server = site(app, limits=Limits(closing_timeout=0.1))
    idle, busy = http(server), http(server)
    assert idle.get().status == 200
    busy.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    gevlite.sleep(0.02)
    stopping = start(server.stop, 20)
    assert idle.is_closed()
    assert not stopping.greenlet.ready()
    gate.set()
    response = busy.response()
    assert (response.body, response["Connection"]) == (b"hello", "close")
    assert busy.is_closed()
    stopping.get()


def test_a_connection_between_two_requests_has_one_more_when_the_server_stops(site, http, start):
    """A client may have sent it already, or may send it at any moment."""
    server = site(hello)
    clients = [http(server) for _ in range(5)]
    for client in clients:
        assert client.get()["Connection"] is None
    stopping = start(server.stop, 20)
    with VirtualClock():
        gevlite.sleep(1.9)  # not closing_timeout
        for client in clients:
            response = client.get()
            assert (response.body, response["Connection"]) == (b"hello", "close")
            assert client.is_closed()
    stopping.get()


def test_a_connection_whose_response_began_before_has_one_more_request_too(site, http, start):
    gate = Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"begun"
        gate.wait()

    server = site(app, limits=Limits(closing_timeout=1))
    client, other = http(server), http(server)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    other.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert other.file.readline() == b"HTTP/1.1 200 OK\r\n"
    stopping = start(server.stop, 20)
    with VirtualClock():
        gevlite.sleep(1.1)
    gate.set()
    while client.file.readline() != b"0\r\n":
        pass
    client.file.readline()
    assert client.get()["Connection"] == "close"
    assert other.file.read().endswith(b"0\r\n\r\n")  # it sent no other request, and the server hung up
    stopping.get()


def test_close_by_itself_ends_idle_connections_too(site, http):
    server = site(hello, limits=Limits(closing_timeout=1))
    new, idle, busy = clients = [http(server) for _ in range(3)]
    assert idle.get().status == busy.get().status == 200
    while len(server._handlers) < len(clients):
        gevlite.sleep(0)
    server.close()
    assert busy.get()["Connection"] == "close"
    assert [client.is_closed() for client in clients] == [True] * 3


def test_without_closing_timeout_idle_connections_are_closed_at_once(site, http):
    server = site(hello, limits=Limits(closing_timeout=0))
    idle = http(server)
    assert idle.get().status == 200
    server.stop(20)
    assert idle.is_closed()


def test_a_request_that_was_sent_before_the_server_stopped_is_answered(site, http):
    server = site(hello)
    clients = [http(server) for _ in range(20)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    while len(server._serving) < 20:
        gevlite.sleep(0)
    server.close()
    assert [client.response().status for client in clients] == [200] * 20


def test_who_has_just_connected_gets_a_moment_for_a_request_when_the_server_stops(site, http, start):
    server = site(hello, limits=Limits(closing_timeout=1))
    asks, starts_to_ask, silent = clients = [http(server) for _ in range(3)]
    while len(server._handlers) < len(clients):
        gevlite.sleep(0)
    starts_to_ask.send(b"GET / HTTP/1.1\r\n")
    stopping = start(server.stop, 20)
    gevlite.idle()
    asks.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    response = asks.response()
    assert (response.body, response["Connection"]) == (b"hello", "close")
    assert asks.is_closed() and not stopping.greenlet.ready()
    assert silent.is_closed()
    starts_to_ask.send(b"Host: h\r\n\r\n")
    assert starts_to_ask.response().body == b"hello"
    stopping.get()


def test_who_has_just_connected_does_not_keep_stop_longer_than_it_may(site, http):
    server = site(hello)
    silent = http(server)
    while not server._handlers:
        gevlite.sleep(0)
    server.stop(0)
    assert silent.is_closed()


def test_stop_and_start_again(site, http):
    server = site(hello)
    assert http(server).get().status == 200
    server.stop()
    server.start()
    client = http(server)
    assert client.get().status == 200 and client.is_open()


def test_the_application_may_be_a_method_of_the_server(serve, http):
    class Server(WSGIServer):
        def application(self, environ, start_response):
            return hello(environ, start_response)

    assert http(serve(Server(ANY, log=None))).get().body == b"hello"


def test_serve_forever_with_requests_from_another_process(run_script):
    done = run_script(
        """
        import subprocess, sys, gevlite
        from gevlite.pywsgi import WSGIServer

        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b"hello from " + environ["SERVER_SOFTWARE"].encode()]

        server = WSGIServer(("127.0.0.1", 0), app, log=None)
        server.start()
        visit = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:%d').read().decode())"
        child = subprocess.Popen([sys.executable, "-c", visit % server.server_port])

        def wait():
            while child.poll() is None:
                gevlite.sleep(0.01)
            server.stop()

        gevlite.spawn(wait)
        server.serve_forever()
        """
    )
    assert done.stdout.startswith("hello from gevlite/")


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_headers": -1},
        {"max_request_line": 0},
        {"header_timeout": 0},
        {"keepalive_timeout": -1},
        {"closing_timeout": -1},
        {"max_header_bytes": 0},
        {"max_body": -1},
        {"min_rate": -1},
    ],
)
def test_limits_that_make_no_sense(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        Limits(**kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_headers": "1"},
        {"max_headers": None},
        {"header_timeout": "1"},
        {"max_body": 1.5},
        {"min_rate": True},
        {"closing_timeout": None},
        {"max_headers": True},
    ],
)
def test_limits_of_the_wrong_type(kwargs):
    with pytest.raises(TypeError, match=next(iter(kwargs))):
        Limits(**kwargs)


def test_limits_of_the_environment(monkeypatch):
    monkeypatch.setenv("GEVLITE_MAX_BODY", "1.5k")
    monkeypatch.setenv("GEVLITE_HEADER_TIMEOUT", "none")
    monkeypatch.setenv("GEVLITE_BODY_TIMEOUT", " 2.5 ")
    monkeypatch.setenv("GEVLITE_MIN_RATE", "")
    assert Limits.from_environment(max_headers=5, body_timeout=1) == Limits(
        max_body=1536, header_timeout=None, body_timeout=2.5, max_headers=5
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MAX_BODY", "x"),
        ("MAX_BODY", "1x"),
        ("MAX_BODY", "-1"),
        ("MIN_RATE", "none"),
        ("WRITE_TIMEOUT", "0"),
        ("HEADER_TIMEOUT", "1k"),
        ("MAX_HEADERS", "inf"),
    ],
)
def test_limits_of_the_environment_that_make_no_sense(monkeypatch, name, text):
    monkeypatch.setenv(f"GEVLITE_{name}", text)
    with pytest.raises(ValueError, match=f"GEVLITE_{name} cannot be '{text}'"):
        Limits.from_environment()


def test_limits_must_be_limits():
    with pytest.raises(TypeError, match="limits"):
        WSGIServer(ANY, hello, limits={"max_body": 1})


def test_without_httptools_there_is_an_error_that_says_what_to_install(run_script):
    done = run_script(
        """
        import sys
        sys.modules["httptools"] = None
        from gevlite.pywsgi import WSGIServer
        try:
            WSGIServer(("127.0.0.1", 0), None)
        except ImportError as exc:
            print(exc)
        """
    )
    assert "pip install 'gevlite[wsgi]'" in done.stdout
