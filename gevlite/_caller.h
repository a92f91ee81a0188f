/* Where Python code is, remembered cheaply: for `Timeout.where` and `Greenlet.spawning_stack`. */
#ifndef GEVLITE_CALLER_H
#define GEVLITE_CALLER_H

#include <Python.h>

/* Our caller: a code object (a new reference) and the place in it. No frame object is made, which would cost more
 * than all the rest of a Timeout or a spawn; Python 3.11 has no other way. NULL if no Python code runs. */
#if PY_VERSION_HEX >= 0x030C0000
static inline PyObject *gevlite_caller(int *instruction)
{
    PyThreadState *state = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030D0000
    struct _PyInterpreterFrame *frame = state->current_frame;
#else
    struct _PyInterpreterFrame *frame = state->cframe->current_frame;
#endif
    PyObject *code = frame != NULL ? PyUnstable_InterpreterFrame_GetCode(frame) : NULL;
    /* The lowest frame of a thread or greenlet has something else there. */
    *instruction = code != NULL && PyCode_Check(code) ? PyUnstable_InterpreterFrame_GetLasti(frame) : -1;
    return code;
}
#else
static inline PyObject *gevlite_caller(int *instruction)
{
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    PyObject *code;
    *instruction = -1;
    if (frame == NULL)
        return NULL;
    code = (PyObject *)PyFrame_GetCode(frame);
    *instruction = PyFrame_GetLasti(frame);
    Py_DECREF(frame);
    return code;
}
#endif

static inline int gevlite_line(PyObject *code, int instruction)
{
    return PyCode_Addr2Line((PyCodeObject *)code, instruction);
}

/* What a greenlet ran, without the objects that it refers to: the code object of a function or method (a new
 * reference), which is all that a repr needs. NULL, without an exception, for anything else. */
static inline PyObject *gevlite_code_of(PyObject *function)
{
    if (PyMethod_Check(function))
        function = PyMethod_GET_FUNCTION(function);
    return PyFunction_Check(function) ? Py_NewRef(PyFunction_GET_CODE(function)) : NULL;
}

/* True for a function made by `async def`, and for such a method: calling it runs nothing. */
static inline int gevlite_is_async(PyObject *function)
{
    if (PyMethod_Check(function))
        function = PyMethod_GET_FUNCTION(function);
    return PyFunction_Check(function) &&
        (((PyCodeObject *)PyFunction_GET_CODE(function))->co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0;
}

#endif
