"""Groups of greenlets: started, waited for and killed together; a Pool also limits how many run at a time.

A greenlet is a member from `add` (or `spawn`) until it ends. When it ends, it is removed before its waiters are woken.
So a waiter that sees the end of a greenlet finds its place free. A place is given back exactly once: by the end of the
greenlet or by `discard`, whichever comes first.

A group may be used from several OS threads. Its members run on the hub of the thread that made them.
"""

import weakref
from collections.abc import KeysView
from operator import index
from queue import Full

from greenlet import greenlet as _RawGreenlet

from gevlite._watch import Watch
from gevlite.greenlet import Greenlet, GreenletExit, getcurrent, joinall, kill, killall
from gevlite.lock import DummySemaphore, Semaphore
from gevlite.queue import SimpleQueue
from gevlite.timeout import Timeout, _within

__all__ = ["Group", "Pool", "PoolFull"]


class PoolFull(Full):
    """A Pool has no free place, or got none in time."""


# ---------------------------------------------------------------- functions applied to many


class GroupMappingMixin:
    """`apply`, `map` and the like, for classes whose `spawn` returns an object with `get()`."""

    # How to wait for the end of the object that `spawn` returned, without its result.
    _wait_for = staticmethod(Greenlet.join)

    def _call_when_done(self, running, callback):
        """Call `callback(running)` once, when it has ended. The callback does not block."""
        raise NotImplementedError

    def _is_member(self):
        """True if the caller itself is a member: it must not wait for another place."""
        raise NotImplementedError

    def apply(self, func, args=None, kwds=None):
        """Run `func(*args, **kwds)` in the pool; block until it is done. Returns its result or raises its exception.

        If a member calls this, the function runs in the member itself: with all places taken it would wait for itself.
        """
        args = () if args is None else args
        kwds = {} if kwds is None else kwds
        if self._is_member():
            return func(*args, **kwds)
        return self.spawn(func, *args, **kwds).get()

    def apply_cb(self, func, args=None, kwds=None, callback=None):
        """Like `apply`; also calls `callback(result)`, in a greenlet of its own."""
        result = self.apply(func, args, kwds)
        if callback is not None:
            Greenlet.spawn(callback, result)
        return result

    def apply_async(self, func, args=None, kwds=None, callback=None):
        """Like `apply_cb`, but does not block: returns a Greenlet whose `get()` gives the result.

        If there is an error, `callback` is not called.
        """
        return Greenlet.spawn(self.apply_cb, func, args, kwds, callback)

    def map(self, func, iterable):
        """Run `func(item)` for each item, concurrently; block until all are done. Returns the results in order.

        If calls fail, the error of the first one in this order is raised as soon as those before it are done; the
        others continue. If the caller is killed or its time is over, no further call is started; running calls
        continue.
        """
        _check_callable(func)
        running = [self.spawn(func, item) for item in iterable]
        return [one.get() for one in running]

    def map_cb(self, func, iterable, callback=None):
        """Like `map`; also calls `callback(list)`."""
        result = self.map(func, iterable)
        if callback is not None:
            callback(result)
        return result

    def map_async(self, func, iterable, callback=None):
        """Like `map_cb`, but does not block: returns a Greenlet whose `get()` gives the list."""
        return Greenlet.spawn(self.map_cb, func, iterable, callback)

    def imap(self, func, *iterables, maxsize=None):
        """Run `func` concurrently for the items of the iterables, as `map()` takes them. Returns an iterator over the
        results, in order, which blocks until the next one is there.

        It begins at once, in a greenlet that takes the items as places become free. `maxsize`: the maximum number of
        calls that have begun but whose results have not been taken; None or 0: no limit.

        An error of a call is raised in place of its result, and the iteration may continue after it. An error of an
        iterable is raised after the results of the items before it, and ends the iteration. When the iterator is closed
        (by `close()` or at the end of a `with`), or its last reference is gone, no further call is started.
        """
        return IMap(self, func, iterables, maxsize)

    def imap_unordered(self, func, *iterables, maxsize=None):
        """Like `imap`, but each result is returned as soon as it is there."""
        return IMapUnordered(self, func, iterables, maxsize)


def _check_callable(func):
    if not callable(func):
        raise TypeError(f"func must be callable, not {func!r}")


class _End:
    """The queue's last item, after the last result."""

    def __init__(self, error=None):
        self.error = error


