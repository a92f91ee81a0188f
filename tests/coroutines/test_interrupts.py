"""An exception thrown into the greenlet of a loop ends the run; one for a block in a coroutine ends that block."""

import asyncio
import gc
import sys
import weakref

import pytest

import gevlite
import gevlite.asyncio
from gevlite.asyncio import EventLoop
from gevlite.event import Event
from gevlite.taskgroup import Cancelled

pytestmark = pytest.mark.usefixtures("long_lived_loop")

LONG = 100


class Killed(Exception):
    """A kill may be any exception."""


class Program:
    """`main`, beside a task that blocks when `begun` is set; both record how they end."""

    def __init__(self, eager=False, catches=()):
        self.begun = Event()
        self.ended = {}
        self.eager = eager
        self.catches = catches

    async def noted(self, name, coroutine):
        try:
            await coroutine
        except BaseException as exc:
            self.ended[name] = type(exc)
            raise
        self.ended[name] = None

    async def blocks(self):
        if not self.eager:
            await asyncio.sleep(0)
        self.begun.set()
        try:
            gevlite.sleep(LONG)
        except self.catches:
            await asyncio.sleep(0)

    async def main(self):
        if self.eager:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        tasks = [asyncio.ensure_future(self.noted(name, way())) for name, way in self.ways.items()]
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def ways(self):
        return {"waits": lambda: asyncio.sleep(LONG), "blocks": self.blocks}


kinds = pytest.mark.parametrize(
    "eager",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not hasattr(asyncio, "eager_task_factory"), reason="no eager tasks before Python 3.12"
            ),
        ),
    ],
)


@kinds
@pytest.mark.parametrize("kill", [gevlite.GreenletExit, gevlite.GreenletExit(), Killed, Killed(), Cancelled()])
def test_a_kill_while_some_task_blocks_ends_the_run(kill, eager):
    program = Program(eager)
    greenlet = gevlite.spawn(gevlite.asyncio.run, program.noted("main", program.main()))
    program.begun.wait()
    greenlet._report_error = lambda exc: None
    greenlet.kill(kill)
    kind = kill if isinstance(kill, type) else type(kill)
    assert type(greenlet.value if kind is gevlite.GreenletExit else greenlet.exception) is kind
    assert program.ended == {"waits": asyncio.CancelledError, "blocks": kind, "main": asyncio.CancelledError}


@kinds
def test_a_timeout_around_the_run_while_some_task_blocks(eager, clock):
    program = Program(eager)
    limit = gevlite.Timeout(0.5)  # by then it blocks
    with pytest.raises(gevlite.Timeout) as raised, limit:
        gevlite.asyncio.run(program.noted("main", program.main()))
    assert raised.value is limit
    assert program.ended == {"waits": asyncio.CancelledError, "blocks": gevlite.Timeout, "main": asyncio.CancelledError}


def test_a_scope_around_the_run_while_some_task_blocks():
    program = Program()
    with gevlite.CancelScope() as scope:
        gevlite.spawn(lambda: program.begun.wait() and scope.cancel())
        gevlite.asyncio.run(program.noted("main", program.main()))
    assert scope.cancelled_caught
    assert program.ended == {"waits": asyncio.CancelledError, "blocks": Cancelled, "main": asyncio.CancelledError}


def test_a_task_that_catches_the_kill_goes_on():
    program = Program(catches=(gevlite.GreenletExit,))

    async def main():
        await program.noted("blocks", program.blocks())
        return "result"

    greenlet = gevlite.spawn(gevlite.asyncio.run, main())
    program.begun.wait()
    greenlet.kill()
    assert (greenlet.value, program.ended) == ("result", {"blocks": None})


def test_a_kill_before_a_task_blocks_ends_the_run_where_it_does():
    """The exception is pending until then."""
    called = []

    async def main():
        task = asyncio.ensure_future(blocks())
        await asyncio.sleep(LONG)
        called.append(task)

    async def blocks():
        gevlite.getcurrent().kill(block=False)
        called.append("not blocking yet")
        gevlite.sleep(LONG)

    greenlet = gevlite.spawn(gevlite.asyncio.run, main())
    greenlet.join()
    assert isinstance(greenlet.value, gevlite.GreenletExit)
    assert called == ["not blocking yet"]


