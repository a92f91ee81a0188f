"""asyncio on the hub: an event loop for each greenlet that runs one, and the ways between coroutines and greenlets.

`EventLoop` is asyncio's own loop for UNIX, except for what waits: it has no selector and no pipe to itself. See `_aio`
for how it runs and `_aiostream` for its stream transports. Datagrams, pipes, subprocesses, TLS and servers are
asyncio's.
"""

import asyncio
import atexit
import errno
import functools
import inspect
import os
import signal
import weakref
from asyncio import coroutines, events, sslproto, unix_events
from collections.abc import Awaitable

from gevlite import _aio
from gevlite._aiostream import SocketTransport
from gevlite._core import (
    READ,
    WRITE,
    Waiter,
    WaitKind,
    get_hub,
    get_hub_if_exists,
    getcurrent,
    hubs,
    register_hub_attribute,
    set_awaiter,
)
from gevlite._guest import Guest, check, guest_of
from gevlite._loop_threads import in_threads
from gevlite.event import AsyncResult, Event
from gevlite.greenlet import Greenlet, GreenletExit
from gevlite.lock import Acquire, Semaphore
from gevlite.queue import Channel, Empty, Full, Next, ShutDown, SimpleQueue
from gevlite.taskgroup import EnterGroup, LeaveGroup
from gevlite.timeout import Timeout, with_timeout

__all__ = ["EventLoop", "Guest", "attach", "get", "put", "run", "spawn", "wait"]


class _Descriptors:
    """The part of a selector that asyncio's transports use: whether a descriptor is watched."""

    def __init__(self, loop):
        self.loop = loop

    def get_key(self, fd):
        key = self.get_map().get(fd)
        if key is None:
            raise KeyError(f"{fd!r} is not registered")
        return key

    def get_map(self):
        return self

    def get(self, fd):
        events = self.loop._watched(fd)
        return _Key(events) if events else None

    def close(self):
        pass


class _Key:
    def __init__(self, events):
        # As selectors count: EVENT_READ is 1, EVENT_WRITE is 2.
        self.events = (1 if events & READ else 0) | (2 if events & WRITE else 0)


class EventLoop(_aio.LoopCore, unix_events._UnixSelectorEventLoop):
    """An asyncio event loop that waits in the hub of the thread that runs it.

    Any number of them run in one thread at once, each in the greenlet that has called `run_forever`,
    `run_until_complete` or `asyncio.run`, and other greenlets go on meanwhile. A callback or a coroutine that calls
    something that blocks holds up its own loop only. Creating a loop takes microseconds.

    `asyncio.run(main(), loop_factory=gevlite.asyncio.EventLoop)`
    """

    def __init__(self):
        super(_aio.LoopCore, self).__init__(_NO_SELECTOR)

    @property
    def _selector(self):
        return None if self._closed else _Descriptors(self)

    @_selector.setter
    def _selector(self, value):
        pass  # asyncio's own code sets it

    # There is no pipe to itself.

    def _make_self_pipe(self):
        pass

    def _close_self_pipe(self):
        pass

    def close(self):
        """Close the loop: its pending callbacks and timers are never called, its descriptors no longer watched.

        If a coroutine has called code in a raw greenlet, as SQLAlchemy does, and that code still waits, it gets
        GreenletExit.
        """
        try:
            if not self._closed and not self.is_running():
                self._end_inner()
        finally:
            super().close()
            self._forget_all()

    # -------- threads

    run_in_executor = in_threads(unix_events._UnixSelectorEventLoop.run_in_executor)

    @functools.wraps(unix_events._UnixSelectorEventLoop.shutdown_default_executor)
    async def shutdown_default_executor(self, *args, **kwargs):
        hub = get_hub()
        hub.outside += 1  # asyncio waits in an extra thread, for which a virtual clock would not stand still
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            hub.outside -= 1

    # -------- transports

    def _make_socket_transport(self, sock, protocol, waiter=None, *, extra=None, server=None, context=None):
        self._ensure_fd_no_transport(sock)
        return SocketTransport(self, sock, protocol, waiter, extra, server, context)

    def _make_ssl_transport(
        self,
        rawsock,
        protocol,
        sslcontext,
        waiter=None,
        *,
        server_side=False,
        server_hostname=None,
        extra=None,
        server=None,
        ssl_handshake_timeout=None,
        ssl_shutdown_timeout=None,
        call_connection_made=True,
        context=None,
    ):
        self._ensure_fd_no_transport(rawsock)
        tls = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            call_connection_made=call_connection_made,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        SocketTransport(self, rawsock, tls, None, extra, server, context)
        return tls._app_transport

    # -------- signals

    def add_signal_handler(self, sig, callback, *args):
        """Call `callback(*args)` in the loop when the signal `sig` comes. In the main thread only.

        Raises ValueError for an unknown signal, RuntimeError for one that cannot be caught or in another thread.
        """
        if coroutines.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        before = self._signal_handlers.get(sig)
        self._signal_handlers[sig] = self._make_handle(callback, args)
        try:
            signal.signal(sig, self._signal_came)
            signal.siginterrupt(sig, False)
        except (ValueError, OSError, RuntimeError) as exc:
            if before is not None:
                self._signal_handlers[sig] = before
            else:
                del self._signal_handlers[sig]
            if isinstance(exc, OSError) and exc.errno != errno.EINVAL:
                raise
            raise RuntimeError(f"sig {sig} cannot be caught" if isinstance(exc, OSError) else str(exc)) from None

    def _signal_came(self, signum, frame):
        self._handle_signal(signum)

    def remove_signal_handler(self, sig):
        """Undo `add_signal_handler`. True if there was one."""
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        return True


