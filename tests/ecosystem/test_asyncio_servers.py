"""uvicorn with the event loop of gevlite: a process of its own, workers, in a greenlet; FastAPI in any loop."""

import asyncio
import signal
import sys

import httpx
import pytest
from processes import PATIENCE
from real_servers import free_port, running
from websockets.asyncio.client import connect

import gevlite.asyncio

pytestmark = pytest.mark.timeout(240)

patience = {"open_timeout": PATIENCE, "ping_timeout": PATIENCE, "close_timeout": PATIENCE}

APPLICATION = """
import asyncio, contextlib, os, signal, sys
import gevlite, gevlite.asyncio
from gevlite.asyncio import EventLoop
from gevlite.event import Event
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

COUNT = 30
here, complete = 0, Event()
stopping = Event()

def meet_in_greenlet(number):
    global here
    here += 1
    if here == COUNT:
        complete.set()
    complete.wait()
    return number

async def meet(request):
    # Blocks in a greenlet until all of them are there.
    assert isinstance(asyncio.get_running_loop(), EventLoop)
    number = await gevlite.asyncio.spawn(meet_in_greenlet, request.path_params["number"])
    return PlainTextResponse(number)

def sync(request):
    return PlainTextResponse(f"{request.path_params['number']} {os.getpid()}")

async def stream(request):
    body = [part async for part in request.stream()]

    async def parts():
        for part in body:
            yield part.upper()
            await asyncio.sleep(0)

    return StreamingResponse(parts())

async def until_stop(request):
    print("waiting", flush=True)
    await stopping
    return PlainTextResponse("finished")

async def socket(ws):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(text[::-1])

@contextlib.asynccontextmanager
async def lifespan(app):
    print("starts", file=sys.stderr, flush=True)
    stop = signal.getsignal(signal.SIGTERM)

    def come(*args):
        # uvicorn only sets a flag. The request that is in the middle ends after that.
        stop(*args)
        gevlite.spawn_later(0.2, stopping.set)

    if callable(stop):
        signal.signal(signal.SIGTERM, come)
    yield
    print("stops", file=sys.stderr, flush=True)

app = Starlette(lifespan=lifespan, routes=[
    Route("/meet/{number}", meet), Route("/sync/{number}", sync), Route("/stream", stream, methods=["POST"]),
    Route("/until_stop", until_stop), WebSocketRoute("/socket", socket)])
"""


async def use(port, meet=True):
    async def ask(number):
        if meet:
            assert (await client.get(f"/meet/{number}")).text == str(number)
        answer, pid = (await client.get(f"/sync/{number}")).text.split()
        assert answer == str(number)
        response = await client.post("/stream", content=b"abc %d" % number)
        assert response.content == b"ABC %d" % number
        async with connect(f"ws://127.0.0.1:{port}/socket", **patience) as ws:
            for i in range(3):
                await ws.send(f"{number} {i}")
            for i in range(3):
                assert (await ws.recv())[::-1] == f"{number} {i}"
        return int(pid)

    limits = httpx.Limits(max_connections=30)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, limits=limits) as client:
        return set(await asyncio.gather(*map(ask, range(30))))


@pytest.mark.parametrize("workers", [1, 2])
def test_uvicorn_serves_and_stops_gracefully(workers, tmp_path):
    (tmp_path / "application.py").write_text(APPLICATION)
    port, log = free_port(), tmp_path / "log"
    command = [
        *(sys.executable, "-m", "uvicorn", "application:app", "--port", str(port), "--workers", str(workers)),
        *("--loop", "gevlite.asyncio:EventLoop", "--timeout-graceful-shutdown", str(PATIENCE)),
    ]

    async def last():
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/until_stop"))
            while "waiting" not in log.read_text():
                await asyncio.sleep(0.005)
            server.process.send_signal(signal.SIGTERM)
            return (await request).text

    with running(command, port, log, cwd=tmp_path) as server:
        pids = gevlite.asyncio.run(use(port, meet=workers == 1))
        assert (server.process.pid in pids) == (workers == 1)
        assert gevlite.asyncio.run(last()) == "finished"
        server.process.wait(PATIENCE)
    text = log.read_text()
    assert text.count("starts") == text.count("stops") == workers
    assert "Traceback" not in text, text


