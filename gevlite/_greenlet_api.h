/* greenlet's C API in terms of PyObject, which Cython uses. */
#ifndef GEVLITE_GREENLET_API_H
#define GEVLITE_GREENLET_API_H
#include <Python.h>
#include <greenlet/greenlet.h>

static inline int gl_import(void)
{
    PyGreenlet_Import();
    return _PyGreenlet_API == NULL ? -1 : 0;
}

/* While the interpreter is finalized, greenlet 3.5 and later do not tell the current greenlet, though all else works as
   before. A new greenlet has the current one as its parent, so we make one and look. New reference. */
static inline PyObject *gl_current_at_exit(void)
{
    PyObject *fresh, *current;
    PyErr_Clear();
    fresh = (PyObject *)PyGreenlet_New(NULL, NULL);
    if (fresh == NULL)
        return NULL;
    current = (PyObject *)PyGreenlet_GetParent((PyGreenlet *)fresh);
    Py_DECREF(fresh);
    return current;
}

/* New reference. The one place where the current greenlet is asked for: it works in finalizers, too. */
static inline PyObject *gl_current(void)
{
    PyObject *current = (PyObject *)PyGreenlet_GetCurrent();
    return current != NULL ? current : gl_current_at_exit();
}

/* New reference, or NULL without an exception for a main greenlet. */
static inline PyObject *gl_parent(PyObject *g) { return (PyObject *)PyGreenlet_GetParent((PyGreenlet *)g); }

static inline int gl_set_parent(PyObject *g, PyObject *parent)
{
    return PyGreenlet_SetParent((PyGreenlet *)g, (PyGreenlet *)parent);
}

static inline int gl_active(PyObject *g) { return PyGreenlet_ACTIVE((PyGreenlet *)g); }

static inline PyObject *gl_switch(PyObject *g, PyObject *args)
{
    return PyGreenlet_Switch((PyGreenlet *)g, args, NULL);
}

static inline PyObject *gl_throw(PyObject *g, PyObject *type, PyObject *value)
{
    return PyGreenlet_Throw((PyGreenlet *)g, type, value, NULL);
}
#endif
