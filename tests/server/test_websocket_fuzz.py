"""WebSocket: compressed messages, random frames, and clients and applications that end at random."""

import contextlib
import os
import random
import zlib

import pytest
from ws_peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, close_frame, echoes, frame

import gevlite
from gevlite.testing import VirtualClock
from gevlite.websocket import WebSocketClosed, accept

pytest.importorskip("websockets")

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
SEED = int(os.environ.get("GEVLITE_SEED", "0")) or random.randrange(1 << 32)


def deflated(data):
    packer = zlib.compressobj(9, wbits=-12)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


# ---------------------------------------------------------------- compression


def test_compressed_messages(site, dial):
    peer = Peer(dial(site(echoes(compression=True))), DEFLATE)
    data = deflated(b"a" * 5000)
    peer.send(frame(TEXT, data[:3], rsv=4, fin=False) + frame(PING) + frame(CONTINUATION, data[3:]))
    assert peer.read() == (PONG, b"")
    unpacker = zlib.decompressobj(wbits=-12)
    for _ in range(2):
        opcode, got = peer.read()
        assert opcode == TEXT and unpacker.decompress(got + b"\x00\x00\xff\xff") == b"a" * 5000
        peer.send(frame(TEXT, b"a" * 5000))  # a client need not compress all it sends


def test_a_message_that_unpacks_to_too_much_closes_with_1009(site, dial):
    server = site(echoes(compression=True))
    for bomb in (
        frame(BINARY, deflated(bytes(1 << 26)), rsv=4),
        frame(BINARY, deflated(bytes(1 << 20)), rsv=4, fin=False) + frame(CONTINUATION, b"\x01\x01\x00\xfe\xff\x00"),
    ):
        peer = Peer(dial(server), DEFLATE)
        peer.send(bomb)
        assert peer.closed_with()[0] == 1009


def test_what_is_not_compressed_is_no_message(site, dial):
    peer = Peer(dial(site(echoes(compression=True))), DEFLATE)
    peer.send(frame(BINARY, b"\xff\xff\xff", rsv=4))
    assert peer.closed_with()[0] == 1002


def test_many_small_frames_that_unpack_to_a_lot_wait(site, dial):
    """They are not all decompressed just because they have arrived."""
    websockets = []
    go = gevlite.event.Event()

    def app(environ, start_response):
        websockets.append(accept(environ, compression=True))
        go.wait()
        for _ in range(60):
            assert websockets[0].receive() == bytes(1 << 20)
        return []

    peer = Peer(dial(site(app)), DEFLATE)
    peer.send(60 * frame(BINARY, deflated(bytes(1 << 20)), rsv=4))
    while not websockets or not websockets[0]._messages:
        gevlite.sleep(0.001)
    with VirtualClock():  # its time passes when nothing is under way any more
        gevlite.sleep(1)
    assert len(websockets[0]._messages) < 10
    go.set()
    assert peer.read()[0] == CLOSE


# ---------------------------------------------------------------- random frames


def some_frame(rng):
    data = rng.choice([b"", b"abc", "\N{SNOWMAN}".encode(), b"\xff", rng.randbytes(rng.randrange(300))])
    kind = rng.random()
    if kind < 0.5:
        return frame(rng.choice([TEXT, BINARY]), "text é" * rng.randrange(30))
    if kind < 0.65:
        return frame(rng.choice([PING, PONG]), data[:125])
    if kind < 0.8:
        pieces = [frame(TEXT, "piece", fin=False)] + [frame(CONTINUATION, "é", fin=False)] * rng.randrange(3)
        return b"".join(pieces) + frame(CONTINUATION, "end")
    if kind < 0.85:
        return close_frame(rng.choice([1000, 1001, 3000, 4999]), b"reason")
    if kind < 0.95:
        return frame(
            rng.randrange(16), data, fin=rng.random() < 0.7, rsv=rng.choice([0, 0, 1, 4, 7]), masked=rng.random() < 0.9
        )
    return rng.randbytes(rng.randrange(40))


