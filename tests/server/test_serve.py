"""`python -m gevlite serve`: processes that come, go and are replaced, and no request is lost."""

import contextlib
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from processes import PATIENCE, alive, until
from serve_process import Crowd, Serve

pytest.importorskip("httptools")
pytestmark = [
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks at processes in /proc"),
    pytest.mark.timeout(180),
]


def reload_under_load(server, crowd):
    """A reload, until the last of the old workers has ended."""
    before = server.workers()
    server.signal(signal.SIGHUP)
    until(lambda: crowd.lost or not before & server.workers(), "the end of the old workers")
    crowd.wait_for_more()


# ---------------------------------------------------------------- start


def test_workers_are_patched_and_share_the_address(serving, tmp_path):
    (tmp_path / "patched.py").write_text(
        "from gevlite import monkey\n"
        "AT_IMPORT = monkey.is_module_patched('socket') and monkey.is_module_patched('threading')\n"
        "from site_app import application as site\n"
        "def application(environ, start_response):\n"
        "    environ['at_import'] = AT_IMPORT\n"
        "    return site(environ, start_response)\n"
    )
    server = serving("-w", "2", app="patched")
    seen = server.get("/a%20b?c=d").json
    assert seen["at_import"] == "True" and seen["PATH_INFO"] == "/a b"
    assert seen["wsgi.multiprocess"] == "True" and seen["wsgi.multithread"] == "True"
    assert len(server.workers()) == 2
    until(lambda: {server.pid() for _ in range(20)} == server.workers(), "an answer of each worker")


def test_one_worker_is_not_several_processes_to_the_application(serving):
    server = serving("-w", "1", app="site_app:factory()")
    assert server.get().json["wsgi.multiprocess"] == "False"


def test_each_worker_may_have_a_socket_of_its_own(serving):
    server = serving("-w", "2", "--reuse-port")
    until(lambda: {server.pid() for _ in range(20)} == server.workers(), "an answer of each worker")
    with Crowd(server.connect) as crowd:
        reload_under_load(server, crowd)
    assert not crowd.lost


@pytest.mark.parametrize(
    ("options", "app", "message"),
    [
        ([], "no_such_module:app", "there is no module 'no_such_module'"),
        ([], "site_app.inner:app", "there is no module 'site_app.inner'"),
        ([], "site_app:app", "site_app has no attribute 'app'"),
        ([], "site_app:nothing", "site_app:nothing is not a WSGI application but None"),
        ([], "site_app:nothing()", "site_app:nothing is not callable: it is None"),
        ([], "site_app:asynchronous", "site_app:asynchronous is an ASGI application"),
        ([], "site_app:factory(1)", "app must be like package.module:name"),
        (["--certfile", "missing.pem"], "site_app", "certfile missing.pem"),
        (["--keyfile", "missing.pem"], "site_app", "keyfile needs certfile"),
        (["--workers", "0"], "site_app", "workers must be a whole number, at least 1, not 0"),
        (["--bind", "127.0.0.1:99999"], "site_app", "127.0.0.1:99999"),
        (["--bind", "nowhere"], "site_app", "cannot parse the address 'nowhere'"),
        (["--bind", "fd://99"], "site_app", "descriptor 99 is not a socket"),
        (["--bind", "fd://0"], "site_app", "descriptor 0 is not a socket"),
        (["--bind", "unix:/nonexistent/socket"], "site_app", "cannot listen on unix:/nonexistent/socket: No such file"),
        (["--socket-owner", "nobody-of-this-name"], "site_app", "there is no such user or group"),
        (["--max-body", "-1"], "site_app", "max_body"),
        (["--time-slice", "1e-6"], "site_app", "time_slice must be a number of seconds, at least 0.001, or 0 for off"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, options, app, message):
    server = Serve(tmp_path, "-w", "2", *options, app=app, boots=False)
    try:
        assert server.wait() == 2
        assert message in server.log()
        assert len(server.log().splitlines()) == 1
    finally:
        server.kill()


def test_an_address_in_use_is_one_clear_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Serve(tmp_path, bind=address, boots=False)
        assert server.wait() == 2
    assert server.log() == f"gevlite serve: cannot listen on {address}: Address already in use\n"


def test_an_application_that_fails_at_import_is_shown_with_its_traceback(tmp_path):
    (tmp_path / "broken.py").write_text("def f():\n    1 / 0\nf()\n")
    server = Serve(tmp_path, "-w", "4", app="broken", boots=False)
    assert server.wait() == 2
    log = server.log()
    assert log.count("Traceback") == 1 and 'broken.py", line 3' in log and "ZeroDivisionError" in log
    assert "_worker.py" not in log and "importlib" not in log


def test_an_application_that_kills_its_process_at_import_ends_the_server(tmp_path):
    (tmp_path / "broken.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    server = Serve(tmp_path, app="broken", boots=False)
    assert server.wait() == 2
    assert "it was killed by SIGKILL before it was ready" in server.log()


# ---------------------------------------------------------------- stop


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_requests_finish(serving, signum):
    server = serving("-w", "2")
    busy = server.open()
    busy.http.request("GET", "/sleep/1")
    until(server.started, "the request")
    server.signal(signum)
    server.said("Stopping")
    assert busy.http.getresponse().status == 200
    assert server.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_a_stop_ends_what_takes_longer(serving):
    server = serving("-w", "1", "--graceful-timeout", "0.2")
    busy = server.open()
    busy.http.request("GET", "/sleep/3600")
    until(server.started, "the request")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert busy.is_closed()


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]], ids=["QUIT", "INT twice"])
def test_a_quick_stop(serving, signals):
    server = serving("-w", "2")
    busy = server.open()
    busy.http.request("GET", "/sleep/3600")
    until(server.started, "the request")
    for signum in signals:
        server.signal(signum)
        if signum == signal.SIGINT and not server.ended():
            server.said("Stopping")
    assert server.wait() == 0
    assert busy.is_closed()


