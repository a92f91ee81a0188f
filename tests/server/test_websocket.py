"""WebSocket on the WSGI server: messages, limits, keepalive, closing, and the effects of a kill or a time-out."""

import contextlib
import gc
import os
import socket
import struct
import time
import weakref

import pytest
from ws_peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, close_frame, echoes, frame

import gevlite
from gevlite._core import has_slices
from gevlite.event import Event
from gevlite.pywsgi import Limits, WSGIHandler
from gevlite.testing import VirtualClock
from gevlite.websocket import WebSocket, WebSocketClosed, accept

Frame = pytest.importorskip("websockets.frames").Frame


@pytest.fixture
def connect(dial):
    """`connect(server, *headers)`: a Peer whose handshake succeeded."""

    def connect(server, *headers, **kwargs):
        peer = Peer(dial(server), *headers, **kwargs)
        assert peer.answer.status == 101, peer.answer.body
        return peer

    return connect


class Site:
    """An application whose `WebSocket` the test uses: it returns when the test calls `leave`."""

    def __init__(self, **options):
        self.options = options
        self.ready = Event()
        self.done = Event()
        self.over = Event()

    def __call__(self, environ, start_response):
        try:
            self.greenlet = gevlite.getcurrent()
            self.websocket = accept(environ, **self.options)
            self.ready.set()
            self.done.wait()
            return []
        finally:
            self.over.set()

    def leave(self):
        self.done.set()


@pytest.fixture
def pair(site, connect):
    """`pair(**options)`: (WebSocket in the server, Peer), of one connection. The third attribute of the former's
    application, `site`, is its server.
    """
    apps = []

    def pair(server=None, **options):
        app = Site(**options)
        apps.append(app)
        served = site(app, **(server or {}))
        peer = connect(served)
        assert app.ready.wait(20)
        peer.app, peer.server = app, served
        return app.websocket, peer

    yield pair
    for app in apps:
        app.leave()


def until(condition):
    while not condition():
        gevlite.sleep(0.002)


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
def test_messages_of_all_sizes_come_back(site, connect, size):
    peer = connect(site(echoes()))
    data = os.urandom(size)
    peer.send(frame(BINARY, data))
    assert peer.read() == (BINARY, data)
    text = "é" * (size // 2)
    peer.send(frame(TEXT, text))
    assert peer.read() == (TEXT, text.encode())


def test_the_type_of_a_message_says_whether_it_was_text(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, "a\N{SNOWMAN}") + frame(BINARY, b"\xff") + frame(TEXT) + frame(BINARY))
    assert [websocket.receive() for _ in range(4)] == ["a\N{SNOWMAN}", b"\xff", "", b""]
    websocket.send("\N{SNOWMAN}")
    websocket.send(bytearray(b"ab"))
    websocket.send(memoryview(b"cd"))
    assert [peer.read() for _ in range(3)] == [(TEXT, "\N{SNOWMAN}".encode()), (BINARY, b"ab"), (BINARY, b"cd")]


def test_what_is_no_message_is_refused_before_anything_is_sent(pair):
    websocket, peer = pair()
    with pytest.raises(TypeError, match="str or bytes, not int"):
        websocket.send(1)
    with pytest.raises(UnicodeEncodeError):
        websocket.send("\ud800")
    websocket.send("ok")
    assert peer.read() == (TEXT, b"ok")


def test_fragments_are_put_together(pair):
    websocket, peer = pair()
    snowman = "\N{SNOWMAN}".encode()
    peer.send(frame(TEXT, snowman[:1], fin=False) + frame(CONTINUATION, b"", fin=False))
    peer.send(frame(CONTINUATION, snowman[1:] + b"x"))
    assert websocket.receive() == "\N{SNOWMAN}x"
    peer.send(frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xfe"))
    assert websocket.receive() == b"\xff\xfe"


@pytest.mark.skipif(not has_slices(), reason="has no time slices")
def test_a_message_is_not_lost_because_the_reader_answers_a_ping_meanwhile(pair, hub, monkeypatch):
    """With time slices the reader might run in the middle of a call of the protocol."""
    websocket, peer = pair()
    serialize = Frame.serialize

    def long(self, **options):
        if self.opcode == BINARY:
            peer.send(frame(PING, b"now"))
            end, slices = time.monotonic() + 0.1, hub.stats()["slices"]
            while time.monotonic() < end and hub.stats()["slices"] < slices + 3:
                pass
        return serialize(self, **options)

    monkeypatch.setattr(Frame, "serialize", long)
    monkeypatch.setattr(gevlite.config, "time_slice", 0.001)
    websocket.send(b"message")
    websocket.send("the end")
    seen = set()
    while (TEXT, b"the end") not in seen:
        seen.add(peer.read())
    assert (BINARY, b"message") in seen


def test_control_frames_between_fragments_are_answered_at_once(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, "a", fin=False) + frame(PING, b"now"))
    assert peer.read() == (PONG, b"now")
    peer.send(frame(PONG, b"unasked") + frame(CONTINUATION, b"b"))
    assert websocket.receive() == "ab"


