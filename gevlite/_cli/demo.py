"""`python -m gevlite demo`: many slow HTTP requests at once, made by ordinary blocking code.

Server, clients and ticker are greenlets on one thread. The server answers `/delay/N` after N seconds. The clients use
`urllib.request` and, if it is installed, `requests`, unmodified under `monkey.patch_all()`. The ticker wakes up again
and again: the delay of its latest tick shows for how long anything kept the thread to itself.
"""

import shutil
import sys
from time import monotonic

import gevlite
from gevlite import monkey
from gevlite._version import __version__

TICK = 0.05

# Seconds after its delay at which a request times out.
PATIENCE = 30


class Request:
    """One fetch: its URL and, in the end, when it began and ended, and its error."""

    def __init__(self, client, delay):
        self.client = client  # name of the HTTP client
        self.delay = delay
        self.began = self.ended = None
        self.error = None

    @property
    def path(self):
        return f"/delay/{self.delay:.2f}"


def main(count, longest, plain):
    """Run the demo and return the exit code: 0, or 1 if a fetch failed or the fetches did not run at the same time."""
    plain = plain or not _can_draw(sys.stdout)
    monkey.patch_all()
    _allow_files(2 * count + 50)
    clients = _clients()
    requests = [Request(list(clients)[i % len(clients)], d) for i, d in enumerate(delays(count, longest))]
    listener = _serve(count)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    print(f"gevlite {__version__} on {gevlite.get_hub().backend.name}: {count} requests at once to {base}/delay/N\n")

    ticker = Ticker(requests, sys.stdout, plain)
    began = monotonic()
    fetchers = [gevlite.spawn(_fetch, clients[r.client], base, r) for r in requests]
    ticking = gevlite.spawn(ticker.run)
    try:
        gevlite.joinall(fetchers)
    finally:
        wall = monotonic() - began
        ticking.kill()
        ticker.clear()
        listener.close()

    for line in timeline(requests, began, wall, shutil.get_terminal_size().columns if not plain else 80, plain):
        print(line)
    lines, failed = verdict(requests, wall)
    print("", *lines, ticker.summary(), sep="\n")
    return 1 if failed else 0


def delays(count, longest):
    """`count` delays from a quarter of `longest` up to it, well mixed, the longest among them."""
    # Steps of the golden ratio spread evenly whatever the count is.
    spread = [1 - (i * 0.6180339887) % 1 for i in range(count)]
    return [round(longest * (0.25 + 0.75 * part), 2) or longest for part in spread]


# ---------------------------------------------------------------- server


def _serve(backlog):
    import socket

    listener = socket.create_server(("127.0.0.1", 0), backlog=min(backlog, 1000))
    gevlite.spawn(_accept, listener, _handler_class())
    return listener


def _accept(listener, handler):
    while True:
        try:
            connection, address = listener.accept()
        except OSError:
            return  # closed: the demo is over
        gevlite.spawn(_answer, handler, connection, address)


def _answer(handler, connection, address):
    with connection:
        try:
            handler(connection, address, None)
        except OSError:
            pass  # the client disconnected


