"""Celery: a worker pool of greenlets.

::

    CELERY_CUSTOM_WORKER_POOL=gevlite.integrations.celery:TaskPool \\
        python -m gevlite.monkey -m celery -A package worker -P custom -c 500

`python -m gevlite.monkey` patches before Celery is imported. The pool refuses to work unpatched, because each task
would then block all others and the worker itself. Celery's own event loop runs in the main greenlet, and each task in a
greenlet of its own: heartbeats, remote control and tasks with an ETA continue while tasks wait. gevent is not needed.

A time limit or `revoke(terminate=True)` ends a task by an exception, raised where the task waits. A task that
calculates without waiting ends when it next waits, and delays all others meanwhile: after one second of that, a line in
the log says where (`gevlite.config.watch`).
"""

import itertools
from collections import deque

from billiard.einfo import ExceptionInfo
from celery.concurrency import base
from celery.exceptions import ImproperlyConfigured, SoftTimeLimitExceeded
from celery.utils.log import get_logger

import gevlite
from gevlite import _blocked, monkey
from gevlite.event import Event

__all__ = ["TaskPool"]

logger = get_logger(__name__)

_numbers = itertools.count(1)


class TaskPool(base.BasePool):
    """The pool that runs the tasks of `celery worker -P custom`: at most `limit` (`--concurrency`) at a time.

    Tasks that Celery submits while all places are taken wait in order; the prefetch limit bounds their number.

    Raises ImproperlyConfigured if the process is not patched, or if it was patched too late and
    `gevlite.config.monkey_strict` is set. Otherwise the log names what was imported or made too early.
    """

    # Waiting for running tasks is not possible in a signal handler.
    signal_safe = False
    # A task may wait for the result of another one.
    task_join_will_block = False

    def __init__(self, *args, **kwargs):
        if not (monkey.is_module_patched("socket") and monkey.is_module_patched("threading")):
            raise ImproperlyConfigured(
                "gevlite's pool needs a patched process: start the worker with python -m gevlite.monkey -m celery ..."
            )
        # Celery and the tasks have been imported by now, before or after patching.
        problems = monkey.problems()
        if problems and gevlite.config.monkey_strict:
            raise ImproperlyConfigured(f"too late to patch: {' '.join(problems)}")
        for problem in problems:
            logger.warning("%s", problem)
        super().__init__(*args, **kwargs)
        _blocked.by_default()
        self._running = {}  # number: job
        self._waiting = deque()
        self._idle = Event()
        self._idle.set()

    def on_apply(
        self,
        target,
        args=(),
        kwargs=None,
        callback=None,
        error_callback=None,
        accept_callback=None,
        timeout_callback=None,
        timeout=None,
        soft_timeout=None,
        **_,
    ):
        """Celery submits a task. Does not block. Returns a `Job`."""
        job = Job(
            target,
            args,
            kwargs,
            callback,
            error_callback,
            accept_callback,
            timeout_callback,
            timeout or self.options.get("timeout"),
            soft_timeout or self.options.get("soft_timeout"),
        )
        self._idle.clear()
        self._waiting.append(job)
        self._start_jobs()
        return job

    def _start_jobs(self):
        while self._waiting and len(self._running) < self.limit:
            job = self._waiting.popleft()
            self._running[job.number] = job
            job.greenlet = gevlite.spawn(self._run, job)

    def _run(self, job):
        try:
            job.run()
        finally:
            del self._running[job.number]
            self._start_jobs()
            if not self._running and not self._waiting:
                self._idle.set()

    def grow(self, n=1):
        """Allow `n` more tasks at a time."""
        self.limit += n
        self._start_jobs()

    def shrink(self, n=1):
        """Allow `n` fewer tasks at a time; running tasks are finished. Raises ValueError if no place would be left."""
        if n >= self.limit:
            raise ValueError(f"cannot remove {n} of {self.limit} places: at least one must remain")
        self.limit -= n

    def terminate_job(self, pid, signal=None):
        """End the task that was accepted with the number `pid`, if it is still running. `signal` is ignored."""
        job = self._running.get(pid)
        if job is not None:
            job.end()

    def on_stop(self):
        """A warm shutdown: block until every task has ended."""
        self._idle.wait()

    def on_terminate(self):
        """A cold shutdown: end every task now."""
        self._waiting.clear()
        for job in list(self._running.values()):
            job.end()

    def _get_info(self):
        return {**super()._get_info(), "running": len(self._running), "waiting": len(self._waiting)}


class Job:
    """A task in the pool. The callbacks are Celery's, called as the task proceeds."""

    def __init__(
        self, target, args, kwargs, callback, error_callback, accept_callback, timeout_callback, timeout, soft_timeout
    ):
        self.number = next(_numbers)  # where other pools use a process id
        self.greenlet = None
        self._target = target
        self._args = args
        self._kwargs = kwargs
        self._callback = callback
        self._error_callback = error_callback
        self._accept_callback = accept_callback
        self._timeout_callback = timeout_callback
        self._timeout = timeout
        self._soft_timeout = soft_timeout
        self._in_target = False
        self._ended = False

    def run(self):
        """Run the task and report the outcome to Celery."""
        try:
            base.apply_target(
                self._run_target,
                self._args,
                self._kwargs,
                self._callback,
                self._accept_callback,
                self.number,
                propagate=gevlite.GreenletExit,
            )
        except gevlite.GreenletExit:
            pass  # the caller of `end` reports it
        except Exception:
            if self._error_callback is None:
                raise
            self._error_callback(ExceptionInfo())

    def _run_target(self, *args, **kwargs):
        if self._ended:  # while it was being accepted
            raise gevlite.GreenletExit
        timers = [self._timer(self._timeout, self._hard_limit), self._timer(self._soft_timeout, self._soft_limit)]
        self._in_target = True
        try:
            return self._target(*args, **kwargs)
        finally:
            self._in_target = False
            for timer in timers:
                if timer is not None:
                    timer.close()

    def _timer(self, seconds, function):
        if not seconds:
            return None
        timer = gevlite.get_hub().loop.timer(seconds)
        # In a greenlet of its own, because Celery then waits for its backend.
        timer.start(gevlite.spawn, function)
        return timer

    def _soft_limit(self):
        if self._in_target and not self._ended:
            self.greenlet.kill(SoftTimeLimitExceeded(self._soft_timeout), block=False)
            if self._timeout_callback is not None:
                self._timeout_callback(True, self._soft_timeout)

    def _hard_limit(self):
        if self._in_target and not self._ended:
            self.end()
            if self._timeout_callback is not None:
                self._timeout_callback(False, self._timeout)

    def end(self):
        """Raise GreenletExit where the task waits. Does nothing if the task has returned."""
        self._ended = True
        if self._in_target:
            self.greenlet.kill(block=False)

    def terminate(self, signal=None):
        """Called by Celery in addition to `TaskPool.terminate_job`."""