def test_a_frame_may_come_byte_by_byte(pair):
    websocket, peer = pair()
    for byte in frame(TEXT, "slowly"):
        peer.send(bytes([byte]))
        gevlite.sleep(0)
    assert websocket.receive() == "slowly"


def test_frames_that_come_with_the_handshake_are_not_lost(site, connect):
    peer = connect(site(echoes()), early=frame(TEXT, "early"))
    assert peer.read() == (TEXT, b"early")


def test_pings_are_answered_while_the_application_does_something_else(pair):
    _, peer = pair()
    peer.send(frame(PING, b"1") + frame(PING, b"x" * 125))
    assert [peer.read(), peer.read()] == [(PONG, b"1"), (PONG, b"x" * 125)]


def test_several_greenlets_send_whole_messages(pair):
    websocket, peer = pair()
    messages = [bytes([n]) * 200_000 for n in range(8)]
    senders = [gevlite.spawn(websocket.send, message) for message in messages]
    assert sorted(peer.read()[1] for _ in messages) == messages
    gevlite.joinall(senders, raise_error=True)


def test_several_greenlets_receive_each_message_once(pair):
    websocket, peer = pair()
    receivers = [gevlite.spawn(websocket.receive) for _ in range(5)]
    gevlite.sleep(0)
    peer.send(b"".join(frame(TEXT, str(n)) for n in range(5)))
    assert sorted(gevlite.joinall(receivers, raise_error=True) and [r.value for r in receivers]) == list("01234")


# ---------------------------------------------------------------- protocol errors of clients

FAULTS = {
    "not masked": (frame(TEXT, "x", masked=False), 1002),
    "reserved bit": (frame(TEXT, "x", rsv=1), 1002),
    "compressed, which was not agreed on": (frame(TEXT, "x", rsv=4), 1002),
    "reserved opcode": (frame(3), 1002),
    "reserved control opcode": (frame(11), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "ping in fragments": (frame(PING, fin=False), 1002),
    "continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "message in a message": (frame(TEXT, "a", fin=False) + frame(TEXT, "b"), 1002),
    "close with one byte": (frame(CLOSE, b"\x03"), 1002),
    "close with 1005": (close_frame(1005), 1002),
    "close with 999": (close_frame(999), 1002),
    "close with a reason that is no UTF-8": (close_frame(1000, b"\xff"), 1007),
    "no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "half a character": (frame(TEXT, "\N{SNOWMAN}".encode()[:2]), 1007),
    "no UTF-8 in a fragment": (frame(TEXT, b"ok", fin=False) + frame(CONTINUATION, b"\xff", fin=False), 1007),
    "too long": (frame(BINARY, length=(1 << 20) + 1), 1009),
    "much too long": (frame(BINARY, length=1 << 62), 1009),
    "too long in fragments": (
        frame(BINARY, bytes(1 << 19), fin=False)
        + frame(CONTINUATION, bytes(1 << 19), fin=False)
        + frame(CONTINUATION, b"x"),
        1009,
    ),
}


@pytest.mark.parametrize("data, code", FAULTS.values(), ids=FAULTS)
def test_a_client_that_breaks_the_rules_is_told_why_and_closed(pair, data, code):
    websocket, peer = pair()
    peer.send(data)
    assert peer.closed_with()[0] == code
    with pytest.raises(WebSocketClosed) as caught:
        websocket.receive()
    assert caught.value.code == websocket.close_code == code


def test_messages_before_the_fault_are_received(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, "a") + frame(TEXT, "b") + frame(TEXT, b"\xff") + frame(TEXT, "c"))
    assert peer.closed_with()[0] == 1007
    assert list(websocket) == ["a", "b"]


