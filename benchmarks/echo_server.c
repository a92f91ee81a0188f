/* The floor: an echo server on epoll with nothing in between.
 *
 *   echo_server ADDRESS
 *
 * ADDRESS: an IPv4 address, or the path of a UNIX socket. Prints the port it listens on and serves until its standard input is closed. Level-triggered and one event a
 * request: epoll_wait for as many as there are, then one recv and one send for each.
 */
#define _GNU_SOURCE
#include "benchmark.h"
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void serve(int fd) {
    char data[65536];
    ssize_t got = recv(fd, data, sizeof data, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close(fd);
        return;
    }
    for (ssize_t sent = 0; sent < got;) {
        ssize_t more = send(fd, data + sent, got - sent, MSG_NOSIGNAL);
        if (more < 0) {
            if (errno == EAGAIN || errno == EINTR)
                continue; /* a load that never reads is not ours to serve well */
            close(fd);
            return;
        }
        sent += more;
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[512];
    int one = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: echo_server ADDRESS\n");
        return 2;
    }
    struct address address = parse_address(argv[1], 0);
    bool ip = address.any.sa_family == AF_INET;
    int listener = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, &address.any, address.length) < 0 || listen(listener, 1024) < 0)
        die("listen");
    getsockname(listener, &address.any, &address.length);
    printf("%d\n", ip ? ntohs(address.ip.sin_port) : 0);
    fflush(stdout);

    int epoll = epoll_create1(0);
    if (epoll < 0)
        die("epoll_create1");
    watch(epoll, listener);
    watch(epoll, STDIN_FILENO);
    for (;;) {
        int n = epoll_wait(epoll, events, sizeof events / sizeof *events, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO)
                return 0;
            if (fd != listener) {
                serve(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (ip)
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                watch(epoll, fd);
            }
        }
    }
}
