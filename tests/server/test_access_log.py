"""The access log: its lines, that clients cannot forge one, and that no request waits for it."""

import base64
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest
from processes import PATIENCE, until
from wsgi_apps import answers, hello, post

import gevlite
from gevlite.pywsgi import AccessLog, WSGIHandler

ROW = re.compile(
    r"(?P<host>\S+) - (?P<user>\S+) \[(?P<date>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "
    r'"(?P<line>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<size>\d+|-) "(?P<referer>(?:[^"\\]|\\.)*)" '
    r'"(?P<agent>(?:[^"\\]|\\.)*)"\n'
)


class Pages:
    """A target that keeps the written data, and counts the writes."""

    def __init__(self):
        self.pieces = []

    def write(self, text):
        self.pieces.append(text)

    @property
    def text(self):
        return "".join(self.pieces)


@pytest.fixture
def logged(site, http):
    """`logged(format, request, app=...)`: the log's text for a request."""

    def ask(format, request, app=hello, **kwargs):
        pages = Pages()
        log = AccessLog(pages, format)
        server = site(app, log=log, **kwargs)
        client = http(server)
        client.ask(request)
        client.sock.shutdown(socket.SHUT_WR)  # else the server gives it time for another request
        server.stop(5)
        return pages.text

    return ask


def get(*headers, target="/"):
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: h", *headers, "", ""]).encode("latin-1")


# ---------------------------------------------------------------- what it says


def test_combined(logged):
    line = logged("combined", get("User-Agent: curl/8", "Referer: http://h/", target="/a%20b?c"))
    found = ROW.fullmatch(line)
    assert found, line
    assert found["host"] == "127.0.0.1" and found["user"] == "-" and found["line"] == "GET /a%20b?c HTTP/1.1"
    assert found["status"] == "200" and found["size"] == "5"
    assert found["referer"] == "http://h/" and found["agent"] == "curl/8"


def test_common(logged):
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET / HTTP/1\.1" 200 5\n', logged("common", get()))


def test_what_is_missing(logged):
    assert logged("%(a)s %(f)s %({x-y}i)s %({x-y}o)s %({X}e)s %(u)s %(l)s", get()) == "- - - - - - -\n"
    assert ROW.fullmatch(logged("combined", b"nonsense\r\n\r\n"))["status"] == "400"
    assert json.loads(logged("json", b"nonsense\r\n\r\n"))["status"] == 400


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        ("%(h)s", r"127\.0\.0\.1"), ("%(m)s", "POST"), ("%(U)s", "/a%20b"), ("%(q)s", "c=d"), ("%(H)s", r"HTTP/1\.1"),
        ("%(r)s", r"POST /a%20b\?c=d HTTP/1\.1"), ("%(s)s", "200"), ("%(B)s", "5"), ("%(b)s", "5"), ("%(T)s", r"\d"),
        ("%(M)s", r"\d+"), ("%(D)s", r"\d+"), ("%(L)s", r"\d\.\d{6}"), ("%(p)s", f"<{os.getpid()}>"),
        ("%({x-foo}i)s", "bar"), ("%({X-Foo}i)s", "bar"), ("%({content-type}i)s", "t/p"),
        ("%({Content-Type}o)s", "text/plain"), ("%({REQUEST_METHOD}e)s", "POST"), ("%({wsgi.url_scheme}e)s", "http"),
        ("100%% of %(s)s%%", "100% of 200%"),
    ],
)  # fmt: skip
def test_atoms(logged, atom, expected):
    request = post(b"xyz", "X-Foo: bar", "Content-Type: t/p", target="/a%20b?c=d")
    assert re.fullmatch(f"<{expected}>\n", logged(f"<{atom}>", request))


def test_the_user_is_that_of_basic_authentication_or_the_applications(logged):
    name = base64.b64encode(b"anna:secret").decode()
    assert logged("%(u)s", get(f"Authorization: Basic {name}")) == "anna\n"
    for nonsense in ("Basic", "Basic !!", "Bearer abc", "Basic " + base64.b64encode(b"no colon").decode()):
        assert logged("%(u)s", get(f"Authorization: {nonsense}")) == "-\n"

    def app(environ, start_response):
        environ["REMOTE_USER"] = "berta"
        return hello(environ, start_response)

    assert logged("%(u)s", get(f"Authorization: Basic {name}"), app=app) == "berta\n"


def test_the_size_is_that_of_the_body(logged):
    assert logged("%(B)s %(b)s", get(), app=answers([b"x" * 100_000])) == "100000 100000\n"
    assert logged("%(B)s %(b)s", get(), app=answers([])) == "0 -\n"
    assert logged("%(B)s", get().replace(b"GET", b"HEAD"), app=answers([b"abc"])) == "0\n"


def test_an_error_of_the_application(logged, errors):
    assert logged("%(s)s", get(), app=lambda environ, start_response: 1 / 0) == "500\n"