def test_max_size_counts_whole_messages(pair):
    websocket, peer = pair(max_size=5)
    peer.send(frame(TEXT, "12345") + frame(TEXT, "123", fin=False) + frame(CONTINUATION, "45"))
    assert [websocket.receive(), websocket.receive()] == ["12345", "12345"]
    peer.send(frame(TEXT, "123", fin=False) + frame(CONTINUATION, "456"))
    assert peer.closed_with()[0] == 1009


def test_no_limit_of_size(pair):
    websocket, peer = pair(max_size=None)
    peer.send(frame(BINARY, bytes(3 << 20)))
    assert len(websocket.receive()) == 3 << 20


def test_many_empty_fragments_take_no_memory_and_no_time(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, fin=False) + 50_000 * frame(CONTINUATION, fin=False) + frame(CONTINUATION, "x"))
    assert websocket.receive() == "x"


# ---------------------------------------------------------------- receive


def test_receive_times_out_and_loses_nothing(pair):
    websocket, peer = pair()
    with pytest.raises(TimeoutError):
        websocket.receive(timeout=0)
    with pytest.raises(TimeoutError):
        websocket.receive(timeout=0.01)
    peer.send(frame(TEXT, "late"))
    assert websocket.receive(timeout=20) == "late"


def test_a_poll_lets_the_message_come(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, "x"))
    while True:
        with contextlib.suppress(TimeoutError):
            assert websocket.receive(timeout=0) == "x"
            break


def test_a_timeout_and_a_kill_in_receive_lose_nothing(pair):
    websocket, peer = pair()
    with gevlite.Timeout(0.01, False):
        websocket.receive()
    waiting = gevlite.spawn(websocket.receive)
    gevlite.sleep(0)
    waiting.kill()
    peer.send(frame(TEXT, "x"))
    assert websocket.receive() == "x"


def test_a_client_waits_while_the_application_reads_nothing(pair):
    websocket, peer = pair()
    sent = []

    def send():
        for n in range(400):
            peer.sock.sendall(frame(BINARY, bytes(100_000)))
            sent.append(n)

    sender = gevlite.spawn(send)
    until(lambda: len(sent) > 2)
    while True:
        before = len(sent)
        gevlite.sleep(0.2)
        if len(sent) == before:
            break
    assert len(sent) < 300 and len(websocket._messages) < 20 and not sender.dead
    for _ in range(400):
        assert len(websocket.receive()) == 100_000
    sender.get()


# ---------------------------------------------------------------- closing


def test_the_client_closes(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, "last") + close_frame(4001, "schön".encode()))
    assert peer.closed_with() == (4001, "schön")
    assert websocket.receive() == "last"
    with pytest.raises(WebSocketClosed) as caught:
        websocket.receive()
    assert (caught.value.code, caught.value.reason) == (4001, "schön") and str(caught.value) == "4001 schön"
    assert websocket.closed and (websocket.close_code, websocket.close_reason) == (4001, "schön")
    with pytest.raises(WebSocketClosed):
        websocket.send("x")
    websocket.close()


def test_the_client_closes_without_a_code(pair):
    websocket, peer = pair()
    peer.send(close_frame())
    assert peer.closed_with() == (None, "")
    assert list(websocket) == [] and websocket.close_code == 1005


def test_the_application_closes(pair):
    websocket, peer = pair()
    closing = gevlite.spawn(websocket.close, 3000, "enough")
    assert peer.read() == (CLOSE, b"\x0b\xb8enough")
    assert websocket.closed and not closing.dead
    peer.send(frame(TEXT, "dropped") + frame(PING, b"answered") + close_frame(3000))
    closing.get(timeout=20)
    assert peer.read() == (PONG, b"answered")
    assert websocket.close_code == 3000
    with pytest.raises(WebSocketClosed):
        websocket.receive()
    peer.app.leave()
    peer.hang_up()


def test_what_came_before_the_application_closed_is_received(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, "before"))
    until(lambda: websocket._messages)
    closing = gevlite.spawn(websocket.close)
    assert peer.read()[0] == CLOSE
    assert list(websocket) == ["before"]
    peer.send(close_frame(1000))
    closing.get(timeout=20)


def test_a_client_may_close_in_the_middle_of_a_message(pair):
    websocket, peer = pair()
    peer.send(frame(TEXT, "never", fin=False) + close_frame(4000))
    assert peer.closed_with()[0] in (4000, 1002)  # RFC 6455, 5.5.1: typically the code of the client
    assert list(websocket) == [] and websocket.close_code == 4000


