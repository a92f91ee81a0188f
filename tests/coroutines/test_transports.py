"""Streams, servers, datagrams, pipes, TLS and subprocesses in an `EventLoop`."""

import asyncio
import gc
import os
import socket
import ssl
import sys

import pytest

import gevlite
import gevlite.socket as gevlite_socket
from gevlite.asyncio import EventLoop

KINDS = ["tcp", "unix"]


@pytest.fixture(name="serve", params=KINDS)
def serve_fixture(request, tmp_path):
    """`serve(factory, connect_factory)`: a server and a connection to it."""

    async def serve(factory, other):
        loop = asyncio.get_running_loop()
        if request.param == "tcp":
            server = await loop.create_server(factory, "127.0.0.1", 0)
            transport, protocol = await loop.create_connection(other, *server.sockets[0].getsockname())
        else:
            path = str(tmp_path / "socket")
            server = await loop.create_unix_server(factory, path)
            transport, protocol = await loop.create_unix_connection(other, path)
        return server, transport, protocol

    return serve


class Recorder(asyncio.Protocol):
    """Records its calls."""

    def __init__(self):
        self.events = []
        self.data = b""
        self.transport = None
        self.made = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()
        self.news = asyncio.Event()

    def note(self, event):
        self.events.append(event)
        self.news.set()

    async def until(self, condition):
        while not condition():
            self.news.clear()
            await self.news.wait()

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(transport)
        self.note("made")

    def data_received(self, data):
        assert asyncio.get_running_loop().is_running()
        self.data += data
        self.news.set()

    def eof_received(self):
        self.note("eof")

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, exc):
        self.note("lost")
        self.lost.set_result(exc)


class KeepsOpen(Recorder):
    def eof_received(self):
        super().eof_received()
        return True


class Echo(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, size=7):
        self.buffer = bytearray(size)
        self.data = b""
        self.news = asyncio.Event()

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]
        self.news.set()


def pair(serve, factory=Recorder, other=Recorder):
    """What opens a connection: an asynchronous context of `(server's protocol, client's)`."""

    class Pair:
        async def __aenter__(self):
            ends = []

            def make():
                ends.append(factory())
                return ends[-1]

            self.server, self.transport, protocol = await serve(make, other)
            while not ends or getattr(ends[0], "made", None) is not None and not ends[0].made.done():
                await asyncio.sleep(0)
            self.ends = ends
            return ends[0], protocol

        async def __aexit__(self, *exc):
            self.transport.close()
            self.server.close()
            for end in self.ends:
                if isinstance(end, Recorder):
                    end.transport.close()
                    await end.lost
            await self.server.wait_closed()
            await asyncio.sleep(0)

    return Pair()


