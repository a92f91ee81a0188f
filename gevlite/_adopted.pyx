"""How locks, queues and thread-locals that the interpreter made behave while the process is patched.

Objects made before patching have types written in C, and may be held where no other object can be put in their place:
in a tuple, a frame or a closure; a lock also by the code that is about to release it. So the objects stay, and the
implementations of their methods are exchanged (`_method_swap.h`). Each object keeps its own state. An OS thread without
a hub goes by that state, and waits as before. A greenlet that would have to wait parks, and is woken by the code that
releases the lock or puts an item in.

* A lock is really taken. If a greenlet waits for it, a release hands it over: it stays taken.
* An RLock belongs to an OS thread, which is not enough: all greenlets of the thread would own it. A `_threadlock.RLock`
  beside it says which greenlet owns it, and while one does, its thread owns the original. An RLock that is taken when
  we first see it belongs to the main greenlet of its thread.
* A SimpleQueue keeps its items. A getter that was woken for one has a claim on it until it has run.
* A threading.local stays what it was to main greenlets, the only ones that threads had before. For all others a
  `gevlite.local` keeps the attributes.

Objects that gevlite itself shares with OS threads must stay as they are: `leave_native` marks them.
"""

from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int64_t

from gevlite._core cimport (
    WAIT_LOCK,
    WAIT_QUEUE,
    CoreGreenlet,
    WaitList,
    Waiter,
    current_greenlet,
    deadline_of,
    free_waiter,
    give_way_if_due,
    greenlet,
    new_waiter,
    time_left,
    timeout_ns,
    wait_on,
    waitlist_append,
    waitlist_clear,
    waitlist_pop,
    waitlist_remove,
)
from gevlite._threadlock cimport current_ident, time_limit

import _queue
import _thread
import gc
import re
import types
import weakref

from gevlite._core import get_hub_if_exists, sleep
from gevlite._threadlock import RLock
from gevlite.local import local

__all__ = [
    "CannotAdopt",
    "acquire_in_thread",
    "adopt_local",
    "adopt_locks",
    "adopt_queue",
    "adopt_rlocks",
    "give_back",
    "leave_native",
    "poll_masks",
    "swap_methods",
]

cdef extern from "_greenlet_api.h":
    int gl_import() except -1
    PyObject *gl_parent(PyObject *g)

cdef extern from "_method_swap.h":
    ctypedef object (*gv_getattro)(object, object)
    ctypedef int (*gv_setattro)(object, object, PyObject *) except -1
    ctypedef struct PyTypeObject:
        gv_getattro tp_getattro
        gv_setattro tp_setattro
        Py_ssize_t tp_weaklistoffset
    const char *gv_obstacle(object descriptor)
    object gv_swap_method(object owner, object descriptor, object instead)
    void gv_unswap_all()
    int gv_set_attribute_slots(PyTypeObject *type, gv_getattro get, gv_setattro set) except -1
    void gv_inherit_attribute_slots(PyTypeObject *type, gv_getattro old_get, gv_getattro get, gv_setattro old_set,
                                    gv_setattro set)

cdef extern from "Python.h":
    object _PyObject_GenericGetAttrWithDict(object thing, object name, object attributes, int suppress)
    int _PyObject_GenericSetAttrWithDict(object thing, object name, PyObject *value, object attributes) except -1
    void Py_DECREF(PyObject *thing)

gl_import()

# As in the locks of `_threadlock`: code that tries again and again must not keep other greenlets from running.
cdef unsigned int CALLS_BETWEEN_LOOKS = 64
cdef unsigned int calls = 0

# The first pause between two looks at an RLock that an OS thread had been waiting for when the process was patched.
cdef double FIRST_PAUSE = 0.0005
cdef double LONGEST_PAUSE = 0.01

Empty = _queue.Empty
# This module is imported before anything is replaced.
_native_allocate_lock = _thread.allocate_lock
_NativeLock = type(_native_allocate_lock())
_NativeRLock = _thread.RLock
_NativeQueue = _queue.SimpleQueue
_NativeLocal = _thread._local


class CannotAdopt(Exception):
    """A type is not built as it was in all Pythons up to 3.15. Its objects stay as they are."""


# False while no methods are exchanged. A greenlet that goes on waiting in that time has to look again and again.
cdef bint adopted = False


