"""WebSocket servers that send each message back.

    python websocket_servers.py LIBRARY ADDRESS

Prints the port, and serves until standard input is closed.
"""

import sys
import threading


def gevlite(address):
    from gevlite.pywsgi import WSGIServer
    from gevlite.websocket import accept

    def application(environ, start_response):
        websocket = accept(environ)
        for message in websocket:
            websocket.send(message)
        return []

    serve(WSGIServer((address, 0), application, log=None))


def simple_websocket(address):
    from gevlite import monkey

    monkey.patch_all()
    from simple_websocket import ConnectionClosed, Server

    from gevlite.pywsgi import WSGIServer

    def application(environ, start_response):
        websocket = Server(environ)
        try:
            while True:
                websocket.send(websocket.receive())
        except ConnectionClosed:
            raise StopIteration from None

    serve(WSGIServer((address, 0), application, log=None))


def gevent(address):
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    def application(environ, start_response):
        websocket = environ["wsgi.websocket"]
        while (message := websocket.receive()) is not None:
            websocket.send(message)
        return []

    serve(WSGIServer((address, 0), application, log=None, handler_class=WebSocketHandler))


def serve(server):
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()


async def websockets(address):
    import asyncio

    from websockets.asyncio.server import serve

    async def echo(websocket):
        async for message in websocket:
            await websocket.send(message)

    async with serve(echo, address, 0, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


def asyncio(address):
    import asyncio

    asyncio.run(websockets(address))


def uvloop(address):
    import uvloop

    uvloop.run(websockets(address))


def end_with_standard_input():
    import os

    while os.read(0, 100):
        pass
    os._exit(0)


if __name__ == "__main__":
    # Before anything is patched: a real thread, which waits in the kernel.
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    globals()[sys.argv[1].replace("-", "_")](sys.argv[2])
