"""Random programs of greenlets and tasks against a model of their results.

A program is a tree of units, each a greenlet or a task, made from a seed. A unit sleeps, blocks, spawns, awaits, runs
and waits for others, cancels and kills them, enters deadlines, groups and semaphores, puts and gets, and returns or
raises. Some programs run in several threads at once, on the same primitives. The model:

* A unit that begins ends once. Unless something may interrupt it (it is cancelled or killed, or it is below a deadline
  or beside one that fails), it ends as planned; else as planned or interrupted.
* A unit that waits for another gets its very result or its very exception.
* A unit sees its own context variable, its own running loop and current task, and its loop's hooks; a greenlet sees
  none.
* Items and places add up. Afterwards nothing is left in loops, in the hub, or in memory.

GEVLITE_MODEL_SEEDS=1000-2000 runs these seeds; a failure names its seed.
"""

import asyncio
import contextvars
import gc
import itertools
import logging
import os
import random
import sys
import threading
import weakref
from asyncio import events

import pytest

import gevlite
import gevlite.asyncio
from gevlite.asyncio import EventLoop
from gevlite.event import AsyncResult, Event
from gevlite.lock import BoundedSemaphore, Semaphore
from gevlite.queue import Channel, Empty, Full, LifoQueue, PriorityQueue, Queue
from gevlite.taskgroup import Cancelled

pytestmark = pytest.mark.usefixtures("long_lived_loop")

first, _, last = os.environ.get("GEVLITE_MODEL_SEEDS", "0-39").partition("-")
SEEDS = range(int(first), int(last or first) + 1)

owner = contextvars.ContextVar("owner", default=None)

INTERRUPTIONS = (asyncio.CancelledError, gevlite.GreenletExit, gevlite.Timeout, Cancelled)


class Error(Exception):
    """The exception that a unit raises according to its plan."""


class Wrong(BaseException):
    """The model was violated. Only the end of the program catches it."""


