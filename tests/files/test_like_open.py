"""FileObject is like `open`. Each test runs twice with the same assertions: the original in threads, then gevlite's."""

import errno
import fcntl
import io
import os
import pty
import socket
import struct
import termios
import time
import tty

import pytest

import gevlite

TEXT = "first\nsecond äöü €\n\nlast without an end"
LINES = TEXT.splitlines(keepends=True)
BIG = bytes(range(256)) * 4096  # 1 MiB: more than a pipe holds


@pytest.fixture
def feed(lib):
    """`feed(writer, reader, chunks)`: write to a pipe, each chunk when the one before was read, and close it."""
    pause = time.sleep if lib.name == "original" else gevlite.sleep

    def feed(writer, reader, chunks):
        for chunk in chunks:
            assert os.write(writer, chunk) == len(chunk)
            while unread_bytes(reader):
                pause(0)
        os.close(writer)

    return feed


def unread_bytes(fd):
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]


def write_and_close(fd, data):
    assert os.write(fd, data) == len(data)
    os.close(fd)


def cut(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.fixture
def binary(pipe, open_file):
    """A file that reads from a pipe, and the pipe's other end."""
    reader, writer = pipe()
    return open_file(reader, "rb"), writer


@pytest.fixture
def text(pipe, open_file):
    reader, writer = pipe()
    return open_file(reader, "r", encoding="utf-8"), writer


# ---------------------------------------------------------------- reading


def test_read_waits_for_all_it_was_asked_for(binary, lib):
    file, writer = binary
    reading = lib.spawn(file.read, 10)
    os.write(writer, b"12345")
    os.write(writer, b"67890abc")
    assert reading.get() == b"1234567890"
    os.close(writer)
    assert file.read(10) == b"abc"
    assert file.read(10) == b""


def test_read_without_a_size_goes_to_the_end_of_the_file(binary, lib, feed):
    file, writer = binary
    reading = lib.spawn(file.read)
    feed(writer, file.fileno(), [b"1", b"2", b"3"])
    assert reading.get() == b"123"
    assert file.read() == b""


def test_read1_returns_what_there_is(binary):
    file, writer = binary
    os.write(writer, b"12345")
    assert file.read1(100) == b"12345"
    os.write(writer, b"67890")
    assert file.read1(2) == b"67"
    assert file.read1() == b"890"


def test_peek_takes_nothing(binary):
    file, writer = binary
    os.write(writer, b"12345")
    assert file.peek(1)[:1] == b"1"
    assert file.read(5) == b"12345"


def test_readinto_fills_a_buffer_of_any_shape(binary):
    file, writer = binary
    os.write(writer, b"12345678abc")
    whole = memoryview(bytearray(8)).cast("H")
    assert file.readinto(whole) == 8
    assert whole.tobytes() == b"12345678"
    some = bytearray(8)
    assert file.readinto1(some) == 3
    assert some[:3] == b"abc"


def test_lines(binary):
    file, writer = binary
    write_and_close(writer, TEXT.encode())
    assert file.readline() == LINES[0].encode()
    assert file.readline(3) == LINES[1].encode()[:3]
    assert next(file) == LINES[1].encode()[3:]
    assert list(file) == [line.encode() for line in LINES[2:]]
    assert file.readline() == b""


def test_readlines_with_a_hint_stops_after_it(binary):
    file, writer = binary
    write_and_close(writer, TEXT.encode())
    assert file.readlines(len(LINES[0]) + 1) == [line.encode() for line in LINES[:2]]
    assert file.readlines() == [line.encode() for line in LINES[2:]]


def test_a_line_longer_than_any_buffer(binary, open_file, lib):
    file, writer = binary
    line = b"x" * 500_000 + b"\n"
    reading = lib.spawn(file.readline)
    with open_file(writer, "wb") as target:
        target.write(line + b"rest")
    assert reading.get() == line
    assert file.read() == b"rest"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_text_in_pieces_of_characters_and_lines(size, text, lib, feed):
    file, writer = text
    reading = lib.spawn(list, file)
    feed(writer, file.fileno(), cut(TEXT.encode(), size))
    assert reading.get() == LINES


def test_read_counts_characters(text):
    file, writer = text
    write_and_close(writer, TEXT.encode())
    assert file.read(8) == TEXT[:8]
    assert file.read(0) == ""
    assert file.readline() == LINES[1][2:]
    assert file.read() == TEXT[len(LINES[0] + LINES[1]) :]
    assert file.read() == file.readline() == file.read(5) == ""


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
def test_newlines_are_those_of_open(newline, size, pipe, open_file, lib, feed):
    data = b"unix\nmac\rdos\r\n\r\r\n\n\rend"
    expected = io.TextIOWrapper(io.BytesIO(data), "ascii", newline=newline)
    lines = list(expected)
    reader, writer = pipe()
    file = open_file(reader, "r", encoding="ascii", newline=newline)
    reading = lib.spawn(file.readlines)
    feed(writer, reader, cut(data, size))
    assert reading.get() == lines
    assert file.newlines == expected.newlines


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-8-sig", "latin-1", "shift_jis"])
def test_encodings_with_state(encoding, pipe, open_file):
    reader, writer = pipe()
    words = "one\ntwo\nthree\n"
    with open_file(writer, "w", encoding=encoding) as file:
        for word in words.splitlines(keepends=True):
            file.write(word)
    file = open_file(reader, "r", encoding=encoding)
    assert file.encoding.replace("_", "-") == encoding.replace("_", "-")
    assert file.read() == words


def test_a_byte_order_mark_in_pieces(pipe, open_file, lib, feed):
    reader, writer = pipe()
    file = open_file(reader, "r", encoding="utf-16")
    reading = lib.spawn(file.read)
    feed(writer, reader, cut("one\ntwo\n".encode("utf-16"), 1))
    assert reading.get() == "one\ntwo\n"


def test_what_cannot_be_decoded(pipe, open_file):
    for errors, expected in (("replace", "a\ufffdb"), ("ignore", "ab"), ("surrogateescape", "a\udcffb")):
        reader, writer = pipe()
        write_and_close(writer, b"a\xffb")
        assert open_file(reader, "r", encoding="utf-8", errors=errors).read() == expected
    reader, writer = pipe()
    write_and_close(writer, b"a\xffb")
    file = open_file(reader, "r", encoding="utf-8")
    with pytest.raises(UnicodeDecodeError):
        file.read()


def test_a_character_that_the_end_of_the_file_cuts(pipe, open_file):
    reader, writer = pipe()
    write_and_close(writer, "ä".encode()[:1])
    assert open_file(reader, "r", encoding="utf-8", errors="replace").read() == "\ufffd"


# ---------------------------------------------------------------- writing


def test_what_is_written_comes_at_the_flush(pipe, open_file):
    reader, writer = pipe()
    file = open_file(writer, "wb")
    assert file.write(b"12345") == 5
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 10)
    file.flush()
    assert os.read(reader, 10) == b"12345"
    file.writelines([b"6", b"7"])
    file.close()
    assert os.read(reader, 10) == b"67"
    assert os.read(reader, 10) == b""


