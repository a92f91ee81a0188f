"""Feeds mutated HTTP to the WSGI server and compares what its application saw with what a simple strict parser finds.

    python tests/server/fuzz_http.py [--seconds 600] [--seed 1]

The cases of `http_cases` are cut, joined, repeated and sprinkled with what parsers disagree about, then sent in pieces,
up to the end of the stream. Each time

* the requests that the application saw, with their bodies, are the first ones that `reference` finds: none is
  smuggled. The server may refuse what the reference allows, with a status, but never the other way round;
* each is answered once, nothing follows a refusal, and the connection ends: nothing hangs;
* nothing is reported to the hub, and no greenlet is left.
"""

import argparse
import collections
import random
import re
import sys
import time
from dataclasses import dataclass

import gevlite
from gevlite import socket
from gevlite.pywsgi import Limits, WSGIServer

MAX_BODY = 100_000
PATIENCE = 20

# ---------------------------------------------------------------- the reference: RFC 9112, by regular expressions

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([0-9])\r\n")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")


@dataclass
class Found:
    """A request in a stream of bytes."""

    method: str
    target: str
    body: bytes = b""
    complete: bool = True  # False: only this part of the body came, or what follows is not a body
    last: bool = False  # nothing may follow on the connection
    expects: bool = False  # wants "100 Continue" before it sends a body
    chunked: bool = False


def fields(data, at):
    """[(name, value)] and where they end; (None, at) if they are malformed."""
    found = []
    while not data.startswith(b"\r\n", at):
        match = FIELD.match(data, at)
        if match is None:
            return None, at
        found.append((match[1].lower(), match[2]))
        at = match.end()
    return found, at + 2


def chunks(data, at):
    """The body, where it ends, and whether it is complete."""
    body = b""
    while match := CHUNK.match(data, at):
        size = int(match[1], 16)
        at = match.end()
        if size == 0:
            trailers, at = fields(data, at)
            return body, at, trailers is not None
        body += data[at : at + size]
        if len(body) > MAX_BODY or not data.startswith(b"\r\n", at + size):
            break
        at += size + 2
    return body, at, False


def reference(data):
    """The requests in the stream, up to the first thing that is not a request."""
    at = 0
    while True:
        if data.startswith(b"\r\n", at):
            at += 2
        line = REQUEST_LINE.match(data, at)
        if line is None:
            return
        head, at = fields(data, line.end())
        if head is None:
            return
        values = collections.defaultdict(list)
        for name, value in head:
            values[name].append(value)
        lengths, codings = values[b"content-length"], values[b"transfer-encoding"]
        minor = line[3] != b"0"
        if len(values[b"host"]) != 1 and (minor or len(values[b"host"]) > 1):
            return
        if lengths and codings or len(lengths) > 1 or len(codings) > 1 or (codings and not minor):
            return
        found = Found(line[1].decode(), line[2].decode("latin-1"))
        if codings:
            if codings[0].lower() != b"chunked":
                return
            found.chunked = True
            found.body, at, found.complete = chunks(data, at)
        elif lengths:
            if not re.fullmatch(rb"[0-9]+", lengths[0]) or int(lengths[0]) > MAX_BODY:
                return
            size = int(lengths[0])
            found.body = data[at : at + size]
            found.complete = len(found.body) == size
            at += size
        options = re.split(rb"[ \t]*,[ \t]*", b",".join(values[b"connection"] + values[b"proxy-connection"]).lower())
        persistent = b"close" not in options and (minor or b"keep-alive" in options)
        found.last = not persistent or found.method == "CONNECT" or not found.complete
        found.expects = bool(values[b"expect"]) and minor
        yield found
        if found.last:
            return


# ---------------------------------------------------------------- the application


class Application:
    """Records each request, and reads its body in the way of `mode`."""

    modes = ("all", "lines", "some", "none")

    def __init__(self):
        self.seen = []
        self.mode = "all"

    def __call__(self, environ, start_response):
        stream = environ["wsgi.input"]
        if self.mode == "all":
            body = stream.read()
        elif self.mode == "lines":
            body = b"".join(stream)
        else:
            body = stream.read(5) if self.mode == "some" else b""
        self.seen.append((environ["REQUEST_METHOD"], environ["RAW_URI"], body))
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    def is_right(self, seen, found):
        """Whether the application may have seen this of that request."""
        method, target, body = seen
        if (method, target) != (found.method, found.target):
            return False
        if found.method == "CONNECT":
            return body == b""  # what follows the head is not HTTP
        if self.mode == "none":
            return True
        if self.mode == "some":
            return body == found.body[:5] and (found.complete or len(body) == 5)
        return found.complete and body == found.body


# ---------------------------------------------------------------- mutations

SPRINKLE = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b":", b";",
    b",", b"=", b'"', b"/", b"*", b"0", b"1", b"a", b"F", b"-", b"+", b"_", b"0x", b"0\r\n\r\n", b"5\r\nabcde\r\n",
    b"\t\r\n", b" ; a = b", b"BREW", b"#", "\u00fc".encode(), b"HTTP/1.2",
    b"chunked", b"identity", b"close", b"keep-alive", b"HTTP/1.1", b"HTTP/1.0", b"HEAD", b"POST", b"http://h",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length:\r\n 5\r\n", b"content-length : 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer_Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Host: other\r\n", b"X: y\r\n", b" folded\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", b"POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde",
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
]  # fmt: skip


