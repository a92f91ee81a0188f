"""The package's own test: python -m pytest, where it is installed or in its folder.

gevlite's conformance suite checks that a backend keeps its promise, see docs/writing-a-backend.md.
"""

from gevlite_python_backend import PythonPollBackend

import gevlite
from gevlite import socket
from gevlite.hub import Hub


def test_greenlets_talk_over_it() -> None:
    hub = Hub(backend=PythonPollBackend)
    try:
        assert gevlite.get_hub().backend.name == "python-poll"
        a, b = socket.socketpair()
        with a, b:
            job = gevlite.spawn(a.recv, 10)
            gevlite.sleep(0.001)
            b.sendall(b"hello")
            assert job.get(timeout=10) == b"hello"
    finally:
        hub.destroy()