@pytest.mark.parametrize("buffering", [-1, 0, 5, 100_000])
def test_write_more_than_the_pipe_holds(buffering, pipe, open_file, lib):
    reader, writer = pipe()
    source = open_file(reader, "rb")
    file = open_file(writer, "wb", buffering=buffering)
    reading = lib.spawn(source.read)
    assert file.write(BIG) == len(BIG)
    assert file.write(memoryview(b"abcd").cast("H")) == 4
    file.close()
    assert reading.get() == BIG + b"abcd"


def test_text_is_encoded_and_newlines_translated(pipe, open_file):
    reader, writer = pipe()
    with open_file(writer, "w", encoding="utf-8", newline="\r\n") as file:
        assert file.write("ä\n") == 2
        print("€", file=file)
    assert os.read(reader, 100) == "ä\r\n€\r\n".encode()


def test_line_buffering_writes_at_the_end_of_a_line(pipe, open_file):
    reader, writer = pipe()
    os.set_blocking(reader, False)
    file = open_file(writer, "w", buffering=1)
    file.write("begin")
    with pytest.raises(BlockingIOError):
        os.read(reader, 100)
    file.write(" end\n")
    assert os.read(reader, 100) == b"begin end\n"


def test_the_reader_has_gone(pipe, open_file):
    reader, writer = pipe()
    os.close(reader)
    file = open_file(writer, "wb")
    file.write(b"x")
    with pytest.raises(BrokenPipeError):
        file.flush()
    with pytest.raises(BrokenPipeError):
        file.close()
    assert file.closed
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(writer)


