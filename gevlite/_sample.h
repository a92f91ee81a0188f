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

/* Before Python 3.13 the main thread does not learn of a signal or a pending call from another thread until it has
   waited for the GIL. What it checks between two bytecodes is in the interpreter's state. (Signalling an exception
   from another thread would work, too; but if there is no exception, nothing resets that: each loop would be slower
   from then on.) */
#if PY_VERSION_HEX < 0x030D0000
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#undef _PyGC_FINALIZED /* which is a function there */
#include "internal/pycore_interp.h"

static inline void gevlite_look_there(void)
{
    _Py_atomic_store_relaxed(&PyInterpreterState_Main()->ceval.eval_breaker, 1);
}
#else
static inline void gevlite_look_there(void) {}
#endif

/* Py_AddPendingCall. */
static inline int gevlite_call_there(int (*function)(void *), void *argument)
{
    int failed = Py_AddPendingCall(function, argument);
    gevlite_look_there(); /* also if there was no room: it has stored what this thread would have to look for */
    return failed;
}

/* Have the main thread treat this signal as received. With the GIL: PyErr_SetInterruptEx compares the signal's
   handler with SIG_DFL and SIG_IGN, and if it is one of them, crashes in a thread that Python does not know. */
static inline void gevlite_interrupt(int signum)
{
    PyErr_SetInterruptEx(signum);
    gevlite_look_there();
}

static int gevlite_interrupt_here(void *signum)
{
    PyErr_SetInterruptEx((int)(intptr_t)signum);
    return 0;
}

/* The same from any thread, without the GIL. Negative: too many calls wait already. */
static inline int gevlite_interrupt_there(int signum)
{
    return gevlite_call_there(gevlite_interrupt_here, (void *)(intptr_t)signum);
}

static inline PyObject *gevlite_running_frame(void) { return (PyObject *)PyEval_GetFrame(); }
#endif
