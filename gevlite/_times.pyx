"""What `time.time()`, `time.monotonic()`, `datetime.now()` and their kin return in a thread with a virtual clock.

Most code holds these functions themselves (`from time import monotonic`), the standard library too. So what is replaced
is not the names, but the implementation of the functions: each is described by a PyMethodDef, to which all references
lead (see `_method_swap.h`). In threads without a virtual clock, and in other interpreters, they do what they always
did.
"""

from cpython.object cimport PyObject

from gevlite._core cimport shown_ns, time_stands, wall_ns

import datetime
import time

__all__ = ["begin", "end"]

cdef extern from *:
    """
    static PyMethodDef *gevlite_def_of(PyObject *function)
    {
        if (PyCFunction_Check(function))
            return ((PyCFunctionObject *)function)->m_ml;
        if (Py_IS_TYPE(function, &PyClassMethodDescr_Type))
            return ((PyMethodDescrObject *)function)->d_method;
        return NULL;
    }
    static void gevlite_set_function(PyMethodDef *def, PyCFunction function)
    {
        __atomic_store_n(&def->ml_meth, function, __ATOMIC_RELEASE);    /* another interpreter may be about to call it */
    }
    """
    ctypedef object (*PyCFunction)(object, PyObject *)
    ctypedef struct PyMethodDef:
        PyCFunction ml_meth
        int ml_flags
    int METH_VARARGS, METH_NOARGS, METH_FASTCALL, METH_KEYWORDS, METH_CLASS
    PyMethodDef *gevlite_def_of(object function)
    void gevlite_set_function(PyMethodDef *definition, PyCFunction function)

ctypedef object (*FastFunction)(object, PyObject *const *, Py_ssize_t, PyObject *)

# The functions, by their places in `kept`.
cdef enum:
    TIME
    TIME_NS
    MONOTONIC
    MONOTONIC_NS
    LOCALTIME
    GMTIME
    CTIME
    ASCTIME
    STRFTIME
    NOW
    UTCNOW
    TODAY
    PLACES

cdef struct Kept:
    PyMethodDef *definition     # NULL: this Python does not have it, or calls it in another way
    PyCFunction was

cdef Kept[PLACES] kept
cdef int clocks = 0             # how many threads have a virtual clock


cdef double wall() noexcept:
    return wall_ns() / 1e9


cdef object its_time(object module, PyObject *ignored):
    return wall() if time_stands() else kept[TIME].was(module, ignored)


cdef object its_time_ns(object module, PyObject *ignored):
    return wall_ns() if time_stands() else kept[TIME_NS].was(module, ignored)


cdef object its_monotonic(object module, PyObject *ignored):
    return shown_ns() / 1e9 if time_stands() else kept[MONOTONIC].was(module, ignored)


cdef object its_monotonic_ns(object module, PyObject *ignored):
    return shown_ns() if time_stands() else kept[MONOTONIC_NS].was(module, ignored)


cdef object with_time(int place, object module, PyObject *args):
    """Call a function that takes seconds, or for None the present time."""
    cdef tuple given = <tuple> <object> args
    if time_stands() and (not given or len(given) == 1 and given[0] is None):
        given = (wall(),)
    return kept[place].was(module, <PyObject *> given)


cdef object its_localtime(object module, PyObject *args):
    return with_time(LOCALTIME, module, args)


cdef object its_gmtime(object module, PyObject *args):
    return with_time(GMTIME, module, args)


cdef object its_ctime(object module, PyObject *args):
    return with_time(CTIME, module, args)


cdef object its_asctime(object module, PyObject *args):
    cdef tuple given = <tuple> <object> args
    if time_stands() and not given:
        given = (time.localtime(wall()),)
    return kept[ASCTIME].was(module, <PyObject *> given)


cdef object its_strftime(object module, PyObject *args):
    cdef tuple given = <tuple> <object> args
    if time_stands() and len(given) == 1:
        given = (given[0], time.localtime(wall()))
    return kept[STRFTIME].was(module, <PyObject *> given)


cdef object its_now(object cls, PyObject *const *args, Py_ssize_t n, PyObject *names):
    cdef object tz = None
    cdef Py_ssize_t named = len(<tuple> <object> names) if names != NULL else 0
    if not time_stands() or n + named > 1 or named and (<tuple> <object> names)[0] != "tz":
        return (<FastFunction> <void *> kept[NOW].was)(cls, args, n, names)
    if n + named:
        tz = <object> args[0]
    return cls.fromtimestamp(wall(), tz)


cdef object its_utcnow(object cls, PyObject *ignored):
    if not time_stands():
        return kept[UTCNOW].was(cls, ignored)
    return cls.fromtimestamp(wall(), datetime.UTC).replace(tzinfo=None)


cdef object its_today(object cls, PyObject *ignored):
    return cls.fromtimestamp(wall()) if time_stands() else kept[TODAY].was(cls, ignored)


cdef int exchange(int place, object owner, str name, int flags, void *function) except -1:
    cdef PyMethodDef *definition = gevlite_def_of(vars(owner).get(name))
    kept[place].definition = NULL
    if definition != NULL and definition.ml_flags == flags:
        kept[place].definition = definition
        kept[place].was = definition.ml_meth
        gevlite_set_function(definition, <PyCFunction> function)
    return 0


def begin():
    """From now on the functions check whether their thread has a virtual clock. For each `begin()` call `end()`."""
    global clocks
    clocks += 1
    if clocks > 1:
        return
    exchange(TIME, time, "time", METH_NOARGS, <void *> its_time)
    exchange(TIME_NS, time, "time_ns", METH_NOARGS, <void *> its_time_ns)
    exchange(MONOTONIC, time, "monotonic", METH_NOARGS, <void *> its_monotonic)
    exchange(MONOTONIC_NS, time, "monotonic_ns", METH_NOARGS, <void *> its_monotonic_ns)
    exchange(LOCALTIME, time, "localtime", METH_VARARGS, <void *> its_localtime)
    exchange(GMTIME, time, "gmtime", METH_VARARGS, <void *> its_gmtime)
    exchange(CTIME, time, "ctime", METH_VARARGS, <void *> its_ctime)
    exchange(ASCTIME, time, "asctime", METH_VARARGS, <void *> its_asctime)
    exchange(STRFTIME, time, "strftime", METH_VARARGS, <void *> its_strftime)
    exchange(NOW, datetime.datetime, "now", METH_FASTCALL | METH_KEYWORDS | METH_CLASS, <void *> its_now)
    exchange(TODAY, datetime.date, "today", METH_NOARGS | METH_CLASS, <void *> its_today)
    exchange(UTCNOW, datetime.datetime, "utcnow", METH_NOARGS | METH_CLASS, <void *> its_utcnow)


def end():
    """Take back one `begin()`. After the last one the functions are as they were."""
    global clocks
    cdef int place
    clocks -= 1
    if clocks:
        return
    for place in range(PLACES):
        if kept[place].definition != NULL:
            gevlite_set_function(kept[place].definition, kept[place].was)
