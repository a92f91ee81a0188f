"""Attributes that every greenlet has for itself, as `threading.local` gives them to every thread.

A `local` owns one dict of attributes for each greenlet that has used it. The greenlet, for its part, holds a mark for each
`local`; when the greenlet ends, its marks die, and each takes the greenlet's dict out of its `local`. So neither keeps the
other alive, and values that refer back to the `local` are an ordinary cycle that the garbage collector finds.

The object's `__dict__` is set to that of the running greenlet before each access; then the access is an ordinary one. So
properties, slots, class attributes and whatever else a subclass defines work by themselves. The pointer cannot go
stale in between: the lookup of a plain attribute runs no Python code, and a descriptor that does comes before it.
"""

from cpython.object cimport PyObject, PyObject_GenericGetAttr, PyObject_GenericSetAttr
from cpython.weakref cimport PyWeakref_NewRef

from gevlite._core cimport CoreGreenlet, current_greenlet, greenlet

from copyreg import _slotnames

__all__ = ["local"]

cdef extern from "Python.h":
    int PyObject_GenericDelAttr "PyObject_GenericSetAttr"(object o, object name, PyObject *null) except -1
    int PyObject_GenericSetDict(object o, object value, void *context) except -1

# A greenlet that gevlite did not make keeps its marks in its own __dict__ under this name.
_MARKS = "_gevlite_local_marks"


cdef class _Mark:
    """Held by a greenlet that has attributes in a `local`; takes them out when it dies."""

    cdef object owner           # weak reference to the local
    cdef object ident           # address of the greenlet, the key of its dict

    def __del__(self):
        cdef object owner = self.owner()
        if owner is not None:
            (<local> owner).drop(self.ident)


cdef class local:
    """Attributes of its own for each greenlet, gone as soon as the greenlet has ended.

    A subclass may define `__init__`: it is called with the original arguments once in each greenlet that uses the object.
    """

    cdef dict __dict__          # the attributes of the greenlet that used it last
    cdef PyObject *user         # that greenlet; borrowed, compared only
    cdef dict dicts             # address of a greenlet: its attributes
    cdef tuple init_args
    cdef dict init_kwargs
    cdef object __weakref__

    def __cinit__(self, *args, **kwargs):
        if (args or kwargs) and type(self).__init__ is object.__init__:
            raise TypeError("Initialization arguments are not supported")
        self.dicts = {}
        self.init_args = args
        self.init_kwargs = kwargs
        # The maker's attributes; its __init__ is about to be called by Python.
        self.join(current_greenlet())

    cdef int join(self, greenlet g) except -1:
        """A first use by `g`: give it a dict."""
        cdef _Mark mark = _Mark.__new__(_Mark)
        mark.owner = PyWeakref_NewRef(self, None)
        mark.ident = <size_t> <PyObject *> g
        if isinstance(g, CoreGreenlet):
            if (<CoreGreenlet> g).locals is None:
                (<CoreGreenlet> g).locals = [mark]
            else:
                (<CoreGreenlet> g).locals.append(mark)
        else:
            g.__dict__.setdefault(_MARKS, []).append(mark)
        attributes = {}
        self.dicts[mark.ident] = attributes
        return self.show(g, attributes)

    cdef int show(self, greenlet g, object attributes) except -1:
        PyObject_GenericSetDict(self, attributes, NULL)
        self.user = <PyObject *> g if g is not None else NULL
        return 0

    cdef int drop(self, object ident) except -1:
        """A greenlet has ended."""
        if <size_t> self.user == <size_t> ident:
            self.show(None, {})
        self.dicts.pop(ident, None)
        return 0

    cdef int enter(self) except -1:
        """Show the attributes of the running greenlet."""
        cdef greenlet g = current_greenlet()
        cdef object found
        if <PyObject *> g == self.user:
            return 0
        found = self.dicts.get(<size_t> <PyObject *> g)
        if found is not None:
            return self.show(g, found)
        self.join(g)
        if type(self).__init__ is not object.__init__:
            try:
                self.__init__(*self.init_args, **self.init_kwargs)
            except BaseException:
                # As if this greenlet had never been here: the next access tries again.
                self.drop(<size_t> <PyObject *> g)
                raise
            self.enter()        # __init__ may have blocked, and others have used it
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
        made.dicts[me].update(self.dicts[me])
        for name in _slotnames(type(self)):
            if hasattr(self, name):
                setattr(made, name, getattr(self, name))
        return made
