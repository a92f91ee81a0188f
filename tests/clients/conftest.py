"""Servers for real clients to talk to: plain threads of the standard library in this process, which is not patched.

`/together/N` answers only when N requests are in the server at the same time, so a test that gets its answers has shown
that its requests were concurrent, however slow the machine is.
"""

import http.server
import json
import socketserver
import ssl
import threading
import time

import pytest

# How long a request waits for the others before it gives up and says so.
PATIENCE = 30


class HttpHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format, *arguments):
        pass

    def answer(self, body, code=200, kind="text/plain"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with self.server.counted():
            what, _, value = self.path.strip("/").partition("/")
            if what == "delay":
                time.sleep(float(value))
                self.answer(f"slept {value}".encode())
            elif what == "together":
                count, _, seconds = value.partition("/")
                time.sleep(float(seconds or 0))
                met = self.server.wait_for(int(count))
                self.answer(f"met {met}".encode())
            elif what == "bytes":
                self.answer(b"0123456789abcdef" * (int(value) // 16))
            elif what == "chunks":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for n in range(int(value)):
                    piece = f"chunk {n};".encode()
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
            elif what == "peer":
                self.answer(str(self.client_address[1]).encode())
            else:
                self.answer(b"no such page", 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Type"] == "application/json":
            body = json.dumps({"echo": json.loads(body)}).encode()
        self.answer(body, kind=self.headers["Content-Type"] or "text/plain")


class Server(socketserver.ThreadingTCPServer):
    """Counts what is inside at the same time. `url` or `port` tell where it is."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, handler, context=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.context = context
        self.port = self.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self.changed = threading.Condition()
        self.inside = self.most = 0
        self.received = []
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def finish_request(self, request, client_address):
        if self.context is not None:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except OSError:
                return      # a client that does not like our certificate
        super().finish_request(request, client_address)

    def handle_error(self, request, client_address):
        pass            # clients of some tests hang up

    def counted(self):
        return self.Counted(self)

    class Counted:
        def __init__(self, server):
            self.server = server

        def __enter__(self):
            with self.server.changed:
                self.server.inside += 1
                self.server.most = max(self.server.most, self.server.inside)
                self.server.changed.notify_all()

        def __exit__(self, *exc_info):
            with self.server.changed:
                self.server.inside -= 1

    def wait_for(self, count):
        """Block until `count` have been inside at once; what the most was, which is less if they did not come."""
        with self.changed:
            self.changed.wait_for(lambda: self.most >= count, PATIENCE)
            return self.most

    def stop(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class SmtpHandler(socketserver.StreamRequestHandler):
    """As much of SMTP as smtplib needs to hand over a message, with STARTTLS if the server has a context for it."""

    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.reply("220 test")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                self.reply("250-test\r\n250-STARTTLS\r\n250 SIZE" if self.server.starttls else "250-test\r\n250 SIZE")
            elif verb == "STARTTLS":
                self.reply("220 go on")
                self.connection = self.server.starttls.wrap_socket(self.connection, server_side=True)
                self.setup_files()
            elif verb == "DATA":
                self.reply("354 go on")
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line)
                with self.server.counted():
                    self.server.received.append(b"".join(lines).decode())
                    self.reply(f"250 met {self.server.wait_for(self.server.crowd)}")
            elif verb == "QUIT":
                self.reply("221 bye")
                return
            else:
                self.reply("250 ok")

    def setup_files(self):
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)


@pytest.fixture
def server_context(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    return context


@pytest.fixture
def http_server():
    server = Server(HttpHandler)
    yield server
    server.stop()


@pytest.fixture
def https_server(server_context):
    server = Server(HttpHandler, server_context)
    yield server
    server.stop()


@pytest.fixture
def smtp_server(server_context):
    server = Server(SmtpHandler)
    server.starttls = server_context
    server.crowd = 1
    yield server
    server.stop()


@pytest.fixture
def client(run_script):
    """Run a program under `patch_all()` with `arguments`; it must be silent on stderr. Returns the lines it prints."""

    def run(source, *arguments, timeout=50):
        import textwrap

        result = run_script(
            "from gevlite import monkey\nmonkey.patch_all()\nimport sys\n" + textwrap.dedent(source),
            *map(str, arguments),
            timeout=timeout,
        )
        assert result.stderr == ""
        return result.stdout.splitlines()

    return run