def swap_methods(owner, methods):
    """Have `instead(self, ...)` called wherever a method of the built-in type `owner` is, kept or looked up.

    methods: `{name: instead}`. Returns `{name: original}`, methods that are not affected. Raises CannotAdopt, and
    exchanges nothing, if one of them cannot be exchanged.
    """
    global adopted
    cdef const char *obstacle
    descriptors = {}
    for name in methods:
        descriptors[name] = vars(owner).get(name)
        obstacle = gv_obstacle(descriptors[name])
        if obstacle != NULL:
            raise CannotAdopt(f"{owner.__module__}.{owner.__qualname__}.{name} {obstacle.decode()}")
    adopted = True
    return {name: gv_swap_method(owner, descriptors[name], methods[name]) for name in methods}


cdef struct PollObject:
    PyObject *masks
    int up_to_date
    int length
    void *list
    int running


def poll_masks(poll):
    """The dict of a `select.poll` object: what each descriptor is watched for. It is the first field of the object."""
    cdef PyObject *first
    if type(poll).__basicsize__ != sizeof(PyObject) + sizeof(PollObject):
        raise CannotAdopt("select.poll objects are laid out in a new way")
    first = (<PollObject *> (<char *> <PyObject *> poll + sizeof(PyObject))).masks
    return <dict?> <object> first


# ---------------------------------------------------------------- what is kept beside an object

class _Reference(weakref.ref):
    __slots__ = ("address",)


cdef dict states = {}       # address: (what is kept beside the object, a _Reference to it)


def _gone(reference):
    states.pop(reference.address, None)


cdef object remember(object thing, object state):
    """Keep `state` beside `thing`. Returns what is kept there: another state if another thread was quicker."""
    cdef object reference = _Reference(thing, _gone)
    reference.address = <size_t> <PyObject *> thing
    return states.setdefault(reference.address, (state, reference))[0]


def leave_native(thing):
    """Let an RLock, a SimpleQueue or a local of the interpreter behave for greenlets as it does for OS threads."""
    remember(thing, None)


cdef bint is_left(object thing):
    cdef tuple found = states.get(<size_t> <PyObject *> thing)
    return found is not None and found[0] is None


cdef int count_call() except -1:
    global calls
    calls += 1
    if calls % CALLS_BETWEEN_LOOKS == 0:
        give_way_if_due()
    return 0


cdef class _Waiting:
    """The waiters of one object. It is in `waiting` as long as it has some."""

    cdef WaitList waiters
    cdef Py_ssize_t claims          # of waiters that were woken for an item and have not run since

    def __dealloc__(self):
        waitlist_clear(&self.waiters)


cdef dict waiting = {}      # address: _Waiting


cdef _Waiting waiting_for(object thing):
    cdef object address = <size_t> <PyObject *> thing
    cdef _Waiting found = waiting.get(address)
    if found is None:
        found = waiting.setdefault(address, _Waiting.__new__(_Waiting))
    return found


cdef int forget(object thing, _Waiting found) except -1:
    cdef object address = <size_t> <PyObject *> thing
    if not found.waiters.count and not found.claims and waiting.get(address) is found:
        del waiting[address]
    return 0


# ---------------------------------------------------------------- locks

cdef object native_acquire = _NativeLock.acquire
cdef object native_release, native_locked, native_lock_reinit


cdef object seconds(int64_t limit):
    return -1 if limit < 0 else limit / 1e9


def acquire_in_thread(lock, timeout=-1):
    """Take a lock of the interpreter's; block the whole OS thread until that works, at most `timeout` seconds.

    For a lock that the interpreter itself releases, which wakes no greenlet.
    """
    return native_acquire(lock, True, timeout)


def lock_acquire(self, bint blocking=True, timeout=-1):
    cdef int64_t limit = time_limit(blocking, timeout)
    count_call()
    if native_acquire(self, False):
        return True
    if limit == 0:
        return False
    return wait_for_lock(self, limit)


def lock_enter(self):
    count_call()
    return native_acquire(self, False) or wait_for_lock(self, -1)


