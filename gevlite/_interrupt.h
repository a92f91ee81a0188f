/* For _interrupt.pxi: whether the running code may be interrupted at its present place. The interpreter's own stack
   is read, since making frame objects for a whole stack would cost more than all the rest of an interruption. */
#ifndef GEVLITE_INTERRUPT_H
#define GEVLITE_INTERRUPT_H

#include "_look.h"
#include <stdint.h>
#include <stdlib.h>
#if PY_VERSION_HEX < 0x030C0000
#include <opcode.h>
#endif

/* What a code object is, as far as an interruption is concerned. */
enum {
    GEVLITE_CODE_FREE,
    GEVLITE_CODE_STANDARD,
    GEVLITE_CODE_GUARDS, /* of the standard library, too: it takes and releases locks for its caller */
    GEVLITE_CODE_LOOP,   /* the same, and all below it relies on the state of the thread */
    GEVLITE_CODE_OURS,
    GEVLITE_CODE_NEVER
};
/* Kinds of instructions: one at which the interpreter checks for signals; and one that calls no Python code except
   code that must be complete: a signal handler, a destructor, a setter, or what a `with` statement calls. */
enum { GEVLITE_OP_LOOKS = 1, GEVLITE_OP_CALLS_NOTHING = 2 };
/* Whether it may be interrupted. */
enum { GEVLITE_MAY, GEVLITE_NOT_HERE, GEVLITE_NOT_NOW };

/* Give a code object another exception table. The interpreter reads it while it looks for a handler, with the GIL. */
static inline void gevlite_set_exception_table(PyObject *code, PyObject *table)
{
    PyObject *before = ((PyCodeObject *)code)->co_exceptiontable;
    ((PyCodeObject *)code)->co_exceptiontable = Py_NewRef(table);
    Py_DECREF(before);
}

static unsigned char gevlite_ops[256];
static Py_ssize_t gevlite_code_index = -1;

#if GEVLITE_SEES_STACKS
/* Kept with each code object that has been looked at. */
typedef struct {
    unsigned char kind;
    int units;
    unsigned char ops[]; /* two bits for each unit of the code */
} gevlite_code;

#if PY_VERSION_HEX < 0x030C0000
#define PyUnstable_Eval_RequestCodeExtraIndex _PyEval_RequestCodeExtraIndex
#define PyUnstable_Code_GetExtra _PyCode_GetExtra
#define PyUnstable_Code_SetExtra _PyCode_SetExtra
#endif

static inline int gevlite_slices_prepare(void)
{
    if (gevlite_code_index < 0)
        gevlite_code_index = PyUnstable_Eval_RequestCodeExtraIndex(free);
    return gevlite_code_index < 0 ? -1 : 0;
}

static gevlite_code *gevlite_learn_code(PyObject *code, int (*classify)(PyObject *))
{
    PyObject *bytes;
    const unsigned char *text;
    gevlite_code *made;
    int i, units, kind = classify(code);
    if (kind < 0)
        return NULL;
    bytes = PyCode_GetCode((PyCodeObject *)code); /* as it was compiled, without the interpreter's specializations */
    if (bytes == NULL)
        return NULL;
    text = (const unsigned char *)PyBytes_AS_STRING(bytes);
    units = (int)(PyBytes_GET_SIZE(bytes) / 2);
    made = calloc(1, sizeof(gevlite_code) + (size_t)(units + 3) / 4);
    if (made == NULL) {
        Py_DECREF(bytes);
        PyErr_NoMemory();
        return NULL;
    }
    made->kind = (unsigned char)kind;
    made->units = units;
    for (i = 0; i < units; i++)
        made->ops[i / 4] |= (unsigned char)(gevlite_ops[text[2 * i]] << (i % 4 * 2));
    Py_DECREF(bytes);
    if (PyUnstable_Code_SetExtra(code, gevlite_code_index, made) < 0) {
        free(made);
        return NULL;
    }
    return made;
}

/* The code of a frame; NULL for the frame that the interpreter inserts where C code has called it. */
static inline PyObject *gevlite_code_in(struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030E0000
    return frame->owner >= FRAME_OWNED_BY_INTERPRETER ? NULL
                                                      : (PyObject *)(frame->f_executable.bits & ~(uintptr_t)3);
#elif PY_VERSION_HEX >= 0x030D0000
    return frame->owner == FRAME_OWNED_BY_CSTACK ? NULL : frame->f_executable;
#elif PY_VERSION_HEX >= 0x030C0000
    return frame->owner == FRAME_OWNED_BY_CSTACK ? NULL : (PyObject *)frame->f_code;
#else
    return (PyObject *)frame->f_code;
#endif
}

/* True for the code of a frame that the interpreter itself puts below an `__init__`: a constant, with which nothing
   can be kept. Its file has the same name as its function. */
static inline int gevlite_is_static(PyObject *code)
{
    return ((PyCodeObject *)code)->co_filename == ((PyCodeObject *)code)->co_name;
}

static inline int gevlite_unit_in(struct _PyInterpreterFrame *frame, PyObject *code)
{
#if PY_VERSION_HEX >= 0x030D0000
    /* The macro for it is in an internal header from Python 3.14 on. */
    return (int)(frame->instr_ptr - (_Py_CODEUNIT *)((PyCodeObject *)code)->co_code_adaptive);
#else
    return (int)(frame->prev_instr - _PyCode_CODE((PyCodeObject *)code));
#endif
}

