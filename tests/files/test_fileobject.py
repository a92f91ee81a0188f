"""FileObject blocks only the greenlet that reads or writes, and loses nothing when that is interrupted."""

import errno
import gc
import io
import os
import pty
import signal
import socket as std_socket
import stat
import threading
import tty
from types import SimpleNamespace

import pytest

import gevlite
from gevlite import Timeout, socket
from gevlite._core import get_hub
from gevlite.fileobject import FileObject, FileObjectBlock, FileObjectPosix, FileObjectThread

BIG = bytes(range(256)) * 4096  # 1 MiB: more than a pipe holds


@pytest.fixture
def terminal(opened):
    """`(our side, the program's side)` of a terminal that passes all bytes on unchanged."""
    ours, programs = pty.openpty()
    opened.callback(os.close, ours)
    opened.callback(os.close, programs)
    tty.setraw(programs)
    return ours, programs


def drain(fd):
    """Everything there is in a pipe."""
    os.set_blocking(fd, False)
    chunks = []
    try:
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
    except BlockingIOError:
        pass
    return b"".join(chunks)


def parked_on_fd(count=1):
    return lambda: get_hub().stats()["fd_waiters"] == count


def parked(count=1):
    """A condition: so many wait for something else than their next time slice."""
    return lambda: gevlite.idle() or get_hub().stats()["parked"] == count


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_others_run_while_one_reads(mode, pipe, open_twin, start, settle, nonblocking):
    reader, writer = pipe()
    file = open_twin(reader, mode)
    reading = start(file.readline)
    assert settle(parked_on_fd())
    os.write(writer, b"line\n")
    assert reading.get() == ("line\n" if mode == "r" else b"line\n")


def test_others_run_while_one_writes(pipe, open_twin, start, settle, nonblocking):
    reader, writer = pipe()
    file = open_twin(writer, "wb")
    writing = start(file.write, BIG)
    assert settle(parked_on_fd())
    got = bytearray()
    assert settle(lambda: got.extend(drain(reader)) or writing.greenlet.ready())
    assert writing.get() == len(BIG)
    file.close()
    assert got + drain(reader) == BIG


def test_a_hundred_pipes_at_once(pipe, open_twin, start):
    pipes = [pipe() for _ in range(100)]
    echoes = []
    for reader, _ in pipes:
        echoes.append(start(open_twin(reader, "rb").read))
    gevlite.sleep(0)
    for number, (_, writer) in enumerate(pipes):
        os.write(writer, b"%d" % number)
        os.close(writer)
    assert [echo.get() for echo in echoes] == [b"%d" % number for number in range(100)]


def read_and_close(path):
    with FileObject(path) as file:
        return file.read()


def test_a_named_pipe_is_opened_while_others_run(tmp_path, start, settle):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = start(read_and_close, path)
    assert settle(parked())
    with FileObject(path, "w") as file:
        file.write("through the fifo")
    assert reading.get() == "through the fifo"


def test_kill_while_opening_a_named_pipe_closes_it_when_it_opens(tmp_path, start, settle):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    opening = start(FileObject, path, "rb")
    assert settle(parked())
    opening.greenlet.kill()
    writer = os.open(path, os.O_WRONLY)  # waits for the thread that opens the other end
    try:
        assert settle(lambda: broken(writer))
    finally:
        os.close(writer)


def broken(fd):
    try:
        os.write(fd, b"x")
    except BrokenPipeError:
        return True
    return False


# ---------------------------------------------------------------- interrupted reads

READS = {
    "read": lambda file: file.read(100_000),
    "read all": lambda file: file.read(),
    "readline": lambda file: file.readline(),
    "readlines": lambda file: file.readlines(),
    "next": lambda file: next(file),
    "readinto": lambda file: file.readinto(bytearray(100_000)),
}
READ_MODES = [(mode, name) for mode in ("rb", "r") for name in READS if (mode, name) != ("r", "readinto")]