class _Feeder:
    """Starts the calls of an `imap` in a greenlet. It has no reference to the iterator, so that can be dropped."""

    def __init__(self, group, func, iterables, maxsize, ordered):
        self.group = group
        self.func = func
        self.items = zip(*iterables, strict=False)
        self.room = Semaphore(maxsize) if maxsize else DummySemaphore()
        self.ordered = ordered
        self.queue = SimpleQueue()  # ordered: calls as they begin; else: as they end
        self.to_come = 1  # calls that have begun and not ended, plus one for the feeder itself
        self.error = None

    def run(self):
        try:
            while True:
                self.room.acquire()
                try:
                    item = next(self.items)
                except StopIteration:
                    break
                running = self.group.spawn(self.func, *item)
                if self.ordered:
                    self.queue.put(running)
                else:
                    self.to_come += 1
                    self.group._call_when_done(running, self.put)
                item = running = None  # keep no references while waiting
        except GreenletExit:
            pass  # the iterator was closed or dropped
        except BaseException as exc:
            self.error = exc
        self.items = None  # it may have a reference to the last item
        self.count_down()

    def put(self, running):
        self.queue.put(running)
        self.count_down()

    def count_down(self):
        self.to_come -= 1
        if not self.to_come:
            self.queue.put(_End(self.error))


class Results:
    """The iterator of `imap_unordered`: results in the order in which they arrive. A `with` statement closes it.

    Several greenlets may take results from it; each result goes to one of them.
    """

    _ordered = False

    def __init__(self, group, func, iterables, maxsize):
        _check_callable(func)
        if not iterables:
            raise TypeError("give at least one iterable")
        self._closed = False
        self._feeder = _Feeder(group, func, iterables, maxsize, self._ordered)
        self._feeding = Greenlet.spawn(self._feeder.run)

    def __iter__(self):
        return self

    def __next__(self):
        if self._closed:
            raise StopIteration
        return self._outcome(self._feeder.queue.get())

    def _outcome(self, running):
        if isinstance(running, _End):
            self._feeder.queue.put(_End())  # for the next caller
            if running.error is not None:
                raise running.error
            raise StopIteration
        self._feeder.room.release()
        return running.get(block=False)  # it has ended; if this blocked, a kill could lose the result

    def close(self):
        """Start no further call and end the iteration, also for other greenlets that wait in it. Does not block.

        Running calls continue as members of the pool; their results are dropped.
        """
        self._closed = True
        self._feeding.kill(block=False)
        self._feeder.queue.put(_End())

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def __del__(self):
        try:
            feeding = self._feeding
        except AttributeError:
            return  # refused by __init__
        feeding.kill(block=False)


class OrderedResults(Results):
    """The iterator of `imap`: results in the order of the items."""

    _ordered = True

    def __init__(self, group, func, iterables, maxsize):
        super().__init__(group, func, iterables, maxsize)
        self._wait_for = group._wait_for
        self._turn = Semaphore(1)

    def __next__(self):
        if self._closed:
            raise StopIteration
        # It is removed only when it has ended: a greenlet that is killed while it waits leaves it to the next.
        with self._turn:
            queue = self._feeder.queue
            running = queue.peek()
            if not isinstance(running, _End):
                self._wait_for(running)
            queue.get_nowait()
        return self._outcome(running)


# gevent's names for them; tracers replace these with classes of their own.
IMap = OrderedResults
IMapUnordered = Results


# ---------------------------------------------------------------- groups


class _Members(KeysView):
    """What `Group.greenlets` shows: code that was written for a set copies it."""

    def copy(self):
        return set(self)

    def __repr__(self):
        return repr(list(self))