def test_workers_end_when_the_supervisor_is_gone(serving):
    server = serving("-w", "2")
    workers = server.workers()
    server.signal(signal.SIGKILL)
    server.wait()
    until(lambda: not any(alive(pid) for pid in workers), "the end of the workers")


def test_what_the_application_registers_with_atexit_is_called(serving, tmp_path):
    (tmp_path / "leaving.py").write_text(
        "import atexit, threading, time\n"
        "from site_app import application\n"
        "atexit.register(print, 'the exit function', flush=True)\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('the thread', flush=True))).start()\n"
    )
    server = serving("-w", "1", app="leaving")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert re.search("the thread\n(.*\n)*the exit function\n", server.log())


# ---------------------------------------------------------------- workers that are replaced


def test_a_worker_that_dies_is_replaced(serving):
    server = serving("-w", "2")
    before = server.workers()
    with contextlib.suppress(ConnectionError, Exception):
        server.get("/die")
    server.said(r"Worker \d+ has ended: it ended with status 3")
    until(lambda: len(server.workers()) == 2 and server.workers() != before, "another worker")
    until(lambda: {server.pid() for _ in range(20)} == server.workers(), "an answer of each worker")


def test_a_worker_that_is_killed_is_replaced(serving):
    server = serving("-w", "1")
    first = server.pid()
    os.kill(first, signal.SIGKILL)
    assert server.pid() != first  # a client that connects meanwhile waits
    server.said("was killed by SIGKILL")


def test_a_worker_that_always_dies_is_replaced_less_and_less_often(serving, tmp_path):
    server = serving("-w", "1")
    (tmp_path / "site_app.py").write_text("import os\nopen('tries', 'a').write('x')\nos._exit(5)\n")
    os.kill(server.pid(), signal.SIGKILL)
    until(lambda: server.log().count("before it was ready") >= 3, "three failures")
    (tmp_path / "site_app.py").write_text("def application(e, s):\n    s('200 OK', [])\n    return [b'{\"pid\": 1}']\n")
    tries = len((tmp_path / "tries").read_text())
    assert server.pid() == 1
    assert tries < 10


def test_a_worker_that_hangs_is_replaced_and_says_what_it_was_doing(serving):
    server = serving("-w", "1", "--timeout", "4", env={"GEVLITE_TIME_SLICE": ""})  # with time slices, it does not hang
    first = server.pid()
    spinning = server.open()
    spinning.http.request("GET", "/spin")
    until(server.started, "the request")
    assert server.pid() != first
    server.said("hangs: no switch between greenlets for 4 seconds")
    server.said(r'site_app.py", line \d+ in application')


def test_with_time_slices_a_request_that_computes_lets_others_be_answered(serving):
    server = serving("-w", "1", "--time-slice", "0.01")
    first = server.pid()
    spinning = server.open()
    spinning.http.request("GET", "/spin")
    until(server.started, "the request")
    assert server.pid() == first


