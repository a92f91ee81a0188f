"""asyncio in a process whose standard library is patched: its loops are gevlite's, its threads are OS threads."""

import subprocess
import sys
import textwrap

import pytest

PATCH = """
from gevlite import monkey
monkey.patch_all()

import asyncio, os, signal, socket, threading, time
import gevlite, gevlite.asyncio
from gevlite.asyncio import EventLoop

os_thread = monkey.get_original("_thread", "get_ident")
main_thread = os_thread()
"""


@pytest.fixture(name="patched")
def patched_fixture(tmp_path):
    """`patched(code)`: what it prints in a patched process. before: code that comes before patching."""

    def patched(code, before="", patch=PATCH):
        script = tmp_path / "script.py"
        script.write_text(before + patch + textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, "-W", "default", "-W", "ignore::DeprecationWarning", script],
            capture_output=True,
            text=True,
            timeout=50,
            stdin=subprocess.DEVNULL,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return patched


IMPORTED_BEFORE = ["", "import asyncio\n", "import asyncio; asyncio.run(asyncio.sleep(0))\n"]


@pytest.mark.parametrize("before", IMPORTED_BEFORE, ids=["imported later", "imported before", "used before"])
def test_what_asyncio_makes_is_a_loop_of_gevlite(patched, before):
    code = """
        async def kind():
            await asyncio.sleep(0.001)
            return type(asyncio.get_running_loop())

        loop = asyncio.new_event_loop()
        kinds = [type(loop), asyncio.run(kind()), gevlite.spawn(asyncio.run, kind()).get()]
        loop.close()
        with asyncio.Runner() as runner:
            kinds.append(runner.run(kind()))
        print([kind is EventLoop for kind in kinds])
        monkey.unpatch_all()
        loop = asyncio.new_event_loop()
        print(type(loop) is EventLoop)
        loop.close()
    """
    assert patched(code, before) == "[True, True, True, True]\nFalse\n"


@pytest.mark.parametrize("kind", ["EventLoop", "asyncio.SelectorEventLoop"])
def test_everything_works_in_twenty_greenlets_at_once(patched, kind):
    """Also in asyncio's own loop, which a library may make by its name."""
    code = """
        import sys

        async def answer(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        async def main(number):
            loop = asyncio.get_running_loop()
            assert type(loop) is KIND
            future = loop.create_future()

            def thread():
                time.sleep(0.001)
                loop.call_soon_threadsafe(future.set_result, number)

            threading.Thread(target=thread).start()
            assert await future == number
            assert await asyncio.to_thread(pow, number, 2) == number ** 2
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"%d\\n" % number)
            assert await reader.read() == b"%d\\n" % number
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            command = [sys.executable, "-c", f"print({number})"]
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            assert (await process.communicate())[0] == b"%d\\n" % number and process.returncode == 0
            time.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            return number ** 3

        def run(number):
            with asyncio.Runner(loop_factory=KIND) as runner:
                return runner.run(main(number))

        greenlets = [gevlite.spawn(run, number) for number in range(20)]
        assert [greenlet.get() for greenlet in greenlets] == [number ** 3 for number in range(20)]
        if KIND is EventLoop:
            greenlets = [gevlite.spawn(gevlite.asyncio.wait, main(number)) for number in range(20)]
            assert [greenlet.get() for greenlet in greenlets] == [number ** 3 for number in range(20)]
        print("done")
    """
    assert patched(code.replace("KIND", kind)) == "done\n"


def test_subprocesses_and_signals(patched):
    code = """
        async def main():
            loop = asyncio.get_running_loop()
            came = loop.create_future()
            loop.add_signal_handler(signal.SIGUSR1, came.set_result, "came")
            os.kill(os.getpid(), signal.SIGUSR1)
            print(await came)
            loop.remove_signal_handler(signal.SIGUSR1)
            process = await asyncio.create_subprocess_shell("echo output; exit 4", stdout=asyncio.subprocess.PIPE)
            output, _ = await process.communicate()
            print(output.decode().strip(), process.returncode)

        asyncio.run(main())
    """
    assert patched(code) == "came\noutput 4\n"


# ---------------------------------------------------------------- whose loop


