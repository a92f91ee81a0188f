"""gevlite does not depend on when a module is imported, and holds the originals from before patching.

From Python 3.15 on imports can be lazy (PEP 810): for a whole program by `-X lazy_imports=all`, or one by one. Earlier
versions run the same programs as they are.
"""

import sys

import pytest

from gevlite.monkey import _engine

LAZY = sys.version_info >= (3, 15)
FLAGS = {"as it is": [], "all lazy": ["-X", "lazy_imports=all"]} if LAZY else {"as it is": []}

CASES = {
    "the hub first": """
        from gevlite._core import get_hub, sleep
        sleep(0.001)
        hub = get_hub()
        assert hub.threadpool.apply(abs, (-1,)) == 1
        assert hub.resolver.gethostbyname("127.0.0.1") == "127.0.0.1"
        assert hub.loop.timer(0) is not None
        """,
    "one module of it": """
        import gevlite.queue
        gevlite.queue.Queue().put(1)
        import gevlite
        assert gevlite.spawn(lambda: 1).get() == 1
        """,
    "a hub made by hand": """
        import gevlite.hub
        assert gevlite.hub.Hub().backend.name in gevlite.backends.names()
        """,
    "sockets and servers": """
        from gevlite import socket
        from gevlite.server import StreamServer
        def echo(sock, address):
            sock.sendall(sock.recv(10))
        server = StreamServer(("127.0.0.1", 0), echo)
        server.start()
        with socket.create_connection(server.address) as sock:
            sock.sendall(b"hello")
            assert sock.recv(10) == b"hello"
        server.stop()
        """,
    "patched": """
        from gevlite import monkey
        monkey.patch_all()
        import os, queue, select, socket, subprocess, threading, time
        import gevlite
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                gevlite.sleep(0.001)
        beside = gevlite.spawn(tick)
        def cooperates(call):
            before = len(ticks)
            call()
            assert len(ticks) > before, call
        a, b = socket.socketpair()
        def later(call):
            thread = threading.Thread(target=lambda: (time.sleep(0.05), call()))
            thread.start()
            return thread
        cooperates(lambda: time.sleep(0.02))
        cooperates(lambda: (later(lambda: b.send(b"x")), a.recv(1)))
        cooperates(lambda: select.select([a], [], [], 0.05))
        cooperates(lambda: subprocess.run(["sleep", "0.05"], capture_output=True, timeout=20))
        cooperates(lambda: later(lambda: None).join())
        tasks = queue.SimpleQueue()
        cooperates(lambda: (later(lambda: tasks.put(1)), tasks.get()))
        r, w = os.pipe()
        cooperates(lambda: (later(lambda: os.write(w, b"x")), os.read(r, 1)))
        import asyncio
        cooperates(lambda: asyncio.run(asyncio.sleep(0.05)))
        beside.kill()
        """,
    "patched, and put back": """
        import time
        originals = [time.sleep]
        from gevlite import monkey
        monkey.patch_all()
        assert time.sleep is not originals[0]
        import gevlite.pywsgi, gevlite.backdoor
        monkey.unpatch_all()
        assert time.sleep is originals[0]
        """,
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("flags", FLAGS)
def test_it_works_however_its_modules_are_imported(script, flags, case):
    out = script.python(*FLAGS[flags], script.write(CASES[case]))
    assert (script.returncode, script.stderr, out) == (0, "", "")


WHAT_IS_THERE = """
    from gevlite import monkey
    monkey.patch_all()
    import sys
    import gevlite
    for name in %r.split():
        module = sys.modules[f"gevlite.{name}"]
        for attribute in sorted(vars(module)):
            value = getattr(module, attribute)
            home = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
            print(name, attribute, type(value).__name__, *home)
    """ % " ".join(_engine._NEEDED)  # noqa: UP031


def test_what_the_twins_have_taken_are_the_originals(script):
    """No matter how late their own imports are executed."""
    path = script.write(WHAT_IS_THERE)
    found = [script.python(*flags, path).splitlines() for flags in FLAGS.values()]
    assert "os _read builtin_function_or_method posix read" in found[-1]
    assert all(lines == found[0] for lines in found)


def test_imports_that_are_lazy_one_by_one(script):
    """A name imported lazily before patching and used after it gives the replacement."""
    code = """
        lazy import socket
        lazy from queue import SimpleQueue
        lazy from gevlite import monkey
        lazy import gevlite
        monkey.patch_all()
        assert isinstance(socket.socketpair()[0], socket.socket)
        ticks, tasks = [], SimpleQueue()
        beside = gevlite.spawn(lambda: [(ticks.append(1), gevlite.sleep(0.001)) for _ in range(5)] and tasks.put(1))
        try:
            tasks.get(timeout=5)
        except Exception:
            print("blocked")
        """
    path = script.write(code if LAZY else code.replace("lazy ", ""))
    out = script.python("-W", "ignore::ResourceWarning", path)
    # Without the keyword it has been taken too early: its objects are repaired.
    assert (out, script.stderr) == ("", "")
