"""How the WSGI server frames responses, and what an application reads of a request's body."""

import bz2
import gzip
import io
import lzma
import os
import re
import tempfile

import pytest
from hypothesis import given, settings, strategies as st
from serving import Client, read_all
from wsgi_apps import GET, GET10, HEAD, answers, chunked, echo, exchange, files, hello, post, ways_to_send

import gevlite
from gevlite import pywsgi, ssl
from gevlite.event import Event
from gevlite.fileobject import FileObject
from gevlite.pywsgi import Limits
from gevlite.testing import VirtualClock

# ---------------------------------------------------------------- responses


def test_head_and_body_come_in_one_piece(visit):
    client = visit(answers([b"x" * 10240]))
    client.send(GET)
    data = client.sock.recv(65536)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n") and data.endswith(b"\r\n\r\n" + b"x" * 10240)


def test_date(visit):
    date = visit(hello).get()["Date"]
    assert re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)
    assert visit(answers([b"x"], headers=[("Date", "mine")])).get()["Date"] == "mine"


@pytest.mark.parametrize(
    ("app", "length", "body"),
    [
        (answers([b"hello"]), "5", b"hello"),
        (answers((b"hel", b"lo")), "5", b"hello"),
        (answers([b"a" * 9000, b"b" * 9000]), "18000", b"a" * 9000 + b"b" * 9000),
        (answers([]), "0", b""),
        (answers([b""]), "0", b""),
        (answers([bytearray(b"ab"), memoryview(b"c")]), "3", b"abc"),
        (answers([b"hello"], headers=[("Content-Length", "5")]), "5", b"hello"),
        (answers([b"hello"], headers=[("content-LENGTH", "5"), ("Content-Length", "5")]), "5", b"hello"),
        (answers(lambda: iter([b"hel", b"", b"lo"]), headers=[("Content-Length", "5")]), "5", b"hello"),
        (answers([b"x" * 300000]), "300000", b"x" * 300000),
    ],
)
def test_content_length(visit, app, length, body):
    client = visit(app)
    for _ in range(2):
        response = client.get()
        assert (response.status, response["Content-Length"], response.body) == (200, length, body)
        assert response["Transfer-Encoding"] is None


@pytest.mark.parametrize(
    "pieces", [[b"a"], [b"a", b"", b"bc"], [], [b"x" * 100000, b"y"], [b"x" * 16384], [b"x" * 16385]]
)
def test_without_a_length_it_is_chunked(visit, pieces):
    client = visit(answers(lambda: iter(pieces)))
    for _ in range(2):
        response = client.get()
        assert response.body == b"".join(pieces)
        assert (response["Transfer-Encoding"], response["Content-Length"]) == ("chunked", None)


def test_chunks_on_the_wire(visit):
    data = exchange(visit(answers(lambda: iter([b"a" * 17, b"b"]))), GET)
    assert data.partition(b"\r\n\r\n")[2] == b"11\r\n" + b"a" * 17 + b"\r\n1\r\nb\r\n0\r\n\r\n"


def test_http_1_0_gets_no_chunks_but_the_end_of_the_connection(visit):
    data = exchange(visit(answers(lambda: iter([b"a", b"b"]))), GET10)
    assert data.endswith(b"\r\nConnection: close\r\n\r\nab")
    assert b"chunked" not in data


def test_http_1_0_kept_alive(visit):
    client = visit(hello)
    response = client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (response["Connection"], response["Content-Length"], response.body) == ("keep-alive", "5", b"hello")
    assert client.is_open()


