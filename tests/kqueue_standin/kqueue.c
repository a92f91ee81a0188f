/* kqueue(2) for Linux, over epoll: a stand-in that lets the tests run backends/kqueue.pyx here. For tests only.

   It is as exact as those tests need. Where systems differ it follows FreeBSD, and where a kernel is strict so is it,
   because a test shall fail here rather than a program there:

   - A registration belongs to a number and a filter and ends when that number is closed. epoll's belongs to the open
     file and outlives the number if there is a duplicate; so before each use epoll is asked whether this number is
     still the file that was registered (EPOLL_CTL_ADD says EEXIST). One case is missed: the number was closed and made
     a duplicate of the same file again.
   - EV_ADD of what exists changes fflags, data and udata, and not EV_CLEAR or EV_ONESHOT.
   - EV_RECEIPT answers every change, errors come as EV_ERROR while there is room, and then nothing else is returned.
   - A fork does not pass a kqueue on: in the child its number is closed. It is not close-on-exec by itself.
   - A socket that is not connected is neither readable nor writable (Linux reports POLLHUP). EVFILT_READ of a regular
     file means that it is not at its end. Devices that Linux cannot watch are EINVAL, as on macOS. EVFILT_WRITE on a
     pipe whose reader has gone is EPIPE when it is added.
   - What a filter says is looked at when the event is taken, not only when it was triggered.

   What it does not have: other filters, EV_SET, the error in fflags beside EV_EOF (Linux cannot tell it without
   clearing it), the length of a listener's queue (data is 1), growth of a file (looked at only at each call).
   EVFILT_WRITE with EV_CLEAR may fire more often than a kernel's, since epoll does not say which direction changed.

   How: one edge-triggered epoll registration for each number says when to look at its filters; what looks ready is in
   the list `active`. A blocked kevent() sleeps in ppoll(2) on the epoll descriptor, which is the kqueue descriptor.
   Another thread wakes it by one more registration, of an eventfd that is always readable, armed for one report. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/event.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/sockios.h>

#ifndef EVFILT_USER
#define EVFILT_USER (-11) /* nobody can ask for it */
#define NOTE_TRIGGER 0
#endif

#define KEPT (EV_ONESHOT | EV_CLEAR | EV_DISPATCH) /* the flags that stay with a registration */
#define WAKE UINT64_MAX                            /* epoll's data for the eventfd */

struct note { /* one registration */
    struct source *source;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    int64_t data;
    void *udata;
    char disabled, active, triggered;
    uint64_t round; /* in which it was reported and stayed in the list */
    struct note *prev, *next; /* in `active` */
};

enum kind { NOTHING, POLLED, FILE_ON_DISK, USER };

struct source { /* a number, and what is registered for it */
    uintptr_t ident;
    enum kind kind;
    uint32_t generation; /* epoll may still report who had this number before */
    dev_t dev;           /* FILE_ON_DISK: which file it was */
    ino_t ino;
    struct note *notes[2]; /* EVFILT_READ (or EVFILT_USER), EVFILT_WRITE */
};

