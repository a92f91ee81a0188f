"""HTTP clients and web frameworks, unmodified, in a patched process."""

import textwrap

import pytest

pytestmark = pytest.mark.timeout(240)

CLIENTS = {
    "requests": """
        import requests
        def fetch(i):
            return requests.get(f"{url}/{i}", timeout=PATIENCE).text
    """,
    "requests-session": """
        import requests
        from requests.adapters import HTTPAdapter
        session = requests.Session()
        session.mount("http://", HTTPAdapter(pool_maxsize=20))
        def fetch(i):
            return session.get(f"{url}/{i}", timeout=PATIENCE).text
    """,
    "urllib3": """
        import urllib3
        pool = urllib3.PoolManager(maxsize=20, block=True)
        def fetch(i):
            return pool.request("GET", f"{url}/{i}", timeout=PATIENCE).data.decode()
    """,
    "httpx": """
        import httpx
        client = httpx.Client(timeout=PATIENCE)
        def fetch(i):
            return client.get(f"{url}/{i}").text
    """,
}


@pytest.mark.parametrize("client", CLIENTS)
def test_twenty_slow_requests_wait_at_once(run, slow_server, client):
    code = (
        "url = f'http://127.0.0.1:{sys.argv[1]}'\n"
        + textwrap.dedent(CLIENTS[client])
        + textwrap.dedent(
            """
        fetch(0)        # what is imported on the way takes time
        assert together(20, fetch) == [f"/{i}" for i in range(20)]
        print("ok")
        """
        )
    )
    assert run(code, slow_server.port) == ["ok"]


def test_a_timeout_of_a_client_is_kept(run, slow_server):
    code = """
        import requests, httpx, urllib3
        url = f"http://127.0.0.1:{sys.argv[1]}/"
        limits = urllib3.Timeout(connect=PATIENCE, read=0.05)
        for call, error in (
            (lambda: requests.get(url, timeout=(PATIENCE, 0.05)), requests.exceptions.ReadTimeout),
            (lambda: httpx.get(url, timeout=httpx.Timeout(PATIENCE, read=0.05)), httpx.ReadTimeout),
            (lambda: urllib3.request("GET", url, timeout=limits, retries=False), urllib3.exceptions.ReadTimeoutError),
        ):
            try:
                call()
            except error:
                print("timeout")
    """
    assert run(code, slow_server.port) == ["timeout"] * 3


def test_boto3_against_moto(run, moto, slowed):
    code = """
        import boto3, botocore.config
        def client(port):
            return boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}",
                                config=botocore.config.Config(max_pool_connections=20, s3={"addressing_style": "path"}))
        quick, slow = client(sys.argv[1]), client(sys.argv[2])
        quick.create_bucket(Bucket="things")
        for i in range(10):
            quick.put_object(Bucket="things", Key=str(i), Body=b"%d" % i)
        def fetch(i):
            return slow.get_object(Bucket="things", Key=str(i))["Body"].read()
        assert together(10, fetch) == [b"%d" % i for i in range(10)]
        print("ok")
    """
    assert run(code, moto.port, slowed(moto)) == ["ok"]


FLASK = """
import flask, logging
from werkzeug.serving import make_server
logging.getLogger("werkzeug").disabled = True
app = flask.Flask("app")

@app.get("/<name>")
def view(name):
    time.sleep(SECONDS)
    return flask.request.path

server = make_server("127.0.0.1", 0, app, threaded=True)
"""

DJANGO = """
import django, types
from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpResponse
from django.urls import path

def view(request, name):
    time.sleep(SECONDS)
    return HttpResponse(request.path)

urls = types.ModuleType("urls")
urls.urlpatterns = [path("<name>", view)]
sys.modules["urls"] = urls
settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None)
django.setup()

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
server.set_app(get_wsgi_application())
"""


@pytest.mark.parametrize("framework", [FLASK, DJANGO], ids=["flask", "django"])
def test_a_framework_serves_with_threads(run, framework):
    """Its development server starts a thread for each request; those are greenlets here."""
    code = (
        framework
        + """
import threading, urllib.request
threading.Thread(target=server.serve_forever, daemon=True).start()
def fetch(i):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{i}", timeout=PATIENCE) as response:
        return response.read().decode()
fetch(0)
assert together(20, fetch) == [f"/{i}" for i in range(20)]
server.shutdown()
print("ok")
"""
    )
    assert run(code) == ["ok"]
