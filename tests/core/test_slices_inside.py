"""gevlite's own code calls code of the program in the middle of a change: a time slice does not end there."""

import textwrap

import pytest

HEAD = """
import asyncio, time
import gevlite
from gevlite.queue import PriorityQueue, Queue

def compute(seconds=0.003):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
"""


@pytest.fixture(name="sliced")
def sliced_fixture(run_script):
    def run(source):
        run_script(HEAD + textwrap.dedent(source), env={"GEVLITE_TIME_SLICE": "0.001"})

    return run


QUEUES = {
    "comparison": """
        class Item(int):
            def __lt__(self, other):
                compute()
                return int(self) < int(other)

        queue = PriorityQueue(8)
    """,
    "own methods": """
        Item = int

        class Own(Queue):
            def _init(self, maxsize):
                self.queue = []

            def _put(self, item):
                size = len(self.queue)
                compute()
                assert len(self.queue) == size
                self.queue.append(item)

            def _get(self):
                item = self.queue[0]
                compute()
                assert self.queue.pop(0) is item
                return item

            def _qsize(self):
                return len(self.queue)

        queue = Own(8)
    """,
}


@pytest.mark.parametrize("kind", QUEUES)
def test_a_queue_keeps_its_items_together(sliced, kind):
    work = """
        def put(first):
            for i in range(first, first + 10):
                queue.put(Item(i))

        def get():
            return [int(queue.get()) for _ in range(10)]

        putters = [gevlite.spawn(put, first) for first in (0, 10, 20)]
        getters = [gevlite.spawn(get) for _ in range(3)]
        gevlite.joinall(putters, raise_error=True)
        assert sorted(sum([g.get() for g in getters], [])) == list(range(30))
    """
    sliced(textwrap.dedent(QUEUES[kind]) + textwrap.dedent(work))


def test_a_line_of_the_access_log_is_in_one_piece(sliced):
    sliced("""
        import base64, io, socket
        from gevlite.pywsgi import WSGIServer

        out = io.StringIO()

        class Slow(str):
            def __str__(self):
                compute()
                return "slow"

        def application(environ, start_response):
            environ["first"], environ["second"] = Slow("x"), Slow("x")
            start_response("200 OK", [("Content-Length", "0")])
            return []

        from gevlite._accesslog import AccessLog
        log = AccessLog(out, "%({first}e)s and %({second}e)s")
        server = WSGIServer(("127.0.0.1", 0), application, log=log)
        server.start()

        def ask():
            with gevlite.socket.create_connection(server.address) as sock:
                for _ in range(5):
                    sock.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                    assert b"200 OK" in sock.recv(10000)

        import gevlite.socket
        gevlite.joinall([gevlite.spawn(ask) for _ in range(4)], raise_error=True)
        server.stop()
        log.flush()
        lines = out.getvalue().splitlines()
        assert lines == ["slow and slow"] * 20, lines
    """)


def test_a_loop_of_asyncio_is_not_seen_before_its_greenlet_runs_it(sliced):
    sliced("""
        from gevlite import monkey
        monkey.patch_all()
        from gevlite.selectors import DefaultSelector

        class Slow(asyncio.SelectorEventLoop):
            def get_debug(self):
                compute()
                return False

        def run_one():
            loop = Slow(DefaultSelector())
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

        def look():
            while runs:
                assert asyncio._get_running_loop() is None
                assert gevlite.get_hub() and __import__("sys").get_asyncgen_hooks() == (None, None)
                gevlite.sleep(0)

        runs = [gevlite.spawn(run_one) for _ in range(3)]
        looks = gevlite.spawn(look)
        gevlite.joinall(runs, raise_error=True)
        runs.clear()
        looks.get()
    """)


STANDARD = """
    import os, sys
    from gevlite import monkey

    patched = {patched}
    if {locks_fail}:
        from gevlite import _adopted

        def adopt_locks():
            raise RuntimeError("a Python that gevlite does not know")

        _adopted.adopt_locks = adopt_locks
        monkey.patch_thread()
    elif patched:
        monkey.patch_all()

    import threading

    # As if it was a module of the standard library.
    source = "def spin(stopped):\\n    while not stopped and time.perf_counter() < end:\\n        pass\\n"
    names = {{"time": time, "end": time.perf_counter() + {seconds}}}
    exec(compile(source, os.path.join(os.path.dirname(os.__file__), "spinning.py"), "exec"), names)
    stopped = []
    greenlets = [gevlite.spawn(names["spin"], stopped)]
    if patched:
        thread = threading.Thread(target=names["spin"], args=(stopped,))
        thread.start()
    gevlite.sleep(0.001)
    stopped.append(1)
    in_time = time.perf_counter() < names["end"]
    assert in_time == patched, in_time
    gevlite.joinall(greenlets)
    if patched:
        monkey.unpatch_all()
"""


@pytest.mark.parametrize(
    ("patched", "locks_fail", "seconds"), [(True, False, 50), (False, False, 0.1), (False, True, 0.1)]
)
def test_the_standard_library_gives_way_only_if_its_locks_are_cooperative(sliced, patched, locks_fail, seconds):
    sliced(STANDARD.format(patched=patched, locks_fail=locks_fail, seconds=seconds))


ENDS = {
    "no hub before": "",
    "the hub is made by an exit function": "atexit.register(lambda: gevlite.spawn(gevlite.sleep, 0.001).join())",
    "a slice is over at the end": "gevlite.spawn(gevlite.sleep, 1); gevlite.sleep(0); spin(0.002)",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_the_interpreter_ends_without_a_slice_that_is_over(run_script, end):
    source = """
        import atexit, sys, time
        import gevlite

        def spin(seconds, now=time.perf_counter):
            end = now() + seconds
            while now() < end:
                pass

        class Last:
            def __del__(self, spin=spin, sleep=gevlite.sleep):
                spin(0.02)
                try:
                    sleep(0)
                except BaseException:
                    pass

        last = Last()
    """
    for _ in range(3):
        result = run_script(textwrap.dedent(source) + end, env={"GEVLITE_TIME_SLICE": "0.001"})
        assert result.stderr == ""