class World:
    """The state that the units of a program share, and that of the model."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.wrong = []
        self.units = []
        self.items = itertools.count()
        self.semaphores = [Semaphore(1), BoundedSemaphore(2)]
        self.places = [semaphore.counter for semaphore in self.semaphores]
        self.queues = [Queue(), Queue(2), LifoQueue(1), PriorityQueue(2), Channel()]
        self.put, self.perhaps_put, self.got = set(), set(), []
        self.event = Event()
        self.remembered = weakref.WeakSet()

    def check(self, condition, text):
        if not condition:
            self.wrong.append(text)
            raise Wrong(text)

    def moment(self):
        return self.random.choice((0, 0, 0.0002, 0.001))

    def limit(self):
        return self.random.choice((0.0003, 0.001, 0.003))


class Unit:
    """A greenlet or a task, and how it ended."""

    def __init__(self, world, depth, parent=None, may_end=False):
        self.world = world
        self.number = len(world.units)
        world.units.append(self)
        self.parent = parent
        self.depth = depth
        self.may_end = may_end or parent is not None and parent.deadlines > 0 or parent is not None and parent.may_end
        self.fails = depth < 3 and world.random.random() < 0.15
        self.steps = world.random.randint(1, 3)
        self.deadlines = 0
        self.result = object()
        self.error = None
        self.outcome = None
        self.begun = False

    def __repr__(self):
        return f"unit {self.number}"

    def child(self, may_end=False):
        return Unit(self.world, self.depth - 1, self, may_end)

    @gevlite.uninterrupted
    def begin(self):
        self.world.check(not self.begun, f"{self} began twice")
        self.begun = True
        if self.parent is not None:
            self.world.check(owner.get() is self.parent, f"{self} began in the context of {owner.get()}")
        owner.set(self)

    @gevlite.uninterrupted
    def ended(self, outcome):
        self.world.check(self.outcome is None, f"{self} ended twice: {self.outcome}, {outcome}")
        self.outcome = outcome

    @gevlite.uninterrupted
    def note(self, exc):
        """It ends with `exc`."""
        if isinstance(exc, Wrong):
            self.ended("wrong")
        elif exc is self.error:
            self.ended("failed")
        else:
            self.ended("interrupted")
            if not isinstance(exc, INTERRUPTIONS):
                self.world.check(False, f"{self} ended with {exc!r}")
            self.world.check(self.may_end, f"{self} was interrupted by {exc!r}, and nothing interrupts it")

    def finish(self):
        if self.fails:
            self.error = Error(self)
            raise self.error
        return self.result

    def saw(self, result):
        """A unit that waited for it got `result`."""
        if result is not self.result:
            self.world.check(isinstance(result, gevlite.GreenletExit), f"{self} gave {result!r}")
            self.world.check(self.may_end, f"{self} was killed")

    def saw_error(self, exc):
        self.world.check(exc is self.error, f"{self} ended with {self.error!r}, and {exc!r} was seen")

    def choose(self):
        steps = self.both_kinds + (self.leaf_steps if self.depth == 0 else self.steps_with_children)
        return self.world.random.choice(steps)


class GreenletUnit(Unit):
    both_kinds = ("sleep", "sleep", "semaphore", "get", "put", "event")
    leaf_steps = ("sleep", "later")
    steps_with_children = (
        "spawn", "run_task", "wait", "kill", "timeout", "silent", "move_on", "fail_after", "group", "wait_in_time",
        "kill_run",
    )  # fmt: skip

    def run(self):
        self.world.remembered.add(gevlite.getcurrent())
        try:
            self.begin()
            for _ in range(self.steps):
                self.step()
            result = self.finish()
        except BaseException as exc:
            self.note(exc)
            raise
        self.ended("returned")
        return result

    def look(self):
        self.world.check(owner.get() is self, f"{self} sees the context of {owner.get()}")
        self.world.check(events._get_running_loop() is None, f"{self} sees a running loop")
        hooks = sys.get_asyncgen_hooks()
        self.world.check(hooks.firstiter is None and hooks.finalizer is None, f"{self} sees the hooks of a loop")
        self.world.check(sys.get_coroutine_origin_tracking_depth() == 0, f"{self} sees debug mode of a loop")
        if sys.version_info >= (3, 12):
            try:
                task = asyncio.current_task()
            except RuntimeError:
                task = None
            self.world.check(task is None, f"{self} sees {task}")

    def step(self):
        getattr(self, self.choose())()
        self.look()

    def other_greenlet(self, may_end=False):
        return GreenletUnit(self.world, self.depth - 1, self, may_end)

    def other_task(self, may_end=False):
        return TaskUnit(self.world, self.depth - 1, self, may_end)

    def get_from(self, child, function, *args):
        try:
            child.saw(function(*args))
        except Error as exc:
            child.saw_error(exc)
        finally:
            self.look()

    def sleep(self):
        gevlite.sleep(self.world.moment())

    def semaphore(self):
        semaphore = self.world.random.choice(self.world.semaphores)
        if semaphore.acquire(timeout=self.world.limit()):
            try:
                gevlite.sleep(self.world.moment())
            finally:
                semaphore.release()

    def get(self):
        try:
            self.world.got.append(self.world.random.choice(self.world.queues).get(timeout=self.world.limit()))
        except Empty:
            pass

    def put(self):
        item = next(self.world.items)
        try:
            self.world.random.choice(self.world.queues).put(item, timeout=self.world.limit())
            self.world.put.add(item)
        except Full:
            pass

    def event(self):
        if self.world.random.random() < 0.3:
            self.world.event.set()
        elif not self.world.event.wait(self.world.limit()):
            self.world.event.clear()

    def later(self):
        result = AsyncResult()
        value = object()
        gevlite.spawn_later(self.world.moment(), result.set, value)
        self.world.check(result.get() is value, f"{self} got another result")

    def spawn(self):
        child = self.other_greenlet()
        greenlet = _Quiet.spawn(child.run)
        self.get_from(child, greenlet.get)

    def run_task(self):
        child = self.other_task()
        self.get_from(child, gevlite.asyncio.run, child.run())

    def wait(self):
        child = self.other_task()
        self.get_from(child, gevlite.asyncio.wait, child.run())

    def wait_in_time(self):
        child = self.other_task(True)
        try:
            self.get_from(child, gevlite.asyncio.wait, child.run(), self.world.limit())
        except TimeoutError:
            pass

    def kill(self):
        child = self.other_greenlet(True)
        greenlet = _Quiet.spawn(child.run)
        try:
            gevlite.sleep(self.world.moment())
        finally:
            greenlet.kill(block=False)
        greenlet.join()

    def kill_run(self):
        child = self.other_task(True)
        coroutine = child.run()
        greenlet = _Quiet.spawn(self.world.random.choice((gevlite.asyncio.run, gevlite.asyncio.wait)), coroutine)
        try:
            gevlite.sleep(self.world.moment())
        finally:
            greenlet.kill(block=False)
            if greenlet.ready():
                coroutine.close()  # it has not begun
        greenlet.join()

    def below(self, block, own):
        self.deadlines += 1
        try:
            with block:
                self.step()
        except own as exc:
            if own is gevlite.Timeout and exc is not block:
                raise
        finally:
            self.deadlines -= 1

    def timeout(self):
        self.below(gevlite.Timeout(self.world.limit()), gevlite.Timeout)

    def silent(self):
        self.below(gevlite.Timeout(self.world.limit(), False), ())

    def move_on(self):
        self.below(gevlite.move_on_after(self.world.limit()), ())

    def fail_after(self):
        self.below(gevlite.fail_after(self.world.limit()), TimeoutError)

    def group(self):
        children = [self.other_greenlet(True) for _ in range(2)]
        self.deadlines += 1
        try:
            with gevlite.TaskGroup() as group:
                with gevlite.uninterrupted():  # otherwise the first may fail before the second exists
                    for child in children:
                        group.spawn(child.run)
                self.step()
        except BaseExceptionGroup as exc:
            self.see_group(exc, children)
        finally:
            self.deadlines -= 1

    def see_group(self, group, children):
        known = [child.error for child in children]
        for error in group.exceptions:
            if not isinstance(error, INTERRUPTIONS):
                self.world.check(error in known, f"a group of {self} raised {error!r}")


class _Quiet(gevlite.Greenlet):
    """Its error is raised in the unit that waits for it."""

    def _report_error(self, exc):
        pass


class TaskUnit(Unit):
    both_kinds = ("sleep", "sleep", "block", "semaphore", "get", "put", "event", "generator")
    leaf_steps = ("sleep", "later")
    steps_with_children = (
        "task", "spawn", "spawn_plain", "wait_for", "cancel", "timeout", "silent", "move_on", "fail_after",
        "asyncio_timeout", "group", "gather", "other_loop", "blocking_group",
    )  # fmt: skip
    if sys.version_info >= (3, 13):
        # Before that version, asyncio's group forgot to undo its cancellation of the task.
        steps_with_children += ("asyncio_group",)

    async def run(self):
        self.task_ = asyncio.current_task()
        self.loop = asyncio.get_running_loop()
        self.world.remembered.add(self.task_)
        try:
            self.begin()
            for _ in range(self.steps):
                await self.step()
            result = self.finish()
        except BaseException as exc:
            self.note(exc)
            raise
        finally:
            self.task_ = self.loop = None
        self.ended("returned")
        return result

    def look(self):
        self.world.check(owner.get() is self, f"{self} sees the context of {owner.get()}")
        self.world.check(events._get_running_loop() is self.loop, f"{self} sees {events._get_running_loop()}")
        self.world.check(asyncio.current_task() is self.task_, f"{self} sees {asyncio.current_task()}")
        hooks = sys.get_asyncgen_hooks()
        self.world.check(hooks.firstiter == self.loop._asyncgen_firstiter_hook, f"{self} sees {hooks}")

    async def step(self):
        await getattr(self, self.choose())()
        self.look()

    def other_greenlet(self, may_end=False):
        return GreenletUnit(self.world, self.depth - 1, self, may_end)

    def other_task(self, may_end=False):
        return TaskUnit(self.world, self.depth - 1, self, may_end)

    async def get_from(self, child, awaitable):
        try:
            child.saw(await awaitable)
        except Error as exc:
            child.saw_error(exc)

    async def sleep(self):
        await asyncio.sleep(self.world.moment())

    async def block(self):
        gevlite.sleep(self.world.moment())

    async def later(self):
        result = AsyncResult()
        value = object()
        gevlite.spawn_later(self.world.moment(), result.set, value)
        self.world.check(await result is value, f"{self} got another result")

    async def generator(self):
        async def generate():
            try:
                for number in range(3):
                    await asyncio.sleep(0)
                    yield number
            finally:
                owner.get()

        async for number in generate():
            if number == self.world.random.randrange(4):
                break

    async def semaphore(self):
        semaphore = self.world.random.choice(self.world.semaphores)
        try:
            async with asyncio.timeout(self.world.limit()):
                async with semaphore:
                    await asyncio.sleep(self.world.moment())
        except TimeoutError:
            pass

    async def get(self):
        queue = self.world.random.choice(self.world.queues)

        async def take():
            self.world.got.append(await queue)

        try:
            async with asyncio.timeout(self.world.limit()):
                await take()
        except TimeoutError:
            pass

    async def put(self):
        item = next(self.world.items)
        self.world.perhaps_put.add(item)
        try:
            async with asyncio.timeout(self.world.limit()):
                await gevlite.asyncio.put(self.world.random.choice(self.world.queues), item)
                self.world.put.add(item)
        except TimeoutError:
            pass

    async def event(self):
        if self.world.random.random() < 0.3:
            self.world.event.set()
            return
        try:
            async with asyncio.timeout(self.world.limit()):
                await self.world.event
        except TimeoutError:
            self.world.event.clear()

    async def task(self):
        child = self.other_task()
        await self.get_from(child, asyncio.ensure_future(child.run()))

    async def spawn(self):
        child = self.other_greenlet()
        await self.get_from(child, gevlite.asyncio.spawn(child.run))

    async def spawn_plain(self):
        child = self.other_greenlet()
        await self.get_from(child, _Quiet.spawn(child.run))

    async def wait_for(self):
        child = self.other_task(True)
        try:
            await self.get_from(child, asyncio.wait_for(asyncio.ensure_future(child.run()), self.world.limit()))
        except TimeoutError:
            pass

    async def cancel(self):
        child = self.other_task(True)
        task = asyncio.ensure_future(child.run())
        try:
            await asyncio.sleep(self.world.moment())
        finally:
            task.cancel()
        await asyncio.wait([task])
        # A unit that was interrupted in a blocking call has the exception that was thrown into the loop's greenlet.
        if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), INTERRUPTIONS):
            child.saw_error(task.exception())

    async def below(self, block, own):
        self.deadlines += 1
        try:
            with block:
                await self.step()
        except own as exc:
            if own is gevlite.Timeout and exc is not block:
                raise
        finally:
            self.deadlines -= 1

    async def timeout(self):
        await self.below(gevlite.Timeout(self.world.limit()), gevlite.Timeout)

    async def silent(self):
        await self.below(gevlite.Timeout(self.world.limit(), False), ())

    async def move_on(self):
        await self.below(gevlite.move_on_after(self.world.limit()), ())

    async def fail_after(self):
        await self.below(gevlite.fail_after(self.world.limit()), TimeoutError)

    async def asyncio_timeout(self):
        self.deadlines += 1
        try:
            async with asyncio.timeout(self.world.limit()):
                await self.step()
        except TimeoutError:
            pass
        finally:
            self.deadlines -= 1

    async def gather(self):
        children = [self.other_task(), self.other_greenlet()]
        results = await asyncio.gather(
            children[0].run(), gevlite.asyncio.spawn(children[1].run), return_exceptions=True
        )  # fmt: skip
        for child, result in zip(children, results, strict=True):
            if isinstance(result, Error):
                child.saw_error(result)
            elif not isinstance(result, BaseException):
                child.saw(result)
            else:
                self.world.check(child.may_end, f"{child} gave {result!r}")

    async def other_loop(self):
        """In a greenlet that runs a loop of its own."""
        child = self.other_task()
        await self.get_from(child, gevlite.asyncio.spawn(gevlite.asyncio.run, child.run()))

    async def asyncio_group(self):
        children = [self.other_task(True), self.other_greenlet(True)]
        self.deadlines += 1

        async def await_greenlet():
            return await gevlite.asyncio.spawn(children[1].run)

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(children[0].run())
                group.create_task(await_greenlet())
                await self.step()
        except BaseExceptionGroup as exc:
            GreenletUnit.see_group(self, exc, children)
        finally:
            self.deadlines -= 1

    async def group(self):
        children = [self.other_greenlet(True) for _ in range(2)]
        self.deadlines += 1
        try:
            async with gevlite.TaskGroup() as group:
                with gevlite.uninterrupted():  # otherwise the first may fail before the second exists
                    for child in children:
                        group.spawn(child.run)
                await self.step()
        except BaseExceptionGroup as exc:
            GreenletUnit.see_group(self, exc, children)
        finally:
            self.deadlines -= 1

    async def blocking_group(self):
        """Its greenlets must not depend on the loop that it blocks."""
        children = [GreenletUnit(self.world, 0, self, True) for _ in range(2)]
        self.deadlines += 1
        try:
            with gevlite.TaskGroup() as group:
                with gevlite.uninterrupted():  # otherwise the first may fail before the second exists
                    for child in children:
                        group.spawn(child.run)
                gevlite.sleep(self.world.moment())
        except BaseExceptionGroup as exc:
            GreenletUnit.see_group(self, exc, children)
        finally:
            self.deadlines -= 1


def start(world, depth):
    """Some units that nothing interrupts, in this thread."""
    begun = []
    for _ in range(4):
        if world.random.random() < 0.5:
            unit = GreenletUnit(world, depth)
            begun.append((unit, _Quiet.spawn(unit.run)))
        else:
            unit = TaskUnit(world, depth)
            how = world.random.choice((gevlite.asyncio.run, gevlite.asyncio.wait))
            begun.append((unit, _Quiet.spawn(how, unit.run())))
    return begun


def see(begun):
    for unit, greenlet in begun:
        greenlet.join()
        if isinstance(greenlet.exception, Error):
            unit.saw_error(greenlet.exception)
        elif greenlet.exception is not None:
            raise greenlet.exception
        else:
            unit.saw(greenlet.value)


def others():
    """Tasks that are left in the loop of `wait`."""

    async def count():
        return len(asyncio.all_tasks()) - 1

    return gevlite.asyncio.wait(count())


def running_greenlets():
    return gevlite.get_hub().stats()["greenlets"]


def in_a_thread(world, depth, errors, settle):
    try:
        see(start(world, depth))
        world.check(settle(lambda: others() == 0 and running_greenlets() == 1), "something is left in a thread")
    except BaseException as exc:
        errors.append(exc)


def drain(queue):
    """The items in it; for a channel, those that interrupted units have given back."""
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def program(seed, settle):
    world = World(seed)
    threads = world.random.choice((0, 0, 0, 1, 2))
    depth = world.random.randint(1, 4)
    errors = []
    running = [threading.Thread(target=in_a_thread, args=(world, depth, errors, settle)) for _ in range(threads)]
    for thread in running:
        thread.start()
    see(start(world, depth))
    pool = gevlite.get_hub().threadpool
    for thread in running:
        pool.spawn(thread.join).get()
    assert world.wrong == [], (world.wrong, errors)
    for error in errors:
        raise error
    # A unit that is interrupted again while it waits for the end of one that it has cancelled stops waiting for it.
    assert settle(lambda: others() == 0)
    assert settle(lambda: all(unit.outcome is not None for unit in world.units if unit.begun))
    assert world.wrong == []
    for unit in world.units:
        if unit.begun and not unit.may_end:
            assert unit.outcome == ("failed" if unit.fails else "returned"), unit
    left = [item for queue in world.queues for item in drain(queue)]
    found = [*world.got, *left]
    assert len(set(found)) == len(found), "an item was doubled"
    assert world.put <= set(found), f"lost: {world.put - set(found)}"
    assert set(found) <= world.put | world.perhaps_put, "an item is not known"
    assert [semaphore.counter for semaphore in world.semaphores] == world.places
    assert [primitive.linkcount() for primitive in (*world.semaphores, world.event)] == [0, 0, 0]
    return world.remembered


class Messages(logging.Filter):
    """Takes the texts from asyncio's log, and passes no record on: records refer to exceptions, and those to frames."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def filter(self, record):
        self.texts.append(record.getMessage())
        return False


@pytest.fixture(name="log", scope="module")
def log_fixture():
    messages = Messages()
    logging.getLogger("asyncio").addFilter(messages)
    yield messages
    gc.collect()
    logging.getLogger("asyncio").removeFilter(messages)


@pytest.fixture(name="messages")
def messages_fixture(log):
    log.texts.clear()
    return log.texts


@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs(seed, settle, messages):
    gevlite.get_hub().threadpool.spawn(int).get()
    before = loops()  # of other tests, in exceptions that something holds
    remembered = program(seed, settle)
    gc.collect()
    left = settle(lambda: not list(remembered) or gc.collect() and False)
    assert left, list(remembered)
    assert settle(lambda: not new_loops(before)), new_loops(before)
    # Errors of units for which nothing waits any more are reported. A task that is dropped would be a fault.
    assert [text for text in messages if "destroyed" in text] == []


def new_loops(before):
    """Without that of `wait`, which stays."""
    return [loop for loop in loops() if loop not in before and loop is not gevlite.get_hub()._asyncio_service.loop]


def loops():
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, EventLoop)]
