"""Locks that were made before patching: put a cooperative one in the place of each, wherever it is kept.

A lock of the system that a greenlet holds while another wants it stops the whole OS thread for ever. Such locks sit in
modules, in instances, in Conditions (which keep the lock's methods too), among the functions to call at a fork, in the
defaults of arguments. The garbage collector knows all those places. A lock is replaced everywhere or not at all: if it
has one more reference than the places found, somebody keeps it where we cannot put another, and half a lock protects
nothing. Nor is one replaced that is taken at the moment, because the one who has it will give back what he took.
"""

import gc
import sys
import types

from gevlite._threadlock import Lock, RLock
from gevlite._workers import Crew
from gevlite.monkey._engine import get_original

__all__ = ["of_logging", "replace"]


def of_logging():
    """The locks of the `logging` module and of its handlers."""
    import logging

    handlers = [ref() for ref in logging._handlerList]
    return [logging._lock, *(handler.lock for handler in handlers if handler is not None)]


def replace(candidates=gc.get_objects):
    """Replace all of the system's locks among what `candidates()` returns that are free. Returns how many."""
    allocate_lock, rlock = get_original("_thread", ["allocate_lock", "RLock"])
    kinds = {type(allocate_lock()): Lock, rlock: RLock}
    # No other OS thread may take a lock between our look at it and its replacement.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        return _Replacement(kinds, candidates).run()
    finally:
        sys.setswitchinterval(interval)


class _Replacement:
    """One search and replacement.

    A place is `(write, container, key)`: `write(container, key, new)` stores something else there.
    """

    def __init__(self, kinds, candidates):
        self.kinds = kinds
        self.classes = {}       # id of a class's own dict: the class
        self.wanted = {}        # id of a lock: the lock
        self.methods = {}       # id of a lock: those of its methods that are kept somewhere
        self.places = {}        # id of a lock or a method: its places
        self.targets = self.wanted.keys()
        self.seen = set()       # a dict may be reached by itself and through its instance
        private = set()
        for thing in gc.get_objects():
            if isinstance(thing, type):
                self.classes[id(gc.get_referents(vars(thing))[0])] = thing
            elif isinstance(thing, Crew):
                private.add(id(thing.lock))      # shared with OS threads, never held across a switch
        for thing in candidates():
            if type(thing) in kinds and id(thing) not in private:
                self.wanted[id(thing)] = thing

    def run(self):
        if not self.wanted:
            return 0
        self.look_into(gc.get_referrers(*self.wanted.values()))
        methods = [method for found in self.methods.values() for method in found]
        if methods:
            self.targets = {id(method) for method in methods}
            self.look_into(gc.get_referrers(*methods))
        del methods
        replaced = 0
        one, one_in_list = _spare_references()
        for ident in list(self.wanted):
            lock = self.wanted.pop(ident)
            methods = self.methods.pop(ident, ())
            known = one + len(self.places.get(ident, ())) + len(methods)
            if not _is_free(lock) or sys.getrefcount(lock) != known:
                continue
            for method in methods:
                if sys.getrefcount(method) != one_in_list + len(self.places.get(id(method), ())):
                    break
            else:
                new = self.kinds[type(lock)]()
                self.write(ident, new)
                for method in methods:
                    self.write(id(method), getattr(new, method.__name__))
                replaced += 1
        return replaced

    def write(self, ident, new):
        for write, container, key in self.places.get(ident, ()):
            write(container, key, new)

    # -------- the search

    def look_into(self, containers):
        ours = {id(self.wanted)} | {id(found) for found in self.methods.values()}
        for container in containers:
            if id(container) in ours or isinstance(container, types.FrameType):
                continue
            if isinstance(container, dict):
                self.look_into_dict(container)
            elif isinstance(container, list):
                for key, value in enumerate(container):
                    self.note(value, _set_item, container, key)
            elif isinstance(container, types.CellType):
                self.note(container.cell_contents, setattr, container, "cell_contents")
            elif isinstance(container, tuple):
                self.look_into_defaults(container)
            elif isinstance(container, types.BuiltinMethodType):
                if id(container.__self__) in self.wanted:
                    self.methods.setdefault(id(container.__self__), []).append(container)
            else:
                self.look_into_instance(container)

    def look_into_dict(self, container):
        owner = self.classes.get(id(container))
        for key, value in list(container.items()):
            if owner is not None:
                self.note(value, setattr, owner, key)       # past the class, its caches would not notice
            else:
                self.note(value, _set_item, container, key)

    def look_into_defaults(self, container):
        """A tuple is replaced as a whole, where it holds the defaults of a function's arguments."""
        for function in gc.get_referrers(container):
            if isinstance(function, types.FunctionType) and function.__defaults__ is container:
                for index, value in enumerate(container):
                    self.note(value, _set_default, function, index)

    def look_into_instance(self, container):
        try:
            attributes = object.__getattribute__(container, "__dict__")
        except AttributeError:
            attributes = None
        if isinstance(attributes, dict):
            self.look_into_dict(attributes)
        for cls in type(container).__mro__:
            for name, member in vars(cls).items():
                if isinstance(member, types.MemberDescriptorType):
                    try:
                        value = member.__get__(container)
                    except AttributeError:
                        continue
                    self.note(value, setattr, container, name)

    def note(self, value, write, container, key):
        place = (id(value), id(container), key)
        if id(value) in self.targets and place not in self.seen:
            self.seen.add(place)
            self.places.setdefault(id(value), []).append((write, container, key))


def _set_item(container, key, value):
    container[key] = value


def _set_default(function, index, value):
    defaults = function.__defaults__
    function.__defaults__ = (*defaults[:index], value, *defaults[index + 1 :])


def _is_free(lock):
    if hasattr(lock, "_is_owned") and lock._is_owned() or not lock.acquire(False):
        return False
    lock.release()
    return True


def _spare_references():
    """What `sys.getrefcount` says of an object that only a local variable refers to, and of one in a list."""
    thing = object()
    one = sys.getrefcount(thing)
    for thing in [object()]:
        one_in_list = sys.getrefcount(thing)
    return one, one_in_list