def mutated(dice, corpus):
    """Some bytes for a server."""
    data = b"".join(dice.choice(corpus) for _ in range(dice.choice((1, 1, 1, 2, 3))))
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3, 5))):
        at = dice.randrange(len(data) + 1)
        if dice.random() < 0.5:  # where lines end is where parsers differ
            ends = [match.start() for match in re.finditer(rb"\r\n|[:;]", data)]
            at = dice.choice(ends) + dice.randrange(3) if ends else at
        to = min(at + dice.choice((1, 1, 2, 4, 20)), len(data))
        what = dice.randrange(6)
        if what == 0:
            data = data[:at] + data[to:]
        elif what == 1:
            data = data[:to] + data[at:]
        elif what == 2:
            data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
        elif what == 3:
            other = dice.choice(corpus)
            data = data[:at] + other[dice.randrange(len(other) + 1) :]
        else:
            data = data[:at] + dice.choice(SPRINKLE) + data[at if what == 4 else to :]
    return data


def pieces(dice, data):
    """The data in the order in which it is sent."""
    if dice.random() < 0.3:
        return [data]
    if len(data) < 300 and dice.random() < 0.2:
        return [data[n : n + 1] for n in range(len(data))]
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# ---------------------------------------------------------------- the run


class Fuzzer:
    def __init__(self):
        from http_cases import CASES

        cases = [case for case in CASES if len(case.data) < 5000]
        # Mostly valid requests: a refusal ends everything, and hides what follows it.
        self.corpus = [case.data for case in cases] + 9 * [case.data for case in cases if "open" in case.expect]
        self.application = Application()
        self.errors = []
        self.outcomes = collections.Counter()
        limits = Limits(max_body=MAX_BODY)
        self.server = WSGIServer(("127.0.0.1", 0), self.application, log=None, limits=limits)
        self.server._settings.raw_uri = True
        self.server.start()

    def exchange(self, sent):
        """Send all of it, and the end; returns everything that comes back."""
        answer = b""
        with socket.create_connection(self.server.address, timeout=PATIENCE) as sock:
            try:
                for piece in sent:
                    sock.sendall(piece)
                    if len(sent) > 1:
                        gevlite.idle()  # the server takes it
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the server has hung up, for a reason; its answer can still be read
            try:
                while data := sock.recv(65536):
                    answer += data
            except ConnectionResetError:
                pass
        return answer

    def check(self, seed):
        """One input, made of the seed."""
        dice = random.Random(seed)
        data = mutated(dice, self.corpus)
        self.application.mode = mode = dice.choice(Application.modes)
        self.server._settings.strict = dice.random() < 0.3
        self.application.seen = seen = []
        answer = self.exchange(pieces(dice, data))
        found = list(reference(data))
        statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]
        statuses = [status for status in statuses if status != 100]
        context = f"seed {seed}, {mode}\n{data!r}\nanswer {answer!r}\nseen {seen}\nfound {found}"

        assert len(seen) <= len(found), f"smuggled: {context}"
        for one, expected in zip(seen, found, strict=False):
            assert self.application.is_right(one, expected), f"{one} is not {expected}: {context}"
        assert statuses[: len(seen)] == [200] * len(seen), f"not answered: {context}"
        rest = statuses[len(seen) :]
        assert len(rest) <= 1 and all(status >= 400 for status in rest), f"answered twice: {context}"
        left = found[len(seen) :]
        if seen and mode in ("none", "some") and (found[len(seen) - 1].expects or found[len(seen) - 1].chunked):
            # Without "100 Continue" it is not known whether there is a body. Or the server refused the rest of the body
            # when it no longer needed it. In both cases the connection ends after the response.
            left = []
        if left and left[0].complete:
            assert rest, f"neither served nor refused: {context}"
            assert rest[0] != 500, f"failed: {context}"
        self.outcomes["refused" if rest else "cut short" if left else "served" if seen else "nothing"] += 1
        if left and left[0].complete:
            self.outcomes[f"stricter, {rest[0]}"] += 1
        self.outcomes["requests"] += len(seen)

    def settled(self):
        """Check that nothing is left over."""
        deadline = time.monotonic() + PATIENCE
        while self.server._serving and time.monotonic() < deadline:
            gevlite.sleep(0.01)
        assert not self.server._serving, f"left: {self.server._serving}"
        assert self.errors == [], self.errors

    def run(self, seeds):
        hub = gevlite.get_hub()
        hub.handle_error = lambda *args: self.errors.append(args)
        try:
            for seed in seeds:
                self.check(seed)
                assert self.errors == [], f"seed {seed}: {self.errors}"
            self.settled()
        finally:
            del hub.handle_error
            self.server.stop(5)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1, help="the first one; each input has the next")
    options = parser.parse_args()
    fuzzer = Fuzzer()
    deadline = time.monotonic() + options.seconds

    def seeds():
        seed = options.seed
        while time.monotonic() < deadline:
            yield seed
            seed += 1

    fuzzer.run(seeds())
    total = sum(fuzzer.outcomes[name] for name in ("refused", "cut short", "served", "nothing"))
    print(f"{total} inputs from seed {options.seed} in {options.seconds:.0f} s: {dict(fuzzer.outcomes)}")


if __name__ == "__main__":
    sys.exit(main())
