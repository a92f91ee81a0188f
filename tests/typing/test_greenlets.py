"""What a strict type checker knows about greenlets. `tox -e types` checks this file, the test suite runs it.

An error that must be found is marked by an ignore comment: one that is not needed is an error of its own.
"""

from collections.abc import Iterator
from typing import Any, assert_type

import pytest

import gevlite
from gevlite import Greenlet, GreenletExit, Timeout
from gevlite.event import AsyncResult


def half(number: int, name: str = "") -> float:
    return number / 2


def test_what_a_function_returns_is_what_get_returns() -> None:
    job = gevlite.spawn(half, 3, name="x")
    assert_type(job, Greenlet[..., float])
    assert_type(job.get(), float)
    assert_type(job.get(timeout=1), float)
    assert_type(job.value, float | None)
    assert_type(job.exception, BaseException | None)
    assert_type(gevlite.spawn_later(0.001, half, 4).get(), float)
    assert_type(gevlite.spawn(lambda: [1]).get(), list[int])
    assert job.value == 1.5


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError):
        gevlite.spawn(half, "3").get()  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        gevlite.spawn(half).get()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        gevlite.spawn_later(0.001, half, 3, nme="x").get()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        gevlite.spawn(5)  # type: ignore[arg-type]
    Greenlet(half, "3")  # type: ignore[call-overload]
    Greenlet(half)  # type: ignore[call-overload]


def test_the_class_itself() -> None:
    job = Greenlet(half, 3)
    job.start()
    assert_type(job.get(), float)
    assert_type(Greenlet.spawn(half, 3).get(), float)
    assert_type(Greenlet.spawn_later(0.001, half, 3).get(), float)
    assert Greenlet[..., float] is not None and Greenlet[[int], float](half, 3).dead is False


def test_subclasses() -> None:
    class Worker(Greenlet[[], int]):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def _run(self) -> int:
            return self.number

    worker = Worker.spawn(3)
    assert_type(worker, Worker)
    assert_type(worker.get(), int)
    assert worker.value == 3

    class OfAnything(Greenlet):
        def _run(self) -> None:
            pass

    assert_type(OfAnything.spawn().get(), Any)


def test_a_result_may_be_taken_for_less_than_it_is() -> None:
    jobs: list[Greenlet[..., object]] = [gevlite.spawn(half, 3), gevlite.spawn(str, 3)]
    exact: Greenlet[..., int] = gevlite.spawn(half, 3)  # type: ignore[arg-type]
    gevlite.joinall([*jobs, exact])
    anything: Greenlet = gevlite.spawn(half, 3)
    assert_type(anything.get(), Any)


def test_waiting_for_several() -> None:
    jobs = [gevlite.spawn(half, number) for number in range(3)]
    assert_type(jobs, list[Greenlet[..., float]])
    assert_type(gevlite.joinall(jobs, timeout=5, raise_error=True), list[Greenlet[..., float]])
    assert_type(gevlite.wait(jobs, count=1), list[Greenlet[..., float]])
    for job in gevlite.iwait(jobs):
        assert_type(job, Greenlet[..., float])
    with gevlite.iwait(jobs) as ended:
        iterator: Iterator[Greenlet[..., float]] = ended
        assert sum(job.get() for job in iterator) == 1.5
    results = [AsyncResult[int](), AsyncResult[int]()]
    for result in results:
        result.set(1)
    assert_type(gevlite.wait(results), list[AsyncResult[int]])
    assert_type(gevlite.wait(timeout=0.001), bool)
    gevlite.killall(jobs, GreenletExit, block=False)


def test_links() -> None:
    result = AsyncResult[float]()
    job = gevlite.spawn(half, 3)
    job.link(result)
    assert_type(result.get(timeout=5), float)

    seen: list[Greenlet[..., float]] = []

    def ended(source: Greenlet[..., float]) -> None:
        seen.append(source)

    def wrong(source: int) -> None:
        pass

    job = gevlite.spawn(half, 3)
    job.rawlink(ended)
    job.link_value(ended)
    job.link_exception(wrong)  # type: ignore[arg-type]
    job.join()
    job.unlink(ended)
    gevlite.sleep(0)


def test_timeouts() -> None:
    assert_type(gevlite.with_timeout(5, half, 3), float)
    assert_type(gevlite.with_timeout(None, half, 3, name="x"), float)
    assert_type(gevlite.with_timeout(0.001, gevlite.sleep, 5, timeout_value="late"), str | None)
    with pytest.raises(TypeError):
        gevlite.with_timeout(5, half, nme="x")  # type: ignore[call-overload]
    with Timeout(5) as timeout:
        assert_type(timeout, Timeout)
        assert_type(timeout.pending, bool)
    with Timeout(0.001, False):
        gevlite.sleep(5)
    started = Timeout.start_new(5)
    assert_type(started, Timeout)
    started.cancel()
    with pytest.raises(TypeError):
        Timeout("5")  # type: ignore[arg-type]


def test_signals_and_the_rest_of_the_package() -> None:
    def handler(number: int) -> None:
        pass

    with pytest.raises(TypeError):
        gevlite.spawn_raw(half, "3", nme=4)  # type: ignore[arg-type,call-arg]
        gevlite.sleep(0)
        raise TypeError
    assert_type(gevlite.getcurrent().dead, bool)
    assert_type(gevlite.sleep(0), None)
    assert_type(gevlite.__version__, str)
    handle = gevlite.signal_handler(10, handler, 3)
    handle.cancel()
    gevlite.signal_handler(10, handler, "3").cancel()  # type: ignore[arg-type]


def test_a_group_knows_what_its_greenlets_return() -> None:
    with gevlite.move_on_after(5) as scope, gevlite.TaskGroup() as group:
        greenlet = group.spawn(pow, 2, 3)
        other = group.spawn(len, "abc")
    assert_type(other.get(), int)
    assert greenlet.get() == 8 and not scope.cancelled_caught