def test_a_kill_while_a_callback_blocks_ends_the_run():
    async def main():
        begun = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(gevlite.sleep, LONG)
        asyncio.get_running_loop().call_soon(begun.set_result, None)
        await begun

    for kill in (gevlite.GreenletExit, Killed("because")):
        greenlet = gevlite.spawn(gevlite.asyncio.run, main())
        greenlet._report_error = lambda exc: None
        gevlite.idle()
        greenlet.kill(kill)
        assert greenlet.exception is kill or isinstance(greenlet.value, gevlite.GreenletExit)


@pytest.mark.parametrize("second", [gevlite.GreenletExit, KeyboardInterrupt])
@pytest.mark.parametrize("how", ["run", "Runner"])
@pytest.mark.parametrize("turns", range(6))
def test_what_a_second_kill_keeps_from_beginning_is_not_missed(second, how, turns, recwarn):
    """Whatever `Runner.close` is about to run then: no warning says that a coroutine was never awaited."""

    def run(coroutine):
        if how == "run":
            return gevlite.asyncio.run(coroutine)
        with asyncio.Runner(loop_factory=EventLoop) as runner:
            return runner.get_loop().run_until_complete(coroutine)

    greenlet = gevlite.spawn(run, asyncio.sleep(LONG))
    greenlet._report_error = lambda exc: None
    gevlite.idle()
    greenlet.kill(block=False)
    for _ in range(turns):
        gevlite.sleep(0)
    greenlet.kill(second, block=False)
    greenlet.join()
    gevlite.idle()
    del greenlet
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_the_loop_can_be_run_again_after_a_kill():
    loop = EventLoop()
    order = []

    async def blocks():
        gevlite.sleep(LONG)

    async def goes_on():
        order.append("before")
        await asyncio.sleep(0.001)
        order.append("after")
        return 5

    try:
        task = loop.create_task(goes_on())
        victim = loop.create_task(blocks())
        greenlet = gevlite.spawn(loop.run_until_complete, task)
        gevlite.idle()
        assert order == ["before"]
        greenlet.kill()
        assert isinstance(greenlet.value, gevlite.GreenletExit)
        assert isinstance(victim.exception(), gevlite.GreenletExit)
        assert loop.run_until_complete(task) == 5
    finally:
        loop.close()


# ---------------------------------------------------------------- blocks of a coroutine


def both(main):
    """In each kind of loop."""
    gevlite.asyncio.run(main())
    gevlite.asyncio.wait(main())


def entered(kind, seconds):
    if kind == "fail_after":
        return gevlite.fail_after(seconds)
    if kind == "move_on_after":
        return gevlite.move_on_after(seconds)
    return gevlite.Timeout(seconds, {"Timeout": None, "silent": False, "class": Killed, "instance": Killed("x")}[kind])


ERRORS = {
    "Timeout": gevlite.Timeout,
    "silent": None,
    "class": Killed,
    "instance": Killed,
    "fail_after": TimeoutError,
    "move_on_after": None,
}
blocks = pytest.mark.parametrize("kind", list(ERRORS))


async def ends(kind, seconds, way):
    """Its deadline ends the block, and leaves nothing behind."""
    block = entered(kind, seconds)
    if ERRORS[kind] is None:
        with block:
            await way()
            raise AssertionError("not ended")
    else:
        with pytest.raises(ERRORS[kind]) as raised, block:
            await way()
            raise AssertionError("not ended")
        if kind in ("Timeout", "instance"):
            assert raised.value is (block if kind == "Timeout" else block.exception)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0)
    gevlite.sleep(0)


async def waits():
    await asyncio.sleep(LONG)


async def blocks_here():
    gevlite.sleep(LONG)


async def awaits_a_greenlet():
    await gevlite.asyncio.spawn(gevlite.sleep, LONG)


@blocks
@pytest.mark.parametrize("way", [waits, blocks_here, awaits_a_greenlet])
def test_a_deadline_ends_the_block_and_nothing_else(kind, way):
    async def main():
        others = [asyncio.ensure_future(asyncio.sleep(0.01, number)) for number in range(3)]
        await ends(kind, 0.001, way)
        assert await asyncio.gather(*others) == [0, 1, 2]

    both(main)


@blocks
def test_a_deadline_that_passes_while_another_task_blocks(kind):
    async def main():
        task = asyncio.ensure_future(ends(kind, 0.001, waits))
        await asyncio.sleep(0)
        gevlite.sleep(0.01)
        await task

    both(main)


