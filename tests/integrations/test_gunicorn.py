"""The gunicorn worker, in real gunicorns."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from processes import PATIENCE, WebServer, alive, until

gunicorn = pytest.importorskip("gunicorn")
pytest.importorskip("gunicorn.config")

pytestmark = pytest.mark.timeout(180)

WORKER = "gevlite.integrations.gunicorn.GevliteWorker"

APPLICATION = """
import concurrent.futures, json, os, queue, socket, ssl, threading, time
import requests
from wsgiref.validate import validator
from gevlite import monkey

AT_IMPORT = monkey.is_module_patched("socket") and monkey.is_module_patched("time")
VERSION = "one"
CONTEXT = ssl.create_default_context()
LOCK = (threading.Lock(),)
VISITOR = threading.local()
JOBS = queue.SimpleQueue()
POOL = concurrent.futures.ThreadPoolExecutor(2)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/sleep/"):
        with open(f"started-{os.getpid()}", "a") as file:
            file.write("x")
        time.sleep(float(path.removeprefix("/sleep/")))
    elif path == "/spin":
        while True:
            pass
    elif path == "/block":
        while not os.path.exists("told"):
            pass
    elif path == "/boom":
        raise ValueError("a secret")
    elif path == "/raw":
        environ["gunicorn.socket"].sendall(b"HTTP/1.1 101 Switching Protocols\\r\\n\\r\\nspoken by hand")
        raise StopIteration()
    elif path == "/made-before":
        VISITOR.name = name = object()
        time.sleep(0.02)
        POOL.submit(lambda: (time.sleep(0.01), JOBS.put(1))).result(20)
        JOBS.get(timeout=20)
        assert VISITOR.name is name
        with LOCK[0]:
            CONTEXT.minimum_version = ssl.TLSVersion.TLSv1_3
            ssl.create_default_context().minimum_version = ssl.TLSVersion.TLSv1_3
            assert requests.get(f"http://127.0.0.1:{environ['SERVER_PORT']}/").status_code == 200
    elif path == "/file":
        with open("file", "w") as file:
            file.write('{"file": true}')
        wrapper = environ["wsgi.file_wrapper"]
        start_response("200 OK", [("X-Wrapper", wrapper.__module__)])
        return wrapper(open("file", "rb"))
    elif path == "/errors":
        environ["wsgi.errors"].write("for the error log\\n")
    answer = {"pid": os.getpid(), "at_import": AT_IMPORT, "version": VERSION}
    answer |= {name: str(value) for name, value in environ.items()}
    answer["body"] = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    data = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]

validated = validator(application)

if os.environ.get("LOADING"):
    with open("loading", "w"):
        pass
    time.sleep(1)
"""


class Master(WebServer):
    """A running gunicorn."""

    def __init__(
        self, folder, *options, application="application", config="", bind="127.0.0.1:0", env=None, boots=True
    ):
        (folder / "site_app.py").write_text(APPLICATION)
        (folder / "conf.py").write_text(config)
        command = [sys.executable, "-m", "gunicorn", "-k", WORKER, "-c", "conf.py", "-b", bind, "--capture-output"]
        # gunicorn's control socket is put in the home directory.
        environment = {**os.environ, "HOME": str(folder), **(env or {})}
        super().__init__(folder, [*command, *options, f"site_app:{application}"], env=environment)
        if boots:
            self.serves(r"Listening at: (?:https?://[\d.]+:(\d+)|unix)")
            until(lambda: self.ended() or "Booting worker" in self.log(), "a worker")


@pytest.fixture
def master(tmp_path):
    """`master(*options, ...)`: a new gunicorn, stopped after the test."""
    running = []

    def start(*options, **kwargs):
        running.append(Master(tmp_path, *options, **kwargs))
        return running[-1]

    yield start
    for one in running:
        one.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One gunicorn for all tests that do not change it."""
    running = Master(
        tmp_path_factory.mktemp("gunicorn"), "--access-logfile", "-", "--access-logformat",
        "%(h)s|%(r)s|%(s)s|%(b)s|%({x-in}i)s|%({content-type}o)s|%(M)s|", "--limit-request-fields", "20",
        application="validated",
    )  # fmt: skip
    yield running
    running.kill()