# asyncio's constructor makes a selector unless it is given one; ours never keeps it.
_NO_SELECTOR = object()


# ---------------------------------------------------------------- from greenlets to coroutines


def run(main, *, debug=None):
    """Run a coroutine, or another awaitable, in a new EventLoop, and return its result: as `asyncio.run`.

    Blocks the current greenlet only; any number of greenlets can do this at once. A kill or a Timeout of the greenlet
    cancels the coroutine and the tasks that it has started, and is raised when they have ended. A second one is raised
    at once; the tasks then end by themselves. Raises RuntimeError in a coroutine.
    """
    if events._get_running_loop() is not None:
        raise RuntimeError(
            "gevlite.asyncio.run() was called by a coroutine, whose loop would wait for itself: "
            "await the coroutine, or await gevlite.asyncio.spawn(function) with a function that blocks"
        )
    if not coroutines.iscoroutine(main):
        if not isinstance(main, Awaitable):
            is_async = inspect.iscoroutinefunction(main)
            hint = f": call it, as in run({getattr(main, '__name__', 'main')}())" if is_async else ""
            raise TypeError(f"a coroutine was expected, got {main!r}{hint}")
        main = _await_it(main)
    with asyncio.Runner(debug=debug, loop_factory=_LoopOfRun) as runner:
        if getcurrent() is _main_greenlet():
            return runner.run(main)
        # A Runner's handler of SIGINT is for the main greenlet, the one that Ctrl-C interrupts.
        loop = runner.get_loop()
        return loop.run_until_complete(loop.create_task(main))


async def _await_it(awaitable):
    return await awaitable


class _LoopOfRun(EventLoop):
    """If the greenlet is interrupted again while its tasks end, another greenlet does the rest.

    (Not after Ctrl-C: that is meant to end the program.)
    """

    interrupted = None

    def run_forever(self):
        self.interrupted = None
        try:
            super().run_forever()
        except BaseException as exc:
            self.interrupted = type(exc)
            raise

    def close(self):
        at_once = self.interrupted is None or issubclass(self.interrupted, (KeyboardInterrupt, SystemExit))
        if not at_once and not self._hub_ends() and asyncio.all_tasks(self):
            Greenlet.spawn(_end_loop, self, False)
        else:
            super().close()

    def _end_inner(self):
        if self.interrupted is not None:  # otherwise all tasks have ended
            super()._end_inner()


