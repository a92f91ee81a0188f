"""`python -m gevlite demo`: many slow HTTP requests at once, made by ordinary blocking code.

Server, clients and ticker are greenlets on one thread. The server answers `/delay/N` after N seconds. The clients use
`urllib.request` and, if it is installed, `requests`, unmodified under `monkey.patch_all()`. The ticker wakes up again
and again: the delay of its latest tick shows how long something else kept the thread to itself.
"""

import shutil
import sys
import textwrap
from time import monotonic

import gevlite
from gevlite import monkey
from gevlite._version import __version__

TICK = 0.05

# Seconds after its delay at which a request times out.
PATIENCE = 30

# With fewer columns, the lines of the chart have no names.
NARROW = 60
# File descriptors that are needed beside two for each request.
SPARE_FILES = 50


class DemoError(Exception):
    """The demo cannot run here; the message says why."""


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
    """Run the demo and return the exit code: 0, or 1 if a fetch failed or the fetches did not run at the same time.

    Raises DemoError if it cannot begin, BrokenPipeError if standard output is closed.
    """
    columns = min(shutil.get_terminal_size().columns, 120) if sys.stdout.isatty() else 80
    plain = plain or not _can_draw(sys.stdout)
    _allow_files(count)
    monkey.patch_all()
    hub = gevlite.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)  # a Ctrl-C is no error of the greenlet that happens to run
    clients = _clients()
    requests = [Request(list(clients)[i % len(clients)], d) for i, d in enumerate(delays(count, longest))]
    listener = _serve(count)
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    title = f"gevlite {__version__} on {gevlite.get_hub().backend.name}: {_requests(count)} at once to {base}/delay/N"
    print(*textwrap.wrap(title, columns), "", sep="\n", flush=True)

    ticker = Ticker(requests, sys.stdout, plain, columns)
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

    for line in timeline(requests, began, wall, columns, plain):
        print(line)
    lines, failed = verdict(requests, wall)
    print()
    for name, text in [*lines, ticker.summary()]:
        print(*textwrap.wrap(f"{name:<16}{text}", columns, subsequent_indent=" " * 16), sep="\n")
    sys.stdout.flush()
    return 1 if failed else 0


def _requests(count):
    return "1 request" if count == 1 else f"{count} requests"


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


def _allow_files(count):
    """Raise the soft limit on open files if it is too low; each request needs two descriptors."""
    import resource

    wanted = 2 * count + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        most = (max(soft, hard) - SPARE_FILES) // 2
        advice = f"at most --count {most} fits" if most > 0 else "that is too few for any"
        raise DemoError(
            f"{_requests(count)} need{'s' if count == 1 else ''} {wanted} open files, and the limit is "
            f"{max(soft, hard)} (ulimit -n): {advice}"
        ) from None


# ---------------------------------------------------------------- what is shown


class Ticker:
    """Wakes up every TICK seconds, records its delay, and on a terminal draws the progress line."""

    def __init__(self, requests, stream, plain, columns):
        self.columns = columns
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
        text = f"{done}/{total} done, {started - done} waiting, {elapsed:.1f} s"
        room = self.columns - len(text) - len("    ") - 1  # the last column is left free, or the line would wrap
        if room >= 5:
            width = min(room, 30)
            text = f"  {'━' * (width * done // total):<{width}}  {text}"
        self.stream.write(f"\r{text[: self.columns - 1]}\x1b[K")
        self.stream.flush()

    def clear(self):
        if not self.plain:
            self.stream.write("\r\x1b[K")
            self.stream.flush()

    def summary(self):
        return (
            "ticker",
            f"{self.ticks} ticks of {TICK * 1000:.0f} ms meanwhile, "
            f"the latest {self.latest * 1000:.1f} ms behind its time",
        )


def timeline(requests, began, wall, columns, plain):
    """The lines of the chart: one bar for each request, from its start to its last byte."""
    labels = [f"{r.path}  {r.client}" if columns >= NARROW else f"{r.delay:.2f}" for r in requests]
    margin = max(map(len, labels))
    width = max(5, columns - margin - len("  ") - len(" |") - len("|  0.00 s"))
    scale = width / wall
    end = f"{wall:.1f} s"
    yield f"{'':<{margin + 2}} 0 s{end:>{width - 2}}"
    for label, r in zip(labels, requests, strict=True):
        bar = _bar((r.began - began) * scale, (r.ended - began) * scale, width, plain)
        end = "failed" if r.error else f"{r.ended - r.began:5.2f} s"
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
    """The closing lines, each a name and a text, and whether the demo has failed."""
    total = sum(r.delay for r in requests)
    longest = max(r.delay for r in requests)
    errors = [r.error for r in requests if r.error is not None]
    lines = [
        ("wall time", f"{wall:.2f} s"),
        ("sum of delays", f"{total:.2f} s"),
        ("ratio", f"{total / wall:.1f} times faster than one after the other"),
    ]
    # Halfway between "all at once" and "one after the other", so that a busy machine does not change the result.
    in_turn = len(requests) > 1 and wall > longest + (total - longest) / 2
    if errors:
        lines.append(("FAILED", f"{len(errors)} of {len(requests)} requests; the first: {errors[0]}"))
    if in_turn:
        lines.append(("FAILED", "the requests did not run at the same time"))
    return lines, bool(errors or in_turn)


def _can_draw(stream):
    import os

    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
    return stream.isatty() and encoding == "utf8" and os.environ.get("TERM", "dumb") != "dumb"
