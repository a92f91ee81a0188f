/* A descriptor that becomes readable when a debugger is about to attach to this process.

   `python -m pdb -p PID`, and all that uses sys.remote_exec (Python 3.14), writes into the memory of the process
   what it is to run when it next looks for signals. A process that sleeps in the kernel does not notice. But the
   attaching debugger looks up where to write, in /proc/PID/maps, and the kernel reports that a file is opened
   (inotify).

   A user may have few inotify instances, 128 by default, and other programs need them more. So one is taken only
   while many are left. */
#ifndef GEVLITE_ATTACH_H
#define GEVLITE_ATTACH_H
#include <Python.h>

#if defined(__linux__) && PY_VERSION_HEX >= 0x030E0000
#define GEVLITE_CAN_ATTACH 1
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#define GEVLITE_INOTIFY_LEFT 32

/* The descriptor, or -1. *held must stay open for as long: it keeps the kernel's entry for the file. */
static int gevlite_attach_open(int *held)
{
    int fd = -1, others[GEVLITE_INOTIFY_LEFT], n = 0, enough;

    while (n < GEVLITE_INOTIFY_LEFT && (others[n] = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) >= 0)
        n++;
    enough = n == GEVLITE_INOTIFY_LEFT;
    if (enough)
        fd = others[--n];
    while (n > 0)
        close(others[--n]);
    if (!enough)
        return -1;
    *held = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (*held >= 0 && inotify_add_watch(fd, "/proc/self/maps", IN_OPEN) >= 0)
        return fd;
    if (*held >= 0)
        close(*held);
    close(fd);
    return -1;
}

#else
#define GEVLITE_CAN_ATTACH 0
static int gevlite_attach_open(int *held)
{
    (void)held;
    return -1;
}
#endif
#endif