def test_unbuffered_reads_are_single_system_calls(pipe, open_file):
    reader, writer = pipe()
    file = open_file(reader, "rb", buffering=0)
    os.write(writer, b"12345")
    assert file.read(100) == b"12345"
    os.write(writer, b"12\n45")
    assert file.readline() == b"12\n"
    os.close(writer)
    assert file.readall() == b"45"


# ---------------------------------------------------------------- terminals and sockets


@pytest.fixture
def terminal(opened):
    """`(our side, the program's side)` of a terminal that passes all bytes on unchanged."""
    ours, programs = pty.openpty()
    opened.callback(os.close, ours)
    opened.callback(os.close, programs)
    tty.setraw(programs)
    return ours, programs


def test_a_terminal_is_read_as_it_comes(terminal, open_file, lib):
    ours, programs = terminal
    file = open_file(programs, "r", closefd=False)
    assert file.isatty()
    reading = lib.spawn(file.readline)
    os.write(ours, b"hello\n")
    assert reading.get() == "hello\n"


def test_a_terminal_is_written_a_line_at_a_time(terminal, open_file):
    ours, programs = terminal
    file = open_file(programs, "w", closefd=False)
    file.write("hello\n")
    assert os.read(ours, 100) == b"hello\n"


def test_a_terminal_that_was_hung_up(open_file):
    ours, programs = pty.openpty()
    file = open_file(ours, "rb")
    os.close(programs)
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EIO


def test_a_socket(open_file, lib):
    one, other = socket.socketpair()
    with one, other:
        reader = open_file(one.fileno(), "r", closefd=False)
        writer = open_file(other.fileno(), "w", closefd=False)
        reading = lib.spawn(reader.readline)
        writer.write("over the socket\n")
        writer.flush()
        assert reading.get() == "over the socket\n"
        other.shutdown(socket.SHUT_WR)
        assert reader.readline() == ""


# ---------------------------------------------------------------- files on a disk


def test_modes_of_a_file_on_a_disk(tmp_path, open_file):
    path = tmp_path / "file"
    with open_file(path, "x") as file:
        file.write(TEXT)
    with pytest.raises(FileExistsError) as caught:
        open_file(path, "x")
    assert caught.value.filename == (path if isinstance(caught.value.filename, type(path)) else str(path))
    with open_file(str(path), "a") as file:
        file.write("!")
    with open_file(os.fsencode(path)) as file:
        assert file.read() == TEXT + "!"
    with open_file(path, "w+b") as file:
        file.write(BIG)
        assert file.tell() == len(BIG)
        file.seek(-5, os.SEEK_END)
        assert file.read() == BIG[-5:]
        file.seek(1)
        file.write(b"#")
        file.seek(0)
        assert file.read(4) == BIG[:1] + b"#" + BIG[2:4]
        assert file.truncate(10) == 10
    assert path.stat().st_size == 10
    with open_file(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"more")
    with open_file(path, "rb", buffering=0) as file:
        assert file.read(4) == BIG[:1] + b"#" + BIG[2:4]
        assert file.readall() == BIG[4:10] + b"more"


def test_text_on_a_disk_seeks_by_what_tell_said(tmp_path, open_file):
    path = tmp_path / "file"
    path.write_text(TEXT, encoding="utf-8")
    with open_file(path, encoding="utf-8") as file:
        file.readline()
        place = file.tell()
        assert file.read() == TEXT[6:]
        file.seek(place)
        assert file.readlines() == LINES[1:]
        assert list(file) == []


def test_a_large_file_by_lines(tmp_path, open_file):
    path = tmp_path / "file"
    lines = [b"%d\n" % n for n in range(100_000)]
    path.write_bytes(b"".join(lines))
    with open_file(path, "rb") as file:
        assert list(file) == lines
    with open_file(path, "rb") as file:
        assert file.read(300_000) == b"".join(lines)[:300_000]


