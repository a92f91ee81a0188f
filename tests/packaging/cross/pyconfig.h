/* A pyconfig.h for the systems of compile_elsewhere.py, in place of the host's.

   CPython's configure writes one for each platform, and ours is Linux's. This one answers what the public headers
   (Include/ without internal/) ask, and nothing else: sizes from the compiler, headers by __has_include, and the
   feature-test macros that configure.ac chooses for the system. compile_elsewhere.py checks the sizes that a
   compiler has no macro for. All targets are 64-bit and little-endian. */
#ifndef Py_PYCONFIG_H
#define Py_PYCONFIG_H

#define _GNU_SOURCE 1
#ifdef __APPLE__
#define _DARWIN_C_SOURCE 1
#endif
#ifdef __FreeBSD__
#define __BSD_VISIBLE 1
#endif
#ifdef __NetBSD__
#define _NETBSD_SOURCE 1
#endif
#ifdef __OpenBSD__
#define _BSD_SOURCE 1
#endif

#define SIZEOF_SHORT __SIZEOF_SHORT__
#define SIZEOF_INT __SIZEOF_INT__
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_LONG_LONG __SIZEOF_LONG_LONG__
#define SIZEOF_LONG_DOUBLE __SIZEOF_LONG_DOUBLE__
#define SIZEOF_FLOAT __SIZEOF_FLOAT__
#define SIZEOF_DOUBLE __SIZEOF_DOUBLE__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_UINTPTR_T __SIZEOF_POINTER__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF__BOOL 1
#define SIZEOF_OFF_T 8
#define SIZEOF_TIME_T 8
#define SIZEOF_PID_T 4
#define SIZEOF_PTHREAD_T 8
#define ALIGNOF_MAX_ALIGN_T __BIGGEST_ALIGNMENT__

#define DOUBLE_IS_LITTLE_ENDIAN_IEEE754 1
#define HAVE_CLOCK_GETTIME 1
#define HAVE_FORK 1
#define HAVE_KQUEUE 1
#define HAVE_LARGEFILE_SUPPORT 1
#define HAVE_SSIZE_T 1
#define PY_FORMAT_SIZE_T "z"
#define SETPGRP_HAVE_ARG 0
#define WITH_DOC_STRINGS 1
#define WITH_PYMALLOC 1

#if __has_include(<ieeefp.h>)
#define HAVE_IEEEFP_H 1
#endif
#if __has_include(<langinfo.h>)
#define HAVE_LANGINFO_H 1
#endif
#if __has_include(<pthread.h>)
#define HAVE_PTHREAD_H 1
#endif
#if __has_include(<sys/select.h>)
#define HAVE_SYS_SELECT_H 1
#endif
#if __has_include(<sys/stat.h>)
#define HAVE_SYS_STAT_H 1
#endif
#if __has_include(<sys/time.h>)
#define HAVE_SYS_TIME_H 1
#endif
#if __has_include(<sys/types.h>)
#define HAVE_SYS_TYPES_H 1
#endif
#if __has_include(<wchar.h>)
#define HAVE_WCHAR_H 1
#endif

#endif
