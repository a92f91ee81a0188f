"""The parts of the standard library that wait by select and selectors, in a process where everything is patched.

Each script runs in a process of its own. A greenlet that ticks shows that others run meanwhile; the hub's counters show
that nothing is left.
"""

import os
import select
import textwrap

import pytest

PRELUDE = """
from gevlite import monkey
monkey.patch_all()
import gevlite, sys
ticks = 0

def tick():
    global ticks
    while True:
        gevlite.sleep(0.001)
        ticks += 1

ticker = gevlite.spawn(tick)

def settle(condition):
    for _ in range(5000):
        if condition():
            return
        gevlite.sleep(0.001)
    raise AssertionError("not in time")
"""
EPILOGUE = """
ticker.kill()
settle(lambda: gevlite.get_hub().stats()["fd_waiters"] == 0)
assert ticks
print("done")
"""


@pytest.fixture
def patched(run_script):
    """`patched(source, *arguments)`: run it between prelude and epilogue; what it printed, by lines."""

    def run(source, *arguments):
        result = run_script(PRELUDE + textwrap.dedent(source) + EPILOGUE, *arguments, flags=("-W", "error"))
        lines = result.stdout.splitlines()
        assert lines.pop() == "done", result.stderr
        return lines

    return run


# ---------------------------------------------------------------- asyncio

SELECTORS = [name for name in ("select", "poll", "epoll") if hasattr(select, name)]


@pytest.mark.parametrize("selector", SELECTORS)
def test_asyncio_streams(patched, selector):
    """A server and fifty clients on one event loop, by each selector."""
    source = """
    import asyncio, selectors

    async def echo(reader, writer):
        while data := await reader.readline():
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    async def ask(port, i):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"client %d\\n" % i)
        await asyncio.sleep(0.01)
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        answers = await asyncio.gather(*(ask(port, i) for i in range(50)))
        server.close()
        return answers

    kind = getattr(selectors, sys.argv[1].capitalize() + "Selector")
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(kind())) as runner:
        assert runner.run(main()) == [b"CLIENT %d\\n" % i for i in range(50)]
    """
    patched(source, selector)


def test_asyncio_beside_greenlets(patched):
    """A loop in one greenlet talks to a server in others, and watches a pipe that another greenlet writes to."""
    patched(
        """
        import asyncio, os, socket

        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            while True:
                connection, _address = listener.accept()
                gevlite.spawn(handle, connection)

        def handle(connection):
            with connection:
                connection.sendall(connection.recv(100)[::-1])

        r, w = os.pipe()

        async def main():
            loop = asyncio.get_running_loop()
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"stressed")
            assert await reader.read() == b"desserts"
            writer.close()
            await writer.wait_closed()
            seen = loop.create_future()
            loop.add_reader(r, lambda: seen.set_result(os.read(r, 10)))
            gevlite.spawn_later(0.01, os.write, w, b"piped")
            assert await asyncio.wait_for(seen, 5) == b"piped"
            loop.remove_reader(r)
            assert await loop.run_in_executor(None, sum, (1, 2, 3)) == 6
            assert (await loop.getaddrinfo("localhost", 80))[0][4][1] == 80
            with open(__file__ if "__file__" in globals() else os.__file__, "rb") as file:
                a, b = socket.socketpair()
                a.setblocking(False)
                b.setblocking(False)
                await loop.sock_sendall(a, b"raw")
                assert await loop.sock_recv(b, 10) == b"raw"
                a.close()
                b.close()

        server = gevlite.spawn(serve)
        runner = gevlite.spawn(asyncio.run, main())
        runner.get(timeout=20)
        server.kill()
        listener.close()
        os.close(r)
        os.close(w)
        """
    )


def test_asyncio_datagrams_and_tls(patched, certificates):
    source = """
    import asyncio, ssl

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    class Ask(asyncio.DatagramProtocol):
        def __init__(self):
            self.answer = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, address):
            self.answer.set_result(data)

    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        server, _protocol = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, protocol = await loop.create_datagram_endpoint(Ask, remote_addr=address)
        client.sendto(b"datagram")
        assert await asyncio.wait_for(protocol.answer, 5) == b"DATAGRAM"
        client.close()
        server.close()

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[1])
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        trust = ssl.create_default_context(cafile=sys.argv[2])
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=trust,
                                                       server_hostname="localhost")
        writer.write(b"secret\\n")
        await asyncio.sleep(0.02)
        assert await reader.read() == b"SECRET\\n"
        writer.close()
        await writer.wait_closed()
        server.close()

    asyncio.run(main())
    """
    patched(source, certificates.server, certificates.ca)


# ---------------------------------------------------------------- socketserver


@pytest.mark.parametrize("kind", ["ThreadingTCPServer", "ThreadingUnixStreamServer", "TCPServer"])
def test_stream_servers(patched, kind, tmp_path):
    """serve_forever() waits by a selector and runs among greenlets; shutdown() ends it."""
    source = """
    import socket, socketserver, threading

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line.upper())

    kind = getattr(socketserver, sys.argv[1])
    unix = "Unix" in sys.argv[1]
    with kind(sys.argv[2] if unix else ("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()

        def ask(i):
            with socket.socket(server.address_family) as sock:
                sock.settimeout(10)
                sock.connect(server.server_address)
                with sock.makefile("rwb") as file:
                    file.write(b"line %d\\n" % i)
                    file.flush()
                    gevlite.sleep(0.01)
                    return file.readline()

        clients = [gevlite.spawn(ask, i) for i in range(10)]
        assert [client.get(timeout=20) for client in clients] == [b"LINE %d\\n" % i for i in range(10)]
        server.shutdown()
        serving.join()
    """
    patched(source, kind, str(tmp_path / "socket"))