def test_http_1_0_kept_alive_but_of_unknown_length(visit):
    data = exchange(visit(answers(lambda: iter([b"a"]))), b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert data.endswith(b"\r\nConnection: close\r\n\r\na")


@pytest.mark.parametrize(
    ("app", "length"),
    [
        (answers([b"hello"]), b"5"),
        (answers([], headers=[("Content-Length", "77")]), b"77"),
        (answers([b"hello"], headers=[("Content-Length", "5")]), b"5"),
        (answers([]), None),
        (answers(lambda: iter([b"hello"])), None),
    ],
)
def test_head_has_the_head_of_get_and_no_body(visit, errors, app, length):
    data = exchange(visit(app), HEAD)
    assert data.endswith(b"\r\n\r\n") and data.count(b"\r\n\r\n") == 1
    found = re.search(rb"Content-Length: (\d+)", data)
    assert (found and found[1]) == length
    assert errors == []


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_statuses_without_a_body(visit, errors, status):
    data = exchange(visit(answers([], status=status)), GET)
    assert data.endswith(b"\r\n\r\n") and b"Content-Length" not in data and b"chunked" not in data
    data = exchange(visit(answers(lambda: iter([]), status=status)), GET)
    assert data.endswith(b"\r\n\r\n") and b"Content-Length" not in data and b"chunked" not in data
    assert errors == []
    assert exchange(visit(answers([b"body"], status=status)), GET).startswith(b"HTTP/1.1 500 ")
    assert len(errors) == 1


def test_content_length_of_204_is_dropped_and_of_304_kept(visit):
    assert b"Content-Length" not in exchange(visit(answers([], "204 No Content", [("Content-Length", "0")])), GET)
    assert b"Content-Length: 9\r\n" in exchange(visit(answers([], "304 Not Modified", [("Content-Length", "9")])), GET)


def test_more_than_content_length_is_not_sent(visit, errors):
    data = exchange(visit(answers([b"hello"], headers=[("Content-Length", "2")])), GET)
    assert data.endswith(b"\r\n\r\nhe")
    data = exchange(visit(answers(lambda: iter([b"a", b"bcd"]), headers=[("Content-Length", "2")])), GET)
    assert data.endswith(b"\r\n\r\nab")
    assert [type(value) for _, value in errors] == [AssertionError] * 2


def test_less_than_content_length_closes_the_connection(visit, errors):
    client = visit(answers([b"x"], headers=[("Content-Length", "2")]))
    data = exchange(client, GET.replace(b"Connection: close\r\n", b""))
    assert data.endswith(b"\r\n\r\nx")
    assert "1 bytes shorter" in str(errors[0][1])


def test_connection_close_of_the_application_is_heeded(visit):
    client = visit(answers([b"x"], headers=[("Connection", "close")]))
    assert client.get()["Connection"] == "close"
    assert client.is_closed()


@pytest.mark.parametrize("body", [lambda: [b"5\r\nhello"], lambda: iter([b"5\r\n", b"hello"])])
def test_how_another_server_transferred_a_response_is_not_handed_on(visit, body):
    fields = [("Transfer-Encoding", "Chunked"), ("Connection", "Keep-Alive"), ("Keep-Alive", "timeout=5")]
    client = visit(answers(body, headers=[*fields, ("X-A", "a")]))
    for _ in range(2):
        response = client.get()
        assert response.body == b"5\r\nhello"
        assert (response["X-A"], response["Keep-Alive"]) == ("a", None)


@pytest.mark.parametrize(
    ("data", "given", "sent"),
    [
        (GET, "keep-alive", ["close"]),
        (GET, "Upgrade", ["Upgrade", "close"]),
        (GET, "close", ["close"]),
        (GET10, "keep-alive", ["close"]),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive", ["keep-alive"]),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "keep-alive", ["keep-alive"]),
    ],
    ids=str,
)
def test_a_connection_that_is_closed_is_not_said_to_be_kept(visit, data, given, sent):
    response = visit(answers([b"x"], headers=[("Connection", given)])).ask(data)
    assert [value for name, value in response.headers if name == "Connection"] == sent


def test_a_status_without_a_reason(visit):
    assert exchange(visit(answers([], "404")), GET).startswith(b"HTTP/1.1 404 \r\n")


def test_headers_as_they_were_given(visit):
    headers = [
        ("X-a", "1"),
        ("x-A", "2"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-L", "\u00fc\t \xff"),
        ("X-E", ""),
    ]
    response = visit(answers([b"x"], headers=headers)).get()
    assert response.headers[:6] == [(name, value.strip()) for name, value in headers]


def test_a_head_beyond_a_block(visit):
    headers = [(f"X-{n}", "y" * 1000) for n in range(90)]
    data = exchange(visit(answers([b"x"], headers=headers)), GET)
    assert data.count(b"y") == 90000 and data.endswith(b"\r\n\r\nx")


def test_pieces_are_sent_when_they_are_there(visit):
    gate = Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        gate.wait()
        yield b"second"

    client = visit(app)
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    data = b""
    while not data.endswith(b"5\r\nfirst\r\n"):
        data += client.sock.recv(1000)
    gate.set()
    assert client.sock.recv(1000).startswith(b"6\r\nsecond\r\n")


# ---------------------------------------------------------------- files


class Closing(io.BytesIO):
    was_closed = False

    def close(self):
        self.was_closed = True
        super().close()


@pytest.mark.parametrize("offset", [0, 1, 1 << 20])
def test_a_file_is_sent_whole_from_where_it_stands(visit, big_file, offset, monkeypatch):
    monkeypatch.setattr(pywsgi.FileWrapper, "__next__", None)  # sendfile it is
    opened = []
    client = visit(files(big_file, offset, opened=opened))
    for _ in range(2):
        response = client.get()
        assert response.body == big_file.read_bytes()[offset:]
        assert response["Content-Length"] == str(len(response.body))
    assert all(file.closed for file in opened)


def test_of_a_file_no_more_is_sent_than_content_length(visit, big_file):
    client = visit(files(big_file, 10, [("Content-Length", "3000000")]))
    assert client.get().body == big_file.read_bytes()[10:3000010]
    assert client.is_open()


def test_a_file_shorter_than_content_length_closes_the_connection(visit, tmp_path, errors):
    path = tmp_path / "short"
    path.write_bytes(b"abc")
    data = exchange(visit(files(path, 0, [("Content-Length", "5")])), GET.replace(b"Connection: close\r\n", b""))
    assert data.endswith(b"\r\n\r\nabc")
    assert "2 bytes shorter" in str(errors[0][1])


def test_head_of_a_file(visit, big_file):
    data = exchange(visit(files(big_file)), HEAD)
    assert b"Content-Length: 5242880\r\n" in data and data.endswith(b"\r\n\r\n")


def test_an_empty_file(visit, tmp_path):
    path = tmp_path / "empty"
    path.touch()
    response = visit(files(path)).get()
    assert (response.body, response["Content-Length"]) == (b"", "0")


def test_a_file_that_is_none_is_read(visit, settle):
    made = []

    def app(environ, start_response):
        made.append(Closing(b"x" * 100000))
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](made[-1], 1000)

    assert visit(app).get().body == b"x" * 100000
    assert settle(lambda: made[0].was_closed)


def wraps(open_file, headers=()):
    """An application that returns what `open_file()` returns in a file wrapper."""

    def app(environ, start_response):
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](open_file())

    return app