def test_workers_do_not_hang_because_the_supervisor_does(serving):
    server = serving("-w", "1", "--timeout", "5")
    first = server.pid()
    server.signal(signal.SIGSTOP)
    time.sleep(6)
    server.signal(signal.SIGCONT)
    time.sleep(0.5)
    assert server.pid() == first and "hangs" not in server.log()


def test_a_worker_that_cannot_be_understood_is_replaced(serving, tmp_path):
    (tmp_path / "site_app.py").write_text(
        "import json, os, socket, stat\n"
        "def application(environ, start_response):\n"
        "    if environ['PATH_INFO'] == '/nonsense':\n"
        "        for fd in range(3, 50):\n"
        "            try:\n"
        "                s = socket.socket(fileno=os.dup(fd))\n"
        "                if s.family == socket.AF_UNIX and s.type == socket.SOCK_STREAM:\n"
        "                    s.sendall(b'nonsense\\n[]\\n{}\\n')\n"
        "            except OSError:\n"
        "                pass\n"
        "    start_response('200 OK', [])\n"
        "    return [json.dumps({'pid': os.getpid()}).encode()]\n"
    )
    server = serving("-w", "1")
    first = server.get("/nonsense").json["pid"]
    server.said(f"Worker {first} sends invalid messages")
    until(lambda: server.pid() != first, "another worker")


def test_limits_of_the_environment_and_of_options(serving):
    server = serving(
        "-w",
        "1",
        "--max-header-bytes",
        "1000",
        env={"GEVLITE_MAX_HEADER_BYTES": "2000", "GEVLITE_MAX_REQUEST_LINE": "100"},
    )
    assert server.get("/", X=500 * "x").status == 200
    assert server.get("/", X=1500 * "x").status == 431
    assert server.get("/" + 100 * "x").status == 414


@pytest.mark.parametrize(("options", "status"), [([], 200), (["--strict"], 400)])
def test_strict(serving, options, status):
    server = serving("-w", "1", *options)
    with server.connect() as sock:
        sock.sendall(b'GET /"quoted" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n')
        assert sock.recv(100).startswith(b"HTTP/1.1 %d " % status)


def test_a_reload_before_the_first_start_loads_the_application_anew(tmp_path):
    (tmp_path / "site_app.py").write_text("import time\nopen('loading', 'w')\ntime.sleep(3600)\n")
    server = Serve(tmp_path, "-w", "2", boots=False)
    try:
        until((tmp_path / "loading").exists, "the application")
        (tmp_path / "site_app.py").write_text("def application(e, s):\n    s('200 OK', [])\n    return [b'{}']\n")
        server.signal(signal.SIGHUP)
        server.said("Serving site_app:application on")
    finally:
        server.kill()


def test_worker_kills_by_max_requests_lose_no_request(serving):
    server = serving("-w", "2", "--max-requests", "100")
    with Crowd(server.connect) as crowd:
        until(lambda: crowd.lost or server.log().count("it has served its requests") >= 10, "ten replaced workers")
        crowd.wait_for_more()
    assert not crowd.lost
    assert len(crowd.pids) >= 10


def test_max_requests_varies_by_the_jitter(serving):
    server = serving("-w", "1", "--max-requests", "1", "--max-requests-jitter", "3")
    counts = set()
    while len(counts) < 2:
        worker, count = None, 0
        while not server.log().count(f"Worker {worker} is replaced"):
            answer = server.get("/", Connection="close")
            worker, count = answer.json["pid"], count + 1
            until(lambda: count < 4 or f"Worker {worker} is replaced" in server.log(), "the end of it")  # noqa: B023
        counts.add(count)
        until(lambda: not alive(worker), "the end of the old worker")  # noqa: B023


def test_a_worker_with_too_much_memory_is_replaced(serving):
    server = serving("-w", "1", "--max-memory", "150m")
    first = server.get("/grow").json["pid"]
    server.said(r"is replaced: it uses \d+ MiB of memory")
    until(lambda: server.pid() != first, "another worker")
    until(lambda: not alive(first), "the end of the first")
    assert server.get().json["version"] == "one"


# ---------------------------------------------------------------- reload


