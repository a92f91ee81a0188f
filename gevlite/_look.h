/* What a report needs to see from outside, for _look.pxi: what a suspended frame has on its stack, and what a file
   descriptor is. Nothing here changes anything. */
#ifndef GEVLITE_LOOK_H
#define GEVLITE_LOOK_H

#include <Python.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---------------------------------------------------------------- the stack of a frame
 *
 * In a `with` block the frame's stack holds the bound `__exit__` of the object that is held, or that object. The table
 * by which the interpreter finds its exception handlers tells how deep the stack is at least in each part of a
 * function: see InternalDocs/exception_handling.md of CPython. What lies above that depth is not looked at. */
#if PY_VERSION_HEX < 0x03100000 && !defined(Py_GIL_DISABLED)
#define GEVLITE_SEES_STACKS 1
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include "internal/pycore_frame.h"
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe_structs.h"
#endif

static inline int gevlite_varint(const unsigned char **p, const unsigned char *end)
{
    int value = 0, byte;
    do {
        if (*p >= end)
            return -1;
        byte = *(*p)++;
        value = value << 6 | (byte & 63);
    } while (byte & 64);
    return value;
}

/* How many objects the stack of a function holds for certain at the instruction `lasti`. */
static inline int gevlite_depth(PyCodeObject *code, int lasti)
{
    const unsigned char *p = (const unsigned char *)PyBytes_AS_STRING(code->co_exceptiontable);
    const unsigned char *end = p + PyBytes_GET_SIZE(code->co_exceptiontable);
    int at = lasti / (int)sizeof(_Py_CODEUNIT);
    while (p < end) {
        int start = gevlite_varint(&p, end), length = gevlite_varint(&p, end);
        int target = gevlite_varint(&p, end), depth = gevlite_varint(&p, end);
        if (start < 0 || length < 0 || target < 0 || depth < 0 || at < start)
            return 0;
        if (at < start + length)
            return depth >> 1;
    }
    return 0;
}

/* Fills `found` with the objects there, at most `room`, borrowed; returns how many. */
static inline int gevlite_on_stack(PyFrameObject *frame, PyCodeObject *code, int lasti, PyObject **found, int room)
{
    struct _PyInterpreterFrame *inside = frame->f_frame;
    int i, n = 0, depth = lasti < 0 ? 0 : gevlite_depth(code, lasti);
    if (depth > code->co_stacksize)
        return 0;
    for (i = 0; i < depth && n < room; i++) {
#if PY_VERSION_HEX >= 0x030E0000
        uintptr_t bits = (uintptr_t)inside->localsplus[code->co_nlocalsplus + i].bits;
        PyObject *object = (bits & 3) == 3 ? NULL : (PyObject *)(bits & ~(uintptr_t)3);
#else
        PyObject *object = inside->localsplus[code->co_nlocalsplus + i];
#endif
        if (object == NULL)
            continue;
        if (PyMethod_Check(object))
            object = PyMethod_GET_SELF(object);
        else if (PyCFunction_Check(object))
            object = PyCFunction_GET_SELF(object);
        if (object != NULL)
            found[n++] = object;
    }
    return n;
}
#else
#define GEVLITE_SEES_STACKS 0
static inline int gevlite_on_stack(PyFrameObject *frame, PyCodeObject *code, int lasti, PyObject **found, int room)
{
    return 0;
}
#endif

/* ---------------------------------------------------------------- types */

static inline const char *gevlite_type_name(PyObject *object)
{
    const char *name = Py_TYPE(object)->tp_name, *dot = strrchr(name, '.');
    return dot != NULL ? dot + 1 : name;
}

static inline PyObject *gevlite_mro(PyObject *object) { return Py_TYPE(object)->tp_mro; }

/* ---------------------------------------------------------------- descriptors */

enum { GEVLITE_FD_OTHER, GEVLITE_FD_PEER, GEVLITE_FD_LISTENS, GEVLITE_FD_LOCAL, GEVLITE_FD_UNCONNECTED };

static inline void gevlite_address(struct sockaddr *address, socklen_t size, char *text, size_t room)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, room, "%s:%d", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(text, room, "[%s]:%d", host, ntohs(in6->sin6_port));
    } else if (address->sa_family == AF_UNIX) {
        struct sockaddr_un *un = (struct sockaddr_un *)address;
        size_t length = size > offsetof(struct sockaddr_un, sun_path) ? size - offsetof(struct sockaddr_un, sun_path) : 0;
        if (length == 0 || un->sun_path[0] == 0)
            snprintf(text, room, "a UNIX socket");
        else
            snprintf(text, room, "%.*s", (int)length, un->sun_path);
    } else {
        snprintf(text, room, "a socket");
    }
}

/* What `fd` is; for a socket, `text` gets the address that says most. */
static inline int gevlite_fd_kind(int fd, char *text, size_t room)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    struct stat status;
    int value = 0;
    socklen_t length = sizeof(value);
    if (getpeername(fd, (struct sockaddr *)&address, &size) == 0) {
        if (address.ss_family == AF_UNIX && size <= offsetof(struct sockaddr_un, sun_path)) {
            /* The connecting end has no name; ours may have one. */
            size = sizeof(address);
            if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
                size = 0;
        }
        gevlite_address((struct sockaddr *)&address, size, text, room);
        return GEVLITE_FD_PEER;
    }
    size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0) {
        gevlite_address((struct sockaddr *)&address, size, text, room);
#ifdef SO_ACCEPTCONN
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value)
            return GEVLITE_FD_LISTENS;
#endif
        length = sizeof(value);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length) == 0 && value == SOCK_STREAM)
            return GEVLITE_FD_UNCONNECTED;
        return GEVLITE_FD_LOCAL;
    }
    if (fstat(fd, &status) < 0)
        snprintf(text, room, "a closed file descriptor");
    else if (S_ISFIFO(status.st_mode))
        snprintf(text, room, "a pipe");
    else if (S_ISCHR(status.st_mode))
        snprintf(text, room, isatty(fd) ? "a terminal" : "a device");
    else if (S_ISREG(status.st_mode))
        snprintf(text, room, "a file");
    else
        snprintf(text, room, "a file descriptor");
    return GEVLITE_FD_OTHER;
}
#endif
