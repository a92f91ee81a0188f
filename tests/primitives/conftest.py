"""Shared by the tests of OS threads."""

import threading

import pytest

WAIT = 30  # seconds; only a failing test waits so long


class Gate:
    """A call that blocks its thread until the gate is opened."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, value=None):
        self.entered.release()
        assert self.opened.wait(WAIT)
        return value

    def wait_for(self, count):
        for _ in range(count):
            assert self.entered.acquire(timeout=WAIT)

    def open(self):
        self.opened.set()


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open()
