"""Time slices: what must be complete is not interrupted, and a loop over such things is, between two of them."""

import pytest
from slice_programs import slicing

HEAD = """
import sys, time
import gevlite

def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass

def timeouts(function, count, seconds=0.002):
    "How many of so many Timeouts did not reach whoever set them."
    lost = 0
    for _ in range(count):
        try:
            with gevlite.Timeout(seconds):
                function()
                while True:
                    pass
        except gevlite.Timeout:
            continue
        lost += 1
    return lost
"""


@pytest.fixture
def sliced(run_script):
    return slicing(run_script, "0.001", head=HEAD)


def test_an_exit_stack_knows_what_it_has_entered(sliced):
    sliced("""
        import contextlib

        held = []

        class Manager:
            def __enter__(self):
                held.append(self)
                spin(0.0015)

            def __exit__(self, *exc):
                held.remove(self)

        def enters():
            with contextlib.ExitStack() as stack:
                stack.enter_context(Manager())
                while True:
                    pass

        assert timeouts(enters, 200, 0.0015) == 0
        assert held == []
    """)


def test_locks_of_logging_are_given_back(sliced):
    sliced("""
        import io, logging

        handler = logging.StreamHandler(io.StringIO())
        log = logging.getLogger("sliced")
        log.propagate = False
        log.addHandler(handler)
        log.setLevel(logging.INFO)

        def logs():
            while True:
                log.info("hello")

        for _ in range(200):
            gevlite.spawn(timeouts, logs, 1).get()
            assert not handler.lock._is_owned()
            with gevlite.Timeout(10):
                handler.acquire()
            handler.release()
    """)


@pytest.mark.parametrize("drop", ["things[0] = None", "del things[0]", "thing.value = None", "del thing.value"])
def test_a_generator_that_is_closed_by_what_drops_it_is_not_interrupted(sliced, drop):
    sliced(f"""
        def generate():
            try:
                yield
            finally:
                spin(0.004)

        class Thing:
            pass

        def drops():
            thing, things = Thing(), {{}}
            thing.value = generate()
            next(thing.value)
            if "things" in {drop!r}:
                things[0], thing.value = thing.value, None
            {drop}

        assert timeouts(drops, 20) == 0
    """)


def test_unraisablehook_is_not_interrupted(sliced):
    sliced("""
        class Bad:
            def __del__(self):
                raise ValueError

        def drops():
            things = [Bad()]
            things.clear()

        sys.unraisablehook = lambda args: spin(0.004)
        assert timeouts(drops, 20) == 0
    """)


def test_code_that_is_not_known_yet_at_the_recursion_limit(sliced):
    sliced("""
        def depth():
            frame, count = sys._getframe(), 0
            while frame:
                frame, count = frame.f_back, count + 1
            return count

        def tick():
            while True:
                gevlite.sleep(0.0005)

        gevlite.spawn(tick)
        for _ in range(20):
            names = {"perf_counter": time.perf_counter}
            exec("def down(n):\\n"
                 "    if n:\\n"
                 "        return down(n - 1)\\n"
                 "    clock = perf_counter\\n"
                 "    end = clock() + 0.003\\n"
                 "    while clock() < end:\\n"
                 "        pass\\n", names)
            names["down"](sys.getrecursionlimit() - depth() - 1)
    """)


@pytest.mark.parametrize("what", ["Dropped()", "with Manager(): pass"])
def test_a_loop_over_what_is_never_interrupted_gives_way(sliced, what):
    sliced(
        f"""
        class Dropped:
            def __del__(self):
                for _ in range(3000):
                    pass

        class Manager:
            def __enter__(self):
                for _ in range(3000):
                    pass

            def __exit__(self, *exc):
                pass

        def loop():
            while not stopped:
                {what}

        stopped = []
        spinner = gevlite.spawn(loop)
        for _ in range(100):
            gevlite.sleep(0.001)
        stopped.append(True)
        spinner.get()
        """,
        seconds="0.01",
    )


def test_loops_of_asyncio_in_a_process_that_is_not_patched(sliced):
    sliced(
        """
        import asyncio

        async def main():
            spin(0.02)
            return "ok"

        jobs = [gevlite.spawn(asyncio.run, main()) for _ in range(3)]
        assert [job.get() for job in jobs] == ["ok"] * 3
        """,
        patch=False,
    )