@pytest.fixture
def background():
    with ThreadPoolExecutor() as pool:
        yield pool.submit


# ---------------------------------------------------------------- what an application gets


def test_environ(shared):
    connection = shared.open()
    seen = connection.get("/a%20b?c=d", body="abc").json
    assert seen["PATH_INFO"] == "/a b" and seen["RAW_URI"] == "/a%20b?c=d" and seen["body"] == "abc"
    assert seen["wsgi.multiprocess"] == "False" and seen["wsgi.multithread"] == "True"
    assert seen["wsgi.url_scheme"] == "http" and seen["wsgi.input_terminated"] == "True"
    assert re.fullmatch(r"gevlite/\S+ gunicorn/\S+", seen["SERVER_SOFTWARE"])
    assert seen["SERVER_PORT"] == str(shared.port)
    assert "gevlite.socket.socket" in seen["gunicorn.socket"]
    assert connection.get("/again").json["RAW_URI"] == "/again"


def test_the_process_is_patched_before_the_application_is_imported(shared):
    assert shared.get().json["at_import"] is True


def test_requests_run_at_the_same_time(shared, background):
    began = time.monotonic()
    asked = [background(shared.get, "/sleep/0.5") for _ in range(10)]
    assert {one.result().status for one in asked} == {200}
    assert time.monotonic() - began < 4


def test_with_time_slices_a_request_that_computes_stops_no_others(master, background, tmp_path):
    running = master("--env", "GEVLITE_TIME_SLICE=0.01")
    computes = background(running.get, "/block")
    for _ in range(5):
        assert running.get("/").status == 200
    assert not computes.done()
    (tmp_path / "told").write_text("")
    assert computes.result().status == 200


def test_an_error_is_logged_and_says_nothing_to_the_client(shared):
    response = shared.get("/boom?q")
    assert response.status == 500 and b"secret" not in response.json
    shared.said(r"Error handling request GET /boom\?q\nTraceback[^\[]*ValueError: a secret")


def test_wsgi_errors_is_gunicorns_error_log(shared):
    assert shared.get("/errors").status == 200
    shared.said("for the error log")


def test_a_proxy_says_which_scheme_it_was_asked_by(shared):
    assert shared.get(X_Forwarded_Proto="https").json["wsgi.url_scheme"] == "https"
    assert shared.get(X_Forwarded_Proto="http").json["wsgi.url_scheme"] == "http"
    response = shared.get(X_Forwarded_Proto="http", X_Forwarded_Ssl="on")
    assert response.status == 400 and response.getheader("Connection") == "close"


@pytest.mark.parametrize(
    ("allowed", "address", "trusted"),
    [
        ("127.0.0.1,::1", "127.0.0.1", True),
        ("127.0.0.1, ::1", "::1", True),
        (["127.0.0.1"], "127.0.0.2", False),
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], "fe80::1%eth0", False),
        (["*"], "192.0.2.1", True),
        ([], "", True),
        ([], "no address", False),
    ],
)
def test_who_is_a_proxy(allowed, address, trusted):
    from gevlite.integrations.gunicorn import _addresses, _is_in

    assert _is_in(_addresses(allowed), address) is trusted


def test_limits(shared):
    assert shared.get(**{f"X_{n}": "y" for n in range(30)}).status == 431


def ask(running, head, *body):
    """The status of the answer, None if there is none yet."""
    with running.connect() as sock:
        sock.sendall(head.replace(b"\n", b"\r\n") + b"\r\n")
        sock.settimeout(body[0] if body else PATIENCE)
        try:
            return int(sock.recv(12).split()[1])
        except TimeoutError:
            return None


