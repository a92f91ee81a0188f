"""The WSGI server on the wire: every case of `http_cases`, delivered whole and byte by byte."""

import pytest
from http_cases import CASES
from serving import LOCALHOST

import gevlite
from gevlite.pywsgi import Limits, WSGIServer


class Recorder:
    """Answers every request, and records it: method, path, query, body, trailers."""

    def __init__(self):
        self.seen = []

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read().decode("latin-1")
        query = environ["QUERY_STRING"]
        if environ["PATH_INFO"] != "/probe":
            line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}" + (f"?{query}" if query else "")
            if body:
                line += f" {body}"
            if environ["wsgi.input"].trailers:
                fields = ", ".join(f"{name}={value}" for name, value in environ["wsgi.input"].trailers)
                line += ("" if body else " ") + f" [{fields}]"
            self.seen.append(line)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"seen"]


def whole(client, data):
    client.send(data)


def byte_by_byte(client, data):
    for n in range(len(data)):
        if not client.send(data[n : n + 1]):
            break
        gevlite.idle()  # the server takes it


def fits(expected, status):
    return 400 <= status < 500 or status == 501 if expected == "4xx/501" else status == int(expected)


def parameters():
    for case in CASES:
        for deliver in (whole, byte_by_byte):
            if deliver is whole or len(case.data) < 2000:
                name = f"{case.rule} {case.name}, {deliver.__name__}"
                yield pytest.param(case, deliver, False, id=ascii(name)[1:-1])
        yield pytest.param(case, whole, True, id=ascii(f"{case.rule} {case.name}, strict")[1:-1])


@pytest.mark.parametrize(("case", "deliver", "strict"), list(parameters()))
def test_case(serve, http, errors, case, deliver, strict):
    app = Recorder()
    limits = Limits(max_body=1_000_000)
    server = serve(WSGIServer((LOCALHOST, 0), app, log=None, limits=limits, strict=strict))
    client = http(server)
    deliver(client, case.data)
    method = case.data.lstrip().split(b" ", 1)[0].decode("latin-1")
    differs = strict and case.strict is not None
    *statuses, connection = (case.strict if differs else case.expect).split()
    for expected in statuses:
        response = client.response(method)
        assert fits(expected, response.status)
        if response.status != 200:
            assert response["Connection"] == "close"
    if connection == "open":
        assert client.is_open()
    else:
        assert client.is_closed()
    if case.seen is not None and not differs:
        assert app.seen == list(case.seen)
    else:
        assert len(app.seen) == statuses.count("200")
    assert errors == []


def test_there_are_cases_enough_and_all_of_them_differ():
    assert len(CASES) >= 150
    assert len({(case.rule, case.name) for case in CASES}) == len(CASES)
