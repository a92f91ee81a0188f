/* For _ticker.pxi: an OS thread that the interpreter does not know of, and memory that it reads while another thread
   writes there. */
#ifndef GEVLITE_TICKER_H
#define GEVLITE_TICKER_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <signal.h>

/* The writer holds the GIL and stores as it always does; an aligned word is never seen half written. */
#define gevlite_peek(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define gevlite_poke(p, value) __atomic_store_n(p, value, __ATOMIC_RELAXED)

/* 0, or an errno. The thread leaves signals to the others, except those that a fault of its own raises. */
static int gevlite_thread_start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    int error;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* For top -H and the like. */
static void gevlite_thread_name(const char *name)
{
#if defined(__linux__)
    pthread_setname_np(pthread_self(), name);
#else
    (void)name;
#endif
}

#endif
