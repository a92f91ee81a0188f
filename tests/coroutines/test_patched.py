"""The event loop in a process whose standard library is patched, and `patch_asyncio(loop=True)`."""

import subprocess
import sys
import textwrap

import pytest

PATCH = """
from gevlite import monkey
monkey.patch_all()
monkey.patch_asyncio(loop=True)

import asyncio, os, signal, socket, threading, time
import gevlite, gevlite.asyncio
from gevlite.asyncio import EventLoop
"""


@pytest.fixture(name="patched")
def patched_fixture(tmp_path):
    """`patched(code)`: what it prints in a patched process."""

    def patched(code):
        script = tmp_path / "script.py"
        script.write_text(PATCH + textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, "-W", "default", script],
            capture_output=True,
            text=True,
            timeout=50,
            stdin=subprocess.DEVNULL,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return patched


def test_what_asyncio_makes_is_a_loop_of_gevlite(patched):
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
    assert patched(code) == "[True, True, True, True]\nFalse\n"


def test_everything_works_in_it_at_once(patched):
    code = """
        async def answer(reader, writer):
            writer.write(await reader.readline())
            writer.close()

        async def main(number):
            loop = asyncio.get_running_loop()
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
            time.sleep(0.001)
            return await gevlite.spawn(pow, number, 3)

        greenlets = [gevlite.spawn(asyncio.run, main(number)) for number in range(20)]
        assert [greenlet.get() for greenlet in greenlets] == [number ** 3 for number in range(20)]
        greenlets = [gevlite.spawn(gevlite.asyncio.wait, main(number)) for number in range(20)]
        assert [greenlet.get() for greenlet in greenlets] == [number ** 3 for number in range(20)]
        print("done")
    """
    assert patched(code) == "done\n"


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
