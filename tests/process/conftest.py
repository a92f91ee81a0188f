"""Shared by the tests of processes."""

import os

import pytest

from gevlite import _children


@pytest.fixture
def pipe(pipe):
    """The two ends of a pipe, descriptors in blocking mode, as a program has them."""
    for fd in pipe:
        os.set_blocking(fd, True)
    return pipe


@pytest.fixture(params=["pidfd", "thread"])
def told_by(request, monkeypatch):
    """Run the test twice: a pidfd reports the end of a child, then a thread that waits for it."""
    if request.param == "thread":
        monkeypatch.setattr(_children, "_pidfd_open", None)
    elif _children.pidfd(os.getpid()) is None:
        pytest.skip("no pidfd here")
    return request.param


@pytest.fixture(autouse=True)
def no_child_left_over():
    """Every test must have waited for its children, and must not leave a thread behind that waits for one."""
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
