/* Exchanges the implementation of a method of a built-in type for all of its objects at once.

   A method of a type written in C is described by a PyMethodDef. The type's descriptor and every bound method that is
   kept anywhere point to that one structure and look the function up there at each call. So from then on all existing
   objects use a function that is put into it, wherever they are held. Nothing else reaches objects that are in tuples,
   frames or C code.

   The functions here receive such calls in any of the calling conventions and pass them on to a Python callable. C has
   no closures: there is one set of functions for each place in the table. */

#include <Python.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030D0000
#define Py_IsFinalizing _Py_IsFinalizing
#endif

#define GV_PLACES 40
#define GV_EACH_PLACE(X) \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) \
    X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32) X(33) X(34) X(35) X(36) X(37) \
    X(38) X(39)

typedef struct {
    PyMethodDef *def;
    PyMethodDef was;            /* a copy, with the original function */
    PyTypeObject *owner;
    PyObject *instead;
} gv_place;

static gv_place gv_places[GV_PLACES];
static int gv_used;
static PyInterpreterState *gv_home;

/* Other interpreters of this process share the structures, but not our objects, and may run at the same time as we do:
   they look at nothing but this. */
#define GV_ELSEWHERE (PyInterpreterState_Get() != gv_home)
/* Functions written in Python are useless once the interpreter has emptied their modules at its end. Then the
   original may block: nothing else runs that it could stop. */
/* A module that is imported again makes new types from the same structures: their objects are left as they are. */
#define GV_ORIGINAL(n) \
    (GV_ELSEWHERE || !PyObject_TypeCheck(self, gv_places[n].owner) \
     || (Py_IsFinalizing() && PyFunction_Check(gv_places[n].instead)))
#define GV_WAS(n, type) ((type)(void (*)(void))gv_places[n].was.ml_meth)

static PyObject *gv_call(int n, PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *few[8];
    PyObject **all = few;
    PyObject *result;
    Py_ssize_t total = 1 + nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
    if (total > 8) {
        all = PyMem_New(PyObject *, total);
        if (all == NULL)
            return PyErr_NoMemory();
    }
    all[0] = self;
    if (total > 1)
        memcpy(all + 1, args, (total - 1) * sizeof(PyObject *));
    result = PyObject_Vectorcall(gv_places[n].instead, all, 1 + nargs, kwnames);
    if (all != few)
        PyMem_Free(all);
    return result;
}

static PyObject *gv_call_with_dict(int n, PyObject *self, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t i, nargs = PyTuple_GET_SIZE(args);
    PyObject *all, *result;
    if (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0)
        return gv_call(n, self, &PyTuple_GET_ITEM(args, 0), nargs, NULL);
    all = PyTuple_New(nargs + 1);
    if (all == NULL)
        return NULL;
    PyTuple_SET_ITEM(all, 0, Py_NewRef(self));
    for (i = 0; i < nargs; i++)
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    result = PyObject_Call(gv_places[n].instead, all, kwargs);
    Py_DECREF(all);
    return result;
}

typedef PyObject *(*gv_fast)(PyObject *, PyObject *const *, Py_ssize_t);
typedef PyObject *(*gv_fast_keywords)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

#define GV_DEFINE(n) \
    static PyObject *gv_plain_##n(PyObject *self, PyObject *args) \
    { \
        if (GV_ORIGINAL(n)) \
            return gv_places[n].was.ml_meth(self, args); \
        return gv_call(n, self, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args), NULL); \
    } \
    static PyObject *gv_keywords_##n(PyObject *self, PyObject *args, PyObject *kwargs) \
    { \
        if (GV_ORIGINAL(n)) \
            return GV_WAS(n, PyCFunctionWithKeywords)(self, args, kwargs); \
        return gv_call_with_dict(n, self, args, kwargs); \
    } \
    static PyObject *gv_none_##n(PyObject *self, PyObject *ignored) \
    { \
        if (GV_ORIGINAL(n)) \
            return gv_places[n].was.ml_meth(self, ignored); \
        return gv_call(n, self, NULL, 0, NULL); \
    } \
    static PyObject *gv_one_##n(PyObject *self, PyObject *arg) \
    { \
        if (GV_ORIGINAL(n)) \
            return gv_places[n].was.ml_meth(self, arg); \
        return gv_call(n, self, &arg, 1, NULL); \
    } \
    static PyObject *gv_fast_##n(PyObject *self, PyObject *const *args, Py_ssize_t nargs) \
    { \
        if (GV_ORIGINAL(n)) \
            return GV_WAS(n, gv_fast)(self, args, nargs); \
        return gv_call(n, self, args, nargs, NULL); \
    } \
    static PyObject *gv_fast_keywords_##n(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) \
    { \
        if (GV_ORIGINAL(n)) \
            return GV_WAS(n, gv_fast_keywords)(self, args, nargs, kwnames); \
        return gv_call(n, self, args, nargs, kwnames); \
    } \
    static PyObject *gv_class_##n( \
        PyObject *self, PyTypeObject *cls, PyObject *const *args, size_t nargs, PyObject *kwnames) \
    { \
        if (GV_ORIGINAL(n)) \
            return GV_WAS(n, PyCMethod)(self, cls, args, nargs, kwnames); \
        return gv_call(n, self, args, (Py_ssize_t)nargs, kwnames); \
    }
GV_EACH_PLACE(GV_DEFINE)