struct kq {
    int fd; /* of epoll */
    int sleepers;
    uint32_t generation;
    uint64_t round; /* counts the calls that took events */
    struct source **fds; /* by number */
    size_t n_fds;
    struct source user; /* one ident: 0 */
    struct note *first, *last;
    struct kq *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kq *all;
static int ready_fd = -1; /* an eventfd that is always readable */
static int hooked; /* forks call us */

/* ---------------------------------------------------------------- the list of what may have something to report */

static void deactivate(struct kq *kq, struct note *note)
{
    if (!note->active)
        return;
    note->active = 0;
    *(note->prev ? &note->prev->next : &kq->first) = note->next;
    *(note->next ? &note->next->prev : &kq->last) = note->prev;
}

static void activate(struct kq *kq, struct note *note)
{
    if (note == NULL || note->active || note->disabled)
        return;
    note->active = 1;
    note->next = NULL;
    note->prev = kq->last;
    *(kq->last ? &kq->last->next : &kq->first) = note;
    kq->last = note;
}

static int slot(short filter) { return filter == EVFILT_WRITE; }

static void remove_note(struct kq *kq, struct note *note)
{
    deactivate(kq, note);
    note->source->notes[slot(note->filter)] = NULL;
    free(note);
}

/* ---------------------------------------------------------------- numbers */

/* Whether the number is still the file that was registered. */
static int same_file(struct kq *kq, struct source *source)
{
    struct epoll_event event = {.events = 0};
    struct stat st;
    int fd = (int)source->ident;
    if (source->kind == FILE_ON_DISK)
        return fstat(fd, &st) == 0 && st.st_dev == source->dev && st.st_ino == source->ino;
    if (epoll_ctl(kq->fd, EPOLL_CTL_ADD, fd, &event) == 0) {
        epoll_ctl(kq->fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    return errno == EEXIST;
}

static void forget(struct kq *kq, struct source *source)
{
    for (int i = 0; i < 2; i++)
        if (source->notes[i] != NULL)
            remove_note(kq, source->notes[i]);
    source->kind = NOTHING;
}

/* What is registered for a descriptor now; NULL if there is nothing (any more). */
static struct source *known(struct kq *kq, uintptr_t ident)
{
    struct source *source = ident < kq->n_fds ? kq->fds[ident] : NULL;
    if (source == NULL || source->kind == NOTHING)
        return NULL;
    if (!same_file(kq, source)) {
        forget(kq, source);
        return NULL;
    }
    return source;
}

/* A place for a descriptor of which nothing is registered. Returns an errno. */
static int register_fd(struct kq *kq, uintptr_t ident, struct source **result)
{
    struct epoll_event event;
    struct source *source;
    struct stat st;
    int fd = (int)ident;
    if (fcntl(fd, F_GETFD) < 0)
        return EBADF;
    if (ident >= kq->n_fds) {
        size_t n = kq->n_fds ? kq->n_fds : 64;
        struct source **fds;
        while (n <= ident)
            n *= 2;
        fds = realloc(kq->fds, n * sizeof(*fds));
        if (fds == NULL)
            return ENOMEM;
        memset(fds + kq->n_fds, 0, (n - kq->n_fds) * sizeof(*fds));
        kq->fds = fds;
        kq->n_fds = n;
    }
    source = kq->fds[ident];
    if (source == NULL) {
        source = kq->fds[ident] = calloc(1, sizeof(*source));
        if (source == NULL)
            return ENOMEM;
        source->ident = ident;
    }
    source->generation = kq->generation++;
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    event.data.u64 = (uint64_t)source->generation << 32 | (uint32_t)fd;
    source->kind = POLLED;
    if (epoll_ctl(kq->fd, EPOLL_CTL_ADD, fd, &event) == 0 ||
        (errno == EEXIST && epoll_ctl(kq->fd, EPOLL_CTL_MOD, fd, &event) == 0)) {
        *result = source;
        return 0;
    }
    source->kind = NOTHING;
    if (errno != EPERM)
        return errno;
    if (fstat(fd, &st) < 0)
        return errno;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return EINVAL;
    source->kind = FILE_ON_DISK;
    source->dev = st.st_dev;
    source->ino = st.st_ino;
    *result = source;
    return 0;
}

/* Nothing is registered any more for a number that is still the same file. */
static void unregister_if_unused(struct kq *kq, struct source *source)
{
    if (source->notes[0] != NULL || source->notes[1] != NULL)
        return;
    if (source->kind == POLLED)
        epoll_ctl(kq->fd, EPOLL_CTL_DEL, (int)source->ident, NULL);
    source->kind = NOTHING;
}

/* ---------------------------------------------------------------- filters */

static int number_of(int fd, unsigned long request)
{
    int n = 0;
    return ioctl(fd, request, &n) < 0 ? 0 : n;
}

static int option_of(int fd, int option)
{
    int value = 0;
    socklen_t size = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? 0 : value;
}

static int not_negative(int n) { return n < 0 ? 0 : n; }

static int says_file(struct note *note, int fd, struct kevent *event)
{
    struct stat st;
    if (note->filter == EVFILT_WRITE)
        return 1;
    if (fstat(fd, &st) < 0)
        return 0;
    event->data = st.st_size - lseek(fd, 0, SEEK_CUR);
    return event->data != 0;
}

static int says_polled(struct note *note, int fd, struct kevent *event)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    struct stat st;
    int is_socket;
    if (poll(&p, 1, 0) < 0 || p.revents & POLLNVAL || fstat(fd, &st) < 0)
        return 0;
    is_socket = S_ISSOCK(st.st_mode);
    if (is_socket && (p.revents & (POLLHUP | POLLRDHUP | POLLERR)) == POLLHUP)
        return 0; /* never connected */
    if (note->filter == EVFILT_READ) {
        if (p.revents & (POLLHUP | POLLRDHUP))
            event->flags |= EV_EOF;
        event->data = is_socket && option_of(fd, SO_ACCEPTCONN) ? 1 : number_of(fd, FIONREAD);
        return (p.revents & (POLLIN | POLLHUP | POLLRDHUP | POLLERR)) != 0;
    }
    if (p.revents & (is_socket ? POLLHUP : POLLHUP | POLLERR))
        event->flags |= EV_EOF;
    if (is_socket)
        event->data = not_negative(option_of(fd, SO_SNDBUF) - number_of(fd, SIOCOUTQ));
    else
        event->data = not_negative(fcntl(fd, F_GETPIPE_SZ) - number_of(fd, FIONREAD));
    return (p.revents & (POLLOUT | POLLHUP | POLLERR)) != 0;
}

/* Whether there is something to report, and what. */
static int says(struct note *note, struct kevent *event)
{
    struct source *source = note->source;
    memset(event, 0, sizeof(*event));
    event->ident = source->ident;
    event->filter = note->filter;
    event->flags = note->flags;
    event->udata = note->udata;
    if (source->kind == USER) {
        event->fflags = note->fflags;
        event->data = note->data;
        return note->triggered;
    }
    if (source->kind == FILE_ON_DISK)
        return says_file(note, (int)source->ident, event);
    return says_polled(note, (int)source->ident, event);
}

/* ---------------------------------------------------------------- changes */

static int add_note(struct source *source, const struct kevent *change)
{
    struct note *note;
    if (change->filter == EVFILT_WRITE && source->kind == POLLED) {
        struct pollfd p = {.fd = (int)source->ident, .events = POLLOUT};
        struct stat st;
        if (fstat(p.fd, &st) == 0 && S_ISFIFO(st.st_mode) && poll(&p, 1, 0) > 0 && p.revents & POLLERR)
            return EPIPE;
    }
    note = calloc(1, sizeof(*note));
    if (note == NULL)
        return ENOMEM;
    note->source = source;
    note->filter = change->filter;
    note->flags = change->flags & KEPT;
    source->notes[slot(change->filter)] = note;
    return 0;
}

/* Returns an errno. */
static int apply(struct kq *kq, const struct kevent *change)
{
    struct source *source = NULL;
    struct note *note;
    int code = 0;

    if (change->filter == EVFILT_USER) {
        if (change->ident != 0)
            return EINVAL; /* one is enough here */
        source = &kq->user;
        source->kind = USER;
    }
    else if (change->filter != EVFILT_READ && change->filter != EVFILT_WRITE)
        return EINVAL;
    else if (change->ident > INT32_MAX || fcntl((int)change->ident, F_GETFD) < 0)
        return EBADF;
    else
        source = known(kq, change->ident);

    note = source ? source->notes[slot(change->filter)] : NULL;
    if (note == NULL) {
        if (!(change->flags & EV_ADD))
            return ENOENT;
        if (source == NULL)
            code = register_fd(kq, change->ident, &source);
        if (code == 0)
            code = add_note(source, change);
        if (code != 0) {
            if (source != NULL)
                unregister_if_unused(kq, source);
            return code;
        }
        note = source->notes[slot(change->filter)];
    }
    else if (change->flags & EV_DELETE) {
        remove_note(kq, note);
        if (source->kind != USER)
            unregister_if_unused(kq, source);
        return 0;
    }
    note->fflags = change->fflags & 0x00ffffff;
    note->data = change->data;
    note->udata = change->udata;
    if (change->filter == EVFILT_USER && change->fflags & NOTE_TRIGGER)
        note->triggered = 1;
    if (change->flags & EV_DISABLE) {
        note->disabled = 1;
        deactivate(kq, note);
    }
    else if (change->flags & (EV_ENABLE | EV_ADD))
        note->disabled = 0;
    activate(kq, note); /* what it says counts when it is asked */
    return 0;
}

/* ---------------------------------------------------------------- events */

/* Put into `active` what epoll has news of. */
static void harvest(struct kq *kq)
{
    struct epoll_event events[64];
    int n;
    do {
        n = epoll_wait(kq->fd, events, 64, 0);
        for (int i = 0; i < n; i++) {
            uint32_t fd = (uint32_t)events[i].data.u64;
            struct source *source = events[i].data.u64 != WAKE && fd < kq->n_fds ? kq->fds[fd] : NULL;
            if (source == NULL || source->kind != POLLED || source->generation != events[i].data.u64 >> 32)
                continue;
            if (events[i].events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                activate(kq, source->notes[0]);
            if (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
                activate(kq, source->notes[1]);
        }
    } while (n == 64);
}

/* Take what is ready, at most `room` events. */
static int collect(struct kq *kq, struct kevent *events, int room)
{
    struct note *note;
    int n = 0;
    kq->round++;
    while (n < room && (note = kq->first) != NULL && note->round != kq->round) {
        struct source *source = note->source;
        if (source->kind != USER && !same_file(kq, source)) {
            forget(kq, source);
            continue;
        }
        deactivate(kq, note);
        if (!says(note, &events[n]))
            continue;
        n++;
        if (note->flags & EV_ONESHOT) {
            remove_note(kq, note);
            if (source->kind != USER)
                unregister_if_unused(kq, source);
        }
        else if (note->flags & (EV_CLEAR | EV_DISPATCH)) {
            note->triggered = 0;
            note->disabled = (note->flags & EV_DISPATCH) != 0;
        }
        else {
            activate(kq, note); /* level-triggered: to be looked at again, but not in this round */
            note->round = kq->round;
        }
    }
    return n;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct kq *find(int fd)
{
    struct kq *kq = all;
    while (kq != NULL && kq->fd != fd)
        kq = kq->next;
    return kq;
}

/* Wait until there is something to report or `deadline` (0: for ever). Enters and leaves with the lock. */
static int wait_for_events(int fd, struct kevent *events, int room, const struct timespec *timeout)
{
    int64_t deadline = timeout ? now_ns() + (int64_t)timeout->tv_sec * 1000000000 + timeout->tv_nsec : 0;
    for (;;) {
        struct kq *kq = find(fd); /* the lock was released: it may have been closed */
        struct pollfd p = {.fd = fd, .events = POLLIN};
        struct timespec t = {0, 0};
        int n;
        if (kq == NULL) {
            errno = EBADF;
            return -1;
        }
        harvest(kq);
        n = collect(kq, events, room);
        if (n > 0)
            return n;
        if (timeout != NULL) {
            int64_t left = deadline - now_ns();
            if (left <= 0)
                return 0;
            t.tv_sec = left / 1000000000;
            t.tv_nsec = left % 1000000000;
        }
        kq->sleepers++;
        pthread_mutex_unlock(&lock);
        n = ppoll(&p, 1, timeout ? &t : NULL, NULL);
        pthread_mutex_lock(&lock);
        kq = find(fd);
        if (kq != NULL)
            kq->sleepers--;
        if (n < 0 || p.revents & POLLNVAL) {
            errno = n < 0 ? EINTR : EBADF;
            return -1;
        }
    }
}

/* Changes were made: whoever sleeps in this kqueue must look again. */
static void wake(struct kq *kq)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = WAKE};
    if (kq->sleepers && kq->first != NULL)
        epoll_ctl(kq->fd, EPOLL_CTL_MOD, ready_fd, &event);
}

int kevent(int fd, const struct kevent *changes, int n_changes, struct kevent *events, int n_events,
           const struct timespec *timeout)
{
    struct kq *kq;
    int n = 0, code = 0;
    if (timeout != NULL && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)) {
        errno = EINVAL;
        return -1;
    }
    pthread_mutex_lock(&lock);
    kq = find(fd);
    if (kq == NULL) {
        pthread_mutex_unlock(&lock);
        errno = EBADF;
        return -1;
    }
    for (int i = 0; i < n_changes; i++) {
        code = apply(kq, &changes[i]);
        if (code == 0 && !(changes[i].flags & EV_RECEIPT))
            continue;
        if (n < n_events) {
            events[n] = changes[i];
            events[n].flags = EV_ERROR;
            events[n].data = code;
            n++;
        }
        else if (code != 0) {
            n = -1;
            break;
        }
    }
    if (n_changes)
        wake(kq);
    if (n == 0 && n_events > 0)
        n = wait_for_events(fd, events, n_events, timeout);
    else if (n < 0)
        errno = code;
    code = errno;
    pthread_mutex_unlock(&lock);
    errno = code;
    return n;
}

/* ---------------------------------------------------------------- making one, and fork */

static void dispose(struct kq *kq)
{
    for (size_t i = 0; i < kq->n_fds; i++)
        if (kq->fds[i] != NULL) {
            forget(kq, kq->fds[i]);
            free(kq->fds[i]);
        }
    forget(kq, &kq->user);
    free(kq->fds);
    free(kq);
}

/* close(2) does not tell us: a kqueue whose number is not ours any more is found out here. */
static void dispose_of_closed(int number)
{
    struct kq **place = &all;
    while (*place != NULL) {
        struct kq *kq = *place;
        if (kq->fd == number) {
            *place = kq->next;
            dispose(kq);
        }
        else
            place = &kq->next;
    }
}

static void before_fork(void) { pthread_mutex_lock(&lock); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&lock); }

static void after_fork_in_child(void)
{
    while (all != NULL) {
        struct kq *kq = all;
        struct epoll_event event = {.events = 0};
        all = kq->next;
        /* It may have been closed, and its number be somebody else's. A kqueue knows the eventfd. */
        if (epoll_ctl(kq->fd, EPOLL_CTL_ADD, ready_fd, &event) == 0)
            epoll_ctl(kq->fd, EPOLL_CTL_DEL, ready_fd, NULL);
        else if (errno == EEXIST)
            close(kq->fd);
        dispose(kq);
    }
    /* The child may close all descriptors that it does not know, and no kernel would have this one. */
    if (ready_fd >= 0)
        close(ready_fd);
    ready_fd = -1;
    pthread_mutex_unlock(&lock);
}

int kqueue(void)
{
    struct epoll_event event = {.events = 0, .data.u64 = WAKE};
    struct kq *kq;
    int fd, code;
    pthread_mutex_lock(&lock);
    if (ready_fd < 0)
        ready_fd = eventfd(1, EFD_CLOEXEC);
    if (ready_fd >= 0 && !hooked)
        hooked = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0;
    fd = ready_fd < 0 ? -1 : epoll_create1(0);
    kq = fd < 0 ? NULL : calloc(1, sizeof(*kq));
    if (kq == NULL || epoll_ctl(fd, EPOLL_CTL_ADD, ready_fd, &event) < 0) {
        code = errno;
        free(kq);
        if (fd >= 0)
            close(fd);
        pthread_mutex_unlock(&lock);
        errno = code;
        return -1;
    }
    dispose_of_closed(fd);
    kq->fd = fd;
    kq->next = all;
    all = kq;
    pthread_mutex_unlock(&lock);
    return fd;
}
