"""The example examples/celery_fanout, run as its docstring says."""

import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

FETCH_ALL = Path(__file__).resolve().parents[2] / "examples" / "celery_fanout" / "fetch_all.py"
COUNT = 60


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers only when as many requests wait as both workers have places: so they must work together."""

    meeting = threading.Barrier(20)

    def do_GET(self):
        self.meeting.wait(20)
        body = self.path.encode()
        self.send_response(404 if self.path == "/7" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_urls_are_fetched_by_all_workers_together(server, redis_server):
    pytest.importorskip("celery")
    urls = [f"http://127.0.0.1:{server.server_port}/{number}" for number in range(COUNT)]
    environment = {**os.environ, "BROKER_URL": f"redis://127.0.0.1:{redis_server.port}/0", "no_proxy": "*"}
    done = subprocess.run(
        [sys.executable, FETCH_ALL, "--workers", "2", "--concurrency", "10"],
        input="\n".join(urls),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=50,
        env=environment,
    )
    assert done.returncode == 0, done.stdout
    *lines, summary = done.stdout.splitlines()
    fetched = {line.split()[-1]: line.split()[0] for line in lines if " bytes " in line}
    assert fetched == {url: "404" if url.endswith("/7") else "200" for url in urls}, done.stdout
    assert re.match(rf"{COUNT} URLs in [\d.]+ s, 1 failed", summary), done.stdout
    assert [int(count) for count in re.findall(r":\d+ (\d+)", summary)] == [COUNT // 2] * 2, summary