def test_whoever_names_a_loop_gets_it(patched):
    code = """
        async def kind():
            time.sleep(0.001)
            await asyncio.sleep(0.001)
            return type(asyncio.get_running_loop()).__name__

        class Own(asyncio.SelectorEventLoop):
            pass

        class Policy(asyncio.DefaultEventLoopPolicy):
            _loop_factory = Own

        class Factory(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self):
                return Own()

        class Other(asyncio.DefaultEventLoopPolicy):
            pass

        with asyncio.Runner(loop_factory=Own) as runner:
            print(runner.run(kind()))
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            print(runner.run(kind()))
        for policy in (Policy, Factory, Other):
            asyncio.set_event_loop_policy(policy())
            print(asyncio.run(kind()), gevlite.spawn(asyncio.run, kind()).get())
    """
    assert patched(code).split() == [
        *("Own", "_UnixSelectorEventLoop"),
        *("Own", "Own", "Own", "Own", "EventLoop", "EventLoop"),
    ]


LEFT_ALONE = """
    async def kind():
        await asyncio.sleep(0.001)
        return type(asyncio.get_running_loop()).__name__, await asyncio.to_thread(os_thread) == main_thread

    print(asyncio.run(kind()))
    print(type(asyncio._set_running_loop).__name__)
"""


def test_asyncio_can_be_left_alone(patched):
    patch = PATCH.replace("patch_all()", "patch_all(asyncio=False)")
    assert patched(LEFT_ALONE, patch=patch) == "('_UnixSelectorEventLoop', True)\nbuiltin_function_or_method\n"
    # Only its loops.
    patch = PATCH.replace("patch_all()", "patch_all(asyncio=False)\nmonkey.patch_asyncio(loop=False)")
    assert patched(LEFT_ALONE, patch=patch) == "('_UnixSelectorEventLoop', False)\nHook\n"
    # That is no obstacle to more.
    patch = patch.replace("loop=False)", "loop=False)\nmonkey.patch_asyncio()")
    assert patched(LEFT_ALONE, patch=patch) == "('EventLoop', False)\nHook\n"


@pytest.mark.parametrize("name", ["nest_asyncio", "nest_asyncio2"])
def test_what_changes_the_insides_of_loops_finds_those_that_it_knows(patched, name):
    code = f"""
        import sys, types
        sys.modules["{name}"] = types.ModuleType("{name}")
        with asyncio.Runner() as runner:
            print(type(runner.get_loop()).__name__)
    """
    assert patched(code) == "_UnixSelectorEventLoop\n"


def test_uvloop_is_respected(patched):
    pytest.importorskip("uvloop")
    code = """
        import concurrent.futures, uvloop

        read, write = (monkey.get_original("os", name) for name in ("read", "write"))

        class Executor(concurrent.futures.ThreadPoolExecutor):
            def submit(self, function, *args):
                future = concurrent.futures.Future()
                future.set_result("ours")
                return future

        async def kind():
            loop = asyncio.get_running_loop()
            first, second = os.pipe()
            loop.call_later(0.001, write, second, b"loop")
            assert await asyncio.to_thread(read, first, 10) == b"loop"
            assert await loop.run_in_executor(None, os_thread) != main_thread
            # Still busy when the loop ends.
            loop.run_in_executor(None, read, first, 10)
            loop.call_later(0.001, loop.call_later, 0.001, write, second, b"end")
            await loop.shutdown_default_executor()
            try:
                await asyncio.to_thread(int)
            except RuntimeError as exc:
                return type(loop).__module__, str(exc)

        async def own_executor():
            asyncio.get_running_loop().set_default_executor(Executor(1))
            return await asyncio.to_thread(int)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(runner.run(kind()))
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        print(asyncio.run(kind()))
        print(asyncio.run(own_executor()))
        asyncio.set_event_loop_policy(None)
        loop = asyncio.new_event_loop()
        print(type(loop) is EventLoop)
        loop.close()
    """
    result = "('uvloop', 'Executor shutdown has been called')\n"
    for before in ("", "import uvloop\n"):
        assert patched(code, before) == result * 2 + "ours\nTrue\n"