def _handler_class():
    import time
    from http.server import BaseHTTPRequestHandler

    class DelayHandler(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                kind, delay = self.path.strip("/").split("/")
                seconds = float(delay)
                if kind != "delay" or not 0 <= seconds <= 3600:
                    raise ValueError
            except ValueError:
                self.send_error(404, "there is only /delay/SECONDS")
                return
            time.sleep(seconds)
            body = f"slept {delay} s\n".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    return DelayHandler


# ---------------------------------------------------------------- clients


def _clients():
    """`{name: function(url, timeout) -> body}`. Proxies in the environment are ignored: the server is in this
    process."""
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def fetch_urllib(url, timeout):
        with opener.open(url, timeout=timeout) as response:
            return response.read()

    clients = {"urllib": fetch_urllib}
    try:
        import requests
    except ImportError:
        return clients

    def fetch_requests(url, timeout):
        with requests.Session() as session:
            session.trust_env = False
            response = session.get(url, timeout=timeout)
            response.raise_for_status()
            return response.content

    clients["requests"] = fetch_requests
    return clients


def _fetch(client, base, request):
    request.began = monotonic()
    try:
        body = client(base + request.path, request.delay + PATIENCE)
        if not body.startswith(b"slept"):
            request.error = f"unexpected answer {body[:40]!r}"
    except Exception as exc:
        request.error = f"{type(exc).__name__}: {exc}"
    request.ended = monotonic()


def _allow_files(wanted):
    """Raise the soft limit on open files if it is too low; each request needs two descriptors."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


# ---------------------------------------------------------------- what is shown


class Ticker:
    """Wakes up every TICK seconds, records its delay, and on a terminal draws the progress line."""

    def __init__(self, requests, stream, plain):
        self.requests = requests
        self.stream = stream
        self.plain = plain
        self.ticks = 0
        self.latest = 0.0

    def run(self):
        began = monotonic()
        while True:
            due = monotonic() + TICK
            gevlite.sleep(TICK)
            self.latest = max(self.latest, monotonic() - due)
            self.ticks += 1
            if not self.plain:
                self.draw(monotonic() - began)

    def draw(self, elapsed):
        total = len(self.requests)
        done = sum(r.ended is not None for r in self.requests)
        started = sum(r.began is not None for r in self.requests)
        width = 30
        bar = "━" * (width * done // total)
        self.stream.write(f"\r  {bar:<{width}}  {done}/{total} done, {started - done} waiting, {elapsed:.1f} s\x1b[K")
        self.stream.flush()

    def clear(self):
        if not self.plain:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def summary(self):
        return (
            f"ticker          {self.ticks} ticks of {TICK * 1000:.0f} ms meanwhile, "
            f"the latest {self.latest * 1000:.1f} ms behind its time"
        )


def timeline(requests, began, wall, columns, plain):
    """The lines of the chart: one bar for each request, from its start to its last byte."""
    labels = [f"{r.path}  {r.client}" for r in requests]
    margin = max(map(len, labels))
    width = max(10, min(columns, 120) - margin - len("  ") - len(" |") - len("|  0.00 s"))
    scale = width / wall
    yield f"{'':<{margin + 2}} 0 s{f'{wall:.1f} s':>{width - 2}}"
    for label, r in zip(labels, requests, strict=True):
        bar = _bar((r.began - began) * scale, (r.ended - began) * scale, width, plain)
        end = f"failed: {r.error}" if r.error else f"{r.ended - r.began:5.2f} s"
        edge = "|" if plain else "│"
        yield f"  {label:<{margin}} {edge}{bar}{edge} {end}"


def _bar(start, end, width, plain):
    start = min(int(start), width - 1)
    whole = max(int(end), start)
    if plain:
        return (" " * start + "#" * max(1, whole - start)).ljust(width)
    eighths = " ▏▎▍▌▋▊▉"[int((end - whole) * 8)] if whole < width else ""
    return (" " * start + "█" * (whole - start) + eighths).ljust(width)[:width]


def verdict(requests, wall):
    """The closing lines, and whether the demo has failed."""
    total = sum(r.delay for r in requests)
    longest = max(r.delay for r in requests)
    errors = sum(r.error is not None for r in requests)
    lines = [
        f"wall time       {wall:.2f} s",
        f"sum of delays   {total:.2f} s",
        f"ratio           {total / wall:.1f} times faster than one after the other",
    ]
    # Halfway between "all at once" and "one after the other", so that a busy machine does not change the result.
    in_turn = len(requests) > 1 and wall > longest + (total - longest) / 2
    if errors:
        lines.append(f"FAILED          {errors} of {len(requests)} requests")
    if in_turn:
        lines.append("FAILED          the requests did not run at the same time")
    return lines, bool(errors or in_turn)


def _can_draw(stream):
    import os

    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return stream.isatty() and encoding == "utf8" and os.environ.get("TERM", "dumb") != "dumb"
