"""The page that shows what a server's process is doing: `WSGIServer(status_path=...)`. For clients on the same machine.

The server asks `answer` before anything that a proxy says is applied to the environ, and the application never sees the
path. The page is shown only if nothing suggests that the client is a proxy for another machine: see `_is_direct`.
"""

import re

from gevlite._probe import collect
from gevlite._proxies import ip_address_of
from gevlite._report import Report, fit
from gevlite.metrics import _TEXT_TYPE, _TOTALS, _pools, _servers, _text

__all__ = ["StatusPage", "check_path"]

_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")

# Fields that proxies add, by their keys in environ. A key with an underscore at its end stands for all that begin so.
_FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED",
    "HTTP_VIA",
    "HTTP_X_REAL_IP",
    "HTTP_X_CLIENT_IP",
    "HTTP_X_CLUSTER_CLIENT_IP",
    "HTTP_X_ORIGINAL_",
    "HTTP_X_ENVOY_",
    "HTTP_X_AMZN_",
    "HTTP_X_AZURE_",
    "HTTP_X_ARR_",
    "HTTP_CF_",
    "HTTP_CDN_LOOP",
    "HTTP_TRUE_CLIENT_IP",
    "HTTP_FASTLY_",
    "HTTP_CLIENT_IP",
    "gevlite.forwarded",
)

_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
_PLAIN = "text/plain; charset=utf-8"
_WIDTH = 120


def check_path(name, path):
    """Raise TypeError or ValueError if `path`, the value of the setting `name`, is not a path for the page."""
    if not isinstance(path, str):
        raise TypeError(f"{name} must be a path such as '/-/status', not {path!r}")
    if not _PATH.fullmatch(path) or any(part in (".", "..") for part in path.split("/")):
        raise ValueError(f"{name} must be a path such as '/-/status', without a slash at its end, not {path!r}")


class StatusPage:
    """The page of one server. pid: whether samples say which process they are of."""

    def __init__(self, path, pid):
        self.path = path
        self.pid = pid

    def answer(self, sock, proxied, environ):
        """A WSGI application that answers the request; None if it is not for the page. `environ` is as the client sent
        it. proxied: the connection began with the PROXY protocol."""
        path = environ["PATH_INFO"]
        if path != self.path and not path.startswith(self.path + "/"):
            return None
        if proxied or not _is_direct(sock, environ):
            return _short("403 Forbidden", "Only for clients on this machine that connect directly.\n")
        if path not in (self.path, self.path + "/metrics"):
            return _short("404 Not Found", "Not Found\n")
        if environ["REQUEST_METHOD"] != "GET":
            return _short("405 Method Not Allowed", "Only GET is answered here.\n", ("Allow", "GET"))
        return self._metrics if path != self.path or _wants_metrics(environ) else self._screen

    def _metrics(self, environ, start_response):
        return _respond(start_response, "200 OK", _TEXT_TYPE, _text(pid=self.pid))

    def _screen(self, environ, start_response):
        raw = collect()
        raw["program"] = raw["program"][:1]  # arguments may be secret
        report = Report(raw)
        lines = [*report.ps(), (0, ""), *_numbers(report)]
        return _respond(start_response, "200 OK", _PLAIN, fit(lines, _WIDTH))


def _respond(start_response, status, kind, text, *more):
    body = text.encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *_HEADERS, *more])
    return [body]


def _short(status, text, *more):
    def application(environ, start_response):
        return _respond(start_response, status, _PLAIN, text, *more)

    return application


def _wants_metrics(environ):
    """Whether the client is Prometheus: it names formats of its own."""
    accepted = environ.get("HTTP_ACCEPT", "")
    return "openmetrics" in accepted or "version=0.0.4" in accepted


def _is_direct(sock, environ):
    """Whether the client itself is on this machine, as far as one can know.

    A proxy on this machine is a client on this machine, too. Most proxies add a field that names their client, or keep
    the name of the host, which then is not one of this machine (nor is it if a web page has led a browser here). And
    nginx speaks HTTP/1.0 unless it is configured otherwise.
    """
    try:
        peer = sock.getpeername()
    except OSError:
        return False
    if not isinstance(peer, tuple) or not _is_loopback(peer[0]):
        return False  # also for a UNIX socket: mostly a proxy connects to one
    if environ["SERVER_PROTOCOL"] != "HTTP/1.1" or any(key.startswith(_FORWARDED) for key in environ):
        return False
    host = environ.get("HTTP_HOST", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() == "localhost" or _is_loopback(name)


def _is_loopback(host):
    found = ip_address_of(host)
    return found is not None and found.is_loopback


def _numbers(report):
    lines = []
    for hub in report.hubs:
        counts = hub.counts
        lines.append((0, f"Loop of {hub.thread_name}: busy {hub.lag_seconds:.1f} s, {report.lag(hub)}"))
        lines.append((2, ", ".join(f"{counts[name]} {name}" for name in _TOTALS if name in counts)))
    for pool in _pools():
        counts = f"{pool['threads']} of {pool['max']} threads, {pool['busy']} busy, {pool['queued']} queued"
        lines.append((0, f"{pool['kind']}: {counts}"))
    for one in _servers():
        counts = ", ".join(f"{one[name]} {name}" for name in ("open", "accepted", "refused", "failed"))
        lines.append((0, f"{one['kind']} on {one['address']}: connections: {counts}"))
        if "requests" in one:
            answers = [f"{count} {name}" for name, count in one["requests"].items() if count]
            answers += [f"{one[name]} {name}" for name in ("active", "waiting")]
            duration = one["duration"]
            if duration["count"]:
                answers.append(f"{1000 * duration['seconds'] / duration['count']:.1f} ms on average")
            lines.append((2, f"requests: {', '.join(answers)}"))
    return lines