@pytest.fixture
def interrupted(pipe, open_twin, nonblocking):
    """`interrupted(mode, operation, interrupt)`: the data read, with interruptions in the middle, and the data sent."""

    def interrupted(mode, operation, interrupt):
        reader, writer = pipe()
        file = open_twin(reader, mode, encoding="utf-8" if mode == "r" else None)
        begin = "first\n" + "x" * 20_000 + "ä"
        os.write(writer, begin.encode()[:-1])  # ends inside a character
        got = file.readline()
        for _ in range(2):
            interrupt(lambda: READS[operation](file))
        os.write(writer, begin.encode()[-1:] + b"\nlast")
        os.close(writer)
        got += file.read()
        sent = begin + "\nlast"
        return got, sent if mode == "r" else sent.encode()

    return interrupted


@pytest.mark.parametrize(("mode", "operation"), READ_MODES)
def test_a_read_that_times_out_loses_nothing(mode, operation, interrupted):
    def interrupt(read):
        with pytest.raises(Timeout), Timeout(0.002):
            read()

    got, sent = interrupted(mode, operation, interrupt)
    assert got == sent


@pytest.mark.parametrize(("mode", "operation"), READ_MODES)
def test_a_read_that_is_killed_loses_nothing(mode, operation, interrupted, start, settle):
    def interrupt(read):
        reading = start(read)
        assert settle(parked_on_fd())
        reading.greenlet.kill()

    got, sent = interrupted(mode, operation, interrupt)
    assert got == sent