cdef object wait_for_lock(object lock, int64_t limit):
    cdef object hub = get_hub_if_exists()
    cdef object given
    cdef int64_t deadline = deadline_of(limit)
    cdef bint timed_out
    cdef _Waiting found
    cdef Waiter w
    if hub is None:
        return native_acquire(lock, True, seconds(limit))
    w = new_waiter(hub, WAIT_LOCK, <PyObject *> lock)
    found = waiting_for(lock)
    waitlist_append(&found.waiters, w)
    try:
        # From here on a release finds us, but the lock may have been released before.
        if native_acquire(lock, False):
            waitlist_remove(w)
            return True
        try:
            given = w.park_for(limit)
        except BaseException:
            if w.undelivered:
                lock_release(lock)      # it was handed to us, but an exception ended our wait
            raise
        timed_out = w.timed_out
        free_waiter(w)
    finally:
        forget(lock, found)
    if given is lock:
        return True
    return not timed_out and look_again(native_acquire, lock, deadline)


cdef bint look_again(object acquire, object lock, int64_t deadline) except -1:
    """Take a lock whose release may wake no greenlet; block this greenlet until that works."""
    cdef double pause = FIRST_PAUSE
    while not acquire(lock, False):
        if time_left(deadline) == 0:
            return False
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return True


def lock_release(self):
    cdef _Waiting found = waiting.get(<size_t> <PyObject *> self)
    cdef Waiter w
    if found is not None and native_locked(self):
        while found.waiters.count:
            w = <Waiter> waitlist_pop(&found.waiters)
            if w.wake(self):
                return
    native_release(self)


def lock_exit(self, *exc_info):
    lock_release(self)


def lock_reinit(self):
    waiting.pop(<size_t> <PyObject *> self, None)
    native_lock_reinit(self)


# ---------------------------------------------------------------- RLocks

cdef object native_r_acquire, native_r_release, native_r_owned, native_r_save, native_r_reinit, native_r_locked
cdef object native_r_recursion_count, native_r_restore

_find_state = re.compile(r"owner=(-?\d+) count=(\d+)").search

# The OS thread that patched, and the greenlet of it that did.
cdef unsigned long patching_thread = 0
cdef unsigned long patching_greenlet = 0


cdef object beside(object lock):
    """The `_threadlock.RLock` that says which greenlet has `lock`; None if it was left as it is."""
    cdef tuple found = states.get(<size_t> <PyObject *> lock)
    if found is not None:
        return found[0]
    made = RLock()
    # The methods of an RLock tell only about the running thread; its repr names the owner.
    match = _find_state(_NativeRLock.__repr__(lock))
    if match is not None and int(match[2]):
        owner = int(match[1]) & <unsigned long> -1
        if owner == patching_thread:
            owner = patching_greenlet
        made._acquire_restore((int(match[2]), owner))
    return remember(lock, made)


cdef bint follow(object lock, object blocking, object timeout) except -1:
    """A greenlet has taken `lock`; now its thread does. Only a thread that blocked before patching can delay that."""
    cdef object hub
    cdef int64_t limit
    if native_r_acquire(lock, False):
        return True
    limit = time_limit(blocking, timeout)
    hub = get_hub_if_exists()
    if hub is None:
        return native_r_acquire(lock, blocking, timeout)
    return look_again(native_r_acquire, lock, deadline_of(limit))


cdef bint is_beside(object owner, object lock):
    """False if `give_back` has undone all since then: `owner` no longer counts."""
    cdef tuple found = states.get(<size_t> <PyObject *> lock)
    return found is not None and found[0] is owner


def rlock_acquire(self, blocking=True, timeout=-1):
    cdef object owner = beside(self)
    cdef bint taken = False
    if owner is None:
        return native_r_acquire(self, blocking, timeout)
    count_call()
    if not owner.acquire(blocking, timeout):
        return False
    if owner._recursion_count() > 1:
        return True
    try:
        taken = follow(self, blocking, timeout)
    finally:
        if not taken or not is_beside(owner, self):
            owner.release()             # it is the turn of the next waiter
    return taken


def rlock_enter(self):
    return rlock_acquire(self)


def rlock_release(self):
    cdef object owner = beside(self)
    if owner is None:
        native_r_release(self)
        return
    if owner._recursion_count() == 1:
        native_r_save(self)             # release it fully: how often it was taken is counted beside it
    owner.release()                     # or raises


def rlock_exit(self, *exc_info):
    rlock_release(self)


def rlock_is_owned(self):
    cdef object owner = beside(self)
    return native_r_owned(self) if owner is None else owner._is_owned()


