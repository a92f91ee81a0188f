/* The load: connections that each send a message, wait for all of it to come back, and send the next.
 *
 *   echo_client ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID
 *
 * ADDRESS may be the path of a UNIX socket, then PORT means nothing.
 *
 * After WARMUP seconds it takes SECONDS seconds of measurements and prints them as JSON: requests done, wall time, the CPU
 * time of this process and of the server in exactly that window (clock_getcpuclockid(3), which counts nanoseconds where
 * /proc/PID/stat counts hundredths of a second), and latency in seconds.
 *
 * It must keep the server busy, so it does as little as it can: edge-triggered epoll, set up once; after epoll_wait one
 * recv and one send for each connection that is ready; no allocation while it runs.
 */
#define _GNU_SOURCE
#include "benchmark.h"
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_BYTES 65536

struct connection {
    int fd;
    int missing; /* bytes of the answer that are still to come */
    int64_t sent_at;
};

static char message[MAX_BYTES], answer[MAX_BYTES];

static void request(struct connection *c, int bytes) {
    c->missing = bytes;
    c->sent_at = clock_ns(CLOCK_MONOTONIC);
    /* The socket buffer is empty here: the last message has come back whole. */
    if (send(c->fd, message, bytes, MSG_NOSIGNAL) != bytes)
        die("send");
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: echo_client ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID\n");
        return 2;
    }
    struct address address = parse_address(argv[1], atoi(argv[2]));
    int connections = atoi(argv[3]), bytes = atoi(argv[4]);
    if (connections < 1 || bytes < 1 || bytes > MAX_BYTES) {
        fprintf(stderr, "echo_client: bad argument\n");
        return 2;
    }

    memset(message, 'x', sizeof message);
    int epoll = epoll_create1(0), one = 1;
    struct connection *all = calloc(connections, sizeof *all);
    struct epoll_event *events = calloc(connections, sizeof *events);
    for (int i = 0; i < connections; i++) {
        int fd = socket(address.any.sa_family, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, &address.any, address.length) < 0)
            die("connect");
        if (address.any.sa_family == AF_INET)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = &all[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
        all[i].fd = fd;
    }

    struct window window = open_window(argv + 5);
    for (int i = 0; i < connections; i++)
        request(&all[i], bytes);
    for (;;) {
        int n = epoll_wait(epoll, events, connections, 5000);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        if (n == 0) {
            fprintf(stderr, "echo_client: no answer within 5 s\n");
            return 1;
        }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            while (c->missing) {
                ssize_t got = recv(c->fd, answer, sizeof answer, MSG_DONTWAIT);
                if (got < 0 && (errno == EAGAIN || errno == EINTR))
                    break;
                if (got <= 0) {
                    fprintf(stderr, "echo_client: the server hung up: %s\n", got ? strerror(errno) : "end of file");
                    return 1;
                }
                c->missing -= got;
            }
            if (c->missing > 0)
                continue;
            if (c->missing < 0) {
                fprintf(stderr, "echo_client: more came back than was sent\n");
                return 1;
            }
            count_one(&window, c->sent_at);
            request(c, bytes);
        }
        if (window_over(&window))
            break;
    }
    print_window(&window);
    return 0;
}
