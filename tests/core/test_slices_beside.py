"""Time slices together with threads, processes, event loops, debuggers and other hubs."""

import textwrap

import pytest
import slice_programs

HEAD = (
    "import gevlite.monkey; gevlite.monkey.patch_all()\n"
    + slice_programs.HEAD
    + """
import asyncio, subprocess

def for_slices(n):
    "Compute until so many slices have ended."
    had = slices()
    spin(lambda: slices() >= had + n)
"""
)


@pytest.fixture
def sliced(run_script):
    """`sliced(source)`: its stdout, from a patched process with time slices of 2 ms."""
    return slice_programs.slicing(run_script, "0.002", patch=False, head=HEAD)  # HEAD patches


def test_threads_of_a_patched_process_with_a_lock(sliced):
    sliced("""
        lock = threading.Lock()
        counted = [0]
        torn = [0]
        deadline = time.monotonic() + 10

        def count():
            for _ in range(20):
                with lock:
                    before = counted[0]
                    had = slices()
                    while slices() == had and time.monotonic() < deadline:
                        pass                    # others run, and wait for the lock
                    counted[0] = before + 1

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counted == [80], counted
    """)


def test_a_thread_that_spins_and_one_that_is_waited_for(sliced):
    sliced("""
        over = threading.Event()
        thread = threading.Thread(target=spin, args=(over.is_set,))
        thread.start()
        queue = __import__("queue").Queue()
        threading.Timer(0.01, queue.put, [1]).start()
        assert queue.get(timeout=20) == 1
        over.set()
        thread.join()
    """)


def test_subprocesses(sliced):
    sliced("""
        stopped = []
        spinners = [spawn(spin, lambda: stopped) for _ in range(2)]
        for _ in range(3):
            command = [sys.executable, "-S", "-c", "import time; print(input()); time.sleep(0.05)"]
            done = subprocess.run(command, input="words\\n", capture_output=True, text=True)
            assert done.stdout == "words\\n" and not done.returncode, done
        assert slices()
        stopped.append(1)
        gevlite.joinall(spinners)
    """)


@pytest.mark.parametrize("where", ["main", "greenlet"])
def test_a_child_keeps_its_slices_and_its_parent_too(sliced, where):
    sliced(f"""
        def child():
            ran = []
            spawn(ran.append, 1)
            spin(lambda: ran)
            assert slices() > 0

        def fork():
            for_slices(2)
            pid = os.fork()
            if not pid:
                try:
                    child()
                except BaseException as exc:
                    sys.excepthook(type(exc), exc, exc.__traceback__)
                    os._exit(1)
                os._exit(0)
            ran = []
            spawn(ran.append, 1)
            spin(lambda: ran)                   # without having come to the hub since the fork
            assert os.waitpid(pid, 0)[1] == 0

        if {where!r} == "main":
            fork()
        else:
            spawn(fork).get()
    """, flags=("-W", "ignore"))  # fmt: skip


def test_coroutines_keep_their_loop_and_their_task(sliced):
    """Several loops in greenlets of one thread, all of whose coroutines compute."""
    sliced("""
        import gevlite.asyncio

        async def compute(loop):
            task = asyncio.current_task()
            had = slices()
            while slices() < had + 3:
                assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop and asyncio.current_task() is task

        async def main():
            loop = asyncio.get_running_loop()
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(compute(loop))
            return loop

        loops = [g.get() for g in [spawn(gevlite.asyncio.run, main()) for _ in range(3)]]
        assert len(set(loops)) == 3
        gevlite.asyncio.run(main())

        async def times_out():
            try:
                async with asyncio.timeout(0.01):
                    for_slices(3)
                    await asyncio.sleep(60)
            except TimeoutError:
                return True

        beside = spawn(gevlite.asyncio.run, main())
        assert gevlite.asyncio.run(times_out())
        beside.get()
    """)