POST = b"POST / HTTP/1.1\nHost: h\nContent-Length: %d\n"


def test_a_body_has_no_limit_unless_one_is_set(shared):
    assert ask(shared, POST % (1 << 31), 0.3) is None


def test_limits_of_heads(master):
    running = master("--limit-request-line", "50", "--limit-request-field_size", "100", "--limit-request-fields", "4")
    line, field = b"GET /%b HTTP/1.1\nHost: h\n", b"X: %b\n"
    assert ask(running, line % (b"x" * 36)) == 200
    assert ask(running, line % (b"x" * 37)) == 414
    assert ask(running, line % b"" + field % (b"x" * 95)) == 200
    assert ask(running, line % b"" + field % (b"x" * 96)) == 431
    assert ask(running, line % b"" + 3 * field % (b"", b"", b"")) == 200
    assert ask(running, line % b"" + 4 * field % (b"", b"", b"", b"")) == 431


@pytest.mark.parametrize("where", ["environment", "config"])
def test_limits_that_gunicorn_has_no_setting_for(master, where):
    limits = {"GEVLITE_MAX_BODY": "1k", "GEVLITE_HEADER_TIMEOUT": "1.5", "GEVLITE_BODY_TIMEOUT": "0.3"}
    if where == "environment":
        running = master(env=limits)
    else:
        running = master(config=f"raw_env = {[f'{name}={value}' for name, value in limits.items()]}")
    assert ask(running, POST % 1025) == 413
    assert ask(running, POST % 1000) == 408  # the body does not come
    with running.connect() as sock:
        sock.sendall(b"GET")
        assert sock.recv(12) == b"HTTP/1.1 408"


@pytest.mark.parametrize(("name", "text"), [("WRITE_TIMEOUT", "soon"), ("STRICT", "very")])
def test_a_limit_that_makes_no_sense_is_an_error(master, name, text):
    running = master(env={f"GEVLITE_{name}": text}, boots=False)
    assert running.wait() == 3
    running.said(f"GEVLITE_{name} cannot be '{text}'")


def test_strict(master, shared):
    assert ask(shared, b"BREW / HTTP/1.1\nHost: h\n") == 200
    assert ask(master(env={"GEVLITE_STRICT": "1"}), b"BREW / HTTP/1.1\nHost: h\n") == 501


@pytest.mark.parametrize("options", [(), ("--no-sendfile",)], ids=["sendfile", "read"])
def test_files(master, options):
    running = master(*options)
    response = running.open().get("/file")
    assert response.json == {"file": True}
    assert response.getheader("X-Wrapper").startswith("gunicorn." if options else "gevlite.")


def test_the_socket_of_a_request_that_speaks_by_hand(shared):
    with shared.connect() as sock:
        sock.sendall(b"GET /raw HTTP/1.1\r\nHost: h\r\n\r\n")
        data = b""
        while piece := sock.recv(1000):
            data += piece
    assert data.endswith(b"\r\n\r\nspoken by hand")
    assert "/raw\nTraceback" not in shared.log()


# ---------------------------------------------------------------- logs and hooks


def test_access_log(shared):
    response = shared.get("/logged", X_In="asked")
    length = response.getheader("Content-Length")
    shared.said(rf"127\.0\.0\.1\|GET /logged HTTP/1\.1\|200\|{length}\|asked\|application/json\|\d+\|")
    assert shared.get("/sleep/0.2").status == 200
    took = shared.said(r"GET /sleep/0.2 HTTP/1\.1\|200\|\d+\|-\|application/json\|(\d+)\|")
    assert int(took[1]) >= 190


def test_what_is_no_request_is_logged(shared):
    with shared.connect() as sock:
        sock.sendall(b"NONSENSE\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 400 ")
    shared.said(r"\[WARNING\] Invalid request from ip=127\.0\.0\.1: 400 Bad Request")


def test_no_access_log(master):
    running = master()
    assert running.get("/quiet").status == 200
    running.kill()
    assert "/quiet" not in running.log()


