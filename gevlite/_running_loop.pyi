"""asyncio's running loop and current task belong to the greenlet that runs them.

asyncio keeps them with the OS thread, where every greenlet would find them: a second `asyncio.run` in another greenlet
says that it "cannot be called from a running event loop"; code that checks whether it may block finds itself in a
coroutine; and a future whose result is set by a green thread does not wake its loop, because that thread seems to be
the loop's own (since Python 3.13.12 and 3.14.3, gh-105836).

So they are put away whenever the greenlet that runs a loop is parked, and put back before it goes on: in the loop's own
wait, and also in the middle of a coroutine that has made a blocking call. `Belongings` in the core does that. Every
loop, uvloop included, calls `asyncio`'s `_set_running_loop` when it begins to run: `gevlite.monkey` puts a `Hook` in
the place of that function. What is put away is what is found at that moment, whichever code has put it there.

Where asyncio keeps them:

* The running loop: behind `_get_running_loop` and `_set_running_loop`, two pairs, one in C and one in Python.
* The current task: up to Python 3.13 in a dict by loop, where only code with a running loop looks for it. From 3.14 on in
  the thread's state, where it would become that of the next loop; `_swap_current_task` is the way to it.
* What `run_forever` sets for as long as it runs: the hooks for asynchronous generators, and in debug mode how much of a
  coroutine's origin is kept. These are `sys` settings of the thread.

An exception that is thrown into such a greenlet is for the greenlet or for one of its tasks:

* A `Timeout` or a CancelScope that a coroutine has entered is for the task that runs the coroutine, see `TaskBlock`.
* Any other exception, a `kill` say, is for the greenlet. If it interrupts a task's blocking call, the task would keep
  it as its own result; so it is noted in `thrown`, where the loop finds it.
"""

from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

__all__ = ["Hook", "hook_of"]

@disjoint_base
class Hook:
    """`Hook(get, set, swap_task)`: to be called in the place of `set`, with the loop that begins to run or None.

    get, set: asyncio's `_get_running_loop` and `_set_running_loop`, or their twins in C or in Python; swap_task: its
    `_swap_current_task` where the current task is kept with the thread, else None.
    """
    @property
    def __name__(self) -> str: ...
    def __init__(
        self,
        get: Callable[[], AbstractEventLoop | None],
        set: Callable[[AbstractEventLoop | None], object],
        swap_task: Callable[[AbstractEventLoop, Task[Any] | None], Task[Any] | None] | None = None,
    ) -> None: ...
    def __call__(self, loop: AbstractEventLoop | None, /) -> None: ...
    def begin(self, loop: AbstractEventLoop) -> None:
        """`loop` is about to run, and will call `set` and not us: it was imported before."""
    def end(self) -> None:
        """It no longer runs."""

def hook_of(set: Callable[[AbstractEventLoop | None], object]) -> Hook | None:
    """The Hook for the present `_set_running_loop` of asyncio, or None: then it has to be made."""
