"""grpc.aio, which has a thread of its own in C, and anyio, with the event loop of gevlite."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(240)

GRPC = """
import grpc

COUNT = 30

async def unary(people, request, context):
    await people.meet()
    return b"re: " + request

async def stream(request, context):
    for i in range(10):
        yield b"%s-%d" % (request, i)

async def talk(requests, context):
    async for request in requests:
        yield request[::-1]

began, ended = [], []

async def never(request, context):
    began.append(request)
    try:
        await asyncio.sleep(60)
    finally:
        ended.append(request)

def blocks(request, context):
    # A handler that is not async: grpc.aio calls it in its executor.
    return request * 2

@contextlib.asynccontextmanager
async def resource():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("t.T", {
        "Unary": grpc.unary_unary_rpc_method_handler(functools.partial(unary, Crowd(COUNT))),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
        "Never": grpc.unary_unary_rpc_method_handler(never),
        "Blocks": grpc.unary_unary_rpc_method_handler(blocks),
    })])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(1)

async def ask(channel, number):
    name = b"%d" % number
    assert await channel.unary_unary("/t.T/Unary")(name, timeout=PATIENCE) == b"re: " + name
    parts = [part async for part in channel.unary_stream("/t.T/Stream")(name)]
    assert parts == [b"%s-%d" % (name, i) for i in range(10)]
    call = channel.stream_stream("/t.T/Talk")()
    for i in range(5):
        await call.write(b"%d.%s" % (i, name))
        assert await call.read() == (b"%d.%s" % (i, name))[::-1]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF

async def more(channel):
    assert await channel.unary_unary("/t.T/Blocks")(b"x") == b"xx"
    try:
        await channel.unary_unary("/t.T/Never")(b"1", timeout=0.05)
    except grpc.aio.AioRpcError as exc:
        assert exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    while len(ended) < len(began):
        await asyncio.sleep(0.001)
    call = channel.unary_unary("/t.T/Never")(b"2")
    task = asyncio.ensure_future(call)
    while b"2" not in began:
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert call.cancelled()
    while b"2" not in ended:
        await asyncio.sleep(0.001)

in_each_way(resource, ask, COUNT, more)
"""


def test_grpc(run_asynchronous):
    run_asynchronous(GRPC)


ANYIO = """
import threading, time
import anyio, anyio.from_thread, anyio.to_thread

COUNT = 40
OS_THREAD = threading.get_native_id()

@contextlib.asynccontextmanager
async def resource():
    yield Crowd(COUNT)

def in_a_thread(number):
    assert threading.get_native_id() != OS_THREAD
    time.sleep(0.001)
    assert anyio.from_thread.run(answer, number) == number + 1
    return anyio.from_thread.run_sync(lambda: number + 2)

async def answer(number):
    assert threading.get_native_id() == OS_THREAD
    await anyio.sleep(0.001)
    return number + 1

async def ask(people, number):
    await people.meet()
    assert await anyio.to_thread.run_sync(in_a_thread, number) == number + 2
    send, receive = anyio.create_memory_object_stream(1)
    got = []
    async with anyio.create_task_group() as group:
        async def produce():
            async with send:
                for i in range(5):
                    await send.send((number, i))
        group.start_soon(produce)
        async for item in receive:
            got.append(item)
    receive.close()
    assert got == [(number, i) for i in range(5)]

async def more(people):
    # The first failure cancels the others.
    ended = []
    async def stopped():
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
                ended.append("stopped")
    async def fails():
        await anyio.sleep(0.001)
        raise KeyError
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(stopped)
            group.start_soon(fails)
    except ExceptionGroup as exc:
        assert [type(e) for e in exc.exceptions] == [KeyError]
    assert ended == ["stopped"]
    with anyio.move_on_after(0.01) as outer:
        with anyio.fail_after(60):
            await anyio.sleep(60)
    assert outer.cancelled_caught
    # Sockets, and processes with their pipes.
    async def upper(stream):
        async with stream:
            async for data in stream:
                await stream.send(data.upper())
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, upper)
        async with await anyio.connect_tcp("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port)) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"HELLO"
        group.cancel_scope.cancel()
    await listener.aclose()
    done = await anyio.run_process([sys.executable, "-c", "print(input()[::-1])"], input=b"abc\\n")
    assert done.stdout == b"cba\\n"

in_each_way(resource, ask, COUNT, more)
options = {} if PATCHED else {"loop_factory": EventLoop}

async def main():
    assert isinstance(asyncio.get_running_loop(), EventLoop)
    return "ran"

assert anyio.run(main, backend_options=options) == "ran"
"""


def test_anyio(run_asynchronous):
    run_asynchronous(ANYIO)


def test_pytest_runs_anyio_tests_with_the_loop(tmp_path):
    (tmp_path / "test_it.py").write_text("""
import asyncio
import anyio, pytest
from gevlite.asyncio import EventLoop

@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": EventLoop}

@pytest.fixture
async def number():
    await anyio.sleep(0.001)
    yield 5
    await anyio.sleep(0.001)

@pytest.mark.anyio
@pytest.mark.parametrize("turn", [1, 2])
async def test_it(number, turn):
    assert isinstance(asyncio.get_running_loop(), EventLoop)
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0.001)
    assert number == 5
""")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "anyio.pytest_plugin", "test_it.py"],
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
