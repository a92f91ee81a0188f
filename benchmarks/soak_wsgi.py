"""A WSGI server under connections that come and go, for minutes: memory must stay flat, and no request may fail.

    python benchmarks/soak_wsgi.py [--minutes 10] [--connections 1000]

The server runs in a process of its own; clients, one greenlet each, connect, send a few requests of several kinds and
leave: properly, in the middle of a request, or in the middle of a response. Prints the server's memory (RSS), open
descriptors, greenlets and what its garbage collector tracks once in a while, and at the end the verdict.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time

import psutil

import gevlite
from gevlite import socket

SERVER = """
import gc, json, sys
import gevlite
from gevlite.pywsgi import WSGIServer

errors = []
gevlite.get_hub().handle_error = lambda *args: errors.append(repr(args)[:500])

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stats":
        # What has ended is freed at once, but for cycles.
        gc.collect()
        stats = {"serving": len(server._serving), "objects": len(gc.get_objects()), "errors": errors}
        body = json.dumps(stats).encode()
    elif path == "/stream":
        start_response("200 OK", [])
        return (b"x" * 1000 for _ in range(50))
    elif path == "/wait":
        gevlite.sleep(0.05)
        body = b"waited"
    else:
        body = environ["wsgi.input"].read() or b"hello"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

server = WSGIServer(("127.0.0.1", 0), app, log=None, backlog=4096)
server.start()
print(server.server_port, flush=True)
gevlite.socket.wait_read(sys.stdin.fileno())
"""


class Counts:
    def __init__(self):
        self.requests = self.connections = self.left_early = 0
        self.failures = []


def exactly(file, n):
    data = file.read(n)
    if len(data) != n:
        raise EOFError(f"{len(data)} bytes of {n}")
    return data


def response(file):
    """Status and body of one response."""
    status = file.readline()
    length, chunked = 0, False
    while (line := file.readline().lower()) not in (b"\r\n", b""):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
        chunked = chunked or line.startswith(b"transfer-encoding: chunked")
    if not chunked:
        return status, exactly(file, length)
    body = b""
    while size := int(file.readline(), 16):
        body += exactly(file, size)
        exactly(file, 2)
    exactly(file, 2)
    return status, body


def request(dice):
    """Bytes of a request, and the body of its response."""
    kind = dice.randrange(5)
    if kind == 0:
        return b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"hello"
    if kind == 1:
        return b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n", b"waited"
    if kind == 2:
        return b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n", b"x" * 50000
    body = dice.randbytes(dice.choice([1, 1000, 100_000]))
    if kind == 3:
        return b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body, body
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), body


def client(port, dice, counts, deadline):
    while time.monotonic() < deadline:
        leaves_early = dice.random() < 0.1
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as sock, sock.makefile("rb") as file:
                counts.connections += 1
                for _ in range(dice.randrange(1, 6)):
                    data, expected = request(dice)
                    if leaves_early:
                        counts.left_early += 1
                        with contextlib.suppress(OSError):
                            sock.sendall(data[: dice.randrange(len(data) + 1)])
                            sock.settimeout(0.01)
                            sock.recv(dice.randrange(1, 1000))
                        break
                    sock.sendall(data)
                    status, body = response(file)
                    counts.requests += 1
                    if not status.startswith(b"HTTP/1.1 200 ") or body != expected:
                        raise ValueError(f"{data[:30]!r}: {status!r}, {len(body)} bytes for {len(expected)}")
                    gevlite.sleep(dice.random())
        except (OSError, EOFError, ValueError) as exc:
            counts.failures.append(repr(exc))
        gevlite.sleep(dice.random())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    server = subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline())
    process = psutil.Process(server.pid)
    counts = Counts()
    began = time.monotonic()
    deadline = began + options.minutes * 60
    clients = [
        gevlite.spawn(client, port, random.Random(options.seed * 100_000 + n), counts, deadline)
        for n in range(options.connections)
    ]
    samples = []
    print("minutes  RSS MiB  descriptors  serving  objects  connections  requests  failures")
    while time.monotonic() < deadline:
        gevlite.sleep(min(max(options.minutes * 60 / 20, 1), deadline - time.monotonic() + 0.1))
        rss = process.memory_info().rss / (1 << 20)
        samples.append(rss)
        stats = ask_stats(port)
        print(
            f"{(time.monotonic() - began) / 60:7.1f}  {rss:7.1f}  {process.num_fds():11}  {stats['serving']:7}"
            f"  {stats['objects']:7}  {counts.connections:11}  {counts.requests:8}  {len(counts.failures):8}",
            flush=True,
        )
    gevlite.joinall(clients, timeout=90)
    gevlite.sleep(1)
    stats = ask_stats(port)
    print(f"afterwards: {process.num_fds()} descriptors, {stats['serving']} served, {stats['objects']} objects")
    server.stdin.close()
    server.wait(10)

    # The first quarter is for caches, pools and the allocator to fill.
    settled = samples[len(samples) // 4 :]
    growth = settled[-1] - settled[0]
    print(f"RSS from {settled[0]:.1f} to {settled[-1]:.1f} MiB after the first quarter, {counts.left_early} left early")
    for text in [*counts.failures[:5], *stats["errors"][:5]]:
        print("FAILED:", text)
    good = not counts.failures and not stats["errors"] and stats["serving"] == 1 and growth < 0.1 * settled[0]
    print("flat, and no error" if good else "NOT flat, or errors")
    return not good


def ask_stats(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock, sock.makefile("rb") as file:
        sock.sendall(b"GET /stats HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        return json.loads(response(file)[1])


if __name__ == "__main__":
    sys.exit(main())
