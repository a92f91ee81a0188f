"""WebSocket libraries on the native server, on `gevlite serve` and in the gunicorn worker, with ordinary clients."""

import contextlib
import signal
import ssl
import threading
import time

import pytest

pytest.importorskip("flask")
client = pytest.importorskip("websockets.sync.client")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

SITE = """
    import time
    import flask, gevlite.websocket

    app = flask.Flask("site")

    @app.get("/")
    def index():
        return "hello"

    @app.route("/slow", websocket=True)
    def slow():
        time.sleep(40)
        return "slept"

    @app.route("/echo", websocket=True)
    def echo():
        websocket = gevlite.websocket.accept(flask.request.environ, compression=True, subprotocols=["chat"])
        for message in websocket:
            websocket.send(message)
        return "dropped"

    try:
        import flask_sock
    except ImportError:
        pass
    else:
        app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 1, "subprotocols": ["chat"]}
        sock = flask_sock.Sock(app)

        @sock.route("/sock")
        def shout(websocket):
            while (message := websocket.receive()) != "enough":
                websocket.send(message.upper() if isinstance(message, str) else message)

        @sock.route("/fails")
        def fails(websocket):
            websocket.send("soon")
            raise ZeroDivisionError
"""

SOCKETIO = """
    import flask, flask_socketio

    app = flask.Flask("site")
    socketio = flask_socketio.SocketIO(app, async_mode="threading")

    @app.get("/")
    def index():
        return "hello"

    @socketio.on("echo")
    def echo(data):
        socketio.sleep(0.01)
        return data

    @socketio.on("shout")
    def shout(data):
        socketio.emit("heard", data)
"""

NATIVE = """
    from gevlite import monkey; monkey.patch_all()
    import signal, sys
    from gevlite.pywsgi import Limits, WSGIServer
    from site_of_test import app

    tls = {"certfile": sys.argv[2]} if len(sys.argv) > 2 else {}
    server = WSGIServer(("127.0.0.1", int(sys.argv[1])), app, limits=Limits.from_environment(), **tls)
    signal.signal(signal.SIGTERM, lambda *args: server.close())
    server.serve_forever(stop_timeout=20)
"""

WAYS = {
    "native": lambda port, tls: ["native.py", port, *tls],
    "serve": lambda port, tls: [
        "-m",
        "gevlite",
        "serve",
        "site_of_test:app",
        "--bind",
        f"127.0.0.1:{port}",
        "--workers=1",
        *[f"--certfile={path}" for path in tls],
    ],
    "gunicorn": lambda port, tls: [
        "-m",
        "gunicorn",
        "-k",
        "gevlite.integrations.gunicorn.GevliteWorker",
        "site_of_test:app",
        "--bind",
        f"127.0.0.1:{port}",
        "--graceful-timeout=20",
        *[f"--certfile={path}" for path in tls],
        *[f"--keyfile={path}" for path in tls],
    ],
}


@pytest.fixture(params=WAYS)
def serving(request, programs, port):
    """`serving(source, *certificate, limit=None)`: a server for `app` of that program; limit: `request_timeout`."""
    if request.param == "gunicorn":
        pytest.importorskip("gunicorn")

    def serving(source, *tls, limit=None):
        programs.write("site_of_test.py", source)
        programs.write("native.py", NATIVE)
        command = WAYS[request.param](port, tls)
        environment = {}
        if limit is not None and request.param == "serve":
            command.append(f"--request-timeout={limit}")
        elif limit is not None:
            environment["GEVLITE_REQUEST_TIMEOUT"] = str(limit)
        return programs.serve(port, *command, launcher=(), **environment)

    return serving


def connect(server, path, **options):
    # Until the workers serve, a supervisor's listener lets connections wait; `localhost` for the certificate.
    scheme = "wss" if "ssl" in options else "ws"
    return client.connect(f"{scheme}://localhost:{server.port}{path}", proxy=None, open_timeout=20, **options)


def no_traceback(server):
    log = server.log.read_text()
    assert "Traceback" not in log, log