class Group(GroupMappingMixin):
    """Any number of greenlets. `Group(greenlets)` begins with those; iterating over it yields the members.

    Its length is the number of members, so an empty one is false.
    """

    greenlet_class = Greenlet

    def __init__(self, greenlets=(), /):
        self._members = {}  # the keys: a set would have no order, and `kill` another one in each run
        self._killed = set()
        self._emptied = Watch()
        self._failures = {}  # by id: what each `join(raise_error=True)` in progress collects
        self._last = None  # a weak reference to the member whose end emptied the group: its links may still be due
        for one in greenlets:
            self.add(one)

    @property
    def greenlets(self):
        """The members, in the order in which they came: a view, as `dict.keys()` returns. Its `copy()` is a set."""
        return _Members(self._members)

    def __len__(self):
        return len(self._members)

    def __contains__(self, greenlet):
        return greenlet in self._members

    def __iter__(self):
        return iter(list(self._members))

    def __repr__(self):
        return f"<{type(self).__name__} at {id(self):#x} greenlets={len(self._members)}>"

    # -------- members

    def add(self, greenlet):
        """Make a greenlet, started or not, a member until it ends. Does nothing if it is a member or has ended.

        The end of a greenlet that is not a `Greenlet` cannot be noticed: it stays a member until `discard`.
        """
        _check_greenlet(greenlet)
        self._enter(greenlet)

    def _enter(self, greenlet):
        """False if there was nothing to do."""
        if greenlet in self._members:
            return False
        self._members[greenlet] = None
        if isinstance(greenlet, Greenlet) and not greenlet._on_end(self._ended):
            self._leave(greenlet)
        return True

    def discard(self, greenlet):
        """Remove a greenlet from the group; it continues to run. Does nothing if it is not a member."""
        if self._leave(greenlet) and isinstance(greenlet, Greenlet):
            greenlet._off_end(self._ended)

    def _ended(self, greenlet):
        if self._failures and not greenlet.successful():
            for failed in list(self._failures.values()):
                failed.append(greenlet)
        self._leave(greenlet)

    def _leave(self, greenlet):
        """True if it was a member. If several threads call this at the same time, only one gets True.

        Its place is free at once; greenlets that wait for the end of all members continue when its links have run.
        """
        try:
            del self._members[greenlet]
        except KeyError:
            return False
        self._killed.discard(greenlet)
        if not self._members:
            tell = self._emptied.take()  # by the time the links have run there may be members again
            if isinstance(greenlet, Greenlet):
                self._last = weakref.ref(greenlet)
                greenlet._after_links(tell)
            else:
                tell()
        return True

    def start(self, greenlet):
        """`add` a greenlet that has not been started, and start it."""
        self.add(greenlet)
        self._start(greenlet)

    def _start(self, greenlet):
        try:
            greenlet.start()
        except BaseException:
            if not greenlet.started:
                self.discard(greenlet)
            raise

    def _start_now(self, greenlet):
        """False if that would block."""
        self.start(greenlet)
        return True

    def spawn(self, *args, **kwargs):
        """Make a `greenlet_class(*args, **kwargs)`, start it and return it.

        In a Pool it blocks until there is a free place. If the caller is killed or its time is over meanwhile, nothing
        is started and no place is taken.
        """
        greenlet = self.greenlet_class(*args, **kwargs)
        self.start(greenlet)
        return greenlet

    def full(self):
        """True if there is no free place; a Group always has one."""
        return False

    def wait_available(self, timeout=None):
        """Block until there is a free place, at most `timeout` seconds; a Group always has one."""

    # -------- their end

    def join(self, timeout=None, raise_error=False):
        """Block until the group has no members at some moment, at most `timeout` seconds. True if that happened.

        With `raise_error`, raises the error of the first member that fails meanwhile. Raises RuntimeError if a member
        calls it: it would wait for its own end.
        """
        if getcurrent() in self._members:
            raise RuntimeError("a greenlet cannot wait for the end of a group that it belongs to")
        failed = []
        if raise_error:
            self._failures[id(failed)] = failed
        try:
            last = self._last() if self._last is not None and not self._members else None
            if last is not None and last.ready():
                last.join(timeout)  # until the links that are still due have run
                emptied = True
            else:
                emptied = self._emptied.wait_unless(lambda: not self._members, timeout)
        finally:
            self._failures.pop(id(failed), None)
        for greenlet in failed:
            greenlet.get()
        return emptied

    def kill(self, exception=GreenletExit, block=True, timeout=None):
        """Raise `exception` (a class or an instance) in each member, in the order in which they came, once in each,
        however often this is called.

        With `block`, wait until all have ended, at most `timeout` seconds; greenlets that become members meanwhile are
        killed too. A member that calls this is killed last. A member that is not a `Greenlet` is removed.
        """
        if block and isinstance(timeout, Timeout):
            _within(timeout, None, Group.kill, self, exception)
            return
        me = getcurrent()
        with Timeout(timeout if block else None, False):
            while self._kill_now([one for one in list(self._members) if one is not me], exception) and block:
                joinall([one for one in list(self._members) if one is not me and isinstance(one, Greenlet)])
        if me in self._members and me not in self._killed:
            self._killed.add(me)
            if block:
                raise exception
            kill(me, exception)

    def _kill_now(self, greenlets, exception):
        """Kill without blocking. False if none of them is left."""
        killall([one for one in greenlets if one not in self._killed], exception, block=False)
        for one in greenlets:
            if not isinstance(one, Greenlet):
                self.discard(one)
        left = [one for one in greenlets if one in self._members]
        self._killed.update(left)
        return bool(left)

    def killone(self, greenlet, exception=GreenletExit, block=True, timeout=None):
        """`kill` for one member; does nothing if it is not a member. With `block`, wait until it has ended."""
        if greenlet not in self._members:
            return
        if greenlet is getcurrent():
            self._killed.add(greenlet)
            if block:
                raise exception
            kill(greenlet, exception)
        elif self._kill_now([greenlet], exception) and block:
            greenlet.join(timeout)

    # -------- what applies functions

    def _is_member(self):
        return getcurrent() in self._members

    def _call_when_done(self, running, callback):
        if not running._on_end(callback):
            callback(running)

    def apply_async(self, func, args=None, kwds=None, callback=None):
        """Like `apply_cb`, but does not block: returns the Greenlet that does it, which waits for a place if needed.

        If there is an error, `callback` is not called.
        """
        greenlet = self.greenlet_class(func, *(() if args is None else args), **({} if kwds is None else kwds))
        if callback is not None:
            _check_callable(callback)
            greenlet.link_value(lambda ended: callback(ended.value))
        if not self._start_now(greenlet):
            # If it is killed before there is a free place, it takes none.
            Greenlet.spawn(self.start, greenlet)
        return greenlet


