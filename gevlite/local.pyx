"""Attributes of its own for each greenlet, as `threading.local` gives them to each thread.

A `local` owns one place, with a dict of attributes, for each greenlet that has used it. The greenlet owns a list of its
places, but not the places. When it ends, the list takes each of them out of its `local`; when a `local` is freed, its
places take themselves out of the lists. So neither keeps the other alive, nothing stays behind in the one that lives
longer, and values that refer back to the `local` are an ordinary cycle that the garbage collector finds.

The object's `__dict__` is set to that of the running greenlet before each access; then the access is an ordinary one. So
properties, slots, class attributes and whatever else a subclass defines work by themselves. The pointer cannot go
stale in between: the lookup of a plain attribute runs no Python code, and a descriptor that does comes before it.
"""

from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject, PyObject_GenericGetAttr, PyObject_GenericSetAttr

from gevlite._core cimport CoreGreenlet, current_greenlet, greenlet

from copyreg import _slotnames

__all__ = ["local"]

cdef extern from "Python.h":
    int PyObject_GenericDelAttr "PyObject_GenericSetAttr"(object o, object name, PyObject *null) except -1
    int PyObject_GenericSetDict(object o, object value, void *context) except -1

# A greenlet that gevlite did not make keeps its list in its own __dict__ under this name.
_PLACES = "_gevlite_local_places"


cdef class _Place:
    """The place of one greenlet in a `local`."""

    cdef dict attributes
    cdef object ident           # address of the greenlet
    cdef PyObject *owner        # the local; borrowed, NULL once that is being freed
    cdef PyObject *home         # the greenlet's _Places, NULL once taken out; this and the neighbours there are borrowed
    cdef PyObject *prev
    cdef PyObject *next

    cdef int take_out(self) noexcept:
        if self.home == NULL:
            return 0
        if self.prev != NULL:
            (<_Place> self.prev).next = self.next
        else:
            (<_Places> self.home).head = self.next
        if self.next != NULL:
            (<_Place> self.next).prev = self.prev
        self.home = self.prev = self.next = NULL
        return 0

    def __dealloc__(self):
        self.take_out()


cdef class _Places:
    """A greenlet's places, in all the locals that it has used."""

    cdef PyObject *head

    cdef int add(self, _Place place) noexcept:
        place.home = <PyObject *> self
        place.next = self.head
        if self.head != NULL:
            (<_Place> self.head).prev = <PyObject *> place
        self.head = <PyObject *> place
        return 0

    def __dealloc__(self):
        # The greenlet has ended. Freeing attributes may run any code, so drop the places one by one, consistent in
        # between.
        cdef _Place place
        while self.head != NULL:
            place = <_Place> self.head
            place.take_out()
            if place.owner != NULL:
                (<local> place.owner).drop(place)


cdef class local:
    """local(*args, **kwargs)\n--\n
    Attributes of its own for each greenlet, gone as soon as the greenlet has ended.

    A subclass may define `__init__`: it is called with the original arguments once in each greenlet that uses the object.
    """

    cdef dict __dict__          # the attributes of the greenlet that used it last
    cdef PyObject *user         # that greenlet; borrowed, compared only
    cdef dict places            # address of a greenlet: its _Place
    cdef tuple init_args
    cdef dict init_kwargs
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        if (args or kwargs) and type(self).__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported")
        self.places = {}
        self.init_args = args
        self.init_kwargs = kwargs
        # The attributes of the greenlet that makes it; Python is about to call __init__ there.
        self.join(current_greenlet())

    cdef int join(self, greenlet g) except -1:
        """A first use by `g`: give it a place."""
        cdef _Place place = _Place.__new__(_Place)
        cdef _Places all_of_it
        place.attributes = {}
        place.ident = <size_t> <PyObject *> g
        if isinstance(g, CoreGreenlet):
            if (<CoreGreenlet> g).locals is None:
                (<CoreGreenlet> g).locals = _Places.__new__(_Places)
            all_of_it = (<CoreGreenlet> g).locals
        else:
            all_of_it = g.__dict__.setdefault(_PLACES, _Places.__new__(_Places))
        self.places[place.ident] = place
        place.owner = <PyObject *> self
        all_of_it.add(place)
        return self.show(g, place.attributes)

    cdef int show(self, greenlet g, object attributes) except -1:
        PyObject_GenericSetDict(self, attributes, NULL)
        self.user = <PyObject *> g if g is not None else NULL
        return 0

    cdef int drop(self, _Place place) except -1:
        """Its greenlet has ended."""
        if <size_t> self.user == <size_t> place.ident:
            self.show(None, {})
        if self.places is not None:         # else the garbage collector is taking us apart
            self.places.pop(place.ident, None)
        return 0

    cdef int enter(self) except -1:
        """Show the attributes of the running greenlet."""
        cdef greenlet g = current_greenlet()
        cdef object found
        if <PyObject *> g == self.user:
            return 0
        found = self.places.get(<size_t> <PyObject *> g)
        if found is not None:
            return self.show(g, (<_Place> found).attributes)
        self.join(g)
        if type(self).__init__ is not object.__init__:
            found = self.places[<size_t> <PyObject *> g]
            try:
                self.__init__(*self.init_args, **self.init_kwargs)
            except BaseException:
                # As if this greenlet had never used it: the next access tries again.
                (<_Place> found).take_out()
                self.drop(found)
                raise
            self.enter()        # __init__ may have blocked, and other greenlets have used it
        return 0

    def __getattribute__(self, name):
        self.enter()
        return PyObject_GenericGetAttr(self, name)

    def __setattr__(self, name, value):
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        self.enter()
        PyObject_GenericSetAttr(self, name, value)

    def __delattr__(self, name):
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        self.enter()
        PyObject_GenericDelAttr(self, name, NULL)

    def __copy__(self):
        """For `copy.copy`: the running greenlet's attributes are copied; any other greenlet starts with `__init__`."""
        cdef greenlet g = current_greenlet()
        cdef size_t me = <size_t> <PyObject *> g
        cdef local made
        self.enter()
        made = type(self).__new__(type(self), *self.init_args, **self.init_kwargs)
        (<_Place> made.places[me]).attributes.update((<_Place> self.places[me]).attributes)
        for name in _slotnames(type(self)):
            if hasattr(self, name):
                setattr(made, name, getattr(self, name))
        return made

    def __dealloc__(self):
        # Before the attributes are freed: freeing them may run any code, and end greenlets that have a place here.
        cdef Py_ssize_t i = 0
        cdef PyObject *place
        if self.places is not None:
            while PyDict_Next(self.places, &i, NULL, &place):
                (<_Place> place).owner = NULL
                (<_Place> place).take_out()


def all_local_dicts_for_greenlet(greenlet g not None):
    """`[((type of the local, its id), its attributes for this greenlet), ...]`, of every `local` that it has used."""
    cdef _Places places
    cdef PyObject *p
    cdef object owner
    found = []
    if isinstance(g, CoreGreenlet):
        places = (<CoreGreenlet> g).locals
    else:
        places = g.__dict__.get(_PLACES)
    if places is not None:
        p = places.head
        while p != NULL:
            if (<_Place> p).owner != NULL:
                owner = <object> (<_Place> p).owner
                found.append(((type(owner), id(owner)), (<_Place> p).attributes))
            p = (<_Place> p).next
    return found