def test_statsd(master):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(PATIENCE)
        running = master("--statsd-host", f"127.0.0.1:{statsd.getsockname()[1]}")
        assert running.get().status == 200
        seen = b""
        while b"gunicorn.request.status.200:1|c" not in seen:
            seen += statsd.recv(1000) + b"\n"
        assert re.search(rb"gunicorn\.request\.duration:[\d.]+\|ms", seen)


HOOKS = """
def pre_request(worker, req):
    worker.log.info("before %s %s %s", req.method, req.uri, dict(req.headers)["X-IN"])

def post_request(worker, req, environ, resp):
    worker.log.info("after %s %s %s %s", req.path, environ["RAW_URI"], resp.status, resp.sent)
    if req.path == "/bad":
        raise ValueError("in a hook")
"""


def test_hooks(master):
    running = master(config=HOOKS)
    response = running.get("/a?b", X_In="c")
    running.said(r"before GET /a\?b c")
    running.said(rf"after /a /a\?b 200 OK {response.getheader('Content-Length')}")
    assert running.get("/bad", X_In="c").status == 200
    running.said("The hook post_request failed")


def test_usr1_opens_the_logs_again(master, tmp_path):
    log = tmp_path / "access"
    running = master("--access-logfile", str(log))
    pid = running.get("/first").json["pid"]
    until(lambda: "/first" in log.read_text())
    log.rename(tmp_path / "moved")
    os.kill(pid, signal.SIGUSR1)
    until(log.exists)
    assert running.get("/second").status == 200
    until(lambda: "/second" in log.read_text())


# ---------------------------------------------------------------- listeners


def test_unix_socket(master, tmp_path):
    running = master(bind=f"unix:{tmp_path}/sock")

    def connect():
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(f"{tmp_path}/sock")
        return sock

    seen = running.open(connect()).get(X_Forwarded_Proto="https").json
    assert seen["REMOTE_ADDR"] == "" and seen["wsgi.url_scheme"] == "https"


def test_several_addresses(master, tmp_path):
    running = master("-b", f"unix:{tmp_path}/other")
    assert running.get().status == 200
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{tmp_path}/other")
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert sock.recv(15) == b"HTTP/1.1 200 OK"


CONTEXT = """
def ssl_context(conf, default_ssl_context_factory):
    import ssl
    context = default_ssl_context_factory()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
"""


@pytest.mark.parametrize("config", ["", CONTEXT], ids=["files", "hook"])
def test_tls(master, certificates, config):
    running = master("--certfile", certificates.server, "--keyfile", certificates.server, config=config)
    context = ssl.create_default_context(cafile=certificates.ca)

    def connect():
        return context.wrap_socket(running.connect(), server_hostname="localhost")

    connection = running.open(connect())
    assert connection.get("/secret").json["wsgi.url_scheme"] == "https"
    assert connection.get(body="x" * 100_000).json["body"] == "x" * 100_000
    if config:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect()


def test_several_workers(master):
    running = master("-w", "2")
    first = running.get().json
    assert first["wsgi.multiprocess"] == "True"
    # Either worker may take a request: ask until the other one has.
    until(lambda: running.get().json["pid"] != first["pid"], "the other worker")


PATCHED = """
from gevlite import monkey

monkey.patch_all()
preload_app = True
"""


@pytest.mark.parametrize("config", ["preload_app = True", PATCHED], ids=["plain", "patched"])
def test_preload(master, config):
    running = master("-w", "2", application="validated", config=config)
    before = running.get().json
    assert before["at_import"] is (config == PATCHED)
    with ThreadPoolExecutor() as pool:
        assert {one.status for one in pool.map(running.get, ["/sleep/0.3", "/made-before"] * 5)} == {200}
    # The master works even if it is patched itself.
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: not alive(before["pid"]))
    until(lambda: running.log().count("Booting worker") == 3, "a worker in its place")
    assert running.get().status == 200
    running.signal(signal.SIGHUP)
    until(lambda: running.log().count("Booting worker") >= 5, "new workers")
    assert running.get().status == 200
    running.signal(signal.SIGTERM)
    assert running.wait() == 0


