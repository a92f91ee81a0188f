"""A WebSocket client that sends exactly what the test asks for, right or wrong."""

import os
import socket
import struct

from serving import Client

from gevlite.websocket import accept

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3


def handshake(*headers, path="/", host="localhost", version="13", key=KEY):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += [f"Sec-WebSocket-Version: {version}"] if version else []
    lines += [f"Sec-WebSocket-Key: {key}"] if key else []
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def frame(opcode, data=b"", fin=True, rsv=0, masked=True, length=None):
    """The bytes of a frame. length: a length other than the data's; only the data is sent."""
    data = data.encode() if isinstance(data, str) else data
    length = len(data) if length is None else length
    size = length if length < 126 else 126 if length < 65536 else 127
    head = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | size])
    if size > 125:
        head += struct.pack("!H" if size == 126 else "!Q", length)
    if not masked:
        return head + data
    mask = os.urandom(4)
    key = int.from_bytes((mask * (len(data) // 4 + 1))[: len(data)])
    return head + mask + (int.from_bytes(data) ^ key).to_bytes(len(data))


def close_frame(code=None, reason=b""):
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class Peer(Client):
    """Frames on a connection of the fixture `dial`. early: data sent together with the handshake."""

    def __init__(self, sock, *headers, early=b"", **kwargs):
        super().__init__(sock)
        self.answer = self.ask(handshake(*headers, **kwargs) + early)

    def read(self):
        """The next frame: (opcode, data), with a third item False if it is not the last of its message."""
        first, size = self.exactly(2)
        assert size < 128, "a server must not mask"
        if size == 126:
            size = struct.unpack("!H", self.exactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self.exactly(8))[0]
        data = self.exactly(size)
        return (first & 15, data) if first & 128 else (first & 15, data, False)

    def exactly(self, size):
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError(f"{data!r} instead of {size} bytes")
        return data

    def closed_with(self):
        """Read on to the close frame, which must be the last one; its code, None if it has none, and its reason."""
        while True:
            opcode, data, *_ = self.read()
            if opcode == CLOSE:
                self.hang_up()
                return (struct.unpack("!H", data[:2])[0] if data else None), data[2:].decode()

    def hang_up(self):
        """Close our end too: the server has closed."""
        assert self.file.read() == b""
        self.sock.shutdown(socket.SHUT_WR)

    def vanish(self):
        self.file.close()
        self.sock.close()


def echoes(**options):
    """A WebSocket application that sends back what it receives."""

    def app(environ, start_response):
        websocket = accept(environ, **options)
        for message in websocket:
            websocket.send(message)
        return []

    return app
