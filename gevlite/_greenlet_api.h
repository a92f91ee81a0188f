/* greenlet's C API in terms of PyObject, which is what Cython deals in. */
#ifndef GEVLITE_GREENLET_API_H
#define GEVLITE_GREENLET_API_H
#include <Python.h>
#include <greenlet/greenlet.h>

static inline int gl_import(void)
{
    PyGreenlet_Import();
    return _PyGreenlet_API == NULL ? -1 : 0;
}

/* New reference. */
static inline PyObject *gl_current(void) { return (PyObject *)PyGreenlet_GetCurrent(); }

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
