"""The load of the WebSocket case: frames made beforehand, so that it is no slower than what it measures.

    python websocket_client.py ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID

Each connection sends a message, and the next one when that has come back. Prints the same JSON as the other loads.
"""

import json
import socket
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
from tls_client import Window, echo

REQUEST = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def connect(address, port):
    sock = socket.create_connection((address, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(REQUEST.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        data = sock.recv(4096)
        if not data:
            break
        answer += data
    if b" 101 " not in answer:
        raise SystemExit(f"the server does not speak WebSocket: {answer[:100]}")
    return sock


def websocket_echo(socks, size, window):
    mask = b"abcd"
    message = bytes([0x81, 0x80 | size]) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(b"x" * size))
    expected = bytes([0x81, size]) + b"x" * size

    def receive(sock):
        if sock.recv(4096) != expected:
            raise SystemExit("that was no echo")
        return True

    return echo(socks, message, receive, window)


def main(address, port, connections, size, warmup, seconds, pid):
    if int(size) > 125:
        raise SystemExit("only for small messages")
    socks = [connect(address, int(port)) for _ in range(int(connections))]
    print(json.dumps(websocket_echo(socks, int(size), Window(float(warmup), float(seconds), int(pid)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
