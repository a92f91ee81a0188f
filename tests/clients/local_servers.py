"""Real servers for real clients, made only with the standard library.

In the test's own process, which is not patched, they run on threads. A patched script imports the same file and runs
them on greenlets. In both cases nothing here knows about gevlite.
"""

import contextlib
import re
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

PATIENCE = 30


class Crowd:
    """The requests in flight: how many at most, and a meeting point.

    `meet` holds a request until `expected` of them are there. If they all come back, they were in flight at the same
    time: a proof of concurrency that does not depend on how fast the machine is.
    """

    def __init__(self, expected):
        self.barrier = threading.Barrier(expected) if expected else None
        self.lock = threading.Lock()
        self.inside = self.most = 0

    @contextlib.contextmanager
    def member(self):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1

    def meet(self):
        """False if the others did not arrive."""
        try:
            if self.barrier is not None:
                self.barrier.wait(PATIENCE)
        except threading.BrokenBarrierError:
            return False
        return True


class Running:
    """A server class's other base: listens at once, serves between `start` and `stop`."""

    request_queue_size = 512
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, handler, expected, certificate):
        self.crowd = Crowd(expected)
        self.received = []
        self.tls = None
        if certificate:
            self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.tls.load_cert_chain(certificate)
        super().__init__(("127.0.0.1", 0), handler)
        self.port = self.server_address[1]

    def start(self):
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()
        self.thread.join(PATIENCE)

    def report(self):
        return {"most": self.crowd.most, "received": self.received}

    def handle_error(self, request, client_address):
        """Report errors, except when a client refuses the certificate or disconnects, which tests do on purpose."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class HTTPHandler(BaseHTTPRequestHandler):
    """/meet/N answers when all have arrived, /delay/N N seconds after that; a POST to /echo gets its body back."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with self.server.crowd.member():
            kind, argument = self.path.strip("/").split("/")
            if not self.server.crowd.meet():
                return self.send_error(503, "the other requests did not come")
            if kind == "delay":
                time.sleep(float(argument))
        self.answer(f"{kind} {argument}".encode())

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class HTTPServer(Running, ThreadingHTTPServer):
    def __init__(self, expected=None, certificate=None):
        super().__init__(HTTPHandler, expected, certificate)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"

    def get_request(self):
        connection, address = super().get_request()
        if self.tls is not None:
            # The handshake is made by the handler's first read, not here, where it would hold up the others.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address


class RPCHandler(SimpleXMLRPCRequestHandler):
    def log_message(self, format, *args):
        pass


class RPCServer(Running, socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    def __init__(self, expected=None, certificate=None):
        super().__init__(RPCHandler, expected, certificate)
        self.url = f"http://127.0.0.1:{self.port}"
        self.register_function(self.meet, "meet")

    def meet(self, n):
        with self.crowd.member():
            return f"meet {n}" if self.crowd.meet() else "the other requests did not come"


class SMTPHandler(socketserver.StreamRequestHandler):
    """As much of RFC 5321 and 3207 (STARTTLS) as smtplib needs. A message is accepted when all have sent theirs."""

    def handle(self):
        self.sender, self.recipients, self.encrypted = None, [], False
        self.say("220 here")
        while line := self.rfile.readline():
            verb, _, argument = line.decode().strip().partition(" ")
            command = getattr(self, "do_" + verb.upper(), None)
            if command is None:
                self.say("502 no such command")
            elif command(argument) == "end":
                break

    def say(self, *lines):
        self.wfile.write("".join(line + "\r\n" for line in lines).encode())

    def do_EHLO(self, argument):
        offers_tls = self.server.tls is not None and not self.encrypted
        self.say("250-here", *["250-STARTTLS"] * offers_tls, "250 8BITMIME")

    def do_STARTTLS(self, argument):
        self.say("220 go ahead")
        self.request = self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.encrypted = True

    def do_MAIL(self, argument):
        self.sender = re.match(r"FROM:<(.*?)>", argument, re.I)[1]
        self.say("250 ok")

    def do_RCPT(self, argument):
        address = re.match(r"TO:<(.*?)>", argument, re.I)[1]
        if address.startswith("nobody@"):
            return self.say("550 no such user")
        self.recipients.append(address)
        self.say("250 ok")

    def do_DATA(self, argument):
        self.say("354 end with a dot")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        with self.server.crowd.member():
            if not self.server.crowd.meet():
                return self.say("451 the other messages did not come")
            self.server.received.append([self.sender, self.recipients, b"".join(lines).decode(), self.encrypted])
        self.sender, self.recipients = None, []
        self.say("250 ok")

    def do_RSET(self, argument):
        self.sender, self.recipients = None, []
        self.say("250 ok")

    def do_QUIT(self, argument):
        self.say("221 bye")
        return "end"

    def finish(self):
        super().finish()
        if self.encrypted:
            self.connection.close()  # the server closes only the socket it has accepted, which TLS has taken over


class SMTPServer(Running, socketserver.ThreadingTCPServer):
    def __init__(self, expected=None, certificate=None):
        super().__init__(SMTPHandler, expected, certificate)
        self.url = f"smtp://127.0.0.1:{self.port}"
