"""Real HTTP clients, unmodified, under `patch_all()`: they work, and their requests are concurrent."""

import pytest


def test_urllib(client, http_server):
    lines = client(
        """
        import urllib.error, urllib.request
        import gevlite
        base = sys.argv[1]
        def fetch(path, **options):
            with urllib.request.urlopen(base + path, **options) as answer:
                return answer.read()
        greenlets = [gevlite.spawn(fetch, "/together/10") for _ in range(10)]
        print({greenlet.get() for greenlet in greenlets})
        print(len(fetch("/bytes/1000000")), fetch("/chunks/3"), fetch("/", data=b"posted"))
        try:
            fetch("/nowhere")
        except urllib.error.HTTPError as exc:
            print(exc.code, exc.read())
        try:
            fetch("/delay/5", timeout=0.05)
        except TimeoutError as exc:
            print(exc)
        """,
        http_server.url,
    )
    assert lines == [
        "{b'met 10'}",
        "1000000 b'chunk 0;chunk 1;chunk 2;' b'posted'",
        "404 b'no such page'",
        "timed out",
    ]


def test_http_client(client, http_server):
    lines = client(
        """
        import http.client
        import gevlite
        def fetch(connection, path):
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        def session():
            connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
            ports = {fetch(connection, "/peer") for _ in range(3)}       # kept alive
            met = fetch(connection, "/together/10")
            connection.close()
            return len(ports), met
        greenlets = [gevlite.spawn(session) for _ in range(10)]
        print({greenlet.get() for greenlet in greenlets})
        """,
        http_server.port,
    )
    assert lines == ["{(1, 'met 10')}"]


def test_requests(client, http_server):
    pytest.importorskip("requests")
    lines = client(
        """
        import threading
        import requests
        base = sys.argv[1]
        answers = []
        def work():
            with requests.Session() as session:
                answers.append(session.get(base + "/together/20").text)
                assert session.get(base + "/peer").text == session.get(base + "/peer").text      # kept alive
        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(set(answers), len(answers))
        print(requests.post(base, json={"a": [1, 2]}).json())
        with requests.get(base + "/bytes/1000000", stream=True) as answer:
            print(sum(len(piece) for piece in answer.iter_content(10_000)))
        print(requests.get(base + "/nowhere").status_code)
        try:
            requests.get(base + "/delay/5", timeout=0.05)
        except requests.exceptions.ReadTimeout:
            print("timed out")
        try:
            requests.get("http://127.0.0.1:9")
        except requests.exceptions.ConnectionError:
            print("refused")
        """,
        http_server.url,
    )
    assert lines == ["{'met 20'} 20", "{'echo': {'a': [1, 2]}}", "1000000", "404", "timed out", "refused"]


def test_requests_over_https(client, https_server, certificates):
    pytest.importorskip("requests")
    lines = client(
        """
        import gevlite, requests
        base, authority = sys.argv[1:]
        def fetch(path, **options):
            return requests.get(base + path, verify=authority, **options)
        greenlets = [gevlite.spawn(fetch, "/together/10") for _ in range(10)]
        print({greenlet.get().text for greenlet in greenlets})
        with requests.Session() as session:
            session.trust_env = False       # REQUESTS_CA_BUNDLE would come before our authority
            session.verify = authority
            print(len({session.get(base + "/peer").text for _ in range(3)}))
            print(len(session.get(base + "/bytes/1000000").text))
            print(session.post(base, json=["posted"]).json())
        try:
            fetch("/delay/5", timeout=0.2)
        except requests.exceptions.ReadTimeout:
            print("timed out")
        try:
            requests.get(base + "/peer")        # an authority that nobody knows
        except requests.exceptions.SSLError:
            print("not trusted")
        """,
        https_server.url,
        certificates.ca,
    )
    assert lines == ["{'met 10'}", "1", "1000000", "{'echo': ['posted']}", "timed out", "not trusted"]


def test_200_requests_are_in_flight_together(client, http_server):
    """Each takes half a second, and none is answered before all have come."""
    pytest.importorskip("requests")
    lines = client(
        """
        import gevlite, requests
        greenlets = [gevlite.spawn(requests.get, sys.argv[1] + "/together/200/0.5") for _ in range(200)]
        print({(greenlet.get().status_code, greenlet.get().text) for greenlet in greenlets})
        """,
        http_server.url,
    )
    assert lines == ["{(200, 'met 200')}"]
    assert http_server.most == 200


def test_two_fetches_take_as_long_as_the_longer(client, http_server):
    lines = client(
        """
        import time, urllib.request
        import gevlite
        def fetch(seconds):
            with urllib.request.urlopen(f"{sys.argv[1]}/delay/{seconds}") as answer:
                return answer.read().decode()
        begin = time.monotonic()
        greenlets = [gevlite.spawn(fetch, seconds) for seconds in (2, 1)]
        print([greenlet.get() for greenlet in greenlets])
        elapsed = time.monotonic() - begin
        print(elapsed >= 2, elapsed < 2.9)
        """,
        http_server.url,
    )
    assert lines == ["['slept 2', 'slept 1']", "True True"]
    assert http_server.most == 2