def test_the_websocket_of_the_server(serving):
    server = serving(SITE)
    with connect(server, "/echo", subprotocols=["chat"]) as websocket:
        assert websocket.subprotocol == "chat" and "PerMessageDeflate" in repr(websocket.protocol.extensions)
        for message in ("a", b"\xff" * 100_000, "\N{SNOWMAN}" * 1000, ""):
            websocket.send(message)
            assert websocket.recv(20) == message
        websocket.send(["in ", "pieces"])
        assert websocket.recv(20) == "in pieces"
        assert websocket.ping().wait(20)
    assert websocket.protocol.close_code == 1000
    with pytest.raises(InvalidStatus) as refused, connect(server, "/echo", origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with connect(server, "/echo") as websocket:
        websocket.send(b"x" * (1 << 20) + b"x")
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(20)
    assert closed.value.rcvd.code == 1009


def test_a_stop_closes_with_1001(serving):
    server = serving(SITE)
    with connect(server, "/echo") as websocket:
        websocket.send("x")
        assert websocket.recv(20) == "x"
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(20)
        assert closed.value.rcvd.code == 1001
    assert server.process.wait(20) == 0
    assert time.monotonic() - began < 18, "waited for the graceful time-out"
    no_traceback(server)


def test_tls(serving, certificates):
    server = serving(SITE, certificates.server)
    context = ssl.create_default_context(cafile=certificates.ca)
    with connect(server, "/echo", ssl=context) as websocket:
        received = []
        reading = threading.Thread(target=lambda: received.extend(websocket.recv(20) for _ in range(40)))
        reading.start()
        for n in range(40):
            websocket.send(bytes([n]) * 100_000)
        reading.join(20)
        assert received == [bytes([n]) * 100_000 for n in range(40)]
    assert websocket.protocol.close_code == 1000


def test_flask_sock(serving):
    pytest.importorskip("flask_sock")
    server = serving(SITE)
    with contextlib.ExitStack() as stack:
        websockets = [stack.enter_context(connect(server, "/sock", subprotocols=["chat"])) for _ in range(5)]
        for websocket in websockets:
            assert websocket.subprotocol == "chat"
            websocket.send("hello")
        for websocket in websockets:
            assert websocket.recv(20) == "HELLO"
        websockets[0].send(b"x" * 300_000)
        assert websockets[0].recv(20) == b"x" * 300_000
        assert websockets[1].ping().wait(20)
        websockets[0].close()
        websockets[1].send("enough")
        with pytest.raises(ConnectionClosed) as closed:
            websockets[1].recv(20)
        assert closed.value.rcvd.code == 1000
    no_traceback(server)
    with connect(server, "/fails") as websocket:
        assert websocket.recv(20) == "soon"
        with pytest.raises(ConnectionClosed):
            websocket.recv(20)


LIMIT = 1.0  # for the application to begin its response


def for_longer_than_the_limit():
    end = time.monotonic() + 2.5 * LIMIT
    while time.monotonic() < end:
        yield
        time.sleep(LIMIT / 5)


def test_who_asks_for_a_websocket_has_no_more_time_than_others(serving):
    server = serving(SITE, limit=LIMIT)
    with pytest.raises(InvalidStatus) as refused, connect(server, "/slow"):
        pass
    assert refused.value.response.status_code == 503


@pytest.mark.parametrize("path", ["/echo", "/sock"])
def test_a_websocket_lives_longer_than_a_request_may(serving, path):
    pytest.importorskip("flask_sock")
    server = serving(SITE, limit=LIMIT)
    with connect(server, path) as websocket, connect(server, path) as silent:
        for _ in for_longer_than_the_limit():
            websocket.send("MESSAGE")
            assert websocket.recv(20) == "MESSAGE"
        silent.send("MESSAGE")
        assert silent.recv(20) == "MESSAGE"
    no_traceback(server)


@pytest.mark.parametrize("transport", ["websocket", "upgrade"])
def test_socketio_lives_longer_than_a_request_may(serving, transport):
    pytest.importorskip("flask_socketio")
    pytest.importorskip("websocket")
    import socketio

    server = serving(SOCKETIO, limit=LIMIT)
    one = socketio.Client(request_timeout=20)  # a supervisor listens before the worker serves
    lost = threading.Event()
    one.on("disconnect", lambda *_: lost.set())
    transports = ["polling", "websocket"] if transport == "upgrade" else [transport]
    one.connect(server.url, transports=transports, wait_timeout=20)
    try:
        for _ in for_longer_than_the_limit():
            assert one.call("echo", "x", timeout=20) == "x"
        assert not lost.is_set() and one.transport() == "websocket"
    finally:
        one.disconnect()


@pytest.mark.parametrize("transport", ["websocket", "upgrade"])
def test_flask_socketio(serving, transport):
    pytest.importorskip("flask_socketio")
    pytest.importorskip("websocket")
    import socketio

    server = serving(SOCKETIO)
    clients = [socketio.Client(request_timeout=20) for _ in range(3)]
    heard = [threading.Event() for _ in clients]
    try:
        for one, event in zip(clients, heard, strict=True):
            one.on("heard", lambda data, event=event: event.set())
            one.connect(
                server.url,
                transports=["polling", "websocket"] if transport == "upgrade" else [transport],
                wait_timeout=20,
            )
            assert one.transport() == "websocket"
        for n, one in enumerate(clients):
            assert one.call("echo", [n, "x" * 10_000], timeout=20) == [n, "x" * 10_000]
        clients[0].emit("shout", "to all")
        assert all(event.wait(20) for event in heard)
    finally:
        for one in clients:
            one.disconnect()
    no_traceback(server)
