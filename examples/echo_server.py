"""A TCP echo server with a greenlet for each connection: python examples/echo_server.py [PORT]"""

import sys

import gevlite
from gevlite import socket


def echo(connection: socket.socket, peer: tuple[str, int]) -> None:
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)
    print("closed", *peer)


def main(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port))
    print("listening on", *listener.getsockname())
    while True:
        connection, peer = listener.accept()
        gevlite.spawn(echo, connection, peer)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
    except KeyboardInterrupt:
        pass  # the way to stop it