IN_GREENLET = """
import httpx, uvicorn

config = uvicorn.Config(app, port=0, log_level="warning", ws="websockets-sansio", lifespan="on")
servers = [uvicorn.Server(config) for _ in range(2)]
run = asyncio.run if PATCHED else gevlite.asyncio.run
greenlets = [gevlite.spawn(run, server.serve()) for server in servers]
while not all(server.started for server in servers):
    gevlite.sleep(0.005)
ports = [server.servers[0].sockets[0].getsockname()[1] for server in servers]

async def get(client, url):
    return (await client.get(url)).text

async def open_client():
    return httpx.AsyncClient(timeout=PATIENCE)

client = gevlite.asyncio.wait(open_client())

def ask(number):
    # What waits for its turn in the one server is let go by a request to the other one.
    url = f"http://127.0.0.1:{ports[number % 2]}"
    if PATCHED:
        import urllib.request
        with urllib.request.urlopen(f"{url}/sync/{number}") as response:
            assert response.read().split()[0] == b"%d" % number
    return gevlite.asyncio.wait(get(client, f"{url}/meet/{number}"))

asking = [gevlite.spawn(ask, number) for number in range(COUNT)]
gevlite.joinall(asking, raise_error=True)
assert [greenlet.value for greenlet in asking] == [str(number) for number in range(COUNT)]
gevlite.asyncio.wait(client.aclose())
for server in servers:
    server.should_exit = True
gevlite.joinall(greenlets, raise_error=True)
"""


def test_uvicorn_in_greenlets(run_asynchronous):
    run_asynchronous(APPLICATION + IN_GREENLET + "sys.stdout.write('ok')")


FASTAPI = """
import asyncio, contextlib, contextvars, sys, threading
import gevlite, gevlite.asyncio
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from gevlite.event import Event
from gevlite.lock import Semaphore

COUNT = 20
here, complete = 0, Event()
places = Semaphore(5)
closed, told = [], []
user = contextvars.ContextVar("user")

@contextlib.asynccontextmanager
async def lifespan(app):
    # With a loop of gevlite it has nothing to do.
    with gevlite.asyncio.attach():
        yield

app = FastAPI(lifespan=lifespan)

class Missing(Exception):
    pass

@app.exception_handler(Missing)
async def missing(request, exc):
    return JSONResponse({"missing": exc.args[0]}, 418)

def session(number: int):
    # Not async: FastAPI runs it in an OS thread, and its end too.
    gevlite.sleep(0)
    try:
        yield f"session {number}"
    finally:
        gevlite.sleep(0)
        closed.append(number)

@app.middleware("http")
async def name_user(request, call_next):
    user.set(request.headers["x-user"])
    return await call_next(request)

@app.get("/meet/{number}")
async def meet(number: int, used=Depends(session)):
    # Blocks in a greenlet until all of them are there.
    def in_greenlet():
        global here
        here += 1
        if here == COUNT:
            complete.set()
        complete.wait()
        return user.get()
    return {"session": used, "user": await gevlite.asyncio.spawn(in_greenlet)}

@app.get("/sync/{number}")
def sync(number: int, used: str = Depends(session)):
    # In an OS thread of anyio, which has a hub of its own.
    assert threading.current_thread() is not threading.main_thread()
    def work(i):
        gevlite.sleep(0.001)
        return i * number
    async def coroutine():
        await asyncio.sleep(0.001)
        return await gevlite.asyncio.spawn(work, 10)
    greenlets = [gevlite.spawn(work, i) for i in range(5)]
    gevlite.joinall(greenlets)
    try:
        with gevlite.Timeout(0.001):
            gevlite.sleep(30)
    except gevlite.Timeout:
        pass
    return {"values": [greenlet.value for greenlet in greenlets], "user": user.get(),
            "run": gevlite.asyncio.run(coroutine()), "wait": gevlite.asyncio.wait(coroutine())}

@app.get("/shared/{number}")
async def shared(number: int, tasks: BackgroundTasks):
    async with places:
        await asyncio.sleep(0.001)
    tasks.add_task(told.append, number)
    async with gevlite.TaskGroup() as group:
        parts = [group.spawn(lambda i=i: gevlite.sleep(0.001) or i) for i in range(3)]
    return [part.value for part in parts]

@app.get("/fails/{number}")
async def fails(number: int):
    def in_greenlet():
        gevlite.sleep(0.001)
        if number % 2:
            raise HTTPException(404, f"no {number}")
        raise Missing(number)
    await gevlite.asyncio.spawn(in_greenlet)

@app.get("/stream/{number}")
async def stream(number: int):
    async def parts():
        for i in range(3):
            yield await gevlite.asyncio.spawn(lambda: gevlite.sleep(0.001) or f"{number}.{i} ")
    return StreamingResponse(parts())

@app.get("/sync_stream/{number}")
def sync_stream(number: int):
    def parts():
        for i in range(3):
            gevlite.sleep(0.001)
            yield f"{number}.{i} "
    return StreamingResponse(parts())

@app.get("/late/{number}")
async def late(number: int):
    ended, began = [], Event()
    def in_greenlet():
        try:
            began.set()
            gevlite.sleep(600)
        finally:
            gevlite.sleep(0.001)
            ended.append("greenlet")
    try:
        greenlet = gevlite.asyncio.spawn(in_greenlet)
        await began
        async with asyncio.timeout(0.01):
            await greenlet
    except TimeoutError:
        ended.append("endpoint")
    return ended

@app.get("/state")
async def state():
    return {"closed": sorted(closed), "told": sorted(told)}

@app.websocket("/socket")
async def socket(ws: WebSocket):
    await ws.accept()
    async for text in ws.iter_text():
        await ws.send_text(await gevlite.asyncio.spawn(lambda: gevlite.sleep(0) or text[::-1]))
"""


