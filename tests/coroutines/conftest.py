"""Shared by the tests of `gevlite.asyncio`."""

import asyncio

import pytest

import gevlite
import gevlite.asyncio
from gevlite.asyncio import EventLoop


def run(main, **options):
    with asyncio.Runner(loop_factory=EventLoop, **options) as runner:
        return runner.run(main)


@pytest.fixture(name="run")
def run_fixture():
    """`run(coroutine, debug=None)`: as `asyncio.run`, in a loop of gevlite."""
    return run


@pytest.fixture(scope="module")
def long_lived_loop():
    """The loop of `gevlite.asyncio.wait`, which lives as long as the thread: made before anything is counted.

    It is ended for the sake of later tests: some of them count all parked greenlets.
    """
    gevlite.asyncio.wait(asyncio.sleep(0))
    yield
    vars(gevlite.get_hub()).pop("_asyncio_service").greenlet.kill()
