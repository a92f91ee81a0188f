"""HTTP and HTTPS clients, unmodified under `patch_all()`.

The server proves that they are concurrent: it answers no request before all have arrived.
"""

import pytest

COUNT = 5

URLLIB = """
import urllib.request

def fetch(url, n):
    with urllib.request.urlopen(f"{url}/meet/{n}", timeout=40) as response:
        first = response.read().decode()
    big = bytes(300_000)
    with urllib.request.urlopen(f"{url}/echo", data=big) as response:
        return [first, response.read() == big]
"""

HTTP_CLIENT = """
import http.client
import urllib.parse

def fetch(url, n):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
    connection.request("GET", f"/meet/{n}")
    first = connection.getresponse().read().decode()
    big = bytes(300_000)
    connection.request("POST", "/echo", body=big)
    second = connection.getresponse().read() == big
    connection.close()
    return [first, second]
"""

REQUESTS = """
import requests

def fetch(url, n):
    first = requests.get(f"{url}/meet/{n}", timeout=40)
    first.raise_for_status()
    big = bytes(300_000)
    return [first.text, requests.post(f"{url}/echo", data=big).content == big]
"""

REQUESTS_SESSION = """
import requests

def fetch(url, n):
    with requests.Session() as session:
        first = session.get(f"{url}/meet/{n}")
        first.raise_for_status()
        big = bytes(300_000)
        with session.post(f"{url}/echo", data=big, stream=True) as second:
            return [first.text, b"".join(second.iter_content(10_000)) == big]
"""

# One pool for all, with a connection for each: its lock and its queue are patched too.
URLLIB3 = """
import urllib3

pool = urllib3.PoolManager(maxsize=5, block=True)

def fetch(url, n):
    first = pool.request("GET", f"{url}/meet/{n}", timeout=40, retries=False).data.decode()
    big = bytes(300_000)
    return [first, pool.request("POST", f"{url}/echo", body=big).data == big]

def finish():
    pool.clear()
"""

CLIENTS = {
    "urllib.request": URLLIB,
    "http.client": HTTP_CLIENT,
    "requests": REQUESTS,
    "requests.Session": REQUESTS_SESSION,
    "urllib3": URLLIB3,
}
TLS_CLIENTS = {
    "urllib.request": URLLIB,
    "http.client": HTTP_CLIENT.replace("HTTPConnection", "HTTPSConnection"),
    "requests": REQUESTS,
    "requests.Session": REQUESTS_SESSION,
}


def need(client):
    pytest.importorskip(client.removesuffix(".Session"))


@pytest.mark.parametrize("client", CLIENTS)
def test_requests_over_http_are_in_flight_at_the_same_time(fetch_at_once, client):
    need(client)
    seen = fetch_at_once(CLIENTS[client])
    assert seen.values == [[f"meet {n}", True] for n in range(COUNT)]
    assert seen.most == COUNT


@pytest.mark.parametrize("client", TLS_CLIENTS)
def test_requests_over_https_are_in_flight_at_the_same_time(fetch_at_once, client, certificates):
    need(client)
    trust = {"SSL_CERT_FILE": certificates.ca, "REQUESTS_CA_BUNDLE": certificates.ca}
    seen = fetch_at_once(TLS_CLIENTS[client], certificate=certificates.server, env=trust)
    assert seen.values == [[f"meet {n}", True] for n in range(COUNT)]
    assert seen.most == COUNT


@pytest.mark.parametrize("client", ["urllib.request", "requests"])
def test_a_certificate_of_an_unknown_authority_is_refused(fetch_at_once, client, certificates):
    need(client)
    seen = fetch_at_once(TLS_CLIENTS[client], certificate=certificates.server)
    assert len(seen.values) == COUNT
    assert all("CERTIFICATE_VERIFY_FAILED" in value for value in seen.values), seen.values
    assert seen.most == 0


def test_two_hundred_delayed_requests_finish_together(fetch_at_once):
    pytest.importorskip("requests")
    code = """
import requests
import time

def fetch(url, n):
    response = requests.get(f"{url}/delay/0.5")
    return [response.status_code, response.text]
"""
    seen = fetch_at_once(code, count=200)
    assert seen.values == [[200, "delay 0.5"]] * 200
    assert seen.most == 200


def test_a_time_out_of_the_client_is_its_own_exception(fetch_at_once):
    """The server waits for one client more than there are, so each gives up by itself, and none instead of another."""
    pytest.importorskip("requests")
    code = """
import requests
import urllib.request

def fetch(url, n):
    try:
        if n % 2:
            requests.get(f"{url}/meet/{n}", timeout=1)
        else:
            urllib.request.urlopen(f"{url}/meet/{n}", timeout=1)
    except requests.ReadTimeout:
        return "requests"
    except TimeoutError:
        return "urllib"
    finally:
        late.append(n)
        if len(late) == 4:
            # The fifth request lets the server's four end.
            with urllib.request.urlopen(f"{url}/meet/5") as response:
                response.read()

late = []
"""
    seen = fetch_at_once(code, count=4, expected=5)
    assert seen.values == ["urllib", "requests"] * 2
    assert seen.most == 5


def test_a_refused_connection_is_the_clients_own_exception(run_script):
    pytest.importorskip("requests")
    run_script(
        """
        from gevlite import monkey
        monkey.patch_all()
        import gc
        import socket
        import http.client
        import urllib.request
        import requests
        import gevlite

        def counters():
            gc.collect()
            stats = gevlite.get_hub().stats()
            return [stats[n] for n in ("greenlets", "parked", "timers", "fds", "fd_waiters", "refs")]

        before = counters()
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = "127.0.0.1:%d" % server.getsockname()[1]

        def by_urllib():
            try:
                urllib.request.urlopen(f"http://{address}/")
            except urllib.error.URLError as exc:
                assert isinstance(exc.reason, ConnectionRefusedError), exc
                return True

        def by_http_client():
            try:
                http.client.HTTPConnection(address).request("GET", "/")
            except ConnectionRefusedError:
                return True

        def by_requests():
            try:
                requests.get(f"http://{address}/")
            except requests.ConnectionError:
                return True

        jobs = [gevlite.spawn(f) for f in (by_urllib, by_http_client, by_requests)]
        assert [job.get() for job in jobs] == [True] * 3
        del jobs
        assert counters() == before, (before, counters())
    """,
        timeout=50,
    )