def test_a_client_that_still_sends_gets_to_see_why_it_is_closed(site, connect):
    def app(environ, start_response):
        list(accept(environ))
        return []

    peer = connect(site(app))
    peer.send(frame(TEXT, b"\xff") + 40 * frame(BINARY, bytes(50_000)))
    assert peer.closed_with()[0] == 1007


def test_a_close_wakes_the_receiver(pair):
    websocket, peer = pair()
    receiving = gevlite.spawn(lambda: list(websocket))
    gevlite.sleep(0)
    closing = gevlite.spawn(websocket.close)
    assert receiving.get(timeout=20) == []
    peer.send(close_frame(1000))
    closing.get(timeout=20)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, "1000", None])
def test_codes_that_must_not_be_sent(pair, code):
    websocket, _ = pair()
    with pytest.raises(ValueError, match="code must be one"):
        websocket.close(code)
    with pytest.raises(ValueError, match="123 bytes"):
        websocket.close(1000, "é" * 62)
    assert not websocket.closed


def test_a_close_to_a_client_that_has_gone_is_no_error(pair, errors):
    websocket, peer = pair()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.vanish()  # by a reset, which the server has not noticed yet
    websocket.close()
    peer.app.leave()
    assert peer.app.over.wait(20)
    assert websocket.closed and not errors


def test_a_client_that_does_not_answer_the_close_is_cut_off(pair):
    websocket, peer = pair(close_timeout=0.05)
    websocket.close()
    assert websocket.close_code == 1000
    assert peer.closed_with() == (1000, "")


def test_a_client_that_sends_for_ever_and_does_not_answer_the_close_is_cut_off(pair):
    websocket, peer = pair(close_timeout=0.1)

    def flood():
        while peer.send(frame(BINARY, bytes(1000))):
            pass

    flooding = gevlite.spawn(flood)
    websocket.receive()
    websocket.close()
    peer.app.leave()
    flooding.get(timeout=20)


def test_the_connection_is_closed_when_the_application_returns(site, connect):
    def app(environ, start_response):
        accept(environ).send("bye")
        return []

    peer = connect(site(app))
    assert peer.read() == (TEXT, b"bye")
    assert peer.read() == (CLOSE, b"\x03\xe8")
    peer.send(close_frame(1000))
    peer.hang_up()


def test_an_error_of_the_application_closes_with_1011_and_is_reported(site, connect, errors):
    def app(environ, start_response):
        accept(environ).receive()
        raise ZeroDivisionError("secret")

    peer = connect(site(app))
    peer.send(frame(TEXT, "x"))
    assert peer.read() == (CLOSE, b"\x03\xf3")  # 1011, and nothing of the error's text
    peer.send(close_frame(1011))
    peer.hang_up()
    until(lambda: errors)
    assert [type(error) for _, error in errors] == [ZeroDivisionError]


def test_an_oserror_of_the_application_is_reported_although_the_client_is_gone(site, connect, errors):
    def app(environ, start_response):
        list(accept(environ))
        raise ConnectionRefusedError("the database")

    connect(site(app)).sock.close()
    until(lambda: errors)
    assert [type(error) for _, error in errors] == [ConnectionRefusedError]


def test_an_application_may_let_the_end_of_the_connection_through(site, connect, errors):
    over = Event()

    def app(environ, start_response):
        try:
            while True:
                accept(environ).receive()
        finally:
            over.set()

    peer = connect(site(app))
    peer.send(close_frame(1000))
    assert peer.closed_with()[0] == 1000
    assert over.wait(20) and not errors


def test_a_client_that_hangs_up(pair):
    websocket, peer = pair()
    peer.vanish()
    with pytest.raises(WebSocketClosed) as caught:
        websocket.receive()
    assert caught.value.code == 1006
    with pytest.raises(WebSocketClosed):
        websocket.send("x")


# ---------------------------------------------------------------- keepalive


def test_a_silent_client_is_pinged_and_lost_if_it_says_nothing(pair):
    websocket, peer = pair(ping_interval=0.05, ping_timeout=0.1)
    assert peer.read() == (PING, b"")
    with pytest.raises(WebSocketClosed) as caught:
        websocket.receive()
    assert caught.value.code == 1011
    assert peer.closed_with()[0] == 1011


def test_a_client_that_answers_pings_stays(pair):
    websocket, peer = pair(ping_interval=0.02, ping_timeout=20)
    for _ in range(5):
        assert peer.read() == (PING, b"")
        peer.send(frame(PONG))
    assert not websocket.closed