/* True for the one instruction into which Python 3.11 joins a comparison and the jump back that follows it. */
static inline int gevlite_jumps(PyObject *code, int unit)
{
#if PY_VERSION_HEX < 0x030C0000
    int op = _Py_OPCODE(_PyCode_CODE((PyCodeObject *)code)[unit]);
    return op == COMPARE_OP_FLOAT_JUMP || op == COMPARE_OP_INT_JUMP || op == COMPARE_OP_STR_JUMP;
#else
    (void)code;
    (void)unit;
    return 0;
#endif
}

/* True if C code has called it. */
static inline int gevlite_from_c(struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030C0000
    return frame->previous == NULL || gevlite_code_in(frame->previous) == NULL;
#else
    return frame->is_entry;
#endif
}

static inline PyObject *gevlite_local(struct _PyInterpreterFrame *frame, int i)
{
#if PY_VERSION_HEX >= 0x030E0000
    uintptr_t bits = (uintptr_t)frame->localsplus[i].bits;
    PyObject *found = (bits & 3) == 3 ? NULL : (PyObject *)(bits & ~(uintptr_t)3);
#else
    PyObject *found = frame->localsplus[i];
#endif
    return found != NULL && PyCell_Check(found) ? PyCell_GET(found) : found;
}

/* Arguments of the callback of a weak reference, which is dead by then; of a signal handler and of
   sys.unraisablehook. */
static inline int gevlite_telling(PyObject *object)
{
    if (object == NULL)
        return 0;
    if (PyFrame_Check(object) || strcmp(Py_TYPE(object)->tp_name, "UnraisableHookArgs") == 0)
        return 1;
    return PyWeakref_CheckRef(object) && ((PyWeakReference *)object)->wr_object == Py_None;
}

#define GEVLITE_ARGUMENTS 8 /* how many are looked at */

/* True if the arguments of a function that C code has called say that the interpreter has called it, in the middle
   of something else. */
static inline int gevlite_called_aside(struct _PyInterpreterFrame *frame, PyCodeObject *code)
{
    Py_ssize_t i, given = code->co_argcount < GEVLITE_ARGUMENTS ? code->co_argcount : GEVLITE_ARGUMENTS;
    for (i = 0; i < given; i++)
        if (gevlite_telling(gevlite_local(frame, (int)i)))
            return 1;
    if (given < GEVLITE_ARGUMENTS && code->co_flags & CO_VARARGS) {
        PyObject *rest = gevlite_local(frame, code->co_argcount + code->co_kwonlyargcount);
        if (rest == NULL || !PyTuple_CheckExact(rest))
            return 0;
        for (i = 0; i < PyTuple_GET_SIZE(rest) && i < GEVLITE_ARGUMENTS; i++)
            if (gevlite_telling(PyTuple_GET_ITEM(rest, i)))
                return 1;
    }
    return 0;
}

/* standard: whether the standard library's code may be interrupted. Negative: an exception. For NOT_HERE, `place` is
   set. */
static int gevlite_may_interrupt(PyThreadState *state, int standard, int (*classify)(PyObject *), uint64_t *place)
{
#if PY_VERSION_HEX >= 0x030D0000
    struct _PyInterpreterFrame *frame = state->current_frame;
#else
    struct _PyInterpreterFrame *frame = state->cframe->current_frame;
#endif
    int first = 1, from_c = 0, whose = GEVLITE_CODE_STANDARD;
    if (state->tracing)
        return GEVLITE_NOT_NOW;
    for (; frame != NULL; frame = frame->previous) {
        PyObject *code = gevlite_code_in(frame);
        void *extra = NULL;
        gevlite_code *known;
        int unit, op;
        if (code == NULL || gevlite_is_static(code))
            continue;
        if (PyUnstable_Code_GetExtra(code, gevlite_code_index, &extra) < 0)
            return -1;
        known = extra;
        if (known == NULL && (known = gevlite_learn_code(code, classify)) == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_RecursionError))
                return -1;
            PyErr_Clear(); /* there is no room for it now; at the next call there will be */
            return GEVLITE_NOT_NOW;
        }
        unit = gevlite_unit_in(frame, code);
        op = unit >= 0 && unit < known->units ? known->ops[unit / 4] >> (unit % 4 * 2) & 3 : 0;
        if (first && !(op & GEVLITE_OP_LOOKS) && !gevlite_jumps(code, unit)) {
            *place = (uint64_t)(uintptr_t)frame * 31 + (uint64_t)unit;
            return GEVLITE_NOT_HERE;
        }
        if (known->kind == GEVLITE_CODE_NEVER || (known->kind == GEVLITE_CODE_LOOP && !standard)
            || (from_c && op & GEVLITE_OP_CALLS_NOTHING))
            return GEVLITE_NOT_NOW;
        if (whose == GEVLITE_CODE_STANDARD) {
            whose = known->kind == GEVLITE_CODE_LOOP ? GEVLITE_CODE_STANDARD : known->kind;
            if (whose == GEVLITE_CODE_OURS || whose == GEVLITE_CODE_GUARDS
                || (whose == GEVLITE_CODE_STANDARD && !standard))
                return GEVLITE_NOT_NOW;
        }
        from_c = gevlite_from_c(frame);
        if (from_c && gevlite_called_aside(frame, (PyCodeObject *)code))
            return GEVLITE_NOT_NOW;
        first = 0;
    }
    return first ? GEVLITE_NOT_HERE : GEVLITE_MAY; /* a greenlet may run nothing but the standard library's code */
}
#else
static inline int gevlite_slices_prepare(void) { return -1; }
static int gevlite_may_interrupt(PyThreadState *state, int standard, int (*classify)(PyObject *), uint64_t *place)
{
    (void)state;
    (void)standard;
    (void)classify;
    (void)place;
    return GEVLITE_NOT_NOW;
}
#endif

#endif
