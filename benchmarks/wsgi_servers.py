"""HTTP servers for the WSGI cases, each with one worker process and without an access log.

    python wsgi_servers.py SERVER APPLICATION ADDRESS

APPLICATION: a name in wsgi_apps.py. Prints the port once it answers there, and serves until standard input is closed.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

PYTHON = [sys.executable, "-P"]
# -P leaves the folder of the script out; here it has the applications.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
PATIENCE = 20


def pywsgi(package, application, address, port):
    source = f"""
import importlib, wsgi_apps
from {package}.pywsgi import WSGIServer
WSGIServer(({address!r}, {port}), wsgi_apps.{application}, log=None).serve_forever()
"""
    return [*PYTHON, "-c", source]


def gunicorn(worker, application, address, port):
    return [*PYTHON, "-m", "gunicorn", "-k", worker, "-b", f"{address}:{port}", f"wsgi_apps:{application}"]


def granian(application, address, port, *options):
    command = [*PYTHON, "-m", "granian", "--interface", "wsgi", "--no-ws", "--log-level", "error", *options]
    return [*command, "--host", address, "--port", str(port), f"wsgi_apps:{application}"]


def uvicorn(application, address, port):
    command = [*PYTHON, "-m", "uvicorn", "--loop", "uvloop", "--http", "httptools"]
    command += ["--no-access-log", "--log-level", "error", "--host", address, "--port", str(port)]
    if application == "flask":
        return [*command, "--interface", "wsgi", "wsgi_apps:flask"]
    return [*command, f"wsgi_apps:asgi_{application}"]


SERVERS = {
    "gevlite": lambda *args: pywsgi("gevlite", *args),
    "gevent": lambda *args: pywsgi("gevent", *args),
    "granian": granian,
    # The thread count that it chooses by itself is not the fastest one on a single core.
    "granian-1": lambda *args: granian(*args, "--blocking-threads", "1"),
    "uvicorn": uvicorn,
    "gunicorn-gevlite": lambda *args: gunicorn("gevlite.integrations.gunicorn.GevliteWorker", *args),
    "gunicorn-gevent": lambda *args: gunicorn("gevent", *args),
}


def free_port(address):
    """A port below those that the kernel gives to clients: it could give one of these to another process meanwhile."""
    while True:
        port = random.randrange(10_000, 30_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((address, port))
            return port


def wait_until_it_answers(server, address, port):
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            if client.recv(100).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.05)
    raise SystemExit(f"the server does not answer: {server.poll()}")


def main(name, application, address):
    port = free_port(address)
    command = SERVERS[name](application, address, port)
    server = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_until_it_answers(server, address, port)
        print(port, flush=True)
        sys.stdin.read()
    finally:
        server.terminate()
        try:
            server.wait(3)
        except subprocess.TimeoutExpired:
            server.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
