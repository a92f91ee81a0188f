"""What a strict type checker knows about servers; see test_greenlets.py."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, assert_type

import pytest

from gevlite import socket
from gevlite.backdoor import BackdoorServer
from gevlite.pool import Pool
from gevlite.pywsgi import AccessLog, Limits, RequestError, WSGIHandler, WSGIServer
from gevlite.serve import Server, StartError
from gevlite.server import DatagramServer, StreamServer
from gevlite.websocket import HandshakeError, WebSocket, WebSocketClosed, accept

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


def handle(sock: socket.socket, address: Any) -> None:
    sock.sendall(b"hello")


def test_a_server() -> None:
    server = StreamServer(("127.0.0.1", 0), handle, spawn=Pool(10))
    with pytest.raises(TypeError):
        StreamServer(1.5, handle)  # type: ignore[arg-type]
    server.start()
    assert_type(server.server_port, int | None)
    assert_type(server.started, bool)
    server.stop(timeout=1)
    assert_type(server.closed, bool)
    DatagramServer("127.0.0.1:0", lambda data, address: None).close()
    BackdoorServer(("127.0.0.1", 0), locals={"server": server}).close()


class Handler(WSGIHandler):
    def log_request(self) -> None:
        assert_type(self.requestline, str | None)


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_a_wsgi_server() -> None:
    server = WSGIServer(
        ("127.0.0.1", 0), application, log=None, handler_class=Handler, limits=Limits(max_body=None, header_timeout=5)
    )
    assert_type(server.limits, Limits)
    assert_type(server.environ, dict[str, Any])
    server.close()
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[call-arg]
    error: OSError = RequestError("400 Bad Request", "because")
    assert str(error) == "because"


def test_a_server_of_several_processes() -> None:
    log = AccessLog(Nowhere(), "json")
    assert_type(log.lost, int)
    assert WSGIServer(("127.0.0.1", 0), application, log=log).log is log
    server = Server(application, bind=["127.0.0.1:0", 8000], workers=2, limits=Limits(max_body=None))
    assert_type(server.addresses, list[str])
    with pytest.raises(StartError):
        Server("no_such_module:app", bind="127.0.0.1:0", workers=1).run()
    with pytest.raises(TypeError):
        Server(application, timeouts=5)  # type: ignore[call-arg]


class Nowhere:
    def write(self, text: str) -> None: ...


def talk(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    try:
        websocket = accept(environ, subprotocols=["chat"], origins=lambda origin: origin is not None, max_size=None)
    except HandshakeError as exc:
        assert_type(exc.status, str)
        return []
    assert_type(websocket, WebSocket)
    assert_type(websocket.subprotocol, str | None)
    try:
        assert_type(websocket.receive(timeout=1), str | bytes)
        for message in websocket:
            assert_type(message, str | bytes)
            websocket.send(message)
    except WebSocketClosed as exc:
        assert_type(exc.code, int)
    websocket.close(1001, "bye")
    assert_type(websocket.close_code, int | None)
    return []


def test_a_websocket() -> None:
    WSGIServer(("127.0.0.1", 0), talk, log=None).close()
    with pytest.raises(TypeError):
        accept({}, subprotocols=1)  # type: ignore[arg-type]
    with pytest.raises(HandshakeError):
        accept({}, origins="*")