@pytest.mark.parametrize("kind", [gzip, bz2, lzma])
def test_what_decompresses_is_sent_decompressed(visit, tmp_path, kind):
    """Its descriptor is that of the compressed file."""
    path = tmp_path / "file"
    with kind.open(path, "wb") as file:
        file.write(b"hello world " * 50_000)
    client = visit(wraps(lambda: kind.open(path)))
    assert client.get().body == b"hello world " * 50_000
    assert client.is_open()
    client = visit(wraps(lambda: io.BufferedReader(kind.open(path)), [("Content-Length", "20")]))
    assert client.get().body == b"hello world hello wo"
    assert client.is_open()


class Shouting(io.BufferedReader):
    def read(self, size=-1):
        return super().read(size).upper()


class Raw(io.FileIO):
    def readinto(self, buffer):
        buffer[:] = bytes(len(buffer))
        return 0


def unflushed(path):
    file = open(path, "r+b")
    file.write(b"HELLO")
    return file


@pytest.mark.parametrize(
    ("open_file", "body"),
    [
        (lambda path: Shouting(io.FileIO(path)), b"HELLO WORLD"),
        (lambda path: io.BufferedReader(Raw(path)), b""),
        (unflushed, b" world"),
        (lambda path: io.FileIO(path), b"hello world"),
        (lambda path: open(path, "rb", buffering=0), b"hello world"),
        (lambda path: FileObject(path, "rb"), b"hello world"),
        (lambda path: tempfile.SpooledTemporaryFile(10), b""),
        (lambda path: io.BytesIO(path.read_bytes()), b"hello world"),
    ],
    ids=str,
)
def test_files_of_every_kind(visit, tmp_path, open_file, body):
    path = tmp_path / "file"
    path.write_bytes(b"hello world")
    client = visit(wraps(lambda: open_file(path)))
    assert client.get().body == body
    assert client.is_open()