def test_kill_in_the_moment_the_data_comes_loses_nothing(pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(reader, "rb")
    for _ in range(20):
        reading = start(file.read, 1000)  # never complete
        assert settle(parked_on_fd())
        os.write(writer, b"12345")
        gevlite.sleep(0)
        reading.greenlet.kill()
    assert file.read(100) == b"12345" * 20


def test_an_unbuffered_readall_that_times_out_loses_nothing(pipe, open_twin):
    reader, writer = pipe()
    file = open_twin(reader, "rb", buffering=0)
    os.write(writer, b"12345")
    with pytest.raises(Timeout), Timeout(0.002):
        file.readall()
    assert file.read(3) == b"123"
    os.close(writer)
    assert file.readall() == b"45"


def test_an_error_after_some_data_comes_after_the_data(opened):
    ours, programs = pty.openpty()
    with FileObject(ours, "rb") as file:
        os.write(programs, b"12345")
        assert file.peek(1)
        os.close(programs)
        with pytest.raises(OSError) as caught:
            file.read(100)
        assert caught.value.errno == errno.EIO
        assert file.read(5) == b"12345"


def test_a_signal_does_not_end_a_read(pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(reader, "rb")
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        reading = start(file.read, 5)
        assert settle(parked_on_fd())
        os.kill(os.getpid(), signal.SIGUSR1)
        assert settle(lambda: seen)
        os.write(writer, b"12345")
        assert reading.get() == b"12345"
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---------------------------------------------------------------- interrupted writes


def fill(fd):
    """Write until the pipe takes no more; returns how many bytes it took."""
    os.set_blocking(fd, False)
    size = 0
    try:
        while True:
            size += os.write(fd, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(fd, True)
        return size


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_what_was_buffered_before_a_flush_timed_out_is_written_once(mode, pipe, open_twin, nonblocking):
    reader, writer = pipe()
    full = fill(writer)
    file = open_twin(writer, mode)
    file.write("early" if mode == "w" else b"early")
    for _ in range(2):
        with pytest.raises(Timeout), Timeout(0.002):
            file.flush()
    file.write("late" if mode == "w" else b"late")
    assert len(drain(reader)) == full
    file.flush()
    assert drain(reader) == b"earlylate"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_killed_write_has_written_a_part_and_the_next_one_follows(mode, pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(writer, mode)
    binary = mode == "wb"
    file.write(b"early" if binary else "early")
    writing = start(file.write, b"x" * len(BIG) if binary else "x" * len(BIG))
    assert settle(parked_on_fd())
    writing.greenlet.kill()
    got = drain(reader)
    file.write(b"late" if binary else "late")
    file.close()
    got += drain(reader)
    assert got.startswith(b"earlyx")
    assert got.endswith(b"xlate")
    assert not got.strip(b"early").strip(b"late").strip(b"x")
    assert len(got) < len(BIG)


# ---------------------------------------------------------------- several greenlets


@pytest.mark.parametrize(("mode", "buffering"), [("wb", -1), ("wb", 0), ("w", -1)])
def test_writes_of_several_greenlets_are_whole(mode, buffering, pipe, open_twin, start):
    reader, writer = pipe()
    source, target = open_twin(reader, "rb"), open_twin(writer, mode, buffering)
    letters = "abcd"
    size = 200_000
    writing = [start(target.write, letter * size if mode == "w" else letter.encode() * size) for letter in letters]
    reading = start(source.read)
    for one in writing:
        assert one.get() == size
    target.close()
    got = reading.get().decode()
    assert sorted(got[at : at + size] for at in range(0, len(got), size)) == [letter * size for letter in letters]


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_readers_of_several_greenlets_take_turns(mode, pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(reader, mode)
    reading = []
    for _ in range(5):
        reading.append(start(file.readline))
        gevlite.idle()
    assert settle(parked_on_fd())
    for number in range(5):
        os.write(writer, b"line ")
        gevlite.sleep(0)
        os.write(writer, b"%d\n" % number)
    lines = [one.get() for one in reading]
    assert lines == [f"line {number}\n" if mode == "r" else b"line %d\n" % number for number in range(5)]


def test_kill_one_who_waits_for_his_turn(pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(reader, "rb")
    reading = []
    for _ in range(3):
        reading.append(start(file.read, 5))
        gevlite.idle()
    first, second, third = reading
    assert settle(parked(3))
    second.greenlet.kill()
    os.write(writer, b"1111133333")
    assert first.get() == b"11111"
    assert third.get() == b"33333"


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_readlines_is_one_turn(mode, pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(reader, mode)
    first, second = start(file.readlines), start(file.readlines)
    assert settle(parked_on_fd())
    os.write(writer, b"one\ntwo\n")
    assert settle(lambda: get_hub().stats()["ready"] == 0)
    second.greenlet.kill()
    third = start(file.readline)
    gevlite.sleep(0)
    first.greenlet.kill()
    assert third.get() == ("one\n" if mode == "r" else b"one\n")
    os.close(writer)
    assert file.readlines() == ["two\n" if mode == "r" else b"two\n"]


def test_a_callback_in_the_hub_may_read(pipe, open_twin, hub, settle):
    reader, writer = pipe()
    file = open_twin(reader, "rb")
    outcome = []
    hub.call_soon(lambda: outcome.append(file.read(1)))
    gevlite.idle()
    assert not outcome
    os.write(writer, b"x")
    assert settle(lambda: outcome) and outcome == [b"x"]


@pytest.mark.parametrize("buffering", [-1, 0])
def test_one_reads_while_another_writes_a_socket(buffering, open_twin, start, settle):
    ours, theirs = std_socket.socketpair()
    with theirs:
        file = open_twin(ours, "r+b", buffering)
        reading = start(file.read, 5)
        assert settle(parked_on_fd())
        file.write(b"question")
        file.flush()
        assert theirs.recv(100) == b"question"
        theirs.sendall(b"12345")
        assert reading.get() == b"12345"
        file.close()
        assert theirs.recv(100) == b""


def test_text_both_ways_loses_nothing_that_was_read_ahead(open_twin):
    ours, theirs = std_socket.socketpair()
    with theirs:
        file = open_twin(ours, "r+", encoding="utf-8", buffering=1)
        theirs.sendall(b"one\ntwo\nthree\n")
        for answer in ("one\n", "two\n", "three\n"):
            assert file.readline() == answer
            file.write("got " + answer)
            assert theirs.recv(100) == b"got " + answer.encode()
        assert (file.readable(), file.writable(), file.encoding) == (True, True, "utf-8")


# ---------------------------------------------------------------- close


@pytest.mark.parametrize(("mode", "buffering"), [("rb", -1), ("rb", 0), ("r", -1), ("r+b", -1), ("r+b", 0), ("r+", -1)])
def test_close_while_another_greenlet_reads(mode, buffering, open_twin, start, settle, nonblocking):
    ours, theirs = std_socket.socketpair()
    with theirs:
        file = open_twin(ours.detach(), mode, buffering)
        reading = [start(file.readline)]
        gevlite.idle()
        reading.append(start(file.readline))
        assert settle(parked(2))
        file.close()
        assert file.closed
        errors = [pytest.raises((OSError, ValueError), one.get).value for one in reading]
        assert errors[0].errno == errno.EBADF
        assert getattr(errors[1], "errno", errno.EBADF) == errno.EBADF
        assert theirs.recv(10) == b""


def test_close_without_closing_the_descriptor_ends_only_our_waits(open_twin, start, settle):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        file = open_twin(ours.fileno(), "rb", closefd=False)
        reading = start(file.read, 5)
        assert settle(parked_on_fd())
        receiving = start(ours.recv, 5)
        assert settle(parked_on_fd(2))
        file.close()
        with pytest.raises(OSError) as caught:
            reading.get()
        assert caught.value.errno == errno.EBADF
        theirs.sendall(b"12345")
        assert receiving.get() == b"12345"


def test_close_in_a_callback_of_the_hub(pipe, open_twin, start, settle, hub):
    reader, _ = pipe()
    file = open_twin(reader, "rb")
    reading = start(file.read, 5)
    assert settle(parked_on_fd())
    hub.call_soon(file.close)
    with pytest.raises(OSError):
        reading.get()


def test_close_waits_for_a_write_and_writes_what_is_buffered(pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(writer, "wb")
    writing = start(file.write, BIG + b"end")
    assert settle(parked_on_fd())
    closing = start(file.close)
    gevlite.sleep(0)
    assert not file.closed
    source = open_twin(reader, "rb")
    assert source.read() == BIG + b"end"
    closing.get()
    assert writing.get() == len(BIG) + 3


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_kill_while_closing_closes_anyway(mode, pipe, open_twin, start, settle):
    reader, writer = pipe()
    file = open_twin(writer, mode)
    writing = start(file.write, "x" * len(BIG) if mode == "w" else BIG)
    assert settle(parked_on_fd())
    closing = start(file.close)
    assert settle(parked(2))
    closing.greenlet.kill()
    assert file.closed
    with pytest.raises(OSError) as caught:
        writing.get()
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError):
        os.fstat(writer)


def test_close_in_another_thread(pipe, open_twin, settle):
    reader, _ = pipe()
    file = open_twin(reader, "rb")
    outcome = []

    def read():
        try:
            outcome.append(file.read(5))
        except OSError as exc:
            outcome.append(exc.errno)
        get_hub().destroy()

    thread = threading.Thread(target=read)
    thread.start()
    assert settle(lambda: any(other.stats()["fd_waiters"] for other in gevlite._core.hubs() if other is not get_hub()))
    file.close()
    thread.join(10)
    assert outcome == [errno.EBADF]


def test_writes_of_two_threads_are_whole(pipe, open_twin, start):
    reader, writer = pipe()
    file = open_twin(writer, "wb")
    size = 200_000

    def write(letter):
        file.write(letter * size)
        get_hub().destroy()

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    reading = start(open_twin(reader, "rb").read, 2 * size)
    while any(thread.is_alive() for thread in threads):
        gevlite.sleep(0.001)
    file.close()  # this writes the buffered data, up to 128 KiB from Python 3.14 on
    got = reading.get()
    assert got[:size] in (b"a" * size, b"b" * size)
    assert len(set(got[size:])) == 1


# ---------------------------------------------------------------- leaks


def test_a_file_that_is_dropped_writes_what_is_buffered_and_closes(pipe):
    reader, writer = pipe()
    with pytest.warns(ResourceWarning, match="unclosed"):
        file = FileObject(writer, "wb")
        file.write(b"12345")
        del file
        gc.collect()
    assert os.read(reader, 10) == b"12345"
    assert os.read(reader, 10) == b""


def test_files_still_open_at_the_end_of_the_program_are_written(tmp_path, run_script):
    done = run_script(
        """
        import sys
        from gevlite.fileobject import FileObject, FileObjectThread
        binary = FileObject(sys.argv[1] + "/binary", "wb")
        binary.write(b"binary")
        text = FileObject(sys.argv[1] + "/text", "w")
        text.write("text")
        out = FileObject(1, "w", closefd=False)
        out.write("out")
        thread = FileObjectThread(sys.argv[1] + "/thread", "w")
        thread.write("thread")
        """,
        str(tmp_path),
    )
    assert (done.stdout, done.stderr) == ("out", "")
    for name in ("binary", "text", "thread"):
        assert (tmp_path / name).read_text() == name


def test_no_descriptor_is_left_open(terminal, tmp_path, pipe):
    def descriptors():
        return set(os.listdir("/proc/self/fd"))

    ours, programs = terminal
    (tmp_path / "file").write_bytes(b"x")
    FileObject(tmp_path / "file").close()  # starts a worker thread
    before = descriptors()
    for _ in range(3):
        with FileObject(programs, "r+", closefd=False) as file:
            os.write(ours, b"x\n")
            assert file.readline() == "x\n"
        with FileObject(tmp_path / "file") as file:
            file.read()
        with pytest.raises(IsADirectoryError):
            FileObject(tmp_path)
    assert descriptors() == before


def test_a_forked_child_reads_what_the_parent_writes(run_script):
    done = run_script(
        """
        import os
        import gevlite
        from gevlite.fileobject import FileObject
        reader, writer = os.pipe()
        source, target = FileObject(reader, "r"), FileObject(writer, "w")
        waiting = gevlite.spawn(source.readline)
        gevlite.sleep(0)
        if os.fork() == 0:
            target.close()
            print("child", waiting.get(), end="", flush=True)
            os._exit(0)
        waiting.kill()      # it would read from the same pipe
        target.write("line\\n")
        target.close()
        os.wait()
        """
    )
    assert done.stdout == "child line\n"


# ---------------------------------------------------------------- blocking mode


def test_the_mode_of_a_shared_pipe_is_left_alone(pipe, open_twin, start, settle, nonblocking):
    reader, writer = pipe()
    if nonblocking == "mode" and not os.path.exists(f"/proc/self/fd/{reader}"):
        pytest.skip("no /proc to open a pipe a second time")
    file = open_twin(reader, "rb")
    reading = start(file.read, 1)
    assert settle(parked_on_fd())
    assert os.get_blocking(reader)
    os.write(writer, b"x")
    reading.get()
    target = open_twin(writer, "wb")
    writing = start(target.write, BIG)
    assert settle(parked_on_fd())
    assert os.get_blocking(writer)
    writing.greenlet.kill()


def test_the_mode_of_a_terminal_is_left_alone(terminal, open_twin, start, settle):
    ours, programs = terminal
    file = open_twin(programs, "r+b", closefd=False, buffering=0)
    reading = start(file.read, 100)
    assert settle(parked_on_fd())
    assert os.get_blocking(programs)
    os.write(ours, b"question")
    assert reading.get() == b"question"
    file.write(b"answer")
    assert os.read(ours, 100) == b"answer"
    assert file.fileno() == programs


def test_a_descriptor_in_nonblocking_mode_never_says_so(pipe, open_twin, start, settle):
    reader, writer = pipe()
    os.set_blocking(reader, False)
    file = open_twin(reader, "rb", buffering=0)
    reading = start(file.read, 5)
    assert settle(parked_on_fd())
    os.write(writer, b"12345")
    assert reading.get() == b"12345"


# ---------------------------------------------------------------- where it comes from


def test_made_from_a_socket(open_twin):
    ours, theirs = socket.socketpair()
    with theirs:
        file = open_twin(ours, "rb")
        theirs.sendall(b"12345")
        assert file.read(5) == b"12345"
        assert file.fileno() == ours.fileno()
        file.close()
        assert ours.fileno() == -1


def test_made_from_a_file_begins_where_its_user_is(tmp_path, open_twin):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with open(path, "rb") as original:
        original.read(3)
        file = open_twin(original, "rb", closefd=False)
        assert file.name == path or file.name == str(path)
        assert file.read(3) == b"345"
        again = open_twin(file, "rb")
        assert again.read() == b"6789"
        again.close()
        assert file.closed
        assert not original.closed


def test_made_from_a_file_closes_it(tmp_path):
    path = tmp_path / "file"
    original = open(path, "w")
    file = FileObject(original, "w")
    file.write("text")
    file.close()
    assert original.closed
    assert path.read_text() == "text"


def test_older_names_of_arguments(pipe, open_twin):
    reader, writer = pipe()
    open_twin(writer, "wb", bufsize=0).write(b"12345")
    open_twin(reader, "rb", close=False).close()
    assert open_twin(reader, "rU").read(5) == "12345"
    with pytest.raises(TypeError, match="both"):
        FileObject(reader, "rb", bufsize=5, buffering=5)
    with pytest.raises(TypeError, match="both"):
        FileObject(reader, "rb", close=True, closefd=True)
    with pytest.raises(TypeError, match="fileno"):
        FileObject(object())


def test_it_can_be_wrapped_and_handed_to_the_standard_library(pipe, open_twin):
    reader, writer = pipe()
    target = io.TextIOWrapper(open_twin(writer, "wb"), "utf-8", write_through=True)
    source = io.TextIOWrapper(open_twin(reader, "rb"), "utf-8")
    target.write("ä\nb\n")
    target.close()
    assert list(source) == ["ä\n", "b\n"]
    source.close()


def test_what_it_says_of_itself(pipe, open_twin):
    reader, _ = pipe()
    file = open_twin(reader)
    assert (file.name, file.mode) == (reader, "r")
    assert "FileObjectPosix" in repr(file)
    assert f"name={reader}" in repr(file)
    assert "readline" in dir(file)
    assert isinstance(file.io, io.TextIOBase)
    with pytest.raises(AttributeError, match="no_such_thing"):
        file.no_such_thing  # noqa: B018
    assert FileObject is FileObjectPosix


# ---------------------------------------------------------------- files on a disk


@pytest.fixture
def slow_disk(monkeypatch):
    """Reads from a disk take until `gate.set()`."""
    gate = threading.Event()
    pread = os.pread

    def slow(*args):
        assert gate.wait(20)
        return pread(*args)

    monkeypatch.setattr(os, "pread", slow)
    yield gate
    gate.set()


@pytest.mark.parametrize("mode", ["rb", "r"])
def test_others_run_while_the_disk_reads(mode, tmp_path, open_twin, slow_disk, start, settle):
    (tmp_path / "file").write_text("line\n")
    file = open_twin(tmp_path / "file", mode)
    reading = [start(file.readline), start(file.readline)]
    assert settle(parked(2))
    slow_disk.set()
    lines = {one.get() for one in reading}
    assert lines == ({"line\n", ""} if mode == "r" else {b"line\n", b""})


@pytest.mark.parametrize("buffering", [-1, 0, 4])
def test_kill_while_the_disk_reads_moves_nothing(buffering, tmp_path, open_twin, slow_disk, start, settle):
    (tmp_path / "file").write_bytes(b"0123456789")
    file = open_twin(tmp_path / "file", "rb", buffering)
    for read in (lambda: file.read(7), file.readline, file.read):
        reading = start(read)
        assert settle(parked())
        reading.greenlet.kill()
    slow_disk.set()
    assert file.tell() == 0
    assert file.read() == b"0123456789"


def test_a_disk_read_that_is_interrupted_later_gives_back_what_it_had(tmp_path, open_twin, monkeypatch, start, settle):
    (tmp_path / "file").write_bytes(b"0123456789" * 10)
    file = open_twin(tmp_path / "file", "rb", 8)
    gate = threading.Event()
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: pread(fd, size, at) if at < 16 or gate.wait(20) else b"")
    assert file.read(3) == b"012"
    reading = start(file.readline)
    assert settle(lambda: parked()() and reading_is_at(file, 16))
    reading.greenlet.kill()
    gate.set()
    monkeypatch.undo()
    assert file.tell() == 3
    assert file.read() == (b"0123456789" * 10)[3:]


def reading_is_at(file, position):
    return os.lseek(file.fileno(), 0, os.SEEK_CUR) == position


def test_close_while_the_disk_reads(tmp_path, open_twin, slow_disk, start, settle):
    (tmp_path / "file").write_bytes(b"0123456789")
    file = open_twin(tmp_path / "file", "rb")
    reading = start(file.read)
    assert settle(parked())
    file.close()
    slow_disk.set()
    with pytest.raises(OSError) as caught:
        reading.get()
    assert caught.value.errno == errno.EBADF


@pytest.fixture
def slow_writes(monkeypatch):
    """Writes to a disk begin (`slow_writes.begun`) and take until `slow_writes.gate.set()`."""
    begun, gate = threading.Event(), threading.Event()
    writev = os.writev

    def slow(*args):
        begun.set()
        assert gate.wait(20)
        return writev(*args)

    monkeypatch.setattr(os, "writev", slow)
    yield SimpleNamespace(begun=begun, gate=gate)
    gate.set()


@pytest.mark.parametrize("buffering", [-1, 0])
def test_kill_while_the_disk_writes_waits_for_the_write(buffering, tmp_path, open_twin, slow_writes, start, settle):
    path = tmp_path / "file"
    file = open_twin(path, "wb", buffering)
    writing = start(lambda: (file.write(b"12345"), file.flush()))
    assert settle(slow_writes.begun.is_set)
    writing.greenlet.kill(block=False)
    gevlite.idle()
    assert not writing.greenlet.ready()
    slow_writes.gate.set()
    writing.greenlet.join(5)
    assert isinstance(writing.greenlet.value, gevlite.GreenletExit)
    file.close()
    assert path.read_bytes() == b"12345"


def test_a_second_kill_does_not_wait_for_the_disk(tmp_path, open_twin, slow_writes, start, settle):
    path = tmp_path / "file"
    file = open_twin(path, "wb", 0)
    writing = start(file.write, b"12345")
    assert settle(slow_writes.begun.is_set)
    for _ in range(2):
        writing.greenlet.kill(block=False)
        gevlite.idle()
    assert writing.greenlet.ready()
    slow_writes.gate.set()
    assert settle(lambda: path.read_bytes() == b"12345")


def test_an_interruption_is_not_left_for_the_next_one_if_the_operation_fails_too(
    tmp_path, open_twin, slow_writes, start, settle
):
    file = open_twin(tmp_path / "file", "w+b")
    file.write(b"12345")
    seeking = start(file.seek, -1)  # writes first, and then finds that it cannot be
    assert settle(slow_writes.begun.is_set)
    seeking.greenlet.kill(block=False)
    gevlite.sleep(0)
    slow_writes.gate.set()
    seeking.greenlet.join(5)
    assert isinstance(seeking.greenlet.value, gevlite.GreenletExit)
    file.seek(0)
    assert file.read() == b"12345"


def test_others_run_while_the_disk_writes(tmp_path, open_twin, slow_writes, start, settle):
    path = tmp_path / "file"
    file = open_twin(path, "w")
    file.write("line\n")
    closing = start(file.close)
    assert settle(slow_writes.begun.is_set)
    assert not closing.greenlet.ready()
    slow_writes.gate.set()
    closing.get()
    assert path.read_text() == "line\n"


# ---------------------------------------------------------------- FileObjectThread, FileObjectBlock


def test_any_object_in_a_thread():
    file = FileObjectThread(io.BytesIO(b"one\ntwo\n"), "rb")
    assert file.readline() == b"one\n"
    assert list(file) == [b"two\n"]
    file.seek(0)
    assert file.tell() == 0
    file.write(b"ONE")
    assert FileObjectThread(file, "rb").io is file.io
    assert file.getvalue() == b"ONE\ntwo\n"
    file.close()
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.read()
    assert FileObjectThread(io.BytesIO(b"one\r\ntwo"), encoding="ascii").read() == "one\ntwo"
    assert FileObjectThread(io.StringIO("text")).read() == "text"


def test_a_thread_reads_each_line(start):
    class Slow(io.BytesIO):
        def readline(self, size=-1):
            threads.append(threading.get_ident())
            return super().readline(size)

    threads = []
    assert list(FileObjectThread(Slow(b"one\ntwo\n"), "rb")) == [b"one\n", b"two\n"]
    assert threads
    assert threading.get_ident() not in threads


def test_paths_in_a_thread(tmp_path):
    path = tmp_path / "file"
    with FileObjectThread(str(path), "w+") as file:
        file.writelines(["one\n", "two\n"])
        file.flush()
        assert path.read_text() == "one\ntwo\n"
        file.seek(0)
        assert file.readlines() == ["one\n", "two\n"]
        assert file.name == str(path)
        assert file.truncate(0) == 0
    assert path.read_text() == ""
    with pytest.raises(FileNotFoundError):
        FileObjectThread(tmp_path / "missing")


def test_others_run_while_a_thread_reads(pipe, start, settle):
    reader, writer = pipe()
    file = FileObjectThread(reader)
    reading = start(file.readline)
    assert settle(parked())
    os.write(writer, b"line\n")
    assert reading.get() == "line\n"
    file.close()
    with pytest.raises(OSError):
        os.fstat(reader)


def test_a_killed_read_keeps_its_turn_until_its_thread_is_free(pipe, start, settle):
    reader, writer = pipe()
    file = FileObjectThread(reader, "rb")
    first = start(file.read, 5)
    assert settle(parked())
    first.greenlet.kill()
    second = start(file.read, 5)
    gevlite.sleep(0)
    os.write(writer, b"1111122222")
    assert second.get() == b"22222"
    file.close()


def test_close_while_a_thread_reads(pipe, start, settle):
    reader, writer = pipe()
    file = FileObjectThread(reader, "rb")
    reading = start(file.read, 5)
    assert settle(parked())
    file.close()
    assert file.closed
    with pytest.raises(OSError) as caught:
        reading.get()
    assert caught.value.errno == errno.EBADF
    os.write(writer, b"12345")  # the thread is free now
    assert settle(lambda: file.io.closed)


def test_without_a_lock_operations_run_side_by_side():
    inside = threading.Barrier(2)

    class Slow(io.BytesIO):
        def read(self, size=-1):
            inside.wait(10)
            return b""

    file = FileObjectThread(Slow(), "rb", lock=False)
    reading = [gevlite.spawn(file.read) for _ in range(2)]
    assert [one.get() for one in reading] == [b"", b""]


def test_block_is_the_original(tmp_path):
    path = tmp_path / "file"
    with FileObjectBlock(path, "w") as file:
        file.write("text")
        assert type(file.io) is io.TextIOWrapper
    assert FileObjectBlock(io.BytesIO(b"text"), "rb").read() == b"text"
    assert stat.S_ISREG(path.stat().st_mode)
