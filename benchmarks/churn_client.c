/* The load of short connections: each sends a message, waits for all of it to come back, and hangs up; then the next.
 *
 *   churn_client ADDRESS PORT AT_ONCE BYTES WARMUP SECONDS SERVER_PID
 *
 * AT_ONCE of them are open at the same time. Prints JSON as echo_client.c does; `done` counts connections.
 *
 * Whoever hangs up first keeps the pair of ports for a minute (TIME_WAIT), and that is this side. So the connections come
 * from a thousand local addresses in turn.
 */
#define _GNU_SOURCE
#include "benchmark.h"
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_BYTES 65536
#define ADDRESSES 1000

struct connection {
    int fd;
    int missing;
    int64_t since;
};

static char message[MAX_BYTES], answer[MAX_BYTES];
static struct address address;
static int bytes, epoll;

/* On the loopback interface connect() has ended when it returns, also of a socket that does not wait. */
static void begin(struct connection *c) {
    static uint32_t number;
    int one = 1;
    c->since = clock_ns(CLOCK_MONOTONIC);
    c->missing = bytes;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0)
        die("socket");
    come_from(c->fd, number++ % ADDRESSES);
    if (connect(c->fd, &address.any, address.length) < 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl");
    if (send(c->fd, message, bytes, MSG_NOSIGNAL) != bytes)
        die("send");
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: churn_client ADDRESS PORT AT_ONCE BYTES WARMUP SECONDS SERVER_PID\n");
        return 2;
    }
    int at_once = atoi(argv[3]);
    address = parse_address(argv[1], atoi(argv[2]));
    bytes = atoi(argv[4]);
    if (at_once < 1 || bytes < 1 || bytes > MAX_BYTES || address.any.sa_family != AF_INET) {
        fprintf(stderr, "churn_client: bad argument\n");
        return 2;
    }
    epoll = epoll_create1(0);
    struct connection *all = calloc(at_once, sizeof *all);
    struct epoll_event *events = calloc(at_once, sizeof *events);
    struct window window = open_window(argv + 5);
    for (int i = 0; i < at_once; i++)
        begin(&all[i]);
    for (;;) {
        int n = epoll_wait(epoll, events, at_once, 5000);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        if (n == 0) {
            fprintf(stderr, "churn_client: no answer within 5 s\n");
            return 1;
        }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t got = recv(c->fd, answer, sizeof answer, 0);
            if (got <= 0) {
                fprintf(stderr, "churn_client: the server hung up: %s\n", got ? strerror(errno) : "end of file");
                return 1;
            }
            c->missing -= got;
            if (c->missing > 0)
                continue;
            count_one(&window, c->since);
            close(c->fd);
            begin(c);
        }
        if (window_over(&window))
            break;
    }
    print_window(&window);
    return 0;
}
