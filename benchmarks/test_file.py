"""File objects on pipes: large pieces, lines, and messages back and forth, all in one process."""

import importlib
import os

from benchmarks.case import BLOCKING, GREEN, Case

CHUNK = b"x" * 65536
LINE = b"x" * 49 + b"\n"
MESSAGE = b"x" * 64

pipe_throughput = Case("pipe_throughput", "Pipe, read and write 64 KiB", n=2_000)
pipe_lines = Case("pipe_lines", "Pipe, write and read a line of 50 B", n=50_000)
pipe_text_lines = Case("pipe_text_lines", "Pipe, write and read a line of 50 B as text", n=50_000, quick=False)
pipe_ping_pong = Case("pipe_ping_pong", "Pipes, 64 B there and back, unbuffered", n=5_000)


def opener(lib):
    """The function that makes a file object of a descriptor."""
    if lib.name in GREEN:
        return importlib.import_module(f"{lib.name}.fileobject").FileObject
    if lib.name == "eventlet":
        return importlib.import_module("eventlet.greenio").GreenPipe
    return open


def pipe(lib, mode="b", buffering=-1):
    """A file that reads and one that writes the same pipe."""
    make = opener(lib)
    reader, writer = os.pipe()
    return make(reader, "r" + mode, buffering=buffering), make(writer, "w" + mode, buffering=buffering)


def write_and_read(lib, n, what, mode, read):
    source, target = pipe(lib, mode)

    def write():
        for _ in range(n):
            target.write(what)
        target.close()

    writing = lib.spawn(write)
    read(source)
    lib.joinall([writing])
    source.close()


@pipe_throughput.on(*BLOCKING)
def _(lib, n):
    def read(source):
        while source.read(len(CHUNK)):
            pass

    write_and_read(lib, n, CHUNK, "b", read)


def read_lines(source):
    for _ in source:
        pass


@pipe_lines.on(*BLOCKING)
def _(lib, n):
    write_and_read(lib, n, LINE, "b", read_lines)


@pipe_text_lines.on(*BLOCKING)
def _(lib, n):
    write_and_read(lib, n, LINE.decode(), "", read_lines)


@pipe_ping_pong.on(*BLOCKING)
def _(lib, n):
    there, back = pipe(lib, buffering=0), pipe(lib, buffering=0)

    def echo():
        while data := there[0].read(len(MESSAGE)):
            back[1].write(data)

    echoing = lib.spawn(echo)
    for _ in range(n):
        there[1].write(MESSAGE)
        back[0].read(len(MESSAGE))
    there[1].close()
    lib.joinall([echoing])
    for file in (there[0], *back):
        file.close()


def test_pipe_throughput(bench, lib):
    bench(pipe_throughput, lib)


def test_pipe_lines(bench, lib):
    bench(pipe_lines, lib)


def test_pipe_text_lines(bench, lib):
    bench(pipe_text_lines, lib)


def test_pipe_ping_pong(bench, lib):
    bench(pipe_ping_pong, lib)