def test_a_hundred_greenlets_run_a_loop_each(patched):
    code = """
        import contextvars

        which = contextvars.ContextVar("which")
        inside = set()

        async def part(number, loop):
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop and which.get() == number
            return number

        async def main(number):
            which.set(number)
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            inside.add(number)
            while len(inside) < 100:
                await asyncio.sleep(0.001)
                time.sleep(0.001)
            assert asyncio.current_task() is task and asyncio.all_tasks() == {task}
            async with asyncio.timeout(30):
                numbers = await asyncio.gather(*(part(number, loop) for _ in range(3)))
            assert asyncio.get_running_loop() is loop and asyncio.get_event_loop() is loop
            return sum(numbers)

        for debug in (False, True):
            inside.clear()
            greenlets = [gevlite.spawn(asyncio.run, main(number), debug=debug) for number in range(100)]
            assert [greenlet.get() for greenlet in greenlets] == [3 * number for number in range(100)]
        inside.clear()
        results = []
        threads = [threading.Thread(target=lambda n=n: results.append(asyncio.run(main(n)))) for n in range(100)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert sorted(results) == [3 * number for number in range(100)]
        print("done")
    """
    code = code.replace(
        "            while", "            asyncio.get_running_loop().slow_callback_duration = 60\n            while"
    )
    assert patched(code) == "done\n"


# ---------------------------------------------------------------- threads

KINDS = ["EventLoop", "asyncio.SelectorEventLoop"]