@pytest.mark.parametrize("strict", [False, True], ids=["warns", "refuses"])
def test_what_the_application_took_before_the_worker_patched_is_in_the_log(master, tmp_path, strict):
    (tmp_path / "early.py").write_text("from time import sleep")
    environment = {"GEVLITE_MONKEY_STRICT": str(int(strict))}
    running = master("-w", "1", config="import early\npreload_app = True", env=environment)
    if strict:
        running.said(r"MonkeyPatchError: nothing was patched.*early.sleep \(time.sleep\)")
        assert running.wait() != 0
    else:
        running.said(r"\[WARNING\] MonkeyPatchWarning: patched too late .*early.sleep \(time.sleep\)")
        assert running.get().status == 200


def test_script_name(master):
    running = master(env={"SCRIPT_NAME": "/mounted"})
    seen = running.get("/mounted/page").json
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"], seen["RAW_URI"]) == ("/mounted", "/page", "/mounted/page")
    assert running.get("/page").status == 500


def test_script_name_of_a_proxy(master):
    running = master("--forwarder-headers", "SCRIPT_NAME,PATH_INFO,REMOTE_USER")

    def seen(*lines):
        with running.connect() as sock:
            lines = ("GET /mounted/page HTTP/1.1", "Host: h", "Connection: close", *lines, "", "")
            sock.sendall("\r\n".join(lines).encode())
            data = sock.makefile("rb").read()
        return json.loads(data.partition(b"\r\n\r\n")[2]) if data.startswith(b"HTTP/1.1 200 ") else data[9:12]

    environ = seen("SCRIPT_NAME: /mounted", "PATH_INFO: /x", "X_Other: y")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/mounted", "/page")
    assert environ["HTTP_PATH_INFO"] == "/x" and "HTTP_X_OTHER" not in environ and "gevlite.forwarded" not in environ
    assert seen("script_name: /mounted")["SCRIPT_NAME"] == "/mounted"
    # A field from the client itself, which a proxy passes on.
    assert seen("Script-Name: /mounted")["SCRIPT_NAME"] == ""
    for lines in (["REMOTE_USER: me", "Remote-User: root"], ["Remote-User: root", "REMOTE_USER: me"]):
        assert seen(*lines)["HTTP_REMOTE_USER"] == "me"
    assert seen("SCRIPT_NAME: /elsewhere") == b"500"


def test_script_name_of_somebody_else_is_ignored(master):
    running = master("--forwarded-allow-ips", "192.0.2.1")
    assert ask(running, b"GET / HTTP/1.1\nHost: h\nSCRIPT_NAME: /elsewhere\n") == 200


@pytest.mark.parametrize(
    ("setting", "name", "status", "value"),
    [
        ("refuse", "X_A", 400, None),
        ("refuse", "SCRIPT_NAME", 200, None),
        ("dangerous", "X_A", 200, "1,2"),
        ("drop", "X_A", 200, "1"),
    ],
)
def test_header_map(master, setting, name, status, value):
    running = master("--header-map", setting)
    assert ask(running, b"GET / HTTP/1.1\nHost: h\n" + name.encode() + b": /\n") == status
    if value:
        connection = running.open()
        connection.http.putrequest("GET", "/")
        connection.http.putheader("X-A", "1")
        connection.http.putheader("X_A", "2")
        connection.http.endheaders()
        assert json.loads(connection.http.getresponse().read())["HTTP_X_A"] == value


# ---------------------------------------------------------------- life


