"""`gevlite.serve.Server` in a program of its own, and TLS."""

import os
import re
import signal
import ssl
import subprocess
import sys

import pytest
import trustme
from processes import PATIENCE, until

from gevlite.pywsgi import Limits
from gevlite.serve import Server, StartError

pytest.importorskip("httptools")
pytestmark = pytest.mark.timeout(180)


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


# ---------------------------------------------------------------- the class


@pytest.mark.parametrize(
    ("app", "settings", "error", "message"),
    [
        (None, {}, TypeError, "app must be"),
        ("a b", {}, ValueError, "app must be like package.module:name"),
        (hello, {"workers": 0}, ValueError, "workers must be a whole number, at least 1"),
        (hello, {"workers": True}, ValueError, "workers"),
        (hello, {"max_requests": -1}, ValueError, "max_requests"),
        (hello, {"timeout": -1}, ValueError, "timeout must be a number of seconds"),
        (hello, {"time_slice": -1}, ValueError, "time_slice must be a number of seconds"),
        (hello, {"time_slice": []}, TypeError, "time_slice must be a number of seconds"),
        (hello, {"socket_mode": 0o1000}, ValueError, "socket_mode"),
        (hello, {"client_certs": "maybe"}, ValueError, "client_certs must be none, optional or required"),
        (hello, {"certfile": "c", "client_certs": "required"}, ValueError, "go together"),
        (hello, {"certfile": "c", "ca_certs": "a"}, ValueError, "go together"),
        (hello, {"limits": {"max_body": 1}}, TypeError, "limits must be a Limits"),
        (hello, {"no_such_setting": 1}, TypeError, "no_such_setting"),
    ],
)
def test_settings_that_cannot_be(app, settings, error, message):
    with pytest.raises(error, match=message):
        Server(app, **settings)


def test_settings_have_defaults():
    settings = Server(hello).settings
    assert settings.limits == Limits() and settings.timeout == settings.graceful_timeout == 30
    assert 1 <= settings.workers <= 8
    assert Server(hello, reload=True).settings.workers == 1
    assert Server(hello, max_requests=1000).settings.max_requests_jitter == 100


def test_an_application_that_is_not_there():
    server = Server("no_such_module", bind="127.0.0.1:0", workers=2)
    with pytest.raises(StartError, match="there is no module 'no_such_module'"):
        server.run()


def test_an_address_that_cannot_be_listened_on():
    with pytest.raises(OSError, match="cannot listen on unix:/no/such/folder"):
        Server(hello, bind="unix:/no/such/folder").run()


def test_only_in_the_main_thread():
    from gevlite.threadpool import ThreadPool

    with pytest.raises(RuntimeError, match="main thread"):
        ThreadPool(1).apply(Server(hello).run)


PROGRAM = """
import atexit, os, sys
if sys.argv[1] == "patched":
    from gevlite import monkey; monkey.patch_all()
    import gevlite
    def live():
        while True:
            print("a greenlet in", os.getpid(), flush=True)
            gevlite.sleep(0.05)
    gevlite.spawn(live)
from gevlite.serve import Server

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]

server = Server(application, bind=["127.0.0.1:0"], workers=2)
try:
    server.run()
finally:
    print("run is over in", os.getpid(), flush=True)
"""


@pytest.mark.parametrize("how", ["plain", "patched"])
def test_a_program_of_its_own(tmp_path, how):
    (tmp_path / "program.py").write_text("import logging; logging.basicConfig(level=logging.INFO)\n" + PROGRAM)
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "program.py", how], cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )

    def said(pattern):
        def find():
            assert process.poll() is None, (tmp_path / "log").read_text()
            return re.findall(pattern, (tmp_path / "log").read_text())

        return until(find, pattern)

    def ask():
        import urllib.request

        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.read()

    try:
        url = said(r"Serving the application on (\S+) with 2 workers")[0]
        until(lambda: len({ask() for _ in range(10)}) == 2, "both workers")
        process.send_signal(signal.SIGHUP)
        said("Reloaded: 2 new workers serve")
        assert int(ask()) != process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    log = (tmp_path / "log").read_text()
    assert re.findall(r"run is over in (\d+)", log) == [str(process.pid)]  # not in the workers
    found = set(re.findall(r"a greenlet in (\d+)", log))  # nor do greenlets run on there
    assert found == ({str(process.pid)} if how == "patched" else set())


# ---------------------------------------------------------------- TLS


@pytest.fixture
def authority(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    certify(authority, tmp_path)
    return authority


def certify(authority, folder, name="localhost"):
    certificate = authority.issue_cert(name)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")


def secure(server, authority, client=None):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        client.configure_cert(context)
    return server.open(context.wrap_socket(server.connect(), server_hostname="localhost"))


def test_tls(serving, authority):
    server = serving("--certfile", "server.pem")
    server.said(r"https://127\.0\.0\.1:")
    assert secure(server, authority).get().json["wsgi.url_scheme"] == "https"


def test_a_reload_reads_the_certificate_again(serving, authority, tmp_path):
    server = serving("--certfile", "server.pem", "-w", "1")

    def serial():
        return secure(server, authority).http.sock.getpeercert()["serialNumber"]

    first = serial()
    certify(authority, tmp_path)
    server.signal(signal.SIGHUP)
    server.said("Reloaded")
    until(lambda: serial() != first, "the new certificate")


def test_client_certificates(serving, authority):
    server = serving("--certfile", "server.pem", "--ca-certs", "authority.pem", "--client-certs", "required")
    client = authority.issue_cert("client@example.org")
    assert secure(server, authority, client).get().status == 200
    with pytest.raises(OSError):  # with TLS 1.3 the client notices it only when it reads
        secure(server, authority).get()
    with pytest.raises(OSError):
        secure(server, authority, trustme.CA().issue_cert("client@example.org")).get()


def test_optional_client_certificates(serving, authority):
    server = serving("--certfile", "server.pem", "--ca-certs", "authority.pem", "--client-certs", "optional")
    assert secure(server, authority).get().status == 200
    assert secure(server, authority, authority.issue_cert("client@example.org")).get().status == 200