def test_data_goes_both_ways(run, serve):
    async def main():
        async with pair(serve, Echo) as (there, here):
            for number in range(100):
                here.transport.write(b"%d," % number)
            expected = b"".join(b"%d," % number for number in range(100))
            await here.until(lambda: here.data == expected)
            assert here.transport.get_extra_info("socket").fileno() == here.transport.get_extra_info("socket").fileno()
            assert here.transport.get_extra_info("peername") is not None
            assert here.transport.get_extra_info("nothing", 3) == 3
            assert isinstance(here.transport, asyncio.Transport)
            assert here.transport.get_protocol() is here
        assert there.events == ["made", "lost"]

    run(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_more_than_the_kernel_takes(run, serve, kind):
    data = os.urandom(20_000_000)

    async def main():
        async with pair(serve) as (there, here):
            there.transport.pause_reading()
            assert not there.transport.is_reading()
            given = kind(data)
            here.transport.write(given)
            if kind is bytearray:
                given[:] = bytes(len(data))  # later changes must not affect the data that was taken
            here.transport.write(b"end")
            assert here.events == ["made", "pause"]
            assert here.transport.get_write_buffer_size() > 65536
            there.transport.resume_reading()
            await there.until(lambda: len(there.data) == len(data) + 3)
            assert there.data == data + b"end"
            await here.until(lambda: here.events == ["made", "pause", "resume"])
            assert here.transport.get_write_buffer_size() == 0

    run(main())


def test_writelines(run, serve):
    async def main():
        async with pair(serve) as (there, here):
            there.transport.pause_reading()
            pieces = [os.urandom(size) for size in [1, 0, 100_000, 3] * 40]
            here.transport.writelines(pieces)
            here.transport.writelines([])
            here.transport.writelines([bytearray(b"x"), memoryview(b"y")])
            there.transport.resume_reading()
            expected = b"".join(pieces) + b"xy"
            await there.until(lambda: len(there.data) >= len(expected))
            assert there.data == expected

    run(main())


def test_the_end_of_file_in_one_direction(run, serve):
    async def main():
        async with pair(serve, KeepsOpen) as (there, here):
            here.transport.write(b"question" * 100_000)
            assert here.transport.can_write_eof()
            here.transport.write_eof()
            here.transport.write_eof()
            with pytest.raises(RuntimeError, match="after write_eof"):
                here.transport.write(b"x")
            await there.until(lambda: "eof" in there.events)
            assert len(there.data) == 800_000
            there.transport.write(b"answer")
            await here.until(lambda: here.data == b"answer")
            assert not there.transport.is_closing()

    run(main())


def test_the_end_of_file_closes(run, serve):
    async def main():
        async with pair(serve) as (there, here):
            here.transport.write_eof()
            assert await there.lost is None
            assert there.events == ["made", "eof", "lost"]
            assert await here.lost is None
            assert here.transport.is_closing()
            here.transport.close()
            here.transport.abort()

    run(main())


def test_close_sends_what_was_written(run, serve):
    async def main():
        async with pair(serve) as (there, here):
            there.transport.pause_reading()
            here.transport.write(b"x" * 2_000_000)
            here.transport.close()
            there.transport.resume_reading()
            await there.lost
            assert len(there.data) == 2_000_000
            assert await here.lost is None

    run(main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_what_was_written_goes_on_when_flow_control_raises(method):
    """A protocol may block there, and be killed."""

    class Raises(Recorder):
        def raises(self):
            raise gevlite.GreenletExit

    setattr(Raises, method, Raises.raises)
    left, right = socket.socketpair()

    def read_all():
        size = 0
        with gevlite_socket.fromfd(right.fileno(), right.family, right.type) as reader:
            while data := reader.recv(100_000):
                size += len(data)
        return size

    async def main():
        transport, protocol = await asyncio.get_running_loop().create_connection(Raises, sock=left)
        try:
            transport.write(b"x" * 2_000_000)
        except gevlite.GreenletExit:
            assert method == "pause_writing"
        transport.close()
        reading = gevlite.spawn(read_all)
        assert await protocol.lost is None
        assert reading.get() == 2_000_000

    loop = EventLoop()
    with right:
        task = loop.create_task(main())
        if method == "resume_writing":
            with pytest.raises(gevlite.GreenletExit):
                loop.run_until_complete(task)
        loop.run_until_complete(task)
    loop.close()


def test_abort_does_not(run, serve):
    async def main():
        async with pair(serve) as (there, here):
            there.transport.pause_reading()
            here.transport.write(b"x" * 20_000_000)
            here.transport.abort()
            assert await here.lost is None
            there.transport.resume_reading()
            await there.lost
            assert len(there.data) < 20_000_000

    run(main())


def test_writing_to_what_is_gone(run, serve):
    async def main():
        async with pair(serve) as (there, here):
            there.transport.abort()
            await there.lost
            for _ in range(10):
                here.transport.write(b"x")
                await asyncio.sleep(0)
            await here.lost
            assert here.events[-1] == "lost"

    run(main())


def test_a_buffered_protocol(run, serve):
    data = os.urandom(50_000)

    async def main():
        async with pair(serve, Buffered) as (there, here):
            here.transport.write(data)
            while there.data != data:
                there.news.clear()
                await there.news.wait()

    run(main())


def test_the_protocol_can_be_changed(run, serve):
    async def main():
        async with pair(serve) as (there, here):
            new = Buffered()
            there.transport.set_protocol(new)
            here.transport.write(b"for the new one")
            while new.data != b"for the new one":
                new.news.clear()
                await new.news.wait()
            there.transport.set_protocol(there)

    run(main())


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_an_error_of_the_protocol_closes_the_connection(run, serve, method):
    async def main():
        contexts = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
        async with pair(serve) as (there, here):
            setattr(there, method, lambda *args: 1 / 0)
            here.transport.write(b"x")
            here.transport.write_eof()
            assert isinstance(await there.lost, ZeroDivisionError)
            assert method in contexts[0]["message"]

    run(main())


def test_limits(run, serve):
    async def main():
        async with pair(serve) as (_there, here):
            assert here.transport.get_write_buffer_limits() == (16384, 65536)
            here.transport.set_write_buffer_limits(high=8)
            assert here.transport.get_write_buffer_limits() == (2, 8)
            here.transport.set_write_buffer_limits(low=3)
            assert here.transport.get_write_buffer_limits() == (3, 12)
            with pytest.raises(ValueError):
                here.transport.set_write_buffer_limits(high=1, low=2)
            with pytest.raises(TypeError):
                here.transport.write("text")
            here.transport.write(b"")
            assert "polling" in repr(here.transport)

    run(main())


def test_an_unclosed_transport_warns(run):
    left, right = socket.socketpair()

    async def main():
        await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, left)

    with pytest.warns(ResourceWarning, match="unclosed transport"):
        run(main())
        gc.collect()
    assert left.fileno() == -1
    right.close()


def test_a_transport_of_a_gevlite_socket(run):
    left, right = gevlite_socket.socketpair()
    gevlite.spawn_later(0.001, left.send, b"first")
    assert right.recv(10) == b"first"

    async def main():
        reader, writer = await asyncio.open_connection(sock=right)
        gevlite.spawn_later(0.001, left.sendall, b"to the coroutine")
        assert await reader.read(100) == b"to the coroutine"
        writer.write(b"to the greenlet")
        assert left.recv(100) == b"to the greenlet"
        writer.close()
        await writer.wait_closed()
        assert left.recv(100) == b""

    right.setblocking(False)
    with left:
        run(main())


def test_a_server_goes_on_in_a_second_run():
    loop = EventLoop()

    async def answer(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def ask(address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"question\n")
        answered = await reader.read()
        writer.close()
        return answered

    server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    for _ in range(3):
        assert loop.run_until_complete(ask(address)) == b"question\n"
    reader, writer = loop.run_until_complete(asyncio.open_connection(*address))
    writer.write(b"in pieces")
    loop.run_until_complete(asyncio.sleep(0))
    writer.write(b"\n")
    assert loop.run_until_complete(reader.read()) == b"in pieces\n"
    writer.close()
    server.close()
    loop.run_until_complete(server.wait_closed())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_many_connections_from_many_loops(run):
    async def answer(reader, writer):
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    address = []

    async def serve(done):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address.extend(server.sockets[0].getsockname())
        await done
        server.close()

    async def ask(number):
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(5):
            writer.write(b"%d\n" % number)
            assert await reader.readline() == b"%d\n" % number
        writer.close()
        await writer.wait_closed()

    async def all_answered():
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)

    loop = EventLoop()
    done = loop.create_future()
    server = gevlite.spawn(loop.run_until_complete, serve(done))
    while not address:
        gevlite.sleep(0)
    gevlite.joinall([gevlite.spawn(run, ask(number)) for number in range(30)], raise_error=True)
    done.set_result(None)
    server.get()
    loop.run_until_complete(all_answered())
    loop.close()


# ---------------------------------------------------------------- TLS


def contexts(certificates):
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificates.server)
    return server, ssl.create_default_context(cafile=certificates.ca)


