"""Groups of greenlets: started, waited for and killed together, and in a Pool at most so many at a time.

A member counts from `add` (or `spawn`) until it ends, and it is taken off the list where it ends, before anybody who
waits for it is woken. So whoever has seen the end of a greenlet finds its place in the pool free, and a place is given
back exactly once, by whichever comes first: the end of the greenlet or `discard`.

A group may be used from several OS threads. Its members run on the hub of the thread that made them.
"""

from queue import Full

from greenlet import greenlet as _RawGreenlet

from gevlite._watch import Watch
from gevlite.greenlet import Greenlet, GreenletExit, getcurrent, joinall, kill, killall
from gevlite.lock import DummySemaphore, Semaphore
from gevlite.queue import SimpleQueue
from gevlite.timeout import Timeout, _within

__all__ = ["Group", "Pool", "PoolFull"]


class PoolFull(Full):
    """A Pool has no place free, or got none in time."""


# ---------------------------------------------------------------- functions applied to many


class GroupMappingMixin:
    """`apply`, `map` and their kin, for whatever has a `spawn` that returns something to `get()` the result from."""

    # How to wait for the end of what `spawn` returned, without its result.
    _wait_for = staticmethod(Greenlet.join)

    def _call_when_done(self, running, callback):
        """Have `callback(running)` called once, when it has ended. The callback does not block."""
        raise NotImplementedError

    def _is_member(self):
        """True if the caller itself runs in one of our places: it must not wait for another one."""
        raise NotImplementedError

    def apply(self, func, args=None, kwds=None):
        """Run `func(*args, **kwds)` in the pool; block until it is done. Returns or raises what it did.

        Called by a member, it runs in that: with all places taken it would wait for itself.
        """
        args = () if args is None else args
        kwds = {} if kwds is None else kwds
        if self._is_member():
            return func(*args, **kwds)
        return self.spawn(func, *args, **kwds).get()

    def apply_cb(self, func, args=None, kwds=None, callback=None):
        """`apply`; the result is also given to `callback(result)`, in a greenlet of its own."""
        result = self.apply(func, args, kwds)
        if callback is not None:
            Greenlet.spawn(callback, result)
        return result

    def apply_async(self, func, args=None, kwds=None, callback=None):
        """`apply_cb` that does not block: returns a Greenlet to `get()` the result from.

        If there is an error, `callback` is not called.
        """
        return Greenlet.spawn(self.apply_cb, func, args, kwds, callback)

    def map(self, func, iterable):
        """Run `func(item)` for each item, concurrently; block until all are done. Returns the results in order.

        If calls fail, the first of them in this order raises its error as soon as those before it are done; the others
        go on. If the caller is killed or runs out of time, no further call is started, and those that run go on.
        """
        _check_callable(func)
        running = [self.spawn(func, item) for item in iterable]
        return [one.get() for one in running]

    def map_cb(self, func, iterable, callback=None):
        """`map`; the list is also given to `callback(list)`."""
        result = self.map(func, iterable)
        if callback is not None:
            callback(result)
        return result

    def map_async(self, func, iterable, callback=None):
        """`map_cb` that does not block: returns a Greenlet to `get()` the list from."""
        return Greenlet.spawn(self.map_cb, func, iterable, callback)

    def imap(self, func, *iterables, maxsize=None):
        """Run `func` concurrently for the items of the iterables, as `map()` takes them. Returns an iterator over the
        results, in order, which blocks until the next one is there.

        It begins at once, in a greenlet that takes the items as places become free. `maxsize`: how many calls may be
        begun whose results have not been taken; None or 0 for no such limit.

        An error of a call is raised in its place, and the iteration may go on after it. An error of an iterable is
        raised after the results of the items before it, and is the end. When the iterator is closed, by its `close()`
        or at the end of a `with`, or is no longer referred to, no further call is started.
        """
        return IMap(self, func, iterables, maxsize)

    def imap_unordered(self, func, *iterables, maxsize=None):
        """`imap`, but each result comes as soon as it is there."""
        return IMapUnordered(self, func, iterables, maxsize)


def _check_callable(func):
    if not callable(func):
        raise TypeError(f"func must be callable, not {func!r}")


class _End:
    """What stands in the queue after the last result."""

    def __init__(self, error=None):
        self.error = error


