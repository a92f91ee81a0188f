"""How a request becomes a WebSocket, or is refused."""

import re

import pytest
from serving import Client
from ws_peer import TEXT, Peer, close_frame, frame, handshake
from wsgi_apps import hello

import gevlite.websocket
from gevlite.pywsgi import WSGIHandler
from gevlite.websocket import HandshakeError, accept

pytest.importorskip("websockets")


def accepts(**options):
    """An application that accepts, sends the subprotocol, and returns."""

    def app(environ, start_response):
        websocket = accept(environ, **options)
        websocket.send(repr(websocket.subprotocol))
        return []

    return app


@pytest.fixture
def ask(site, dial):
    """`ask(options, data or *headers)`: the response to a handshake with a new server that accepts with `options`."""

    def ask(options, *headers, data=None):
        client = Client(dial(site(accepts(**options))))
        return client.ask(handshake(*headers) if data is None else data)

    return ask


# ---------------------------------------------------------------- accepted


def test_the_response(ask):
    answer = ask({"headers": [("X-Own", "1"), ("Set-Cookie", "a=b")]})
    assert (answer.status, answer.reason) == (101, "Switching Protocols")
    assert answer["Upgrade"] == "websocket" and answer["Connection"] == "Upgrade"
    assert answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer["X-Own"] == "1" and answer["Set-Cookie"] == "a=b"
    assert answer["Sec-WebSocket-Protocol"] is answer["Sec-WebSocket-Extensions"] is None
    assert answer["Content-Length"] is answer["Transfer-Encoding"] is None


def test_spellings_that_browsers_and_proxies_use(ask):
    request = handshake().replace(b"Connection: Upgrade", b"connection: keep-alive, UPGRADE")
    assert ask({}, data=request.replace(b"Upgrade: websocket", b"upgrade: WebSocket")).status == 101


@pytest.mark.parametrize(
    "ours, offered, agreed",
    [
        (["a", "b"], "Sec-WebSocket-Protocol: b, a", "a"),
        (["a", "b"], "Sec-WebSocket-Protocol: c, b", "b"),
        (["a"], "Sec-WebSocket-Protocol: c", None),
        (["a"], "X-Nothing: a", None),
        ([], "Sec-WebSocket-Protocol: a", None),
    ],
)
def test_subprotocols(site, dial, ours, offered, agreed):
    peer = Peer(dial(site(accepts(subprotocols=ours))), offered)
    assert peer.answer["Sec-WebSocket-Protocol"] == agreed
    assert peer.read() == (TEXT, repr(agreed).encode())


def test_several_lines_of_a_field_are_a_list(site, dial):
    peer = Peer(dial(site(accepts(subprotocols=["b"]))), "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b")
    assert peer.answer["Sec-WebSocket-Protocol"] == "b"


@pytest.mark.parametrize(
    "wanted, offered, agreed",
    [
        (False, "permessage-deflate", None),
        (True, "permessage-deflate", r"permessage-deflate; server_max_window_bits=12"),
        (
            True,
            "permessage-deflate; client_max_window_bits",
            r"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            True,
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            r"permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
        ),
        (True, "permessage-deflate; unknown, x-other", None),
    ],
)
def test_compression(ask, wanted, offered, agreed):
    answer = ask({"compression": wanted}, f"Sec-WebSocket-Extensions: {offered}")
    assert answer.status == 101 and answer["Sec-WebSocket-Extensions"] == agreed


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "data, status",
    [
        (handshake(version="8"), 426),
        (handshake(version="13, 8"), 426),
        (handshake(version=None), 400),
        (handshake(key=None), 400),
        (handshake(key="short"), 400),
        (handshake(key="AAAA"), 400),
        (handshake("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="), 400),  # a second one
        (handshake().replace(b"GET", b"PUT"), 405),
        (handshake("Content-Length: 2") + b"xy", 400),
        (handshake("Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (handshake().replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426),
        (handshake().replace(b"Connection: Upgrade", b"Connection: keep-alive"), 426),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 426),
        (handshake("Sec-WebSocket-Extensions: ;;"), 101),  # compression is off, so it is not checked
    ],
)
def test_what_is_no_handshake(ask, errors, data, status):
    answer = ask({}, data=data)
    assert answer.status == status
    assert not errors
    if status == 426:
        assert answer["Upgrade"] == "websocket"
    if status == 405:
        assert answer["Allow"] == "GET"


def test_an_unknown_version_is_told_ours(ask):
    answer = ask({}, data=handshake(version="99"))
    assert answer["Sec-WebSocket-Version"] == "13" and answer["Connection"] == "close"
    assert answer.body == b"version 99 of the protocol\n"


def test_broken_offers_of_extensions(ask):
    assert ask({"compression": True}, "Sec-WebSocket-Extensions: ;;").status == 400
    assert ask({"subprotocols": ["a"]}, "Sec-WebSocket-Protocol: ;;").status == 400


def test_the_application_learns_of_a_refusal_and_its_own_answer_is_dropped(site, http):
    seen = []

    def app(environ, start_response):
        try:
            accept(environ)
        except HandshakeError as exc:
            seen.append((exc.status, str(exc)))
            start_response("200 OK", [("Content-Length", "5")])(b"never")
            return [b"never"]

    client = http(site(app))
    answer = client.ask(handshake(version="8"))
    assert (answer.status, answer.body) == (426, b"version 8 of the protocol\n")
    assert seen == [("426 Upgrade Required", "version 8 of the protocol")]
    assert client.is_closed()


