r"""Celery: a worker pool of greenlets.

::

    CELERY_CUSTOM_WORKER_POOL=gevlite.integrations.celery:TaskPool \
        python -m gevlite.monkey -m celery -A package worker -P custom -c 500

`python -m gevlite.monkey` patches before Celery is imported. The pool refuses to work unpatched, because each task
would then block all others and the worker itself. Celery's own event loop runs in the main greenlet, and each task in a
greenlet of its own: heartbeats, remote control and tasks with an ETA continue while tasks wait. gevent is not needed.

A time limit or `revoke(terminate=True)` ends a task by an exception, raised where the task waits. A task that
calculates without waiting ends when it next waits, and delays all others meanwhile: after one second of that, a line in
the log says where (`gevlite.config.watch`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from celery.concurrency.base import BasePool

from gevlite.greenlet import Greenlet

__all__ = ["TaskPool"]

_Callback: TypeAlias = Callable[..., object] | None

class TaskPool(BasePool):
    """The pool that runs the tasks of `celery worker -P custom`: at most `limit` (`--concurrency`) at a time.

    Tasks that Celery submits while all places are taken wait in order; the prefetch limit bounds their number.

    Raises ImproperlyConfigured if the process is not patched, or if it was patched too late and
    `gevlite.config.monkey_strict` is set. Otherwise the log names what was imported or made too early.
    """

    limit: int
    options: dict[str, Any]
    signal_safe: bool
    task_join_will_block: bool
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def on_apply(
        self,
        target: Callable[..., object],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        callback: _Callback = None,
        error_callback: _Callback = None,
        accept_callback: _Callback = None,
        timeout_callback: _Callback = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> Job:
        """Celery submits a task. Does not block. Returns a `Job`."""
    def grow(self, n: int = 1) -> None:
        """Allow `n` more tasks at a time."""
    def shrink(self, n: int = 1) -> None:
        """Allow `n` fewer tasks at a time; running tasks are finished. Raises ValueError if no place would be left."""
    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """End the task that was accepted with the number `pid`, if it is still running. `signal` is ignored."""
    def on_stop(self) -> None:
        """A warm shutdown: block until every task has ended."""
    def on_terminate(self) -> None:
        """A cold shutdown: end every task now."""

class Job:
    """A task in the pool. The callbacks are Celery's, called as the task proceeds."""

    number: int
    greenlet: Greenlet | None
    def __init__(
        self,
        target: Callable[..., object],
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        callback: _Callback,
        error_callback: _Callback,
        accept_callback: _Callback,
        timeout_callback: _Callback,
        timeout: float | None,
        soft_timeout: float | None,
    ) -> None: ...
    def run(self) -> None:
        """Run the task and report the outcome to Celery."""
    def end(self) -> None:
        """Raise GreenletExit where the task waits. Does nothing if the task has returned."""
    def terminate(self, signal: int | None = None) -> None:
        """Called by Celery in addition to `TaskPool.terminate_job`."""