def rlock_recursion_count(self):
    cdef object owner = beside(self)
    return native_r_recursion_count(self) if owner is None else owner._recursion_count()


def rlock_locked(self):
    cdef object owner = beside(self)
    return native_r_locked(self) or owner is not None and owner.locked()


def rlock_release_save(self):
    cdef object owner = beside(self)
    if owner is None:
        return native_r_save(self)
    if not owner._is_owned():
        return owner._release_save()    # which raises, or may do this for another greenlet
    # A state that the original understands, in case the original takes it back.
    thread = native_r_save(self)[1]
    return owner._release_save()[0], thread


def rlock_acquire_restore(self, state):
    cdef object owner = beside(self)
    cdef object interrupt = None
    if owner is None:
        return native_r_restore(self, state)
    # The end of Condition.wait: it must be ours again, whatever is raised afterwards.
    try:
        owner._acquire_restore((state[0], current_ident()))
    except BaseException as exc:
        if not owner._is_owned():
            raise
        interrupt = exc
    while True:
        try:
            follow(self, True, -1)
            break
        except BaseException as exc:
            interrupt = exc
    if not is_beside(owner, self):
        owner._release_save()
        for _ in range(state[0] - 1):
            native_r_acquire(self)
    if interrupt is not None:
        raise interrupt


def rlock_reinit(self):
    cdef object owner = beside(self)
    native_r_reinit(self)
    if owner is not None:
        owner._at_fork_reinit()


def adopt_locks():
    """From now on, locks of the interpreter block greenlets only. Returns what is adopted."""
    global native_acquire, native_release, native_locked, native_lock_reinit
    methods = {
        "acquire": lock_acquire, "__enter__": lock_enter, "release": lock_release, "__exit__": lock_exit,
        "_at_fork_reinit": lock_reinit,
    }
    old = {"acquire_lock": lock_acquire, "release_lock": lock_release}
    methods.update((name, instead) for name, instead in old.items() if name in vars(_NativeLock))
    native_locked = vars(_NativeLock)["locked"]     # first, since it may fail
    originals = swap_methods(_NativeLock, methods)
    native_acquire = originals["acquire"]
    native_release = originals["release"]
    native_lock_reinit = originals["_at_fork_reinit"]
    return [_NativeLock, _native_allocate_lock]


def adopt_rlocks():
    """From now on, RLocks of the interpreter block greenlets only. Returns what is adopted."""
    global native_r_acquire, native_r_release, native_r_owned, native_r_save, native_r_restore, native_r_reinit
    global native_r_recursion_count, native_r_locked, patching_thread, patching_greenlet
    patching_thread = PyThread_get_thread_ident()
    patching_greenlet = current_ident()
    probe = _NativeRLock()
    taken = _find_state(_NativeRLock.__repr__(probe))
    probe.acquire()
    if taken is not None:
        taken = taken[2], *_find_state(_NativeRLock.__repr__(probe)).groups()
    probe.release()
    if taken != ("0", str(patching_thread), "1"):
        raise CannotAdopt(f"{_NativeRLock.__module__}.{_NativeRLock.__qualname__} does not tell its owner")
    methods = {
        "acquire": rlock_acquire, "__enter__": rlock_enter, "release": rlock_release, "__exit__": rlock_exit,
        "_is_owned": rlock_is_owned, "_recursion_count": rlock_recursion_count, "_release_save": rlock_release_save,
        "_acquire_restore": rlock_acquire_restore, "_at_fork_reinit": rlock_reinit,
    }
    if "locked" in vars(_NativeRLock):          # Python 3.14
        methods["locked"] = rlock_locked
    originals = swap_methods(_NativeRLock, methods)
    native_r_acquire = originals["acquire"]
    native_r_release = originals["release"]
    native_r_owned = originals["_is_owned"]
    native_r_save = originals["_release_save"]
    native_r_restore = originals["_acquire_restore"]
    native_r_recursion_count = originals["_recursion_count"]
    native_r_reinit = originals["_at_fork_reinit"]
    native_r_locked = originals.get("locked")
    return [_NativeRLock]


cdef int give_rlocks_back() except -1:
    """Owners keep the original. From now on, waiters wait for the original."""
    for address, (owner, reference) in list(states.items()):
        if not isinstance(owner, RLock):
            continue
        del states[address]
        lock = reference()
        count = int(_find_state(repr(owner))[2])
        if not count:
            continue
        if lock is not None and native_r_owned(lock):
            for _ in range(count - 1):
                native_r_acquire(lock, False)
        owner._release_save()           # the first waiter goes on, and wakes the next
    return 0