def test_datagram_server(patched):
    patched(
        """
        import socket, socketserver, threading

        class Handler(socketserver.DatagramRequestHandler):
            def handle(self):
                gevlite.sleep(0.01)
                self.wfile.write(self.rfile.read().upper())

        with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler) as server:
            serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            serving.start()

            def ask(i):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.settimeout(10)
                    sock.sendto(b"packet %d" % i, server.server_address)
                    return sock.recv(100)

            clients = [gevlite.spawn(ask, i) for i in range(10)]
            assert [client.get(timeout=20) for client in clients] == [b"PACKET %d" % i for i in range(10)]
            server.shutdown()
            serving.join()
        """
    )


def test_handle_request_times_out(patched):
    printed = patched(
        """
        import socketserver

        class Server(socketserver.TCPServer):
            timeout = 0.02

            def handle_timeout(self):
                print("nobody came")

        with Server(("127.0.0.1", 0), None) as server:
            server.handle_request()
        """
    )
    assert printed == ["nobody came"]


# ---------------------------------------------------------------- multiprocessing.connection


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
def test_listener_and_clients(patched, family):
    """Connections that shake hands by a key, carry objects, and are waited for one or many at a time."""
    source = """
    from multiprocessing.connection import Client, Listener, wait

    with Listener(family=sys.argv[1], authkey=b"key", backlog=10) as listener:

        def serve():
            while True:
                gevlite.spawn(handle, listener.accept())

        def handle(connection):
            with connection:
                while True:
                    try:
                        connection.send([connection.recv()])
                    except EOFError:
                        return

        server = gevlite.spawn(serve)
        clients = [gevlite.spawn(Client, listener.address, authkey=b"key") for _ in range(5)]
        connections = [client.get(timeout=20) for client in clients]
        for i, connection in enumerate(connections):
            assert connection.poll(0.005) is False
            connection.send({"number": i, "data": "x" * 100_000})
        answers = {}
        while len(answers) < 5:
            for connection in wait(connections, timeout=10):
                answers[connections.index(connection)] = connection.recv()
        assert all(answers[i][0]["number"] == i for i in range(5))
        assert wait(connections, timeout=0.005) == []
        for connection in connections:
            connection.close()
        server.kill()
    """
    patched(source, family)


def test_pipes_are_waited_for(patched):
    patched(
        """
        from multiprocessing import Pipe
        from multiprocessing.connection import wait

        pipes = [Pipe(duplex=duplex) for duplex in (True, False, True)]
        readers = [reader for reader, _writer in pipes]
        assert wait(readers, 0.01) == []
        waiter = gevlite.spawn(wait, readers)
        gevlite.sleep(0.01)
        pipes[1][1].send("second")
        assert waiter.get(timeout=5) == [readers[1]]
        assert readers[1].recv() == "second"
        reading = gevlite.spawn(readers[2].recv)
        gevlite.sleep(0.01)
        pipes[2][1].send_bytes(b"")
        pipes[2][1].send("third")
        try:
            reading.get(timeout=5)
        except EOFError:
            pass
        for pair in pipes:
            for end in pair:
                end.close()
        """
    )


# ---------------------------------------------------------------- selectors and select themselves


def test_every_selector_waits_for_both_kinds_of_descriptor(patched):
    """Sockets, which the hub owns, and pipes, which it does not."""
    patched(
        """
        import os, selectors, socket

        for name in ("SelectSelector", "PollSelector", "EpollSelector", "DefaultSelector"):
            kind = getattr(selectors, name, None)
            if kind is None:
                continue
            a, b = socket.socketpair()
            r, w = os.pipe()
            with kind() as selector:
                selector.register(a, selectors.EVENT_READ, "socket")
                selector.register(r, selectors.EVENT_READ, "pipe")
                assert selector.select(0.005) == []
                for write, expected in ((lambda: b.send(b"x"), "socket"), (lambda: os.write(w, b"x"), "pipe")):
                    waiter = gevlite.spawn(selector.select)
                    gevlite.sleep(0.002)
                    write()
                    ((key, events),) = waiter.get(timeout=5)
                    assert (key.data, events) == (expected, selectors.EVENT_READ)
                    os.read(key.fd, 1)
            for end in (a, b):
                end.close()
            os.close(r)
            os.close(w)
        """
    )


def test_a_subprocess_is_communicated_with(patched):
    """subprocess waits for its pipes by a selector."""
    patched(
        f"""
        import subprocess
        done = subprocess.run(["cat"], input=b"x" * 300_000, stdout=subprocess.PIPE, timeout=20)
        assert done.stdout == b"x" * 300_000
        subprocess.run(["sleep", "0.02"], check=True, cwd={os.sep!r})
        """
    )