@pytest.mark.parametrize("path", ["/proc/version", "/proc/self/limits", "/sys/class/net/lo/mtu"])
def test_what_the_system_makes_up_is_read(visit, path):
    """Its size is 0, or a page, whatever there is to read."""
    if not os.path.exists(path):
        pytest.skip(f"a system without {path}")
    client = visit(wraps(lambda: open(path, "rb")))
    with open(path, "rb") as file:
        assert client.get().body == file.read()
    assert client.is_open()


def test_a_pipe_is_read(visit):
    def read_end():
        reader, writer = os.pipe()
        os.write(writer, b"from a pipe")
        os.close(writer)
        return os.fdopen(reader, "rb")

    assert visit(wraps(read_end)).get().body == b"from a pipe"


def test_a_text_file_is_an_error(visit, tmp_path, errors):
    path = tmp_path / "file"
    path.write_text("text")
    assert visit(wraps(lambda: open(path))).get().status == 500
    assert isinstance(errors[0][1], TypeError)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_empty_file_where_there_is_no_body(visit, status):
    def app(environ, start_response):
        start_response(status, [])
        return environ["wsgi.file_wrapper"](io.BytesIO())

    assert b"Content-Length" not in exchange(visit(app), GET)


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 100, 65536, 3_000_000])
def test_bodies_of_every_size(visit, framing, size):
    body = os.urandom(size)
    client = visit(echo)
    for _ in range(2):
        sending = gevlite.spawn(client.send, ways_to_send(body)[framing])
        assert client.response().body == body
        sending.join()


READS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.one_of(st.none(), st.integers(-1, 40))),
        st.tuples(st.just("readline"), st.one_of(st.none(), st.integers(-1, 40))),
        st.tuples(st.just("readlines"), st.one_of(st.none(), st.integers(0, 40))),
        st.just(("next",)),
    ),
    max_size=8,
)


def do_reads(stream, reads):
    for name, *args in reads:
        yield next(stream, None) if name == "next" else getattr(stream, name)(*args)
    yield stream.read()


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_input_reads_as_any_file_does(site, http, framing):
    seen = []
    plan = []

    def app(environ, start_response):
        seen[:] = do_reads(environ["wsgi.input"], plan)
        return hello(environ, start_response)

    client = http(site(app))

    @settings(max_examples=60, deadline=None)
    @given(st.text("ab\n", max_size=80), READS)
    def check(text, reads):
        plan[:] = reads
        client.ask(ways_to_send(text.encode())[framing])
        assert seen == list(do_reads(io.BytesIO(text.encode()), reads))

    check()


def test_a_long_line_in_small_pieces(visit):
    """In time that grows with the line, not with its square, which an attacker could exploit."""
    seen = []

    def app(environ, start_response):
        seen.append(environ["wsgi.input"].readline())
        return hello(environ, start_response)

    client = visit(app)
    assert client.ask(chunked(*[b"x"] * 100_000, b"y" * 300_000, b"\n")).status == 200
    assert seen == [b"x" * 100_000 + b"y" * 300_000 + b"\n"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.read(),
        lambda stream: stream.read(1000),
        lambda stream: stream.read(7),
        lambda stream: stream.readline(),
        lambda stream: stream.readline(3),
        lambda stream: b"".join(stream.readlines()),
        lambda stream: b"".join(stream.readlines(5)),
    ],
)
def test_a_timeout_in_a_read_loses_nothing(visit, framing, read):
    """Even if one comes after the other."""
    body = b"one\ntwo\nthree four five six\n\nseven"
    asked = Event()

    def app(environ, start_response):
        found = []
        while len(b"".join(found)) < len(body):
            try:
                with gevlite.Timeout(0.005):
                    found.append(read(environ["wsgi.input"]))
            except gevlite.Timeout:
                asked.set()
        return answers([b"".join(found)])(environ, start_response)

    client = visit(app)
    head = b"Content-Length: %d" % len(body) if framing == "length" else b"Transfer-Encoding: chunked"
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % head)
    for byte in body:
        if byte % 3 == 0:
            asked.clear()
            asked.wait(20)
        client.send(b"%c" % byte if framing == "length" else b"1\r\n%c\r\n" % byte)
    if framing == "chunked":
        client.send(b"0\r\n\r\n")
    assert client.response().body == body


