/* What the C programs of this folder share. */
#ifndef GEVLITE_BENCHMARK_H
#define GEVLITE_BENCHMARK_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        die("clock_gettime");
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

#endif