def test_a_client_that_sends_messages_is_not_pinged(pair):
    websocket, peer = pair(ping_interval=5, ping_timeout=5)
    for _ in range(20):
        peer.send(frame(TEXT, "x"))
        websocket.receive()
    websocket.send("end")
    assert peer.read() == (TEXT, b"end")


def test_without_pings(pair):
    websocket, peer = pair(ping_interval=None)
    peer.send(frame(TEXT, "x"))
    assert websocket.receive() == "x"


def test_without_a_limit_for_the_answer(pair):
    websocket, peer = pair(ping_interval=0.01, ping_timeout=None)
    assert peer.read() == (PING, b"")
    with VirtualClock():
        gevlite.sleep(1)
    peer.send(frame(TEXT, "x"))
    assert websocket.receive() == "x"


# ---------------------------------------------------------------- slow clients

SLOW = {"server": {"limits": Limits(write_timeout=0.2, min_rate=0)}}


def test_a_client_that_takes_nothing_is_cut_off(pair):
    websocket, peer = pair(**SLOW)
    with pytest.raises(WebSocketClosed) as caught:
        while True:
            websocket.send(bytes(1 << 20))
    assert caught.value.code == websocket.close_code == 1006
    assert isinstance(caught.value.__cause__, TimeoutError)
    peer.app.leave()
    assert peer.app.over.wait(20)


def test_pongs_of_a_client_that_takes_nothing_do_not_pile_up(pair):
    websocket, peer = pair(**SLOW)
    pings = 500 * frame(PING, b"x" * 125)
    with contextlib.suppress(OSError):
        while True:
            peer.sock.sendall(pings)
            assert len(websocket._unsent) < 2000
    until(lambda: websocket.closed)


def blocked_sender(websocket):
    """A greenlet that cannot go on sending, because the client takes nothing."""
    sending = gevlite.spawn(lambda: [websocket.send(bytes(1 << 20)) for _ in range(100)])
    until(lambda: websocket._turn.locked())
    with VirtualClock():  # its time passes when no more can be sent
        gevlite.sleep(1)
    return sending


def test_pongs_do_not_pile_up_behind_a_sender(pair):
    websocket, peer = pair()
    sending = blocked_sender(websocket)
    pings = 100 * frame(PING, b"x" * 125)
    peer.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        while True:
            peer.sock.sendall(pings)
            assert len(websocket._unsent) < 2000
    peer.vanish()
    with pytest.raises(WebSocketClosed):
        sending.get(timeout=20)


def test_a_close_to_a_client_that_takes_nothing_has_a_limit(pair):
    websocket, _ = pair(close_timeout=0.1)
    sending = blocked_sender(websocket)
    websocket.close()
    with pytest.raises(WebSocketClosed):
        sending.get(timeout=20)


def test_the_answer_to_a_close_of_a_client_that_takes_nothing_has_a_limit(pair):
    websocket, peer = pair(close_timeout=0.1)
    sending = blocked_sender(websocket)
    peer.send(close_frame(1000))
    with pytest.raises(WebSocketClosed):
        sending.get(timeout=20)
    assert websocket.close_code == 1000


def test_a_sender_learns_that_the_client_says_nothing_more(pair):
    websocket, peer = pair()
    sending = blocked_sender(websocket)
    peer.sock.shutdown(1)  # without a close
    with pytest.raises(WebSocketClosed):
        sending.get(timeout=20)
    assert websocket.close_code == 1006


def test_a_kill_does_not_wait_for_other_senders(pair):
    websocket, peer = pair()
    sending = blocked_sender(websocket)
    peer.app.greenlet.kill(timeout=20)
    assert peer.app.greenlet.dead
    with pytest.raises(WebSocketClosed):
        sending.get(timeout=20)


def test_both_sides_send_a_lot_before_they_read(site, connect):
    """The reader does not wait for the sender, so neither side waits for ever."""

    def app(environ, start_response):
        websocket = accept(environ)
        sending = gevlite.spawn(lambda: [websocket.send(bytes(1 << 19)) for _ in range(20)])
        got = [websocket.receive() for _ in range(20)]
        sending.join()
        websocket.send(str(sum(map(len, got))))
        return []

    peer = connect(site(app))
    for _ in range(20):
        peer.sock.sendall(frame(PING, b"p") + frame(BINARY, bytes(1 << 19)))
    frames = [peer.read() for _ in range(41)]
    assert frames.count((PONG, b"p")) == 20 and frames.count((BINARY, bytes(1 << 19))) == 20
    assert (TEXT, str(20 << 19).encode()) in frames