class Pool(Group):
    """A Group with at most `size` members (None: any number): adding one more waits for a free place.

    Waiters are served in the order in which they came. Raises ValueError for a negative size, TypeError for one that is
    no int.
    """

    def __init__(self, size=None, greenlet_class=None):
        if size is not None:
            try:
                size = index(size)
            except TypeError:
                raise TypeError(f"size must be an int or None, not {size!r}") from None
            if size < 0:
                raise ValueError(f"size must not be negative: {size}")
        if greenlet_class is not None:
            if not callable(greenlet_class):
                raise TypeError(f"greenlet_class must be callable, not {greenlet_class!r}")
            self.greenlet_class = greenlet_class
        super().__init__()
        self.size = size
        self._places = DummySemaphore() if size is None else Semaphore(size)
        if size is not None:
            self._places._pool = weakref.ref(self)  # for reports of what waits for a place

    def __repr__(self):
        size = "" if self.size is None else f" size={self.size}"
        return f"<{type(self).__name__} at {id(self):#x}{size} greenlets={len(self._members)}>"

    def add(self, greenlet, blocking=True, timeout=None):
        """Like `Group.add`; block until there is a free place, at most `timeout` seconds.

        Raises PoolFull when the time is over, or at once if `blocking` is false.
        """
        _check_greenlet(greenlet)
        if greenlet in self._members:
            return
        if not self._places.acquire(blocking=blocking, timeout=timeout):
            raise PoolFull(f"all {self.size} places are taken")
        if not self._enter(greenlet):
            self._places.release()  # another greenlet was faster

    def start(self, greenlet, blocking=True, timeout=None):
        """`add` a greenlet that has not been started, with the same arguments and errors, and start it."""
        self.add(greenlet, blocking, timeout)
        self._start(greenlet)

    def _start_now(self, greenlet):
        try:
            self.start(greenlet, blocking=False)
        except PoolFull:
            return False
        return True

    def _leave(self, greenlet):
        if not super()._leave(greenlet):
            return False
        self._places.release()
        return True

    def full(self):
        """True if there is no free place."""
        return self._places.locked()

    def free_count(self):
        """The number of free places; 1 if there is no limit."""
        return 1 if self.size is None else self._places.counter

    def wait_available(self, timeout=None):
        """Block until there is a free place, at most `timeout` seconds, without taking it. Returns `free_count()`."""
        self._places.wait(timeout)
        return self.free_count()


def _check_greenlet(greenlet):
    if not isinstance(greenlet, _RawGreenlet):
        raise TypeError(f"only greenlets can be in a group, not {greenlet!r}")
