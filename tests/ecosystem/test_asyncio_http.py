"""HTTP and WebSocket libraries of asyncio, clients and servers, with the event loop of gevlite."""

import pytest

pytestmark = pytest.mark.timeout(240)

AIOHTTP = """
import ssl
import aiohttp
from aiohttp import web

COUNT = 40
PEOPLE, SERVED = web.AppKey("people", Crowd), web.AppKey("served", list)

async def meet(request):
    await request.app[PEOPLE].meet()
    return web.Response(text=request.match_info["number"])

async def upload(request):
    # Answers while the request's body is still being received.
    response = web.StreamResponse(headers={"X-Port": str(request.transport.get_extra_info("peername")[1])})
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece.upper())
    return response

async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data[::-1])
    return ws

async def never(request):
    request.app[SERVED].append("began")
    try:
        await asyncio.sleep(60)
    finally:
        request.app[SERVED].append("ended")

@contextlib.asynccontextmanager
async def resource():
    app = web.Application()
    app[PEOPLE], app[SERVED] = Crowd(COUNT), []
    app.add_routes([web.get("/meet/{number}", meet), web.post("/upload", upload), web.get("/socket", socket),
                    web.get("/never", never)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    there = here = None
    if len(sys.argv) > 2:
        there = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        there.load_cert_chain(sys.argv[2])
        here = ssl.create_default_context(cafile=sys.argv[3])
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=there)
    await site.start()
    scheme = "https" if there else "http"
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession(f"{scheme}://127.0.0.1:{port}",
                                     connector=aiohttp.TCPConnector(limit=COUNT, ssl=here or True)) as session:
        session.app = app
        yield session
    await runner.cleanup()

async def pieces(number):
    for i in range(5):
        yield b"%d.%d " % (number, i)
        await asyncio.sleep(0)

async def ask(session, number):
    async with session.get(f"/meet/{number}") as response:
        assert await response.text() == str(number)
    async with session.post("/upload", data=pieces(number)) as response:
        assert await response.read() == b"".join([piece async for piece in pieces(number)])
    if number % 3 == 0:
        async with session.ws_connect("/socket") as ws:
            for i in range(5):
                await ws.send_str(f"{number}-{i}")
                assert (await ws.receive_str())[::-1] == f"{number}-{i}"

async def more(session):
    try:
        async with session.get("/never", timeout=aiohttp.ClientTimeout(sock_read=0.05)) as response:
            raise AssertionError("no time-out")
    except TimeoutError:
        pass
    task = asyncio.create_task(session.get("/never"))
    served = session.app[SERVED]
    while served.count("began") < 2:
        await asyncio.sleep(0.001)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError), result
    while served.count("ended") < 2:        # the server notices that the client has gone
        await asyncio.sleep(0.001)
    # A connection is kept for the next request.
    ports = []
    for _ in range(3):
        async with session.post("/upload", data=b"x") as response:
            ports.append(response.headers["X-Port"])
            assert await response.read() == b"X"
    assert len(set(ports)) == 1, ports

in_each_way(resource, ask, COUNT, more)
"""


def test_aiohttp(run_asynchronous):
    run_asynchronous(AIOHTTP)


def test_aiohttp_over_tls(run_asynchronous, certificates):
    run_asynchronous(AIOHTTP.replace("COUNT = 40", "COUNT = 15"), certificates.server, certificates.ca)


