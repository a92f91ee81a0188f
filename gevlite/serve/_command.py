"""`python -m gevlite serve`: its options and its messages."""

import argparse
import dataclasses
import logging
import os
import sys

from gevlite._proxies import HEADERS
from gevlite.pywsgi import Limits, parse_limit, parse_size
from gevlite.serve import Server, StartError
from gevlite.serve._settings import Settings, default_workers

__all__ = ["main"]

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}

_LIMITS_HELP = {
    "max_request_line": "bytes of the request line",
    "max_headers": "number of header fields",
    "max_header_bytes": "bytes of all header fields",
    "max_field_bytes": "bytes of one header field",
    "max_body": "bytes of a request's body",
    "header_timeout": "seconds for the head of a request",
    "keepalive_timeout": "seconds between two requests of a connection",
    "closing_timeout": "seconds in which a connection may send one more request when a worker stops",
    "linger_timeout": "seconds for which data after the last response is read",
    "body_timeout": "seconds without a byte of a body",
    "write_timeout": "seconds in which a client accepts no data",
    "request_timeout": "seconds for the application to begin its response; then 503",
    "max_queued": "requests that wait for a free place; further ones get 503 at once",
    "min_rate": "bytes per second",
}


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m gevlite serve",
        description="Serve a WSGI application with several processes. Each is patched (monkey.patch_all()) before it "
        "imports the application.",
        epilog="Signals: TERM and INT stop when all requests are answered, a second INT at once; HUP loads the "
        "application again without losing a request; USR1 opens the log again.",
    )
    add = parser.add_argument
    add("app", help="package.module:name, or package.module:factory()")

    group = parser.add_argument_group("where it listens")
    add = group.add_argument
    add(
        "-b",
        "--bind",
        action="append",
        metavar="ADDRESS",
        default=[],
        help="host:port, unix:/path or fd://N; may be given several times (default: the sockets that systemd passes, "
        "or 127.0.0.1:8000)",
    )
    add(
        "--socket-mode",
        type=_mode,
        metavar="MODE",
        help="mode of a UNIX socket's file, such as 660 (default: by the umask)",
    )
    add("--socket-owner", metavar="USER:GROUP", help="owner of a UNIX socket's file")
    add("--backlog", type=int, metavar="N", help="how many connections may wait to be accepted")
    add("--reuse-port", action="store_true", help="a socket for each worker; the kernel distributes connections")

    group = parser.add_argument_group("processes")
    add = group.add_argument
    add(
        "-w",
        "--workers",
        type=int,
        metavar="N",
        help=f"number of processes (default: one for each core, at most 8; here {default_workers()})",
    )
    add(
        "--connections",
        type=int,
        metavar="N",
        help="maximum of a worker; a further one replaces one that waits for a request",
    )
    add("--concurrency", type=int, metavar="N", help="requests that a worker serves at a time (default: any number)")
    add(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="a worker without a switch between greenlets for this long is replaced; 0: never",
    )
    add("--graceful-timeout", type=float, metavar="SECONDS", help="time for requests to finish when a worker stops")
    add("--max-requests", type=int, metavar="N", help="a worker is replaced after this many requests; 0: never")
    add(
        "--max-requests-jitter",
        type=int,
        metavar="N",
        help="a random number up to this is added (default: a tenth of --max-requests)",
    )
    add("--max-memory", type=_size, metavar="BYTES", help="a worker that uses more memory is replaced; 500m, 2g")
    add(
        "--time-slice",
        type=float,
        metavar="SECONDS",
        help="a request that computes for longer gives way to the others; 0.01 is a good value, 0: never (default: "
        "GEVLITE_TIME_SLICE, else never)",
    )
    add("--reload", action="store_true", help="for development: reload when a file of the application changes")

    group = parser.add_argument_group("log")
    add = group.add_argument
    add(
        "--access-log",
        type=_file,
        metavar="FILE",
        help="a line for each request; - for standard output, none for nowhere (default: -)",
    )
    add(
        "--log-format",
        metavar="FORMAT",
        help="combined, common, json, or a text with gunicorn's atoms: '%%(h)s \"%%(r)s\" %%(s)s' (default: combined; "
        "on a terminal short and coloured)",
    )

    group = parser.add_argument_group("status")
    group.add_argument(
        "--status-path",
        metavar="PATH",
        help="for clients on this machine only, a page that shows what a worker is doing, such as /-/status, and "
        "metrics for Prometheus at PATH/metrics (default: none)",
    )

    group = parser.add_argument_group("TLS")
    add = group.add_argument
    add("--certfile", metavar="FILE", help="the server's certificate, with the intermediate certificates")
    add("--keyfile", metavar="FILE", help="its key (default: in --certfile)")
    add("--ca-certs", metavar="FILE", help="authorities for client certificates")
    add("--client-certs", choices=("none", "optional", "required"), help="whether clients are asked for certificates")

    group = parser.add_argument_group("proxies", "by default no proxy is trusted")
    add = group.add_argument
    add(
        "--trusted-proxies",
        type=_words,
        metavar="LIST",
        help="addresses and networks of trusted proxies, or unix: 10.0.0.0/8,unix",
    )
    add(
        "--forwarded-headers", type=_words, metavar="LIST", help=f"the fields that they write, of: {', '.join(HEADERS)}"
    )
    add("--proxy-protocol", action="store_true", help="their connections begin with the PROXY protocol, version 1 or 2")

    group = parser.add_argument_group("limits", "how much a client may send, and how slowly; none: no limit")
    group.add_argument(
        "--strict",
        action="store_true",
        help="refuse requests that no standard allows, even if they have only one meaning",
    )
    for field in dataclasses.fields(Limits):
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_limit(field),
            metavar="SECONDS" if "timeout" in field.name else "N",
            help=_LIMITS_HELP[field.name],
        )
    for action in parser._actions:
        if action.option_strings and "default" not in (action.help or "") and action.nargs != 0:
            value = _default(action.dest)
            if value not in (None, ()):
                action.help += f" (default: {value:g})" if isinstance(value, float) else f" (default: {value})"
        if action.option_strings and action.default is None:
            action.default = argparse.SUPPRESS
    return parser


def _default(name):
    return _DEFAULTS[name] if name in _DEFAULTS else getattr(Limits, name, None)


def _file(text):
    return None if text.lower() == "none" else text


def _words(text):
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _mode(text):
    return int(text, 8)


def _size(text):
    return parse_size(text)


_mode.__name__, _size.__name__ = "octal mode", "size"


def _limit(field):
    def limit(text):
        return parse_limit(field.name, text)

    return limit


def main(argv):
    """Run the command; return the exit status."""
    options = vars(_parser().parse_args(argv))
    names = {field.name for field in dataclasses.fields(Limits)}
    limits = {name: options.pop(name) for name in names & set(options)}
    _log_to_stderr()
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        limits = dataclasses.replace(Limits.from_environment(), **limits)
        server = Server(**options, limits=limits)
        server.run()
    except (StartError, OSError, ValueError, TypeError, ImportError) as exc:
        print(f"gevlite serve: {getattr(exc, 'strerror', None) or exc}", file=sys.stderr)
        return 2
    return 0


def _log_to_stderr():
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s gevlite %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("gevlite.serve")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
