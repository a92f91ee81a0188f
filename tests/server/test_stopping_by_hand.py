"""A server in a program of its own: it prints where it listens, and Ctrl-C ends it with few lines."""

import io
import os
import re
import signal
import socket
import sys
import textwrap
import time

import pytest
from processes import WebServer, state, until

import gevlite

PROGRAM = """
    import logging, sys
    {before}
    from gevlite.pywsgi import WSGIServer
    from gevlite.server import StreamServer

    def serve(*args):
        {serve}

    {kind}(({host!r}, 0), serve).serve_forever()
"""
LOGGED = "logging.basicConfig(level=logging.INFO, format='%(name)s %(levelname)s %(message)s')"


@pytest.fixture
def start(tmp_path, request):
    def start(kind, before="", host="127.0.0.1", serve="pass", **popen):
        if kind == "WSGIServer":
            pytest.importorskip("httptools")
        program = textwrap.dedent(PROGRAM).format(kind=kind, before=before, host=host, serve=serve)
        popen["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        server = WebServer(tmp_path, [sys.executable, "-c", program], **popen)
        request.addfinalizer(server.kill)
        return server

    return start


def sleeps(pid):
    """True if it does nothing for a while."""
    for _ in range(5):
        if state(pid) != "S":
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(("kind", "scheme"), [("WSGIServer", "http://"), ("StreamServer", "")])
def test_it_says_where_it_listens_and_ctrl_c_ends_it_with_few_lines(start, kind, scheme):
    server = start(kind, before=LOGGED)
    said = server.said(rf"INFO {kind} listens on {scheme}127\.0\.0\.1:(\d+)\n")
    socket.create_connection(("127.0.0.1", int(said[1]))).close()
    until(lambda: sleeps(server.process.pid))  # otherwise Ctrl-C would interrupt the greenlet that runs
    server.signal(signal.SIGINT)
    assert server.process.wait(50) == -signal.SIGINT
    text = server.log()
    assert text.endswith("\nKeyboardInterrupt\n")
    assert text.count("  File ") == 2, text


SPIN = "print('spins', flush=True)\n    while True: pass"


@pytest.mark.parametrize(("kind", "what"), [("WSGIServer", "GET '/a b'"), ("StreamServer", "a client")])
def test_ctrl_c_during_a_request_says_in_one_line_where(start, kind, what):
    # No time slices: at the end of one, Ctrl-C may come in the turn of the loop, while nothing is served.
    server = start(kind, before=LOGGED, serve=SPIN, env={**os.environ, "GEVLITE_TIME_SLICE": ""})
    port = int(server.said(rf"{kind} listens on \S+:(\d+)\n")[1])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /a%20b HTTP/1.0\r\n\r\n")
        server.said("spins")
        server.signal(signal.SIGINT)
        assert server.process.wait(50) == -signal.SIGINT
    text = server.log()
    assert re.search(
        rf"^gevlite.server WARNING {kind} interrupted while it served {what}, in serve \(<string>:\d+\)$", text, re.M
    ), text
    assert text.endswith("\nKeyboardInterrupt\n")
    assert text.count("  File ") == 2 and text.count("Traceback") == 1, text


def test_a_wsgi_server_says_it_without_logging_too(start):
    server = start("WSGIServer")
    assert until(lambda: server.log().endswith("\n"))
    assert re.fullmatch(r"WSGIServer listens on http://127\.0\.0\.1:\d+\n", server.log())


def test_an_ipv6_address_has_brackets(start):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    server = start("WSGIServer", host="::1")
    until(lambda: server.log().endswith("\n"))
    if "Cannot assign" in server.log():
        pytest.skip("no IPv6 here")
    assert re.match(r"WSGIServer listens on http://\[::1\]:\d+\n", server.log())


@pytest.mark.parametrize("target", ["a log", "none"])
def test_a_log_of_its_own_gets_requests_only(target, capfd):
    pytest.importorskip("httptools")
    from gevlite.pywsgi import WSGIServer

    log = io.StringIO() if target == "a log" else None
    server = WSGIServer(("127.0.0.1", 0), lambda environ, start_response: [], log=log)
    job = gevlite.spawn(server.serve_forever)
    gevlite.idle()
    server.close()
    job.get()
    assert log is None or log.getvalue() == ""
    assert "listens" not in capfd.readouterr().err