async def use_fastapi(port):
    count = 20

    async def ask(number):
        headers = {"X-User": f"user {number}"}

        async def get(path):
            return await client.get(f"/{path}/{number}", headers=headers)

        assert (await get("meet")).json() == {"session": f"session {number}", "user": f"user {number}"}
        values = [i * number for i in range(5)]
        assert (await get("sync")).json() == {
            "values": values, "user": f"user {number}", "run": 10 * number, "wait": 10 * number
        }  # fmt: skip
        assert (await get("shared")).json() == [0, 1, 2]
        assert (await get("late")).json() == ["greenlet", "endpoint"]
        failed = await get("fails")
        assert failed.status_code == (404 if number % 2 else 418)
        assert failed.json() == ({"detail": f"no {number}"} if number % 2 else {"missing": number})
        for path in ("stream", "sync_stream"):
            assert (await get(path)).text == "".join(f"{number}.{i} " for i in range(3))
        if number % 5 == 0:
            async with connect(f"ws://127.0.0.1:{port}/socket", **patience) as ws:
                for i in range(3):
                    await ws.send(f"{number} {i}")
                    assert (await ws.recv())[::-1] == f"{number} {i}"

    async def state():
        return (await client.get("/state", headers={"X-User": "me"})).json()

    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, limits=limits) as client:
        await asyncio.gather(*map(ask, range(count)))
        both = sorted([*range(count)] * 2)
        while (seen := await state()) != {"closed": both, "told": [*range(count)]}:
            assert len(seen["closed"]) < len(both) or len(seen["told"]) < count, seen
            await asyncio.sleep(0.01)  # for the work after the answers


@pytest.mark.parametrize("loop", ["gevlite.asyncio:EventLoop", "asyncio", "uvloop"])
def test_fastapi(loop, tmp_path):
    """In the loop of gevlite, and with `attach` in the others."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    (tmp_path / "application.py").write_text(FASTAPI)
    port, log = free_port(), tmp_path / "log"
    command = [sys.executable, "-m", "uvicorn", "application:app", "--port", str(port), "--loop", loop]
    with running(command, port, log, cwd=tmp_path) as server:
        gevlite.asyncio.run(use_fastapi(port))
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE)
    text = log.read_text()
    assert "Traceback" not in text, text
    assert "never awaited" not in text, text