@pytest.mark.parametrize("secure", [False, True])
def test_nothing_follows_what_was_cut_off_in_the_middle(site, dial, secure, certificates):
    """A Timeout of the application ends a write, and the application goes on as if nothing had happened: the client
    must not take what it got for the whole response, nor for another one."""
    interrupted, outcomes = Event(), []

    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "80000000")])
        with gevlite.Timeout(0.1, False):
            write(b"a" * 40_000_000)
        interrupted.set()
        for _ in range(2):
            try:
                write(b"b" * 40_000_000)
                outcomes.append("sent")
            except OSError as exc:
                outcomes.append(type(exc))
        return []

    server = site(app, **({"certfile": certificates.server} if secure else {}))
    sock = dial(server)
    if secure:
        sock = ssl.create_default_context(cafile=certificates.ca).wrap_socket(sock, server_hostname="localhost")
    sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 2)
    interrupted.wait(20)
    try:
        data = read_all(sock)
    except OSError:
        data = b""  # it was reset
    assert b"b" * 1000 not in data and data.count(b"HTTP/1.1") <= 1
    assert outcomes == [BrokenPipeError] * 2


def test_a_body_is_read_while_it_comes(visit):
    seen = []

    def app(environ, start_response):
        for _ in range(3):
            seen.append(environ["wsgi.input"].read(3))
            gate.set()
        return hello(environ, start_response)

    gate = Event()
    client = visit(app)
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
    for piece in (b"abc", b"def", b"ghi"):
        client.send(piece)
        assert gate.wait(20)
        gate.clear()
        assert seen[-1] == piece
    assert client.response().body == b"hello"


def test_who_sends_a_body_that_nobody_reads_has_to_wait(visit, start, settle):
    gate = Event()

    def app(environ, start_response):
        gate.wait()
        return echo(environ, start_response)

    client = visit(app)
    body = bytes(20_000_000)
    sending = start(client.sock.sendall, post(body))
    gevlite.idle()
    assert not sending.greenlet.ready()
    gate.set()
    assert len(client.response().body) == len(body)
    sending.get()


def test_a_body_that_nobody_wants_does_not_disturb_the_next_request(visit):
    client = visit(hello)
    for data in (post(b"x" * 100000), chunked(b"x" * 50000, b"GET / HTTP/1.1\r\n\r\n")):
        assert client.ask(data).body == b"hello"
        assert client.is_open()


def test_a_long_body_that_nobody_wants_ends_the_connection_but_not_before_the_response(visit, start):
    client = visit(answers([b"no"], "403 Forbidden"))
    sending = start(client.send, post(bytes(3_000_000)))
    response = client.response()
    assert (response.status, response.body) == (403, b"no")
    client.sock.close()
    sending.get()


def early(environ, start_response):
    """Answers before it has read the body, or in the middle of it."""
    if environ["PATH_INFO"] == "/some":
        environ["wsgi.input"].read(1000)
    start_response("401 Unauthorized", [])
    return [b"no"] if environ["PATH_INFO"] != "/stream" else iter([b"no"])