def refuses(running):
    try:
        running.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def test_term_lets_requests_finish_and_closes_idle_connections(master, background):
    running = master()
    idle, kept = running.open(), running.open()
    assert idle.get().status == kept.get().status == 200
    asked = background(running.get, "/sleep/3")
    (pid,) = until(running.started)
    running.signal(signal.SIGTERM)
    until(lambda: refuses(running), "the end of the listener")
    assert kept.get().getheader("Connection") == "close"
    assert idle.is_closed()
    response = asked.result()
    assert response.status == 200 and response.getheader("Connection") == "close"
    assert running.wait() == 0
    assert not alive(pid)
    with pytest.raises(ConnectionRefusedError):
        running.connect()


def test_term_has_an_end(master, background):
    running = master("--graceful-timeout", "3")
    connection = running.open()
    asked = background(connection.get, "/sleep/1000")
    until(running.started)
    running.signal(signal.SIGTERM)
    assert running.wait() == 0
    assert isinstance(asked.exception(), (http.client.HTTPException, ConnectionError))
    running.said(r"longer than graceful_timeout were ended \(pid:\d+\)")


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT"])
def test_int_and_quit_end_at_once(master, background, name):
    running = master()
    connection = running.open()
    asked = background(connection.get, "/sleep/1000")
    (pid,) = until(running.started)
    running.signal(getattr(signal, name))
    assert isinstance(asked.exception(PATIENCE), (http.client.HTTPException, ConnectionError))
    assert running.wait() == 0
    assert not alive(pid)


def test_hup_loads_the_application_again_and_loses_no_request(master, background):
    running = master("-w", "2")
    asked = background(running.get, "/sleep/1")
    until(running.started)
    old = running.get().json["pid"]
    path = running.folder / "site_app.py"
    path.write_text(APPLICATION.replace('"one"', '"two"'))
    # gunicorn's workers import from the file; Python goes by its time and size.
    os.utime(path, (time.time() + 10, time.time() + 10))
    running.signal(signal.SIGHUP)
    statuses = []

    def is_new():
        response = running.get()
        statuses.append(response.status)
        return response.json["version"] == "two"

    until(is_new, "the new version")
    assert set(statuses) == {200}
    assert asked.result().json["version"] == "one"
    until(lambda: not alive(old), "the end of the old worker")
    assert running.get().json["version"] == "two"


class Load:
    """Clients that send one request after the other and keep their connections, as proxies do."""

    def __init__(self, running, clients=8):
        self.running = running
        self.answered = 0
        self.lost = []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        until(lambda: self.answered > 100, "some answers")
        return self

    def __exit__(self, *exc_info):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def ask(self):
        connection = None
        while not self.done.is_set():
            connection = connection or self.running.open()
            try:
                response = connection.get()
            except (OSError, http.client.HTTPException) as exc:
                self.lost.append(repr(exc))
                connection = None
                continue
            self.answered += 1
            if response.status != 200:
                self.lost.append(response.status)
            if response.getheader("Connection") == "close":
                connection = None


def test_hup_loses_no_request_on_kept_connections(master):
    running = master("-w", "2")
    with Load(running) as load:
        for booted in (4, 6):
            running.signal(signal.SIGHUP)
            until(lambda booted=booted: running.log().count("Booting worker") == booted, "new workers")
            before = load.answered
            until(lambda before=before: load.answered > before + 500, "answers")
        until(lambda: running.log().count("Worker exiting") >= 4, "the end of the old ones")
    assert load.lost == []


def test_max_requests_loses_no_request_on_kept_connections(master):
    running = master("-w", "2", "--max-requests", "100", "--max-requests-jitter", "100")
    with Load(running) as load:
        until(lambda: running.log().count("Booting worker") >= 12, "new workers")
    assert load.lost == []


def test_term_while_the_application_is_loaded(master):
    running = master(env={"LOADING": "1"})
    until(lambda: (running.folder / "loading").exists())
    running.signal(signal.SIGTERM)
    assert running.wait() == 0


def test_max_requests(master):
    running = master("--max-requests", "5")
    pids = [running.get().json["pid"] for _ in range(12)]
    assert len(set(pids)) >= 2 and max(map(pids.count, pids)) <= 5 + 1
    connection = running.open()
    while (response := connection.get()).getheader("Connection") != "close":
        assert response.status == 200
    assert connection.is_closed()


