"""Pipes, terminals and files to open with `open` of the standard library and with FileObject."""

import io
import os

import pytest

from gevlite import _fileio
from gevlite.fileobject import FileObject


@pytest.fixture
def open_file(lib, opened):
    """`open_file(fd or path, mode, ...)`: that of the library under test. Closed at the end of the test."""

    def open_file(*args, **options):
        made = (io.open if lib.name == "original" else FileObject)(*args, **options)
        opened.callback(close_quietly, made)
        return made

    return open_file


@pytest.fixture
def open_twin(opened):
    """`open_twin(fd or path, mode, ...)`: a FileObject. Closed at the end of the test."""

    def open_twin(*args, **options):
        made = FileObject(*args, **options)
        opened.callback(close_quietly, made)
        return made

    return open_twin


def close_quietly(file):
    try:
        file.close()
    except (OSError, ValueError):
        pass  # a pipe that broke; a file that was detached


@pytest.fixture
def pipe(opened):
    """`pipe()`: the descriptors of a new pipe. At its end, those that the test has not closed are closed."""

    def pipe():
        ends = os.pipe()
        for fd in ends:
            opened.callback(close_fd, fd, os.fstat(fd).st_ino)
        return ends

    return pipe


def close_fd(fd, inode):
    """Close it, unless that was done and the number may belong to another file."""
    try:
        if os.fstat(fd).st_ino == inode:
            os.close(fd)
    except OSError:
        pass


@pytest.fixture(params=["one call", "mode"])
def nonblocking(request, monkeypatch):
    """Both ways to make a call that does not block: RWF_NOWAIT, and O_NONBLOCK where the former does not exist."""
    if request.param == "mode":
        monkeypatch.setattr(_fileio, "HAVE_NOWAIT", False)
    elif not _fileio.HAVE_NOWAIT:
        pytest.skip("no RWF_NOWAIT")
    return request.param
