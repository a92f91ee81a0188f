/* A greenlet whose thread the interpreter ends.

   Up to Python 3.13 the end of the interpreter ends each daemon thread by pthread_exit(), as soon as that thread
   asks for the GIL. glibc then unwinds its stack with an exception, which must not reach greenlet's C++ code:
   further below on this stack are not its callers, but parts of other greenlets. So the thread stays where it is;
   from Python 3.14 on the interpreter does the same. Needs -fexceptions. */
#ifndef GEVLITE_THREAD_EXIT_H
#define GEVLITE_THREAD_EXIT_H
#include <Python.h>
#include <unistd.h>

static inline void gevlite_stay(volatile int *unwinding)
{
    while (*unwinding)
        pause();
}

/* PyObject_Call for what a greenlet runs. */
static PyObject *gevlite_run(PyObject *function, PyObject *args, PyObject *kwargs)
{
    volatile int unwinding __attribute__((cleanup(gevlite_stay))) = 1;
    PyObject *result = PyObject_Call(function, args, kwargs);
    unwinding = 0;
    return result;
}
#endif
