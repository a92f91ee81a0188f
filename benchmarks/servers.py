"""Servers for the network cases, one for each library, in the way its own documentation would write them.

    python servers.py WHAT LIBRARY CERTIFICATE ADDRESS

WHAT: `echo` sends back what comes, `stream` sends 1 MiB after the other. CERTIFICATE: a file for TLS, or `-`.

Prints the port it listens on and serves until its standard input is closed. All of them set TCP_NODELAY, as asyncio
does by itself.
"""

import contextlib
import importlib
import socket
import sys

READ = 65536
BLOCK = bytes(1 << 20)


def tls(package, certificate):
    """The context of a server, made by the ssl module of that package; None without a certificate."""
    if certificate == "-":
        return None
    ssl = importlib.import_module(package)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def green(what, package, certificate, address):
    """A greenlet for each connection, straight-line code."""
    library = importlib.import_module(package)
    library_socket = importlib.import_module(f"{package}.socket")
    context = tls(f"{package}.ssl", certificate)
    listener = library_socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind((address, 0))
    listener.listen(1024)

    def wrapped(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection if context is None else context.wrap_socket(connection, server_side=True)

    # The load hangs up in the middle of things when its time is over: OSError.

    def echo(connection):
        with contextlib.suppress(OSError), wrapped(connection) as connection:
            while data := connection.recv(READ):
                connection.sendall(data)

    def stream(connection):
        with contextlib.suppress(OSError), wrapped(connection) as connection:
            while True:
                connection.sendall(BLOCK)

    handle = {"echo": echo, "stream": stream}[what]

    def accept():
        while True:
            connection, _ = listener.accept()
            library.spawn(handle, connection)

    print(listener.getsockname()[1], flush=True)
    library.spawn(accept)
    library_socket.wait_read(sys.stdin.fileno())


def protocol(what, package, certificate, address):
    """To echo, an asyncio.Protocol: callbacks, the leanest that asyncio has. To stream, its streams."""
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def stream(reader, writer):
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(BLOCK)
                await writer.drain()
                await asyncio.sleep(0)  # drain() may not wait; over TLS it then never hears that the client has left

    async def serve():
        loop = asyncio.get_running_loop()
        context = tls("ssl", certificate)
        if what == "echo":
            server = await loop.create_server(Echo, address, 0, backlog=1024, ssl=context)
        else:
            server = await asyncio.start_server(stream, address, 0, backlog=1024, ssl=context)
        print(server.sockets[0].getsockname()[1], flush=True)
        over = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), over.set)
        await over.wait()

    importlib.import_module(package).run(serve())


SERVERS = {"gevlite": green, "gevent": green, "asyncio": protocol, "uvloop": protocol}

if __name__ == "__main__":
    SERVERS[sys.argv[2]](*sys.argv[1:5])