class _Feeder:
    """Starts the calls of an `imap` in a greenlet. It does not know the iterator, which may therefore be dropped."""

    def __init__(self, group, func, iterables, maxsize, ordered):
        self.group = group
        self.func = func
        self.items = zip(*iterables, strict=False)
        self.room = Semaphore(maxsize) if maxsize else DummySemaphore()
        self.ordered = ordered
        self.queue = SimpleQueue()  # ordered: calls as they are begun; else: as they end
        self.to_come = 1  # calls begun and not ended, and one for ourselves
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
                item = running = None  # not kept while we wait
        except GreenletExit:
            pass  # the iterator was closed or dropped
        except BaseException as exc:
            self.error = exc
        self.items = None  # it may hold on to the last one
        self.count_down()

    def put(self, running):
        self.queue.put(running)
        self.count_down()

    def count_down(self):
        self.to_come -= 1
        if not self.to_come:
            self.queue.put(_End(self.error))


class Results:
    """The iterator of `imap_unordered`: results in the order in which they come. Usable in `with`, which closes it.

    Several greenlets may take from one; each result goes to one of them.
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
            self._feeder.queue.put(_End())  # for whoever asks next
            if running.error is not None:
                raise running.error
            raise StopIteration
        self._feeder.room.release()
        return running.get(block=False)  # it has ended; a kill that came now would lose it

    def close(self):
        """Start no further call and end the iteration, also for others who wait in it. Does not block.

        Calls that run go on as members of the pool; their results are dropped.
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
        # It is taken out only when it has ended: who is killed while it waits leaves it to the next.
        with self._turn:
            queue = self._feeder.queue
            running = queue.peek()
            if not isinstance(running, _End):
                self._wait_for(running)
            queue.get_nowait()
        return self._outcome(running)


# gevent's names for them, by which tracers put classes of their own in their place.
IMap = OrderedResults
IMapUnordered = Results


# ---------------------------------------------------------------- groups


