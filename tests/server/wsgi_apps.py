"""Applications and requests for the tests of the WSGI server."""

from serving import LOCALHOST

ANY = (LOCALHOST, 0)
PLAIN = ("Content-Type", "text/plain")

GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
GET10 = b"GET / HTTP/1.0\r\n\r\n"


def hello(environ, start_response):
    start_response("200 OK", [PLAIN])
    return [b"hello"]


def echo(environ, start_response):
    start_response("200 OK", [PLAIN])
    return [environ["wsgi.input"].read()]


def answers(body, status="200 OK", headers=(PLAIN,)):
    """An application that returns `body`, or the result of calling it if it is callable."""

    def app(environ, start_response):
        start_response(status, list(headers))
        return body() if callable(body) else body

    return app


def post(body, *headers, target="/"):
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces):
    data = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return data + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def ways_to_send(body):
    third = max(len(body) // 3, 1)
    pieces = [body[n : n + third] for n in range(0, len(body), third)]
    return {"length": post(body), "chunked": chunked(*pieces)}


def exchange(client, data):
    """The bytes of the answer, up to the end of the connection."""
    client.send(data)
    return client.file.read()


def files(path, offset=0, headers=(), status="200 OK", opened=None):
    """An application that returns the file from `offset`."""

    def app(environ, start_response):
        file = open(path, "rb")
        if opened is not None:
            opened.append(file)
        file.seek(offset)
        start_response(status, list(headers))
        return environ["wsgi.file_wrapper"](file)

    return app