@pytest.mark.parametrize("path", ["/none", "/some", "/stream", "/limit"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_an_early_answer_to_a_slow_upload_is_not_lost(site, dial, certificates, path, secure):
    """Most clients send all of a body before they read. A reset meanwhile would destroy the answer."""
    limits = Limits(max_body=1_000_000 if path == "/limit" else None)
    server = site(early, limits=limits, **({"certfile": certificates.server} if secure else {}))
    sock = dial(server)
    if secure:
        sock = ssl.create_default_context(cafile=certificates.ca).wrap_socket(sock, server_hostname="localhost")
    with sock, VirtualClock():
        client = Client(sock)
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n".encode())
        for _ in range(30):
            sock.sendall(bytes(100_000))
            gevlite.sleep(0.1)
        response = client.response()
        assert response.status == (413 if path == "/limit" else 401)
        if path != "/stream":
            assert response["Connection"] == "close"
        assert client.is_closed()


@pytest.mark.parametrize("sends", [True, False])
def test_what_a_client_sends_behind_the_last_response_is_read_for_some_time_only(site, http, settle, sends):
    server = site(early, limits=Limits(linger_timeout=0.2))
    client = http(server)
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
    assert client.response().status == 401
    while sends and client.send(bytes(1000)):
        gevlite.sleep(0.01)
    assert settle(lambda: not server._serving)


def test_who_gets_an_early_answer_gives_its_place_back(site, http):
    server = site(early, spawn=1, limits=Limits(max_body=10_000_000))
    waiting = [http(server) for _ in range(3)]
    for client, data in zip(
        waiting,
        [
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 90000000\r\n\r\n",
            b"POST /some HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        ],
        strict=True,
    ):
        client.send(data)
    assert [client.response().status for client in waiting] == [401, 413, 400]
    assert http(server).get().status == 401
    assert len(server._serving) == 4


def test_stop_ends_reading_what_nobody_wants(site, http, settle):
    server = site(early)
    client = http(server)
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n")
    assert client.response().status == 401
    server.stop(0)
    assert settle(lambda: not server._serving, 3)


def test_requests_behind_the_last_one_do_not_cost_its_response(visit, start):
    """Closing a socket with unread data resets the connection, and sent data may be lost (RFC 9112, 9.6)."""
    client = visit(answers([b"x" * 5_000_000]))
    sending = start(client.send, GET + GET * 100_000)
    assert len(client.response().body) == 5_000_000
    assert client.is_closed()
    client.sock.close()
    sending.get()


def test_input_of_an_earlier_request_is_empty(visit):
    inputs = []

    def app(environ, start_response):
        inputs.append(environ["wsgi.input"])
        assert all(old.read() == b"" and old.readline() == b"" and list(old) == [] for old in inputs[:-1])
        with_rfile = [old for old in inputs[:-1] if old.content_length is not None]
        assert with_rfile == []
        return echo(environ, start_response)

    client = visit(app)
    for n in range(3):
        assert client.ask(post(b"%d" % n)).body == b"%d" % n
    with pytest.raises(ValueError, match="over"):
        inputs[0].rfile  # noqa: B018


def test_content_length_of_input(visit):
    seen = []

    def app(environ, start_response):
        seen.append(environ["wsgi.input"].content_length)
        return echo(environ, start_response)

    client = visit(app)
    client.ask(post(b"abc")), client.ask(chunked(b"abc")), client.get()
    assert seen == [3, None, None]


def test_trailers(visit):
    seen = []

    def app(environ, start_response):
        stream = environ["wsgi.input"]
        before = stream.trailers
        seen.append((stream.read(), before, stream.trailers))
        return hello(environ, start_response)

    visit(app).ask(chunked(b"abc")[:-2] + b"X-Sum: 1 \r\nx-more:2\r\n\r\n")
    assert seen == [(b"abc", None, [("X-Sum", "1"), ("x-more", "2")])]


EXPECT = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"


def test_100_continue_is_said_when_the_body_is_asked_for(visit):
    client = visit(echo)
    client.send(EXPECT)
    assert client.file.readline() + client.file.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    assert client.response().body == b"abc"
    assert client.is_open()


def test_100_continue_is_not_said_when_it_is_not(visit):
    client = visit(answers([b"no"], "403 Forbidden"))
    client.send(EXPECT)
    assert client.file.readline() == b"HTTP/1.1 403 Forbidden\r\n"
    # It is not known whether a body follows, so nothing that follows can be understood.
    assert b"Connection: close" in client.file.read() or client.is_closed()


def test_100_continue_is_not_said_once_the_response_has_begun(visit):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"a")
        return [environ["wsgi.input"].read()]

    client = visit(app)
    client.send(EXPECT + b"")
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    client.send(b"abc")
    assert b"100 Continue" not in client.file.read(80)


@pytest.mark.parametrize("catch", [False, True])
def test_a_body_beyond_the_limit(visit, errors, catch):
    caught = []

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            caught.append(exc)
            if not catch:
                raise
        return hello(environ, start_response)

    client = visit(app, limits=Limits(max_body=10))
    assert client.ask(chunked(b"x" * 6, b"y" * 6)).status == (200 if catch else 413)
    assert client.is_closed()
    assert caught[0].status.startswith("413") and errors == []
