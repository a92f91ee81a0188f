"""What an installed gevlite must be able to do where nothing else is installed: run by the tools that build wheels.

Needs nothing but gevlite, and no compiler. It prints a line for each part, and ends with 0 if all of them work.
"""

import importlib
import pkgutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gevlite
from gevlite import monkey

EXTRAS = {"httptools", "websockets", "dns", "pycares", "gunicorn", "celery", "billiard", "pytest"}


def modules():
    """Every module imports; one that lacks an extra says so with the extra's name."""
    count = 0
    for info in pkgutil.walk_packages(gevlite.__path__, "gevlite."):
        if info.name.endswith("__main__") or "._startup" in info.name:
            continue
        try:
            importlib.import_module(info.name)
        except ImportError as exc:
            if info.name != "gevlite.backends.kqueue" and (exc.name or "").partition(".")[0] not in EXTRAS:
                raise
        count += 1
    assert count > 50, count
    compiled = [name for name, module in sys.modules.items() if name.startswith("gevlite.") and is_compiled(module)]
    assert len(compiled) >= 15, compiled
    for module in map(sys.modules.get, compiled):
        assert not module.__file__.endswith(".py")


def is_compiled(module):
    return (getattr(module, "__file__", None) or "").endswith(".so")


def greenlets():
    began = time.monotonic()
    jobs = [gevlite.spawn(gevlite.sleep, 0.1) for _ in range(1000)]
    gevlite.joinall(jobs)
    assert time.monotonic() - began < 10 and all(job.successful() for job in jobs)
    with gevlite.Timeout(0.01, False):
        gevlite.sleep(60)
    from gevlite.queue import Queue

    queue = Queue(1)
    producer = gevlite.spawn(lambda: [queue.put(number) for number in range(100)])
    assert [queue.get() for _ in range(100)] == list(range(100))
    producer.get()


def backends():
    usable = [name for name, reason in gevlite.backends.available().items() if reason is None]
    assert {"poll", "select"} < set(usable), usable
    for name in usable:
        program = "import gevlite; gevlite.sleep(0.01); print(gevlite.get_hub().backend.name)"
        found = run("-c", program, GEVLITE_BACKEND=name)
        assert found.strip() == name, found


def patched():
    """Standard servers and clients, on one thread."""
    import http.server
    import threading
    import urllib.request

    assert socket.socket.__module__.startswith("gevlite")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(0.05)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    jobs = [gevlite.spawn(lambda n=n: opener.open(f"{url}/{n}", timeout=30).read()) for n in range(50)]
    assert [job.get() for job in jobs] == [b"/%d" % n for n in range(50)]
    server.shutdown()
    server.server_close()


def processes():
    assert subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, timeout=60).stdout == b"5\n"
    assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"


def tls():
    import ssl

    assert ssl.SSLContext.__module__.startswith("gevlite")
    assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED


def command_line():
    assert gevlite.__version__ in run("--version", module=True)
    assert "greenlet" in run("info", module=True)
    run("demo", "--plain", "--count", "10", "--longest", "0.2", module=True)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.py")
        script.write_text("import socket; print(socket.socket.__module__)")
        assert run("run", script, module=True).startswith("gevlite")


def run(*arguments, module=False, **environment):
    import os

    command = [sys.executable, *(["-m", "gevlite"] if module else []), *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        cwd=tempfile.gettempdir(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def main():
    print(gevlite.__version__, gevlite.__path__[0], sys.version.split()[0])
    monkey.patch_all()
    for part in (modules, greenlets, backends, patched, processes, tls, command_line):
        part()
        print("ok:", part.__name__, flush=True)


if __name__ == "__main__":
    main()
