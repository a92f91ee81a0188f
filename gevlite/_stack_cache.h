/* A bounded free list of Python data-stack chunks.

   Since 3.11 every greenlet that runs Python code owns a data-stack chunk of 16 KiB (DATA_STACK_CHUNK_SIZE in
   CPython's pystate.c). The interpreter takes it from the arena allocator, which by default is one mmap when the
   greenlet starts and one munmap when it ends: several microseconds, most of what a short greenlet costs.
   PyObject_SetArenaAllocator is public API, so a free list of exactly that size is put in front of the allocator
   that is there; every other size passes through untouched.

   The allocator may be called by any thread, with or without the GIL, so the list has a lock of its own: a spin lock
   held for two instructions. A fork while another thread holds it would leave it locked in the child, therefore
   the lock is taken around fork (pthread_atfork). Chunks still in the list at exit go back with the process. */
#ifndef GEVLITE_STACK_CACHE_H
#define GEVLITE_STACK_CACHE_H
#include <Python.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define GEVLITE_CHUNK_SIZE ((size_t)16 * 1024)

static struct {
    PyObjectArenaAllocator below; /* the allocator that was there before */
    void **chunks; /* room for `capacity` of them */
    size_t count, limit, capacity;
    unsigned long long hits, misses;
    char lock;
    char installed;
} gevlite_cache;

static inline void gevlite_cache_lock(void)
{
    while (__atomic_test_and_set(&gevlite_cache.lock, __ATOMIC_ACQUIRE))
        sched_yield();
}

static inline void gevlite_cache_unlock(void)
{
    __atomic_clear(&gevlite_cache.lock, __ATOMIC_RELEASE);
}

static void *gevlite_cache_alloc(void *ctx, size_t size)
{
    (void)ctx;
    if (size == GEVLITE_CHUNK_SIZE) {
        void *chunk = NULL;
        gevlite_cache_lock();
        if (gevlite_cache.count) {
            chunk = gevlite_cache.chunks[--gevlite_cache.count];
            gevlite_cache.hits++;
        }
        else
            gevlite_cache.misses++;
        gevlite_cache_unlock();
        if (chunk != NULL)
            return chunk;
    }
    return gevlite_cache.below.alloc(gevlite_cache.below.ctx, size);
}

static void gevlite_cache_free(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (size == GEVLITE_CHUNK_SIZE && ptr != NULL) {
        int kept = 0;
        gevlite_cache_lock();
        if (gevlite_cache.count < gevlite_cache.limit) {
            gevlite_cache.chunks[gevlite_cache.count++] = ptr;
            kept = 1;
        }
        gevlite_cache_unlock();
        if (kept)
            return;
    }
    gevlite_cache.below.free(gevlite_cache.below.ctx, ptr, size);
}

/* Keeps at most `limit` chunks from now on; the first limit above 0 installs the cache. Call it with the GIL.
   Returns 0, or -1 if it could not be set up, in which case nothing changed. */
static int gevlite_cache_set_limit(size_t limit)
{
    PyObjectArenaAllocator ours = {NULL, gevlite_cache_alloc, gevlite_cache_free};
    void **more = NULL, **before = NULL, *surplus;
    if (limit > gevlite_cache.capacity) {
        more = (void **)calloc(limit, sizeof(void *));
        if (more == NULL)
            return -1;
    }
    if (!gevlite_cache.installed && limit) {
        if (pthread_atfork(gevlite_cache_lock, gevlite_cache_unlock, gevlite_cache_unlock) != 0) {
            free(more);
            return -1;
        }
        PyObject_GetArenaAllocator(&gevlite_cache.below);
        PyObject_SetArenaAllocator(&ours);
        gevlite_cache.installed = 1;
    }
    gevlite_cache_lock();
    if (more != NULL) {
        before = gevlite_cache.chunks;
        if (gevlite_cache.count)
            memcpy(more, before, gevlite_cache.count * sizeof(void *));
        gevlite_cache.chunks = more;
        gevlite_cache.capacity = limit;
    }
    gevlite_cache.limit = limit;
    gevlite_cache_unlock();
    free(before);
    do {
        surplus = NULL;
        gevlite_cache_lock();
        if (gevlite_cache.count > gevlite_cache.limit)
            surplus = gevlite_cache.chunks[--gevlite_cache.count];
        gevlite_cache_unlock();
        if (surplus != NULL)
            gevlite_cache.below.free(gevlite_cache.below.ctx, surplus, GEVLITE_CHUNK_SIZE);
    } while (surplus != NULL);
    return 0;
}

#endif
