/* What of the bytes that a socket has sent the other side has not acknowledged yet. */
#ifndef GEVLITE_SEND_QUEUE_H
#define GEVLITE_SEND_QUEUE_H
#include <sys/ioctl.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/sockios.h>
#elif !defined(__APPLE__)
#include <sys/filio.h>
#endif

/* -1 where the system does not say. */
static inline int64_t gevlite_send_queue(int fd)
{
    int n = 0;
#if defined(SIOCOUTQ)
    return ioctl(fd, SIOCOUTQ, &n) == 0 ? n : -1;
#elif defined(SO_NWRITE)
    socklen_t size = sizeof n;
    return getsockopt(fd, SOL_SOCKET, SO_NWRITE, &n, &size) == 0 ? n : -1;
#elif defined(FIONWRITE)
    return ioctl(fd, FIONWRITE, &n) == 0 ? n : -1;
#else
    (void)fd;
    return n - 1;
#endif
}

#endif