HTTPX = """
import anyio, httpx
from aiohttp import web

COUNT = 40
PEOPLE = web.AppKey("people", Crowd)

async def meet(request):
    await request.app[PEOPLE].meet()
    return web.Response(text=request.match_info["number"])

async def lines(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for i in range(5):
        await response.write(b"%s.%d\\n" % (request.match_info["number"].encode(), i))
        await asyncio.sleep(0)
    return response

async def never(request):
    await asyncio.sleep(60)

@contextlib.asynccontextmanager
async def resource():
    app = web.Application()
    app[PEOPLE] = Crowd(COUNT)
    app.add_routes([web.get("/meet/{number}", meet), web.get("/lines/{number}", lines), web.get("/never", never)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE,
                                 limits=httpx.Limits(max_connections=COUNT)) as client:
        yield client
    await runner.cleanup()

async def ask(client, number):
    response = await client.get(f"/meet/{number}")
    assert response.text == str(number)
    async with client.stream("GET", f"/lines/{number}") as response:
        assert [line async for line in response.aiter_lines()] == [f"{number}.{i}" for i in range(5)]

async def more(client):
    try:
        await client.get("/never", timeout=httpx.Timeout(PATIENCE, read=0.05))
    except httpx.ReadTimeout:
        pass
    with anyio.move_on_after(0.05) as scope:
        await client.get("/never")
    assert scope.cancelled_caught

in_each_way(resource, ask, COUNT, more)
"""


def test_httpx(run_asynchronous):
    run_asynchronous(HTTPX)


WEBSOCKETS = """
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

COUNT = 40
patience = dict(open_timeout=PATIENCE, ping_timeout=PATIENCE, close_timeout=PATIENCE)

@contextlib.asynccontextmanager
async def resource():
    people = Crowd(COUNT)

    async def talk(connection):
        async for message in connection:
            if message == "meet":
                await people.meet()
            elif message == "close":
                await connection.close(4000, "as asked")
            await connection.send(message[::-1])

    async with serve(talk, "127.0.0.1", 0, **patience) as server:
        yield server.sockets[0].getsockname()[1]

async def ask(port, number):
    async with connect(f"ws://127.0.0.1:{port}", **patience) as ws:
        await ws.send("meet")
        assert await ws.recv() == "teem"
        for i in range(5):
            await ws.send(f"{number} {i} " + "x" * 5000)
        for i in range(5):
            assert (await ws.recv())[::-1] == f"{number} {i} " + "x" * 5000
        await (await ws.ping())

async def more(port):
    async with connect(f"ws://127.0.0.1:{port}", **patience) as ws:
        try:
            await asyncio.wait_for(ws.recv(), 0.02)
        except TimeoutError:
            pass
        await ws.send("close")
        try:
            await ws.recv()
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4000, "as asked")

in_each_way(resource, ask, COUNT, more)
"""


def test_websockets(run_asynchronous):
    run_asynchronous(WEBSOCKETS)


OPENAI = """
import json
from aiohttp import web
from openai import APITimeoutError, AsyncOpenAI, Timeout

COUNT = 20
PEOPLE = web.AppKey("people", Crowd)

async def complete(request):
    # What the service sends: one event for each token.
    text = (await request.json())["messages"][0]["content"]
    if text == "never":
        await asyncio.sleep(60)
    await request.app[PEOPLE].meet()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for token in text.split():
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [
            {"index": 0, "delta": {"content": token[::-1] + " "}, "finish_reason": None}]}
        await response.write(f"data: {json.dumps(chunk)}\\n\\n".encode())
        await asyncio.sleep(0)
    await response.write(b"data: [DONE]\\n\\n")
    return response

@contextlib.asynccontextmanager
async def resource():
    app = web.Application()
    app[PEOPLE] = Crowd(COUNT)
    app.add_routes([web.post("/v1/chat/completions", complete)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    url = f"http://127.0.0.1:{port}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", timeout=PATIENCE, max_retries=0) as client:
        yield client
    await runner.cleanup()

async def say(client, text, **options):
    stream = await client.chat.completions.create(
        model="stub", messages=[{"role": "user", "content": text}], stream=True, **options)
    return "".join([chunk.choices[0].delta.content async for chunk in stream])

async def ask(client, number):
    assert await say(client, f"one two {number + 1000}") == f"eno owt {str(number + 1000)[::-1]} "

async def more(client):
    try:
        await say(client, "never", timeout=Timeout(PATIENCE, read=0.05))
    except APITimeoutError:
        pass

in_each_way(resource, ask, COUNT, more)
"""


def test_openai(run_asynchronous):
    run_asynchronous(OPENAI)
