"""Files of sockets (`makefile`) that several greenlets share: each call is whole, and an interruption loses nothing.

Tests that take `lib` first show the same of CPython's own threads.
"""

import errno
import gc
import io
import threading
import weakref

import pytest
from both_ends import tcp_pair
from tls_pair import Pair

import gevlite
from gevlite import Timeout
from gevlite._core import get_hub

SIZE = 200_000  # more than a buffer, and four of them more than the kernel keeps for a socket


@pytest.fixture(params=["plain", "tls"])
def pair(request, lib, opened, certificates):
    """Two connected sockets of the library under test."""
    if request.param == "tls":
        return tuple(Pair(lib, opened, certificates))
    return tcp_pair(lib.module("socket"), opened)


@pytest.fixture(params=["plain", "tls"])
def our_pair(request, start, opened, certificates):
    """Two connected sockets of gevlite."""
    if request.param == "tls":
        return tuple(Pair(start.__self__, opened, certificates))
    return tcp_pair(start.__self__.module("socket"), opened)


def receive_all(sock):
    chunks = []
    while chunk := sock.recv(100_000):
        chunks.append(chunk)
    return b"".join(chunks)


def of_mode(mode, data):
    return data if "b" in mode else data.decode()


# ---------------------------------------------------------------- several greenlets


@pytest.mark.parametrize("mode", ["wb", "w", "rwb", "rw"])
def test_writes_of_several_are_whole(mode, lib, pair):
    a, b = pair
    file = a.makefile(mode)

    def write(letter):
        file.write(of_mode(mode, letter * SIZE))
        file.flush()

    letters = [b"a", b"b", b"c", b"d"]
    reading = lib.spawn(lambda: receive_all(b))
    for writing in [lib.spawn(write, letter) for letter in letters]:
        writing.get()
    file.close()
    a.shutdown(1)
    got = reading.get()
    assert sorted(got[at : at + SIZE] for at in range(0, len(got), SIZE)) == [letter * SIZE for letter in letters]


READS = {
    "read": lambda file: file.read(5),
    "readline": lambda file: file.readline(),
    "next": lambda file: next(file),
    "readlines": lambda file: file.readlines(1)[0],
    "readinto": lambda file: into(file.readinto),
}


MODES = ["rb", "rwb", "r", "rw"]


def is_in(operation, mode):
    return "b" in mode or operation != "readinto"


def into(readinto):
    buffer = bytearray(5)
    assert readinto(buffer) == 5
    return bytes(buffer)


@pytest.mark.parametrize("mode", ["rb", "rwb"])
def test_reads_of_several_are_whole(mode, lib, pair):
    a, b = pair
    with b.makefile(mode) as file:
        reading = [lib.spawn(file.read, 5) for _ in range(3)]
        for piece in (b"11", b"11\n22", b"22\n3333", b"\n"):
            gevlite.sleep(0)
            a.sendall(piece)
        assert sorted(one.get() for one in reading) == [b"1111\n", b"2222\n", b"3333\n"]


# In CPython a part of these is done without the lock, and text files have none: greenlets get more than threads do.
@pytest.mark.parametrize(("mode", "operation"), [(mode, name) for mode in MODES for name in READS if is_in(name, mode)])
def test_lines_and_text_of_several_are_whole(mode, operation, start, our_pair):
    a, b = our_pair
    with b.makefile(mode) as file:
        reading = []
        for _ in range(3):
            reading.append(start(READS[operation], file))
            gevlite.idle()  # they come in this order
        for piece in (b"11", b"11\n22", b"22\n3333", b"\n"):
            gevlite.sleep(0)
            a.sendall(piece)
        assert [one.get() for one in reading] == [of_mode(mode, line) for line in (b"1111\n", b"2222\n", b"3333\n")]


@pytest.mark.parametrize("mode", ["rwb", "rw"])
def test_one_reads_while_another_writes(mode, start, settle, our_pair):
    a, b = our_pair
    with b.makefile(mode) as file, a.makefile(mode) as other:
        reading = start(file.readline)
        assert settle(lambda: get_hub().stats()["fd_waiters"])
        file.write(of_mode(mode, b"question\n"))
        file.flush()
        assert other.readline() == of_mode(mode, b"question\n")
        other.write(of_mode(mode, b"answer\n"))
        other.flush()
        assert reading.get() == of_mode(mode, b"answer\n")


def test_two_threads_share_a_file(our_pair):
    a, b = our_pair
    file = a.makefile("wb")

    def write(letter):
        file.write(letter * SIZE)
        file.flush()
        get_hub().destroy()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    with b.makefile("rb") as source:
        got = source.read(2 * SIZE)
    for thread in threads:
        thread.join(10)
    file.close()
    assert sorted((got[:SIZE], got[SIZE:])) == [b"a" * SIZE, b"b" * SIZE]


# ---------------------------------------------------------------- interruptions

INTERRUPTED = {
    "read": lambda file: file.read(SIZE),
    "read all": lambda file: file.read(),
    "readline": lambda file: file.readline(),
    "readlines": lambda file: file.readlines(),
    "next": lambda file: next(file),
    "readinto": lambda file: file.readinto(bytearray(SIZE)),
}