# ---------------------------------------------------------------- kill, Timeout, stop, leaks


def test_a_send_that_is_interrupted_ends_the_connection(pair, clock):
    websocket, peer = pair()
    with pytest.raises(gevlite.Timeout), gevlite.Timeout(0.2):
        while True:
            websocket.send(bytes(1 << 20))
    assert websocket.closed and websocket.close_code == 1006
    with pytest.raises(WebSocketClosed):
        websocket.send("x")
    with contextlib.suppress(ConnectionResetError):
        peer.file.read()


def test_a_send_that_waits_for_its_turn_may_be_interrupted(pair):
    websocket, peer = pair()
    sending = gevlite.spawn(lambda: [websocket.send(bytes(1 << 20)) for _ in range(30)])
    until(lambda: websocket._turn.locked())
    with VirtualClock():  # its time passes when no more can be sent
        gevlite.sleep(1)
    waiting = gevlite.spawn(websocket.send, "never")
    gevlite.sleep(0)
    waiting.kill()
    assert not websocket.closed
    assert [peer.read() for _ in range(30)] == [(BINARY, bytes(1 << 20))] * 30
    sending.get(timeout=20)
    websocket.send("next")
    assert peer.read() == (TEXT, b"next")


def test_a_killed_application_closes_with_1001(pair):
    _, peer = pair()
    peer.app.greenlet.kill(block=False)
    assert peer.closed_with()[0] == 1001


def test_a_stopped_server_closes_with_1001(pair):
    websocket, peer = pair()
    receiving = gevlite.spawn(lambda: list(websocket))
    stopping = gevlite.spawn(peer.server.stop, 20)
    assert peer.read() == (CLOSE, b"\x03\xe9the server stops")
    assert receiving.get(timeout=20) == [] and websocket.close_code == 1001
    assert not stopping.dead
    peer.send(close_frame(1001))
    peer.app.leave()
    peer.hang_up()
    stopping.get(timeout=20)


def test_a_stop_waits_no_longer_than_it_may(site, connect):
    server = site(echoes(close_timeout=100))
    peer = connect(server)
    server.stop(0.2)
    assert peer.closed_with()[0] == 1001


def test_no_request_is_accepted_once_the_server_stops(site, dial):
    begun, go = Event(), Event()

    def app(environ, start_response):
        begun.set()
        go.wait()
        accept(environ)

    server = site(app)
    peer = gevlite.spawn(Peer, dial(server))
    assert begun.wait(20)
    server.close()
    go.set()
    assert peer.get(timeout=20).answer.status == 503


def test_a_server_that_stops_during_the_handshake(site, connect):
    class Handler(WSGIHandler):
        def start_response(self, status, headers, exc_info=None):
            self.server.close()
            return super().start_response(status, headers, exc_info)

    peer = connect(site(echoes(), handler_class=Handler))
    assert peer.read() == (CLOSE, b"\x03\xe9the server stops")
    peer.send(close_frame(1001))
    peer.hang_up()


def test_nothing_is_left_behind(site, connect):
    kept = []

    def app(environ, start_response):
        kept.append(weakref.ref(accept(environ)))
        kept[-1]().receive()
        return []

    server = site(app)
    peer = connect(server)
    peer.send(close_frame(1000))
    peer.closed_with()
    until(lambda: kept and not server._handlers)
    gevlite.idle()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    greenlets = _greenlets()
    for end in range(30):
        peer = connect(server)
        peer.send([frame(TEXT, "x") + close_frame(1000), frame(TEXT, b"\xff"), frame(TEXT, "x"), b""][end % 4])
        peer.vanish()
    until(lambda: not server._handlers)
    gevlite.idle()
    gc.collect()
    assert [ref() for ref in kept] == [None] * 31
    assert _greenlets() == greenlets
    if before:
        until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def _greenlets():
    gc.collect()
    return sum(isinstance(o, gevlite.Greenlet) and not o.dead for o in gc.get_objects())


def test_repr(pair):
    websocket, peer = pair()
    assert isinstance(websocket, WebSocket) and repr(websocket) == "<WebSocket open>"
    peer.send(close_frame(1000, b"bye"))
    assert list(websocket) == []
    assert repr(websocket) == "<WebSocket closed 1000 bye>"
