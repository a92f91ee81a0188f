"""The applications of the WSGI benchmarks: each for WSGI, and for ASGI as its own documentation would write it.

Standard library only, and none of gevlite: all servers import this module.
"""

PLAIN = ("Content-Type", "text/plain")
HELLO = b"Hello, world!\n"
TEN_KIB = b"x" * 10240


def hello(environ, start_response):
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(HELLO)))])
    return [HELLO]


def ten_kib(environ, start_response):
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(TEN_KIB)))])
    return [TEN_KIB]


def echo(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [PLAIN, ("Content-Length", str(len(body)))])
    return [body]


async def _answer(send, body):
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def asgi_hello(scope, receive, send):
    await _answer(send, HELLO)


async def asgi_ten_kib(scope, receive, send):
    await _answer(send, TEN_KIB)


async def asgi_echo(scope, receive, send):
    pieces = []
    more = True
    while more:
        message = await receive()
        pieces.append(message["body"])
        more = message.get("more_body", False)
    await _answer(send, b"".join(pieces))


def __getattr__(name):
    # Only servers of the Flask application import Flask.
    if name != "flask":
        raise AttributeError(name)
    from flask import Flask

    app = Flask("hello")

    @app.route("/")
    def hello():
        return "Hello, world!\n"

    return app
