"""Raw greenlets inside coroutines whose loop goes on in another greenlet, or is closed before they have ended.

A coroutine may call code that is not async in a raw greenlet, as SQLAlchemy does. To await something, that code
switches to its parent: the greenlet that ran the loop when the code began. If that one no longer runs the loop, because
it was killed for the second time, say, the switch would go astray: the loop's next greenlet, or whatever collects the
coroutine as garbage, would never get control back.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import suppress
from gc import get_referents

import greenlet

from gevlite._core import CoreGreenlet, getcurrent

__all__ = ["end_inner", "move_inner"]

# Code that must end may wait again so many times.
_PATIENCE = 100


def _is_raw(thing):
    """True unless it is a greenlet of gevlite, whose parent stays the hub, a hub, or one of a hub's helpers."""
    return not isinstance(thing, CoreGreenlet) and type(thing).__module__ != CoreGreenlet.__module__


def _inner(task):
    """The raw greenlets that have begun, have not ended, and are referred to by frames of the task's coroutines."""
    seen, todo = set(), [task.get_coro()]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, greenlet.greenlet):
            if thing and _is_raw(thing):
                yield thing
        elif isinstance(thing, (Coroutine, Generator, AsyncGenerator)):
            todo += get_referents(thing)


def _move(inner, address, here):
    # There may be others between it and the greenlet that ran the loop, each with the next one as its parent.
    while id(inner.parent) != address:
        inner = inner.parent
        if inner is None or not _is_raw(inner):
            return
    with suppress(ValueError):  # the loop has changed its thread
        inner.parent = here


def move_inner(loop, address):
    """The current greenlet begins to run the loop. The one at `address` did so before."""
    here = getcurrent()
    for task in asyncio.all_tasks(loop):
        for inner in _inner(task):
            _move(inner, address, here)


def end_inner(loop, address):
    """The loop is about to be closed: end its raw greenlets here. The greenlet at `address` was the last to run it."""
    here = getcurrent()
    for task in asyncio.all_tasks(loop):
        found = list(_inner(task))
        for inner in found:
            _move(inner, address, here)
            for _ in range(_PATIENCE):
                if inner.dead or not _ended(task, loop, inner.throw):
                    break
        # Later it might throw into one of them, which has no parent by then. And if an interruption has kept
        # `run_until_complete` (which `Runner.close` calls) from beginning, nothing else knows its coroutine.
        if found or not getattr(task, "_log_destroy_pending", True) and _is_new(task.get_coro()):
            _ended(task, loop, task.get_coro().close)


def _is_new(coroutine):
    return inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def _ended(task, loop, end):
    """Call `end`. False if it cannot be called in this thread."""
    try:
        asked = end()
    except greenlet.error:
        return False
    except (asyncio.CancelledError, GeneratorExit):
        pass
    except Exception as exc:
        message = "Code that a coroutine has called in a greenlet of its own failed when the event loop was closed"
        loop.call_exception_handler({"message": message, "exception": exc, "task": task})
    else:
        if asyncio.iscoroutine(asked):
            asked.close()  # it will not be awaited any more
    return True