@blocks
def test_a_deadline_that_is_not_reached(kind):
    async def main():
        with entered(kind, LONG):
            await asyncio.sleep(0.001)
            gevlite.sleep(0)
        assert asyncio.current_task().cancelling() == 0

    both(main)


@blocks
def test_what_it_waited_for_came_first(kind, clock):
    """The deadline passes, and the future is done, while another task keeps the loop from looking."""

    async def main():
        future = asyncio.get_running_loop().create_future()

        async def block():
            with entered(kind, 0.1):
                await future
            await asyncio.sleep(0)
            return "in time"

        task = asyncio.ensure_future(block())
        await asyncio.sleep(0)
        future.set_result(None)
        gevlite.sleep(0.12)
        assert await task == "in time"
        assert task.cancelling() == 0

    both(main)


@pytest.mark.parametrize("outer", list(ERRORS))
@pytest.mark.parametrize("inner", list(ERRORS))
def test_the_outer_block_passes_through_the_inner_one(outer, inner):
    async def nested():
        with entered(inner, LONG):
            await asyncio.sleep(LONG)

    async def main():
        await ends(outer, 0.001, nested)

    both(main)


def test_both_pass_at_once():
    async def main():
        with gevlite.move_on_after(0.001) as outer:
            with gevlite.move_on_after(0.001) as inner:
                gevlite.sleep(LONG)  # ends the inner block, or the outer one
                raise AssertionError("not ended")
            await asyncio.sleep(LONG)
            raise AssertionError("not ended")
        assert outer.cancelled_caught or inner.cancelled_caught
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)

    both(main)


@blocks
def test_with_asyncios_own_timeouts(kind):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                with entered(kind, LONG):
                    await asyncio.sleep(LONG)
        async with asyncio.timeout(LONG):
            await ends(kind, 0.001, waits)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await awaits_a_greenlet()

    both(main)


@blocks
def test_a_cancellation_from_outside_is_not_taken_for_the_deadline(kind):
    async def block():
        with entered(kind, LONG):
            await asyncio.sleep(LONG)

    async def main():
        task = asyncio.ensure_future(block())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    both(main)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_scope_is_cancelled_by_another_task_and_by_a_greenlet(blocking):
    async def main():
        scopes = []

        async def block():
            with gevlite.CancelScope() as scope:
                scopes.append(scope)
                if blocking:
                    gevlite.spawn(scope.cancel)
                    gevlite.sleep(LONG)
                await asyncio.sleep(LONG)
            return scope.cancelled_caught

        for cancel in (lambda: scopes[-1].cancel(), lambda: gevlite.spawn(lambda: scopes[-1].cancel())):
            if blocking:
                assert await block()
            else:
                task = asyncio.ensure_future(block())
                await asyncio.sleep(0)
                cancel()
                assert await task
        with gevlite.CancelScope() as scope:
            scope.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(LONG)
        assert scope.cancelled_caught
        with gevlite.CancelScope() as scope:
            scope.cancel()
            gevlite.sleep(LONG)
        assert scope.cancelled_caught

    both(main)


def test_a_group_of_greenlets_in_a_coroutine():
    async def fails():
        async with gevlite.TaskGroup() as group:
            group.spawn(lambda: 1 / 0)
            killed = group.spawn(gevlite.sleep, LONG)
            try:
                await asyncio.sleep(LONG)
            finally:
                assert not killed.ready() or killed.value is not None

    async def waits_in_it():
        async with gevlite.TaskGroup() as group:
            greenlet = group.spawn(gevlite.sleep, LONG)
            try:
                await asyncio.sleep(LONG)
            finally:
                killed.append(greenlet)

    killed = []

    async def main():
        with pytest.raises(ExceptionGroup) as raised:
            await fails()
        assert [type(error) for error in raised.value.exceptions] == [ZeroDivisionError]
        assert asyncio.current_task().cancelling() == 0
        task = asyncio.ensure_future(waits_in_it())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(killed.pop().value, gevlite.GreenletExit)

    both(main)


