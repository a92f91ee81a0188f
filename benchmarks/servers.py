"""Servers for the network cases, one for each library, in the way its own documentation would write them.

    python servers.py WHAT LIBRARY CERTIFICATE ADDRESS

WHAT: `echo` sends back what arrives (`echo_streams`: by asyncio's streams), `stream` sends one MiB after the other.
CERTIFICATE: a file for TLS, or `-`. ADDRESS: an IPv4 address, or the path of a UNIX socket.

Prints the port it listens on (0 for a UNIX socket) and serves until its standard input is closed. All of them set
TCP_NODELAY, as asyncio does by itself.
"""

import contextlib
import importlib
import socket
import sys

READ = 65536
BLOCK = bytes(1 << 20)
BACKLOG = 1024


def tls(module, certificate):
    """The context of a server, made by that ssl module; None without a certificate."""
    if certificate == "-":
        return None
    ssl = importlib.import_module(module)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def blocking(what, spawn, sockets, context, address, wait):
    """A greenlet or a thread for each connection, straight-line code.

    spawn: starts it; sockets: the library's socket module; wait: blocks until a descriptor is readable.
    """
    unix = address.startswith("/")
    listener = sockets.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(address if unix else (address, 0))
    listener.listen(BACKLOG)

    def wrapped(connection):
        if not unix:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection if context is None else context.wrap_socket(connection, server_side=True)

    # The load hangs up in the middle of a message when its time is over: OSError.

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
            spawn(handle, connection)

    print(0 if unix else listener.getsockname()[1], flush=True)
    spawn(accept)
    wait(sys.stdin.fileno())


def green(what, package, certificate, address):
    spawn = importlib.import_module(package).spawn
    sockets = importlib.import_module(f"{package}.socket")
    blocking(what, spawn, sockets, tls(f"{package}.ssl", certificate), address, sockets.wait_read)


def eventlet(what, package, certificate, address):
    from eventlet import spawn
    from eventlet.green import socket as sockets
    from eventlet.hubs import trampoline

    def wait(fd):
        trampoline(fd, read=True)

    blocking(what, spawn, sockets, tls("eventlet.green.ssl", certificate), address, wait)


def threads(what, package, certificate, address):
    import select
    import threading

    def spawn(function, *args):
        threading.Thread(target=function, args=args, daemon=True).start()

    def wait(fd):
        select.select([fd], [], [])

    blocking(what, spawn, socket, tls("ssl", certificate), address, wait)


def protocol(what, package, certificate, address):
    """To echo, an asyncio.Protocol: callbacks, the leanest that asyncio has. To stream, its streams."""
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def echo_streams(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(READ):
                writer.write(data)
                await writer.drain()
            writer.close()

    async def stream(reader, writer):
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(BLOCK)
                await writer.drain()
                await asyncio.sleep(0)  # drain() may not wait; over TLS the end of the client would then go unnoticed

    async def serve():
        loop = asyncio.get_running_loop()
        options = {"backlog": BACKLOG, "ssl": tls("ssl", certificate)}
        if what in ("stream", "echo_streams"):
            handle = stream if what == "stream" else echo_streams
            server = await asyncio.start_server(handle, address, 0, **options)
        elif address.startswith("/"):
            server = await loop.create_unix_server(Echo, address, **options)
        else:
            server = await loop.create_server(Echo, address, 0, **options)
        print(0 if address.startswith("/") else server.sockets[0].getsockname()[1], flush=True)
        over = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), over.set)
        await over.wait()

    importlib.import_module(package).run(serve())


SERVERS = {
    "gevlite": green,
    "gevlite.asyncio": protocol,
    "gevent": green,
    "eventlet": eventlet,
    "asyncio": protocol,
    "uvloop": protocol,
    "threads": threads,
}

if __name__ == "__main__":
    SERVERS[sys.argv[2]](*sys.argv[1:5])
