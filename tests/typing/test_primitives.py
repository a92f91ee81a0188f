"""What a strict type checker knows about events, locks, queues, pools and settings; see test_greenlets.py."""

from typing import Any, assert_type

import pytest

import gevlite
from gevlite.event import AsyncResult, Event
from gevlite.local import local
from gevlite.lock import BoundedSemaphore, DummySemaphore, RLock, Semaphore
from gevlite.queue import Channel, Empty, JoinableQueue, LifoQueue, PriorityQueue, Queue, ShutDown, SimpleQueue


def test_results() -> None:
    result = AsyncResult[int]()
    result.set(3)
    assert_type(result.get(), int)
    assert_type(result.get(timeout=1), int)
    assert_type(result.get_nowait(), int)
    assert_type(result.result(), int)
    assert_type(result.wait(), int | None)
    assert_type(result.value, int | None)
    result.set("3")  # type: ignore[arg-type]
    result.set()  # type: ignore[call-arg]
    AsyncResult[None]().set()
    AsyncResult[int | None]().set(None)
    bare: AsyncResult = AsyncResult()
    bare.set()
    bare.set("anything")
    assert_type(bare.get(), Any)


def test_events_and_locks() -> None:
    event = Event()
    event.set()
    assert_type(event.wait(1), bool)
    assert_type(event.is_set(), bool)
    lock = Semaphore(2)
    with lock:
        assert_type(lock.acquire(timeout=1), bool)
        assert_type(lock.counter, int)
        lock.release()
    with pytest.raises(TypeError):
        event.clear()
        event.wait("1")  # type: ignore[arg-type]
    with BoundedSemaphore(), RLock(), DummySemaphore():
        pass


def test_queues() -> None:
    queue: Queue[int] = Queue()
    queue.put(3)
    queue.put_nowait(4)
    queue.put("5")  # type: ignore[arg-type]
    assert_type(queue.get(), int)
    assert_type(queue.peek(timeout=1), int)
    assert_type(queue.get_nowait(), int)
    assert_type(queue.copy(), Queue[int])
    assert_type(queue.qsize(), int)
    assert_type(queue.join(0.001), bool)
    for item in Queue(items=[1, 2]).copy():
        assert_type(item, int)
        break
    with pytest.raises(Empty):
        LifoQueue[str]().get(block=False)
    queue.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        queue.get()


def test_what_every_queue_gives_is_what_was_put_in() -> None:
    assert_type(SimpleQueue(items=[1]).get(), int)
    assert_type(Queue(items=["a"]).get(), str)
    assert_type(JoinableQueue(items=[b"a"]).get(), bytes)
    assert_type(LifoQueue(items=[1.5]).get(), float)
    assert_type(PriorityQueue(items=[(1, "a")]).get(), tuple[int, str])


def test_a_channel() -> None:
    channel: Channel[str] = Channel()
    gevlite.spawn(channel.put, "a")
    assert_type(channel.get(timeout=5), str)
    gevlite.spawn(channel.put, 5)  # type: ignore[arg-type]
    channel.get()


@pytest.mark.parametrize(
    "cls", [AsyncResult, Channel, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue, gevlite.Greenlet]
)
def test_classes_can_be_subscribed_when_the_program_runs(cls: Any) -> None:
    alias = cls[int]
    assert alias.__origin__ is cls and alias.__args__ == (int,)
    derived: Any = type("Derived", (cls,), {})
    assert derived[str].__origin__ is derived
    if cls is not gevlite.Greenlet:
        assert isinstance(alias(), cls)


def test_local() -> None:
    class Request(local):
        number: int = 0

    request = Request()
    assert_type(request.number, int)


def test_settings() -> None:
    config = gevlite.config
    assert_type(config.threadpool_size, int)
    assert_type(config.stack_cache, int)
    assert_type(config.threadpool_idle_task_timeout, float)
    before = config.threadpool_size
    config.threadpool_size = before
    with pytest.raises(TypeError):
        config.threadpool_size = 1.5  # type: ignore[assignment]
    with pytest.raises(TypeError):
        config.backend = 5  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        config.no_such_setting = 5  # type: ignore[attr-defined]
    for name, setting in config.settings.items():
        assert_type(name, str)
        assert_type(setting.variable, str)
        assert_type(setting.source(config), str)