def test_the_end_of_a_group_does_not_block_the_loop():
    async def main():
        ended = Event()
        other = asyncio.ensure_future(asyncio.sleep(0.001))
        other.add_done_callback(lambda task: ended.set())
        async with gevlite.TaskGroup() as group:
            # This needs the loop, which the end of a `with` block would hold up.
            greenlet = group.spawn(ended.wait)
        assert greenlet.value is True
        await other
        with gevlite.TaskGroup() as group:
            greenlet = group.spawn(gevlite.sleep, 0.001)
            await asyncio.sleep(0)
        assert greenlet.ready()

    both(main)


def test_a_group_that_fails_where_its_block_ends():
    """The interruption is on its way, but there is nothing left to interrupt."""

    async def main():
        for _ in range(3):
            with pytest.raises(ExceptionGroup):
                async with gevlite.TaskGroup() as group:
                    failing = group.spawn(lambda: 1 / 0)
                    while not failing.ready():
                        gevlite.sleep(0)
            with gevlite.CancelScope() as scope:
                gevlite.spawn(scope.cancel)
                while not scope.cancel_called:
                    gevlite.sleep(0)
            await asyncio.sleep(0.001)

    both(main)


@pytest.mark.parametrize("kind", ["Timeout", "silent", "fail_after", "move_on_after"])
def test_a_deadline_that_a_group_has_to_put_off(kind, clock):
    """The errors of the group are raised first."""

    async def main():
        other = asyncio.ensure_future(asyncio.sleep(0.001, "other"))

        async def block():
            try:
                with gevlite.TaskGroup() as group:
                    group.spawn(fails_at_its_end)
                    gevlite.sleep(0)
            except* Killed:
                errors.append("raised")
            await asyncio.sleep(LONG)

        errors = []
        await ends(kind, 0.1, block)
        assert errors == ["raised"]
        assert await other == "other"

    def fails_at_its_end():
        try:
            gevlite.sleep(LONG)
        finally:
            raise Killed("expected")

    both(main)


def test_a_group_that_fails_while_it_is_cancelled(clock):
    async def block():
        async with gevlite.TaskGroup() as group:
            group.spawn(fails_at_its_end)
            await asyncio.sleep(LONG)

    def fails_at_its_end():
        try:
            gevlite.sleep(LONG)
        finally:
            raise Killed("expected")

    async def main():
        task = asyncio.ensure_future(block())
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(ExceptionGroup) as raised:
            await task
        assert [type(error) for error in raised.value.exceptions] == [Killed]
        if sys.version_info >= (3, 13):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    try:
                        await block()
                    except* Killed:
                        await asyncio.sleep(LONG)

    both(main)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_group_that_ends_before_it_is_interrupted_by_what_was_put_off(blocking):
    """An inner group has to put off the interruption by the outer one, which then waits for its greenlets."""

    def fails():
        raise Killed("the first")

    def fails_at_its_end():
        try:
            gevlite.sleep(LONG)
        finally:
            raise Killed("the second")

    def ends_slowly():
        try:
            gevlite.sleep(LONG)
        finally:
            gevlite.sleep(0.01)

    def inside(outer):
        outer.spawn(ends_slowly)
        try:
            with gevlite.TaskGroup() as inner:
                inner.spawn(fails_at_its_end)
                gevlite.sleep(0)
                outer.spawn(fails)
                gevlite.sleep(LONG)
        except* Killed:
            pass

    async def block():
        if blocking:
            with gevlite.TaskGroup() as outer:
                inside(outer)
        else:
            async with gevlite.TaskGroup() as outer:
                inside(outer)

    async def main():
        other = asyncio.ensure_future(asyncio.sleep(0.03, "other"))
        with pytest.raises(ExceptionGroup) as raised:
            await block()
        assert [str(error) for error in raised.value.exceptions] == ["the first"]
        assert await other == "other"

    both(main)


def test_a_block_keeps_nothing():
    class Thing:
        pass

    async def block(thing):
        try:
            with gevlite.Timeout(0.001, False) as limit:
                limit.thing = thing
                await asyncio.sleep(LONG)
            with gevlite.move_on_after(0.001):
                await asyncio.sleep(LONG)
            never_left = gevlite.Timeout.start_new(0.001)
            never_left.thing = thing
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            pass

    async def main():
        thing = Thing()
        kept.append(weakref.ref(thing))
        await block(thing)

    kept = []
    both(main)
    gevlite.asyncio.wait(asyncio.sleep(0))
    gc.collect()
    assert [ref() for ref in kept] == [None, None]