def test_a_request_that_is_not_accepted_is_a_request_like_any_other(site, http):
    environs = []

    def app(environ, start_response):
        environs.append(environ)
        return hello(environ, start_response)

    client = http(site(app))
    for _ in range(2):
        assert client.ask(handshake()).body == b"hello"
    assert client.get().body == b"hello"
    assert ["gevlite.websocket" in environ for environ in environs] == [True, True, False]
    assert not any("gunicorn.socket" in environ for environ in environs[2:])
    with pytest.raises(RuntimeError, match="is over"):
        accept(environs[0])


def test_too_late(site, http, errors):
    def app(environ, start_response):
        start_response("200 OK", [])
        with pytest.raises(RuntimeError, match="begun"):
            accept(environ)
        return [b"hello"]

    assert http(site(app)).ask(handshake()).body == b"hello" and not errors


def test_twice(site, dial, errors):
    def app(environ, start_response):
        websocket = accept(environ)
        with pytest.raises(RuntimeError, match="begun"):
            accept(environ)
        websocket.send("one")
        return []

    assert Peer(dial(site(app))).read() == (TEXT, b"one") and not errors


# ---------------------------------------------------------------- origins


@pytest.mark.parametrize(
    "origins, origin, host, status",
    [
        (None, None, "h", 101),
        (None, "http://h", "h", 101),
        (None, "https://H", "h", 101),
        (None, "https://h:443", "h", 101),
        (None, "http://h:8000", "h:8000", 101),
        (None, "http://[::1]:8000", "[::1]:8000", 101),
        (None, "http://h", "h:8000", 403),
        (None, "http://h.evil", "h", 403),
        (None, "http://evil", "h", 403),
        (None, "null", "h", 403),
        (None, "http://h:x", "h", 403),
        (None, "", "h", 403),
        (None, "http://h, http://evil", "h", 403),
        ("*", "http://evil", "h", 101),
        (["https://a.example", "http://b.example:1/"], "https://A.example", "h", 101),
        (["https://a.example", "http://b.example:1/"], "http://b.example:1", "h", 101),
        (["https://a.example"], "http://a.example", "h", 403),
        (["https://a.example"], "http://h", "h", 403),
        (["https://a.example"], None, "h", 101),
        ([], "http://h", "h", 403),
        (lambda origin: origin is None, None, "h", 101),
        (lambda origin: origin is None, "http://h", "h", 403),
        (lambda origin: re.fullmatch(r"https://\w+\.example", origin), "https://x.example", "h", 101),
    ],
)
def test_origins(site, dial, origins, origin, host, status):
    headers = [] if origin is None else [f"Origin: {origin}"]
    answer = Peer(dial(site(accepts(origins=origins))), *headers, host=host).answer
    assert answer.status == status
    if status == 403:
        assert b"may not connect" in answer.body


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "options, error",
    [
        ({"subprotocols": "chat"}, TypeError),
        ({"subprotocols": [1]}, TypeError),
        ({"origins": "https://a.example"}, TypeError),
        ({"origins": 1}, TypeError),
        ({"max_size": 0}, ValueError),
        ({"max_size": "1"}, ValueError),
        ({"ping_interval": 0}, ValueError),
        ({"ping_timeout": -1}, ValueError),
        ({"close_timeout": 0}, ValueError),
        ({"headers": [("A", "b\r\nc")]}, ValueError),
    ],
)
def test_bad_arguments_raise_before_anything_is_sent(site, http, options, error):
    def app(environ, start_response):
        with pytest.raises(error):
            accept(environ, **options)
        return hello(environ, start_response)

    assert http(site(app)).ask(handshake()).body == b"hello"


def test_other_servers():
    with pytest.raises(HandshakeError, match="served by gevlite"):
        accept({"REQUEST_METHOD": "GET", "HTTP_UPGRADE": "websocket"})


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(gevlite.websocket, "_found", None)
    monkeypatch.setitem(__import__("sys").modules, "websockets.server", None)
    with pytest.raises(ImportError, match=r"gevlite\[websocket\]"):
        accept({})


# ---------------------------------------------------------------- the server around it


def test_applications_of_all_kinds(site, dial):
    """After accept, everything that the application passes to start_response and write, or returns, is dropped."""

    def generator(environ, start_response):
        websocket = accept(environ)
        yield b"dropped"
        websocket.send("hello")
        yield b"dropped"

    def framework(environ, start_response):
        accept(environ).send("hello")
        start_response("200 OK", [("Content-Length", "7")])
        return [b"dropped"]

    def writer(environ, start_response):
        accept(environ).send("hello")
        start_response("204 No Content", [])(b"")
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))

    for app in (generator, framework, writer):
        peer = Peer(dial(site(app)))
        assert peer.read() == (TEXT, b"hello")
        peer.send(close_frame(1000))
        assert peer.closed_with() == (1000, "")


def test_it_is_in_the_access_log(site, dial):
    lines = []
    log = type("Log", (), {"write": lambda self, line: lines.append(line)})()
    peer = Peer(dial(site(accepts(), log=log)))
    peer.send(close_frame(1000))
    peer.closed_with()
    while not lines:
        gevlite.sleep(0.001)
    assert '"GET / HTTP/1.1" 101 ' in lines[0]


def test_with_a_handler_of_ones_own(site, dial):
    class Handler(WSGIHandler):
        def start_response(self, status, headers, exc_info=None):
            return super().start_response(status, [*headers, ("X-Handler", "1")], exc_info)

    peer = Peer(dial(site(accepts(), handler_class=Handler)))
    assert peer.answer["X-Handler"] == "1"
    assert peer.read() == (TEXT, b"None")
    peer.send(frame(TEXT, "x") + close_frame(1000))
    assert peer.closed_with() == (1000, "")