def test_json(logged):
    said = json.loads(logged("json", post(b"", "User-Agent: curl/8", target="/x?y")))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", said.pop("time"))
    assert 0 <= said.pop("seconds") < 60
    assert said == {
        "remote_addr": "127.0.0.1", "remote_user": "", "method": "POST", "target": "/x?y", "protocol": "HTTP/1.1",
        "status": 200, "bytes": 5, "host": "localhost", "referer": "", "user_agent": "curl/8", "pid": os.getpid(),
    }  # fmt: skip


# ---------------------------------------------------------------- clients cannot forge a line

HOSTILE = [
    '" 200 5 "-" "-',
    'a\\" 200 5 "-" "forged',
    "\x1b[2J\x1b]0;title\x07",
    "\t\t",
    "b\\\\",
    "".join(map(chr, [9, *range(32, 127), *range(128, 256)])),
    '","status":500,"x":"',
]


def hostile_target(text):
    return "/" + "".join(c for c in text if 32 < ord(c) < 127 and c not in '"<>#')


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_stays_a_line(logged, text):
    clean = "".join(c for c in text if c == "\t" or 32 <= ord(c) != 127)
    secret = base64.b64encode(f"{text}\r\n1.2.3.4 - - x:pw".encode("latin-1", "replace").replace(b":", b"", 1)).decode()
    request = get(
        f"User-Agent: x{clean}x", f"Referer: x{clean}x", f"Authorization: Basic {secret}", target=hostile_target(text)
    )
    line = logged("combined", request)
    found = re.fullmatch(ROW.pattern.replace(r"(?P<user>\S+)", r"(?P<user>.+)"), line)
    assert found, line
    assert re.fullmatch(r"[ -~]*\n", line)
    assert found["status"] == "200"
    said = json.loads(logged("json", request))
    assert said["status"] == 200
    expected = clean.encode("latin-1").decode("utf-8", "backslashreplace")
    assert said["user_agent"] == f"x{expected}x" and said["target"] == hostile_target(text)


def test_utf_8_is_text_in_json_and_bytes_elsewhere(logged):
    request = get("User-Agent: " + "ä€😀".encode().decode("latin-1"))
    assert json.loads(logged("json", request))["user_agent"] == "ä€😀"
    assert logged("%(a)s", request) == r"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" + "\n"


def test_what_an_application_puts_into_environ_is_escaped(logged):
    def app(environ, start_response):
        environ["REMOTE_ADDR"], environ["REMOTE_USER"], environ["x"] = "a\nb", "€\r", 5
        return hello(environ, start_response)

    assert logged("%(h)s %(u)s %({x}e)s", get(), app=app) == r"a\x0ab \xe2\x82\xac\x0d 5" + "\n"


# ---------------------------------------------------------------- how it is written


def test_many_lines_are_written_at_once(site, http):
    pages = Pages()
    server = site(hello, log=AccessLog(pages))
    client = http(server)
    client.send(get() * 300)
    for _ in range(300):
        assert client.response().status == 200
    server.stop(5)
    assert pages.text.count("\n") == 300 and len(pages.pieces) < 100


