/* The load: connections that each send a message, wait for all of it to come back, and send the next.
 *
 *   echo_client ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID
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
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_BYTES 65536
#define MAX_SAMPLES (1 << 23)

struct connection {
    int fd;
    int missing; /* bytes of the answer that are still to come */
    int64_t sent_at;
};

static char message[MAX_BYTES], answer[MAX_BYTES];
static uint32_t samples[MAX_SAMPLES]; /* latencies in nanoseconds */

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(size_t count, double part) {
    return count ? samples[(size_t)((count - 1) * part)] / 1e9 : 0;
}

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
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    int connections = atoi(argv[3]), bytes = atoi(argv[4]);
    int64_t warmup = atof(argv[5]) * 1e9, window = atof(argv[6]) * 1e9;
    clockid_t server_clock;
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1 || connections < 1 || bytes < 1 || bytes > MAX_BYTES) {
        fprintf(stderr, "echo_client: bad argument\n");
        return 2;
    }
    if ((errno = clock_getcpuclockid(atoi(argv[7]), &server_clock)) != 0)
        die("clock_getcpuclockid");

    memset(message, 'x', sizeof message);
    int epoll = epoll_create1(0), one = 1;
    struct connection *all = calloc(connections, sizeof *all);
    struct epoll_event *events = calloc(connections, sizeof *events);
    for (int i = 0; i < connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
            die("connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = &all[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
        all[i].fd = fd;
    }

    int64_t began = clock_ns(CLOCK_MONOTONIC), start = 0, cpu = 0, server_cpu = 0, now;
    size_t count = 0;
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
            if (start && count < MAX_SAMPLES) {
                int64_t took = clock_ns(CLOCK_MONOTONIC) - c->sent_at;
                samples[count++] = took < UINT32_MAX ? took : UINT32_MAX;
            }
            request(c, bytes);
        }
        now = clock_ns(CLOCK_MONOTONIC);
        if (!start && now - began >= warmup) {
            cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            server_cpu = clock_ns(server_clock);
            start = now;
        } else if (start && now - start >= window) {
            cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
            server_cpu = clock_ns(server_clock) - server_cpu;
            break;
        }
    }
    qsort(samples, count, sizeof *samples, by_size);
    printf("{\"done\": %zu, \"seconds\": %.9f, \"client_cpu\": %.9f, \"server_cpu\": %.9f, "
           "\"p50\": %.9f, \"p99\": %.9f, \"p999\": %.9f, \"max\": %.9f}\n",
           count, (now - start) / 1e9, cpu / 1e9, server_cpu / 1e9, percentile(count, 0.5), percentile(count, 0.99),
           percentile(count, 0.999), percentile(count, 1));
    return 0;
}