def test_greenlets_that_a_coroutine_switches_to(sliced):
    """As SQLAlchemy does: code that computes in one is interrupted as a part of its coroutine."""
    sliced("""
        import greenlet
        import gevlite.asyncio

        async def compute():
            task = asyncio.current_task()

            def inside():
                had = slices()
                while slices() < had + 3:
                    assert asyncio.current_task() is task
                return "made"

            assert greenlet.greenlet(inside).switch() == "made"
            await asyncio.sleep(0)
            assert asyncio.current_task() is task

        async def main():
            await asyncio.gather(*[compute() for _ in range(3)])

        gevlite.joinall([spawn(gevlite.asyncio.run, main()) for _ in range(2)], raise_error=True)
    """)


def test_another_threads_hub_has_none(sliced):
    sliced("""
        pool = get_hub().threadpool

        def elsewhere():
            hub = get_hub()
            ran = []
            spawn(ran.append, 1)
            end = time.monotonic() + 0.05
            while time.monotonic() < end:
                pass
            assert not ran and not hub.stats()["slices"]
            gevlite.sleep(0)
            assert ran

        stopped = []
        spinner = spawn(spin, lambda: stopped)
        pool.apply(elsewhere)
        stopped.append(1)
        spinner.join()
    """)


def test_local_objects_contexts_and_exceptions_are_each_greenlets_own(sliced):
    sliced("""
        import contextvars
        variable = contextvars.ContextVar("variable")
        local = threading.local()

        def compute(i):
            variable.set(i)
            local.value = i
            try:
                raise ValueError(i)
            except ValueError as exc:
                had = slices()
                while slices() < had + 10:
                    assert variable.get() == local.value == i and sys.exc_info()[1] is exc
            assert sys.exc_info() == (None, None, None)

        gevlite.joinall([spawn(compute, i) for i in range(4)], raise_error=True)
    """)


def test_generators_go_on_where_they_were(sliced):
    sliced("""
        def numbers():
            i = 0
            while True:
                i += 1
                yield i

        def compute():
            had = slices()
            last = 0
            for i in numbers():
                assert i == last + 1
                last = i
                if slices() >= had + 10:
                    return sum(sorted([3, 1, 2], key=lambda x: x))

        assert [g.get() for g in [spawn(compute) for _ in range(4)]] == [6] * 4
    """)


def test_a_program_in_a_debugger(run_script, tmp_path):
    """`python -m pdb`: it runs as ever, and no slice ends."""
    program = tmp_path / "program.py"
    program.write_text(
        HEAD
        + textwrap.dedent("""
        others = [0]

        def other():
            while True:
                others[0] += 1
                gevlite.sleep(0)

        spawn(other)
        gevlite.sleep(0)
        before = others[0]
        end = time.monotonic() + 0.05
        spin(lambda: time.monotonic() > end)
        print("undisturbed", others[0] == before)
        """)
    )
    source = f"import runpy, sys; sys.argv = ['pdb', '-c', 'continue', '-c', 'quit', {str(program)!r}]; "
    result = run_script(source + "runpy.run_module('pdb', run_name='__main__')", env={"GEVLITE_TIME_SLICE": "0.002"})
    assert "undisturbed True" in result.stdout, result.stdout


def test_the_watch_tells_of_what_cannot_be_interrupted(sliced):
    sliced("""
        import logging
        lines = []

        class Keep(logging.Handler):
            def emit(self, record):
                lines.append(record.getMessage())

        logging.getLogger("gevlite.watch").addHandler(Keep())
        gevlite.config.watch = 0.2
        waits = spawn(Event().wait)
        gevlite.sleep(0)
        with gevlite.uninterrupted():
            spin(lambda: lines)
        assert "has run for" in lines[0]
        lines.clear()
        end = time.monotonic() + 0.5
        beside = spawn(spin, lambda: time.monotonic() > end)
        spin(lambda: time.monotonic() > end)        # is interrupted: nobody is blocked
        beside.join()
        assert not lines, lines
        waits.kill()
    """)
