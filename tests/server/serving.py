"""Small helpers of the server tests: clients' and servers' halves of a conversation."""

import http.client

import gevlite

LOCALHOST = "127.0.0.1"


def read_all(sock):
    """Everything that arrives until the other side has finished."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def echo(sock, address):
    while data := sock.recv(65536):
        sock.sendall(data)


class TinyPool:
    """The smallest interface that a server needs of a pool."""

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


class Response:
    """The response of a server."""

    def __init__(self, found):
        self.version = {10: "HTTP/1.0", 11: "HTTP/1.1"}[found.version]
        self.status = found.status
        self.reason = found.reason
        self.headers = found.getheaders()
        self.body = found.read()

    def __getitem__(self, name):
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} comes twice: {values}"
        return values[0] if values else None


class Client:
    """A connection to an HTTP server, on which bytes are sent as they are."""

    def __init__(self, sock):
        self.sock = sock
        # One file for all responses: it may read more than the first one.
        self.file = sock.makefile("rb")

    def makefile(self, mode):
        return _Unclosed(self.file)

    def send(self, data):
        """True unless the server has hung up meanwhile."""
        try:
            self.sock.sendall(data)
        except ConnectionError:
            return False
        return True

    def response(self, method="GET"):
        found = http.client.HTTPResponse(self, method=method)
        try:
            found.begin()
            return Response(found)
        finally:
            found.close()

    def ask(self, data, method=None):
        self.send(data)
        return self.response(method or data.split(b" ", 1)[0].decode())

    def get(self, path="/", *headers):
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        return self.ask("\r\n".join(lines).encode())

    def is_open(self):
        """Whether the server answers another request."""
        return self.get("/probe").status == 200

    def is_closed(self):
        """Whether the server has hung up, without sending anything more."""
        try:
            return self.file.read() == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.file.close()
        self.sock.close()


class _Unclosed:
    def __init__(self, file):
        self.read, self.readline, self.readinto, self.flush = file.read, file.readline, file.readinto, file.flush

    def close(self):
        pass