def test_ten_reloads_lose_no_request(serving):
    server = serving("-w", "2")
    with Crowd(server.connect) as crowd:
        for _ in range(10):
            reload_under_load(server, crowd)
    assert not crowd.lost


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_reloads_behind_nginx_lose_no_request(serving, nginx, tmp_path, kind):
    server = serving("-w", "2", "--bind", f"unix:{tmp_path}/site.sock")
    proxy = nginx(f"127.0.0.1:{server.port}" if kind == "tcp" else f"unix:{tmp_path}/site.sock")
    with Crowd(proxy.connect) as crowd:
        for _ in range(10 if kind == "tcp" else 3):
            reload_under_load(server, crowd)
    assert not crowd.lost


def test_worker_kills_by_max_requests_behind_nginx_lose_no_request(serving, nginx):
    server = serving("-w", "2", "--max-requests", "100")
    with Crowd(nginx(f"127.0.0.1:{server.port}").connect) as crowd:
        until(lambda: crowd.lost or server.log().count("it has served its requests") >= 10, "ten replaced workers")
        crowd.wait_for_more()
    assert not crowd.lost


def begin_slow_reload(server, seconds):
    """Reload an application that takes this long to load; returns while it is loading."""
    source = f"import time\nopen('loading', 'w')\ntime.sleep({seconds})\n{server.application.read_text()}"
    server.application.write_text(source)
    server.signal(signal.SIGHUP)
    until((server.folder / "loading").exists, "the new application")


def test_a_reload_loads_the_application_anew(serving):
    server = serving("-w", "2")
    server.application.write_text(server.application.read_text().replace('"one"', '"two"'))
    assert server.get().json["version"] == "one"
    server.signal(signal.SIGHUP)
    server.said("Reloaded: 2 new workers serve")
    until(lambda: server.get().json["version"] == "two", "the new version")


def test_old_workers_serve_until_the_new_ones_are_ready(serving):
    server = serving("-w", "2")
    old = server.workers()
    begin_slow_reload(server, 2)
    assert {server.pid() for _ in range(10)} <= old
    server.said("Reloaded")
    until(lambda: not any(alive(pid) for pid in old), "the end of the old workers")
    assert server.get().status == 200


def test_a_request_outlives_the_reload(serving):
    server = serving("-w", "1")
    busy = server.open()
    busy.http.request("GET", "/sleep/2")
    old = until(server.started, "the request")[0]
    server.signal(signal.SIGHUP)
    server.said("Reloaded")
    until(lambda: server.pid() != old, "an answer of the new worker")
    response = busy.http.getresponse()
    assert response.status == 200 and f'"pid": {old}'.encode() in response.read()
    until(lambda: not alive(old), "the end of the old worker")


def test_if_the_new_application_fails_the_old_one_goes_on(serving):
    server = serving("-w", "2")
    old, source = server.workers(), server.application.read_text()
    server.application.write_text("1 / 0\n")
    server.signal(signal.SIGHUP)
    server.said("The reload failed, and the old workers continue")
    server.said("ZeroDivisionError")
    until(lambda: server.workers() == old, "the end of the new workers")
    assert server.get().json["version"] == "one"
    server.application.write_text(source.replace('"one"', '"two"'))
    server.signal(signal.SIGHUP)
    server.said("Reloaded")
    until(lambda: server.get().json["version"] == "two", "the new version")


def test_a_worker_that_dies_while_others_are_loaded_is_replaced(serving):
    server = serving("-w", "1")
    first = server.pid()
    begin_slow_reload(server, 3)
    os.kill(first, signal.SIGKILL)
    assert server.pid() != first
    server.said("Reloaded")


# ---------------------------------------------------------------- --reload


def test_a_changed_file_reloads(serving):
    server = serving("--reload")
    assert len(server.workers()) == 1
    server.application.write_text(server.application.read_text().replace('"one"', '"second"'))
    server.said("Changed: site_app.py")
    until(lambda: server.get().json["version"] == "second", "the new version")


def test_a_file_that_cannot_be_imported_is_waited_for(serving):
    server = serving("--reload")
    source = server.application.read_text()
    server.application.write_text("import helper\n" + source)
    server.said("No module named 'helper'")
    assert server.get().json["version"] == "one"
    (server.folder / "helper.py").write_text("broken(\n")
    server.application.write_text("import helper\n\n" + source.replace('"one"', '"second"'))
    server.said("SyntaxError")
    (server.folder / "helper.py").write_text("fine = 1\n")
    until(lambda: server.get().json["version"] == "second", "the new version")


