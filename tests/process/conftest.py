"""What the tests of processes share."""

import os
from contextlib import ExitStack

import pytest

from gevlite import _children


@pytest.fixture
def opened():
    """An ExitStack that closes what a test opens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def pipe():
    """The two ends of a pipe, as descriptors; the test may close them itself."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture(params=["pidfd", "thread"])
def told_by(request, monkeypatch):
    """Run the test twice: the end of a child is told by a pidfd, then by a thread that waits for it."""
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
