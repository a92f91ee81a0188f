"""A server in a program of its own: it says where it listens, and Ctrl-C ends it with few lines."""

import re
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from processes import until

PROGRAM = """
    import logging, sys
    {before}
    from gevlite.pywsgi import WSGIServer
    from gevlite.server import StreamServer

    def serve(*args):
        pass

    {kind}(({host!r}, 0), serve).serve_forever()
"""
LOGGED = "logging.basicConfig(level=logging.INFO, format='%(name)s %(levelname)s %(message)s')"


@pytest.fixture
def start(tmp_path):
    started = []

    def start(kind, before="", host="127.0.0.1"):
        if kind == "WSGIServer":
            pytest.importorskip("httptools")
        log = tmp_path / "log"
        with open(log, "w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(PROGRAM).format(kind=kind, before=before, host=host)],
                stdout=file,
                stderr=file,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        started.append(process)
        return process, log

    yield start
    for process in started:
        process.kill()
        process.wait()


def sleeps(pid):
    """True if it does nothing for a while."""
    for _ in range(5):
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] != "S":
                return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(("kind", "scheme"), [("WSGIServer", "http://"), ("StreamServer", "")])
def test_it_says_where_it_listens_and_ctrl_c_ends_it_with_few_lines(start, kind, scheme):
    process, log = start(kind, before=LOGGED)
    said = until(lambda: re.search(rf"INFO {kind} listens on {scheme}127\.0\.0\.1:(\d+)\n", log.read_text()))
    socket.create_connection(("127.0.0.1", int(said[1]))).close()
    until(lambda: sleeps(process.pid))  # else the interruption would be one of the greenlet that runs
    process.send_signal(signal.SIGINT)
    assert process.wait(50) == -signal.SIGINT
    text = log.read_text()
    assert text.endswith("\nKeyboardInterrupt\n")
    assert text.count("  File ") == 2, text


def test_a_wsgi_server_says_it_without_logging_too(start):
    process, log = start("WSGIServer")
    assert until(lambda: log.read_text().endswith("\n"))
    assert re.fullmatch(r"WSGIServer listens on http://127\.0\.0\.1:\d+\n", log.read_text())


def test_an_ipv6_address_has_brackets(start):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    process, log = start("WSGIServer", host="::1")
    until(lambda: log.read_text().endswith("\n"))
    if "Cannot assign" in log.read_text():
        pytest.skip("no IPv6 here")
    assert re.match(r"WSGIServer listens on http://\[::1\]:\d+\n", log.read_text())


@pytest.mark.parametrize("target", ["a log", "none"])
def test_a_log_of_its_own_gets_requests_only(target, capfd):
    pytest.importorskip("httptools")
    import io

    import gevlite
    from gevlite.pywsgi import WSGIServer

    log = io.StringIO() if target == "a log" else None
    server = WSGIServer(("127.0.0.1", 0), lambda environ, start_response: [], log=log)
    job = gevlite.spawn(server.serve_forever)
    gevlite.idle()
    server.close()
    job.get()
    assert log is None or log.getvalue() == ""
    assert "listens" not in capfd.readouterr().err