def test_a_line_is_written_soon_and_without_another_request(site, http, tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(str(path))
    client = http(site(hello, log=log))
    for count in (1, 2, 3):
        assert client.get().status == 200
        with gevlite.Timeout(PATIENCE):
            while path.read_text().count("\n") < count:
                gevlite.sleep(0.01)
    log.close()


def test_a_stop_writes_what_there_is(site, http, tmp_path):
    path = tmp_path / "access.log"
    server = site(hello, log=AccessLog(path))
    assert http(server).get().status == 200
    server.stop(5)
    assert path.read_text().count("\n") == 1


def test_a_pipe_that_nobody_reads_holds_up_nobody(site, http, capsys):
    reading, writing = os.pipe()
    log = AccessLog(writing)
    client = http(site(hello, log=log))
    agent = "x" * 4000
    request = get(f"User-Agent: {agent}")
    while not log.lost:
        client.send(request * 50)
        for _ in range(50):
            assert client.response().status == 200
    assert log.lost < 100
    os.set_blocking(reading, False)
    data = bytearray()
    with gevlite.Timeout(PATIENCE):
        while data.count(b"\n") < 500:
            try:
                data += os.read(reading, 1 << 20)
            except BlockingIOError:
                gevlite.sleep(0.001)
    assert all(ROW.fullmatch(line.decode() + "\n") for line in data.split(b"\n")[:500])
    os.close(reading)
    with gevlite.Timeout(PATIENCE):
        while "lines of the access log are lost" not in capsys.readouterr().err:
            assert client.get().status == 200
            gevlite.sleep(0.01)
    os.close(writing)


def test_lines_of_several_processes_in_one_pipe_stay_whole(tmp_path):
    program = (
        "import sys\nfrom gevlite.pywsgi import AccessLog\nlog = AccessLog(1)\n"
        "for i in range(300):\n    log.write(sys.argv[1] * 300 + '\\n')\nlog.flush()\n"
    )
    reading, writing = os.pipe()
    writers = [subprocess.Popen([sys.executable, "-c", program, name], stdout=writing) for name in "abc"]
    os.close(writing)
    with open(reading) as file:
        lines = file.read().split("\n")
    assert [writer.wait(PATIENCE) for writer in writers] == [0, 0, 0]
    assert sorted(set(lines)) == ["", "a" * 300, "b" * 300, "c" * 300] and len(lines) == 901


def test_a_full_disk_is_told_and_the_service_goes_on(site, http, capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    log = AccessLog("/dev/full")
    server = site(hello, log=log)
    assert http(server).get().status == 200
    log.flush()
    assert "the access log cannot be written: [Errno 28]" in capsys.readouterr().err
    assert log.lost == 1
    assert http(server).get().status == 200


def test_reopen_after_the_file_was_moved(tmp_path):
    path = tmp_path / "access.log"
    log = AccessLog(path)
    log.write("one\n")
    os.rename(path, tmp_path / "old.log")
    log.write("two\n")
    log.reopen()
    log.write("three\n")
    log.close()
    assert (tmp_path / "old.log").read_text() == "one\ntwo\n" and path.read_text() == "three\n"


def test_a_file_is_appended_to(tmp_path):
    path = tmp_path / "access.log"
    path.write_text("before\n")
    log = AccessLog(path)
    log.write("after\n")
    log.close()
    assert path.read_text() == "before\nafter\n"


def test_a_handler_with_a_log_of_its_own(site, http):
    pages, lines = Pages(), []

    class Handler(WSGIHandler):
        def log_request(self):
            lines.append(self.format_request())
            super().log_request()

    server = site(hello, log=AccessLog(pages, "%(s)s"), handler_class=Handler)
    assert http(server).get().status == 200
    server.stop(5)
    assert len(lines) == 1 and pages.text == "200\n"


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("format", ["%(x)s", "%(clock)s", "%({a}x)s", "%(h)", "%(", "a%(hs"])
def test_a_format_with_what_is_no_atom(format):
    with pytest.raises(ValueError, match="access log format"):
        AccessLog(Pages(), format)


@pytest.mark.parametrize("format", [None, 5, "", b"%(h)s"])
def test_what_is_no_format(format):
    with pytest.raises(TypeError, match="the format must be a str"):
        AccessLog(Pages(), format)


@pytest.mark.parametrize("target", [None, True, 1.5, object()])
def test_what_is_no_target(target):
    with pytest.raises(TypeError, match="target must be"):
        AccessLog(target)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        AccessLog(tmp_path / "no" / "file")
    with pytest.raises(OSError):
        AccessLog(987)


# ---------------------------------------------------------------- gevlite serve

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks at processes in /proc")


@needs_proc
def test_serve_logs_to_standard_output(serving):
    server = serving("-w", "1")
    server.get("/page")
    server.said(r'127\.0\.0\.1 - - \[.+\] "GET /page HTTP/1\.1" 200 \d+ "-" "-"\n')


@needs_proc
def test_serve_without_a_log(serving):
    server = serving("-w", "1", "--access-log", "none")
    server.get("/page")
    server.signal(signal.SIGTERM)
    server.wait()
    assert "/page" not in server.log()


@needs_proc
def test_serve_logs_to_a_file_that_usr1_opens_anew(serving, tmp_path):
    server = serving("-w", "2", "--access-log", "access.log", "--log-format", "json")
    server.get("/one")
    path = tmp_path / "access.log"
    until(lambda: "/one" in path.read_text(), "the line")
    path.rename(tmp_path / "old.log")
    server.signal(signal.SIGUSR1)
    until(path.exists, "the new file")
    while not (path.exists() and "/two" in path.read_text()):
        server.get("/two")
    assert {json.loads(line)["status"] for line in path.read_text().splitlines()} == {200}


@needs_proc
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--access-log", "no/such/folder/log"], "access_log no/such/folder/log: No such file or directory"),
        (["--log-format", "%(nonsense)s"], "access log format: there is no %(nonsense)s"),
    ],
)
def test_serve_says_what_is_wrong_with_the_log(serving, options, message):
    server = serving(*options, boots=False)
    assert server.wait() == 2
    assert server.log() == f"gevlite serve: {message}\n"


@pytest.mark.parametrize("colour", [True, False])
def test_serve_logs_in_colour_on_a_terminal(tmp_path, colour):
    (tmp_path / "site_app.py").write_text("def application(e, s):\n    s('404 Not Found', [])\n    return [b'{}']\n")
    ours, theirs = pty.openpty()
    environ = {**os.environ, "NO_COLOR": "" if colour else "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "gevlite", "serve", "-b", "127.0.0.1:0", "-w", "1", "site_app"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environ,
    )
    os.close(theirs)
    said = bytearray()

    def read():
        try:
            while data := os.read(ours, 4096):
                said.extend(data)
        except OSError:
            pass  # the terminal has gone

    reader = threading.Thread(target=read)
    reader.start()
    try:
        port = until(lambda: re.search(rb"http://127\.0\.0\.1:(\d+)", said), "the ready message")[1].decode()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=PATIENCE)
        line = until(lambda: re.search(rb"[^\n]*GET /page[^\n]*\n", said), "the line")[0]
        assert (b"\x1b[33m404\x1b[0m GET /page" in line) == colour
        assert bool(ROW.fullmatch(line.decode().replace("\r\n", "\n"))) == (not colour)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        reader.join()
        os.close(ours)