@pytest.mark.parametrize(
    ("mode", "operation"), [(mode, name) for mode in MODES for name in INTERRUPTED if is_in(name, mode)]
)
def test_an_interrupted_read_loses_nothing(mode, operation, start, settle, our_pair):
    a, b = our_pair
    sent = b"first\n" + b"x" * 20_000 + "ä".encode()
    with b.makefile(mode, encoding=None if "b" in mode else "utf-8") as file:
        a.sendall(sent[:-1])  # ends inside a character
        got = file.readline()
        with pytest.raises(Timeout), Timeout(0.002):
            INTERRUPTED[operation](file)
        reading = start(INTERRUPTED[operation], file)
        assert settle(lambda: get_hub().stats()["fd_waiters"])
        reading.greenlet.kill()
        a.sendall(sent[-1:] + b"\nlast")
        a.shutdown(1)
        got += file.read()
        assert got == of_mode(mode, b"") + (sent + b"\nlast" if "b" in mode else (sent + b"\nlast").decode())


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_kill_one_who_waits_for_its_turn(mode, start, our_pair):
    a, b = our_pair
    with b.makefile(mode) as file:
        reading = []
        for _ in range(3):
            reading.append(start(file.read, 5))
            gevlite.idle()  # they come in this order
        assert get_hub().stats()["parked"] == 3
        first, second, third = reading
        second.greenlet.kill()
        a.sendall(b"1111133333")
        assert first.get() == of_mode(mode, b"11111")
        assert third.get() == of_mode(mode, b"33333")


@pytest.mark.uninterrupted  # the timeout must not strike between a write and the count of it
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_what_was_buffered_before_a_flush_timed_out_is_sent_once(mode, start, our_pair):
    a, b = our_pair
    fill = b"f" * 5_000
    with a.makefile(mode, buffering=10_000) as file:
        sent = 0
        with pytest.raises(Timeout), Timeout(0.05):
            while True:
                file.write(of_mode(mode, fill))
                sent += len(fill)  # the file must send this much
                file.flush()
        reading = start(receive_all, b)
        file.write(of_mode(mode, b"end"))
    a.shutdown(1)
    assert reading.get() == b"f" * sent + b"end"


# ---------------------------------------------------------------- close


@pytest.mark.parametrize("mode", ["rb", "r", "rwb"])
def test_close_waits_for_a_read(mode, start, settle, our_pair):
    a, b = our_pair
    file = b.makefile(mode)
    reading = start(file.read, 10)
    assert settle(lambda: get_hub().stats()["fd_waiters"])
    a.sendall(b"12345")
    closing = start(file.close)
    assert settle(lambda: get_hub().stats()["parked"] == 2)
    a.sendall(b"67890")
    closing.get()
    assert file.closed
    assert reading.get() == of_mode(mode, b"1234567890")


def test_close_waits_for_a_write_and_sends_what_is_buffered(lib, pair):
    a, b = pair
    file = a.makefile("wb")
    writing = lib.spawn(file.write, b"x" * SIZE * 10 + b"end")
    assert b.recv(1) == b"x"
    closing = lib.spawn(file.close)
    reading = lib.spawn(lambda: receive_all(b))
    closing.get()
    writing.get()
    a.shutdown(1)
    assert reading.get() == b"x" * (SIZE * 10 - 1) + b"end"


def test_a_timeout_while_closing_closes_anyway(start, settle, our_pair):
    _a, b = our_pair
    file = b.makefile("rb")
    reading = start(file.read, 5)
    assert settle(lambda: get_hub().stats()["fd_waiters"])
    with pytest.raises(Timeout), Timeout(0.002):
        file.close()
    b.close()  # the file no longer uses the socket, so this closes the descriptor
    with pytest.raises(OSError) as caught:
        reading.get()
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("mode", ["rb", "wb", "rwb", "r", "w", "rw"])
def test_a_socket_closes_with_its_last_file(mode, pair):
    _a, b = pair
    files = [b.makefile(mode), b.makefile(mode)]
    b.close()
    assert b.fileno() >= 0
    files.pop().close()
    assert b.fileno() >= 0
    del files[:]
    gc.collect()
    assert b.fileno() < 0


# ---------------------------------------------------------------- what it is


def test_a_nonblocking_socket_has_nothing_to_read_into(ends):
    _a, b = ends
    b.setblocking(False)
    with b.makefile("rb") as file:
        assert file.readinto(bytearray(10)) is None
        assert file.read(10) is None


@pytest.mark.parametrize("mode", ["rb", "wb", "rwb", "r", "w", "rw"])
def test_a_file_may_be_referred_to_weakly_and_carry_attributes(mode, pair):
    _a, b = pair
    with b.makefile(mode) as file:
        assert weakref.ref(file)() is file
        file.mark = 1
        assert file.mark == 1
        assert isinstance(file, io.BufferedIOBase if "b" in mode else io.TextIOBase)


def test_both_directions_of_text_share_what_is_below(pair):
    a, b = pair
    with b.makefile("rw", encoding="utf-8") as file:
        assert (file.encoding, file.errors, file.newlines, file.line_buffering) == ("utf-8", "strict", None, False)
        file.buffer.write(b"bytes\n")
        file.buffer.flush()
        assert a.recv(100) == b"bytes\n"
        a.sendall(b"answer\n")
        assert file.buffer.readline() == b"answer\n"
