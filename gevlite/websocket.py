"""WebSocket (RFC 6455) for WSGI applications on `gevlite.pywsgi`, also in gunicorn and `gevlite serve`.

    def application(environ, start_response):
        websocket = accept(environ)
        for message in websocket:
            websocket.send(message)
        return []

The sans-I/O layer of the package websockets parses the bytes: `pip install 'gevlite[websocket]'`. This module does the
I/O and the waiting. For each connection a greenlet reads, so that pings are answered and the end of the connection is
noticed, whatever the application does. It never waits for the application to finish sending: if both sides sent a lot
and read nothing meanwhile, they would wait for each other. It does wait while the application leaves messages unread.
Writers take turns. If a write is interrupted, the connection is lost, because it is not known how much of a frame was
sent.
"""

import codecs
import io
import logging
from collections import deque
from contextlib import suppress
from urllib.parse import urlsplit

from gevlite._core import monotonic
from gevlite._http.settings import RequestError
from gevlite._slices import uninterrupted
from gevlite.event import Event
from gevlite.greenlet import GreenletExit, spawn
from gevlite.lock import Semaphore
from gevlite.timeout import Timeout

__all__ = ["HandshakeError", "WebSocket", "WebSocketClosed", "accept"]

# At most this many messages wait for the application, or as many bytes as one message may have; then the client must
# wait.
_MANY = 16
# At most this many frames of the reader (answers to pings) wait while another greenlet writes.
_MANY_ANSWERS = 64
# The decompressed size of data is known only afterwards, so compressed data is processed in small pieces.
_PIECE = 4096
# Seconds for the last frame of a greenlet that is killed.
_MOMENT = 0.1
# The reader and the senders use one protocol object. Each call of it must be complete before the next one: with time
# slices it might not be.
_WHOLE = uninterrupted()

# At level DEBUG the protocol logs each frame.
_log = logging.getLogger(__name__)
if _log.level == logging.NOTSET:
    _log.setLevel(logging.WARNING)


class HandshakeError(RequestError):
    """The request cannot become a WebSocket; `status` says why, in the words of the response that the client gets."""


class WebSocketClosed(ConnectionError):
    """The connection is closed. `code` and `reason` are `WebSocket.close_code` and `WebSocket.close_reason`."""

    def __init__(self, code, reason=""):
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self):
        return f"{self.code} {self.reason}".rstrip()


# ---------------------------------------------------------------- the handshake


def accept(
    environ,
    *,
    subprotocols=(),
    origins=None,
    headers=(),
    compression=False,
    max_size=1 << 20,
    ping_interval=20,
    ping_timeout=20,
    close_timeout=5,
):
    """Answer a request with "101 Switching Protocols" and return the `WebSocket`. Blocks until the response is sent.

    If the application makes a response of its own afterwards, that is dropped. When it returns, the connection is
    closed.

    subprotocols: those that the application speaks, best first. The first one that the client offers is used, if any.
    origins: which web pages may connect, by the `Origin` that browsers send. By default those of the same host and port
    as `Host`; "*" for all; a list such as `["https://example.com"]`; or a function that gets the origin (None if there
    is none) and returns whether it may connect. A client without an origin (not a browser) may connect, unless the
    function refuses it.
    headers: further headers of the response, (name, value).
    compression: use permessage-deflate (RFC 7692) if the client offers it. Costs time, and 64 KiB for each connection.
    max_size: bytes of a received message; a longer one closes the connection (1009). None: no limit.
    ping_interval: a client that was silent for this many seconds gets a ping; None: never.
    ping_timeout: a client that stays silent for this many more seconds is lost (1011); None: never.
    close_timeout: how many seconds a client may take to answer when the connection is closed.

    Raises HandshakeError if the request is not a correct handshake or its origin may not connect; the client gets the
    answer at once, or when the application lets the error through. Raises RuntimeError if the response has already
    begun, ImportError without websockets.
    """
    subprotocols = _list_of_str("subprotocols", subprotocols)
    may_connect = _origin_check(origins)
    headers = list(headers)
    if max_size is not None and (not isinstance(max_size, int) or max_size < 1):
        raise ValueError(f"max_size must be None or at least 1, not {max_size!r}")
    for name, value in (("ping_interval", ping_interval), ("ping_timeout", ping_timeout)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be None or more than 0, not {value!r}")
    if not close_timeout > 0:
        raise ValueError(f"close_timeout must be more than 0, not {close_timeout!r}")
    library = _library()
    wire = environ.get("gevlite.websocket")
    if wire is None:
        raise HandshakeError(
            "426 Upgrade Required", "not a request for a WebSocket (HTTP/1.1, with Upgrade), or not served by gevlite"
        )
    refusal = _refusal(environ, wire, may_connect)
    if refusal is not None:
        _refuse(wire, *refusal)
    protocol = library.ServerProtocol(
        extensions=[library.deflate()] if compression else None,
        select_subprotocol=lambda _, offered: next((name for name in subprotocols if name in offered), None),
        state=library.OPEN,  # it only reads frames here: the handshake is made separately
        max_size=max_size,
        logger=_log,
    )
    response = protocol.accept(library.request(environ))
    if response.status_code != 101:
        _refuse(wire, f"{response.status_code} {response.reason_phrase}", response.body.decode().strip())
    wire.answer("101 Switching Protocols", [*response.headers.raw_items(), *headers])
    websocket = WebSocket(wire, protocol, max_size, ping_interval, ping_timeout, close_timeout)
    wire.websocket = websocket
    if wire.closing:  # it may have changed meanwhile
        spawn(websocket._go_away)
    return websocket


def _list_of_str(name, values):
    if isinstance(values, str):
        raise TypeError(f"{name} must be a list, not the string {values!r}")
    values = list(values)
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{name} must contain strings, not {value!r}")
    return values


def _origin_check(origins):
    """A function of origin and environ."""
    if origins is None:
        return _same_origin
    if origins == "*":
        return lambda origin, environ: True
    if callable(origins):
        return lambda origin, environ: origins(origin)
    allowed = {origin.lower().rstrip("/") for origin in _list_of_str("origins", origins)}
    return lambda origin, environ: origin is None or origin.lower() in allowed


def _same_origin(origin, environ):
    # The scheme is not compared: a proxy may have terminated TLS.
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        default = {"http": 80, "https": 443}.get(page.scheme)
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}")
        return bool(page.hostname) and (page.hostname, page.port or default) == (host.hostname, host.port or default)
    except ValueError:
        return False


