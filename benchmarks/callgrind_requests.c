/* What a program that runs under callgrind can ask of it, as functions for ctypes. See callgrind.h of valgrind. */
#include <valgrind/callgrind.h>

void start(void) { CALLGRIND_START_INSTRUMENTATION; }

void stop(void) { CALLGRIND_STOP_INSTRUMENTATION; }

void zero(void) { CALLGRIND_ZERO_STATS; }

/* The counts since the last zero() or dump() go to a file that says `name`. */
void dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
