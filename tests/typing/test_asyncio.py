"""Types of `gevlite.asyncio`."""

import asyncio
from typing import assert_type

import gevlite.asyncio
from gevlite.event import AsyncResult, Event
from gevlite.lock import Semaphore
from gevlite.queue import Queue


async def number() -> int:
    return 1


def text(n: int, *, more: str) -> str:
    return more * n


def from_greenlets() -> None:
    assert_type(gevlite.asyncio.run(number()), int)
    assert_type(gevlite.asyncio.wait(number(), timeout=1), int)
    with asyncio.Runner(loop_factory=gevlite.asyncio.EventLoop) as runner:
        assert_type(runner.run(number()), int)
    gevlite.asyncio.run(3)  # type: ignore[arg-type]


async def from_coroutines(result: AsyncResult[bytes], queue: Queue[float]) -> None:
    greenlet = gevlite.asyncio.spawn(text, 2, more="x")
    assert_type(await greenlet, str)
    assert_type(await Event(), bool)
    assert_type(await result, bytes)
    assert_type(await Semaphore(), bool)
    assert_type(await gevlite.asyncio.get(queue), float)
    gevlite.asyncio.spawn(text, "2", more="x")  # type: ignore[arg-type]


async def main() -> None:
    with gevlite.asyncio.attach() as guest:
        assert_type(guest, gevlite.asyncio.Guest)
        assert_type(guest.attached, bool)
    gevlite.asyncio.attach(asyncio.get_running_loop()).detach()
    gevlite.asyncio.attach(3)  # type: ignore[arg-type]
