/* In a build with AddressSanitizer (tox -e asan): memory that is ours but holds no data yet must not be read. */
#ifndef GEVLITE_FENCE_H
#define GEVLITE_FENCE_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GEVLITE_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define GEVLITE_ASAN 1
#endif

#ifdef GEVLITE_ASAN
#include <sanitizer/asan_interface.h>
#define gevlite_fence(block, used, size) \
    do { \
        ASAN_UNPOISON_MEMORY_REGION((block), (size)); \
        ASAN_POISON_MEMORY_REGION((char *)(block) + (used), (size) - (used)); \
    } while (0)
#else
#define gevlite_fence(block, used, size) ((void)0)
#endif

#endif