# ---------------------------------------------------------------- SimpleQueue

cdef object native_get, native_put, native_size


cdef bint has_item(object queue, _Waiting found) except -1:
    """True if there is an item without a claim on it."""
    return native_size(queue) > (found.claims if found is not None else 0)


def queue_get(self, bint block=True, timeout=None):
    cdef int64_t limit = -1
    cdef int64_t deadline = -1
    cdef object hub
    cdef _Waiting found
    cdef Waiter w
    cdef bint told
    if block and timeout is not None:
        if timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        limit = timeout_ns(timeout)
        deadline = deadline_of(limit)
    if has_item(self, waiting.get(<size_t> <PyObject *> self)):
        return native_get(self, False)
    if not block:
        count_call()
        raise Empty
    hub = get_hub_if_exists()
    if hub is None or is_left(self):
        return native_get(self, True, timeout)
    while True:
        w = new_waiter(hub, WAIT_QUEUE, <PyObject *> self)
        found = waiting_for(self)
        waitlist_append(&found.waiters, w)
        try:
            # From here on a `put` finds us, but an item may have come before.
            if has_item(self, found):
                waitlist_remove(w)
                return native_get(self, False)
            try:
                told = wait_on(w, limit)
            except BaseException:
                if w.undelivered:
                    found.claims -= 1
                    tell(found)             # the next waiter may take it
                raise
            if not told:
                raise Empty
            found.claims -= 1
            # An OS thread, which does not know the claims, may have taken it.
            if native_size(self):
                return native_get(self, False)
        finally:
            forget(self, found)
        if not adopted:
            return look_for_item(self, deadline)
        limit = time_left(deadline)


cdef object look_for_item(object queue, int64_t deadline):
    """Like `look_again`, for an item."""
    cdef double pause = FIRST_PAUSE
    while not native_size(queue):
        if time_left(deadline) == 0:
            raise Empty
        sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return native_get(queue, False)


def queue_get_nowait(self):
    return queue_get(self, False)


cdef bint tell(_Waiting found) except -1:
    """Wake the first waiter. False if there is none."""
    cdef Waiter w
    while found.waiters.count:
        w = <Waiter> waitlist_pop(&found.waiters)
        if w.wake(None):
            found.claims += 1
            return True
    return False


def queue_put(self, item, block=True, timeout=None):
    cdef _Waiting found
    native_put(self, item)
    found = waiting.get(<size_t> <PyObject *> self)
    if found is not None:
        tell(found)


def queue_put_nowait(self, item):
    queue_put(self, item)


def adopt_queue():
    """From now on, SimpleQueues of the interpreter block greenlets only. Returns what is adopted."""
    global native_get, native_put, native_size
    native_size = vars(_NativeQueue)["qsize"]       # first, since it may fail
    originals = swap_methods(_NativeQueue, {
        "get": queue_get, "put": queue_put, "get_nowait": queue_get_nowait, "put_nowait": queue_put_nowait,
    })
    native_get = originals["get"]
    native_put = originals["put"]
    return [_NativeQueue]


# ---------------------------------------------------------------- threading.local

cdef gv_getattro native_getattro = NULL
cdef gv_setattro native_setattro = NULL


cdef bint in_main_greenlet() except -1:
    cdef greenlet g = current_greenlet()
    cdef PyObject *parent
    if isinstance(g, CoreGreenlet):
        return False
    parent = gl_parent(<PyObject *> g)
    if parent == NULL:
        return True
    Py_DECREF(parent)
    return False


class _Attributes(local):
    """The attributes that greenlets have in a local of the interpreter."""

    def __init__(self, owner):
        """Called once in each greenlet. owner: a weak reference to the other one, which may have an __init__ too."""
        cdef object thing = owner()
        initialize = type(thing).__init__
        if initialize is not object.__init__:
            args, kwargs = init_arguments(thing)
            initialize(thing, *args, **kwargs)