@pytest.mark.parametrize("before", IMPORTED_BEFORE[:2], ids=["imported later", "imported before"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_blocks_in_c_in_a_thread_stops_nobody(patched, kind, before):
    """It waits for a greenlet, and for a task of the loop that has started it."""
    code = """
        read, write = (monkey.get_original("os", name) for name in ("read", "write"))

        async def main():
            loop = asyncio.get_running_loop()
            for way in (asyncio.to_thread, lambda *call: loop.run_in_executor(None, *call)):
                first, second = os.pipe(), os.pipe()
                gevlite.spawn_later(0.001, write, first[1], b"greenlet")
                loop.call_later(0.001, write, second[1], b"loop")
                print(await way(read, first[0], 10), await way(read, second[0], 10))
                assert await way(os_thread) != main_thread
                for end in (*first, *second):
                    os.close(end)

        with asyncio.Runner(loop_factory=KIND) as runner:
            runner.run(main())
    """
    assert patched(code.replace("KIND", kind), before) == "b'greenlet' b'loop'\n" * 2


@pytest.mark.parametrize("kind", KINDS)
def test_threads_do_what_they_do_in_asyncio(patched, kind):
    code = """
        import concurrent.futures, contextvars

        which = contextvars.ContextVar("which", default=None)

        def fails():
            raise LookupError("as it should")

        async def main():
            loop = asyncio.get_running_loop()
            which.set("mine")
            print(await asyncio.to_thread(which.get))
            for way in (asyncio.to_thread, lambda *call: loop.run_in_executor(None, *call)):
                try:
                    await way(fails)
                except LookupError as exc:
                    print(exc)

            # A task that is cancelled does not wait for its thread.
            begun, end, ended = threading.Event(), threading.Event(), threading.Event()
            def waits():
                begun.set()
                end.wait()
                ended.set()
            task = asyncio.create_task(asyncio.to_thread(waits))
            while not begun.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                print("cancelled", ended.is_set())
            end.set()

            # An executor of the program: its threads are greenlets.
            with concurrent.futures.ThreadPoolExecutor(1) as executor:
                print(await loop.run_in_executor(executor, os_thread) == main_thread)

            # The end waits for the threads.
            again = threading.Event()
            late = loop.run_in_executor(None, lambda: again.wait() and "late")
            loop.call_later(0.001, again.set)
            await loop.shutdown_default_executor()
            print(await late, ended.is_set())
            try:
                await asyncio.to_thread(int)
            except RuntimeError as exc:
                print(exc)

        async def with_another():
            asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
            print(await asyncio.to_thread(os_thread) == main_thread)

        for coroutine in (main(), with_another()):
            with asyncio.Runner(loop_factory=KIND) as runner:
                runner.run(coroutine)
    """
    assert patched(code.replace("KIND", kind)).splitlines() == [
        "mine",
        "as it should",
        "as it should",
        "cancelled False",
        "True",
        "late True",
        "Executor shutdown has been called",
        "True",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_runs_in_a_thread_may_use_everything_patched(patched, kind):
    """The thread has a hub of its own, and shares queues, locks and events with the greenlets of the others."""
    code = """
        import http.server, queue, subprocess, sys, urllib.request

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                time.sleep(0.001)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.path.encode())
            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        jobs, lock, held = queue.Queue(), threading.Lock(), []

        def fetch(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{path}") as response:
                return response.read().decode()

        def work(number):
            assert os_thread() != main_thread
            time.sleep(0.001)
            greenlets = [gevlite.spawn(fetch, f"{number}-{i}") for i in range(3)]
            found = [greenlet.get() for greenlet in greenlets]
            job = jobs.get()
            with lock:
                held.append(job)
                time.sleep(0.0001)
                assert held.pop() == job and not held
            thread = threading.Thread(target=found.append, args=(job,))
            thread.start()
            thread.join()
            assert subprocess.run([sys.executable, "-c", ""]).returncode == 0
            return found, asyncio.run(asyncio.sleep(0.001, number))

        def feed():
            for number in range(8):
                time.sleep(0.001)
                jobs.put(number)
                with lock:
                    time.sleep(0.001)

        async def main():
            gevlite.spawn(feed)
            return await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(8)))

        with asyncio.Runner(loop_factory=KIND) as runner:
            found = runner.run(main())
        assert [number for _, number in found] == list(range(8))
        assert [pages[:3] for pages, _ in found] == [[f"/{n}-{i}" for i in range(3)] for n in range(8)]
        assert sorted(pages[3] for pages, _ in found) == list(range(8))
        print("done")
    """
    assert patched(code.replace("KIND", kind)) == "done\n"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_looking_up_names_needs_no_thread(patched, kind, debug):
    code = """
        async def main():
            loop = asyncio.get_running_loop()
            [found] = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
            named = await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
            back = await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
            try:
                await loop.getaddrinfo("no such name", 80)
            except socket.gaierror as exc:
                print(type(exc).__name__, found[4], found in named, back, loop._default_executor)

        with asyncio.Runner(loop_factory=KIND, debug=DEBUG) as runner:
            runner.run(main())
    """
    code = code.replace("KIND", kind).replace("DEBUG", str(debug))
    assert patched(code) == "gaierror ('127.0.0.1', 80) True ('127.0.0.1', '80') None\n"


# ---------------------------------------------------------------- asgiref


def test_asgiref_in_greenlets(patched):
    """Both of its directions, nested, in a hundred greenlets at once."""
    pytest.importorskip("asgiref")
    code = """
        import contextvars
        from asgiref.local import Local
        from asgiref.sync import async_to_sync, sync_to_async

        which, here, local = contextvars.ContextVar("which"), threading.local(), Local()
        inside = set()

        def sync(number, greenlet):
            assert gevlite.getcurrent() is greenlet and here.number == number and asyncio._get_running_loop() is None
            return async_to_sync(inner)(number)

        def anywhere(number):
            assert os_thread() != main_thread and asyncio._get_running_loop() is None
            time.sleep(0.001)
            return async_to_sync(inner)(number)

        async def inner(number):
            await asyncio.sleep(0.001)
            assert which.get() == local.number == number
            return number

        async def outer(number, greenlet):
            inside.add(number)
            while len(inside) < 100:
                await asyncio.sleep(0.001)
            assert which.get() == local.number == number
            loop = asyncio.get_running_loop()
            found = await sync_to_async(sync, thread_sensitive=True)(number, greenlet)
            found += await sync_to_async(anywhere, thread_sensitive=False)(number)
            assert asyncio.get_running_loop() is loop
            return found

        def call(number):
            which.set(number)
            here.number = local.number = number
            return async_to_sync(outer)(number, gevlite.getcurrent())

        greenlets = [gevlite.spawn(call, number) for number in range(100)]
        assert [greenlet.get() for greenlet in greenlets] == [2 * number for number in range(100)]

        # Without a caller that is not async: all that is sensitive shares one thread.
        inside.clear()
        async def outermost(number):
            inside.add(number)
            while len(inside) < 20:
                await asyncio.sleep(0.001)
            return await asyncio.gather(
                sync_to_async(gevlite.getcurrent, thread_sensitive=True)(),
                sync_to_async(lambda: asyncio._get_running_loop())())

        greenlets = [gevlite.spawn(asyncio.run, outermost(number)) for number in range(20)]
        found = [greenlet.get() for greenlet in greenlets]
        assert len({one for one, _ in found}) == 1 and all(loop is None for _, loop in found)
        assert found[0][0] not in greenlets

        async def refused():
            async_to_sync(inner)(0)

        try:
            asyncio.run(refused())
        except RuntimeError as exc:
            print(str(exc)[:51])
    """
    assert patched(code) == "You cannot use AsyncToSync in the same thread as an\n"