class Group(GroupMappingMixin):
    """Any number of greenlets. `Group(greenlets)` begins with those; iterating over it yields the members.

    Its length is the number of members, so an empty one is false.
    """

    greenlet_class = Greenlet

    def __init__(self, greenlets=(), /):
        self.greenlets = set()
        self._killed = set()
        self._emptied = Watch()
        self._failures = {}  # by id: what each `join(raise_error=True)` in progress collects
        for one in greenlets:
            self.add(one)

    def __len__(self):
        return len(self.greenlets)

    def __contains__(self, greenlet):
        return greenlet in self.greenlets

    def __iter__(self):
        return iter(list(self.greenlets))

    def __repr__(self):
        return f"<{type(self).__name__} at {id(self):#x} greenlets={len(self.greenlets)}>"

    # -------- members

    def add(self, greenlet):
        """Make a greenlet a member until it ends, started or not. Nothing changes if it is one, or has ended.

        The end of a greenlet that is not a `Greenlet` cannot be seen: such a one stays until `discard`.
        """
        _check_greenlet(greenlet)
        self._enter(greenlet)

    def _enter(self, greenlet):
        """False if there was no need."""
        if greenlet in self.greenlets:
            return False
        self.greenlets.add(greenlet)
        if isinstance(greenlet, Greenlet) and not greenlet._on_end(self._ended):
            self._leave(greenlet)
        return True

    def discard(self, greenlet):
        """Take a greenlet off the list; it goes on and is no longer our concern. Nothing happens if it is no member."""
        if self._leave(greenlet) and isinstance(greenlet, Greenlet):
            greenlet._off_end(self._ended)

    def _ended(self, greenlet):
        if self._failures and not greenlet.successful():
            for failed in list(self._failures.values()):
                failed.append(greenlet)
        self._leave(greenlet)

    def _leave(self, greenlet):
        """True if it was a member. One of several threads that come here at a time is told so.

        Its place is free at once; who waits for all to end goes on when its links have run.
        """
        try:
            self.greenlets.remove(greenlet)
        except KeyError:
            return False
        self._killed.discard(greenlet)
        if not self.greenlets:
            if isinstance(greenlet, Greenlet):
                greenlet._after_links(self._emptied.tell)
            else:
                self._emptied.tell()
        return True

    def start(self, greenlet):
        """`add` a greenlet that was not started and start it."""
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

        In a Pool it blocks until there is a place. If the caller is killed or runs out of time then, nothing is started
        and no place is taken.
        """
        greenlet = self.greenlet_class(*args, **kwargs)
        self.start(greenlet)
        return greenlet

    def full(self):
        """True if there is no place for another one; a Group has always one."""
        return False

    def wait_available(self, timeout=None):
        """Block until there is a place free, at most `timeout` seconds; in a Group there is."""

    # -------- their end

    def join(self, timeout=None, raise_error=False):
        """Block until there has been a moment without members, at most `timeout` seconds. True if there was.

        With `raise_error`, raises the error of the first member that failed meanwhile, if one did. Raises RuntimeError
        if a member calls it: it would wait for its own end.
        """
        if getcurrent() in self.greenlets:
            raise RuntimeError("a greenlet cannot wait for the end of a group that it belongs to")
        failed = []
        if raise_error:
            self._failures[id(failed)] = failed
        try:
            emptied = self._emptied.wait_unless(lambda: not self.greenlets, timeout)
        finally:
            self._failures.pop(id(failed), None)
        for greenlet in failed:
            greenlet.get()
        return emptied

    def kill(self, exception=GreenletExit, block=True, timeout=None):
        """Raise `exception` (a class or an instance) in each member, once in each however often this is called.

        With `block`, wait until all have ended, at most `timeout` seconds; those that become members meanwhile are
        killed in their turn. A member that calls it is the last to go. One that is not a `Greenlet` is taken off the
        list.
        """
        if block and isinstance(timeout, Timeout):
            _within(timeout, None, Group.kill, self, exception)
            return
        me = getcurrent()
        with Timeout(timeout if block else None, False):
            while self._kill_now(self.greenlets - {me}, exception) and block:
                joinall([one for one in self.greenlets if one is not me and isinstance(one, Greenlet)])
        if me in self.greenlets and me not in self._killed:
            self._killed.add(me)
            if block:
                raise exception
            kill(me, exception)

    def _kill_now(self, greenlets, exception):
        """Does not block. False if none of them is left."""
        killall(greenlets - self._killed, exception, block=False)
        for one in greenlets:
            if not isinstance(one, Greenlet):
                self.discard(one)
        left = self.greenlets & greenlets
        self._killed |= left
        return bool(left)

    def killone(self, greenlet, exception=GreenletExit, block=True, timeout=None):
        """`kill` for one member; nothing happens if it is none. With `block`, wait until it has ended."""
        if greenlet not in self.greenlets:
            return
        if greenlet is getcurrent():
            self._killed.add(greenlet)
            if block:
                raise exception
            kill(greenlet, exception)
        elif self._kill_now({greenlet}, exception) and block:
            greenlet.join(timeout)

    # -------- what applies functions

    def _is_member(self):
        return getcurrent() in self.greenlets

    def _call_when_done(self, running, callback):
        if not running._on_end(callback):
            callback(running)

    def apply_async(self, func, args=None, kwds=None, callback=None):
        """`apply_cb` that does not block: returns the Greenlet that does it, which waits for its place if need be.

        If there is an error, `callback` is not called.
        """
        greenlet = self.greenlet_class(func, *(() if args is None else args), **({} if kwds is None else kwds))
        if callback is not None:
            _check_callable(callback)
            greenlet.link_value(lambda ended: callback(ended.value))
        if not self._start_now(greenlet):
            # If it is killed before there is a place, it takes none.
            Greenlet.spawn(self.start, greenlet)
        return greenlet


class Pool(Group):
    """A Group with at most `size` members (None: any number): whoever adds one more waits for a place.

    Those who wait are served in the order in which they came. Raises ValueError for a negative size.
    """

    def __init__(self, size=None, greenlet_class=None):
        if size is not None and size < 0:
            raise ValueError(f"size must not be negative: {size}")
        if greenlet_class is not None:
            if not callable(greenlet_class):
                raise TypeError(f"greenlet_class must be callable, not {greenlet_class!r}")
            self.greenlet_class = greenlet_class
        super().__init__()
        self.size = size
        self._places = DummySemaphore() if size is None else Semaphore(size)

    def __repr__(self):
        size = "" if self.size is None else f" size={self.size}"
        return f"<{type(self).__name__} at {id(self):#x}{size} greenlets={len(self.greenlets)}>"

    def add(self, greenlet, blocking=True, timeout=None):
        """`Group.add`; block until there is a place, at most `timeout` seconds.

        Raises PoolFull when the time is over, or at once if `blocking` is false.
        """
        _check_greenlet(greenlet)
        if greenlet in self.greenlets:
            return
        if not self._places.acquire(blocking=blocking, timeout=timeout):
            raise PoolFull(f"all {self.size} places are taken")
        if not self._enter(greenlet):
            self._places.release()  # somebody else was faster

    def start(self, greenlet, blocking=True, timeout=None):
        """`add` a greenlet that was not started, with the same arguments and errors, and start it."""
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
        """True if there is no place free."""
        return self._places.locked()

    def free_count(self):
        """How many places are free; 1 if their number is not limited."""
        return 1 if self.size is None else self._places.counter

    def wait_available(self, timeout=None):
        """Block until there is a place free, at most `timeout` seconds, and do not take it. Returns `free_count()`."""
        self._places.wait(timeout)
        return self.free_count()


def _check_greenlet(greenlet):
    if not isinstance(greenlet, _RawGreenlet):
        raise TypeError(f"only greenlets can be in a group, not {greenlet!r}")
