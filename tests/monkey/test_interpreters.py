"""Other interpreters (PEP 734) under patching: they block no other greenlet, and run in parallel."""

import importlib.util
import sys

import pytest

PUBLIC = sys.version_info >= (3, 14)
HAVE = importlib.util.find_spec("_interpreters") is not None

# Python 3.13 has only a private part of it: running code.
LOW_LEVEL = """
    import gevlite
    try:
        import _interpreters
    except ImportError:
        print("none")
    else:
        import threading
        ident = _interpreters.create()
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                gevlite.sleep(0.001)
        beside = gevlite.spawn(tick)
        assert _interpreters.exec(ident, "import time; time.sleep(0.05)") is None
        print(len(ticks) > 0)
        beside.kill()
        problem = _interpreters.exec(ident, "1 / 0")
        print(problem.type.__name__)
        try:
            _interpreters.exec(10**9, "pass")
        except _interpreters.InterpreterNotFoundError as exc:
            print("not found")
        _interpreters.destroy(ident)
    """


def test_code_in_another_interpreter_stops_no_greenlet(script):
    assert script.run(LOW_LEVEL) == (["True", "ZeroDivisionError", "not found"] if HAVE else ["none"])


CASES = {
    "a pool, whose interpreters run side by side": (
        """
        def meet(queues):
            mine, theirs = queues
            theirs.put("here")
            return mine.get(timeout=30)

        def fail():
            raise ValueError("why")

        if __name__ == "__main__":
            a, b = interpreters.create_queue(), interpreters.create_queue()
            with InterpreterPoolExecutor(2) as pool:
                print(list(pool.map(meet, [(a, b), (b, a)])))
                print(repr(pool.submit(fail).exception()))
        """,
        ["['here', 'here']", "ValueError('why')"],
    ),
    "more at once than the hub's pool has threads": (
        """
        def wait(queue):
            import time
            queue.put(1)
            while queue.qsize() < 12:
                time.sleep(0.001)
            return True

        if __name__ == "__main__":
            gevlite.config.threadpool_size = 2
            queue = interpreters.create_queue()
            with InterpreterPoolExecutor(12) as pool:
                print(sum(future.result() for future in [pool.submit(wait, queue) for _ in range(12)]))
        """,
        ["12"],
    ),
    "patched functions, whose originals are called there": (
        """
        import os

        def names(functions):
            return [(function.__module__, type(function).__name__) for function in functions]

        if __name__ == "__main__":
            with InterpreterPoolExecutor(1) as pool:
                print(list(pool.map(time.sleep, [0, 0.001])))
                print(pool.submit(names, [time.sleep, os.getpid]).result())
                print(pool.submit(gevlite.spawn, 1).exception() is not None)
        """,
        ["[None, None]", "[('time', 'builtin_function_or_method'), ('posix', 'builtin_function_or_method')]", "True"],
    ),
    "a queue that is asked again and again": (
        """
        queue, full = interpreters.create_queue(), interpreters.create_queue(1)
        full.put(1)

        def ask():
            while True:
                try:
                    return queue.get(timeout=0.1)
                except interpreters.QueueEmpty:
                    pass

        def insist():
            while True:
                try:
                    return full.put(2, timeout=0.1)
                except interpreters.QueueFull:
                    pass

        asking, insisting = gevlite.spawn(ask), gevlite.spawn(insist)
        gevlite.sleep(0.02)
        queue.put("an answer")
        print(asking.get(), full.get(), insisting.get(), full.get())
        for _ in range(2):
            try:
                print(queue.get(block=False))
            except interpreters.QueueEmpty as exc:
                print(type(exc).__name__)
            queue.put_nowait(2)
        monkey.unpatch_all()
        print(hasattr(interpreters.Queue.get, "__wrapped__"))
        """,
        ["an answer 1 None 2", "QueueEmpty", "2", "False"],
    ),
    "one interpreter, by hand": (
        """
        def double(n):
            return 2 * n

        if __name__ == "__main__":
            interpreter, queue = interpreters.create(), interpreters.create_queue()
            interpreter.prepare_main(queue=queue)
            running = gevlite.spawn(interpreter.exec, "queue.put(queue.get() + 1)")
            while not interpreter.is_running():
                gevlite.sleep(0.001)
            queue.put(1)
            running.join()
            print(queue.get(timeout=30), interpreter.call(double, 4), interpreter.call(time.sleep, 0))
            thread = interpreter.call_in_thread(double, 5)
            thread.join()
            try:
                interpreter.exec("import gevlite")
            except interpreters.ExecutionFailed as exc:
                print(exc.excinfo.type.__name__)
            interpreter.close()
        """,
        ["2 8 None", "ImportError"],
    ),
}


if PUBLIC:

    @pytest.mark.parametrize("case", CASES)
    def test_concurrent_interpreters(script, case):
        body, expected = CASES[case]
        prelude = """
        from gevlite import monkey
        monkey.patch_all()
        import time
        import gevlite
        from concurrent import interpreters
        from concurrent.futures import InterpreterPoolExecutor
        """
        assert script.run(prelude + body, patch="") == expected