cdef tuple init_arguments(object thing):
    """The arguments it was made with: before the list of weak references in all versions; `adopt_local` has checked."""
    cdef PyObject **end = <PyObject **> (
        <char *> <PyObject *> thing + (<PyTypeObject *> <PyObject *> _NativeLocal).tp_weaklistoffset)
    return (
        () if end[-2] == NULL else <object> end[-2],
        {} if end[-1] == NULL else <object> end[-1],
    )


cdef object attributes_of(object thing):
    """The dict of the running greenlet; None if the object was left as it is."""
    cdef object address = <size_t> <PyObject *> thing
    cdef tuple found = states.get(address)
    if found is not None:
        return None if found[0] is None else found[0].__dict__
    reference = weakref.ref(thing)
    made = _Attributes.__new__(_Attributes, reference)
    kept = remember(thing, made)
    if kept is made:
        try:
            made.__init__(reference)
        except BaseException:
            states.pop(address, None)
            raise
    return kept.__dict__


cdef object get_attribute(object self, object name):
    cdef object attributes = None if in_main_greenlet() else attributes_of(self)
    if attributes is None:
        return native_getattro(self, name)
    if name == "__dict__":
        return attributes
    return _PyObject_GenericGetAttrWithDict(self, name, attributes, 0)


cdef int set_attribute(object self, object name, PyObject *value) except -1:
    cdef object attributes = None if in_main_greenlet() else attributes_of(self)
    if attributes is None:
        return native_setattro(self, name, value)
    if name == "__dict__":
        kind = "_thread._local" if type(self) is _NativeLocal else type(self).__name__
        raise AttributeError(f"{kind!r} object attribute '__dict__' is read-only")
    return _PyObject_GenericSetAttrWithDict(self, name, value, attributes)


cdef int set_slots(gv_getattro old_get, gv_getattro get, gv_setattro old_set, gv_setattro set_) except -1:
    gv_set_attribute_slots(<PyTypeObject *> <PyObject *> _NativeLocal, get, set_)
    cdef list classes = type.__subclasses__(_NativeLocal)
    while classes:
        cls = classes.pop()
        gv_inherit_attribute_slots(<PyTypeObject *> <PyObject *> cls, old_get, get, old_set, set_)
        classes += type.__subclasses__(cls)
    return 0


def adopt_local():
    """From now on, locals of the interpreter keep the greenlets' attributes apart. Returns what is adopted.

    Main greenlets see the same attributes as before.
    """
    global native_getattro, native_setattro
    if native_getattro == NULL:
        check_local()
        native_getattro = (<PyTypeObject *> <PyObject *> _NativeLocal).tp_getattro
        native_setattro = (<PyTypeObject *> <PyObject *> _NativeLocal).tp_setattro
    set_slots(native_getattro, get_attribute, native_setattro, set_attribute)
    return [_NativeLocal]


def check_local():
    """Raise CannotAdopt if `init_arguments` would not find them, or if attributes are not looked up by the slots."""
    cdef PyTypeObject *kind = <PyTypeObject *> <PyObject *> _NativeLocal
    cdef PyObject **end
    cdef size_t word = sizeof(PyObject *)
    probe = _LocalWithInit(1, x=2)
    kept = {id(thing) for thing in gc.get_referents(probe)}
    fits = kind.tp_weaklistoffset >= <Py_ssize_t> (sizeof(PyObject) + 2 * word)
    if fits:
        # Read nothing as an object before we know that it is one.
        end = <PyObject **> (<char *> <PyObject *> probe + kind.tp_weaklistoffset)
        fits = <size_t> end[-2] in kept and <size_t> end[-1] in kept
    if not fits or init_arguments(probe) != ((1,), {"x": 2}):
        raise CannotAdopt("threading.local objects are laid out in a new way")
    for name in ("__getattribute__", "__setattr__", "__delattr__"):
        if not isinstance(vars(_NativeLocal).get(name), types.WrapperDescriptorType):
            raise CannotAdopt(f"threading.local.{name} is not a slot of a built-in type")


class _LocalWithInit(_NativeLocal):
    def __init__(self, *args, **kwargs):
        pass


def give_back():
    """Undo all of it. Waiting greenlets go on waiting, by looking again and again."""
    global adopted
    cdef _Waiting found
    gv_unswap_all()
    if native_getattro != NULL:
        set_slots(get_attribute, native_getattro, set_attribute, native_setattro)
    if adopted:
        adopted = False
        give_rlocks_back()
        for found in list(waiting.values()):
            while tell(found):
                pass