# With time slices, nothing does that here.
NO_SLICES = {"GEVLITE_TIME_SLICE": ""}


def test_who_keeps_others_from_running_is_replaced(master, background):
    running = master("--timeout", "1", env=NO_SLICES)
    pid = running.get().json["pid"]
    connection = running.open()
    spinning = background(connection.get, "/spin")
    running.said(r"WORKER TIMEOUT")
    # First what it was doing, then its end.
    running.said(r"Error handling request GET /spin\nTraceback")
    assert spinning.exception() or spinning.result().status == 500
    until(lambda: not alive(pid))
    assert running.get().json["pid"] != pid


def test_who_keeps_others_from_running_is_in_the_error_log(master, background):
    running = master(env=NO_SLICES)
    blocking = background(running.open().get, "/block")
    running.said(r"\[WARNING\] application \(site_app\.py:\d+\) has run for \d+\.\d s; \d+ others? waits?\nStack")
    (running.folder / "told").touch()
    assert blocking.result().status == 200 and running.get().status == 200


def test_the_watch_can_be_turned_off_and_a_bad_value_is_an_error(master):
    with_error = master(env={"GEVLITE_WATCH": "soon"}, boots=False)
    with_error.said("GEVLITE_WATCH must be a number of seconds, at least 0.01, or 0 for off, not 'soon'")
    with_error.kill()
    off = master(env={"GEVLITE_WATCH": "0", **NO_SLICES})  # those have a ticker, too
    pid = off.get().json["pid"]
    assert "gevlite-ticker" not in [name.read_text().strip() for name in Path(f"/proc/{pid}/task").glob("*/comm")]


def test_a_slow_request_is_no_reason_to_kill(master):
    running = master("--timeout", "1")
    assert running.get("/sleep/2.5").status == 200
    assert "WORKER TIMEOUT" not in running.log()


def test_a_worker_without_a_master_ends(master):
    running = master()
    pid = running.get().json["pid"]
    running.process.kill()
    running.wait()
    until(lambda: not alive(pid), "the end of the worker")


def test_without_keepalive_each_connection_has_one_request(master):
    running = master("--keep-alive", "0")
    connection = running.open()
    assert connection.get().getheader("Connection") == "close"
    assert connection.is_closed()


def test_worker_connections_are_the_most_requests_at_a_time(master, background):
    running = master("--worker-connections", "2")
    kept = [running.open() for _ in range(3)]
    assert [one.get().status for one in kept] == [200] * 3
    silent = [running.connect() for _ in range(5)]  # neither takes a place
    silent[0].sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX: ")
    asked = [background(one.get, "/sleep/4") for one in kept[:2]]
    (pid,) = until(running.started)
    until(lambda: (running.folder / f"started-{pid}").stat().st_size == 2, "both requests")
    with running.connect() as third:
        third.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        third.settimeout(PATIENCE)
        # Only when one of them is done; its client, a thread here, may see that a little later.
        assert third.recv(15) == b"HTTP/1.1 200 OK"
        time.sleep(1)
        assert any(one.done() for one in asked)
    assert [one.result().status for one in asked] == [200] * 2
    for sock in silent:
        sock.close()


def test_whose_head_is_slow_keeps_nobody_out(master):
    running = master("--worker-connections", "10")
    slow = [running.connect() for _ in range(100)]
    for sock in slow:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nX: ")
    assert [running.get().status for _ in range(20)] == [200] * 20
    for sock in slow:
        sock.close()


PROXY_LINE = b"PROXY TCP4 192.0.2.1 10.0.0.1 5678 80\r\n"
# The same in version 2, and that the client speaks TLS with the proxy.
PROXY_BLOCK = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + bytes.fromhex("0014 c0000201 0a000001 162e 0050 20 0005 01 00000000")