def _refusal(environ, wire, may_connect):
    """Check what the protocol layer does not check. Returns (status, reason, headers) to refuse, or None."""
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION")
    if environ["REQUEST_METHOD"] != "GET":
        return "405 Method Not Allowed", "a WebSocket begins with GET", [("Allow", "GET")]
    if not wire.acceptable:
        return "400 Bad Request", "the request has a body"
    if version is not None and version != "13":
        # RFC 6455, 4.4
        headers = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        return "426 Upgrade Required", f"version {version} of the protocol", headers
    if not may_connect(environ.get("HTTP_ORIGIN"), environ):
        return "403 Forbidden", f"the origin {environ.get('HTTP_ORIGIN')} may not connect"
    if wire.closing:
        return "503 Service Unavailable", "the server stops"
    return None


def _refuse(wire, status, reason, headers=()):
    body = f"{reason}\n".encode()
    wire.answer(
        status,
        [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *headers,
        ],
        body,
    )
    raise HandshakeError(status, reason)


class _Library:
    """The used parts of the package websockets, imported at the first `accept`."""

    def __init__(self):
        from websockets.datastructures import Headers
        from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
        from websockets.http11 import Request
        from websockets.protocol import State
        from websockets.server import ServerProtocol

        self.Headers, self.Request, self.ServerProtocol = Headers, Request, ServerProtocol
        self.OPEN = State.OPEN
        self.Deflate = ServerPerMessageDeflateFactory

    def deflate(self):
        # Windows of 4 KiB instead of 32: a connection keeps two.
        return self.Deflate(server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5})

    def request(self, environ):
        headers = self.Headers()
        for name in (
            "Connection",
            "Upgrade",
            "Origin",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
        ):
            value = environ.get("HTTP_" + name.upper().replace("-", "_"))
            if value is not None:
                headers[name] = value
        return self.Request(environ["PATH_INFO"], headers)


_found = None


def _library():
    global _found
    if _found is None:
        try:
            _found = _Library()
        except ImportError as exc:
            raise ImportError(
                "gevlite.websocket needs the package websockets, 13 or newer: pip install 'gevlite[websocket]'"
            ) from exc
    return _found


# ---------------------------------------------------------------- a connection

_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0, 1, 2, 8


