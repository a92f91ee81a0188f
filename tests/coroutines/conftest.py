"""Shared by the tests of `gevlite.asyncio`."""

import asyncio

import pytest

from gevlite.asyncio import EventLoop


def run(main, **options):
    with asyncio.Runner(loop_factory=EventLoop, **options) as runner:
        return runner.run(main)


@pytest.fixture(name="run")
def run_fixture():
    """`run(coroutine, debug=None)`: as `asyncio.run`, in a loop of gevlite."""
    return run