@pytest.mark.parametrize("compression", [False, True])
def test_whatever_comes_the_connection_ends_in_order(site, dial, errors, compression):
    rng = random.Random(f"{SEED} {compression}")
    server = site(echoes(compression=compression, max_size=2000))
    codes = set()
    for n in range(150):
        peer = Peer(dial(server), *[DEFLATE] * compression)
        data = b"".join(some_frame(rng) for _ in range(rng.randrange(1, 12)))
        data += close_frame(1000) if rng.random() < 0.9 else b""
        where = f"seed {SEED}, connection {n}: {data!r}"
        while data:
            size = rng.choice([1, 5, 100, 10_000]) + rng.randrange(3)
            if not peer.send(data[:size]):
                break
            data = data[size:]
            if rng.random() < 0.2:
                gevlite.sleep(0)
        peer.sock.shutdown(1)
        try:
            while True:
                opcode, payload, *_ = peer.read()
                assert opcode in (TEXT, BINARY, PING, PONG, CLOSE), where
                if opcode == CLOSE:
                    codes.add(int.from_bytes(payload[:2]))
                    assert peer.file.read() == b"", where
                    break
        except (EOFError, ConnectionResetError):
            pass  # it sent no close, or half a frame
        peer.vanish()
        assert not errors, where
    assert codes >= {1000, 1002}
    until_quiet(server)
    assert Peer(dial(server)).answer.status == 101


def until_quiet(server):
    while server._handlers:
        gevlite.sleep(0.002)


# ---------------------------------------------------------------- random ends


def test_ends_at_random_leave_nothing(site, dial, errors):
    rng = random.Random(SEED)
    websockets = []

    def app(environ, start_response):
        websocket = accept(environ, close_timeout=0.2, ping_interval=0.05, ping_timeout=0.2)
        websockets.append((websocket, gevlite.getcurrent()))
        helpers = [gevlite.spawn(work, websocket) for _ in range(3)]
        try:
            work(websocket)
        finally:
            gevlite.killall(helpers)
        return []

    def work(websocket):
        with contextlib.suppress(WebSocketClosed):
            while True:
                match rng.randrange(6):
                    case 0:
                        websocket.send("x" * rng.choice([1, 100, 200_000]))
                    case 1:
                        with contextlib.suppress(TimeoutError):
                            websocket.receive(timeout=0.01)
                    case 2:
                        with gevlite.Timeout(0.005, False):
                            websocket.receive()
                    case 3 if rng.random() < 0.1:
                        with gevlite.Timeout(0.001, False):
                            websocket.send("x" * 500_000)
                    case 4 if rng.random() < 0.02:
                        websocket.close(rng.choice([1000, 4000]))
                    case 5:
                        gevlite.sleep(rng.random() / 100)

    def client(server):
        sock = dial(server)
        peer = Peer(sock)
        reading = gevlite.spawn(read, peer) if rng.random() < 0.8 else None
        with contextlib.suppress(OSError):
            for _ in range(rng.randrange(40)):
                sock.sendall(some_frame(rng) if rng.random() < 0.2 else frame(TEXT, "x" * rng.randrange(2000)))
                gevlite.sleep(rng.random() / 200)
            if rng.random() < 0.5:
                sock.sendall(close_frame(1000))
                gevlite.sleep(0.05)
        sock.close()
        if reading is not None:
            reading.join()
        peer.vanish()

    def read(peer):
        with contextlib.suppress(OSError, EOFError, ValueError, AssertionError):
            while True:
                opcode, data, *_ = peer.read()
                if opcode == PING:
                    peer.sock.sendall(frame(PONG, data))

    server = site(app)
    clients = [gevlite.spawn(client, server) for _ in range(60)]
    killed = 0
    while not all(one.dead for one in clients):
        gevlite.sleep(0.02)
        if websockets and rng.random() < 0.3:
            rng.choice(websockets)[1].kill(block=False)
            killed += 1
    gevlite.joinall(clients, raise_error=True)
    until_quiet(server)
    assert not errors, f"seed {SEED}"
    assert len(websockets) == 60 and all(websocket.closed for websocket, _ in websockets)