def test_tls(run, certificates):
    data = os.urandom(1_000_000)

    async def answer(reader, writer):
        while got := await reader.read(100_000):
            writer.write(got)
            await writer.drain()
        writer.close()

    async def main():
        server_side, client_side = contexts(certificates)
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side)
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_side, server_hostname="localhost"
        )
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11, 1), reason="StreamWriter.start_tls")
def test_start_tls(run, certificates):
    async def main():
        server_side, client_side = contexts(certificates)
        done = asyncio.get_running_loop().create_future()

        async def answer(reader, writer):
            assert await reader.readline() == b"plain\n"
            writer.write(b"go\n")
            await writer.start_tls(server_side)
            writer.write(b"secret\n")
            await writer.drain()
            await reader.read()
            writer.close()
            done.set_result(None)

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"plain\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_side, server_hostname="localhost")
        assert await reader.readline() == b"secret\n"
        writer.close()
        await done
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)

    run(main())


# ---------------------------------------------------------------- the others


@pytest.mark.parametrize("fallback", [False, True])
def test_sendfile(run, serve, tmp_path, fallback):
    data = os.urandom(2_000_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main():
        loop = asyncio.get_running_loop()
        async with pair(serve) as (there, here):
            here.transport.write(b"head")
            with open(path, "rb") as file:
                assert await loop.sendfile(here.transport, file, fallback=fallback) == len(data)
            here.transport.write(b"tail")
            await there.until(lambda: len(there.data) == len(data) + 8)
            assert there.data == b"head" + data + b"tail"

    run(main())


def test_datagrams(run):
    class Datagrams(asyncio.DatagramProtocol):
        def __init__(self):
            self.received = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, address):
            self.received.set_result((data, address))

    async def main():
        loop = asyncio.get_running_loop()
        one, there = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        address = one.get_extra_info("sockname")
        other, _ = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        other.sendto(b"hello")
        assert await there.received == (b"hello", other.get_extra_info("sockname"))
        assert "fd=" in repr(one)
        one.close()
        other.close()
        await asyncio.sleep(0)

    run(main())