def _end_loop(loop, again):
    """Cancel the tasks that still run and close the loop. If the hub no longer runs, no waiting task can end.

    `again`: also cancel tasks that were cancelled before, and may be about to end.
    """
    try:
        if not loop.is_closed():
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                if again or not task.cancelling():
                    task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))
            loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        EventLoop.close(loop)


def _main_greenlet():
    greenlet = getcurrent()
    while greenlet.parent is not None:
        greenlet = greenlet.parent
    return greenlet


def wait(awaitable, timeout=None):
    """Run an awaitable in the long-lived loop of this thread, and return its result or raise its exception.

    That is the loop to which `attach` has attached the thread, while it runs, else one of gevlite. In this way all
    greenlets of the thread can use an object that belongs to one loop, such as a client, a pool or a channel. Blocks
    the current greenlet, and passes on its contextvars. After `timeout` seconds the awaitable is cancelled, and
    TimeoutError is raised when it has ended (at once if another greenlet detaches that loop meanwhile). A kill or a
    Timeout of the greenlet cancels it in the same way. If other code cancels it, this raises asyncio.CancelledError.
    Raises RuntimeError in a coroutine of that same loop.
    """
    if isinstance(timeout, Timeout):
        return with_timeout(timeout, wait, awaitable)
    hub = get_hub()
    guest = hub.host
    if guest is not None and not (guest.attached and guest.loop.is_running()):
        guest = None
    service = guest or hub._asyncio_service.started()
    loop = service.loop
    if events._get_running_loop() is loop:
        raise RuntimeError(
            "gevlite.asyncio.wait() was called by a coroutine of the loop that it would wait for: "
            "await the awaitable, or await gevlite.asyncio.spawn(function) with a function that blocks"
        )
    task = _start(loop, awaitable)
    try:
        if not task.done():
            _wait_for_end(hub, guest, task, timeout)
        if not task.done():
            _cancel(hub, guest, task)
            if task.cancelled() or not task.done():
                raise TimeoutError(f"not done in {timeout} seconds")
        return task.result()
    except BaseException:
        if not task.done():
            _cancel(hub, guest, task)
        raise
    finally:
        del task  # its exception refers to this frame


def _start(loop, awaitable):
    if not coroutines.iscoroutine(awaitable):
        if loop.get_task_factory() is None or asyncio.isfuture(awaitable) or not isinstance(awaitable, Awaitable):
            return asyncio.ensure_future(awaitable, loop=loop)
        awaitable = _await_it(awaitable)
    if loop.get_task_factory() is None:
        return loop.create_task(awaitable)
    return asyncio.Task(awaitable, loop=loop)  # an eager task would begin here, not in the greenlet of its loop


def _wait_for_end(hub, guest, task, timeout=None):
    waiter = Waiter(hub)
    waiter.kind = WaitKind.WAIT_RESULT
    wake = waiter.wake
    if guest is not None:

        def wake(task):
            guest.expect()
            waiter.wake(task)

        if not guest.attached:
            return
        guest.ends.add(waiter.throw)
        guest.poke()
    task.add_done_callback(wake)
    try:
        waiter.park_timeout(timeout)
    finally:
        task.remove_done_callback(wake)
        if guest is not None:
            guest.ends.discard(waiter.throw)


def _cancel(hub, guest, task):
    """Cancel the task and wait for its end, so that it does nothing after the caller has gone on.

    If its loop was detached meanwhile, this cannot wait.
    """
    if guest is not None and not guest.attached:
        # Its loop has nothing to do with this greenlet any more: notify it as another thread would.
        if not guest.loop.is_closed():
            guest.loop.call_soon_threadsafe(_cancel_there, task)
        return
    task.cancel()
    _wait_for_end(hub, guest, task)
    if task.done():
        _forget_error(task)


def _cancel_there(task):
    task.add_done_callback(_forget_error)
    task.cancel()


def _forget_error(task):
    if not task.cancelled():
        task.exception()  # nothing else will retrieve it