#define GV_AS_FUNCTION(name) ((PyCFunction)(void (*)(void))(name))
#define GV_ROW(n) { \
    GV_AS_FUNCTION(gv_plain_##n), GV_AS_FUNCTION(gv_keywords_##n), GV_AS_FUNCTION(gv_none_##n), \
    GV_AS_FUNCTION(gv_one_##n), GV_AS_FUNCTION(gv_fast_##n), GV_AS_FUNCTION(gv_fast_keywords_##n), \
    GV_AS_FUNCTION(gv_class_##n)},
static const PyCFunction gv_functions[GV_PLACES][7] = {GV_EACH_PLACE(GV_ROW)};

static int gv_convention(int flags)
{
    switch (flags & (METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL | METH_METHOD)) {
    case METH_VARARGS:
        return 0;
    case METH_VARARGS | METH_KEYWORDS:
        return 1;
    case METH_NOARGS:
        return 2;
    case METH_O:
        return 3;
    case METH_FASTCALL:
        return 4;
    case METH_FASTCALL | METH_KEYWORDS:
        return 5;
    case METH_METHOD | METH_FASTCALL | METH_KEYWORDS:
        return 6;
    }
    return -1;
}

/* Another interpreter may be about to call it. */
static void gv_set_function(PyMethodDef *def, PyCFunction function)
{
    __atomic_store_n(&def->ml_meth, function, __ATOMIC_RELEASE);
}

/* Puts every function back. */
static void gv_unswap_all(void)
{
    for (int n = 0; n < gv_used; n++)
        gv_set_function(gv_places[n].def, gv_places[n].was.ml_meth);
}

/* A program may start Python again in the same process, which then finds the structures as they were left. */
static void gv_at_exit(void)
{
    gv_unswap_all();
    for (int n = 0; n < gv_used; n++)
        gv_places[n].instead = NULL, gv_places[n].owner = NULL;     /* gone with their interpreter */
    gv_home = NULL;
}

static int gv_find(PyMethodDef *def)
{
    int n = 0;
    while (n < gv_used && gv_places[n].def != def)
        n++;
    return n;
}

/* Why `gv_swap_method` cannot be called for it; NULL if it can. */
static const char *gv_obstacle(PyObject *descriptor)
{
    PyMethodDef *def;
    if (!Py_IS_TYPE(descriptor, &PyMethodDescr_Type))
        return "is not a method of a built-in type";
    def = ((PyMethodDescrObject *)descriptor)->d_method;
    if (gv_convention(def->ml_flags) < 0)
        return "is called in an unknown way";
    if (gv_find(def) == GV_PLACES)
        return "finds no place: GV_PLACES in _method_swap.h is too small";
    if (gv_home == NULL && Py_AtExit(gv_at_exit) < 0)
        return "could not be put back at the end of the process";
    gv_home = PyInterpreterState_Get();
    return NULL;
}

/* Has `instead(self, ...)` called wherever the method `descriptor` of `owner` is. Returns the original, as a new
   descriptor that is not affected. */
static PyObject *gv_swap_method(PyObject *owner, PyObject *descriptor, PyObject *instead)
{
    PyMethodDef *def = ((PyMethodDescrObject *)descriptor)->d_method;
    int n = gv_find(def);
    PyObject *original;
    if (n == GV_PLACES) {
        PyErr_SetString(PyExc_SystemError, "GV_PLACES in _method_swap.h is too small");
        return NULL;
    }
    if (n == gv_used) {
        gv_places[n].def = def;
        gv_places[n].was = *def;
    }
    original = PyDescr_NewMethod((PyTypeObject *)owner, &gv_places[n].was);
    if (original == NULL)
        return NULL;
    if (n == gv_used)
        gv_used++;
    Py_XSETREF(gv_places[n].owner, (PyTypeObject *)Py_NewRef(owner));
    Py_XSETREF(gv_places[n].instead, Py_NewRef(instead));
    gv_set_function(def, gv_functions[n][gv_convention(def->ml_flags)]);
    return original;
}

/* ---- the attributes of threading.local */

typedef PyObject *(*gv_getattro)(PyObject *, PyObject *);
typedef int (*gv_setattro)(PyObject *, PyObject *, PyObject *);

static int gv_set_wrapped(PyTypeObject *type, const char *name, void *function)
{
    PyObject *namespace = type->tp_dict != NULL ? Py_NewRef(type->tp_dict) : PyObject_GetAttrString((PyObject *)type, "__dict__");
    PyObject *wrapper;
    if (namespace == NULL)
        return -1;
    wrapper = PyMapping_GetItemString(namespace, name);
    Py_DECREF(namespace);
    if (wrapper == NULL)
        return -1;
    if (!Py_IS_TYPE(wrapper, &PyWrapperDescr_Type)) {
        PyErr_Format(PyExc_TypeError, "%R is not a slot of a built-in type", wrapper);
        Py_DECREF(wrapper);
        return -1;
    }
    ((PyWrapperDescrObject *)wrapper)->d_wrapped = function;
    Py_DECREF(wrapper);
    return 0;
}

/* In `type`, and in the descriptors by which classes derived from it call its slots. */
static int gv_set_attribute_slots(PyTypeObject *type, gv_getattro get, gv_setattro set)
{
    type->tp_getattro = get;
    type->tp_setattro = set;
    PyType_Modified(type);
    if (gv_set_wrapped(type, "__getattribute__", (void *)get) < 0 || gv_set_wrapped(type, "__setattr__", (void *)set) < 0)
        return -1;
    return gv_set_wrapped(type, "__delattr__", (void *)set);
}

/* In a class derived from it, which has copied the slots that it does not override. */
static void gv_inherit_attribute_slots(
    PyTypeObject *type, gv_getattro old_get, gv_getattro get, gv_setattro old_set, gv_setattro set)
{
    if (type->tp_getattro == old_get)
        type->tp_getattro = get;
    if (type->tp_setattro == old_set)
        type->tp_setattro = set;
    PyType_Modified(type);
}