def test_a_first_start_that_fails_waits_for_a_change(tmp_path):
    (tmp_path / "site_app.py").write_text("1 / 0\n")
    server = Serve(tmp_path, "--reload", boots=False)
    try:
        server.said("Waiting for a change")
        (tmp_path / "site_app.py").write_text("def application(e, s):\n    s('200 OK', [])\n    return [b'{}']\n")
        server.said("Serving site_app:application on")
    finally:
        server.kill()


# ---------------------------------------------------------------- where it listens


def unix_connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    return sock


def test_a_unix_socket_with_a_mode_and_an_owner(serving, tmp_path):
    path = tmp_path / "site.sock"
    server = serving("--socket-mode", "640", "--socket-owner", f"{os.getuid()}:{os.getgid()}", bind=f"unix:{path}")
    info = path.stat()
    assert stat.S_ISSOCK(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o640
    assert (info.st_uid, info.st_gid) == (os.getuid(), os.getgid())
    assert server.open(unix_connect(path)).get().json["REMOTE_ADDR"] == ""
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert not path.exists()


def test_the_mode_of_a_unix_socket_is_by_default_that_of_the_umask(serving, tmp_path):
    serving(bind=f"unix:{tmp_path}/site.sock", umask=0o027)
    assert stat.S_IMODE((tmp_path / "site.sock").stat().st_mode) == 0o640
    assert not list(tmp_path.glob("site.sock.*"))


def test_the_socket_file_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not(serving, tmp_path):
    path = tmp_path / "site.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = serving(bind=f"unix:{path}")
    second = subprocess.run(
        [sys.executable, "-m", "gevlite", "serve", "--bind", f"unix:{path}", "site_app"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert second.returncode == 2 and second.stderr.endswith("Address already in use\n")
    assert server.open(unix_connect(path)).get().status == 200


def test_several_addresses(serving, tmp_path):
    path = tmp_path / "site.sock"
    server = serving("--bind", f"unix:{path}", "-w", "1")
    assert server.get().json["pid"] == server.open(unix_connect(path)).get().json["pid"]


def test_an_inherited_descriptor(serving):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        server = serving(bind=f"fd://{fd}", pass_fds=[fd])
        assert server.port == listener.getsockname()[1]
        assert server.get().status == 200


# ---------------------------------------------------------------- overload


def test_requests_beyond_the_queue_are_refused_and_the_rest_wait(serving):
    server = serving("-w", "1", "--concurrency", "1", "--max-queued", "0")
    busy = server.open()
    busy.http.request("GET", "/sleep/3600")
    until(server.started, "the request")
    assert server.get().status == 503


def test_a_request_has_its_time(serving):
    server = serving("-w", "1", "--request-timeout", "1.5")
    assert server.get("/sleep/3600").status == 503
    server.said("Timeout: 1.5 seconds")
    assert server.get().status == 200


def test_more_connections_than_there_may_be(serving):
    server = serving("-w", "1", "--connections", "3")
    first = server.open()
    assert first.get().status == 200
    for _ in range(5):
        assert server.get().status == 200
    assert first.is_closed()  # it has waited for the longest


def test_a_worker_may_have_as_many_descriptors_as_connections_need(serving, tmp_path):
    (tmp_path / "site_app.py").write_text(
        "import json, resource\n"
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [json.dumps({'pid': resource.getrlimit(resource.RLIMIT_NOFILE)}).encode()]\n"
    )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    server = serving(
        "-w", "1", "--connections", "2000", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (300, limit))
    )
    assert server.pid()[0] == (2512 if limit == resource.RLIM_INFINITY else min(2512, limit))


# ---------------------------------------------------------------- the status page


def test_the_status_page_shows_a_worker(serving):
    server = serving("-w", "2", "--status-path", "/-/status")
    connection = server.open()
    worker = connection.get().json["pid"]
    assert f"PID {worker}:" in connection.get("/-/status").text
    assert f'gevlite_build_info{{pid="{worker}",' in connection.get("/-/status/metrics").text
    assert connection.get("/-/status", X_Forwarded_For="127.0.0.1").status == 403
    assert serving().get("/-/status").json["PATH_INFO"] == "/-/status"


def test_a_bad_status_path_is_an_error_at_the_start(serving):
    server = serving("--status-path", "status", boots=False)
    assert server.wait() == 2
    assert "status_path must be a path such as '/-/status'" in server.log()
