"""Small things that the server tests use: clients' and servers' halves of a conversation."""

import gevlite

LOCALHOST = "127.0.0.1"


def read_all(sock):
    """What comes until the other side has finished."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def echo(sock, address):
    while data := sock.recv(65536):
        sock.sendall(data)


class TinyPool:
    """The least that a server needs of a pool."""

    def __init__(self, size):
        self.size = size
        self.running = set()

    def full(self):
        return len(self.running) >= self.size

    def spawn(self, function, *args):
        greenlet = gevlite.Greenlet(function, *args)
        self.running.add(greenlet)
        greenlet.rawlink(self.running.discard)
        greenlet.start()
        return greenlet