def proxied(running, header):
    """A connection of a proxy."""
    sock = running.connect()
    sock.sendall(header)
    return running.open(sock)


def test_the_proxy_protocol(master):
    running = master("--forwarded-allow-ips", "192.0.2.1", config="proxy_protocol = True")
    connection = proxied(running, PROXY_LINE)
    for _ in range(2):
        environ = connection.get().json
        assert environ["REMOTE_ADDR"] == "192.0.2.1" and environ["REMOTE_PORT"] == "5678"
        assert (environ["PROXY_PROTOCOL"], environ["PROXY_ADDR"], environ["PROXY_PORT"]) == ("TCP4", "10.0.0.1", "80")
        assert environ["wsgi.url_scheme"] == "http"
    assert proxied(running, PROXY_BLOCK).get().json["wsgi.url_scheme"] == "https"
    # Headers count if the client that the proxy has named is trusted.
    assert connection.get(X_Forwarded_Proto="https").json["wsgi.url_scheme"] == "https"
    environ = running.get(X_Forwarded_Proto="https").json
    assert environ["REMOTE_ADDR"] == "127.0.0.1" and environ["wsgi.url_scheme"] == "http"
    assert "PROXY_ADDR" not in environ
    broken = proxied(running, b"PROXY TCP4 nonsense\r\n")
    assert broken.is_closed()
    running.said("not a header of the PROXY protocol")


def test_only_the_version_that_is_asked_for(master):
    if not isinstance(gunicorn.config.ProxyProtocol.default, str):
        pytest.skip("this gunicorn has no versions there")
    running = master("--proxy-protocol", "v2")
    assert proxied(running, PROXY_BLOCK).get().json["REMOTE_ADDR"] == "192.0.2.1"
    assert proxied(running, PROXY_LINE).get().status == 400


def test_who_may_not_send_the_proxy_protocol(master):
    running = master("--proxy-allow-from", "192.0.2.9", config="proxy_protocol = True")
    assert proxied(running, PROXY_LINE).get().status == 400
    assert running.get().status == 200


def test_what_cannot_be_heeded_is_an_error(master):
    running = master(config="protocol = 'uwsgi'", boots=False)
    assert running.wait() == 3
    running.said("GevliteWorker does not speak uwsgi")


# ---------------------------------------------------------------- the status page

STATUS = {"GEVLITE_STATUS_PATH": "/-/status"}


def test_the_status_page_shows_a_worker(master):
    running = master("-w", "2", env=STATUS)
    connection = running.open()
    worker = connection.get().json["pid"]
    answer = connection.get("/-/status")
    assert answer.status == 200 and f"PID {worker}:" in answer.text
    assert "requests: 1 2xx" in answer.text
    text = connection.get("/-/status/metrics").text
    # The page is an answer, too. The label shows of which worker.
    assert re.search(rf'gevlite_server_requests_total{{pid="{worker}",server="[^"]+",status="2xx"}} 2.0', text)
    assert connection.get().json["PATH_INFO"] == "/"


def test_the_status_page_is_not_for_whom_a_proxy_speaks_for(master):
    running = master(env=STATUS, config="proxy_protocol = True")
    assert running.get("/-/status").status == 200
    assert running.get("/-/status", X_Forwarded_For="127.0.0.1").status == 403
    assert proxied(running, PROXY_LINE).get("/-/status").status == 403
    assert running.get("/-/status/metrics", Forwarded="for=127.0.0.1").status == 403


def test_without_the_setting_the_application_has_all_paths(master):
    assert master().get("/-/status").json["PATH_INFO"] == "/-/status"


@pytest.mark.parametrize("bad", ["status", "/", "/-/status/", "/a b"])
def test_a_bad_status_path_is_an_error_at_the_start(master, bad):
    running = master(env={"GEVLITE_STATUS_PATH": bad}, boots=False)
    until(running.ended, "the end of gunicorn")
    running.said("GEVLITE_STATUS_PATH must be a path")