def test_sockets_by_hand(run):
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        client = socket.socket()
        client.setblocking(False)
        accepted, _ = await asyncio.gather(
            loop.sock_accept(listener), loop.sock_connect(client, listener.getsockname())
        )
        server = accepted[0]
        data = os.urandom(2_000_000)
        received = bytearray()

        async def receive():
            while len(received) < len(data):
                received.extend(await loop.sock_recv(server, 100_000))

        await asyncio.gather(loop.sock_sendall(client, data), receive())
        assert received == data
        reading = asyncio.ensure_future(loop.sock_recv(client, 10))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        for sock in (listener, client, server):
            sock.close()

    run(main())


def test_pipes(run):
    async def main():
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), open(read_end, "rb", buffering=0)
        )
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write_end, "wb", buffering=0))
        assert "fd=" in repr(reading) + repr(writing)
        data = b"x" * 300_000
        writing.write(data)
        writing.close()
        assert await reader.read() == data
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())


def test_subprocesses_beside_each_other(run):
    async def cat(text):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; sys.stdout.write(sys.stdin.read()); sys.exit(3)",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(text)
        return output, process.returncode

    async def main(number):
        text = b"%d" % number
        assert await asyncio.gather(cat(text), cat(text)) == [(text, 3)] * 2

    gevlite.joinall([gevlite.spawn(run, main(number)) for number in range(3)], raise_error=True)


def test_executor_and_names(run):
    async def main():
        loop = asyncio.get_running_loop()
        assert await asyncio.gather(*[loop.run_in_executor(None, pow, 2, n) for n in range(20)]) == [
            2**n for n in range(20)
        ]
        assert await asyncio.to_thread(pow, 2, 3) == 8
        assert (await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))[0][4] == ("127.0.0.1", 80)

    run(main())