class _Service:
    """The long-lived loop of a thread, and the greenlet that runs it."""

    def __init__(self, hub):
        self.loop = EventLoop()
        self.greenlet = Greenlet(self._run)
        self.greenlet.name = "asyncio"

    def started(self):
        # Not when it is made: of two greenlets that make one at the same time, the hub keeps the first one's.
        self.greenlet.start()
        return self

    def _run(self):
        try:
            self.loop.run_forever()
        finally:
            _end_loop(self.loop, True)


register_hub_attribute("_asyncio_service", _Service)


def _services():
    return [(hub, vars(hub)["_asyncio_service"]) for hub in hubs() if "_asyncio_service" in vars(hub)]


@atexit.register
def _at_exit():
    # Those of other threads end with their hubs.
    for hub, service in _services():
        if hub is get_hub():
            service.greenlet.kill(timeout=5)


def _after_fork():
    # Its connections are the parent's: the child gets another loop when it needs one.
    for hub, service in _services():
        service.loop._leave()
        del hub._asyncio_service
    for guest in _guests:
        guest.lost()
    _guests.clear()


os.register_at_fork(after_in_child=_after_fork)


# ---------------------------------------------------------------- in a loop that is not gevlite's

# For a fork: the core has forgotten them by then.
_guests = weakref.WeakSet()


def attach(loop=None):
    """Make an event loop that is not gevlite's, asyncio's own or uvloop, run the greenlets of this thread, too.

    After that, `await spawn(function, ...)` and the other awaitables of gevlite can be used in its coroutines. No other
    thread is needed: the loop calls the hub when a greenlet is ready, a descriptor is reported or a timer is due. loop:
    the running one by default; one that does not run yet must be run by this thread later.

    Returns a Guest: its `detach()`, leaving it as a context manager, and closing the loop undo this. Does not block.
    With a loop of gevlite, it does nothing. Raises RuntimeError if there is no running loop, if `loop` is closed or
    run by another thread or greenlet, if the thread or the loop is attached already, and if the hub has a backend
    without a descriptor that could be watched (`select` and `poll` are replaced by `epoll` or `kqueue` until it is
    detached).
    """
    if loop is None:
        loop = events._get_running_loop()
        if loop is None:
            raise RuntimeError("no event loop runs here: call attach() in a coroutine, or attach(loop) before it runs")
    hub = get_hub()
    check(loop, hub)
    guest = Guest(loop, hub)
    if not isinstance(loop, EventLoop):
        guest._begin()
        _guests.add(guest)
    return guest


# ---------------------------------------------------------------- from coroutines to greenlets


class _Spawned(Greenlet):
    """Its error is raised where it is awaited. If it never is, the error is reported when the greenlet is freed."""

    awaited = False

    def _report_error(self, exc):
        pass

    def __del__(self):
        if not self.awaited and self.exception is not None:
            self.hub.handle_error(self, *self.exc_info)
        super().__del__()


def spawn(function, /, *args, **kwargs):
    """Call `function(*args, **kwargs)` in a greenlet, where it may block; for coroutines: `await spawn(function, ...)`.

    It begins at once, as a task does, in a copy of the contextvars context. Awaiting it returns the function's result
    or raises its exception. If the task that awaits it is cancelled, the greenlet is killed, and the task goes on with
    its cancellation when the greenlet has ended.
    """
    greenlet = _Spawned(function, *args, **kwargs)
    guest = greenlet.hub.host
    if guest is not None:
        guest.expect()
    greenlet.start()
    return greenlet


async def get(queue):
    """Take the next item of a queue of gevlite, in a coroutine; wait until there is one. The same as `await queue`.

    A cancelled task leaves the item in its place.
    """
    try:
        return queue.get_nowait()
    except Empty:
        return await _take(queue.get, queue._untake)


async def put(queue, item):
    """Put an item into a queue of gevlite, in a coroutine; wait until there is room.

    A task that is cancelled while there is no room has put nothing. Once there was room the item is in the queue, even
    if the task is cancelled before it goes on.
    """
    try:
        return queue.put_nowait(item)
    except Full:
        pass
    await _take(functools.partial(queue.put, item), lambda taken: None)


