/* <sys/event.h> for Linux, for tests only: what backends/kqueue.pyx uses of it. See ../kqueue.c.

   Names, types and values are those of FreeBSD's kqueue(2). With KQUEUE_STANDIN_WITHOUT_USER it has no EVFILT_USER, like
   older OpenBSD and NetBSD. */
#ifndef KQUEUE_STANDIN_SYS_EVENT_H
#define KQUEUE_STANDIN_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#ifndef KQUEUE_STANDIN_WITHOUT_USER
#define EVFILT_USER (-11)
#endif

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

#ifdef EVFILT_USER
#define NOTE_TRIGGER 0x01000000
#endif

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    int64_t data;
    void *udata;
    uint64_t ext[4];
};

int kqueue(void);
int kevent(int kq, const struct kevent *changelist, int nchanges, struct kevent *eventlist, int nevents,
           const struct timespec *timeout);

#endif
