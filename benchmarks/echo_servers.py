"""Echo servers, one for each library, in the way its own documentation would write them.

    python echo_servers.py LIBRARY ADDRESS

Prints the port it listens on and serves until its standard input is closed. All of them set TCP_NODELAY, as asyncio
does by itself.
"""

import contextlib
import importlib
import socket
import sys

READ = 65536


def green(package, address):
    """A greenlet for each connection, straight-line code."""
    library = importlib.import_module(package)
    library_socket = importlib.import_module(f"{package}.socket")
    listener = library_socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((address, 0))
    listener.listen(1024)

    def handle(connection):
        # The load hangs up in the middle of things when its time is over.
        with connection, contextlib.suppress(ConnectionError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(READ):
                connection.sendall(data)

    def accept():
        while True:
            connection, _ = listener.accept()
            library.spawn(handle, connection)

    print(listener.getsockname()[1], flush=True)
    library.spawn(accept)
    library_socket.wait_read(sys.stdin.fileno())


def protocol(package, address):
    """An asyncio.Protocol: callbacks, the leanest that asyncio has."""
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def serve():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, address, 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        over = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), over.set)
        await over.wait()

    importlib.import_module(package).run(serve())


SERVERS = {"gevlite": green, "gevent": green, "asyncio": protocol, "uvloop": protocol}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](*sys.argv[1:3])
