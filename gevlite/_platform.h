/* What depends on the platform: clocks and thread-local storage. And small functions that Cython lacks. */
#ifndef GEVLITE_PLATFORM_H
#define GEVLITE_PLATFORM_H
#include <stdint.h>
#include <time.h>

/* Monotonic nanoseconds, exact. */
static inline int64_t gevlite_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Monotonic nanoseconds, good to a scheduler tick and about five times cheaper to read. Only ever compared with
   itself: it lags the exact clock. */
static inline int64_t gevlite_coarse_ns(void)
{
#ifdef CLOCK_MONOTONIC_COARSE
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
#else
    return gevlite_now_ns();
#endif
}

/* The time of one thread, on which its timers are based: CLOCK_MONOTONIC, unless a virtual clock moves it, or has
   moved it; see _clock.pxi. */
typedef struct {
    int kind;               /* 0: it is CLOCK_MONOTONIC. Else one of the next two. */
    int64_t ns;             /* while it stands still: the time; while it runs: how far it is ahead of CLOCK_MONOTONIC */
    int64_t hidden;         /* by how much it is ahead of the time that the program is shown */
    int64_t wall;           /* what to add for the time of day, while it stands still */
} gevlite_time;

enum { GEVLITE_TIME_STANDS = 1, GEVLITE_TIME_RUNS = 2 };

/* Raises in Cython the exception of a C call that failed, where the call itself must not raise it. */
static inline int gevlite_raise_it(void)
{
    return -1;
}

/* The hub of the running OS thread (a borrowed reference), read on every operation. */
#ifdef __GLIBC__
/* One load instead of a call. glibc keeps room for such variables of modules loaded later; others may not. */
#define GEVLITE_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))
#else
#define GEVLITE_THREAD_LOCAL __thread
#endif

#endif
