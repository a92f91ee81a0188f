/* For _sample.pxi. */
#ifndef GEVLITE_SAMPLE_H
#define GEVLITE_SAMPLE_H
#include <Python.h>
#include <stdint.h>
#include <time.h>

static inline void gevlite_pause(int64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    nanosleep(&t, NULL);
}

/* Py_AddPendingCall. Before Python 3.13 the main thread is not told of such a call, or of a signal, if another thread has made
   it, and looks for it only once it has waited for the GIL. To be told of an exception from another thread makes it look for everything, and
   does nothing if there is none. */
#if PY_VERSION_HEX < 0x030D0000
extern void _PyEval_SignalAsyncExc(PyInterpreterState *) __attribute__((weak));
#endif

static inline void gevlite_look_there(void)
{
#if PY_VERSION_HEX < 0x030D0000
    if (_PyEval_SignalAsyncExc != NULL)
        _PyEval_SignalAsyncExc(PyInterpreterState_Main());
#endif
}

static inline int gevlite_call_there(int (*function)(void *), void *argument)
{
    if (Py_AddPendingCall(function, argument) < 0)
        return -1;
    gevlite_look_there();
    return 0;
}

/* PyErr_SetInterruptEx: the main thread is to take this signal for come. Any thread, without the GIL. */
static inline void gevlite_interrupt(int signum)
{
    PyErr_SetInterruptEx(signum);
    gevlite_look_there();
}

static inline PyObject *gevlite_running_frame(void) { return (PyObject *)PyEval_GetFrame(); }
#endif