def test_the_offset_of_the_descriptor_follows(tmp_path, open_file):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    fd = os.open(path, os.O_RDWR)
    try:
        with open_file(fd, "rb", buffering=0, closefd=False) as file:
            assert file.read(3) == b"012"
        assert os.read(fd, 2) == b"34"
        with open_file(fd, "wb", closefd=False) as file:
            file.write(b"##")
        assert os.read(fd, 2) == b"78"
    finally:
        os.close(fd)
    assert path.read_bytes() == b"01234##" + b"789"


# ---------------------------------------------------------------- the object itself


def test_closing(pipe, open_file):
    reader, _ = pipe()
    with open_file(reader, "rb") as file:
        assert not file.closed
        assert file.fileno() == reader
    assert file.closed
    file.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(reader)
    for use in (file.read, file.readline, file.fileno, lambda: next(file), lambda: file.readinto(bytearray(1))):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_closing_text(pipe, open_file):
    reader, writer = pipe()
    os.write(writer, b"one\ntwo\n")
    file = open_file(reader)
    assert file.readline() == "one\n"
    file.close()
    for use in (file.read, file.readline, lambda: next(file)):
        with pytest.raises(ValueError, match="closed"):
            use()
    file = open_file(writer, "w")
    file.close()
    for use in (lambda: file.write("x"), file.flush):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_closefd_false_leaves_the_descriptor(pipe, open_file):
    reader, writer = pipe()
    file = open_file(writer, "wb", closefd=False)
    file.write(b"12345")
    file.close()
    assert file.closed
    assert os.read(reader, 10) == b"12345"
    os.write(writer, b"6")


def test_the_other_direction_is_refused(pipe, open_file):
    reader, writer = pipe()
    for buffering in (-1, 0):
        source = open_file(reader, "rb", buffering, closefd=False)
        target = open_file(writer, "wb", buffering, closefd=False)
        with pytest.raises(io.UnsupportedOperation):
            source.write(b"x")
        with pytest.raises(io.UnsupportedOperation):
            target.read()
        assert (source.readable(), source.writable(), source.seekable()) == (True, False, False)
        assert (target.readable(), target.writable(), target.seekable()) == (False, True, False)
        with pytest.raises(OSError):
            source.seek(0)
    source, target = open_file(reader, closefd=False), open_file(writer, "w", closefd=False)
    with pytest.raises(io.UnsupportedOperation):
        source.write("x")
    with pytest.raises(io.UnsupportedOperation):
        target.read()


def test_detach_gives_the_layer_below(pipe, open_file):
    reader, writer = pipe()
    file = open_file(reader, "rb")
    raw = file.detach()
    os.write(writer, b"12345")
    assert raw.read(5) == b"12345"
    with pytest.raises(ValueError, match="detached"):
        file.read()
    raw.close()


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (ValueError, {"mode": "q"}),
        (ValueError, {"mode": "rw"}),
        (ValueError, {"mode": ""}),
        (ValueError, {"mode": "rr"}),
        (ValueError, {"mode": "rbt"}),
        (TypeError, {"mode": 5}),
        (ValueError, {"mode": "rb", "encoding": "utf-8"}),
        (ValueError, {"mode": "rb", "errors": "strict"}),
        (ValueError, {"mode": "rb", "newline": ""}),
        (ValueError, {"newline": "x"}),
        (LookupError, {"encoding": "no such thing"}),
        (TypeError, {"buffering": "much"}),
    ],
)
def test_arguments_that_make_no_sense(error, arguments, pipe, open_file):
    reader, _ = pipe()
    with pytest.raises(error):
        open_file(reader, closefd=False, **arguments)
    os.fstat(reader)


def test_what_cannot_be_opened(tmp_path, open_file):
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)
    for number, error in ((-1, (ValueError, OSError)), (10_000, OSError)):
        with pytest.raises(error):
            open_file(number)
    with pytest.raises(TypeError):
        open_file(1.5)
    with pytest.raises(ValueError, match="closefd"):
        open_file(tmp_path / "new", "w", closefd=False)
    assert not (tmp_path / "new").exists()