class WebSocket:
    """A connection, returned by `accept`. For greenlets of one thread: several may send, and several may receive.

    A Timeout or a kill in `receive` loses no message. In `send` it loses the connection, because a partly sent frame
    cannot be taken back, unless this greenlet was still waiting for others to send.
    """

    def __init__(self, wire, protocol, max_size, ping_interval, ping_timeout, close_timeout):
        #: The agreed subprotocol, or None.
        self.subprotocol = protocol.subprotocol
        #: Why the connection is closed, a code of RFC 6455, 7.4; None while it is open. It is the code of the side that
        #: closed first; 1005 if the client gave none, 1006 if the connection was lost.
        self.close_code = None
        #: Text that explains `close_code`.
        self.close_reason = ""
        self._wire = wire
        self._protocol = protocol
        self._max_size = max_size
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout
        self._compressed = bool(protocol.extensions)
        self._messages = deque()
        self._waiting = 0  # bytes or characters in them
        self._news = Event()  # a message has arrived, or the connection is closed
        self._room = Event()  # messages were taken, or the connection is closed
        self._partial = None  # the message that has not arrived completely
        self._turn = Semaphore()  # to write
        self._unsent = []  # frames that wait for their turn
        self._over = Event()  # nothing is read any more
        self._reader = spawn(self._read)

    def __repr__(self):
        state = "open" if self.close_code is None else f"closed {self._closed()}"
        return f"<{type(self).__name__} {state}>"

    @property
    def closed(self):
        """True once nothing can be sent any more, because either side has closed or the connection is lost."""
        return self.close_code is not None

    # -------- for the application

    def receive(self, timeout=None):
        """The next message: str if it is text, bytes if it is binary. Blocks until it has arrived completely.

        Raises WebSocketClosed, after all earlier messages were received; TimeoutError if none arrives within `timeout`
        seconds.
        """
        messages = self._messages
        if not messages:
            self._wait_for_message(timeout)
        message = messages.popleft()
        self._waiting -= len(message)
        if not self._full():
            self._room.set()
        return message

    def _wait_for_message(self, timeout):
        end = None if timeout is None else monotonic() + timeout
        while not self._messages:
            if self.close_code is not None:
                raise self._closed()
            self._news.clear()
            if not self._news.wait(None if end is None else max(end - monotonic(), 0)) and not self._messages:
                raise TimeoutError(f"no message came within {timeout} seconds")

    def __iter__(self):
        """Each message as it arrives, until the connection is closed."""
        return self

    def __next__(self):
        try:
            return self.receive()
        except WebSocketClosed:
            raise StopIteration from None

    def send(self, message):
        """Send a message: as text if it is a str, as binary if it is bytes or the like.

        Blocks while others send, and while the client accepts no more data. A client that is too slow is lost, see
        `pywsgi.Limits.write_timeout` and `min_rate`.

        Raises WebSocketClosed. Raises TypeError, and UnicodeEncodeError for a str that cannot be encoded, before
        anything is sent.
        """
        if isinstance(message, str):
            data = message.encode()
        elif isinstance(message, (bytes, bytearray, memoryview)):
            data = message
        else:
            raise TypeError(f"a message must be str or bytes, not {type(message).__name__}")
        with self._turn:
            if self.close_code is not None:
                raise self._closed()
            try:
                with _WHOLE:
                    if data is message:
                        self._protocol.send_binary(data)
                    else:
                        self._protocol.send_text(data)
                self._write()
            except OSError as exc:
                raise self._closed() from exc

    def close(self, code=1000, reason=""):
        """Close the connection: send a close, and block until the client answers, at most `close_timeout` seconds.

        Messages that the client still sends are dropped. Does nothing if the connection is closed.

        Raises ValueError for a code that RFC 6455 does not allow, or a reason of more than 123 bytes.
        """
        if not isinstance(code, int) or not (
            1000 <= code <= 1014 and code not in (1004, 1005, 1006) or 3000 <= code <= 4999
        ):
            raise ValueError(f"code must be one that RFC 6455 allows in a close, not {code!r}")
        if len(reason.encode()) > 123:
            raise ValueError("the reason is longer than 123 bytes")
        with Timeout(self._close_timeout, False):
            self._say_goodbye(code, reason)
            self._over.wait()
            return
        self._abort("the client did not answer the close")

    # -------- closing

    def _closed(self):
        return WebSocketClosed(self.close_code, self.close_reason)

    def _set_closed(self, code, reason):
        """Set code and reason of the close; only the first call has an effect."""
        if self.close_code is None:
            self.close_code = code
            self.close_reason = reason
        self._news.set()
        self._room.set()

    def _say_goodbye(self, code, reason):
        if self.close_code is None:
            with self._turn:
                if self.close_code is None:
                    with _WHOLE:
                        self._protocol.send_close(code, reason)
                        self._set_closed(code, reason)
                    with suppress(OSError):  # the client has gone: that is a close, too
                        self._write()

    def _abort(self, reason):
        self._set_closed(1006, reason)
        self._wire.abort()

    def _go_away(self):
        """The server stops."""
        self.close(1001, "the server stops")

    def _finish(self, exc):
        """The application has returned, or raised `exc`. Returns whether that is an error to report."""
        killed = isinstance(exc, GreenletExit)
        expected = exc is None or killed or isinstance(exc, WebSocketClosed)
        try:
            if killed:
                with Timeout(_MOMENT, False):
                    self._say_goodbye(1001, "")
            else:
                self.close(1000 if expected else 1011)
                self._reader.join()
        finally:
            self._reader.kill()
        return not expected

    # -------- writing

    def _write(self):
        """Send the waiting frames. For the holder of `_turn`. Raises OSError; then the connection is lost."""
        reason = "sending was interrupted"
        try:
            while frames := self._unsent + self._protocol.data_to_send():
                self._unsent = []
                self._wire.write(frames[0] if len(frames) == 1 else b"".join(frames))
            reason = None
        except TimeoutError:
            reason = "the client takes too slowly"
            raise
        except OSError:
            reason = "the connection was lost"
            raise
        finally:
            if reason is not None:
                self._abort(reason)

    # -------- reading, in a greenlet of its own

    def _read(self):
        reason = "the connection was lost"
        try:
            while data := self._more():
                if not self._take(data):
                    break
            else:
                reason = "the client hung up"
                self._wire.abort()
        except OSError:
            pass
        finally:
            self._set_closed(1006, reason)
            self._over.set()
        # The client need not wait for the end of the connection, whatever the application is doing.
        self._wire.finish()

    def _more(self):
        """The data that has arrived; b"" at the end. Sends a ping if none arrives."""
        read = self._wire.read
        try:
            return read(self._ping_interval)
        except TimeoutError:
            pass
        if self.close_code is None:
            with _WHOLE:
                self._protocol.send_ping(b"")
            self._answer()
        try:
            return read(self._ping_timeout)
        except TimeoutError:
            self._fail(1011, "no answer to a ping")
            raise

    def _take(self, data):
        """Give `data` to the protocol. False if nothing more may be read."""
        if self._compressed and len(data) > _PIECE:
            return all(self._take(data[i : i + _PIECE]) for i in range(0, len(data), _PIECE))
        protocol = self._protocol
        try:
            with _WHOLE:  # until it is known here, too, that the protocol is closing
                protocol.receive_data(data)
                for frame in protocol.events_received():
                    if frame.opcode <= _BINARY:
                        self._take_frame(frame)
                    elif frame.opcode == _CLOSE:
                        self._set_closed(protocol.close_rcvd.code, protocol.close_rcvd.reason)
        except UnicodeDecodeError:
            self._fail(1007, "text that is not UTF-8")
            return False
        if protocol.parser_exc is not None:
            why = protocol.close_rcvd or protocol.close_sent
            self._set_closed(why.code, why.reason)
        if not self._answer():
            return False
        while self._full() and self.close_code is None:
            self._room.clear()
            self._room.wait()
        return True

    def _take_frame(self, frame):
        if frame.opcode == _CONTINUATION or not frame.fin:
            if frame.opcode != _CONTINUATION:
                self._partial = _Partial(frame.opcode == _TEXT)
            self._partial.add(frame.data, frame.fin)
            if not frame.fin:
                return
            message = self._partial.message()
            self._partial = None
        elif frame.opcode == _TEXT:
            message = str(frame.data, "utf-8")
        else:
            message = bytes(frame.data)
        if self.close_code is None:
            self._messages.append(message)
            self._waiting += len(message)
            self._news.set()

    def _full(self):
        return len(self._messages) >= _MANY or self._max_size is not None and self._waiting > self._max_size

    def _answer(self):
        """Send the protocol's answers to the received data. False if they are its last frames."""
        frames = self._protocol.data_to_send()
        if not frames:
            return True
        last = b"" in frames  # means: nothing more may be read
        self._unsent += frames
        # The holder of the turn will send it too. The reader waits for it when there is a lot, or nothing else to do.
        if last:
            with Timeout(self._close_timeout, False), self._turn:
                self._write()
                return False
            self._abort("the client takes too slowly")
        elif not self._turn.locked() or len(self._unsent) > _MANY_ANSWERS:
            with self._turn:
                self._write()
        return not last

    def _fail(self, code, reason):
        with _WHOLE:
            self._protocol.fail(code, reason)
            self._set_closed(code, reason)
        self._answer()


class _Partial:
    """A message in pieces. Invalid UTF-8 is found at the piece that contains it: UnicodeDecodeError."""

    def __init__(self, is_text):
        self.decode = codecs.getincrementaldecoder("utf-8")().decode if is_text else None
        self.pieces = io.StringIO() if is_text else io.BytesIO()

    def add(self, data, final):
        self.pieces.write(data if self.decode is None else self.decode(data, final))

    def message(self):
        return self.pieces.getvalue()