def _running_loop():
    """The running loop, and the Guest by which the hub is in it, None for a loop of gevlite."""
    loop = events._get_running_loop()
    if isinstance(loop, EventLoop):
        return loop, None
    guest = guest_of(get_hub_if_exists(), loop)
    if guest is None:
        raise RuntimeError(
            "this can be awaited in an event loop of gevlite only, or in one to which gevlite.asyncio.attach() was "
            "applied: call attach() once in a coroutine of this loop, or run the coroutine with gevlite.asyncio.run() "
            "or wait(), or with loop_factory=gevlite.asyncio.EventLoop"
        )
    return loop, guest


def _set(future, guest):
    def ended(_source):
        if not future.done() and not future.get_loop().is_closed():
            future.set_result(None)
            if guest is not None:
                guest.poke()

    return ended


def _fail(future, guest):
    def end(exc):
        if not future.done() and not future.get_loop().is_closed():
            future.set_exception(exc)
            guest.poke()

    return end


async def _until_linked(source):
    """Wait until the callbacks linked to `source` are called."""
    loop, guest = _running_loop()
    future = loop.create_future()
    ended = _set(future, guest)
    if guest is not None:
        end = _fail(future, guest)
        guest.ends.add(end)
    source.rawlink(ended)
    try:
        await future
    finally:
        source.unlink(ended)
        if guest is not None:
            guest.ends.discard(end)


async def _event(event):
    if not event.is_set():
        await _until_linked(event)
    return True


async def _result(result):
    if not result.ready():
        await _until_linked(result)
    return result.get(block=False)


async def _end(greenlet):
    """Wait until the greenlet has ended. True if this task was cancelled meanwhile: then the greenlet was killed."""
    cancelled = None
    while not greenlet.ready():
        try:
            await _until_linked(greenlet)
        except asyncio.CancelledError as exc:
            cancelled = exc
            greenlet.kill(block=False)
    return cancelled


async def _greenlet(greenlet):
    if isinstance(greenlet, _Spawned):
        greenlet.awaited = True
    cancelled = await _end(greenlet)
    if cancelled is not None:
        raise cancelled
    value = greenlet.get(block=False)
    if isinstance(value, GreenletExit):
        raise asyncio.CancelledError(f"{greenlet!r} was killed")
    return value


async def _take(function, give_back):
    """Call `function` in a greenlet of its own and return what it takes. If the task is cancelled after that, give it
    back."""
    greenlet = spawn(function)
    greenlet.awaited = True
    cancelled = await _end(greenlet)
    if cancelled is not None:
        if greenlet.successful() and not isinstance(greenlet.value, GreenletExit):
            give_back(greenlet.value)
        raise cancelled
    return greenlet.get(block=False)


async def _semaphore(semaphore):
    if semaphore.acquire(blocking=False):
        return True
    return await _take(semaphore.acquire, lambda taken: semaphore.release())


async def _enter(acquire):
    await _semaphore(acquire.semaphore)
    return acquire.semaphore


async def _next(step):
    try:
        item = await get(step.queue)
    except ShutDown:
        item = StopIteration
    if item is StopIteration:
        raise StopAsyncIteration
    return item


async def _enter_group(step):
    return step.group.__enter__()


async def _leave_group(step):
    group = step.group
    while group._members:
        group._empty.clear()
        try:
            await _event(group._empty)
        except BaseException as raised:
            group._interrupted(raised)
    return group._leave()


_WAYS = (
    (Greenlet, _greenlet),
    (Event, _event),
    (AsyncResult, _result),
    (Semaphore, _semaphore),
    (Acquire, _enter),
    (SimpleQueue, get),
    (Channel, get),
    (Next, _next),
    (EnterGroup, _enter_group),
    (LeaveGroup, _leave_group),
)


def _await(what):
    _running_loop()
    for cls, way in _WAYS:
        if isinstance(what, cls):
            return way(what).__await__()
    raise TypeError(f"{type(what).__name__} cannot be awaited")


set_awaiter(_await)
